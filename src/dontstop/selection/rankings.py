"""Rankings of a domain's text for a task, and the sets selected by them: neighbours, and size-matched controls.

Source: section 5 of the paper.
"""

import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dontstop.machine import files
from dontstop.machine.randomness import generator
from dontstop.profiles import Selection
from dontstop.selection import neighbours, selectors
from dontstop.selection.candidates import Candidates, other_than

SELECTION_VERSION = 3  # raised when the same settings and texts come to other text selected, or to other files
NUM_SHOWN = 2  # queries whose neighbours are kept to be read
NUM_SHOWN_NEIGHBOURS = 3
RANKING_FILE = "ranking.json"  # written last, so a folder that holds it is whole
SAMPLE = 1_000_000  # candidates that an embedder is fitted on at most


# Ranking candidates ----------------------------------------------------------------------------------------------


def rank(
    selector: str,
    settings: Selection,
    candidates: Candidates,
    texts: Sequence[str],
    folder: Path,
    *,
    base: Path,
    max_length: int,
) -> None:
    """Rank candidates for a task by one retrieval method, and write the ranking under `folder`.

    Args:
        selector: The retrieval method.
        texts: The queries: the task's training texts, never dev or test. What says the same is no candidate.
        folder: Gets indices.npy: (num_texts, k) candidates, nearest first, for each query; or (1, num) for importance
            resampling, which ranks for the task as a whole; scores.npy of the same shape; and what readers are shown.
        base: The base encoder's folder.
        max_length: Tokens of a text that the base encoder reads.
    """
    begin = time.perf_counter()
    allowed = other_than(candidates, texts)
    about: dict = {"selector": selector, "num_candidates": int(allowed.sum())}
    k = min(max(settings.num_neighbours), about["num_candidates"])
    if selector == "dsir":
        weights = selectors.importance_weights(texts, candidates.chunks(allowed))
        order = selectors.resampling_order(weights, seed=settings.seed)
        indices, scores = order[None], weights[order][None].astype(np.float32)
    elif selector == "bm25":
        indices, scores = selectors.bm25(texts, candidates.chunks(allowed), k)
    else:
        embedder = selectors.make_embedder(selector, settings, base, max_length)
        sample = sample_to_fit(candidates, allowed, min(SAMPLE, settings.vampire.max_texts), seed=settings.seed)
        indices, scores = _nearest(embedder.fit([*sample, *texts]), candidates.chunks(allowed), texts, k, folder)
        if selector == "vampire":
            about |= {"coherences": embedder.coherences, "topics": [vars(topic) for topic in embedder.topics(texts)]}
    indices = np.flatnonzero(allowed)[indices]
    about["shown"] = _shown(selector, candidates, texts, indices, scores)
    files.write_array(folder / "indices.npy", indices)
    files.write_array(folder / "scores.npy", scores)
    files.write_json(folder / RANKING_FILE, about | {"wall_seconds": time.perf_counter() - begin})


