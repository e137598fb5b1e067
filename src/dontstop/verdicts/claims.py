"""The paper's claims as data, and what our runs and the paper's own numbers say of each: holds, does not, undecided."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from dontstop import paper
from dontstop.machine import files
from dontstop.runs import arms
from dontstop.verdicts import comparisons
from dontstop.verdicts.comparisons import Resamples

LEVEL = 0.05
# Points of F1. not-DAPT is "not better" where the interval leaves no room for a gain that anybody would train for:
# half of the smaller of the mean gains in the paper's Table 5, which is TAPT's 2.0.
MARGIN = 1.0
ALL_TASKS = "all tasks"
HOLDS, DOES_NOT_HOLD, UNDECIDED, NOT_RUN = "holds", "does not hold", "undecided", "not run"
PAPER_SEEDS = 5  # section 3.2 and Appendix B
PAPER_NEIGHBOURS = (50, 150, 500)  # Table 8; the random control has as many texts as the fewest
FRACTION = 0.5  # of DAPT's costs, below which TAPT's are called a fraction of them


Contrast = tuple[tuple[str, float], ...]  # arms and their weights, which add up to zero
# Stand for the arms of all numbers of neighbours alike, for their random controls, and for the two ends.
KNN, RAND, KNN_FEWEST, KNN_MOST = "knn_tapt", "rand_tapt", "knn_tapt_fewest", "knn_tapt_most"


def over(arm_a: str, arm_b: str) -> Contrast:
    """Return the contrast of arm a over arm b."""
    return ((arm_a, 1.0), (arm_b, -1.0))


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        name: C1 to C13.
        statement: In short.
        place: Where the paper makes it.
        kind: How it is judged: `above` (each of its contrasts lies above zero), `not_above` (its one contrast does
            not), `correlation`, `losses` or `costs`.
        contrasts: Of arms; the families of neighbours and of random controls stand under names of their own.
        table: The paper's table whose contrasts are one family for Holm's correction.
        rule: The verdict's rule, for readers.
    """

    name: str
    statement: str
    place: str
    kind: str
    contrasts: tuple[Contrast, ...] = ()
    table: int | None = None
    rule: str = ""


_ABOVE = "holds if the difference is above zero with p (Holm) below 0.05, does not hold if below zero likewise"
_ALL_ABOVE = (
    "holds if {} is above each of {}, the largest p (Holm) below 0.05; does not hold if it is below one of them "
    "likewise; the effect is the smallest of the differences"
)
CLAIMS = (
    Claim(
        "C1",
        "DAPT gains more the farther the domain's words lie from the base encoder's text",
        "section 3.1",
        "correlation",
        rule="holds if the rank correlation over tasks is above zero: its interval, and p (permutation) below 0.05",
    ),
    Claim("C2", "DAPT scores above the base encoder", "Table 3", "above", (over("dapt", "base"),), 3, _ABOVE),
    Claim("C3", "DAPT scores above not-DAPT", "Table 3", "above", (over("dapt", "not_dapt"),), 3, _ABOVE),
    Claim(
        "C4",
        "not-DAPT is not better than the base encoder",
        "Table 3",
        "not_above",
        (over("not_dapt", "base"),),
        3,
        "does not hold if the difference is above zero with p (Holm) below 0.05; else holds if the 95 % interval, "
        f"not corrected, ends below {MARGIN} point",
    ),
    Claim("C5", "TAPT scores above the base encoder", "Table 5", "above", (over("tapt", "base"),), 5, _ABOVE),
    Claim(
        "C6",
        "DAPT then TAPT is the best of base, DAPT, TAPT and itself",
        "Table 5",
        "above",
        tuple(over("dapt_tapt", arm) for arm in ("base", "dapt", "tapt")),
        5,
        _ALL_ABOVE.format("it", "the three"),
    ),
    Claim("C7", "TAPT scores above transfer-TAPT", "Table 6", "above", (over("tapt", "transfer_tapt"),), 6, _ABOVE),
    Claim(
        "C8",
        "curated TAPT scores above TAPT, and after DAPT it is the best of Table 7",
        "Table 7",
        "above",
        (
            over("curated_tapt", "tapt"),
            *(over("dapt_curated_tapt", arm) for arm in ("tapt", "dapt_tapt", "curated_tapt")),
        ),
        7,
        "holds if curated TAPT is above TAPT, and after DAPT above TAPT, DAPT then TAPT, and curated TAPT, the largest "
        "of the four p (Holm) below 0.05; does not hold if a difference is below zero likewise; the effect is the "
        "smallest of them",
    ),
    Claim(
        "C9",
        "TAPT with nearest neighbours scores above TAPT",
        "Table 8",
        "above",
        (over(KNN, "tapt"),),
        8,
        "the mean over all numbers of neighbours, less TAPT: " + _ABOVE,
    ),
    Claim(
        "C10",
        "nearest neighbours are worth more than as many random texts",
        "Table 8",
        "above",
        (over(KNN, RAND),),
        8,
        "the mean over all numbers of neighbours, less that of their random controls (the paper: its only control): "
        + _ABOVE,
    ),
    Claim(
        "C11",
        "more neighbours score higher, towards DAPT",
        "Table 8",
        "above",
        (over(KNN_MOST, KNN_FEWEST),),
        8,
        "the most neighbours less the fewest: " + _ABOVE,
    ),
    Claim(
        "C12",
        "DAPT lowers the masked-LM loss on its own domain and raises it on the base encoder's text",
        "Tables 1 and 12",
        "losses",
        rule="holds if both mean changes over domains lie on their sides of zero, by their intervals (t over domains)",
    ),
    Claim(
        "C13",
        "TAPT costs a fraction of DAPT's time and storage",
        "Table 9",
        "costs",
        rule=f"holds if both ratios of TAPT to DAPT, of process seconds and of bytes of text, lie below {FRACTION} by "
        "their intervals (geometric mean, t over tasks of the logarithms; the paper: steps and bytes of RCT-500, no "
        "intervals), does not hold if one lies above",
    ),
)


