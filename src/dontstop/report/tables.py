"""The study's tables: frames and counts in, a table with the paper's numbers below ours out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from dontstop import paper
from dontstop.design.arms import BASE, TAPT, Arm
from dontstop.report import labels
from dontstop.text.tasks import SPLITS
from dontstop.verdicts.claims import BYTES, CLAIMS, FLOPS, INCONCLUSIVE, NOT_RUN
from dontstop.verdicts.judgements import OURS, PAPER, PAPER_SEEDS, papers_rows
from dontstop.verdicts.losses import loss_matrix
from dontstop.verdicts.scores import MEAN, NAIVE_BAYES, in_shared_replicates, means

_OF_ARM, _OF_CONTRAST = ("mean", "std"), ("effect", "low", "high", "p")
_OF_WORD = ["sentence", "position", "word"]  # what tells masked words apart


def below(ours: DataFrame, theirs: DataFrame) -> DataFrame:
    """Put the paper's rows below ours, in our columns and after `study`; counts stay whole where one has none."""
    theirs = theirs.reindex(columns=ours.columns)
    both = DataFrame(ours.to_dict("records") + theirs.to_dict("records"), columns=ours.columns)
    study = [OURS] * len(ours) + [PAPER] * len(theirs)
    both.insert(0, ("study", "") if ours.columns.nlevels > 1 else "study", study)
    counts = [name for name in ours if str(name[0] if isinstance(name, tuple) else name).startswith("num_")]
    return both.astype(dict.fromkeys(counts, "Int64"))


def table1(texts: Sequence[str], manifest: Mapping, token_counts: Mapping, losses: DataFrame | None = None):
    """Tabulate the corpora and the masked-LM loss on each domain's held-out text, before and after its DAPT.

    Corpora are counted in the data's manifest, their tokens in that of the token stores; losses are as `study.losses`
    returns them, None before DAPT has run.

    Returns:
        Columns study, domain, num_documents, num_words, num_tokens, megabytes, loss_before, loss_after.

    Source: Table 1.
    """
    after = [f"dapt_{name}" for name in texts]
    matrix = DataFrame() if losses is None else loss_matrix(losses)
    matrix = matrix.reindex(index=["base", *after], columns=list(texts)).astype(float)
    columns = ["domain", "num_documents", "num_words", "num_bytes"]
    corpora = DataFrame([manifest["domains"][name] | {"domain": name} for name in texts], columns=columns)
    corpora["num_tokens"] = [token_counts[f"corpora/{name}"]["num_tokens"] for name in texts]
    corpora["megabytes"] = corpora.pop("num_bytes") / 1e6
    corpora = corpora.assign(loss_before=matrix.loc["base"].to_numpy(), loss_after=np.diag(matrix.loc[after]))
    theirs = paper.table1()
    return below(corpora, theirs.assign(megabytes=1000 * theirs["gigabytes"]))


def table2(tasks: Mapping[str, Mapping[str, Any]]) -> DataFrame:
    """Tabulate the tasks of the data's manifest: sizes of the splits (num_train, ...), num_classes, metric.

    Source: Table 2.
    """
    rows = [
        {"domain": task["domain"], "task": name}
        | {f"num_{split}": task["splits"][split]["num_examples"] for split in SPLITS}
        | {"num_classes": len(task["labels"]), "metric": task["metric"]}
        for name, task in tasks.items()
    ]
    return below(DataFrame(rows), paper.table2().drop(columns="task").rename(columns={"name": "task"}))


def label_counts(tasks: Mapping[str, Mapping[str, Any]]) -> DataFrame:
    """Tabulate how many examples each label has in each split: columns task, label, train, dev, test."""
    rows = [
        {"task": name, "label": label}
        | {split: task["splits"][split].get("label_counts", {}).get(label, 0) for split in SPLITS}
        for name, task in tasks.items()
        for label in task["labels"]
    ]
    return DataFrame(rows, columns=["task", "label", *SPLITS])


