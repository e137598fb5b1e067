"""Figures of distances and losses between texts: overlap, distances, DAPT's gain against them, and forgetting."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from pandas import DataFrame, Series

from dontstop.design.arms import BASE
from dontstop.report import gap_titles, labels, marks, theme, titles
from dontstop.report.theme import StudyFigure, styled
from dontstop.text.tasks import Task
from dontstop.verdicts.domain_gap import DISTANCES
from dontstop.verdicts.losses import loss_changes

_SIMILARITIES = {"vocabulary_overlap"}  # the more, the nearer


@styled
def figure2(ours: DataFrame, paper: DataFrame, num_words: int | None = None) -> StudyFigure:
    """Draw the overlap of frequent words between domains, each pair once, ours beside the paper's: in percent.

    Args:
        ours: Square, the base encoder's text first; drawn in the paper's order of its domains, others from the nearest
            to the base encoder's text to the farthest, as the paper's are.
        num_words: Length of our lists.

    Source: Figure 2.
    """
    first, rest = ours.columns[0], sorted(ours.columns[1:], key=lambda name: -ours.iloc[0][name])
    if {labels.spelt(name) for name in rest} <= set(paper):
        rest.sort(key=lambda name: list(paper).index(labels.spelt(name)))
    tables = {"here": ours.loc[[first, *rest], [first, *rest]], "the paper (PT: RoBERTa's text)": paper}
    pairs = [table.to_numpy(float)[np.tril_indices(len(table), -1)] for table in tables.values()]
    top = f"{num_words:,} most frequent words (the paper: 10,000)" if num_words else "most frequent words"
    note = f"Overlap of the {top}, percent; each pair once, from the nearest to the general text on."
    figure = StudyFigure(0.7 + 0.52 * len(ours), gap_titles.figure2(*pairs), note)
    largest = max(values.max() for values in pairs)
    for axes, (title, table) in zip(figure.subplots(1, 2), tables.items(), strict=True):
        marks.heatmap_of_pairs(axes, table, "Blues", largest)
        axes.set_title(title)
    return figure


@styled
def task_domain_overlap(overlap: DataFrame, tasks: Sequence[Task]) -> StudyFigure:
    """Draw the vocabulary overlap of every task (row) with every domain, in percent, its own domain framed."""
    own = {task.name: task.domain for task in tasks}
    note = "Overlap of a task's training texts with a domain's, percent; framed: the task's own domain."
    figure = StudyFigure(0.6 + 0.36 * len(overlap), gap_titles.task_domain_overlap(overlap, own), note)
    axes = figure.subplots()
    # The scale goes on above the largest, so that all cells are light enough for a frame to be seen.
    values = overlap.to_numpy(float)
    looks = {"cmap": "Blues", "vmin": 0.8 * values.min(), "vmax": 1.6 * values.max()}
    marks.heatmap(axes, overlap, 0, spell=labels.spelt, **looks)
    marks.frame(axes, overlap, own.items())
    return figure


@styled
def distances(measured: DataFrame) -> StudyFigure:
    """Draw `gap_tables.long_distances`: domains' from the base encoder's text, a panel a distance, with intervals."""
    parts = {name: part.set_index("domain") for name, part in measured.dropna(subset="value").groupby("distance")}
    parts = {name: parts[name] for name in DISTANCES if name in parts}
    far = DataFrame({n: (-1 if n in _SIMILARITIES else 1) * part["value"].astype(float) for n, part in parts.items()})
    order = far.iloc[:, 0].sort_values().index
    note = "Farther is to the right. Bars: 95 % interval, bootstrap over documents; the loss has none."
    figure = StudyFigure(0.9 + 0.36 * len(order), gap_titles.distances(far.idxmax(), far.idxmin()), note)
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for axes, (name, part) in zip(panels, parts.items(), strict=True):
        found, looks = part.loc[order], {"fmt": "o", "color": theme.CYCLE[0], "markersize": 7, "capsize": 3}
        axes.errorbar(found["value"], range(len(order)), xerr=marks.bars(found, "value"), **looks)
        axes.set_xlabel(labels.column(name).replace(" (", "\n(").replace("Shannon ", "Shannon\n"))
        axes.margins(x=0.15)
        if name in _SIMILARITIES:
            axes.invert_xaxis()
        axes.locator_params(axis="x", nbins=4)
        marks.name_rows(axes, list(map(labels.spelt, order)))
    return figure


@styled
def gain_against_distance(
    points: DataFrame, rises: DataFrame | None = None, theirs: DataFrame | None = None
) -> StudyFigure | None:
    """Draw the gain of DAPT against the vocabulary overlap with the base encoder's text, a point a task.

    Args:
        points: As `gap_tables.gain_against_distance` returns them, of all distances.
        rises: As `gains.gain_rises` returns them: the title tells that of the overlap, the note those of the others.
        theirs: The paper's, as `paper.dapt_gains` returns them: a panel apart.
    """
    name = next((name for name in DISTANCES if name in set(points["distance"])), None)
    if name is None:
        return None
    parts = {"here": points[points["distance"] == name]}
    if theirs is not None:
        unknown = {"low": np.nan, "high": np.nan}
        parts["the paper"] = theirs.reset_index().rename(columns={name: "value"}).assign(**unknown)
    others = {} if rises is None else rises["effect"].drop(name, errors="ignore").to_dict()
    told = [f"{labels.column(other).partition(' (')[0]} {labels.signed(value)}" for other, value in others.items()]
    note = (
        "Tasks at one distance are drawn side by side. "
        + labels.sentence(titles.intervals(parts["here"]))
        + (f" By the other distances: {labels.listing(told)}." if told else "")
    )
    rise = None if rises is None or name not in rises.index else rises.loc[name]
    figure = StudyFigure(2.6 * len(parts), gap_titles.gain_against_distance(parts["here"], rise), note)
    panels = figure.subplots(len(parts), 1, sharey=True, squeeze=False)[:, 0]
    for axes, (title, part) in zip(panels, parts.items(), strict=True):
        axes.set(title=title + _key(part), ylabel="gain of DAPT, points")
    panels[-1].set_xlabel(labels.column(name) + (", farther to the right" if name in _SIMILARITIES else ""))
    places = [_draw_points(axes, part, name) for axes, part in zip(panels, parts.values(), strict=True)]
    for axes, part, x in zip(panels, parts.values(), places, strict=True):
        names, bars = list(map(labels.spelt, part["task"])), marks.bars(part, "gain")
        marks.label_points(axes, x.to_numpy(), part["gain"].to_numpy(float), names, bars)
    if rise is not None:
        _draw_rise(panels[0], parts["here"], rise["effect"], name)
    return figure


def _draw_rise(axes: Axes, points: DataFrame, rise: float, distance: str) -> None:
    """Draw the line whose rise from the nearest domain to the farthest the title tells, through the points' middle."""
    values = points["value"].astype(float)
    far, near = (values.min(), values.max()) if distance in _SIMILARITIES else (values.max(), values.min())
    ends = np.array([near, far])
    line = points["gain"].mean() + rise * (ends - values.mean()) / (far - near)
    axes.plot(ends, line, color=theme.GREY, linewidth=1.4, alpha=0.6, linestyle="--", zorder=1)


