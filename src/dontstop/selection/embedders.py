"""Embedders of texts, all with two methods: `fit` on texts, and `embed` texts as vectors to be compared by cosine."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from dontstop.errors import StudyError
from dontstop.machine.randomness import seed_of
from dontstop.profiles import Selection
from dontstop.selection.vampire import Vampire
from dontstop.training import encoders

ENCODER_BATCH = 64  # texts


class Embedder(Protocol):
    """What selection asks of an embedder."""

    def fit(self, texts: Sequence[str]) -> "Embedder":
        """Learn from texts what it needs, and return itself."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return (num_texts, num_dimensions) float32."""


class TfidfSvd:
    """Tf-idf, cut down to a few dimensions by a truncated singular value decomposition (latent semantic analysis)."""

    def __init__(self, num_dimensions: int, *, seed: int):
        self._words = TfidfVectorizer(sublinear_tf=True, stop_words="english", dtype=np.float32)
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


class EncoderMean:
    """The states of an encoder's last layer, averaged over a text's tokens; nothing is learnt."""

    def __init__(self, folder: Path, *, max_length: int):
        from transformers import AutoTokenizer

        self._model = encoders.load_encoder(folder)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._max_length = max_length

    def fit(self, texts: Sequence[str]) -> "EncoderMean":
        """Do nothing: the encoder is what it is."""
        return self

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


class SentenceTransformers:
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
            self._model = SentenceTransformer(name, device="cpu", model_kwargs={"use_safetensors": True})
        except (OSError, ValueError) as error:
            raise StudyError(
                f"no loadable sentence transformer at {name}: {str(error).splitlines()[0]}",
                "a folder or hub name of one with safetensors",
                "mend selection.sentence_transformer",
            ) from error

    def fit(self, texts: Sequence[str]) -> "SentenceTransformers":
        """Do nothing: the model is what it is."""
        return self

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return (num_texts, num_dimensions) float32."""
        return self._model.encode(list(texts), show_progress_bar=False, convert_to_numpy=True).astype(np.float32)


EMBEDDERS: dict[str, Callable[[Selection, Path, int], Embedder]] = {
    "vampire": lambda settings, base, length: Vampire(settings.vampire, seed=settings.seed),
    "tfidf": lambda settings, base, length: TfidfSvd(settings.num_dimensions, seed=settings.seed),
    "encoder": lambda settings, base, length: EncoderMean(base, max_length=length),
    "sentence_transformer": lambda settings, base, length: SentenceTransformers(settings.sentence_transformer),
}


def make_embedder(selector: str, settings: Selection, base: Path, max_length: int) -> Embedder:
    """Make the embedder that a selector names.

    Args:
        base: The base encoder's folder.
        max_length: Tokens of a text that the base encoder reads.
    """
    return EMBEDDERS[selector](settings, base, max_length)
