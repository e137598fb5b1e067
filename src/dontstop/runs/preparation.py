"""Make a profile's text ready: corpora, splits, tokenizer and token stores, unless they stand there made alike."""

import platform
from collections.abc import Sequence
from pathlib import Path

from dontstop import tokens
from dontstop.errors import StudyError
from dontstop.machine import digests, files, locks, progress
from dontstop.profiles import Paths, Profile
from dontstop.runs import scratch
from dontstop.runs.identity import folder_digests
from dontstop.studies import StudyText
from dontstop.text import corpora, documents, own_files, packages, tasks
from dontstop.text.tasks import Task
from dontstop.tokens import token_counts
from dontstop.training import compatibility

VERSION = 4  # raised when the same settings and texts come to give other prepared text
TOKENIZER_FILES = (".json", ".txt", ".model")
# Of the studies `docstrings` and `paper`, whose text is marked without them, as it was before they were files.
UNMARKED = (
    "3d30985bd34349b21623ab18b3287b5e2d54445eb811ca1a08e3ddb5eaaf60c8",
    "a15c439e11e8e35e8fdb9535dfdc17a70ba1d3f863f007d0e4efa5c4a187fc36",
)


def prepare(profile: Profile, paths: Paths, some: Sequence[Task], *, read_only: bool = False) -> None:
    """Prepare a profile's text.

    Args:
        some: The study's tasks.
        read_only: Whether to make nothing.

    Raises:
        StudyError: If text must be prepared and its source is not named, or nothing may be made.
    """
    names = [task.name for task in some]
    if profile.text.study.is_own and not read_only:
        _gather_own_files(profile, paths)
    mark, path = _mark(profile, paths, names), paths.data / "prepared.json"
    wrong = digests.folder_damage(paths.data)
    if wrong is None and _is_marked(path, mark):
        if not read_only:
            digests.keep_folder_digests(paths.data)
        return
    if read_only:
        expected, remedy = "text as its settings say", f"run `dontstop prepare --profile {profile.name}` first"
        raise StudyError(wrong or f"no prepared text of profile {profile.name!r}, or other text", expected, remedy)
    if not _may_read_again(profile):
        other = f"text prepared with other settings than profile {profile.name!r} has"
        raise StudyError(
            f"no mirror named, and {wrong or other}",
            "the mirror that the text came from, to prepare it again",
            f"name it: make study PROFILE={profile.name} MIRROR=<folder>",
        )
    compatibility.check(profile)
    with locks.only_run(paths.lock):
        if (wrong := digests.folder_damage(paths.data)) is not None:
            progress.say(f"{wrong}: the text is prepared again")
        elif _is_marked(path, mark):
            return  # made by another command, which this one has waited for
        path.unlink(missing_ok=True)
        (paths.data / digests.DIGESTS).unlink(missing_ok=True)
        _make(profile, paths, some)
        digests.write_folder_digests(paths.data)
        files.write_json(path, mark)


def _make(profile: Profile, paths: Paths, some: Sequence[Task]) -> None:
    scratch.remove_parts([*paths.data.rglob(".*.part"), *files.parts_of(paths.data)])
    _say_differences(profile, paths, some)
    seconds = profile.speed.progress_seconds
    with progress.telling(f"prepare ({profile.name}): reading, cleaning, splitting", seconds):
        corpora.prepare(profile, paths)
    with progress.telling(f"prepare ({profile.name}): tokenising", seconds):
        domains = [tasks.GENERAL, *(domain.name for domain in tasks.domains_of(some, profile))]
        tokens.prepare_tokens(profile, paths, domains, [task.name for task in some])
    token_counts.check(paths, progress.say)


def _gather_own_files(profile: Profile, paths: Paths) -> None:
    if own_files.is_gathered(profile):
        return
    with locks.only_run(paths.lock):
        if own_files.is_gathered(profile):  # by another command, which this one has waited for
            return
        if (wrong := digests.folder_damage(Path(profile.text.folder))) is not None:
            progress.say(f"{wrong}: one's own files are gathered again")
        with progress.telling(f"prepare ({profile.name}): gathering", profile.speed.progress_seconds):
            own_files.gather(profile, paths.root / "constraints.txt", progress.say)


