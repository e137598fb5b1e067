"""What each arm costs: text, steps, arithmetic, seconds, storage, from records and from the encoder's shapes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from dontstop.profiles import PhaseSettings, Profile
from dontstop.runs.arms import Arm, Checkpoint, phase_settings
from dontstop.runs.plan import text_of
from dontstop.text.tasks import Task
from dontstop.training import modernbert

COLUMNS = (
    "num_documents",
    "num_text_tokens",
    "num_bytes",
    "num_steps",
    "tokens_processed",
    "tflops",
    "cpu_seconds",
    "selection_seconds",
)


@dataclass(frozen=True)
class Shape:
    """What of an encoder's shape decides how much arithmetic a token takes.

    Attributes:
        body_weights: Parameters in the matrices that every token passes.
        masked_weights: Those in the last layer's matrices that only masked tokens pass, where training cuts it down.
        head_weights: Those of the LM head, which masked tokens pass.
        hidden_size: Of a token's state.
        num_layers: With attention over the whole sequence.
        num_parameters: Of the whole encoder, LM head, norms and embeddings included.
    """

    body_weights: int
    masked_weights: int
    head_weights: int
    hidden_size: int
    num_layers: int
    num_parameters: int


def shape_of(config) -> Shape:
    """Read the shape off a Transformers configuration; no weights are made."""
    from transformers import AutoModelForMaskedLM

    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(config)
    body, whole = (_matrix_weights(part) for part in (model.base_model, model))
    # Of a last layer that is cut down, keys and values are needed everywhere: two thirds of the joint projection.
    layer = model.base_model.layers[-1] if modernbert.supports(config) else None
    masked = _matrix_weights(layer) - layer.attn.Wqkv.weight.numel() * 2 // 3 if layer is not None else 0
    sizes = config.hidden_size, config.num_hidden_layers, model.num_parameters()
    return Shape(body - masked, masked, whole - body, *sizes)


def _matrix_weights(module: nn.Module) -> int:
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


def pretraining_flops(shape: Shape, num_tokens: int, length: int, mlm_probability: float, part: str = "all") -> float:
    """Count the floating-point operations of masked-LM training, forward and backward.

    Two for each parameter of a matrix and token, and for each pair of positions in attention (scores, then the mix),
    times three for the backward pass, of which matrices that are not trained save one. The LM head is run at the masked
    positions only, as are the last layer's queries and all that follows them where the shape says so. Norms,
    activations, the embedding's look-up, an adapter's own small products and the optimizer are left out, as is usual.

    Args:
        num_tokens: Seen in training, over all steps.
        length: Of a sequence.
        mlm_probability: The share of tokens that are masked.
        part: What is trained: `all`, `lora` or `embeddings` (with a tied LM head, whose matrix they are).
    """
    of_body, of_head = {"all": (3, 3), "lora": (2, 2), "embeddings": (2, 3)}[part]
    body = of_body * 2 * (shape.body_weights + mlm_probability * shape.masked_weights)
    layers = shape.num_layers - (1 - mlm_probability if shape.masked_weights else 0)
    attention = 3 * 4 * layers * shape.hidden_size * length
    head = of_head * 2 * mlm_probability * shape.head_weights
    return float(num_tokens) * (body + attention + head)


def phases_of(arms: Mapping[Arm, Sequence[Task]], num_draws: int) -> list[Checkpoint]:
    """List the checkpoints of all phases that arms rest on, of random text those of every draw."""
    draws = ((arm, task, draw) for arm, tasks in arms.items() for task in tasks for draw in _draws_of(arm, num_draws))
    return list(dict.fromkeys(c for arm, task, draw in draws for c in arm.checkpoint(task, draw).lineage[1:]))


def _draws_of(arm: Arm, num_draws: int) -> range:
    return range(num_draws if arm.is_random else 1)


def text_sizes(
    stores: Iterable[str],
    token_counts: Mapping[str, Mapping],
    manifest: Mapping,
    selection_counts: Mapping,
    task_bytes: Mapping[str, int],
) -> dict[str, dict[str, int]]:
    """Put together how much text stands behind token stores: num_documents, num_tokens and num_bytes by store.

    Args:
        stores: As `plan.text_of` names those of `phases_of`.
        token_counts: Documents and tokens by store, of corpora and tasks.
        manifest: Of the prepared text, with the corpora's bytes.
        selection_counts: Of augmented corpora.
        task_bytes: Of each task's training texts.
    """
    sizes = {}
    for store in stores:
        kind, name, *_ = store.split("/")
        if kind == "selected":
            sizes[store] = selection_counts["stores"][store]
        else:
            of_corpus = manifest["domains"].get(name, {}).get("num_bytes") if kind == "corpora" else task_bytes[name]
            sizes[store] = token_counts[store] | {"num_bytes": of_corpus}
    return sizes


def costs(
    arms: Mapping[Arm, Sequence[Task]],
    pretraining: pd.DataFrame,
    sizes: Mapping[str, Mapping],
    rankings: Mapping[str, Mapping],
    shape: Shape,
    profile: Profile,
) -> pd.DataFrame:
    """Tabulate what it takes to get from the base encoder to each arm's, for each task: a row an arm and task.

    The phases of an arm add up; a random control costs the mean of its draws; a DAPT encoder that several tasks share
    counts in full for each. Selecting text has a column of its own.

    Args:
        pretraining: As `study.pretraining()` gives it.
        sizes: As `text_sizes` gives them, for the text of every phase.
        rankings: By task and selector, with the wall_seconds of one process.

    Returns:
        Columns arm, task and `COLUMNS`; seconds are of processes, over all tries; NaN where others trained a phase.
    """
    trainings, rows = pretraining.set_index("checkpoint"), []
    for arm, task in ((arm, task) for arm, tasks in arms.items() for task in tasks):
        found = [
            [_of_phase(c, trainings.loc[c.name], sizes, shape, profile) for c in arm.checkpoint(task, draw).lineage[1:]]
            for draw in _draws_of(arm, profile.selection.num_draws)
        ]
        mean = {name: float(np.mean([sum(phase[name] for phase in draw) for draw in found])) for name in COLUMNS[:-1]}
        selector = arm.selector or profile.selection.selector
        is_ranked = any(phase.kind == "knn_tapt" for phase in arm.phases)
        seconds = rankings[task.name][selector]["wall_seconds"] if is_ranked else 0.0
        rows.append({"arm": arm.name, "task": task.name, **mean, "selection_seconds": seconds})
    return pd.DataFrame(rows, columns=["arm", "task", *COLUMNS])


def _of_phase(checkpoint: Checkpoint, training: pd.Series, sizes, shape: Shape, profile: Profile) -> dict[str, float]:
    settings: PhaseSettings = phase_settings(profile, checkpoint.last)
    how = settings.sequence_length, settings.mlm_probability, checkpoint.last.part
    size = sizes[text_of(checkpoint)]
    trained_here = 1.0 if training["num_steps"] else np.nan  # what others paid is not known
    return {
        "num_documents": size["num_documents"],
        "num_text_tokens": size["num_tokens"],
        "num_bytes": size["num_bytes"],
        "num_steps": training["num_steps"],
        "tokens_processed": training["num_tokens"],
        "tflops": pretraining_flops(shape, training["num_tokens"], *how) / 1e12 * trained_here,
        # Over all tries: a resumed training has kept the seconds of those before.
        "cpu_seconds": training["wall_seconds"] * training["num_processes"] * trained_here,
    }


def trained_parts(
    arms: Mapping[Arm, Sequence[Task]], pretraining: pd.DataFrame, costs: pd.DataFrame, shape: Shape
) -> pd.DataFrame:
    """Tabulate what arms of one phase train of the encoder, and what that takes: means over tasks.

    Args:
        costs: As `costs` gives them, for these arms and tasks.

    Returns:
        Columns arm; trainable_parameters, percent_trainable; megabytes_kept, of those parameters, since the rest is the
        base encoder's; gradient_and_optimizer_mb, of their gradients and Adam's two moments; tflops; cpu_seconds;
        loss_before and loss_after, on text held out of the phase's own.
    """
    trainings, means, rows = pretraining.set_index("checkpoint"), costs.groupby("arm")[["tflops", "cpu_seconds"]], []
    for arm, tasks in arms.items():
        found = trainings.loc[[arm.checkpoint(task).name for task in tasks]]
        number = shape.num_parameters if arm.part == "all" else found["trainable_parameters"].iloc[0]
        row = {"arm": arm.name, "trainable_parameters": int(number)}
        row |= {"percent_trainable": 100 * number / shape.num_parameters}
        row |= {"megabytes_kept": 4 * number / 1e6, "gradient_and_optimizer_mb": 12 * number / 1e6}
        rows.append(row | means.mean().loc[arm.name].to_dict() | found[["loss_before", "loss_after"]].mean().to_dict())
    return pd.DataFrame(rows)


def ratios(costs: pd.DataFrame, arm: Arm, other: Arm) -> pd.DataFrame:
    """Return an arm's cost by another's, a row a task: columns task, seconds (of processes) and bytes (of text)."""
    first, second = (costs[costs["arm"] == one.name].set_index("task") for one in (arm, other))
    found = (first[["cpu_seconds", "num_bytes"]] / second[["cpu_seconds", "num_bytes"]]).loc[first.index]
    return found.rename(columns={"cpu_seconds": "seconds", "num_bytes": "bytes"}).reset_index()


def pareto_optimal(costs: Sequence[float], scores: Sequence[float]) -> list[bool]:
    """Tell which arms are on the Pareto front: no other costs no more and scores no less, one of the two strictly.

    An arm of unknown cost neither beats another nor stands on the front.
    """
    costs, scores = np.asarray(costs, float), np.asarray(scores, float)
    beaten = [
        bool(np.any((costs <= cost) & (scores >= score) & ((costs < cost) | (scores > score))))
        for cost, score in zip(costs, scores, strict=True)
    ]
    return [not lost and not np.isnan(cost) for lost, cost in zip(beaten, costs, strict=True)]
