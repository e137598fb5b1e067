"""Fingerprints: a setting changes exactly what depends on it, and what only changes speed changes none."""

import re
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest

import tiny
from dontstop import tokens
from dontstop.design import arms
from dontstop.design.arms import Arm, Checkpoint, Phase, Run
from dontstop.design.plan import Plan
from dontstop.errors import StudyError
from dontstop.machine import files, locks, processes
from dontstop.profiles import Encoder, Finetune, Forgetting, Paths, PhaseSettings, Profile, Speed, with_whole_paths
from dontstop.runs import adoption, augmentation, finetuning, identity, jobs, pretraining, scratch
from dontstop.runs.identity import Identity
from dontstop.runs.jobs import Jobs
from dontstop.runs.scratch import Scratch
from dontstop.studies import read_study
from dontstop.text.tasks import SPLITS

TASKS = [read_study("paper").task(name) for name in tiny.TASKS]
BASE, DAPT = Checkpoint(), Checkpoint((Phase("dapt", "cs"),))
CHECKPOINTS = {"base", "dapt"}
RUNS = {f"{task.name} {arm}" for task in TASKS for arm in ("base", "dapt", "not_dapt")}
LOSSES = {"loss base", "loss dapt"}
DAPT_RUNS = {name for name in RUNS if not name.endswith(" base")}
# Another value of each setting, where adding one or halving makes none.
OTHER = {
    "hidden_size": 24,
    "num_heads": 1,
    "name": None,
    "num_steps": 13,
    "num_epochs": 3,
    "pooling": "first",
    "schedule": "linear",
}
OTHER |= {"sequences_at_once": 2, "num_checks": 3}
PHASE_FIELDS = [name for name in PhaseSettings.model_fields if name not in ("num_epochs", "patience")]
SPEED = {"cluster": {"kind": "local"}, "num_workers": 3, "progress_seconds": 9.0, "steps_between_saves": 7}


@pytest.fixture
def manifests(root):
    """Write the manifests of prepared text, whose digests are their names."""
    entry = {"num_documents": 3, "num_tokens": 500}
    names = [f"{kind}/{name}" for kind in ("corpora", "held_out") for name in ("general", *tiny.DOMAINS)]
    names += [f"tasks/{task.name}/{split}" for task in TASKS for split in SPLITS]
    stores = {name: {**entry, "sha256": name} for name in names}
    splits = {t.name: {s: {"num_examples": 9, "sha256": f"{t.name} {s}"} for s in SPLITS} for t in TASKS}
    tasks = {name: {"labels": ["a", "b"], "splits": by_split} for name, by_split in splits.items()}
    paths = Paths("tiny", root)
    files.write_json(paths.data / "tokens" / "manifest.json", {"tokenizer": "digest", "stores": stores})
    files.write_json(paths.data / "manifest.json", {"tasks": tasks})
    return paths


def fingerprints(paths, **changes) -> dict[str, str]:
    """Return every fingerprint of a profile with some settings changed."""
    settings = {**tiny.SETTINGS, "name": "tiny"}
    for group, values in changes.items():
        settings[group] = {**settings.get(group, {}), **values} if isinstance(values, dict) else values
    found = Identity(with_whole_paths(Profile.model_validate(settings), paths.root), paths)
    prints = {"base": found.checkpoint(BASE), "dapt": found.checkpoint(DAPT)}
    some = [Run(task, arm, 0) for task in TASKS for arm in (arms.BASE, arms.DAPT, arms.NOT_DAPT)]
    prints |= {f"{run.task.name} {run.arm}": found.run(run) for run in some}
    return prints | {f"loss {c.name[:4]}": found.loss(c, "held_out/news") for c in (BASE, DAPT)}


def changed(paths, **changes) -> set[str]:
    """Return the names of the fingerprints that some changes of settings change."""
    before, after = fingerprints(paths), fingerprints(paths, **changes)
    return {name for name in before if before[name] != after[name]}


def other(group: str, field: str):
    """Return a value of a setting that is not the tiny profile's."""
    if field in OTHER:
        return OTHER[field]
    kind = {"base": PhaseSettings, "dapt": PhaseSettings, "finetune": Finetune, "encoder": Encoder}[group]
    value = tiny.SETTINGS[group].get(field, kind.model_fields[field].default)
    return value + 1 if isinstance(value, int) else value / 2


