"""How a table or figure is shown and written: readable in a notebook, in full precision and deterministic on disk."""

import html
import re
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas import DataFrame, Series
from pandas.api.types import is_numeric_dtype
from pandas.io.formats.style import Styler

from dontstop.errors import visible
from dontstop.machine.files import fingerprint, write_text, writing
from dontstop.report import labels, theme

_NAMED = dict.fromkeys(("arm", "other", "highest_mean"), labels.arm)
_NAMED |= dict.fromkeys(("contrast", "distance", "other_distance"), labels.column)
_NAMED |= dict.fromkeys(("task", "domain", "encoder", "held_out", "checkpoint", "corpus"), labels.spelt)
_NAMED["metric"] = lambda name: name.replace("_f1", "-F1")
_NAMED["selector"] = lambda name: labels.SELECTORS.get(name, name)
# Long text wraps, and is not squeezed by the columns beside it; numbers stay on their line; headings wrap.
_TEXT = "overflow-wrap: break-word; max-width: 24em; text-align: left; vertical-align: top; white-space: pre-line; "
_NUMBER = "text-align: right; vertical-align: top; white-space: nowrap"
_HEADING = {"selector": "th.col_heading", "props": "white-space: normal; vertical-align: bottom"}
# The rows' names stay in sight where a table is wider than its place, which scrolls.
_STAYS = "; position: sticky; left: 0; z-index: 1; background: var(--jp-layout-color0, white)"
_WIDTH = theme.StudyFigure.WIDTH
_MOST_ROWS = 40  # of a table that is shown in its full height
_LETTER, _MOST_LETTERS = 0.55, 24  # em; letters that a column of text has room for at least, if it has as many
_NUMERIC = re.compile(r"[<×+−–\d][×+−–\d.,\s%()\[\]]*")
# What Markdown and MathJax would act on: emphasis, code, links and formulas, in texts that others have written.
_LIVE = re.compile(r"[*`~$\\]|(?<=\])\(|(?<![A-Za-z0-9])_+|_+(?![A-Za-z0-9])")
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20].")  # what spreadsheets take for one, full-width signs too
_PARTS = ("std", "low", "high")  # shown within the value that stands to their left
# What CSV files have and pages do not show: of claims what stands beside them or is told below, and some counts.
_IN_FILES = frozenset({"place", "margin", "num_left_out", "num_sample_words", "tasks", "paper_tasks"})
_IN_FILES |= {"num_text_tokens", "tokens_processed"}
_COUNTS = frozenset({"num_replicates", "num_seeds", "num_degenerate"})
_MOST_CONTRASTS = 3  # of a table of scores, beside the arms; where there are more, the figure above has them
_MOST_ARMS = 7  # of a table of scores with their deviations


class Table(Styler):
    """A table of texts that notebooks show whole, and that plain consoles read as Markdown."""

    def to_html(self, *args, **how) -> str | None:
        """Write it as `Styler` does, in a place of a notebook's width; what is wider, or long, scrolls in it."""
        written = super().to_html(*args, **how)
        height = "; max-height: 36em" if len(self.data) > _MOST_ROWS else ""
        place = f'<div style="max-width: {_WIDTH}px{height}; overflow: auto">'
        return None if written is None else f"{place}{written}</div>"

    def __repr__(self) -> str:
        return self.data.map(visible).to_markdown(index=False, disable_numparse=True)


def flat(frame: DataFrame) -> DataFrame:
    """Return a table with plain column names: (dapt, mean) is `dapt_mean`, (dapt_gain, effect) is `dapt_gain`."""
    if frame.columns.nlevels == 1:
        return frame
    names = [name if part in ("", "effect") else f"{name}_{part}" for name, part in frame.columns]
    return frame.set_axis(names, axis=1)


