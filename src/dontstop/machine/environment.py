"""The environment against what the project asks for: Python, packages and their pins, memory."""

import importlib.metadata
import platform
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

NUM_NAMED = 3
State = tuple[str, ...]  # level (`well`, `warning`, `broken`), how it stands, what to do about it if anything


def _about(root: Path) -> dict:
    path = root / "pyproject.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"] if path.is_file() else {}


def python_state(root: Path) -> Iterator[State]:
    """Yield whether this Python is one of those that the project asks for."""
    running, wanted = platform.python_version(), _about(root).get("requires-python", "")
    fits = SpecifierSet(wanted).contains(running, prereleases=True)
    remedy = "" if fits else "name another: make set-up PYTHON=<python>"
    yield "well" if fits else "broken", f"{running}, where {wanted or 'nothing'} is asked for", remedy


def package_states(root: Path) -> Iterator[State]:
    """Yield which packages are missing or too old, and which are others than the pinned ones."""
    lacking = [need for need in map(Requirement, _about(root).get("dependencies", [])) if not _is_met(need)]
    if lacking:
        yield "broken", f"not installed, or of another version: {listed(map(str, lacking))}", "run `make set-up`"
    path = root / "constraints.txt"
    pins = requirements(path.read_text(encoding="utf-8")) if path.is_file() else []
    if others := differing(pins):
        remedy = "`make set-up` installs the pinned ones; with others, text and scores may differ"
        told = (f"{pin.name} {version(pin.name)} (pinned: {pin.specifier})" for pin in others)
        yield "warning", f"{len(others)} other than pinned: {listed(told)}", remedy
    else:
        yield "well", f"{sum(map(_is_here, pins))} installed as constraints.txt pins them"


def requirements(text: str) -> list[Requirement]:
    """Read the requirements of a file such as constraints.txt, one a line, comments left out."""
    return [Requirement(asked) for line in text.splitlines() if (asked := line.split("#")[0].strip())]


def differing(pins: Iterable[Requirement]) -> list[Requirement]:
    """Return the pins of packages that are installed in another version."""
    return [pin for pin in pins if _is_here(pin) and not _is_met(pin)]


def _is_here(pin: Requirement) -> bool:
    return (pin.marker is None or pin.marker.evaluate()) and version(pin.name) is not None


def version(name: str) -> str | None:
    """Return the installed version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_met(need: Requirement) -> bool:
    if need.marker is not None and not need.marker.evaluate():
        return True
    installed = version(need.name)
    return installed is not None and need.specifier.contains(installed, prereleases=True)


def listed(names: Iterable[str]) -> str:
    """Name the first few of some things, and say how many more there are."""
    some = list(names)
    return ", ".join(some[:NUM_NAMED]) + (f" and {len(some) - NUM_NAMED} more" if len(some) > NUM_NAMED else "")


def free_memory() -> int | None:
    """Return the bytes of memory that processes may still take; None where the system does not say."""
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
