"""Arithmetic counted from shapes is what torch counts when a model runs; the front is what none beats."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dontstop.profiles import CheapAdaptation
from dontstop.training import encoders
from dontstop.verdicts import costs
from test_encoders import BATCH, LENGTH, MODELS, batch


@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert"])
def test_counted_arithmetic_is_what_runs(name):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    ids, masked = batch()
    rows = masked.flatten().nonzero()[:, 0]
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        encoders._head_at_positions(model, ids, rows)
    found = counter.get_total_flops()
    shape = costs.shape_of(model.config)
    share = len(rows) / (BATCH * LENGTH)
    # A third of a training's: forward alone. BERT's pooler and the like would show here.
    assert costs.pretraining_flops(shape, BATCH * LENGTH, LENGTH, share) / 3 == pytest.approx(found, rel=0.02)


@pytest.mark.parametrize("part", ["all", "lora", "embeddings"])
@pytest.mark.parametrize("name", ["roberta", "modernbert"])
def test_what_is_not_trained_saves_its_share_of_the_backward_pass(name, part):
    torch.manual_seed(0)
    load, settings = MODELS[name], CheapAdaptation(lora_rank=1)
    model = load() if part == "all" else encoders.load_partly_trained(load, part, settings, seed=0)
    ids, masked = batch()
    rows = masked.flatten().nonzero()[:, 0]
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        encoders._head_at_positions(model.eval(), ids, rows).sum().backward()
    share = len(rows) / (BATCH * LENGTH)
    counted = costs.pretraining_flops(costs.shape_of(model.config), BATCH * LENGTH, LENGTH, share, part)
    # The adapter's own products are left out, and at a width of 16 are not small.
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.25 if part == "lora" else 0.05)


def test_the_front():
    assert costs.on_front([0, 1, 2, 3, 1], [5.0, 6.0, 5.5, 7.0, 6.0]) == [True, True, False, True, True]
