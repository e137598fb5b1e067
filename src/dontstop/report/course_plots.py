"""Figures of what encoders learn of their own domain and forget of the general text: by arm, and step by step."""

import numpy as np
from pandas import DataFrame

from dontstop.design.arms import BASE
from dontstop.report import labels, marks, theme, titles
from dontstop.report.theme import StudyFigure, styled
from dontstop.verdicts.losses import mean_course

_LOOKS = {"own": ("own domain", theme.CYCLE[0], "o", -0.17), "general": ("general text", theme.CYCLE[5], "s", 0.17)}


@styled
def course(losses: DataFrame) -> StudyFigure | None:
    """Draw each arm's held-out loss on its own domain and on the general text, on one axis, and what has changed.

    Args:
        losses: As `losses.course` returns it; marks are means over domains and replicates, ticks single domains, bands
            the range of replicates.
    """
    arms = list(losses["arm"].unique())
    if len(arms) < 2:
        return None
    note = "Held-out masked-LM loss: mean over domains (ticks: single ones; bands: the range of replicates); "
    note += "beside the marks: change from base, nats."
    figure = StudyFigure(0.9 + 0.62 * len(arms), titles.course(losses), note)
    axes = figure.subplots()
    for text, (label, colour, marker, shift) in _LOOKS.items():
        some = losses[losses["text"] == text]
        before = some[some["arm"] == BASE.name]["masked_lm_loss"].mean()
        axes.axvline(before, color=colour, linewidth=1, linestyle=":")
        for place, arm in enumerate(arms):
            of_arm = some[some["arm"] == arm]
            by_replicate, by_domain = (of_arm.groupby(k)["masked_lm_loss"].mean() for k in ("replicate", "domain"))
            mean, y = by_replicate.mean(), place + shift
            axes.barh(y, np.ptp(by_replicate), 0.3, by_replicate.min(), color=colour, alpha=0.2)
            axes.plot(by_domain, [y] * len(by_domain), "|", color=colour)
            axes.plot([before, mean], [y, y], color=colour, linewidth=1.5)
            axes.plot(mean, y, marker, color=colour, markersize=9, label=label if place == 0 else None)
            if arm != BASE.name:
                told, side = labels.signed(of_arm["change"].mean(), 2), -1 if mean < before else 1
                how = {"textcoords": "offset points", "va": "center", "ha": "right" if side < 0 else "left"}
                end = max(side * by_domain.max(), side * by_domain.min(), side * mean) * side
                axes.annotate(told, (end, y), (9 * side, 0), fontsize=11, color="black", **how)
    marks.name_rows(axes, [labels.on_lines(labels.arm(arm), 14) for arm in arms])
    axes.set_xlabel("held-out masked-LM loss (nats); dotted: the base encoder's")
    axes.margins(x=0.16)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


@styled
def on_the_way(losses: DataFrame) -> StudyFigure | None:
    """Draw the losses of encoders while they were trained, in DAPT and then in TAPT, on one axis.

    Args:
        losses: As `losses.on_the_way` returns it; where no course was measured, nothing is drawn.
    """
    phases = [phase for phase in ("dapt", "tapt") if phase in set(losses["phase"])]
    if "dapt" not in phases:
        return None
    num = losses["checkpoint"].nunique()
    note = f"Masked-LM loss of {num} encoders in training on some of the held-out text, first replicate. Thick: means; "
    note += "thin: each encoder; beside the ends: change from base, nats. TAPT is kept where the dev loss is least."
    figure = StudyFigure(3.6, titles.on_the_way(losses), note)
    parts = figure.subplots(1, len(phases), sharey=True, width_ratios=[5, 3][: len(phases)], squeeze=False)[0]
    for axes, phase in zip(parts, phases, strict=True):
        of_phase = losses[losses["phase"] == phase]
        for text, (label, colour, marker, _) in _LOOKS.items():
            some = of_phase[of_phase["text"] == text]
            for _, one in some.groupby("checkpoint", sort=False):
                axes.plot(one["step"], one["masked_lm_loss"], color=colour, linewidth=0.7, alpha=0.35)
            mean = mean_course(some)
            looks = {"color": colour, "linewidth": 2.4, "marker": marker, "zorder": 3, "clip_on": False}
            axes.plot(mean.index, mean["masked_lm_loss"], label=label, **looks)
            last = mean.iloc[-1]
            marks.label_ends(axes, last.name, [last["masked_lm_loss"]], [labels.signed(last["change"], 2)])
        axes.set_xlabel(f"steps of {labels.arm(phase)}" + (" after DAPT" if phase == "tapt" else ""))
    parts[0].set_ylabel("held-out loss (nats)")
    figure.legend(*parts[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
