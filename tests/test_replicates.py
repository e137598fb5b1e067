"""Replicates of a whole study: each its own, whatever their number; one more is trained alone; labels are an axis."""

import importlib.metadata
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiny
from dontstop.design import arms
from dontstop.design.arms import Run
from dontstop.design.plan import get_experiment
from dontstop.errors import StudyError
from dontstop.machine import files, runner
from dontstop.report import checks
from dontstop.runs import records
from dontstop.study import Study, open_study
from dontstop.verdicts.effects import effects, over

EXPERIMENTS, TEXTS = ("dapt", "tapt", "dapt_tapt"), ("general", *tiny.DOMAINS)
SELECTION = {
    "num_neighbours": [1, 2],
    "selector": "tfidf",
    "compared": [],
    "min_words": 3,
    "num_dimensions": 4,
}
SETTINGS = {
    "augmented_tapt": None,
    "selection": SELECTION,
    "tapt": {"num_epochs": None, "num_steps": 8, "num_checks": 4, "patience": 1},
    "forgetting": {"arms": ["replay_dapt", "average_dapt"], "replayed_share": 0.5},
    "finetune": {"patience": None},
    "labels": {"primary": 8, "curve": [16]},
    "seeds": [0],
    "speed": {"num_workers": 1},
}


def run(root, replicates: int, *experiments: str, **changes) -> list[str]:
    """Run experiments with a number of replicates, and return the names of the jobs that were done."""
    tiny.set_profile(root, **{**SETTINGS, "replicates": replicates, **changes})
    done, carry_out = [], runner.carry_out

    def note(title, some, **how):
        done.extend(job.name for job in some)
        carry_out(title, some, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "carry_out", note)
        for experiment in experiments:
            tiny.run(root, experiment)
    return done


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A study of one replicate and the jobs that it took; not to be written to."""
    root = tiny.make(tmp_path_factory.mktemp("one") / "study")
    return root, run(root, 1, *EXPERIMENTS)


@pytest.fixture(scope="module")
def two(one, tmp_path_factory):
    """The same study with a second replicate, and the jobs that this one took; not to be written to."""
    root = tiny.copy(one[0], tmp_path_factory.mktemp("two") / "study")
    return root, run(root, 2, *EXPERIMENTS)


def rows_of(root, replicate: int, *notebooks: str) -> dict[str, list[dict]]:
    """Return a replicate's records by file, times left out."""
    timings = {"wall_seconds", "tokens_per_second"}
    found = {}
    for path in sorted((root / "results" / "tiny" / "records").rglob("*.jsonl")):
        rows = [row for row in records.read_rows(path)[0] if row["replicate"] == replicate]
        if not notebooks or path.parent.name in notebooks:
            kept = [{key: value for key, value in row.items() if key not in timings} for row in rows]
            found[f"{path.parent.name}/{path.name}"] = kept
    return found


def weights_of(root, replicate: int) -> dict[str, str]:
    """Return the digests of a replicate's encoders, by stage and name."""
    folder = root / "checkpoints" / "tiny"
    found = folder.glob(f"*/replicate_{replicate}/**/model.safetensors")
    return {str(path.parent.relative_to(folder)): files.digest(path) for path in found}


def study(root, notebook="04_dapt_tapt") -> Study:
    with tiny.at(root):
        return Study("tiny", notebook)


def test_a_further_replicate_is_trained_alone_and_the_first_stays_as_it_was(one, two):
    (before, of_first), (after, of_second) = one, two
    assert of_second == [f"{name} (1)" for name in of_first] and not any("(" in name for name in of_first)
    assert rows_of(before, 0) == rows_of(after, 0) and weights_of(before, 0) == weights_of(after, 0)
    # Base and DAPT; with replay, averaged; TAPT, short on one task; both.
    assert len(weights_of(after, 1)) == len(weights_of(after, 0)) == 3 + 2 + 2 + 3 + 2
    assert tiny.unfinished(after) == []


def test_a_replicate_is_the_same_to_the_bit_whatever_their_number(two, tmp_path):
    root = tiny.make(tmp_path / "study")
    run(root, 3, "tapt")
    for replicate in (0, 1):
        assert rows_of(root, replicate) == rows_of(two[0], replicate, "base", "03_tapt")
        assert weights_of(root, replicate).items() <= weights_of(two[0], replicate).items()
    assert len({digest for replicate in range(3) for digest in weights_of(root, replicate).values()}) == 3 * 4


