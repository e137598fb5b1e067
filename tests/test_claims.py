"""Claims: fabricated replicates of known truth get their verdicts, the paper's own numbers theirs, absent arms none."""

import numpy as np
import pandas as pd
import pytest

from dontstop.design import arms
from dontstop.runs.records import decode_predictions
from dontstop.verdicts import claims, effects, judgements
from dontstop.verdicts.claims import verdict
from dontstop.verdicts.effects import Contrast, over
from fabricated import make_record, make_records

TASKS = [f"task_{k}" for k in range(8)]
TRUTH = np.random.default_rng(5).integers(0, 3, 1000)
NOTHING = make_records({"base": 0.6}, TRUTH[:9], seed=0)[:0].assign(domain="")
NUMBERS = (5, 15, 50)
FAR = pd.Series({"d0": 40.0, "d1": 50.0, "d2": 60.0, "d3": 70.0})


def fabricate(accuracies, *, num_replicates=5, tasks=TASKS, spread=0.005):
    """Fabricate a study whose truth is known: two tasks a domain, two seeds a replicate."""
    how = {"seeds": range(2), "replicates": range(num_replicates), "spread": spread}
    rows = [make_records(accuracies, TRUTH, seed=k, task=t, domain=f"d{k // 2}", **how) for k, t in enumerate(tasks)]
    return pd.concat(rows, ignore_index=True)


def judge(accuracies, *, num_replicates=5, tasks=TASKS, **more):
    return judgements.judge(fabricate(accuracies, num_replicates=num_replicates, tasks=tasks), **more)


def row_of(judged, claim, task="mean", study="ours"):
    rows = judged[(judged["claim"] == claim) & (judged["task"] == task) & (judged["study"] == study)]
    assert len(rows) == 1
    return rows.iloc[0]


def verdict_of(judged, *place, **more):
    return row_of(judged, *place, **more)["verdict"]


SIX = {"base": 0.60, "dapt": 0.66, "not_dapt": 0.55, "tapt": 0.66, "dapt_tapt": 0.72, "transfer_tapt": 0.66}


@pytest.fixture(scope="module")
def six_arms():
    """Judge a study whose truth is known: DAPT + TAPT best, transfer level with TAPT, not-DAPT worse than base."""
    return judge(SIX)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [("C2", "holds"), ("C3", "holds"), ("C4", "holds"), ("C5", "holds"), ("C6", "holds"), ("C7", "equivalent")],
)
def test_known_truths_get_their_verdicts(six_arms, claim, expected):
    assert verdict_of(six_arms, claim) == expected
    tasks = [verdict_of(six_arms, claim, task) for task in TASKS]
    if expected == "holds":  # six points are seen on single tasks as well
        assert tasks.count("holds") >= 6 and "does not hold" not in tasks
    else:
        assert set(tasks) == {"not tested"}


def test_the_effect_is_the_known_one_and_lies_in_its_interval(six_arms):
    row = row_of(six_arms, "C2")
    assert row["low"] < row["effect"] < row["high"] and row["effect"] == pytest.approx(6, abs=1)
    assert row["margin"] == pytest.approx(row["effect"] / 2) and 0 < row["detectable"] < 3
    assert (row["num_replicates"], row["reason"]) == (5, "")


def test_what_goes_the_other_way_does_not_hold():
    accuracies = {"base": 0.66, "dapt": 0.60, "not_dapt": 0.70, "tapt": 0.61, "dapt_tapt": 0.6, "transfer_tapt": 0.7}
    judged = judge(accuracies)
    assert [verdict_of(judged, claim) for claim in ("C2", "C3", "C4", "C5", "C6", "C7")] == ["does not hold"] * 6


def test_without_a_gain_of_dapt_nothing_is_equivalent():
    """Half of no gain is no margin, so arms that are all alike are undecided."""
    judged = judge(dict.fromkeys(SIX, 0.6), num_replicates=6)
    found = {claim: verdict_of(judged, claim) for claim in ("C2", "C3", "C4", "C5", "C6", "C7")}
    assert found == dict.fromkeys(found, "inconclusive")


