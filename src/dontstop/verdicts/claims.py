"""The paper's claims as data, and the one rule by which everything is judged.

**One family.** C1 to C12 are corrected together, whatever has run. Each claim has up to three outcomes: *holds*, *does
not hold*, and, for claims that something scores above something else, *equivalent*: the effect lies within plus and
minus half of DAPT's own effect. Half, since whoever calls a difference nothing must have something to hold it against,
and what is on offer here is DAPT's gain.

**What three outcomes cost.** A difference is asserted against the hypothesis that there is none, equivalence against
the hypothesis that the effect is the margin or more. Of a claim at most one of the two is true, so both may be tested
at its twelfth of the 5 %. But a claim that is called different may still be wrongly called equivalent, and the reverse:
Holm's steps, which hand on the whole level of what they have rejected, would hand on what is still needed. (With them,
7 to 9 % of simulated studies had a wrong verdict where DAPT alone gains.) So they hand on one half, `KEPT` being the
other: after j of 12 differences the next is tested at 5 % (1 - j / 24) / (12 - j), in place of 5 % / (12 - j), and
equivalence at 5 % / 24 throughout. Any set of true hypotheses, a of no difference and e of the margin or more, with a +
e <= 12, is then tested at 5 % (1 - e / 24) / a each and 5 % / 24 each, 5 % in all (Bonferroni): the closed test of
which these steps are the short form, so that the family-wise error is at most 5 %, however the tests depend on one
another.

Where the margin is not above zero, both hypotheses may be true; so *equivalent* is said only where C2, DAPT's own gain,
holds, and if it should not, that error has been counted. A wrong direction costs half a level at most; that steps go
with directions is proven for independent tests (Shaffer, 1980), and for ours `calibration` counts.

**Intersections** (C6, C8, C12) hold if all parts do, and enter with their largest p. They do not hold if one part lies
on the other side, by its p times the number of parts; equivalent is the smallest of the parts' effects.

**C4**, *not-DAPT is not better*, holds if its effect is below the margin, and does not hold if it is above zero and not
below the margin. *Holds* would be wrong for t >= m, *does not hold* for t <= 0, each at a / 2. An effect that is above
zero and below the margin is better by too little to matter here: the claim holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dontstop.verdicts import losses
from dontstop.verdicts.effects import LEVEL, Contrast, holm, over

MARGIN = 0.5  # of DAPT's own effect
KEPT = 0.5  # of the level of a claim that is decided: kept for its equivalence, and not handed on
FRACTION = 0.5  # of DAPT's costs, below which TAPT's are called a fraction of them
HOLDS, DOES_NOT_HOLD, EQUIVALENT, INCONCLUSIVE = "holds", "does not hold", "equivalent", "inconclusive"
NOT_RUN, NOT_TESTED = "not run", "not tested"
VERDICTS = (HOLDS, DOES_NOT_HOLD, EQUIVALENT, INCONCLUSIVE, NOT_RUN, NOT_TESTED)
FAMILY = "claims"

# Stand for several arms, or for one of several: `judgements.resolved` spells them out.
NOT_DAPT, NO_NEIGHBOURS = "not_dapt", "knn_tapt_0"
KNN, RAND, KNN_FEWEST, KNN_MOST = "knn_tapt", "rand_tapt", "knn_tapt_fewest", "knn_tapt_most"
# What is measured beside arms: by name.
RISE, FLOPS, BYTES = "gain_rise", "tflops", "bytes"
DAPT = over("dapt", "base", FAMILY)  # whose effect the margin is a half of

Evidence = Mapping[str, tuple[np.ndarray, np.ndarray]]  # by contrast: effects and two-sided p-values, of any one shape


@dataclass(frozen=True)
class Claim:
    """One claim of the paper: C1 to C13, in short, and where the paper makes it.

    Its contrasts are the parts of which all must come out as the rule says; those without weights are measured
    otherwise than by arms' scores. The rule: `above` zero (but for the parts named in `below`), `not_better`, or
    `fraction`; `text` tells it to readers.
    """

    id: str
    statement: str
    place: str
    contrasts: tuple[Contrast, ...]
    text: str
    rule: str = "above"
    below: tuple[str, ...] = ()  # names of parts

    @property
    def names(self) -> list[str]:
        """Return the names of its parts."""
        return [contrast.name for contrast in self.contrasts]

    @property
    def of_scores(self) -> bool:
        """Whether it is about the scores of arms."""
        return all(contrast.weights for contrast in self.contrasts)

    def side(self, name: str) -> int:
        """Return the sign that a part's effect has where the claim is true."""
        return -1 if name in self.below else 1