def leak_audit(audit: DataFrame) -> DataFrame:
    """Tabulate how many texts of each task's splits still stand in the corpora: `measures.audit`, over all corpora.

    Columns task, split, num_texts, num_exact, num_contained, num_near_duplicate (sums), max_containment and its corpus.
    """
    groups, counts = audit.groupby(["task", "split"], sort=False), ["num_exact", "num_contained", "num_near_duplicate"]
    worst = audit.loc[groups["max_containment"].idxmax()].reset_index(drop=True)
    summed = worst.assign(**groups[counts].sum().reset_index(drop=True))
    return summed[["task", "split", "num_texts", *counts, "max_containment", "corpus"]]


def tapt_losses(pretraining: DataFrame, runs: DataFrame) -> DataFrame:
    """Tabulate the masked-LM loss on each task's dev texts before and after TAPT, of the checkpoints of some runs.

    Columns task, num_steps, kept_step, loss_before, loss_after, change (means over replicates), num_replicates.
    """
    table = runs[["task", "checkpoint"]].drop_duplicates().merge(pretraining, on="checkpoint")
    table = table.assign(change=table["loss_after"] - table["loss_before"])
    columns = ["num_steps", "kept_step", "loss_before", "loss_after", "change"]
    by_task = table.groupby("task", sort=False)
    return by_task[columns].mean().assign(num_replicates=by_task.size()).reset_index()


def checks(pretraining: DataFrame, runs: DataFrame) -> DataFrame:
    """Tabulate the masked-LM loss on the task's dev texts at each check of TAPT, of the checkpoints of some runs.

    Columns task, replicate, step (0: before TAPT), masked_lm_loss, kept (whether the encoder was kept as it stood). Of
    trainings without checks, nothing.
    """
    rows = []
    for row in runs[["task", "checkpoint"]].drop_duplicates().merge(pretraining, on="checkpoint").itertuples():
        least = int(np.argmin(row.checks)) + 1 if row.checks else 0
        # Checks stand at even distances, and the kept step is that of the least.
        values = enumerate([row.loss_before, *row.checks] if row.checks else [])
        rows += [(row.task, row.replicate, row.kept_step * k / least, loss, k == least) for k, loss in values]
    return DataFrame(rows, columns=["task", "replicate", "step", "masked_lm_loss", "kept"])


def held_out_losses(pretraining: DataFrame) -> DataFrame:
    """List the held-out losses of trainings: before their last phase, at its checks, and of the encoder that was kept.

    Columns checkpoint, replicate, num_tokens (of that phase, so far), masked_lm_loss (nats).
    """
    rows = []
    for row in pretraining.dropna(subset=["loss_before", "loss_after"]).itertuples():
        values = [row.loss_before, *(row.checks or [row.loss_after])]
        tokens = np.linspace(0, row.num_tokens, len(values))  # checks stand at even distances
        rows += [(row.checkpoint, row.replicate, num, loss) for num, loss in zip(tokens, values, strict=True)]
    return DataFrame(rows, columns=["checkpoint", "replicate", "num_tokens", "masked_lm_loss"])


def in_common(runs: DataFrame) -> DataFrame:
    """Keep the runs on the tasks, and in the replicates, for which all of their arms have run."""
    num_arms = runs.groupby("task")["arm"].transform("nunique")
    return in_shared_replicates(runs[num_arms == runs["arm"].nunique()]).reset_index(drop=True)


def scores(
    runs: DataFrame, effects: DataFrame, theirs: DataFrame | None = None, naive_bayes: Mapping[str, float] | None = None
) -> DataFrame:
    """Tabulate arms' test scores over replicates and seeds, x 100, with their differences; the paper's below ours.

    Args:
        effects: Of contrasts between the runs' arms; arms and tasks are shown in the order of the runs.
        theirs: The paper's table, as `paper` gives it, if it has one.
        naive_bayes: By task, the score of naive Bayes, x 100.

    Returns:
        Columns of two levels: study, task, naive_bayes; of every arm its mean and std (the sample's, n - 1); of every
        contrast its effect, low, high and p (Holm's); num_replicates (that all arms have, and their means are over),
        num_seeds, num_degenerate. Our tasks and their mean (its std is that of the runs' means over tasks), then the
        paper's tasks and their mean; and, where ours are some of the paper's, the paper's mean over those.

    Source: Tables 3, 5, 6, 7 and 8.
    """
    runs = in_shared_replicates(runs)
    if effects.empty or runs.empty:
        return DataFrame(columns=["study", "task"])
    found, tasks = means(runs), list(dict.fromkeys(runs["task"]))
    columns: dict[tuple[str, str], Any] = {("task", ""): [*tasks, MEAN]}
    if naive_bayes is not None:
        of_tasks = [naive_bayes[task] for task in tasks]
        columns[NAIVE_BAYES, ""] = [*of_tasks, float(np.mean(of_tasks))]
    of_contrasts = effects.rename(columns={"p_holm": "p"})
    for by, long, parts in (("arm", found, _OF_ARM), ("contrast", of_contrasts, _OF_CONTRAST)):
        for name, group in long.groupby(by, sort=False):
            of_name = group.set_index("task").reindex([*tasks, MEAN])
            columns |= {(name, part): of_name[part].to_numpy() for part in parts}
    columns |= {(name, ""): int(found[name].max()) for name in ("num_replicates", "num_seeds")}
    columns["num_degenerate", ""] = found.groupby("task")["num_degenerate"].sum()[[*tasks, MEAN]].to_numpy()
    theirs = DataFrame() if theirs is None else _paper_scores(theirs, effects, tasks, list(dict.fromkeys(runs["arm"])))
    return below(DataFrame(columns), theirs)


