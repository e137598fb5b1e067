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


CHECKED = PHASE.model_copy(update={"num_steps": 10, "num_checks": 5})


def given(*losses):
    """Return a check that finds these losses in turn, and the list of the weights that it was shown."""
    found, shown = iter(losses), []

    def check(model):
        model.eval()  # as measuring does
        shown.append(weights(model).clone())
        return next(found)

    return check, shown


def test_checks_are_at_even_distances_and_the_last_step_has_one():
    assert mlm.check_steps(10, 5) == [2, 4, 6, 8, 10] and mlm.check_steps(10, 4)[-1] == 10
    assert mlm.check_steps(3, 100) == [1, 2, 3] and mlm.check_steps(10, 1) == [10] and mlm.check_steps(10, None) == []


@pytest.mark.parametrize(
    ("losses", "patience", "num_steps", "kept"),
    [
        ([5.0, 4.0, 3.0, 2.0, 1.0], 1, 10, 5),
        ([5.0, 3.0, 4.0, 2.0, 1.0], 1, 6, 2),  # the first that is not less ends it
        ([5.0, 3.0, 4.0, 2.0, 4.0], 2, 10, 4),
        ([5.0, 3.0, 4.0, 3.0, 1.0], 2, 8, 2),  # as little is not less
        ([5.0, 3.0, 4.0, 6.0, 4.0], None, 10, 2),
    ],
)
def test_the_encoder_is_kept_where_the_loss_on_held_out_text_was_least(losses, patience, num_steps, kept, tmp_path):
    check, shown = given(*losses)
    settings = CHECKED.model_copy(update={"patience": patience})
    model, curve = trained(tmp_path / "state", settings=settings, check=check)
    assert len(curve.losses) == num_steps and curve.kept_step == 2 * kept
    assert curve.checks.tolist() == losses[: num_steps // 2]
    assert torch.equal(weights(model), shown[kept - 1])
    assert len({tuple(values.tolist()) for values in shown}) == len(shown) == num_steps // 2


def test_checks_change_nothing_of_the_training_but_where_it_ends(tmp_path):
    """RoBERTa has dropout, which measuring turns off."""
    plain, curve = trained(tmp_path / "plain", settings=CHECKED.model_copy(update={"num_checks": None}), name="roberta")
    checked, again = trained(tmp_path / "checked", settings=CHECKED, name="roberta", check=given(5, 4, 3, 2, 1)[0])
    assert torch.equal(weights(plain), weights(checked)) and np.array_equal(curve.losses, again.losses)
    assert curve.kept_step == again.kept_step == 10 and curve.checks.size == 0


@pytest.mark.parametrize(("killed_at", "between_saves"), [(5, 2), (5, 3), (4, 2), (7, 1), (8, 3)])
def test_resumed_between_and_at_checks_equals_uninterrupted_to_the_bit(killed_at, between_saves, tmp_path):
    """The least loss is at step 4, seen before the kill or after it; patience ends the training at step 8 of 10."""
    seen = {2: 5.0, 4: 3.0, 6: 4.0, 8: 3.5, 10: 1.0}
    settings, load = CHECKED.model_copy(update={"patience": 2}), functools.partial(fresh_model, "roberta")

    def run(state, until=None):
        done = [0]

        def follow(num_done, _total):
            done[0] = num_done
            if num_done == until:
                raise Killed

        how = {"precision": "fp32", "steps_between_saves": between_saves, "progress": follow}
        return mlm.train(load, batches(settings), state, check=lambda _model: seen[done[0]], **how)

    whole, curve = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "state", killed_at)
    assert (tmp_path / "state").is_file()
    resumed, again = run(tmp_path / "state")
    assert len(curve.losses) == 8 and curve.kept_step == again.kept_step == 4
    assert torch.equal(weights(whole), weights(resumed)) and np.array_equal(curve.losses, again.losses)
    assert curve.checks.tolist() == again.checks.tolist() == [5.0, 3.0, 4.0, 3.5]


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
