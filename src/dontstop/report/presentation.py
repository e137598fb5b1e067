"""How a table is shown and written: rounded for reading, whole in a notebook, as CSV and Markdown on disk."""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dontstop.machine.files import write_text

P_DECIMALS = 3  # of p-values, in columns `p_value`, `p_...` and `..._p`


class ShownTable(pd.DataFrame):
    """A table of texts that notebooks show whole: no row left out, no text cut short, numbers to the right."""

    def _repr_html_(self) -> str:
        sides = ["right" if all(map(_NUMBER.match, map(str, self[column]))) else "left" for column in self]
        rows = [_html_row("th", self.columns, sides)]
        rows += [_html_row("td", row, sides) for row in self.itertuples(index=False, name=None)]
        return f"<table>\n{''.join(rows)}</table>"


_NUMBER = re.compile(r"[−–\d]")


def _html_row(kind: str, texts: Sequence[Any], sides: Sequence[str]) -> str:
    cells = (_html_cell(kind, str(text), side) for text, side in zip(texts, sides, strict=True))
    return f"<tr>{''.join(cells)}</tr>\n"


def _html_cell(kind: str, text: str, side: str) -> str:
    """Write one cell: numbers stay on one line, long identifiers may be broken after their dots."""
    style = "text-align: right; white-space: nowrap" if side == "right" else "text-align: left"
    text = html.escape(text).replace("\n", "<br>")
    return f'<{kind} style="{style}">{text if side == "right" else text.replace(".", ".<wbr>")}</{kind}>'


def for_display(table: pd.DataFrame, decimals: int = 1) -> ShownTable:
    """Round for reading: `64.5 (1.8)` for mean and std, `2.0 [0.9, 3.1]` for a value and its interval, `-` for nothing.

    Args:
        table: Full precision; it is left as it is.
        decimals: Of every number that is not a count; from 1,000 on there are none.

    Returns:
        Text throughout; columns `_std`, `_low` and `_high` are merged into the column they belong to.
    """
    shown = {}
    for column in table.columns:
        name = str(column)
        text = _texts(table[column], P_DECIMALS if name.startswith("p_") or name.endswith("_p") else decimals)
        stem = name.removesuffix("_mean")
        if name.endswith("_std") and f"{name[:-4]}_mean" in table:
            continue
        if name.endswith(("_low", "_high")) and name.rsplit("_", 1)[0] in table:
            continue
        if name.endswith("_mean") and f"{stem}_std" in table:
            text = _joined(text, "{} ({})", _texts(table[f"{stem}_std"], decimals))
        if f"{name}_low" in table and f"{name}_high" in table:
            text = _joined(text, "{} [{}, {}]", *(_texts(table[f"{name}_{b}"], decimals) for b in ("low", "high")))
        shown[stem] = text
    return ShownTable(shown, index=table.index)


def _joined(texts: list[str], pattern: str, *more: list[str]) -> list[str]:
    return [text if "–" in parts else pattern.format(text, *parts) for text, *parts in zip(texts, *more, strict=True)]


def _texts(column: pd.Series, decimals: int) -> list[str]:
    return [_text(value, decimals) for value in column]


def _text(value: Any, decimals: int) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        decimals = decimals if abs(value) < 1000 else 0
        return f"{value:,.{decimals}f}".replace("-", "−") if round(value, decimals) else f"{0:.{decimals}f}"
    return str(value)


def to_markdown(table: pd.DataFrame, decimals: int = 1) -> str:
    """Render a table as Markdown, rounded for reading; the index is shown where it has a name."""
    table = table.reset_index() if table.index.name else table
    shown = for_display(table, decimals)
    numeric = [pd.api.types.is_numeric_dtype(table[c]) for c in table if c in shown or str(c).endswith("_mean")]
    lines = [list(shown.columns), *shown.to_numpy().tolist()]
    widths = [max(len(str(line[i]).replace("|", r"\|")) for line in lines) for i in range(len(shown.columns))]

    def row(cells):
        cells = [str(cell).replace("|", r"\|").replace("\n", " ") for cell in cells]
        padded = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(cells, widths, numeric, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (w + 1) + ":" if n else "-" * (w + 2) for w, n in zip(widths, numeric, strict=True))
    return "\n".join([row(lines[0]), f"|{rule}|", *map(row, lines[1:])]) + "\n"


def write_table(table: pd.DataFrame, path_without_suffix: Path, decimals: int = 1) -> None:
    """Write a table as CSV in full precision and as Markdown for reading, each file whole or not at all."""
    named = table.index.name is not None
    write_text(path_without_suffix.with_name(f"{path_without_suffix.name}.csv"), table.to_csv(index=named))
    write_text(path_without_suffix.with_name(f"{path_without_suffix.name}.md"), to_markdown(table, decimals))