def test_equal_settings_have_equal_fingerprints_and_all_differ(manifests):
    found = fingerprints(manifests)
    assert found == fingerprints(manifests) and len(set(found.values())) == len(found)


@pytest.mark.parametrize("field", PHASE_FIELDS)
def test_settings_of_the_base_change_everything(manifests, field):
    assert changed(manifests, base={field: other("base", field)}) == CHECKPOINTS | RUNS | LOSSES


@pytest.mark.parametrize("field", [name for name in Encoder.model_fields if name != "name"])
def test_settings_of_the_encoder_change_everything(manifests, field):
    assert changed(manifests, encoder={field: other("encoder", field)}) == CHECKPOINTS | RUNS | LOSSES


@pytest.mark.parametrize("field", PHASE_FIELDS)
def test_settings_of_dapt_change_what_comes_of_it_and_how_losses_are_measured(manifests, field):
    measured = {"loss base"} if field in ("sequence_length", "mlm_probability", "seed") else set()
    assert changed(manifests, dapt={field: other("dapt", field)}) == {"dapt", *DAPT_RUNS, "loss dapt", *measured}


def test_the_patience_of_checks_makes_another_phase(manifests):
    with_checks = fingerprints(manifests, dapt={"num_checks": 3})
    patient = fingerprints(manifests, dapt={"num_checks": 3, "patience": 2})
    assert {name for name in patient if patient[name] != with_checks[name]} == {"dapt", *DAPT_RUNS, "loss dapt"}


def test_steps_or_epochs_make_another_phase(manifests):
    assert "dapt" in changed(manifests, dapt={"num_steps": None, "num_epochs": 2})


@pytest.mark.parametrize("field", list(Finetune.model_fields))
def test_settings_of_fine_tuning_change_the_runs(manifests, field):
    assert changed(manifests, finetune={field: other("finetune", field)}) == RUNS


@pytest.mark.parametrize("field", list(Finetune.model_fields))
def test_settings_of_one_task_change_its_runs_only(manifests, field):
    name = TASKS[0].name
    assert changed(manifests, task_finetune={name: {field: other("finetune", field)}}) == {
        run for run in RUNS if run.startswith(name)
    }


@pytest.mark.parametrize("field", list(Speed.model_fields))
def test_settings_of_speed_change_nothing(manifests, field):
    assert changed(manifests, speed={field: SPEED[field]}) == set()


@pytest.mark.parametrize(
    ("device", "asked", "num_cores", "found"),
    [("cpu", None, 16, 16), ("cpu", 3, 16, 3), ("cuda", None, 16, 4), ("cuda", None, 2, 2), ("cuda", 9, 16, 9)],
)
def test_few_processes_share_a_gpu(monkeypatch, device, asked, num_cores, found):
    monkeypatch.setattr(jobs.devices, "resolve_device", lambda _: device)
    monkeypatch.setattr(jobs, "num_cores", lambda: num_cores)
    profile = Profile.model_validate({**tiny.SETTINGS, "name": "tiny", "speed": {"num_workers": asked}})
    assert jobs.num_processes(profile) == found


@pytest.mark.parametrize(("device", "asked", "alone"), [("cpu", None, False), ("cuda", None, True), ("cuda", 9, False)])
def test_one_pretraining_has_a_gpu_to_itself_unless_the_profile_says_how_many_share_it(device, asked, alone):
    profile = Profile.model_validate({**tiny.SETTINGS, "name": "tiny", "speed": {"num_workers": asked}})
    some = Jobs(profile, None, SimpleNamespace(device=device), None)
    assert some._fills_the_gpu() is alone


def test_settings_of_measures_and_seeds_change_nothing_that_is_there(manifests):
    assert changed(manifests, domain_gap={"num_words": 7}, seeds=[0, 1, 2], tapt={"num_epochs": 9}) == set()
    assert changed(
        manifests, replicates=3, labels={"primary": 5, "curve": [9]}, forgetting={"arms": ["replay_dapt"]}
    ) == (set())


def test_precision_changes_everything(manifests):
    assert changed(manifests, precision="bf16") == CHECKPOINTS | RUNS | LOSSES


