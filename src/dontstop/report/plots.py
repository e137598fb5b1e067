"""Figures of scores and training: frames in, figure out. Nothing is estimated here; intervals come with the data.

A figure without anything to draw is None, which `study.show` shows nothing of. What a title says is filled in by
`titles` from the same frames.
"""

import numpy as np
from matplotlib.axes import Axes
from pandas import DataFrame

from dontstop.design.arms import BASE
from dontstop.report import labels, marks, theme, titles
from dontstop.report.theme import StudyFigure, styled
from dontstop.verdicts import effects as compared
from dontstop.verdicts.scores import MEAN, NAIVE_BAYES, in_shared_replicates, means

_LEAST_RANGE = 1.0  # points: what is smaller shall not look large


@styled
def scores(runs: DataFrame, effects: DataFrame, question: str = "") -> StudyFigure | None:
    """Draw differences between arms, their means over tasks first, the tasks below.

    Args:
        runs: Columns task, arm, replicate, seed, test_score (0 to 1): of these arms, whose means the note tells.
        effects: As `effects` returns it, of contrasts of two arms: columns contrast, task, effect, low, high.
        question: That the figure answers.
    """
    runs = in_shared_replicates(runs)
    if runs.empty or effects.empty:
        return None
    found = means(runs).query("task == @MEAN")
    told = ", ".join(
        f"{labels.arm(arm)} {labels.number(mean)}" for arm, mean in zip(found["arm"], found["mean"], strict=True)
    )
    return _differences(effects, f"Mean test F1 × 100: {told}. ", question, runs)


@styled
def forest(effects: DataFrame, question: str = "") -> StudyFigure | None:
    """Draw differences between arms as `scores` does, of effects alone."""
    return None if effects.empty else _differences(effects, "", question)


def _differences(effects: DataFrame, told: str, question: str, runs: DataFrame | None = None) -> StudyFigure:
    pairs = labels.with_arms(effects.drop_duplicates("contrast"))
    names = [labels.column(name).replace(" − ", "\n− ") for name in pairs["contrast"]]
    note = told + "Differences in points; " + titles.intervals(effects, more="; bold: its interval excludes zero")
    figure = StudyFigure(1.9 + 0.97 * len(names), titles.differences(effects), note, question)
    above, below = figure.subplots(2, 1, height_ratios=[0.75 + 0.52 * len(names), 0.9 + 0.45 * len(names)])
    _draw_means(above, effects[effects["task"] == MEAN], pairs, runs)
    marks.name_rows(above, names)
    above.set_title("mean over the tasks")
    by_task = effects[effects["task"] != MEAN].set_index(["contrast", "task"])
    table = by_task["effect"].unstack(sort=False).loc[pairs["contrast"]]
    marks.heatmap_of_changes(below, table, 1, least_range=_LEAST_RANGE)
    below.set_yticks(below.get_yticks(), names)
    below.set_title("task by task (blue: above zero, orange: below)")
    is_sure = (by_task["low"] > 0) | (by_task["high"] < 0)
    marks.embolden(below.texts, (is_sure[name, task] for name in table.index for task in table))
    return figure


def _draw_means(axes: Axes, whole: DataFrame, pairs: DataFrame, runs: DataFrame | None) -> None:
    """Draw each contrast's mean, its interval, and a dot a replicate where there are several."""
    axes.axvline(0, **theme.ZERO)
    colours, found = theme.colours(pairs["arm"]), whole.set_index("contrast").loc[pairs["contrast"]]
    for place, (row, (effect, low, high)) in enumerate(
        zip(pairs.itertuples(), found[["effect", "low", "high"]].astype(float).to_numpy(), strict=True)
    ):
        looks = {"color": colours[row.arm], "marker": theme.MARKERS[place % len(theme.MARKERS)], "markersize": 8}
        if runs is not None and not np.isnan(low):
            dots = compared.of_replicates(runs, compared.over(row.arm, row.other)).mean(axis=1)
            axes.plot(dots, [place] * len(dots), "o", color=colours[row.arm], alpha=0.35, markersize=4)
        axes.plot([low, high], [place, place], color=colours[row.arm], linewidth=2)
        axes.plot(effect, place, markerfacecolor="white" if np.isnan(low) else colours[row.arm], **looks)
    axes.margins(x=0.08)
    least, most = axes.get_xlim()
    axes.set_xlim(min(least, -_LEAST_RANGE), max(most, _LEAST_RANGE))
    for place, row in enumerate(found.astype({"effect": float}).itertuples()):
        # Above its mark, from the end of the interval that is the farther from the figure's side.
        ends, is_left = np.nan_to_num([row.low, row.high], nan=row.effect), row.effect < np.mean(axes.get_xlim())
        side = {"ha": "left" if is_left else "right", "va": "bottom", "textcoords": "offset points"}
        axes.annotate(_with_interval(row), (ends[0 if is_left else 1], place), (0, 5), fontsize=9.5, **side)


