"""Token stores: one flat memory-mapped array with document offsets, written batch by batch on several processes."""

import functools
import io
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.processes import num_cores, text_workers
from dontstop.tokens import tokenizer as tokenizers

_BATCH_CHARACTERS = 200_000  # handed to the tokenizer at a time; bounds memory, changes no result
_CHUNK_BYTES = 32_000_000  # of text that a process tokenises before it is given others


@dataclass(frozen=True)
class TokenStore:
    """Token ids of many documents in one flat array.

    Attributes:
        ids: (num_tokens,) memory-mapped uint16 (uint32 for vocabularies above 65,536), special tokens included.
        offsets: (num_documents + 1,) int64; document i is ids[offsets[i]:offsets[i + 1]].
    """

    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def document(self, index: int) -> np.ndarray:
        """Return one document's token ids, (num_tokens_of_document,)."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def subset(self, indices: Iterable[int]) -> "TokenStore":
        """Return a store of some documents, in the order given, in memory."""
        return _joined([self.document(index) for index in indices], self.ids.dtype)

    def num_sequences(self, length: int) -> int:
        """How many whole sequences of `length` tokens the flat array holds."""
        return len(self.ids) // length

    def sequences(self, indices: np.ndarray, length: int) -> np.ndarray:
        """Return packed sequences: the flat array cut every `length` tokens.

        Documents follow one another with their start and end tokens, as in RoBERTa's FULL-SENTENCES packing.

        Args:
            indices: (num,) which sequences, each below `num_sequences(length)`.

        Returns:
            (num, length) int64 token ids.
        """
        positions = indices[:, None] * length + np.arange(length)[None, :]
        return self.ids[positions].astype(np.int64)


def load_token_store(folder: Path) -> TokenStore:
    """Map a token store into memory.

    Raises:
        StudyError: If it is missing, or its two files do not fit together (a copy cut short, say).
    """
    try:
        ids = files.read_array(folder / "ids.npy", mapped=True)
        offsets = files.read_array(folder / "offsets.npy")
    except (FileNotFoundError, ValueError, EOFError) as error:
        raise StudyError(
            f"no readable token store in {folder} ({error})", "ids.npy and offsets.npy", "run `dontstop prepare`"
        ) from error
    if len(offsets) == 0 or offsets[-1] != len(ids):
        raise StudyError(
            f"{len(ids)} tokens in {folder}, {offsets[-1] if len(offsets) else 'no'} by its offsets",
            "files of one and the same store",
            "delete the folder and run `dontstop prepare`",
        )
    return TokenStore(ids, offsets)


def cut(store: TokenStore, max_length: int) -> TokenStore:
    """Return a store whose documents have at most `max_length` tokens, their end token kept."""
    documents = [store.document(index) for index in range(len(store))]
    documents = [d if len(d) <= max_length else np.concatenate([d[: max_length - 1], d[-1:]]) for d in documents]
    return _joined(documents, store.ids.dtype)


def _joined(documents: Sequence[np.ndarray], dtype) -> TokenStore:
    offsets = np.concatenate([[0], np.cumsum([len(d) for d in documents], dtype=np.int64)])
    return TokenStore(np.concatenate([np.empty(0, dtype), *documents]), offsets)


@dataclass(frozen=True)
class Encoding:
    """How texts become token ids: all that a process needs to know, which need not import Transformers."""

    tokenizer: str  # the fast tokenizer itself, as JSON
    dtype: str  # of the ids: `uint16`, or `uint32` for vocabularies above 65,536
    max_length: int | None
    cut_from: str  # the side on which longer texts lose tokens

    @classmethod
    def of(cls, tokenizer, max_length: int | None) -> "Encoding":
        """Describe what a Transformers tokenizer does."""
        dtype = "uint16" if len(tokenizer) <= 2**16 else "uint32"
        return cls(tokenizer.backend_tokenizer.to_str(), dtype, max_length, tokenizer.truncation_side)

    def write(self, documents: Iterable[str], handle: BinaryIO) -> np.ndarray:
        """Write the ids of documents one after another; return the tokens of each, (num_documents,)."""
        tokenizer, lengths = _load_fast(self.tokenizer), []
        tokenizer.encode_special_tokens = True  # what a text spells, such as `<mask>`, is text and not the token
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if self.max_length is not None:
            tokenizer.enable_truncation(self.max_length, direction=self.cut_from)
        for batch in _batches(documents):
            for found in tokenizer.encode_batch_fast(batch):
                handle.write(np.array(found.ids, self.dtype).tobytes())
                lengths.append(len(found))
        return np.array(lengths, np.int64)


def write_token_store(documents: Iterable[str], tokenizer, folder: Path, max_length: int | None = None) -> None:
    """Tokenise documents and write them as a token store; their ids are held in memory.

    Args:
        max_length: Cut every document to this many tokens, special ones included; None keeps all.
    """
    encoding, ids = Encoding.of(tokenizer, max_length), io.BytesIO()
    lengths = encoding.write(documents, ids)
    files.write_array(folder / "ids.npy", np.frombuffer(ids.getbuffer(), encoding.dtype))
    _write_offsets(folder, lengths)


@functools.lru_cache(maxsize=1)
def _load_fast(content: str):
    from tokenizers import Tokenizer

    return Tokenizer.from_str(content)


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch, length = [], 0
    for document in documents:
        batch.append(document)
        length += len(document)
        if length >= _BATCH_CHARACTERS:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _write_offsets(folder: Path, lengths: np.ndarray) -> None:
    files.write_array(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


@dataclass(frozen=True)
class PlannedStore:
    """A token store that is to be made."""

    text: Path  # JSON Lines of the study's own
    folder: Path
    encoding: Encoding

    def part(self, start: int) -> Path:
        """The ids of the chunk of text that begins at a byte."""
        return self.folder / f".{start}.ids.part"


def write_stores(stores: dict[str, PlannedStore], num_workers: int) -> None:
    """Tokenise texts on several processes, chunk by chunk; the bytes are the same whatever their number."""
    chunks = {name: _chunks(store.text) for name, store in stores.items()}
    num_chunks = sum(len(found) for found in chunks.values())
    try:
        with text_workers(num_workers if num_chunks > len(stores) else 1) as submit:
            lengths = {
                name: [submit(f"the tokens of {name}", _encode, stores[name], *chunk) for chunk in found]
                for name, found in chunks.items()
            }
            for name, store in stores.items():
                _join(store, [start for start, _ in chunks[name]], [result.get() for result in lengths.pop(name)])
    finally:
        for store in stores.values():
            for part in store.folder.glob(".*.part"):
                part.unlink()


def _chunks(path: Path) -> list[tuple[int, int]]:
    """Cut a JSON Lines file into chunks of whole lines, as (first byte, byte after the last)."""
    bounds, size = [0], path.stat().st_size
    with open(path, "rb") as handle:
        while handle.tell() < size:
            handle.seek(_CHUNK_BYTES, os.SEEK_CUR)
            handle.readline()
            bounds.append(min(handle.tell(), size))
    return list(itertools.pairwise(bounds)) or [(0, 0)]


def _encode(store: PlannedStore, start: int, end: int) -> np.ndarray:
    """Write the ids of a chunk of text, and return the tokens of each document, (num_documents,)."""
    texts = (row["text"] for row in files.read_rows(store.text, start, end))
    with files.writing(store.part(start)) as part, open(part, "wb") as handle:
        return store.encoding.write(texts, handle)


def _join(store: PlannedStore, starts: list[int], lengths: list[np.ndarray]) -> None:
    """Make a store of its chunks, which are gone afterwards.

    Not by `np.lib.format.open_memmap`: where the disk is full, writing to a mapped file ends the process.
    """
    all_lengths = np.concatenate(lengths)
    header = {"descr": np.dtype(store.encoding.dtype).str, "fortran_order": False, "shape": (int(all_lengths.sum()),)}
    with files.writing(store.folder / "ids.npy") as path, open(path, "wb") as whole:
        np.lib.format.write_array_header_1_0(whole, header)
        for start in starts:
            with open(store.part(start), "rb") as handle:
                shutil.copyfileobj(handle, whole, 1 << 20)
            store.part(start).unlink()
    _write_offsets(store.folder, all_lengths)


def longest_example(profile, tasks: Sequence[str]) -> int:
    """Return the tokens that examples are stored with at most: the largest `max_length` that any task asks for."""
    return max(profile.finetune_for(task).max_length for task in tasks)


def prepare_tokens(profile, paths, domains: Sequence[str], tasks: Sequence[str]) -> None:
    """Train or copy the tokenizer, tokenise every text of a prepared study once, and write what was made.

    The manifest (digests and counts of every store) comes last: where it stands, all else stands.
    """
    manifest = paths.data / "tokens" / "manifest.json"
    manifest.unlink(missing_ok=True)
    if profile.tokens.tokenizer is None:
        known = domains if profile.tokens.trained_on == "all" else ["general"]
        texts = (row["text"] for name in known for row in files.read_rows(paths.corpus(name)))
        tokenizers.train_tokenizer(texts, profile.tokens.vocabulary_size, paths.tokenizer())
    else:
        tokenizer = tokenizers.load_given(profile.tokens.tokenizer)
        with files.saving_folder(paths.tokenizer()) as part:
            tokenizer.save_pretrained(part)
    tokenizer = tokenizers.load_tokenizer(paths.tokenizer())
    longest = longest_example(profile, tasks)
    sources = {f"corpora/{d}": (paths.corpus(d), None) for d in domains}
    sources |= {f"held_out/{d}": (paths.held_out(d), None) for d in domains}
    sources |= {f"tasks/{t}/{s}": (paths.split(t, s), longest) for t in tasks for s in ("train", "dev", "test")}
    stores = {
        name: PlannedStore(path, paths.data / "tokens" / name, Encoding.of(tokenizer, max_length))
        for name, (path, max_length) in sources.items()
    }
    write_stores(stores, profile.speed.num_workers or num_cores())
    entries = {name: _entry(store.folder) for name, store in stores.items()}
    digest = files.digest(paths.tokenizer() / "tokenizer.json")
    files.write_json(manifest, {"tokenizer": digest, "vocabulary_size": len(tokenizer), "stores": entries})


def _entry(folder: Path) -> dict:
    store = load_token_store(folder)
    counts = {"num_documents": len(store), "num_tokens": len(store.ids)}
    return counts | {"sha256": files.digest(folder / "ids.npy")}
