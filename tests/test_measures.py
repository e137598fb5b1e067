"""Measures: fabricated arms of known truth come out as such, by every road, and are computed once."""

import gc
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from dontstop.profiles import Selection
from dontstop.report import measures
from dontstop.runs.records import decode_predictions
from dontstop.verdicts import claims, comparisons
from fabricated import make_record, make_records

TASKS = ("x", "y")
SEEDS = (0, 1, 2, 3, 4)
ACCURACIES = {"base": 0.60, "dapt": 0.66, "not_dapt": 0.55, "tapt": 0.66, "dapt_tapt": 0.72, "transfer_tapt": 0.60}
TRUTH = np.random.default_rng(5).integers(0, 3, 1000)


def fabricate():
    rows = [make_records(ACCURACIES, TRUTH, seed=k, task=task, spread=0.005) for k, task in enumerate(TASKS)]
    table = pd.concat(rows, ignore_index=True)
    return table.assign(fingerprint=[f"{row.task} {row.arm} {row.seed}" for row in table.itertuples()])


ALL = fabricate()


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Give what the measures look at: two tasks, six arms, five seeds."""
    monkeypatch.setattr(measures, "NUM_RESAMPLES", 100)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels collects garbage at every correction: most of the time
    found = SimpleNamespace(
        notebook="04_dapt_tapt",
        tasks=[SimpleNamespace(name=task) for task in TASKS],
        profile=SimpleNamespace(seeds=list(SEEDS), selection=Selection(num_neighbours=[1, 2, 4])),
        transfer_tasks=lambda: found.tasks,
        augmented_tasks=list,
        curated_tasks=list,
        cheap_arms=list,
        cheap_tasks=lambda: found.tasks[:1],
        paths=SimpleNamespace(work=tmp_path),
        true_labels=lambda task: TRUTH,
        cells=ALL,
    )
    found.arm_records = lambda *names: found.cells[found.cells["arm"].isin(names)].reset_index(drop=True)
    found.available_arms = lambda: list(dict.fromkeys(found.cells["arm"]))
    return found


def score(arm, task):
    return ALL[(ALL["arm"] == arm) & (ALL["task"] == task)].sort_values("seed")["test_score"].to_numpy()


@pytest.mark.parametrize("notebook", measures.FAMILIES)
def test_gains_are_those_of_the_records_and_corrected_over_the_whole_table(study, notebook):
    study.notebook = notebook
    gains = measures.gains(study)
    pairs = measures.FAMILIES[notebook].pairs
    assert gains.index.tolist() == [(name, task) for name in pairs for task in (*TASKS, "mean")]
    for name, (a, b) in pairs.items():
        expected = [100 * (score(a, task) - score(b, task)).mean() for task in TASKS]
        assert gains.loc[name, "difference"].tolist() == pytest.approx([*expected, np.mean(expected)])
    for family in (gains.drop(index="mean", level=1), gains.xs("mean", level=1)):
        corrected = comparisons.holm(family["p_value"]).tolist()
        assert family["p_holm"].tolist() == pytest.approx(corrected, rel=1e-6, abs=1e-14)  # kept to 15 decimals


def test_every_comparison_is_of_arms_that_the_notebook_shows():
    assert set(measures.CLAIMS) == {*measures.FAMILIES, "06_knn_tapt"}
    for family in measures.FAMILIES.values():
        assert {arm for pair in family.pairs.values() for arm in pair} <= set(family.arms)
    known = {claim.name: claims.arms_of(claim, (1, 2)) for claim in claims.CLAIMS}
    for notebook, family in measures.FAMILIES.items():
        assert set().union(*(known[name] for name in measures.CLAIMS[notebook])) <= set(family.arms)


def test_the_families_of_enlarged_text_follow_the_profile(study):
    study.notebook = "06_knn_tapt"
    study.augmented_tasks = study.curated_tasks = lambda: study.tasks[:1]
    study.profile.selection = Selection(num_neighbours=[8, 2, 4], compared=["bm25"])
    found = measures.families(study)
    assert list(found) == ["table8", "table7", "selectors"] and {f.tasks for f in found.values()} == {("x",)}
    assert found["table8"].arms[2:8] == tuple(f"{kind}_tapt_{k}" for kind in ("rand", "knn") for k in (2, 4, 8))
    assert found["table8"].pairs["knn_tapt_8_over_random"] == ("knn_tapt_8", "rand_tapt_8")
    assert found["selectors"].pairs["knn_tapt_4_bm25_over_random"] == ("knn_tapt_4_bm25", "rand_tapt_4")
    assert set(measures.CLAIMS["06_knn_tapt"]) | {c for n in measures.FAMILIES for c in measures.CLAIMS[n]} == {
        claim.name for claim in claims.CLAIMS
    }
    study.curated_tasks = list
    assert "table7" not in measures.families(study) and "curated_tapt" not in measures.family(study).arms


def test_each_cheap_arm_stands_beside_the_base_and_the_arm_that_trains_all(study):
    assert list(measures.families(study)) == ["04_dapt_tapt"]
    study.cheap_arms = lambda: ["lora_dapt", "embedding_tapt"]
    chosen = measures.family(study, measures.CHEAP)
    assert chosen.arms == ("base", "dapt", "lora_dapt", "tapt", "embedding_tapt") and chosen.tasks == ("x",)
    assert chosen.pairs == {
        "lora_dapt_gain": ("lora_dapt", "base"),
        "embedding_tapt_gain": ("embedding_tapt", "base"),
        "lora_dapt_over_dapt": ("lora_dapt", "dapt"),
        "embedding_tapt_over_tapt": ("embedding_tapt", "tapt"),
    }
    assert measures.family(study).arms == measures.FAMILIES["04_dapt_tapt"].arms  # the first, as before


def test_the_best_of_known_arms_is_found(study):
    best = measures.probability_best(study)
    assert best.index.tolist() == [*TASKS, "mean"] and best.columns.tolist() == list(measures.family(study).arms)
    assert best.sum(axis=1).tolist() == pytest.approx([1, 1, 1]) and (best["dapt_tapt"] > 0.95).all()


def test_aggregates_by_hand(study):
    table = measures.aggregates(study)
    runs = np.sort(100 * np.concatenate([score("tapt", task) for task in TASKS]))
    assert table.loc["tapt", "mean"] == pytest.approx(runs.mean())
    assert table.loc["tapt", "iqm"] == pytest.approx(runs[2:8].mean())  # of ten runs, two are cut off at each end
    assert table.loc["base", "beats_base"] == 0.5 and table.loc["dapt_tapt", "beats_base"] == 1
    assert (table["iqm_low"] <= table["iqm"]).all() and (table["iqm"] <= table["iqm_high"]).all()


def test_three_roads_to_one_difference(study):
    table = measures.tests(study).set_index(["comparison", "task"])
    assert len(table) == len(measures.family(study).pairs) * len(TASKS)
    row = table.loc[("tapt_gain", "y")]
    assert row["paired"] == pytest.approx(row["welch"]) == pytest.approx(row["without_degenerate"])
    expected = stats.ttest_ind(score("tapt", "y"), score("base", "y"), equal_var=False).pvalue
    assert row["p_welch"] == pytest.approx(expected) and row["num_left_out"] == 0


def test_a_degenerate_seed_is_left_out_on_one_road_only(study):
    broken = make_record("x", "base", 2, TRUTH, np.zeros(len(TRUTH), int), fingerprint="broken")
    place = ALL[(ALL["task"] == "x") & (ALL["arm"] == "base") & (ALL["seed"] == 2)].index
    study.cells = pd.concat([ALL.drop(index=place), pd.DataFrame([broken])], ignore_index=True)
    table = measures.tests(study).set_index(["comparison", "task"])
    kept = [seed for seed in SEEDS if seed != 2]
    without = 100 * (score("tapt", "x") - score("base", "x"))[kept].mean()
    row = table.loc[("tapt_gain", "x")]
    assert row["without_degenerate"] == pytest.approx(without) and row["paired"] > without + 1
    assert set(table["num_left_out"]) == {1}
    other = table.loc[("tapt_gain", "y")]
    assert other["without_degenerate"] == pytest.approx(other["paired"])


@pytest.mark.parametrize(
    ("names", "missing", "expected"),
    [
        (("C5", "C6"), (), {"C5": "holds", "C6": "holds"}),
        (("C7",), (), {"C7": "holds"}),
        (("C5", "C6"), ("dapt_tapt",), {"C5": "holds", "C6": "not run"}),
    ],
)
def test_a_notebook_judges_its_own_claims_by_the_arms_that_are_there(study, names, missing, expected):
    study.cells = ALL[~ALL["arm"].isin(missing)]
    judged = measures.judged(study, names)
    whole = judged[(judged["study"] == "ours") & (judged["scope"] == claims.ALL_TASKS)]
    assert dict(zip(whole["claim"], whole["verdict"], strict=True)) == expected
    assert set(judged["study"]) == {"ours", "paper"}


def test_what_was_measured_is_read_until_the_records_change(study, monkeypatch):
    first = measures.gains(study)
    monkeypatch.setattr(measures, "_resampled", None)  # computing again would fail
    pd.testing.assert_frame_equal(measures.gains(study), first, check_exact=True)
    study.cells = ALL.assign(fingerprint=[f"new {name}" for name in ALL["fingerprint"]])
    with pytest.raises(TypeError):
        measures.gains(study)


def test_scores_without_the_texts_that_were_told_before(study, monkeypatch):
    """Texts that every arm gets right by heart: without them every score is lower, and by how much is countable."""
    study.notebook = "03_tapt"
    marks = {"x": np.arange(len(TRUTH)) < 200, "y": np.zeros(len(TRUTH), bool)}
    counted = pd.DataFrame({"score": 60.0, "score_without": 55.0, "num_test": 1000, "num_affected": [200, 0]}, TASKS)
    monkeypatch.setattr(measures, "told_before", lambda study: marks)
    monkeypatch.setattr(measures, "naive_bayes", lambda study: counted)
    cells = study.cells.copy()
    known = cells["task"] == "x"
    for place in np.flatnonzero(known):
        row = cells.iloc[place]
        predicted = decode_predictions(row["test_predictions"])
        predicted = np.where(marks["x"], TRUTH, predicted)
        record = make_record("x", row["arm"], row["seed"], TRUTH, predicted)
        for column in ("test_score", "test_predictions"):
            cells.iloc[place, cells.columns.get_loc(column)] = record[column]
    study.cells = cells
    table = measures.published_leaks(study)
    assert table["arm"].tolist() == ["naive_bayes", "base", "dapt", "tapt"] and set(table["task"]) == {"x"}
    assert table[["num_test", "num_affected"]].drop_duplicates().to_numpy().tolist() == [[1000, 200]]
    base = table.set_index("arm").loc["base"]
    rows = cells[(cells["task"] == "x") & (cells["arm"] == "base")]
    assert base["score"] == pytest.approx(100 * rows["test_score"].mean())
    without = [decode_predictions(text)[200:] for text in rows["test_predictions"]]
    expected = [f1_score(TRUTH[200:], p, average="macro") for p in without]
    assert base["score_without"] == pytest.approx(100 * np.mean(expected), abs=1e-4)
    assert (table["change"] < 0).all() and base["change"] == pytest.approx(base["score_without"] - base["score"])
