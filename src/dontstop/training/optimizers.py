"""AdamW over one flat buffer, its schedule and its clipping: shared by pretraining and fine-tuning."""

import math
from collections.abc import Iterable

import torch
from torch import nn


class FlatParameters:
    """A model's trainable parameters as views of one buffer, matrices first, and as many gradient buffers as wanted.

    One fused optimizer call and one norm serve the whole model, and micro-batches can be summed in a fixed order.

    Args:
        head: A part of the model that may take another learning rate than the rest.

    Attributes:
        values: (num_parameters,) fp32; the model's parameters are views of it.
        groups: (size, takes weight decay, is of the head) of each group of them, in their order. Matrices and
            embeddings take weight decay, norms and biases none.
    """

    def __init__(self, model: nn.Module, head: Iterable[nn.Parameter] = ()):
        of_head = {id(parameter) for parameter in head}
        parameters = [p for p in model.parameters() if p.requires_grad]
        grouped = {
            (decays, is_head): [p for p in parameters if (p.ndim >= 2, id(p) in of_head) == (decays, is_head)]
            for decays in (True, False)
            for is_head in (False, True)
        }
        self._parameters = [p for some in grouped.values() for p in some]
        self.groups = [(sum(p.numel() for p in some), *kind) for kind, some in grouped.items() if some]
        self.values = torch.empty(sum(p.numel() for p in self._parameters), device=self._parameters[0].device)
        for parameter, view in zip(self._parameters, self._views(self.values), strict=True):
            view.copy_(parameter.data)
            parameter.data = view

    def _views(self, buffer: torch.Tensor) -> list[torch.Tensor]:
        pieces = buffer.split([p.numel() for p in self._parameters])
        return [piece.view_as(p) for piece, p in zip(pieces, self._parameters, strict=True)]

    def gradients_into(self, buffer: torch.Tensor) -> None:
        """Zero `buffer`, (num_parameters,), and let the next backward pass add its gradients there."""
        buffer.zero_()
        for parameter, view in zip(self._parameters, self._views(buffer), strict=True):
            parameter.grad = view


class ScheduledAdamW:
    """Fused AdamW over flat parameters, with its learning-rate schedule and clipping.

    Args:
        settings: A phase's or fine-tuning's, for rates, Adam's constants, weight decay and the largest norm.
        decay: Whether the rate falls to zero after the warm-up, or stays.
        head_factor: The head's learning rate, as a multiple of the rest's.

    Attributes:
        gradient: (num_parameters,), to be filled before each step.
        num_done: Steps taken so far.
    """

    def __init__(self, flat: FlatParameters, settings, num_steps: int, *, decay=True, head_factor=1.0):
        self.gradient, self.num_done = torch.zeros_like(flat.values), 0
        self._settings, self._num_steps, self._decay = settings, num_steps, decay
        sizes = [size for size, *_ in flat.groups]
        self._parameters = [nn.Parameter(part) for part in flat.values.split(sizes)]
        for parameter, gradient in zip(self._parameters, self.gradient.split(sizes), strict=True):
            parameter.grad = gradient
        groups = [
            {"params": [p], "weight_decay": settings.weight_decay * decays, "factor": head_factor if is_head else 1.0}
            for p, (_, decays, is_head) in zip(self._parameters, flat.groups, strict=True)
        ]
        self._adamw = torch.optim.AdamW(
            groups,
            lr=settings.learning_rate,
            betas=(settings.adam_beta1, settings.adam_beta2),
            eps=settings.adam_epsilon,
            fused=True,
        )

    def step(self) -> None:
        """Clip the gradient to its largest norm and take one step at the schedule's learning rate."""
        settings = self._settings
        norm = torch.linalg.vector_norm(self.gradient)
        if norm > settings.max_grad_norm:
            self.gradient.mul_(settings.max_grad_norm / (norm + 1e-6))
        rate = learning_rate(
            self.num_done, self._num_steps, settings.learning_rate, settings.warmup_fraction, self._decay
        )
        for group in self._adamw.param_groups:
            group["lr"] = rate * group["factor"]
        self._adamw.step()
        self.num_done += 1

    def moments(self) -> dict[str, torch.Tensor]:
        """Return Adam's moments by name, to be saved."""
        states = enumerate(self._adamw.state.values())
        return {f"{name}.{k}": state[name] for k, state in states for name in ("exp_avg", "exp_avg_sq")}

    def restore(self, moments: dict[str, torch.Tensor], num_done: int) -> None:
        """Go on from saved moments after `num_done` steps."""
        self.num_done = num_done
        for k, parameter in enumerate(self._parameters):
            saved = {name: moments[f"{name}.{k}"].to(parameter.device) for name in ("exp_avg", "exp_avg_sq")}
            self._adamw.state[parameter] = {"step": torch.tensor(float(num_done), device=parameter.device), **saved}


def learning_rate(step: int, num_steps: int, peak: float, warmup_fraction: float, decay: bool = True) -> float:
    """Return the learning rate of a step: linear from zero to `peak` over the warm-up, then linear to zero (or flat).

    The same numbers as Transformers' `get_linear_schedule_with_warmup`, so that both can be compared step by step.
    """
    warmup = math.ceil(num_steps * warmup_fraction)
    if step < warmup:
        return peak * step / warmup
    return peak * max(0.0, (num_steps - step) / max(1, num_steps - warmup)) if decay else peak
