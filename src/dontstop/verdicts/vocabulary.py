"""Words of text samples: samples of equal size, their counts, and the overlap of the most frequent ones.

Source: section 3.1 and Figure 2 of the paper.
Departure: the paper compares samples of 50,000 documents each (150,000 of reviews). Here `equal_samples` first cuts
every sample to the same number of words, because longer documents show more words and all distances depend on that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import regex
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from dontstop.errors import StudyError
from dontstop.text.words import UNSPACED, fold

Samples = Mapping[str, Sequence[str]]  # texts by name
# In folded text; sklearn's vectorizers' own, two letters or digits or more, and characters of scripts without spaces.
WORD = regex.compile(rf"\b\w\w+\b|{UNSPACED.pattern}")


@dataclass(frozen=True)
class WordCounts:
    """How often every document of every sample uses every word.

    Words are lower-cased unigrams without English stop words, in alphabetical order; counts are, by sample, sparse
    (num_documents, num_words) matrices.
    """

    words: np.ndarray
    counts: dict[str, sparse.csr_matrix]

    def totals(self, sample: str) -> np.ndarray:
        """Return the (num_words,) counts of one sample."""
        return np.asarray(self.counts[sample].sum(axis=0)).ravel()

    def most_frequent(self, sample: str, num: int) -> np.ndarray:
        """Return how far each word is in the list of a sample's `num` most frequent ones; see `in_list`."""
        return in_list(self.totals(sample), num)

    def num_supported(self, most: int = 10_000) -> int:
        """Return how many frequent words can be compared: `most`, or those of the sample that has fewest.

        Source: section 3.1 (10,000 words).
        """
        return min(most, *(int(np.count_nonzero(self.totals(name))) for name in self.counts))


def num_words_in(texts: Sequence[str]) -> int:
    """Count the words of a sample, stop words included."""
    return sum(len(WORD.findall(fold(text))) for text in texts)


def word_counter(**how) -> CountVectorizer:
    """Make a counter of words as all distances see them; `how` is CountVectorizer's."""
    return CountVectorizer(preprocessor=fold, tokenizer=WORD.findall, token_pattern=None, **how)


def equal_samples(samples: Samples, *, seed: int) -> dict[str, list[str]]:
    """Fold every sample and cut it to as many words as the smallest has: in random order, the last one cut short.

    Departure: the paper equates numbers of documents, not of words (see this module's first lines).
    """
    sizes = {name: num_words_in(texts) for name, texts in samples.items()}
    for name in (name for name, size in sizes.items() if size == 0):
        advice = "prepare the data again, or leave it out"
        raise StudyError(f"no words in the sample {name!r}", "text in every sample", advice)
    # A generator for each sample, so that the order of the samples does not matter.
    return {name: _draw_words(texts, min(sizes.values()), seed=seed) for name, texts in samples.items()}


def _draw_words(texts: Sequence[str], num_words: int, *, seed: int) -> list[str]:
    drawn = []
    for text in (fold(texts[index]) for index in np.random.default_rng(seed).permutation(len(texts))):
        ends = [match.end() for match in WORD.finditer(text)]
        if len(ends) >= num_words:
            return [*drawn, text[: ends[num_words - 1]]]
        drawn.append(text)
        num_words -= len(ends)
    return drawn


def count_words(samples: Samples) -> WordCounts:
    """Count lower-cased unigrams without English stop words (sklearn's list), document by document.

    Raises:
        StudyError: If a sample holds no word at all.
    """
    vectorizer = word_counter(stop_words="english", dtype=np.int32)
    bounds = np.cumsum([0, *(len(texts) for texts in samples.values())])
    try:
        together = vectorizer.fit_transform(text for texts in samples.values() for text in texts)
    except ValueError as error:
        raise StudyError("samples without a single word", "readable text", "prepare the data again") from error
    counts = {name: together[bounds[i] : bounds[i + 1]] for i, name in enumerate(samples)}
    for name in (name for name, matrix in counts.items() if matrix.sum() == 0):
        raise StudyError(f"no words in the sample {name!r}", "readable text", "prepare the data again")
    return WordCounts(vectorizer.get_feature_names_out(), counts)


def in_list(totals: np.ndarray, num_words: int) -> np.ndarray:
    """Return how far each word, of (..., num_words_in_all) counts, is in the list of the most frequent, from 0 to 1.

    Words that are as frequent as the last one share the places that are left, each an equal part: no order of the
    words, such as the alphabet's, decides between them. Words that do not occur are never in the list.
    """
    width = totals.shape[-1]
    if num_words >= width:
        return (totals > 0).astype(np.float32)
    last = np.partition(totals, width - num_words, axis=-1)[..., width - num_words, None]
    above, tied = totals > last, (totals == last) & (last > 0)
    left = num_words - above.sum(axis=-1, keepdims=True)
    return above + tied * (left / np.maximum(tied.sum(axis=-1, keepdims=True), 1)).astype(np.float32)


def vocabulary_overlap(words: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the percentage of a list of words that another list of the same length shares.

    Both are (..., num_words), as `in_list` returns them; a word is shared as far as it is in both.

    Source: section 3.1 and Figure 2, in the reading that the text suggests: shared words over the list's length.
    """
    return 100 * np.minimum(words, others).sum(axis=-1) / words.sum(axis=-1)


def jaccard(words: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the percentage of words in either list that are in both.

    Source: the authors' scripts/vocab_overlap.py, which divides by the union.
    Departure: their script compares every word found in three documents or more; we keep to the most frequent words.
    """
    return 100 * np.minimum(words, others).sum(axis=-1) / np.maximum(words, others).sum(axis=-1)


def overlap_matrix(samples: Samples, *, num_words: int, reading: Literal["paper", "code"] = "paper") -> pd.DataFrame:
    """Compare the most frequent words of every sample with those of every other, as Figure 2 does, in percent.

    Args:
        reading: `vocabulary_overlap`, as the paper's text has it, or `jaccard`, as its code.

    Raises:
        StudyError: If a sample has fewer than `num_words` distinct words (see `WordCounts.num_supported`).
    """
    compare, counted = {"paper": vocabulary_overlap, "code": jaccard}[reading], count_words(samples)
    lists = {name: counted.most_frequent(name, num_words) for name in samples}
    distinct = {name: int(np.count_nonzero(counted.totals(name))) for name in samples}
    shortest = min(distinct, key=distinct.get)
    if distinct[shortest] < num_words:
        found = f"{distinct[shortest]:,} distinct words in the sample {shortest!r}"
        raise StudyError(found, f"at least num_words = {num_words:,}", "lower num_words, or take larger samples")
    rows = [[compare(lists[row], lists[column]) for column in samples] for row in samples]
    return pd.DataFrame(rows, index=pd.Index(list(samples), name="domain"), columns=list(samples))


def figure2(samples: Samples, *, most_words: int = 10_000, seed: int) -> pd.DataFrame:
    """Return Figure 2's percentages between samples cut to the same number of words, and num_words of the lists."""
    equal = equal_samples(samples, seed=seed)
    num_words = count_words(equal).num_supported(most_words)
    return overlap_matrix(equal, num_words=num_words).assign(num_words=num_words)
