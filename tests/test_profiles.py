"""Every profile loads, and every mistake in one is told with its path and a remedy."""

import pytest
import yaml
from pydantic import ValidationError

from conftest import PROJECT
from dontstop.errors import StudyError
from dontstop.profiles import Paths, PhaseSettings, Profile, find_root, load_profile, profile_names, with_replicates


def mistake(root, content) -> StudyError:
    """Write `content` as a profile, load it, and return the error that this must raise."""
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (root / "configs" / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        load_profile("mine", root)
    assert "mine.yaml" in caught.value.found and caught.value.expected and caught.value.remedy
    return caught.value


def test_the_profiles_of_the_study_are_there():
    assert {"laptop", "smoke"} <= set(profile_names(PROJECT))


@pytest.mark.parametrize("name", profile_names(PROJECT))
def test_every_profile_loads_under_its_own_name(name):
    assert load_profile(name, PROJECT).name == name


def test_an_empty_profile_is_the_paper_s_settings(root):
    (root / "configs" / "mine.yaml").write_text("")
    profile = load_profile("mine", root)
    # Tables 13 and 14.
    assert (profile.dapt.num_steps, profile.dapt.batch_size, profile.dapt.learning_rate) == (12_500, 2048, 5e-4)
    assert (profile.tapt.num_epochs, profile.tapt.batch_size, profile.tapt.learning_rate) == (100, 256, 1e-4)
    assert (profile.dapt.adam_beta1, profile.dapt.adam_beta2, profile.dapt.weight_decay) == (0.9, 0.98, 0.01)
    assert (profile.finetune.learning_rate, profile.finetune.batch_size, profile.finetune.patience) == (2e-5, 16, 3)
    assert profile.seeds == [0, 1, 2, 3, 4]
    # Once, on all labels, to the end of pretraining, and with nothing against forgetting.
    assert (profile.replicates, profile.labels.primary, profile.labels.curve) == (1, None, [])
    assert profile.tapt.num_checks is None and profile.finetune.head_rate_factor == 1 and profile.forgetting.arms == []


@pytest.mark.parametrize(
    ("content", "path", "remedy"),
    [
        ({"sedes": [1]}, "sedes", "seeds"),
        ({"finetune": {"batch_sise": 8}}, "finetune.batch_sise", "batch_size"),
        ({"base": {"num_steps": 3, "warmup": 0.1}}, "base.warmup", "warmup_fraction"),
        ({"tokens": {"zzz": 1}}, "tokens.zzz", "vocabulary_size"),
    ],
)
def test_an_unknown_setting_is_named_with_the_one_meant(root, content, path, remedy):
    error = mistake(root, content)
    assert f"unknown setting {path} " in error.found
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"seeds": "many"}, "seeds"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, True]}, "seeds.1"),
        ({"seeds": [-1]}, "seeds.0"),
        ({"finetune": {"num_epochs": 2.5}}, "finetune.num_epochs"),
        ({"finetune": {"dropout": 1.5}}, "finetune.dropout"),
        ({"finetune": {"pooling": "max"}}, "finetune.pooling"),
        ({"text": {"num_train": 0}}, "text.num_train"),
        ({"tokens": {"vocabulary_size": 10**12}}, "tokens.vocabulary_size"),
        ({"text": []}, "text"),
        ({"precision": "fp8"}, "precision"),
    ],
)
def test_a_wrong_type_or_value_is_named_by_its_path(root, content, path):
    assert mistake(root, content).found.startswith(f"{path} = ")


@pytest.mark.parametrize(
    ("text", "value"),
    [("finetune: {learning_rate: 5e-4}", "5e-4"), ("finetune: {num_epochs: '3'}", "3")],
)
def test_a_number_that_yaml_reads_as_text_is_explained(root, text, value):
    error = mistake(root, text)
    assert f"= {value!r}" in error.found
    assert "write a number" in error.remedy and "5.0e-4" in error.remedy


@pytest.mark.parametrize("lengths", [{}, {"num_steps": 3, "num_epochs": 3}])
def test_a_phase_has_one_length(root, lengths):
    error = mistake(root, {"dapt": lengths})
    assert error.found.startswith("dapt = ")
    assert "exactly one of num_steps and num_epochs" in error.expected


