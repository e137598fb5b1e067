"""Masked-LM pretraining: the same weights, masked batches and schedule, in the Trainer's loop and in ours."""

import functools
import math
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, default_data_collator

from benchmarks import measuring
from dontstop.errors import StudyError
from dontstop.machine.randomness import generator
from dontstop.machine.runner import say
from dontstop.profiles import Encoder, PhaseSettings, load_profile
from dontstop.tokens import TokenStore
from dontstop.training import devices, encoders, masking, mlm

NUM_SPECIAL, MASK_ID = 5, 3  # as in dontstop.tokens.tokenizer.SPECIAL_TOKENS
GATE_STEPS, GATE_LOSS, GATE_PARAMETERS = 50, 1e-5, 1e-4
SCRIPT_BATCH = 8  # run_mlm.py's default batch on a device
AS_SCRIPT, TUNED, SPARSE = "run_mlm.py defaults", "Trainer, tuned", "Trainer, tuned, sparse head"
OURS_ONE, OURS_TWO = "ours, 1 process", "ours, 2 processes"
AIMS = {AS_SCRIPT: 6.0, TUNED: 3.5}


class StandInTokenizer:
    """What build_encoder asks of a tokenizer: the vocabulary's size and the special ids."""

    pad_token_id, bos_token_id, eos_token_id, cls_token_id, sep_token_id = 0, 1, 2, 1, 2

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size


def save_start(folder: Path, encoder: Encoder, vocabulary_size: int, length: int, *, seed: int) -> Path:
    """Save a random encoder, the weights that every contender starts from."""
    model = encoders.build_encoder(encoder, StandInTokenizer(vocabulary_size), max_length=length, seed=seed)
    model.save_pretrained(folder)
    return folder


def make_batches(settings: PhaseSettings, vocabulary_size: int) -> masking.Batches:
    """Make the batches of one run, from random tokens: words fall off as in text, and speed asks for no more."""
    num_tokens = settings.num_steps * settings.batch_size * settings.sequence_length
    frequency = 1.0 / np.arange(1, vocabulary_size - NUM_SPECIAL + 1)
    ids = generator("benchmark text").choice(len(frequency), num_tokens, p=frequency / frequency.sum()) + NUM_SPECIAL
    store = TokenStore(ids.astype(np.uint16), np.array([0, num_tokens]))
    vocabulary = masking.Vocabulary(vocabulary_size, MASK_ID, tuple(range(NUM_SPECIAL)))
    return masking.Batches(store, vocabulary, settings, "benchmark")


class MaskedSequences(Dataset):
    """Our masked batches as the Trainer's dataset: sequence after sequence, labels -100 where nothing is masked."""

    def __init__(self, batches: masking.Batches):
        micro_batches = [
            batches.micro_batch(step, index)
            for step in range(batches.num_steps)
            for index in range(batches.settings.num_shards)
        ]
        self.input_ids = torch.cat([batch.input_ids for batch in micro_batches])
        self.labels = torch.cat([_label_all(batch) for batch in micro_batches])

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.input_ids[index], "labels": self.labels[index]}

    def to_arrow(self):
        """Return the same as `datasets` holds it after run_mlm.py's preparation, attention mask included."""
        import datasets

        columns = {"input_ids": self.input_ids, "labels": self.labels, "attention_mask": torch.ones_like(self.labels)}
        return datasets.Dataset.from_dict({name: values.numpy() for name, values in columns.items()})


def _label_all(batch: masking.MaskedBatch) -> torch.Tensor:
    """Return (batch, length) labels, -100 where nothing is masked."""
    labels = torch.full((batch.input_ids.numel(),), -100)
    labels[batch.positions] = batch.labels
    return labels.view_as(batch.input_ids)


class LossKeepingTrainer(Trainer):
    """A Trainer that keeps every step's loss as it is; its log would round and average."""

    def __init__(self, *arguments, **parts):
        super().__init__(*arguments, **parts)
        self.losses = []

    def compute_loss(self, *arguments, **parts):
        """Compute the loss as the Trainer does, and keep it."""
        loss = super().compute_loss(*arguments, **parts)
        self.losses.append(loss.item())
        return loss


