"""What gains depend on: the distance of the domain, the nearness of the adaptation text, the number of labels."""

import itertools

import numpy as np
import pandas as pd

from dontstop.design.arms import DAPT, NOT_DAPTS
from dontstop.verdicts import scores
from dontstop.verdicts.domain_gap import as_distances, spearman
from dontstop.verdicts.effects import Contrast, by_replicate, complete, described, of_replicates, over
from dontstop.verdicts.scores import MEAN

DAPT_ARMS = tuple(arm.name for arm in (DAPT, *NOT_DAPTS))  # that fine-tune a DAPT encoder: the own domain's, others'


def rise_weights(domains: pd.Series, distances: pd.Series) -> pd.Series:
    """Return weights of tasks whose sum of gains is the rise: the fitted gain of the farthest domain less the nearest.

    The line is fitted by least squares to domains, each the mean of its tasks, so that two tasks of a domain count as
    the one distance that they share. No weights where fewer than two distances differ. Domains are by task, distances
    by domain.

    Why a slope and no rank correlation: of four domains a rank correlation takes eleven values, and noise alone pulls
    its expectation towards zero, so a mean over replicates would estimate neither the procedure's correlation nor have
    a t distribution. A slope is linear in the gains: unbiased, in points, with the same machinery as every contrast.
    """
    domains = domains[domains.isin(distances.dropna().index)]
    far = distances[domains.unique()].astype(float)
    centred = far - far.mean()
    if len(far) < 2 or np.ptp(far) == 0:
        return pd.Series(dtype=float)
    slopes = centred / (centred**2).sum() * np.ptp(far)
    return domains.map(slopes) / domains.map(domains.value_counts())


def rises(runs: pd.DataFrame, distances: pd.Series, contrast: Contrast, *, score: str = "test_score") -> pd.Series:
    """Return the rise of a gain from the nearest domain to the farthest (see `rise_weights`), by replicate; points."""
    gains = of_replicates(runs, contrast, score=score)
    weights = rise_weights(domains_of(runs).reindex(gains.columns), distances)
    return gains[weights.index] @ weights if len(weights) else pd.Series(dtype=float)


def domains_of(runs: pd.DataFrame) -> pd.Series:
    """Return the tasks' domains, by task."""
    return runs.drop_duplicates("task").set_index("task")["domain"]


def gain_rises(runs: pd.DataFrame, contrast: Contrast, distances: pd.DataFrame) -> pd.DataFrame:
    """Relate a gain to each distance of the domains from the general text; it speaks of these domains alone.

    Args:
        distances: As `domain_gap.distance_table` returns them; those not measured throughout are left out.

    Returns:
        Index distance; columns of `effects.STATISTICS`, where effect is the rise in points (see `rise_weights`), t over
        replicates; spearman, the rank correlation of the domains' mean gains with the distance, without a test; and
        num_domains. Of a single domain, which is nearest and farthest at once, no row.

    Source: section 3.1 ends in the guess that DAPT gains more the farther the domain; the rise is ours.
    """
    far = as_distances(distances)
    found = {name: rises(runs, far[name], contrast) for name in far}
    gains = of_replicates(runs, contrast).mean()
    by_domain = gains.groupby(domains_of(runs), sort=False).mean()
    table = described(pd.DataFrame({name: some for name, some in found.items() if len(some)}))
    table["spearman"] = [spearman(far.loc[by_domain.index, name], by_domain) for name in table.index]
    return table.rename_axis("distance").assign(num_domains=len(by_domain))


