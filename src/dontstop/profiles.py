"""The settings schema, with the paper's values as defaults; profiles as overrides; paths from the root."""

import difflib
import math
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dontstop.errors import StudyError
from dontstop.inputs import checked_name, read_settings
from dontstop.studies import StudyText, parse_study, read_study
from dontstop.studies import with_whole_paths as with_whole_study

Count = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Settings(BaseModel):
    """A group of settings: unknown keys and wrong types are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class MaxExamples(Settings):
    """Examples taken from the splits that are given, at most; None takes all.

    Departure: the paper trains on all that Table 2 lists; a small encoder trained from scratch cannot on two cores.
    """

    train: Count | None = None
    dev: Count | None = None
    test: Count | None = None


class Text(Settings):
    """Where the text comes from and how it is divided."""

    source: Literal["docstrings", "files"] = "docstrings"
    study: StudyText = Field(exclude=True)  # a name of configs/studies, or its content; `docstrings`, else `paper`
    folder: str | None = None  # `files` only: a mirror, absolute or from the root; DONTSTOP_MIRROR goes before it
    follow_links: bool = False  # `files` only: whether symbolic links may lead out of the mirror; changes no text
    empty_rows: Literal["skip", "stop"] = "skip"  # `files` only, as the next three: rows without a text
    bad_rows: Literal["skip", "stop"] = "stop"  # rows that cannot be read
    max_line_megabytes: Count = 10  # of a line or text; what is longer is a bad row
    max_unpacked_ratio: Count = 200  # of a compressed file's content to its size; anything may unpack to 64 MB
    tasks: list[str] | None = None  # `files` only: which of the study's tasks; None means all
    may_lack: list[str] = []  # those of them that the study goes on without where the mirror lacks them
    max_examples: MaxExamples = MaxExamples()  # `files` only
    low_resource: dict[str, Count] = {}  # `files` only: training examples of a task, such as 500 for RCT-500
    split_seed: Seed = 0
    max_documents: Count | None = None  # of a corpus, by content hash; None takes all
    held_out_fraction: Fraction = 0.05
    num_train: Count = 500
    num_dev: Count = 500
    num_test: Count = 1000
    min_words: Count = 8  # of a document
    min_example_words: Count = 25  # `docstrings` only: of a task's text, so that it takes reading
    leak_containment: Fraction = 0.5  # share of a test or dev text's word 5-grams in one document that makes a leak
    near_duplicate_jaccard: Fraction = 0.8

    @model_validator(mode="before")
    @classmethod
    def _with_study(cls, content: Any) -> Any:
        """Put the study itself where its name or its content stands."""
        if not isinstance(content, dict):
            return content
        study = content.get("study", "paper" if content.get("source") == "files" else "docstrings")
        if isinstance(study, str):
            study = read_study(study, find_root())
        elif isinstance(study, dict):
            study = parse_study(study, "text.study")
        own = {"source": "files"} if isinstance(study, StudyText) and study.is_own else {}
        return content | {"study": study} | own


class Tokens(Settings):
    """The tokenizer: trained here, or a Transformers folder's own."""

    vocabulary_size: Count = 8192
    trained_on: Literal["general", "all"] = "general"  # the general corpus alone, or the domains' corpora too
    tokenizer: str | None = None  # a folder or hub name; None trains a byte-level BPE


class Encoder(Settings):
    """The encoder's architecture, pretrained from scratch unless `name` says which weights to load."""

    name: str | None = None
    hidden_size: Count = 128
    num_layers: Count = 2
    num_heads: Count = 2
    intermediate_size: Count = 192


