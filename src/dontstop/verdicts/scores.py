"""From raw records to (seed x task) scores."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dontstop.errors import StudyError


def score_matrix(
    records: pd.DataFrame, arm: str, tasks: Sequence[str], seeds: Sequence[int], column: str = "test_score"
) -> np.ndarray:
    """Return one arm's scores, (num_seeds, num_tasks), 0 to 1.

    Raises:
        StudyError: If a cell is missing or recorded twice.
    """
    chosen = records_of_arm(records, arm, tasks, seeds)
    return chosen[column].to_numpy(float).reshape(len(tasks), len(seeds)).T


def records_of_arm(records: pd.DataFrame, arm: str, tasks: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Return the records of an arm, task by task and in each by seed.

    Raises:
        StudyError: If a cell is missing or recorded twice.
    """
    cells = pd.MultiIndex.from_product([tasks, seeds], names=["task", "seed"])
    chosen = records[records["arm"] == arm].set_index(["task", "seed"])
    chosen = chosen[chosen.index.isin(cells)]
    twice, missing = chosen.index[chosen.index.duplicated()], cells.difference(chosen.index, sort=False)
    if len(twice):
        task, seed = twice[0]
        raise StudyError(
            f"{len(twice)} cells recorded twice, the first {arm} on {task} with seed {seed}",
            "one record a cell",
            "remove one of the two records",
        )
    if len(missing):
        task, seed = missing[0]
        raise StudyError(
            f"{len(missing)} of {len(cells)} cells not recorded, the first {arm} on {task} with seed {seed}",
            "a record of every cell",
            "run the study again: what is finished is kept",
        )
    return chosen.loc[cells].reset_index()


def mean_and_std(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over seeds, the first axis.

    The sample's standard deviation (n - 1 in the denominator); NaN for a single seed.

    Departure: the paper does not say which of the two it gives.
    """
    scores = np.asarray(scores, float)
    std = scores.std(axis=0, ddof=1) if len(scores) > 1 else np.full(scores.shape[1:], np.nan)
    return scores.mean(axis=0), std


def degenerate_cells(records: pd.DataFrame) -> pd.DataFrame:
    """List the task and arm pairs with degenerate seeds, their mean score x 100 with those seeds and without.

    Departure: the paper replaced degenerate HyperPartisan seeds (Appendix B); here none is dropped.
    """
    rows = []
    for (task, arm), group in records.groupby(["task", "arm"], sort=False):
        flags = group["degenerate"].astype(bool)
        if flags.any():
            kept = 100 * group.loc[~flags, "test_score"].mean() if not flags.all() else math.nan
            rows.append((task, arm, int(flags.sum()), len(group), 100 * group["test_score"].mean(), kept))
    columns = ["task", "arm", "num_degenerate", "num_seeds", "mean_with", "mean_without"]
    return pd.DataFrame(rows, columns=columns)


def without_degenerate(records: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Leave out, of each task, the seeds with a degenerate classifier in any arm, so that what is left still pairs.

    Returns:
        The records that are left, and the number of pairs of a task and a seed left out.
    """
    flags = records.groupby(["task", "seed"])["degenerate"].transform(lambda column: column.astype(bool).any())
    left_out = records.loc[flags, ["task", "seed"]].drop_duplicates()
    return records[~flags], len(left_out)
