"""Tables hold the hand-computed numbers, and the paper's below ours."""

import numpy as np
import pandas as pd
import pytest

from dontstop import paper
from dontstop.design.arms import BASE, DAPT, NOT_DAPT, short_tapt
from dontstop.report import gap_tables, tables
from dontstop.text.tasks import Task
from dontstop.verdicts.claims import CLAIMS
from dontstop.verdicts.effects import over

DOMAINS = {
    "general": {"num_documents": 9, "num_words": 800, "num_bytes": 5_000_000, "sha256": "0"},
    "numerical": {"num_documents": 4, "num_words": 300, "num_bytes": 2_500_000, "sha256": "0"},
}
TOKENS = {"corpora/general": {"num_tokens": 1000}, "corpora/numerical": {"num_tokens": 500}}


@pytest.fixture
def losses():
    values = {("base", "general"): 3.0, ("base", "numerical"): 4.0}
    values |= {("dapt_numerical", "general"): 3.5, ("dapt_numerical", "numerical"): 3.25}
    return pd.DataFrame([{"encoder": e, "held_out": h, "masked_lm_loss": v} for (e, h), v in values.items()])


@pytest.fixture
def runs():
    means = {"base": 0.60, "dapt": 0.64, "not_dapt": 0.58}
    return pd.DataFrame(
        {"task": t, "arm": a, "replicate": s, "seed": 0, "test_score": m + 0.02 * s + 0.1 * i}
        | {"degenerate": t == "y" and s == 1}
        for a, m in means.items()
        for i, t in enumerate("xy")
        for s in (0, 1)
    )


def gains(tasks, contrast="dapt_minus_base"):
    return pd.DataFrame(
        {"contrast": contrast, "task": tasks, "effect": 4.0, "low": 1.0, "high": 7.0, "p_value": 0.01, "p_holm": 0.02}
    )


def test_table1_has_our_corpora_then_the_papers(losses):
    table = tables.table1(list(DOMAINS), {"domains": DOMAINS}, TOKENS, losses)
    ours = table[table["study"] == "ours"].set_index("domain")
    assert ours["megabytes"].tolist() == [5.0, 2.5] and ours["num_tokens"].tolist() == [1000, 500]
    assert ours.loc["numerical", ["loss_before", "loss_after"]].tolist() == [4.0, 3.25]
    assert ours.loc["general", "loss_before"] == 3.0 and np.isnan(ours.loc["general", "loss_after"])
    theirs = table[table["study"] == "paper"].set_index("domain")
    assert theirs.loc["CS", "megabytes"] == 48_000 and theirs.loc["CS", "loss_after"] == 1.34


def test_table1_stands_before_anything_is_trained():
    table = tables.table1(list(DOMAINS), {"domains": DOMAINS}, TOKENS)
    assert table.loc[table["study"] == "ours", ["loss_before", "loss_after"]].isna().all(axis=None)


def test_table2_counts_classes_and_splits():
    splits = {s: {"num_examples": n, "label_counts": {"a": n}} for s, n in (("train", 5), ("dev", 6), ("test", 7))}
    tasks = {"x": {"domain": "numerical", "metric": "macro_f1", "labels": ["a", "b"], "splits": splits}}
    row = tables.table2(tasks).iloc[0]
    assert row[["num_train", "num_dev", "num_test", "num_classes"]].tolist() == [5, 6, 7, 2]
    assert len(tables.table2(tasks)) == 9
    assert tables.label_counts(tasks).to_dict("records")[1] == {
        "task": "x", "label": "b", "train": 0, "dev": 0, "test": 0,
    }  # fmt: skip


def test_table3_by_hand(runs):
    found = gains(["x", "y", "mean"])
    assert found["contrast"].iloc[0] == over(DAPT, BASE).name
    table = tables.scores(runs, found, paper.table3(), {"x": 40.0, "y": 50.0})
    x, y, mean = (row for _, row in table[table["study"] == "ours"].iterrows())
    assert (x["base", "mean"], x["base", "std"]) == (pytest.approx(61), pytest.approx(2**0.5))
    assert (y["dapt", "mean"], mean["not_dapt", "mean"]) == (pytest.approx(75), pytest.approx(64))
    assert [row["num_degenerate", ""] for row in (x, y, mean)] == [0, 3, 3] and mean["naive_bayes", ""] == 45
    shown = [x["dapt_minus_base", part] for part in ("effect", "low", "high", "p")]
    assert shown == [4, 1, 7, 0.02]
    theirs = table[table["study"] == "paper"].set_index(("task", ""))
    assert theirs.loc["ACL-ARC", ("base", "mean")] == 63.0
    assert theirs.loc["ACL-ARC", ("dapt_minus_base", "effect")] == pytest.approx(12.4)
    assert theirs.loc["mean", ("base", "mean")] == pytest.approx(paper.table3()["base_mean"].mean())
    assert theirs["num_seeds"].eq(5).all() and theirs["num_replicates"].eq(1).all()
    assert (mean["num_replicates", ""], mean["num_seeds", ""]) == (2, 1)


