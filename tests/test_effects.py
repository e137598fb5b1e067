"""Differences of arms: hand-made answers, scipy's tests, what has not run, errors for what does not pair up."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dontstop.design import arms
from dontstop.errors import StudyError
from dontstop.verdicts import effects, judgements
from dontstop.verdicts.effects import Contrast, over


def as_runs(scores, *, score="test_score"):
    """Make runs of scores: by arm and task, (num_replicates, num_seeds)."""
    rows = [
        {"arm": arm, "task": task, "replicate": r, "seed": s, score: value}
        for (arm, task), grid in scores.items()
        for r, seeds in enumerate(grid)
        for s, value in enumerate(seeds)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def runs():
    """Return four arms on four tasks, six replicates, two seeds; what a replicate shifts, it shifts for all arms."""
    rng, means = np.random.default_rng(3), {"dapt": 0.7, "base": 0.62, "not_dapt": 0.62, "not_dapt_2": 0.6}
    shared = {task: 0.1 * rng.standard_normal((6, 1)) for task in "xyzw"}
    scores = {
        (arm, task): mean + shared[task] + 0.01 * rng.standard_normal((6, 2))
        for (arm, mean), task in itertools.product(means.items(), "xyzw")
    }
    return as_runs(scores)


CONTRASTS = (over("dapt", "base", "gains"), over("not_dapt", "base", "gains"))


@pytest.fixture(scope="module")
def table(runs):
    return effects.effects(runs, CONTRASTS)


def in_replicates(runs, arm, other, task=None):
    some = runs if task is None else runs[runs["task"] == task]
    means = 100 * some.groupby(["arm", "replicate"])["test_score"].mean()
    return (means[arm] - means[other]).to_numpy()


@pytest.mark.parametrize("task", ["y", "mean"])
def test_effects_are_t_tests_over_replicates(table, runs, task):
    values = in_replicates(runs, "dapt", "base", None if task == "mean" else task)
    row = table[(table["contrast"] == "dapt_minus_base") & (table["task"] == task)].iloc[0]
    expected = stats.ttest_1samp(values, 0)
    assert row["effect"] == pytest.approx(values.mean()) and row["p_value"] == pytest.approx(expected.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert row["standard_error"] == pytest.approx(values.std(ddof=1) / math.sqrt(6)) and row["df"] == 5
    assert (row["num_replicates"], row["num_seeds"]) == (6, 2)


def test_a_row_a_task_and_the_mean_last(table):
    assert list(table) == list(effects.COLUMNS)
    assert table["task"].tolist() == ["x", "y", "z", "w", "mean"] * 2
    means = table.groupby("contrast")["effect"].apply(lambda some: some.iloc[:4].mean() - some.iloc[4])
    assert means.tolist() == pytest.approx([0, 0], abs=1e-9)


def test_what_replicates_share_cancels(table):
    """Shifts of ten points, the same for both arms, leave a standard error of a point's fraction."""
    assert table["standard_error"].max() < 1


def test_one_replicate_has_an_effect_and_no_test(runs):
    found = effects.effects(runs[runs["replicate"] == 2], CONTRASTS)
    gain = found[found["contrast"] == "dapt_minus_base"].iloc[-1]
    assert gain["effect"] == pytest.approx(in_replicates(runs, "dapt", "base")[2]) and gain["num_replicates"] == 1
    unknown = ["low", "high", "p_value", "p_holm", "standard_error", "detectable", "p_sign_flip"]
    assert found[unknown].isna().all(axis=None)


def test_where_nothing_varies_the_interval_has_no_width():
    grid = {("a", "x"): [[0.5], [0.6]], ("b", "x"): [[0.4], [0.5]], ("c", "x"): [[0.5], [0.6]]}
    found = effects.effects(as_runs(grid), [over("a", "b"), over("c", "a")]).query("task == 'mean'")
    assert found[["effect", "low", "high"]].to_numpy() == pytest.approx(np.array([[10.0] * 3, [0.0] * 3]))
    assert found["p_value"].tolist() == [0, 1]


def test_effects_do_not_depend_on_what_else_is_compared_nor_on_the_order_of_rows(table, runs):
    alone = effects.effects(runs, CONTRASTS[:1])
    same = table[table["contrast"] == "dapt_minus_base"].set_index("task")
    for some in (alone, effects.effects(runs[::-1], CONTRASTS[:1])):
        for column in ("effect", "low", "high", "p_value", "standard_error", "df"):
            found = some.set_index("task").loc[same.index, column]
            assert found.tolist() == pytest.approx(same[column].tolist(), rel=1e-9)


