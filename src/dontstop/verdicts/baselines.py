"""Beside fine-tuning: naive Bayes on words, a linear probe on frozen states; scores without test texts seen before."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import regex
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from dontstop.runs.records import decode_predictions
from dontstop.text.words import fold
from dontstop.training import finetune
from dontstop.verdicts.resampling import Truth, weighted_scores
from dontstop.verdicts.scores import NAIVE_BAYES, checked, runs_of_arm

_WORD = regex.compile(r"\w+")  # in folded text
Texts = Sequence[str]
Marks = Mapping[str, np.ndarray]  # by task, (num_test,) whether a test text stands in train or dev too
Examples = Mapping[str, Mapping[str, Sequence[Mapping]]]  # by task and split, rows with text and label
Subsets = Mapping[str, Sequence[np.ndarray]]  # by task, of each replicate the places of its labelled training texts
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)  # the inverse of the penalty on a linear probe's weights
SMOOTHINGS = (1.0, 0.3, 0.1, 0.03, 0.01)  # added to every count


def naive_bayes(
    train: Texts, labels: Sequence[int], dev: Texts, tested: Texts, dev_score: Callable[[np.ndarray], float]
) -> np.ndarray:
    """Return the labels that naive Bayes gives to the tested texts, (num_tested,).

    Multinomial, on counts of words and pairs of words. Its smoothing is chosen on dev by `dev_score`, the higher the
    better, as an encoder's epoch is. An encoder that scores below it has learnt less from the labels than counting
    does. Where no training text has a word, it gives all the commonest label.
    """
    if not any(map(_WORD.search, map(fold, train))):
        return np.full(len(tested), np.bincount(labels).argmax())
    counter = CountVectorizer(ngram_range=(1, 2), preprocessor=fold, tokenizer=_WORD.findall, token_pattern=None)
    counts = counter.fit_transform(train)
    models = [MultinomialNB(alpha=smoothing).fit(counts, np.asarray(labels)) for smoothing in SMOOTHINGS]
    of_dev, of_tested = counter.transform(dev), counter.transform(tested)
    best = max(models, key=lambda model: dev_score(model.predict(of_dev)))  # of equals, the most smoothed
    return np.asarray(best.predict(of_tested))


def linear_probe_score(
    states: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], metric: str, subset: np.ndarray
) -> float:
    """Score logistic regression on an encoder's frozen states: the task's metric on test, x 100.

    States are standardised by train, and the strength of the penalty is chosen on dev. What fine-tuning scores above
    this, it has got from moving the encoder.

    By split, states are (num_examples, hidden_size) and truth (num_examples,) label ids; the subset carries labels.
    """
    how = {"metric": metric, "num_labels": int(truth["train"].max()) + 1}
    train, labels = states["train"][subset], truth["train"][subset]
    with threadpool_limits(1):  # problems this small take several times as long on two threads
        fitted = [
            make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000)).fit(train, labels)
            for strength in STRENGTHS
        ]
    dev_score = partial(finetune.score, truth["dev"], **how)
    best = max(fitted, key=lambda model: dev_score(model.predict(states["dev"])))  # of equals, the most penalised
    return 100 * finetune.score(truth["test"], best.predict(states["test"]), **how)


def naive_bayes_scores(
    examples: Examples, labels: Mapping[str, Texts], metrics: Mapping[str, str], overlap: Marks, subsets: Subsets
) -> pd.DataFrame:
    """Score naive Bayes on every task, without any encoder: what an arm's scores are held against.

    Labels, by task, are in the order of their ids; subsets, by task, are the labelled training texts of each replicate.

    Returns:
        Index task; columns score (the task's metric on test, x 100, mean over replicates), score_without (on the test
        texts that do not stand in train or dev too), num_test, num_affected (those that do).
    """
    rows = {}
    for task in examples:
        predicted, truth = _predictions(examples[task], labels[task], metrics[task], subsets[task])
        rows[task] = _with_and_without(predicted, overlap[task], truth, len(labels[task]), metrics[task])
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def naive_bayes_curve(
    examples: Examples,
    labels: Mapping[str, Texts],
    metrics: Mapping[str, str],
    labelled: Callable[[str, int, int], np.ndarray],
    replicates: Sequence[int],
    numbers: Sequence[int],
) -> pd.DataFrame:
    """Score naive Bayes at each number of labelled texts, in every replicate: what `gains.label_gains` has beside arms.

    `labelled` returns the places of so many training texts of a task in a replicate; else as `naive_bayes_scores`.

    Returns:
        Columns task, arm (`naive_bayes`), replicate, seed (0), num_train, test_score (0 to 1).
    """
    rows = []
    for task, number in itertools.product(examples, numbers):
        subsets = [labelled(task, replicate, number) for replicate in replicates]
        predicted, truth = _predictions(examples[task], labels[task], metrics[task], subsets)
        found = zip(replicates, predicted, strict=True)
        how = {"metric": metrics[task], "num_labels": len(labels[task])}
        rows += [[task, NAIVE_BAYES, r, 0, number, finetune.score(truth, some, **how)] for r, some in found]
    return pd.DataFrame(rows, columns=["task", "arm", "replicate", "seed", "num_train", "test_score"])


def _predictions(splits: Mapping[str, Sequence[Mapping]], labels: Texts, metric: str, subsets: Iterable[np.ndarray]):
    """Train on each subset of a task's training texts: (num_subsets, num_test) predictions, (num_test,) truth."""
    texts = {split: [row["text"] for row in found] for split, found in splits.items()}
    truth = {split: np.array([labels.index(row["label"]) for row in found]) for split, found in splits.items()}
    dev_score = partial(finetune.score, truth["dev"], metric=metric, num_labels=len(labels))
    found = [
        naive_bayes([texts["train"][k] for k in some], truth["train"][some], texts["dev"], texts["test"], dev_score)
        for some in subsets
    ]
    return np.stack(found), truth["test"]


