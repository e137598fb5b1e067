"""Differences between arms: paired by seed and test example, with intervals, p-values and their correction."""

import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from dontstop.errors import StudyError
from dontstop.runs.records import decode_predictions
from dontstop.verdicts.domain_gap import spearman
from dontstop.verdicts.scores import records_of_arm

CONFIDENCE = 0.95
_LARGEST_ENUMERATION = 8  # points whose orders are all gone through: 8! = 40,320


@dataclass(frozen=True)
class Resamples:
    """The scores of several arms on one task, 0 to 1: as they are, and with test examples and seeds drawn anew.

    Attributes:
        arms: Names, in the order of the last axis.
        observed: (num_seeds, num_arms).
        drawn: (num_resamples, num_seeds, num_arms), scores on drawn test examples: the same for all arms and seeds.
        shifts: (num_resamples, num_arms), how far an arm's mean moves when seeds are drawn: the same for all arms.
    """

    arms: tuple[str, ...]
    observed: np.ndarray
    drawn: np.ndarray
    shifts: np.ndarray

    def means(self) -> np.ndarray:
        """Return (num_resamples, num_arms): each arm's mean over seeds, with examples and seeds drawn anew."""
        return self.drawn.mean(axis=1) + self.shifts


@dataclass(frozen=True)
class Difference:
    """A difference of two arms' mean test scores (0 to 1), with its 95 % interval and two-sided p-value.

    Attributes:
        estimate: Mean over the seeds of arm a's score less arm b's.
        low: Lower bound.
        high: Upper bound.
        p_value: Of no difference.
        standard_error: Over seeds and test examples.
        df: Degrees of freedom of its t distribution.
        resamples: (num_resamples,) differences, for what is computed further on.
    """

    estimate: float
    low: float
    high: float
    p_value: float
    standard_error: float
    df: float
    resamples: np.ndarray


# Drawing -------------------------------------------------------------------------------------------------------


def resample(
    records: pd.DataFrame,
    arms: Sequence[str],
    tasks: Sequence[str],
    seeds: Sequence[int],
    true_labels: Mapping[str, np.ndarray],
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, Resamples]:
    """Draw test examples and seeds anew for all arms of every task; tasks draw independently of one another.

    Args:
        records: Of all the arms.
        true_labels: By task, (num_test,) label ids in the order of the predictions.
        seed: Of the draw; with the task's name, so that a task's interval stays the same when others come or go.

    Returns:
        By task.

    Raises:
        StudyError: If a cell is missing, or its score does not follow from these labels.
    """
    return {
        task: _resample_task(
            [records_of_arm(records, arm, [task], seeds) for arm in arms],
            tuple(arms),
            np.asarray(true_labels[task]),
            num_resamples,
            np.random.default_rng(zlib.crc32(task.encode(), seed)),
        )
        for task in tasks
    }


def _resample_task(of_arms, arms, true_labels, num_resamples, rng) -> Resamples:
    first = of_arms[0].iloc[0]
    num_labels = len(first["labels"])
    texts = [text for of_arm in of_arms for text in of_arm["test_predictions"]]
    predictions = np.stack([decode_predictions(text) for text in texts])  # (arms * seeds, num_test)
    _check_labels(predictions, true_labels, num_labels)
    weights = draw_weights(rng, num_resamples, len(true_labels))
    drawn = from_predictions(arms, predictions, true_labels, weights, num_labels, first["metric"], rng)
    _check_scores(drawn.observed.T.ravel(), np.concatenate([of_arm["test_score"] for of_arm in of_arms]), first["task"])
    return drawn


def draw_weights(rng: np.random.Generator, num_resamples: int, num_test: int) -> np.ndarray:
    """Draw test examples anew, (1 + num_resamples, num_test) float32: how often each counts.

    Row 0 is the test set as it is, so that an estimate comes from the same lines as its resamples.
    """
    return np.concatenate([np.ones((1, num_test), np.float32), draw_counts(rng, num_resamples, num_test)])


