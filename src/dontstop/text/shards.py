"""Read a mirror's corpora shard by shard, on several processes, each text in memory for a moment only.

Twice: once for the keys by which documents are distinguished, and again for the documents that are kept. What stays in
memory between is 18 bytes a document, of two corpora at most.
"""

import contextlib
import functools
import itertools
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.processes import Result, num_cores, text_workers
from dontstop.profiles import Paths, Profile, Text
from dontstop.text import audit, splits
from dontstop.text.audit import OverlapStats
from dontstop.text.documents import Refused, find_shards, read_documents
from dontstop.text.manifest import size_of
from dontstop.text.words import num_words

_CHARACTERS = 150_000  # of documents looked through at once; bounds memory, changes no result
# Of all shards. With less text, the work would be done before another process had begun.
_BYTES_PER_WORKER = 8_000_000
_KINDS = ("corpora", "held_out")


@dataclass(frozen=True)
class Outline:
    """What a shard is like before its text is read again: a row a document."""

    keys: np.ndarray  # uint64, [num_documents, 2]: the first half of the content key, in its order
    is_long: np.ndarray  # bool: it has words enough
    is_held_out: np.ndarray  # bool
    refused: Refused = field(default_factory=lambda: Refused(Text()))


@dataclass
class Written:
    """What was written of a corpus or a held-out sample, and what it still shares with dev and test texts."""

    overlap: OverlapStats
    size: dict = field(default_factory=lambda: dict.fromkeys(("num_documents", "num_words", "num_bytes"), 0))
    num_leaking: int = 0

    def add(self, other: "Written") -> None:
        """Take in what was written of the next shard."""
        self.overlap.add(other.overlap)
        self.size = {name: number + other.size[name] for name, number in self.size.items()}
        self.num_leaking += other.num_leaking


@dataclass(frozen=True)
class Shard:
    """One file of a corpus, and where its parts go."""

    corpus: str
    path: Path
    number: int
    folder: Path  # of all parts
    index: Path  # the folder of the index of dev and test texts

    @property
    def source(self) -> str:
        """The file, as documents name it: with its folder, if the corpus has one."""
        inside = self.path.parent.name == self.corpus
        return f"{self.corpus}/{self.path.name}" if inside else self.path.name

    def part(self, kind: str) -> Path:
        """The file for those of its documents that stay in a corpus, or in a held-out sample."""
        return self.folder / self.corpus / f"{self.number}.{kind}.jsonl"


def write_corpora(
    profile: Profile, mirror: Path, names: Sequence[str], index: Path, paths: Paths, cleaning: dict[str, int]
) -> dict[str, dict[str, Written]]:
    """Write the corpora of a mirror and their held-out samples, without repetitions, short documents and leaks.

    The bytes are the same whatever the number of processes, and the documents whatever files they are in, but for
    the `source` that they name.

    Args:
        mirror: The folder that holds corpora/.
        names: Of the corpora.
        index: The folder of the index of dev and test texts, of which no document may hold too much.
        paths: Where to write, parts of corpora too until they are joined.
        cleaning: Counts of documents by reason, which grow.

    Returns:
        By name and kind (`corpora`, `held_out`), what was written.
    """
    folder = paths.data / "shards"
    shards = {
        name: [Shard(name, path, k, folder, index) for k, path in enumerate(find_shards(mirror / "corpora", name))]
        for name in names
    }
    written, parts = {}, {}
    with text_workers(_num_workers(profile, shards)) as submit:
        ahead = _outlined(shards[names[0]], profile.text, submit)
        for name, following in itertools.pairwise([*names, None]):
            # The next corpus is begun before this one is done, so that no process waits for a last shard.
            outlines, ahead = ahead, _outlined(shards[following], profile.text, submit) if following else []
            parts[name] = _divided(shards[name], outlines, profile.text, submit, cleaning)
            for done in list(parts)[: -1 if following else None]:
                written[done] = _joined(shards[done], parts.pop(done), paths, profile.text)
    _index.cache_clear()
    shutil.rmtree(folder)
    return written


