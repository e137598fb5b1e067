"""The paper's numbers are the published ones, complete, and agree with one another where they should."""

import numpy as np
import pandas as pd
import pytest

from dontstop import paper


def test_table1_has_the_losses_before_and_after():
    table = paper.table1().set_index("domain")
    assert list(table.index) == ["PT", "BioMed", "CS", "News", "Reviews"]
    assert table.loc["BioMed", ["loss_before", "loss_after"]].tolist() == [1.32, 0.99]
    assert table.loc["News", "loss_after"] > table.loc["News", "loss_before"]
    assert pd.isna(table.loc["PT", "num_documents"]) and pd.isna(table.loc["PT", "loss_after"])


def test_figure2_is_symmetric_with_a_full_diagonal():
    overlap = paper.figure2()
    np.testing.assert_array_equal(overlap.to_numpy(), overlap.to_numpy().T)
    assert set(np.diag(overlap)) == {100}
    assert overlap.loc["News", "Reviews"] == 40.0


def test_table2_has_two_tasks_a_domain_and_the_corrected_size_of_rct():
    table = paper.table2()
    assert table.groupby("domain").size().to_dict() == {"BioMed": 2, "CS": 2, "News": 2, "Reviews": 2}
    assert table.set_index("task").loc["rct-20k", "num_train"] == 180_040
    assert set(table.loc[table["metric"] == "micro_f1", "task"]) == {"chemprot", "rct-20k"}


@pytest.mark.parametrize("name", ["table3", "table5", "table6"])
def test_score_tables_cover_the_eight_tasks(name):
    table = getattr(paper, name)()
    assert set(table.index) == set(paper.table2()["task"])
    assert table.filter(like="_mean").to_numpy().min() > 50


def test_tables_3_and_5_agree_on_what_they_share():
    shared = ["base_mean", "base_std", "dapt_mean"]
    pd.testing.assert_frame_equal(paper.table3()[shared], paper.table5()[shared])


def test_tables_1_and_12_agree_on_the_diagonal_and_the_base():
    losses, corpora = paper.table12(), paper.table1().set_index("domain")
    for domain in losses.columns:
        assert losses.loc["base", domain] == corpora.loc[domain, "loss_before"]
    for domain in losses.columns.drop("PT"):
        assert losses.loc[f"dapt_{domain}", domain] == corpora.loc[domain, "loss_after"]


def test_settings_are_the_defaults_of_the_schema():
    from dontstop.profiles import Finetune, PhaseSettings

    dapt, tuning = paper.table13()["dapt"], paper.table14()["low_resource"]
    phase = PhaseSettings(num_steps=int(dapt["num_steps"]))
    for setting in paper.table13().index.drop("num_epochs"):
        assert getattr(phase, setting) == dapt[setting], setting
    for setting in ("num_epochs", "patience", "batch_size", "learning_rate", "dropout"):
        assert getattr(Finetune(), setting) == tuning[setting], setting


def test_not_dapt_never_is_the_domain_itself():
    for reading in ("paper", "code"):
        assert all(domain != other for domain, other in paper.not_dapt(reading).items())
    assert paper.not_dapt()["News"] == "CS" and paper.not_dapt("code")["News"] == "BioMed"


def test_gains_join_three_tables():
    row = paper.dapt_gains().loc["citation_intent"]
    assert (row["domain"], row["vocabulary_overlap"], row["masked_lm_loss"]) == ("CS", 19.2, 1.63)
    assert row["gain"] == pytest.approx(12.4)


def test_callers_cannot_change_the_numbers():
    mine = paper.table3()
    mine.iloc[:] = 0
    assert paper.table3().loc["chemprot", "base_mean"] == 81.9


def test_errata_name_their_place():
    assert paper.errata()["where"].str.match(r"(Table|Figure) \d+$").all()


def test_tables_7_to_9_agree_with_the_others_where_they_share_a_cell():
    table5, table7, table8 = paper.table5(), paper.table7(), paper.table8()
    for arm in ("base", "tapt", "dapt"):
        shared = ["chemprot", "citation_intent"]
        assert table8.loc[shared, f"{arm}_mean"].tolist() == table5.loc[shared, f"{arm}_mean"].tolist()
    assert table7.loc["imdb", "dapt_tapt_mean"] == table5.loc["imdb", "dapt_tapt_mean"]
    assert table8.loc["rct-500", "curated_tapt_mean"] == table7.loc["rct-500", "curated_tapt_mean"]
    scores = paper.table9().set_index("arm")["score"]
    for arm in ("base", "tapt", "knn_tapt_50", "knn_tapt_150", "knn_tapt_500", "curated_tapt", "dapt"):
        assert scores[arm] == table8.loc["rct-500", f"{arm}_mean"]
    assert set(table8.index) | set(table7.index) <= set(paper.task_names().index)
