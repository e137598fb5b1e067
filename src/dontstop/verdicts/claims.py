"""The paper's claims as data, and the one rule by which everything is judged: holds, does not hold, inconclusive."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dontstop.verdicts import losses
from dontstop.verdicts.effects import Contrast, over

LEVEL = 0.05
# Points of F1. not-DAPT is "not better" where the interval leaves no room for a gain that anybody would train for:
# half of the smaller of the mean gains in the paper's Table 5, which is TAPT's 2.0.
MARGIN = 1.0
FRACTION = 0.5  # of DAPT's costs, below which TAPT's are called a fraction of them
HOLDS, DOES_NOT_HOLD, INCONCLUSIVE, NOT_RUN = "holds", "does not hold", "inconclusive", "not run"

# Stand for the arms of all numbers of neighbours alike, for their random controls, and for the two ends.
KNN, RAND, KNN_FEWEST, KNN_MOST = "knn_tapt", "rand_tapt", "knn_tapt_fewest", "knn_tapt_most"
# What is judged beside arms: by name, with the rule that it goes by.
CORRELATION, SECONDS, BYTES = "spearman", "seconds", "bytes"


@dataclass(frozen=True)
class Claim:
    """One claim of the paper: C1 to C13, in short, and where the paper makes it.

    All contrasts must come out as their rules say (see `verdict`, and `text` for readers). Those of one of the paper's
    tables are a family, corrected together (Holm); those without weights are measured otherwise than by arms' scores.
    Neighbours and random controls stand under names of their own, and are spelt out by `resolved`.
    """

    id: str
    statement: str
    place: str
    contrasts: tuple[Contrast, ...]
    rules: tuple[str, ...]
    text: str

    @property
    def family(self) -> str:
        """Return the contrasts' family; empty for what is measured otherwise than by arms' scores."""
        return self.contrasts[0].family


def verdict(effect: float, low: float, high: float, p_value: float, rule: str = "above") -> str:
    """Judge an effect by its 95 % interval and its p-value; a part that is not known (NaN) does not count.

    Args:
        p_value: Corrected where the effect belongs to a family.
        rule: `above` or `below` zero; `fraction`: below `FRACTION`; `not_above`: holds if the interval ends below
            `MARGIN`, whatever the p-value, unless the effect lies above zero.

    Returns:
        `holds`, `does not hold` (the effect lies on the other side) or `inconclusive`.
    """
    low, high = (effect if math.isnan(bound) else bound for bound in (low, high))
    bound = FRACTION if rule == "fraction" else 0.0
    significant = not p_value >= LEVEL
    is_above, is_below = significant and low > bound, significant and high < bound
    if rule == "not_above":
        is_above, is_below = is_above, high < MARGIN and not is_above
    if rule == "above":
        is_above, is_below = is_below, is_above
    return HOLDS if is_below else DOES_NOT_HOLD if is_above else INCONCLUSIVE


def joint_verdict(verdicts: Iterable[str]) -> str:
    """Judge what holds only if all its parts do (intersection-union); one part that does not hold refutes it."""
    found = set(verdicts)
    return DOES_NOT_HOLD if DOES_NOT_HOLD in found else HOLDS if found == {HOLDS} else INCONCLUSIVE


_ABOVE = "holds if the difference is above zero with p (Holm) below 0.05, does not hold if below zero likewise"
_NOT_ABOVE = (
    "does not hold if the difference is above zero with p (Holm) below 0.05; else holds if the 95 % interval, not "
    f"corrected, ends below {MARGIN} point"
)
_ALL_ABOVE = (
    "holds if it is above each of the three, the largest p (Holm) below 0.05; does not hold if it is below one of them "
    "likewise; the effect is the smallest of the differences"
)
_BEST = (
    "holds if curated TAPT is above TAPT, and after DAPT above TAPT, DAPT then TAPT, and curated TAPT, the largest of "
    "the four p (Holm) below 0.05; does not hold if a difference is below zero likewise; the effect is the smallest of "
    "them"
)
_OVER_TAPT = "the mean over all numbers of neighbours, less TAPT: " + _ABOVE
_OVER_CONTROLS = (
    "the mean over all numbers of neighbours, less that of their random controls (the paper: its only control): "
) + _ABOVE
_MOST_OVER_FEWEST = "the most neighbours less the fewest: " + _ABOVE
_COSTS = (
    f"holds if both ratios of TAPT to DAPT, of CPU-seconds and of bytes of text, lie below {FRACTION} by their "
    "intervals (geometric mean, t over tasks of the logarithms; the paper: steps and bytes of RCT-500, no intervals), "
    "does not hold if one lies above"
)


def _claim(id: str, statement: str, table: int, pairs: Sequence[tuple[str, str]], text: str = _ABOVE, rule="above"):
    """Return a claim about the scores of pairs of arms in one of the paper's tables."""
    contrasts = tuple(over(a, b, f"table{table}") for a, b in pairs)
    return Claim(id, statement, f"Table {table}", contrasts, (rule,) * len(pairs), text)


