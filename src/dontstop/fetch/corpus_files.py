"""Substitutes for the paper's corpora, streamed into a mirror up to a budget, and resumed where they broke off."""

import gzip
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import datasets

from dontstop.errors import StudyError
from dontstop.fetch import hub
from dontstop.machine import files, locks
from dontstop.studies import Source
from dontstop.text.documents import forms_of
from dontstop.text.words import normalise, num_words

SHARD_CHARACTERS, SHARD_SECONDS = 8_000_000, 30.0  # how much of a corpus is written, and so safe, at a time
SEED = 0  # of the order of a source's files
_ORDER = f"files shuffled with seed {SEED}, ten of them read in turns"

_COUNTS = ("num_read", "num_documents", "num_words", "num_short", "num_other", "num_repeated")

Tell = Callable[[str], None]


def fetch_corpus(
    mirror: Path,
    domain: str,
    source: Source,
    tell: Tell,
    *,
    num_documents: int | None = None,
    num_words: int | None = None,
    min_words: int = 8,
) -> Path:
    """Stream a corpus into `mirror`/corpora/<domain>.jsonl.gz until a budget is spent, with its licence beside it.

    Documents with fewer than `min_words` words, of other fields or repeated are skipped. What has been read is kept
    shard by shard, and a later command resumes behind it, to the same bytes as one that was never interrupted.

    Args:
        num_documents, num_words: The budget: one of them, or both, whichever is spent first.

    Raises:
        StudyError: If no budget is given, or the source cannot be read or has no document of the kind.

    Departure: the paper's corpora were never released (its footnote 1); a source is of the same kind, not the same
    text. The paper read them whole. A budget takes its part from many places of the source: the order of its files is
    shuffled, and ten of them are read in turns. Within a file the order stays, since what a shuffle buffer
    holds would be lost whenever a fetch is resumed.
    """
    if num_documents is None and num_words is None:
        raise StudyError("no budget", "a number of documents or of words", "give --documents or --words")
    request = {**asdict(source), "min_words": min_words, "order": _ORDER}
    budget = {"num_documents": num_documents, "num_words": num_words}
    target, about = (mirror / "corpora" / f"{domain}.{ending}" for ending in ("jsonl.gz", "source.json"))
    with locks.only_run(target.with_name(f".{domain}.lock"), "this corpus"):
        if not _is_there(target, domain, about, request | budget):
            folder = target.with_name(f".{domain}.{files.fingerprint(request)[:12]}.shards")
            stream = CorpusStream(folder, source, request, lambda line: tell(f"{domain}: {line}"))
            stream.fetch(budget)
            stream.write(target, about, request | budget)
    return target


def _is_there(target: Path, domain: str, about: Path, wanted: dict) -> bool:
    """Return whether the corpus was fetched before as it is wanted now; refuse any other text of the domain."""
    others = [path for path in (*forms_of(target.parent, domain), target.parent / domain) if path.exists()]
    if others := [str(path) for path in others if path != target]:
        raise StudyError(f"{', '.join(others)} in the mirror", f"no other text of {domain}", "move it away")
    if not target.is_file():
        return False
    known = files.read_json(about) if about.is_file() else {}
    if not isinstance(known, dict) or known.get("sha256") != files.digest(target):
        remedy = f"delete {target}, and give the same command again"
        raise StudyError(f"{target}, which is not as it was fetched, or {about}", "the bytes that came", remedy)
    for name, value in wanted.items():
        if json.loads(json.dumps(value)) != known.get(name):
            raise StudyError(
                f"{target}, with {name} = {known.get(name)}",
                f"{name} = {value}, or no such file",
                "move the file away, or give the budget that it was fetched with",
            )
    return True