def test_the_papers_mean_over_our_tasks_where_they_are_some_of_its(runs):
    some = runs.replace({"task": {"x": "citation_intent", "y": "sciie"}})
    found = gains(["citation_intent", "sciie", "mean"])
    table = tables.scores(some, found, paper.table3()).set_index(("task", ""))
    assert table.loc["mean, our tasks", ("base", "mean")] == pytest.approx((63.0 + 77.3) / 2)
    assert table.loc["mean, our tasks", ("study", "")] == "paper"
    others = tables.scores(runs, gains(["x", "y", "mean"]), paper.table3())
    assert "mean, our tasks" not in set(others["task"])


def test_arms_that_the_paper_has_not_stay_empty_in_its_rows_and_nothing_compared_gives_no_row(runs):
    table = tables.scores(runs, gains(["x", "y", "mean"], over(DAPT, NOT_DAPT).name), paper.table5())
    theirs = table[table["study"] == "paper"]
    assert theirs["not_dapt", "mean"].isna().all() and theirs["dapt_minus_not_dapt", "effect"].isna().all()
    assert tables.scores(runs, gains([]), paper.table5()).columns.tolist() == ["study", "task"]


def test_runs_are_kept_on_the_tasks_and_in_the_replicates_of_all_their_arms(runs):
    partly = runs[(runs["arm"] != "dapt") | (runs["task"] == "y")]
    assert set(tables.in_common(partly)["task"]) == {"y"}
    assert len(tables.in_common(runs)) == len(runs)
    fewer = runs[(runs["arm"] != "dapt") | (runs["replicate"] == 0)]
    assert set(tables.in_common(fewer)["replicate"]) == {0} and len(tables.in_common(fewer)) == 6
    assert tables.in_common(runs.iloc[:0]).empty


def test_means_side_by_side_are_over_the_replicates_that_the_row_tells(runs):
    runs.loc[(runs["arm"] == "base") & (runs["replicate"] == 1), "test_score"] = 0.99
    fewer, found = runs[(runs["arm"] != "dapt") | (runs["replicate"] == 0)], gains(["x", "y", "mean"])
    row = tables.scores(fewer, found).iloc[0]
    assert (row["num_replicates", ""], row["base", "mean"], row["dapt", "mean"]) == (1, 60, 64)
    assert np.isnan(row["base", "std"]) and row["dapt_minus_base", "effect"] == 4
    never = runs[(runs["arm"] == "base") == (runs["replicate"] == 0)]
    assert tables.scores(never, found).empty
    first = tables.best_arms(pd.DataFrame(0.5, ["x", "y", "mean"], ["base", "dapt"]).rename_axis("task"), fewer)
    assert first["highest_mean"].tolist() == ["dapt"] * 3  # in both replicates, base has more


def test_table12_and_its_changes(losses):
    table = gap_tables.table12(losses, "general").set_index(["study", "encoder"])
    ours, theirs = table.loc["ours"], table.loc["paper"]
    assert ours.loc["dapt_numerical", ["general", "numerical"]].tolist() == [3.5, 3.25]
    assert ours.loc["dapt_numerical", ["in_domain_delta_loss", "general_delta_loss"]].tolist() == [-0.75, 0.5]
    assert np.isnan(ours.loc["base", "general_delta_loss"]) and np.isnan(ours.loc["base", "in_domain_delta_loss"])
    assert theirs.loc["dapt_CS", "general_delta_loss"] == pytest.approx(0.63)


@pytest.fixture
def measured():
    columns = {"vocabulary_overlap": 44.0, "vocabulary_overlap_low": 43.0, "vocabulary_overlap_high": 45.0}
    columns |= {"masked_lm_loss": 4.3, "jensen_shannon": np.nan, "num_words": 5000}
    return pd.DataFrame(columns, index=pd.Index(["numerical"], name="domain"))


def test_distances_with_the_papers_below(measured):
    table = gap_tables.distances(measured).set_index("domain")
    assert table.loc["BioMed", ["study", "vocabulary_overlap", "masked_lm_loss"]].tolist() == ["paper", 27.3, 1.32]
    assert table.loc["numerical", "num_words"] == 5000 and "PT" not in table.index


