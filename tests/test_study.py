"""A whole study in seconds: complete, found again, redone only where a setting changed, whole or not at all."""

import errno
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import kills
import tiny
from conftest import PROJECT
from dontstop.design.arms import TAPT, Checkpoint, Phase
from dontstop.errors import StudyError
from dontstop.machine import digests, files, locks, runner
from dontstop.profiles import PhaseSettings, load_profile
from dontstop.report import claims, measures
from dontstop.runs import course, records, scratch, trials
from dontstop.study import Study, open_study
from dontstop.tokens import TokenStore

NUM_RUNS = 3 * 2 * 2  # arms, tasks, seeds
BASE = "base/replicate_0"  # where the base encoder stands among the checkpoints


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run the experiments of a tiny study once, and give its root; not to be written to."""
    root = tiny.make(tmp_path_factory.mktemp("finished") / "study", speed={"num_workers": 1})
    for experiment in tiny.EXPERIMENTS:
        tiny.run(root, experiment)
    return root


@pytest.fixture(scope="module")
def with_tapt(finished, tmp_path_factory):
    """Run TAPT, and DAPT then TAPT, after the tiny study's other experiments; not to be written to."""
    root = tiny.copy(finished, tmp_path_factory.mktemp("with_tapt") / "study")
    for experiment in ("tapt", "dapt_tapt"):
        tiny.run(root, experiment)
    return root


@pytest.fixture
def planned(monkeypatch):
    """Carry out no job, and give the list of those that would have been."""
    jobs = []

    def stop(_title, some, **_settings):
        jobs.extend(some)
        raise StopIteration

    monkeypatch.setattr(runner, "carry_out", stop)
    return jobs


@pytest.fixture
def forbidden(monkeypatch):
    """Fail where a process would be started."""
    monkeypatch.setattr(runner, "_drive", None)


def names_planned(planned, root, experiment="dapt", **changes):
    """Return the jobs, by kind and name, that an experiment would do after settings changed."""
    planned.clear()
    tiny.set_profile(root, **changes)
    with pytest.raises(StopIteration):
        tiny.run(root, experiment)
    return sorted((job.kind, job.name) for job in planned)


def test_records_are_complete(finished):
    folder = finished / "results" / "tiny" / "records"
    table = records.read_records(folder / "02_dapt", "base", "dapt", "not_dapt")
    assert len(table) == NUM_RUNS and not table.duplicated(["task", "arm", "seed"]).any()
    assert table.isna().sum().sum() == 0
    for row in table.to_dict("records"):
        truth = [example["label"] for example in tiny.examples(row["task"], "test")]
        predictions = [row["labels"][k] for k in records.decode_predictions(row["test_predictions"])]
        assert row["test_micro_f1"] == pytest.approx(np.mean(np.array(predictions) == truth))
        assert row["test_score"] == row[f"test_{row['metric']}"]
        assert (row["num_train"], row["num_dev"], row["num_test"]) == tuple(tiny.SPLITS.values())
        assert len(row["dev_scores"]) == row["num_epochs"] and row["dev_score"] == max(row["dev_scores"])
    assert set(table.query("arm == 'not_dapt' and task == 'citation_intent'")["checkpoint"]) == {"dapt_news"}
    losses = records.read_records(folder / "02_dapt", "cross_domain_loss")
    assert len(losses) == 3 * 3 and losses["masked_lm_loss"].between(1, 7).all()
    own = records.read_records(folder / "01_domain_gap", "cross_domain_loss")
    assert own["encoder"].tolist() == ["base"] * 3 and set(own["held_out"]) == {"general", *tiny.DOMAINS}


def test_a_damaged_curve_is_written_again_by_the_same_command(finished, tmp_path):
    root = tiny.copy(finished, tmp_path / "study")
    path = root / "results/tiny/curves/base/replicate_0/base.csv"
    whole = path.read_text()
    path.write_text(whole.replace("1", "2"))
    with tiny.at(root), pytest.raises(StudyError, match="base.csv is not as it was written"):
        Study("tiny").curves()
    with tiny.at(root):
        tiny.run(root, "domain_gap")
        assert path.read_text() == whole and not Study("tiny").curves().empty


def test_trainings_and_curves_are_complete(finished):
    folder = finished / "results" / "tiny" / "records"
    base, dapt = (records.read_records(folder / owner, "pretraining") for owner in ("base", "02_dapt"))
    assert base["num_tokens"].tolist() == [12 * 4 * 16] and dapt["num_tokens"].tolist() == [6 * 4 * 16] * 2
    assert (base["loss_after"] < base["loss_before"]).all() and dapt["checkpoint"].tolist() == ["dapt_cs", "dapt_news"]
    curves = [path.name for path in (finished / "results" / "tiny" / "curves").rglob("*.csv")]
    assert sorted(curves) == ["base.csv", "dapt_cs.csv", "dapt_news.csv"]
    assert tiny.unfinished(finished) == []


