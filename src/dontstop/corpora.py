"""Prepare a profile's text: pretraining corpora, held-out samples and task splits, cleaned of duplicates and leaks."""

import collections
from dataclasses import replace
from pathlib import Path

import numpy as np

from dontstop import docstrings, files, leakage, splits
from dontstop.docstrings import Document
from dontstop.documents import find_documents, read_documents
from dontstop.errors import StudyError
from dontstop.manifest import Prepared, Row, write_prepared
from dontstop.profiles import Paths, Profile, Text
from dontstop.tasks import GENERAL, SPLITS, Task, domains_for, domains_of, tasks_for

Texts = dict[tuple[str, str], leakage.Sample]  # by task and split


def prepare(profile: Profile, paths: Paths, constraints: Path | None = None) -> dict:
    """Build and write everything under data/<profile>/ but tokens, the manifest last, and return the manifest.

    Args:
        profile: The settings; `text.source` says where the text comes from.
        paths: Where the files go.
        constraints: The pinned packages whose docstrings are read; constraints.txt at the root unless given.

    Raises:
        StudyError: If text is missing, malformed or too small for the splits asked for.
    """
    tasks = tasks_for(profile, paths)
    if profile.text.source == "docstrings":
        prepared = _from_docstrings(profile, constraints or paths.root / "constraints.txt")
    else:
        prepared = _from_files(profile, paths, tasks)
    check_tasks(prepared.tasks)
    texts = {
        (task, split): leakage.sample([row["text"] for row in rows])
        for task, by_split in prepared.tasks.items()
        for split, rows in by_split.items()
    }
    samples = _remove_leaks(prepared, texts, profile.text)
    _check_corpora(prepared)
    return write_prepared(profile, paths, tasks, prepared, _audit(texts, samples, tasks, profile.text))


def load_manifest(paths: Paths) -> dict:
    """Read the manifest of prepared text.

    Raises:
        StudyError: If the text has not been prepared.
    """
    path = paths.data / "manifest.json"
    if not path.is_file():
        raise StudyError(f"no file {path}", "text prepared before it is used", "run `dontstop prepare`")
    return files.read_json(path)


def load_documents(path: Path) -> list[Row]:
    """Read a prepared corpus or held-out sample."""
    return list(read_documents(path, ("id", "text", "source")))


def load_examples(paths: Paths, task: str, split: str) -> list[Row]:
    """Read the examples of a prepared split."""
    return list(read_documents(paths.split(task, split), ("id", "text", "label")))


def load_unlabelled(paths: Paths, task: str) -> list[Row]:
    """Read the unlabelled texts of a task's own source, in an order by content; none where it has none."""
    path = paths.unlabelled(task)
    return list(read_documents(path, ("id", "text"))) if path.is_file() else []


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
            raise StudyError(f"only the label {min(labels)!r} in train of {task}", "two or more", "add other classes")
        for split in ("dev", "test"):
            unseen = sorted({row["label"] for row in by_split[split]} - labels)
            if unseen:
                raise StudyError(
                    f"label {unseen[0]!r} in {split} of {task}, unseen in train",
                    f"labels among {', '.join(sorted(labels))}",
                    "mend the label or add examples of it to train",
                )


def drop_repeated_passages(documents: list[Document], seen: set[str], min_words: int) -> list[Document]:
    """Drop passages that an earlier document has, and documents that end below `min_words` words; `seen` grows."""
    kept = []
    for document in documents:
        fresh = []
        for passage in document.passages:
            key = leakage.normalise(passage.text)
            if key not in seen:
                seen.add(key)
                fresh.append(passage)
        if sum(len(passage.text.split()) for passage in fresh) >= min_words:
            kept.append(replace(document, passages=tuple(fresh)))
    return kept


def _from_docstrings(profile: Profile, constraints: Path) -> Prepared:
    settings, domains = profile.text, domains_for(profile)
    pinned = docstrings.pinned_names(constraints)
    versions = docstrings.installed_versions(pinned)
    packages = {domain.name: list(domain.packages) for domain in domains}
    missing = sorted({name for names in packages.values() for name in names} - set(versions))
    if missing:
        raise StudyError(f"{missing[0]} not installed", f"the packages in {constraints.name}", "run `make setup`")
    packages[GENERAL] = sorted(set(versions) - {name for names in packages.values() for name in names} - {"dontstop"})
    documents, everything, cleaning = _clean(packages, settings)
    prepared = Prepared(cleaning=cleaning, packages=versions)
    first = 0
    for name, found in documents.items():
        own = range(first, first + len(found))
        first += len(found)
        _divide(prepared, name, found, own, everything, settings)
    return prepared