def train_test_overlap(runs: pd.DataFrame, truth: Truth, counted: pd.DataFrame, overlap: Marks) -> pd.DataFrame:
    """Score arms, and naive Bayes as counted, with and without the test texts that stand in train or dev too.

    Columns task (if it has such texts), arm (`naive_bayes` too), num_test, num_affected, score, score_without, change;
    means over replicates and seeds, x 100.
    """
    rows, arms = [], checked(runs)["arm"].unique()
    for task in (task for task in runs["task"].unique() if overlap[task].any()):
        scored = {NAIVE_BAYES: counted.loc[task]}
        for arm in arms:
            of_arm = runs_of_arm(runs, arm, task)
            predicted = np.stack([decode_predictions(text) for text in of_arm["test_predictions"]])
            how = len(of_arm.iloc[0]["labels"]), of_arm.iloc[0]["metric"]
            scored[arm] = _with_and_without(predicted, overlap[task], truth[task], *how)
        rows += [{"task": task, "arm": arm, **both} for arm, both in scored.items()]
    table = pd.DataFrame(rows, columns=["task", "arm", "num_test", "num_affected", "score", "score_without"])
    return table.astype({"num_test": int, "num_affected": int}).assign(change=table["score_without"] - table["score"])


def _with_and_without(
    predicted: np.ndarray, affected: np.ndarray, truth: np.ndarray, num_labels: int, metric: str
) -> dict[str, float]:
    """Score (num_runs, num_test) predictions on all test texts, and on those not affected; means over runs, x 100."""
    weights = np.stack([np.ones(len(affected)), ~affected]).astype(np.float32)
    both = weighted_scores(weights, predicted, truth, num_labels, metric).mean(1)
    sizes = {"num_test": len(affected), "num_affected": int(affected.sum())}
    return {"score": 100 * both[0], "score_without": 100 * both[1]} | sizes