def test_what_lies_within_a_margin_that_is_not_shown_says_so():
    """DAPT gains by chance, so nothing is equivalent, however near to zero the rest is."""
    names = ["tapt_minus_base" + more for more in ("", "_less_half_dapt", "_plus_half_dapt")]
    rows = pd.DataFrame({"contrast": ["dapt_minus_base", *names], "effect": [4.0, 0.1, -1.9, 2.1]})
    for p_dapt, expected in ((0.5, ("inconclusive", judgements.NO_MARGIN)), (0.001, ("equivalent", ""))):
        found = rows.assign(p_value=[p_dapt, 0.9, 1e-5, 1e-5], task="mean", low=0.0, high=0.0)
        (row,) = judgements.judge_effects(found, [claim for claim in claims.CLAIMS if claim.id == "C5"], "ours")
        assert (row["verdict"], row["reason"]) == expected and row["margin"] == pytest.approx(2.0)


def test_shuffled_labels_decide_nothing():
    """Predictions of good classifiers, set against labels in another order: the whole path finds chance."""
    runs, rng = fabricate(SIX), np.random.default_rng(1)
    other = {task: rng.permutation(TRUTH) for task in TASKS}
    assert runs["test_score"].min() > 0.45
    rows = [
        make_record(r.task, r.arm, r.seed, other[r.task], decode_predictions(r.test_predictions), replicate=r.replicate)
        for r in runs.itertuples()
    ]
    shuffled = pd.DataFrame(rows).assign(domain=runs["domain"])
    assert shuffled["test_score"].mean() == pytest.approx(1 / 3, abs=0.01)
    judged = judgements.judge(shuffled, distances=FAR)
    ours = judged[(judged["study"] == "ours") & (judged["task"] == "mean")]
    assert set(ours["verdict"]) == {"inconclusive", "not run"}


def test_one_replicate_decides_nothing_and_says_why():
    judged = judge(SIX, num_replicates=1, distances=FAR)
    for claim in ("C1", "C2", "C4", "C6"):
        row = row_of(judged, claim)
        assert (row["verdict"], row["reason"]) == ("inconclusive", "one replicate: an interval needs two")
        assert np.isnan(row["p_holm"]) and np.isnan(row["low"]) and not np.isnan(row["effect"])


def test_what_has_no_arms_yet_says_so():
    judged = judge({"base": 0.6, "dapt": 0.66, "not_dapt": 0.6})
    absent = ("C1", "C5", "C6", "C7", "C8", "C9", "C10", "C11", "C12", "C13")
    assert {claim: verdict_of(judged, claim) for claim in absent} == dict.fromkeys(absent, "not run")
    assert verdict_of(judged, "C2") == "holds"
    empty = judgements.judge(NOTHING)
    assert set(empty.loc[empty["study"] == "ours", "verdict"]) == {"not run"}


def test_twelve_claims_are_one_family_whatever_has_run(six_arms):
    """The least p of all is multiplied by twelve, in a notebook that has two of the claims alone as well."""
    for judged in (six_arms, judge(SIX, names=("C2", "C5"))):
        ours = judged[(judged["study"] == "ours") & (judged["task"] == "mean")]
        least = ours.loc[ours["p_value"].idxmin()]
        assert least["p_holm"] == pytest.approx(12 * least["p_value"])


def test_single_tasks_are_corrected_within_their_claim(six_arms):
    rows = six_arms[(six_arms["claim"] == "C2") & (six_arms["study"] == "ours") & six_arms["task"].isin(TASKS)]
    assert len(rows) == 8
    assert rows["p_holm"].tolist() == pytest.approx(effects.holm(rows["p_value"], kept=0.5).tolist())


def test_an_intersection_enters_with_its_largest_p():
    runs = fabricate({"base": 0.60, "dapt": 0.66, "tapt": 0.66, "dapt_tapt": 0.70})
    parts = [over("dapt_tapt", arm) for arm in ("base", "dapt", "tapt")]
    found = effects.effects(runs, parts).query("task == 'mean'")
    row = row_of(judgements.judge(runs), "C6")
    assert row["p_value"] == pytest.approx(found["p_value"].max())
    assert row["effect"] == pytest.approx(found["effect"].min())


