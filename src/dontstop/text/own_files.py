"""One's own files made a mirror: any columns, one labelled file divided, docstrings where general text is wanting."""

import collections
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dontstop.errors import StudyError
from dontstop.machine import digests, files
from dontstop.profiles import Profile, Text
from dontstop.studies import Domain, StudyText, Task, read_study
from dontstop.text import docstrings, examples, packages, splits, words
from dontstop.text.documents import Refused, check_links, read_documents, shards_in
from dontstop.text.manifest import Row
from dontstop.text.tasks import GENERAL, SPLITS

SHARES = {"test": 0.2, "dev": 0.1}  # of each class, where one file has to give all splits
FEWEST = 3  # texts of a class, of which one goes into each split; of fewer, all into train

NOTE = "own.json"  # what the mirror was made of

Tell = Callable[[str], None]


def is_gathered(profile: Profile) -> bool:
    """Whether the mirror `text.folder` stands there whole, made of the files that the study names as they are now.

    Raises:
        StudyError: If a file is missing, or a domain or task names none.
    """
    state, mirror = _state(profile), Path(profile.text.folder)
    is_whole = (mirror / digests.DIGESTS).is_file() and digests.folder_damage(mirror) is None
    return is_whole and state == files.read_json(mirror / NOTE)


def gather(profile: Profile, constraints: Path, tell: Tell) -> None:
    """Write the mirror `text.folder` of the files that a study names.

    Raises:
        StudyError: If a file is missing or malformed, or a domain or task names none.
    """
    study, mirror, state = profile.text.study, Path(profile.text.folder), _state(profile)
    with files.saving_folder(mirror) as part:
        for task in study.tasks:  # first, since a wrong label is found in them within seconds
            _write_task(part / "tasks" / task.name, task, profile.text, tell)
        corpora = {domain.name: _documents(domain, profile.text) for domain in study.domains}
        corpora[GENERAL] = (
            _docstrings(profile.text, constraints) if study.general is None else _documents(study.general, profile.text)
        )
        for name, texts in corpora.items():
            files.write_jsonl(part / "corpora" / f"{name}.jsonl", ({"text": text} for text in texts))
        files.write_json(part / NOTE, state)
        digests.write_folder_digests(part)


def _state(profile: Profile) -> str:
    """Return a fingerprint of all that the mirror is made of; of files, their sizes and times."""
    study, settings = profile.text.study, profile.text.model_dump(mode="json", exclude={"folder"})
    there = _given_files(study, follow_links=profile.text.follow_links)
    given = {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in there}
    return files.fingerprint({"study": study.model_dump(mode="json"), "text": settings, "files": given})


def divide(rows: Sequence[Row], wanted: Sequence[str], *, seed: int) -> dict[str, list[Row]]:
    """Divide labelled texts into train and the wanted ones of dev and test: by content, each class in its share.

    Texts that differ by case, space and punctuation alone stay together, as those of ChemProt that differ by the marks
    around two names: else a test text could stand in train. A class of a few texts has one in each split; of fewer than
    `FEWEST` texts all are in train, where every class has one at least: those that stay together may differ in class.

    Returns:
        By split, rows in the order they had.
    """
    normal = [words.normalise(row["text"]) for row in rows]
    sizes, by_label = collections.Counter(normal), collections.defaultdict(list)
    for text, row in {text: row for text, row in zip(normal[::-1], rows[::-1], strict=True)}.items():
        by_label[row["label"]].append(text)  # of rows that stay together, the first one's
    places: dict[str, str] = {}
    for texts in by_label.values():
        left = sorted(texts, key=lambda text: splits.content_key(text, "own split", seed=seed))
        for split in wanted if len(texts) >= FEWEST else ():
            room = max(1, round(SHARES[split] * sum(sizes[text] for text in texts)))
            while room > 0 and len(left) > 1:
                places[left[0]] = split
                room -= sizes[left.pop(0)]
    _keep_every_class(places, [(text, row["label"]) for text, row in zip(normal, rows, strict=True)])
    found: dict[str, list[Row]] = {split: [] for split in ("train", *wanted)}
    for row, text in zip(rows, normal, strict=True):
        found[places.get(text, "train")].append(row)
    return found


