"""Rows of one file in any of the formats: read in bounded memory, and every row that is none told with its place."""

import contextlib
import csv
import errno
import functools
import io
import itertools
import json
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Text
from dontstop.text.unpacking import BUFFER, bomb, check_is_text, most_bytes

_BATCH = 500  # rows that are in memory at once
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"


class Fault(StudyError):
    """Why a row is refused: an error that a reader hands on in the row's place, since others come after it."""

    def __init__(self, found: str, expected: str, remedy: str, is_empty: bool = False):
        super().__init__(found, expected, remedy)
        self.is_empty = is_empty  # a row that only lacks a text


Rows = Iterator[tuple[str, Any]]  # the place in the file, and a row by column or a Fault
Reader = Callable[[BinaryIO, Path, tuple[str, ...], Text], Rows]


def _lines(handle: BinaryIO, path: Path, settings: Text) -> Iterator[tuple[int, str | Fault]]:
    longest = settings.max_line_megabytes * 1_000_000
    for number in itertools.count(1):
        raw = handle.readline(longest + 1)
        if not raw:
            return
        where = f"{path}, line {number}"
        if number == 1:
            check_is_text(path, raw)
        if len(raw) > longest:
            while raw and not raw.endswith(b"\n"):
                raw = handle.readline(BUFFER)
            yield number, too_long(where, settings)
        elif b"\0" in raw or (number == 1 and raw.startswith(_UTF16)):
            found = f"a NUL byte or a mark of UTF-16 in {where}"
            yield number, Fault(found, "text in UTF-8", _converted("utf-16", path))
        else:
            yield number, _decoded(raw, number, path, where)


def _converted(coding: str, path: Path) -> str:
    target = shlex.quote(f"another{''.join(path.suffixes[-1:])}")
    return f"write it anew, and put that in its place: iconv -f {coding} -t utf-8 {shlex.quote(path.name)} > {target}"


def _decoded(raw: bytes, number: int, path: Path, where: str) -> str | Fault:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{raw[error.start]:02x} at index {error.start} of {where}"
        return Fault(byte, "UTF-8", f"{_converted('latin1', path)} (or another coding, if it is of one)")


def too_long(where: str, settings: Text) -> Fault:
    """Return the fault of a line or text that is longer than the settings allow."""
    megabytes = settings.max_line_megabytes
    expected = f"text.max_line_megabytes = {megabytes} at most"
    return Fault(f"more than {megabytes} MB in {where}", expected, "cut the text, or raise that setting")


def jsonl(handle: BinaryIO, path: Path, fields: tuple[str, ...], settings: Text) -> Rows:
    """Yield the rows of JSON Lines."""
    decode = _decoder(fields)
    for number, line in _lines(handle, path, settings):
        if isinstance(line, Fault) or line.strip():
            where = f"{path}, line {number}"
            yield f"line {number}", _object(_decode(decode, line, where), where)


def json_or_jsonl(handle: io.BufferedReader, path: Path, fields: tuple[str, ...], settings: Text) -> Rows:
    """Yield the rows of JSON Lines, or the elements of one JSON array that is no longer than a line may be."""
    if not handle.peek(BUFFER).removeprefix(_BOM).lstrip().startswith(b"["):
        yield from jsonl(handle, path, fields, settings)
        return
    longest = settings.max_line_megabytes * 1_000_000
    if len(content := handle.read(longest + 1)) > longest:
        found, remedy = f"a JSON array of more than {longest:,} bytes in {path}", f"run `jq -c '.[]' {path.name}`"
        raise StudyError(found, "one object a line", f"{remedy}, and name what it writes .jsonl")
    items = _decode(_decoder(fields), _decoded(content, 1, path, f"{path}, in its array"), str(path))
    if isinstance(items, Fault):
        raise items
    for number, item in enumerate(items, 1):
        yield f"item {number}", _object(item, f"{path}, item {number}")


def _decoder(fields: tuple[str, ...]) -> Callable[[str], Any]:
    """Return what parses JSON, but no wanted key that stands twice; of a long integer only that it is one."""

    def row_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs]
            if twice := next((name for name in fields if names.count(name) > 1), None):
                raise ValueError(f"the key {twice!r} twice")
        return row

    def whole(digits: str) -> int | float:
        return int(digits) if len(digits) < 4000 else float("inf")

    return json.JSONDecoder(object_pairs_hook=row_of, parse_int=whole).decode


def _decode(decode: Callable[[str], Any], text: str | Fault, where: str) -> Any:
    try:
        return text if isinstance(text, Fault) else decode(text)
    except (ValueError, RecursionError) as error:
        return Fault(f"malformed JSON in {where}: {error}", "one object a line", "mend the line")


def _object(value: Any, where: str) -> dict | Fault:
    if isinstance(value, dict | Fault):
        return value
    remedy = "mend it; a whole array belongs into a file that ends in .json"
    return Fault(f"{type(value).__name__} in {where}", "one object a line", remedy)


def plain_text(handle: BinaryIO, path: Path, fields: tuple[str, ...], settings: Text) -> Rows:
    """Yield every line that is not blank as a text."""
    for number, line in _lines(handle, path, settings):
        if isinstance(line, Fault) or line.strip():
            yield f"line {number}", line if isinstance(line, Fault) else {"text": line.rstrip("\r\n")}


