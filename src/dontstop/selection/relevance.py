"""Selectors without vectors: BM25, and importance resampling by hashed n-grams."""

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import scipy.sparse
from sklearn.feature_extraction.text import CountVectorizer

from dontstop.machine.randomness import generator
from dontstop.text import leakage

SATURATION, LENGTH_WEIGHT = 1.2, 0.75  # BM25's k1 and b, as is usual
NUM_BUCKETS = 10_000  # of hashed n-grams, as in the paper on DSIR
QUERIES = 64  # scored at a time


def bm25(queries: Sequence[str], chunks: Iterable[Sequence[str]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each query's k best texts by BM25, best first, ties by index: (num_queries, k) indices and scores.

    Args:
        queries: Task texts, each a bag of words.
        chunks: The candidates, some at a time; gone through once, as bags of the queries' words.

    Source: Robertson and Zaragoza (2009); Yao et al. (2022) select pretraining text by it.
    """
    words = CountVectorizer(analyzer=leakage.words_of, binary=True, dtype=np.float32)
    asked = words.fit_transform(queries)
    counter = CountVectorizer(analyzer=leakage.words_of, vocabulary=words.vocabulary_, dtype=np.float32)
    counts, lengths = [], []
    for texts in chunks:
        counts.append(counter.transform(texts))
        lengths.append(np.array([len(leakage.words_of(text)) for text in texts], np.float32))
    table, length = scipy.sparse.vstack(counts).tocsc(), np.concatenate(lengths)
    num_texts = table.shape[0]
    having = np.diff(table.indptr)
    rarity = np.log1p((num_texts - having + 0.5) / (having + 0.5)).astype(np.float32)
    damping = SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * length / length.mean())
    table.data *= (SATURATION + 1) / (table.data + damping[table.indices])
    weighted = (table @ scipy.sparse.diags(rarity)).T.tocsr()
    k = min(k, num_texts)
    indices, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries), QUERIES):
        some = (asked[start : start + QUERIES] @ weighted).toarray()
        order = np.argsort(-some, axis=1, kind="stable")[:, :k]
        indices[start : start + QUERIES], scores[start : start + QUERIES] = order, np.take_along_axis(some, order, 1)
    return indices, scores


def importance_weights(targets: Sequence[str], chunks: Iterable[Sequence[str]]) -> np.ndarray:
    """Return how much likelier each candidate is as task text than as domain text: (num,) log weights.

    Both are bags of hashed one- and two-word n-grams; their distributions are counted on the task's texts and on the
    candidates.

    Source: Xie et al. (2023), data selection with importance resampling (DSIR).
    """
    bags = [_hashed(texts) for texts in chunks]
    of_domain = np.sum([np.asarray(bag.sum(0)).ravel() for bag in bags], axis=0)
    of_task = np.asarray(_hashed(targets).sum(0)).ravel()
    ratio = np.log((of_task + 1) / (of_task.sum() + NUM_BUCKETS)) - np.log(
        (of_domain + 1) / (of_domain.sum() + NUM_BUCKETS)
    )
    return np.concatenate([bag @ ratio for bag in bags])


def resampling_order(log_weights: np.ndarray, *, seed: int) -> np.ndarray:
    """Order candidates so that the first n are n drawn without replacement, in proportion to their weights.

    By adding Gumbel noise to the log weights, as the paper on DSIR does.
    """
    noise = generator("importance resampling", seed).gumbel(size=len(log_weights))
    return np.argsort(-(log_weights + noise), kind="stable")


def _hashed(texts: Sequence[str]) -> scipy.sparse.csr_matrix:
    rows, buckets = [], []
    for row, text in enumerate(texts):
        words = leakage.words_of(text)
        grams = words + [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)]
        rows += [row] * len(grams)
        buckets += [zlib.crc32(gram.encode()) % NUM_BUCKETS for gram in grams]
    ones = np.ones(len(rows))
    return scipy.sparse.csr_matrix((ones, (rows, buckets)), (len(texts), NUM_BUCKETS))
