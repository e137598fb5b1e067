"""The leak audit: planted copies are counted, and piece by piece it counts what a comparison of everything counts."""

import numpy as np
import pytest

from dontstop.profiles import Text
from dontstop.text import audit, leakage

TEXT = "The quick brown fox jumps over the lazy dog and runs into the dark wood before dawn."
OTHER = "Every window of the house was open, and the curtains moved a little in the summer wind."


def test_the_audit_counts_each_kind():
    near = " ".join([*TEXT.split()[:-1], "night"])
    texts = {("t", "test"): [TEXT, OTHER], ("t", "dev"): ["no such words anywhere here"]}
    evaluated = audit.index(text for some in texts.values() for text in some)
    corpora = {
        "exact": [TEXT.upper()],
        "contained": [f"{OTHER} {TEXT} {OTHER} {TEXT.lower()}"],
        "near": [near],
        "empty": [],
    }
    traces = {name: audit.trace(evaluated, some, jaccard_from=0.8) for name, some in corpora.items()}
    rows = audit.audit(texts, evaluated, traces, contained_from=0.5)
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
    monkeypatch.setattr(leakage, "_CHARACTERS", piece)
    monkeypatch.setattr(audit, "_PAIRS", piece)
    rng = np.random.default_rng(0)
    known, documents = [*texts_of(rng, 30), "red fox", "?!"], [*texts_of(rng, 60), "Red  fox!", "a red fox", " ?! "]
    limits = Text(leak_containment=settings[0], near_duplicate_jaccard=settings[1])

    def grams(text):
        words = leakage.words_of(text) or [text.strip()]
        return {tuple(words[k : k + 5]) for k in range(max(1, len(words) - 4))}

    evaluated = audit.index(known)
    leaking, traces = audit.sift(evaluated, documents, limits)
    shared = [[len(grams(text) & grams(document)) for document in documents] for text in known]
    expected = [any(s[k] and s[k] >= settings[0] * len(grams(t)) for s, t in zip(shared, known, strict=True))
                for k in range(len(documents))]  # fmt: skip
    assert leaking.tolist() == expected

    both, kept = evaluated.places(known), [k for k, out in enumerate(leaking) if not out]
    for found, places in ((traces, kept), (audit.trace(evaluated, documents, settings[1]), range(len(documents)))):
        for text, row, place in zip(known, shared, both, strict=True):
            of_text = [(row[k], documents[k]) for k in places]
            jaccard = [n / len(grams(text) | grams(document)) for n, document in of_text]
            assert found.containment[place] == max((n / len(grams(text)) for n, _ in of_text), default=0.0)
            assert found.near[place] == (max(jaccard, default=0.0) >= settings[1])
            assert found.exact[place] == any(leakage.normalise(d) == leakage.normalise(text) for _, d in of_text)


def test_an_index_is_the_same_after_it_was_saved(tmp_path):
    rng = np.random.default_rng(1)
    evaluated = audit.index(texts_of(rng, 300, few=20, many=40))
    audit.save_index(tmp_path / "index", evaluated)
    found = audit.load_index(tmp_path / "index")
    documents = texts_of(rng, 50)
    for one, other in zip(evaluated.overlaps(documents), found.overlaps(documents), strict=True):
        assert np.array_equal(one.texts, other.texts) and np.array_equal(one.shared, other.shared)
    assert len(found) == 300 and np.array_equal(np.sort(evaluated.copies), evaluated.copies)
