"""Documentation strings of the installed, pinned packages: found, parsed (never imported) and read as documents."""

import ast
import collections
import gc
import hashlib
import importlib.metadata
import inspect
import re
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dontstop.errors import StudyError
from dontstop.machine.processes import CONTEXT, num_cores
from dontstop.text.passages import Passage, read_passages

_TEST_FOLDERS = {"tests", "test", "_tests", "testsuite", "test_suite"}
_VENDORED = {"_vendor", "_vendored", "vendor", "vendored", "externals", "extern", "_externals", "_distutils", "antlr"}
_GENERATED = re.compile(r"(_pb2(_grpc)?|_generated|parsetab|lextab|yacctab|conftest|_test)\.py$|^(test_|modular_)")
_DOCUMENTING_CALLS = {"add_newdoc", "add_docstr", "add_docstr_all"}
_SHORTEST_DOCSTRING = 20  # characters
NOT_TEXT = "# not read as text"  # in constraints.txt: packages below were pinned after the study's text was settled


@dataclass(frozen=True)
class Document:
    """One docstring as passages; `module` is dotted, `source` the distribution."""

    id: str
    module: str
    source: str
    passages: tuple[Passage, ...]

    @property
    def text(self) -> str:
        """The passages, joined with blank lines."""
        return "\n\n".join(passage.text for passage in self.passages)


def pinned_names(constraints: Path) -> list[str]:
    """Return the normalised names of the distributions that a constraints file pins as text, sorted.

    Those below the line `# not read as text` are left out, so that a new dependency does not change the text.

    Raises:
        StudyError: If the file is missing or pins nothing.
    """
    remedy = "restore constraints.txt from the project's repository"
    if not constraints.is_file():
        raise StudyError(f"no file {constraints}", "the pinned packages, whose docstrings are the text", remedy)
    names = {canonicalize_name(pin.name) for pin in _requirements(constraints) if str(pin.specifier).startswith("==")}
    if not names:
        raise StudyError(f"no pinned package in {constraints}", "lines such as numpy==2.4.6", remedy)
    return sorted(names)


def installed_versions(names: list[str]) -> dict[str, str]:
    """Return the installed version of each of `names` that is installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def differing_versions(constraints: Path) -> list[str]:
    """Return a phrase for every package of the text that is installed in another version than the pinned one."""
    phrases = []
    for pin in _requirements(constraints):
        if pin.marker is None or pin.marker.evaluate():
            installed = installed_versions([pin.name]).get(pin.name)
            if installed and not pin.specifier.contains(installed, prereleases=True):
                phrases.append(f"{pin.name} {installed} is installed, {str(pin.specifier)[2:]} is pinned")
    return phrases


def _requirements(constraints: Path) -> list[Requirement]:
    """Read the pins of the packages that are text."""
    lines = constraints.read_text(encoding="utf-8").partition(NOT_TEXT)[0].splitlines()
    return [Requirement(text) for line in lines if (text := line.split("#")[0].strip())]


def package_files(name: str) -> list[tuple[str, Path]]:
    """Return (dotted module, file) for the Python files of an installed distribution, sorted, tests left out."""
    found = {}
    for file in importlib.metadata.distribution(name).files or []:
        if file.suffix == ".py" and _is_documentation_source(file.parts):
            found[_module_name(file.parts)] = Path(file.locate())
    return sorted(found.items())


def read_docstrings(packages: list[str], *, max_documents: int | None = None) -> list[Document]:
    """Read the docstrings of installed distributions, sorted by id.

    Args:
        packages: Distribution names.
        max_documents: Stop reading files (taken in the order of their names' hash) once there are about as many.
    """
    files = [(name, module, path) for name in packages for module, path in package_files(name)]
    if max_documents is not None:
        return _read_some(files, max_documents)
    chunks = [files[k : k + 40] for k in range(0, len(files), 40)]
    # Syntax trees hold no cycles, and collecting garbage among their many nodes takes half of the time.
    with ProcessPoolExecutor(min(num_cores(), 8), mp_context=CONTEXT, initializer=gc.disable) as pool:
        documents = [document for read in pool.map(_read_files, chunks) for document in read]
    return sorted(documents, key=lambda document: document.id)


def parse_docstrings(source: str, module: str) -> Iterator[tuple[str, str]]:
    """Yield (qualified name, docstring) of a module's source: module, classes, functions, and documenting calls.

    Nothing is yielded for source that does not parse.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    yield from _walk(tree, module)


def _walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    if ast.get_docstring(node, clean=False):
        yield name, ast.get_docstring(node)
    for child in node.body:
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Call):
            yield from _documenting_call(child.value, name)
        # Of a branch, what it defines; branches inside it are passed over.
        branch = isinstance(child, ast.If | ast.Try | ast.With)
        for defined in [*child.body, *getattr(child, "orelse", [])] if branch else [child]:
            if isinstance(defined, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _walk(defined, f"{name}.{defined.name}")


def _documenting_call(call: ast.Call, name: str) -> Iterator[tuple[str, str]]:
    """Yield the docstring that a compiled function is given by a call such as add_docstr(torch.abs, '...')."""
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)
    if called not in _DOCUMENTING_CALLS or not call.args:
        return
    constants = [node.value for a in call.args for node in ast.walk(a) if isinstance(node, ast.Constant)]
    strings = [value for value in constants if isinstance(value, str)]
    documented = [ast.unparse(argument).strip("'\"") for argument in call.args[:-1]]
    if strings:
        yield f"{name}.{'.'.join(documented)}", inspect.cleandoc(max(strings, key=len))


def _read_files(files: list[tuple[str, str, Path]]) -> list[Document]:
    return [document for name, module, path in files for document in _read_file(name, module, path)]


def _read_file(name: str, module: str, path: Path) -> list[Document]:
    try:
        source = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    if '"""' not in source and "'''" not in source:
        return []
    documents, seen = [], collections.Counter()
    for qualname, docstring in parse_docstrings(source, module):
        if len(docstring) >= _SHORTEST_DOCSTRING and (passages := read_passages(docstring)):
            seen[qualname] += 1
            again = f"#{seen[qualname]}" if seen[qualname] > 1 else ""
            documents.append(Document(f"{name}:{qualname}{again}", module, name, passages))
    return documents


def _read_some(files: list[tuple[str, str, Path]], max_documents: int) -> list[Document]:
    documents: list[Document] = []
    for file in sorted(files, key=lambda file: hashlib.sha256(file[1].encode()).digest()):
        documents += _read_file(*file)
        if len(documents) >= max_documents:
            break
    return sorted(documents, key=lambda document: document.id)


def _is_documentation_source(parts: tuple[str, ...]) -> bool:
    folders = parts[:-1]
    return (
        all(part.isidentifier() for part in folders)
        and not _TEST_FOLDERS.intersection(folders)
        and not _VENDORED.intersection(folders)
        and ("testing", "_internal") not in zip(folders, folders[1:], strict=False)
        and not _GENERATED.search(parts[-1])
    )


def _module_name(parts: tuple[str, ...]) -> str:
    names = [*parts[:-1], parts[-1].removesuffix(".py")]
    return ".".join(names[:-1] if names[-1] == "__init__" and len(names) > 1 else names)
