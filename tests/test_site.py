"""The report: what the front page says follows from verdicts; what is rendered is whole, inert and needs no network."""

import re

import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure
from nbformat import v4

import tiny
from dontstop.errors import StudyError
from dontstop.profiles import Paths
from dontstop.report.display import show, styled, write_figure
from dontstop.site import pages, rendering
from dontstop.verdicts.judgements import OURS, PAPER

DIAGRAM = '```mermaid\nflowchart TD\n  a["Count<br/>words"] -- yes --> b{"Good enough?"}\n```\n'
HOSTILE = "<script>alert(1)</script> $x$ [link](javascript:alert(2))"


def verdicts(*rows) -> pd.DataFrame:
    """Build verdicts of (claim, study, task, effect, verdict)."""
    table = pd.DataFrame(rows, columns=["claim", "study", "task", "effect", "verdict"])
    return table.assign(statement="statement of " + table["claim"], low=float("nan"), high=float("nan"), reason="")


JUDGED = verdicts(
    ("C2", PAPER, "mean", 2.75, "holds"),
    ("C2", OURS, "mean", -1.0, "does not hold"),
    ("C3", OURS, "mean", 0.04, "equivalent"),
    ("C12", OURS, "in_domain_delta_loss", -1.25, "not tested"),
    ("C12", OURS, "general_delta_loss", 0.5, "not tested"),
    ("C13", OURS, "tflops", 0.25, "holds"),
    ("C13", OURS, "bytes", 0.00001, "holds"),
)
SCORES = pd.DataFrame(
    {"study": [OURS, OURS, PAPER], "task": ["t", "mean", "mean"], "naive_bayes": [1.0, 20.0, None]}
    | {"base_mean": [2.0, 21.0, 80.0], "dapt_mean": [3.0, 22.25, 90.0]}
)


def test_the_advice_is_filled_in_from_the_verdicts():
    bullets = pages.advice({"a": JUDGED, "b": JUDGED[JUDGED["study"] == PAPER]}, {"a": SCORES})
    assert len(bullets) == 5
    assert "At `a` naive Bayes scores 20.0, the base encoder 21.0, after DAPT 22.2." in bullets[0]
    told = "A gain over the base encoder is shown by the paper (+2.8); contradicted by `a` (−1.0); not asked by `b`."
    assert told in bullets[1] and "found too small to matter by `a` (0.0)" in bullets[1]
    assert "`a` 25.0 % of the compute and under 0.1 % of the storage" in bullets[2]
    assert "`a` −1.25 and +0.50" in bullets[4]


def test_a_figure_is_described_by_what_its_file_says_of_it_or_named():
    page = pages.data_page("Data", {"a_b": {"svg": "x/a_b.svg", "alt": "DAPT gains [+1, +2]. Bars: intervals."}})
    assert "![DAPT gains [+1, +2]. Bars: intervals.](x/a_b.svg)" in page and "ALT" not in page
    assert "![a b](x/a_b.svg)" in pages.data_page("Data", {"a_b": {"svg": "x/a_b.svg"}})


def test_without_verdicts_the_front_page_has_no_claims():
    assert "claims.svg" not in pages.front_page({}, {})


@pytest.fixture
def results(tmp_path):
    """Make a root with the results of one profile, hostile texts among them."""
    for name in ("README.md", "CONTRIBUTING.md", *(f"docs/{page}.md" for page in ("results", "settings"))):
        link = "See [Table 3](../results/mine/tables/02_dapt/table3_dapt.md).\n\n$$\\frac{1}{2}$$\n"
        link += "And [a source](../notebooks/07_own_data.ipynb), [speeds](../results/benchmarks).\n"
        link += "A [speed](../results/benchmarks/gpu.md).\n"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture = "![All claims](results/claims.png)"
        more = {"docs/results.md": link, "docs/settings.md": DIAGRAM, "README.md": picture}.get(name, "")
        (tmp_path / name).write_text(f"# {name}\n\n{more}")
    folder = tmp_path / "results" / "mine"
    write_figure(Figure(), tmp_path / "results" / "claims")
    show(pd.DataFrame({"text": [HOSTILE], "score": [1.5]}), folder / "tables" / "02_dapt" / "table3_dapt")
    table = v4.new_output("execute_result", {"text/html": styled(pd.DataFrame({"text": [HOSTILE]})).to_html()})
    printed = v4.new_output("stream", text=f"profile mine; {HOSTILE}")
    cells = [
        v4.new_markdown_cell("# 02 · A question\n\nA formula, $\\frac{1}{n}$."),
        v4.new_code_cell("print()", outputs=[printed], id="provenance"),
        v4.new_code_cell("styled()", outputs=[table]),
    ]
    (folder / "notebooks").mkdir()
    language = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    nbformat.write(v4.new_notebook(cells=cells, metadata=language), folder / "notebooks" / "02_dapt.ipynb")
    show(pd.DataFrame({"tool": ["ours"], "speed": [2.0]}), tmp_path / "results" / "benchmarks" / "gpu")
    return tmp_path


