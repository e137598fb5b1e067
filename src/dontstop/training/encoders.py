"""Encoders: build, load, adapt and save them; run their body and their LM head where they are needed only."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from dontstop.errors import StudyError
from dontstop.machine import pretrained
from dontstop.profiles import CheapAdaptation, Encoder
from dontstop.training import modernbert

# Families whose LM head sees one position at a time, so that it can run on the masked ones alone. Any other family's
# head runs on all, which is as correct and slower.
MASKED_ONLY = set(
    "albert bert camembert deberta deberta-v2 distilbert electra modernbert mpnet roberta xlm-roberta".split()
)
SPECIAL_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")


def build_encoder(settings: Encoder, tokenizer, *, max_length: int, seed: int):
    """Build a masked-LM encoder of ModernBERT architecture with random weights.

    Departure: the paper starts from RoBERTa-base. From scratch and at this size, an encoder with rotary positions and
    pre-norm layers learns within ten million tokens what one with RoBERTa's learned positions and post-norm layers has
    not begun to. All layers attend globally, since sequences are no longer than ModernBERT's local window.
    """
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        intermediate_size=settings.intermediate_size,
        max_position_embeddings=max_length,
        layer_types=["full_attention"] * settings.num_layers,
        **{name: getattr(tokenizer, name) for name in SPECIAL_IDS},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ModernBertForMaskedLM(config)


def load_encoder(folder: str | Path, *, local_only: bool = True):
    """Load any masked-LM encoder in fp32 from a Transformers folder (or, with local_only=False, a hub name).

    Raises:
        StudyError: If there is no encoder, or only pickled weights, which may run code when read.
    """
    return _load(folder, local_only=local_only)[0]


def _load(folder: str | Path, *, local_only: bool) -> tuple[nn.Module, list[str]]:
    from transformers import AutoModelForMaskedLM

    try:
        model, about = pretrained.load(
            AutoModelForMaskedLM,
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=local_only,
            output_loading_info=True,
        )
        return model, sorted(about["missing_keys"])
    except (OSError, ValueError) as error:
        raise StudyError(
            f"no loadable encoder at {folder}: {str(error).splitlines()[0]}",
            "a folder with config.json and model.safetensors",
            "name an encoder that has safetensors, or let the study train its own (encoder.name: null)",
        ) from error


def load_given_encoder(name: str, *, seed: int):
    """Load an encoder that others have pretrained, from a folder or by its hub name, in fp32.

    Args:
        seed: Of whatever the weights lack, such as the LM head of an encoder that was published without one.

    Returns:
        The encoder, and the names of the parameters that it lacked and that begin at random.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _load(name, local_only=False)


def average_encoders(folders: Sequence[Path]):
    """Load encoders of one architecture, and return one whose weights are the mean of theirs."""
    model, *others = (load_encoder(folder) for folder in folders)
    with torch.no_grad():
        for name, values in model.named_parameters():  # which has tied weights once
            values.copy_(torch.stack([values, *(other.get_parameter(name) for other in others)]).mean(0))
    return model


def compile_layers(model: nn.Module) -> None:
    """Let torch.compile make kernels for a body's layers, which are alike and so compiled once, at their first use."""
    stacks = [part for part in model.base_model.modules() if isinstance(part, nn.ModuleList)]
    for layer in max(stacks, key=len):
        layer.compile()


