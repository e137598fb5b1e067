"""Claims: fabricated records of known truth get their verdicts, the paper's own numbers theirs, absent arms none."""

import numpy as np
import pandas as pd
import pytest

from dontstop.verdicts import claims, comparisons
from fabricated import make_records

TASKS = [f"task_{k}" for k in range(8)]
SEEDS = range(5)


def evidence_of(accuracies, *, spread=0.005, num_test=1500, **more):
    truth = np.random.default_rng(5).integers(0, 3, num_test)
    rows = [make_records(accuracies, truth, seed=k, task=task, spread=spread) for k, task in enumerate(TASKS)]
    labels = dict.fromkeys(TASKS, truth)
    drawn = comparisons.resample(pd.concat(rows), list(accuracies), TASKS, SEEDS, labels, num_resamples=200, seed=0)
    return claims.Evidence(resamples=drawn, transfer=drawn, **more)


def verdict(judged, claim, scope=claims.ALL_TASKS, study="ours"):
    rows = judged[(judged["claim"] == claim) & (judged["scope"] == scope) & (judged["study"] == study)]
    return rows["verdict"].item()


@pytest.fixture(scope="module")
def six_arms():
    """Judge a study whose truth is known: DAPT + TAPT best, transfer level with TAPT, not-DAPT worse than base."""
    accuracies = {"base": 0.60, "dapt": 0.66, "not_dapt": 0.55, "tapt": 0.66, "dapt_tapt": 0.72, "transfer_tapt": 0.66}
    return claims.judge(evidence_of(accuracies))


@pytest.mark.parametrize(
    ("claim", "expected"),
    [("C2", "holds"), ("C3", "holds"), ("C4", "holds"), ("C5", "holds"), ("C6", "holds"), ("C7", "undecided")],
)
def test_known_truths_get_their_verdicts(six_arms, claim, expected):
    assert verdict(six_arms, claim) == expected
    if expected == "holds":  # six points are seen on single tasks as well
        tasks = [verdict(six_arms, claim, task) for task in TASKS]
        assert tasks.count("holds") >= 7 and "does not hold" not in tasks


def test_the_effect_is_the_known_one_and_lies_in_its_interval(six_arms):
    row = six_arms[(six_arms["claim"] == "C2") & (six_arms["scope"] == claims.ALL_TASKS)].iloc[0]
    assert row["effect_low"] < row["effect"] < row["effect_high"]
    assert row["effect"] == pytest.approx(6, abs=1)


def test_what_goes_the_other_way_does_not_hold():
    accuracies = {"base": 0.66, "dapt": 0.60, "not_dapt": 0.70, "tapt": 0.61, "dapt_tapt": 0.6, "transfer_tapt": 0.7}
    judged = claims.judge(evidence_of(accuracies))
    assert [verdict(judged, claim) for claim in ("C2", "C3", "C4", "C5", "C6", "C7")] == ["does not hold"] * 6


def test_equal_arms_are_undecided_and_not_better():
    arms = ("base", "dapt", "not_dapt", "tapt", "dapt_tapt")
    judged = claims.judge(evidence_of(dict.fromkeys(arms, 0.6), num_test=4000))
    found = {claim: verdict(judged, claim) for claim in ("C2", "C3", "C5", "C6")}
    assert found == dict.fromkeys(found, "undecided")
    assert verdict(judged, "C4") == "holds"  # eight tasks leave no room for a gain of a point
    tasks = judged[(judged["claim"] == "C2") & judged["scope"].isin(TASKS)]
    assert set(tasks["verdict"]) == {"undecided"}


