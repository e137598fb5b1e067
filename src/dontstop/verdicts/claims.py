"""The paper's claims as data, and what our runs and the paper's own numbers say of each."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from dontstop import paper
from dontstop.runs import arms
from dontstop.verdicts import effects, losses
from dontstop.verdicts.aggregates import rank_correlation
from dontstop.verdicts.effects import CONFIDENCE, Contrast, in_points, over, welch
from dontstop.verdicts.resampling import NUM_RESAMPLES
from dontstop.verdicts.scores import MEAN

LEVEL = 0.05
# Points of F1. not-DAPT is "not better" where the interval leaves no room for a gain that anybody would train for:
# half of the smaller of the mean gains in the paper's Table 5, which is TAPT's 2.0.
MARGIN = 1.0
FRACTION = 0.5  # of DAPT's costs, below which TAPT's are called a fraction of them
HOLDS, DOES_NOT_HOLD, INCONCLUSIVE, NOT_RUN = "holds", "does not hold", "inconclusive", "not run"
OURS, PAPER = "ours", "paper"
PAPER_SEEDS = 5  # section 3.2 and Appendix B
PAPER_NEIGHBOURS = (50, 150, 500)  # Table 8; the random control has as many texts as the fewest
COLUMNS = ("claim", "statement", "place", "study", "task", "effect", "low", "high", "p_value", "p_holm", "verdict")

# Stand for the arms of all numbers of neighbours alike, for their random controls, and for the two ends.
KNN, RAND, KNN_FEWEST, KNN_MOST = "knn_tapt", "rand_tapt", "knn_tapt_fewest", "knn_tapt_most"
# What is judged beside arms: by name, with the rule that it goes by.
CORRELATION, SECONDS, BYTES = "spearman", "seconds", "bytes"


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        id: C1 to C13.
        statement: In short.
        place: Where the paper makes it.
        contrasts: All must come out as the rules say; those without weights are measured otherwise than by arms'
            scores. Neighbours and random controls stand under names of their own, and are spelt out by `resolved`.
        family: The paper's table whose contrasts are corrected together (Holm); empty for those without arms.
        rules: How each contrast is judged: see `verdict`.
        text: The rule, for readers.
    """

    id: str
    statement: str
    place: str
    contrasts: tuple[Contrast, ...]
    family: str
    rules: tuple[str, ...]
    text: str


def verdict(effect: float, low: float, high: float, p_value: float, rule: str = "above") -> str:
    """Judge an effect by its 95 % interval and its p-value; a part that is not known (NaN) does not count.

    Args:
        low: The interval's lower bound.
        high: Its upper bound.
        p_value: Corrected where the effect belongs to a family.
        rule: `above` or `below` zero; `fraction`: below `FRACTION`; `not_above`: holds if the interval ends below
            `MARGIN`, whatever the p-value, unless the effect lies above zero.

    Returns:
        `holds`, `does not hold` (the effect lies on the other side) or `inconclusive`.
    """
    low, high = (effect if math.isnan(bound) else bound for bound in (low, high))
    bound = FRACTION if rule == "fraction" else 0.0
    significant = not p_value >= LEVEL
    is_above, is_below = significant and low > bound, significant and high < bound
    if rule == "not_above":
        is_above, is_below = is_above, high < MARGIN and not is_above
    if rule == "above":
        is_above, is_below = is_below, is_above
    return HOLDS if is_below else DOES_NOT_HOLD if is_above else INCONCLUSIVE


def joint_verdict(verdicts: Iterable[str]) -> str:
    """Judge what holds only if all its parts do (intersection-union); one part that does not hold refutes it."""
    found = set(verdicts)
    return DOES_NOT_HOLD if DOES_NOT_HOLD in found else HOLDS if found == {HOLDS} else INCONCLUSIVE