def _key(points: DataFrame) -> str:
    """Say which marker is which domain's, where the tasks' names do not."""
    pairs = zip(points["task"].map(labels.spelt), points["domain"].map(labels.spelt), strict=True)
    if all(task.startswith(domain) for task, domain in pairs):
        return ""
    domains = points["domain"].unique()
    return f" ({' '.join(f'{sign} {labels.spelt(name)}' for sign, name in zip('●■▲◆▼✚✖', domains, strict=False))})"


def _looks(domains: Series) -> dict[str, dict]:
    """Return the colour and marker of each domain."""
    looks = zip(theme.CYCLE, theme.MARKERS, strict=True)
    return {
        name: {"color": colour, "marker": marker}
        for name, (colour, marker) in zip(domains.unique(), looks, strict=False)
    }


def _draw_points(axes: Axes, points: DataFrame, distance: str) -> Series:
    """Draw the tasks with their bars, and return where they stand."""
    values = points["value"].astype(float)
    spread = float(np.ptp(values)) or 1.0
    ends = values.min() - 0.25 * spread, values.max() + 0.25 * spread
    axes.set_xlim(*(ends[::-1] if distance in _SIMILARITIES else ends))
    axes.margins(y=0.12)
    return _draw_gains(axes, points, "value", 0.03 * spread, _looks(points["domain"]), capsize=2.5)


def _draw_gains(axes: Axes, points: DataFrame, x: str, step: float, looks: Mapping[str, Mapping], **how) -> Series:
    """Draw gains with their bars in the looks of each domain, and return where they stand.

    Those at one and the same place of column `x` are drawn a small step apart, so that their bars stay readable.
    """
    same = points.groupby(x)["task"]
    at = points[x].astype(float) + step * (same.cumcount() - (same.transform("size") - 1) / 2)
    axes.axhline(0, **theme.ZERO)
    for domain, of_domain in looks.items():
        some = points[points["domain"] == domain]
        bars = {"yerr": marks.bars(some, "gain"), "linestyle": "none", "markersize": 7, "label": labels.spelt(domain)}
        axes.errorbar(at[some.index], some["gain"].astype(float), **bars, **of_domain, **how)
    return at


