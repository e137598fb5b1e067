"""The study's figures: data in, picture out. Nothing is estimated here; intervals come with the data."""

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from dontstop.machine.files import writing

# Okabe and Ito's colours, which readers with any colour vision tell apart.
ARM_COLOURS = {
    "base": "#555555",
    "dapt": "#0072B2",
    "not_dapt": "#D55E00",
    "tapt": "#009E73",
    "dapt_tapt": "#CC79A7",
    "transfer_tapt": "#E69F00",
    "curated_tapt": "#8C6BB1",
    "dapt_curated_tapt": "#54278F",
    "lora_dapt": "#56B4E9",
    "lora_tapt": "#A6D854",
    "embedding_tapt": "#B15928",
}
DOMAIN_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#555555")
ARM_NAMES = {
    "base": "base",
    "dapt": "DAPT",
    "not_dapt": "not-DAPT",
    "tapt": "TAPT",
    "dapt_tapt": "DAPT+TAPT",
    "transfer_tapt": "transfer-TAPT",
    "naive_bayes": "naive Bayes",
    "curated_tapt": "curated-TAPT",
    "dapt_curated_tapt": "DAPT+curated-TAPT",
    "lora_dapt": "LoRA-DAPT",
    "lora_tapt": "LoRA-TAPT",
    "embedding_tapt": "embedding-TAPT",
}
# Shades, from few neighbours to many; and what tells selectors apart.
_KNN_SHADES, _RAND_SHADES = ("#66C2A4", "#238B45", "#00441B"), ("#FDAE6B", "#E6550D", "#8C2D04")
_SELECTOR_COLOURS = {"tfidf": "#1FA2B8", "encoder": "#E7298A", "bm25": "#A6761D", "dsir": "#3F51B5"}
_SELECTOR_NAMES = {"tfidf": "tf-idf", "encoder": "encoder", "bm25": "BM25", "dsir": "DSIR"}
DISTANCE_NAMES = {
    "vocabulary_overlap": "shared frequent words (%)",
    "jensen_shannon": "Jensen-Shannon divergence (bits)",
    "proxy_a_distance": "proxy A-distance (0 to 2)",
    "masked_lm_loss": "base encoder's masked-LM loss (nats)",
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.titlesize": 12,
    "svg.hashsalt": "dontstop",
}


class StudyFigure(Figure):
    """A figure that notebooks show by itself, and that pyplot knows nothing of."""

    def __init__(self, width: float, height: float):
        super().__init__(figsize=(width, height), dpi=110, layout="constrained")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        return _rendered(self, "png")


def styled(draw: Callable) -> Callable:
    """Draw in the study's style, and leave the caller's as it is."""

    @functools.wraps(draw)
    def styled(*args, **kwargs):
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


@styled
def nothing(title: str) -> Figure:
    """Say in a figure's place that there is nothing to draw."""
    figure = StudyFigure(8, 0.6)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def spelt(name: str) -> str:
    """Spell a domain's or task's id for a reader: `dapt_deep_learning` as `DAPT deep learning`."""
    words = str(name).split("_")
    return " ".join({"dapt": "DAPT", "tapt": "TAPT"}.get(word, word) for word in words)


def arm_name(arm: str) -> str:
    """Spell an arm for a reader: `knn_tapt_50` as 50NN-TAPT, as the paper does."""
    if arm in ARM_NAMES:
        return ARM_NAMES[arm]
    kind, _, number, *selector = arm.split("_")
    if kind == "rand":
        return f"RAND-TAPT ({number})"
    name = "_".join(selector)
    return f"{number}NN-TAPT" + (f" ({_SELECTOR_NAMES.get(name, spelt(name))})" if name else "")


def colours_of(arms: Sequence[str]) -> dict[str, str]:
    """Give each arm its colour; of neighbours and of random text, the more the darker."""
    found = {arm: ARM_COLOURS[arm] for arm in arms if arm in ARM_COLOURS}
    for start, shades in (("knn", _KNN_SHADES), ("rand", _RAND_SHADES)):
        plain = [arm for arm in arms if arm.startswith(start) and arm.count("_") == 2]
        plain.sort(key=lambda arm: int(arm.split("_")[2]))
        places = [1] if len(plain) == 1 else [round(2 * k / (len(plain) - 1)) for k in range(len(plain))]
        found |= {arm: shades[place] for arm, place in zip(plain, places, strict=True)}
    for arm in arms:
        found.setdefault(arm, _SELECTOR_COLOURS.get("_".join(arm.split("_")[3:]), "#555555"))
    return found


