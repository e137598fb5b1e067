"""The claims judged: by our runs as far as they are there, and by the paper's own numbers."""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from dontstop import paper
from dontstop.runs import arms
from dontstop.verdicts import claims as claimed
from dontstop.verdicts import effects, losses
from dontstop.verdicts.aggregates import rank_correlation
from dontstop.verdicts.claims import BYTES, CLAIMS, CORRELATION, NOT_RUN, SECONDS, Claim, joint_verdict, verdict
from dontstop.verdicts.effects import CONFIDENCE, Contrast, name_of, welch_effects
from dontstop.verdicts.resampling import NUM_RESAMPLES, Truth
from dontstop.verdicts.scores import MEAN

OURS, PAPER = "ours", "paper"
PAPER_SEEDS = 5  # section 3.2 and Appendix B
PAPER_NEIGHBOURS = (50, 150, 500)  # Table 8; the random control has as many texts as the fewest
NUMBERS = ("effect", "low", "high", "p_value", "p_holm", "verdict")


def resolved(contrast: Contrast, num_neighbours: Sequence[int], of_control: Sequence[int]) -> Contrast:
    """Spell a contrast's families of arms out: its weights by arm, none of them zero.

    Where one side has no arms, as with one number of neighbours, whose fewest and most are the same, none is left.
    Numbers of neighbours are ascending; `of_control` are those with a random control.
    """
    knn, rand = [arms.knn_tapt(k) for k in num_neighbours], [arms.rand_tapt(k) for k in of_control]
    members = {claimed.KNN: knn, claimed.RAND: rand, claimed.KNN_FEWEST: knn[:1], claimed.KNN_MOST: knn[-1:]}
    weights: dict[str, float] = {}
    for name, weight in contrast.weights:
        some = [name_of(arm) for arm in members.get(name, [name])]
        for arm in some:
            weights[arm] = weights.get(arm, 0.0) + weight / len(some)
    weights = {arm: weight for arm, weight in weights.items() if weight}
    is_sound = len(weights) > 1 and abs(sum(weights.values())) < 1e-9
    return replace(contrast, weights=tuple(weights.items()) if is_sound else ())


def contrasts_of(claims: Iterable[Claim], num_neighbours: Sequence[int], of_control: Sequence[int]) -> list[Contrast]:
    """List the contrasts of arms that claims rest on, families of arms spelt out, each once."""
    found = {c.name: resolved(c, num_neighbours, of_control) for claim in claims for c in claim.contrasts if c.weights}
    return list(found.values())


@functools.cache
def _paper_evidence() -> pd.DataFrame:
    """Return what the paper's numbers say, as rows like those of `effects`: arms by means and standard deviations.

    Tables 7 and 8 have their own; of the others Table 5 is asked before Tables 3 and 6, all of which share arms.
    """
    moments = {k: _paper_moments(getattr(paper, f"table{k}")()) for k in (5, 3, 6, 7, 8)}
    contrasts, found = contrasts_of(CLAIMS, PAPER_NEIGHBOURS, PAPER_NEIGHBOURS[:1]), []
    for contrast in contrasts:
        own = {"table7": (7,), "table8": (8,)}.get(contrast.family, (5, 3, 6))
        asked = (moments[k] for k in own if set(contrast.shares()) <= set(moments[k]["arm"]))
        found.append(welch_effects(next(asked), [contrast], PAPER_SEEDS))
    table, gains, costs = pd.concat(found, ignore_index=True), paper.dapt_gains(), paper.table9().set_index("arm")
    rho, p_value = rank_correlation(-gains["vocabulary_overlap"].to_numpy(float), gains["gain"].to_numpy(float))
    correlation = {CORRELATION: rho, "low": math.nan, "high": math.nan, "p_value": p_value}
    ratios = (costs.loc[["tapt"]] / costs.loc["dapt"]).rename(columns={"num_steps": SECONDS, "num_bytes": BYTES})
    measured = _measured(correlation, losses.paper_forgetting(), ratios)
    return pd.concat([table.assign(p_holm=effects.corrected(table, contrasts)), measured])


def _paper_moments(table: pd.DataFrame) -> pd.DataFrame:
    """Return one of the paper's tables in long form: columns arm, task (as the paper spells it), mean, std."""
    numbers = table[[column for column in table if column.endswith(("_mean", "_std"))]].astype(float)
    numbers.columns = pd.MultiIndex.from_tuples([column.rsplit("_", 1) for column in numbers], names=["arm", None])
    numbers.index = pd.Index(table.index.map(paper.task_names()), name="task")
    return numbers.stack("arm", future_stack=True).reset_index()


def _measured(correlation: Mapping | None, forgetting: pd.DataFrame | None, cost_ratios: pd.DataFrame | None):
    """Return what is judged beside arms' scores, as rows like those of `effects`; what is None gives none.

    Each domain's encoder is one run, so the domains are the sample of the losses; of the costs it is the tasks.
    """
    rows = []
    if correlation is not None:
        rows.append([CORRELATION, *(correlation[name] for name in (CORRELATION, "low", "high", "p_value"))])
    if forgetting is not None and len(forgetting) > 1:
        rows += [[name, *_mean_test(forgetting[name].to_numpy(float))] for name in (losses.IN_DOMAIN, losses.GENERAL)]
    # What others paid for their encoders is not known, and leaves the ratios without a number.
    if cost_ratios is not None and len(cost_ratios) and np.isfinite(cost_ratios[[SECONDS, BYTES]].to_numpy()).all():
        logs = np.log(cost_ratios[[SECONDS, BYTES]].to_numpy(float)).T
        rows += [[name, *np.exp(_mean_test(of)[:3]), math.nan] for name, of in zip((SECONDS, BYTES), logs, strict=True)]
    table = pd.DataFrame(rows, columns=["contrast", "effect", "low", "high", "p_value"])
    return table.assign(task=MEAN, p_holm=table["p_value"])


