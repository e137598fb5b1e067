"""Tables of selection and costs hold the hand-computed numbers."""

import numpy as np
import pandas as pd
import pytest

from dontstop import paper
from dontstop.design.arms import BASE, CURATED_TAPT, DAPT, DAPT_TAPT, TAPT, knn_tapt, rand_tapt
from dontstop.report import selection_tables
from dontstop.text.tasks import Task
from dontstop.verdicts import costs
from dontstop.verdicts.effects import over

TASKS = [Task("x", "cs", "macro_f1", "X", "y"), Task("y", "cs", "macro_f1", "Y", "x")]
CHOSEN = {"knn_tapt_2": [0, 1, 2, 3], "rand_tapt_2": [3, 4, 5, 6], "knn_tapt_2_bm25": [0, 1]}


def chosen(task, phase):
    return np.array(CHOSEN[phase.name])


def test_coverage_by_hand():
    counts = {"num_documents": 9, "num_selected": 4, "num_selected_tokens": 40}
    control = {"num_documents": 9, "num_selected": 3, "num_selected_tokens": 39}
    stores = {f"selected/replicate_0/{task.name}/knn_tapt_2": counts for task in TASKS}
    stores |= {f"selected/replicate_0/{task.name}/rand_tapt_2": control for task in TASKS}
    table = selection_tables.coverage(TASKS, [2], stores, {"cs": {"num_candidates": 16, "num_tokens": 400}})
    assert table["task"].tolist() == ["x", "y"]
    row = table.iloc[0]
    assert (row["percent_of_candidates"], row["percent_of_tokens"]) == (25, 10)
    assert (row["control_selected"], row["control_tokens"]) == (3, 39)


def test_agreement_is_the_share_of_the_union():
    arms = {"vampire": knn_tapt(2), "bm25": knn_tapt(2, "bm25"), "random": rand_tapt(2)}
    matrix = selection_tables.agreement(TASKS, arms, chosen)
    assert matrix.loc["vampire", "bm25"] == pytest.approx(50) and matrix.loc["vampire", "vampire"] == 100
    assert matrix.loc["random", "vampire"] == pytest.approx(100 / 7) and matrix.index.name == "selector"


def test_what_each_strategy_reads_by_hand():
    stores = {"corpora/cs": {"num_documents": 100}, "tasks/x/train": {"num_documents": 5}}
    stores |= {"tasks/y/train": {"num_documents": 7}}
    for task, own in (("x", 5), ("y", 7)):
        stores[f"selected/replicate_0/{task}/knn_tapt_2"] = {"num_documents": own + 4, "num_selected": 4}
        stores[f"selected/replicate_0/{task}/curated_tapt"] = {"num_documents": own + 10, "num_selected": 10}
    arms = dict.fromkeys([DAPT_TAPT, knn_tapt(2), CURATED_TAPT], TASKS)
    table = selection_tables.table10(arms, stores, {"x": 5, "y": 7}).set_index("arm")
    assert table.loc["dapt_tapt"].tolist() == [100, 6, 0, 6]
    assert table.loc["knn_tapt_2"].tolist() == [4, 6, 0, 6]
    assert table.loc["curated_tapt"].tolist() == [0, 6, 10, 6]


def test_costs_are_means_over_tasks_beside_scores_and_the_papers():
    by_task = pd.DataFrame(
        {"arm": ["base", "tapt", "base", "tapt"], "task": ["x", "x", "y", "y"]}
        | dict.fromkeys(costs.COLUMNS, [0.0, 2, 0, 4])
    )
    runs = pd.DataFrame(
        {"arm": ["base", "tapt"] * 2, "task": ["x", "x", "y", "y"], "seed": 0, "replicate": 0, "degenerate": False}
    )
    table = selection_tables.table9(by_task, runs.assign(test_score=[0.5, 0.4, 0.5, 0.4]))
    ours = table[table["study"] == "ours"].set_index("arm")
    assert ours.loc["tapt", ["num_steps", "tflops"]].tolist() == [3, 3] and ours.loc["tapt", "score"] == pytest.approx(
        40
    )
    assert ours["pareto_optimal"].tolist() == [True, False]
    theirs = table[table["study"] == "paper"].set_index("arm")
    assert theirs.loc["tapt", "num_steps"] == 200 and pd.isna(theirs.loc["tapt", "tflops"])