def _on_lines(name: str) -> str:
    words = spelt(name).split(" ")
    return " ".join(words) if len(words) < 2 else f"{' '.join(words[:-1])}\n{words[-1]}"


@styled
def figure2_overlap(ours: pd.DataFrame, paper: pd.DataFrame, num_words: int | None = None) -> Figure:
    """Draw the overlap of frequent words between domains, ours beside the paper's.

    Args:
        ours: Square, in percent, by domain.
        paper: The paper's.
        num_words: Length of our lists, for the title.

    Source: Figure 2.
    """
    figure = StudyFigure(10.5, 4.8)
    left, right = figure.subplots(1, 2)
    figure.suptitle("How many frequent words do the domains share? (percent)", x=0.01, ha="left")
    scale = {"vmin": 0, "vmax": float(max(_off_diagonal(ours).max(), _off_diagonal(paper).max()))}
    top = f" (the {num_words:,} most frequent)" if num_words else ""
    for axes, table, title in ((left, ours, f"ours{top}"), (right, paper, "paper (10,000; PT: RoBERTa's text)")):
        heat_map(axes, table, table, ".1f", cmap="Blues", mask=np.eye(len(table), dtype=bool), **scale)
        axes.set_title(title)
    return figure


def _off_diagonal(table: pd.DataFrame) -> np.ndarray:
    return table.to_numpy(float)[~np.eye(len(table), dtype=bool)]


def heat_map(axes: Axes, colours: pd.DataFrame, numbers: pd.DataFrame, form: str, **options) -> None:
    """Draw a table of numbers, coloured by a table of the same shape; `options` are seaborn's."""
    seaborn.heatmap(
        colours.astype(float),
        annot=numbers.astype(float),
        fmt=form,
        ax=axes,
        cbar=False,
        linewidths=1.5,
        linecolor="white",
        annot_kws={"size": 10},
        **options,
    )
    axes.set_facecolor("#f0f0f0")
    axes.grid(False)
    axes.set(xlabel="", ylabel="")
    axes.set_xticks(np.arange(len(colours.columns)) + 0.5, [_on_lines(name) for name in colours.columns], rotation=0)
    axes.set_yticks(np.arange(len(colours.index)) + 0.5, [_on_lines(name) for name in colours.index], rotation=0)
    axes.tick_params(length=0)


@styled
def task_domain_overlap(overlap: pd.DataFrame, domains: Mapping[str, str]) -> Figure:
    """Draw the overlap of every task's frequent words with every domain's, its own domain framed.

    Args:
        overlap: Tasks by domains, in percent.
        domains: Each task's own domain.
    """
    figure = StudyFigure(1.9 + 1.3 * len(overlap.columns), 1.3 + 0.48 * len(overlap))
    axes = figure.subplots()
    heat_map(axes, overlap, overlap, ".0f", cmap="Blues", vmin=0)
    axes.set_yticklabels([spelt(task) for task in overlap.index])
    _frame(axes, overlap, domains, "#D55E00")
    axes.set_title("Do a task's words come from its own domain?\n(percent shared; own domain framed)")
    return figure


def _frame(axes: Axes, table: pd.DataFrame, own: Mapping[str, str], colour: str) -> None:
    """Frame the cell of each row's own column."""
    for row, name in enumerate(table.index):
        if own.get(name) in table.columns:
            place = (list(table.columns).index(own[name]) + 0.02, row + 0.03)
            axes.add_patch(Rectangle(place, 0.96, 0.94, fill=False, edgecolor=colour, linewidth=1.8, clip_on=False))