def test_tapt_and_both_phases_are_recorded_each_under_its_notebook(with_tapt):
    folder = with_tapt / "results" / "tiny" / "records"
    tapt, both = (records.read_records(folder / name, "pretraining") for name in ("03_tapt", "04_dapt_tapt"))
    assert set(tapt["checkpoint"]) == {"tapt_1_epochs_citation_intent", *(f"tapt_{task}" for task in tiny.TASKS)}
    assert len(both) == 2 and (tapt["loss_before"] > 0).all()
    steps = tapt.set_index("checkpoint")["num_steps"]
    assert steps["tapt_citation_intent"] == pytest.approx(2 * steps["tapt_1_epochs_citation_intent"], abs=1)
    curve = records.read_records(folder / "03_tapt", "tapt_curve")
    curves = [path.name for path in (with_tapt / "results" / "tiny" / "curves").rglob("*tapt*.csv")]
    assert sorted(curves) == sorted(f"{name}.csv" for name in [*tapt["checkpoint"], *both["checkpoint"]])
    assert tiny.unfinished(with_tapt) == []
    assert set(curve["arm"]) == {"tapt_1_epochs"} and curve["seed"].tolist() == [0, 1]
    with tiny.at(with_tapt):
        some = Study("tiny", "04_dapt_tapt")
        assert list(map(str, some.available_arms())) == ["base", "dapt", "not_dapt", "tapt", "dapt_tapt"]
        assert list(map(str, some.arms())) == [
            *("base", "dapt", "not_dapt", "tapt", "tapt_1_epochs", "dapt_tapt"),
            *("knn_tapt_0", "knn_tapt_50", "knn_tapt_150", "knn_tapt_500"),
            *("rand_tapt_50", "rand_tapt_150", "rand_tapt_500"),
        ]


def test_what_costs_depend_on_is_known_where_records_alone_are_left(with_tapt, tmp_path):
    root = tiny.copy(with_tapt, tmp_path / "study")
    with tiny.at(root):
        some = Study("tiny", "04_dapt_tapt")
        shape = measures.encoder_shape(some)
        shutil.rmtree(root / "checkpoints")
        assert measures.encoder_shape(some) == shape
        named = some.profile.encoder.model_copy(update={"name": "x"})
        some.profile = some.profile.model_copy(update={"encoder": named})
        with pytest.raises(StudyError, match="no base encoder here"):
            measures.encoder_shape(some)


def test_costs_are_a_frame_of_the_arms_asked_for(with_tapt):
    with tiny.at(with_tapt):
        found = Study("tiny", "04_dapt_tapt").costs("dapt", TAPT)
    assert found[["arm", "task"]].drop_duplicates().shape[0] == len(found) == 2 * len(tiny.TASKS)
    assert (found["tflops"] > 0).all()


def test_encoders_to_try_things_on_are_of_one_replicate_wherever_one_has_them(tmp_path, monkeypatch):
    """Of replicate 0 the TAPT encoder is gone: the mean of two encoders with other bases is an encoder of nothing."""
    known = [Checkpoint(), Checkpoint((Phase("dapt", "cs"),)), Checkpoint((Phase("tapt", "sciie"),))]
    study = SimpleNamespace(profile=SimpleNamespace(replicates=2), checkpoints=lambda: known)
    study.checkpoint_folder = lambda checkpoint: tmp_path / str(checkpoint.replicate) / checkpoint.name
    for one in (*known[:2], *(replace(checkpoint, replicate=1) for checkpoint in known)):
        files.write_text(study.checkpoint_folder(one) / "model.safetensors", "")
    monkeypatch.setattr(trials.encoders, "load_encoder", lambda folder: folder.relative_to(tmp_path).parts)
    assert trials.load_encoder(study, Phase("dapt", "cs")) == ("1", "dapt_cs")
    assert trials.load_encoder(study, Phase("tapt", "sciie"))[0] == trials.load_encoder(study)[0] == "1"


def test_no_checkpoint_is_trained_twice(with_tapt, tmp_path, planned):
    """Both phases start from the DAPT encoder that is there, even if only its published copy is left."""
    root = tiny.copy(with_tapt, tmp_path / "study")
    (root / "work").rename(tmp_path / "away")
    for folder in ("checkpoints/tiny/dapt_tapt", "results/tiny/records/04_dapt_tapt"):
        shutil.rmtree(root / folder)
    planned_names = names_planned(planned, root, "dapt_tapt")
    trained = [name for kind, name in planned_names if kind == "checkpoint"]
    assert trained == [f"dapt_{domain}_then_tapt_{task}" for task, domain in sorted(tiny.TASKS.items())]
    with tiny.at(with_tapt):
        names = Study("tiny", "04_dapt_tapt").pretraining()["checkpoint"].tolist()
    assert len(names) == len(set(names)) == 8


