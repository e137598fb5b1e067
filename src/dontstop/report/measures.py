"""What is measured on a study's text and of its costs: gathered from its results, computed by `verdicts`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dontstop import tokens
from dontstop.design.arms import BASE, DAPT, FULL, TAPT, Arm, Checkpoint, rand_tapt
from dontstop.design.plan import text_of
from dontstop.errors import StudyError, counted
from dontstop.machine import files, pretrained
from dontstop.machine.randomness import generator
from dontstop.profiles import PhaseSettings
from dontstop.runs.results import Results
from dontstop.selection.candidates import load_candidates
from dontstop.text import corpora, leakage
from dontstop.text.tasks import GENERAL, SPLITS, Task
from dontstop.training import encoders
from dontstop.verdicts import baselines, domain_gap, scores, vocabulary
from dontstop.verdicts import costs as costing
from dontstop.verdicts.claims import CLAIMS
from dontstop.verdicts.effects import effects, over
from dontstop.verdicts.judgements import judge
from dontstop.verdicts.losses import changes


def held_out_texts(study: Results) -> dict[str, list[str]]:
    """Return the texts of every held-out sample, by domain (and `general`)."""
    return {name: [row["text"] for row in corpora.load_documents(study.paths.held_out(name))] for name in study.texts}


def corpus_texts(study: Results) -> dict[str, list[str]]:
    """Return texts of every pretraining corpus, by domain (and `general`): all, or a sample of the profile's size."""
    gap = study.profile.domain_gap
    return {name: corpora.load_sample(study.paths, name, gap.num_documents, seed=gap.seed) for name in study.texts}


def examples(study: Results) -> dict[str, dict[str, list[dict]]]:
    """Return the tasks' examples by task and split: rows with text and label."""
    names = [task.name for task in study.tasks]
    return {name: {split: corpora.load_examples(study.paths, name, split) for split in SPLITS} for name in names}


def test_texts(study: Results) -> dict[str, list[str]]:
    """Return the test texts, by task, in their order."""
    return _texts_of(study, "test")


def _texts_of(study: Results, split: str) -> dict[str, list[str]]:
    names = [task.name for task in study.tasks]
    return {name: [row["text"] for row in corpora.load_examples(study.paths, name, split)] for name in names}


def audit(study: Results) -> pd.DataFrame:
    """Return what the leak audit found, a row a task, split and corpus, as `audit.audit` has it."""
    return pd.DataFrame(files.read_json(study.paths.data / "leakage.json")["corpora"])


def vocabulary_overlap(study: Results) -> pd.DataFrame:
    """Figure 2's numbers: the vocabulary overlap of every two texts, in percent, and num_words, the lists' length."""
    settings = study.profile.domain_gap
    return vocabulary.figure2(corpus_texts(study), most_words=settings.num_words, seed=settings.seed)


def pairs(study: Results) -> pd.DataFrame:
    """Distances between every task's training texts and every domain, as `domain_gap.pair_distances` returns them."""
    domains = {name: texts for name, texts in held_out_texts(study).items() if name != GENERAL}
    return domain_gap.pair_distances(_texts_of(study, "train"), domains, **_how(study))


def distances(study: Results) -> pd.DataFrame:
    """Four distances of every domain from the general text, with intervals, as `domain_gap.distance_table` has them."""
    base = study.losses().query("notebook == '01_domain_gap' and encoder == 'base'")
    loss = base.groupby("held_out")["masked_lm_loss"].mean().to_dict()  # over replicates
    how = _how(study) | {"num_resamples": study.profile.domain_gap.num_resamples}
    return domain_gap.distance_table(corpus_texts(study), GENERAL, loss, **how)


def _how(study: Results) -> dict[str, int]:
    gap = study.profile.domain_gap
    return {"most_words": gap.num_words, "num_documents": gap.num_classifier_documents, "seed": gap.seed}