def test_replicates_differ_in_weights_labelled_texts_and_head_and_share_the_text(two):
    root, _ = two
    first, second = (list(weights_of(root, replicate).values()) for replicate in (0, 1))
    assert len(set(first + second)) == 2 * len(first)
    some = study(root)
    for task in tiny.TASKS:
        labelled = [set(some.labelled(task, replicate)) for replicate in (0, 1)]
        assert len(labelled[0]) == len(labelled[1]) == 8 and labelled[0] != labelled[1]
        assert labelled[0] < set(some.labelled(task, 0, 16)) < set(range(tiny.SPLITS["train"]))
    runs = [Run(some.tasks[0], some.arm("dapt"), 0, replicate) for replicate in (0, 1)]
    assert runs[0].random_seed != runs[1].random_seed
    by_replicate = some.runs("dapt").groupby("replicate")[["test_predictions", "checkpoint", "num_test"]].agg(list)
    assert by_replicate.loc[0, "test_predictions"] != by_replicate.loc[1, "test_predictions"]
    for column in ("checkpoint", "num_test"):
        assert by_replicate.loc[0, column] == by_replicate.loc[1, column]


def test_all_arms_of_a_replicate_start_from_its_base_and_read_its_labelled_texts(two):
    root, _ = two
    some = study(root)
    with tiny.at(root):
        jobs = some._jobs()
        for replicate in (0, 1):
            plan = some.design.plan("dapt", [replicate]) + some.design.plan("tapt", [replicate])
            starts = {jobs.identity.checkpoint(run.checkpoint.lineage[0]) for run in plan.runs}
            assert len(starts) == 1 and len(plan.runs) == 5 * 2 + 2 + 1  # and TAPT of one epoch on one task
            assert {(run.num_labels, run.replicate) for run in plan.runs} == {(8, replicate)}


