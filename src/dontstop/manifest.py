"""Write prepared text as JSON Lines, with the leak audit and a manifest of counts, digests and versions."""

import collections
import os
import platform
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from dontstop import files
from dontstop.profiles import Paths, Profile
from dontstop.tasks import Task

Row = dict[str, str]


@dataclass
class Prepared:
    """A profile's text, before it is written: rows by domain, and by task and split."""

    corpora: dict[str, list[Row]] = field(default_factory=dict)
    held_out: dict[str, list[Row]] = field(default_factory=dict)
    tasks: dict[str, dict[str, list[Row]]] = field(default_factory=dict)
    unlabelled: dict[str, list[Row]] = field(default_factory=dict)  # by task, for curated TAPT; not all tasks have any
    cleaning: dict[str, int] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)


def write_prepared(profile: Profile, paths: Paths, tasks: tuple[Task, ...], prepared: Prepared, audit: dict) -> dict:
    """Write into a temporary folder beside data/<profile>/, then move it all there, the manifest last; return that."""
    part = Paths(f".{profile.name}.{uuid.uuid4().hex[:8]}.part", paths.root)
    try:
        for name, rows in prepared.corpora.items():
            files.write_jsonl(part.corpus(name), rows)
            files.write_jsonl(part.held_out(name), prepared.held_out[name])
        for task, by_split in prepared.tasks.items():
            for split, rows in by_split.items():
                files.write_jsonl(part.split(task, split), rows)
        for task, rows in prepared.unlabelled.items():
            if rows:
                files.write_jsonl(part.unlabelled(task), rows)
        files.write_json(part.data / "leakage.json", audit)
        manifest = _manifest(profile, part, tasks, prepared, audit)
        files.write_json(part.data / "manifest.json", manifest)
        _move(part.data, paths.data)
    finally:
        shutil.rmtree(part.data, ignore_errors=True)
    return manifest


def _move(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    (target / "manifest.json").unlink(missing_ok=True)
    for folder in ("corpora", "held_out", "tasks"):
        shutil.rmtree(target / folder, ignore_errors=True)
        os.replace(source / folder, target / folder)
    for name in ("leakage.json", "manifest.json"):
        os.replace(source / name, target / name)
    files.sync_folder(target)


def _manifest(profile: Profile, part: Paths, tasks: tuple[Task, ...], prepared: Prepared, audit: dict) -> dict:
    return {
        "profile": profile.name,
        "source": profile.text.source,
        "packages": prepared.packages,
        "python": platform.python_version(),
        "domains": {name: _size_of(rows, part.corpus(name)) for name, rows in prepared.corpora.items()},
        "held_out": {name: _size_of(rows, part.held_out(name)) for name, rows in prepared.held_out.items()},
        "tasks": {
            task.name: _task_entry(task, part, prepared.tasks[task.name])
            | ({"unlabelled": _size_of(rows, part.unlabelled(task.name))} if rows else {})
            for task in tasks
            for rows in [prepared.unlabelled.get(task.name, [])]
        },
        "cleaning": prepared.cleaning,
        "leakage": {kind: _totals(audit[kind]) for kind in ("corpora", "splits")},
    }


def _size_of(rows: list[Row], path: Path) -> dict:
    return {
        "num_documents": len(rows),
        "num_words": sum(len(row["text"].split()) for row in rows),
        "num_bytes": sum(len(row["text"].encode()) for row in rows),
        "sha256": files.digest(path),
    }


def _task_entry(task: Task, part: Paths, by_split: dict[str, list[Row]]) -> dict:
    counts = {split: collections.Counter(row["label"] for row in rows) for split, rows in by_split.items()}
    labels = sorted(counts["train"])
    return {
        "domain": task.domain,
        "metric": task.metric,
        "labels": labels,
        "splits": {
            split: {
                "num_examples": len(rows),
                "sha256": files.digest(part.split(task.name, split)),
                "label_counts": {label: counts[split][label] for label in labels},
            }
            for split, rows in by_split.items()
        },
    }


def _totals(rows: list[dict]) -> dict:
    return {
        **{key: sum(row[key] for row in rows) for key in ("num_exact", "num_contained", "num_near_duplicate")},
        "max_containment": max((row["max_containment"] for row in rows), default=0.0),
    }