def _clean(
    packages: dict[str, list[str]], settings: Text
) -> tuple[dict[str, list[Document]], leakage.Grams, dict[str, int]]:
    """Read docstrings by domain; drop repeated passages, then short and near-duplicate documents, across all domains.

    Returns:
        The documents by domain, the 5-grams of all of them in that order, and what was dropped for which reason.
    """
    cleaning, seen, documents = collections.Counter(), set(), {}
    enough = settings.max_documents and 2 * settings.max_documents
    read = {name: docstrings.read_docstrings(names, max_documents=enough) for name, names in packages.items()}
    for name, found in read.items():
        fresh = drop_repeated_passages(found, seen, settings.min_words)
        cleaning["documents_read"] += len(found)
        cleaning["passages_repeated_or_in_short_documents"] += sum(len(d.passages) for d in found) - sum(
            len(d.passages) for d in fresh
        )
        cleaning["documents_short_or_repeated"] += len(found) - len(fresh)
        documents[name] = _sample(fresh, settings)
    grams = leakage.word_grams([document.text for found in documents.values() for document in found])
    near = leakage.near_duplicates(grams, settings.near_duplicate_jaccard, seed=settings.split_seed + 1)
    cleaning["documents_near_duplicate"] = len(near)
    kept, first = np.delete(np.arange(len(grams.sizes)), near), 0
    for name, found in documents.items():
        inside = kept[(kept >= first) & (kept < first + len(found))] - first
        first += len(found)
        documents[name] = [found[k] for k in inside]
    return documents, grams.select(kept), dict(cleaning)


def _sample(documents: list[Document], settings: Text) -> list[Document]:
    """Take at most `max_documents`, by content hash, in the order they had."""
    if settings.max_documents is None or len(documents) <= settings.max_documents:
        return documents
    keys = [splits.content_key(document.text, "sample", seed=settings.split_seed) for document in documents]
    chosen = sorted(sorted(range(len(documents)), key=keys.__getitem__)[: settings.max_documents])
    return [documents[k] for k in chosen]


def _divide(
    prepared: Prepared, name: str, documents: list[Document], own: range, everything: leakage.Grams, settings: Text
) -> None:
    """Divide one domain's documents into held-out sample, task splits and pretraining corpus."""
    held_out = [_is_held_out(document.text, settings) for document in documents]
    used = set()
    if name != GENERAL:
        free = [k for k, out in enumerate(held_out) if not out]
        chosen = _choose_examples(name, documents, free, own, everything, settings)
        used = splits.evaluated_documents(chosen)
        for task, by_split in chosen.items():
            prepared.tasks[task] = {split: _examples(found, documents) for split, found in by_split.items()}
            spare = splits.unlabelled(task, documents, settings, [k for k in free if k not in used], by_split["train"])
            prepared.unlabelled[task] = [{"id": documents[c.document].id, "text": c.text} for c in spare]
    prepared.held_out[name] = [_row(d) for d, out in zip(documents, held_out, strict=True) if out]
    prepared.corpora[name] = [_row(d) for k, d in enumerate(documents) if not held_out[k] and k not in used]


def _is_held_out(text: str, settings: Text) -> bool:
    return splits.in_fraction(text, "held_out", settings.held_out_fraction, seed=settings.split_seed)


def _choose_examples(
    name: str, documents: list[Document], free: list[int], own: range, everything: leakage.Grams, settings: Text
) -> splits.Chosen:
    """Choose the examples of a domain's two tasks from the documents at the places `free`."""

    def unique(candidates: list[splits.Candidate]) -> list[splits.Candidate]:
        inside = [candidate for candidate in candidates if candidate.document in places]
        return splits.keep_unique(inside, own, everything, settings.leak_containment)

    places = set(free)
    topic = unique(splits.topic_candidates(name, documents, settings))
    role = unique(splits.role_candidates(documents, settings))
    return splits.choose(name, topic, role, documents, settings)


def _examples(chosen: list[splits.Candidate], documents: list[Document]) -> list[Row]:
    ordered = sorted(chosen, key=lambda candidate: candidate.key)
    return [{"id": documents[c.document].id, "text": c.text, "label": c.label} for c in ordered]


def _row(document: Document) -> Row:
    return {"id": document.id, "text": document.text, "source": document.source}


def _from_files(profile: Profile, paths: Paths, tasks: tuple[Task, ...]) -> Prepared:
    settings = profile.text
    folder = paths.root / settings.folder
    prepared, cleaning = Prepared(), collections.Counter()
    for task in tasks:
        prepared.tasks[task.name] = {
            split: _taken(_read_split(folder, task.name, split), _largest(settings, task.name, split), settings)
            for split in SPLITS
        }
        if found := _read_unlabelled(folder, task.name, prepared.tasks[task.name]["train"]):
            prepared.unlabelled[task.name] = found
    for name in [*(domain.name for domain in domains_of(tasks, profile)), GENERAL]:
        rows = _read_corpus(find_documents(folder / "corpora", name), name, settings, cleaning)
        held_out = [_is_held_out(row["text"], settings) for row in rows]
        prepared.held_out[name] = [row for row, out in zip(rows, held_out, strict=True) if out]
        prepared.corpora[name] = [row for row, out in zip(rows, held_out, strict=True) if not out]
    prepared.cleaning = dict(cleaning)
    return prepared


