"""The experiments: what each notebook trains, fine-tunes and measures, and under whose name it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dontstop.errors import StudyError
from dontstop.profiles import Paths, Profile
from dontstop.runs import arms
from dontstop.runs.arms import Arm, Checkpoint, Phase, Plan
from dontstop.text import corpora
from dontstop.text.tasks import GENERAL, Task, domains_of


@dataclass(frozen=True)
class Experiment:
    """What a notebook's run needs.

    Attributes:
        notebook: That runs it, and under which its results stand.
        arms: To fine-tune on every task with every seed, beside those that a profile's numbers decide.
        measured: Kinds of the encoders whose masked-LM loss is measured: `base`, `dapt` or `tapt`.
        on: On what: every `domain`'s held-out sample (and the general text's), or every `task`'s dev texts.
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
    "dapt": Experiment("02_dapt", (arms.BASE, arms.DAPT, arms.NOT_DAPT), ("base", "dapt")),
    "tapt": Experiment("03_tapt", (arms.TAPT,)),
    "dapt_tapt": Experiment("04_dapt_tapt", (arms.DAPT_TAPT,)),
    "transfer_tapt": Experiment("05_transfer_tapt", (arms.TRANSFER_TAPT,), ("base", "tapt"), "task"),
    "knn_tapt": Experiment("06_knn_tapt"),
}
# The notebooks, and the experiment that each runs; the base encoder's results stand under `base`.
NOTEBOOKS = {experiment.notebook: name for name, experiment in EXPERIMENTS.items() if name != "base"}
CURVE = "tapt_curve"  # the records of TAPT with fewer epochs


def get_experiment(name: str) -> Experiment:
    """Return an experiment by its name.

    Raises:
        StudyError: If there is none of that name.
    """
    if name not in EXPERIMENTS:
        raise StudyError(f"experiment {name!r}", f"one of {', '.join(EXPERIMENTS)}", "name one of them")
    return EXPERIMENTS[name]


@dataclass(frozen=True)
class Design:
    """What a profile asks for: arms with their tasks, and the plan of every experiment.

    Attributes:
        tasks: All of the study's.
        unlabelled: Names of the tasks that have unlabelled text of their own source.
    """

    profile: Profile
    tasks: tuple[Task, ...]
    unlabelled: frozenset[str] = frozenset()

    @classmethod
    def of(cls, profile: Profile, paths: Paths, tasks: Sequence[Task]) -> "Design":
        """Return what a profile asks for, given its prepared text."""
        entries = corpora.load_manifest(paths)["tasks"].items()
        return cls(profile, tuple(tasks), frozenset(name for name, entry in entries if "unlabelled" in entry))

    def arms(self) -> dict[Arm, list[Task]]:
        """Return all arms that the profile asks for, each with the tasks that it is run for, by notebook."""
        found: dict[Arm, list[Task]] = {}
        for some_arms, some_tasks in (group for name in EXPERIMENTS for group in self.groups(name) if group[1]):
            for arm in some_arms:
                found.setdefault(arm, []).extend(some_tasks)
        return found

    def groups(self, experiment: str) -> list[tuple[list[Arm], list[Task]]]:
        """Return the arms that an experiment fine-tunes, with their tasks, in groups that are planned together."""
        settings, fixed = self.profile, list(EXPERIMENTS[experiment].arms)
        if experiment == "knn_tapt":
            return [(self._augmented_arms(task), [task]) for task in self.augmented_tasks()]
        groups = [(fixed, self.transfer_tasks() if experiment == "transfer_tapt" else list(self.tasks))]
        if experiment == "tapt":
            short = [arms.short_tapt(epochs) for epochs in sorted(settings.tapt_curve.num_epochs)]
            groups.append((short, self._among(settings.tapt_curve.tasks)))
        if experiment == "dapt_tapt":
            cheap = [arm for name, arm in arms.ARMS.items() if name in settings.cheap_adaptation.arms]
            groups.append((cheap, self._among(settings.cheap_adaptation.tasks)))
        return groups

    def plan(self, experiment: str) -> Plan:
        """Plan an experiment's checkpoints, the base encoder's always among them, its runs, and the losses measured."""
        seeds, num_draws, losses = self.profile.seeds, self.profile.selection.num_draws, self.measured(experiment)
        runs = (arms.plan(*group, seeds, num_draws) for group in self.groups(experiment))
        return sum(runs, Plan((Checkpoint(),))) + Plan(tuple(encoder for encoder, _ in losses), losses=tuple(losses))

    def check(self, experiment: str) -> None:
        """Check that every arm of an experiment has a task to be run for.

        Raises:
            StudyError: If one has none.
        """
        for arm in EXPERIMENTS[experiment].arms:
            if not self.arms().get(arm):
                raise StudyError(
                    f"no task of {', '.join(task.name for task in self.tasks)} has its domain's other task beside it",
                    f"both tasks of a domain, for {arm}",
                    "add a missing task, or leave that notebook out",
                )

    def measured(self, experiment: str) -> list[tuple[Checkpoint, str]]:
        """Return the pairs of an encoder and a token store whose masked-LM loss an experiment measures."""
        wanted, domains = EXPERIMENTS[experiment], domains_of(self.tasks, self.profile)
        stores = [held_out_store(text) for text in (GENERAL, *(domain.name for domain in domains))]
        if wanted.on == "task":
            stores = [dev_store(task.name) for task in self.tasks]
        return [(c, store) for kind in wanted.measured for c in self.checkpoints(kind) for store in stores]

    def checkpoints(self, kind: str) -> list[Checkpoint]:
        """Return the encoders of a kind: `base` (one), `dapt` (one a domain) or `tapt` (one a task)."""
        if kind == "base":
            return [Checkpoint()]
        texts = domains_of(self.tasks, self.profile) if kind == "dapt" else self.tasks
        return [Checkpoint((Phase(kind, text.name),)) for text in texts]

    def transfer_tasks(self) -> list[Task]:
        """Return the tasks whose domain's other task the study has too; a mirror may lack one of the two."""
        names = {task.name for task in self.tasks}
        return [task for task in self.tasks if task.other_task in names]

    def augmented_tasks(self) -> list[Task]:
        """Return the tasks whose text is augmented."""
        return self._among(self.profile.selection.tasks)

    def curated_tasks(self) -> list[Task]:
        """Return those of them that have unlabelled text of their own source."""
        return [task for task in self.augmented_tasks() if task.name in self.unlabelled]

    def _augmented_arms(self, task: Task) -> list[Arm]:
        settings = self.profile.selection
        numbers = sorted(settings.num_neighbours)
        found = [arms.knn_tapt(k) for k in numbers] + [arms.rand_tapt(k) for k in numbers]
        found += [arms.knn_tapt(settings.compared_neighbours, selector) for selector in settings.compared]
        return found + ([arms.CURATED_TAPT, arms.DAPT_CURATED_TAPT] if task.name in self.unlabelled else [])

    def _among(self, names: Sequence[str] | None) -> list[Task]:
        return [task for task in self.tasks if names is None or task.name in names]