def save_encoder(model, tokenizer, folder: Path) -> None:
    """Save an encoder and its tokenizer as an ordinary Transformers folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def adaptation_settings(part: str, settings: CheapAdaptation) -> dict:
    """Return what identifies a phase that trains a part of an encoder; nothing for one that trains all of it."""
    if part == "lora":
        return {"trained_part": part, "lora_rank": settings.lora_rank, "lora_alpha": settings.lora_alpha}
    return {} if part == "all" else {"trained_part": part}


def load_partly_trained(
    load_model: Callable[[], nn.Module], part: str, settings: CheapAdaptation, *, seed: int
) -> nn.Module:
    """Load an encoder of which only a part is trainable.

    Args:
        load_model: Loads the encoder.
        part: `lora`, an adapter at every linear layer of the body; or `embeddings`, the token embeddings, which an LM
            head that is tied to them shares.
        seed: Of the adapter's first values; its effect begins at zero.

    Returns:
        The encoder; with an adapter, wrapped in a `peft.LoraModel` until `merge_adapter` ends it.

    Source: Hu et al. (2021) for the adapter, at all linear layers of the body.
    """
    model = load_model().requires_grad_(False)
    if part == "embeddings":
        model.get_input_embeddings().requires_grad_(True)
        return model
    from peft import LoraConfig, LoraModel

    body = [f"{model.base_model_prefix}.{name}" for name, m in model.base_model.named_modules() if type(m) is nn.Linear]
    config = LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules=body)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LoraModel(model, config, "default")


def merge_adapter(model: nn.Module) -> nn.Module:
    """Add an adapter, if there is one, to the weights that it stands at: what is left is an ordinary encoder."""
    merged = model.merge_and_unload(safe_merge=True) if hasattr(model, "merge_and_unload") else model
    return merged.requires_grad_(True)


class _SumCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy whose gradient takes the probabilities' place: two passes over the logits, not five.

    Measured beside `functional.cross_entropy`, which rounds differently: 7 % of a small encoder's whole step.
    """

    @staticmethod
    def forward(ctx, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the sum of -log softmax(logits)[label]; logits (num, vocabulary), labels (num,)."""
        probabilities = torch.softmax(logits, dim=1, dtype=torch.float32)
        # log p from p itself: exact to rounding while p is above fp32's smallest normal number.
        picked = probabilities.gather(1, labels[:, None]).clamp_min(torch.finfo(torch.float32).tiny)
        loss = -picked.log().sum()
        ctx.save_for_backward(probabilities, labels)
        ctx.dtype = logits.dtype
        return loss

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        """Return (softmax - one-hot) times the incoming scalar."""
        grad_logits, labels = ctx.saved_tensors
        grad_logits.scatter_add_(1, labels[:, None], grad_logits.new_full((len(labels), 1), -1.0))
        if grad_logits.is_cuda or gradient.item() != 1.0:  # to ask a GPU costs more than the product
            grad_logits.mul_(gradient)
        return grad_logits.to(ctx.dtype), None


def sum_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the summed cross-entropy; logits (num, vocabulary), labels (num,). Differentiable once."""
    return _SumCrossEntropy.apply(logits, labels)


def masked_lm_loss(model, input_ids: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the summed masked-LM loss, with the LM head run on the masked positions only, in the usual families.

    Exact: the head works position by position, and the other positions' logits never enter the loss. With 15 % masked
    this saves 85 % of the head's arithmetic, most of a small encoder's. ModernBERT's last layer is cut down likewise.
    A family that is not known to work so has its head run on all positions.

    Args:
        model: Any `AutoModelForMaskedLM`.
        input_ids: (batch, length) packed token ids, no padding.
        positions: (num_masked,) indices of the masked tokens in the flattened (batch * length) order, ascending.
        labels: (num_masked,) the tokens that stood there.

    Returns:
        A scalar: the sum over masked tokens, in nats.
    """
    if modernbert.supports(model.config):
        states = modernbert.states_at(model.base_model, input_ids, positions)
        logits = model.decoder(model.head(states))
    else:
        run = _head_at_positions if model.config.model_type in MASKED_ONLY else _head_everywhere
        logits = run(model, input_ids, positions)
    return sum_cross_entropy(logits, labels)


def _head_everywhere(model, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Run any masked-LM model as it is, head and all, and keep the logits at some positions."""
    logits = model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).logits
    return logits.flatten(0, 1).index_select(0, positions)


def _head_at_positions(model, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Run a masked-LM model with its body's output cut down to some positions before the head sees it."""

    def keep_positions(_module, _arguments, output):
        flat = output[0].reshape(-1, output[0].shape[-1])
        output["last_hidden_state"] = flat.index_select(0, positions)[None]  # (1, num_masked, hidden)
        return output

    handle = model.base_model.register_forward_hook(keep_positions)
    try:
        # The mask of ones says the same as none, and spares a warning where the pad token stands in packed text.
        return model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).logits[0]
    finally:
        handle.remove()


def final_states(body, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Compute any body's final states of a padded batch, (batch, length, hidden); mask is bool.

    What they are at padding depends on the body: look at the real tokens only.
    """
    if modernbert.supports(body.config):
        return modernbert.unpadded_states(body, input_ids, mask)
    return body(input_ids=input_ids, attention_mask=mask.long()).last_hidden_state
