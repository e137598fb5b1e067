"""Identities that must hold for a notebook's results to mean anything: counts, digests, fingerprints; never scores.

Each check returns a sentence, or stops with what was found and what expected; `passed` lists the sentences.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from IPython.display import Markdown

from dontstop.design.arms import KNN, RAND, Phase
from dontstop.design.plan import EXPERIMENTS, NOTEBOOKS, plan_runs
from dontstop.errors import StudyError, counted
from dontstop.machine import files
from dontstop.report.display import listed
from dontstop.report.labels import extent, span
from dontstop.runs.identity import Identity
from dontstop.runs.results import Results
from dontstop.selection.candidates import load_candidates
from dontstop.text import corpora, leakage, manifest
from dontstop.text.tasks import SPLITS, Task

_RUN = ["task", "arm", "replicate", "seed"]  # what a run is told by
_ANEW = "prepare the text and run the study again"


def _hold(found, expected, what: str) -> None:
    if found != expected:
        raise StudyError(f"{found} {what}", f"{expected}", _ANEW)


def _hold_none(some: set, what: str) -> None:
    _hold(len(some), 0, f"{what}, the first {min(some, default=None)}")


def passed(*told: str) -> Markdown:
    """Say how many checks have passed, and list them folded."""
    return Markdown(
        f"<details><summary>{counted(len(told), 'check')} passed</summary>\n\n{listed(*told).data}\n\n</details>"
    )


def split_sizes(study: Results) -> str:
    """Hold every split to as many texts as the manifest counts, and train and dev to as many as the profile asks for.

    Test may hold fewer than the profile asks for, where the domain has no more text; files hold what they hold.
    """
    sizes: dict[str, list[int]] = {split: [] for split in SPLITS}
    for task, split in product(study.tasks, SPLITS):
        sizes[split].append(len(corpora.load_examples(study.paths, task.name, split)))
        _hold(sizes[split][-1], _entry(study, task.name, split)["num_examples"], f"texts in {split} of {task.name}")
    text = study.profile.text
    if text.source == "docstrings":
        _hold(set(sizes["train"]), {text.num_train}, "training texts")
        _hold(set(sizes["dev"]), {text.num_dev}, "dev texts")
        _hold([size for size in sizes["test"] if size > text.num_test], [], "as sizes of test splits")
    parts = ", ".join(f"{span(sizes[split])} {split}" for split in SPLITS)
    lacking = ", ".join(study.missing_tasks())
    gap = f" (not in the mirror, and in no table of ours: {lacking})" if lacking else ""
    return f"{extent(study.domains, study.tasks)}{gap}; texts of each task: {parts}"


def _entry(study: Results, task: str, split: str) -> dict:
    return study.manifest()["tasks"][task]["splits"][split]


def text_digests(study: Results) -> str:
    """Hold every file of text to its digest in the manifest."""
    expected = manifest.text_digests(study.paths, study.manifest())
    for path, digest in expected.items():
        _hold(files.digest(path), digest, f"as digest of {path}")
    return f"{len(expected)} files of text have the digests that the manifest records"


def token_stores(study: Results) -> str:
    """Hold the token stores of corpora and held-out samples to as many documents as their texts have."""
    texts, stores = study.manifest(), study.token_counts()
    for (kind, of_kind), name in product((("corpora", "domains"), ("held_out", "held_out")), study.texts):
        found, expected = stores[f"{kind}/{name}"]["num_documents"], texts[of_kind][name]["num_documents"]
        _hold(found, expected, f"documents in the tokens of {kind}/{name}")
    return f"{2 * len(study.texts)} token stores hold as many documents as their texts"


def no_exact_leak(study: Results) -> str:
    """Hold the number of dev and test texts that stand whole in a corpus, a held-out sample or another split to 0.

    Splits that were published with such texts stay as they are; their number is told.
    """
    in_corpora, splits = (study.manifest()["leakage"][kind]["num_exact"] for kind in ("corpora", "splits"))
    _hold(in_corpora, 0, "dev or test texts found whole in the corpora")
    if study.profile.text.source == "files" and splits:
        told = f"; {splits:,} stand in another split, as published"
        return f"0 dev or test texts stand whole in a corpus or a held-out sample{told}"
    _hold(splits, 0, "dev or test texts found whole in the splits")
    return "0 dev or test texts stand whole in a corpus, a held-out sample or another split of their task"


def losses(study: Results, measured: pd.DataFrame) -> str:
    """Hold the losses of the notebook, as `study.losses` returns them, to one for every encoder, text and replicate."""
    keys, experiment = ["encoder", "held_out", "replicate"], NOTEBOOKS[study.notebook]
    asked = [(r, pair) for r in range(study.profile.replicates) for pair in study.design.measured(experiment, r)]
    wanted = {(encoder.name, store.split("/")[1], r) for r, (encoder, store) in asked}
    found = set(measured[keys].itertuples(index=False, name=None))
    _hold_none(wanted - found, "losses not measured")
    _hold(len(measured), len(wanted), "losses measured, one for every encoder, text and replicate")
    encoders, texts, replicates = (len(set(some)) for some in zip(*wanted, strict=True))
    what, of = ("task", "the dev texts of ") if EXPERIMENTS[experiment].on == "task" else ("held-out text", "")
    parts = counted(encoders, "encoder"), f"{of}{counted(texts, what)}", counted(replicates, "replicate")
    return f"{len(measured)} masked-LM losses: {parts[0]} on {parts[1]}, {parts[2]}"


def one_record_a_run(study: Results, runs: pd.DataFrame, tasks: Sequence[Task] | None = None) -> str:
    """Hold runs to one for every task shown (none: all), arm, replicate and seed, on the labels and texts asked for."""
    tasks, profile = tasks or study.tasks, study.profile
    found = set(runs[_RUN].itertuples(index=False, name=None))
    _hold(len(runs), len(found), "records of distinct runs")
    shown, wanted = set(runs["arm"]), set()
    for arm, some in study.arms().items():
        if arm.name in shown:
            names = [task.name for task in some if task in tasks]
            wanted |= set(product(names, [arm.name], study.design.replicates_of(arm), profile.seeds))
    _hold_none(wanted - found, "runs without a record")
    _hold_none(found - wanted, "records of other runs")
    for split in SPLITS:
        for task, size in dict.fromkeys(zip(runs["task"], runs[f"num_{split}"], strict=True)):
            whole = _entry(study, task, split)["num_examples"]
            expected = min(whole, profile.labels.primary or whole) if split == "train" else whole
            _hold(size, expected, f"{split} texts in the record of {task}")
    numbers = runs[_RUN].nunique()
    whole = " = " + " × ".join(counted(number, what) for what, number in numbers.items())
    told = whole if numbers.prod() == len(runs) else ", one a task, arm, replicate and seed"
    labels = span(runs["num_train"])
    return f"{counted(len(runs), 'record')}{told}, each of {labels} labelled texts, and over the whole of dev and test"


def fingerprints(study: Results, runs: pd.DataFrame) -> str:
    """Hold every run's fingerprint to the one that its text, settings, encoder, code and libraries give now."""
    profile, identity, known = study.profile, Identity(study.profile, study.paths), study.arms()
    found = runs.set_index(_RUN)["fingerprint"].to_dict()
    shown = [study.arm(name) for name in dict.fromkeys(runs["arm"])]
    for arm, replicate in ((some, replicate) for some in shown for replicate in study.design.replicates_of(some)):
        for run in plan_runs([arm], known[arm], profile.seeds, replicate, [profile.labels.primary]).runs:
            if (key := (run.task.name, run.arm.name, run.replicate, run.seed)) in found:
                own = identity.run(run)
                _hold(found[key], found[key] if found[key] in identity.alike(own) else own, f"as fingerprint of {key}")
    return f"{len(runs)} fingerprints are those of the text, settings, encoders and code at hand"


