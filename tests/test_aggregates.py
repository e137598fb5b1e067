"""Arms over tasks: hand-made answers, the better arm the likelier best, several tests of one difference."""

import numpy as np
import pandas as pd
import pytest

from dontstop.verdicts import aggregates, effects, resampling
from dontstop.verdicts.effects import over
from fabricated import make_record, make_records

TASKS = ("x", "y")
ACCURACIES = {"base": 0.60, "dapt": 0.66, "tapt": 0.66, "dapt_tapt": 0.72}
IDS = np.random.default_rng(5).integers(0, 3, 600)
TRUTH = dict.fromkeys(TASKS, IDS)
CONTRASTS = [over("tapt", "base", "table5"), over("dapt_tapt", "dapt", "table5"), over("tapt", "dapt", "table5")]


@pytest.fixture(scope="module")
def runs():
    """Fabricate two tasks, four arms, four replicates, two seeds."""
    how = {"seeds": (0, 1), "replicates": range(4), "spread": 0.005}
    return pd.concat(
        [make_records(ACCURACIES, IDS, seed=k, task=task, **how) for k, task in enumerate(TASKS)], ignore_index=True
    )


def scores_of(runs, arm, task, replicate):
    some = runs[(runs["arm"] == arm) & (runs["task"] == task) & (runs["replicate"] == replicate)]
    return some["test_score"].to_numpy()


def test_means_and_the_probability_of_improvement_by_hand():
    given = {("a", 0): [1.0, 3.0], ("b", 0): [2.0, 2.0], ("a", 1): [2.0, 5.0], ("b", 1): [2.0, 4.0]}
    rows = [
        {"arm": a, "task": "x", "replicate": r, "seed": s, "test_score": value}
        for (a, r), values in given.items()
        for s, value in enumerate(values)
    ]
    table = aggregates.aggregates(pd.DataFrame(rows), "b")
    # Replicate 0: two wins of four pairs; replicate 1: a tie, a loss and two wins.
    improved = effects.student(np.array([0.5, 2.5 / 4]))
    expected = [275, *(float(improved[name]) for name in ("effect", "low", "high")), 2]
    assert table.loc["a"].tolist() == pytest.approx(expected)
    assert table.loc["b", "probability_of_improvement"] == 0.5
    fewer = aggregates.aggregates(pd.DataFrame(rows[2:]), "b")  # a without its first replicate
    assert fewer["mean"].to_dict() == {"a": 350, "b": 300} and set(fewer["num_replicates"]) == {1}


def test_the_best_of_known_arms_is_found(runs):
    best = aggregates.probability_best(runs, TRUTH, num_resamples=200)
    assert best.index.tolist() == [*TASKS, "mean"] and best.columns.tolist() == list(ACCURACIES)
    assert best.sum(axis=1).tolist() == pytest.approx([1, 1, 1]) and (best["dapt_tapt"] > 0.95).all()


def test_arms_of_fewer_replicates_are_ranked_in_those_that_all_have(runs):
    fewer = runs[(runs["arm"] != "tapt") | (runs["replicate"] < 2)]
    best = aggregates.probability_best(fewer, TRUTH, num_resamples=50)
    same = aggregates.probability_best(runs[runs["replicate"] < 2], TRUTH, num_resamples=50)
    assert best.notna().all(axis=None) and best.equals(same)
    table = aggregates.tests(fewer, CONTRASTS, TRUTH, num_resamples=50).set_index("contrast")
    assert table["num_replicates"].tolist() == [2, 4, 2] and table.notna().all(axis=None)
    of_two = aggregates.tests(runs[runs["replicate"] < 2], CONTRASTS, TRUTH, num_resamples=50).set_index("contrast")
    assert table.loc["tapt_minus_base", "effect"] == pytest.approx(of_two.loc["tapt_minus_base", "effect"])
    drawn = resampling.draw(fewer, TRUTH, num_resamples=3)
    assert np.isnan(drawn.scores[:, 2:, :, drawn.arms.index("tapt")]).all()
    assert resampling.of_contrast(drawn, CONTRASTS[0]).shape == (4, 2)


def test_several_tests_of_one_difference_agree_where_it_is_large_and_where_there_is_none(runs):
    table = aggregates.tests(runs, CONTRASTS, TRUTH, num_resamples=300).set_index("contrast")
    found = effects.effects(runs, CONTRASTS)
    mean = found[(found["contrast"] == "tapt_minus_base") & (found["task"] == "mean")].iloc[0]
    row = table.loc["tapt_minus_base"]
    assert row[["effect", "low", "high", "p_value"]].tolist() == mean[["effect", "low", "high", "p_value"]].tolist()
    assert row["without_degenerate"] == pytest.approx(row["effect"]) and row["num_left_out"] == 0
    assert row["p_sign_flip"] == 0.125 and row["p_bootstrap"] < 0.01 and row["bootstrap_low"] > 1
    none = table.loc["tapt_minus_dapt"]
    assert none["p_bootstrap"] > 0.05 and none["bootstrap_low"] < 0 < none["bootstrap_high"]
    by_task = found[(found["contrast"] == "tapt_minus_base") & (found["task"] != "mean")]
    assert row["p_over_tasks"] == pytest.approx(effects.over_tasks(by_task)["p_value"].item())


def test_a_degenerate_run_is_left_out_in_one_column_only(runs):
    broken = make_record("x", "base", 1, IDS, np.zeros(len(IDS), int), replicate=2)
    is_it = (runs["task"] == "x") & (runs["arm"] == "base") & (runs["seed"] == 1) & (runs["replicate"] == 2)
    some = pd.concat([runs[~is_it], pd.DataFrame([broken])], ignore_index=True)
    row = aggregates.tests(some, CONTRASTS[:1], TRUTH, num_resamples=20).iloc[0]
    of_replicates = []
    for r in range(4):
        seeds = [0] if r == 2 else [0, 1]
        differences = [scores_of(runs, "tapt", t, r) - scores_of(runs, "base", t, r) for t in TASKS]
        of_replicates.append((differences[0][seeds].mean() + differences[1].mean()) / 2)
    assert row["without_degenerate"] == pytest.approx(100 * np.mean(of_replicates))
    assert row["effect"] > row["without_degenerate"] + 1 and row["num_left_out"] == 1


def test_where_every_pair_is_left_out_there_is_no_difference_without_them(runs):
    table = aggregates.tests(runs.assign(degenerate=True), CONTRASTS, TRUTH, num_resamples=20)
    assert table["without_degenerate"].isna().all() and set(table["num_left_out"]) == {16}


def test_a_draw_averages_the_scores_of_seeds(runs):
    drawn = resampling.draw(runs, TRUTH, ["base", "tapt"], num_resamples=3)
    assert (drawn.tasks, drawn.replicates, drawn.arms) == (list(TASKS), [0, 1, 2, 3], ["base", "tapt"])
    assert drawn.scores.shape == (4, 4, 2, 2)
    assert drawn.scores[0, 2, 1, 0] == pytest.approx(scores_of(runs, "base", "y", 2).mean(), abs=1e-6)
    assert np.ptp(drawn.scores[:, 0, 0, 0]) > 0