def test_the_rise_of_dapts_gain_with_the_distance_is_judged_over_replicates():
    def rising(step):
        rows = [fabricate({"base": 0.5, "dapt": 0.53 + step * (k // 2)}, tasks=[t]) for k, t in enumerate(TASKS)]
        runs = pd.concat(rows, ignore_index=True)
        return runs.assign(domain=runs["task"].map({t: f"d{k // 2}" for k, t in enumerate(TASKS)}))

    judged = judgements.judge(rising(0.03), names=("C1", "C2"), distances=FAR)
    assert verdict_of(judged, "C1") == "holds"
    assert row_of(judged, "C1")["effect"] == pytest.approx(9, abs=1.5)  # three steps of three points
    assert verdict_of(judgements.judge(rising(-0.03), distances=FAR), "C1") == "does not hold"
    flat = fabricate({"base": 0.5, "dapt": 0.58}, num_replicates=10)
    assert verdict_of(judgements.judge(flat, distances=FAR), "C1") == "equivalent"


def loss_changes(in_domain, general):
    rows = [(r, d, in_domain[r], general[r]) for r in range(len(general)) for d in "ab"]
    return pd.DataFrame(rows, columns=["replicate", "domain", "in_domain_delta_loss", "general_delta_loss"])


@pytest.mark.parametrize(
    ("general", "expected"),
    [
        ([0.10, 0.11, 0.12, 0.11], ["holds", "holds", "holds"]),
        ([-0.10, -0.11, -0.12, -0.11], ["not tested", "not tested", "does not hold"]),
        ([0.1, -0.1, 0.1, -0.2], ["not tested", "not tested", "inconclusive"]),
        ([0.1], ["not tested", "not tested", "inconclusive"]),
    ],
)
def test_losses_are_judged_over_replicates(general, expected):
    learnt = [-0.60, -0.61, -0.62, -0.61][: len(general)]
    judged = judgements.judge(NOTHING, changes=loss_changes(learnt, general))
    places = ("in_domain_delta_loss", "general_delta_loss", "mean")
    assert [verdict_of(judged, "C12", place) for place in places] == expected
    assert row_of(judged, "C12", "general_delta_loss")["effect"] == pytest.approx(np.mean(general))


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ((0.01, 1.0, 1.0), "holds"),
        ((0.2, 1.0, 1.0), "inconclusive"),
        ((1.0, 0.01, 1.0), "does not hold"),
        ((0.3, 1.0, 0.04), "equivalent"),
        ((0.04, 1.0, 0.01), "holds"),  # above zero, if by little
        ((np.nan, np.nan, np.nan), "inconclusive"),
        ((0.05, 1.0, 0.05), "inconclusive"),
    ],
)
def test_one_function_gives_every_verdict(p_values, expected):
    assert verdict(*p_values) == expected


def evidence(**found):
    """Give effects with their p-values, margins by `less` and `plus`, as of DAPT over base."""
    suffixes = {"less": "_less_half_dapt", "plus": "_plus_half_dapt", "itself": ""}
    return {f"dapt_minus_base{suffixes[name]}": numbers for name, numbers in found.items()}


SIMPLE = claims.Claim("C", "", "", (over("dapt", "base"),), "")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"itself": (2.0, 0.01), "less": (0.5, 0.6), "plus": (3.5, 0.001)}, (0.01, 1, 1)),
        ({"itself": (-2.0, 0.01), "less": (-3.0, 0.001), "plus": (-1.0, 0.2)}, (1, 0.01, 1)),
        ({"itself": (0.2, 0.8), "less": (-1.0, 0.02), "plus": (1.4, 0.01)}, (0.8, 1, 0.01)),  # one-sided, the larger
        ({"itself": (0.2, 0.8)}, (0.8, 1, 1)),
    ],
)
def test_outcomes_of_a_difference_by_hand(found, expected):
    assert claims.p_values(SIMPLE, evidence(**found)).tolist() == pytest.approx(list(expected))


def test_not_better_is_below_the_margin_or_above_zero_by_hand():
    rule = claims.Claim("C", "", "", SIMPLE.contrasts, "", "not_better")
    found = claims.p_values(rule, evidence(itself=(0.5, 0.03), less=(-1.0, 0.001)))
    assert found.tolist() == pytest.approx([0.001, 0.03, 1])
    assert verdict(*found) == "holds"  # better, by less than matters
    found = claims.p_values(rule, evidence(itself=(2.5, 0.001), less=(1.0, 0.04)))
    assert verdict(*found) == "does not hold"
    found = claims.p_values(rule, evidence(itself=(0.8, 0.3), less=(-0.7, 0.3)))
    assert verdict(*found) == "inconclusive"
    assert claims.p_values(rule, evidence(itself=(0.8, 0.3))) is None


