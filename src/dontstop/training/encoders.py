"""Build or load an encoder; run its body and its LM head where they are needed and nowhere else."""

import functools
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from dontstop.errors import StudyError
from dontstop.profiles import Encoder

# Families whose LM head sees one position at a time, so that it can run on the masked ones alone. Any other family's
# head runs on all, which is as correct and slower.
MASKED_ONLY = {
    "albert",
    "bert",
    "camembert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "roberta",
    "xlm-roberta",
}
ROWS_TOGETHER = 64  # tokens; the number of rows of fine-tuning's matrix products is a multiple of it


def resolve_device(device: str) -> str:
    """Turn `auto` into `cuda` where there is a GPU, else into `cpu`.

    Raises:
        StudyError: If a GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise StudyError(
            "no GPU that PyTorch can use",
            "one, since device is cuda",
            "install a PyTorch build for it (make set-up TORCH_INDEX=...), or set device to auto or cpu",
        )
    return "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")


def resolve_precision(precision: str, device: str = "cpu") -> str:
    """Turn `auto` into `bf16` where the device has bf16 matrix instructions, else into `fp32`.

    Asked of the device, not measured: a measurement on a busy machine could answer differently tomorrow. Without
    such instructions bf16 is about ten times slower than fp32.
    """
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


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
    return _load(folder, local_only=local_only)[0]


def _load(folder: str | Path, *, local_only: bool) -> tuple[nn.Module, list[str]]:
    from transformers import AutoModelForMaskedLM

    try:
        model, about = AutoModelForMaskedLM.from_pretrained(
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
            "turn pickled weights into one (`dontstop convert-weights`), name another encoder, or let the study "
            "train its own (encoder.name: null)",
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


def compile_layers(model: nn.Module) -> None:
    """Let torch.compile make kernels for a body's layers, which are alike and so compiled once, at their first use."""
    stacks = [part for part in model.base_model.modules() if isinstance(part, nn.ModuleList)]
    for layer in max(stacks, key=len):
        layer.compile()


def save_encoder(model, tokenizer, folder: Path) -> None:
    """Save an encoder and its tokenizer as an ordinary Transformers folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class _SumCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy whose gradient takes the probabilities' place: two passes over the logits, not five."""

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
        if slopes.is_cuda or gradient.item() != 1.0:  # to ask a GPU costs more than the product
            slopes.mul_(gradient)
        return slopes.to(ctx.kind), None


def sum_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return summed cross-entropy over rows; logits (num, vocabulary), labels (num,). Differentiable once."""
    return _SumCrossEntropy.apply(logits, labels)


class _Embed(torch.autograd.Function):
    """Look rows up; in the backward pass add to those rows of the weight's gradient, where there is one to add to.

    The ordinary way fills a gradient of the whole vocabulary with zeros and adds all of it, for a few hundred tokens.
    """

    @staticmethod
    def forward(ctx, weight: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Return weight[ids]: (num_tokens, hidden) of (vocabulary, hidden) and (num_tokens,)."""
        ctx.weight, ctx.ids = weight, ids
        return weight.index_select(0, ids)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        """Add to weight.grad in place, or return the whole gradient where that is None."""
        weight, ids = ctx.weight, ctx.ids
        if weight.grad is None:
            return torch.zeros_like(weight).index_add_(0, ids, gradient.to(weight.dtype)), None
        weight.grad.index_add_(0, ids, gradient.to(weight.dtype))
        return None, None


def _embed(body, ids: torch.Tensor) -> torch.Tensor:
    embeddings = body.embeddings
    weight = embeddings.tok_embeddings.weight
    # DistributedDataParallel hears of no gradient that autograd has not made.
    found = weight.index_select(0, ids) if torch.distributed.is_initialized() else _Embed.apply(weight, ids)
    return embeddings.norm(found)


