"""Differences between arms, replicate by replicate: Student's t over replicates, its correction, what it can see."""

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats

from dontstop.verdicts import scores
from dontstop.verdicts.scores import MEAN

CONFIDENCE, LEVEL, POWER = 0.95, 0.05, 0.80
QUANTILES = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
STUDENT = ("effect", "low", "high", "p_value", "standard_error", "df")
STATISTICS = (*STUDENT, "num_replicates", "detectable", "p_sign_flip")
COLUMNS = ("contrast", "family", "task", *STUDENT[:4], "p_holm", *STATISTICS[4:], "num_seeds")
_MOST_FLIPPED = 14  # replicates whose signs are all gone through


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of arms' mean scores, such as DAPT less the base encoder.

    The weights, by arms' names, add up to zero. Contrasts of one family are corrected together; without a
    family, a contrast stands alone.
    """

    name: str
    weights: tuple[tuple[str, float], ...]
    family: str = ""

    def shares(self) -> dict[str, float]:
        """Return the weights by arm, none of them zero; an arm that is named twice has their sum."""
        found: dict[str, float] = {}
        for arm, weight in self.weights:
            found[arm] = found.get(arm, 0.0) + weight
        return {arm: weight for arm, weight in found.items() if abs(weight) > 1e-12}


def over(a, b, family: str = "") -> Contrast:
    """Return the contrast of arm a over arm b, or of their names."""
    a, b = name_of(a), name_of(b)
    return Contrast(f"{a}_minus_{b}", ((a, 1.0), (b, -1.0)), family)


def name_of(arm) -> str:
    """Return an arm's name; a name stays as it is."""
    return getattr(arm, "name", arm)


def effects(runs: pd.DataFrame, contrasts: Sequence[Contrast], *, score: str = "test_score") -> pd.DataFrame:
    """Compare arms on every task on which all arms of a contrast have run, and over these tasks.

    The replicate is the unit: in each, a contrast is the weighted sum of its arms' means over seeds, and its mean over
    tasks; over replicates it has Student's t distribution. The interval so covers whatever a replicate draws at random
    (pretraining, labels, fine-tuning), on these tasks and their test texts. One replicate gives an effect, and neither
    interval nor p-value. A replicate counts once all arms of a contrast have run in it on all its tasks.

    A contrast one of whose arms has not run gives no row. It still counts in its family with p = 1, so that a verdict
    reached before all arms have run stands after them.

    Args:
        score: The column of the runs that is compared: `test_score` (in points), or `test_log_probability` (in nats).

    Returns:
        Columns contrast, family, task (last of a contrast's tasks comes `mean`); effect, low, high (95 %) and
        standard_error, in points; p_value, p_holm (means: over the family; tasks: over the contrast's), p_sign_flip
        (exact, of all signs; NaN with many replicates); df; num_replicates; num_seeds; detectable, the smallest effect
        that is seen with 80 % power at the 5 % level, two-sided, by the row's own standard error.

    Raises:
        StudyError: If a run is missing or recorded twice.

    Departure: the paper gives means and standard deviations over seeds of one pretraining run, and no test.
    """
    by_task = scores.run_means(scores.checked(runs), score)
    found = {contrast: by_replicate(by_task, contrast) for contrast in contrasts}
    parts = [tabulated(table.assign(**{MEAN: table.mean(axis=1)}), c) for c, table in found.items() if table.size]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*COLUMNS[:3], *STATISTICS])
    table = table.assign(p_holm=corrected(table, contrasts), num_seeds=runs["seed"].nunique())
    return table[list(COLUMNS)]


def of_replicates(runs: pd.DataFrame, contrast: Contrast, *, score: str = "test_score") -> pd.DataFrame:
    """Return a contrast's values, replicates by tasks, as `by_replicate` does; raise as `effects` does."""
    return by_replicate(scores.run_means(scores.checked(runs), score), contrast)


def by_replicate(by_task: pd.DataFrame, contrast: Contrast) -> pd.DataFrame:
    """Return a contrast of `scores.run_means` by replicate (row) and task (column), as far as all its arms have run."""
    shares = pd.Series(contrast.shares(), dtype=float)
    if not len(shares) or not set(shares.index) <= set(by_task):
        return pd.DataFrame()
    return complete((by_task[shares.index] @ shares).unstack("task", sort=False))


