"""A training's saved states: two generations, each behind its digest, so that damage costs steps and nothing else."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from dontstop.machine import files
from dontstop.machine.progress import say

_DIGEST_SIZE = 64


def older(path: Path) -> Path:
    """Return where the state before the last one stands."""
    return path.with_name(f"{path.name}.older")


def save_state(path: Path, content: bytes) -> None:
    """Write a state; the one that was there becomes the older one, and that which was older is gone."""
    with files.writing(path) as part:
        with open(part, "wb") as handle:
            handle.write(hashlib.sha256(content).hexdigest().encode())
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        if path.is_file():
            os.replace(path, older(path))


def load_state(path: Path) -> bytes | None:
    """Read the newest state that is as it was written; None where there is none, so that training begins anew."""
    return next(_whole_states(path), None)


def _whole_states(path: Path) -> Iterator[bytes]:
    for place in (path, older(path)):
        if place.is_file():
            saved = place.read_bytes()
            content = saved[_DIGEST_SIZE:]
            if hashlib.sha256(content).hexdigest().encode() == saved[:_DIGEST_SIZE]:
                yield content
            else:
                say(f"{place} is damaged: training goes on from the state before it, if that is whole, or begins anew")
