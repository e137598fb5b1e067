"""What stands in a study's way, or soon will: environment, machine, text, locks, damage and leftovers, a line each."""

import collections
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from dontstop.design.needs import Design
from dontstop.design.plan import EXPERIMENTS
from dontstop.errors import StudyError, counted
from dontstop.machine import digests, environment, files, locks
from dontstop.machine.environment import State, listed
from dontstop.machine.processes import num_cores
from dontstop.profiles import Encoder, Paths, Profile, find_root, load_profile, with_replicates
from dontstop.runs import identity, jobs, preparation, records, scratch
from dontstop.runs.records import NOT_RECORDED
from dontstop.text import tasks
from dontstop.tokens import token_counts
from dontstop.training import compatibility, devices

LEVELS = ("well", "warning", "broken")  # their places are the command's exit codes
UNKNOWN_ENCODER = 500_000_000  # bytes of one that is known by its name on the hub alone: RoBERTa-base's
TEXT_OF_PACKAGES = 500_000_000  # bytes of a docstring study's text and tokens, at most
OF_A_PROCESS = 700_000_000  # bytes of Python with PyTorch and Transformers, before any encoder


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it stands, and what to do about it."""

    what: str
    level: str
    state: str
    remedy: str = ""


def examine(name: str, root: Path | None = None) -> pd.DataFrame:
    """Look at everything that a profile's study rests on; nothing is made, mended or removed.

    Columns what; level (`well`, `warning` or `broken`); state; remedy, empty where all is well.
    """
    root = root or find_root()
    found = _told("Python", lambda: environment.python_state(root))
    found += _told("packages", lambda: environment.package_states(root))
    loaded: list[Profile] = []
    found += _told("profile", lambda: _profile(name, root, loaded))
    if loaded:
        profile, paths = loaded[0], Paths(loaded[0].name, root)
        for what, check in CHECKS.items():
            found += _told(what, lambda check=check: check(profile, paths))
    if loaded and name != loaded[0].name:  # given by its path
        found = [replace(f, remedy=f.remedy.replace(f"--profile {loaded[0].name}", f"--profile {name}")) for f in found]
    return pd.DataFrame([asdict(finding) for finding in found]).drop_duplicates("state", ignore_index=True)


def exit_code(findings: pd.DataFrame) -> int:
    """Return 0 where all is well, 1 where something is to be known before a run, 2 where a run would fail."""
    return max(LEVELS.index(level) for level in findings["level"])


def _told(what: str, check: Callable[[], Iterator[State]]) -> list[Finding]:
    """Return a check's lines; an error is one of them."""
    try:
        return [Finding(what, *line) for line in check()]
    except StudyError as error:
        return [Finding(what, "broken", error.found, error.remedy)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return [Finding(what, "broken", f"{type(error).__name__}: {error}", "mend or delete that file")]


def _profile(name: str, root: Path, loaded: list[Profile]) -> Iterator[State]:
    loaded.append(with_replicates(load_profile(name, root)))
    yield "well", f"{name}, {counted(loaded[0].replicates, 'replicate')}"


# Machine ---------------------------------------------------------------------------------------------------------


def _device(profile: Profile, paths: Paths) -> Iterator[State]:
    device = devices.resolve_device(profile.device)
    precision = devices.resolve_precision(profile.precision, device)
    state = f"{identity.capability_of(profile)}, {num_cores()} cores, {jobs.num_processes(profile)} jobs at once"
    if device == "cpu" and precision == "bf16" and not devices.has_bf16_instructions():
        remedy = "set precision to auto or fp32: without its instructions bf16 is some ten times slower"
        yield "warning", f"{state}, without bf16 instructions", remedy
    else:
        yield "well", state


def encoder_bytes(settings: Encoder, vocabulary_size: int) -> int:
    """Return the bytes of an encoder in fp32: by its settings, or those of the folder that it is given by."""
    if settings.name is not None:
        return sum(path.stat().st_size for path in Path(settings.name).glob("*.safetensors")) or UNKNOWN_ENCODER
    hidden, inner = settings.hidden_size, settings.intermediate_size
    of_a_layer = 4 * hidden**2 + 3 * hidden * inner + 2 * hidden  # attention, gated layers, norms
    of_the_rest = vocabulary_size * (hidden + 1) + hidden**2 + 2 * hidden  # embeddings, the LM head, norms
    return 4 * (settings.num_layers * of_a_layer + of_the_rest)


def _memory(profile: Profile, paths: Paths) -> Iterator[State]:
    # Weights, gradients and two moments; activations come on top, so this is the least.
    of_a_job = OF_A_PROCESS + 4 * encoder_bytes(profile.encoder, profile.tokens.vocabulary_size)
    needed, free = jobs.num_processes(profile) * of_a_job, environment.free_memory()
    if free is None:
        yield "well", f"{_size(needed)} needed at least; this system does not say what is free"
        return
    remedy = "" if free > needed else "free memory, or lower speed.num_workers: the results stay the same"
    yield "well" if free > needed else "warning", f"{_size(free)} free, {_size(needed)} needed at least", remedy


def _disk(profile: Profile, paths: Paths) -> Iterator[State]:
    some = tasks.tasks_for(profile, paths)
    design = Design(profile, some, frozenset(task.name for task in some))
    number = profile.replicates * len({c for name in EXPERIMENTS for c in design.plan(name, [0]).checkpoints})
    size = encoder_bytes(profile.encoder, profile.tokens.vocabulary_size)
    needed = max(0, number * size - _bytes_of(paths.checkpoints)) + _bytes_of_text(profile, paths)
    needed += 3 * size * jobs.num_processes(profile)  # the states of trainings under way
    free = shutil.disk_usage(paths.root).free
    remedy = "" if free > needed else "free some space: what is finished is kept, and a full disk stops the rest"
    state = f"{_size(free)} free, some {_size(needed)} still needed ({counted(number, 'checkpoint')} of {_size(size)})"
    yield "well" if free > needed else "broken", state, remedy


def _bytes_of_text(profile: Profile, paths: Paths) -> int:
    if (paths.data / "prepared.json").is_file():
        return 0
    return 2 * _bytes_of(Path(profile.text.folder)) if profile.text.folder else TEXT_OF_PACKAGES


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in files.files_under(folder) if path.is_file())


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def _encoder(profile: Profile, paths: Paths) -> Iterator[State]:
    found = compatibility.findings(profile)
    for one in found.itertuples():
        yield one.level, f"{one.found}; expected: {one.expected}", one.remedy
    if found.empty:
        yield "well", f"{profile.encoder.name or 'one trained from scratch'}, as the settings want it"


