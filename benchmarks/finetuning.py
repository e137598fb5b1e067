"""Fine-tuning a grid of runs: the Trainer, one run after another, and ours, on warm single-threaded processes."""

import functools
import itertools
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    Trainer,
    default_data_collator,
)

from benchmarks import measuring
from benchmarks.pretraining import NUM_SPECIAL, save_start
from dontstop import tokens
from dontstop.machine import files
from dontstop.machine.randomness import generator
from dontstop.machine.runner import Job, carry_out, say
from dontstop.profiles import Finetune, Profile, load_profile
from dontstop.tokens import TokenStore
from dontstop.training import devices, finetune

AS_SCRIPT, TUNED, OURS = "run_glue.py defaults", "Trainer, tuned", "ours, 2 processes"
AIMS = {AS_SCRIPT: 6.0, TUNED: 2.5}
SCRIPT_BATCH = 8  # run_glue.py's default, in training and in evaluation
NUM_LABELS, METRIC = 5, "macro_f1"
MEDIAN_LENGTH, LENGTH_SPREAD = 25, 0.6  # a log-normal with mean 30, like the documentation strings' passages
MINILM = {"vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
MINILM |= {"intermediate_size": 1536}
NUM_CLUES, CLUE_SHARE = 40, 0.2  # words that tell a label, and how much of a text they make up
START_UP = "import datasets, sklearn.metrics; from transformers import {}".format(
    "AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments"
)


@dataclass(frozen=True)
class Grid:
    """The runs to fine-tune, and how many of them each peer really does; its time is scaled up to all."""

    runs: list[tuple[int, int, int]]  # task, checkpoint, seed
    num_measured: dict[str, int]
    sizes: dict[str, int]
    settings: Finetune
    folder: Path

    def measured(self, contender: str) -> list[tuple[int, int, int]]:
        """Return the runs that a contender is measured on, spread over tasks, checkpoints and seeds."""
        number = self.num_measured[contender]
        return [self.runs[(i * len(self.runs)) // number] for i in range(number)]

    def checkpoint(self, index: int) -> Path:
        """Return a checkpoint's folder."""
        return self.folder / f"checkpoint_{index}"

    def task(self, index: int) -> Path:
        """Return a task's folder."""
        return self.folder / f"task_{index}"


def make_grid(folder: Path, profile: Profile, *, quick: bool) -> Grid:
    """List the runs: 2 tasks, 3 checkpoints, 4 seeds; fewer and smaller if quick, or of a named encoder.

    Of an encoder that is pretrained from scratch, three epochs whatever dev says, so that all do the same work; of a
    named one, ten on as many labelled texts as its profile has, dev once.
    """
    if is_named := profile.encoder.name is not None:
        changes, numbers = {"num_epochs": 10, "patience": None}, (profile.labels.primary, 500, 1000)
    else:
        changes, numbers = {"num_epochs": 3, "patience": 3}, (500, 500, 2000)
    is_small = quick or is_named
    num_checkpoints, num_seeds = (1, 2) if is_small else (3, 4)
    runs = list(itertools.product(range(2), range(num_checkpoints), range(num_seeds)))
    measured = {AS_SCRIPT: 1 if is_small else 3, TUNED: 2 if is_small else 6, OURS: len(runs)}
    sizes = dict(zip(("train", "dev", "test"), (64, 64, 128) if quick else numbers, strict=True))
    return Grid(runs, measured, sizes, profile.finetune.model_copy(update=changes), folder)


def make_texts(num: int, vocabulary_size: int, max_length: int, *, rng: np.random.Generator) -> finetune.Examples:
    """Make random texts of natural lengths, in which some words tell the label."""
    lengths = np.exp(rng.normal(np.log(MEDIAN_LENGTH), LENGTH_SPREAD, num)).round().astype(int)
    lengths = lengths.clip(6, max_length)
    labels = rng.integers(NUM_LABELS, size=num)
    documents = []
    for length, label in zip(lengths, labels, strict=True):
        words = rng.integers(NUM_SPECIAL, vocabulary_size, length)
        clues = NUM_SPECIAL + label * NUM_CLUES + rng.integers(NUM_CLUES, size=length)
        words = np.where(rng.random(length) < CLUE_SHARE, clues, words)
        words[0], words[-1] = 1, 2
        documents.append(words.astype(np.uint16))
    return finetune.Examples(TokenStore(np.concatenate(documents), np.concatenate([[0], lengths.cumsum()])), labels)


def save_examples(folder: Path, examples: finetune.Examples) -> None:
    """Save a split as `load_examples` reads it."""
    folder.mkdir(parents=True)
    arrays = {"ids": examples.store.ids, "offsets": examples.store.offsets, "labels": examples.labels}
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)


@functools.lru_cache
def load_examples(folder: Path) -> finetune.Examples:
    """Load a split, once a process."""
    return finetune.Examples(tokens.load_token_store(folder), np.load(folder / "labels.npy", allow_pickle=False))


def prepare(grid: Grid, profile: Profile) -> None:
    """Write the grid's checkpoints and tasks; an encoder that has a name is one of its size, with random weights."""
    is_named, length = profile.encoder.name is not None, grid.settings.max_length
    size = MINILM["vocab_size"] if is_named else profile.tokens.vocabulary_size
    for checkpoint in {checkpoint for _, checkpoint, _ in grid.runs}:
        if is_named:
            torch.manual_seed(checkpoint)
            BertForMaskedLM(BertConfig(**MINILM)).save_pretrained(grid.checkpoint(checkpoint))
        else:
            save_start(grid.checkpoint(checkpoint), profile.encoder, size, length, seed=checkpoint)
    for task in {task for task, _, _ in grid.runs}:
        for split, num in grid.sizes.items():
            rng = generator("benchmark task", task, split)
            save_examples(grid.task(task) / split, make_texts(num, size, length, rng=rng))


# ------------------------------------------------------------------------------------------------------ the Trainer


def to_rows(examples: finetune.Examples) -> list[dict]:
    """Return texts as a user of the Trainer keeps them: lists of token ids, with a label."""
    texts = [examples.store.document(i).tolist() for i in range(len(examples))]
    return [{"input_ids": ids, "labels": int(label)} for ids, label in zip(texts, examples.labels, strict=True)]


def pad_rows(rows: list[dict], length: int | None = None) -> dict:
    """Pad rows to a length, or to the longest of them."""
    length = length or max(len(row["input_ids"]) for row in rows)
    ids = [row["input_ids"] + [0] * (length - len(row["input_ids"])) for row in rows]
    mask = [[1] * len(row["input_ids"]) + [0] * (length - len(row["input_ids"])) for row in rows]
    return {"input_ids": ids, "attention_mask": mask, "labels": [row["labels"] for row in rows]}


def pad_to_longest(rows: list[dict]) -> dict[str, torch.Tensor]:
    """Collate with dynamic padding."""
    return {name: torch.tensor(values) for name, values in pad_rows(rows).items()}


@functools.lru_cache
def trainer_data(folder: Path, split: str, pad_length: int | None):
    """Return a split for the Trainer: padded in advance, in `datasets`, as run_glue.py does; or as plain rows."""
    rows = to_rows(load_examples(folder / split))
    if pad_length is None:
        return rows
    import datasets

    return datasets.Dataset.from_dict(pad_rows(rows, pad_length))


def _pad_length(grid: Grid, *, tuned: bool) -> int | None:
    return None if tuned else grid.settings.max_length


def fine_tune_with_trainer(
    grid: Grid, run: tuple[int, int, int], scratch: Path, *, tuned: bool, precision: str
) -> float:
    """Do one run with the Trainer, dev after every epoch, and return its macro-F1 on test."""
    task, checkpoint, seed = run
    settings = grid.settings
    how = {"per_device_train_batch_size": SCRIPT_BATCH, "per_device_eval_batch_size": SCRIPT_BATCH}
    if tuned:
        how = {
            "per_device_train_batch_size": settings.batch_size,
            "per_device_eval_batch_size": finetune.EVALUATION_BATCH,
            "train_sampling_strategy": "group_by_length",
            "bf16": precision == "bf16",
        }
    data = {split: trainer_data(grid.task(task), split, _pad_length(grid, tuned=tuned)) for split in grid.sizes}
    arguments = {
        "num_train_epochs": settings.num_epochs,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "linear" if settings.schedule == "linear" else "constant_with_warmup",
        "warmup_steps": settings.warmup_fraction,
        "weight_decay": settings.weight_decay,
        "adam_beta1": settings.adam_beta1,
        "adam_beta2": settings.adam_beta2,
        "adam_epsilon": settings.adam_epsilon,
        "max_grad_norm": settings.max_grad_norm,
        "eval_strategy": "no" if settings.patience is None else "epoch",
        "seed": seed,
    }
    with measuring.threads(measuring.NUM_CORES):
        torch.manual_seed(seed)
        about = AutoConfig.from_pretrained(grid.checkpoint(checkpoint))
        pooling = {"classifier_pooling": settings.pooling if settings.pooling == "mean" else "cls"}
        model = AutoModelForSequenceClassification.from_pretrained(
            grid.checkpoint(checkpoint),
            num_labels=NUM_LABELS,
            classifier_dropout=settings.dropout,
            dtype=torch.float32,
            **(pooling if hasattr(about, "classifier_pooling") else {}),
        )
        trainer = measuring.silent_trainer(
            Trainer,
            scratch,
            arguments | how,
            model=model,
            train_dataset=data["train"],
            eval_dataset=data["dev"],
            data_collator=pad_to_longest if tuned else default_data_collator,
            compute_metrics=_macro_f1,
        )
        trainer.train()
        return trainer.predict(data["test"]).metrics["test_macro_f1"]


def _macro_f1(prediction) -> dict[str, float]:
    labels, predicted = prediction.label_ids, prediction.predictions.argmax(1)
    return {METRIC: finetune.score(labels, predicted, METRIC, NUM_LABELS)}


# -------------------------------------------------------------------------------------------------------------- ours


def fine_tune_ours(grid: Grid, run: tuple[int, int, int], precision: str, result: Path) -> None:
    """Do one run as the study does, and write its score with the times of its begin and end."""
    begin = time.monotonic()  # the one clock that all processes share
    task, checkpoint, seed = run
    splits = [load_examples(grid.task(task) / split) for split in grid.sizes]
    data = finetune.TaskData(f"benchmark_{task}", *splits, NUM_LABELS, METRIC)
    classifier = finetune.load_classifier(grid.checkpoint(checkpoint), NUM_LABELS, grid.settings, seed=seed)
    outcome = finetune.finetune(classifier, data, grid.settings, seed=seed, precision=precision)
    score = {METRIC: outcome.test_scores[METRIC], "num_epochs": len(outcome.dev_scores)}
    files.write_json(result, {**score, "begin": begin, "end": time.monotonic()})


def run_ours(grid: Grid, scratch: Path, precision: str) -> dict[str, float]:
    """Fine-tune the whole grid on our runner; return seconds with and without the start of its processes."""
    results = {run: scratch / "runs" / f"{'_'.join(map(str, run))}.json" for run in grid.runs}
    jobs = [
        Job(path.stem, path.stem, "run", 1.0, fine_tune_ours, (grid, run, precision, path))
        for run, path in results.items()
    ]
    begin = time.perf_counter()
    carry_out("fine-tuning, ours", jobs, num_workers=measuring.NUM_CORES, progress_seconds=10.0)
    wall_seconds = time.perf_counter() - begin
    rows = [files.read_json(path) for path in results.values()]
    warm = max(row["end"] for row in rows) - min(row["begin"] for row in rows)
    return {"warm": warm, "wall": wall_seconds, METRIC: float(np.mean([row[METRIC] for row in rows]))}


# --------------------------------------------------------------------------------------------------------- measuring


def start_up_seconds() -> float:
    """Return how long a fresh Python takes until a fine-tuning script's imports are done."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", START_UP], check=True, capture_output=True)
    return time.perf_counter() - begin


def benchmark(scratch: Path, results: Path | None, *, num_repeats: int, quick: bool, name: str = "laptop") -> None:
    """Measure every contender on the grid of a profile, print and write the table."""
    transformers.logging.set_verbosity_error()
    profile = load_profile(name)
    precision = devices.resolve_precision(profile.precision)
    grid = make_grid(scratch / "grid", profile, quick=quick)
    say(f"fine-tuning: a grid of {len(grid.runs)} runs, {' / '.join(map(str, grid.sizes.values()))} texts each")
    prepare(grid, profile)
    contenders = _contenders(grid, precision)
    start_ups = [start_up_seconds() for _ in range(num_repeats)]
    say(f"a fresh Python has imported what fine-tuning needs after {', '.join(f'{s:.1f}' for s in start_ups)} s")
    runs = []
    for repeat, contender in measuring.alternating(list(contenders), num_repeats):
        title = f"fine-tuning {repeat + 1}/{num_repeats}, {contender}"
        with measuring.CoreShare() as share:
            run = _measure(contender, grid, scratch, precision, start_ups[repeat], title=title)
        runs.append({"contender": contender, "repeat": repeat + 1, **run, "others_share": share.of_others})
    summary = measuring.summarise(runs, contenders)
    place = "finetuning" if profile.encoder.name is None else f"finetuning_{profile.name}"
    measuring.write_tables(results, place, "Fine-tuning a grid", summary, runs, _notes(summary, grid))


def _contenders(grid: Grid, precision: str) -> dict[str, dict]:
    peer = {"processes": 1, "threads": measuring.NUM_CORES}
    size = grid.settings.batch_size
    contenders = {
        AS_SCRIPT: {**peer, "batch_size": SCRIPT_BATCH, "padding": "to max_length", "precision": "fp32"},
        TUNED: {**peer, "batch_size": size, "padding": "to longest, grouped", "precision": precision},
        OURS: {"processes": measuring.NUM_CORES, "threads": 1, "batch_size": size}
        | {"padding": "to longest, grouped", "precision": precision},
    }
    return {name: {**row, "measured_runs": grid.num_measured[name]} for name, row in contenders.items()}


def _measure(name: str, grid: Grid, scratch: Path, precision: str, start_up: float, *, title: str) -> dict[str, float]:
    if name == OURS:
        found = run_ours(grid, scratch, precision)
        warm, with_start, score = found["warm"], found["wall"] + start_up, found[METRIC]
    else:
        seconds, scores = [], []
        for number, run in enumerate(grid.measured(name), 1):
            for split in grid.sizes:  # prepared before the clock runs, and kept
                trainer_data(grid.task(run[0]), split, _pad_length(grid, tuned=name == TUNED))
            begin = time.perf_counter()
            scores.append(fine_tune_with_trainer(grid, run, scratch, tuned=name == TUNED, precision=precision))
            seconds.append(time.perf_counter() - begin)
            say(f"  {title}: run {number} of {grid.num_measured[name]} took {seconds[-1]:.1f} s")
        warm, score = float(np.mean(seconds)) * len(grid.runs), float(np.mean(scores))
        with_start = warm + start_up * (len(grid.runs) if name == AS_SCRIPT else 1)
    say(f"{title}: {warm:.1f} s for {len(grid.runs)} runs, {with_start:.1f} s with start-up; macro-F1 {score:.3f}")
    return {
        "grid_seconds": warm,
        "grid_seconds_with_start_up": with_start,
        "start_up_seconds": start_up,
        METRIC: score,
    }


def _notes(summary, grid: Grid) -> list[str]:
    notes = []
    for peer, aim in AIMS.items():
        found = measuring.ratio(summary, "grid_seconds", OURS, peer, less_is_better=True)
        started = measuring.ratio(summary, "grid_seconds_with_start_up", OURS, peer, less_is_better=True)
        notes.append(f"{OURS}: {found:.2f} times as fast as {peer} (aim {aim:g}); {started:.2f} with start-up.")
    sizes = " / ".join(map(str, grid.sizes.values()))
    dev = "every epoch" if grid.settings.patience is not None else "the last epoch, by ours alone"
    return [
        *notes,
        f"{len(grid.runs)} runs: {grid.settings.num_epochs} epochs, {sizes} texts of 30 tokens on average and "
        f"{grid.settings.max_length} at most; dev after {dev}, test once. Loading the encoder counts.",
        "Where fewer runs were measured, their mean is scaled up to the grid. The Trainer's texts are tokenised and, "
        "for run_glue.py, padded before its clock runs.",
        "Start-up: run_glue.py is started anew for every run, the tuned Trainer once; ours once, and its processes.",
        "The Trainer's classifier is Transformers' own, with a head of the same size as ours; it neither keeps nor "
        "loads its best epoch, which ours does: both in its favour. Macro-F1 shows that all sides learn.",
    ]