def _keep_every_class(places: dict[str, str], labelled: Sequence[tuple[str, str]]) -> None:
    """Take from the places those texts that hold a class which train would lack, until it lacks none."""
    held = collections.defaultdict(set)
    for text, label in labelled:
        held[text].add(label)
    in_train = set().union(*(labels for text, labels in held.items() if text not in places))
    for text, labels in sorted(held.items()):
        if labels - in_train:
            del places[text]
            in_train |= labels


def _given_files(study: StudyText, *, follow_links: bool) -> list[Path]:
    """Return the files that a study names, those of folders included; each domain and task must name some."""
    general = [] if study.general is None else [study.general]
    for one in (*study.domains, *general, *study.tasks):
        if (one.labelled if isinstance(one, Task) else one.files) is None:
            expected = "`files` of each domain and of the general text, and `labelled` of each task"
            raise StudyError(
                f"no file of {one.name} in the study", expected, "name it, as configs/own.example.yaml does"
            )
    named = [path for some in (*study.domains, *general) for path in _corpus_files(some, follow_links=follow_links)]
    of_tasks = (getattr(task, part) for task in study.tasks for part in ("labelled", "dev", "test", "unlabelled"))
    return named + [_there(Path(path)) for path in of_tasks if path is not None]


def _there(path: Path) -> Path:
    if not path.is_file():
        raise StudyError(f"no file {path}", "a JSON Lines, CSV or Parquet file", "mend the path or put the file there")
    return path


def _corpus_files(domain: Domain, *, follow_links: bool) -> list[Path]:
    path = Path(domain.files)
    if not path.is_dir():
        return [_there(path)]
    found = shards_in(path)
    check_links(path, found, follow_links=follow_links)
    return found


def _rows(path: Path, fields: tuple[str, ...], settings: Text, label: str = "label") -> Iterator[Row]:
    refused = Refused(settings)
    yield from read_documents(path, fields, label, refused=refused)
    refused.note("rows", {})


def _documents(domain: Domain, settings: Text) -> Iterator[str]:
    column = domain.text_column
    paths = _corpus_files(domain, follow_links=settings.follow_links)
    return (row[column] for path in paths for row in _rows(path, (column,), settings))


def _docstrings(settings: Text, constraints: Path) -> Iterator[str]:
    """Yield the general text of the docstring study."""
    installed = list(packages.installed_versions(packages.pinned_names(constraints)))
    of_domains = [name for domain in read_study("docstrings").domains for name in domain.packages]
    names = packages.general_packages(installed, of_domains)
    for document in docstrings.read_packages(names, max_documents=settings.max_documents):
        yield document.text


def _write_task(folder: Path, task: Task, settings: Text, tell: Tell) -> None:
    given = {"train": task.labelled, "dev": task.dev, "test": task.test}
    rows = {split: list(_labelled(Path(path), task, settings)) for split, path in given.items() if path is not None}
    made = [split for split in SHARES if split not in rows]
    if made:
        rows["train"], repeated = _each_once(rows["train"])
        rows |= divide(rows["train"], made, seed=settings.split_seed)
        if repeated:
            tell(f"{task.name}: {repeated:,} repeated rows of {task.labelled} left out before it is divided")
    if empty := [split for split in made if not rows[split]]:
        raise StudyError(
            f"nothing for {' and '.join(empty)} in {task.labelled}: too few texts in every class of {task.name}",
            f"classes of {FEWEST} texts or more, all of one label each",
            f"give more texts of each class, or name files of their own for {' and '.join(empty)}",
        )
    examples.check_tasks({task.name: rows})
    for split in SPLITS:
        files.write_jsonl(folder / f"{split}.jsonl", rows[split])
    if task.unlabelled is not None:
        texts = ({"text": row[task.text_column]} for row in _rows(Path(task.unlabelled), (task.text_column,), settings))
        files.write_jsonl(folder / "unlabelled.jsonl", texts)
    sizes = ", ".join(f"{split} {len(rows[split]):,}" for split in SPLITS)
    tell(f"{task.name}: {sizes} texts" + (f" ({' and '.join(made)} taken from train, by class)" if made else ""))


def _labelled(path: Path, task: Task, settings: Text) -> Iterator[Row]:
    text, label = task.text_column, task.label_column
    return ({"text": row[text], "label": row[label]} for row in _rows(path, (text, label), settings, label))


def _each_once(rows: Sequence[Row]) -> tuple[list[Row], int]:
    """Keep the first of rows with equal text and label; count the others."""
    some = list({(row["text"], row["label"]): row for row in reversed(rows)}.values())[::-1]
    return some, len(rows) - len(some)
