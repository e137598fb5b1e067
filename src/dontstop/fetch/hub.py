"""Data sets of a hub, streamed; errors on the way are the source's, not the disk's."""

import zlib
from collections.abc import Iterable, Iterator

import datasets

from dontstop.errors import StudyError

FAULTS = (OSError, ValueError, EOFError, zlib.error, datasets.exceptions.DatasetsError)  # of a source


def read_stream(rows: Iterable[dict], path: str) -> Iterator[dict]:
    """Yield the rows of the data set at `path`.

    Raises:
        StudyError: If the source breaks off.
    """
    try:
        yield from rows
    except FAULTS as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: Exception) -> StudyError:
    """Return the error of a data set that cannot be read."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    remedy = "check its name and the network, and give the same command again: what has been read is kept"
    return StudyError(f"{path} cannot be read: {reason}", "a data set that can be read", remedy)
