"""Measures: a study's texts and arms reach the functions that measure them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dontstop.design.arms import BASE, DAPT, EMBEDDING_TAPT, LORA_DAPT, LORA_TAPT, TAPT
from dontstop.machine import files
from dontstop.profiles import Paths, load_profile
from dontstop.report import measures
from dontstop.text.tasks import Task
from fabricated import make_records

TASKS = [Task("t", "d", "macro_f1", "T", "u"), Task("u", "d", "macro_f1", "U", "t")]
TEXTS = {"train": ["red red", "blue blue"] * 6, "dev": ["red", "blue"], "test": ["red", "blue", "red red"]}


@pytest.fixture
def study(root):
    """Give what the measures look at: one domain, two tasks of three test texts, one of which stands in train."""
    paths = Paths("smoke", root)
    words = {"general": "alpha beta gamma", "d": "alpha beta delta"}
    for name, text in words.items():
        rows = [{"id": f"{k}", "text": f"{text} {text}", "source": "s"} for k in range(6)]
        for path in (paths.held_out(name), paths.corpus(name)):
            files.write_jsonl(path, rows)
    for task in TASKS:
        for split, texts in TEXTS.items():
            files.write_jsonl(
                paths.split(task.name, split),
                [{"id": str(k), "text": text, "label": text.split()[0]} for k, text in enumerate(texts)],
            )
    splits = {split: {"sha256": split} for split in TEXTS}
    tasks = {task.name: {"splits": splits, "labels": ["blue", "red"], "metric": "macro_f1"} for task in TASKS}
    manifest = {"domains": {name: {"num_documents": 6} for name in words}, "tasks": tasks}
    files.write_json(paths.data / "manifest.json", manifest)
    losses = {"encoder": "base", "held_out": [*words] * 2, "masked_lm_loss": [3.0, 4.0, 3.5, 4.5]}
    losses |= {"notebook": "01_domain_gap", "replicate": [0, 0, 1, 1]}
    everywhere = dict.fromkeys((BASE, DAPT, TAPT), TASKS)
    return SimpleNamespace(
        profile=load_profile("smoke"),
        paths=paths,
        texts=list(words),
        tasks=TASKS,
        manifest=lambda: manifest,
        losses=lambda: pd.DataFrame(losses),
        truth=lambda: {task.name: np.array([1, 0, 1]) for task in TASKS},
        arms=lambda: everywhere | {EMBEDDING_TAPT: TASKS[:1], LORA_DAPT: TASKS[:1], LORA_TAPT: TASKS[:1]},
        available_arms=lambda replicates=None: [BASE, TAPT, LORA_TAPT],
        labelled=lambda task, replicate, num=12: np.arange(num),
    )


def test_overlap_of_frequent_words_by_hand(study):
    matrix = measures.vocabulary_overlap(study)
    assert matrix.loc["general", "d"] == pytest.approx(200 / 3) and set(matrix["num_words"]) == {3}
    assert matrix.index.tolist() == study.texts


def test_test_texts_that_train_or_dev_have_too_are_marked_and_naive_bayes_scored_without_them(study):
    overlap = measures.train_test_overlap(study)
    assert {task: marks.tolist() for task, marks in overlap.items()} == dict.fromkeys("tu", [True, True, True])
    monochrome = {task: np.array([False, False, True]) for task in overlap}
    table = measures.naive_bayes(study, monochrome)
    assert table.loc["t", ["score", "num_test", "num_affected"]].tolist() == [100, 3, 1]
    study.labelled = lambda task, replicate: np.arange(12) if replicate == 1 else np.arange(1)  # of one label
    of_one = measures.naive_bayes(study, monochrome, pd.DataFrame({"replicate": [1, 1]}))
    assert of_one.loc["t", "score"] == 100 > measures.naive_bayes(study, monochrome).loc["t", "score"]


def test_means_are_told_of_arms_that_all_replicates_have(study):
    own = {BASE: [0, 1], TAPT: [0, 1], LORA_TAPT: [0]}
    study.design = SimpleNamespace(replicates_of=own.get)
    how = {"replicates": range(2), "seeds": range(2), "seed": 0}
    runs = make_records({"base": 0.5, "tapt": 0.7}, np.arange(60) % 3, **how)
    study.runs = lambda *arms: runs if arms == (BASE, TAPT) else None
    assert list(measures.mean_f1(study)) == ["base", "tapt"]
    # Of arms that have run in fewer replicates than others, those that all have.
    behind = runs[(runs["arm"] == "base") | (runs["replicate"] == 0)]
    study.available_arms = lambda replicates: [BASE, TAPT] if replicates == [0] else [BASE]
    study.runs = lambda *arms: behind
    of_first = behind[behind["replicate"] == 0].groupby("arm")["test_score"].mean() * 100
    assert measures.mean_f1(study) == pytest.approx(of_first.to_dict())


def test_the_loss_of_several_base_encoders_is_averaged(study):
    assert measures.distances(study).loc["d", "masked_lm_loss"] == pytest.approx(4.25)


def test_naive_bayes_joins_the_curve_at_its_numbers_of_labels_in_every_replicate_that_has_it(study):
    runs = pd.DataFrame({"arm": "base", "num_train": [2, 1], "replicate": [1, 0], "test_score": 0.5})
    study.label_curve = lambda: runs
    curve = measures.label_curve(study).query("arm == 'naive_bayes' and task == 't'")
    assert curve[["num_train", "replicate"]].to_numpy().tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]
    assert (
        curve["test_score"].tolist()[2:] == [1.0, 1.0] and curve["test_score"].tolist()[0] < 1
    )  # one label: one class
    study.label_curve = lambda: runs[runs["replicate"] == 1]
    assert set(measures.label_curve(study)["replicate"]) == {1}
    study.label_curve = lambda: pd.DataFrame()
    assert measures.label_curve(study).empty


def test_tasks_and_domains_keep_their_order():
    pairs = pd.DataFrame(
        {"sample": ["t", "t", "a", "a"], "other": ["d", "c"] * 2, "vocabulary_overlap": [1.0, 2, 3, 4]}
    )
    matrix = measures.task_domain_overlap(pairs)
    assert matrix.index.tolist() == ["t", "a"] and matrix.columns.tolist() == ["d", "c"] and matrix.loc["a", "c"] == 4


def test_agreement_is_told_for_domains_and_pairs():
    table = pd.DataFrame({"vocabulary_overlap": [10.0, 20, 30], "jensen_shannon": [0.9, 0.8, 0.7]})
    found = measures.agreement(table, table)
    assert found["spearman"].tolist() == [pytest.approx(1), pytest.approx(1)] and found["over"].nunique() == 2


def test_arms_that_train_few_parameters_follow_their_full_counterparts(study):
    assert list(measures.cheap_arms(study)) == [DAPT, LORA_DAPT, TAPT, EMBEDDING_TAPT, LORA_TAPT]
    assert measures.cheap_arms(study)[TAPT] == TASKS[:1]
    study.arms = lambda: dict.fromkeys((BASE, DAPT), TASKS)
    assert measures.cheap_arms(study) == {} and measures.trained_parts(study, {}).empty


def test_arms_are_given_where_all_of_some_tasks_have_run(study):
    assert list(measures.arms_on(study, TASKS)) == [BASE, TAPT]
    assert list(measures.arms_on(study, TASKS[:1])) == [BASE, TAPT, LORA_TAPT]


def test_a_claim_is_judged_by_the_replicates_that_have_its_arms(study):
    there = {0: [BASE, TAPT], 1: [BASE, TAPT], 2: [BASE]}
    truth = np.arange(30) % 3
    parts = [
        make_records(dict.fromkeys(map(str, arms), 0.6), truth, seed=r, task="t", domain="d", seeds=[0], replicates=[r])
        for r, arms in there.items()
    ]
    study.profile = study.profile.model_copy(update={"replicates": 3})
    study.available_arms = lambda replicates: there[replicates[0]]
    study.runs = lambda *arms: pd.concat(parts).assign(test_log_probability=-1.0)
    found = measures.judged(study).query("study == 'ours' and task == 'mean'").set_index("claim")
    assert found.loc["C5", "num_replicates"] == 2 and np.isfinite(found.loc["C5", "low"])
    assert found.loc["C2", "verdict"] == "not run"
