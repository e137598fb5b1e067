"""Arms over tasks: hand-made answers, the better arm the likelier best, three tests of one difference."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dontstop.verdicts import aggregates, effects
from dontstop.verdicts.effects import Difference, over
from fabricated import make_record, make_records

TASKS = ("x", "y")
SEEDS = (0, 1, 2, 3, 4)
ACCURACIES = {"base": 0.60, "dapt": 0.66, "tapt": 0.66, "dapt_tapt": 0.72}
IDS = np.random.default_rng(5).integers(0, 3, 1000)
TRUTH = dict.fromkeys(TASKS, IDS)
CONTRASTS = [over("tapt", "base", "table5"), over("dapt_tapt", "dapt", "table5")]


@pytest.fixture(scope="module")
def runs():
    """Fabricate two tasks, four arms, five seeds."""
    rows = [make_records(ACCURACIES, IDS, seed=k, task=task, spread=0.005) for k, task in enumerate(TASKS)]
    domains = {"x": "near", "y": "far"}
    table = pd.concat(rows, ignore_index=True)
    return table.assign(domain=table["task"].map(domains))


def score(runs, arm, task):
    return runs[(runs["arm"] == arm) & (runs["task"] == task)].sort_values("seed")["test_score"].to_numpy()


def test_interquartile_mean_takes_the_middle_half():
    scores = np.array([[0.0, 1, 2, 100], [3, 4, 5, -100]])
    found, low, high = aggregates.interquartile_interval(scores, num_resamples=200, seed=0)
    assert found == np.mean([1, 2, 3, 4]) and low <= found <= high


def test_probability_of_improvement_by_hand():
    a, b = np.array([[1.0, 5], [3, 5]]), np.array([[2.0, 5], [2, 4]])
    # First task: two wins of four pairs; second: two ties and two wins.
    found, low, high = aggregates.probability_of_improvement(a, b, num_resamples=200, seed=0)
    assert found == pytest.approx((0.5 + 0.75) / 2) and low <= found <= high
    assert aggregates.probability_of_improvement(a + 9, b, num_resamples=20, seed=0) == (1, 1, 1)


def test_aggregates_by_hand(runs):
    table = aggregates.aggregates(runs, num_resamples=100)
    some = np.sort(100 * np.concatenate([score(runs, "tapt", task) for task in TASKS]))
    assert table.loc["tapt", "mean"] == pytest.approx(some.mean())
    assert table.loc["tapt", "iqm"] == pytest.approx(some[2:8].mean())  # of ten runs, two are cut off at each end
    improved = table["probability_of_improvement"]
    assert improved["base"] == 0.5 and improved["dapt_tapt"] == 1
    assert (table["iqm_low"] <= table["iqm"]).all() and (table["iqm"] <= table["iqm_high"]).all()


def test_the_best_of_known_arms_is_found(runs):
    best = aggregates.probability_best(runs, TRUTH, num_resamples=100)
    assert best.index.tolist() == [*TASKS, "mean"] and best.columns.tolist() == list(ACCURACIES)
    assert best.sum(axis=1).tolist() == pytest.approx([1, 1, 1]) and (best["dapt_tapt"] > 0.95).all()


def test_intervals_are_those_of_the_difference_to_the_reference(runs):
    found = aggregates.intervals(runs, "tapt", TRUTH, num_resamples=100)
    assert found.index.tolist() == list(ACCURACIES)
    expected = 100 * runs.groupby("arm")["test_score"].mean()
    assert found["mean"].to_dict() == pytest.approx(expected.to_dict())
    assert found.loc["tapt"].nunique() == 1
    of_base = effects.effects(runs, [over("base", "tapt")], TRUTH, num_resamples=100).iloc[-1]
    shift = found.loc["base", "mean"] - of_base["effect"]
    assert found.loc["base", ["low", "high"]].tolist() == pytest.approx(
        [of_base["low"] + shift, of_base["high"] + shift]
    )


def three_tests(runs):
    found = effects.effects(runs, CONTRASTS, TRUTH, num_resamples=100)
    return aggregates.tests(runs, found, CONTRASTS).set_index(["contrast", "task"])


def test_three_roads_to_one_difference(runs):
    table = three_tests(runs)
    assert table.index.tolist() == [(contrast.name, task) for contrast in CONTRASTS for task in TASKS]
    row = table.loc[("tapt_minus_base", "y")]
    assert row["paired"] == pytest.approx(row["welch"]) == pytest.approx(row["without_degenerate"])
    expected = stats.ttest_ind(score(runs, "tapt", "y"), score(runs, "base", "y"), equal_var=False)
    assert row["p_welch"] == pytest.approx(expected.pvalue) and row["num_left_out"] == 0
    low, high = expected.confidence_interval(0.95)
    assert (row["welch_low"], row["welch_high"]) == pytest.approx((100 * low, 100 * high))


def test_a_degenerate_seed_is_left_out_on_one_road_only(runs):
    broken = make_record("x", "base", 2, IDS, np.zeros(len(IDS), int), domain="near")
    place = runs[(runs["task"] == "x") & (runs["arm"] == "base") & (runs["seed"] == 2)].index
    table = three_tests(pd.concat([runs.drop(index=place), pd.DataFrame([broken])], ignore_index=True))
    kept = [seed for seed in SEEDS if seed != 2]
    without = 100 * (score(runs, "tapt", "x") - score(runs, "base", "x"))[kept].mean()
    row = table.loc[("tapt_minus_base", "x")]
    assert row["without_degenerate"] == pytest.approx(without) and row["paired"] > without + 1
    assert set(table["num_left_out"]) == {1}
    other = table.loc[("tapt_minus_base", "y")]
    assert other["without_degenerate"] == pytest.approx(other["paired"])


def test_where_every_seed_is_left_out_there_is_no_difference_without_them(runs):
    table = three_tests(runs.assign(degenerate=runs["degenerate"] | (runs["task"] == "x")))
    assert table.xs("x", level="task")["without_degenerate"].isna().all()
    assert table.xs("y", level="task")["without_degenerate"].notna().all()
    assert set(table["num_left_out"]) == {5}


def test_correlation_of_gains_by_hand():
    gains = [Difference(g, 0, 0, 1, 0, 4, np.full(10, g)) for g in (1, 2, 3, 4)]
    found = aggregates.gain_correlation(np.array([10.0, 20, 30, 40]), gains)
    # Of the 24 orders of four tasks, the one observed and its reverse are as strong.
    assert found == pytest.approx({"spearman": 1, "low": 1, "high": 1, "p_value": 2 / 24, "num_tasks": 4})
    assert np.isnan(aggregates.gain_correlation(np.ones(4), gains)["spearman"])


def test_gains_are_correlated_with_every_distance_that_was_measured(runs):
    distances = pd.DataFrame(
        {"vocabulary_overlap": [60.0, 20.0], "jensen_shannon": [0.1, 0.4], "masked_lm_loss": [3.0, np.nan]},
        index=["near", "far"],
    )
    found = aggregates.gain_correlations(runs, over("dapt", "base"), TRUTH, distances, num_resamples=100)
    assert found.index.tolist() == ["vocabulary_overlap", "jensen_shannon"]
    gains = [score(runs, "dapt", task).mean() - score(runs, "base", task).mean() for task in TASKS]
    sign = float(np.sign(gains[1] - gains[0]))
    assert found["spearman"].tolist() == pytest.approx([sign, sign])  # both put y farther
    assert found["p_value"].tolist() == [1, 1] and found["num_tasks"].tolist() == [2, 2]


def test_permutation_p_values_are_those_of_all_orders_and_of_many_beyond():
    rng = np.random.default_rng(0)
    x, y = np.array([1.0, 1, 2, 2, 3, 3, 4, 4]), rng.standard_normal(8)
    observed, p_value = aggregates.rank_correlation(x, y)
    drawn = [stats.spearmanr(x, rng.permutation(y)).statistic for _ in range(2000)]
    share = np.mean(np.abs(drawn) >= abs(observed) - 1e-12)
    assert p_value == pytest.approx(share, abs=4 * math.sqrt(share / 2000))
    assert p_value * math.factorial(8) == pytest.approx(round(p_value * math.factorial(8)))  # a share of all orders
    far, gains = np.arange(12.0), np.arange(12) + 3 * rng.standard_normal(12)
    observed, p_value = aggregates.rank_correlation(far, gains)
    assert p_value == aggregates.rank_correlation(far, gains)[1]  # seeded
    assert p_value == pytest.approx(stats.spearmanr(far, gains).pvalue, rel=0.5) and 0 < p_value < 0.2
    assert np.isnan(aggregates.rank_correlation(np.ones(3), np.arange(3.0))).all()