def test_records_alone_are_enough_to_add_a_replicate(one, tmp_path):
    root = tmp_path / "clone"
    for name in ("configs", "texts", "data", "results"):
        shutil.copytree(one[0] / name, root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_drive", None)
        assert run(root, 1, *EXPERIMENTS) == []
    assert rows_of(root, 0) == rows_of(one[0], 0) and weights_of(root, 0) == {}
    assert len(study(root).curves()) == len(study(one[0]).curves())
    added = run(root, 2, "dapt")
    assert added == [f"{name} (1)" for name in one[1][: len(added)]] and len(added) > 10
    assert weights_of(root, 0) == {} and rows_of(root, 0) == rows_of(one[0], 0)


def test_fewer_replicates_than_there_are_leave_the_others_records(two, tmp_path, monkeypatch):
    root = tiny.copy(two[0], tmp_path / "study")
    monkeypatch.setattr(runner, "_drive", None)
    assert run(root, 1, *EXPERIMENTS) == []
    assert set(study(root).runs()["replicate"]) == {0} == set(study(root).losses()["replicate"])
    assert tiny.outcomes(root) == tiny.outcomes(two[0])
    assert run(root, 2, *EXPERIMENTS) == [] and set(study(root).runs()["replicate"]) == {0, 1}


def test_labels_are_an_axis_of_the_records(two):
    some = study(two[0])
    assert set(some.runs()["num_train"]) == {8}
    path = two[0] / "results" / "tiny" / "records" / "04_dapt_tapt" / "label_curve.jsonl"
    assert {row["num_train"] for row in files.read_jsonl(path)} == {16}
    found = some.label_curve()
    keys = ["task", "arm", "replicate", "num_train"]
    grid = {(task, arm, r, n) for task in tiny.TASKS for arm in ARMS_OF_LABELS for r in (0, 1) for n in (8, 16)}
    assert set(found[keys].itertuples(index=False, name=None)) == grid and len(found) == len(grid)


ARMS_OF_LABELS = ("base", "dapt", "tapt", "dapt_tapt")


def test_runs_say_how_probable_the_labels_were_and_have_trained_to_the_end(two):
    found = study(two[0]).runs()
    assert found["test_log_probability"].between(-5, -1e-4).all() and found["test_log_probability"].nunique() > 8
    assert set(found["num_epochs"]) == set(found["best_epoch"]) == {2} and set(map(len, found["dev_scores"])) == {1}
    assert set(found["num_steps"]) == {2} and found["dev_score"].tolist() == [s[0] for s in found["dev_scores"]]


def test_tapt_is_kept_where_its_loss_on_dev_texts_is_least(two):
    found = study(two[0]).pretraining()
    checked = found[found["checks"].map(len) > 0]
    assert {phases[-1][0] for phases in checked["phases"]} == {"tapt"} and len(checked) == 2 * 2 * 2
    for row in checked.itertuples():
        assert row.loss_after == min(row.checks) and row.kept_step == 2 * (1 + int(np.argmin(row.checks)))
        assert row.num_steps == min(8, row.kept_step + 2)  # one check more is what patience waits for


def test_arms_against_forgetting_are_trained_averaged_and_measured(two):
    root, _ = two
    folder = root / "checkpoints" / "tiny"
    for replicate in (0, 1):
        dapt = folder / "dapt" / f"replicate_{replicate}"
        base, after, mean = (
            load_file(place / "model.safetensors")
            for place in (folder / "base" / dapt.name, dapt / "dapt_cs", dapt / "dapt_cs_then_average_cs")
        )
        assert base.keys() == after.keys() == mean.keys()
        for name, values in mean.items():
            torch.testing.assert_close(values, (base[name] + after[name]) / 2)
    some = study(root, "02_dapt")
    losses = some.losses().query("notebook == '02_dapt'")
    encoders = {"base"} | {f"{name}_{d}" for name in ("dapt", "replay_dapt") for d in tiny.DOMAINS}
    encoders |= {f"dapt_{domain}_then_average_{domain}" for domain in tiny.DOMAINS}
    keys = losses[["encoder", "replicate", "held_out"]].itertuples(index=False, name=None)
    assert sorted(keys) == sorted((e, r, h) for e in encoders for r in (0, 1) for h in TEXTS)
    loss = losses.set_index(["encoder", "replicate", "held_out"])["masked_lm_loss"]
    assert (loss["replay_dapt_cs"] != loss["dapt_cs"]).all()
    assert {"replay_dapt", "average_dapt"} <= set(map(str, some.available_arms()))


def test_encoders_after_both_phases_are_measured_on_their_own_domain_and_the_general_text(two):
    some = study(two[0])
    losses = some.losses().query("notebook == '04_dapt_tapt'")
    asked = {(arms.DAPT_TAPT.checkpoint(task).name, text) for task in some.tasks for text in ("general", task.domain)}
    found = losses[["encoder", "replicate", "held_out"]].itertuples(index=False, name=None)
    assert sorted(found) == sorted((encoder, r, text) for encoder, text in asked for r in (0, 1))
    assert losses["masked_lm_loss"].nunique() == len(losses)
    assert "2 replicates" in checks.losses(some, losses)


def test_beyond_the_full_replicates_only_what_claims_rest_on_is_run(one, two, tmp_path):
    root = tiny.copy(one[0], tmp_path / "study")
    done = run(root, 2, *EXPERIMENTS, full_replicates=1)
    assert not Counter(done) - Counter(two[1])
    skipped = Counter(two[1]) - Counter(done)
    with_16_labels = Counter(f"{task} {arm} seed 0 (1)" for task in tiny.TASKS for arm in ARMS_OF_LABELS)
    assert not with_16_labels - skipped and len(skipped - with_16_labels) > 8
    no_claim = ("replay", "average", "epochs", "on held_out")
    assert all(any(part in name for part in no_claim) for name in skipped - with_16_labels)
    shared = [name for name, rows in rows_of(root, 1).items() if rows]
    assert {name: rows_of(two[0], 1)[name] for name in shared if "pretraining" not in name and "loss" not in name} == {
        name: rows_of(root, 1)[name] for name in shared if "pretraining" not in name and "loss" not in name
    }
    some = study(root, "02_dapt")
    assert {"replay_dapt", "average_dapt", "dapt"} <= {arm.name for arm in some.available_arms()}
    assert "replay_dapt" not in {arm.name for arm in some.available_arms([1])}
    assert set(some.losses().query("notebook == '04_dapt_tapt'")["replicate"]) == {0}
    assert set(some.label_curve()["replicate"]) == {0} and set(some.runs("dapt")["replicate"]) == {0, 1}
    runs = some.runs(*some.available_arms())
    numbers = effects(runs, [over("dapt", "base"), over("replay_dapt", "dapt")]).groupby("contrast")["num_replicates"]
    assert numbers.max().to_dict() == {"dapt_minus_base": 2, "replay_dapt_minus_dapt": 1}
    held = checks.one_record_a_run(some, runs), checks.losses(some, some.losses().query("notebook == '02_dapt'"))
    assert len(runs) == len(some.runs()) - 1 and "one a task, arm, replicate and seed" in held[0]  # TAPT of one epoch
    assert "7 encoders" in held[1] and "2 replicates" in held[1]


@pytest.fixture(scope="module")
def augmented(one, tmp_path_factory):
    """The study with two replicates of notebook 06 too; not to be written to."""
    root = tiny.copy(one[0], tmp_path_factory.mktemp("augmented") / "study")
    run(root, 2, *EXPERIMENTS, "knn_tapt")
    return root


def elsewhere(root, place, *kept: str):
    """Return what another clone of a study has: its settings and texts, and some of what was made of them."""
    for name in ("configs", "texts", "params.yaml", *kept):
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        place.mkdir(exist_ok=True)
        copy(root / name, place / name)
    return place


def test_replicates_that_stand_in_the_results_are_read_unless_fewer_are_asked_for(augmented, tmp_path, monkeypatch):
    root = elsewhere(augmented, tmp_path / "clone", "results")
    tiny.set_profile(root, **SETTINGS, replicates=1)
    before = tiny.outcomes(root)
    with tiny.at(root):
        some = Study("tiny", "02_dapt").run("dapt")
        assert some.profile.replicates == 2 and set(some.runs("dapt")["replicate"]) == {0, 1}
        judging = Study("tiny")
        judging.judge()
        assert judging.profile.replicates == 2
        assert Study("tiny", "02_dapt", replicates=1).run("dapt").profile.replicates == 1
        monkeypatch.setenv("DONTSTOP_REPLICATES", "1")
        assert Study("tiny", "02_dapt").run("dapt").profile.replicates == 1
    assert tiny.outcomes(root).items() >= before.items()


def test_replicates_of_other_settings_are_neither_read_nor_trained_anew(augmented, tmp_path):
    root = tiny.copy(augmented, tmp_path / "study")
    done = run(root, 1, "dapt", "tapt", finetune={"patience": None, "num_epochs": 1})
    assert done and not any("(1)" in name for name in done)
    some = study(root, "03_tapt")
    assert set(some.runs("tapt")["replicate"]) == {0}
    with tiny.at(root):
        judging = Study("tiny")
        judging.judge()
    assert judging.profile.replicates == 1


def test_text_is_selected_again_for_the_first_replicate_alone_where_results_tell_of_the_others(augmented, tmp_path):
    root = elsewhere(augmented, tmp_path / "clone", "results")
    before = rows_of(root, 0), rows_of(root, 1)
    done = run(root, 2, "knn_tapt")
    assert done and all("by tfidf" in name or "candidates of" in name for name in done)
    assert [path.name for path in (root / "selected/tiny").glob("replicate_*")] == ["replicate_0"]
    assert (rows_of(root, 0), rows_of(root, 1)) == before
    # Where what selects has changed, nothing that tells of a selection is believed.
    again = run(root, 2, "knn_tapt", selection={**SELECTION, "num_dimensions": 3})
    assert any("by tfidf" in name for name in again) and (root / "selected/tiny/replicate_1").is_dir()


def test_replicates_by_other_versions_of_the_libraries_are_read_where_they_are_accepted_only(
    augmented, tmp_path, monkeypatch
):
    root = elsewhere(augmented, tmp_path / "clone", "results")
    tiny.set_profile(root, **SETTINGS, replicates=1)
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1" if name == "numpy" else version(name))
    with tiny.at(root):
        some = Study("tiny")
        some.prepare()
        assert some.read_on("dapt").profile.replicates == 1
        monkeypatch.setenv("DONTSTOP_ACCEPT_OTHER_MACHINES", "1")
        assert some.read_on("dapt").profile.replicates == 2


def test_a_damaged_record_ends_what_is_read_and_that_is_said(augmented, tmp_path, capsys):
    root = tiny.copy(augmented, tmp_path / "study")
    tiny.set_profile(root, **SETTINGS, replicates=1)
    path = root / "results/tiny/records/02_dapt/dapt.jsonl"
    path.write_text(path.read_text().replace('"replicate": 1', '"replicate": 9', 1))
    with tiny.at(root):
        assert Study("tiny").read_on("dapt").profile.replicates == 2  # it stands in work/ still
        shutil.rmtree(root / "work")
        assert Study("tiny").read_on("dapt").profile.replicates == 1
    told = "2 replicates are begun in results/tiny, and 1 are read: the next one's dapt is not whole"
    assert told in capsys.readouterr().out


def test_what_tells_of_selected_text_may_be_damaged(augmented, tmp_path):
    root = elsewhere(augmented, tmp_path / "clone", "results")
    path = root / "results/tiny/records/06_knn_tapt/selected.jsonl"
    with tiny.at(root):
        tiny.set_profile(root, **SETTINGS, replicates=1)
        Study("tiny").prepare()
        for damaged in (
            '{"fingerprint": "x"}',
            '{"fingerprint": "x", "stores": 3, "capability": ""}',
            "[]",
            path.read_text()[:99],
        ):
            path.write_text(damaged + "\n")
            assert Study("tiny").read_on("knn_tapt").profile.replicates == 1


def test_an_encoder_of_selected_text_that_is_damaged_is_trained_again_from_text_selected_again(augmented, tmp_path):
    root = elsewhere(augmented, tmp_path / "clone", "results", "checkpoints")
    [weights] = (root / "checkpoints/tiny").glob(
        "augmented_tapt/replicate_1/knn_tapt_1_citation_intent/model.safetensors"
    )
    weights.write_bytes(weights.read_bytes()[:-8] + b"damaged!")
    before = weights_of(augmented, 1)
    done = run(root, 2, "knn_tapt")
    assert "knn_tapt_1_citation_intent (1)" in done and weights_of(root, 1) == before
    assert (root / "selected/tiny/replicate_1/manifest.json").is_file()


def test_a_command_trains_the_first_replicates_encoders_for_notebooks_to_open(augmented, tmp_path):
    root = elsewhere(augmented, tmp_path / "clone", "results")
    assert run(root, 2, "dapt", "tapt") == []
    with tiny.at(root):
        for experiment in ("dapt", "dapt_tapt"):
            Study("tiny", get_experiment(experiment).notebook).run(experiment, with_encoders=True)
    not_opened = ("average", "replay", "epochs", "augmented")
    opened = {n: digest for n, digest in weights_of(augmented, 0).items() if not any(some in n for some in not_opened)}
    assert weights_of(root, 0) == opened and weights_of(root, 1) == {}
    assert (rows_of(root, 0), rows_of(root, 1)) == (rows_of(augmented, 0), rows_of(augmented, 1))


def test_one_checkpoint_of_a_replicate_is_trained_and_found(one, tmp_path):
    root = tiny.copy(one[0], tmp_path / "study")
    with tiny.at(root):
        Study("tiny").pretrain("base", 1)
        with pytest.raises(StudyError, match="give `dontstop pretrain dapt_cs` first"):
            Study("tiny").pretrain("dapt_cs_then_tapt_citation_intent", 1)
    assert run(root, 2, "domain_gap") == [f"base on held_out/{text} (1)" for text in TEXTS]


def test_the_number_of_replicates_comes_from_notebook_command_environment_and_profile(two, monkeypatch, capsys):
    with tiny.at(two[0]):
        assert Study("tiny").profile.replicates == 2
        monkeypatch.setenv("DONTSTOP_REPLICATES", "5")
        assert Study("tiny").profile.replicates == 5
        assert open_study("01_domain_gap", profile="tiny", replicates=3).profile.replicates == 3
        assert open_study("01_domain_gap", profile="tiny", replicates=None).profile.replicates == 5
        for number in (0, 1001):
            with pytest.raises(StudyError, match=f"parameter 'replicates' = {number}"):
                open_study("01_domain_gap", profile="tiny", replicates=number)
        monkeypatch.setenv("DONTSTOP_REPLICATES", "")
        assert Study("tiny").profile.replicates == 2
        monkeypatch.setattr(Study, "run", lambda self, _experiment, **_how: seen.append(self.profile.replicates))
        seen: list[int] = []
        assert tiny.command("run", "dapt", "-p", "tiny", "--replicates", "4") == 0 and seen == [4]
        for number in ("0", "99999999"):
            assert tiny.command("run", "dapt", "-p", "tiny", "--replicates", number) == 2 and seen == [4]
            assert "--replicates" in capsys.readouterr().err
