"""Retrieval methods: embedders, whose vectors are compared by cosine; and, without vectors, BM25 and resampling."""

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import scipy.sparse
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer

from dontstop.errors import StudyError
from dontstop.machine import pretrained
from dontstop.machine.randomness import generator, seed_of
from dontstop.profiles import Selection
from dontstop.selection.candidates import Candidates
from dontstop.selection.neighbours import best, matches
from dontstop.selection.vampire import Vampire
from dontstop.text import leakage
from dontstop.text.words import bag_words
from dontstop.training import encoders

ENCODER_BATCH = 64  # texts
SATURATION, LENGTH_WEIGHT = 1.2, 0.75  # BM25's k1 and b, as is usual
QUERIES = 64  # scored by BM25 at a time
_WORD = re.compile(r"\b\w\w+\b")
NUM_BUCKETS = 10_000  # of hashed n-grams, as in the paper on DSIR


# Embedders -------------------------------------------------------------------------------------------------------


class Embedder(Protocol):
    """What selection asks of an embedder; one whose class says no more is pretrained, and has nothing to fit."""

    def fit(self, texts: Sequence[str]) -> "Embedder":
        """Learn from texts what it needs, and return itself."""
        return self

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return (num_texts, num_dimensions) float32."""


class TfidfSvd(Embedder):
    """Tf-idf, cut down to a few dimensions by a truncated singular value decomposition (latent semantic analysis)."""

    def __init__(self, num_dimensions: int, *, seed: int):
        how = {"tokenizer": functools.partial(bag_words, spaced=_WORD), "token_pattern": None, "stop_words": "english"}
        self._words = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **how)
        self._num_dimensions, self._seed = num_dimensions, seed

    def fit(self, texts: Sequence[str]) -> "TfidfSvd":
        """Learn the vocabulary, the weights and the dimensions."""
        try:
            weights = self._words.fit_transform(texts)
        except ValueError as error:
            raise StudyError(f"no words in {len(texts):,} texts", "words other than stop words", "give text") from error
        num_dimensions = min(self._num_dimensions, weights.shape[1] - 1, weights.shape[0] - 1)
        state = seed_of("svd", self._seed) % 2**32
        self._svd = TruncatedSVD(max(num_dimensions, 1), random_state=state).fit(weights)
        return self

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return (num_texts, num_dimensions) float32; zeros where no word is known."""
        return self._svd.transform(self._words.transform(texts)).astype(np.float32)


class EncoderMean(Embedder):
    """The states of an encoder's last layer, averaged over a text's tokens."""

    def __init__(self, folder: Path, *, max_length: int):
        from transformers import AutoTokenizer

        self._model = encoders.load_encoder(folder)
        self._tokenizer = pretrained.load(AutoTokenizer, folder, local_files_only=True)
        self._max_length = max_length

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return (num_texts, hidden_size) float32."""
        found = np.zeros((len(texts), self._model.config.hidden_size), np.float32)
        ids = self._tokenizer(list(texts), truncation=True, max_length=self._max_length)["input_ids"] if texts else []
        order = np.argsort([len(text) for text in ids], kind="stable")
        self._model.eval()
        for start in range(0, len(order), ENCODER_BATCH):
            chosen = order[start : start + ENCODER_BATCH]
            padded = self._tokenizer.pad({"input_ids": [ids[k] for k in chosen]}, return_tensors="pt")
            mask = padded["attention_mask"].bool()
            states = encoders.final_states(self._model.base_model, padded["input_ids"], mask)
            found[chosen] = ((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).numpy()
        return found


class SentenceTransformers(Embedder):
    """A model of the package sentence-transformers (an extra: `pip install -e .[sentence]`)."""

    def __init__(self, name: str):
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise StudyError(
                "no package sentence-transformers",
                "it installed, for the selector sentence_transformer",
                "run `pip install -c constraints.txt -e .[sentence]`, or choose another selector",
            ) from error
        try:
            # Safetensors only, and no code from the model's folder: both are the package's defaults, said again here.
            self._model = SentenceTransformer(
                pretrained.refusing_code(name),
                device="cpu",
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        except (OSError, ValueError) as error:
            raise StudyError(
                f"no loadable sentence transformer at {name}: {str(error).splitlines()[0]}",
                "a folder or hub name of one with safetensors",
                "mend selection.sentence_transformer",
            ) from error

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return (num_texts, num_dimensions) float32."""
        return self._model.encode(list(texts), show_progress_bar=False, convert_to_numpy=True).astype(np.float32)