def readable(frame: DataFrame, decimals: int | None = None) -> DataFrame:
    """Write every cell for a reader: `50.3 (1.2)` for mean and std, `+1.0 [+0.3, +1.8]` for a value and its interval.

    Args:
        frame: In full precision. A `std`, or `low` and `high`, belong to the column to their left (so does
            `jensen_shannon_low` to `jensen_shannon`); where columns have two levels, they are those of an arm or
            contrast and its `mean`, `std`, `effect`, `low`, `high`, `p`.
        decimals: Of every number but counts and p-values, where not those that `labels.COLUMNS` has.

    Returns:
        Texts, under the names that `labels` has; an index is shown where it has a name.
    """
    frame = frame.reset_index() if frame.index.name or frame.index.nlevels > 1 else frame
    factors = frame["task"].isin(labels.RATIOS) if "task" in frame.columns else [False] * len(frame)
    shown: dict[str, list[str]] = {}
    for name, part, places in _grouped(frame.columns):
        is_contrast = part == "effect" != name
        known = (not is_contrast and labels.COLUMNS.get(part)) or labels.Column("", signed=is_contrast)
        keeps = decimals is None or known.decimals == labels.P_DECIMALS
        write = partial(_cell, column=part, decimals=known.decimals if keeps else decimals, signed=known.signed)
        columns = [map(write, frame.iloc[:, place], factors) for place in places]
        heading = labels.column(name) + (": p" if part == "p" != name else "")
        while heading in shown:
            heading += " "  # a Styler refuses doubles; no reader sees the space
        shown[heading] = [_merged(*cells) for cells in zip(*columns, strict=True)]
    return DataFrame(shown, dtype=object)


def _grouped(columns: pd.Index) -> list[tuple[str, str, list[int]]]:
    """Return values with their names, their parts (`mean`, `effect`), and the places of all columns that are theirs."""
    groups: list[tuple[str, str, list[int]]] = []
    for place, column in enumerate(columns):
        name, part = column if isinstance(column, tuple) else (column, column)
        of_last = {f"{groups[-1][0]}_{part}": part for part in _PARTS} if groups else {}
        if of_last.get(part, part) in _PARTS:
            groups[-1][2].append(place)
        else:
            groups.append((name, part or name, [place]))
    return groups


def _cell(value: Any, factor: bool, column: str, decimals: int, signed: bool) -> str:
    if isinstance(value, str):
        return _NAMED.get(column, str)(value)
    if column.split("_")[0] == "p" and isinstance(value, float) and value < 10**-decimals / 2:
        return f"<{10**-decimals:.{decimals}f}"
    if signed and factor:
        return f"<{10**-decimals}" if 0 < value < 10**-decimals else f"×{labels.text(value, decimals)}"
    return labels.text(value, decimals, signed=signed)


def _merged(value: str, *more: str) -> str:
    """Write a value with its std, or its interval, where they are known."""
    if not more or not {"–", "×–"}.isdisjoint(more):
        return value
    return f"{value} ({more[0].lstrip('+')})" if len(more) == 1 else f"{value} [{', '.join(more)}]"


def _is_text(column: Series) -> bool:
    return not all(_NUMERIC.fullmatch(cell) for cell in column if cell)


def _look(column: Series, stays: bool) -> str:
    """Return how a column looks: of text or of numbers, and in sight throughout if it names the rows."""
    letters = min(_MOST_LETTERS, int(column.map(len).max()) if len(column) else 0)
    look = f"{_TEXT}min-width: {_LETTER * letters:.0f}em" if _is_text(column) else _NUMBER
    return look + (_STAYS if stays else "")


def narrowed(frame: DataFrame) -> DataFrame:
    """Leave out of a table what makes it wider than a page, and stands in its CSV file: p of contrasts, counts.

    Of a table of scores, which has columns of two levels, contrasts too where they are many, and deviations of many
    arms.
    """
    if frame.columns.nlevels == 1:
        return frame.drop(columns=[name for name in frame if name in _IN_FILES])
    contrasts, arms = ([name for name, part in frame.columns if part == what] for what in ("effect", "mean"))
    names = _COUNTS.union(contrasts if len(contrasts) > _MOST_CONTRASTS else ())
    parts = ("p", "std") if len(arms) > _MOST_ARMS else ("p",)
    return frame.loc[:, [name not in names and part not in parts for name, part in frame.columns]]