_ABOVE = "holds if the difference is above zero with p (Holm) below 0.05, does not hold if below zero likewise"
_ALL_ABOVE = (
    "holds if {} is above each of {}, the largest p (Holm) below 0.05; does not hold if it is below one of them "
    "likewise; the effect is the smallest of the differences"
)


def _claim(id: str, statement: str, table: int, pairs: Sequence[tuple[str, str]], text: str = _ABOVE, rule="above"):
    """Return a claim about the scores of pairs of arms in one of the paper's tables."""
    family = f"table{table}"
    contrasts = tuple(over(a, b, family) for a, b in pairs)
    return Claim(id, statement, f"Table {table}", contrasts, family, (rule,) * len(pairs), text)


CLAIMS = (
    Claim(
        "C1",
        "DAPT gains more the farther the domain's words lie from the base encoder's text",
        "section 3.1",
        (Contrast(CORRELATION, ()),),
        "",
        ("above",),
        "holds if the rank correlation over tasks is above zero: its interval, and p (permutation) below 0.05",
    ),
    _claim("C2", "DAPT scores above the base encoder", 3, [("dapt", "base")]),
    _claim("C3", "DAPT scores above not-DAPT", 3, [("dapt", "not_dapt")]),
    _claim(
        "C4",
        "not-DAPT is not better than the base encoder",
        3,
        [("not_dapt", "base")],
        "does not hold if the difference is above zero with p (Holm) below 0.05; else holds if the 95 % interval, "
        f"not corrected, ends below {MARGIN} point",
        "not_above",
    ),
    _claim("C5", "TAPT scores above the base encoder", 5, [("tapt", "base")]),
    _claim(
        "C6",
        "DAPT then TAPT is the best of base, DAPT, TAPT and itself",
        5,
        [("dapt_tapt", arm) for arm in ("base", "dapt", "tapt")],
        _ALL_ABOVE.format("it", "the three"),
    ),
    _claim("C7", "TAPT scores above transfer-TAPT", 6, [("tapt", "transfer_tapt")]),
    _claim(
        "C8",
        "curated TAPT scores above TAPT, and after DAPT it is the best of Table 7",
        7,
        [("curated_tapt", "tapt"), *(("dapt_curated_tapt", arm) for arm in ("tapt", "dapt_tapt", "curated_tapt"))],
        "holds if curated TAPT is above TAPT, and after DAPT above TAPT, DAPT then TAPT, and curated TAPT, the largest "
        "of the four p (Holm) below 0.05; does not hold if a difference is below zero likewise; the effect is the "
        "smallest of them",
    ),
    _claim(
        "C9",
        "TAPT with nearest neighbours scores above TAPT",
        8,
        [(KNN, "tapt")],
        "the mean over all numbers of neighbours, less TAPT: " + _ABOVE,
    ),
    _claim(
        "C10",
        "nearest neighbours are worth more than as many random texts",
        8,
        [(KNN, RAND)],
        "the mean over all numbers of neighbours, less that of their random controls (the paper: its only control): "
        + _ABOVE,
    ),
    _claim(
        "C11",
        "more neighbours score higher, towards DAPT",
        8,
        [(KNN_MOST, KNN_FEWEST)],
        "the most neighbours less the fewest: " + _ABOVE,
    ),
    Claim(
        "C12",
        "DAPT lowers the masked-LM loss on its own domain and raises it on the base encoder's text",
        "Tables 1 and 12",
        (Contrast(losses.IN_DOMAIN, ()), Contrast(losses.GENERAL, ())),
        "",
        ("below", "above"),
        "holds if both mean changes over domains lie on their sides of zero, by their intervals (t over domains)",
    ),
    Claim(
        "C13",
        "TAPT costs a fraction of DAPT's time and storage",
        "Table 9",
        (Contrast(SECONDS, ()), Contrast(BYTES, ())),
        "",
        ("fraction", "fraction"),
        f"holds if both ratios of TAPT to DAPT, of CPU-seconds and of bytes of text, lie below {FRACTION} by "
        "their intervals (geometric mean, t over tasks of the logarithms; the paper: steps and bytes of RCT-500, no "
        "intervals), does not hold if one lies above",
    ),
)


