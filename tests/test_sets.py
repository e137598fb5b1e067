"""Sets without doubles; for each a control of as many texts and tokens that shares nothing with it."""

import numpy as np
import pytest

from dontstop.errors import StudyError
from dontstop.profiles import Selection
from dontstop.selection import sets
from dontstop.selection.rankings import Ranking


def ranking(indices):
    return Ranking(np.asarray(indices), np.ones(np.shape(indices), np.float32))


def test_the_union_counts_shared_neighbours_once_and_no_neighbour_not_at_all():
    indices = np.array([[3, 1, 2], [1, 4, 0], [5, -1, -1], [-1, -1, -1]])
    assert sets.union(indices, 2).tolist() == [1, 3, 4, 5]
    assert sets.union(np.full((3, 2), -1), 2).tolist() == []


def drawn_of(chosen, lengths, allowed, stream="rand_tapt_5", seed=0):
    drawn = sets.matched_random(chosen, lengths, allowed, stream=stream, seed=seed)
    assert len(np.unique(drawn)) == len(chosen) and allowed[drawn].all() and (np.diff(drawn) > 0).all()
    assert not np.intersect1d(drawn, chosen).size
    return drawn


def test_the_control_has_as_many_texts_of_each_length_and_none_that_was_selected():
    rng = np.random.default_rng(0)
    lengths, allowed = rng.integers(5, 30, 2000), rng.random(2000) < 0.9
    chosen = np.sort(rng.choice(np.flatnonzero(allowed & (lengths > 15)), 300, replace=False))
    draws = [drawn_of(chosen, lengths, allowed, seed=seed) for seed in range(3)]
    for drawn in draws:
        assert sorted(lengths[drawn]) == sorted(lengths[chosen])
    assert not np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[1], drawn_of(chosen, lengths, allowed, stream="rand_tapt_5_bm25", seed=1))
    np.testing.assert_array_equal(drawn_of(chosen, lengths, allowed, seed=1), draws[1])


def test_where_too_few_of_a_length_are_left_the_nearest_are_taken():
    lengths, allowed = np.array([9, 9, 9, 30, 8, 11, 10, 5, 9]), np.ones(9, bool)
    allowed[8] = False  # of the length wanted, and not to be had
    assert sorted(lengths[drawn_of(np.array([0, 1, 2]), lengths, allowed)]) == [8, 10, 11]


def test_the_tokens_come_to_the_same_where_the_longest_are_selected():
    rng = np.random.default_rng(1)
    lengths, allowed = rng.geometric(0.05, 4000) + 4, np.ones(4000, bool)
    for share in (0.05, 0.15):
        # Long ones are selected more often, so that fewer of them are left than are wanted.
        chosen = np.sort(rng.choice(4000, int(share * 4000), replace=False, p=lengths / lengths.sum()))
        assert lengths[drawn_of(chosen, lengths, allowed)].sum() == lengths[chosen].sum()


def test_all_of_the_longest_selected_leaves_what_is_nearest():
    lengths = np.array([5, 6, 7, 8, 20, 21])
    assert drawn_of(np.array([4, 5]), lengths, np.ones(6, bool)).tolist() == [2, 3]


def test_the_control_is_drawn_evenly():
    lengths, allowed = np.full(25, 7), np.ones(25, bool)
    counts = np.zeros(25)
    for seed in range(800):
        counts[drawn_of(np.arange(5), lengths, allowed, seed=seed)] += 1
    assert not counts[:5].any()
    assert counts[5:].min() > 140 and counts[5:].max() < 260  # 200 expected, with a standard deviation of 12


def test_every_arm_has_its_set_and_every_set_its_control():
    settings = Selection(num_neighbours=[1, 2, 4], compared=["bm25", "dsir"])
    rng = np.random.default_rng(0)
    ranked = {name: ranking([rng.permutation(60)[:4] for _ in range(5)]) for name in ("vampire", "bm25")}
    ranked["dsir"] = Ranking(np.arange(60)[None], rng.standard_normal((1, 60)))
    how = {"lengths": np.full(60, 9), "allowed": np.ones(60, bool)}
    found = sets.sets_of(settings, ranked, **how, seed=0)
    names = {"1", "2", "4", "2_bm25", "2_dsir"}
    assert set(found) == {f"{kind}_tapt_{name}" for kind in ("knn", "rand") for name in names}
    for name in names:
        ours, control = found[f"knn_tapt_{name}"], found[f"rand_tapt_{name}"]
        assert len(ours) == len(control) > 0 and not np.intersect1d(ours, control).size
    assert len(found["knn_tapt_2_dsir"]) == len(found["knn_tapt_2"])
    assert set(found["knn_tapt_1"]) <= set(found["knn_tapt_2"]) <= set(found["knn_tapt_4"])
    other = sets.sets_of(settings, ranked, **how, seed=1)
    differ = {name for name in found if not np.array_equal(found[name], other[name])}
    assert differ == {name for name in found if name.startswith("rand") or "dsir" in name}


def test_a_selection_of_more_than_half_is_told_with_the_number_that_fits():
    settings, allowed = Selection(num_neighbours=[1, 3]), np.ones(10, bool)
    ranked = {"vampire": ranking([[0, 1, 2], [3, 4, 5]])}
    with pytest.raises(StudyError, match="knn_tapt_3 takes 6 of 10 candidates") as told:
        sets.sets_of(settings, ranked, np.full(10, 5), allowed, seed=0)
    assert "lower selection.num_neighbours to 2 or fewer" in str(told.value)


def test_queries_that_are_like_nothing_have_empty_sets():
    found = sets.sets_of(
        Selection(num_neighbours=[2]), {"vampire": ranking([[-1, -1]])}, np.full(4, 5), np.ones(4, bool), seed=0
    )
    assert {name: len(some) for name, some in found.items()} == {"knn_tapt_2": 0, "rand_tapt_2": 0}
