"""The examples of tasks from a mirror: read, held to what training and scoring need, and fewer where asked for."""

import collections
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from dontstop.errors import StudyError
from dontstop.machine import progress
from dontstop.profiles import Paths, Profile, Text
from dontstop.text import splits
from dontstop.text.documents import Refused, find_documents, read_documents
from dontstop.text.manifest import Prepared, Row
from dontstop.text.tasks import SPLITS, Task
from dontstop.text.words import normalise


def read_tasks(profile: Profile, paths: Paths, tasks: tuple[Task, ...]) -> Prepared:
    """Read the examples and unlabelled texts of tasks from a mirror, as many as the profile takes.

    The training texts that a low-resource task leaves out are unlabelled text of its own source, as RCT-500's are in
    the paper (section 5.1).

    Raises:
        StudyError: If a split is missing or malformed, or a low-resource task has fewer examples than asked for.
    """
    settings, prepared = profile.text, Prepared()
    folder = paths.root / settings.folder
    for task in tasks:
        given = {split: _read_split(folder, task.name, split, prepared, settings) for split in SPLITS}
        asked = settings.low_resource.get(task.name, 0)
        if asked > len(given["train"]):
            raise StudyError(
                f"{len(given['train']):,} examples in train of {task.name}",
                f"{asked:,} or more, since text.low_resource asks for so many",
                "lower that number",
            )
        largest = settings.max_examples.model_dump() | ({"train": asked} if asked else {})
        taken = {split: _taken(rows, largest[split], settings) for split, rows in given.items()}
        prepared.tasks[task.name] = taken
        for doubt in doubts(taken):
            progress.say(f"prepare: {task.name}: {doubt}")
        more = given["train"] if asked else []
        if any((folder / "tasks" / task.name).glob("unlabelled.*")):
            more = more + _read(folder, task.name, "unlabelled", ("text",), prepared, settings)
        if found := _unlabelled(more, task.name, taken["train"]):
            prepared.unlabelled[task.name] = found
    return prepared


def doubts(by_split: dict[str, list[Row]]) -> Iterator[str]:
    """Yield what a user should know of a task's labels, and which stops nothing, since published tasks have it too."""
    labels: dict[str, set[str]] = collections.defaultdict(set)
    for row in itertools.chain(*by_split.values()):
        labels[normalise(row["text"])].add(row["label"])
    if twice := sum(len(of_text) > 1 for of_text in labels.values()):
        yield f"{twice:,} {'text has' if twice == 1 else 'texts have'} two labels or more"
    held = {split: {row["label"] for row in rows} for split, rows in by_split.items()}
    alike = collections.defaultdict(set)
    for label in set().union(*held.values()):
        alike[" ".join(re.sub(r"\.0+$", "", label.lower().strip()).split())].add(label)
    for some in sorted(sorted(some) for some in alike.values() if len(some) > 1):
        named = ", ".join(map(repr, some))
        yield f"the labels {named} differ by case, space or a final .0 alone, and are taken for different ones"
    for split in ("dev", "test"):
        if alone := sorted(held["train"] - held[split]):
            yield f"{split} lacks the label {', '.join(alone)}, which macro-F1 counts as 0 there"


def check_tasks(tasks: dict[str, dict[str, list[Row]]]) -> None:
    """Hold every task to what training and scoring need.

    Raises:
        StudyError: On an empty split, a single class in train, or a label of dev or test that train never shows.
    """
    for task, by_split in tasks.items():
        for split, rows in by_split.items():
            if not rows:
                raise StudyError(f"no examples in {split} of {task}", "one or more", "fill the split")
        labels = {row["label"] for row in by_split["train"]}
        if len(labels) < 2:
            raise StudyError(
                f"only the label {min(labels)!r} in train of {task}",
                "two or more",
                "add other classes, or name the labels' column",
            )
        for split in ("dev", "test"):
            unseen = sorted({row["label"] for row in by_split[split]} - labels)
            if unseen:
                raise StudyError(
                    f"label {unseen[0]!r} in {split} of {task}, unseen in train",
                    f"labels among {', '.join(sorted(labels))}",
                    "mend the label or add examples of it to train",
                )


def _read_split(folder: Path, task: str, split: str, prepared: Prepared, settings: Text) -> list[Row]:
    rows = _read(folder, task, split, ("text", "label"), prepared, settings)
    return [{"id": f"{task}:{split}:{k}", **row} for k, row in enumerate(rows)]


def _read(folder: Path, task: str, name: str, fields: tuple[str, ...], prepared: Prepared, settings: Text) -> list[Row]:
    refused = Refused(settings)
    rows = list(read_documents(find_documents(folder / "tasks" / task, name), fields, refused=refused))
    refused.note("examples", prepared.cleaning)
    return rows


def _taken(rows: list[Row], largest: int | None, settings: Text) -> list[Row]:
    """Take at most `largest` rows, in the order they had: the first of every label by content hash, then the next.

    Source: section 5.1, low-resource tasks by the number of their training examples (RCT-500).
    Departure: the paper says of RCT-500 only that it was sampled; here every label comes up once before any comes up
    twice, so that a small draw has all of them.
    """
    if largest is None or len(rows) <= largest:
        return rows
    keys = [splits.content_key(row["text"], "taken", seed=settings.split_seed) for row in rows]
    order = sorted(range(len(rows)), key=keys.__getitem__)
    seen: set[str] = set()
    first = [k for k in order if not (rows[k]["label"] in seen or seen.add(rows[k]["label"]))]
    chosen = dict.fromkeys(first + order)
    return [rows[k] for k in sorted(list(chosen)[:largest])]


def _unlabelled(rows: list[Row], task: str, train: list[Row]) -> list[Row]:
    """Take a task's unlabelled texts: each once, in an order by content, none of train's."""
    seen, found = {normalise(row["text"]) for row in train}, {}
    for k, row in enumerate(rows):
        if (normal := normalise(row["text"])) not in seen:
            seen.add(normal)
            key = splits.content_key(row["text"], "unlabelled", seed=0)
            found[key] = {"id": f"{task}:unlabelled:{k}", "text": row["text"]}
    return [found[key] for key in sorted(found)]
