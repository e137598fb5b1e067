"""The processes that share one training: on one machine, through its memory; or torchrun's, anywhere."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from dontstop.errors import StudyError
from dontstop.machine.processes import CONTEXT
from dontstop.training import encoders
from dontstop.training.optimizers import FlatParameters

BARRIER_SECONDS = 900


class _ProcessGroup:
    """What both kinds of process group have.

    Attributes:
        rank: This process's; the one of rank 0 is the main process, which saves and reports.
        device: Where the model is, once it is attached.
    """

    def __init__(self, rank: int, num_processes: int, num_micro_batches: int):
        self.rank, self.num_processes, self.num_micro_batches = rank, num_processes, num_micro_batches

    @property
    def micro_batches(self) -> range:
        """The micro-batches of every step that are this process's."""
        return range(self.rank, self.num_micro_batches, self.num_processes)


class SharedMemoryGroup(_ProcessGroup):
    """Processes whose gradients meet in shared memory, to be summed in the order of the micro-batches.

    Any number of them gives the same result to the bit. Gradients alternate between two sets of buffers, so that one
    barrier a step is enough: whoever writes a set again has met the others once since they last read it.
    """

    def __init__(self, num_processes: int, num_micro_batches: int, like: torch.Tensor):
        super().__init__(0, num_processes, num_micro_batches)
        self._gradients = like.new_zeros(2 if num_processes > 1 else 1, num_micro_batches, len(like))
        if num_processes > 1:
            self._gradients.share_memory_()
        self._sums = torch.zeros(2, num_micro_batches, 2, dtype=torch.float64).share_memory_()  # loss, masked tokens
        self._barrier = CONTEXT.Barrier(num_processes) if num_processes > 1 else None

    def attach(self, model: nn.Module, flat: FlatParameters) -> None:
        """Take part with a model and its parameters."""
        self._model, self._flat, self.device = model, flat, flat.values.device

    def begin_micro_batch(self, step: int, index: int) -> None:
        """Make room for a micro-batch's gradients."""
        self._flat.gradients_into(self._gradients[step % len(self._gradients), index])

    def loss(self, batch, *, last: bool) -> torch.Tensor:
        """Return a batch's summed loss, ready for its backward pass; `last` where it is the step's last here."""
        del last  # gradients meet in `all_reduce`
        return encoders.masked_lm_loss(self._model, batch.input_ids, batch.positions, batch.labels)

    def end_micro_batch(self, step: int, index: int, loss_sum: float, num_masked: int) -> None:
        """Leave a micro-batch's loss and number of masked tokens for the others."""
        self._sums[step % 2, index, 0], self._sums[step % 2, index, 1] = loss_sum, num_masked

    def all_reduce(self, step: int, gradient: torch.Tensor) -> tuple[float, float]:
        """Sum all micro-batches' gradients into `gradient`; return the sums of losses and of masked tokens."""
        self.barrier(step)
        torch.sum(self._gradients[step % len(self._gradients)], dim=0, out=gradient)
        return tuple(self._sums[step % 2].sum(0).tolist())

    def barrier(self, step: int) -> None:
        """Wait at a step for the other processes; before the first, so that all read the state before one saves.

        Raises:
            StudyError: If one of them was lost.
        """
        if self._barrier is None:
            return
        try:
            self._barrier.wait(BARRIER_SECONDS)
        except threading.BrokenBarrierError as error:
            raise StudyError(
                f"a process of the process group was lost at step {step}",
                "all processes of one training alive",
                "give the same command again: it goes on from the last saved step",
            ) from error

    @contextlib.contextmanager
    def other_processes(self, target: Callable, arguments: tuple) -> Iterator[None]:
        """Keep the other processes at work beside this one, each with target(group, rank, *arguments)."""
        ranks = range(1, self.num_processes)
        others = [CONTEXT.Process(target=target, args=(self, rank, *arguments), daemon=True) for rank in ranks]
        for process in others:
            process.start()
        threading.Thread(target=self._abort_with, args=(others,), daemon=True).start()
        try:
            yield
        finally:
            for process in others:
                process.join(5)
                process.kill()

    def _abort_with(self, others: list) -> None:
        """Let nobody wait any longer once one of the processes, whichever, was lost."""
        running = {process.sentinel: process for process in others}
        while running:
            for sentinel in wait(list(running)):
                process = running.pop(sentinel)
                process.join()
                if process.exitcode:
                    self._barrier.abort()


class _MaskedLoss(nn.Module):
    """An encoder whose forward pass is its summed masked-LM loss, as DistributedDataParallel wants it."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the sum over masked tokens, in nats."""
        return encoders.masked_lm_loss(self.model, input_ids, positions, labels)


class TorchrunGroup(_ProcessGroup):
    """Processes that torchrun started, on one machine or several, through PyTorch's DistributedDataParallel.

    The same training as that of a `SharedMemoryGroup`, up to the order of floating-point sums.
    """

    def __init__(self, num_micro_batches: int):
        super().__init__(distributed.get_rank(), distributed.get_world_size(), num_micro_batches)
        if num_micro_batches < self.num_processes:
            raise StudyError(
                f"{self.num_processes} processes for a phase of num_shards = {num_micro_batches}",
                "a micro-batch or more for each process",
                f"set the phase's num_shards to a multiple of {self.num_processes}, or start fewer processes",
            )

    def attach(self, model: nn.Module, flat: FlatParameters) -> None:
        """Take part with a model and its parameters."""
        self._flat, self._gradient, self.device = flat, torch.zeros_like(flat.values), flat.values.device
        self._sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        self._module = DistributedDataParallel(_MaskedLoss(model))

    def begin_micro_batch(self, step: int, index: int) -> None:
        """Make room for the step's gradients, before the first of this process's micro-batches."""
        del step
        if index == self.micro_batches[0]:
            self._flat.gradients_into(self._gradient)
            self._sums.zero_()

    def loss(self, batch, *, last: bool) -> torch.Tensor:
        """Return a batch's summed loss; in the backward pass of the step's last, gradients are averaged over ranks."""
        with contextlib.nullcontext() if last else self._module.no_sync():
            return self._module(batch.input_ids, batch.positions, batch.labels)

    def end_micro_batch(self, step: int, index: int, loss_sum: float, num_masked: int) -> None:
        """Add a micro-batch's loss and number of masked tokens to this process's."""
        del step, index
        self._sums += torch.tensor([loss_sum, num_masked], dtype=torch.float64, device=self.device)

    def all_reduce(self, step: int, gradient: torch.Tensor) -> tuple[float, float]:
        """Give the summed gradients of all ranks, of which the backward pass has left the mean; and the other sums."""
        del step
        torch.mul(self._gradient, self.num_processes, out=gradient)
        distributed.all_reduce(self._sums)
        return tuple(self._sums.tolist())

    def barrier(self, step: int) -> None:
        """Let all read the state before one saves, and make sure that all have read the same.

        Raises:
            StudyError: If they have not: then they do not see one and the same folder.
        """
        steps = [None] * self.num_processes
        distributed.all_gather_object(steps, step)
        if len(set(steps)) > 1:
            raise StudyError(
                f"processes that would go on from the steps {steps}",
                "one state that all of them read",
                "keep the project on a disk that all hosts share",
            )


def is_under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_main_process() -> bool:
    """Whether this process is the first of torchrun's, or the only one."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def barrier() -> None:
    """Wait until all of torchrun's processes have come here."""
    if distributed.is_initialized():
        distributed.barrier()


@contextlib.contextmanager
def initialized(device: str) -> Iterator[str | None]:
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
