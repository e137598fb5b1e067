"""Killed at any moment, a study goes on under the same command and ends with the same numbers, to the bit."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import tiny
from dontstop.machine.randomness import generator
from test_mlm import trained

LONGER = {"base": {"num_steps": 60}, "dapt": {"num_steps": 20}}
PATIENCE_SECONDS = 120


def start(root):
    environment = {**os.environ, "DONTSTOP_ROOT": str(root)}
    command = [sys.executable, "-m", "dontstop", "run", "dapt", "-p", "tiny"]
    with open(root / "log", "a") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def wait_for(root, pattern: str, num: int, process) -> None:
    """Wait until a number of files stand there."""
    until = time.monotonic() + PATIENCE_SECONDS
    while len(list(root.glob(pattern))) < num:
        assert process.poll() is None and time.monotonic() < until, (root / "log").read_text()
        time.sleep(0.001)


@pytest.mark.slow
def test_killed_again_and_again_equals_uninterrupted(tmp_path):
    """The whole is run on one process, the killed one on as many as there are cores: that changes nothing either."""
    whole, killed = (tiny.make(tmp_path / name, **LONGER) for name in ("whole", "killed"))
    tiny.set_profile(whole, **LONGER, speed={"num_workers": 1})
    rng = generator("kill")
    moments = [
        ("data/.tiny.*.part/corpora/*.jsonl", 1, os.killpg),
        ("work/*/*/state.safetensors", 1, os.killpg),
        ("work/results/*.json", int(rng.integers(1, 20)), os.kill),  # the workers are left to end by themselves
    ]
    for pattern, num, kill in moments:
        with start(killed) as process:
            wait_for(killed, pattern, num, process)
            time.sleep(0.03 * rng.random())
            kill(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    with start(killed) as process:
        tiny.run(whole, "dapt")
    assert process.returncode == 0, (killed / "log").read_text()
    assert tiny.outcomes(killed) == tiny.outcomes(whole)
    assert tiny.unfinished(killed) == []
    said = (killed / "log").read_text()
    assert "Traceback" not in said and "Error" not in said


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
