"""Continued masked-LM pretraining of any encoder, resumable to the bit, and held-out masked-LM loss."""

import contextlib
import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as tensors_to_bytes

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.processes import be_worker, one_thread
from dontstop.machine.randomness import generator, seed_of
from dontstop.profiles import PhaseSettings
from dontstop.tokens.stores import TokenStore
from dontstop.training import encoders
from dontstop.training.optimizers import FlatParameters, ScheduledAdamW
from dontstop.training.process_group import SharedMemoryGroup, TorchrunGroup

MASKED_AS_MASK, MASKED_AS_RANDOM = 0.8, 0.1  # the rest of the masked positions keep their token (Devlin et al., 2019)
EVALUATION_BATCH = 64  # sequences; held-out masks are drawn batch by batch, so it is a constant

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Vocabulary:
    """What masking needs to know of a tokenizer."""

    size: int
    mask_id: int
    special_ids: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer) -> "Vocabulary":
        """Read it off a Transformers tokenizer."""
        if tokenizer.mask_token_id is None:
            raise StudyError(
                "a tokenizer without a mask token", "the tokenizer of a masked-LM encoder", "choose another encoder"
            )
        return cls(len(tokenizer), tokenizer.mask_token_id, tuple(sorted(tokenizer.all_special_ids)))

    @functools.cached_property
    def ordinary(self) -> np.ndarray:
        """All ids but the special ones, ascending."""
        return np.setdiff1d(np.arange(self.size), self.special_ids)


@dataclass(frozen=True)
class MaskedBatch:
    """A batch with its masks drawn.

    Attributes:
        input_ids: (batch, length) int64, masked.
        positions: (num_masked,) int64, indices of the masked tokens in flattened order, ascending.
        labels: (num_masked,) int64, what stood there.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> "MaskedBatch":
        """Return the batch on a device."""
        return MaskedBatch(self.input_ids.to(device), self.positions.to(device), self.labels.to(device))

    def split(self, num_sequences: int | None) -> "list[MaskedBatch]":
        """Cut the batch into parts of at most `num_sequences` sequences, in order; None leaves it whole."""
        if num_sequences is None or num_sequences >= len(self.input_ids):
            return [self]
        parts, length = [], self.input_ids.shape[1]
        for ids in self.input_ids.split(num_sequences):
            first = sum(part.input_ids.numel() for part in parts)
            inside = (self.positions >= first) & (self.positions < first + len(ids) * length)
            parts.append(MaskedBatch(ids, self.positions[inside] - first, self.labels[inside]))
        return parts


def mask_batch(ids: np.ndarray, vocabulary: Vocabulary, probability: float, *, rng: np.random.Generator) -> MaskedBatch:
    """Mask tokens dynamically: each with `probability`; of these 80 % become <mask>, 10 % a random token, 10 % stay.

    Args:
        ids: (batch, length) int64 token ids; special tokens are never masked.

    Source: Table 13 (mask probability 0.15), following RoBERTa and BERT.
    """
    chance, fate = rng.random(ids.shape, dtype=np.float32), rng.random(ids.shape, dtype=np.float32)
    masked = (chance < probability) & ~np.isin(ids, vocabulary.special_ids)
    random_ids = vocabulary.ordinary[rng.integers(len(vocabulary.ordinary), size=ids.shape)]
    inputs = np.where(masked & (fate < MASKED_AS_MASK), vocabulary.mask_id, ids)
    as_random = masked & (fate >= MASKED_AS_MASK) & (fate < MASKED_AS_MASK + MASKED_AS_RANDOM)
    inputs = np.where(as_random, random_ids, inputs)
    positions = np.flatnonzero(masked)
    labels = ids.reshape(-1)[positions]
    return MaskedBatch(torch.from_numpy(inputs), torch.from_numpy(positions), torch.from_numpy(labels))


@dataclass
class Batches:
    """The batches of one phase, any of which can be made at any time, in any process.

    Sequences are visited in a fresh random order every epoch, and masked anew at every visit (dynamic masking).
    """

    store: TokenStore
    vocabulary: Vocabulary
    settings: PhaseSettings
    stream: str  # names the phase in the random streams
    _orders: dict[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        self.num_sequences = self.store.num_sequences(self.settings.sequence_length)
        if self.num_sequences == 0:
            raise StudyError(
                f"{len(self.store.ids)} tokens of text for {self.stream}",
                f"at least one sequence of {self.settings.sequence_length} tokens",
                "give the corpus more text, or lower sequence_length",
            )
        if self.settings.num_shards > self.settings.batch_size:
            raise StudyError(
                f"num_shards = {self.settings.num_shards} for {self.stream}",
                f"at most batch_size = {self.settings.batch_size}: a sequence or more in each part of a batch",
                "lower the phase's num_shards, or raise its batch_size",
            )

    @property
    def num_steps(self) -> int:
        """Steps of the whole phase."""
        if self.settings.num_steps is not None:
            return self.settings.num_steps
        return math.ceil(self.settings.num_epochs * self.num_sequences / self.settings.batch_size)

    def micro_batch(self, step: int, index: int) -> MaskedBatch:
        """Return one of the `num_shards` parts of a step's batch."""
        size = self.settings.batch_size
        indices = np.array([self._sequence(visit) for visit in range(step * size, (step + 1) * size)])
        rng = generator("masks", self.settings.seed, self.stream, index, step=step)
        part = np.array_split(indices, self.settings.num_shards)[index]
        ids = self.store.sequences(part, self.settings.sequence_length)
        return mask_batch(ids, self.vocabulary, self.settings.mlm_probability, rng=rng)

    def _sequence(self, visit: int) -> int:
        epoch, index = divmod(visit, self.num_sequences)
        if epoch not in self._orders:
            rng = generator("order", self.settings.seed, self.stream, step=epoch)
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = rng.permutation(self.num_sequences)
        return self._orders[epoch][index]


