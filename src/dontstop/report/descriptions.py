"""What a study is, in sentences and tables whose numbers and names come from its profile, its text and its design."""

from collections import Counter
from itertools import takewhile

from IPython.display import Markdown
from pandas import DataFrame

from dontstop.design.arms import Arm, Phase
from dontstop.design.plan import NOTEBOOKS
from dontstop.errors import counted
from dontstop.profiles import find_root, profile_names
from dontstop.report import measures
from dontstop.report.display import listed
from dontstop.report.labels import SELECTORS, extent, listing, span, spelt
from dontstop.runs.results import Results
from dontstop.text.tasks import GENERAL

_ROLES = {
    "domain": "text of its domain",
    "irrelevant_domain": "text of the domain least like its own",
    "other_domain_2": "text of another domain",
    "other_domain_3": "text of a third other domain",
    "task": "its training texts, without labels",
    "other_task": "the training texts of its domain's other task",
}
_KINDS = {
    "replay_dapt": "{}, with some general text in every batch",
    "average": "then the mean of these weights and the base encoder's",
    "curated_tapt": "{}, and more unlabelled text of their source",
    "knn_tapt": "{}, and their neighbours (k = {k}{by})",
    "rand_tapt": "{}, and random text of the domain, as much as neighbours (k = {k}{by})",
}


def text(study: Results) -> Markdown:
    """Say where the text comes from, and how much of it there is."""
    entries, names = study.manifest()["domains"], ", ".join(spelt(domain.name) for domain in study.domains)
    sizes = {name: entries[name]["num_bytes"] / 1e6 for name in study.texts}
    where = "read from files, as a mirror holds them"
    if study.profile.text.source == "docstrings":
        where = (
            "the documentation in the Python packages on this disk: docstrings, comments and READMEs, read as text and "
            "never executed"
        )
    size = span([sizes[domain.name] for domain in study.domains], decimals=1)
    return Markdown(
        f"The text is {where}. It has {counted(len(study.domains), 'domain')}: {names}, of {size} MB. "
        f"The **general** corpus ({sizes[GENERAL]:,.1f} MB) is what the base encoder is pretrained on; it stands for "
        "RoBERTa's own text."
    )


def tasks(study: Results) -> Markdown:
    """Say which tasks there are, how many texts and labels each has, and what they ask."""
    entries, profile = study.manifest()["tasks"], study.profile
    some = [entries[task.name] for task in study.tasks]
    classes = span([len(entry["labels"]) for entry in some])
    train, test = (span([entry["splits"][split]["num_examples"] for entry in some]) for split in ("train", "test"))
    told = "all of which carry labels"
    if profile.labels.primary:
        told = f"of which each replicate draws {profile.labels.primary:,} to carry labels in fine-tuning"
    asked = ""
    if profile.text.source == "docstrings":
        asked = (
            " **Topic** asks for the subpackage that the beginning of a docstring comes from, **area** for the field "
            "of the domain that another piece of a docstring belongs to."
        )
    names = ", ".join(task.display_name for task in study.tasks)
    return Markdown(
        f"{counted(len(some), 'task')} ({names}), of {classes} classes each. Each has {train} training texts, {told}, "
        f"and {test} test texts.{asked}"
    )


def arms(study: Results) -> DataFrame:
    """Tabulate what the notebook runs: columns arm, reads (after the base encoder), num_tasks, num_runs."""
    found: Counter[Arm] = Counter()
    for some_arms, some_tasks in study.design.groups(NOTEBOOKS[study.notebook]):
        found.update(dict.fromkeys(some_arms, len(some_tasks)))
    seeds, replicates_of = len(study.profile.seeds), study.design.replicates_of
    rows = [(arm.name, _reads(arm), num, num * seeds * len(replicates_of(arm))) for arm, num in found.items()]
    return DataFrame(rows, columns=["arm", "reads", "num_tasks", "num_runs"])


def _reads(arm: Arm) -> str:
    """Say what an arm reads between the base encoder and fine-tuning."""
    return "; then ".join(map(_read_in, arm.phases)).replace("; then then", "; then") or "nothing more"


