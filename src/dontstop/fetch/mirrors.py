"""A mirror on the user's disk: the paper's tasks and substitutes for its corpora, fetched piece by piece."""

import gzip
import hashlib
import json
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import datasets

from dontstop import paper
from dontstop.errors import StudyError
from dontstop.fetch import downloads
from dontstop.fetch.sources import HUB_TASKS, CorpusSource
from dontstop.machine import files
from dontstop.text import leakage
from dontstop.text.documents import find_documents, forms_of, read_documents
from dontstop.text.tasks import SPLITS, get_task

SHARD_CHARACTERS, SHARD_SECONDS = 8_000_000, 30.0  # how much of a corpus is written, and so safe, at a time
_FAULTS = (OSError, ValueError, EOFError, zlib.error, datasets.exceptions.DatasetsError)  # of a stream
_SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation"), "test": ("test",)}

Tell = Callable[[str], None]


# Tasks ---------------------------------------------------------------------------------------------------------


def fetch_tasks(mirror: Path, names: Sequence[str], source: str, address: str, tell: Tell) -> None:
    """Fetch the splits of tasks into `mirror`/tasks, each with a note of where it came from.

    Their numbers of examples are held against the paper's Table 2, and every difference is told; they may differ. A
    split that the user has put there is left as it is, whatever its form.

    Args:
        names: Of tasks.
        source: `bucket` or `hub`.
        address: Of the bucket; of a hub, the folder that holds its data sets, or nothing for the hub itself.

    Raises:
        StudyError: If a task is unknown, its splits cannot be had, or some of them come from elsewhere or have changed.
    """
    for name in names:
        if get_task(name).name not in HUB_TASKS:
            raise StudyError(f"{name}, whose text is made here", f"tasks of {', '.join(HUB_TASKS)}", "leave it out")
    for name in names:
        folder = mirror / "tasks" / name
        for split in SPLITS:
            if source == "bucket":
                place = f"{address.rstrip('/')}/{name}/{split}.jsonl"
            else:
                place = f"{address.rstrip('/')}/{HUB_TASKS[name]}" if address else HUB_TASKS[name]
            if found := _there(folder, name, split, source, place):
                number, remark = _num_examples(found), f" ({found.name}, there)"
            else:
                number, remark = _fetch_split(folder, name, split, source, place, tell), ""
            expected = _num_in_table_2(name, split)
            same = "as in Table 2" if number == expected else f"Table 2 has {expected:,}"
            tell(f"{name}, {split}: {number:,} examples{remark}, {same}")


def _num_examples(path: Path) -> int:
    return sum(1 for _ in read_documents(path, ("text", "label")))


def _num_in_table_2(task: str, split: str) -> int:
    return int(paper.table2().set_index("task").loc[task, f"num_{split}"])


def differences_from_table_2(mirror: Path, names: Sequence[str]) -> list[str]:
    """Say of every split of a mirror's tasks that holds another number of examples than the paper's Table 2 does so."""
    told = []
    for name in names:
        for split in SPLITS:
            path = find_documents(mirror / "tasks" / name, split)
            number = _num_examples(path)
            if number != (expected := _num_in_table_2(name, split)):
                told.append(f"{name}, {split}: {number:,} examples in the mirror, Table 2 has {expected:,}")
    return told


def _there(folder: Path, name: str, split: str, source: str, place: str) -> Path | None:
    """Return the file of a split that is there: the user's own, or fetched from the same place and unchanged."""
    if not (found := forms_of(folder, split)):
        return None
    known = _noted(folder).get(split)
    if known is None:
        return found[0]
    if (known["source"], known["from"]) != (source, place):
        raise StudyError(
            f"{found[0]}, fetched from {known['from']} ({known['source']})",
            f"all splits of {name} from one place, now {place} ({source})",
            f"fetch the rest from where it came, or delete {folder} to fetch all of it anew",
        )
    if files.digest(found[0]) != known["sha256"]:
        raise StudyError(f"{found[0]} changed since it was fetched", "the bytes that came", f"delete {found[0]}")
    return found[0]


def _noted(folder: Path) -> dict[str, dict]:
    path = folder / "source.json"
    return files.read_json(path)["splits"] if path.is_file() else {}


def _fetch_split(folder: Path, name: str, split: str, source: str, place: str, tell: Tell) -> int:
    """Fetch one split, read it through, and note where it came from; return its number of examples."""
    target = folder / f"{split}.jsonl"
    if source == "bucket":
        downloads.download(place, target, tell=tell)
    else:
        _split_of_hub(place, split, target)
    try:
        number = _num_examples(target)
    except StudyError as error:
        target.unlink()
        expected = "examples with the fields text and label"
        raise StudyError(
            f"no split in what came from {place}: {error.found}", expected, "try another source"
        ) from error
    note = {"source": source, "from": place, "num_examples": number, "num_in_table_2": _num_in_table_2(name, split)}
    splits = _noted(folder) | {split: note | {"sha256": files.digest(target)}}
    files.write_json(folder / "source.json", {"task": name, "splits": splits})
    return number