class PhaseSettings(Settings):
    """One phase of masked-LM pretraining.

    Source: Table 13 of the paper (the step counts, Appendix B).
    """

    num_steps: Count | None = None
    num_epochs: Count | None = None
    batch_size: Count = 2048  # sequences a step
    num_shards: Count = 2  # micro-batches of a step; part of the identity, since it orders floating-point sums
    sequences_at_once: Count | None = None  # of a micro-batch, by gradient accumulation; None takes all
    sequence_length: Count = 512  # tokens
    learning_rate: Annotated[float, Field(gt=0)] = 5.0e-4
    warmup_fraction: Fraction = 0.06
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    adam_beta1: Fraction = 0.9
    adam_beta2: Fraction = 0.98
    adam_epsilon: Annotated[float, Field(gt=0)] = 1.0e-6
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    mlm_probability: Fraction = 0.15
    num_checks: Count | None = None  # of the loss on held-out text; the least one's encoder is kept, not the last
    patience: Count | None = None  # checks without a lesser loss before stopping; None trains to the end
    seed: Seed = 0  # of replicate 0; each further replicate's is one more

    @model_validator(mode="after")
    def _one_length(self):
        if (self.num_steps is None) == (self.num_epochs is None):
            raise ValueError("give exactly one of num_steps and num_epochs")
        if self.patience is not None and self.num_checks is None:
            raise ValueError("patience counts checks: give num_checks")
        return self


class TaptCurve(Settings):
    """The course of TAPT's gain: TAPT of fewer epochs, for some of the tasks.

    Departure: the paper trains for 100 epochs and shows no other number; the curve is this study's.
    """

    num_epochs: list[Count] = []  # each less than the epochs of `tapt`
    tasks: list[str] = []


Selector = Literal["vampire", "tfidf", "encoder", "sentence_transformer", "bm25", "dsir"]


class Vampire(Settings):
    """The bag-of-words variational autoencoder that embeds texts for their neighbours.

    Source: Gururangan et al. (2019); the values, from the configuration that the authors' DATA_SELECTION.md names.
    """

    vocabulary_size: Count = 30_000  # the most frequent words, stop words left out
    min_documents: Count = 3  # texts that a word must stand in
    weighting: Literal["tfidf", "counts"] = "tfidf"
    num_topics: Count = 81
    dropout: Fraction = 0.49  # of the latent vector
    batch_size: Count = 512
    learning_rate: Annotated[float, Field(gt=0)] = 1.0e-3
    num_epochs: Count = 50
    patience: Count = 5  # epochs without better NPMI before stopping
    kl_warmup_epochs: Count = 1000  # over which the divergence's weight grows from 0 to 1
    embedding: Literal["mean", "shipped"] = "mean"  # of topics and hidden layers; or as the authors' code computed it
    max_texts: Count = 1_000_000  # of the domain, to train on


