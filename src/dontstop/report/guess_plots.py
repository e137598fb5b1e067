"""What encoders guess for masked words: one sentence with all guesses, and a gallery coloured by what has changed."""

import textwrap
from collections.abc import Callable, Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from pandas import DataFrame, Series

from dontstop.report import labels, theme
from dontstop.report.plots import nothing
from dontstop.report.theme import WideFigure, styled

_ABSENT = "Not drawn: these encoders' weights are not here, only their records (`dvc pull` fetches them)."
_FONT, _POINTS, _ADVANCE = "DejaVu Sans Mono", 8.5, 0.602  # of its size is the advance of each letter of this font
_LINE = 0.2  # inches
_MOST_LETTERS = 13  # of a guess
_KEYS = ["sentence", "position", "word"]


@styled
def guesses(frame: DataFrame) -> WideFigure:
    """Draw all guesses of all encoders for the masked words of the first sentence, the true word marked.

    Args:
        frame: As `study.guesses` returns it.
    """
    question = "What do the encoders guess for masked words?"
    if frame["encoder"].nunique() < 2:
        return nothing(question, _ABSENT)
    one = frame[frame["sentence"] == frame["sentence"].iloc[0]]
    encoders, words = list(one["encoder"].unique()), one.drop_duplicates("position")[["position", "word"]]
    first = one[(one["rank"] == 1) & (one["guess"] == one["word"])]["encoder"].value_counts()
    told = ", ".join(f"{labels.column(name)} {first.get(name, 0)}" for name in encoders)
    lines = list(_lines(one, _colour_of(frame)))
    title = textwrap.fill(f"{question} (right at once, of {len(words)}: {told})", 92)
    first_line = 0.32 + 0.19 * len(title.splitlines())
    top = first_line + _LINE * len(lines)
    figure = WideFigure(top + 0.3 + 1.32 * len(words), "")
    figure.text(0.01, 1 - 0.08 / figure.get_figheight(), title, va="top", fontsize=11)
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - top / figure.get_figheight()))
    _write(figure, lines, first_line)
    grid = figure.subplots(len(words), len(encoders), squeeze=False, sharex=True)
    for axes_of_word, (position, word) in zip(grid, words.itertuples(index=False), strict=True):
        for axes, encoder in zip(axes_of_word, encoders, strict=True):
            _draw_guesses(axes, one[(one["position"] == position) & (one["encoder"] == encoder)], word)
    for axes, encoder in zip(grid[0], encoders, strict=True):
        axes.set_title(f"{labels.column(encoder)}\n{axes.get_title(loc='left')}", fontsize=9)
    return figure


def _draw_guesses(axes: Axes, some: DataFrame, word: str) -> None:
    true = (some["guess"] == word).to_numpy()
    colours = np.where(true, theme.CYCLE[0], "#c8c8c8")
    bars = axes.barh(some["rank"], some["probability"], color=colours, height=0.72)
    axes.bar_label(bars, [_percent(value) for value in some["probability"]], padding=2, fontsize=8)
    named = [
        f"{'✓ ' if right else ''}{guess[:_MOST_LETTERS]}" for guess, right in zip(some["guess"], true, strict=True)
    ]
    axes.set_yticks(some["rank"], named, fontfamily=_FONT, fontsize=8)
    for label, right in zip(axes.get_yticklabels(), true, strict=True):
        label.set_fontweight("bold" if right else "normal")
    axes.set_title(f"“{word}” itself: {_percent(np.exp(some['log_probability'].iloc[0]))}", fontsize=9)
    axes.set(xlim=(0, 1.18), ylim=(len(some) + 0.5, 0.5), xticks=[])
    axes.tick_params(length=0)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.grid(False)


def _percent(probability: float) -> str:
    if probability < 1e-4:
        return "< 0.01 %"
    return f"{100 * probability:.0f} %" if probability >= 0.01 else f"{100 * probability:.1g} %"


@styled
def gallery(frame: DataFrame) -> WideFigure:
    """Draw sentences whose masked words are coloured by the change of their log-probability from the base encoder's.

    Args:
        frame: As `study.guesses` returns it; the change is that of its second encoder.
    """
    question = "Which masked words become more probable?"
    if frame["encoder"].nunique() < 2:
        return nothing(question, _ABSENT)
    changes, after = changes_of(frame), labels.column(frame["encoder"].unique()[1])
    title = f"{question} By {after}, {(changes > 0).sum()} of {len(changes)}\n(change of log-probability, nats: "
    title += f"{labels.signed(changes.mean(), 2)} in the mean; blue: up, orange: down)"
    colour_of = _colour_of(frame)
    groups = [list(_lines(some, colour_of)) for _, some in frame.groupby("sentence", sort=False)]
    lines = [line for group in groups for line in (*group, [])]
    figure = WideFigure(0.65 + _LINE * len(lines), title)
    _write(figure, lines, 0.72)
    return figure


def changes_of(frame: DataFrame) -> Series:
    """Return by how much true words' log-probability changes from the first encoder to the second: by the word."""
    of_words = frame[frame["rank"] == 1].pivot(index=_KEYS, columns="encoder", values="log_probability")
    before, after = frame["encoder"].unique()[:2]
    return of_words[after] - of_words[before]


def _colour_of(frame: DataFrame) -> Callable:
    limit = max(1.0, float(changes_of(frame).abs().max()))
    scale = Normalize(-limit, limit)
    return lambda change: theme.CHANGES(scale(-change))


def _lines(one: DataFrame, colour_of: Callable) -> Iterator[list[tuple[int, str, object]]]:
    """Break a sentence into lines of pieces: where each begins, its text, and its colour; masked words with changes."""
    sentence, line, column = one["sentence"].iloc[0], [], 0
    widest = int((WideFigure.WIDTH / theme.StudyFigure.DPI - 0.3) * 72 / (_ADVANCE * _POINTS))
    pieces, last = [], 0
    for (_, position, word), change in changes_of(one).sort_index().items():
        pieces += [(text, None) for text in sentence[last:position].split()]
        pieces.append((f"{word} {labels.signed(change)}", colour_of(change)))
        last = position + len(word)
    pieces += [(text, None) for text in sentence[last:].split()]
    for text, colour in pieces:
        if column + len(text) > widest:
            yield line
            line, column = [], 0
        line.append((column, text, colour))
        column += len(text) + 1
    yield line


def _write(figure: WideFigure, lines: list, first: float) -> None:
    """Write lines of pieces into a figure, the first so many inches below its upper edge."""
    width, height = figure.get_size_inches()
    looks = {"fontfamily": _FONT, "fontsize": _POINTS, "color": "black", "va": "baseline"}
    for row, line in enumerate(lines):
        y = 1 - (first + _LINE * row) / height
        for column, text, colour in line:
            x = (0.12 + column * _ADVANCE * _POINTS / 72) / width
            box = (
                None if colour is None else {"facecolor": colour, "edgecolor": theme.GREY, "linewidth": 0.5, "pad": 1.4}
            )
            figure.text(x, y, text, bbox=box, **looks)
