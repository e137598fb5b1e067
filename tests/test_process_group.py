"""torchrun's processes train as one does, up to rounding; a batch in passes as in one; a lost process is told."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import kills
import tiny
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.processes import CONTEXT
from dontstop.profiles import PhaseSettings
from dontstop.study import Study
from dontstop.training import masking, process_group
from test_mlm import PHASE, batches, trained, weights


def torchrun(root, num_processes: int, *arguments: str) -> subprocess.CompletedProcess:
    """Give a command of the study under `root` to torchrun's processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    environment = tiny.environment(root) | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "-m", "dontstop", *arguments], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A study whose base encoder is trained, with DAPT in two micro-batches of three sequences."""
    dapt = {"num_shards": 2, "batch_size": 6, "sequences_at_once": 2}
    tapt = {"num_epochs": None, "num_steps": 4, "num_checks": 2, "num_shards": 2}
    root = tiny.make(tmp_path_factory.mktemp("process_group"), dapt=dapt, tapt=tapt)
    tiny.run(root, "base")
    return root


def trained_of(root, name: str = "dapt_cs") -> tuple[dict, dict]:
    """Return how a checkpoint was trained, and its weights."""
    told = (path for path in (root / "work").rglob("training.json") if "digests" not in path.parts)
    found = [path for path in told if files.read_json(path)["checkpoint"] == name]
    assert len(found) == 1
    return files.read_json(found[0]), load_file(found[0].parent / "encoder" / "model.safetensors")


def test_two_ranks_have_the_loss_curve_of_one_process_with_twice_the_batch(prepared, tmp_path):
    alone = tiny.copy(prepared, tmp_path / "alone")
    with tiny.at(alone):
        Study("tiny").pretrain("dapt_cs")
    together = tiny.copy(prepared, tmp_path / "together")
    ended = torchrun(together, 2, "pretrain", "dapt_cs", "-p", "tiny")
    assert ended.returncode == 0, ended.stderr
    (one, ours), (two, theirs) = trained_of(alone), trained_of(together)
    losses = [[row["masked_lm_loss"] for row in training["curve"]] for training in (one, two)]
    assert len(losses[0]) == 6 and losses[0][0] != losses[0][-1]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert one["fingerprint"] == two["fingerprint"] and one["loss_after"] == pytest.approx(two["loss_after"], rel=1e-4)
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-3, atol=1e-4)
    # Whoever runs the study afterwards finds the checkpoint.
    tiny.run(together, "dapt")
    assert trained_of(together)[0] == two


def test_a_training_with_checks_is_the_first_ranks_alone_and_the_same_to_the_bit(prepared, tmp_path):
    name, alone, together = "tapt_citation_intent", *(tiny.copy(prepared, tmp_path / n) for n in ("alone", "together"))
    with tiny.at(alone):
        Study("tiny").pretrain(name)
    codes = map(kills.end, kills.start_group(together, 2, "pretrain", name, "-p", "tiny"))
    assert [*codes] == [0, 0], (together / "log").read_text()
    (one, ours), (two, theirs) = trained_of(alone, name), trained_of(together, name)
    assert len(one["checks"]) == 2 and one["checks"] == two["checks"] and one["kept_step"] == two["kept_step"]
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_more_ranks_than_micro_batches_are_told(prepared, tmp_path):
    root = tiny.copy(prepared, tmp_path / "root")
    codes = map(kills.end, kills.start_group(root, 3, "pretrain", "dapt_cs", "-p", "tiny"))
    assert 0 not in codes and "set the phase's num_shards to a multiple of 3" in (root / "log").read_text()


def test_a_checkpoint_without_its_parent_is_told(tmp_path):
    root = tiny.make(tmp_path / "root")
    with tiny.at(root), pytest.raises(StudyError, match="give `dontstop pretrain base` first"):
        Study("tiny").pretrain("dapt_cs")
    with tiny.at(root), pytest.raises(StudyError, match="did you mean 'dapt_cs'"):
        Study("tiny").pretrain("dapt_c")


@pytest.mark.parametrize("name", ["modernbert", "roberta_without_dropout"])
@pytest.mark.parametrize("at_once", [1, 2])
def test_a_micro_batch_in_passes_is_the_micro_batch_in_one(name, at_once, tmp_path):
    """Three sequences a micro-batch, up to rounding; dropout, which each pass draws anew, is off."""
    whole, curve = trained(tmp_path / "whole", name=name)
    settings = PHASE.model_copy(update={"sequences_at_once": at_once})
    parts, again = trained(tmp_path / "parts", name=name, settings=settings)
    np.testing.assert_allclose(curve.losses, again.losses, rtol=1e-5)
    torch.testing.assert_close(weights(whole), weights(parts), rtol=1e-3, atol=1e-4)


def test_a_batch_is_cut_between_sequences():
    whole = batches(PhaseSettings(num_steps=1, batch_size=5, sequence_length=16, num_shards=1)).micro_batch(0, 0)
    parts = whole.split(2)
    assert [len(part.input_ids) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.input_ids for part in parts]), whole.input_ids)
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
    shifted = [part.positions + 32 * number for number, part in enumerate(parts)]
    assert torch.equal(torch.cat(shifted), whole.positions) and all(part.positions.max() < 32 for part in parts)
    assert isinstance(whole.split(None)[0], masking.MaskedBatch) and len(whole.split(5)) == 1


def test_without_torchrun_a_process_is_alone():
    assert process_group.is_main_process() and not process_group.is_under_torchrun()
    with process_group.initialized("cpu") as here:
        assert here is None


def test_whichever_process_is_lost_ends_the_wait_of_all():
    """The second of two ends early; the first, which lives on and waits, must not hide it."""
    group = process_group.SharedMemoryGroup(3, 3, torch.zeros(1))
    others = [CONTEXT.Process(target=time.sleep, args=(120,)), CONTEXT.Process(target=sys.exit, args=(3,))]
    for process in others:
        process.start()
    threading.Thread(target=group._abort_with, args=(others,), daemon=True).start()
    begin = time.monotonic()
    try:
        with pytest.raises(StudyError, match="process of the process group was lost at step 7"):
            group.barrier(7)
        assert time.monotonic() - begin < 60 and others[0].is_alive()
    finally:
        others[0].kill()
