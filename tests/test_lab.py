"""JupyterLab as `make lab` starts it: notebooks stay as they are committed; a mistake is told without a traceback."""

import copy
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from conftest import PROJECT
from dontstop import lab
from dontstop.errors import tell_plainly

NAME = "notebooks/01_domain_gap.ipynb"


@pytest.fixture
def server(tmp_path):
    """Give what the hook asks of a contents manager, on a folder with one notebook of the study and a copy of it."""
    (tmp_path / "notebooks").mkdir()
    for name in (NAME, "notebooks/01_domain_gap-Copy1.ipynb"):
        shutil.copy(PROJECT / NAME, tmp_path / name)
    return SimpleNamespace(root_dir=str(tmp_path))


def executed(server, name: str) -> dict:
    """Return a notebook as JupyterLab has it after all cells have run twice at another profile."""
    content = nbformat.read(f"{server.root_dir}/{name}", as_version=4)
    content["metadata"]["language_info"] = {"name": "python", "version": "3.13"}
    for count, cell in enumerate((cell for cell in content["cells"] if cell["cell_type"] == "code"), start=30):
        output = nbformat.v4.new_output("stream", text="other numbers")
        cell |= {"execution_count": count, "outputs": [output]}
    return {"type": "notebook", "content": content}


@pytest.mark.parametrize("path", sorted((PROJECT / "notebooks").rglob("*.ipynb")), ids=lambda path: path.stem)
def test_saving_a_notebook_of_the_study_changes_nothing(path):
    server, name = SimpleNamespace(root_dir=str(PROJECT)), path.relative_to(PROJECT).as_posix()
    model = executed(server, name)
    lab.save_as_committed(model, name, server)
    saved = nbformat.writes(nbformat.from_dict(model["content"]))
    assert saved.rstrip("\n") == path.read_text(encoding="utf-8").rstrip("\n"), "save it with nbformat, or in make lab"


def test_an_edit_of_ones_own_is_saved(server):
    model = executed(server, NAME)
    model["content"]["cells"][0]["source"] = "mine"
    model["content"]["cells"].append(nbformat.v4.new_code_cell("1 + 1"))
    lab.save_as_committed(model, NAME, server)
    assert [model["content"]["cells"][k]["source"] for k in (0, -1)] == ["mine", "1 + 1"]


@pytest.mark.parametrize("name", ["notebooks/01_domain_gap-Copy1.ipynb", "notebooks/99_new.ipynb", "01_mine.ipynb"])
def test_other_notebooks_keep_their_outputs(server, name):
    model = executed(server, NAME)
    before = copy.deepcopy(model)
    lab.save_as_committed(model, name, server)
    assert model == before


def test_no_other_host_is_asked_and_the_whole_checkout_is_in_reach(tmp_path):
    given = lab.arguments(tmp_path)
    assert f"--ServerApp.root_dir={tmp_path}" in given and "--LabApp.news_url=None" in given
    folder = Path(lab.environment()["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0])
    disabled = json.loads((folder / "labconfig" / "page_config.json").read_text())["disabledExtensions"]
    assert disabled == {"@jupyterlab/apputils-extension:announcements": True}


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("from dontstop.errors import StudyError as E\nraise E('a', 'b', 'c')", "found: a\nexpected: b\ndo this: c"),
        ("def f():\n    raise KeyboardInterrupt\nf()", "stopped: what is finished is kept"),
    ],
)
def test_a_notebook_tells_of_mistakes_and_interrupts_without_frames(code, told, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    tell_plainly(shell)
    result = shell.run_cell(code)
    said = capsys.readouterr().out
    assert said.startswith(told) and len(said.splitlines()) <= 3
    assert result.error_in_exec is not None  # papermill and nbval still see an error
    shell.run_cell("1 / 0")
    assert "Traceback" in capsys.readouterr().out  # a fault of the code's own is shown whole
