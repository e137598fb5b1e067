"""From raw records to (seed x task) scores, and the intervals of their differences."""

import base64
import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dontstop.domain_gap import spearman
from dontstop.errors import StudyError

_CONFIDENCE = 0.95
_LARGEST_ENUMERATION = 8  # points whose orders are all gone through: 8! = 40,320


@dataclass(frozen=True)
class Difference:
    """A difference of two arms' mean test scores (0 to 1), with its interval.

    Attributes:
        estimate: Mean over the seeds of arm a's score less arm b's.
        low: Lower bound of the 95 % interval.
        high: Upper bound.
        resamples: (num_resamples,) differences, for what is computed further on.
    """

    estimate: float
    low: float
    high: float
    resamples: np.ndarray


def score_matrix(
    records: pd.DataFrame, arm: str, tasks: Sequence[str], seeds: Sequence[int], column: str = "test_score"
) -> np.ndarray:
    """Return one arm's scores, (num_seeds, num_tasks), 0 to 1.

    Raises:
        StudyError: If a cell is missing or recorded twice.
    """
    chosen = _of_arm(records, arm, tasks, seeds)
    return chosen[column].to_numpy(float).reshape(len(tasks), len(seeds)).T


def _of_arm(records: pd.DataFrame, arm: str, tasks: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Return the records of an arm, task by task and in each by seed."""
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


def decode_predictions(record: Mapping[str, Any]) -> np.ndarray:
    """Return a record's predicted label ids on the test set, (num_test,) uint8."""
    return np.frombuffer(zlib.decompress(base64.b64decode(record["test_predictions"])), np.uint8)


def mean_and_std(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over seeds, the first axis.

    The sample's standard deviation (n - 1 in the denominator); NaN for a single seed.

    Departure: the paper does not say which of the two it gives.
    """
    scores = np.asarray(scores, float)
    std = scores.std(axis=0, ddof=1) if len(scores) > 1 else np.full(scores.shape[1:], np.nan)
    return scores.mean(axis=0), std


def difference_interval(
    records_a: pd.DataFrame, records_b: pd.DataFrame, true_labels: np.ndarray, *, num_resamples: int, seed: int
) -> Difference:
    """Compare two arms on one task, paired by seed and by test example.

    A bootstrap over both levels: each resample draws test examples (the same for both arms and all seeds), computes
    every classifier's score anew and averages over seeds, then adds the shift that drawing the seeds anew brings. The
    percentile interval covers the choice of examples and of fine-tuning seeds; it does not cover another pretraining
    run, since all seeds start from one checkpoint.

    Args:
        records_a: One record a seed.
        records_b: The other arm's, on the same task, with the same seeds.
        true_labels: (num_test,) label ids, in the order of the predictions.
        num_resamples: Bootstrap resamples.
        seed: Of the draw.

    Raises:
        StudyError: If the records do not pair up, or their scores do not follow from these labels.

    Departure: the paper gives means and standard deviations, and no test. Drawing n seeds with replacement
    understates their variance by (n - 1) / n, which for five seeds is a fifth; the seeds' part is scaled up for that.
    The shift is taken from the seeds' scores on the whole test set: drawing seeds inside each resample of examples
    counts the noise of single predictions thrice (simulated: 97 to 99 % coverage, against 95 to 97 % this way; where
    seeds differ by far more than examples can blur, five of them give either way about 91 %).
    """
    records_a, records_b = (records.sort_values("seed") for records in (records_a, records_b))
    _check_pairing(records_a, records_b)
    metric, num_labels = records_a["metric"].iloc[0], len(records_a["labels"].iloc[0])
    predictions = np.stack([decode_predictions(r) for r in _rows(records_a) + _rows(records_b)])  # (2 * seeds, test)
    true_labels = np.asarray(true_labels)
    _check_labels(predictions, true_labels, num_labels)
    num_seeds, num_test = len(records_a), len(true_labels)
    rng = np.random.default_rng(seed)
    # Row 0 is the test set as it is, so that the estimate comes from the same lines as its resamples.
    weights = np.concatenate([np.ones((1, num_test), np.float32), _draw(rng, num_resamples, num_test)])
    scores = _weighted_scores(weights, predictions, true_labels, num_labels, metric)  # (1 + resamples, 2 * seeds)
    recorded = pd.concat([records_a, records_b])["test_score"].to_numpy(float)
    _check_scores(scores[0], recorded, records_a["task"].iloc[0])
    by_seed = scores[:, :num_seeds] - scores[:, num_seeds:]
    resamples = by_seed[1:].mean(axis=1) + _seed_shifts(by_seed[0], num_resamples, rng)
    return _difference(by_seed[0].mean(), resamples)


def _rows(records: pd.DataFrame) -> list[dict]:
    return records.to_dict("records")


def _seed_shifts(by_seed: np.ndarray, num_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return how far the mean over (num_seeds,) moves when seeds are drawn anew, (num_resamples,)."""
    num_seeds = len(by_seed)
    if num_seeds == 1:
        return np.zeros(num_resamples)
    drawn = _draw(rng, num_resamples, num_seeds) @ by_seed / num_seeds
    return math.sqrt(num_seeds / (num_seeds - 1)) * (drawn - by_seed.mean())


def _draw(rng: np.random.Generator, num_resamples: int, size: int) -> np.ndarray:
    """Return how often each of `size` items is drawn, (num_resamples, size)."""
    drawn = rng.integers(size, size=(num_resamples, size)) + size * np.arange(num_resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=num_resamples * size).reshape(num_resamples, size).astype(np.float32)


def _weighted_scores(weights, predictions, true_labels, num_labels: int, metric: str) -> np.ndarray:
    """Score every classifier under every weighting of the test examples: (num_weightings, num_classifiers).

    Counts of hits, predictions and truths by label are products of the weights with indicators.
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


def _difference(estimate: float, resamples: np.ndarray) -> Difference:
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(resamples, [tail, 1 - tail])
    return Difference(float(estimate), float(low), float(high), resamples)


def _check_pairing(records_a: pd.DataFrame, records_b: pd.DataFrame) -> None:
    for records in (records_a, records_b):
        if not len(records) or records[["task", "arm"]].nunique().max() > 1 or records["seed"].duplicated().any():
            raise StudyError(
                f"{len(records)} records of {records['arm'].unique().tolist()} on {records['task'].unique().tolist()}",
                "one task, one arm, one record a seed",
                "select the records first",
            )
    seeds_a, seeds_b = records_a["seed"].tolist(), records_b["seed"].tolist()
    if seeds_a != seeds_b or records_a["task"].iloc[0] != records_b["task"].iloc[0]:
        raise StudyError(
            f"seeds {seeds_a} of {records_a['arm'].iloc[0]} against {seeds_b} of {records_b['arm'].iloc[0]}",
            "the same seeds of both arms, on the same task",
            "run the missing cells: what is finished is kept",
        )


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


def mean_difference(differences: Mapping[str, Difference]) -> Difference:
    """Average differences over tasks, resample by resample: seeds and examples are drawn within each task.

    The interval speaks of these tasks, not of tasks in general.
    """
    resamples = np.mean([difference.resamples for difference in differences.values()], axis=0)
    return _difference(float(np.mean([difference.estimate for difference in differences.values()])), resamples)


def arm_differences(
    records: pd.DataFrame,
    arm_a: str,
    arm_b: str,
    tasks: Sequence[str],
    seeds: Sequence[int],
    true_labels: Mapping[str, np.ndarray],
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, Difference]:
    """Compare two arms on every task; see `difference_interval`. Tasks draw independently of one another."""
    of_a, of_b = (_of_arm(records, arm, tasks, seeds) for arm in (arm_a, arm_b))
    return {
        task: difference_interval(
            of_a[of_a["task"] == task],
            of_b[of_b["task"] == task],
            true_labels[task],
            num_resamples=num_resamples,
            seed=_seed_of(seed, task),
        )
        for task in tasks
    }


def _seed_of(seed: int, task: str) -> int:
    # By name, so that a task's interval stays the same when others come or go.
    return zlib.crc32(task.encode(), seed)


def difference_table(differences: Mapping[str, Difference]) -> pd.DataFrame:
    """Tabulate differences by task with a last row `mean`, x 100.

    Returns:
        Index task; columns difference, difference_low, difference_high.
    """
    rows = {**differences, "mean": mean_difference(differences)}
    columns = ["difference", "difference_low", "difference_high"]
    values = [[100 * value for value in (row.estimate, row.low, row.high)] for row in rows.values()]
    return pd.DataFrame(values, index=pd.Index(list(rows), name="task"), columns=columns)


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
    observed = float(spearman(x, np.array([gains[task].estimate for task in tasks])))
    resampled = np.stack([gains[task].resamples for task in tasks], axis=1)  # (num_resamples, num_tasks)
    correlations = spearman(np.broadcast_to(x, resampled.shape), resampled)
    low, high = (math.nan, math.nan) if np.isnan(observed) else np.nanquantile(correlations, [0.025, 0.975])
    p_value = _permutation_p_value(x, np.array([gains[task].estimate for task in tasks]), observed)
    return {"spearman": observed, "low": float(low), "high": float(high), "p_value": p_value, "num_tasks": len(tasks)}


def _permutation_p_value(x: np.ndarray, y: np.ndarray, observed: float) -> float:
    if len(x) > _LARGEST_ENUMERATION or np.isnan(observed):
        return math.nan
    orders = np.array(list(itertools.permutations(range(len(x)))))
    shuffled = spearman(np.broadcast_to(x, orders.shape), y[orders])
    return float((np.abs(shuffled) >= abs(observed) - 1e-12).mean())


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