@styled
def distances(measured: pd.DataFrame) -> Figure:
    """Draw the distances of each domain from the base encoder's text, a panel a distance, with 95 % intervals.

    Args:
        measured: As `domain_gap.distance_table` returns it; distances that were not measured are left out.
    """
    names = [name for name in DISTANCE_NAMES if name in measured and measured[name].notna().any()]
    figure = StudyFigure(1.4 + 2.6 * len(names), 1.5 + 0.42 * len(measured))
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    title = "How far does each domain lie from the base encoder's text? (farther is to the right; 95 % intervals)"
    figure.suptitle(title, x=0.01, ha="left")
    ordered = measured.sort_values(names[0], ascending=names[0] != "vocabulary_overlap")
    rows = np.arange(len(ordered))[::-1]
    for axes, name in zip(panels, names, strict=True):
        axes.errorbar(ordered[name], rows, xerr=_bars(ordered, name), fmt="o", color="#0072B2", markersize=7, capsize=3)
        axes.set(xlabel=_wrapped(DISTANCE_NAMES[name]), ylim=(-0.6, len(ordered) - 0.4))
        axes.margins(x=0.15)
        if name == "vocabulary_overlap":  # a likeness: the more, the nearer
            axes.invert_xaxis()
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", nbins=4)
    panels[0].set_yticks(rows, [spelt(domain) for domain in ordered.index])
    return figure


def _wrapped(text: str, limit: int = 26) -> str:
    if len(text) <= limit:
        return text
    cut = text.rfind(" ", 0, limit)
    return f"{text[:cut]}\n{text[cut + 1 :]}"