def test_outcomes_of_an_intersection_by_hand():
    pairs = tuple(over("x", arm) for arm in "ab")
    both = claims.Claim("C", "", "", pairs, "")
    found = {"x_minus_a": (1.0, 0.02), "x_minus_b": (2.0, 0.001)}
    assert claims.p_values(both, found).tolist() == pytest.approx([0.02, 1, 1])
    found = {"x_minus_a": (1.0, 0.02), "x_minus_b": (-2.0, 0.01)}
    assert claims.p_values(both, found).tolist() == pytest.approx([1, 0.02, 1])
    found = {"x_minus_a": (0.1, 0.9), "x_minus_b": (3.0, 0.01)}
    found |= {"x_minus_a_less_half_dapt": (-1.0, 0.02), "x_minus_b_less_half_dapt": (2.0, 0.1)}
    found |= {"x_minus_a_plus_half_dapt": (1.2, 0.03), "x_minus_b_plus_half_dapt": (4.0, 0.001)}
    # Below the margin is one of two, at 0.01 one-sided; above its negative are both, the larger at 0.015.
    assert claims.p_values(both, found).tolist() == pytest.approx([0.9, 1, 0.02])


def test_margins_are_contrasts():
    less, plus = claims.within_margin(over("not_dapt", "base"))[0], claims.within_margin(over("tapt", "base"))[1]
    assert less.shares() == {"not_dapt": 1.0, "base": -0.5, "dapt": -0.5}
    assert plus.shares() == {"tapt": 1.0, "base": -1.5, "dapt": 0.5}


def test_correction_hands_on_half_a_level_by_hand():
    p_values = np.array([[0.01, 1.0, 0.5], [1.0, 0.02, 0.001], [0.03, 1.0, 1.0]])
    found = claims.corrected(p_values)
    # Factors 3, then 2 / (1 - 1 / 6), then 1 / (1 - 2 / 6); of equivalence 6 throughout.
    assert found[:, 0].tolist() == pytest.approx([0.03, 1.0, 0.048])
    assert found[:, 1].tolist() == pytest.approx([1.0, 0.048, 1.0])
    assert found[:, 2].tolist() == pytest.approx([1.0, 0.006, 1.0])


def test_the_family_has_twelve_claims_and_costs_are_counted():
    assert [claim.id for claim in claims.TESTED] == [f"C{k}" for k in range(1, 13)]
    assert [claim.id for claim in claims.CLAIMS if claim.rule == "fraction"] == ["C13"]


def test_a_claim_that_is_added_is_judged_and_makes_the_others_stricter(monkeypatch, six_arms):
    """As CONTRIBUTING.md says: a row in CLAIMS is all it takes."""
    added = claims.Claim("C14", "DAPT scores above TAPT", "nowhere", (over("dapt", "tapt"),), "holds if above")
    for module, names in ((claims, ("CLAIMS", "TESTED")), (judgements, ("CLAIMS", "TESTED"))):
        for name in names:
            monkeypatch.setattr(module, name, (*getattr(module, name), added))
    judged = judge(SIX, distances=FAR)
    assert row_of(judged, "C14")["verdict"] in {"holds", "inconclusive", "equivalent", "does not hold"}
    assert row_of(judged, "C2")["p_holm"] > row_of(six_arms, "C2")["p_holm"]


def test_a_study_and_many_at_once_are_judged_alike():
    rng, names = np.random.default_rng(0), ["dapt_minus_base", "tapt_minus_base", "tapt_minus_transfer_tapt"]
    asked = [name + more for name in names for more in ("", "_less_half_dapt", "_plus_half_dapt")]
    many = {name: (rng.normal(0, 3, 50), rng.random(50) ** 6) for name in asked}
    together = claims.judge_family(many)
    for k in range(50):
        alone = claims.judge_family({name: (effect[k], p[k]) for name, (effect, p) in many.items()})
        assert alone[1] == pytest.approx(together[1][..., k]) and alone[2].tolist() == together[2][:, k].tolist()
    gained = together[2][1] == "holds"
    assert (together[2] == "equivalent").any() and not (together[2][:, ~gained] == "equivalent").any()