# What stands there -----------------------------------------------------------------------------------------------


def _text(profile: Profile, paths: Paths) -> Iterator[State]:
    if preparation.is_prepared(profile, paths, tasks.tasks_for(profile, paths)):
        yield "well", "prepared with these settings"
        if digests.folder_damage(paths.data) is not None:  # told above; damaged tokens cannot be counted
            return
        yield from token_counts.lines(token_counts.counts(paths))
    else:
        state = "prepared with others" if (paths.data / "prepared.json").is_file() else "not prepared yet"
        yield "warning", state, f"`dontstop prepare --profile {profile.name}` does it; every run begins with it"


def _locks(profile: Profile, paths: Paths) -> Iterator[State]:
    held = _held(paths)
    for lock in held:
        if lock.parent == paths.work:
            holder = lock.with_suffix(".process")
            process = holder.read_text().strip() if holder.is_file() else "unknown"
            remedy = "wait for it, or stop it: what is finished is kept"
            yield "warning", f"a run of profile {lock.stem} under way (process {process})", remedy
    writers = [locks.lock_holder(lock) for lock in held if lock.parent != paths.work]
    by = sorted({f"process {writer or 'unknown'}" for writer in writers})
    yield "well", f"{counted(len(writers), 'result')} being written" + (f", by {listed(by)}" if by else "")


def _held(paths: Paths) -> list[Path]:
    """Return the locks that a process holds; one that is left behind by a dead process is none."""
    held = []
    for lock in sorted([*paths.work.glob("*.lock"), *paths.work.glob("locks/*.lock")]):
        try:
            with locks.locked(lock, wait=False) as is_free:
                held += [] if is_free else [lock]
        except OSError:  # of a checkout that can only be read
            held += [lock] if locks.lock_holder(lock) else []
    return held


def _damage(profile: Profile, paths: Paths) -> Iterator[State]:
    count = 0
    for kept, root, level, remedy in _kept(profile, paths):
        count += 1 + len(digests.kept_digests(kept, root) or {})
        yield from ((level, wrong, remedy) for wrong in digests.faults(kept, root))
    again = f"delete it; `make study PROFILE={profile.name}` makes it anew"
    found = [*paths.checkpoints.rglob(scratch.TRAINING_FILE), *paths.results.glob("records/*/*.jsonl")]
    curves = paths.results.glob("curves/*/*/*.csv")  # those of before their digests were kept
    for path in sorted([*found, *(path for path in curves if not (path.parent / digests.DIGESTS).is_file())]):
        count += 1
        if not _is_read(path):
            yield "broken", f"{path} is damaged", again
    if (wrong := identity.versions_damage(paths.results)) is not None:
        yield "warning", wrong, identity.RESTORE_VERSIONS
    yield "well", f"{counted(count, 'file')} looked at"


