"""Tables of distances and losses between texts: how far domains lie, DAPT's gain against it, and forgetting."""

from collections.abc import Sequence

import pandas as pd
from pandas import DataFrame, Series

from dontstop import paper
from dontstop.design.arms import BASE
from dontstop.report.tables import below
from dontstop.text.tasks import Task
from dontstop.verdicts.domain_gap import DISTANCES
from dontstop.verdicts.effects import effects, over
from dontstop.verdicts.judgements import OURS, PAPER
from dontstop.verdicts.losses import GENERAL, IN_DOMAIN, changes_of_arms, loss_changes, loss_matrix
from dontstop.verdicts.scores import MEAN, SCORES


def distances(measured: DataFrame) -> DataFrame:
    """Put the paper's two distances from RoBERTa's text below those of `domain_gap.distance_table`.

    Source: Figure 2 (column PT) and Table 1 (loss before DAPT).
    """
    theirs = paper.table1()[["domain", "loss_before"]].rename(columns={"loss_before": "masked_lm_loss"}).iloc[1:]
    overlap = theirs["domain"].map(paper.figure2()["PT"])
    return below(measured.reset_index(), theirs.assign(vocabulary_overlap=overlap, num_words=10_000))


def long_distances(measured: DataFrame) -> DataFrame:
    """Turn a table of distances into long form: columns domain, distance, value, low, high; those measured only."""
    columns, table = ["domain", "value", "low", "high"], measured.rename_axis("domain").reset_index()
    parts = {
        name: table.reindex(columns=["domain", name, f"{name}_low", f"{name}_high"]).set_axis(columns, axis=1)
        for name in DISTANCES
        if name in measured
    }
    long = pd.concat(parts, names=["distance"]).reset_index("distance").dropna(subset="value")
    return long[["domain", "distance", "value", "low", "high"]].reset_index(drop=True)


def gain_against_distance(gains: DataFrame, measured: DataFrame, tasks: Sequence[Task]) -> DataFrame:
    """Join each task's effect of DAPT, points of F1, with each distance of its domain that was measured.

    Columns task, domain, distance, value, value_low, value_high, gain, low, high.
    """
    ours = gains[gains["task"] != MEAN].rename(columns={"effect": "gain"})
    ours = ours.assign(domain=ours["task"].map({task.name: task.domain for task in tasks}))
    far = long_distances(measured).rename(columns={"low": "value_low", "high": "value_high"})
    columns = ["task", "domain", "distance", "value", "value_low", "value_high", "gain", "low", "high"]
    return ours.merge(far, on="domain")[columns]


def table12(losses: DataFrame, general: str) -> DataFrame:
    """Tabulate `study.losses`, a row an encoder, ours above the paper's; `general` stands for the base's own text.

    Columns study, encoder, the texts, and in_domain_delta_loss, the loss on the encoder's own domain less the base's,
    and general_delta_loss, the same on the general text: above zero, the encoder has forgotten.

    Source: Table 12.
    """
    both = ((OURS, _with_changes(loss_matrix(losses), general)), (PAPER, _with_changes(paper.table12(), "PT")))
    table = pd.concat([part.reset_index(names="encoder").assign(study=name) for name, part in both], ignore_index=True)
    return table[["study", *(name for name in table if name not in ("study", IN_DOMAIN, GENERAL)), IN_DOMAIN, GENERAL]]


def _with_changes(matrix: DataFrame, general: str) -> DataFrame:
    changes = loss_changes(matrix)
    own = {f"dapt_{d}": changes.loc[f"dapt_{d}", d] for d in matrix if f"dapt_{d}" in matrix.index}
    return matrix.assign(**{IN_DOMAIN: Series(own, dtype=float), GENERAL: changes[general].drop("base")})


def against_forgetting(runs: DataFrame, losses: DataFrame, general: str) -> DataFrame:
    """Tabulate what arms, of runs on the same tasks, gain over the base encoder, and what they learn and forget.

    Columns arm; effect over base, low, high (points); log_probability_gain (nats); in_domain_delta_loss and
    general_delta_loss, nats, means over replicates (num_replicates) and domains.
    """
    contrasts = {over(arm, BASE).name: over(arm, BASE) for arm in runs["arm"].unique() if arm != BASE.name}
    parts = [effects(runs, list(contrasts.values()), score=score).query("task == @MEAN") for score in SCORES]
    points, nats = (part.set_index("contrast").loc[list(contrasts)] for part in parts)
    changes = changes_of_arms(runs, losses, general).groupby("arm").mean()
    table = points[["effect", "low", "high", "num_replicates"]].assign(log_probability_gain=nats["effect"])
    table.insert(0, "arm", [contrast.weights[0][0] for contrast in contrasts.values()])
    return table.merge(changes, left_on="arm", right_index=True, how="left").reset_index(drop=True)
