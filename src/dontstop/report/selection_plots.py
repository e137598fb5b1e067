"""Figures of notebook 06: scores against neighbours and against compute, and how far retrieval methods agree."""

import numpy as np
import pandas as pd

from dontstop.report import labels, theme
from dontstop.report.gap_plots import label_points
from dontstop.report.plots import bars, heatmap
from dontstop.report.theme import StudyFigure, styled


@styled
def score_against_k(table: pd.DataFrame) -> StudyFigure:
    """Draw mean scores against the number of neighbours, for neighbours and random text, beside TAPT and DAPT.

    Args:
        table: As `selection_tables.score_against_k` returns it.
    """
    figure = StudyFigure(6.6, 4.4, "Do more neighbours help, and more than as much random text?")
    axes = figure.subplots()
    colours = theme.colours(["knn_tapt_1", "rand_tapt_1", "base", "tapt", "dapt"])
    numbers = sorted(table["num_neighbours"].dropna().unique())
    looks = {"neighbours": ("knn_tapt_1", "o", -0.04, "nearest neighbours")}
    looks |= {"random": ("rand_tapt_1", "s", 0.04, "size-matched random control")}
    for text, (arm, marker, shift, name) in looks.items():
        rows = table[table["text"] == text]
        x = [numbers.index(k) + shift for k in rows["num_neighbours"]]
        how = {"fmt": f"-{marker}", "color": colours[arm], "capsize": 3, "label": name}
        axes.errorbar(x, rows["mean"], yerr=bars(rows, "mean"), **how)
    for arm, line in (("base", ":"), ("tapt", "--"), ("dapt", "-")):
        mean = table.loc[table["text"] == arm, "mean"].iloc[0]
        axes.axhline(mean, color=colours[arm], linestyle=line, linewidth=1.4, label=labels.arm(arm))
    axes.set_xticks(range(len(numbers)), [f"{k:g}" for k in numbers])
    axes.set_xlim(-0.3, len(numbers) - 0.7)
    axes.set_xlabel("neighbours of each training text (not to scale)")
    axes.set_ylabel("mean test F1 × 100\n(bars: 95 % interval of the difference to TAPT)")
    figure.legend(loc="outside lower center", ncols=3, columnspacing=1.0, handletextpad=0.4)
    return figure


@styled
def score_against_compute(table: pd.DataFrame) -> StudyFigure:
    """Draw each arm's mean score against the compute of its pretraining, with the Pareto front as a line.

    Args:
        table: As `selection_tables.table9` returns it; only the rows whose study is `ours` are drawn.
    """
    table = table[table["study"] == "ours"].sort_values("tflops", kind="stable")
    figure = StudyFigure(8.4, 5.2, "What does a point of F1 cost?")
    axes = figure.subplots()
    paid = table["tflops"] > 0
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
    line = [np.interp(between, range(front.sum()), values[front]) for values in (np.log(x), y)]
    label_points(axes, x, y, [labels.arm(arm) for arm in table["arm"]], np.stack([np.exp(line[0]), line[1]], axis=1))
    return figure


@styled
def selector_agreement(matrix: pd.DataFrame) -> StudyFigure:
    """Draw how many of the candidates that two retrieval methods chose they both chose, in percent.

    Args:
        matrix: As `selection_tables.agreement` returns it.
    """
    table = matrix.rename(index=labels.SELECTORS, columns=labels.SELECTORS).rename_axis(index=None, columns=None)
    size = max(4.6, 2.4 + 1.05 * len(table)), 1.6 + 0.62 * len(table)
    title = "Do the retrieval methods choose the same text?\n(% of what either chose that both chose)"
    figure = StudyFigure(*size, title)
    same = np.eye(len(table), dtype=bool)
    largest = float(table.to_numpy(float)[~same].max(initial=1.0))
    heatmap(figure.subplots(), table, ".0f", cmap="Purples", vmin=0, vmax=largest, mask=same)
    return figure