def _nearest(
    embedder: selectors.Embedder, chunks: Iterable[Sequence[str]], texts: Sequence[str], k: int, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Return each query's k nearest candidates and their cosines; the vectors pass through a file under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".vectors.", suffix=".part") as scratch:
        vectors = write_vectors(embedder, chunks, Path(scratch) / "vectors")
        return neighbours.search(neighbours.unit(embedder.embed(texts)), vectors, k)


def sample_to_fit(candidates: Candidates, allowed: np.ndarray, largest: int, *, seed: int) -> list[str]:
    """Return the texts that an embedder is fitted on: all that are allowed, or `largest` of them, in their order."""
    indices = np.flatnonzero(allowed)
    if len(indices) > largest:
        indices = generator("texts to fit", seed).choice(indices, largest, replace=False)
    chosen = np.zeros(len(allowed), bool)
    chosen[indices] = True
    return [text for some in candidates.chunks(chosen) for text in some]


def write_vectors(embedder: selectors.Embedder, chunks: Iterable[Sequence[str]], path: Path) -> neighbours.VectorFile:
    """Embed texts, some at a time, into a file of unit vectors."""
    number, width = 0, 1
    with open(path, "wb") as handle:
        for some in chunks:
            vectors = neighbours.unit(embedder.embed(some))
            vectors.tofile(handle)
            number, width = number + len(vectors), vectors.shape[1]
    return neighbours.VectorFile(path, number, width)


def _shown(selector: str, candidates: Candidates, texts: Sequence[str], indices, scores) -> list[dict]:
    """Keep the nearest neighbours of a few queries, evenly spread, to be read."""
    if len(indices) != len(texts):
        return []
    rows = []
    for query in (len(texts) * k // NUM_SHOWN for k in range(min(NUM_SHOWN, len(texts)))):
        nearest = candidates.rows(indices[query, :NUM_SHOWN_NEIGHBOURS])
        for number, (row, score) in enumerate(zip(nearest, scores[query], strict=False), 1):
            shared = {"text": texts[query], "selector": selector, "rank": number}
            rows.append(shared | {"score": float(score), "neighbour": row["text"]})
    return rows


# Sets of selected text -------------------------------------------------------------------------------------------


def union(indices: np.ndarray, k: int) -> np.ndarray:
    """Return the candidates among the k nearest of any query, each once, ascending.

    Source: section 5.2; queries share neighbours, so there are fewer than k times the number of queries.
    """
    return np.unique(indices[:, :k])


def matched_random(chosen: np.ndarray, lengths: np.ndarray, allowed: np.ndarray, *, seed: int, draw: int) -> np.ndarray:
    """Draw the size-matched random control of `chosen`: as many candidates of each length, ascending.

    Departure: the paper's RAND-TAPT has 50 random texts for each of the task's, whatever their length, and stands
    beside 50, 150 and 500 neighbours alike. Here each k has a control with as many texts, and as many tokens.

    Args:
        chosen: Indices of candidates.
        lengths: (num,) tokens of all candidates.
        allowed: (num,) bool, which may be drawn; `chosen` are among them.
        draw: Which draw, from 0.
    """
    rng = generator("random control", seed, draw, step=len(chosen))
    order = rng.permutation(np.flatnonzero(allowed))
    order = order[np.argsort(lengths[order], kind="stable")]  # by length; within a length at random
    values, wanted = np.unique(lengths[chosen], return_counts=True)
    starts = np.searchsorted(lengths[order], values)
    drawn = [order[start : start + number] for start, number in zip(starts, wanted, strict=True)]
    return np.sort(np.concatenate(drawn)) if drawn else np.empty(0, np.int64)


def sets_of(
    settings: Selection, rankings: Mapping[str, np.ndarray], lengths: np.ndarray, allowed: np.ndarray
) -> dict[str, np.ndarray]:
    """Put together every set of selected candidates that a task's arms need, by the arm's kind.

    Args:
        rankings: By retrieval method, as `rank` wrote their indices.
        lengths: (num,) tokens of the candidates.
        allowed: (num,) bool, which may be drawn at random.

    Returns:
        `knn_tapt_<k>`, `knn_tapt_<k>_<selector>` (compared, at the middle k) and `rand_tapt_<k>_draw_<n>`.
    """
    found = {f"knn_tapt_{k}": union(rankings[settings.selector], k) for k in settings.num_neighbours}
    middle = settings.compared_neighbours
    for selector in settings.compared:
        # Resampling draws for the task as a whole: as many as the main selector has chosen.
        number = len(found[f"knn_tapt_{middle}"]) if selector == "dsir" else middle
        found[f"knn_tapt_{middle}_{selector}"] = union(rankings[selector], number)
    for k in settings.num_neighbours:
        for draw in range(settings.num_draws):
            drawn = matched_random(found[f"knn_tapt_{k}"], lengths, allowed, seed=settings.seed, draw=draw)
            found[f"rand_tapt_{k}_draw_{draw}"] = drawn
    return found


def digest_of(folder: str | None) -> str | None:
    """Return what a sentence transformer's folder holds, in short; a hub name stands for itself."""
    return folder if folder is None or not os.path.isdir(folder) else files.folder_digest(Path(folder))
