"""The masked-only head is exact for every architecture; encoders are saved, loaded, and refused where unsafe."""

import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    DebertaConfig,
    DebertaForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    MPNetConfig,
    MPNetForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
    RoFormerConfig,
    RoFormerForMaskedLM,
)

from dontstop.errors import StudyError
from dontstop.training import encoders

VOCABULARY, LENGTH, BATCH = 97, 12, 3


def modernbert(**settings):
    config = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    return ModernBertForMaskedLM(ModernBertConfig(vocab_size=VOCABULARY, **config, **ids, **settings))


def small(config_class, model_class, **names):
    return model_class(config_class(vocab_size=VOCABULARY, max_position_embeddings=64, **names))


BERT_SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
WITHOUT_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
MODELS = {
    "modernbert": lambda: modernbert(layer_types=["full_attention"] * 2),
    "modernbert_local": lambda: modernbert(layer_types=["sliding_attention", "full_attention"], local_attention=4),
    "modernbert_biased": lambda: modernbert(layer_types=["full_attention"] * 2, attention_bias=True, mlp_bias=True),
    "roberta": lambda: small(RobertaConfig, RobertaForMaskedLM, pad_token_id=0, **BERT_SIZES),
    "roberta_without_dropout": lambda: small(
        RobertaConfig, RobertaForMaskedLM, pad_token_id=0, **BERT_SIZES, **WITHOUT_DROPOUT
    ),
    "bert": lambda: small(BertConfig, BertForMaskedLM, pad_token_id=0, **BERT_SIZES),
    "distilbert": lambda: small(
        DistilBertConfig, DistilBertForMaskedLM, pad_token_id=0, dim=16, n_layers=2, n_heads=2, hidden_dim=24
    ),
    "albert": lambda: small(AlbertConfig, AlbertForMaskedLM, pad_token_id=0, embedding_size=8, **BERT_SIZES),
    "electra": lambda: small(ElectraConfig, ElectraForMaskedLM, pad_token_id=0, embedding_size=8, **BERT_SIZES),
    "mpnet": lambda: small(MPNetConfig, MPNetForMaskedLM, pad_token_id=0, **BERT_SIZES),
    "deberta": lambda: small(DebertaConfig, DebertaForMaskedLM, pad_token_id=0, **BERT_SIZES),
    "deberta_v2": lambda: small(DebertaV2Config, DebertaV2ForMaskedLM, pad_token_id=0, **BERT_SIZES),
    "roformer": lambda: small(RoFormerConfig, RoFormerForMaskedLM, pad_token_id=0, embedding_size=16, **BERT_SIZES),
}


def batch():
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(5, VOCABULARY, (BATCH, LENGTH), generator=rng)
    masked = torch.rand(ids.shape, generator=rng) < 0.3
    masked[1] = False  # a sequence with nothing masked must do no harm
    return ids, masked


@pytest.mark.parametrize("name", MODELS)
def test_masked_only_loss_and_gradients_equal_the_models_own(name):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    ids, masked = batch()
    labels = torch.where(masked, ids, -100)
    expected = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
    expected.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    ours = encoders.masked_lm_loss(model, ids, masked.flatten().nonzero()[:, 0], ids[masked]) / masked.sum()
    ours.backward()
    assert ours.item() == pytest.approx(expected.item(), rel=1e-6)
    for parameter, gradient in gradients.items():
        mine = model.get_parameter(parameter).grad
        torch.testing.assert_close(mine, gradient, rtol=1e-4, atol=1e-6, msg=lambda text, p=parameter: f"{p}: {text}")


def test_sum_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, 0.0], [0.0, torch.log(torch.tensor(3.0))]], requires_grad=True)
    loss = encoders.sum_cross_entropy(logits, torch.tensor([0, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(0.693147 + 0.287682, abs=1e-5)  # -log 1/2 - log 3/4
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.5, 0.5], [0.25, -0.25]]))


def test_sum_cross_entropy_equals_pytorchs():
    logits = (5 * torch.randn(40, VOCABULARY, generator=torch.Generator().manual_seed(0))).requires_grad_()
    labels = torch.arange(40)
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    (wanted,) = torch.autograd.grad(3.0 * expected, logits)
    loss = encoders.sum_cross_entropy(logits, labels)
    (gradient,) = torch.autograd.grad(3.0 * loss, logits)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, wanted)


def test_pickled_weights_are_refused(tmp_path):
    model = MODELS["roberta"]()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(StudyError, match=r"model\.safetensors"):
        encoders.load_encoder(tmp_path)


@pytest.mark.parametrize("name", ["modernbert", "roberta"])
def test_the_average_of_encoders_has_the_mean_of_their_weights(name, tmp_path):
    models = []
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        models.append(MODELS[name]())
        models[-1].save_pretrained(tmp_path / str(seed))
    average = encoders.average_encoders([tmp_path / "1", tmp_path / "2", tmp_path / "3"])
    parts = [model.state_dict() for model in models]
    for key, value in average.state_dict().items():
        expected = sum(part[key].double() for part in parts) / 3
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-7)
    tied = average.get_output_embeddings().weight.data_ptr() == average.get_input_embeddings().weight.data_ptr()
    assert tied and not torch.equal(average.get_input_embeddings().weight, models[0].get_input_embeddings().weight)


def test_saved_encoder_loads_the_same(tmp_path):
    model = MODELS["modernbert"]()
    model.save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path)
    for (name, value), other in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
