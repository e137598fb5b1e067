"""The frames of a study's results: documented columns, rows of the arms asked for, records old and new."""

import re
import types

import numpy as np
import pandas as pd
import pytest

from dontstop.design.arms import BASE, DAPT, TAPT, short_tapt
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Labels, Paths, Profile
from dontstop.runs import finetuning, records, results
from dontstop.runs.results import Results
from dontstop.studies import read_study

TASKS = [read_study("paper").task("citation_intent"), read_study("paper").task("sciie")]
SETTINGS = {"text": {"source": "files"}, "tapt": {"num_epochs": 9}, "seeds": [0, 1]}
SETTINGS |= {"tapt_curve": {"num_epochs": [5], "tasks": ["sciie"]}}


def row(task: str, arm: str, seed: int, **more) -> dict:
    return {"task": task, "arm": arm, "seed": seed, "test_score": 0.5, "fingerprint": f"{task} {arm} {seed}", **more}


@pytest.fixture
def study(root) -> Results:
    """Results of two tasks: base complete, DAPT without one run, TAPT of fewer epochs beside nothing."""
    paths = Paths("mine", root)
    entries = {task.name: {"labels": ["a", "b"]} for task in TASKS}
    files.write_json(paths.data / "manifest.json", {"tasks": entries | {"sciie": {"unlabelled": {}, "labels": []}}})
    folder = paths.results / "records"
    whole = [row(task.name, "base", seed) for task in TASKS for seed in (0, 1)]
    records.write_records(folder / "02_dapt", "base", [one | {"capability": "x86_64 AVX2 float32"} for one in whole])
    part = [one | {"arm": "dapt"} for one in whole[:-1]]
    records.write_records(folder / "02_dapt", "dapt", part)
    records.write_records(folder / "03_tapt", "tapt_curve", [row("sciie", "tapt_5_epochs", s) for s in (0, 1)])
    return Results(Profile(name="mine", **SETTINGS), paths, TASKS, "03_tapt")


def test_columns_are_those_documented(study):
    for method, columns in (
        (study.runs, results.RUN_COLUMNS),
        (study.losses, results.LOSS_COLUMNS),
        (study.pretraining, results.PRETRAINING_COLUMNS),
    ):
        assert list(method().columns) == columns
        said = set(re.findall(r"\w+", method.__doc__))
        assert not set(columns) - said, f"{method.__name__} says nothing of {set(columns) - said}"


def test_rows_are_those_of_the_arms_asked_for(study):
    assert len(study.runs()) == 4 + 3 + 2 and set(study.runs()["replicate"]) == {0}
    assert set(study.runs(BASE, "dapt")["arm"]) == {"base", "dapt"}
    assert study.runs(short_tapt(5))["seed"].tolist() == [0, 1]
    with pytest.raises(StudyError, match="one of base, dapt"):
        study.runs("datp")
    with pytest.raises(StudyError, match="run `make study` first"):
        study.runs(TAPT)


def test_an_arm_is_available_once_all_its_runs_are_there(study):
    assert study.available_arms() == [BASE]
    arms = study.arms()
    assert arms[short_tapt(5)] == TASKS[1:] and arms[DAPT] == TASKS
    assert [task.name for task in arms[study.arm("curated_tapt")]] == ["sciie"]


def test_replicates_are_read_as_far_as_they_are_asked_for(study):
    folder = study.paths.results / "records"
    rows = [row(t.name, "base", s, replicate=r) for r in (0, 1, 2) for t in TASKS for s in (0, 1)]
    records.write_records(folder / "02_dapt", "base", rows)
    records.write_records(
        folder / "02_dapt", "cross_domain_loss", [{"encoder": "base", "replicate": r} for r in (0, 1)]
    )
    assert set(study.runs(BASE)["replicate"]) == {0} and len(study.losses()) == 1
    for num, available in ((2, [BASE]), (3, [BASE]), (4, [])):
        study.profile = study.profile.model_copy(update={"replicates": num})
        assert study.runs(BASE)["replicate"].nunique() == min(num, 3) and study.available_arms() == available
    assert study.available_arms([0, 2]) == [BASE] and study.available_arms([2, 3]) == []
    assert len(study.losses()) == 2


def test_the_curve_of_labels_is_of_the_first_seed_and_holds_the_primary_number_too_which_runs_hold_alone(study):
    folder = study.paths.results / "records"
    for arm, notebook in (("base", "02_dapt"), ("dapt", "02_dapt"), ("tapt", "03_tapt"), ("dapt_tapt", "04_dapt_tapt")):
        rows = [row(task.name, arm, seed, replicate=0, num_train=100) for task in TASKS for seed in (0, 1)]
        records.write_records(folder / notebook, arm, rows)
    assert study.label_curve().empty  # nothing but the primary number
    others = [row("sciie", arm, 0, replicate=0, num_train=n) for arm in ("tapt", "base") for n in (50, 200)]
    others = [one | {"fingerprint": f"{one['fingerprint']} {one['num_train']}"} for one in others]
    records.write_records(folder / "04_dapt_tapt", "label_curve", others)
    found = study.label_curve()
    assert list(found.columns) == results.RUN_COLUMNS and len(found) == 4 * 2 + 4 and set(found["seed"]) == {0}
    numbers = found.query("task == 'sciie'").groupby("arm")["num_train"].agg(sorted).to_dict()
    assert numbers == {"base": [50, 100, 200], "dapt": [100], "tapt": [50, 100, 200], "dapt_tapt": [100]}
    assert set(study.runs("base", "dapt", "tapt", "dapt_tapt")["num_train"]) == {100}
    study.profile = study.profile.model_copy(update={"labels": Labels(primary=100, curve=[50, 200])})
    seeds = {
        number: {run.seed for run in study.design.plan("dapt_tapt").runs if run.num_labels == number}
        for number in (50, 100, 200)
    }
    assert seeds == {50: {0}, 100: {0, 1}, 200: {0}}


