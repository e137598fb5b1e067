"""On a GPU: the processor's losses but for rounding, resumption, fine-tuning, several pretrainings at once."""

import numpy as np
import pytest
import torch

from dontstop.profiles import PhaseSettings
from dontstop.training import devices, finetune
from test_finetune import DATA, SETTINGS, classifier
from test_mlm import interrupt, trained, weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
FEW = PhaseSettings(num_steps=6, batch_size=6, sequence_length=16, learning_rate=1e-3, num_shards=2)


@pytest.mark.parametrize("name", ["modernbert", "roberta", "bert"])
def test_pretraining_on_a_gpu_equals_the_processors_but_for_rounding(name, tmp_path):
    """The draws of dropout differ between the two, so losses are alike and not equal."""
    _, here = trained(tmp_path / "cpu", settings=FEW, name=name)
    _, there = trained(tmp_path / "gpu", settings=FEW, name=name, device="cuda")
    np.testing.assert_allclose(there.losses[0], here.losses[0], rtol=0.05)
    np.testing.assert_allclose(there.losses, here.losses, rtol=0.1)


def test_a_training_on_a_gpu_is_resumed_from_its_last_state(tmp_path):
    """Its masks and order to the bit; sums on a GPU may come in another order."""
    whole, curve = trained(tmp_path / "whole", device="cuda")
    interrupt(trained, tmp_path / "state", device="cuda")
    resumed, again = trained(tmp_path / "state", device="cuda")
    np.testing.assert_allclose(again.losses, curve.losses, rtol=1e-3)
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=1e-2, atol=1e-3)


def test_fine_tuning_on_a_gpu_learns_what_can_be_learnt():
    found = finetune.finetune(classifier().to("cuda"), DATA, SETTINGS, seed=0, precision="bf16")
    assert found.test_scores["macro_f1"] > 0.9 and not found.degenerate


def test_what_a_gpu_is_asked_for_by_default():
    assert devices.resolve_device("auto") == "cuda"
    assert devices.resolve_precision("auto", "cuda") in ("bf16", "fp32")
