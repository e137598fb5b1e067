"""Figures of neighbours and costs: what more neighbours bring, which text methods choose, what a point of F1 costs."""

import numpy as np
from pandas import DataFrame

from dontstop.report import labels, theme
from dontstop.report.plots import bars, heatmap, label_points
from dontstop.report.theme import StudyFigure, styled


@styled
def score_against_k(table: DataFrame) -> StudyFigure:
    """Draw what `selection_tables.score_against_k` returns, neighbours and random text beside TAPT and DAPT."""
    figure = StudyFigure(6.6, 4.4, "Do more neighbours help, and more than as much random text?")
    axes, numbers = figure.subplots(), sorted(table["num_neighbours"].dropna().unique())
    lines = {"neighbours": ("knn_tapt_1", "o", -0.04, "nearest neighbours")}
    lines |= {"random": ("rand_tapt_1", "s", 0.04, "size-matched random control")}
    for text, (arm, marker, shift, name) in lines.items():
        rows = table[table["text"] == text]
        x, looks = [numbers.index(k) + shift for k in rows["num_neighbours"]], {"fmt": f"-{marker}", "capsize": 3}
        axes.errorbar(x, rows["mean"], yerr=bars(rows, "mean"), color=theme.colours([arm])[arm], label=name, **looks)
    for arm, line in (("base", ":"), ("tapt", "--"), ("dapt", "-")):
        looks = {"color": theme.ARM_COLOURS[arm], "linestyle": line, "linewidth": 1.4, "label": labels.arm(arm)}
        axes.axhline(table.loc[table["text"] == arm, "mean"].iloc[0], **looks)
    axes.set_xticks(range(len(numbers)), [f"{k:g}" for k in numbers])
    axes.set(xlim=(-0.3, len(numbers) - 0.7), xlabel="neighbours of each training text (not to scale)")
    axes.set_ylabel("mean test F1 × 100\n(bars: 95 % interval of the difference to TAPT)")
    figure.legend(loc="outside lower center", ncols=3, columnspacing=1.0, handletextpad=0.4)
    return figure


@styled
def score_against_compute(table: DataFrame) -> StudyFigure:
    """Draw the mean scores of `selection_tables.table9`, ours only, against compute, the Pareto front as a line."""
    table = table[table["study"] == "ours"].sort_values("tflops", kind="stable")
    figure = StudyFigure(8.4, 5.2, "What does a point of F1 cost?")
    axes, paid = figure.subplots(), table["tflops"] > 0
    free = float(table.loc[paid, "tflops"].min()) / 3  # where an arm without any pretraining stands
    x, y = table["tflops"].where(paid, free).to_numpy(float), table["score"].to_numpy(float)
    front = table["pareto_optimal"].astype(bool).to_numpy()
    axes.plot(x[front], y[front], color=theme.GREY, linewidth=1.2, zorder=1)
    axes.scatter(x, y, c=list(table["arm"].map(theme.colours(table["arm"]))), s=46, zorder=3)
    axes.set(xscale="log", ylabel="mean test F1 × 100")
    axes.set_xlabel("pretraining beyond the base encoder, TFLOPs (logarithmic; base: none)")
    axes.set_title("mean over the tasks with an augmented TAPT corpus; line: Pareto front", fontsize=9.5)
    axes.margins(x=0.2, y=0.12)
    between = np.linspace(0, front.sum() - 1, 60)  # along the front
    along = [np.interp(between, range(front.sum()), values[front]) for values in (np.log(x), y)]
    label_points(axes, x, y, list(map(labels.arm, table["arm"])), np.stack([np.exp(along[0]), along[1]], axis=1))
    return figure


@styled
def selector_agreement(matrix: DataFrame) -> StudyFigure:
    """Draw which percent of candidates two retrieval methods both chose, as `selection_tables.agreement` has it."""
    table = matrix.rename(index=labels.SELECTORS, columns=labels.SELECTORS).rename_axis(index=None, columns=None)
    title = "Do the retrieval methods choose the same text?\n(% of what either chose that both chose)"
    figure = StudyFigure(max(4.6, 2.4 + 1.05 * len(table)), 1.6 + 0.62 * len(table), title)
    same = np.eye(len(table), dtype=bool)
    largest = float(table.to_numpy(float)[~same].max(initial=1.0))
    heatmap(figure.subplots(), table, 0, cmap="Purples", vmin=0, vmax=largest, mask=same)
    return figure