def test_gain_against_distance_leaves_out_what_was_not_measured(measured):
    task = Task("x", "numerical", "macro_f1", "X", "y")
    table = gap_tables.gain_against_distance(gains(["x", "mean"]), measured, [task])
    assert table["distance"].tolist() == ["vocabulary_overlap", "masked_lm_loss"]
    assert table.iloc[0][["value_low", "high"]].tolist() == [43, 7] and set(table["task"]) == {"x"}
    assert np.isnan(table.iloc[1]["value_low"])


def test_leak_audit_sums_over_corpora_and_names_the_worst():
    row = {"task": "x", "split": "test", "num_texts": 9, "num_exact": 1, "num_contained": 2, "num_near_duplicate": 0}
    audit = [row | {"corpus": "general", "max_containment": 0.2}, row | {"corpus": "numerical", "max_containment": 0.4}]
    assert tables.leak_audit(pd.DataFrame(audit)).to_dict("records") == [
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


def test_the_course_of_tapt_by_hand():
    short = [short_tapt(15), short_tapt(5)]
    cells = [("base", 0, 0.5), ("base", 1, 0.7), ("tapt_5_epochs", 0, 0.8), ("tapt_5_epochs", 1, 0.8)]
    cells += [("tapt_15_epochs", 0, 0.9), ("tapt", 0, 0.6)]
    table = pd.DataFrame(cells, columns=["arm", "replicate", "dev_score"]).assign(task="x", seed=0, test_score=0.5)
    other = table[~table["arm"].isin([arm.name for arm in short])].assign(task="a")
    curve = tables.tapt_curve(pd.concat([table, other]), short, None)
    assert set(curve["task"]) == {"x"}  # the other has no TAPT with fewer epochs
    dev = curve[curve["split"] == "dev"]
    assert dev["epochs"].tolist() == ["0", "5", "15", "kept"]
    assert dev["num_runs"].tolist() == [1] * 4  # of the replicate that has all epochs
    assert dev["mean"].tolist() == pytest.approx([50, 80, 90, 60])
    whole = tables.tapt_curve(table[table["arm"].isin(["base", "tapt_5_epochs"])], short[1:], None)
    assert whole.query("split == 'dev'")["std"].tolist() == pytest.approx([100 * 0.02**0.5, 0])
    assert tables.tapt_curve(table, short, 100)["epochs"].iloc[-1] == "100"
    assert tables.tapt_curve(other, [], None).empty


@pytest.fixture
def trainings():
    columns = ["checkpoint", "replicate", "checks", "kept_step", "num_steps", "loss_before", "loss_after"]
    rows = [("tapt_x", 0, [3.9, 3.5, 3.6], 40, 60, 4.0, 3.5), ("tapt_x", 1, [3.7], 20, 20, 4.2, 3.8)]
    rows += [("tapt_5_epochs_x", 0, [3.0], 20, 20, 4.0, 3.0), ("tapt_y", 0, [], 60, 60, 4.0, 3.0)]
    return pd.DataFrame(rows, columns=columns)


OF_TAPT = pd.DataFrame({"task": ["x", "x", "y"], "checkpoint": ["tapt_x", "tapt_x", "tapt_y"]})


def test_what_tapt_does_to_the_loss_is_averaged_over_replicates(trainings):
    table = tables.tapt_losses(trainings, OF_TAPT).set_index("task")
    assert table.loc["x", ["num_steps", "kept_step"]].tolist() == [40, 30] and table.index.tolist() == ["x", "y"]
    assert table["change"].tolist() == pytest.approx([-0.45, -1.0]) and table["num_replicates"].tolist() == [2, 1]


def test_checks_stand_at_even_distances_and_the_least_is_the_step_kept(trainings):
    table = tables.checks(trainings, OF_TAPT)
    assert set(table["task"]) == {"x"}  # the other was trained without checks
    first, second = (table[table["replicate"] == replicate] for replicate in (0, 1))
    assert first["step"].tolist() == [0, 20, 40, 60] and first["masked_lm_loss"].tolist() == [4.0, 3.9, 3.5, 3.6]
    assert first.loc[first["kept"], "step"].tolist() == [40] and second["kept"].tolist() == [False, True]


def test_remedies_of_forgetting_are_set_against_base_by_hand():
    losses = [("base", "d", 4.0), ("base", "general", 3.0), ("dapt_d", "d", 3.0), ("dapt_d", "general", 3.5)]
    losses += [("replay_dapt_d", "d", 3.2), ("replay_dapt_d", "general", 3.1)]
    losses = pd.DataFrame(losses, columns=["encoder", "held_out", "masked_lm_loss"])
    losses = pd.concat([losses.assign(replicate=r, masked_lm_loss=losses["masked_lm_loss"] + r) for r in (0, 1)])
    cells = [(a, r, p + 0.01 * r * (a == "dapt")) for a, p in (("base", 0.5), ("dapt", 0.54)) for r in (0, 1)]
    cells += [("replay_dapt", r, 0.53) for r in (0, 1)]
    runs = pd.DataFrame(cells, columns=["arm", "replicate", "test_score"]).assign(task="x", domain="d", seed=0)
    runs["checkpoint"] = runs["arm"].map({"base": "base", "dapt": "dapt_d", "replay_dapt": "replay_dapt_d"})
    table = gap_tables.against_forgetting(runs.assign(test_log_probability=runs["test_score"] - 2), losses, "general")
    assert table["arm"].tolist() == ["dapt", "replay_dapt"] and table["effect"].tolist() == pytest.approx([4.5, 3.0])
    assert table["log_probability_gain"].tolist() == pytest.approx([0.045, 0.03])
    assert table["in_domain_delta_loss"].tolist() == pytest.approx([-1.0, -0.8])
    assert table["general_delta_loss"].tolist() == pytest.approx([0.5, 0.1])
    assert table["num_replicates"].tolist() == [2, 2]
    once = runs[(runs["arm"] != "replay_dapt") | (runs["replicate"] == 0)]
    measured = losses[~losses["encoder"].str.startswith("replay") | (losses["replicate"] == 0)]
    both = once.assign(test_log_probability=0.0), runs.assign(test_log_probability=0.0)
    for some in both:  # an encoder that a replicate did not measure is left out of it
        table = gap_tables.against_forgetting(some, measured, "general")
        assert table["in_domain_delta_loss"].tolist() == pytest.approx([-1.0, -0.8])
    assert gap_tables.against_forgetting(both[0], losses, "general")["num_replicates"].tolist() == [2, 1]


def test_verdicts_of_several_profiles_stand_side_by_side():
    names = {claim.id: f"{claim.id}: {claim.statement}" for claim in CLAIMS}  # and none that a table tells
    columns = ["claim", "statement", "study", "task", "verdict", "effect", "low", "high", "detectable"]
    rows = [("C2", "A", "ours", "mean", "holds", 2.75, 1.0, 4.5, 2.0)]
    rows += [("C2", "A", "ours", "x", "holds", 9.0, 8.0, 10.0, 2.0)]
    rows += [("C2", "A", "paper", "mean", "holds", 2.8, 1.0, 3.0, 1.0)]
    rows += [("C5", "B", "ours", "mean", "inconclusive", -0.2, -1.0, 0.6, 1.5)]
    costs = {"tflops": 0.41, "bytes": 0.002, "mean": np.nan}
    places = [(study, name) for study in ("ours", "paper") for name in costs]
    rows += [("C13", "C", study, name, "holds", costs[name], *[np.nan] * 3) for study, name in places]
    laptop = pd.DataFrame(rows, columns=columns)
    mini = laptop[laptop["claim"] == "C5"].drop(columns="detectable").replace({"inconclusive": "not run"})
    table = tables.side_by_side({"laptop": laptop, "mini": mini.assign(effect=np.nan, low=np.nan)}).set_index("claim")
    assert table.columns.tolist() == ["paper", "laptop", "mini"]
    assert table.loc[names["C2"]].tolist() == ["**holds** +2.8", "**holds** +2.8 [+1.0, +4.5]", "–"]
    assert table.loc[names["C5"], "laptop"] == "**inconclusive** −0.2 [−1.0, +0.6] (detectable: 1.5)"
    assert table.loc[names["C5"], "mini"] == "not run"
    assert table.loc[names["C13"], "laptop"] == "**holds** 41.0 % of the FLOPs, 0.2 % of the bytes"
    assert table.loc[names["C13"], "paper"] == "**holds** 41.0 % of the steps, 0.2 % of the bytes"
    older = laptop.drop(columns="detectable").replace({"holds": "inconclusive"})  # by the rule before replicates
    table = tables.side_by_side({"mini": older, "laptop": laptop.assign(num_replicates=3)}).set_index("claim")
    assert table.loc[names["C2"]].tolist()[:2] == ["**holds** +2.8", "**inconclusive** +2.8 [+1.0, +4.5]"]


def test_the_arm_with_the_highest_mean_need_not_be_the_likeliest(runs):
    best = {"base": [0.9, 0.1, 0.5], "dapt": [0.1, 0.9, 0.5]}
    best = pd.DataFrame(best, index=["x", "y", "mean"]).rename_axis("task")
    table = tables.best_arms(best, runs)
    assert table["highest_mean"].tolist() == ["dapt", "dapt", "dapt"]
    assert table.columns.tolist() == ["task", "highest_mean", "base", "dapt"]
