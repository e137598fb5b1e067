"""Domains and tasks as data: packages, metric, the domain's other task, irrelevant domain."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from dontstop.errors import StudyError
from dontstop.machine import digests, files
from dontstop.profiles import Paths, Profile
from dontstop.text.documents import forms_of

GENERAL = "general"
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Domain:
    """A domain of text, and the domain that not-DAPT adapts to in its stead."""

    name: str
    display_name: str
    packages: tuple[str, ...]  # distributions whose docstrings make the domain; empty where files do
    irrelevant_domain: str


@dataclass(frozen=True)
class Task:
    """A classification task, its metric, and its domain's other task (for transfer-TAPT)."""

    name: str
    domain: str
    metric: str
    display_name: str
    other_task: str


# Departure: the paper pairs domains by low vocabulary overlap in its Figure 2; so are these, by our own overlap matrix,
# as the perfect pairing with the smallest total.
_DATA_ANALYSIS = ("pandas", "scikit-learn", "matplotlib", "seaborn", "networkx")
_DOCSTRING_DOMAINS = (
    Domain("deep_learning", "Deep learning", ("torch", "transformers", "peft", "accelerate"), "numerical"),
    Domain("symbolic_math", "Symbolic mathematics", ("sympy", "mpmath"), "data_analysis"),
    Domain("numerical", "Numerical science", ("numpy", "scipy"), "deep_learning"),
    Domain("data_analysis", "Data analysis", _DATA_ANALYSIS, "symbolic_math"),
)

# Source: section 3.2 of the paper, the four irrelevant domains of not-DAPT.
_PAPER_DOMAINS = (
    Domain("biomed", "BioMed", (), "reviews"),
    Domain("cs", "CS", (), "news"),
    Domain("news", "News", (), "cs"),
    Domain("reviews", "Reviews", (), "biomed"),
)

_DOCSTRING_TASKS = tuple(
    Task(f"{d.name}_{kind}", d.name, "macro_f1", f"{d.display_name}: {kind}", f"{d.name}_{other}")
    for d in _DOCSTRING_DOMAINS
    for kind, other in (("topic", "area"), ("area", "topic"))
)

# Source: Table 2 of the paper; the metrics, from the caption of Table 3.
_PAPER_TASKS = (
    Task("chemprot", "biomed", "micro_f1", "ChemProt", "rct-20k"),
    Task("rct-20k", "biomed", "micro_f1", "RCT", "chemprot"),
    Task("citation_intent", "cs", "macro_f1", "ACL-ARC", "sciie"),
    Task("sciie", "cs", "macro_f1", "SciERC", "citation_intent"),
    Task("hyperpartisan_news", "news", "macro_f1", "HyperPartisan", "ag"),
    Task("ag", "news", "macro_f1", "AGNews", "hyperpartisan_news"),
    Task("amazon", "reviews", "macro_f1", "Helpfulness", "imdb"),
    Task("imdb", "reviews", "macro_f1", "IMDB", "amazon"),
)


def domains_for(profile: Profile) -> tuple[Domain, ...]:
    """Return the profile's domains: the docstring study's four, or the paper's."""
    return _DOCSTRING_DOMAINS if profile.text.source == "docstrings" else _PAPER_DOMAINS


def domains_of(tasks: Sequence[Task], profile: Profile) -> tuple[Domain, ...]:
    """Return the domains that a profile's tasks need: their own, and those that not-DAPT adapts to in their stead."""
    wanted = {task.domain for task in tasks}
    wanted |= {get_domain(name).irrelevant_domain for name in wanted}
    return tuple(domain for domain in domains_for(profile) if domain.name in wanted)


def get_domain(name: str) -> Domain:
    """Return one domain of either study by its name.

    Raises:
        StudyError: If no domain has the name.
    """
    return _named(name, _DOCSTRING_DOMAINS + _PAPER_DOMAINS, "domain")


def other_domains(name: str) -> tuple[str, ...]:
    """Name the other domains of a domain's study, the irrelevant one first."""
    first = get_domain(name).irrelevant_domain
    study = next(some for some in (_DOCSTRING_DOMAINS, _PAPER_DOMAINS) if name in {domain.name for domain in some})
    return (first, *(domain.name for domain in study if domain.name not in (name, first)))


def wanted_tasks(profile: Profile) -> tuple[Task, ...]:
    """Return the tasks that a profile asks for, whether or not its text holds them.

    Raises:
        StudyError: If it names a task that there is not.
    """
    if profile.text.source == "docstrings":
        return _DOCSTRING_TASKS
    named = [task.name for task in _PAPER_TASKS] if profile.text.tasks is None else profile.text.tasks
    return tuple(task for task in _PAPER_TASKS if task.name in {get_task(name).name for name in named})


def tasks_for(profile: Profile, paths: Paths) -> tuple[Task, ...]:
    """Return the profile's tasks: the docstring study's, or those of the paper's that were prepared or are given.

    Raises:
        StudyError: If a profile of files names no mirror, the mirror lacks a task that the study may not go without,
            or a setting names a task that there is not.
    """
    if profile.text.source == "docstrings":
        return _DOCSTRING_TASKS
    wanted = wanted_tasks(profile)
    for name in (*profile.text.may_lack, *profile.text.low_resource):
        get_task(name)
    if profile.text.folder is None:
        return _prepared_tasks(profile, paths, wanted)
    folder = paths.root / profile.text.folder / "tasks"
    lacking = [task.name for task in wanted if not any(forms_of(folder / task.name, split) for split in SPLITS)]
    if refused := [name for name in lacking if name not in profile.text.may_lack]:
        raise StudyError(
            f"no {', '.join(refused)} in {folder}",
            f"a folder each for {', '.join(task.name for task in wanted)}",
            f"put the splits there, or let the study go without: text.may_lack: [{', '.join(lacking)}]",
        )
    found = tuple(task for task in wanted if task.name not in lacking)
    if not found:
        expected = f"one or more of {', '.join(task.name for task in wanted)}"
        raise StudyError(f"no task folder in {folder}", expected, "put the task's splits there")
    return found


def _prepared_tasks(profile: Profile, paths: Paths, wanted: tuple[Task, ...]) -> tuple[Task, ...]:
    """Return the tasks that were prepared from a mirror, which a later command need not name again."""
    path = paths.data / "manifest.json"
    wrong = digests.folder_damage(paths.data, (path.name,))
    prepared = files.read_json(path)["tasks"] if path.is_file() and wrong is None else {}
    if not prepared:
        raise StudyError(
            f"no mirror named, and {wrong or 'no text prepared'}, for profile {profile.name!r}",
            "a folder with corpora/ and tasks/, since text.source is files",
            f"name it: make study PROFILE={profile.name} MIRROR=<folder>, or under text.folder in the profile",
        )
    return tuple(task for task in wanted if task.name in prepared)


def get_task(name: str) -> Task:
    """Return one task of either study by its name.

    Raises:
        StudyError: If no task has the name.
    """
    return _named(name, _DOCSTRING_TASKS + _PAPER_TASKS, "task")


def _named(name, candidates, kind):
    names = [candidate.name for candidate in candidates]
    if name in names:
        return candidates[names.index(name)]
    close = difflib.get_close_matches(name, names, n=1)
    remedy = f"did you mean {close[0]!r}?" if close else f"name one of the {kind}s"
    raise StudyError(f"{kind} {name!r}", f"one of {', '.join(names)}", remedy)