# Contrasts of arms ---------------------------------------------------------------------------------------------


def resolved(contrast: Contrast, num_neighbours: Sequence[int], of_control: Sequence[int]) -> Contrast:
    """Spell a contrast's families of arms out: its weights by arm, none of them zero.

    Where one side has no arms, as with one number of neighbours, whose fewest and most are the same, none is left.

    Args:
        num_neighbours: The numbers of neighbours, ascending.
        of_control: Those that have a random control.
    """
    knn, rand = [arms.knn_tapt(k) for k in num_neighbours], [arms.rand_tapt(k) for k in of_control]
    members = {KNN: knn, RAND: rand, KNN_FEWEST: knn[:1], KNN_MOST: knn[-1:]}
    weights: dict[str, float] = {}
    for name, weight in contrast.weights:
        for arm in members.get(name, [name]):
            weights[effects.name_of(arm)] = weights.get(arm, 0.0) + weight / len(members.get(name, [name]))
    weights = {arm: weight for arm, weight in weights.items() if weight}
    is_sound = len(weights) > 1 and abs(sum(weights.values())) < 1e-9
    return replace(contrast, weights=tuple(weights.items()) if is_sound else ())


def contrasts_of(claims: Iterable[Claim], num_neighbours: Sequence[int], of_control: Sequence[int]) -> list[Contrast]:
    """List the contrasts of arms that claims rest on, families of arms spelt out, each once."""
    found = {c.name: resolved(c, num_neighbours, of_control) for claim in claims for c in claim.contrasts if c.weights}
    return list(found.values())


def _paper_effects() -> pd.DataFrame:
    """Compare arms by the paper's means and standard deviations: Welch's test, since nothing can be paired.

    Tables 7 and 8 have their own; of the others Table 5 is asked before Tables 3 and 6, all of which share arms.
    """
    own = {"table7": (paper.table7(),), "table8": (paper.table8(),)}
    names, rows = paper.task_names(), []
    for contrast in contrasts_of(CLAIMS, PAPER_NEIGHBOURS, PAPER_NEIGHBOURS[:1]):
        shares = contrast.shares()
        wanted = [f"{arm}_{part}" for arm in shares for part in ("mean", "std")]
        tables = own.get(contrast.family, (paper.table5(), paper.table3(), paper.table6()))
        table = next(table for table in tables if set(wanted) <= set(table))[wanted].astype(float)
        weights = np.array(list(shares.values()))
        means, stds = table[wanted[::2]].to_numpy() @ weights, np.abs(table[wanted[1::2]].to_numpy() * weights)
        found = {names[task]: welch(means[[k]], stds[[k]], PAPER_SEEDS) for k, task in enumerate(table.index)}
        found[MEAN] = welch(means, stds, PAPER_SEEDS)
        shared = {"contrast": contrast.name, "family": contrast.family}
        rows += [shared | {"task": task} | in_points(one, 1.0) for task, one in found.items()]
    table = pd.DataFrame(rows)
    return table.assign(p_holm=effects.corrected(table, table.groupby("family")["contrast"].nunique()))


# Correlation, losses and costs ---------------------------------------------------------------------------------


