"""Arms as pretraining phases, and the plan: which checkpoints and cells a request needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from dontstop.errors import StudyError
from dontstop.tasks import Task, get_domain

# An arm is what happens between the base encoder and fine-tuning: phases in order, each a kind and the text it is
# trained on, named from the task's point of view.
ARMS: dict[str, tuple[tuple[str, str], ...]] = {
    "base": (),
    "dapt": (("dapt", "domain"),),
    "not_dapt": (("dapt", "irrelevant_domain"),),
}


@dataclass(frozen=True)
class Checkpoint:
    """An encoder after a sequence of phases; whoever starts with the same phases shares it.

    Attributes:
        phases: Pairs of phase kind (`dapt`, ...) and text, in order; none for the base encoder.
    """

    phases: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The folder's name: `base`, `dapt_symbolic_math`."""
        return "_then_".join(f"{kind}_{text}" for kind, text in self.phases) or "base"

    @property
    def parent(self) -> "Checkpoint | None":
        """The checkpoint that the last phase starts from."""
        return Checkpoint(self.phases[:-1]) if self.phases else None


@dataclass(frozen=True)
class Cell:
    """One fine-tuning run: a task, an arm, a seed."""

    task: Task
    arm: str
    seed: int

    @property
    def checkpoint(self) -> Checkpoint:
        """The encoder that the cell fine-tunes."""
        return checkpoint_of(self.arm, self.task)


@dataclass(frozen=True)
class Plan:
    """What is to be done: checkpoints, parents first, and the cells that need them."""

    checkpoints: tuple[Checkpoint, ...]
    cells: tuple[Cell, ...]


def checkpoint_of(arm: str, task: Task) -> Checkpoint:
    """Return the checkpoint that an arm gives a task.

    Source: section 3.3 (DAPT and not-DAPT); the irrelevant domains are those of `tasks`.
    """
    if arm not in ARMS:
        raise StudyError(f"arm {arm!r}", f"one of {', '.join(ARMS)}", "name one of them")
    texts = {"domain": task.domain, "irrelevant_domain": get_domain(task.domain).irrelevant_domain}
    return Checkpoint(tuple((kind, texts[role]) for kind, role in ARMS[arm]))


def plan(arms: Sequence[str], tasks: Sequence[Task], seeds: Sequence[int]) -> Plan:
    """Plan the cells of every task, arm and seed, and the checkpoints they rest on, each once.

    Cells come in the order seed, task, arm, so that an unfinished study has whole comparisons to show.
    """
    cells = tuple(Cell(task, arm, seed) for seed in seeds for task in tasks for arm in arms)
    checkpoints: dict[Checkpoint, None] = {}
    for cell in cells:
        _add(cell.checkpoint, checkpoints)
    return Plan(tuple(checkpoints), cells)


def _add(checkpoint: Checkpoint, known: dict[Checkpoint, None]) -> None:
    if checkpoint.parent is not None:
        _add(checkpoint.parent, known)
    known.setdefault(checkpoint)
