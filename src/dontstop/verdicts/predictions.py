"""Test texts whose label one arm gets right and another does not: counted, and some of them to be read."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dontstop.machine import files
from dontstop.runs.records import decode_predictions
from dontstop.verdicts.effects import name_of
from dontstop.verdicts.resampling import Truth
from dontstop.verdicts.scores import PAIR, checked, in_shared_replicates

MENDED, BROKEN = "mended", "broken"


def changed(runs: pd.DataFrame, truth: Truth, arm, other) -> pd.DataFrame:
    """Compare the labels that two arms give to each test text, run by run of a replicate that both have and a seed.

    Args:
        truth: By task, the (num_test,) label ids.
        arm: Whose labels mend or break those of the other: an arm or its name.

    Returns:
        Columns task, index (of the test text), label, arm, other (names), mended, broken (the share of runs, 0 to 1, in
        which arm alone is right; in which other alone is), guess, other_guess (the label that each gives most often).
    """
    names, parts = [name_of(arm), name_of(other)], []
    some = in_shared_replicates(checked(runs[runs["arm"].isin(names)])).sort_values(["task", *PAIR], kind="stable")
    for task in runs["task"].unique():
        of_task = some[some["task"] == task]
        pair = [of_task[of_task["arm"] == name] for name in names]
        if any(rows.empty for rows in pair):
            continue
        ours, theirs = (np.stack([decode_predictions(text) for text in rows["test_predictions"]]) for rows in pair)
        right, other_right = ours == truth[task], theirs == truth[task]  # (num_runs, num_test)
        labels = np.array(of_task["labels"].iloc[0])
        columns = {"task": task, "index": np.arange(len(truth[task])), "label": labels[truth[task]]}
        columns |= {"arm": names[0], "other": names[1]}
        columns |= {MENDED: (right & ~other_right).mean(axis=0), BROKEN: (other_right & ~right).mean(axis=0)}
        columns |= {"guess": labels[_most_frequent(ours)], "other_guess": labels[_most_frequent(theirs)]}
        parts.append(pd.DataFrame(columns))
    columns = ["task", "index", "label", "arm", "other", MENDED, BROKEN, "guess", "other_guess"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _most_frequent(guesses: np.ndarray) -> np.ndarray:
    """Return the label that each text, of (num_runs, num_test), is given most often; of equals, the first."""
    return np.array([np.bincount(column).argmax() for column in guesses.T])


def changed_counts(compared: pd.DataFrame) -> pd.DataFrame:
    """Count what `changed` compares: columns task, arm, other, mended, broken (texts, mean over runs), num_test."""
    by_task = compared.groupby(["task", "arm", "other"], sort=False)
    return by_task[[MENDED, BROKEN]].sum().assign(num_test=by_task.size()).reset_index()


def changed_texts(compared: pd.DataFrame, texts: Mapping[str, Sequence[str]], num: int = 4) -> pd.DataFrame:
    """List texts that are mended and texts that are broken (see `changed`), by a rule so that no looks decide.

    Of each task it is the text that is mended, or broken, in the largest share of runs and by the most frequent guess,
    of equals the one with the least digest; of the tasks, those `num` whose texts have the least digests. Texts are by
    task.

    Returns:
        Columns change (`mended` or `broken`), task, text, label, and by the arms' names what each guessed.
    """
    parts, columns = [], ["change", "task", "text", "label", "other_guess", "guess"]
    right, other_right = (compared[name] == compared["label"] for name in ("guess", "other_guess"))
    for kind, shown in ((MENDED, right & ~other_right), (BROKEN, other_right & ~right)) if len(compared) else ():
        some = compared[shown & (compared[kind] > 0)]
        found = [texts[task][index] for task, index in zip(some["task"], some["index"], strict=True)]
        some = some.assign(change=kind, text=found, digest=list(map(files.fingerprint, found)))
        some = some.sort_values([kind, "digest"], ascending=[False, True]).drop_duplicates("task")
        parts.append(some.sort_values("digest").head(num))
    if not parts:
        return pd.DataFrame(columns=columns)
    names = {"other_guess": compared["other"].iloc[0], "guess": compared["arm"].iloc[0]}
    return pd.concat(parts, ignore_index=True)[columns].rename(columns=names)