def from_predictions(
    arms: tuple[str, ...],
    predictions: np.ndarray,
    true_labels: np.ndarray,
    weights: np.ndarray,
    num_labels: int,
    metric: str,
    rng: np.random.Generator,
) -> Resamples:
    """Score every arm and seed under every weighting of the test examples, and draw seeds anew as well.

    Args:
        predictions: (num_arms * num_seeds, num_test) label ids, arm by arm.
        true_labels: (num_test,) label ids.
        weights: As `draw_weights` gives them.
    """
    scores = np.asarray(weighted_scores(weights, predictions, true_labels, num_labels, metric), float)
    scores = scores.reshape(len(weights), len(arms), -1).swapaxes(1, 2)  # (1 + resamples, seeds, arms)
    return from_scores(arms, scores[0], scores[1:], rng)


def from_scores(arms: tuple[str, ...], observed: np.ndarray, drawn: np.ndarray, rng: np.random.Generator) -> Resamples:
    """Draw seeds anew as well, and put all together; shapes as in `Resamples`.

    Drawing n seeds with replacement understates their variance by (n - 1) / n, which for five seeds is a fifth; the
    shifts are scaled up for that.
    """
    num_seeds, num_resamples = len(observed), len(drawn)
    shifts = np.zeros((num_resamples, len(arms)))
    if num_seeds > 1:
        moved = draw_counts(rng, num_resamples, num_seeds) @ observed / num_seeds - observed.mean(axis=0)
        shifts = math.sqrt(num_seeds / (num_seeds - 1)) * moved
    return Resamples(arms, observed, drawn, shifts)


def draw_counts(rng: np.random.Generator, num_resamples: int, size: int) -> np.ndarray:
    """Return how often each of `size` items is drawn in `size` draws, (num_resamples, size) float32."""
    drawn = rng.integers(size, size=(num_resamples, size)) + size * np.arange(num_resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=num_resamples * size).reshape(num_resamples, size).astype(np.float32)


def weighted_scores(weights, predictions, true_labels, num_labels: int, metric: str) -> np.ndarray:
    """Score every classifier under every weighting of the test examples: (num_weightings, num_classifiers).

    Counts of hits, predictions and truths by label are products of the weights with indicators.

    Args:
        weights: (num_weightings, num_test) float32.
        predictions: (num_classifiers, num_test) label ids.
        true_labels: (num_test,) label ids.
        metric: `macro_f1` or `micro_f1`.
    """
    if metric == "micro_f1":  # one label a text, so it is accuracy
        return weights @ (predictions == true_labels).T.astype(np.float32) / weights.sum(axis=1, keepdims=True)
    labels = np.arange(num_labels)
    truths = weights @ (true_labels[:, None] == labels).astype(np.float32)  # (weightings, labels)
    scores = np.empty((len(weights), len(predictions)))
    for column, predicted in enumerate(predictions):
        indicator = (predicted[:, None] == labels).astype(np.float32)  # (num_test, labels)
        hit = indicator * (predicted == true_labels)[:, None]
        counted = weights @ np.concatenate([hit, indicator], axis=1)  # float32 counts are exact below 2**24
        hits, claimed = counted[:, :num_labels].astype(float), counted[:, num_labels:]
        scores[:, column] = (2 * hits / np.maximum(claimed + truths, 1)).mean(axis=1)
    return scores


def _check_labels(predictions: np.ndarray, true_labels: np.ndarray, num_labels: int) -> None:
    if predictions.shape[1] != len(true_labels):
        raise StudyError(
            f"{predictions.shape[1]:,} predictions for {len(true_labels):,} test examples",
            "one prediction an example",
            "prepare the data and run the study again: the test set has changed since",
        )
    if max(true_labels.max(), predictions.max()) >= num_labels or true_labels.min() < 0:
        raise StudyError(
            f"label ids up to {max(true_labels.max(), predictions.max())}",
            f"ids from 0 to {num_labels - 1}",
            "pass label ids in the order of the record's `labels`",
        )


def _check_scores(computed: np.ndarray, recorded: np.ndarray, task: str) -> None:
    if not np.allclose(computed, recorded, atol=1e-4):
        worst = np.abs(computed - recorded).argmax()
        raise StudyError(
            f"a recorded score of {recorded[worst]:.4f} on {task} where its predictions give {computed[worst]:.4f}",
            "scores that follow from the predictions and these labels",
            "pass the labels in the test set's order, or run the study again if the data has changed",
        )