def test_the_labelled_texts_of_a_replicate_are_those_that_fine_tuning_draws(study):
    labels = ["b", "a", "a", "a", "b", "a", "a", "a"]
    rows = [{"id": str(number), "text": "some", "label": label} for number, label in enumerate(labels)]
    files.write_jsonl(study.paths.split("citation_intent", "train"), rows)
    ids = np.array([["a", "b"].index(label) for label in labels])
    for replicate, num in ((0, 3), (1, 3), (1, 5)):
        expected = finetuning.labelled(ids, num, "citation_intent", replicate)
        assert study.labelled("citation_intent", replicate, num).tolist() == expected.tolist()
    assert sorted(study.labelled("citation_intent", 0)) == list(range(8))  # the profile's primary number: all
    study.profile = study.profile.model_copy(update={"labels": Labels(primary=4)})
    assert len(study.labelled("citation_intent", 0)) == 4


def test_records_without_a_machine_say_so(study):
    found = study.runs().groupby("arm")["capability"].agg(lambda values: set(values).pop())
    assert found.to_dict() == {
        "base": "x86_64 AVX2 float32",
        "dapt": records.NOT_RECORDED,
        "tapt_5_epochs": records.NOT_RECORDED,
    }
    assert study.capabilities() == {"x86_64 AVX2 float32", records.NOT_RECORDED}


def test_renamed_fields_of_old_records_are_read_under_their_new_names(study):
    rows = [{"checkpoint": "lora_dapt_cs", "num_trained": 7}, {"checkpoint": "base", "begun_at_random": ["lm_head"]}]
    records.write_records(study.paths.results / "records" / "base", "pretraining", rows)
    found = study.pretraining().set_index("checkpoint")
    assert found.loc["lora_dapt_cs", "trainable_parameters"] == 7
    assert found.loc["base", "newly_initialised"] == ["lm_head"]


def test_pretraining_is_that_of_the_notebooks_so_far(study):
    for notebook in ("base", "02_dapt", "03_tapt", "04_dapt_tapt"):
        folder = study.paths.results
        records.write_records(folder / "records" / notebook, "pretraining", [{"checkpoint": notebook}])
        for replicate in (0, 1, 2):
            place = folder / "curves" / notebook / f"replicate_{replicate}"
            files.write_text(place / f"{notebook}.csv", f"{','.join(records.CURVE)}\n1,2,0.1,{replicate}.5\n")
    assert study.pretraining()["checkpoint"].tolist() == ["base", "02_dapt", "03_tapt"]
    study.profile = study.profile.model_copy(update={"replicates": 2})
    found = study.curves()
    assert sorted(found["checkpoint"]) == sorted(["base", "02_dapt", "03_tapt"] * 2)
    assert set(zip(found["replicate"], found["masked_lm_loss"], strict=True)) == {(0, 0.5), (1, 1.5)}


def test_losses_say_on_what_and_where_they_were_measured(study):
    folder = study.paths.results / "records"
    measured = [{"encoder": "base", "held_out": "cs", "masked_lm_loss": 2.0, "num_masked": 9}]
    records.write_records(folder / "01_domain_gap", "cross_domain_loss", measured)
    records.write_records(folder / "05_transfer_tapt", "cross_task_loss", [measured[0] | {"held_out": "sciie"}])
    found = study.losses()
    assert found["measured_on"].tolist() == ["domain", "task"]
    assert found["notebook"].tolist() == ["01_domain_gap", "05_transfer_tapt"]


def test_checkpoints_are_found_by_name_with_their_phases(study):
    found = {checkpoint.name: checkpoint for checkpoint in study.checkpoints()}
    assert len(found) == len(study.checkpoints()) and {c.replicate for c in found.values()} == {0}
    assert found["tapt_5_epochs_sciie"].last.epochs == 5
    assert [phase.kind for phase in found["dapt_cs_then_tapt_sciie"].phases] == ["dapt", "tapt"]
    assert found["base"].phases == () and "dapt_news" in found


def test_settings_that_differ_are_listed_with_the_papers(study):
    table = study.settings()
    assert list(table.columns) == ["setting", "here", "paper"]
    assert table.set_index("setting").loc["tapt.num_epochs"].tolist() == ["9", "100"]
    study.notebook = "06_knn_tapt"
    study.profile = Profile(name="mine", selection={"vampire": {"num_topics": 7}}, base=None, encoder={"name": "x"})
    table = study.settings()
    assert table["setting"].tolist() == ["selection.vampire.num_topics"]


def test_frames_of_nothing_have_their_columns(study, tmp_path):
    study.paths = types.SimpleNamespace(**vars(study.paths) | {"results": tmp_path / "nothing"})
    for frame in (study.runs(), study.losses(), study.pretraining(), study.curves()):
        assert isinstance(frame, pd.DataFrame) and frame.empty and len(frame.columns) > 3