@pytest.mark.parametrize(
    ("place", "dependent"),
    [
        (("tokenizer",), CHECKPOINTS | RUNS | LOSSES),
        (("stores", "corpora/general", "sha256"), CHECKPOINTS | RUNS | LOSSES),
        (
            ("stores", "corpora/cs", "sha256"),
            {"dapt", "citation_intent dapt", "hyperpartisan_news not_dapt", "loss dapt"},
        ),
        (("stores", "held_out/news", "sha256"), {"citation_intent not_dapt", "hyperpartisan_news dapt", *LOSSES}),
    ],
)
def test_another_text_changes_what_was_made_of_it(manifests, place, dependent):
    before = fingerprints(manifests)
    path = manifests.data / "tokens" / "manifest.json"
    manifest = entry = files.read_json(path)
    for name in place[:-1]:
        entry = entry[name]
    entry[place[-1]] = "another digest"
    files.write_json(path, manifest)
    after = fingerprints(manifests)
    assert {name for name in before if before[name] != after[name]} == dependent


@pytest.mark.parametrize("split", SPLITS)
def test_another_split_changes_its_tasks_runs(manifests, split):
    before = fingerprints(manifests)
    path = manifests.data / "manifest.json"
    manifest = files.read_json(path)
    manifest["tasks"]["citation_intent"]["splits"][split]["sha256"] = "another digest"
    files.write_json(path, manifest)
    after = fingerprints(manifests)
    assert {n for n in before if before[n] != after[n]} == {n for n in RUNS if n.startswith("citation_intent")}


def test_other_weights_in_the_named_folder_change_everything(manifests, tmp_path):
    (tmp_path / "mine").mkdir()
    weights = tmp_path / "mine" / "model.safetensors"
    weights.write_bytes(b"some")
    before = fingerprints(manifests, encoder={"name": str(weights.parent)})
    weights.write_bytes(b"others")
    after = fingerprints(manifests, encoder={"name": str(weights.parent)})
    assert not set(before.values()) & set(after.values())


def test_arms_that_share_a_checkpoint_share_the_run(manifests):
    again = Arm("dapt_again", arms.DAPT.phases)
    found = Identity(Profile.model_validate({**tiny.SETTINGS, "name": "tiny"}), manifests)
    assert found.run(Run(TASKS[0], again, 0)) == found.run(Run(TASKS[0], arms.DAPT, 0))
    assert found.run(Run(TASKS[0], arms.DAPT, 1)) != found.run(Run(TASKS[0], arms.DAPT, 0))


def found_by(paths, **changes) -> Identity:
    return Identity(Profile.model_validate({**tiny.SETTINGS, "name": "tiny", **changes}), paths)


def test_replicates_share_nothing_that_is_trained_and_each_is_the_same_whatever_their_number(manifests):
    alone, together = found_by(manifests), found_by(manifests, replicates=3)
    every = [
        alone.checkpoint(arm.checkpoint(TASKS[0], r)) for r in range(3) for arm in (arms.BASE, arms.DAPT, arms.TAPT)
    ]
    every += [alone.run(Run(TASKS[0], arm, 0, r)) for r in range(3) for arm in (arms.BASE, arms.DAPT)]
    every += [alone.loss(Checkpoint((), r), "held_out/news") for r in range(3)]
    assert len(set(every)) == len(every)
    assert together.run(Run(TASKS[0], arms.DAPT, 0)) == alone.run(Run(TASKS[0], arms.DAPT, 0))


def test_other_labelled_texts_make_another_run(manifests):
    found = found_by(manifests)
    runs = [Run(TASKS[0], arms.BASE, 0, 0, number) for number in (None, 4, 8)]
    assert len({found.run(run) for run in runs}) == 3


def test_arms_against_forgetting_are_told_by_what_they_read_and_average(manifests):
    replay, average = (arm.checkpoint(TASKS[0]) for arm in (arms.REPLAY_DAPT, arms.AVERAGE_DAPT))
    before, after = found_by(manifests), found_by(manifests, forgetting={"replayed_share": 0.5})
    assert before.checkpoint(replay) != after.checkpoint(replay)
    assert before.checkpoint(average) == after.checkpoint(average) != before.checkpoint(average.parent)
    other_base = found_by(manifests, base=None, encoder={"name": "another"})
    assert other_base.checkpoint(average) != before.checkpoint(average)
    job = made(manifests).checkpoint(average)
    assert job.needs == {made(manifests).checkpoint(DAPT).key, made(manifests).checkpoint(BASE).key}


