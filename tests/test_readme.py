"""The README says what the results say, and names only what is there."""

import re
from pathlib import Path

import pandas as pd
import pytest

from dontstop.report import labels
from dontstop.runs.arms import ARMS as KNOWN_ARMS
from dontstop.runs.arms import FULL
from dontstop.verdicts import claims

ARMS = {
    "base": "04_dapt_tapt/table5_dapt_tapt",
    "dapt": "04_dapt_tapt/table5_dapt_tapt",
    "not_dapt": "02_dapt/table3_dapt",
    "tapt": "04_dapt_tapt/table5_dapt_tapt",
    "dapt_tapt": "04_dapt_tapt/table5_dapt_tapt",
    "transfer_tapt": "05_transfer_tapt/table6_transfer",
}


def headline(results: Path) -> str:
    """Build the README's first table: every arm's mean over tasks, the paper's above ours."""
    lines = [
        "| mean test F1 over eight tasks | base | DAPT | not-DAPT | TAPT | DAPT+TAPT | transfer-TAPT | naive Bayes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    names = {"paper": "the paper (RoBERTa-base)", "ours": "here (`laptop`)"}
    for study, name in names.items():
        cells = []
        for arm, place in ARMS.items():
            table = pd.read_csv(results / "tables" / f"{place}.csv")
            row = table[(table["study"] == study) & (table["task"] == "mean")].iloc[0]
            cells.append(f"{row[f'{arm}_mean']:.1f}")
        cells.append(number(row["naive_bayes"]))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdicts(results: Path) -> str:
    """Build the README's second table: the claims that have been judged, ours and by the paper's own numbers."""
    lines = ["| claim of the paper | here | points [95 % interval] | the paper's own numbers |", "|---|---|---|---|"]
    judged = pd.read_csv(results / "claims.csv")
    table = claims.overview(judged)
    for row in table[table["ours"] != claims.NOT_RUN].itertuples():
        effect = "" if pd.isna(row.effect) else f"{row.effect:+.1f} [{row.effect_low:+.1f}, {row.effect_high:+.1f}]"
        if row.claim == "C1":
            effect = f"rank correlation {row.effect:+.2f}"
        if row.claim == "C13":
            scopes = judged[(judged["claim"] == "C13") & (judged["study"] == "ours")].set_index("scope")["effect"]
            time, storage = (100 * scopes[f"all tasks: {words}"] for words in ("time", "storage"))
            effect = f"{time:.0f} % of the time, {storage:.1f} % of the bytes"
        lines.append(f"| {row.claim}: {row.statement} | **{row.ours}** | {effect} | {row.paper} |")
    return "\n".join(lines)


def number(value: float, form: str = ".1f") -> str:
    return "–" if pd.isna(value) else format(value, form)


def enlarged(results: Path) -> str:
    """Build the README's table of Tables 7 and 8: means over tasks whose text is enlarged, the paper's above ours."""
    eight, seven = (
        pd.read_csv(results / "tables" / "06_knn_tapt" / f"{name}.csv") for name in ("table8_knn", "table7_curated")
    )
    arms = [column.removesuffix("_mean") for column in eight if column.endswith("_mean")] + ["dapt_tapt"]
    arms += ["dapt_curated_tapt"]
    named = [labels.arm(arm) for arm in arms]
    lines = [f"| mean test F1 over three tasks | {' | '.join(named)} |", "|---|" + "---|" * len(arms)]
    for study, name in {"paper": "the paper (its own tasks)", "ours": "here (`laptop`)"}.items():
        rows = [table[(table["study"] == study) & (table["task"] == "mean")].iloc[0] for table in (eight, seven)]
        cells = [number(rows[f"{arm}_mean" not in rows[0]][f"{arm}_mean"]) for arm in arms]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def costs(results: Path) -> str:
    """Build the README's Table 9: what the arms cost beyond the base encoder."""
    table = pd.read_csv(results / "tables" / "06_knn_tapt" / "table9_costs.csv")
    table = table[(table["study"] == "ours") & ~table["arm"].str.contains(r"tapt_\d+_[a-z]")]
    lines = [
        "| arm | documents | MB of text | steps | teraflops | process seconds | mean F1 |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in table.itertuples():
        cells = [f"{row.num_documents:,.0f}", f"{row.num_bytes / 1e6:.2f}", f"{row.num_steps:,.0f}"]
        seconds = row.cpu_seconds + row.selection_seconds
        cells += [f"{row.tflops:.1f}", f"{seconds:.0f}", f"{row.score:.1f}"]
        lines.append(f"| {labels.arm(row.arm)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cheap(results: Path) -> str:
    """Build the README's table of arms that train few numbers: what they train and keep, what they score."""
    costs, scores = (
        pd.read_csv(results / "tables" / "04_dapt_tapt" / f"cheap_{name}.csv") for name in ("costs", "scores")
    )
    means = scores[scores["task"] == "mean"].iloc[0]
    lines = [
        "| arm | numbers trained | MB to keep | process seconds | masked-LM loss | mean F1 | less the whole |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in costs.itertuples():
        cells = [f"{row.trainable_parameters:,} ({row.percent_trainable:.0f} %)", f"{row.megabytes_kept:.1f}"]
        cells += [f"{row.cpu_seconds:.0f}", f"{row.loss_before:.2f}, {row.loss_after:.2f}"]
        cells.append(f"{means[f'{row.arm}_mean']:.1f}")
        full = FULL.get(KNOWN_ARMS[row.arm])
        whole = f"{row.arm}_minus_{full}"
        bounds = [f"{means.get(name, float('nan')):+.1f}" for name in (whole, f"{whole}_low", f"{whole}_high")]
        cells.append("" if full is None else "{} [{}, {}]".format(*bounds))
        lines.append(f"| {labels.arm(row.arm)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def of_the_papers_tasks(results: Path) -> str:
    """Build the README's table of the paper's own tasks: every arm's mean by task, naive Bayes before them."""
    arms = ["base", "dapt", "not_dapt", "tapt", "dapt_tapt", "transfer_tapt"]
    tables = {arm: pd.read_csv(results / "tables" / f"{ARMS[arm]}.csv") for arm in arms}
    ours = {arm: table[table["study"] == "ours"].set_index("task") for arm, table in tables.items()}
    named = [labels.arm(arm) for arm in ("naive_bayes", *arms)]
    lines = [f"| `mini`, mean test F1 | {' | '.join(named)} |", "|---|" + "---|" * len(named)]
    for task in ours["base"].index:
        cells = [number(ours["base"].loc[task, "naive_bayes"])]
        for arm in arms:
            there = task in ours[arm].index and (arm != "transfer_tapt" or task != "mean")
            cells.append(number(ours[arm].loc[task, f"{arm}_mean"]) if there else "–")
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("build", "profile"),
    [
        (headline, "laptop"),
        (verdicts, "laptop"),
        (enlarged, "laptop"),
        (costs, "laptop"),
        (of_the_papers_tasks, "mini"),
        (verdicts, "mini"),
        (costs, "mini"),
        (cheap, "mini"),
    ],
)
def test_the_tables_are_those_of_the_results(project, build, profile):
    expected = build(project / "results" / profile)
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert expected in readme, f"write into README.md:\n{expected}"


def test_links_lead_to_files(project):
    readme = (project / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", readme):
        if target.startswith("#"):
            assert f"\n## {target[1:].replace('-', ' ').capitalize()}\n" in readme, target
        else:
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
