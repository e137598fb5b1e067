"""Prepare a profile's text: pretraining corpora, held-out samples and task splits, cleaned of duplicates and leaks."""

import collections
from dataclasses import replace
from pathlib import Path

import numpy as np

from dontstop.errors import StudyError, counted
from dontstop.machine import digests, files
from dontstop.profiles import Paths, Profile, Text
from dontstop.studies import Task
from dontstop.text import audit, docstrings, examples, leakage, packages, shards, splits
from dontstop.text.audit import EvalIndex, OverlapStats
from dontstop.text.docstrings import Document
from dontstop.text.documents import read_documents
from dontstop.text.manifest import Prepared, Row, replacing, write_corpora, write_prepared
from dontstop.text.tasks import GENERAL, domains_of, tasks_for
from dontstop.text.words import UNSPACED, num_words, words_of

_PREFIXES = {"corpora": "", "held_out": "held_out/"}  # of the audit's names


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
        prepared = examples.read_tasks(profile, paths, tasks)
    examples.check_tasks(prepared.tasks)
    with replacing(profile, paths) as part:
        return _write(profile, paths, part, tasks, prepared)


def load_manifest(paths: Paths) -> dict:
    """Read the manifest of prepared text.

    Raises:
        StudyError: If the text has not been prepared, or any file of it is damaged.
    """
    path = paths.data / "manifest.json"
    if not path.is_file():
        raise StudyError(f"no file {path}", "text prepared before it is used", "run `dontstop prepare`")
    digests.hold(digests.folder_damage(paths.data), "run `dontstop prepare` with this profile, which makes it again")
    return files.read_json(path)


def load_documents(path: Path) -> list[Row]:
    """Read a prepared corpus or held-out sample."""
    return list(read_documents(path, ("id", "text", "source")))


def load_sample(paths: Paths, name: str, num_documents: int, *, seed: int) -> list[str]:
    """Read the texts of at most `num_documents` of a prepared corpus, drawn without replacement, in its order."""
    held = load_manifest(paths)["domains"][name]["num_documents"]
    chosen = np.random.default_rng(seed).permutation(held)[:num_documents]
    marks = np.isin(np.arange(held), chosen)
    rows = files.read_rows(paths.corpus(name))
    return [row["text"] for row, mark in zip(rows, marks, strict=True) if mark]


def load_examples(paths: Paths, task: str, split: str) -> list[Row]:
    """Read the examples of a prepared split."""
    return list(read_documents(paths.split(task, split), ("id", "text", "label")))


def load_unlabelled(paths: Paths, task: str) -> list[Row]:
    """Read the unlabelled texts of a task's own source, in an order by content; none where it has none."""
    path = paths.unlabelled(task)
    return list(read_documents(path, ("id", "text"))) if path.is_file() else []


def drop_repeated_passages(documents: list[Document], seen: set[str], min_words: int) -> list[Document]:
    """Drop passages that an earlier document has, and documents that end below `min_words` words; `seen` grows."""
    kept = []
    for document in documents:
        keys = [splits.letters_of(passage.text) for passage in document.passages]
        fresh = [p for p, key in zip(document.passages, keys, strict=True) if not (key in seen or seen.add(key))]
        if sum(num_words(passage.text) for passage in fresh) >= min_words:
            kept.append(replace(document, passages=tuple(fresh)))
    return kept


def _from_docstrings(profile: Profile, constraints: Path) -> Prepared:
    settings, domains = profile.text, profile.text.study.domains
    versions = packages.installed_versions(packages.pinned_names(constraints))
    sources = {domain.name: list(domain.packages) for domain in domains}
    of_domains = [name for names in sources.values() for name in names]
    missing = sorted(set(of_domains) - set(versions))
    if missing:
        raise StudyError(f"{missing[0]} not installed", f"the packages in {constraints.name}", "run `make setup`")
    sources[GENERAL] = packages.general_packages(list(versions), of_domains)
    documents, everything, cleaning = _clean(sources, settings)
    prepared = Prepared(cleaning=cleaning, packages=versions)
    first = 0
    for name, found in documents.items():
        _divide(prepared, name, found, range(first, first + len(found)), everything, settings)
        first += len(found)
    return prepared


