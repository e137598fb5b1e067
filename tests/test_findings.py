"""Findings read right whichever way the numbers fall."""

import numpy as np
import pandas as pd

from dontstop.machine import files
from dontstop.report import claims, findings
from dontstop.verdicts.losses import GENERAL, IN_DOMAIN

TOLD = {
    "claim": "C2",
    "statement": "A is above B",
    "ours": "holds",
    "effect": 1.23,
    "low": 0.2,
    "high": 2.2,
    "p_holm": 0.012,
}
TOLD |= {"detectable": 0.9, "margin": 0.75, "num_replicates": 10.0, "reason": ""}
TOLD |= {"tasks": "holds on 3, inconclusive on 5"}
TOLD |= {"paper": "inconclusive", "paper_effect": -0.4, "paper_tasks": "inconclusive on 8"}


def told(**changes):
    [sentence] = claims.sentences(pd.DataFrame([TOLD | changes]))
    return sentence


def test_a_claim_is_told_in_a_line_with_effect_interval_and_the_papers():
    assert told() == (
        "*A is above B*: **holds**, +1.2 points [+0.2, +2.2], p\u00a0=\u00a00.012 "
        "(tasks: holds on 3, inconclusive on 5). The paper: **inconclusive** (−0.4)."
    )
    assert told(ours="not run") == "*A is above B*: **not run**."
    assert "; an effect of 0.9 would be detected with 80 % power" in told(ours="inconclusive")


def test_what_a_margin_decides_names_it_and_one_replicate_says_that_it_has_no_interval():
    margin = "p\u00a0=\u00a00.012; half of DAPT's gain is 0.8"
    assert margin in told(ours="equivalent") and margin in told(claim="C4") and "half" not in told()
    unknown = dict.fromkeys(["low", "high", "p_holm", "detectable"], np.nan) | {"tasks": "-", "paper_tasks": "-"}
    one = told(ours="inconclusive", num_replicates=1.0, reason="one replicate: an interval needs two", **unknown)
    assert one == (
        "*A is above B*: **inconclusive**, +1.2 points (one replicate: an interval needs two). "
        "The paper: **inconclusive** (−0.4)."
    )


def test_the_page_of_claims_has_the_table_of_all_and_each_with_its_rule():
    row = {"claim": "C2", "statement": "A", "place": "Table 3", "task": "mean", "effect": 2.0, "low": 1.0, "high": 3.0}
    row |= {"p_value": 0.001, "p_holm": 0.01, "detectable": 0.8, "margin": 1.0, "num_replicates": 3}
    judged = pd.DataFrame([row | {"study": study, "verdict": "holds", "reason": ""} for study in ("ours", "paper")])
    page = claims.claims_page(judged, "Claims")
    assert page.startswith("# Claims\n")
    assert "## C2: DAPT scores above the base encoder\n\nTable 3. Rule: holds if the effect is above zero" in page
    assert page.count("+2.00 [+1.00, +3.00]") == 3 and "smallest detectable effect" in page  # ours in both tables


def test_the_page_of_claims_says_which_machine_made_which_replicates_where_there_are_two_kinds(tmp_path):
    runs = pd.DataFrame({"replicate": [0, 1, 1, 3], "capability": ["Intel", "Intel", "Intel", "AMD"]})
    told = "Replicates by the kind of machine: 0, 1 on Intel; 3 on AMD."
    assert claims.machines(runs) == told and claims.machines(runs[:3]) == ""
    judged = claims.load_judged(tmp_path)  # the paper's own alone
    claims.save_claims(judged, tmp_path, "mini", [told])
    assert (tmp_path / "claims.md").read_text().endswith(f"\n\n{told}\n")
    claims.save_claims(judged, tmp_path, "mini")
    assert "machine" not in (tmp_path / "claims.md").read_text()


def test_the_metrics_are_the_arms_means_and_our_verdicts_on_whole_claims(tmp_path):
    rows = [("C2", "ours", "mean", "holds"), ("C2", "ours", "a_task", "inconclusive"), ("C2", "paper", "mean", "x")]
    judged = pd.DataFrame(rows, columns=["claim", "study", "task", "verdict"])
    claims.save_metrics(judged, {"base": 21.637, "dapt": 28.0}, tmp_path)
    written = files.read_json(tmp_path / "metrics.json")
    assert written == {"mean_f1": {"base": 21.64, "dapt": 28.0}, "verdict": {"C2": "holds"}}


