"""The paper's claims as data, and what our runs and the paper's own numbers say of each: holds, does not, undecided."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from dontstop import comparisons, files, paper
from dontstop.comparisons import Resamples

LEVEL = 0.05
# Points of F1. not-DAPT is "not better" where the interval leaves no room for a gain that anybody would train for:
# half of the smaller of the mean gains in the paper's Table 5, which is TAPT's 2.0.
MARGIN = 1.0
ALL_TASKS = "all tasks"
HOLDS, DOES_NOT_HOLD, UNDECIDED, NOT_RUN = "holds", "does not hold", "undecided", "not run"
PAPER_SEEDS = 5  # section 3.2 and Appendix B


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        name: C1 to C13.
        statement: In short.
        place: Where the paper makes it.
        kind: How it is judged: `above` (arm a above arm b), `not_above` (arm a not above arm b), `best` (arm a above
            each of the others), `correlation`, `losses`, or `later` (nothing measures it yet).
        arms: Arm a, then arm b or all the others.
        table: The paper's table whose comparisons are one family for Holm's correction.
        rule: The verdict's rule, for readers.
    """

    name: str
    statement: str
    place: str
    kind: str
    arms: tuple[str, ...] = ()
    table: int | None = None
    rule: str = ""


_ABOVE = "holds if the difference is above zero with p (Holm) below 0.05, does not hold if below zero likewise"
CLAIMS = (
    Claim(
        "C1",
        "DAPT gains more the farther the domain's words lie from the base encoder's text",
        "section 3.1",
        "correlation",
        rule="holds if the rank correlation over tasks is above zero: its interval, and p (permutation) below 0.05",
    ),
    Claim("C2", "DAPT scores above the base encoder", "Table 3", "above", ("dapt", "base"), 3, _ABOVE),
    Claim("C3", "DAPT scores above not-DAPT", "Table 3", "above", ("dapt", "not_dapt"), 3, _ABOVE),
    Claim(
        "C4",
        "not-DAPT is not better than the base encoder",
        "Table 3",
        "not_above",
        ("not_dapt", "base"),
        3,
        "does not hold if the difference is above zero with p (Holm) below 0.05; else holds if the 95 % interval, "
        f"not corrected, ends below {MARGIN} point",
    ),
    Claim("C5", "TAPT scores above the base encoder", "Table 5", "above", ("tapt", "base"), 5, _ABOVE),
    Claim(
        "C6",
        "DAPT then TAPT is the best of base, DAPT, TAPT and itself",
        "Table 5",
        "best",
        ("dapt_tapt", "base", "dapt", "tapt"),
        5,
        "holds if it is above each of the three, the largest p (Holm) below 0.05; does not hold if it is below one of "
        "them likewise; the effect is the difference to the arm that comes closest",
    ),
    Claim("C7", "TAPT scores above transfer-TAPT", "Table 6", "above", ("tapt", "transfer_tapt"), 6, _ABOVE),
    Claim("C8", "curated TAPT scores above TAPT, and is best after DAPT", "Table 7", "later"),
    Claim("C9", "TAPT with nearest neighbours scores above TAPT", "Table 8", "later"),
    Claim("C10", "nearest neighbours are worth more than as many random texts", "Table 8", "later"),
    Claim("C11", "more neighbours come closer to DAPT", "Table 8", "later"),
    Claim(
        "C12",
        "DAPT lowers the masked-LM loss on its own domain and raises it on the base encoder's text",
        "Tables 1 and 12",
        "losses",
        rule="holds if both mean changes over domains lie on their sides of zero, by their intervals (t over domains)",
    ),
    Claim("C13", "TAPT costs a fraction of DAPT's time and storage", "Table 9", "later"),
)


