"""Carry out a plan on warm single-threaded processes: with progress, resumption and whole results or none."""

import contextlib
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dontstop.errors import StudyError
from dontstop.machine.processes import CONTEXT, ask_for_large_pages, be_worker, num_cores

PLURALS = {"checkpoint": "checkpoints", "run": "runs", "loss": "losses", "selection": "selections"}

_reports: Any = None  # in a worker: the queue on which running jobs tell how far they are


@dataclass
class Job:
    """One piece of work for one process.

    Attributes:
        key: Unique; the job's fingerprint.
        name: For people.
        kind: `checkpoint`, `run`, `loss` or `selection`; the progress line counts them apart.
        size: How much work it is, in tokens trained or the like; for the estimate only.
        function: Called in a worker as function(*arguments); with num_processes and progress too if `divisible`.
        needs: Keys of jobs that must have ended first, if they are in the same run.
        divisible: Whether idle processes can share the job.
        alone: Whether nothing else may run beside it: one that may need all of a GPU's memory.
    """

    key: str
    name: str
    kind: str
    size: float
    function: Callable
    arguments: tuple
    needs: frozenset[str] = frozenset()
    divisible: bool = False
    alone: bool = False


class PassingLine:
    """A line that the next one takes the place of, in a notebook's cell; elsewhere a line each.

    Else an hour's run would leave hundreds of them in the notebook. Who runs the notebook from a terminal sees all of
    them there.
    """

    def __init__(self):
        self._shown = None
        # What ipykernel keeps of the kernel's own stderr, which is papermill's or the server's.
        self._terminal = getattr(sys.stderr, "_original_stdstream_copy", None)

    def say(self, line: str) -> None:
        """Show a line, where the last one stood if it can be."""
        if self._terminal is None:
            say(line)
        elif self._shown is None:
            from IPython.display import display

            self._shown = display({"text/plain": line}, raw=True, display_id=True)
        else:
            self._shown.update({"text/plain": line}, raw=True)
            os.write(self._terminal, f"{line}\n".encode())


@dataclass
class Progress:
    """What a running plan tells: done, left, how long still."""

    title: str
    jobs: Sequence[Job]
    done: set[str] = field(default_factory=set)
    parts: dict[str, float] = field(default_factory=dict)  # share done of running jobs, by key
    found: dict[str, float] = field(default_factory=dict)  # share that a resumed job found done, by key
    begin: float = field(default_factory=time.monotonic)
    _shown: PassingLine = field(default_factory=PassingLine)

    def show(self) -> None:
        """Show the progress as it is now, where it was shown last if that can be."""
        self._shown.say(self.line())

    def line(self) -> str:
        """Return the progress as one line."""
        counts = []
        for kind in dict.fromkeys(job.kind for job in self.jobs):
            of_kind = [job.key for job in self.jobs if job.kind == kind]
            counts.append(f"{len(self.done.intersection(of_kind))}/{len(of_kind)} {PLURALS[kind]}")
        running = [
            f"{job.name} {100 * self.parts[job.key]:.0f} %"
            for job in self.jobs
            if job.key in self.parts and job.key not in self.done and job.kind == "checkpoint"
        ]
        elapsed = time.monotonic() - self.begin
        left = sum(job.key not in self.done for job in self.jobs)
        text = f"{self.title}: {', '.join(counts)} done, {left} left, {duration(elapsed)} so far"
        if (remaining := self.remaining_seconds()) is not None and left:
            text += f", about {duration(remaining)} to go"
        return text + (f" (now: {', '.join(running)})" if running else "")

    def remaining_seconds(self) -> float | None:
        """Estimate the seconds left from the work done so far; None before there is any."""
        total = sum(job.size * (1 - self.found.get(job.key, 0.0)) for job in self.jobs)
        shares = {job.key: 1.0 if job.key in self.done else self.parts.get(job.key, 0.0) for job in self.jobs}
        finished = sum(job.size * (shares[job.key] - self.found.get(job.key, 0.0)) for job in self.jobs)
        elapsed = time.monotonic() - self.begin
        return elapsed * (total - finished) / finished if finished > 0.002 * total else None


