"""Identities that must hold for a notebook's results to mean anything: counts, digests, fingerprints; never scores."""

from collections.abc import Callable, Iterable

from dontstop import arms, corpora, files, jobs, measures
from dontstop.errors import StudyError
from dontstop.tasks import SPLITS

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
    return f"{len(study.domains)} domains, {len(study.tasks)} tasks; texts of each task: {parts}"


def _entry(study, task: str, split: str) -> dict:
    return study.manifest()["tasks"][task]["splits"][split]


def text_digests(study) -> str:
    """Hold every file of text to its digest in the manifest."""
    manifest, paths = study.manifest(), study.paths
    expected = {paths.corpus(name): manifest["domains"][name]["sha256"] for name in study.texts}
    expected |= {paths.held_out(name): manifest["held_out"][name]["sha256"] for name in study.texts}
    for task in study.tasks:
        expected |= {paths.split(task.name, split): _entry(study, task.name, split)["sha256"] for split in SPLITS}
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
    """Hold the number of dev and test texts that stand whole in a corpus, a held-out sample or another split to 0."""
    for kind, totals in study.manifest()["leakage"].items():
        _hold(totals["num_exact"], 0, f"dev or test texts found whole in the {kind}")
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


def cell_records(study) -> str:
    """Hold the records to one for every task, arm and seed, over the whole of each test split."""
    names, seeds = measures.ARMS[study.notebook], study.profile.seeds
    records = study.arm_records(*names)
    cells = set(records[["task", "arm", "seed"]].itertuples(index=False, name=None))
    _hold(len(records), len(cells), "records of distinct cells")
    wanted = {(task.name, arm, seed) for task in study.tasks for arm in names for seed in seeds}
    _hold(len(wanted - cells), 0, f"cells without a record, the first {min(wanted - cells, default=None)}")
    _hold(len(cells - wanted), 0, f"records of other cells, the first {min(cells - wanted, default=None)}")
    for row in records.itertuples():
        for split in SPLITS:
            expected = _entry(study, row.task, split)["num_examples"]
            _hold(getattr(row, f"num_{split}"), expected, f"{split} texts in the record of {row.task}")
    product = f"{len(study.tasks)} tasks × {len(names)} arms × {len(seeds)} seeds"
    return f"{len(records)} records = {product}, each over the whole of its splits"


def cell_fingerprints(study) -> str:
    """Hold every record's fingerprint to the one that its text, settings and encoder give now."""
    names = measures.ARMS[study.notebook]
    identity, records = jobs.Identity(study.profile, study.paths), study.arm_records(*names)
    found = {(row.task, row.arm, row.seed): row.fingerprint for row in records.itertuples()}
    plan = arms.plan(names, study.tasks, study.profile.seeds)
    for cell in plan.cells:
        key = (cell.task.name, cell.arm, cell.seed)
        _hold(found[key], identity.cell(cell), f"as fingerprint of {key}")
    return f"{len(plan.cells)} fingerprints are those of the text, settings and encoders at hand"


def no_phase_twice(study) -> str:
    """Hold the records of pretraining, of this notebook and those before it, to one for every checkpoint."""
    trained = study.trained_checkpoints()
    _hold(len(trained), len(set(trained)), "checkpoints trained, each once")
    cells = study.arm_records(*measures.ARMS[study.notebook])
    _hold(sorted(set(cells["checkpoint"]) - set(trained)), [], "as checkpoints of cells that nobody trained")
    starts = cells["checkpoint"].nunique()
    return f"{len(trained)} checkpoints were trained, none twice; {len(cells)} cells start from {starts} of them"


def task_losses(study) -> str:
    """Hold the measured losses to one for the base and every TAPT encoder on every task's dev texts."""
    pairs = study.records("cross_task_loss")[["encoder", "held_out"]].drop_duplicates()
    number = len(study.tasks)
    _hold(len(pairs), (1 + number) * number, "pairs of an encoder and a task's texts measured")
    return f"{len(pairs)} masked-LM losses: {1 + number} encoders on {number} tasks' dev texts"


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
}


def check(study) -> str:
    """Hold all identities of a study's notebook, and list them as Markdown.

    Raises:
        StudyError: At the first that does not hold, with what was found and what expected.
    """
    return "\n".join(f"- {holds(study)}" for holds in CHECKS[study.notebook])
