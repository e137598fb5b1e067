"""Fabricated records of known truth."""

import base64
import zlib

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

LABELS = ["a", "b", "c"]


def make_record(task, arm, seed, truth, predictions, metric="macro_f1", *, replicate=0, **more):
    """Make one run's record; the score follows from the predictions."""
    average = metric.removesuffix("_f1")
    value = f1_score(truth, predictions, labels=range(len(LABELS)), average=average, zero_division=0.0)
    packed = base64.b64encode(zlib.compress(np.asarray(predictions, np.uint8).tobytes())).decode()
    degenerate = len(set(np.asarray(predictions).tolist())) == 1
    fixed = {"task": task, "arm": arm, "seed": seed, "metric": metric, "labels": LABELS, "degenerate": degenerate}
    fixed["replicate"] = replicate
    return {**fixed, "test_score": value, "test_predictions": packed, **more}


def make_records(
    accuracies, truth, *, seed, task="task", seeds=range(5), replicates=range(1), spread=0.0, metric="macro_f1", **more
):
    """Predict rightly with the arm's accuracy, give or take a spread between replicates, otherwise at random."""
    rng = np.random.default_rng(seed)
    rows = []
    for arm, accuracy in accuracies.items():
        for replicate in replicates:
            share = accuracy + spread * rng.standard_normal()
            for s in seeds:
                right = rng.random(len(truth)) < share
                predictions = np.where(right, truth, (truth + rng.integers(1, 3, len(truth))) % 3)
                rows.append(make_record(task, arm, s, truth, predictions, metric, replicate=replicate, **more))
    return pd.DataFrame(rows)
