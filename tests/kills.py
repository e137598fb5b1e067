"""Studies in forked processes, which have everything imported, killed at random instants and file calls."""

import contextlib
import mmap
import multiprocessing
import os
import random
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import tiny
from dontstop import cli
from dontstop.machine import processes, runner
from dontstop.training import process_group

FILE_CALLS = {"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "shutil.rmtree"}
PATIENCE_SECONDS = 600
FINISHED = ("work/results/*.json", "work/??/*/training.json")


class Calls:
    """The file calls of a group of processes, counted in memory that they share."""

    def __init__(self):
        self._memory = mmap.mmap(-1, 8)

    def count(self) -> int:
        """Count one more, and return how many there are."""
        number = self.number() + 1
        self._memory[:8] = struct.pack("q", number)
        return number

    def number(self) -> int:
        """Return how many there are."""
        return struct.unpack("q", self._memory[:8])[0]


def start(root: Path, *command: str, calls: Calls | None = None, kill_at: int = 0, **environment: str) -> int:
    """Give a command in a new process, whose id is that of its group too; it and its workers have all imported.

    Args:
        calls: Counts the calls on files under the root.
        kill_at: The number of the call at which the group is killed.
    """

    def give() -> None:
        os.environ |= {"DONTSTOP_ROOT": str(root), **environment}
        _watch(root, calls or Calls(), kill_at)
        _give(command)

    return fork(root / "log", give)


def fork(log: Path, function: Callable[[], None]) -> int:
    """Call a function in a new process, whose id is that of its group too and whose lines go into a log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which none here needs
        process = os.fork()
    if process == 0:
        code = 71
        try:
            os.setsid()
            warnings.simplefilter("ignore")  # of forks beside threads again; tests make errors of them
            lines = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(lines, 1)
            os.dup2(lines, 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
            function()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return process


def _watch(root: Path, calls: Calls, kill_at: int) -> None:
    def heed(event: str, arguments: tuple) -> None:
        if event in FILE_CALLS and str(arguments[0]).startswith(str(root)) and calls.count() == kill_at:
            os.killpg(0, signal.SIGKILL)

    sys.addaudithook(heed)


def _give(command: tuple[str, ...]) -> None:
    forked = multiprocessing.get_context("fork")
    processes.CONTEXT = runner.CONTEXT = process_group.CONTEXT = forked
    runner._warm, sys.argv = None, ["dontstop", *command]
    cli.main()


def end(process: int, seconds: float = PATIENCE_SECONDS) -> int | None:
    """Wait for a process, and return its exit code, negative where a signal ended it; None if it goes on."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def finish(root: Path, *command: str, **environment: str) -> None:
    """Give a command and wait for its good end."""
    code = end(start(root, *command, **environment))
    assert code == 0, (code, (root / "log").read_text()[-3000:])


def orphans(group: int) -> list[int]:
    """List the living processes of a group."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of_group = place.read_text().rpartition(")")[2].split()[:3]
            if int(of_group) == group and state not in "ZX":
                found.append(int(place.parent.name))
    return found


def leave_none(group: int) -> None:
    """Wait a little until no process of a group lives."""
    until = time.monotonic() + 30
    while orphans(group):
        assert time.monotonic() < until, f"processes live on: {orphans(group)}"
        time.sleep(0.01)


def finished(root: Path) -> dict[str, tuple[int, int]]:
    """Return the finished results of a study with what changes if one is made again: its file's number and time."""
    found = [(path, path.stat()) for pattern in FINISHED for path in root.glob(pattern)]
    return {str(path): (about.st_ino, about.st_mtime_ns) for path, about in found}


def left_over(root: Path) -> list[str]:
    """List what is left of killed commands: parts, states, locks that are held."""
    left = tiny.unfinished(root) + [str(path) for path in root.glob("work/??/*/state.*")]
    for lock in root.glob("work/**/*.lock"):
        with runner.locked(lock, wait=False) as is_free:
            left += [] if is_free else [str(lock)]
    return left


class Killer:
    """Kills commands until they come through, and counts.

    Attributes:
        kills: So far.
    """

    def __init__(self, rng: random.Random):
        self._rng, self.kills = rng, 0

    def until_through(self, root: Path, command: tuple[str, ...], seconds: float, num_calls: int, most: int) -> None:
        """Give a command, kill it at an instant of its seconds or at one of its calls, and give it again.

        What was finished when it was killed must be the same file afterwards; and nobody may live on. The main process
        alone is killed now and then: its workers must end by themselves.

        Args:
            most: Kills, before it is let through.
        """
        done: dict = {}
        for _ in range(most):
            by_call, alone = self._rng.random() < 0.5, self._rng.random() < 0.25
            process = start(root, *command, kill_at=self._rng.randrange(1, num_calls) if by_call else 0)
            code = end(process, PATIENCE_SECONDS if by_call else self._rng.uniform(0, seconds))
            if code is None:
                (os.kill if alone else os.killpg)(process, signal.SIGKILL)
                code = end(process)
            leave_none(process)
            now = finished(root)
            assert done.items() <= now.items(), "what was finished was made again"
            done = now
            if code == 0:
                return
            assert code == -signal.SIGKILL, (root / "log").read_text()[-3000:]
            self.kills += 1
        finish(root, *command)
        assert done.items() <= finished(root).items(), "what was finished was made again"
