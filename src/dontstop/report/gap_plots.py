"""Figures of distances and losses between texts: overlap, distances, DAPT's gain against them, and forgetting."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from pandas import DataFrame

from dontstop.report import labels, theme
from dontstop.report.plots import bars, heatmap, label_points
from dontstop.report.theme import StudyFigure, WideFigure, styled
from dontstop.text.tasks import Task
from dontstop.verdicts.domain_gap import DISTANCES
from dontstop.verdicts.losses import loss_changes

_SIMILARITIES = {"vocabulary_overlap"}  # the more, the nearer


@styled
def figure2(ours: DataFrame, paper: DataFrame, num_words: int | None = None) -> StudyFigure:
    """Draw the overlap of frequent words between domains, ours beside the paper's: square tables, in percent.

    Args:
        num_words: Length of our lists, for the title.

    Source: Figure 2.
    """
    figure = StudyFigure(10.5, 4.8, "How large is the vocabulary overlap of the domains? (%)")
    top = f" (the {num_words:,} most frequent words)" if num_words else ""
    tables = {f"ours{top}": ours, "paper (10,000; PT: RoBERTa's text)": paper}
    same = {title: np.eye(len(table), dtype=bool) for title, table in tables.items()}
    largest = max(table.to_numpy(float)[~same[title]].max() for title, table in tables.items())
    for axes, (title, table) in zip(figure.subplots(1, 2), tables.items(), strict=True):
        heatmap(axes, table, 1, cmap="Blues", mask=same[title], vmin=0, vmax=largest)
        axes.set_title(title)
    return figure


@styled
def task_domain_overlap(overlap: DataFrame, tasks: Sequence[Task]) -> StudyFigure:
    """Draw the vocabulary overlap of every task (row) with every domain, in percent, its own domain framed."""
    title = "Do a task's words come from its own domain?\n(vocabulary overlap, %; own domain framed)"
    figure = StudyFigure(1.9 + 1.3 * len(overlap.columns), 1.6 + 0.48 * len(overlap), title)
    axes = figure.subplots()
    heatmap(axes, overlap, 0, spell=labels.spelt, cmap="Blues", vmin=0)
    _frame(axes, overlap, {task.name: task.domain for task in tasks}, "#D55E00")
    return figure


def _frame(axes: Axes, table: DataFrame, own: Mapping[str, str], colour: str) -> None:
    """Frame, in each row, the cell of the column that is its own."""
    for row, name in enumerate(table.index):
        if own.get(name) in table.columns:
            _frame_cell(axes, row, list(table.columns).index(own[name]), colour)


def _frame_cell(axes: Axes, row: int, column: int, colour: str) -> None:
    looks = {"fill": False, "edgecolor": colour, "linewidth": 1.8, "clip_on": False}
    axes.add_patch(Rectangle((column + 0.02, row + 0.03), 0.96, 0.94, **looks))


@styled
def distances(measured: DataFrame) -> StudyFigure:
    """Draw `gap_tables.long_distances`: domains' from the base encoder's text, a panel a distance, with intervals."""
    parts = {name: part.set_index("domain") for name, part in measured.dropna(subset="value").groupby("distance")}
    names = [name for name in DISTANCES if name in parts]
    order = parts[names[0]].sort_values("value", ascending=names[0] not in _SIMILARITIES).index
    title = "How far does each domain lie from the base encoder's text?\n(farther is to the right; 95 % intervals)"
    figure = StudyFigure(1.4 + 2.6 * len(names), 1.7 + 0.42 * len(order), title)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        found, looks = parts[name].loc[order], {"fmt": "o", "color": theme.CYCLE[0], "markersize": 7, "capsize": 3}
        axes.errorbar(found["value"], range(len(order)), xerr=bars(found, "value"), **looks)
        axes.set(xlabel=labels.column(name).replace(" (", "\n("), ylim=(len(order) - 0.4, -0.6))
        axes.margins(x=0.15)
        if name in _SIMILARITIES:
            axes.invert_xaxis()
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", nbins=4)
    panels[0].set_yticks(range(len(order)), map(labels.spelt, order))
    return figure


@styled
def gain_against_distance(points: DataFrame, rises: DataFrame | None = None) -> StudyFigure:
    """Draw the gain of DAPT against each distance, a point a task, as `gap_tables.gain_against_distance` returns them.

    Args:
        rises: As `gains.gain_rises` returns them; a line's rise over the domains stands above its panel.
    """
    parts = {name: points[points["distance"] == name] for name in DISTANCES if name in set(points["distance"])}
    num_columns = 2 if len(parts) == 4 else len(parts)
    num_rows = -(-len(parts) // num_columns)
    colours = dict(zip(points["domain"].unique(), cycle(theme.CYCLE), strict=False))
    size = max(5.5, min(5.3 * num_columns, 12)), 1.0 + 3.7 * num_rows
    figure = StudyFigure(*size, "Does DAPT gain more the farther the domain?")
    panels = figure.subplots(num_rows, num_columns, sharey=True, squeeze=False).ravel()
    handles = [Line2D([], [], marker="o", ls="", color=c, label=labels.spelt(d)) for d, c in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(colours), handletextpad=0.1)
    titles = {} if rises is None else {row.Index: _rise_text(row) for row in rises.itertuples()}
    for axes, name in zip(panels, parts, strict=True):
        axes.set_xlabel(labels.column(name) + (", farther to the right" if name in _SIMILARITIES else ""))
        axes.set_title(titles.get(name, ""), fontsize=9.5, color=theme.INK)
    for axes in panels[::num_columns]:
        axes.set_ylabel("gain of DAPT, points" + (" (95 % interval)" if points["low"].notna().any() else ""))
    places = [_draw_points(axes, part, colours) for axes, part in zip(panels, parts.values(), strict=True)]
    for axes, part, x in zip(panels, parts.values(), places, strict=True):
        shorter = [labels.spelt(t.removeprefix(f"{d}_")) for t, d in zip(part["task"], part["domain"], strict=True)]
        along = np.linspace(*part[["low", "high"]].to_numpy(float).T, 25)  # the bars, (25, num_tasks)
        avoid = np.stack([np.broadcast_to(x, along.shape).T, along.T], axis=-1).reshape(-1, 2)
        label_points(axes, x, part["gain"].to_numpy(float), shorter, avoid[~np.isnan(avoid).any(axis=1)])
    return figure


def _rise_text(row) -> str:
    known = "" if np.isnan(row.low) else f" [{labels.signed(row.low)}, {labels.signed(row.high)}]"
    return f"from the nearest domain to the farthest {labels.signed(row.effect)} points{known}"


def _draw_points(axes: Axes, points: DataFrame, colours: Mapping[str, str]) -> np.ndarray:
    """Draw the tasks with their bars, and return where they stand, (num_tasks,)."""
    values = points["value"].to_numpy(float)
    spread = np.ptp(values) or 1.0
    ends = values.min() - 0.12 * spread, values.max() + 0.12 * spread
    axes.axhline(0, color="#555555", linewidth=1)
    axes.set_xlim(*(ends[::-1] if points["distance"].iloc[0] in _SIMILARITIES else ends))
    # Tasks of one domain share their distance: a small step apart, their bars stay readable.
    same = points.groupby("value")["task"]
    x = values + (same.cumcount() - (same.transform("size") - 1) / 2).to_numpy() * 0.03 * spread
    for domain, place in points.groupby("domain").indices.items():
        looks = {"color": colours[domain], "markersize": 7, "capsize": 2.5, "elinewidth": 1}
        for marker, k in zip(theme.MARKERS * len(place), place, strict=False):
            axes.errorbar(x[[k]], points["gain"].iloc[[k]], yerr=bars(points.iloc[[k]], "gain"), fmt=marker, **looks)
    return x


@styled
def gain_matrix(matrix: DataFrame) -> StudyFigure:
    """Draw the gain of every DAPT encoder (row) on every task (column), as `gains.gain_matrix` has it, own framed."""
    gains = matrix.pivot(index="encoder", columns="task", values="gain")
    gains = gains.loc[matrix["encoder"].unique(), matrix["task"].unique()].rename_axis(index=None, columns=None)
    title = "Whose text helps which task?\n(gain over base, points; row: domain that DAPT read; framed: the task's own)"
    figure = StudyFigure(2.0 + 1.15 * len(gains.columns), 1.7 + 0.55 * len(gains), title, fontsize=11)
    axes, limit = figure.subplots(), float(np.nanmax(np.abs(gains.to_numpy(float)))) or 1.0
    heatmap(axes, gains, 1, -gains, signed=True, spell=labels.spelt, cmap=theme.CHANGES, vmin=-limit, vmax=limit)
    own = matrix.drop_duplicates("task")[["task", "domain"]].to_numpy().tolist()
    for column, (_, domain) in enumerate(own):
        _frame_cell(axes, list(gains.index).index(domain), column, theme.INK)
    return figure


@styled
def gain_by_distance(matrix: DataFrame, nearness: Mapping[str, float]) -> StudyFigure:
    """Draw the gain of every DAPT encoder on every task against the distance of what it read, as `gains` has both.

    Args:
        matrix: Of `gains.gain_matrix`.
        nearness: Of `gains.nearness`; its slope is drawn through the points' middle.
    """
    figure = StudyFigure(7.2, 4.8, "Does the nearness of the adaptation text predict its gain?")
    axes, own = figure.subplots(), matrix["encoder"] == matrix["domain"]
    same = matrix.groupby("distance")["task"]  # a small step apart, their bars stay readable
    x = matrix["distance"] + 0.006 * (same.cumcount() - (same.transform("size") - 1) / 2)
    axes.axhline(0, color="#555555", linewidth=1)
    groups = {"another domain's text": (~own, theme.ARM_COLOURS["not_dapt"], "s")}
    groups |= {"the task's own domain's text": (own, theme.ARM_COLOURS["dapt"], "o")}
    for name, (some, colour, marker) in groups.items():
        points = matrix[some]
        looks = {"color": colour, "fmt": marker, "markersize": 6, "elinewidth": 0.8, "alpha": 0.8, "label": name}
        axes.errorbar(x[some], points["gain"].astype(float), yerr=bars(points, "gain"), **looks)
    middle, ends = matrix[["distance", "gain"]].astype(float).mean(), matrix["distance"].agg(["min", "max"]).to_numpy()
    line = middle["gain"] + nearness["slope"] * (ends - middle["distance"])
    axes.plot(ends, line, color=theme.GREY, linewidth=1.2, label="slope within tasks")
    axes.set(xlabel="distance of the text read from the task's domain (1 − vocabulary overlap)")
    axes.set_ylabel("gain over base, points" + (" (95 % interval)" if matrix["low"].notna().any() else ""))
    found = {name: labels.signed(nearness[name], 2) for name in ("slope", "correlation")}
    told = f"{nearness['num_points']} points; correlation within tasks {found['correlation']}, "
    told += f"permutation of encoders p = {nearness['p_value']:.3f}"
    axes.set_title(told, fontsize=9.5, color=theme.INK)
    axes.legend(loc="best")
    return figure


@styled
def losses(ours: DataFrame, paper: DataFrame | None = None, tasks: Sequence[Task] = ()) -> StudyFigure:
    """Draw every encoder's masked-LM loss on every text, coloured by its change from the base encoder.

    Args:
        ours: Encoders (`base`, `dapt_<domain>`, `tapt_<task>`) by held-out texts, as `losses.loss_matrix` returns it.
        paper: The paper's Table 12, to stand beside ours.
        tasks: Where the texts are tasks': lines separate those of different domains.

    Source: Table 12.
    """
    both = {"": ours} if paper is None else {"ours": ours, "paper": paper}
    title = (
        "Which text does each encoder learn, and which does it forget?\n"
        "masked-LM loss (nats) of encoder (row) on held-out text (column);\n"
        "blue: below the base encoder's, orange: above; framed: the encoder's own text"
    )
    size = max(7.4, 1.2 + 1.15 * len(ours.columns) + 5.2 * (len(both) - 1)), 1.9 + 0.55 * len(ours)
    figure, domains = StudyFigure(*size, title, fontsize=11), {task.name: task.domain for task in tasks}
    for axes, (name, numbers) in zip(figure.subplots(1, len(both), squeeze=False)[0], both.items(), strict=True):
        changes = loss_changes(numbers)
        limit = float(np.nanmax(np.abs(changes.to_numpy(float)))) or 1.0
        heatmap(axes, numbers, 2, changes, cmap=theme.CHANGES, vmin=-limit, vmax=limit)
        own = {f"{kind}_{text}": text for kind in ("dapt", "tapt") for text in numbers.columns}
        _frame(axes, changes, own, theme.INK)
        axes.set_title(name)
        blocks = [domains.get(text) for text in numbers.columns]
        for place in (k for k in range(1, len(blocks)) if blocks[k] != blocks[k - 1]):
            axes.axvline(place, color=theme.INK, linewidth=1)
    return figure


@styled
def course(losses: DataFrame) -> WideFigure:
    """Draw the course of forgetting: each arm's loss on its own domain and on the general text, and what has changed.

    Args:
        losses: As `losses.course` returns it; lines are means over domains and replicates, bands their range over
            replicates, thin lines single domains.
    """
    general = losses[losses["text"] == "general"].groupby("arm", sort=False)["change"].mean().drop("base")
    told = ", ".join(f"{labels.arm(arm)} {labels.signed(change, 2)}" for arm, change in general.items())
    title = f"What is forgotten, and what prevents it? (change of the loss on general text, nats: {told})"
    figure, arms = WideFigure(4.6, textwrap.fill(title, 90), fontsize=11), list(losses["arm"].unique())
    axes = figure.subplots()
    looks = {
        "own": ("own domain", theme.CYCLE[0], "o", "-", -1),
        "general": ("general text", theme.CYCLE[5], "s", "--", 1),
    }
    for text, (label, colour, marker, style, side) in looks.items():
        some = losses[losses["text"] == text]
        for _, one in some.groupby("domain"):
            axes.plot(_by_arm(one, arms)["mean"].to_numpy(), color=colour, linestyle=style, linewidth=0.7, alpha=0.4)
        found, changes = _by_arm(some, arms), some.groupby("arm")["change"].mean()
        axes.fill_between(range(len(arms)), found["min"], found["max"], color=colour, alpha=0.2, linewidth=0)
        axes.plot(found["mean"].to_numpy(), color=colour, marker=marker, markersize=7, linestyle=style, label=label)
        for place, arm in enumerate(arms[1:], start=1):
            how = {"ha": "center", "va": "bottom" if side > 0 else "top", "textcoords": "offset points"}
            how |= {"fontsize": 13, "fontweight": "bold", "color": colour}
            how |= {"path_effects": [withStroke(linewidth=3, foreground="white")]}
            axes.annotate(labels.signed(changes[arm], 2), (place, found["mean"][arm]), (0, 9 * side), **how)
    axes.set_xticks(range(len(arms)), [textwrap.fill(labels.arm(arm), 16) for arm in arms], fontsize=10)
    axes.set(ylabel="held-out masked-LM loss (nats)", xlim=(-0.3, len(arms) - 0.7))
    axes.margins(y=0.15)
    axes.set_xlabel("mean over domains (thin lines: domains; bands: least to most of replicates)", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _by_arm(losses: DataFrame, arms: Sequence[str]) -> DataFrame:
    """Return the mean over replicates of the loss, and its least and most: by arm."""
    by_replicate = losses.groupby(["arm", "replicate"])["masked_lm_loss"].mean()
    return by_replicate.groupby("arm").agg(["mean", "min", "max"]).loc[list(arms)]