# Differences ---------------------------------------------------------------------------------------------------


def difference(resamples: Resamples, arm_a: str, arm_b: str) -> Difference:
    """Compare two arms on one task, paired by seed and by test example.

    The variance has a part from the seeds and one from the examples, both of which contain how much single
    predictions change between seeds; this third part is taken off once. The seeds' part is known from few seeds only,
    so the interval is Student's, with Satterthwaite's degrees of freedom. It covers the choice of examples and of
    fine-tuning seeds; it does not cover another pretraining run, since all seeds start from one checkpoint.

    Departure: the paper gives means and standard deviations, and no test. The bootstrap's own percentiles would make
    too short an interval of five seeds, whose variance it takes for known (docs/calibration.md has the numbers).
    """
    return contrast(resamples, ((arm_a, 1.0), (arm_b, -1.0)))


def contrast(resamples: Resamples, weights: Sequence[tuple[str, float]]) -> Difference:
    """Compare weighted arms on one task as `difference` compares two: the mean of three arms with a fourth, say.

    Args:
        weights: Arms, each with its weight; they add up to zero.
    """
    places, shares = [resamples.arms.index(arm) for arm, _ in weights], np.array([weight for _, weight in weights])
    by_seed = resamples.observed[:, places] @ shares  # (num_seeds,)
    drawn = resamples.drawn[:, :, places] @ shares  # (num_resamples, num_seeds)
    variance, df = _variance(by_seed, drawn)
    return _difference(float(by_seed.mean()), variance, df, resamples.means()[:, places] @ shares)


def _variance(by_seed: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    """Return the variance of the mean over seeds, and its degrees of freedom.

    Args:
        by_seed: (num_seeds,) differences on the test set.
        drawn: (num_resamples, num_seeds) differences on drawn examples.
    """
    num_seeds = len(by_seed)
    means = drawn.mean(axis=1)
    of_examples = means.var(ddof=1)
    if num_seeds == 1:
        return float(of_examples), math.inf
    of_seeds = by_seed.var(ddof=1) / num_seeds
    single = drawn - by_seed - (means - by_seed.mean())[:, None]  # what examples do to one seed and not to all
    of_both = (single**2).sum(axis=1).mean() / (num_seeds - 1) / num_seeds
    # The seeds' part contains that of both, so a smaller estimate of it is chance. Left as it is, five seeds that
    # happen to agree would give a short interval: in simulation, 7 % of families of 24 tests erred, instead of 2 %.
    of_seeds = max(of_seeds, of_both)
    variance = of_seeds + of_examples - of_both
    return float(variance), float((num_seeds - 1) * (variance / of_seeds) ** 2) if of_seeds > 0 else math.inf


def _difference(estimate: float, variance: float, df: float, resamples: np.ndarray) -> Difference:
    error = math.sqrt(variance)
    if error == 0:  # the same predictions throughout
        return Difference(estimate, estimate, estimate, float(estimate == 0), 0.0, df, resamples)
    half = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, df))
    p_value = 2 * float(stats.t.sf(abs(estimate) / error, df))
    return Difference(estimate, estimate - half, estimate + half, p_value, error, df, resamples)


def differences(resamples: Mapping[str, Resamples], arm_a: str, arm_b: str) -> dict[str, Difference]:
    """Compare two arms on every task."""
    return contrasts(resamples, ((arm_a, 1.0), (arm_b, -1.0)))


def contrasts(resamples: Mapping[str, Resamples], weights: Sequence[tuple[str, float]]) -> dict[str, Difference]:
    """Compare weighted arms on every task."""
    return {task: contrast(of_task, weights) for task, of_task in resamples.items()}


