"""The study's tables: pure functions of records and counts, with the paper's numbers beside ours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dontstop import paper
from dontstop.verdicts.baselines import NAIVE_BAYES
from dontstop.verdicts.domain_gap import DISTANCES
from dontstop.verdicts.scores import mean_and_std, score_matrix

OURS, PAPER = "ours", "paper"


def table1_corpora(
    domains: Mapping[str, Mapping[str, Any]],
    num_tokens: Mapping[str, int] | None = None,
    losses: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Tabulate the corpora and the masked-LM loss on each domain's held-out text, before and after its DAPT.

    Args:
        domains: By domain, num_documents, num_words and num_bytes, as in the data's manifest.
        num_tokens: By domain, tokens of its corpus.
        losses: As recorded: columns encoder, held_out, masked_lm_loss; before DAPT has run, None.

    Returns:
        Columns study, domain, num_documents, num_words, num_tokens, megabytes, loss_before, loss_after.

    Source: Table 1.
    """
    matrix = loss_matrix(losses) if losses is not None else pd.DataFrame()
    rows = [
        {
            "study": OURS,
            "domain": domain,
            "num_documents": counts["num_documents"],
            "num_words": counts["num_words"],
            "num_tokens": (num_tokens or {}).get(domain),
            "megabytes": counts["num_bytes"] / 1e6,
            "loss_before": _cell(matrix, "base", domain),
            "loss_after": _cell(matrix, f"dapt_{domain}", domain),
        }
        for domain, counts in domains.items()
    ]
    theirs = paper.table1()
    theirs = theirs.assign(study=PAPER, megabytes=1000 * theirs["gigabytes"]).drop(columns="gigabytes")
    return _below(rows, theirs, integers=("num_documents", "num_words", "num_tokens"))


def _cell(matrix: pd.DataFrame, row: str, column: str) -> float:
    return float(matrix.loc[row, column]) if row in matrix.index and column in matrix else np.nan


def _below(rows: list[dict[str, Any]], theirs: pd.DataFrame, integers: Sequence[str] = ()) -> pd.DataFrame:
    """Put the paper's rows below ours, in our columns."""
    ours = pd.DataFrame(rows)
    theirs = theirs.reindex(columns=ours.columns)
    records = ours.to_dict("records") + theirs.to_dict("records")
    return pd.DataFrame(records, columns=ours.columns).astype(dict.fromkeys(integers, "Int64"))


