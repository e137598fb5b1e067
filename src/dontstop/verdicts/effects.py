"""Differences between arms: paired by seed and test example, with intervals, p-values and their correction."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from dontstop.verdicts.resampling import NUM_RESAMPLES, Resamples, Truth, resample
from dontstop.verdicts.scores import MEAN

CONFIDENCE = 0.95
QUANTILES = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
COLUMNS = ("contrast", "family", "task", "effect", "low", "high", "p_value", "p_holm", "standard_error", "df")
_POINTS = ["effect", "low", "high", "standard_error"]  # times 100 in tables


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of arms' mean scores, such as DAPT less the base encoder.

    The weights, of arms or their names, add up to zero. Contrasts of one family are corrected together; without a
    family, a contrast stands alone.
    """

    name: str
    weights: tuple[tuple[object, float], ...]
    family: str = ""

    def shares(self) -> dict[str, float]:
        """Return the weights by the arms' names."""
        return {name_of(arm): weight for arm, weight in self.weights}


def over(a, b, family: str = "") -> Contrast:
    """Return the contrast of arm a over arm b."""
    return Contrast(f"{name_of(a)}_minus_{name_of(b)}", ((a, 1.0), (b, -1.0)), family)


def name_of(arm) -> str:
    """Return an arm's name; a name stays as it is."""
    return getattr(arm, "name", arm)


@dataclass(frozen=True)
class Difference:
    """A difference of arms' mean test scores (0 to 1), with its 95 % interval and its two-sided p-value.

    Its standard error is over seeds and test examples; `df` are the degrees of freedom of its t distribution;
    `resamples`, (num_resamples,), is for what is computed further on.
    """

    effect: float
    low: float
    high: float
    p_value: float
    standard_error: float
    df: float
    resamples: np.ndarray | None = None


def effects(
    runs: pd.DataFrame, contrasts: Sequence[Contrast], truth: Truth, *, num_resamples: int = NUM_RESAMPLES, seed=0
) -> pd.DataFrame:
    """Compare arms on every task on which all arms of a contrast have run, and over these tasks.

    A contrast one of whose arms has not run gives no row. It still counts in its family with p = 1, so that a verdict
    reached before all arms have run stands after them.

    Args:
        runs: A row a run, as `study.runs()` gives them; of the seeds that occur, every arm and task needs all.

    Returns:
        Columns contrast, family, task (last of a contrast's tasks comes `mean`), effect, low, high (points of F1; 95 %
        interval), p_value, p_holm (over the family's tasks, or over its means), standard_error (points of F1), df,
        num_seeds.

    Raises:
        StudyError: If a run is missing, or its score does not follow from the labels.
    """
    arms = {arm for contrast in contrasts for arm in contrast.shares()}
    resamples = resample(runs, truth, arms, num_resamples=num_resamples, seed=seed)
    return _tabulated({c: differences(resamples, c) for c in contrasts}).assign(num_seeds=runs["seed"].nunique())


def welch_effects(moments: pd.DataFrame, contrasts: Sequence[Contrast], num_seeds: int) -> pd.DataFrame:
    """Compare arms by moments over seeds alone (Welch), as readers of a table would; returns as `effects` does."""
    tasks = moments["task"].unique()
    means, stds = (moments.pivot(index="task", columns="arm", values=part).loc[tasks] for part in ("mean", "std"))
    found: dict[Contrast, dict[str, Difference]] = {contrast: {} for contrast in contrasts}
    for contrast in (c for c in contrasts if set(c.shares()) <= set(means)):
        weights = pd.Series(contrast.shares())
        for task, effect in (means[weights.index] / 100 @ weights).dropna().items():
            parts = (stds.loc[task, weights.index] / 100 * weights).to_numpy() ** 2 / num_seeds  # (num_arms,)
            found[contrast][task] = _student(effect, parts.sum(), _pooled_df(parts, num_seeds - 1))
    return _tabulated(found).assign(num_seeds=num_seeds)


def moments(runs: pd.DataFrame) -> pd.DataFrame:
    """Return arms' means and standard deviations over seeds: columns arm, task, mean, std (x 100)."""
    scores = (100 * runs["test_score"]).groupby([runs["arm"], runs["task"]], sort=False)
    return scores.agg(["mean", "std"]).reset_index()