def test_transfer_is_left_out_where_no_domain_has_another_task_and_the_rest_runs(with_tapt, planned, capsys):
    planned_names = names_planned(planned, with_tapt, "transfer_tapt")
    said = capsys.readouterr()
    told = "left out for want of text: transfer_tapt of citation_intent, hyperpartisan_news (no other task)"
    assert told in said.out + said.err
    assert {kind for kind, _ in planned_names} == {"loss"}
    with tiny.at(with_tapt):
        assert "transfer_tapt" in Study("tiny", "05_transfer_tapt").provenance()


def test_transfer_runs_for_the_tasks_whose_domain_has_another(with_tapt, tmp_path, planned):
    root = tiny.copy(with_tapt, tmp_path / "study")
    shutil.copytree(root / "texts/tasks/citation_intent", root / "texts/tasks/sciie")
    names = ["citation_intent", "sciie", "hyperpartisan_news"]
    found = names_planned(planned, root, "transfer_tapt", text={"tasks": names})
    runs = {name for kind, name in found if kind == "run" and "transfer_tapt" in name}
    assert len(runs) == 2 * 2 and all("citation_intent" in name or "sciie" in name for name in runs)


def test_a_mirror_named_by_the_environment_goes_before_the_profiles_and_may_be_gone_afterwards(finished, tmp_path):
    root = tiny.copy(finished, tmp_path / "study")
    moved = root / "elsewhere"
    (root / "texts").rename(moved)
    tiny.set_profile(root, text={"folder": None})
    with tiny.at(root), pytest.MonkeyPatch.context() as patch:
        Study("tiny").prepare()  # the text that was prepared serves without its mirror
        patch.setenv("DONTSTOP_MIRROR", str(moved))
        before = (root / "data/tiny/manifest.json").stat().st_mtime_ns
        Study("tiny").prepare()
        assert (root / "data/tiny/manifest.json").stat().st_mtime_ns == before
        patch.delenv("DONTSTOP_MIRROR")
        tiny.set_profile(root, text={"folder": None, "min_words": 4})
        with pytest.raises(StudyError, match=r"text prepared with other settings[\s\S]*MIRROR=<folder>"):
            Study("tiny").prepare()


def test_a_mirror_named_on_the_command_line_is_read(tmp_path):
    root = tiny.make(tmp_path / "study", text={"folder": None})
    (root / "texts").rename(root / "elsewhere")
    with tiny.at(root), pytest.MonkeyPatch.context() as patch:
        patch.setenv("DONTSTOP_MIRROR", "nowhere")
        assert tiny.command("prepare", "-p", "tiny", "--mirror", str(root / "elsewhere")) == 0
        assert Study("tiny").profile.text.folder == str(root / "elsewhere")
    assert (root / "data/tiny/manifest.json").is_file()


def test_tasks_that_the_mirror_may_lack_are_named_and_may_have_settings(tmp_path, capsys):
    named = ["citation_intent", "hyperpartisan_news", "imdb"]
    settings = {"task_finetune": {"imdb": {"num_epochs": 3}}, "selection": {"tasks": ["imdb", "citation_intent"]}}
    root = tiny.make(tmp_path / "study", text={"tasks": named, "may_lack": ["imdb"]}, **settings)
    with tiny.at(root):
        study = Study("tiny")
        study.prepare()
        assert study.missing_tasks() == ["imdb"] and [task.name for task in study.design.augmented_tasks()] == named[:1]
    told = capsys.readouterr().out
    assert "prepare: imdb not in the mirror" in told
    assert "prepare: citation_intent, train: 24 examples in the mirror, Table 2 has 1,688" in told


def test_a_tokenizer_that_cannot_be_had_is_told_before_any_text_is_read(finished, tmp_path):
    root = tiny.copy(finished, tmp_path / "study")
    tiny.set_profile(root, tokens={"tokenizer": str(root / "nowhere")}, encoder={"name": str(root / "nowhere")})
    prepared = root / "data/tiny/prepared.json"
    with tiny.at(root), pytest.raises(StudyError, match="no tokenizer"):
        Study("tiny").prepare()
    assert prepared.is_file()  # the text of before is not lost to it


