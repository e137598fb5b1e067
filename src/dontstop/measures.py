"""What is measured on a study's texts and records: computed once for given inputs, afterwards read."""

import io
from collections.abc import Callable, Sequence

import pandas as pd

from dontstop import claims, comparisons, corpora, domain_gap, files, scores, tables
from dontstop.claims import Evidence
from dontstop.comparisons import Resamples
from dontstop.tasks import GENERAL

MEASURES_VERSION = 5  # raised when domain_gap, comparisons or claims come to compute other numbers from the same inputs
NUM_RESAMPLES = 1000
# The comparisons of each notebook's table: one family for Holm's correction.
COMPARISONS = {
    "02_dapt": {
        "dapt_gain": ("dapt", "base"),
        "not_dapt_gain": ("not_dapt", "base"),
        "dapt_over_not_dapt": ("dapt", "not_dapt"),
    },
    "03_tapt": {"tapt_gain": ("tapt", "base"), "tapt_over_dapt": ("tapt", "dapt")},
    "04_dapt_tapt": {
        "tapt_gain": ("tapt", "base"),
        "dapt_tapt_gain": ("dapt_tapt", "base"),
        "dapt_tapt_over_dapt": ("dapt_tapt", "dapt"),
        "dapt_tapt_over_tapt": ("dapt_tapt", "tapt"),
    },
    "05_transfer_tapt": {"tapt_over_transfer": ("tapt", "transfer_tapt")},
}
# The arms that each notebook shows, and the claims that it judges.
ARMS = {
    "02_dapt": ("base", "dapt", "not_dapt"),
    "03_tapt": ("base", "dapt", "tapt"),
    "04_dapt_tapt": ("base", "dapt", "tapt", "dapt_tapt"),
    "05_transfer_tapt": ("base", "tapt", "transfer_tapt"),
}
CLAIMS = {
    "02_dapt": ("C1", "C2", "C3", "C4", "C12"),
    "03_tapt": ("C5",),
    "04_dapt_tapt": ("C5", "C6"),
    "05_transfer_tapt": ("C7",),
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


def arm_records(study) -> pd.DataFrame:
    """Read the records of the arms that the notebook shows."""
    return study.arm_records(*ARMS[study.notebook])


def _resampled(study, arms: Sequence[str]) -> dict[str, Resamples]:
    names = [task.name for task in study.tasks]
    return comparisons.resample(
        study.arm_records(*arms),
        arms,
        names,
        study.profile.seeds,
        {name: study.true_labels(name) for name in names},
        num_resamples=NUM_RESAMPLES,
        seed=0,
    )


def _cells(study, arms: Sequence[str]) -> dict:
    return {"cells": sorted(study.arm_records(*arms)["fingerprint"]), "seeds": study.profile.seeds}


def gains(study) -> pd.DataFrame:
    """Differences between arms, x 100, by comparison and task, with 95 % intervals and p-values (Holm's too)."""
    pairs = COMPARISONS[study.notebook]
    arms = ARMS[study.notebook]

    def compute():
        drawn = _resampled(study, arms)
        found = {name: comparisons.differences(drawn, *pair) for name, pair in pairs.items()}
        by_name = comparisons.families({name: comparisons.difference_table(d) for name, d in found.items()})
        return pd.concat(by_name, names=["comparison", "task"])

    inputs = {**_cells(study, arms), "pairs": pairs}
    return _once(study, "gains", inputs, compute).set_index(["comparison", "task"])


def probability_best(study) -> pd.DataFrame:
    """How likely each arm of the notebook is the best, by task and for the mean over tasks, 0 to 1."""
    arms = ARMS[study.notebook]

    def compute():
        return comparisons.probability_best(_resampled(study, arms))

    return _once(study, "probability_best", _cells(study, arms), compute).set_index("task")


def aggregates(study) -> pd.DataFrame:
    """Every arm of the notebook over all tasks: mean, interquartile mean, how likely a run beats one of the base."""
    arms, names = ARMS[study.notebook], [task.name for task in study.tasks]

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
    pairs, arms = COMPARISONS[study.notebook], ARMS[study.notebook]

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


# Claims --------------------------------------------------------------------------------------------------------


def judged(study, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Judge some of the claims, or all, by the records that are there; see `claims.judge`.

    Only what these claims need is read, so that a notebook's verdicts rest on its own arms and those before it.
    """
    chosen = [claim for claim in claims.CLAIMS if names is None or claim.name in names]
    wanted, available = {arm for claim in chosen for arm in claim.arms}, study.available_arms()
    arms = [arm for arm in available if arm in wanted]
    kinds = {claim.kind for claim in chosen} if "dapt" in available else set()
    correlation = gain_correlations(study).loc["vocabulary_overlap"].to_dict() if "correlation" in kinds else None
    changes = forgetting(study) if "losses" in kinds else None
    changes = changes[changes["study"] == tables.OURS] if changes is not None else None

    def compute():
        return claims.judge(Evidence(_resampled(study, arms) if arms else {}, correlation, changes))

    inputs = {"cells": _cells(study, arms) if arms else None, "correlation": correlation}
    inputs |= {"changes": None if changes is None else changes.to_dict("list")}
    found = _once(study, "claims", inputs, compute).drop(columns="index")
    return found[found["claim"].isin([claim.name for claim in chosen])].reset_index(drop=True)
