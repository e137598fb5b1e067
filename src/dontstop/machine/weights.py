"""The files of an encoder that others have made, looked at before a library reads them: what is wrong, by its name."""

import json
from collections.abc import Iterator
from pathlib import Path

from dontstop.errors import StudyError
from dontstop.machine.files import files_under, no_file

_POINTER = b"version https://git-lfs"
_INDEX = "model.safetensors.index.json"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_TRAINED = {"F64", "F32", "F16", "BF16"}  # types of safetensors
_WHOLE = "fetch it again, and compare its size with the one at its source"


def file_faults(folder: Path) -> Iterator[StudyError]:
    """Yield what is wrong with an encoder's or a tokenizer's files, as errors that are not raised."""
    for path in files_under(folder):
        if not path.is_file():
            yield no_file(path)
        elif _begins(path, len(_POINTER)) == _POINTER:
            remedy = "fetch the file itself (`git lfs pull`, or a download from the hub)"
            yield StudyError(f"{path}, a pointer of large-file storage (LFS)", "the file that it stands for", remedy)
        elif path.suffix == ".safetensors":
            yield from _damage(path)
        elif path.suffix == ".json" and not _is_json(path):
            yield StudyError(f"{path}, which is not JSON: damaged or cut", "a whole file", _WHOLE)


def weight_faults(folder: Path) -> Iterator[StudyError]:
    """Yield what an encoder's folder lacks: safetensors at all, or some of their shards."""
    index, there = folder / _INDEX, {path.name for path in folder.glob("*.safetensors") if path.is_file()}
    if index.is_file() and _is_json(index):
        content = json.loads(index.read_bytes())
        places = content.get("weight_map") if isinstance(content, dict) else None
        if not (isinstance(places, dict) and all(isinstance(name, str) for name in places.values())):
            found = f"{index}, which does not say which shard holds which weights"
            yield StudyError(found, "a `weight_map` of weights by shards", _WHOLE)
            return
        wanted = set(places.values())
        if missing := sorted(wanted - there):
            named = f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}"
            found = f"{len(wanted) - len(missing)} of {len(wanted)} shards in {folder}: {named} missing"
            yield StudyError(found, f"all shards that {_INDEX} names", "fetch the missing ones")
    elif not there:
        pickled = [path.name for path in files_under(folder) if path.suffix in _PICKLED]
        found = f"pickled weights alone in {folder} ({pickled[0]})" if pickled else f"no weights in {folder}"
        yield StudyError(found, "model.safetensors: pickled weights may run code when read", "name another encoder")


def _damage(path: Path) -> Iterator[StudyError]:
    """Yield what is wrong with a file of safetensors: its length is in its header."""
    size, header = path.stat().st_size, _begins(path, 8)
    length = int.from_bytes(header, "little")
    try:
        if len(header) < 8 or length + 8 > size:
            raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")
        entries = json.loads(_begins(path, 8 + length)[8:])
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        told = 8 + length + max(ends, default=0)
        kinds = {str(entries[name]["dtype"]) for name in entries if name.endswith((".weight", ".bias"))}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        yield StudyError(f"{path}, whose header is damaged: {error}", "a file of safetensors", _WHOLE)
        return
    if quantised := sorted(kinds - _TRAINED):
        found = f"{path} with weights of type {', '.join(quantised)}"
        expected = "floating-point weights: quantised ones cannot be trained"
        yield StudyError(found, expected, "name the encoder that was quantised")
    if told != size:
        what = "cut" if size < told else "longer than its header says"
        yield StudyError(f"{path}, which is {what}: {size:,} bytes", f"{told:,} bytes, by its header", _WHOLE)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True


def _begins(path: Path, num_bytes: int) -> bytes:
    with open(path, "rb") as handle:
        return handle.read(num_bytes)