def test_labels_that_say_nothing_bring_every_arm_to_chance(with_tapt, tmp_path):
    """If an arm scores here, something other than the labelled texts tells it the labels."""
    root = tiny.copy(with_tapt, tmp_path / "study")
    for task in tiny.TASKS:
        for split in ("train", "dev"):
            rows = tiny.without_a_rule(task, split)
            tiny.write_lines(root / "texts" / "tasks" / task / f"{split}.jsonl", rows)
    for experiment in ("dapt", "tapt", "dapt_tapt"):
        tiny.run(root, experiment)
    with tiny.at(root):
        found = Study("tiny", "04_dapt_tapt").runs("base", "dapt", "not_dapt", "tapt", "dapt_tapt")
    # Each mean is over 2 tasks and 2 seeds of 40 test texts: chance is 0.5 with a standard deviation of 0.04, and more
    # where a classifier follows the rule that the labels have left, which is right or wrong on all texts together.
    assert found.groupby("arm")["test_micro_f1"].mean().between(0.25, 0.75).all()


def test_a_second_run_starts_no_process_and_changes_nothing(finished, forbidden):
    before, begin = tiny.outcomes(finished), time.monotonic()
    for experiment in tiny.EXPERIMENTS:
        tiny.run(finished, experiment)
    assert time.monotonic() - begin < 5 and tiny.outcomes(finished) == before


def test_only_what_depends_on_a_changed_setting_is_done_again(finished, tmp_path, planned):
    root = tiny.copy(finished, tmp_path / "study")
    changed = {"task_finetune": {"citation_intent": {"num_epochs": 3}}}
    names = names_planned(planned, root, **changed)
    assert len(names) == NUM_RUNS / 2 and all(n.startswith("citation_intent") for _, n in names)
    assert names_planned(planned, root, seeds=[0, 1, 2]) == sorted(
        ("run", f"{task} {arm} seed 2") for task in tiny.TASKS for arm in ("base", "dapt", "not_dapt")
    )
    kinds = [kind for kind, _ in names_planned(planned, root, dapt={"num_steps": 7})]
    assert (kinds.count("checkpoint"), kinds.count("run"), kinds.count("loss")) == (2, 8, 6)
    assert len(names_planned(planned, root, base={"num_steps": 13})) == 3 + NUM_RUNS + 9


def test_other_text_under_the_old_name_is_read_again(finished, tmp_path, planned):
    root = tiny.copy(finished, tmp_path / "study")
    path = root / "texts" / "tasks" / "citation_intent" / "train.jsonl"
    rows = files.read_jsonl(path)
    tiny.write_lines(path, rows[:-2])
    names = names_planned(planned, root)
    assert len(names) == NUM_RUNS / 2 and all(n.startswith("citation_intent") for _, n in names)


def test_checkpoints_without_their_scratch_are_adopted(finished, tmp_path, planned):
    root = tiny.copy(finished, tmp_path / "study")
    (root / "work").rename(tmp_path / "away")
    assert names_planned(planned, root) == []
    assert tiny.unfinished(root) == []
    # Settings other than they were made with: not adopted.
    assert ("checkpoint", "base") in names_planned(planned, root, base={"num_steps": 13})


def test_what_is_published_is_enough_to_read_a_study_elsewhere(with_tapt, tmp_path, forbidden, monkeypatch):
    """In a second clone, with what `dvc pull` or `make clean` leave, everything is found in seconds."""
    root = tmp_path / "clone"
    for name in ("configs", "texts", "data", "checkpoints", "results"):
        shutil.copytree(with_tapt / name, root / name)
    before, begin = tiny.outcomes(root), time.monotonic()
    monkeypatch.setenv("DONTSTOP_READ_ONLY", "1")
    for experiment in (*tiny.EXPERIMENTS, "tapt", "dapt_tapt"):
        tiny.run(root, experiment)
    assert time.monotonic() - begin < 10 and tiny.outcomes(root) == before


def test_a_missing_record_is_made_again_and_no_other(finished, tmp_path, planned):
    root = tiny.copy(finished, tmp_path / "study")
    shutil.rmtree(root / "work")
    path = root / "results" / "tiny" / "records" / "02_dapt" / "dapt.jsonl"
    files.write_jsonl(path, files.read_jsonl(path)[1:])
    assert names_planned(planned, root) == [("run", "citation_intent dapt seed 0")]


def test_the_plans_of_one_run_share_worker_processes(finished, tmp_path, monkeypatch):
    root, kept = tiny.copy(finished, tmp_path / "study"), []
    tiny.set_profile(root, seeds=[0, 1, 2])

    def stop(_title, _some, **_settings):
        kept.append(runner._warm)
        raise StopIteration

    monkeypatch.setattr(runner, "_warm", None)  # the session's own block
    monkeypatch.setattr(runner, "carry_out", stop)
    with pytest.raises(StopIteration):
        tiny.run(root, "dapt")
    assert kept == [[]] and runner._warm is None


def renamed(root, capability: str) -> None:
    """Let all that is published be of another machine."""
    for path in (root / "results").rglob("*.jsonl"):
        rows, _ = records.read_rows(path)
        records.write_records(path.parent, path.stem, [row | {"capability": capability} for row in rows])
    for path in (root / "checkpoints").rglob("training.json"):
        files.write_json(path, files.read_json(path) | {"capability": capability})
        digests.write_folder_digests(path.parent)


