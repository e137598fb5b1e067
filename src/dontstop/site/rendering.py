"""The report: results of profiles, their notebooks and the docs as a static site that needs no network."""

import html
import io
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Paths
from dontstop.report import claim_plots
from dontstop.report.claims import read_judged
from dontstop.report.display import write_figure
from dontstop.runs import ledger
from dontstop.site import pages

FIRST = ("paper", "mini", "laptop")  # on the front page, as far as they are there; then all others
DOCS_FIRST = ("should_i_adapt", "results", "verdicts", "protocol", "faq", "glossary", "ja")
_LINK = re.compile(r"(?<!!)(\[[^\]]*\]\((?:\.\./)?results/[\w-]+)/(?:tables|figures)/([\w.-]+)/([\w-]+)\.\w+\)")
_BENCHMARKS = re.compile(r"results/benchmarks(?:/([\w-]+)\.md)?\)")
_SOURCE = re.compile(r"\[([^\]]*)\]\((?:\.\./)?notebooks/[^)]*\)")  # notebooks that nobody executed are no pages
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_DIAGRAM = re.compile(r"```mermaid\n(.+?)```", re.DOTALL)
_DESCRIPTION = re.compile(r"<dc:description>(.+?)</dc:description>", re.DOTALL)  # of a figure
_LABEL = re.compile(r'"(.+?)"')
_PACKAGES = ("sphinx", "myst_nb", "furo", "merm")
_SETTINGS = {
    "project": "Don't Stop Pretraining",
    "extensions": ["myst_nb", "dontstop.site.rendering"],
    "exclude_patterns": ["results/*/tables"],
    "myst_enable_extensions": ["dollarmath", "amsmath"],
    "myst_heading_anchors": 4,
    "nb_execution_mode": "off",
    "nb_ipywidgets_js": {},  # of another host; executed copies keep widgets' text
    "nb_mime_priority_overrides": [["html", "application/vnd.jupyter.widget-view+json", None]],
    "html_theme": "furo",
    "html_title": "Don't Stop Pretraining",
    "html_math_renderer": "mathml",
    "html_static_path": [str(Path(__file__).with_name("static"))],
    "html_css_files": ["site.css"],
    "html_js_files": ["site.js"],
    "html_copy_source": False,
    "html_show_search_summary": False,  # fetched, which browsers refuse where there is no server
    "html_show_sphinx": False,
    "html_show_copyright": False,
    "suppress_warnings": ["mystnb.unknown_mime_type"],
}


def setup(app) -> dict[str, bool]:
    """Teach Sphinx to set formulas as MathML, which browsers know by themselves; Sphinx calls it."""
    from docutils.nodes import SkipNode
    from docutils.utils.math.latex2mathml import tex2mathml

    def renderer(as_block: bool):
        def visit(writer, node) -> None:
            writer.body.append(tex2mathml(node.astext(), as_block=as_block))
            raise SkipNode

        return visit, None

    app.add_html_math_renderer("mathml", inline_renderers=renderer(False), block_renderers=renderer(True))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def shown_profiles(root: Path, named: Sequence[str]) -> list[str]:
    """List the profiles that have executed notebooks under results/, in the order of the front page.

    Args:
        named: Those that must be among them; `smoke`, whose numbers mean nothing, is so only if it is named.

    Raises:
        StudyError: If a profile that is named has none yet, or no profile has.
    """
    there = {path.parents[1].name for path in root.glob("results/*/notebooks/*.ipynb")}
    for profile in named or ([] if there - {"smoke"} else ["laptop"]):
        if profile not in there:
            expected = f"executed notebooks in results/{profile}/notebooks"
            remedy = f"run `make study PROFILE={profile}` first"
            raise StudyError(f"no results of profile {profile}", expected, remedy)
    shown = there - ({"smoke"} - set(named))
    return sorted(shown, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))


def write_site(root: Path, named: Sequence[str] = ()) -> tuple[Path, list[str]]:
    """Render the results of all profiles that have some, notebooks and docs to build/site.

    Returns the front page's path, and what Sphinx warns of; profiles are named as `shown_profiles` takes them.

    Raises:
        StudyError: If results or the packages that render them are missing.
    """
    profiles, sources, site = shown_profiles(root, named), root / "build" / "site-sources", root / "build" / "site"
    if missing := [package for package in _PACKAGES if find_spec(package) is None]:
        expected = f"{', '.join(_PACKAGES)}, which render the site"
        raise StudyError(f"no package {missing[0]}", expected, "run `make set-up`")
    shutil.rmtree(sources, ignore_errors=True)
    write_sources(root, sources, profiles)
    return site / "index.html", _render(sources, site)


def _render(sources: Path, site: Path) -> list[str]:
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError
    from sphinx.util.console import nocolor

    shutil.rmtree(site, ignore_errors=True)
    nocolor()
    warnings = io.StringIO()
    try:
        app = Sphinx(sources, None, site, sources.with_name("site-doctrees"), "html", _SETTINGS, None, warnings, True)
        app.build()
    except SphinxError as error:
        raise StudyError(f"Sphinx cannot render {sources}: {error}", "pages that it reads", "mend the page") from error
    return warnings.getvalue().splitlines()