def test_the_papers_neighbours_stand_under_ours_in_order():
    table = selection_tables.paper_table8([15, 5, 50])
    assert table["knn_tapt_5_mean"].tolist() == paper.table8()["knn_tapt_50_mean"].tolist()
    assert table["rand_tapt_5_mean"].tolist() == paper.table8()["rand_tapt_50_mean"].tolist()
    assert selection_tables.paper_table8([5]).columns.tolist() == paper.table8().columns.tolist()


def test_differences_go_by_the_text_that_was_read_and_the_number_of_neighbours():
    arms = [rand_tapt(2), knn_tapt(15), knn_tapt(2), BASE]
    rows = [{"contrast": over(arm, TAPT).name, "task": "mean", "effect": k} for k, arm in enumerate(arms)]
    table = selection_tables.by_neighbours(pd.DataFrame(rows).assign(low=0.0, high=1.0))
    assert table["text"].tolist() == ["random", "neighbours", "neighbours", "base"]
    assert table["num_neighbours"].tolist()[:3] == [2, 2, 15] and table["effect"].tolist() == [0, 2, 1, 3]
    assert set(table["other"]) == {"TAPT"}


def test_costs_hold_the_seconds_of_retrieval_and_leave_out_what_others_trained():
    rows = [
        ("ours", "base", 0.0, 0.0, 40.0),
        ("ours", "tapt", 10.0, 0.0, 41.0),
        ("ours", "knn_tapt_2", 9.0, 20.0, 40.5),
    ]
    rows += [("ours", "dapt", np.nan, 0.0, 44.0), ("paper", "tapt", np.nan, np.nan, 80.0)]
    costs = pd.DataFrame(rows, columns=["study", "arm", "cpu_seconds", "selection_seconds", "score"])
    arms, places = (TAPT, knn_tapt(2), DAPT), ("x", "mean")
    found = [{"contrast": over(arm, BASE).name, "task": t, "effect": 1.0} for arm in arms for t in places]
    effects = pd.DataFrame(found).assign(low=np.nan, high=np.nan, num_replicates=4)
    table = selection_tables.against_cost(costs, effects, {"x": 43.0, "y": 0})
    assert table["num_replicates"].tolist() == [4, 4, 0]
    assert table["arm"].tolist() == ["tapt", "knn_tapt_2", "naive_bayes"]
    assert table["seconds"].tolist() == [10, 29, 0] and table["gain"].tolist() == [1, 1, 3]
    assert table["pareto_optimal"].tolist() == [True, False, False]


def test_neighbours_stand_below_one_another_with_the_words_that_they_share():
    shown = {"text": "the matrix of a Rank", "rank": 1, "score": 0.5, "neighbour": "a rank of the matrix " + "b" * 200}
    rankings = {"x": {"vampire": {"shown": [shown]}, "bm25": {"shown": [shown | {"score": 7, "neighbour": "c"}]}}}
    first, second, third = selection_tables.neighbours(rankings, {"x": ["of rank"]}).to_dict("records")
    assert first["shared_words"] == "matrix, rank" and first["neighbour"].endswith("…")
    assert [row["text"] for row in (first, second, third)] == ["the matrix of a Rank", "", ""]
    assert (second["selector"], second["similarity"], second["shared_words"]) == ("bm25", 7, "")
    assert (third["selector"], third["neighbour"]) == ("random", "of rank") and np.isnan(third["similarity"])
    assert selection_tables.neighbours({}).empty


def test_topics_of_tasks_that_have_none_are_left_out():
    topic = {"words": ["matrix", "rank"], "npmi": 0.2, "share": 0.25}
    table = selection_tables.topics({"x": {"vampire": {"topics": [topic]}}, "y": {"bm25": {}}})
    assert table.to_dict("records") == [{"task": "x", "words": "matrix, rank", "npmi": 0.2, "share": 25.0}]
