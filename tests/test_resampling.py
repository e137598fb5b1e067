"""Test texts and replicates resampled: sklearn's scores, known variances, errors for what does not follow."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from dontstop.errors import StudyError
from dontstop.verdicts import effects, resampling
from dontstop.verdicts.effects import over
from fabricated import f1, make_record, make_records

TRUTH = np.random.default_rng(1).integers(0, 3, 400)


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1"])
def test_weighted_scores_are_sklearns(metric):
    rng = np.random.default_rng(0)
    predictions, weights = rng.integers(0, 3, (4, 400)), rng.integers(0, 4, (3, 400)).astype(np.float32)
    found = resampling.weighted_scores(weights, predictions, TRUTH, 3, metric)
    for i, weighting in enumerate(weights):
        for j, predicted in enumerate(predictions):
            average = metric.removesuffix("_f1")
            assert found[i, j] == pytest.approx(f1_score(TRUTH, predicted, average=average, sample_weight=weighting))


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1"])
def test_fabricated_records_have_sklearns_scores(metric):
    for predicted in (np.random.default_rng(0).integers(0, 3, 400), np.zeros(400, int)):
        theirs = f1_score(TRUTH, predicted, labels=range(3), average=metric.removesuffix("_f1"), zero_division=0.0)
        assert f1(TRUTH, predicted, metric) == pytest.approx(theirs)


def test_draws_are_of_the_right_size_and_the_first_counts_each_once():
    drawn = resampling.draw_weights(np.random.default_rng(0), 7, 30)
    assert drawn.shape == (8, 30) and (drawn.sum(axis=1) == 30).all() and (drawn[0] == 1).all()


def compare(records, truth=TRUTH, **how):
    return resampling.multi_bootstrap(records, [over("dapt", "base")], {"task": truth}, **how).iloc[0]


def fabricate(accuracies, seed=0, num_replicates=6, num_seeds=2, **more):
    how = {"seeds": range(num_seeds), "replicates": range(num_replicates)}
    return make_records(accuracies, TRUTH, seed=seed, **how, **more)


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1"])
def test_a_large_difference_is_found_and_none_is_not_invented(metric):
    records = fabricate({"dapt": 0.8, "base": 0.6}, spread=0.02, metric=metric)
    gain, of_effects = compare(records), effects.effects(records, [over("dapt", "base")]).iloc[-1]
    assert gain["effect"] == pytest.approx(of_effects["effect"], abs=1e-4) and gain["num_replicates"] == 6
    assert 10 < gain["low"] < 20 < gain["high"] < 30 and gain["p_value"] == pytest.approx(0.001)
    same = pd.concat([records[records["arm"] == "base"], records[records["arm"] == "base"].assign(arm="dapt")])
    assert compare(same)[["effect", "low", "high", "p_value"]].tolist() == [0, 0, 0, 1]


def test_its_variance_is_that_of_texts_and_of_replicates():
    """Where all replicates are alike, the texts'; where texts say the same throughout, the replicates'."""
    rng = np.random.default_rng(0)
    right = {arm: np.where(rng.random(400) < p, TRUTH, (TRUTH + 1) % 3) for arm, p in (("dapt", 0.8), ("base", 0.7))}
    alike = [make_record("task", arm, 0, TRUTH, right[arm], "micro_f1", replicate=r) for arm in right for r in range(4)]
    found = compare(pd.DataFrame(alike), num_resamples=4000)
    gained = (right["dapt"] == TRUTH).astype(float) - (right["base"] == TRUTH)
    expected = 2 * 1.96 * 100 * gained.std() / 20
    assert found["high"] - found["low"] == pytest.approx(expected, rel=0.08)
    values = np.broadcast_to(np.array([0.0, 0.01, 0.05, 0.02, 0.02]), (4001, 5))
    spread = resampling.replicates_drawn(values, seed=0)[1:].std()
    assert spread == pytest.approx(values[0].std() / np.sqrt(5), rel=0.05)


def test_intervals_are_paired_over_tasks_and_replicates():
    """A shift that a replicate gives all arms leaves the interval of their difference as it is."""
    shared = np.broadcast_to(np.array([0.1, 0.3, 0.7])[:, None, None], (51, 3, 2, 2)).copy()
    shared[..., 0] += 0.02
    drawn = resampling.Draws(["x", "y"], [0, 1, 2], ["dapt", "base"], shared)
    found = resampling.replicates_drawn(resampling.of_contrast(drawn, over("dapt", "base")), seed=1)
    assert found == pytest.approx(np.full(51, 0.02))


def test_intervals_cover_the_known_difference_about_as_often_as_ten_replicates_let_them():
    covered = 0
    for trial in range(40):
        records = fabricate({"dapt": 0.7, "base": 0.6}, trial, 10, 1, spread=0.03, metric="micro_f1")
        found = compare(records, num_resamples=200, seed=trial)
        covered += found["low"] <= 10 <= found["high"]
    assert covered >= 32  # 37 expected of 40 with the variance short by a tenth; below 32, once in a hundred


def test_same_seed_same_interval_whatever_the_order():
    records = fabricate({"dapt": 0.7, "base": 0.6})
    found, again = (compare(some, seed=5) for some in (records, records[::-1]))
    assert (found["low"], found["high"]) == pytest.approx((again["low"], again["high"]))
    assert compare(records, seed=6)["low"] != found["low"]


def test_missing_seeds_and_wrong_labels_are_errors():
    records = fabricate({"dapt": 0.7, "base": 0.6})
    with pytest.raises(StudyError, match="1 of 24 runs not recorded, the first base on task in replicate 3"):
        compare(records.drop(index=records.query("arm == 'base' and replicate == 3 and seed == 1").index))
    with pytest.raises(StudyError, match="400 predictions for 399"):
        compare(records, TRUTH[:-1])
    with pytest.raises(StudyError, match="label ids up to 9"):
        compare(records, np.full(400, 9))
    with pytest.raises(StudyError, match="where its predictions give"):
        compare(records, TRUTH[::-1])
