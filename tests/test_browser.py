"""In a real browser: the report at a desk's and a telephone's width; every notebook in JupyterLab, run and saved."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from conftest import PROJECT

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: make test-browser sets it up")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: make test-browser sets it up"),
]
SHOTS = os.environ.get("DONTSTOP_BROWSER_SHOTS")  # a folder for screenshots, to be looked at
NOTEBOOKS = sorted(path.stem for path in (PROJECT / "notebooks").glob("*.ipynb"))
PAGES = ["index", "search", "docs/should_i_adapt", "docs/ja", "results/benchmarks"]
PAGES += [f"results/laptop/{page}" for page in ("index", "claims", "data/04_dapt_tapt")]
PAGES += [f"results/laptop/notebooks/{name}" for name in NOTEBOOKS]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    """Give a function that opens a page so wide; in the end no script may have erred and no other host been asked."""
    faults, contexts = [], []

    def note(request):
        if not request.url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:", "ws://127.0.0.1:")):
            faults.append(request.url)

    def opened(width: int):
        context = browser.new_context(viewport={"width": width, "height": 900})
        context.set_default_timeout(240_000)  # a loaded machine takes its time
        contexts.append(context)
        page = context.new_page()
        page.on("request", note)
        page.on("console", lambda said: said.type == "error" and faults.append(f"{said.text} {said.location['url']}"))
        page.on("pageerror", lambda error: faults.append(str(error)))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults


def shoot(page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name.replace('/', '_')}.png")


# ---------------------------------------------------------------------------------------------------------- the report


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Render the checkout's results."""
    root = tmp_path_factory.mktemp("report")
    for name in ("README.md", "CONTRIBUTING.md", "CITATION.cff", "configs", "docs", "results", "pyproject.toml"):
        (root / name).symlink_to(PROJECT / name)
    inside = {**os.environ, "DONTSTOP_ROOT": str(root)}
    subprocess.run([sys.executable, "-m", "dontstop", "report"], env=inside, check=True, timeout=600)
    return root / "build" / "site"


COVERING = """() => [...document.querySelectorAll("article td, article th")]
    .filter(cell => getComputedStyle(cell).position === "sticky" && cell.offsetWidth > innerWidth / 2)
    .map(cell => cell.textContent)"""


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_the_screen(site, open_page, width):
    page = open_page(width)
    for name in PAGES:
        if not (site / f"{name}.html").is_file():
            continue
        page.goto((site / f"{name}.html").as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} pixels too wide"
        broken = page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)")
        assert broken == [], name
        assert page.evaluate(COVERING) == [], f"{name}: columns that stay in place cover the others"
        shoot(page, f"{name}_{width}")


def column(table, place: int) -> list[str]:
    return table.locator(f"tbody tr td:nth-child({place})").all_inner_texts()


def numbers(table, place: int) -> list[float]:
    """Read a column's numbers; what is not known, as the minutes of a selection made elsewhere, is a dash."""
    return [float(text.replace(",", "")) for text in column(table, place) if text != "–"]


def test_tables_sort_by_numbers_and_by_words_both_ways(site, open_page):
    page = open_page(1280)
    page.goto((site / "results/laptop/index.html").as_uri())
    table = page.locator("table").nth(1)  # of costs
    heading = table.locator("th").nth(2)
    heading.click()
    up = numbers(table, 3)
    assert up == sorted(up) and len(set(up)) > 3 and heading.get_attribute("aria-sort") == "ascending"
    heading.press("Enter")
    assert numbers(table, 3) == up[::-1]
    table.locator("th").first.click()
    assert column(table, 1) == sorted(column(table, 1)) and heading.get_attribute("aria-sort") == "none"


def test_search_finds_a_page_without_a_server(site, open_page):
    page = open_page(1280)
    page.goto((site / "index.html").as_uri())
    page.get_by_placeholder("Search").fill("forgetting")
    page.keyboard.press("Enter")
    found = page.locator("ul.search li a")
    found.first.wait_for(timeout=20_000)
    assert found.count() > 2
    shoot(page, "search_forgetting")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_figure_enlarges_by_a_click_and_escape_closes_it(site, open_page, width):
    page = open_page(width)
    page.goto((site / "index.html").as_uri())
    figure = page.locator("article img").first
    before = figure.bounding_box()["width"]
    figure.click()
    enlarged = page.locator("dialog.enlarged img")
    assert enlarged.bounding_box()["width"] > before
    shoot(page, f"enlarged_{width}")
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")