def test_results_of_another_machine_are_kept_and_read_only_where_that_is_accepted(
    finished, tmp_path, planned, monkeypatch, capsys
):
    root, other = tiny.copy(finished, tmp_path / "study"), "arm64 float32"
    shutil.rmtree(root / "work")
    renamed(root, other)
    own = len(names_planned(planned, root))
    assert own == 3 + NUM_RUNS + 9  # nothing of the other's is taken for this one's
    monkeypatch.setenv("DONTSTOP_READ_ONLY", "1")
    with pytest.raises(StudyError, match=f"{own} results missing of this machine.*stand there .*arm64-float32.*"):
        tiny.run(root, "dapt")
    monkeypatch.setenv("DONTSTOP_ACCEPT_OTHER_MACHINES", "1")
    monkeypatch.setattr(runner, "carry_out", lambda _title, some, **_settings: planned.extend(some))
    planned.clear()
    capsys.readouterr()
    study = tiny.run(root, "dapt")
    assert planned == [] and "results of other machines are among these, as accepted: arm64 float32" in (
        capsys.readouterr().out
    )
    assert set(study.runs()["capability"]) == {other}
    with tiny.at(root):
        assert "; results of other machines: arm64 float32" in study.provenance()
    # An encoder trained here beside theirs, to be opened say, is not told of: their results do not rest on it.
    base = files.read_jsonl(root / "results" / "tiny" / "records" / "base" / "pretraining.jsonl")[0]["fingerprint"]
    (own,) = (finished / "work" / base[:2]).glob(f"{base}.*")
    shutil.copytree(own, root / "work" / base[:2] / own.name)
    digests_of = Path("work") / "digests" / base[:2] / own.name
    shutil.copytree(finished / digests_of, root / digests_of)
    study = tiny.run(root, "dapt")
    assert set(study.pretraining()["capability"]) == {other}
    # Both machines' results are kept: this one's come back, and are found first.
    shutil.copytree(finished / "work", root / "work", dirs_exist_ok=True)
    study = tiny.run(root, "dapt")
    assert other not in {*study.runs()["capability"], *study.pretraining()["capability"]}
    # Of the checkpoints too, whose records stand for them where nothing is made of them.
    assert len(list((root / "work" / "results").glob("*.arm64-float32.json"))) == NUM_RUNS + 9 + 3


def test_nothing_is_trained_where_results_are_only_to_be_read(finished, tmp_path, planned, monkeypatch):
    root = tiny.copy(finished, tmp_path / "study")
    monkeypatch.setenv("DONTSTOP_READ_ONLY", "1")
    tiny.set_profile(root, seeds=[0, 1, 2])
    with pytest.raises(StudyError, match="6 results missing of this machine .*citation_intent base seed 2.*, ...") as e:
        tiny.run(root, "dapt")
    assert "make study PROFILE=tiny" in e.value.remedy and planned == []
    tiny.set_profile(root, text={"min_words": 4})
    with pytest.raises(StudyError, match="no prepared text of profile 'tiny', or other text"):
        tiny.run(root, "dapt")


def test_two_profiles_that_share_a_base_run_at_once(tmp_path):
    root = tiny.make(tmp_path / "study", base={"num_steps": 60})
    text = (root / "configs" / "tiny.yaml").read_text()
    (root / "configs" / "other.yaml").write_text(text)
    processes = [kills.start(root, "run", "base", "-p", profile) for profile in ("tiny", "other")]
    codes, said = [kills.end(process) for process in processes], (root / "log").read_text()
    assert codes == [0, 0] and "Error" not in said, said
    found = [files.read_json(root / "checkpoints" / name / BASE / "training.json") for name in ("tiny", "other")]
    assert found[0] == found[1]  # to the second: it was trained once
    assert tiny.unfinished(root) == []


def test_results_and_checkpoints_are_put_back(finished, tmp_path, forbidden):
    root = tiny.copy(finished, tmp_path / "study")
    for name in ("results", "checkpoints"):
        (root / name).rename(tmp_path / name)
    for experiment in tiny.EXPERIMENTS:
        tiny.run(root, experiment)
    assert tiny.outcomes(root) == tiny.outcomes(finished)