def table2_tasks(tasks: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Tabulate the tasks: sizes of the splits, classes, metric.

    Args:
        tasks: By task, domain, metric, labels and splits with num_examples, as in the data's manifest.

    Returns:
        Columns study, domain, task, num_train, num_dev, num_test, num_classes, metric.

    Source: Table 2.
    """
    rows = [
        {
            "study": OURS,
            "domain": task["domain"],
            "task": name,
            **{f"num_{split}": task["splits"][split]["num_examples"] for split in ("train", "dev", "test")},
            "num_classes": len(task["labels"]),
            "metric": task["metric"],
        }
        for name, task in tasks.items()
    ]
    theirs = paper.table2().drop(columns="task").rename(columns={"name": "task"}).assign(study=PAPER)
    return _below(rows, theirs, integers=("num_train", "num_dev", "num_test", "num_classes"))


def label_counts(tasks: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Tabulate how many examples each label has in each split: columns task, label, train, dev, test."""
    splits = ("train", "dev", "test")
    rows = [
        {"task": name, "label": label}
        | {split: task["splits"][split].get("label_counts", {}).get(label, 0) for split in splits}
        for name, task in tasks.items()
        for label in task["labels"]
    ]
    return pd.DataFrame(rows, columns=["task", "label", *splits])


def score_table(
    records: pd.DataFrame,
    arms: Sequence[str],
    tasks: Sequence[str],
    seeds: Sequence[int],
    differences: Mapping[str, pd.DataFrame],
    theirs: pd.DataFrame,
    pairs: Mapping[str, tuple[str, str]],
    counted: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Tabulate the test scores of arms over seeds, x 100, with differences between them; the paper's below ours.

    Args:
        records: Of all the arms.
        tasks: Rows, in this order.
        seeds: All are used.
        differences: By name of a comparison, a table of `comparisons.families`; its columns are added with the name
            before them (`dapt_gain` gives `dapt_gain`, `dapt_gain_low`, `dapt_gain_high`, `dapt_gain_p`: Holm's).
        theirs: The paper's table, as `paper` gives it.
        pairs: By name of a comparison, its two arms.
        counted: By task, the score of naive Bayes, x 100.

    Returns:
        Columns study, task, naive_bayes, <arm>_mean, <arm>_std (the sample's, n - 1), num_seeds, num_degenerate; our
        tasks and their mean (its std is that of the seeds' means over tasks), then the paper's tasks and their mean;
        and, where ours are some of the paper's, the paper's mean over those.

    Source: Tables 3, 5, 6, 7 and 8.
    """
    columns, rows = {}, [*tasks, "mean"]
    if counted is not None:
        of_tasks = [counted[task] for task in tasks]
        columns[NAIVE_BAYES] = [*of_tasks, float(np.mean(of_tasks))]
    for arm in arms:
        scores = 100 * score_matrix(records, arm, tasks, seeds)  # (num_seeds, num_tasks)
        means, stds = mean_and_std(np.column_stack([scores, scores.mean(axis=1)]))
        columns |= {f"{arm}_mean": means, f"{arm}_std": stds}
    ours = pd.DataFrame({"study": OURS, "task": rows, **columns}).set_index("task", drop=False)
    for name, table in differences.items():
        renamed = table.drop(columns="p_value").rename(columns={"p_holm": "difference_p"})
        renamed = renamed.rename(columns=lambda column, name=name: column.replace("difference", name, 1))
        ours = ours.join(renamed.rename_axis(None))
    chosen = records[records["arm"].isin(arms) & records["task"].isin(tasks) & records["seed"].isin(seeds)]
    degenerate = chosen["degenerate"].astype(int).groupby(chosen["task"]).sum()
    ours["num_seeds"] = len(seeds)
    ours["num_degenerate"] = degenerate.reindex(rows).fillna(degenerate.sum()).astype(int)
    below = _paper_scores(theirs, {name: pairs[name] for name in differences}, tasks)
    return _below(ours.to_dict("records"), below, integers=("num_seeds", "num_degenerate"))


def _paper_scores(theirs: pd.DataFrame, pairs: Mapping[str, tuple[str, str]], tasks: Sequence[str]) -> pd.DataFrame:
    names = paper.task_names()
    means = {"mean": theirs.filter(like="_mean").mean(skipna=False)}
    same = theirs.index[theirs.index.isin(tasks)]
    if 0 < len(same) < len(theirs):  # some of the paper's tasks lack here: the mean that ours is to be read against
        means["mean, our tasks"] = theirs.loc[same].filter(like="_mean").mean(skipna=False)
    theirs = pd.concat([theirs.rename(index=names), pd.DataFrame(means).T])
    gains = {name: theirs[f"{a}_mean"] - theirs[f"{b}_mean"] for name, (a, b) in pairs.items()}
    return theirs.assign(study=PAPER, task=theirs.index, num_seeds=5, **gains)


def loss_matrix(losses: pd.DataFrame) -> pd.DataFrame:
    """Turn recorded losses (columns encoder, held_out, masked_lm_loss) into encoders by held-out samples."""
    matrix = losses.pivot(index="encoder", columns="held_out", values="masked_lm_loss")
    return matrix.loc[losses["encoder"].unique(), losses["held_out"].unique()].rename_axis(columns=None)


def loss_changes(matrix: pd.DataFrame) -> pd.DataFrame:
    """Return each encoder's losses less the base encoder's: below zero it has learnt, above zero forgotten."""
    return matrix - matrix.loc["base"]


def table12_cross_domain_loss(losses: pd.DataFrame, base_text: str) -> pd.DataFrame:
    """Tabulate the masked-LM loss of every encoder (row) on every held-out sample (column).

    Args:
        losses: As recorded: columns encoder (`base`, `dapt_<domain>`), held_out, masked_lm_loss.
        base_text: The sample that stands for the base encoder's own text.

    Returns:
        The matrix; and change_on_own, the loss on the encoder's own domain less the base's, and change_on_base_text,
        the same on `base_text`: above zero, the encoder has forgotten.

    Source: Table 12.
    """
    return _with_changes(loss_matrix(losses), base_text)


def paper_table12() -> pd.DataFrame:
    """Return the paper's Table 12 with the same two changes beside it."""
    return _with_changes(paper.table12(), "PT")


def _with_changes(matrix: pd.DataFrame, base_text: str) -> pd.DataFrame:
    changes = loss_changes(matrix)
    on_own = [_cell(changes, encoder, encoder.removeprefix("dapt_")) for encoder in matrix.index]
    on_base_text = changes[base_text].where(matrix.index != "base")
    return matrix.assign(change_on_own=on_own, change_on_base_text=on_base_text)


def forgetting(losses: pd.DataFrame, base_text: str) -> pd.DataFrame:
    """Tabulate what DAPT does to the loss on its own domain and on the base encoder's text, ours and the paper's.

    Returns:
        Columns study, domain, own_before, own_after, own_change, base_text_before, base_text_after, base_text_change.

    Source: Tables 1 and 12.
    """
    rows = [
        {"study": study, "domain": domain, **_before_and_after(matrix, domain, text)}
        for study, matrix, text in ((OURS, loss_matrix(losses), base_text), (PAPER, paper.table12(), "PT"))
        for domain in matrix.columns.drop(text)
        if f"dapt_{domain}" in matrix.index
    ]
    return pd.DataFrame(rows)


def _before_and_after(matrix: pd.DataFrame, domain: str, base_text: str) -> dict[str, float]:
    found = {}
    for name, held_out in (("own", domain), ("base_text", base_text)):
        before, after = (_cell(matrix, encoder, held_out) for encoder in ("base", f"dapt_{domain}"))
        found |= {f"{name}_before": before, f"{name}_after": after, f"{name}_change": after - before}
    return found


def distances(measured: pd.DataFrame) -> pd.DataFrame:
    """Put the paper's two distances from RoBERTa's text below ours.

    Args:
        measured: As `domain_gap.distance_table` returns it.

    Source: Figure 2 (column PT) and Table 1 (loss before DAPT).
    """
    ours = measured.reset_index()
    ours.insert(0, "study", OURS)
    theirs = paper.table1()[["domain", "loss_before"]].rename(columns={"loss_before": "masked_lm_loss"}).iloc[1:]
    theirs = theirs.assign(
        study=PAPER, vocabulary_overlap=theirs["domain"].map(paper.figure2()["PT"]), num_words=10_000
    )
    integers = [column for column in ours if column.startswith("num_")]
    return _below(ours.to_dict("records"), theirs, integers=integers)


def gain_against_distance(
    gains: pd.DataFrame, measured: pd.DataFrame, domains: Mapping[str, str], *, by_task: bool = False
) -> pd.DataFrame:
    """Join each task's gain of DAPT with the distances of its domain, or of its own texts, from the base's text.

    Args:
        gains: As `scores.difference_table` returns it, x 100.
        measured: As `domain_gap.distance_table` returns it, a row a domain, or (by_task) a row a task.
        domains: Each task's domain.
        by_task: Whether `measured` goes by task.

    Returns:
        Columns task, domain, distance, value, value_low, value_high, gain, gain_low, gain_high; a row for each task
        and each distance that was measured.
    """
    rows = []
    for task, gain in gains.drop(index="mean", errors="ignore").iterrows():
        place = measured.loc[task if by_task else domains[task]]
        shared = {"task": task, "domain": domains[task], "gain": gain["difference"]}
        shared |= {"gain_low": gain["difference_low"], "gain_high": gain["difference_high"]}
        for name in (name for name in DISTANCES if pd.notna(place.get(name))):
            bounds = {f"value_{bound}": place.get(f"{name}_{bound}", np.nan) for bound in ("low", "high")}
            rows.append({**shared, "distance": name, "value": place[name], **bounds})
    columns = ["task", "domain", "distance", "value", "value_low", "value_high", "gain", "gain_low", "gain_high"]
    return pd.DataFrame(rows, columns=columns)


def leak_audit(audit: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Tabulate how many texts of each task's splits still stand, in part or whole, in the audited corpora.

    Args:
        audit: As `audit.audit` returns it, a row for each task, split and corpus (`corpora` of leakage.json).

    Returns:
        Columns task, split, num_texts, num_exact, num_contained, num_near_duplicate (each summed over the corpora),
        max_containment (the largest) and corpus (where that is).
    """
    table = pd.DataFrame(audit)
    counts = ["num_exact", "num_contained", "num_near_duplicate"]
    worst = table.sort_values("max_containment", ascending=False, kind="stable").drop_duplicates(["task", "split"])
    summed = table.groupby(["task", "split"], sort=False)[counts].sum().reset_index()
    return summed.merge(worst[["task", "split", "num_texts", "max_containment", "corpus"]], on=["task", "split"])[
        ["task", "split", "num_texts", *counts, "max_containment", "corpus"]
    ]


def tapt_losses(pretraining: pd.DataFrame, displayed: Mapping[str, str]) -> pd.DataFrame:
    """Tabulate the masked-LM loss on each task's dev texts before and after TAPT on its training texts.

    Args:
        pretraining: As recorded: columns checkpoint, num_steps, num_tokens, loss_before, loss_after.
        displayed: The checkpoints to show: their names, and the tasks they are for.

    Returns:
        Columns task, num_steps, num_tokens, loss_before, loss_after, change.
    """
    chosen = pretraining[pretraining["checkpoint"].isin(displayed)]
    table = chosen[["checkpoint", "num_steps", "num_tokens", "loss_before", "loss_after"]].reset_index(drop=True)
    table = table.assign(task=table["checkpoint"].map(displayed), change=table["loss_after"] - table["loss_before"])
    return table[["task", "num_steps", "num_tokens", "loss_before", "loss_after", "change"]]


def tapt_curve(records: pd.DataFrame, epochs: Mapping[str, int]) -> pd.DataFrame:
    """Tabulate scores against the epochs of TAPT: mean and std over seeds, x 100.

    Args:
        records: Of the arms that `epochs` names: columns task, arm, seed, dev_score, test_score.
        epochs: By arm, how many; none for the base encoder.

    Returns:
        Columns task, num_epochs, dev_mean, dev_std, test_mean, test_std, num_seeds.
    """
    rows = []
    for task, of_task in records.groupby("task", sort=False):
        for arm, number in sorted(epochs.items(), key=lambda item: item[1]):
            cells = of_task[of_task["arm"] == arm]
            row = {"task": task, "num_epochs": number}
            for split in ("dev", "test"):
                mean, std = mean_and_std(100 * cells[f"{split}_score"].to_numpy(float))
                row |= {f"{split}_mean": float(mean), f"{split}_std": float(std)}
            rows.append(row | {"num_seeds": len(cells)})
    columns = ["task", "num_epochs", "dev_mean", "dev_std", "test_mean", "test_std", "num_seeds"]
    return pd.DataFrame(rows, columns=columns)


def best_arms(best: pd.DataFrame, records: pd.DataFrame, tasks: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Tabulate the arm with the highest mean on each task, and how likely each arm is to be the best.

    Args:
        best: As `comparisons.probability_best` returns it.
        records: Of its arms.

    Returns:
        Columns task, highest_mean (an arm), and the arms' probabilities, 0 to 1; the last row is the mean over tasks.
    """
    means = {arm: score_matrix(records, arm, tasks, seeds).mean(axis=0) for arm in best.columns}
    highest = [max(means, key=lambda arm, k=k: means[arm][k]) for k in range(len(tasks))]
    highest.append(max(means, key=lambda arm: means[arm].mean()))
    table = best.reset_index()
    table.insert(1, "highest_mean", highest)
    return table
