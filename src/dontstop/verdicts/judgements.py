"""The claims judged: by our runs as far as they are there, and by the paper's own numbers."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from dontstop import paper
from dontstop.design import arms
from dontstop.verdicts import claims as claimed
from dontstop.verdicts import effects, gains, losses
from dontstop.verdicts.claims import BYTES, CLAIMS, DAPT, FLOPS, MARGIN, RISE, TESTED, Claim, within_margin
from dontstop.verdicts.effects import Contrast, rows_of, welch_effects
from dontstop.verdicts.scores import MEAN

OURS, PAPER = "ours", "paper"
PAPER_SEEDS = 5  # section 3.2 and Appendix B
PAPER_NEIGHBOURS = (50, 150, 500)  # Table 8; its one random control has as many texts as the fewest
ONE_REPLICATE = "one replicate: an interval needs two"
NO_MARGIN = "no margin: DAPT's own gain is not shown"
INTERVAL = ["effect", "low", "high"]
NUMBERS = (*INTERVAL, "p_value", "p_holm", "detectable", "margin", "num_replicates", "verdict", "reason")
_OUTCOMES = (claimed.HOLDS, claimed.DOES_NOT_HOLD, claimed.EQUIVALENT)


def resolved(
    contrast: Contrast, available: Iterable[str], num_neighbours: Sequence[int] = (), num_controls: int | None = None
) -> Contrast:
    """Spell out what stands for several arms or for one of several: the weights by arm, none of them zero.

    `not_dapt` is the mean of the not-DAPT arms that there are; `knn_tapt` and `rand_tapt` that of all numbers of
    neighbours; no neighbours are TAPT's own text, unless TAPT has run at the neighbours' settings (`knn_tapt_0`). Where
    one side has no arms, as with one number of neighbours, whose fewest and most are the same, no weights are left.

    Args:
        available: Names of the arms that have run.
        num_neighbours: Ascending; the first `num_controls` of them have a random control, all unless given.
    """
    there, knn = set(available), [arms.knn_tapt(k).name for k in num_neighbours]
    rand = [arms.rand_tapt(k).name for k in num_neighbours[:num_controls]]
    members = {claimed.KNN: knn, claimed.RAND: rand, claimed.KNN_FEWEST: knn[:1], claimed.KNN_MOST: knn[-1:]}
    members[claimed.NO_NEIGHBOURS] = [claimed.NO_NEIGHBOURS if claimed.NO_NEIGHBOURS in there else "tapt"]
    irrelevant = [name for name in gains.DAPT_ARMS[1:] if name in there]
    members[claimed.NOT_DAPT] = irrelevant or [claimed.NOT_DAPT]
    sides = [(members.get(arm, [arm]), weight) for arm, weight in contrast.weights]
    weights = tuple((arm, weight / len(some)) for some, weight in sides for arm in some)
    found = replace(contrast, weights=weights)
    is_sound = len(found.shares()) > 1 and all(some for some, _ in sides)
    return replace(found, weights=tuple(found.shares().items()) if is_sound else ())


def contrasts_of(claims: Iterable[Claim], *how) -> list[Contrast]:
    """List the contrasts of arms that claims rest on, each once; what stands for several arms is `resolved` so."""
    parts = {c.name: c for claim in claims for c in claim.contrasts if c.weights}
    return [resolved(contrast, *how) for contrast in parts.values()]


def with_margins(contrasts: Iterable[Contrast]) -> list[Contrast]:
    """Add to each contrast those that place it within the margin, half of DAPT's own effect on either side of zero."""
    return [some for contrast in contrasts for some in (contrast, *within_margin(contrast))]


# The rise of DAPT's gain and what places it within the margin, by name: what share of DAPT's mean gain is added to it.
_RISE_PARTS = zip(with_margins([Contrast(RISE, ())]), (0.0, -MARGIN, MARGIN), strict=True)
RISES = {contrast.name: share for contrast, share in _RISE_PARTS}


