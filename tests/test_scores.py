"""Scores and their intervals: hand-made answers, known differences covered, errors for what does not pair up."""

import base64
import zlib

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from dontstop import scores
from dontstop.errors import StudyError

LABELS = ["a", "b", "c"]


def make_record(task, arm, seed, truth, predictions, metric="macro_f1", **more):
    average = metric.removesuffix("_f1")
    value = f1_score(truth, predictions, labels=range(len(LABELS)), average=average, zero_division=0.0)
    packed = base64.b64encode(zlib.compress(np.asarray(predictions, np.uint8).tobytes())).decode()
    degenerate = len(set(np.asarray(predictions).tolist())) == 1
    fixed = {"task": task, "arm": arm, "seed": seed, "metric": metric, "labels": LABELS, "degenerate": degenerate}
    return {**fixed, "test_score": value, "test_predictions": packed, **more}


def make_records(accuracies, truth, *, seed, task="task", seeds=range(5), spread=0.0, metric="macro_f1"):
    """Predict rightly with the arm's accuracy (give or take a spread between seeds), otherwise at random."""
    rng = np.random.default_rng(seed)
    rows = []
    for arm, accuracy in accuracies.items():
        for s in seeds:
            right = rng.random(len(truth)) < accuracy + spread * rng.standard_normal()
            predictions = np.where(right, truth, (truth + rng.integers(1, 3, len(truth))) % 3)
            rows.append(make_record(task, arm, s, truth, predictions, metric))
    return pd.DataFrame(rows)


def of(records, arm):
    return records[records["arm"] == arm]


@pytest.fixture(scope="module")
def truth():
    return np.random.default_rng(1).integers(0, 3, 400)


@pytest.fixture
def grid():
    rows = [{"task": t, "arm": "base", "seed": s, "test_score": 10 * i + s} for i, t in enumerate("xy") for s in (3, 4)]
    return pd.DataFrame(rows[::-1])


def test_score_matrix_is_seeds_by_tasks_in_the_order_asked(grid):
    assert scores.score_matrix(grid, "base", ["y", "x"], [3, 4]).tolist() == [[13, 3], [14, 4]]


def test_missing_and_double_cells_are_named(grid):
    with pytest.raises(StudyError, match="2 of 6 cells not recorded, the first base on x with seed 9"):
        scores.score_matrix(grid, "base", ["x", "y"], [3, 4, 9])
    with pytest.raises(StudyError, match="twice, the first base on"):
        scores.score_matrix(pd.concat([grid, grid.iloc[:1]]), "base", ["x", "y"], [3, 4])


def test_predictions_survive_packing():
    record = make_record("t", "base", 0, [0, 1, 2], [2, 1, 0])
    assert scores.decode_predictions(record).tolist() == [2, 1, 0]


def test_mean_and_sample_std_by_hand():
    mean, std = scores.mean_and_std(np.array([[1.0, 5.0], [3.0, 5.0]]))
    assert mean.tolist() == [2, 5] and std.tolist() == [pytest.approx(2**0.5), 0]
    assert np.isnan(scores.mean_and_std(np.array([[1.0]]))[1]).all()


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1"])
def test_weighted_scores_are_sklearns(truth, metric):
    rng = np.random.default_rng(0)
    predictions, weights = rng.integers(0, 3, (4, 400)), rng.integers(0, 4, (3, 400)).astype(np.float32)
    found = scores._weighted_scores(weights, predictions, truth, 3, metric)
    for i, weighting in enumerate(weights):
        for j, predicted in enumerate(predictions):
            average = metric.removesuffix("_f1")
            assert found[i, j] == pytest.approx(f1_score(truth, predicted, average=average, sample_weight=weighting))


def test_draws_are_of_the_right_size():
    drawn = scores._draw(np.random.default_rng(0), 7, 30)
    assert drawn.shape == (7, 30) and (drawn.sum(axis=1) == 30).all()


def test_estimate_is_the_difference_of_the_recorded_means(truth):
    records = make_records({"dapt": 0.8, "base": 0.6}, truth, seed=0)
    found = scores.difference_interval(of(records, "dapt"), of(records, "base"), truth, num_resamples=50, seed=0)
    means = records.groupby("arm")["test_score"].mean()
    assert found.estimate == pytest.approx(means["dapt"] - means["base"])


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1"])
def test_a_large_difference_is_found_and_none_is_not_invented(truth, metric):
    records = make_records({"dapt": 0.8, "base": 0.6, "other": 0.6}, truth, seed=0, spread=0.02, metric=metric)
    gain = scores.difference_interval(of(records, "dapt"), of(records, "base"), truth, num_resamples=300, seed=0)
    assert gain.low < 0.2 < gain.high and gain.low > 0
    same = scores.difference_interval(of(records, "base"), of(records, "base"), truth, num_resamples=300, seed=0)
    assert (same.estimate, same.low, same.high) == (0, 0, 0)