@styled
def gain_matrix(matrix: DataFrame) -> StudyFigure:
    """Draw the gain of every DAPT encoder (row) on every task (column), as `gains.gain_matrix` has it, own framed."""
    gains = matrix.pivot(index="encoder", columns="task", values="gain")
    gains = gains.loc[matrix["encoder"].unique(), matrix["task"].unique()].rename_axis(index=None, columns=None)
    note = "Gain over base, points. Row: the domain that DAPT read; column: the task; framed: the task's own domain."
    figure = StudyFigure(0.9 + 0.46 * len(gains), gap_titles.gain_matrix(matrix), note)
    axes, own = figure.subplots(), matrix.drop_duplicates("task")[["domain", "task"]]
    marks.heatmap_of_changes(axes, gains, 1, spell=labels.spelt)
    marks.frame(axes, gains, own.itertuples(index=False))
    return figure


@styled
def gain_by_distance(matrix: DataFrame, nearness: Mapping[str, float]) -> StudyFigure:
    """Draw the gain of every DAPT encoder on every task against the distance of what it read, as `gains` has both.

    Args:
        matrix: Of `gains.gain_matrix`.
        nearness: Of `gains.nearness`; its slope is drawn through the points' middle.
    """
    note = "A point: an encoder on a task, by the task's domain, points at one distance drawn side by side. "
    note += labels.sentence(titles.intervals(matrix))
    figure = StudyFigure(3.7, gap_titles.gain_by_distance(nearness), note)
    is_own = matrix["encoder"] == matrix["domain"]
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1, 2.6])
    middle = matrix[["distance", "gain"]].astype(float).mean()
    looks = {name: of | {"ecolor": to_rgba(of["color"], 0.35)} for name, of in _looks(matrix["domain"]).items()}
    for axes, some, title in ((left, matrix[is_own], "the task's domain"), (right, matrix[~is_own], "another domain")):
        _draw_gains(axes, some, "distance", 0.003, looks, elinewidth=1.2)
        axes.margins(x=0.06)
        axes.set_title(title)
    ends = np.array(right.get_xlim())
    line = middle["gain"] + nearness["slope"] * (ends - middle["distance"])
    right.plot(ends, line, color=theme.INK, linewidth=1.4, linestyle="--", label="slope within tasks", zorder=1)
    right.set_xlim(ends)
    left.set_xticks([])
    left.set_ylabel("gain over base, points")
    right.set_xlabel("distance of the text read from the task's domain (1 − vocabulary overlap)")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=5, columnspacing=1.2)
    return figure


@styled
def losses(ours: DataFrame, paper: DataFrame | None = None, tasks: Sequence[Task] = ()) -> StudyFigure:
    """Draw every encoder's change of the masked-LM loss on every text from the base encoder's, the loss below it.

    Args:
        ours: Encoders (`base`, `dapt_<domain>`, `tapt_<task>`) by held-out texts, as `losses.loss_matrix` returns it.
        paper: The paper's Table 12, to stand beside ours.
        tasks: Where the texts are tasks': lines separate those of different domains.

    Source: Table 12.
    """
    both = {"": ours} if paper is None else {"here": ours, "the paper": paper}
    note = "Row: encoder, column: held-out text. Large: change from the base encoder, nats (blue: lower, orange: "
    note += "higher); small: the loss. Framed: the encoder's own text."
    sizes, domains = [len(numbers) + 1.2 for numbers in both.values()], {task.name: task.domain for task in tasks}
    figure = StudyFigure(0.46 * sum(sizes), titles.losses(loss_changes(ours), _own(ours), domains), note)
    panels = figure.subplots(len(both), 1, squeeze=False, height_ratios=sizes)[:, 0]
    for axes, (name, numbers) in zip(panels, both.items(), strict=True):
        _draw_losses(axes, numbers)
        marks.frame(axes, numbers, _own(numbers).items())
        axes.set_title(name)
        blocks = [domains.get(text) for text in numbers.columns]
        for place in (k for k in range(1, len(blocks)) if blocks[k] != blocks[k - 1]):
            axes.axvline(place, color=theme.INK, linewidth=1)
    return figure


def _own(table: DataFrame) -> dict[str, str]:
    """Return the text of each encoder that has adapted to one of these texts."""
    both = {f"{kind}_{text}": text for kind in ("dapt", "tapt") for text in table.columns}
    return {name: text for name, text in both.items() if name in table.index}


def _draw_losses(axes: Axes, numbers: DataFrame) -> None:
    changes = loss_changes(numbers)
    spell = partial(labels.on_lines, width=14)
    marks.heatmap_of_changes(axes, changes, 2, is_of_losses=True, annot=False, spell=spell)
    for (row, encoder), (column, text) in product(enumerate(numbers.index), enumerate(numbers)):
        loss, place = labels.number(numbers.loc[encoder, text], 2), {"ha": "center", "va": "center", "color": "black"}
        if encoder == BASE.name:
            axes.text(column + 0.5, row + 0.5, loss, fontsize=9.5, **place)
        else:
            axes.text(column + 0.5, row + 0.38, labels.signed(changes.loc[encoder, text], 2), fontsize=10.5, **place)
            axes.text(column + 0.5, row + 0.78, loss, fontsize=7.5, **place)
