"""What each arm costs: text, steps, arithmetic, seconds, storage, from records and from the encoder's shapes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from dontstop.design.arms import Arm, Checkpoint, phase_settings
from dontstop.design.plan import text_of
from dontstop.profiles import Profile
from dontstop.text.tasks import Task
from dontstop.training import modernbert
from dontstop.verdicts.scores import in_shared_replicates

Arms = Mapping[Arm, Sequence[Task]]  # each with the tasks that it is run on
ByName = Mapping[str, Mapping]
_OF_PHASE = ("num_documents", "num_text_tokens", "num_bytes", "num_steps", "tokens_processed", "tflops", "cpu_seconds")
COLUMNS = (*_OF_PHASE, "selection_seconds")
SAME_COST = 0.25  # of a cost: CPU-seconds of equal work were seen to differ by a fifth


@dataclass(frozen=True)
class Shape:
    """What of an encoder's shape decides how much arithmetic a token takes, in numbers of parameters.

    Of the matrices: `body_weights` in those that every token passes; `masked_weights` in the last layer's that only
    masked tokens pass, where training cuts it down; `head_weights` in the LM head's, which masked tokens pass. Then the
    size of a token's state, the layers, and all parameters of the encoder, LM head, norms and embeddings included.
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
    """Count the floating-point operations of masked-LM training on so many tokens in all, forward and backward.

    Two for each parameter of a matrix and token, and for each pair of positions in attention (scores, then the mix),
    times three for the backward pass, of which matrices that are not trained save one. The LM head is run at the masked
    positions only (`mlm_probability` of them), as are the last layer's queries and all that follows them where the
    shape says so. Norms, activations, the embedding's look-up, an adapter's own small products and the optimizer are
    left out, as is usual.

    Args:
        length: Of a sequence.
        part: What is trained: `all`, `lora` or `embeddings` (with a tied LM head, whose matrix they are).
    """
    of_body, of_head = {"all": (3, 3), "lora": (2, 2), "embeddings": (2, 3)}[part]
    body = of_body * 2 * (shape.body_weights + mlm_probability * shape.masked_weights)
    layers = shape.num_layers - (1 - mlm_probability if shape.masked_weights else 0)
    attention = 3 * 4 * layers * shape.hidden_size * length
    head = of_head * 2 * mlm_probability * shape.head_weights
    return float(num_tokens) * (body + attention + head)


def phases_of(arms: Arms) -> list[Checkpoint]:
    """List the checkpoints of all phases that arms rest on, each once, as the first replicate has them."""
    lineages = (arm.checkpoint(task).lineage[1:] for arm, tasks in arms.items() for task in tasks)
    return list(dict.fromkeys(checkpoint for lineage in lineages for checkpoint in lineage))


