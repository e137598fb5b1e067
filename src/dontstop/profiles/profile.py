"""The profile: every setting that one study is run with, the paper's values as defaults."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dontstop.profiles import training
from dontstop.profiles.groups import Count, Seed, Settings
from dontstop.profiles.selection import Selection
from dontstop.profiles.speed import Advice, Speed
from dontstop.profiles.text import DomainGap, Text, Tokens
from dontstop.profiles.training import Finetune, PhaseSettings

MOST_REPLICATES = 1000  # what is planned is listed whole


class Profile(Settings):
    """Everything that one study is run with."""

    name: str
    text: Text = Field(default_factory=Text)
    tokens: Tokens = Tokens()
    encoder: training.Encoder = training.Encoder()
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto takes a GPU where there is one
    compiled: bool = False  # the layers in pretraining, by torch.compile, which rounds, and draws dropout, otherwise
    released: str | None = None  # a folder with encoders that others have trained, each under a checkpoint's name
    base: PhaseSettings | None = PhaseSettings(num_steps=12_500)
    dapt: PhaseSettings = PhaseSettings(num_steps=12_500)
    tapt: PhaseSettings = PhaseSettings(num_epochs=100, batch_size=256, learning_rate=1.0e-4)
    tapt_curve: training.TaptCurve = training.TaptCurve()
    # At the larger batch, by Table 9's steps; None: as TAPT, so that all text read in its place has one schedule.
    augmented_tapt: PhaseSettings | None = PhaseSettings(num_epochs=100)
    selection: Selection = Selection()
    cheap_adaptation: training.CheapAdaptation = training.CheapAdaptation()
    finetune: Finetune = Finetune()
    domain_gap: DomainGap = DomainGap()
    forgetting: training.Forgetting = training.Forgetting()
    labels: training.Labels = training.Labels()
    arms: list[str] | None = None  # which of those without selected text are run; None: all that have text
    # Of the whole study, each with its own base encoder, text drawn at random and labelled texts.
    replicates: Annotated[Count, Field(le=MOST_REPLICATES)] = 1
    full_replicates: Count | None = None  # of these, with every arm; later ones have those of claims; None: all of them
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0, 1, 2, 3, 4]  # of fine-tuning, in each replicate
    task_finetune: dict[str, dict[str, Any]] = {}  # overrides of `finetune` for one task, by its id
    task_tapt: dict[str, dict[str, Any]] = {}  # and of `tapt`
    advice: Advice = Advice()
    speed: Speed = Speed()

    def is_full(self, replicate: int) -> bool:
        """Whether a replicate runs every arm and number of labels, and not only what claims rest on."""
        return self.full_replicates is None or replicate < self.full_replicates

    def finetune_for(self, task: str) -> Finetune:
        """Return the fine-tuning settings of one task: the profile's, overridden by the task's own."""
        return Finetune.model_validate({**self.finetune.model_dump(), **self.task_finetune.get(task, {})})

    def tapt_for(self, task: str) -> PhaseSettings:
        """Return TAPT's settings of one task: the profile's, overridden by the task's own."""
        return PhaseSettings.model_validate({**self.tapt.model_dump(), **self.task_tapt.get(task, {})})

    @model_validator(mode="after")
    def _groups_agree(self):
        longest = self.tapt.num_epochs or math.inf
        if any(epochs >= longest for epochs in self.tapt_curve.num_epochs):
            raise ValueError(f"tapt_curve.num_epochs must lie below tapt.num_epochs, {longest}")
        for task in self.task_finetune | self.task_tapt:
            self.finetune_for(task)
            self.tapt_for(task)
        if self.base is None and self.encoder.name is None:
            raise ValueError("without a base phase there must be an encoder to begin with: give encoder.name")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ from one another, got {self.seeds}")
        return self