def test_too_small_a_share_to_be_replayed_is_told(manifests):
    profile = Profile.model_validate({**tiny.SETTINGS, "name": "tiny"})  # a tenth of 4 sequences
    for name in ("cs", "general"):
        tokens.write_token_store(["a few words of it"] * 9, a_tokenizer(manifests), manifests.store(f"corpora/{name}"))
    with pytest.raises(StudyError, match="replayed_share = 0.1 of batch_size = 4"):
        pretraining.batches_of(profile, manifests, arms.REPLAY_DAPT.checkpoint(TASKS[0]))
    enough = profile.model_copy(update={"forgetting": Forgetting(replayed_share=0.6)})
    found = pretraining.batches_of(enough, manifests, arms.REPLAY_DAPT.checkpoint(TASKS[0]))
    assert found.num_replayed == 2 and found.replayed is not None
    assert pretraining.batches_of(enough, manifests, DAPT).num_replayed == 0


def a_tokenizer(paths):
    if not paths.tokenizer().is_dir():
        tokens.train_tokenizer(["a few words of it"] * 9, 263, paths.tokenizer())
    return tokens.load_tokenizer(paths.tokenizer())


@pytest.mark.parametrize("num_classes", [2, 5])
def test_labelled_texts_are_nested_cover_every_class_and_are_drawn_anew_in_each_replicate(num_classes):
    labels = np.repeat(np.arange(num_classes), [96, *[1] * (num_classes - 1)])
    sets = {r: [finetuning.labelled(labels, num, "a task", r) for num in (num_classes, 20, 50, 500)] for r in range(3)}
    for few, some, more, all_texts in sets.values():
        assert [len(few), len(some), len(more)] == [num_classes, 20, 50] and len(set(more)) == 50
        assert set(few) < set(some) < set(more) < set(all_texts) == set(range(len(labels)))
        assert set(labels[few]) == set(range(num_classes))
    assert len({tuple(sorted(by_number[1])) for by_number in sets.values()}) == 3
    assert sets[0][1].tolist() == finetuning.labelled(labels, 20, "a task", 0).tolist()
    assert sets[0][1].tolist() != finetuning.labelled(labels, 20, "another", 0).tolist()


def test_classes_are_labelled_as_often_as_they_occur():
    """Of 1,000 texts a fifth are of class 1: of 200 labelled ones 40, with a standard deviation of 5."""
    labels = (np.arange(1000) % 5 == 0).astype(int)
    shares = [labels[finetuning.labelled(labels, 200, "a task", replicate)].sum() for replicate in range(20)]
    assert np.mean(shares) == pytest.approx(40, abs=4)


def test_anothers_tapt_is_not_taken_where_a_task_has_few_of_its_examples(root):
    whole, few = (
        with_whole_paths(
            Profile.model_validate({**tiny.SETTINGS, "name": "tiny", "released": "theirs", "text": text}), root
        )
        for text in (tiny.SETTINGS["text"], {**tiny.SETTINGS["text"], "low_resource": {"citation_intent": 9}})
    )
    tapt = Checkpoint((Phase("tapt", "citation_intent"),))
    both = Checkpoint((*DAPT.phases, *tapt.phases))
    for checkpoint in (DAPT, tapt, both):
        (root / "theirs" / checkpoint.name).mkdir(parents=True)
        assert identity.released_folder(whole, checkpoint).name == checkpoint.name
    assert identity.released_folder(few, DAPT) is not None
    assert identity.released_folder(few, tapt) is None and identity.released_folder(few, both) is None


def test_the_mask_token_of_a_given_tokenizer_is_part_of_every_fingerprint(manifests):
    """It may change in the tokenizer's settings alone, where `tokenizer.json` stays as it is."""
    told, given = manifests.tokenizer() / "tokenizer_config.json", {"tokens": {"tokenizer": "somewhere"}}
    files.write_json(told, {"mask_token": "<mask>", "is_local": True})
    before = fingerprints(manifests, **given)
    files.write_json(told, {"mask_token": "<mask>", "is_local": False})
    assert fingerprints(manifests, **given) == before
    files.write_json(told, {"mask_token": "<other>"})
    assert not set(before.values()) & set(fingerprints(manifests, **given).values())
    own = fingerprints(manifests)
    told.unlink()
    assert fingerprints(manifests) == own


def made(paths, accept_others: bool = False, **changes) -> Jobs:
    profile = Profile.model_validate({**tiny.SETTINGS, "name": "tiny", **changes})
    found = Identity(profile, paths)
    return Jobs(profile, paths, found, Scratch(paths, found.capability, accept_others))


