"""Read labelled or plain text from a user's own files; what cannot be read is told, or counted and left out."""

import glob
import lzma
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow

from dontstop.errors import StudyError, meant
from dontstop.machine import files, progress
from dontstop.profiles import Text
from dontstop.text.readers import READERS, Fault, too_long
from dontstop.text.unpacking import OPENERS, open_unpacked
from dontstop.text.words import is_blank

# Settings that decide what is refused, and never what becomes of the rest.
CHANGE_NO_TEXT = ("follow_links", "empty_rows", "bad_rows", "max_line_megabytes", "max_unpacked_ratio")
_UNBOUNDED = Text(max_line_megabytes=10**6, max_unpacked_ratio=10**6)
_COMPRESSIONS = (*OPENERS, ".zst")
_ENDINGS = "the ending .jsonl, .json, .csv, .tsv, .parquet or .txt, compressed (.gz, .bz2, .xz, .zst) or not"
_CONVERT = 'write it as JSON Lines, {"text": "..."} in every line'


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
    others = sorted(folder.glob(f"{glob.escape(name)}.*"))
    if others := [path for path in others if path.is_file() and path.name != f"{name}.source.json"]:
        raise StudyError(f"{others[0]}, of no known format", f"{folder / name} with {_ENDINGS}", _CONVERT)
    raise StudyError(
        f"no file {folder / name}.*", f"{folder / name} with {_ENDINGS}", "put it there, or mend text.folder"
    )


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
        if _endings(path)[0] not in READERS or not path.is_file():
            raise StudyError(
                f"{path} among the shards of {shards.name}", f"shards with {_ENDINGS}", "move it away, or convert it"
            )
        stem = _stem(path)
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
    check_links(
        folder,
        [path for kind in ("corpora", "tasks") for path in files.files_under(folder / kind)],
        follow_links=follow_links,
    )


def check_links(folder: Path, paths: Iterable[Path], *, follow_links: bool) -> None:
    """Make sure that what a folder holds are files, and none a link out of it; as `check_mirror` does."""
    inside = folder.resolve()
    for path in paths:
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
    found = (path for path in sorted(folder.glob(f"{glob.escape(name)}.*")) if _endings(path)[0] in READERS)
    return [path for path in found if _stem(path) == name and path.is_file()]


def _endings(path: Path) -> tuple[str, str]:
    """Return the ending that names a file's format, and the one that names its compression, in lower case; or ""."""
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    endings = endings if endings and endings[-1] in _COMPRESSIONS else [*endings[-1:], ""]
    return (endings[0], endings[1]) if len(endings) == 2 else ("", "")


def _stem(path: Path) -> str:
    return path.name[: -len("".join(_endings(path)))]


@dataclass
class Refused:
    """The rows of a file that are left out, counted by reason; all others are read.

    Attributes:
        settings: Which rows may be left out (`text.empty_rows`, `text.bad_rows`); any other ends the reading.
        num_empty, num_bad: Rows without a text, and rows that cannot be read.
        first: What the first of them is, with its place.
    """

    settings: Text
    num_empty: int = 0
    num_bad: int = 0
    first: str = ""

    def take(self, fault: Fault) -> None:
        """Count a row.

        Raises:
            StudyError: If such rows are not to be left out.
        """
        if (self.settings.empty_rows if fault.is_empty else self.settings.bad_rows) == "stop":
            raise fault
        self.num_empty += fault.is_empty
        self.num_bad += not fault.is_empty
        self.first = self.first or fault.found

    def note(self, kind: str, cleaning: dict[str, int]) -> int:
        """Say what was left out, if anything was, add it to the counts of documents by reason, and return the sum."""
        for reason, number in (("empty", self.num_empty), ("unreadable", self.num_bad)):
            if number:
                cleaning[f"{kind}_{reason}"] = cleaning.get(f"{kind}_{reason}", 0) + number
        if self.first:
            progress.say(f"prepare: {self}")
        return self.num_empty + self.num_bad

    def __str__(self):
        number = self.num_empty + self.num_bad
        return f"{number:,} {'row' if number == 1 else 'rows'} left out, the first: {self.first}"