def task_domain_overlap(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return each task's vocabulary overlap with each domain, in percent: tasks by domains, in their order."""
    matrix = pairs.pivot(index="sample", columns="other", values="vocabulary_overlap")
    return matrix.loc[pairs["sample"].unique(), pairs["other"].unique()].rename_axis(index="task", columns=None)


def agreement(distances: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Say how far the distances put things in the same order: the domains, and the pairs of a task and a domain."""
    both = {"domains (from the general text)": distances, "pairs of a task's texts and a domain": pairs}
    return pd.concat([domain_gap.agreement(table).assign(over=over) for over, table in both.items()], ignore_index=True)


def train_test_overlap(study: Results) -> dict[str, np.ndarray]:
    """Mark, by task, the test texts that stand in train or dev too, as some were published: (num_test,) bool."""
    limit = study.profile.text.near_duplicate_jaccard
    train, dev, test = (_texts_of(study, split) for split in SPLITS)
    return {t: leakage.train_test_overlap(test[t], train[t] + dev[t], jaccard_from=limit) for t in test}


def naive_bayes(study: Results, overlap: Mapping[str, np.ndarray], runs: pd.DataFrame | None = None) -> pd.DataFrame:
    """Naive Bayes on every replicate's labelled texts, or on those of some runs, as `naive_bayes_scores` has it."""
    known = range(study.profile.replicates) if runs is None or runs.empty else runs["replicate"].unique()
    subsets = {task.name: [study.labelled(task.name, int(r)) for r in known] for task in study.tasks}
    return baselines.naive_bayes_scores(examples(study), *_labels_and_metrics(study), overlap, subsets)


def dapt_gains(study: Results) -> dict[str, float]:
    """Return DAPT's gain over the base encoder by task, in points, and their mean; before it has run, nothing."""
    runs = study.runs()
    both = runs[runs["arm"].isin([BASE.name, DAPT.name])]
    if both["arm"].nunique() < 2:
        return {}
    return effects(both, [over(DAPT, BASE)]).set_index("task")["effect"].to_dict()


def label_curve(study: Results) -> pd.DataFrame:
    """Return the runs at every number of labels, as `study.label_curve` does, with naive Bayes on the same texts.

    Of a profile without such runs, nothing.
    """
    runs = study.label_curve()
    if runs.empty:
        return runs
    numbers, replicates = (sorted(runs[name].unique().tolist()) for name in ("num_train", "replicate"))
    how = *_labels_and_metrics(study), study.labelled, replicates, numbers
    return pd.concat([runs, baselines.naive_bayes_curve(examples(study), *how)], ignore_index=True)


def _labels_and_metrics(study: Results) -> tuple[dict, dict]:
    entries = study.manifest()["tasks"]
    labels, metrics = ({task.name: entries[task.name][key] for task in study.tasks} for key in ("labels", "metric"))
    return labels, metrics


def cheap_arms(study: Results) -> dict[Arm, list[Task]]:
    """Return the arms that train few parameters, each after its full counterpart, with their tasks; none: empty."""
    cheap = {arm: tasks for arm, tasks in study.arms().items() if arm.part != "all"}
    return {one: cheap[arm] for arm in sorted(cheap, key=lambda arm: FULL[arm].name) for one in (FULL[arm], arm)}


def trained_parts(study: Results, arms: Mapping[Arm, Sequence[Task]]) -> pd.DataFrame:
    """Tabulate what arms of one phase train and keep, as `costs.trained_parts` returns it; of no arms, nothing."""
    if not arms:
        return pd.DataFrame(columns=["arm"])
    return costing.trained_parts(arms, study.pretraining(), costs(study, arms), encoder_shape(study))


def rankings(study: Results) -> dict[str, dict]:
    """Return what was kept of every ranking of candidates, by task and selector."""
    return {task.name: study.rankings(task.name) for task in study.design.augmented_tasks()}


def candidates(study: Results) -> dict[str, dict[str, int]]:
    """Count the candidates of every domain with augmented tasks: num_candidates and num_tokens."""
    domains = dict.fromkeys(task.domain for task in study.design.augmented_tasks())
    pieces = {domain: load_candidates(study.paths.selected / "candidates" / domain) for domain in domains}
    return {d: {"num_candidates": len(some), "num_tokens": int(some.lengths.sum())} for d, some in pieces.items()}


def random_candidates(study: Results, num: int = 3) -> dict[str, list[str]]:
    """Return random candidates to be read beside neighbours, by task: some of those that a control has drawn."""
    arm, found = rand_tapt(min(study.profile.selection.num_neighbours)), {}
    for task in study.design.augmented_tasks():
        pieces = load_candidates(study.paths.selected / "candidates" / task.domain)
        chosen = study.chosen(task.name, arm.checkpoint(task).last)
        some = np.sort(generator("candidates to be read", 0).choice(chosen, min(num, len(chosen)), replace=False))
        found[task.name] = [row["text"] for row in pieces.rows(some)]
    return found


def pipeline_counts(study: Results) -> dict[str, object]:
    """Count what stands in each station of the pipeline, as `schematic.pipeline` tells it."""
    profile, manifest = study.profile, study.manifest()
    own = [manifest["domains"][domain.name] for domain in study.domains]
    of_tasks = [manifest["tasks"][task.name]["splits"] for task in study.tasks]
    layers = counted(profile.encoder.num_layers, "layer")
    tried, shape = study.arms(), f"{layers}, {profile.encoder.hidden_size} wide"
    num_runs = sum(len(tasks) * len(study.design.replicates_of(arm)) for arm, tasks in tried.items())
    counts = {f"{what}s": sum(text[f"num_{what}s"] for text in own) for what in ("document", "word")}
    counts |= {"domains": len(own), "tasks": len(study.tasks), "arms": len(tried), "claims": len(CLAIMS)}
    return counts | {
        "general_words": manifest["domains"][GENERAL]["num_words"],
        "labels": profile.labels.primary or "all",
        "num_test": sum(splits["test"]["num_examples"] for splits in of_tasks),
        "encoder": profile.encoder.name or shape,
        "vocabulary": profile.tokens.vocabulary_size,
        "dapt": length(profile.dapt),
        "tapt": length(profile.tapt),
        "replicates": profile.replicates,
        "seeds": len(profile.seeds),
        "runs": num_runs * len(profile.seeds),
    }


def length(settings: PhaseSettings) -> str:
    """Say how long a phase of pretraining takes."""
    if settings.num_steps is not None:
        return counted(settings.num_steps, "step")
    return counted(settings.num_epochs or 0, "epoch")


def arms_on(study: Results, tasks: Sequence[Task]) -> dict[Arm, list[Task]]:
    """Return the arms whose runs are complete and that are run for all of some tasks, each with these tasks."""
    known = study.arms()
    return {arm: list(tasks) for arm in study.available_arms() if set(tasks) <= set(known[arm])}


def encoder_shape(study: Results) -> costing.Shape:
    """Return what of the encoder's shape its compute depends on: by the settings, or by the encoder that they name.

    Raises:
        StudyError: If the settings name an encoder that is no folder here, and no replicate's base encoder is there.
    """
    from transformers import AutoConfig

    profile, bases = study.profile, [Checkpoint((), r) for r in range(study.profile.replicates)]
    named = [Path(profile.encoder.name)] if profile.encoder.name else []
    folders = [*map(study.checkpoint_folder, bases), *named]
    folders = [folder for folder in folders if (folder / "config.json").is_file()]
    if folders:
        return costing.shape_of(pretrained.load(AutoConfig, folders[0]))
    if profile.encoder.name is None:
        tokenizer = tokens.load_tokenizer(study.paths.tokenizer())
        longest = max(profile.base.sequence_length, profile.finetune.max_length)
        with torch.device("meta"):  # which gives the configuration, and draws no weights
            encoder = encoders.build_encoder(profile.encoder, tokenizer, max_length=longest, seed=0)
        return costing.shape_of(encoder.config)
    remedy = f"run `dontstop run base --profile {profile.name}`, or fetch it (`dvc pull`)"
    raise StudyError("no base encoder here", f"that of {profile.encoder.name}, whose shape costs depend on", remedy)


def costs(study: Results, arms: Mapping[Arm, Sequence[Task]]) -> pd.DataFrame:
    """Tabulate what arms cost on their tasks, as `costs.costs` returns it."""
    stores = dict.fromkeys(map(text_of, costing.phases_of(arms)))
    selected = study.selection_counts() if any(arm.is_augmented for arm in arms) else {}
    of_tasks = {task: sum(len(text.encode()) for text in some) for task, some in _texts_of(study, "train").items()}
    sizes = costing.text_sizes(stores, study.token_counts(), study.manifest(), selected, of_tasks)
    ranked = rankings(study) if any(arm.k for arm in arms) else {}
    return costing.costs(arms, study.pretraining(), sizes, ranked, encoder_shape(study), study.profile)


def _arms_of_any_replicate(study: Results) -> list[Arm]:
    return list(dict.fromkeys(arm for r in range(study.profile.replicates) for arm in study.available_arms([r])))


def mean_f1(study: Results) -> dict[str, float]:
    """Return the mean test F1 x 100 over tasks of every arm that all replicates are to have, as far as it has run.

    Arms may have run in different numbers of replicates: means are over those that all of them have.
    """
    every = list(range(study.profile.replicates))
    there = [arm for arm in _arms_of_any_replicate(study) if study.design.replicates_of(arm) == every]
    shared = scores.in_shared_replicates(study.runs(*there)) if there else ()
    if not len(shared):
        return {}
    found = scores.means(shared)
    return found[found["task"] == scores.MEAN].set_index("arm")["mean"].to_dict()


def judged(study: Results) -> pd.DataFrame:
    """Judge all claims by what has run so far, as `judgements.judge` returns it.

    Each contrast by the replicates that have all its arms: their number may differ from claim to claim, while a study
    grows.
    """
    available, evidence = _arms_of_any_replicate(study), {}
    if {BASE, DAPT} <= set(available):
        evidence["distances"] = domain_gap.as_distances(distances(study))["vocabulary_overlap"]
        evidence["changes"] = changes(study.losses().query("notebook == '02_dapt'"), GENERAL)
    if {DAPT, TAPT} <= set(available):
        of_both = costs(study, {TAPT: study.tasks, DAPT: study.tasks})
        evidence["cost_ratios"] = costing.ratios(of_both, TAPT, DAPT)
    runs = study.runs(*available) if available else study.runs()
    return judge(runs, num_neighbours=study.profile.selection.num_neighbours, **evidence)