@dataclass(frozen=True)
class Evidence:
    """What a study has found so far; what it lacks is None, or missing from the arms.

    Attributes:
        resamples: By task, over the arms that have run.
        transfer: The same for Table 6's arms, over the tasks whose sister task the study has too.
        curated: The same for Table 7's arms, over the tasks that have unlabelled text of their own source.
        augmented: The same for Table 8's arms, over the tasks whose text is enlarged.
        num_neighbours: Of Table 8, ascending.
        correlation: Of DAPT's gain with the distance by shared words, as `comparisons.gain_correlation` gives it.
        forgetting: Columns own_change and base_text_change, a row a domain.
        cost_ratios: Columns seconds and bytes, TAPT's by DAPT's, a row a task.
    """

    resamples: Mapping[str, Resamples] = field(default_factory=dict)
    transfer: Mapping[str, Resamples] = field(default_factory=dict)
    curated: Mapping[str, Resamples] = field(default_factory=dict)
    augmented: Mapping[str, Resamples] = field(default_factory=dict)
    num_neighbours: tuple[int, ...] = ()
    correlation: Mapping[str, float] | None = None
    forgetting: pd.DataFrame | None = None
    cost_ratios: pd.DataFrame | None = None

    def of_table(self, table: int) -> Mapping[str, Resamples]:
        """Return the resamples that a table's contrasts rest on."""
        return {6: self.transfer, 7: self.curated, 8: self.augmented}.get(table, self.resamples)


def arms_of(claim: Claim, num_neighbours: Sequence[int]) -> set[str]:
    """Name the arms that a claim compares, families of arms spelt out."""
    found = [resolved(contrast, num_neighbours, num_neighbours) for contrast in claim.contrasts]
    return {arm for contrast in found for arm in contrast}


def resolved(contrast: Contrast, num_neighbours: Sequence[int], of_control: Sequence[int]) -> dict[str, float]:
    """Spell a contrast's families of arms out: weights by arm, none of them zero.

    Args:
        num_neighbours: The numbers of neighbours, ascending.
        of_control: Those that have a random control.
    """
    weights: dict[str, float] = {}
    for name, weight in contrast:
        numbers = {KNN: num_neighbours, KNN_FEWEST: num_neighbours[:1], KNN_MOST: num_neighbours[-1:]}
        members = [arms.knn_tapt(k) for k in numbers.get(name, ())]
        members = [arms.rand_tapt(k) for k in of_control] if name == RAND else members
        members = members or ([] if name in (RAND, *numbers) else [name])
        for arm in members:
            weights[arm] = weights.get(arm, 0.0) + weight / len(members)
    return {arm: weight for arm, weight in weights.items() if weight}


