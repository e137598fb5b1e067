"""Neighbours are those of brute force in float64, whatever the blocks, on disk or in memory, ties by index."""

import numpy as np
import pytest

from dontstop.selection import neighbours


def brute_force(queries, values, k):
    scores = (queries.astype(np.float64) @ values.astype(np.float64).T).round(12)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, 1)


def random_vectors(seed, num, width=24):
    return neighbours.unit(np.random.default_rng(seed).standard_normal((num, width)))


@pytest.mark.parametrize("rows_in_a_block", [7, 100, 5000])
@pytest.mark.parametrize("k", [1, 10, 300])
def test_neighbours_are_those_of_brute_force(monkeypatch, rows_in_a_block, k):
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", rows_in_a_block * 24 * 4)
    values, queries = random_vectors(0, 1200), random_vectors(1, 40)
    indices, scores = neighbours.search(queries, neighbours.Vectors(values), k)
    expected, exact = brute_force(queries, values, k)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(scores, exact, atol=1e-6)


@pytest.mark.parametrize("copies", [3, 200])
def test_ties_are_ordered_by_index_even_across_blocks(monkeypatch, copies):
    """With 200 copies there are more ties at the border than are fetched beyond k."""
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 50 * 24 * 4)
    values = np.tile(random_vectors(0, 30), (copies, 1))
    queries = random_vectors(1, 8)
    indices, _ = neighbours.search(queries, neighbours.Vectors(values), 40)
    np.testing.assert_array_equal(indices, brute_force(queries, values, 40)[0])


def test_vectors_on_disk_are_searched_as_those_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 64 * 24 * 4)
    values, queries = random_vectors(0, 333), random_vectors(1, 5)
    values.tofile(tmp_path / "vectors")
    found = neighbours.search(queries, neighbours.VectorFile(tmp_path / "vectors", 333, 24), 20)
    expected = neighbours.search(queries, neighbours.Vectors(values), 20)
    np.testing.assert_array_equal(found[0], expected[0])


def test_no_more_neighbours_than_vectors():
    values = random_vectors(0, 6)
    indices, scores = neighbours.search(values, neighbours.Vectors(values), 50)
    assert indices.shape == scores.shape == (6, 6)
    assert indices[:, 0].tolist() == list(range(6)) and np.allclose(scores[:, 0], 1)


def test_a_vector_of_zeros_stays_one():
    found = neighbours.unit(np.array([[0, 0], [3, 4]]))
    assert found.tolist() == [[0, 0], [pytest.approx(0.6), pytest.approx(0.8)]]
