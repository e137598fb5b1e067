"""Texts that are mended and broken are counted run by run, and chosen by a rule."""

import numpy as np
import pandas as pd

from dontstop.design.arms import BASE, DAPT
from dontstop.verdicts import predictions
from fabricated import make_record

TRUTH = {"x": np.array([0, 1, 2, 0, 0])}
GUESSES = {("base", 0): [1, 1, 0, 0, 0], ("dapt", 0): [0, 1, 2, 1, 1]}
GUESSES |= {("base", 1): [1, 1, 2, 0, 0], ("dapt", 1): [0, 1, 2, 1, 0]}


def compared(guesses=GUESSES):
    rows = [make_record("x", a, 0, TRUTH["x"], guess, replicate=r) for (a, r), guess in guesses.items()]
    return predictions.changed(pd.DataFrame(rows), TRUTH, DAPT, BASE)


def test_a_text_is_mended_in_the_share_of_runs_in_which_the_arm_alone_is_right():
    table = compared()
    assert table["mended"].tolist() == [1.0, 0.0, 0.5, 0.0, 0.0]
    assert table["broken"].tolist() == [0.0, 0.0, 0.0, 1.0, 0.5]
    assert table["label"].tolist() == ["a", "b", "c", "a", "a"]
    assert table["guess"].tolist()[:3] == ["a", "b", "c"] and table["other_guess"].tolist()[:2] == ["b", "b"]
    [row] = predictions.changed_counts(table).to_dict("records")
    assert row == {"task": "x", "arm": "dapt", "other": "base", "mended": 1.5, "broken": 1.5, "num_test": 5}
    of_first = compared({place: guess for place, guess in GUESSES.items() if place != ("base", 1)})
    assert of_first["mended"].tolist() == [1, 0, 1, 0, 0]  # a replicate that one of the two lacks is left out


def test_the_texts_that_are_mended_and_broken_most_often_are_shown_with_both_guesses():
    texts = {"x": ["zero", "one", "two", "three", "four"]}
    shown = predictions.changed_texts(compared(), texts).to_dict("records")
    assert [(row["change"], row["text"], row["label"]) for row in shown] == [
        ("mended", "zero", "a"),
        ("broken", "three", "a"),
    ]
    assert (shown[0]["base"], shown[0]["dapt"]) == ("b", "a")
    assert (shown[1]["base"], shown[1]["dapt"]) == ("a", "b")
    assert predictions.changed_texts(compared().iloc[1:2], texts).empty
    # Broken in one run of two: the guess that is shown, the more frequent one, would be right.
    assert predictions.changed_texts(compared().iloc[4:], texts).empty


def test_arms_that_have_not_run_leave_nothing_to_compare():
    rows = pd.DataFrame([make_record("x", "base", 0, TRUTH["x"], GUESSES["base", 0])])
    assert predictions.changed(rows, TRUTH, DAPT, BASE).empty
    assert predictions.changed_texts(predictions.changed(rows, TRUTH, DAPT, BASE), {}).empty
