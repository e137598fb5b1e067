"""Nearest neighbours beside scikit-learn's and faiss's plain use; and selection from a corpus larger than memory."""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import measuring
from dontstop import tokens
from dontstop.errors import StudyError
from dontstop.machine.processes import CONTEXT, be_worker
from dontstop.machine.randomness import generator
from dontstop.machine.runner import say
from dontstop.profiles import Selection
from dontstop.selection import candidates, neighbours, rankings, sets
from dontstop.selection.selectors import TfidfSvd

NUM_VECTORS, NUM_DIMENSIONS, NUM_QUERIES, NUM_NEIGHBOURS = 1_000_000, 128, 5_000, 500
NUM_CHECKED = 25  # queries whose neighbours are held to a float64 reference
NUM_DOCUMENTS = 5_000_000  # of the generated corpus
NUM_TEXTS = 500  # that ask for neighbours in it
CONTENDERS = {
    "ours": {"what": "neighbours.search: faiss block by block from disk, ties settled in float64"},
    "faiss": {"what": "IndexFlatIP with all vectors added, then searched"},
    "scikit-learn": {"what": "NearestNeighbors(metric='cosine', algorithm='brute')"},
}


def benchmark(scratch: Path, results: Path | None, *, num_repeats: int, quick: bool) -> None:
    """Measure the search of exact neighbours, hold ours to a float64 reference, and write the table."""
    shape = (20_000, 200, 50) if quick else (NUM_VECTORS, NUM_QUERIES, NUM_NEIGHBOURS)
    path = _write_vectors(scratch, *shape[:2])
    runs = []
    for repeat, name in measuring.alternating(list(CONTENDERS), num_repeats):
        measured = _in_a_process(_search, name, path, shape)
        say(f"  {name}: {measured['seconds']:.1f} s, {measured['peak_gigabytes']:.2f} GB at most")
        runs.append({"contender": name, "repeat": repeat, **measured})
    wrong = _in_a_process(_check, path, shape)
    if wrong:
        raise StudyError(f"{wrong} neighbours other than the reference's", "the same ids as float64", "mend the search")
    summary = measuring.summarise(runs, CONTENDERS)
    ratios = ", ".join(
        f"{measuring.ratio(summary, 'seconds', 'ours', peer, less_is_better=True):.2f} times as fast as {peer}"
        for peer in ("faiss", "scikit-learn")
    )
    notes = [
        f"{shape[1]:,} queries, {shape[0]:,} vectors of {NUM_DIMENSIONS} dimensions, k = {shape[2]}, "
        f"{measuring.NUM_CORES} threads, each run in a process of its own; memory is that process's largest, "
        "with Python and libraries.",
        f"Ours is {ratios}.",
        f"Ids of {min(NUM_CHECKED, shape[1])} queries equal those of a float64 reference, ties by index.",
    ]
    measuring.write_tables(results, "neighbours", "Exact nearest neighbours", summary, runs, notes)


def stream(scratch: Path, results: Path | None, *, quick: bool) -> None:
    """Select neighbours from a generated corpus of short documents, and tell time and memory of each step."""
    number = 20_000 if quick else NUM_DOCUMENTS
    rows = _in_a_process(_select_from, scratch, number)
    contenders = {row["step"]: {} for row in rows}
    runs = [{"contender": row["step"], "repeat": 0, **{k: v for k, v in row.items() if k != "step"}} for row in rows]
    notes = [
        f"A generated corpus of {number:,} documents ({rows[0]['corpus_megabytes']:,.0f} MB), {NUM_TEXTS} training "
        "texts, k = 500, tf-idf with 100 dimensions, one process; peak_gigabytes is the largest resident memory up "
        "to the step's end.",
    ]
    summary = measuring.summarise(runs, contenders)
    measuring.write_tables(results, "selection_streaming", "Selection from a large corpus", summary, runs, notes)


def _in_a_process(function: Callable, *arguments: Any) -> Any:
    """Call a function in a process of its own, so that its peak memory is its own."""
    with CONTEXT.Pool(1, be_worker) as pool:
        return pool.apply(function, arguments)


def _peak_gigabytes() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _write_vectors(scratch: Path, num_vectors: int, num_queries: int) -> Path:
    rng, path = np.random.default_rng(0), scratch / "vectors"
    with open(path, "wb") as handle:
        for start in range(0, num_vectors, 100_000):
            size = min(100_000, num_vectors - start)
            neighbours.unit(rng.standard_normal((size, NUM_DIMENSIONS), np.float32)).tofile(handle)
    np.save(scratch / "queries.npy", neighbours.unit(rng.standard_normal((num_queries, NUM_DIMENSIONS), np.float32)))
    return path


