"""Claims: fabricated records of known truth get their verdicts, the paper's own numbers theirs, absent arms none."""

import numpy as np
import pandas as pd
import pytest

from dontstop.runs import arms
from dontstop.verdicts import claims, effects, judgements
from dontstop.verdicts.claims import verdict
from dontstop.verdicts.effects import Contrast, over
from fabricated import make_records

TASKS = [f"task_{k}" for k in range(8)]
SEEDS = range(5)


TRUTH = np.random.default_rng(5).integers(0, 3, 4000)
NOTHING = make_records({"base": 0.6}, TRUTH[:9], seed=0)[:0]


def judge(accuracies, *, spread=0.005, num_test=1500, tasks=TASKS, **more):
    """Judge a study whose truth is known."""
    truth = TRUTH[:num_test]
    rows = [make_records(accuracies, truth, seed=k, task=task, spread=spread) for k, task in enumerate(tasks)]
    return judgements.judge(pd.concat(rows), dict.fromkeys(tasks, truth), num_resamples=200, **more)


def verdict_of(judged, claim, task="mean", study="ours"):
    rows = judged[(judged["claim"] == claim) & (judged["task"] == task) & (judged["study"] == study)]
    return rows["verdict"].item()


@pytest.fixture(scope="module")
def six_arms():
    """Judge a study whose truth is known: DAPT + TAPT best, transfer level with TAPT, not-DAPT worse than base."""
    accuracies = {"base": 0.60, "dapt": 0.66, "not_dapt": 0.55, "tapt": 0.66, "dapt_tapt": 0.72, "transfer_tapt": 0.66}
    return judge(accuracies)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [("C2", "holds"), ("C3", "holds"), ("C4", "holds"), ("C5", "holds"), ("C6", "holds"), ("C7", "inconclusive")],
)
def test_known_truths_get_their_verdicts(six_arms, claim, expected):
    assert verdict_of(six_arms, claim) == expected
    if expected == "holds":  # six points are seen on single tasks as well
        tasks = [verdict_of(six_arms, claim, task) for task in TASKS]
        assert tasks.count("holds") >= 7 and "does not hold" not in tasks


def test_the_effect_is_the_known_one_and_lies_in_its_interval(six_arms):
    row = six_arms[(six_arms["claim"] == "C2") & (six_arms["task"] == "mean")].iloc[0]
    assert row["low"] < row["effect"] < row["high"]
    assert row["effect"] == pytest.approx(6, abs=1)


def test_what_goes_the_other_way_does_not_hold():
    accuracies = {"base": 0.66, "dapt": 0.60, "not_dapt": 0.70, "tapt": 0.61, "dapt_tapt": 0.6, "transfer_tapt": 0.7}
    judged = judge(accuracies)
    assert [verdict_of(judged, claim) for claim in ("C2", "C3", "C4", "C5", "C6", "C7")] == ["does not hold"] * 6


def test_equal_arms_are_inconclusive_and_not_better():
    names = ("base", "dapt", "not_dapt", "tapt", "dapt_tapt")
    judged = judge(dict.fromkeys(names, 0.6), num_test=4000)
    found = {claim: verdict_of(judged, claim) for claim in ("C2", "C3", "C5", "C6")}
    assert found == dict.fromkeys(found, "inconclusive")
    assert verdict_of(judged, "C4") == "holds"  # eight tasks leave no room for a gain of a point
    tasks = judged[(judged["claim"] == "C2") & judged["task"].isin(TASKS)]
    assert set(tasks["verdict"]) == {"inconclusive"}


def test_what_has_no_arms_yet_says_so():
    judged = judge({"base": 0.6, "dapt": 0.6, "not_dapt": 0.6}, num_test=200)
    assert {
        claim: verdict_of(judged, claim) for claim in ("C1", "C5", "C6", "C7", "C9", "C12", "C13")
    } == dict.fromkeys(("C1", "C5", "C6", "C7", "C9", "C12", "C13"), "not run")
    assert verdict_of(judged, "C2") == "inconclusive"
    empty = judgements.judge(NOTHING, {})
    assert set(empty.loc[empty["study"] == "ours", "verdict"]) == {"not run"}


