"""A docstring as passages of English, each with the section that it is from."""

import functools
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

from dontstop.text.prose import clean_inline, is_english

_SECTIONS = {
    "parameter": "parameters|parameter|other parameters|attributes|args|arguments|keyword args|keyword arguments|params"
    "|inputs|attribute|fields|properties|keywords|kwargs|optional args|additional parameters|keyword parameters",
    "returns": "returns|return|yields|yield|outputs|output|return value|return values|returned value",
    "raises": "raises|raise|exceptions|throws|except|warns",
    "notes": "notes|note|remarks|explanation|discussion|details|warning|warnings|tip|caution|important|todo|caveats",
    "examples": "examples|example|usage|sample usage|usage example|usage examples|basic examples|example usage|e.g.",
    "see_also": "see also|seealso|related",
    "references": "references|reference|bibliography|citation|citations|sources|further reading|literature",
    "other": "methods|shape|shapes|variables|implementation notes|algorithm|background|definition|description",
}
_SECTION_OF = {title: section for section, titles in _SECTIONS.items() for title in titles.split("|")}
_ADMONITIONS = set("note warning tip seealso important caution hint attention danger admonition todo".split())

_UNDERLINE = re.compile(r"""([-=~^*#+`"'_.])\1{2,}$""")
_TABLE_RULE = re.compile(r"[=-]{2,}(\s+[=-]{2,})+$")
_GRID = re.compile(r"\+[-=+]{3,}|\|.*\|$|\|\s")
_DIRECTIVE = re.compile(r"\.\.\s+([\w:-]+)::\s*(.*)$")
_CITATION = re.compile(r"\.\.\s+\[#?[\w.-]+\]\s*(.*)$")
_HEADING = re.compile(r"\**([A-Za-z][A-Za-z. ]{2,24}?)\**:{1,2}\**$")
_INLINE_HEADING = re.compile(r"((?i:returns?|yields?|raises|notes?|warnings?|see also|references?)):\s+(\S.*)$")
_FIELD = re.compile(
    r"[:@](param|parameter|arg|argument|key|keyword|ivar|cvar|var|returns?|raises?|except|exception|throws"
    r"|rtype|type|vartype|yields?|ytype|author|since|see|note|meta)\b([^:]*):\s*(.*)$"
)
_FIELD_SECTION = {
    **dict.fromkeys("param parameter arg argument key keyword ivar cvar var".split(), "parameter"),
    **dict.fromkeys("return returns yield yields".split(), "returns"),
    **dict.fromkeys("raise raises except exception throws".split(), "raises"),
    "note": "notes",
}
_BULLET = re.compile(r"(?:[-*+•]|\(?(?:\d{1,2}|[a-z])[.)])\s+(?=\S)")


@dataclass(frozen=True)
class Passage:
    """A paragraph or list entry of a docstring; section is a role, or `other`."""

    text: str
    section: str


@functools.lru_cache(maxsize=20_000)  # models are often copied with their docstrings
def read_passages(docstring: str) -> tuple[Passage, ...]:
    """Cut a docstring (indentation already cleaned) into passages of readable English.

    Doctests, code, tables, directive markup, section titles and `name : type` lines are dropped; numpydoc, sympy,
    Google and reStructuredText conventions are understood. The summary is the opening paragraph only: what follows it
    before the first section is `other`.
    """
    found = _sections(_drop_blocks(docstring.expandtabs().splitlines()))
    texts = [(clean_inline(text), section) for section, style, lines in found for text in _texts(section, style, lines)]
    return tuple(Passage(text, section) for text, section in texts if is_english(text))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _end_of(lines: list[str], start: int, goes_on: Callable[[str], object]) -> int:
    """Return the index after the lines from `start` that go on as asked."""
    return next((k for k in range(start, len(lines)) if not goes_on(lines[k])), len(lines))


def _block_end(lines: list[str], start: int, indent: int) -> int:
    """Return the index after the block of lines from `start` that are blank or deeper than `indent`."""
    return _end_of(lines, start, lambda line: not line.strip() or _indent(line) > indent)


