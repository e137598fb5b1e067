"""What each notebook found, in sentences whose numbers come from the records, whichever way they fall."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from dontstop import paper
from dontstop.report import measures, reports
from dontstop.report.figures import ARM_NAMES, arm_name, spelt
from dontstop.verdicts import claims, domain_gap, scores

_UNITS = {
    "vocabulary_overlap": ("shared frequent words", "{:.1f} %"),
    "jensen_shannon": ("Jensen-Shannon divergence", "{:.3f} bits"),
    "proxy_a_distance": ("proxy A-distance", "{:.2f}"),
    "masked_lm_loss": ("the base encoder's masked-LM loss", "{:.2f} nats"),
}


def verdict(low: float, high: float) -> str:
    """Judge a claim that something lies above zero by its 95 % interval: holds, does not hold, undecided."""
    if low > 0:
        return "**holds**"
    return "**does not hold**" if high < 0 else "**undecided**"


def signed(value: float, decimals: int = 1) -> str:
    """Write a number with its sign, for a sentence."""
    rounded = round(float(value), decimals) + 0.0  # adding zero turns -0.0 into 0.0
    return f"{rounded:+.{decimals}f}".replace("-", "−")


def _interval(low: float, high: float, decimals: int = 1) -> str:
    return f"95 % interval {signed(low, decimals)} to {signed(high, decimals)}"


def _listed(sentences: list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


# 01_domain_gap -------------------------------------------------------------------------------------------------


def domain_gap_findings(study) -> str:
    """Say in which order the distances put the domains, how far they agree, and what leaks were left."""
    measured = measures.measured_distances(study)
    names = [name for name in domain_gap.DISTANCES if measured[name].notna().all()]
    sentences = [_order_sentence(measured, name) for name in names]
    sentences += [_farthest_sentence(measured, names), *_agreement_sentences(measures.agreement(study))]
    sentences += [_paper_overlap_sentence(measured), _own_domain_sentence(study), _leak_sentence(study)]
    return _listed(sentences)


def _nearest_first(measured: pd.DataFrame, name: str) -> pd.DataFrame:
    far = domain_gap.as_distance(name, measured[name].to_numpy(float))
    return measured.iloc[np.argsort(far, kind="stable")]


def _order_sentence(measured: pd.DataFrame, name: str) -> str:
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


def _farthest_sentence(measured: pd.DataFrame, names: list[str]) -> str:
    farthest = [spelt(_nearest_first(measured, name).index[-1]) for name in names]
    if len(set(farthest)) == 1:
        return f"All {len(names)} distances take the same domain for the farthest: {farthest[0]}."
    votes = ", ".join(f"{domain} ({farthest.count(domain)})" for domain in dict.fromkeys(farthest))
    return f"The {len(names)} distances do not take the same domain for the farthest: {votes}."


def _agreement_sentences(agreement: pd.DataFrame) -> list[str]:
    sentences = []
    for over, group in agreement.groupby("over", sort=False):
        found = group["spearman"].dropna()
        if found.empty:
            continue
        span = f"{signed(found.min(), 2)} to {signed(found.max(), 2)}"
        positive = f"{int((found > 0).sum())} of {len(found)} pairs of distances agree more than they disagree"
        points = int(group["num_points"].iloc[0])
        sentences.append(f"Over {points} {over}: {positive} (rank correlations {span}).")
    return sentences


def _paper_overlap_sentence(measured: pd.DataFrame) -> str:
    ours, theirs = measured["vocabulary_overlap"], paper.figure2()["PT"].drop("PT")
    return (
        f"Our domains share {ours.min():.1f} to {ours.max():.1f} % of {int(measured['num_words'].iloc[0]):,} frequent "
        f"words with the base encoder's text; the paper's share {theirs.min():.1f} to {theirs.max():.1f} % of 10,000. "
        "Lists of different lengths give different percentages: compare the orders, not the levels."
    )


def _own_domain_sentence(study) -> str:
    matrix = measures.task_domain_overlap(study).drop(columns="num_words")
    own = sum(matrix.loc[task.name].idxmax() == task.domain for task in study.tasks)
    return f"{own} of {len(study.tasks)} tasks share more frequent words with their own domain than with any other."


def _leak_sentence(study) -> str:
    left = study.manifest()["leakage"]["corpora"]
    return (
        f"Left in the corpora and held-out samples of dev and test texts: {left['num_exact']:,} exact copies, "
        f"{left['num_contained']:,} contained, {left['num_near_duplicate']:,} near-duplicates; the largest share of "
        f"one text's word 5-grams in one document is {100 * left['max_containment']:.0f} %."
    )


# 02_dapt -------------------------------------------------------------------------------------------------------


def dapt_findings(study) -> str:
    """Judge DAPT and not-DAPT against the base encoder and each other, the gain's course, and forgetting."""
    sentences = [
        *_claim_sentences(study, "C2", "C3", "C4"),
        _counting_sentence(study),
        *_leaking_sentences(study),
        _course_sentence(measures.gain_correlations(study)),
        *_loss_sentences(measures.forgetting(study)),
        _degenerate_sentence(study),
    ]
    return _listed(sentences)


