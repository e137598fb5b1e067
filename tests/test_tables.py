"""Tables hold the hand-computed numbers, the paper's below ours, and round on display only."""

import numpy as np
import pandas as pd
import pytest

from dontstop import paper
from dontstop.report import presentation, tables

DOMAINS = {
    "general": {"num_documents": 9, "num_words": 800, "num_bytes": 5_000_000, "sha256": "0"},
    "numerical": {"num_documents": 4, "num_words": 300, "num_bytes": 2_500_000, "sha256": "0"},
}


@pytest.fixture
def losses():
    values = {("base", "general"): 3.0, ("base", "numerical"): 4.0}
    values |= {("dapt_numerical", "general"): 3.5, ("dapt_numerical", "numerical"): 3.25}
    return pd.DataFrame([{"encoder": e, "held_out": h, "masked_lm_loss": v} for (e, h), v in values.items()])


@pytest.fixture
def records():
    means = {"base": 0.60, "dapt": 0.64, "not_dapt": 0.58}
    return pd.DataFrame(
        {"task": t, "arm": a, "seed": s, "test_score": m + 0.02 * s + 0.1 * i, "degenerate": t == "y" and s == 1}
        for a, m in means.items()
        for i, t in enumerate("xy")
        for s in (0, 1)
    )


def gains(tasks):
    return pd.DataFrame(
        {"difference": 4.0, "difference_low": 1.0, "difference_high": 7.0}, index=pd.Index(tasks, name="task")
    )


def test_table1_has_our_corpora_then_the_papers(losses):
    table = tables.table1_corpora(DOMAINS, {"general": 1000, "numerical": 500}, losses)
    ours = table[table["study"] == "ours"].set_index("domain")
    assert ours["megabytes"].tolist() == [5.0, 2.5] and ours["num_tokens"].tolist() == [1000, 500]
    assert ours.loc["numerical", ["loss_before", "loss_after"]].tolist() == [4.0, 3.25]
    assert ours.loc["general", "loss_before"] == 3.0 and np.isnan(ours.loc["general", "loss_after"])
    theirs = table[table["study"] == "paper"].set_index("domain")
    assert theirs.loc["CS", "megabytes"] == 48_000 and theirs.loc["CS", "loss_after"] == 1.34


def test_table1_stands_before_anything_is_trained():
    table = tables.table1_corpora(DOMAINS)
    assert table.loc[table["study"] == "ours", ["loss_before", "loss_after"]].isna().all(axis=None)


def test_table2_counts_classes_and_splits():
    splits = {s: {"num_examples": n, "label_counts": {"a": n}} for s, n in (("train", 5), ("dev", 6), ("test", 7))}
    tasks = {"x": {"domain": "numerical", "metric": "macro_f1", "labels": ["a", "b"], "splits": splits}}
    row = tables.table2_tasks(tasks).iloc[0]
    assert row[["num_train", "num_dev", "num_test", "num_classes"]].tolist() == [5, 6, 7, 2]
    assert len(tables.table2_tasks(tasks)) == 9
    assert tables.label_counts(tasks).to_dict("records")[1] == {
        "task": "x", "label": "b", "train": 0, "dev": 0, "test": 0,
    }  # fmt: skip


def test_table3_by_hand(records):
    differences = {"dapt_gain": gains(["x", "y", "mean"]).assign(p_value=0.01, p_holm=0.02)}
    pairs = {"dapt_gain": ("dapt", "base"), "unused": ("dapt", "not_dapt")}
    arms = ("base", "dapt", "not_dapt")
    table = tables.score_table(records, arms, ["x", "y"], [0, 1], differences, paper.table3(), pairs)
    x, y, mean = (row for _, row in table[table["study"] == "ours"].iterrows())
    assert (x["base_mean"], x["base_std"]) == (pytest.approx(61), pytest.approx(2**0.5))
    assert (y["dapt_mean"], mean["not_dapt_mean"]) == (pytest.approx(75), pytest.approx(64))
    assert (x["num_degenerate"], y["num_degenerate"], mean["num_degenerate"]) == (0, 3, 3)
    assert (x["dapt_gain"], x["dapt_gain_low"], mean["dapt_gain_high"], x["dapt_gain_p"]) == (4, 1, 7, 0.02)
    theirs = table[table["study"] == "paper"].set_index("task")
    assert theirs.loc["ACL-ARC", "base_mean"] == 63.0 and theirs.loc["ACL-ARC", "dapt_gain"] == pytest.approx(12.4)
    assert theirs.loc["mean", "base_mean"] == pytest.approx(paper.table3()["base_mean"].mean())


def test_the_papers_mean_over_our_tasks_where_they_are_some_of_its(records):
    ours = ["citation_intent", "sciie"]
    some = records[records["task"].isin(["x", "y"])].replace({"task": {"x": ours[0], "y": ours[1]}})
    arms = ("base", "dapt")
    table = tables.score_table(some, arms, ours, [0, 1], {}, paper.table3(), {}).set_index("task")
    assert table.loc["mean, our tasks", "base_mean"] == pytest.approx((63.0 + 77.3) / 2)
    assert table.loc["mean, our tasks", "study"] == "paper"
    others = tables.score_table(records, arms, ["x", "y"], [0, 1], {}, paper.table3(), {})
    assert "mean, our tasks" not in set(others["task"])


