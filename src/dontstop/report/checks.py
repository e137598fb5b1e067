"""Identities that must hold for a notebook's results to mean anything: counts, digests, fingerprints; never scores."""

import math
from collections.abc import Callable, Iterable

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.report import measures
from dontstop.runs import arms, jobs
from dontstop.selection import candidates
from dontstop.text import corpora, leakage
from dontstop.text.tasks import SPLITS

_ANEW = "prepare the text and run the study again"


def _hold(found, expected, what: str) -> None:
    if found != expected:
        raise StudyError(f"{found} {what}", f"{expected}", _ANEW)


def _span(values: Iterable[int]) -> str:
    """Write equal values once, others as a range."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def split_sizes(study) -> str:
    """Hold every split to as many texts as the manifest counts, and train and dev to as many as the profile asks for.

    Test may hold fewer than the profile asks for, where the domain has no more text; files hold what they hold.
    """
    sizes: dict[str, list[int]] = {split: [] for split in SPLITS}
    for task in study.tasks:
        for split in SPLITS:
            size = len(corpora.load_examples(study.paths, task.name, split))
            _hold(size, _entry(study, task.name, split)["num_examples"], f"texts in {split} of {task.name}")
            sizes[split].append(size)
    text = study.profile.text
    if text.source == "docstrings":
        _hold(set(sizes["train"]), {text.num_train}, "training texts")
        _hold(set(sizes["dev"]), {text.num_dev}, "dev texts")
        _hold([size for size in sizes["test"] if size > text.num_test], [], "as sizes of test splits")
    parts = ", ".join(f"{_span(sizes[split])} {split}" for split in SPLITS)
    lacking = study.lacking_tasks()
    gap = f" (not in the mirror, and in no table of ours: {', '.join(lacking)})" if lacking else ""
    return f"{len(study.domains)} domains, {len(study.tasks)} tasks{gap}; texts of each task: {parts}"


def _entry(study, task: str, split: str) -> dict:
    return study.manifest()["tasks"][task]["splits"][split]


def text_digests(study) -> str:
    """Hold every file of text to its digest in the manifest."""
    manifest, paths = study.manifest(), study.paths
    expected = {paths.corpus(name): manifest["domains"][name]["sha256"] for name in study.texts}
    expected |= {paths.held_out(name): manifest["held_out"][name]["sha256"] for name in study.texts}
    for task in study.tasks:
        expected |= {paths.split(task.name, split): _entry(study, task.name, split)["sha256"] for split in SPLITS}
        if of_source := manifest["tasks"][task.name].get("unlabelled"):
            expected[paths.unlabelled(task.name)] = of_source["sha256"]
    for path, digest in expected.items():
        _hold(files.digest(path), digest, f"as digest of {path}")
    return f"{len(expected)} files of text have the digests that the manifest records"


def token_stores(study) -> str:
    """Hold the token stores of corpora and held-out samples to as many documents as their texts have."""
    manifest, stores = study.manifest(), study.token_counts()
    for kind, counts in (("corpora", manifest["domains"]), ("held_out", manifest["held_out"])):
        for name in study.texts:
            found = stores[f"{kind}/{name}"]["num_documents"]
            _hold(found, counts[name]["num_documents"], f"documents in the tokens of {kind}/{name}")
    return f"{2 * len(study.texts)} token stores hold as many documents as their texts"


def no_exact_leak(study) -> str:
    """Hold the number of dev and test texts that stand whole in a corpus, a held-out sample or another split to 0.

    Splits that were published with such texts stay as they are; their number is told.
    """
    leaks = study.manifest()["leakage"]
    _hold(leaks["corpora"]["num_exact"], 0, "dev or test texts found whole in the corpora")
    if study.profile.text.source == "files" and leaks["splits"]["num_exact"]:
        told = f"{leaks['splits']['num_exact']:,} stand in another split, as published"
        return f"0 dev or test texts stand whole in a corpus or a held-out sample; {told}"
    _hold(leaks["splits"]["num_exact"], 0, "dev or test texts found whole in the splits")
    return "0 dev or test texts stand whole in a corpus, a held-out sample or another split of their task"


def _losses_of(num_encoders: Callable) -> Callable:
    def cross_domain_losses(study) -> str:
        """Hold the measured losses to one for every encoder and held-out text."""
        pairs = study.records("cross_domain_loss")[["encoder", "held_out"]].drop_duplicates()
        encoders = num_encoders(study)
        _hold(len(pairs), encoders * len(study.texts), "pairs of an encoder and a held-out text measured")
        named = "1 encoder" if encoders == 1 else f"{encoders} encoders"
        return f"{len(pairs)} masked-LM losses: {named} on {len(study.texts)} held-out texts"

    return cross_domain_losses


def _wanted(study) -> set[tuple[str, str, int]]:
    """Name the cells behind the notebook's tables: every task, arm and seed of each of its families."""
    return {
        (task, arm, seed)
        for family in measures.families(study).values()
        for task in measures.task_names(study, family)
        for arm in family.arms
        for seed in study.profile.seeds
    }


