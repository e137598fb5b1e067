"""Where results lie before they are published: in work/, by fingerprint and machine, locked while they are written."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dontstop.errors import StudyError
from dontstop.machine import files, runner
from dontstop.profiles import Paths
from dontstop.training import process_group

TRAINING_FILE = "training.json"  # written last, so a folder that holds it is whole
# In the environment: results of other machines are accepted; nothing may be made, and what is missing is said instead.
ACCEPT_OTHERS, READ_ONLY = "DONTSTOP_ACCEPT_OTHER_MACHINES", "DONTSTOP_READ_ONLY"


@dataclass(frozen=True)
class Scratch:
    """The results in work/, each under a key of its fingerprint and the capability of the machine that made it.

    Attributes:
        capability: This machine's.
        accept_others: Whether results of other machines are found too, where there is none of this one.
    """

    paths: Paths
    capability: str
    accept_others: bool = False

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
        return next((key for key in (own, *others) if place(key).is_file()), None)

    def others(self, fingerprint: str) -> list[str]:
        """List the keys of a fingerprint's results that other machines have made."""
        places = (self.paths.work / fingerprint[:2], self.paths.work / "results")
        found = {path.name.removesuffix(".json") for place in places for path in place.glob(f"{fingerprint}.*")}
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


def load_result(path: Path) -> dict:
    """Read what a job wrote.

    Raises:
        StudyError: If the file is damaged.
    """
    try:
        return files.read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is damaged: {error}", "a whole file", f"delete {path} and run again") from error


def result_of_prepare(path: Path) -> dict:
    """Read a manifest of prepared text.

    Raises:
        StudyError: If it is not there.
    """
    if not path.is_file():
        raise StudyError(f"no {path}", "text that has been prepared", "run `dontstop prepare --profile <name>` first")
    return load_result(path)


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


# Writing ---------------------------------------------------------------------------------------------------------


def once(paths: Paths, key: str, last: Path, function: Callable, *arguments, **how) -> None:
    """Make a result under its lock, unless another process, of another profile say, has made it meanwhile.

    Args:
        last: The file that is written last, so that where it stands the result is whole.
        function: Called as function(*arguments, **how); with `distributed`, by all processes of a group at once.
    """
    with runner.locked(_lock(paths, key)) if process_group.is_main_process() else contextlib.nullcontext():
        if "distributed" in how:  # what the main process does by itself, such as taking over, nobody else waits for
            process_group.barrier()
        if not last.is_file():
            if process_group.is_main_process():
                remove_parts(_parts(paths, key))
            function(*arguments, **how)


def sweep(paths: Paths, keys: Iterable[str]) -> None:
    """Remove what killed runs left half-written of some results, but for those that are being written."""
    parts = {key: found for key in keys if (found := _parts(paths, key))}
    for key, found in parts.items():
        with runner.locked(_lock(paths, key), wait=False) as held:
            if held:
                remove_parts(found)


def _lock(paths: Paths, key: str) -> Path:
    return paths.work / "locks" / f"{key}.lock"


def _parts(paths: Paths, key: str) -> list[Path]:
    return [*folder(paths, key).rglob(".*.part"), *result_path(paths, key).parent.glob(f".{key}.json.*.part")]


def remove_parts(parts: Iterable[Path]) -> None:
    """Remove files and folders that a killed run left half-written."""
    for part in parts:
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
