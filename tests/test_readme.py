"""The README says what the results say, and names only what is there."""

import re

import pandas as pd


def headline(table: pd.DataFrame) -> str:
    """Build the README's table from Table 3's two rows of means over tasks."""
    lines = ["| mean test F1 over eight tasks | base | DAPT | not-DAPT | DAPT over base |", "|---|---|---|---|---|"]
    names = {"paper": "the paper (RoBERTa-base)", "ours": "here (`laptop`, [95 % interval])"}
    for study, name in names.items():
        row = table[(table["study"] == study) & (table["task"] == "mean")].iloc[0]
        arms = " | ".join(f"{row[f'{arm}_mean']:.1f}" for arm in ("base", "dapt", "not_dapt"))
        interval = "" if study == "paper" else f" [{row['dapt_gain_low']:.1f}, {row['dapt_gain_high']:.1f}]"
        lines.append(f"| {name} | {arms} | {row['dapt_gain']:+.1f}{interval} |")
    return "\n".join(lines)


def test_the_headline_is_that_of_the_results(project):
    table = pd.read_csv(project / "results" / "laptop" / "tables" / "02_dapt" / "table3_dapt.csv")
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert headline(table) in readme, f"write into README.md:\n{headline(table)}"


def test_links_lead_to_files(project):
    readme = (project / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", readme):
        assert (project / target).exists(), target


def test_the_tree_names_every_module(project):
    readme = (project / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b[a-z_0-9]+\b", readme[readme.index("## Where things stand") :]))
    modules = {path.stem for path in (project / "src" / "dontstop").glob("*.py")} - {"__init__", "__main__"}
    small = {"errors", "files", "processes", "randomness", "tasks", "profiles", "departures"}
    assert not modules - named - small, f"the README's tree lacks {sorted(modules - named - small)}"


def test_every_make_target_of_the_readme_exists(project):
    readme, makefile = ((project / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile"))
    for target in set(re.findall(r"(?:`|^)make ([a-z]+)", readme, re.MULTILINE)) - {"help"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