def _paper_scores(theirs: DataFrame, effects: DataFrame, tasks: Sequence[str], arms: list[str]) -> DataFrame:
    """Give the paper's table our columns, and rows for its means."""
    mean, std = (theirs.reindex(columns=[f"{arm}_{part}" for arm in arms]).set_axis(arms, axis=1) for part in _OF_ARM)
    same = theirs.index[theirs.index.isin(tasks)]
    # Where some of the paper's tasks lack here: the mean that ours is to be read against.
    of_means = {MEAN: theirs.index} | ({"mean, our tasks": same} if 0 < len(same) < len(theirs) else {})
    averaged = DataFrame({name: mean.loc[some].mean(skipna=False) for name, some in of_means.items()}).T
    mean, std = (table.rename(index=paper.task_names()) for table in (pd.concat([mean, averaged]), std))
    columns: dict[tuple[str, str], Any] = {("task", ""): mean.index, ("num_seeds", ""): PAPER_SEEDS}
    columns["num_replicates", ""] = 1
    columns |= {(arm, part): table[arm] for part, table in zip(_OF_ARM, (mean, std), strict=True) for arm in arms}
    pairs = labels.with_arms(effects[["contrast"]].drop_duplicates())
    columns |= {(contrast, "effect"): mean[a] - mean[b] for contrast, a, b in pairs.itertuples(index=False)}
    return DataFrame(columns, index=mean.index)


def tapt_curve(runs: DataFrame, short: Sequence[Arm], num_epochs: int | None) -> DataFrame:
    """Tabulate scores against the epochs of TAPT: mean and std over shared replicates and seeds, x 100.

    Args:
        runs: Of the base encoder, TAPT, and the short arms, which have fixed epochs and whose tasks are shown.
        num_epochs: Of TAPT, where it has a fixed number too.

    Returns:
        Columns task, epochs (a number; last `kept`, of TAPT that is kept where the dev loss is least), split (dev or
        test), mean, std, num_runs.
    """
    last = "kept" if num_epochs is None else str(num_epochs)
    fixed = {arm.name: str(arm.phases[-1].epochs) for arm in sorted(short, key=lambda arm: arm.phases[-1].epochs)}
    epochs = {BASE.name: "0"} | fixed | {TAPT.name: last}
    order = list(epochs.values())
    shown = runs[runs["task"].isin(runs.loc[runs["arm"].isin([arm.name for arm in short]), "task"])]
    shown = in_shared_replicates(shown)
    places = {task: place for place, task in enumerate(shown["task"].unique())}
    table = shown.assign(epochs=shown["arm"].map(epochs), dev=shown["dev_score"], test=shown["test_score"])
    table = table.melt(["task", "epochs"], ["dev", "test"], "split", "score").astype({"score": float})
    by_epochs = table.assign(score=100 * table["score"]).groupby(["task", "epochs", "split"])["score"]
    found = by_epochs.agg(mean="mean", std="std", num_runs="size").reset_index()
    ranks = {"task": places.get, "epochs": order.index}
    how = {"key": lambda column: column.map(ranks[column.name]), "kind": "stable", "ignore_index": True}
    return found.sort_values(["task", "epochs"], **how)


