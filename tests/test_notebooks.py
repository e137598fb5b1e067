"""The notebooks: every table and figure is shown, no part of the skeleton is missing, no parameter is misspelt."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from conftest import PROJECT
from dontstop.design.plan import NOTEBOOKS

START = "00_start_here"  # which runs no experiment, shows no table of its own, and keeps no output
OWN = "07_own_data"  # about one's own text, not an experiment of the paper
NAMES = sorted({path.stem for path in (PROJECT / "notebooks").glob("*.ipynb")} - {START, OWN})
MOST_WORDS = 1200  # of prose in a notebook: two hours of class are short
# The paper's section and tables that each notebook's first cell must name.
PLACES = {
    "01_domain_gap": ("section 3.1", "Figure 2", "Table 1"),
    "03_tapt": ("section 4 ", "Table 5", "Table 13"),
    "04_dapt_tapt": ("section 4.2", "Table 5"),
    "05_transfer_tapt": ("section 4.3", "Table 6"),
    "06_knn_tapt": ("section 5", "Table 7", "Table 8", "Table 9", "Table 10"),
    "02_dapt": ("sections 3.2 to 3.4", "Table 1 ", "Table 3", "Table 12", "Tables 13 and 14"),
}
# The files that each notebook writes: tables, then figures.
SHOWN = {
    "01_domain_gap": (
        ["table1_corpora", "table2_tasks", "label_counts", "leak_audit", "vocabulary_overlap", "task_domain_overlap"]
        + ["distances", "agreement"],
        ["pipeline", "loss_curves", "figure2_overlap", "task_domain_overlap", "distances"],
    ),
    "02_dapt": (
        ["guesses", "pretraining", "table1_corpora", "table3_dapt", "train_test_overlap", "table12_cross_domain_loss"]
        + ["forgetting", "changed_texts"]
        + ["gain_against_distance", "gain_rises", "gain_matrix", "against_forgetting", "degenerate_runs", "verdicts"],
        ["guesses", "gallery", "loss_curves", "dapt_gains", "forgetting", "gain_against_distance", "gain_matrix"]
        + ["gain_by_distance", "course", "changed"],
    ),
    "03_tapt": (
        ["tapt_losses", "tapt_curve", "table5_tapt", "degenerate_runs", "verdicts"],
        ["guesses", "gallery", "loss_curves", "tapt_checks", "tapt_curve", "tapt_gains"],
    ),
    "04_dapt_tapt": (
        [
            "tapt_losses",
            "table5_dapt_tapt",
            "train_test_overlap",
            "cheap_scores",
            "cheap_costs",
            "best_arms",
            "aggregates",
        ]
        + ["label_curve", "tests", "degenerate_runs", "verdicts", "verdicts_by_task"],
        ["loss_curves", "course", "on_the_way", "dapt_tapt_gains", "label_curve", "probability_best", "cheap_gains"],
    ),
    "05_transfer_tapt": (
        ["table6_transfer", "cross_task_loss", "degenerate_runs", "verdicts", "verdicts_by_task"],
        ["transfer_drop", "cross_task_loss"],
    ),
    "06_knn_tapt": (
        ["neighbours", "topics", "coverage", "table7_curated", "table8_knn", "score_against_k", "selector_agreement"]
        + ["selector_scores", "table9_costs", "table10_strategies", "degenerate_runs", "verdicts", "verdicts_by_task"],
        ["loss_curves", "knn_gains", "score_against_k", "curated_gains", "selector_agreement", "selector_gains"]
        + ["score_against_compute", "neighbours", "claims", "against_paper"],
    ),
}
BY_HAND = "by-hand"  # the tag of what is built in the open
STATISTICS = {"mean", "std", "var", "sem", "median", "quantile", "corr", "describe", "agg"}
DRAWING = {"plots", "course_plots", "gap_plots", "selection_plots", "guess_plots", "claim_plots", "schematic"}
READING = ("readings.", "findings.", "descriptions.")  # calls that show prose
PARTS = ("## What we found", "## Exercises", "## Questions to discuss", "## What differs from the paper")
PARTS += ("## Provenance and checks",)

every_notebook = pytest.mark.parametrize("name", NAMES)


def cells(name: str) -> list[dict]:
    content = json.loads((PROJECT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [{**cell, "source": "".join(cell["source"])} for cell in content["cells"]]


def sources(name: str, kind: str) -> list[str]:
    return [cell["source"] for cell in cells(name) if cell["cell_type"] == kind]


def is_prose(cell: dict) -> bool:
    """Whether a cell is prose, or shows a sentence that is filled in."""
    return cell["cell_type"] == "markdown" or cell["source"].splitlines()[-1].startswith(READING)


def calls(name: str) -> list[ast.Call]:
    """List all calls in a notebook's code."""
    trees = (ast.walk(ast.parse(source)) for source in sources(name, "code"))
    return [node for nodes in trees for node in nodes if isinstance(node, ast.Call)]


