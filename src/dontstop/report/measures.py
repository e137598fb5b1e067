"""What is measured on a study's texts and records: computed once for given inputs, afterwards read."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dontstop.machine import files
from dontstop.report import tables
from dontstop.runs import arms
from dontstop.runs.records import decode_predictions
from dontstop.text import corpora, leakage
from dontstop.text.tasks import GENERAL, SPLITS
from dontstop.training import finetune
from dontstop.verdicts import baselines, claims, comparisons, costs, domain_gap, scores
from dontstop.verdicts.baselines import NAIVE_BAYES
from dontstop.verdicts.claims import Evidence
from dontstop.verdicts.comparisons import Resamples

MEASURES_VERSION = 6  # raised when domain_gap, comparisons or claims come to compute other numbers from the same inputs
NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class Family:
    """The arms of one table, and the comparisons that are corrected together.

    Attributes:
        arms: As shown, the base encoder or what the others are compared with first.
        pairs: By name, the two arms of each comparison.
        tasks: Those that all its arms are run for; None for all of the study's.
    """

    arms: tuple[str, ...]
    pairs: dict[str, tuple[str, str]]
    tasks: tuple[str, ...] | None = None


# The tables of the notebooks whose arms are the same in every profile, one a notebook.
FAMILIES = {
    "02_dapt": Family(
        ("base", "dapt", "not_dapt"),
        {
            "dapt_gain": ("dapt", "base"),
            "not_dapt_gain": ("not_dapt", "base"),
            "dapt_over_not_dapt": ("dapt", "not_dapt"),
        },
    ),
    "03_tapt": Family(("base", "dapt", "tapt"), {"tapt_gain": ("tapt", "base"), "tapt_over_dapt": ("tapt", "dapt")}),
    "04_dapt_tapt": Family(
        ("base", "dapt", "tapt", "dapt_tapt"),
        {
            "tapt_gain": ("tapt", "base"),
            "dapt_tapt_gain": ("dapt_tapt", "base"),
            "dapt_tapt_over_dapt": ("dapt_tapt", "dapt"),
            "dapt_tapt_over_tapt": ("dapt_tapt", "tapt"),
        },
    ),
    "05_transfer_tapt": Family(("base", "tapt", "transfer_tapt"), {"tapt_over_transfer": ("tapt", "transfer_tapt")}),
}
# The claims that each notebook judges.
CLAIMS = {
    "02_dapt": ("C1", "C2", "C3", "C4", "C12"),
    "03_tapt": ("C5",),
    "04_dapt_tapt": ("C5", "C6"),
    "05_transfer_tapt": ("C7",),
    "06_knn_tapt": ("C8", "C9", "C10", "C11", "C13"),
}
CURATED, AUGMENTED, SELECTORS = "table7", "table8", "selectors"  # the families of notebook 06
CHEAP = "cheap"  # one more of notebook 04, where the profile runs such arms
WHOLE = {"lora_dapt": "dapt", "lora_tapt": "tapt", "embedding_tapt": "tapt"}  # by cheap arm, the one that trains all


def families(study) -> dict[str, Family]:
    """Return the families of a study's notebook by name; most notebooks have one."""
    if study.notebook == "05_transfer_tapt":
        names = tuple(task.name for task in study.transfer_tasks())
        return {study.notebook: replace(FAMILIES[study.notebook], tasks=names)}
    if study.notebook in FAMILIES:
        found = {study.notebook: FAMILIES[study.notebook]}
        return found | (_cheap_family(study) if study.notebook == "04_dapt_tapt" else {})
    return _augmented_families(study) if study.notebook == "06_knn_tapt" else {}


def family(study, name: str | None = None) -> Family:
    """Return a family of the study's notebook by its name, or the first."""
    found = families(study)
    return found[name or next(iter(found))]


def _cheap_family(study) -> dict[str, Family]:
    """Return the family of the arms that train few of an encoder's numbers, each beside the one that trains all."""
    cheap = study.cheap_arms()
    if not cheap:
        return {}
    pairs = {f"{arm}_gain": (arm, "base") for arm in cheap}
    pairs |= {f"{arm}_over_{WHOLE[arm]}": (arm, WHOLE[arm]) for arm in cheap}
    shown = [arm for whole in ("dapt", "tapt") for arm in (whole, *(c for c in cheap if WHOLE[c] == whole))]
    return {CHEAP: Family(("base", *shown), pairs, tuple(task.name for task in study.cheap_tasks()))}