def text_sizes(
    stores: Iterable, token_counts: ByName, manifest: ByName, selection_counts: ByName, task_bytes: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """Put together how much text stands behind token stores: num_documents, num_tokens and num_bytes by store.

    The stores are as `plan.text_of` names those of `phases_of`; augmented corpora have counts of their own.
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
    arms: Arms, pretraining: pd.DataFrame, sizes: ByName, rankings: ByName, shape: Shape, profile: Profile
) -> pd.DataFrame:
    """Tabulate what it takes to get from the base encoder to each arm's, for each task: a row an arm and task.

    The phases of an arm add up; what replicates cost differently, as where training stops by the dev loss, is averaged,
    and text is the first replicate's; a DAPT encoder that several tasks share counts in full for each. Selecting text
    has a column of its own. Sizes, of every phase's text, are from `text_sizes`; rankings, by task and selector, have
    the wall_seconds of one process.

    Returns:
        Columns arm, task and `COLUMNS`; seconds are of processes, over all tries; NaN where others trained a phase.
    """
    trainings, rows = mean_trainings(pretraining), []
    of_phase = {c: _of_phase(c, trainings.loc[c.name], sizes[text_of(c)], shape, profile) for c in phases_of(arms)}
    for arm, task in ((arm, task) for arm, tasks in arms.items() for task in tasks):
        lineage, nothing = arm.checkpoint(task).lineage[1:], np.zeros(len(_OF_PHASE))
        is_ranked = any(phase.kind == "knn_tapt" and phase.k for phase in arm.phases)
        selector = arm.selector or profile.selection.selector
        seconds = rankings[task.name][selector]["wall_seconds"] if is_ranked else 0.0
        rows.append([arm.name, task.name, *sum((of_phase[c] for c in lineage), nothing), seconds])
    return pd.DataFrame(rows, columns=["arm", "task", *COLUMNS])


def mean_trainings(pretraining: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of every checkpoint's training in the mean over its num_replicates, and its cpu_seconds.

    By name. Seconds are over all tries: a resumed training has kept those before.
    """
    known = pretraining.assign(cpu_seconds=pretraining["wall_seconds"] * pretraining["num_processes"])
    # Where nothing is known of any checkpoint, as of encoders that others trained, a column holds no numbers at all.
    unknown = known.columns[known.isna().all()]
    by_name = known.astype(dict.fromkeys(unknown, float)).groupby("checkpoint", sort=False)
    return by_name.mean(numeric_only=True).assign(num_replicates=by_name.size())


def _of_phase(checkpoint: Checkpoint, training: pd.Series, size: Mapping, shape: Shape, profile: Profile) -> np.ndarray:
    """Return what a phase costs, in the order of `_OF_PHASE`; what others paid is not known."""
    settings, (num_steps, num_tokens) = phase_settings(profile, checkpoint), training[["num_steps", "num_tokens"]]
    if settings is None:  # an average of weights, of which nothing is trained
        return np.zeros(len(_OF_PHASE))
    how = settings.sequence_length, settings.mlm_probability, checkpoint.last.part
    flops = pretraining_flops(shape, num_tokens, *how) / 1e12
    paid = [flops, training["cpu_seconds"]] if num_steps else [np.nan, np.nan]
    of_text = [size[name] for name in ("num_documents", "num_tokens", "num_bytes")]
    return np.array([*of_text, num_steps, num_tokens, *paid], float)


def trained_parts(arms: Arms, pretraining: pd.DataFrame, costs: pd.DataFrame, shape: Shape) -> pd.DataFrame:
    """Tabulate what arms of one phase train of the encoder, and what that takes (by their `costs`): means over tasks.

    Returns:
        Columns arm; trainable_parameters, percent_trainable; megabytes_kept, of those parameters, since the rest is the
        base encoder's; gradient_and_optimizer_mb, of their gradients and Adam's two moments; tflops; cpu_seconds;
        loss_before and loss_after, on text held out of the phase's own, over num_replicates that all of them have.
    """
    names = [arm.checkpoint(task).name for arm, tasks in arms.items() for task in tasks]
    own = in_shared_replicates(pretraining[pretraining["checkpoint"].isin(names)], ["checkpoint"])
    trainings, of_arm = mean_trainings(own), costs.groupby("arm")[["tflops", "cpu_seconds"]].mean()
    rows = []
    for arm, tasks in arms.items():
        found = trainings.loc[[arm.checkpoint(task).name for task in tasks]]
        number = shape.num_parameters if arm.part == "all" else int(found["trainable_parameters"].iloc[0])
        row = {"arm": arm.name, "trainable_parameters": number}
        row |= {"percent_trainable": 100 * number / shape.num_parameters, "megabytes_kept": 4 * number / 1e6}
        row["gradient_and_optimizer_mb"] = 12 * number / 1e6
        rows.append(row | dict(of_arm.loc[arm.name]) | dict(found[["loss_before", "loss_after"]].mean()))
    return pd.DataFrame(rows).assign(num_replicates=own["replicate"].nunique())


def ratios(costs: pd.DataFrame, arm: Arm, other: Arm) -> pd.DataFrame:
    """Return an arm's cost by another's, a row a task: columns task, tflops and bytes (of text)."""
    both = costs.set_index(["arm", "task"])[["tflops", "num_bytes"]]
    first, second = (both.loc[one.name] for one in (arm, other))
    return (first / second).loc[first.index].rename(columns={"num_bytes": "bytes"}).reset_index()


def seconds_of(table: pd.DataFrame) -> pd.Series:
    """Return the CPU-seconds that rows of costs took, those of selecting text included."""
    return table["cpu_seconds"].astype(float) + table["selection_seconds"].astype(float)


def pareto_optimal(costs: Sequence[float], scores: Sequence[float]) -> list[bool]:
    """Tell which arms are on the Pareto front: no other costs no more and scores no less, one of the two strictly.

    Costs within `SAME_COST` of one another count as equal: seconds of equal work differ by as much, and chance would
    put one of them on the front. An arm of unknown cost neither beats another nor stands on the front.
    """
    costs, scores = np.asarray(costs, float), np.asarray(scores, float)
    no_more, no_less = costs <= (1 + SAME_COST) * costs[:, None], scores >= scores[:, None]  # a row an arm: the others
    beaten = no_more & no_less & (((1 + SAME_COST) * costs < costs[:, None]) | (scores > scores[:, None]))
    return (~beaten.any(axis=1) & ~np.isnan(costs)).tolist()