def duration(seconds: float) -> str:
    """Write seconds as people do: `45 s`, `3 min 20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def say(line: str) -> None:
    """Print a line at once, in a terminal, a log or a notebook alike."""
    print(line, flush=True)


@contextlib.contextmanager
def telling(title: str, progress_seconds: float) -> Iterator[None]:
    """Say that a block has begun, every so often that it is still at work, and how long it took."""
    begin, ended = time.monotonic(), threading.Event()

    def tell() -> None:
        while not ended.wait(progress_seconds):
            say(f"{title}: {duration(time.monotonic() - begin)} so far")

    say(title)
    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    say(f"{title}: done in {duration(time.monotonic() - begin)}")


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
    title: str,
    jobs: Sequence[Job],
    *,
    num_workers: int | None = None,
    progress_seconds: float = 5.0,
    finished: Callable[[Job], None] = lambda job: None,
) -> None:
    """Do all jobs, needs first, on as many processes as there are cores.

    Each job stores its own result before it ends; what has ended stays, whatever happens to the rest.

    Args:
        finished: Called here, in the parent, after each job.

    Raises:
        StudyError: The first one that a job raised; the jobs still running are stopped, and what has ended stays.
    """
    if not jobs:
        return
    num_workers = min(num_workers or num_cores(), max(len(jobs), num_cores()))
    progress = Progress(title, jobs)
    reports = CONTEXT.Queue()
    say(f"{title}: {len(jobs)} jobs on {num_workers} single-threaded processes")
    ask_for_large_pages()
    executor = ProcessPoolExecutor(num_workers, CONTEXT, _start_worker, (reports,))
    before = set(multiprocessing.active_children())
    try:
        _drive(executor, jobs, progress, reports, num_workers, progress_seconds, finished)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.kill()  # an interrupted notebook leaves nobody at work behind its back
        raise
    executor.shutdown()
    progress.show()


def _drive(executor, jobs, progress, reports, num_workers, progress_seconds, finished) -> None:
    waiting, running = list(jobs), {}
    keys = {job.key for job in jobs}
    last = time.monotonic()
    while waiting or running:
        ready = [job for job in waiting if not ((job.needs & keys) - progress.done)]
        for job in _startable(ready, list(running.values()), num_workers):
            waiting.remove(job)
            spare = num_workers // max(1, min(len(ready) + len(running), num_workers)) if job.divisible else 1
            running[executor.submit(_run, job, spare)] = job
        until_line = max(0.0, last + progress_seconds - time.monotonic())
        ended, _ = wait(running, timeout=min(1.0, until_line), return_when=FIRST_COMPLETED)
        while not reports.empty():
            key, share = reports.get()
            progress.found.setdefault(key, share)
            progress.parts[key] = share
        for future in ended:
            job = running.pop(future)
            _raise_if_failed(future, job)
            progress.done.add(job.key)
            finished(job)
        if time.monotonic() - last >= progress_seconds:
            progress.show()
            last = time.monotonic()


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

    try:
        future.result()
    except BrokenProcessPool as error:
        raise StudyError(
            f"a worker process was killed while it did {job.name} or a job beside it",
            "workers that live until their jobs are done (memory is the usual reason)",
            "lower speed.num_workers, or free memory, and give the same command again: finished runs are kept",
        ) from error
    except torch.OutOfMemoryError as error:
        raise StudyError(
            f"the GPU's memory full while doing {job.name}",
            "room for it, beside the jobs at work at the same time",
            "set speed.num_workers lower (fine-tuning), or the phase's sequences_at_once (pretraining), and give the "
            "same command again: what is finished is kept, and the results stay the same but for rounding",
        ) from error
    except OSError as error:
        raise StudyError(
            f"{error} while doing {job.name}",
            "room on the disk, and files that can be read and written",
            "mend that and give the same command again: finished runs are kept",
        ) from error


def _start_worker(reports) -> None:
    global _reports
    _reports = reports
    _quiet_worker()


def _quiet_worker() -> None:
    be_worker()
    from transformers.utils import logging  # imports what every job needs

    logging.disable_progress_bar()  # one progress line is enough
    logging.set_verbosity_error()


def work_alone(job: Job, num_processes: int) -> None:
    """Do one job in this process, which nobody waits for line by line."""
    _quiet_worker()
    more = {"num_processes": num_processes, "progress": lambda done, total: None} if job.divisible else {}
    job.function(*job.arguments, **more)


def work_together(title: str, job: Job, progress_seconds: float, **how) -> None:
    """Do this process's part of a job that several do together, and tell of it; `how` goes to the job's function."""
    _quiet_worker()
    progress, last = Progress(title, [job]), 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        progress.found.setdefault(job.key, (done - 1) / total)
        progress.parts[job.key] = done / total
        if time.monotonic() - last >= progress_seconds:
            last = time.monotonic()
            progress.show()

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
        if job.divisible:
            job.function(*job.arguments, num_processes=num_processes, progress=report)
        else:
            job.function(*job.arguments)
    finally:
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # what an idle process keeps of a GPU is missing to the others
