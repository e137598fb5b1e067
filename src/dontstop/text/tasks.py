"""Which of a study's domains and tasks a profile has: all, those it names, or those that its mirror holds."""

from collections.abc import Sequence

from dontstop.errors import StudyError
from dontstop.machine import digests, files
from dontstop.profiles import Paths, Profile
from dontstop.studies import Domain, Task
from dontstop.text.documents import forms_of

GENERAL = "general"
SPLITS = ("train", "dev", "test")


def domains_of(tasks: Sequence[Task], profile: Profile) -> tuple[Domain, ...]:
    """Return the domains that a profile's tasks need: their own, and those that not-DAPT adapts to in their stead."""
    wanted = {name for task in tasks for name in (task.domain, *task.other_domains[:1])}
    return tuple(domain for domain in profile.text.study.domains if domain.name in wanted)


def wanted_tasks(profile: Profile) -> tuple[Task, ...]:
    """Return the tasks that a profile asks for, whether or not its text holds them.

    Raises:
        StudyError: If it names a task that there is not.
    """
    study, named = profile.text.study, profile.text.tasks
    if profile.text.source == "docstrings" or named is None:
        return study.tasks
    return tuple(task for task in study.tasks if task in [study.task(name) for name in named])


def tasks_for(profile: Profile, paths: Paths) -> tuple[Task, ...]:
    """Return the profile's tasks: all of them, or of a mirror's those that were prepared or are given.

    Raises:
        StudyError: If a profile of files names no mirror, the mirror lacks a task that the study may not go without,
            or a setting names a task that there is not.
    """
    wanted, study = wanted_tasks(profile), profile.text.study
    for name in (*profile.text.may_lack, *profile.text.low_resource):
        study.task(name)
    if profile.text.source == "docstrings" or study.is_own:
        return wanted
    if profile.text.folder is None:
        return _prepared_tasks(profile, paths, wanted)
    folder = paths.root / profile.text.folder / "tasks"
    lacking = [task.name for task in wanted if not any(forms_of(folder / task.name, split) for split in SPLITS)]
    if not folder.parent.is_dir():
        remedy = "mend text.folder, or what names it: --mirror, DONTSTOP_MIRROR"
        raise StudyError(f"no folder {folder.parent}", "a mirror of text", remedy)
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
