"""What each stage of the pipeline cost: wall time, and the time that processes spent training and measuring."""

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dontstop.design.plan import NOTEBOOKS
from dontstop.errors import StudyError
from dontstop.machine import digests, files, locks
from dontstop.profiles import Paths
from dontstop.runs.records import RANKINGS_FILE, rows_of
from dontstop.runs.scratch import remove_parts


def _file(paths: Paths) -> Path:
    return paths.work / f"{paths.results.name}.stages.json"


def read_ledger(paths: Paths) -> dict[str, float]:
    """Return the wall seconds of the stages that are commands, by stage."""
    try:
        found = files.read_json(_file(paths)) if _file(paths).is_file() else {}
    except StudyError:
        found = {}
    known = found.items() if isinstance(found, dict) else ()  # damaged: costs are told of stages that run from now on
    return {stage: seconds for stage, seconds in known if isinstance(seconds, int | float)}


@contextlib.contextmanager
def timed(paths: Paths, stage: str) -> Iterator[None]:
    """Write down how long a stage took, once it has ended well; one that found its work done keeps what that took."""
    begin, before = time.monotonic(), _worked_seconds(paths, stage)
    yield
    if stage not in read_ledger(paths) or not 0 < before == _worked_seconds(paths, stage):
        seconds = time.monotonic() - begin
        with locks.locked(_file(paths).with_suffix(".lock")):  # what is half-written there is of killed commands
            remove_parts(files.parts_of(_file(paths)))
            files.write_json(_file(paths), read_ledger(paths) | {stage: seconds})


def _worked_seconds(paths: Paths, stage: str) -> float:
    """Return what a stage has trained or selected for so far; 0 if it is of another kind."""
    notebooks = {experiment: notebook for notebook, experiment in NOTEBOOKS.items()}
    if stage != "select":
        return trained_seconds(paths, notebooks.get(stage, stage.removeprefix("notebook ")))
    try:
        return selected_seconds(paths)
    except StudyError:  # damaged: the stage selects it again
        return math.nan


def notebook_seconds(paths: Paths, notebook: str) -> float | None:
    """Return the seconds that a notebook's execution took; of a copy that papermill wrote itself, as it has them."""
    if (known := read_ledger(paths).get(f"notebook {notebook}")) is not None:
        return known
    path = paths.results / "notebooks" / f"{notebook}.ipynb"
    executed = read_executed(path) if path.is_file() else {"cells": [], "metadata": {}}
    is_whole = all(cell.get("execution_count", 1) for cell in executed["cells"])  # a killed papermill's is not
    return executed["metadata"].get("papermill", {}).get("duration") if is_whole else None


def read_executed(path: Path) -> dict:
    """Read an executed notebook.

    Raises:
        StudyError: If it is damaged, or no notebook.
    """
    notebook = files.read_json(path)
    try:
        seconds, cells = notebook["metadata"].get("papermill", {}).get("duration"), notebook["cells"]
        texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"]]
        texts += ["".join(output.get("text", [])) for cell in cells for output in cell.get("outputs", [])]
        is_one = len(texts) >= len(cells) and isinstance(seconds, int | float | None)
    except (LookupError, TypeError, AttributeError):
        is_one = False
    if not is_one:
        raise StudyError(
            f"{path}, which is damaged", "an executed notebook", f"delete it, and execute {path.stem} again"
        )
    return notebook


def trained_seconds(paths: Paths, notebook: str) -> float:
    """Sum the CPU-seconds of a notebook's checkpoints and runs, over all tries, from their records."""
    rows = rows_of(sorted((paths.results / "records" / notebook).glob("*.jsonl")))
    return sum((row.get("wall_seconds", 0.0) * row.get("num_processes", 1) for row in rows), 0.0)


def selected_seconds(paths: Paths) -> float:
    """Sum the CPU-seconds of all rankings of candidates, those that replicates share once; NaN where none is here.

    Raises:
        StudyError: If one of them is damaged.
    """
    places = sorted(paths.selected.glob(f"replicate_*/*/{RANKINGS_FILE}"))
    for path in places:
        wrong = digests.folder_damage(path.parents[1], (f"{path.parent.name}/{path.name}",))
        digests.hold(wrong, f"run `dontstop select --profile {paths.selected.name}`, which makes it again")
    found = {
        (path.parent.name, selector, ranking["wall_seconds"])
        for path in places
        for selector, ranking in files.read_json(path).items()
    }
    return sum((seconds for *_, seconds in sorted(found)), 0.0) if found else math.nan


def stage_costs(paths: Paths) -> pd.DataFrame:
    """Tabulate the stages in their order, with a last row for their sum.

    Returns:
        Columns stage; wall_minutes, of its last execution that did work (empty where it has not run), a notebook's
        training included where a command of its own did it; training_minutes, of processes, from the records: what the
        stage costs from nothing, also where it has since found its work done.
    """
    ledger = read_ledger(paths)

    def wall(notebook: str) -> float:
        parts = [ledger.get(NOTEBOOKS[notebook]), notebook_seconds(paths, notebook)]
        return pd.Series(parts, dtype=float).sum(min_count=1)

    rows = [("prepare", ledger.get("prepare"), 0.0), ("base", ledger.get("base"), trained_seconds(paths, "base"))]
    rows.append(("select", ledger.get("select"), selected_seconds(paths)))
    rows += [(notebook, wall(notebook), trained_seconds(paths, notebook)) for notebook in NOTEBOOKS]
    rows.append(("claims", ledger.get("claims"), 0.0))
    columns = ["stage", "wall_minutes", "training_minutes"]
    table = pd.DataFrame(rows, columns=columns).set_index("stage").astype(float) / 60
    table.loc["all"] = table.sum(min_count=1)
    return table.reset_index()
