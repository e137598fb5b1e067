"""Beside the encoders: naive Bayes on the words of the labelled texts, and scores without test texts seen before."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from dontstop.runs.records import decode_predictions
from dontstop.training import finetune
from dontstop.verdicts.resampling import Truth, weighted_scores
from dontstop.verdicts.scores import names_in, runs_of_arm

NAIVE_BAYES = "naive_bayes"
Texts = Sequence[str]
Marks = Mapping[str, np.ndarray]  # by task, (num_test,) whether a test text stands in train or dev too
SMOOTHINGS = (1.0, 0.3, 0.1, 0.03, 0.01)  # added to every count


def naive_bayes(
    train: Texts, labels: Sequence[int], dev: Texts, tested: Texts, dev_score: Callable[[np.ndarray], float]
) -> np.ndarray:
    """Return the labels that naive Bayes gives to the tested texts, (num_tested,).

    Multinomial, on counts of words and pairs of words. Its smoothing is chosen on dev, as an encoder's epoch is. An
    encoder that scores below it has learnt less from the labels than counting does.

    Labels are (num_train,) ids; `dev_score` scores those given to the dev texts, the higher the better.
    """
    counter = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")
    counts = counter.fit_transform(train)
    models = [MultinomialNB(alpha=smoothing).fit(counts, np.asarray(labels)) for smoothing in SMOOTHINGS]
    of_dev, of_tested = counter.transform(dev), counter.transform(tested)
    best = max(models, key=lambda model: dev_score(model.predict(of_dev)))  # of equals, the most smoothed
    return np.asarray(best.predict(of_tested))


def naive_bayes_scores(
    examples: Mapping[str, Mapping], labels: Mapping[str, Texts], metrics: Mapping[str, str], overlap: Marks
) -> pd.DataFrame:
    """Score naive Bayes on every task, without any encoder: what an arm's scores are held against.

    Examples are by task and split, rows with text and label; labels, by task, are in the order of their ids.

    Returns:
        Index task; columns score (the task's metric on test, x 100), score_without (on the test texts that do not
        stand in train or dev too), num_test, num_affected (those that do).
    """
    rows = {}
    for task, splits in examples.items():
        texts = {split: [row["text"] for row in found] for split, found in splits.items()}
        truth = {split: np.array([labels[task].index(row["label"]) for row in splits[split]]) for split in splits}
        dev_score = partial(finetune.score, truth["dev"], metric=metrics[task], num_labels=len(labels[task]))
        predicted = naive_bayes(texts["train"], truth["train"], texts["dev"], texts["test"], dev_score)
        how = len(labels[task]), metrics[task]
        rows[task] = _with_and_without(predicted[None], overlap[task], truth["test"], *how)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def train_test_overlap(runs: pd.DataFrame, truth: Truth, counted: pd.DataFrame, overlap: Marks) -> pd.DataFrame:
    """Score arms, and naive Bayes as counted, with and without the test texts that stand in train or dev too.

    Returns:
        Columns task, arm (`naive_bayes` too), num_test, num_affected, score, score_without, change; means over seeds,
        x 100. No row for a task without such texts.
    """
    rows, (arms, tasks, seeds) = [], names_in(runs)
    for task in (task for task in tasks if overlap[task].any()):
        scored = {NAIVE_BAYES: counted.loc[task]}
        for arm in arms:
            of_arm = runs_of_arm(runs, arm, [task], seeds)
            predicted = np.stack([decode_predictions(text) for text in of_arm["test_predictions"]])
            how = len(of_arm.iloc[0]["labels"]), of_arm.iloc[0]["metric"]
            scored[arm] = _with_and_without(predicted, overlap[task], truth[task], *how)
        rows += [{"task": task, "arm": arm, **both} for arm, both in scored.items()]
    table = pd.DataFrame(rows, columns=["task", "arm", "num_test", "num_affected", "score", "score_without"])
    return table.astype({"num_test": int, "num_affected": int}).assign(change=table["score_without"] - table["score"])


def _with_and_without(
    predicted: np.ndarray, affected: np.ndarray, truth: np.ndarray, num_labels: int, metric: str
) -> dict[str, float]:
    """Score (num_seeds, num_test) predictions on all test texts, and on those not affected; means over seeds, x 100."""
    weights = np.stack([np.ones(len(affected)), ~affected]).astype(np.float32)
    both = weighted_scores(weights, predicted, truth, num_labels, metric).mean(1)
    sizes = {"num_test": len(affected), "num_affected": int(affected.sum())}
    return {"score": 100 * both[0], "score_without": 100 * both[1]} | sizes
