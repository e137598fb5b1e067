"""Continued masked-LM pretraining of any encoder, resumable to the bit, and held-out masked-LM loss."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load as tensors_of_bytes
from safetensors.torch import save as tensors_to_bytes

from dontstop.errors import StudyError
from dontstop.machine import states
from dontstop.machine.processes import be_worker, one_thread
from dontstop.machine.randomness import generator, seed_of
from dontstop.profiles import PhaseSettings
from dontstop.tokens.stores import TokenStore
from dontstop.training import encoders
from dontstop.training.masking import Batches, MaskedBatch, Vocabulary, mask_batch
from dontstop.training.optimizers import FlatParameters, ScheduledAdamW
from dontstop.training.process_group import SharedMemoryGroup, TorchrunGroup

EVALUATION_BATCH = 64  # sequences; held-out masks are drawn batch by batch, so it is a constant

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Curve:
    """Masked-LM loss during training.

    Attributes:
        losses: (num_steps,) nats a masked token.
        wall_seconds: That the training took.
        checks: (num_checks,) what was measured at each check, nats; none without checks.
        kept_step: The step after which the encoder stood as it was kept: of the least loss at a check, else the last.
    """

    losses: np.ndarray
    wall_seconds: float
    checks: np.ndarray
    kept_step: int


def train(
    load_model: Callable[[], torch.nn.Module],
    batches: Batches,
    state: Path,
    *,
    precision: str,
    device: str = "cpu",
    compiled: bool = False,
    num_processes: int = 1,
    distributed: bool = False,
    steps_between_saves: int = 100,
    check: Callable[[torch.nn.Module], float] | None = None,
    watch: Callable[[torch.nn.Module, int], None] = lambda model, done: None,
    progress: Progress = lambda done, total: None,
) -> tuple[torch.nn.Module, Curve]:
    """Continue a model's masked-LM pretraining, from `state` where an earlier try left off, and return it trained.

    A step's batch is cut into `num_shards` micro-batches whose gradients are summed in their order. Any number of
    processes can share them: the result is the same to the bit.

    With `num_checks` in the settings, the loss on held-out text is measured so often, at even distances, and the
    encoder is kept as it stood where that loss was least; training ends once it has not fallen for `patience` checks.

    Args:
        load_model: Loads the model to start from; called once in every process, so it must be picklable.
        state: A file for the state of an unfinished training; deleted by the caller when the result is safe.
        precision: `fp32` or `bf16` (autocast).
        device: `cpu`, `cuda` or `cuda:<k>`.
        compiled: Whether torch.compile makes kernels for the encoder's layers; not for several processes.
        num_processes: Processes that share the micro-batches of each step; speed only. On a GPU there is one.
        distributed: Whether torchrun's processes share them instead, this being one; same but for rounding.
        check: Measures the model's loss on held-out text, nats; for one process alone.
        watch: Called after every step with the model and the steps done, in the first process; to leave it as it is.
        progress: Called after every step with steps done and steps in all.

    Raises:
        StudyError: If the loss is no longer a number, or another process is lost.
    """
    model = load_model().to(device)
    flat = FlatParameters(model)
    if compiled:
        encoders.compile_layers(model)
    num_processes = num_processes if device == "cpu" and batches.settings.num_checks is None else 1
    made = _process_group(num_processes, distributed, flat, load_model, batches, state, precision)
    with one_thread(), torch.random.fork_rng(devices=[]), made as group:
        training = _Training(group, model, flat, batches, state, precision, check)
        return model, training.run(steps_between_saves, progress, watch)


@contextlib.contextmanager
def _process_group(num_processes: int, distributed: bool, flat: FlatParameters, load_model, batches, state, precision):
    """Give the processes that share a training, the others of which are at work meanwhile."""
    num_micro_batches = batches.settings.num_shards
    if distributed:
        yield TorchrunGroup(num_micro_batches)
        return
    group = SharedMemoryGroup(min(num_processes, num_micro_batches), num_micro_batches, flat.values)
    with group.other_processes(_train_beside, (load_model, batches, state, precision)):
        yield group


def _train_beside(group: SharedMemoryGroup, rank: int, load_model, batches: Batches, state: Path, precision: str):
    """Do another process's part of a training."""
    be_worker()
    group.rank = rank
    model = load_model()
    _Training(group, model, FlatParameters(model), batches, state, precision).run(1)


