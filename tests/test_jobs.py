"""Fingerprints: a setting changes exactly what depends on it, and what only changes speed changes none."""

import numpy as np
import pytest

import tiny
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Encoder, Finetune, Paths, Phase, Profile, Speed
from dontstop.runs import jobs
from dontstop.runs.arms import ARMS, Cell, Checkpoint
from dontstop.text.tasks import get_task

TASKS = [get_task(name) for name in tiny.TASKS]
BASE, DAPT = Checkpoint(), Checkpoint((("dapt", "cs"),))
CHECKPOINTS = {"base", "dapt"}
CELLS = {f"{task.name} {arm}" for task in TASKS for arm in ("base", "dapt", "not_dapt")}
LOSSES = {"loss base", "loss dapt"}
DAPT_CELLS = {name for name in CELLS if not name.endswith(" base")}
# Another value of each setting, where adding one or halving makes none.
OTHER = {"name": None, "num_steps": 13, "num_epochs": 3, "pooling": "first", "schedule": "linear"}
OTHER |= {"sequences_at_once": 2}
SPEED = {"cluster": {"kind": "local"}, "num_workers": 3, "progress_seconds": 9.0, "steps_between_saves": 7}


@pytest.fixture
def manifests(root):
    """Write the manifests of prepared text, whose digests are their names."""
    entry = {"num_documents": 3, "num_tokens": 500}
    names = [f"{kind}/{name}" for kind in ("corpora", "held_out") for name in ("general", *tiny.DOMAINS)]
    names += [f"tasks/{task.name}/{split}" for task in TASKS for split in jobs.SPLITS]
    stores = {name: {**entry, "sha256": name} for name in names}
    splits = {t.name: {s: {"num_examples": 9, "sha256": f"{t.name} {s}"} for s in jobs.SPLITS} for t in TASKS}
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
    identity = Identity(Profile.model_validate(settings), paths)
    found = {"base": identity.checkpoint(BASE), "dapt": identity.checkpoint(DAPT)}
    found |= {f"{t.name} {arm}": identity.cell(Cell(t, arm, 0)) for t in TASKS for arm in ("base", "dapt", "not_dapt")}
    return found | {f"loss {c.name[:4]}": identity.loss(c, "held_out/news") for c in (BASE, DAPT)}


def changed(paths, **changes) -> set[str]:
    """Return the names of the fingerprints that some changes of settings change."""
    before, after = fingerprints(paths), fingerprints(paths, **changes)
    return {name for name in before if before[name] != after[name]}


def other(group: str, field: str):
    """Return a value of a setting that is not the tiny profile's."""
    if field in OTHER:
        return OTHER[field]
    kind = {"base": Phase, "dapt": Phase, "finetune": Finetune, "encoder": Encoder}[group]
    value = tiny.SETTINGS[group].get(field, kind.model_fields[field].default)
    return value + 1 if isinstance(value, int) else value / 2


def test_equal_settings_have_equal_fingerprints_and_all_differ(manifests):
    found = fingerprints(manifests)
    assert found == fingerprints(manifests) and len(set(found.values())) == len(found)


@pytest.mark.parametrize("field", [name for name in Phase.model_fields if name != "num_epochs"])
def test_settings_of_the_base_change_everything(manifests, field):
    assert changed(manifests, base={field: other("base", field)}) == CHECKPOINTS | CELLS | LOSSES


@pytest.mark.parametrize("field", [name for name in Encoder.model_fields if name != "name"])
def test_settings_of_the_encoder_change_everything(manifests, field):
    assert changed(manifests, encoder={field: other("encoder", field)}) == CHECKPOINTS | CELLS | LOSSES


@pytest.mark.parametrize("field", [name for name in Phase.model_fields if name != "num_epochs"])
def test_settings_of_dapt_change_what_comes_of_it_and_how_losses_are_measured(manifests, field):
    measured = {"loss base"} if field in ("sequence_length", "mlm_probability", "seed") else set()
    assert changed(manifests, dapt={field: other("dapt", field)}) == {"dapt", *DAPT_CELLS, "loss dapt", *measured}


def test_steps_or_epochs_make_another_phase(manifests):
    assert "dapt" in changed(manifests, dapt={"num_steps": None, "num_epochs": 2})


@pytest.mark.parametrize("field", list(Finetune.model_fields))
def test_settings_of_fine_tuning_change_the_cells(manifests, field):
    assert changed(manifests, finetune={field: other("finetune", field)}) == CELLS


@pytest.mark.parametrize("field", list(Finetune.model_fields))
def test_settings_of_one_task_change_its_cells_only(manifests, field):
    name = TASKS[0].name
    assert changed(manifests, task_finetune={name: {field: other("finetune", field)}}) == {
        cell for cell in CELLS if cell.startswith(name)
    }


@pytest.mark.parametrize("field", list(Speed.model_fields))
def test_settings_of_speed_change_nothing(manifests, field):
    assert changed(manifests, speed={field: SPEED[field]}) == set()


