"""Candidates: cut as asked for, without repetitions, leaks and a task's own texts, whatever the chunks."""

import pytest

import tiny
from dontstop.errors import StudyError
from dontstop.selection import candidates


class Words:
    """A tokenizer of words, for lengths: one token a word and two more."""

    def __call__(self, texts, **_options):
        return {"input_ids": [[0] * (len(text.split()) + 2) for text in texts]}


def write(folder, texts, evaluated=(), own=None, min_words=3):
    tiny.write_lines(folder / "corpus.jsonl", [{"id": f"d{k}", "text": text} for k, text in enumerate(texts)])
    how = {"granularity": "sentence", "limit": 0.5}
    to_tasks = {task: candidates.Repeated(of_task, **how) for task, of_task in (own or {}).items()}
    counts = candidates.write_candidates(
        folder / "corpus.jsonl",
        folder / "out",
        candidates.Repeated(evaluated, **how),
        to_tasks,
        Words(),
        granularity="sentence",
        min_words=min_words,
    )
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


def test_candidates_and_marks_do_not_depend_on_the_chunks(tmp_path, monkeypatch):
    texts = [f"Number {k % 40} is said here. And {k} as well." for k in range(90)]
    evaluated, own = ["And 3 as well."], {"task": ["And 7 as well. And 70 as well.", "other"]}
    whole, counts = write(tmp_path / "a", texts, evaluated, own)
    monkeypatch.setattr(candidates, "CHUNK", 7)
    again, same = write(tmp_path / "b", texts, evaluated, own)
    assert all_texts(again) == all_texts(whole) and len(whole) == 129 and same == counts
    assert again.offsets.tolist() == whole.offsets.tolist() and again.lengths.tolist() == whole.lengths.tolist()
    assert again.allowed("task").tolist() == whole.allowed("task").tolist()
    assert counts["own_task"] == 2 and counts["leaking"] == 1


def test_nothing_left_is_told(tmp_path):
    with pytest.raises(StudyError, match="no candidate left for any task of 1 pieces"):
        write(tmp_path, ["too short"], min_words=9)
    with pytest.raises(StudyError, match="no candidate left for b of 1 pieces"):
        write(tmp_path, ["The cat sat down."], own={"a": ["A dog ran."], "b": ["The cat sat down."]})


OWN = "Solve a system of linear equations. Use the least squares of a matrix whose rows are given. Fast."


@pytest.mark.parametrize(
    ("piece", "is_own"),
    [
        (OWN.split(". ")[0] + "!", True),  # a sentence of the text
        ("use THE least squares of a matrix, whose rows are given", True),
        ("Use the least squares of a matrix whose columns are given", True),  # half of its 5-grams
        ("Use the least squares of another matrix whose columns are not what you think they were", False),
        ("Solve a system of equations", False),
        ("fast fast fast", False),
    ],
)
def test_a_part_of_a_tasks_own_text_is_no_candidate_of_its_own(tmp_path, piece, is_own):
    pieces, counts = write(tmp_path, [piece, "Something else altogether is said."], own={"a": [OWN], "b": ["Not it."]})
    assert len(pieces) == 2  # it is a candidate of other tasks
    assert pieces.allowed("a").tolist() == [not is_own, True] and pieces.allowed("b").all()
    assert (counts["own_a"], counts["own_b"]) == (is_own, 0)


def test_a_short_sentence_of_its_own_is_found_by_its_words(tmp_path):
    pieces, _ = write(tmp_path, ["It is so. This is not."], own={"a": [f"{OWN} It is SO! And {OWN}"]})
    assert pieces.allowed("a").tolist() == [False, True]


def test_a_candidate_that_holds_an_own_text_is_none(tmp_path):
    pieces, _ = write(tmp_path, [f"zero {LONG} thirteen fourteen", "Other words."], own={"a": [LONG]}, min_words=2)
    assert pieces.allowed("a").tolist() == [False, True]
