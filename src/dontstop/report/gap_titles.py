"""What figures of the gap between domains find, a sentence each: their titles."""

from collections.abc import Mapping

import numpy as np
from pandas import DataFrame, Series

from dontstop.errors import counted
from dontstop.report import labels, titles
from dontstop.report.labels import listing, number, sentence, signed
from dontstop.verdicts.claims import LEVEL


def figure2(ours: np.ndarray, paper: np.ndarray) -> str:
    """Say how much of their frequent words two texts share: values of pairs, percent."""
    return f"Two texts share {titles.percent(ours)} of their frequent words here, {titles.percent(paper)} in the paper"


def task_domain_overlap(overlap: DataFrame, own: Mapping[str, str]) -> str:
    """Say how many tasks share most words with their own domain."""
    values = Series({task: overlap.loc[task, own[task]] for task in overlap.index})
    if len(overlap.columns) == 1:
        return f"Tasks share {number(values.mean(), 0)} % of their words with their domain in the mean"
    others = (overlap.sum(axis=1) - values) / (len(overlap.columns) - 1)
    num = int((overlap.max(axis=1) == values).sum())
    told = f"{num} of {counted(len(overlap), 'task')} share more words with their own domain than with any other"
    return f"{told}: {number(values.mean(), 0)} %, with the others {number(others.mean(), 0)} % in the mean"


def distances(farthest: Series, nearest: Series) -> str:
    """Say which domain lies farthest and nearest by most distances: of each distance, a domain."""
    words = ((farthest, "farthest from the base encoder's text"), (nearest, "nearest"))
    told = []
    for found, what in words:
        most, num = listing([labels.spelt(name) for name in found.mode()]), int(found.value_counts().max())
        verb = "lies" if len(found.mode()) == 1 else "each lie"
        told.append(f"{most} {verb} {what} by {num} of {counted(len(found), 'distance')}")
    return sentence("; ".join(told))


def gain_against_distance(points: DataFrame, rise: Series | None) -> str:
    """Say whether DAPT's gain rises with the distance that is drawn; the rise as of `gains.gain_rises`."""
    if rise is None:
        return f"DAPT gains {signed(points['gain'].min())} to {signed(points['gain'].max())} points"
    told = f"{signed(rise['effect'])} points from the nearest domain to the farthest"
    if np.isnan(rise["low"]):
        return f"In one replicate, DAPT's gain changes by {told}"
    words = "rises" if rise["low"] > 0 else "falls" if rise["high"] < 0 else "is not shown to rise"
    uncorrected = "" if words == "is not shown to rise" else ", before correction"
    return f"DAPT's gain {words} with the distance{uncorrected}: {told} {labels.interval(rise['low'], rise['high'])}"


def gain_matrix(matrix: DataFrame) -> str:
    """Say how many tasks gain most by their own domain's text."""
    own, gains = matrix["encoder"] == matrix["domain"], matrix["gain"].astype(float)
    best = own[gains.groupby(matrix["task"]).idxmax()]
    told = f"{signed(gains[own].mean())} points in the mean, that of other domains {signed(gains[~own].mean())}"
    return f"Text of a task's own domain brings most on {int(best.sum())} of {counted(len(best), 'task')}: {told}"


def gain_by_distance(nearness: Mapping[str, float]) -> str:
    """Say what text of the own domain gains, what that of others, and whether among these the nearer gains more."""
    told = f"correlation {signed(nearness['correlation'], 2)}, {labels.p_value(nearness['p_value'])}"
    if nearness["p_value"] >= LEVEL:
        return f"The nearness of DAPT's text is not shown to predict its gain ({told})"
    own, other = signed(nearness["own_gain"]), signed(nearness["other_gain"])
    told = f"Text of the task's own domain gains {own} points, that of others {other} ({told})"
    if np.isnan(nearness["other_correlation"]):
        return told
    return f"{told}; among others the correlation is {signed(nearness['other_correlation'], 2)}"
