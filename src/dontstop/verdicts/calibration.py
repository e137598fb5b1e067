"""Type I error and power of this study's own tests: simulated studies of known truth."""

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import resources

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit
from threadpoolctl import threadpool_limits

from dontstop.machine.processes import CONTEXT, be_worker, num_cores
from dontstop.verdicts import effects, resampling
from dontstop.verdicts.claims import LEVEL
from dontstop.verdicts.effects import over
from dontstop.verdicts.resampling import Resamples

ARMS = ("a", "b", "c")
CONTRASTS = (over("a", "b"), over("c", "b"), over("a", "c"))  # as in Table 3
CHUNK = 50  # studies a job


@dataclass(frozen=True)
class World:
    """The world that simulated studies are drawn from; its numbers are near those of our own records (notebook 02).

    There, whether two classifiers are right on the same text covaries by 0.142 within an arm and by 0.138 between two
    (0.25 would be the same answers throughout), and seeds of one arm differ in accuracy by 0.8 to 2.5 points, by task.
    The scales, in logits, were chosen to give this back; the test of this module measures how nearly they do:
    `intercept` of being right on a middling text; `of_texts`, how texts differ in difficulty for all arms alike;
    `of_affinities`, how they do for one arm and not another, zero on average, so that no arm is better; `of_seeds`, how
    seeds differ in each task: the records' deviations, made good for what five seeds and the choice of texts do to
    them. The metric is `macro_f1`, as our tasks are scored, or `micro_f1` (accuracy). Fewer draws of test texts than
    the study's 1,000 widen the errors shown, if anything.
    """

    num_test: tuple[int, ...] = (2000,) * 4 + (1059,) + (2000,) * 3
    num_labels: tuple[int, ...] = (10, 4, 11, 5, 11, 7, 9, 8)
    num_seeds: int = 5
    intercept: float = 0.4
    of_texts: float = 3.25
    of_affinities: float = 0.46
    of_seeds: tuple[float, ...] = (0.08, 0.146, 0.05, 0.149, 0.205, 0.246, 0.161, 0.11)
    metric: str = "macro_f1"
    num_resamples: int = 200


def draw_weights(world: World, rng: np.random.Generator) -> list[np.ndarray]:
    """Resample each task's test texts, as `resampling.draw_weights` does; several studies can share these weights."""
    return [resampling.draw_weights(rng, world.num_resamples, num_test) for num_test in world.num_test]


def draw_study(world: World, weights: Sequence[np.ndarray], rng: np.random.Generator, gain=0.0) -> dict[str, Resamples]:
    """Draw one study of three arms; arm a has a gain over the two others, in logits. See `World`, `draw_weights`."""
    return {f"task {k}": _draw_task(world, k, of_task, rng, gain) for k, of_task in enumerate(weights)}


def _draw_task(world: World, k: int, weights: np.ndarray, rng: np.random.Generator, gain: float) -> Resamples:
    num_test, num_labels, num_seeds = weights.shape[1], world.num_labels[k], world.num_seeds
    truth = rng.integers(num_labels, size=num_test)
    logits = world.intercept + world.of_texts * rng.standard_normal(num_test)
    logits = logits + world.of_affinities * rng.standard_normal((len(ARMS), 1, num_test))
    logits = logits + world.of_seeds[k] * rng.standard_normal((len(ARMS), num_seeds, 1))
    logits[0] += gain
    right = rng.random(logits.shape, dtype=np.float32) < expit(logits.astype(np.float32))
    confused = (truth + rng.integers(1, num_labels, size=num_test)) % num_labels  # a text's wrong label is its own
    predictions = np.where(right, truth, confused).reshape(-1, num_test)
    return resampling.from_predictions(ARMS, predictions, truth, weights, num_labels, world.metric, rng)


def read_study(resamples: dict[str, Resamples], truth: float = 0.0) -> dict[str, float]:
    """Judge one simulated study as the real one is, and say where the judgement is right.

    The truth is the true difference of the first pair (0 to 1), for the coverage of its intervals.

    Returns:
        family and family_of_means, whether Holm's correction lets any difference of three contrasts pass, on single
        tasks and on means; of the first contrast: covered and mean_covered, the share of intervals that hold the truth,
        percentile_covered and welch_covered, by the bootstrap's percentiles and Welch's test; detected, detected_holm,
        mean_detected, the share of differences that are detected; estimate, their mean.
    """
    found = [effects.differences(resamples, contrast) for contrast in CONTRASTS]
    means = [effects.mean_difference(by_task) for by_task in found]
    p_values = np.array([[d.p_value for d in by_task.values()] for by_task in found])  # (contrasts, tasks)
    corrected = effects.holm(p_values.ravel()).reshape(p_values.shape)
    intervals = {
        "covered": [(d.low, d.high) for d in found[0].values()],
        "mean_covered": [(means[0].low, means[0].high)],
        "percentile_covered": [np.quantile(d.resamples, effects.QUANTILES) for d in found[0].values()],
        "welch_covered": [_welch_interval(of_task) for of_task in resamples.values()],
    }
    return {
        "family": bool((corrected < LEVEL).any()),
        "family_of_means": bool((effects.holm([d.p_value for d in means]) < LEVEL).any()),
        **{name: np.mean([low <= truth <= high for low, high in some]) for name, some in intervals.items()},
        "detected": (p_values[0] < LEVEL).mean(),
        "detected_holm": (corrected[0] < LEVEL).mean(),
        "mean_detected": means[0].p_value < LEVEL,
        "estimate": 100 * means[0].effect,
    }