def complete(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out tasks (columns) that no replicate has, then replicates (rows) that lack one of those left."""
    return table.dropna(axis=1, how="all").dropna()


def tabulated(values: pd.DataFrame, contrast: Contrast) -> pd.DataFrame:
    """Describe a contrast's values, replicates by tasks: a row a column, as `effects` returns them."""
    return described(values).rename_axis("task").reset_index().assign(contrast=contrast.name, family=family(contrast))


def family(contrast: Contrast) -> str:
    """Return what a contrast is corrected with: its family, or itself alone."""
    return contrast.family or contrast.name


def described(values: pd.DataFrame) -> pd.DataFrame:
    """Describe each column of values, a row a replicate: index as the columns; `STATISTICS`."""
    array = values.to_numpy(float)
    table = pd.DataFrame(student(array), index=values.columns).assign(num_replicates=len(array))
    detectable = detectable_by(len(array) - 1) * table["standard_error"]
    return table.assign(detectable=detectable, p_sign_flip=sign_flip(array))[list(STATISTICS)]


def student(values: np.ndarray) -> dict[str, np.ndarray]:
    """Test the mean over the first axis, replicates, against zero by Student's t; `STUDENT` by name, (...).

    A single replicate has a mean and no more. Where nothing varies, the interval has no width.
    """
    num, effect = len(values), values.mean(axis=0)
    if num < 2:
        unknown = np.full_like(effect, np.nan)
        return dict(zip(STUDENT, (effect, *[unknown] * 4, np.zeros_like(effect)), strict=True))
    return of_moments(effect, values.std(axis=0, ddof=1) / np.sqrt(num), np.full_like(effect, num - 1.0))


def of_moments(effect, error, df) -> dict[str, np.ndarray]:
    """Test effects with their standard errors against zero by Student's t; returns as `student` does."""
    effect, error, df = (np.asarray(part, float) for part in (effect, error, df))
    half = error * stats.t.ppf(QUANTILES[1], df)
    varies, size = error > 1e-12, np.abs(effect)
    p_value = np.where(varies, 2 * stats.t.sf(size / np.where(varies, error, 1.0), df), size < 1e-12)
    found = effect, effect - half, effect + half, p_value, error, df
    return {name: value[()] for name, value in zip(STUDENT, found, strict=True)}


def welch(effect, variances: np.ndarray, freedom) -> dict[str, float]:
    """Test an effect whose variance is a sum of independent estimates, each of so many degrees of freedom.

    Those of the sum are Satterthwaite's, infinite where nothing varies; returns as `student` does.
    """
    squares = float((variances**2 / freedom).sum())
    df = float(variances.sum() ** 2) / squares if squares > 0 else np.inf
    return of_moments(effect, np.sqrt(variances.sum()), df)


@functools.cache
def detectable_by(df: float) -> float:
    """Return the effect, in standard errors, that a two-sided t test at the 5 % level sees with 80 % power.

    NaN where nothing is known of the variance (no degrees of freedom), or nothing varies (infinitely many).

    Source: the noncentral t distribution; the far tail, below 1e-4 of the power, is left out.
    """
    if not 0 < df < np.inf:
        return np.nan
    critical = stats.t.ppf(1 - LEVEL / 2, df)
    return float(optimize.brentq(lambda shift: stats.nct.sf(critical, df, shift) - POWER, 0.1, 4 * critical))


def sign_flip(values: np.ndarray) -> np.ndarray:
    """Test the mean over replicates, (num_replicates, ...), by flipping signs: the exact two-sided p-value, (...).

    Of two replicates it is 0.5 at least, of six 0.03. NaN for a single one, and for more than can be gone through.
    """
    num, shape = len(values), values.shape[1:]
    if not 2 <= num <= _MOST_FLIPPED:
        return np.full(shape, np.nan)
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=num - 1)))  # the first stays: all flipped is the same
    sums = np.abs(values[0].ravel() + signs @ values[1:].reshape(num - 1, -1))  # (2 ** (num - 1), ...)
    observed = np.abs(values.sum(axis=0)).ravel()
    return (sums >= observed * (1 - 1e-9) - 1e-12).mean(axis=0).reshape(shape)