def _claim_sentences(study, *names: str) -> list[str]:
    """Say of claims about arms: the verdict, the mean difference, the tasks, and what the paper's numbers give."""
    overview = claims.overview(measures.judged(study, measures.CLAIMS[study.notebook])).set_index("claim")
    return [_claim_sentence(overview.loc[name]) for name in names]


def _claim_sentence(row: pd.Series) -> str:
    if row["ours"] == claims.NOT_RUN:
        return f"*{row['statement']}*: **{row['ours']}**."
    found = (
        f"*{row['statement']}*: **{row['ours']}**. Over all tasks the difference is {signed(row['effect'])} points "
        f"({_interval(row['effect_low'], row['effect_high'])}, p = {row['p_adjusted']:.3f} after correction); task by "
        f"task: {row['tasks']}."
    )
    if row["paper"] == "-":
        return found
    return (
        f"{found} The paper's own numbers, put through the same rule: **{row['paper']}** "
        f"({signed(row['paper_effect'])}; {row['paper_tasks']})."
    )


def _counting_sentence(study) -> str:
    """Say which arms lose to naive Bayes, and where."""
    chosen, counted = measures.family(study), measures.naive_bayes(study)["score"]
    names, records = measures.task_names(study, chosen), measures.arm_records(study)
    below = []
    for arm in chosen.arms:
        means = 100 * scores.score_matrix(records, arm, names, study.profile.seeds).mean(axis=0)
        lost = [name for name, mean in zip(names, means, strict=True) if mean < counted[name]]
        named = f" ({', '.join(lost)})" if 0 < len(lost) < len(names) else ""
        below.append(f"{arm_name(arm)} on {len(lost)}{named}")
    return (
        f"Naive Bayes, without any encoder, scores {counted[names].mean():.1f} on average. Of {len(names)} tasks these "
        f"lose to it: {'; '.join(below)}."
    )


def _leaking_sentences(study) -> list[str]:
    """Say what the test texts that were published in train too are worth; nothing where there are none."""
    table = measures.published_leaks(study)
    return [
        f"{of_task['num_affected'].iloc[0]:,} of {of_task['num_test'].iloc[0]:,} test texts of {task} also stand in "
        "its train or dev, as published. Without them: "
        + ", ".join(f"{arm_name(row.arm)} {signed(row.change)} points" for row in of_task.itertuples())
        + "."
        for task, of_task in table.groupby("task", sort=False)
    ]


def _course_sentence(correlations: pd.DataFrame) -> str:
    found = "; ".join(_correlation_text(name, row) for name, row in correlations.iterrows())
    theirs = paper.dapt_gains()
    in_paper = ", ".join(
        f"{signed(domain_gap.spearman(domain_gap.as_distance(name, theirs[name].to_numpy(float)), theirs['gain']), 2)} "
        f"by {_UNITS[name][0]}"
        for name in ("vocabulary_overlap", "masked_lm_loss")
    )
    return (
        f"*DAPT gains more the farther the domain*: {found}. The rank correlation over the paper's eight tasks, taken "
        f"from its tables, is {in_paper}."
    )


def _correlation_text(name: str, row: pd.Series) -> str:
    words = f"by {_UNITS[name][0]}"
    if np.isnan(row["spearman"]):
        return f"{words} not defined, since the tasks do not differ"
    judged = "**undecided**" if row["p_value"] >= claims.LEVEL else verdict(row["low"], row["high"])
    bounds = _interval(row["low"], row["high"], 2)
    chance = "" if np.isnan(row["p_value"]) else f", p = {row['p_value']:.2f}"
    return f"{words} {judged} (rank correlation {signed(row['spearman'], 2)}, {bounds}{chance})"


def _loss_sentences(forgetting: pd.DataFrame) -> list[str]:
    return [
        _loss_sentence("DAPT lowers the masked-LM loss on its own domain", forgetting, "own_change", -1),
        _loss_sentence("DAPT raises it on the general text (forgetting)", forgetting, "base_text_change", 1),
    ]