def called(name: str) -> list[str]:
    """Name the functions that a notebook calls: `study.run`, `checks.split_sizes`, `listed`."""
    return [ast.unparse(call.func) for call in calls(name)]


def test_there_is_a_notebook_for_every_experiment_and_for_nothing_else():
    assert sorted(NOTEBOOKS) == NAMES == sorted(PLACES) == sorted(SHOWN)


@every_notebook
def test_every_table_and_figure_is_shown_once(name):
    tables, figures = [], []
    for call in calls(name):
        if ast.unparse(call.func) == "study.show":
            thing, file = call.args
            assert isinstance(file, ast.Constant) and isinstance(file.value, str), "name the file where it is shown"
            is_drawn = isinstance(thing, ast.Call) and ast.unparse(thing.func).split(".")[0] in DRAWING
            (figures if is_drawn else tables).append(file.value)
    assert (sorted(tables), sorted(figures)) == tuple(map(sorted, SHOWN[name]))


@every_notebook
def test_the_skeleton_is_whole(name):
    methods, text = called(name), "\n".join(sources(name, "code"))
    for method in ("run", "provenance", "settings", "excerpts", "masked_example"):
        assert f"study.{method}" in methods, f"no study.{method}()"
    assert text.count(f'study.run("{NOTEBOOKS[name]}")') == 1 and methods.count("study.run") == 1
    for held in ("split_sizes", "text_digests", "token_stores", "no_exact_leak"):
        assert f"checks.{held}" in methods, f"no checks.{held}()"
    assert f"findings.of_{NOTEBOOKS[name]}" in methods
    if name != "01_domain_gap":
        assert {"checks.one_record_a_run", "checks.fingerprints", "checks.no_checkpoint_twice"} <= set(methods)
    assert "descriptions.differences" in methods
    prose = "\n".join(sources(name, "markdown")).splitlines()
    assert [line for line in prose if line.startswith(PARTS)] == list(PARTS)
    exercises = prose[prose.index("## Exercises") : prose.index("## Questions to discuss")]
    assert [line[0] for line in exercises if line[:1].isdigit()] == list("1234")
    assert prose.count("</details>") == 2
    assert methods.index("study.provenance") > methods.index(f"findings.of_{NOTEBOOKS[name]}")


def test_the_notebook_of_ones_own_text_has_the_skeleton_too():
    methods, prose = called(OWN), "\n".join(sources(OWN, "markdown")).splitlines()
    wanted = {"study.prepare", "study.provenance", "study.excerpts", "study.masked_example", "budget.run_affordable"}
    wanted |= {f"checks.{held}" for held in ("split_sizes", "text_digests", "token_stores", "no_exact_leak")}
    assert wanted | {"advice.costs", "advice.page", "advice.write_page"} <= set(methods)
    assert [line for line in prose if line.startswith(PARTS)] == list(PARTS)
    parameters, opening = sources(OWN, "code")[:2]
    targets = [target.id for statement in ast.parse(parameters).body for target in statement.targets]
    assert targets == ["profile", "replicates", "minutes"]
    assert opening.splitlines()[-1].startswith(f'study = open_study("{OWN}", profile=profile,')
    assert any("study.show(schematic." in cell["source"] for cell in cells(OWN)[:5])
    # What is spent is said before it is spent.
    assert methods.index("advice.costs") < methods.index("budget.run_affordable") < methods.index("advise")


