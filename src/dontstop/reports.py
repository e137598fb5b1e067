"""The tables and figures of each notebook, by name: what each is made from, and nothing of how it is computed."""

from collections.abc import Callable

import pandas as pd

from dontstop import claims, figures, files, measures, paper, scores, tables
from dontstop.arms import checkpoint_of
from dontstop.errors import StudyError
from dontstop.tasks import GENERAL

# Text and distances --------------------------------------------------------------------------------------------


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


def distances(study) -> pd.DataFrame:
    """The four distances, the paper's two below ours."""
    return tables.distances(measures.measured_distances(study))


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


def table3_dapt(study) -> pd.DataFrame:
    """Test scores of base, DAPT and not-DAPT over seeds; the paper's Table 3 below ours."""
    return _score_table(study, paper.table3())


def _score_table(study, theirs: pd.DataFrame) -> pd.DataFrame:
    parts = {name: part.droplevel(0) for name, part in measures.gains(study).groupby(level=0, sort=False)}
    return tables.score_table(
        measures.arm_records(study),
        measures.ARMS[study.notebook],
        [task.name for task in study.tasks],
        study.profile.seeds,
        parts,
        theirs,
        measures.COMPARISONS[study.notebook],
    )


def gain_against_distance(study) -> pd.DataFrame:
    """Each task's gain of DAPT beside each distance of its domain from the general text."""
    gain = measures.gains(study).loc["dapt_gain"].drop(index="mean")
    return tables.gain_against_distance(
        gain, measures.measured_distances(study), {t.name: t.domain for t in study.tasks}
    )


def degenerate_cells(study) -> pd.DataFrame:
    """Cells whose classifier gives every test text the same label: kept, and counted here."""
    return scores.degenerate_cells(measures.arm_records(study))


# TAPT ----------------------------------------------------------------------------------------------------------


def _of_tapt(study) -> dict[str, str]:
    """Name the notebook's TAPT checkpoints of full length, and their tasks."""
    arm = "dapt_tapt" if study.notebook == "04_dapt_tapt" else "tapt"
    return {checkpoint_of(arm, task).name: task.name for task in study.tasks}


def tapt_losses(study) -> pd.DataFrame:
    """The masked-LM loss on each task's dev texts, before and after TAPT on its training texts."""
    return tables.tapt_losses(study.records("pretraining"), _of_tapt(study))


def tapt_curve(study) -> pd.DataFrame:
    """Dev and test scores against the epochs of TAPT, for the tasks that the profile names."""
    names = [task.name for task in study.curve_tasks()]
    records = pd.concat([study.arm_records("base", "tapt"), *([study.records("tapt_curve")] if names else [])])
    epochs = {"base": 0, "tapt": study.profile.tapt.num_epochs}
    epochs |= dict(zip(study.curve_arms(), sorted(study.profile.tapt_curve.num_epochs), strict=True))
    return tables.tapt_curve(records[records["task"].isin(names)], epochs)


def table5_tapt(study) -> pd.DataFrame:
    """Test scores of Table 5's arms as far as they have run; the paper's Table 5 below ours."""
    return _score_table(study, paper.table5())


def table6_transfer(study) -> pd.DataFrame:
    """Test scores of base, TAPT and transfer-TAPT with the drop between the two; the paper's Table 6 below ours."""
    return _score_table(study, paper.table6().drop(columns="verified"))


def best_arms(study) -> pd.DataFrame:
    """The arm with the highest mean on each task, and how likely each is to be the best."""
    names = [task.name for task in study.tasks]
    return tables.best_arms(measures.probability_best(study), measures.arm_records(study), names, study.profile.seeds)


def cross_task_loss(study) -> pd.DataFrame:
    """Every TAPT encoder's masked-LM loss on every task's dev texts."""
    return tables.loss_matrix(study.records("cross_task_loss"))


def verdicts(study) -> pd.DataFrame:
    """The notebook's claims, ours and the paper's, over all tasks."""
    names = measures.CLAIMS[study.notebook]
    table = claims.overview(measures.judged(study, names))
    return table[table["claim"].isin(names)].reset_index(drop=True)


def verdicts_by_task(study) -> pd.DataFrame:
    """The notebook's claims task by task, ours and the paper's."""
    judged = measures.judged(study, measures.CLAIMS[study.notebook])
    return judged.drop(columns=["statement", "place"])


# Figures -------------------------------------------------------------------------------------------------------


def figure2_overlap(study):
    """Figure 2 beside the paper's."""
    matrix = measures.vocabulary_overlap(study)
    return figures.figure2_overlap(matrix[study.texts], paper.figure2(), int(matrix["num_words"].iloc[0]))


def figure_task_domain_overlap(study):
    """Each task's overlap with each domain."""
    matrix = measures.task_domain_overlap(study).drop(columns="num_words")
    return figures.task_domain_overlap(matrix, {task.name: task.domain for task in study.tasks})


