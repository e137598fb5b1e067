"""The candidates of selection: a domain corpus in pieces, on disk, without repetitions and without dev or test text."""

import array
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.selection.sentences import split_text
from dontstop.text import leakage
from dontstop.text.documents import read_documents

CHUNK = 20_000  # pieces held in memory at a time


@dataclass(frozen=True)
class Candidates:
    """Pieces of a domain corpus, read from disk as they are needed.

    Attributes:
        path: Of a JSON Lines file with id and text.
        offsets: (num + 1,) int64, where each line begins; the last is the file's size.
        lengths: (num,) int32, tokens of each piece, special ones included.
    """

    path: Path
    offsets: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    def chunks(self, kept: np.ndarray | None = None) -> Iterator[list[str]]:
        """Yield texts in order, some thousands at a time.

        Args:
            kept: (num,) bool, which; None for all.
        """
        with open(self.path, encoding="utf-8") as lines:
            chosen = lines if kept is None else itertools.compress(lines, kept)
            while some := [json.loads(line)["text"] for line in itertools.islice(chosen, CHUNK)]:
                yield some

    def rows(self, indices: Iterable[int]) -> list[dict[str, str]]:
        """Read the id and text of some candidates, in the order given."""
        with open(self.path, "rb") as handle:
            return [self._row(handle, int(index)) for index in indices]

    def _row(self, handle, index: int) -> dict[str, str]:
        handle.seek(self.offsets[index])
        return json.loads(handle.read(self.offsets[index + 1] - self.offsets[index]))


def load_candidates(folder: Path) -> Candidates:
    """Open candidates that `write_candidates` has written."""
    load = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("offsets", "lengths"))
    return Candidates(folder / "candidates.jsonl", *load)


def write_candidates(
    corpus: Path,
    folder: Path,
    evaluated: Sequence[str],
    tokenizer,
    *,
    granularity: str,
    min_words: int,
    limit: float,
) -> dict[str, int]:
    """Cut a corpus into candidates, in constant memory, and write them under `folder`.

    A piece that another has already said is dropped, whatever its case and punctuation; so is one that holds `limit`
    of the word 5-grams of a dev or test text, or of whose own 5-grams a dev or test text holds as many.

    Args:
        corpus: JSON Lines, as prepared.
        evaluated: The dev and test texts of the domain's tasks.
        tokenizer: For the lengths.

    Returns:
        How many pieces there were, and how many were dropped as repeated, short or leaking.

    Raises:
        StudyError: If nothing is left.
    """
    first, counts = _first_of_their_kind(corpus, granularity, min_words)
    known, normal = leakage.word_grams(list(evaluated)), {leakage.normalise(text) for text in evaluated}
    offsets, lengths = array.array("q", [0]), array.array("i")
    with files.writing(folder / "candidates.jsonl") as part, open(part, "wb") as handle:
        pieces = itertools.compress(_pieces(corpus, granularity), first)
        while some := list(itertools.islice(pieces, CHUNK)):
            clean = _without_leaks(some, known, normal, limit)
            counts["leaking"] += len(some) - len(clean)
            lengths.extend(map(len, _token_ids(tokenizer, [text for _, text in clean])))
            for name, text in clean:
                line = json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n"
                offsets.append(offsets[-1] + handle.write(line.encode()))
    if not lengths:
        raise StudyError(
            f"no candidate left of {counts['pieces']:,} pieces of {corpus.name}",
            "one or more that are no repetition, not short, and not in dev or test",
            "give the domain more text, or lower selection.min_words",
        )
    for name, values, kind in (("offsets", offsets, np.int64), ("lengths", lengths, np.int32)):
        with files.writing(folder / f"{name}.npy") as part, open(part, "wb") as handle:
            np.save(handle, np.frombuffer(values, kind))
    return counts


def _token_ids(tokenizer, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, verbose=False)["input_ids"] if texts else []


def _pieces(corpus: Path, granularity: str) -> Iterator[tuple[str, str]]:
    for row in read_documents(corpus, ("id", "text")):
        for number, text in enumerate(split_text(row["text"], granularity)):
            yield f"{row['id']}#{number}", text


def _first_of_their_kind(corpus: Path, granularity: str, min_words: int) -> tuple[np.ndarray, dict[str, int]]:
    """Mark the pieces that are long enough and no repetition of an earlier one, (num_pieces,) bool."""
    hashes, long_enough = array.array("Q"), array.array("b")
    for _, text in _pieces(corpus, granularity):
        words = leakage.words_of(text)
        long_enough.append(len(words) >= min_words)
        hashes.append(int.from_bytes(hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()))
    enough = np.frombuffer(long_enough, np.int8).astype(bool) if long_enough else np.zeros(0, bool)
    _, places = np.unique(np.frombuffer(hashes, np.uint64) if hashes else np.zeros(0, np.uint64), return_index=True)
    first = np.zeros(len(enough), bool)
    first[places] = True
    repeated = int((enough & ~first).sum())
    counts = {"pieces": len(enough), "short": int((~enough).sum()), "repeated": repeated, "leaking": 0}
    return first & enough, counts


def _without_leaks(
    pieces: list[tuple[str, str]], known: leakage.Grams, normal: set[str], limit: float
) -> list[tuple[str, str]]:
    grams = leakage.word_grams([text for _, text in pieces])
    leaking = set(leakage.leaking_documents(known, grams, limit).tolist())
    leaking |= set(np.flatnonzero(leakage.max_containment(grams, known) >= limit).tolist())
    leaking |= {k for k, (_, text) in enumerate(pieces) if leakage.normalise(text) in normal}
    return [piece for k, piece in enumerate(pieces) if k not in leaking]


def other_than(candidates: Candidates, texts: Sequence[str]) -> np.ndarray:
    """Mark the candidates that do not say what one of `texts` says, a task's own training texts: (num,) bool."""
    own = {leakage.normalise(text) for text in texts}
    return np.array([leakage.normalise(text) not in own for some in candidates.chunks() for text in some])