def _measured(correlation: Mapping | None, forgetting: pd.DataFrame | None, cost_ratios: pd.DataFrame | None):
    """Return what is judged beside arms' scores, as rows like those of `effects`; what is None gives none.

    Each domain's encoder is one run, so the domains are the sample of the losses; of the costs it is the tasks.
    """
    rows = []
    if correlation is not None:
        bounds = {name: correlation[name] for name in ("low", "high", "p_value")}
        rows.append({"contrast": CORRELATION, "effect": correlation[CORRELATION], **bounds})
    if forgetting is not None and len(forgetting) > 1:
        for name in (losses.IN_DOMAIN, losses.GENERAL):
            changes = forgetting[name].to_numpy(float)
            found = stats.ttest_1samp(changes, 0.0)
            low, high = found.confidence_interval(CONFIDENCE)
            rows.append({"contrast": name, "effect": changes.mean(), "low": low, "high": high, "p_value": found.pvalue})
    # What others paid for their encoders is not known, and leaves the ratios without a number.
    if cost_ratios is not None and len(cost_ratios) and np.isfinite(cost_ratios[[SECONDS, BYTES]].to_numpy()).all():
        rows += [_geometric(name, cost_ratios[name].to_numpy(float)) for name in (SECONDS, BYTES)]
    table = pd.DataFrame(rows, columns=["contrast", "effect", "low", "high", "p_value"])
    return table.assign(task=MEAN, p_holm=table["p_value"])


def _geometric(name: str, ratios: np.ndarray) -> dict[str, object]:
    row = {"contrast": name, "effect": float(stats.gmean(ratios)), "p_value": math.nan}
    if len(ratios) < 2 or np.ptp(ratios) == 0:
        return row | {"low": math.nan, "high": math.nan}
    low, high = np.exp(stats.ttest_1samp(np.log(ratios), 0.0).confidence_interval(CONFIDENCE))
    return row | {"low": low, "high": high}


def _paper_measured() -> pd.DataFrame:
    table, costs = paper.dapt_gains(), paper.table9().set_index("arm")
    found = rank_correlation(-table["vocabulary_overlap"].to_numpy(float), table["gain"].to_numpy(float))
    correlation = {CORRELATION: found[0], "low": math.nan, "high": math.nan, "p_value": found[1]}
    ratios = costs.loc["tapt"] / costs.loc["dapt"]
    ratios = pd.DataFrame({SECONDS: [ratios["num_steps"]], BYTES: [ratios["num_bytes"]]})
    return _measured(correlation, losses.paper_forgetting(), ratios)


# Judging -------------------------------------------------------------------------------------------------------


