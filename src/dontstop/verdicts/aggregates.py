"""Arms over all tasks: means with their intervals, who ranks first, and four tests of one difference."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dontstop.verdicts import effects, resampling, scores
from dontstop.verdicts.effects import Contrast, name_of
from dontstop.verdicts.resampling import NUM_RESAMPLES, Truth
from dontstop.verdicts.scores import MEAN, PAIR


def aggregates(runs: pd.DataFrame, reference="base") -> pd.DataFrame:
    """Tabulate every arm over all tasks: its mean, and how likely a run of it beats one of the reference.

    Returns:
        Index arm; columns mean (x 100); probability_of_improvement, its _low and _high (0 to 1; t over replicates, so
        NaN of one): of a run of the arm and one of the reference in the same replicate, averaged over tasks; ties
        count half; num_replicates, those that all arms have.

    Source: Agarwal et al. (2021).
    """
    runs = scores.in_shared_replicates(runs)
    rows, against = {}, _by_task(runs, name_of(reference))
    for arm in runs["arm"].unique():
        own = _by_task(runs, arm)
        places = [place for place in own if place in against]
        wins = pd.Series([_wins(own[k], against[k]) for k in places], pd.MultiIndex.from_tuples(places))
        found = effects.student(effects.complete(wins.unstack()).mean(axis=1).to_numpy())
        rows[arm] = [
            scores.run_means(runs[runs["arm"] == arm])[arm].mean(),
            found["effect"],
            found["low"],
            found["high"],
        ]
    bounded = [f"probability_of_improvement{bound}" for bound in ("", "_low", "_high")]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["mean", *bounded]).rename_axis("arm").astype(float)
    return table.assign(num_replicates=runs["replicate"].nunique())


def _by_task(runs: pd.DataFrame, arm: str) -> dict[tuple, np.ndarray]:
    """Return an arm's scores, (num_seeds,), by replicate and task."""
    own = runs[runs["arm"] == arm].sort_values(PAIR)
    return {place: some.to_numpy(float) for place, some in own.groupby(["replicate", "task"])["test_score"]}


def _wins(a: np.ndarray, b: np.ndarray) -> float:
    pairs = a[:, None] - b[None]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def probability_best(runs: pd.DataFrame, truth: Truth, *, num_resamples=NUM_RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Return the share of draws in which each arm has the highest score, by task and for the mean over tasks.

    Replicates (those that all arms have) and test texts are drawn, as in `resampling.multi_bootstrap`. Index task with
    a last row `mean`; a column an arm (all of them on the same tasks), 0 to 1; ties are shared.
    """
    drawn = resampling.draw(scores.in_shared_replicates(runs), truth, num_resamples=num_resamples, seed=seed)
    means = resampling.replicates_drawn(drawn.scores, seed=seed)[1:]  # (num_resamples, num_tasks, num_arms)
    means = np.concatenate([means, means.mean(axis=1, keepdims=True)], axis=1)
    best = means == means.max(axis=2, keepdims=True)
    shares = (best / best.sum(axis=2, keepdims=True)).mean(axis=0)
    return pd.DataFrame(shares, pd.Index([*drawn.tasks, MEAN], name="task"), drawn.arms)


def tests(runs: pd.DataFrame, contrasts: Sequence[Contrast], truth: Truth, *, num_resamples=NUM_RESAMPLES):
    """Put several tests of the same differences, in the mean over tasks, beside one another; none is corrected.

    Returns:
        Columns contrast, num_replicates; effect, low, high, p_value (t over replicates: the study's test);
        p_sign_flip; bootstrap_low, bootstrap_high, p_bootstrap (replicates and test texts drawn); p_over_tasks (another
        question: t with tasks as the sample); without_degenerate, the difference without degenerate pairs, and
        num_left_out of them.
    """
    found = effects.effects(runs, contrasts)
    drawn = resampling.multi_bootstrap(runs, contrasts, truth, num_resamples=num_resamples).set_index("contrast")
    kept, num_left_out = scores.without_degenerate(runs)
    left = {c.name: effects.by_replicate(scores.run_means(kept), c).to_numpy(float) for c in contrasts}
    table = found.query("task == @MEAN").set_index("contrast")
    table = table[["num_replicates", "effect", "low", "high", "p_value", "p_sign_flip"]].assign(
        bootstrap_low=drawn["low"],
        bootstrap_high=drawn["high"],
        p_bootstrap=drawn["p_value"],
        p_over_tasks=effects.over_tasks(found).set_index("contrast")["p_value"],
        without_degenerate=pd.Series({name: values.mean() if values.size else np.nan for name, values in left.items()}),
        num_left_out=num_left_out,
    )
    return table.reset_index()
