"""Arms as phases of pretraining, the checkpoints that they make, and the runs that fine-tune those."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dontstop.errors import StudyError
from dontstop.profiles import PhaseSettings, Profile
from dontstop.text.tasks import GENERAL, Task, get_domain

_AUGMENTED = ("knn_tapt", "rand_tapt", "curated_tapt")


@dataclass(frozen=True)
class Phase:
    """One phase of masked-LM pretraining.

    Attributes:
        kind: `dapt`, `tapt`, `curated_tapt`, `knn_tapt` or `rand_tapt`; `base`, of the base encoder itself.
        text: In an arm, whose text it reads as seen from the task: `domain`, `irrelevant_domain`, `task` or
            `other_task`; in a checkpoint, a domain's or a task's name.
        epochs: Of TAPT with fewer epochs than the profile's.
        k: Neighbours of each training text; of random text, as much of it as of so many neighbours.
        selector: Who retrieves the neighbours, where it is not the profile's main selector.
        draw: Which draw of random text; None in an arm.
        part: The parameters that are trained: `all`, `lora` (an adapter's) or `embeddings`.
    """

    kind: str
    text: str
    epochs: int | None = None
    k: int | None = None
    selector: str | None = None
    draw: int | None = None
    part: str = "all"

    @property
    def name(self) -> str:
        """What it does, without its text: `tapt`, `tapt_10_epochs`, `knn_tapt_5_tfidf`, `rand_tapt_5_draw_0`."""
        prefix = {"lora": "lora_", "embeddings": "embedding_"}.get(self.part, "")
        more = (("_{}_epochs", self.epochs), ("_{}", self.k), ("_{}", self.selector), ("_draw_{}", self.draw))
        return prefix + self.kind + "".join(form.format(value) for form, value in more if value is not None)

    @property
    def is_augmented(self) -> bool:
        """Whether it trains on a task's augmented text: with neighbours, random or curated text."""
        return self.kind in _AUGMENTED

    @property
    def is_tapt(self) -> bool:
        """Whether it trains on a task's own text and no other: with all its epochs or fewer, all parameters or some."""
        return self.kind == "tapt"


@dataclass(frozen=True)
class Arm:
    """What happens between the base encoder and fine-tuning, as seen from a task.

    Attributes:
        name: `base`, `dapt`, `knn_tapt_5`, ...: in records, columns and file names.
        phases: In order; their texts are roles.
    """

    name: str
    phases: tuple[Phase, ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def is_augmented(self) -> bool:
        """Whether it trains on a task's augmented text."""
        return any(phase.is_augmented for phase in self.phases)

    @property
    def is_short(self) -> bool:
        """Whether it is TAPT with fewer epochs than the profile's, for the course of TAPT's gain."""
        return any(phase.epochs is not None for phase in self.phases)

    @property
    def is_random(self) -> bool:
        """Whether it trains on random text, of which there are several draws."""
        return any(phase.kind == "rand_tapt" for phase in self.phases)

    @property
    def part(self) -> str:
        """The parameters that its last phase trains: `all`, `lora` or `embeddings`."""
        return self.phases[-1].part if self.phases else "all"

    @property
    def k(self) -> int | None:
        """Neighbours of each training text, where it has any."""
        return self.phases[-1].k if self.phases else None

    @property
    def selector(self) -> str | None:
        """Who retrieves its neighbours, where that is not the profile's main selector."""
        return self.phases[-1].selector if self.phases else None

    def checkpoint(self, task: Task, draw: int = 0) -> "Checkpoint":
        """Return the checkpoint that the arm gives a task.

        Args:
            draw: Which draw of its text, where the arm trains on random text.

        Source: sections 3.3 (DAPT and not-DAPT), 4 (TAPT), 4.2 (DAPT then TAPT), 4.3 (transfer-TAPT) and 5 (neighbours,
        random and curated text); the irrelevant domains and the domains' other tasks are those of `tasks`.
        """
        texts = {"domain": task.domain, "irrelevant_domain": get_domain(task.domain).irrelevant_domain}
        texts |= {"task": task.name, "other_task": task.other_task}
        drawn = (replace(phase, draw=draw) if phase.kind == "rand_tapt" else phase for phase in self.phases)
        return Checkpoint(tuple(replace(phase, text=texts[phase.text]) for phase in drawn))


def _single(kind: str, text: str, **more) -> Arm:
    """Make an arm of one phase, which bears the phase's name."""
    phase = Phase(kind, text, **more)
    return Arm(phase.name, (phase,))


BASE = Arm("base")
DAPT = _single("dapt", "domain")
NOT_DAPT = Arm("not_dapt", (Phase("dapt", "irrelevant_domain"),))
TAPT = _single("tapt", "task")
DAPT_TAPT = Arm("dapt_tapt", DAPT.phases + TAPT.phases)
TRANSFER_TAPT = Arm("transfer_tapt", (Phase("tapt", "other_task"),))
CURATED_TAPT = _single("curated_tapt", "task")
DAPT_CURATED_TAPT = Arm("dapt_curated_tapt", DAPT.phases + CURATED_TAPT.phases)
LORA_DAPT = _single("dapt", "domain", part="lora")
LORA_TAPT = _single("tapt", "task", part="lora")
EMBEDDING_TAPT = _single("tapt", "task", part="embeddings")
# The arms whose phases no number of a profile decides, by name.
_FIXED = (BASE, DAPT, NOT_DAPT, TAPT, DAPT_TAPT, TRANSFER_TAPT, CURATED_TAPT, DAPT_CURATED_TAPT)
ARMS: dict[str, Arm] = {arm.name: arm for arm in (*_FIXED, LORA_DAPT, LORA_TAPT, EMBEDDING_TAPT)}
# Of the arms that train few parameters, the arms that train all in the same phase.
FULL: dict[Arm, Arm] = {LORA_DAPT: DAPT, LORA_TAPT: TAPT, EMBEDDING_TAPT: TAPT}


def short_tapt(epochs: int) -> Arm:
    """Return the arm of TAPT with fewer epochs than the profile's: `tapt_10_epochs`."""
    return _single("tapt", "task", epochs=epochs)


def knn_tapt(k: int, selector: str | None = None) -> Arm:
    """Return the arm of TAPT with k neighbours of each text; `selector` where it is not the profile's main one."""
    return _single("knn_tapt", "task", k=k, selector=selector)


def rand_tapt(k: int) -> Arm:
    """Return the arm of TAPT with random text, as much of it as of k neighbours: `rand_tapt_5`."""
    return _single("rand_tapt", "task", k=k)


def get_arm(name: str, known: Iterable[Arm] = ()) -> Arm:
    """Return an arm by its name: one of `ARMS`, or of `known`.

    Raises:
        StudyError: If there is no such arm.
    """
    arms = ARMS | {arm.name: arm for arm in known}
    if name not in arms:
        raise StudyError(f"arm {name!r}", f"one of {', '.join(arms)}", "name one of them")
    return arms[name]


@dataclass(frozen=True)
class Checkpoint:
    """An encoder after a sequence of phases; whoever starts with the same phases shares it.

    Attributes:
        phases: In order, their texts the names of domains and tasks; none for the base encoder.
    """

    phases: tuple[Phase, ...] = ()

    @property
    def name(self) -> str:
        """The checkpoint's name: `base`, `dapt_symbolic_math`, `dapt_numerical_then_tapt_numerical_area`."""
        return "_then_".join(f"{phase.name}_{phase.text}" for phase in self.phases) or "base"

    @property
    def kinds(self) -> str:
        """The names of its phases, which name the folder that keeps it: `dapt`, `dapt_tapt`."""
        return "_".join(phase.name for phase in self.phases) or "base"

    @property
    def last(self) -> Phase:
        """The phase that makes it of its parent; `base` for the base encoder."""
        return self.phases[-1] if self.phases else Phase("base", GENERAL)

    @property
    def parent(self) -> "Checkpoint | None":
        """The checkpoint that the last phase starts from."""
        return Checkpoint(self.phases[:-1]) if self.phases else None

    @property
    def lineage(self) -> tuple["Checkpoint", ...]:
        """The checkpoints on the way to it, the base encoder first, itself last."""
        return tuple(Checkpoint(self.phases[:num]) for num in range(len(self.phases) + 1))


@dataclass(frozen=True)
class Run:
    """One fine-tuning run: a task, an arm, a seed; for random text, of one of its draws."""

    task: Task
    arm: Arm
    seed: int
    draw: int = 0

    @property
    def checkpoint(self) -> Checkpoint:
        """The encoder that the run fine-tunes."""
        return self.arm.checkpoint(self.task, self.draw)


@dataclass(frozen=True)
class Plan:
    """What is to be done: checkpoints, parents first, the runs that need them, and losses of them on token stores."""

    checkpoints: tuple[Checkpoint, ...] = ()
    runs: tuple[Run, ...] = ()
    losses: tuple[tuple[Checkpoint, str], ...] = ()

    def __add__(self, other: "Plan") -> "Plan":
        """Return both plans as one, each checkpoint once."""
        checkpoints = tuple(dict.fromkeys(self.checkpoints + other.checkpoints))
        return Plan(checkpoints, self.runs + other.runs, self.losses + other.losses)


def plan(arms: Sequence[Arm], tasks: Sequence[Task], seeds: Sequence[int], num_draws: int = 1) -> Plan:
    """Plan the runs of every task, arm and seed, and the checkpoints they rest on, each once.

    Runs come in the order seed, task, arm, so that an unfinished study has whole comparisons to show.

    Args:
        num_draws: Of random text; the seeds take turns with them.

    Raises:
        StudyError: If an arm takes the text of a task that the study does not have.
    """
    names = {task.name for task in tasks}
    for task, arm in ((task, arm) for task in tasks for arm in arms):
        if missing := {phase.text for phase in arm.checkpoint(task).phases if phase.is_tapt} - names:
            raise StudyError(
                f"no task {missing.pop()}, on whose text {arm} of {task.name} is trained",
                "both tasks of every domain",
                "add the missing task, or leave that notebook out",
            )
    runs = tuple(
        Run(task, arm, seed, number % num_draws if arm.is_random else 0)
        for number, seed in enumerate(seeds)
        for task in tasks
        for arm in arms
    )
    checkpoints = dict.fromkeys(checkpoint for run in runs for checkpoint in run.checkpoint.lineage)
    return Plan(tuple(checkpoints), runs)


def phase_settings(profile: Profile, phase: Phase) -> PhaseSettings | None:
    """Return the settings that a profile trains a checkpoint's phase with; None for no base phase.

    TAPT's may be overridden for one task; an adapter's learning rate is a multiple of the whole encoder's.
    """
    if phase.is_augmented:
        return profile.augmented_tapt
    settings = profile.tapt_for(phase.text) if phase.is_tapt else getattr(profile, phase.kind)
    if phase.epochs is not None:
        return settings.model_copy(update={"num_epochs": phase.epochs, "num_steps": None})
    if phase.part == "lora":
        rate = settings.learning_rate * profile.cheap_adaptation.lora_rate_factor
        return settings.model_copy(update={"learning_rate": rate})
    return settings