def styled(frame: DataFrame, decimals: int | None = None) -> Table:
    """Return what a notebook shows of a table: every row, nothing cut, text inert, numbers to the right.

    Columns without any entry are left out, and those that only its files have (`narrowed`); of a table without rows it
    is said that it has none.
    """
    shown = readable(narrowed(frame), decimals)
    shown = shown.loc[:, ~shown.isin(["", "-", "–"]).all() | shown.empty]
    # Several tables share a page, where each needs a name of its own; equal tables have equal ones.
    table = Table(shown, uuid=fingerprint(shown.to_dict("list"))[:12], cell_ids=False)
    table.format(_inert_html).format_index(_inert_html, axis=1).hide(axis="index")
    named = next((name for name in map(labels.column, ("task", "arm")) if name in shown), next(iter(shown), None))
    looks = {name: [{"selector": "", "props": _look(shown[name], name == named)}] for name in shown}
    if shown.empty:
        table.set_caption("none")
    return table.set_table_styles(looks).set_table_styles([_HEADING], overwrite=False)


def listed(*sentences: str) -> Markdown:
    """Return sentences as a list for a notebook."""
    return Markdown("\n".join(f"- {sentence}" for sentence in sentences))


def to_markdown(frame: DataFrame, decimals: int | None = None) -> str:
    """Write a table as Markdown, for readers of its file."""
    shown = readable(frame, decimals)
    sides = ["left" if _is_text(shown[name]) else "right" for name in shown]
    shown = shown.map(_inert_markdown).rename(columns=_inert_markdown)
    return shown.to_markdown(index=False, disable_numparse=True, colalign=sides if len(shown) else None) + "\n"


def to_csv(frame: DataFrame) -> str:
    """Write a table as CSV in full precision; texts that a spreadsheet would run as a formula begin with `'`."""
    named = frame.index.name is not None or frame.index.nlevels > 1
    plain = flat(frame).reset_index() if named else flat(frame)
    texts = {name: column.map(_inert_csv) for name, column in plain.items() if not is_numeric_dtype(column)}
    return plain.assign(**texts).rename(columns=_inert_csv).to_csv(index=False)


def _inert_markdown(cell: str) -> str:
    """Write a cell of a Markdown table so that all of it is shown as it is."""
    line = re.sub(r"\s*\n\s*", " ", visible(cell))
    return _LIVE.sub(_spelt, html.escape(line, quote=False)).replace("|", r"\|")


def _inert_html(cell: str) -> str:
    """Write a cell of an HTML table so that it is text, and no formula in it is set."""
    return re.sub(r"[$\\]", _spelt, html.escape(visible(cell)))


def _spelt(found: re.Match[str]) -> str:
    """Spell characters by their numbers; those of formulas stand by themselves, since MathJax reads the page itself."""
    spelt = "".join(f"&#{ord(character)};" for character in found[0])
    return f"<span>{spelt}</span>" if found[0] in "$\\" else spelt


def _inert_csv(cell: Any) -> Any:
    """Write a text, a number or nothing as a cell of a CSV file that runs nothing; numbers stay as they are."""
    if not isinstance(cell, str):
        return cell
    runs = _FORMULA.match(cell) and not labels.is_number(cell)
    return ("'" if runs else "") + visible(cell)


def write_table(frame: DataFrame, path_without_suffix: Path, decimals: int | None = None) -> None:
    """Write a table as CSV, whole and in full precision, and as Markdown, no wider than a page; each whole or not."""
    for kind, text in (("csv", to_csv(frame)), ("md", to_markdown(narrowed(frame), decimals))):
        write_text(_file(path_without_suffix, kind), text)


def write_figure(figure: Figure, path_without_suffix: Path) -> None:
    """Write a figure as SVG and as PNG, each file whole or not at all; equal data gives equal bytes."""
    for kind in ("svg", "png"):
        with writing(_file(path_without_suffix, kind)) as part:
            part.write_bytes(theme.rendered(figure, kind))


def _file(path_without_suffix: Path, kind: str) -> Path:
    return path_without_suffix.with_name(f"{path_without_suffix.name}.{kind}")


def show(
    thing: DataFrame | Figure | None, path_without_suffix: Path, decimals: int | None = None
) -> Table | Figure | None:
    """Write a table or figure, and return what a notebook displays of it.

    Of None, a figure without anything to draw, nothing is shown, and files of an earlier one are removed.
    """
    if thing is None:
        for kind in ("svg", "png"):
            _file(path_without_suffix, kind).unlink(missing_ok=True)
        return None
    if isinstance(thing, Figure):
        write_figure(thing, path_without_suffix)
        return thing
    write_table(thing, path_without_suffix, decimals)
    return styled(thing, decimals)
