"""Distances between samples of text: shared frequent words, word distributions, a classifier that distinguishes them.

Source: section 3.1 and Figure 2 of the paper for the overlap; the other distances stand beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations, product

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial.distance import jensenshannon
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from dontstop.errors import StudyError
from dontstop.text.words import fold
from dontstop.verdicts import vocabulary
from dontstop.verdicts.effects import QUANTILES
from dontstop.verdicts.vocabulary import WORD, Samples, WordCounts

DISTANCES = ("vocabulary_overlap", "jensen_shannon", "proxy_a_distance", "masked_lm_loss")
_SIZES = ["num_words", "num_sample_words", "num_documents"]
_NUM_FOLDS = 5
_COUNTS_AT_ONCE = 1_000_000  # words times resamples, of a sample, held in memory


def jensen_shannon_divergence(counts: np.ndarray, other_counts: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence of two unigram distributions, in bits: 0 alike, 1 nothing shared.

    Both are (num_words,) counts over the same words; they need not sum to one.
    """
    return float(jensenshannon(counts, other_counts, base=2) ** 2)


def proxy_a_distance(
    texts: Sequence[str], others: Sequence[str], *, num_documents=1000, num_passage_words=50, num_resamples=0, seed: int
) -> tuple[float, float, float]:
    """Distinguish two samples by a linear classifier of passages, and turn its error into a distance.

    As many passages of each sample, one a document and of a bounded length; a linear support vector machine on
    tf-idf weights, five-fold cross-validated; 2 (1 - 2 error), so that 0 is guessing and 2 is certainty.

    Returns:
        The distance and its 95 % interval over passages (the classifier held fixed); NaN bounds without resamples.

    Source: Ben-David et al. 2007, as Elsahar and Galle 2019 use it to foresee a drop in score.
    """
    rng, size = np.random.default_rng(seed), min(num_documents, len(texts), len(others))
    if size < _NUM_FOLDS:
        raise StudyError(f"{size} documents in a sample", f"{_NUM_FOLDS} or more", "take larger samples")
    analyze = vocabulary.word_counter().build_analyzer()
    passages = [analyze(p) for sample in (texts, others) for p in _passages(sample, size, num_passage_words, rng)]
    origins, words = np.repeat([0, 1], size), TfidfVectorizer(analyzer=list, sublinear_tf=True)
    # Fitted in each fold anew, so that it knows the words that occur in training only.
    classifier = make_pipeline(words, LinearSVC(random_state=seed, max_iter=10_000))
    folds = StratifiedKFold(_NUM_FOLDS, shuffle=True, random_state=seed)
    wrong = cross_val_predict(classifier, passages, origins, cv=folds) != origins  # (2 * size,)
    # Resampling as many passages of each sample is drawing the number of errors in each.
    errors = rng.binomial(size, wrong.reshape(2, size).mean(axis=1), size=(num_resamples, 2)).sum(axis=1)
    distance, *drawn = np.maximum(0.0, 2 * (1 - 2 * np.array([wrong.mean(), *(errors / (2 * size))])))
    low, high = np.quantile(drawn, QUANTILES) if num_resamples else (np.nan, np.nan)
    return float(distance), float(low), float(high)


def _passages(texts: Sequence[str], size: int, num_words: int, rng: np.random.Generator) -> Iterator[str]:
    for index in rng.choice(len(texts), size, replace=False):
        text = fold(texts[index])
        words = list(WORD.finditer(text))
        start = int(rng.integers(max(1, len(words) - num_words + 1)))
        span = words[start : start + num_words]
        yield text[span[0].start() : span[-1].end()] if span else ""


