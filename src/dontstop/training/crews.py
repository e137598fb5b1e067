"""The processes that share one training: a gang on one machine, through its memory; or torchrun's ranks, anywhere."""

import contextlib
import os
import threading
from collections.abc import Iterator

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from dontstop.errors import StudyError
from dontstop.machine.processes import CONTEXT
from dontstop.training import encoders
from dontstop.training.optimizers import FlatParameters

GANG_PATIENCE_SECONDS = 900


class Gang:
    """Processes whose gradients meet in shared memory, shard by shard, to be summed in the shards' order.

    Any number of them gives the same result to the bit. Gradients alternate between two sets of buffers, so that one
    meeting a step is enough: whoever writes a set again has met the others once since they last read it.

    Attributes:
        rank: This process's; the one of rank 0 saves and reports.
        device: Where the model is, once it has joined.
    """

    def __init__(self, num_processes: int, num_shards: int, like: torch.Tensor):
        self.rank, self.num_processes, self.num_shards = 0, num_processes, num_shards
        self._gradients = like.new_zeros(2 if num_processes > 1 else 1, num_shards, len(like))
        if num_processes > 1:
            self._gradients.share_memory_()
        self._sums = torch.zeros(2, num_shards, 2, dtype=torch.float64).share_memory_()  # loss, masked tokens
        self._barrier = CONTEXT.Barrier(num_processes) if num_processes > 1 else None

    @property
    def shards(self) -> range:
        """The shards of every step that are this process's."""
        return range(self.rank, self.num_shards, self.num_processes)

    def join(self, model: nn.Module, flat: FlatParameters) -> None:
        """Take part with a model and its parameters."""
        self._model, self._flat, self.device = model, flat, flat.values.device

    def begin_shard(self, step: int, shard: int) -> None:
        """Make room for a shard's gradients."""
        self._flat.gradients_into(self._gradients[step % len(self._gradients), shard])

    def loss(self, batch, *, last: bool) -> torch.Tensor:
        """Return a batch's summed loss, ready for its backward pass; `last` where it is the step's last here."""
        del last  # gradients meet in `gather`
        return encoders.masked_lm_loss(self._model, batch.input_ids, batch.rows, batch.labels)

    def end_shard(self, step: int, shard: int, loss_sum: float, num_masked: int) -> None:
        """Leave a shard's loss and number of masked tokens for the others."""
        self._sums[step % 2, shard, 0], self._sums[step % 2, shard, 1] = loss_sum, num_masked

    def gather(self, step: int, gradient: torch.Tensor) -> tuple[float, float]:
        """Sum all shards' gradients into `gradient`; return the sums of losses and of masked tokens."""
        self._meet(step)
        torch.sum(self._gradients[step % len(self._gradients)], dim=0, out=gradient)
        return tuple(self._sums[step % 2].sum(0).tolist())

    def agree(self, start: int) -> None:
        """Let everybody read the state before anybody trains, and so saves, from step `start` on."""
        self._meet(start)

    def abort(self) -> None:
        """Let nobody wait any longer for a process that was lost."""
        if self._barrier is not None:
            self._barrier.abort()

    def _meet(self, step: int) -> None:
        if self._barrier is None:
            return
        try:
            self._barrier.wait(GANG_PATIENCE_SECONDS)
        except threading.BrokenBarrierError as error:
            raise StudyError(
                f"a process of the gang was lost at step {step}",
                "all processes of one training alive",
                "give the same command again: it goes on from the last saved step",
            ) from error


class _MaskedLoss(nn.Module):
    """An encoder whose forward pass is its summed masked-LM loss, as DistributedDataParallel wants it."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the sum over masked tokens, in nats."""
        return encoders.masked_lm_loss(self.model, input_ids, rows, labels)


class Ranks:
    """Processes that torchrun started, on one machine or several, through PyTorch's DistributedDataParallel.

    The same training as a gang's, up to the order of floating-point sums.

    Attributes:
        rank: This process's among all; the one of rank 0 saves and reports.
        device: Where the model is.
    """

    def __init__(self, device: str, num_shards: int):
        self.rank, self.num_processes = distributed.get_rank(), distributed.get_world_size()
        self.num_shards, self.device = num_shards, torch.device(device)
        if num_shards < self.num_processes:
            raise StudyError(
                f"{self.num_processes} processes for a phase of num_shards = {num_shards}",
                "a shard or more for each process",
                f"set the phase's num_shards to a multiple of {self.num_processes}, or start fewer processes",
            )

    @property
    def shards(self) -> range:
        """The shards of every step that are this process's."""
        return range(self.rank, self.num_shards, self.num_processes)

    def join(self, model: nn.Module, flat: FlatParameters) -> None:
        """Take part with a model and its parameters."""
        self._flat, self._gradient, self.device = flat, torch.zeros_like(flat.values), flat.values.device
        self._sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        self._module = DistributedDataParallel(_MaskedLoss(model))

    def begin_shard(self, step: int, shard: int) -> None:
        """Make room for the step's gradients, before the first of this process's shards."""
        del step
        if shard == self.shards[0]:
            self._flat.gradients_into(self._gradient)
            self._sums.zero_()

    def loss(self, batch, *, last: bool) -> torch.Tensor:
        """Return a batch's summed loss; in the backward pass of the step's last, gradients are averaged over ranks."""
        with contextlib.nullcontext() if last else self._module.no_sync():
            return self._module(batch.input_ids, batch.rows, batch.labels)

    def end_shard(self, step: int, shard: int, loss_sum: float, num_masked: int) -> None:
        """Add a shard's loss and number of masked tokens to this process's."""
        del step, shard
        self._sums += torch.tensor([loss_sum, num_masked], dtype=torch.float64, device=self.device)

    def gather(self, step: int, gradient: torch.Tensor) -> tuple[float, float]:
        """Give the summed gradients of all ranks, of which the backward pass has left the mean; and the other sums."""
        del step
        torch.mul(self._gradient, self.num_processes, out=gradient)
        distributed.all_reduce(self._sums)
        return tuple(self._sums.tolist())

    def agree(self, start: int) -> None:
        """Let everybody read the state before anybody saves, and make sure that all have read the same.

        Raises:
            StudyError: If they have not: then they do not see one and the same folder.
        """
        starts = [None] * self.num_processes
        distributed.all_gather_object(starts, start)
        if len(set(starts)) > 1:
            raise StudyError(
                f"processes that would go on from the steps {starts}",
                "one state that all of them read",
                "keep the project on a disk that all hosts share",
            )


def is_under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def leads() -> bool:
    """Whether this process is the first of torchrun's, or the only one."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def wait() -> None:
    """Wait until all of torchrun's processes have come here."""
    if distributed.is_initialized():
        distributed.barrier()


@contextlib.contextmanager
def together(device: str) -> Iterator[str | None]:
    """Join the processes that torchrun started, by NCCL on GPUs and Gloo elsewhere; give this one's device, or None."""
    if not is_under_torchrun():
        yield None
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()