def test_correction_is_over_the_comparisons_of_a_table(six_arms):
    ours = six_arms[(six_arms["study"] == "ours") & six_arms["task"].isin(TASKS)]
    family = ours[ours["claim"].isin(["C2", "C3", "C4"])]
    assert len(family) == 24
    assert family["p_holm"].tolist() == pytest.approx(effects.holm(family["p_value"]).tolist())


def test_losses_and_correlation_are_judged_by_their_intervals():
    table = pd.DataFrame({"in_domain_delta_loss": [-0.6, -0.7, -0.5, -0.6], "general_delta_loss": [0.1, 0.2, 0.1, 0.2]})
    steep = {"spearman": 0.9, "low": 0.4, "high": 1.0, "p_value": 0.01}
    judged = judgements.judge(NOTHING, {}, correlation=steep, forgetting=table)
    assert (verdict_of(judged, "C12"), verdict_of(judged, "C1")) == ("holds", "holds")
    judged = judgements.judge(NOTHING, {}, correlation=steep | {"p_value": 0.2}, forgetting=-table)
    assert (verdict_of(judged, "C12"), verdict_of(judged, "C1")) == ("does not hold", "inconclusive")
    mixed = table.assign(general_delta_loss=[0.1, -0.1, 0.1, -0.2])
    judged = judgements.judge(NOTHING, {}, forgetting=mixed)
    parts = [verdict_of(judged, "C12", task) for task in ("in_domain_delta_loss", "general_delta_loss", "mean")]
    assert parts == ["holds", "inconclusive", "inconclusive"]


@pytest.mark.parametrize(
    ("effect", "low", "high", "p_value", "rule", "expected"),
    [
        (1.0, 0.2, 1.8, 0.01, "above", "holds"),
        (1.0, 0.2, 1.8, 0.20, "above", "inconclusive"),  # after correction
        (-1.0, -1.8, -0.2, 0.01, "above", "does not hold"),
        (1.0, -0.2, 2.2, np.nan, "above", "inconclusive"),
        (1.0, np.nan, np.nan, 0.01, "above", "holds"),  # the paper's correlation: no interval
        (-1.0, -1.8, -0.2, 0.01, "below", "holds"),
        (1.0, 0.2, 1.8, 0.01, "below", "does not hold"),
        (0.3, 0.2, 0.4, np.nan, "fraction", "holds"),
        (0.6, 0.5001, 0.7, np.nan, "fraction", "does not hold"),
        (0.45, 0.4, 0.6, np.nan, "fraction", "inconclusive"),
        (0.4, np.nan, np.nan, np.nan, "fraction", "holds"),  # the paper's costs
        (0.2, -0.4, 0.8, 0.50, "not_above", "holds"),
        (-2.0, -3.0, -1.0, 0.01, "not_above", "holds"),
        (0.6, 0.2, 0.9, 0.01, "not_above", "does not hold"),
        (0.6, -0.2, 1.4, 0.20, "not_above", "inconclusive"),
        (0.6, 0.1, 0.9, 0.20, "not_above", "holds"),  # p after correction
        (np.nan, np.nan, np.nan, np.nan, "above", "inconclusive"),
    ],
)
def test_one_function_gives_every_verdict(effect, low, high, p_value, rule, expected):
    assert verdict(effect, low, high, p_value, rule) == expected


def test_a_part_that_does_not_hold_refutes_the_whole():
    assert claims.joint_verdict(["holds", "holds"]) == "holds"
    assert claims.joint_verdict(["holds", "inconclusive"]) == "inconclusive"
    assert claims.joint_verdict(["holds", "inconclusive", "does not hold"]) == "does not hold"


