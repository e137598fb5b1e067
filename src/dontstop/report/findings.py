"""What each notebook found, in sentences whose numbers come from frames, whichever way they fall.

Frames are named after the functions that return them: `overview` and `judged` (of `judge`), `effects`, `coverage`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from IPython.display import Markdown
from pandas import DataFrame, Series

from dontstop import paper
from dontstop.report import labels
from dontstop.report.display import listed
from dontstop.report.labels import arm as named
from dontstop.report.labels import signed, spelt
from dontstop.text.tasks import Task
from dontstop.verdicts import domain_gap
from dontstop.verdicts.claims import BYTES, LEVEL, NOT_RUN, SECONDS, verdict
from dontstop.verdicts.losses import GENERAL, IN_DOMAIN, loss_changes
from dontstop.verdicts.scores import MEAN, means

_UNITS = {
    "vocabulary_overlap": ("vocabulary overlap", "{:.1f} %"),
    "jensen_shannon": ("Jensen-Shannon divergence", "{:.3f} bits"),
    "proxy_a_distance": ("proxy A-distance", "{:.2f}"),
    "masked_lm_loss": ("the base encoder's masked-LM loss", "{:.2f} nats"),
}


def _interval(low: float, high: float, decimals: int = 1) -> str:
    return f"95 % interval {signed(low, decimals)} to {signed(high, decimals)}"


def _points(row: Series) -> str:
    return f"{signed(row['effect'])} points ({_interval(row['low'], row['high'])})"


# 01_domain_gap -------------------------------------------------------------------------------------------------


def of_domain_gap(
    measured: DataFrame, agreement: DataFrame, overlap: DataFrame, tasks: Sequence[Task], leaks: Mapping
) -> Markdown:
    """Say in which order the distances put the domains, how far they agree, and what leaks were left."""
    names = [name for name in domain_gap.DISTANCES if measured[name].notna().all()]
    sentences = [_order_sentence(measured, name) for name in names]
    sentences += [_farthest_sentence(measured, names), *_agreement_sentences(agreement), _overlap_sentence(measured)]
    own = sum(overlap.loc[task.name].idxmax() == task.domain for task in tasks)
    near = f"{own} of {len(tasks)} tasks have a larger vocabulary overlap with their own domain than with any other."
    return listed(*sentences, near, _leak_sentence(leaks))


def _nearest_first(measured: DataFrame, name: str) -> DataFrame:
    far = domain_gap.as_distance(name, measured[name].to_numpy(float))
    return measured.iloc[np.argsort(far, kind="stable")]


def _order_sentence(measured: DataFrame, name: str) -> str:
    words, form = _UNITS[name]
    ordered = _nearest_first(measured, name)
    places = ", ".join(f"{spelt(domain)} ({form.format(row[name])})" for domain, row in ordered.iterrows())
    sentence = f"By {words}, from the nearest domain to the farthest: {places}."
    bounds = ordered.get([f"{name}_low", f"{name}_high"])
    if bounds is None or bounds.isna().any(axis=None) or len(ordered) < 2:
        return sentence
    (first_low, first_high), (last_low, last_high) = bounds.iloc[0], bounds.iloc[-1]
    apart = first_high < last_low or last_high < first_low
    return f"{sentence} The intervals of the two ends {'lie apart' if apart else 'overlap'}."


def _farthest_sentence(measured: DataFrame, names: list[str]) -> str:
    farthest = [spelt(_nearest_first(measured, name).index[-1]) for name in names]
    if len(set(farthest)) == 1:
        return f"All {len(names)} distances take the same domain for the farthest: {farthest[0]}."
    votes = ", ".join(f"{domain} ({farthest.count(domain)})" for domain in dict.fromkeys(farthest))
    return f"The {len(names)} distances do not take the same domain for the farthest: {votes}."


def _agreement_sentences(agreement: DataFrame) -> list[str]:
    sentences = []
    for over, group in agreement.dropna(subset="spearman").groupby("over", sort=False):
        found = group["spearman"]
        span = f"{signed(found.min(), 2)} to {signed(found.max(), 2)}"
        positive = f"{int((found > 0).sum())} of {len(found)} pairs of distances agree more than they disagree"
        sentences.append(f"Over {group['num_points'].iloc[0]} {over}: {positive} (rank correlations {span}).")
    return sentences


def _overlap_sentence(measured: DataFrame) -> str:
    ours, theirs = measured["vocabulary_overlap"], paper.figure2()["PT"].drop("PT")
    return (
        f"Our domains' vocabulary overlap with the base encoder's text is {ours.min():.1f} to {ours.max():.1f} % of "
        f"{int(measured['num_words'].iloc[0]):,} frequent words; the paper's {theirs.min():.1f} to {theirs.max():.1f} "
        "% of 10,000. Lists of different lengths give different percentages: compare the orders, not the levels."
    )


def _leak_sentence(left: Mapping) -> str:
    return (
        f"Left in the corpora and held-out samples of dev and test texts: {left['num_exact']:,} exact copies, "
        f"{left['num_contained']:,} contained, {left['num_near_duplicate']:,} near-duplicates; the largest share of "
        f"one text's word 5-grams in one document is {100 * left['max_containment']:.0f} %."
    )


# Sentences of several notebooks --------------------------------------------------------------------------------


def of_claims(overview: DataFrame) -> list[str]:
    """Say of claims about arms: the verdict, the mean difference, the tasks, and what the paper's numbers give."""
    return [_claim_sentence(row) for _, row in overview.iterrows()]