def _clean(
    sources: dict[str, list[str]], settings: Text
) -> tuple[dict[str, list[Document]], leakage.Grams, dict[str, int]]:
    """Read packages by domain; drop repeated passages, then short and near-duplicate documents, across all domains.

    Returns:
        The documents by domain, the 5-grams of all of them in that order, and what was dropped for which reason.
    """
    cleaning, seen, documents = collections.Counter(), set(), {}
    enough = settings.max_documents and 2 * settings.max_documents
    read = {name: docstrings.read_packages(names, max_documents=enough) for name, names in sources.items()}
    for name, found in read.items():
        fresh = drop_repeated_passages(found, seen, settings.min_words)
        cleaning["documents_read"] += len(found)
        num_passages, num_fresh = (sum(len(document.passages) for document in some) for some in (found, fresh))
        cleaning["passages_repeated_or_in_short_documents"] += num_passages - num_fresh
        cleaning["documents_short_or_repeated"] += len(found) - len(fresh)
        documents[name] = _sample(fresh, settings)
    grams = leakage.word_grams([document.text for found in documents.values() for document in found])
    near = leakage.near_duplicates(grams, settings.near_duplicate_jaccard)
    cleaning["documents_near_duplicate"] = len(near)
    is_kept = np.ones(len(grams.sizes), bool)
    is_kept[near] = False
    marks = iter(is_kept)
    documents = {name: [document for document in found if next(marks)] for name, found in documents.items()}
    return documents, grams.select(np.flatnonzero(is_kept)), dict(cleaning)


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
    fraction, seed = settings.held_out_fraction, settings.split_seed
    held_out = [splits.in_fraction(document.text, "held_out", fraction, seed=seed) for document in documents]
    used = set()
    if name != GENERAL:
        free = [k for k, out in enumerate(held_out) if not out]
        chosen = _choose_examples(name, documents, set(free), own, everything, settings)
        used = splits.evaluated_documents(chosen)
        for task, by_split in chosen.items():
            prepared.tasks[task] = {split: _examples(found, documents) for split, found in by_split.items()}
            spare = splits.unlabelled(task, documents, settings, [k for k in free if k not in used], by_split["train"])
            prepared.unlabelled[task] = [{"id": documents[c.document].id, "text": c.text} for c in spare]
    prepared.held_out[name] = [_row(d) for d, out in zip(documents, held_out, strict=True) if out]
    prepared.corpora[name] = [_row(d) for k, d in enumerate(documents) if not held_out[k] and k not in used]


def _choose_examples(
    name: str, documents: list[Document], free: set[int], own: range, everything: leakage.Grams, settings: Text
) -> splits.Chosen:
    """Choose the examples of a domain's two tasks from the documents at the indices `free`."""
    domain, found = settings.study.domain(name), {}
    for kind in ("topic", "area"):
        inside = [c for c in splits.candidates(domain, kind, documents, settings) if c.document in free]
        found[kind] = splits.keep_unique(inside, own, everything, settings.leak_containment)
    return splits.choose(name, **found, documents=documents, settings=settings)


def _examples(chosen: list[splits.Candidate], documents: list[Document]) -> list[Row]:
    ordered = sorted(chosen, key=lambda candidate: candidate.key)
    return [{"id": documents[c.document].id, "text": c.text, "label": c.label} for c in ordered]


def _row(document: Document) -> Row:
    return {"id": document.id, "text": document.text, "source": document.source}


def _corpora_from_files(
    profile: Profile, paths: Paths, part: Paths, tasks: tuple[Task, ...], prepared: Prepared
) -> dict[str, OverlapStats]:
    """Write the corpora of a mirror without texts that hold a dev or test text; return what the rest holds of them."""
    names = [*(domain.name for domain in domains_of(tasks, profile)), GENERAL]
    mirror = paths.root / profile.text.folder
    written = shards.write_corpora(profile, mirror, names, part.data / "evaluated", part, prepared.cleaning)
    prepared.sizes = {kind: {name: found[kind].size for name, found in written.items()} for kind in prepared.sizes}
    found = {f"{prefix}{name}": some[kind] for kind, prefix in _PREFIXES.items() for name, some in written.items()}
    prepared.cleaning["documents_leaking"] = sum(some.num_leaking for some in found.values())
    return {name: some.overlap for name, some in found.items()}


