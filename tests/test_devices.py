"""Device and precision are asked of the machine, whatever PyTorch calls the question."""

import pytest
import torch

from dontstop.errors import StudyError
from dontstop.training import devices


@pytest.fixture(params=["public", "private"])
def processor(request, monkeypatch):
    """Give a function that lets the processor have bf16 instructions or not, as new and as older PyTorch tells it."""

    def has(answer: bool) -> None:
        if request.param == "public":
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": answer}, raising=False)
        else:
            monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
            monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: answer, raising=False)

    return has


def test_precision_is_asked_of_the_processor(processor):
    processor(False)
    assert devices.resolve_precision("auto") == "fp32" and devices.resolve_precision("bf16") == "bf16"
    processor(True)
    assert devices.resolve_precision("auto") == "bf16" and devices.resolve_precision("fp32") == "fp32"


def test_a_pytorch_that_tells_nothing_means_fp32(monkeypatch):
    for name in ("get_capabilities", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not devices.has_bf16_instructions() and devices.resolve_precision("auto") == "fp32"


def test_another_processor_family_has_no_such_instructions(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "aarch64", "bf16": True}, raising=False)
    assert devices.resolve_precision("auto") == "fp32"


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.resolve_device("auto") == "cpu" and devices.resolve_device("cpu") == "cpu"
    with pytest.raises(StudyError, match="no GPU that PyTorch can use"):
        devices.resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.resolve_device("auto") == devices.resolve_device("cuda") == "cuda"
