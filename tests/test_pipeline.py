"""dvc.yaml says what the code does: stages' dependencies, parameters and outs."""

import re
from pathlib import Path

import pytest
import yaml

from dontstop.design import arms
from dontstop.design.arms import Arm
from dontstop.design.needs import Design
from dontstop.design.plan import EXPERIMENTS, NOTEBOOKS, folder_of, owner_of
from dontstop.profiles import load_profile, profile_names
from dontstop.text import tasks

TRAINING = {"design", "machine/randomness.py", "runs", "tokens", "training"}


def stages(project: Path) -> dict[str, dict]:
    """Return every stage by its name, those of a group `group@key` with their own values filled in."""
    content = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    found = {}
    for name, stage in content.items():
        for key, item in stage.get("foreach", {None: {}}).items():
            values = {"key": key, **{f"item.{field}": value for field, value in item.items()}}
            found[f"{name}@{key}" if key else name] = filled(stage.get("do", stage), values)
    return found


def filled(part, values: dict):
    """Fill values into every text of a stage."""
    if isinstance(part, dict):
        return {filled(key, values): filled(value, values) for key, value in part.items()}
    if isinstance(part, list):
        return [filled(item, values) for item in part]
    if isinstance(part, str):
        return re.sub(r"\$\{(\w+(?:\.\w+)?)\}", lambda found: str(values.get(found[1], found[0])), part)
    return part


PROFILE = "configs/${profile}.yaml"


def tracked(stage: dict) -> list[str]:
    return stage["params"][0][PROFILE] if "params" in stage else []


def outs(stage: dict) -> list[str]:
    listed = [*stage["outs"], *stage.get("metrics", [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in listed]


def rooms(stage: dict) -> set[str]:
    return {dependency.removeprefix("src/dontstop/") for dependency in stage["deps"] if dependency.startswith("src/")}


def stage_of(experiment: str, project: Path) -> dict:
    """Return the stage that runs an experiment."""
    command = f"python -m dontstop run {experiment} --profile ${{profile}}"
    return next(stage for stage in stages(project).values() if stage["cmd"] == command)


def test_the_pipeline_can_be_read_at_a_glance(project):
    assert len((project / "dvc.yaml").read_text().splitlines()) <= 200


def test_every_dependency_exists_or_is_another_stages_out(project):
    made = {out for stage in stages(project).values() for out in outs(stage)}
    for name, stage in stages(project).items():
        for dependency in stage["deps"]:
            found = dependency in (PROFILE, *made) or any(out.startswith(f"{dependency}/") for out in made)
            assert found or (project / dependency).exists(), f"{name} depends on {dependency}"


def test_trained_outs_depend_on_the_rooms_that_train_and_on_none_that_shows(project):
    for experiment in EXPERIMENTS:
        assert rooms(stage_of(experiment, project)) == TRAINING
    assert rooms(stages(project)["select"]) == TRAINING | {"selection", "text"}
    assert rooms(stages(project)["prepare"]) == {"text", "tokens"}


def test_tables_and_figures_depend_on_the_rooms_that_judge_and_show(project):
    for name in [*(f"notebook@{notebook}" for notebook in NOTEBOOKS), "claims"]:
        assert {"report", "verdicts"} <= rooms(stages(project)[name])
        assert not {"training", "runs", "selection"} & rooms(stages(project)[name])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_stage_keeps_what_its_experiment_publishes(project, experiment):
    """Kept between executions (`persist`): DVC would else delete it, and what is found again would be trained anew."""
    profile, stage = load_profile("laptop", project), stage_of(experiment, project)
    some = tasks.tasks_for(profile, None)
    design = Design(profile, some, frozenset(task.name for task in some))
    notebook = EXPERIMENTS[experiment].notebook
    made = [c for c in design.plan(experiment).checkpoints if owner_of(c) == notebook]
    if experiment == "base":
        made = design.checkpoints("base")
    wanted = {f"checkpoints/${{profile}}/{folder_of(c).parts[0]}" for c in made}
    wanted |= {f"results/${{profile}}/{kind}/{notebook}" for kind in ("records", *(["curves"] if made else []))}
    assert set(outs(stage)) == wanted
    assert all(how["persist"] for out in stage["outs"] for how in out.values())


def test_no_two_checkpoints_stand_in_the_same_folder(project):
    """Nor do those of an arm that is new, and differs from another in its first phase's text only."""
    profile = load_profile("laptop", project)
    some = tasks.tasks_for(profile, None)
    design = Design(profile, some, frozenset(task.name for task in some))
    made = {c for experiment in EXPERIMENTS for c in design.plan(experiment).checkpoints}
    new = Arm("not_dapt_tapt", arms.NOT_DAPT.phases + arms.TAPT.phases)
    made |= {new.checkpoint(task) for task in some}
    assert len({folder_of(checkpoint) for checkpoint in made}) == len(made)


def test_profiles_spell_out_every_setting_that_a_stage_tracks(project):
    for name in profile_names(project):
        content = yaml.safe_load((project / "configs" / f"{name}.yaml").read_text())
        for stage in stages(project).values():
            for key in tracked(stage):
                value = content
                for part in key.split("."):
                    assert part in value, f"configs/{name}.yaml has no {key}, which DVC tracks"
                    value = value[part]


def test_every_stage_tracks_the_profile_whole_or_what_it_reads_of_it(project):
    for name, stage in stages(project).items():
        assert (PROFILE in stage["deps"]) != bool(tracked(stage)), f"{name}: DVC takes a file for one of the two"
    assert {"text", "tokens"} <= set(tracked(stages(project)["prepare"]))


def test_few_parameters_and_the_metrics_are_shown_when_experiments_are_compared(project):
    """`dvc exp show` and `dvc params diff` have a column a value."""
    content, shown = yaml.safe_load((project / "configs" / "laptop.yaml").read_text()), set()
    for key in {key for stage in stages(project).values() for key in tracked(stage)}:
        value = content
        for part in key.split("."):
            value = value[part]
        shown |= {f"{key}.{part}" for part in value} if isinstance(value, dict) else {key}
    assert shown >= {"replicates", "labels.primary", "dapt.num_steps"} and len(shown) <= 16
    assert stages(project)["claims"]["metrics"] == [{"results/${profile}/metrics.json": {"cache": False}}]


def test_notebooks_are_run_with_their_own_parameters_and_into_their_own_place(project):
    previous = "base"
    for notebook in NOTEBOOKS:
        stage = stages(project)[f"notebook@{notebook}"]
        assert stage["cmd"] == f"python -m dontstop notebook {notebook} --profile ${{profile}}"
        # Those before it come first: it compares with them.
        assert f"results/${{profile}}/records/{previous}" in stage["deps"]
        assert f"results/${{profile}}/records/{notebook}" in stage["deps"]
        previous = notebook


def test_no_two_stages_write_the_same_place(project):
    places = [out for stage in stages(project).values() for out in outs(stage)]
    assert len(places) == len(set(places))
    assert not [(a, b) for a in places for b in places if a != b and b.startswith(f"{a}/")]
