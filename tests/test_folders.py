"""Folders that are full, read-only or missing: told as what they are, and nothing is lost."""

import errno
import subprocess
import sys

import pandas as pd
import pytest

import reliability
import tiny
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.text import documents, readers


@pytest.fixture
def table(tmp_path):
    """Write a compressed table, which is unpacked into a temporary file before it is read."""
    path = tmp_path / "texts.parquet.gz"
    pd.DataFrame({"text": ["one text", "another"]}).to_parquet(tmp_path / "texts.parquet")
    import gzip

    path.write_bytes(gzip.compress((tmp_path / "texts.parquet").read_bytes()))
    return path


def test_a_full_folder_for_temporary_files_is_no_damaged_table(table, monkeypatch):
    assert len(list(documents.read_documents(table))) == 2

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(readers.shutil, "copyfileobj", full)
    with pytest.raises(StudyError, match=r"no room for temporary files(.|\n)*No space(.|\n)*set TMPDIR"):
        list(documents.read_documents(table))


def test_no_folder_for_temporary_files_is_told(table, monkeypatch):
    def missing():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(readers.tempfile, "TemporaryFile", missing)
    with pytest.raises(StudyError, match=r"no room for temporary files(.|\n)*No usable temporary directory"):
        list(documents.read_documents(table))


def test_a_cut_table_is_damaged_still(table):
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(StudyError, match="unreadable after row 0(.|\n)*copy it again"):
        list(documents.read_documents(table))


def test_a_read_only_disk_is_three_lines(tmp_path, monkeypatch, capsys):
    root = tiny.make(tmp_path / "study")

    def read_only(source, target):
        raise OSError(errno.EROFS, "Read-only file system", str(target))

    monkeypatch.setattr(files.os, "replace", read_only)
    with tiny.at(root):
        assert tiny.command("prepare", "-p", "tiny") == 2
    found, expected, remedy = capsys.readouterr().err.splitlines()
    assert "Read-only file system" in found and str(root) in found
    assert "can be read and written" in expected and remedy.startswith("do this:")


@pytest.mark.skipif(not reliability.SHARE, reason="a long test: make test-long")
def test_a_study_needs_no_home(tmp_path):
    root = tiny.make(tmp_path / "study")
    outside = {name: value for name, value in tiny.environment(root).items() if name != "HOME"}
    command = [sys.executable, "-m", "dontstop", "run", "base", "-p", "tiny"]
    for environment in (outside, outside | {"HOME": "/nonexistent"}):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