def train_with_trainer(
    folder: Path,
    scratch: Path,
    dataset,
    settings: PhaseSettings,
    *,
    clock: measuring.StepClock,
    batch_size: int,
    precision: str,
    sparse: bool = False,
    trainer_class: type[Trainer] = Trainer,
    device: str = "cpu",
) -> Trainer:
    """Train in the Trainer's loop; AdamW, schedule and clipping as `settings` say, fused AdamW being its default.

    Args:
        sparse: Switch ModernBERT's own `sparse_prediction` on, which few know of and other architectures lack.
    """
    model = encoders.load_encoder(folder)
    model.sparse_prediction = sparse
    arguments = {
        "per_device_train_batch_size": batch_size,
        "num_train_epochs": 1,
        "learning_rate": settings.learning_rate,
        "warmup_steps": settings.warmup_fraction,
        "lr_scheduler_type": "linear",
        "weight_decay": settings.weight_decay,
        "adam_beta1": settings.adam_beta1,
        "adam_beta2": settings.adam_beta2,
        "adam_epsilon": settings.adam_epsilon,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": precision == "bf16",
        "train_sampling_strategy": "sequential",
    }
    trainer = measuring.silent_trainer(
        trainer_class,
        scratch,
        arguments,
        model=model,
        train_dataset=dataset,
        data_collator=default_data_collator,
        callbacks=[measuring.ClockCallback(clock)],
        use_cpu=device == "cpu",
    )
    with measuring.threads(measuring.NUM_CORES):
        trainer.train()
    return trainer


def train_ours(
    folder: Path,
    scratch: Path,
    batches: masking.Batches,
    *,
    clock: measuring.StepClock,
    precision: str,
    num_processes: int,
    device: str = "cpu",
    compiled: bool = False,
) -> tuple[nn.Module, mlm.Curve]:
    """Train in our loop."""
    load_model = functools.partial(encoders.load_encoder, folder)
    state = scratch / "state.safetensors"  # never there: a run is shorter than the steps between saves
    return mlm.train(
        load_model,
        batches,
        state,
        precision=precision,
        device=device,
        compiled=compiled,
        num_processes=num_processes,
        steps_between_saves=batches.num_steps,
        progress=clock.tick,
    )


def check_equivalence(
    folder: Path, scratch: Path, batches: masking.Batches, *, num_processes: int, device: str = "cpu"
) -> tuple[float, float]:
    """Train on both sides in fp32, equal masked batches at the same batch size, and compare.

    Returns:
        The largest relative difference of a step's losses, and the largest difference of a parameter at the end.

    Raises:
        StudyError: If one of them is too large: then the two sides do not do the same work.
    """
    trainer = train_with_trainer(
        folder,
        scratch,
        MaskedSequences(batches),
        batches.settings,
        clock=measuring.StepClock("gate, Trainer"),
        batch_size=batches.settings.batch_size,
        precision="fp32",
        trainer_class=LossKeepingTrainer,
        device=device,
    )
    clock = measuring.StepClock("gate, ours")
    how = {"precision": "fp32", "num_processes": num_processes, "device": device}
    model, curve = train_ours(folder, scratch, batches, clock=clock, **how)
    theirs = np.array(trainer.losses)
    if theirs.shape != curve.losses.shape:
        raise StudyError(f"{len(theirs)} steps by the Trainer", f"{len(curve.losses)}, as ours", "mend the benchmark")
    loss_difference = float(np.abs(curve.losses / theirs - 1.0).max())
    peers = dict(trainer.model.named_parameters())
    differences = [(parameter - peers[name]).abs().max().item() for name, parameter in model.named_parameters()]
    found = (loss_difference, max(differences))
    if not (found[0] <= GATE_LOSS and found[1] <= GATE_PARAMETERS):
        raise StudyError(
            f"losses up to {found[0]:.1e} apart (relative) and parameters {found[1]:.1e} after {len(theirs)} steps",
            f"at most {GATE_LOSS:.0e} and {GATE_PARAMETERS:.0e}: the same training on both sides",
            "find out which side changed before any speed is compared",
        )
    return found


