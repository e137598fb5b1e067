"""Arithmetic counted from shapes is what torch counts when a model runs; the costs of phases add up, by hand."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dontstop.design import arms
from dontstop.design.plan import text_of
from dontstop.profiles import CheapAdaptation, load_profile
from dontstop.studies import read_study
from dontstop.training import encoders
from dontstop.verdicts import costs
from dontstop.verdicts.costs import Shape
from test_encoders import BATCH, LENGTH, MODELS, batch


def count_flops(model, backward: bool) -> tuple[int, float]:
    """Run masked-LM training's own arithmetic once; return what torch counts, and the share of masked tokens.

    As many tokens of each sequence: ModernBERT's last layer fills all up to the number of the one with most.
    """
    ids, masked = batch()[0], torch.zeros(BATCH, LENGTH, dtype=torch.bool)
    masked[:, [1, 5]] = True
    rows = masked.flatten().nonzero()[:, 0]
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        loss = encoders.masked_lm_loss(model.eval(), ids, rows, ids.flatten()[rows])
        if backward:
            loss.backward()
    return counter.get_total_flops(), len(rows) / (BATCH * LENGTH)


@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert", "modernbert_local"])
def test_counted_arithmetic_is_what_runs(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    with torch.no_grad():
        found, share = count_flops(model, backward=False)
    shape = costs.shape_of(model.config)
    # A third of a training's: forward alone. BERT's pooler and the like would show here.
    counted = costs.pretraining_flops(shape, BATCH * LENGTH, LENGTH, share) / 3
    assert counted == pytest.approx(found, rel=0.02)
    assert shape.num_parameters == model.num_parameters()


def test_a_last_layer_that_is_cut_down_is_counted_at_the_masked_tokens_only():
    shape = costs.shape_of(MODELS["modernbert"]().config)
    assert shape.masked_weights == 16 * 16 * 2 + 16 * 48 + 24 * 16  # queries, output, and the gated MLP's two
    whole = costs.shape_of(MODELS["modernbert_local"]().config)
    assert whole.masked_weights == 0
    assert whole.body_weights == shape.body_weights + shape.masked_weights


@pytest.mark.parametrize("part", ["all", "lora", "embeddings"])
@pytest.mark.parametrize("name", ["roberta", "modernbert"])
def test_what_is_not_trained_saves_its_share_of_the_backward_pass(name, part):
    torch.manual_seed(0)
    load, settings = MODELS[name], CheapAdaptation(lora_rank=1)
    model = load() if part == "all" else encoders.load_partly_trained(load, part, settings, seed=0)
    found, share = count_flops(model, backward=True)
    counted = costs.pretraining_flops(costs.shape_of(model.config), BATCH * LENGTH, LENGTH, share, part)
    # The adapter's own products are left out, and at a width of 16 are not small.
    assert counted == pytest.approx(found, rel=0.25 if part == "lora" else 0.05)


PROFILE = load_profile("smoke")
TASK = read_study("docstrings").task("deep_learning_topic")
SHAPE = Shape(body_weights=100, masked_weights=0, head_weights=0, hidden_size=1, num_layers=0, num_parameters=500)
SOME = {arm: [TASK] for arm in (arms.BASE, arms.DAPT, arms.DAPT_TAPT, arms.LORA_TAPT, arms.rand_tapt(2))}
SOME |= {arm: [TASK] for arm in (arms.knn_tapt(2), arms.knn_tapt(2, "bm25"))}
FREE = {arm: [TASK] for arm in (arms.DAPT, arms.AVERAGE_DAPT, arms.knn_tapt(0))}


@pytest.fixture
def pretraining():
    """Record every phase with as many steps as its place in the list says, a second and two processes a step."""
    checkpoints = costs.phases_of(SOME | FREE)
    rows = [
        {"checkpoint": checkpoint.name, "num_steps": k, "num_tokens": 10 * k, "wall_seconds": k, "num_processes": 2}
        for k, checkpoint in enumerate(checkpoints, 1)
    ]
    return pd.DataFrame(rows).assign(replicate=0, loss_before=4.0, loss_after=3.0, trainable_parameters=5)


def cost_table(pretraining, some=SOME):
    stores = {text_of(checkpoint) for checkpoint in costs.phases_of(some)}
    counts = {"num_documents": 1, "num_tokens": 10, "num_bytes": 100}
    sizes = costs.text_sizes(
        stores,
        dict.fromkeys(stores, {"num_documents": 3, "num_tokens": 30}),
        {"domains": {TASK.domain: {"num_bytes": 1000}}},
        {"stores": dict.fromkeys(stores, counts)},
        {TASK.name: 200},
    )
    rankings = {TASK.name: {"vampire": {"wall_seconds": 7.0}, "bm25": {"wall_seconds": 9.0}}}
    return costs.costs(some, pretraining, sizes, rankings, SHAPE, PROFILE)


def test_phases_add_up(pretraining):
    table = cost_table(pretraining).set_index("arm")
    assert table["num_steps"].tolist() == [0, 1, 1 + 2, 3, 4, 5, 6]
    assert table["cpu_seconds"].tolist() == [2 * steps for steps in table["num_steps"]]
    assert table["tokens_processed"].tolist() == [10 * steps for steps in table["num_steps"]]
    assert table["num_bytes"].tolist() == [0, 1000, 1200, 200, 100, 100, 100]
    assert table["selection_seconds"].tolist() == [0, 0, 0, 0, 0, 7, 9]
    assert table.loc["dapt", "tflops"] == pytest.approx(6 * 100 * 10 / 1e12)
    assert table.loc["lora_tapt", "tflops"] == pytest.approx(4 * 100 * 30 / 1e12)


def test_of_replicates_that_stop_at_different_steps_the_mean_counts(pretraining):
    longer = pretraining.assign(num_steps=3 * pretraining["num_steps"], num_processes=4, replicate=1)
    table = cost_table(pd.concat([pretraining.assign(replicate=0), longer])).set_index("arm")
    assert table.loc[["dapt", "dapt_tapt"], "num_steps"].tolist() == [(1 + 3) / 2, (3 + 9) / 2]
    assert table.loc["dapt", "cpu_seconds"] == (2 + 4) / 2


def test_averages_of_weights_cost_no_more_and_no_neighbours_are_not_searched_for(pretraining):
    table = cost_table(pretraining, FREE).set_index("arm")
    numbers = ["num_steps", "num_bytes", "tflops", "cpu_seconds"]
    assert table.loc["average_dapt", numbers].tolist() == table.loc["dapt", numbers].tolist()
    assert table.loc["knn_tapt_0", "selection_seconds"] == 0 and table.loc["knn_tapt_0", "num_bytes"] == 200


def test_ratios_and_parts_by_hand(pretraining):
    table = cost_table(pretraining)
    ratios = costs.ratios(table, arms.DAPT_TAPT, arms.DAPT)
    assert ratios.to_dict("records") == [{"task": TASK.name, "tflops": pytest.approx(3.0), "bytes": 1.2}]
    chosen = {arm: [TASK] for arm in (arms.DAPT, arms.LORA_TAPT)}
    parts = costs.trained_parts(chosen, pretraining, table, SHAPE).set_index("arm")
    assert parts["trainable_parameters"].tolist() == [500, 5] and parts["percent_trainable"].tolist() == [100, 1]
    assert parts.loc["lora_tapt", "gradient_and_optimizer_mb"] == pytest.approx(12 * 5 / 1e6)
    assert parts.loc["lora_tapt", "cpu_seconds"] == 6 and set(parts["loss_after"]) == {3.0}
    name = arms.DAPT.checkpoint(TASK).name
    more = pretraining[pretraining["checkpoint"] == name].assign(replicate=1, loss_after=9.0)
    twice = pd.concat([pretraining, more])
    parts = costs.trained_parts(chosen, twice, table, SHAPE)  # losses are of the replicate that both arms have
    assert set(parts["loss_after"]) == {3.0} and set(parts["num_replicates"]) == {1}
    assert costs.mean_trainings(twice).loc[name, ["loss_after", "num_replicates"]].tolist() == [6, 2]


def test_what_others_trained_has_no_known_cost(pretraining):
    table = cost_table(pretraining.assign(num_steps=0)).set_index("arm")
    assert math.isnan(table.loc["dapt", "tflops"]) and math.isnan(table.loc["dapt_tapt", "cpu_seconds"])
    assert table.loc["base", "tflops"] == 0 and table.loc["dapt", "num_bytes"] == 1000


def test_the_pareto_front():
    assert costs.pareto_optimal([0, 1, 2, 3, 1], [5.0, 6.0, 5.5, 7.0, 6.0]) == [True, True, False, True, True]
    assert costs.pareto_optimal([0, np.nan], [5.0, 6.0]) == [True, False]