def within_margin(contrast: Contrast) -> tuple[Contrast, Contrast]:
    """Return the contrast less the margin, and plus it: below zero, and above it, where the effect is within."""
    moved = []
    for word, share in (("less", -MARGIN), ("plus", MARGIN)):
        margin = tuple((arm, share * weight) for arm, weight in DAPT.weights) if contrast.weights else ()
        name = f"{contrast.name}_{word}_half_dapt"
        moved.append(replace(contrast, name=name, weights=contrast.weights + margin))
    return tuple(moved)


def verdict(p_holds, p_does_not_hold, p_equivalent=1.0):
    """Judge by p-values, corrected where they belong to a family: the one rule; what is not known (NaN) counts as 1.

    Returns:
        `holds`, `does not hold`, `equivalent` or `inconclusive`; of arrays, an array.
    """
    words = [HOLDS, DOES_NOT_HOLD, EQUIVALENT]
    is_below = [np.asarray(p) < LEVEL for p in np.broadcast_arrays(p_holds, p_does_not_hold, p_equivalent)]
    return np.select(is_below, words, INCONCLUSIVE)[()]


def p_values(claim: Claim, found: Evidence) -> np.ndarray | None:
    """Return the p-values of a claim's outcomes, not yet corrected: (3, ...) holds, does not hold, equivalent.

    None where a part has not run. What has no margin, as losses, is never equivalent.
    """
    less, plus = ([c.name for c in moved] for moved in zip(*map(within_margin, claim.contrasts), strict=True))
    if not set(claim.names) <= set(found) or claim.rule == "not_better" and less[0] not in found:
        return None
    if claim.rule == "not_better":
        holds, against = _beyond(found, less[0], -1), _beyond(found, claim.names[0], 1)
        return np.stack([holds, against, np.ones_like(holds)])
    holds = _all([_beyond(found, name, claim.side(name)) for name in claim.names])
    against = _any([_beyond(found, name, -claim.side(name)) for name in claim.names])
    equivalent = np.ones_like(holds)
    if {*less, *plus} <= set(found):
        below = [_beyond(found, name, -1, sides=1) for name in less]
        above = [_beyond(found, name, 1, sides=1) for name in plus]
        equivalent = np.maximum(_any(below), _all(above))
    return np.stack([holds, against, equivalent])


def _beyond(found: Evidence, name: str, sign: int, sides: int = 2) -> np.ndarray:
    """Return the p-value of an effect that lies on the asked side of zero, two- or one-sided; 1 on the other side."""
    effect, p_value = (np.asarray(part, float) for part in found[name])
    is_there = (sign * effect > 0) & ~np.isnan(p_value)
    return np.where(is_there, p_value * sides / 2, 1.0)


def _all(p_values: Sequence[np.ndarray]) -> np.ndarray:
    """Return the p-value of all parts being so."""
    return np.max(p_values, axis=0)


def _any(p_values: Sequence[np.ndarray]) -> np.ndarray:
    """Return the p-value of any part being so, whichever it is."""
    return np.minimum(len(p_values) * np.min(p_values, axis=0), 1)


def corrected(p_values: np.ndarray) -> np.ndarray:
    """Correct p-values of outcomes, (num, 3, ...), for their number: differences step by step, equivalences at once."""
    different, equivalent = p_values[:, :2], p_values[:, 2:]
    equivalent = np.minimum(equivalent * len(p_values) / KEPT, 1.0)
    return np.concatenate([holm(different, kept=KEPT), equivalent], axis=1)


