"""Carry out a plan on warm single-threaded processes: with progress, resumption and whole results or none."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Self

from dontstop.errors import StudyError
from dontstop.machine.processes import CONTEXT, ask_for_large_pages, be_worker, num_cores, pool
from dontstop.machine.progress import Job, Progress, say

_reports: Any = None  # in a worker: the queue on which running jobs tell how far they are
_warm: list["_Worker"] | None = None


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
    with _workers(num_workers) as workers:
        _drive(workers, progress)
    progress.show()


class _Worker:
    """A process with an executor of its own, so that one that is killed takes no other along.

    Attributes:
        reports: The queue on which its jobs tell how far they are: its own too, since whoever is killed may hold it.
    """

    def __init__(self):
        self._stack = contextlib.ExitStack()
        self._start()

    def _start(self) -> None:
        self.reports = CONTEXT.Queue()
        self._executor = self._stack.enter_context(pool(1, _start_worker, self.reports))

    def submit(self, *call) -> Future:
        """Submit function(*arguments); a process that was killed while it was idle is replaced."""
        try:
            return self._executor.submit(*call)
        except BrokenProcessPool:
            self._stack.close()
            self._start()
            return self._executor.submit(*call)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error) -> None:
        self._stack.__exit__(*error)


@contextlib.contextmanager
def warm_workers() -> Iterator[None]:
    """Keep worker processes from one plan of a block to the next, since they take seconds to start.

    They end with the block; those of a plan that fails, with the plan.
    """
    global _warm
    if _warm is not None:
        yield
        return
    _warm = []
    try:
        yield
    finally:
        kept, _warm = _warm, None
        for worker in kept:
            worker.__exit__(None, None, None)


@contextlib.contextmanager
def _workers(number: int) -> Iterator[list[_Worker]]:
    """Give workers, whose processes start with their first jobs, warm ones if there are some; the warmest last."""
    ask_for_large_pages()
    taken = [_warm.pop() for _ in range(min(number, len(_warm or [])))]
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(worker) for worker in taken[::-1]]
        workers[:0] = [stack.enter_context(_Worker()) for _ in range(number - len(workers))]
        yield workers
        if _warm is not None:
            _warm.extend(workers)
            stack.pop_all()


class _Lost(Exception):
    """A process that shared a job was killed."""


def _drive(idle: list[_Worker], progress: Progress) -> None:
    """Do the jobs on workers that have nothing to do yet; one whose process is killed is used no more."""
    waiting, running, again = list(progress.jobs), {}, set()
    while waiting or running:
        ready, num_workers = progress.ready(waiting), len(idle) + len(running)
        for job in _startable(ready, [job for job, _ in running.values()], num_workers):
            waiting.remove(job)
            spare = num_workers // max(1, min(len(ready) + len(running), num_workers))
            worker = idle.pop()
            running[worker.submit(_run, job, spare if job.divisible and job.key not in again else 1)] = job, worker
        ended, _ = wait(running, timeout=min(1.0, progress.seconds_to_line()), return_when=FIRST_COMPLETED)
        for _, worker in running.values():
            while not worker.reports.empty():
                progress.note(*worker.reports.get())
        for future in ended:
            job, worker = running.pop(future)
            if isinstance(error := future.exception(), BrokenProcessPool | _Lost):
                left = [*idle, *(other for _, other in running.values())] or [worker]
                _say_killed(job, again, num_workers, len(left), error)
                waiting.insert(0, job)
                idle += [worker] if worker in left else []
                continue
            _raise_if_failed(error, job)
            progress.done.add(job.key)
            idle.append(worker)
        progress.tell()


def _say_killed(job: Job, again: set[str], num_workers: int, num_left: int, error: BaseException) -> None:
    """Say that a job is done again, since its process was killed, for the first time.

    Raises:
        StudyError: If it is the second.
    """
    if job.key in again:
        raise StudyError(
            f"a worker process was killed while it did {job.name}, for the second time",
            "workers that live until their jobs are done (memory is the usual reason)",
            "lower speed.num_workers, or free memory, and give the same command again: finished runs are kept",
        ) from error
    again.add(job.key)
    fewer = f", with {num_left} worker{'s' * (num_left > 1)} in place of {num_workers}" * (num_left < num_workers)
    say(f"the process that did {job.name} was killed (memory is the usual reason): it is done again{fewer}")


def _startable(ready: list[Job], running: list[Job], num_workers: int) -> list[Job]:
    """Choose the jobs to start now: as many as there are idle processes, or one that must be alone."""
    if any(job.alone for job in running):
        return []
    alone = [job for job in ready if job.alone]
    if alone:
        return [] if running else alone[:1]
    return ready[: num_workers - len(running)]


def _raise_if_failed(failure: BaseException | None, job: Job) -> None:
    import torch
    from safetensors import SafetensorError

    again = "and give the same command again: finished runs are kept"
    try:
        if failure is not None:
            raise failure
    except torch.OutOfMemoryError as error:
        raise StudyError(
            f"the GPU's memory full while doing {job.name}",
            "room for it, beside the jobs at work at the same time",
            "set speed.num_workers lower (fine-tuning), or the phase's sequences_at_once (pretraining), "
            f"{again}, and the results stay the same but for rounding",
        ) from error
    except RuntimeError as error:
        if "file </torch_" not in str(error):  # as torch names shared memory
            raise
        raise StudyError(
            f"no room for shared memory while doing {job.name}: {error}",
            "room for the gradients of processes that train together (in /dev/shm, of a container too)",
            f"give it more (docker run --shm-size=1g), or set speed.num_workers: 1, {again}",
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
    except StudyError as error:
        if isinstance(error.__cause__, threading.BrokenBarrierError):
            raise _Lost(str(error)) from None
        raise
    finally:
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # what an idle process keeps of a GPU is missing to the others