def _claim_sentence(row: Series) -> str:
    if row["ours"] == NOT_RUN:
        return f"*{row['statement']}*: **{NOT_RUN}**."
    found = (
        f"*{row['statement']}*: **{row['ours']}**. Over all tasks the difference is {_points(row)[:-1]}, p = "
        f"{row['p_holm']:.3f} after correction); task by task: {row['tasks']}."
    )
    return (
        f"{found} The paper's own numbers, put through the same rule: **{row['paper']}** "
        f"({signed(row['paper_effect'])}; {row['paper_tasks']})."
    )


def of_degenerate(runs: DataFrame) -> str:
    """Count the classifiers that gave every test text the same label."""
    number = int(runs["degenerate"].astype(bool).sum())
    return f"{number} of {len(runs)} fine-tuned classifiers gave every test text the same label; none is left out."


# 02_dapt -------------------------------------------------------------------------------------------------------


def of_dapt(
    overview: DataFrame,
    judged: DataFrame,
    runs: DataFrame,
    naive_bayes: Series,
    overlap: DataFrame,
    correlations: DataFrame,
    forgetting: DataFrame,
) -> Markdown:
    """Judge DAPT and not-DAPT against the base encoder and each other, the gain's course, and forgetting."""
    return listed(
        *of_claims(overview[overview["claim"].isin(["C2", "C3", "C4"])]),
        _naive_bayes_sentence(runs, naive_bayes),
        *_overlap_sentences(overlap),
        _course_sentence(correlations),
        _loss_sentence("DAPT lowers the masked-LM loss on its own domain", judged, forgetting, IN_DOMAIN, -1),
        _loss_sentence("DAPT raises it on the general text (forgetting)", judged, forgetting, GENERAL, 1),
        of_degenerate(runs),
    )


def _naive_bayes_sentence(runs: DataFrame, naive_bayes: Series) -> str:
    """Say which arms lose to naive Bayes, and where."""
    found = means(runs)[lambda table: table["task"] != MEAN]
    tasks, below = list(dict.fromkeys(found["task"])), []
    for arm, part in found.groupby("arm", sort=False):
        lost = part.loc[part["mean"] < part["task"].map(naive_bayes), "task"].tolist()
        below.append(f"{named(arm)} on {len(lost)}" + (f" ({', '.join(lost)})" if 0 < len(lost) < len(tasks) else ""))
    return (
        f"Naive Bayes, without any encoder, scores {naive_bayes[tasks].mean():.1f} on average. Of {len(tasks)} tasks "
        f"these lose to it: {'; '.join(below)}."
    )


def _overlap_sentences(table: DataFrame) -> list[str]:
    """Say what the test texts that were published in train too are worth; nothing where there are none."""
    return [
        f"{of_task['num_affected'].iloc[0]:,} of {of_task['num_test'].iloc[0]:,} test texts of {task} also stand in "
        "its train or dev, as published. Without them: "
        + ", ".join(f"{named(row.arm)} {signed(row.change)} points" for row in of_task.itertuples())
        + "."
        for task, of_task in table.groupby("task", sort=False)
    ]


