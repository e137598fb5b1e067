"""The tables and figures of each notebook, by name: what each is made from, and nothing of how it is computed."""

from collections.abc import Callable

import pandas as pd

from dontstop import paper
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.report import figures, measures, selection_figures, selection_tables, tables
from dontstop.runs.arms import checkpoint_of, is_augmented, is_tapt, knn_tapt, rand_tapt
from dontstop.selection import candidates
from dontstop.text.tasks import GENERAL
from dontstop.verdicts import claims, costs, scores

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


def _score_table(study, theirs: pd.DataFrame, name: str | None = None) -> pd.DataFrame:
    parts = {pair: part.droplevel(0) for pair, part in measures.gains(study, name).groupby(level=0, sort=False)}
    chosen = measures.family(study, name)
    return tables.score_table(
        measures.arm_records(study, name),
        chosen.arms,
        measures.task_names(study, chosen),
        study.profile.seeds,
        parts,
        theirs,
        chosen.pairs,
        measures.naive_bayes(study)["score"].to_dict(),
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


def cheap_scores(study) -> pd.DataFrame:
    """Test scores of the arms that train few of an encoder's numbers, beside those that train all."""
    return _scores_of_ours(study, measures.CHEAP)


def cheap_costs(study) -> pd.DataFrame:
    """What those arms train, keep, compute and take; empty where the profile runs none."""
    if measures.CHEAP not in measures.families(study):
        return pd.DataFrame({"arm": []})
    names = [arm for arm in measures.family(study, measures.CHEAP).arms if arm != "base"]
    return costs.of_parts(study, names, study.cheap_tasks())


def _scores_of_ours(study, name: str) -> pd.DataFrame:
    """Tabulate a family that the paper has no table of; empty where the profile runs none of it."""
    if name not in measures.families(study):
        return pd.DataFrame({"study": [], "task": []})
    table = _score_table(study, selection_tables.paper_table8((), measures.family(study, name).arms), name)
    return table[table["study"] == tables.OURS].reset_index(drop=True)


def best_arms(study) -> pd.DataFrame:
    """The arm with the highest mean on each task, and how likely each is to be the best."""
    names = [task.name for task in study.tasks]
    return tables.best_arms(measures.probability_best(study), measures.arm_records(study), names, study.profile.seeds)


def cross_task_loss(study) -> pd.DataFrame:
    """Every TAPT encoder's masked-LM loss on every task's dev texts."""
    return tables.loss_matrix(study.records("cross_task_loss"))


# Enlarged text --------------------------------------------------------------------------------------------------


def _rankings(study) -> dict[str, dict]:
    return {task.name: study.rankings(task.name) for task in study.augmented_tasks()}


def neighbours(study) -> pd.DataFrame:
    """The nearest neighbours of a few training texts, by every selector that ranks text by text."""
    return selection_tables.neighbours(_rankings(study))


def topics(study) -> pd.DataFrame:
    """VAMPIRE's topics that each task's texts use most, by their first words."""
    return selection_tables.topics(_rankings(study))


def _numbers(study) -> list[int]:
    return sorted(study.profile.selection.num_neighbours)


def coverage(study) -> pd.DataFrame:
    """How much of the domain each number of neighbours takes; the random controls beside it."""
    written, counts, chosen = study.selection_counts(), {}, {}
    for task in study.augmented_tasks():
        pieces = candidates.load_candidates(study.paths.selected / "candidates" / task.domain)
        of_task = {name.split("/")[2]: e for name, e in written["stores"].items() if name.split("/")[1] == task.name}
        counts[task.name] = {"num_candidates": len(pieces), "num_candidate_tokens": int(pieces.lengths.sum())}
        counts[task.name]["stores"] = of_task
        for k in _numbers(study):
            for kind in (knn_tapt(k), f"{rand_tapt(k)}_draw_0"):
                chosen[task.name, kind] = study.chosen(task.name, kind)
    return selection_tables.coverage(counts, chosen, _numbers(study))


def table7_curated(study) -> pd.DataFrame:
    """Test scores of TAPT and curated TAPT, from the base encoder and after DAPT; the paper's Table 7 below ours."""
    if measures.CURATED not in measures.families(study):
        return pd.DataFrame({"study": [], "task": []})
    return _score_table(study, paper.table7(), measures.CURATED)


def table8_knn(study) -> pd.DataFrame:
    """Test scores with neighbours, each beside its random control; the paper's Table 8 below ours."""
    names = measures.family(study, measures.AUGMENTED).arms
    return _score_table(study, selection_tables.paper_table8(_numbers(study), names), measures.AUGMENTED)


def selector_scores(study) -> pd.DataFrame:
    """Test scores with the same number of neighbours by every selector, and of the random control."""
    return _scores_of_ours(study, measures.SELECTORS)


def selector_agreement(study) -> pd.DataFrame:
    """How far the selectors choose the same candidates, in percent, and random text with them."""
    settings = study.profile.selection
    middle = settings.compared_neighbours
    kinds = {settings.selector: knn_tapt(middle)} | {name: knn_tapt(middle, name) for name in settings.compared}
    kinds["random"] = f"{rand_tapt(middle)}_draw_0"
    chosen = {
        task.name: {name: study.chosen(task.name, kind) for name, kind in kinds.items()}
        for task in study.augmented_tasks()
    }
    return selection_tables.agreement(chosen)


def score_against_k(study) -> pd.DataFrame:
    """Mean scores against the number of neighbours, for neighbours and random text alike."""
    return selection_tables.score_against_k(measures.intervals(study, measures.AUGMENTED), _numbers(study))


def _all_arms(study) -> list[str]:
    return [arm for arm in study.available_arms() if set(study.augmented_tasks()) <= set(study.tasks_of(arm))]


def table9_costs(study) -> pd.DataFrame:
    """What every arm of the study costs and scores, on the tasks whose text is enlarged; the paper's Table 9 below."""
    some, names = study.augmented_tasks(), _all_arms(study)
    by_task = costs.of_arms(study, names, some)
    records = study.arm_records(*names)
    return selection_tables.table9_costs(by_task, records, [task.name for task in some], study.profile.seeds)


def table10_strategies(study) -> pd.DataFrame:
    """Which texts each strategy reads, counted."""
    some = study.augmented_tasks()
    counts = study.manifest()["tasks"]
    labelled = sum(counts[task.name]["splits"]["train"]["num_examples"] for task in some) / len(some)
    found = {arm: {task.name: _read(study, arm, task) for task in some} for arm in _all_arms(study)}
    return selection_tables.table10_strategies(found, labelled)


def _read(study, arm: str, task) -> dict[str, int]:
    """Count the documents of each kind that an arm's phases read; of a random control, its first draw's."""
    read = {"domain_documents": 0, "task_documents": 0, "source_documents": 0}
    for kind, text in checkpoint_of(arm, task).phases:
        if is_augmented(kind):
            entry = study.selection_counts()["stores"][f"selected/{text}/{kind}"]
            read["task_documents"] += entry["num_documents"] - entry["num_selected"]
            read["source_documents" if kind == "curated_tapt" else "domain_documents"] += entry["num_selected"]
        elif is_tapt(kind):
            read["task_documents"] += study.token_counts()[f"tasks/{text}/train"]["num_documents"]
        else:
            read["domain_documents"] += study.manifest()["domains"][text]["num_documents"]
    return read


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
    curves = _loss_curves(study)
    return figures.loss_curves(curves) if curves else figures.nothing("None of these encoders was trained here.")


def _loss_curves(study) -> dict[str, pd.DataFrame]:
    folders = [study.paths.results / "curves" / name for name in dict.fromkeys(("base", study.notebook))]
    paths = [path for folder in folders for path in sorted(folder.glob("*.csv"))]
    if study.notebook == "06_knn_tapt":
        return _curves_of_first_task(study)
    if "tapt" in study.notebook:
        of_tapt = _of_tapt(study)
        return {of_tapt[p.stem]: pd.read_csv(p) for p in paths if p.stem in of_tapt}
    return {path.stem: pd.read_csv(path) for path in paths}


def _curves_of_first_task(study) -> dict[str, pd.DataFrame]:
    """Read the loss curves of the first task's enlarged texts, of random ones the first draw, by arm."""
    task, folder, found = study.augmented_tasks()[0], study.paths.results / "curves" / study.notebook, {}
    for arm, some in study.augmented_arms().items():
        path = folder / f"{checkpoint_of(arm, task).name}.csv"
        if task in some and path.is_file():
            found[figures.arm_name(arm)] = pd.read_csv(path)
    return found


def _figure_scores(table: Callable[..., pd.DataFrame], title: str, name: str | None = None) -> Callable:
    def figure_scores(study):
        """A table of scores as a picture: seeds as dots, differences with intervals."""
        if name is not None and name not in measures.families(study):
            return figures.nothing(f"{title} This profile does not ask.")
        chosen = measures.family(study, name)
        return figures.arm_scores(measures.arm_records(study, name), table(study), chosen.arms, chosen.pairs, title)

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


def figure_score_against_k(study):
    """Score against the number of neighbours."""
    return selection_figures.score_against_k(score_against_k(study))


def figure_selector_agreement(study):
    """How far the selectors agree."""
    return selection_figures.selector_agreement(selector_agreement(study))


def figure_score_against_compute(study):
    """Score against compute, all arms."""
    return selection_figures.score_against_compute(table9_costs(study))


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
        "published_leaks": measures.published_leaks,
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
        "published_leaks": measures.published_leaks,
        "cheap_scores": cheap_scores,
        "cheap_costs": cheap_costs,
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
    "06_knn_tapt": {
        "neighbours": neighbours,
        "topics": topics,
        "coverage": coverage,
        "table7_curated": table7_curated,
        "table8_knn": table8_knn,
        "score_against_k": score_against_k,
        "selector_agreement": selector_agreement,
        "selector_scores": selector_scores,
        "table9_costs": table9_costs,
        "table10_strategies": table10_strategies,
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
        "cheap_gains": _figure_scores(cheap_scores, "Is it enough to train a few numbers?", measures.CHEAP),
    },
    "05_transfer_tapt": {
        "transfer_drop": _figure_scores(table6_transfer, "What is lost with the sister task's texts?"),
        "cross_task_loss": figure_cross_task_loss,
    },
    "06_knn_tapt": {
        "loss_curves": figure_loss_curves,
        "knn_gains": _figure_scores(
            table8_knn, "What do nearest neighbours bring, and as much random text?", measures.AUGMENTED
        ),
        "score_against_k": figure_score_against_k,
        "curated_gains": _figure_scores(
            table7_curated, "What does unlabelled text of the task's own source bring?", measures.CURATED
        ),
        "selector_agreement": figure_selector_agreement,
        "selector_gains": _figure_scores(selector_scores, "Does it matter who selects?", measures.SELECTORS),
        "score_against_compute": figure_score_against_compute,
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
