"""Write whole files or none: temporary name, fsync, rename; and digests of what was written."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dontstop.errors import StudyError

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PART_DIGITS = 8  # of a random number, so that two writers do not meet
# As writers in Rust put the system's error number into the text of their own errors, and as NumPy tells without one.
_NO_SPACE_TOLD = re.compile(
    rf"\b(os error|code:) ({'|'.join(map(str, sorted(NO_SPACE)))})\b|^\d+ requested and \d+ written$"
)


def part_of(path: Path) -> Path:
    """Return a name beside a file or folder, for what is to take its place once it is whole."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:_PART_DIGITS]}.part")


def parts_of(path: Path) -> list[Path]:
    """Return what is half-written of a file or folder, and of no other whose name begins alike."""
    return [*path.parent.glob(f".{path.name}.{'[0-9a-f]' * _PART_DIGITS}.part")]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` once the block has ended well.

    After a crash either the old file or the new one stands there, never a part of one.

    Raises:
        StudyError: If the disk is full; the old file, if any, is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        yield part
        with open(part, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
        sync_folder(path.parent)
    except OSError as error:
        if _is_full(error):
            raise _no_space(path) from error
        raise
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def saving_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder`, and put it in `folder`'s place once the block has ended well.

    For what Transformers saves by itself: its writers in Rust raise errors of their own when the disk is full.

    Raises:
        StudyError: If the disk is full; nothing half-written stays.
    """
    part = part_of(folder)
    try:
        part.mkdir(parents=True)
        yield part
        for path in part.iterdir():
            sync_folder(path)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
        sync_folder(folder.parent)
    except Exception as error:
        if _is_full(error):
            raise _no_space(folder) from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _is_full(error: Exception) -> bool:
    return getattr(error, "errno", None) in NO_SPACE or _NO_SPACE_TOLD.search(str(error)) is not None


def _no_space(path: Path) -> StudyError:
    return StudyError(
        f"no space left while writing {path}",
        "room for it on that disk or quota",
        "free some space and give the same command again: what is finished is kept",
    )


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system allows it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def link_files(source: Path, target: Path, leave_out: tuple[str, ...] = ()) -> None:
    """Give the files of a folder a second name under `target`, or a copy where the disk allows no links."""
    for path in source.iterdir():
        if path.name in leave_out or path.name.startswith(".") or not path.is_file():
            continue
        with writing(target / path.name) as part:
            try:
                os.link(path, part)
            except OSError:
                shutil.copy(path, part)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with writing(path) as part:
        part.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_array(path: Path, values: np.ndarray) -> None:
    """Write an array as .npy, atomically."""
    with writing(path) as part, open(part, "wb") as handle:  # a handle: np.save adds an ending to a path
        np.save(handle, values, allow_pickle=False)


def read_array(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Read an array of the study's own; `mapped` leaves it on disk and reads what is looked at."""
    return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)


def read_json(path: Path) -> Any:
    """Read one JSON file of the study's own.

    Raises:
        StudyError: If it is damaged.
    """
    try:
        value = json.loads(content := path.read_bytes())
        if b"\\u" in content or not content.isascii():
            json.dumps(value, ensure_ascii=False).encode()  # half characters, which nothing of ours can have written
        return value
    except (ValueError, RecursionError) as error:
        remedy = f"delete {path} and give the same command again"
        raise StudyError(f"{path} is damaged: {error}", "a whole file", remedy) from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read a JSON Lines file of the study's own (a user's file goes through `documents.read_documents`)."""
    return list(read_rows(path))


def read_rows(path: Path, start: int = 0, end: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSON Lines file of the study's own, one in memory at a time.

    Args:
        start, end: Bytes to read from and to, where a row begins; all of the file unless given.
    """
    with open(path, "rb") as handle:
        handle.seek(start)
        while (end is None or handle.tell() < end) and (line := handle.readline()):
            yield json.loads(line)


def files_under(folder: Path) -> list[Path]:
    """List all files under a folder, through symbolic links too, but for hidden ones; in order."""
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not Path(place).resolve().is_relative_to((Path(place) / name).resolve())
        )
        found += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
    return sorted(found)


def no_file(path: Path) -> StudyError:
    """Return the error of a pipe or a device among files, whose end never comes."""
    return StudyError(f"{path}, which is no file", "files, and nothing that waits for a writer", "remove it")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        StudyError: If it is a pipe or a device, whose end never comes.
    """
    if path.exists() and not path.is_file():
        raise no_file(path)
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and bytes of all files under a folder, linked ones too, hidden ones not."""
    return fingerprint({path.relative_to(folder).as_posix(): digest(path) for path in files_under(folder)})


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of `value` as canonical JSON, in hexadecimal: equal values, equal fingerprints."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