def test_a_full_disk_at_any_file_is_told_and_the_next_try_goes_on(finished, tmp_path, forbidden, monkeypatch, capsys):
    root, replace = tiny.copy(finished, tmp_path / "study"), os.replace
    monkeypatch.setenv("DONTSTOP_ROOT", str(root))
    expected, code, at = tiny.outcomes(root), 2, 0
    while code:
        for name in ("results", "checkpoints"):
            if not at % 5 and (root / name).exists():  # sometimes from the start, sometimes from what was reached
                (root / name).rename(tmp_path / f"{name}{at}")
        left = iter(range(at % 5))

        def full(*arguments, left=left):
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            replace(*arguments)

        monkeypatch.setattr(files.os, "replace", full if at < 30 else replace)
        code = tiny.command("run", "dapt", "-p", "tiny")
        said = capsys.readouterr().err
        assert not code or ("found: no space left while writing" in said and "Traceback" not in said)
        assert tiny.unfinished(root) == []
        at += 1
    assert at == 31
    assert {name: found for name, found in expected.items() if "01_domain_gap" not in name} == tiny.outcomes(root)


def test_a_file_where_records_belong_is_told(finished, tmp_path, forbidden, monkeypatch, capsys):
    root = tiny.copy(finished, tmp_path / "study")
    monkeypatch.setenv("DONTSTOP_ROOT", str(root))
    folder = root / "results" / "tiny" / "records"
    shutil.rmtree(folder)
    folder.touch()
    assert tiny.command("run", "dapt", "-p", "tiny") == 2
    said = capsys.readouterr().err
    assert said.startswith("found: ") and str(folder) in said and "do this: " in said
    folder.unlink()
    assert tiny.command("run", "dapt", "-p", "tiny") == 0 and tiny.unfinished(root) == []


def test_half_replaced_checkpoints_are_not_taken_for_whole(finished, tmp_path, monkeypatch, forbidden):
    """Old weights under a training.json of theirs, new weights coming, a kill in between: nothing may be adopted."""
    root = tiny.copy(finished, tmp_path / "study")
    training = root / "checkpoints" / "tiny" / BASE / "training.json"
    files.write_json(training, files.read_json(training) | {"fingerprint": "of another setting"})

    def killed(*_arguments, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "link_files", killed)
    with pytest.raises(KeyboardInterrupt):
        tiny.run(root, "dapt")
    assert not training.exists()


def flip_a_bit(path) -> bytes:
    """Flip a bit near a file's end, and return what stood there."""
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    return whole


@pytest.mark.parametrize(
    "place",
    [
        f"checkpoints/tiny/{BASE}/training.json",
        f"checkpoints/tiny/{BASE}/model.safetensors",
        f"checkpoints/tiny/{BASE}/digests.json",
        "data/tiny/tokens/corpora/cs/offsets.npy",
        "data/tiny/prepared.json",
        "results/tiny/records/02_dapt/dapt.jsonl",
    ],
)
def test_a_flipped_bit_is_made_good_by_the_same_command(finished, tmp_path, place, forbidden):
    """Without any training, since what it comes from stands there."""
    root = tiny.copy(finished, tmp_path / "study")
    whole = flip_a_bit(root / place)
    tiny.run(root, "dapt")
    assert (root / place).read_bytes() == whole and tiny.outcomes(root) == tiny.outcomes(finished)


@pytest.mark.parametrize(
    ("pattern", "kinds"),
    [
        ("work/results/*.json", {"run", "loss"}),
        ("work/*/*/training.json", {"checkpoint"}),
        ("work/*/*/encoder/model.safetensors", {"checkpoint"}),
    ],
)
def test_what_a_flipped_bit_spoils_without_a_copy_is_made_again_and_no_other(
    finished, tmp_path, pattern, kinds, planned
):
    root = tiny.copy(finished, tmp_path / "study")
    for name in ("results", "checkpoints", "work/results")[: 3 if kinds == {"checkpoint"} else 2]:
        shutil.rmtree(root / name)
    path = min(root.glob(pattern))
    flip_a_bit(path)
    assert sum(kind in kinds for kind, _ in names_planned(planned, root)) == 1
    assert not path.exists() and list((root / "work" / "damaged").iterdir())


def test_an_encoder_that_is_damaged_wherever_it_stands_is_trained_again(finished, tmp_path, planned):
    root = tiny.copy(finished, tmp_path / "study")
    whole = flip_a_bit(root / "checkpoints" / "tiny" / BASE / "model.safetensors")
    [beside] = [path for path in root.glob("work/*/*/encoder/model.safetensors") if path.read_bytes() == whole]
    flip_a_bit(beside)
    assert names_planned(planned, root) == [("checkpoint", "base")]


def test_temporary_files_of_a_killed_run_are_swept_up(finished, tmp_path, forbidden):
    root = tiny.copy(finished, tmp_path / "study")
    encoder = next((root / "work").glob("*/*/encoder"))
    (encoder.parent / ".encoder.0a1b2c3d.part").mkdir()
    (encoder.parent / ".encoder.0a1b2c3d.part" / "config.json").touch()
    (encoder.parent / ".state.safetensors.0a1b2c3d.part").touch()
    (root / "results" / "tiny" / "records" / "02_dapt" / ".dapt.jsonl.0a1b2c3d.part").touch()
    tiny.run(root, "dapt")
    assert tiny.unfinished(root) == []