def judge(
    runs: pd.DataFrame,
    truth: Mapping[str, np.ndarray],
    *,
    names: Sequence[str] | None = None,
    num_neighbours: Sequence[int] = (),
    correlation: Mapping[str, float] | None = None,
    forgetting: pd.DataFrame | None = None,
    cost_ratios: pd.DataFrame | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> pd.DataFrame:
    """Judge some of the claims, or all, by our evidence as far as it is there, and by the paper's own numbers.

    Only the arms that these claims need are looked at, so that a notebook's verdicts rest on its own arms and those
    before it.

    Args:
        runs: As `effects` takes them.
        truth: As `effects` takes it.
        names: Of claims.
        num_neighbours: Of Table 8's arms.
        correlation: Of DAPT's gain with the distance by vocabulary overlap: a row of `gain_correlations`.
        forgetting: Columns in_domain_delta_loss and general_delta_loss, a row a domain.
        cost_ratios: Columns seconds and bytes, TAPT's by DAPT's, a row a task.

    Returns:
        Columns claim, statement, place, study (`ours` or `paper`), task (a task; a measure; `mean`, the claim as a
        whole), effect (points of F1; a rank correlation; nats; a ratio), low, high, p_value, p_holm, verdict.
    """
    numbers = sorted(num_neighbours)
    chosen = [claim for claim in CLAIMS if names is None or claim.id in names]
    wanted = {arm for contrast in contrasts_of(chosen, numbers, numbers) for arm in contrast.shares()}
    families = [claim for claim in CLAIMS if claim.family in {c.family for c in chosen}]
    of_arms = effects.effects(
        runs[runs["arm"].isin(wanted)], contrasts_of(families, numbers, numbers), truth, num_resamples=num_resamples
    )
    ours = pd.concat([of_arms, _measured(correlation, forgetting, cost_ratios)])
    theirs = pd.concat([_paper_effects(), _paper_measured()])
    rows = [row for study, found in ((OURS, ours), (PAPER, theirs)) for row in judge_effects(found, chosen, study)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def judge_effects(found: pd.DataFrame, claims: Iterable[Claim], study: str) -> list[dict[str, object]]:
    """Judge claims by effects: each row that a claim's contrasts have is judged, and then they are put together.

    Args:
        found: Columns contrast, task, effect, low, high, p_value, p_holm.
    """
    by_contrast = dict(list(found.groupby("contrast")))
    rows = []
    for claim in claims:
        parts = [by_contrast.get(contrast.name) for contrast in claim.contrasts]
        shared = {"claim": claim.id, "statement": claim.statement, "place": claim.place, "study": study}
        if any(part is None for part in parts):
            rows.append(shared | {"task": MEAN, "verdict": NOT_RUN})
            continue
        judged = pd.concat(
            [
                part.assign(verdict=[verdict(r.effect, r.low, r.high, r.p_holm, rule) for r in part.itertuples()])
                for part, rule in zip(parts, claim.rules, strict=True)
            ]
        )
        rows += [shared | row for row in (_by_task(judged) if claim.family else _by_measure(judged))]
    return rows


_NUMBERS = ["effect", "low", "high", "p_value", "p_holm", "verdict"]


def _by_task(judged: pd.DataFrame) -> list[dict[str, object]]:
    """Put the contrasts of a claim together task by task; the effect shown is the smallest."""
    rows = []
    for task, group in judged.groupby("task", sort=False):
        whole = joint_verdict(group["verdict"])
        closest = group.loc[group["effect"].to_numpy() == group["effect"].min(), _NUMBERS].iloc[0].to_dict()
        largest = closest["p_holm"] if whole == DOES_NOT_HOLD else group["p_holm"].max()
        rows.append({"task": task} | closest | {"p_holm": largest, "verdict": whole})
    return rows


def _by_measure(judged: pd.DataFrame) -> list[dict[str, object]]:
    """List the measures of a claim, and the claim as a whole, which has no number of its own where they are several."""
    rows = [{"task": row["contrast"]} | {name: row[name] for name in _NUMBERS} for _, row in judged.iterrows()]
    if len(rows) == 1:
        return [rows[0] | {"task": MEAN}]
    return [*rows, {"task": MEAN, "verdict": joint_verdict(judged["verdict"])}]


def overview(judged: pd.DataFrame) -> pd.DataFrame:
    """Tabulate a row a claim: our verdict over all tasks with its effect, in how many tasks it holds, the paper's.

    Returns:
        Columns claim, statement, place, ours, effect, low, high, p_holm, tasks, paper, paper_effect, paper_tasks.
    """
    rows = []
    for (claim, statement, place), of_claim in judged.groupby(["claim", "statement", "place"], sort=False):
        ours, theirs = (of_claim[of_claim["study"] == study] for study in (OURS, PAPER))
        whole, paper_whole = (part[part["task"] == MEAN].iloc[0] for part in (ours, theirs))
        row = {"claim": claim, "statement": statement, "place": place, "ours": whole["verdict"]}
        row |= {name: whole[name] for name in ("effect", "low", "high", "p_holm")} | {"tasks": _counts(ours)}
        row |= {"paper": paper_whole["verdict"], "paper_effect": paper_whole["effect"], "paper_tasks": _counts(theirs)}
        rows.append(row)
    return pd.DataFrame(rows)


def _counts(of_claim: pd.DataFrame) -> str:
    """Say in how many tasks a claim holds, does not, or is inconclusive."""
    measures = {contrast.name for claim in CLAIMS if not claim.family for contrast in claim.contrasts}
    verdicts = of_claim.loc[~of_claim["task"].isin({MEAN, *measures}), "verdict"]
    counts = [(word, int((verdicts == word).sum())) for word in (HOLDS, DOES_NOT_HOLD, INCONCLUSIVE)]
    return ", ".join(f"{number} {word}" for word, number in counts if number) or "-"