def write_sources(root: Path, sources: Path, profiles: Sequence[str]) -> None:
    """Write what the site is rendered from: docs and notebooks where links expect them, and the pages made here."""
    pages_there = ("README.md", "CONTRIBUTING.md", "CITATION.cff", "docs/*", "results/claims.*")
    for pattern in (*pages_there, *(f"results/{profile}/claims.*" for profile in profiles)):
        for path in root.glob(pattern):
            _copy(path, sources / path.relative_to(root))
    there = [profile for profile in profiles if (root / "results" / profile / "claims.csv").is_file()]
    judged = {profile: read_judged(root / "results" / profile) for profile in there}
    for profile in profiles:
        _write_profile(Paths(profile, root), sources / "results" / profile, judged.get(profile))
    _write_data(root / "results", "benchmarks", sources / "results" / "benchmarks.md")
    if judged:
        write_figure(claim_plots.claims_forest(judged), sources / "claims")
    front = pages.front_page(judged, _read_tables(root, profiles) if judged else {})
    results = [*(f"results/{name}/index" for name in profiles), "results/benchmarks"]
    docs = sorted(path.stem for path in sources.glob("docs/*.md"))
    docs.sort(key=lambda name: DOCS_FIRST.index(name) if name in DOCS_FIRST else len(DOCS_FIRST))
    about = ["About this repository <README>", *(f"docs/{name}" for name in docs), "CONTRIBUTING"]
    contents = pages.contents("Results", results) + pages.contents("Documentation", about)
    files.write_text(sources / "index.md", front + contents)


def _read_tables(root: Path, profiles: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Read profiles' Table 3, of those that have it."""
    found = {profile: root / "results" / profile / "tables" / "02_dapt" / "table3_dapt.csv" for profile in profiles}
    return {profile: _read_table(path, profile) for profile, path in found.items() if path.is_file()}


def _read_table(path: Path, profile: str) -> pd.DataFrame:
    try:
        numbers = (table := pd.read_csv(path))[list(pages.SCORES)].dtypes
        is_whole = {"study", "task"} <= set(table) and all(map(pd.api.types.is_numeric_dtype, numbers))
    except (ValueError, KeyError):
        is_whole = False
    if not is_whole:
        remedy = f"execute notebook 02_dapt again: make study PROFILE={profile}; or take it from git"
        raise StudyError(f"{path}, which is damaged", "the scores of Table 3", remedy)
    return table


def _copy(source: Path, target: Path) -> None:
    """Copy a file; links of a page to single tables and figures lead to the page that has them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix != ".md":
        shutil.copyfile(source, target)
        return
    text = _LINK.sub(r"\1/data/\2.md#\3)", source.read_text(encoding="utf-8"))
    text = _BENCHMARKS.sub(lambda link: f"results/benchmarks.md{f'#{link[1]}' if link[1] else ''})", text)
    text = _SOURCE.sub(r"\1", text)
    files.write_text(target, _DIAGRAM.sub(partial(_drawn, target), text))


def _drawn(page: Path, found: re.Match[str]) -> str:
    """Draw a Mermaid diagram, which GitHub and JupyterLab draw by scripts, and return what shows it on the page."""
    import merm

    name = f"{page.stem}_{found.start()}.svg"
    files.write_text(page.with_name(name), merm.render_diagram(found[1], theme="neutral"))
    labels = ", ".join(_LABEL.findall(found[1])).replace("<br/>", " ")
    return f"![Diagram: {labels}]({name})"


def _write_profile(paths: Paths, target: Path, judged: pd.DataFrame | None) -> None:
    """Write a profile's pages; of the design before replicates without its notebooks, whose words are not today's."""
    claims = ["claims"] if (paths.results / "claims.md").is_file() else []
    is_earlier = judged is not None and "num_replicates" not in judged
    kinds, titles, provenance = ["data"] if is_earlier else ["notebooks", "data"], {}, {}
    for path in sorted(paths.results.glob("notebooks/*.ipynb")):
        cells = ledger.read_executed(path)["cells"]
        prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        titles[path.stem] = title[1] if (title := _TITLE.search(prose)) else path.stem
        provenance |= {line: None for line in _printed(cells, "provenance")}  # each once
        if not is_earlier:
            _copy(path, target / "notebooks" / path.name)
        if any(paths.results.glob(f"*/{path.stem}/*")):
            _write_data(paths.results, path.stem, target / "data" / f"{path.stem}.md")
    wrote = {path.stem for path in (target / "data").glob("*.md")}
    costs = ledger.stage_costs(paths)
    page = pages.profile_page(target.name, list(provenance), costs, titles, wrote, bool(claims), is_earlier)
    there = [f"{kind}/{name}" for name in titles for kind in kinds]
    inside = claims + [page for page in there if any(target.glob(f"{page}.*"))]
    files.write_text(target / "index.md", page + pages.contents(target.name, inside))


def _printed(cells: list[Mapping], cell: str) -> list[str]:
    outputs = (output for some in cells if some.get("id") == cell for output in some.get("outputs", []))
    return "".join(text for output in outputs for text in output.get("text", [])).splitlines()


def _write_data(results: Path, folder: str, page: Path) -> None:
    """Write a page of the tables and figures of one notebook, or of the benchmarks, and their files beside it."""
    named: dict[str, dict[str, str]] = {}
    for path in sorted([*results.glob(f"*/{folder}/*"), *results.glob(f"{folder}/*")]):
        if path.suffix == ".md":
            named.setdefault(path.stem, {})["md"] = path.read_text(encoding="utf-8")
        elif path.suffix in (".csv", ".svg", ".png"):
            _copy(path, page.with_suffix("") / path.name)
            named.setdefault(path.stem, {})[path.suffix[1:]] = f"{page.stem}/{path.name}"
            if path.suffix == ".svg" and (told := _DESCRIPTION.search(path.read_text(encoding="utf-8"))):
                named[path.stem]["alt"] = html.unescape(told[1])
    is_of_notebook = page.parent.name == "data"
    title = f"{folder[:2]} · Tables and figures (`{results.name}`)" if is_of_notebook else folder.capitalize()
    files.write_text(page, pages.data_page(title, named))
