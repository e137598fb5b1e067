"""How often this study's own tests err, and what they can see: simulated studies of known truth."""

import gc
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit
from threadpoolctl import threadpool_limits

from dontstop.machine.files import write_text
from dontstop.machine.processes import CONTEXT, be_worker, num_cores
from dontstop.report import figures
from dontstop.verdicts import comparisons
from dontstop.verdicts.claims import LEVEL
from dontstop.verdicts.comparisons import Resamples

ARMS = ("a", "b", "c")
PAIRS = (("a", "b"), ("c", "b"), ("a", "c"))  # as in Table 3
CHUNK = 50  # studies a job


@dataclass(frozen=True)
class World:
    """The world that simulated studies are drawn from; its numbers are near those of our own records (notebook 02).

    There, whether two classifiers are right on the same text covaries by 0.142 within an arm and by 0.138 between two
    (0.25 would be the same answers throughout), and seeds of one arm differ in accuracy by 0.8 to 2.5 points, by task.
    The scales below, in logits, were chosen to give this back; the test of this module measures how nearly they do.

    Attributes:
        num_test: Test texts of each task.
        num_labels: Classes of each task.
        num_seeds: Seeds of each arm.
        intercept: Logit of being right on a middling text.
        of_texts: How texts differ in difficulty, for all arms alike.
        of_affinities: How an arm's texts differ from another's in difficulty; zero on average, so no arm is better.
        of_seeds: How seeds differ, in each task: the records' deviations, made good for what five seeds and the choice
            of texts do to them.
        metric: `macro_f1`, as our tasks are scored, or `micro_f1` (accuracy).
        num_resamples: Draws of test texts; fewer than the study's 1,000, which widens the errors shown, if anything.
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
    """Draw each task's test texts anew, (1 + num_resamples, num_test); the first row is the test set as it is.

    They know nothing of the study, so several studies can share them.
    """
    return [comparisons.draw_weights(rng, world.num_resamples, num_test) for num_test in world.num_test]


def draw_study(
    world: World, weights: Sequence[np.ndarray], rng: np.random.Generator, gain: float = 0.0
) -> dict[str, Resamples]:
    """Draw one study of three arms; see `World`.

    Args:
        weights: As `draw_weights` gives them.
        gain: What arm a has over the two others, in logits.
    """
    return {f"task {k}": _draw_task(world, k, of_task, rng, gain) for k, of_task in enumerate(weights)}


def _draw_task(world: World, k: int, weights: np.ndarray, rng: np.random.Generator, gain: float) -> Resamples:
    num_test, num_labels = weights.shape[1], world.num_labels[k]
    truth = rng.integers(num_labels, size=num_test)
    shape = (len(ARMS), world.num_seeds, num_test)
    logits = world.intercept + world.of_texts * rng.standard_normal(num_test)
    logits = logits + world.of_affinities * rng.standard_normal((len(ARMS), 1, num_test))
    logits = logits + world.of_seeds[k] * rng.standard_normal((len(ARMS), world.num_seeds, 1))
    logits[0] += gain
    right = rng.random(shape, dtype=np.float32) < expit(logits.astype(np.float32))
    confused = (truth + rng.integers(1, num_labels, size=num_test)) % num_labels  # a text's wrong label is its own
    predictions = np.where(right, truth, confused).reshape(-1, num_test)
    return comparisons.from_predictions(ARMS, predictions, truth, weights, num_labels, world.metric, rng)


def read_study(resamples: dict[str, Resamples], truth: float = 0.0) -> dict[str, float]:
    """Judge one simulated study as the real one is, and say where the judgement is right.

    Args:
        truth: The true difference of the first pair (0 to 1), for the coverage of its intervals.

    Returns:
        family and family_of_means, whether Holm's correction lets any difference of three pairs pass, on single tasks
        and on means; covered and mean_covered, the share of the first pair's intervals that hold the truth;
        percentile_covered and welch_covered, the same for the bootstrap's percentiles and Welch's test; called,
        called_holm, mean_called, the share of the first pair's differences that are called; estimate, its mean.
    """
    found = {pair: comparisons.differences(resamples, *pair) for pair in PAIRS}
    means = [comparisons.mean_difference(by_task) for by_task in found.values()]
    p_values = np.array([[d.p_value for d in by_task.values()] for by_task in found.values()])  # (pairs, tasks)
    corrected = comparisons.holm(p_values.ravel()).reshape(p_values.shape)
    first, mean = list(found[PAIRS[0]].values()), means[0]
    quantiles = [np.quantile(d.resamples, [LEVEL / 2, 1 - LEVEL / 2]) for d in first]
    welch = [comparisons.welch(*(r.observed[:, r.arms.index(arm)] for arm in PAIRS[0])) for r in resamples.values()]
    return {
        "family": bool((corrected < LEVEL).any()),
        "family_of_means": bool((comparisons.holm([d.p_value for d in means]) < LEVEL).any()),
        "covered": np.mean([d.low <= truth <= d.high for d in first]),
        "mean_covered": mean.low <= truth <= mean.high,
        "percentile_covered": np.mean([low <= truth <= high for low, high in quantiles]),
        "welch_covered": np.mean([low <= truth <= high for _, low, high, _ in welch]),
        "called": (p_values[0] < LEVEL).mean(),
        "called_holm": (corrected[0] < LEVEL).mean(),
        "mean_called": mean.p_value < LEVEL,
        "estimate": 100 * mean.estimate,
    }


def _chunk(world: World, gain: float, seed: tuple[int, ...], num_studies: int) -> list[dict[str, float]]:
    gc.freeze()  # statsmodels collects garbage at every correction, which else takes ten times the study's own time
    rng = np.random.default_rng(seed)
    with threadpool_limits(1):  # a worker a core: numpy's own threads would take the cores from one another
        weights = draw_weights(world, rng)
        return [read_study(draw_study(world, weights, rng, gain)) for _ in range(num_studies)]


def simulate(world: World, num_studies: int, gain: float = 0.0, *, seed: int) -> pd.DataFrame:
    """Draw and judge many studies on all cores; a row a study, columns as `read_study` returns them."""
    sizes = [min(CHUNK, num_studies - start) for start in range(0, num_studies, CHUNK)]
    with ProcessPoolExecutor(num_cores(), CONTEXT, be_worker) as executor:
        jobs = [executor.submit(_chunk, world, gain, (seed, k), size) for k, size in enumerate(sizes)]
        return pd.DataFrame([row for job in jobs for row in job.result()])


# The page ------------------------------------------------------------------------------------------------------

RATES = {
    "family": ("a table's 24 differences on tasks, Holm: any called", "at most 5"),
    "family_of_means": ("its 3 means, Holm: any called", "at most 5"),
    "covered": ("95 % interval on a task covers the truth", "93.5 to 96.5"),
    "mean_covered": ("95 % interval of the mean covers the truth", "93.5 to 96.5"),
    "percentile_covered": ("the bootstrap's own percentiles cover it, on a task", "for contrast"),
    "welch_covered": ("Welch's interval covers it, on a task", "for contrast"),
}
GAINS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.9)  # logits


def rates(studies: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the rates of studies without any true difference, in percent.

    Returns:
        Columns what, percent, standard_error (of the simulation), aim.
    """
    rows = []
    for name, (what, aim) in RATES.items():
        values = studies[name].astype(float)
        error = values.std() / math.sqrt(len(values))
        rows.append({"what": what, "percent": 100 * values.mean(), "standard_error": 100 * error, "aim": aim})
    return pd.DataFrame(rows)


