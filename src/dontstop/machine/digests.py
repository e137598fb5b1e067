"""Digests of what is read back: kept beside files when they are finished, compared before they are used."""

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dontstop.errors import StudyError
from dontstop.machine import files

DIGESTS = "digests.json"  # of a folder, beside its files
_WRITTEN_AFTER = {DIGESTS, "prepared.json"}  # which stand in a folder beside the files that its digests name
_CLOCK_TICK = 1_000_000_000  # nanoseconds; no file system tells times apart that are nearer, or needs more
_known: dict[tuple[int, int, int, int], str] = {}  # by a file's device, inode, size and time: read once a process


def digest_once(path: Path) -> str:
    """Return a file's SHA-256, which is worked out once a process, unless the file has been written to since."""
    about = path.stat()
    key = about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
    if key in _known:
        return _known[key]
    found = files.digest(path)
    if time.time_ns() - about.st_mtime_ns > _CLOCK_TICK:  # else it could be written to again within its time
        _known[key] = found
    return found


def write_digests(kept: Path, root: Path, some: Iterable[Path]) -> None:
    """Keep the digests of some files under `root`, and a digest of these digests, in the file `kept`."""
    _write(kept, root, {path.relative_to(root).as_posix(): digest_once(path) for path in some if path != kept})


def _write(kept: Path, root: Path, found: dict[str, str]) -> None:
    files.write_json(kept, {"files": found, "sha256": _own_digest(kept, root, found)})


def damage(kept: Path, root: Path, under: tuple[str, ...] = ("",)) -> str | None:
    """Say what is wrong with the first file that is not as its digest was kept; None if all are, or none was kept.

    Args:
        kept: What `write_digests` wrote.
        root: Where the files stand that it names.
        under: Beginnings of the names of those that are to be read now; all unless given.
    """
    return next(faults(kept, root, under), None)


def faults(kept: Path, root: Path, under: tuple[str, ...] = ("",)) -> Iterator[str]:
    """Say of every file that is not as its digest was kept what is wrong with it; `damage` tells the first.

    Of a folder that holds its own digests, a file that they do not name is a fault too: what is loaded from folders
    whole, such as a tokenizer, would read it.
    """
    if not kept.is_file():
        return
    if (expected := kept_digests(kept, root)) is None:
        yield f"{kept} is damaged"
        return
    for name, digest in expected.items():
        path = root / name
        if name.startswith(under) and not path.is_file():
            yield f"{path} is missing"
        elif name.startswith(under) and digest_once(path) != digest:
            yield f"{path} is not as it was written"
    for path in files.files_under(root) if kept == root / DIGESTS else ():
        name = path.relative_to(root).as_posix()
        if name not in _WRITTEN_AFTER | expected.keys() and name.startswith(under):
            yield f"{path} is none of the files that were written there"


def _own_digest(kept: Path, root: Path, found: dict[str, str]) -> str:
    """Return the digest of digests, which holds their place too: those of another result are none of this one."""
    return files.fingerprint([kept.relative_to(root).as_posix(), found])


def kept_digests(kept: Path, root: Path) -> dict[str, str] | None:
    """Read the digests that were kept, by file's name; None if they are damaged."""
    try:
        content = files.read_json(kept)
        return content["files"] if content["sha256"] == _own_digest(kept, root, content["files"]) else None
    except (StudyError, KeyError, TypeError, AttributeError):
        return None


# Folders that hold their own digests -------------------------------------------------------------------------------


def write_folder_digests(folder: Path) -> None:
    """Keep the digests of all files of a folder in it."""
    write_digests(folder / DIGESTS, folder, files.files_under(folder))


def write_within(folder: Path, texts: Mapping[str, str]) -> None:
    """Write some of a folder's texts, by file's name, and keep their digests; those of its other files stay."""
    for name, text in texts.items():
        files.write_text(folder / name, text)
    kept = folder / DIGESTS
    if not kept.is_file() or (known := kept_digests(kept, folder)) is None:
        write_folder_digests(folder)
    else:
        _write(kept, folder, known | {name: digest_once(folder / name) for name in texts})


def keep_folder_digests(folder: Path) -> None:
    """Keep the digests of a folder that was written before they were kept, or by a run that was killed before that."""
    if not (folder / DIGESTS).is_file():
        write_folder_digests(folder)


def folder_damage(folder: Path, under: tuple[str, ...] = ("",)) -> str | None:
    """Say what is wrong with a folder that holds its own digests; None if nothing, or if it holds none."""
    return damage(folder / DIGESTS, folder, under)


def hold(wrong: str | None, remedy: str) -> None:
    """Raise what is wrong with files that are about to be read.

    Raises:
        StudyError: If anything is.
    """
    if wrong is not None:
        raise StudyError(wrong, "files as they were written", remedy)