@dataclass(frozen=True)
class Evidence:
    """What a study has found so far; what it lacks is None, or missing from the arms.

    Attributes:
        resamples: By task, over the arms that have run.
        correlation: Of DAPT's gain with the distance by shared words, as `comparisons.gain_correlation` gives it.
        forgetting: Columns own_change and base_text_change, a row a domain.
    """

    resamples: Mapping[str, Resamples] = field(default_factory=dict)
    correlation: Mapping[str, float] | None = None
    forgetting: pd.DataFrame | None = None

    @property
    def arms(self) -> set[str]:
        """The arms that have run on every task."""
        of_tasks = [set(of_task.arms) for of_task in self.resamples.values()]
        return set.intersection(*of_tasks) if of_tasks else set()


@dataclass(frozen=True)
class Effect:
    """A difference in points of F1 on one task or over all, before correction."""

    scope: str
    estimate: float
    low: float
    high: float
    p_value: float


Comparer = Callable[[str, str], list[Effect]]  # effects of arm a over arm b: each task's, and then that over all


def judge(evidence: Evidence) -> pd.DataFrame:
    """Judge every claim by our evidence, and by the paper's own numbers.

    Returns:
        Columns claim, statement, place, study (`ours` or `paper`), scope (a task, or `all tasks`), effect (points of
        F1; a rank correlation; nats), effect_low, effect_high, p_value, p_adjusted, verdict.
    """
    ours = _compare_by(evidence.resamples)
    rows = []
    for study, compare, arms in (("ours", ours, evidence.arms), ("paper", _compare_paper, None)):
        of_tables = {t: _judge_table(t, compare, arms) for t in dict.fromkeys(c.table for c in CLAIMS if c.table)}
        for claim in CLAIMS:
            if claim.table is not None:
                found = of_tables[claim.table][claim.name]
            elif claim.kind == "correlation":
                found = _judge_correlation(evidence.correlation if study == "ours" else _paper_correlation())
            elif claim.kind == "losses":
                found = _judge_losses(evidence.forgetting if study == "ours" else _paper_forgetting())
            else:
                found = [_not_run()] if study == "ours" else []
            shared = {"claim": claim.name, "statement": claim.statement, "place": claim.place, "study": study}
            rows += [shared | row for row in found]
    columns = ["claim", "statement", "place", "study", "scope", "effect", "effect_low", "effect_high"]
    return pd.DataFrame(rows, columns=[*columns, "p_value", "p_adjusted", "verdict"])


# Comparisons of arms -------------------------------------------------------------------------------------------


def _compare_by(resamples: Mapping[str, Resamples]) -> Comparer:
    def compare(arm_a: str, arm_b: str) -> list[Effect]:
        by_task = comparisons.differences(resamples, arm_a, arm_b)
        rows = {**by_task, ALL_TASKS: comparisons.mean_difference(by_task)}
        return [Effect(s, 100 * d.estimate, 100 * d.low, 100 * d.high, d.p_value) for s, d in rows.items()]

    return compare


def _compare_paper(arm_a: str, arm_b: str) -> list[Effect]:
    """Compare two arms by the paper's means and standard deviations: Welch's test, since nothing can be paired.

    Table 5 is asked before Table 3 and 6, all of which share arms.
    """
    tables = (paper.table5(), paper.table3(), paper.table6())
    table = next(t for t in tables if {f"{arm_a}_mean", f"{arm_b}_mean"} <= set(t))
    moments = [f"{arm}_{part}" for arm in (arm_a, arm_b) for part in ("mean", "std")]
    names = paper.table2().set_index("task")["name"]
    effects = [
        Effect(names[task], *comparisons.welch_from_moments(*row[moments].astype(float), PAPER_SEEDS))
        for task, row in table.iterrows()
    ]
    return [*effects, _paper_mean(table[moments].astype(float))]


def _paper_mean(moments: pd.DataFrame) -> Effect:
    """Average the paper's differences over tasks, their variances with them (Welch and Satterthwaite)."""
    mean_a, std_a, mean_b, std_b = (moments[column].to_numpy() for column in moments)
    parts = np.concatenate([std_a, std_b]) ** 2 / PAPER_SEEDS / len(moments) ** 2
    error, df = math.sqrt(parts.sum()), parts.sum() ** 2 / ((parts**2).sum() / (PAPER_SEEDS - 1))
    estimate, half = float((mean_a - mean_b).mean()), error * stats.t.ppf((1 + comparisons.CONFIDENCE) / 2, df)
    p_value = 2 * float(stats.t.sf(abs(estimate) / error, df))
    return Effect(ALL_TASKS, estimate, estimate - half, estimate + half, p_value)


