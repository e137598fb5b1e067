"""Figures of neighbours and costs: whom a query finds, what more neighbours bring, what a point of F1 costs."""

import numpy as np
from matplotlib.axes import Axes
from pandas import DataFrame

from dontstop.report import labels, marks, selection_titles, theme, titles
from dontstop.report.selection_tables import shared_words
from dontstop.report.theme import StudyFigure, styled
from dontstop.verdicts.scores import MEAN, NAIVE_BAYES
from dontstop.verdicts.vocabulary import WORD

_LINES = {  # of a text: its colour, marker, line, name
    "neighbours": (theme.CYCLE[0], "o", "-", "nearest neighbours"),
    "random": (theme.CYCLE[5], "s", "--", "as much random text"),
}
_SHARED = "#cfe1ee"  # behind words that a neighbour shares with the query
_NUM_COLUMNS = 3


@styled
def neighbours(table: DataFrame) -> StudyFigure | None:
    """Write a query, its nearest neighbours by each method and random candidates, the words it shares with them marked.

    Args:
        table: As `selection_tables.neighbours` returns it; of its first query.
    """
    if table.empty:
        return None
    one = table[(table["text"] != "").cumsum() == 1].replace({"selector": labels.SELECTORS})
    task, query, method = one[["task", "text", "selector"]].iloc[0]
    similarities = one.loc[one["selector"] == method, "similarity"]
    note = f"A training text of {labels.spelt(task)} and what is found for it. Marked: the words that both have, stop "
    note += "words aside. Before each: its similarity, by each method's own measure; random text has none."
    is_alike = np.ptp(similarities) < selection_titles.ALIKE
    if is_alike:
        note += f" {method} compares mixtures of a few topics, in which many candidates are nearly alike."
    lines = [*marks.lines_of([("query:", None), *((word, None) for word in query.split())]), []]
    for selector, rows in one.groupby("selector", sort=False):
        lines.append([(0, selector, theme.BAND)])
        for row in rows.itertuples():
            told = labels.number(row.similarity, 4 if is_alike and selector == method else 2)
            shared = shared_words(query, row.neighbour)
            words = [(w, _SHARED if shared & set(WORD.findall(w.lower())) else None) for w in row.neighbour.split()]
            found = list(marks.lines_of(words, indent=7))
            lines += [[(0, told, None), *found[0]], *found[1:]]
    figure = StudyFigure(marks.LINE * len(lines) + 0.1, selection_titles.neighbours(similarities, method), note)
    marks.write_lines(figure, lines)
    return figure