def _course_sentence(correlations: DataFrame) -> str:
    found = "; ".join(_correlation_text(name, row) for name, row in correlations.iterrows())
    theirs = paper.dapt_gains()
    names = ("vocabulary_overlap", "masked_lm_loss")
    far = {name: domain_gap.as_distance(name, theirs[name].to_numpy(float)) for name in names}
    in_paper = ", ".join(
        f"{signed(domain_gap.spearman(values, theirs['gain']), 2)} by {_UNITS[name][0]}" for name, values in far.items()
    )
    return (
        f"*DAPT gains more the farther the domain*: {found}. The rank correlation over the paper's eight tasks, taken "
        f"from its tables, is {in_paper}."
    )


def _correlation_text(name: str, row: Series) -> str:
    words = f"by {_UNITS[name][0]}"
    if np.isnan(row["spearman"]):
        return f"{words} not defined, since the tasks do not differ"
    judged = verdict(row["spearman"], row["low"], row["high"], row["p_value"])
    chance = "" if np.isnan(row["p_value"]) else f", p = {row['p_value']:.2f}"
    bounds = _interval(row["low"], row["high"], 2)
    return f"{words} **{judged}** (rank correlation {signed(row['spearman'], 2)}, {bounds}{chance})"


def _loss_sentence(claim: str, judged: DataFrame, forgetting: DataFrame, change: str, sign: int) -> str:
    ours, theirs = (forgetting.loc[forgetting["study"] == study, change] for study in ("ours", "paper"))
    found = judged.loc[(judged["study"] == "ours") & (judged["task"] == change), "verdict"]
    counts = [int((sign * changes > 0).sum()) for changes in (ours, theirs)]
    return (
        f"*{claim}*: **{next(iter(found), NOT_RUN)}**, in {counts[0]} of {len(ours)} domains; mean change "
        f"{signed(ours.mean(), 2)} nats. In the paper: {counts[1]} of {len(theirs)}, {signed(theirs.mean(), 2)} nats."
    )


# 03_tapt, 04_dapt_tapt, 05_transfer_tapt -----------------------------------------------------------------------


def of_tapt(overview: DataFrame, effects: DataFrame, losses: DataFrame, curve: DataFrame, runs) -> Markdown:
    """Judge TAPT against the base encoder, set it beside DAPT, and say what its loss and its course show."""
    over_dapt = effects[(effects["contrast"] == "tapt_minus_dapt") & (effects["task"] == MEAN)].iloc[0]
    change = losses["change"]
    return listed(
        *of_claims(overview),
        f"TAPT less DAPT, over all tasks: {_points(over_dapt)}.",
        f"The masked-LM loss on the task's dev texts fell in {int((change < 0).sum())} of {len(losses)} tasks; mean "
        f"change {signed(change.mean(), 2)} nats, from {signed(change.min(), 2)} to {signed(change.max(), 2)}.",
        *_curve_sentences(curve[curve["split"] == "dev"]),
        of_degenerate(runs),
    )


def _curve_sentences(curve: DataFrame) -> list[str]:
    sentences = []
    for task, rows in curve.groupby("task", sort=False):
        best, last = rows.loc[rows["mean"].idxmax()], rows.iloc[-1]
        sentences.append(
            f"On {spelt(task)} the dev score is highest after {best['num_epochs']:g} epochs of TAPT "
            f"({best['mean']:.1f}; after {last['num_epochs']:g}: {last['mean']:.1f})."
        )
    return sentences


def of_dapt_tapt(
    overview: DataFrame, best: DataFrame, tests: DataFrame, runs: DataFrame, cheap_effects: DataFrame, parts: DataFrame
) -> Markdown:
    """Judge DAPT then TAPT as the best arm, name the likeliest best, and count what unpaired tests would say."""
    mean = best.loc[MEAN].sort_values(ascending=False)
    by_task = best.drop(index=MEAN).idxmax(axis=1)
    counts = ", ".join(f"{named(arm)} {(by_task == arm).sum()}" for arm in best.columns)
    paired, welch = ((tests[column] < LEVEL).sum() for column in ("p_paired", "p_welch"))
    return listed(
        *of_claims(overview),
        f"Over all tasks {named(mean.index[0])} is the likeliest to rank first ({100 * mean.iloc[0]:.0f} % of "
        f"resamples), then {named(mean.index[1])} ({100 * mean.iloc[1]:.0f} %). Tasks on which each is the likeliest: "
        f"{counts}.",
        f"Of {len(tests)} differences on single tasks, {paired} have p below {LEVEL} in the paired test and {welch} in "
        "Welch's, before any correction.",
        *_cheap_sentences(cheap_effects, parts),
        of_degenerate(runs),
    )


