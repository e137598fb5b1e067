"""Token stores written stretch by stretch: byte by byte what the tokenizer says and `np.save` writes."""

import io

import numpy as np
import pytest

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.tokens import encoding, tokens
from dontstop.tokens.encoding import Encoding, Store

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
@pytest.mark.parametrize(("characters", "stretch", "num_workers"), [(10**6, 10**6, 1), (1, 200, 1), (90, 500, 2)])
def test_stores_are_what_the_tokenizer_says(
    tokenizer, tmp_path, monkeypatch, max_length, characters, stretch, num_workers
):
    monkeypatch.setattr(encoding, "_CHARACTERS", characters)
    monkeypatch.setattr(encoding, "_STRETCH", stretch)
    stores = {}
    for name, some in (("all", TEXTS), ("one", TEXTS[:1]), ("none", [])):
        files.write_jsonl(tmp_path / f"{name}.jsonl", [{"text": text} for text in some])
        how = Encoding.of(tokenizer, max_length)
        stores[name] = Store(tmp_path / f"{name}.jsonl", tmp_path / "stores" / name, how)
    encoding.write_stores(stores, num_workers)
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


def test_a_header_is_as_long_for_any_number_of_ids():
    assert {len(encoding._header("uint16", 10**k)) for k in range(19)} == {len(saved(np.empty(0, np.uint16)))}


def test_nothing_half_written_stays_after_an_error(tokenizer, tmp_path, monkeypatch):
    files.write_jsonl(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    monkeypatch.setattr(encoding, "_STRETCH", 500)

    def full(*arguments):
        raise StudyError("no space left", "room", "free some")

    monkeypatch.setattr(encoding, "_join", full)
    store = Store(tmp_path / "texts.jsonl", tmp_path / "store", Encoding.of(tokenizer, None))
    with pytest.raises(StudyError, match="no space left"):
        encoding.write_stores({"texts": store}, 1)
    assert not list((tmp_path / "store").iterdir())


def test_a_tokenizer_trained_from_an_iterator_is_the_same(tmp_path):
    tokens.train_tokenizer(TEXTS, 280, tmp_path / "list")
    tokens.train_tokenizer(iter(TEXTS), 280, tmp_path / "iterator")
    assert len({files.digest(tmp_path / name / "tokenizer.json") for name in ("list", "iterator")}) == 1