def test_half_written_results_are_swept_up_and_those_of_other_studies_left(finished, tmp_path, forbidden):
    root = tiny.copy(finished, tmp_path / "study")
    rows = files.read_jsonl(root / "results" / "tiny" / "records" / "02_dapt" / "dapt.jsonl")
    rows += files.read_jsonl(root / "results" / "tiny" / "records" / "02_dapt" / "cross_domain_loss.jsonl")
    for row in rows:
        key = scratch.key_of(row["fingerprint"], row["capability"])
        (root / "work" / "results" / f".{key}.json.0a1b2c3d.part").touch()
        (root / "work" / "digests" / "results" / f".{key}.json.0a1b2c3d.part").touch()
    other = root / "work" / "results" / ".another.json.0a1b2c3d.part"
    other.touch()
    tiny.run(root, "dapt")
    assert tiny.unfinished(root) == [str(other.relative_to(root))]


def test_a_run_beside_another_is_refused(finished, tmp_path, monkeypatch, capsys):
    root = tiny.copy(finished, tmp_path / "study")
    monkeypatch.setenv("DONTSTOP_ROOT", str(root))
    with locks.only_run(root / "work" / "tiny.lock"):
        assert tiny.command("run", "dapt", "-p", "tiny") == 2
        assert "another run of this study under way" in capsys.readouterr().err
    assert tiny.command("run", "dapt", "-p", "tiny") == 0


def test_what_a_notebook_reads(finished):
    with tiny.at(finished):
        some = Study("tiny", "02_dapt")
        assert some.texts == ["general", *tiny.DOMAINS] and len(some.tasks) == 2
        assert repr(some) == "Study('tiny': 2 domains, 2 tasks)"
        assert some.truth()["citation_intent"].tolist() == [0, 1] * 20
        assert len(some.excerpts("cs")) == 3 and len(some.runs("base", "dapt")) == 8
        assert "<mask>" in " ".join(some.masked_example("cs", 16)["input"])
        assert some.provenance().startswith("profile tiny; commit ")
        assert "finetune.learning_rate" in some.settings()["setting"].tolist()


# Trying things out -------------------------------------------------------------------------------------------------


def test_a_trial_gives_the_scores_of_the_same_runs_and_publishes_nothing(finished, tmp_path, forbidden):
    root = tiny.copy(finished, tmp_path / "root")
    before = tiny.outcomes(root)
    with tiny.at(root):
        study = Study("tiny", "00_start_here")
        tried = study.try_out(study.tasks[0])  # whose phases are short already: all of it is found
        guessed = study.guesses_of(tried.encoders, "cs", num=2)
        runs = study.runs("base", "dapt").query("task == 'citation_intent' and seed == 0 and replicate == 0")
    assert tried.scores["arm"].tolist() == ["base", "dapt"] and tried.scores["num_steps"].tolist() == [12, 6]
    assert tried.scores["score"].tolist() == pytest.approx((100 * runs["test_score"]).tolist())
    assert list(tried.encoders) == ["base", "dapt_cs"] and set(guessed["encoder"]) <= {"base", "dapt_cs"}
    assert tiny.outcomes(root) == before


def test_phases_that_are_tried_out_are_short():
    settings = load_profile("laptop", PROJECT).dapt
    assert trials.shortened(settings).num_steps == trials.MOST_STEPS < settings.num_steps
    few = settings.model_copy(update={"num_steps": None, "num_epochs": 3})
    assert (trials.shortened(few).num_steps, trials.shortened(few).num_epochs) == (trials.MOST_STEPS, None)


def test_an_encoder_is_loaded_and_where_there_is_none_that_is_said(finished, tmp_path, capsys):
    root = tiny.copy(finished, tmp_path / "root")
    with tiny.at(root):
        study = Study("tiny")
        assert not torch.equal(study.encoder().decoder.bias, study.encoder(Phase("dapt", "cs")).decoder.bias)
        shutil.rmtree(root / "checkpoints")
        study.encoder()
        told = capsys.readouterr().out
        assert told.startswith("no weights of base here") and "`dontstop run base -p tiny` trains them" in told
        assert study.guesses("cs").empty and "`dontstop run dapt -p tiny` trains them" in capsys.readouterr().out


