"""Studies in forked processes, which have everything imported: stopped or hurt at random instants and file calls."""

import collections
import contextlib
import errno
import functools
import mmap
import multiprocessing
import os
import random
import resource
import signal
import socket
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import tiny
from dontstop import __main__
from dontstop.fetch import task_files  # noqa: F401 (imported late by commands, for a second)
from dontstop.machine import locks, processes, runner
from dontstop.runs.identity import code_digest
from dontstop.training import process_group

FILE_CALLS = {"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "shutil.rmtree"}
WRITES = {"os.rename", "os.link", "os.mkdir"}  # and opening to write
PATIENCE_SECONDS = 900
FINISHED = ("work/results/*.json", "work/??/*/training.json")
# How a command is stopped: the signals that its group, its main process or one worker is sent, and the exit codes then.
WAYS = {
    "kill -9 of all": ("group", [signal.SIGKILL], {-signal.SIGKILL}),
    "kill -9 of the main process": ("main", [signal.SIGKILL], {-signal.SIGKILL}),
    "kill -9 of a worker": ("worker", [signal.SIGKILL], {0}),
    "Ctrl-C": ("group", [signal.SIGINT], {130}),
    "Ctrl-C twice": ("group", [signal.SIGINT] * 2, {130, -signal.SIGINT}),
    "SIGTERM": ("group", [signal.SIGTERM], {143}),
    "SIGHUP": ("group", [signal.SIGHUP], {129}),
}


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


def start(
    root: Path,
    *command: str,
    heed: Callable[[str, tuple], None] | None = None,
    begin: Callable[[], None] = lambda: None,
    **environment: str,
) -> int:
    """Give a command in a new process, whose id is that of its group too; it and its workers have all imported.

    Args:
        heed: Called with each call on files under the root and its arguments, before it is done.
        begin: Called first, in the new process.
    """

    def give() -> None:
        os.environ |= {"DONTSTOP_ROOT": str(root), **environment}
        if heed is not None:
            sys.addaudithook(functools.partial(_heed, str(root), heed))
        begin()
        _give(command)

    return fork(root / "log", give)


def _heed(root: str, heed: Callable[[str, tuple], None], event: str, arguments: tuple) -> None:
    if event in FILE_CALLS and str(arguments[0]).startswith(root) and not str(arguments[0]).endswith("log"):
        heed(event, arguments)


def start_group(root: Path, number: int, *command: str) -> list[int]:
    """Give a command to the processes that torchrun would start."""
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        port = str(some.getsockname()[1])
    common = {"TORCHELASTIC_RUN_ID": port, "WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(number)]
    return [start(root, *command, **common, **rank) for rank in ranks]


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


def _give(command: tuple[str, ...]) -> None:
    forked = multiprocessing.get_context("fork")
    processes.CONTEXT = runner.CONTEXT = process_group.CONTEXT = forked
    os.register_at_fork(after_in_child=_hear_as_spawned)
    runner._warm, sys.argv = None, ["dontstop", *command]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # as a terminal would have it, and nohup would not
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    __main__.main()


def _hear_as_spawned() -> None:
    """Heed signals as workers do that have started: one that is forked begins with its parent's handlers."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@functools.cache
def warm() -> None:
    """Do once, before processes are forked, what each of them would do in its first second."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for entry in ("runs/pretraining.py", "runs/finetuning.py"):
        code_digest(entry)
    from transformers import RobertaForMaskedLM, RobertaForSequenceClassification  # noqa: F401


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
        with locks.locked(lock, wait=False) as is_free:
            left += [] if is_free else [str(lock)]
    return left


def at_call(calls: Calls, number: int) -> Callable[[str, tuple], None]:
    """Count calls, and kill the group at one of them; 0 for none."""

    def heed(event: str, arguments: tuple) -> None:
        if calls.count() == number:
            os.killpg(0, signal.SIGKILL)

    return heed


def stop(process: int, way: str, rng: random.Random) -> bool:
    """Stop a command that goes on, in one of the WAYS; return whether there was one to stop."""
    whom, numbers, _ = WAYS[way]
    workers = [other for other in orphans(process) if other != process]
    if whom == "worker" and not workers:
        return False
    chosen = rng.choice(workers) if whom == "worker" else process
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if whom == "group" else os.kill)(chosen, number)
        time.sleep(rng.uniform(0, 0.05))
    return True


class Killer:
    """Stops commands until they come through.

    Attributes:
        stops: How many of each of the WAYS there were.
    """

    def __init__(self, rng: random.Random):
        self._rng, self.stops = rng, collections.Counter()

    def until_through(self, root: Path, command: tuple[str, ...], num_calls: int, most: int) -> None:
        """Give a command, stop it at one of its calls on files or shortly after, and give it again.

        What was finished when it was stopped must be the same file afterwards; and nobody may live on.

        Args:
            num_calls: That it takes if nothing disturbs it.
            most: Stops, before it is let through.
        """
        done: dict = {}
        for _ in range(most):
            way, (code, said) = self._stopped(root, command, self._rng.randrange(1, num_calls))
            now = finished(root)
            assert done.items() <= now.items(), "what was finished was made again"
            done = now
            if way is None:  # it came through
                assert code == 0, (code, said)
                return
            self.stops[way] += 1
            assert code in WAYS[way][2], (way, code, said)
            assert "Traceback" not in said, (way, said)
            if code in (130, 143, 129):
                assert "goes on from there" in said.splitlines()[-1], (way, said)
        finish(root, *command)
        assert done.items() <= finished(root).items(), "what was finished was made again"

    def _stopped(self, root: Path, command: tuple[str, ...], number: int) -> tuple[str | None, tuple[int, str]]:
        """Return how a command was stopped, if it was, its exit code and its lines."""
        (root / "log").unlink(missing_ok=True)
        way, calls = self._rng.choice([*WAYS, *["kill -9 of all"] * 5]), Calls()
        by_itself = way == "kill -9 of all" and self._rng.random() < 0.5
        process = start(root, *command, heed=at_call(calls, number if by_itself else 0))
        code, until = None, time.monotonic() + PATIENCE_SECONDS
        while code is None and time.monotonic() < until and (by_itself or calls.number() < number):
            code = end(process, 0.01)
        if code is None:
            code = end(process, self._rng.uniform(0, 0.05))
        is_stopped = code == -signal.SIGKILL or code is None and stop(process, way, self._rng)
        code = end(process) if code is None else code
        leave_none(process)
        is_stopped &= code != 0 or way == "kill -9 of a worker"  # else it had ended already
        return way if is_stopped else None, (code, (root / "log").read_text()[-3000:])


class Fault:
    """A disk that fails.

    Args:
        kind: `full`: from one call on, nothing can be written; `broken`: one call meets an input/output error;
            `limit`: no file may grow larger, whoever writes it.
        rng: Chooses the call, or the size.
    """

    KINDS = ("full", "broken", "limit")

    def __init__(self, kind: str, rng: random.Random, num_calls: int):
        self.kind, self._calls, self._number = kind, Calls(), rng.randrange(1, num_calls)
        self._size = round(4_000 * 5 ** rng.random())

    def begin(self) -> None:
        """Limit the sizes of files, in the process that is to meet the fault."""
        if self.kind == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    def heed(self, event: str, arguments: tuple) -> None:
        """Raise what the system would.

        Raises:
            OSError: At the chosen call.
        """
        number = self._calls.count()
        writes = event in WRITES or event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if self.kind == "full" and number >= self._number and writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))
        if self.kind == "broken" and number == self._number:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(arguments[0]))


def told(root: Path, *command: str, **how) -> tuple[int, str]:
    """Give a command to its end, and return its exit code and its lines; `how` as of `start`."""
    (root / "log").unlink(missing_ok=True)
    process = start(root, *command, **how)
    code = end(process)
    leave_none(process)
    return code, (root / "log").read_text()