def _bars(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return the lengths of error bars, (2, num_rows), zero where there is no interval."""
    low, high = table.get(f"{name}_low"), table.get(f"{name}_high")
    if low is None or high is None:
        return np.zeros((2, len(table)))
    return np.nan_to_num(np.stack([table[name] - low, high - table[name]]).astype(float)).clip(min=0)


@styled
def loss_curves(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the training loss of each checkpoint against the tokens seen.

    Args:
        curves: By checkpoint, columns num_tokens and masked_lm_loss. All but those that begin with `base`
            share their axis of losses.
    """
    num_columns = min(5, len(curves))
    num_rows = -(-len(curves) // num_columns)
    figure = StudyFigure(max(4.8, 1.0 + 2.35 * num_columns), 0.9 + 2.6 * num_rows)  # wide enough for the title
    panels = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    figure.suptitle("Does the loss still fall when the training ends?", x=0.01, ha="left")
    shared = None
    for axes, (name, curve) in zip(panels, curves.items(), strict=False):
        base = name.startswith("base")
        colour = ARM_COLOURS["base" if base else "dapt" if name.startswith("dapt") else "tapt"]
        axes.plot(curve["num_tokens"] / 1e6, curve["masked_lm_loss"], color=colour, linewidth=1.1)
        axes.set_title(spelt(name), fontsize=10)
        axes.locator_params(axis="x", nbins=5)
        if not base:
            shared = shared or axes
            axes.sharey(shared)
    for axes in panels[len(curves) :]:
        axes.remove()
    figure.supxlabel("tokens seen (millions)", fontsize=10)
    panels[0].set_ylabel("masked-LM loss in training (nats)")
    return figure


def _cycle(values: Sequence, number: int) -> list:
    return [values[i % len(values)] for i in range(number)]


@styled
def arm_scores(
    records: pd.DataFrame,
    table: pd.DataFrame,
    arms: Sequence[str],
    pairs: Mapping[str, tuple[str, str]],
    title: str,
) -> Figure:
    """Draw each task's test scores by arm, seed by seed, and beside them differences between arms with intervals.

    Args:
        records: Columns task, arm, seed, test_score (0 to 1).
        table: As `tables.score_table` returns it; only the rows whose study is `ours` are drawn.
        arms: To draw, from above.
        pairs: The comparisons to draw, by their name in the table: the two arms, the first of which gives the colour.
    """
    table = table[table["study"] == "ours"].set_index("task")
    tasks = [task for task in table.index if task != "mean"]
    figure = StudyFigure(11, 1.8 + (0.32 + 0.08 * len(arms)) * len(table))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    figure.suptitle(title, x=0.01, ha="left")
    heights = {task: len(table) - 1 - i for i, task in enumerate(table.index)}
    _draw_scores(left, records[records["task"].isin(tasks)], table, heights, arms)
    _draw_differences(right, table, heights, pairs)
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
        for height in range(0, len(table), 2):
            axes.axhspan(height - 0.5, height + 0.5, color="#f6f6f6", zorder=0)
    left.set_yticks(list(heights.values()), [spelt(task) for task in heights])
    left.set_ylim(-0.5, len(table) - 0.5)
    right.tick_params(axis="y", length=0)
    return figure


def _steps(number: int) -> np.ndarray:
    """Return places within a row of height one, from above."""
    return (np.arange(number)[::-1] - (number - 1) / 2) * min(0.24, 0.75 / max(number, 1))


def _draw_scores(axes: Axes, records: pd.DataFrame, table: pd.DataFrame, heights: Mapping[str, int], arms) -> None:
    colours = colours_of(arms)
    for shift, arm in zip(_steps(len(arms)), arms, strict=True):
        colour = colours[arm]
        cells = records[records["arm"] == arm]
        places = cells["task"].map(heights) + shift
        axes.scatter(100 * cells["test_score"], places, s=16, color=colour, alpha=0.45, linewidths=0)
        rows = [heights[task] + shift for task in table.index]
        axes.scatter(table[f"{arm}_mean"], rows, s=110, marker="|", color=colour, linewidths=2.4, label=arm_name(arm))
    axes.set_xlabel("test F1 × 100 (a dot a seed, a bar their mean)")
    _legend_above(axes, 5.4, most=4)


def _draw_differences(axes: Axes, table: pd.DataFrame, heights: Mapping[str, int], pairs: Mapping) -> None:
    axes.axvline(0, color="#555555", linewidth=1)
    drawn = {name: pair for name, pair in pairs.items() if name in table}
    seen: dict[str, int] = {}
    colours = colours_of([arm for pair in drawn.values() for arm in pair])
    with_whom = {b for _, b in drawn.values()}
    alone = len(with_whom) == 1 and len(drawn) > 3  # many arms with one and the same: it is named once, below
    for shift, marker, (name, (a, b)) in zip(_steps(len(drawn)), _MARKERS, drawn.items(), strict=False):
        again = seen[a] = seen.get(a, -1) + 1  # an arm compared twice keeps its colour and loses its filling
        axes.errorbar(
            table[name].astype(float),
            [heights[task] + shift for task in table.index],
            xerr=_bars(table, name),
            fmt=marker,
            color=colours[a],
            markerfacecolor=colours[a] if not again else "white",
            markersize=6,
            capsize=3,
            label=arm_name(a) if alone else f"{arm_name(a)} − {arm_name(b)}",
        )
    less = f" to {arm_name(next(iter(with_whom)))}" if alone else ""
    axes.set_xlabel(f"difference{less}, points (95 % interval)")
    _legend_above(axes, 4.6, most=2)


def _legend_above(axes: Axes, width: float, most: int) -> None:
    """Put the legend above the panel, in as many columns, `most` at most, as stand side by side in `width` inches."""
    handles, labels = axes.get_legend_handles_labels()
    of_column = 0.4 + 0.07 * max(map(len, labels))
    columns = min(most, len(labels), max(1, int(width / of_column)))
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    axes.legend(handles, labels, ncols=columns, handletextpad=0.3, columnspacing=1.0, **place)


@styled
def tapt_curve(curve: pd.DataFrame) -> Figure:
    """Draw dev and test scores against the epochs of TAPT, with the spread over seeds.

    Args:
        curve: As `tables.tapt_curve` returns it; zero epochs are the base encoder.
    """
    names = list(curve["task"].unique())
    figure = StudyFigure(max(5.6, 4.8 * len(names)), 4.0)
    if not names:
        figure.suptitle("No task of this profile has its TAPT cut short (tapt_curve)", x=0.01, ha="left")
        return figure
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    figure.suptitle("How many epochs of TAPT does the task want?", x=0.01, ha="left")
    for axes, name in zip(panels, names, strict=True):
        rows = curve[curve["task"] == name]
        for split, colour, marker in (("dev", ARM_COLOURS["tapt"], "o"), ("test", ARM_COLOURS["base"], "s")):
            axes.errorbar(
                np.arange(len(rows)) + (0.04 if split == "test" else -0.04),
                rows[f"{split}_mean"],
                yerr=rows[f"{split}_std"].fillna(0),
                fmt=f"-{marker}",
                color=colour,
                capsize=3,
                label=f"{split} (mean and std over seeds)",
            )
        axes.set_xticks(np.arange(len(rows)), [f"{epochs:g}" for epochs in rows["num_epochs"]])
        axes.set_title(spelt(name))
        axes.set_xlabel("epochs of TAPT (0: the base encoder), not to scale")
    panels[0].set_ylabel("F1 × 100")
    panels[0].legend(loc="best")
    return figure


@styled
def probability_best(best: pd.DataFrame) -> Figure:
    """Draw how likely each arm (column) is to be the best on each task (row).

    Args:
        best: As `comparisons.probability_best` returns it, 0 to 1.
    """
    table = 100 * best.rename(index=spelt, columns=ARM_NAMES).rename_axis(index=None, columns=None)
    figure = StudyFigure(2.9 + 1.15 * len(table.columns), 1.5 + 0.42 * len(table))
    axes = figure.subplots()
    figure.suptitle("How likely is each arm to be the best? (percent of resamples)", x=0.01, ha="left")
    heat_map(axes, table, table, ".0f", cmap="Greens", vmin=0, vmax=100)
    return figure


@styled
def cross_task_loss(losses: pd.DataFrame, changes: pd.DataFrame, domains: Mapping[str, str]) -> Figure:
    """Draw every TAPT encoder's masked-LM loss on every task's dev texts, coloured by its change from the base.

    Args:
        losses: Encoders (`base`, `tapt_<task>`) by tasks.
        changes: The same, less the base encoder's row.
        domains: Each task's domain, whose block of tasks is framed.
    """
    figure = StudyFigure(
        max(9.6, 3.2 + 0.95 * len(losses.columns)), 2.4 + 0.5 * len(losses)
    )  # wide enough for the title
    axes = figure.subplots()
    figure.suptitle(
        "Which texts does each task's TAPT encoder learn, and which does it forget?\n"
        "masked-LM loss (nats) of encoder (row) on a task's dev texts (column); blue: below the base encoder's, "
        "orange: above;\nframed: own task",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    limit = float(np.nanmax(np.abs(changes.to_numpy(float)))) or 1.0
    palette = seaborn.blend_palette(["#2f7fb8", "#cfe1ee", "#ffffff", "#f7dcc0", "#e08a2e"], as_cmap=True)
    heat_map(axes, changes, losses, ".2f", cmap=palette, vmin=-limit, vmax=limit)
    _frame(axes, changes, {encoder: str(encoder).removeprefix("tapt_") for encoder in changes.index}, "#333333")
    for place in range(1, len(losses.columns)):
        if domains[losses.columns[place]] != domains[losses.columns[place - 1]]:
            axes.axvline(place, color="#333333", linewidth=1)
    return figure


@styled
def gain_against_distance(points: pd.DataFrame, correlations: pd.DataFrame | None = None) -> Figure:
    """Draw the gain of DAPT against each distance from the base encoder's text, a point a task.

    Args:
        points: As `tables.gain_against_distance` returns it.
        correlations: Index distance; columns spearman, low, high (of the rank correlation with the distance).
    """
    names = [name for name in DISTANCE_NAMES if name in set(points["distance"])]
    num_columns = 2 if len(names) == 4 else len(names)
    num_rows = -(-len(names) // num_columns)
    figure = StudyFigure(max(5.5, min(5.3 * num_columns, 12)), 0.9 + 3.7 * num_rows)
    panels = figure.subplots(num_rows, num_columns, sharey=True, squeeze=False).ravel()
    figure.suptitle("Does DAPT gain more the farther the domain?", x=0.01, ha="left")
    limits = _gain_limits(points)
    for axes, name in zip(panels, names, strict=True):
        axes.set_ylim(limits)
        _draw_points(axes, points[points["distance"] == name], name)
        if correlations is not None and name in correlations.index:
            axes.set_title(_correlation_text(correlations.loc[name]), fontsize=9.5, color="#333333")
        axes.set_xlabel(DISTANCE_NAMES[name] + (", farther to the right" if name == "vocabulary_overlap" else ""))
    with_bars = " (95 % interval)" if points["gain_low"].notna().any() else ""
    for axes in panels[::num_columns]:
        axes.set_ylabel(f"gain of DAPT, points{with_bars}")
    domains = list(dict.fromkeys(points["domain"]))
    colours = _cycle(DOMAIN_COLOURS, len(domains))
    handles = [
        Line2D([], [], marker="o", linestyle="", color=c, label=spelt(d)) for c, d in zip(colours, domains, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(domains), handletextpad=0.1)
    return figure


def _gain_limits(points: pd.DataFrame) -> tuple[float, float]:
    edges = points[["gain", "gain_low", "gain_high"]].to_numpy(float)
    low, high = min(0, np.nanmin(edges)), max(0, np.nanmax(edges))
    return low - 0.06 * (high - low), high + 0.06 * (high - low)


def _correlation_text(row: pd.Series) -> str:
    if np.isnan(row["spearman"]):
        return "the order of the tasks is not defined"
    text = f"rank correlation ρ = {row['spearman']:.2f} [{row['low']:.2f}, {row['high']:.2f}]".replace("-", "−")
    return text if np.isnan(row.get("p_value", np.nan)) else f"{text}, p = {row['p_value']:.2f}"


def _draw_points(axes: Axes, points: pd.DataFrame, name: str) -> None:
    domains = list(dict.fromkeys(points["domain"]))
    axes.axhline(0, color="#555555", linewidth=1)
    values = points["value"].to_numpy(float)
    spread = np.ptp(values) or 1.0
    ends = values.min() - 0.12 * spread, values.max() + 0.12 * spread
    axes.set_xlim(*(ends[::-1] if name == "vocabulary_overlap" else ends))
    # Tasks of one domain share their distance: a small step apart, their bars stay readable.
    steps = (points.groupby("value").cumcount() - (points.groupby("value")["task"].transform("size") - 1) / 2) * 0.03
    places = values + steps.to_numpy() * spread
    for i, (place, (_, point)) in enumerate(zip(places, points.iterrows(), strict=True)):
        within = list(points.loc[points["domain"] == point["domain"], "task"]).index(point["task"])
        axes.errorbar(
            [place],
            [point["gain"]],
            yerr=_bars(points.iloc[[i]], "gain"),
            fmt=_MARKERS[within % len(_MARKERS)],
            color=_cycle(DOMAIN_COLOURS, len(domains))[domains.index(point["domain"])],
            markersize=7,
            capsize=2.5,
            elinewidth=1,
        )
    _label_points(axes, places, points)


def _label_points(axes: Axes, places: np.ndarray, points: pd.DataFrame) -> None:
    """Write each task's name beside its point, where it touches no other label, point or, if possible, bar."""
    to_fraction = axes.transData + axes.transAxes.inverted()
    gains = points[["gain_low", "gain", "gain_high"]].astype(float).bfill(axis=1).ffill(axis=1).to_numpy()
    bars = [[to_fraction.transform((x, y)) for y in ys] for x, ys in zip(places, gains, strict=True)]
    obstacles = [(bar[1][0], bar[0][1], bar[1][1], bar[2][1]) for bar in bars]  # x, low, middle, high
    labels = _shared_words(points)
    letter = 0.068 / (axes.figure.get_figwidth() * axes.get_position().width)  # inches of an 8-point letter
    written: list[tuple[float, float, float]] = []  # left, right, height, in fractions of the panel
    for i in sorted(range(len(labels)), key=lambda i: -obstacles[i][2]):
        x, _, height, _ = obstacles[i]
        width = letter * len(labels[i])
        others = [obstacle for j, obstacle in enumerate(obstacles) if j != i]
        align, left, height = _free_place(x, height, width, written, others)
        written.append((left, left + width, height))
        text = axes.text(
            left if align == "left" else left + width,
            height,
            labels[i],
            transform=axes.transAxes,
            ha=align,
            va="center",
            fontsize=8,
            color="#333333",
        )
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _shared_words(points: pd.DataFrame) -> list[str]:
    """Shorten task ids by their domain's, which the colours tell."""
    return [
        spelt(task.removeprefix(f"{domain}_")) for task, domain in zip(points["task"], points["domain"], strict=True)
    ]


def _free_place(x: float, height: float, width: float, written: list, others: list) -> tuple[str, float, float]:
    """Return alignment, left end and height of the first free place near a point, in fractions of the panel."""
    sides = [("left", x + 0.02), ("right", x - 0.02 - width)]
    for bars_matter in (True, False):
        for offset in (0, 0.04, -0.04, 0.08, -0.08, 0.12, -0.12):
            for align, left in sides:
                right, y = left + width, min(max(height + offset, 0.03), 0.97)
                clear = left > 0 and right < 1.02
                clear &= all(abs(y - h) > 0.05 or right < a or left > b for a, b, h in written)
                for at, low, middle, high in others:
                    ends = (low, high) if bars_matter else (middle, middle)
                    clear &= not (left - 0.015 < at < right + 0.015 and ends[0] - 0.04 < y < ends[1] + 0.04)
                if clear:
                    return align, left, y
    return *sides[0], height


@styled
def forgetting(
    losses: pd.DataFrame,
    changes: pd.DataFrame,
    paper_losses: pd.DataFrame | None = None,
    paper_changes: pd.DataFrame | None = None,
) -> Figure:
    """Draw every encoder's masked-LM loss on every held-out sample, coloured by its change from the base encoder.

    Args:
        losses: Encoders by held-out samples.
        changes: The same, less the base encoder's row.
        paper_losses: The paper's Table 12, to stand beside ours.
        paper_changes: Its changes.

    Source: Table 12.
    """
    both = [("ours", losses, changes), ("paper", paper_losses, paper_changes)]
    both = [(title, numbers, colours) for title, numbers, colours in both if numbers is not None]
    figure = StudyFigure(1.2 + 5.2 * len(both), 4.6)
    panels = figure.subplots(1, len(both), squeeze=False)[0]
    figure.suptitle(
        "Which text does each encoder learn, and which does it forget?\n"
        "masked-LM loss (nats) of encoder (row) on held-out text (column); "
        "blue: below the base encoder's, orange: above; framed: own domain",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    for axes, (title, numbers, colours) in zip(panels, both, strict=True):
        limit = float(np.nanmax(np.abs(colours.to_numpy(float)))) or 1.0
        palette = seaborn.blend_palette(["#2f7fb8", "#cfe1ee", "#ffffff", "#f7dcc0", "#e08a2e"], as_cmap=True)
        heat_map(axes, colours, numbers, ".2f", cmap=palette, vmin=-limit, vmax=limit)
        _frame(axes, colours, {encoder: str(encoder).removeprefix("dapt_") for encoder in colours.index}, "#333333")
        axes.set_title(title)
    return figure


@styled
def power_curve(curve: pd.DataFrame) -> Figure:
    """Draw how often a true difference is called, on one task and in the mean over tasks.

    Args:
        curve: As `calibration.power` returns it: columns points, task, task_holm, mean (percent).
    """
    figure = StudyFigure(6.4, 4.2)
    axes = figure.subplots()
    figure.suptitle("How large must a difference be for five seeds to see it?", x=0.01, ha="left")
    lines = {"mean": "mean over eight tasks", "task": "one task", "task_holm": "one task, corrected for 24"}
    for (column, label), colour, marker in zip(lines.items(), DOMAIN_COLOURS, _MARKERS, strict=False):
        axes.plot(curve["points"], curve[column], color=colour, marker=marker, label=label)
    axes.axhline(80, color="#999999", linewidth=1, linestyle="--")
    axes.axhline(5, color="#999999", linewidth=1, linestyle=":")
    axes.set_xlabel("true difference, points")
    axes.set_ylabel("called, percent of simulated studies")
    axes.set_ylim(0, 102)
    axes.legend(loc="lower right")
    return figure


def _rendered(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None}}[kind]
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def write_figure(figure: Figure, path_without_suffix: Path) -> None:
    """Write a figure as SVG and as PNG, each file whole or not at all; equal data gives equal bytes."""
    for kind in ("svg", "png"):
        with writing(path_without_suffix.with_name(f"{path_without_suffix.name}.{kind}")) as part:
            part.write_bytes(_rendered(figure, kind))
