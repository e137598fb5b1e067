"""What users and other people's files hand in: names that become paths, and YAML; both bounded, neither run."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dontstop.errors import StudyError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
MAX_BYTES, MAX_DEPTH, MAX_VALUES = 1_000_000, 20, 20_000  # of a YAML file; values with those that aliases repeat
_SETTINGS = "a mapping of settings"


def checked_name(kind: str, name: str) -> str:
    """Return a name that may become part of a path, as it is.

    Raises:
        StudyError: If it holds anything but letters, digits, `.`, `_` and `-`, such as `../outside`.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
        expected = "a name: letters, digits, `.`, `_` and `-`, no path and no `..`"
        raise StudyError(f"{kind} {name!r}", expected, f"name the {kind} alone")
    return name


def at_home(path: str | Path) -> Path:
    """Return a path with `~` put in full.

    Raises:
        StudyError: If there is no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise StudyError(f"{path}: {error}", "a home that there is", "write the path in full") from error


def read_settings(path: Path) -> dict[Any, Any]:
    """Read a YAML file of settings; nothing in it is run, and its size, depth and repetitions are bounded.

    Raises:
        StudyError: If it is no mapping, gives one key twice, is no YAML, or is beyond those bounds.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise StudyError(f"{size:,} bytes in {path}", f"settings of at most {MAX_BYTES:,}", "mend the file")
    loader = None
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        _check(node, path)
        content = {} if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        # A date of month 13, an integer of 5,000 digits; by tags, text that is no integer, truth value or date.
        raise StudyError(f"{path} is not readable YAML: {error}", _SETTINGS, "mend the file") from error
    except RecursionError as error:
        raise _too_much(path) from error
    finally:
        if loader is not None:
            loader.dispose()
    if content is not None and not isinstance(content, dict):
        raise StudyError(f"{path} holds a {type(content).__name__}", _SETTINGS, "mend the file")
    return content or {}


def _check(root: yaml.Node | None, path: Path) -> None:
    """Look through a document before any value is made of it, aliases followed as often as they stand there."""
    waiting, seen = [(root, 0)] if root is not None else [], 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen + len(waiting) > MAX_VALUES:
            raise _too_much(path)
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, path)
        waiting += [(child, depth + 1) for child in _children(node)]


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        yield from (part for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _check_keys(node: yaml.MappingNode, path: Path) -> None:
    first: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode) and first.setdefault(key.value, line) != line:
            found = f"{key.value} in lines {first[key.value]} and {line} of {path}"
            raise StudyError(found, "each setting once", "keep one of them")


def _too_much(path: Path) -> StudyError:
    expected = f"at most {MAX_VALUES:,} values, {MAX_DEPTH} deep, what aliases repeat included"
    return StudyError(f"too much in {path}", expected, "write the settings without nesting or aliases")