def _drop_blocks(lines: list[str]) -> list[str]:
    """Drop doctests, code, tables and directives; keep the prose inside admonitions, at the directive's indentation."""
    kept, i = [], 0
    while i < len(lines):
        stripped = lines[i].strip()
        if stripped.startswith((">>>", "In [", "Out[")):
            i = _end_of(lines, i, str.strip)
        elif stripped.startswith("```"):
            i = _end_of(lines, i + 1, lambda line: not line.strip().startswith("```")) + 1
        elif _TABLE_RULE.match(stripped):
            i = _table_end(lines, i)
        elif _GRID.match(stripped):
            i += 1
        elif stripped.startswith(".. ") or stripped == "..":
            i = _directive(lines, i, kept)
        else:
            i = _plain_line(lines, i, kept)
    return kept


def _plain_line(lines: list[str], i: int, kept: list[str]) -> int:
    line = lines[i]
    if not line.rstrip().endswith("::"):
        kept.append(line)
        return i + 1
    kept.append(line.rstrip()[:-1])
    return _block_end(lines, i + 1, _indent(line))


def _table_end(lines: list[str], i: int) -> int:
    """Return the index after a simple table: the last rule of its run that a blank line or the end follows."""
    rules = (k for k in range(i + 1, len(lines)) if _TABLE_RULE.match(lines[k].strip()))
    return next((k + 1 for k in rules if not any(map(str.strip, lines[k + 1 : k + 2]))), len(lines))


def _directive(lines: list[str], i: int, kept: list[str]) -> int:
    """Handle one explicit markup block; return the index after what was consumed."""
    indent, stripped = _indent(lines[i]), lines[i].strip()
    end = _block_end(lines, i + 1, indent)
    citation, directive = _CITATION.match(stripped), _DIRECTIVE.match(stripped)
    if citation:
        kept.extend(["", " " * indent + citation.group(1)])
        kept.extend(" " * indent + line.strip() for line in lines[i + 1 : end])
    elif directive and directive.group(1).lower() in _ADMONITIONS:
        block = [line for line in lines[i + 1 : end] if not line.strip().startswith(":class:")]
        depth = min((_indent(line) for line in block if line.strip()), default=indent)
        inner = ([directive.group(2)] if directive.group(1) != "admonition" else []) + [line[depth:] for line in block]
        kept.extend(["", *(" " * indent + line if line.strip() else "" for line in _drop_blocks(inner)), ""])
    else:
        kept.append("")
    return end


_TYPED_ENTRY = re.compile(r"`{0,2}\w+`{0,2} \([`\w].{2,120}\)\s*:(\s|$)")


def _sections(lines: list[str]) -> list[tuple[str, str, list[str]]]:
    """Divide lines into (section, style, lines); style is `prose`, `numpydoc`, `google` or `field`."""
    found = [("summary", "prose", [])]
    heading_indent, i = 0, 0
    while i < len(lines):
        line, stripped = lines[i], lines[i].strip()
        style = found[-1][1]
        below = lines[i + 1].strip() if i + 1 < len(lines) else ""
        if stripped and len(stripped) < 70 and _UNDERLINE.match(below) and not _UNDERLINE.match(stripped):
            found.append((_section_titled(stripped, found), "numpydoc", []))
            i += 2
            continue
        if _UNDERLINE.match(stripped):
            found[-1][2].append("")
        elif style == "prose" and found[-1][0] in ("summary", "other") and _TYPED_ENTRY.match(stripped):
            heading_indent = -1  # a list of parameters without a heading: nothing is less indented
            found.append(("parameter", "google", [line]))
        elif opened := _opened(stripped):
            heading_indent = _indent(line)
            found.append(opened)
        elif style in ("google", "field") and stripped and _indent(line) <= heading_indent:
            found.append(("other", "prose", [line]))
        elif found[-1][0] == "summary" and not stripped and any(map(str.strip, found[-1][2])):
            found.append(("other", "prose", []))
        else:
            found[-1][2].append(line)
        i += 1
    return found


def _section_titled(title: str, found: list) -> str:
    known = _SECTION_OF.get(title.strip("*: ").lower())
    nothing_yet = len(found) == 1 and not any(map(str.strip, found[0][2]))
    return known or ("summary" if nothing_yet else "other")