def test_patience_has_checks_to_count(root):
    error = mistake(root, {"tapt": {"num_epochs": 3, "patience": 2}})
    assert error.found.startswith("tapt = ") and "give num_checks" in error.expected


@pytest.mark.parametrize("labels", [{"primary": 50, "curve": [50, 100]}, {"curve": [50, 50]}])
def test_numbers_of_labels_differ_from_one_another(root, labels):
    error = mistake(root, {"labels": labels})
    assert error.found.startswith("labels = ") and "labels must differ" in error.expected


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"labels": {"primary": 1}}, "labels.primary"),
        ({"text": {"tasks": []}}, "text.tasks"),
        ({"replicates": 0}, "replicates"),
        ({"replicates": 10**9}, "replicates"),
        ({"advice": {"minutes": float("inf")}}, "advice.minutes"),
        ({"encoder": {"hidden_size": 15}}, "encoder"),
        ({"encoder": {"hidden_size": 16, "num_heads": 16}}, "encoder"),
        ({"labels": {"primary": 0}}, "labels.primary"),
        ({"forgetting": {"arms": ["replay"]}}, "forgetting.arms.0"),
        ({"forgetting": {"replayed_share": 1.5}}, "forgetting.replayed_share"),
        ({"finetune": {"head_rate_factor": 0.0}}, "finetune.head_rate_factor"),
    ],
)
def test_replicates_labels_and_forgetting_have_bounds(root, content, path):
    assert mistake(root, content).found.startswith(f"{path} = ")


def test_the_environment_may_set_the_number_of_replicates(monkeypatch):
    profile = Profile(name="mine", replicates=2)
    assert with_replicates(profile) == profile and with_replicates(profile, 4).replicates == 4
    monkeypatch.setenv("DONTSTOP_REPLICATES", "10")
    assert with_replicates(profile).replicates == 10 and with_replicates(profile, 4).replicates == 4
    for bad in ("bad", "0", "-1", "2.5"):
        monkeypatch.setenv("DONTSTOP_REPLICATES", bad)
        with pytest.raises(StudyError, match=f"(?s)DONTSTOP_REPLICATES = '{bad}'.*a number from 1.*unset it"):
            with_replicates(profile)


def test_seeds_differ_from_one_another(root):
    assert "seeds must differ" in mistake(root, {"seeds": [1, 2, 1]}).expected


@pytest.mark.parametrize("override", [{"batch_sise": 8}, {"num_epochs": "3"}, {"dropout": 2}])
def test_one_task_s_settings_are_checked_too(root, override):
    error = mistake(root, {"task_finetune": {"numerical_topic": override}})
    assert next(iter(override)) in str(error)


def test_one_task_s_settings_override_the_profile_s(root):
    content = {"finetune": {"num_epochs": 4}, "task_finetune": {"numerical_topic": {"batch_size": 8}}}
    (root / "configs" / "mine.yaml").write_text(yaml.safe_dump(content))
    profile = load_profile("mine", root)
    of_task, of_others = profile.finetune_for("numerical_topic"), profile.finetune_for("numerical_area")
    assert (of_task.batch_size, of_task.num_epochs) == (8, 4)
    assert of_others == profile.finetune


@pytest.mark.parametrize("text", ["seeds: [1, 2", "- a list", "a word", "name: {"])
def test_a_file_that_is_no_mapping_of_settings_is_refused(root, text):
    assert "mapping of settings" in mistake(root, text).expected