def test_arms_and_their_names_are_one(table, runs):
    contrast = over(arms.DAPT, arms.BASE, "gains")
    assert (contrast.name, contrast.shares()) == ("dapt_minus_base", {"dapt": 1.0, "base": -1.0})
    pd.testing.assert_frame_equal(effects.effects(runs, [contrast, CONTRASTS[1]]), table)


def test_a_weighted_contrast_is_that_of_the_means(table, runs):
    both = Contrast("both", (("dapt", 0.5), ("not_dapt", 0.5), ("base", -0.5), ("base", -0.5)))
    found = effects.effects(runs, [both])
    assert both.shares() == {"dapt": 0.5, "not_dapt": 0.5, "base": -1.0}
    halves = table.groupby("task", sort=False)["effect"].mean()
    assert found["effect"].tolist() == pytest.approx(halves.tolist())
    assert found["p_holm"].iloc[-1] == found["p_value"].iloc[-1]  # it stands alone


def test_a_contrast_is_compared_on_the_tasks_and_in_the_replicates_that_all_its_arms_have_run_in(runs):
    some = runs[(runs["arm"] != "not_dapt") | runs["task"].isin(["x", "w"]) & runs["replicate"].lt(4)]
    some = some[(some["arm"] != "not_dapt") | (some["task"] != "w") | (some["replicate"] != 0)]
    found = effects.effects(some, CONTRASTS)
    control = found[found["contrast"] == "not_dapt_minus_base"]
    assert control["task"].tolist() == ["x", "w", "mean"]
    assert control["num_replicates"].tolist() == [3, 3, 3]  # replicate 0 is not finished
    assert set(found.loc[found["contrast"] == "dapt_minus_base", "num_replicates"]) == {6}
    three = runs[runs["replicate"].isin([1, 2, 3])]
    assert control["effect"].iloc[0] == pytest.approx(in_replicates(three, "not_dapt", "base", "x").mean())


def test_what_has_not_run_gives_no_row_and_counts_in_its_family(table, runs):
    asked = [*CONTRASTS, over("tapt", "base", "gains"), over("tapt", "dapt", "others"), Contrast("none", ())]
    found = effects.effects(runs, asked)
    assert found[["contrast", "task", "p_value"]].equals(table[["contrast", "task", "p_value"]])
    means, of_table = (some[some["task"] == "mean"] for some in (found, table))
    assert means["p_holm"].tolist() == pytest.approx(effects.holm([*of_table["p_value"], 1.0])[:2].tolist())
    nothing = effects.effects(runs[:0], CONTRASTS)
    assert nothing.empty and list(nothing) == list(table)


def test_means_are_corrected_over_the_family_and_tasks_over_their_contrast(table):
    means = table[table["task"] == "mean"]
    assert means["p_holm"].tolist() == pytest.approx(effects.holm(means["p_value"]).tolist())
    for _, tasks in table[table["task"] != "mean"].groupby("contrast"):
        assert tasks["p_holm"].tolist() == pytest.approx(effects.holm(tasks["p_value"]).tolist())


def test_missing_and_double_runs_are_named(runs):
    short = runs[(runs["arm"] != "base") | (runs["task"] != "z") | (runs["replicate"] != 4) | (runs["seed"] != 1)]
    with pytest.raises(StudyError, match="1 of 192 runs not recorded, the first base on z in replicate 4 with seed 1"):
        effects.effects(short, CONTRASTS)
    with pytest.raises(StudyError, match="1 runs recorded twice, the first dapt on x in replicate 0 with seed 0"):
        effects.effects(pd.concat([runs, runs[:1]]), CONTRASTS)


def test_other_scores_are_compared_likewise():
    grid = {("a", "x"): [[-1.0], [-0.8]], ("b", "x"): [[-1.5], [-1.1]]}
    found = effects.effects(as_runs(grid, score="test_log_probability"), [over("a", "b")], score="test_log_probability")
    assert found["effect"].tolist() == pytest.approx([0.4, 0.4])  # nats, not points


def test_holm_by_hand():
    assert effects.holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert effects.holm([0.04, 0.04, 0.001]).tolist() == pytest.approx([0.08, 0.08, 0.003])
    assert effects.holm([0.7, 0.8]).tolist() == [1, 1]
    found = effects.holm([0.02, np.nan])
    assert found[0] == 0.04 and np.isnan(found[1])  # what is not known counts


def test_of_a_kept_level_less_is_handed_on():
    assert effects.holm([0.01, 0.03, 0.02], kept=0.5).tolist() == pytest.approx([0.03, 0.048, 0.048])
    assert effects.holm([0.01, 0.03, 0.02], kept=1.0).tolist() == pytest.approx([0.03, 0.09, 0.06])  # Bonferroni


