"""Rerun a part of a study in a folder of its own, and compare it with what is recorded, to the bit or nearly so."""

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dontstop.design.arms import Checkpoint
from dontstop.design.plan import EXPERIMENTS, Plan, folder_of, owner_of
from dontstop.errors import StudyError
from dontstop.machine import locks, progress, runner
from dontstop.profiles import Paths
from dontstop.runs import adoption, jobs, records
from dontstop.runs.jobs import Jobs
from dontstop.runs.pipeline import Pipeline

# Where the kind of processor, the code or the libraries are others than those of the record.
LOSS_TOLERANCE = 0.01  # of a masked-LM loss, relative
SCORE_TOLERANCE = 0.05  # of a test score in the mean over an arm's runs on a task, absolute
NOT_COMPARED = records.OF_ONE_RUN | {"arm", "fingerprint", "capability", "curve"}


@dataclass(frozen=True)
class Part:
    """What is rerun: checkpoints, and the runs that fine-tune them.

    Attributes:
        jobs: In a folder of their own; what the checkpoints start from among them where no whole encoder is there.
        recorded: All records of the study, by fingerprint and, for those made with other code, by name.
    """

    some: Jobs
    plan: Plan
    jobs: list[progress.Job]
    recorded: dict

    @property
    def minutes(self) -> float | None:
        """How long it takes by the records, on as many processes as there are; None where one is not recorded."""
        known = [self.recorded.get(job.key.partition(".")[0]) for job in self.jobs]
        if None in known:
            return None
        seconds = sum(row["wall_seconds"] * row.get("num_processes", 1) for row in known)
        return seconds / jobs.num_processes(self.some.profile) / 60


def verify(study: Pipeline, names: Sequence[str], replicate: int = 0) -> pd.DataFrame:
    """Train checkpoints and fine-tune them again, and compare with the records; these and all else stay as they are.

    Args:
        names: Of checkpoints: `tapt_sciie`; the TAPT that took least time unless given.

    Returns:
        Columns result, agrees, how: a row a checkpoint and, for its runs, a row a run, or an arm and task where only
        means can agree.

    Raises:
        StudyError: If a name is none of a recorded checkpoint.
    """
    study.prepare()
    paths = Paths(study.profile.name, study.paths.work / "verify")
    paths.data, paths.selected = study.paths.data, study.paths.selected
    with locks.only_run(study.paths.work / "verify.lock"):
        shutil.rmtree(paths.root, ignore_errors=True)  # of one that was killed
        try:
            part = _part(study, paths, names, replicate)
            minutes = "a time not on record" if part.minutes is None else f"some {part.minutes:.0f} min by the records"
            progress.say(f"verify: {len(part.jobs)} jobs, which take {minutes}")
            num_workers = jobs.num_processes(study.profile)
            runner.carry_out(f"verify ({study.profile.name})", part.jobs, num_workers=num_workers)
            return pd.DataFrame(_trainings(study, part) + _runs(part), columns=["result", "agrees", "how"])
        finally:
            shutil.rmtree(paths.root, ignore_errors=True)


def _part(study: Pipeline, paths: Paths, names: Sequence[str], replicate: int) -> Part:
    recorded = _recorded(study)
    plan = sum((study.design.plan(name, [replicate]) for name in EXPERIMENTS), Plan())
    known = {c.name: c for c in plan.checkpoints if ("checkpoint", c.name, replicate) in recorded}
    if unknown := set(names or ["base"]) - set(known):
        found = f"no record of checkpoint {', '.join(sorted(unknown))} in replicate {replicate}"
        raise StudyError(found, f"one of {', '.join(known) or 'a study that has been run'}", "name one of them")
    chosen = [known[name] for name in names] or [_quickest(known.values(), recorded)]
    if any(checkpoint.last.is_augmented for checkpoint in chosen):
        study.select_text(replicate)  # which results on record do not need
    some = Jobs.of(study.profile, paths, accept_others=True)
    identity = some.identity
    todo = [checkpoint for checkpoint in chosen for checkpoint in checkpoint.lineage]
    for checkpoint in set(todo) - set(chosen):
        source = study.paths.checkpoints / folder_of(checkpoint)
        adoption.adopt_checkpoint(paths, identity.checkpoint(checkpoint), source)
    todo = [c for c in dict.fromkeys(todo) if some.trained(c) is None]
    runs = {identity.run(run): run for run in plan.runs if run.checkpoint in chosen}
    made = [*map(some.checkpoint, todo), *map(some.run, runs.values())]
    return Part(some, Plan(tuple(chosen), tuple(runs.values())), made, recorded)