def test_the_papers_numbers_go_through_the_same_rule():
    judged = judgements.judge(NOTHING, {})
    # RCT 87.6 (0.1) against 87.2 (0.1) is 6.3 standard errors; AGNews 93.9 against 93.9 is none.
    assert verdict_of(judged, "C2", "RCT", "paper") == "holds"
    assert verdict_of(judged, "C2", "AGNews", "paper") == "inconclusive"
    assert verdict_of(judged, "C2", study="paper") == "holds"
    assert verdict_of(judged, "C6", study="paper") == "inconclusive"


def test_the_overview_has_a_row_a_claim(six_arms):
    overview = judgements.overview(six_arms).set_index("claim")
    assert overview.index.tolist() == [claim.id for claim in claims.CLAIMS]
    assert overview.loc["C2", "ours"] == "holds" and overview.loc["C2", "tasks"] == "8 holds"
    assert overview.loc["C13", "ours"] == "not run" and overview.loc["C13", "tasks"] == "-"
    assert overview.loc["C12", "paper"] == "inconclusive" and overview.loc["C12", "paper_tasks"] == "-"


def test_a_verdict_before_all_arms_have_run_is_no_bolder_than_after():
    names = [c.name for claim in claims.CLAIMS if claim.family == "table5" for c in claim.contrasts]
    found = pd.DataFrame([{"contrast": n, "family": "table5", "task": t} for n in names for t in ("one", "mean")])
    found["p_value"] = np.where(found["contrast"] == "tapt_minus_base", 0.02, 0.5)
    found = found.assign(effect=1.0, low=0.5, high=1.5)
    contrasts = judgements.contrasts_of((c for c in claims.CLAIMS if c.family == "table5"), (), ())
    for some in (found[found["contrast"] == "tapt_minus_base"], found):
        some = some.assign(p_holm=effects.corrected(some, contrasts))
        (claim,) = (claim for claim in claims.CLAIMS if claim.id == "C5")
        judged = judgements.judge_effects(some, [claim], "ours")
        assert [row["p_holm"] for row in judged] == pytest.approx([0.08, 0.08])  # four comparisons in Table 5
        assert {row["verdict"] for row in judged} == {claims.INCONCLUSIVE}


@pytest.mark.parametrize(
    ("names", "missing", "expected"),
    [
        (("C5", "C6"), (), {"C5": "holds", "C6": "holds"}),
        (("C7",), (), {"C7": "holds"}),
        (("C5", "C6"), ("dapt_tapt",), {"C5": "holds", "C6": "not run"}),
    ],
)
def test_some_claims_are_judged_by_the_arms_that_are_there(names, missing, expected):
    accuracies = {"base": 0.60, "dapt": 0.66, "tapt": 0.66, "dapt_tapt": 0.72, "transfer_tapt": 0.60}
    there = {arm: accuracy for arm, accuracy in accuracies.items() if arm not in missing}
    judged = judge(there, tasks=TASKS[:2], names=names)
    whole = judged[(judged["study"] == "ours") & (judged["task"] == "mean")]
    assert dict(zip(whole["claim"], whole["verdict"], strict=True)) == expected
    assert set(judged["study"]) == {"ours", "paper"}


def test_a_claims_verdict_rests_on_its_own_arms():
    """TAPT's gain is corrected for Table 5's four contrasts, whether those of C6 have run or not."""
    accuracies = {"base": 0.60, "tapt": 0.61}
    early = judge(accuracies, tasks=TASKS[:2], names=("C5",))
    late = judge(accuracies | {"dapt": 0.66, "dapt_tapt": 0.9}, tasks=TASKS[:2], names=("C5",))
    pd.testing.assert_frame_equal(early, late)


NUMBERS = (5, 15, 50)