def masked_lm_loss(model, input_ids: torch.Tensor, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the summed masked-LM loss, with the LM head run on the masked positions only, in the usual families.

    Exact: the head works position by position, and the other positions' logits never enter the loss. With 15 % masked
    this saves 85 % of the head's arithmetic, most of a small encoder's. ModernBERT's last layer is cut down likewise.
    A family that is not known to work so has its head run on all positions.

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
        run = _head_on_rows if model.config.model_type in MASKED_ONLY else _head_on_all
        logits = run(model, input_ids, rows)
    return sum_cross_entropy(logits, labels)


def _head_on_all(model, input_ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Run any masked-LM model as it is, head and all, and keep the logits at `rows`."""
    logits = model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).logits
    return logits.flatten(0, 1).index_select(0, rows)


def _head_on_rows(model, input_ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Run a masked-LM model with its body's output cut down to `rows` before the head sees it, position by position."""

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
    states = _embed(body, input_ids.flatten())  # (batch * length, hidden)
    rotation = rotations(body, length, states.device).repeat(batch, 1)  # (batch * length, head_size / 2)
    for layer in body.layers[:-1]:
        states = _layer(layer, states, rotation, batch)
    return body.final_norm(_last_layer(body.layers[-1], states, rows, rotation, batch))


def lean_body(body, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Compute ModernBERT's final states of a padded batch, (batch, length, hidden), zero at padding; mask is bool.

    The same numbers as the model's own forward at the real tokens, but only there: padding takes part in attention
    alone, where it is masked, and in no norm, projection or MLP.
    """
    batch, length = mask.shape
    real = mask.flatten().nonzero()[:, 0]  # (num_tokens,)
    rows = _filled_up(real, batch * length)
    states = _embed(body, input_ids.flatten().index_select(0, rows.read))
    rotation = rotations(body, length, states.device).index_select(0, rows.read % length)
    padding = None if len(real) == batch * length == len(rows.read) else (rows, mask[:, None, None, :])
    for layer in body.layers:
        states = _layer(layer, states, rotation, batch, padding)
    return _spread(body.final_norm(states), rows, batch * length).view(batch, length, -1)


def final_states(body, input_ids: torch.Tensor, mask: torch.Tensor, *, lean: bool) -> torch.Tensor:
    """Compute any body's final states of a padded batch, (batch, length, hidden); mask is bool.

    Args:
        lean: As `is_lean` says of its model; then states are zero at padding.
    """
    if lean:
        return lean_body(body, input_ids, mask)
    return body(input_ids=input_ids, attention_mask=mask.long()).last_hidden_state


class _Rows(NamedTuple):
    """Where the real tokens of a padded batch stand, with fillers at the end: read anywhere, written nowhere."""

    read: torch.Tensor
    write: torch.Tensor


def _filled_up(real: torch.Tensor, size: int) -> _Rows:
    """Fill the places of real tokens up to a multiple of ROWS_TOGETHER.

    bf16 products are compiled for each shape they meet, which takes ten times as long as the product itself; so few
    shapes are let come up. A filler repeats the first token and is written behind the batch's `size` places, to be cut
    off: it takes no part in any real token's numbers, and its gradients are zero.
    """
    num_fillers = -len(real) % ROWS_TOGETHER
    return _Rows(
        torch.cat((real, real[:1].expand(num_fillers))), torch.cat((real, real.new_full((num_fillers,), size)))
    )


def _spread(states: torch.Tensor, rows: _Rows, size: int) -> torch.Tensor:
    """Put the states of real tokens to their `size` places, zeros elsewhere; fillers are dropped."""
    return states.new_zeros(size + 1, *states.shape[1:]).index_copy(0, rows.write, states)[:size]


def rotations(body, length: int, device) -> torch.Tensor:
    """Return the rotary rotations as unit complex numbers, (length, head_size / 2)."""
    angles = torch.arange(length, device=device)[:, None].float() * body.rotary_emb.full_attention_inv_freq[None, :]
    return torch.polar(torch.ones_like(angles), angles)


@functools.lru_cache
def _pairs_together(hidden: int, head_size: int, device) -> torch.Tensor:
    """Return the order, (3 * hidden,), of projected queries, keys and values that puts rotated pairs side by side.

    ModernBERT keeps a pair half a head apart. Side by side it is one complex number, and rotating it one product.
    Queries and keys are reordered alike, so their scalar products stay the same; values stay as they are.
    """
    halves = torch.arange(2 * hidden, device=device).view(-1, 2, head_size // 2)  # (2 * heads, 2, head_size / 2)
    values = torch.arange(2 * hidden, 3 * hidden, device=device)
    return torch.cat((halves.transpose(1, 2).reshape(-1), values))


def _project(attention, states: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Project to queries (0), keys (1) and values (2), from `first` to before `last`, with rotated pairs together.

    Returns:
        (num_tokens, last - first, heads, head_size).
    """
    weight, bias = _weight_of(attention.Wqkv), attention.Wqkv.bias
    hidden = weight.shape[1]
    order = _pairs_together(hidden, attention.head_dim, weight.device)[first * hidden : last * hidden]
    bias = None if bias is None else bias.index_select(0, order)
    projected = functional.linear(states, weight.index_select(0, order), bias)
    return projected.unflatten(-1, (last - first, -1, attention.head_dim))


def _weight_of(linear) -> torch.Tensor:
    """Return a linear layer's weight, with what a low-rank adapter adds to it, if it bears one."""
    if isinstance(linear, nn.Linear):
        return linear.weight
    return linear.weight + linear.get_delta_weight(*linear.active_adapters)


def _rotate(states: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Rotate queries and keys, (num_tokens, parts, heads, head_size), by (num_tokens, head_size / 2) rotations."""
    pairs = torch.view_as_complex(states.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation[:, None, None]).flatten(-2)


def _attend(query, key, value, mask=None) -> torch.Tensor:
    """Attend in fp32 on a processor, whose bf16 kernel takes three times as long; elsewhere in the keys' precision.

    Args:
        query: (batch, heads, queries, head_size).
        key: (batch, heads, length, head_size).
        value: Of the same shape.
        mask: (batch, 1, 1, length) bool, or None where nothing is padding.
    """
    if query.device.type != "cpu":
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        parts = (part.float() for part in (query, key, value))
        return functional.scaled_dot_product_attention(*parts, attn_mask=mask)


def _layer(layer, states, rotation, batch, padding=None):
    """Run one layer on (num_tokens, hidden) states of `batch` sequences; padding is (places of the tokens, mask)."""
    attention, normed = layer.attn, layer.attn_norm(states)
    rows, mask = padding or (None, None)
    query_key, value = _project(attention, normed, 0, 3).split([2, 1], dim=1)
    parts = torch.cat((_rotate(query_key, rotation), value.float()), dim=1)  # (num_tokens, 3, heads, head_size)
    if rows is not None:
        parts = _spread(parts, rows, mask.numel())
    framed = parts.unflatten(0, (batch, -1)).permute(2, 0, 3, 1, 4)  # (3, batch, heads, length, head_size)
    mixed = _attend(*framed.unbind(0), mask)
    mixed = mixed.transpose(1, 2).flatten(0, 1).flatten(1)
    states = states + attention.Wo(mixed if rows is None else mixed.index_select(0, rows.read))
    return states + layer.mlp(layer.mlp_norm(states))


def _last_layer(layer, states, rows, rotation, batch):
    hidden, length = states.shape[-1], len(states) // batch
    attention, normed = layer.attn, layer.attn_norm(states)
    key, value = _project(attention, normed, 1, 3).split([1, 1], dim=1)  # (num_tokens, 1, heads, head_size)
    key, value = _rotate(key, rotation)[:, 0], value[:, 0]
    query = _project(attention, normed.index_select(0, rows), 0, 1)
    query = _rotate(query, rotation.index_select(0, rows))[:, 0]  # (num_rows, heads, head_size)

    # Queries stand in a (batch, most masked in a sequence) frame; what fills it up is dropped again below.
    sequence = rows // length
    counts = torch.bincount(sequence, minlength=batch)
    place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[sequence]
    width = int(counts.max())
    frame = sequence * width + place  # (num_rows,) where each row's query stands in the flattened frame
    framed = query.new_zeros(batch * width, *query.shape[1:]).index_copy(0, frame, query)
    mixed = _attend(*(part.unflatten(0, (batch, -1)).transpose(1, 2) for part in (framed, key, value)))
    chosen = mixed.transpose(1, 2).reshape(batch * width, hidden).index_select(0, frame)
    states = states.index_select(0, rows) + attention.Wo(chosen)
    return states + layer.mlp(layer.mlp_norm(states))
