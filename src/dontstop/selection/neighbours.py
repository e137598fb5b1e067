"""Exact nearest neighbours by cosine, block by block: never more of the vectors in memory than one block."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BLOCK_BYTES = 256 * 2**20  # of vectors searched at a time
QUERIES = 1024  # searched at a time
ROWS_IN_FLOAT64 = 50_000  # vectors scored in float64 at a time
EXTRA = 16  # neighbours fetched beyond k, so that near-ties at the border can be distinguished
# Float32 scores of unit vectors are off by less than this; what lies closer together is scored again in float64.
UNCERTAINTY = 2.0e-6
NONE = -1  # among indices: no further neighbour


@dataclass(frozen=True)
class VectorFile:
    """Unit vectors on disk, read a block or some rows at a time.

    Attributes:
        path: A file of num * num_dimensions float32, row after row, without a header.
        num: How many vectors.
        num_dimensions: Of each.
        allowed: (num,) bool, which may be neighbours, or None: all. The others are read as zeros, like no query.
    """

    path: Path
    num: int
    num_dimensions: int
    allowed: np.ndarray | None = None

    def __len__(self) -> int:
        return self.num

    def block(self, start: int, stop: int) -> np.ndarray:
        """Read the vectors from `start` to before `stop`; read, not mapped, so that memory is given back."""
        width = self.num_dimensions
        values = np.fromfile(self.path, np.float32, (stop - start) * width, offset=4 * start * width)
        return self._without_others(values.reshape(-1, width), slice(start, stop))

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Read some vectors, in the order given; read, not mapped, since the pages of a map count as memory too."""
        width = 4 * self.num_dimensions
        with open(self.path, "rb", buffering=0) as handle:
            read = bytearray().join(os.pread(handle.fileno(), width, int(index) * width) for index in indices)
        return self._without_others(np.frombuffer(read, np.float32).reshape(-1, self.num_dimensions), indices)

    def _without_others(self, values: np.ndarray, indices: slice | np.ndarray) -> np.ndarray:
        if self.allowed is not None:
            values[~self.allowed[indices]] = 0
        return values


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to length one, (num, num_dimensions) float32; a vector of zeros stays, and is like no other."""
    vectors = np.asarray(vectors, np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, None]
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def search(queries: np.ndarray, vectors: VectorFile, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each query's k nearest vectors by cosine, nearest first, ties by index.

    Exact: float32 finds the neighbours, and whatever float32 cannot tell apart is scored again in float64. Only
    vectors of a positive cosine are neighbours: a query that is like fewer than k of them has fewer.

    Args:
        queries: (num_queries, num_dimensions) unit vectors.
        vectors: Unit vectors.
        k: At most as many as there are vectors.

    Returns:
        (num_queries, k) int64 indices and float32 cosines; where a query has no more neighbours, NONE and 0.

    Source: section 5.2 of the paper (a flat FAISS index, cosine).
    Departure: the authors' script adds all vectors to one index in memory and leaves ties to chance; here blocks pass
    through memory one at a time, and equal cosines are ordered by index.
    """
    k = min(k, len(vectors))
    wanted = min(k + EXTRA, len(vectors))
    indices, scores = _search_blocks(np.ascontiguousarray(queries, np.float32), vectors, wanted)
    for start in range(0, len(queries), QUERIES):
        part = slice(start, start + QUERIES)
        _settle_ties(queries[part], vectors, indices[part], scores[part])
    if wanted > k:
        full = scores[:, k - 1] >= UNCERTAINTY
        for query in np.flatnonzero(full & (scores[:, k - 1] - scores[:, -1] < UNCERTAINTY)):  # more ties than fetched
            indices[query, :k], scores[query, :k] = _search_in_full(queries[query], vectors, k)
    return matches(indices[:, :k], scores[:, :k], UNCERTAINTY)


def matches(indices: np.ndarray, scores: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Put NONE and 0 in the place of candidates that score less than `least`, too little to be like the query."""
    alike = scores >= least
    return np.where(alike, indices, NONE), np.where(alike, scores, 0)


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the indices of the k largest of (num,) scores, the largest first, ties by index."""
    indices = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
    return indices[np.argsort(-scores[indices], kind="stable")[:k]]


def _blocks(vectors: VectorFile, num_dimensions: int) -> Iterator[tuple[int, np.ndarray]]:
    size = max(1, BLOCK_BYTES // (4 * num_dimensions))
    for start in range(0, len(vectors), size):
        yield start, vectors.block(start, min(start + size, len(vectors)))


def _search_blocks(queries: np.ndarray, vectors: VectorFile, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Search block by block with faiss, and keep the best of all blocks: (num_queries, wanted), best first."""
    import faiss  # here, since it brings an OpenMP of its own, which only a selection should pay for

    scores = np.full((len(queries), wanted), -np.inf, np.float32)
    indices = np.full((len(queries), wanted), -1, np.int64)
    for first, block in _blocks(vectors, queries.shape[1]):
        found, found_at = faiss.knn(queries, block, min(wanted, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        if first == 0 and len(block) >= wanted:
            scores, indices = found, found_at
            continue
        for start in range(0, len(queries), QUERIES):
            part = slice(start, start + QUERIES)
            both = np.concatenate([scores[part], found[part]], axis=1)
            ids = np.concatenate([indices[part], found_at[part] + first], axis=1)
            order = np.argsort(-both, axis=1, kind="stable")[:, :wanted]
            scores[part], indices[part] = np.take_along_axis(both, order, 1), np.take_along_axis(ids, order, 1)
    return indices, scores


def _settle_ties(queries: np.ndarray, vectors: VectorFile, indices: np.ndarray, scores: np.ndarray) -> None:
    """Score again in float64 what float32 cannot tell apart, and order by score, then by index; in place."""
    exact = scores.astype(np.float64)
    close = np.diff(-exact, axis=1) < UNCERTAINTY
    doubtful = np.zeros(scores.shape, bool)
    doubtful[:, 1:] |= close
    doubtful[:, :-1] |= close
    rows, columns = np.nonzero(doubtful)
    if not len(rows):
        return
    chosen, inverse = np.unique(indices[rows, columns], return_inverse=True)
    values = vectors.rows(chosen)
    for start in range(0, len(rows), 100_000):
        part = slice(start, start + 100_000)
        pairs = queries[rows[part]].astype(np.float64), values[inverse[part]].astype(np.float64)
        exact[rows[part], columns[part]] = np.einsum("ij,ij->i", *pairs).round(12)
    touched = np.unique(rows)
    order = np.lexsort((indices[touched], -exact[touched]), axis=1)
    indices[touched] = np.take_along_axis(indices[touched], order, 1)
    scores[touched] = np.take_along_axis(exact[touched], order, 1)


def _search_in_full(query: np.ndarray, vectors: VectorFile, k: int) -> tuple[np.ndarray, np.ndarray]:
    query = query.astype(np.float64)
    parts = [
        block[start : start + ROWS_IN_FLOAT64].astype(np.float64) @ query
        for _, block in _blocks(vectors, len(query))
        for start in range(0, len(block), ROWS_IN_FLOAT64)
    ]
    scores = np.concatenate(parts).round(12)
    order = best(scores, k)
    return order, scores[order]
