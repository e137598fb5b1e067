"""Leaks planted in text of several scripts, in every way that a reader would not see: found, and nothing else is."""

import collections
import pydoc_data.topics
import re
import unicodedata

import numpy as np
import pytest
import regex

import reliability
from dontstop.profiles import Text
from dontstop.text import audit, grams, leakage

NUM_PLANTS = reliability.wanted(110, 1000)
SETTINGS = Text()  # contained from half of the 5-grams, near from Jaccard 0.8


def english() -> list[str]:
    """Return paragraphs of 12 to 120 words of Python's own reference, which everybody has: real prose, with accents."""
    found = {p for topic in pydoc_data.topics.topics.values() for p in topic.replace("*", "").split("\n\n")}
    paragraphs = sorted(" ".join(p.split()) for p in found if 12 <= len(p.split()) <= 120)
    return [p.replace("code", "café").replace("name", "naïve") for p in paragraphs]


def unspaced(rng, letters: list[str], number: int) -> list[str]:
    """Return texts of characters as frequent as Zipf's law has it, in sentences."""
    weights, lengths = 1 / np.arange(3, len(letters) + 3), rng.integers(20, 90, number)
    drawn = np.array(letters)[rng.choice(len(letters), lengths.sum(), p=weights / weights.sum())].tolist()
    ends = np.cumsum(lengths)
    return ["".join(drawn[end - length : end]) + "。" for end, length in zip(ends, lengths, strict=True)]


HAN = [chr(0x4E00 + 13 * k) for k in range(1200)]
KANA = [chr(code) for code in (*range(0x3042, 0x3094), *range(0x30A2, 0x30F4))] + HAN[:300]
THAI = [chr(code) + mark for code in range(0x0E01, 0x0E2F) for mark in ("", "\u0e31", "\u0e35\u0e48", "\u0e49")]
WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}


def between(text: str, what: str, every: int) -> str:
    return what.join(text[k : k + every] for k in range(0, len(text), every))


def between_letters(text: str, what: str, every: int) -> str:
    letters = regex.findall(r"\X", text)  # with their marks
    return what.join("".join(letters[k : k + every]) for k in range(0, len(letters), every))


def is_spaced(text: str) -> bool:
    return len(text.split()) > 5


def spaced_anew(text: str) -> str:
    return text.replace(" ", "\n\t \u00a0") if is_spaced(text) else between_letters(text, " ", 3)


def punctuated(text: str) -> str:
    return "“" + text.replace(" ", ", — ") + "!”" if is_spaced(text) else between_letters(text, "、", 4) + "！"


# From a text, its neighbour's (for what stands around it) and a generator to the document that leaks it.
KINDS = {
    "exact": lambda text, other, rng: text,
    "case": lambda text, other, rng: text.upper() if rng.random() < 0.5 else text.title(),
    "spacing": lambda text, other, rng: spaced_anew(text),
    "punctuation": lambda text, other, rng: punctuated(text),
    "normal form": lambda text, other, rng: unicodedata.normalize("NFKD" if rng.random() < 0.5 else "NFD", text),
    "width": lambda text, other, rng: unicodedata.normalize("NFC", text).translate(WIDE),
    "soft hyphens": lambda text, other, rng: between(text, "\u00ad" if rng.random() < 0.5 else "\u200b", 3),
    "contained": lambda text, other, rng: f"{other} {text} {other[::-1]}",
    "contained and disguised": lambda text, other, rng: f"{other}\n{between(text.upper(), chr(0xAD), 4)}\n{other}",
    "near": lambda text, other, rng: near(text, rng),
}


def near(text: str, rng) -> str:
    """Replace the last words, or one in the middle of a long text, so that the Jaccard similarity is just 0.8."""
    words = leakage.words_of(text)
    own = grams_of(words)
    if rng.random() < 0.5 and similarity(own, changed := [*words[:20], "zzz", *words[21:]]) >= 0.8:
        return " ".join(changed)
    for num_replaced in range(len(words), 0, -1):
        changed = [*words[: len(words) - num_replaced], *(f"zz{k}" for k in range(num_replaced))]
        if similarity(own, changed) >= 0.8:
            return " ".join(changed)
    return " ".join(words)


