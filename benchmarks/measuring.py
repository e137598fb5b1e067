"""Measure contenders in alternating order; medians and quartiles; tables as CSV and Markdown; the machine."""

import contextlib
import math
import os
import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import transformers
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from dontstop.machine import files
from dontstop.machine.processes import num_cores
from dontstop.machine.runner import say
from dontstop.training import devices

NUM_CORES = 2  # the aims are stated for two: two threads for the Trainer, two processes for ours
SETTLING_SHARE = 0.15  # of a run's steps, at its begin, not counted in steady state
SECONDS_BETWEEN_LINES = 10.0
OTHERS = (
    "Others' share: of the machine's core-seconds, what other processes took during a run. It should be near 0: two "
    "threads in one process suffer far more from company than two processes do, which would flatter ours."
)


class StepClock:
    """The times at which a training's steps ended; says now and then how far it is."""

    def __init__(self, title: str):
        self.title, self.times = title, []
        self._last = time.perf_counter()

    def tick(self, done: int, total: int) -> None:
        """Note the end of step `done`, counted from 1."""
        self.times.append(time.perf_counter())
        if self.times[-1] - self._last >= SECONDS_BETWEEN_LINES:
            self._last = self.times[-1]
            say(f"  {self.title}: step {done} of {total}")

    def steady_step_seconds(self) -> float:
        """Return the mean seconds of a step once the run has settled."""
        first = max(1, round(SETTLING_SHARE * len(self.times)))
        return (self.times[-1] - self.times[first - 1]) / (len(self.times) - first)


class ClockCallback(TrainerCallback):
    """Lets the Trainer's steps tick a clock."""

    def __init__(self, clock: StepClock):
        self.clock = clock

    def on_step_end(self, args, state, control, **kwargs):
        """Tick."""
        self.clock.tick(state.global_step, state.max_steps)


def silent_trainer(
    trainer_class: type[Trainer], scratch: Path, arguments: dict[str, Any], *, use_cpu: bool = True, **parts
) -> Trainer:
    """Make a Trainer, on the processor or a GPU, that saves nothing, reports to nobody and prints nothing."""
    settings = TrainingArguments(
        output_dir=str(scratch / "trainer"),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=use_cpu,
        dataloader_pin_memory=not use_cpu,
        **arguments,
    )
    trainer = trainer_class(args=settings, **parts)
    trainer.remove_callback(PrinterCallback)
    return trainer


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Do a block's arithmetic on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def alternating(names: Sequence[str], num_repeats: int) -> Iterator[tuple[int, str]]:
    """Go through the contenders again and again, every other time backwards, so that a drift hits all alike."""
    for repeat in range(num_repeats):
        for name in names if repeat % 2 == 0 else reversed(names):
            yield repeat, name


class CoreShare:
    """What share of the machine's core-seconds others took while a block ran; not a number where no one can tell."""

    def __enter__(self) -> "CoreShare":
        self._begin = (time.perf_counter(), _busy_seconds(), _own_seconds())
        return self

    def __exit__(self, *error) -> None:
        passed, busy, own = (
            after - before
            for after, before in zip((time.perf_counter(), _busy_seconds(), _own_seconds()), self._begin, strict=True)
        )
        share = (busy - own) / (passed * (os.cpu_count() or 1))
        self.of_others = share if math.isnan(share) else max(0.0, share)


def _busy_seconds() -> float:
    statistics = Path("/proc/stat")
    if not statistics.is_file():
        return math.nan
    user, nice, system = map(int, statistics.read_text(encoding="utf-8").split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    return sum(os.times()[:4])  # ended children included, as all of ours have when we look


def summarise(runs: Sequence[dict[str, Any]], contenders: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Summarise runs as one row a contender.

    Args:
        runs: Each with `contender`, `repeat` and numbers measured.
        contenders: By name, the columns that describe it.

    Returns:
        The contenders in their order: description, num_repeats, and of every number its median and quartiles.
    """
    table = pd.DataFrame(runs)
    measures = [column for column in table.columns if column not in ("contender", "repeat")]
    rows = []
    for name, description in contenders.items():
        of_contender = table[table["contender"] == name]
        row = {"contender": name, **description, "num_repeats": len(of_contender)}
        for measure in measures:
            quartiles = of_contender[measure].quantile([0.5, 0.25, 0.75])
            row |= dict(zip((measure, f"{measure}_q1", f"{measure}_q3"), quartiles, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def ratio(summary: pd.DataFrame, measure: str, contender: str, peer: str, *, less_is_better: bool) -> float:
    """Return how many times as fast as a peer a contender is, by their medians."""
    medians = summary.set_index("contender")[measure]
    return float(medians[peer] / medians[contender] if less_is_better else medians[contender] / medians[peer])


def to_markdown(summary: pd.DataFrame, title: str, notes: Sequence[str]) -> str:
    """Write a summary for people: quartiles beside their median, three significant digits, notes below."""
    shown = pd.DataFrame()
    for column in summary.columns:
        if column.endswith(("_q1", "_q3")):
            continue
        values = summary[column]
        if f"{column}_q1" in summary:
            low, high = summary[f"{column}_q1"], summary[f"{column}_q3"]
            cells = [f"{_number(m)} ({_number(a)} to {_number(b)})" for m, a, b in zip(values, low, high, strict=True)]
        else:
            cells = [_number(value) if isinstance(value, float) else str(value) for value in values]
        shown[column.replace("_", " ")] = cells
    lines = [f"# {title}", "", shown.to_markdown(index=False), "", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write_tables(
    folder: Path | None,
    name: str,
    title: str,
    summary: pd.DataFrame,
    runs: Sequence[dict[str, Any]],
    notes: Sequence[str],
) -> None:
    """Print a benchmark's table and, unless `folder` is None, write it as CSV and Markdown, with runs and machine."""
    notes = [*notes, "Medians of alternating runs, quartiles in brackets.", OTHERS, machine_line()]
    text = to_markdown(summary, title, notes)
    say("\n" + text)
    if folder is not None:
        files.write_text(folder / f"{name}.md", text)
        files.write_text(folder / f"{name}.csv", summary.to_csv(index=False, float_format="%.6g"))
        files.write_text(folder / f"{name}_runs.csv", pd.DataFrame(runs).to_csv(index=False, float_format="%.6g"))
        files.write_json(folder / "machine.json", machine())


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that were measured."""
    return {
        "processor": _processor(),
        "num_cores": num_cores(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "bf16_instructions": devices.has_bf16_instructions(),
        "auto_precision": devices.resolve_precision("auto"),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine_line() -> str:
    """Return the machine as one sentence."""
    found = machine()
    bf16 = "has" if found["bf16_instructions"] else "lacks"
    return (
        f"{found['processor']}, {found['num_cores']} cores; Python {found['python']}, torch {found['torch']}, "
        f"transformers {found['transformers']}. The processor {bf16} bf16 matrix instructions, so `auto` means "
        f"{found['auto_precision']}, on both sides."
    )


def say_machine() -> None:
    """Print the machine, and a warning if others are at work on it."""
    say(machine_line())
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 0.5:
        say(f"note: the load average is {load:.1f} before we begin; numbers from a busy machine say little")