@dataclass(frozen=True)
class Effect:
    """A difference in points of F1 on one task or over all, before correction."""

    scope: str
    estimate: float
    low: float
    high: float
    p_value: float


Comparer = Callable[[Contrast], list[Effect]]  # each task's effect, and then that over all; none where it has not run


def judge(evidence: Evidence) -> pd.DataFrame:
    """Judge every claim by our evidence, and by the paper's own numbers.

    Returns:
        Columns claim, statement, place, study (`ours` or `paper`), scope (a task, or `all tasks`), effect (points of
        F1; a rank correlation; nats; a ratio), effect_low, effect_high, p_value, p_adjusted, verdict.
    """
    rows = []
    numbers = sorted({claim.table for claim in CLAIMS if claim.table})
    ours = {table: _judge_table(table, _compare_by(evidence, table)) for table in numbers}
    theirs = {table: _judge_table(table, _compare_paper_by(table)) for table in numbers}
    whole = {
        "correlation": (evidence.correlation, _paper_correlation, _judge_correlation),
        "losses": (evidence.forgetting, _paper_forgetting, _judge_losses),
        "costs": (evidence.cost_ratios, _paper_cost_ratios, _judge_costs),
    }
    for study, of_tables in (("ours", ours), ("paper", theirs)):
        for claim in CLAIMS:
            if claim.table is not None:
                found = of_tables[claim.table][claim.name]
            else:
                own, papers, judged = whole[claim.kind]
                found = judged(own if study == "ours" else papers())
            shared = {"claim": claim.name, "statement": claim.statement, "place": claim.place, "study": study}
            rows += [shared | row for row in found]
    columns = ["claim", "statement", "place", "study", "scope", "effect", "effect_low", "effect_high"]
    return pd.DataFrame(rows, columns=[*columns, "p_value", "p_adjusted", "verdict"])


# Comparisons of arms -------------------------------------------------------------------------------------------


def _compare_by(evidence: Evidence, table: int) -> Comparer:
    resamples = evidence.of_table(table)
    run = set.intersection(*(set(of_task.arms) for of_task in resamples.values())) if resamples else set()

    def compare(contrast: Contrast) -> list[Effect]:
        weights = resolved(contrast, evidence.num_neighbours, evidence.num_neighbours)
        if not _sound(weights) or not set(weights) <= run:
            return []
        by_task = comparisons.contrasts(resamples, tuple(weights.items()))
        rows = {**by_task, ALL_TASKS: comparisons.mean_difference(by_task)}
        return [Effect(s, 100 * d.estimate, 100 * d.low, 100 * d.high, d.p_value) for s, d in rows.items()]

    return compare


def _sound(weights: Mapping[str, float]) -> bool:
    """Whether both sides of a contrast are there: with one number of neighbours, no fewest and most are."""
    return len(weights) > 1 and abs(sum(weights.values())) < 1e-9


def _compare_paper_by(number: int) -> Comparer:
    """Compare arms by the paper's means and standard deviations: Welch's test, since nothing can be paired.

    Tables 7 and 8 have their own; of the others Table 5 is asked before Tables 3 and 6, all of which share arms.
    """
    tables = {7: (paper.table7(),), 8: (paper.table8(),)}.get(number, (paper.table5(), paper.table3(), paper.table6()))
    names = paper.task_names()

    def compare(contrast: Contrast) -> list[Effect]:
        weights = resolved(contrast, PAPER_NEIGHBOURS, PAPER_NEIGHBOURS[:1])
        wanted = [f"{arm}_{part}" for arm in weights for part in ("mean", "std")]
        table = next(t for t in tables if set(wanted) <= set(t))[wanted].astype(float)
        shares = np.array(list(weights.values()))
        means, stds = table[wanted[::2]].to_numpy() @ shares, np.abs(table[wanted[1::2]].to_numpy() * shares)
        effects = [_welch(names[task], means[[k]], stds[[k]]) for k, task in enumerate(table.index)]
        return [*effects, _welch(ALL_TASKS, means, stds)]

    return compare


