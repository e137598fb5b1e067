"""What packages say beside their docstrings: comments of some length, READMEs, and Python's language reference."""

import ast
import re
from collections.abc import Iterator

from dontstop.text.passages import Passage, read_passages

COMMENT, README = "comment", "readme"  # sections of passages that are no docstring's
_SHORTEST_COMMENT = 12  # words
# Whole-line comments, as many as follow one another; and what a `#` may stand in without beginning one.
_BLOCK_OR_STRING = re.compile(
    r"(?P<block>^[ \t]*#[^\n]*(?:\n[ \t]*#[^\n]*)*)"
    r"|#[^\n]*"
    r'|"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""'
    r"|'''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'(?:\\.|[^'\\\n])*'",
    re.MULTILINE | re.DOTALL,
)
_HASH = re.compile(r"^[ \t]*#+[:!|]? ?", re.MULTILINE)
_LICENCE = re.compile(r"copyright|licen[cs]ed?\b|warrant(y|ies)|all rights reserved|SPDX", re.IGNORECASE)
_HEADING_OR_HTML = re.compile(r"^ {0,3}(#{1,6}\s|<[/!a-z]|\[!\[|\[[^\]]+\]:\s).*$", re.MULTILINE)


def read_comments(source: str) -> tuple[Passage, ...]:
    """Return the paragraphs of twelve words and more of a module's comments, in its order.

    Consecutive lines are one comment, a bare `#` ends a paragraph. Comments behind code, code that was commented out
    and licences are left out.
    """
    blocks = (_HASH.sub("", match["block"]) for match in _BLOCK_OR_STRING.finditer(source) if match["block"])
    found = (passage for block in blocks if not _LICENCE.search(block) for passage in read_passages(block))
    return tuple(Passage(p.text, COMMENT) for p in found if len(p.text.split()) >= _SHORTEST_COMMENT)


def read_readme(description: str) -> tuple[Passage, ...]:
    """Return the paragraphs of a README in Markdown or reStructuredText, headings, code, badges and tables left out."""
    passages = read_passages(_HEADING_OR_HTML.sub("", description))
    return tuple(Passage(p.text, README) for p in passages if not _LICENCE.search(p.text))


def parse_topics(source: str) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of the dictionary of topics that a module's source assigns, without running it."""
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            yield from sorted(ast.literal_eval(statement.value).items())