def _with_interval(row) -> str:
    bounds = "" if np.isnan(row.low) else f" {labels.interval(row.low, row.high)}"
    return labels.signed(row.effect) + bounds


@styled
def curves(
    curves: DataFrame, held_out: DataFrame | None = None, by: str = "checkpoint", what: str = "held-out"
) -> StudyFigure | None:
    """Draw the held-out loss and the training loss against the tokens processed: means, and each training faintly.

    Args:
        curves: As `study.curves` returns it: checkpoint, replicate, num_tokens, masked_lm_loss. The base encoder's, far
            larger, are drawn only where there are no others.
        held_out: As `tables.held_out_losses` returns it, of the same checkpoints.
        by: The column that names the trainings.
        what: The kind of text that `held_out` is measured on: a task's is `dev`.
    """
    curves = curves[curves[by] != BASE.name] if (curves[by] != BASE.name).any() else curves
    if curves.empty:
        return None
    named = curves.drop_duplicates("checkpoint").set_index("checkpoint", drop=False)[by]
    measured = curves[:0] if held_out is None else held_out
    measured = measured.assign(**{by: measured["checkpoint"].map(named)}).dropna(subset=by)
    num = curves[[by, "replicate"]].drop_duplicates().shape[0]
    note = f"Thick: mean over {num} trainings; thin: each of them; named: the highest and the lowest at the end."
    figure = StudyFigure(3.5, titles.curves(curves, measured, what), note if num > 1 else "One training.")
    axes = figure.subplots()
    _draw_courses(axes, curves, by, "num_tokens", (theme.GREY, "", "training text"))
    if len(measured):
        _draw_courses(axes, measured, by, "num_tokens", (theme.CYCLE[0], "o", f"{what} text"))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}")
    axes.set(xlabel="tokens processed (millions)", ylabel="masked-LM loss (nats)")
    _name_ends(axes, measured if len(measured) else curves, by, "num_tokens")
    axes.legend(loc="best")
    return figure


def _draw_courses(axes: Axes, rows: DataFrame, by: str, x: str, looks: tuple[str, str, str]) -> None:
    """Draw each training's loss faintly, and their mean over those that went as far."""
    (colour, marker, label), keys = looks, [by, "replicate"]
    is_course = rows.groupby(keys).size().max() > 2
    # Of two measurements alone, at the begin and the end, a line between would tell a course that is not known.
    how = {"color": colour, "marker": marker, "linestyle": "-" if is_course else "none", "clip_on": False}
    for _, one in rows.groupby(keys, sort=False):
        axes.plot(one[x], one["masked_lm_loss"], linewidth=0.7, alpha=0.35, markersize=3, **how)
    places = rows.assign(place=rows.groupby(keys).cumcount()).groupby("place")
    mean = places[[x, "masked_lm_loss"]].mean()[places.size() == places.size().max()]
    axes.plot(mean[x], mean["masked_lm_loss"], linewidth=2.4, markersize=8, zorder=3, label=label, **how)


