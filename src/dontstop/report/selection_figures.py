"""Figures of notebook 06: score against neighbours and against compute, and how far selectors agree."""

import numpy as np
import pandas as pd
from adjustText import adjust_text
from matplotlib.figure import Figure

from dontstop.report.figures import StudyFigure, arm_name, colours_of, heat_map, styled

_SELECTORS = {
    "vampire": "VAMPIRE",
    "tfidf": "tf-idf SVD",
    "encoder": "base encoder",
    "sentence_transformer": "sentence transformer",
    "bm25": "BM25",
    "dsir": "DSIR",
    "random": "random",
}


@styled
def score_against_k(table: pd.DataFrame) -> Figure:
    """Draw mean scores against the number of neighbours, for neighbours and random text, beside TAPT and DAPT.

    Args:
        table: As `selection_tables.score_against_k` returns it.
    """
    figure = StudyFigure(6.6, 4.4)
    axes = figure.subplots()
    figure.suptitle("Do more neighbours help, and more than as much random text?", x=0.01, ha="left")
    colours = colours_of(["knn_tapt_1", "rand_tapt_1", "base", "tapt", "dapt"])
    numbers = sorted(table["num_neighbours"].dropna().unique())
    places = {k: place for place, k in enumerate(numbers)}
    for text, arm, marker, shift in (("neighbours", "knn_tapt_1", "o", -0.04), ("random", "rand_tapt_1", "s", 0.04)):
        rows = table[table["text"] == text]
        bars = np.stack([rows["mean"] - rows["mean_low"], rows["mean_high"] - rows["mean"]]).astype(float).clip(min=0)
        x = [places[k] + shift for k in rows["num_neighbours"]]
        label = "nearest neighbours" if text == "neighbours" else "as much random text"
        axes.errorbar(x, rows["mean"], yerr=bars, fmt=f"-{marker}", color=colours[arm], capsize=3, label=label)
    for arm, line in (("base", ":"), ("tapt", "--"), ("dapt", "-")):
        row = table[table["text"] == arm].iloc[0]
        axes.axhline(row["mean"], color=colours[arm], linestyle=line, linewidth=1.4, label=arm_name(arm))
    axes.set_xticks(range(len(numbers)), [str(k) for k in numbers])
    axes.set_xlim(-0.3, len(numbers) - 0.7)
    axes.set_xlabel("neighbours of each training text (not to scale)")
    axes.set_ylabel("mean test F1 × 100\n(bars: 95 % interval of the difference to TAPT)")
    figure.legend(loc="outside lower center", ncols=5, columnspacing=1.0, handletextpad=0.4)
    return figure


@styled
def score_against_compute(table: pd.DataFrame) -> Figure:
    """Draw each arm's mean score against the arithmetic of its pretraining, the arms that none beats on a line.

    Args:
        table: As `selection_tables.table9_costs` returns it; only the rows whose study is `ours` are drawn.
    """
    table = table[table["study"] == "ours"].sort_values("teraflops", kind="stable")
    figure = StudyFigure(8.4, 5.2)
    axes = figure.subplots()
    figure.suptitle("What does a point of F1 cost?", x=0.01, ha="left")
    paid = table["teraflops"] > 0
    free = float(table.loc[paid, "teraflops"].min()) / 3  # where an arm without any pretraining stands
    x = table["teraflops"].where(paid, free).to_numpy(float)
    colours = colours_of(list(table["arm"]))
    front = table["on_front"].astype(bool).to_numpy()
    axes.plot(x[front], table["score"].to_numpy(float)[front], color="#999999", linewidth=1.2, zorder=1)
    axes.set_xscale("log")
    for place, arm, score in zip(x, table["arm"], table["score"], strict=True):
        axes.scatter([place], [score], color=colours[arm], s=46, zorder=3)
    axes.set_xlabel("pretraining beyond the base encoder, teraflops (logarithmic; base: none)")
    axes.set_ylabel("mean test F1 × 100")
    axes.set_title(
        "mean over the tasks whose text is enlarged; line: no other arm scores as much for less", fontsize=9.5
    )
    axes.margins(x=0.16, y=0.12)
    _label(axes, x, table["score"].to_numpy(float), [arm_name(arm) for arm in table["arm"]])
    return figure


def _label(axes, x: np.ndarray, y: np.ndarray, names: list[str]) -> None:
    """Write names beside their points, moved apart where they would meet, with a line to the point from afar."""
    texts = [axes.text(*place, name, fontsize=8, color="#333333") for *place, name in zip(x, y, names, strict=True)]
    axes.figure.draw_without_rendering()  # settles the layout, which the texts' places in pixels depend on
    line = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.7}
    adjust_text(texts, x=x, y=y, ax=axes, expand=(1.2, 1.7), force_text=(0.3, 0.5), iter_lim=500, arrowprops=line)


@styled
def selector_agreement(matrix: pd.DataFrame) -> Figure:
    """Draw how many of the candidates that two selectors chose they both chose, in percent.

    Args:
        matrix: As `selection_tables.agreement` returns it.
    """
    table = matrix.rename(index=_SELECTORS, columns=_SELECTORS).rename_axis(index=None, columns=None)
    figure = StudyFigure(2.4 + 1.05 * len(table), 1.5 + 0.62 * len(table))
    axes = figure.subplots()
    figure.suptitle(
        "Do the selectors choose the same text?\n(percent of what either chose that both chose)", x=0.01, ha="left"
    )
    same = np.eye(len(table), dtype=bool)
    largest = float(table.to_numpy(float)[~same].max(initial=1.0))
    heat_map(axes, table, table, ".0f", cmap="Purples", vmin=0, vmax=largest, mask=same)
    return figure
