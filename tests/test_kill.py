"""Killed at any moment, a study goes on under the same command and ends with the same numbers, to the bit."""

import os
import random
import shutil
import signal
import socket
import time

import pytest
import torch

import kills
import reliability
import tiny
from dontstop.machine import files
from test_mlm import trained

NUM_KILLS = int(os.environ.get("DONTSTOP_KILLS", "4"))  # `make test-long` asks for 200
SELECTION = {"selector": "tfidf", "num_neighbours": [1], "compared": [], "min_words": 3}
SMALL = {"seeds": [0], "base": {"num_steps": 20}, "dapt": {"num_steps": 12}}
SMALL["augmented_tapt"] = {"num_epochs": 1, "num_shards": 1, **tiny.PHASE}
# What is done, and the share of all kills that it takes.
SCENARIOS = {
    "prepare, base, DAPT, runs, losses": ([("run", "dapt", "-p", "tiny")], 0.4),
    "two replicates of TAPT": ([("run", "tapt", "-p", "tiny", "--replicates", "2")], 0.25),
    "selection and augmented TAPT": ([("select", "-p", "tiny"), ("run", "knn_tapt", "-p", "tiny")], 0.25),
}
TORCHRUN = "pretraining under torchrun, two processes"


def outcomes(root):
    """Return all that must be the same again, selected text included."""
    selected = {str(path.relative_to(root)): files.digest(path) for path in root.glob("selected/**/*.npy")}
    return tiny.outcomes(root) | selected


@pytest.mark.slow
@pytest.mark.parametrize("what", SCENARIOS if NUM_KILLS > 4 else [*SCENARIOS][:1])
def test_killed_again_and_again_equals_uninterrupted(what, tmp_path):
    """The whole is run on one process, the killed one on as many as there are cores: that changes nothing either."""
    commands, share = SCENARIOS[what]
    most, killer = (NUM_KILLS if NUM_KILLS == 4 else round(NUM_KILLS * share)), kills.Killer(random.Random(what))
    whole, costs, num_studies = tiny.make(tmp_path / "whole", selection=SELECTION, **SMALL), [], 0
    tiny.set_profile(whole, selection=SELECTION, **SMALL, speed={"num_workers": 1})
    for command in commands:
        calls, begin = kills.Calls(), time.monotonic()
        assert kills.end(kills.start(whole, *command, calls=calls)) == 0, (whole / "log").read_text()
        costs.append((command, time.monotonic() - begin, calls.number()))
    while killer.kills < most:
        killed = tiny.make(tmp_path / f"killed_{num_studies}", selection=SELECTION, **SMALL)
        for cost in costs:
            killer.until_through(killed, *cost, most=min(4, most - killer.kills))
        assert outcomes(killed) == outcomes(whole)
        assert kills.left_over(killed) == []
        said = (killed / "log").read_text()
        assert "Traceback" not in said and "Error" not in said
        num_studies += 1
    reliability.tell(f"kill -9: {what}", f"{killer.kills} kills, {num_studies} studies ended", "tests/test_kill.py")


def group_of_two(root, port: int) -> list[int]:
    """Start the two processes that torchrun would."""
    common = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [{"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    return [kills.start(root, "pretrain", "base", "-p", "tiny", **common, **rank) for rank in ranks]


def free_port() -> int:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


@pytest.mark.skipif(NUM_KILLS == 4, reason="a long test: DONTSTOP_KILLS=200")
def test_killed_under_torchrun_equals_uninterrupted(tmp_path):
    rng, most, num = random.Random("torchrun"), round(0.1 * NUM_KILLS), 0
    whole, killed = (tiny.make(tmp_path / name, **SMALL) for name in ("whole", "killed"))
    for root in (whole, killed):
        kills.finish(root, "prepare", "-p", "tiny")
    begin = time.monotonic()
    assert [kills.end(process) for process in group_of_two(whole, free_port())] == [0, 0]
    seconds = time.monotonic() - begin
    while num < most:
        group = group_of_two(killed, free_port())
        time.sleep(rng.uniform(0, seconds))
        codes = [kills.end(process, 0.01) for process in group]
        for process in [process for process, code in zip(group, codes, strict=True) if code is None]:
            os.killpg(process, signal.SIGKILL)
            kills.end(process)
            kills.leave_none(process)
        num += None in codes
        if codes == [0, 0]:
            assert outcomes(killed) == outcomes(whole) and kills.left_over(killed) == []
            for name in ("work", "checkpoints", "results"):
                shutil.rmtree(killed / name, ignore_errors=True)
    assert [kills.end(process) for process in group_of_two(killed, free_port())] == [0, 0]
    assert outcomes(killed) == outcomes(whole) and kills.left_over(killed) == []
    reliability.tell(f"kill -9: {TORCHRUN}", f"{num} kills", "tests/test_kill.py")


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
