"""Scores: hand-made answers, errors for what does not pair up."""

import numpy as np
import pandas as pd
import pytest

from dontstop.errors import StudyError
from dontstop.verdicts import scores
from fabricated import make_record


@pytest.fixture
def grid():
    rows = [{"task": t, "arm": "base", "seed": s, "test_score": 10 * i + s} for i, t in enumerate("xy") for s in (3, 4)]
    return pd.DataFrame(rows[::-1])


def test_score_matrix_is_seeds_by_tasks_in_the_order_asked(grid):
    assert scores.score_matrix(grid, "base", ["y", "x"], [3, 4]).tolist() == [[13, 3], [14, 4]]


def test_missing_and_double_runs_are_named(grid):
    with pytest.raises(StudyError, match="2 of 6 runs not recorded, the first base on x with seed 9"):
        scores.score_matrix(grid, "base", ["x", "y"], [3, 4, 9])
    with pytest.raises(StudyError, match="twice, the first base on"):
        scores.score_matrix(pd.concat([grid, grid.iloc[:1]]), "base", ["x", "y"], [3, 4])


def test_mean_and_sample_std_by_hand(grid):
    level = grid.assign(test_score=[5.0, 5.0, 3.0, 1.0], degenerate=False)  # y, y, x, x
    table = scores.means(level).set_index("task")[["mean", "std"]] / 100
    assert table.loc[["x", "y"], "mean"].tolist() == [2, 5]
    assert table.loc[["x", "y"], "std"].tolist() == [pytest.approx(2**0.5), 0]
    assert scores.means(level[level["seed"] == 3])["std"].isna().all()


def test_degenerate_seeds_are_shown_with_and_without():
    truth = np.array([0, 1, 2, 0])
    records = pd.DataFrame([make_record("t", "base", 0, truth, truth), make_record("t", "base", 1, truth, [0] * 4)])
    row = scores.degenerate_runs(records).iloc[0]
    assert (row["num_degenerate"], row["num_seeds"], row["mean_without"]) == (1, 2, 100)
    assert row["mean_with"] == pytest.approx(100 * (1 + 2 / 9) / 2)
    assert scores.degenerate_runs(records[:1]).empty


def test_degenerate_seeds_are_left_out_of_all_arms_of_their_task():
    rows = [
        {"task": t, "arm": a, "seed": s, "degenerate": False} for t in "xy" for a in ("base", "dapt") for s in (0, 1)
    ]
    rows[0]["degenerate"] = True  # x, base, seed 0
    left, number = scores.without_degenerate(pd.DataFrame(rows))
    assert number == 1
    kept = sorted(zip(left["task"], left["arm"], left["seed"], strict=True))
    assert kept == [("x", "base", 1), ("x", "dapt", 1), *(("y", a, s) for a in ("base", "dapt") for s in (0, 1))]


def test_means_are_listed_by_arm_and_task_with_the_mean_over_tasks_last(grid):
    both = pd.concat([grid, grid[grid["task"] == "y"].assign(arm="tapt")]).assign(degenerate=False)
    both.loc[(both["arm"] == "base") & (both["seed"] == 3), "degenerate"] = True
    table = scores.means(both)
    assert table[["arm", "task"]].to_numpy().tolist() == [
        ["base", "y"], ["base", "x"], ["base", "mean"], ["tapt", "y"], ["tapt", "mean"],
    ]  # fmt: skip
    assert table["mean"].tolist() == [1350, 350, 850, 1350, 1350]
    assert table["std"].tolist() == pytest.approx([100 / 2**0.5] * 5)
    assert table["num_degenerate"].tolist() == [1, 1, 2, 0, 0] and set(table["num_seeds"]) == {2}