def test_a_job_waits_for_its_encoder(manifests):
    some = made(manifests)
    base, dapt = some.checkpoint(BASE), some.checkpoint(DAPT)
    assert not base.needs and dapt.needs == {base.key}
    assert base.size == pytest.approx(12 * 4 * 16 + 2 * 500 / 3)  # its held-out text is read before and after
    run = some.run(Run(TASKS[0], arms.DAPT, 0))
    assert run.needs == {dapt.key} and run.size > 0
    assert some.loss(BASE, "held_out/cs").needs == {base.key}


def test_text_not_prepared_is_told(root):
    with pytest.raises(StudyError, match="dontstop prepare"):
        Identity(Profile(name="tiny"), Paths("tiny", root))


def test_a_damaged_result_is_told(tmp_path):
    (tmp_path / "result.json").write_text('{"task": ')
    with pytest.raises(StudyError, match="delete .*result.json"):
        files.read_json(tmp_path / "result.json")


@pytest.mark.parametrize(("num_steps", "num_points"), [(6, 6), (250, 50)])
def test_a_curve_is_thinned_out_to_means(num_steps, num_points):
    losses = np.arange(float(num_steps))
    settings = PhaseSettings(num_steps=num_steps, batch_size=2, sequence_length=8, learning_rate=1.0)
    rows = pretraining.curve_rows(losses, settings, num_steps)
    assert len(rows) == num_points and rows[-1]["step"] == num_steps
    assert rows[-1]["num_tokens"] == num_steps * 16
    assert rows[0]["masked_lm_loss"] == losses[: rows[0]["step"]].mean()


def test_the_curve_of_a_training_that_ended_early_has_the_rates_of_its_schedule():
    settings = PhaseSettings(num_steps=100, batch_size=2, sequence_length=8, learning_rate=1.0, warmup_fraction=0.1)
    rows = pretraining.curve_rows(np.zeros(56), settings, 100)
    assert rows[-1]["step"] == 56 and rows[-1]["learning_rate"] == 0.5  # of the 56th step, with index 55


# What a result is identified by -----------------------------------------------------------------------------------


def test_a_profile_without_a_named_encoder_is_not_told_by_what_lies_in_the_working_directory(
    manifests, tmp_path, monkeypatch
):
    before = fingerprints(manifests)
    (tmp_path / "model.safetensors").write_bytes(b"not ours")
    monkeypatch.chdir(tmp_path)
    assert fingerprints(manifests) == before


@pytest.mark.parametrize("name", ["model-00002-of-00002.safetensors", "config.json", "tokenizer.json", "vocab.txt"])
@pytest.mark.parametrize("linked", [False, True])
def test_every_file_of_a_named_encoder_counts(manifests, tmp_path, name, linked):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for file in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json", name):
        (theirs / file).write_text("as it was")
    mine = tmp_path / "mine"
    mine.symlink_to(theirs) if linked else theirs.rename(mine)
    before = fingerprints(manifests, encoder={"name": str(mine)})
    (mine / name).write_text("replaced")
    after = fingerprints(manifests, encoder={"name": str(mine)})
    assert not set(before.values()) & set(after.values())
    (mine / name).write_text("as it was")
    (mine / "README.md").write_text("no part of the arithmetic")
    assert fingerprints(manifests, encoder={"name": str(mine)}) == before


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_every_file_of_a_released_encoder_counts(manifests, name):
    folder = manifests.root / "theirs" / "dapt_cs"
    folder.mkdir(parents=True)
    (folder / name).write_text("as it was")
    before = fingerprints(manifests, released="theirs")
    (folder / name).write_text("replaced")
    after = fingerprints(manifests, released="theirs")
    found = {name for name in before if before[name] != after[name]}
    assert found == {"dapt", "citation_intent dapt", "hyperpartisan_news not_dapt", "loss dapt"}


