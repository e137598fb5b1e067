"""Arms as phases of pretraining, the checkpoints that they make, and the runs that fine-tune those."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dontstop.errors import StudyError, chosen
from dontstop.machine.randomness import seed_of
from dontstop.profiles import PhaseSettings, Profile
from dontstop.text.tasks import GENERAL, Task

KNN, RAND = "knn_tapt", "rand_tapt"  # kinds of phases
_AUGMENTED = (KNN, RAND, "curated_tapt")


@dataclass(frozen=True)
class Phase:
    """One phase of masked-LM pretraining.

    Attributes:
        kind: `dapt`, `replay_dapt` (with some general text in every batch), `average` (of the weights before it and
            the base encoder's: nothing is trained), `tapt`, `curated_tapt`, `knn_tapt` or `rand_tapt`; `base`, of the
            base encoder itself.
        text: In an arm, whose text it reads as seen from the task: `domain`, `irrelevant_domain`, `other_domain_2`,
            `other_domain_3`, `task` or `other_task`; in a checkpoint, a domain's or a task's name.
        epochs: Of TAPT with fewer epochs than the profile's.
        k: Neighbours of each training text; of random text, as much of it as of so many neighbours.
        selector: Who retrieves the neighbours, or those whose random control it is, where it is not the profile's main
            selector.
        part: The parameters that are trained: `all`, `lora` (an adapter's) or `embeddings`.
    """

    kind: str
    text: str
    epochs: int | None = None
    k: int | None = None
    selector: str | None = None
    part: str = "all"

    @property
    def name(self) -> str:
        """What it does, without its text: `tapt`, `tapt_10_epochs`, `knn_tapt_5_tfidf`, `rand_tapt_5`."""
        prefix = {"lora": "lora_", "embeddings": "embedding_"}.get(self.part, "")
        more = (("_{}_epochs", self.epochs), ("_{}", self.k), ("_{}", self.selector))
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
    def is_claimed(self) -> bool:
        """Whether a claim may rest on it: not on arms against forgetting, short or cheap ones, compared selectors."""
        second = self in (REPLAY_DAPT, AVERAGE_DAPT) or self.is_short
        return not second and self.part == "all" and self.selector is None

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

    def checkpoint(self, task: Task, replicate: int = 0) -> "Checkpoint":
        """Return the checkpoint that the arm gives a task in a replicate.

        Source: sections 3.3 (DAPT and not-DAPT), 4 (TAPT), 4.2 (DAPT then TAPT), 4.3 (transfer-TAPT) and 5 (neighbours,
        random and curated text); the irrelevant domains and the domains' other tasks are the study's own.

        Raises:
            StudyError: If the task has none of a role's text.
        """
        texts = texts_of(task)
        if lacking := [phase.text for phase in self.phases if phase.text not in texts]:
            found = f"no {lacking[0].replace('_', ' ')} of {task.name}"
            raise StudyError(found, f"one, for {self.name}", "name it in the study, or leave that arm out")
        return Checkpoint(tuple(replace(phase, text=texts[phase.text]) for phase in self.phases), replicate)


def texts_of(task: Task) -> dict[str, str]:
    """Return the names of the texts that a task's roles stand for, as far as there are any."""
    texts = {"domain": task.domain, "task": task.name, "other_task": task.other_task}
    texts |= dict(zip(OTHER_DOMAINS, task.other_domains, strict=False))
    return {role: text for role, text in texts.items() if text is not None}


def _single(kind: str, text: str, **more) -> Arm:
    """Make an arm of one phase, which bears the phase's name."""
    phase = Phase(kind, text, **more)
    return Arm(phase.name, (phase,))


BASE = Arm("base")
DAPT = _single("dapt", "domain")
REPLAY_DAPT = _single("replay_dapt", "domain")
AVERAGE_DAPT = Arm("average_dapt", (*DAPT.phases, Phase("average", "domain")))
# The domains that are not a task's own, as seen from it: the paper's irrelevant one first, and what DAPT on them gives.
OTHER_DOMAINS = ("irrelevant_domain", "other_domain_2", "other_domain_3")
NOT_DAPT, NOT_DAPT_2, NOT_DAPT_3 = NOT_DAPTS = tuple(
    Arm(name, (Phase("dapt", text),))
    for name, text in zip(("not_dapt", "not_dapt_2", "not_dapt_3"), OTHER_DOMAINS, strict=True)
)
TAPT = _single("tapt", "task")
DAPT_TAPT = Arm("dapt_tapt", DAPT.phases + TAPT.phases)
TRANSFER_TAPT = Arm("transfer_tapt", (Phase("tapt", "other_task"),))
CURATED_TAPT = _single("curated_tapt", "task")
DAPT_CURATED_TAPT = Arm("dapt_curated_tapt", DAPT.phases + CURATED_TAPT.phases)
LORA_DAPT = _single("dapt", "domain", part="lora")
LORA_TAPT = _single("tapt", "task", part="lora")
EMBEDDING_TAPT = _single("tapt", "task", part="embeddings")
# Of the arms that train few parameters, the arms that train all in the same phase.
FULL: dict[Arm, Arm] = {LORA_DAPT: DAPT, LORA_TAPT: TAPT, EMBEDDING_TAPT: TAPT}
# The arms whose phases no number of a profile decides, by name.
_WITH_DAPT = (BASE, DAPT, *NOT_DAPTS, REPLAY_DAPT, AVERAGE_DAPT)
_WITH_TAPT = (TAPT, DAPT_TAPT, TRANSFER_TAPT, CURATED_TAPT, DAPT_CURATED_TAPT)
ARMS: dict[str, Arm] = {arm.name: arm for arm in (*_WITH_DAPT, *_WITH_TAPT, *FULL)}
OPENED = (BASE, DAPT, TAPT, DAPT_TAPT)  # whose encoders notebooks open, beside reading their records


def short_tapt(epochs: int) -> Arm:
    """Return the arm of TAPT with fewer epochs than the profile's: `tapt_10_epochs`."""
    return _single("tapt", "task", epochs=epochs)


def knn_tapt(k: int, selector: str | None = None) -> Arm:
    """Return the arm of TAPT with k neighbours of each text; `selector` where it is not the profile's main one."""
    return _single("knn_tapt", "task", k=k, selector=selector)


def rand_tapt(k: int, selector: str | None = None) -> Arm:
    """Return the arm of TAPT with random text, as much of it as a selector's k neighbours are: `rand_tapt_5`."""
    return _single("rand_tapt", "task", k=k, selector=selector)


def get_arm(name: str, known: Iterable[Arm] = ()) -> Arm:
    """Return an arm by its name: one of `ARMS`, or of `known`; as `errors.chosen` does."""
    return chosen("arm", name, ARMS | {arm.name: arm for arm in known})


@dataclass(frozen=True)
class Checkpoint:
    """An encoder after a sequence of phases; whoever starts with the same phases shares it.

    Attributes:
        phases: In order, their texts the names of domains and tasks; none for the base encoder.
        replicate: Whose seeds it is trained with, from the base encoder on; its name is the same in all.
    """

    phases: tuple[Phase, ...] = ()
    replicate: int = 0

    @property
    def name(self) -> str:
        """The checkpoint's name: `base`, `dapt_symbolic_math`, `dapt_numerical_then_tapt_numerical_area`."""
        return "_then_".join(f"{phase.name}_{phase.text}" for phase in self.phases) or "base"

    @property
    def last(self) -> Phase:
        """The phase that makes it of its parent; `base` for the base encoder."""
        return self.phases[-1] if self.phases else Phase("base", GENERAL)

    @property
    def parent(self) -> "Checkpoint | None":
        """The checkpoint that the last phase starts from."""
        return Checkpoint(self.phases[:-1], self.replicate) if self.phases else None

    @property
    def lineage(self) -> tuple["Checkpoint", ...]:
        """The checkpoints on the way to it, the base encoder first, itself last."""
        return tuple(Checkpoint(self.phases[:num], self.replicate) for num in range(len(self.phases) + 1))


@dataclass(frozen=True)
class Run:
    """One fine-tuning run: a task, an arm, a seed within a replicate, and how many texts carry labels.

    Attributes:
        num_labels: Texts that carry labels, drawn by the replicate; None for all of the task's.
    """

    task: Task
    arm: Arm
    seed: int
    replicate: int = 0
    num_labels: int | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """The encoder that the run fine-tunes."""
        return self.arm.checkpoint(self.task, self.replicate)

    @property
    def random_seed(self) -> int:
        """The seed of its head, batches and dropout: its own in every replicate, and the same for all arms."""
        return seed_of("fine-tuning", self.replicate, self.seed)


def phase_settings(profile: Profile, checkpoint: Checkpoint) -> PhaseSettings | None:
    """Return the settings that a profile trains a checkpoint's last phase with; None where nothing is trained.

    TAPT's may be overridden for one task, and serve augmented text too where that has none of its own; an adapter's
    learning rate is a multiple of the whole encoder's. Each replicate has a seed of its own.
    """
    settings = _settings_of(profile, checkpoint.last)
    return settings and settings.model_copy(update={"seed": settings.seed + checkpoint.replicate})


def _settings_of(profile: Profile, phase: Phase) -> PhaseSettings | None:
    if phase.is_augmented and profile.augmented_tapt is not None:
        return profile.augmented_tapt
    if phase.is_augmented or phase.is_tapt:
        settings = profile.tapt_for(phase.text)
    else:
        settings = {"base": profile.base, "average": None}.get(phase.kind, profile.dapt)
    if phase.epochs is not None:
        fixed = {"num_epochs": phase.epochs, "num_steps": None, "num_checks": None, "patience": None}
        return settings.model_copy(update=fixed)
    if phase.part == "lora":
        rate = settings.learning_rate * profile.cheap_adaptation.lora_rate_factor
        return settings.model_copy(update={"learning_rate": rate})
    return settings