class Selection(Settings):
    """Which text of the domain is added to a task's own (paper, section 5).

    Source: section 5.2 (neighbours of 50, 150 and 500 a text, VAMPIRE, sentences) and 5.1 (curated text).
    """

    tasks: list[str] | None = None  # the tasks whose text is augmented; None takes all
    granularity: Literal["sentence", "passage", "document"] = "sentence"
    min_words: Count = 5  # of a candidate
    num_neighbours: Annotated[list[Count], Field(min_length=1)] = [50, 150, 500]  # of each training text
    selector: Selector = "vampire"  # of all numbers of neighbours; any but dsir
    compared: list[Selector] = []  # other selectors, each run with the middle number of neighbours
    max_curated_texts: Count | None = None
    num_dimensions: Count = 100  # of tf-idf with truncated SVD
    sentence_transformer: str | None = None  # a folder or hub name, for the selector of that name
    vampire: Vampire = Vampire()
    seed: Seed = 0

    @property
    def selectors(self) -> list[str]:
        """The selector of the main arms, then those compared with it."""
        return [self.selector, *self.compared]

    @property
    def compared_neighbours(self) -> int:
        """The number of neighbours at which selectors are compared: the middle one."""
        return sorted(self.num_neighbours)[len(self.num_neighbours) // 2]

    @model_validator(mode="after")
    def _each_once(self):
        for name, values in (("num_neighbours", self.num_neighbours), ("selector and compared", self.selectors)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} must differ from one another, got {values}")
        if self.selector == "dsir":
            raise ValueError(
                "dsir draws as much as the main selector finds: name it under compared, beside another one"
            )
        if "sentence_transformer" in self.selectors and self.sentence_transformer is None:
            raise ValueError("the selector sentence_transformer needs a folder or hub name under that setting")
        return self


CheapArm = Literal["lora_dapt", "lora_tapt", "embedding_tapt"]


class CheapAdaptation(Settings):
    """DAPT and TAPT that train few of an encoder's parameters: a low-rank adapter (LoRA), or the embeddings alone.

    Departure: the paper trains all of them. Whether less does, above all for domains far from the base's text, decides
    what adaptation costs those who cannot afford it. All else is as in the phase that trains everything.
    """

    arms: list[CheapArm] = []
    tasks: list[str] | None = None  # None takes all
    lora_rank: Count = 8  # of an adapter, as Hu et al. (2021) call it
    lora_alpha: Count = 16  # over the rank, the scale of an adapter's product
    lora_rate_factor: Annotated[float, Field(gt=0)] = 10.0  # of the learning rate of the phase that trains everything


class Finetune(Settings):
    """Fine-tuning of a classifier.

    Source: Table 14 of the paper; the optimizer's values, from the authors' training_config/classifier.jsonnet.
    """

    num_epochs: Count = 10
    patience: Count | None = 3  # epochs without a better dev score before stopping; None trains all, keeps the last
    batch_size: Count = 16
    learning_rate: Annotated[float, Field(gt=0)] = 2.0e-5
    head_rate_factor: Annotated[float, Field(gt=0)] = 1.0  # the head's learning rate, over the body's
    dropout: Fraction = 0.1
    max_length: Count = 512  # tokens
    pooling: Literal["first", "mean"] = "first"
    schedule: Literal["constant", "linear"] = "constant"  # after the warm-up
    warmup_fraction: Fraction = 0.06
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    adam_beta1: Fraction = 0.9
    adam_beta2: Fraction = 0.98
    adam_epsilon: Annotated[float, Field(gt=0)] = 1.0e-6
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0


class Labels(Settings):
    """How many of a task's training texts carry labels in fine-tuning; all of them are its unlabelled text.

    Departure: the paper fine-tunes on all that a task has, and shows no other number.
    """

    primary: Count | None = None  # what claims are judged at; None takes all
    curve: list[Count] = []  # other numbers: gain against the number of labels

    @model_validator(mode="after")
    def _differ(self):
        if self.primary in self.curve or len(set(self.curve)) != len(self.curve):
            raise ValueError(f"labels must differ from one another, got {self.primary} and {self.curve}")
        return self


class Forgetting(Settings):
    """Two arms against forgetting: DAPT with some general text in every batch, and the mean of two encoders' weights.

    Departure: the paper has neither.
    """

    arms: list[Literal["replay_dapt", "average_dapt"]] = []
    replayed_share: Fraction = 0.1  # of a batch's sequences


class DomainGap(Settings):
    """Distances between text samples (paper, section 3.1)."""

    num_words: Count = 10_000
    num_documents: Count = 50_000  # of a corpus, as in the paper, if it has so many
    num_resamples: Count = 1000
    num_classifier_documents: Count = 1000
    seed: Seed = 0


class Advice(Settings):
    """What `dontstop advise` may spend."""

    minutes: Annotated[float, Field(gt=0)] = 60.0  # of this machine's time, for all arms and replicates


class Cluster(Settings):
    """A cluster to carry jobs out on, through submitit, in place of this machine's own processes."""

    kind: Literal["slurm", "local"] = "slurm"  # local: submitit's own executor, to try a study out
    parallel: Count = 64  # jobs at a time
    cpus: Count = 2  # of a job; a checkpoint is trained by as many processes, a run by one
    gpus: Annotated[int, Field(ge=0)] | None = None
    memory_gb: Count = 8
    minutes: Annotated[int, Field(ge=15)] = 240  # then queued again; of less, submitit takes any interruption for that
    requeues: Count = 10  # of a job that ran into its time limit
    partition: str | None = None
    setup: list[str] = []  # shell lines before each job, to activate an environment, say
    more: dict[str, Any] = {}  # any other of sbatch's options, such as account or qos


class Speed(Settings):
    """What changes how fast a result comes, never the result; no part of any fingerprint."""

    num_workers: Count | None = None  # None: one a core; on a GPU, one pretraining or four runs at once
    cluster: Cluster | None = None
    progress_seconds: Annotated[float, Field(gt=0)] = 5.0
    steps_between_saves: Count = 100


class Profile(Settings):
    """Everything that one study is run with."""

    name: str
    text: Text = Field(default_factory=Text)
    tokens: Tokens = Tokens()
    encoder: Encoder = Encoder()
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto takes a GPU where there is one
    compiled: bool = False  # the layers in pretraining, by torch.compile, which rounds, and draws dropout, otherwise
    released: str | None = None  # a folder with encoders that others have trained, each under a checkpoint's name
    base: PhaseSettings | None = PhaseSettings(num_steps=12_500)
    dapt: PhaseSettings = PhaseSettings(num_steps=12_500)
    tapt: PhaseSettings = PhaseSettings(num_epochs=100, batch_size=256, learning_rate=1.0e-4)
    tapt_curve: TaptCurve = TaptCurve()
    # At the larger batch, by Table 9's steps; None: as TAPT, so that all text read in its place has one schedule.
    augmented_tapt: PhaseSettings | None = PhaseSettings(num_epochs=100)
    selection: Selection = Selection()
    cheap_adaptation: CheapAdaptation = CheapAdaptation()
    finetune: Finetune = Finetune()
    domain_gap: DomainGap = DomainGap()
    forgetting: Forgetting = Forgetting()
    labels: Labels = Labels()
    arms: list[str] | None = None  # which of those without selected text are run; None: all that have text
    replicates: Count = 1  # of the whole study, each with its own base encoder, text drawn at random and labelled texts
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0, 1, 2, 3, 4]  # of fine-tuning, in each replicate
    task_finetune: dict[str, dict[str, Any]] = {}  # overrides of `finetune` for one task, by its id
    task_tapt: dict[str, dict[str, Any]] = {}  # and of `tapt`
    advice: Advice = Advice()
    speed: Speed = Speed()

    def finetune_for(self, task: str) -> Finetune:
        """Return the fine-tuning settings of one task: the profile's, overridden by the task's own."""
        return Finetune.model_validate({**self.finetune.model_dump(), **self.task_finetune.get(task, {})})

    def tapt_for(self, task: str) -> PhaseSettings:
        """Return TAPT's settings of one task: the profile's, overridden by the task's own."""
        return PhaseSettings.model_validate({**self.tapt.model_dump(), **self.task_tapt.get(task, {})})

    @model_validator(mode="after")
    def _groups_agree(self):
        longest = self.tapt.num_epochs or math.inf
        if any(epochs >= longest for epochs in self.tapt_curve.num_epochs):
            raise ValueError(f"tapt_curve.num_epochs must lie below tapt.num_epochs, {longest}")
        for task in self.task_finetune | self.task_tapt:
            self.finetune_for(task)
            self.tapt_for(task)
        if self.base is None and self.encoder.name is None:
            raise ValueError("without a base phase there must be an encoder to begin with: give encoder.name")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ from one another, got {self.seeds}")
        return self


