"""What a word is: in every script, case, width and normal form the same, and English as it ever was."""

import re
import unicodedata

import numpy as np
import pytest

from dontstop.selection.candidates import split_sentences
from dontstop.text import grams, leakage, splits, words
from dontstop.verdicts import baselines, vocabulary

ENGLISH = "The quick-brown fox_jumps, over 2 lazy DOGS (see [1]).\tAnd `x_1`!"
CHINESE = "预训练语言模型在许多任务上效果很好，但领域不同。"
JAPANESE = "コンピューターは、言葉を数えることができます。"
THAI = "ภาษาไทยไม่มีช่องว่างระหว่างคำ"
HINDI = "हिन्दी में शब्द रिक्त स्थान से अलग होते हैं"
SCRIPTS = {
    "Chinese": CHINESE,
    "Japanese": JAPANESE,
    "Thai": THAI,
    "Hindi": HINDI,
    "Arabic": "اللُّغَة العربية جميلة جدا ويكتبها الناس من اليمين",
}


@pytest.mark.parametrize("text", [ENGLISH, "", " ", "?!", "a" * 50, "\x00a\x1fb", ENGLISH * 3])
def test_english_has_the_words_that_it_ever_had(text):
    plain = re.findall(r"[^\W_]+", text.lower())
    assert words.words_of(text) == plain and words.fold(text) == text.lower()
    assert words.normalise(text) == splits.letters_of(text) == (" ".join(plain) or text.strip().lower())
    assert words.num_words(text) == len(text.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Erdős naïve", ["erdős", "naïve"]),
        ("cafe\u0301", ["café"]),
        ("ＦＵＬＬ ｗｉｄｔｈ", ["full", "width"]),
        ("ﬁnd x² µ", ["find", "x2", "μ"]),
        ("soft\u00adhyphen zero\u200bwidth \ufeffmark", ["softhyphen", "zerowidth", "mark"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("D´ıaz", ["d", "ıaz"]),  # an accent upon nothing is no letter
        (HINDI[:6] + " " + HINDI[7:10], ["हिन्दी", "में"]),
        ("用GPT4模型", ["用", "gpt4", "模", "型"]),
        ("ｶﾞ か\u3099", ["ガ", "が"]),
        ("ไม่มี", ["ไ", "ม่", "มี"]),
        ("한국어 문장", ["한국어", "문장"]),
    ],
)
def test_words_of_other_scripts(text, expected):
    assert words.words_of(text) == expected


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_no_change_that_a_reader_would_not_see_hides_a_copy(text):
    variants = [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")]
    variants += ["\u00ad".join(text), "\u200b".join(text), f"\ufeff{text}", text.replace(" ", "\u3000"), text + "！？"]
    assert {words.normalise(variant) for variant in variants} == {words.normalise(text)}
    document = f"{CHINESE[::-1]} {variants[1]} {JAPANESE[::-1]}"
    found = leakage.max_containment(leakage.word_grams([text]), leakage.word_grams([document, ENGLISH]))
    assert (
        found[0] >= 0.6 and leakage.max_containment(leakage.word_grams([text]), leakage.word_grams([ENGLISH]))[0] == 0
    )


def test_folding_twice_is_folding_once_for_every_character():
    text = " ".join(f"a{chr(code)}b" for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    folded = words.fold(text)
    assert words.words_of(folded) == words.words_of(text) and words.fold(folded).split() == folded.split()


def test_hashed_words_are_the_words():
    """The table that hashing looks characters up in, and the pattern, cut alike."""
    rng = np.random.default_rng(0)
    alphabet = [*"aB1_ -\n", *CHINESE, *THAI, *HINDI, "\u0301", "\u00ad", "²", "ß", "İ", "😀"]
    texts = ["".join(rng.choice(alphabet, 40)) for _ in range(300)]
    joined = [" ".join(words.words_of(text)) for text in texts]
    one, other = grams.word_grams(texts), grams.word_grams(joined)
    assert np.array_equal(one.hashes, other.hashes) and np.array_equal(one.sizes, other.sizes)


def test_words_are_counted_as_a_reader_does():
    assert words.num_words(CHINESE) == 22 and words.num_words(f"看 {ENGLISH}") == 1 + words.num_words(ENGLISH)
    assert words.num_words(HINDI) == 9


@pytest.mark.parametrize(
    ("text", "blank"), [("", True), (" \u200b\ufeff\x07\u3000", True), (" .", False), ("字", False)]
)
def test_what_shows_nothing_is_blank(text, blank):
    assert words.is_blank(text) == blank


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("你好。世界！！真的？」他说。", ["你好。", "世界！！", "真的？」", "他说。"]),
        ("これは一。 これは二！", ["これは一。", "これは二！"]),
        ("版本 3.5 是 e.g. 好的。One. Two.", ["版本 3.5 是 e.g. 好的。", "One.", "Two."]),
    ],
)
def test_sentences_end_in_chinese_and_japanese_too(text, expected):
    assert split_sentences(text) == expected


def test_distances_and_naive_bayes_see_words_in_a_script_without_spaces():
    cooking, law = ["炒菜要放盐", "汤里放盐", "菜很好吃"], ["法院判决合同", "合同无效判决", "法院受理案件"]
    overlap = vocabulary.overlap_matrix({"a": cooking, "b": law, "c": cooking}, num_words=9)
    assert overlap.loc["a", "c"] == 100 and overlap.loc["a", "b"] == 0
    assert vocabulary.num_words_in(cooking) == 13
    found = baselines.naive_bayes(
        [*cooking, *law], [0, 0, 0, 1, 1, 1], ["盐"], ["汤好吃", "案件合同"], lambda found: 0.0
    )
    assert found.tolist() == [0, 1]


def test_the_library_knows_the_characters_that_python_knows():
    table = words.in_words()
    differing = [c for k, c in enumerate(map(chr, range(0x110000))) if c.isalnum() != table[k]]
    assert {unicodedata.category(c) for c in differing} <= {"Mn", "Mc", "Me", "Cn"}  # marks, and what is newer


def test_a_bag_holds_pairs_of_characters_where_a_script_has_no_spaces():
    two = re.compile(r"\b\w\w+\b")
    assert words.bag_words("one two, a_1 naïve", two) == ["one", "two", "a_1", "naïve"]
    assert sorted(words.bag_words("用 PyTorch 训练模型。", two)) == sorted(["PyTorch", "用", "训练", "练模", "模型"])
    assert words.bag_words(ENGLISH + " " + "训练", two) == two.findall(ENGLISH + " 训练")  # a word that English quotes
