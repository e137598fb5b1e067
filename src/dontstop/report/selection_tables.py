"""Tables of what was selected for the tasks, and of what the arms cost: functions of counts and frames."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from pandas import DataFrame, Series
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from dontstop import paper
from dontstop.design.arms import Arm, Phase, knn_tapt, rand_tapt
from dontstop.design.plan import text_of
from dontstop.report import labels
from dontstop.report.tables import below
from dontstop.text.tasks import Task
from dontstop.verdicts import costs
from dontstop.verdicts.judgements import OURS, PAPER_NEIGHBOURS
from dontstop.verdicts.scores import MEAN, NAIVE_BAYES, in_shared_replicates, means
from dontstop.verdicts.vocabulary import WORD

NUM_TOPICS = 8  # of each task, those that its texts use most
LONGEST = 150  # characters of a text in a table
Chosen = Callable[[str, Phase], np.ndarray]  # the candidates of a task's augmented corpus, as `study.chosen` has them


def neighbours(
    rankings: Mapping[str, Mapping[str, dict]], random: Mapping[str, Sequence[str]] | None = None
) -> DataFrame:
    """List the nearest neighbours that the rankings of tasks kept, and random candidates, by task, beside them.

    Columns task, text (the query, where its rows begin), selector (or `random`), rank, similarity (by that method's own
    measure; none of random text), neighbour, shared_words (with the query, stop words left out).

    Source: the table of neighbours in the paper's appendix.
    """
    rows = []
    for task, by_selector in rankings.items():
        shown = [row | {"selector": name} for name, ranking in by_selector.items() for row in ranking["shown"]]
        for text in dict.fromkeys(row["text"] for row in shown):
            found = [(r["selector"], r["rank"], r["score"], r["neighbour"]) for r in shown if r["text"] == text]
            found += [("random", k, np.nan, other) for k, other in enumerate((random or {}).get(task, ()), 1)]
            for *how_near, other in found:
                shared = ", ".join(sorted(shared_words(text, other)))
                rows.append((task, _short(text), *how_near, _short(other), shared))
    table = DataFrame(rows, columns=["task", "text", "selector", "rank", "similarity", "neighbour", "shared_words"])
    return table.assign(text=table["text"].where(~table.duplicated(["task", "text"]), ""))


def shared_words(text: str, other: str) -> set[str]:
    """Return the words that both texts have, lower-cased, stop words left out."""
    words, others = (set(WORD.findall(some.lower())) for some in (text, other))
    return (words & others) - ENGLISH_STOP_WORDS


def _short(text: str) -> str:
    text = " ".join(text.split())
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

    Stores are the counts of `study.selection_counts`; candidates are num_candidates and num_tokens by domain.

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

    A row and a column a selector; the share of the union that both chose, percent, mean over tasks.
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


def by_neighbours(effects: DataFrame) -> DataFrame:
    """Put effects of arms over one and the same arm into order by the text that they read and the neighbours.

    Columns text (`neighbours`, `random`, or what another arm is called), num_neighbours (none of other arms), task,
    effect, low, high (points), other (what the arm is called that they are held against).
    """
    kinds, table = {"knn_tapt": "neighbours", "rand_tapt": "random"}, labels.with_arms(effects)
    known = table["arm"].map(labels.known_arm)
    table["text"] = [kinds.get(arm.phases[-1].kind if arm.phases else "", labels.arm(arm)) for arm in known]
    table["other"] = table["other"].map(labels.arm)
    table["num_neighbours"] = Series([arm.k for arm in known], table.index, dtype="Int64")
    columns = ["text", "num_neighbours", "task", "effect", "low", "high", "other"]
    return table[columns].sort_values("num_neighbours", kind="stable", ignore_index=True)


def against_cost(table9: DataFrame, effects: DataFrame, naive_bayes: Mapping[str, float] | None = None) -> DataFrame:
    """Set what arms gain over the base encoder (by their effects) against their seconds, those of retrieval included.

    Args:
        naive_bayes: By task, its score, x 100, which costs no pretraining.

    Returns:
        Columns arm, seconds (CPU-seconds of pretraining beyond the base encoder and of selecting text), gain, low, high
        (points), num_replicates, pareto_optimal (no other arm gains as much in as few). Arms that others trained are
        left out.
    """
    ours = table9[table9["study"] == OURS].set_index("arm")
    whole = labels.over_tasks(effects).rename(columns={"effect": "gain"})
    table = whole[["arm", "gain", "low", "high", "num_replicates"]].reset_index(drop=True)
    table.insert(1, "seconds", table["arm"].map(costs.seconds_of(ours)))
    table = table.dropna(subset="seconds").reset_index(drop=True)
    table["pareto_optimal"] = Series(costs.pareto_optimal(table["seconds"], table["gain"]), dtype=bool)
    if naive_bayes is not None:
        tasks = effects.loc[effects["task"] != MEAN, "task"].unique()
        gain = float(np.mean([naive_bayes[task] for task in tasks]) - ours["score"]["base"])
        table.loc[len(table)] = [NAIVE_BAYES, 0.0, gain, np.nan, np.nan, 0, False]
    return table


def table9(by_task: DataFrame, runs: DataFrame) -> DataFrame:
    """Tabulate what arms cost (as `costs.costs` has it), mean over tasks, and score in their runs; the paper's below.

    Columns study, arm, those of `costs.COLUMNS`, score (F1 x 100, mean over tasks and runs of the replicates that all
    arms have), pareto_optimal (whether no other arm scores as much in as few CPU-seconds, those of selection included).

    Source: Table 9.
    """
    table = by_task.groupby("arm", sort=False)[list(costs.COLUMNS)].mean().reset_index()
    table["score"] = table["arm"].map(means(in_shared_replicates(runs)).set_index(["task", "arm"]).loc[MEAN, "mean"])
    table["pareto_optimal"] = Series(costs.pareto_optimal(costs.seconds_of(table), table["score"]), dtype=object)
    counts = [name for name in table if name.startswith("num_") or name == "tokens_processed"]
    table[counts] = table[counts].round().astype("Int64")
    return below(table, paper.table9()).astype({"tokens_processed": "Int64"})


def table10(
    arms: Mapping[Arm, Sequence[Task]], stores: Mapping[str, Mapping], num_train: Mapping[str, int]
) -> DataFrame:
    """Tabulate which texts each arm reads: documents of the domain, the task and its source, then labels.

    Stores are the counts of every corpus that is read; num_train is by task.

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