def benchmark(scratch: Path, results: Path | None, *, num_repeats: int, num_steps: int) -> None:
    """Check equivalence, measure every contender, print and write the table."""
    transformers.logging.set_verbosity_error()
    profile = load_profile("laptop")
    settings = profile.base.model_copy(update={"num_steps": num_steps})
    vocabulary_size = profile.tokens.vocabulary_size
    folder = save_start(scratch / "start", profile.encoder, vocabulary_size, settings.sequence_length, seed=0)

    gate_steps = min(GATE_STEPS, max(num_steps, 10))
    gate_batches = make_batches(settings.model_copy(update={"num_steps": gate_steps}), vocabulary_size)
    say(f"equivalence gate: {gate_steps} steps of {settings.batch_size} x {settings.sequence_length} tokens in fp32")
    loss, parameters = check_equivalence(folder, scratch, gate_batches, num_processes=measuring.NUM_CORES)
    gate = f"losses at most {loss:.1e} apart (relative), parameters {parameters:.1e} after {gate_steps} steps"
    say(f"equivalence gate passed: {gate}")

    batches = make_batches(settings, vocabulary_size)
    contenders = _contenders(settings, devices.resolve_precision(profile.precision))
    inputs = {"memory": MaskedSequences(batches)}
    inputs["arrow"] = inputs["memory"].to_arrow()
    runs = []
    for repeat, name in measuring.alternating(list(contenders), num_repeats):
        with measuring.CoreShare() as share:
            run = _measure(name, contenders[name], folder, scratch, batches, inputs)
        runs.append({"contender": name, "repeat": repeat + 1, **run, "others_share": share.of_others})
        speed = f"{run['tokens_per_second']:,.0f} tokens/s, {run['wall_seconds']:.1f} s in all"
        say(f"pretraining {repeat + 1}/{num_repeats}, {name}: {speed}")
    summary = measuring.summarise(runs, contenders)
    measuring.write_tables(
        results, "pretraining", "Masked-LM pretraining", summary, runs, _notes(summary, settings, gate)
    )


def _contenders(settings: PhaseSettings, precision: str) -> dict[str, dict]:
    peer = {"processes": 1, "threads": measuring.NUM_CORES}
    tuned = {**peer, "batch_size": settings.batch_size, "precision": precision}
    ours = {"threads": 1, "batch_size": settings.batch_size, "precision": precision}
    return {
        AS_SCRIPT: {**peer, "batch_size": SCRIPT_BATCH, "precision": "fp32"},
        TUNED: tuned,
        SPARSE: tuned,
        OURS_ONE: {"processes": 1, **ours},
        OURS_TWO: {"processes": measuring.NUM_CORES, **ours},
    }


def _measure(name: str, contender: dict, folder: Path, scratch: Path, batches: masking.Batches, inputs: dict) -> dict:
    clock, settings = measuring.StepClock(f"pretraining, {name}"), batches.settings
    begin = time.perf_counter()
    if name in (OURS_ONE, OURS_TWO):
        how = {"precision": contender["precision"], "num_processes": contender["processes"]}
        train_ours(folder, scratch, batches, clock=clock, **how)
    else:
        dataset = inputs["arrow" if name == AS_SCRIPT else "memory"]
        how = {"precision": contender["precision"], "batch_size": contender["batch_size"], "sparse": name == SPARSE}
        train_with_trainer(folder, scratch, dataset, settings, clock=clock, **how)
    wall_seconds = time.perf_counter() - begin
    tokens_per_step = contender["batch_size"] * settings.sequence_length
    steps = math.ceil(settings.num_steps * settings.batch_size / contender["batch_size"])
    if len(clock.times) != steps:
        raise StudyError(f"{len(clock.times)} steps by {name}", f"{steps} steps", "mend the benchmark")
    return {"tokens_per_second": tokens_per_step / clock.steady_step_seconds(), "wall_seconds": wall_seconds}


def _notes(summary, settings: PhaseSettings, gate: str) -> list[str]:
    num_tokens = settings.num_steps * settings.batch_size * settings.sequence_length
    notes = []
    for peer, aim in AIMS.items():
        found = measuring.ratio(summary, "tokens_per_second", OURS_TWO, peer, less_is_better=False)
        notes.append(f"{OURS_TWO}: {found:.2f} times the tokens/s of {peer} (aim {aim:g}).")
    found = measuring.ratio(summary, "tokens_per_second", OURS_TWO, SPARSE, less_is_better=False)
    notes.append(f"{OURS_TWO}: {found:.2f} times the tokens/s of {SPARSE} (ModernBERT's own `sparse_prediction`).")
    return [
        *notes,
        f"Before: the equivalence gate in fp32 passed, {gate}.",
        f"All train on the same {num_tokens:,} tokens, packed to {settings.sequence_length}, from the same weights.",
        "The tokens are random, since speed does not depend on them. The Trainer gets its masks drawn in advance; ours "
        "draws its own while the clock runs.",
        "tokens/s: steady state. Wall seconds: from weights on disk to the trained model, the start of our second "
        "process included.",
    ]
