"""Tokenizer and token stores: round trips, document borders, and what a damaged store says."""

import numpy as np
import pytest

from dontstop.errors import StudyError
from dontstop.profiles import Finetune, Profile
from dontstop.tokens import tokens

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
    assert [tokenizer.convert_tokens_to_ids(token) for token in tokens.SPECIAL_TOKENS.values()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("size", "message"), [(5000, "yields only"), (260, "261 or more")])
def test_a_vocabulary_that_cannot_be_is_told_and_nothing_is_written(tmp_path, size, message):
    with pytest.raises(StudyError, match=message):
        tokens.train_tokenizer(TEXTS, size, tmp_path / "tokenizer")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("message", ["No space left on device (os error 28)", "File too large (os error 27)"])
def test_a_full_disk_leaves_the_old_folder(tmp_path, message):
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "old").touch()
    with pytest.raises(StudyError, match="no space left"), tokens.saving_folder(tmp_path / "tokenizer") as part:
        (part / "half").touch()
        raise Exception(message)
    assert [path.name for path in tmp_path.rglob("*")] == ["tokenizer", "old"]


def test_a_saved_folder_takes_the_place_of_the_old_one(tmp_path):
    for name in ("old", "new"):
        with tokens.saving_folder(tmp_path / "folder") as part:
            (part / name).touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "new"]


def test_a_store_keeps_documents_apart(tokenizer, tmp_path):
    tokens.write_token_store(TEXTS, tokenizer, tmp_path / "store")
    store = tokens.load_token_store(tmp_path / "store")
    assert store.ids.dtype == np.uint16 and len(store) == 3
    assert store.offsets[0] == 0 and store.offsets[-1] == len(store.ids)
    for index, text in enumerate(TEXTS):
        assert store.document(index).tolist() == tokenizer(text)["input_ids"]


def test_sequences_are_the_flat_array_cut():
    store = tokens.TokenStore(np.arange(23, dtype=np.uint16), np.array([0, 4, 23]))
    assert store.num_sequences(5) == 4
    assert store.sequences(np.array([3, 0]), 5).tolist() == [[15, 16, 17, 18, 19], [0, 1, 2, 3, 4]]


def test_cutting_keeps_the_end_token_and_equals_the_tokenizers_own(tokenizer, tmp_path):
    store = tokens.TokenStore(np.array([1, 50, 51, 52, 2, 1, 60, 2], dtype=np.uint16), np.array([0, 5, 8]))
    cut = tokens.cut(store, 4)
    assert [cut.document(i).tolist() for i in range(2)] == [[1, 50, 51, 2], [1, 60, 2]]
    tokens.write_token_store(TEXTS, tokenizer, tmp_path / "long")
    tokens.write_token_store(TEXTS, tokenizer, tmp_path / "short", max_length=6)
    cut, short = tokens.cut(tokens.load_token_store(tmp_path / "long"), 6), tokens.load_token_store(tmp_path / "short")
    assert np.array_equal(cut.ids, short.ids) and np.array_equal(cut.offsets, short.offsets)


@pytest.mark.parametrize("name", ["ids.npy", "offsets.npy"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.9])
def test_a_truncated_store_is_told(tokenizer, tmp_path, name, share):
    tokens.write_token_store(TEXTS, tokenizer, tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(StudyError, match="dontstop prepare"):
        tokens.load_token_store(tmp_path)


def test_stores_of_two_runs_do_not_fit_together(tokenizer, tmp_path):
    tokens.write_token_store(TEXTS, tokenizer, tmp_path)
    offsets = (tmp_path / "offsets.npy").read_bytes()
    tokens.write_token_store(TEXTS[:2], tokenizer, tmp_path)
    (tmp_path / "offsets.npy").write_bytes(offsets)
    with pytest.raises(StudyError, match="one and the same store"):
        tokens.load_token_store(tmp_path)


def test_missing_stores_and_tokenizers_are_told(tmp_path):
    with pytest.raises(StudyError, match="no readable token store"):
        tokens.load_token_store(tmp_path)
    with pytest.raises(StudyError, match="no tokenizer"):
        tokens.load_tokenizer(tmp_path / "none")


def test_examples_are_stored_as_long_as_any_task_asks():
    profile = Profile(name="p", finetune=Finetune(max_length=64), task_finetune={"ag": {"max_length": 128}})
    assert tokens.longest_example(profile, ["imdb"]) == 64
    assert tokens.longest_example(profile, ["imdb", "ag"]) == 128
