"""Token stores: byte by byte what the tokenizer says and `np.save` writes; document borders; damaged ones are told."""

import io

import numpy as np
import pytest

from dontstop import tokens
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Finetune, Profile
from dontstop.tokens import stores
from dontstop.tokens.stores import Encoding, PlannedStore

TEXTS = [f"{'the cat sat on the mat ' * (k % 4)}<mask> Zwei Wörter, {k} % \U0001f40b\u2028 end" for k in range(40)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Give a byte-level BPE of the smallest vocabulary and some merges."""
    folder = tmp_path_factory.mktemp("tokens") / "tokenizer"
    tokens.train_tokenizer(TEXTS, 280, folder)
    return tokens.load_tokenizer(folder)


def saved(values):
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


@pytest.mark.parametrize("max_length", [None, 7])
@pytest.mark.parametrize(("characters", "chunk", "num_workers"), [(10**6, 10**6, 1), (1, 200, 1), (90, 500, 2)])
def test_stores_are_what_the_tokenizer_says(
    tokenizer, tmp_path, monkeypatch, max_length, characters, chunk, num_workers
):
    monkeypatch.setattr(stores, "_BATCH_CHARACTERS", characters)
    monkeypatch.setattr(stores, "_CHUNK_BYTES", chunk)
    planned = {}
    for name, some in (("all", TEXTS), ("one", TEXTS[:1]), ("none", [])):
        files.write_jsonl(tmp_path / f"{name}.jsonl", [{"text": text} for text in some])
        how = Encoding.of(tokenizer, max_length)
        planned[name] = PlannedStore(tmp_path / f"{name}.jsonl", tmp_path / "stores" / name, how)
    stores.write_stores(planned, num_workers)
    tokens.write_token_store(iter(TEXTS), tokenizer, tmp_path / "again", max_length)
    for name, some in (("all", TEXTS), ("one", TEXTS[:1]), ("none", [])):
        ids = tokenizer(some, truncation=max_length is not None, max_length=max_length)["input_ids"] if some else []
        flat = np.array([k for row in ids for k in row], np.uint16)
        assert (tmp_path / "stores" / name / "ids.npy").read_bytes() == saved(flat)
        offsets = np.cumsum([0, *map(len, ids)], dtype=np.int64)
        assert (tmp_path / "stores" / name / "offsets.npy").read_bytes() == saved(offsets)
    for name in ("ids.npy", "offsets.npy"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "stores" / "all" / name).read_bytes()
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".jsonl", ".npy"}


def test_nothing_half_written_stays_after_an_error(tokenizer, tmp_path, monkeypatch):
    files.write_jsonl(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    monkeypatch.setattr(stores, "_CHUNK_BYTES", 500)

    def full(*arguments):
        raise StudyError("no space left", "room", "free some")

    monkeypatch.setattr(stores, "_join", full)
    store = PlannedStore(tmp_path / "texts.jsonl", tmp_path / "store", Encoding.of(tokenizer, None))
    with pytest.raises(StudyError, match="no space left"):
        stores.write_stores({"texts": store}, 1)
    assert not list((tmp_path / "store").iterdir())


def test_a_store_keeps_documents_apart(tokenizer, tmp_path):
    tokens.write_token_store(TEXTS, tokenizer, tmp_path / "store")
    store = tokens.load_token_store(tmp_path / "store")
    assert store.ids.dtype == np.uint16 and len(store) == len(TEXTS)
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


def test_a_missing_store_is_told(tmp_path):
    with pytest.raises(StudyError, match="no readable token store"):
        tokens.load_token_store(tmp_path)


def test_examples_are_stored_as_long_as_any_task_asks():
    profile = Profile(name="p", finetune=Finetune(max_length=64), task_finetune={"ag": {"max_length": 128}})
    assert tokens.longest_example(profile, ["imdb"]) == 64
    assert tokens.longest_example(profile, ["imdb", "ag"]) == 128
