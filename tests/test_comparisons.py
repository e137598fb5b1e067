"""Differences of arms: hand-made answers, known differences covered, errors for what does not pair up."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from dontstop.errors import StudyError
from dontstop.verdicts import comparisons
from fabricated import make_record, make_records

SEEDS = range(5)


@pytest.fixture(scope="module")
def truth():
    return np.random.default_rng(1).integers(0, 3, 400)


def compare(records, truth, arm_a="dapt", arm_b="base", *, num_resamples=300, seed=0, seeds=SEEDS):
    arms = [arm_a, arm_b] if arm_a != arm_b else [arm_a]
    found = comparisons.resample(
        records, arms, ["task"], seeds, {"task": truth}, num_resamples=num_resamples, seed=seed
    )
    return comparisons.difference(found["task"], arm_a, arm_b)


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1"])
def test_weighted_scores_are_sklearns(truth, metric):
    rng = np.random.default_rng(0)
    predictions, weights = rng.integers(0, 3, (4, 400)), rng.integers(0, 4, (3, 400)).astype(np.float32)
    found = comparisons.weighted_scores(weights, predictions, truth, 3, metric)
    for i, weighting in enumerate(weights):
        for j, predicted in enumerate(predictions):
            average = metric.removesuffix("_f1")
            assert found[i, j] == pytest.approx(f1_score(truth, predicted, average=average, sample_weight=weighting))


def test_draws_are_of_the_right_size():
    drawn = comparisons.draw_counts(np.random.default_rng(0), 7, 30)
    assert drawn.shape == (7, 30) and (drawn.sum(axis=1) == 30).all()


def test_estimate_is_the_difference_of_the_recorded_means(truth):
    records = make_records({"dapt": 0.8, "base": 0.6}, truth, seed=0)
    means = records.groupby("arm")["test_score"].mean()
    assert compare(records, truth).estimate == pytest.approx(means["dapt"] - means["base"])


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1"])
def test_a_large_difference_is_found_and_none_is_not_invented(truth, metric):
    records = make_records({"dapt": 0.8, "base": 0.6}, truth, seed=0, spread=0.02, metric=metric)
    gain = compare(records, truth)
    assert gain.low < 0.2 < gain.high and gain.low > 0 and gain.p_value < 0.01
    same = compare(records, truth, "base", "base")
    assert (same.estimate, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_interval_and_p_value_say_the_same(truth):
    for accuracy in (0.6, 0.63, 0.66):
        found = compare(make_records({"dapt": accuracy, "base": 0.6}, truth, seed=3, spread=0.01), truth)
        assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0)


def test_variance_is_that_of_a_t_test_where_examples_say_nothing():
    """Scores that no draw of examples moves leave the paired t test over seeds."""
    by_seed = np.array([0.01, 0.03, 0.02, 0.05, -0.01])
    resamples = comparisons.from_scores(
        ("a", "b"),
        np.stack([by_seed, np.zeros(5)], axis=1),
        np.repeat(np.stack([by_seed, np.zeros(5)], axis=1)[None], 50, axis=0),
        np.random.default_rng(0),
    )
    found, expected = comparisons.difference(resamples, "a", "b"), stats.ttest_1samp(by_seed, 0)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_variance_is_that_of_the_examples_where_all_seeds_are_alike(truth):
    rng = np.random.default_rng(0)
    right = {arm: np.where(rng.random(400) < p, truth, (truth + 1) % 3) for arm, p in (("dapt", 0.8), ("base", 0.7))}
    rows = [make_record("task", arm, s, truth, right[arm], "micro_f1") for arm in right for s in SEEDS]
    found = compare(pd.DataFrame(rows), truth, num_resamples=4000)
    gained = (right["dapt"] == truth).astype(float) - (right["base"] == truth)
    assert found.standard_error == pytest.approx(gained.std() / 20, rel=0.05)
    assert found.df == np.inf


def test_intervals_cover_the_known_difference_about_as_often_as_they_say():
    covered = 0
    for trial in range(80):
        truth = np.random.default_rng([7, trial]).integers(0, 3, 200)
        records = make_records({"dapt": 0.7, "base": 0.6}, truth, seed=trial, metric="micro_f1", spread=0.03)
        found = compare(records, truth, num_resamples=200, seed=trial)
        covered += found.low <= 0.1 <= found.high
    assert covered >= 70  # 76 expected of 80; below 70 has a chance of less than one in a hundred


def test_same_seed_same_interval_whatever_the_order(truth):
    records = make_records({"dapt": 0.7, "base": 0.6}, truth, seed=0)
    found, again = (compare(r, truth, seed=5) for r in (records, records[::-1]))
    assert (found.low, found.high) == (again.low, again.high)
    assert compare(records, truth, seed=6).low != found.low


def test_seeds_part_is_scaled_up_for_its_small_number():
    by_seed = np.array([[0.0], [0.0], [1.0], [1.0]])
    drawn = np.repeat(by_seed[None], 20_000, axis=0)
    found = comparisons.from_scores(("a",), by_seed, drawn, np.random.default_rng(0))
    assert found.means().var() == pytest.approx(np.var([0, 0, 1, 1], ddof=1) / 4, rel=0.05)
    single = comparisons.from_scores(("a",), np.ones((1, 1)), np.ones((3, 1, 1)), np.random.default_rng(0))
    assert single.means().tolist() == [[1], [1], [1]]


def test_missing_seeds_and_wrong_labels_are_errors(truth):
    records = make_records({"dapt": 0.7, "base": 0.6}, truth, seed=0)
    with pytest.raises(StudyError, match="2 of 5 cells not recorded, the first base on task with seed 3"):
        compare(records[(records["arm"] == "dapt") | (records["seed"] < 3)], truth)
    with pytest.raises(StudyError, match="400 predictions for 399"):
        compare(records, truth[:-1])
    with pytest.raises(StudyError, match="label ids up to 9"):
        compare(records, np.full(400, 9))
    with pytest.raises(StudyError, match="where its predictions give"):
        compare(records, truth[::-1])


@pytest.fixture(scope="module")
def four_tasks(truth):
    """Draw three arms on four tasks: DAPT eight points above the base, not-DAPT level with it."""
    accuracies = {"dapt": 0.7, "base": 0.62, "not_dapt": 0.62}
    rows = [make_records(accuracies, truth, seed=i, task=t) for i, t in enumerate("xyzw")]
    labels = dict.fromkeys("xyzw", truth)
    return comparisons.resample(
        pd.concat(rows), list(accuracies), list("xyzw"), SEEDS, labels, num_resamples=300, seed=0
    )


def test_mean_over_tasks_is_narrower_than_one_task(four_tasks):
    table = comparisons.difference_table(comparisons.differences(four_tasks, "dapt", "base"))
    assert list(table.index) == ["x", "y", "z", "w", "mean"]
    assert table.loc["mean", "difference"] == pytest.approx(table["difference"][:4].mean())
    width = table["difference_high"] - table["difference_low"]
    assert width["mean"] < 0.7 * width[:4].mean()


def test_holm_by_hand():
    assert comparisons.holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    found = comparisons.holm([0.5, np.nan])
    assert found[0] == 0.5 and np.isnan(found[1])


def test_a_tables_comparisons_are_one_family_and_its_means_another(four_tasks):
    pairs = {"gain": ("dapt", "base"), "control": ("not_dapt", "base")}
    tables = {
        name: comparisons.difference_table(comparisons.differences(four_tasks, *pair)) for name, pair in pairs.items()
    }
    found = comparisons.families(tables)
    raw = np.concatenate([tables[name].loc[list("xyzw"), "p_value"] for name in pairs])
    corrected = np.concatenate([found[name].loc[list("xyzw"), "p_holm"] for name in pairs])
    assert corrected.tolist() == pytest.approx(comparisons.holm(raw).tolist())
    means = [tables[name].loc["mean", "p_value"] for name in pairs]
    assert [found[name].loc["mean", "p_holm"] for name in pairs] == pytest.approx(comparisons.holm(means).tolist())


def test_welch_is_scipys_and_its_interval_agrees():
    a, b = np.array([1.0, 2, 3, 4, 6]), np.array([1.0, 1, 2, 2, 3])
    expected = stats.ttest_ind(a, b, equal_var=False)
    difference, low, high, p_value = comparisons.welch(a, b)
    assert difference == pytest.approx(a.mean() - b.mean()) and p_value == pytest.approx(expected.pvalue)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert comparisons.welch(np.ones(5), np.ones(5)) == (0, 0, 0, 1)


def test_interquartile_mean_takes_the_middle_half():
    scores = np.array([[0.0, 1, 2, 100], [3, 4, 5, -100]])
    found, low, high = comparisons.interquartile_interval(scores, num_resamples=200, seed=0)
    assert found == np.mean([1, 2, 3, 4]) and low <= found <= high


def test_probability_of_improvement_by_hand():
    a, b = np.array([[1.0, 5], [3, 5]]), np.array([[2.0, 5], [2, 4]])
    # First task: two wins of four pairs; second: two ties and two wins.
    found, low, high = comparisons.probability_of_improvement(a, b, num_resamples=200, seed=0)
    assert found == pytest.approx((0.5 + 0.75) / 2) and low <= found <= high
    assert comparisons.probability_of_improvement(a + 9, b, num_resamples=20, seed=0) == (1, 1, 1)


def test_the_better_arm_is_most_likely_the_best(four_tasks):
    found = comparisons.probability_best(four_tasks)
    assert list(found.index) == ["x", "y", "z", "w", "mean"]
    assert np.allclose(found.sum(axis=1), 1)
    assert found.loc["mean", "dapt"] > 0.99


def test_correlation_of_gains_by_hand():
    gains = {
        t: comparisons.Difference(g, 0, 0, 1, 0, 4, np.full(10, g)) for t, g in zip("wxyz", [1, 2, 3, 4], strict=True)
    }
    found = comparisons.gain_correlation(dict(zip("wxyz", [10, 20, 30, 40], strict=True)), gains)
    # Of the 24 orders of four tasks, the one observed and its reverse are as strong.
    assert found == {"spearman": 1, "low": 1, "high": 1, "p_value": 2 / 24, "num_tasks": 4}
    assert np.isnan(comparisons.gain_correlation(dict.fromkeys("wxyz", 1.0), gains)["spearman"])
