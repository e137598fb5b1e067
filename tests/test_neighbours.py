"""Neighbours are those of brute force in float64, whatever the blocks that are read from disk, ties by index."""

import numpy as np
import pytest

from dontstop.selection import neighbours


def brute_force(queries, values, k):
    scores = (queries.astype(np.float64) @ values.astype(np.float64).T).round(12)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(scores, order, 1)
    return np.where(found > 0, order, neighbours.NONE), found.clip(min=0)


def random_vectors(seed, num, width=24):
    return neighbours.unit(np.random.default_rng(seed).standard_normal((num, width)))


def search(folder, queries, values, k):
    values.tofile(folder / "vectors")
    return neighbours.search(queries, neighbours.VectorFile(folder / "vectors", *values.shape), k)


@pytest.mark.parametrize("rows_in_a_block", [7, 100, 5000])
@pytest.mark.parametrize("k", [1, 10, 300])
def test_neighbours_are_those_of_brute_force(tmp_path, monkeypatch, rows_in_a_block, k):
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", rows_in_a_block * 24 * 4)
    values, queries = random_vectors(0, 1200), random_vectors(1, 40)
    indices, scores = search(tmp_path, queries, values, k)
    expected, exact = brute_force(queries, values, k)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(scores, exact, atol=1e-6)


@pytest.mark.parametrize("copies", [3, 200])
def test_ties_are_ordered_by_index_even_across_blocks(tmp_path, monkeypatch, copies):
    """With 200 copies there are more ties at the border than are fetched beyond k."""
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 50 * 24 * 4)
    values = np.tile(random_vectors(0, 30), (copies, 1))
    queries = random_vectors(1, 8)
    indices, _ = search(tmp_path, queries, values, 40)
    np.testing.assert_array_equal(indices, brute_force(queries, values, 40)[0])


def test_blocks_and_rows_are_read_as_they_were_written(tmp_path):
    values = random_vectors(0, 333)
    values.tofile(tmp_path / "vectors")
    vectors = neighbours.VectorFile(tmp_path / "vectors", *values.shape)
    assert len(vectors) == 333
    np.testing.assert_array_equal(vectors.block(64, 200), values[64:200])
    np.testing.assert_array_equal(vectors.rows(np.array([300, 5, 300])), values[[300, 5, 300]])


def test_no_more_neighbours_than_vectors_and_only_those_of_a_positive_cosine(tmp_path):
    values = random_vectors(0, 6)
    indices, scores = search(tmp_path, values, values, 50)
    assert indices.shape == scores.shape == (6, 6)
    assert indices[:, 0].tolist() == list(range(6)) and np.allclose(scores[:, 0], 1)
    np.testing.assert_array_equal((indices >= 0).sum(1), (values @ values.T > 0).sum(1))
    assert ((indices == neighbours.NONE) == (scores == 0)).all() and (scores >= 0).all()


@pytest.mark.parametrize("rows_in_a_block", [7, 5000])
def test_a_query_without_a_match_has_no_neighbours(tmp_path, monkeypatch, rows_in_a_block):
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", rows_in_a_block * 24 * 4)
    values, queries = random_vectors(0, 100), random_vectors(1, 3)
    queries[1] = 0
    indices, scores = search(tmp_path, queries, values, 5)
    assert indices[1].tolist() == [-1] * 5 and not scores[1].any() and (indices[[0, 2]] >= 0).all()


@pytest.mark.parametrize("rows_in_a_block", [7, 5000])
@pytest.mark.parametrize("copies", [1, 60])
def test_what_is_not_allowed_is_no_neighbour_and_all_else_is_as_if_it_were_not_there(
    tmp_path, monkeypatch, rows_in_a_block, copies
):
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", rows_in_a_block * 24 * 4)
    values, queries = np.tile(random_vectors(0, 40), (copies, 1)), random_vectors(1, 8)
    allowed = np.random.default_rng(2).random(len(values)) < 0.7
    values.tofile(tmp_path / "vectors")
    some = neighbours.VectorFile(tmp_path / "vectors", *values.shape, allowed)
    indices, scores = neighbours.search(queries, some, 10)
    expected, exact = brute_force(queries, values[allowed], 10)
    np.testing.assert_array_equal(indices, np.append(np.flatnonzero(allowed), neighbours.NONE)[expected])
    np.testing.assert_allclose(scores, exact, atol=1e-6)


@pytest.mark.parametrize("k", [1, 7, 60])
def test_the_best_are_ordered_by_score_then_by_index(k):
    scores = np.random.default_rng(0).integers(0, 9, 60).astype(np.float32)
    assert neighbours.best(scores, k).tolist() == sorted(range(60), key=lambda at: (-scores[at], at))[:k]


def test_a_vector_of_zeros_stays_one():
    found = neighbours.unit(np.array([[0, 0], [3, 4]]))
    assert found.tolist() == [[0, 0], [pytest.approx(0.6), pytest.approx(0.8)]]
