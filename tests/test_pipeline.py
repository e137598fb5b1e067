"""dvc.yaml says what the code does: stages' dependencies, parameters and outs."""

import ast
from pathlib import Path

import yaml

from dontstop.profiles import load_profile, profile_names
from dontstop.runs.experiments import NOTEBOOKS

# Modules that decide nothing about a stage's outs: they carry errors, files, processes, settings (tracked as
# parameters) and the command line.
NEUTRAL = {
    "errors",
    "files",
    "processes",
    "profiles",
    "cli",
    "__main__",
    "runner",
    "departures",
    "ledger",
    "calibration",
}
# The modules where each stage's work begins.
ENTRIES = {
    "prepare": ["corpora", "tokens"],
    "base": ["mlm", "encoders", "__init__"],
    "select": ["augmentation"],
    "domain_gap": ["reports", "findings"],
    "dapt": ["reports", "findings", "checks", "finetune"],
    "tapt": ["reports", "findings", "checks", "finetune"],
    "dapt_tapt": ["reports", "findings", "checks", "finetune"],
    "transfer_tapt": ["reports", "findings", "checks", "finetune"],
    "knn_tapt": ["reports", "findings", "checks", "finetune"],
    "claims": ["claims", "measures"],
}


def stages(project: Path) -> dict:
    return yaml.safe_load((project / "dvc.yaml").read_text())["stages"]


def imported(module: str, package: Path) -> set[str]:
    tree = ast.parse((package / f"{module}.py").read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "dontstop":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dontstop."):
            names.add(node.module.removeprefix("dontstop."))
    return {name for name in names if (package / f"{name}.py").is_file()}


def closure(modules: list[str], package: Path) -> set[str]:
    found, left = set(), list(modules)
    while left:
        module = left.pop()
        if module not in found and module not in NEUTRAL:
            found.add(module)
            left += imported(module, package)
    return found


def test_every_dependency_and_notebook_exists(project):
    for name, stage in stages(project).items():
        for dependency in stage["deps"]:
            if "${" not in dependency:
                assert (project / dependency).is_file(), f"{name} depends on {dependency}"


def test_stages_list_the_modules_they_rest_on(project):
    """Text modules count through data/<profile>, which later stages depend on, and need not be listed again."""
    package = project / "src" / "dontstop"
    text = closure(["corpora"], package)
    for name, stage in stages(project).items():
        listed = {Path(d).stem for d in stage["deps"] if d.startswith("src/")}
        needed = closure(ENTRIES[name], package) - (set() if name == "prepare" else text)
        assert not needed - listed, f"stage {name} lacks {sorted(needed - listed)}"


def test_profiles_spell_out_every_setting_that_a_stage_tracks(project):
    for name in profile_names(project):
        content = yaml.safe_load((project / "configs" / f"{name}.yaml").read_text())
        for stage in stages(project).values():
            for key in stage["params"][0]["configs/${profile}.yaml"]:
                value = content
                for part in key.split("."):
                    assert part in value, f"configs/{name}.yaml has no {key}, which DVC tracks"
                    value = value[part]


def test_every_setting_is_tracked_by_some_stage(project):
    tracked = {
        key.split(".")[0] for stage in stages(project).values() for key in stage["params"][0]["configs/${profile}.yaml"]
    }
    untracked = set(type(load_profile("laptop", project)).model_fields) - tracked
    assert untracked == {"speed", "name"}  # the one changes no result, the other is the file's


def test_notebooks_are_run_with_their_own_parameters_and_into_their_own_place(project):
    by_stage = {experiment: notebook for notebook, experiment in NOTEBOOKS.items()}
    for name, notebook in by_stage.items():
        folder, command = stages(project)[name]["cmd"]
        assert folder == "mkdir -p results/${profile}/notebooks"  # papermill makes no folder
        assert f"notebooks/{notebook}.ipynb results/${{profile}}/notebooks/{notebook}.ipynb" in command
        assert command.endswith("-p profile ${profile}")


def test_no_two_stages_write_the_same_place(project):
    outs = [next(iter(o)) if isinstance(o, dict) else o for s in stages(project).values() for o in s["outs"]]
    assert len(outs) == len(set(outs))
    assert not [(a, b) for a in outs for b in outs if a != b and b.startswith(f"{a}/")]
