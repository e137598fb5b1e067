"""What figures are put together from: heat maps, error bars, rows, text, and labels that do not touch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise, product

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from pandas import DataFrame

from dontstop.report import labels, theme

HALO = {"path_effects": [withStroke(linewidth=2.5, foreground="white")]}
FONT, _POINTS, _ADVANCE = "DejaVu Sans Mono", 9, 0.602  # of its size is the advance of each letter of this font
LINE = 0.21  # inches
_WIDEST = int((theme.StudyFigure.INCHES - 0.3) * 72 / (_ADVANCE * _POINTS))  # letters of a line
Piece = tuple[int, str, object]  # in which column a word begins, its text, the colour of its box
_LABEL = 9.5  # size of a point's name
_ANGLES = np.radians([0, 180, 30, -30, 150, -150, 60, -60, 120, -120, 90, -90])  # where a name is tried, in order
_DISTANCES = (7, 14, 24, 36, 50, 70, 95)  # points, from the point to its name
_ALONG = np.linspace(0.25, 0.9, 8)  # parts of a line to a name that are looked at
_NEAR = 10  # points: a name as near needs no line
_LINE_OF_LABELS = 1.45  # of their size is the least distance of two labels


def heatmap(axes: Axes, numbers: DataFrame, decimals: int, *, spell: Callable = labels.on_lines, **how) -> None:
    """Draw a table of numbers, coloured by themselves; `spell` names rows, `how` is seaborn's."""
    numbers = numbers.astype(float)
    looks = {"cbar": False, "linewidths": 1.5, "linecolor": "white", "annot_kws": {"size": 10}}
    looks["annot"] = numbers.map(partial(labels.number, decimals=decimals))
    seaborn.heatmap(numbers, fmt="", ax=axes, **looks | how)
    axes.set(facecolor="#f0f0f0", xlabel="", ylabel="")
    axes.grid(False)
    room = axes.get_position().width * theme.StudyFigure.INCHES / len(numbers.columns) - 0.05
    names = [theme.wrapped(labels.spelt(name), 9.5, inches=room) for name in numbers.columns]
    axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=0)
    axes.set_yticks(np.arange(len(numbers.index)) + 0.5, map(spell, numbers.index), rotation=0)
    axes.tick_params(length=0)


def heatmap_of_changes(
    axes: Axes, changes: DataFrame, decimals: int, *, is_of_losses: bool = False, least_range: float = 0.0, **how
) -> None:
    """Draw a table of changes as `heatmap` does: white where nothing changes, blue where it does for the better.

    Args:
        is_of_losses: Whether less is better.
        least_range: What the darkest shade stands for at least, so that what is small does not look large.
    """
    changes = changes.astype(float)
    limit = float(np.nanmax(np.abs(changes), initial=least_range)) or 1.0
    written = changes.map(partial(labels.number, decimals=decimals, signed=True))
    # No shade is too dark for black; on its dark ones, seaborn would write white.
    looks = {"annot": written, "annot_kws": {"size": 10, "color": "black"}}
    looks |= {"cmap": theme.CHANGES, "vmin": -limit, "vmax": limit}
    heatmap(axes, changes if is_of_losses else -changes, decimals, **looks | how)


def heatmap_of_pairs(axes: Axes, table: DataFrame, cmap: str, most: float) -> None:
    """Draw a symmetric table of whole numbers as `heatmap` does, each pair once, on a scale from zero to `most`."""
    lower = table.iloc[1:, :-1]
    heatmap(axes, lower, 0, cmap=cmap, vmin=0, vmax=most, mask=~np.tri(len(lower), dtype=bool))
    axes.set_facecolor("white")


def frame(axes: Axes, table: DataFrame, cells: Iterable[tuple[str, str]]) -> None:
    """Frame cells of a heat map of a table, as far as it has them: pairs of a row's and a column's name."""
    looks = {"fill": False, "edgecolor": theme.INK, "linewidth": 2, "clip_on": False}
    for row, column in cells:
        if row in table.index and column in table.columns:
            corner = table.columns.get_loc(column) + 0.03, table.index.get_loc(row) + 0.04
            axes.add_patch(Rectangle(corner, 0.94, 0.92, **looks))


def embolden(texts: Iterable[Text], which: Iterable[bool]) -> None:
    """Write some of texts in bold, and the others not."""
    for text, is_bold in zip(texts, which, strict=True):
        text.set_fontweight("bold" if is_bold else "normal")


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
    shade_rows(axes, len(names))


