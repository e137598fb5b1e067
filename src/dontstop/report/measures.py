"""What is measured on a study's text and of its costs: gathered from its results, computed by the verdicts' functions.

What takes long is computed once for given inputs and code, and afterwards read.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from dontstop.machine import files
from dontstop.runs.arms import BASE, DAPT, TAPT, Arm, Checkpoint
from dontstop.runs.identity import code_digest
from dontstop.runs.plan import text_of
from dontstop.runs.results import Results
from dontstop.selection.candidates import load_candidates
from dontstop.text import corpora, leakage
from dontstop.text.tasks import GENERAL, SPLITS, Task
from dontstop.verdicts import aggregates, baselines, domain_gap
from dontstop.verdicts import costs as costing
from dontstop.verdicts.effects import over
from dontstop.verdicts.judgements import judge
from dontstop.verdicts.losses import forgetting


def _once(study: Results, name: str, inputs: Mapping, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Compute a frame once for given inputs and code; afterwards read it, so that a notebook reopens in seconds."""
    code = code_digest("verdicts/domain_gap.py", "verdicts/baselines.py", "text/leakage.py")
    path = study.paths.work / "measures" / f"{name}_{files.fingerprint([code, inputs])[:16]}.json"
    if not path.is_file():
        files.write_text(path, compute().reset_index().to_json(orient="split", double_precision=15))
    return pd.read_json(io.StringIO(path.read_text()), orient="split", precise_float=True)


# Text ----------------------------------------------------------------------------------------------------------


def held_out_texts(study: Results) -> dict[str, list[str]]:
    """Return the texts of every held-out sample, by domain (and `general`)."""
    return {name: [row["text"] for row in corpora.load_documents(study.paths.held_out(name))] for name in study.texts}


def examples(study: Results) -> pd.DataFrame:
    """Return the tasks' texts, a row an example: columns task, split, text, label."""
    rows = [
        {"task": task.name, "split": split, "text": row["text"], "label": row["label"]}
        for task in study.tasks
        for split in SPLITS
        for row in corpora.load_examples(study.paths, task.name, split)
    ]
    return pd.DataFrame(rows)


def _digests(study: Results) -> dict:
    manifest = study.manifest()
    held_out = {name: manifest["held_out"][name]["sha256"] for name in study.texts}
    splits = {t.name: {s: manifest["tasks"][t.name]["splits"][s]["sha256"] for s in SPLITS} for t in study.tasks}
    return {"held_out": held_out, "splits": splits, "settings": study.profile.domain_gap.model_dump()}


def vocabulary_overlap(study: Results) -> pd.DataFrame:
    """Figure 2's numbers: the vocabulary overlap of every two texts, in percent, and num_words, the lists' length."""
    settings = study.profile.domain_gap

    def compute() -> pd.DataFrame:
        samples = domain_gap.equal_samples(held_out_texts(study), seed=settings.seed)
        num_words = domain_gap.supported_num_words(samples, settings.num_words)
        matrix = domain_gap.overlap_matrix(samples, num_words=num_words)
        return matrix.rename_axis("text").assign(num_words=num_words)

    return _once(study, "vocabulary_overlap", _digests(study), compute).set_index("text")


def pairs(study: Results) -> pd.DataFrame:
    """Distances between every task's training texts and every domain, as `domain_gap.pair_distances` returns them."""
    settings = study.profile.domain_gap

    def compute() -> pd.DataFrame:
        texts = examples(study).query("split == 'train'").groupby("task", sort=False)["text"].agg(list)
        domains = {name: found for name, found in held_out_texts(study).items() if name != GENERAL}
        how = {"most_words": settings.num_words, "num_documents": settings.num_classifier_documents}
        return domain_gap.pair_distances(texts.to_dict(), domains, **how, seed=settings.seed)

    return _once(study, "pairs", _digests(study), compute).drop(columns="index")


def distances(study: Results) -> pd.DataFrame:
    """Four distances of every domain from the general text, with intervals, as `domain_gap.distance_table` has them."""
    settings, losses = study.profile.domain_gap, study.losses()
    base = losses[(losses["notebook"] == "01_domain_gap") & (losses["encoder"] == "base")]
    loss = base.set_index("held_out")["masked_lm_loss"].to_dict()

    def compute() -> pd.DataFrame:
        how = {"most_words": settings.num_words, "num_documents": settings.num_classifier_documents}
        how |= {"num_resamples": settings.num_resamples, "seed": settings.seed}
        return domain_gap.distance_table(held_out_texts(study), GENERAL, loss, **how)

    return _once(study, "distances", _digests(study) | {"losses": loss}, compute).set_index("domain")


def task_domain_overlap(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return each task's vocabulary overlap with each domain, in percent: tasks by domains, in their order."""
    matrix = pairs.pivot(index="sample", columns="other", values="vocabulary_overlap")
    return matrix.loc[pairs["sample"].unique(), pairs["other"].unique()].rename_axis(index="task", columns=None)


def agreement(distances: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Say how far the distances put things in the same order: the domains, and the pairs of a task and a domain."""
    both = {"domains, from the general text": distances, "pairs of a task's texts and a domain": pairs}
    return pd.concat([domain_gap.agreement(table).assign(over=over) for over, table in both.items()], ignore_index=True)
