"""Worker processes: one thread each, warm, and gone when their parent is gone."""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait

CONTEXT = multiprocessing.get_context("spawn")


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def be_worker() -> None:
    """Make this process a worker: one thread for arithmetic, and no life after its parent's.

    Two OpenMP threads in a process collapse as soon as anything else wants a core; one thread a process does not,
    and gives the same bits on any number of cores.
    """
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


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
