"""Write prepared text as JSON Lines, with the leak audit and a manifest of counts, digests and versions."""

import collections
import contextlib
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dontstop.machine import files
from dontstop.profiles import Paths, Profile
from dontstop.text.tasks import Task
from dontstop.text.words import num_words

Row = dict[str, str]


@dataclass
class Prepared:
    """A profile's text, before it is written: rows by domain, and by task and split.

    The corpora of a mirror are never in memory: they are written as they are read, and only their `sizes` are here.
    """

    corpora: dict[str, list[Row]] = field(default_factory=dict)
    held_out: dict[str, list[Row]] = field(default_factory=dict)
    tasks: dict[str, dict[str, list[Row]]] = field(default_factory=dict)
    unlabelled: dict[str, list[Row]] = field(default_factory=dict)  # by task, for curated TAPT; not all tasks have any
    cleaning: dict[str, int] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    # By kind (`corpora`, `held_out`) and name, of what is written: documents, words, bytes and digest.
    sizes: dict[str, dict[str, dict]] = field(default_factory=lambda: {"corpora": {}, "held_out": {}})


@contextlib.contextmanager
def replacing(profile: Profile, paths: Paths) -> Iterator[Paths]:
    """Give the paths of a temporary folder beside data/<profile>/, and move what is there once the block has ended."""
    part = Paths(files.part_of(paths.data).name, paths.root)
    try:
        yield part
        _move(part.data, paths.data)
    finally:
        shutil.rmtree(part.data, ignore_errors=True)


def write_corpora(paths: Paths, prepared: Prepared) -> None:
    """Write the corpora and held-out samples that are in memory, and note their sizes."""
    kinds = (("corpora", prepared.corpora, paths.corpus), ("held_out", prepared.held_out, paths.held_out))
    for kind, pool, path_of in kinds:
        for name, rows in pool.items():
            files.write_jsonl(path_of(name), rows)
            prepared.sizes[kind][name] = _size_of(rows, path_of(name))


def write_prepared(profile: Profile, paths: Paths, tasks: tuple[Task, ...], prepared: Prepared, audit: dict) -> dict:
    """Write tasks and audit beside the corpora, the manifest last; return that."""
    for task, by_split in prepared.tasks.items():
        for split, rows in by_split.items():
            files.write_jsonl(paths.split(task, split), rows)
    for task, rows in prepared.unlabelled.items():
        if rows:
            files.write_jsonl(paths.unlabelled(task), rows)
    files.write_json(paths.data / "leakage.json", audit)
    manifest = _manifest(profile, paths, tasks, prepared, audit)
    files.write_json(paths.data / "manifest.json", manifest)
    return manifest


def text_digests(paths: Paths, manifest: dict) -> dict[Path, str]:
    """Return the files of text that a manifest names, each with its SHA-256."""
    found = {}
    for kind, path_of in (("domains", paths.corpus), ("held_out", paths.held_out)):
        found |= {path_of(name): entry["sha256"] for name, entry in manifest[kind].items()}
    for task, entry in manifest["tasks"].items():
        found |= {paths.split(task, name): split["sha256"] for name, split in entry["splits"].items()}
        if unlabelled := entry.get("unlabelled"):
            found[paths.unlabelled(task)] = unlabelled["sha256"]
    return found


def _move(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    (target / "manifest.json").unlink(missing_ok=True)
    for folder in ("corpora", "held_out", "tasks"):
        shutil.rmtree(target / folder, ignore_errors=True)
        os.replace(source / folder, target / folder)
    for name in ("leakage.json", "manifest.json"):
        os.replace(source / name, target / name)
    files.sync_folder(target)


def _manifest(profile: Profile, paths: Paths, tasks: tuple[Task, ...], prepared: Prepared, audit: dict) -> dict:
    return {
        "profile": profile.name,
        "source": profile.text.source,
        "packages": prepared.packages,
        "python": platform.python_version(),
        "domains": prepared.sizes["corpora"],
        "held_out": prepared.sizes["held_out"],
        "tasks": {task.name: _task_entry(task, paths, prepared) for task in tasks},
        "cleaning": prepared.cleaning,
        "leakage": {kind: _totals(audit[kind]) for kind in ("corpora", "splits")},
    }


def _size_of(rows: list[Row], path: Path) -> dict:
    return {**size_of(rows), "sha256": files.digest(path)}


def size_of(rows: Sequence[Row]) -> dict[str, int]:
    """Count documents, words and bytes of text."""
    return {
        "num_documents": len(rows),
        "num_words": sum(num_words(row["text"]) for row in rows),
        "num_bytes": sum(len(row["text"].encode()) for row in rows),
    }


def _task_entry(task: Task, paths: Paths, prepared: Prepared) -> dict:
    by_split, unlabelled = prepared.tasks[task.name], prepared.unlabelled.get(task.name)
    counts = {split: collections.Counter(row["label"] for row in rows) for split, rows in by_split.items()}
    labels = sorted(counts["train"])
    entry = {
        "domain": task.domain,
        "metric": task.metric,
        "labels": labels,
        "splits": {
            split: {
                "num_examples": len(rows),
                "sha256": files.digest(paths.split(task.name, split)),
                "label_counts": {label: counts[split][label] for label in labels},
            }
            for split, rows in by_split.items()
        },
    }
    return entry | ({"unlabelled": _size_of(unlabelled, paths.unlabelled(task.name))} if unlabelled else {})


def _totals(rows: list[dict]) -> dict:
    return {
        **{key: sum(row[key] for row in rows) for key in ("num_exact", "num_contained", "num_near_duplicate")},
        "max_containment": max((row["max_containment"] for row in rows), default=0.0),
    }