@functools.cache
def paper_effects() -> pd.DataFrame:
    """Return what the paper's numbers say, as rows like those of `effects`: by means and deviations over five seeds.

    Tables 7 and 8 have their own; of the others Table 5 is asked before Tables 3 and 6, all of which share arms. A
    margin is known where the table has DAPT and the base encoder. The paper has no replicates, so its intervals speak
    of one pretraining run; its losses are of single runs and have no interval at all.
    """
    moments = {k: _paper_moments(getattr(paper, f"table{k}")()) for k in (5, 3, 6, 7, 8)}
    found, own = [], {"Table 7": (7,), "Table 8": (8,)}
    for claim in (claim for claim in CLAIMS if claim.of_scores):
        tables = own.get(claim.place, (5, 3, 6))
        there = {arm for k in tables for arm in moments[k]["arm"]}
        for contrast in contrasts_of([claim], there, PAPER_NEIGHBOURS, 1):
            asked = (moments[k] for k in tables if set(contrast.shares()) <= set(moments[k]["arm"]))
            found.append(welch_effects(next(asked), with_margins([contrast]), PAPER_SEEDS))
    changed = losses.paper_forgetting()[[losses.IN_DOMAIN, losses.GENERAL]].mean().to_frame().T
    return pd.concat([*found, _paper_rise(moments[3]), rows_of(changed)], ignore_index=True)


def _paper_rise(moments: pd.DataFrame) -> pd.DataFrame:
    """Return the rise of DAPT's gain from the nearest domain to the farthest, by Table 3 and Figure 2."""
    of_tasks = paper.dapt_gains().set_index("name")
    far = 100 - of_tasks.drop_duplicates("domain").set_index("domain")["vocabulary_overlap"]
    some = welch_effects(moments, [DAPT], PAPER_SEEDS).query("task != @MEAN").set_index("task")
    weights, rows = gains.rise_weights(of_tasks["domain"], far.astype(float)), []
    for name, share in RISES.items():
        weighted = (weights + share / len(weights))[some.index]
        variances = (weighted * some["standard_error"]).to_numpy() ** 2
        found = effects.welch(weighted @ some["effect"], variances, some["df"].to_numpy())
        rows.append({"contrast": name, "task": MEAN, "num_replicates": 1} | found)
    return pd.DataFrame(rows)


def _paper_moments(table: pd.DataFrame) -> pd.DataFrame:
    """Return one of the paper's tables in long form: columns arm, task (as the paper spells it), mean, std."""
    numbers = table[[column for column in table if column.endswith(("_mean", "_std"))]].astype(float)
    numbers.columns = pd.MultiIndex.from_tuples([column.rsplit("_", 1) for column in numbers], names=["arm", None])
    numbers.index = pd.Index(table.index.map(paper.task_names()), name="task")
    return numbers.stack("arm", future_stack=True).reset_index()


def judge(
    runs: pd.DataFrame,
    *,
    names: Sequence[str] | None = None,
    num_neighbours: Sequence[int] = (),
    distances: pd.Series | None = None,
    changes: pd.DataFrame | None = None,
    cost_ratios: pd.DataFrame | None = None,
    score: str = "test_score",
) -> pd.DataFrame:
    """Judge some of the claims, or all, by our evidence as far as it is there, and by the paper's own numbers.

    Only the arms that these claims need are looked at, so that a notebook's verdicts rest on its own arms and those
    before it. The family is whole all the same: what is said early is no bolder than what is said in the end.

    Single tasks come second: they are judged within claims that hold, corrected for the claim's tasks.

    Args:
        runs: As `effects` takes them, with the tasks' domains for C1.
        names: Of claims.
        num_neighbours: Of Table 8's arms.
        distances: Of each domain from the general text, by domain, for C1.
        changes, cost_ratios: As `losses.changes` and `costs.ratios` return them, for C12 and C13.

    Returns:
        Columns claim, statement, place, study (`ours` or `paper`), task (a task; a measure; `mean`, the claim as a
        whole), effect (points of F1; nats; a ratio), low, high, p_value (of the verdict's outcome; of the nearest, if
        inconclusive), p_holm, detectable, margin (points: within which it would be equivalent), num_replicates,
        verdict, reason (why there can be none, if so).
    """
    chosen = [claim for claim in CLAIMS if names is None or claim.id in names]
    parts = [_of_arms(runs, chosen, sorted(num_neighbours), score)]
    if distances is not None and "C1" in {claim.id for claim in chosen}:
        parts.append(_rise_rows(runs, distances, score))
    if changes is not None and len(changes):
        parts.append(rows_of(changes.groupby("replicate")[[losses.IN_DOMAIN, losses.GENERAL]].mean()))
    ours = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    rows = judge_effects(ours, chosen, OURS, cost_ratios)
    rows += judge_effects(paper_effects(), chosen, PAPER, _paper_ratios())
    table = pd.DataFrame(rows, columns=["claim", "statement", "place", "study", "task", *NUMBERS])
    return table.assign(reason=table["reason"].fillna(""))


