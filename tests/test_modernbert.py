"""ModernBERT without padding computes what the model's own forward pass does, in inference and in training."""

import pytest
import torch

from dontstop.training import encoders, modernbert
from test_encoders import MODELS, batch
from test_encoders import modernbert as new_model


def padded():
    ids, _ = batch()
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, 7:], mask[2, 3:] = False, False
    return ids, mask


def test_only_plain_modernbert_is_supported():
    for name in ("modernbert", "modernbert_biased"):
        assert modernbert.supports(MODELS[name]().config)
    for name in ("modernbert_local", "roberta"):
        assert not modernbert.supports(MODELS[name]().config)
    assert not modernbert.supports(new_model(layer_types=["full_attention"] * 2, mlp_dropout=0.1).config)


def test_unpadded_states_equal_the_models_own_at_real_tokens():
    torch.manual_seed(0)
    model = MODELS["modernbert"]().eval()
    ids, mask = padded()
    with torch.no_grad():
        expected = model.base_model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        ours = modernbert.unpadded_states(model.base_model, ids, mask)
    torch.testing.assert_close(ours[mask], expected[mask], rtol=1e-5, atol=1e-6)
    assert not ours[~mask].any()


@pytest.mark.parametrize("name", ["modernbert", "modernbert_biased"])
def test_gradients_through_padded_batches_equal_the_models_own(name):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    ids, mask = padded()
    model.base_model(input_ids=ids, attention_mask=mask.long()).last_hidden_state[mask].square().sum().backward()
    expected = {n: p.grad.clone() for n, p in model.base_model.named_parameters()}
    model.zero_grad()
    modernbert.unpadded_states(model.base_model, ids, mask)[mask].square().sum().backward()
    for parameter, gradient in expected.items():
        torch.testing.assert_close(model.base_model.get_parameter(parameter).grad, gradient, rtol=1e-4, atol=1e-4)


def test_a_model_can_be_trained_after_another_was_used_under_inference_mode():
    """What is kept from one call to the next must not be an inference tensor."""
    model, (ids, mask) = MODELS["modernbert"](), padded()
    modernbert._pairs_together.cache_clear()
    with torch.inference_mode():
        encoders.final_states(model.base_model, ids, mask)
    encoders.final_states(model.base_model, ids, mask).sum().backward()
    assert model.get_input_embeddings().weight.grad is not None
