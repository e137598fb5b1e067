"""What a study is about, as data: domains and tasks, which a YAML gives (configs/studies, or one's own)."""

import collections
import functools
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from dontstop.errors import StudyError, chosen, meant
from dontstop.inputs import at_home, checked_name, read_settings

STUDIES = Path("configs", "studies")
PROJECT = Path(__file__).resolve().parents[2]  # whose studies serve where a root has none of that name
# Names of a study's own, and what bears them already.
TAKEN = {("domain", "general"): "the text of no domain", ("task", "mean"): "the mean over tasks in tables"}
_CLOSED = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_CLOSED)
class Source:
    """A data set that a domain's text is fetched from, and how its documents are distinguished from others.

    Attributes:
        path, name, data_files, split: As `datasets.load_dataset` takes them.
        column: Of the text.
        any_of: Words of which a document must hold `num_words_of` different ones; none keeps every document.
        licence, homepage: As its publishers give them.
        remark: How it differs from what it stands for.
    """

    path: str
    licence: str
    homepage: str
    remark: str = ""
    name: str | None = None
    data_files: str | None = None
    split: str = "train"
    column: str = "text"
    any_of: tuple[str, ...] = ()
    num_words_of: int = 3


@dataclass(frozen=True, config=_CLOSED)
class Domain:
    """A domain of text, and the domain that not-DAPT adapts to in its stead, where there is one.

    Attributes:
        packages: Distributions whose docstrings make the domain.
        topics: Of packages, the modules that are a class of the task `<domain>_topic` each.
        areas: Of packages, the classes of the task `<domain>_area` and the modules of each; the first that fits counts.
        files: A folder or file with the domain's text; else a mirror's own.
        text_column: That holds the text in those files.
        source: Where text for a mirror is fetched from.

    Departure: the paper pairs domains by low vocabulary overlap in its Figure 2; so does the docstring study, by our
    own overlap matrix, as the perfect pairing with the smallest total.
    """

    name: str
    display_name: str
    packages: tuple[str, ...] = ()
    irrelevant_domain: str | None = None
    topics: tuple[str, ...] = ()
    areas: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    files: str | None = None
    text_column: str = "text"
    source: Source | None = None


@dataclass(frozen=True, config=_CLOSED)
class Task:
    """A classification task, its metric, and its domain's other task (for transfer-TAPT), where there is one.

    Attributes:
        other_domains: The study's other domains, the irrelevant one first; none where the domain names none.
        labelled: A file of labelled texts; of it are taken those of `dev` and `test` that have no file of their own.
            Without it, the splits are a mirror's own.
        unlabelled: A file of texts of the task's own source without labels, for curated TAPT.
        text_column, label_column: That hold text and label in those files, or in the data set `hub`.
        hub: A data set of a hub with splits for a mirror.
    """

    name: str
    domain: str
    metric: Literal["micro_f1", "macro_f1"]
    display_name: str
    other_task: str | None = None
    other_domains: tuple[str, ...] = ()
    labelled: str | None = None
    dev: str | None = None
    test: str | None = None
    unlabelled: str | None = None
    text_column: str = "text"
    label_column: str = "label"
    hub: str | None = None


_ENTRIES = {"domains": Domain, "tasks": Task, "general": Domain}


