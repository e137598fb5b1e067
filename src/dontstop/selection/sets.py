"""The sets of text selected for a task: neighbours of its texts, and random controls of the same size.

Source: section 5.2 of the paper.
"""

from collections.abc import Mapping

import numpy as np

from dontstop.errors import StudyError
from dontstop.machine.randomness import generator
from dontstop.profiles import Selection
from dontstop.selection.neighbours import NONE
from dontstop.selection.rankings import Ranking
from dontstop.selection.selectors import resampling_order


def union(indices: np.ndarray, k: int) -> np.ndarray:
    """Return the candidates among the k nearest of any query, each once, ascending.

    Source: section 5.2; queries share neighbours, so there are fewer than k times the number of queries.
    """
    found = np.unique(indices[:, :k])
    return found[found != NONE]


def resampled(ranking: Ranking, num: int, *, seed: int) -> np.ndarray:
    """Draw `num` candidates without replacement, in proportion to their weights, ascending."""
    return np.sort(ranking.indices[0, resampling_order(ranking.scores[0], seed=seed)[:num]])


def sets_of(
    settings: Selection, rankings: Mapping[str, Ranking], lengths: np.ndarray, allowed: np.ndarray, *, seed: int
) -> dict[str, np.ndarray]:
    """Put together every set of selected candidates that a task's arms need, by the arm's kind.

    Args:
        rankings: By retrieval method.
        lengths: (num,) tokens of the candidates.
        allowed: (num,) bool, which are part of none of the task's own texts.
        seed: Of the task's draws in a replicate.

    Returns:
        `knn_tapt_<k>` and its control `rand_tapt_<k>`; of the selectors compared, at the middle k,
        `knn_tapt_<k>_<selector>` and `rand_tapt_<k>_<selector>`.

    Raises:
        StudyError: If a set takes more than half of the candidates, so that as many are not left for its control.
    """
    sizes = {settings.selector: sorted(settings.num_neighbours)}
    sizes |= {selector: [settings.compared_neighbours] for selector in settings.compared}
    found: dict[str, np.ndarray] = {}
    for selector, k in ((selector, k) for selector, numbers in sizes.items() for k in numbers):
        name = f"tapt_{k}" if selector == settings.selector else f"tapt_{k}_{selector}"
        ranking = rankings[selector]
        if selector == "dsir":  # it draws for the task as a whole: as many as the main selector has chosen
            chosen = resampled(ranking, len(found[f"knn_tapt_{k}"]), seed=seed)
        else:
            chosen = union(ranking.indices, k)
        if 2 * len(chosen) > allowed.sum():
            raise _too_many(f"knn_{name}", ranking, len(chosen), int(allowed.sum()))
        found[f"knn_{name}"] = chosen
        found[f"rand_{name}"] = matched_random(chosen, lengths, allowed, stream=f"rand_{name}", seed=seed)
    return found


def _too_many(name: str, ranking: Ranking, num_chosen: int, num_allowed: int) -> StudyError:
    largest = ranking.indices.shape[1]
    fits = next((k for k in range(largest, 0, -1) if 2 * len(union(ranking.indices, k)) <= num_allowed), 0)
    return StudyError(
        f"{name} takes {num_chosen:,} of {num_allowed:,} candidates, more than are left for its random control",
        "half of the candidates at most",
        f"lower selection.num_neighbours to {fits} or fewer, or give the domain more text",
    )


# Random controls -------------------------------------------------------------------------------------------------


def matched_random(
    chosen: np.ndarray, lengths: np.ndarray, allowed: np.ndarray, *, stream: str, seed: int
) -> np.ndarray:
    """Draw the matched random control of `chosen` from what it has left over: as many candidates, as long, ascending.

    As many of each length; where too few of a length are left, others of the nearest lengths, so that the tokens come
    to the same in total.

    Departure: the paper's RAND-TAPT has 50 random texts for each of the task's, whatever their length, may hold what
    was selected, and stands beside 50, 150 and 500 neighbours alike. Here each set of neighbours, of each k and
    retrieval method, has a control of its own, of as many texts and tokens, of which none is in the set: a control
    that shares half of a selection hides half of its gain.

    Args:
        chosen: Indices of candidates, at most half of those allowed.
        lengths: (num,) tokens of all candidates.
        allowed: (num,) bool, which may be drawn.
        stream: Which control, so that each is drawn by itself.
    """
    left = allowed.copy()
    left[chosen] = False
    order = generator("random control", seed, stream).permutation(np.flatnonzero(left))
    order = order[np.argsort(lengths[order], kind="stable")]  # by length; within a length at random
    longest = int(lengths.max(initial=0)) + 1
    there = np.bincount(lengths[order], minlength=longest)
    taken = _nearest_lengths(np.bincount(lengths[chosen], minlength=longest), there)
    starts = np.cumsum(there) - there
    return np.sort(np.concatenate([order[start : start + num] for start, num in zip(starts, taken, strict=True)]))


def _nearest_lengths(wanted: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return how many candidates to take of each length, (num_lengths,): as many, and as long, as are wanted.

    Args:
        wanted, there: (num_lengths,), how many of each length are wanted, and are there; as many in all, at least.
    """
    taken = np.minimum(wanted, there)
    for length in np.repeat(np.arange(len(wanted)), wanted - taken)[::-1]:  # long ones first, of which fewest are left
        free = np.flatnonzero(there > taken)
        taken[free[np.abs(free - length).argmin()]] += 1
    missing = int(np.arange(len(wanted)) @ (wanted - taken))
    return _lengthened(taken, there, missing) if missing >= 0 else _lengthened(taken[::-1], there[::-1], -missing)[::-1]


def _lengthened(taken: np.ndarray, there: np.ndarray, missing: int) -> np.ndarray:
    """Exchange candidates for longer ones until `missing` tokens more are taken, or as near to that as can be."""
    taken = taken.copy()
    for step in range(min(missing, len(taken) - 1), 0, -1):
        while missing >= step and (possible := np.minimum(taken[:-step], (there - taken)[step:])).any():
            shortest = int(possible.argmax())
            num = min(int(possible[shortest]), missing // step)
            taken[shortest] -= num
            taken[shortest + step] += num
            missing -= num * step
    return taken