@pytest.mark.parametrize(
    ("device", "asked", "num_cores", "found"),
    [("cpu", None, 16, None), ("cpu", 3, 16, 3), ("cuda", None, 16, 4), ("cuda", None, 2, 2), ("cuda", 9, 16, 9)],
)
def test_few_processes_share_a_gpu(monkeypatch, device, asked, num_cores, found):
    monkeypatch.setattr(jobs.encoders, "resolve_device", lambda _: device)
    monkeypatch.setattr(jobs, "num_cores", lambda: num_cores)
    profile = Profile.model_validate({**tiny.SETTINGS, "name": "tiny", "speed": {"num_workers": asked}})
    assert jobs.num_processes(profile) == found


def test_settings_of_measures_and_seeds_change_nothing_that_is_there(manifests):
    assert changed(manifests, domain_gap={"num_words": 7}, seeds=[0, 1, 2], tapt={"num_epochs": 9}) == set()


def test_precision_changes_everything(manifests):
    assert changed(manifests, precision="bf16") == CHECKPOINTS | CELLS | LOSSES


@pytest.mark.parametrize(
    ("place", "dependent"),
    [
        (("tokenizer",), CHECKPOINTS | CELLS | LOSSES),
        (("stores", "corpora/general", "sha256"), CHECKPOINTS | CELLS | LOSSES),
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


@pytest.mark.parametrize("split", jobs.SPLITS)
def test_another_split_changes_its_tasks_cells(manifests, split):
    before = fingerprints(manifests)
    path = manifests.data / "manifest.json"
    manifest = files.read_json(path)
    manifest["tasks"]["citation_intent"]["splits"][split]["sha256"] = "another digest"
    files.write_json(path, manifest)
    after = fingerprints(manifests)
    assert {n for n in before if before[n] != after[n]} == {n for n in CELLS if n.startswith("citation_intent")}


def test_other_weights_in_the_named_folder_change_everything(manifests, tmp_path):
    (tmp_path / "mine").mkdir()
    weights = tmp_path / "mine" / "model.safetensors"
    weights.write_bytes(b"some")
    before = fingerprints(manifests, encoder={"name": str(weights.parent)})
    weights.write_bytes(b"others")
    after = fingerprints(manifests, encoder={"name": str(weights.parent)})
    assert not set(before.values()) & set(after.values())


def test_arms_that_share_a_checkpoint_share_the_cell(manifests, monkeypatch):
    monkeypatch.setitem(ARMS, "dapt_again", (("dapt", "domain"),))
    identity = Identity(Profile.model_validate({**tiny.SETTINGS, "name": "tiny"}), manifests)
    assert identity.cell(Cell(TASKS[0], "dapt_again", 0)) == identity.cell(Cell(TASKS[0], "dapt", 0))
    assert identity.cell(Cell(TASKS[0], "dapt", 1)) != identity.cell(Cell(TASKS[0], "dapt", 0))


def test_anothers_tapt_is_not_taken_where_a_task_has_few_of_its_examples(root):
    whole, few = (
        Profile.model_validate({**tiny.SETTINGS, "name": "tiny", "released": "theirs", "text": text})
        for text in (tiny.SETTINGS["text"], {**tiny.SETTINGS["text"], "low_resource": {"citation_intent": 9}})
    )
    paths = Paths("tiny", root)
    tapt, both = Checkpoint((("tapt", "citation_intent"),)), Checkpoint((("dapt", "cs"), ("tapt", "citation_intent")))
    for checkpoint in (DAPT, tapt, both):
        (root / "theirs" / checkpoint.name).mkdir(parents=True)
        assert jobs.released_folder(whole, paths, checkpoint).name == checkpoint.name
    assert jobs.released_folder(few, paths, DAPT) is not None
    assert jobs.released_folder(few, paths, tapt) is None and jobs.released_folder(few, paths, both) is None


def test_a_job_waits_for_its_encoder(manifests):
    profile = Profile.model_validate({**tiny.SETTINGS, "name": "tiny"})
    identity = Identity(profile, manifests)
    arguments = (profile, manifests, identity)
    base, dapt = jobs.checkpoint_job(*arguments, BASE), jobs.checkpoint_job(*arguments, DAPT)
    assert not base.needs and dapt.needs == {base.key} and base.size == 12 * 4 * 16
    cell = jobs.cell_job(*arguments, Cell(TASKS[0], "dapt", 0))
    assert cell.needs == {dapt.key} and cell.size > 0
    assert jobs.loss_job(*arguments, BASE, "held_out/cs").needs == {base.key}


def test_text_not_prepared_is_told(root):
    with pytest.raises(StudyError, match="dontstop prepare"):
        Identity(Profile(name="tiny"), Paths("tiny", root))


def test_a_damaged_result_is_told(tmp_path):
    (tmp_path / "result.json").write_text('{"task": ')
    with pytest.raises(StudyError, match="delete .*result.json"):
        jobs.load_result(tmp_path / "result.json")


@pytest.mark.parametrize(("num_steps", "num_points"), [(6, 6), (250, 100)])
def test_a_curve_is_thinned_out_to_means(num_steps, num_points):
    losses = np.arange(float(num_steps))
    rows = jobs.curve_rows(losses, Phase(num_steps=num_steps, batch_size=2, sequence_length=8, learning_rate=1.0))
    assert len(rows) == num_points and rows[-1]["step"] == num_steps
    assert rows[-1]["num_tokens"] == num_steps * 16
    assert rows[0]["masked_lm_loss"] == losses[: rows[0]["step"]].mean()
