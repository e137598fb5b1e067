"""Findings read right whichever way the numbers fall."""

import numpy as np
import pandas as pd
import pytest

from dontstop.report import findings
from dontstop.verdicts.losses import IN_DOMAIN


def test_a_claim_is_told_with_its_verdict_and_the_papers():
    row = pd.Series(
        {"statement": "A is above B", "ours": "holds", "effect": 1.23, "low": 0.2, "high": 2.2}
        | {"p_holm": 0.012, "tasks": "3 holds, 5 inconclusive", "paper": "inconclusive", "paper_effect": -0.4}
        | {"paper_tasks": "8 inconclusive"}
    )
    [sentence] = findings.of_claims(pd.DataFrame([row]))
    assert sentence.startswith("*A is above B*: **holds**. Over all tasks the difference is +1.2 points")
    assert "p = 0.012 after correction)" in sentence and "task by task: 3 holds, 5 inconclusive" in sentence
    assert sentence.endswith("**inconclusive** (−0.4; 8 inconclusive).")
    [not_run] = findings.of_claims(pd.DataFrame([row.replace("holds", "not run")]))
    assert not_run == "*A is above B*: **not run**."


def test_the_course_of_tapt_names_the_best_number_of_epochs_on_dev():
    curve = pd.DataFrame({"task": "x_topic", "num_epochs": [0, 5, 10], "mean": [50.0, 53.0, 52.0]})
    assert findings._curve_sentences(curve) == [
        "On x topic the dev score is highest after 5 epochs of TAPT (53.0; after 10: 52.0)."
    ]
    assert findings._curve_sentences(curve[:0]) == []


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ((0.9, 0.4, 1.0, 0.01), "**holds**"),
        ((0.9, 0.4, 1.0, 0.30), "**inconclusive**"),
        ((0.9, -0.4, 1.0, 0.01), "**inconclusive**"),
        ((-0.9, -1.0, -0.4, 0.01), "**does not hold**"),
        ((np.nan,) * 4, "not defined"),
    ],
)
def test_a_correlation_is_judged_by_its_interval_and_its_p_value(row, word):
    table = pd.DataFrame([row], index=["jensen_shannon"], columns=["spearman", "low", "high", "p_value"])
    sentence = findings._course_sentence(table)
    assert f"by Jensen-Shannon divergence {word}" in sentence and "nan" not in sentence


def test_losses_bear_the_verdict_of_the_claim_and_are_counted_by_domain():
    rows = [("ours", -1), ("ours", 2), ("paper", -0.5)]
    table = pd.DataFrame(rows, columns=["study", IN_DOMAIN])
    judged = pd.DataFrame({"study": ["ours", "paper"], "task": IN_DOMAIN, "verdict": ["inconclusive", "holds"]})
    sentence = findings._loss_sentence("falls", judged, table, IN_DOMAIN, -1)
    assert "**inconclusive**, in 1 of 2 domains; mean change +0.50 nats" in sentence
    assert "In the paper: 1 of 1, −0.50 nats" in sentence
    assert "**not run**" in findings._loss_sentence("falls", judged[:0], table, IN_DOMAIN, -1)


def test_orders_go_from_near_to_far_for_similarity_and_distance_alike():
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


def test_costs_are_told_as_factors():
    judged = pd.DataFrame(
        [("seconds", 0.41, "holds"), ("bytes", 0.019, "holds"), ("mean", np.nan, "holds")],
        columns=["task", "effect", "verdict"],
    ).assign(claim="C13", study="ours")
    sentence = findings._cost_sentence(judged)
    assert "**holds**. TAPT takes ×0.410 of DAPT's CPU-seconds and ×0.019 of its bytes" in sentence
    assert findings._cost_sentence(judged.assign(verdict="not run")).endswith("**not run**.")


def test_the_likeliest_best_arm_is_told_with_its_share_and_cheap_arms_with_theirs():
    best = pd.DataFrame({"dapt": [0.2, 0.4], "tapt": [0.8, 0.6]}, index=["x", "mean"])
    tests = pd.DataFrame({"p_paired": [0.01, 0.2], "p_welch": [0.3, 0.2]})
    row = {"contrast": "lora_tapt_minus_tapt", "task": "mean", "effect": -0.5, "low": -1.0, "high": 0.0}
    parts = pd.DataFrame({"arm": ["tapt", "lora_tapt"], "percent_trainable": [100.0, 2.5]})
    runs = pd.DataFrame({"degenerate": [True, False]})
    told = findings.of_dapt_tapt(pd.DataFrame(), best, tests, runs, pd.DataFrame([row]), parts).data
    assert "TAPT is the likeliest to rank first (60 % of resamples), then DAPT (40 %)" in told
    assert (
        "each is the likeliest: DAPT 0, TAPT 1." in told and "1 have p below 0.05 in the paired test and 0 in" in told
    )
    assert "LoRA-TAPT trains 2.5 % of the encoder's parameters. Difference to TAPT: −0.5 points (95 %" in told
    assert told.endswith("1 of 2 fine-tuned classifiers gave every test text the same label; none is left out.")


def test_arms_that_lose_to_naive_bayes_are_named_with_their_tasks():
    runs = pd.DataFrame({"task": ["x", "y"] * 2, "arm": ["base", "base", "dapt", "dapt"], "seed": 0})
    runs = runs.assign(test_score=[0.4, 0.6, 0.6, 0.6], degenerate=False)
    sentence = findings._naive_bayes_sentence(runs, pd.Series({"x": 50.0, "y": 50.0, "z": 90.0}))
    assert sentence.startswith("Naive Bayes, without any encoder, scores 50.0 on average. Of 2 tasks")
    assert "base on 1 (x); DAPT on 0" in sentence