def _augmented_families(study) -> dict[str, Family]:
    """Return the families of Table 7 (curated text), of Table 8 (neighbours), and of the selectors compared."""
    settings = study.profile.selection
    numbers = sorted(settings.num_neighbours)
    tasks, curated = (tuple(task.name for task in some) for some in (study.augmented_tasks(), study.curated_tasks()))
    knn, rand = ([name(k) for k in numbers] for name in (arms.knn_tapt, arms.rand_tapt))
    pairs = {f"{name}_gain": (name, "tapt") for name in knn}
    pairs |= {f"{name}_over_random": (name, control) for name, control in zip(knn, rand, strict=True)}
    shown = ["base", "tapt", *rand, *knn, *(["curated_tapt"] if set(curated) == set(tasks) else []), "dapt"]
    found = {AUGMENTED: Family(tuple(shown), pairs, tasks)}
    if curated:
        names = ("tapt", "dapt_tapt", "curated_tapt", "dapt_curated_tapt")
        over = {
            "curated_gain": ("curated_tapt", "tapt"),
            "dapt_curated_over_tapt": ("dapt_curated_tapt", "tapt"),
            "dapt_curated_over_dapt_tapt": ("dapt_curated_tapt", "dapt_tapt"),
            "dapt_curated_over_curated": ("dapt_curated_tapt", "curated_tapt"),
        }
        found[CURATED] = Family(names, over, curated)
    if settings.compared:
        middle = settings.compared_neighbours
        main, control = arms.knn_tapt(middle), arms.rand_tapt(middle)
        others = [arms.knn_tapt(middle, selector) for selector in settings.compared]
        over = {f"{name}_over_random": (name, control) for name in (main, *others)}
        found[SELECTORS] = Family((control, main, *others), over, tasks)
    return found


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


def agreement(study) -> pd.DataFrame:
    """How far the distances put things in the same order: the domains, and the pairs of a task and a domain."""
    domains = domain_gap.agreement(measured_distances(study)).assign(over="domains, from the general text")
    pairs = domain_gap.agreement(_pairs(study)).assign(over="pairs of a task's texts and a domain")
    return pd.concat([domains, pairs], ignore_index=True)


# Arms ----------------------------------------------------------------------------------------------------------


def arm_records(study, name: str | None = None) -> pd.DataFrame:
    """Read the records of the arms that the notebook shows, or those of one of its families, on their tasks."""
    if name is None:
        shown = dict.fromkeys(arm for found in families(study).values() for arm in found.arms)
        named = {task for found in families(study).values() for task in task_names(study, found)}
    else:
        shown, named = family(study, name).arms, task_names(study, family(study, name))
    records = study.arm_records(*shown)
    return records[records["task"].isin(named)].reset_index(drop=True)


def task_names(study, found: Family) -> list[str]:
    """Name the tasks of a family."""
    return [task.name for task in study.tasks if found.tasks is None or task.name in found.tasks]


def _resampled(study, arms: Sequence[str], names: Sequence[str] | None = None) -> dict[str, Resamples]:
    names = [task.name for task in study.tasks] if names is None else list(names)
    return comparisons.resample(
        study.arm_records(*arms),
        arms,
        names,
        study.profile.seeds,
        {name: study.true_labels(name) for name in names},
        num_resamples=NUM_RESAMPLES,
        seed=0,
    )


def _cells(study, arms: Sequence[str], names: Sequence[str] | None = None) -> dict:
    records = study.arm_records(*arms)
    chosen = records if names is None else records[records["task"].isin(names)]
    return {"cells": sorted(chosen["fingerprint"]), "seeds": study.profile.seeds}


def gains(study, name: str | None = None) -> pd.DataFrame:
    """Differences between arms, x 100, by comparison and task, with 95 % intervals and p-values (Holm's too).

    Args:
        name: Of one of the notebook's families; its first unless given.
    """
    chosen = family(study, name)
    names = task_names(study, chosen)

    def compute():
        drawn = _resampled(study, chosen.arms, names)
        found = {pair: comparisons.differences(drawn, *both) for pair, both in chosen.pairs.items()}
        by_name = comparisons.families({pair: comparisons.difference_table(d) for pair, d in found.items()})
        return pd.concat(by_name, names=["comparison", "task"])

    inputs = {**_cells(study, chosen.arms, names), "pairs": chosen.pairs}
    return _once(study, "gains", inputs, compute).set_index(["comparison", "task"])


