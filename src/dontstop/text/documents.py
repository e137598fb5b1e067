"""Read labelled or plain text from a user's own file: JSON Lines, CSV or Parquet, plain or compressed."""

import bz2
import contextlib
import csv
import errno
import gzip
import io
import itertools
import json
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet

from dontstop.errors import StudyError
from dontstop.machine import files

_OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_FORMATS = (".jsonl", ".json", ".csv", ".parquet")
_COMPRESSIONS = ("", *_OPENERS, ".zst")
_BUFFER, _BATCH = 1 << 20, 500  # bytes and rows that are in memory at once


def find_documents(folder: Path, name: str) -> Path:
    """Return the one file <folder>/<name>.<format>[.<compression>].

    Raises:
        StudyError: If there is none, or more than one.
    """
    found = forms_of(folder, name)
    if len(found) == 1:
        return found[0]
    if found:
        both = " and ".join(str(path) for path in found)
        raise StudyError(both, "one file", "keep one of them and move the others away")
    expected = f"{folder / name} with the ending .jsonl, .csv or .parquet, compressed (.gz, .bz2, .xz, .zst) or not"
    raise StudyError(f"no file {folder / name}.*", expected, "put it there, or mend text.folder")


def find_shards(folder: Path, name: str) -> list[Path]:
    """Return the files that a corpus is made of, in the order in which they are read.

    Either the one file <folder>/<name>.<format>[.<compression>], or all files of the folder <folder>/<name>, in the
    order of their names; those that begin with a dot or an underscore are passed over, as others' tools do.

    Raises:
        StudyError: If there is neither, or both; if the folder is empty, holds anything else, or a shard twice.
    """
    shards = folder / name
    if not shards.is_dir():
        return [find_documents(folder, name)]
    if forms := forms_of(folder, name):
        raise StudyError(f"{forms[0]} and the folder {shards}", "one of them", "move the other away")
    return shards_in(shards)


def shards_in(shards: Path) -> list[Path]:
    """Return the files of a folder that are a corpus together, as `find_shards` does, and raise as it does."""
    found = sorted((path for path in shards.iterdir() if path.name[0] not in "._"), key=lambda path: path.name)
    if not found:
        raise StudyError(f"no file in {shards}", "one shard or more of a corpus", "fill the folder, or move it away")
    stems: dict[str, Path] = {}
    for path in found:
        form, compression = _endings(path)
        if form not in _FORMATS or not path.is_file():
            expected = "shards with the ending .jsonl, .csv or .parquet, compressed (.gz, .bz2, .xz, .zst) or not"
            raise StudyError(f"{path} among the shards of {shards.name}", expected, "move it away, or convert it")
        stem = path.name.removesuffix(form + compression)
        if stem in stems:
            raise StudyError(f"{stems[stem]} and {path}", "each shard once", "move one of them away")
        stems[stem] = path
    return found


def check_mirror(folder: Path, *, follow_links: bool) -> None:
    """Make sure that a mirror holds files alone, before any of them is read; its own folder may be a link.

    Args:
        follow_links: Whether links may lead out of it.

    Raises:
        StudyError: If a link leads out of the mirror, or a pipe or a device lies there, whose end never comes.
    """
    inside = folder.resolve()
    for path in (path for kind in ("corpora", "tasks") for path in files.files_under(folder / kind)):
        target = path.resolve()
        if path.exists() and not path.is_file():
            raise StudyError(f"{path}, which is no file", "files of text", "move it away")
        if not follow_links and not target.is_relative_to(inside):
            raise StudyError(
                f"{path}, which a link leads to {target}",
                f"text inside {folder}",
                "copy it there; or, if you trust what it leads to, set text.follow_links: true",
            )


def forms_of(folder: Path, name: str) -> list[Path]:
    """Return the files <folder>/<name>.<format>[.<compression>] that are there."""
    names = [f"{name}{form}{compression}" for form in _FORMATS for compression in _COMPRESSIONS]
    return [folder / candidate for candidate in names if (folder / candidate).is_file()]


def _endings(path: Path) -> tuple[str, str]:
    """Return the ending that names a file's format, and the one that names its compression; none is empty."""
    endings = path.suffixes[-2:] if path.suffix in _COMPRESSIONS[1:] else [*path.suffixes[-1:], ""]
    return (endings[0], endings[1]) if len(endings) == 2 else ("", "")


