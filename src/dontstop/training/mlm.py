"""Continued masked-LM pretraining of any encoder, resumable to the bit, and held-out masked-LM loss."""

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as tensors_to_bytes

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.processes import CONTEXT, be_worker, one_thread
from dontstop.machine.randomness import generator, seed_of
from dontstop.profiles import PhaseSettings
from dontstop.tokens.tokens import TokenStore
from dontstop.training import crews, encoders, optimizers

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
        rows: (num_masked,) int64, places of the masked tokens in flattened order, ascending.
        labels: (num_masked,) int64, what stood there.
    """

    input_ids: torch.Tensor
    rows: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> "MaskedBatch":
        """Return the batch on a device."""
        return MaskedBatch(self.input_ids.to(device), self.rows.to(device), self.labels.to(device))

    def split(self, num_sequences: int | None) -> "list[MaskedBatch]":
        """Cut the batch into parts of at most `num_sequences` sequences, in order; None leaves it whole."""
        if num_sequences is None or num_sequences >= len(self.input_ids):
            return [self]
        parts, length = [], self.input_ids.shape[1]
        for ids in self.input_ids.split(num_sequences):
            first = sum(part.input_ids.numel() for part in parts)
            inside = (self.rows >= first) & (self.rows < first + len(ids) * length)
            parts.append(MaskedBatch(ids, self.rows[inside] - first, self.labels[inside]))
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
    rows = np.flatnonzero(masked)
    return MaskedBatch(torch.from_numpy(inputs), torch.from_numpy(rows), torch.from_numpy(ids.reshape(-1)[rows]))


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

    @property
    def num_steps(self) -> int:
        """Steps of the whole phase."""
        if self.settings.num_steps is not None:
            return self.settings.num_steps
        return math.ceil(self.settings.num_epochs * self.num_sequences / self.settings.batch_size)

    def shard(self, step: int, shard: int) -> MaskedBatch:
        """Return the part of a step's batch that belongs to one of the `num_shards` shards."""
        size = self.settings.batch_size
        indices = np.array([self._sequence(step * size + row) for row in range(size)])
        rng = generator("masks", self.settings.seed, self.stream, shard, step=step)
        part = np.array_split(indices, self.settings.num_shards)[shard]
        ids = self.store.sequences(part, self.settings.sequence_length)
        return mask_batch(ids, self.vocabulary, self.settings.mlm_probability, rng=rng)

    def _sequence(self, visit: int) -> int:
        epoch, place = divmod(visit, self.num_sequences)
        if epoch not in self._orders:
            rng = generator("order", self.settings.seed, self.stream, step=epoch)
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = rng.permutation(self.num_sequences)
        return self._orders[epoch][place]


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

    A step's batch is cut into `num_shards` shards whose gradients are summed in their order. Any number of processes
    can share the shards: the result is the same to the bit.

    Args:
        load_model: Loads the model to start from; called once in every process, so it must be picklable.
        state: A file for the state of an unfinished training; deleted by the caller when the result is safe.
        precision: `fp32` or `bf16` (autocast).
        device: `cpu`, `cuda` or `cuda:<k>`.
        compiled: Whether torch.compile makes kernels for the encoder's layers; not for a gang of several processes.
        num_processes: Processes that share the shards of each step; speed only. On a GPU there is one.
        distributed: Whether torchrun's processes share them instead, this being one; same but for rounding.
        progress: Called after every step with steps done and steps in all.

    Raises:
        StudyError: If the loss is no longer a number, or a process of the gang is lost.
    """
    model = load_model().to(device)
    flat = optimizers.FlatParameters(model)
    if compiled:
        encoders.compile_layers(model)
    num_shards = batches.settings.num_shards
    arguments = (batches, state, precision)
    how = {"steps_between_saves": steps_between_saves, "progress": progress}
    with one_thread(), torch.random.fork_rng(devices=[]):
        if distributed:
            return model, _run_steps(crews.Ranks(device, num_shards), model, flat, *arguments, **how)
        gang = crews.Gang(min(num_processes, num_shards) if device == "cpu" else 1, num_shards, flat.values)
        with _others(gang, (load_model, *arguments)):
            return model, _run_steps(gang, model, flat, *arguments, **how)


@contextlib.contextmanager
def _others(gang: crews.Gang, arguments: tuple) -> Iterator[None]:
    """Keep the other processes of a gang at work beside this one."""
    ranks = range(1, gang.num_processes)
    others = [CONTEXT.Process(target=_join, args=(gang, rank, *arguments), daemon=True) for rank in ranks]
    for process in others:
        process.start()
    threading.Thread(target=_abort_with, args=(others, gang), daemon=True).start()
    try:
        yield
    finally:
        for process in others:
            process.join(5)
            process.kill()


def _abort_with(others: list, gang: crews.Gang) -> None:
    """Let nobody wait for a process of the gang that was killed."""
    for process in others:
        process.join()
        if process.exitcode:
            gang.abort()


def _join(gang: crews.Gang, rank: int, load_model, batches: Batches, state: Path, precision: str) -> None:
    be_worker()
    gang.rank = rank
    model = load_model()
    flat = optimizers.FlatParameters(model)
    _run_steps(gang, model, flat, batches, state, precision, steps_between_saves=1, progress=lambda done, total: None)


def _run_steps(crew, model, flat, batches, state, precision, *, steps_between_saves, progress) -> Curve:
    settings, num_steps = batches.settings, batches.num_steps
    gradient = torch.zeros_like(flat.values)
    optimizer = flat.optimizer(gradient, settings)
    crew.join(model, flat)
    start, losses, seconds = _load_state(state, flat, optimizer)
    crew.agree(start)
    model.train()
    begin = time.perf_counter()
    parts = (batches.shard(step, shard) for step in range(start, num_steps) for shard in crew.shards)
    part = next(parts, None)
    for step in range(start, num_steps):
        for shard in crew.shards:
            crew.begin_shard(step, shard)
            torch.manual_seed(seed_of("dropout", settings.seed, batches.stream, shard, step))
            last, num_masked = shard == crew.shards[-1], len(part.rows)
            loss_sum = _backpropagate(crew, part, settings, precision, last=last)
            part = next(parts, None)  # drawn while a GPU is still at work: its loss is not asked for before
            crew.end_shard(step, shard, loss_sum.item(), num_masked)
        loss_sum, num_masked = crew.gather(step, gradient)
        if not math.isfinite(loss_sum):
            raise StudyError(
                f"masked-LM loss {loss_sum} at step {step} of {batches.stream}",
                "a finite loss",
                "lower the phase's learning_rate, or set precision to fp32",
            )
        gradient.div_(max(num_masked, 1.0))
        rate = optimizers.learning_rate(step, num_steps, settings.learning_rate, settings.warmup_fraction)
        optimizers.step_optimizer(optimizer, gradient, rate, settings.max_grad_norm)
        losses.append(loss_sum / max(num_masked, 1.0))
        if crew.rank == 0:
            progress(step + 1, num_steps)
            if (step + 1) % steps_between_saves == 0 and step + 1 < num_steps:
                _save_state(state, flat, optimizer, losses, seconds + time.perf_counter() - begin)
    return Curve(np.array(losses), seconds + time.perf_counter() - begin)


def _backpropagate(crew, shard: MaskedBatch, settings: PhaseSettings, precision: str, *, last: bool) -> torch.Tensor:
    """Backpropagate one shard's summed loss, in passes of few enough sequences; return it, a float64 scalar."""
    device = crew.device
    passes, loss_sum = shard.split(settings.sequences_at_once), 0.0
    for number, batch in enumerate(passes, 1):
        on_device = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = crew.loss(on_device, last=last and number == len(passes))
        loss.backward()
        loss_sum = loss_sum + loss.detach().double()
    return loss_sum


