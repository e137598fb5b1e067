"""Tables of what was selected for the tasks, and of what the arms cost: pure functions of counts and records."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dontstop import paper
from dontstop.report.tables import OURS, PAPER
from dontstop.runs import arms
from dontstop.verdicts import costs
from dontstop.verdicts.scores import score_matrix

NUM_TOPICS = 8  # of each task, those that its texts use most
LONGEST = 150  # characters of a text in a table


def neighbours(rankings: Mapping[str, Mapping[str, dict]]) -> pd.DataFrame:
    """Set the nearest neighbours of a few training texts side by side, a column a selector.

    Args:
        rankings: By task and selector, what the ranking kept to be read.

    Returns:
        Columns task, text, rank, and of each selector that ranks text by text the neighbour's text, similarity first.

    Source: the table of neighbours in the paper's appendix.
    """
    rows: dict[tuple, dict] = {}
    for task, by_selector in rankings.items():
        for selector, ranking in by_selector.items():
            for shown in ranking["shown"]:
                row = rows.setdefault((task, shown["text"], shown["rank"]), {})
                row[selector] = f"{shown['score']:.2f}: {_short(shown['neighbour'])}"
    table = [{"task": task, "text": _short(text), "rank": rank, **found} for (task, text, rank), found in rows.items()]
    return pd.DataFrame(table)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


def topics(rankings: Mapping[str, Mapping[str, dict]]) -> pd.DataFrame:
    """Tabulate VAMPIRE's topics that each task's texts use most: columns task, words, npmi, share (percent)."""
    rows = [
        {"task": task, "words": ", ".join(topic["words"]), "npmi": topic["npmi"], "share": 100 * topic["share"]}
        for task, by_selector in rankings.items()
        for topic in by_selector.get("vampire", {"topics": []})["topics"][:NUM_TOPICS]
    ]
    return pd.DataFrame(rows, columns=["task", "words", "npmi", "share"])


def coverage(
    counts: Mapping[str, dict], chosen: Mapping[tuple[str, str], np.ndarray], numbers: Sequence[int]
) -> pd.DataFrame:
    """Tabulate how much of a domain each number of neighbours takes, and how its random control compares.

    Args:
        counts: By task, num_candidates and num_candidate_tokens of its domain, and `stores`: counts by set.
        chosen: By task and set, the candidates in it.
        numbers: Of neighbours, ascending.

    Returns:
        Columns task, num_neighbours, num_candidates, num_selected, percent_of_candidates, num_selected_tokens,
        percent_of_tokens, control_selected, control_tokens, percent_shared_with_control.
    """
    rows = []
    for task, found in counts.items():
        for k in numbers:
            name, control = arms.knn_tapt(k), f"{arms.rand_tapt(k)}_draw_0"
            ours, theirs = (found["stores"][kind] for kind in (name, control))
            shared = len(np.intersect1d(chosen[task, name], chosen[task, control]))
            rows.append(
                {
                    "task": task,
                    "num_neighbours": k,
                    "num_candidates": found["num_candidates"],
                    "num_selected": ours["num_selected"],
                    "percent_of_candidates": 100 * ours["num_selected"] / found["num_candidates"],
                    "num_selected_tokens": ours["num_selected_tokens"],
                    "percent_of_tokens": 100 * ours["num_selected_tokens"] / found["num_candidate_tokens"],
                    "control_selected": theirs["num_selected"],
                    "control_tokens": theirs["num_selected_tokens"],
                    "percent_shared_with_control": 100 * shared / max(ours["num_selected"], 1),
                }
            )
    return pd.DataFrame(rows)


def agreement(chosen: Mapping[str, Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """Tabulate how far selectors choose the same candidates: the share of the union that both chose, mean over tasks.

    Args:
        chosen: By task and selector (and `random`), candidates.

    Returns:
        Index selector; a column a selector, in percent.
    """
    names = list(next(iter(chosen.values())))
    matrix = pd.DataFrame(0.0, index=pd.Index(names, name="selector"), columns=names)
    for found in chosen.values():
        for a in names:
            for b in names:
                shared = len(np.intersect1d(found[a], found[b]))
                matrix.loc[a, b] += 100 * shared / (len(found[a]) + len(found[b]) - shared) / len(chosen)
    return matrix


def paper_table8(numbers: Sequence[int], names: Sequence[str]) -> pd.DataFrame:
    """Return the paper's Table 8 in the columns of our arms: its 50, 150 and 500 neighbours under ours, in order.

    Its one random control stands under that of our fewest neighbours.
    """
    theirs = paper.table8()
    if len(numbers) == 3:
        ours = [*map(arms.knn_tapt, numbers), arms.rand_tapt(numbers[0])]
        papers = [*map(arms.knn_tapt, (50, 150, 500)), arms.rand_tapt(50)]
        renamed = {f"{old}_{p}": f"{new}_{p}" for old, new in zip(papers, ours, strict=True) for p in ("mean", "std")}
        theirs = theirs.rename(columns=renamed)
    return theirs.reindex(columns=[f"{arm}_{part}" for arm in names for part in ("mean", "std")])


def score_against_k(intervals: pd.DataFrame, numbers: Sequence[int]) -> pd.DataFrame:
    """Tabulate mean scores against the number of neighbours, for neighbours and random text alike.

    Args:
        intervals: As `measures.intervals` returns it.

    Returns:
        Columns text (`neighbours`, `random`, or a reference arm), num_neighbours (none for references), mean,
        mean_low, mean_high.
    """
    named = [("neighbours", k, arms.knn_tapt(k)) for k in numbers] + [("random", k, arms.rand_tapt(k)) for k in numbers]
    named += [(arm, None, arm) for arm in ("base", "tapt", "dapt")]
    rows = [
        {"text": text, "num_neighbours": k, **intervals.loc[arm, ["mean", "low", "high"]].to_dict()}
        for text, k, arm in named
    ]
    table = pd.DataFrame(rows).rename(columns={"low": "mean_low", "high": "mean_high"})
    return table.astype({"num_neighbours": "Int64"})


def table9_costs(
    by_task: pd.DataFrame, records: pd.DataFrame, tasks: Sequence[str], seeds: Sequence[int]
) -> pd.DataFrame:
    """Tabulate what each arm costs beyond the base encoder, mean over tasks, and what it scores; the paper's below.

    Args:
        by_task: As `costs.of_arms` returns it.
        records: Of the same arms.

    Returns:
        Columns study, arm, those of `costs.COLUMNS`, score (F1 x 100, mean over tasks and seeds), on_front (whether no
        other arm scores as much for as little arithmetic).

    Source: Table 9.
    """
    table = by_task.groupby("arm", sort=False)[list(costs.COLUMNS)].mean().reset_index()
    table["score"] = [100 * score_matrix(records, arm, tasks, seeds).mean() for arm in table["arm"]]
    table["on_front"] = costs.on_front(table["teraflops"], table["score"])
    counts = ["num_documents", "num_text_tokens", "num_bytes", "num_steps", "num_tokens_read"]
    table[counts] = table[counts].round().astype("Int64")
    table.insert(0, "study", OURS)
    theirs = paper.table9().assign(study=PAPER).reindex(columns=table.columns)
    theirs = theirs.astype({column: "Int64" for column in counts})
    return pd.concat([table.astype({"on_front": object}), theirs.astype({"on_front": object})], ignore_index=True)


def table10_strategies(by_task: Mapping[str, Mapping[str, Mapping[str, float]]], labelled: float) -> pd.DataFrame:
    """Tabulate which texts each strategy reads: documents of the domain, the task and its source, then labels.

    Args:
        by_task: By arm and task, how many documents of each kind.
        labelled: Examples that fine-tuning reads.

    Returns:
        Columns arm, domain_documents, task_documents, source_documents (means over tasks) and labelled_examples.

    Source: Table 10.
    """
    rows = []
    for arm, tasks in by_task.items():
        means = pd.DataFrame(tasks.values()).mean()
        kinds = ("domain_documents", "task_documents", "source_documents")
        rows.append({"arm": arm, **{kind: round(means[kind]) for kind in kinds}, "labelled_examples": round(labelled)})
    return pd.DataFrame(rows)