def mean_difference(by_task: Mapping[str, Difference]) -> Difference:
    """Average differences over tasks; seeds and examples vary within each task, and independently between them.

    The interval speaks of these tasks, not of tasks in general.
    """
    num_tasks = len(by_task)
    variances = np.array([found.standard_error**2 for found in by_task.values()]) / num_tasks**2
    freedoms = np.array([found.df for found in by_task.values()])
    squares = float((variances**2 / freedoms).sum())
    df = float(variances.sum() ** 2) / squares if squares > 0 else math.inf
    estimate = float(np.mean([found.estimate for found in by_task.values()]))
    return _difference(
        estimate, float(variances.sum()), df, np.mean([found.resamples for found in by_task.values()], axis=0)
    )


def difference_table(by_task: Mapping[str, Difference]) -> pd.DataFrame:
    """Tabulate differences by task with a last row `mean`, x 100.

    Returns:
        Index task; columns difference, difference_low, difference_high, p_value; `families` corrects the last.
    """
    rows = {**by_task, "mean": mean_difference(by_task)}
    values = [[100 * v for v in (row.estimate, row.low, row.high)] + [row.p_value] for row in rows.values()]
    columns = ["difference", "difference_low", "difference_high", "p_value"]
    return pd.DataFrame(values, index=pd.Index(list(rows), name="task"), columns=columns)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Correct p-values for their number, by Holm's step-down method; what is not a number stays none.

    Source: Holm (1979), as statsmodels has it.
    """
    p_values = np.asarray(p_values, float)
    adjusted, known = np.full(p_values.shape, np.nan), ~np.isnan(p_values)
    if known.any():
        adjusted[known] = multipletests(p_values[known], method="holm")[1]
    return adjusted


def families(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Add `p_holm` over the comparisons of one table: all its tasks one family, all its means another.

    Args:
        tables: By comparison, as `difference_table` returns them.
    """
    found = {name: table.assign(p_holm=np.nan) for name, table in tables.items()}
    for wanted in (lambda index: index != "mean", lambda index: index == "mean"):
        places = [(name, task) for name, table in found.items() for task in table.index[wanted(table.index)]]
        adjusted = holm([found[name].loc[task, "p_value"] for name, task in places])
        for (name, task), value in zip(places, adjusted, strict=True):
            found[name].loc[task, "p_holm"] = value
    return found


def welch_from_moments(
    mean_a: float, std_a: float, mean_b: float, std_b: float, num_seeds: int
) -> tuple[float, float, float, float]:
    """Compare two means by Welch's unpaired test; standard deviations are the sample's.

    Returns:
        The difference, its 95 % interval's bounds, and the two-sided p-value.
    """
    parts = np.array([std_a**2, std_b**2]) / num_seeds
    if parts.sum() == 0:
        same = float(mean_a == mean_b)
        return mean_a - mean_b, mean_a - mean_b, mean_a - mean_b, same
    p_value = stats.ttest_ind_from_stats(mean_a, std_a, num_seeds, mean_b, std_b, num_seeds, equal_var=False).pvalue
    df = parts.sum() ** 2 / ((parts**2).sum() / (num_seeds - 1))
    half = math.sqrt(parts.sum()) * stats.t.ppf((1 + CONFIDENCE) / 2, df)
    found = mean_a - mean_b
    return float(found), float(found - half), float(found + half), float(p_value)


def welch(scores_a: np.ndarray, scores_b: np.ndarray) -> tuple[float, float, float, float]:
    """Compare two arms' (num_seeds,) scores on a task by Welch's test, as readers of means and deviations would."""
    moments = [moment for scores in (scores_a, scores_b) for moment in (np.mean(scores), np.std(scores, ddof=1))]
    return welch_from_moments(*moments, len(scores_a))


# Over tasks ----------------------------------------------------------------------------------------------------


def interquartile_mean(scores: np.ndarray) -> float:
    """Return the mean of the middle half of all runs, (num_seeds, num_tasks) of them.

    Source: Agarwal et al. (2021), who argue for it where a few runs are far off.
    """
    return float(stats.trim_mean(scores, 0.25, axis=None))


