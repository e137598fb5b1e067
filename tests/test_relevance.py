"""BM25 by hand; importance weights prefer the task's words, and resampling follows them."""

import math

import numpy as np
import pytest

from dontstop.selection import relevance

CHUNKS = [["red apple", "green apple tree here"], ["blue car", "red red red"]]


def test_bm25_by_hand():
    indices, scores = relevance.bm25(["red", "apple unseen"], CHUNKS, 4)
    # `red` stands in texts 0 and 3 of 4; lengths 2, 4, 2, 3, on average 2.75.
    rarity = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5))

    def score(count, length):
        return rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / 2.75))

    assert indices[0, :2].tolist() == [3, 0] and scores[0, :2].tolist() == pytest.approx([score(3, 3), score(1, 2)])
    assert indices[1, :2].tolist() == [0, 1] and scores[1, 1] == pytest.approx(score(1, 4))
    assert indices[0, 2:].tolist() == [1, 2]  # nothing in common: by index


def test_bm25_does_not_depend_on_the_chunks():
    whole = [[text for some in CHUNKS for text in some]]
    for found, expected in zip(
        relevance.bm25(["red tree"], CHUNKS, 3), relevance.bm25(["red tree"], whole, 3), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_importance_is_greater_for_what_sounds_like_the_task():
    task = ["solve the matrix equation"] * 5
    domain = [["solve the matrix equation now", "paint the old red house", "the cat sat on the mat"] * 20]
    weights = relevance.importance_weights(task, domain)
    assert weights[0] > weights[1] and weights[0] > weights[2] and len(weights) == 60


def test_resampling_is_drawn_in_proportion_to_the_weights():
    log_weights = np.log(np.array([1.0, 2.0, 4.0]))
    first = [relevance.resampling_order(log_weights, seed=seed)[0] for seed in range(3000)]
    shares = np.bincount(first, minlength=3) / 3000
    assert shares == pytest.approx([1 / 7, 2 / 7, 4 / 7], abs=0.03)
    again = relevance.resampling_order(log_weights, seed=5)
    np.testing.assert_array_equal(again, relevance.resampling_order(log_weights, seed=5))
