"""Tables of what was selected for the tasks, and of what the arms cost: functions of counts and frames."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from dontstop import paper
from dontstop.report.tables import below
from dontstop.runs.arms import BASE, DAPT, TAPT, Arm, Phase, knn_tapt, rand_tapt
from dontstop.runs.plan import text_of
from dontstop.text.tasks import Task
from dontstop.verdicts import costs
from dontstop.verdicts.judgements import PAPER_NEIGHBOURS
from dontstop.verdicts.scores import MEAN, means

NUM_TOPICS = 8  # of each task, those that its texts use most
LONGEST = 150  # characters of a text in a table
Chosen = Callable[[str, Phase], np.ndarray]  # the candidates of a task's augmented corpus, as `study.chosen` has them


def neighbours(rankings: Mapping[str, Mapping[str, dict]]) -> DataFrame:
    """Set the nearest neighbours that the rankings of tasks kept side by side, a column a retrieval method.

    Returns:
        Columns task, text, rank, and of each selector that ranks text by text the neighbour's text, similarity first.

    Source: the table of neighbours in the paper's appendix.
    """
    rows: dict[tuple, dict] = {}
    for task, by_selector in rankings.items():
        for selector, shown in ((name, row) for name, ranking in by_selector.items() for row in ranking["shown"]):
            row = rows.setdefault((task, shown["text"], shown["rank"]), {})
            row[selector] = f"{shown['score']:.2f}: {_short(shown['neighbour'])}"
    return DataFrame([{"task": task, "text": _short(text), "rank": k, **row} for (task, text, k), row in rows.items()])


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


def topics(rankings: Mapping[str, Mapping[str, dict]]) -> DataFrame:
    """Tabulate VAMPIRE's topics that each task's texts use most: columns task, words, npmi, share (percent)."""
    rows = [
        {"task": task, "words": ", ".join(topic["words"]), "npmi": topic["npmi"], "share": 100 * topic["share"]}
        for task, by_selector in rankings.items()
        for topic in by_selector.get("vampire", {"topics": []})["topics"][:NUM_TOPICS]
    ]
    return DataFrame(rows, columns=["task", "words", "npmi", "share"])


def coverage(
    tasks: Sequence[Task],
    numbers: Iterable[int],
    stores: Mapping[str, Mapping],
    candidates: Mapping[str, Mapping[str, int]],
) -> DataFrame:
    """Tabulate how much of a domain each number of neighbours takes, and how long its random control is.

    Args:
        tasks: Those whose text is augmented.
        numbers: Of neighbours.
        stores: Counts of every augmented corpus of the first replicate, as `study.selection_counts` has them.
        candidates: By domain, num_candidates and num_tokens.

    Returns:
        Columns task, num_neighbours, num_candidates, num_selected, percent_of_candidates, num_selected_tokens,
        percent_of_tokens, control_selected, control_tokens.
    """
    rows = []
    for task, k in product(tasks, sorted(numbers)):
        ours, control = (stores[text_of(arm.checkpoint(task))] for arm in (knn_tapt(k), rand_tapt(k)))
        row = {"task": task.name, "num_neighbours": k, "num_candidates": candidates[task.domain]["num_candidates"]}
        for name, of_whole in (("num_selected", "num_candidates"), ("num_selected_tokens", "num_tokens")):
            percent = 100 * ours[name] / candidates[task.domain][of_whole]
            row |= {name: ours[name], f"percent_of_{of_whole.removeprefix('num_')}": percent}
        row |= {"control_selected": control["num_selected"], "control_tokens": control["num_selected_tokens"]}
        rows.append(row)
    return DataFrame(rows)


def agreement(tasks: Sequence[Task], arms: Mapping[str, Arm], chosen: Chosen) -> DataFrame:
    """Tabulate how far the arms that retrieval methods (and `random`: a control) stand for read the same.

    Returns:
        Index selector; a column a selector; the share of the union that both chose, percent, mean over tasks.
    """
    matrix = DataFrame(0.0, index=pd.Index(arms, name="selector"), columns=list(arms))
    for task in tasks:
        found = {name: chosen(task.name, arm.checkpoint(task).last) for name, arm in arms.items()}
        for a, b in product(arms, arms):
            shared = len(np.intersect1d(found[a], found[b]))
            matrix.loc[a, b] += 100 * shared / (len(found[a]) + len(found[b]) - shared) / len(tasks)
    return matrix


def paper_table8(numbers: Sequence[int]) -> DataFrame:
    """Return the paper's Table 8 in the columns of our arms: its 50, 150 and 500 neighbours under ours, in order.

    Its one random control stands under that of our fewest neighbours.
    """
    if len(numbers) != len(PAPER_NEIGHBOURS):
        return paper.table8()
    pairs = [(knn_tapt(theirs), knn_tapt(k)) for theirs, k in zip(PAPER_NEIGHBOURS, sorted(numbers), strict=True)]
    pairs.append((rand_tapt(PAPER_NEIGHBOURS[0]), rand_tapt(min(numbers))))
    return paper.table8().rename(columns={f"{a}_{part}": f"{b}_{part}" for a, b in pairs for part in ("mean", "std")})


def score_against_k(intervals: DataFrame, numbers: Iterable[int]) -> DataFrame:
    """Tabulate `aggregates.intervals` of arms with neighbours and random text, base, TAPT and DAPT by number.

    Returns:
        Columns text (`neighbours`, `random`, or a reference arm), num_neighbours (none for references), mean, low,
        high.
    """
    kinds = {"neighbours": knn_tapt, "random": rand_tapt}
    named = [(text, k, arm(k).name) for text, arm in kinds.items() for k in sorted(numbers)]
    named += [(arm.name, None, arm.name) for arm in (BASE, TAPT, DAPT)]
    rows = [{"text": text, "num_neighbours": k, **intervals.loc[arm].to_dict()} for text, k, arm in named]
    return DataFrame(rows).astype({"num_neighbours": "Int64"})


def table9(by_task: DataFrame, runs: DataFrame) -> DataFrame:
    """Tabulate what arms cost (as `costs.costs` has it), mean over tasks, and score in their runs; the paper's below.

    Returns:
        Columns study, arm, those of `costs.COLUMNS`, score (F1 x 100, mean over tasks and runs), pareto_optimal
        (whether no other arm scores as much for as little compute).

    Source: Table 9.
    """
    table = by_task.groupby("arm", sort=False)[list(costs.COLUMNS)].mean().reset_index()
    table["score"] = table["arm"].map(means(runs).set_index(["task", "arm"]).loc[MEAN, "mean"])
    table["pareto_optimal"] = Series(costs.pareto_optimal(table["tflops"], table["score"]), dtype=object)
    counts = [name for name in table if name.startswith("num_") or name == "tokens_processed"]
    table[counts] = table[counts].round().astype("Int64")
    return below(table, paper.table9()).astype({"tokens_processed": "Int64"})


def table10(
    arms: Mapping[Arm, Sequence[Task]], stores: Mapping[str, Mapping], num_train: Mapping[str, int]
) -> DataFrame:
    """Tabulate which texts each strategy reads: documents of the domain, the task and its source, then labels.

    Args:
        arms: Each with the tasks that it is averaged over.
        stores: Counts of every corpus that they read.
        num_train: By task, labelled examples.

    Returns:
        Columns arm, domain_documents, task_documents, source_documents (means over tasks) and labelled_examples.

    Source: Table 10.
    """
    rows = []
    for arm, tasks in arms.items():
        read = DataFrame([_read(arm, task, stores) for task in tasks]).mean().round().astype(int)
        labelled = round(float(np.mean([num_train[task.name] for task in tasks])))
        rows.append({"arm": arm.name, **read.to_dict(), "labelled_examples": labelled})
    return DataFrame(rows)


def _read(arm: Arm, task: Task, stores: Mapping[str, Mapping]) -> dict[str, int]:
    """Count the documents of each kind that an arm's phases read for a task."""
    read = {"domain_documents": 0, "task_documents": 0, "source_documents": 0}
    for checkpoint in (c for c in arm.checkpoint(task).lineage[1:] if c.last.kind != "average"):
        counts, phase = stores[text_of(checkpoint)], checkpoint.last
        selected = counts["num_selected"] if phase.is_augmented else 0
        own = "task_documents" if phase.is_augmented or phase.is_tapt else "domain_documents"
        read[own] += counts["num_documents"] - selected
        read["source_documents" if phase.kind == "curated_tapt" else "domain_documents"] += selected
    return read
