"""Exact, contained and near-duplicate overlap between texts, by hashes of word 5-grams."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dontstop.text.grams import Grams, cut, ranges, word_grams
from dontstop.text.words import normalise
from dontstop.text.words import words_of as words_of  # as selection, whose code is part of results, calls it

_PAIRS = 2_000_000  # of a gram and a text that holds it, at once; bounds memory, changes no result
_SLOTS_PER_GRAM = 8  # of the table that rules out most grams of most documents


@dataclass(frozen=True)
class Overlaps:
    """Pairs that share at least one 5-gram: the text, the document and the number of grams they share."""

    texts: np.ndarray  # int64, [num_pairs]
    documents: np.ndarray  # int64, [num_pairs]
    shared: np.ndarray  # int64, [num_pairs]

    def select(self, chosen: np.ndarray) -> "Overlaps":
        """Return some of the pairs."""
        return Overlaps(self.texts[chosen], self.documents[chosen], self.shared[chosen])


@dataclass(frozen=True)
class GramIndex:
    """An inverted index: from each distinct 5-gram of many texts to the texts that hold it."""

    sizes: np.ndarray  # int64, [num_texts]: distinct grams of each text
    hashes: np.ndarray  # uint64, [num_grams]: distinct grams of all texts, ascending
    starts: np.ndarray  # int64, [num_grams + 1]: gram i is held by holders[starts[i]:starts[i + 1]]
    holders: np.ndarray  # int32: indices of texts
    slots: np.ndarray  # bool, a power of two: whether any gram begins with these bits

    def overlaps(self, hashes: np.ndarray, owners: np.ndarray) -> Iterator[Overlaps]:
        """Yield the pairs of texts and documents that share grams; all pairs of a document come together.

        Args:
            hashes: (num,) uint64, the documents' grams; a gram counts once a document, however often it occurs.
            owners: (num,) int64, ascending, the document that each gram is of.
        """
        possible = np.flatnonzero(self.slots[_slot(hashes, len(self.slots))])
        hashes, owners = hashes[possible], owners[possible]
        grams = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        found = self.hashes[grams] == hashes
        num_grams = max(1, len(self.hashes))
        owners, grams = np.divmod(np.unique(owners[found] * num_grams + grams[found]), num_grams)
        num_holders = self.starts[grams + 1] - self.starts[grams]
        for piece in _pieces(owners, num_holders):
            texts = self.holders[ranges(self.starts[grams[piece]], num_holders[piece])]
            documents = np.repeat(owners[piece], num_holders[piece])
            pairs, shared = np.unique(documents * len(self.sizes) + texts, return_counts=True)
            yield Overlaps(pairs % len(self.sizes), pairs // len(self.sizes), shared)


def index_grams(grams: Grams) -> GramIndex:
    """Make texts ready to be looked for in documents."""
    hashes, owners = grams.by_hash
    distinct, starts = np.unique(hashes, return_index=True)
    slots = np.zeros(1 << (_SLOTS_PER_GRAM * len(distinct) + 1).bit_length(), bool)
    slots[_slot(distinct, len(slots))] = True
    starts = np.append(starts, len(hashes)).astype(np.int64)
    return GramIndex(grams.sizes, distinct, starts, owners.astype(np.int32), slots)


def overlaps(texts: Grams, documents: Grams) -> Iterator[Overlaps]:
    """Yield the pairs of texts and documents that share grams, each once; the smaller side is indexed."""
    if len(texts.hashes) <= len(documents.hashes):
        yield from index_grams(texts).overlaps(documents.hashes, documents.owners)
    else:
        for found in index_grams(documents).overlaps(texts.hashes, texts.owners):
            yield Overlaps(found.documents, found.texts, found.shared)


def _slot(hashes: np.ndarray, num_slots: int) -> np.ndarray:
    return (hashes >> np.uint64(64 - (num_slots.bit_length() - 1))).astype(np.int64)


def _pieces(owners: np.ndarray, num_pairs: np.ndarray) -> Iterator[slice]:
    """Cut ascending owners where one ends, so that a piece has some millions of pairs."""
    ends = np.flatnonzero(np.diff(owners, append=-1)) + 1
    starts = np.append(0, ends[:-1])
    for some in cut(np.add.reduceat(num_pairs, starts) if len(owners) else [], _PAIRS):
        yield slice(starts[some.start], ends[some.stop - 1])


def max_containment(texts: Grams, documents: Grams, own: np.ndarray | None = None) -> np.ndarray:
    """Return each text's largest containment in a document, other than the document `own` it was taken from."""
    largest = np.zeros(len(texts.sizes))
    for found in overlaps(texts, documents):
        keep = slice(None) if own is None else found.documents != own[found.texts]
        shares = found.shared[keep] / texts.sizes[found.texts[keep]]
        np.maximum.at(largest, found.texts[keep], shares)
    return largest


