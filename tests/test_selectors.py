"""Embedders: texts that share words come out near. BM25 by hand; importance weights prefer the task's words."""

import builtins
import math

import numpy as np
import pytest
import torch

from dontstop import tokens
from dontstop.errors import StudyError
from dontstop.profiles import Encoder, Selection
from dontstop.selection import neighbours, selectors
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
    embedder = selectors.TfidfSvd(3, seed=0).fit(TEXTS)
    vectors = neighbours.unit(embedder.embed(TEXTS[:4]))
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.5 > abs(similarity[0, 2]) and similarity.dtype == np.float32
    assert embedder.embed(["unknown words"]).tolist() == [[0, 0, 0]]
    with pytest.raises(StudyError, match="no words in 2 texts"):
        selectors.TfidfSvd(3, seed=0).fit(["the", "of"])


def test_tfidf_finds_words_of_a_script_without_spaces():
    texts = ["预训练语言模型在任务上", "语言模型效果很好", "天气晴朗适合散步", "今天散步很适合"]
    vectors = neighbours.unit(selectors.TfidfSvd(3, seed=0).fit(texts).embed(texts))
    similarity = vectors @ vectors.T
    assert min(similarity[0, 1], similarity[2, 3]) > 0.2 > abs(similarity[0, 2])


def test_the_encoders_mean_is_that_of_its_states_without_padding(base):
    embedder = selectors.EncoderMean(base, max_length=32).fit(TEXTS)
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
    embedder = selectors.make_embedder("sentence_transformer", settings, base, 32, seed=0).fit(TEXTS)
    ours = selectors.EncoderMean(base, max_length=32).embed(TEXTS[:4])
    np.testing.assert_allclose(embedder.embed(TEXTS[:4]), ours, atol=1e-4)


def test_a_folder_without_a_model_is_told(tmp_path):
    pytest.importorskip("sentence_transformers")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match="no loadable sentence transformer at"):
        selectors.SentenceTransformers(str(tmp_path / "empty"))


def test_the_package_missing_is_told(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("sentence_transformers"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StudyError, match=r"pip install -c constraints.txt -e .\[sentence\]"):
        selectors.SentenceTransformers("anything")


def test_a_sentence_transformer_without_a_name_is_told():
    with pytest.raises(ValueError, match="needs a folder or hub name"):
        Selection(selector="sentence_transformer")


def test_a_selector_that_draws_as_much_as_another_finds_is_no_main_one():
    with pytest.raises(ValueError, match="name it under compared"):
        Selection(selector="dsir")


CHUNKS = [["red apple", "green apple tree here"], ["blue car", "red red red"]]
ALL = np.ones(4, bool)


def bm25(queries, chunks, k, allowed=ALL):
    return selectors.Bm25(queries, chunks).search(queries, k, allowed)


def test_bm25_by_hand():
    indices, scores = bm25(["red", "apple unseen"], CHUNKS, 4)
    # `red` stands in texts 0 and 3 of 4; lengths 2, 4, 2, 3, on average 2.75.
    rarity = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5))

    def score(count, length):
        return rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / 2.75))

    assert indices[0, :2].tolist() == [3, 0] and scores[0, :2].tolist() == pytest.approx([score(3, 3), score(1, 2)])
    assert indices[1, :2].tolist() == [0, 1] and scores[1, 1] == pytest.approx(score(1, 4))


def test_a_query_has_as_many_neighbours_by_bm25_as_texts_that_share_its_words():
    indices, scores = bm25(["red", "nowhere", "blue apple"], CHUNKS, 4)
    assert indices.tolist() == [[3, 0, -1, -1], [-1] * 4, [2, 0, 1, -1]]
    assert ((scores > 0) == (indices >= 0)).all()


def test_what_is_not_allowed_is_not_found_by_bm25():
    some = bm25(["red", "apple"], CHUNKS, 2, np.array([True, True, True, False]))
    assert some[0].tolist() == [[0, -1], [0, 1]]
    assert some[1][0, 0] == bm25(["red", "apple"], CHUNKS, 2)[1][0, 1]


def test_bm25_depends_neither_on_the_chunks_nor_on_other_tasks_queries():
    whole, queries = [[text for some in CHUNKS for text in some]], ["red tree"]
    expected = bm25(queries, CHUNKS, 3)
    together = selectors.Bm25(["apple", *queries, "car"], CHUNKS).search(queries, 3, ALL)
    for found in (bm25(queries, whole, 3), together):
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


class Chunks:
    """Candidates that are held in memory."""

    def __init__(self, chunks):
        self._chunks = chunks

    def chunks(self):
        return iter(self._chunks)


def test_importance_is_greater_for_what_sounds_like_the_task():
    tasks = {"matrices": ["solve the matrix equation"] * 5, "houses": ["paint the old house"] * 5}
    texts = ["solve the matrix equation now", "paint the old red house", "the cat sat on the mat"] * 20
    weights = selectors.importance_weights(tasks, Chunks([texts]))
    assert weights["matrices"][0] > max(weights["matrices"][1:3]) and weights["houses"][:3].argmax() == 1
    assert weights["houses"].shape == (60,)
    in_chunks = selectors.importance_weights(tasks, Chunks([texts[:7], texts[7:]]))
    np.testing.assert_allclose(in_chunks["houses"], weights["houses"])


def test_importance_by_hand():
    # One- and two-word n-grams: of the task a, b, "a b"; of the domain a, c and "a c".
    weight = selectors.importance_weights({"t": ["a b"]}, Chunks([["A, c"]]))["t"]
    # Shares of (count + 1) / (3 + number of buckets): a is as frequent in both, c and "a c" half as in the domain.
    assert weight.tolist() == pytest.approx([2 * math.log(1 / 2)])


def test_resampling_is_drawn_in_proportion_to_the_weights():
    log_weights = np.log(np.array([1.0, 2.0, 4.0]))
    first = [selectors.resampling_order(log_weights, seed=seed)[0] for seed in range(3000)]
    shares = np.bincount(first, minlength=3) / 3000
    assert shares == pytest.approx([1 / 7, 2 / 7, 4 / 7], abs=0.03)
    again = selectors.resampling_order(log_weights, seed=5)
    np.testing.assert_array_equal(again, selectors.resampling_order(log_weights, seed=5))
