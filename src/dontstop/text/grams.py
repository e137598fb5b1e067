"""Word 5-grams of texts, as hashes that are equal wherever the words are."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dontstop.text.words import fold, in_words

_NUM_WORDS = 5
_CHARACTERS = 150_000  # hashed at once: as many as fit a core's cache; bounds memory, changes no result
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


def word_grams(texts: Sequence[str]) -> Grams:
    """Hash the word 5-grams of texts; equal words give equal hashes in every process."""
    return _distinct(*rolling_grams(texts), len(texts))


def rolling_grams(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hash the word 5-grams of texts in their order, with repetitions.

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
    return cut([len(text) + 1 for text in texts], _CHARACTERS)


def cut(lengths: Sequence[int], limit: int) -> Iterator[slice]:
    """Cut a row of things with these lengths into slices that are about `limit` long together."""
    steps = np.cumsum(lengths, dtype=np.int64) // limit
    ends = np.flatnonzero(np.diff(steps, append=-1)) + 1
    return map(slice, np.append(0, ends[:-1]), ends)


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Join the ranges that start at `starts` and are `lengths` long, (lengths.sum(),) int64."""
    return np.arange(lengths.sum()) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)


@functools.lru_cache(maxsize=1)
def _powers(number: int) -> tuple[np.ndarray, np.ndarray]:
    return np.cumprod(np.full(number, _BASE)), np.cumprod(np.full(number, _INVERSE))


def _hash_words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (a hash of each word, text after text; the number of words of each text).

    A word's hash is its polynomial in _BASE over its characters, modulo 2 ** 64: a difference of prefix sums, divided
    by the power of its first index. A text without letters or digits is one word. So a text and its normalised form
    have the same words.
    """
    folded = [fold(text).strip() for text in texts]
    codes = np.frombuffer("\n".join(folded).encode("utf-32-le", "surrogatepass"), np.uint32)
    ends = np.cumsum([len(text) + 1 for text in folded]) - 1  # of each text, among codes
    inside = in_words()[codes]
    starts, stops = _runs(inside)
    counts = np.bincount(np.searchsorted(ends, starts), minlength=len(texts))
    if not counts.all():
        for k in np.flatnonzero(counts == 0):
            inside[ends[k] - len(folded[k]) : ends[k]] = True
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
    positions = ranges(starts, num_grams)
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