def _welch(scope: str, differences: np.ndarray, stds: np.ndarray) -> Effect:
    """Average the paper's differences over tasks, their variances with them (Welch and Satterthwaite).

    Args:
        differences: (num_tasks,) of weighted means.
        stds: (num_tasks, num_arms), each times its arm's weight.
    """
    parts = stds.ravel() ** 2 / PAPER_SEEDS / len(differences) ** 2
    estimate, error = float(differences.mean()), math.sqrt(parts.sum())
    if error == 0:
        return Effect(scope, estimate, estimate, estimate, float(estimate == 0))
    df = parts.sum() ** 2 / ((parts**2).sum() / (PAPER_SEEDS - 1))
    half = error * stats.t.ppf((1 + comparisons.CONFIDENCE) / 2, df)
    p_value = 2 * float(stats.t.sf(abs(estimate) / error, df))
    return Effect(scope, estimate, estimate - half, estimate + half, p_value)


def _judge_table(table: int, compare: Comparer) -> dict[str, list[dict]]:
    """Judge the claims that rest on one table: its contrasts are corrected together, tasks and means apart.

    A contrast whose arms have not run counts with p = 1, so that a verdict reached before them stands after them.
    """
    claims = [claim for claim in CLAIMS if claim.table == table]
    effects = {contrast: compare(contrast) for claim in claims for contrast in claim.contrasts}
    ready = {contrast: found for contrast, found in effects.items() if found}
    adjusted = _adjust(ready, num_missing=len(effects) - len(ready))
    found = {claim.name: [_not_run()] for claim in claims}
    for claim in claims:
        if set(claim.contrasts) <= set(ready):
            judged, by_contrast = _JUDGES[claim.kind], [adjusted[contrast] for contrast in claim.contrasts]
            scopes = range(len(by_contrast[0]))
            found[claim.name] = [judged([of_contrast[place] for of_contrast in by_contrast]) for place in scopes]
    return found