def _split_of_hub(path: str, split: str, target: Path) -> None:
    """Write a split of a data set with the fields text and label as JSON Lines."""
    for name in _SPLIT_NAMES[split]:
        try:
            rows = datasets.load_dataset(path, split=name, streaming=True)
            break
        except ValueError:  # no split of this name
            continue
        except _FAULTS as error:
            raise _not_had(path, error) from error
    else:
        named = " or ".join(_SPLIT_NAMES[split])
        raise StudyError(f"no split {named} in {path}", "train, dev and test", "take the bucket (--source bucket)")
    with files.writing(target) as part, open(part, "w", encoding="utf-8") as handle:
        for row in _read_to_the_end(rows, path):
            if not {"text", "label"} <= set(row):
                raise StudyError(f"fields {', '.join(row)} in {path}", "text and label", "take another source")
            handle.write(json.dumps({"text": row["text"], "label": str(row["label"])}, ensure_ascii=False) + "\n")


def _read_to_the_end(rows, path: str, broken_off: Callable[[], None] = lambda: None) -> Iterator[dict]:
    """Yield a stream's rows; what goes wrong on the way is the stream's fault, not the disk's.

    Args:
        broken_off: Called before that is told; the rows until then are whole.
    """
    iterator = iter(rows)
    while True:
        try:
            row = next(iterator)
        except StopIteration:
            return
        except _FAULTS as error:
            broken_off()
            raise _not_had(path, error) from error
        yield row


def _not_had(path: str, error: Exception) -> StudyError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    remedy = "look whether the name is right and the network there; what has come is kept"
    return StudyError(f"{path} not had: {first}", "a data set that can be read", remedy)


# Corpora -------------------------------------------------------------------------------------------------------


def fetch_corpus(
    mirror: Path,
    domain: str,
    source: CorpusSource,
    tell: Tell,
    *,
    num_documents: int | None = None,
    num_words: int | None = None,
    min_words: int = 8,
) -> Path:
    """Stream a corpus into `mirror`/corpora/<domain>.jsonl.gz until a budget is spent, with its licence beside it.

    Documents come in the source's order; those with fewer than `min_words` words, other fields' and repetitions are
    passed over. What has come is kept shard by shard, and a later command goes on behind it.

    Args:
        num_documents, num_words: The budget: one of them, or both, whichever is spent first.

    Raises:
        StudyError: If no budget is given, or the source cannot be read or has no document of the kind.
    """
    target = mirror / "corpora" / f"{domain}.jsonl.gz"
    if num_documents is None and num_words is None:
        raise StudyError("no budget", "a number of documents or of words", "give --documents or --words")
    others = [path for path in (*forms_of(target.parent, domain), target.parent / domain) if path.exists()]
    if others := [str(path) for path in others if path != target]:
        raise StudyError(f"{', '.join(others)} in the mirror", f"no other text of {domain}", "move it away")
    wanted = {**asdict(source), "min_words": min_words, "num_documents": num_documents, "num_words": num_words}
    about = mirror / "corpora" / f"{domain}.source.json"
    if target.is_file():
        _hold_to(about, wanted, target)
        return target
    mark = files.fingerprint({**asdict(source), "min_words": min_words})[:12]
    shards = mirror / "corpora" / f".{domain}.{mark}.shards"
    progress = _Progress(shards)
    _hold_to_budget(progress, wanted, shards)
    try:
        rows = datasets.load_dataset(
            source.path, source.name, data_files=source.data_files, split=source.split, streaming=True
        )
        if progress.state is not None:
            rows.load_state_dict(progress.state)
        _stream(rows, source, progress, wanted, lambda line: tell(f"{domain}: {line}"))
    except StopIteration as error:  # what `datasets` raises for a pattern that no file matches
        raise _not_had(source.path, FileNotFoundError(f"no file {source.data_files}")) from error
    except _FAULTS as error:
        raise _not_had(source.path, error) from error
    if not progress.counts["num_documents"]:
        found = f"none of {progress.counts['num_read']:,} documents of {source.path} kept for {domain}"
        raise StudyError(found, "one or more", "take a source that holds the domain's text")
    with files.writing(target) as part:
        with gzip.GzipFile(part, "wb", mtime=0) as handle:
            for path in progress.paths():
                with open(path, "rb") as shard:
                    shutil.copyfileobj(shard, handle)
        # Before the corpus itself: where that stands, what it is made of stands beside it.
        files.write_json(about, wanted | {"counts": progress.counts, "sha256": files.digest(part)})
    shutil.rmtree(shards)
    return target


