"""Worker processes: one thread each, warm, and gone when their parent is gone."""

import contextlib
import ctypes
import multiprocessing
import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt's parameters, from malloc.h

# Read when a process starts: large pages for large blocks, 5 to 10 % of a small encoder's step.
_LARGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

CONTEXT = multiprocessing.get_context("spawn")


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
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _keep_memory() -> None:
    """Let the allocator keep big blocks that are freed, instead of faulting the same pages in again at every step."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc has these switches
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)  # kill -9 of the parent must leave no orphan that goes on writing


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