def test_only_profiles_with_results_are_shown(results):
    assert rendering.shown_profiles(results, []) == ["mine"]
    (results / "results" / "mine").rename(results / "results" / "smoke")
    assert rendering.shown_profiles(results, ["smoke"]) == ["smoke"]
    with pytest.raises(StudyError, match="no results of profile laptop(.|\n)*make study PROFILE=laptop"):
        rendering.shown_profiles(results, [])  # smoke's numbers mean nothing


@pytest.mark.parametrize("columns", ["claim,verdict", "claim,verdict,num_replicates"])
def test_notebooks_of_the_design_before_replicates_are_no_pages(results, columns):
    folder, is_earlier = results / "results" / "mine", "num_replicates" not in columns
    (folder / "claims.md").write_text("# Claims\n")
    judged = pd.DataFrame(columns=columns.split(","))
    rendering._write_profile(Paths("mine", results), results / "pages", judged)
    page = (results / "pages" / "index.md").read_text()
    assert (results / "pages" / "data" / "02_dapt.md").is_file()
    assert (results / "pages" / "notebooks").exists() is not is_earlier
    assert ("of an earlier design" in page, "notebooks/02_dapt" in page) == (is_earlier, not is_earlier)


NO_SCORES = "study,task,naive_bayes,base_mean,dapt_mean\nx,mean,a,b,c\n"


@pytest.mark.parametrize("content", ["", '"a\n1', "a,b\n1,2\n", NO_SCORES])
def test_a_damaged_table_is_told(results, content):
    path = results / "results/mine/tables/02_dapt/table3_dapt.csv"
    path.write_text(content)
    with pytest.raises(StudyError, match=r"table3_dapt.csv, which is damaged[\s\S]*PROFILE=mine"):
        rendering._read_tables(results, ["mine"])


@pytest.mark.parametrize("content", ["{}", "[]"])
def test_a_damaged_executed_notebook_is_told(results, content):
    (results / "results/mine/notebooks/02_dapt.ipynb").write_text(content)
    with pytest.raises(StudyError, match="02_dapt.ipynb, which is damaged"):
        rendering.write_sources(results, results / "build" / "sources", ["mine"])


def test_damaged_verdicts_are_told_before_a_page_is_written(results, monkeypatch, capsys):
    monkeypatch.setenv("DONTSTOP_ROOT", str(results))
    (results / "results" / "mine" / "claims.csv").write_bytes(b"\0\xff")
    (results / "results" / "mine" / "claims.md").write_text("# Claims\n")
    assert tiny.command("report", "mine") == 2
    assert "dontstop claims --profile mine" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")  # of Sphinx's own extensions
def test_the_site_is_whole_and_inert_and_needs_no_network(results, monkeypatch, capsys):
    pytest.importorskip("furo")
    pytest.importorskip("merm")
    monkeypatch.setenv("DONTSTOP_ROOT", str(results))
    assert tiny.command("report", "mine") == 0
    site = results / "build" / "site"
    assert capsys.readouterr().out.startswith(f"{site}/index.html: open it"), "Sphinx warns of something"
    read = {str(path.relative_to(site)): path.read_text() for path in site.rglob("*.html")}
    page, data = (read[f"results/mine/{kind}/02_dapt.html"] for kind in ("notebooks", "data"))
    assert "<mfrac>" in page and "<mfrac>" in read["docs/results.html"]
    for text in read.values():
        assert "<script>alert" not in text and 'href="javascript' not in text
        assert not re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]*', text)
    for text in (page, data, read["results/mine/index.html"]):
        assert "&lt;script&gt;alert(1)" in text
    for place in ("mine/data/02_dapt.html#table3-dapt", "benchmarks.html", "benchmarks.html#gpu"):
        assert f'href="../results/{place}"' in read["docs/results.html"]
    assert 'alt="Diagram: Count words, Good enough?"' in read["docs/settings.html"]
    (drawn,) = (path.read_text() for path in site.glob("_images/settings_*.svg"))
    assert re.findall(r">([\w? ]+)</t", drawn) == ["Count", "words", "Good enough?", "yes"] and "<script" not in drawn
    assert 'id="table3-dapt"' in data and (site / "_static" / "site.js").is_file()
