"""Jobs, and the lines that say how far a plan of them is."""

import contextlib
import functools
import html
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from dontstop.errors import visible

PLURALS = {"checkpoint": "checkpoints", "run": "runs", "loss": "losses", "selection": "selections"}


@dataclass
class Job:
    """One piece of work for one process.

    Attributes:
        key: Unique; the job's fingerprint.
        name: For people.
        kind: `checkpoint`, `run`, `loss` or `selection`; the progress line counts them apart.
        size: How much work it is, in tokens trained or the like; for the estimate only.
        function: Called in a worker as function(*arguments); with num_processes and progress too if `divisible`.
        needs: Keys of jobs that must have ended first, if they are in the same plan.
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


@dataclass
class Progress:
    """What a plan under way tells, every `seconds`: done, left, how long still."""

    title: str
    jobs: Sequence[Job]
    seconds: float = 5.0
    done: set[str] = field(default_factory=set)
    parts: dict[str, float] = field(default_factory=dict)  # share done of running jobs, by key
    found: dict[str, float] = field(default_factory=dict)  # share that a resumed job found done, by key
    begin: float = field(default_factory=time.monotonic)

    def __post_init__(self):
        self._line, self._last = ReplacedLine(), time.monotonic()

    def ready(self, waiting: Iterable[Job]) -> list[Job]:
        """List those of the waiting jobs whose needs are done, or no part of this plan."""
        undone = {job.key for job in self.jobs} - self.done
        return [job for job in waiting if not job.needs & undone]

    def show(self) -> None:
        """Show the progress as it is now, where it was shown last if that can be."""
        self._last = time.monotonic()
        self._line.say(self.line(), self.share())

    def seconds_to_line(self) -> float:
        """Return how long it is until the next line is due; 0 if it is."""
        return max(0.0, self._last + self.seconds - time.monotonic())

    def tell(self) -> None:
        """Show the progress if a line is due."""
        if not self.seconds_to_line():
            self.show()

    def note(self, key: str, share: float) -> None:
        """Note the share done of a job at work; the first that is heard of it, it has found done."""
        self.found.setdefault(key, share)
        self.parts[key] = share

    def line(self) -> str:
        """Return the progress as one line."""
        counts = []
        for kind in dict.fromkeys(job.kind for job in self.jobs):
            of_kind = [job.key for job in self.jobs if job.kind == kind]
            counts.append(f"{len(self.done.intersection(of_kind))}/{len(of_kind)} {PLURALS[kind]}")
        at_work = [job for job in self.jobs if job.key in self.parts and job.key not in self.done]
        running = [f"{job.name} {100 * self.parts[job.key]:.0f} %" for job in at_work if job.kind == "checkpoint"]
        left = sum(job.key not in self.done for job in self.jobs)
        so_far = duration(time.monotonic() - self.begin)
        text = f"{self.title}: {', '.join(counts)} done, {left} left, {so_far} so far"
        if (remaining := self.remaining_seconds()) is not None and left:
            text += f", about {duration(remaining)} to go"
        return text + (f" (now: {', '.join(running)})" if running else "")

    def share(self) -> float:
        """Return which share of the plan's work is done, 0 to 1."""
        return sum(map(self._size_done, self.jobs)) / (sum(job.size for job in self.jobs) or 1.0)

    def _size_done(self, job: Job) -> float:
        return job.size * (1.0 if job.key in self.done else self.parts.get(job.key, 0.0))

    def remaining_seconds(self) -> float | None:
        """Estimate the seconds left from the work done so far; None before there is any."""
        total = sum(job.size * (1 - self.found.get(job.key, 0.0)) for job in self.jobs)
        finished = sum(self._size_done(job) - job.size * self.found.get(job.key, 0.0) for job in self.jobs)
        elapsed = time.monotonic() - self.begin
        return elapsed * (total - finished) / finished if finished > 0.002 * total else None


class ReplacedLine:
    """A line that the next one takes the place of, in a notebook's output; elsewhere a line each.

    Else an hour's run would leave hundreds of them in the notebook. A notebook that is looked at has a bar beside it;
    who runs it from a terminal sees all lines there.
    """

    def __init__(self):
        self._shown, self._terminal = None, _terminal_of_kernel()

    def say(self, line: str, share: float = 0.0) -> None:
        """Show a line, where the last one stood if it can be, and how far a bar beside it reaches, 0 to 1."""
        line = visible(line)
        bar = f'<progress value="{share:.3f}"></progress> {html.escape(line)}'
        if self._terminal is None:
            say(line)
        elif self._shown is None:
            from IPython.display import display

            self._shown = display({"text/plain": line, "text/html": bar}, raw=True, display_id=True)
        else:
            self._shown.update({"text/plain": line, "text/html": bar}, raw=True)
            with contextlib.suppress(OSError):  # a terminal that is gone costs no run
                os.write(self._terminal, f"{line}\n".encode())


def _terminal_of_kernel() -> int | None:
    """Return the descriptor of a notebook kernel's own stderr, papermill's or the server's; None outside of kernels.

    ipykernel keeps it under a private name. Where a version has none, every line is printed.
    """
    found = getattr(sys.stderr, "_original_stdstream_copy", None)
    return found if isinstance(found, int) else None


def say(line: str) -> None:
    """Print a line at once, in a terminal, a log or a notebook alike."""
    print(visible(line), flush=True)


@functools.cache
def say_once(line: str) -> None:
    """Print a line, unless this process has printed it before."""
    say(line)


def duration(seconds: float) -> str:
    """Write seconds as people do: `45 s`, `3 min 20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


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
