"""From runs to scores: means over seeds by replicate, means and deviations, and what degenerate runs do to them."""

from collections.abc import Iterable, Sequence

import pandas as pd

from dontstop.errors import StudyError

MEAN = "mean"  # the row that is over all tasks
PAIR = ["replicate", "seed"]  # what tells the runs of an arm on a task apart
SCORES = ("test_score", "test_log_probability")
NAIVE_BAYES = "naive_bayes"  # beside the arms, where it has none of their runs
SCALES = {"test_log_probability": 1.0}  # of scores; those that are not named are shown x 100


def checked(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs, of which every arm, task and replicate that occurs has each of the seeds, once.

    Raises:
        StudyError: If a run is missing or recorded twice.
    """
    some, seeds = runs[["arm", "task", "replicate"]].drop_duplicates(), runs[["seed"]].drop_duplicates()
    found, wanted = map(pd.MultiIndex.from_frame, (runs[["arm", "task", *PAIR]], some.merge(seeds, how="cross")))
    twice, missing = found[found.duplicated()], wanted.difference(found, sort=False)
    first = "the first {} on {} in replicate {} with seed {}".format
    if len(twice):
        found = f"{len(twice)} runs recorded twice, {first(*twice[0])}"
        raise StudyError(found, "one record a run", "remove one of the two records")
    if len(missing):
        found = f"{len(missing)} of {len(wanted)} runs not recorded, {first(*missing[0])}"
        raise StudyError(found, "a record of every run", "run the study again: what is finished is kept")
    return runs


def run_means(runs: pd.DataFrame, score: str = "test_score") -> pd.DataFrame:
    """Return means over seeds: index (replicate, task), a column an arm; x 100, or as `SCALES` has it.

    What has not run is NaN. Tasks and arms keep the order of the rows.
    """
    by = [runs["replicate"], runs["task"], runs["arm"]]
    table = runs[score].astype(float).groupby(by, sort=False).mean().unstack("arm", sort=False)
    return SCALES.get(score, 100.0) * table


def in_shared_replicates(rows: pd.DataFrame, by: Sequence[str] = ("arm", "task")) -> pd.DataFrame:
    """Keep the rows of the replicates that all have, arms on their tasks or what else rows are told by.

    A profile may run some arms in fewer replicates than others, and what replicates share would tell means of the one
    from means of the other.
    """
    own = rows.groupby(list(by))["replicate"].agg(set)
    return rows[rows["replicate"].isin(set.intersection(*own) if len(own) else set())]


def runs_of_arm(runs: pd.DataFrame, arm: str, task: str) -> pd.DataFrame:
    """Return the runs of an arm on a task, by replicate and seed."""
    return runs[(runs["arm"] == arm) & (runs["task"] == task)].sort_values(PAIR, kind="stable")


def means(runs: pd.DataFrame, score: str = "test_score") -> pd.DataFrame:
    """Tabulate every arm's test score on each of its tasks over all runs, x 100 (or as `SCALES` has it).

    Returns:
        Columns arm, task (after an arm's tasks comes `mean`, whose std is that of the means over tasks), mean, std (the
        sample's, over all pairs of a replicate and a seed: how far a run of the whole procedure varies; NaN for a
        single one), num_seeds, num_replicates, num_degenerate.

    Raises:
        StudyError: If a run is missing or recorded twice.

    Departure: the paper's deviations are over five fine-tuning seeds of one pretraining run, ours over replicates of
    pretraining as well. The paper does not say which of the two it gives, the sample's or the population's.
    """
    parts = []
    for _, of_arm in checked(runs).astype({"degenerate": int}).groupby("arm", sort=False):
        whole = of_arm.groupby(["arm", *PAIR], as_index=False).agg({score: "mean", "degenerate": "sum"})
        parts += [of_arm, whole.assign(task=MEAN)]
    by_task = pd.concat(parts).groupby(["arm", "task"], sort=False)
    table = SCALES.get(score, 100.0) * by_task[score].agg(["mean", "std"])
    counts = {"num_seeds": runs["seed"].nunique(), "num_replicates": by_task["replicate"].nunique()}
    return table.assign(**counts, num_degenerate=by_task["degenerate"].sum()).reset_index()


def pooled(runs: pd.DataFrame, arms: Iterable[object], name: str) -> pd.DataFrame:
    """Put one arm in the place of several: on each task, in each replicate and seed, the mean of their test scores.

    Its runs, with `SCORES` and degenerate (whether any is), follow those of the other arms.
    """
    keys, some = ["task", "domain", *PAIR], runs["arm"].isin([str(arm) for arm in arms])
    how = dict.fromkeys(SCORES, "mean") | {"degenerate": "max"}
    of_all = runs[some].astype(dict.fromkeys(SCORES, float)).groupby(keys, sort=False, as_index=False).agg(how)
    return pd.concat([runs[~some], of_all.assign(arm=name)], ignore_index=True)


def degenerate_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """List the task and arm pairs with degenerate runs, their mean score x 100 with those runs and without.

    Columns task, arm, num_degenerate, num_runs, mean_with, mean_without.

    Departure: the paper replaced degenerate HyperPartisan seeds (Appendix B); here none is dropped.
    """
    scored = runs.assign(degenerate=runs["degenerate"].astype(bool), mean_with=100 * runs["test_score"])
    scored = scored.assign(num_runs=1, mean_without=scored["mean_with"].mask(scored["degenerate"]))
    how = {"degenerate": "sum", "num_runs": "sum", "mean_with": "mean", "mean_without": "mean"}
    table = scored.groupby(["task", "arm"], sort=False, as_index=False).agg(how)
    return table.rename(columns={"degenerate": "num_degenerate"}).query("num_degenerate > 0").reset_index(drop=True)


def without_degenerate(runs: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Leave out, of each task, the pairs with a degenerate classifier in any arm, so that what is left still pairs.

    Returns the runs that are left, and how many pairs of a replicate and a seed were left out, tasks added up.
    """
    keys: Sequence[str] = ["task", *PAIR]
    flags = runs.groupby(keys)["degenerate"].transform(lambda column: column.astype(bool).any())
    return runs[~flags], len(runs.loc[flags, keys].drop_duplicates())
