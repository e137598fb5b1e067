"""From runs to scores: matrices of seeds by tasks, means and deviations, and what degenerate seeds do to them."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dontstop.errors import StudyError

MEAN = "mean"  # the row that is over all tasks


def score_matrix(
    runs: pd.DataFrame, arm: str, tasks: Sequence[str], seeds: Sequence[int], column: str = "test_score"
) -> np.ndarray:
    """Return one arm's scores, (num_seeds, num_tasks), 0 to 1.

    Raises:
        StudyError: If a run is missing or recorded twice.
    """
    chosen = runs_of_arm(runs, arm, tasks, seeds)
    return chosen[column].to_numpy(float).reshape(len(tasks), len(seeds)).T


def runs_of_arm(runs: pd.DataFrame, arm: str, tasks: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Return the runs of an arm, task by task and in each by seed.

    Raises:
        StudyError: If a run is missing or recorded twice.
    """
    wanted = pd.MultiIndex.from_product([tasks, seeds], names=["task", "seed"])
    chosen = runs[runs["arm"] == arm].set_index(["task", "seed"])
    chosen = chosen[chosen.index.isin(wanted)]
    twice, missing = chosen.index[chosen.index.duplicated()], wanted.difference(chosen.index, sort=False)
    if len(twice):
        task, seed = twice[0]
        raise StudyError(
            f"{len(twice)} runs recorded twice, the first {arm} on {task} with seed {seed}",
            "one record a run",
            "remove one of the two records",
        )
    if len(missing):
        task, seed = missing[0]
        raise StudyError(
            f"{len(missing)} of {len(wanted)} runs not recorded, the first {arm} on {task} with seed {seed}",
            "a record of every run",
            "run the study again: what is finished is kept",
        )
    return chosen.loc[wanted].reset_index()


def names_in(runs: pd.DataFrame) -> tuple[list[str], list[str], list[int]]:
    """Name the arms and tasks of some runs, in the order of the rows, and their seeds, ascending."""
    return list(runs["arm"].unique()), list(runs["task"].unique()), sorted(runs["seed"].unique().tolist())


def means(runs: pd.DataFrame) -> pd.DataFrame:
    """Tabulate every arm's test score on each of its tasks over seeds, x 100.

    Returns:
        Columns arm, task (after an arm's tasks comes `mean`, whose std is that of the seeds' means over tasks), mean,
        std (the sample's, n - 1), num_seeds, num_degenerate.
    """
    parts = []
    arms, _, seeds = names_in(runs)
    for arm in arms:
        of_arm = runs[runs["arm"] == arm]
        tasks = list(of_arm["task"].unique())
        scores = 100 * score_matrix(of_arm, arm, tasks, seeds)  # (num_seeds, num_tasks)
        mean, std = mean_and_std(np.column_stack([scores, scores.mean(axis=1)]))
        degenerate = of_arm["degenerate"].astype(int).groupby(of_arm["task"]).sum()
        part = pd.DataFrame({"arm": arm, "task": [*tasks, MEAN], "mean": mean, "std": std, "num_seeds": len(seeds)})
        parts.append(part.assign(num_degenerate=[*degenerate[tasks], degenerate.sum()]))
    return pd.concat(parts, ignore_index=True)


def mean_and_std(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over seeds, the first axis.

    The sample's standard deviation (n - 1 in the denominator); NaN for a single seed.

    Departure: the paper does not say which of the two it gives.
    """
    scores = np.asarray(scores, float)
    std = scores.std(axis=0, ddof=1) if len(scores) > 1 else np.full(scores.shape[1:], np.nan)
    return scores.mean(axis=0), std


def degenerate_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """List the task and arm pairs with degenerate seeds, their mean score x 100 with those seeds and without.

    Departure: the paper replaced degenerate HyperPartisan seeds (Appendix B); here none is dropped.
    """
    rows = []
    for (task, arm), group in runs.groupby(["task", "arm"], sort=False):
        flags = group["degenerate"].astype(bool)
        if flags.any():
            kept = 100 * group.loc[~flags, "test_score"].mean() if not flags.all() else math.nan
            rows.append((task, arm, int(flags.sum()), len(group), 100 * group["test_score"].mean(), kept))
    columns = ["task", "arm", "num_degenerate", "num_seeds", "mean_with", "mean_without"]
    return pd.DataFrame(rows, columns=columns)


def without_degenerate(runs: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Leave out, of each task, the seeds with a degenerate classifier in any arm, so that what is left still pairs.

    Returns:
        The runs that are left, and the number of pairs of a task and a seed left out.
    """
    flags = runs.groupby(["task", "seed"])["degenerate"].transform(lambda column: column.astype(bool).any())
    left_out = runs.loc[flags, ["task", "seed"]].drop_duplicates()
    return runs[~flags], len(left_out)