def _cheap_sentences(effects: DataFrame, parts: DataFrame) -> list[str]:
    """Say of each arm that trains few parameters how few, and what it brings; nothing where there are none."""
    sentences = []
    for arm, rows in labels.with_arms(effects[effects["task"] == MEAN]).groupby("arm", sort=False):
        share = parts.set_index("arm").loc[arm, "percent_trainable"]
        found = "; ".join(f"to {named(row['other'])}: {_points(row)}" for _, row in rows.iterrows())
        sentences.append(f"{named(arm)} trains {share:.1f} % of the encoder's parameters. Difference {found}.")
    return sentences


def of_transfer_tapt(overview: DataFrame, losses: DataFrame, tasks: Sequence[Task], runs: DataFrame) -> Markdown:
    """Judge transfer-TAPT against TAPT, and say whose texts the encoders have learnt."""
    changes = loss_changes(losses)
    own = [changes.loc[f"tapt_{task.name}", task.name] for task in tasks]
    other = [changes.loc[f"tapt_{task.other_task}", task.name] for task in tasks]
    return listed(
        *of_claims(overview),
        f"On a task's dev texts, its own TAPT encoder changes the masked-LM loss by {signed(np.mean(own), 2)} nats on "
        f"average, that of the domain's other task by {signed(np.mean(other), 2)}; the own one is the lower in "
        f"{sum(a < b for a, b in zip(own, other, strict=True))} of {len(own)} tasks.",
        of_degenerate(runs),
    )


# 06_knn_tapt ---------------------------------------------------------------------------------------------------


def of_knn_tapt(
    overview: DataFrame,
    judged: DataFrame,
    runs: DataFrame,
    coverage: DataFrame,
    agreement: DataFrame,
    selector_effects: DataFrame,
    table9: DataFrame,
) -> Markdown:
    """Judge neighbours, random and curated text, say how much was selected, how methods agree, and what it costs."""
    shares = coverage.groupby("num_neighbours")["percent_of_candidates"].agg(["min", "max"])
    taken = ", ".join(f"{k} take {row['min']:.0f} to {row['max']:.0f} %" for k, row in shares.iterrows())
    return listed(
        *of_claims(overview[overview["claim"].isin(["C8", "C9", "C10", "C11"])]),
        f"Of the domains' candidates, by the number of neighbours of each training text: {taken}.",
        *_selector_sentences(agreement, selector_effects),
        _cost_sentence(judged),
        _front_sentence(table9),
        of_degenerate(runs),
    )


def _selector_sentences(matrix: DataFrame, effects: DataFrame) -> list[str]:
    if effects.empty:
        return []
    between = matrix.drop(index="random", columns="random")
    of_means = labels.with_arms(effects[effects["task"] == MEAN])
    pairs, random = between.to_numpy()[np.triu_indices(len(between), 1)], matrix.loc[between.index, "random"]
    found = "; ".join(f"{named(row['arm'])} {_points(row)}" for _, row in of_means.iterrows())
    return [
        f"Of what two retrieval methods choose, {pairs.min():.0f} to {pairs.max():.0f} % is chosen by both "
        f"(with random text: {random.min():.0f} to {random.max():.0f} %).",
        f"Difference to the size-matched random control, mean over tasks: {found}.",
    ]


def _cost_sentence(judged: DataFrame) -> str:
    ours = judged[(judged["claim"] == "C13") & (judged["study"] == "ours")].set_index("task")
    found, claim = ours.loc[MEAN, "verdict"], "*TAPT costs a fraction of DAPT's time and storage*"
    if found == NOT_RUN:
        return f"{claim}: **{NOT_RUN}**."
    time, storage = (labels.number(ours.loc[name, "effect"], 3) for name in (SECONDS, BYTES))
    return (
        f"{claim}: **{found}**. TAPT takes ×{time} of DAPT's CPU-seconds and ×{storage} of its bytes of text "
        "(geometric means over tasks); in the paper ×0.016 of the steps and ×0.000002 of the bytes."
    )


def _front_sentence(table9: DataFrame) -> str:
    ours = table9[table9["study"] == "ours"]
    front = ours[ours["pareto_optimal"].astype(bool)].sort_values("tflops")
    names = ", ".join(f"{named(row.arm)} ({row.score:.1f})" for row in front.itertuples())
    return (
        f"The Pareto front of score and compute, from the cheapest arm up: {names}. Neighbours on this line need not "
        "differ from one another by more than chance."
    )
