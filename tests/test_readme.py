"""The README's results are the committed ones; what a run of one's own has written since makes no test fail."""

import io
import re
import subprocess

import pandas as pd
import pytest

from conftest import PROJECT
from dontstop.report import tables
from dontstop.report.labels import signed

PROFILES = ("mini", "laptop")


def committed(path: str) -> str:
    """Return a file as it stands in git's index, or on disk where there is no git (a source archive)."""
    if not (PROJECT / ".git").exists():
        return (PROJECT / path).read_text(encoding="utf-8")
    command = ["git", "show", f":{path}"]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True, encoding="utf-8").stdout


def results_table() -> str:
    """Build the README's table of results: every claim by the paper's own numbers, by mini's, and by laptop's."""
    judged = {profile: pd.read_csv(io.StringIO(committed(f"results/{profile}/claims.csv"))) for profile in PROFILES}
    rows = tables.side_by_side(judged).to_numpy().tolist()
    lines = ["| claim of the paper | the paper's numbers | `mini` | `laptop` |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in rows)])


def test_the_results_are_the_committed_ones():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert (expected := results_table()) in readme, f"write into README.md:\n{expected}"


def test_results_of_a_run_of_ones_own_are_not_looked_at(tmp_path, monkeypatch):
    """A checkout whose results a run has overwritten, as `make study` does: the index still has the committed ones."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    path = tmp_path / "results" / "claims.csv"
    path.parent.mkdir()
    path.write_text("committed")
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    path.write_text("of another processor")
    monkeypatch.setattr("test_readme.PROJECT", tmp_path)
    assert committed("results/claims.csv") == "committed"


@pytest.mark.parametrize("profile", PROFILES)
def test_the_links_to_claims_have_every_claim(profile):
    page = committed(f"results/{profile}/claims.md")
    frame = pd.read_csv(io.StringIO(committed(f"results/{profile}/claims.csv")))
    assert all(claim in page for claim in frame["claim"].unique())


def test_the_page_of_encoders_tells_what_the_small_ones_claims_say():
    """C2 to C6 over all tasks, rounded; so a new run of `minilm` has its page written anew."""
    page = (PROJECT / "docs" / "encoders.md").read_text(encoding="utf-8")
    frame = pd.read_csv(io.StringIO(committed("results/minilm/claims.csv")))
    rows = frame[(frame["study"] == "ours") & (frame["task"] == "mean")].set_index("claim").loc["C2":"C6"]
    for claim, row in rows.iterrows():
        told = f"{claim}: {row['effect']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]".replace("-", "−")
        assert told in page and row["verdict"] in page, told


@pytest.mark.parametrize("page", ["README.md", "docs/should_i_adapt.md", "docs/ja.md", "docs/encoders.md"])
def test_every_interval_that_is_told_is_that_of_a_claim(page):
    told = set(re.findall(r"\[([+−][\d.]+), ([+−][\d.]+)\]", (PROJECT / page).read_text(encoding="utf-8")))
    known = set()
    for profile in (*PROFILES, "minilm"):
        judged = pd.read_csv(io.StringIO(committed(f"results/{profile}/claims.csv")))
        rows = judged[(judged["study"] == "ours") & (judged["task"] == "mean")][["low", "high"]].dropna()
        known |= {tuple(map(signed, row)) for row in rows.itertuples(index=False)}
    assert told and told <= known, sorted(told - known)


def test_the_picture_is_of_the_committed_claims():
    told = re.search(r"<dc:title>(.*?)</dc:title>", committed("results/claims.svg"), re.DOTALL)[1]
    for profile in PROFILES:
        judged = pd.read_csv(io.StringIO(committed(f"results/{profile}/claims.csv")))
        rows = judged[(judged["study"] == "ours") & (judged["task"] == "mean")].set_index("claim")
        verdicts = rows.loc[[f"C{number}" for number in range(2, 12)], "verdict"].value_counts()
        words = {"holds": "holds?", "equivalent": "(?:is|are) equivalent", "does not hold": "do(?:es)? not hold"}
        for verdict, word in words.items():
            found = re.search(rf"{profile}: [^;]*?\b(\d+) {word}", told)
            assert (int(found[1]) if found else 0) == verdicts.get(verdict, 0), "run: dontstop forest mini laptop"
