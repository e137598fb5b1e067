"""Settings of training: the encoder, phases of pretraining, fine-tuning, and the labels that it has."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dontstop.profiles.groups import Count, Fraction, NotNegative, Positive, Seed, Settings


class Encoder(Settings):
    """The encoder's architecture, pretrained from scratch unless `name` says which weights to load."""

    name: str | None = None
    hidden_size: Count = 128
    num_layers: Count = 2
    num_heads: Count = 2
    intermediate_size: Count = 192

    @model_validator(mode="after")
    def _check_heads(self):
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError("hidden_size must be a multiple of 2 * num_heads: rotations need heads of an even size")
        return self


class PhaseSettings(Settings):
    """One phase of masked-LM pretraining.

    Source: Table 13 of the paper (the step counts, Appendix B).
    """

    num_steps: Count | None = None
    num_epochs: Count | None = None
    batch_size: Count = 2048  # sequences a step
    num_shards: Count = 2  # micro-batches of a step; part of the identity, since it orders floating-point sums
    sequences_at_once: Count | None = None  # of a micro-batch, by gradient accumulation; None takes all
    sequence_length: Count = 512  # tokens
    learning_rate: Positive = 5.0e-4
    warmup_fraction: Fraction = 0.06
    weight_decay: NotNegative = 0.01
    adam_beta1: Fraction = 0.9
    adam_beta2: Fraction = 0.98
    adam_epsilon: Positive = 1.0e-6
    max_grad_norm: Positive = 1.0
    mlm_probability: Fraction = 0.15
    num_checks: Count | None = None  # of the loss on held-out text; the least one's encoder is kept, not the last
    patience: Count | None = None  # checks without a lesser loss before stopping; None trains to the end
    seed: Seed = 0  # of replicate 0; each further replicate's is one more

    @model_validator(mode="after")
    def _one_length(self):
        if (self.num_steps is None) == (self.num_epochs is None):
            raise ValueError("give exactly one of num_steps and num_epochs")
        if self.patience is not None and self.num_checks is None:
            raise ValueError("patience counts checks: give num_checks")
        return self


class TaptCurve(Settings):
    """The course of TAPT's gain: TAPT of fewer epochs, for some of the tasks.

    Departure: the paper trains for 100 epochs and shows no other number; the curve is this study's.
    """

    num_epochs: list[Count] = []  # each less than the epochs of `tapt`
    tasks: list[str] = []


CheapArm = Literal["lora_dapt", "lora_tapt", "embedding_tapt"]


class CheapAdaptation(Settings):
    """DAPT and TAPT that train few of an encoder's parameters: a low-rank adapter (LoRA), or the embeddings alone.

    Departure: the paper trains all of them. Whether less does, above all for domains far from the base's text, decides
    what adaptation costs those who cannot afford it. All else is as in the phase that trains everything.
    """

    arms: list[CheapArm] = []
    tasks: list[str] | None = None  # None takes all
    lora_rank: Count = 8  # of an adapter, as Hu et al. (2021) call it
    lora_alpha: Count = 16  # over the rank, the scale of an adapter's product
    lora_rate_factor: Positive = 10.0  # of the learning rate of the phase that trains everything


class Forgetting(Settings):
    """Two arms against forgetting: DAPT with some general text in every batch, and the mean of two encoders' weights.

    Departure: the paper has neither.
    """

    arms: list[Literal["replay_dapt", "average_dapt"]] = []
    replayed_share: Fraction = 0.1  # of a batch's sequences


class Finetune(Settings):
    """Fine-tuning of a classifier.

    Source: Table 14 of the paper; the optimizer's values, from the authors' training_config/classifier.jsonnet.
    """

    num_epochs: Count = 10
    patience: Count | None = 3  # epochs without a better dev score before stopping; None trains all, keeps the last
    batch_size: Count = 16
    learning_rate: Positive = 2.0e-5
    head_rate_factor: Positive = 1.0  # the head's learning rate, over the body's
    dropout: Fraction = 0.1
    max_length: Count = 512  # tokens
    pooling: Literal["first", "mean"] = "first"
    schedule: Literal["constant", "linear"] = "constant"  # after the warm-up
    warmup_fraction: Fraction = 0.06
    weight_decay: NotNegative = 0.1
    adam_beta1: Fraction = 0.9
    adam_beta2: Fraction = 0.98
    adam_epsilon: Positive = 1.0e-6
    max_grad_norm: Positive = 1.0


NumLabels = Annotated[int, Field(ge=2)]  # of one class alone nothing is learnt


class Labels(Settings):
    """How many of a task's training texts carry labels in fine-tuning; all of them are its unlabelled text.

    Departure: the paper fine-tunes on all that a task has, and shows no other number.
    """

    primary: NumLabels | None = None  # what claims are judged at; None takes all
    curve: list[NumLabels] = []  # other numbers, by the first seed: gain against the number of labels

    @model_validator(mode="after")
    def _differ(self):
        if self.primary in self.curve or len(set(self.curve)) != len(self.curve):
            raise ValueError(f"labels must differ from one another, got {self.primary} and {self.curve}")
        return self
