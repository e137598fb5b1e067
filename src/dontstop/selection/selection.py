"""Select text of the domain for a task: neighbours of its training texts, and controls of the same size.

Source: section 5 of the paper.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dontstop.machine import files
from dontstop.machine.randomness import generator
from dontstop.profiles import Selection
from dontstop.selection import embedders, neighbours, relevance
from dontstop.selection.candidates import Candidates, other_than

SELECTION_VERSION = 2  # raised when the same settings and texts come to select other text
NUM_SHOWN = 2  # training texts whose neighbours are kept to be read
NUM_SHOWN_NEIGHBOURS = 3
RANKING_FILE = "ranking.json"  # written last, so a folder that holds it is whole
SAMPLE = 1_000_000  # candidates that an embedder is fitted on at most

Progress = Callable[[int, int], None]


# Ranking candidates --------------------------------------------------------------------------------------------


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
    """Rank candidates for a task by one selector, and write the ranking under `folder`.

    Args:
        texts: The task's training texts: never dev or test. Candidates that say what one of them says are left out.
        folder: Gets indices.npy: (num_texts, k) candidates, nearest first, for each training text; or (1, num) for
            importance resampling, which ranks for the task as a whole; scores.npy of the same shape; and what
            readers are shown.
        base: The base encoder's folder.
        max_length: Tokens of a text that the base encoder reads.
    """
    begin = time.perf_counter()
    allowed = other_than(candidates, texts)
    k = min(max(settings.num_neighbours), int(allowed.sum()))
    about: dict = {"selector": selector, "num_candidates": int(allowed.sum())}
    if selector == "dsir":
        weights = relevance.importance_weights(texts, candidates.chunks(allowed))
        order = relevance.resampling_order(weights, seed=settings.seed)
        indices, scores = order[None], weights[order][None].astype(np.float32)
    elif selector == "bm25":
        indices, scores = relevance.bm25(texts, candidates.chunks(allowed), k)
    else:
        embedder = embedders.make_embedder(selector, settings, base, max_length)
        sample = sample_to_fit(candidates, allowed, min(SAMPLE, settings.vampire.max_texts), seed=settings.seed)
        embedder.fit([*sample, *texts])
        if selector == "vampire":
            about |= {"coherences": embedder.coherences, "topics": [vars(topic) for topic in embedder.topics(texts)]}
        with tempfile.TemporaryDirectory(dir=_made(folder), prefix=".vectors.", suffix=".part") as scratch:
            vectors = write_vectors(embedder, candidates.chunks(allowed), Path(scratch) / "vectors")
            indices, scores = neighbours.search(neighbours.unit(embedder.embed(texts)), vectors, k)
    indices = np.flatnonzero(allowed)[indices]
    about["shown"] = _shown(selector, candidates, texts, indices, scores)
    for name, values in (("indices", indices), ("scores", scores)):
        with files.writing(folder / f"{name}.npy") as part, open(part, "wb") as handle:
            np.save(handle, values)
    files.write_json(folder / RANKING_FILE, about | {"wall_seconds": time.perf_counter() - begin})


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sample_to_fit(candidates: Candidates, allowed: np.ndarray, largest: int, *, seed: int) -> list[str]:
    """Return the texts that an embedder is fitted on: all that are allowed, or `largest` of them, in their order."""
    places = np.flatnonzero(allowed)
    if len(places) > largest:
        places = np.sort(generator("texts to fit", seed).choice(places, largest, replace=False))
    chosen = np.zeros(len(allowed), bool)
    chosen[places] = True
    return [text for some in candidates.chunks(chosen) for text in some]


def write_vectors(embedder, chunks: Iterable[Sequence[str]], path: Path) -> neighbours.VectorFile:
    """Embed texts, some at a time, into a file of unit vectors."""
    number, width = 0, 1
    with open(path, "wb") as handle:
        for some in chunks:
            vectors = neighbours.unit(embedder.embed(some))
            vectors.tofile(handle)
            number, width = number + len(vectors), vectors.shape[1]
    return neighbours.VectorFile(path, number, width)


def _shown(selector: str, candidates: Candidates, texts: Sequence[str], indices, scores) -> list[dict]:
    """Keep the nearest neighbours of a few training texts, evenly spread, to be read."""
    if len(indices) != len(texts):
        return []
    rows = []
    for place in (len(texts) * k // NUM_SHOWN for k in range(min(NUM_SHOWN, len(texts)))):
        nearest = candidates.rows(indices[place, :NUM_SHOWN_NEIGHBOURS])
        for number, (row, score) in enumerate(zip(nearest, scores[place], strict=False), 1):
            shared = {"text": texts[place], "selector": selector, "rank": number}
            rows.append(shared | {"score": float(score), "neighbour": row["text"]})
    return rows


# Sets of selected text -----------------------------------------------------------------------------------------


def union(indices: np.ndarray, k: int) -> np.ndarray:
    """Return the candidates among the k nearest of any training text, each once, ascending.

    Source: section 5.2; texts share neighbours, so there are fewer than k times the number of texts.
    """
    return np.unique(indices[:, :k])


def matched_random(chosen: np.ndarray, lengths: np.ndarray, allowed: np.ndarray, *, seed: int, draw: int) -> np.ndarray:
    """Draw as many candidates as `chosen`, with as many tokens: as many of each length, ascending.

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
    _, starts = np.unique(lengths[order], return_index=True)
    values, wanted = np.unique(lengths[chosen], return_counts=True)
    places = dict(zip(lengths[order][starts].tolist(), starts.tolist(), strict=True))
    drawn = [order[places[value] : places[value] + number] for value, number in zip(values, wanted, strict=True)]
    return np.sort(np.concatenate(drawn)) if drawn else np.empty(0, np.int64)


def sets_of(
    settings: Selection, rankings: Mapping[str, np.ndarray], lengths: np.ndarray, allowed: np.ndarray
) -> dict[str, np.ndarray]:
    """Put together every set of selected candidates that a task's arms need, by the arm's kind.

    Args:
        rankings: By selector, as `rank` wrote their indices.
        lengths: (num,) tokens of the candidates.
        allowed: (num,) bool, which may be drawn at random.

    Returns:
        `knn_tapt_<k>`, `knn_tapt_<k>_<selector>` (compared, at the middle k) and `rand_tapt_<k>_draw_<n>`.
    """
    found = {}
    for k in settings.num_neighbours:
        found[f"knn_tapt_{k}"] = union(rankings[settings.selector], k)
    middle = settings.compared_neighbours
    for selector in settings.compared:
        ranking = rankings[selector]
        # Resampling draws for the task as a whole: as many as the main selector has chosen.
        number = len(found[f"knn_tapt_{middle}"]) if selector == "dsir" else middle
        found[f"knn_tapt_{middle}_{selector}"] = union(ranking, number)
    for k in settings.num_neighbours:
        for draw in range(settings.num_draws):
            chosen = found[f"knn_tapt_{k}"]
            found[f"rand_tapt_{k}_draw_{draw}"] = matched_random(
                chosen, lengths, allowed, seed=settings.seed, draw=draw
            )
    return found


def digest_of(folder: str | None) -> str | None:
    """Return what a sentence transformer's folder holds, in short; a hub name stands for itself."""
    if folder is None or not os.path.isdir(folder):
        return folder
    weights = sorted(path for path in Path(folder).rglob("*") if path.suffix in (".safetensors", ".json"))
    return files.fingerprint({str(path.relative_to(folder)): files.digest(path) for path in weights})
