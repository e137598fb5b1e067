"""The picture of all claims on scores: the paper's own numbers and those of profiles, side by side."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pandas import DataFrame

from dontstop.report import labels, marks, theme, titles
from dontstop.report.theme import StudyFigure, styled, wrapped
from dontstop.verdicts.claims import CLAIMS, NOT_RUN
from dontstop.verdicts.judgements import OURS, PAPER, papers_rows
from dontstop.verdicts.scores import MEAN

_INKS = (theme.INK, *(theme.CYCLE[k] for k in (0, 5, 2, 3)))  # the paper's first; dark enough for text
_NOTE = (
    "Effect in points of F1. Bars: 95 % interval, ours over replicates, {} over seeds of one pretraining run. Faint "
    "band: an effect within it would be detected with less than 80 % power. Hollow: one replicate, no interval."
)
_OF_PAPER = ("C2", "C5", "C3", "C7")  # claims on the difference of two arms, which the paper has task by task


@styled
def claims_forest(judged: Mapping[str, DataFrame]) -> StudyFigure:
    """Draw the effects of all claims on scores, a row a claim, with verdicts as text: the paper, then the profiles.

    Args:
        judged: By profile, rows as `judgements.judge` returns them and `claims.csv` keeps them; of designs without
            replicates too, which lack the columns detectable and num_replicates. The paper's are `papers_rows`.
    """
    shown = [claim for claim in CLAIMS if claim.of_scores]
    ids = [claim.id for claim in shown]
    parts = {PAPER: _whole(papers_rows(judged), PAPER, ids)}
    parts |= {profile: _whole(table, OURS, ids) for profile, table in judged.items()}
    title = titles.claims_forest(parts, ids)
    of_seeds = ["the paper's", *(f"{name}'s" for name, table in judged.items() if "num_replicates" not in table)]
    note = _NOTE.format(labels.listing(of_seeds))
    figure = StudyFigure(0.8 + len(shown) * max(0.44, 0.1 + 0.2 * len(parts)), title, note)
    axes, words = figure.subplots(1, 2, sharey=True, width_ratios=[2.3, 1])
    axes.axvline(0, **theme.ZERO)
    for number, (name, part) in enumerate(parts.items()):
        looks = {"color": _INKS[number % len(_INKS)], "marker": theme.MARKERS[number], "label": name}
        axes.plot([], [], linestyle="none", markersize=6, **looks)
        for row, (_, found) in enumerate(part.iterrows()):
            place = row + 0.8 * ((number + 0.5) / len(parts) - 0.5)
            told = _draw(axes, found, place, 0.7 / len(parts), looks)
            words.text(0, place, told, va="center", fontsize=9, color=looks["color"])
    marks.name_rows(axes, [wrapped(f"{c.id}: {c.statement}", 9, inches=2.5) for c in shown], fontsize=9)
    marks.shade_rows(words, len(shown))
    words.set_xticks([])
    words.tick_params(axis="y", length=0, labelleft=False)
    words.grid(False)
    words.spines[:].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(parts))
    return figure


@styled
def against_paper(judged: DataFrame) -> StudyFigure | None:
    """Draw the paper's effects and ours on the tasks that both have, a panel a claim on two arms, a row a task.

    Args:
        judged: As `judgements.judge` returns it. Where no task is the paper's own, there is nothing to draw.
    """
    both = shared_tasks(judged)
    if both.empty:
        return None
    claims = [name for name in _OF_PAPER if name in set(both["claim"])]
    tasks = list(dict.fromkeys(both["task"]))
    note = "Points of F1. Bars: 95 % interval, ours over replicates (of one, none), the paper's over seeds of one run."
    figure = StudyFigure(1.1 + 0.42 * len(tasks), titles.against_paper(both), note)
    panels = figure.subplots(1, len(claims), sharey=True, squeeze=False)[0]
    for axes, claim in zip(panels, claims, strict=True):
        some = both[both["claim"] == claim]
        axes.axvline(0, **theme.ZERO)
        for name, colour, marker, shift in ((PAPER, theme.INK, "o", -0.16), (OURS, theme.CYCLE[0], "s", 0.16)):
            at = some["task"].map(tasks.index) + shift
            bars = marks.bars(some, name, f"{name}_low", f"{name}_high")
            how = {"fmt": marker, "color": colour, "markersize": 7, "elinewidth": 1.4, "label": name}
            axes.errorbar(some[name].astype(float), at, xerr=bars, **how)
        statement = some["statement"].iloc[0]
        axes.set_title(wrapped(statement, 9.5, inches=5.6 / len(claims)), fontsize=9.5)
        marks.name_rows(axes, tasks)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def shared_tasks(judged: DataFrame) -> DataFrame:
    """Set our effects beside the paper's, on the tasks that both have: of claims on the difference of two arms.

    Returns:
        Columns claim, statement, task (as the paper spells it), ours, paper and their _low and _high: points.
    """
    some = judged[judged["claim"].isin(_OF_PAPER) & (judged["task"] != MEAN)].dropna(subset="effect")
    keys = ["claim", "statement", "task"]
    parts = [
        some.loc[some["study"] == study, [*keys, "effect", "low", "high"]]
        .assign(task=lambda rows: rows["task"].map(labels.spelt))
        .rename(columns={"effect": study, "low": f"{study}_low", "high": f"{study}_high"})
        for study in (OURS, PAPER)
    ]
    return parts[0].merge(parts[1], on=keys)


def _whole(table: DataFrame, study: str, ids: list[str]) -> DataFrame:
    """Return a study's means over tasks, by claim; of claims that it has not judged, that they have not run."""
    whole = table[(table["study"] == study) & (table["task"] == MEAN)].set_index("claim")
    return whole.reindex(ids).fillna({"verdict": NOT_RUN})


def _draw(axes: Axes, found: pd.Series, place: float, height: float, looks: Mapping) -> str:
    """Draw one effect, and return its verdict in words."""
    effect, low, high, detectable = (found.get(name, np.nan) for name in ("effect", "low", "high", "detectable"))
    if pd.isna(effect):
        return found["verdict"]
    if pd.notna(detectable):
        axes.barh(place, 2 * detectable, height, -detectable, color=looks["color"], alpha=0.13, zorder=0.5)
    is_alone = pd.isna(low)
    if not is_alone:
        axes.plot([low, high], [place, place], color=looks["color"], linewidth=1.4)
    face = "white" if is_alone else looks["color"]
    axes.plot(effect, place, marker=looks["marker"], color=looks["color"], markerfacecolor=face, markersize=6)
    told = "one replicate" if is_alone and found["study"] == OURS else found["verdict"]
    return f"{labels.signed(effect)}  {told}"
