"""Distances between samples of text: shared frequent words, word distributions, a classifier that distinguishes them.

Source: section 3.1 and Figure 2 of the paper for the overlap; the other distances stand beside it.
Departure: the paper compares samples of 50,000 documents each (150,000 of reviews). Here `equal_samples` first cuts
every sample to the same number of words, because longer documents show more words and the distances depend on that.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial.distance import jensenshannon
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from dontstop.errors import StudyError

QUANTILES = (0.025, 0.975)
DISTANCES = ("vocabulary_overlap", "jensen_shannon", "proxy_a_distance", "masked_lm_loss")

# What sklearn's vectorizers take as a word: two letters or digits, or more.
_WORD = re.compile(r"(?u)\b\w\w+\b")
_NUM_FOLDS = 5
_COUNTS_AT_ONCE = 1_000_000  # words times resamples, of a sample, held in memory


@dataclass(frozen=True)
class WordCounts:
    """How often every document of every sample uses every word.

    Attributes:
        words: (num_words,) lower-cased unigrams without English stop words, in alphabetical order.
        counts: Per sample, a sparse (num_documents, num_words) matrix.
    """

    words: np.ndarray
    counts: dict[str, sparse.csr_matrix]

    def totals(self, sample: str) -> np.ndarray:
        """Return the (num_words,) counts of one sample."""
        return np.asarray(self.counts[sample].sum(axis=0)).ravel()


def num_words_in(texts: Sequence[str]) -> int:
    """Count the words of a sample, stop words included."""
    return sum(len(_WORD.findall(text)) for text in texts)


def equal_samples(samples: Mapping[str, Sequence[str]], *, seed: int) -> dict[str, list[str]]:
    """Cut every sample to as many words as the smallest has: documents in random order, the last one cut short.

    Departure: the paper equates numbers of documents, not of words (see this module's first lines).
    """
    sizes = {name: num_words_in(texts) for name, texts in samples.items()}
    for name, size in sizes.items():
        if size == 0:
            raise StudyError(
                f"no words in the sample {name!r}", "text in every sample", "prepare the data again, or leave it out"
            )
    num_words = min(sizes.values())
    # A generator for each sample, so that the order of the samples does not matter.
    return {name: _draw_words(texts, num_words, seed=seed) for name, texts in samples.items()}


def _draw_words(texts: Sequence[str], num_words: int, *, seed: int) -> list[str]:
    drawn = []
    for index in np.random.default_rng(seed).permutation(len(texts)):
        size = num_words_in([texts[index]])
        if size >= num_words:
            last = [match.end() for match in _WORD.finditer(texts[index])][num_words - 1]
            return [*drawn, texts[index][:last]]
        drawn.append(texts[index])
        num_words -= size
    return drawn


def count_words(samples: Mapping[str, Sequence[str]]) -> WordCounts:
    """Count lower-cased unigrams without English stop words (sklearn's list), document by document.

    Raises:
        StudyError: If a sample holds no word at all.
    """
    vectorizer = CountVectorizer(lowercase=True, stop_words="english", dtype=np.int32)
    bounds = np.cumsum([0, *(len(texts) for texts in samples.values())])
    try:
        together = vectorizer.fit_transform(text for texts in samples.values() for text in texts)
    except ValueError as error:
        raise StudyError("samples without a single word", "readable text", "prepare the data again") from error
    counts = {name: together[bounds[i] : bounds[i + 1]] for i, name in enumerate(samples)}
    for name, matrix in counts.items():
        if matrix.sum() == 0:
            raise StudyError(f"no words in the sample {name!r}", "readable text", "prepare the data again")
    return WordCounts(vectorizer.get_feature_names_out(), counts)


def most_frequent_words(texts: Sequence[str], num_words: int) -> list[str]:
    """List the most frequent lower-cased unigrams without English stop words, ties in alphabetical order.

    Returns:
        num_words words, or all there are.
    """
    counted = count_words({"texts": texts})
    totals = counted.totals("texts")
    return counted.words[np.lexsort((counted.words, -totals))[:num_words]].tolist()


def supported_num_words(samples: Mapping[str, Sequence[str]], most: int = 10_000) -> int:
    """Return how many frequent words can be compared: `most`, or the distinct words of the sample that has fewest.

    Source: section 3.1 (10,000 words).
    """
    return _supported(count_words(samples), most)


def _supported(counted: WordCounts, most: int) -> int:
    return min(most, *(int(np.count_nonzero(counted.totals(name))) for name in counted.counts))


def vocabulary_overlap(words: Sequence[str], others: Sequence[str]) -> float:
    """Return the percentage of `words` that are among `others`, two lists of the same length.

    Source: section 3.1 and Figure 2, in the reading that the text suggests: shared words over the list's length.
    """
    return 100 * len(set(words) & set(others)) / len(words)


def jaccard(words: Sequence[str], others: Sequence[str]) -> float:
    """Return the percentage of words in either list that are in both.

    Source: the authors' scripts/vocab_overlap.py, which divides by the union.
    Departure: their script compares every word found in three documents or more; we keep to the most frequent words.
    """
    return 100 * len(set(words) & set(others)) / len(set(words) | set(others))


def overlap_matrix(
    samples: Mapping[str, Sequence[str]],
    others: Mapping[str, Sequence[str]] | None = None,
    *,
    num_words: int,
    reading: Literal["paper", "code"] = "paper",
) -> pd.DataFrame:
    """Compare the most frequent words of every sample with those of every other.

    Args:
        samples: Texts by name, the rows.
        others: Texts by name, the columns; by default the rows again (Figure 2).
        num_words: Length of the lists; `supported_num_words` says how many there may be.
        reading: `vocabulary_overlap`, as the paper's text has it, or `jaccard`, as its code.

    Returns:
        Percentages.

    Raises:
        StudyError: If a sample has fewer distinct words than `num_words`.
    """
    compare = {"paper": vocabulary_overlap, "code": jaccard}[reading]
    lists = {name: most_frequent_words(texts, num_words) for name, texts in {**samples, **(others or {})}.items()}
    shortest = min(lists, key=lambda name: len(lists[name]))
    if len(lists[shortest]) < num_words:
        raise StudyError(
            f"{len(lists[shortest]):,} distinct words in the sample {shortest!r}",
            f"at least num_words = {num_words:,}",
            "lower num_words, or ask supported_num_words",
        )
    columns = list(samples if others is None else others)
    rows = [[compare(lists[row], lists[column]) for column in columns] for row in samples]
    return pd.DataFrame(rows, index=pd.Index(list(samples), name="sample"), columns=columns)


def figure2(samples: Mapping[str, Sequence[str]], *, most_words: int = 10_000, seed: int) -> pd.DataFrame:
    """Return Figure 2's percentages between samples cut to the same number of words, and num_words, the lists' length.

    Returns:
        Index text; a column a sample, and num_words.
    """
    equal = equal_samples(samples, seed=seed)
    num_words = supported_num_words(equal, most_words)
    return overlap_matrix(equal, num_words=num_words).rename_axis("text").assign(num_words=num_words)


def jensen_shannon_divergence(counts: np.ndarray, other_counts: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence of two unigram distributions, in bits: 0 alike, 1 nothing shared.

    Args:
        counts: (num_words,) counts; they need not sum to one.
        other_counts: (num_words,) of the other sample, over the same words.
    """
    return float(jensenshannon(counts, other_counts, base=2) ** 2)


def proxy_a_distance(
    texts: Sequence[str],
    others: Sequence[str],
    *,
    num_documents: int = 1000,
    num_passage_words: int = 50,
    num_resamples: int = 0,
    seed: int,
) -> tuple[float, float, float]:
    """Distinguish two samples by a linear classifier of passages, and turn its error into a distance.

    As many passages of each sample, one a document and of a bounded length; a linear support vector machine on
    tf-idf weights, five-fold cross-validated; 2 (1 - 2 error), so that 0 is guessing and 2 is certainty.

    Returns:
        The distance and its 95 % interval over passages (the classifier held fixed); NaN bounds without resamples.

    Source: Ben-David et al. 2007, as Elsahar and Galle 2019 use it to foresee a drop in score.
    """
    rng = np.random.default_rng(seed)
    size = min(num_documents, len(texts), len(others))
    if size < _NUM_FOLDS:
        raise StudyError(f"{size} documents in a sample", f"{_NUM_FOLDS} or more", "take larger samples")
    passages = [p for sample in (texts, others) for p in _passages(sample, size, num_passage_words, rng)]
    origins = np.repeat([0, 1], size)
    counts = CountVectorizer(token_pattern=_WORD.pattern).fit_transform(passages)
    folds = StratifiedKFold(_NUM_FOLDS, shuffle=True, random_state=seed)
    wrong = np.empty(len(origins), bool)  # (2 * size,)
    for train, tested in folds.split(passages, origins):
        seen = counts[:, np.flatnonzero(counts[train].sum(axis=0))]  # the words that occur in training
        classifier = make_pipeline(
            TfidfTransformer(sublinear_tf=True), LinearSVC(random_state=seed, max_iter=10_000)
        ).fit(seen[train], origins[train])
        wrong[tested] = classifier.predict(seen[tested]) != origins[tested]
    distance = float(_distance_from_error(wrong.mean()))
    if not num_resamples:
        return distance, np.nan, np.nan
    # Resampling as many passages of each sample is drawing the number of errors in each.
    errors = rng.binomial(size, wrong.reshape(2, size).mean(axis=1), size=(num_resamples, 2)).sum(axis=1)
    low, high = np.quantile(_distance_from_error(errors / (2 * size)), QUANTILES)
    return distance, float(low), float(high)


def _distance_from_error(error):
    return np.maximum(0.0, 2 * (1 - 2 * error))


def _passages(texts: Sequence[str], size: int, num_words: int, rng: np.random.Generator) -> Iterator[str]:
    for index in rng.choice(len(texts), size, replace=False):
        words = list(_WORD.finditer(texts[index]))
        start = int(rng.integers(max(1, len(words) - num_words + 1)))
        span = words[start : start + num_words]
        yield texts[index][span[0].start() : span[-1].end()] if span else ""


# Tables of distances -------------------------------------------------------------------------------------------


def distance_table(
    samples: Mapping[str, Sequence[str]],
    base: str,
    masked_lm_loss: Mapping[str, float | tuple[float, float, float]] | None = None,
    *,
    most_words: int = 10_000,
    num_documents: int = 1000,
    num_resamples: int = 1000,
    seed: int,
) -> pd.DataFrame:
    """Measure how far every sample lies from `base`, by four distances.

    Args:
        samples: Texts by domain (or task), `base` among them.
        base: The sample that stands for the base encoder's own text.
        masked_lm_loss: The base encoder's loss by domain, where measured; a float, or with its interval's bounds.
        most_words: Length of the lists of frequent words, if every sample supports it.
        num_documents: Of each sample, for the proxy A-distance.
        num_resamples: Bootstrap resamples of documents; 0 leaves the intervals out.
        seed: Of all that is drawn here.

    Returns:
        Index domain (without `base`); for each distance its value and `_low`, `_high` (95 %); `jaccard`; and how it
        was measured: num_words (length of the lists), num_sample_words (words of each sample) and num_documents (of
        each sample, for the classifier).

    Departure: overlap and divergence depend on how many words are seen, and resampled documents show fewer distinct
    ones; so the bootstrap's spread is used, centred on the measured value.
    """
    if base not in samples:
        raise StudyError(f"no sample {base!r}", f"one of {', '.join(samples)}", "name a sample as the base's text")
    equal = equal_samples(samples, seed=seed)
    counted = count_words(equal)
    num_words = _supported(counted, most_words)
    num_documents = min(num_documents, *map(len, samples.values()))
    resampled = _resampled_distances(counted, base, num_words, num_resamples, seed=seed)
    rows = {}
    for domain in (name for name in samples if name != base):
        row = _word_distances(counted, base, domain, num_words)
        measured = {
            name: _centred(row[name], resampled[name, domain], most)
            for name, most in (("vocabulary_overlap", 100), ("jensen_shannon", 1))
        }
        measured["proxy_a_distance"] = proxy_a_distance(
            samples[base], samples[domain], num_documents=num_documents, num_resamples=num_resamples, seed=seed
        )
        loss = (masked_lm_loss or {}).get(domain, np.nan)
        measured["masked_lm_loss"] = loss if isinstance(loss, tuple) else (loss, np.nan, np.nan)
        rows[domain] = {
            f"{name}{bound}": value
            for name, values in measured.items()
            for bound, value in zip(("", "_low", "_high"), values, strict=True)
        }
        rows[domain] |= {"jaccard": row["jaccard"], "num_words": num_words}
        rows[domain] |= {"num_sample_words": num_words_in(equal[domain]), "num_documents": num_documents}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("domain")


def pair_distances(
    samples: Mapping[str, Sequence[str]],
    others: Mapping[str, Sequence[str]],
    *,
    most_words: int = 10_000,
    num_documents: int = 1000,
    seed: int,
) -> pd.DataFrame:
    """Measure every pair of a sample (a task's texts) and another (a domain's) by the three distances of text alone.

    Returns:
        Columns sample, other, vocabulary_overlap, jaccard, jensen_shannon, proxy_a_distance, num_words,
        num_sample_words, num_documents; a row a pair.
    """
    equal = equal_samples({**samples, **others}, seed=seed)
    counted = count_words(equal)
    num_words = _supported(counted, most_words)
    size = num_words_in(next(iter(equal.values())))
    num_documents = min(num_documents, *map(len, [*samples.values(), *others.values()]))
    rows = []
    for sample, other in product(samples, others):
        a_distance, _, _ = proxy_a_distance(others[other], samples[sample], num_documents=num_documents, seed=seed)
        measured = _word_distances(counted, other, sample, num_words)
        rows.append({"sample": sample, "other": other, **measured, "proxy_a_distance": a_distance})
    return pd.DataFrame(rows).assign(num_words=num_words, num_sample_words=size, num_documents=num_documents)


def _word_distances(counted: WordCounts, base: str, domain: str, num_words: int) -> dict[str, float]:
    totals = counted.totals(base), counted.totals(domain)
    shared = int(np.count_nonzero(_in_list(totals[0], num_words) & _in_list(totals[1], num_words)))
    overlaps = {"vocabulary_overlap": 100 * shared / num_words, "jaccard": 100 * shared / (2 * num_words - shared)}
    return overlaps | {"jensen_shannon": jensen_shannon_divergence(*totals)}


def _resampled_distances(counted: WordCounts, base: str, num_words: int, num_resamples: int, *, seed: int):
    """Measure every sample against `base` with documents drawn with replacement, some resamples at a time.

    Returns:
        By distance and sample, (num_resamples,).
    """
    size = max(1, min(num_resamples, _COUNTS_AT_ONCE // len(counted.words)))
    sizes = [min(size, num_resamples - start) for start in range(0, num_resamples, size)]
    found: dict[tuple[str, str], list[np.ndarray]] = defaultdict(lambda: [np.empty(0)])
    draws = {name: _draw_documents(counts, num_words, sizes, seed) for name, counts in counted.counts.items()}
    for drawn in zip(*draws.values(), strict=True):
        by_sample = dict(zip(draws, drawn, strict=True))
        base_list, base_shares = by_sample.pop(base)
        for name, (in_list, shares) in by_sample.items():
            found["vocabulary_overlap", name].append(100 * (in_list & base_list).sum(axis=1) / num_words)
            mixed = _entropy((shares + base_shares) / 2) - (_entropy(shares) + _entropy(base_shares)) / 2
            found["jensen_shannon", name].append(mixed)
    return defaultdict(lambda: np.empty(0), {key: np.concatenate(parts) for key, parts in found.items()})


def _draw_documents(counts: sparse.csr_matrix, num_words: int, sizes: Sequence[int], seed: int):
    """Yield resamples of a sample: (size, num_words) whether a word is among the most frequent, and its share."""
    num_documents = counts.shape[0]
    rng = np.random.default_rng([seed, num_documents, int(counts.sum())])
    for size in sizes:
        weights = rng.multinomial(num_documents, np.full(num_documents, 1 / num_documents), size)
        totals = (counts.T.astype(np.float64) @ weights.T).T  # a resample is a row of document weights times the counts
        yield _in_list(totals, num_words), (totals / totals.sum(axis=1, keepdims=True)).astype(np.float32)


def _entropy(shares: np.ndarray) -> np.ndarray:
    """Return the entropy of each row, in bits."""
    logs = np.log2(np.maximum(shares, np.finfo(np.float32).tiny))  # what is zero stays so in the product
    return -np.einsum("...w,...w->...", shares, logs, dtype=np.float64)


def _in_list(totals: np.ndarray, num_words: int) -> np.ndarray:
    """Mark, in the last axis, the num_words most frequent words: earlier words win ties, absent words never enter."""
    width = totals.shape[-1]
    keys = totals.astype(np.float64) * width - np.arange(width)  # distinct, so a threshold cuts exactly
    cut = np.partition(keys, width - num_words, axis=-1)[..., width - num_words, None]
    return (keys >= cut) & (totals > 0)


def _centred(measured: float, resampled: np.ndarray, most: float) -> tuple[float, float, float]:
    if not len(resampled):
        return measured, np.nan, np.nan
    low, high = measured + np.quantile(resampled - resampled.mean(), QUANTILES)
    return measured, float(max(low, 0)), float(min(high, most))


# Agreement -----------------------------------------------------------------------------------------------------


def spearman(values: np.ndarray, others: np.ndarray) -> float:
    """Return Spearman's rank correlation of two vectors; NaN where one side does not vary."""
    if np.ptp(values) == 0 or np.ptp(others) == 0:
        return math.nan
    return float(spearmanr(values, others).statistic)


def agreement(distances: pd.DataFrame) -> pd.DataFrame:
    """Compare the order in which each two distances put the same rows (domains, or pairs of task and domain).

    Overlap is a similarity, so it enters as 100 - overlap: 1 is always the same order, -1 the reverse.

    Returns:
        Columns distance, other_distance, spearman, num_points; a row for each two distances measured throughout.
    """
    columns = [name for name in DISTANCES if name in distances and distances[name].notna().all()]
    values = {name: as_distance(name, distances[name].to_numpy(float)) for name in columns}
    rows = [(a, b, spearman(values[a], values[b]), len(distances)) for a, b in combinations(columns, 2)]
    return pd.DataFrame(rows, columns=["distance", "other_distance", "spearman", "num_points"])


def as_distance(name: str, values: np.ndarray) -> np.ndarray:
    """Turn a similarity into a distance, so that more always means farther."""
    return 100 - values if name == "vocabulary_overlap" else values
