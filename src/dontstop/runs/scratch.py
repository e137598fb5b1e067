"""Where results lie before they are published: in work/, by fingerprint and machine, locked while they are written."""

import contextlib
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dontstop.errors import StudyError
from dontstop.machine import digests, files, locks, progress
from dontstop.profiles import Paths
from dontstop.training import process_group

TRAINING_FILE = "training.json"  # written last, so a folder that holds it is whole
STATE = "state."  # how the names of a training's states begin, which are written over again and again
# In the environment: results of other machines are accepted; nothing may be made, and what is missing is said instead.
ACCEPT_OTHERS, READ_ONLY = "DONTSTOP_ACCEPT_OTHER_MACHINES", "DONTSTOP_READ_ONLY"


@dataclass(frozen=True)
class Scratch:
    """The results in work/, each under a key of its fingerprint and the capability of the machine that made it.

    Attributes:
        capability: This machine's.
        accept_others: Whether results of other machines are found too, where there is none of this one.
        alike: Returns the fingerprints that a result has by other versions of the libraries (`Identity.alike`).
    """

    paths: Paths
    capability: str
    accept_others: bool = False
    alike: Callable[[str], list[str]] = lambda fingerprint: []

    def trained(self, fingerprint: str) -> str | None:
        """Return the key of a finished checkpoint, or None."""
        return self._found(fingerprint, lambda key: folder(self.paths, key) / TRAINING_FILE)

    def measured(self, fingerprint: str) -> str | None:
        """Return the key of a finished run or loss, or None."""
        return self._found(fingerprint, lambda key: result_path(self.paths, key))

    def ranked(self, fingerprint: str, last: str) -> str | None:
        """Return the key of a finished ranking, or None; `last` is the file that is written last."""
        return self._found(fingerprint, lambda key: folder(self.paths, key) / last)

    def _found(self, fingerprint: str, place: Callable[[str], Path]) -> str | None:
        own, others = key_of(fingerprint, self.capability), self.others(fingerprint) if self.accept_others else []
        return next((key for key in (own, *others) if is_whole(self.paths, key, place(key))), None)

    def others(self, fingerprint: str) -> list[str]:
        """List the keys of a result that other machines have made, or this one with other versions of the libraries."""
        found = set()
        for some in (fingerprint, *self.alike(fingerprint)):
            places = (self.paths.work / some[:2], self.paths.work / "results")
            found |= {path.name.removesuffix(".json") for place in places for path in place.glob(f"{some}.*")}
        return sorted(found - {key_of(fingerprint, self.capability)})


def is_set(variable: str) -> bool:
    """Whether a variable of the environment says yes: the user's, or one that the command line has set."""
    return os.environ.get(variable, "").lower() in ("1", "true", "yes")


def key_of(fingerprint: str, capability: str) -> str:
    """Return the name of a result's scratch: its fingerprint, and the machine's capability as a file's name."""
    return f"{fingerprint}.{re.sub(r'[^A-Za-z0-9]+', '-', capability)}"


def folder(paths: Paths, key: str) -> Path:
    """Return the scratch folder of a checkpoint or a ranking."""
    return paths.work / key[:2] / key


def result_path(paths: Paths, key: str) -> Path:
    """Return the scratch file of a run or a loss."""
    return paths.work / "results" / f"{key}.json"


def result_of_prepare(path: Path) -> dict:
    """Read a manifest of prepared text.

    Raises:
        StudyError: If it is not there.
    """
    if not path.is_file():
        raise StudyError(f"no {path}", "text that has been prepared", "run `dontstop prepare --profile <name>` first")
    return files.read_json(path)


@dataclass(frozen=True)
class Target:
    """What a job makes: where it puts its result, and what the record says of the result's identity."""

    paths: Paths
    fingerprint: str
    capability: str
    precision: str

    @property
    def key(self) -> str:
        """The name of its scratch."""
        return key_of(self.fingerprint, self.capability)

    @property
    def folder(self) -> Path:
        """The scratch folder of a checkpoint."""
        return folder(self.paths, self.key)

    @property
    def result(self) -> Path:
        """The scratch file of a run or a loss."""
        return result_path(self.paths, self.key)

    @property
    def identity(self) -> dict[str, str]:
        """What its record holds to be found again by."""
        return {"fingerprint": self.fingerprint, "capability": self.capability}


# Damage ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reads:
    """What a job reads, which is compared with its digests in the process that does the job.

    Attributes:
        keys: Of results in scratch.
        texts: Beginnings of names of files under data/: `corpora/`.
        stores: Names of token stores, which are read with the tokenizer.
    """

    keys: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()

    def check(self, paths: Paths) -> None:
        """Hold all of it to its digests.

        Raises:
            StudyError: If anything is damaged.
        """
        again = "give the same command again: what is damaged is made anew"
        for key in sorted(self.keys):
            for kept in sorted((paths.work / "digests" / key[:2] / key).glob("*.json")):
                digests.hold(digests.damage(kept, paths.work), again)
        under = defaultdict(list, {paths.data: [*self.texts, *(["tokenizer/"] if self.stores else [])]})
        for folder, place in map(paths.place_of_store, self.stores):
            under[folder].append(f"{place}/")
        for folder in (folder for folder, names in under.items() if names):
            digests.hold(digests.folder_damage(folder, tuple(under[folder])), again)


