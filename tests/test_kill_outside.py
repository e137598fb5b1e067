"""Notebooks and DVC stages, in processes of their own, stopped at random instants: a long test, of seconds a try."""

import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kills
import reliability
import tiny
from dontstop.machine import files
from dontstop.report import executed
from test_one_answer import write_stage

WAYS = {
    "dvc repro": ["-m", "dvc", "repro", "-q"],
    "dontstop notebook": ["-m", "dontstop", "notebook", "domain_gap", "-p", "tiny"],
}
SMALL = {"seeds": [0], "base": {"num_steps": 12}, "speed": {"num_workers": 1}}
# By what is stopped: the signal to all processes, or what the name of the one that is killed holds.
STOPS = {"kill -9 of all": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}
VICTIMS = {"kill -9 of the kernel": "ipykernel_launcher", "kill -9 of the stage": "dontstop run"}
pytestmark = pytest.mark.skipif(not reliability.SHARE, reason="a long test: make test-long")


def make(root: Path, way: str, **changes) -> Path:
    """Make a study, and what asks for its experiment in one of the ways."""
    return write_stage(tiny.make(root, **SMALL | changes), way.split()[0], "domain_gap")


def start(root, command: list[str]) -> subprocess.Popen:
    def hear() -> None:  # what a shell has its background processes ignore
        for number in STOPS.values():
            if number != signal.SIGKILL:
                signal.signal(number, signal.SIG_DFL)

    with open(root / "log", "a") as log:
        how = {"env": tiny.environment(root), "cwd": root}
        return subprocess.Popen(
            [sys.executable, *command], stdout=log, stderr=log, start_new_session=True, preexec_fn=hear, **how
        )


def stop(root: Path, process: subprocess.Popen, what: str) -> None:
    """Stop a command that goes on, or kill one of its processes."""
    if what in STOPS:
        os.killpg(process.pid, STOPS[what])
        return
    for place in Path("/proc").glob("[0-9]*"):
        if f"DONTSTOP_ROOT={root}".encode() in _environment(place / "environ"):
            name = b" ".join(_environment(place / "cmdline")).decode()
            if VICTIMS[what] in name and "-c" not in name.split()[1:2]:
                os.kill(int(place.name), signal.SIGKILL)


def num_files(root: Path) -> int:
    """Count what a command has written."""
    return sum(1 for name in ("data", "work", "results") for _ in (root / name).rglob("*"))


def leave_none(root) -> None:
    """Wait until nobody works on a study: a notebook's kernel has a group of its own."""
    until, own = time.monotonic() + 120, f"DONTSTOP_ROOT={root}".encode()
    while living := [place for place in Path("/proc").glob("[0-9]*/environ") if own in _environment(place)]:
        assert time.monotonic() < until, f"processes live on: {living}"
        time.sleep(0.1)


def _environment(place: Path) -> list[bytes]:
    try:
        return place.read_bytes().split(b"\0")  # empty of one that is dead and not yet buried
    except OSError:
        return []


@pytest.mark.parametrize("way", WAYS)
def test_stopped_from_outside_equals_uninterrupted(way, tmp_path):
    whole = make(tmp_path / "whole", way)
    assert start(whole, WAYS[way]).wait() == 0, (whole / "log").read_text()[-3000:]
    most, copies = num_files(whole), [files.read_json(path) for path in sorted(whole.glob("results/tiny/notebooks/*"))]
    series = reliability.Series(f"stopped: {way}", "test_kill_outside", 0, 20, "stops", "studies")
    for rng in series.tries():
        stopped = make(tmp_path / "stopped", way)
        for _ in range(3):
            series.counts.update(stopped_once(stopped, way, rng, rng.randrange(most)))
            assert all(files.read_json(path) in copies for path in stopped.glob("results/tiny/notebooks/*"))
        assert start(stopped, WAYS[way]).wait() == 0, (stopped / "log").read_text()[-3000:]
        leave_none(stopped)
        assert tiny.outcomes(stopped) == tiny.outcomes(whole) and kills.left_over(stopped) == []
        assert [files.read_json(path) for path in sorted(stopped.glob("results/tiny/notebooks/*"))] == copies
        shutil.rmtree(stopped)


def stopped_once(root: Path, way: str, rng: random.Random, number: int) -> collections.Counter:
    """Give a command and stop it when it has written so many files; return how, if it had not ended."""
    own = {"dvc repro": "kill -9 of the stage", "dontstop notebook": "kill -9 of the kernel"}[way]
    (root / "log").unlink(missing_ok=True)
    process, what = start(root, WAYS[way]), rng.choice([own, *STOPS, "kill -9 of all"])
    while process.poll() is None and num_files(root) < number:
        time.sleep(0.1)
    if process.poll() is None:
        stop(root, process, what)
    code, said = process.wait(), (root / "log").read_text()
    leave_none(root)
    assert "Traceback" not in said or way == "dvc repro", (what, code, said[-3000:])
    if way == "dontstop notebook" and what == own and code:
        assert code == 2 and "found: the kernel of notebook domain_gap killed" in said, (code, said[-3000:])
    return collections.Counter() if code == 0 else collections.Counter({what: 1, "stops": 1})


def test_notebooks_at_once_give_what_they_give_one_after_another(tmp_path):
    names, commands = ("domain_gap", "tapt"), {}
    for name in names:
        commands[name] = ["-m", "dontstop", "notebook", name, "-p", "tiny"]

    def study(root: Path) -> Path:
        for name in names:
            write_stage(tiny.make(root, **SMALL), "notebook", name)
        return root

    after = study(tmp_path / "after")
    for name in names:
        assert start(after, commands[name]).wait() == 0, (after / "log").read_text()[-3000:]
    for rng in reliability.Series("two notebooks at once", "test_kill_outside", 0, 5, "times").tries():
        both = study(tmp_path / "both")
        processes = [start(both, commands[name]) for name in rng.sample(names, 2)]
        assert [process.wait() for process in processes] == [0, 0], (both / "log").read_text()[-3000:]
        assert tiny.outcomes(both) == tiny.outcomes(after) and kills.left_over(both) == []
        copies = [{p.name: files.read_json(p) for p in root.glob("results/*/notebooks/*")} for root in (both, after)]
        assert copies[0] == copies[1]
        shutil.rmtree(both)


def test_a_notebook_that_a_signal_stops_says_so(tmp_path):
    root = make(tmp_path / "study", "dontstop notebook", base={"num_steps": 2000})
    process, unfinished = (
        start(root, WAYS["dontstop notebook"]),
        root / "work" / "notebooks" / "tiny" / "domain_gap.ipynb",
    )
    until = time.monotonic() + 300
    while not list(root.glob("work/??/*/state.*")):
        assert process.poll() is None and time.monotonic() < until, (root / "log").read_text()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)  # which is heeded where a shell has begun the tests in the background too
    assert process.wait(120) == 143, (root / "log").read_text()[-3000:]
    leave_none(root)
    assert "goes on from there" in (root / "log").read_text().splitlines()[-1]
    assert executed.STOPPED in str(files.read_json(unfinished)["cells"][0]["source"])
    assert not list(root.glob("results/tiny/notebooks/*"))