def make_embedder(selector: str, settings: Selection, base: Path, max_length: int, *, seed: int) -> Embedder:
    """Make the embedder of a retrieval method.

    Args:
        base: The base encoder's folder.
        max_length: Tokens of a text that the base encoder reads.
        seed: Of VAMPIRE's training; the decomposition of tf-idf has the settings' own, so that all replicates share it.
    """
    make: dict[str, Callable[[], Embedder]] = {
        "vampire": lambda: Vampire(settings.vampire, seed=seed),
        "tfidf": lambda: TfidfSvd(settings.num_dimensions, seed=settings.seed),
        "encoder": lambda: EncoderMean(base, max_length=max_length),
        "sentence_transformer": lambda: SentenceTransformers(settings.sentence_transformer),
    }
    return make[selector]()


# Without vectors -------------------------------------------------------------------------------------------------


class Bm25:
    """Candidates as bags of the words of some queries, weighted by BM25.

    Source: Robertson and Zaragoza (2009); Yao et al. (2022) select pretraining text by it.
    """

    def __init__(self, queries: Sequence[str], chunks: Iterable[Sequence[str]]):
        """Count the words of the queries in the candidates, which are gone through once, some at a time."""
        self._words = CountVectorizer(analyzer=leakage.words_of, binary=True, dtype=np.float32).fit(queries)
        counter = CountVectorizer(analyzer=leakage.words_of, vocabulary=self._words.vocabulary_, dtype=np.float32)
        counts, lengths = [], []
        for texts in chunks:
            counts.append(counter.transform(texts))
            lengths.append(np.array([len(leakage.words_of(text)) for text in texts], np.float32))
        table, length = scipy.sparse.vstack(counts).tocsc(), np.concatenate(lengths)
        having = np.diff(table.indptr)
        rarity = np.log1p((table.shape[0] - having + 0.5) / (having + 0.5)).astype(np.float32)
        damping = SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * length / length.mean())
        table.data *= (SATURATION + 1) / (table.data + damping[table.indices])
        self._weighted = (table @ scipy.sparse.diags(rarity)).T.tocsr()

    def search(self, queries: Sequence[str], k: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each query's k best candidates, best first, ties by index: (num_queries, k) indices and scores.

        Args:
            queries: Task texts, each a bag of words, among those that the words are of.
            allowed: (num,) bool, which candidates may be found. A query shares words with fewer than k: NONE and 0.
        """
        bags, k = self._words.transform(queries), min(k, len(allowed))
        indices, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        for start in range(0, len(queries), QUERIES):
            part, some = slice(start, start + QUERIES), (bags[start : start + QUERIES] @ self._weighted).toarray()
            some[:, ~allowed] = 0
            indices[part] = np.stack([best(row, k) for row in some])
            scores[part] = np.take_along_axis(some, indices[part], 1)
        return matches(indices, scores, np.finfo(np.float32).tiny)


def importance_weights(targets: Mapping[str, Sequence[str]], candidates: Candidates) -> dict[str, np.ndarray]:
    """Return, by task, how much likelier each candidate is as task text than as domain text: (num,) log weights.

    Both are bags of hashed one- and two-word n-grams; their distributions are counted on the task's texts and on the
    candidates, which are read twice, some at a time.

    Source: Xie et al. (2023), data selection with importance resampling (DSIR).
    """
    hashed = HashingVectorizer(
        analyzer=_one_and_two_words, n_features=NUM_BUCKETS, norm=None, alternate_sign=False
    ).transform

    def shares(counts: np.ndarray) -> np.ndarray:
        return np.log((counts + 1) / (counts.sum() + NUM_BUCKETS))

    domain = shares(sum(hashed(some).sum(0).A1 for some in candidates.chunks()))
    ratios = np.stack([shares(hashed(texts).sum(0).A1) - domain for texts in targets.values()], axis=1)
    weights = np.concatenate([hashed(some) @ ratios for some in candidates.chunks()])
    return dict(zip(targets, weights.T, strict=True))


def _one_and_two_words(text: str) -> list[str]:
    words = leakage.words_of(text)
    return words + [f"{a} {b}" for a, b in itertools.pairwise(words)]


def resampling_order(log_weights: np.ndarray, *, seed: int) -> np.ndarray:
    """Order candidates so that the first n are n drawn without replacement, in proportion to their weights.

    By adding Gumbel noise to the log weights, as the paper on DSIR does.
    """
    noise = generator("importance resampling", seed).gumbel(size=len(log_weights))
    return np.argsort(-(log_weights + noise), kind="stable")