class _Training:
    """One process's part of a training, from the last saved step on."""

    def __init__(self, group, model, flat: FlatParameters, batches: Batches, state: Path, precision: str, check=None):
        self._group, self._flat, self._batches, self._state, self._precision = group, flat, batches, state, precision
        self._model, self._check, self._checks, self._best = model, check, [], flat.values
        self._check_steps = check_steps(batches.num_steps, batches.settings.num_checks)
        self._optimizer = ScheduledAdamW(flat, batches.settings, batches.num_steps)
        group.attach(model, flat)
        self._losses, self._seconds = self._load_state()
        self._steps = range(len(self._losses), batches.num_steps)
        group.barrier(self._steps.start)
        model.train()

    def run(self, steps_between_saves: int, progress: Progress | None = None, watch: Callable | None = None) -> Curve:
        """Take the steps that are left."""
        begin, before = time.perf_counter(), self._seconds
        indices = ((step, index) for step in self._steps for index in self._group.micro_batches)
        micro_batches = (self._batches.micro_batch(*index) for index in indices)
        self._next, self._rest = next(micro_batches, None), micro_batches
        for step in self._steps if not self._is_over() else ():
            self._losses.append(self._step(step))
            self._seconds = before + time.perf_counter() - begin
            if self._group.rank == 0:
                progress(step + 1, self._steps.stop)
                paused = time.perf_counter()
                watch(self._model, step + 1)
                begin += time.perf_counter() - paused
            if self._checked(step + 1):
                break
            if self._group.rank == 0 and (step + 1) % steps_between_saves == 0 and step + 1 < self._steps.stop:
                self._save_state()
        self._flat.values.copy_(self._best)
        kept = self._check_steps[int(np.argmin(self._checks))] if self._checks else len(self._losses)
        return Curve(np.array(self._losses), before + time.perf_counter() - begin, np.array(self._checks), kept)

    def _checked(self, num_done: int) -> bool:
        """Measure the loss on held-out text where it is time to, and tell whether training is over."""
        if num_done not in self._check_steps:
            return False
        self._checks.append(self._check(self._model))
        self._model.train()
        if np.argmin(self._checks) == len(self._checks) - 1:  # the first of equal ones, as `kept_step` has it
            self._best = self._flat.values.clone()
        return self._is_over()

    def _is_over(self) -> bool:
        """Whether the loss on held-out text has not fallen for as many checks as there is patience."""
        patience = self._batches.settings.patience
        return bool(self._checks and patience) and len(self._checks) - 1 - np.argmin(self._checks) >= patience

    def _step(self, step: int) -> float:
        """Take one step and return its loss, nats a masked token."""
        settings, stream = self._batches.settings, self._batches.stream
        for index in self._group.micro_batches:
            self._group.begin_micro_batch(step, index)
            torch.manual_seed(seed_of("dropout", settings.seed, stream, index, step))
            num_masked = len(self._next.positions)
            loss_sum = self._backpropagate(self._next, last=index == self._group.micro_batches[-1])
            self._next = next(self._rest, None)  # drawn while a GPU is still at work: its loss is not asked for before
            self._group.end_micro_batch(step, index, loss_sum.item(), num_masked)
        loss_sum, num_masked = self._group.all_reduce(step, self._optimizer.gradient)
        if not math.isfinite(loss_sum):
            raise StudyError(
                f"masked-LM loss {loss_sum} at step {step} of {stream}",
                "a finite loss",
                "lower the phase's learning_rate, or set precision to fp32",
            )
        self._optimizer.gradient.div_(max(num_masked, 1.0))
        self._optimizer.step()
        return loss_sum / max(num_masked, 1.0)

    def _backpropagate(self, micro_batch: MaskedBatch, *, last: bool) -> torch.Tensor:
        """Backpropagate a micro-batch's summed loss, in passes of few enough sequences; return it, a float64 scalar."""
        device, loss_sum = self._group.device, 0.0
        passes = micro_batch.split(self._batches.settings.sequences_at_once)
        for number, batch in enumerate(passes, 1):
            on_device = batch.to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=self._precision == "bf16"):
                loss = self._group.loss(on_device, last=last and number == len(passes))
            loss.backward()
            loss_sum = loss_sum + loss.detach().double()
        return loss_sum

    def _save_state(self) -> None:
        tensors = {"values": self._flat.values, "losses": torch.tensor(self._losses, dtype=torch.float64)}
        tensors["seconds"] = torch.tensor([self._seconds], dtype=torch.float64)
        if self._checks:  # before the first, the best is no tensor of its own
            tensors |= {"checks": torch.tensor(self._checks, dtype=torch.float64), "best": self._best}
        states.save_state(self._state, tensors_to_bytes(tensors | self._optimizer.moments()))

    def _load_state(self) -> tuple[list[float], float]:
        """Restore values and moments if a state was saved; return the losses and the seconds up to then."""
        if (saved := states.load_state(self._state)) is None:
            return [], 0.0
        tensors = tensors_of_bytes(saved)
        self._flat.values.copy_(tensors["values"])
        losses = tensors["losses"].tolist()
        if "checks" in tensors:
            self._checks, self._best = tensors["checks"].tolist(), tensors["best"]
        self._optimizer.restore(tensors, len(losses))
        return losses, tensors["seconds"].item()


def check_steps(num_steps: int, num_checks: int | None) -> list[int]:
    """Return the numbers of steps after which the loss on held-out text is measured: at even distances, the last one's.

    Departure: the paper trains TAPT for 100 epochs and keeps the last. Our tasks' texts are few and short: the loss on
    dev texts often rises again long before that.
    """
    return sorted({round(num_steps * k / num_checks) for k in range(1, num_checks + 1)} - {0}) if num_checks else []


def held_out_loss(
    model, store: TokenStore, vocabulary: Vocabulary, settings: PhaseSettings, *, precision: str, seed: int
) -> tuple[float, int]:
    """Return the masked-LM loss on held-out text, in nats a masked token, and how many tokens were masked.

    Every encoder sees the same masks on the same text, since they depend on the seed only.

    Departure: the authors' code averages over documents of up to 512 tokens each; this is the mean over masked tokens
    of packed sequences, so long documents count by their length.
    """
    length = settings.sequence_length
    num_sequences = store.num_sequences(length)
    if num_sequences == 0:
        raise StudyError(
            f"{len(store.ids)} held-out tokens", f"at least one sequence of {length} tokens", "hold out more text"
        )
    loss_sum, num_masked = 0.0, 0
    model.eval()
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
        for start in range(0, num_sequences, EVALUATION_BATCH):
            indices = np.arange(start, min(start + EVALUATION_BATCH, num_sequences))
            rng = generator("held_out_masks", seed, step=start)
            ids = store.sequences(indices, length)
            batch = mask_batch(ids, vocabulary, settings.mlm_probability, rng=rng).to(model.device)
            if len(batch.positions):
                loss_sum += encoders.masked_lm_loss(model, batch.input_ids, batch.positions, batch.labels).item()
                num_masked += len(batch.positions)
    return loss_sum / max(num_masked, 1), num_masked
