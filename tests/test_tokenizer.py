"""The tokenizer: round trips, special tokens, and vocabularies that cannot be."""

import pytest

from dontstop import tokens
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Paths, Profile, Tokens
from dontstop.tokens.tokenizer import SPECIAL_TOKENS

TEXTS = ["the cat sat on the mat", "Zwei Wörter, 50 %", "the mat sat on the cat"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Give a byte-level BPE of the smallest vocabulary and five merges."""
    folder = tmp_path_factory.mktemp("tokens") / "tokenizer"
    tokens.train_tokenizer(TEXTS, 266, folder)
    return tokens.load_tokenizer(folder)


def test_text_comes_back_from_its_tokens(tokenizer):
    for text in [*TEXTS, "nothing of this was seen: \u03c0 \U0001f40b"]:
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text
        assert tokenizer.unk_token_id not in ids


def test_special_tokens_have_the_first_ids(tokenizer):
    assert len(tokenizer) == 266
    assert [tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS.values()] == [0, 1, 2, 3, 4]


def test_what_a_text_spells_is_text_and_no_special_token(tokenizer, tmp_path):
    text = "in <mask> of <s>, a<pad> </s>"
    tokens.write_token_store([text], tokenizer, tmp_path / "store")
    stored = tokens.load_token_store(tmp_path / "store").document(0)
    assert stored.tolist() == tokenizer(text)["input_ids"]
    assert min(stored[1:-1]) >= len(SPECIAL_TOKENS) and tokenizer.decode(stored[1:-1]).strip() == text
    tokenizer.save_pretrained(tmp_path / "saved")
    assert "split_special_tokens" not in (tmp_path / "saved" / "tokenizer_config.json").read_text()


@pytest.mark.parametrize(("size", "message"), [(5000, "yields only"), (260, "261 or more")])
def test_a_vocabulary_that_cannot_be_is_told_and_nothing_is_written(tmp_path, size, message):
    with pytest.raises(StudyError, match=message):
        tokens.train_tokenizer(TEXTS, size, tmp_path / "tokenizer")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_tokenizer_is_told(tmp_path):
    with pytest.raises(StudyError, match="no tokenizer"):
        tokens.load_tokenizer(tmp_path / "none")


def test_a_tokenizer_trained_from_an_iterator_is_the_same(tmp_path):
    tokens.train_tokenizer(TEXTS, 280, tmp_path / "list")
    tokens.train_tokenizer(iter(TEXTS), 280, tmp_path / "iterator")
    assert len({files.digest(tmp_path / name / "tokenizer.json") for name in ("list", "iterator")}) == 1


@pytest.mark.parametrize("trained_on", ["general", "all"])
def test_the_tokenizer_knows_the_domains_words_where_it_is_trained_on_all(tmp_path, trained_on):
    profile = Profile(name="x", tokens=Tokens(vocabulary_size=273, trained_on=trained_on))
    paths = Paths("x", tmp_path)
    for name, text in (("general", "ordinary words here " * 9), ("numerical", "eigenvalue eigenvalue " * 90)):
        for path in (paths.corpus(name), paths.held_out(name)):
            files.write_jsonl(path, [{"id": "a", "text": text, "source": "b"}])
    for split in ("train", "dev", "test"):
        files.write_jsonl(paths.split("t", split), [{"id": "a", "text": "ordinary words", "label": "c"}])
    tokens.prepare_tokens(profile, paths, ["general", "numerical"], ["t"])
    pieces = tokens.load_tokenizer(paths.tokenizer()).tokenize("eigenvalue")
    assert (len(pieces) == 1) == (trained_on == "all")