def _of_arms(runs: pd.DataFrame, chosen: Sequence[Claim], neighbours: Sequence[int], score: str) -> pd.DataFrame:
    """Compare the arms that some claims need, for all claims that these arms suffice for."""
    there = set(runs["arm"])
    wanted = {arm for c in contrasts_of(chosen, there, neighbours) for arm in c.shares()} | set(DAPT.shares())
    contrasts = with_margins(contrasts_of(CLAIMS, there & wanted, neighbours))
    return effects.effects(runs[runs["arm"].isin(wanted)], contrasts, score=score)


def _paper_ratios() -> pd.DataFrame:
    costs = paper.table9().set_index("arm")
    return (costs.loc[["tapt"]] / costs.loc["dapt"]).rename(columns={"num_steps": FLOPS, "num_bytes": BYTES})


def _rise_rows(runs: pd.DataFrame, distances: pd.Series, score: str) -> pd.DataFrame:
    """Return the rise of DAPT's gain with the distance, and what places it within the margin, as rows of `effects`."""
    rise = gains.rises(runs, distances, DAPT, score=score)
    if not len(rise):
        return pd.DataFrame()
    gained = effects.of_replicates(runs, DAPT, score=score).mean(axis=1)
    return rows_of(pd.DataFrame({name: rise + share * gained for name, share in RISES.items()}))


def judge_effects(found: pd.DataFrame, claims: Iterable[Claim], study: str, ratios=None) -> list[dict[str, object]]:
    """Judge claims by effects (and alike): the family together, of which some are asked for."""
    by_task = {task: rows.set_index("contrast") for task, rows in found.groupby("task", sort=False)}
    whole = by_task.get(MEAN, pd.DataFrame(columns=["effect", "p_value"]))
    evidence, rows = _evidence(whole), []
    family = claimed.judge_family(evidence)
    for claim in claims:
        shared = {"claim": claim.id, "statement": claim.statement, "place": claim.place, "study": study}
        if claim.rule == "fraction":
            rows += [shared | row for row in _costs(claim, ratios)]
        elif claimed.p_values(claim, evidence) is None:
            rows.append(shared | {"task": MEAN, "verdict": claimed.NOT_RUN})
        else:
            place = TESTED.index(claim)
            judged = _shown(claim, whole, *(part[place] for part in family)) | {"task": MEAN}
            rows += [shared | row for row in [*_within(claim, by_task, judged["verdict"]), judged]]
    return rows


def _evidence(rows: pd.DataFrame) -> dict[str, tuple]:
    return {name: (row["effect"], row["p_value"]) for name, row in rows.iterrows()}


def _shown(claim: Claim, rows: pd.DataFrame, p_values: np.ndarray, corrected: np.ndarray, verdict) -> dict[str, object]:
    """Return what is shown of a claim: the smallest effect of its parts, and the p-values of its verdict's outcome."""
    row = rows.loc[rows.loc[claim.names, "effect"].astype(float).idxmin()]
    place = _OUTCOMES.index(verdict) if verdict in _OUTCOMES else int(np.argmin(corrected))
    shown = {name: row.get(name) for name in (*INTERVAL, "detectable", "num_replicates")}
    if not (claim.of_scores or len(claim.names) == 1):  # of several measures, none stands for all
        shown = dict.fromkeys((*INTERVAL, "detectable"), np.nan) | {"num_replicates": row["num_replicates"]}
    less, _ = within_margin(claim.contrasts[0])
    if less.name in rows.index:
        shown["margin"] = rows.loc[claim.names[0], "effect"] - rows.loc[less.name, "effect"]
    is_known = not np.isnan(rows.loc[claim.names, "p_value"].astype(float)).any()
    p_value, p_holm = (part[place] if is_known else np.nan for part in (p_values, corrected))
    reason = "" if is_known else ONE_REPLICATE
    if is_known and verdict == claimed.INCONCLUSIVE and p_holm < effects.LEVEL:
        reason = NO_MARGIN
    return shown | {"p_value": p_value, "p_holm": p_holm, "verdict": str(verdict), "reason": reason}