# Where things are kept -------------------------------------------------------------------------------------------


def records_of(arm: Arm) -> tuple[str, str]:
    """Return the notebook that runs an arm, and the name of the arm's records there."""
    if arm.is_augmented:
        return EXPERIMENTS["knn_tapt"].notebook, arm.name
    if arm.part != "all":
        return EXPERIMENTS["dapt_tapt"].notebook, arm.name
    if arm.is_short:
        return EXPERIMENTS["tapt"].notebook, CURVE
    return next(experiment.notebook for experiment in EXPERIMENTS.values() if arm in experiment.arms), arm.name


def owner_of(checkpoint: Checkpoint) -> str:
    """Return the notebook that trains, and so keeps, a checkpoint; `base` for the base encoder."""
    last = checkpoint.last
    if last.is_augmented:
        return EXPERIMENTS["knn_tapt"].notebook
    if last.part != "all" or len(checkpoint.phases) > 1:
        return EXPERIMENTS["dapt_tapt"].notebook
    return EXPERIMENTS[last.kind].notebook


def folder_of(checkpoint: Checkpoint) -> Path:
    """Return where a finished checkpoint stands under checkpoints/<profile>/: an ordinary Transformers folder."""
    last = checkpoint.last
    if not checkpoint.phases:
        return Path("base")
    if len(checkpoint.phases) > 1:
        return Path("augmented_tapt" if last.is_augmented else "dapt_tapt", checkpoint.name)
    if last.is_augmented:
        return Path("augmented_tapt", f"{last.text}_{checkpoint.kinds}")
    if last.part != "all":
        return Path("dapt_tapt", f"{last.text}_{last.name}")
    if last.epochs is not None:
        return Path("tapt", f"{last.text}_{last.epochs}_epochs")
    return Path(checkpoint.kinds, last.text)


def text_of(checkpoint: Checkpoint) -> str:
    """Name the token store that a checkpoint's last phase trains on: a corpus, a task's texts, or its augmented text.

    Departure: the paper's TAPT reads one text a sequence; here a task's texts are packed like those of a corpus, so
    that short ones leave no padding, and shuffled by sequence.
    """
    last = checkpoint.last
    if last.is_augmented:
        return f"selected/{last.text}/{last.name}"
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