def test_the_course_of_tapt_names_the_best_number_of_epochs_on_dev():
    curve = pd.DataFrame({"task": "x_topic", "epochs": ["0", "5", "kept"], "mean": [50.0, 53.0, 52.0]})
    assert findings._curve_sentences(curve) == [
        "On x topic the dev score of TAPT is highest after 5 epochs (53.0); "
        "at the step that the dev loss keeps it is 52.0."
    ]
    assert findings._curve_sentences(curve[:0]) == []


def test_an_arm_that_forgets_less_and_gains_no_less_is_named():
    table = pd.DataFrame({"arm": ["dapt", "replay_dapt", "average_dapt"], "effect": [5.0, 5.1, 2.0]})
    table["general_delta_loss"] = [0.4, 0.2, 0.1]
    [told] = findings._kept_sentences(table)
    assert "gain no less: replay-DAPT (DAPT +5.0 points and +0.40 nats on the general text, " in told
    assert "gain no less: none (" in findings._kept_sentences(table.assign(effect=[5.0, 4.0, 2.0]))[0]
    assert findings._kept_sentences(table[:1]) == []


def test_losses_bear_the_verdict_of_the_claim_and_are_counted_by_domain():
    rows = [("ours", -1.0, 0.5), ("ours", 2.0, -0.1), ("paper", -0.5, 0.25)]
    table = pd.DataFrame(rows, columns=["study", IN_DOMAIN, GENERAL])
    sentence = findings._loss_sentence(pd.DataFrame({"claim": ["C12"], "ours": ["inconclusive"]}), table)
    assert "**inconclusive**. Over domains, on its own domain it falls in 1 of 2, mean change +0.50 nats" in sentence
    assert "rises in 1 of 2, +0.20 nats. In the paper, on its own domain it falls in 1 of 1" in sentence


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
    assert "disagree on the farthest domain" in both and "far words (1), near words (1)" in both
    assert "All 1 distances" in findings._farthest_sentence(measured, ["masked_lm_loss"])


def test_costs_are_told_as_factors():
    judged = pd.DataFrame(
        [("tflops", 0.41, "holds"), ("bytes", 0.019, "holds"), ("mean", np.nan, "holds")],
        columns=["task", "effect", "verdict"],
    ).assign(claim="C13", study="ours")
    sentence = findings._cost_sentence(judged)
    assert "**holds**. TAPT takes 0.410 times DAPT's floating-point operations and 0.019 times its bytes" in sentence
    assert findings._cost_sentence(judged.assign(verdict="not run")).endswith("**not run**.")


def test_the_likeliest_best_arm_is_told_with_its_share_tests_are_counted_and_cheap_arms_told():
    best = pd.DataFrame({"dapt": [0.2, 0.4], "tapt": [0.8, 0.6]}, index=["x", "mean"])
    p_values = {"p_value": [0.01, 0.2], "p_sign_flip": [0.5, 0.5], "p_bootstrap": [0.01, 0.01]}
    tests = pd.DataFrame(p_values | {"p_over_tasks": [np.nan, 0.04], "num_replicates": 4})
    row = {"contrast": "lora_tapt_minus_tapt", "task": "mean", "effect": -0.5, "low": -1.0, "high": 0.0}
    parts = pd.DataFrame({"arm": ["tapt", "lora_tapt"], "percent_trainable": [100.0, 2.5]})
    runs = pd.DataFrame({"degenerate": [True, False]})
    told = findings.of_dapt_tapt(pd.DataFrame(), best, tests, runs, pd.DataFrame([row]), parts).data
    assert "TAPT is the likeliest to rank first (60 % of draws of replicates and texts), then DAPT (40 %)" in told
    assert "each is the likeliest: DAPT 0, TAPT 1." in told
    assert "1 by t over replicates, 0 by flipping signs, 2 by the bootstrap" in told
    assert "With 4 replicates, flipping signs gives 0.125 at least." in told
    assert "LoRA-TAPT trains 2.5 % of the encoder's parameters. Difference to TAPT: −0.5 points [−1.0, 0.0]" in told
    assert told.endswith("1 of 2 fine-tuned classifiers gave every test text the same label; none is left out.")


def test_arms_that_lose_to_naive_bayes_are_named_with_how_often():
    runs = pd.DataFrame({"task": ["x", "y"] * 2, "arm": ["base", "base", "dapt", "dapt"], "seed": 0, "replicate": 0})
    runs = runs.assign(test_score=[0.4, 0.6, 0.6, 0.6], degenerate=False)
    sentence = findings._naive_bayes_sentence(runs, pd.Series({"x": 50.0, "y": 50.0, "z": 90.0}))
    assert sentence.startswith("Naive Bayes, without any encoder, scores 50.0 on average. Of 2 tasks")
    assert sentence.endswith("as many as follow: base 1, DAPT 0.")
