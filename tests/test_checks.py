"""Identities: each check passes on a study that is whole, and stops on one that is not."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dontstop.design.arms import ARMS, BASE, DAPT, NOT_DAPT, Checkpoint, Phase, knn_tapt, rand_tapt
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Paths, load_profile
from dontstop.report import checks
from dontstop.text.tasks import SPLITS, Domain, Task

SIZES = {"train": 24, "dev": 24, "test": 40}


@pytest.fixture
def study(root):
    """Give what the checks look at: one domain, one task, two texts, written with a true manifest."""
    paths, texts = Paths("smoke", root), ["general", "d"]
    for name in texts:
        files.write_jsonl(paths.corpus(name), [{"id": name, "text": name, "source": "s"}])
        files.write_jsonl(paths.held_out(name), [{"id": name, "text": f"other {name}", "source": "s"}])
    for split, size in SIZES.items():
        files.write_jsonl(
            paths.split("t", split), [{"id": f"{k}", "text": f"{split} {k}", "label": "ab"[k % 2]} for k in range(size)]
        )
    entry = {s: {"num_examples": n, "sha256": files.digest(paths.split("t", s))} for s, n in SIZES.items()}
    manifest = {
        "domains": {name: {"num_documents": 1, "sha256": files.digest(paths.corpus(name))} for name in texts},
        "held_out": {name: {"num_documents": 1, "sha256": files.digest(paths.held_out(name))} for name in texts},
        "tasks": {"t": {"splits": entry}},
        "leakage": {"corpora": {"num_exact": 0}, "splits": {"num_exact": 0}},
    }
    sizes = {f"num_{split}": size for split, size in SIZES.items()} | {"num_train": 12}
    rows = [
        {
            "task": "t",
            "arm": arm,
            "replicate": r,
            "seed": 0,
            "checkpoint": "base" if arm == "base" else "dapt_d",
            **sizes,
        }
        for arm in ("base", "dapt", "not_dapt")
        for r in (0, 1)
    ]
    runs, task = pd.DataFrame(rows), Task("t", "d", "macro_f1", "T", "t")
    return SimpleNamespace(
        profile=load_profile("smoke"),
        paths=paths,
        texts=texts,
        domains=(Domain("d", "D", (), "d"),),
        tasks=(task,),
        missing_tasks=lambda: [],
        manifest=lambda: manifest,
        token_counts=lambda: {f"{kind}/{n}": {"num_documents": 1} for kind in ("corpora", "held_out") for n in texts},
        arms=lambda: {arm: [task] for arm in (BASE, DAPT, NOT_DAPT)},
        runs=runs,
        design=SimpleNamespace(replicates_of=lambda arm: [0, 1]),
    )


def test_a_whole_study_passes(study):
    assert checks.split_sizes(study) == "1 domain, 1 task; texts of each task: 24 train, 24 dev, 40 test"
    assert checks.text_digests(study).startswith("7 files of text")
    assert checks.token_stores(study).startswith("4 token stores")
    assert checks.no_exact_leak(study).startswith("0 dev or test texts")
    held = checks.one_record_a_run(study, study.runs)
    assert held.startswith("6 records = 1 task × 3 arms × 2 replicates × 1 seed, each of 12 labelled texts")


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_of_another_size_stops(study, split):
    rows = files.read_jsonl(study.paths.split("t", split))
    files.write_jsonl(study.paths.split("t", split), [*rows, {**rows[0], "id": "new"}])
    with pytest.raises(StudyError, match=f"{SIZES[split] + 1} texts in {split} of t"):
        checks.split_sizes(study)
    study.manifest()["tasks"]["t"]["splits"][split]["num_examples"] += 1
    with pytest.raises(StudyError):  # as the manifest counts now, but not as the profile asks
        checks.split_sizes(study)


def test_changed_text_stops(study):
    files.write_jsonl(study.paths.corpus("d"), [{"id": "d", "text": "changed", "source": "s"}])
    with pytest.raises(StudyError, match="as digest of .*d.jsonl"):
        checks.text_digests(study)


def test_a_leak_and_a_foreign_token_store_stop(study):
    study.manifest()["leakage"]["splits"]["num_exact"] = 2
    with pytest.raises(StudyError, match="2 dev or test texts found whole in the splits"):
        checks.no_exact_leak(study)
    study.manifest()["held_out"]["d"]["num_documents"] = 5
    with pytest.raises(StudyError, match="1 documents in the tokens of held_out/d"):
        checks.token_stores(study)


def test_missing_double_foreign_and_short_runs_stop(study):
    foreign = [pd.concat([study.runs, study.runs.iloc[:1].assign(**{of: 7})]) for of in ("seed", "replicate")]
    wrongs = [study.runs.iloc[1:], pd.concat([study.runs, study.runs.iloc[:1]]), *foreign]
    for wrong in wrongs:
        with pytest.raises(StudyError, match="runs"):
            checks.one_record_a_run(study, wrong)
    with pytest.raises(StudyError, match="39 test texts in the record of t"):
        checks.one_record_a_run(study, study.runs.assign(num_test=39))
    with pytest.raises(StudyError, match="24 train texts in the record of t\nexpected: 12"):
        checks.one_record_a_run(study, study.runs.assign(num_train=24))  # all, where some carry labels


def test_a_task_without_any_run_stops(study):
    other = Task("u", "d", "macro_f1", "U", "t")
    study.tasks = (*study.tasks, other)
    study.arms = lambda: {arm: list(study.tasks) for arm in (BASE, DAPT, NOT_DAPT)}
    with pytest.raises(StudyError, match="6 runs without a record, the first .*u"):
        checks.one_record_a_run(study, study.runs)
    assert checks.one_record_a_run(study, study.runs, study.tasks[:1]).startswith("6 records")


def test_a_fingerprint_of_other_settings_stops(study, monkeypatch):
    def run(run):
        return f"{run.arm} {run.replicate} {run.num_labels}"

    monkeypatch.setattr(
        checks, "Identity", lambda profile, paths: SimpleNamespace(run=run, alike=lambda fingerprint: [])
    )
    study.arm = ARMS.__getitem__
    study.arms = lambda: {arm: [Task("t", "cs", "macro_f1", "T", "t", ("news",))] for arm in (BASE, DAPT, NOT_DAPT)}
    runs = study.runs.assign(fingerprint=study.runs["arm"] + " " + study.runs["replicate"].astype(str) + " 12")
    assert checks.fingerprints(study, runs).startswith("6 fingerprints are those of the text")
    with pytest.raises(StudyError, match="as fingerprint of .'t', 'dapt', 1, 0."):
        checks.fingerprints(study, runs.replace({"fingerprint": {"dapt 1 12": "an earlier one"}}))


def test_a_checkpoint_trained_twice_or_by_nobody_stops(study):
    names = [(name, replicate) for name in ("base", "dapt_d") for replicate in (0, 1)]
    pretraining = pd.DataFrame(names, columns=["checkpoint", "replicate"])
    held = checks.no_checkpoint_twice(pretraining, study.runs)
    assert held == "4 checkpoints of 2 replicates, none twice; 6 runs start from 4 of them"
    with pytest.raises(StudyError, match="5 checkpoints trained, each once"):
        checks.no_checkpoint_twice(pd.concat([pretraining, pretraining[:1]]), study.runs)
    with pytest.raises(StudyError, match="dapt_d', 1.*runs that nobody trained"):
        checks.no_checkpoint_twice(pretraining[:3], study.runs)


def test_a_loss_that_is_missing_or_measured_twice_stops(study):
    of_domain, replayed = (Checkpoint((Phase(kind, "d"),)) for kind in ("dapt", "replay_dapt"))
    full, later = [Checkpoint(), of_domain, replayed], [Checkpoint(), of_domain]
    for notebook, encoders, stores, told in (
        ("01_domain_gap", [[Checkpoint()]] * 2, ["held_out/general", "held_out/d"], "1 encoder on 2 held-out texts"),
        ("02_dapt", [full, later], ["held_out/general", "held_out/d"], "3 encoders on 2 held-out texts"),
        ("05_transfer_tapt", [later] * 2, ["tasks/t/dev"], "2 encoders on the dev texts of 1 task"),
    ):
        asked = [[(encoder, store) for encoder in some for store in stores] for some in encoders]
        study.notebook, study.design.measured = notebook, lambda experiment, replicate, asked=asked: asked[replicate]
        rows = [(encoder.name, store.split("/")[1], r) for r in (0, 1) for encoder, store in asked[r]]
        table = pd.DataFrame(rows, columns=["encoder", "held_out", "replicate"])
        assert checks.losses(study, table) == f"{len(rows)} masked-LM losses: {told}, 2 replicates"
        with pytest.raises(StudyError, match=f"1 losses not measured, the first .*'{rows[-1][1]}', 1"):
            checks.losses(study, table[:-1])
        with pytest.raises(StudyError, match=f"{len(rows) + 1} losses measured"):
            checks.losses(study, pd.concat([table, table[:1]]))


@pytest.fixture
def augmented(study):
    """Give the study, in its first replicate, an augmented corpus and its control: 24 own texts and 3 selected ones."""
    chosen, stores = {"knn_tapt_1_bm25": [0, 2, 4], "rand_tapt_1_bm25": [1, 3, 5]}, {}
    for kind in chosen:
        name = f"selected/replicate_0/t/{kind}"
        files.write_bytes(study.paths.store(name) / "ids.npy", name.encode())
        digest = files.digest(study.paths.store(name) / "ids.npy")
        counts = {"num_documents": SIZES["train"] + 3, "num_selected": 3, "num_selected_tokens": 30}
        stores[name] = {**counts, "sha256": digest}
    study.selection_counts = lambda: {"stores": stores}
    study.arms = lambda: {arm: study.tasks for arm in (knn_tapt(1, "bm25"), rand_tapt(1, "bm25"))}
    study.chosen = lambda task, kind: np.array(chosen[kind])
    return study, stores, chosen


def test_augmented_corpora_hold_the_tasks_own_whatever_the_text_comes_from(augmented):
    study, stores, _ = augmented
    assert checks.selected_text(study).startswith("2 augmented corpora have the digests recorded; 1 random control")
    study.profile = study.profile.model_copy(update={"text": study.profile.text.model_copy(update={"source": "files"})})
    assert checks.selected_text(study).startswith("2 augmented corpora")
    stores["selected/replicate_0/t/knn_tapt_1_bm25"]["num_documents"] -= 1
    with pytest.raises(StudyError, match="23 own texts in selected/replicate_0/t/knn_tapt_1_bm25"):
        checks.selected_text(study)


def test_what_has_passed_is_counted_and_folded():
    told = checks.passed("one thing holds", "another").data
    assert "2 checks passed" in told and "- one thing holds\n- another" in told


def test_a_control_of_another_size_or_with_what_was_selected_stops(augmented):
    study, stores, chosen = augmented
    stores["selected/replicate_0/t/rand_tapt_1_bm25"]["num_selected_tokens"] += 1
    with pytest.raises(StudyError, match="31 as num_selected_tokens of rand_tapt_1_bm25 on t"):
        checks.selected_text(study)
    stores["selected/replicate_0/t/rand_tapt_1_bm25"]["num_selected_tokens"] -= 1
    chosen["rand_tapt_1_bm25"] = [1, 2, 4]
    with pytest.raises(StudyError, match="2 candidates both in rand_tapt_1_bm25 and in knn_tapt_1_bm25 on t"):
        checks.selected_text(study)


def test_tasks_that_the_mirror_lacks_are_named(study):
    study.missing_tasks = lambda: ["rct-20k", "amazon"]
    assert "1 task (not in the mirror, and in no table of ours: rct-20k, amazon);" in checks.split_sizes(study)
