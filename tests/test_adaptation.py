"""Training a part of an encoder: exact, nothing else moves, and what is left is an ordinary encoder."""

import functools

import pytest
import torch

from dontstop.profiles import CheapAdaptation
from dontstop.training import encoders, mlm, modernbert
from test_encoders import MODELS, batch
from test_mlm import batches, fresh_model, interrupt, trained, weights

SETTINGS = CheapAdaptation(lora_rank=2, lora_alpha=4)


def partly(name: str, part: str):
    return encoders.load_partly_trained(functools.partial(fresh_model, name), part, SETTINGS, seed=7)


def trained_partly(state, name: str, part: str, **more):
    load = functools.partial(partly, name, part)
    return mlm.train(load, batches(), state, precision="fp32", steps_between_saves=2, **more)[0]


def stirred(name: str):
    """Return an encoder whose adapter has an effect, which it does not have to begin with."""
    model = partly(name, "lora")
    torch.manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=1.0)
    return model.eval()


def masked_loss(model):
    ids, masked = batch()
    positions = masked.flatten().nonzero()[:, 0]
    return encoders.masked_lm_loss(model, ids, positions, ids.flatten()[positions])


@pytest.mark.parametrize("name", MODELS)
def test_an_adapter_begins_without_effect_and_merges_into_an_ordinary_encoder(name):
    fresh = fresh_model(name).eval()
    assert masked_loss(partly(name, "lora").eval()).item() == pytest.approx(masked_loss(fresh).item(), rel=1e-6)
    model = stirred(name)
    expected = masked_loss(model).item()
    assert expected != pytest.approx(masked_loss(fresh).item(), rel=1e-5)
    merged = encoders.merge_adapter(model)
    assert masked_loss(merged).item() == pytest.approx(expected, rel=1e-6)
    assert merged.state_dict().keys() == fresh.state_dict().keys()
    assert all(parameter.requires_grad for parameter in merged.parameters())


def test_the_unpadded_forward_pass_knows_of_an_adapter():
    """Against the model's own forward pass, loss and gradients."""
    model = stirred("modernbert")
    assert modernbert.supports(model.config)
    ids, masked = batch()
    labels = torch.where(masked, ids, -100)
    parts = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ours = torch.autograd.grad(masked_loss(model), parts)
    own = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss * masked.sum()
    for mine, theirs in zip(ours, torch.autograd.grad(own, parts), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["modernbert", "roberta"])
def test_only_the_part_is_trained(name, tmp_path):
    fresh = fresh_model(name)
    adapted = encoders.merge_adapter(trained_partly(tmp_path / "lora", name, "lora")).state_dict()
    moved = {key for key, value in fresh.state_dict().items() if not torch.equal(value, adapted[key])}
    body = {f"{fresh.base_model_prefix}.{key}.weight" for key, m in fresh.base_model.named_modules() if is_linear(m)}
    assert moved == body
    embedded = trained_partly(tmp_path / "embeddings", name, "embeddings").state_dict()
    moved = {key for key, value in fresh.state_dict().items() if not torch.equal(value, embedded[key])}
    tied = fresh.get_input_embeddings().weight.data_ptr()
    assert moved == {key for key, value in fresh.state_dict().items() if value.data_ptr() == tied}


def is_linear(module) -> bool:
    return isinstance(module, torch.nn.Linear)


@pytest.mark.parametrize("part", ["lora", "embeddings"])
def test_a_part_is_trained_alike_by_any_number_of_processes_and_after_interruption(part, tmp_path):
    whole = trained_partly(tmp_path / "whole", "modernbert", part)
    shared = trained_partly(tmp_path / "shared", "modernbert", part, num_processes=2)
    interrupt(trained_partly, tmp_path / "state", "modernbert", part)
    resumed = trained_partly(tmp_path / "state", "modernbert", part)
    assert torch.equal(weights(whole), weights(shared)) and torch.equal(weights(whole), weights(resumed))
    assert not torch.equal(weights(encoders.merge_adapter(whole)), weights(trained(tmp_path / "all")[0]))
