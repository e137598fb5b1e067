"""Trying things out: an encoder at hand, and a short study of one task that takes minutes and publishes nothing."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dontstop.design.arms import BASE, DAPT, Checkpoint, Phase, Run
from dontstop.design.plan import Plan, plan_runs
from dontstop.machine import locks, progress, runner
from dontstop.profiles import PhaseSettings
from dontstop.runs import adoption, pretraining, scratch
from dontstop.runs.jobs import Jobs
from dontstop.runs.pipeline import Pipeline
from dontstop.runs.results import Results, has_weights, most_weights_first
from dontstop.text.tasks import Task
from dontstop.training import encoders

MOST_STEPS = 250  # of a phase that is tried out: one minute at most on two cores, of an encoder as small as laptop's


class Tried(NamedTuple):
    """What a trial found: a row an arm (columns arm, num_steps, wall_seconds, score), and its encoders' folders."""

    scores: pd.DataFrame
    encoders: dict[str, Path]


def load_encoder(study: Results, *phases: Phase):
    """Load an encoder, of the replicate that has most weights here; where there are none, a new one, and say so.

    So encoders that are loaded one after another are of one replicate, wherever one has them all: they share a base.
    """
    for replicate in most_weights_first(study, study.checkpoints()):
        if has_weights(study, checkpoint := Checkpoint(phases, replicate)):
            return encoders.load_encoder(study.checkpoint_folder(checkpoint))
    command = f"`dontstop run {phases[-1].kind if phases else 'base'} -p {study.profile.name}` trains them"
    told = f"no weights of {Checkpoint(phases).name} here: an encoder that has learnt nothing takes its place"
    progress.say(f"{told}; {command}")
    return pretraining.load_start(study.profile, study.paths, Checkpoint(), None)


@runner.warm_workers()
def try_out(study: Pipeline, task: Task) -> Tried:
    """Fine-tune on a task with DAPT on its domain and without, once; what is finished is found again.

    A base encoder that the study has trained is taken as it is; else a short one is trained.
    """
    study.prepare()
    profile, paths = study.profile, study.paths
    plan = plan_runs((BASE, DAPT), [task], profile.seeds[:1], 0, [profile.labels.primary])
    with locks.only_run(paths.lock):
        own = Jobs.of(profile, paths)
        adoption.adopt(own, Plan((Checkpoint(),)))
        phases = ["dapt"] if own.trained(Checkpoint()) is not None else ["base", "dapt"]
        short = {name: shortened(getattr(profile, name)) for name in phases}
        some = Jobs.of(profile.model_copy(update=short), paths)
        some.carry_out("trial", some.missing(plan))
        rows = [_row(some, run) for run in plan.runs]
        keys = {run.checkpoint.name: some.place(run.checkpoint)[0] for run in plan.runs}
    scores = pd.DataFrame(rows, columns=["arm", "num_steps", "wall_seconds", "score"])
    return Tried(scores, {name: scratch.folder(paths, key) / "encoder" for name, key in keys.items()})


def _row(some: Jobs, run: Run) -> tuple[str, int, float, float]:
    training, found = some.training(run.checkpoint), some.result(some.identity.run(run))
    seconds = training["wall_seconds"] + found["wall_seconds"]
    return run.arm.name, training["num_steps"], seconds, 100 * found["test_score"]


def shortened(settings: PhaseSettings) -> PhaseSettings:
    """Return a phase's settings with few steps."""
    steps = MOST_STEPS if settings.num_steps is None else min(settings.num_steps, MOST_STEPS)
    return settings.model_copy(update={"num_steps": steps, "num_epochs": None})
