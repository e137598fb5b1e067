"""The installed packages whose English is the docstring study's text: which they are, their versions and files.

A domain's packages are named in `text.tasks`; `general` is every other pinned package and Python's standard library,
but for those that are about the subject of a domain: else the base encoder has read the domains under another name.
"""

import importlib.metadata
import platform
import re
import sysconfig
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dontstop.errors import StudyError
from dontstop.machine import environment

STANDARD_LIBRARY = "python"  # its name among the packages of `general`; its version is Python's own
NOT_TEXT = "# not read as text"  # in constraints.txt: packages below were pinned after the study's text was settled
_PYTHON = re.compile(r"^# text of Python (\S+)$", re.MULTILINE)  # in constraints.txt, as is the line above

_TEST_FOLDERS = {"tests", "test", "_tests", "testsuite", "test_suite", "idle_test"}
_VENDORED = {"_vendor", "_vendored", "vendor", "vendored", "externals", "extern", "_externals", "_distutils", "antlr"}
_GENERATED = re.compile(r"(_pb2(_grpc)?|_generated|parsetab|lextab|yacctab|conftest|_test)\.py$|^(test_|modular_)")
_NOT_THE_LIBRARY = {"site-packages", "dist-packages", "pydoc_data"}

# Left out of `general`: the domain that a package is near, and why. Found by what the packages are for, and by their
# words: of those with 3,000 characters or more, each is listed whose words, stop words apart, are on average likelier
# in some domain than in the rest of `general`, or that exists to serve a domain's packages; but for `KEPT`.
LEFT_OUT = {
    "statsmodels": ("numerical", "statistical models and tests, on scipy"),
    "patsy": ("numerical", "formulas of statistical models as design matrices"),
    "formulaic": ("data_analysis", "formulas of statistical models as design matrices"),
    "interface-meta": ("data_analysis", "a part of formulaic"),
    "narwhals": ("data_analysis", "data frames, in pandas' own terms"),
    "pyarrow": ("data_analysis", "columns and tables, which pandas stores"),
    "contourpy": ("data_analysis", "contour lines, for matplotlib"),
    "cycler": ("data_analysis", "style cycles, a part of matplotlib"),
    "kiwisolver": ("data_analysis", "layout constraints, for matplotlib"),
    "matplotlib-inline": ("data_analysis", "matplotlib's figures in notebooks"),
    "grandalf": ("data_analysis", "graphs and their layout, as networkx has them"),
    "pydot": ("data_analysis", "graphs and their drawing, which networkx calls"),
    "joblib": ("data_analysis", "parallel numerical work, a part of scikit-learn's ground"),
    "threadpoolctl": ("numerical", "threads of linear algebra libraries"),
    "datasets": ("deep_learning", "data sets to train models on"),
    "huggingface-hub": ("deep_learning", "models and inference, the hub that transformers loads from"),
    "tokenizers": ("deep_learning", "tokenizers and their training, a part of transformers"),
    "safetensors": ("deep_learning", "files of tensors, for transformers and torch"),
    "triton": ("deep_learning", "kernels on tensors, a part of torch"),
}

# Kept in `general`, though their words are near a domain's: their subject is another.
KEPT = {
    "fonttools": "fonts: glyphs, tables of font files; shares `axis` and `values` with plotting",
    "tabulate": "tables as plain text: rows, columns and their alignment",
    "pillow": "image files and pixels, not their analysis",
}

# Modules of the standard library that are left out alike.
LEFT_OUT_MODULES = {
    "statistics": ("numerical", "means, variances, regression"),
    "random": ("numerical", "random numbers and distributions"),
    "decimal": ("numerical", "arithmetic of decimal numbers"),
    "_pydecimal": ("numerical", "arithmetic of decimal numbers"),
    "fractions": ("symbolic_math", "arithmetic of rational numbers"),
    "numbers": ("symbolic_math", "the tower of numeric types"),
}


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
    return {name: version for name in names if (version := environment.version(name)) is not None}


def differing_versions(constraints: Path) -> list[str]:
    """Return a phrase for Python and every package of the text of another version than the pinned one."""
    phrases, running = [], platform.python_version()
    if (noted := _PYTHON.search(constraints.read_text(encoding="utf-8"))) and noted.group(1) != running:
        phrases.append(f"Python {running} runs, whose standard library is text; {noted.group(1)} is noted")
    for pin in environment.differing(_requirements(constraints)):
        phrases.append(f"{pin.name} {environment.version(pin.name)} is installed, {str(pin.specifier)[2:]} is pinned")
    return phrases


def _requirements(constraints: Path) -> list[Requirement]:
    """Read the pins of the packages that are text."""
    return environment.requirements(constraints.read_text(encoding="utf-8").partition(NOT_TEXT)[0])


def general_packages(installed: list[str], of_domains: list[str]) -> list[str]:
    """Return the packages of `general`, sorted: the standard library, and what is installed and near no domain."""
    return sorted({STANDARD_LIBRARY, *installed} - {*of_domains, *LEFT_OUT, "dontstop"})


def package_files(name: str) -> list[tuple[str, Path]]:
    """Return (dotted module, file) for the Python files of a package, sorted, tests left out."""
    if name == STANDARD_LIBRARY:
        listed = _library_files()
    else:
        listed = [(file.parts, Path(file.locate())) for file in importlib.metadata.distribution(name).files or []]
    found = {_module_name(parts): path for parts, path in listed if parts[-1].endswith(".py") and _is_source(parts)}
    return sorted(found.items())


def _library_files() -> list[tuple[tuple[str, ...], Path]]:
    root = Path(sysconfig.get_path("stdlib"))
    found = [(path.relative_to(root).parts, path) for path in root.rglob("*.py")]
    left_out = _NOT_THE_LIBRARY | set(LEFT_OUT_MODULES)
    return [(parts, path) for parts, path in found if parts[0].removesuffix(".py") not in left_out]


def read_long_description(name: str) -> str:
    """Return the README that a package's metadata hold, or an empty text."""
    if name == STANDARD_LIBRARY:
        return ""
    metadata = importlib.metadata.metadata(name)
    return metadata.get("Description") or metadata.get_payload() or ""


def language_topics_file() -> Path:
    """Return the file of the language reference that Python's `help` shows."""
    return Path(sysconfig.get_path("stdlib")) / "pydoc_data" / "topics.py"


def _is_source(parts: tuple[str, ...]) -> bool:
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