def test_a_notebook_says_which_other_has_to_run_first_and_trains_nothing(finished, root, tmp_path, forbidden):
    with tiny.at(finished):
        assert open_study("03_tapt", profile="tiny").notebook == "03_tapt"
        with pytest.raises(StudyError, match="1 of 2 replicates of notebook 02_dapt"):
            open_study("03_tapt", profile="tiny", replicates=2)
        with pytest.raises(StudyError, match="notebooks/03_tapt.ipynb with profile = 'tiny'"):
            open_study("04_dapt_tapt", profile="tiny")
    with tiny.at(root):
        for notebook, first in (("02_dapt", "01_domain_gap"), ("03_tapt", "02_dapt"), ("06_knn_tapt", "02_dapt")):
            with pytest.raises(StudyError, match=f"0 of . replicates of notebook {first}"):
                open_study(notebook, profile="laptop")
        open_study("01_domain_gap", profile="laptop")


def test_gains_are_those_of_the_records_and_excerpts_of_a_task_bear_labels(finished, root):
    with tiny.at(finished):
        study = Study("tiny")
        gains, shown = measures.dapt_gains(study), study.excerpts("citation_intent")
        measured = measures.mean_f1(study)
        runs = study.runs("base", "dapt")
    by_arm = 100 * runs.groupby(["task", "arm"])["test_score"].mean().unstack()
    assert gains["citation_intent"] == pytest.approx((by_arm["dapt"] - by_arm["base"])["citation_intent"])
    assert list(gains) == [*(task.name for task in study.tasks), "mean"]
    assert measured["dapt"] == pytest.approx(by_arm["dapt"].mean()) and "base" in measured
    assert list(shown) == ["label", "text"] and set(shown["label"]) <= set(tiny.LABELS) and len(shown) == 3


def test_verdicts_are_read_where_they_stand_and_are_the_papers_alone_before(tmp_path):
    before = claims.load_judged(tmp_path)
    assert set(before.query("study == 'ours'")["verdict"]) == {"not run"}
    assert "holds" in set(before.query("study == 'paper'")["verdict"])
    before.assign(verdict="holds").to_csv(tmp_path / "claims.csv", index=False)
    assert set(claims.load_judged(tmp_path)["verdict"]) == {"holds"}


def test_the_course_of_training_is_measured_to_its_end_in_the_first_replicate(with_tapt):
    with tiny.at(with_tapt):
        study = Study("tiny", "04_dapt_tapt")
        measured = study.course()
    assert measured.groupby("phase")["checkpoint"].nunique().to_dict() == {"dapt": 2, "tapt": 2}
    of_dapt = measured[measured["checkpoint"] == "dapt_cs"]
    steps = of_dapt.groupby("held_out")["step"].agg(list).to_dict()
    assert steps == {"cs": [0, 1, 2, 3, 4, 5, 6], "general": [0, 1, 2, 3, 4, 5, 6]} and set(measured["replicate"]) == {
        0
    }
    # Its ends are what the losses of the base and of the finished encoder are, measured by themselves.
    whole = study.losses().set_index(["notebook", "encoder", "held_out"])["masked_lm_loss"]
    for text in ("cs", "general"):
        found = of_dapt[of_dapt["held_out"] == text]["masked_lm_loss"]
        assert found.iloc[0] == whole["02_dapt", "base", text] and found.iloc[-1] == whole["02_dapt", "dapt_cs", text]
    assert "course" not in study.pretraining()


def test_a_course_that_is_damaged_lets_its_training_begin_anew(with_tapt, tmp_path):
    with tiny.at(with_tapt):
        study = Study("tiny")
    target = SimpleNamespace(paths=study.paths, folder=tmp_path)
    checkpoint = Checkpoint((Phase("dapt", "cs"),))
    assert course.Course(study.profile, target, checkpoint, 6).known() == {}
    point = {"step": 0, "held_out": "cs", "masked_lm_loss": 3.5}
    files.write_json(tmp_path / course.FILE, {"points": [point], "sha256": files.fingerprint([point])})
    (tmp_path / "state.safetensors").touch()
    assert course.Course(study.profile, target, checkpoint, 6).known() == {"course": [point]}
    text = (tmp_path / course.FILE).read_text()
    for damaged in (text.replace("3.5", "3.6"), text[:20], "[]"):
        (tmp_path / "state.safetensors").touch()
        (tmp_path / course.FILE).write_text(damaged)
        course.Course(study.profile, target, checkpoint, 6)
        assert list(tmp_path.iterdir()) == []


def test_a_course_is_measured_on_a_bounded_part_of_the_text():
    ids = np.arange(3 * course.MOST_TOKENS + 7)
    store = course._spread(TokenStore(ids, np.array([0, len(ids)])), PhaseSettings(num_steps=1, sequence_length=128))
    assert len(store.ids) == course.MOST_TOKENS and store.ids[0] == 0 and store.ids[-1] == len(ids) - 8
    assert course.num_tokens(Checkpoint((Phase("dapt", "cs"),))) == 2 * 9 * course.MOST_TOKENS
    assert course.num_tokens(Checkpoint((Phase("dapt", "cs"),), 1)) == course.num_tokens(Checkpoint()) == 0
