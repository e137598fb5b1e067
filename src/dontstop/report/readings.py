"""What a figure shows, in a sentence or two that are filled in from its own frame: one verdict, whichever it is.

Frames, the arguments without a type, are named after the functions that return them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from IPython.display import Markdown
from pandas import DataFrame

from dontstop.errors import counted
from dontstop.report import labels, titles
from dontstop.report.claim_plots import shared_tasks
from dontstop.report.display import listed
from dontstop.report.labels import signed, spelt
from dontstop.text.tasks import Task
from dontstop.verdicts.losses import GENERAL, IN_DOMAIN, loss_changes_by_tapt
from dontstop.verdicts.scores import MEAN, NAIVE_BAYES

NOT_RUN = "This profile runs no such arm."
FLAT = 0.01  # nats: a change of the loss below it is called none


def points(row) -> str:
    """Write an effect in points with its interval, where there are replicates enough for one."""
    if np.isnan(row.low):
        return f"{signed(row.effect)} points (one replicate: no interval)"
    return f"{signed(row.effect)} points {labels.interval(row.low, row.high)}"


def gains(effects) -> Markdown:
    """Say of contrasts, of many of those clear of zero, the mean over tasks and on how many tasks it is above zero."""
    whole = effects[effects["task"] == MEAN]
    if whole.empty:
        return Markdown(NOT_RUN)
    chosen = titles.told_singly(whole)
    told = [_gain(row, effects[effects["contrast"] == row.contrast]) for row in chosen.itertuples()]
    if num_others := len(whole) - len(chosen):
        others = f"Of the other {num_others} differences none" if told else f"None of {num_others} differences"
        told.append(f"{others} is clear of zero.")
    return listed(*told)


def _gain(whole, of: DataFrame) -> str:
    by_task = of[of["task"] != MEAN].set_index("task")["effect"].sort_values()
    told = f"**{labels.column(whole.contrast)}**: {points(whole)} over all tasks"
    if len(by_task) < 2:
        return f"{told}."
    low, high = (f"{spelt(task)} ({signed(by_task[task])})" for task in (by_task.index[0], by_task.index[-1]))
    return f"{told}, above zero on {(by_task > 0).sum()} of {len(by_task)} tasks; highest on {high}, lowest on {low}."


def overlap(matrix, general: str) -> Markdown:
    """Say which domain's frequent words are nearest to the general text's, which farthest, and which two most alike."""
    near = matrix.loc[matrix.index != general, general].sort_values()
    if len(near) < 2:
        only = labels.sentence(spelt(near.index[0]))
        return Markdown(f"**{only}** shares {near.iloc[0]:.1f} % of its frequent words with the general text.")
    square = matrix.drop(index=general, columns=general)
    upper = np.triu(np.ones(square.shape, bool), 1)
    first, second = square.where(upper).stack().idxmax()
    return Markdown(
        f"**{labels.sentence(spelt(near.index[-1]))}** shares most frequent words with the general text "
        f"({near.iloc[-1]:.1f} %), **{spelt(near.index[0])}** fewest ({near.iloc[0]:.1f} %). Most alike among the "
        f"domains: {spelt(first)} and {spelt(second)} ({square.loc[first, second]:.1f} %)."
    )


def forgetting(changes) -> Markdown:
    """Say what DAPT did to the loss on the own domain and on the general text, and what the latter means."""
    ours = changes[changes["study"] == "ours"]
    (own, general), num = ours[[IN_DOMAIN, GENERAL]].to_numpy(float).T, len(ours)
    meaning = "**the encoders have forgotten some of it**: that is the price of DAPT"
    if abs(general.mean()) < FLAT:
        meaning = "they have forgotten next to nothing of it"
    elif general.mean() < 0:
        meaning = "the base encoder had not finished with its own text, and more training of any kind still did it good"
    return Markdown(
        f"On its own domain the loss fell for {(own < 0).sum()} of {counted(num, 'DAPT encoder')}, by "
        f"{-own.mean():.2f} nats in the mean. On the general text it rose for {(general > 0).sum()}; the mean change "
        f"is {signed(general.mean(), 2)} nats: {meaning}."
    )


def dev_losses(losses) -> Markdown:
    """Say whether TAPT lowers the loss on texts of the task that it has not read: of `tables.tapt_losses`."""
    change, num = losses["change"].astype(float), len(losses)
    told = (
        f"On dev texts, which it does not read, TAPT lowers the loss on {(change < 0).sum()} of {counted(num, 'task')}"
    )
    meaning = "it learns the task's kind of text" if change.mean() < 0 else "it memorises its texts, and no more"
    return Markdown(f"{told}; the mean change is {signed(change.mean(), 2)} nats: **{meaning}**.")


def labels_needed(gains) -> Markdown:
    """Say how each arm's gain changes from the fewest labels to the most, and whether their intervals lie apart.

    Of one replicate, which has no intervals, by the gains themselves.
    """
    arms = gains[~gains["arm"].isin(["base", NAIVE_BAYES])].sort_values("num_train")
    if arms.empty:
        return Markdown("This profile has one number of labels, and no curve over them.")
    bounds = arms.assign(low=arms["low"].fillna(arms["gain"]), high=arms["high"].fillna(arms["gain"]))
    ends = bounds.groupby("arm", sort=False)[["gain", "low", "high"]]
    few, many = ends.first(), ends.last()
    told = "; ".join(
        f"{labels.arm(arm)} {signed(few.loc[arm, 'gain'])} and {signed(many.loc[arm, 'gain'])}" for arm in few.index
    )
    gaining = few.index[few["low"] > 0]
    shrinks = int((many.loc[gaining, "high"] < few.loc[gaining, "low"]).sum())
    verb = "replace" if 2 * shrinks > len(gaining) else "are not shown to replace"
    told_of = f"of {len(gaining)} that gain with the fewest, {shrinks} gain less with the most"
    meaning = f"{told_of}: **labels {verb} pretraining**"
    if not len(gaining):
        meaning = "with few labels no arm is shown to gain, so that there is nothing for labels to replace"
    fewest, most = arms["num_train"].min(), arms["num_train"].max()
    return Markdown(
        f"Gains over the base encoder with {counted(int(fewest), 'label')} and with {most:,}, in points: {told}; "
        f"{meaning}."
    )


def own_texts(matrix, tasks: Sequence[Task]) -> Markdown:
    """Say whose texts TAPT encoders know best: their own task's, or those of the domain's other task too."""
    own, other = loss_changes_by_tapt(matrix, tasks)
    share = 100 * other.mean() / own.mean()
    meaning = "most of what TAPT learns is the domain's" if share > 50 else "most of what TAPT learns is the task's own"
    if own.mean() >= 0:
        return Markdown("TAPT does not lower the loss on the tasks' own dev texts here.")
    return Markdown(
        f"On a task's dev texts its own TAPT encoder lowers the loss by {-own.mean():.2f} nats in the mean, that "
        f"of the domain's other task by {-other.mean():.2f}, which is {share:.0f} %: **{meaning}**."
    )


def covered(coverage) -> Markdown:
    """Say how much of the domains each number of neighbours takes."""
    shares = coverage.groupby("num_neighbours")["percent_of_candidates"]
    told = labels.listing([f"{labels.span(share)} % at k = {k}" for k, share in shares])
    return Markdown(f"Of the domain's candidates, the training texts' neighbours are {told}.")


def tried(scores, task: Task, known: Mapping[str, float]) -> Markdown:
    """Say what a trial of DAPT found on one task, and what the study's records (`measures.dapt_gains`) have."""
    by_arm = scores.set_index("arm")
    base, dapt = by_arm.loc["base"], by_arm.loc["dapt"]
    told = (
        f"On {task.display_name}, {counted(int(dapt['num_steps']), 'step')} of DAPT move F1 from {base['score']:.1f} "
        f"to {dapt['score']:.1f}: **{signed(dapt['score'] - base['score'])} points**, in one run, which proves nothing."
    )
    if known:
        told += f" The study's records have {signed(known[task.name])} there, and {signed(known[MEAN])} over all tasks."
    return Markdown(told)


def on_paper_tasks(judged) -> Markdown:
    """Say which tasks are the paper's own, and what can be compared with it where none is."""
    shared = list(dict.fromkeys(shared_tasks(judged)["task"]))
    if shared:
        return Markdown(f"Of the paper's own tasks this study has {labels.listing(shared)}.")
    return Markdown(
        "None of these tasks is one of the paper's, so **no score here has a counterpart there**. What can be compared "
        "are the claims: signs and sizes of differences over tasks."
    )
