"""Candidates without repetitions and leaks; sets without doubles; controls of the same texts and tokens."""

import json

import numpy as np
import pytest

import tiny
from dontstop.errors import StudyError
from dontstop.profiles import Selection
from dontstop.selection import candidates, selection
from dontstop.selection.sentences import split_text


class Words:
    """A tokenizer of words, for lengths: one token a word and two more."""

    def __call__(self, texts, **_options):
        return {"input_ids": [[0] * (len(text.split()) + 2) for text in texts]}


def write(folder, texts, evaluated=(), **settings):
    tiny.write_lines(folder / "corpus.jsonl", [{"id": f"d{k}", "text": text} for k, text in enumerate(texts)])
    options = {"granularity": "sentence", "min_words": 3, "limit": 0.5} | settings
    counts = candidates.write_candidates(folder / "corpus.jsonl", folder / "out", evaluated, Words(), **options)
    return candidates.load_candidates(folder / "out"), counts


def all_texts(pieces):
    return [text for some in pieces.chunks() for text in some]


@pytest.mark.parametrize(
    ("granularity", "expected"),
    [
        ("sentence", ["One is here.", "Is two, e.g. This one?", "It is by J. Smith et al. 2019.", "Three"]),
        ("passage", ["One is here. Is two, e.g. This one?", "It is by J. Smith et al. 2019. Three"]),
        ("document", ["One is here. Is two, e.g. This one?\n\nIt is by J. Smith et al. 2019. Three"]),
    ],
)
def test_text_is_cut_at_the_granularity_asked_for(granularity, expected):
    assert (
        split_text("One is here. Is two, e.g. This one?\n\nIt is by J. Smith et al. 2019. Three", granularity)
        == expected
    )


def test_repetitions_and_short_pieces_are_dropped(tmp_path):
    pieces, counts = write(
        tmp_path, ["The cat sat down. Yes. A dog ran off.", "the cat, sat DOWN! Two birds flew away."]
    )
    assert all_texts(pieces) == ["The cat sat down.", "A dog ran off.", "Two birds flew away."]
    assert counts == {"pieces": 5, "short": 1, "repeated": 1, "leaking": 0}
    assert pieces.lengths.tolist() == [6, 6, 6]
    assert pieces.rows([2, 0]) == [
        {"id": "d1#1", "text": "Two birds flew away."}, {"id": "d0#0", "text": "The cat sat down."},
    ]  # fmt: skip


LONG = "one two three four five six seven eight nine ten eleven twelve"


@pytest.mark.parametrize(
    ("piece", "leaks"),
    [
        (LONG.upper(), True),
        (f"zero {LONG} thirteen", True),
        ("three four five six seven eight nine", True),  # a part of a test text, all of whose 5-grams stand there
        ("one two three four five " + "other words that stand nowhere else at all", False),
    ],
)
def test_dev_and_test_texts_and_their_near_duplicates_never_enter(tmp_path, piece, leaks):
    pieces, counts = write(tmp_path, [piece, "something else altogether is said here"], [LONG])
    assert len(pieces) == 1 + (not leaks) and counts["leaking"] == leaks


def test_candidates_do_not_depend_on_the_chunks(tmp_path, monkeypatch):
    texts = [f"Number {k % 40} is said here. And {k} as well." for k in range(90)]
    whole = all_texts(write(tmp_path / "a", texts)[0])
    monkeypatch.setattr(candidates, "CHUNK", 7)
    assert all_texts(write(tmp_path / "b", texts)[0]) == whole and len(whole) == 130


def test_nothing_left_is_told(tmp_path):
    with pytest.raises(StudyError, match="no candidate left of 1 pieces"):
        write(tmp_path, ["too short"], min_words=9)


def test_the_tasks_own_texts_are_no_candidates_of_its_own(tmp_path):
    pieces, _ = write(tmp_path, ["The cat sat down. A dog ran off."])
    assert candidates.other_than(pieces, ["the cat SAT down"]).tolist() == [False, True]


def test_the_union_counts_shared_neighbours_once():
    indices = np.array([[3, 1, 2], [1, 4, 0]])
    assert selection.union(indices, 2).tolist() == [1, 3, 4]


def test_the_control_has_as_many_texts_and_tokens():
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 30, 2000)
    allowed = rng.random(2000) < 0.9
    chosen = np.sort(rng.choice(np.flatnonzero(allowed & (lengths > 15)), 300, replace=False))
    draws = [selection.matched_random(chosen, lengths, allowed, seed=0, draw=draw) for draw in range(3)]
    for drawn in draws:
        assert len(np.unique(drawn)) == 300 and allowed[drawn].all()
        assert sorted(lengths[drawn]) == sorted(lengths[chosen])
    assert not np.array_equal(draws[0], draws[1])
    again = selection.matched_random(chosen, lengths, allowed, seed=0, draw=1)
    np.testing.assert_array_equal(again, draws[1])


def test_the_control_is_drawn_evenly():
    lengths, allowed = np.full(20, 7), np.ones(20, bool)
    counts = np.zeros(20)
    for draw in range(800):
        counts[selection.matched_random(np.arange(5), lengths, allowed, seed=1, draw=draw)] += 1
    assert counts.min() > 140 and counts.max() < 260  # 200 expected, with a standard deviation of 12


def test_every_arm_has_its_set():
    settings = Selection(num_neighbours=[1, 2, 4], num_draws=2, compared=["bm25", "dsir"])
    rng = np.random.default_rng(0)
    rankings = {name: np.stack([rng.permutation(60)[:4] for _ in range(5)]) for name in ("vampire", "bm25")}
    rankings["dsir"] = rng.permutation(60)[None]
    sets = selection.sets_of(settings, rankings, np.full(60, 9), np.ones(60, bool))
    expected = {f"knn_tapt_{k}" for k in (1, 2, 4)} | {f"rand_tapt_{k}_draw_{n}" for k in (1, 2, 4) for n in (0, 1)}
    assert set(sets) == expected | {"knn_tapt_2_bm25", "knn_tapt_2_dsir"}
    assert len(sets["knn_tapt_2_dsir"]) == len(sets["knn_tapt_2"]) == len(sets["rand_tapt_2_draw_1"])
    assert set(sets["knn_tapt_1"]) <= set(sets["knn_tapt_2"]) <= set(sets["knn_tapt_4"])


def test_queries_are_training_texts_and_what_is_kept_can_be_read(tmp_path):
    pieces, _ = write(
        tmp_path, [f"The {w} cat sat down here today." for w in "red blue green black white grey".split()]
    )
    settings = Selection(num_neighbours=[2], selector="tfidf", num_dimensions=4)
    selection.rank("tfidf", settings, pieces, ["a red cat", "a green cat"], tmp_path / "r", base=tmp_path, max_length=9)
    indices = np.load(tmp_path / "r" / "indices.npy")
    assert indices.shape == (2, 2) and [pieces.rows([k])[0]["text"].split()[1] for k in indices[:, 0]] == [
        "red",
        "green",
    ]
    about = json.loads((tmp_path / "r" / selection.RANKING_FILE).read_text())
    assert about["shown"][0]["neighbour"] == "The red cat sat down here today." and about["num_candidates"] == 6
    assert not list((tmp_path / "r").glob(".*"))
