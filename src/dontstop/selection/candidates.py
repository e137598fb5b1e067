"""The candidates of selection: a domain corpus in pieces, on disk, without repetitions and without dev or test text."""

import array
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.text import leakage
from dontstop.text.documents import read_documents

CHUNK = 20_000  # pieces held in memory at a time

# Words that a full stop follows without ending a sentence; single letters (initials, "e.g.", "i.e.") likewise.
_ABBREVIATIONS = set("etc cf vs fig figs eq eqs al approx resp ref refs sec vol no pp ed eds dr mr mrs ms prof".split())
_BOUNDARY = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[`]*[A-Z0-9])")
_LAST_WORD = re.compile(r"([A-Za-z]+)\.[\"')\]]*$")
_BLANK_LINE = re.compile(r"\n\s*\n")


# Cutting text ----------------------------------------------------------------------------------------------------


def split_text(text: str, granularity: str) -> list[str]:
    """Cut a document into the pieces that are selected: sentences, passages, or the whole.

    Args:
        text: Passages are parted by blank lines.
        granularity: `sentence` (the paper's), `passage` or `document`.
    """
    if granularity == "document":
        return [text]
    passages = [passage.strip() for passage in _BLANK_LINE.split(text)]
    if granularity == "passage":
        return [passage for passage in passages if passage]
    return [sentence for passage in passages for sentence in split_sentences(passage)]


def split_sentences(text: str) -> list[str]:
    """Cut a passage after full stops, question and exclamation marks that a capital letter or a digit follows."""
    sentences, start = [], 0
    for match in _BOUNDARY.finditer(text):
        last = _LAST_WORD.search(text[start : match.start()])
        if last and (len(last.group(1)) == 1 or last.group(1).lower() in _ABBREVIATIONS):
            continue
        sentences.append(text[start : match.end()].strip())
        start = match.end()
    return [sentence for sentence in [*sentences, text[start:].strip()] if sentence]


# Reading candidates ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidates:
    """Pieces of a domain corpus, read from disk as they are needed.

    Attributes:
        path: Of a JSON Lines file with id and text.
        offsets: (num + 1,) int64, where each line begins; the last is the file's size.
        lengths: (num,) int32, tokens of each piece, special ones included.
        hashes: (num,) uint64, of each piece's words.
    """

    path: Path
    offsets: np.ndarray
    lengths: np.ndarray
    hashes: np.ndarray

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
        starts, sizes = self.offsets, np.diff(self.offsets)
        with open(self.path, "rb") as handle:
            return [json.loads(os.pread(handle.fileno(), sizes[index], starts[index])) for index in indices]


def load_candidates(folder: Path) -> Candidates:
    """Open candidates that `write_candidates` has written."""
    arrays = (files.read_array(folder / f"{name}.npy") for name in ("offsets", "lengths", "hashes"))
    return Candidates(folder / "candidates.jsonl", *arrays)


def other_than(candidates: Candidates, texts: Sequence[str]) -> np.ndarray:
    """Mark the candidates that do not say what one of `texts` says, a task's own training texts: (num,) bool.

    Only candidates whose words' hash is that of one of the texts are read.
    """
    own = {leakage.normalise(text) for text in texts}
    alike = np.flatnonzero(np.isin(candidates.hashes, np.array([_hash_of(text) for text in own], np.uint64)))
    allowed = np.ones(len(candidates), bool)
    allowed[alike] = [leakage.normalise(row["text"]) not in own for row in candidates.rows(alike)]
    return allowed


# Writing candidates ----------------------------------------------------------------------------------------------


def write_candidates(
    corpus: Path, folder: Path, evaluated: Sequence[str], tokenizer, *, granularity: str, min_words: int, limit: float
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
    first, hashes, counts = _first_of_their_kind(corpus, granularity, min_words)
    known, normal = leakage.word_grams(list(evaluated)), {leakage.normalise(text) for text in evaluated}
    offsets, lengths, clean = array.array("q", [0]), array.array("i"), []
    with files.writing(folder / "candidates.jsonl") as part, open(part, "wb") as handle:
        pieces = itertools.compress(_pieces(corpus, granularity), first)
        while some := list(itertools.islice(pieces, CHUNK)):
            clean.append(_without_leaks([text for _, text in some], known, normal, limit))
            kept = list(itertools.compress(some, clean[-1]))
            if kept:
                lengths.extend(map(len, tokenizer([text for _, text in kept], verbose=False)["input_ids"]))
            for name, text in kept:
                offsets.append(offsets[-1] + handle.write(_line(name, text)))
    if not lengths:
        raise StudyError(
            f"no candidate left of {counts['pieces']:,} pieces of {corpus.name}",
            "one or more that are no repetition, not short, and not in dev or test",
            "give the domain more text, or lower selection.min_words",
        )
    files.write_array(folder / "offsets.npy", np.array(offsets, np.int64))
    files.write_array(folder / "lengths.npy", np.array(lengths, np.int32))
    files.write_array(folder / "hashes.npy", hashes[first][np.concatenate(clean)])
    return counts | {"leaking": int(first.sum()) - len(lengths)}


def _line(name: str, text: str) -> bytes:
    return (json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n").encode()


def _pieces(corpus: Path, granularity: str) -> Iterator[tuple[str, str]]:
    for row in read_documents(corpus, ("id", "text")):
        for number, text in enumerate(split_text(row["text"], granularity)):
            yield f"{row['id']}#{number}", text


def _hash_of(normalised: str) -> int:
    return int.from_bytes(hashlib.blake2b(normalised.encode(), digest_size=8).digest())


def _first_of_their_kind(
    corpus: Path, granularity: str, min_words: int
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Mark the pieces that are long enough and no repetition of an earlier one: (num_pieces,) bool, and hashes."""
    hashes, long_enough = array.array("Q"), array.array("b")
    for _, text in _pieces(corpus, granularity):
        words = leakage.words_of(text)
        long_enough.append(len(words) >= min_words)
        hashes.append(_hash_of(" ".join(words)))
    values, enough = np.array(hashes, np.uint64), np.array(long_enough, bool)
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    counts = {"pieces": len(values), "short": int((~enough).sum()), "repeated": int((enough & ~first).sum())}
    return first & enough, values, counts


def _without_leaks(texts: list[str], known: leakage.Grams, normal: set[str], limit: float) -> np.ndarray:
    """Mark the texts that neither hold a dev or test text nor are held by one, (num_texts,) bool."""
    grams = leakage.word_grams(texts)
    clean = leakage.max_containment(grams, known) < limit
    clean[leakage.leaking_documents(known, grams, limit)] = False
    return clean & [leakage.normalise(text) not in normal for text in texts]
