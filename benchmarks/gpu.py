"""Masked-LM pretraining of RoBERTa-base on a GPU: the Trainer as run_mlm.py has it; our loop, plain and compiled."""

import time
from pathlib import Path

import torch
import transformers

from benchmarks import measuring, pretraining
from dontstop.machine.runner import say
from dontstop.profiles import PhaseSettings
from dontstop.training import devices

AIM_TOKENS, AIM_RATIO = 700_000, 3.0  # on an H200, and over the first contender
SCRIPT, TUNED, OURS, COMPILED = "run_mlm.py --bf16", "Trainer, bf16, our batch", "ours", "ours, compiled"
BATCH, LENGTH = 64, 512


def roberta_base(**changes):
    """Return the configuration of RoBERTa-base, with a few things changed."""
    sizes = {"vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    return transformers.RobertaConfig(**(sizes | changes))


class SynchronousClock(measuring.StepClock):
    """A clock that ticks when the GPU has done what it was asked to."""

    def tick(self, done: int, total: int) -> None:
        """Note the end of step `done`, counted from 1."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        super().tick(done, total)


def benchmark(
    scratch: Path, results: Path | None, *, num_repeats: int, num_steps: int, device: str = "cuda", **changes
) -> None:
    """Check equivalence in fp32, measure every contender in bf16, print and write the table.

    Args:
        device: `cuda`; a test says `cpu`.
        changes: Of RoBERTa-base's configuration, for a test.

    Raises:
        StudyError: If there is no GPU, or the two sides do not train the same model.
    """
    devices.resolve_device(device)
    transformers.logging.set_verbosity_error()
    config = roberta_base(**changes)
    length = min(LENGTH, config.max_position_embeddings - 2)
    settings = PhaseSettings(
        num_steps=num_steps, batch_size=BATCH, num_shards=1, sequence_length=length, learning_rate=5e-4
    )
    gate = _check(scratch, config, settings, device)
    say(f"equivalence gate passed: {gate}")

    start = _save(scratch / "start", config)
    batches = pretraining.make_batches(settings, config.vocab_size)
    arrow = pretraining.MaskedSequences(batches).to_arrow()
    contenders = {
        SCRIPT: {"batch_size": pretraining.SCRIPT_BATCH},
        TUNED: {"batch_size": BATCH},
        OURS: {"batch_size": BATCH},
        COMPILED: {"batch_size": BATCH},
    }
    runs = []
    for repeat, name in measuring.alternating(list(contenders), num_repeats):
        run = _measure(name, start, scratch, batches, arrow, contenders[name]["batch_size"], device)
        runs.append({"contender": name, "repeat": repeat + 1, **run})
        say(f"gpu {repeat + 1}/{num_repeats}, {name}: {run['tokens_per_second']:,.0f} tokens/s")
    summary = measuring.summarise(runs, contenders)
    notes = _notes(summary, settings, gate, device)
    measuring.write_tables(results, "gpu", "Masked-LM pretraining of RoBERTa-base on a GPU", summary, runs, notes)


def _save(folder: Path, config) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


def _check(scratch: Path, config, settings: PhaseSettings, device: str) -> str:
    """Train both sides for a few steps in fp32, without dropout, whose draws differ, and compare."""
    still = type(config)(**(config.to_dict() | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}))
    few = settings.model_copy(update={"num_steps": 10, "batch_size": 8})
    batches = pretraining.make_batches(few, config.vocab_size)
    folder = _save(scratch / "gate", still)
    loss, parameters = pretraining.check_equivalence(folder, scratch, batches, num_processes=1, device=device)
    return f"losses at most {loss:.1e} apart (relative), parameters {parameters:.1e} after 10 steps in fp32"


def _measure(name: str, start: Path, scratch: Path, batches, arrow, batch_size: int, device: str) -> dict:
    clock, begin = SynchronousClock(f"gpu, {name}"), time.perf_counter()
    if name in (SCRIPT, TUNED):
        how = {"batch_size": batch_size, "precision": "bf16", "device": device}
        pretraining.train_with_trainer(start, scratch, arrow, batches.settings, clock=clock, **how)
    else:
        how = {"precision": "bf16", "num_processes": 1, "device": device, "compiled": name == COMPILED}
        pretraining.train_ours(start, scratch, batches, clock=clock, **how)
    tokens = batch_size * batches.settings.sequence_length
    memory = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else float("nan")
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return {
        "tokens_per_second": tokens / clock.steady_step_seconds(),
        "gigabytes": memory,
        "wall_seconds": time.perf_counter() - begin,
    }


def _notes(summary, settings: PhaseSettings, gate: str, device: str) -> list[str]:
    found = summary.set_index("contender")["tokens_per_second"]
    best = COMPILED if found[COMPILED] > found[OURS] else OURS
    over = measuring.ratio(summary, "tokens_per_second", best, SCRIPT, less_is_better=False)
    tuned = measuring.ratio(summary, "tokens_per_second", best, TUNED, less_is_better=False)
    where = torch.cuda.get_device_name() if device == "cuda" else "the processor, for a test"
    return [
        f"{best}: {found[best]:,.0f} tokens/s (aim on an H200: {AIM_TOKENS:,}), {over:.2f} times {SCRIPT} (aim "
        f"{AIM_RATIO:g}) and {tuned:.2f} times {TUNED}.",
        f"Compiling the layers makes ours {found[COMPILED] / found[OURS]:.2f} times as fast.",
        f"On {where}; sequences of {settings.sequence_length} tokens. Before: the equivalence gate passed, {gate}.",
    ]
