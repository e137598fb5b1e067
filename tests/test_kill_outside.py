"""Notebooks and DVC stages, in processes of their own, killed at random instants: a long test, of seconds a try."""

import os
import random
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

NUM_KILLS = int(os.environ.get("DONTSTOP_KILLS", "0")) // 20
WAYS = {
    "notebook": ["-m", "dontstop", "notebook", "domain_gap", "-p", "tiny"],
    "dvc": ["-m", "dvc", "repro", "-q"],
}
pytestmark = pytest.mark.skipif(not NUM_KILLS, reason="a long test: DONTSTOP_KILLS=200")


def start(root, way: str) -> subprocess.Popen:
    with open(root / "log", "a") as log:
        command, how = [sys.executable, *WAYS[way]], {"env": tiny.environment(root), "cwd": root}
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **how)


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
def test_killed_from_outside_equals_uninterrupted(way, tmp_path):
    rng, num = random.Random(way), 0
    whole = write_stage(tiny.make(tmp_path / "whole", seeds=[0]), way, "domain_gap")
    begin = time.monotonic()
    assert start(whole, way).wait() == 0, (whole / "log").read_text()[-3000:]
    seconds = time.monotonic() - begin
    while num < NUM_KILLS:
        killed = write_stage(tiny.make(tmp_path / f"killed_{num}", seeds=[0]), way, "domain_gap")
        for _ in range(2):
            process = start(killed, way)
            try:
                process.wait(rng.uniform(0.2, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                num += 1
            leave_none(killed)
            assert not list(killed.glob("results/tiny/notebooks/*")) or process.returncode == 0
        assert start(killed, way).wait() == 0, (killed / "log").read_text()[-3000:]
        leave_none(killed)
        assert tiny.outcomes(killed) == tiny.outcomes(whole) and kills.left_over(killed) == []
        executed_copies = [files.read_json(path) for path in sorted(killed.glob("results/tiny/notebooks/*"))]
        assert executed_copies == [files.read_json(path) for path in sorted(whole.glob("results/tiny/notebooks/*"))]
    what = {"notebook": "dontstop notebook", "dvc": "dvc repro"}[way]
    reliability.tell(f"kill -9: {what}", f"{num} kills", "tests/test_kill_outside.py")


def test_a_notebook_that_a_signal_stops_says_so(tmp_path):
    root = write_stage(tiny.make(tmp_path / "study", seeds=[0], base={"num_steps": 2000}), "notebook", "domain_gap")
    process, unfinished = start(root, "notebook"), root / "work" / "notebooks" / "tiny" / "domain_gap.ipynb"
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