def is_whole(paths: Paths, key: str, last: Path) -> bool:
    """Whether a result is there as it was written; one that is damaged is moved aside, so that it is made again.

    Args:
        last: The file of it that is written last.
    """
    if not last.is_file():
        return False
    if (wrong := _damage(paths, last)) is None:
        if not _kept(paths, last).is_file():  # written before digests were kept, or killed in between
            with locks.locked(_lock(paths, key)):  # else another command could sweep the part away
                _end(paths, key, last)
        return True
    with locks.locked(_lock(paths, key)):  # whoever held it may have made it again meanwhile
        if not last.is_file() or _damage(paths, last) is None:
            return last.is_file()
        whole = last if _is_result(paths, last) else last.parent
        _move(whole, paths.work / "damaged" / whole.relative_to(paths.work))
        _kept(paths, last).unlink(missing_ok=True)
    progress.say(f"{wrong}: moved to {paths.work / 'damaged'}, and made again where it is needed")
    return False


def _end(paths: Paths, key: str, last: Path) -> None:
    """Remove the states of a training that has ended, and keep the digests of what it made."""
    remove_parts(folder(paths, key).glob(f"{STATE}*"))
    keep_digests(paths, last)


def keep_digests(paths: Paths, last: Path) -> None:
    """Keep the digests of a finished result."""
    found = [last] if _is_result(paths, last) else files.files_under(last.parent)
    digests.write_digests(_kept(paths, last), paths.work, [path for path in found if not path.name.startswith(STATE)])


def write_result(paths: Paths, key: str, record: dict) -> None:
    """Write a result that others have made where a job of ours would."""
    with locks.locked(_lock(paths, key)):
        files.write_json(result_path(paths, key), record)
        keep_digests(paths, result_path(paths, key))


def _damage(paths: Paths, last: Path) -> str | None:
    if _kept(paths, last).is_file():
        return digests.damage(_kept(paths, last), paths.work)
    return no_object(last)


def no_object(path: Path) -> str | None:
    """Say that a file is none of the JSON objects that results are, of one whose digest was not kept; else None."""
    try:
        return None if isinstance(files.read_json(path), dict) else f"{path} is damaged"
    except StudyError as error:
        return error.found


def _kept(paths: Paths, last: Path) -> Path:
    return paths.work / "digests" / last.relative_to(paths.work)


def _is_result(paths: Paths, last: Path) -> bool:
    return last.parent == paths.work / "results"


def _move(source: Path, target: Path) -> None:
    remove_parts([target])
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


# Writing ---------------------------------------------------------------------------------------------------------


def once(paths: Paths, key: str, last: Path, function: Callable, *arguments, reads: Reads = Reads(), **how) -> None:
    """Make a result under its lock, unless another process, of another profile say, has made it meanwhile.

    Args:
        last: The file that is written last, so that where it stands the result is whole.
        function: Called as function(*arguments, **how); with `distributed`, by all processes of a group at once.
        reads: What it reads, which must be as it was written.

    Raises:
        StudyError: If what it reads is damaged; and whatever the function raises.
    """
    reads.check(paths)
    with locks.locked(_lock(paths, key)) if process_group.is_main_process() else contextlib.nullcontext():
        if "distributed" in how:  # what the main process does by itself, such as taking over, nobody else waits for
            process_group.barrier()
        if not last.is_file():
            if process_group.is_main_process():
                remove_parts([*_parts(paths, key), _kept(paths, last)])
            function(*arguments, **how)
            if process_group.is_main_process():
                _end(paths, key, last)


def sweep(paths: Paths, keys: Iterable[str]) -> None:
    """Remove what killed runs left half-written of some results, but for those that are being written."""
    parts = {key: found for key in keys if (found := _parts(paths, key))}
    for key, found in parts.items():
        with locks.locked(_lock(paths, key), wait=False) as held:
            if held:
                remove_parts(found)


def _lock(paths: Paths, key: str) -> Path:
    return paths.work / "locks" / f"{key}.lock"


def _parts(paths: Paths, key: str) -> list[Path]:
    kept = paths.work / "digests"
    found = [*folder(paths, key).rglob(".*.part"), *(kept / key[:2] / key).glob(".*.part")]
    return found + [part for at in (paths.work, kept) for part in files.parts_of(at / "results" / f"{key}.json")]


def remove_parts(parts: Iterable[Path]) -> None:
    """Remove files and folders that a killed run left half-written."""
    for part in parts:
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