def _adjust(
    effects: Mapping[Contrast, Sequence[Effect]], num_missing: int
) -> dict[Contrast, list[tuple[Effect, float]]]:
    """Set beside every effect its p-value after Holm's correction, over the tasks' family or that of the means.

    Args:
        num_missing: Contrasts of the same families that have not run.
    """
    adjusted = {}
    for of_means in (False, True):
        places = [
            (name, k) for name, row in effects.items() for k, e in enumerate(row) if (e.scope == ALL_TASKS) == of_means
        ]
        missing = [1.0] * (num_missing * len(places) // max(1, len(effects)))
        values = comparisons.holm([effects[name][k].p_value for name, k in places] + missing)
        adjusted |= dict(zip(places, values[: len(places)], strict=True))
    return {name: [(e, float(adjusted[name, k])) for k, e in enumerate(row)] for name, row in effects.items()}


def _row(effect: Effect, p_adjusted: float, verdict: str) -> dict:
    return {
        "scope": effect.scope,
        "effect": effect.estimate,
        "effect_low": effect.low,
        "effect_high": effect.high,
        "p_value": effect.p_value,
        "p_adjusted": p_adjusted,
        "verdict": verdict,
    }


def _not_run() -> dict:
    return _row(Effect(ALL_TASKS, *[math.nan] * 4), math.nan, NOT_RUN)


def _sides(effect: Effect, p_adjusted: float) -> int:
    """Return 1 or -1 where the effect lies beyond chance above or below zero, else 0."""
    return int(np.sign(effect.estimate)) if p_adjusted < LEVEL else 0


def _judge_not_above(found: list[tuple[Effect, float]]) -> dict:
    (effect, p_adjusted) = found[0]
    if _sides(effect, p_adjusted) == 1:
        return _row(effect, p_adjusted, DOES_NOT_HOLD)
    return _row(effect, p_adjusted, HOLDS if effect.high < MARGIN else UNDECIDED)


def _judge_above(found: list[tuple[Effect, float]]) -> dict:
    """Judge contrasts that must all lie above zero (intersection-union); one that lies below refutes."""
    sides = [_sides(*pair) for pair in found]
    closest, p_adjusted = min(found, key=lambda pair: pair[0].estimate)
    verdict = DOES_NOT_HOLD if -1 in sides else HOLDS if all(side == 1 for side in sides) else UNDECIDED
    return _row(closest, p_adjusted if verdict == DOES_NOT_HOLD else max(p for _, p in found), verdict)


_JUDGES = {"above": _judge_above, "not_above": _judge_not_above}


# Correlation, losses and costs ---------------------------------------------------------------------------------


def _judge_correlation(found: Mapping[str, float] | None) -> list[dict]:
    if found is None:
        return [_not_run()]
    effect = Effect(ALL_TASKS, found["spearman"], found["low"], found["high"], found["p_value"])
    verdict = UNDECIDED
    if effect.p_value < LEVEL:
        # The paper's numbers give no interval, so for them the permutations decide alone.
        low, high = (effect.estimate if math.isnan(bound) else bound for bound in (effect.low, effect.high))
        verdict = HOLDS if low > 0 else DOES_NOT_HOLD if high < 0 else UNDECIDED
    return [_row(effect, effect.p_value, verdict)]


def _paper_correlation() -> dict[str, float]:
    table = paper.dapt_gains()
    found = comparisons.rank_correlation(-table["vocabulary_overlap"].to_numpy(float), table["gain"].to_numpy(float))
    return {"spearman": found[0], "low": math.nan, "high": math.nan, "p_value": found[1]}


def _paper_forgetting() -> pd.DataFrame:
    matrix = paper.table12()
    changes = matrix - matrix.loc["base"]
    domains = [domain for domain in matrix.columns if f"dapt_{domain}" in matrix.index]
    own = [changes.loc[f"dapt_{domain}", domain] for domain in domains]
    return pd.DataFrame({"own_change": own, "base_text_change": [changes.loc[f"dapt_{d}", "PT"] for d in domains]})


def _judge_losses(forgetting: pd.DataFrame | None) -> list[dict]:
    """Judge the two changes of loss over domains; each domain's encoder is one run, so the domains are the sample."""
    if forgetting is None or len(forgetting) < 2:
        return [_not_run()]
    own, base_text = (
        _over_domains(f"all domains: {words}", forgetting[column].to_numpy(float))
        for words, column in (("own text", "own_change"), ("base encoder's text", "base_text_change"))
    )
    sides = (-_by_interval(own), _by_interval(base_text))
    verdict = DOES_NOT_HOLD if -1 in sides else HOLDS if sides == (1, 1) else UNDECIDED
    both = Effect(ALL_TASKS, *[math.nan] * 4)
    parts = [
        _row(effect, effect.p_value, {1: HOLDS, -1: DOES_NOT_HOLD, 0: UNDECIDED}[side])
        for effect, side in zip((own, base_text), sides, strict=True)
    ]
    return [*parts, _row(both, math.nan, verdict)]


def _paper_cost_ratios() -> pd.DataFrame:
    table = paper.table9().set_index("arm")
    ratios = table.loc["tapt"] / table.loc["dapt"]
    return pd.DataFrame({"seconds": [ratios["num_steps"]], "bytes": [ratios["num_bytes"]]})


def _judge_costs(ratios: pd.DataFrame | None) -> list[dict]:
    """Judge the two ratios of TAPT's costs to DAPT's; where there is one task only, by the ratios themselves."""
    if ratios is None or ratios.empty:
        return [_not_run()]
    effects = [
        _geometric(f"all tasks: {words}", ratios[column].to_numpy(float))
        for words, column in (("time", "seconds"), ("storage", "bytes"))
    ]
    sides = []
    for effect in effects:
        low, high = (effect.estimate if math.isnan(bound) else bound for bound in (effect.low, effect.high))
        sides.append(1 if high < FRACTION else -1 if low > FRACTION else 0)
    verdict = DOES_NOT_HOLD if -1 in sides else HOLDS if sides == [1, 1] else UNDECIDED
    words = {1: HOLDS, -1: DOES_NOT_HOLD, 0: UNDECIDED}
    parts = [_row(effect, math.nan, words[side]) for effect, side in zip(effects, sides, strict=True)]
    return [*parts, _row(Effect(ALL_TASKS, *[math.nan] * 4), math.nan, verdict)]


def _geometric(scope: str, ratios: np.ndarray) -> Effect:
    if len(ratios) < 2 or np.ptp(ratios) == 0:
        return Effect(scope, float(stats.gmean(ratios)), math.nan, math.nan, math.nan)
    low, high = np.exp(stats.ttest_1samp(np.log(ratios), 0.0).confidence_interval(comparisons.CONFIDENCE))
    return Effect(scope, float(stats.gmean(ratios)), float(low), float(high), math.nan)


def _over_domains(scope: str, changes: np.ndarray) -> Effect:
    found = stats.ttest_1samp(changes, 0.0)
    low, high = found.confidence_interval(comparisons.CONFIDENCE)
    return Effect(scope, float(changes.mean()), float(low), float(high), float(found.pvalue))


def _by_interval(effect: Effect) -> int:
    return 1 if effect.low > 0 else -1 if effect.high < 0 else 0


# Pages ---------------------------------------------------------------------------------------------------------


def overview(judged: pd.DataFrame) -> pd.DataFrame:
    """Tabulate a row a claim: our verdict over all tasks with its effect, in how many tasks it holds, the paper's.

    Returns:
        Columns claim, statement, place, ours, effect, effect_low, effect_high, p_adjusted, tasks, paper, paper_effect,
        paper_tasks.
    """
    rows = []
    for claim in (claim for claim in CLAIMS if claim.name in set(judged["claim"])):
        of_claim = judged[judged["claim"] == claim.name]
        ours, theirs = (of_claim[of_claim["study"] == study] for study in ("ours", "paper"))
        whole = ours[ours["scope"] == ALL_TASKS].iloc[0]
        row = {"claim": claim.name, "statement": claim.statement, "place": claim.place, "ours": whole["verdict"]}
        row |= {name: whole[name] for name in ("effect", "effect_low", "effect_high", "p_adjusted")}
        row |= {"tasks": _counts(ours)}
        paper_whole = theirs[theirs["scope"] == ALL_TASKS]
        row |= {"paper": paper_whole["verdict"].iloc[0] if len(paper_whole) else "-"}
        row |= {"paper_effect": paper_whole["effect"].iloc[0] if len(paper_whole) else math.nan}
        rows.append(row | {"paper_tasks": _counts(theirs)})
    return pd.DataFrame(rows)


def _counts(of_claim: pd.DataFrame) -> str:
    """Say in how many tasks a claim holds, does not, or is undecided."""
    verdicts = of_claim.loc[~of_claim["scope"].str.startswith("all "), "verdict"]
    counts = [(word, int((verdicts == word).sum())) for word in (HOLDS, DOES_NOT_HOLD, UNDECIDED)]
    return ", ".join(f"{number} {word}" for word, number in counts if number) or "-"


def to_markdown(judged: pd.DataFrame, heading: str) -> str:
    """Write the verdicts as a page: all claims in one table, then each with its tasks and its rule."""
    parts = [
        f"# {heading}\n",
        "Each of the paper's claims, judged by this study's runs and, by the same rule as far as its means and "
        "standard deviations allow, by the paper's own numbers. Effects are points of F1 with 95 % intervals (C1: a "
        "rank correlation; C12: nats; C13: ratios); `p` is corrected for the comparisons of the table (Holm), tasks "
        "and means apart.\n",
        _markdown(_shown_overview(overview(judged))),
    ]
    for claim in CLAIMS:
        rows = judged[judged["claim"] == claim.name]
        if set(rows["verdict"]) == {NOT_RUN}:
            continue
        parts.append(f"\n## {claim.name}: {claim.statement}\n\n{claim.place}. Rule: {claim.rule}; else undecided.\n")
        parts.append(_markdown(_shown_rows(rows)))
    return "\n".join(parts)


def _shown_overview(table: pd.DataFrame) -> pd.DataFrame:
    effects = [_effect_text(row) for _, row in table.iterrows()]
    shown = table[["claim", "statement", "place", "ours"]].assign(effect=effects, tasks=table["tasks"])
    return shown.assign(**{"the paper": table["paper"], "the paper's tasks": table["paper_tasks"]})


def _shown_rows(rows: pd.DataFrame) -> pd.DataFrame:
    p_values = ["-" if math.isnan(p) else f"{p:.3f}" for p in rows["p_adjusted"]]
    shown = rows[["study", "scope"]].assign(effect=[_effect_text(row) for _, row in rows.iterrows()], p=p_values)
    return shown.assign(verdict=rows["verdict"])


def _effect_text(row: pd.Series) -> str:
    if math.isnan(row["effect"]):
        return "-"
    text = f"{row['effect']:+.2f}"
    return text if math.isnan(row["effect_low"]) else f"{text} [{row['effect_low']:+.2f}, {row['effect_high']:+.2f}]"


def _markdown(table: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def save_claims(judged: pd.DataFrame, folder: Path, heading: str) -> None:
    """Write claims.csv (every row at full precision) and claims.md under `folder`."""
    files.write_text(folder / "claims.csv", judged.to_csv(index=False))
    files.write_text(folder / "claims.md", to_markdown(judged, heading))