def _loss_sentence(claim: str, forgetting: pd.DataFrame, column: str, sign: int) -> str:
    ours, theirs = (forgetting.loc[forgetting["study"] == study, column] for study in ("ours", "paper"))
    counts = [int((sign * change > 0).sum()) for change in (ours, theirs)]
    judged = {len(ours): "**holds**", 0: "**does not hold**"}.get(counts[0], "**mixed**")
    return (
        f"*{claim}*: {judged}, in {counts[0]} of {len(ours)} domains; mean change {signed(ours.mean(), 2)} nats. "
        f"In the paper: {counts[1]} of {len(theirs)}, {signed(theirs.mean(), 2)} nats."
    )


def _degenerate_sentence(study) -> str:
    number = int(reports.degenerate_cells(study)["num_degenerate"].sum())
    cells = len(measures.arm_records(study))
    return f"{number} of {cells} fine-tuned classifiers gave every test text the same label; none is left out."


# 03_tapt, 04_dapt_tapt, 05_transfer_tapt -----------------------------------------------------------------------


def tapt_findings(study) -> str:
    """Judge TAPT against the base encoder, set it beside DAPT, and say what its loss and its course show."""
    over_dapt = measures.gains(study).loc[("tapt_over_dapt", "mean")]
    sentences = [
        *_claim_sentences(study, "C5"),
        f"TAPT less DAPT, over all tasks: {_difference_text(over_dapt)}.",
        _learnt_sentence(reports.tapt_losses(study)),
        *_curve_sentences(reports.tapt_curve(study)),
        _degenerate_sentence(study),
    ]
    return _listed(sentences)


def _difference_text(row: pd.Series) -> str:
    return f"{signed(row['difference'])} points ({_interval(row['difference_low'], row['difference_high'])})"


def _learnt_sentence(losses: pd.DataFrame) -> str:
    fell = int((losses["change"] < 0).sum())
    return (
        f"The masked-LM loss on the task's dev texts fell in {fell} of {len(losses)} tasks; mean change "
        f"{signed(losses['change'].mean(), 2)} nats, from {signed(losses['change'].min(), 2)} to "
        f"{signed(losses['change'].max(), 2)}."
    )


def _curve_sentences(curve: pd.DataFrame) -> list[str]:
    sentences = []
    for name, rows in curve.groupby("task", sort=False):
        best = rows.loc[rows["dev_mean"].idxmax()]
        last = rows.iloc[-1]
        sentences.append(
            f"On {spelt(name)} the dev score is highest after {best['num_epochs']:g} epochs of TAPT "
            f"({best['dev_mean']:.1f}; after {last['num_epochs']:g}: {last['dev_mean']:.1f})."
        )
    return sentences


def dapt_tapt_findings(study) -> str:
    """Judge DAPT then TAPT as the best arm, name the likeliest best, and count what unpaired tests would say."""
    best = measures.probability_best(study)
    mean = best.loc["mean"].sort_values(ascending=False)
    by_task = best.drop(index="mean").idxmax(axis=1)
    first, second = (ARM_NAMES[arm] for arm in mean.index[:2])
    counts = ", ".join(f"{ARM_NAMES[arm]} {(by_task == arm).sum()}" for arm in best.columns)
    sentences = [
        *_claim_sentences(study, "C5", "C6"),
        f"Over all tasks the likeliest best arm is {first} ({100 * mean.iloc[0]:.0f} % of resamples), "
        f"then {second} ({100 * mean.iloc[1]:.0f} %). Tasks on which each is the likeliest: {counts}.",
        _tests_sentence(measures.tests(study)),
        *_cheap_sentences(study),
        _degenerate_sentence(study),
    ]
    return _listed(sentences)


def _cheap_sentences(study) -> list[str]:
    """Say of each arm that trains few numbers how few, and what it brings; nothing where there are none."""
    if measures.CHEAP not in measures.families(study):
        return []
    gains = measures.gains(study, measures.CHEAP).xs("mean", level="task")
    trained = reports.cheap_costs(study).set_index("arm")["percent_trained"]
    return [
        f"{arm_name(arm)} trains {trained[arm]:.1f} % of the encoder's numbers. Over the base encoder: "
        f"{_difference_text(gains.loc[f'{arm}_gain'])}; over {arm_name(whole)}, which trains all: "
        f"{_difference_text(gains.loc[f'{arm}_over_{whole}'])}."
        for arm, whole in measures.WHOLE.items()
        if arm in study.cheap_arms()
    ]


def _tests_sentence(tests: pd.DataFrame) -> str:
    paired, welch = ((tests[column] < claims.LEVEL).sum() for column in ("p_paired", "p_welch"))
    return (
        f"Of {len(tests)} differences on single tasks, {paired} have p below {claims.LEVEL} in the paired test and "
        f"{welch} in Welch's, before any correction."
    )


