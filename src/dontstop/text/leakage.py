"""Exact, contained and near-duplicate overlap between texts, by hashes of word 5-grams."""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_WORD = re.compile(r"[^\W_]+")
_NUM_WORDS = 5
_NUM_PERMUTATIONS = 64
_CHARACTERS = 150_000  # hashed at once, as many as stay in a core's cache; bounds memory, changes no result
_CHUNK = 2000  # texts compared at once; bounds memory, changes no result
_BASE = np.uint64(0x5851F42D4C957F2D)
_INVERSE = np.uint64(pow(0x5851F42D4C957F2D, -1, 2**64))
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True)
class Grams:
    """The distinct word 5-grams of each of many texts, as hashes; a text of fewer words is one gram."""

    hashes: np.ndarray  # uint64, [num_grams], text after text
    owners: np.ndarray  # int64, [num_grams]: the text that each gram is of, ascending
    sizes: np.ndarray  # int64, [num_texts]: distinct grams of each text

    @functools.cached_property
    def by_hash(self) -> tuple[np.ndarray, np.ndarray]:
        """The hashes in ascending order, and the owner of each."""
        order = np.argsort(self.hashes, kind="stable")
        return self.hashes[order], self.owners[order]

    def select(self, chosen: np.ndarray) -> "Grams":
        """Return the grams of the texts at the ascending indices `chosen`, renumbered from 0."""
        renumbered = np.full(len(self.sizes), -1, np.int64)
        renumbered[chosen] = np.arange(len(chosen))
        kept = renumbered[self.owners] >= 0
        return Grams(self.hashes[kept], renumbered[self.owners[kept]], self.sizes[chosen])


@dataclass(frozen=True)
class Overlaps:
    """Pairs that share at least one 5-gram: the text, the document and the number of grams they share."""

    texts: np.ndarray  # int64, [num_pairs]
    documents: np.ndarray  # int64, [num_pairs]
    shared: np.ndarray  # int64, [num_pairs]

    def select(self, chosen: np.ndarray) -> "Overlaps":
        """Return some of the pairs."""
        return Overlaps(self.texts[chosen], self.documents[chosen], self.shared[chosen])


def words_of(text: str) -> list[str]:
    """Return the words that comparisons see: lower-cased runs of letters and digits of any script."""
    return _WORD.findall(text.lower())


def normalise(text: str) -> str:
    """Return the text as comparisons see it: equal under changes of case, space and punctuation."""
    return " ".join(words_of(text)) or text.strip().lower()


def word_grams(texts: Sequence[str]) -> Grams:
    """Hash the word 5-grams of texts; equal words give equal hashes in every process."""
    return _distinct(*rolling_grams(texts), len(texts))