def _name_ends(axes: Axes, rows: DataFrame, by: str, x: str) -> None:
    """Name, at the right end, the line that is highest there and the one that is lowest."""
    ends = rows.groupby([by, "replicate"], sort=False)["masked_lm_loss"].last().groupby(level=0, sort=False).mean()
    shown = ends.loc[list(dict.fromkeys([ends.idxmax(), ends.idxmin()]))]
    names = [labels.on_lines(labels.column(name), 14) for name in shown.index]
    marks.label_ends(axes, rows[x].max(), list(shown), names)


@styled
def checks(table: DataFrame) -> StudyFigure | None:
    """Draw the dev masked-LM loss at the checks of TAPT, as `tables.checks` has it: the mean, faintly each training."""
    if table.empty:
        return None
    note = "Loss on the task's dev texts, at step 0 before TAPT. Thick: mean over tasks and replicates; "
    figure = StudyFigure(3.5, titles.checks(table), f"{note}thin: each of them; diamond: the step that is kept.")
    axes, kept = figure.subplots(), table[table["kept"]]
    _draw_courses(axes, table, "task", "step", (theme.CYCLE[0], "o", "mean"))
    looks = {"color": theme.CYCLE[5], "markersize": 5, "clip_on": False, "label": "kept"}
    axes.plot(kept["step"], kept["masked_lm_loss"], "D", **looks)
    axes.set(xlabel="steps of TAPT", ylabel="masked-LM loss on dev texts (nats)")
    _name_ends(axes, table, "task", "step")
    axes.legend(loc="best")
    return figure


@styled
def tapt_curve(curve: DataFrame) -> StudyFigure | None:
    """Draw dev and test scores against the epochs of TAPT, as `tables.tapt_curve` returns them, with their spread."""
    tasks = list(dict.fromkeys(curve["task"]))
    if not tasks:
        return None
    bars = "bars: std over runs" if curve["std"].notna().any() else "one run each: no spread"
    figure = StudyFigure(
        3.2, titles.tapt_curve(curve), f"0: base; kept: TAPT as used here, at the least dev loss; {bars}."
    )
    panels = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
    looks = {"dev": (theme.CYCLE[2], "o", "--", -0.04), "test": (theme.CYCLE[6], "s", "-", 0.04)}
    for axes, task in zip(panels, tasks, strict=True):
        for split, (colour, marker, line, shift) in looks.items():
            rows = curve[(curve["task"] == task) & (curve["split"] == split)]
            how = {"color": colour, "marker": marker, "capsize": 3, "markersize": 7}
            at, spread = np.arange(len(rows)) + shift, rows["std"].fillna(0)
            joined = (rows["epochs"] != "kept").to_numpy()  # its steps are others, and no point of the course
            axes.errorbar(at[joined], rows["mean"][joined], yerr=spread[joined], linestyle=line, label=split, **how)
            axes.errorbar(at[~joined], rows["mean"][~joined], yerr=spread[~joined], linestyle="none", **how)
        axes.set_xticks(range(len(rows)), rows["epochs"])
        axes.set(title=labels.spelt(task), xlabel="epochs of TAPT (not to scale)")
    panels[0].set_ylabel("mean F1 × 100")
    panels[-1].legend(loc="best")
    return figure


@styled
def label_curve(gains: DataFrame) -> StudyFigure | None:
    """Draw scores and gains over the base encoder against the number of labelled texts, as `gains.label_gains` has it.

    Scores have naive Bayes beside the arms; of gains, which are in points, the bands are 95 % intervals.
    """
    if gains.empty:
        return None
    numbers, known = sorted(gains["num_train"].unique()), gains["low"].notna().any()
    note = labels.sentence(titles.intervals(gains, what="bands"))
    figure = StudyFigure(3.7, titles.label_curve(gains), f"Mean over the tasks. {note}")
    left, right = figure.subplots(1, 2)
    colours = theme.colours(dict.fromkeys(gains["arm"])) | {NAIVE_BAYES: "black"}
    for (arm, rows), marker in zip(gains.groupby("arm", sort=False), theme.MARKERS, strict=False):
        looks = {"color": colours[arm], "marker": marker, "markersize": 6, "label": labels.arm(arm)}
        looks["linestyle"] = ":" if arm == NAIVE_BAYES else "-"
        left.plot(rows["num_train"], rows["score"], **looks)
        if arm != BASE.name:
            right.plot(rows["num_train"], rows["gain"], **looks)
        if known and arm not in (BASE.name, NAIVE_BAYES):
            bounds = rows[["low", "high"]].astype(float).to_numpy().T
            right.fill_between(rows["num_train"], *bounds, color=looks["color"], alpha=0.15, linewidth=0)
    right.axhline(0, **theme.ZERO)
    left.set_ylabel("test F1 × 100")
    right.set_ylabel("gain over base, points")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="labelled training texts a task (log)")
        axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
        axes.minorticks_off()
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(colours))
    return figure