def _shown(study):
    """Read the records of the arms behind the notebook's tables, on the tasks that it shows."""
    wanted = _wanted(study)
    records = study.arm_records(*sorted({arm for _, arm, _ in wanted}))
    return records[records["task"].isin({task for task, _, _ in wanted})]


def cell_records(study) -> str:
    """Hold the records to one for every task, arm and seed, over the whole of each test split."""
    records = _shown(study)
    cells = set(records[["task", "arm", "seed"]].itertuples(index=False, name=None))
    _hold(len(records), len(cells), "records of distinct cells")
    wanted = _wanted(study)
    _hold(len(wanted - cells), 0, f"cells without a record, the first {min(wanted - cells, default=None)}")
    _hold(len(cells - wanted), 0, f"records of other cells, the first {min(cells - wanted, default=None)}")
    for row in records.itertuples():
        for split in SPLITS:
            expected = _entry(study, row.task, split)["num_examples"]
            _hold(getattr(row, f"num_{split}"), expected, f"{split} texts in the record of {row.task}")
    numbers = [records[column].nunique() for column in ("task", "arm", "seed")]
    product = f" = {numbers[0]} tasks × {numbers[1]} arms × {numbers[2]} seeds"
    product = product if math.prod(numbers) == len(records) else ", one a task, arm and seed"
    return f"{len(records)} records{product}, each over the whole of its splits"


def cell_fingerprints(study) -> str:
    """Hold every record's fingerprint to the one that its text, settings and encoder give now."""
    identity, records = jobs.Identity(study.profile, study.paths), _shown(study)
    found = {(row.task, row.arm, row.seed): row.fingerprint for row in records.itertuples()}
    wanted, draws = _wanted(study), study.profile.selection.num_draws
    for arm in sorted({arm for _, arm, _ in wanted}):
        for cell in arms.plan([arm], study.tasks_of(arm), study.profile.seeds, draws).cells:
            key = (cell.task.name, cell.arm, cell.seed)
            if key in wanted:
                _hold(found[key], identity.cell(cell), f"as fingerprint of {key}")
    return f"{len(wanted)} fingerprints are those of the text, settings and encoders at hand"


def no_phase_twice(study) -> str:
    """Hold the records of pretraining, of this notebook and those before it, to one for every checkpoint."""
    trained = study.trainings()["checkpoint"].tolist()
    _hold(len(trained), len(set(trained)), "checkpoints trained, each once")
    cells = _shown(study)
    _hold(sorted(set(cells["checkpoint"]) - set(trained)), [], "as checkpoints of cells that nobody trained")
    starts = cells["checkpoint"].nunique()
    return f"{len(trained)} checkpoints were trained, none twice; {len(cells)} cells start from {starts} of them"


