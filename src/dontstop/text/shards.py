"""Read a mirror's corpora shard by shard, on several processes, each text in memory for a moment only.

Twice: once for the keys by which documents are told apart, and again for the documents that are kept. What stays in
memory between is 18 bytes a document, of two corpora at most.
"""

import contextlib
import functools
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
from dontstop.text import audit, leakage, splits
from dontstop.text.audit import Evaluated, Traces
from dontstop.text.documents import find_shards, read_documents
from dontstop.text.manifest import size_of

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


@dataclass
class Written:
    """What was written of a corpus or a held-out sample, and what it still shares with evaluated texts."""

    traces: Traces
    size: dict = field(default_factory=lambda: dict.fromkeys(("num_documents", "num_words", "num_bytes"), 0))
    num_leaking: int = 0

    def add(self, other: "Written") -> None:
        """Take in what was written of the next shard."""
        self.traces.add(other.traces)
        self.size = {name: number + other.size[name] for name, number in self.size.items()}
        self.num_leaking += other.num_leaking


@dataclass(frozen=True)
class Shard:
    """One file of a corpus, and where its parts go."""

    corpus: str
    path: Path
    number: int
    folder: Path  # of all parts
    index: Path  # the folder of the index of evaluated texts

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

    The bytes are the same whatever the number of processes, and the documents whatever files they stand in, but for
    the `source` that they name.

    Args:
        mirror: The folder that holds corpora/.
        names: Of the corpora.
        index: The folder of the index of dev and test texts, of which no document may hold too much.
        paths: Where to write, parts of corpora too until they are joined.
        cleaning: Counts of documents by reason, which grow.

    Returns:
        By kind (`corpora`, `held_out`) and name, what was written.
    """
    folder = paths.data / "shards"
    shards = {
        name: [Shard(name, path, k, folder, index) for k, path in enumerate(find_shards(mirror / "corpora", name))]
        for name in names
    }
    evaluated = audit.load_index(index)
    written: dict[str, dict[str, Written]] = {kind: {} for kind in _KINDS}

    def join(name: str, parts: list[Result]) -> None:
        for part in parts:
            for kind, found in part.get().items():
                written[kind].setdefault(name, _nothing(evaluated, profile.text)).add(found)
        for kind in _KINDS:
            target = paths.corpus(name) if kind == "corpora" else paths.held_out(name)
            _join([shard.part(kind) for shard in shards[name]], target)
            written[kind][name].size["sha256"] = files.digest(target)

    with text_workers(_num_workers(profile, shards)) as submit:
        outlines: dict[str, list[Result]] = {}
        before: tuple[str, list[Result]] | None = None
        for k, name in enumerate(names):
            for ahead in names[k : k + 2]:  # so that no process waits for a corpus' last shard
                outlines[ahead] = outlines.get(ahead) or _outlined(shards[ahead], profile.text, submit)
            parts = _divided(shards[name], outlines.pop(name), profile.text, submit, cleaning)
            if before:
                join(*before)
            before = (name, parts)
        if before:
            join(*before)
    _index.cache_clear()  # this process has mapped it, if it did the work itself
    shutil.rmtree(folder)
    return written


def _num_workers(profile: Profile, shards: dict[str, list[Shard]]) -> int:
    found = [shard.path for some in shards.values() for shard in some]
    worthwhile = sum(path.stat().st_size for path in found) // _BYTES_PER_WORKER
    return min(profile.speed.num_workers or num_cores(), len(found), worthwhile)


def _nothing(evaluated: Evaluated, settings: Text) -> Written:
    return Written(audit.no_traces(evaluated, settings.near_duplicate_jaccard))


def _outlined(shards: list[Shard], settings: Text, submit: Callable[..., Result]) -> list[Result]:
    return [submit(f"the outline of {shard.path}", outline, shard.path, settings) for shard in shards]


def _divided(
    shards: list[Shard], outlines: list[Result], settings: Text, submit: Callable[..., Result], cleaning: dict[str, int]
) -> list[Result]:
    """Choose the documents of a corpus, and let them be written shard by shard."""
    read: list[Outline] = [result.get() for result in outlines]
    kept, counts = settle(read, settings.max_documents)
    for reason, number in counts.items():
        cleaning[reason] = cleaning.get(reason, 0) + number
    parts, first = [], 0
    for shard, chosen, about in zip(shards, kept, read, strict=True):
        what = (shard, first, chosen, about.is_held_out, settings)
        parts.append(submit(f"the reading of {shard.path}", write_parts, *what))
        first += len(chosen)
    return parts


def outline(path: Path, settings: Text) -> Outline:
    """Read a shard once, and keep of every document what decides whether it stays."""
    keys, is_long, is_held_out = bytearray(), bytearray(), bytearray()
    for row in read_documents(path):
        normal = leakage.normalise(row["text"])
        keys += bytes.fromhex(splits.key_of_normal(normal, "sample", seed=settings.split_seed)[:32])
        is_long.append(len(row["text"].split()) >= settings.min_words)
        key = splits.key_of_normal(normal, "held_out", seed=settings.split_seed)
        is_held_out.append(splits.is_within(key, settings.held_out_fraction))
    numbers = np.frombuffer(keys, ">u8").astype(np.uint64).reshape(-1, 2)
    return Outline(numbers, np.frombuffer(is_long, bool), np.frombuffer(is_held_out, bool))


def settle(outlines: Sequence[Outline], max_documents: int | None) -> tuple[list[np.ndarray], dict[str, int]]:
    """Tell which documents of a corpus are kept: of equal ones the first that is long enough; then the lowest keys.

    Half of a content key, 16 bytes, tells as many texts apart as any disk holds.

    Returns:
        A bool array for each shard; and counts of documents read, repeated and short, but for those that are none, in
        the order in which the first of each came.
    """
    firsts = np.cumsum([0, *(len(found.keys) for found in outlines)])
    kept, repeated, is_long = (np.zeros(firsts[-1], bool) for _ in range(3))
    room = firsts[-1] if max_documents is None else max_documents
    # Equal keys begin with equal bits: a sixty-fourth of the documents is in memory once more, not all of them.
    for begin in range(64):
        inside = [np.flatnonzero(found.keys[:, 0] >> np.uint64(58) == begin) for found in outlines]
        keys = np.concatenate([found.keys[some] for found, some in zip(outlines, inside, strict=True)])
        long = np.concatenate([found.is_long[some] for found, some in zip(outlines, inside, strict=True)])
        places = np.concatenate([first + some for first, some in zip(firsts, inside, strict=False)])
        order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: equal keys stay in the documents' order
        keys, long, places = keys[order], long[order], places[order]
        starts = np.append(True, (keys[1:] != keys[:-1]).any(1))[: len(keys)]
        rank = np.cumsum(long)  # of long documents up to here, and then: of those with the same key
        rank -= np.maximum.accumulate(np.where(starts, rank - long, 0))
        chosen = places[long & (rank == 1)][:room]
        room -= len(chosen)
        kept[chosen], repeated[places[rank > long]], is_long[places] = True, True, long
    reasons = {"documents_repeated": repeated, "documents_short": ~is_long & ~repeated}
    found = sorted((int(some.argmax()), reason, int(some.sum())) for reason, some in reasons.items() if some.any())
    counts = {"documents_read": len(kept)} | {reason: number for _, reason, number in found}
    return np.split(kept, firsts[1:-1]), counts


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
    evaluated = _index(shard.index)
    with contextlib.ExitStack() as stack:
        parts = {}
        for kind in _KINDS:
            place = stack.enter_context(files.writing(shard.part(kind)))
            handle = stack.enter_context(open(place, "w", encoding="utf-8", newline="\n"))
            parts[kind] = _Part(handle, evaluated, settings)
        num_read = 0
        for num_read, row in enumerate(read_documents(shard.path), 1):
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


class _Part:
    """A file being written: documents that wait to be looked through, and what became of those before."""

    def __init__(self, handle: TextIO, evaluated: Evaluated, settings: Text):
        self.handle, self.evaluated, self.settings = handle, evaluated, settings
        self.written = _nothing(evaluated, settings)
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
        leaking, traces = audit.sift(self.evaluated, texts, self.settings)
        kept = [row for row, out in zip(self.rows, leaking, strict=True) if not out]
        self.handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        self.written.add(Written(traces, size_of(kept), int(leaking.sum())))
        self.rows, self.num_characters = [], 0


def _join(parts: Sequence[Path], target: Path) -> None:
    """Put parts together in their order; they are gone afterwards."""
    with files.writing(target) as place:
        os.replace(parts[0], place)
        with open(place, "ab") as whole:
            for part in parts[1:]:
                with open(part, "rb") as handle:
                    shutil.copyfileobj(handle, whole, 1 << 20)
                part.unlink()