def figure_distances(study):
    """The four distances by domain."""
    return figures.distances(measures.measured_distances(study))


def figure_loss_curves(study):
    """Masked-LM loss while training: the base encoder's and every DAPT's, or every task's TAPT."""
    folders = [study.paths.results / "curves" / name for name in dict.fromkeys(("base", study.notebook))]
    paths = [path for folder in folders for path in sorted(folder.glob("*.csv"))]
    if "tapt" in study.notebook:
        of_tapt = _of_tapt(study)
        return figures.loss_curves({of_tapt[p.stem]: pd.read_csv(p) for p in paths if p.stem in of_tapt})
    return figures.loss_curves({path.stem: pd.read_csv(path) for path in paths})


def _figure_scores(table: Callable[..., pd.DataFrame], title: str) -> Callable:
    def figure_scores(study):
        """A table of scores as a picture: seeds as dots, differences with intervals."""
        arms, pairs = measures.ARMS[study.notebook], measures.COMPARISONS[study.notebook]
        return figures.arm_scores(measures.arm_records(study), table(study), arms, pairs, title)

    return figure_scores


def figure_gain_against_distance(study):
    """DAPT's gain against each distance, eight tasks."""
    return figures.gain_against_distance(gain_against_distance(study), measures.gain_correlations(study))


def figure_forgetting(study):
    """Table 12 as a heat map, beside the paper's."""
    ours, theirs = tables.loss_matrix(study.records("cross_domain_loss")), paper.table12()
    return figures.forgetting(ours, tables.loss_changes(ours), theirs, tables.loss_changes(theirs))


def figure_tapt_curve(study):
    """Scores against the epochs of TAPT."""
    return figures.tapt_curve(tapt_curve(study))


def figure_probability_best(study):
    """How likely each arm is to be the best, by task."""
    return figures.probability_best(measures.probability_best(study))


def figure_cross_task_loss(study):
    """Every TAPT encoder on every task's dev texts."""
    losses = cross_task_loss(study)
    domains = {task.name: task.domain for task in study.tasks}
    return figures.cross_task_loss(losses, tables.loss_changes(losses), domains)


TABLES: dict[str, dict[str, Callable[..., pd.DataFrame]]] = {
    "01_domain_gap": {
        "table1_corpora": table1_corpora,
        "table2_tasks": table2_tasks,
        "label_counts": label_counts,
        "leak_audit": leak_audit,
        "vocabulary_overlap": measures.vocabulary_overlap,
        "task_domain_overlap": measures.task_domain_overlap,
        "distances": distances,
        "agreement": measures.agreement,
    },
    "02_dapt": {
        "pretraining": pretraining,
        "table1_corpora": table1_corpora,
        "table3_dapt": table3_dapt,
        "table12_cross_domain_loss": table12_cross_domain_loss,
        "forgetting": measures.forgetting,
        "gain_against_distance": gain_against_distance,
        "gain_correlations": measures.gain_correlations,
        "degenerate_cells": degenerate_cells,
        "verdicts": verdicts,
    },
    "03_tapt": {
        "tapt_losses": tapt_losses,
        "tapt_curve": tapt_curve,
        "table5_tapt": table5_tapt,
        "degenerate_cells": degenerate_cells,
        "verdicts": verdicts,
    },
    "04_dapt_tapt": {
        "tapt_losses": tapt_losses,
        "table5_dapt_tapt": table5_tapt,
        "best_arms": best_arms,
        "aggregates": measures.aggregates,
        "tests": measures.tests,
        "degenerate_cells": degenerate_cells,
        "verdicts": verdicts,
        "verdicts_by_task": verdicts_by_task,
    },
    "05_transfer_tapt": {
        "table6_transfer": table6_transfer,
        "cross_task_loss": cross_task_loss,
        "degenerate_cells": degenerate_cells,
        "verdicts": verdicts,
        "verdicts_by_task": verdicts_by_task,
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
        "dapt_gains": _figure_scores(
            table3_dapt, "What does pretraining on the domain bring, and on an irrelevant one?"
        ),
        "forgetting": figure_forgetting,
        "gain_against_distance": figure_gain_against_distance,
    },
    "03_tapt": {
        "loss_curves": figure_loss_curves,
        "tapt_curve": figure_tapt_curve,
        "tapt_gains": _figure_scores(table5_tapt, "What does pretraining on the task's own texts bring?"),
    },
    "04_dapt_tapt": {
        "loss_curves": figure_loss_curves,
        "dapt_tapt_gains": _figure_scores(table5_tapt, "Do both phases together bring more than either?"),
        "probability_best": figure_probability_best,
    },
    "05_transfer_tapt": {
        "transfer_drop": _figure_scores(table6_transfer, "What is lost with the sister task's texts?"),
        "cross_task_loss": figure_cross_task_loss,
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
