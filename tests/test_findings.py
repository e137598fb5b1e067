"""Findings read right whichever way the numbers fall."""

import numpy as np
import pandas as pd
import pytest

from dontstop.report import findings


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 2, "holds"),
        (-2, -0.1, "does not hold"),
        (-1, 1, "undecided"),
        (0, 1, "undecided"),
        (np.nan,) * 2 + ("und",),
    ],
)
def test_a_verdict_follows_the_interval(low, high, word):
    assert findings.verdict(low, high).startswith(f"**{word}")


def test_signs_are_typographic_and_zero_has_no_minus():
    assert [findings.signed(value) for value in (1.25, -1.25, -0.04, 0)] == ["+1.2", "−1.2", "+0.0", "+0.0"]


def test_a_claim_is_told_with_its_verdict_and_the_papers():
    row = pd.Series(
        {"statement": "A is above B", "ours": "holds", "effect": 1.23, "effect_low": 0.2, "effect_high": 2.2}
        | {"p_adjusted": 0.012, "tasks": "3 holds, 5 undecided", "paper": "undecided", "paper_effect": -0.4}
        | {"paper_tasks": "8 undecided"}
    )
    sentence = findings._claim_sentence(row)
    assert sentence.startswith("*A is above B*: **holds**. Over all tasks the difference is +1.2 points")
    assert "p = 0.012 after correction" in sentence and "task by task: 3 holds, 5 undecided" in sentence
    assert sentence.endswith("**undecided** (−0.4; 8 undecided).")
    assert findings._claim_sentence(row.replace("holds", "not run")) == "*A is above B*: **not run**."


def test_the_course_of_tapt_names_the_best_number_of_epochs_on_dev():
    curve = pd.DataFrame({"task": "x_topic", "num_epochs": [0, 5, 10], "dev_mean": [50.0, 53.0, 52.0]})
    assert findings._curve_sentences(curve) == [
        "On x topic the dev score is highest after 5 epochs of TAPT (53.0; after 10: 52.0)."
    ]
    assert findings._curve_sentences(curve[:0]) == []


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ((0.9, 0.4, 1.0, 0.01), "**holds**"),
        ((0.9, 0.4, 1.0, 0.30), "**undecided**"),
        ((0.9, -0.4, 1.0, 0.01), "**undecided**"),
        ((-0.9, -1.0, -0.4, 0.01), "**does not hold**"),
        ((np.nan,) * 4, "not defined"),
    ],
)
def test_a_correlation_needs_its_interval_and_its_p_value(row, word):
    table = pd.DataFrame([row], index=["jensen_shannon"], columns=["spearman", "low", "high", "p_value"])
    sentence = findings._course_sentence(table)
    assert f"by Jensen-Shannon divergence {word}" in sentence and "nan" not in sentence


@pytest.mark.parametrize(
    ("changes", "word", "count"),
    [((-1, -2), "**holds**", "2 of 2"), ((-1, 2), "**mixed**", "1 of 2"), ((1, 2), "**does not hold**", "0 of 2")],
)
def test_losses_are_counted_by_domain(changes, word, count):
    rows = [("ours", change) for change in changes] + [("paper", -0.5)]
    table = pd.DataFrame(rows, columns=["study", "own_change"])
    sentence = findings._loss_sentence("falls", table, "own_change", -1)
    assert f"{word}, in {count} domains" in sentence and "In the paper: 1 of 1, −0.50 nats" in sentence


def test_orders_go_from_near_to_far_for_likeness_and_distance_alike():
    measured = pd.DataFrame(
        {
            "vocabulary_overlap": [20.0, 40.0],
            "vocabulary_overlap_low": [18.0, 38.0],
            "vocabulary_overlap_high": [22.0, 42.0],
            "masked_lm_loss": [3.0, 4.0],
            "masked_lm_loss_low": [np.nan] * 2,
            "masked_lm_loss_high": [np.nan] * 2,
        },
        index=["far_words", "near_words"],
    )
    by_words = findings._order_sentence(measured, "vocabulary_overlap")
    assert by_words.index("near words (40.0 %)") < by_words.index("far words (20.0 %)") and "lie apart" in by_words
    by_loss = findings._order_sentence(measured, "masked_lm_loss")
    assert by_loss.index("far words (3.00 nats)") < by_loss.index("near words (4.00 nats)") and "ends" not in by_loss
    both = findings._farthest_sentence(measured, ["vocabulary_overlap", "masked_lm_loss"])
    assert "do not take the same domain" in both and "far words (1), near words (1)" in both
    assert "All 1 distances" in findings._farthest_sentence(measured, ["masked_lm_loss"])
