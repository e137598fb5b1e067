"""Raw results: one record a run, one line a record, and what a record says of itself."""

import base64
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from dontstop.errors import StudyError
from dontstop.machine import files

NOT_RECORDED = "not recorded"  # the capability of a record that was written before it was kept
RANKINGS_FILE = "rankings.json"  # what is kept of a task's rankings, beside its selected text


def encode_predictions(predictions: np.ndarray) -> str:
    """Pack label ids, (num_test,), below 256 into a short text.

    Raises:
        StudyError: If a label id is above 255.
    """
    if predictions.max(initial=0) > 255:
        raise StudyError(f"label id {predictions.max()}", "at most 256 labels a task", "join rare labels")
    return base64.b64encode(zlib.compress(predictions.astype(np.uint8).tobytes(), 9)).decode()


def decode_predictions(text: str) -> np.ndarray:
    """Unpack label ids, (num_test,) int64, from a record's `test_predictions`."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8).astype(np.int64)


def write_records(folder: Path, name: str, rows: list[dict]) -> None:
    """Write records to <folder>/<name>.jsonl, one a line, in the order given."""
    files.write_jsonl(folder / f"{name}.jsonl", rows)


def read_records(folder: Path, *names: str) -> pd.DataFrame:
    """Read <folder>/<name>.jsonl for every name into one table.

    Raises:
        StudyError: If one of them is not there.
    """
    rows = []
    for name in names:
        path = folder / f"{name}.jsonl"
        if not path.is_file():
            raise StudyError(f"no records {path}", "the records of a finished run", "run `make study` first")
        rows += files.read_jsonl(path)
    return pd.DataFrame(rows)
