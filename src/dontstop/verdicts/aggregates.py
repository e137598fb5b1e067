"""Arms over all tasks: aggregates, the bootstrap probability of ranking first, other tests, correlations with gains."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial.distance import cdist

from dontstop.verdicts import effects, scores
from dontstop.verdicts.domain_gap import as_distances, spearman
from dontstop.verdicts.effects import QUANTILES, Contrast, name_of
from dontstop.verdicts.resampling import NUM_RESAMPLES, Truth, resample
from dontstop.verdicts.scores import MEAN

Bounded = tuple[float, float, float]  # a number with the bounds of its 95 % interval
_NUM_ORDERS = math.factorial(8)  # of tasks, that a permutation test goes through or draws


def aggregates(runs: pd.DataFrame, reference="base", *, num_resamples=NUM_RESAMPLES, seed=0) -> pd.DataFrame:
    """Tabulate every arm over all tasks: mean, interquartile mean, how likely a run beats one of the reference.

    Returns:
        Index arm; columns mean; iqm, iqm_low, iqm_high (x 100); probability_of_improvement, its _low, _high (0 to 1).
    """
    arms, *grid = scores.names_in(runs)
    matrices = {arm: scores.score_matrix(runs, arm, *grid) for arm in arms}
    how, base = {"num_resamples": num_resamples, "seed": seed}, matrices[name_of(reference)]
    bounded = [f"{name}{bound}" for name in ("iqm", "probability_of_improvement") for bound in ("", "_low", "_high")]
    rows = [
        [100 * m.mean(), *interquartile_interval(100 * m, **how), *probability_of_improvement(m, base, **how)]
        for m in matrices.values()
    ]
    return pd.DataFrame(rows, pd.Index(arms, name="arm"), ["mean", *bounded])


def interquartile_interval(scores: np.ndarray, *, num_resamples: int, seed: int) -> Bounded:
    """Return the mean of the middle half of all runs, (num_seeds, num_tasks); seeds are resampled within each task.

    Source: Agarwal et al. (2021), who argue for it where a few runs are far off.
    """
    return _with_interval(lambda some: stats.trim_mean(some, 0.25, axis=(-2, -1)), [scores], num_resamples, seed)


def probability_of_improvement(scores_a: np.ndarray, scores_b: np.ndarray, *, num_resamples: int, seed: int) -> Bounded:
    """Return how likely a run of arm a beats one of arm b on a task, averaged over tasks; ties count half.

    Both scores are (num_seeds, num_tasks).

    Source: Agarwal et al. (2021).
    """
    return _with_interval(_wins, [scores_a, scores_b], num_resamples, seed)


def _wins(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    pairs = a[..., :, None, :] - b[..., None, :, :]  # (..., seeds, seeds, tasks)
    return ((pairs > 0) + 0.5 * (pairs == 0)).mean(axis=(-3, -2, -1))


def _with_interval(statistic, samples: Sequence[np.ndarray], num_resamples: int, seed: int) -> Bounded:
    rng, drawn = np.random.default_rng(seed), []
    for sample in samples:  # (num_seeds, num_tasks), each task's seeds drawn with replacement
        rows = rng.integers(len(sample), size=(num_resamples, *sample.shape))
        drawn.append(np.take_along_axis(np.broadcast_to(sample, rows.shape), rows, axis=1))
    return tuple(map(float, (statistic(*samples), *np.quantile(statistic(*drawn), QUANTILES))))


def probability_best(runs: pd.DataFrame, truth: Truth, *, num_resamples=NUM_RESAMPLES, seed=0) -> pd.DataFrame:
    """Return the share of resamples in which each arm has the highest score, by task and for the mean over tasks.

    Returns:
        Index task with a last row `mean`; a column an arm (all of them on the same tasks), 0 to 1; ties are shared.
    """
    resamples = resample(runs, truth, num_resamples=num_resamples, seed=seed)
    means = {task: pd.DataFrame(r.means(), columns=r.arms)[runs["arm"].unique()] for task, r in resamples.items()}
    means[MEAN] = sum(means.values()) / len(means)
    best = {task: drawn.eq(drawn.max(axis=1), axis=0) for task, drawn in means.items()}
    shares = {task: some.div(some.sum(axis=1), axis=0).mean() for task, some in best.items()}
    return pd.DataFrame(shares).T.rename_axis("task")


def intervals(runs: pd.DataFrame, reference, truth: Truth, *, num_resamples=NUM_RESAMPLES, seed=0) -> pd.DataFrame:
    """Return arms' mean scores over tasks, each with the interval of its difference to a reference put around it.

    Returns:
        Index arm (all on the same tasks); columns mean, low, high (x 100). The reference's interval has no width.
    """
    against = name_of(reference)
    contrasts = [Contrast(arm, ((arm, 1.0), (against, -1.0))) for arm in runs["arm"].unique() if arm != against]
    table = effects.effects(runs, contrasts, truth, num_resamples=num_resamples, seed=seed)
    table = table[table["task"] == MEAN].set_index("contrast")
    found = scores.means(runs).query("task == @MEAN").set_index("arm")[["mean"]]
    shift = table[["low", "high"]].sub(table["effect"], axis=0).reindex(found.index).fillna(0.0)
    return found.join(shift.add(found["mean"], axis=0))


def tests(runs: pd.DataFrame, found: pd.DataFrame, contrasts: Sequence[Contrast]) -> pd.DataFrame:
    """Put three tests beside one another: paired (`effects`, as found), Welch's, and without degenerate seeds.

    Returns:
        Columns contrast, task, paired and its interval and p_paired (not corrected), welch and its interval and
        p_welch; without_degenerate, the paired difference without them, and num_left_out, pairs of a task and a seed.
    """
    keys, num_seeds = ["contrast", "task"], runs["seed"].nunique()
    kept, num_left_out = scores.without_degenerate(runs)
    unpaired, without = (effects.welch_effects(effects.moments(some), contrasts, num_seeds) for some in (runs, kept))
    table = found.loc[found["task"] != MEAN, keys].set_index(keys)
    for name, some in (("paired", found), ("welch", unpaired)):
        columns = {"effect": name, "low": f"{name}_low", "high": f"{name}_high", "p_value": f"p_{name}"}
        table = table.join(some.set_index(keys)[list(columns)].rename(columns=columns))
    without = without.set_index(keys)["effect"].rename("without_degenerate")
    return table.join(without).reset_index().assign(num_left_out=num_left_out)


def gain_correlations(
    runs: pd.DataFrame, contrast, truth: Truth, distances: pd.DataFrame, *, num_resamples=NUM_RESAMPLES, seed=0
) -> pd.DataFrame:
    """Correlate a gain over tasks, by rank, with each distance of the task's domain from the general text.

    Args:
        distances: By domain, as `domain_gap.distance_table` returns them; those not measured throughout are left out.

    Returns:
        Index distance; columns spearman; low and high, the 95 % interval over seeds and test examples, for these
        tasks; p_value, two-sided, by permutation (which takes the tasks for exchangeable, although two of the same
        domain may share their distance); num_tasks.

    Source: section 3.1 ends in the guess that DAPT gains more the farther the domain; the correlation is ours.
    """
    resamples = resample(runs, truth, contrast.shares(), num_resamples=num_resamples, seed=seed)
    gains = effects.differences(resamples, contrast)
    domains = runs.drop_duplicates("task").set_index("task").loc[list(gains), "domain"]
    far = as_distances(distances).loc[domains]
    rows = {name: gain_correlation(far[name].to_numpy(), list(gains.values())) for name in far}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("distance")


def gain_correlation(far: np.ndarray, gains: Sequence[effects.Difference]) -> dict[str, float]:
    """Correlate gains with how far away each task lies, by rank; see `gain_correlations`."""
    observed, p_value = rank_correlation(far, np.array([gain.effect for gain in gains]))
    low, high = math.nan, math.nan
    if not np.isnan(observed):
        resampled = np.stack([gain.resamples for gain in gains], axis=1)  # (num_resamples, num_tasks)
        # A thousand calls of spearmanr take 0.4 s, this a millisecond.
        found = 1 - cdist(stats.rankdata(far)[None], stats.rankdata(resampled, axis=1), "correlation")[0]
        low, high = map(float, np.nanquantile(found, QUANTILES))
    return {"spearman": observed, "low": low, "high": high, "p_value": p_value, "num_tasks": len(gains)}


def rank_correlation(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the rank correlation of two (num_tasks,) vectors, and its two-sided permutation p-value.

    Of up to eight tasks all orders are gone through, of more 40,320 are drawn. Both are NaN where a side does not vary.
    """
    observed = spearman(x, y)
    if np.isnan(observed):
        return observed, math.nan
    ranks, others = (stats.rankdata(side) - (len(side) + 1) / 2 for side in (x, y))
    how = {"permutation_type": "pairings", "alternative": "greater", "n_resamples": _NUM_ORDERS, "rng": 0}
    found = stats.permutation_test((ranks,), lambda x, axis: np.abs((x * others).sum(axis)), vectorized=True, **how)
    return observed, float(found.pvalue)