def _search(name: str, path: Path, shape: tuple[int, int, int]) -> dict[str, float]:
    num_vectors, _, k = shape
    queries = np.load(path.with_name("queries.npy"))
    vectors = neighbours.VectorFile(path, num_vectors, NUM_DIMENSIONS)
    import faiss

    faiss.omp_set_num_threads(measuring.NUM_CORES)
    with threadpool_limits(measuring.NUM_CORES), measuring.CoreShare() as share:
        if name == "ours":
            begin = time.perf_counter()
            neighbours.search(queries, vectors, k)
        elif name == "faiss":
            values = vectors.block(0, num_vectors)
            begin = time.perf_counter()
            index = faiss.IndexFlatIP(NUM_DIMENSIONS)
            index.add(values)
            index.search(queries, k)
        else:
            from sklearn.neighbors import NearestNeighbors

            values = vectors.block(0, num_vectors)
            begin = time.perf_counter()
            NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(values).kneighbors(queries)
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "peak_gigabytes": _peak_gigabytes(), "others_share": share.of_others}


def _check(path: Path, shape: tuple[int, int, int]) -> int:
    """Return how many of our neighbours differ from a float64 reference, over a sample of queries."""
    num_vectors, num_queries, k = shape
    chosen = np.linspace(0, num_queries - 1, min(NUM_CHECKED, num_queries)).astype(int)
    queries = np.load(path.with_name("queries.npy"))[chosen]
    vectors = neighbours.VectorFile(path, num_vectors, NUM_DIMENSIONS)
    found, _ = neighbours.search(queries, vectors, k)
    parts = [
        vectors.block(start, min(start + 100_000, num_vectors)).astype(np.float64) @ queries.T.astype(np.float64)
        for start in range(0, num_vectors, 100_000)
    ]
    expected = np.argsort(-np.concatenate(parts).T.round(12), axis=1, kind="stable")[:, :k]
    return int((found != expected).sum())


def _select_from(scratch: Path, number: int) -> list[dict[str, Any]]:
    """Write a corpus, cut it, embed it, search it; a row a step."""
    rows: list[dict[str, Any]] = []

    def note(step: str, begin: float) -> None:
        rows.append({"step": step, "seconds": time.perf_counter() - begin, "peak_gigabytes": _peak_gigabytes()})
        say(f"  {step}: {rows[-1]['seconds']:.0f} s, {rows[-1]['peak_gigabytes']:.2f} GB at most")

    begin = time.perf_counter()
    corpus = scratch / "corpus.jsonl"
    _write_corpus(corpus, number)
    note("corpus written", begin)
    texts = [text for _, text in zip(range(NUM_TEXTS), _texts("tasks", NUM_TEXTS), strict=False)]
    begin = time.perf_counter()
    tokens.train_tokenizer(list(_texts("words", 2000)), 400, scratch / "tokenizer")
    tokenizer = tokens.load_tokenizer(scratch / "tokenizer")
    how = {"granularity": "sentence", "limit": 0.5}
    evaluated, own = candidates.Repeated(list(_texts("test", 2000)), **how), {"task": candidates.Repeated(texts, **how)}
    settings = {"granularity": "sentence", "min_words": 5}
    candidates.write_candidates(corpus, scratch / "candidates", evaluated, own, tokenizer, **settings)
    pieces = candidates.load_candidates(scratch / "candidates")
    note(f"{len(pieces):,} candidates cut", begin)
    begin = time.perf_counter()
    sample = rankings.sample_to_fit(pieces, 200_000, seed=0)
    embedder = TfidfSvd(Selection().num_dimensions, seed=0).fit([*sample, *texts])
    del sample
    note("tf-idf fitted on 200,000", begin)
    begin = time.perf_counter()
    vectors = rankings.write_vectors(embedder, pieces.chunks(), scratch / "embedded")
    vectors = replace(vectors, allowed=pieces.allowed("task"))
    note("all embedded", begin)
    begin = time.perf_counter()
    indices, _ = neighbours.search(neighbours.unit(embedder.embed(texts)), vectors, 500)
    note(f"{len(sets.union(indices, 500)):,} neighbours found", begin)
    for row in rows:
        row["corpus_megabytes"] = corpus.stat().st_size / 1e6
    return rows


def _texts(name: str, number: int):
    """Generate short texts of made-up words, frequent ones and rare ones as in real text."""
    made = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("a", "e", "io", "u") for c in ("n", "r", "sa", "ti", "lo")]
    words = [f"{first}{second}" for first in made for second in made[:80]]
    for block, start in enumerate(range(0, number, 10_000)):
        rng = generator("generated corpus", name, step=block)
        size = min(10_000, number - start)
        drawn = np.minimum(rng.zipf(1.3, size=(size, 12)) - 1, len(words) - 1)
        for row in drawn:
            yield " ".join(words[k] for k in row).capitalize() + "."


def _write_corpus(path: Path, number: int) -> None:
    with open(path, "w", encoding="utf-8") as handle:
        for k, text in enumerate(_texts("corpus", number)):
            handle.write(json.dumps({"id": f"d{k}", "text": text}) + "\n")
