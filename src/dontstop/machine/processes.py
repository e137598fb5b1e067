"""Worker processes: one thread each, warm, and gone when their parent is gone."""

import contextlib
import ctypes
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from dontstop.errors import StudyError
from dontstop.machine.progress import say

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt's parameters, from malloc.h

# Read when a process starts: large pages for large blocks, 5 to 10 % of a small encoder's step.
_LARGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


class _Deaf(SpawnProcess):
    """A process that Ctrl-C does not reach from its first instant on, while it imports too: its parent heeds it."""

    def start(self) -> None:
        """Start it; what is blocked here is blocked there."""
        if not hasattr(signal, "pthread_sigmask"):
            return super().start()
        resource_tracker.ensure_running()  # which would unblock it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Spawning(SpawnContext):
    Process = _Deaf


CONTEXT = _Spawning()


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ask_for_large_pages() -> None:
    """Let the processes started from here on use large memory pages, unless the user's environment says otherwise."""
    for name, value in _LARGE_PAGES.items():
        os.environ.setdefault(name, value)


def be_worker() -> None:
    """Make this process a worker: one thread for arithmetic, and no life after its parent's.

    Two OpenMP threads in a process collapse as soon as anything else wants a core; one thread a process does not,
    and gives the same bits on any number of cores.
    """
    import torch

    torch.set_num_threads(1)
    _keep_memory()
    end_with_parent()


def end_with_parent() -> None:
    """Let this process, if another started it, live no longer than that one, which alone heeds a Ctrl-C."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _keep_memory() -> None:
    """Let the allocator keep big blocks that are freed, instead of faulting the same pages in again at every step."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc has these switches
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def _return_memory() -> None:
    """Give back what is freed but kept by the allocator, before other processes need it."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc can
        ctypes.CDLL(None).malloc_trim(0)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)  # kill -9 of the parent must leave no orphan that goes on writing


@dataclass
class Result:
    """What a call in another process, or a later one in this, returns."""

    result: Callable[[], Any]
    name: str
    again: Callable[[], Any] | None = None  # where a process can be killed: does the call in another one

    def get(self) -> Any:
        """Wait for it, or work it out; what a killed process was to do is done once more.

        Raises:
            StudyError: If the process was killed again; and whatever the call raised.
        """
        try:
            return self.result()
        except BrokenProcessPool as error:
            if self.again is not None:
                return Result(self.again, self.name).get()
            raise StudyError(
                f"a worker process was killed while it did {self.name}, for the second time",
                "workers that live until their work is done (memory is the usual reason)",
                "free memory, and give the same command again",
            ) from error


class _Listed:
    """The context, with a list of what was started through it: an executor does not tell its processes."""

    def __init__(self):
        self.processes = []

    def Process(self, *arguments, **more):
        self.processes.append(CONTEXT.Process(*arguments, **more))
        return self.processes[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(CONTEXT, name)


@contextlib.contextmanager
def pool(num_workers: int, start: Callable[..., None], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """Give worker processes that begin with start(*arguments); if the block fails, they are killed where they stand."""
    context = _Listed()
    executor = ProcessPoolExecutor(num_workers, context, start, arguments)
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        children = [process for process in context.processes if process.pid is not None and process.is_alive()]
        for child in children:  # and no other pool's
            child.kill()  # an interrupted notebook leaves nobody at work behind its back
        for child in children:
            child.join()  # so that none writes into a folder that is about to be removed
        raise
    executor.shutdown()


@contextlib.contextmanager
def text_workers(num_workers: int) -> Iterator[Callable[..., Result]]:
    """Give submit(name, function, *arguments) -> Result, for work on text that needs no PyTorch and little memory.

    One worker is this process itself, which does the work when its result is asked for.
    """
    if num_workers <= 1:
        yield lambda name, function, *arguments: Result(lambda: function(*arguments), name)
        return
    _return_memory()
    with pool(num_workers, _start_text_worker) as executor, contextlib.ExitStack() as stack:
        alone: list[ProcessPoolExecutor] = []

        def again(name: str, function: Callable, *arguments: Any) -> Any:
            if not alone:
                say(f"a process was killed (memory is the usual reason): {name}, and what is left, once more by one")
                alone.append(stack.enter_context(pool(1, _start_text_worker)))
            return alone[0].submit(function, *arguments).result()

        def submit(name: str, function: Callable, *arguments: Any) -> Result:
            repeated = functools.partial(again, name, function, *arguments)
            try:
                return Result(executor.submit(function, *arguments).result, name, repeated)
            except BrokenProcessPool:
                return Result(repeated, name)

        yield submit


def _start_text_worker() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a process a core is enough
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # its own keeps more of what is freed
    end_with_parent()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Do a block's arithmetic on one thread: sums come in one order, on any machine of the same kind."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