def shade_rows(axes: Axes, num: int) -> None:
    """Shade every second row of a figure."""
    for row in range(1, num, 2):
        axes.axhspan(row - 0.5, row + 0.5, color=theme.BAND, zorder=0, linewidth=0)


def label_ends(axes: Axes, x: float, ends: Sequence[float], names: Sequence[str]) -> None:
    """Write names beside the right ends of lines, where the axes end too: as near to them as names do not touch."""
    axes.set_xlim(right=x)
    axes.figure.draw_without_rendering()  # settles the layout, which places in pixels depend on
    own = axes.transData.transform([(x, end) for end in ends])[:, 1] * 72 / axes.figure.dpi  # points, not pixels
    order, heights = np.argsort(own, kind="stable"), own.copy()
    for last, k in pairwise(order):
        heights[k] = max(heights[k], heights[last] + _LINE_OF_LABELS * _LABEL)
    heights -= (heights - own).mean()  # pushed apart upwards only, all come down together
    line = {"arrowstyle": "-", "color": theme.GREY, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 2, "relpos": (0, 0.5)}
    how = {"textcoords": "offset points", "va": "center", "fontsize": _LABEL, "color": theme.INK, "zorder": 1.9}
    for end, shift, name in zip(ends, heights - own, names, strict=True):
        axes.annotate(name, (x, end), (14, shift), arrowprops=line, annotation_clip=False, **how, **HALO)


def label_points(axes: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str], bars: np.ndarray) -> None:
    """Write names beside their points, where they hide no other name, point or bar; a line leads to those farther off.

    Args:
        bars: Lengths of error bars, (2, num_points), as `bars` returns them.
    """
    axes.figure.draw_without_rendering()  # settles the layout, which places in pixels depend on
    pixels = axes.figure.dpi / 72  # a point's
    down, up = bars
    at, low, high = (axes.transData.transform(np.stack([x, end], axis=1)) for end in (y, y - down, y + up))
    taken, told = [text.get_window_extent() for text in axes.texts], []
    taken += [_box(*place, 11 * pixels, 11 * pixels) for place in at]
    taken += [Bbox([a - pixels, b + pixels]) for a, b in zip(low, high, strict=True)]
    for k in np.lexsort([at[:, 1], at[:, 0]]):
        place, box, led = _free_place(axes, at[k], names[k], taken, told, pixels)
        taken, told = [*taken, box, *led], [*told, box]
        line = {"arrowstyle": "-", "color": theme.GREY, "linewidth": 0.7, "shrinkB": 4} if led else None
        how = {"textcoords": "offset points", "ha": "center", "va": "center", "arrowprops": line}
        axes.annotate(names[k], (x[k], y[k]), place, fontsize=_LABEL, color=theme.INK, zorder=4, **how, **HALO)


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)


def _free_place(axes: Axes, at: np.ndarray, name: str, taken: list[Bbox], told: list[Bbox], pixels: float) -> tuple:
    """Return the nearest free place of a name: its offset in points, its box, and boxes along the line that it needs.

    Args:
        taken: Boxes that it shall not hide, in pixels.
        told: Those of other names, which its line shall not cross either.
    """
    sample = axes.text(0, 0, name, fontsize=_LABEL)
    width, height = sample.get_window_extent().size + 2 * pixels
    sample.remove()
    inside, found = axes.get_window_extent(), []
    for distance, angle in product(_DISTANCES, _ANGLES):
        offset = np.array([np.cos(angle), np.sin(angle)]) * (distance * pixels + np.array([width, height]) / 2)
        box, line = _box(*(at + offset), width, height), [_box(*(at + part * offset), 2, 2) for part in _ALONG]
        is_outside = not all(inside.contains(*corner) for corner in box.corners())
        hidden = box.count_overlaps(taken) + sum(some.count_overlaps(told) for some in line) + 99 * is_outside
        found.append((hidden, tuple(offset / pixels), box, line if distance > _NEAR else []))
        if not hidden:
            break
    return min(found, key=lambda one: one[0])[1:]


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
            box = {"facecolor": colour, "edgecolor": theme.GREY, "linewidth": 0.5, "pad": 1.4}
            figure.text(x, y, text, bbox=None if colour is None else box, **looks)
    figure.get_layout_engine().set(rect=(0, 0, 1, (top - LINE * len(lines)) / height))