def no_checkpoint_twice(pretraining: pd.DataFrame, runs: pd.DataFrame) -> str:
    """Hold the records of pretraining, of this notebook and those before it, to one for a checkpoint and replicate."""
    keys = ["checkpoint", "replicate"]
    trained = list(pretraining[keys].itertuples(index=False, name=None))
    starts = set(runs[keys].itertuples(index=False, name=None))
    _hold(len(trained), len(set(trained)), "checkpoints trained, each once")
    _hold(sorted(starts - set(trained)), [], "as checkpoints of runs that nobody trained")
    checkpoints, replicates = counted(len(trained), "checkpoint"), pretraining["replicate"].nunique()
    told = f"{checkpoints} of {counted(replicates, 'replicate')}, none twice"
    return f"{told}; {len(runs)} runs start from {len(starts)} of them"


def selected_text(study: Results) -> str:
    """Hold every augmented corpus of the first replicate to its digest and the task's own texts, controls to theirs.

    A control has as many texts and tokens as the neighbours that it stands for, and none of them. Other replicates'
    text may not stand here; where it does, it is held to its digests before it is trained on.
    """
    stores, controls = study.selection_counts()["stores"], _controls(study)
    for name, entry in stores.items():
        folder, task = study.paths.store(name), name.split("/")[2]
        _hold(files.digest(folder / "ids.npy"), entry["sha256"], f"as digest of the tokens in {folder}")
        num_train = _entry(study, task, "train")["num_examples"]
        _hold(entry["num_documents"] - entry["num_selected"], num_train, f"own texts in {name}")
    for control in controls:
        _hold_control(study, stores, control)
    return (
        f"{len(stores)} augmented corpora have the digests recorded; {counted(len(controls), 'random control')} of as "
        "many texts and tokens as the neighbours stood for, and none of these (first replicate)"
    )


