"""What this study does otherwise than the paper, collected from the docstrings that say so."""

import ast
import re
from pathlib import Path

INTRODUCTION = """# Departures from the paper

What the code does otherwise than Gururangan et al. (2020), and why. Each entry stands in the docstring or comment of
the code it speaks of; `dontstop departures` collects them here, and a test holds this page to the code. Settings that
differ from the paper's (sizes, steps, learning rates) are listed by every notebook, in its table of settings.
"""


def collect(folder: Path = Path(__file__).parent) -> list[tuple[str, str]]:
    """Return (place, text) of every departure in the package, by module and line.

    A docstring's departure is the paragraph, or the part of one, from `Departure:` to the next blank line or section.
    """
    found = []
    for path in sorted(folder.rglob("*.py")):
        if path.name == Path(__file__).name:
            continue
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                place = f"{path.stem}.{node.name}" if hasattr(node, "name") else path.stem
                found += [(place, text) for text in _departures(ast.get_docstring(node) or "")]
        comments = "\n".join(m.group(1) for m in re.finditer(r"^# ?(.*)$", source, re.MULTILINE))
        found += [(path.stem, text) for text in _departures(comments.replace("\\n", "\n"))]
    return found


def _departures(text: str) -> list[str]:
    parts = re.findall(r"Departure: (.*?)(?=\n\s*\n|\n(?:Source|Args|Returns|Raises|Departure):|\Z)", text, re.DOTALL)
    return [" ".join(part.split()) for part in parts]


def to_markdown() -> str:
    """Return the page docs/departures.md."""
    entries = [f"- **{place}**: {text[0].upper()}{text[1:]}" for place, text in collect()]
    return INTRODUCTION + "\n" + "\n".join(entries) + "\n"