def test_the_papers_numbers_go_through_the_same_rule():
    judged = judgements.judge(NOTHING)
    # RCT 87.6 (0.1) against 87.2 (0.1) is 6.3 standard errors; AGNews 93.9 against 93.9 is none.
    assert verdict_of(judged, "C2", "RCT", "paper") == "holds"
    assert verdict_of(judged, "C2", "AGNews", "paper") == "inconclusive"
    assert verdict_of(judged, "C2", study="paper") == "holds"
    assert verdict_of(judged, "C6", study="paper") == "inconclusive"
    assert row_of(judged, "C12", study="paper")["reason"] == "one replicate: an interval needs two"


def test_the_papers_rise_by_hand():
    """Four domains' gains, each the mean of its two tasks, fitted by a line against 100 less the overlap."""
    gains = {"BioMed": (2.3 + 0.4) / 2, "CS": (12.4 + 3.5) / 2, "News": (1.6 + 0.0) / 2, "Reviews": (1.4 + 0.4) / 2}
    far = {"BioMed": 100 - 27.3, "CS": 100 - 19.2, "News": 100 - 54.1, "Reviews": 100 - 34.5}
    slope = np.polyfit(list(far.values()), list(gains.values()), 1)[0]
    row = row_of(judgements.judge(NOTHING), "C1", study="paper")
    assert row["effect"] == pytest.approx(slope * np.ptp(list(far.values())))


def test_the_overview_has_a_row_a_claim(six_arms):
    overview = judgements.overview(six_arms).set_index("claim")
    assert overview.index.tolist() == [claim.id for claim in claims.CLAIMS]
    assert overview.loc["C2", "ours"] == "holds" and overview.loc["C2", "tasks"] == "holds on 8"
    assert overview.loc["C13", "ours"] == "not run" and overview.loc["C13", "tasks"] == "-"
    assert overview.loc["C12", "paper"] == "inconclusive" and overview.loc["C12", "paper_tasks"] == "-"


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
    judged = judge(there, tasks=TASKS[:4], names=names)
    whole = judged[(judged["study"] == "ours") & (judged["task"] == "mean")]
    assert dict(zip(whole["claim"], whole["verdict"], strict=True)) == expected
    assert set(judged["study"]) == {"ours", "paper"}


def test_a_claims_verdict_rests_on_its_own_arms_and_is_never_bolder_early():
    early = {"base": 0.60, "tapt": 0.62, "dapt": 0.66}
    runs = fabricate(early | {"dapt_tapt": 0.9, "transfer_tapt": 0.5}, tasks=TASKS[:2])
    first = judgements.judge(runs[runs["arm"].isin(early)], names=("C5",))
    pd.testing.assert_frame_equal(first, judgements.judge(runs, names=("C5",)))
    assert row_of(judgements.judge(runs), "C5")["p_holm"] <= row_of(first, "C5")["p_holm"]


ARMS = {"base": 0.55, "tapt": 0.58, "dapt": 0.66, "dapt_tapt": 0.68}
KNN, RAND = [f"knn_tapt_{k}" for k in NUMBERS], [f"rand_tapt_{k}" for k in NUMBERS]


@pytest.mark.parametrize(
    ("knn", "rand", "curated", "expected"),
    [
        ((0.60, 0.64, 0.67), (0.56, 0.60, 0.63), (0.66, 0.73), ("holds",) * 4),
        ((0.56, 0.54, 0.50), (0.60, 0.62, 0.64), (0.54, 0.64), ("does not hold",) * 4),
        ((0.58, 0.58, 0.58), (0.58, 0.58, 0.58), (0.58, 0.68), ("equivalent",) * 4),
    ],
)
def test_claims_on_augmented_text_get_their_verdicts(knn, rand, curated, expected):
    accuracies = ARMS | dict(zip(KNN, knn, strict=True)) | dict(zip(RAND, rand, strict=True))
    accuracies |= dict(zip(("curated_tapt", "dapt_curated_tapt"), curated, strict=True))
    judged = judge(accuracies, tasks=TASKS[:4], num_neighbours=NUMBERS)
    assert tuple(verdict_of(judged, claim) for claim in ("C8", "C9", "C10", "C11")) == expected
    assert row_of(judged, "C9")["effect"] == pytest.approx(100 * (np.mean(knn) - 0.58), abs=0.8)
    assert row_of(judged, "C10")["effect"] == pytest.approx(100 * (np.mean(knn) - np.mean(rand)), abs=0.8)
    assert row_of(judged, "C11")["effect"] == pytest.approx(100 * (knn[-1] - knn[0]), abs=0.8)


