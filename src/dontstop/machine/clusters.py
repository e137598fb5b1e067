"""Carry out a plan on a cluster through submitit: Slurm's array jobs, or submitit's own executor on one machine."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.processes import ask_for_large_pages
from dontstop.machine.progress import Job, Progress, say
from dontstop.machine.runner import work_alone
from dontstop.profiles import Cluster

POLL_SECONDS = 1.0
CANCEL_SECONDS = 60.0
QUEUED = "queued.json"  # names of the jobs of the run under way


def carry_out(
    title: str, jobs: Sequence[Job], settings: Cluster, folder: Path, *, progress_seconds: float = 5.0
) -> None:
    """Do all jobs, needs first, as jobs of a cluster whose nodes share the study's folders.

    Jobs that are ready together are one array. Each stores its own result, as on one machine; one that is preempted, or
    runs into its time limit, is queued again and goes on from its last save. What has ended stays, whatever happens to
    the rest.

    Args:
        folder: For submitit's scripts and the jobs' logs, seen by all nodes.

    Raises:
        StudyError: If submitit is not installed, Slurm not there, or a job failed; jobs still queued are cancelled.
    """
    if not jobs:
        return
    executor = _executor(settings, folder)
    queued = folder / QUEUED
    if settings.kind == "slurm":
        _cancel_left(queued)
    progress, running = Progress(title, jobs, progress_seconds), {}
    say(f"{title}: {len(jobs)} jobs for {settings.kind}, {settings.parallel} at a time; logs in {folder}")
    try:
        _drive(executor, progress, running, settings, queued)
    except BaseException:
        _cancel(list(running), settings.kind)
        raise  # cancelled jobs take a while to end: the next run waits for those that stand in `queued`
    queued.unlink()
    progress.show()


def _drive(executor, progress: Progress, running: dict[Any, Job], settings: Cluster, queued: Path) -> None:
    waiting = list(progress.jobs)
    while waiting or running:
        ready = progress.ready(waiting)
        if settings.kind == "local":  # Slurm holds an array to its number itself
            ready = ready[: settings.parallel - len(running)]
        if ready:
            running |= _submitted(executor, ready, settings)
            files.write_json(queued, [future.job_id for future in running])
            waiting = [job for job in waiting if job not in ready]
        for future in [future for future in running if future.done()]:
            job = running.pop(future)
            _raise_if_failed(future, job)
            progress.done.add(job.key)
        progress.tell()
        time.sleep(POLL_SECONDS if running else 0.0)


def _cancel(futures: list, kind: str) -> None:
    """Cancel jobs: on Slurm by its own means, on submitit's executor by a signal, until they are gone.

    There submitit sends an interrupt, which processes started in the background are deaf to; the signal to end is
    passed on to the job, and given again, since a job that is just starting overlooks it.
    """
    until = time.monotonic() + CANCEL_SECONDS
    for future in futures if kind == "slurm" else ():
        future.cancel(check=False)
    while kind == "local" and futures and time.monotonic() < until:
        for future in futures:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(future.job_id), signal.SIGTERM)
        time.sleep(POLL_SECONDS)
        futures = [future for future in futures if not future.done()]


def _cancel_left(queued: Path) -> None:
    """Cancel the jobs that a killed or failed run left to Slurm, and wait for their end: they disturb ours."""
    if not queued.is_file():
        return
    names = files.read_json(queued)
    say(f"cancelling {len(names)} jobs that an earlier run left in the queue")
    subprocess.run(["scancel", *names], check=False, capture_output=True)
    until = time.monotonic() + CANCEL_SECONDS
    while (problem := _in_queue(names)) is not None:
        if problem and time.monotonic() > until:
            raise StudyError(
                f"squeue without an answer on jobs of an earlier run: {problem}",
                "to be told that they have ended, since they write where this run does",
                "give the same command again once Slurm answers",
            )
        time.sleep(POLL_SECONDS)
    queued.unlink()


def _in_queue(names: list[str]) -> str | None:
    """Return None if none of these jobs is in Slurm's queue, "" if one is, or why Slurm does not say."""
    found = subprocess.run(["squeue", "-h", "-j", ",".join(names)], check=False, capture_output=True, text=True)
    if found.returncode and "Invalid job id" not in found.stderr:  # what Slurm calls a job that it has forgotten
        return _last_line(found.stderr) or f"exit status {found.returncode}"
    return "" if found.stdout.strip() else None


def _executor(settings: Cluster, folder: Path) -> Any:
    try:
        import submitit
    except ModuleNotFoundError as error:
        remedy = "pip install -c constraints.txt -e .[slurm]"
        raise StudyError("speed.cluster set, but submitit not installed", "the extra `slurm`", remedy) from error
    folder.mkdir(parents=True, exist_ok=True)
    parameters: dict[str, Any] = {"name": "dontstop", "timeout_min": settings.minutes}
    parameters |= {"cpus_per_task": settings.cpus, "mem_gb": settings.memory_gb, "gpus_per_node": settings.gpus}
    options = {}
    if settings.kind == "slurm":
        parameters |= {"slurm_array_parallelism": settings.parallel, "slurm_additional_parameters": settings.more}
        parameters |= {"slurm_setup": settings.setup, "slurm_partition": settings.partition}
        options = {"slurm_max_num_timeout": settings.requeues}
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=settings.kind, **options)
        executor.update_parameters(**{name: value for name, value in parameters.items() if value is not None})
    except RuntimeError as error:
        remedy = "run this on a login node, or leave speed.cluster out"
        raise StudyError(f"no Slurm here: {error}", "sbatch on the path", remedy) from error
    return executor


class Task:
    """A job as a node gets it: done there, and queued again if it is asked to stop before its end."""

    def __init__(self, job: Job, num_processes: int):
        self.job, self.num_processes = job, num_processes

    def __call__(self) -> StudyError | None:
        """Do the job; a problem of the user's comes back whole, where submitit would only bring its text."""
        if "SUBMITIT_LOCAL_JOB_ID" in os.environ:  # there a cancelled job gets a SIGTERM that submitit overlooks
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ask_for_large_pages()
        try:
            work_alone(self.job, self.num_processes)
        except StudyError as error:
            return error
        return None

    def checkpoint(self):
        """Return what is queued in this task's place; the job finds its own last save."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _submitted(executor, ready: Sequence[Job], settings: Cluster) -> dict[Any, Job]:
    try:
        with executor.batch():
            futures = [executor.submit(Task(job, settings.cpus)) for job in ready]
    except (OSError, RuntimeError) as error:
        raise StudyError(
            f"jobs not taken: {_last_line(str(error)) or type(error).__name__}",
            "a cluster that takes jobs with these settings",
            "mend speed.cluster and give the same command again: finished runs are kept",
        ) from error
    return dict(zip(futures, ready, strict=True))


def _raise_if_failed(future, job: Job) -> None:
    error = future.exception()
    if error is None and (error := future.result()) is None:
        return
    if isinstance(error, StudyError):
        raise error
    raise StudyError(
        f"{job.name} ended without its result: {_last_line(str(error))}",
        "jobs that live until they are done (memory and time are the usual reasons)",
        f"read {future.paths.stderr}, raise speed.cluster.memory_gb or minutes, and give the same command again: "
        "finished runs are kept",
    )


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