def intervals(study, name: str) -> pd.DataFrame:
    """Each arm's mean score over a family's tasks, x 100, with the interval of its difference to TAPT put around it.

    Returns:
        Index arm; columns mean, low, high.
    """
    chosen = family(study, name)
    names = task_names(study, chosen)

    def compute():
        drawn, rows = _resampled(study, chosen.arms, names), {}
        for arm in chosen.arms:
            of_arm = comparisons.mean_difference(comparisons.differences(drawn, arm, "tapt"))
            mean = 100 * float(np.mean([d.observed[:, d.arms.index(arm)].mean() for d in drawn.values()]))
            shift = mean - 100 * of_arm.estimate
            rows[arm] = {"mean": mean, "low": shift + 100 * of_arm.low, "high": shift + 100 * of_arm.high}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")

    return _once(study, "intervals", _cells(study, chosen.arms, names), compute).set_index("arm")


def probability_best(study) -> pd.DataFrame:
    """How likely each arm of the notebook is the best, by task and for the mean over tasks, 0 to 1."""
    shown = family(study).arms

    def compute():
        return comparisons.probability_best(_resampled(study, shown))

    return _once(study, "probability_best", _cells(study, shown), compute).set_index("task")


def aggregates(study) -> pd.DataFrame:
    """Every arm of the notebook over all tasks: mean, interquartile mean, how likely a run beats one of the base."""
    arms, names = family(study).arms, [task.name for task in study.tasks]

    def compute():
        records = study.arm_records(*arms)
        matrices = {arm: scores.score_matrix(records, arm, names, study.profile.seeds) for arm in arms}
        rows = {arm: _aggregate(matrix, matrices["base"]) for arm, matrix in matrices.items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")

    return _once(study, "aggregates", _cells(study, arms), compute).set_index("arm")


def _aggregate(matrix, base) -> dict[str, float]:
    middle = [100 * x for x in comparisons.interquartile_interval(matrix, num_resamples=NUM_RESAMPLES, seed=0)]
    better = comparisons.probability_of_improvement(matrix, base, num_resamples=NUM_RESAMPLES, seed=0)
    row = {"mean": 100 * float(matrix.mean())}
    for name, values in (("iqm", middle), ("beats_base", better)):
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return row


def tests(study) -> pd.DataFrame:
    """The notebook's comparisons by three roads: paired (ours), unpaired (Welch), and without degenerate seeds.

    Returns:
        Columns comparison, task, paired and its interval and p_paired (not corrected), welch and its interval and
        p_welch; without_degenerate, the paired difference without them, and num_left_out, pairs of a task and a seed.
    """
    pairs, arms = family(study).pairs, family(study).arms

    def compute():
        records = study.arm_records(*arms)
        kept, left_out = scores.without_degenerate(records)
        paired = gains(study)
        rows = []
        for name, (a, b) in pairs.items():
            for task in study.tasks:
                ours = paired.loc[(name, task.name)]
                welch = _welch(records, task.name, a, b, study.profile.seeds)
                row = {"comparison": name, "task": task.name, "paired": ours["difference"]}
                row |= {"paired_low": ours["difference_low"], "paired_high": ours["difference_high"]}
                row |= {"p_paired": ours["p_value"], **welch}
                means = kept[kept["task"] == task.name].groupby("arm")["test_score"].mean()
                row |= {"without_degenerate": 100 * (means.get(a, float("nan")) - means.get(b, float("nan")))}
                rows.append(row | {"num_left_out": left_out})
        return pd.DataFrame(rows)

    return _once(study, "tests", {**_cells(study, arms), "pairs": pairs}, compute).drop(columns="index")


def _welch(records: pd.DataFrame, task: str, a: str, b: str, seeds: Sequence[int]) -> dict[str, float]:
    found = comparisons.welch(*(100 * scores.score_matrix(records, arm, [task], seeds)[:, 0] for arm in (a, b)))
    return dict(zip(("welch", "welch_low", "welch_high", "p_welch"), found, strict=True))


def gain_correlations(study) -> pd.DataFrame:
    """The rank correlation of DAPT's gain with each distance, over tasks."""
    measured, arms = measured_distances(study), ("base", "dapt")
    names = [name for name in domain_gap.DISTANCES if measured[name].notna().all()]

    def compute():
        gain = comparisons.differences(_resampled(study, arms), "dapt", "base")
        rows = {}
        for name in names:
            far = dict(zip(measured.index, domain_gap.as_distance(name, measured[name].to_numpy(float)), strict=True))
            rows[name] = comparisons.gain_correlation({task.name: far[task.domain] for task in study.tasks}, gain)
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("distance")

    inputs = {**_cells(study, arms), "distances": measured[names].to_dict()}
    return _once(study, "gain_correlations", inputs, compute).set_index("distance")


def forgetting(study) -> pd.DataFrame:
    """What DAPT does to the loss on its own domain and on the general text, ours and the paper's."""
    return tables.forgetting(study.records("cross_domain_loss", notebook="02_dapt"), GENERAL)


# Beside the encoders --------------------------------------------------------------------------------------------


def naive_bayes(study) -> pd.DataFrame:
    """Naive Bayes on every task's training texts, without any encoder: what an arm's scores are held against.

    Returns:
        Index task; columns score (the task's metric on test, x 100), score_without (on the test texts that do not
        stand in train or dev too), num_test, num_affected (those that do).
    """

    def compute():
        affected = told_before(study)
        rows = {task.name: _of_naive_bayes(study, task, affected[task.name]) for task in study.tasks}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")

    return _once(study, "naive_bayes", _split_digests(study), compute).set_index("task")


def _of_naive_bayes(study, task, affected: np.ndarray) -> dict[str, float]:
    ids = {label: k for k, label in enumerate(study.manifest()["tasks"][task.name]["labels"])}
    rows = {split: corpora.load_examples(study.paths, task.name, split) for split in SPLITS}
    texts = {split: [row["text"] for row in found] for split, found in rows.items()}
    labels = {split: np.array([ids[row["label"]] for row in rows[split]]) for split in ("train", "dev")}

    def dev_score(predicted: np.ndarray) -> float:
        return finetune.score(labels["dev"], predicted, task.metric, len(ids))

    predicted = baselines.naive_bayes(texts["train"], labels["train"], texts["dev"], texts["test"], dev_score)
    scored = _with_and_without(predicted[None], affected, study.true_labels(task.name), len(ids), task.metric)
    return scored | {"num_test": len(affected), "num_affected": int(affected.sum())}


def _with_and_without(
    predicted: np.ndarray, affected: np.ndarray, truth: np.ndarray, num_labels: int, metric: str
) -> dict[str, float]:
    """Score (num_seeds, num_test) predictions on all test texts, and on those not affected; means over seeds, x 100."""
    weights = np.stack([np.ones(len(affected)), ~affected]).astype(np.float32)
    both = comparisons.weighted_scores(weights, predicted, truth, num_labels, metric).mean(1)
    return {"score": 100 * both[0], "score_without": 100 * both[1]}


def told_before(study) -> dict[str, np.ndarray]:
    """Mark, by task, the test texts that stand in train or dev too, as some were published: (num_test,) bool."""
    limit = study.profile.text.near_duplicate_jaccard

    def compute():
        places = []
        for task in study.tasks:
            texts = {
                split: [row["text"] for row in corpora.load_examples(study.paths, task.name, split)] for split in SPLITS
            }
            marks = leakage.train_test_overlap(texts["test"], texts["train"] + texts["dev"], jaccard_from=limit)
            places += [{"task": task.name, "place": int(place)} for place in np.flatnonzero(marks)]
        return pd.DataFrame(places, columns=["task", "place"])

    found = _once(study, "told_before", {**_split_digests(study), "limit": limit}, compute)
    marks = {}
    for task in study.tasks:
        marks[task.name] = np.zeros(study.manifest()["tasks"][task.name]["splits"]["test"]["num_examples"], bool)
        marks[task.name][found.loc[found["task"] == task.name, "place"].to_numpy(int)] = True
    return marks


def _split_digests(study) -> dict:
    tasks = study.manifest()["tasks"]
    return {task.name: {s: tasks[task.name]["splits"][s]["sha256"] for s in SPLITS} for task in study.tasks}


def published_leaks(study) -> pd.DataFrame:
    """Scores of the notebook's arms with and without the test texts that stand in train or dev too.

    Returns:
        Columns task, arm (`naive_bayes` too), num_test, num_affected, score, score_without, change; means over seeds,
        x 100. No row for a task without such texts.
    """
    chosen, counted, rows = family(study), naive_bayes(study), []
    names = [name for name in task_names(study, chosen) if counted.loc[name, "num_affected"]]
    marks = told_before(study) if names else {}
    for name in names:
        shared = {"task": name, **counted.loc[name, ["num_test", "num_affected"]].astype(int).to_dict()}
        scored = {NAIVE_BAYES: counted.loc[name, ["score", "score_without"]].to_dict()}
        for arm in chosen.arms:
            records = scores.records_of_arm(study.arm_records(arm), arm, [name], study.profile.seeds)
            predicted = np.stack([decode_predictions(text) for text in records["test_predictions"]])
            labels, metric = len(records.iloc[0]["labels"]), records.iloc[0]["metric"]
            scored[arm] = _with_and_without(predicted, marks[name], study.true_labels(name), labels, metric)
        rows += [
            shared | {"arm": arm, **both, "change": both["score_without"] - both["score"]}
            for arm, both in scored.items()
        ]
    columns = ["task", "arm", "num_test", "num_affected", "score", "score_without", "change"]
    return pd.DataFrame(rows, columns=columns)


# Claims --------------------------------------------------------------------------------------------------------


def judged(study, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Judge some of the claims, or all, by the records that are there; see `claims.judge`.

    Only what these claims need is read, so that a notebook's verdicts rest on its own arms and those before it.
    """
    chosen = [claim for claim in claims.CLAIMS if names is None or claim.name in names]
    kinds = {claim.kind for claim in chosen} if "dapt" in study.available_arms() else set()
    correlation = gain_correlations(study).loc["vocabulary_overlap"].to_dict() if "correlation" in kinds else None
    changes = forgetting(study) if "losses" in kinds else None
    changes = changes[changes["study"] == tables.OURS] if changes is not None else None
    ratios = costs.ratios(study, "tapt", "dapt") if "costs" in kinds and "tapt" in study.available_arms() else None
    if ratios is not None and not np.isfinite(ratios.to_numpy(float)).all():
        ratios = None  # encoders that others trained have told no seconds
    numbers = tuple(sorted(study.profile.selection.num_neighbours))
    rests_on = _evidence_arms(study, chosen, numbers)

    def compute():
        drawn = {name: _resampled(study, *found) if found[0] else {} for name, found in rests_on.items()}
        return claims.judge(
            Evidence(**drawn, num_neighbours=numbers, correlation=correlation, forgetting=changes, cost_ratios=ratios)
        )

    inputs = {"cells": {name: _cells(study, *found) if found[0] else None for name, found in rests_on.items()}}
    inputs |= {"correlation": correlation, "changes": None if changes is None else changes.to_dict("list")}
    inputs |= {"numbers": numbers, "ratios": None if ratios is None else ratios.to_dict("list")}
    found = _once(study, "claims", inputs, compute).drop(columns="index")
    return found[found["claim"].isin([claim.name for claim in chosen])].reset_index(drop=True)


def _evidence_arms(study, chosen: Sequence[claims.Claim], numbers: Sequence[int]) -> dict[str, tuple[list, list]]:
    """Return, for each part of the evidence, the arms that the claims need and that have run, and their tasks."""
    available = study.available_arms()
    by_part = {"transfer": (6, study.transfer_tasks), "curated": (7, study.curated_tasks)}
    by_part |= {"augmented": (8, study.augmented_tasks)}
    own = {table for table, _ in by_part.values()}
    found = {}
    for part in ("resamples", *by_part):
        table, tasks = by_part.get(part, (None, lambda: study.tasks))
        needing = [c for c in chosen if c.table == table or (table is None and c.table not in own)]
        wanted = {arm for claim in needing for arm in claims.arms_of(claim, numbers)}
        found[part] = ([arm for arm in available if arm in wanted], [task.name for task in tasks()])
    return found
