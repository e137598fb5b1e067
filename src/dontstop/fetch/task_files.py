"""Tasks fetched into a mirror split by split; the paper's are compared with its Table 2."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from dontstop import paper
from dontstop.errors import StudyError
from dontstop.fetch import downloads, hub
from dontstop.machine import files, locks
from dontstop.profiles import Text
from dontstop.studies import StudyText, Task
from dontstop.text.documents import Refused, find_documents, forms_of, read_documents
from dontstop.text.tasks import SPLITS

Tell = Callable[[str], None]

_BOUNDS, _LENIENT = Text(), Text(bad_rows="skip")  # what is prepared later is held to the profile's own
_KEPT = {"source", "from", "sha256"}  # of a split that was fetched, beside it
_SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation"), "test": ("test",)}  # on a hub


@dataclass(frozen=True)
class Origin:
    """Where a split comes from: `bucket` and the address of its file, or `hub` and the name of its data set."""

    source: str
    address: str


def fetch_tasks(
    mirror: Path, study: StudyText, names: Sequence[str], source: str, address: str | None, tell: Tell
) -> None:
    """Fetch the splits of tasks into `mirror`/tasks, each with a note of where it came from.

    The numbers of examples of the paper's tasks are compared with its Table 2, and differences are reported; they may
    differ. A split that the user has put there is left as it is, whatever its form.

    Args:
        study: Says where its tasks are.
        names: Of tasks; none for all.
        source: `bucket` or `hub`.
        address: Of another bucket; of a hub, a folder that holds its data sets.

    Raises:
        StudyError: If a task is unknown, its splits cannot be read, come from another source or have changed.
    """
    tasks = [study.task(name) for name in names] or study.tasks
    origins = {(task, split): _origin(study, task, split, source, address) for task in tasks for split in SPLITS}
    with locks.only_run(mirror / "tasks" / ".fetch.lock", "this mirror's tasks"):
        for (task, split), origin in origins.items():
            folder = mirror / "tasks" / task.name
            if found := _present(folder, task.name, split, origin):
                number, remark = _num_examples(found), f" ({found.name}, already there)"
            else:
                number, remark = _fetch_split(folder, task, split, origin, tell), ""
            if (expected := _num_in_table_2(task.name, split)) is not None:
                remark += ", as in Table 2" if number == expected else f", Table 2 has {expected:,}"
            tell(f"{task.name}, {split}: {number:,} examples{remark}")


def differences_from_table_2(mirror: Path, names: Sequence[str]) -> list[str]:
    """Describe every split of a mirror's tasks that holds another number of examples than the paper's Table 2.

    Tasks of one's own, which the paper has no numbers of, are left out.
    """
    return [
        f"{name}, {split}: {number:,} examples in the mirror, Table 2 has {expected:,}"
        for name, split in itertools.product(names, SPLITS)
        if (expected := _num_in_table_2(name, split)) is not None
        for number in [_num_examples(find_documents(mirror / "tasks" / name, split), _LENIENT)]
        if number != expected
    ]


def _origin(study: StudyText, task: Task, split: str, source: str, address: str | None) -> Origin:
    place = address or study.bucket if source == "bucket" else task.hub
    if place is None:
        what = "`bucket` of the study, an address" if source == "bucket" else f"`hub` of {task.name}, a data set's name"
        raise StudyError(f"no {source} named for {task.name}", what, "write it there, or take another --source")
    if source == "bucket":
        return Origin(source, f"{place.rstrip('/')}/{task.name}/{split}.jsonl")
    return Origin(source, f"{address.rstrip('/')}/{place}" if address else place)


def _num_examples(path: Path, settings: Text = _BOUNDS) -> int:
    return sum(1 for _ in read_documents(path, ("text", "label"), refused=Refused(settings)))


def _num_in_table_2(task: str, split: str) -> int | None:
    sizes = paper.table2().set_index("task")[f"num_{split}"]
    return int(sizes[task]) if task in sizes else None


def _present(folder: Path, name: str, split: str, origin: Origin) -> Path | None:
    """Return the file of a split that is there: the user's own, or fetched from the same origin and unchanged."""
    found, known = forms_of(folder, split), _read_notes(folder).get(split)
    if not found or known is None:
        return found[0] if found else None
    if Origin(known["source"], known["from"]) != origin:
        raise StudyError(
            f"{found[0]}, fetched from {known['from']} ({known['source']})",
            f"all splits of {name} from one source, now {origin.address} ({origin.source})",
            f"fetch the rest from that source too, or delete {folder} to fetch all of it again",
        )
    if files.digest(found[0]) != known["sha256"]:
        raise StudyError(f"{found[0]} changed since it was fetched", "the bytes that came", f"delete {found[0]}")
    return found[0]


