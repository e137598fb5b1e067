"""Files of text as they lie on a disk: packed or plain, opened in bounded memory, and told where they are no text."""

import bz2
import gzip
import io
import lzma
from pathlib import Path
from typing import BinaryIO

import pyarrow

from dontstop.errors import StudyError
from dontstop.profiles import Text

OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
BUFFER = 1 << 20  # bytes that are in memory at once
_SMALL = 64 << 20  # bytes that any file may unpack to
_SHEET = "unpack it; or, if it is a workbook, save its sheet as CSV in UTF-8"
# By the first bytes: what a file is, and what to do with it where it is named as text.
_KINDS = {
    b"\x1f\x8b": ("packed by gzip", "name it {}.gz"),
    b"BZh91AY&SY": ("packed by bzip2", "name it {}.bz2"),
    b"\xfd7zXZ\0": ("packed by xz", "name it {}.xz"),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", "name it {}.zst"),
    b"PK\x03\x04": ("a zip archive, as .xlsx is", _SHEET),
    b"\xd0\xcf\x11\xe0": ("a file of old Office, such as .xls", _SHEET),
    b"PAR1\x15": ("a Parquet table", "end its name in .parquet"),
}


def open_unpacked(path: Path, settings: Text) -> BinaryIO:
    """Open a file, plain or compressed as its ending says, to be read no further than it may unpack.

    Raises:
        StudyError: While it is read, once it has unpacked to more than `max_unpacked_ratio` times its size.
    """
    if (ending := path.suffix.lower()) == ".zst":
        source = pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")
    elif ending in OPENERS:
        source = OPENERS[ending](path, "rb")
    else:
        return open(path, "rb", BUFFER)
    return io.BufferedReader(_Unpacked(source, path, settings.max_unpacked_ratio), BUFFER)


class _Unpacked(io.RawIOBase):
    """What comes out of a compressed file, counted."""

    def __init__(self, source: BinaryIO, path: Path, ratio: int):
        self._source, self._path, self._ratio = source, path, ratio
        self._left = most_bytes(path.stat().st_size, ratio)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        content = self._source.read(len(buffer))
        self._left -= len(content)
        if self._left < 0:
            raise bomb(self._path, self._ratio)
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._source.close()
        super().close()


def most_bytes(size: int, ratio: int) -> int:
    """Return how many bytes a file of a size may unpack to."""
    return max(_SMALL, ratio * size)


def bomb(path: Path, ratio: int) -> StudyError:
    """Return the error of a file that unpacks to more."""
    expected = f"text.max_unpacked_ratio = {ratio} times at most"
    remedy = "see what is in it; raise that setting if it is what you want"
    return StudyError(f"{path} unpacks to more than {ratio} times its size", expected, remedy)


def check_is_text(path: Path, content: bytes) -> None:
    """Look at the first bytes of what is to be lines of text.

    Raises:
        StudyError: If they are those of another kind of file, which it names.
    """
    for first, (kind, remedy) in _KINDS.items():
        if content.startswith(first):
            raise StudyError(f"{path}, which is {kind}", "text, as its ending says", remedy.format(path.name))
