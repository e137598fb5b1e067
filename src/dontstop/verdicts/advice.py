"""Adapt or not, and by which arm: every arm held against the base encoder, and what would decide it if nothing does."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from dontstop.verdicts import claims, resampling
from dontstop.verdicts.effects import LEVEL, POWER, effects, over, welch
from dontstop.verdicts.scores import MEAN

FAMILY = "advice"
ADAPT, LEAVE, INCONCLUSIVE, NOT_COMPARED = "adapt", "leave it", "inconclusive", "not compared"
MOST_REPLICATES = 1000


@dataclass(frozen=True)
class Advice:
    """What the runs say.

    Attributes:
        word: `adapt`, `leave it` (every arm that ran is shown to be worse), `inconclusive` or `not compared`.
        arm: The arm to adapt by, or the most promising one; none where nothing was compared.
        gains: As `gains_over_base` returns it.
    """

    word: str
    arm: str | None
    gains: pd.DataFrame


def gains_over_base(runs: pd.DataFrame) -> pd.DataFrame:
    """Hold every arm against the base encoder, replicate by replicate, in the mean over tasks.

    As `effects.effects` (p_holm over the arms that ran), with arm, verdict, and replicates_needed: with how many the
    effect, if it is as large as it looks and varies as much, would be seen with 80 % power.
    """
    arms = [arm for arm in runs["arm"].unique() if arm != "base"]
    found = effects(runs, [over(arm, "base", FAMILY) for arm in arms])
    found = found[found["task"] == MEAN].assign(arm=arms)
    above, below = (np.where(sign * found["effect"] > 0, found["p_holm"], 1.0) for sign in (1, -1))
    deviations = found["standard_error"] * np.sqrt(found["num_replicates"])
    needed = [replicates_needed(*pair) for pair in zip(found["effect"], deviations, strict=True)]
    return found.assign(verdict=claims.verdict(above, below), replicates_needed=needed)


def on_other_texts(runs: pd.DataFrame, arm: str, truth: resampling.Truth) -> tuple[float, float]:
    """Return the 95 % interval of an arm's gain over the base encoder on other test texts of the same kind, in points.

    To the variance between replicates, which all have the same test texts, comes the one of drawing these texts anew.
    NaN where a task has a single test text, which tells of no other.
    """
    if min(map(len, truth.values())) < 2:
        return np.nan, np.nan
    contrast = over(arm, "base", FAMILY)
    values = 100 * resampling.of_contrast(resampling.draw(runs, truth, [arm, "base"]), contrast)  # (draws, replicates)
    variances = np.array([values[0].var(ddof=1) / values.shape[1], values[1:].mean(axis=1).var(ddof=1)])
    freedom = np.array([values.shape[1] - 1, min(map(len, truth.values())) - 1])
    found = welch(values[0].mean(), variances, freedom)
    return found["low"], found["high"]


def replicates_needed(effect: float, deviation: float) -> float:
    """Return how many replicates see an effect with 80 % power at the 5 % level, two-sided, by a paired t test.

    The deviation is the effect's between replicates. Two or more; infinite beyond `MOST_REPLICATES`, NaN where it is
    not known.

    Source: the noncentral t distribution, as `effects.detectable_by` has it.
    """
    if not np.isfinite(deviation):
        return np.nan
    num = np.arange(2, MOST_REPLICATES + 1)
    shift = np.sqrt(num) * abs(effect) / max(deviation, 1e-9)
    enough = np.flatnonzero(stats.nct.sf(stats.t.ppf(1 - LEVEL / 2, num - 1), num - 1, np.minimum(shift, 30)) >= POWER)
    return float(num[enough[0]]) if len(enough) else np.inf


def advise(runs: pd.DataFrame) -> Advice:
    """Say whether to adapt and by which arm: of those shown to gain, the one of the largest gain."""
    if not {"base"} < set(runs["arm"]):
        return Advice(NOT_COMPARED, None, pd.DataFrame())
    gains = gains_over_base(runs)
    best = gains.sort_values("effect", ascending=False, kind="stable")
    holding = best.loc[best["verdict"] == claims.HOLDS, "arm"]
    if len(holding):
        return Advice(ADAPT, holding.iloc[0], gains)
    worse = (gains["verdict"] == claims.DOES_NOT_HOLD).all()
    return Advice(LEAVE if worse else INCONCLUSIVE, best["arm"].iloc[0], gains)
