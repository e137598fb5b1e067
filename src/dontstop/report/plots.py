"""Figures of scores and training: frames in, figure out. Nothing is estimated here; intervals come with the data."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import seaborn
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from pandas import DataFrame

from dontstop.report import labels, theme
from dontstop.report.theme import StudyFigure, styled
from dontstop.runs.arms import BASE
from dontstop.verdicts.scores import MEAN, PAIR

_WIDTH = 0.76  # of a row of height one, which its arms or contrasts share


@styled
def nothing(question: str, why: str = "This profile has no such runs.") -> StudyFigure:
    """Say in a figure's place that there is nothing to draw."""
    return StudyFigure(8, 0.6, f"{question} {why}")


@styled
def scores(runs: DataFrame, effects: DataFrame, question: str = "What do the arms score?") -> StudyFigure:
    """Draw each task's test scores by arm, run by run, and beside them differences between arms with intervals.

    Args:
        runs: Columns task, arm, replicate, seed, test_score (0 to 1); tasks and arms are drawn in their order.
        effects: As `effects` returns it, of contrasts of two arms: columns contrast, task, effect, low, high.
        question: That the figure answers.
    """
    if runs.empty or effects.empty:
        return nothing(question)
    arms, tasks = (list(dict.fromkeys(runs[column])) for column in ("arm", "task"))
    rows = [*tasks, MEAN]
    figure = StudyFigure(11, _height(rows, len(arms)), question)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    _draw_scores(left, runs, rows, arms)
    _draw_effects(right, effects, rows)
    right.tick_params(axis="y", length=0)
    return figure


@styled
def forest(effects: DataFrame, question: str = "How large are the differences?") -> StudyFigure:
    """Draw differences between arms with their 95 % intervals, a row a task; arguments as of `scores`."""
    if effects.empty:
        return nothing(question)
    rows = list(dict.fromkeys(effects["task"]))
    figure = StudyFigure(6.4, _height(rows, effects["contrast"].nunique()), question)
    _draw_effects(figure.subplots(), effects, rows)
    return figure


def _height(rows: list[str], num_in_row: int) -> float:
    return 1.8 + (0.32 + 0.08 * num_in_row) * len(rows)


def _draw_scores(axes: Axes, runs: DataFrame, rows: list[str], arms: list[str]) -> None:
    means = runs.groupby(["arm", *PAIR], sort=False)["test_score"].mean().reset_index().assign(task=MEAN)
    drawn = pd.concat([runs[["task", "arm", "test_score"]], means])
    drawn = drawn.assign(score=100 * drawn["test_score"].astype(float))
    how = {"data": drawn, "x": "score", "y": "task", "hue": "arm", "order": rows, "hue_order": arms, "ax": axes}
    how |= {"palette": theme.colours(arms), "legend": False}
    seaborn.stripplot(**how, dodge=True, jitter=False, size=4, alpha=0.45)
    dodge = 0.8 - 0.8 / len(arms) if len(arms) > 1 else False  # as stripplot sets them apart
    bar = {"marker": "|", "markersize": 10, "markeredgewidth": 2.4, "linestyle": "none"}
    seaborn.pointplot(**how, dodge=dodge, errorbar=None, **bar)
    for arm, colour in theme.colours(arms).items():
        axes.plot([], [], color=colour, label=labels.arm(arm), **bar)
    axes.set(xlabel="test F1 × 100 (dots: runs, bar: mean)", ylabel="")
    _finish_rows(axes, rows, legend_width=5.4, most=4)