def _welch_interval(of_task: Resamples) -> tuple[float, float]:
    a, b = (of_task.observed[:, of_task.arms.index(arm)] for arm in CONTRASTS[0].shares())
    if np.ptp(a) == np.ptp(b) == 0:
        return a[0] - b[0], a[0] - b[0]
    return tuple(stats.ttest_ind(a, b, equal_var=False).confidence_interval(effects.CONFIDENCE))


def _chunk(world: World, gain: float, seed: tuple[int, ...], num_studies: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    with threadpool_limits(1):  # a worker a core: numpy's own threads would take the cores from one another
        weights = draw_weights(world, rng)
        return [read_study(draw_study(world, weights, rng, gain)) for _ in range(num_studies)]


def workers() -> ProcessPoolExecutor:
    """Return a process on every core, for `simulate`."""
    return ProcessPoolExecutor(num_cores(), CONTEXT, be_worker)


def simulate(executor: ProcessPoolExecutor, world: World, num_studies: int, gain=0.0, *, seed: int) -> pd.DataFrame:
    """Draw and judge many studies; a row a study, columns as `read_study` returns them."""
    sizes = [min(CHUNK, num_studies - start) for start in range(0, num_studies, CHUNK)]
    jobs = [executor.submit(_chunk, world, gain, (seed, k), size) for k, size in enumerate(sizes)]
    return pd.DataFrame([row for job in jobs for row in job.result()])


RATES = {
    "family": ("a table's 24 differences on tasks, Holm: any detected", "at most 5"),
    "family_of_means": ("its 3 means, Holm: any detected", "at most 5"),
    "covered": ("95 % interval on a task covers the truth", "93.5 to 96.5"),
    "mean_covered": ("95 % interval of the mean covers the truth", "93.5 to 96.5"),
    "percentile_covered": ("the bootstrap's own percentiles cover it, on a task", "for contrast"),
    "welch_covered": ("Welch's interval covers it, on a task", "for contrast"),
}
GAINS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.9)  # logits


def rates(studies: pd.DataFrame) -> pd.DataFrame:
    """Tabulate studies without any true difference: columns what, percent, standard_error (the simulation's), aim."""
    values, (what, aim) = studies[list(RATES)].astype(float), zip(*RATES.values(), strict=True)
    found = pd.DataFrame({"what": what, "percent": 100 * values.mean().array})
    return found.assign(standard_error=100 * values.sem().array, aim=aim)


def power(null: pd.DataFrame, studies: dict[float, pd.DataFrame]) -> pd.DataFrame:
    """Tabulate how often a true difference is detected: in studies without any, then in those with true gains, by gain.

    Returns:
        Columns points (the true difference, as the mean estimate of these studies), task, task_holm, mean: percent.
    """
    columns = {"estimate": "points", "detected": "task", "detected_holm": "task_holm", "mean_detected": "mean"}
    rows = [some[list(columns)].astype(float).mean() for some in (null, *studies.values())]
    curve = pd.DataFrame(rows, columns=list(columns)).rename(columns=columns) * [1, 100, 100, 100]
    curve.loc[0, "points"] = 0.0
    return curve


def detected_points(curve: pd.DataFrame, column: str, percent: float = 80.0) -> float:
    """Return the true difference that is detected so often, between the simulated ones; NaN if beyond them."""
    is_reached = curve[column].max() >= percent
    return float(np.interp(percent, curve[column], curve["points"])) if is_reached else math.nan


def to_markdown(null: pd.DataFrame, macro: pd.DataFrame, curve: pd.DataFrame, sizes: tuple[int, int, int]) -> str:
    """Write the page on error rates and power.

    Args:
        null: `rates` of studies scored by accuracy; `macro` are those scored by macro-F1, as is the curve of `power`.
        sizes: Numbers of studies: of the two tables, and of each point of the curve.
    """
    rates = "| {0.what} | {0.percent:.1f} ± {0.standard_error:.1f} "
    rates += "| {0.percent_macro:.1f} ± {0.standard_error_macro:.1f} | {0.aim} |"
    points = "| {0.points:.2f} | {0.task:.0f} | {0.task_holm:.0f} | {0.mean:.0f} |"
    detected = {name: detected_points(curve, name) for name in ("task", "task_holm", "mean")}
    unknown, num_test = "more than the largest difference tried", World.num_test
    numbers = {"num_tasks": len(num_test), "num_seeds": World.num_seeds, "fewest": min(num_test), "most": max(num_test)}
    numbers |= dict(zip(("num_accuracy", "num_macro", "num_power"), sizes, strict=True))
    page = resources.files("dontstop.verdicts").joinpath("calibration.md").read_text(encoding="utf-8")
    return page.format(
        **numbers,
        give_or_take=50 / math.sqrt(sizes[2]),
        rates="\n".join(map(rates.format, null.join(macro.add_suffix("_macro")).itertuples())),
        power="\n".join(map(points.format, curve.itertuples())),
        **{k: unknown if math.isnan(v) else f"a difference of {v:.1f} points" for k, v in detected.items()},
    )


def calibrate(num_studies: int) -> tuple[str, pd.DataFrame]:
    """Simulate; return the page, as Markdown, and the power curve that it shows as calibration.svg."""
    num_macro, num_power = max(num_studies // 5, 1), max(num_studies // 50, 1)
    with workers() as executor:
        accuracy = simulate(executor, World(metric="micro_f1"), num_studies, seed=1)
        macro = simulate(executor, World(), num_macro, seed=2)
        studies = {g: simulate(executor, World(), num_power, g, seed=3 + k) for k, g in enumerate(GAINS, 1)}
    curve = power(macro, studies)
    return to_markdown(rates(accuracy), rates(macro), curve, (num_studies, num_macro, num_power)), curve
