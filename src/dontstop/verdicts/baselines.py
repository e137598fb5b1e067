"""Beside the encoders: naive Bayes on the words of the labelled texts, and scores without test texts seen before."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from dontstop.runs.records import decode_predictions
from dontstop.training import finetune
from dontstop.verdicts.resampling import weighted_scores
from dontstop.verdicts.scores import names_in, runs_of_arm

NAIVE_BAYES = "naive_bayes"
SMOOTHINGS = (1.0, 0.3, 0.1, 0.03, 0.01)  # added to every count


def naive_bayes(
    train: Sequence[str],
    labels: Sequence[int],
    dev: Sequence[str],
    tested: Sequence[str],
    dev_score: Callable[[np.ndarray], float],
) -> np.ndarray:
    """Return the labels that naive Bayes gives to the tested texts, (num_tested,).

    Multinomial, on counts of words and pairs of words. Its smoothing is chosen on dev, as an encoder's epoch is. An
    encoder that scores below it has learnt less from the labels than counting does.

    Args:
        train: Texts, of which `labels` has the label ids.
        dev_score: Of the labels given to the dev texts; the higher the better.
    """
    counter = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")
    counts = counter.fit_transform(train)
    models = [MultinomialNB(alpha=smoothing).fit(counts, np.asarray(labels)) for smoothing in SMOOTHINGS]
    of_dev, of_tested = counter.transform(dev), counter.transform(tested)
    best = max(models, key=lambda model: dev_score(model.predict(of_dev)))  # of equals, the most smoothed
    return np.asarray(best.predict(of_tested))


def naive_bayes_scores(
    examples: Mapping[str, Mapping[str, Sequence[Mapping]]],
    labels: Mapping[str, Sequence[str]],
    metrics: Mapping[str, str],
    overlap: Mapping[str, np.ndarray],
) -> pd.DataFrame:
    """Score naive Bayes on every task, without any encoder: what an arm's scores are held against.

    Args:
        examples: By task and split, rows with text and label.
        labels: By task, the labels in the order of their ids.
        metrics: By task, `macro_f1` or `micro_f1`.
        overlap: By task, (num_test,) whether a test text stands in train or dev too.

    Returns:
        Index task; columns score (the task's metric on test, x 100), score_without (on the test texts that do not
        stand in train or dev too), num_test, num_affected (those that do).
    """
    rows = {}
    for task, splits in examples.items():
        how, affected = (len(labels[task]), metrics[task]), overlap[task]
        texts = {split: [row["text"] for row in found] for split, found in splits.items()}
        truth = {split: np.array([labels[task].index(row["label"]) for row in splits[split]]) for split in splits}

        def dev_score(given, dev=truth["dev"], how=how):
            return finetune.score(dev, given, how[1], how[0])

        predicted = naive_bayes(texts["train"], truth["train"], texts["dev"], texts["test"], dev_score)
        rows[task] = _with_and_without(predicted[None], affected, truth["test"], *how) | _sizes(affected)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def train_test_overlap(
    runs: pd.DataFrame, truth: Mapping[str, np.ndarray], counted: pd.DataFrame, overlap: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Score arms with and without the test texts that stand in train or dev too, as some were published.

    Args:
        counted: As `naive_bayes_scores` returns it.
        overlap: As it takes it.

    Returns:
        Columns task, arm (`naive_bayes` too), num_test, num_affected, score, score_without, change; means over seeds,
        x 100. No row for a task without such texts.
    """
    rows, (arms, tasks, seeds) = [], names_in(runs)
    for task in (task for task in tasks if overlap[task].any()):
        scored = {NAIVE_BAYES: counted.loc[task, ["score", "score_without"]].to_dict()}
        for arm in arms:
            of_arm = runs_of_arm(runs, arm, [task], seeds)
            predicted = np.stack([decode_predictions(text) for text in of_arm["test_predictions"]])
            how = len(of_arm.iloc[0]["labels"]), of_arm.iloc[0]["metric"]
            scored[arm] = _with_and_without(predicted, overlap[task], truth[task], *how)
        rows += [{"task": task, "arm": arm} | _sizes(overlap[task]) | both for arm, both in scored.items()]
    table = pd.DataFrame(rows, columns=["task", "arm", "num_test", "num_affected", "score", "score_without"])
    return table.assign(change=table["score_without"] - table["score"])


def _sizes(affected: np.ndarray) -> dict[str, int]:
    return {"num_test": len(affected), "num_affected": int(affected.sum())}


def _with_and_without(
    predicted: np.ndarray, affected: np.ndarray, truth: np.ndarray, num_labels: int, metric: str
) -> dict[str, float]:
    """Score (num_seeds, num_test) predictions on all test texts, and on those not affected; means over seeds, x 100."""
    weights = np.stack([np.ones(len(affected)), ~affected]).astype(np.float32)
    both = weighted_scores(weights, predicted, truth, num_labels, metric).mean(1)
    return {"score": 100 * both[0], "score_without": 100 * both[1]}