@pytest.mark.parametrize("name", [*NAMES, OWN])
def test_a_notebook_asks_and_src_answers(name):
    for cell in (cell for cell in cells(name) if cell["cell_type"] == "code"):
        source, by_hand = cell["source"], BY_HAND in cell["metadata"].get("tags", [])
        longest = 30 if by_hand else 16
        assert len(source.splitlines()) <= longest, f"a long cell: {source}"
        for node in ast.walk(ast.parse(source)):
            if by_hand:  # where the method itself is shown
                continue
            assert not isinstance(node, ast.For | ast.While | ast.If | ast.Lambda), f"control flow in: {source}"
            assert not (isinstance(node, ast.comprehension) and "seed" in ast.unparse(node)), f"seeds in: {source}"
            assert not (isinstance(node, ast.Attribute) and node.attr in STATISTICS), (
                f"{node.attr} by hand in: {source}"
            )


@every_notebook
def test_the_first_cell_says_what_where_and_how_long(name):
    first = cells(name)[0]
    assert first["cell_type"] == "markdown" and first["source"].startswith(f"# {name[:2]} ")
    for place in (*PLACES[name], "The question.", "What the paper found.", "minute"):
        assert place in first["source"], place


@every_notebook
def test_the_parameters_are_profile_and_replicates_and_the_import_cell_opens_the_study(name):
    parameters, opening = sources(name, "code")[:2]
    targets = [target.id for statement in ast.parse(parameters).body for target in statement.targets]
    assert targets == ["profile", "replicates"]
    opened = f'study = open_study("{name}", profile=profile, replicates=replicates)\nstudy.run("{NOTEBOOKS[name]}")'
    assert opened in opening


@every_notebook
def test_a_picture_comes_within_the_first_five_cells_and_one_thing_is_built_by_hand(name):
    drawn = [k for k, cell in enumerate(cells(name)) if re.search(r"^study\.show\(\w*plots\.", cell["source"], re.M)]
    assert drawn[0] < 5
    assert [cell["id"] for cell in cells(name) if BY_HAND in cell["metadata"].get("tags", [])] == ["by-hand"]


@pytest.mark.parametrize("name", [START, *NAMES, OWN])
def test_prose_is_short(name):
    words = sum(len(re.findall(r"\S*\w\S*", source)) for source in sources(name, "markdown"))
    assert words <= MOST_WORDS, f"{words} words"


@pytest.mark.parametrize("name", [*NAMES, OWN])
def test_every_call_has_prose_before_it(name):
    kinds = ["prose" if is_prose(cell) else "code" for cell in cells(name)]
    both = [pair for pair in zip(kinds, kinds[1:], strict=False) if pair == ("code", "code")]
    # The parameters, the import and the first picture; and some excerpts side by side, or beside their table.
    assert len(both) <= 5
    for source in sources(name, "code")[2:]:
        displays = [line for line in source.splitlines() if line.startswith(("study.show(", "styled(", "listed("))]
        assert len(displays) <= 1, f"more than one display: {source}"


@every_notebook
def test_counts_run_from_one_and_ids_are_readable(name):
    counts = [cell["execution_count"] for cell in cells(name) if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1)), "restart the kernel, run all cells, save"
    ids = [cell["id"] for cell in cells(name)]
    assert len(set(ids)) == len(ids) and all(part.isalnum() for id_ in ids for part in id_.split("-"))
    kept = [cell["id"] for cell in cells(name) if "keep_output" in cell["metadata"].get("tags", [])]
    assert kept == ["checks"]


def test_no_picture_is_of_another_host():
    """One would be asked for whenever the notebook, or its page of the report, is opened."""
    for path in (PROJECT / "notebooks").rglob("*.ipynb"):
        assert not re.search(r"!\[[^]]*\]\(http|<img", path.read_text(encoding="utf-8")), path.name


