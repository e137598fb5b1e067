"""The leak audit: planted copies are counted, and piece by piece it counts what a comparison of everything counts."""

import numpy as np
import pytest

from dontstop.profiles import Text
from dontstop.text import audit, grams, leakage

TEXT = "The quick brown fox jumps over the lazy dog and runs into the dark wood before dawn."
OTHER = "Every window of the house was open, and the curtains moved a little in the summer wind."


def test_the_audit_counts_each_kind():
    near = " ".join([*TEXT.split()[:-1], "night"])
    texts = {("t", "test"): [TEXT, OTHER], ("t", "dev"): ["no such words anywhere here"]}
    index = audit.build_index(text for some in texts.values() for text in some)
    corpora = {
        "exact": [TEXT.upper()],
        "contained": [f"{OTHER} {TEXT} {OTHER} {TEXT.lower()}"],
        "near": [near],
        "empty": [],
    }
    overlap = {name: audit.measure_overlap(index, some, jaccard_from=0.8) for name, some in corpora.items()}
    rows = audit.audit(texts, index, overlap, contained_from=0.5)
    found = {(r["split"], r["corpus"]): (r["num_exact"], r["num_contained"], r["num_near_duplicate"]) for r in rows}
    assert found["test", "exact"] == (1, 1, 1)
    assert found["test", "contained"] == (0, 2, 0)
    assert found["test", "near"] == (0, 1, 1)
    assert found["test", "empty"] == found["dev", "exact"] == (0, 0, 0)
    assert {row["num_texts"] for row in rows} == {1, 2}
    assert max(row["max_containment"] for row in rows) == 1.0


def texts_of(rng, number, few=5, many=30):
    """Draw texts of so few different words that they share grams by chance."""
    return [" ".join(rng.choice(list("abc"), rng.integers(few, many))) for _ in range(number)]


@pytest.mark.parametrize("settings", [(0.5, 0.8), (0.9, 0.3), (1.0, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize("piece", [50, 10**6])
def test_piece_by_piece_it_finds_what_a_plain_comparison_finds(monkeypatch, settings, piece):
    monkeypatch.setattr(grams, "_CHARACTERS", piece)
    monkeypatch.setattr(leakage, "_PAIRS", piece)
    rng = np.random.default_rng(0)
    known, documents = [*texts_of(rng, 30), "red fox", "?!"], [*texts_of(rng, 60), "Red  fox!", "a red fox", " ?! "]
    limits = Text(leak_containment=settings[0], near_duplicate_jaccard=settings[1])

    def distinct(text):
        words = leakage.words_of(text) or [text.strip()]
        return {tuple(words[k : k + 5]) for k in range(max(1, len(words) - 4))}

    index = audit.build_index(known)
    leaking, overlap = audit.find_leaks(index, documents, limits)
    shared = [[len(distinct(text) & distinct(document)) for document in documents] for text in known]
    expected = [any(s[k] and s[k] >= settings[0] * len(distinct(t)) for s, t in zip(shared, known, strict=True))
                for k in range(len(documents))]  # fmt: skip
    assert leaking.tolist() == expected

    both, kept = index.indices_of(known), [k for k, out in enumerate(leaking) if not out]
    for found, chosen in (
        (overlap, kept),
        (audit.measure_overlap(index, documents, settings[1]), range(len(documents))),
    ):
        for text, row, at in zip(known, shared, both, strict=True):
            of_text = [(row[k], documents[k]) for k in chosen]
            jaccard = [n / len(distinct(text) | distinct(document)) for n, document in of_text]
            assert found.containment[at] == max((n / len(distinct(text)) for n, _ in of_text), default=0.0)
            assert found.near[at] == (max(jaccard, default=0.0) >= settings[1])
            assert found.exact[at] == any(leakage.normalise(d) == leakage.normalise(text) for _, d in of_text)


def test_an_index_is_the_same_after_it_was_saved(tmp_path):
    rng = np.random.default_rng(1)
    index = audit.build_index(texts_of(rng, 300, few=20, many=40))
    audit.save_index(tmp_path / "index", index)
    found = audit.load_index(tmp_path / "index")
    rolled = grams.rolling_grams(texts_of(rng, 50))
    for one, other in zip(index.overlaps(*rolled), found.overlaps(*rolled), strict=True):
        assert np.array_equal(one.texts, other.texts) and np.array_equal(one.shared, other.shared)
    assert len(found) == 300 and np.array_equal(np.sort(index.copies), index.copies)
