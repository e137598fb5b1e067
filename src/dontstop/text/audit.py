"""The leak audit: what documents hold of dev and test texts, added up piece by piece, with no corpus in memory."""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dontstop.profiles import Text
from dontstop.text import leakage
from dontstop.text.leakage import Overlaps

Groups = Mapping[tuple[str, str], Sequence[str]]  # texts by task and split

_PAIRS = 2_000_000  # of a gram and a text that holds it, at once; bounds memory, changes no result
_SLOTS_PER_GRAM = 8  # of the table that most grams of most documents are turned away by


@dataclass(frozen=True)
class Evaluated:
    """Texts to be looked for in documents: the distinct ones, and an index from their grams to those that hold them."""

    copies: np.ndarray  # S16, [num_texts]: digests of the normalised texts, ascending
    sizes: np.ndarray  # int64, [num_texts]: distinct grams of each
    hashes: np.ndarray  # uint64, [num_grams]: distinct grams of all, ascending
    starts: np.ndarray  # int64, [num_grams + 1]: gram i is held by holders[starts[i]:starts[i + 1]]
    holders: np.ndarray  # int32: indices of texts
    slots: np.ndarray  # bool, a power of two: whether any gram begins with these bits

    def __len__(self) -> int:
        return len(self.copies)

    def places(self, texts: Sequence[str]) -> np.ndarray:
        """Return the indices of some of the texts, (num,)."""
        return np.searchsorted(self.copies, np.array([_digest(text) for text in texts], "S16"))

    def overlaps(self, documents: Sequence[str]) -> Iterator[Overlaps]:
        """Yield the pairs of texts and documents that share grams; all pairs of a document come together."""
        hashes, owners = leakage.rolling_grams(documents)
        near = np.flatnonzero(self.slots[_slot(hashes, len(self.slots))])
        grams = np.searchsorted(self.hashes, hashes[near])
        grams = np.minimum(grams, max(0, len(self.hashes) - 1))
        found = self.hashes[grams] == hashes[near]
        # A gram counts once a document, however often it stands there.
        once = np.unique(owners[near][found] * max(1, len(self.hashes)) + grams[found])
        owners, grams = np.divmod(once, max(1, len(self.hashes)))
        lengths = self.starts[grams + 1] - self.starts[grams]
        for piece in _pieces(owners, lengths):
            num_holders, first = lengths[piece], self.starts[grams[piece]]
            ranks = np.arange(num_holders.sum()) - np.repeat(np.cumsum(num_holders) - num_holders, num_holders)
            texts = self.holders[np.repeat(first, num_holders) + ranks].astype(np.int64)
            pairs = np.repeat(owners[piece], num_holders) * len(self) + texts
            pairs, shared = np.unique(pairs, return_counts=True)
            yield Overlaps(pairs % len(self), pairs // len(self), shared)


def _pieces(owners: np.ndarray, lengths: np.ndarray) -> Iterator[slice]:
    """Cut ascending owners where one ends, so that the lengths of a piece add up to some millions at most."""
    ends = np.append(np.flatnonzero(np.diff(owners)) + 1, len(owners))
    totals, start, before = np.cumsum(lengths), 0, 0
    while start < len(owners):
        fitting = np.searchsorted(totals, before + _PAIRS, "right")
        place = max(np.searchsorted(ends, fitting, "right") - 1, np.searchsorted(ends, start, "right"))
        yield slice(start, ends[place])
        start, before = ends[place], totals[ends[place] - 1]


def index(texts: Iterable[str]) -> Evaluated:
    """Make texts ready to be looked for."""
    by_copy = {_digest(text): text for text in texts}
    copies = sorted(by_copy)
    grams = leakage.word_grams([by_copy[copy] for copy in copies])
    hashes, owners = grams.by_hash
    distinct, starts = np.unique(hashes, return_index=True)
    slots = np.zeros(1 << (_SLOTS_PER_GRAM * len(distinct) + 1).bit_length(), bool)
    slots[_slot(distinct, len(slots))] = True
    starts = np.append(starts, len(hashes)).astype(np.int64)
    return Evaluated(np.array(copies, "S16"), grams.sizes, distinct, starts, owners.astype(np.int32), slots)


def _slot(hashes: np.ndarray, num_slots: int) -> np.ndarray:
    return (hashes >> np.uint64(64 - (num_slots.bit_length() - 1))).astype(np.int64)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(leakage.normalise(text).encode(), digest_size=16).digest()


def save_index(folder: Path, evaluated: Evaluated) -> None:
    """Write an index for the processes that read shards."""
    folder.mkdir(parents=True)
    for field in dataclasses.fields(evaluated):
        np.save(folder / f"{field.name}.npy", getattr(evaluated, field.name))


def load_index(folder: Path) -> Evaluated:
    """Map an index into memory, which processes share, and of which only what is looked up is there."""
    names = [field.name for field in dataclasses.fields(Evaluated)]
    return Evaluated(*(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names))


@dataclass
class Traces:
    """What the documents seen so far hold of each evaluated text.

    Attributes:
        exact: (num_texts,) bool; a document is the text's copy.
        containment: (num_texts,) float64; the largest share of the text's grams that one document holds.
        near: (num_texts,) bool; a document's Jaccard similarity with the text reaches `jaccard_from`.
    """

    exact: np.ndarray
    containment: np.ndarray
    near: np.ndarray

    def add(self, other: "Traces") -> None:
        """Take in what other documents hold."""
        self.exact |= other.exact
        np.maximum(self.containment, other.containment, out=self.containment)
        self.near |= other.near


def no_traces(evaluated: Evaluated, jaccard_from: float) -> Traces:
    """Return what no documents hold."""
    nowhere = np.zeros(len(evaluated), bool)
    return Traces(nowhere, np.zeros(len(evaluated)), np.full(len(evaluated), jaccard_from <= 0))


def trace(evaluated: Evaluated, documents: Sequence[str], jaccard_from: float) -> Traces:
    """Tell what documents hold of the evaluated texts."""
    return _sift(evaluated, documents, jaccard_from, None)[1]


def sift(evaluated: Evaluated, documents: Sequence[str], settings: Text) -> tuple[np.ndarray, Traces]:
    """Find the documents that leak evaluated texts, and tell what the others hold of them.

    Returns:
        (num_documents,) bool, whether a document holds `leak_containment` of some text's grams, as every copy does;
        and the traces of those that do not.
    """
    return _sift(evaluated, documents, settings.near_duplicate_jaccard, settings.leak_containment)


def _sift(
    evaluated: Evaluated, documents: Sequence[str], jaccard_from: float, leaking_from: float | None
) -> tuple[np.ndarray, Traces]:
    leaking, traces = np.zeros(len(documents), bool), no_traces(evaluated, jaccard_from)
    for piece in leakage.pieces(documents):
        for found in evaluated.overlaps(documents[piece]):
            if leaking_from is not None:
                shares_enough = found.shared >= leaking_from * evaluated.sizes[found.texts]
                leaking[piece][found.documents[shares_enough]] = True
                found = found.select(~leaking[piece][found.documents])
            shares = found.shared / evaluated.sizes[found.texts]
            np.maximum.at(traces.containment, found.texts, shares)
            # The similarity is at most the containment, and a copy holds all grams: few documents need a closer look.
            close = found.select((shares >= jaccard_from) | (shares == 1.0))
            _look_closer(evaluated, documents[piece], close, traces, jaccard_from)
    return leaking, traces


def _look_closer(
    evaluated: Evaluated, documents: Sequence[str], close: Overlaps, traces: Traces, jaccard_from: float
) -> None:
    chosen, which = np.unique(close.documents, return_inverse=True)
    some = [documents[k] for k in chosen]
    copies = np.array([_digest(text) for text in some], "S16")
    traces.exact[close.texts[copies[which] == evaluated.copies[close.texts]]] = True
    union = evaluated.sizes[close.texts] + leakage.word_grams(some).sizes[which] - close.shared
    traces.near[close.texts[close.shared / union >= jaccard_from]] = True


def audit(texts: Groups, evaluated: Evaluated, corpora: Mapping[str, Traces], contained_from: float) -> list[dict]:
    """Count the texts of each (task, split) that each corpus holds.

    Returns:
        A row for each task, split and corpus: num_texts; num_exact, num_contained and num_near_duplicate, each text
        counted once in each; mean_containment and max_containment (of a text in the document that holds most of it).
    """
    places = {group: evaluated.places(some) for group, some in texts.items()}
    rows = []
    for corpus, traces in corpora.items():
        for (task, split), group in places.items():
            contained = traces.containment[group]
            rows.append(
                {
                    "task": task,
                    "split": split,
                    "corpus": corpus,
                    "num_texts": len(group),
                    "num_exact": int(traces.exact[group].sum()),
                    "num_contained": int((contained >= contained_from).sum()),
                    "num_near_duplicate": int(traces.near[group].sum()),
                    "mean_containment": round(float(contained.mean()), 4) if len(group) else 0.0,
                    "max_containment": round(float(contained.max(initial=0.0)), 4),
                }
            )
    return rows
