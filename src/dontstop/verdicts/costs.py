"""What each arm costs: text, steps, arithmetic, seconds, storage, from records and from the encoder's shapes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from dontstop.machine import files
from dontstop.profiles import PhaseSettings
from dontstop.runs import arms, jobs
from dontstop.runs.arms import Checkpoint
from dontstop.text import corpora
from dontstop.text.tasks import Task

COLUMNS = (
    "num_documents",
    "num_text_tokens",
    "num_bytes",
    "num_steps",
    "num_tokens_read",
    "teraflops",
    "process_seconds",
    "selection_seconds",
)


@dataclass(frozen=True)
class Shape:
    """What of an encoder's shape decides how much arithmetic a token takes.

    Attributes:
        body_weights: Numbers in the matrices that every token passes.
        head_weights: Numbers in those of the LM head, which the masked tokens pass.
        hidden_size: Of a token's state.
        num_layers: With attention over the whole sequence.
    """

    body_weights: int
    head_weights: int
    hidden_size: int
    num_layers: int


def shape_of(config) -> Shape:
    """Read the shape off a Transformers configuration; no weights are made."""
    from transformers import AutoModelForMaskedLM

    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(config)
    body, whole = (_matrix_numbers(part) for part in (model.base_model, model))
    return Shape(body, whole - body, config.hidden_size, config.num_hidden_layers)


def num_parameters(config) -> int:
    """Count an encoder's numbers, LM head and all, by its Transformers configuration; no weights are made."""
    from transformers import AutoModelForMaskedLM

    with torch.device("meta"):
        return AutoModelForMaskedLM.from_config(config).num_parameters()


def _matrix_numbers(module: nn.Module) -> int:
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


def pretraining_flops(shape: Shape, num_tokens: int, length: int, mlm_probability: float, part: str = "all") -> float:
    """Count the floating-point operations of masked-LM training, forward and backward.

    Two for each number of a matrix and token, and for each pair of positions in attention (scores, then the mix), times
    three for the backward pass, of which matrices that are not trained save one; the LM head at the masked positions
    only, as our training runs it. Norms, activations, the embedding's look-up, an adapter's own small products and the
    optimizer are left out, as is usual.

    Args:
        num_tokens: Seen in training, over all steps.
        length: Of a sequence.
        mlm_probability: The share of tokens that are masked.
        part: What is trained: `all`, `lora` or `embeddings` (with a tied LM head, whose matrix they are).
    """
    of_body, of_head = {"all": (3, 3), "lora": (2, 2), "embeddings": (2, 3)}[part]
    attention = 3 * 4 * shape.num_layers * shape.hidden_size * length
    head = of_head * 2 * mlm_probability * shape.head_weights
    return float(num_tokens) * (of_body * 2 * shape.body_weights + attention + head)


def of_checkpoint(
    shape: Shape, training: pd.Series, settings: PhaseSettings, text: dict, part: str = "all"
) -> dict[str, float]:
    """Put together what one phase costs.

    Args:
        training: Its record.
        text: num_documents, num_tokens and num_bytes of what it reads.
        part: What it trains, as `arms.trained_part` has it.
    """
    flops = pretraining_flops(shape, training["num_tokens"], settings.sequence_length, settings.mlm_probability, part)
    trained_here = 1.0 if training["num_steps"] else np.nan  # what others paid is not known
    return {
        "num_documents": text["num_documents"],
        "num_text_tokens": text["num_tokens"],
        "num_bytes": text["num_bytes"],
        "num_steps": training["num_steps"],
        "num_tokens_read": training["num_tokens"],
        "teraflops": flops / 1e12 * trained_here,
        # Over all tries: a resumed training has kept the seconds of those before.
        "process_seconds": training["wall_seconds"] * training["num_processes"] * trained_here,
    }


def of_arms(study, names: Sequence[str], tasks: Sequence[Task]) -> pd.DataFrame:
    """Tabulate what it takes to get from the base encoder to each arm's, for each task: a row an arm and task.

    The phases of an arm add up; a random control costs the mean of its draws; a DAPT encoder that several tasks share
    counts in full for each. Selecting text is told apart.

    Returns:
        Columns arm, task and `COLUMNS`.
    """
    from transformers import AutoConfig

    shape = shape_of(AutoConfig.from_pretrained(study.checkpoint_folder(Checkpoint())))
    trainings = study.trainings().set_index("checkpoint")
    rows = []
    for arm in names:
        for task in tasks:
            draws = range(study.profile.selection.num_draws) if arm.startswith("rand_tapt") else (0,)
            found = [_of_phases(study, shape, trainings, arms.checkpoint_of(arm, task, draw)) for draw in draws]
            mean = {name: float(np.mean([row[name] for row in found])) for name in COLUMNS[:-1]}
            rows.append({"arm": arm, "task": task.name, **mean, "selection_seconds": _selecting(study, arm, task)})
    return pd.DataFrame(rows, columns=["arm", "task", *COLUMNS])