def test_what_has_no_arms_yet_says_so():
    judged = claims.judge(evidence_of({"base": 0.6, "dapt": 0.6, "not_dapt": 0.6}, num_test=200))
    assert {claim: verdict(judged, claim) for claim in ("C1", "C5", "C6", "C7", "C9", "C12", "C13")} == dict.fromkeys(
        ("C1", "C5", "C6", "C7", "C9", "C12", "C13"), "not run"
    )
    assert verdict(judged, "C2") == "undecided"
    empty = claims.judge(claims.Evidence())
    assert set(empty.loc[empty["study"] == "ours", "verdict"]) == {"not run"}


def test_correction_is_over_the_comparisons_of_a_table(six_arms):
    ours = six_arms[(six_arms["study"] == "ours") & six_arms["scope"].isin(TASKS)]
    family = ours[ours["claim"].isin(["C2", "C3", "C4"])]
    assert len(family) == 24
    assert family["p_adjusted"].tolist() == pytest.approx(comparisons.holm(family["p_value"]).tolist())


def test_losses_and_correlation_are_judged_by_their_intervals():
    table = pd.DataFrame({"own_change": [-0.6, -0.7, -0.5, -0.6], "base_text_change": [0.1, 0.2, 0.1, 0.2]})
    steep = {"spearman": 0.9, "low": 0.4, "high": 1.0, "p_value": 0.01}
    judged = claims.judge(claims.Evidence(correlation=steep, forgetting=table))
    assert (verdict(judged, "C12"), verdict(judged, "C1")) == ("holds", "holds")
    backwards = claims.Evidence(correlation=steep | {"p_value": 0.2}, forgetting=-table)
    judged = claims.judge(backwards)
    assert (verdict(judged, "C12"), verdict(judged, "C1")) == ("does not hold", "undecided")


def test_the_papers_numbers_go_through_the_same_rule():
    judged = claims.judge(claims.Evidence())
    # RCT 87.6 (0.1) against 87.2 (0.1) is 6.3 standard errors; AGNews 93.9 against 93.9 is none.
    assert verdict(judged, "C2", "RCT", "paper") == "holds"
    assert verdict(judged, "C2", "AGNews", "paper") == "undecided"
    assert verdict(judged, "C2", study="paper") == "holds"
    assert verdict(judged, "C6", study="paper") == "undecided"


def test_the_pages_name_every_claim(six_arms, tmp_path):
    claims.save_claims(six_arms, tmp_path, "Claims")
    page, table = (tmp_path / "claims.md").read_text(), pd.read_csv(tmp_path / "claims.csv")
    assert set(table["claim"]) == {claim.name for claim in claims.CLAIMS}
    for claim in claims.CLAIMS:
        assert f"| {claim.name} | {claim.statement} |" in page
    assert f"| {TASKS[0]} | " in page
    overview = claims.overview(six_arms).set_index("claim")
    assert overview.loc["C2", "ours"] == "holds" and overview.loc["C2", "tasks"] == "8 holds"


def test_a_verdict_before_all_arms_have_run_is_no_bolder_than_after():
    def comparing(run):
        def compare(contrast):
            if not {arm for arm, _ in contrast} <= run:
                return []
            p_value = {"tapt": 0.02, "dapt_tapt": 0.5}[contrast[0][0]]
            return [claims.Effect(s, 1.0, 0.5, 1.5, p_value) for s in ("one", claims.ALL_TASKS)]

        return compare

    early = claims._judge_table(5, comparing({"base", "tapt"}))["C5"]
    late = claims._judge_table(5, comparing({"base", "dapt", "tapt", "dapt_tapt"}))["C5"]
    assert [row["p_adjusted"] for row in early] == pytest.approx([0.08, 0.08])  # four comparisons in Table 5
    assert [row["p_adjusted"] for row in late] == pytest.approx([0.08, 0.08])
    assert {row["verdict"] for row in early} == {claims.UNDECIDED}


NUMBERS = (5, 15, 50)


