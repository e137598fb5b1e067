"""Beside our own resumption: the Transformers Trainer's, killed at random instants on the same masked batches."""

import shutil
import time

import pytest
import transformers
from safetensors.torch import save
from transformers import Trainer, TrainingArguments, default_data_collator

import kills
import reliability
from benchmarks.pretraining import MaskedSequences, make_batches, save_start
from dontstop.machine import files
from dontstop.profiles import Encoder, PhaseSettings
from dontstop.training import encoders

PHASE = PhaseSettings(num_steps=60, batch_size=8, sequence_length=32, learning_rate=1e-3, num_shards=1)
SMALL = Encoder(hidden_size=32, num_layers=2, num_heads=2, intermediate_size=48)


def train(start, folder, dataset) -> None:
    """Train with the Trainer, from its own last checkpoint where there is one, and keep the weights' digest."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        save_strategy="steps",
        save_steps=3,
        save_total_limit=2,
        per_device_train_batch_size=8,
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    model = encoders.load_encoder(start)
    trainer = Trainer(model, arguments, train_dataset=dataset, data_collator=default_data_collator)
    trainer.train(resume_from_checkpoint=any(folder.glob("checkpoint-*")) or None)
    weights = {name: values.detach() for name, values in model.named_parameters()}  # tied ones once
    files.write_text(folder / "digest", files.fingerprint(save(weights).hex()))


@pytest.mark.skipif(not reliability.SHARE, reason="a long test: make test-long")
def test_the_trainer_s_own_resumption_is_reported(tmp_path):
    """Whatever the Trainer does is a finding; that the uninterrupted training is repeatable is checked."""
    start = save_start(tmp_path / "start", SMALL, 500, 32, seed=0)
    dataset = MaskedSequences(make_batches(PHASE, 500))
    for name in ("whole", "again"):
        (tmp_path / name).mkdir()
        begin = time.monotonic()
        process = kills.fork(tmp_path / "log", lambda name=name: train(start, tmp_path / name, dataset))
        assert kills.end(process) == 0, (tmp_path / "log").read_text()[-3000:]
        seconds = time.monotonic() - begin
    whole = (tmp_path / "whole" / "digest").read_text()
    assert (tmp_path / "again" / "digest").read_text() == whole
    what = f"beside it: the Transformers Trainer {transformers.__version__}, on the same masked batches"
    series = reliability.Series(what, "test_trainer_resumption", 0, 40, "kills", "trainings")
    for rng in series.tries():
        folder = tmp_path / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        process = kills.fork(tmp_path / "log", lambda folder=folder: train(start, folder, dataset))
        if kills.end(process, rng.uniform(0, seconds)) is None:
            kills.stop(process, "kill -9 of all", rng)
            kills.end(process)
            code = kills.end(kills.fork(tmp_path / "log", lambda folder=folder: train(start, folder, dataset)))
            is_same = code == 0 and (folder / "digest").read_text() == whole
            series.counts["kills"] += 1
            series.counts["resumed to the bit" if is_same else "failed to resume" if code else "other weights"] += 1
