"""Cut text into the pieces that are selected: sentences, passages, or whole documents."""

import re

# Words that a full stop follows without ending a sentence; single letters (initials, "e.g.", "i.e.") likewise.
_ABBREVIATIONS = set("etc cf vs fig figs eq eqs al approx resp ref refs sec vol no pp ed eds dr mr mrs ms prof".split())
_BOUNDARY = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[`]*[A-Z0-9])")
_LAST_WORD = re.compile(r"([A-Za-z]+)\.[\"')\]]*$")
_BLANK_LINE = re.compile(r"\n\s*\n")


def split_text(text: str, granularity: str) -> list[str]:
    """Cut a document into pieces.

    Args:
        text: Passages are parted by blank lines.
        granularity: `sentence` (the paper's), `passage` or `document`.
    """
    if granularity == "document":
        return [text]
    passages = [passage.strip() for passage in _BLANK_LINE.split(text)]
    if granularity == "passage":
        return [passage for passage in passages if passage]
    return [sentence for passage in passages for sentence in split_sentences(passage)]


def split_sentences(text: str) -> list[str]:
    """Cut a passage after full stops, question and exclamation marks that a capital letter or a digit follows."""
    sentences, start = [], 0
    for match in _BOUNDARY.finditer(text):
        last = _LAST_WORD.search(text[start : match.start()])
        if last and (len(last.group(1)) == 1 or last.group(1).lower() in _ABBREVIATIONS):
            continue
        sentences.append(text[start : match.end()].strip())
        start = match.end()
    return [sentence for sentence in [*sentences, text[start:].strip()] if sentence]
