"""Batches: masking statistics, every sequence once an epoch, general text among a domain's, parts of a batch."""

import numpy as np
import pytest
import torch

from dontstop.errors import StudyError
from dontstop.machine.randomness import generator
from dontstop.profiles import PhaseSettings
from dontstop.tokens import TokenStore
from dontstop.training import masking
from test_mlm import PHASE, VOCABULARY, batches


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
    settings = PhaseSettings(num_epochs=2, batch_size=5, sequence_length=4, num_shards=1, mlm_probability=0)
    some = masking.Batches(numbered(5, 20), VOCABULARY, settings, "test")
    assert some.num_sequences == 20 and some.num_steps == 8
    read = np.concatenate([some.micro_batch(step, 0).input_ids.numpy()[:, 0] for step in range(8)])
    epochs = np.split(read, 2)
    assert all(sorted(epoch) == list(range(5, 25)) for epoch in epochs) and epochs[0].tolist() != epochs[1].tolist()


def test_a_batch_depends_on_its_step_only():
    some, others = batches(), batches()
    others.micro_batch(5, 1), others.micro_batch(0, 0)
    for name in ("input_ids", "positions", "labels"):
        assert torch.equal(getattr(some.micro_batch(3, 1), name), getattr(others.micro_batch(3, 1), name))
    assert not torch.equal(some.micro_batch(3, 1).input_ids, some.micro_batch(4, 1).input_ids)


def test_too_little_text_is_told():
    with pytest.raises(StudyError, match="at least one sequence of 16 tokens"):
        batches(num_tokens=15)


def test_more_parts_than_a_batch_has_sequences_are_told():
    settings = PHASE.model_copy(update={"batch_size": 3, "num_shards": 4})
    with pytest.raises(StudyError, match="(?s)num_shards = 4.*at most batch_size = 3"):
        batches(settings)
    every = batches(settings.model_copy(update={"num_shards": 3}))
    assert [len(every.micro_batch(0, index).input_ids) for index in range(3)] == [1, 1, 1]


def numbered(first: int, num_sequences: int) -> TokenStore:
    """Return text whose sequences of 4 tokens hold their own number, from `first` on."""
    ids = np.repeat(np.arange(first, first + num_sequences), 4).astype(np.uint16)
    return TokenStore(ids, np.array([0, len(ids)]))


@pytest.mark.parametrize("num_shards", [1, 2, 5])
def test_every_batch_holds_some_sequences_of_the_replayed_text(num_shards):
    """Ten a batch, three of the other text, which has 6 sequences; its own has 14: two steps an epoch of each."""
    settings = PhaseSettings(num_steps=4, batch_size=10, sequence_length=4, num_shards=num_shards, mlm_probability=0)
    some = masking.Batches(numbered(50, 14), VOCABULARY, settings, "test", numbered(10, 6), 3)
    parts = [[some.micro_batch(step, index).input_ids for index in range(num_shards)] for step in range(4)]
    read = np.array([torch.cat(of_step)[:, 0].numpy() for of_step in parts])  # (num_steps, batch_size)
    assert ((read < 50).sum(axis=1) == 3).all()
    for epoch in (read[:2], read[2:]):
        assert sorted(epoch[epoch < 50]) == list(range(10, 16)) and sorted(epoch[epoch >= 50]) == list(range(50, 64))
    assert sorted(read[0]) != sorted(read[2])
    again = masking.Batches(numbered(50, 14), VOCABULARY, settings, "test", numbered(10, 6), 3)
    assert torch.equal(again.micro_batch(3, num_shards - 1).input_ids, parts[3][-1])


def test_without_replayed_text_a_batch_is_the_texts_own():
    settings = PhaseSettings(num_steps=2, batch_size=4, sequence_length=4, num_shards=1, mlm_probability=0)
    alone, beside = (masking.Batches(numbered(50, 8), VOCABULARY, settings, "test", *more) for more in ((), (None, 0)))
    read = [torch.cat([some.micro_batch(step, 0).input_ids for step in range(2)])[:, 0] for some in (alone, beside)]
    assert torch.equal(*read) and sorted(read[0].tolist()) == list(range(50, 58))