def _num_workers(profile: Profile, shards: dict[str, list[Shard]]) -> int:
    found = [shard.path for some in shards.values() for shard in some]
    worthwhile = sum(path.stat().st_size for path in found) // _BYTES_PER_WORKER
    return min(profile.speed.num_workers or num_cores(), len(found), worthwhile)


def _outlined(shards: list[Shard], settings: Text, submit: Callable[..., Result]) -> list[Result]:
    return [submit(f"the outline of {shard.path}", outline, shard.path, settings) for shard in shards]


def _divided(
    shards: list[Shard], outlines: list[Result], settings: Text, submit: Callable[..., Result], cleaning: dict[str, int]
) -> list[Result]:
    """Choose the documents of a corpus, and let them be written shard by shard."""
    read: list[Outline] = [result.get() for result in outlines]
    kept, counts = settle(read, settings.max_documents)
    for refused in (about.refused for about in read):
        counts["documents_read"] += refused.note("documents", counts)
    for reason, number in counts.items():
        cleaning[reason] = cleaning.get(reason, 0) + number
    parts, first = [], 0
    for shard, chosen, about in zip(shards, kept, read, strict=True):
        what = (shard, first, chosen, about.is_held_out, settings)
        parts.append(submit(f"the reading of {shard.path}", write_parts, *what))
        first += len(chosen)
    return parts


def _joined(shards: list[Shard], parts: list[Result], paths: Paths, settings: Text) -> dict[str, Written]:
    """Wait for the parts of a corpus, and put them together in their order."""
    written = {kind: _nothing_written(shards[0], settings) for kind in _KINDS}
    for part in parts:
        for kind, found in part.get().items():
            written[kind].add(found)
    for kind, target in zip(_KINDS, (paths.corpus(shards[0].corpus), paths.held_out(shards[0].corpus)), strict=True):
        _join([shard.part(kind) for shard in shards], target)
        written[kind].size["sha256"] = files.digest(target)
    return written


def outline(path: Path, settings: Text) -> Outline:
    """Read a shard once, and keep of every document what decides whether it stays."""
    keys, is_long, is_held_out, refused = bytearray(), bytearray(), bytearray(), Refused(settings)
    for row in read_documents(path, refused=refused):
        letters = splits.letters_of(row["text"])
        keys += bytes.fromhex(splits.key_of_letters(letters, "sample", seed=settings.split_seed)[:32])
        is_long.append(num_words(row["text"]) >= settings.min_words)
        key = splits.key_of_letters(letters, "held_out", seed=settings.split_seed)
        is_held_out.append(splits.is_within(key, settings.held_out_fraction))
    numbers = np.frombuffer(keys, ">u8").astype(np.uint64).reshape(-1, 2)
    return Outline(numbers, np.frombuffer(is_long, bool), np.frombuffer(is_held_out, bool), refused)


def settle(outlines: Sequence[Outline], max_documents: int | None) -> tuple[list[np.ndarray], dict[str, int]]:
    """Choose the documents of a corpus: of equal ones the first that is long enough; of those, the lowest keys.

    Half of a content key, 16 bytes, distinguishes as many texts as any disk holds.

    Returns:
        A bool array for each shard; and counts of documents read, repeated and short, but for those that are none, in
        the order in which the first of each came.
    """
    bounds = np.cumsum([0, *(len(found.keys) for found in outlines)])
    num_documents = bounds[-1]
    kept, repeated = np.zeros(num_documents, bool), np.zeros(num_documents, bool)
    room = num_documents if max_documents is None else max_documents
    # Equal keys begin with equal bits: a sixty-fourth of the documents is in memory once more, not all of them.
    for leading_bits in range(64):
        keys, is_long, index = _beginning_with(leading_bits, outlines, bounds)
        starts = np.flatnonzero(np.append(True, (keys[1:] != keys[:-1]).any(1))[: len(keys)])  # of each distinct key
        first_long = np.minimum.reduceat(np.where(is_long, index, num_documents), starts)
        chosen = first_long[first_long < num_documents][:room]
        room -= len(chosen)
        kept[chosen] = True
        num_equal = np.diff(starts, append=len(keys))
        repeated[index] = index > np.repeat(first_long, num_equal)
    is_long = np.concatenate([found.is_long for found in outlines])
    reasons = {"documents_repeated": repeated, "documents_short": ~is_long & ~repeated}
    found = sorted((int(some.argmax()), reason, int(some.sum())) for reason, some in reasons.items() if some.any())
    counts = {"documents_read": len(kept)} | {reason: number for _, reason, number in found}
    return np.split(kept, bounds[1:-1]), counts


