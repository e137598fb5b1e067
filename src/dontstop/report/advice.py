"""The page on whether to adapt an encoder to one's own text: the answer first, then data, gap, costs and scores."""

from dataclasses import replace

import numpy as np
import pandas as pd
from pandas import DataFrame

from dontstop.errors import counted
from dontstop.machine import files
from dontstop.report import labels, own_text
from dontstop.report.display import listed, to_markdown
from dontstop.report.labels import arm as named
from dontstop.report.labels import number, signed
from dontstop.runs import budget
from dontstop.runs.budget import Speed
from dontstop.runs.pipeline import Pipeline
from dontstop.verdicts import costs as costing
from dontstop.verdicts import scores
from dontstop.verdicts.advice import ADAPT, LEAVE, NOT_COMPARED, Advice, advise, on_other_texts
from dontstop.verdicts.advice import MOST_REPLICATES as MOST
from dontstop.verdicts.claims import DOES_NOT_HOLD
from dontstop.verdicts.resampling import Truth
from dontstop.verdicts.scores import MEAN

MOST_POINTS = 100  # of a score
ORDER_TEXT = "base, TAPT, DAPT, DAPT+TAPT: the cheaper text before the dearer"


def costs(study: Pipeline, minutes: float) -> DataFrame:
    """Tabulate what each arm would cost, by steps that are timed now, as `budget.costs_ahead` does, with tflops."""
    speed = budget.time_steps(study)
    table = budget.costs_ahead(study, speed, minutes)
    return table.assign(tflops=[_tflops(study, speed, row) for row in table.itertuples()])


def said_ahead(ahead: DataFrame, minutes: float) -> str:
    """Say in a line, before anything is spent, what each arm would cost and which do not fit into the budget."""
    told = [
        f"{named(row.arm)} {number(row.wall_seconds / 60)}{'' if row.affordable else ' (left out)'}"
        for row in ahead.itertuples()
    ]
    return f"minutes ahead, of a budget of {number(minutes)}: {', '.join(told)}"


def _tflops(study: Pipeline, speed: Speed, row) -> float:
    shape, settings = costing.shape_of(speed.config), study.profile.dapt
    how = settings.sequence_length, settings.mlm_probability
    flops = costing.pretraining_flops(shape, row.pretraining_tokens, *how)
    no_head = replace(shape, head_weights=0)
    flops += costing.pretraining_flops(no_head, row.fine_tuning_tokens, study.profile.finetune.max_length, 1.0)
    return flops / 1e12


def results(study: Pipeline) -> DataFrame:
    """Return the runs of the arms that a budget is spent on, as far as all of an arm's are there."""
    there = [arm for arm in study.available_arms() if arm in budget.ORDER]
    return study.runs(*there) if there else study.runs().iloc[:0]


def paid(study: Pipeline, runs: DataFrame) -> pd.Series:
    """Return the CPU-minutes that each arm's own last phase and its runs took, over all tries, by arm."""
    trained, read = study.pretraining(), runs[["arm", "checkpoint"]].drop_duplicates()
    by_checkpoint = (trained["wall_seconds"] * trained["num_processes"]).groupby(trained["checkpoint"]).sum()
    own = read["checkpoint"].map(by_checkpoint).fillna(0.0).groupby(read["arm"]).sum()
    return (own + runs.groupby("arm")["wall_seconds"].sum()) / 60


def answer(advice: Advice, others: DataFrame, runs: DataFrame, truth: Truth | None = None) -> list[str]:
    """Say the answer, what it rests on, and what would decide it if nothing does: a sentence each.

    Args:
        truth: Labels of the test texts; without them nothing is said of other test texts.
    """
    if advice.word == NOT_COMPARED:
        return ["**Not compared.** No arm beside the base encoder has run within the budget."]
    row = advice.gains.set_index("arm").loc[advice.arm]
    if np.isnan(row["low"]):
        told = f"{named(advice.arm)} scores {signed(row['effect'])} points over the base encoder in one replicate"
        return [f"**Inconclusive.** {told}; an interval needs two replicates, a verdict three or more."]
    words = {ADAPT: f"Adapt, by {named(advice.arm)}", LEAVE: "Do not adapt: every arm that ran is shown to be worse"}
    found = [f"**{words.get(advice.word, 'Inconclusive')}.** {_gain(advice.arm, row)}"]
    if truth is not None:
        found.append(_on_other_texts(advice, runs, truth))
    if advice.word not in words:
        found.append(_what_decides(row))
    worse = advice.gains.loc[advice.gains["verdict"] == DOES_NOT_HOLD, "arm"]
    if advice.word != LEAVE and len(worse):
        found.append(f"Shown to be worse than the base encoder: {', '.join(map(named, worse))}.")
    return found + _beside(advice, others, runs)


def _gain(arm: str, row: pd.Series) -> str:
    return (
        f"{named(arm)} scores {signed(row['effect'])} points over the base encoder (95 % interval {signed(row['low'])} "
        f"to {signed(row['high'])}, {row['num_replicates']:.0f} replicates, {labels.p_value(row['p_holm'])} after "
        "correction); "
        + (
            f"a gain of {number(row['detectable'])} would be detected with 80 % power."
            if row["detectable"] < MOST_POINTS
            else "so few replicates, as far apart, would have shown no gain that a score can have."
        )
    )


