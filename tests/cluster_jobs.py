"""What the jobs of the cluster's tests do, in a module that their processes can import."""

import os
import time
from pathlib import Path

from dontstop.errors import StudyError


def write(path, text, num_processes=1, progress=None):
    """Write a text and the number of processes."""
    Path(path).write_text(f"{text} {num_processes}")


def fail(words):
    """Raise a user's error."""
    raise StudyError(words, "better", "mend it")


def die():
    """End as a job ends that the system kills."""
    os._exit(9)


def begin_then_wait(folder):
    """Count the tries in a file; the first try waits to be interrupted, the second ends."""
    tries = Path(folder) / "tries"
    with open(tries, "a") as handle:
        handle.write("x")
    if len(tries.read_text()) == 1:
        time.sleep(600)
    (Path(folder) / "result").write_text("done")