def _draw_effects(axes: Axes, effects: DataFrame, rows: list[str]) -> None:
    pairs = labels.with_arms(effects.drop_duplicates("contrast"))
    others = set(pairs["other"])
    alone = len(others) == 1 and len(pairs) > 3  # many arms with one and the same: it is named once, below
    colours, seen = theme.colours([*pairs["arm"], *pairs["other"]]), dict.fromkeys(pairs["arm"], 0)
    axes.axvline(0, color="#555555", linewidth=1)
    for number, (name, a) in enumerate(zip(pairs["contrast"], pairs["arm"], strict=True)):
        found = effects[effects["contrast"] == name]
        places = found["task"].map(rows.index) + ((number + 0.5) / len(pairs) - 0.5) * _WIDTH
        looks = {"fmt": theme.MARKERS[number % len(theme.MARKERS)], "color": colours[a], "markersize": 6, "capsize": 3}
        looks["markerfacecolor"] = "white" if seen[a] else colours[a]  # compared twice, an arm keeps its colour
        label = labels.arm(a) if alone else labels.column(name)
        axes.errorbar(found["effect"].astype(float), places, xerr=bars(found, "effect"), label=label, **looks)
        seen[a] += 1
    to = f" to {labels.arm(others.pop())}" if alone else ""
    told = " (95 % interval)" if effects["low"].notna().any() else " (one replicate: no interval)"
    axes.set_xlabel(f"difference{to}, points{told}")
    _finish_rows(axes, rows, legend_width=4.6, most=2)


def bars(frame: DataFrame, value: str, low: str = "low", high: str = "high") -> np.ndarray:
    """Return the lengths of error bars, (2, num_rows), zero where there is no interval."""
    lengths = np.stack([frame[value] - frame[low], frame[high] - frame[value]]).astype(float)
    return np.nan_to_num(lengths).clip(min=0)


