"""Components of variance: fabricated ones are found again."""

import itertools

import numpy as np
import pandas as pd
import pytest

from dontstop.verdicts.variances import COMPONENTS, variance_components

TRUE = dict(zip(COMPONENTS, (4.0, 1.0, 2.0, 0.5, 0.8, 0.3, 0.6, 1.5), strict=True))


def fabricate(sizes, true, seed):
    """Draw scores, in points, of (num_arms, num_tasks, num_replicates, num_seeds) with known components."""
    rng, (a, t, r, s) = np.random.default_rng(seed), sizes
    shapes = [(1, 1, r, 1), (a, 1, r, 1), (1, t, r, 1), (a, t, r, 1), (1, 1, r, s), (a, 1, r, s), (1, t, r, s), sizes]
    drawn = sum(
        np.sqrt(true[name]) * rng.standard_normal(shape) for name, shape in zip(COMPONENTS, shapes, strict=True)
    )
    drawn = drawn + 10 * rng.standard_normal((a, t, 1, 1))  # arms and tasks differ, which is no variance
    index = itertools.product(*map(range, sizes))
    table = pd.DataFrame(index, columns=["arm", "task", "replicate", "seed"])
    return table.assign(test_score=drawn.ravel() / 100)


def test_known_components_are_found_again():
    found = pd.DataFrame([variance_components(fabricate((4, 6, 8, 3), TRUE, k)) for k in range(60)])
    errors = found.std() / np.sqrt(len(found))
    assert ((found.mean() - pd.Series(TRUE)).abs() < 4 * errors).all()
    assert (errors < 0.1 * pd.Series(TRUE) + 0.1).all()


def test_an_arm_that_has_not_run_everywhere_is_left_out():
    runs = fabricate((3, 2, 4, 2), TRUE, 0)
    some = runs[(runs["arm"] != 2) | (runs["task"] == 0)]
    pd.testing.assert_series_equal(variance_components(some), variance_components(runs[runs["arm"] < 2]))


def test_what_one_replicate_or_one_seed_cannot_tell_is_not_a_number():
    one = variance_components(fabricate((3, 2, 1, 4), TRUE, 0))
    assert one[:4].isna().all() and one[4:].notna().all()
    found = pd.DataFrame([variance_components(fabricate((4, 4, 12, 1), TRUE, k)) for k in range(100)])
    assert found.iloc[:, 4:].isna().all(axis=None)
    both = [TRUE[f"replicate{share}"] + TRUE[f"seed{share}"] for share in ("", "_arm", "_task", "_arm_task")]
    assert found.mean()[:4].tolist() == pytest.approx(both, rel=0.2)
