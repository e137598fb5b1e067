"""What an encoder has learnt of its own domain, and forgotten of the general text: changes of the masked-LM loss."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dontstop import paper
from dontstop.text.tasks import Task
from dontstop.verdicts.scores import in_shared_replicates

IN_DOMAIN, GENERAL = "in_domain_delta_loss", "general_delta_loss"


def loss_matrix(losses: pd.DataFrame) -> pd.DataFrame:
    """Turn recorded losses (columns encoder, held_out, masked_lm_loss) into encoders by held-out samples.

    Of several replicates it is the mean over those in which all encoders were measured.
    """
    if "replicate" in losses:
        losses = in_shared_replicates(losses, ["encoder", "held_out"])
    matrix = losses.pivot_table(index="encoder", columns="held_out", values="masked_lm_loss")
    return matrix.loc[losses["encoder"].unique(), losses["held_out"].unique()].rename_axis(columns=None)


def loss_changes(matrix: pd.DataFrame) -> pd.DataFrame:
    """Return each encoder's losses less the base encoder's: below zero it has learnt, above zero forgotten."""
    return matrix - matrix.loc["base"]


def loss_changes_by_tapt(matrix: pd.DataFrame, tasks: Sequence[Task]) -> tuple[np.ndarray, np.ndarray]:
    """Return the changes of the loss on each task's texts by its own TAPT, and by that of the domain's other task."""
    table = loss_changes(matrix)
    own = np.array([table.loc[f"tapt_{task.name}", task.name] for task in tasks])
    return own, np.array([table.loc[f"tapt_{task.other_task}", task.name] for task in tasks])


def changes(losses: pd.DataFrame, base_text: str) -> pd.DataFrame:
    """Tabulate, replicate by replicate, what DAPT does to the loss on its own domain and on the base encoder's text.

    Losses are as recorded: columns encoder (`base`, `dapt_<domain>`), replicate, held_out, masked_lm_loss; in nats.

    Returns:
        Columns replicate, domain, in_domain_loss_before, in_domain_loss_after, in_domain_delta_loss,
        general_loss_before, general_loss_after, general_delta_loss.
    """
    tables = {replicate: _of_matrix(loss_matrix(some), base_text) for replicate, some in losses.groupby("replicate")}
    columns = ["replicate", *paper_forgetting()]
    found = pd.concat(tables, names=["replicate", "row"]).reset_index() if tables else pd.DataFrame(columns=columns)
    return found[columns]


def changes_of_arms(runs: pd.DataFrame, losses: pd.DataFrame, base_text: str) -> pd.DataFrame:
    """Tabulate what each arm's encoders do to the loss on the task's domain and on the base encoder's text.

    Args:
        runs: With the columns arm, checkpoint, domain, replicate; encoders whose loss was not measured are left out.
        losses: As recorded.

    Returns:
        Index arm, replicate; columns in_domain_delta_loss, general_delta_loss: nats, means over domains.
    """
    changed = course(runs, losses, base_text).groupby(["arm", "replicate", "text"], sort=False)["change"].mean()
    return changed.unstack("text").reindex(columns=["own", "general"]).set_axis([IN_DOMAIN, GENERAL], axis=1)


def course(runs: pd.DataFrame, losses: pd.DataFrame, base_text: str) -> pd.DataFrame:
    """List the losses of each arm's encoders on the task's domain and on the base encoder's text.

    Runs have the columns arm, checkpoint, domain, replicate; encoders whose loss was not measured are left out.

    Returns:
        Columns arm, domain, replicate, text (`own` or `general`), masked_lm_loss (nats), change (from the base's).
    """
    encoders = runs[["arm", "checkpoint", "domain", "replicate"]].drop_duplicates()
    table = encoders.merge(pd.DataFrame({"text": ["own", "general"]}), how="cross")
    table["held_out"] = table["domain"].where(table["text"] == "own", base_text)
    places = ["replicate", "held_out"]
    loss = losses.rename(columns={"encoder": "checkpoint"}).set_index(["checkpoint", *places])["masked_lm_loss"]
    table = table.join(loss, on=loss.index.names).dropna(subset="masked_lm_loss", ignore_index=True)
    base = losses[losses["encoder"] == "base"].set_index(places)["masked_lm_loss"].rename("base")
    table["change"] = table["masked_lm_loss"] - table.join(base, on=places)["base"]
    return table[["arm", "domain", "replicate", "text", "masked_lm_loss", "change"]]


def on_the_way(course: pd.DataFrame, base_text: str) -> pd.DataFrame:
    """List the losses of encoders in training, on their domain's text and on the base encoder's, with their changes.

    Args:
        course: As `Results.course` returns it; DAPT's begins with the base encoder.

    Returns:
        Columns checkpoint, phase (`dapt` or `tapt`), domain, text (`own` or `general`), step (0: the start),
        masked_lm_loss (nats), change (from the base's, nats). Nothing of a domain whose DAPT was not measured.
    """
    keys = ["domain", "replicate", "held_out"]
    of_base = course[(course["phase"] == "dapt") & (course["step"] == 0)].set_index(keys)["masked_lm_loss"]
    table = course.join(of_base.rename("base"), on=keys).dropna(subset="base")
    table = table.assign(change=table["masked_lm_loss"] - table["base"])
    table["text"] = np.where(table["held_out"] == base_text, "general", "own")
    return table[["checkpoint", "phase", "domain", "text", "step", "masked_lm_loss", "change"]].reset_index(drop=True)


def mean_course(losses: pd.DataFrame) -> pd.DataFrame:
    """Average encoders' courses over those checks that all of them have, the k-th with the k-th.

    Encoders trained for as many epochs of more text are checked at other steps: a check's step is the mean too.

    Args:
        losses: Columns checkpoint, step, masked_lm_loss, change; of one phase and one text.

    Returns:
        Index step (of the phase, 0 before it); columns masked_lm_loss, change.
    """
    ordered = losses.sort_values("step", kind="stable")
    check = ordered.groupby("checkpoint").cumcount()
    shared = ordered.groupby(check)["checkpoint"].transform("nunique") == losses["checkpoint"].nunique()
    return ordered[shared].groupby(check[shared])[["step", "masked_lm_loss", "change"]].mean().set_index("step")


def forgetting(losses: pd.DataFrame, base_text: str) -> pd.DataFrame:
    """Tabulate the changes of `changes` in the mean over replicates, ours and the paper's (column study).

    Source: Tables 1 and 12.
    """
    ours = changes(losses, base_text).drop(columns="replicate").groupby("domain", sort=False).mean().reset_index()
    both = pd.concat({"ours": ours, "paper": paper_forgetting()}, names=["study", "row"])
    return both.reset_index().drop(columns="row")


def paper_forgetting() -> pd.DataFrame:
    """Return the same changes by the paper's Table 12, of single runs, without the column study."""
    return _of_matrix(paper.table12(), "PT")


def _of_matrix(matrix: pd.DataFrame, base_text: str) -> pd.DataFrame:
    table = pd.DataFrame({"domain": [d for d in matrix.columns.drop(base_text) if f"dapt_{d}" in matrix.index]})
    for name, texts in (("in_domain", table["domain"]), ("general", [base_text] * len(table))):
        before = [matrix.loc["base", text] for text in texts]
        after = [matrix.loc[f"dapt_{domain}", text] for domain, text in zip(table["domain"], texts, strict=True)]
        table[f"{name}_loss_before"], table[f"{name}_loss_after"] = before, after
        table[f"{name}_delta_loss"] = table[f"{name}_loss_after"] - table[f"{name}_loss_before"]
    return table
