"""Rankings by each retrieval method; sets without doubles; controls of as many texts and tokens."""

import json

import numpy as np

from dontstop.profiles import Selection
from dontstop.selection import rankings
from test_candidates import write


def test_the_union_counts_shared_neighbours_once():
    indices = np.array([[3, 1, 2], [1, 4, 0]])
    assert rankings.union(indices, 2).tolist() == [1, 3, 4]


def test_the_control_has_as_many_texts_and_tokens():
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 30, 2000)
    allowed = rng.random(2000) < 0.9
    chosen = np.sort(rng.choice(np.flatnonzero(allowed & (lengths > 15)), 300, replace=False))
    draws = [rankings.matched_random(chosen, lengths, allowed, seed=0, draw=draw) for draw in range(3)]
    for drawn in draws:
        assert len(np.unique(drawn)) == 300 and allowed[drawn].all()
        assert sorted(lengths[drawn]) == sorted(lengths[chosen])
    assert not np.array_equal(draws[0], draws[1])
    again = rankings.matched_random(chosen, lengths, allowed, seed=0, draw=1)
    np.testing.assert_array_equal(again, draws[1])


def test_the_control_is_drawn_evenly():
    lengths, allowed = np.full(20, 7), np.ones(20, bool)
    counts = np.zeros(20)
    for draw in range(800):
        counts[rankings.matched_random(np.arange(5), lengths, allowed, seed=1, draw=draw)] += 1
    assert counts.min() > 140 and counts.max() < 260  # 200 expected, with a standard deviation of 12


def test_every_arm_has_its_set():
    settings = Selection(num_neighbours=[1, 2, 4], num_draws=2, compared=["bm25", "dsir"])
    rng = np.random.default_rng(0)
    ranked = {name: np.stack([rng.permutation(60)[:4] for _ in range(5)]) for name in ("vampire", "bm25")}
    ranked["dsir"] = rng.permutation(60)[None]
    sets = rankings.sets_of(settings, ranked, np.full(60, 9), np.ones(60, bool))
    expected = {f"knn_tapt_{k}" for k in (1, 2, 4)} | {f"rand_tapt_{k}_draw_{n}" for k in (1, 2, 4) for n in (0, 1)}
    assert set(sets) == expected | {"knn_tapt_2_bm25", "knn_tapt_2_dsir"}
    assert len(sets["knn_tapt_2_dsir"]) == len(sets["knn_tapt_2"]) == len(sets["rand_tapt_2_draw_1"])
    assert set(sets["knn_tapt_1"]) <= set(sets["knn_tapt_2"]) <= set(sets["knn_tapt_4"])


def test_queries_are_training_texts_and_what_is_kept_can_be_read(tmp_path):
    pieces, _ = write(
        tmp_path, [f"The {w} cat sat down here today." for w in "red blue green black white grey".split()]
    )
    settings = Selection(num_neighbours=[2], selector="tfidf", num_dimensions=4)
    rankings.rank("tfidf", settings, pieces, ["a red cat", "a green cat"], tmp_path / "r", base=tmp_path, max_length=9)
    indices = np.load(tmp_path / "r" / "indices.npy")
    assert indices.shape == (2, 2) and [pieces.rows([k])[0]["text"].split()[1] for k in indices[:, 0]] == [
        "red",
        "green",
    ]
    about = json.loads((tmp_path / "r" / rankings.RANKING_FILE).read_text())
    assert about["shown"][0]["neighbour"] == "The red cat sat down here today." and about["num_candidates"] == 6
    assert not list((tmp_path / "r").glob(".*"))
