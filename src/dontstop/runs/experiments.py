"""The experiments: what each notebook trains, fine-tunes and measures, and whose records are whose."""

from dataclasses import dataclass

from dontstop.runs import arms
from dontstop.runs.arms import Checkpoint


@dataclass(frozen=True)
class Experiment:
    """What a notebook's run needs.

    Attributes:
        arms: To fine-tune on every task with every seed; their records stand under this experiment's notebook.
        kinds: Kinds of the checkpoints that it trains, and so keeps.
        measured: Kinds of the encoders whose masked-LM loss is measured.
        on: On what: every `domain`'s held-out sample (and the general text's), or every `task`'s dev texts.
        curve: Whether TAPT of fewer epochs belongs to it, as `tapt_curve` asks for.
        cheap: Whether the arms that train few of an encoder's numbers belong to it, as `cheap_adaptation` asks for.
        augmented: Whether TAPT on enlarged text belongs to it, as `selection` asks for.
    """

    arms: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    on: str = "domain"
    curve: bool = False
    cheap: bool = False
    augmented: bool = False

    @property
    def losses(self) -> str:
        """The name of its records of losses."""
        return f"cross_{self.on}_loss"


EXPERIMENTS = {
    "base": Experiment(kinds=("base",)),
    "domain_gap": Experiment(measured=("base",)),
    "dapt": Experiment(("base", "dapt", "not_dapt"), ("dapt",), ("base", "dapt")),
    "tapt": Experiment(("tapt",), ("tapt",), curve=True),
    "dapt_tapt": Experiment(("dapt_tapt",), ("dapt_tapt",), cheap=True),
    "transfer_tapt": Experiment(("transfer_tapt",), (), ("base", "tapt"), "task"),
    "knn_tapt": Experiment(augmented=True),
}
# The notebooks, and the experiment that each runs; the base encoder's results stand under `base`.
NOTEBOOKS = {
    "01_domain_gap": "domain_gap",
    "02_dapt": "dapt",
    "03_tapt": "tapt",
    "04_dapt_tapt": "dapt_tapt",
    "05_transfer_tapt": "transfer_tapt",
    "06_knn_tapt": "knn_tapt",
}
CURVE = "tapt_curve"  # the records of TAPT cut short


def notebook_of(experiment: str) -> str:
    """Return the notebook that an experiment's results stand under; the base encoder's stand under `base`."""
    return {run: notebook for notebook, run in NOTEBOOKS.items()}.get(experiment, "base")


def owner_of(checkpoint: Checkpoint) -> str:
    """Return the notebook that trains, and so keeps, a checkpoint; `base` for the base encoder."""
    if checkpoint.phases and arms.is_augmented(checkpoint.phases[-1][0]):
        return notebook_of("knn_tapt")
    if checkpoint.kinds in arms.CHEAP_ARMS:
        return notebook_of("dapt_tapt")
    kinds = "tapt" if arms.is_tapt(checkpoint.kinds) else checkpoint.kinds
    return notebook_of(next(name for name, experiment in EXPERIMENTS.items() if kinds in experiment.kinds))


def notebook_of_arm(arm: str) -> str:
    """Return the notebook that runs an arm, and under which its records stand."""
    if arms.is_enlarged(arm):
        return notebook_of("knn_tapt")
    if arm in arms.CHEAP_ARMS:
        return notebook_of("dapt_tapt")
    return notebook_of(next(name for name, experiment in EXPERIMENTS.items() if arm in experiment.arms))
