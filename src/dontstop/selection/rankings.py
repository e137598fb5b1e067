"""Rankings of a domain's text for its tasks, by one retrieval method each.

Source: section 5 of the paper.
"""

import functools
import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from dontstop.machine import files
from dontstop.machine.randomness import generator, seed_of
from dontstop.profiles import Selection
from dontstop.selection import neighbours, selectors
from dontstop.selection.candidates import Candidates
from dontstop.selection.vampire import Vampire

RANDOM = ("vampire", "encoder")  # selectors whose ranking differs from replicate to replicate
NUM_SHOWN = 2  # queries whose neighbours are kept to be read
NUM_SHOWN_NEIGHBOURS = 3
RANKING_FILE = "ranking.json"  # written last, so a folder that holds it is whole
SAMPLE = 1_000_000  # candidates that an embedder is fitted on at most


@dataclass(frozen=True)
class Search:
    """What is searched for whom.

    Attributes:
        candidates: A domain's.
        queries: By task of the domain, its training texts, never dev or test.
    """

    candidates: Candidates
    queries: Mapping[str, Sequence[str]]

    @property
    def texts(self) -> list[str]:
        """The queries of all tasks."""
        return [text for texts in self.queries.values() for text in texts]

    @functools.cached_property
    def allowed(self) -> dict[str, np.ndarray]:
        """By task, which candidates are part of none of its own training texts: (num,) bool."""
        return {task: self.candidates.allowed(task) for task in self.queries}


@dataclass(frozen=True)
class Ranking:
    """What a retrieval method found for a task.

    Attributes:
        indices: (num_queries, k) candidates, nearest first, NONE where a query is like no further one; of importance
            resampling, (1, num), all that are allowed.
        scores: Of the same shape; of importance resampling, their log weights.
    """

    indices: np.ndarray
    scores: np.ndarray


def load_ranking(folder: Path, task: str) -> Ranking:
    """Read a task's ranking from where `rank` has written it."""
    return Ranking(*(files.read_array(folder / task / f"{name}.npy") for name in ("indices", "scores")))


def seed_of_replicate(settings: Selection, replicate: int, task: str = "") -> int:
    """Return the seed of what is random in a replicate's selection: of what all tasks share, or of a task's draws."""
    return seed_of("selection", settings.seed, replicate, task)


def digest_of(folder: str | None) -> str | None:
    """Return what a sentence transformer's folder holds, in short; a hub name stands for itself."""
    return folder if folder is None or not os.path.isdir(folder) else files.folder_digest(Path(folder))


@threadpool_limits.wrap(limits=1)  # sums come in one order, whatever the number of cores
def rank(
    selector: str, settings: Selection, search: Search, folder: Path, *, base: Path, max_length: int, seed: int
) -> None:
    """Rank a domain's candidates for its tasks by one retrieval method, and write the rankings under `folder`.

    The candidates are gone through once for all tasks; each has those left out that repeat its own training texts.

    Args:
        selector: The retrieval method.
        folder: Gets a folder a task with a `Ranking`, and what readers are shown.
        base: The base encoder's folder.
        max_length: Tokens of a text that the base encoder reads.
        seed: The replicate's.
    """
    begin = time.perf_counter()
    k, about = max(settings.num_neighbours), {task: {"selector": selector} for task in search.queries}
    if selector == "dsir":
        found = _importances(search)
    elif selector == "bm25":
        index = selectors.Bm25(search.texts, search.candidates.chunks())
        found = {t: Ranking(*index.search(texts, k, search.allowed[t])) for t, texts in search.queries.items()}
    else:
        embedder = selectors.make_embedder(selector, settings, base, max_length, seed=seed)
        found = _nearest(_fitted(embedder, selector, settings, search), search, k, folder)
        if selector == "vampire":
            for task, texts in search.queries.items():
                about[task] |= _topics(embedder, texts)
    for task, ranking in found.items():
        about[task]["num_candidates"] = int(search.allowed[task].sum())
        about[task]["shown"] = _shown(selector, search.candidates, search.queries[task], ranking)
        files.write_array(folder / task / "indices.npy", ranking.indices)
        files.write_array(folder / task / "scores.npy", ranking.scores)
    files.write_json(folder / RANKING_FILE, {"tasks": about, "wall_seconds": time.perf_counter() - begin})


def _importances(search: Search) -> dict[str, Ranking]:
    weights = selectors.importance_weights(search.queries, search.candidates)
    indices = {task: np.flatnonzero(allowed) for task, allowed in search.allowed.items()}
    return {task: Ranking(chosen[None], weights[task][chosen][None]) for task, chosen in indices.items()}


def _fitted(embedder: selectors.Embedder, selector: str, settings: Selection, search: Search) -> selectors.Embedder:
    """Fit an embedder on the candidates, or a sample of them, and on the queries of all tasks."""
    largest = min(SAMPLE, settings.vampire.max_texts) if selector == "vampire" else SAMPLE
    return embedder.fit([*sample_to_fit(search.candidates, largest, seed=settings.seed), *search.texts])


def _nearest(embedder: selectors.Embedder, search: Search, k: int, folder: Path) -> dict[str, Ranking]:
    """Return, by task, each query's k nearest candidates; the vectors pass through a file under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".vectors.", suffix=".part") as scratch:
        vectors, found = write_vectors(embedder, search.candidates.chunks(), Path(scratch) / "vectors"), {}
        for task, texts in search.queries.items():
            others, queries = replace(vectors, allowed=search.allowed[task]), neighbours.unit(embedder.embed(texts))
            found[task] = Ranking(*neighbours.search(queries, others, k))
        return found


def sample_to_fit(candidates: Candidates, largest: int, *, seed: int) -> list[str]:
    """Return the texts that an embedder is fitted on: all candidates, or `largest` of them, in their order."""
    num, chosen = len(candidates), None
    if num > largest:
        chosen = np.zeros(num, bool)
        chosen[generator("texts to fit", seed).choice(num, largest, replace=False)] = True
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


def _topics(embedder: Vampire, texts: Sequence[str]) -> dict:
    return {"coherences": embedder.coherences, "topics": [vars(topic) for topic in embedder.topics(texts)]}


def _shown(selector: str, candidates: Candidates, texts: Sequence[str], ranking: Ranking) -> list[dict]:
    """Keep the nearest neighbours of a few queries, evenly spread, to be read."""
    if len(ranking.indices) != len(texts):
        return []
    rows = []
    for query in (len(texts) * k // NUM_SHOWN for k in range(min(NUM_SHOWN, len(texts)))):
        indices = ranking.indices[query, :NUM_SHOWN_NEIGHBOURS]
        nearest = candidates.rows(indices[indices != neighbours.NONE])
        for number, (row, score) in enumerate(zip(nearest, ranking.scores[query], strict=False), 1):
            shared = {"text": texts[query], "selector": selector, "rank": number}
            rows.append(shared | {"score": float(score), "neighbour": row["text"]})
    return rows
