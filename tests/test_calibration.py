"""The tests' own error rates: rare false calls without a difference, coverage as promised, power that grows."""

import numpy as np
import pandas as pd
import pytest

from dontstop import calibration
from dontstop.calibration import World

SMALL = World(num_test=(400,) * 8, num_resamples=100)


@pytest.mark.slow
def test_error_rates_are_as_promised():
    """Of 400 studies; the tolerances are about three standard errors of so many beyond the aims."""
    studies = calibration.simulate(SMALL, 400, seed=0)
    assert studies["family"].mean() <= 0.05 + 0.033
    assert studies["family_of_means"].mean() <= 0.05 + 0.033
    assert abs(studies["covered"].mean() - 0.95) <= 0.015 + 0.012
    assert abs(studies["mean_covered"].mean() - 0.95) <= 0.015 + 0.033
    assert studies["percentile_covered"].mean() < studies["covered"].mean()


def test_simulated_classifiers_are_like_ours():
    """Covariances and the spread of seeds that the records of notebook 02 have."""
    rng = np.random.default_rng(0)
    world = World(num_test=(4000,) * 12, num_labels=(8,) * 12)
    study = calibration.draw_study(world, calibration.draw_weights(world, rng), rng)
    by_seed = np.stack([of_task.observed for of_task in study.values()])  # (tasks, seeds, arms)
    assert 0.5 < by_seed.mean() < 0.6
    assert 0.009 < by_seed.std(axis=1, ddof=1).mean() < 0.017


def test_a_difference_is_called_the_more_often_the_larger_it_is():
    weights = calibration.draw_weights(SMALL, np.random.default_rng(0))

    def called(gain: float) -> float:
        studies = [calibration.draw_study(SMALL, weights, np.random.default_rng(k), gain) for k in range(4)]
        return float(np.mean([calibration.read_study(study)["called"] for study in studies]))

    found = [called(gain) for gain in (0.0, 0.3, 1.0)]
    assert found[0] < 0.3 < found[2] and found[0] < found[1] < found[2]


def test_the_page_says_what_the_numbers_say(tmp_path):
    calibration.main(tmp_path, 4)
    page = (tmp_path / "calibration.md").read_text()
    assert "4 studies scored by accuracy" in page and page.count("| ") > 10
    assert {path.name for path in tmp_path.iterdir()} == {f"calibration.{kind}" for kind in ("md", "csv", "svg", "png")}


def test_points_seen_are_read_off_the_curve():
    curve = pd.DataFrame({"points": [0.0, 1.0, 2.0], "mean": [5.0, 60.0, 100.0]})
    assert calibration.seen_points(curve, "mean") == pytest.approx(1.5)
    assert np.isnan(calibration.seen_points(curve.iloc[:2], "mean"))
