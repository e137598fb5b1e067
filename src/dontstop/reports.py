"""The tables and figures of each notebook, by name: what each is made from, and nothing of how it is computed."""

import io
from collections.abc import Callable

import numpy as np
import pandas as pd

from dontstop import corpora, domain_gap, figures, files, paper, scores, tables
from dontstop.errors import StudyError
from dontstop.tasks import GENERAL

MEASURES_VERSION = 1  # raised when domain_gap or scores come to compute other numbers from the same inputs
NUM_RESAMPLES = 1000
COMPARISONS = {
    "dapt_gain": ("dapt", "base"),
    "not_dapt_gain": ("not_dapt", "base"),
    "dapt_over_not_dapt": ("dapt", "not_dapt"),
}


def _once(study, name: str, inputs: dict, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Compute a table once for given inputs; afterwards read it, so that a notebook reopens in seconds."""
    key = files.fingerprint([name, MEASURES_VERSION, NUM_RESAMPLES, inputs])
    path = study.paths.work / "measures" / f"{name}_{key[:16]}.json"
    if not path.is_file():
        files.write_text(path, compute().reset_index().to_json(orient="split", double_precision=15))
    return pd.read_json(io.StringIO(path.read_text()), orient="split", precise_float=True)


# Text and distances --------------------------------------------------------------------------------------------


def _held_out(study) -> dict[str, list[str]]:
    return {name: [row["text"] for row in corpora.load_documents(study.paths.held_out(name))] for name in study.texts}


def _task_texts(study) -> dict[str, list[str]]:
    return {
        task.name: [row["text"] for row in corpora.load_examples(study.paths, task.name, "train")]
        for task in study.tasks
    }


def _text_digests(study) -> dict:
    manifest = study.manifest()
    held_out = {name: manifest["held_out"][name]["sha256"] for name in study.texts}
    trains = {task.name: manifest["tasks"][task.name]["splits"]["train"]["sha256"] for task in study.tasks}
    return {"held_out": held_out, "train": trains, "settings": study.profile.domain_gap.model_dump()}


def table1_corpora(study) -> pd.DataFrame:
    """Corpora: documents, words, tokens, MB; and, once DAPT has run, the masked-LM loss before and after it."""
    counts = {name: study.manifest()["domains"][name] for name in study.texts}
    num_tokens = {name: study.token_counts()[f"corpora/{name}"]["num_tokens"] for name in study.texts}
    losses = study.records("cross_domain_loss") if study.notebook == "02_dapt" else None
    return tables.table1_corpora(counts, num_tokens, losses)


def table2_tasks(study) -> pd.DataFrame:
    """Tasks: sizes, classes, metric."""
    return tables.table2_tasks({task.name: study.manifest()["tasks"][task.name] for task in study.tasks})


def label_counts(study) -> pd.DataFrame:
    """How many examples each label has in each split."""
    return tables.label_counts({task.name: study.manifest()["tasks"][task.name] for task in study.tasks})


def leak_audit(study) -> pd.DataFrame:
    """What of the dev and test texts is left in any pretraining corpus or held-out sample."""
    return tables.leak_audit(files.read_json(study.paths.data / "leakage.json")["corpora"])


def _equal_held_out(study) -> tuple[dict[str, list[str]], int]:
    settings = study.profile.domain_gap
    samples = domain_gap.equal_samples(_held_out(study), seed=settings.seed)
    return samples, domain_gap.supported_num_words(samples, settings.num_words)


def vocabulary_overlap(study) -> pd.DataFrame:
    """Figure 2's numbers: the overlap of the most frequent words between every two texts, in percent."""

    def compute():
        samples, num_words = _equal_held_out(study)
        matrix = domain_gap.overlap_matrix(samples, num_words=num_words)
        return matrix.rename_axis("text").assign(num_words=num_words)

    return _once(study, "vocabulary_overlap", _text_digests(study), compute).set_index("text")


def _pairs(study) -> pd.DataFrame:
    settings = study.profile.domain_gap

    def compute():
        domains = {name: texts for name, texts in _held_out(study).items() if name != GENERAL}
        return domain_gap.pair_distances(
            _task_texts(study),
            domains,
            most_words=settings.num_words,
            num_documents=settings.num_classifier_documents,
            seed=settings.seed,
        )

    return _once(study, "pairs", _text_digests(study), compute)


def task_domain_overlap(study) -> pd.DataFrame:
    """The overlap of each task's training texts with each domain, in percent."""
    pairs = _pairs(study)
    matrix = pairs.pivot(index="sample", columns="other", values="vocabulary_overlap")
    order = [task.name for task in study.tasks], [name for name in study.texts if name != GENERAL]
    return matrix.loc[order].rename_axis(index="task", columns=None).assign(num_words=int(pairs["num_words"].iloc[0]))


def measured_distances(study) -> pd.DataFrame:
    """Four distances of every domain from the general text, with intervals, by domain."""
    settings = study.profile.domain_gap
    losses = study.records("cross_domain_loss", notebook="01_domain_gap")
    losses = losses[losses["encoder"] == "base"].set_index("held_out")["masked_lm_loss"]

    def compute():
        return domain_gap.distance_table(
            _held_out(study),
            GENERAL,
            losses.to_dict(),
            most_words=settings.num_words,
            num_documents=settings.num_classifier_documents,
            num_resamples=settings.num_resamples,
            seed=settings.seed,
        )

    inputs = {**_text_digests(study), "losses": losses.to_dict()}
    return _once(study, "distances", inputs, compute).set_index("domain")


def distances(study) -> pd.DataFrame:
    """The four distances, the paper's two below ours."""
    return tables.distances(measured_distances(study))


def agreement(study) -> pd.DataFrame:
    """How far the distances put things in the same order: the domains, and the pairs of a task and a domain."""
    domains = domain_gap.agreement(measured_distances(study)).assign(over="domains, from the general text")
    pairs = domain_gap.agreement(_pairs(study)).assign(over="pairs of a task's texts and a domain")
    return pd.concat([domains, pairs], ignore_index=True)


# DAPT ----------------------------------------------------------------------------------------------------------


def pretraining(study) -> pd.DataFrame:
    """Every checkpoint's training: steps, tokens, seconds, speed, loss on its own held-out text before and after."""
    records = pd.concat([study.records("pretraining", notebook="base"), study.records("pretraining")])
    columns = ["checkpoint", "num_steps", "num_tokens", "wall_seconds", "tokens_per_second", "num_processes"]
    return records[[*columns, "loss_before", "loss_after"]].reset_index(drop=True)


def table12_cross_domain_loss(study) -> pd.DataFrame:
    """Every encoder's masked-LM loss on every held-out text; the paper's Table 12 below ours."""
    ours = tables.table12_cross_domain_loss(study.records("cross_domain_loss"), GENERAL)
    theirs = tables.paper_table12()
    both = [part.reset_index(names="encoder").assign(study=name) for name, part in (("ours", ours), ("paper", theirs))]
    table = pd.concat(both, ignore_index=True)
    return table[["study", *(column for column in table if column != "study")]]


def forgetting(study) -> pd.DataFrame:
    """What DAPT does to the loss on its own domain and on the general text, ours and the paper's."""
    return tables.forgetting(study.records("cross_domain_loss"), GENERAL)


def _arms(study) -> pd.DataFrame:
    return study.records("base", "dapt", "not_dapt")


def _differences(study) -> dict[str, dict[str, scores.Difference]]:
    records, names = _arms(study), [task.name for task in study.tasks]
    labels = {name: study.true_labels(name) for name in names}
    return {
        comparison: scores.arm_differences(
            records, *arms, names, study.profile.seeds, labels, num_resamples=NUM_RESAMPLES, seed=0
        )
        for comparison, arms in COMPARISONS.items()
    }


def gains(study) -> pd.DataFrame:
    """Differences between arms, x 100, by comparison and task, with 95 % intervals over seeds and test examples."""

    def compute():
        parts = {name: scores.difference_table(found) for name, found in _differences(study).items()}
        return pd.concat(parts, names=["comparison", "task"])

    inputs = {"cells": sorted(_arms(study)["fingerprint"]), "seeds": study.profile.seeds}
    return _once(study, "gains", inputs, compute).set_index(["comparison", "task"])


def table3_dapt(study) -> pd.DataFrame:
    """Test scores of base, DAPT and not-DAPT over seeds; the paper's Table 3 below ours."""
    parts = {name: part.droplevel(0) for name, part in gains(study).groupby(level=0, sort=False)}
    return tables.table3_dapt(_arms(study), [task.name for task in study.tasks], study.profile.seeds, parts)


def gain_against_distance(study) -> pd.DataFrame:
    """Each task's gain of DAPT beside each distance of its domain from the general text."""
    gain = gains(study).loc["dapt_gain"].drop(index="mean")
    return tables.gain_against_distance(gain, measured_distances(study), {t.name: t.domain for t in study.tasks})


def gain_correlations(study) -> pd.DataFrame:
    """The rank correlation of DAPT's gain with each distance, over tasks."""
    measured = measured_distances(study)
    names = [name for name in domain_gap.DISTANCES if measured[name].notna().all()]

    def compute():
        gain = _differences(study)["dapt_gain"]
        rows = {}
        for name in names:
            far = dict(zip(measured.index, domain_gap.as_distance(name, measured[name].to_numpy(float)), strict=True))
            rows[name] = scores.gain_correlation({task.name: far[task.domain] for task in study.tasks}, gain)
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("distance")

    inputs = {"cells": sorted(_arms(study)["fingerprint"]), "distances": measured[names].to_dict()}
    return _once(study, "gain_correlations", inputs, compute).set_index("distance")


def degenerate_cells(study) -> pd.DataFrame:
    """Cells whose classifier gives every test text the same label: kept, and counted here."""
    return scores.degenerate_cells(_arms(study))


# Figures -------------------------------------------------------------------------------------------------------


def figure2_overlap(study):
    """Figure 2 beside the paper's."""
    matrix = vocabulary_overlap(study)
    return figures.figure2_overlap(matrix[study.texts], paper.figure2(), int(matrix["num_words"].iloc[0]))


def figure_task_domain_overlap(study):
    """Each task's overlap with each domain."""
    matrix = task_domain_overlap(study).drop(columns="num_words")
    return figures.task_domain_overlap(matrix, {task.name: task.domain for task in study.tasks})


def figure_distances(study):
    """The four distances by domain."""
    return figures.distances(measured_distances(study))


def figure_loss_curves(study):
    """Masked-LM loss while training: the base encoder's, and every DAPT's."""
    folders = [study.paths.results / "curves" / name for name in dict.fromkeys(("base", study.notebook))]
    paths = [path for folder in folders for path in sorted(folder.glob("*.csv"))]
    return figures.loss_curves({path.stem: pd.read_csv(path) for path in paths})


def figure_dapt_gains(study):
    """Table 3 as a picture: seeds as dots, gains with intervals."""
    return figures.dapt_gains(_arms(study), table3_dapt(study))


def figure_gain_against_distance(study):
    """DAPT's gain against each distance, eight tasks."""
    return figures.gain_against_distance(gain_against_distance(study), gain_correlations(study))


def figure_forgetting(study):
    """Table 12 as a heat map, beside the paper's."""
    ours, theirs = tables.loss_matrix(study.records("cross_domain_loss")), paper.table12()
    return figures.forgetting(ours, tables.loss_changes(ours), theirs, tables.loss_changes(theirs))


TABLES: dict[str, dict[str, Callable[..., pd.DataFrame]]] = {
    "01_domain_gap": {
        "table1_corpora": table1_corpora,
        "table2_tasks": table2_tasks,
        "label_counts": label_counts,
        "leak_audit": leak_audit,
        "vocabulary_overlap": vocabulary_overlap,
        "task_domain_overlap": task_domain_overlap,
        "distances": distances,
        "agreement": agreement,
    },
    "02_dapt": {
        "pretraining": pretraining,
        "table1_corpora": table1_corpora,
        "table3_dapt": table3_dapt,
        "table12_cross_domain_loss": table12_cross_domain_loss,
        "forgetting": forgetting,
        "gain_against_distance": gain_against_distance,
        "gain_correlations": gain_correlations,
        "degenerate_cells": degenerate_cells,
    },
}
FIGURES: dict[str, dict[str, Callable]] = {
    "01_domain_gap": {
        "loss_curves": figure_loss_curves,
        "figure2_overlap": figure2_overlap,
        "task_domain_overlap": figure_task_domain_overlap,
        "distances": figure_distances,
    },
    "02_dapt": {
        "loss_curves": figure_loss_curves,
        "dapt_gains": figure_dapt_gains,
        "forgetting": figure_forgetting,
        "gain_against_distance": figure_gain_against_distance,
    },
}


def find(kind: dict[str, dict[str, Callable]], notebook: str, name: str) -> Callable:
    """Return the function of a notebook's table or figure.

    Raises:
        StudyError: If the notebook has none of that name.
    """
    known = kind.get(notebook, {})
    if name not in known:
        raise StudyError(f"{name!r} of {notebook}", f"one of {', '.join(known)}", "name one of them")
    return known[name]


def rounded(values: np.ndarray | float, decimals: int = 1) -> float:
    """Round for a sentence of a notebook."""
    return round(float(values), decimals)
