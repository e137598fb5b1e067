"""Build or load an encoder; run its body and its LM head where they are needed and nowhere else."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from dontstop.errors import StudyError
from dontstop.profiles import Encoder


def resolve_precision(precision: str) -> str:
    """Turn `auto` into `bf16` where the processor has bf16 matrix instructions, else into `fp32`.

    Asked of the processor, not measured: a measurement on a busy machine could answer differently tomorrow. Without
    such instructions bf16 is about ten times slower than fp32 on a CPU.
    """
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def build_encoder(settings: Encoder, tokenizer, *, max_length: int, seed: int):
    """Build a masked-LM encoder of ModernBERT architecture with random weights.

    Departure: the paper starts from RoBERTa-base. From scratch and at this size, rotary positions and pre-norm layers
    learn in a tenth of the tokens that RoBERTa's learned positions and post-norm layers need. All layers attend
    globally, since sequences are no longer than ModernBERT's local window.
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
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ModernBertForMaskedLM(config)


def load_encoder(folder: str | Path, *, local_only: bool = True):
    """Load any masked-LM encoder in fp32 from a Transformers folder (or, with local_only=False, a hub name).

    Raises:
        StudyError: If there is no encoder, or only pickled weights, which may run code when read.
    """
    from transformers import AutoModelForMaskedLM

    try:
        return AutoModelForMaskedLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=local_only
        )
    except (OSError, ValueError) as error:
        raise StudyError(
            f"no loadable encoder at {folder}: {str(error).splitlines()[0]}",
            "a folder with config.json and model.safetensors",
            "name such a folder in encoder.name, or let the study train its own (encoder.name: null)",
        ) from error


