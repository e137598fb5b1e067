"""The candidates of selection: a domain corpus in pieces, on disk, without repetitions and without dev or test text.

For each task, what is part of one of its own training texts is marked: it is no candidate of that task.
"""

import array
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_BOUNDARY = re.compile(
    r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[`]*[A-Z0-9])"
    r"|(?<=[。！？｡])[」』”’）】]*\s*(?=[^\s。！？｡])"
)
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
    """Cut a passage after full stops, question and exclamation marks that a capital letter or a digit follows.

    Those of Chinese and Japanese end a sentence whatever follows; a run of them is one end.
    """
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
        starts, sizes = self.offsets, np.diff(self.offsets)
        with open(self.path, "rb") as handle:
            return [json.loads(os.pread(handle.fileno(), sizes[index], starts[index])) for index in indices]

    def allowed(self, task: str) -> np.ndarray:
        """Mark the candidates that are part of none of a task's own training texts: (num,) bool."""
        return files.read_array(self.path.with_name(f"allowed_{task}.npy"))


def load_candidates(folder: Path) -> Candidates:
    """Open candidates that `write_candidates` has written."""
    return Candidates(
        folder / "candidates.jsonl", *(files.read_array(folder / f"{name}.npy") for name in ("offsets", "lengths"))
    )


# Writing candidates ----------------------------------------------------------------------------------------------


class Repeated:
    """Tells which pieces say what one of some texts says: the dev and test texts of a domain, or a task's own.

    A piece does so that is one of them, or one of their pieces, whatever its case and punctuation; that holds `limit`
    of the word 5-grams of one; or of whose own 5-grams one holds as many.
    """

    def __init__(self, texts: Sequence[str], *, granularity: str, limit: float):
        self._grams, self._limit = leakage.word_grams(list(texts)), limit
        pieces = (piece for text in texts for piece in (text, *split_text(text, granularity)))
        self._known = {leakage.normalise(piece) for piece in pieces}

    def __call__(self, texts: Sequence[str], grams: leakage.Grams) -> np.ndarray:
        """Mark those of some texts, of which these are the word 5-grams: (num_texts,) bool."""
        repeated = leakage.max_containment(grams, self._grams) >= self._limit
        repeated[leakage.leaking_documents(self._grams, grams, self._limit)] = True
        return repeated | np.array([leakage.normalise(text) in self._known for text in texts], bool)


def write_candidates(
    corpus: Path, folder: Path, evaluated: Repeated, own: Mapping[str, Repeated], tokenizer, *, granularity, min_words
) -> dict[str, int]:
    """Cut a corpus into candidates, in constant memory, and write them under `folder`.

    A piece that another has already said is dropped, whatever its case and punctuation; so is one that leaks.

    Args:
        corpus: JSON Lines, as prepared.
        evaluated: Tells what leaks: it repeats a dev or test text of the domain's tasks.
        own: Tells, by task, what repeats one of its training texts: it is marked, and no candidate of that task.
        tokenizer: For the lengths.

    Returns:
        How many pieces there were, how many were dropped as repeated, short or leaking, and how many repeat each
        task's own texts: `own_<task>`.

    Raises:
        StudyError: If nothing is left, of all or for a task.
    """
    first, counts = _first_of_their_kind(corpus, granularity, min_words)
    sizes, lengths, allowed = array.array("q", [0]), array.array("i"), {task: array.array("b") for task in own}
    with files.writing(folder / "candidates.jsonl") as part, open(part, "wb") as handle:
        pieces = itertools.compress(_pieces(corpus, granularity), first)
        while some := list(itertools.islice(pieces, CHUNK)):
            kept, grams = _without(evaluated, some)
            texts = [text for _, text in kept]
            lengths.extend(map(len, tokenizer(texts, verbose=False)["input_ids"] if texts else []))
            sizes.extend(handle.write(_line(*piece)) for piece in kept)
            for task, repeats in own.items():
                allowed[task].extend((~repeats(texts, grams)).tolist())
    masks = {task: np.array(marks, bool) for task, marks in allowed.items()}
    _check_some_left(corpus.name, counts["pieces"], len(lengths), masks)
    arrays = {"offsets": np.cumsum(sizes), "lengths": np.array(lengths, np.int32)}
    for name, values in (arrays | {f"allowed_{task}": mask for task, mask in masks.items()}).items():
        files.write_array(folder / f"{name}.npy", values)
    counts["leaking"] = int(first.sum()) - len(lengths)
    return counts | {f"own_{task}": int((~mask).sum()) for task, mask in masks.items()}


def _without(leaking: Repeated, some: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], leakage.Grams]:
    """Return the pieces that do not leak, and their word 5-grams."""
    texts = [text for _, text in some]
    grams = leakage.word_grams(texts)
    clean = np.flatnonzero(~leaking(texts, grams))
    return [some[k] for k in clean], grams.select(clean)


def _check_some_left(corpus: str, num_pieces: int, num: int, allowed: Mapping[str, np.ndarray]) -> None:
    lacking = next((task for task, mask in allowed.items() if not mask.any()), None) if num else "any task"
    if lacking is not None:
        raise StudyError(
            f"no candidate left for {lacking} of {num_pieces:,} pieces of {corpus}",
            "one or more that are no repetition, not short, in no dev or test text, and in none of the task's own",
            "give the domain more text, or lower selection.min_words",
        )


def _line(name: str, text: str) -> bytes:
    return (json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n").encode()


def _pieces(corpus: Path, granularity: str) -> Iterator[tuple[str, str]]:
    for row in read_documents(corpus, ("id", "text")):
        for number, text in enumerate(split_text(row["text"], granularity)):
            yield f"{row['id']}#{number}", text


def _hash_of(normalised: str) -> int:
    return int.from_bytes(hashlib.blake2b(normalised.encode(), digest_size=8).digest())


def _first_of_their_kind(corpus: Path, granularity: str, min_words: int) -> tuple[np.ndarray, dict[str, int]]:
    """Mark the pieces that are long enough and no repetition of an earlier one: (num_pieces,) bool."""
    hashes, long_enough = array.array("Q"), array.array("b")
    for _, text in _pieces(corpus, granularity):
        words = leakage.words_of(text)
        long_enough.append(len(words) >= min_words)
        hashes.append(_hash_of(" ".join(words)))
    values, enough = np.array(hashes, np.uint64), np.array(long_enough, bool)
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    counts = {"pieces": len(values), "short": int((~enough).sum()), "repeated": int((enough & ~first).sum())}
    return first & enough, counts