def read_documents(
    path: Path,
    fields: tuple[str, ...] = ("text",),
    label: str = "label",
    *,
    refused: Refused | None = None,
) -> Iterator[dict[str, str]]:
    """Yield the documents of a file, as dicts of the wanted fields.

    Args:
        path: The file; its endings, in any case, name format and compression (.jsonl, .json, .csv, .tsv, .parquet,
            .txt; .gz, .bz2, .xz, .zst). A JSON file may be one array; in a text file every line is a document.
        fields: Columns to take; each must hold a non-empty string in every row.
        label: The column of them in which a number may stand.
        refused: Counts rows that are left out, and has the bounds of a line and of what a file may unpack to; for the
            study's own files there is none of either.

    Raises:
        StudyError: Naming file and line or row: a missing file, an unknown format, malformed content, a missing field,
            a wrong type, an empty document, bytes that are not UTF-8, a bound that is passed, no documents at all.
    """
    path, settings, number = Path(path), refused.settings if refused else _UNBOUNDED, 0
    if not path.is_file():
        raise StudyError(f"no file {path}", f"one with {_ENDINGS}", "mend the path or put the file there")
    if (reader := READERS.get(_endings(path)[0])) is None:
        raise StudyError(f"{path} has no known format", _ENDINGS, _CONVERT)
    try:
        with open_unpacked(path, settings) as handle:
            for where, row in reader(handle, path, fields, settings):
                number += 1
                try:
                    document = _document(row, fields, label, f"{path}, {where}", settings)
                except Fault as fault:
                    if refused is None:
                        raise
                    refused.take(fault)
                else:
                    yield document
    except (EOFError, lzma.LZMAError, OSError, pyarrow.ArrowException, ValueError, zlib.error) as error:
        raise _unreadable(path, number, error) from error
    if number == (refused.num_empty + refused.num_bad if refused else 0):
        raise StudyError(
            f"no documents in {path}{f': {refused}' if number else ''}",
            "one document or more",
            "fill the file or leave it out",
        )


def _unreadable(path: Path, number: int, error: Exception) -> StudyError:
    if "too much memory" in str(error):
        how = f"zstd -d --long=31 -c {path.name} | zstd -o another.zst"
        return StudyError(
            f"{path}, packed by zstd with a long window", "a window of 128 MB at most", f"pack it anew: {how}"
        )
    if "gzip" in str(error) or "BZ2" in str(error) or "Input format not supported" in str(error):
        expected, remedy = f"what its ending says: packed as {path.suffix}", "name it by what it is, or copy it again"
        return StudyError(f"{path} unreadable after row {number}: {error}", expected, remedy)
    return StudyError(f"{path} unreadable after row {number}: {error}", "a whole file", "copy it again")


def _document(row: dict | Fault, fields: tuple[str, ...], label: str, where: str, settings: Text) -> dict[str, str]:
    if isinstance(row, Fault):
        raise row
    return {field: _value(row, field, where, settings, is_label=field == label) for field in fields}


def _label(value: Any) -> Any:
    """Write a label as text: whole numbers, as which 1 and 1.0 are one class, and truth; of nothing, or NaN, none."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) <= 10**15)
    return str(int(value)) if is_whole else value


def _value(row: dict[str, Any], field: str, where: str, settings: Text, *, is_label: bool) -> str:
    if field not in row:
        names = ", ".join(map(str, row)) or "nothing"
        remedy = meant(field, map(str, row), "add or rename the field")
        raise Fault(f"no field {field!r} in {where}", f"{field!r} among {names}", remedy)
    value = _label(row[field]) if is_label else row[field]
    if isinstance(value, float) and is_label and value > 10**15:
        raise Fault(f"an integer of many digits as {field} in {where}", "a label", "write it as a string")
    if not isinstance(value, str):
        found = f"{field} of type {type(value).__name__} in {where}"
        raise Fault(found, "a string", "write it as a string", is_empty=value is None)
    if is_blank(value):
        expected = "a label" if is_label else "a text with words"
        raise Fault(f"empty {field} in {where}", expected, "fill the row or drop it", not is_label)
    if len(value) > settings.max_line_megabytes * 1_000_000:
        raise too_long(where, settings)
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can spell half a character, such as \ud83d
        half = f"half a character, {ascii(value[error.start])}, in {field} in {where}"
        raise Fault(half, "whole characters", "mend the row, which was cut or spelt wrongly") from error
    return value