def find_root() -> Path:
    """Return the root of the study that one works in.

    DONTSTOP_ROOT if set; else the nearest checkout of this project around the working directory (a git worktree, a
    copy that DVC has made); else the checkout that this package stands in.
    """
    if named := os.environ.get("DONTSTOP_ROOT"):
        return Path(named).resolve()
    around = (folder for folder in (Path.cwd(), *Path.cwd().parents) if _is_root(folder))
    return next(around, Path(__file__).resolve().parents[2]).resolve()


def _is_root(folder: Path) -> bool:
    if not (folder / "pyproject.toml").is_file() or not (folder / "configs").is_dir():
        return False
    try:
        about = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False
    return about.get("project", {}).get("name") == "dontstop"


class Paths:
    """Where a profile's files stand, all below the root."""

    def __init__(self, profile: str, root: Path | None = None):
        self.root = root or find_root()
        kept = ("data", "checkpoints", "selected", "results")
        self.data, self.checkpoints, self.selected, self.results = (self.root / name / profile for name in kept)
        self.work = self.root / "work"
        self.lock = self.work / f"{profile}.lock"

    def corpus(self, domain: str) -> Path:
        """Pretraining text of a domain, or of `general`."""
        return self.data / "corpora" / f"{domain}.jsonl"

    def held_out(self, domain: str) -> Path:
        """Text of a domain on which masked-LM loss and distances are measured, in no pretraining corpus."""
        return self.data / "held_out" / f"{domain}.jsonl"

    def split(self, task: str, split: str) -> Path:
        """Labelled examples of a task's train, dev or test split."""
        return self.data / "tasks" / task / f"{split}.jsonl"

    def unlabelled(self, task: str) -> Path:
        """Unlabelled text of a task's own source, for curated TAPT; there may be none."""
        return self.data / "tasks" / task / "unlabelled.jsonl"

    def tokenizer(self) -> Path:
        """The tokenizer's folder."""
        return self.data / "tokenizer"

    def tokens(self, kind: str, name: str) -> Path:
        """Folder of a token store: kind is `corpora`, `held_out` or `tasks/<task>`."""
        return self.data / "tokens" / kind / name

    def store(self, name: str) -> Path:
        """Folder of a token store by its whole name: `corpora/general`, `selected/imdb/knn_tapt_50`."""
        kind, _, rest = name.partition("/")
        return self.selected / rest if kind == "selected" else self.data / "tokens" / name


