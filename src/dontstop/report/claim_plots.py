"""The picture of all claims on scores: the paper's own numbers and those of profiles, side by side."""

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pandas import DataFrame

from dontstop.report import labels, theme
from dontstop.report.theme import WideFigure, styled
from dontstop.verdicts.claims import CLAIMS, HOLDS, NOT_RUN
from dontstop.verdicts.judgements import OURS, PAPER
from dontstop.verdicts.scores import MEAN

_INKS = (theme.INK, *(theme.CYCLE[k] for k in (0, 5, 2, 3)))  # the paper's first; dark enough for text
_NOTE = (
    "effect in points of F1, with its 95 % interval: over replicates; the paper's over seeds of one pretraining run\n"
    "(faint band: an effect within it would be missed more than once in five; hollow mark: one replicate, no interval)"
)


@styled
def claims_forest(judged: Mapping[str, DataFrame]) -> WideFigure:
    """Draw the effects of all claims on scores, a row a claim, with verdicts as text: the paper, then the profiles.

    Args:
        judged: By profile, rows as `judgements.judge` returns them and `claims.csv` keeps them; of designs without
            replicates too, which lack the columns detectable and num_replicates. The paper's are the first profile's.
    """
    shown = [claim for claim in CLAIMS if claim.of_scores]
    parts = {PAPER: _whole(next(iter(judged.values())), PAPER)}
    parts |= {profile: _whole(table, OURS) for profile, table in judged.items()}
    held = {name: int((part["verdict"].reindex([c.id for c in shown]) == HOLDS).sum()) for name, part in parts.items()}
    told = ", ".join(f"{name} {number}" for name, number in held.items())
    title = f"Do the paper's claims on scores hold? Of {len(shown)}: {told}"
    figure = WideFigure(1.5 + len(shown) * (0.16 + 0.19 * len(parts)), title)
    axes, words = figure.subplots(1, 2, sharey=True, width_ratios=[2.5, 1])
    axes.axvline(0, color="#555555", linewidth=1)
    for number, (name, part) in enumerate(parts.items()):
        looks = {"color": _INKS[number % len(_INKS)], "marker": theme.MARKERS[number], "label": name}
        axes.plot([], [], linestyle="none", markersize=6, **looks)
        for row, claim in enumerate(shown):
            place = row + 0.76 * ((number + 0.5) / len(parts) - 0.5)
            found = part.loc[claim.id] if claim.id in part.index else pd.Series({"verdict": NOT_RUN})
            told = _draw(axes, found, place, 0.7 / len(parts), looks)
            words.text(0, place, told, va="center", fontsize=8.5, color=looks["color"])
    _finish(axes, words, [f"{claim.id}: {claim.statement}" for claim in shown])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(parts))
    return figure


def _whole(table: DataFrame, study: str) -> DataFrame:
    return table[(table["study"] == study) & (table["task"] == MEAN)].set_index("claim")


def _draw(axes: Axes, found: pd.Series, place: float, height: float, looks: Mapping) -> str:
    """Draw one effect, and return its verdict in words."""
    effect, low, high, detectable = (found.get(name, np.nan) for name in ("effect", "low", "high", "detectable"))
    if pd.isna(effect):
        return found["verdict"]
    if pd.notna(detectable):
        axes.barh(place, 2 * detectable, height, -detectable, color=looks["color"], alpha=0.13, zorder=0.5)
    alone, told = pd.isna(low), found["verdict"]
    if not alone:
        axes.plot([low, high], [place, place], color=looks["color"], linewidth=1.4)
    face = "white" if alone else looks["color"]
    axes.plot(effect, place, marker=looks["marker"], color=looks["color"], markerfacecolor=face, markersize=6)
    return f"{labels.signed(effect)}  {'one replicate' if alone and found['study'] == OURS else told}"


def _finish(axes: Axes, words: Axes, statements: list[str]) -> None:
    """Name the rows, shade every second one, and leave the words without axes."""
    axes.set_yticks(range(len(statements)), [textwrap.fill(statement, 33) for statement in statements], fontsize=8.5)
    axes.set_ylim(len(statements) - 0.5, -0.5)
    axes.set_xlabel(_NOTE, fontsize=8, x=0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    for part in (axes, words):
        for row in range(1, len(statements), 2):
            part.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", zorder=0, linewidth=0)
    words.set_xticks([])
    words.tick_params(axis="y", length=0, labelleft=False)
    words.grid(False)
    words.spines[:].set_visible(False)
