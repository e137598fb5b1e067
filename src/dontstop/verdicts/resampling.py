"""Scores with test examples and seeds resampled: where every interval of this study comes from."""

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dontstop.errors import StudyError
from dontstop.runs.records import decode_predictions
from dontstop.verdicts.scores import names_in, runs_of_arm

NUM_RESAMPLES = 1000
Truth = Mapping[str, np.ndarray]  # by task, (num_test,) label ids in the order of the predictions


@dataclass(frozen=True)
class Resamples:
    """The scores of several arms on one task, 0 to 1: as they are, and with test examples and seeds resampled.

    Test examples are drawn for all arms and seeds alike. The shifts say how far an arm's mean moves when seeds are
    resampled, again for all arms alike.
    """

    arms: tuple[str, ...]  # names, in the order of the last axis
    observed: np.ndarray  # (num_seeds, num_arms)
    drawn: np.ndarray  # (num_resamples, num_seeds, num_arms)
    shifts: np.ndarray  # (num_resamples, num_arms)

    def means(self) -> np.ndarray:
        """Return (num_resamples, num_arms): each arm's mean over seeds, with examples and seeds resampled."""
        return self.drawn.mean(axis=1) + self.shifts


def resample(
    runs: pd.DataFrame, truth: Truth, arms: Iterable[str] | None = None, *, num_resamples: int = NUM_RESAMPLES, seed=0
) -> dict[str, Resamples]:
    """Resample test examples and seeds for all arms of every task, or for those wanted; tasks draw independently.

    The arms wanted need not all have run on every task. The draw's seed goes with the task's name, so that a task's
    interval stays the same when others come or go.

    Returns:
        By task, over the arms that have run on it.

    Raises:
        StudyError: If a run is missing, or its score does not follow from these labels.
    """
    chosen = runs if arms is None else runs[runs["arm"].isin(arms)]
    chosen = chosen[["task", "arm", "seed", "metric", "labels", "test_score", "test_predictions"]]
    _, tasks, seeds = names_in(chosen)
    how = seeds, num_resamples, seed
    return {task: _resample_task(chosen[chosen["task"] == task], task, np.asarray(truth[task]), *how) for task in tasks}


def _resample_task(runs, task: str, truth: np.ndarray, seeds, num_resamples: int, seed: int) -> Resamples:
    arms = tuple(runs["arm"].unique())
    ordered = pd.concat([runs_of_arm(runs, arm, [task], seeds) for arm in arms])  # arm by arm
    num_labels, metric = len(ordered["labels"].iloc[0]), ordered["metric"].iloc[0]
    predictions = np.stack([decode_predictions(text) for text in ordered["test_predictions"]])
    _check_labels(predictions, truth, num_labels)
    rng = np.random.default_rng(zlib.crc32(task.encode(), seed))
    weights = draw_weights(rng, num_resamples, len(truth))
    drawn = from_predictions(arms, predictions, truth, weights, num_labels, metric, rng)
    _check_scores(drawn.observed.T.ravel(), ordered["test_score"].to_numpy(float), task)
    return drawn


def draw_weights(rng: np.random.Generator, num_resamples: int, num_test: int) -> np.ndarray:
    """Resample test examples, (1 + num_resamples, num_test) float32: how often each counts.

    Row 0 is the test set as it is, so that an estimate comes from the same lines as its resamples.
    """
    return np.concatenate([np.ones((1, num_test), np.float32), draw_counts(rng, num_resamples, num_test)])


def draw_counts(rng: np.random.Generator, num_resamples: int, size: int) -> np.ndarray:
    """Return how often each of `size` items is drawn in `size` draws, (num_resamples, size) float32."""
    drawn = rng.integers(size, size=(num_resamples, size)) + size * np.arange(num_resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=num_resamples * size).reshape(num_resamples, size).astype(np.float32)


def from_predictions(arms, predictions, truth, weights, num_labels: int, metric: str, rng) -> Resamples:
    """Score every arm and seed under every weighting of the test examples, and resample seeds as well.

    Predictions are (num_arms * num_seeds, num_test) label ids, arm by arm; truth is (num_test,); weights are as
    `draw_weights` gives them.
    """
    scores = np.asarray(weighted_scores(weights, predictions, truth, num_labels, metric), float)
    scores = scores.reshape(len(weights), len(arms), -1).swapaxes(1, 2)  # (1 + resamples, seeds, arms)
    return from_scores(arms, scores[0], scores[1:], rng)


def from_scores(arms: tuple[str, ...], observed: np.ndarray, drawn: np.ndarray, rng: np.random.Generator) -> Resamples:
    """Resample seeds as well, and put all together; shapes as in `Resamples`.

    Drawing n seeds with replacement understates their variance by (n - 1) / n, which for five seeds is a fifth; the
    shifts are scaled up for that.
    """
    num_seeds, num_resamples = len(observed), len(drawn)
    shifts = np.zeros((num_resamples, len(arms)))
    if num_seeds > 1:
        moved = draw_counts(rng, num_resamples, num_seeds) @ observed / num_seeds - observed.mean(axis=0)
        shifts = math.sqrt(num_seeds / (num_seeds - 1)) * moved
    return Resamples(arms, observed, drawn, shifts)


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