def _tabulated(found: Mapping[Contrast, Mapping[str, Difference]]) -> pd.DataFrame:
    whole = {c: by_task | {MEAN: mean_difference(by_task)} for c, by_task in found.items() if by_task}
    rows = [
        {"contrast": c.name, "family": c.family or c.name, "task": task, **vars(of_task)}
        for c, by_task in whole.items()
        for task, of_task in by_task.items()
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table[_POINTS] = 100 * table[_POINTS].astype(float)
    return table.assign(p_holm=corrected(table, list(found)))


def differences(resamples: Mapping[str, Resamples], contrast: Contrast) -> dict[str, Difference]:
    """Compare weighted arms on every task on which all of them have run."""
    shares = contrast.shares()
    return {task: difference(r, shares) for task, r in resamples.items() if shares and set(shares) <= set(r.arms)}


def difference(resamples: Resamples, shares: Mapping[str, float]) -> Difference:
    """Compare weighted arms on one task, paired by seed and by test example.

    The variance has a part from the seeds and one from the examples, both of which contain how much single predictions
    change between seeds; this third part is taken off once. The seeds' part is known from few seeds only, so the
    interval is Student's, with Satterthwaite's degrees of freedom. It covers the choice of examples and of fine-tuning
    seeds, and not another pretraining run, since all seeds start from one checkpoint.

    Departure: the paper gives means and standard deviations, and no test. The bootstrap's own percentiles would make
    too short an interval of five seeds, whose variance it takes for known (docs/calibration.md has the numbers).
    """
    places, weights = [resamples.arms.index(arm) for arm in shares], np.array(list(shares.values()))
    by_seed = resamples.observed[:, places] @ weights  # (num_seeds,)
    drawn = resamples.drawn[:, :, places] @ weights  # (num_resamples, num_seeds)
    return _student(float(by_seed.mean()), *_variance(by_seed, drawn), resamples.means()[:, places] @ weights)


def _variance(by_seed: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    """Return variance and degrees of freedom of the mean over seeds; drawn are (num_resamples, num_seeds)."""
    num_seeds, means = len(by_seed), drawn.mean(axis=1)
    of_examples = means.var(ddof=1)
    if num_seeds == 1:
        return float(of_examples), math.inf
    single = drawn - by_seed - (means - by_seed.mean())[:, None]  # what examples do to one seed and not to all
    of_both = (single**2).sum(axis=1).mean() / (num_seeds - 1) / num_seeds
    # The seeds' part contains that of both, so a smaller estimate of it is chance. Left as it is, five seeds that
    # happen to agree would give a short interval: in simulation, 7 % of families of 24 tests erred, instead of 2 %.
    of_seeds = max(by_seed.var(ddof=1) / num_seeds, of_both)
    variance = of_seeds + of_examples - of_both
    return float(variance), float((num_seeds - 1) * (variance / of_seeds) ** 2) if of_seeds > 0 else math.inf


def _student(effect: float, variance: float, df: float, resamples: np.ndarray | None = None) -> Difference:
    error = math.sqrt(variance)
    half = error * float(stats.t.ppf(QUANTILES[1], df))
    # No error: the same predictions throughout.
    p_value = 2 * float(stats.t.sf(abs(effect) / error, df)) if error else float(effect == 0)
    return Difference(effect, effect - half, effect + half, p_value, error, df, resamples)


def mean_difference(by_task: Mapping[str, Difference]) -> Difference:
    """Average differences over tasks; seeds and examples vary within each task, and independently between them.

    The interval speaks of these tasks, not of tasks in general.
    """
    found = pd.DataFrame(map(vars, by_task.values()))
    variances = (found["standard_error"] / len(found)).to_numpy() ** 2
    resamples = None if found["resamples"].isna().any() else np.mean(found["resamples"].tolist(), axis=0)
    return _student(found["effect"].mean(), variances.sum(), _pooled_df(variances, found["df"]), resamples)


def _pooled_df(variances: np.ndarray, freedoms) -> float:
    """Return Satterthwaite's degrees of freedom of a sum of independent estimates."""
    squares = float((variances**2 / np.asarray(freedoms)).sum())
    return float(variances.sum() ** 2) / squares if squares > 0 else math.inf


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Correct p-values for their number, by Holm's step-down method; what is not a number stays none.

    Source: Holm (1979). Written out, since statsmodels' collects garbage at every call, which takes 0.1 s and more.
    """
    p_values = np.asarray(p_values, float)
    adjusted, known = np.full(p_values.shape, np.nan), np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known])]
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted


def corrected(table: pd.DataFrame, contrasts: Sequence[Contrast]) -> pd.Series:
    """Correct p-values over each family, its tasks and its means apart.

    The table has columns contrast, family, task, p_value. Of the contrasts asked for, those that have not run count
    with p = 1.
    """
    asked = pd.Series([c.family or c.name for c in contrasts], dtype=object).value_counts()
    adjusted = pd.Series(np.nan, table.index, float)
    for (family, _), group in table.groupby(["family", table["task"] == MEAN], sort=False):
        num_run = group["contrast"].nunique()
        missing = [1.0] * ((asked[family] - num_run) * len(group) // num_run)
        adjusted[group.index] = holm([*group["p_value"], *missing])[: len(group)]
    return adjusted
