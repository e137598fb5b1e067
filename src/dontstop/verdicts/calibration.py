"""How often this study's verdicts err, and what they see: whole families of claims, simulated with known truth."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources

import numpy as np
import pandas as pd

from dontstop.errors import StudyError
from dontstop.verdicts import claims as claimed
from dontstop.verdicts import gains, judgements, losses
from dontstop.verdicts.claims import CLAIMS, DOES_NOT_HOLD, EQUIVALENT, HOLDS, MARGIN, TESTED
from dontstop.verdicts.effects import student
from dontstop.verdicts.variances import variance_components

NEIGHBOURS = (5, 15, 50)
ARMS = ["base", "dapt", "not_dapt", "not_dapt_2", "not_dapt_3", "tapt", "dapt_tapt", "transfer_tapt", "curated_tapt"]
ARMS += ["dapt_curated_tapt", *(f"{kind}_{k}" for kind in ("knn_tapt", "rand_tapt") for k in NEIGHBOURS)]
DOMAINS = pd.Series(np.repeat(["a", "b", "c", "d"], 2), [f"task {k}" for k in range(8)])
DISTANCES = pd.Series({"a": 0.0, "b": 1.0, "c": 2.0, "d": 3.0})
GAINS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # DAPT's, points
AT_ONCE = 500  # studies
LOSS_CHANGES, LOSS_DEVIATION = (-0.5, 0.1), 0.03  # nats; of C12, which is far from inconclusive in our records


@dataclass(frozen=True)
class World:
    """The world that simulated studies are drawn from: normal scores, of components as `variance_components` has them.

    Only what differs between arms of one replicate counts, since the rest cancels. The numbers, in points^2, are those
    of pilots with 100 labels, and stand until there are records of replicates to estimate them from. `tails` are the
    degrees of freedom of checkpoints' deviations, infinite for normal ones.
    """

    num_replicates: int = 10
    num_seeds: int = 3
    replicate_arm: float = 0.15
    replicate_arm_task: float = 0.3
    seed_arm: float = 0.05
    seed_arm_task: float = 1.2
    tails: float = np.inf

    @classmethod
    def of_records(cls, runs: pd.DataFrame, num_replicates: int, num_seeds: int) -> "World":
        """Return the world that runs of two replicates and more tell of; an estimate below zero is taken for zero."""
        names = ["replicate_arm", "replicate_arm_task", "seed_arm", "seed_arm_task"]
        components = variance_components(runs)[names]
        if components[:2].isna().any():
            found, expected = "records of one replicate", "of two at least, whose variance can be told"
            raise StudyError(found, expected, "run the study with REPLICATES=2, or leave the profile out")
        return cls(num_replicates, num_seeds, *components.fillna(0.0).clip(lower=0.0))


# What arms score over the base encoder, in DAPT's gains. All claims hold, each by as much as DAPT gains (C4 apart):
ALL_HOLD = {"dapt": 1, "tapt": 1, "dapt_tapt": 2, "curated_tapt": 2, "dapt_curated_tapt": 3}
ALL_HOLD |= dict(zip(ARMS[-6:], (1.5, 2, 2.5, 0.5, 1, 1.5), strict=True))
# Only DAPT gains anything; whatever else is compared is equal:
ONLY_DAPT = {"dapt": 1, "dapt_tapt": 1, "dapt_curated_tapt": 1}
# All but DAPT's gain lies on the margin, where it is hardest not to call it equivalent:
ON_MARGIN = {"dapt": 1, "not_dapt": 0.5, "not_dapt_2": 0.5, "not_dapt_3": 0.5, "tapt": 0.5, "dapt_tapt": 1.5}
ON_MARGIN |= {"curated_tapt": 1, "dapt_curated_tapt": 2}
ON_MARGIN |= dict(zip(ARMS[-6:], (0.75, 1, 1.25, 0.25, 0.5, 0.75), strict=True))


@dataclass(frozen=True)
class Truth:
    """What is true: arms' means (num_arms, num_tasks) in points, and the changes of the losses in nats."""

    means: np.ndarray
    changes: tuple[float, float]

    @classmethod
    def of(cls, pattern: Mapping[str, float], gain: float, rise: float) -> "Truth":
        """Spread a pattern over arms and tasks; DAPT's gain rises by so many points to the farthest domain."""
        means = np.outer([gain * pattern.get(arm, 0.0) for arm in ARMS], np.ones(len(DOMAINS)))
        far = DOMAINS.map(DISTANCES).to_numpy()
        means[ARMS.index("dapt")] += rise * (far - far.mean()) / np.ptp(far)
        return cls(means, LOSS_CHANGES if pattern is ALL_HOLD else (0.0, 0.0))

    def values(self) -> dict[str, float]:
        """Return the true effect of everything that is measured, by name."""
        return {name: float(of[0]) for name, of in _measured(self.means[None], np.array([self.changes])).items()}


