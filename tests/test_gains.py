"""Gains against distance, nearness and labels: hand-made answers, no gain where there is none."""

import itertools

import numpy as np
import pandas as pd
import pytest

from dontstop.verdicts import gains
from dontstop.verdicts.effects import over

DOMAINS = ["d0", "d1", "d2", "d3"]
TASKS = {f"{domain}_{kind}": domain for domain in DOMAINS for kind in ("topic", "role")}


def test_weights_of_a_rise_are_those_of_a_line_through_domains():
    domains = pd.Series({"x": "a", "y": "a", "z": "b", "w": "c"})
    far, found = pd.Series({"a": 10.0, "b": 30.0, "c": 20.0}), pd.Series({"x": 1.0, "y": 3.0, "z": 7.0, "w": 3.0})
    slope = np.polyfit([10, 30, 20], [2, 7, 3], 1)[0]
    assert gains.rise_weights(domains, far) @ found == pytest.approx(20 * slope)
    assert gains.rise_weights(domains, far * 0).empty and gains.rise_weights(domains[:2], far).empty


def make_runs(scores, num_train=100):
    """Make runs of two seeds: by arm and task, means of the replicates; seeds lie a point apart."""
    rows = [
        {"arm": arm, "task": task, "replicate": r, "seed": s, "test_score": value + (s - 0.5) / 100}
        for (arm, task), values in scores.items()
        for r, value in enumerate(values)
        for s in (0, 1)
    ]
    return pd.DataFrame(rows).assign(num_train=num_train)


def test_rises_are_tested_over_replicates_for_every_distance_that_was_measured():
    scores = {("base", t): [0.5, 0.5, 0.5] for t in "xyz"}
    scores |= {("dapt", "x"): [0.51, 0.51, 0.52], ("dapt", "y"): [0.53, 0.52, 0.54], ("dapt", "z"): [0.53, 0.53, 0.54]}
    runs = make_runs(scores)
    runs["domain"] = runs["task"].map({"x": "near", "y": "far", "z": "far"})
    distances = pd.DataFrame(
        {"vocabulary_overlap": [60.0, 20.0], "jensen_shannon": [0.1, 0.4], "masked_lm_loss": [3.0, np.nan]},
        index=["near", "far"],
    )
    found = gains.gain_rises(runs, over("dapt", "base"), distances)
    assert found.index.tolist() == ["vocabulary_overlap", "jensen_shannon"]
    assert found["effect"].tolist() == pytest.approx([11 / 6, 11 / 6])  # of 2, 1.5 and 2 points
    assert found["standard_error"].tolist() == pytest.approx([np.std([2, 1.5, 2], ddof=1) / 3**0.5] * 2)
    assert found["spearman"].tolist() == pytest.approx([1, 1]) and set(found["num_domains"]) == {2}


def make_matrix(gain, num_replicates=3):
    """Make runs of every DAPT encoder on every task, which gains as a function of both domains says."""
    rng, scores, checkpoints = np.random.default_rng(0), {}, {}
    for task, domain in TASKS.items():
        scores["base", task], checkpoints["base", task] = [0.5] * num_replicates, "base"
        encoders = [domain, *(other for other in DOMAINS if other != domain)]
        for arm, encoder in zip(gains.DAPT_ARMS, encoders, strict=True):
            scores[arm, task] = 0.5 + gain(encoder, domain) / 100 + 0.002 * rng.standard_normal(num_replicates)
            checkpoints[arm, task] = f"dapt_{encoder}"
    runs = make_runs(scores)
    places = zip(runs["arm"], runs["task"], strict=True)
    return runs.assign(domain=runs["task"].map(TASKS), checkpoint=[checkpoints[place] for place in places])


OVERLAP = pd.DataFrame(
    [[100, 40, 30, 20], [40, 100, 25, 15], [30, 25, 100, 35], [20, 15, 35, 100]], DOMAINS, DOMAINS
).assign(num_words=10)


def test_the_matrix_has_every_encoder_on_every_task_with_its_distance():
    found = gains.gain_matrix(make_matrix(lambda encoder, domain: 5.0 if encoder == domain else 1.0), OVERLAP)
    assert len(found) == 32 and not found.duplicated(["encoder", "task"]).any()
    own = found["encoder"] == found["domain"]
    assert (found.loc[own, "gain"].mean(), found.loc[~own, "gain"].mean()) == pytest.approx((5, 1), abs=0.2)
    assert set(found.loc[own, "distance"]) == {0.0}
    row = found[(found["encoder"] == "d3") & (found["task"] == "d1_role")].iloc[0]
    assert row["distance"] == pytest.approx(0.85) and row["low"] < row["gain"] < row["high"]
    assert gains.gain_matrix(make_matrix(lambda *_: 0.0).query("arm == 'base'"), OVERLAP).empty


