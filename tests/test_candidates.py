"""Candidates: cut as asked for, without repetitions, leaks and a task's own texts, whatever the chunks."""

import pytest

import tiny
from dontstop.errors import StudyError
from dontstop.selection import candidates


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
    text = "One is here. Is two, e.g. This one?\n\nIt is by J. Smith et al. 2019. Three"
    assert candidates.split_text(text, granularity) == expected


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


def test_of_the_candidates_only_those_that_hash_as_an_own_text_are_read_and_a_collision_is_seen(tmp_path, monkeypatch):
    texts = [f"Number {k} is said here." for k in range(20)]
    pieces, _ = write(tmp_path, [LONG, *texts], [LONG])  # the one that leaks has no hash left
    own = [texts[3].upper(), texts[7], "said nowhere at all"]
    expected = [text.upper() not in {own[0], texts[7].upper()} for text in all_texts(pieces)]
    monkeypatch.setattr(candidates.Candidates, "chunks", None)
    assert candidates.other_than(pieces, own).tolist() == expected and sum(expected) == 18
    pieces.hashes[5] = pieces.hashes[3]
    assert candidates.other_than(pieces, own).tolist() == expected