def transfer_tapt_findings(study) -> str:
    """Judge transfer-TAPT against TAPT, and say whose texts the encoders have learnt."""
    losses = reports.cross_task_loss(study)
    changes = losses - losses.loc["base"]
    own = [changes.loc[f"tapt_{task.name}", task.name] for task in study.transfer_tasks()]
    sister = [changes.loc[f"tapt_{task.other_task}", task.name] for task in study.transfer_tasks()]
    sentences = [
        *_claim_sentences(study, "C7"),
        f"On a task's dev texts, its own TAPT encoder changes the masked-LM loss by {signed(np.mean(own), 2)} nats on "
        f"average, its sister task's by {signed(np.mean(sister), 2)}; the own one is the lower in "
        f"{sum(a < b for a, b in zip(own, sister, strict=True))} of {len(own)} tasks.",
        _degenerate_sentence(study),
    ]
    return _listed(sentences)


# 06_knn_tapt ---------------------------------------------------------------------------------------------------


def knn_tapt_findings(study) -> str:
    """Judge neighbours, random and curated text, say how much was selected, who agrees, and what it costs."""
    sentences = [
        *_claim_sentences(study, *(("C8",) if measures.CURATED in measures.families(study) else ())),
        *_claim_sentences(study, "C9", "C10", "C11"),
        _coverage_sentence(reports.coverage(study)),
        *_selector_sentences(study),
        _cost_sentence(study),
        _front_sentence(reports.table9_costs(study)),
        _degenerate_sentence(study),
    ]
    return _listed(sentences)


def _coverage_sentence(coverage: pd.DataFrame) -> str:
    shares = coverage.groupby("num_neighbours")["percent_of_candidates"]
    parts = ", ".join(f"{k} take {low:.0f} to {high:.0f} %" for k, low, high in _spans(shares))
    return f"Of the domains' candidates, by the number of neighbours of each training text: {parts}."


def _spans(groups) -> list[tuple]:
    return [(name, values.min(), values.max()) for name, values in groups]


def _selector_sentences(study) -> list[str]:
    if measures.SELECTORS not in measures.families(study):
        return []
    matrix = reports.selector_agreement(study)
    named = matrix.drop(index="random", columns="random")
    pairs = named.to_numpy()[np.triu_indices(len(named), 1)]
    gains = measures.gains(study, measures.SELECTORS).xs("mean", level="task")
    found = "; ".join(
        f"{arm_name(name.removesuffix('_over_random'))} {_difference_text(row)}" for name, row in gains.iterrows()
    )
    return [
        f"Of what two selectors choose, {pairs.min():.0f} to {pairs.max():.0f} % is chosen by both "
        f"(with random text: {matrix.loc[named.index, 'random'].min():.0f} to "
        f"{matrix.loc[named.index, 'random'].max():.0f} %).",
        f"Over the random control of the same size as the main selector's, mean over tasks: {found}.",
    ]


def _cost_sentence(study) -> str:
    judged = measures.judged(study, ("C13",))
    ours = judged[judged["study"] == "ours"].set_index("scope")
    verdict = ours.loc[claims.ALL_TASKS, "verdict"]
    if verdict == claims.NOT_RUN:
        return "*TAPT costs a fraction of DAPT's time and storage*: **not run**."
    time, storage = (ours.loc[f"all tasks: {words}", "effect"] for words in ("time", "storage"))
    return (
        f"*TAPT costs a fraction of DAPT's time and storage*: **{verdict}**. Over {len(study.tasks)} tasks TAPT takes "
        f"{100 * time:.0f} % of DAPT's process seconds and {100 * storage:.1f} % of its bytes of text; in the paper "
        f"1.6 % of the steps and 0.0002 % of the bytes."
    )


def _front_sentence(costs: pd.DataFrame) -> str:
    ours = costs[costs["study"] == "ours"]
    front = ours[ours["on_front"].astype(bool)].sort_values("teraflops")
    names = ", ".join(f"{arm_name(row.arm)} ({row.score:.1f})" for row in front.itertuples())
    return (
        f"No other arm scores as much for as little arithmetic as these, from the cheapest up: {names}. Neighbours on "
        "this line need not differ from one another by more than chance."
    )


FINDINGS: dict[str, Callable[..., str]] = {
    "01_domain_gap": domain_gap_findings,
    "02_dapt": dapt_findings,
    "03_tapt": tapt_findings,
    "04_dapt_tapt": dapt_tapt_findings,
    "05_transfer_tapt": transfer_tapt_findings,
    "06_knn_tapt": knn_tapt_findings,
}
