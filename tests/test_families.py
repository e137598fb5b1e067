"""The masked-LM families of the installed Transformers, tiny and random: loaded, trained, classified, adapted."""

import functools

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

import reliability
from dontstop.profiles import CheapAdaptation, Finetune
from dontstop.training import compatibility, encoders, finetune
from dontstop.training.optimizers import FlatParameters

FEW = ("bert", "distilbert", "fnet", "modernbert", "roberta")
EVERY = tuple(MODEL_FOR_MASKED_LM_MAPPING_NAMES)
CHOSEN = EVERY if reliability.SHARE else FEW
VOCABULARY, LENGTH = 97, 12
SIZES = {"vocab_size": VOCABULARY, "max_position_embeddings": 64, "hidden_size": 16, "intermediate_size": 24}
SIZES |= {"num_hidden_layers": 2, "num_attention_heads": 2, "embedding_size": 16, "pad_token_id": 0, "bos_token_id": 1}
SIZES |= {"eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2, "d_model": 16, "encoder_layers": 2, "n_inner": 24}
SIZES |= {"decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24}
SIZES |= {"decoder_ffn_dim": 24, "emb_dim": 16, "n_layers": 2, "n_heads": 2, "dim": 16, "hidden_dim": 24}
# What a family needs beside its sizes, or is too large without.
MORE = {
    "mobilebert": {"embedding_size": 8},
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 8},
    "roc_bert": {"pronunciation_vocab_size": 8, "shape_vocab_size": 8},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
}
# Families that are not taken, and why.
NOT_TAKEN = {
    "mra": "its attention is zero without kernels of its own, which are fetched",
    "modernvbert": "reads images beside text",
    "neomme": "reads images beside text",
    "perceiver": "its states are not those of tokens",
    "reformer": "is made for one length",
    "ultravbert": "reads images beside text",
}
# Without a linear layer of the kind that an adapter stands at; or with one that is tied to the LM head.
NOT_BY_LORA = {"ibert", "luke", "squeezebert"}
DEPEND_ON_PADDING = {"convbert", "fnet", "funnel", "nystromformer", "yoso"}


def small(family: str):
    """Return a random encoder of a family, as small as its settings' names let it be made."""
    config = AutoConfig.for_model(family)
    given = {k: v for k, v in SIZES.items() if k in config.to_dict() and k not in config.attribute_map}
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(AutoConfig.for_model(family, **given | MORE.get(family, {})))


@pytest.fixture(scope="module", params=[family for family in CHOSEN if family not in NOT_TAKEN])
def saved(request, tmp_path_factory):
    """Give a family and a folder with an encoder of it."""
    folder = tmp_path_factory.mktemp("family")
    small(request.param).save_pretrained(folder)
    return request.param, folder


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(5, VOCABULARY, (3, LENGTH), generator=rng)
    return ids, torch.rand(ids.shape, generator=rng) < 0.3


def masked_loss(model) -> torch.Tensor:
    ids, masked = batch()
    return encoders.masked_lm_loss(model, ids, masked.flatten().nonzero()[:, 0], ids[masked]) / masked.sum()


def test_it_is_loaded_and_a_step_lowers_its_loss(saved):
    model, missing = encoders.load_given_encoder(str(saved[1]), seed=0)
    assert missing == []
    ids, masked = batch()
    with torch.no_grad():
        logits = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    before = masked_loss(model)
    assert before.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits[masked], ids[masked]).item(), rel=1e-5
    )
    flat = FlatParameters(model)
    gradient = torch.zeros_like(flat.values)
    flat.gradients_into(gradient)
    masked_loss(model).backward()
    flat.values.add_(gradient, alpha=-0.01 / gradient.norm().item())
    assert masked_loss(model).item() < before.item()


def test_its_body_carries_a_classifier(saved):
    classifier = finetune.load_classifier(saved[1], 3, Finetune(pooling="mean"), seed=0).eval()
    ids, _ = batch()
    logits = classifier(ids, torch.ones_like(ids, dtype=torch.bool))
    logits.sum().backward()
    assert logits.shape == (3, 3) and logits.isfinite().all()
    assert classifier.body.get_input_embeddings().weight.grad.abs().sum() > 0


def test_it_is_known_whether_its_states_depend_on_padding(saved):
    effect = compatibility.padding_effect(encoders.load_encoder(saved[1]))
    assert (effect > compatibility.PADDING_EFFECT) == (saved[0] in DEPEND_ON_PADDING), effect


def test_it_reads_both_ways(saved):
    assert not list(compatibility.one_way("it", encoders.load_encoder(saved[1])))


def test_an_adapter_trains_it(saved):
    family, folder = saved
    load = functools.partial(encoders.load_encoder, folder)
    if family in NOT_BY_LORA:
        pytest.skip("no layer that an adapter can stand at")
    model = encoders.load_partly_trained(load, "lora", CheapAdaptation(lora_rank=2), seed=0)
    masked_loss(model.train()).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained and any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    assert encoders.merge_adapter(model).state_dict().keys() == load().state_dict().keys()


def test_the_families_that_cannot_be_taken_are_families(project):
    assert NOT_TAKEN.keys() | NOT_BY_LORA | DEPEND_ON_PADDING <= set(EVERY)
    page = (project / "docs" / "encoders.md").read_text(encoding="utf-8")
    for family in EVERY:
        assert f"`{family}`" in page, family
