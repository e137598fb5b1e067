"""Arms as pretraining phases, and the plan: which checkpoints and cells a request needs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dontstop.errors import StudyError
from dontstop.text.tasks import Task, get_domain

# An arm is what happens between the base encoder and fine-tuning: phases in order, each a kind and the text it is
# trained on, named from the task's point of view.
ARMS: dict[str, tuple[tuple[str, str], ...]] = {
    "base": (),
    "dapt": (("dapt", "domain"),),
    "not_dapt": (("dapt", "irrelevant_domain"),),
    "tapt": (("tapt", "task"),),
    "dapt_tapt": (("dapt", "domain"), ("tapt", "task")),
    "transfer_tapt": (("tapt", "sister_task"),),
    "curated_tapt": (("curated_tapt", "task"),),
    "dapt_curated_tapt": (("dapt", "domain"), ("curated_tapt", "task")),
}
# Arms that train few of an encoder's numbers, and which.
CHEAP_ARMS: dict[str, tuple[tuple[str, str], ...]] = {
    "lora_dapt": (("lora_dapt", "domain"),),
    "lora_tapt": (("lora_tapt", "task"),),
    "embedding_tapt": (("embedding_tapt", "task"),),
}
CURATED = "curated_tapt"
# TAPT cut short, for the course of its gain: a schedule of its own, with this many epochs.
_SHORT_TAPT = re.compile(r"tapt_\d+_epochs")
# TAPT on text enlarged by neighbours or by random text; of the latter there are several draws.
_KNN_TAPT = re.compile(r"knn_tapt_\d+(_[a-z][a-z0-9_]*)?")
_RAND_TAPT = re.compile(r"rand_tapt_\d+")
_RAND_DRAW = re.compile(r"rand_tapt_\d+_draw_\d+")


@dataclass(frozen=True)
class Checkpoint:
    """An encoder after a sequence of phases; whoever starts with the same phases shares it.

    Attributes:
        phases: Pairs of phase kind (`dapt`, `tapt`, `tapt_10_epochs`) and text (a domain, or a task), in order; none
            for the base encoder.
    """

    phases: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The checkpoint's name: `base`, `dapt_symbolic_math`, `dapt_numerical_then_tapt_numerical_role`."""
        return "_then_".join(f"{kind}_{text}" for kind, text in self.phases) or "base"

    @property
    def kinds(self) -> str:
        """The kinds of its phases, which name the folder and the notebook that keep it: `dapt`, `dapt_tapt`."""
        return "_".join(kind for kind, _ in self.phases) or "base"

    @property
    def parent(self) -> "Checkpoint | None":
        """The checkpoint that the last phase starts from."""
        return Checkpoint(self.phases[:-1]) if self.phases else None


@dataclass(frozen=True)
class Cell:
    """One fine-tuning run: a task, an arm, a seed; for a random control, of one of its draws."""

    task: Task
    arm: str
    seed: int
    draw: int = 0

    @property
    def checkpoint(self) -> Checkpoint:
        """The encoder that the cell fine-tunes."""
        return checkpoint_of(self.arm, self.task, self.draw)


@dataclass(frozen=True)
class Plan:
    """What is to be done: checkpoints, parents first, and the cells that need them."""

    checkpoints: tuple[Checkpoint, ...]
    cells: tuple[Cell, ...]

    def __add__(self, other: "Plan") -> "Plan":
        """Return both plans as one, each checkpoint once."""
        return Plan(tuple(dict.fromkeys(self.checkpoints + other.checkpoints)), self.cells + other.cells)


def checkpoint_of(arm: str, task: Task, draw: int = 0) -> Checkpoint:
    """Return the checkpoint that an arm gives a task.

    Args:
        draw: Which draw of its text, where the arm is a random control.

    Source: sections 3.3 (DAPT and not-DAPT), 4 (TAPT), 4.2 (DAPT then TAPT), 4.3 (transfer-TAPT) and 5 (neighbours,
    random and curated text); the irrelevant domains and the sister tasks are those of `tasks`.
    """
    texts = {"domain": task.domain, "irrelevant_domain": get_domain(task.domain).irrelevant_domain}
    texts |= {"task": task.name, "sister_task": task.other_task}
    return Checkpoint(tuple((kind, texts[role]) for kind, role in phases_of(arm, draw)))