def test_intervals_cover_the_known_difference_about_as_often_as_they_say():
    covered = 0
    for trial in range(60):
        truth = np.random.default_rng([7, trial]).integers(0, 3, 200)
        records = make_records({"dapt": 0.7, "base": 0.6}, truth, seed=trial, metric="micro_f1")
        found = scores.difference_interval(
            of(records, "dapt"), of(records, "base"), truth, num_resamples=200, seed=trial
        )
        covered += found.low <= 0.1 <= found.high
    assert covered >= 52  # 57 expected of 60; below 52 has a chance of less than one in a hundred


def test_same_seed_same_interval_whatever_the_order(truth):
    records = make_records({"dapt": 0.7, "base": 0.6}, truth, seed=0)
    found, again = (
        scores.difference_interval(of(r, "dapt"), of(r, "base"), truth, num_resamples=40, seed=5)
        for r in (records, records[::-1])
    )
    assert (found.low, found.high) == (again.low, again.high)
    other = scores.difference_interval(of(records, "dapt"), of(records, "base"), truth, num_resamples=40, seed=6)
    assert found.low != other.low


def test_seeds_part_is_scaled_up_for_its_small_number():
    shifts = scores._seed_shifts(np.array([0.0, 0.0, 1.0, 1.0]), 20_000, np.random.default_rng(0))
    assert shifts.var() == pytest.approx(np.var([0, 0, 1, 1], ddof=1) / 4, rel=0.05)
    assert scores._seed_shifts(np.ones(1), 3, np.random.default_rng(0)).tolist() == [0, 0, 0]


def test_unpaired_records_and_wrong_labels_are_errors(truth):
    records = make_records({"dapt": 0.7, "base": 0.6}, truth, seed=0)
    dapt, base = of(records, "dapt"), of(records, "base")

    def compare(a, b, labels):
        return scores.difference_interval(a, b, labels, num_resamples=5, seed=0)

    with pytest.raises(StudyError, match=r"seeds \[0, 1, 2, 3, 4\] of dapt against \[0, 1, 2\] of base"):
        compare(dapt, base[:3], truth)
    with pytest.raises(StudyError, match="400 predictions for 399"):
        compare(dapt, base, truth[:-1])
    with pytest.raises(StudyError, match="label ids up to 9"):
        compare(dapt, base, np.full(400, 9))
    with pytest.raises(StudyError, match="where its predictions give"):
        compare(dapt, base, truth[::-1])
    with pytest.raises(StudyError, match="one record a seed"):
        compare(records, base, truth)


def test_mean_over_tasks_is_narrower_than_one_task(truth):
    rows = [make_records({"dapt": 0.7, "base": 0.6}, truth, seed=i, task=t) for i, t in enumerate("xyzw")]
    labels = dict.fromkeys("xyzw", truth)
    found = scores.arm_differences(
        pd.concat(rows), "dapt", "base", list("xyzw"), range(5), labels, num_resamples=300, seed=0
    )
    table = scores.difference_table(found)
    assert list(table.index) == ["x", "y", "z", "w", "mean"]
    assert table.loc["mean", "difference"] == pytest.approx(table["difference"][:4].mean())
    width = table["difference_high"] - table["difference_low"]
    assert width["mean"] < 0.7 * width[:4].mean()
    alone = scores.arm_differences(pd.concat(rows), "dapt", "base", ["z"], range(5), labels, num_resamples=300, seed=0)
    assert alone["z"].low == found["z"].low  # a task's interval does not hang on the others


def test_correlation_of_gains_by_hand():
    gains = {t: scores.Difference(g, 0, 0, np.full(10, g)) for t, g in zip("wxyz", [1, 2, 3, 4], strict=True)}
    found = scores.gain_correlation(dict(zip("wxyz", [10, 20, 30, 40], strict=True)), gains)
    # Of the 24 orders of four tasks, the one observed and its reverse are as strong.
    assert found == {"spearman": 1, "low": 1, "high": 1, "p_value": 2 / 24, "num_tasks": 4}
    assert np.isnan(scores.gain_correlation(dict.fromkeys("wxyz", 1.0), gains)["spearman"])


def test_degenerate_seeds_are_shown_with_and_without():
    truth = np.array([0, 1, 2, 0])
    records = pd.DataFrame([make_record("t", "base", 0, truth, truth), make_record("t", "base", 1, truth, [0] * 4)])
    row = scores.degenerate_cells(records).iloc[0]
    assert (row["num_degenerate"], row["num_seeds"], row["mean_without"]) == (1, 2, 100)
    assert row["mean_with"] == pytest.approx(100 * (1 + 2 / 9) / 2)
    assert scores.degenerate_cells(records[:1]).empty