def leaking_documents(texts: Grams, documents: Grams, threshold: float) -> np.ndarray:
    """Return the indices of the documents that hold at least `threshold` of some text's 5-grams."""
    leaking = [np.empty(0, np.int64)]
    for found in overlaps(texts, documents):
        leaking.append(found.documents[found.shared >= threshold * texts.sizes[found.texts]])
    return np.unique(np.concatenate(leaking))


def near_duplicates(grams: Grams, threshold: float) -> np.ndarray:
    """Return the indices of the texts that are near-duplicates of an earlier text that is kept.

    Exact: texts that are as similar share at least one of the rarest grams of each (see `_rarest`), so these alone are
    indexed, and every pair that shares one is compared by all grams.

    Args:
        grams: The texts' 5-grams, in the order in which the first of a group is to be kept.
        threshold: Jaccard similarity of 5-grams, above 0, from which two texts count as near-duplicates.

    Source: Bayardo et al. (2007), prefix filtering.
    """
    rarest = _rarest(grams, threshold)
    bounds = np.searchsorted(grams.owners, np.arange(len(grams.sizes) + 1))
    dropped: set[int] = set()
    for found in index_grams(rarest).overlaps(rarest.hashes, rarest.owners):  # documents ascend
        sizes, others = grams.sizes[found.texts], grams.sizes[found.documents]
        possible = np.minimum(sizes, others) >= threshold * np.maximum(sizes, others)
        pairs = found.select(possible & (found.texts < found.documents))
        for text, document in zip(pairs.texts.tolist(), pairs.documents.tolist(), strict=True):
            if document not in dropped and text not in dropped:
                some, more = (grams.hashes[bounds[k] : bounds[k + 1]] for k in (text, document))
                if _jaccard(some, more) >= threshold:
                    dropped.add(document)
    return np.array(sorted(dropped), np.int64)


def _rarest(grams: Grams, threshold: float) -> Grams:
    """Return of each text the grams that the fewest texts have, of which one is in every text that is as similar.

    A text of n grams shares at least threshold * n of them with such a text, and so not all of any n - that + 1.
    Grams that no other text has are left out.
    """
    hashes, owners = grams.by_hash
    _, which, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    order = np.lexsort((hashes, counts[which], owners))
    hashes, owners, num_texts = hashes[order], owners[order], counts[which][order]
    starts = np.cumsum(grams.sizes) - grams.sizes
    rank = np.arange(len(owners)) - starts[owners]
    fewest_shared = np.ceil(threshold * grams.sizes - 1e-9).astype(np.int64)
    chosen = (rank <= (grams.sizes - fewest_shared)[owners]) & (num_texts > 1)
    return Grams(hashes[chosen], owners[chosen], grams.sizes)


def _max_jaccard(texts: Grams, documents: Grams) -> np.ndarray:
    largest = np.zeros(len(texts.sizes))
    for found in overlaps(texts, documents):
        union = texts.sizes[found.texts] + documents.sizes[found.documents] - found.shared
        np.maximum.at(largest, found.texts, found.shared / union)
    return largest


def train_test_overlap(test: Sequence[str], train: Sequence[str], *, jaccard_from: float) -> np.ndarray:
    """Mark the test texts that are among the training texts too, exactly or nearly, (num_test,) bool.

    Args:
        jaccard_from: From which Jaccard similarity of the sets of word 5-grams two texts count as the same.
    """
    jaccard = _max_jaccard(word_grams(test), word_grams(train))
    known = {normalise(text) for text in train}
    return (jaccard >= jaccard_from) | np.array([normalise(text) in known for text in test], bool)


def _jaccard(first: np.ndarray, second: np.ndarray) -> float:
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)