def task_losses(study) -> str:
    """Hold the measured losses to one for the base and every TAPT encoder on every task's dev texts."""
    pairs = study.records("cross_task_loss")[["encoder", "held_out"]].drop_duplicates()
    number = len(study.tasks)
    _hold(len(pairs), (1 + number) * number, "pairs of an encoder and a task's texts measured")
    return f"{len(pairs)} masked-LM losses: {1 + number} encoders on {number} tasks' dev texts"


def selected_text(study) -> str:
    """Hold every enlarged text to its digest, every control to its selection's texts and tokens, queries to train."""
    counts = study.selection_counts()
    for name, entry in counts["stores"].items():
        folder = study.paths.store(name)
        _hold(files.digest(folder / "ids.npy"), entry["sha256"], f"as digest of the tokens in {folder}")
        num_train = study.manifest()["tasks"][name.split("/")[1]]["splits"]["train"]["num_examples"]
        _hold(entry["num_documents"] - entry["num_selected"], num_train, f"own texts in {name}")
    numbers, draws = study.profile.selection.num_neighbours, study.profile.selection.num_draws
    for task in study.augmented_tasks():
        for k in numbers:
            ours = counts["stores"][f"selected/{task.name}/{arms.knn_tapt(k)}"]
            for draw in range(draws):
                control = counts["stores"][f"selected/{task.name}/{arms.rand_tapt(k)}_draw_{draw}"]
                for column in ("num_selected", "num_selected_tokens"):
                    _hold(control[column], ours[column], f"as {column} of a control for {k} neighbours on {task.name}")
    return (
        f"{len(counts['stores'])} enlarged texts have the digests recorded; {len(numbers) * draws} random controls of "
        f"each of {len(study.augmented_tasks())} tasks have as many texts and tokens as the neighbours they stand for"
    )


def no_evaluated_text_selected(study) -> str:
    """Hold the candidates that hold a dev or test text of their domain, or are held by one, to none."""
    limit = study.profile.text.leak_containment
    for domain, tasks in _by_domain(study).items():
        pieces = candidates.load_candidates(study.paths.selected / "candidates" / domain)
        texts = [
            row["text"] for t in tasks for s in ("dev", "test") for row in corpora.load_examples(study.paths, t, s)
        ]
        known = leakage.word_grams(texts)
        for some in pieces.chunks():
            grams = leakage.word_grams(some)
            leaking = len(leakage.leaking_documents(known, grams, limit))
            _hold(leaking, 0, f"candidates of {domain} that hold a dev or test text")
            held = int((leakage.max_containment(grams, known) >= limit).sum())
            _hold(held, 0, f"candidates of {domain} that a dev or test text holds")
    return f"0 candidates hold {100 * limit:.0f} % of a dev or test text's 5-grams, or are held as far by one"


def _by_domain(study) -> dict[str, list[str]]:
    domains = dict.fromkeys(task.domain for task in study.augmented_tasks())
    return {domain: [task.name for task in study.tasks if task.domain == domain] for domain in domains}


_TEXT = (split_sizes, text_digests, token_stores, no_exact_leak)
CHECKS: dict[str, tuple[Callable[..., str], ...]] = {
    "01_domain_gap": (*_TEXT, _losses_of(lambda study: 1)),
    "02_dapt": (
        *_TEXT,
        cell_records,
        cell_fingerprints,
        no_phase_twice,
        _losses_of(lambda study: 1 + len(study.domains)),
    ),
    "03_tapt": (*_TEXT, cell_records, cell_fingerprints, no_phase_twice),
    "04_dapt_tapt": (*_TEXT, cell_records, cell_fingerprints, no_phase_twice),
    "05_transfer_tapt": (*_TEXT, cell_records, cell_fingerprints, no_phase_twice, task_losses),
    "06_knn_tapt": (
        *_TEXT,
        selected_text,
        no_evaluated_text_selected,
        cell_records,
        cell_fingerprints,
        no_phase_twice,
    ),
}


def check(study) -> str:
    """Hold all identities of a study's notebook, and list them as Markdown.

    Raises:
        StudyError: At the first that does not hold, with what was found and what expected.
    """
    return "\n".join(f"- {holds(study)}" for holds in CHECKS[study.notebook])