def _hold_to(about: Path, wanted: dict, target: Path) -> None:
    """Refuse a corpus that stands there with another budget or from another source."""
    known = files.read_json(about) if about.is_file() else {}
    for name, value in wanted.items():
        if json.loads(json.dumps(value)) != known.get(name):
            raise StudyError(
                f"{target}, with {name} = {known.get(name)}",
                f"{name} = {value}, or no such file",
                "move the file away, or give the budget that it was fetched with",
            )


def _hold_to_budget(progress: "_Progress", wanted: dict, shards: Path) -> None:
    """Refuse a budget that was spent before the last document came, under a larger one."""
    last = progress.last_words
    for name, count, less in (("num_documents", "num_documents", 1), ("num_words", "num_words_kept", last)):
        limit = wanted[name]
        if limit is not None and progress.counts[count] - less >= limit:
            raise StudyError(
                f"{progress.counts[count]:,} for {name} come already, under a larger budget",
                f"{name} = {limit:,} or fewer",
                f"give the larger budget again, or delete {shards} to begin anew",
            )


class _Progress:
    """What of a corpus has come: shards of documents, and where in the source to go on."""

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / "progress.json"
        found = files.read_json(path) if path.is_file() else {"state": None, "num_shards": 0, "counts": {}}
        self.state, self.num_shards = found["state"], found["num_shards"]
        self.counts = dict.fromkeys(("num_read", "num_documents", "num_words_kept", "num_short", "num_other"), 0)
        self.counts |= {"num_repeated": 0} | found["counts"]
        self.seen, self.last_words = set(), 0
        for text in self._texts():
            self.seen.add(_key(text))
            self.last_words = len(text.split())

    def paths(self) -> list[Path]:
        return [self.folder / f"{number:05d}.jsonl" for number in range(self.num_shards)]

    def _texts(self) -> Iterator[str]:
        for path in self.paths():
            yield from (row["text"] for row in files.read_jsonl(path))

    def save(self, rows: list[dict], state: dict) -> None:
        """Keep a shard; its number counts only once the place in the source is written down."""
        files.write_jsonl(self.folder / f"{self.num_shards:05d}.jsonl", rows)
        self.num_shards += 1
        saved = {"state": state, "num_shards": self.num_shards, "counts": self.counts}
        files.write_json(self.folder / "progress.json", saved)


def _stream(rows, source: CorpusSource, progress: _Progress, wanted: dict, tell: Tell) -> None:
    counts, shard = progress.counts, []
    words_of = re.compile(r"\b(" + "|".join(map(re.escape, source.any_of)) + r")\b", re.IGNORECASE)
    budget = {"num_documents": wanted["num_documents"], "num_words_kept": wanted["num_words"]}
    budget = {name: limit for name, limit in budget.items() if limit is not None}
    if any(counts[name] >= limit for name, limit in budget.items()):
        return
    saved, characters = time.monotonic(), 0

    def save() -> None:
        nonlocal shard, saved, characters
        progress.save(shard, rows.state_dict())
        shard, saved, characters = [], time.monotonic(), 0
        tell(f"{counts['num_documents']:,} documents, {counts['num_words_kept']:,} words")

    for row in _read_to_the_end(rows, source.path, broken_off=save):
        counts["num_read"] += 1
        text = row.get(source.column)
        if not isinstance(text, str):
            found = f"no text in column {source.column!r} of {source.path}, row {counts['num_read']:,}"
            raise StudyError(found, f"text among {', '.join(row)}", "mend the column of the source")
        if kept := _kept(text, words_of, source, progress.seen, wanted["min_words"], counts):
            shard.append({"text": kept})
            characters += len(kept)
        full = any(counts[name] >= limit for name, limit in budget.items())
        if full or characters >= SHARD_CHARACTERS or time.monotonic() - saved >= SHARD_SECONDS:
            save()
        if full:
            return
    save()


def _kept(text: str, words_of, source: CorpusSource, seen: set[bytes], min_words: int, counts: dict) -> str | None:
    """Return a document that is to be kept, counting those that are not by reason."""
    text = text.strip()
    number = len(text.split())
    if number < min_words:
        counts["num_short"] += 1
        return None
    if source.any_of and len({found.lower() for found in words_of.findall(text)}) < source.num_words_of:
        counts["num_other"] += 1
        return None
    if (key := _key(text)) in seen:
        counts["num_repeated"] += 1
        return None
    seen.add(key)
    counts["num_documents"] += 1
    counts["num_words_kept"] += number
    return text


def _key(text: str) -> bytes:
    return hashlib.blake2b(leakage.normalise(text).encode(), digest_size=8).digest()