def best_arms(best: DataFrame, runs: DataFrame) -> DataFrame:
    """Tabulate the arm with the highest mean on each task beside `probability_best`, of the same runs.

    Columns task, highest_mean (an arm), and the arms' probabilities, 0 to 1; the last row is the mean over tasks.
    """
    by_arm = means(in_shared_replicates(runs)).pivot(index="task", columns="arm", values="mean")[list(best.columns)]
    table = best.reset_index()
    table.insert(1, "highest_mean", by_arm.idxmax(axis=1).reindex(table["task"]).to_numpy())
    return table


def side_by_side(judged: Mapping[str, DataFrame]) -> DataFrame:
    """Put the verdicts of several profiles side by side, the paper's by its own numbers before them: a row a claim.

    Rows by profile are those of `judgements.judge`, as `claims.csv` keeps them; of designs without replicates too,
    which lack the columns reason, detectable and num_replicates. Cells are verdicts with their effects, in Markdown.
    """
    parts = {PAPER: papers_rows(judged).assign(low=np.nan, high=np.nan, detectable=np.nan)}
    parts |= {profile: table[table["study"] == OURS] for profile, table in judged.items()}
    rows = []
    judged_ones = set().union(*(table["claim"] for table in judged.values()))
    for claim in (claim for claim in CLAIMS if claim.id in judged_ones):
        cells = {name: _verdict_cell(part[part["claim"] == claim.id]) for name, part in parts.items()}
        rows.append({"claim": f"{claim.id}: {claim.statement}", **cells})
    return DataFrame(rows)


def _verdict_cell(rows: DataFrame) -> str:
    """Write a claim's verdict with its effect: points, nats, or shares of DAPT's costs; nothing where it has none."""
    whole, parts = rows[rows["task"] == MEAN], rows.set_index("task")["effect"]
    if whole.empty:
        return labels.number(np.nan)
    found = whole.iloc[0]
    shares = {"seconds": "time", FLOPS: "FLOPs", BYTES: "bytes"}
    if found["study"] == PAPER:  # which tells no more of compute
        shares |= dict.fromkeys(("seconds", FLOPS), "steps")
    told = [f"**{found['verdict']}**" if found["verdict"] != NOT_RUN else NOT_RUN]
    costs = [(parts.get(name, np.nan), what) for name, what in shares.items()]
    told.append(", ".join(f"{labels.percent(cost)} of the {what}" for cost, what in costs if pd.notna(cost)))
    if pd.notna(found["effect"]):
        told.append(labels.signed(found["effect"]))
    if pd.notna(found["low"]):
        told.append(labels.interval(found["low"], found["high"]))
    if found["verdict"] == INCONCLUSIVE and pd.notna(found.get("detectable")):
        told.append(f"(detectable: {labels.number(found['detectable'])})")
    return " ".join(filter(None, told))


def guesses(frame: DataFrame) -> DataFrame:
    """Tabulate what encoders guess first for masked words, as `study.guesses` returns it: a row a word.

    Columns sentence (where it begins), word, each encoder's first guess with its probability, and masked_gain: the
    change of the true word's log-probability from the first encoder to the second, nats.
    """
    encoders = list(frame["encoder"].unique())
    if len(encoders) < 2:
        return DataFrame(columns=["sentence", "word"])
    first = frame[frame["rank"] == 1]
    told = [f"{guess} ({100 * p:.0f} %)" for guess, p in zip(first["guess"], first["probability"], strict=True)]
    by_encoder = first.assign(told=told).pivot(index=_OF_WORD, columns="encoder", values="told")[encoders]
    table = by_encoder.assign(masked_gain=changes_of(frame)).reset_index()
    table = first.drop_duplicates(_OF_WORD)[_OF_WORD].merge(table, on=_OF_WORD).drop(columns="position")
    return table.assign(sentence=table["sentence"].where(~table["sentence"].duplicated(), ""))


def changes_of(guesses: DataFrame) -> Series:
    """Return, by the word, the change of the true word's log-probability from the first encoder to the second, nats."""
    of_words = guesses[guesses["rank"] == 1].pivot(index=_OF_WORD, columns="encoder", values="log_probability")
    before, after = guesses["encoder"].unique()[:2]
    return of_words[after] - of_words[before]