def _finish_rows(axes: Axes, rows: list[str], legend_width: float, most: int) -> None:
    """Name and shade the rows; put a legend above, in as many columns, `most` at most, as the inches have room for."""
    axes.set_yticks(range(len(rows)), map(labels.spelt, rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    for row in range(len(rows) - 1, -1, -2):
        axes.axhspan(row - 0.5, row + 0.5, color="#f6f6f6", zorder=0)
    handles, texts = axes.get_legend_handles_labels()
    columns = min(most, len(texts), max(1, int(legend_width / (0.4 + 0.07 * max(map(len, texts))))))
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    axes.legend(handles, texts, ncols=columns, handletextpad=0.3, columnspacing=1.0, **place)


@styled
def curves(curves: DataFrame, by: str = "checkpoint") -> StudyFigure:
    """Draw the training loss against the tokens processed, a panel a checkpoint, task or arm.

    Args:
        curves: As `study.curves` returns it: checkpoint, replicate (a line each), num_tokens, masked_lm_loss. All
            panels but the base encoder's share their axis of losses.
        by: The column that has a panel for each of its values.
    """
    question = "Does the loss still fall when the training ends?"
    if curves.empty:
        return nothing(question, "None of these encoders was trained here.")
    groups = dict(sorted(curves.groupby(by, sort=False), key=lambda group: group[0] != "base"))
    trained = theme.ARM_COLOURS["dapt" if by == "checkpoint" else "tapt"]
    figure, panels = _panels(len(groups), 5, question)
    for axes, (name, curve) in zip(panels, groups.items(), strict=True):
        colour = theme.ARM_COLOURS["base"] if name == "base" else trained
        for _, some in curve.groupby("replicate"):
            axes.plot(some["num_tokens"] / 1e6, some["masked_lm_loss"], color=colour, linewidth=1.1, alpha=0.7)
        axes.set_title(labels.column(name), fontsize=10)
        axes.locator_params(axis="x", nbins=5)
    of_others = panels[int("base" in groups) :]
    for axes in of_others[1:]:
        axes.sharey(of_others[0])
    figure.supxlabel("tokens processed (millions)", fontsize=10)
    panels[0].set_ylabel("masked-LM loss in training (nats)")
    return figure


def _panels(num: int, most: int, question: str) -> tuple[StudyFigure, np.ndarray]:
    """Make a figure of so many panels, `most` at most in a row."""
    num_columns = min(most, num)
    num_rows = -(-num // num_columns)
    figure = StudyFigure(max(4.8, 1.0 + 2.35 * num_columns), 0.9 + 2.5 * num_rows, question)
    panels = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axes in panels[num:]:
        axes.remove()
    return figure, panels[:num]


@styled
def tapt_curve(curve: DataFrame) -> StudyFigure:
    """Draw dev and test scores against the epochs of TAPT, as `tables.tapt_curve` returns them, with their spread."""
    question = "How many epochs of TAPT does the task want?"
    tasks = list(dict.fromkeys(curve["task"]))
    if not tasks:
        return nothing(question)
    figure = StudyFigure(max(5.6, 4.8 * len(tasks)), 4.0, question)
    panels = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
    looks = {"dev": (theme.ARM_COLOURS["tapt"], "o", -0.04), "test": (theme.ARM_COLOURS["base"], "s", 0.04)}
    for axes, task in zip(panels, tasks, strict=True):
        for split, (colour, marker, shift) in looks.items():
            rows = curve[(curve["task"] == task) & (curve["split"] == split)]
            x, std = np.arange(len(rows)), rows["std"].fillna(0)
            how = {"fmt": f"-{marker}", "color": colour, "capsize": 3, "label": f"{split} (mean and std over runs)"}
            axes.errorbar(x + shift, rows["mean"], yerr=std, **how)
        axes.set_xticks(x, rows["epochs"])
        axes.set(
            title=labels.spelt(task), xlabel="epochs of TAPT, not to scale\n(0: base; kept: at the least dev loss)"
        )
    panels[0].set_ylabel("F1 × 100")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


@styled
def checks(table: DataFrame) -> StudyFigure:
    """Draw the dev masked-LM loss at the checks of TAPT, as `tables.checks` has it: panel a task, line a replicate."""
    question = "After how many steps does TAPT stop to help on unseen texts? (dot: the step that is kept)"
    if table.empty:
        return nothing(question, "This profile trains TAPT without checks.")
    tasks = list(dict.fromkeys(table["task"]))
    num_columns = min(4, len(tasks))
    num_rows = -(-len(tasks) // num_columns)
    figure = StudyFigure(1.0 + 2.5 * num_columns, 0.9 + 2.2 * num_rows, question)
    panels, colour = (
        figure.subplots(num_rows, num_columns, sharex=True, squeeze=False).ravel(),
        theme.ARM_COLOURS["tapt"],
    )
    for axes, task in zip(panels, tasks, strict=False):
        for _, some in table[table["task"] == task].groupby("replicate"):
            axes.plot(some["step"], some["masked_lm_loss"], color=colour, linewidth=1.1, alpha=0.7)
            axes.plot(*some.loc[some["kept"], ["step", "masked_lm_loss"]].to_numpy().T, "o", color=colour, markersize=5)
        axes.set_title(labels.spelt(task), fontsize=10)
    figure.supxlabel("steps of TAPT (0: before it)", fontsize=10)
    figure.supylabel("masked-LM loss on the task's dev texts (nats)", fontsize=10)
    return figure


@styled
def label_curve(gains: DataFrame) -> StudyFigure:
    """Draw scores and gains over the base encoder against the number of labelled texts, as `gains.label_gains` has it.

    Scores have naive Bayes beside the arms; of gains, which are in points, the bands are 95 % intervals.
    """
    question = "When does it pay to adapt?"
    if gains.empty:
        return nothing(question)
    numbers, figure = sorted(gains["num_train"].unique()), StudyFigure(10.4, 4.2, question)
    left, right = figure.subplots(1, 2)
    arms = list(dict.fromkeys(gains["arm"]))
    for (arm, rows), marker in zip(gains.groupby("arm", sort=False), theme.MARKERS, strict=False):
        looks = {"color": theme.colours(arms)[arm], "marker": marker, "markersize": 5, "label": labels.arm(arm)}
        looks["linestyle"] = ":" if arm == labels.NAIVE_BAYES else "-"
        left.plot(rows["num_train"], rows["score"], **looks)
        if arm not in (BASE.name, labels.NAIVE_BAYES):
            right.plot(rows["num_train"], rows["gain"], **looks)
            bounds = rows[["low", "high"]].astype(float).to_numpy().T
            right.fill_between(rows["num_train"], *bounds, color=looks["color"], alpha=0.15, linewidth=0)
    right.axhline(0, color="#555555", linewidth=1)
    left.set_ylabel("mean test F1 × 100")
    right.set_ylabel("gain over base, points" + (" (bands: 95 % interval)" if gains["low"].notna().any() else ""))
    for axes in (left, right):
        axes.set(xscale="log", xlabel="labelled training texts of each task (logarithmic)")
        axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
        axes.minorticks_off()
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(arms))
    return figure


def heatmap(
    axes: Axes,
    numbers: DataFrame,
    decimals: int,
    colours=None,
    *,
    signed=False,
    spell: Callable = labels.on_lines,
    **how,
) -> None:
    """Draw a table of numbers, coloured by themselves or by a like table; `spell` names rows, `how` is seaborn's."""
    colours = numbers if colours is None else colours
    written = numbers.astype(float).map(partial(labels.number, decimals=decimals, signed=signed))
    looks = {"cbar": False, "linewidths": 1.5, "linecolor": "white", "annot_kws": {"size": 10}}
    seaborn.heatmap(colours.astype(float), annot=written, fmt="", ax=axes, **looks, **how)
    axes.set(facecolor="#f0f0f0", xlabel="", ylabel="")
    axes.grid(False)
    axes.set_xticks(np.arange(len(numbers.columns)) + 0.5, map(labels.on_lines, numbers.columns), rotation=0)
    axes.set_yticks(np.arange(len(numbers.index)) + 0.5, map(spell, numbers.index), rotation=0)
    axes.tick_params(length=0)


@styled
def probability_best(best: DataFrame) -> StudyFigure:
    """Draw how likely, 0 to 1, each arm (column) is to rank first on each task (row), as replicates and texts fall."""
    table = 100 * best.rename(columns=labels.arm).rename_axis(index=None, columns=None)
    size = 2.9 + 1.15 * len(table.columns), 1.5 + 0.42 * len(table)
    figure = StudyFigure(*size, "Which arm is the best? (bootstrap probability of ranking first, %)")
    heatmap(figure.subplots(), table, 0, spell=labels.spelt, cmap="Greens", vmin=0, vmax=100)
    return figure


@styled
def power_curve(curve: DataFrame) -> StudyFigure:
    """Draw how often each claim is decided rightly (percent), by DAPT's true gain: what `calibration.power` returns."""
    truths = list(dict.fromkeys(curve["truth"]))
    figure = StudyFigure(1.4 + 4.6 * len(truths), 4.4, "How large must DAPT's gain be for the claims to be decided?")
    panels = figure.subplots(1, len(truths), sharey=True, squeeze=False)[0]
    for axes, truth in zip(panels, truths, strict=True):
        some = curve[curve["truth"] == truth].pivot(index="points", columns="claim", values="percent")
        for number, claim in enumerate(sorted(some, key=lambda name: (len(name), name))):
            looks = {"color": theme.CYCLE[number % len(theme.CYCLE)], "markersize": 5}
            marker = theme.MARKERS[number // 4 % len(theme.MARKERS)]
            axes.plot(some.index, some[claim], marker=marker, label=claim, **looks)
        axes.axhline(80, color=theme.GREY, linewidth=1, linestyle="--")
        axes.set(title=truth, xlabel="DAPT's true gain, points", ylim=(0, 102))
    panels[0].set_ylabel("decided rightly, percent of simulated studies")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=11, columnspacing=0.9)
    return figure


def label_points(axes: Axes, x: np.ndarray, y: np.ndarray, names: list[str], avoid: np.ndarray) -> None:
    """Write names beside their points, apart from one another and from (num_places, 2) to avoid, with lines."""
    axes.figure.draw_without_rendering()  # settles the layout, which places in pixels depend on
    beside = axes.transData.inverted().transform(axes.transData.transform(np.stack([x, y], axis=1)) + (7, 4))
    looks = {"fontsize": 8, "color": theme.INK, "path_effects": [withStroke(linewidth=2.5, foreground="white")]}
    texts = [axes.text(*at, name, **looks) for at, name in zip(beside, names, strict=True)]
    around = {"x": [*x, *avoid[:, 0]], "y": [*y, *avoid[:, 1]], "target_x": x, "target_y": y}
    line = {"arrowstyle": "-", "color": theme.GREY, "linewidth": 0.7}
    adjust_text(texts, **around, ax=axes, expand=(1.25, 1.7), force_text=(0.3, 0.5), iter_lim=500, arrowprops=line)
