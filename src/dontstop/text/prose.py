"""English prose: distinguished from code and symbols, and freed of inline markup."""

import re

_FUNCTION_WORDS = frozenset(
    "a about after all also an and any are as at be because been before being between both but by can could do"
    " does each either else every for from given has have how if in instead into is it its may more most must"
    " no not of on one only or other otherwise over same should since so some such than that the their them"
    " then there these they this those through to under unless until use used using via was we were when where"
    " whether which while who will with within without would you your".split()
)
_WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
_PLAIN_TOKEN = re.compile(r"""["'(\[]*[A-Za-z]+(?:['’/-][A-Za-z]+)*["')\]]*[.,;:!?)]*$""")

_MARKUP = re.compile(r"[`*$<>{}%\\|\[\]]|://|www\.|doi:|  |\(\s*\)| [.,;:!?)]", re.I)
_INLINE = [
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), ""),
    (re.compile(r"\[\[[^\]]*\]\]"), ""),
    (re.compile(r"\[`~?(?:[\w.]+\.)?([\w()]+)`\](?:\([^)]*\))?"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\(\s*[^)\s]+\s*\)"), r"\1"),
    (re.compile(r"<(?:https?|ftp)://[^>]*>"), ""),
    (re.compile(r":[\w:+-]+:`([^`<]+?)\s*<[^`>]*>`"), r"\1"),
    (re.compile(r":[\w:+-]*(?:func|class|meth|mod|attr|obj|exc|data)[\w:]*:`[~!]?(?:[\w.]+\.)?([^`]+)`"), r"\1"),
    (re.compile(r"`~[\w.]*?(\w+(?:\(\))?)`"), r"\1"),
    (re.compile(r"`\.(?=[A-Za-z_])"), "`"),
    (re.compile(r":math:`([^`]*)`|\$([^$\n]{1,200})\$"), lambda m: _plain_math(m.group(1) or m.group(2) or "")),
    (re.compile(r":[\w:+-]+:`([^`]*)`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{0,2}"), r"\1"),
    (re.compile(r"``([^`]*)``"), r"\1"),
    (re.compile(r"`([^`]*)`_{0,2}"), r"\1"),
    (re.compile(r"\s?\[#?[\w*]{1,12}\]_"), ""),
    (re.compile(r"(?:https?|ftp)://\S+|\bwww\.\S+|\bdoi:\s?\S+", re.I), ""),
    (re.compile(r"</?[A-Za-z][^<>]{0,80}>"), ""),
    (re.compile(r"%\(\w+\)[sdr]|\{\{?[\w.\[\]]*\}?\}"), ""),
    (re.compile(r"\*\*([^*]+)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*([A-Za-z][^*\n]{0,80}?)\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<!\w)\|([A-Za-z][\w -]{0,30})\|(?!\w)"), r"\1"),
    (re.compile(r"\\ "), ""),
    (re.compile(r"\\([*_`|<>\\])"), r"\1"),
    (re.compile(r"\(\s*[,;.]?\s*\)|\[\s*\]"), ""),
    (re.compile(r"`+"), ""),
    (re.compile(r"\s+"), " "),
    (re.compile(r" ([.,;:!?)])(?=\s|$)"), r"\1"),
]


def is_english(text: str, *, min_words: int = 4) -> bool:
    """Distinguish English prose from code, symbols and lists of names, by its letters and function words."""
    words = _WORD.findall(text)
    if len(words) < min_words:
        return False
    tokens = text.split()
    plain = sum(bool(_PLAIN_TOKEN.match(token)) for token in tokens)
    letters = sum(map(len, words)) / max(1, len(text.replace(" ", "")))
    function_words = sum(word.lower() in _FUNCTION_WORDS for word in words)
    if len(words) <= 9 and plain >= 0.85 * len(tokens) and text[0].isupper() and text[-1] == ".":
        return True  # a noun phrase, as summaries often are
    return plain >= 0.66 * len(tokens) and letters >= 0.75 and function_words >= 0.15 * len(tokens)


def clean_inline(text: str) -> str:
    """Reduce inline markup (roles, links, emphasis, literals, placeholders, simple mathematics) to its plain text."""
    for pattern, replacement in _INLINE if _MARKUP.search(text) else ():
        text = pattern.sub(replacement, text)
    return text.strip()


def _plain_math(formula: str) -> str:
    plain = re.sub(r"\\(?:text|mathrm|mathbf|mathbb|mathcal|operatorname|left|right|bf|rm|frac)\b", "", formula)
    plain = re.sub(r"[{}$]|\\[,;! ]", "", plain).replace("\\", "").strip()
    return plain if len(plain) <= 30 else ""