def _within(claim: Claim, by_task: dict[str, pd.DataFrame], whole: str) -> list[dict[str, object]]:
    """Judge a claim's tasks, or its measures, where it holds as a whole; else list them without a verdict."""
    if claim.of_scores:
        parts = {task: (claim, rows) for task, rows in by_task.items() if task != MEAN}
    else:
        measures = [replace(claim, contrasts=(part,)) for part in claim.contrasts]
        parts = {one.names[0]: (one, by_task[MEAN]) for one in measures} if len(measures) > 1 else {}
    found = {name: claimed.p_values(one, _evidence(rows)) for name, (one, rows) in parts.items()}
    found = {name: p for name, p in found.items() if p is not None}
    if not found:
        return []
    p_values = np.stack(list(found.values()))
    corrected = claimed.corrected(p_values)
    is_open = whole == claimed.HOLDS
    verdicts = claimed.verdict(*corrected.T) if is_open else [claimed.NOT_TESTED] * len(found)
    judged = zip(found, p_values, corrected, verdicts, strict=True)
    rows = [{"task": name} | _shown(*parts[name], *numbers) for name, *numbers in judged]
    return rows if is_open else [row | {"p_holm": np.nan, "reason": ""} for row in rows]


def _costs(claim: Claim, ratios: pd.DataFrame | None) -> list[dict[str, object]]:
    """Judge costs, which are counted: what others paid for their encoders is not known, and leaves no number."""
    known = ratios is not None and len(ratios) and np.isfinite(ratios[claim.names].to_numpy(float)).all()
    if not known:
        return [{"task": MEAN, "verdict": claimed.NOT_RUN}]
    means = np.exp(np.log(ratios[claim.names].astype(float)).mean())
    words = {True: claimed.HOLDS, False: claimed.DOES_NOT_HOLD}
    rows = [{"task": name, "effect": of, "verdict": words[of < claimed.FRACTION]} for name, of in means.items()]
    return [*rows, {"task": MEAN, "verdict": words[bool((means < claimed.FRACTION).all())]}]


def papers_rows(judged: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return what the paper's numbers say, of the first profile that was judged by the present rule, or of the first.

    Verdicts are by profile, as `claims.csv` keeps them; those of the design before replicates, whose rule gave the
    paper other ones, lack the column num_replicates.
    """
    tables = sorted(judged.values(), key=lambda table: "num_replicates" not in table)
    return tables[0][tables[0]["study"] == PAPER]


def overview(judged: pd.DataFrame) -> pd.DataFrame:
    """Tabulate a row a claim: our verdict over all tasks with its effect, in how many tasks it holds, the paper's.

    Columns claim, statement, place, ours, effect, low, high, p_holm, detectable, margin, num_replicates, reason, tasks,
    paper, paper_effect, paper_tasks.
    """
    keys, numbers = ["claim", "statement", "place"], [*INTERVAL, "p_holm", "detectable", "margin", "num_replicates"]
    whole = judged[judged["task"] == MEAN].set_index(keys)
    ours, theirs = (whole[whole["study"] == study] for study in (OURS, PAPER))
    counts = judged.groupby([*keys, "study"]).apply(_counts, include_groups=False).unstack().loc[ours.index]
    table = ours[["verdict", *numbers, "reason"]].rename(columns={"verdict": OURS}).assign(tasks=counts[OURS])
    table = table.assign(paper=theirs["verdict"], paper_effect=theirs["effect"], paper_tasks=counts[PAPER])
    return table.reset_index()


def _counts(of_claim: pd.DataFrame) -> str:
    """Say in how many tasks a claim holds, does not, is equivalent or inconclusive; of what is not tested, nothing."""
    measures = {name for claim in CLAIMS if not claim.of_scores for name in claim.names}
    counts = of_claim.loc[~of_claim["task"].isin({MEAN, *measures}), "verdict"].value_counts()
    words = (word for word in (*_OUTCOMES, claimed.INCONCLUSIVE) if word in counts)
    return ", ".join(f"{word} on {counts[word]}" for word in words) or "-"
