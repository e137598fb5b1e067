"""A file is written whole or not at all."""

import errno
import os
import pickle
import re

import numpy as np
import pytest

from dontstop.errors import StudyError
from dontstop.machine import files


def test_a_file_comes_back_as_written(tmp_path):
    rows = [{"text": "ünïcode\nand a line", "label": 1}, {"text": "", "label": 2.5}]
    files.write_jsonl(tmp_path / "new" / "folder" / "rows.jsonl", rows)
    assert files.read_jsonl(tmp_path / "new" / "folder" / "rows.jsonl") == rows
    files.write_json(tmp_path / "value.json", rows)
    assert files.read_json(tmp_path / "value.json") == rows
    files.write_text(tmp_path / "text", "dôc\n")
    assert (tmp_path / "text").read_bytes() == "dôc\n".encode()


def test_what_is_half_written_of_a_folder_is_not_that_of_one_whose_name_begins_alike(tmp_path):
    own, others = files.part_of(tmp_path / "own"), files.part_of(tmp_path / "own.example")
    own.mkdir()
    others.mkdir()
    assert files.parts_of(tmp_path / "own") == [own] and files.parts_of(tmp_path / "own.example") == [others]


@pytest.mark.parametrize("crash", [RuntimeError, KeyboardInterrupt])
def test_a_crash_while_writing_leaves_the_old_file_and_no_other(tmp_path, crash):
    path = tmp_path / "scores"
    files.write_text(path, "old")
    with pytest.raises(crash), files.writing(path) as part:
        part.write_text("half of the n")
        raise crash
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["scores"]


def test_the_new_file_appears_only_once_it_is_whole(tmp_path):
    path = tmp_path / "scores"
    with files.writing(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_is_the_user_s_to_mend_and_costs_nothing(tmp_path, monkeypatch, failing, code):
    path = tmp_path / "scores"
    files.write_text(path, "old")

    def full(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, failing, full)
    with pytest.raises(StudyError, match="no space left") as caught:
        files.write_text(path, "new")
    assert str(path) in caught.value.found and "free some space" in caught.value.remedy
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["scores"]


def test_other_system_errors_stay_what_they_are(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(files.os, "fsync", broken)
    with pytest.raises(OSError, match="input/output error"):
        files.write_text(tmp_path / "scores", "new")
    assert os.listdir(tmp_path) == []


def test_the_digest_is_that_of_the_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert files.digest(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_arrays_come_back_as_written_in_memory_or_mapped(tmp_path):
    values = np.arange(6, dtype=np.int32).reshape(2, 3)
    files.write_array(tmp_path / "new" / "values.npy", values)
    for mapped in (False, True):
        found = files.read_array(tmp_path / "new" / "values.npy", mapped=mapped)
        assert found.dtype == np.int32 and found.tolist() == values.tolist() and isinstance(found, np.memmap) == mapped
    assert os.listdir(tmp_path / "new") == ["values.npy"]


def test_a_folders_digest_changes_with_any_file_that_is_not_hidden_through_links_too(tmp_path):
    files.write_text(tmp_path / "far" / "vocab.txt", "one")
    (tmp_path / "model").mkdir()
    os.symlink(tmp_path / "far", tmp_path / "model" / "0_Transformer")
    seen = [files.folder_digest(tmp_path / "model")]
    for name, text in [("far/vocab.txt", "two"), ("model/weights", "w"), ("model/weights", "v")]:
        files.write_text(tmp_path / name, text)
        seen.append(files.folder_digest(tmp_path / "model"))
    os.rename(tmp_path / "model" / "weights", tmp_path / "model" / "weight")
    seen.append(files.folder_digest(tmp_path / "model"))
    assert len(set(seen)) == 5
    files.write_text(tmp_path / "model" / ".cache" / "lock", "here")
    assert files.folder_digest(tmp_path / "model") == seen[-1]


def test_equal_values_have_equal_fingerprints():
    one = files.fingerprint({"a": 1, "b": [1.5, None, "ü"]})
    assert one == files.fingerprint({"b": [1.5, None, "ü"], "a": 1})
    assert len(one) == 64


@pytest.mark.parametrize("other", [{"a": 2}, {"a": 1.5}, {"a": "1"}, {"b": 1}, {"a": [1]}, [], None])
def test_different_values_have_different_fingerprints(other):
    assert files.fingerprint({"a": 1}) != files.fingerprint(other)


def test_a_study_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(StudyError("a crab", "a fish", "throw it back")))
    assert (error.found, error.expected, error.remedy) == ("a crab", "a fish", "throw it back")
    assert str(error) == "found: a crab\nexpected: a fish\ndo this: throw it back"


@pytest.mark.parametrize(
    "message",
    [
        "No space left on device (os error 28)",
        "Error while serializing: I/O error: File too large (os error 27)",
        "4096 requested and 1024 written",  # NumPy's
        'IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })',
    ],
)
def test_a_full_disk_leaves_the_old_folder(tmp_path, message):
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "old").touch()
    with pytest.raises(StudyError, match="no space left"), files.saving_folder(tmp_path / "tokenizer") as part:
        (part / "half").touch()
        raise Exception(message)
    assert [path.name for path in tmp_path.rglob("*")] == ["tokenizer", "old"]


def test_a_saved_folder_takes_the_place_of_the_old_one(tmp_path):
    for name in ("old", "new"):
        with files.saving_folder(tmp_path / "folder") as part:
            (part / name).touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "new"]


@pytest.mark.parametrize("message", ["the sequence is too large", "header too large (code 281)", "no quota of words"])
def test_no_other_error_reads_as_a_full_disk(tmp_path, message):
    with pytest.raises(RuntimeError, match=re.escape(message)), files.saving_folder(tmp_path / "folder"):
        raise RuntimeError(message)
    assert not list(tmp_path.iterdir())


def test_an_array_comes_back_and_may_stay_on_disk(tmp_path):
    files.write_array(tmp_path / "array.npy", np.arange(6, dtype=np.uint16))
    for mapped in (False, True):
        found = files.read_array(tmp_path / "array.npy", mapped=mapped)
        assert found.tolist() == list(range(6)) and found.dtype == np.uint16
        assert isinstance(found, np.memmap) == mapped