# --------------------------------------------------------------------------------------------------------- JupyterLab


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """Give a checkout of its own, with a commit to compare with."""
    root = tmp_path_factory.mktemp("lab") / "checkout"
    for folder in ("configs", "docs", "notebooks"):
        shutil.copytree(PROJECT / folder, root / folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for name in ("params.yaml", "pyproject.toml", "constraints.txt", "dvc.yaml"):
        shutil.copy(PROJECT / name, root)
    for folder in ("data", "selected", "checkpoints", "results"):  # what `make test` has trained at smoke, if it has
        if (PROJECT / folder / "smoke").is_dir():
            shutil.copytree(PROJECT / folder / "smoke", root / folder / "smoke")
    git(root, "init", "-q")
    git(root, "add", "configs", "docs", "notebooks")
    return root


@pytest.fixture(scope="module")
def trained(checkout, inside) -> None:
    """Train what is missing at smoke, as `dontstop run` does with each experiment: notebooks then read it."""
    code = "from dontstop.design.plan import EXPERIMENTS\nfrom dontstop.study import Study\n"
    code += "[Study('smoke', experiment.notebook).run(name) for name, experiment in EXPERIMENTS.items()]"
    subprocess.run([sys.executable, "-c", code], env=inside, check=True, timeout=1800)


@pytest.fixture(scope="module")
def inside(checkout) -> dict[str, str]:
    own = {name: str(checkout.parent / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTERLAB_WORKSPACES_DIR")}
    own |= {"DONTSTOP_ROOT": str(checkout), "DONTSTOP_PROFILE": "smoke", "PYTHONPATH": str(PROJECT / "src")}
    return os.environ | own


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def lab(checkout, inside):
    """Start what `make lab` starts, and give its address."""
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        port = some.getsockname()[1]
    options = ["--no-browser", "--IdentityProvider.token=", f"--ServerApp.port={port}", "--expose-app-in-browser"]
    server = subprocess.Popen([sys.executable, "-m", "dontstop", "lab", *options], env=inside)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, "JupyterLab has ended"
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(240)


def test_lab_opens_on_the_notebooks_with_the_checkout_in_reach(lab, open_page):
    page = open_page(1280)
    page.goto(lab)
    for name in NOTEBOOKS:
        page.get_by_role("listitem", name=f"Name: {name}.ipynb").wait_for(timeout=120_000)
    assert page.url.endswith("/lab/tree/notebooks")
    page.locator(".jp-BreadCrumbs-home").click()
    page.get_by_role("listitem", name="Name: configs").wait_for()
    page.wait_for_timeout(2000)  # for what JupyterLab asks other hosts, and asks the user, once it has settled
    assert page.locator(".jp-Dialog, .Toastify__toast").count() == 0
    shoot(page, "lab")


NOTEBOOK = "window.jupyterapp.shell.currentWidget"
READY = f"() => {NOTEBOOK}?.sessionContext?.session?.kernel?.status === 'idle'"
CELLS = f"""() => [...{NOTEBOOK}.content.model.cells]
    .filter(cell => cell.type === "code")
    .map(cell => [cell.executionCount, cell.executionState, cell.outputs.toJSON().map(o => o.ename ?? "").join("")])"""
# Outputs that stick out of the notebook's column, other than by scrolling in a place of their own.
WIDE = """() => [...document.querySelectorAll(".jp-OutputArea-output")]
    .filter(o => o.scrollWidth > o.clientWidth + 1).map(o => o.textContent.slice(0, 80))"""


def run_all(page, name: str, timeout: float) -> float:
    """Open a notebook, run all cells by the menu, wait until they have run, save; return the seconds."""
    place = f"/lab/workspaces/{name}/tree/notebooks/{name}.ipynb?reset"  # nothing beside it that was open before
    page.goto(page.url.split("/lab")[0] + place)
    page.locator(".jp-Notebook").wait_for(timeout=240_000)
    page.wait_for_function(READY, timeout=240_000)
    begin = time.monotonic()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    while time.monotonic() - begin < timeout:
        page.wait_for_timeout(500)
        cells = page.evaluate(CELLS)
        erred = [error for *_, error in cells if error]
        assert not erred, f"{name}: {erred}"
        if all(count and state == "idle" for count, state, _ in cells):
            break
    else:
        raise AssertionError(f"{name} still runs after {timeout} s: {page.evaluate(CELLS)}")
    seconds = time.monotonic() - begin
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1500)
    return seconds


def type_into_explorer(page) -> None:
    """Type into the explorer, and wait until it has answered with sentences that share a word."""
    cells = f"{NOTEBOOK}.content"  # which draws those that are near alone
    place = page.evaluate(f"{cells}.widgets.findIndex(cell => cell.model.id === 'explorer')")
    page.evaluate(f"place => {cells}.scrollToItem(place, 'start')", place)
    field = page.get_by_placeholder("type a sentence, and press Enter")
    answer = page.locator(".widget-html-content").last
    for sentence, expected in (("qwertyuiop", "No candidate shares a word"), ("a matrix of numbers", "matri|number")):
        field.fill(sentence)
        field.press("Enter")
        playwright.expect(answer).to_contain_text(re.compile(expected), timeout=60_000)
    shoot(page, "explorer")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_in_the_browser_and_saving_it_changes_no_file(trained, lab, checkout, open_page, name):
    page = open_page(1280)
    page.goto(lab)
    seconds = run_all(page, name, timeout=900)
    print(f"{name}: {seconds:.0f} s")
    for place in range(page.evaluate(f"{NOTEBOOK}.content.widgets.length")):  # which draws them, and loads pictures
        page.evaluate(f"place => {NOTEBOOK}.content.scrollToItem(place, 'start')", place)
        shoot(page, f"lab_{name}_{place:02}")
    assert page.evaluate(WIDE) == []
    assert page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)") == []
    if name == "06_knn_tapt":
        type_into_explorer(page)
    assert page.locator(".jp-Dialog").count() == 0, "JupyterLab asks something after saving"
    assert git(checkout, "diff", "--", "notebooks") == ""
    page.evaluate(f"{NOTEBOOK}.sessionContext.shutdown()")  # each kernel holds half a gigabyte
