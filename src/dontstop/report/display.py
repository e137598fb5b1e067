"""How a table or figure is shown and written: readable in a notebook, in full precision and deterministic on disk."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from dontstop.machine.files import write_text, writing
from dontstop.report import labels, theme

_NAMED = {"arm": labels.arm, "other": labels.arm, "highest_mean": labels.arm, "contrast": labels.column}
_WRAP = "overflow-wrap: anywhere; max-width: 34em; text-align: left; vertical-align: top; white-space: pre-line"
_PARTS = ("std", "low", "high")  # shown within the value that stands to their left


class Table(Styler):
    """A table of texts that notebooks show whole, and that plain consoles read as Markdown."""

    def __repr__(self) -> str:
        return self.data.to_markdown(index=False, disable_numparse=True)


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with plain column names: (dapt, mean) is `dapt_mean`, (dapt_gain, effect) is `dapt_gain`."""
    if frame.columns.nlevels == 1:
        return frame
    names = [name if part in ("", "effect") else f"{name}_{part}" for name, part in frame.columns]
    return frame.set_axis(names, axis=1)


def readable(frame: pd.DataFrame, decimals: int | None = None) -> pd.DataFrame:
    """Write every cell for a reader: `50.3 (1.2)` for mean and std, `+1.0 [+0.3, +1.8]` for a value and its interval.

    Args:
        frame: In full precision. A `std`, or `low` and `high`, belong to the column to their left (so do `iqm_low` and
            `iqm_high` to `iqm`); where columns have two levels, they are those of an arm or contrast and its `mean`,
            `std`, `effect`, `low`, `high`, `p`.
        decimals: Of every number but counts and p-values, where not those that `labels.COLUMNS` has.

    Returns:
        Texts, under the names that `labels` has; an index is shown where it has a name.
    """
    frame = frame.reset_index() if frame.index.name or frame.index.nlevels > 1 else frame
    texts, headings, form, value = [], [], (1, False), None
    for place, name in enumerate(frame.columns):
        group, part = (
            name if isinstance(name, tuple) else (name, _part(name, value))
        )
        part = part or group
        value = group if part not in _PARTS else value
        if part not in _PARTS:
            form = _form(group, part, decimals)
        shown = [_cell(part, value, *form) for value in frame.iloc[:, place]]
        if part not in _PARTS:
            texts.append(shown)
            headings.append(labels.column(group) if part != "p" else f"{labels.column(group)}: p")
        elif part != "high":
            ends = frame.iloc[:, place + 1] if part == "low" else None
            others = None if ends is None else [labels.text(end, form[0], signed=form[1]) for end in ends]
            texts[-1] = [_joined(*parts) for parts in zip(texts[-1], shown, others or [None] * len(shown), strict=True)]
    return pd.DataFrame({place: column for place, column in enumerate(texts)}).set_axis(_distinct(headings), axis=1)


def _part(name: str, value: str | None) -> str:
    """Tell whether a column is a part of the value to its left."""
    return {f"{value}_{part}": part for part in _PARTS}.get(name, name)


def _form(group: str, part: str, decimals: int | None) -> tuple[int, bool]:
    known = labels.Column("", signed=True) if part == "effect" != group else labels.COLUMNS.get(part, labels.Column(""))
    keeps = decimals is None or known.decimals == labels.P_DECIMALS
    return known.decimals if keeps else decimals, known.signed


def _cell(name: str, value, decimals: int, signed: bool) -> str:
    if name in _NAMED and isinstance(value, str):
        return _NAMED[name](value)
    return labels.text(value, decimals, signed=signed and name != "std")


def _joined(value: str, more: str, end: str | None) -> str:
    if "–" in (more, end):
        return value
    return f"{value} ({more})" if end is None else f"{value} [{more}, {end}]"


def _distinct(headings: list[str]) -> list[str]:
    """Tell equal headings apart by spaces that no reader sees, since a Styler refuses doubles."""
    return [heading + " " * headings[:place].count(heading) for place, heading in enumerate(headings)]


def _is_text(column: pd.Series) -> bool:
    return not all(cell[:1] in "−–+0123456789" for cell in column if cell)


def styled(frame: pd.DataFrame, decimals: int | None = None) -> Table:
    """Return what a notebook shows of a table: every row, nothing cut, text inert, numbers to the right."""
    shown = readable(frame, decimals)
    table = Table(shown, uuid="", cell_ids=False)
    table.format(escape="html").format_index(escape="html", axis=1).hide(axis="index")
    words = [name for name in shown if _is_text(shown[name])]
    numbers = [name for name in shown if name not in words]
    sides = {name: [("", _WRAP)] for name in words} | {
        name: [("", "text-align: right; white-space: nowrap")] for name in numbers
    }
    return table.set_table_styles(sides)


def to_markdown(frame: pd.DataFrame, decimals: int | None = None) -> str:
    """Write a table as Markdown, for readers of its file."""
    shown = readable(frame, decimals)
    sides = ["left" if _is_text(shown[name]) else "right" for name in shown]
    shown = shown.replace({r"\|": r"\\|", r"\s*\n\s*": " "}, regex=True)
    return shown.to_markdown(index=False, disable_numparse=True, colalign=sides if len(shown) else None) + "\n"


def write_table(frame: pd.DataFrame, path_without_suffix: Path, decimals: int | None = None) -> None:
    """Write a table as CSV in full precision and as Markdown for reading, each file whole or not at all."""
    named = frame.index.name is not None or frame.index.nlevels > 1
    for kind, text in (("csv", flat(frame).to_csv(index=named)), ("md", to_markdown(frame, decimals))):
        write_text(path_without_suffix.with_name(f"{path_without_suffix.name}.{kind}"), text)


def write_figure(figure: Figure, path_without_suffix: Path) -> None:
    """Write a figure as SVG and as PNG, each file whole or not at all; equal data gives equal bytes."""
    for kind in ("svg", "png"):
        with writing(path_without_suffix.with_name(f"{path_without_suffix.name}.{kind}")) as part:
            part.write_bytes(theme.rendered(figure, kind))


def show(thing: pd.DataFrame | Figure, path_without_suffix: Path, decimals: int | None = None) -> Table | Figure:
    """Write a table or figure, and return what a notebook displays of it."""
    if isinstance(thing, Figure):
        write_figure(thing, path_without_suffix)
        return thing
    write_table(thing, path_without_suffix, decimals)
    return styled(thing, decimals)
