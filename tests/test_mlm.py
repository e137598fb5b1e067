"""Pretraining: masking statistics, exactness against the Trainer's arithmetic, resumption and sharing to the bit."""

import functools
import json
import math
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import get_linear_schedule_with_warmup

from dontstop import tokens
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.randomness import generator
from dontstop.profiles import PhaseSettings
from dontstop.tokens import TokenStore
from dontstop.training import encoders, masking, mlm, optimizers
from test_encoders import MODELS

VOCABULARY = masking.Vocabulary(97, 3, (0, 1, 2, 3, 4))
PHASE = PhaseSettings(num_steps=6, batch_size=6, sequence_length=16, learning_rate=1e-2, num_shards=2)


def store(num_tokens=16 * 20):
    ids = generator("test").integers(5, 97, num_tokens).astype(np.uint16)
    return TokenStore(ids, np.array([0, num_tokens]))


def batches(settings=PHASE, **names):
    return masking.Batches(store(**names), VOCABULARY, settings, "test")


def fresh_model(name="modernbert"):
    torch.manual_seed(1)
    return MODELS[name]()


def trained(state, *, num_processes=1, settings=PHASE, name="modernbert", **more):
    load = functools.partial(fresh_model, name)
    return mlm.train(
        load, batches(settings), state, precision="fp32", num_processes=num_processes, steps_between_saves=2, **more
    )


class Killed(Exception):
    """What ends a training that is to be resumed."""


def interrupt(train, *arguments, **more):
    """Train until the fifth step, after a state was saved at the fourth."""

    def die_at_five(done, _total):
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        train(*arguments, **more, progress=die_at_five)


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_masking_is_15_percent_and_80_10_10():
    ids = np.full((1000, 100), 50, dtype=np.int64)
    batch = masking.mask_batch(ids, VOCABULARY, 0.15, rng=generator("masks"))
    inputs = batch.input_ids.flatten()[batch.positions].numpy()
    assert len(batch.positions) / ids.size == pytest.approx(0.15, abs=0.005)
    assert np.mean(inputs == 3) == pytest.approx(0.8, abs=0.01)
    # a random token is the same one again in 1 of 92 cases
    assert np.mean(inputs == 50) == pytest.approx(0.1 + 0.1 / 92, abs=0.01)
    assert set(np.unique(inputs)) == {3, *range(5, 97)}
    untouched = np.delete(batch.input_ids.flatten().numpy(), batch.positions.numpy())
    assert (untouched == 50).all() and (batch.labels == 50).all()


def test_special_tokens_are_never_masked():
    ids = np.tile(np.arange(8), (200, 1))
    positions = masking.mask_batch(ids, VOCABULARY, 1.0, rng=generator("masks")).positions.numpy()
    assert set(positions % 8) == {5, 6, 7}


def test_every_epoch_visits_every_sequence_once_in_a_new_order():
    some = batches(PhaseSettings(num_epochs=2, batch_size=5, sequence_length=16, num_shards=1))
    assert some.num_sequences == 20 and some.num_steps == 8
    visits = [some._sequence(visit) for visit in range(40)]
    assert sorted(visits[:20]) == sorted(visits[20:]) == list(range(20)) and visits[:20] != visits[20:]


def test_a_batch_depends_on_its_step_only():
    some, others = batches(), batches()
    others.micro_batch(5, 1), others.micro_batch(0, 0)
    for name in ("input_ids", "positions", "labels"):
        assert torch.equal(getattr(some.micro_batch(3, 1), name), getattr(others.micro_batch(3, 1), name))
    assert not torch.equal(some.micro_batch(3, 1).input_ids, some.micro_batch(4, 1).input_ids)


@pytest.mark.parametrize("name", ["modernbert", "roberta", "bert", "distilbert"])
def test_equals_a_plain_loop_with_the_models_own_loss(name, tmp_path):
    """The gate before any speed: fp32, no dropout, each step's loss within 1e-5 of the ordinary way to train."""
    some, model = batches(), fresh_model(name).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.98), eps=1e-6)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(6 * 0.06), 6)
    expected = []
    for step in range(6):
        first, second = (some.micro_batch(step, index) for index in range(2))
        ids = torch.cat([first.input_ids, second.input_ids])
        positions = torch.cat([first.positions, second.positions + first.input_ids.numel()])
        found = torch.cat([first.labels, second.labels])
        labels = torch.full((ids.numel(),), -100).index_copy(0, positions, found)
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels.view_as(ids)).loss
        expected.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(), schedule.step(), optimizer.zero_grad()

    def load():
        other = fresh_model(name)
        for module in other.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return other

    ours, curve = mlm.train(load, some, tmp_path / "state", precision="fp32")
    np.testing.assert_allclose(curve.losses, expected, rtol=1e-5)
    torch.testing.assert_close(weights(ours), weights(model), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["modernbert", "roberta"])
