"""The tests' own error rates: rare false detections without a difference, coverage as promised, power that grows."""

import numpy as np
import pandas as pd
import pytest

from dontstop.verdicts import calibration
from dontstop.verdicts.calibration import World

SMALL = World(num_test=(400,) * 8, num_resamples=100, metric="micro_f1")


@pytest.mark.slow
def test_error_rates_are_as_promised():
    """Of 400 studies; the tolerances are about three standard errors of so many beyond the aims.

    With test sets as large as ours: on a few hundred texts the interval on a task is too long (97.6 % cover).
    """
    with calibration.workers() as executor:
        studies = calibration.simulate(executor, World(num_resamples=100, metric="micro_f1"), 400, seed=0)
    assert studies["family"].mean() <= 0.05 + 0.033
    assert studies["family_of_means"].mean() <= 0.05 + 0.033
    assert abs(studies["covered"].mean() - 0.95) <= 0.015 + 0.012
    assert abs(studies["mean_covered"].mean() - 0.95) <= 0.015 + 0.033
    assert studies["percentile_covered"].mean() < studies["covered"].mean()


def test_simulated_classifiers_are_like_ours(monkeypatch):
    """Share of right answers, covariances within and between arms, spread of seeds: as in notebook 02's records."""
    scored = []

    def keep(weights, predictions, truth, num_labels, metric):
        scored.append((predictions == truth).astype(float))
        return weighted_scores(weights, predictions, truth, num_labels, metric)

    weighted_scores = calibration.resampling.weighted_scores
    monkeypatch.setattr(calibration.resampling, "weighted_scores", keep)
    world, rng = World(num_resamples=2, metric="micro_f1"), np.random.default_rng(0)
    for _ in range(10):
        calibration.draw_study(world, calibration.draw_weights(world, rng), rng)
    arm = np.repeat(range(3), 5)
    same, other = arm[:, None] == arm, ~np.eye(15, dtype=bool)
    covariances = np.stack([np.cov(right) for right in scored])  # (tasks, classifiers, classifiers)
    within, between = covariances[:, same & other].mean(), covariances[:, ~same].mean()
    spread = np.mean([right.mean(axis=1).reshape(3, 5).std(axis=1, ddof=1) for right in scored])
    assert np.mean([right.mean() for right in scored]) == pytest.approx(0.549, abs=0.015)
    assert within == pytest.approx(0.142, abs=0.003)
    assert within - between == pytest.approx(0.0040, abs=0.0007)
    assert spread == pytest.approx(0.0162, abs=0.0015)


def test_a_difference_is_detected_the_more_often_the_larger_it_is():
    weights = calibration.draw_weights(SMALL, np.random.default_rng(0))

    def detected(gain: float) -> float:
        studies = [calibration.draw_study(SMALL, weights, np.random.default_rng(k), gain) for k in range(4)]
        return float(np.mean([calibration.read_study(study)["detected"] for study in studies]))

    found = [detected(gain) for gain in (0.0, 0.3, 1.0)]
    assert found[0] < 0.3 < found[2] and found[0] < found[1] < found[2]


def test_the_page_says_what_the_numbers_say():
    page, curve = calibration.calibrate(4)
    assert "4 studies scored by accuracy" in page and page.count("| ") > 10
    assert all(f"| {row.points:.2f} | {row.task:.0f} |" in page for row in curve.itertuples())
    assert "{" not in page


def test_points_detected_are_read_off_the_curve():
    curve = pd.DataFrame({"points": [0.0, 1.0, 2.0], "mean": [5.0, 60.0, 100.0]})
    assert calibration.detected_points(curve, "mean") == pytest.approx(1.5)
    assert np.isnan(calibration.detected_points(curve.iloc[:2], "mean"))