def holm(p_values, kept: float = 0.0) -> np.ndarray:
    """Correct p-values for their number, by Holm's step-down method; NaN counts as 1, and stays NaN.

    Args:
        p_values: (num,); or (num, ways, ...), where each of the hypotheses may be decided in several ways that share
            its level: the least of its p-values places it, and all are multiplied by the factor of this place.
        kept: The share of a rejected hypothesis's level that is not handed on to the rest; of Holm's method none.

    Source: Holm (1979). Written out, since statsmodels' collects garbage at every call, which takes 0.1 s and more.
    """
    p_values = np.asarray(p_values, float)
    known = np.nan_to_num(p_values, nan=1.0).reshape(len(p_values), *(p_values.shape[1:] or (1,)))
    least = known.min(axis=1)
    order = np.argsort(least, axis=0, kind="stable")
    place, num = np.argsort(order, axis=0), len(known)
    factor = (num - place) / (1 - kept * place / num)
    passed = np.maximum.accumulate(np.take_along_axis(least * factor, order, axis=0), axis=0)
    passed = np.take_along_axis(passed, place, axis=0)
    adjusted = np.minimum(np.maximum(passed[:, None], factor[:, None] * known), 1.0).reshape(p_values.shape)
    return np.where(np.isnan(p_values), np.nan, adjusted)


def corrected(table: pd.DataFrame, contrasts: Iterable[Contrast]) -> pd.Series:
    """Correct the p-values of a table of effects: those of means over their family, those of tasks over their contrast.

    Of the contrasts asked for, those that have not run count with p = 1.
    """
    asked = pd.Series([family(c) for c in contrasts], dtype=object).value_counts()
    adjusted, is_mean = pd.Series(np.nan, table.index, float), table["task"] == MEAN
    for name, group in table[is_mean].groupby("family", sort=False):
        adjusted[group.index] = holm([*group["p_value"], *[1.0] * (asked[name] - len(group))])[: len(group)]
    for _, group in table[~is_mean].groupby("contrast", sort=False):
        adjusted[group.index] = holm(group["p_value"])
    return adjusted


def over_tasks(found: pd.DataFrame) -> pd.DataFrame:
    """Ask another question of effects: would they be found on other tasks? Student's t, with tasks as the sample.

    Columns contrast, num_tasks, effect, low, high, p_value. The paper's DAPT over base has p = 0.097 by Table 3.
    """
    of_tasks = found[found["task"] != MEAN].groupby("contrast", sort=False)["effect"]
    parts = [{"contrast": name, "num_tasks": len(some)} | student(some.to_numpy(float)) for name, some in of_tasks]
    table = pd.DataFrame(parts, columns=["contrast", "num_tasks", *STUDENT[:4]])
    return table.astype(dict.fromkeys(STUDENT[:4], float))


def welch_effects(moments: pd.DataFrame, contrasts: Sequence[Contrast], num_seeds: int) -> pd.DataFrame:
    """Compare arms by means and deviations over seeds alone (Welch), as the paper's tables allow.

    Seeds of one pretraining run are the sample, so an interval says nothing of another run: num_replicates is 1. The
    moments have columns arm, task, mean, std, in points; what is returned is as `effects` does, without sign flips.
    """
    tables = {part: moments.pivot(index="task", columns="arm", values=part) for part in ("mean", "std")}
    means, stds = (table.loc[moments["task"].unique()] for table in tables.values())
    rows = []
    for contrast in (c for c in contrasts if c.shares() and set(c.shares()) <= set(means)):
        weights = pd.Series(contrast.shares())
        by_task = (means[weights.index] @ weights).dropna()
        variances = ((stds.loc[by_task.index, weights.index] * weights) ** 2 / num_seeds).to_numpy()  # tasks by arms
        of_mean = MEAN, by_task.mean(), variances.ravel() / len(by_task) ** 2
        for task, effect, some in [*zip(by_task.index, by_task, variances, strict=True), of_mean]:
            about = {"contrast": contrast.name, "family": family(contrast), "task": task}
            rows.append(about | welch(effect, some, num_seeds - 1))
    table = pd.DataFrame(rows, columns=[*COLUMNS[:3], *STUDENT])
    detectable = table["df"].map(detectable_by) * table["standard_error"]
    counts = {"num_replicates": 1, "num_seeds": num_seeds}
    table = table.assign(detectable=detectable, p_holm=corrected(table, contrasts), **counts)
    return table.reindex(columns=list(COLUMNS))


def rows_of(values: pd.DataFrame) -> pd.DataFrame:
    """Describe what is measured in each replicate (row) otherwise than by arms: rows as those of means in `effects`."""
    return described(values).rename_axis("contrast").reset_index().assign(task=MEAN)