def _quickest(known, recorded: dict) -> Checkpoint:
    def seconds(checkpoint: Checkpoint) -> tuple[bool, float]:
        row = recorded["checkpoint", checkpoint.name, checkpoint.replicate]
        return [phase.kind for phase in checkpoint.phases] != ["tapt"], row["wall_seconds"]

    return min(known, key=seconds)


def _recorded(study: Pipeline) -> dict:
    """Return all records that are as they were written, by fingerprint and by name."""
    found: dict = {}
    for path in sorted(study.paths.results.glob("records/*/*.jsonl")):
        rows = [row for row in records.read_rows(path)[0] if "wall_seconds" in row]
        found |= {_name(row): row for row in rows} | {row["fingerprint"]: row for row in rows if "fingerprint" in row}
    return found


def _name(row: dict) -> tuple:
    if "task" in row:
        return ("run", *(row.get(name, 0) for name in ("task", "arm", "num_train", "replicate", "seed")))
    return "checkpoint", row["checkpoint"], row.get("replicate", 0)


def _recorded_of(part: Part, found: dict) -> dict | None:
    """Return what is recorded of a result that has been made anew."""
    return part.recorded.get(found["fingerprint"]) or part.recorded.get(_name(found))


def _differences(found: dict, recorded: dict) -> list[str] | None:
    """List the fields that differ; None where the two were not made alike, and need not be equal."""
    if any(found[name] != recorded.get(name) for name in ("fingerprint", "capability")):
        return None
    return [
        f"{name} ({found.get(name)}, recorded {value})"
        for name, value in recorded.items()
        if name not in NOT_COMPARED and found.get(name) != value
    ]


def _told(result: str, differences: list[str]) -> tuple[str, bool, str]:
    return result, not differences, f"differs in {', '.join(differences)}" if differences else "equal to the bit"


def _trainings(study: Pipeline, part: Part) -> list[tuple[str, bool, str]]:
    told = []
    for checkpoint in part.plan.checkpoints:
        found = part.some.training(checkpoint)
        recorded = _recorded_of(part, found)
        if (differences := _differences(found, recorded)) is None:
            losses = [name for name in ("loss_before", "loss_after") if recorded[name] is not None]
            apart = max(abs(found[name] / recorded[name] - 1) for name in losses)
            how = f"losses at most {apart:.2%} apart, tolerance {LOSS_TOLERANCE:.0%} ({_why(found, recorded)})"
            told.append((checkpoint.name, apart <= LOSS_TOLERANCE, how))
            continue
        curves = study.paths.results / "curves" / owner_of(checkpoint) / f"replicate_{checkpoint.replicate}"
        curve, path = pd.DataFrame(found["curve"]).to_csv(index=False), curves / f"{checkpoint.name}.csv"
        if path.is_file() and path.read_text() != curve:
            differences.append(f"its curve ({path})")
        told.append(_told(checkpoint.name, differences))
    return told


def _runs(part: Part) -> list[tuple[str, bool, str]]:
    told, elsewhere = [], defaultdict(list)
    for run in part.plan.runs:
        found = part.some.result(part.some.identity.run(run))
        recorded = _recorded_of(part, found)
        num_labels = f" {run.num_labels} labels" if run.num_labels else ""
        name = f"{run.task.name} {run.arm}{num_labels} seed {run.seed}"
        if recorded is None:
            told.append((name, False, "not recorded"))
        elif (differences := _differences(found, recorded)) is None:
            elsewhere[f"{run.task.name} {run.arm}"].append((found, recorded))
        else:
            told.append(_told(name, differences))
    for name, pairs in elsewhere.items():
        scores, kept = np.mean([[row["test_score"] for row in pair] for pair in pairs], axis=0)
        how = f"mean score {scores:.3f}, recorded {kept:.3f}, tolerance {SCORE_TOLERANCE} ({_why(*pairs[0])})"
        told.append((f"{name}, {len(pairs)} seeds", abs(scores - kept) <= SCORE_TOLERANCE, how))
    return told


def _why(found: dict, recorded: dict) -> str:
    """Say why a result need not be equal to the bit."""
    if found["capability"] != recorded.get("capability"):
        return f"recorded by {recorded.get('capability', records.NOT_RECORDED)}"
    return "recorded with other code, text, settings or libraries"