def _on_other_texts(advice: Advice, runs: DataFrame, truth: Truth) -> str:
    low, high = on_other_texts(runs, advice.arm, truth)
    if np.isnan(low):
        return "Of a single test text there is no interval on others: label more before you rely on it."
    sizes = " and ".join(f"{len(labels):,}" for labels in truth.values())
    told = f"On other test texts of the kind, in place of these {sizes}, it is {signed(low)} to {signed(high)}"
    return told + (": label more before you rely on it." if advice.word == ADAPT and low <= 0 else ".")


def _what_decides(row: pd.Series) -> str:
    needed = row["replicates_needed"]
    if row["num_replicates"] < 3:
        return "Two replicates decide next to nothing: take three or more (`--replicates 3`)."
    if not np.isfinite(needed) or abs(row["effect"]) < 1e-9:
        return "No number of replicates within reason would decide an effect as small as this one."
    told = f"If the effect is as large as it looks, {needed:.0f} replicates would show it with 80 % power"
    return f"{told} (`--replicates {needed:.0f}`, {needed / row['num_replicates']:.0f} times the cost so far)."


def _beside(advice: Advice, others: DataFrame, runs: DataFrame) -> list[str]:
    """Set the best arm beside the methods that need no fine-tuning."""
    means = scores.means(runs).query("task == @MEAN").set_index("arm")["mean"]
    best = means.max()
    kinds = {"naive_bayes": "naive Bayes, on words alone,", "linear_probe": "a linear probe on the base encoder"}
    of_others = {name: others[name].mean() for name in kinds}
    found = ", ".join(f"{kinds[name]} {value:.1f}" for name, value in of_others.items())
    told = [f"Scores, mean over tasks: base {means['base']:.1f}, {named(advice.arm)} {means[advice.arm]:.1f}; {found}."]
    if (most := max(of_others, key=of_others.get)) and of_others[most] > best:
        name = labels.sentence(kinds[most].rstrip(","))
        told.append(f"{name}, scores more than every arm: no arm is worth its cost yet.")
    return told


def page(study: Pipeline, ahead: DataFrame, minutes: float, others: DataFrame | None = None) -> str:
    """Write the page as Markdown.

    Args:
        ahead: What the arms would have cost before anything was run, as `costs` returns it.
        minutes: The budget.
        others: Scores of other methods, where `own_text.other_methods` has been called already.
    """
    of_corpora, of_splits = own_text.corpora(study), own_text.splits(study)
    runs = results(study)
    advice = advise(runs)
    if others is None:
        others = own_text.other_methods(study) if len(runs) else DataFrame(columns=["naive_bayes", "linear_probe"])
    remarks = own_text.remarks(study, of_corpora, of_splits)
    told = answer(advice, others, runs, study.truth())
    parts = [
        f"# Adapt or not: `{study.profile.name}`",
        listed(*told, *_minutes_needed(advice, ahead)).data,
        "## The text",
        listed(*remarks).data or "Nothing in it stands in the way of an answer.",
        to_markdown(of_corpora),
        to_markdown(of_splits),
        "## The gap to general text",
        to_markdown(own_text.gap(study)),
        "## What it would cost, before it was spent",
        "By steps timed on this machine, one process each; a budget of "
        f"{counted(f'{minutes:g}', 'minute')} is spent in the order {ORDER_TEXT}. What was there already costs nothing."
        + _too_dear(ahead),
        to_markdown(ahead),
    ]
    if left_out := study.design.left_out():
        parts.append(labels.sentence(left_out, "."))
    return "\n\n".join(parts + _scores_parts(study, advice, runs, others)) + "\n"


def _minutes_needed(advice: Advice, ahead: DataFrame) -> list[str]:
    """Say which budget would compare an arm with the base encoder, where none was."""
    if advice.word != NOT_COMPARED or len(ahead) < 2:
        return []
    minutes = int(np.ceil(ahead["wall_seconds"].iloc[:2].sum() / 60))
    told = f"{named(ahead['arm'].iloc[1])} takes some {counted(minutes, 'minute')} here"
    return [f"{told}: give `--minutes {minutes}`."]


def _too_dear(ahead: DataFrame) -> str:
    dear = ahead[~ahead["affordable"].astype(bool)]
    told = ", ".join(f"{named(row.arm)} ({row.wall_seconds / 60:.1f} minutes)" for row in dear.itertuples())
    return f" Beyond the budget, and not run: {told}." if told else ""


def _scores_parts(study: Pipeline, advice: Advice, runs: DataFrame, others: DataFrame) -> list[str]:
    if runs.empty:
        return []
    table = scores.means(runs).drop(columns=["num_seeds"])
    table["cpu_minutes"] = table["arm"].map(paid(study, runs)).where(table["task"] == MEAN)
    shown = ["arm", "effect", "low", "high", "p_holm", "detectable", "num_replicates", "replicates_needed", "verdict"]
    gains = [to_markdown(_needed_told(advice.gains)[shown])] if len(advice.gains) else []
    return ["## What was found", to_markdown(table), *gains, "Without fine-tuning:", to_markdown(others)]


def _needed_told(gains: DataFrame) -> DataFrame:
    told = [
        f"{n:.0f}" if np.isfinite(n) else "–" if np.isnan(n) else f"over {MOST:,}" for n in gains["replicates_needed"]
    ]
    return gains.assign(replicates_needed=told)


def write_page(study: Pipeline, text: str) -> None:
    """Write the page as results/<profile>/advice.md."""
    files.write_text(study.paths.results / "advice.md", text)


def in_short(text: str) -> str:
    """Return the answer alone, without the page's marks."""
    lines = text.split("\n## ")[0].splitlines()[1:]
    return "\n".join(line.removeprefix("- ").replace("**", "") for line in lines if line)
