"""Which of an encoder's numbers a phase trains: all, a low-rank adapter beside them, or the embeddings alone."""

from collections.abc import Callable

import torch
from torch import nn

from dontstop.profiles import CheapAdaptation


def identifying(part: str, settings: CheapAdaptation) -> dict:
    """Return what tells a phase that trains a part from one that trains all, which has nothing to tell."""
    if part == "lora":
        return {"trained_part": part, "lora_rank": settings.lora_rank, "lora_alpha": settings.lora_alpha}
    return {} if part == "all" else {"trained_part": part}


def load_partly_trained(
    load_model: Callable[[], nn.Module], part: str, settings: CheapAdaptation, *, seed: int
) -> nn.Module:
    """Load an encoder, and leave only a part of it to be trained.

    Args:
        load_model: Loads the encoder.
        part: `lora`, an adapter at every matrix of the body; or `embeddings`, the matrix of the word pieces, which an
            LM head that is tied to it shares.
        seed: Of the adapter's first values; its effect begins at zero.

    Source: Hu et al. (2021) for the adapter, at all linear layers of the body.
    """
    model = load_model()
    model.requires_grad_(False)
    if part == "embeddings":
        model.get_input_embeddings().requires_grad_(True)
        return model
    from peft import LoraConfig, inject_adapter_in_model

    body = [f"{model.base_model_prefix}.{name}" for name, m in model.base_model.named_modules() if type(m) is nn.Linear]
    config = LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules=body)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return inject_adapter_in_model(config, model)


def merge(model: nn.Module) -> nn.Module:
    """Add an adapter's product to the matrices it stands at, and take it away: what is left is an ordinary encoder."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge(safe_merge=True)
            model.set_submodule(name, layer.get_base_layer())
    return model.requires_grad_(True)