def test_resumed_equals_uninterrupted_to_the_bit(name, tmp_path):
    """RoBERTa has dropout, whose draws must not depend on what was drawn before."""
    whole, curve = trained(tmp_path / "whole", name=name)
    interrupt(trained, tmp_path / "state", name=name)
    assert (tmp_path / "state").is_file()
    steps = []
    resumed, again = trained(tmp_path / "state", name=name, progress=lambda done, total: steps.append(done))
    assert steps == [5, 6]  # from the state saved after step 4
    assert torch.equal(weights(whole), weights(resumed))
    assert np.array_equal(curve.losses, again.losses)


@pytest.mark.parametrize("name", ["modernbert", "roberta"])
def test_two_processes_equal_one_to_the_bit(name, tmp_path):
    alone, curve = trained(tmp_path / "alone", name=name)
    shared, again = trained(tmp_path / "shared", name=name, num_processes=2)
    assert torch.equal(weights(alone), weights(shared)) and np.array_equal(curve.losses, again.losses)


def test_a_lost_process_is_told_at_once(tmp_path):
    def kill_the_other(done, _total):
        if done == 2:
            for process in multiprocessing.active_children():
                process.kill()

    with pytest.raises(StudyError, match="process of the process group was lost"):
        trained(tmp_path / "state", num_processes=2, progress=kill_the_other)


def test_training_lowers_held_out_loss(tmp_path):
    """Text with a rule that can be learnt: every sequence repeats one token."""
    ids = np.repeat(generator("rule").integers(5, 97, 200), 16).astype(np.uint16)
    some = TokenStore(ids, np.array([0, len(ids)]))
    settings = PhaseSettings(num_steps=150, batch_size=16, sequence_length=16, learning_rate=1e-2)
    before, num_masked = mlm.held_out_loss(fresh_model(), some, VOCABULARY, settings, precision="fp32", seed=0)
    work = masking.Batches(some, VOCABULARY, settings, "rule")
    model, _ = mlm.train(fresh_model, work, tmp_path / "state", precision="fp32")
    after, _ = mlm.held_out_loss(model, some, VOCABULARY, settings, precision="fp32", seed=0)
    assert before == pytest.approx(math.log(97), abs=0.3) and after < before / 2
    assert num_masked == pytest.approx(0.15 * len(ids), rel=0.1)


def test_too_little_text_is_told():
    with pytest.raises(StudyError, match="at least one sequence of 16 tokens"):
        batches(num_tokens=15)


def test_more_parts_than_a_batch_has_sequences_are_told():
    settings = PHASE.model_copy(update={"batch_size": 3, "num_shards": 4})
    with pytest.raises(StudyError, match="(?s)num_shards = 4.*at most batch_size = 3"):
        batches(settings)
    every = batches(settings.model_copy(update={"num_shards": 3}))
    assert [len(every.micro_batch(0, index).input_ids) for index in range(3)] == [1, 1, 1]


def test_a_loss_that_is_no_number_is_told(tmp_path):
    def broken():
        model = fresh_model()
        model.decoder.bias.data[:] = float("nan")
        return model

    with pytest.raises(StudyError, match="learning_rate"):
        mlm.train(broken, batches(), tmp_path / "state", precision="fp32")


def test_full_disk_loses_nothing(tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(StudyError, match="no space left"):
        trained(tmp_path / "state")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    trained(tmp_path / "state")


def test_schedule_at_hand_computed_steps():
    rates = [optimizers.learning_rate(step, 100, 2.0, 0.1) for step in (0, 5, 10, 55, 100)]
    assert rates == [0.0, 1.0, 2.0, 1.0, 0.0]
    assert optimizers.learning_rate(99, 100, 2.0, 0.0, decay=False) == 2.0


FRESH = """
import json, sys, torch
from transformers import AutoModelForMaskedLM, AutoTokenizer
model, tokenizer = AutoModelForMaskedLM.from_pretrained(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1])
ids, positions, labels = (torch.tensor(part) for part in json.load(sys.stdin))
wanted = torch.full((ids.numel(),), -100).index_copy(0, positions, labels).view_as(ids)
with torch.no_grad():
    print(model(input_ids=ids, labels=wanted).loss.item(), tokenizer.mask_token)
"""


def test_a_fresh_process_with_transformers_alone_finds_the_same_loss(tmp_path):
    tokens.train_tokenizer(["a line of words for a small vocabulary"] * 3, 263, tmp_path / "tokenizer")
    model, _ = trained(tmp_path / "state")
    encoders.save_encoder(model.eval(), tokens.load_tokenizer(tmp_path / "tokenizer"), tmp_path / "encoder")
    batch = batches().micro_batch(0, 0)
    with torch.no_grad():
        ours = encoders.masked_lm_loss(model, batch.input_ids, batch.positions, batch.labels) / len(batch.positions)
    given = json.dumps([part.tolist() for part in (batch.input_ids, batch.positions, batch.labels)])
    command = [sys.executable, "-c", FRESH, str(tmp_path / "encoder")]
    found = subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout.split()
    assert float(found[0]) == pytest.approx(ours.item(), rel=1e-6) and found[1] == "<mask>"
