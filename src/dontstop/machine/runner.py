"""Carry out a plan on warm single-threaded processes: with progress, resumption and whole results or none."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dontstop.errors import StudyError
from dontstop.machine.processes import CONTEXT, ask_for_large_pages, be_worker, num_cores, pool
from dontstop.machine.progress import Job, Progress, say

_reports: Any = None  # in a worker: the queue on which running jobs tell how far they are
_warm: dict[int, tuple[contextlib.ExitStack, ProcessPoolExecutor, Any]] | None = None  # by the number of workers


@contextlib.contextmanager
def locked(lock: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock, and give whether it is held; a dead holder's is free.

    Args:
        wait: Until another holder lets it go; else what it guards is left alone where it is held by another.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = FileLock(lock, timeout=-1 if wait else 0)
    try:
        handle.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        handle.release()


@contextlib.contextmanager
def only_run(lock: Path) -> Iterator[None]:
    """Hold a study's lock, so that one run at a time fills its folders.

    Raises:
        StudyError: If another run holds it.
    """
    holder = lock.with_suffix(".process")
    with locked(lock, wait=False) as held:
        if not held:
            process = holder.read_text().strip() if holder.is_file() else "unknown"
            raise StudyError(
                f"another run of this study under way (process {process})",
                "one run at a time",
                "wait for it or stop it; then give the same command again",
            )
        holder.write_text(str(os.getpid()))
        yield


def carry_out(
    title: str, jobs: Sequence[Job], *, num_workers: int | None = None, progress_seconds: float = 5.0
) -> None:
    """Do all jobs, needs first, on as many processes as there are cores.

    Each job stores its own result before it ends; what has ended stays, whatever happens to the rest.

    Raises:
        StudyError: The first one that a job raised; the jobs still running are stopped, and what has ended stays.
    """
    if not jobs:
        return
    num_workers = min(num_workers or num_cores(), max(len(jobs), num_cores()))
    progress = Progress(title, jobs, progress_seconds)
    say(f"{title}: {len(jobs)} jobs on {num_workers} single-threaded processes")
    with _workers(num_workers) as (executor, reports):
        _drive(executor, progress, reports, num_workers)
    progress.show()


@contextlib.contextmanager
def warm_workers() -> Iterator[None]:
    """Keep worker processes from one plan of a block to the next, since they take seconds to start.

    They end with the block; those of a plan that fails, with the plan.
    """
    global _warm
    if _warm is not None:
        yield
        return
    _warm = {}
    try:
        yield
    finally:
        kept, _warm = _warm, None
        for stack, _, _ in kept.values():
            stack.close()


@contextlib.contextmanager
def _workers(num_workers: int) -> Iterator[tuple[ProcessPoolExecutor, Any]]:
    """Give worker processes, warm ones if there are some, and the queue on which their jobs tell how far they are."""
    stack, executor, reports = (_warm or {}).pop(num_workers, None) or (contextlib.ExitStack(), None, CONTEXT.Queue())
    with stack:
        if executor is None or not _at_hand(executor):
            ask_for_large_pages()
            executor = stack.enter_context(pool(num_workers, _start_worker, reports))
        yield executor, reports
        if _warm is not None:
            _warm[num_workers] = stack.pop_all(), executor, reports


def _at_hand(executor: ProcessPoolExecutor) -> bool:
    """Whether none of the idle workers was killed meanwhile."""
    try:
        return executor.submit(bool, True).result()
    except BrokenProcessPool:
        return False


def _drive(executor: ProcessPoolExecutor, progress: Progress, reports, num_workers: int) -> None:
    waiting, running = list(progress.jobs), {}
    while waiting or running:
        ready = progress.ready(waiting)
        for job in _startable(ready, list(running.values()), num_workers):
            waiting.remove(job)
            spare = num_workers // max(1, min(len(ready) + len(running), num_workers)) if job.divisible else 1
            running[executor.submit(_run, job, spare)] = job
        ended, _ = wait(running, timeout=min(1.0, progress.seconds_to_line()), return_when=FIRST_COMPLETED)
        while not reports.empty():
            progress.note(*reports.get())
        for future in ended:
            job = running.pop(future)
            _raise_if_failed(future, job)
            progress.done.add(job.key)
        progress.tell()


def _startable(ready: list[Job], running: list[Job], num_workers: int) -> list[Job]:
    """Choose the jobs to start now: as many as there are idle processes, or one that must be alone."""
    if any(job.alone for job in running):
        return []
    alone = [job for job in ready if job.alone]
    if alone:
        return [] if running else alone[:1]
    return ready[: num_workers - len(running)]


def _raise_if_failed(future: Future, job: Job) -> None:
    import torch
    from safetensors import SafetensorError

    again = "and give the same command again: finished runs are kept"
    try:
        future.result()
    except BrokenProcessPool as error:
        raise StudyError(
            f"a worker process was killed while it did {job.name} or a job beside it",
            "workers that live until their jobs are done (memory is the usual reason)",
            f"lower speed.num_workers, or free memory, {again}",
        ) from error
    except torch.OutOfMemoryError as error:
        raise StudyError(
            f"the GPU's memory full while doing {job.name}",
            "room for it, beside the jobs at work at the same time",
            "set speed.num_workers lower (fine-tuning), or the phase's sequences_at_once (pretraining), "
            f"{again}, and the results stay the same but for rounding",
        ) from error
    except SafetensorError as error:
        raise StudyError(
            f"damaged weights while doing {job.name}: {error}",
            "the weights of the encoder that the profile names, as they were written",
            "fetch or copy that encoder anew",
        ) from error
    except OSError as error:
        expected = "room on the disk, and files that can be read and written"
        raise StudyError(f"{error} while doing {job.name}", expected, f"mend that {again}") from error


def _start_worker(reports) -> None:
    global _reports
    _reports = reports
    _be_quiet_worker()


def _be_quiet_worker() -> None:
    be_worker()
    from transformers.utils import logging  # imports what every job needs

    logging.disable_progress_bar()  # one progress line is enough
    logging.set_verbosity_error()


def work_alone(job: Job, num_processes: int) -> None:
    """Do one job in this process, which nobody waits for line by line."""
    _be_quiet_worker()
    _do(job, num_processes, lambda done, total: None)


def _do(job: Job, num_processes: int, progress: Callable[[int, int], None]) -> None:
    more = {"num_processes": num_processes, "progress": progress} if job.divisible else {}
    job.function(*job.arguments, **more)


def work_together(title: str, job: Job, progress_seconds: float, **how) -> None:
    """Do this process's part of a job that several do together, and tell of it; `how` goes to the job's function."""
    _be_quiet_worker()
    progress = Progress(title, [job], progress_seconds)

    def report(done: int, total: int) -> None:
        progress.note(job.key, done / total)
        progress.tell()

    job.function(*job.arguments, progress=report, **how)


def _run(job: Job, num_processes: int) -> None:
    import torch

    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= 1.0:
            last = time.monotonic()
            _reports.put((job.key, done / total))

    try:
        _do(job, num_processes, report)
    finally:
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # what an idle process keeps of a GPU is missing to the others