def rolling_grams(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hash the word 5-grams of texts as they stand there, with their repetitions.

    Returns:
        (num_grams,) uint64 hashes, text after text, and (num_grams,) int64, the text that each is of.
    """
    hashes, counts = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for piece in pieces(texts):
        found = _hash_words(texts[piece])
        hashes.append(found[0])
        counts.append(found[1])
    return _rolling(np.concatenate(hashes), np.concatenate(counts))


def pieces(texts: Sequence[str]) -> Iterator[slice]:
    """Cut texts into pieces that are hashed at once: whole texts, of some hundred thousand characters together."""
    start = 0
    while start < len(texts):
        end, length = start, 0
        while end < len(texts) and length < _CHARACTERS:
            length += len(texts[end]) + 1
            end += 1
        yield slice(start, end)
        start = end


def overlaps(texts: Grams, documents: Grams) -> Iterator[Overlaps]:
    """Yield the pairs of texts and documents that share grams, texts in ascending order, some thousands at a time."""
    hashes, owners = documents.by_hash
    num_documents = max(1, len(documents.sizes))
    bounds = np.searchsorted(texts.owners, np.arange(0, len(texts.sizes) + _CHUNK, _CHUNK))
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        grams = texts.hashes[start:end]
        left = np.searchsorted(hashes, grams, "left")
        num_matches = np.searchsorted(hashes, grams, "right") - left
        offsets = np.arange(num_matches.sum()) - np.repeat(np.cumsum(num_matches) - num_matches, num_matches)
        matched = owners[np.repeat(left, num_matches) + offsets]
        matching = np.repeat(texts.owners[start:end], num_matches)
        pairs, shared = np.unique(matching * num_documents + matched, return_counts=True)
        yield Overlaps(pairs // num_documents, pairs % num_documents, shared)


def containment(texts: Sequence[str], documents: Sequence[str]) -> np.ndarray:
    """Return, for each text, the largest share of its 5-grams that one document holds (float64, [num_texts])."""
    return max_containment(word_grams(texts), word_grams(documents))


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


def near_duplicates(grams: Grams, threshold: float, *, seed: int) -> np.ndarray:
    """Return the indices of the texts that are near-duplicates of an earlier text, by MinHash.

    Args:
        grams: The texts' 5-grams, in the order in which the first of a group is to be kept.
        threshold: Jaccard similarity of 5-grams from which two texts count as near-duplicates.
        seed: Of the permutations.

    Candidates come from locality-sensitive hashing; each is checked by the exact Jaccard similarity.
    """
    import datasketch  # here, since the processes that read shards need none of it and should stay small

    index = datasketch.MinHashLSH(threshold=threshold, num_perm=_NUM_PERMUTATIONS)
    empty = datasketch.MinHash(_NUM_PERMUTATIONS, seed=seed, hashfunc=int, scheme="affine32")
    bounds = np.searchsorted(grams.owners, np.arange(len(grams.sizes) + 1))
    short = grams.hashes >> np.uint64(32)
    dropped = []
    for k in _repeating(grams, threshold):
        sketch = empty.copy()
        sketch.update_batch(short[bounds[k] : bounds[k + 1]].tolist())
        text = grams.hashes[bounds[k] : bounds[k + 1]]
        candidates = (grams.hashes[bounds[c] : bounds[c + 1]] for c in index.query(sketch))
        if any(_jaccard(text, candidate) >= threshold for candidate in candidates):
            dropped.append(k)
        else:
            index.insert(k, sketch, check_duplication=False)
    return np.array(dropped, np.int64)


def _repeating(grams: Grams, threshold: float) -> list[int]:
    """Return the texts with at least `threshold` of their grams in others too: only they can have near-duplicates."""
    hashes, owners = grams.by_hash
    repeated = np.zeros(len(hashes), bool)
    same = hashes[1:] == hashes[:-1]
    repeated[1:] |= same
    repeated[:-1] |= same
    num_repeated = np.bincount(owners[repeated], minlength=len(grams.sizes))
    return np.flatnonzero(num_repeated >= threshold * grams.sizes).tolist()


def _max_jaccard(texts: Grams, documents: Grams) -> np.ndarray:
    largest = np.zeros(len(texts.sizes))
    for found in overlaps(texts, documents):
        union = texts.sizes[found.texts] + documents.sizes[found.documents] - found.shared
        np.maximum.at(largest, found.texts, found.shared / union)
    return largest


def told_before(texts: Sequence[str], others: Sequence[str], *, jaccard_from: float) -> np.ndarray:
    """Mark the texts that stand among the others, to the letter or as near-duplicates, (num_texts,) bool.

    Args:
        jaccard_from: From which Jaccard similarity of the sets of word 5-grams two texts count as the same.
    """
    jaccard = _max_jaccard(word_grams(texts), word_grams(others))
    exact = {normalise(text) for text in others}
    return (jaccard >= jaccard_from) | np.array([normalise(text) in exact for text in texts], bool)


@functools.cache
def _in_words() -> np.ndarray:
    return np.array([chr(code).isalnum() for code in range(0x110000)])


@functools.lru_cache(maxsize=1)
def _powers(number: int) -> tuple[np.ndarray, np.ndarray]:
    return np.cumprod(np.full(number, _BASE)), np.cumprod(np.full(number, _INVERSE))


def _hash_words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (a hash of each word, text after text; the number of words of each text).

    A word's hash is its polynomial in _BASE over its characters, modulo 2 ** 64: a difference of prefix sums, divided
    by the power of its first place. A text without letters or digits is one word. So a text and its normalised form
    have the same words.
    """
    lowered = [text.strip().lower() for text in texts]
    codes = np.frombuffer("\n".join(lowered).encode("utf-32-le", "surrogatepass"), np.uint32)
    ends = np.cumsum([len(text) + 1 for text in lowered]) - 1  # of each text, among codes
    inside = _in_words()[codes]
    starts, stops = _runs(inside)
    counts = np.bincount(np.searchsorted(ends, starts), minlength=len(texts))
    if not counts.all():
        for k in np.flatnonzero(counts == 0):
            inside[ends[k] - len(lowered[k]) : ends[k]] = True
        starts, stops = _runs(inside)
        counts = np.bincount(np.searchsorted(ends, starts), minlength=len(texts))
    powers, inverse = _powers(1 << max(2 * _CHARACTERS, len(codes)).bit_length())
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(codes * powers[1 : len(codes) + 1])])
    return _mixed((sums[stops] - sums[starts]) * inverse[starts] + (stops - starts).astype(np.uint64)), counts


def _runs(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each run of True starts, and where it stops (exclusive)."""
    edges = np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0))
    return edges[::2], edges[1::2]


def _mixed(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * _MIX[1]
    values = (values ^ (values >> np.uint64(27))) * _MIX[2]
    return values ^ (values >> np.uint64(31))


def _rolling(words: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (gram hashes, owners): each text's grams of up to 5 words, one at least."""
    num_grams = np.maximum(counts - _NUM_WORDS + 1, 1)
    owners = np.repeat(np.arange(len(counts)), num_grams)
    starts = np.cumsum(counts) - counts
    positions = starts[owners] + np.arange(num_grams.sum()) - np.repeat(np.cumsum(num_grams) - num_grams, num_grams)
    ends = (starts + counts)[owners]
    grams = np.zeros(len(positions), np.uint64)
    for k in range(_NUM_WORDS):
        inside = positions + k < ends
        following = words[np.minimum(positions + k, len(words) - 1)] if len(words) else grams
        grams = _mixed(np.where(inside, grams * _MIX[0] + following + np.uint64(1), grams))
    return grams, owners


def _distinct(hashes: np.ndarray, owners: np.ndarray, num_texts: int) -> Grams:
    order = np.lexsort((hashes, owners))
    hashes, owners = hashes[order], owners[order]
    first = np.ones(len(hashes), bool)
    first[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    hashes, owners = hashes[first], owners[first]
    return Grams(hashes, owners, np.bincount(owners, minlength=num_texts))


def _jaccard(first: np.ndarray, second: np.ndarray) -> float:
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)