def _controls(study: Results) -> set[Phase]:
    """Return what reads random text in the place of neighbours, each on its task."""
    found = ((phase, task) for arm, some in study.arms().items() for phase in arm.phases for task in some)
    return {replace(phase, text=task.name) for phase, task in found if phase.kind == RAND}


def _hold_control(study: Results, stores: dict, control: Phase) -> None:
    task, neighbours = control.text, replace(control, kind=KNN).name
    kinds = (neighbours, control.name)
    ours, theirs = (stores[f"selected/replicate_0/{task}/{kind}"] for kind in kinds)
    for column in ("num_selected", "num_selected_tokens"):
        _hold(theirs[column], ours[column], f"as {column} of {control.name} on {task}")
    chosen = (study.chosen(task, kind) for kind in kinds)
    _hold(len(np.intersect1d(*chosen)), 0, f"candidates both in {control.name} and in {neighbours} on {task}")


def no_evaluated_text_selected(study: Results) -> str:
    """Hold the candidates that hold a dev or test text of their domain, or are held by one, to none."""
    limit = study.profile.text.leak_containment
    for domain in dict.fromkeys(task.domain for task in study.design.augmented_tasks()):
        tasks = [task.name for task in study.tasks if task.domain == domain]
        splits = [corpora.load_examples(study.paths, task, split) for task in tasks for split in ("dev", "test")]
        known = leakage.word_grams([row["text"] for rows in splits for row in rows])
        for some in load_candidates(study.paths.selected / "candidates" / domain).chunks():
            grams = leakage.word_grams(some)
            leaking = len(leakage.leaking_documents(known, grams, limit))
            _hold(leaking, 0, f"candidates of {domain} that hold a dev or test text")
            held = int((leakage.max_containment(grams, known) >= limit).sum())
            _hold(held, 0, f"candidates of {domain} that a dev or test text holds")
    return f"0 candidates hold {100 * limit:.0f} % of a dev or test text's 5-grams, or are held as far by one"