def phases_of(arm: str, draw: int = 0) -> tuple[tuple[str, str], ...]:
    """Return an arm's phases: each a kind and the role of the text it is trained on.

    Raises:
        StudyError: If there is no such arm.
    """
    if _SHORT_TAPT.fullmatch(arm) or _KNN_TAPT.fullmatch(arm):
        return ((arm, "task"),)
    if _RAND_TAPT.fullmatch(arm):
        return ((f"{arm}_draw_{draw}", "task"),)
    known = ARMS | CHEAP_ARMS
    if arm not in known:
        raise StudyError(f"arm {arm!r}", f"one of {', '.join(known)}", "name one of them")
    return known[arm]


def short_tapt(num_epochs: int) -> str:
    """Name the arm, and its one phase's kind, of TAPT for fewer epochs than the profile's."""
    return f"tapt_{num_epochs}_epochs"


def knn_tapt(num_neighbours: int, selector: str | None = None) -> str:
    """Name the arm, and its one phase's kind, of TAPT with neighbours; `selector` where it is not the main one."""
    return f"knn_tapt_{num_neighbours}" + (f"_{selector}" if selector else "")


def rand_tapt(num_neighbours: int) -> str:
    """Name the arm of TAPT with random text, as much of it as of `num_neighbours` neighbours."""
    return f"rand_tapt_{num_neighbours}"


def is_augmented(kind: str) -> bool:
    """Whether a phase of this kind trains on a task's text enlarged: by neighbours, random or curated text."""
    return kind == CURATED or bool(_KNN_TAPT.fullmatch(kind) or _RAND_DRAW.fullmatch(kind))


def is_enlarged(arm: str) -> bool:
    """Whether an arm trains on a task's text enlarged."""
    return any(is_augmented(kind) for kind, _ in phases_of(arm))


def is_tapt(kind: str) -> bool:
    """Whether a phase of this kind trains on a task's own text, and no other: in whole, cut short, or cheaply."""
    return kind in ("tapt", "lora_tapt", "embedding_tapt") or bool(_SHORT_TAPT.fullmatch(kind))


def trained_part(kind: str) -> str:
    """Say which of an encoder's numbers a phase of this kind trains: `all`, `lora` (an adapter) or `embeddings`."""
    return {"lora_dapt": "lora", "lora_tapt": "lora", "embedding_tapt": "embeddings"}.get(kind, "all")


def plan(arms: Sequence[str], tasks: Sequence[Task], seeds: Sequence[int], num_draws: int = 1) -> Plan:
    """Plan the cells of every task, arm and seed, and the checkpoints they rest on, each once.

    Cells come in the order seed, task, arm, so that an unfinished study has whole comparisons to show.

    Args:
        num_draws: Of random controls; the seeds take turns with them.

    Raises:
        StudyError: If an arm takes the text of a task that the study does not have.
    """
    names = {task.name for task in tasks}
    for task in tasks:
        for arm in arms:
            wanted = {text for kind, text in checkpoint_of(arm, task).phases if is_tapt(kind)} - names
            if wanted:
                raise StudyError(
                    f"no task {wanted.pop()}, on whose text {arm} of {task.name} is trained",
                    "both tasks of every domain",
                    "add the missing task, or leave that notebook out",
                )
    cells = tuple(
        Cell(task, arm, seed, number % num_draws if _RAND_TAPT.fullmatch(arm) else 0)
        for number, seed in enumerate(seeds)
        for task in tasks
        for arm in arms
    )
    checkpoints: dict[Checkpoint, None] = {}
    for cell in cells:
        _add(cell.checkpoint, checkpoints)
    return Plan(tuple(checkpoints), cells)


def _add(checkpoint: Checkpoint, known: dict[Checkpoint, None]) -> None:
    if checkpoint.parent is not None:
        _add(checkpoint.parent, known)
    known.setdefault(checkpoint)
