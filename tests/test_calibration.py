"""The verdicts' own error rates: no more wrong ones than promised, intervals that cover, power that grows."""

import numpy as np
import pandas as pd
import pytest

from dontstop.errors import StudyError
from dontstop.verdicts import calibration, claims
from dontstop.verdicts.calibration import ALL_HOLD, ON_MARGIN, ONLY_DAPT, Truth, World
from fabricated import make_records


@pytest.mark.parametrize("num_replicates", [2, 10])
def test_error_rates_are_as_promised(num_replicates):
    """Of 2,000 studies of each kind; the tolerances are three standard errors of so many."""
    found = calibration.error_rates(World(num_replicates), 2000)
    assert (found["wrong"] <= 5 + 1.5).all() and (found["wrong"] > 0).any()
    assert (found["covered"] - 95).abs().max() < 0.6
    assert found["wrong_error"].max() < 0.6 and len(found) == 6


def test_each_look_errs_as_rarely_as_promised_and_the_first_decided_of_many_does_not():
    found = calibration.looks(World(10, 1, 0.0, 2.7, 0.0, 0.0), 1000).set_index(["truth", "num_replicates"])
    assert len(found) == 3 * 9 and (found["wrong"] < 5 + 2.1).all()  # three standard errors
    nothing = found.loc["no arm differs from another"]
    assert nothing["wrong_so_far"].is_monotonic_increasing and nothing.loc[10, "wrong_so_far"] > 14
    assert (found.xs(10, level="num_replicates")["turned"] == 0).all() and nothing.loc[2, "turned"] > 90


def test_holms_own_steps_would_err_too_often(monkeypatch):
    """Handing on the whole level of what is decided, as Holm's method does, leaves none for what may still be wrong."""

    def greedy(p_values):
        return claims.holm(p_values)

    truth = Truth.of(ONLY_DAPT, 4.0, 0.0)
    kept = calibration.simulate(World(), truth, 2000, seed=0)["wrong"].mean()
    monkeypatch.setattr(claims, "corrected", greedy)
    assert calibration.simulate(World(), truth, 2000, seed=0)["wrong"].mean() > 0.065 > kept


def test_as_many_studies_are_simulated_as_are_asked_for(monkeypatch):
    monkeypatch.setattr(calibration, "AT_ONCE", 20)
    for num in (7, 40, 50):
        assert len(calibration.simulate(World(2), Truth.of({}, 0.0, 0.0), num, seed=0)) == num


@pytest.mark.parametrize(
    ("pattern", "effects"),
    [
        (ALL_HOLD, dict.fromkeys([f"C{k}" for k in (1, 2, 3, 5, 6, 7, 8, 9, 10, 11)], 2.0) | {"C4": 0.0}),
        (ONLY_DAPT, {"C2": 2.0, "C3": 2.0} | dict.fromkeys([f"C{k}" for k in (4, 5, 6, 7, 8, 9, 10, 11)], 0.0)),
        (ON_MARGIN, {"C2": 2.0} | dict.fromkeys([f"C{k}" for k in (3, 4, 5, 6, 7, 8, 9, 10, 11)], 1.0)),
    ],
)
def test_patterns_are_what_they_say(pattern, effects):
    true = Truth.of(pattern, 2.0, 2.0).values()
    found = {claim.id: min(true[name] for name in claim.names) for claim in claims.TESTED}
    assert {name: found[name] for name in effects} == pytest.approx(effects)


def test_wrong_verdicts_are_told_from_right_ones():
    by_id, words = (
        {claim.id: claim for claim in claims.TESTED},
        ["holds", "does not hold", "equivalent", "inconclusive"],
    )

    def wrong(claim, pattern, rise=0.0):
        return calibration._wrong(by_id[claim], np.array(words), Truth.of(pattern, 2.0, rise).values()).tolist()

    assert wrong("C5", ONLY_DAPT) == [True, True, False, False]  # no difference
    assert wrong("C5", ALL_HOLD) == [False, True, True, False]
    assert wrong("C5", ON_MARGIN) == [False, True, True, False]
    assert wrong("C4", ONLY_DAPT) == [False, True, False, False]  # not better
    assert wrong("C4", ON_MARGIN) == [True, False, True, False]
    assert wrong("C12", ONLY_DAPT)[:2] == [True, True] and wrong("C12", ALL_HOLD)[:2] == [False, True]


def test_simulated_scores_vary_as_the_world_says():
    world = World(8, 2, replicate_arm=0.5, replicate_arm_task=1.0, seed_arm=0.2, seed_arm_task=3.0)
    truth = Truth.of(ONLY_DAPT, 2.0, 0.0)
    drawn = calibration.draw(world, truth, 4000, np.random.default_rng(0))["dapt_minus_base"]
    assert drawn.shape == (8, 4000) and drawn.mean() == pytest.approx(2, abs=0.04)
    # Of two arms: checkpoints, seeds by two, and both on single tasks by eight.
    assert drawn.var() == pytest.approx(2 * (0.5 + 0.2 / 2 + (1.0 + 3.0 / 2) / 8), rel=0.03)
    heavy = World(8, 2, 0.5, 0.0, 0.0, 0.0, tails=5.0)
    values = calibration.draw(heavy, truth, 4000, np.random.default_rng(0))["tapt_minus_base"]
    assert values.var() == pytest.approx(2 * 0.5, rel=0.1)


def test_power_grows_with_the_effect_and_with_replicates(monkeypatch):
    monkeypatch.setattr(calibration, "GAINS", (0.5, 3.0))
    few, many = (calibration.power(World(num), 200) for num in (3, 10))
    wide = many.pivot(index=["truth", "claim"], columns="points", values="percent")
    assert len(wide) == 22 and (wide[3.0] >= wide[0.5]).all()
    assert (wide.loc["all hold", 3.0] > 95).all() and (wide.loc["only DAPT gains", 3.0] > 30).all()
    assert many["percent"].mean() > few["percent"].mean() + 10


def test_a_world_is_estimated_from_records_of_replicates():
    truth, how = np.random.default_rng(0).integers(0, 3, 300), {"seeds": range(2), "spread": 0.05}
    runs = make_records({"base": 0.6, "dapt": 0.7, "tapt": 0.6}, truth, seed=1, replicates=range(12), **how)
    runs = pd.concat([runs, runs.assign(task="other")])
    world = World.of_records(runs, 7, 4)
    assert (world.num_replicates, world.num_seeds) == (7, 4)
    assert 10 < world.replicate_arm < 60  # a spread of five points
    with pytest.raises(StudyError, match="records of one replicate"):
        World.of_records(runs[runs["replicate"] == 3], 7, 4)


def test_the_page_says_what_the_numbers_say(monkeypatch):
    monkeypatch.setattr(calibration, "GAINS", (0.5, 3.0))
    page, curve = calibration.calibrate(World(4, 2), "a test", 20)
    assert "studies of 4 replicates (fine-tuning seeds in each: 2)" in page and "is that of a test" in page
    assert "Percent of 20 studies" in page and "{" not in page and page.count("\n| C") == 22
    row = curve[(curve["truth"] == "all hold") & (curve["claim"] == "C2")]["percent"]
    assert f"| C2 | {row.iloc[0]:.0f} | {row.iloc[1]:.0f} |" in page