def _read_in(phase: Phase) -> str:
    by = f", by {SELECTORS[phase.selector]}" if phase.selector else ""
    words = _KINDS.get(phase.kind, "{}").format(_ROLES[phase.text], k=phase.k, by=by)
    words += f", for {counted(phase.epochs, 'epoch')}" if phase.epochs else ""
    return words + {"all": "", "lora": ", by a low-rank update", "embeddings": ", the embeddings alone"}[phase.part]


def schedule(study: Results) -> Markdown:
    """Say how long TAPT trains, and which step is kept."""
    settings = study.profile.tapt
    length = measures.length(settings)
    kept = "The last step's encoder is kept."
    if settings.num_checks:
        stop = f", and training stops after {settings.patience} checks without a lower one" if settings.patience else ""
        kept = (
            f"At {settings.num_checks} evenly spaced **checks** the loss on the task's dev texts is measured; the "
            f"encoder with the least is kept{stop}."
        )
    curve = study.profile.tapt_curve
    epochs = counted(listing(curve.num_epochs), "epoch")
    fixed = f" On {', '.join(map(spelt, curve.tasks))} TAPT is run again for {epochs}."
    return Markdown(
        f"TAPT takes {length} at most, in batches of {settings.batch_size} sequences of {settings.sequence_length} "
        f"tokens. {kept}{fixed if curve.tasks and curve.num_epochs else ''}"
    )


def selection(study: Results) -> Markdown:
    """Say what neighbours are selected from, by which methods, and how many."""
    settings, tasks = study.profile.selection, study.design.augmented_tasks()
    names = "each task" if len(tasks) == len(study.tasks) > 1 else listing([spelt(task.name) for task in tasks])
    methods, middle = listing([SELECTORS[name] for name in settings.compared]), settings.compared_neighbours
    numbers, method = listing(sorted(settings.num_neighbours)), SELECTORS[settings.selector]
    compared = f" With {counted(middle, 'neighbour')} per text it is compared with {methods}."
    return Markdown(
        f"The domain's corpus is cut into candidates, each a {settings.granularity}. Each training text of "
        f"{names} takes its {numbers} nearest by {method}."
        f"{compared if settings.compared else ''}"
    )


def profiles() -> DataFrame:
    """Tabulate the profiles: columns profile, about (what the first lines of its file say of it)."""
    root = find_root()
    texts = {name: (root / "configs" / f"{name}.yaml").read_text(encoding="utf-8") for name in profile_names(root)}
    comments = {name: takewhile(lambda line: line.startswith("#"), text.splitlines()) for name, text in texts.items()}
    about = [" ".join(line.lstrip("# ") for line in lines) for lines in comments.values()]
    return DataFrame({"profile": list(texts), "about": about})


def differences(study: Results, *more: str) -> Markdown:
    """List what is done otherwise than in the paper: by the profile (in 01 alone), and by the notebook."""
    shared = _shared(study) if study.notebook == "01_domain_gap" else ["What all notebooks share: `01_domain_gap`."]
    return listed(*shared, *more, "All departures, with reasons: `docs/departures.md`.")


def _shared(study: Results) -> list[str]:
    profile, encoder = study.profile, study.profile.encoder
    size = "It is the encoder that the profile names"
    if encoder.name is None:
        size = f"Not RoBERTa, but an encoder of {counted(encoder.num_layers, 'layer')}, {encoder.hidden_size} wide, "
        size += f"pretrained from scratch here for {measures.length(profile.base)}"
    where = "Documentation of software" if profile.text.source == "docstrings" else "A mirror of the paper's text"
    lacking = study.missing_tasks()
    gap = f", without {', '.join(lacking)}" if lacking else ""
    labelled = profile.labels.primary
    given = [f"**Text and tasks.** {where}{gap}; {extent(study.domains, study.tasks)}."]
    given.append(f"**Encoder.** {size}.")
    if labelled:
        given.append(f"**Few labels.** {labelled:,} labelled texts per task; the paper uses all that there are.")
    full = profile.full_replicates or profile.replicates
    told = f", the first {full} with all arms, the others with those of claims alone"
    later = told if full < profile.replicates else ""
    seeds = counted(len(profile.seeds), "seed")
    given.append(
        f"**Replicates.** {profile.replicates} of the whole study, base encoder included, with {seeds} of fine-tuning "
        f"each{later}; the paper has one DAPT encoder a domain and five seeds. Intervals, corrections and verdicts are "
        "ours."
    )
    return given