def _measured(id: str, statement: str, place: str, rules: Mapping[str, str], text: str) -> Claim:
    """Return a claim about what is measured otherwise, by name, with its rules."""
    return Claim(id, statement, place, tuple(Contrast(name, ()) for name in rules), tuple(rules.values()), text)


_DAPT_TAPT_PAIRS = [("dapt_tapt", arm) for arm in ("base", "dapt", "tapt")]
_CHEAPER = {SECONDS: "fraction", BYTES: "fraction"}
_CURATED_PAIRS = [("curated_tapt", "tapt")]
_CURATED_PAIRS += [("dapt_curated_tapt", arm) for arm in ("tapt", "dapt_tapt", "curated_tapt")]
CLAIMS = (
    _measured(
        "C1",
        "DAPT gains more the farther the domain's words lie from the base encoder's text",
        "section 3.1",
        {CORRELATION: "above"},
        "holds if the rank correlation over tasks is above zero: its interval, and p (permutation) below 0.05",
    ),
    _claim("C2", "DAPT scores above the base encoder", 3, [("dapt", "base")]),
    _claim("C3", "DAPT scores above not-DAPT", 3, [("dapt", "not_dapt")]),
    _claim("C4", "not-DAPT is not better than the base encoder", 3, [("not_dapt", "base")], _NOT_ABOVE, "not_above"),
    _claim("C5", "TAPT scores above the base encoder", 5, [("tapt", "base")]),
    _claim("C6", "DAPT then TAPT is the best of base, DAPT, TAPT and itself", 5, _DAPT_TAPT_PAIRS, _ALL_ABOVE),
    _claim("C7", "TAPT scores above transfer-TAPT", 6, [("tapt", "transfer_tapt")]),
    _claim("C8", "curated TAPT scores above TAPT, and after DAPT it is the best of Table 7", 7, _CURATED_PAIRS, _BEST),
    _claim("C9", "TAPT with nearest neighbours scores above TAPT", 8, [(KNN, "tapt")], _OVER_TAPT),
    _claim("C10", "nearest neighbours are worth more than as many random texts", 8, [(KNN, RAND)], _OVER_CONTROLS),
    _claim("C11", "more neighbours score higher, towards DAPT", 8, [(KNN_MOST, KNN_FEWEST)], _MOST_OVER_FEWEST),
    _measured(
        "C12",
        "DAPT lowers the masked-LM loss on its own domain and raises it on the base encoder's text",
        "Tables 1 and 12",
        {losses.IN_DOMAIN: "below", losses.GENERAL: "above"},
        "holds if both mean changes over domains lie on their sides of zero, by their intervals (t over domains)",
    ),
    _measured("C13", "TAPT costs a fraction of DAPT's time and storage", "Table 9", _CHEAPER, _COSTS),
)
