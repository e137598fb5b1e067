"""Examples of tasks: what training and scoring need of their splits."""

import pytest

from dontstop.errors import StudyError
from dontstop.text import examples


def rows(*labels):
    return [{"id": str(k), "text": f"text {k}", "label": label} for k, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("train", "dev", "test", "message"),
    [
        ("ab", "ab", "abc", "label 'c' in test of t, unseen in train"),
        ("ab", "d", "ab", "label 'd' in dev of t, unseen in train"),
        ("aa", "a", "a", "only the label 'a' in train of t"),
        ("ab", "ab", "", "no examples in test of t"),
        ("", "ab", "ab", "no examples in train of t"),
    ],
)
def test_tasks_that_cannot_be_trained_or_scored(train, dev, test, message):
    with pytest.raises(StudyError, match=message):
        examples.check_tasks({"t": {"train": rows(*train), "dev": rows(*dev), "test": rows(*test)}})


def test_doubts_about_labels_are_told_and_stop_nothing():
    splits = {"train": rows(*"abc"), "dev": rows(*"abb"), "test": rows(*"abc")}
    assert list(examples.doubts(splits)) == [
        "1 text has two labels or more", "dev lacks the label c, which macro-F1 counts as 0 there",
    ]  # fmt: skip
    splits["dev"][2]["label"] = "c"
    assert list(examples.doubts(splits)) == []
    splits["dev"][2] |= {"text": "TEXT, ２!", "label": "a"}
    assert list(examples.doubts(splits))[0] == "1 text has two labels or more"
    for one, other in (("A ", "a"), ("1", "1.0")):
        splits = {"train": rows(one, "b", other), "dev": rows(one, "b", other), "test": rows(one, "b", other)}
        (told,) = examples.doubts(splits)
        why = "differ by case, space or a final .0 alone, and are taken for different ones"
        assert told == f"the labels {one!r}, {other!r} {why}"