def _read_notes(folder: Path) -> dict[str, dict]:
    """Read where the splits of a task were fetched from, by split."""
    path = folder / "source.json"
    notes = files.read_json(path) if path.is_file() else {"splits": {}}
    splits = notes.get("splits") if isinstance(notes, dict) else None
    if not isinstance(splits, dict) or not all(isinstance(n, dict) and n.keys() >= _KEPT for n in splits.values()):
        remedy = f"delete {folder} to fetch all of it again, or {path} alone, where the splits are your own"
        raise StudyError(f"{path} is damaged", "where each split was fetched from", remedy)
    return splits


def _fetch_split(folder: Path, task: Task, split: str, origin: Origin, tell: Tell) -> int:
    """Fetch one split, read it through, and note where it came from; return its number of examples."""
    target = folder / f"{split}.jsonl"
    if origin.source == "bucket":
        downloads.download(origin.address, target, tell=tell)
    else:
        _fetch_from_hub(origin.address, split, target, task)
    try:
        number = _num_examples(target)
    except StudyError as error:
        target.unlink()
        found = f"{origin.address} is no split of {task.name}: {error.found}"
        raise StudyError(found, "examples with the fields text and label", "take another source") from error
    note = {"source": origin.source, "from": origin.address, "num_examples": number}
    note |= {"num_in_table_2": _num_in_table_2(task.name, split), "sha256": files.digest(target)}
    files.write_json(folder / "source.json", {"task": task.name, "splits": _read_notes(folder) | {split: note}})
    return number


def _fetch_from_hub(path: str, split: str, target: Path, task: Task) -> None:
    """Write a split of a data set as JSON Lines with the fields text and label; numbered labels by their names.

    Raises:
        StudyError: If it cannot be read, or none of its texts has a label. One without a label is left out.
    """
    for name in _SPLIT_NAMES[split]:
        try:
            rows = datasets.load_dataset(path, split=name, streaming=True)
            break
        except ValueError:  # no split of this name
            continue
        except hub.FAULTS as error:
            raise hub.unreadable(path, error) from error
    else:
        names = " or ".join(_SPLIT_NAMES[split])
        raise StudyError(f"no split {names} in {path}", "train, dev and test", "take the bucket (--source bucket)")
    text, label_column = task.text_column, task.label_column
    kind, num_written = (rows.features or {}).get(label_column), 0
    with files.writing(target) as part, open(part, "w", encoding="utf-8") as handle:
        for row in hub.read_stream(rows, path):
            if not {text, label_column} <= set(row):
                found, remedy = f"fields {', '.join(row)} in {path}", "mend the task's columns, or take another source"
                raise StudyError(found, f"{text} and {label_column}", remedy)
            if (label := row[label_column]) in (None, -1):  # as hubs mark texts whose labels are kept back
                continue
            label = kind.int2str(label) if isinstance(kind, datasets.ClassLabel) else str(label)
            handle.write(json.dumps({"text": row[text], "label": label}, ensure_ascii=False) + "\n")
            num_written += 1
        if not num_written:
            raise StudyError(f"no labels in {split} of {path}", "labelled texts", "take the bucket (--source bucket)")