def augmented(accuracies):
    """Judge a study of three tasks with enlarged text, whose truth is known."""
    truth = np.random.default_rng(5).integers(0, 3, 2000)
    tasks = TASKS[:3]
    rows = [make_records(accuracies, truth, seed=k, task=task, spread=0.005) for k, task in enumerate(tasks)]
    labels = dict.fromkeys(tasks, truth)
    drawn = comparisons.resample(pd.concat(rows), list(accuracies), tasks, SEEDS, labels, num_resamples=200, seed=0)
    return claims.judge(claims.Evidence(curated=drawn, augmented=drawn, num_neighbours=NUMBERS))


ARMS = {"base": 0.55, "tapt": 0.58, "dapt": 0.66, "dapt_tapt": 0.68}
KNN, RAND = [f"knn_tapt_{k}" for k in NUMBERS], [f"rand_tapt_{k}" for k in NUMBERS]


@pytest.mark.parametrize(
    ("knn", "rand", "curated", "expected"),
    [
        ((0.60, 0.64, 0.67), (0.56, 0.60, 0.63), (0.66, 0.73), ("holds",) * 4),
        ((0.56, 0.54, 0.50), (0.60, 0.62, 0.64), (0.54, 0.64), ("does not hold",) * 4),
        ((0.58, 0.58, 0.58), (0.58, 0.58, 0.58), (0.68, 0.68), ("undecided",) * 4),
    ],
)
def test_claims_on_enlarged_text_get_their_verdicts(knn, rand, curated, expected):
    accuracies = ARMS | dict(zip(KNN, knn, strict=True)) | dict(zip(RAND, rand, strict=True))
    judged = augmented(accuracies | dict(zip(("curated_tapt", "dapt_curated_tapt"), curated, strict=True)))
    assert tuple(verdict(judged, claim) for claim in ("C8", "C9", "C10", "C11")) == expected
    whole = judged[(judged["scope"] == claims.ALL_TASKS) & (judged["study"] == "ours")].set_index("claim")
    assert whole.loc["C9", "effect"] == pytest.approx(100 * (np.mean(knn) - 0.58), abs=0.8)
    assert whole.loc["C10", "effect"] == pytest.approx(100 * (np.mean(knn) - np.mean(rand)), abs=0.8)
    assert whole.loc["C11", "effect"] == pytest.approx(100 * (knn[-1] - knn[0]), abs=0.8)


def test_one_number_of_neighbours_cannot_grow():
    weights = claims.resolved(((claims.KNN_MOST, 1.0), (claims.KNN_FEWEST, -1.0)), (5,), (5,))
    assert weights == {}
    assert claims.resolved(claims.over(claims.KNN, "tapt"), (5, 15), ()) == {
        "knn_tapt_5": 0.5, "knn_tapt_15": 0.5, "tapt": -1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [((0.3, 0.31, 0.32), "holds"), ((0.9, 0.95, 1.1), "does not hold"), ((0.3, 0.6, 0.5), "undecided")],
)
def test_costs_are_judged_by_their_ratios(seconds, expected):
    ratios = pd.DataFrame({"seconds": seconds, "bytes": [0.02, 0.03, 0.04]})
    judged = claims.judge(claims.Evidence(cost_ratios=ratios))
    assert verdict(judged, "C13") == expected and verdict(judged, "C13", study="paper") == "holds"
    storage = judged[(judged["claim"] == "C13") & (judged["scope"] == "all tasks: storage")].iloc[0]
    assert storage["effect"] == pytest.approx((0.02 * 0.03 * 0.04) ** (1 / 3))


def test_the_papers_neighbours_by_hand():
    judged = claims.judge(claims.Evidence())
    row = judged[(judged["claim"] == "C9") & (judged["scope"] == "ChemProt")].iloc[0]
    assert row["effect"] == pytest.approx((83.3 + 83.2 + 83.3) / 3 - 82.6)
    row = judged[(judged["claim"] == "C11") & (judged["scope"] == "ACL-ARC")].iloc[0]
    assert row["effect"] == pytest.approx(75.5 - 70.7)