def _remove_leaks(
    prefix: str, pool: dict[str, list[Row]], prepared: Prepared, index: EvalIndex, settings: Text
) -> dict[str, OverlapStats]:
    """Remove texts that hold a dev or test text; return what the rest holds of them."""
    overlap = {}
    for name, rows in pool.items():
        leaking, overlap[prefix + name] = audit.find_leaks(index, [row["text"] for row in rows], settings)
        pool[name] = [row for row, out in zip(rows, leaking, strict=True) if not out]
        prepared.cleaning["documents_leaking"] += int(leaking.sum())
    return overlap


def _check_corpora(prepared: Prepared, part: Paths) -> None:
    for kind, what, path_of in (("corpora", "corpus", part.corpus), ("held_out", "held-out sample", part.held_out)):
        for name, size in prepared.sizes[kind].items():
            if not size["num_documents"]:
                raise StudyError(
                    f"no document left in the {what} of {name}",
                    "one or more after duplicates, task texts and leaks are taken out",
                    "give more text, or raise text.max_documents or text.held_out_fraction; lower text.min_words where "
                    "documents are short",
                )
            if not any(_has_words(row["text"]) for row in files.read_rows(path_of(name))):
                raise StudyError(
                    f"no words in the {what} of {name}: {counted(size['num_documents'], 'document')} of signs alone",
                    "words of two letters or digits and more, or characters of a script without spaces",
                    "give text with words, or name the column that holds it",
                )


def _has_words(text: str) -> bool:
    """Whether a text holds a word that samples are compared by: `num_words` counts signs between spaces too."""
    return any(len(word) > 1 or UNSPACED.match(word) for word in words_of(text))


def _write(profile: Profile, paths: Paths, part: Paths, tasks: tuple[Task, ...], prepared: Prepared) -> dict:
    """Write everything into a folder, and return the manifest."""
    texts = {
        (task, split): [row["text"] for row in rows]
        for task, by_split in prepared.tasks.items()
        for split, rows in by_split.items()
    }
    known = (text for (_, split), some in texts.items() if split != "train" for text in some)
    audit.save_index(part.data / "evaluated", audit.build_index(known))
    index = audit.load_index(part.data / "evaluated")
    if profile.text.source == "docstrings":
        prepared.cleaning["documents_leaking"] = 0
        overlap = _remove_leaks("", prepared.corpora, prepared, index, profile.text)
        overlap |= _remove_leaks("held_out/", prepared.held_out, prepared, index, profile.text)
        write_corpora(part, prepared)
    else:
        overlap = _corpora_from_files(profile, paths, part, tasks, prepared)
    overlap |= _remove_leaks("unlabelled/", prepared.unlabelled, prepared, index, profile.text)
    _check_corpora(prepared, part)
    return write_prepared(profile, part, tasks, prepared, _audit(texts, index, overlap, tasks, profile.text))


def _audit(
    texts: audit.Groups, index: EvalIndex, corpora: dict[str, OverlapStats], tasks: tuple[Task, ...], settings: Text
) -> dict:
    """Count what dev and test texts still share with corpora, held-out samples, and other splits of the domain."""
    contained, jaccard = settings.leak_containment, settings.near_duplicate_jaccard
    earlier = {
        group: audit.measure_overlap(index, some, jaccard) for group, some in texts.items() if group[1] != "test"
    }
    between = []
    for task in tasks:
        names = [name for name in (task.name, task.other_task) if (name, "train") in texts]
        for split, before in (("dev", ("train",)), ("test", ("train", "dev"))):
            others = {f"{name}/{other}": earlier[name, other] for name in names for other in before}
            between += audit.audit({(task.name, split): texts[task.name, split]}, index, others, contained)
    groups = {group: some for group, some in texts.items() if group[1] != "train"}
    left = audit.audit(groups, index, corpora, contained)
    return {"contained_from": contained, "jaccard_from": jaccard, "corpora": left, "splits": between}
