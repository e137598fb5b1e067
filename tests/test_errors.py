"""Mistakes of the user's, through the command line: found, expected, do this; nothing half-written; then it works."""

import errno
import os
import resource
import shutil

import pytest

import tiny
from dontstop import tokens
from dontstop.machine import files, runner

PREPARE = ("prepare", "-p", "tiny")


@pytest.fixture
def study(root):
    """Give the root of a tiny study of which nothing has been prepared."""
    return tiny.make(root, speed={"num_workers": 1})


def mistake(capsys, *arguments: str) -> str:
    """Give a command that must fail as the user's mistakes do, and return what it says."""
    assert tiny.command(*arguments) == 2
    said = capsys.readouterr().err
    assert [line.partition(": ")[0] for line in said.splitlines()][:1] == ["found"]
    assert "\nexpected: " in said and "\ndo this: " in said and "Traceback" not in said
    return said


def add_line(path, line: bytes) -> None:
    """Add a line in the middle of a file."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], line, *lines[3:]]))


def test_a_wrong_profile(study, capsys):
    assert "did you mean 'tiny'" in mistake(capsys, "run", "dapt", "-p", "tinny")


def test_a_wrong_experiment(study, capsys):
    assert "one of base, domain_gap, dapt" in mistake(capsys, "run", "datp", "-p", "tiny")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"finetune": {"learning_rat": 0.1}}, "write 'learning_rate' instead"),
        ({"seeds": ["0"]}, "seeds.0 = '0'"),
        ({"dapt": {"num_steps": 6.5}}, "dapt.num_steps = 6.5"),
        ({"dapt": {"learning_rate": "5e-4"}}, "write 5.0e-4"),
        ({"task_finetune": {"citation_intend": {}}}, "task_finetune for citation_intend"),
        ({"text": {"folder": "text"}}, "no folder "),
        ({"text": {"folder": "configs"}}, "no citation_intent, hyperpartisan_news in"),
        ({"text": {"tasks": ["citation_intend"]}}, "did you mean 'citation_intent'"),
        ({"text": {"low_resource": {"rct": 500}}}, "did you mean 'rct-20k'"),
        ({"text": {"folder": None}}, "text.folder"),
        ({"encoder": {"name": "some-encoder"}}, "tokens.tokenizer"),
        ({"tokens": {"vocabulary_size": 100}}, "261 or more"),
        ({"tokens": {"vocabulary_size": 60000}}, "yields only"),
    ],
)
def test_wrong_settings(study, capsys, changes, message):
    tiny.set_profile(study, **changes)
    assert message in mistake(capsys, *PREPARE)
    assert tiny.unfinished(study) == []


TRAIN, TEST, CORPUS = "tasks/citation_intent/train.jsonl", "tasks/citation_intent/test.jsonl", "corpora/cs.jsonl"


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        (CORPUS, lambda path: path.unlink(), "no file"),
        (TRAIN, lambda path: path.unlink(), "no file"),
        (CORPUS, lambda path: path.write_bytes(b""), "no documents in"),
        (CORPUS, lambda path: path.write_bytes(b'{"text": "short"}\n'), "no document left in the corpus of cs"),
        (
            CORPUS,
            lambda path: tiny.write_lines(path, [{"text": "😀 " * k + "! !"} for k in range(9, 99)]),
            "no words in the corpus of cs: ",
        ),
        (CORPUS, lambda path: add_line(path, b'{"text": "half\n'), "cs.jsonl, line 4"),
        (CORPUS, lambda path: add_line(path, b'{"text": "caf\xe9"}\n'), "UTF-8"),
        (TEST, lambda path: add_line(path, b'{"text": "a b c d", "label": "none"}\n'), "unseen in train"),
        (
            TRAIN,
            lambda path: tiny.write_lines(path, [row for row in files.read_jsonl(path) if row["label"] == "few"]),
            "only the label 'few'",
        ),
    ],
)
def test_wrong_text(study, capsys, name, spoil, message):
    path = study / "texts" / name
    spoil(path)
    assert message in mistake(capsys, *PREPARE)
    assert tiny.unfinished(study) == [] and not (study / "data" / "tiny" / "manifest.json").exists()


def test_the_same_command_succeeds_after_the_mend(study, capsys):
    path = study / "texts" / CORPUS
    right = path.read_bytes()
    add_line(path, b"{\n")
    mistake(capsys, *PREPARE)
    path.write_bytes(right)
    assert tiny.command(*PREPARE) == 0
    add_line(path, b"{\n")
    assert "malformed JSON" in mistake(capsys, *PREPARE)  # and is not taken for prepared, though it was once
    path.write_bytes(right)
    assert tiny.command(*PREPARE) == 0 and tiny.unfinished(study) == []


@pytest.mark.parametrize("group", ["base", "dapt"])
def test_sequences_longer_than_the_text_are_told_before_any_training(study, capsys, monkeypatch, group):
    monkeypatch.setattr(runner, "carry_out", None)
    tiny.set_profile(study, **{group: {"sequence_length": 100_000}}, speed={"num_workers": 1})
    said = mistake(capsys, "run", "dapt", "-p", "tiny")
    assert "at least one sequence of 100000 tokens" in said and tiny.unfinished(study) == []


@pytest.mark.parametrize("at", [0, 7, 16, 25])
def test_a_full_disk_while_preparing(study, capsys, monkeypatch, at):
    replace, calls = os.replace, iter(range(at))

    def full(*arguments):
        if next(calls, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        mistake(capsys, *PREPARE)
    assert tiny.unfinished(study) == []
    assert tiny.command(*PREPARE) == 0


def test_a_full_disk_while_the_tokenizer_is_saved(study, capsys, monkeypatch):
    """The tokenizer's writer is in Rust and knows no OSError."""
    train = tokens.train_tokenizer

    def small_disk(*arguments):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
        try:
            train(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with monkeypatch.context() as patch:
        patch.setattr("dontstop.tokens.tokenizer.train_tokenizer", small_disk)
        assert "no space left while writing" in mistake(capsys, *PREPARE)
    assert tiny.unfinished(study) == [] and not list(study.rglob("tokenizer*"))


def test_a_full_disk_in_a_worker(study, capsys, monkeypatch):
    """A file-size limit stands for a full disk: small enough for the encoder, large enough for the rest."""
    monkeypatch.setattr(runner, "_warm", None)  # workers that another test has left know of no limit set since
    assert tiny.command(*PREPARE) == 0
    capsys.readouterr()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, limits[1]))
    try:
        code = tiny.command("run", "base", "-p", "tiny")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = capsys.readouterr().err
    assert code == 2 and "no space left while writing" in said and "Traceback" not in said
    assert not list((study / "work").rglob("*.part")) and not list((study / "work").rglob("training.json"))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_folders_that_may_not_be_written(study, capsys, monkeypatch, code):
    def refused(*_arguments):
        raise OSError(code, os.strerror(code), str(study / "data"))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refused)
        assert os.strerror(code) in mistake(capsys, *PREPARE)
    assert tiny.unfinished(study) == []


def test_a_file_where_a_folder_belongs(study, capsys):
    (study / "work").touch()
    assert str(study / "work") in mistake(capsys, *PREPARE)
    (study / "work").unlink()
    (study / "data").touch()
    assert str(study / "data") in mistake(capsys, *PREPARE)


def test_no_records_to_redraw_from(study, capsys):
    assert tiny.command("redraw", "-p", "tiny") == 0
    assert "no records of profile tiny yet" in capsys.readouterr().out


def test_no_results_to_report_on(study, capsys):
    assert "no results of profile tiny" in mistake(capsys, "report", "tiny")
    assert "make study PROFILE=laptop" in mistake(capsys, "report")


def test_a_missing_params_file(study, capsys):
    shutil.move(study / "params.yaml", study / "away.yaml")
    assert "params.yaml" in mistake(capsys, "prepare")
