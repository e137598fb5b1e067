"""AdamW over one flat buffer, its schedule and its clipping: shared by pretraining and fine-tuning."""

import math

import torch
from torch import nn


class FlatParameters:
    """A model's parameters as views of one buffer, matrices first, and as many gradient buffers as wanted.

    One fused optimizer call and one norm serve the whole model, and shards of a batch can be summed in a fixed order.

    Attributes:
        values: (num_parameters,) fp32; the model's parameters are views of it.
        num_decayed: How many of them, from the front, take weight decay: matrices and embeddings, not norms or biases.
    """

    def __init__(self, model: nn.Module):
        parameters = [p for p in model.parameters() if p.requires_grad]
        self._parameters = [p for p in parameters if p.ndim >= 2] + [p for p in parameters if p.ndim < 2]
        self.num_decayed = sum(p.numel() for p in self._parameters if p.ndim >= 2)
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

    def optimizer(self, gradient: torch.Tensor, settings) -> torch.optim.AdamW:
        """Make a fused AdamW that reads `gradient`, (num_parameters,), and writes `values`.

        Args:
            settings: A `PhaseSettings` or `Finetune`, for Adam's constants and the weight decay.
        """
        decayed, plain = (nn.Parameter(part) for part in self.values.tensor_split([self.num_decayed]))
        decayed.grad, plain.grad = gradient.tensor_split([self.num_decayed])
        groups = [
            {"params": [decayed], "weight_decay": settings.weight_decay},
            {"params": [plain], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            groups,
            lr=settings.learning_rate,
            betas=(settings.adam_beta1, settings.adam_beta2),
            eps=settings.adam_epsilon,
            fused=True,
        )


def learning_rate(step: int, num_steps: int, peak: float, warmup_fraction: float, decay: bool = True) -> float:
    """Return the learning rate of a step: linear from zero to `peak` over the warm-up, then linear to zero (or flat).

    The same numbers as Transformers' `get_linear_schedule_with_warmup`, so that both can be compared step by step.
    """
    warmup = math.ceil(num_steps * warmup_fraction)
    if step < warmup:
        return peak * step / warmup
    return peak * max(0.0, (num_steps - step) / max(1, num_steps - warmup)) if decay else peak


def step_optimizer(optimizer: torch.optim.AdamW, gradient: torch.Tensor, rate: float, max_grad_norm: float) -> None:
    """Clip the flat gradient to a norm and take one AdamW step at the given learning rate."""
    norm = torch.linalg.vector_norm(gradient)
    if norm > max_grad_norm:
        gradient.mul_(max_grad_norm / (norm + 1e-6))
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
