"""Differences of arms: hand-made answers, known differences covered, errors for what does not pair up."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from dontstop.errors import StudyError
from dontstop.runs import arms
from dontstop.verdicts import effects, resampling
from dontstop.verdicts.effects import Contrast, over
from fabricated import make_record, make_records

SEEDS = range(5)


@pytest.fixture(scope="module")
def truth():
    return np.random.default_rng(1).integers(0, 3, 400)


def compare(records, truth, arm_a="dapt", arm_b="base", *, num_resamples=300, seed=0):
    found = resampling.resample(records, {"task": truth}, [arm_a, arm_b], num_resamples=num_resamples, seed=seed)
    return effects.difference(found["task"], {arm_a: 1.0, arm_b: -1.0})


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1"])
def test_weighted_scores_are_sklearns(truth, metric):
    rng = np.random.default_rng(0)
    predictions, weights = rng.integers(0, 3, (4, 400)), rng.integers(0, 4, (3, 400)).astype(np.float32)
    found = resampling.weighted_scores(weights, predictions, truth, 3, metric)
    for i, weighting in enumerate(weights):
        for j, predicted in enumerate(predictions):
            average = metric.removesuffix("_f1")
            assert found[i, j] == pytest.approx(f1_score(truth, predicted, average=average, sample_weight=weighting))


def test_draws_are_of_the_right_size():
    drawn = resampling.draw_counts(np.random.default_rng(0), 7, 30)
    assert drawn.shape == (7, 30) and (drawn.sum(axis=1) == 30).all()


def test_estimate_is_the_difference_of_the_recorded_means(truth):
    records = make_records({"dapt": 0.8, "base": 0.6}, truth, seed=0)
    means = records.groupby("arm")["test_score"].mean()
    assert compare(records, truth).effect == pytest.approx(means["dapt"] - means["base"])


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1"])
def test_a_large_difference_is_found_and_none_is_not_invented(truth, metric):
    records = make_records({"dapt": 0.8, "base": 0.6}, truth, seed=0, spread=0.02, metric=metric)
    gain = compare(records, truth)
    assert gain.low < 0.2 < gain.high and gain.low > 0 and gain.p_value < 0.01
    twin = pd.concat([records, records[records["arm"] == "base"].assign(arm="twin")])
    same = compare(twin, truth, "twin", "base")
    assert (same.effect, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_interval_and_p_value_say_the_same(truth):
    for accuracy in (0.6, 0.63, 0.66):
        found = compare(make_records({"dapt": accuracy, "base": 0.6}, truth, seed=3, spread=0.01), truth)
        assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0)


def test_variance_is_that_of_a_t_test_where_examples_say_nothing():
    """Scores that no draw of examples moves leave the paired t test over seeds."""
    by_seed = np.array([0.01, 0.03, 0.02, 0.05, -0.01])
    resamples = resampling.from_scores(
        ("a", "b"),
        np.stack([by_seed, np.zeros(5)], axis=1),
        np.repeat(np.stack([by_seed, np.zeros(5)], axis=1)[None], 50, axis=0),
        np.random.default_rng(0),
    )
    found, expected = effects.difference(resamples, {"a": 1.0, "b": -1.0}), stats.ttest_1samp(by_seed, 0)
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
    found = resampling.from_scores(("a",), by_seed, drawn, np.random.default_rng(0))
    assert found.means().var() == pytest.approx(np.var([0, 0, 1, 1], ddof=1) / 4, rel=0.05)
    single = resampling.from_scores(("a",), np.ones((1, 1)), np.ones((3, 1, 1)), np.random.default_rng(0))
    assert single.means().tolist() == [[1], [1], [1]]


def test_missing_seeds_and_wrong_labels_are_errors(truth):
    records = make_records({"dapt": 0.7, "base": 0.6}, truth, seed=0)
    with pytest.raises(StudyError, match="2 of 5 runs not recorded, the first base on task with seed 3"):
        compare(records[(records["arm"] == "dapt") | (records["seed"] < 3)], truth)
    with pytest.raises(StudyError, match="400 predictions for 399"):
        compare(records, truth[:-1])
    with pytest.raises(StudyError, match="label ids up to 9"):
        compare(records, np.full(400, 9))
    with pytest.raises(StudyError, match="where its predictions give"):
        compare(records, truth[::-1])


@pytest.fixture(scope="module")
def four_tasks(truth):
    """Return the runs of three arms on four tasks: DAPT eight points above the base, not-DAPT level with it."""
    accuracies = {"dapt": 0.7, "base": 0.62, "not_dapt": 0.62}
    return pd.concat([make_records(accuracies, truth, seed=i, task=t) for i, t in enumerate("xyzw")])


CONTRASTS = (over("dapt", "base", "gains"), over("not_dapt", "base", "gains"))


@pytest.fixture(scope="module")
def table(four_tasks, truth):
    return effects.effects(four_tasks, CONTRASTS, dict.fromkeys("xyzw", truth), num_resamples=300)


def test_effects_are_in_points_a_row_a_task_and_the_mean_last(table, four_tasks):
    assert list(table["contrast"].unique()) == ["dapt_minus_base", "not_dapt_minus_base"]
    gain = table[table["contrast"] == "dapt_minus_base"].set_index("task")
    assert list(gain.index) == ["x", "y", "z", "w", "mean"] and set(table["num_seeds"]) == {5}
    means = 100 * four_tasks.groupby(["task", "arm"])["test_score"].mean()
    for task in "xyzw":
        assert gain.loc[task, "effect"] == pytest.approx(means[task, "dapt"] - means[task, "base"], abs=1e-4)
    assert gain.loc["mean", "effect"] == pytest.approx(gain["effect"].iloc[:4].mean())
    assert (table["low"] <= table["effect"]).all() and (table["effect"] <= table["high"]).all()


def test_mean_over_tasks_is_narrower_than_one_task(table):
    gain = table[table["contrast"] == "dapt_minus_base"].set_index("task")
    width = gain["high"] - gain["low"]
    assert width["mean"] < 0.7 * width[:4].mean()


def test_effects_do_not_depend_on_what_else_is_compared(table, four_tasks, truth):
    alone = effects.effects(four_tasks, CONTRASTS[:1], dict.fromkeys("xyzw", truth), num_resamples=300)
    same = table[table["contrast"] == "dapt_minus_base"]
    for column in ("effect", "low", "high", "p_value", "standard_error", "df"):
        assert alone[column].tolist() == pytest.approx(same[column].tolist(), rel=1e-12)


def test_arms_and_their_names_are_one(table, four_tasks, truth):
    contrast = over(arms.DAPT, arms.BASE, "gains")
    assert (contrast.name, contrast.shares()) == ("dapt_minus_base", {"dapt": 1.0, "base": -1.0})
    again = effects.effects(four_tasks, [contrast, CONTRASTS[1]], dict.fromkeys("xyzw", truth), num_resamples=300)
    pd.testing.assert_frame_equal(again, table)


def test_a_weighted_contrast_is_that_of_the_means(table, four_tasks, truth):
    both = Contrast("both", (("dapt", 0.5), ("not_dapt", 0.5), ("base", -1.0)))
    found = effects.effects(four_tasks, [both], dict.fromkeys("xyzw", truth), num_resamples=300)
    halves = table.groupby("task", sort=False)["effect"].mean()
    assert found["effect"].tolist() == pytest.approx(halves.tolist())
    assert found["p_holm"].iloc[-1] == found["p_value"].iloc[-1]  # it stands alone


def test_a_contrast_is_compared_on_the_tasks_that_all_its_arms_have_run_on(four_tasks, truth):
    some = four_tasks[(four_tasks["arm"] != "not_dapt") | four_tasks["task"].isin(["x", "w"])]
    found = effects.effects(some, CONTRASTS, dict.fromkeys("xyzw", truth), num_resamples=50)
    control = found[found["contrast"] == "not_dapt_minus_base"]
    assert control["task"].tolist() == ["x", "w", "mean"]
    assert control["effect"].iloc[2] == pytest.approx(control["effect"].iloc[:2].mean())


def test_what_has_not_run_gives_no_row_and_counts_in_its_family(table, four_tasks, truth):
    asked = [*CONTRASTS, over("tapt", "base", "gains"), over("tapt", "dapt", "others")]
    found = effects.effects(four_tasks, asked, dict.fromkeys("xyzw", truth), num_resamples=300)
    assert found[["contrast", "task"]].equals(table[["contrast", "task"]])
    assert found["p_value"].tolist() == table["p_value"].tolist()
    means, of_table = (some[some["task"] == "mean"] for some in (found, table))
    assert means["p_holm"].tolist() == pytest.approx(effects.holm([*of_table["p_value"], 1.0])[:2].tolist())
    nothing = effects.effects(four_tasks[:0], CONTRASTS, {})
    assert nothing.empty and list(nothing) == list(table)


def test_holm_by_hand():
    assert effects.holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert effects.holm([0.04, 0.04, 0.001]).tolist() == pytest.approx([0.08, 0.08, 0.003])
    assert effects.holm([0.7, 0.8]).tolist() == [1, 1]
    found = effects.holm([0.5, np.nan])
    assert found[0] == 0.5 and np.isnan(found[1])


def test_a_tables_comparisons_are_one_family_and_its_means_another(table):
    for is_mean in (True, False):
        family = table[(table["task"] == "mean") == is_mean]
        assert family["p_holm"].tolist() == pytest.approx(effects.holm(family["p_value"]).tolist())


def as_runs(scores):
    rows = [
        {"arm": a, "task": t, "seed": s, "test_score": x} for (a, t), xs in scores.items() for s, x in enumerate(xs)
    ]
    return pd.DataFrame(rows)


def test_welch_is_scipys_and_its_interval_agrees():
    a, b = np.array([1.0, 2, 3, 4, 6]) / 100, np.array([1.0, 1, 2, 2, 3]) / 100
    runs = as_runs({("a", "x"): a, ("b", "x"): b, ("a", "same"): np.full(5, 0.5), ("b", "same"): np.full(5, 0.5)})
    found = effects.welch_effects(effects.moments(runs), [over("a", "b")], 5).set_index("task")
    expected = stats.ttest_ind(100 * a, 100 * b, equal_var=False)
    row = found.loc["x"]
    assert row["effect"] == pytest.approx(100 * (a.mean() - b.mean()))
    assert row["p_value"] == pytest.approx(expected.pvalue) and row["df"] == pytest.approx(expected.df)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.loc["same", ["effect", "low", "high", "p_value"]].tolist() == [0, 0, 0, 1]


def test_welch_over_tasks_averages_variances_and_leaves_out_arms_that_are_not_there():
    runs = as_runs({("a", "x"): [0, 2], ("b", "x"): [0, 0], ("a", "y"): [4, 8], ("b", "y"): [1, 1]})
    asked = [over("a", "b", "family"), over("a", "c", "family")]
    found = effects.welch_effects(effects.moments(runs), asked, 2).set_index("task")
    assert found.loc["mean", "effect"] == pytest.approx(100 * (1 + 5) / 2)
    # Variances of the means: 2 / 2 and 8 / 2; over two tasks the sum is divided by four.
    assert found.loc["mean", "standard_error"] == pytest.approx(100 * math.sqrt((1 + 4) / 4))
    assert found.loc["mean", "p_holm"] == pytest.approx(min(1, 2 * found.loc["mean", "p_value"]))