ARMS = {"base": 0.55, "tapt": 0.58, "dapt": 0.66, "dapt_tapt": 0.68}
KNN, RAND = [f"knn_tapt_{k}" for k in NUMBERS], [f"rand_tapt_{k}" for k in NUMBERS]


@pytest.mark.parametrize(
    ("knn", "rand", "curated", "expected"),
    [
        ((0.60, 0.64, 0.67), (0.56, 0.60, 0.63), (0.66, 0.73), ("holds",) * 4),
        ((0.56, 0.54, 0.50), (0.60, 0.62, 0.64), (0.54, 0.64), ("does not hold",) * 4),
        ((0.58, 0.58, 0.58), (0.58, 0.58, 0.58), (0.68, 0.68), ("inconclusive",) * 4),
    ],
)
def test_claims_on_augmented_text_get_their_verdicts(knn, rand, curated, expected):
    accuracies = ARMS | dict(zip(KNN, knn, strict=True)) | dict(zip(RAND, rand, strict=True))
    accuracies |= dict(zip(("curated_tapt", "dapt_curated_tapt"), curated, strict=True))
    judged = judge(accuracies, num_test=2000, tasks=TASKS[:3], num_neighbours=NUMBERS)
    assert tuple(verdict_of(judged, claim) for claim in ("C8", "C9", "C10", "C11")) == expected
    whole = judged[(judged["task"] == "mean") & (judged["study"] == "ours")].set_index("claim")
    assert whole.loc["C9", "effect"] == pytest.approx(100 * (np.mean(knn) - 0.58), abs=0.8)
    assert whole.loc["C10", "effect"] == pytest.approx(100 * (np.mean(knn) - np.mean(rand)), abs=0.8)
    assert whole.loc["C11", "effect"] == pytest.approx(100 * (knn[-1] - knn[0]), abs=0.8)


def test_one_number_of_neighbours_cannot_grow():
    assert judgements.resolved(over(claims.KNN_MOST, claims.KNN_FEWEST), (5,), (5,)).weights == ()
    found = judgements.resolved(over(claims.KNN, "tapt"), (5, 15), ())
    assert found.shares() == {"knn_tapt_5": 0.5, "knn_tapt_15": 0.5, "tapt": -1.0}
    assert judgements.resolved(over(claims.KNN, claims.RAND), (5,), ()).weights == ()
    assert judgements.resolved(over(arms.DAPT, "base"), (5,), ()) == Contrast(
        "dapt_minus_base", (("dapt", 1.0), ("base", -1.0))
    )


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [((0.3, 0.31, 0.32), "holds"), ((0.9, 0.95, 1.1), "does not hold"), ((0.3, 0.6, 0.5), "inconclusive")],
)
def test_costs_are_judged_by_their_ratios(seconds, expected):
    ratios = pd.DataFrame({"seconds": seconds, "bytes": [0.02, 0.03, 0.04]})
    judged = judgements.judge(NOTHING, {}, cost_ratios=ratios)
    assert verdict_of(judged, "C13") == expected and verdict_of(judged, "C13", study="paper") == "holds"
    storage = judged[(judged["claim"] == "C13") & (judged["task"] == "bytes")].iloc[0]
    assert storage["effect"] == pytest.approx((0.02 * 0.03 * 0.04) ** (1 / 3))
    unknown = judgements.judge(NOTHING, {}, cost_ratios=ratios.assign(seconds=np.nan))  # what others paid is not known
    assert verdict_of(unknown, "C13") == "not run"


def test_the_papers_neighbours_by_hand():
    judged = judgements.judge(NOTHING, {})
    row = judged[(judged["claim"] == "C9") & (judged["task"] == "ChemProt")].iloc[0]
    assert row["effect"] == pytest.approx((83.3 + 83.2 + 83.3) / 3 - 82.6)
    row = judged[(judged["claim"] == "C11") & (judged["task"] == "ACL-ARC")].iloc[0]
    assert row["effect"] == pytest.approx(75.5 - 70.7)