class CorpusStream:
    """A corpus being fetched: documents kept so far, in shards on the disk, and where in the source to resume."""

    def __init__(self, folder: Path, source: Source, request: dict, tell: Tell):
        """Take up what an earlier fetch of the same request has left in `folder`; what is damaged there is told."""
        self.folder, self.source, self.min_words, self.tell = folder, source, request["min_words"], tell
        self.words = re.compile(r"\b(" + "|".join(map(re.escape, source.any_of)) + r")\b", re.IGNORECASE)
        saved = self._saved() or {"state": None, "shards": {}, "counts": {}}
        self.state, self.shards = saved["state"], saved["shards"]
        self.counts = dict.fromkeys(_COUNTS, 0) | saved["counts"]
        self.seen, self.num_last_words = set(), 0
        for shard in self.shards:
            for row in files.read_rows(folder / shard):
                self.seen.add(_key(row["text"]))
                self.num_last_words = num_words(row["text"])
        self._begin_shard()

    def _saved(self) -> dict | None:
        """Return where an earlier fetch was, if all that it has left is as it was written."""
        path = self.folder / "progress.json"
        if not path.is_file():
            return None
        try:
            saved = files.read_json(path)
            is_whole = saved.pop("sha256") == files.fingerprint(saved)
            if is_whole and all(files.digest(self.folder / name) == was for name, was in saved["shards"].items()):
                return saved
        except (StudyError, FileNotFoundError, LookupError, TypeError, AttributeError):
            pass
        self.tell(f"{self.folder} is damaged: fetched from the beginning")
        return None

    def fetch(self, budget: dict[str, int | None]) -> None:
        """Read the source until the budget is spent or the source ends.

        Raises:
            StudyError: If more has come already than the budget allows, or the source cannot be read or has no
                document of the kind.
        """
        self._check(budget)
        if not self._is_spent(budget):
            self._read(budget)
        if not self.counts["num_documents"]:
            found = f"none of {self.counts['num_read']:,} documents of {self.source.path} kept"
            raise StudyError(found, "one or more", "take a source that holds the domain's text")

    def _read(self, budget: dict[str, int | None]) -> None:
        rows = self._open()
        # Nothing is saved where the source breaks off: the rows of a turn are read at once, and some would be lost.
        for row in hub.read_stream(rows, self.source.path):
            self.take(row)
            if self._is_spent(budget):
                break
            if self.num_characters >= SHARD_CHARACTERS or time.monotonic() - self.begun >= SHARD_SECONDS:
                self._save(rows.state_dict())
        self._save(rows.state_dict())

    def take(self, row: dict) -> None:
        """Keep a document, or count why it is skipped."""
        self.counts["num_read"] += 1
        text = row.get(self.source.column)
        if not isinstance(text, str):
            found = f"no text in column {self.source.column!r} of {self.source.path}, row {self.counts['num_read']:,}"
            raise StudyError(found, f"text among {', '.join(row)}", "mend the column of the source")
        text = text.strip()
        length = num_words(text)
        if length < self.min_words:
            self.counts["num_short"] += 1
        elif not self._is_of_domain(text):
            self.counts["num_other"] += 1
        elif (key := _key(text)) in self.seen:
            self.counts["num_repeated"] += 1
        else:
            self.seen.add(key)
            self.counts["num_documents"] += 1
            self.counts["num_words"] += length
            self.rows.append({"text": text})
            self.num_characters += len(text)

    def write(self, target: Path, about: Path, wanted: dict) -> None:
        """Join the shards, the same documents to the same bytes, and note beside them where they come from."""
        with files.writing(target) as part:
            with open(part, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as handle:
                for name in self.shards:
                    with open(self.folder / name, "rb") as shard:
                        shutil.copyfileobj(shard, handle)
            # Before the corpus itself: wherever that is, a note of what it is made of is beside it.
            files.write_json(about, wanted | {"counts": self.counts, "sha256": files.digest(part)})
        shutil.rmtree(self.folder)

    def _open(self) -> datasets.IterableDataset:
        """Open the source where an earlier fetch broke off."""
        source = self.source
        where = {"data_files": source.data_files, "split": source.split}
        try:
            rows = datasets.load_dataset(source.path, source.name, **where, streaming=True)
            # As rows, not tables, which is five times as fast; in a buffer of one, so that none is lost in it.
            rows = rows.map(dict).shuffle(seed=SEED, buffer_size=1)
            if self.state is not None:
                datasets.logging.set_verbosity_error()  # it warns of what a larger buffer would have lost
                rows.load_state_dict(self.state)
        except StopIteration as error:  # what `datasets` raises for a pattern that no file matches
            raise hub.unreadable(source.path, FileNotFoundError(f"no file {source.data_files}")) from error
        except hub.FAULTS as error:
            raise hub.unreadable(source.path, error) from error
        return rows

    def _begin_shard(self) -> None:
        self.rows, self.num_characters, self.begun = [], 0, time.monotonic()

    def _save(self, state: dict) -> None:
        """Keep a shard; it counts only once the position in the source is written down, with the shards' digests."""
        path = self.folder / f"{len(self.shards):05d}.jsonl"
        files.write_jsonl(path, self.rows)
        self.shards[path.name] = files.digest(path)
        saved = {"state": state, "shards": self.shards, "counts": self.counts}
        files.write_json(self.folder / "progress.json", saved | {"sha256": files.fingerprint(saved)})
        self._begin_shard()
        self.tell(f"{self.counts['num_documents']:,} documents, {self.counts['num_words']:,} words")

    def _is_of_domain(self, text: str) -> bool:
        source = self.source
        return not source.any_of or len(set(self.words.findall(text.lower()))) >= source.num_words_of

    def _is_spent(self, budget: dict[str, int | None]) -> bool:
        return any(limit is not None and self.counts[name] >= limit for name, limit in budget.items())

    def _check(self, budget: dict[str, int | None]) -> None:
        """Refuse a budget that was spent before the last document came, under a larger one."""
        last = {"num_documents": 1, "num_words": self.num_last_words}
        for name, limit in budget.items():
            if limit is not None and self.counts[name] - last[name] >= limit:
                raise StudyError(
                    f"{self.counts[name]:,} for {name} fetched already, under a larger budget",
                    f"{name} = {limit:,} or fewer",
                    f"give the larger budget again, or delete {self.folder} to begin again",
                )


def _key(text: str) -> bytes:
    return hashlib.blake2b(normalise(text).encode(), digest_size=8).digest()
