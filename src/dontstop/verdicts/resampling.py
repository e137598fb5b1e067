"""Test texts and replicates resampled, from recorded predictions: a check on the t tests that needs no normality."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dontstop.errors import StudyError
from dontstop.runs.records import decode_predictions
from dontstop.verdicts.effects import QUANTILES, Contrast, complete
from dontstop.verdicts.scores import checked, runs_of_arm

NUM_RESAMPLES = 1000
Truth = Mapping[str, np.ndarray]  # by task, (num_test,) label ids in the order of the predictions


@dataclass(frozen=True)
class Draws:
    """Means over seeds of every task, replicate and arm, 0 to 1, under draws of the test texts.

    Draw 0 is the test set as it is. A task's draws are the same for all arms and replicates.
    """

    tasks: list[str]
    replicates: list[int]
    arms: list[str]
    scores: np.ndarray  # (1 + num_resamples, num_replicates, num_tasks, num_arms); NaN where an arm has not run


def draw(
    runs: pd.DataFrame, truth: Truth, arms: Iterable[str] | None = None, *, num_resamples=NUM_RESAMPLES, seed: int = 0
) -> Draws:
    """Draw every task's test texts with replacement, and score all arms (or those wanted) on each draw.

    Raises:
        StudyError: If a run is missing, or its score does not follow from these labels.
    """
    chosen = checked(runs if arms is None else runs[runs["arm"].isin(list(arms))])
    tasks, names = list(chosen["task"].unique()), list(chosen["arm"].unique())
    replicates, rng = sorted(chosen["replicate"].unique().tolist()), np.random.default_rng(seed)
    scores = np.full((1 + num_resamples, len(replicates), len(tasks), len(names)), np.nan)
    for t, task in enumerate(tasks):
        weights = draw_weights(rng, num_resamples, len(truth[task]))
        for a, arm in enumerate(names):
            some = runs_of_arm(chosen, arm, task)
            if len(some):  # by replicate and seed, of each replicate as many
                places = [replicates.index(r) for r in some["replicate"].unique()]
                scored = _scored(some, np.asarray(truth[task]), weights)
                scores[:, places, t, a] = scored.reshape(len(weights), len(places), -1).mean(axis=2)
    return Draws(tasks, replicates, names, scores)


def draw_weights(rng: np.random.Generator, num_resamples: int, num_test: int) -> np.ndarray:
    """Draw items with replacement, (1 + num_resamples, num_test) float32: how often each counts.

    Row 0 counts each once, so that an estimate comes from the same lines as its resamples.
    """
    drawn = rng.integers(num_test, size=(num_resamples, num_test)) + num_test * np.arange(num_resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=num_resamples * num_test).reshape(num_resamples, num_test)
    return np.concatenate([np.ones((1, num_test)), counts]).astype(np.float32)


def multi_bootstrap(
    runs: pd.DataFrame, contrasts: Sequence[Contrast], truth: Truth, *, num_resamples=NUM_RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Compare arms in the mean over tasks by drawing replicates and test texts, both paired: a check of `effects`.

    It covers the choice of test texts as well, and takes no distribution for granted. Replicates are drawn as a whole,
    for all tasks alike, so that what tasks share stays shared. Few replicates are drawn from too narrow a
    distribution: its variance is short by one part in their number, so with fewer than about ten the interval is too.

    Returns:
        Columns contrast, effect, low, high (percentiles), in points; p_value, two-sided: twice the smaller share of
        draws on one side of zero; num_replicates. No row where an arm has not run.

    Source: Sellam et al. (2022), The MultiBERTs, the paired multi-bootstrap. Departure: seeds within a replicate are
    averaged and not drawn; the variance between replicates contains theirs.
    """
    drawn = draw(runs, truth, {arm for c in contrasts for arm in c.shares()}, num_resamples=num_resamples, seed=seed)
    columns, rows = ["contrast", "effect", "low", "high", "p_value", "num_replicates"], []
    for contrast in contrasts:
        values = of_contrast(drawn, contrast)  # (1 + num_resamples, num_replicates)
        if values.size:
            of_draws = 100 * replicates_drawn(values, seed=seed)
            low, high = np.quantile(of_draws[1:], QUANTILES)
            rows.append([contrast.name, of_draws[0], low, high, _two_sided(of_draws[1:]), values.shape[1]])
    return pd.DataFrame(rows, columns=columns)


