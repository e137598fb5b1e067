"""The benchmarks: both sides train the same model, the gate closes when they do not, tables say what was measured."""

import functools
import os

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import finetuning, gpu, measuring, preparing, pretraining
from dontstop import tokens
from dontstop.errors import StudyError
from dontstop.machine.randomness import generator
from dontstop.profiles import Encoder, Finetune, Paths, PhaseSettings, load_profile
from dontstop.text import corpora, documents
from dontstop.training import finetune

ENCODER = Encoder(hidden_size=16, num_layers=2, num_heads=2, intermediate_size=24)
PHASE = PhaseSettings(num_steps=6, batch_size=4, sequence_length=16, learning_rate=1e-2)
VOCABULARY_SIZE = 97
COMPILER = os.environ.get("DONTSTOP_COMPILER", "eager")  # `make test-long` asks for inductor


@pytest.fixture(autouse=True)
def two_cores_are_shared_in_tests(monkeypatch):
    monkeypatch.setattr(measuring, "NUM_CORES", 1)


@pytest.fixture
def start(tmp_path):
    return pretraining.save_start(tmp_path / "start", ENCODER, VOCABULARY_SIZE, PHASE.sequence_length, seed=0)


def test_the_trainer_and_our_loop_train_the_same_model(start, tmp_path):
    batches = pretraining.make_batches(PHASE, VOCABULARY_SIZE)
    loss, parameters = pretraining.check_equivalence(start, tmp_path, batches, num_processes=1)
    assert loss <= 1e-5 and parameters <= 1e-4


def test_the_gate_closes_when_the_two_sides_differ(start, tmp_path, monkeypatch):
    batches = pretraining.make_batches(PHASE, VOCABULARY_SIZE)
    label_all = pretraining._label_all

    def one_label_changed(batch):
        labels = label_all(batch)
        labels[labels != -100] = 7
        return labels

    monkeypatch.setattr(pretraining, "_label_all", one_label_changed)
    with pytest.raises(StudyError, match="the same training on both sides"):
        pretraining.check_equivalence(start, tmp_path, batches, num_processes=1)


def test_the_trainer_sees_our_masked_batches_in_our_order():
    batches = pretraining.make_batches(PHASE, VOCABULARY_SIZE)
    sequences = pretraining.MaskedSequences(batches)
    assert len(sequences) == PHASE.num_steps * PHASE.batch_size
    second = batches.micro_batch(1, 0)  # the second step's first micro-batch: sequences 4 and 5
    ids = torch.stack([sequences[i]["input_ids"] for i in (4, 5)])
    labels = torch.stack([sequences[i]["labels"] for i in (4, 5)])
    assert torch.equal(ids, second.input_ids)
    assert torch.equal((labels.flatten() != -100).nonzero()[:, 0], second.positions)
    assert torch.equal(labels.flatten()[second.positions], second.labels)
    assert sequences.to_arrow()[4]["labels"] == labels[0].tolist()


