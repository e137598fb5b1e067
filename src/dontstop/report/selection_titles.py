"""What figures of selected text and of costs find, a sentence each: their titles."""

import numpy as np
from pandas import DataFrame, Series

from dontstop.errors import counted
from dontstop.report import labels, titles
from dontstop.report.labels import number, sentence, signed
from dontstop.verdicts.scores import MEAN, NAIVE_BAYES

ALIKE = 0.01  # similarities that differ by less tell no order


def knn_gains(table: DataFrame, k: int) -> str:
    """Say what neighbours gain in the mean at the largest number, and what as much random text."""
    some = table[(table["task"] == MEAN) & (table["num_neighbours"] == k)].set_index("text")["effect"]
    told = f"TAPT with {counted(k, 'neighbour')} per text gains {signed(some['neighbours'])} points in the mean, "
    return sentence(titles.lead(table), told, f"with as much random text {signed(some['random'])}")


def score_against_k(table: DataFrame) -> str:
    """Say what fewest and most neighbours, and as much random text as of most, gain over TAPT's own text."""
    fewest, most = table["num_neighbours"].min(), table["num_neighbours"].max()
    places = dict.fromkeys([("neighbours", fewest), ("neighbours", most), ("random", most)])
    some = table.set_index(["text", "num_neighbours"]).loc[list(places)]
    num_clear = int(titles.is_shown(some).sum())
    clear = "" if table["low"].isna().all() else f", {num_clear or 'none'} of {len(some)} clear of zero"
    told = [f"{counted(k, 'neighbour')} {signed(effect)}" for k, effect in some.loc["neighbours", "effect"].items()]
    told.append(f"as much random text as of {most} {signed(some.loc[('random', most), 'effect'])}")
    return sentence(titles.lead(table), f"points over {table['other'].iloc[0]}{clear} ({', '.join(told)})")


def selector_agreement(values: np.ndarray) -> str:
    """Say how much of their text two retrieval methods share: values of pairs, percent."""
    if len(values) == 1:
        return f"The two selections share {number(values[0], 0)} % of their text"
    return f"Two retrieval methods share {titles.percent(values)} of what they select"


def cost(table: DataFrame) -> str:
    """Say what the best arm gains at which cost, and what naive Bayes does: as of `selection_tables.against_cost`."""
    arms = table[table["arm"] != NAIVE_BAYES]
    best = arms.loc[arms["gain"].astype(float).idxmax()]
    gain, seconds = signed(best["gain"]), number(best["seconds"], 0 if best["seconds"] >= 10 else 1)
    is_gain, arm = best["gain"] > 0, labels.arm(best["arm"])
    told = f"{arm} gains most, {gain} points" if is_gain else f"no arm gains: {arm} comes nearest, {gain} points"
    counted = table[table["arm"] == NAIVE_BAYES]["gain"]
    more = f"; naive Bayes {signed(counted.iloc[0])} for none" if len(counted) else ""
    return sentence(titles.lead(arms), f"{told} over base for {seconds} CPU-seconds of pretraining{more}")


def neighbours(scores: Series, method: str) -> str:
    """Say how like the neighbours are that are shown, and where that no longer orders them."""
    is_alike = scores.max() - scores.min() < ALIKE
    least, most = (number(score, 4 if is_alike else 2) for score in (scores.min(), scores.max()))
    if is_alike:
        return f"By {method} the nearest candidates are nearly alike ({least} to {most}): their order says little"
    return f"By {method} the nearest candidates have a similarity of {least} to {most}"