def test_a_copied_encoder_under_another_path_is_the_same(manifests, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    found = [fingerprints(manifests, encoder={"name": str(tmp_path / name)}) for name in ("one", "other")]
    assert found[0] == found[1] and found[0] != fingerprints(manifests)


@pytest.mark.parametrize("library", identity.LIBRARIES)
def test_another_version_of_a_library_changes_everything(manifests, monkeypatch, library):
    before, version = fingerprints(manifests), identity.importlib.metadata.version

    def changed_version(name):
        return "0.0" if name == library else version(name)

    monkeypatch.setattr(identity.importlib.metadata, "version", changed_version)
    assert not set(before.values()) & set(fingerprints(manifests).values())


@pytest.fixture
def package(project, tmp_path):
    """Copy the package, to change its code."""
    shutil.copytree(project / "src" / "dontstop", tmp_path / "dontstop", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "dontstop"


ENTRIES = (("runs/pretraining.py",), ("runs/finetuning.py",), augmentation.DECIDED_BY)


def code(package) -> list[str]:
    identity.code_digest.cache_clear()
    return [identity.code_digest(*entries, package=package) for entries in ENTRIES]


@pytest.mark.parametrize(
    ("place", "counts"),
    [
        ("training/mlm.py", [True, False, False]),
        ("training/masking.py", [True, False, False]),
        ("training/finetune.py", [False, True, False]),
        ("training/encoders.py", [True, True, True]),
        ("machine/randomness.py", [True, True, True]),
        ("selection/vampire.py", [False, False, True]),
        ("text/leakage.py", [False, False, True]),
        ("text/words.py", [False, False, True]),
        ("runs/pretraining.py", [True, False, False]),
        ("report/tables.py", [False, False, False]),
        ("verdicts/claims.py", [False, False, False]),
        ("study.py", [False, False, False]),
        ("cli.py", [False, False, False]),
        ("machine/runner.py", [False, False, False]),
        ("runs/pipeline.py", [False, False, False]),
    ],
)
def test_a_result_is_told_by_the_code_that_makes_it_and_no_other(package, place, counts):
    before = code(package)
    with open(package / place, "a") as handle:
        handle.write("\n\nANOTHER = 1\n")
    assert [a != b for a, b in zip(before, code(package), strict=True)] == counts


def test_an_edit_that_was_shown_to_change_no_result_counts_as_none(package):
    files.write_json(package / identity.EQUAL_CODE, {})
    before = code(package)
    with open(package / "training/mlm.py", "a") as handle:
        handle.write("\n\nANOTHER = 1\n")
    after = code(package)
    files.write_json(package / identity.EQUAL_CODE, {after[0]: {"equals": before[0], "shown_by": "one run of each"}})
    assert code(package) == before != after


def test_comments_docstrings_and_layout_are_no_code(package):
    before, path = code(package), package / "training" / "optimizers.py"
    text = path.read_text()
    other = re.sub(r'^( *""")(?=\w)', r"\1Another word. ", text, flags=re.MULTILINE)
    path.write_text("# A comment.\n" + other.replace("\n\n\n", "\n\n"))
    assert path.read_text() != text and code(package) == before


def test_the_machine_is_named_as_its_arithmetic_sees_it(monkeypatch):
    monkeypatch.setattr(identity.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(identity.torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    known = {"cpu_name": "AMD EPYC", "amx_bf16": False}
    monkeypatch.setattr(identity.devices, "processor_capabilities", lambda: known)
    assert identity.capability("cpu", "fp32") == "x86_64 AMD AVX512 float32"
    assert identity.capability("cpu", "bf16") == "x86_64 AMD AVX512 bfloat16"
    known |= {"cpu_name": "Intel Xeon", "amx_bf16": True}
    assert identity.capability("cpu", "bf16") == "x86_64 Intel AVX512 AMX bfloat16"
    assert identity.capability("cpu", "fp32") == "x86_64 Intel AVX512 float32"


def finished(paths, some: Jobs, capability: str) -> str:
    """Write down that a machine has trained the base encoder, and return its key."""
    key = scratch.key_of(some.identity.checkpoint(BASE), capability)
    files.write_json(scratch.folder(paths, key) / scratch.TRAINING_FILE, {"capability": capability})
    return key


def test_results_of_another_machine_are_found_where_they_are_accepted_only(manifests):
    some, accepting = made(manifests), made(manifests, accept_others=True)
    fingerprint, own = some.identity.checkpoint(BASE), some.identity.capability
    other = finished(manifests, some, "arm64 float32")
    assert some.scratch.trained(fingerprint) is None and accepting.scratch.trained(fingerprint) == other
    assert some.scratch.others(fingerprint) == [other]
    assert some.checkpoint(BASE).key == scratch.key_of(fingerprint, own) != other
    mine = finished(manifests, some, own)
    assert some.scratch.trained(fingerprint) == accepting.scratch.trained(fingerprint) == mine


def test_results_by_other_versions_of_the_libraries_are_found_where_they_are_accepted_only(manifests):
    """As on Python 3.12, whose pinned numpy is not that of 3.11: with those of the results' own file of versions."""
    others = {**identity.installed_versions(), "numpy": "0.1"}
    identity.note_versions(manifests.results, [identity.installed_versions(), others])
    made_with = Identity(made(manifests).profile, manifests, others)
    key = scratch.key_of(made_with.checkpoint(DAPT), made_with.capability)
    files.write_json(scratch.folder(manifests, key) / scratch.TRAINING_FILE, {"capability": made_with.capability})
    some, run = made(manifests).identity, Run(TASKS[0], arms.DAPT, 0)
    found = {accept: Scratch(manifests, some.capability, accept, some.alike) for accept in (False, True)}
    assert some.checkpoint(DAPT) != made_with.checkpoint(DAPT) and some.alike(some.run(run)) == [made_with.run(run)]
    assert found[True].trained(some.checkpoint(DAPT)) == key and found[False].trained(some.checkpoint(DAPT)) is None
    assert found[False].others(some.checkpoint(DAPT)) == [key]  # which the message of what is missing names


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b"0.1", b"[", b"\xff"])
def test_damaged_notes_of_versions_are_as_good_as_none_and_told(tmp_path, damage):
    own, others = identity.installed_versions(), {**identity.installed_versions(), "numpy": "0.1"}
    identity.note_versions(tmp_path, [own, others])
    assert identity.known_versions(tmp_path) == [own, others] and identity.versions_damage(tmp_path) is None
    path = tmp_path / identity.LIBRARIES_FILE
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"0.1"', b'"0.2"'))
    assert identity.known_versions(tmp_path) == [own] and identity.versions_damage(tmp_path) == f"{path} is damaged"
    path.write_bytes(damage)
    assert identity.known_versions(tmp_path) == [] and identity.versions_damage(tmp_path) == f"{path} is damaged"
    path.unlink()
    assert identity.known_versions(tmp_path) == [] and identity.versions_damage(tmp_path) is None


def test_a_run_tells_that_the_note_of_versions_is_damaged(manifests, capsys):
    files.write_json(manifests.results / identity.LIBRARIES_FILE, [{}])
    adoption.adopt(made(manifests), Plan(()))
    told = capsys.readouterr().out
    assert told == f"{manifests.results / identity.LIBRARIES_FILE} is damaged: {identity.RESTORE_VERSIONS}\n"


def test_what_this_machine_makes_of_anothers_checkpoint_says_so(manifests):
    accepting = made(manifests, accept_others=True)
    own, other = accepting.identity.capability, "arm64 float32"
    key = finished(manifests, accepting, other)
    dapt = accepting.checkpoint(DAPT)
    assert dapt.needs == {key} and dapt.arguments[5].capability == f"{own} after {other}"
    run = accepting.run(Run(TASKS[0], arms.DAPT, 0))
    assert run.needs == {dapt.key} and run.arguments[5].capability == f"{own} after {other}"
    assert made(manifests).checkpoint(DAPT).arguments[5].capability == own


def wait_and_write(last, seconds, log):
    """Take a while over a result that must be written once."""
    with open(log, "a") as handle:
        handle.write("begun\n")
    time.sleep(seconds)
    last.write_text("done")


def test_two_processes_make_a_shared_result_once(root, tmp_path):
    paths, log = Paths("tiny", root), tmp_path / "log"
    key = scratch.key_of("0123456789", "x86_64 float32")
    last = scratch.folder(paths, key) / "last"
    last.parent.mkdir(parents=True)
    (last.parent / ".left.0a1b.part").touch()
    arguments = (paths, key, last, wait_and_write, last, 0.5, log)
    both = [processes.CONTEXT.Process(target=scratch.once, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert log.read_text() == "begun\n" and last.read_text() == "done"
    assert list(last.parent.glob(".*.part")) == []


def test_what_another_process_is_writing_is_not_swept_up(root):
    paths, key = Paths("tiny", root), scratch.key_of("0123456789", "x86_64 float32")
    part = scratch.folder(paths, key) / ".encoder.0a1b.part"
    part.mkdir(parents=True)
    with locks.locked(paths.work / "locks" / f"{key}.lock"):
        scratch.sweep(paths, [key])
        assert part.is_dir()
    scratch.sweep(paths, [key])
    assert not part.exists()