def distance_table(
    samples: Samples,
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
        samples: Texts by domain (or task), among them `base`, which stands for the base encoder's own text.
        masked_lm_loss: The base encoder's loss by domain, where measured; a float, or with its interval's bounds.
        most_words: Length of the lists of frequent words, if every sample supports it.
        num_documents: Of each sample, for the proxy A-distance.
        num_resamples: Bootstrap resamples of documents; 0 leaves the intervals out.

    Returns:
        Index domain (without `base`); for each distance its value and `_low`, `_high` (95 %); `jaccard`; and how it
        was measured: num_words (length of the lists), num_sample_words and num_documents (each sample's).

    Departure: overlap and divergence depend on how many words are seen, and resampled documents show fewer distinct
    ones; so the bootstrap's spread is used, centred on the measured value.
    """
    if base not in samples:
        raise StudyError(f"no sample {base!r}", f"one of {', '.join(samples)}", "name a sample as the base's text")
    domains = [name for name in samples if name != base]
    table = _measure(samples, domains, [base], most_words, num_documents, num_resamples=num_resamples, seed=seed)
    table = table.drop(columns="other").set_index("sample").rename_axis("domain")
    losses = [(masked_lm_loss or {}).get(domain, np.nan) for domain in table.index]
    losses = np.array([loss if isinstance(loss, tuple) else (loss, np.nan, np.nan) for loss in losses])
    table[_bounded("masked_lm_loss")] = losses.reshape(-1, 3)
    return table[[*table.columns.drop(_SIZES), *_SIZES]]


def pair_distances(
    samples: Samples, others: Samples, *, most_words=10_000, num_documents=1000, seed: int
) -> pd.DataFrame:
    """Measure every pair of a sample (a task's texts) and another (a domain's) by the three distances of text alone.

    Columns sample, other, vocabulary_overlap, jaccard, jensen_shannon, proxy_a_distance, num_words, num_sample_words,
    num_documents.
    """
    table = _measure({**samples, **others}, list(samples), list(others), most_words, num_documents, seed=seed)
    return table[[column for column in table if not column.endswith(("_low", "_high"))]]


def _bounded(name: str) -> list[str]:
    return [name, f"{name}_low", f"{name}_high"]


def _measure(samples, names, others: Sequence[str], most_words, num_documents, *, num_resamples=0, seed):
    """Measure samples against others (a single one, if resampled); columns as in `distance_table`."""
    equal = vocabulary.equal_samples(samples, seed=seed)
    counted, num_documents = vocabulary.count_words(equal), min(num_documents, *map(len, samples.values()))
    num_words, size = counted.num_supported(most_words), vocabulary.num_words_in(next(iter(equal.values())))
    lists, totals = {k: counted.most_frequent(k, num_words) for k in equal}, {k: counted.totals(k) for k in equal}
    resampled = _resampled_distances(counted, others[0], num_words, num_resamples, seed=seed)
    how = {"num_documents": num_documents, "num_resamples": num_resamples, "seed": seed}
    rows = [
        (
            name,
            other,
            *_centred(vocabulary.vocabulary_overlap(lists[other], lists[name]), resampled[DISTANCES[0], name], 100),
            vocabulary.jaccard(lists[other], lists[name]),
            *_centred(jensen_shannon_divergence(totals[other], totals[name]), resampled[DISTANCES[1], name], 1),
            *proxy_a_distance(samples[other], samples[name], **how),
        )
        for name, other in product(names, others)
    ]
    overlap, *more = (_bounded(distance) for distance in DISTANCES[:3])
    table = pd.DataFrame(rows, columns=["sample", "other", *overlap, "jaccard", *chain(*more)])
    return table.assign(**dict(zip(_SIZES, (num_words, size, num_documents), strict=True)))


def _resampled_distances(counted: WordCounts, base: str, num_words: int, num_resamples: int, *, seed: int):
    """Measure samples against `base`, documents drawn with replacement: by distance and sample, (num_resamples,)."""
    size = max(1, min(num_resamples, _COUNTS_AT_ONCE // len(counted.words)))
    sizes = [min(size, num_resamples - start) for start in range(0, num_resamples, size)]
    found = {(distance, name): [np.empty(0)] for distance in DISTANCES[:2] for name in counted.counts}
    draws = {name: _draw_documents(counts, num_words, sizes, seed) for name, counts in counted.counts.items()}
    for drawn in zip(*draws.values(), strict=True):
        by_sample = dict(zip(draws, drawn, strict=True))
        base_list, base_shares = by_sample[base]
        for name, (in_list, shares) in by_sample.items():
            found[DISTANCES[0], name].append(vocabulary.vocabulary_overlap(base_list, in_list))
            mixed = _entropy((shares + base_shares) / 2) - (_entropy(shares) + _entropy(base_shares)) / 2
            found["jensen_shannon", name].append(mixed)
    return {key: np.concatenate(parts) for key, parts in found.items()}


def _draw_documents(counts: sparse.csr_matrix, num_words: int, sizes: Sequence[int], seed: int):
    """Yield resamples of a sample: (size, num_words) how far a word is in the list, and its share."""
    num_documents = counts.shape[0]
    rng = np.random.default_rng([seed, num_documents, int(counts.sum())])
    for size in sizes:
        weights = rng.multinomial(num_documents, np.full(num_documents, 1 / num_documents), size)
        totals = (counts.T.astype(np.float64) @ weights.T).T  # a resample is a row of document weights times the counts
        yield vocabulary.in_list(totals, num_words), (totals / totals.sum(axis=1, keepdims=True)).astype(np.float32)


def _entropy(shares: np.ndarray) -> np.ndarray:
    """Return the entropy of each row, in bits."""
    logs = np.log2(np.maximum(shares, np.finfo(np.float32).tiny))  # what is zero stays so in the product
    return -np.einsum("...w,...w->...", shares, logs, dtype=np.float64)


def _centred(measured: float, resampled: np.ndarray, most: float) -> tuple[float, float, float]:
    if not len(resampled):
        return measured, np.nan, np.nan
    return measured, *np.clip(measured + np.quantile(resampled - resampled.mean(), QUANTILES), 0, most)


def spearman(values: np.ndarray, others: np.ndarray) -> float:
    """Return Spearman's rank correlation of two vectors; NaN where one side does not vary."""
    varies = np.ptp(values) > 0 and np.ptp(others) > 0
    return float(spearmanr(values, others).statistic) if varies else np.nan


def agreement(distances: pd.DataFrame) -> pd.DataFrame:
    """Compare the order in which each two distances put the same rows (domains, or pairs of task and domain).

    Overlap is a similarity, so it enters as 100 - overlap: 1 is always the same order, -1 the reverse. Columns
    distance, other_distance, spearman, num_points; a row for each two distances measured throughout.
    """
    far = as_distances(distances)
    rows = [(a, b, spearman(far[a], far[b]), len(far)) for a, b in combinations(far, 2)]
    return pd.DataFrame(rows, columns=["distance", "other_distance", "spearman", "num_points"])


def as_distances(table: pd.DataFrame) -> pd.DataFrame:
    """Return the distances that were measured throughout, as `as_distance` turns them."""
    columns = [name for name in DISTANCES if name in table and table[name].notna().all()]
    return pd.DataFrame({name: as_distance(name, table[name].astype(float)) for name in columns}, table.index)


def as_distance(name: str, values: np.ndarray) -> np.ndarray:
    """Turn a similarity into a distance, so that more always means farther."""
    return 100 - values if name == "vocabulary_overlap" else values
