"""The experiments, plans of checkpoints, runs and losses, and where all of it is kept."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dontstop.design import arms
from dontstop.design.arms import Arm, Checkpoint, Run
from dontstop.errors import StudyError, chosen
from dontstop.text.tasks import Task


@dataclass(frozen=True)
class Experiment:
    """What a notebook's run needs.

    Attributes:
        notebook: That runs it, and under which its results stand.
        arms: To fine-tune on every task with every seed, beside those that a profile's settings decide.
        measured: Kinds of the encoders whose masked-LM loss is measured: `base`, `dapt`, `tapt` or `dapt_tapt`; and,
            beside `dapt`, those of the profile's arms against forgetting.
        on: On what: every `domain`'s held-out sample (and the general text's), or every `task`'s dev texts; encoders of
            `dapt_tapt` on their own domain's and the general text alone.
    """

    notebook: str
    arms: tuple[Arm, ...] = ()
    measured: tuple[str, ...] = ()
    on: str = "domain"

    @property
    def losses(self) -> str:
        """The name of its records of losses."""
        return f"cross_{self.on}_loss"


EXPERIMENTS = {
    "base": Experiment("base"),
    "domain_gap": Experiment("01_domain_gap", measured=("base",)),
    "dapt": Experiment("02_dapt", (arms.BASE, arms.DAPT, *arms.NOT_DAPTS), ("base", "dapt")),
    "tapt": Experiment("03_tapt", (arms.TAPT,)),
    "dapt_tapt": Experiment("04_dapt_tapt", (arms.DAPT_TAPT,), ("dapt_tapt",)),
    "transfer_tapt": Experiment("05_transfer_tapt", (arms.TRANSFER_TAPT,), ("base", "tapt"), "task"),
    "knn_tapt": Experiment("06_knn_tapt"),
}
# The notebooks, and the experiment that each runs; the base encoder's results stand under `base`.
NOTEBOOKS = {experiment.notebook: name for name, experiment in EXPERIMENTS.items() if name != "base"}
CURVE = "tapt_curve"  # the records of TAPT with fewer epochs
LABEL_CURVE = "label_curve"  # the records of runs with other numbers of labels, in notebook 04
LABEL_CURVE_ARMS = (arms.BASE, arms.DAPT, arms.TAPT, arms.DAPT_TAPT)


def get_experiment(name: str) -> Experiment:
    """Return an experiment by its name, as `errors.chosen` does."""
    return chosen("experiment", name, EXPERIMENTS)


@dataclass(frozen=True)
class Plan:
    """What is to be done: checkpoints, parents first, the runs that need them, and losses of them on token stores."""

    checkpoints: tuple[Checkpoint, ...] = ()
    runs: tuple[Run, ...] = ()
    losses: tuple[tuple[Checkpoint, str], ...] = ()

    def __add__(self, other: "Plan") -> "Plan":
        """Return both plans as one, each checkpoint once."""
        checkpoints = tuple(dict.fromkeys(self.checkpoints + other.checkpoints))
        runs, losses = dict.fromkeys(self.runs + other.runs), dict.fromkeys(self.losses + other.losses)
        return Plan(checkpoints, tuple(runs), tuple(losses))


def plan_runs(
    some: Sequence[Arm],
    tasks: Sequence[Task],
    seeds: Sequence[int],
    replicate: int = 0,
    num_labels: Sequence[int | None] = (None,),
) -> Plan:
    """Plan one replicate's runs of every task, arm, seed and number of labels, and the checkpoints they rest on.

    Runs come in the order seed, task, arm, so that an unfinished study has whole comparisons to show.

    Raises:
        StudyError: If an arm takes the text of a task that the study does not have.
    """
    names = {task.name for task in tasks}
    for task, arm in itertools.product(tasks, some):
        if missing := {phase.text for phase in arm.checkpoint(task).phases if phase.is_tapt} - names:
            raise StudyError(
                f"no task {missing.pop()}, on whose text {arm} of {task.name} is trained",
                "both tasks of every domain",
                "add the missing task, or leave that notebook out",
            )
    grid = itertools.product(seeds, tasks, some, num_labels)
    runs = tuple(Run(task, arm, seed, replicate, num) for seed, task, arm, num in grid)
    checkpoints = dict.fromkeys(checkpoint for run in runs for checkpoint in run.checkpoint.lineage)
    return Plan(tuple(checkpoints), runs)


# Where things are kept -------------------------------------------------------------------------------------------


def records_of(arm: Arm) -> tuple[str, str]:
    """Return the notebook that runs an arm, and the name of the arm's records there."""
    if arm in (arms.REPLAY_DAPT, arms.AVERAGE_DAPT):
        return EXPERIMENTS["dapt"].notebook, arm.name
    if arm.is_augmented:
        return EXPERIMENTS["knn_tapt"].notebook, arm.name
    if arm.part != "all":
        return EXPERIMENTS["dapt_tapt"].notebook, arm.name
    if arm.is_short:
        return EXPERIMENTS["tapt"].notebook, CURVE
    return next(experiment.notebook for experiment in EXPERIMENTS.values() if arm in experiment.arms), arm.name


def stage_of(checkpoint: Checkpoint) -> str:
    """Return the stage that trains a checkpoint: `base`, `dapt`, `tapt`, `dapt_tapt` or `augmented_tapt`."""
    last = checkpoint.last
    if last.is_augmented:
        return "augmented_tapt"
    if last.part != "all" or (len(checkpoint.phases) > 1 and last.is_tapt):
        return "dapt_tapt"
    return last.kind if last.kind in ("base", "tapt") else "dapt"


def owner_of(checkpoint: Checkpoint) -> str:
    """Return the notebook that trains, and so keeps, a checkpoint; `base` for the base encoder."""
    stage = stage_of(checkpoint)
    return EXPERIMENTS["knn_tapt" if stage == "augmented_tapt" else stage].notebook


def folder_of(checkpoint: Checkpoint) -> Path:
    """Return where a finished checkpoint stands under checkpoints/<profile>/: an ordinary Transformers folder."""
    place = Path(stage_of(checkpoint), f"replicate_{checkpoint.replicate}")
    return place / checkpoint.name if checkpoint.phases else place


def text_of(checkpoint: Checkpoint) -> str:
    """Name the token store that a checkpoint's last phase trains on: a corpus, a task's texts, or its augmented text.

    Departure: the paper's TAPT reads one text a sequence; here a task's texts are packed like those of a corpus, so
    that short ones leave no padding, and shuffled by sequence.
    """
    last = checkpoint.last
    if last.is_augmented and last.k == 0:
        return f"tasks/{last.text}/train"
    if last.is_augmented:
        return f"selected/replicate_{checkpoint.replicate}/{last.text}/{last.name}"
    return f"tasks/{last.text}/train" if last.is_tapt else f"corpora/{last.text}"


def held_out_of(checkpoint: Checkpoint) -> str:
    """Name the store that shows a checkpoint's loss before and after: a held-out sample, or a task's dev texts."""
    last = checkpoint.last
    return dev_store(last.text) if last.is_tapt or last.is_augmented else held_out_store(last.text)


def held_out_store(text: str) -> str:
    """Name the token store of a domain's (or the general text's) held-out sample."""
    return f"held_out/{text}"


def dev_store(task: str) -> str:
    """Name the token store of a task's dev texts."""
    return f"tasks/{task}/dev"
