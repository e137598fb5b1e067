"""The search of candidates: nearest first, shared words named, and texts of others shown as texts."""

import numpy as np
import pytest

from dontstop.report import explorer
from dontstop.report.explorer import Search

CANDIDATES = [
    "The matrix has eigenvalues.",
    "An integral converges.",
    "The matrix of an integral.",
    "<b>Bold</b> claims.",
]


@pytest.fixture
def search() -> Search:
    return Search(CANDIDATES)


def test_the_nearest_come_first_with_the_words_they_share(search):
    found = search.nearest("Eigenvalues of a matrix", num=3)
    assert found["neighbour"].tolist() == [CANDIDATES[0], CANDIDATES[2]]  # the others share no word
    assert found["shared_words"].tolist() == ["eigenvalues, matrix", "matrix"] and found["rank"].tolist() == [1, 2]
    assert 1.001 > found["similarity"][0] > found["similarity"][1] > 0
    assert np.isclose(search.nearest(CANDIDATES[1])["similarity"][0], 1.0, atol=1e-5)


def test_a_sentence_without_a_known_word_has_no_neighbours(search):
    assert search.nearest("qwerty").empty and search.nearest("").empty


def test_the_table_follows_what_is_typed_and_shows_markup_as_text(search):
    field, table = explorer.explorer(search, "integral").children
    assert "converges" in table.value and "eigenvalues" not in table.value
    field.value = "bold"
    assert "&lt;b&gt;Bold" in table.value and "<b>Bold" not in table.value
    field.value = "qwerty"
    assert "No candidate shares a word" in table.value
