"""Executed notebooks: whole copies without dates, and an unfinished one that says so."""

import copy
import logging

import papermill
import pytest
from nbclient.exceptions import DeadKernelError

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Paths
from dontstop.report import executed
from dontstop.runs import ledger

TIMES = {"papermill": {"duration": 1.5, "status": "completed"}, "execution": {"iopub.status.busy": "2026"}}


def code(source: str, *outputs: dict, count: int | None = 1, tags=()) -> dict:
    about = {**TIMES, "tags": list(tags)}
    cell = {"cell_type": "code", "id": "a1", "source": [source], "outputs": list(outputs), "metadata": about}
    return cell | {"execution_count": count}


LINES = {"output_type": "stream", "name": "stdout", "text": ["base: 3 min so far"]}
BAR = {"output_type": "display_data", "data": {"text/plain": ["100 %"]}, "metadata": {}}
TABLE = {"output_type": "execute_result", "data": {"text/html": ["<table>"], "text/plain": ["F1"]}, "metadata": {}}
WIDGET = {"output_type": "execute_result", "metadata": {}, "data": {"text/plain": ["VBox(children=…)"]}}
WIDGET["data"]["application/vnd.jupyter.widget-view+json"] = {"model_id": "c3"}
NOTEBOOK = {
    "cells": [
        code("profile = 'tiny'", tags=["injected-parameters"]),
        code("study.run('dapt')", LINES, BAR, TABLE, WIDGET),
        code("print(study.provenance())", LINES),
        {"cell_type": "markdown", "id": "b2", "source": ["Prose"], "metadata": {}},
        code("study.runs()", count=None),
    ],
    "metadata": {
        "papermill": {"duration": 9.0, "exception": None},
        "widgets": {"state": {}},
        "language_info": {"name": "python", "version": "3.11.7"},
        "kernelspec": {"name": "python3"},
    },
}


def test_what_another_execution_would_not_repeat_is_left_out():
    kept = executed.without_times(copy.deepcopy(NOTEBOOK))
    assert kept["metadata"] == {
        "language_info": {"name": "python", "version": "3"},
        "kernelspec": {"name": "python3"},
    }
    parameters, run, prints, prose, _ = kept["cells"]
    assert parameters["id"] == "injected-parameters" and parameters["metadata"] == {"tags": ["injected-parameters"]}
    assert run["outputs"] == [TABLE] and prints["outputs"] == [LINES] and prose == NOTEBOOK["cells"][3]


def execution(end: BaseException | None):
    def execute(source, target, parameters, **how):
        assert (str(source).endswith("notebooks/02_dapt.ipynb"), parameters) == (True, {"profile": "tiny"})
        files.write_json(target, copy.deepcopy(NOTEBOOK))
        if end is not None:
            raise end

    return execute


def test_a_copy_is_whole_or_absent_and_a_stopped_one_says_so(root, monkeypatch):
    paths = Paths("tiny", root)
    place, unfinished = paths.results / "notebooks" / "02_dapt.ipynb", paths.work / "notebooks/tiny/02_dapt.ipynb"
    monkeypatch.setattr(papermill, "execute_notebook", execution(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        executed.execute(paths, "02_dapt", "tiny")
    assert not place.exists() and ledger.notebook_seconds(paths, "02_dapt") is None
    first, *cells = files.read_json(unfinished)["cells"]
    assert first["source"] == [executed.STOPPED]
    states = [cell["metadata"]["papermill"]["status"] for cell in cells if cell["cell_type"] == "code"]
    assert states == ["completed", "completed", "running", "pending"]
    monkeypatch.setattr(papermill, "execute_notebook", execution(None))
    executed.execute(paths, "02_dapt", "tiny")
    assert files.read_json(place) == executed.without_times(NOTEBOOK) and not unfinished.exists()
    assert ledger.notebook_seconds(paths, "02_dapt") < 60


def ended_by(ename: str, evalue: str) -> papermill.PapermillExecutionError:
    return papermill.PapermillExecutionError(3, 3, "study.run()", ename, evalue, [f"{ename}: {evalue}"])


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (
            DeadKernelError("Kernel died"),
            StudyError,
            "found: the kernel(.|\n)* killed(.|\n)*do this: free",
        ),
        (ended_by("StudyError", "found: a\nexpected: b\ndo this: c"), StudyError, "found: a\nexpected: b\ndo this: c"),
        (ended_by("PermissionError", "[Errno 13] x"), OSError, "Errno 13.* x in notebook 02_dapt"),
        (ended_by("KeyError", "a"), papermill.PapermillExecutionError, "KeyError"),
    ],
)
def test_what_ended_a_notebook_is_told_in_the_command_s_own_words(root, monkeypatch, error, kind, told):
    monkeypatch.setattr(papermill, "execute_notebook", execution(error))
    with pytest.raises(kind, match=told):
        executed.execute(Paths("tiny", root), "02_dapt", "tiny")


@pytest.mark.parametrize(
    ("logged", "is_said"),
    [
        ("dapt (tiny): 1/2 checkpoints done, 3 left, 5 s so far", True),
        ("prepare: some of the text differs", True),
        ("| task | F1 |\n|---|---|", False),
        ("<dontstop.report.theme.WideFigure object at 0x7>", False),
        ("Executing Cell 3---------------------------------", False),
        ("Ending Cell 3------------------------------------", False),
        ("", False),
    ],
)
def test_a_terminal_is_told_of_progress_and_not_of_tables(logged, is_said):
    assert executed.is_said(logging.LogRecord("papermill", logging.INFO, "", 0, logged, None, None)) == is_said