def test_a_file_that_is_not_utf_8_is_refused(root):
    (root / "configs" / "mine.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(StudyError, match="not readable"):
        load_profile("mine", root)


def test_an_unknown_profile_is_told_with_those_there_are(root):
    with pytest.raises(StudyError) as caught:
        load_profile("labtop", root)
    assert "'labtop'" in caught.value.found and "smoke" in caught.value.expected
    assert "laptop" in caught.value.remedy and "configs/labtop.yaml" in caught.value.remedy


def test_settings_do_not_change_after_loading():
    phase = PhaseSettings(num_steps=1)
    with pytest.raises(ValidationError, match="frozen"):
        phase.num_steps = 2


def test_the_root_is_the_one_named_and_paths_stand_below_it(root):
    assert find_root() == root.resolve()
    paths = Paths("smoke")
    assert paths.corpus("general") == root.resolve() / "data" / "smoke" / "corpora" / "general.jsonl"
    assert paths.split("numerical_area", "dev").parts[-3:] == ("tasks", "numerical_area", "dev.jsonl")


@pytest.fixture
def anywhere(tmp_path, monkeypatch):
    """Give a folder to work in that is no part of any checkout, with no root named."""
    monkeypatch.delenv("DONTSTOP_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checkout(folder, name: str = "dontstop"):
    """Make what a checkout of a project is known by."""
    (folder / "configs").mkdir(parents=True)
    (folder / "notebooks").mkdir()
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    return folder


def test_outside_any_checkout_the_root_is_where_the_package_stands(anywhere):
    assert (find_root() / "src" / "dontstop" / "profiles").is_dir()


def test_the_root_is_the_checkout_that_one_works_in(anywhere, monkeypatch):
    worktree = checkout(anywhere / "worktree")
    for folder in (worktree, worktree / "notebooks"):
        monkeypatch.chdir(folder)
        assert find_root() == worktree.resolve()
    monkeypatch.setenv("DONTSTOP_ROOT", str(anywhere))
    assert find_root() == anywhere.resolve()


@pytest.mark.parametrize("damage", ["another project", "no configs", "no pyproject", "unreadable"])
def test_a_folder_that_is_no_checkout_of_this_project_is_not_the_root(anywhere, monkeypatch, damage):
    other = checkout(anywhere / "other", "other" if damage == "another project" else "dontstop")
    if damage == "no configs":
        (other / "configs").rmdir()
    if damage == "no pyproject":
        (other / "pyproject.toml").unlink()
    if damage == "unreadable":
        (other / "pyproject.toml").write_text("[project")
    monkeypatch.chdir(other)
    assert find_root() != other.resolve()


PATHS = ("encoder.name", "tokens.tokenizer", "released", "text.folder", "selection.sentence_transformer")


def with_path(root, setting: str, value: str):
    """Return what a profile's setting is loaded as."""
    group, _, name = setting.partition(".")
    content = {"text": {"source": "files"}, "tokens": {}}
    content[group] = {**content.get(group, {}), name: value} if name else value
    (root / "configs" / "mine.yaml").write_text(yaml.safe_dump(content))
    profile = load_profile("mine", root)
    return getattr(getattr(profile, group), name) if name else getattr(profile, group)


@pytest.mark.parametrize("setting", PATHS)
def test_all_paths_of_a_profile_resolve_alike(root, tmp_path, monkeypatch, setting):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder in (root / "encoders" / "mine", tmp_path / "home" / "mine", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert with_path(root, setting, "encoders/mine") == str(root / "encoders" / "mine")
    assert with_path(root, setting, "~/mine") == str(tmp_path / "home" / "mine")
    assert with_path(root, setting, str(tmp_path / "elsewhere")) == str(tmp_path / "elsewhere")


@pytest.mark.parametrize("setting", PATHS)
def test_a_home_that_there_is_not_is_told(root, setting):
    with pytest.raises(StudyError, match="~no-such-user/mine: Could not determine home directory"):
        with_path(root, setting, "~no-such-user/mine")


def test_a_file_elsewhere_does_not_bear_the_name_of_a_profile_of_ours(root, tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("other", "tiny"):
        (tmp_path / "mine" / f"{name}.yaml").write_text("seeds: [1]\n")
    (root / "configs").mkdir(exist_ok=True)
    (root / "configs" / "tiny.yaml").write_text("seeds: [2]\n")
    assert load_profile(str(tmp_path / "mine" / "other.yaml"), root).name == "other"
    assert load_profile(str(root / "configs" / "tiny.yaml"), root).seeds == [2]
    with pytest.raises(StudyError, match=r"mine/tiny.yaml, which is named as .*configs/tiny.yaml is"):
        load_profile(str(tmp_path / "mine" / "tiny.yaml"), root)


@pytest.mark.parametrize("setting", PATHS)
def test_a_name_that_is_no_folder_is_one_of_encoders_or_stays_a_name_on_the_hub(root, setting):
    is_path = setting in ("released", "text.folder")
    assert with_path(root, setting, "org/encoder") == (str(root / "org" / "encoder") if is_path else "org/encoder")
    (here := root / "encoders" / "org" / "encoder").mkdir(parents=True)
    assert with_path(root, setting, "org/encoder") == str(root / "org" / "encoder" if is_path else here)
