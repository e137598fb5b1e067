"""Stopped or hurt at any moment, a study goes on under the same command and ends with the same numbers, to the bit."""

import os
import shutil
import subprocess
import time

import pytest
import torch

import kills
import reliability
import tiny
from dontstop.machine import files
from dontstop.machine.processes import num_cores
from test_mlm import trained

SELECTION = {"selector": "tfidf", "num_neighbours": [1], "compared": [], "min_words": 3}
SMALL = {"seeds": [0], "base": {"num_steps": 12}, "dapt": {"num_steps": 8}, "selection": SELECTION}
SMALL["augmented_tapt"] = {"num_epochs": 1, "num_shards": 1, **tiny.PHASE}
# What is done, and how often it is stopped in a long run and in a short one.
SCENARIOS = {
    "prepare, base, DAPT, runs, losses": ([("run", "dapt", "-p", "tiny")], 80, 3),
    "two replicates of TAPT": ([("run", "tapt", "-p", "tiny", "--replicates", "2")], 40, 0),
    "selection and augmented TAPT": ([("select", "-p", "tiny"), ("run", "knn_tapt", "-p", "tiny")], 40, 0),
}
TORCHRUN = "kill -9: pretraining under torchrun, two processes"
BASE = ("pretrain", "base", "-p", "tiny")


def make(root):
    """Make a study that as many processes work on as there are cores."""
    return tiny.make(root, **SMALL, speed={"num_workers": num_cores()})


