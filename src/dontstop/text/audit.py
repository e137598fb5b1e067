"""The leak audit: what documents hold of dev and test texts, added up piece by piece, with no corpus in memory."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dontstop.machine import files
from dontstop.profiles import Text
from dontstop.text import grams
from dontstop.text.leakage import GramIndex, Overlaps, index_grams
from dontstop.text.words import normalise

Groups = Mapping[tuple[str, str], Sequence[str]]  # texts by task and split


@dataclass(frozen=True)
class EvalIndex(GramIndex):
    """The distinct dev and test texts, ready to be looked for in documents."""

    copies: np.ndarray  # S16, [num_texts]: digests of the normalised texts, ascending

    def __len__(self) -> int:
        return len(self.copies)

    def indices_of(self, texts: Sequence[str]) -> np.ndarray:
        """Return the indices of some of the texts, (num,)."""
        return np.searchsorted(self.copies, np.array([_digest(text) for text in texts], "S16"))


def build_index(texts: Iterable[str]) -> EvalIndex:
    """Make dev and test texts ready to be looked for, each distinct one once."""
    by_copy = {_digest(text): text for text in texts}
    copies = sorted(by_copy)
    index = index_grams(grams.word_grams([by_copy[copy] for copy in copies]))
    return EvalIndex(**vars(index), copies=np.array(copies, "S16"))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(normalise(text).encode(), digest_size=16).digest()


def save_index(folder: Path, index: EvalIndex) -> None:
    """Write an index for the processes that read shards."""
    for field in dataclasses.fields(index):
        files.write_array(folder / f"{field.name}.npy", getattr(index, field.name))


def load_index(folder: Path) -> EvalIndex:
    """Map an index into memory, which processes share, and of which only what is looked up is there."""
    names = [field.name for field in dataclasses.fields(EvalIndex)]
    return EvalIndex(**{name: files.read_array(folder / f"{name}.npy", mapped=True) for name in names})


@dataclass
class OverlapStats:
    """What the documents seen so far share with each dev and test text.

    Attributes:
        exact: (num_texts,) bool; a document is the text's copy.
        containment: (num_texts,) float64; the largest share of the text's grams that one document holds.
        near: (num_texts,) bool; a document's Jaccard similarity with the text reaches `jaccard_from`.
    """

    exact: np.ndarray
    containment: np.ndarray
    near: np.ndarray

    def add(self, other: "OverlapStats") -> None:
        """Take in what other documents share."""
        self.exact |= other.exact
        np.maximum(self.containment, other.containment, out=self.containment)
        self.near |= other.near


def no_overlap(index: EvalIndex, jaccard_from: float) -> OverlapStats:
    """Return what no documents share with the texts."""
    return OverlapStats(np.zeros(len(index), bool), np.zeros(len(index)), np.full(len(index), jaccard_from <= 0))


def measure_overlap(index: EvalIndex, documents: Sequence[str], jaccard_from: float) -> OverlapStats:
    """Measure what documents share with the dev and test texts."""
    return _scan(index, documents, jaccard_from, None)[1]


def find_leaks(index: EvalIndex, documents: Sequence[str], settings: Text) -> tuple[np.ndarray, OverlapStats]:
    """Find the documents that leak dev and test texts, and measure the overlap of the others.

    Returns:
        (num_documents,) bool, whether a document holds `leak_containment` of some text's grams, as every copy does;
        and the overlap of those that do not.
    """
    return _scan(index, documents, settings.near_duplicate_jaccard, settings.leak_containment)


def _scan(
    index: EvalIndex, documents: Sequence[str], jaccard_from: float, leaking_from: float | None
) -> tuple[np.ndarray, OverlapStats]:
    leaking, stats = np.zeros(len(documents), bool), no_overlap(index, jaccard_from)
    for piece in grams.pieces(documents):
        for found in index.overlaps(*grams.rolling_grams(documents[piece])):
            if leaking_from is not None:
                shares_enough = found.shared >= leaking_from * index.sizes[found.texts]
                leaking[piece][found.documents[shares_enough]] = True
                found = found.select(~leaking[piece][found.documents])
            shares = found.shared / index.sizes[found.texts]
            np.maximum.at(stats.containment, found.texts, shares)
            # The similarity is at most the containment, and a copy holds all grams: few pairs need a closer look.
            close = found.select((shares >= jaccard_from) | (shares == 1.0))
            _compare_closely(index, documents[piece], close, stats, jaccard_from)
    return leaking, stats


def _compare_closely(
    index: EvalIndex, documents: Sequence[str], pairs: Overlaps, stats: OverlapStats, jaccard_from: float
) -> None:
    chosen, which = np.unique(pairs.documents, return_inverse=True)
    some = [documents[k] for k in chosen]
    copies = np.array([_digest(text) for text in some], "S16")
    stats.exact[pairs.texts[copies[which] == index.copies[pairs.texts]]] = True
    union = index.sizes[pairs.texts] + grams.word_grams(some).sizes[which] - pairs.shared
    stats.near[pairs.texts[pairs.shared / union >= jaccard_from]] = True


def audit(texts: Groups, index: EvalIndex, corpora: Mapping[str, OverlapStats], contained_from: float) -> list[dict]:
    """Count the texts of each (task, split) that each corpus holds.

    Returns:
        A row for each task, split and corpus: num_texts; num_exact, num_contained and num_near_duplicate, each text
        counted once in each; mean_containment and max_containment (of a text in the document that holds most of it).
    """
    indices = {group: index.indices_of(some) for group, some in texts.items()}
    return [
        _audit_row(group, name, indices[group], stats, contained_from)
        for name, stats in corpora.items()
        for group in indices
    ]


def _audit_row(
    group: tuple[str, str], corpus: str, chosen: np.ndarray, stats: OverlapStats, contained_from: float
) -> dict:
    contained = stats.containment[chosen]
    return {
        "task": group[0],
        "split": group[1],
        "corpus": corpus,
        "num_texts": len(chosen),
        "num_exact": int(stats.exact[chosen].sum()),
        "num_contained": int((contained >= contained_from).sum()),
        "num_near_duplicate": int(stats.near[chosen].sum()),
        "mean_containment": round(float(contained.mean()), 4) if len(chosen) else 0.0,
        "max_containment": round(float(contained.max(initial=0.0)), 4),
    }