def profile_names(root: Path | None = None) -> list[str]:
    """List the profiles in configs/, sorted; what has a dot in its name is an example to begin with."""
    found = sorted(path.stem for path in ((root or find_root()) / "configs").glob("*.yaml"))
    return [name for name in found if "." not in name]


def load_profile(name: str, root: Path | None = None) -> Profile:
    """Read a profile and check every key, type and bound.

    Args:
        name: Of configs/<name>.yaml, or the path of another YAML file.

    Raises:
        StudyError: With the path of the setting, what stands there and what is expected.
    """
    root = root or find_root()
    path = _profile_path(name, root)
    content = _read_with_like(path, root)
    profile = _with_mirror(parse_profile({**content, "name": path.stem}, str(path)))
    # Paths in a file elsewhere begin at its own folder.
    folder = root if path.parent == root / "configs" else path.parent
    return _with_own_folder(with_whole_paths(profile, folder), root)


def _profile_path(name: str, root: Path) -> Path:
    if str(name).endswith((".yaml", ".yml")):
        path = Path(name).expanduser().absolute()
        checked_name("profile", path.stem)
        if not path.is_file():
            raise StudyError(f"no file {path}", "a profile, such as configs/own.example.yaml", "mend the path")
        return path
    path = root / "configs" / f"{checked_name('profile', name)}.yaml"
    if not path.is_file():
        names = profile_names(root)
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}? or write" if close else "name one of them, or write"
        raise StudyError(f"profile {name!r}", f"one of {', '.join(names)}", f"{hint} configs/{name}.yaml")
    return path


