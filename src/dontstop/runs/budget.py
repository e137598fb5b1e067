"""What arms will cost on this machine, by a few timed steps, before it is spent; and those that a budget affords."""

import functools
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from transformers.utils import logging

from dontstop import tokens
from dontstop.design import arms
from dontstop.design.arms import Arm, Checkpoint, phase_settings
from dontstop.design.plan import EXPERIMENTS
from dontstop.machine import runner
from dontstop.machine.processes import one_thread
from dontstop.machine.progress import Job
from dontstop.profiles import PhaseSettings, Profile
from dontstop.runs import finetuning, jobs, pretraining
from dontstop.runs.pipeline import Pipeline
from dontstop.training import devices, encoders, finetune, mlm
from dontstop.training.optimizers import FlatParameters, ScheduledAdamW

# The order in which a budget is spent: the base encoder, then the cheaper text before the dearer.
ORDER = (arms.BASE, arms.TAPT, arms.DAPT, arms.DAPT_TAPT)
NUM_STEPS, NUM_SEQUENCES = 4, 16  # that are timed, after one that is not; of a step, at most
COLUMNS = ["arm", "num_checkpoints", "num_runs", "pretraining_tokens", "fine_tuning_tokens", "cpu_seconds"]
COLUMNS += ["wall_seconds", "affordable"]


@dataclass(frozen=True)
class Speed:
    """How fast one process of this machine is, and the encoder's configuration that it was timed with.

    Attributes:
        pretraining: Seconds a token of masked-LM training, forward and backward.
        fine_tuning: Seconds a token of a classifier's training.
    """

    pretraining: float
    fine_tuning: float
    config: object


def affordable_part(profile: Profile) -> Profile:
    """Return a profile that asks for those of its arms that a budget is spent on; the base, asked for or not.

    Every gain is one over the base encoder: without its runs a budget would be spent and nothing said.
    """
    asked = None if profile.arms is None else {arms.BASE.name, *profile.arms}
    return profile.model_copy(update={"arms": [a.name for a in ORDER if asked is None or a.name in asked]})


def time_steps(study: Pipeline) -> Speed:
    """Time a few steps of pretraining and of fine-tuning, on the study's own text; what they train is thrown away."""
    profile, paths = study.profile, study.paths
    logging.disable_progress_bar()  # of loading and saving weights
    settings = _short(phase_settings(profile, Checkpoint()) or profile.dapt, 1)
    device = devices.resolve_device(profile.device)
    how = {"precision": devices.resolve_precision(profile.precision, device), "device": device}
    load = functools.partial(pretraining.load_start, profile, paths, Checkpoint(), None)
    batches = pretraining.batches_of(profile, paths, Checkpoint())
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "state.safetensors")
        mlm.train(load, replace(batches, settings=settings), state, **how)
        timed = _short(settings, NUM_STEPS)
        model, curve = mlm.train(load, replace(batches, settings=timed), state, **how)
        encoders.save_encoder(model, tokens.load_tokenizer(paths.tokenizer()), Path(folder, "encoder"))
        fine_tuning = _time_fine_tuning(study, Path(folder, "encoder"), **how)
    num_tokens = NUM_STEPS * timed.batch_size * timed.sequence_length
    return Speed(curve.wall_seconds / num_tokens, fine_tuning, model.config)


def _short(settings: PhaseSettings, num_steps: int) -> PhaseSettings:
    """Return a phase of a few steps, each of few sequences: a token of it costs as much."""
    size = min(settings.batch_size, NUM_SEQUENCES)
    changed = {"num_steps": num_steps, "num_epochs": None, "num_checks": None, "patience": None}
    return settings.model_copy(update=changed | {"batch_size": size, "num_shards": 1, "sequences_at_once": None})


def _time_fine_tuning(study: Pipeline, folder: Path, *, precision: str, device: str) -> float:
    """Return the seconds that a token of the first task's training texts takes."""
    task, labels = study.tasks[0], study.manifest()["tasks"][study.tasks[0].name]["labels"]
    settings = study.profile.finetune_for(task.name)
    train = finetuning.load_examples(study.paths, task.name, labels, "train", settings.max_length)
    data = finetune.TaskData(task.name, train, train, train, len(labels), task.metric)
    classifier = finetune.load_classifier(folder, len(labels), settings, seed=0).to(device)
    flat = FlatParameters(classifier, [*classifier.dense.parameters(), *classifier.out.parameters()])
    optimizer = ScheduledAdamW(flat, settings, NUM_STEPS + 1)
    batches = finetune.epoch_batches(train.lengths(), settings.batch_size, seed=0, stream=task.name, epoch=0)
    some = (list(batches) * (NUM_STEPS + 1))[: NUM_STEPS + 1]
    with one_thread():
        finetune.train_epoch(classifier, data, some[:1], flat, optimizer, precision)
        begin = time.perf_counter()
        finetune.train_epoch(classifier, data, some[1:], flat, optimizer, precision)
    return (time.perf_counter() - begin) / sum(int(train.lengths()[batch].sum()) for batch in some[1:])


def costs_ahead(study: Pipeline, speed: Speed, minutes: float) -> pd.DataFrame:
    """Tabulate what each arm would still cost, in the order in which minutes are spent, and whether it is affordable.

    What an affordable arm before it makes is not counted again; results that are there cost nothing. Without the base
    encoder's runs, which all arms are held against, nothing is affordable. Tokens are those that training reads,
    seconds are of processes and of the clock.
    """
    seen: set[str] = set()
    rows, left = [], 60 * minutes
    workers = jobs.num_processes(study.profile)
    for arm in (arm for arm in ORDER if arm in study.arms()):
        todo = [job for job in of_arm(study, arm).ahead(_experiment(arm)) if job.key not in seen]
        row = _row(arm, todo, speed, workers)
        row["affordable"] = row["wall_seconds"] <= left and (not rows or rows[0]["affordable"])
        if row["affordable"]:
            left -= row["wall_seconds"]
            seen |= {job.key for job in todo}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(arm: Arm, todo: Iterable[Job], speed: Speed, workers: int) -> dict:
    sizes = {kind: [job.size for job in todo if job.kind == kind] for kind in ("checkpoint", "run", "loss")}
    pretrained, fine_tuned = sum(sizes["checkpoint"]) + sum(sizes["loss"]), sum(sizes["run"])
    seconds = pretrained * speed.pretraining + fine_tuned * speed.fine_tuning
    numbers = [len(sizes["checkpoint"]), len(sizes["run"]), pretrained, fine_tuned, seconds, seconds / workers]
    return dict(zip(COLUMNS, [arm.name, *numbers], strict=False))


@runner.warm_workers()
def run_affordable(study: Pipeline, costs: pd.DataFrame) -> None:
    """Train and score the affordable arms, one after another: the study's own runs, resumed where they are."""
    for arm in (arm for arm in ORDER if arm.name in costs.loc[costs["affordable"], "arm"].tolist()):
        of_arm(study, arm).run(_experiment(arm))


def of_arm(study: Pipeline, arm: Arm) -> Pipeline:
    """Return a study of one arm alone, under the notebook that runs the arm."""
    profile = study.profile.model_copy(update={"arms": [arm.name]})
    return Pipeline(profile, study.paths, study.tasks, EXPERIMENTS[_experiment(arm)].notebook)


def _experiment(arm: Arm) -> str:
    return next(name for name, experiment in EXPERIMENTS.items() if arm in experiment.arms)
