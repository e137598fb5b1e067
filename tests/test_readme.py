"""The README's results are the committed ones; what a run of one's own has written since makes no test fail."""

import io
import json
import re
import subprocess

import pandas as pd
import pytest

from conftest import PROJECT
from dontstop.design.plan import NOTEBOOKS
from dontstop.report import tables
from dontstop.report.labels import signed
from dontstop.verdicts.claims import CLAIMS

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


def of_laptop() -> pd.DataFrame:
    """Return laptop's own verdicts over all tasks, by claim."""
    judged = pd.read_csv(io.StringIO(committed("results/laptop/claims.csv")))
    return judged[(judged["study"] == "ours") & (judged["task"] == "mean")].set_index("claim")


@pytest.mark.parametrize("notebook", [name for name in NOTEBOOKS if name != "01_domain_gap"])
def test_a_notebook_and_the_page_of_claims_say_the_same(notebook):
    """A notebook takes the claims of others for not shown: it may lack a verdict, and tells no other one."""
    table, whole = pd.read_csv(io.StringIO(committed(f"results/laptop/tables/{notebook}/verdicts.csv"))), of_laptop()
    for row in table.itertuples():
        of_all = whole.loc[row.claim]
        assert row.ours in (of_all["verdict"], "inconclusive")
        for name in ("effect", "low", "high", "num_replicates"):
            assert getattr(row, name) == pytest.approx(of_all[name], nan_ok=True)


@pytest.mark.parametrize("notebook", [name for name in NOTEBOOKS if name != "01_domain_gap"])
def test_what_a_notebook_found_is_what_the_records_say(notebook):
    """The sentences of the committed copy: of each claim on scores, verdict, effect and interval."""
    cells = {cell["id"]: cell for cell in json.loads(committed(f"results/laptop/notebooks/{notebook}.ipynb"))["cells"]}
    told = "".join(cells["findings"]["outputs"][0]["data"]["text/markdown"])
    by_statement, whole, count = {claim.statement.lower(): claim.id for claim in CLAIMS}, of_laptop(), 0
    sentence = r"\*([^*]+)\*: \*\*([^*]+)\*\*, (\S+) points \[(\S+), (\S+)\]"
    for statement, verdict, *numbers in re.findall(sentence, told):
        row, count = whole.loc[by_statement[statement.lower()]], count + 1
        assert verdict in (row["verdict"], "inconclusive")
        assert numbers == [signed(row[name]) for name in ("effect", "low", "high")]
    assert count == sum(row.claim in whole.index[whole["effect"].notna()] for row in claims_of(notebook).itertuples())
    assert not re.search(r"\bnan\b|p = 0\.000", told)


def claims_of(notebook: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(committed(f"results/laptop/tables/{notebook}/verdicts.csv")))


@pytest.mark.parametrize("profile", PROFILES)
def test_the_links_to_claims_have_every_claim(profile):
    page = committed(f"results/{profile}/claims.md")
    frame = pd.read_csv(io.StringIO(committed(f"results/{profile}/claims.csv")))
    assert all(claim in page for claim in frame["claim"].unique())


@pytest.mark.parametrize(("profile", "last"), [("minilm", "C6"), ("minilm_paper", "C5")])
def test_the_page_of_encoders_tells_what_the_small_ones_claims_say(profile, last):
    """From C2 on over all tasks, rounded; so a new run of `minilm` has its page written anew."""
    page = (PROJECT / "docs" / "encoders.md").read_text(encoding="utf-8")
    frame = pd.read_csv(io.StringIO(committed(f"results/{profile}/claims.csv")))
    rows = frame[(frame["study"] == "ours") & (frame["task"] == "mean")].set_index("claim").loc["C2":last]
    for claim, row in rows.iterrows():
        told = f"{claim}: {row['effect']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]".replace("-", "−")
        assert told in page and row["verdict"] in page, told


@pytest.mark.parametrize("page", ["README.md", "docs/should_i_adapt.md", "docs/ja.md", "docs/encoders.md"])
def test_every_interval_that_is_told_is_that_of_a_claim(page):
    told = set(re.findall(r"\[([+−][\d.]+), ([+−][\d.]+)\]", (PROJECT / page).read_text(encoding="utf-8")))
    known = set()
    for profile in (*PROFILES, "minilm", "minilm_paper"):
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