def grams_of(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[k : k + 5]) for k in range(len(words) - 4)}


def similarity(own: set, words: list[str]) -> float:
    others = grams_of(words)
    return len(own & others) / max(1, len(own | others))


def unlike(texts: list[str]) -> list[str]:
    """Return the texts that share less than half of the 5-grams of either with all before them, by a plain count."""
    holders, sizes, kept = collections.defaultdict(list), [], []
    for text in texts:
        words = re.findall(r"\w+", text.lower()) if is_spaced(text) else regex.findall(r"\w\p{M}*", text)
        own = grams_of(words)
        shared = collections.Counter(k for gram in own for k in holders.get(gram, ()))
        if own and all(2 * number < min(len(own), sizes[k]) for k, number in shared.items()):
            for gram in own:
                holders[gram].append(len(kept))
            sizes.append(len(own))
            kept.append(text)
    return kept


@pytest.fixture(scope="module")
def planted():
    """Give texts and clean documents of four kinds of script, half and half, and what was planted: kind and text."""
    rng = np.random.default_rng(0)
    scripts = [english(), *(unspaced(rng, letters, max(200, NUM_PLANTS)) for letters in (HAN, KANA, THAI))]
    texts, clean = [], []
    for some in scripts:
        some = unlike([some[k] for k in rng.permutation(len(some))[: max(300, NUM_PLANTS)]])
        texts += some[: len(some) // 2]
        clean += some[len(some) // 2 :]
    plants = [(list(KINDS)[k % len(KINDS)], int(rng.integers(len(texts)))) for k in range(NUM_PLANTS)]
    documents = [KINDS[kind](texts[k], texts[k - 1][:60], rng) for kind, k in plants]
    return texts, clean, plants, documents


def test_every_planted_leak_is_found_and_nothing_else(planted):
    texts, clean, plants, documents = planted
    index = audit.build_index(texts)
    leaking, _ = audit.find_leaks(index, documents, SETTINGS)
    missed = [kind for (kind, _), found in zip(plants, leaking, strict=True) if not found]
    assert missed == []
    false_alarms, _ = audit.find_leaks(index, clean, SETTINGS)
    assert false_alarms.sum() <= 0.001 * len(clean), [clean[k] for k in np.flatnonzero(false_alarms)]
    found = {"plants": len(plants), "found": int(leaking.sum()), "clean texts": len(clean)}
    found["false alarms"] = int(false_alarms.sum())
    reliability.tell("leaks planted in ten ways and four kinds of script", "test_planted_leaks", found)


def test_the_audit_names_the_text_that_was_planted(planted):
    """Copies as exact, all as contained whole, near ones from Jaccard 0.8: of that text, each measured alone."""
    texts, _, plants, documents = planted
    index = audit.build_index(texts)
    for (kind, k), document in zip(plants, documents, strict=True):
        found = audit.measure_overlap(index, [document], SETTINGS.near_duplicate_jaccard)
        at = index.indices_of([texts[k]])[0]
        if kind == "near":
            assert found.near[at], document
        else:
            assert found.containment[at] == 1.0 and found.exact[at] == ("contained" not in kind), (kind, document)


def test_near_duplicates_in_a_corpus_are_dropped_in_every_script(planted):
    texts, clean, plants, documents = planted
    copies = [d for (kind, _), d in zip(plants, documents, strict=True) if "contained" not in kind]
    dropped = leakage.near_duplicates(grams.word_grams([*texts, *clean, *copies]), SETTINGS.near_duplicate_jaccard)
    first = len(texts) + len(clean)
    assert set(range(first, first + len(copies))) <= set(dropped.tolist())
    assert sum(k < first for k in dropped.tolist()) <= 0.001 * first