def test_holm_places_what_is_decided_in_several_ways_by_the_least():
    ways = np.array([[0.01, 0.9], [0.5, 0.02], [0.04, 0.3]])
    found = effects.holm(ways)
    assert found[:, 0].tolist() == pytest.approx([0.03, 1.0, 0.04])
    assert found[:, 1].tolist() == pytest.approx([1.0, 0.04, 0.3])
    many = effects.holm(np.stack([ways, ways[::-1]], axis=-1))  # two studies at once
    assert many[..., 0] == pytest.approx(found) and many[..., 1] == pytest.approx(found[::-1])


def test_sign_flips_are_scipys_exact_permutations():
    values = np.random.default_rng(0).normal(0.5, 1, (7, 3))
    found = effects.sign_flip(values)
    how = {"permutation_type": "samples", "n_resamples": np.inf}
    for k in range(3):
        expected = stats.permutation_test((values[:, k],), np.mean, vectorized=False, **how)
        assert found[k] == pytest.approx(expected.pvalue)
    assert effects.sign_flip(np.array([1.0, 2.0])) == 0.5
    assert np.isnan(effects.sign_flip(np.ones(1))) and np.isnan(effects.sign_flip(np.ones(30)))


@pytest.mark.parametrize("num", [2, 3, 10])
def test_the_detectable_effect_is_seen_in_four_studies_of_five(num):
    effect = effects.detectable_by(num - 1) / math.sqrt(num)  # of values with deviation 1
    values = effect + np.random.default_rng(num).standard_normal((num, 20_000))
    assert (effects.student(values)["p_value"] < 0.05).mean() == pytest.approx(0.8, abs=0.012)


def test_intervals_cover_the_truth_as_often_as_they_say():
    values = 1.5 + np.random.default_rng(0).standard_normal((4, 20_000))
    found = effects.student(values)
    assert ((found["low"] <= 1.5) & (found["high"] >= 1.5)).mean() == pytest.approx(0.95, abs=0.006)


def test_over_tasks_is_another_question_and_the_papers_table_3_does_not_answer_it():
    found = effects.over_tasks(judgements.paper_effects()).set_index("contrast")
    assert found.loc["dapt_minus_base", "p_value"] == pytest.approx(0.0972, abs=5e-5)
    assert found.loc["dapt_minus_base", "effect"] == pytest.approx(2.75)
    assert found.loc["dapt_minus_base", "num_tasks"] == 8
    assert found.loc["dapt_minus_base", "low"] < 0 < found.loc["dapt_minus_base", "high"]


def moments(scores):
    rows = [(arm, task, 100 * np.mean(xs), 100 * np.std(xs, ddof=1)) for (arm, task), xs in scores.items()]
    return pd.DataFrame(rows, columns=["arm", "task", "mean", "std"])


def test_welch_is_scipys_and_its_interval_agrees():
    a, b = np.array([1.0, 2, 3, 4, 6]) / 100, np.array([1.0, 1, 2, 2, 3]) / 100
    given = {("a", "x"): a, ("b", "x"): b, ("a", "same"): np.full(5, 0.5), ("b", "same"): np.full(5, 0.5)}
    found = effects.welch_effects(moments(given), [over("a", "b")], 5).set_index("task")
    expected = stats.ttest_ind(100 * a, 100 * b, equal_var=False)
    row = found.loc["x"]
    assert row["effect"] == pytest.approx(100 * (a.mean() - b.mean()))
    assert row["p_value"] == pytest.approx(expected.pvalue) and row["df"] == pytest.approx(expected.df)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.loc["same", ["effect", "low", "high", "p_value"]].tolist() == [0, 0, 0, 1]


def test_welch_over_tasks_averages_variances_and_leaves_out_arms_that_are_not_there():
    given = {("a", "x"): [0, 2], ("b", "x"): [0, 0], ("a", "y"): [4, 8], ("b", "y"): [1, 1]}
    asked = [over("a", "b", "family"), over("a", "c", "family")]
    found = effects.welch_effects(moments(given), asked, 2).set_index("task")
    assert found.loc["mean", "effect"] == pytest.approx(100 * (1 + 5) / 2)
    # Variances of the means: 2 / 2 and 8 / 2; over two tasks the sum is divided by four.
    assert found.loc["mean", "standard_error"] == pytest.approx(100 * math.sqrt((1 + 4) / 4))
    assert found.loc["mean", "p_holm"] == pytest.approx(min(1, 2 * found.loc["mean", "p_value"]))
