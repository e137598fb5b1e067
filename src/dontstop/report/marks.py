"""What figures are put together from: heat maps, error bars, rows, text, and labels that do not touch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from pandas import DataFrame

from dontstop.report import labels, theme

HALO = {"path_effects": [withStroke(linewidth=2.5, foreground="white")]}
FONT, _POINTS, _ADVANCE = "DejaVu Sans Mono", 9, 0.602  # of its size is the advance of each letter of this font
LINE = 0.21  # inches
_WIDEST = int((theme.StudyFigure.INCHES - 0.3) * 72 / (_ADVANCE * _POINTS))  # letters of a line
Piece = tuple[int, str, object]  # in which column a word begins, its text, the colour of its box
_APART = 0.08  # of the axes' width: points with less between them have their names in one column
_LINE_OF_LABELS = 1.45  # of their size is the least distance of two labels


def heatmap(
    axes: Axes,
    numbers: DataFrame,
    decimals: int,
    colours: DataFrame | None = None,
    *,
    signed: bool = False,
    spell: Callable = labels.on_lines,
    size: float = 10,
    **how,
) -> None:
    """Draw a table of numbers, coloured by themselves or by a like table; `spell` names rows, `how` is seaborn's."""
    colours = numbers if colours is None else colours
    written = numbers.astype(float).map(partial(labels.number, decimals=decimals, signed=signed))
    looks = {"cbar": False, "linewidths": 1.5, "linecolor": "white", "annot": written}
    # No shade of changes is too dark for black; of others, seaborn writes white on the dark ones.
    looks["annot_kws"] = {"size": size} | ({"color": "black"} if how.get("cmap") is theme.CHANGES else {})
    seaborn.heatmap(colours.astype(float), fmt="", ax=axes, **looks | how)
    axes.set(facecolor="#f0f0f0", xlabel="", ylabel="")
    axes.grid(False)
    axes.set_xticks(np.arange(len(numbers.columns)) + 0.5, map(labels.on_lines, numbers.columns), rotation=0)
    axes.set_yticks(np.arange(len(numbers.index)) + 0.5, map(spell, numbers.index), rotation=0)
    axes.tick_params(length=0)


def frame_cell(axes: Axes, row: int, column: int, colour: str = theme.INK) -> None:
    """Frame a cell of a heat map."""
    looks = {"fill": False, "edgecolor": colour, "linewidth": 2, "clip_on": False}
    axes.add_patch(Rectangle((column + 0.03, row + 0.04), 0.94, 0.92, **looks))


def frame_own(axes: Axes, table: DataFrame, own: Mapping[str, str]) -> None:
    """Frame, in each row of a heat map, the cell of the column that is its own."""
    for row, name in enumerate(table.index):
        if own.get(name) in table.columns:
            frame_cell(axes, row, list(table.columns).index(own[name]))


def bars(frame: DataFrame, value: str, low: str = "low", high: str = "high") -> np.ndarray:
    """Return the lengths of error bars, (2, num_rows), zero where there is no interval."""
    lengths = np.stack([frame[value] - frame[low], frame[high] - frame[value]]).astype(float)
    return np.nan_to_num(lengths).clip(min=0)


def name_rows(axes: Axes, names: Sequence[str], **how) -> None:
    """Name the rows of a figure, the first above, and shade every second one."""
    axes.set_yticks(range(len(names)), names, **how)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    for row in range(1, len(names), 2):
        axes.axhspan(row - 0.5, row + 0.5, color=theme.BAND, zorder=0, linewidth=0)


def label_beside(axes: Axes, at: float, x: Sequence[float], y: Sequence[float], names: Sequence[str]) -> None:
    """Write names in a column right of a place, each as near to its point's height as they do not touch, with lines."""
    axes.figure.draw_without_rendering()  # settles the layout, which places in pixels depend on
    size, points = 9.5, 72 / axes.figure.dpi  # of a pixel
    places = axes.transData.transform(np.stack([x, y], axis=1)) * points
    order, heights = np.argsort(places[:, 1], kind="stable"), places[:, 1].copy()
    for last, k in zip(order, order[1:], strict=False):
        heights[k] = max(heights[k], heights[last] + _LINE_OF_LABELS * size)
    heights -= (heights - places[:, 1]).mean()  # pushed apart upwards only, all come down together
    left = axes.transData.transform((at, 0))[0] * points + 14
    line = {"arrowstyle": "-", "color": theme.GREY, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 2, "relpos": (0, 0.5)}
    how = {"textcoords": "offset points", "va": "center", "fontsize": size, "color": theme.INK, "zorder": 1.9, **HALO}
    for point, place, height, name in zip(zip(x, y, strict=True), places, heights, names, strict=True):
        offset = left - place[0], height - place[1]
        axes.annotate(name, point, offset, arrowprops=line, annotation_clip=False, **how)


def label_ends(axes: Axes, x: float, ends: Sequence[float], names: Sequence[str]) -> None:
    """Write names beside the right ends of lines, where the axes end too."""
    axes.set_xlim(right=x)
    label_beside(axes, x, [x] * len(ends), ends, names)


def label_points(axes: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> None:
    """Write names beside their points: points that stand near one another have theirs in one column."""
    across = axes.transAxes.inverted().transform(axes.transData.transform(np.stack([x, y], axis=1)))[:, 0]
    order = np.argsort(across)
    groups = np.split(order, np.flatnonzero(np.diff(across[order]) > _APART) + 1)
    for group in groups:
        rightmost = group[across[group].argmax()]
        label_beside(axes, x[rightmost], x[group], y[group], [names[k] for k in group])


def lines_of(pieces: Iterable[tuple[str, object]], indent: int = 0) -> Iterator[list[Piece]]:
    """Break words, each with the colour of its box or None, into lines; `indent` letters stand free before each."""
    line, column = [], indent
    for text, colour in pieces:
        if column + len(text) > _WIDEST and line:
            yield line
            line, column = [], indent
        line.append((column, text, colour))
        column += len(text) + 1
    yield line


def write_lines(figure: theme.StudyFigure, lines: Sequence[list[Piece]]) -> None:
    """Write lines of pieces below a figure's heading; what is drawn goes below them."""
    width, height = figure.get_size_inches()
    top = figure.get_layout_engine().get()["rect"][3] * height
    looks = {"fontfamily": FONT, "fontsize": _POINTS, "color": "black", "va": "baseline", "parse_math": False}
    for row, line in enumerate(lines):
        y = (top - 0.16 - LINE * row) / height
        for column, text, colour in line:
            x = (0.1 + column * _ADVANCE * _POINTS / 72) / width
            box = (
                None if colour is None else {"facecolor": colour, "edgecolor": theme.GREY, "linewidth": 0.5, "pad": 1.4}
            )
            figure.text(x, y, text, bbox=box, **looks)
    figure.get_layout_engine().set(rect=(0, 0, 1, (top - LINE * len(lines)) / height))
