"""Raw results: one record a run, one line a record, and what a record says of itself."""

import base64
import collections
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from dontstop.errors import StudyError
from dontstop.machine import digests, files

_DIGEST = {"num_records", "sha256"}  # beside every record: how many stand in its file, and its own digest
# What a repetition does not repeat.
OF_ONE_RUN = {"wall_seconds", "tokens_per_second", "num_processes", "ranking_seconds"}
NOT_RECORDED = "not recorded"  # the capability of a record that was written before it was kept
CURVE = ["step", "num_tokens", "learning_rate", "masked_lm_loss"]  # columns of a training's losses on its way
RANKINGS = "rankings"  # the records of how long rankings took
SELECTED = "selected"  # the records of what is selected: the digests and counts of every text
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
    """Write records, each once, to <folder>/<name>.jsonl, a line each, in their order, with how many and its digest."""
    path, each = folder / f"{name}.jsonl", {files.fingerprint(row): row for row in map(_without_digest, rows)}
    whole = [row | {"num_records": len(each)} for row in each.values()]
    files.write_jsonl(path, [row | {"sha256": _digest(path, row)} for row in whole])


def untimed(row: dict) -> str:
    """Return a record's digest without what tells how fast it came about: equal results, equal digests."""
    return files.fingerprint({name: value for name, value in row.items() if name not in OF_ONE_RUN})


def of_rankings(selected: Path, replicate: int) -> list[dict]:
    """Return the records of how long a replicate's rankings took, a row a task and selector, from its selected text."""
    about, rows = files.read_json(selected / "manifest.json"), []
    for path in sorted(selected.glob(f"*/{RANKINGS_FILE}")):
        for selector, ranking in files.read_json(path).items():
            row = {"task": path.parent.name, "replicate": replicate, "selector": selector}
            row |= {"fingerprint": about["selection"], "capability": about["capability"]}
            rows.append(row | {"ranking_seconds": ranking["wall_seconds"]})
    return rows


def of_selected(selected: Path, replicate: int) -> list[dict]:
    """Return the record of a replicate's selected text, by which results are found again where it does not stand."""
    about = files.read_json(selected / "manifest.json")
    row = {"replicate": replicate, "fingerprint": about["selection"], "capability": about["capability"]}
    stores = {name: {key: entry[key] for key in ("num_tokens", "sha256")} for name, entry in about["stores"].items()}
    return [row | {"stores": stores}]


def selected_rows(path: Path) -> list[dict]:
    """Read the records of selected text, those that are as they were written and tell of token stores."""
    rows = read_rows(path)[0] if path.is_file() else []
    return [row for row in rows if {"capability", "stores"} <= row.keys() and _are_stores(row["stores"])]


def _are_stores(stores: object) -> bool:
    if not isinstance(stores, dict):
        return False
    return all(isinstance(entry, dict) and {"num_tokens", "sha256"} <= entry.keys() for entry in stores.values())


def read_rows(path: Path) -> tuple[list[dict], str | None]:
    """Read the records of one file that are as they were written, and say what is wrong with the others, if anything.

    A line that is repeated counts once; of different records of one result none is taken. Records that were written
    before digests were kept are taken as they are.
    """
    lines = dict.fromkeys(path.read_bytes().splitlines())
    found = [row for line in lines if (row := _row(path, line)) is not None]
    times = collections.Counter(map(_key, found))
    whole = [row for row in found if times[_key(row)] == 1 or not {"num_records", "fingerprint"} <= row.keys()]
    written = [row["num_records"] for row in found if "num_records" in row]
    wrong = None
    if (num_damaged := max([len(lines), *written]) - len(found)) or not lines:
        wrong = f"{path} lacks {num_damaged} records, or they are damaged"
    elif len(whole) < len(found):
        wrong = f"{path} has {len(found) - len(whole)} different records where each result has one"
    elif len(found) > min(written, default=len(found)):
        wrong = f"{path} has {len(found)} records, and {min(written)} were written"
    return [_without_digest(row) for row in whole], wrong


def _key(row: dict) -> tuple:
    """Return what one record alone has in its file."""
    return tuple(str(row.get(name)) for name in ("fingerprint", "arm", "replicate", "task", "selector"))


def rows_of(paths: Iterable[Path]) -> Iterator[dict]:
    """Yield the records of some files that are as they were written."""
    return (row for path in paths for row in read_rows(path)[0])


def read_curve(path: Path) -> pd.DataFrame:
    """Read the loss curve of one training, with the columns `CURVE`.

    Raises:
        StudyError: If it is not as it was written, or no such table.
    """
    remedy = "run `make study`, which writes it anew; or take it from git, where it is committed"
    digests.hold(digests.folder_damage(path.parent, (path.name,)), remedy)
    try:
        curve = pd.read_csv(path)
        is_one = list(curve) == CURVE and all(pd.api.types.is_numeric_dtype(curve[name]) for name in CURVE)
    except ValueError as error:
        raise StudyError(f"{path} is damaged: {error}", f"a table of {', '.join(CURVE)}", remedy) from error
    if not is_one or not isinstance(curve.index, pd.RangeIndex) or curve.isna().any(axis=None):
        raise StudyError(f"{path} is damaged", f"a table of {', '.join(CURVE)}, numbers all of them", remedy)
    return curve


def _digest(path: Path, row: dict) -> str:
    """Return a record's digest, which holds its place too: those of another file are none of this one."""
    return files.fingerprint([path.parent.name, path.name, row])


def _row(path: Path, line: bytes) -> dict | None:
    try:
        row = json.loads(line)
        is_whole = row.pop("sha256") == _digest(path, row) if _DIGEST & row.keys() else "fingerprint" in row
    except (ValueError, RecursionError, KeyError, AttributeError, TypeError):
        return None
    return row if is_whole else None


def _without_digest(row: dict) -> dict:
    return {name: value for name, value in row.items() if name not in _DIGEST}


def read_records(folder: Path, *names: str) -> pd.DataFrame:
    """Read <folder>/<name>.jsonl for every name into one table.

    Raises:
        StudyError: If one of them is not there, or damaged.
    """
    rows = []
    for name in names:
        path = folder / f"{name}.jsonl"
        if not path.is_file():
            raise StudyError(f"no records {path}", "the records of a finished run", "run `make study` first")
        found, wrong = read_rows(path)
        digests.hold(wrong, "run `make study`, which writes it anew; or take it from git, where it is committed")
        rows += found
    return pd.DataFrame(rows)