def _judge_table(table: int, compare: Comparer, arms: set[str] | None) -> dict[str, list[dict]]:
    """Judge the claims that rest on one table: its comparisons are corrected together, tasks and means apart.

    A comparison whose arms have not run counts with p = 1, so that a verdict reached before them stands after them.

    Args:
        arms: Those that have run; None where all have.
    """
    claims = [claim for claim in CLAIMS if claim.table == table]
    ready = [claim for claim in claims if arms is None or set(claim.arms) <= arms]
    pairs = _pairs(ready)
    adjusted = _adjust({pair: compare(*pair) for pair in pairs}, num_missing=len(_pairs(claims)) - len(pairs))
    found = {claim.name: [_not_run()] for claim in claims}
    for claim in ready:
        judged = _JUDGES[claim.kind]
        by_pair = [adjusted[claim.arms[0], other] for other in claim.arms[1:]]
        found[claim.name] = [judged([of_pair[place] for of_pair in by_pair]) for place in range(len(by_pair[0]))]
    return found


def _pairs(claims: Sequence[Claim]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((claim.arms[0], other) for claim in claims for other in claim.arms[1:]))


def _adjust(
    effects: Mapping[tuple[str, str], Sequence[Effect]], num_missing: int
) -> dict[tuple[str, str], list[tuple[Effect, float]]]:
    """Set beside every effect its p-value after Holm's correction, over the tasks' family or that of the means.

    Args:
        num_missing: Comparisons of the same families that have not run.
    """
    adjusted = {}
    for of_means in (False, True):
        places = [
            (pair, k) for pair, row in effects.items() for k, e in enumerate(row) if (e.scope == ALL_TASKS) == of_means
        ]
        missing = [1.0] * (num_missing * len(places) // max(1, len(effects)))
        values = comparisons.holm([effects[pair][k].p_value for pair, k in places] + missing)
        adjusted |= dict(zip(places, values[: len(places)], strict=True))
    return {pair: [(e, float(adjusted[pair, k])) for k, e in enumerate(row)] for pair, row in effects.items()}


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


def _judge_above(found: list[tuple[Effect, float]]) -> dict:
    (effect, p_adjusted) = found[0]
    verdict = {1: HOLDS, -1: DOES_NOT_HOLD, 0: UNDECIDED}[_sides(effect, p_adjusted)]
    return _row(effect, p_adjusted, verdict)


def _judge_not_above(found: list[tuple[Effect, float]]) -> dict:
    (effect, p_adjusted) = found[0]
    if _sides(effect, p_adjusted) == 1:
        return _row(effect, p_adjusted, DOES_NOT_HOLD)
    return _row(effect, p_adjusted, HOLDS if effect.high < MARGIN else UNDECIDED)


def _judge_best(found: list[tuple[Effect, float]]) -> dict:
    """Judge arm a against all others: every comparison must hold (intersection-union), one lost comparison refutes."""
    sides = [_sides(*pair) for pair in found]
    closest, p_adjusted = min(found, key=lambda pair: pair[0].estimate)
    verdict = DOES_NOT_HOLD if -1 in sides else HOLDS if all(side == 1 for side in sides) else UNDECIDED
    return _row(closest, p_adjusted if verdict == DOES_NOT_HOLD else max(p for _, p in found), verdict)


_JUDGES = {"above": _judge_above, "not_above": _judge_not_above, "best": _judge_best}


# Correlation and losses ----------------------------------------------------------------------------------------


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
        "rank correlation; C12: nats); `p` is corrected for the comparisons of the table (Holm), tasks and means "
        "apart.\n",
        _markdown(_shown_overview(overview(judged))),
    ]
    for claim in CLAIMS:
        rows = judged[judged["claim"] == claim.name]
        if claim.kind == "later" or set(rows["verdict"]) == {NOT_RUN}:
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
