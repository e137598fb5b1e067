"""One's own files: gathered under any columns, divided by class and content, and looked at before any training."""

import collections

import pytest

import tiny
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import load_profile
from dontstop.text import inspection, own_files

TASK = {"tickets": {"domain": "support", "metric": "macro_f1"}}
ROWS = [{"text": f"text {k} of a kind", "label": "rare" if k < 5 else "common"} for k in range(100)]


def test_a_file_is_divided_by_class_and_each_text_has_one_place():
    found = own_files.divide(ROWS, ("test", "dev"), seed=0)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 69, "test": 20, "dev": 11}
    rare = {split: sum(row["label"] == "rare" for row in rows) for split, rows in found.items()}
    assert rare == {"train": 3, "test": 1, "dev": 1}
    assert sorted(row["text"] for rows in found.values() for row in rows) == sorted(row["text"] for row in ROWS)


def test_a_texts_place_does_not_depend_on_the_order_of_the_file():
    found, turned = (own_files.divide(rows, ("test", "dev"), seed=0) for rows in (ROWS, ROWS[::-1]))
    assert [{row["text"] for row in found[s]} == {row["text"] for row in turned[s]} for s in found] == [True] * 3
    assert found != own_files.divide(ROWS, ("test", "dev"), seed=1)


def test_texts_that_differ_by_marks_alone_are_kept_and_stay_together():
    marked = [{"text": f"{mark} binds to protein {k} {mark}", "label": mark} for k in range(40) for mark in "<["]
    found = own_files.divide(marked, ("test", "dev"), seed=0)
    numbers = {split: {row["text"].split()[4] for row in rows} for split, rows in found.items()}
    assert sum(map(len, found.values())) == 80 and sum(map(len, numbers.values())) == 40
    assert [len(found[split]) for split in ("test", "dev")] == [16, 8]


def test_a_class_of_two_texts_is_all_in_train():
    rows = [*ROWS, {"text": "alone", "label": "lone"}, {"text": "the other", "label": "lone"}]
    found = own_files.divide(rows, ("test",), seed=0)
    assert sum(row["label"] == "lone" for row in found["train"]) == 2 and set(found) == {"train", "test"}


@pytest.fixture
def gathered(tmp_path):
    """Gather the tiny user's files; return the profile and what was said."""
    tiny.make_own(tmp_path)
    profile, said = load_profile("own", tmp_path), []
    own_files.gather(profile, tmp_path / "constraints.txt", said.append)
    return profile, said


def test_files_are_gathered_under_their_own_columns(gathered, tmp_path):
    profile, said = gathered
    mirror = tmp_path / "work" / "own" / "own"
    assert profile.text.folder == str(mirror)
    assert files.read_jsonl(mirror / "corpora" / "support.jsonl")[0] == {"text": tiny.texts("cs", "corpus", 60, 40)[0]}
    rows = [row for split in tiny.SPLITS for row in files.read_jsonl(mirror / "tasks" / "tickets" / f"{split}.jsonl")]
    assert collections.Counter(row["label"] for row in rows) == {"few": 40, "many": 40}
    assert said == ["tickets: train 56, dev 8, test 16 texts (test and dev taken from train, by class)"]


def test_they_are_gathered_again_only_once_they_change(gathered, tmp_path):
    profile, _ = gathered
    assert own_files.is_gathered(profile)
    with open(tmp_path / "mine" / "tickets.csv", "a") as handle:
        handle.write("zu zu zu zu,many\nzu zu zu zu,many\n")
    assert not own_files.is_gathered(profile)
    said = []
    own_files.gather(profile, tmp_path / "constraints.txt", said.append)
    assert own_files.is_gathered(profile) and said[0].startswith("tickets: 1 repeated rows of")


def test_a_file_that_is_missing_or_not_named_is_told(gathered, tmp_path):
    profile, _ = gathered
    (tmp_path / "mine" / "tickets.csv").unlink()
    with pytest.raises(StudyError, match="no file .*tickets.csv"):
        own_files.is_gathered(profile)
    tiny.make_own(tmp_path, text={"study": {"domains": {"support": {"files": "mine/cs"}}, "tasks": TASK}})
    with pytest.raises(StudyError, match="no file of tickets in the study"):
        own_files.is_gathered(load_profile("own", tmp_path))


def test_scripts_are_told_apart():
    assert inspection.script_shares(["abc", "где", "12!"]) == {"LATIN": 0.5, "CYRILLIC": 0.5}
    assert next(iter(inspection.script_shares(["文章分类任务 ab"]))) == "CJK"
    assert inspection.corpus(["one two", "three"])["num_words"] == 3


def test_splits_are_described():
    row = {"text": "One text.", "label": "a"}
    train, test = inspection.labelled({"train": [row, row, {"text": "other", "label": "b"}], "test": [row]})
    assert [train[f"{size}_class"] for size in ("smallest", "largest")] == [1, 2]
    assert (train["num_classes"], train["num_repeated"]) == (2, 1)
    assert (test["num_in_train"], train["num_in_train"], test["script"]) == (1, 0, "latin")