def of_contrast(drawn: Draws, contrast: Contrast) -> np.ndarray:
    """Return a contrast's mean over tasks, (1 + num_resamples, num_replicates that have run), 0 to 1."""
    shares = contrast.shares()
    if not shares or not set(shares) <= set(drawn.arms):
        return np.empty((len(drawn.scores), 0))
    values = drawn.scores[..., [drawn.arms.index(arm) for arm in shares]] @ np.array(list(shares.values()))
    there = complete(pd.DataFrame(values[0]))
    return values[:, there.index][:, :, there.columns].mean(axis=2)


def replicates_drawn(values: np.ndarray, *, seed: int) -> np.ndarray:
    """Average over replicates drawn with replacement: (1 + num_resamples, num_replicates, ...) to the first and last.

    The draws of one seed are the same for all values with as many replicates.
    """
    weights = draw_weights(np.random.default_rng((seed, 1)), len(values) - 1, values.shape[1])
    return np.einsum("br,br...->b...", weights / values.shape[1], values)


def _two_sided(draws: np.ndarray) -> float:
    below, above = ((draws <= 0).mean(), (draws >= 0).mean())
    return float(min(1.0, 2 * max(min(below, above), 1 / (2 * len(draws)))))


def _scored(runs: pd.DataFrame, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Score one arm's runs on a task under every weighting: (num_weightings, num_runs)."""
    num_labels, metric, task = len(runs["labels"].iloc[0]), runs["metric"].iloc[0], runs["task"].iloc[0]
    predictions = np.stack([decode_predictions(text) for text in runs["test_predictions"]])
    _check_labels(predictions, truth, num_labels)
    scores = weighted_scores(weights, predictions, truth, num_labels, metric)
    _check_scores(scores[0], runs["test_score"].to_numpy(float), task)
    return scores


def weighted_scores(weights, predictions, truth, num_labels: int, metric: str) -> np.ndarray:
    """Score every classifier under every weighting of the test examples: (num_weightings, num_classifiers).

    Counts of hits, predictions and truths by label are products of the weights, (num_weightings, num_test) float32,
    with indicators. Predictions are (num_classifiers, num_test) label ids; the metric is `macro_f1` or `micro_f1`.
    """
    if metric == "micro_f1":  # single-label, so it is accuracy
        return weights @ (predictions == truth).T.astype(np.float32) / weights.sum(axis=1, keepdims=True)
    labels = np.arange(num_labels)
    truths = weights @ (truth[:, None] == labels).astype(np.float32)  # (weightings, labels)
    predicted = predictions.T[:, None, :, None] == labels  # (num_test, 1, classifiers, labels)
    hit = predicted & (predictions == truth).T[:, None, :, None]
    indicators = np.concatenate([hit, predicted], axis=1).astype(np.float32).reshape(len(truth), -1)
    counted = weights @ indicators  # float32 counts are exact below 2**24
    counted = counted.reshape(len(weights), 2, len(predictions), num_labels)
    return (2 * counted[:, 0].astype(float) / np.maximum(counted[:, 1] + truths[:, None], 1)).mean(axis=-1)


def _check_labels(predictions: np.ndarray, truth: np.ndarray, num_labels: int) -> None:
    if predictions.shape[1] != len(truth):
        found = f"{predictions.shape[1]:,} predictions for {len(truth):,} test examples"
        advice = "prepare the data and run the study again: the test set has changed since"
        raise StudyError(found, "one prediction an example", advice)
    highest = max(truth.max(), predictions.max())
    if highest >= num_labels or truth.min() < 0:
        advice = "pass label ids in the order of the record's `labels`"
        raise StudyError(f"label ids up to {highest}", f"ids from 0 to {num_labels - 1}", advice)


def _check_scores(computed: np.ndarray, recorded: np.ndarray, task: str) -> None:
    worst = np.abs(computed - recorded).argmax()
    if not np.allclose(computed, recorded, atol=1e-4):
        raise StudyError(
            f"a recorded score of {recorded[worst]:.4f} on {task} where its predictions give {computed[worst]:.4f}",
            "scores that follow from the predictions and these labels",
            "pass the labels in the test set's order, or run the study again if the data has changed",
        )
