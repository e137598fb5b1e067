"""What encoders guess for masked words: one sentence with all guesses, and a gallery coloured by what has changed."""

from collections.abc import Callable, Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from pandas import DataFrame

from dontstop.report import labels, marks, theme, titles
from dontstop.report.tables import changes_of
from dontstop.report.theme import StudyFigure, styled

_MOST_LETTERS = 13  # of a guess


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
    note = (
        f"The first of the sentences, all marked words masked at once; beside each, what {labels.column(encoders[1])} "
    )
    note += "adds to its log-probability, nats. Below: each encoder's five likeliest words; ✓ and dark: the true one."
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
    named = np.where(true, "✓ ", "") + some["guess"].str[:_MOST_LETTERS]
    axes.set_yticks(some["rank"], named, fontfamily=marks.FONT, fontsize=9, parse_math=False)
    marks.embolden(axes.get_yticklabels(), true)
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
    colour_of, lines = _colour_of(frame), []
    for _, one in frame.groupby("sentence", sort=False):
        lines += [*_of_sentence(one, colour_of), []]
    figure = StudyFigure(marks.LINE * len(lines), title, note)
    marks.write_lines(figure, lines)
    return figure


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
