"""What texts are like before anything is trained on them: sizes, classes, scripts, texts that stand there twice."""

import collections
import re
import unicodedata
from collections.abc import Mapping, Sequence

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from dontstop.text import words
from dontstop.text.manifest import Row

LOOKED_AT = 2000  # texts whose letters and words are counted, evenly spread
WORD = re.compile(r"[^\W\d_]+")


def script_shares(texts: Sequence[str]) -> dict[str, float]:
    """Return the scripts that texts are written in, each with its share of the letters, the largest first.

    A letter's script is the first word of its Unicode name: LATIN, CYRILLIC, CJK, HIRAGANA.
    """
    some = texts[:: max(1, len(texts) // LOOKED_AT)]
    letters = collections.Counter(letter for text in some for letter in text if letter.isalpha())
    found: dict[str, int] = collections.Counter()
    for letter, number in letters.items():
        found[unicodedata.name(letter, "UNNAMED").split()[0]] += number
    total = sum(found.values())
    return {name: number / total for name, number in sorted(found.items(), key=lambda item: -item[1])}


def function_words(texts: Sequence[str]) -> float:
    """Return which percentage of words are English function words: some 40 of English text, hardly any of another."""
    some = texts[:: max(1, len(texts) // LOOKED_AT)]
    found = [word for text in some for word in WORD.findall(text.lower())]
    return 100 * sum(word in ENGLISH_STOP_WORDS for word in found) / max(1, len(found))


def corpus(texts: Sequence[str]) -> dict[str, object]:
    """Describe a corpus, or a sample of it.

    Returns:
        num_documents; num_words; script and percent_script (the main one's); percent_function (see `function_words`).
    """
    shares = script_shares(texts) or {"none": 0.0}
    script, share = next(iter(shares.items()))
    num_words = sum(words.num_words(text) for text in texts)
    return {
        "num_documents": len(texts),
        "num_words": num_words,
        "script": script.lower(),
        "percent_script": 100 * share,
        "percent_function": function_words(texts),
    }


def labelled(splits: Mapping[str, Sequence[Row]]) -> list[dict[str, object]]:
    """Describe a task's splits, a row each.

    Returns:
        split; as `corpus`; num_classes; smallest_class and largest_class, numbers of texts; num_repeated, texts that
        stand in the split before; num_in_train, texts that stand in train too.
    """
    known = {words.normalise(row["text"]) for row in splits["train"]}
    rows = []
    for split, found in splits.items():
        texts, counts = [row["text"] for row in found], collections.Counter(row["label"] for row in found)
        normal = [words.normalise(text) for text in texts]
        classes = {"num_classes": len(counts), "smallest_class": min(counts.values())}
        classes |= {"largest_class": max(counts.values()), "num_repeated": len(normal) - len(set(normal))}
        in_train = 0 if split == "train" else sum(text in known for text in normal)
        rows.append({"split": split} | corpus(texts) | classes | {"num_in_train": in_train})
    return rows