def _read_split(folder: Path, task: str, split: str) -> list[Row]:
    rows = read_documents(find_documents(folder / "tasks" / task, split), ("text", "label"))
    return [{"id": f"{task}:{split}:{k}", **row} for k, row in enumerate(rows)]


def _largest(settings: Text, task: str, split: str) -> int | None:
    """Return how many examples of a split are taken at most."""
    if split == "train" and task in settings.low_resource:
        return settings.low_resource[task]
    return getattr(settings.max_examples, split)


def _taken(rows: list[Row], largest: int | None, settings: Text) -> list[Row]:
    """Take at most `largest` rows, in the order they had: the first of every label by content hash, then the next.

    Source: section 5.1, low-resource tasks by the number of their training examples (RCT-500).
    """
    if largest is None or len(rows) <= largest:
        return rows
    keys = [splits.content_key(row["text"], "taken", seed=settings.split_seed) for row in rows]
    order = sorted(range(len(rows)), key=keys.__getitem__)
    seen: set[str] = set()
    first = [k for k in order if not (rows[k]["label"] in seen or seen.add(rows[k]["label"]))]
    chosen = dict.fromkeys(first + order)
    return [rows[k] for k in sorted(list(chosen)[:largest])]


def _read_unlabelled(folder: Path, task: str, train: list[Row]) -> list[Row]:
    """Read a task's unlabelled texts, where there are any: each once, in an order by content, none of train's."""
    if not any((folder / "tasks" / task).glob("unlabelled.*")):
        return []
    seen, found = {leakage.normalise(row["text"]) for row in train}, {}
    for k, row in enumerate(read_documents(find_documents(folder / "tasks" / task, "unlabelled"))):
        if (normal := leakage.normalise(row["text"])) not in seen:
            seen.add(normal)
            found[splits.content_key(row["text"], "unlabelled", seed=0)] = {"id": f"{task}:unlabelled:{k}", **row}
    return [found[key] for key in sorted(found)]


def _read_corpus(path: Path, name: str, settings: Text, cleaning: collections.Counter) -> list[Row]:
    """Read a corpus, without exact duplicates, as at most `max_documents` rows by content hash."""
    by_key: dict[str, Row] = {}
    for k, row in enumerate(read_documents(path)):
        cleaning["documents_read"] += 1
        key = splits.content_key(row["text"], "sample", seed=settings.split_seed)
        if key in by_key:
            cleaning["documents_repeated"] += 1
        elif len(row["text"].split()) < settings.min_words:
            cleaning["documents_short"] += 1
        else:
            by_key[key] = {"id": f"{name}:{k:07d}", "text": row["text"], "source": path.name}
    rows = [by_key[key] for key in sorted(by_key)[: settings.max_documents]]
    return sorted(rows, key=lambda row: row["id"])


def _remove_leaks(prepared: Prepared, texts: Texts, settings: Text) -> dict[str, leakage.Sample]:
    """Remove corpus, held-out and unlabelled texts that hold a dev or test text; return the rest, for the audit."""
    known = {text for (_, split), found in texts.items() if split != "train" for text in found.normal}
    grams, samples = leakage.word_grams(sorted(known)), {}
    prepared.cleaning["documents_leaking"] = 0
    pools = {"": prepared.corpora, "held_out/": prepared.held_out, "unlabelled/": prepared.unlabelled}
    for prefix, pool in pools.items():
        for name, rows in pool.items():
            found = leakage.sample([row["text"] for row in rows])
            leaking = set(leakage.leaking_documents(grams, found.grams, settings.leak_containment).tolist())
            leaking |= {k for k, text in enumerate(found.normal) if text in known}
            pool[name] = [row for k, row in enumerate(rows) if k not in leaking]
            samples[prefix + name] = found.without(leaking) if leaking else found
            prepared.cleaning["documents_leaking"] += len(leaking)
    return samples


def _check_corpora(prepared: Prepared) -> None:
    for kind, pool in (("corpus", prepared.corpora), ("held-out sample", prepared.held_out)):
        for name, rows in pool.items():
            if not rows:
                raise StudyError(
                    f"no document left in the {kind} of {name}",
                    "one or more after duplicates, task texts and leaks are taken out",
                    "give more text, or raise text.max_documents or text.held_out_fraction",
                )


def _audit(texts: Texts, samples: dict[str, leakage.Sample], tasks: tuple[Task, ...], settings: Text) -> dict:
    """Count what dev and test texts still share with corpora, held-out samples, and other splits of the domain."""
    limits = {"contained_from": settings.leak_containment, "jaccard_from": settings.near_duplicate_jaccard}
    between = []
    for task in tasks:
        family = [name for name in (task.name, task.sister) if (name, "train") in texts]
        for split, earlier in (("dev", ("train",)), ("test", ("train", "dev"))):
            others = {f"{name}/{other}": texts[name, other] for name in family for other in earlier}
            between += leakage.audit({(task.name, split): texts[task.name, split]}, others, **limits)
    evaluated = {group: found for group, found in texts.items() if group[1] != "train"}
    return {**limits, "corpora": leakage.audit(evaluated, samples, **limits), "splits": between}