def read_documents(path: Path, fields: tuple[str, ...] = ("text",), label: str = "label") -> Iterator[dict[str, str]]:
    """Yield the documents of a JSON Lines, CSV or Parquet file, as dicts of the wanted fields.

    Args:
        path: The file; its endings name format and compression (.jsonl, .csv, .parquet; .gz, .bz2, .xz, .zst).
        fields: Columns to take; each must hold a non-empty string in every row.
        label: The column of them in which a number may stand.

    Raises:
        StudyError: Naming file and line or row: a missing file, an unknown format, malformed content, a missing field,
            a wrong type, an empty document, bytes that are not UTF-8, no documents at all.
    """
    path = Path(path)
    if not path.is_file():
        raise StudyError(f"no file {path}", "a JSON Lines, CSV or Parquet file", "mend the path or put the file there")
    reader = {".jsonl": _jsonl, ".json": _jsonl, ".csv": _csv, ".parquet": _parquet}.get(_endings(path)[0])
    if reader is None:
        raise StudyError(f"{path} has no known format", "an ending .jsonl, .csv or .parquet", "convert the file")
    number = 0
    try:
        with _opened(path) as handle:
            for line, row in reader(handle, path, fields):
                number += 1
                yield {field: _value(row, field, f"{path}, {line}", field == label) for field in fields}
    except (EOFError, lzma.LZMAError, OSError, pyarrow.ArrowException, zlib.error) as error:
        raise StudyError(f"{path} unreadable after row {number}: {error}", "a whole file", "copy it again") from error
    if not number:
        raise StudyError(f"no documents in {path}", "one document or more", "fill the file or leave it out")


def _opened(path: Path) -> BinaryIO:
    if path.suffix == ".zst":
        return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd"), _BUFFER)
    return _OPENERS.get(path.suffix, open)(path, "rb")


def _lines(handle: BinaryIO, path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(handle, 1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = f"byte 0x{line[error.start]:02x} at index {error.start} of {path}, line {number}"
            raise StudyError(byte, "UTF-8", "convert the file, for instance with iconv -t utf-8") from error


def _jsonl(handle: BinaryIO, path: Path, fields: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for number, line in _lines(handle, path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            found = f"malformed JSON in {path}, line {number}: {error}"
            raise StudyError(found, "one object a line", "mend the line") from error
        if not isinstance(row, dict):
            raise StudyError(f"{type(row).__name__} in {path}, line {number}", "one object a line", "mend the line")
        yield f"line {number}", row


def _csv(handle: BinaryIO, path: Path, fields: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    limit = csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader((line for _, line in _lines(handle, path)), strict=True)
    try:
        for row in reader:
            if None in row:
                raise StudyError(
                    f"{len(row[None])} columns too many in {path}, line {reader.line_num}",
                    f"the {len(reader.fieldnames)} columns of the first line",
                    "quote texts that hold commas",
                )
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        found = f"malformed CSV in {path}, line {reader.line_num}: {error}"
        raise StudyError(found, "comma-separated values", "mend the line") from error
    finally:
        csv.field_size_limit(limit)


def _parquet(handle: BinaryIO, path: Path, fields: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    with _room_to_unpack(path) as unpacked:
        if _endings(path)[1]:  # a table is read from its end, which a compressed file does not give
            shutil.copyfileobj(handle, unpacked, _BUFFER)
            handle = unpacked
        # By default the whole file would be fetched beforehand.
        table = pyarrow.parquet.ParquetFile(handle, buffer_size=_BUFFER, pre_buffer=False)
        known = table.schema_arrow.names
        columns = list(fields) if set(fields) <= set(known) else known  # all, for the error to name them
        batches = table.iter_batches(_BATCH, columns=columns, use_threads=False)
        rows = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
        yield from ((f"row {number}", row) for number, row in enumerate(rows, 1))


@contextlib.contextmanager
def _room_to_unpack(path: Path) -> Iterator[BinaryIO]:
    try:
        with tempfile.TemporaryFile() as unpacked:
            yield unpacked
    except OSError as error:
        if error.errno not in {errno.ENOENT, *files.NO_SPACE}:
            raise
        raise StudyError(
            f"no room for temporary files while unpacking {path}: {error}",
            "a folder for them with room for the unpacked table",
            "free some space there, or set TMPDIR to another folder",
        ) from error


def _value(row: dict, field: str, where: str, is_label: bool) -> str:
    if field not in row:
        names = ", ".join(map(str, row)) or "nothing"
        raise StudyError(f"no field {field!r} in {where}", f"{field!r} among {names}", "add or rename the field")
    value = row[field]
    if is_label and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise StudyError(f"{field} of type {type(value).__name__} in {where}", "a string", "write it as a string")
    if not value.strip():
        raise StudyError(f"empty {field} in {where}", "a text with words", "fill the row or drop it")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can spell half a character, such as \ud83d
        half = f"half a character, {ascii(value[error.start])}, in {field} in {where}"
        raise StudyError(half, "whole characters", "mend the row, which was cut or spelt wrongly") from error
    return value