def of_parts(study, names: Sequence[str], tasks: Sequence[Task]) -> pd.DataFrame:
    """Tabulate what arms of one phase train of the encoder, and what that takes: means over tasks.

    Returns:
        Columns arm; num_trained (numbers) and percent_trained; megabytes_kept, of those numbers, since the rest is the
        base encoder's; megabytes_in_training, of their gradients and Adam's two moments; teraflops; process_seconds;
        loss_before and loss_after, on text held out of the phase's own.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(study.checkpoint_folder(Checkpoint()))
    trainings, whole = study.trainings().set_index("checkpoint"), num_parameters(config)
    by_task = of_arms(study, names, tasks).groupby("arm")[["teraflops", "process_seconds"]].mean()
    rows = []
    for arm in names:
        found = trainings.loc[[arms.checkpoint_of(arm, task).name for task in tasks]]
        trained = found["num_trained"].iloc[0] if arm in arms.CHEAP_ARMS else whole
        row = {"arm": arm, "num_trained": int(trained), "percent_trained": 100 * trained / whole}
        row |= {"megabytes_kept": 4 * trained / 1e6, "megabytes_in_training": 12 * trained / 1e6}
        rows.append(row | by_task.loc[arm].to_dict() | found[["loss_before", "loss_after"]].mean().to_dict())
    return pd.DataFrame(rows)


def _of_phases(study, shape: Shape, trainings: pd.DataFrame, checkpoint: Checkpoint) -> dict[str, float]:
    total = dict.fromkeys(COLUMNS[:-1], 0.0)
    while checkpoint.phases:
        kind, of_text = checkpoint.phases[-1]
        settings, part = study.profile.phase(kind, of_text), arms.trained_part(kind)
        text = _text(study, jobs.text_of(checkpoint))
        found = of_checkpoint(shape, trainings.loc[checkpoint.name], settings, text, part)
        total = {name: total[name] + found[name] for name in total}
        checkpoint = checkpoint.parent
    return total


def _text(study, store: str) -> dict:
    """Return documents, tokens and bytes of the text behind a token store."""
    kind, name, *_ = store.split("/")
    if kind == "selected":
        return files.read_json(study.paths.selected / "manifest.json")["stores"][store]
    counts = study.token_counts()[store]
    if kind == "corpora":
        return counts | {"num_bytes": study.manifest()["domains"][name]["num_bytes"]}
    texts = corpora.load_examples(study.paths, name, "train")
    return counts | {"num_bytes": sum(len(row["text"].encode()) for row in texts)}


def _selecting(study, arm: str, task: Task) -> float:
    """Return the seconds of one process that ranked the candidates for an arm with neighbours."""
    if not arm.startswith("knn_tapt"):
        return 0.0
    selector = "_".join(arm.split("_")[3:]) or study.profile.selection.selector
    return study.rankings(task.name)[selector]["wall_seconds"]


def ratios(study, arm: str, other: str) -> pd.DataFrame:
    """Return an arm's cost by another's, a row a task: columns seconds (of processes) and bytes (of text)."""
    table = of_arms(study, [arm, other], study.tasks).set_index(["arm", "task"])
    names = [task.name for task in study.tasks]
    first, second = (table.loc[name].loc[names] for name in (arm, other))
    return pd.DataFrame(
        {
            "seconds": first["process_seconds"] / second["process_seconds"],
            "bytes": first["num_bytes"] / second["num_bytes"],
        }
    ).reset_index(drop=True)


def on_front(costs: Sequence[float], scores: Sequence[float]) -> list[bool]:
    """Tell which arms no other beats: none costs no more and scores no less, one of the two strictly.

    An arm of unknown cost neither beats another nor stands among the best.
    """
    costs, scores = np.asarray(costs, float), np.asarray(scores, float)
    beaten = [
        bool(np.any((costs <= cost) & (scores >= score) & ((costs < cost) | (scores > score))))
        for cost, score in zip(costs, scores, strict=True)
    ]
    return [not lost and not np.isnan(cost) for lost, cost in zip(beaten, costs, strict=True)]