def interquartile_interval(scores: np.ndarray, *, num_resamples: int, seed: int) -> tuple[float, float, float]:
    """Return the interquartile mean with a 95 % interval: seeds drawn anew within each task."""
    drawn = _draw_seeds(scores, np.random.default_rng(seed), num_resamples)
    flat = drawn.reshape(num_resamples, -1)
    low, high = np.quantile(stats.trim_mean(flat, 0.25, axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return interquartile_mean(scores), float(low), float(high)


def _draw_seeds(scores: np.ndarray, rng: np.random.Generator, num_resamples: int) -> np.ndarray:
    """Return (num_resamples, num_seeds, num_tasks): each task's seeds drawn with replacement."""
    rows = rng.integers(len(scores), size=(num_resamples, *scores.shape))
    return np.take_along_axis(np.broadcast_to(scores, rows.shape), rows, axis=1)


def probability_of_improvement(
    scores_a: np.ndarray, scores_b: np.ndarray, *, num_resamples: int, seed: int
) -> tuple[float, float, float]:
    """Return how likely a run of arm a beats one of arm b on a task, averaged over tasks, with a 95 % interval.

    Args:
        scores_a: (num_seeds, num_tasks); ties count half.
        scores_b: Of the same shape.

    Source: Agarwal et al. (2021).
    """
    rng = np.random.default_rng(seed)
    drawn = [_draw_seeds(scores, rng, num_resamples) for scores in (scores_a, scores_b)]
    low, high = np.quantile(_wins(*drawn), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(_wins(scores_a, scores_b)), float(low), float(high)


def _wins(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    pairs = a[..., :, None, :] - b[..., None, :, :]  # (..., seeds, seeds, tasks)
    return ((pairs > 0) + 0.5 * (pairs == 0)).mean(axis=(-3, -2, -1))


def probability_best(resamples: Mapping[str, Resamples]) -> pd.DataFrame:
    """Return the share of resamples in which each arm has the highest score, by task and for the mean over tasks.

    Returns:
        Index task with a last row `mean`; a column an arm, 0 to 1; ties are shared.
    """
    means = {task: of_task.means() for task, of_task in resamples.items()}
    means["mean"] = np.mean(list(means.values()), axis=0)
    arms = next(iter(resamples.values())).arms
    rows = {}
    for task, drawn in means.items():
        best = drawn == drawn.max(axis=1, keepdims=True)
        rows[task] = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(arms)).rename_axis("task")


def gain_correlation(distances: Mapping[str, float], gains: Mapping[str, Difference]) -> dict[str, float]:
    """Correlate gains with distances over tasks, by rank.

    Args:
        distances: By task; more means farther.
        gains: By task.

    Returns:
        spearman; low and high, the 95 % interval over seeds and test examples, for these tasks; p_value, two-sided,
        the share of the orders of the tasks whose correlation is as large (which takes the tasks for exchangeable,
        although two of the same domain may share their distance); num_tasks.

    Source: section 3.1 ends in the guess that DAPT gains more the farther the domain; the correlation is ours.
    """
    tasks = list(gains)
    x = np.array([distances[task] for task in tasks], float)
    observed, p_value = rank_correlation(x, np.array([gains[task].estimate for task in tasks]))
    resampled = np.stack([gains[task].resamples for task in tasks], axis=1)  # (num_resamples, num_tasks)
    correlations = spearman(np.broadcast_to(x, resampled.shape), resampled)
    low, high = (math.nan, math.nan) if np.isnan(observed) else np.nanquantile(correlations, [0.025, 0.975])
    return {"spearman": observed, "low": float(low), "high": float(high), "p_value": p_value, "num_tasks": len(tasks)}


def rank_correlation(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the rank correlation of two (num_tasks,) vectors, and its two-sided permutation p-value."""
    observed = float(spearman(x, y))
    return observed, _permutation_p_value(x, y, observed)


def _permutation_p_value(x: np.ndarray, y: np.ndarray, observed: float) -> float:
    if len(x) > _LARGEST_ENUMERATION or np.isnan(observed):
        return math.nan
    orders = np.array(list(itertools.permutations(range(len(x)))))
    shuffled = spearman(np.broadcast_to(x, orders.shape), y[orders])
    return float((np.abs(shuffled) >= abs(observed) - 1e-12).mean())
