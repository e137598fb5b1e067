"""The device and the precision that arithmetic runs in."""

from collections.abc import Mapping
from typing import Any

import torch

from dontstop.errors import StudyError


def resolve_device(device: str) -> str:
    """Turn `auto` into `cuda` where there is a GPU, else into `cpu`.

    Raises:
        StudyError: If a GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise StudyError(
            "no GPU that PyTorch can use",
            "one, since device is cuda",
            "install a PyTorch build for it (make set-up TORCH_INDEX=...), or set device to auto or cpu",
        )
    return "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")


def resolve_precision(precision: str, device: str = "cpu") -> str:
    """Turn `auto` into `bf16` where the device has bf16 matrix instructions, else into `fp32`.

    Asked of the device, not measured: a measurement on a busy machine could answer differently tomorrow. Without
    such instructions bf16 is about ten times slower than fp32.
    """
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if has_bf16_instructions() else "fp32"


def has_bf16_instructions() -> bool:
    """Whether this processor multiplies bf16 matrices by instructions of its own (AVX512-BF16)."""
    return bool(processor_capabilities().get("avx512_bf16", False))


def processor_capabilities() -> Mapping[str, Any]:
    """Return what PyTorch tells of this processor, by its names.

    Versions of PyTorch without `get_capabilities` tell of bf16 instructions alone, by a private function; one that has
    neither tells nothing.
    """
    if hasattr(torch.cpu, "get_capabilities"):
        return torch.cpu.get_capabilities()
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return {} if probe is None else {"avx512_bf16": probe()}
