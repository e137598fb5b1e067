"""Tokenise text into token stores: batch by batch, on several processes, and no text in memory as a whole."""

import functools
import io
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dontstop.machine import files
from dontstop.machine.processes import text_workers

_CHARACTERS = 200_000  # handed to the tokenizer at a time; bounds memory, changes no result
_STRETCH = 32_000_000  # bytes of text that a process tokenises before it is given others


@dataclass(frozen=True)
class Encoding:
    """How texts become token ids: all that a process needs to know, which need not import Transformers."""

    tokenizer: str  # the fast tokenizer itself, as JSON
    kind: str  # of the ids: `uint16`, or `uint32` for vocabularies above 65,536
    max_length: int | None
    cut_from: str  # the side on which longer texts lose tokens

    @classmethod
    def of(cls, tokenizer, max_length: int | None) -> "Encoding":
        """Describe what a Transformers tokenizer does."""
        kind = "uint16" if len(tokenizer) <= 2**16 else "uint32"
        return cls(tokenizer.backend_tokenizer.to_str(), kind, max_length, tokenizer.truncation_side)

    def write(self, documents: Iterable[str], handle: BinaryIO) -> np.ndarray:
        """Write the ids of documents one after another; return the tokens of each, (num_documents,)."""
        tokenizer, lengths = _load_fast(self.tokenizer), []
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if self.max_length is not None:
            tokenizer.enable_truncation(self.max_length, direction=self.cut_from)
        for batch in _batches(documents):
            for found in tokenizer.encode_batch_fast(batch):
                handle.write(np.array(found.ids, self.kind).tobytes())
                lengths.append(len(found))
        return np.array(lengths, np.int64)


def write_store(documents: Iterable[str], encoding: Encoding, folder: Path) -> None:
    """Tokenise documents and write them as a token store."""
    with files.writing(folder / "ids.npy") as part, open(part, "wb") as handle:
        handle.write(_header(encoding.kind, 0))
        lengths = encoding.write(documents, handle)
        handle.seek(0)
        handle.write(_header(encoding.kind, int(lengths.sum())))
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
        if length >= _CHARACTERS:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _header(kind: str, number: int) -> bytes:
    """Return what `np.save` writes before so many ids; as long for any number, so that it can be written again."""
    content = io.BytesIO()
    about = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": (number,)}
    np.lib.format.write_array_header_1_0(content, about)
    return content.getvalue()


def _write_offsets(folder: Path, lengths: np.ndarray) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    with files.writing(folder / "offsets.npy") as part, open(part, "wb") as handle:
        np.save(handle, offsets)


@dataclass(frozen=True)
class Store:
    """A token store that is to be made."""

    text: Path  # JSON Lines of the study's own
    folder: Path
    encoding: Encoding

    def part(self, start: int) -> Path:
        """The ids of the stretch of text that begins at a byte."""
        return self.folder / f".{start}.ids.part"


def write_stores(stores: dict[str, Store], num_workers: int) -> None:
    """Tokenise texts on several processes, stretch by stretch; the bytes are the same whatever their number."""
    stretches = {name: _stretches(store.text) for name, store in stores.items()}
    num_stretches = sum(len(found) for found in stretches.values())
    try:
        with text_workers(num_workers if num_stretches > len(stores) else 1) as submit:
            lengths = {
                name: [submit(f"the tokens of {name}", _encode, stores[name], *stretch) for stretch in found]
                for name, found in stretches.items()
            }
            for name, store in stores.items():
                _join(store, [start for start, _ in stretches[name]], [result.get() for result in lengths.pop(name)])
    finally:
        for store in stores.values():
            for part in store.folder.glob(".*.part"):
                part.unlink()


def _stretches(path: Path) -> list[tuple[int, int]]:
    """Cut a JSON Lines file into stretches of whole lines, as (first byte, byte after the last)."""
    bounds, size = [0], path.stat().st_size
    with open(path, "rb") as handle:
        while handle.tell() < size:
            handle.seek(_STRETCH, os.SEEK_CUR)
            handle.readline()
            bounds.append(min(handle.tell(), size))
    return list(itertools.pairwise(bounds)) or [(0, 0)]


def _encode(store: Store, start: int, end: int) -> np.ndarray:
    """Write the ids of a stretch of text, and return the tokens of each document, (num_documents,)."""
    texts = (row["text"] for row in files.read_rows(store.text, start, end))
    with files.writing(store.part(start)) as part, open(part, "wb") as handle:
        return store.encoding.write(texts, handle)


def _join(store: Store, starts: list[int], lengths: list[np.ndarray]) -> None:
    """Make a store of its stretches, which are gone afterwards."""
    together = np.concatenate(lengths)
    with files.writing(store.folder / "ids.npy") as place, open(place, "wb") as whole:
        whole.write(_header(store.encoding.kind, int(together.sum())))
        for start in starts:
            with open(store.part(start), "rb") as handle:
                shutil.copyfileobj(handle, whole, 1 << 20)
            store.part(start).unlink()
    _write_offsets(store.folder, together)