def outcomes(root):
    """Return all that must be the same again, selected text included."""
    selected = {str(path.relative_to(root)): files.digest(path) for path in root.glob("selected/**/*.npy")}
    return tiny.outcomes(root) | selected


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Give studies that nothing disturbed, and how many calls on files each of their commands took.

    They are run by one process, those that are stopped by as many as there are cores: that changes nothing either.
    """
    found = {}

    def of(what: str):
        if what not in found:
            kills.warm()
            root, costs = tiny.make(tmp_path_factory.mktemp("whole") / "study", **SMALL, speed={"num_workers": 1}), []
            for command in SCENARIOS[what][0]:
                calls = kills.Calls()
                code = kills.end(kills.start(root, *command, heed=kills.at_call(calls, 0)))
                assert code == 0, (root / "log").read_text()
                costs.append((command, calls.number()))
            found[what] = root, costs
        return found[what]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("what", [what for what, (*_, few) in SCENARIOS.items() if few or reliability.SHARE])
def test_stopped_again_and_again_equals_uninterrupted(what, whole, tmp_path):
    (root, costs), (_, many, few) = whole(what), SCENARIOS[what]
    series = reliability.Series(f"stopped: {what}", "test_kill", few, many, "stops", "studies")
    for rng in series.tries():
        stopped, killer = (
            tiny.make(tmp_path / "stopped", **SMALL, speed={"num_workers": num_cores()}),
            kills.Killer(rng),
        )
        for cost in costs:
            killer.until_through(stopped, *cost, most=4)
        assert outcomes(stopped) == outcomes(root)
        assert kills.left_over(stopped) == []
        assert kills.told(stopped, "doctor", "-p", "tiny")[0] < 2  # warnings at most, of packages say
        shutil.rmtree(stopped)
        series.counts.update(killer.stops)
        series.counts["stops"] += killer.stops.total()


@pytest.mark.slow
def test_a_disk_that_fails_at_any_call_costs_nothing_but_time(whole, tmp_path):
    what = next(iter(SCENARIOS))
    (root, [(command, num_calls)]), told = whole(what), {"full": "no room", "limit": "no room", "broken": "an error"}
    name = "a full disk, a broken one, or a limit on files, at any call on files or size: " + what
    series = reliability.Series(name, "test_kill", 3, 150, "faults", "studies")
    for rng in series.tries():
        hurt = make(tmp_path / "hurt")
        for kind in rng.sample(kills.Fault.KINDS, 3):
            fault = kills.Fault(kind, rng, num_calls)
            code, said = kills.told(hurt, *command, heed=fault.heed, begin=fault.begin)
            assert code in (0, 2) and "Traceback" not in said, (kind, code, said)
            assert code == 0 or said.splitlines()[-1].startswith("do this: "), (kind, said)
            series.counts["faults"] += code == 2
            series.counts[told[kind]] += code == 2
        kills.finish(hurt, *command)
        assert outcomes(hurt) == outcomes(root)
        assert kills.left_over(hurt) == []
        shutil.rmtree(hurt)


@pytest.fixture
def disk(tmp_path):
    """Give a folder and what sets the size in bytes of the disk in memory that is mounted there."""
    place, mounted = tmp_path / "disk", []
    place.mkdir()

    def set_size(size: int) -> None:
        how = f"{'remount,' if mounted else ''}size={size}"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", place], capture_output=True, check=False)
        if done.returncode and not mounted:
            pytest.skip("a disk cannot be mounted here: that wants root")
        assert done.returncode == 0, done.stderr
        mounted.append(size)

    yield place, set_size
    if mounted:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_and_is_made_larger_costs_nothing_but_time(whole, disk):
    root, [(command, _)] = whole(next(iter(SCENARIOS)))
    place, set_size = disk
    needed = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    series = reliability.Series(
        "a disk in memory (tmpfs) that fills, and grows", "test_kill", 1, 100, "faults", "studies"
    )
    for rng in series.tries():
        set_size(2 * needed)
        full, code, faults = make(place / "study"), None, 0
        about = os.statvfs(place)
        set_size(size := (about.f_blocks - about.f_bfree) * about.f_frsize + round(needed * rng.uniform(0.02, 0.9)))
        while code != 0:
            code, said = kills.told(full, *command)
            assert code in (0, 2) and "Traceback" not in said, (code, said)
            assert code == 0 or "no space left" in said and "do this: " in said.splitlines()[-1], said
            assert faults < 12, f"{size} bytes do not do where {needed} did"
            faults += code == 2
            set_size(size := round(size + needed * rng.uniform(0.2, 0.6)))
        assert outcomes(full) == outcomes(root)
        assert kills.left_over(full) == []
        series.counts["faults"] += faults
        shutil.rmtree(full)


@pytest.mark.skipif(not reliability.SHARE, reason="a long test: make test-long")
def test_killed_under_torchrun_equals_uninterrupted(tmp_path):
    kills.warm()
    whole = tiny.make(tmp_path / "whole", **SMALL)
    kills.finish(whole, "prepare", "-p", "tiny")
    shutil.copytree(whole, tmp_path / "prepared")
    begin = time.monotonic()
    assert [kills.end(process) for process in kills.start_group(whole, 2, *BASE)] == [0, 0]
    seconds = time.monotonic() - begin
    series = reliability.Series(TORCHRUN, "test_kill", 0, 20, "kills", "trainings")
    for rng in series.tries():
        killed = shutil.copytree(tmp_path / "prepared", tmp_path / "killed")
        for _ in range(4):
            group = kills.start_group(killed, 2, *BASE)
            time.sleep(rng.uniform(0, seconds))
            codes = [kills.end(process, 0.01) for process in group]
            for process in [process for process, code in zip(group, codes, strict=True) if code is None]:
                kills.stop(process, "kill -9 of all", rng)
                kills.end(process)
                kills.leave_none(process)
            series.counts["kills"] += None in codes
        assert [kills.end(process) for process in kills.start_group(killed, 2, *BASE)] == [0, 0]
        assert outcomes(killed) == outcomes(whole) and kills.left_over(killed) == []
        shutil.rmtree(killed)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_training_state_costs_steps_and_nothing_else(tmp_path, share):
    def stop(done, _total):
        if done == 5:
            raise KeyboardInterrupt

    state, steps = tmp_path / "scratch" / "state.safetensors", []
    with pytest.raises(KeyboardInterrupt):
        trained(state, progress=stop)
    content = state.read_bytes()
    state.write_bytes(content[: int(share * len(content))])
    model, _ = trained(state, progress=lambda done, total: steps.append(done))
    assert steps == [3, 4, 5, 6]  # from the state saved after step 2
    whole, _ = trained(tmp_path / "whole" / "state.safetensors")
    assert all(map(torch.equal, model.parameters(), whole.parameters()))