def power(null: pd.DataFrame, world: World, gains: Sequence[float], num_studies: int, *, seed: int) -> pd.DataFrame:
    """Tabulate how often a true difference is called; the first row is that of the studies without one.

    Args:
        null: Studies of the same world without any difference, as `simulate` returns them.

    Returns:
        Columns points (the true difference, as the mean estimate of these studies), task, task_holm, mean: percent.
    """
    rows = []
    for k, gain in enumerate((0.0, *gains)):
        studies = simulate(world, num_studies, gain, seed=seed + k) if gain else null
        row = {"points": studies["estimate"].mean() if gain else 0.0}
        columns = {"task": "called", "task_holm": "called_holm", "mean": "mean_called"}
        rows.append(row | {name: 100 * studies[column].astype(float).mean() for name, column in columns.items()})
    return pd.DataFrame(rows)


def seen_points(curve: pd.DataFrame, column: str, percent: float = 80.0) -> float:
    """Return the true difference that is called so often, between the simulated ones; NaN if beyond them."""
    if curve[column].max() < percent:
        return math.nan
    return float(np.interp(percent, curve[column], curve["points"]))


def to_markdown(null: pd.DataFrame, macro: pd.DataFrame, curve: pd.DataFrame, sizes: tuple[int, int, int]) -> str:
    """Write the page on error rates and power.

    Args:
        null: `rates` of studies scored by accuracy.
        macro: The same, scored by macro-F1.
        curve: As `power` returns it, scored by macro-F1.
        sizes: Numbers of studies: of the two tables, and of each point of the curve.
    """
    world = World()
    lines = [
        "# How often the tests err, and what they can see",
        "",
        f"Simulated studies with our numbers: {len(world.num_test)} tasks, {world.num_seeds} seeds, three arms, "
        f"{min(world.num_test):,} to {max(world.num_test):,} test texts. Texts differ in difficulty, arms in which "
        "texts they find easy, and seeds in how good they are, about as much as in the records of notebook 02; no "
        "arm is better than another. Our tasks are all scored by macro-F1; accuracy is simulated beside it, since it "
        "is computed in a fraction of the time. Each study is judged by the functions that judge the real one "
        "(`dontstop calibrate` makes this page again).",
        "",
        f"Without any true difference, {sizes[0]:,} studies scored by accuracy and {sizes[1]:,} by macro-F1, in "
        "percent (± the simulation's standard error):",
        "",
        "| | accuracy | macro-F1 | aim |",
        "|---|---|---|---|",
    ]
    for (_, row), (_, other) in zip(null.iterrows(), macro.iterrows(), strict=True):
        cells = [f"{r['percent']:.1f} ± {r['standard_error']:.1f}" for r in (row, other)]
        lines.append(f"| {row['what']} | {cells[0]} | {cells[1]} | {row['aim']} |")
    lines += [
        "",
        "The percentiles of the bootstrap take the variance of five seeds for known, even with the seeds' part scaled "
        "up for their number as here, and so cover less than they say. Welch's interval knows nothing of the choice of "
        "test texts; it covers as well here, where arms hardly differ in which texts they find easy. Student's "
        "interval over both parts of the variance is what the study uses. On test sets of a few hundred texts it is "
        "too long rather than too short. Seeds of the same number are drawn independently for each arm here; in our "
        "records they tend to go together, which pairing turns to account, so the true power may be higher.",
        "",
        f"With a true difference of macro-F1 ({sizes[2]:,} studies a point, so give or take "
        f"{50 / math.sqrt(sizes[2]):.1f} percentage points at worst for the mean over tasks), how often it is "
        "called, in percent:",
        "",
        "| true difference, points | one task | one task, corrected for 24 | mean over eight tasks |",
        "|---|---|---|---|",
    ]
    for _, row in curve.iterrows():
        lines.append(f"| {row['points']:.2f} | {row['task']:.0f} | {row['task_holm']:.0f} | {row['mean']:.0f} |")
    lines += [
        "",
        f"Four times out of five, five seeds see {_points(seen_points(curve, 'task'))} on one task, "
        f"{_points(seen_points(curve, 'task_holm'))} on one task after correction, and "
        f"{_points(seen_points(curve, 'mean'))} in the mean over eight tasks.",
        "",
        "![Power](calibration.svg)",
        "",
    ]
    return "\n".join(lines)


def _points(value: float) -> str:
    return "more than the largest difference tried" if math.isnan(value) else f"a difference of {value:.1f} points"


def main(folder: Path, num_studies: int) -> None:
    """Simulate, and write calibration.md, calibration.csv (the power curve) and its figure under `folder`."""
    num_macro, num_power = max(num_studies // 5, 1), max(num_studies // 50, 1)
    accuracy = simulate(World(metric="micro_f1"), num_studies, seed=1)
    macro = simulate(World(), num_macro, seed=2)
    curve = power(macro, World(), GAINS, num_power, seed=3)
    write_text(folder / "calibration.csv", curve.to_csv(index=False))
    figures.write_figure(figures.power_curve(curve), folder / "calibration")
    page = to_markdown(rates(accuracy), rates(macro), curve, (num_studies, num_macro, num_power))
    write_text(folder / "calibration.md", page)