def test_nearness_predicts_gains_where_it_makes_them_and_only_there():
    near = gains.gain_matrix(make_matrix(lambda encoder, domain: OVERLAP.loc[encoder, domain] / 20), OVERLAP)
    found = gains.nearness(near)
    assert found["slope"] == pytest.approx(-5, abs=0.3) and found["correlation"] < -0.95
    assert found["p_value"] == pytest.approx(1 / 24)
    assert (found["num_points"], found["num_permutations"], found["num_others"]) == (32, 24, 24)
    assert found["own_gain"] == pytest.approx(5, abs=0.2) and found["other_correlation"] < -0.9
    one_for_all = gains.gain_matrix(make_matrix(lambda encoder, _: 2.0 * DOMAINS.index(encoder)), OVERLAP)
    assert gains.nearness(one_for_all)["p_value"] > 0.2  # an encoder that is better everywhere says nothing of nearness


def test_the_permutation_test_by_hand():
    matrix = pd.DataFrame(itertools.product("ab", "xy"), columns=["encoder", "task"])
    matrix = matrix.assign(domain=matrix["task"].map({"x": "a", "y": "b"}))
    found = gains.nearness(matrix.assign(gain=[4.0, 1, 2, 3], distance=[0.0, 1, 1, 0]))
    # Centred by task, gains are 1 and -1, distances -1/2 and 1/2; the one other order has the opposite sign.
    assert np.isnan(found.pop("other_correlation"))  # of one other encoder a task
    counts = {"num_points": 4, "num_permutations": 2, "num_others": 2}
    assert found == {"slope": -2.0, "correlation": -1.0, "p_value": 1.0, "own_gain": 3.5, "other_gain": 1.5} | counts


def test_a_gain_by_the_own_domain_alone_is_told_from_one_by_nearness():
    matrix = pd.DataFrame([(e, t) for t in "xyz" for e in "abc"], columns=["encoder", "task"])
    matrix = matrix.assign(domain=matrix["task"].map(dict(zip("xyz", "abc", strict=True))))
    matrix["distance"] = [0.0, 0.5, 0.9, 0.5, 0.0, 0.9, 0.5, 0.9, 0.0]
    found = gains.nearness(matrix.assign(gain=[5.0, 1, 2, 2, 5, 1, 1.5, 1.5, 5]))
    assert found["correlation"] < -0.8 and (found["own_gain"], found["other_gain"]) == (5.0, 1.5)
    assert found["other_correlation"] == pytest.approx(0) and found["num_others"] == 6
    found = gains.nearness(matrix.assign(gain=[5.0, 2, 1, 2, 5, 1, 2, 1, 5]))
    assert found["other_correlation"] == pytest.approx(-1)


def test_gains_at_each_number_of_labels_are_over_the_reference_with_as_many():
    few = make_runs({("base", "x"): [0.3, 0.4], ("dapt", "x"): [0.36, 0.5], ("tapt", "x"): [0.3, 0.4]}, 50)
    many = make_runs({("base", "x"): [0.6, 0.6], ("dapt", "x"): [0.61, 0.63]}, 500)
    counted = pd.DataFrame({"arm": "naive_bayes", "task": "x", "replicate": [0, 1], "seed": 0, "num_train": 50})
    curve = pd.concat([many, few, counted.assign(test_score=[0.2, 0.3])])
    found = gains.label_gains(curve).set_index(["arm", "num_train"])
    assert found.index.tolist()[:4] == [("base", 50), ("base", 500), ("dapt", 50), ("dapt", 500)]
    expected = {("base", 50): 0, ("base", 500): 0, ("dapt", 50): 8, ("dapt", 500): 2, ("tapt", 50): 0}
    assert found["gain"].to_dict() == pytest.approx(expected | {("naive_bayes", 50): -10})
    assert found.loc[("dapt", 50), "score"] == pytest.approx(43) and set(found["num_replicates"]) == {2}
    assert found.loc[("dapt", 500), "low"] < 2 < found.loc[("dapt", 500), "high"]
    fewer = curve[(curve["arm"] != "dapt") | (curve["replicate"] == 1)]
    found = gains.label_gains(fewer).set_index(["arm", "num_train"])  # scores are of the replicate that all have
    assert found["score"].to_dict() == pytest.approx(
        {("base", 50): 40, ("base", 500): 60, ("dapt", 50): 50, ("dapt", 500): 63, ("tapt", 50): 40}
        | {("naive_bayes", 50): 30}
    )
    assert set(found["num_replicates"]) == {1} and found.loc[("dapt", 50), "gain"] == pytest.approx(10)
    assert gains.label_gains(curve[(curve["arm"] == "base") == (curve["replicate"] == 0)]).empty