def gain_matrix(runs: pd.DataFrame, overlap: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the gain of every DAPT encoder over the base encoder on every task.

    Args:
        runs: With the column checkpoint: `dapt_<domain>` of the arms `DAPT_ARMS`.
        overlap: Vocabulary overlap of every two domains, percent: a row and a column a domain, others may follow.

    Returns:
        Columns encoder (the domain whose text it read), domain (the task's), task, gain, low, high (points; t over
        replicates), distance (1 - overlap of the two domains' texts, 0 to 1).
    """
    encoders, parts = {f"dapt_{domain}": domain for domain in overlap.index}, []
    named = runs["checkpoint"].map(encoders).where(runs["arm"].isin(DAPT_ARMS))
    some = runs.assign(arm=named.where(runs["arm"] != "base", "base"))
    by_task = scores.run_means(scores.checked(some[some["arm"].notna()]))
    for encoder in (name for name in overlap.index if name in by_task):
        found = described(by_replicate(by_task, over(encoder, "base"))).rename_axis("task").reset_index()
        parts.append(found.assign(encoder=encoder, domain=found["task"].map(domains_of(runs))))
    columns = ["encoder", "domain", "task", "gain", "low", "high", "distance"]
    if not parts:
        return pd.DataFrame(columns=columns)
    table = pd.concat(parts, ignore_index=True).rename(columns={"effect": "gain"})
    near = [overlap.loc[row.encoder, row.domain] / 100 for row in table.itertuples()]
    return table.assign(distance=1 - np.array(near, float))[columns]


def nearness(matrix: pd.DataFrame) -> dict[str, float]:
    """Ask whether nearness of the adaptation text predicts its gain: does the gain fall with the distance?

    Each task's gains and distances (see `gain_matrix`) are centred, so that only differences between encoders on one
    and the same task count. By permutation, encoders change their texts with one another, for all tasks alike: of four
    encoders there are 24 ways, so p is 0.042 at least.

    Text of the own domain alone can make such a correlation. So the same is asked of texts of other domains only; that
    is told without a test, since of three encoders each there is nothing to permute that a test could rest on.

    Returns:
        slope (points of gain for a distance of 1), correlation (Pearson's, within tasks), p_value (two-sided, by
        permutation), num_points, num_permutations; own_gain and other_gain (means by text of the task's domain and of
        others), other_correlation and num_others (of others alone; NaN where no task has two of them).
    """
    is_own = matrix["encoder"] == matrix["domain"]
    own, others = matrix[is_own], matrix[~is_own]
    gains, far = (matrix.pivot(index="encoder", columns="task", values=value) for value in ("gain", "distance"))
    gains, far = (table.to_numpy() - table.to_numpy().mean(axis=0) for table in (gains, far))
    orders = list(itertools.permutations(range(len(gains))))
    products = np.array([(gains[list(order)] * far).sum() for order in orders])  # the first is the observed
    length = (far**2).sum() or np.nan  # of a single domain, all distances are one
    found = {"slope": products[0] / length, "correlation": products[0] / np.sqrt(length * (gains**2).sum())}
    found["p_value"] = (np.abs(products) >= np.abs(products[0]) - 1e-12).mean()
    found |= {"own_gain": own["gain"].mean(), "other_gain": others["gain"].mean()}
    found["other_correlation"] = _correlation_within_tasks(others)
    counts = {"num_points": gains.size, "num_permutations": len(orders), "num_others": len(others)}
    return {name: float(value) for name, value in found.items()} | counts


def _correlation_within_tasks(matrix: pd.DataFrame) -> float:
    """Correlate gains and distances, each less its task's mean; NaN where they are all alike."""
    some = matrix[["gain", "distance"]].astype(float)
    gains, far = (some - some.groupby(matrix["task"]).transform("mean")).to_numpy().T
    length = np.sqrt((gains**2).sum() * (far**2).sum())
    return (gains * far).sum() / length if length > 1e-12 else np.nan


def label_gains(runs: pd.DataFrame, reference: str = "base", *, score: str = "test_score") -> pd.DataFrame:
    """Return gains over the reference at each number of labelled texts: when does it pay to adapt?

    Runs are those of `study.label_curve`; rows of `baselines.naive_bayes_curve` may be joined to them.

    Returns:
        Columns arm, num_train, score (mean over tasks), gain over the reference with as many labels, low, high (95 %, t
        over replicates; NaN for one), num_replicates (in which all arms have run). The reference's own gain is 0.
    """
    rows = []
    for number, some in runs.groupby("num_train"):
        by_task = scores.run_means(scores.in_shared_replicates(some), score)
        for arm in by_task if reference in by_task else ():
            gains = complete((by_task[arm] - by_task[reference]).unstack("task", sort=False))
            found = described(gains.mean(axis=1).to_frame(MEAN)).iloc[0]
            rows.append([arm, number, by_task[arm].mean(), *found[["effect", "low", "high", "num_replicates"]]])
    columns = ["arm", "num_train", "score", "gain", "low", "high", "num_replicates"]
    order = list(dict.fromkeys(runs["arm"]))
    table = pd.DataFrame(rows, columns=columns).astype({"num_replicates": int})
    return table.sort_values("arm", key=lambda arms: arms.map(order.index), kind="stable", ignore_index=True)
