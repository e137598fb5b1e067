"""What encoders guess for masked words: one sentence with all guesses, and a gallery coloured by what has changed."""

from collections.abc import Callable, Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from pandas import DataFrame, Series

from dontstop.report import labels, marks, theme, titles
from dontstop.report.theme import StudyFigure, styled

_MOST_LETTERS = 13  # of a guess
_KEYS = ["sentence", "position", "word"]


@styled
def guesses(frame: DataFrame) -> StudyFigure | None:
    """Draw all guesses of all encoders for the masked words of the first sentence, the true word marked.

    Args:
        frame: As `study.guesses` returns it; where the encoders' weights are not here, there is nothing to draw.
    """
    if frame["encoder"].nunique() < 2:
        return None
    one = frame[frame["sentence"] == frame["sentence"].iloc[0]]
    encoders, words = list(one["encoder"].unique()), one.drop_duplicates("position")[["position", "word"]]
    first = one[(one["rank"] == 1) & (one["guess"] == one["word"])]["encoder"].value_counts()
    lines = list(_of_sentence(one, _colour_of(frame)))
    note = "The first of the sentences, all marked words masked at once; beside each, what "
    note += (
        f"{labels.column(encoders[1])} adds to its log-probability, nats. Below: each encoder's five likeliest words; "
    )
    note += "✓ and dark: the true one."
    title = titles.guesses({name: int(first.get(name, 0)) for name in encoders}, len(words))
    figure = StudyFigure(marks.LINE * len(lines) + 0.5 + 1.36 * len(words), title, note)
    marks.write_lines(figure, [*lines, []])
    grid = figure.subplots(len(words), len(encoders), squeeze=False, sharex=True)
    for axes_of_word, (position, word) in zip(grid, words.itertuples(index=False), strict=True):
        for axes, encoder in zip(axes_of_word, encoders, strict=True):
            _draw_guesses(axes, one[(one["position"] == position) & (one["encoder"] == encoder)], word)
    grid[0, 0].set_xlim(0, 1.3 * one["probability"].max())
    for axes, encoder in zip(grid[0], encoders, strict=True):
        axes.set_title(f"{labels.column(encoder)}\n{axes.get_title(loc='left')}", fontsize=9.5)
    return figure


def _draw_guesses(axes: Axes, some: DataFrame, word: str) -> None:
    true = (some["guess"] == word).to_numpy()
    colours = np.where(true, theme.CYCLE[0], "#c8c8c8")
    bars = axes.barh(some["rank"], some["probability"], color=colours, height=0.72)
    axes.bar_label(bars, [_percent(value) for value in some["probability"]], padding=2, fontsize=9)
    named = [
        f"{'✓ ' if right else ''}{guess[:_MOST_LETTERS]}" for guess, right in zip(some["guess"], true, strict=True)
    ]
    axes.set_yticks(some["rank"], named, fontfamily=marks.FONT, fontsize=9, parse_math=False)
    for label, right in zip(axes.get_yticklabels(), true, strict=True):
        label.set_fontweight("bold" if right else "normal")
    axes.set_title(f"“{word}” itself: {_percent(np.exp(some['log_probability'].iloc[0]))}", fontsize=9.5)
    axes.set(ylim=(len(some) + 0.5, 0.5), xticks=[])
    axes.tick_params(length=0)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.grid(False)


def _percent(probability: float) -> str:
    if probability < 1e-4:
        return "< 0.01 %"
    return f"{100 * probability:.0f} %" if probability >= 0.01 else f"{100 * probability:.1g} %"


@styled
def gallery(frame: DataFrame) -> StudyFigure | None:
    """Draw sentences whose masked words are coloured by the change of their log-probability from the base encoder's.

    Args:
        frame: As `study.guesses` returns it; the change is that of its second encoder.
    """
    if frame["encoder"].nunique() < 2:
        return None
    title = titles.gallery(changes_of(frame), frame["encoder"].unique()[1])
    note = "Beside each masked word: the change of its log-probability, nats (blue: up, orange: down)."
    colour_of = _colour_of(frame)
    groups = [list(_of_sentence(some, colour_of)) for _, some in frame.groupby("sentence", sort=False)]
    lines = [line for group in groups for line in (*group, [])]
    figure = StudyFigure(marks.LINE * len(lines), title, note)
    marks.write_lines(figure, lines)
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


def _of_sentence(one: DataFrame, colour_of: Callable) -> Iterator[list[marks.Piece]]:
    """Break a sentence into lines, its masked words with their changes."""
    sentence, pieces, last = one["sentence"].iloc[0], [], 0
    for (_, position, word), change in changes_of(one).sort_index().items():
        pieces += [(text, None) for text in sentence[last:position].split()]
        pieces.append((f"{word} {labels.signed(change)}", colour_of(change)))
        last = position + len(word)
    return marks.lines_of([*pieces, *((text, None) for text in sentence[last:].split())])