def save_encoder(model, tokenizer, folder: Path) -> None:
    """Save an encoder and its tokenizer as an ordinary Transformers folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class _SumCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy whose gradient takes the place of the probabilities: two passes over the logits, not five."""

    @staticmethod
    def forward(ctx, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the sum over rows of -log softmax(logits)[label]; logits (num, vocabulary), labels (num,)."""
        probabilities = torch.softmax(logits, dim=1, dtype=torch.float32)
        # log p from p itself: exact to rounding while p is above fp32's smallest normal number.
        picked = probabilities.gather(1, labels[:, None]).clamp_min(torch.finfo(torch.float32).tiny)
        loss = -picked.log().sum()
        ctx.save_for_backward(probabilities, labels)
        ctx.kind = logits.dtype
        return loss

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        """Return (softmax - one-hot) times the incoming scalar."""
        slopes, labels = ctx.saved_tensors
        slopes.scatter_add_(1, labels[:, None], slopes.new_full((len(labels), 1), -1.0))
        if gradient.item() != 1.0:
            slopes.mul_(gradient)
        return slopes.to(ctx.kind), None


def sum_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return summed cross-entropy over rows; logits (num, vocabulary), labels (num,). Differentiable once."""
    return _SumCrossEntropy.apply(logits, labels)


def masked_lm_loss(model, input_ids: torch.Tensor, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the summed masked-LM loss, with the LM head run on the masked positions only.

    Exact: the head works position by position, and the other positions' logits never enter the loss. With 15 % masked
    this saves 85 % of the head's arithmetic, most of a small encoder's. ModernBERT's last layer is cut down likewise.

    Args:
        model: Any `AutoModelForMaskedLM`.
        input_ids: (batch, length) packed token ids, no padding.
        rows: (num_masked,) places of the masked tokens in the flattened (batch * length) order, ascending.
        labels: (num_masked,) the tokens that stood there.

    Returns:
        A scalar: the sum over masked tokens, in nats.
    """
    if is_lean(model):
        states = _lean_states(model.model, input_ids, rows)
        logits = model.decoder(model.head(states))
    else:
        logits = _head_on_rows(model, input_ids, rows)
    return sum_cross_entropy(logits, labels)


def _head_on_rows(model, input_ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Run any masked-LM model with its body's output cut down to `rows` before the head sees it."""

    def keep_rows(_module, _arguments, output):
        flat = output[0].reshape(-1, output[0].shape[-1])
        output["last_hidden_state"] = flat.index_select(0, rows)[None]  # (1, num_masked, hidden)
        return output

    handle = model.base_model.register_forward_hook(keep_rows)
    try:
        # The mask of ones says the same as none, and spares a warning where the pad token stands in packed text.
        return model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).logits[0]
    finally:
        handle.remove()


def is_lean(model) -> bool:
    """Whether `_lean_states` computes this model: ModernBERT, all layers global, no dropout, plain rotary tables."""
    config = model.config
    return (
        config.model_type == "modernbert"
        and set(config.layer_types) == {"full_attention"}
        and config.rope_parameters["full_attention"]["rope_type"] == "default"
        and not (config.attention_dropout or config.embedding_dropout or config.mlp_dropout)
    )


def _lean_states(body, input_ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Compute ModernBERT's final states at `rows` only, (num_rows, hidden).

    All layers but the last run in full. The last one's keys and values are needed everywhere, but its queries, output
    projection, MLP and norm only at `rows`.
    """
    batch, length = input_ids.shape
    states = body.embeddings(input_ids=input_ids)  # (batch, length, hidden)
    cosine, sine = rotary_tables(body, length, states.device)
    for layer in body.layers[:-1]:
        states = _layer(layer, states, cosine, sine)
    return body.final_norm(_last_layer(body.layers[-1], states, rows, cosine, sine))


def lean_body(body, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Compute ModernBERT's final states of a padded batch, (batch, length, hidden); mask (batch, length) bool.

    The same numbers as the model's own forward at the real tokens, with less work around each operation: short texts
    in small batches spend more time there than in arithmetic.
    """
    states = body.embeddings(input_ids=input_ids)
    cosine, sine = rotary_tables(body, input_ids.shape[1], states.device)
    attended = None if bool(mask.all()) else mask[:, None, None, :]
    for layer in body.layers:
        states = _layer(layer, states, cosine, sine, attended)
    return body.final_norm(states)


def rotary_tables(body, length: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosines and sines of the rotary angles, each (length, head_size / 2)."""
    angles = torch.arange(length, device=device)[:, None].float() * body.rotary_emb.full_attention_inv_freq[None, :]
    return angles.cos(), angles.sin()


def _rotate(states: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    left, right = states.chunk(2, dim=-1)
    return torch.cat((left * cosine - right * sine, right * cosine + left * sine), dim=-1)


def _layer(layer, states, cosine, sine, mask=None):
    batch, length, hidden = states.shape
    attention = layer.attn
    qkv = attention.Wqkv(layer.attn_norm(states)).view(batch, length, 3, -1, attention.head_dim)
    query_key = _rotate(qkv[:, :, :2], cosine[:, None, None], sine[:, None, None]).to(qkv.dtype)
    query, key = query_key.unbind(2)  # (batch, length, heads, head_size)
    mixed = functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), qkv[:, :, 2].transpose(1, 2), attn_mask=mask
    )
    states = states + attention.Wo(mixed.transpose(1, 2).reshape(batch, length, hidden))
    return states + layer.mlp(layer.mlp_norm(states))


def _last_layer(layer, states, rows, cosine, sine):
    batch, length, hidden = states.shape
    attention, size = layer.attn, layer.attn.head_dim
    normed = layer.attn_norm(states)
    weight, bias = attention.Wqkv.weight, attention.Wqkv.bias
    key_value = functional.linear(normed, weight[hidden:], None if bias is None else bias[hidden:])
    key, value = key_value.view(batch, length, 2, -1, size).unbind(2)
    key = _rotate(key, cosine[:, None], sine[:, None]).to(value.dtype)

    # Queries stand in a (batch, most masked in a sequence) frame; what fills it up is dropped again below.
    sequence = rows // length
    counts = torch.bincount(sequence, minlength=batch)
    place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[sequence]
    width = int(counts.max()) if len(rows) else 1
    frame = sequence * width + place  # (num_rows,) where each row's query stands in the flattened frame
    query = functional.linear(
        normed.reshape(-1, hidden).index_select(0, rows), weight[:hidden], None if bias is None else bias[:hidden]
    ).view(len(rows), -1, size)
    position = rows % length
    query = _rotate(query, cosine[position][:, None], sine[position][:, None]).to(value.dtype)
    framed = query.new_zeros(batch * width, *query.shape[1:]).index_copy(0, frame, query)
    mixed = functional.scaled_dot_product_attention(
        framed.view(batch, width, -1, size).transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    )
    chosen = mixed.transpose(1, 2).reshape(batch * width, hidden).index_select(0, frame)
    states = states.reshape(-1, hidden).index_select(0, rows) + attention.Wo(chosen)
    return states + layer.mlp(layer.mlp_norm(states))