def test_texts_have_natural_lengths_and_labels_that_their_words_tell():
    texts = finetuning.make_texts(2000, 8192, 128, rng=generator("test"))
    lengths = texts.lengths()
    assert 28 < lengths.mean() < 32 and lengths.max() <= 128 and lengths.min() >= 6
    clues = texts.store.ids.astype(int) - finetuning.NUM_SPECIAL
    owners = np.repeat(texts.labels, lengths)
    assert 0.15 < (clues // finetuning.NUM_CLUES == owners).mean() < 0.25


def test_both_padders_keep_every_token():
    texts = finetuning.make_texts(9, 8192, 40, rng=generator("test"))
    rows = finetuning.to_rows(texts)
    ids, mask, labels = texts.batch(np.arange(9), pad_id=0)
    batch = finetuning.pad_to_longest(rows)
    assert torch.equal(batch["input_ids"], ids) and torch.equal(batch["labels"], labels)
    assert torch.equal(batch["attention_mask"].bool(), mask)
    assert {len(row) for row in finetuning.pad_rows(rows, 64)["input_ids"]} == {64}


@pytest.mark.parametrize(
    ("profile", "quick", "num"), [("laptop", False, 24), ("laptop", True, 4), ("minilm", False, 4)]
)
def test_measured_runs_are_spread_over_the_grid(tmp_path, profile, quick, num):
    grid = finetuning.make_grid(tmp_path, load_profile(profile), quick=quick)
    assert len(grid.runs) == num
    for name, number in grid.num_measured.items():
        runs = grid.measured(name)
        assert len(set(runs)) == number
        assert number == 1 or {task for task, _, _ in runs} == {0, 1}
    assert grid.measured(finetuning.OURS) == grid.runs


def test_a_run_of_either_side_ends_and_is_scored(tmp_path):
    settings = Finetune(num_epochs=1, batch_size=4, max_length=16)
    grid = finetuning.Grid([(0, 0, 0)], {}, {"train": 8, "dev": 4, "test": 4}, settings, tmp_path)
    pretraining.save_start(grid.checkpoint(0), ENCODER, 512, 16, seed=0)
    for split, number in grid.sizes.items():
        examples = finetuning.make_texts(number, 512, 16, rng=generator("test", split))
        finetuning.save_examples(grid.task(0) / split, examples)
    for tuned in (False, True):
        score = finetuning.fine_tune_with_trainer(grid, (0, 0, 0), tmp_path, tuned=tuned, precision="fp32")
        assert 0.0 <= score <= 1.0
    found = finetuning.fine_tune_ours(grid, (0, 0, 0), "fp32", tmp_path / "run.json")
    assert found is None and '"num_epochs": 1' in (tmp_path / "run.json").read_text()
    assert isinstance(finetuning.load_examples(grid.task(0) / "dev"), finetune.Examples)


@pytest.fixture
def little_text(monkeypatch):
    """Let the benchmark of preparing generate little text, of few words."""
    planted = {"repeated": 5, "short": 3, "leaking": 2, "quoting": 4}
    for name, value in {"BLOCK": 60, "NUM_WORDS": 2000, "PLANTED": planted}.items():
        monkeypatch.setattr(preparing, name, value)
    monkeypatch.setattr(preparing, "SPLITS", {"train": 20, "dev": 20, "test": 30})
    for function in (preparing.originals, preparing.task_texts, preparing._words):
        function.cache_clear()
    yield
    for function in (preparing.originals, preparing.task_texts, preparing._words):
        function.cache_clear()


def test_what_is_planted_in_generated_shards_is_found(little_text, tmp_path, monkeypatch):
    shards = [preparing.Shard(corpus, k, 1, tmp_path) for corpus in preparing.CORPORA for k in range(5)]
    monkeypatch.setattr(preparing, "num_cores", lambda: 1)
    num_bytes = preparing.write_mirror(tmp_path, shards)
    texts = [row["text"] for shard in shards for row in documents.read_documents(shard.path())]
    assert num_bytes == sum(map(len, texts)) and len(texts) == 60 * len(shards)

    preparing.write_profile(tmp_path / "root")
    monkeypatch.setenv("DONTSTOP_MIRROR", str(tmp_path))
    profile, paths = load_profile("generated", tmp_path / "root"), Paths("generated", tmp_path / "root")
    corpora.prepare(profile, paths)
    profile = profile.model_copy(update={"tokens": profile.tokens.model_copy(update={"vocabulary_size": 300})})
    tokens.prepare_tokens(profile, paths, preparing.CORPORA, list(preparing.TASKS))
    assert preparing.check(paths.data, shards)["domains"]["cs"]["num_documents"] > 200
    with pytest.raises(StudyError, match="as planted"):
        preparing.check(paths.data, shards[1:])


def test_memory_is_that_of_a_process_and_all_below_it():
    found = preparing.memory_of(os.getpid())
    assert found["sum_rss_gigabytes"] >= found["command_rss_gigabytes"] > 0.01 and found["num_processes"] >= 1
    assert preparing.memory_of(2**30) == {}


def test_contenders_alternate():
    assert list(measuring.alternating("ab", 3)) == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]


def test_steady_state_leaves_the_first_steps_out():
    clock = measuring.StepClock("test")
    clock.times = [10.0, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 26.0, 27.0, 28.0]  # 15 % of ten: two steps left out
    assert clock.steady_step_seconds() == 1.0


def test_the_share_of_others_is_a_share_where_it_can_be_told():
    with measuring.CoreShare() as share:
        sum(range(1_000_000))
    assert np.isnan(share.of_others) or share.of_others >= 0.0


def test_tables_hold_medians_quartiles_and_notes(tmp_path):
    runs = [{"contender": "peer", "repeat": i, "wall_seconds": seconds} for i, seconds in enumerate((5.0, 1.0, 3.0))]
    runs += [{"contender": "ours", "repeat": 0, "wall_seconds": 1.5}]
    summary = measuring.summarise(runs, {"ours": {"threads": 1}, "peer": {"threads": 2}})
    measuring.write_tables(tmp_path, "speed", "Speed", summary, runs, ["A note."])
    table = pd.read_csv(tmp_path / "speed.csv", index_col="contender")
    assert list(table.index) == ["ours", "peer"]
    assert table.loc["peer", ["wall_seconds", "wall_seconds_q1", "wall_seconds_q3"]].tolist() == [3.0, 2.0, 4.0]
    assert table.loc["peer", "num_repeats"] == 3 and table.loc["peer", "threads"] == 2
    text = (tmp_path / "speed.md").read_text()
    assert "3 (2 to 4)" in text and "- A note." in text and "torch" in text
    assert len(pd.read_csv(tmp_path / "speed_runs.csv")) == 4
    assert (tmp_path / "machine.json").is_file()
    assert measuring.ratio(summary, "wall_seconds", "ours", "peer", less_is_better=True) == 2.0


@pytest.mark.filterwarnings("ignore")  # torch.compile warns of what it does itself
def test_the_gpu_benchmark_runs_whole_on_a_small_encoder(tmp_path, monkeypatch):
    """On the processor, so that nothing but the GPU itself is new to the first machine that has one.

    The layers are traced for compilation; that kernels are made of them as well takes a compiler's 15 seconds.
    """
    traced = functools.partialmethod(torch.nn.Module.compile, backend=COMPILER)
    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    monkeypatch.setattr(gpu, "BATCH", 4)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    small = {**sizes, "vocab_size": VOCABULARY_SIZE, "max_position_embeddings": 18}
    gpu.benchmark(tmp_path, tmp_path / "results", num_repeats=1, num_steps=12, device="cpu", **small)
    text = (tmp_path / "results" / "gpu.md").read_text()
    assert all(name in text for name in (gpu.SCRIPT, gpu.TUNED, gpu.OURS, gpu.COMPILED)) and "times as fast" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_it_is_said():
    with pytest.raises(StudyError, match="no GPU"):
        gpu.benchmark(None, None, num_repeats=1, num_steps=12)