def test_table12_and_its_changes(losses):
    table = tables.table12_cross_domain_loss(losses, "general")
    assert table.loc["dapt_numerical", ["general", "numerical"]].tolist() == [3.5, 3.25]
    assert table.loc["dapt_numerical", ["change_on_own", "change_on_base_text"]].tolist() == [-0.75, 0.5]
    assert np.isnan(table.loc["base", "change_on_base_text"])
    assert tables.paper_table12().loc["dapt_CS", "change_on_base_text"] == pytest.approx(0.63)


def test_forgetting_has_the_papers_four_domains_below(losses):
    table = tables.forgetting(losses, "general")
    assert table["study"].tolist() == ["ours", *["paper"] * 4]
    assert table.iloc[0][["own_change", "base_text_change"]].tolist() == [-0.75, 0.5]
    assert table.set_index("domain").loc["News", "own_change"] == pytest.approx(0.08)


@pytest.fixture
def measured():
    columns = {"vocabulary_overlap": 44.0, "vocabulary_overlap_low": 43.0, "vocabulary_overlap_high": 45.0}
    columns |= {"masked_lm_loss": 4.3, "jensen_shannon": np.nan, "num_words": 5000}
    return pd.DataFrame(columns, index=pd.Index(["numerical"], name="domain"))


def test_distances_with_the_papers_below(measured):
    table = tables.distances(measured).set_index("domain")
    assert table.loc["BioMed", ["study", "vocabulary_overlap", "masked_lm_loss"]].tolist() == ["paper", 27.3, 1.32]
    assert table.loc["numerical", "num_words"] == 5000 and "PT" not in table.index


def test_gain_against_distance_leaves_out_what_was_not_measured(measured):
    table = tables.gain_against_distance(gains(["x", "mean"]), measured, {"x": "numerical"})
    assert table["distance"].tolist() == ["vocabulary_overlap", "masked_lm_loss"]
    assert table.iloc[0][["value_low", "gain_high"]].tolist() == [43, 7] and set(table["task"]) == {"x"}
    by_task = tables.gain_against_distance(gains(["x"]), measured.rename({"numerical": "x"}), {"x": "d"}, by_task=True)
    assert set(by_task["domain"]) == {"d"}


def test_leak_audit_sums_over_corpora_and_names_the_worst():
    row = {"task": "x", "split": "test", "num_texts": 9, "num_exact": 1, "num_contained": 2, "num_near_duplicate": 0}
    audit = [row | {"corpus": "general", "max_containment": 0.2}, row | {"corpus": "numerical", "max_containment": 0.4}]
    assert tables.leak_audit(audit).to_dict("records") == [
        {
            "task": "x",
            "split": "test",
            "num_texts": 9,
            "num_exact": 2,
            "num_contained": 4,
            "num_near_duplicate": 0,
            "max_containment": 0.4,
            "corpus": "numerical",
        }
    ]


def test_written_files_keep_full_precision_in_csv(tmp_path, losses):
    table = tables.table12_cross_domain_loss(losses.assign(masked_lm_loss=losses["masked_lm_loss"] / 3), "general")
    presentation.write_table(table, tmp_path / "tables" / "table12.v1", decimals=2)
    assert sorted(p.name for p in (tmp_path / "tables").iterdir()) == ["table12.v1.csv", "table12.v1.md"]
    again = pd.read_csv(tmp_path / "tables" / "table12.v1.csv", index_col="encoder")
    pd.testing.assert_frame_equal(again, table, check_exact=True)
    assert (tmp_path / "tables" / "table12.v1.md").read_text().startswith("| encoder ")


def test_the_course_of_tapt_by_hand():
    cells = [("base", 0, 0.5), ("base", 1, 0.7), ("tapt_5_epochs", 0, 0.8), ("tapt_5_epochs", 1, 0.8), ("tapt", 0, 0.6)]
    table = pd.DataFrame(cells, columns=["arm", "seed", "dev_score"]).assign(task="x", test_score=0.5)
    curve = tables.tapt_curve(table, {"tapt": 10, "base": 0, "tapt_5_epochs": 5})
    assert curve["num_epochs"].tolist() == [0, 5, 10] and curve["num_seeds"].tolist() == [2, 2, 1]
    assert curve["dev_mean"].tolist() == pytest.approx([60, 80, 60])
    assert curve["dev_std"].tolist()[:2] == pytest.approx([100 * 0.02**0.5, 0])
    assert tables.tapt_curve(table[:0], {}).empty


def test_what_tapt_does_to_the_loss_by_hand():
    names = ["tapt_x", "tapt_5_epochs_x", "tapt_y"]
    rows = pd.DataFrame({"checkpoint": names, "num_steps": 1, "num_tokens": 2, "loss_before": 4.0, "loss_after": 3.5})
    table = tables.tapt_losses(rows, {"tapt_x": "x", "tapt_y": "y"})
    assert table["task"].tolist() == ["x", "y"] and table["change"].tolist() == [-0.5, -0.5]


def test_the_arm_with_the_highest_mean_need_not_be_the_likeliest(records):
    best = pd.DataFrame({"base": [0.9, 0.1, 0.5], "dapt": [0.1, 0.9, 0.5]}, index=["x", "y", "mean"]).rename_axis(
        "task"
    )
    table = tables.best_arms(best, records, ["x", "y"], [0, 1])
    assert table["highest_mean"].tolist() == ["dapt", "dapt", "dapt"]
    assert table.columns.tolist() == ["task", "highest_mean", "base", "dapt"]