def separated(handle: BinaryIO, path: Path, fields: tuple[str, ...], settings: Text, *, by: str = ",") -> Rows:
    """Yield the rows of a CSV or TSV file; where a line is none, it is not known where the next row begins.

    Raises:
        StudyError: On such a line, a column that stands twice, or another separator.
    """
    limit, backslashes = csv.field_size_limit(settings.max_line_megabytes * 1_000_000), []

    def lines() -> Iterator[str]:
        for _, line in _lines(handle, path, settings):
            if isinstance(line, Fault):
                raise line
            if not backslashes and '\\"' in line:
                backslashes.append(line)
            yield line

    try:
        rows = lines()
        first = list(itertools.islice(rows, 1))
        _check_separator("".join(first), path, fields, by)
        reader = csv.DictReader(itertools.chain(first, rows), delimiter=by, strict=True)
        _check_once(fields, reader.fieldnames or (), path)
        for row in reader:
            yield f"line {reader.line_num}", _columns(row, reader, f"{path}, line {reader.line_num}")
    except csv.Error as error:
        found = f"malformed CSV in {path}, line {reader.line_num}: {error}"
        escaped = f"{found}, after quotes with a backslash before them"
        remedy = 'write a quote inside a quoted text twice, "", and not \\", as pandas and Excel do'
        plainly = (found, f"values between {_SEPARATORS[by]}", "mend the line")
        raise StudyError(*((escaped, "quotes doubled", remedy) if backslashes else plainly)) from error
    finally:
        csv.field_size_limit(limit)


def _check_once(fields: tuple[str, ...], columns: Sequence[str], path: Path) -> None:
    if twice := next((name for name in fields if columns.count(name) > 1), None):
        raise StudyError(f"the column {twice!r} twice in {path}", "each column once", "rename one of them")


def _columns(row: dict, reader: csv.DictReader, where: str) -> dict | Fault:
    if None not in row:
        there = sum(value is not None for value in row.values())
        if there in (0, len(row)):
            return row
        found, expected = f"{there} of {len(row)} columns in {where}", "all that the first line names"
        return Fault(found, expected, "fill the row, or quote texts that hold line breaks")
    found, expected = f"{len(row[None])} columns too many in {where}", f"the {len(reader.fieldnames)} of the first line"
    return Fault(found, expected, f"quote texts that hold {_SEPARATORS[reader.reader.dialect.delimiter]}")


def _check_separator(header: str, path: Path, fields: tuple[str, ...], by: str) -> None:
    """Tell of another separator by the first line, which else would be one long name."""
    other = next((mark for mark in _SEPARATORS if mark in header), by)
    if by in header or other == by or header.strip().strip('"') in fields:
        return
    named = {",": "end its name in .csv", "\t": "end its name in .tsv"}
    read = f"import pandas; pandas.read_csv({path.name!r}, sep={other!r}, dtype=str)"
    anew = (
        f'write it anew, and put that in its place: python -c "{read}.to_csv({f"another{path.suffix}"!r}, index=False)"'
    )
    found, expected = f"{_SEPARATORS[other]} between the columns of {path}", f"{_SEPARATORS[by]}, as its ending says"
    raise StudyError(found, expected, named.get(other, anew))


def parquet(handle: BinaryIO, path: Path, fields: tuple[str, ...], settings: Text) -> Rows:
    """Yield the rows of a Parquet file.

    Raises:
        StudyError: If a column stands twice.
    """
    with _room_to_unpack(path) as unpacked:
        if not handle.seekable():  # a table is read from its end, which a compressed file does not give
            shutil.copyfileobj(handle, unpacked, BUFFER)
            handle = unpacked
        known = pyarrow.parquet.read_schema(handle)
        _check_once(fields, known.names, path)
        wanted = list(fields) if set(fields) <= set(known.names) else known.names  # all, for the error to name them
        # A text that is repeated is in memory once. By default the whole file would be fetched beforehand.
        kinds = (pyarrow.types.is_string, pyarrow.types.is_dictionary)
        repeated = [name for name in wanted if any(is_of(known.field(name).type) for is_of in kinds)]
        how = {"buffer_size": BUFFER, "pre_buffer": False, "read_dictionary": repeated}
        table = pyarrow.parquet.ParquetFile(handle, **how)
        _check_unpacked(table, handle, path, settings)
        batches = table.iter_batches(_rows_at_once(table), columns=wanted, use_threads=False)
        places = ((batch, k) for batch in batches for k in range(batch.num_rows))
        for number, (batch, k) in enumerate(places, 1):
            yield f"row {number}", _cells(batch, k, f"{path}, row {number}")


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


def _check_unpacked(table: pyarrow.parquet.ParquetFile, handle: BinaryIO, path: Path, settings: Text) -> None:
    unpacked = sum(table.metadata.row_group(k).total_byte_size for k in range(table.num_row_groups))
    if unpacked > most_bytes(handle.seek(0, io.SEEK_END), settings.max_unpacked_ratio):
        raise bomb(path, settings.max_unpacked_ratio)


def _rows_at_once(table: pyarrow.parquet.ParquetFile) -> int:
    groups = [table.metadata.row_group(k) for k in range(table.num_row_groups)]
    widest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
    return min(_BATCH, max(1, 32 * BUFFER // max(1, widest)))


def _cells(batch: pyarrow.RecordBatch, k: int, where: str) -> dict | Fault:
    try:
        return {name: column[k].as_py() for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    except ValueError as error:  # bytes that are no UTF-8 among them, integers of 5,000 digits
        return Fault(f"unreadable value in {where}: {error}", "UTF-8", "write the table anew from whole text")


READERS: dict[str, Reader] = {
    ".jsonl": jsonl,
    ".json": json_or_jsonl,
    ".csv": separated,
    ".tsv": functools.partial(separated, by="\t"),
    ".parquet": parquet,
    ".txt": plain_text,
}
