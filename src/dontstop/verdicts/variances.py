"""Where scores vary: components of variance between replicates and fine-tuning seeds, estimated from records."""

import numpy as np
import pandas as pd

from dontstop.verdicts import scores

LEVELS, SHARES = ("replicate", "seed"), ("", "_arm", "_task", "_arm_task")
COMPONENTS = tuple(level + share for level in LEVELS for share in SHARES)


def variance_components(runs: pd.DataFrame, *, score: str = "test_score") -> pd.Series:
    """Estimate how much of a score's variance lies where, from mean squares; points^2 (or the score's own unit).

    A replicate shifts all scores alike (`replicate`), an arm's on all tasks (`replicate_arm`, its checkpoint), a task's
    for all arms (`replicate_task`, its labelled texts), and an arm's on a task; so does a fine-tuning seed within a
    replicate. Differences between arms within a replicate contain the parts with an arm alone. Arms are taken to vary
    alike.

    Args:
        runs: As `study.runs()` gives them. What counts is arms on all tasks in all replicates: an arm that lacks one is
            left out.

    Returns:
        By name as in `COMPONENTS`. Estimates may be below zero by chance; they are unbiased. With one replicate the
        first four are NaN; with one seed the last four are NaN, and the first four contain them.

    Raises:
        StudyError: If a run is missing or recorded twice.
    """
    array = _grid(scores.checked(runs), score)  # (num_arms, num_tasks, num_replicates, num_seeds)
    num_replicates, num_seeds = array.shape[2:]
    within = array - array.mean(axis=3, keepdims=True)
    of_seeds = _components(within.reshape(*array.shape[:2], -1), num_replicates * (num_seeds - 1))
    between = array.mean(axis=3)
    of_replicates = _components(between - between.mean(axis=2, keepdims=True), num_replicates - 1)
    of_replicates -= np.nan_to_num(of_seeds) / num_seeds
    return pd.Series([*of_replicates, *of_seeds], COMPONENTS)


def _grid(runs: pd.DataFrame, score: str) -> np.ndarray:
    keys = ["task", *scores.PAIR]
    table = runs.pivot(index=keys, columns="arm", values=score).dropna(axis=1).sort_index()
    sizes = [table.index.get_level_values(key).nunique() for key in keys]
    return scores.SCALES.get(score, 100.0) * table.to_numpy(float).T.reshape(-1, *sizes)


def _components(deviations: np.ndarray, freedom: int) -> np.ndarray:
    """Solve for the components of deviations, (num_arms, num_tasks, num), whose last axis has so many free: `SHARES`.

    The mean squares of the overall means, of arms' and tasks' deviations from them, and of what remains have as
    expectations sums of components: each contains those that the averages did not remove.
    """
    num_arms, num_tasks, _ = deviations.shape
    if not freedom:
        return np.full(len(SHARES), np.nan)
    arms, tasks = deviations.mean(axis=1), deviations.mean(axis=0)
    whole = deviations.mean(axis=(0, 1))
    both = deviations - arms[:, None] - tasks[None] + whole
    of_whole = (whole**2).sum() / freedom
    of_arms = ((arms - whole) ** 2).sum() / freedom / max(num_arms - 1, 1)
    of_tasks = ((tasks - whole) ** 2).sum() / freedom / max(num_tasks - 1, 1)
    rest = (both**2).sum() / freedom / max((num_arms - 1) * (num_tasks - 1), 1)
    by_arm, by_task = of_arms - rest / num_tasks, of_tasks - rest / num_arms
    return np.array(
        [of_whole - by_arm / num_arms - by_task / num_tasks - rest / num_arms / num_tasks, by_arm, by_task, rest]
    )
