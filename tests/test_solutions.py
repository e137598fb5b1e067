"""Solutions of exercises: there for every exercise of every notebook, and right; they run on the study at `smoke`.

`make notebook-tests` runs them after the notebooks, whose records they read.
"""

import os
import re

import nbformat
import pytest

from conftest import PROJECT
from dontstop.design.plan import NOTEBOOKS

every_notebook = pytest.mark.parametrize("name", [*NOTEBOOKS, "07_own_data"])


def solutions(name: str):
    return nbformat.read(PROJECT / "notebooks" / "solutions" / f"{name}.ipynb", as_version=4).cells


@every_notebook
def test_every_exercise_has_a_solution_and_every_solution_a_check(name):
    prose = "".join(cell.source for cell in nbformat.read(PROJECT / f"notebooks/{name}.ipynb", 4).cells[-40:])
    assert f"notebooks/solutions/{name}.ipynb" in prose
    cells = solutions(name)
    headings = [cell.source.split("\n")[0] for cell in cells if cell.source.startswith("## ")]
    assert [heading[3] for heading in headings] == list("1234")
    assert not any(cell.get("outputs") for cell in cells)
    checks = [cell.source for cell in cells[1:] if cell.cell_type == "code"][1:]
    assert len(checks) == 4 and all(re.search(r"^\s*assert ", check, re.MULTILINE) for check in checks)


@pytest.mark.skipif(os.environ.get("DONTSTOP_PROFILE") != "smoke", reason="needs the study at smoke")
@every_notebook
def test_solutions_run_and_their_checks_hold(name, monkeypatch):
    monkeypatch.setenv("DONTSTOP_ROOT", str(PROJECT))
    space: dict[str, object] = {}
    for cell in (cell for cell in solutions(name) if cell.cell_type == "code"):
        exec(compile(cell.source, f"solutions/{name}:{cell.id}", "exec"), space)