def test_the_link_and_the_cell_for_colab_take_the_address_of_the_git_remote(monkeypatch, tmp_path):
    (tmp_path / "notebooks").mkdir()
    shutil.copy(PROJECT / "Makefile", tmp_path)
    notebook = tmp_path / "notebooks" / f"{START}.ipynb"
    shutil.copy(PROJECT / "notebooks" / notebook.name, notebook)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q", "-b", "trunk"], check=True)
    without = subprocess.run(["make", "colab"], capture_output=True, text=True, check=False)
    assert without.returncode and "do this: git remote add origin" in without.stdout
    assert notebook.read_text() == (PROJECT / "notebooks" / notebook.name).read_text()
    for address in ("git@github.com:some/study.git", "https://github.com/some/study"):
        subprocess.run(["git", "config", "remote.origin.url", address], check=True)
        subprocess.run(["make", "colab"], check=True)
        first, cell, *_ = nbformat.read(notebook, as_version=4).cells
        place = "some/study/blob/trunk/notebooks/00_start_here.ipynb"
        assert f"(https://colab.research.google.com/github/{place})" in first.source
        assert 'repository = "https://github.com/some/study.git"  #' in cell.source
    assert [path.name for path in notebook.parent.iterdir()] == [notebook.name]


@pytest.mark.parametrize("written", ["", "https://example.org/study.git"])
def test_on_colab_the_first_cell_installs_the_pinned_set_and_elsewhere_nothing(monkeypatch, written):
    code, ran = sources(START, "code")[0].replace('repository = ""', f'repository = "{written}"'), []
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append((command, check)))
    exec(code, {})
    assert ran == []
    monkeypatch.setitem(sys.modules, "google.colab", object())
    monkeypatch.setattr("builtins.input", lambda _: "https://example.org/asked.git")
    monkeypatch.setenv("DONTSTOP_ROOT", "")
    exec(code, {})
    (clone, _), (install, _) = ran
    assert clone == ["git", "clone", "--depth", "1", written or "https://example.org/asked.git", "study"]
    assert install[1:] == ["-m", "pip", "install", "--quiet", "-c", "study/constraints.txt", "./study"]
    assert all(check for _, check in ran) and os.environ["DONTSTOP_ROOT"] == os.path.abspath("study")
    assert (PROJECT / "constraints.txt").is_file() and (PROJECT / "pyproject.toml").is_file()


@pytest.mark.slow
def test_papermill_with_a_misspelt_parameter_stops_and_says_what_to_write(tmp_path):
    notebook = PROJECT / "notebooks" / "01_domain_gap.ipynb"
    command = [sys.executable, "-m", "papermill", "-k", "python3", "--no-progress-bar"]
    run = subprocess.run(
        [*command, str(notebook), str(tmp_path / "out.ipynb"), "-p", "profil", "smoke"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "DONTSTOP_PROFILE": "smoke", "PYTHONPATH": str(PROJECT / "src")},
    )
    assert run.returncode != 0
    assert "parameter 'profil'" in run.stderr and "write 'profile' instead" in run.stderr


@pytest.mark.slow
def test_an_executed_notebook_keeps_the_last_line_of_progress_and_papermill_shows_them_all(tmp_path):
    code = "import time\nfrom dontstop.machine.runner import Job, carry_out\n"
    code += "jobs = [Job(str(n), f'nap {n}', 'run', 1.0, time.sleep, (0.4,)) for n in range(6)]\n"
    code += "carry_out('naps', jobs, num_workers=1, progress_seconds=0.3)"
    notebook, executed = tmp_path / "naps.ipynb", tmp_path / "executed.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), notebook)
    command = [sys.executable, "-m", "papermill", "-k", "python3", "--log-output", "--no-progress-bar"]
    # Where this variable is set, ipykernel leaves the process's own stdout and stderr alone.
    outside = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    run = subprocess.run([*command, notebook, executed], capture_output=True, text=True, check=True, env=outside)
    said = set(re.findall(r"naps: \d/6 runs done", run.stdout + run.stderr))
    assert len(said) > 3 and "naps: 6/6 runs done" in said
    outputs = nbformat.read(executed, as_version=4).cells[0].outputs
    texts = [output.get("text") or output["data"]["text/plain"] for output in outputs]
    assert [text.split(",")[0].strip() for text in texts] == [
        "naps: 6 jobs on 1 single-threaded processes",
        "naps: 6/6 runs done",
    ]
