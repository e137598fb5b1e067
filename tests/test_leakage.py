"""Overlap between texts: planted copies are found, others are not."""

import numpy as np
import pytest

from dontstop.text import grams, leakage

TEXT = "The quick brown fox jumps over the lazy dog and runs into the dark wood before dawn."
OTHER = "Every window of the house was open, and the curtains moved a little in the summer wind."


def containment(texts, documents):
    return leakage.max_containment(leakage.word_grams(texts), leakage.word_grams(documents))


def one(text, document):
    return containment([text], [document])[0]


@pytest.mark.parametrize(
    "variant", [TEXT, TEXT.upper(), TEXT.replace(" ", "\n\t "), TEXT.replace(" ", ", ") + "!", f"“{TEXT}” –"]
)
def test_case_space_and_punctuation_do_not_hide_a_copy(variant):
    assert leakage.normalise(variant) == leakage.normalise(TEXT)
    assert one(variant, TEXT) == 1.0


def test_a_text_inside_a_document_is_contained_but_not_the_reverse():
    document = f"{OTHER} {TEXT} {OTHER}"
    assert one(TEXT, document) == 1.0
    assert one(document, TEXT) < 0.5


def test_containment_by_hand():
    # 7 words are 3 five-grams, of which the document holds the first.
    assert one("a b c d e f g", "x a b c d e y") == pytest.approx(1 / 3)
    assert one("a b c d e f g", OTHER) == 0.0


def test_short_texts_compare_as_a_whole():
    assert one("red fox", "Red fox!") == 1.0
    assert one("red fox", "a red fox there and away") == 0.0
    assert one("red fox", "red dog") == 0.0
    assert one("", "red dog") == 0.0
    assert one("?!", "??") == 0.0


def test_words_of_every_script_count():
    assert one("é ü ß ñ ø å", "É ü ß Ñ ø å") == 1.0
    assert one("один два три четыре пять", "один два три четыре шесть") == 0.0


def test_containment_takes_the_largest_over_documents_and_leaves_out_a_texts_own():
    texts, documents = leakage.word_grams([TEXT, OTHER]), leakage.word_grams([OTHER, TEXT, TEXT[:40]])
    assert leakage.max_containment(texts, documents).tolist() == [1.0, 1.0]
    own = leakage.max_containment(texts, documents, np.array([1, 0]))
    assert 0 < own[0] < 0.5 and own[1] == 0


def test_grams_do_not_depend_on_what_else_is_hashed(monkeypatch):
    texts = [f"{TEXT} {k} {OTHER}" for k in range(40)]
    together = leakage.word_grams(texts)
    monkeypatch.setattr(grams, "_CHARACTERS", 300)
    apart = leakage.word_grams(texts)
    assert np.array_equal(together.hashes, apart.hashes) and np.array_equal(together.owners, apart.owners)
    chosen = np.array([3, 7])
    assert np.array_equal(together.select(chosen).hashes, leakage.word_grams([texts[3], texts[7]]).hashes)


@pytest.mark.parametrize("pairs", [1, 100, 10**6])
@pytest.mark.parametrize("swapped", [False, True])
def test_overlaps_agree_with_a_plain_count(monkeypatch, pairs, swapped):
    """Whichever side is indexed, and however many pairs are counted at once."""
    monkeypatch.setattr(leakage, "_PAIRS", pairs)
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(list("abc"), generator.integers(5, 30))) for _ in range(25)]
    texts, documents = (texts[:10], texts[10:] * 3) if swapped else (texts, texts[10:])

    def distinct(text):
        words = text.split()
        return {tuple(words[k : k + 5]) for k in range(len(words) - 4)}

    shared = [[len(distinct(text) & distinct(document)) for document in documents] for text in texts]
    found = np.zeros((len(texts), len(documents)), int)
    sizes = leakage.word_grams(texts).sizes
    for some in leakage.overlaps(leakage.word_grams(texts), leakage.word_grams(documents)):
        assert not found[some.texts, some.documents].any(), "a pair came twice"
        found[some.texts, some.documents] = some.shared
    assert found.tolist() == shared and sizes.tolist() == [len(distinct(text)) for text in texts]
    expected = [max(row) / len(distinct(text)) for row, text in zip(shared, texts, strict=True)]
    assert containment(texts, documents).tolist() == expected


