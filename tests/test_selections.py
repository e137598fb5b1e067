"""Selected text that is damaged goes, once nobody is at work on it."""

import contextlib

import pytest

from dontstop.errors import StudyError
from dontstop.machine import digests, files
from dontstop.profiles import Paths, load_profile
from dontstop.runs import selections


@pytest.fixture
def damaged(root):
    """Leave selected text without a file that its digests name, as it stands for a moment while it is replaced."""
    folder = Paths("smoke", root).selected / "replicate_0"
    files.write_json(folder / "manifest.json", {})
    digests.write_folder_digests(folder)
    (folder / "manifest.json").unlink()
    return folder


def drop(root) -> None:
    selections.drop_damaged(load_profile("smoke", root), Paths("smoke", root))


def test_damaged_text_is_removed_and_told(root, damaged, capsys):
    drop(root)
    assert not damaged.exists()
    told = f"{damaged / 'manifest.json'} is missing: {damaged} is removed, and `dontstop select` makes it again\n"
    assert capsys.readouterr().out == told


def test_text_that_another_command_was_replacing_stays(root, damaged, monkeypatch, capsys):
    @contextlib.contextmanager
    def waited(_lock):
        files.write_json(damaged / "manifest.json", {})  # by the command that held the lock
        yield

    monkeypatch.setattr(selections.locks, "only_run", waited)
    drop(root)
    assert (damaged / "manifest.json").is_file() and capsys.readouterr().out == ""


def test_where_nothing_may_be_made_damage_stops_the_command_and_stays(root, damaged, monkeypatch):
    monkeypatch.setenv("DONTSTOP_READ_ONLY", "1")
    with pytest.raises(StudyError, match=r"manifest.json is missing\n.*\n.*dontstop select --profile smoke"):
        drop(root)
    assert (damaged / digests.DIGESTS).is_file()