def _kept(profile: Profile, paths: Paths) -> Iterator[tuple[Path, Path, str, str]]:
    """Yield what keeps digests: the file, the folder of the files that it names, and of damage the level and remedy."""
    of_text = f"delete {paths.data}, then `dontstop prepare --profile {profile.name}` makes it anew"
    of_selected = f"`dontstop select --profile {profile.name}` makes it anew"
    of_encoders = f"delete it; `make study PROFILE={profile.name}` makes it anew"
    own = ((paths.data, of_text), (paths.selected, of_selected))
    for folder, remedy in (*own, (paths.checkpoints, of_encoders), (paths.results / "curves", of_encoders)):
        yield from ((kept, kept.parent, "broken", remedy) for kept in sorted(folder.rglob(digests.DIGESTS)))
    of_scratch = "what needs it makes it anew"
    if profile.text.study.is_own:  # whose files are gathered in scratch
        mirror = Path(profile.text.folder)
        yield mirror / digests.DIGESTS, mirror, "warning", of_scratch
    yield from ((kept, paths.work, "warning", of_scratch) for kept in sorted(paths.work.glob("digests/**/*.json")))


def _folders(profile: Profile, paths: Paths) -> Iterator[State]:
    for folder in (paths.data, paths.checkpoints, paths.selected, paths.results, paths.work):
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if not there.is_dir():
            yield "broken", f"{there} is no folder", "move that file away: results are to stand there"
        elif not os.access(there, os.W_OK | os.X_OK):
            yield "broken", f"{there} cannot be written to", "give yourself the right to, or take another checkout"
    yield "well", "data, checkpoints, selected text, results and work can be written"


def _is_whole(path: Path) -> bool:
    """Whether what tells of an encoder, and all that stands beside it, is as it was written."""
    return _is_read(path) and digests.folder_damage(path.parent) is None


def _is_read(path: Path) -> bool:
    """Whether records, a curve, or what tells of an encoder, can be read."""
    if path.suffix == ".jsonl":
        return records.read_rows(path)[1] is None
    if path.suffix != ".csv":
        return scratch.no_object(path) is None
    try:
        records.read_curve(path)
    except StudyError:
        return False
    return True


def _leftovers(profile: Profile, paths: Paths) -> Iterator[State]:
    folders = (paths.data.parent, paths.checkpoints, paths.selected.parent, paths.results, paths.work)
    parts = [part for folder in folders for part in folder.rglob(".*.part")]
    if parts and not _held(paths):
        yield "warning", f"{len(parts)} half-written: {listed(map(str, parts))}", "delete them, or let a run do it"
    else:
        yield "well", f"{len(parts)} half-written" + (", as a run is under way" if parts else "")


def _scratch(profile: Profile, paths: Paths) -> Iterator[State]:
    published = {row.get("fingerprint") for row in _published(paths)}
    results = [*paths.work.glob("results/*.json"), *(path.parent for path in paths.work.glob("??/*/training.json"))]
    spare = [path for path in results if path.name.partition(".")[0] not in published]
    size = sum(path.stat().st_size if path.is_file() else _bytes_of(path) for path in spare)
    state = f"{len(results)} results in work/, {len(spare)} of them ({_size(size)}) in no profile's published ones"
    much = size > shutil.disk_usage(paths.root).free / 10
    yield "warning" if much else "well", state, "`make clean` removes work/: what is published stays" if much else ""


def _published(paths: Paths) -> Iterator[dict]:
    """Yield what tells of a published result of any profile, damaged ones left out."""
    yield from records.rows_of(paths.root.glob("results/*/records/*/*.jsonl"))
    found = (paths.root / "checkpoints").rglob(scratch.TRAINING_FILE)
    yield from (files.read_json(path) for path in found if _is_whole(path))


def _recorded(profile: Profile, paths: Paths) -> Iterator[State]:
    rows = records.rows_of(paths.results.glob("records/*/*.jsonl"))
    counts = collections.Counter((row.get("replicate", 0), row.get("capability", NOT_RECORDED)) for row in rows)
    if not counts:
        yield "well", "no records yet", f"`make study PROFILE={profile.name}` makes them"
    own = identity.capability_of(profile)
    for (replicate, capability), number in sorted(counts.items()):
        state = f"replicate {replicate}: {counted(number, 'record')} by {capability}"
        is_own = capability == own
        remedy = "" if is_own else f"this machine is {own}: a run does them anew, but with --accept-other-machines"
        yield "well" if is_own else "warning", state, remedy


CHECKS: dict[str, Callable[[Profile, Paths], Iterator[State]]] = {
    "device": _device,
    "memory": _memory,
    "encoder": _encoder,
    "folders": _folders,
    "damage": _damage,
    "text": _text,
    "disk": _disk,
    "locks": _locks,
    "leftovers": _leftovers,
    "scratch": _scratch,
    "records": _recorded,
}
