"""Masked guesses: sentences and words are chosen by rules, probabilities are the encoder's own."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tiny
from conftest import PROJECT
from dontstop import tokens
from dontstop.machine import files
from dontstop.profiles import Encoder, load_profile
from dontstop.text import corpora
from dontstop.training import encoders
from dontstop.verdicts import guesses
from test_readme import committed

DOCUMENTS = [f"{text}. Another is short." for text in tiny.texts("cs", "guesses", 12, 10)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guesses") / "tokenizer"
    tokens.train_tokenizer(DOCUMENTS, 360, folder)
    return tokens.load_tokenizer(folder)


@pytest.fixture(scope="module")
def masked(tokenizer):
    return guesses.chosen(DOCUMENTS, tokenizer, 4)


@pytest.fixture(scope="module")
def encoder(tokenizer, tmp_path_factory):
    shape = Encoder(hidden_size=16, num_layers=2, num_heads=2, intermediate_size=24)
    model = encoders.build_encoder(shape, tokenizer, max_length=64, seed=0)
    with torch.no_grad():
        model.decoder.bias.copy_(torch.linspace(-3, 3, len(tokenizer)))  # so that words differ in probability
    folder = tmp_path_factory.mktemp("encoder") / "base"
    encoders.save_encoder(model, tokenizer, folder)
    return folder


def test_sentences_are_the_first_by_digest_whatever_the_order_of_documents(tokenizer, masked):
    long = sorted((document.split(". ")[0] + "." for document in DOCUMENTS), key=files.fingerprint)
    assert list(masked) == [sentence for sentence in long if sentence in masked] and len(masked) == 4
    assert guesses.chosen(DOCUMENTS[::-1], tokenizer, 4) == masked
    assert list(guesses.chosen(DOCUMENTS, tokenizer, 2)) == list(masked)[:2]


def test_three_different_whole_words_of_few_pieces_are_masked(tokenizer, masked):
    for sentence, words in masked.items():
        assert len({word.text for word in words}) == guesses.NUM_MASKED
        ids = tokenizer(sentence)["input_ids"]
        for word in words:
            assert sentence[word.position :].startswith(word.text) and len(word.places) <= guesses.MOST_PIECES
            assert tokenizer.decode([ids[place] for place in word.places]).strip() == word.text


def test_the_rows_are_the_encoders_own_probabilities_with_and_without_padding(tokenizer, masked, encoder):
    found = guesses.guess({"base": encoder}, tokenizer, masked)
    assert len(found) == 4 * guesses.NUM_MASKED * guesses.NUM_GUESSES
    sentence, words = next(iter(masked.items()))
    alone = guesses.guess({"base": encoder}, tokenizer, {sentence: words})
    of_first = found[found["sentence"] == sentence].reset_index(drop=True)
    assert of_first["guess"].tolist() == alone["guess"].tolist()
    assert of_first["log_probability"].tolist() == pytest.approx(alone["log_probability"].tolist(), abs=1e-4)
    ids = tokenizer(sentence, return_tensors="pt")["input_ids"]
    hidden = ids.clone()
    hidden[0, [place for word in words for place in word.places]] = tokenizer.mask_token_id
    logits = torch.log_softmax(encoders.load_encoder(encoder)(input_ids=hidden).logits[0], dim=1)
    expected = sum(logits[place, ids[0, place]].item() for place in words[0].places)
    assert alone["log_probability"][0] == pytest.approx(expected, abs=1e-4)
    best = np.prod([logits[place].max().exp().item() for place in words[0].places])
    assert alone["probability"][0] == pytest.approx(best, rel=1e-3)


def test_the_best_words_of_two_pieces_are_those_of_all_pairs():
    piece = torch.log_softmax(torch.tensor(np.random.default_rng(0).normal(size=(2, 9))), dim=1)
    pairs = sorted(((piece[0, i] + piece[1, j]).item(), [i, j]) for i in range(9) for j in range(9))[::-1]
    found = guesses._best(piece)
    assert [ids for _, ids in found] == [ids for _, ids in pairs[: guesses.NUM_GUESSES]]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Give a study of the paper's domains without any weights."""
    monkeypatch.setattr(corpora, "load_documents", lambda path: [{"text": DOCUMENTS[0]}])
    profile = load_profile("mini", PROJECT).model_copy(update={"replicates": 2})
    folder = SimpleNamespace(held_out=lambda _: tmp_path, tokenizer=lambda: tmp_path)
    place = lambda checkpoint: tmp_path / str(checkpoint.replicate) / checkpoint.name  # noqa: E731
    return SimpleNamespace(tasks=[], profile=profile, paths=folder, checkpoint_folder=place)


def test_without_weights_there_is_an_empty_frame_and_no_error(study):
    assert guesses.guesses(study, "cs", 3).columns.tolist() == guesses.COLUMNS


def test_the_base_the_domain_and_its_irrelevant_one_guess_in_the_first_replicate_here(study, tmp_path, monkeypatch):
    for name in ("base", "dapt_cs", "dapt_news", "dapt_biomed"):
        (tmp_path / "1" / name).mkdir(parents=True)
        (tmp_path / "1" / name / "model.safetensors").touch()
    monkeypatch.setattr(guesses, "guess", lambda folders, *_: folders)
    monkeypatch.setattr(guesses, "chosen", lambda *_: {})
    monkeypatch.setattr(guesses.tokens, "load_tokenizer", lambda _: None)
    found = guesses.guesses(study, "cs", 3)
    assert list(found) == ["base", "dapt_cs", "dapt_news"] and found["base"] == tmp_path / "1" / "base"
    (tmp_path / "0" / "base").mkdir(parents=True)  # whose other encoders are gone: the second has more to show
    (tmp_path / "0" / "base" / "model.safetensors").touch()
    assert guesses.guesses(study, "cs", 3) == found


@pytest.mark.parametrize("notebook", ["02_dapt", "03_tapt"])
def test_the_committed_gallery_has_its_sentences(notebook):
    executed = json.loads(committed(f"results/laptop/notebooks/{notebook}.ipynb"))
    drawn = [cell for cell in executed["cells"] if "gallery" in "".join(cell["source"]) and cell.get("outputs")]
    said = str([cell["outputs"] for cell in drawn])
    assert re.search(r"makes \d+ of 30 masked words more probable", said), "draw it where encoders are"
