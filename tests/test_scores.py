"""Scores: hand-made answers, by replicate and seed."""

import numpy as np
import pandas as pd
import pytest

from dontstop.design.arms import Arm
from dontstop.verdicts import scores
from fabricated import make_record


@pytest.fixture
def grid():
    """Return two tasks, two replicates of two seeds; the score tells which: task, replicate, seed."""
    rows = [
        {"task": t, "arm": "base", "replicate": r, "seed": s, "test_score": i + 0.1 * r + 0.01 * s, "degenerate": False}
        for i, t in enumerate("xy")
        for r in (0, 1)
        for s in (3, 4)
    ]
    return pd.DataFrame(rows[::-1])


def test_cells_are_means_over_seeds_by_replicate_and_task(grid):
    tapt = grid[(grid["task"] == "x") & (grid["replicate"] == 1)].assign(arm="tapt", test_score=0.5)
    found = scores.run_means(pd.concat([grid, tapt]))
    assert found.columns.tolist() == ["base", "tapt"] and found.index.names == ["replicate", "task"]
    assert found.loc[(1, "y"), "base"] == pytest.approx(100 * 1.135)
    assert found.loc[(1, "x"), "tapt"] == 50 and found["tapt"].isna().sum() == 3
    nats = scores.run_means(grid.assign(test_log_probability=-1.5), "test_log_probability")
    assert set(nats["base"]) == {-1.5}


def test_mean_and_sample_std_are_over_pairs_of_a_replicate_and_a_seed(grid):
    table = scores.means(grid).set_index("task")
    assert table.loc["x", "mean"] == pytest.approx(8.5)
    assert table.loc["x", "std"] == pytest.approx(np.std([3, 4, 13, 14], ddof=1))
    assert table.loc["mean", "std"] == pytest.approx(np.std([3, 4, 13, 14], ddof=1))
    assert set(table["num_seeds"]) == {2} and set(table["num_replicates"]) == {2}
    one = grid[(grid["seed"] == 3) & (grid["replicate"] == 0)]
    assert scores.means(one)["std"].isna().all()


def test_means_are_listed_by_arm_and_task_with_the_mean_over_tasks_last(grid):
    both = pd.concat([grid, grid[grid["task"] == "y"].assign(arm="tapt")])
    both.loc[(both["arm"] == "base") & (both["seed"] == 3) & (both["replicate"] == 1), "degenerate"] = True
    table = scores.means(both)
    assert table[["arm", "task"]].to_numpy().tolist() == [
        ["base", "y"], ["base", "x"], ["base", "mean"], ["tapt", "y"], ["tapt", "mean"],
    ]  # fmt: skip
    assert table["mean"].tolist() == pytest.approx([108.5, 8.5, 58.5, 108.5, 108.5])
    assert table["num_degenerate"].tolist() == [1, 1, 2, 0, 0]


def test_degenerate_runs_are_shown_with_and_without():
    truth = np.array([0, 1, 2, 0])
    records = [make_record("t", "base", 0, truth, truth), make_record("t", "base", 0, truth, [0] * 4, replicate=1)]
    row = scores.degenerate_runs(pd.DataFrame(records)).iloc[0]
    assert (row["num_degenerate"], row["num_runs"], row["mean_without"]) == (1, 2, 100)
    assert row["mean_with"] == pytest.approx(100 * (1 + 2 / 9) / 2)
    assert scores.degenerate_runs(pd.DataFrame(records[:1])).empty


def test_degenerate_pairs_are_left_out_of_all_arms_of_their_task():
    rows = [
        {"task": t, "arm": a, "replicate": r, "seed": 0, "degenerate": False}
        for t in "xy"
        for a in ("base", "dapt")
        for r in (0, 1)
    ]
    rows[0]["degenerate"] = True  # x, base, replicate 0
    left, number = scores.without_degenerate(pd.DataFrame(rows))
    assert number == 1
    kept = sorted(zip(left["task"], left["arm"], left["replicate"], strict=True))
    assert kept == [("x", "base", 1), ("x", "dapt", 1), *(("y", a, r) for a in ("base", "dapt") for r in (0, 1))]


def test_several_arms_in_one_have_the_mean_of_each_run_and_are_degenerate_if_any_is():
    columns = ["arm", "task", "replicate", "seed", "test_score", "test_log_probability", "degenerate"]
    rows = [
        ("base", "x", 0, 0, 0.1, -2.0, False),
        ("a", "x", 0, 0, 0.2, -1.0, False),
        ("b", "x", 0, 0, 0.4, -3.0, True),
    ]
    rows += [("a", "x", 1, 0, 0.6, -1.0, False), ("b", "x", 1, 0, 0.6, -1.0, False), ("a", "y", 0, 0, 0.9, -1.0, False)]
    runs = pd.DataFrame(rows, columns=columns).assign(domain="d")
    of_both = scores.pooled(runs, [Arm("a"), "b", "c"], "both").set_index(["arm", "task", "replicate"])
    assert of_both.loc[("base", "x", 0), "test_score"] == 0.1 and len(of_both) == 4
    found = of_both.loc["both", ["test_score", "test_log_probability", "degenerate"]]
    assert found.loc[("x", 0)].tolist() == [pytest.approx(0.3), -2.0, True]
    assert found.loc[("x", 1)].tolist() == [0.6, -1.0, False] and found.loc[("y", 0), "test_score"] == 0.9