def _measured(means: np.ndarray, changes: np.ndarray) -> dict[str, np.ndarray]:
    """Compute what claims rest on, by name: of means (..., num_arms, num_tasks) and losses' changes (..., 2)."""
    contrasts = judgements.with_margins(judgements.contrasts_of(CLAIMS, ARMS, NEIGHBOURS))
    weights = np.array([[c.shares().get(arm, 0.0) for arm in ARMS] for c in contrasts])
    found = dict(zip((c.name for c in contrasts), np.moveaxis(means.mean(axis=-1) @ weights.T, -1, 0), strict=True))
    gained = means[..., ARMS.index("dapt"), :] - means[..., ARMS.index("base"), :]
    rise, gain = gained @ gains.rise_weights(DOMAINS, DISTANCES).to_numpy(), gained.mean(axis=-1)
    found |= {name: rise + share * gain for name, share in judgements.RISES.items()}
    return found | {losses.IN_DOMAIN: changes[..., 0], losses.GENERAL: changes[..., 1]}


def draw(world: World, truth: Truth, num_studies: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw studies: what claims rest on, by name, (num_replicates, num_studies)."""
    shape = (world.num_replicates, num_studies, len(ARMS))
    checkpoints = rng.standard_normal(shape)
    if np.isfinite(world.tails):
        checkpoints = rng.standard_t(world.tails, shape) * np.sqrt(1 - 2 / world.tails)
    of_arms = np.sqrt(world.replicate_arm) * checkpoints
    of_arms += np.sqrt(world.seed_arm / world.num_seeds) * rng.standard_normal(shape)
    of_tasks = np.sqrt(world.replicate_arm_task + world.seed_arm_task / world.num_seeds)
    scores = truth.means + of_arms[..., None] + of_tasks * rng.standard_normal((*shape, len(DOMAINS)))
    changes = truth.changes + LOSS_DEVIATION * rng.standard_normal((*shape[:2], 2))
    return _measured(scores, changes)


def simulate(world: World, truth: Truth, num_studies: int, *, seed: int) -> pd.DataFrame:
    """Judge many studies as the real one is, a row a study.

    Columns wrong (whether any of the verdicts is), covered (the share of 95 % intervals that hold the truth),
    and each claim's id: whether it is decided, and rightly.
    """
    rng, true, parts = np.random.default_rng(seed), truth.values(), []
    for start in range(0, num_studies, AT_ONCE):
        drawn = draw(world, truth, min(AT_ONCE, num_studies - start), rng)
        tests, verdicts, is_wrong = _judged(drawn, true)
        plain = [name for claim in TESTED for name in claim.names]
        covered = [(tests[k]["low"] <= true[k]) & (true[k] <= tests[k]["high"]) for k in dict.fromkeys(plain)]
        rightly = (verdicts != claimed.INCONCLUSIVE) & ~is_wrong
        table = pd.DataFrame(rightly.T, columns=[claim.id for claim in TESTED])
        parts.append(table.assign(wrong=is_wrong.any(axis=0), covered=np.mean(covered, axis=0)))
    return pd.concat(parts, ignore_index=True)


def _judged(drawn: Mapping[str, np.ndarray], true: Mapping[str, float]) -> tuple[dict, np.ndarray, np.ndarray]:
    """Return the tests of all that is measured, by name; the verdicts, (12, num_studies); which of them are wrong."""
    tests = {name: student(values) for name, values in drawn.items()}
    verdicts = claimed.judge_family({name: (test["effect"], test["p_value"]) for name, test in tests.items()})[2]
    return tests, verdicts, np.stack([_wrong(claim, of, true) for claim, of in zip(TESTED, verdicts, strict=True)])


def _wrong(claim: claimed.Claim, verdicts: np.ndarray, true: Mapping[str, float]) -> np.ndarray:
    """Tell which verdicts on a claim are wrong, given the true effects."""
    effect = min(claim.side(name) * true[name] for name in claim.names)
    effect, margin = round(effect, 9), round(MARGIN * true[claimed.DAPT.name], 9)
    holds = effect < margin if claim.rule == "not_better" else effect > 0
    wrong = {HOLDS: not holds, DOES_NOT_HOLD: not (effect > 0 if claim.rule == "not_better" else effect < 0)}
    wrong[EQUIVALENT] = not abs(effect) < margin
    return np.isin(verdicts, [word for word, is_wrong in wrong.items() if is_wrong])


NOTHING, DAPT_ALONE = "no arm differs from another", "only DAPT gains: 2 points"
FAR_MARGIN = "DAPT gains 4 points, all else lies on the margin of 2"


# The truths under which errors are counted, by what is told of them.
TRUTHS = {
    NOTHING: Truth.of({}, 0.0, 0.0),
    DAPT_ALONE: Truth.of(ONLY_DAPT, 2.0, 0.0),
    "DAPT gains 2 points, all else lies on the margin of 1": Truth.of(ON_MARGIN, 2.0, 1.0),
    FAR_MARGIN: Truth.of(ON_MARGIN, 4.0, 2.0),
    "all claims hold, by 1 point": Truth.of(ALL_HOLD, 1.0, 1.0),
}


def error_rates(world: World, num_studies: int) -> pd.DataFrame:
    """Tabulate errors in worlds where they are easiest to make.

    Columns truth, wrong (percent of studies with any wrong verdict), wrong_error (the simulation's standard error),
    covered (percent of 95 % intervals) and covered_error.
    """
    asked = [(what, world, truth) for what, truth in TRUTHS.items()]
    told = "the same, checkpoints with heavy tails (t, 5 degrees of freedom)"
    asked.insert(1, (told, replace(world, tails=5.0), TRUTHS[NOTHING]))
    rows = []
    for k, (what, where, truth) in enumerate(asked):
        found = simulate(where, truth, num_studies, seed=k)[["wrong", "covered"]].astype(float) * 100
        rows.append([what, *(number for name in found for number in (found[name].mean(), found[name].sem()))])
    return pd.DataFrame(rows, columns=["truth", "wrong", "wrong_error", "covered", "covered_error"])


def looks(world: World, num_studies: int) -> pd.DataFrame:
    """Tabulate what becomes of studies that are judged with two replicates, with three, and so on.

    Columns truth, num_replicates, wrong (percent of studies with any wrong verdict at this look), wrong_so_far (at this
    look or one before), turned (percent of the verdicts decided at this look that all replicates do not confirm).
    """
    rows = []
    for k, what in enumerate((NOTHING, DAPT_ALONE, FAR_MARGIN)):
        truth = TRUTHS[what]
        drawn, true = draw(world, truth, num_studies, np.random.default_rng(200 + k)), truth.values()
        last, so_far = _judged(drawn, true)[1], np.zeros(num_studies, bool)
        for num in range(2, world.num_replicates + 1):
            _, verdicts, is_wrong = _judged({name: values[:num] for name, values in drawn.items()}, true)
            so_far, is_decided = so_far | is_wrong.any(axis=0), verdicts != claimed.INCONCLUSIVE
            turned = ((verdicts != last) & is_decided).sum() / max(is_decided.sum(), 1)
            rows.append([what, num, *(100 * np.array([is_wrong.any(axis=0).mean(), so_far.mean(), turned]))])
    return pd.DataFrame(rows, columns=["truth", "num_replicates", "wrong", "wrong_so_far", "turned"])


def power(world: World, num_studies: int) -> pd.DataFrame:
    """Tabulate how often each claim is decided rightly, by DAPT's gain: where all hold, and where DAPT alone gains.

    Columns truth (`all hold`: each effect is as large as DAPT's gain; `only DAPT gains`: the others are zero), points
    (DAPT's gain), claim, percent. C12 is left out: its effect is not in points.
    """
    parts = []
    for word, pattern, rise in (("all hold", ALL_HOLD, 1.0), ("only DAPT gains", ONLY_DAPT, 0.0)):
        for k, gain in enumerate(GAINS):
            found = simulate(world, Truth.of(pattern, gain, rise * gain), num_studies, seed=100 + k)
            shares = 100 * found.drop(columns=["wrong", "covered", "C12"]).mean()
            parts.append(shares.rename("percent").rename_axis("claim").reset_index().assign(truth=word, points=gain))
    return pd.concat(parts, ignore_index=True)[["truth", "points", "claim", "percent"]]


def calibrate(world: World, source: str, num_studies: int) -> tuple[str, pd.DataFrame]:
    """Simulate; return the page, as Markdown, and the power curve. The source of the world is told in words."""
    num_power = max(num_studies // 10, 1)
    rates, looked, curve = error_rates(world, num_studies), looks(world, num_power), power(world, num_power)
    rate = "| {0.truth} | {0.wrong:.1f} ± {0.wrong_error:.1f} | {0.covered:.1f} ± {0.covered_error:.2f} |"
    look = "| {0.truth} | {0.num_replicates} | {0.wrong:.1f} | {0.wrong_so_far:.1f} | {0.turned:.1f} |"
    told = {name: value for name, value in vars(world).items() if name != "tails"} | _power_tables(curve)
    told["rates"] = "\n".join(map(rate.format, rates.itertuples()))
    told["looks"] = "\n".join(map(look.format, looked.itertuples()))
    page = resources.files("dontstop.verdicts").joinpath("calibration.md").read_text(encoding="utf-8")
    return page.format(**told, source=source, num_studies=num_studies, num_power=num_power), curve


def _power_tables(curve: pd.DataFrame) -> dict[str, str]:
    """Write the power curve as Markdown, a table a truth, by its name on the page: `all_hold`, `only_dapt_gains`."""
    tables = {}
    for name, some in curve.groupby("truth", sort=False):
        wide = some.pivot(index="claim", columns="points", values="percent").loc[some["claim"].unique()]
        lines = [f"| {claim} | " + " | ".join(f"{value:.0f}" for value in of) + " |" for claim, of in wide.iterrows()]
        heading = "| | " + " | ".join(f"{points:g}" for points in wide) + " |\n|" + "---|" * (1 + len(wide.columns))
        tables[name.replace(" ", "_").lower()] = "\n".join([heading, *lines])
    return tables
