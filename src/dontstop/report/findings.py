"""What each notebook found, in sentences whose numbers come from frames, whichever way they fall.

Frames, the arguments without a type, are named after the functions that return them: `overview` and `judged` (of
`judge`), `effects`, `coverage`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from IPython.display import Markdown
from pandas import DataFrame, Series

from dontstop import paper
from dontstop.errors import counted
from dontstop.report import labels
from dontstop.report.claims import sentences as told
from dontstop.report.display import listed
from dontstop.report.labels import arm as named
from dontstop.report.labels import signed, spelt
from dontstop.report.readings import points
from dontstop.text.tasks import Task
from dontstop.verdicts import domain_gap
from dontstop.verdicts.claims import BYTES, FLOPS, LEVEL, NOT_RUN
from dontstop.verdicts.losses import GENERAL, IN_DOMAIN, loss_changes_by_tapt
from dontstop.verdicts.scores import MEAN, means

_DISTANCES = {
    "vocabulary_overlap": ("vocabulary overlap", "{:.1f} %"),
    "jensen_shannon": ("Jensen-Shannon divergence", "{:.3f} bits"),
    "proxy_a_distance": ("proxy A-distance", "{:.2f}"),
    "masked_lm_loss": ("the base encoder's masked-LM loss", "{:.2f} nats"),
}
_OF_PAPER = 10_000  # frequent words
_TESTS = {
    "p_value": "by t over replicates",
    "p_sign_flip": "by flipping signs",
    "p_bootstrap": "by the bootstrap over replicates and test texts",
    "p_over_tasks": "by t with tasks as the sample",
}


def of_domain_gap(measured, agreement, overlap, tasks: Sequence[Task], leaks: Mapping) -> Markdown:
    """Say in which order the distances put the domains, how far they agree, and what leaks were left."""
    names = [name for name in domain_gap.DISTANCES if measured[name].notna().all()]
    ours, theirs = measured["vocabulary_overlap"], paper.figure2()["PT"].drop("PT")
    own = sum(overlap.loc[task.name].idxmax() == task.domain for task in tasks)
    num_words = int(measured["num_words"].iloc[0])
    return listed(
        *(_order_sentence(measured, name) for name in names),
        _farthest_sentence(measured, names),
        *(
            f"Over {of['num_points'].iloc[0]} {over}, the rank correlation of two distances is above zero for "
            f"{(of['spearman'] > 0).sum()} of {len(of)} pairs ({signed(of['spearman'].min(), 2)} to "
            f"{signed(of['spearman'].max(), 2)})."
            for over, of in agreement.dropna(subset="spearman").groupby("over", sort=False)
        ),
        f"Our domains' vocabulary overlap with the base encoder's text is {ours.min():.1f} to {ours.max():.1f} % of "
        f"{num_words:,} frequent words; the paper's {theirs.min():.1f} to {theirs.max():.1f} % of {_OF_PAPER:,}."
        + " Lists of different lengths give different percentages: compare the orders."
        * (num_words != _OF_PAPER),
        f"The own domain has the largest vocabulary overlap with {own} of {counted(len(tasks), 'task')}.",
        "Dev and test texts left in the corpora and held-out samples, as exact copies: "
        f"{leaks['num_exact']:,}; contained in a document: {leaks['num_contained']:,}; near-duplicates: "
        f"{leaks['num_near_duplicate']:,}. The largest share of one text's word 5-grams that a document has is "
        f"{100 * leaks['max_containment']:.0f} %.",
    )


def _nearest_first(measured: DataFrame, name: str) -> DataFrame:
    far = domain_gap.as_distance(name, measured[name].to_numpy(float))
    return measured.iloc[np.argsort(far, kind="stable")]


def _order_sentence(measured: DataFrame, name: str) -> str:
    words, form = _DISTANCES[name]
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
    return f"The {len(names)} distances disagree on the farthest domain: {votes}."


def of_degenerate(runs) -> str:
    """Count the classifiers that gave every test text the same label."""
    number, of = int(runs["degenerate"].astype(bool).sum()), counted(len(runs), "fine-tuned classifier")
    return f"{number} of {of} gave every test text the same label; none is left out."


def of_dapt(overview, runs, naive_bayes: Series, overlap, forgetting, against_forgetting) -> Markdown:
    """Judge DAPT and not-DAPT against the base encoder and each other, and what they forget."""
    return listed(
        *told(overview[overview["claim"].isin(["C1", "C2", "C3", "C4"])]),
        _naive_bayes_sentence(runs, naive_bayes),
        *(
            f"{of['num_affected'].iloc[0]:,} of {of['num_test'].iloc[0]:,} test texts of {spelt(task)} also stand in "
            "its train or dev, as published. Without them: "
            f"{', '.join(f'{named(row.arm)} {signed(row.change)} points' for row in of.itertuples())}."
            for task, of in overlap.groupby("task", sort=False)
        ),
        _loss_sentence(overview, forgetting),
        *_kept_sentences(against_forgetting),
        of_degenerate(runs),
    )


def _naive_bayes_sentence(runs: DataFrame, naive_bayes: Series) -> str:
    """Say on how many tasks each arm loses to naive Bayes."""
    found = means(runs)[lambda table: table["task"] != MEAN]
    below = found.assign(lost=found["mean"] < found["task"].map(naive_bayes)).groupby("arm", sort=False)["lost"].sum()
    tasks = found["task"].unique()
    return (
        f"Naive Bayes, without any encoder, scores {naive_bayes[tasks].mean():.1f} on average. Of "
        f"{counted(len(tasks), 'task')}, arms score below it on as many as follow: "
        f"{', '.join(f'{named(arm)} {lost}' for arm, lost in below.items())}."
    )


def _loss_sentence(overview, forgetting: DataFrame) -> str:
    found, told = overview.set_index("claim")["ours"]["C12"], {}
    for study, of in forgetting.groupby("study"):
        (own, general), num = of[[IN_DOMAIN, GENERAL]].to_numpy(float).T, len(of)
        told[study] = (
            f"on its own domain it falls in {(own < 0).sum()} of {num}, mean change {signed(own.mean(), 2)} nats; on "
            f"the general text it rises in {(general > 0).sum()} of {num}, {signed(general.mean(), 2)} nats"
        )
    return (
        "*DAPT lowers the masked-LM loss on its own domain and raises it on the general text (forgetting)*: "
        f"**{found}**. Over domains, {told['ours']}. In the paper, {told['paper']}."
    )


def _kept_sentences(table: DataFrame) -> list[str]:
    """Say which arms forget less than DAPT and gain no less, by their means: of `gap_tables.against_forgetting`."""
    if len(table) < 2:
        return []
    dapt, others = table.iloc[0], table.iloc[1:]
    is_better = (others["general_delta_loss"] < dapt["general_delta_loss"]) & (others["effect"] >= dapt["effect"])
    better = labels.listing(list(others.loc[is_better, "arm"].map(named))) if is_better.any() else "none"
    numbers = ", ".join(
        f"{named(row.arm)} {signed(row.effect)} points and {signed(row.general_delta_loss, 2)} nats on the general text"
        for row in table.itertuples()
    )
    return [f"Of the arms against forgetting, those that forget less than DAPT and gain no less: {better} ({numbers})."]


def of_tapt(overview, effects, losses, curve, runs) -> Markdown:
    """Judge TAPT against the base encoder, set it beside DAPT, and say what its loss and its course show."""
    over_dapt = labels.over_tasks(effects).set_index("contrast").loc["tapt_minus_dapt"]
    change, kept = losses["change"], losses["kept_step"]
    return listed(
        *told(overview),
        f"TAPT − DAPT, over all tasks: {points(over_dapt)}.",
        f"The masked-LM loss on dev texts fell in {int((change < 0).sum())} of {counted(len(losses), 'task')}; mean "
        f"change {signed(change.mean(), 2)} nats, from {signed(change.min(), 2)} to {signed(change.max(), 2)}.",
        f"The encoders were kept after {counted(labels.span(kept), 'step')} (means over replicates, by task).",
        *_curve_sentences(curve[curve["split"] == "dev"]),
        of_degenerate(runs),
    )


def _curve_sentences(curve: DataFrame) -> list[str]:
    rows = [(task, of.loc[of["mean"].idxmax()], of.iloc[-1]) for task, of in curve.groupby("task", sort=False)]
    return [
        f"On {spelt(task)} the dev score of TAPT is highest {_when(best['epochs'])} ({best['mean']:.1f}); "
        f"{_when(last['epochs'])} it is {last['mean']:.1f}."
        for task, best, last in rows
    ]


def _when(epochs: str) -> str:
    return "at the step that the dev loss keeps" if epochs == "kept" else f"after {counted(epochs, 'epoch')}"


def of_dapt_tapt(overview, best, tests, runs, cheap_effects, parts) -> Markdown:
    """Judge DAPT then TAPT as the best arm, name the likeliest best, and say what other tests give."""
    (first, share), (second, next_share) = best.loc[MEAN].sort_values(ascending=False).head(2).items()
    by_task = best.drop(index=MEAN).idxmax(axis=1)
    trained = parts.set_index("arm").get("percent_trainable")
    counts = ", ".join(f"{named(arm)} {(by_task == arm).sum()}" for arm in best.columns)
    return listed(
        *told(overview),
        f"Over all tasks {named(first)} is the likeliest to rank first ({100 * share:.0f} % of draws of replicates "
        f"and texts), then {named(second)} ({100 * next_share:.0f} %). Tasks on which each is the likeliest: {counts}.",
        f"Of {len(tests)} differences in the mean over tasks, these have p below {LEVEL} before any correction: "
        + ", ".join(f"{(tests[column] < LEVEL).sum()} {test}" for column, test in _TESTS.items())
        + f".{_fewest_flips(tests)}",
        *(
            f"{named(arm)} trains {trained[arm]:.1f} % of the encoder's parameters. Difference "
            f"{'; '.join(f'to {named(row.other)}: {points(row)}' for row in of.itertuples())}."
            for arm, of in labels.over_tasks(cheap_effects).groupby("arm", sort=False)
        ),
        of_degenerate(runs),
    )


def _fewest_flips(tests: DataFrame) -> str:
    """Say so where flipping the signs of so few replicates cannot give a small p-value."""
    num = int(tests["num_replicates"].max())
    told = f" With {counted(num, 'replicate')}, flipping signs gives {2.0 ** (1 - num):g} at least."
    return told if 2.0 ** (1 - num) >= LEVEL else ""


def of_transfer_tapt(overview, losses, tasks: Sequence[Task], runs) -> Markdown:
    """Judge transfer-TAPT against TAPT, and say whose texts the encoders have learnt."""
    if not tasks:
        return listed(*told(overview), "No domain has two tasks: transfer-TAPT was left out.", of_degenerate(runs))
    own, other = loss_changes_by_tapt(losses, tasks)
    return listed(
        *told(overview),
        f"On a task's dev texts, its own TAPT encoder changes the masked-LM loss by {signed(np.mean(own), 2)} nats on "
        f"average, that of the domain's other task by {signed(np.mean(other), 2)}; its own is the lower on "
        f"{(own < other).sum()} of {counted(len(own), 'task')}.",
        of_degenerate(runs),
    )


def of_knn_tapt(overview, judged, runs, selector_effects) -> Markdown:
    """Judge neighbours, random and curated text, retrieval methods against their controls, and what TAPT costs."""
    return listed(
        *told(overview[overview["claim"].isin(["C8", "C9", "C10", "C11"])]),
        *_selector_sentences(selector_effects),
        _cost_sentence(judged),
        of_degenerate(runs),
    )


def _selector_sentences(effects: DataFrame) -> list[str]:
    if effects.empty:
        return []
    found = "; ".join(f"{named(row.arm)} {points(row)}" for row in labels.over_tasks(effects).itertuples())
    return [f"Each retrieval method over its own size-matched random control, mean over tasks: {found}."]


def _cost_sentence(judged: DataFrame) -> str:
    ours = judged[(judged["claim"] == "C13") & (judged["study"] == "ours")].set_index("task")
    found, claim = ours.loc[MEAN, "verdict"], "*TAPT costs a fraction of DAPT's compute and storage*"
    if found == NOT_RUN:
        return f"{claim}: **{NOT_RUN}**."
    compute, storage = (labels.number(ours.loc[name, "effect"], 3) for name in (FLOPS, BYTES))
    return (
        f"{claim}: **{found}**. TAPT takes {compute} times DAPT's floating-point operations and {storage} times its "
        "bytes of text (geometric means over tasks); in the paper 0.016 times the steps, 0.000002 times the bytes."
    )