class StudyText(BaseModel):
    """The domains and tasks of a study, and where all of it is.

    Attributes:
        general: Where the general text is, if a file of one's own holds it, or where it is fetched from.
        bucket: The address of <bucket>/<task>/<split>.jsonl, whence tasks are fetched.
        encoders: By a checkpoint's name, a hub's encoder that can take its place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    domains: tuple[Domain, ...] = Field(min_length=1)
    tasks: tuple[Task, ...] = Field(min_length=1)
    general: Domain | None = None
    bucket: str | None = None
    encoders: dict[str, str] = Field(default_factory=dict)

    @property
    def is_own(self) -> bool:
        """Whether it names files of its own, not places in a mirror."""
        return any(domain.files for domain in self.domains) or any(task.labelled for task in self.tasks)

    def domain(self, name: str) -> Domain:
        """Return one of the domains by its name, as `errors.chosen` does."""
        return chosen("domain", name, {domain.name: domain for domain in self.domains})

    def task(self, name: str) -> Task:
        """Return one of the tasks by its name, as `errors.chosen` does."""
        return chosen("task", name, {task.name: task for task in self.tasks})

    def released(self, names: Iterable[str] | None) -> dict[str, str]:
        """Return the hub's encoders by the names of checkpoints, all unless some are named.

        Raises:
            StudyError: If there is none of a name.
        """
        return {name: chosen("released encoder", name, self.encoders) for name in names or self.encoders}

    def source(self, name: str) -> Source:
        """Return what the text of a domain, or the general text, is fetched from.

        Raises:
            StudyError: If the study names nothing.
        """
        some = (one for one in (*self.domains, self.general) if one is not None and one.source is not None)
        return chosen("domain with a `source`", name, {one.name: one.source for one in some})


def with_whole_paths(study: StudyText, folder: Path) -> StudyText:
    """Let relative paths of a study's files begin at a folder; `~` is the user's home."""

    def moved(one: Any, *names: str) -> Any:
        there = {name: value for name in names if (value := getattr(one, name)) is not None}
        return replace(one, **{name: str(folder / at_home(value)) for name, value in there.items()})

    changed = {
        "domains": tuple(moved(domain, "files") for domain in study.domains),
        "tasks": tuple(moved(task, "labelled", "dev", "test", "unlabelled") for task in study.tasks),
        "general": study.general and moved(study.general, "files"),
    }
    return study.model_copy(update=changed)


def read_study(name: str, root: Path | None = None) -> StudyText:
    """Read the study of a name: configs/studies/<name>.yaml, of the root if it has one, else of the project.

    Raises:
        StudyError: If there is none, or it is malformed.
    """
    checked_name("study", name)
    places = [place / STUDIES for place in (root, PROJECT) if place is not None]
    path = next((folder / f"{name}.yaml" for folder in places if (folder / f"{name}.yaml").is_file()), None)
    if path is None:
        known = sorted({path.stem for folder in places for path in folder.glob("*.yaml")})
        expected = f"one of {', '.join(known)}"
        raise StudyError(f"study {name!r}", expected, f"write {STUDIES / name}.yaml")
    return _parsed(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)  # of a file as it stands: a profile reads its study every time one is made
def _parsed(path: Path, changed: int) -> StudyText:
    return parse_study(read_settings(path), str(path))


def parse_study(content: Mapping[str, Any], where: str) -> StudyText:
    """Check a mapping of domains, tasks and, maybe, general text; `where` names it in errors.

    Raises:
        StudyError: If a key or type is wrong, or an entry names a domain or task that there is not.
    """
    try:
        study = StudyText.model_validate(_with_names(content))
    except ValidationError as error:
        raise _malformed(error, _with_names(content), where) from error
    for kind, some in (("domain", study.domains), ("task", study.tasks)):
        for one in some:
            checked_name(kind, one.name)
    _check_names(study)
    return study.model_copy(update={"tasks": tuple(_linked(task, study) for task in study.tasks)})


def _malformed(error: ValidationError, content: Mapping[str, Any], where: str) -> StudyError:
    """Return the error of the first entry that is wrong, by the names of what it stands in."""
    first = error.errors()[0]
    kind, *rest = first["loc"]
    if rest and isinstance(content[kind], list) and isinstance(content[kind][rest[0]], Mapping):
        rest[0] = content[kind][rest[0]].get("name", rest[0])
    entry = ".".join(map(str, (kind, *rest)))
    if first["type"] == "missing":
        return StudyError(f"no {entry} in {where}", "an entry that has no default", "write it")
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        model = Source if "source" in rest[:-1] else _ENTRIES.get(kind, Domain) if rest else StudyText
        known = inspect.signature(model).parameters
        remedy = meant(first["loc"][-1], known, "leave it out")
        return StudyError(f"unknown key {entry} in {where}", f"one of {', '.join(known)}", remedy)
    return StudyError(f"{entry} = {first['input']!r} in {where}", first["msg"], "mend that entry")


def _with_names(content: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the mappings by name into lists of entries that have a name and one to display."""
    found = dict(content)
    for kind in ("domains", "tasks"):
        if isinstance(entries := found.get(kind), Mapping):
            found[kind] = [_entry(name, entry) for name, entry in entries.items()]
    if isinstance(general := found.get("general"), Mapping):
        found["general"] = _entry("general", general)
    return found


def _entry(name: str, entry: Any) -> Any:
    if not isinstance(entry, Mapping | None):
        return entry
    return {"name": name, "display_name": str(name).replace("_", " ").capitalize(), **(entry or {})}


def _check_names(study: StudyText) -> None:
    for kind, some in (("domain", study.domains), ("task", study.tasks)):
        for name, number in collections.Counter(one.name for one in some).items():
            if number > 1 or (kind, name) in TAKEN:
                found = f"{kind} {name!r}" + (" twice" if number > 1 else f", the name of {TAKEN[kind, name]}")
                raise StudyError(found, "a name of its own", "rename it")
    for domain in study.domains:
        if domain.irrelevant_domain is not None:
            study.domain(domain.irrelevant_domain)
        if domain.irrelevant_domain == domain.name:
            raise StudyError(f"irrelevant_domain of {domain.name}, itself", "another domain, or none", "mend the entry")
    for task in study.tasks:
        study.domain(task.domain)
        other = task if task.other_task is None else study.task(task.other_task)
        if other.domain != task.domain or task.other_task == task.name:
            which = "itself" if other is task else "a task of another domain"
            found = f"other_task {task.other_task!r} of {task.name}, {which}"
            raise StudyError(found, f"another task of {task.domain}, or none", "mend the entry, or leave it out")


def _linked(task: Task, study: StudyText) -> Task:
    first = study.domain(task.domain).irrelevant_domain
    others = (domain.name for domain in study.domains if domain.name not in (task.domain, first))
    return replace(task, other_domains=() if first is None else (first, *others))
