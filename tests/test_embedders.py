"""Embedders behind one interface: texts that share words or form come out near; each is the same again."""

import builtins

import numpy as np
import pytest
import torch

from dontstop import tokens
from dontstop.errors import StudyError
from dontstop.profiles import Encoder, Selection
from dontstop.selection import embedders, neighbours
from dontstop.training import encoders

TEXTS = [
    "solve the linear equation with a matrix",
    "a matrix and its linear equation",
    "paint the wooden door in green",
    "a green door of painted wood",
] * 5


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tokens.train_tokenizer(TEXTS * 3, 300, folder / "tokenizer")
    tokenizer = tokens.load_tokenizer(folder / "tokenizer")
    shape = Encoder(hidden_size=16, num_layers=2, num_heads=2, intermediate_size=24)
    encoders.save_encoder(
        encoders.build_encoder(shape, tokenizer, max_length=32, seed=0), tokenizer, folder / "encoder"
    )
    return folder / "encoder"


def test_tfidf_brings_texts_of_the_same_words_together():
    embedder = embedders.TfidfSvd(3, seed=0).fit(TEXTS)
    vectors = neighbours.unit(embedder.embed(TEXTS[:4]))
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.5 > abs(likeness[0, 2]) and likeness.dtype == np.float32
    assert embedder.embed(["unknown words"]).tolist() == [[0, 0, 0]]
    with pytest.raises(StudyError, match="no words in 2 texts"):
        embedders.TfidfSvd(3, seed=0).fit(["the", "of"])


def test_the_encoders_mean_is_that_of_its_states_without_padding(base):
    embedder = embedders.EncoderMean(base, max_length=32).fit(TEXTS)
    vectors = embedder.embed(TEXTS[:4])
    model = encoders.load_encoder(base)
    for text, vector in zip(TEXTS[:4], vectors, strict=True):
        ids = torch.tensor([embedder._tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            states = model.base_model(input_ids=ids).last_hidden_state[0]
        np.testing.assert_allclose(vector, states.mean(0).numpy(), atol=1e-5)
    assert embedder.embed([]).shape == (0, 16)


def test_a_sentence_transformers_folder_is_loaded(base, tmp_path):
    package = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    word_states = Transformer(str(base))
    pooling = Pooling(word_states.get_embedding_dimension(), pooling_mode="mean")
    package.SentenceTransformer(modules=[word_states, pooling], device="cpu").save(str(tmp_path / "model"))
    settings = Selection(selector="sentence_transformer", sentence_transformer=str(tmp_path / "model"))
    embedder = embedders.make_embedder("sentence_transformer", settings, base, 32).fit(TEXTS)
    ours = embedders.EncoderMean(base, max_length=32).embed(TEXTS[:4])
    np.testing.assert_allclose(embedder.embed(TEXTS[:4]), ours, atol=1e-4)


def test_a_folder_without_a_model_is_told(tmp_path):
    pytest.importorskip("sentence_transformers")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match="no loadable sentence transformer at"):
        embedders.SentenceTransformers(str(tmp_path / "empty"))


def test_the_package_missing_is_told(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("sentence_transformers"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StudyError, match=r"pip install -c constraints.txt -e .\[sentence\]"):
        embedders.SentenceTransformers("anything")


def test_a_sentence_transformer_without_a_name_is_told():
    with pytest.raises(ValueError, match="needs a folder or hub name"):
        Selection(selector="sentence_transformer")
