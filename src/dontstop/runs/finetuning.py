"""The job of a fine-tuning run: a classifier from a checkpoint, its scores and predictions as a record."""

import time

import numpy as np

from dontstop import tokens
from dontstop.design.arms import Run
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.randomness import generator, seed_of
from dontstop.profiles import Paths, Profile
from dontstop.runs import scratch
from dontstop.runs.records import encode_predictions
from dontstop.runs.scratch import Target
from dontstop.text.tasks import SPLITS
from dontstop.training import devices, finetune


def fine_tune(profile: Profile, target: Target, run: Run, encoder: str, labels: list[str]) -> None:
    """Fine-tune a run's checkpoint on its task with its seed, and write the record.

    Args:
        encoder: The checkpoint's scratch key.
        labels: In the order of their ids.
    """
    begin, paths = time.perf_counter(), target.paths
    task, settings = run.task, profile.finetune_for(run.task.name)
    splits = {split: load_examples(paths, task.name, labels, split, settings.max_length) for split in SPLITS}
    if run.num_labels is not None:
        chosen = labelled(splits["train"].labels, run.num_labels, task.name, run.replicate)
        splits["train"] = splits["train"].subset(chosen)
    classifier = finetune.load_classifier(
        scratch.folder(paths, encoder) / "encoder",
        len(labels),
        settings,
        seed=seed_of("head", run.random_seed, task.name),
    ).to(devices.resolve_device(profile.device))
    data = finetune.TaskData(task.name, **splits, num_labels=len(labels), metric=task.metric)
    outcome = finetune.finetune(classifier, data, settings, seed=run.random_seed, precision=target.precision)
    record = {
        "task": task.name,
        "arm": run.arm.name,
        "replicate": run.replicate,
        "seed": run.seed,
        "domain": task.domain,
        "metric": task.metric,
        "test_score": outcome.test_scores[task.metric],
        "dev_score": max(outcome.dev_scores),
        **{f"test_{metric}": value for metric, value in outcome.test_scores.items()},
        "test_log_probability": outcome.log_probability,
        "num_epochs": settings.num_epochs if settings.patience is None else len(outcome.dev_scores),
        "best_epoch": outcome.best_epoch,
        "num_steps": outcome.num_steps,
        **{f"num_{split}": len(examples) for split, examples in splits.items()},
        "dev_scores": outcome.dev_scores,
        "degenerate": outcome.degenerate,
        "labels": labels,
        "test_predictions": encode_predictions(outcome.predictions),
        "checkpoint": run.checkpoint.name,
        **target.identity,
        "wall_seconds": time.perf_counter() - begin,
    }
    files.write_json(target.result, record)


def labelled(labels: np.ndarray, num: int, task: str, replicate: int) -> np.ndarray:
    """Draw the training texts that carry labels in a replicate, (num,) indices; fewer are among more.

    At random, but for the first text of each class, which go first, so that no class is without a label.

    Args:
        labels: (num_train,) label ids of all of the task's training texts.
    """
    order = generator("labelled texts", replicate, task).permutation(len(labels))
    first = np.unique(labels[order], return_index=True)[1]
    return np.concatenate([order[np.sort(first)], np.delete(order, first)])[:num]


def load_examples(paths: Paths, task: str, labels: list[str], split: str, max_length: int) -> finetune.Examples:
    """Load the tokenised examples of a task's split, cut to a length in tokens, with the ids of their labels.

    Raises:
        StudyError: If texts and tokens are not of one run of prepare.
    """
    store = tokens.load_token_store(paths.tokens(f"tasks/{task}", split))
    ids = {label: index for index, label in enumerate(labels)}
    rows = files.read_jsonl(paths.split(task, split))
    if len(rows) != len(store):
        raise StudyError(
            f"{len(rows)} texts and {len(store)} tokenised ones in {task}'s {split} split",
            "files made by one run of prepare",
            f"delete {paths.data} and give the same command again",
        )
    return finetune.Examples(tokens.cut(store, max_length), np.array([ids[row["label"]] for row in rows]))