def _opened(stripped: str) -> tuple[str, str, list[str]] | None:
    """Return the section that a line opens, if it is a Google heading or a reStructuredText field."""
    if ":" not in stripped:
        return None
    if match := _HEADING.match(stripped):
        section = _SECTION_OF.get(match.group(1).strip().lower())
        return (section, "google", []) if section else None
    if match := _INLINE_HEADING.match(stripped):
        return _SECTION_OF[match.group(1).lower()], "field", [match.group(2)]
    if match := _FIELD.match(stripped):
        section = _FIELD_SECTION.get(match.group(1))
        return section or "dropped", "field", [match.group(3)] if section else []
    return None


def _texts(section: str, style: str, lines: list[str]) -> list[str]:
    if section == "dropped":
        return []
    if style == "field":
        return [" ".join(line.strip() for line in lines)]
    if style == "prose" or section in ("summary", "notes", "examples", "references"):
        return _paragraphs(lines)
    return _entries(section, style, lines)


def _paragraphs(lines: list[str]) -> list[str]:
    blocks = itertools.groupby(map(str.strip, lines), bool)
    return [" ".join(map(_without_bullet, block)) for filled, block in blocks if filled]


def _without_bullet(stripped: str) -> str:
    match = _BULLET.match(stripped)
    return stripped[match.end() :] if match else stripped


_NAME_TYPE = re.compile(r"\S.{0,60}?\s:(\s|$)")
_NAMES = re.compile(r"[\w*`.,\[\]{}()'\"|/ -]{1,60}$")
_LEFT_OVER_LABEL = re.compile(r"[-*]?\s*`{0,2}\w+`{0,2}(?:\s\([^()]{1,80}\))?\s?(?::|--)\s+(?=[A-Z])")
_LABEL = re.compile(r"[-*]?\s*[`*\"']{0,3}[\w.*, \[\]|`'\"~]{1,60}")


def _entries(section: str, style: str, lines: list[str]) -> list[str]:
    """Return the descriptions in a list of parameters, returned values, exceptions or names, without their headers."""
    filled = [line for line in lines if line.strip()]
    base = min(map(_indent, filled), default=0)
    entries: list[list[str]] = []
    for k, line in enumerate(filled):
        stripped = line.strip()
        deeper = k + 1 < len(filled) and _indent(filled[k + 1]) > base
        if _indent(line) > base:
            entries = entries or [[]]
            entries[-1].append(_without_bullet(stripped))
        elif style == "google":
            unlabelled = _without_label(stripped)
            if entries and unlabelled == stripped:
                entries[-1].append(stripped)
            else:
                entries.append([unlabelled])
        else:
            entries.append([_numpydoc_header_rest(section, stripped, deeper)])
    return [_LEFT_OVER_LABEL.sub("", " ".join(filter(None, entry)), count=1) for entry in entries]


def _numpydoc_header_rest(section: str, stripped: str, deeper: bool) -> str:
    """Return what is prose in a line at the base of a numpydoc list: nothing of `name : type`, all of a sentence."""
    named = _NAME_TYPE.match(stripped)
    if section == "see_also":
        return stripped[named.end() :] if named else ("" if deeper or not is_english(stripped) else stripped)
    header = named or (deeper and len(stripped) < 80) or (section == "parameter" and _NAMES.match(stripped))
    if section in ("parameter", "returns", "raises", "other") and header and not is_english(stripped, min_words=7):
        return ""
    return "" if section == "parameter" and named else stripped


def _without_label(stripped: str) -> str:
    """Strip `name (type): ` or `type: ` from the first line of a Google entry."""
    match = _LABEL.match(stripped)
    end = match.end() if match else 0
    label = stripped[:end]
    if stripped[end : end + 1] == "(":
        end = _closing(stripped, end) + 1
    if stripped[end : end + 1] == ":" and len(label.split()) <= 5:
        return stripped[end + 1 :].strip()
    return stripped


def _closing(text: str, opening: int) -> int:
    """Return the index of the parenthesis that closes the one at `opening`, or the last index if none does."""
    depths = itertools.accumulate((char == "(") - (char == ")") for char in text[opening:])
    return next((opening + k for k, depth in enumerate(depths) if depth == 0), len(text) - 1)
