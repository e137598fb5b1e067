"""The house style, as far as a machine can hold it: module order, names, error handling, docstrings, notebooks."""

import ast
import json
import re
from pathlib import Path

import pytest

from conftest import PROJECT

# A room (a folder of the package, or a module beside the folders) imports only from rooms that stand before it:
# text -> tokens -> checkpoint -> score -> verdict -> picture.
ORDER = """
    __init__ errors inputs paper studies profiles machine text tokens fetch training selection design runs verdicts
    upkeep report site study lab departures cli __main__
""".split()
SOURCE = PROJECT / "src" / "dontstop"
MODULES = sorted(SOURCE.rglob("*.py"))
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
SHELVES = {"utils", "util", "helpers", "helper", "common", "misc"}
# Formats that run code when they are read.
UNSAFE_READERS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
CHECKED = "nbval-check-output"

every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def room_of(path: Path) -> str:
    """Name the room that a module stands in: the first step below the package."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def own_imports(tree: ast.Module) -> set[str]:
    """Collect the rooms of the package that a module imports from, at its top or inside its functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.level or node.module == "dontstop"):
            base = f"dontstop.{node.module}" if node.level and node.module else "dontstop"
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "dontstop" else [base]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        else:
            continue
        for first, _, rest in (name.partition(".") for name in names):
            step = rest.split(".")[0]
            if first == "dontstop":
                is_module = (SOURCE / f"{step}.py").exists() or (SOURCE / step).is_dir()
                found.add(step if step and is_module else "__init__")
    return found


def imported_packages(tree: ast.Module) -> set[str]:
    packages = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages.add(node.module.split(".")[0])
    return packages


def public_functions(tree: ast.Module) -> list[ast.FunctionDef]:
    """List the functions of a module and the methods of its classes whose names, and classes' names, are public."""
    bodies = [tree.body] + [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
    return [
        node
        for body in bodies
        for node in body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]


@every_module
def test_a_module_imports_only_from_rooms_that_stand_before_its_own(path):
    name = room_of(path)
    assert name in ORDER, f"{name} has no place in the order: add it to ORDER above, where the data passes it"
    later = own_imports(parse(path)) - set(ORDER[: ORDER.index(name) + 1])
    assert not later, f"{name} imports {sorted(later)}, which do not stand before it"


@every_module
def test_no_module_is_a_shelf_for_odds_and_ends(path):
    assert not SHELVES & {part.removesuffix(".py") for part in path.relative_to(SOURCE).parts}


@every_module
def test_no_error_is_caught_without_saying_which(path):
    bare = [node.lineno for node in ast.walk(parse(path)) if isinstance(node, ast.ExceptHandler) and not node.type]
    assert not bare, f"bare except in lines {bare}"


@every_module
def test_nothing_that_is_read_can_run_code(path):
    tree = parse(path)
    assert not UNSAFE_READERS & imported_packages(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert not (node.attr == "load" and isinstance(node.value, ast.Name) and node.value.id == "torch"), (
                f"torch.load in line {node.lineno}: use safetensors"
            )
            loads = node.attr == "from_pretrained" and path.name != "pretrained.py"
            assert not loads, f"from_pretrained in line {node.lineno}: use machine.pretrained, which runs no code"
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            assert ast.unparse(node.value) == "False", f"line {node.value.lineno}"
        assert not (isinstance(node, ast.Constant) and node.value == "trust_remote_code"), f"line {node.lineno}"


@every_module
def test_modules_and_public_functions_have_docstrings(path):
    tree = parse(path)
    assert ast.get_docstring(tree), "the module has no docstring"
    silent = [node.name for node in public_functions(tree) if not ast.get_docstring(node)]
    assert not silent, f"no docstring: {silent}"


def test_the_import_reader_sees_every_way_to_import():
    text = """
import dontstop.machine.files
from dontstop import errors, __version__
from .profiles import Paths
from . import text as f
def late():
    from dontstop.design.arms import Arm
import torch
"""
    assert own_imports(ast.parse(text)) == {"machine", "errors", "__init__", "profiles", "text", "design"}


# ---------------------------------------------------------------------------------------------------------- notebooks


def cells_of(path: Path, kind: str = "code") -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


def tags_of(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def text_of(cell: dict) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


@every_notebook
def test_a_notebook_runs_with_the_kernel_that_everyone_has(path):
    assert json.loads(path.read_text(encoding="utf-8"))["metadata"]["kernelspec"]["name"] == "python3"


@every_notebook
def test_a_notebook_has_one_parameters_cell_of_plain_values(path):
    tagged = [cell for cell in cells_of(path) if "parameters" in tags_of(cell)]
    assert len(tagged) == 1
    for statement in ast.parse(text_of(tagged[0])).body:
        assert isinstance(statement, ast.Assign), "papermill reads unannotated assignments only"
        ast.literal_eval(statement.value)


@every_notebook
def test_a_notebook_keeps_only_the_outputs_that_are_checked(path):
    for cell in cells_of(path):
        assert CHECKED in tags_of(cell) or not cell["outputs"], f"outputs left in: {text_of(cell)[:60]}"
        if CHECKED in tags_of(cell):
            # Without its output and count nbval runs the cell and compares nothing.
            assert cell["outputs"] and cell["execution_count"], f"nothing to compare in: {text_of(cell)[:60]}"


@every_notebook
def test_a_notebook_asks_and_does_not_define(path):
    for cell in cells_of(path):
        text = text_of(cell)
        magic = [line for line in text.splitlines() if re.match(r"\s*[%!?]", line)]
        assert not magic, f"magic or shell: {magic}"
        tree = ast.parse(text)
        for node in ast.walk(tree):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef), f"{node.name} is defined"
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"chdir", "filterwarnings", "simplefilter"}, node.attr
                assert not (node.attr == "path" and isinstance(node.value, ast.Name) and node.value.id == "sys")
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.match(r"(/|~|[A-Za-z]:\\)\w*", node.value), f"absolute path {node.value!r}"


@every_notebook
def test_a_notebook_is_more_prose_than_code(path):
    code = [text_of(cell) for cell in cells_of(path) if "by-hand" not in tags_of(cell)]  # which is there to be read
    asked = [text for text in code if "\nfrom dontstop." not in text]
    assert sum(len(text_of(cell)) for cell in cells_of(path, "markdown")) > sum(map(len, asked))