def is_prepared(profile: Profile, paths: Paths, some: Sequence[Task]) -> bool:
    """Whether a profile's text stands there, made with these settings from these texts."""
    return _is_marked(paths.data / "prepared.json", _mark(profile, paths, [task.name for task in some]))


def _is_marked(path: Path, mark: dict[str, str]) -> bool:
    return mark.items() <= _read_mark(path).items()


def _read_mark(path: Path) -> dict[str, str]:
    """Read what text was prepared from; nothing where that is missing or damaged."""
    try:
        return dict(files.read_json(path)) if path.is_file() else {}
    except (StudyError, ValueError, TypeError):
        return {}


def missing_tasks(profile: Profile, some: Sequence[Task]) -> list[str]:
    """Name the tasks that a profile asks for and its text lacks, which `text.may_lack` allows."""
    names = {task.name for task in some}
    return [task.name for task in tasks.wanted_tasks(profile) if task.name not in names]


def _mark(profile: Profile, paths: Paths, names: list[str]) -> dict[str, str]:
    """Return what prepared text is found again by: settings, and the texts where it is known where they are."""
    named = Path(profile.tokens.tokenizer) if profile.tokens.tokenizer is not None else None
    given = {"tokenizer": folder_digests(named, TOKENIZER_FILES)} if named is not None and named.is_dir() else {}
    settings = {
        "text": profile.text.model_dump(exclude={"folder", *documents.CHANGE_NO_TEXT}),
        "version": VERSION,
        "tokens": profile.tokens.model_dump() | given,
        "tasks": names,
        "longest": tokens.longest_example(profile, names),
    }
    if (study := study_digest(profile.text.study)) not in UNMARKED:
        settings["study"] = study
    mark = {"settings": files.fingerprint(settings)}
    if _may_read_again(profile):
        mark["given"] = files.fingerprint(_given_text(profile, paths))
    return mark


def study_digest(study: StudyText) -> str:
    """Return a digest of what a study says of the text that is made for it."""
    of_domain = ("name", "packages", "irrelevant_domain", "topics", "areas")
    of_task = ("name", "domain", "metric", "other_task")
    both = ((study.domains, of_domain), (study.tasks, of_task))
    return files.fingerprint(str([[[getattr(one, key) for key in keys] for one in some] for some, keys in both]))


def _may_read_again(profile: Profile) -> bool:
    """Whether it is known where the text comes from; a mirror is named when text is prepared, and may be gone."""
    folder, is_own = profile.text.folder, profile.text.study.is_own  # one's own files are gathered in scratch
    return profile.text.source == "docstrings" or folder is not None and (not is_own or Path(folder).is_dir())


def _given_text(profile: Profile, paths: Paths) -> dict:
    """Return what the text is made of, so that text changed under its old name is read again.

    The versions of Python and the installed packages, which are said where they are not the pinned ones; or the digests
    of the user's own files.
    """
    if profile.text.source == "docstrings":
        names = packages.pinned_names(paths.root / "constraints.txt")
        return {"packages": packages.installed_versions(names), "python": platform.python_version()}
    folder = Path(profile.text.folder)
    documents.check_mirror(folder, follow_links=profile.text.follow_links)
    given = [path for kind in ("corpora", "tasks") for path in files.files_under(folder / kind)]
    return {"files": {str(path.relative_to(folder)): files.digest(path) for path in given}}


def _say_differences(profile: Profile, paths: Paths, some: Sequence[Task]) -> None:
    """Say in what the text differs from that of the committed results, or from the paper's Table 2."""
    if profile.text.source == "docstrings":
        for difference in packages.differing_versions(paths.root / "constraints.txt"):
            progress.say(f"prepare: {difference}; so the text is not that of the committed results")
    else:
        from dontstop.fetch import task_files

        for difference in task_files.differences_from_table_2(Path(profile.text.folder), [task.name for task in some]):
            progress.say(f"prepare: {difference}")
    if missing := missing_tasks(profile, some):
        progress.say(f"prepare: {', '.join(missing)} not in the mirror; the study goes on without, as allowed")