@styled
def knn_gains(table: DataFrame) -> StudyFigure | None:
    """Draw gains against the number of neighbours, neighbours and random text: a panel for the mean and one a task.

    Args:
        table: As `selection_tables.by_neighbours` returns it.
    """
    some = table[table["text"].isin(_LINES)]
    if some.empty:
        return None
    tasks = [MEAN, *(task for task in dict.fromkeys(some["task"]) if task != MEAN)]
    num_rows = -(-len(tasks) // _NUM_COLUMNS)
    note = f"Difference to {some['other'].iloc[0]}, points, by neighbours of each training text; "
    title = selection_titles.knn_gains(some, int(some["num_neighbours"].max()))
    figure = StudyFigure(0.5 + 1.6 * num_rows, title, note + titles.intervals(some, "bands"))
    panels = figure.subplots(num_rows, _NUM_COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, task in zip(panels, tasks, strict=False):
        _draw_lines(axes, some[some["task"] == task])
        axes.set_title("mean over the tasks" if task == MEAN else labels.spelt(task))
        axes.title.set_fontweight("bold" if task == MEAN else "normal")
    for axes in panels[len(tasks) :]:
        axes.remove()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_lines(axes: Axes, rows: DataFrame) -> None:
    """Draw the lines of neighbours and of random text, with bands where there are intervals."""
    numbers = sorted(rows["num_neighbours"].dropna().unique())
    axes.axhline(0, **theme.ZERO)
    for text, (colour, marker, line, name) in _LINES.items():
        one = rows[rows["text"] == text]
        x, values = [numbers.index(k) for k in one["num_neighbours"]], one[["effect", "low", "high"]].astype(float)
        axes.plot(x, values["effect"], line, color=colour, marker=marker, markersize=7, label=name)
        if values["low"].notna().any():
            axes.fill_between(x, values["low"], values["high"], color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks(range(len(numbers)), [f"{k}" for k in numbers])
    axes.set_xlim(-0.2, len(numbers) - 0.8)


@styled
def score_against_k(table: DataFrame) -> StudyFigure | None:
    """Draw the mean gains of `selection_tables.by_neighbours` against the number of neighbours."""
    whole = table[table["task"] == MEAN]
    some = whole[whole["text"].isin(_LINES)]
    if some.empty:
        return None
    other, others = some["other"].iloc[0], whole[~whole["text"].isin(_LINES)]
    told = [f"{row.text} {labels.signed(row.effect)}" for row in others.itertuples()]
    note = f"Mean over the tasks; {titles.intervals(some, 'bands')}"
    note += f" For scale, to {other}: {labels.listing(told)}." if told else ""
    figure = StudyFigure(3.1, selection_titles.score_against_k(some), note)
    axes = figure.subplots()
    _draw_lines(axes, some)
    axes.set(xlabel="neighbours of each training text (not to scale)", ylabel=f"difference to {other}, points")
    axes.margins(y=0.15)
    axes.legend(loc="best")
    return figure


@styled
def score_against_cost(table: DataFrame) -> StudyFigure | None:
    """Draw what arms cost in seconds, retrieval included, and gain over the base encoder: a row an arm, cheapest first.

    Args:
        table: As `selection_tables.against_cost` returns it.
    """
    arms = table[table["arm"] != NAIVE_BAYES].sort_values("seconds", kind="stable").reset_index(drop=True)
    if arms.empty:
        return None
    note = "Mean over the tasks. Diamonds and bold: no arm above gains as much; line: the most that is gained so far. "
    note += "Seconds of one core, pretraining beyond the base encoder and retrieval. "
    note += labels.sentence(titles.intervals(arms))
    figure = StudyFigure(1.0 + 0.27 * len(arms), selection_titles.cost(table), note)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1, 2.2])
    colours = theme.colours(arms["arm"])
    for place, row in enumerate(arms.itertuples()):
        left.plot(row.seconds, place, "s", color=colours[row.arm])
        told = labels.number(row.seconds, 0 if row.seconds >= 10 else 1)
        left.annotate(told, (row.seconds, place), (8, 0), textcoords="offset points", va="center", fontsize=9.5)
    left.set(xscale="log", xlabel="CPU-seconds (log)")
    left.xaxis.set_major_formatter("{x:,g}")
    left.minorticks_off()
    left.set_xlim(arms["seconds"].min() / 2, arms["seconds"].max() * 6)
    _draw_gains(right, arms, table[table["arm"] == NAIVE_BAYES])
    for axes in (right, left):
        marks.name_rows(axes, list(map(labels.arm, arms["arm"])))
    right.tick_params(labelleft=False)
    marks.embolden(left.get_yticklabels(), arms["pareto_optimal"])
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=3)
    return figure


def _draw_gains(axes: Axes, arms: DataFrame, counted: DataFrame) -> None:
    """Draw gains with their bars, a step line at the most that is gained so far, and naive Bayes as a line."""
    gains, rows, colours = arms["gain"].astype(float), np.arange(len(arms)), theme.colours(arms["arm"])
    axes.axvline(0, **theme.ZERO)
    for row in counted.itertuples():
        told = f"{labels.arm(row.arm)} ({labels.signed(row.gain)}, no seconds)"
        axes.axvline(row.gain, color="black", linewidth=1.4, linestyle=":", label=told)
    edges = np.stack([rows - 0.5, rows + 0.5], axis=1).ravel()
    axes.plot(gains.cummax().repeat(2), edges, color=theme.GREY, linewidth=1.4, label="most so far")
    axes.errorbar(gains, rows, xerr=marks.bars(arms, "gain"), fmt="none", ecolor=theme.GREY, elinewidth=1.2)
    for place, row in enumerate(arms.itertuples()):
        marker, size = ("D", 8) if row.pareto_optimal else ("o", 6)
        axes.plot(row.gain, place, marker, color=colours[row.arm], markersize=size, zorder=3)
    axes.set_xlabel("gain over base, points")


@styled
def selector_agreement(matrix: DataFrame) -> StudyFigure | None:
    """Draw which percent of candidates two retrieval methods both chose, each pair once, as `agreement` has it."""
    table = matrix.rename(index=labels.SELECTORS, columns=labels.SELECTORS).rename_axis(index=None, columns=None)
    if len(table) < 2:
        return None
    note = "Percent of the candidates either chose that both chose, mean over tasks; white: none, dark: all."
    between = matrix.drop(index="random", columns="random", errors="ignore")
    between = (between if len(between) > 1 else matrix).to_numpy(float)
    title = selection_titles.selector_agreement(between[np.tril_indices(len(between), -1)])
    figure = StudyFigure(0.16 + 0.44 * len(table), title, note)
    marks.heatmap_of_pairs(figure.subplots(), table, "Purples", 100)
    return figure