def test_nothing_overlaps_with_nothing():
    assert containment([], [TEXT]).tolist() == []
    assert containment([TEXT], []).tolist() == [0.0]


@pytest.mark.parametrize(
    ("lengths", "limit", "expected"),
    [
        ([], 5, []),
        ([1, 1, 1, 1, 1, 1], 3, [(0, 2), (2, 5), (5, 6)]),
        ([9, 9], 3, [(0, 1), (1, 2)]),
        ([0, 0, 0], 3, [(0, 3)]),
        ([1, 2, 1], 100, [(0, 3)]),
    ],
)
def test_a_row_is_cut_into_slices_about_as_long_as_the_limit(lengths, limit, expected):
    assert [(piece.start, piece.stop) for piece in grams.cut(lengths, limit)] == expected


def test_ranges_are_joined():
    assert grams.ranges(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]


def test_leaking_documents():
    documents = leakage.word_grams([OTHER, f"{OTHER} {TEXT}", TEXT[:30], TEXT])
    assert leakage.leaking_documents(leakage.word_grams([TEXT]), documents, 0.5).tolist() == [1, 3]


def test_near_duplicates_keep_the_first_of_a_group():
    long = " ".join(f"word{k}" for k in range(60))
    near, far = long.replace("word59", "end"), long.replace("word30", "x").replace("word10", "y").replace("word50", "z")
    grams = leakage.word_grams([OTHER, long, near, far, OTHER.upper()])
    assert leakage.near_duplicates(grams, 0.8).tolist() == [2, 4]
    assert leakage.near_duplicates(leakage.word_grams([]), 0.8).tolist() == []


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.85])
def test_near_duplicates_are_all_pairs_from_the_threshold_on_and_no_others(threshold):
    """Planted copies of 45 words, cut so that their similarity lies on both sides of the threshold, and on it."""
    rng, texts = np.random.default_rng(3), []
    for k in range(60):
        words = [f"w{k}x{n}" if rng.random() < 0.5 else f"common{n}" for n in range(44)]
        num_kept = int(rng.integers(24, 45))
        texts += [" ".join(words), " ".join([*words[:num_kept], *(f"z{k}x{n}" for n in range(44 - num_kept))])]
    texts += [" ".join(f"on{n}" for n in range(14)), " ".join(f"on{n}" for n in range(12))]  # 8 of 10 grams: 0.8
    sets = [set(leakage.word_grams([text]).hashes.tolist()) for text in texts]
    expected: list[int] = []
    for k, some in enumerate(sets):
        kept = [sets[j] for j in range(k) if j not in expected]
        if any(len(some & other) / len(some | other) >= threshold for other in kept):
            expected.append(k)
    assert 5 < len(expected) < 60 and (len(texts) - 1 in expected) == (threshold <= 0.8)
    assert leakage.near_duplicates(leakage.word_grams(texts), threshold).tolist() == expected


def test_a_text_and_its_normalised_form_have_the_same_grams():
    for text in (f" {TEXT.upper()} ", "Straße\u2003İstanbul ΑΣ ſ", "  ?! ", "_under_scored_ ǅ"):
        one, other = leakage.word_grams([text]), leakage.word_grams([leakage.normalise(text)])
        assert np.array_equal(one.hashes, other.hashes)


def test_train_test_overlap_is_of_copies_whatever_their_case_and_of_near_duplicates():
    long = [f"{name} " + " ".join(f"{name}{k}" for k in range(40)) for name in "abc"]
    texts = ["A short one!", long[0], long[1].replace("b39", "other"), long[2].replace("c20", "other"), "a new text"]
    others = ["a short one", long[0], long[1], long[2]]
    found = leakage.train_test_overlap(texts, others, jaccard_from=0.8)
    assert found.tolist() == [True, True, True, False, False]  # of c, 31 of 41 grams: the change stands in the middle
    assert leakage.train_test_overlap(texts, others, jaccard_from=0.7)[3]