@dataclass(frozen=True)
class Curve:
    """Masked-LM loss during training: (num_steps,) nats a masked token, with the seconds the training took."""

    losses: np.ndarray
    wall_seconds: float


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
    progress: Progress = lambda done, total: None,
) -> tuple[torch.nn.Module, Curve]:
    """Continue a model's masked-LM pretraining, from `state` where an earlier try left off, and return it trained.

    A step's batch is cut into `num_shards` micro-batches whose gradients are summed in their order. Any number of
    processes can share them: the result is the same to the bit.

    Args:
        load_model: Loads the model to start from; called once in every process, so it must be picklable.
        state: A file for the state of an unfinished training; deleted by the caller when the result is safe.
        precision: `fp32` or `bf16` (autocast).
        device: `cpu`, `cuda` or `cuda:<k>`.
        compiled: Whether torch.compile makes kernels for the encoder's layers; not for several processes.
        num_processes: Processes that share the micro-batches of each step; speed only. On a GPU there is one.
        distributed: Whether torchrun's processes share them instead, this being one; same but for rounding.
        progress: Called after every step with steps done and steps in all.

    Raises:
        StudyError: If the loss is no longer a number, or another process is lost.
    """
    model = load_model().to(device)
    flat = FlatParameters(model)
    if compiled:
        encoders.compile_layers(model)
    num_processes = num_processes if device == "cpu" else 1
    made = _process_group(num_processes, distributed, flat, load_model, batches, state, precision)
    with one_thread(), torch.random.fork_rng(devices=[]), made as group:
        return model, _Training(group, model, flat, batches, state, precision).run(steps_between_saves, progress)


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
    _Training(group, model, FlatParameters(model), batches, state, precision).run(1, lambda done, total: None)


class _Training:
    """One process's part of a training, from the last saved step on."""

    def __init__(self, group, model, flat: FlatParameters, batches: Batches, state: Path, precision: str):
        self._group, self._flat, self._batches, self._state, self._precision = group, flat, batches, state, precision
        self._optimizer = ScheduledAdamW(flat, batches.settings, batches.num_steps)
        group.attach(model, flat)
        self._losses, self._seconds = self._load_state()
        self._steps = range(len(self._losses), batches.num_steps)
        group.barrier(self._steps.start)
        model.train()

    def run(self, steps_between_saves: int, progress: Progress) -> Curve:
        """Take the steps that are left."""
        begin, before = time.perf_counter(), self._seconds
        indices = ((step, index) for step in self._steps for index in self._group.micro_batches)
        micro_batches = (self._batches.micro_batch(*index) for index in indices)
        self._next, self._rest = next(micro_batches, None), micro_batches
        for step in self._steps:
            self._losses.append(self._step(step))
            self._seconds = before + time.perf_counter() - begin
            if self._group.rank == 0:
                progress(step + 1, self._steps.stop)
                if (step + 1) % steps_between_saves == 0 and step + 1 < self._steps.stop:
                    self._save_state()
        return Curve(np.array(self._losses), before + time.perf_counter() - begin)

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
        files.write_bytes(self._state, tensors_to_bytes(tensors | self._optimizer.moments()))

    def _load_state(self) -> tuple[list[float], float]:
        """Restore values and moments if a state was saved; return the losses and the seconds up to then."""
        if not self._state.is_file():
            return [], 0.0
        try:
            with safe_open(self._state, "pt") as saved:
                tensors = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118 (not a dict)
        except SafetensorError as error:
            folder = self._state.parent
            raise StudyError(f"a damaged training state {self._state}", "a whole file", f"delete {folder}") from error
        self._flat.values.copy_(tensors["values"])
        losses = tensors["losses"].tolist()
        self._optimizer.restore(tensors, len(losses))
        return losses, tensors["seconds"].item()


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
