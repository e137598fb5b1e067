"""README and docs: tests run the commands they give, links lead somewhere, every setting is named."""

import ast
import functools
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

from conftest import PROJECT
from dontstop.cli import app
from dontstop.profiles import Profile

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
# By the beginning of a command, the test that runs it (or, of what takes hours or another machine, its code path).
RUN_BY = {
    "dontstop fetch-tasks": "test_task_files.py",
    "dontstop fetch-corpus": "test_corpus_files.py",
    "dontstop fetch-encoders": "test_conversion.py",
    "dontstop convert-weights": "test_conversion.py",
    "dontstop pretrain": "test_process_group.py",
    "dontstop advise": "test_advice.py",
    "dontstop notebook": "test_one_answer.py",
    "dontstop prepare": "test_study.py",
    "dontstop run": "test_study.py",
    "dontstop claims": "test_study.py",
    "dontstop doctor": "test_doctor.py",
    "dontstop verify": "test_verification.py",
    "dontstop report": "test_site.py",
    "dontstop calibrate": "test_calibration.py",
    "dontstop departures": "test_departures.py",
    "torchrun": "test_process_group.py",
    "python -m benchmarks": "test_benchmarks.py",
    "papermill": "test_notebooks.py",
}
# Set-up and the main job, which CI's own commands run; pipelines, whose file test_pipeline.py holds.
RUN_OTHERWISE = ("make", "git", "conda", "source", "dvc", "cd", "cp")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@functools.cache
def committed_results() -> set[Path]:
    """List the committed files of results/ and their folders: a run of one's own may be at work on the files."""
    if not (PROJECT / ".git").exists():
        return set()
    command = ["git", "ls-files", "-z", "results"]
    named = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split("\0")
    return {path for name in named if name for path in (PROJECT / name, *(PROJECT / name).parents)}


def commands_of(page: Path) -> list[str]:
    """List the commands of a page's bash blocks, comments left out, continued lines joined."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := line.split("  #")[0].split(" # ")[0].strip())]


def parse(arguments: list[str]) -> None:
    """Parse a `dontstop` command without running it; an unknown command or option raises."""
    name, *rest = arguments
    command = typer.main.get_command(app).commands[name]
    command.make_context(name, rest)


@every_page
def test_every_command_is_one_that_a_test_runs(page):
    for command in commands_of(page):
        if command.startswith(RUN_OTHERWISE):
            continue
        runner = next((test for start, test in RUN_BY.items() if command.startswith(start)), None)
        assert runner is not None, f"{page.name}: no test runs {command!r}"
        assert (PROJECT / "tests" / runner).is_file(), runner


@every_page
def test_every_command_of_ours_has_the_options_that_it_is_given(page):
    for command in commands_of(page):
        words = shlex.split(command)
        if words[0] == "dontstop" or "-m dontstop" in command:
            parse(words[words.index("dontstop") + 1 :])


def test_an_option_that_is_not_there_is_noticed():
    with pytest.raises(Exception, match="No such option"):
        parse(["fetch-tasks", "mirror", "--sorce", "hub"])


@every_page
def test_every_make_target_exists(page):
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)) - {"help"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def prose_of(page: Path) -> str:
    """Return a page's text, or the prose of a notebook."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


@pytest.mark.parametrize(
    "page", [*PAGES, *sorted((PROJECT / "notebooks").rglob("*.ipynb"))], ids=lambda page: page.name
)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"https?:", target):
            continue
        file, _, heading = target.partition("#")
        led_to = (page.parent / file).resolve() if file else page
        assert led_to.exists() or led_to in committed_results(), f"{page.name}: {target}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", prose_of(led_to), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}
            assert heading in anchors, f"{page.name}: {target}"


@every_page
def test_files_that_are_named_are_there(page):
    if page.name in ("log.md", "departures.md"):  # dated entries; code's names, not files
        return
    folders = "src|tests|configs|notebooks|benchmarks|docs"
    for name in re.findall(rf"`((?:{folders})/[\w./-]+\.\w+)`", page.read_text(encoding="utf-8")):
        assert (PROJECT / name).is_file(), f"{page.name}: {name}"


def test_the_readme_is_short():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert len(readme.split()) <= 1000


def settings_of(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """List a schema's settings, groups gone through, with the paper's values; a phase's own settings count once."""
    found = {}
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel) and type(default).__name__ != "PhaseSettings":
            found |= settings_of(type(default), f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = default
    return found


def test_the_page_of_settings_names_every_setting():
    page = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([\w.]+)` \|", page, re.MULTILINE))
    expected = set(settings_of(Profile)) - {"name"}
    assert rows >= expected, f"not on the page: {sorted(expected - rows)}"
    phase = {f"<phase>.{name}" for name in type(Profile(name="any").dapt).model_fields}
    named = set(re.findall(r"^\| `(<phase>\.\w+)` \|", page, re.MULTILINE))
    assert named == phase


def test_the_citation_has_the_version_of_the_code():
    source = ast.parse((PROJECT / "src" / "dontstop" / "__init__.py").read_text(encoding="utf-8"))
    version = next(node.value.value for node in source.body if isinstance(node, ast.Assign))
    assert f"\nversion: {version}\n" in (PROJECT / "CITATION.cff").read_text(encoding="utf-8")


def test_a_parsed_option_sets_no_variable_for_the_tests_after_it():
    """Runs after those above, which parse `--mirror mirror`, by order of the file."""
    assert "DONTSTOP_MIRROR" not in os.environ  # the tests forget the user's own, see conftest
