"""The selected text of replicates: made where it lacks, removed where it is damaged, known by records elsewhere."""

import contextlib
import functools
from dataclasses import replace

from dontstop.design.arms import Checkpoint
from dontstop.design.plan import Plan
from dontstop.errors import StudyError
from dontstop.machine import digests, locks, progress
from dontstop.machine.progress import Job
from dontstop.profiles import Paths, Profile
from dontstop.runs import adoption, records, scratch
from dontstop.runs.augmentation import CANDIDATES_FILE, Selections
from dontstop.runs.identity import selected_records
from dontstop.runs.jobs import Jobs
from dontstop.runs.scratch import READ_ONLY, Reads, is_set


def drop_damaged(profile: Profile, paths: Paths) -> None:
    """Remove selected text that is not as it was written: what it is made of stands in scratch, mostly.

    Raises:
        StudyError: If some is damaged, and nothing may be made.
    """
    found = [path for pattern in ("replicate_*", "candidates/*") for path in paths.selected.glob(pattern)]
    damaged = {folder: wrong for folder in sorted(found) if (wrong := digests.folder_damage(folder)) is not None}
    if damaged and is_set(READ_ONLY):
        digests.hold(next(iter(damaged.values())), f"run `dontstop select --profile {profile.name}` first")
    with locks.only_run(paths.lock) if damaged else contextlib.nullcontext():
        for folder in damaged:
            if (wrong := digests.folder_damage(folder)) is not None:  # else whoever held the lock was replacing it
                progress.say(f"{wrong}: {folder} is removed, and `dontstop select` makes it again")
                scratch.remove_parts([folder])


def select(some: Jobs, wanted: Selections) -> None:
    """Select one replicate's text, unless it stands there selected with these settings.

    Raises:
        StudyError: If it does not, and nothing may be made.
    """
    profile, paths, base = some.profile, some.paths, Checkpoint((), wanted.replicate)
    if wanted.is_written():
        if not is_set(READ_ONLY):
            _keep_digests(wanted)
        return
    if is_set(READ_ONLY):
        remedy = f"run `dontstop select --profile {profile.name}` first"
        raise StudyError("no selected text with these settings", "text that has been selected", remedy)
    with locks.only_run(paths.lock):
        if wanted.is_written():  # by another command, which this one has waited for
            return
        scratch.remove_parts(paths.selected.rglob(".*.part"))
        adoption.adopt(some, Plan((base,)))
        todo = _jobs(wanted)
        scratch.sweep(paths, [job.key for job in todo])
        if "encoder" in profile.selection.selectors and some.trained(base) is None:
            todo.insert(0, some.checkpoint(base))
        some.check_encoder(todo)
        some.carry_out("selection", todo)
        wanted.write(progress.say)
        _keep_digests(wanted)


def _jobs(wanted: Selections) -> list[Job]:
    """Make the jobs of a selection, which hold what they read to its digests."""
    for key in map(wanted.candidates_key, wanted.domains):  # so that damaged candidates are cut again
        scratch.is_whole(wanted.paths, key, scratch.folder(wanted.paths, key) / CANDIDATES_FILE)
    return [
        replace(job, function=functools.partial(scratch.once, reads=Reads(job.needs, ("corpora/", "tasks/"))))
        for job in wanted.jobs()
    ]


def _keep_digests(wanted: Selections) -> None:
    for folder in (wanted.folder, *(wanted.paths.selected / "candidates" / domain for domain in wanted.domains)):
        digests.keep_folder_digests(folder)


def is_known(wanted: Selections) -> bool:
    """Whether a replicate's text stands here as it is to be selected, or nothing whole does and results tell of it.

    This machine's, or those of another kind where they are accepted.
    """
    candidates = (wanted.paths.selected / "candidates" / domain / CANDIDATES_FILE for domain in wanted.domains)
    lasts = [wanted.folder / "manifest.json", *candidates]
    if lasts[0].is_file() and not any(digests.folder_damage(last.parent, (last.name,)) for last in lasts):
        return wanted.is_written()
    fingerprint = wanted.fingerprint()
    rows = [row for row in records.selected_rows(selected_records(wanted.paths)) if row["fingerprint"] == fingerprint]
    return any(wanted.found.accept_others or row["capability"] == wanted.capability for row in rows)