def judge_family(found: Evidence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Judge the family C1 to C12 as one; a claim that has not run counts with p = 1.

    Returns:
        p-values and corrected p-values, (12, 3, ...), and verdicts, (12, ...); *equivalent* only where C2 holds. What
        has not run is inconclusive here.
    """
    of_claims = [p_values(claim, found) for claim in TESTED]
    shape = next((p.shape for p in of_claims if p is not None), (3,))
    p = np.stack([np.ones(shape) if some is None else some for some in of_claims])
    shared = corrected(p)
    verdicts = verdict(*np.moveaxis(shared, 1, 0))
    gained = verdicts[[claim.id for claim in TESTED].index("C2")] == HOLDS
    return p, shared, np.where((verdicts == EQUIVALENT) & ~gained, INCONCLUSIVE, verdicts)


_ABOVE = (
    "holds if the effect is above zero, does not hold if below, with p (Holm) below 0.05; equivalent if it lies within "
    f"{MARGIN} of DAPT's own effect on either side of zero, by two one-sided tests likewise"
)
_NOT_BETTER = (
    f"holds if the effect, of the mean of the not-DAPT encoders that there are, less {MARGIN} of DAPT's own is below "
    "zero with p (Holm) below 0.05; else does not hold if the effect is above zero likewise"
)
_OF_ALL = (
    "the effect is the smallest of the differences: holds if all are above zero, the largest p (Holm) below 0.05; does "
    "not hold if one is below zero, its p times their number likewise; equivalent if the smallest lies within "
    f"{MARGIN} of DAPT's own effect on either side of zero"
)
_RISE = (
    "the fitted gain of the farthest domain less that of the nearest, in points, a line through these four domains: "
) + _ABOVE
_LOSSES = (
    "holds if both mean changes over domains lie on their sides of zero, the larger p (Holm) below 0.05; does not hold "
    "if one lies on the other side, twice its p likewise"
)
_COSTS = (
    f"holds if both ratios of TAPT to DAPT, of floating-point operations and of bytes of text, are below {FRACTION} "
    "(geometric means over tasks; the paper: steps and bytes of RCT-500), does not hold if one is not; no test"
)


def _claim(id: str, statement: str, table: int, pairs: Sequence[tuple[str, str]], text: str = _ABOVE, rule="above"):
    """Return a claim about the scores of pairs of arms in one of the paper's tables."""
    return Claim(id, statement, f"Table {table}", tuple(over(a, b, FAMILY) for a, b in pairs), text, rule)


_DAPT_TAPT_PAIRS = [("dapt_tapt", arm) for arm in ("base", "dapt", "tapt")]
_CURATED_PAIRS = [("curated_tapt", "tapt")]
_CURATED_PAIRS += [("dapt_curated_tapt", arm) for arm in ("tapt", "dapt_tapt", "curated_tapt")]
_MEASURED = {name: Contrast(name, (), FAMILY) for name in (RISE, losses.IN_DOMAIN, losses.GENERAL, FLOPS, BYTES)}
CLAIMS = (
    Claim("C1", "DAPT gains more the farther the domain", "section 3.1", (_MEASURED[RISE],), _RISE),
    _claim("C2", "DAPT scores above the base encoder", 3, [("dapt", "base")]),
    _claim("C3", "DAPT scores above not-DAPT", 3, [("dapt", NOT_DAPT)]),
    _claim("C4", "not-DAPT gains less than half as much as DAPT", 3, [(NOT_DAPT, "base")], _NOT_BETTER, "not_better"),
    _claim("C5", "TAPT scores above the base encoder", 5, [("tapt", "base")]),
    _claim("C6", "DAPT then TAPT scores above base, DAPT and TAPT", 5, _DAPT_TAPT_PAIRS, _OF_ALL),
    _claim("C7", "TAPT scores above transfer-TAPT", 6, [("tapt", "transfer_tapt")]),
    _claim(
        "C8", "curated TAPT scores above TAPT, and after DAPT it is the best of Table 7", 7, _CURATED_PAIRS, _OF_ALL
    ),
    _claim("C9", "TAPT with nearest neighbours scores above TAPT", 8, [(KNN, NO_NEIGHBOURS)]),
    _claim("C10", "nearest neighbours are worth more than as many random texts", 8, [(KNN, RAND)]),
    _claim("C11", "more neighbours score higher, towards DAPT", 8, [(KNN_MOST, KNN_FEWEST)]),
    Claim(
        "C12",
        "DAPT lowers the masked-LM loss on its own domain and raises it on the base encoder's text",
        "Tables 1 and 12",
        (_MEASURED[losses.IN_DOMAIN], _MEASURED[losses.GENERAL]),
        _LOSSES,
        below=(losses.IN_DOMAIN,),
    ),
    Claim(
        "C13",
        "TAPT costs a fraction of DAPT's compute and storage",
        "Table 9",
        (_MEASURED[FLOPS], _MEASURED[BYTES]),
        _COSTS,
        rule="fraction",
    ),
)
TESTED = tuple(claim for claim in CLAIMS if claim.rule != "fraction")  # the family: costs are counted, not sampled