def _beginning_with(
    leading_bits: int, outlines: Sequence[Outline], bounds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the keys with these leading 6 bits in ascending order, whether each document is long, and its index."""
    inside = [np.flatnonzero(found.keys[:, 0] >> np.uint64(58) == leading_bits) for found in outlines]
    keys = np.concatenate([found.keys[some] for found, some in zip(outlines, inside, strict=True)])
    is_long = np.concatenate([found.is_long[some] for found, some in zip(outlines, inside, strict=True)])
    index = np.concatenate([first + some for first, some in zip(bounds, inside, strict=False)])
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    return keys[order], is_long[order], index[order]


def write_parts(
    shard: Shard, first: int, kept: np.ndarray, is_held_out: np.ndarray, settings: Text
) -> dict[str, Written]:
    """Read a shard again and write the documents that are kept, but for leaks, into its two parts.

    Args:
        first: The number of its first document in the corpus.
        kept: (num_documents,) bool, as is `is_held_out`.

    Raises:
        StudyError: If the file was changed meanwhile.
    """
    with contextlib.ExitStack() as stack:
        parts = {}
        for kind in _KINDS:
            path = stack.enter_context(files.writing(shard.part(kind)))
            handle = stack.enter_context(open(path, "w", encoding="utf-8", newline="\n"))
            parts[kind] = _Part(handle, shard, settings)
        num_read = 0
        rows = read_documents(shard.path, refused=Refused(settings))
        for num_read, row in enumerate(rows, 1):
            if num_read <= len(kept) and kept[num_read - 1]:
                identity = f"{shard.corpus}:{first + num_read - 1:07d}"
                kind = _KINDS[int(is_held_out[num_read - 1])]
                parts[kind].take({"id": identity, "text": row["text"], "source": shard.source})
        if num_read != len(kept):
            found = f"{num_read} documents in {shard.path}, where a moment before there were {len(kept)}"
            raise StudyError(found, "a file that nobody changes", "wait until it is whole, and prepare again")
        for part in parts.values():
            part.look_through()
    return {kind: part.written for kind, part in parts.items()}


_index = functools.lru_cache(maxsize=1)(audit.load_index)  # once a process


def _nothing_written(shard: Shard, settings: Text) -> Written:
    return Written(audit.no_overlap(_index(shard.index), settings.near_duplicate_jaccard))


class _Part:
    """A file being written: documents that wait to be looked through, and what became of those before."""

    def __init__(self, handle: TextIO, shard: Shard, settings: Text):
        self.handle, self.index, self.settings = handle, _index(shard.index), settings
        self.written = _nothing_written(shard, settings)
        self.rows: list[dict[str, str]] = []
        self.num_characters = 0

    def take(self, row: dict[str, str]) -> None:
        self.rows.append(row)
        self.num_characters += len(row["text"])
        if self.num_characters >= _CHARACTERS:
            self.look_through()

    def look_through(self) -> None:
        """Write the documents that wait, but for leaks."""
        texts = [row["text"] for row in self.rows]
        leaking, overlap = audit.find_leaks(self.index, texts, self.settings)
        kept = [row for row, out in zip(self.rows, leaking, strict=True) if not out]
        self.handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        self.written.add(Written(overlap, size_of(kept), int(leaking.sum())))
        self.rows, self.num_characters = [], 0


def _join(parts: Sequence[Path], target: Path) -> None:
    """Put parts together in their order; they are gone afterwards."""
    with files.writing(target) as path:
        os.replace(parts[0], path)
        with open(path, "ab") as whole:
            for part in parts[1:]:
                with open(part, "rb") as handle:
                    shutil.copyfileobj(handle, whole, 1 << 20)
                part.unlink()
