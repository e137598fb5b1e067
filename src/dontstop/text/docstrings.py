"""The English of installed packages as documents: docstrings, comments and READMEs, parsed and never imported."""

import ast
import collections
import gc
import hashlib
import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dontstop.machine.processes import num_cores, text_workers
from dontstop.text import packages, remarks
from dontstop.text.passages import Passage, read_passages

_DOCUMENTING_CALLS = {"add_newdoc", "add_docstr", "add_docstr_all"}
_SHORTEST_DOCSTRING = 20  # characters


@dataclass(frozen=True)
class Document:
    """A docstring, a README, or all comments of a module, as passages; `source` is the distribution."""

    id: str
    module: str
    source: str
    passages: tuple[Passage, ...]

    @property
    def text(self) -> str:
        """The passages, joined with blank lines."""
        return "\n\n".join(passage.text for passage in self.passages)

    @property
    def is_docstring(self) -> bool:
        """Whether the passages are a docstring's: tasks are made of these alone."""
        return not any(passage.section in (remarks.COMMENT, remarks.README) for passage in self.passages)


def read_packages(names: list[str], *, max_documents: int | None = None) -> list[Document]:
    """Read the docstrings, comments and READMEs of installed distributions, sorted by id.

    Args:
        names: Distribution names; `packages.STANDARD_LIBRARY` is Python's own, with its language reference.
        max_documents: Stop reading files (taken in the order of their names' hash) once there are about as many.
    """
    files = [(name, module, path) for name in names for module, path in packages.package_files(name)]
    if max_documents is not None:
        documents = _read_some(files, max_documents)
    else:
        documents = [*_read_all(files), *_read_readmes(names)]
    return sorted(documents, key=lambda document: document.id)


def _read_all(files: list[tuple[str, str, Path]]) -> list[Document]:
    chunks = [files[k : k + 40] for k in range(0, len(files), 40)]
    with text_workers(min(num_cores(), 8)) as submit:
        read = [submit("documentation strings", _read_files, chunk) for chunk in chunks]
        return [document for result in read for document in result.get()]


def _read_readmes(names: list[str]) -> list[Document]:
    found = [(f"{name}:README", "", name, remarks.read_readme(packages.read_long_description(name))) for name in names]
    if packages.STANDARD_LIBRARY in names:
        path, library = packages.language_topics_file(), packages.STANDARD_LIBRARY
        topics = remarks.parse_topics(path.read_text(encoding="utf-8"))
        found += [(f"{library}:topics.{topic}", "topics", library, read_passages(text)) for topic, text in topics]
    return [Document(*fields) for fields in found if fields[-1]]


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
    gc.disable()  # syntax trees hold no cycles, and collecting garbage among their many nodes takes half of the time
    try:
        return [document for name, module, path in files for document in _read_file(name, module, path)]
    finally:
        gc.enable()


def _read_file(name: str, module: str, path: Path) -> list[Document]:
    try:
        source = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    documents, seen = [], collections.Counter()
    for qualname, docstring in parse_docstrings(source, module):
        if len(docstring) >= _SHORTEST_DOCSTRING and (passages := read_passages(docstring)):
            seen[qualname] += 1
            again = f"#{seen[qualname]}" if seen[qualname] > 1 else ""
            documents.append(Document(f"{name}:{qualname}{again}", module, name, passages))
    comments = remarks.read_comments(source)
    return [*documents, *([Document(f"{name}:{module}#comments", module, name, comments)] if comments else [])]


def _read_some(files: list[tuple[str, str, Path]], max_documents: int) -> list[Document]:
    documents: list[Document] = []
    for file in sorted(files, key=lambda file: hashlib.sha256(file[1].encode()).digest()):
        documents += _read_file(*file)
        if len(documents) >= max_documents:
            break
    return documents