def _save_state(path: Path, flat, optimizer, losses: list[float], seconds: float) -> None:
    tensors = {"values": flat.values, "losses": torch.tensor(losses, dtype=torch.float64)}
    tensors["seconds"] = torch.tensor([seconds], dtype=torch.float64)
    for index, moments in enumerate(optimizer.state.values()):
        tensors |= {f"{name}.{index}": moments[name] for name in ("exp_avg", "exp_avg_sq")}
    files.write_bytes(path, tensors_to_bytes(tensors))


def _load_state(path: Path, flat, optimizer) -> tuple[int, list[float], float]:
    """Restore values and moments if a state was saved; return the step to go on from, the losses and the seconds."""
    if not path.is_file():
        return 0, [], 0.0
    try:
        with safe_open(path, "pt") as saved:
            tensors = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise StudyError(f"a damaged training state {path}", "a whole file", f"delete {path.parent}") from error
    flat.values.copy_(tensors["values"])
    losses = tensors["losses"].tolist()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        optimizer.state[parameter] = {
            "step": torch.tensor(float(len(losses)), device=parameter.device),
            "exp_avg": tensors[f"exp_avg.{index}"].to(parameter.device),
            "exp_avg_sq": tensors[f"exp_avg_sq.{index}"].to(parameter.device),
        }
    return len(losses), losses, tensors["seconds"].item()


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
            if len(batch.rows):
                loss_sum += encoders.masked_lm_loss(model, batch.input_ids, batch.rows, batch.labels).item()
                num_masked += len(batch.rows)
    return loss_sum / max(num_masked, 1), num_masked