def _read_with_like(path: Path, root: Path, within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a profile's settings; those that it does not give are, if it says `like: <name>`, another profile's."""
    content = read_settings(path)
    if content.get("name", path.stem) != path.stem:
        found = f"name = {content['name']!r} in {path}"
        raise StudyError(found, f"the file's own name, {path.stem!r}", "leave `name` out")
    if (other := content.pop("like", None)) is None:
        return content
    if path in within:
        raise StudyError(f"like = {other!r} in {path}, which comes back to it", "an end", "leave one `like` out")
    like = _read_with_like(_profile_path(other, root), root, (*within, path))
    return like | {group: _over(like.get(group), values) for group, values in content.items()}


def _over(like: Any, values: Any) -> Any:
    """Put a group's settings over those that it is like; the study, and the length of a phase, whole."""
    if not isinstance(like, dict) or not isinstance(values, dict):
        return values
    lengths = {"num_steps", "num_epochs"}
    kept = {key: value for key, value in like.items() if key not in lengths or not lengths & set(values)}
    return kept | values


def _with_own_folder(profile: Profile, root: Path) -> Profile:
    """Name the folder that a study's own files are gathered in."""
    folder = root / "work" / "own" / profile.name
    update = {"folder": str(folder)} if profile.text.study.is_own else {}
    return profile.model_copy(update={"text": profile.text.model_copy(update=update)})


def _with_mirror(profile: Profile) -> Profile:
    """Take the mirror that the environment names, where the profile's text comes from files."""
    mirror = os.environ.get("DONTSTOP_MIRROR")
    folder = {"folder": mirror} if mirror and profile.text.source == "files" else {}
    return profile.model_copy(update={"text": profile.text.model_copy(update=folder)})


def with_replicates(profile: Profile, number: int | None = None) -> Profile:
    """Set how many replicates there are: `number`, else DONTSTOP_REPLICATES, else as the profile has it.

    Raises:
        StudyError: If the variable holds no number of replicates.
    """
    named = os.environ.get("DONTSTOP_REPLICATES")
    if number is None and named:
        if not named.isdecimal() or len(named) > 6 or int(named) == 0:
            raise StudyError(f"DONTSTOP_REPLICATES = {named!r}", "a number from 1", "mend it, or unset it")
        number = int(named)
    return profile if number is None else profile.model_copy(update={"replicates": number})


def with_whole_paths(profile: Profile, root: Path) -> Profile:
    """Resolve all paths of a profile alike: `~` is the user's home, relative ones begin at the root.

    A name on the hub, which is no folder there, stays as it is, unless encoders/ has a folder of that name.
    """

    def whole(name: str | None, or_on_the_hub: bool = True) -> str | None:
        path = root / Path(name or "").expanduser()
        if or_on_the_hub and name is not None and not path.exists() and (here := root / "encoders" / name).is_dir():
            return str(here)
        is_path = name is not None and (path.exists() or not or_on_the_hub or name.startswith((".", "~")))
        return str(path) if is_path else name

    changed = {
        "encoder": {"name": whole(profile.encoder.name)},
        "tokens": {"tokenizer": whole(profile.tokens.tokenizer)},
        "selection": {"sentence_transformer": whole(profile.selection.sentence_transformer)},
        "text": {"folder": whole(profile.text.folder, or_on_the_hub=False)}
        | {"study": with_whole_study(profile.text.study, root)},
    }
    groups = {group: getattr(profile, group).model_copy(update=values) for group, values in changed.items()}
    return profile.model_copy(update=groups | {"released": whole(profile.released, or_on_the_hub=False)})


def parse_profile(content: dict, where: str) -> Profile:
    """Check a mapping of settings against the schema; `where` names it in errors."""
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        raise StudyError(*_explain(error, where)) from error


def _explain(error: ValidationError, where: str) -> tuple[str, str, str]:
    first, *others = error.errors()
    setting = ".".join(str(part) for part in first["loc"]) or "the profile as a whole"
    more = f" (and {len(others)} more)" if others else ""
    if first["type"] == "extra_forbidden":
        known = _known_settings(first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        remedy = f"write {close[0]!r} instead" if close else f"use one of {', '.join(known)}"
        return f"unknown setting {setting} in {where}{more}", "a setting that the schema knows", remedy
    value = first["input"] if not isinstance(first["input"], dict) else "a mapping"
    advice = "change the value"
    if isinstance(value, str) and first["type"] in ("float_type", "int_type"):
        advice = f"write a number: YAML reads {value!r} as text (5e-4 as well; write 5.0e-4)"
    return f"{setting} = {value!r} in {where}{more}", first["msg"][0].lower() + first["msg"][1:], advice


def _known_settings(location: tuple) -> list[str]:
    model = Profile
    for part in location:
        kind = model.model_fields[part].annotation if part in model.model_fields else None
        nested = [c for c in (kind, *get_args(kind)) if isinstance(c, type) and issubclass(c, Settings)]
        if not nested:
            break
        model = nested[0]
    return sorted(model.model_fields)