def test_names_that_stand_for_several_arms_are_spelt_out():
    assert judgements.resolved(over(claims.KNN_MOST, claims.KNN_FEWEST), (), (5,)).weights == ()
    c9 = over(claims.KNN, claims.NO_NEIGHBOURS)
    assert judgements.resolved(c9, ["tapt"], (5, 15)).shares() == {"knn_tapt_5": 0.5, "knn_tapt_15": 0.5, "tapt": -1.0}
    assert judgements.resolved(c9, ["tapt", "knn_tapt_0"], (5,)).shares() == {"knn_tapt_5": 1.0, "knn_tapt_0": -1.0}
    c10 = over(claims.KNN, claims.RAND)
    assert judgements.resolved(c10, [], (5, 15), 1).shares() == {
        "knn_tapt_5": 0.5,
        "knn_tapt_15": 0.5,
        "rand_tapt_5": -1,
    }
    assert judgements.resolved(c10, [], ()).weights == ()
    assert judgements.resolved(over(arms.DAPT, "base"), ()) == Contrast(
        "dapt_minus_base", (("dapt", 1.0), ("base", -1.0))
    )
    c3 = judgements.resolved(over("dapt", claims.NOT_DAPT), ["dapt", "not_dapt", "not_dapt_3"])
    assert c3.shares() == {"dapt": 1.0, "not_dapt": -0.5, "not_dapt_3": -0.5}


def test_neighbours_are_judged_once_all_their_controls_have_run():
    there = dict.fromkeys([*ARMS, *KNN, *RAND[:2]], 0.6)
    assert verdict_of(judge(there, tasks=TASKS[:2], num_neighbours=NUMBERS, num_replicates=2), "C10") == "not run"


def test_not_dapt_is_the_mean_of_the_irrelevant_encoders_that_there_are():
    judged = judge({"base": 0.60, "dapt": 0.66, "not_dapt": 0.57, "not_dapt_2": 0.60, "not_dapt_3": 0.63})
    assert row_of(judged, "C3")["effect"] == pytest.approx(6, abs=0.8)
    assert row_of(judged, "C4")["effect"] == pytest.approx(0, abs=0.8) and verdict_of(judged, "C4") == "holds"


@pytest.mark.parametrize(
    ("flops", "expected"),
    [((0.3, 0.31, 0.9), "holds"), ((0.9, 0.95, 1.1), "does not hold"), ((0.3, 0.6, 0.8), "does not hold")],
)
def test_costs_are_counted(flops, expected):
    ratios = pd.DataFrame({"tflops": flops, "bytes": [0.02, 0.03, 0.04]})
    judged = judgements.judge(NOTHING, cost_ratios=ratios)
    assert verdict_of(judged, "C13") == expected and verdict_of(judged, "C13", study="paper") == "holds"
    storage = row_of(judged, "C13", "bytes")
    assert storage["effect"] == pytest.approx((0.02 * 0.03 * 0.04) ** (1 / 3)) and storage["verdict"] == "holds"
    unknown = judgements.judge(NOTHING, cost_ratios=ratios.assign(tflops=np.nan))  # what others paid is not known
    assert verdict_of(unknown, "C13") == "not run"


def test_the_papers_neighbours_by_hand():
    judged = judgements.judge(NOTHING)
    assert row_of(judged, "C9", "ChemProt", "paper")["effect"] == pytest.approx((83.3 + 83.2 + 83.3) / 3 - 82.6)
    assert row_of(judged, "C11", "ACL-ARC", "paper")["effect"] == pytest.approx(75.5 - 70.7)