def _mean_test(values: np.ndarray) -> tuple[float, float, float, float]:
    """Return a mean, its interval by Student's t, and the p-value of zero; where nothing varies, the mean alone."""
    if np.ptp(values) == 0:
        return values.mean(), math.nan, math.nan, math.nan
    found = stats.ttest_1samp(values, 0.0)
    return values.mean(), *found.confidence_interval(CONFIDENCE), found.pvalue


def judge(
    runs: pd.DataFrame,
    truth: Truth,
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
        runs: As `effects` takes them, as it does the truth.
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
    own, contrasts = runs[runs["arm"].isin(wanted)], contrasts_of(families, numbers, numbers)
    of_arms = effects.effects(own, contrasts, truth, num_resamples=num_resamples)
    ours = pd.concat([of_arms, _measured(correlation, forgetting, cost_ratios)])
    evidence = ((OURS, ours), (PAPER, _paper_evidence()))
    rows = [row for study, found in evidence for row in judge_effects(found, chosen, study)]
    return pd.DataFrame(rows, columns=["claim", "statement", "place", "study", "task", *NUMBERS])


def judge_effects(found: pd.DataFrame, claims: Iterable[Claim], study: str) -> list[dict[str, object]]:
    """Judge claims by effects (and alike): each row of a claim's contrasts is judged, then they are put together."""
    by_contrast, rows = dict(list(found.groupby("contrast"))), []
    for claim in claims:
        shared = {"claim": claim.id, "statement": claim.statement, "place": claim.place, "study": study}
        if not {contrast.name for contrast in claim.contrasts} <= set(by_contrast):
            rows.append(shared | {"task": MEAN, "verdict": NOT_RUN})
            continue
        parts = zip(claim.contrasts, claim.rules, strict=True)
        judged = pd.concat(by_contrast[contrast.name].assign(rule=rule) for contrast, rule in parts)
        judged["verdict"] = [verdict(r.effect, r.low, r.high, r.p_holm, r.rule) for r in judged.itertuples()]
        rows += [shared | row for row in (_by_task(judged) if claim.family else _by_measure(judged))]
    return rows


def _by_task(judged: pd.DataFrame) -> list[dict[str, object]]:
    """Put the contrasts of a claim together task by task; the effect shown is the smallest."""
    rows = []
    for task, group in judged.groupby("task", sort=False):
        whole = joint_verdict(group["verdict"])
        closest = group.loc[group["effect"].to_numpy() == group["effect"].min(), list(NUMBERS)].iloc[0].to_dict()
        largest = closest["p_holm"] if whole == claimed.DOES_NOT_HOLD else group["p_holm"].max()
        rows.append({"task": task} | closest | {"p_holm": largest, "verdict": whole})
    return rows


def _by_measure(judged: pd.DataFrame) -> list[dict[str, object]]:
    """List the measures of a claim, and the claim as a whole, which has no number of its own where they are several."""
    rows = judged[[*NUMBERS]].assign(task=judged["contrast"]).to_dict("records")
    whole = {"task": MEAN, "verdict": joint_verdict(judged["verdict"])}
    return [*rows, whole] if len(rows) > 1 else [rows[0] | whole]


def overview(judged: pd.DataFrame) -> pd.DataFrame:
    """Tabulate a row a claim: our verdict over all tasks with its effect, in how many tasks it holds, the paper's.

    Returns:
        Columns claim, statement, place, ours, effect, low, high, p_holm, tasks, paper, paper_effect, paper_tasks.
    """
    keys, numbers = ["claim", "statement", "place"], ["effect", "low", "high", "p_holm"]
    whole = judged[judged["task"] == MEAN].set_index(keys)
    ours, theirs = (whole[whole["study"] == study] for study in (OURS, PAPER))
    counts = judged.groupby([*keys, "study"]).apply(_counts, include_groups=False).unstack().loc[ours.index]
    table = ours[["verdict", *numbers]].rename(columns={"verdict": OURS}).assign(tasks=counts[OURS])
    table = table.assign(paper=theirs["verdict"], paper_effect=theirs["effect"], paper_tasks=counts[PAPER])
    return table.reset_index()


def _counts(of_claim: pd.DataFrame) -> str:
    """Say in how many tasks a claim holds, does not, or is inconclusive."""
    measures = {contrast.name for claim in CLAIMS if not claim.family for contrast in claim.contrasts}
    counts = of_claim.loc[~of_claim["task"].isin({MEAN, *measures}), "verdict"].value_counts()
    words = (word for word in (claimed.HOLDS, claimed.DOES_NOT_HOLD, claimed.INCONCLUSIVE) if word in counts)
    return ", ".join(f"{counts[word]} {word}" for word in words) or "-"
