"""The paper's tasks, fetched into a mirror split by split, and compared with the paper's Table 2."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from dontstop import paper
from dontstop.errors import StudyError
from dontstop.fetch import downloads, hub
from dontstop.fetch.sources import HUB_TASKS
from dontstop.machine import files
from dontstop.profiles import Text
from dontstop.studies import read_study
from dontstop.text.documents import Refused, find_documents, forms_of, read_documents
from dontstop.text.tasks import SPLITS

Tell = Callable[[str], None]

_BOUNDS, _LENIENT = Text(), Text(bad_rows="skip")  # what is prepared later is held to the profile's own
_SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation"), "test": ("test",)}  # on a hub


@dataclass(frozen=True)
class Origin:
    """Where a split comes from: `bucket` and the address of its file, or `hub` and the name of its data set."""

    source: str
    address: str


def fetch_tasks(mirror: Path, names: Sequence[str], source: str, address: str, tell: Tell) -> None:
    """Fetch the splits of tasks into `mirror`/tasks, each with a note of where it came from.

    Their numbers of examples are compared with the paper's Table 2, and differences are reported; they may differ. A
    split that the user has put there is left as it is, whatever its form.

    Args:
        names: Of tasks.
        source: `bucket` or `hub`.
        address: Of the bucket; of a hub, the folder that holds its data sets, or nothing for the hub itself.

    Raises:
        StudyError: If a task is unknown, its splits cannot be read, come from another source or have changed.
    """
    for name in names:
        read_study("paper").task(name)
    for name, split in itertools.product(names, SPLITS):
        folder, origin = mirror / "tasks" / name, _origin(name, split, source, address)
        if found := _present(folder, name, split, origin):
            number, remark = _num_examples(found), f" ({found.name}, already there)"
        else:
            number, remark = _fetch_split(folder, name, split, origin, tell), ""
        expected = _num_in_table_2(name, split)
        comparison = "as in Table 2" if number == expected else f"Table 2 has {expected:,}"
        tell(f"{name}, {split}: {number:,} examples{remark}, {comparison}")


def differences_from_table_2(mirror: Path, names: Sequence[str]) -> list[str]:
    """Describe every split of a mirror's tasks that holds another number of examples than the paper's Table 2.

    Tasks of one's own, which the paper has no numbers of, are left out.
    """
    known = set(paper.table2()["task"])
    return [
        f"{name}, {split}: {number:,} examples in the mirror, Table 2 has {expected:,}"
        for name, split in itertools.product([name for name in names if name in known], SPLITS)
        for number in [_num_examples(find_documents(mirror / "tasks" / name, split), _LENIENT)]
        if number != (expected := _num_in_table_2(name, split))
    ]


def _origin(name: str, split: str, source: str, address: str) -> Origin:
    if source == "bucket":
        return Origin(source, f"{address.rstrip('/')}/{name}/{split}.jsonl")
    return Origin(source, f"{address.rstrip('/')}/{HUB_TASKS[name]}" if address else HUB_TASKS[name])


def _num_examples(path: Path, settings: Text = _BOUNDS) -> int:
    return sum(1 for _ in read_documents(path, ("text", "label"), settings=settings, refused=Refused(settings)))


def _num_in_table_2(task: str, split: str) -> int:
    return int(paper.table2().set_index("task").loc[task, f"num_{split}"])


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
    return files.read_json(path)["splits"] if path.is_file() else {}


def _fetch_split(folder: Path, name: str, split: str, origin: Origin, tell: Tell) -> int:
    """Fetch one split, read it through, and note where it came from; return its number of examples."""
    target = folder / f"{split}.jsonl"
    if origin.source == "bucket":
        downloads.download(origin.address, target, tell=tell)
    else:
        _fetch_from_hub(origin.address, split, target)
    try:
        number = _num_examples(target)
    except StudyError as error:
        target.unlink()
        found = f"{origin.address} is no split of {name}: {error.found}"
        raise StudyError(found, "examples with the fields text and label", "take another source") from error
    note = {"source": origin.source, "from": origin.address, "num_examples": number}
    note |= {"num_in_table_2": _num_in_table_2(name, split), "sha256": files.digest(target)}
    files.write_json(folder / "source.json", {"task": name, "splits": _read_notes(folder) | {split: note}})
    return number


def _fetch_from_hub(path: str, split: str, target: Path) -> None:
    """Write a split of a data set with the fields text and label as JSON Lines; numbered labels by their names.

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
    kind, num_written = (rows.features or {}).get("label"), 0
    with files.writing(target) as part, open(part, "w", encoding="utf-8") as handle:
        for row in hub.read_stream(rows, path):
            if not {"text", "label"} <= set(row):
                raise StudyError(f"fields {', '.join(row)} in {path}", "text and label", "take another source")
            if (label := row["label"]) in (None, -1):  # as hubs mark texts whose labels are kept back
                continue
            label = kind.int2str(label) if isinstance(kind, datasets.ClassLabel) else str(label)
            handle.write(json.dumps({"text": row["text"], "label": label}, ensure_ascii=False) + "\n")
            num_written += 1
        if not num_written:
            raise StudyError(f"no labels in {split} of {path}", "labelled texts", "take the bucket (--source bucket)")
