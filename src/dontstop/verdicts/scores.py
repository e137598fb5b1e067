"""From runs to scores: matrices of seeds by tasks, means and deviations, and what degenerate seeds do to them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dontstop.errors import StudyError

MEAN = "mean"  # the row that is over all tasks


def score_matrix(runs: pd.DataFrame, arm: str, tasks: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    """Return one arm's scores, (num_seeds, num_tasks), 0 to 1; raise as `runs_of_arm` does."""
    scores = runs_of_arm(runs, arm, tasks, seeds)["test_score"].to_numpy(float)
    return scores.reshape(len(tasks), len(seeds)).T


def runs_of_arm(runs: pd.DataFrame, arm: str, tasks: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Return the runs of an arm, task by task and in each by seed.

    Raises:
        StudyError: If a run is missing or recorded twice.
    """
    wanted = pd.MultiIndex.from_product([tasks, seeds], names=["task", "seed"])
    chosen = runs[runs["arm"] == arm].set_index(["task", "seed"])
    chosen = chosen[chosen.index.isin(wanted)]
    twice, missing = chosen.index[chosen.index.duplicated()], wanted.difference(chosen.index, sort=False)
    first = "the first {} on {} with seed {}".format
    if len(twice):
        found = f"{len(twice)} runs recorded twice, {first(arm, *twice[0])}"
        raise StudyError(found, "one record a run", "remove one of the two records")
    if len(missing):
        found = f"{len(missing)} of {len(wanted)} runs not recorded, {first(arm, *missing[0])}"
        raise StudyError(found, "a record of every run", "run the study again: what is finished is kept")
    return chosen.loc[wanted].reset_index()


def names_in(runs: pd.DataFrame) -> tuple[list[str], list[str], list[int]]:
    """Name the arms and tasks of some runs, in the order of the rows, and their seeds, ascending."""
    return list(runs["arm"].unique()), list(runs["task"].unique()), sorted(runs["seed"].unique().tolist())


def means(runs: pd.DataFrame) -> pd.DataFrame:
    """Tabulate every arm's test score on each of its tasks over seeds, x 100.

    Returns:
        Columns arm, task (after an arm's tasks comes `mean`, whose std is that of the seeds' means over tasks), mean,
        std (the sample's, n - 1; NaN for a single seed), num_seeds, num_degenerate.

    Raises:
        StudyError: If a run is missing or recorded twice.

    Departure: the paper does not say which of the two standard deviations it gives, the sample's or the population's.
    """
    seeds, parts = names_in(runs)[2], []
    for arm, of_arm in runs.groupby("arm", sort=False):
        of_arm = runs_of_arm(of_arm, arm, of_arm["task"].unique(), seeds).astype({"degenerate": int})
        whole = of_arm.groupby(["arm", "seed"], as_index=False).agg({"test_score": "mean", "degenerate": "sum"})
        parts += [of_arm, whole.assign(task=MEAN)]
    by_task = pd.concat(parts).groupby(["arm", "task"], sort=False)
    table = 100 * by_task["test_score"].agg(["mean", "std"])
    return table.assign(num_seeds=len(seeds), num_degenerate=by_task["degenerate"].sum()).reset_index()


def degenerate_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """List the task and arm pairs with degenerate seeds, their mean score x 100 with those seeds and without.

    Departure: the paper replaced degenerate HyperPartisan seeds (Appendix B); here none is dropped.
    """
    scored = runs.assign(degenerate=runs["degenerate"].astype(bool), mean_with=100 * runs["test_score"])
    scored = scored.assign(num_seeds=1, mean_without=scored["mean_with"].mask(scored["degenerate"]))
    how = {"degenerate": "sum", "num_seeds": "sum", "mean_with": "mean", "mean_without": "mean"}
    table = scored.groupby(["task", "arm"], sort=False, as_index=False).agg(how)
    return table.rename(columns={"degenerate": "num_degenerate"}).query("num_degenerate > 0").reset_index(drop=True)


def without_degenerate(runs: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Leave out, of each task, the seeds with a degenerate classifier in any arm, so that what is left still pairs.

    Returns:
        The runs that are left, and the number of pairs of a task and a seed left out.
    """
    flags = runs.groupby(["task", "seed"])["degenerate"].transform(lambda column: column.astype(bool).any())
    left_out = runs.loc[flags, ["task", "seed"]].drop_duplicates()
    return runs[~flags], len(left_out)