@styled
def probability_best(best: DataFrame) -> StudyFigure:
    """Draw how likely, 0 to 1, each arm (column) is to rank first on each task (row), as replicates and texts fall."""
    table = 100 * best.rename(columns=labels.arm).rename_axis(index=None, columns=None)
    note = "Bootstrap probability of ranking first, %: replicates, if there are several, and test texts are resampled."
    figure = StudyFigure(0.5 + 0.36 * len(table), titles.probability_best(best), note)
    axes = figure.subplots()
    marks.heatmap(axes, table, 0, spell=labels.spelt, cmap="Greens", vmin=0, vmax=100)
    axes.axhline(len(table) - 1, color=theme.INK, linewidth=1.2)
    return figure


@styled
def changed(counts: DataFrame) -> StudyFigure | None:
    """Draw how many test texts one arm labels rightly and another does not, and the reverse.

    Args:
        counts: As `predictions.changed_counts` returns them.
    """
    if counts.empty:
        return None
    arm, other = (labels.arm(counts[name].iloc[0]) for name in ("arm", "other"))
    note = f"Test texts per task, mean over runs. To the right: {arm} alone is right; to the left: {other} alone is."
    figure = StudyFigure(0.7 + 0.36 * len(counts), titles.changed(counts), note)
    axes, rows = figure.subplots(), range(len(counts))
    for name, sign, colour, hatch in (("broken", -1, theme.CYCLE[5], "///"), ("mended", 1, theme.CYCLE[0], "")):
        drawn = axes.barh(rows, sign * counts[name], 0.62, color=colour, hatch=hatch, edgecolor="white", label=name)
        axes.bar_label(drawn, [f" {labels.number(n, 0)} " for n in counts[name]], fontsize=9.5)
    axes.axvline(0, **theme.ZERO)
    marks.name_rows(axes, list(map(labels.spelt, counts["task"])))
    axes.set_xticks([])
    axes.margins(x=0.12)
    how = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points", "va": "bottom", "fontsize": 10.5}
    for told, side, x in ((f"← broken by {arm}", "right", -6), (f"mended by {arm} →", "left", 6)):
        axes.annotate(told, (0, 1), (x, 3), ha=side, annotation_clip=False, **how)
    return figure


@styled
def power_curve(curve: DataFrame) -> StudyFigure:
    """Draw how often each claim is decided rightly (percent), by DAPT's true gain: what `calibration.power` returns."""
    truths = list(dict.fromkeys(curve["truth"]))
    note = "Row: a claim; column: DAPT's true gain, points; percent of simulated studies in which the claim is decided "
    figure = StudyFigure(4.2, titles.power_curve(curve), f"{note}rightly. Bold: four in five or more.")
    for axes, truth in zip(figure.subplots(1, len(truths), sharey=True, squeeze=False)[0], truths, strict=True):
        table = curve[curve["truth"] == truth].pivot(index="claim", columns="points", values="percent")
        table = table.loc[sorted(table.index, key=lambda name: (len(name), name))].rename(columns="{:g}".format)
        marks.heatmap(axes, table, 0, cmap="Blues", vmin=0, vmax=120, annot_kws={"size": 9})
        marks.embolden(axes.texts, table.to_numpy().ravel() >= 80)
        axes.set(title=truth, xlabel="DAPT's true gain, points")
    return figure
