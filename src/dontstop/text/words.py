"""What a word is, wherever texts are compared or counted: the same in every script, case, width and normal form.

Source: the Unicode Standard, NFKC_Casefold (section 3.13) and default-ignorable code points (section 5.21).
Scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) are cut into characters, each with its marks:
their words can be told by a dictionary only, and five characters are about as rare as five words.
"""

import functools
import itertools
import re
import unicodedata

import numpy as np
import regex

_IN_WORDS = r"\p{L}\p{N}\p{M}"  # letters, digits, and marks upon them
_WORD = regex.compile(f"[{_IN_WORDS}]+")
_IGNORABLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")  # soft hyphens, zero-width characters, selectors
# Line_Break=SA: the scripts of South-East Asia whose lines a dictionary breaks.
UNSPACED = regex.compile(r"(?!\p{M})[\p{Han}\p{Hiragana}\p{Katakana}\p{Line_Break=SA}]\p{M}*")
_APART = regex.compile(rf"(?<![{_IN_WORDS}])\p{{M}}+|({UNSPACED.pattern})")
_RUN = regex.compile(f"(?:{UNSPACED.pattern})+")
MANY = 0.1  # of a text's characters, from which on it is taken for one in a script without spaces
_VISIBLE = regex.compile(r"[^\s\p{Cc}\p{Default_Ignorable_Code_Point}]")
_ASCII = "".join(chr(code).lower() if chr(code).isalnum() else " " for code in range(128))


def fold(text: str) -> str:
    """Return a text in which equal words are equal runs of letters, digits and marks.

    Case is folded; compatibility forms (width, ligatures, superscripts) and composition are normalised; ignorable
    characters and marks upon nothing are dropped; characters of scripts without spaces stand apart.
    """
    if text.isascii():
        return text.lower()
    plain = _IGNORABLE.sub("", unicodedata.normalize("NFKC", text)).casefold()
    return _APART.sub(r" \1 ", unicodedata.normalize("NFKC", plain))


def words_of(text: str) -> list[str]:
    """Return the words that comparisons see: folded runs of letters and digits of any script."""
    if text.isascii():  # the same, in half the time
        return text.translate(_ASCII).split()
    return _WORD.findall(fold(text))


def normalise(text: str) -> str:
    """Return the text as comparisons see it: equal under changes of case, space, punctuation, width and normal form."""
    return " ".join(words_of(text)) or fold(text).strip()


def bag_words(text: str, spaced: re.Pattern) -> list[str]:
    """Return the words of a text that are counted, in any order: what a pattern finds between spaces.

    In a text of a script without spaces, also the pairs of neighbouring characters, as most of its words are; what
    another text quotes of such a script stays one word.
    """
    if text.isascii() or len(UNSPACED.findall(text)) < MANY * len(text):
        return spaced.findall(text)
    runs = [UNSPACED.findall(run) for run in _RUN.findall(text)]
    pairs = ["".join(pair) for run in runs for pair in itertools.pairwise(run)]
    return spaced.findall(_RUN.sub(" ", text)) + pairs + [run[0] for run in runs if len(run) == 1]


def num_words(text: str) -> int:
    """Count words as a reader does: pieces between spaces or, if they are more, characters of scripts without them."""
    spaced = len(text.split())
    return spaced if text.isascii() else max(spaced, len(UNSPACED.findall(text)))


def is_blank(text: str) -> bool:
    """Tell whether a text shows nothing: spaces, control and ignorable characters at most."""
    return _VISIBLE.search(text) is None


@functools.cache
def in_words() -> np.ndarray:
    """Return, for each code point, whether it is part of words: (0x110000,) bool."""
    marks = np.zeros(0x110000, bool)
    for found in _WORD.finditer("".join(map(chr, range(0x110000)))):
        marks[found.start() : found.end()] = True
    return marks
