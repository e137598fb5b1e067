"""The frames of a study's results: documented columns, rows of the arms asked for, records old and new."""

import re
import types

import pandas as pd
import pytest

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Paths, Profile
from dontstop.runs import records, results
from dontstop.runs.arms import BASE, DAPT, TAPT, short_tapt
from dontstop.runs.results import Results
from dontstop.text.tasks import get_task

TASKS = [get_task("citation_intent"), get_task("sciie")]
SETTINGS = {"tapt": {"num_epochs": 9}, "tapt_curve": {"num_epochs": [5], "tasks": ["sciie"]}, "seeds": [0, 1]}


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
        files.write_text(folder / "curves" / notebook / f"{notebook}.csv", "step,masked_lm_loss\n1,2.5\n")
    assert study.pretraining()["checkpoint"].tolist() == ["base", "02_dapt", "03_tapt"]
    assert study.curves()["checkpoint"].tolist() == ["02_dapt", "03_tapt", "base"]


def test_losses_say_on_what_and_where_they_were_measured(study):
    folder = study.paths.results / "records"
    measured = [{"encoder": "base", "held_out": "cs", "masked_lm_loss": 2.0, "num_masked": 9}]
    records.write_records(folder / "01_domain_gap", "cross_domain_loss", measured)
    records.write_records(folder / "05_transfer_tapt", "cross_task_loss", [measured[0] | {"held_out": "sciie"}])
    found = study.losses()
    assert found["measured_on"].tolist() == ["domain", "task"]
    assert found["notebook"].tolist() == ["01_domain_gap", "05_transfer_tapt"]


def test_checkpoints_are_found_by_name_with_their_phases(study):
    found = study.checkpoints()
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
