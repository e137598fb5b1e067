"""Executed notebooks: whole copies or none under results/, which tell of no date, second or core."""

import builtins
import logging
import os
from pathlib import Path

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Paths
from dontstop.runs import ledger

OF_ONE_EXECUTION = {"papermill", "execution"}  # metadata of cells: dates and durations
_WIDGET = "application/vnd.jupyter.widget-view+json"  # lives with its kernel
STOPPED = "**This execution was stopped.** Cells without a number have not run, and the last that has one did not end."


def execute(paths: Paths, notebook: str, profile: str, *, log_output: bool = False) -> None:
    """Execute a notebook for a profile, and put the executed copy among the profile's results once it is whole.

    Until then it stands under work/, and stays there, with a note, where the execution fails or is stopped.

    Raises:
        StudyError: What the notebook ended with, if it was one; and if its kernel was killed.
        OSError: If it ended with such an error.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    # Seen from where the command is given: the executed copy keeps these paths, and should tell nothing of a machine.
    unfinished = paths.work / "notebooks" / paths.data.name / f"{notebook}.ipynb"
    source, target = (Path(os.path.relpath(path)) for path in (paths.root / "notebooks" / unfinished.name, unfinished))
    target.parent.mkdir(parents=True, exist_ok=True)
    if log_output:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        logging.getLogger("papermill").addFilter(is_said)
    how = {"kernel_name": "python3", "progress_bar": False, "log_output": log_output}
    try:
        with ledger.timed(paths, f"notebook {notebook}"):
            papermill.execute_notebook(source, target, {"profile": profile}, **how)
    except papermill.PapermillExecutionError as error:
        kind = getattr(builtins, error.ename, None)
        if isinstance(kind, type) and issubclass(kind, OSError):
            raise OSError(f"{error.evalue} in notebook {notebook}") from None
        if error.ename != "StudyError":
            raise
        found, expected, remedy = (part.split(": ", 1)[1] for part in error.evalue.split("\n")[:3])
        raise StudyError(found, expected, remedy) from None
    except BaseException as error:
        _note_stopped(target)
        logging.getLogger("asyncio").disabled = True  # would print how the cell at work ended, as nobody's error
        if isinstance(error, DeadKernelError):
            raise StudyError(
                f"the kernel of notebook {notebook} killed while it ran (memory is the usual reason)",
                "a kernel that lives until the last cell has ended",
                "free memory, or lower speed.num_workers, and give the same command again: finished runs are kept",
            ) from error
        raise
    files.write_json(paths.results / "notebooks" / unfinished.name, without_times(files.read_json(target)))
    target.unlink()


def is_said(record: logging.LogRecord) -> bool:
    """Whether what papermill logs is a line that the study says: no table or figure, and not that a cell begins."""
    line = record.getMessage().strip()
    noise = ("<", "|", "- ", "Executing ", "Ending ", "Input Notebook", "Output Notebook")
    return bool(line) and "\n" not in line and not line.startswith(noise)


def without_times(notebook: dict) -> dict:
    """Leave out of an executed notebook what another execution on the same kind of machine would not repeat.

    Those are dates and durations, the patch version of Python, cells' ids made up by papermill, widgets, progress bars,
    and the lines of a cell that trains, which tell of its progress.
    """
    kept = {name: value for name, value in notebook["metadata"].items() if name not in {"papermill", "widgets"}}
    kept["language_info"] = {**kept.get("language_info", {}), "version": "3"}
    return notebook | {"metadata": kept, "cells": [_repeatable(cell) for cell in notebook["cells"]]}


def _repeatable(cell: dict) -> dict:
    about = {name: value for name, value in cell["metadata"].items() if name not in OF_ONE_EXECUTION}
    kept = cell | {"metadata": about}
    if "injected-parameters" in about.get("tags", []):
        kept["id"] = "injected-parameters"
    if cell["cell_type"] == "code":
        prints = "print(" in "".join(cell["source"])
        plain = [output for output in cell["outputs"] if _WIDGET not in output.get("data", {})]
        kept["outputs"] = [output for output in plain if prints or not _is_progress(output)]
    return kept


def _is_progress(output: dict) -> bool:
    is_bar = output["output_type"] == "display_data" and not output["data"].keys() & {"text/html", "image/png"}
    return is_bar or output["output_type"] == "stream"


def _note_stopped(executed: Path) -> None:
    """Say in an executed notebook that it was stopped: papermill calls what never ran completed."""
    if not executed.is_file():
        return
    notebook = files.read_json(executed)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in code:
        if cell["execution_count"] is None:
            cell["metadata"]["papermill"] = {"status": "pending"}
    for cell in [cell for cell in code if cell["execution_count"] is not None][-1:]:  # the one at work
        cell["metadata"]["papermill"] = {"status": "running"}
    notebook["metadata"]["papermill"] |= {"duration": None, "exception": True}
    notebook["cells"].insert(0, {"cell_type": "markdown", "id": "stopped", "metadata": {}, "source": [STOPPED]})
    files.write_json(executed, notebook)
