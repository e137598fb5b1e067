"""The README's results are the committed ones; what a run of one's own has written since makes no test fail."""

import io
import subprocess

import pandas as pd
import pytest

from conftest import PROJECT

PROFILES = ("mini", "laptop")


def committed(path: str) -> str:
    """Return a file as it stands in git's index, or on disk where there is no git (a source archive)."""
    if not (PROJECT / ".git").exists():
        return (PROJECT / path).read_text(encoding="utf-8")
    command = ["git", "show", f":{path}"]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True, encoding="utf-8").stdout


def cell(row: pd.Series, parts: pd.DataFrame) -> str:
    """Return a verdict with its effect: points of F1, a rank correlation (C1), or shares of DAPT's costs (C13)."""
    if row["verdict"] == "not run":
        return "not run"
    if row["claim"] == "C13" and len(parts):
        seconds, size = (100 * parts.set_index("task")["effect"][name] for name in ("seconds", "bytes"))
        return f"**{row['verdict']}** {seconds:.0f} % of the time, {size:.1f} % of the bytes"
    if pd.isna(row["effect"]):
        return f"**{row['verdict']}**"
    bounds = "" if pd.isna(row["low"]) else f" [{row['low']:+.1f}, {row['high']:+.1f}]"
    return f"**{row['verdict']}** {row['effect']:+.1f}{bounds}"


def results_table() -> str:
    """Build the README's table of results: every claim by the paper's own numbers, by mini's, and by laptop's."""
    judged = {profile: pd.read_csv(io.StringIO(committed(f"results/{profile}/claims.csv"))) for profile in PROFILES}
    lines = ["| claim of the paper | the paper's numbers | `mini` | `laptop` |", "|---|---|---|---|"]
    theirs = judged["laptop"].query("study == 'paper'").assign(low=float("nan"), high=float("nan"))
    columns = [theirs, *(frame.query("study == 'ours'") for frame in judged.values())]
    for claim, rows in judged["laptop"].query("study == 'ours' and task == 'mean'").groupby("claim", sort=False):
        cells = []
        for frame in columns:
            of_claim = frame[frame["claim"] == claim]
            whole, parts = of_claim[of_claim["task"] == "mean"], of_claim[of_claim["task"] != "mean"]
            cells.append(cell(whole.iloc[0], parts) if len(whole) else "–")
        lines.append(f"| {claim}: {rows['statement'].iloc[0]} | {' | '.join(cells)} |")
    return "\n".join(lines)


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
