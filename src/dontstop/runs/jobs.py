"""The study's jobs: pretrain a checkpoint, fine-tune a cell, measure a loss; what each is identified by."""

import functools
import importlib.metadata
import json
import time
from pathlib import Path

import numpy as np

from dontstop import TRAINING_VERSION
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.processes import num_cores
from dontstop.machine.randomness import seed_of
from dontstop.machine.runner import Job
from dontstop.profiles import Paths, Phase, Profile
from dontstop.runs import arms
from dontstop.runs.arms import Cell, Checkpoint, is_augmented, is_tapt
from dontstop.runs.records import encode_predictions
from dontstop.text.tasks import GENERAL, SPLITS
from dontstop.tokens import tokens
from dontstop.training import adaptation, crews, encoders, finetune, mlm

CURVE_POINTS = 100
PROCESSES_ON_A_GPU = 4  # cells that keep one busy; of RoBERTa-base at length 512 they need some 30 GB together
TRAINING_FILE = "training.json"  # written last, so a folder that holds it is whole


def _untold(done: int, total: int) -> None:
    """Take note of no progress."""


class Identity:
    """Fingerprints of a profile's checkpoints, cells and losses: settings, input digests, parents, code version.

    What only changes speed is no part of them. Equal fingerprints mean equal results, so finished work is found again
    whichever command asks for it, and a changed setting never meets work done under the old one.
    """

    def __init__(self, profile: Profile, paths: Paths):
        self.profile, self.paths = profile, paths
        manifest = result_of_prepare(paths.data / "tokens" / "manifest.json")
        self._stores = dict(manifest["stores"])
        if (selected := paths.selected / "manifest.json").is_file():
            self._stores |= load_result(selected)["stores"]
        self._splits = result_of_prepare(paths.data / "manifest.json")["tasks"]
        self.device = encoders.resolve_device(profile.device)
        self.precision = encoders.resolve_precision(profile.precision, self.device)
        self._common = {
            "training_version": TRAINING_VERSION,
            "torch": importlib.metadata.version("torch").split("+")[0],
            "precision": self.precision,
            "tokenizer": manifest["tokenizer"],
        }
        if self.device != "cpu":
            self._common["device"] = self.device
        if profile.compiled:
            self._common["compiled"] = True
        self._weights = _weights_in(Path(profile.encoder.name or ""))

    def store(self, name: str) -> dict:
        """Return a token store's entry in the manifests of prepared and selected text: digest and counts."""
        return self._stores[name]

    def settings(self, checkpoint: Checkpoint) -> Phase:
        """Return the settings of a checkpoint's last phase."""
        return self.profile.phase(*(checkpoint.phases[-1] if checkpoint.phases else ("base", GENERAL)))

    @functools.cache  # noqa: B019 (an Identity lives as long as its study)
    def checkpoint(self, checkpoint: Checkpoint) -> str:
        """Return a checkpoint's fingerprint."""
        if (folder := released_folder(self.profile, self.paths, checkpoint)) is not None:
            given = {"released": checkpoint.name, **_weights_in(folder)}
            return files.fingerprint(
                {**self._common, **given, "held_out": self.store(held_out_of(checkpoint))["sha256"]}
            )
        settings = self.settings(checkpoint)
        part = arms.trained_part(checkpoint.phases[-1][0] if checkpoint.phases else "base")
        return files.fingerprint(
            {
                **self._common,
                **adaptation.identifying(part, self.profile.cheap_adaptation),
                "encoder": self.profile.encoder.model_dump() | self._weights,
                "phase": None if settings is None else _dumped(settings),
                "stream": checkpoint.name,
                "text": self.store(text_of(checkpoint))["sha256"],
                "held_out": self.store(held_out_of(checkpoint))["sha256"],
                "parent": None if checkpoint.parent is None else self.checkpoint(checkpoint.parent),
            }
        )

    def cell(self, cell: Cell) -> str:
        """Return a cell's fingerprint; arms that share a checkpoint share the cell."""
        return files.fingerprint(
            {
                **self._common,
                "task": cell.task.name,
                "metric": cell.task.metric,
                "splits": {split: self._splits[cell.task.name]["splits"][split]["sha256"] for split in SPLITS},
                "finetune": self.profile.finetune_for(cell.task.name).model_dump(),
                "seed": cell.seed,
                "checkpoint": self.checkpoint(cell.checkpoint),
            }
        )

    def loss(self, checkpoint: Checkpoint, store: str) -> str:
        """Return the fingerprint of an encoder's masked-LM loss on a token store (`held_out/general`)."""
        text = self.store(store)["sha256"]
        settings = loss_settings(self.profile).model_dump(include=LOSS_SETTINGS)
        return files.fingerprint(
            {**self._common, "checkpoint": self.checkpoint(checkpoint), "text": text, "settings": settings}
        )

    def labels(self, task: str) -> list[str]:
        """Return a task's labels, in the order of their ids."""
        return self._splits[task]["labels"]


def _weights_in(folder: Path) -> dict[str, str]:
    """Return the digest of an encoder folder's weights, since a folder may change its content under its name."""
    weights = folder / "model.safetensors"
    return {"sha256": files.digest(weights)} if weights.is_file() else {}


def _dumped(settings: Phase) -> dict:
    """Return a phase's settings as they are identified by.

    A shard that passes through the encoder as a whole is not mentioned: it always did, before it could be otherwise.
    """
    return settings.model_dump(exclude={"sequences_at_once"} if settings.sequences_at_once is None else None)


def released_folder(profile: Profile, paths: Paths, checkpoint: Checkpoint) -> Path | None:
    """Return the folder of a checkpoint that others have trained, where the profile names such and it is among them.

    Not for TAPT on a task that the profile takes a few examples of: the others' has read all of its texts.
    """
    if profile.released is None or not checkpoint.phases:
        return None
    if any(is_tapt(kind) and text in profile.text.low_resource for kind, text in checkpoint.phases):
        return None
    folder = paths.root / profile.released / checkpoint.name
    return folder if folder.is_dir() else None


LOSS_SETTINGS = {"sequence_length", "mlm_probability", "seed"}  # what a phase's held-out loss depends on


def result_of_prepare(path: Path) -> dict:
    """Read a manifest of prepared text.

    Raises:
        StudyError: If it is not there.
    """
    if not path.is_file():
        raise StudyError(f"no {path}", "text that has been prepared", "run `dontstop prepare --profile <name>` first")
    return load_result(path)


def text_of(checkpoint: Checkpoint) -> str:
    """Name the token store that a checkpoint's last phase trains on: a corpus, or a task's texts, enlarged or not.

    Departure: the paper's TAPT reads one text a sequence; here a task's texts are packed like those of a corpus, so
    that short ones leave no padding, and shuffled by sequence.
    """
    kind, text = checkpoint.phases[-1] if checkpoint.phases else ("base", GENERAL)
    if is_augmented(kind):
        return f"selected/{text}/{kind}"
    return f"tasks/{text}/train" if is_tapt(kind) else f"corpora/{text}"


def held_out_of(checkpoint: Checkpoint) -> str:
    """Name the store that shows a checkpoint's loss before and after: a held-out sample, or a task's dev texts."""
    kind, text = checkpoint.phases[-1] if checkpoint.phases else ("base", GENERAL)
    return dev_store(text) if is_tapt(kind) or is_augmented(kind) else held_out_store(text)


def held_out_store(text: str) -> str:
    """Name the token store of a domain's (or the general text's) held-out sample."""
    return f"held_out/{text}"


def dev_store(task: str) -> str:
    """Name the token store of a task's dev texts."""
    return f"tasks/{task}/dev"


def loss_settings(profile: Profile) -> Phase:
    """Return the settings that held-out masked-LM loss is measured with: DAPT's length and mask probability."""
    return profile.dapt


def checkpoint_job(profile: Profile, paths: Paths, identity: Identity, checkpoint: Checkpoint) -> Job:
    """Make the job that pretrains one checkpoint from its parent."""
    settings, key = identity.settings(checkpoint), identity.checkpoint(checkpoint)
    size, given = 1.0, released_folder(profile, paths, checkpoint)
    if settings is not None and given is None:
        _check_text(identity, text_of(checkpoint), settings.sequence_length)
        _check_text(identity, held_out_of(checkpoint), settings.sequence_length)
        per_epoch = identity.store(text_of(checkpoint))["num_tokens"]
        steps = settings.num_steps or settings.num_epochs * per_epoch / settings.batch_size / settings.sequence_length
        size = steps * settings.batch_size * settings.sequence_length
    if settings is None or given is not None:
        arguments = (profile, paths, checkpoint, key, identity.precision)
        return Job(key, checkpoint.name, "checkpoint", size, _take, arguments)
    parent = checkpoint.parent
    return Job(
        key,
        checkpoint.name,
        "checkpoint",
        size,
        pretrain,
        (profile, paths, checkpoint, key, None if parent is None else identity.checkpoint(parent), identity.precision),
        frozenset() if parent is None else frozenset([identity.checkpoint(parent)]),
        divisible=True,
        alone=identity.device != "cpu",
    )


def cell_job(profile: Profile, paths: Paths, identity: Identity, cell: Cell) -> Job:
    """Make the job that fine-tunes one cell."""
    encoder, settings = identity.checkpoint(cell.checkpoint), profile.finetune_for(cell.task.name)
    key = identity.cell(cell)
    return Job(
        key,
        f"{cell.task.name} {cell.arm} seed {cell.seed}",
        "run",
        float(settings.num_epochs * identity.store(f"tasks/{cell.task.name}/train")["num_tokens"]),
        _finetune,
        (profile, paths, cell, key, encoder, identity.labels(cell.task.name), identity.precision),
        frozenset([encoder]),
    )


def loss_job(profile: Profile, paths: Paths, identity: Identity, checkpoint: Checkpoint, store: str) -> Job:
    """Make the job that measures one encoder's masked-LM loss on one token store, of text it was not trained on."""
    encoder, key = identity.checkpoint(checkpoint), identity.loss(checkpoint, store)
    _check_text(identity, store, loss_settings(profile).sequence_length)
    return Job(
        key,
        f"{checkpoint.name} on {store}",
        "loss",
        identity.store(store)["num_tokens"] / 3.0,
        _measure,
        (profile, paths, checkpoint.name, store, key, encoder, identity.precision),
        frozenset([encoder]),
    )


def _check_text(identity: Identity, name: str, length: int) -> None:
    num_tokens = identity.store(name)["num_tokens"]
    if num_tokens < length:
        raise StudyError(
            f"{num_tokens} tokens of text in {name}",
            f"at least one sequence of {length} tokens",
            "give it more text, or lower sequence_length",
        )


def num_processes(profile: Profile) -> int | None:
    """Return how many jobs may run at once, or None: one a core."""
    on_gpu = encoders.resolve_device(profile.device) != "cpu"
    return profile.speed.num_workers or (min(PROCESSES_ON_A_GPU, num_cores()) if on_gpu else None)


def scratch(paths: Paths, key: str) -> Path:
    """Return the scratch folder of a checkpoint's fingerprint."""
    return paths.work / key[:2] / key


def result_path(paths: Paths, key: str) -> Path:
    """Return the scratch file of a cell's or a loss's fingerprint."""
    return paths.work / "results" / f"{key}.json"


def load_result(path: Path) -> dict:
    """Read what a job wrote.

    Raises:
        StudyError: If the file is damaged.
    """
    try:
        return files.read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is damaged: {error}", "a whole file", f"delete {path} and run again") from error


def load_start(profile: Profile, paths: Paths, parent: str | None):
    """Load the encoder that a phase starts from: its parent's, the one that the profile names, or a new one."""
    if parent is not None:
        return encoders.load_encoder(scratch(paths, parent) / "encoder")
    if profile.encoder.name is not None:
        return encoders.load_given_encoder(profile.encoder.name, seed=seed_of("encoder", "head"))[0]
    tokenizer = tokens.load_tokenizer(paths.tokenizer())
    longest = max(profile.finetune.max_length, profile.dapt.sequence_length, profile.base.sequence_length)
    seed = seed_of("encoder", profile.base.seed)
    return encoders.build_encoder(profile.encoder, tokenizer, max_length=longest, seed=seed)


def _take(profile, paths, checkpoint, key, precision) -> None:
    """Take an encoder that others have trained as a checkpoint, and measure its loss as after any phase."""
    given = released_folder(profile, paths, checkpoint) or profile.encoder.name
    named = f"{Path(profile.released).name}/{checkpoint.name}" if checkpoint.phases else Path(given).name
    model, lacking = encoders.load_given_encoder(str(given), seed=seed_of("encoder", "head"))
    tokenizer = tokens.load_tokenizer(paths.tokenizer())
    if len(tokenizer) > (known := model.get_input_embeddings().num_embeddings):
        raise StudyError(
            f"{len(tokenizer):,} word pieces in the tokenizer, {known:,} in {given}",
            "an encoder with the tokenizer that it was trained with",
            "set tokens.tokenizer to the encoder's own, or name another encoder",
        )
    settings = profile.phase(*checkpoint.phases[-1]) if checkpoint.phases else loss_settings(profile)
    model.to(encoders.resolve_device(profile.device))
    after = _held_out_loss(paths, checkpoint, model, tokenizer, settings, precision)
    training = {"checkpoint": checkpoint.name, "phases": checkpoint.phases, "fingerprint": key, "precision": precision}
    training |= {"num_steps": 0, "num_tokens": 0, "wall_seconds": 0.0, "num_processes": 1}
    training |= {"loss_before": None, "loss_after": after, "curve": []}
    training |= {"taken_from": named, "begun_at_random": lacking}
    _finish(paths, key, model, tokenizer, training)


def pretrain(
    profile, paths, checkpoint, key, parent, precision, *, num_processes=1, distributed=None, progress=_untold
) -> None:
    """Pretrain one checkpoint from its parent, and put it into the scratch folder of its fingerprint.

    Args:
        distributed: The device of this process, where torchrun's processes do it together; the first one writes.
    """
    kind, text = checkpoint.phases[-1] if checkpoint.phases else ("base", GENERAL)
    settings, part = profile.phase(kind, text), arms.trained_part(kind)
    tokenizer = tokens.load_tokenizer(paths.tokenizer())
    device = distributed or encoders.resolve_device(profile.device)
    num_processes = num_processes if device == "cpu" and not profile.compiled else 1
    load = functools.partial(load_start, profile, paths, parent)
    before = _held_out_loss(paths, checkpoint, load().to(device), tokenizer, settings, precision)
    if part != "all":
        seed = seed_of("adapter", settings.seed, checkpoint.name)
        load = functools.partial(adaptation.load_partly_trained, load, part, profile.cheap_adaptation, seed=seed)
    store = tokens.load_token_store(paths.store(text_of(checkpoint)))
    batches = mlm.Batches(store, mlm.Vocabulary.of(tokenizer), settings, checkpoint.name)
    state = scratch(paths, key) / "state.safetensors"
    model, curve = mlm.train(
        load,
        batches,
        state,
        precision=precision,
        device=device,
        compiled=profile.compiled,
        num_processes=num_processes,
        distributed=distributed is not None,
        steps_between_saves=profile.speed.steps_between_saves,
        progress=progress,
    )
    if distributed is not None and not crews.leads():
        return
    training = {"checkpoint": checkpoint.name, "phases": checkpoint.phases, "fingerprint": key, "precision": precision}
    if part != "all":
        training["num_trained"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
        model = adaptation.merge(model)
    num_tokens = len(curve.losses) * settings.batch_size * settings.sequence_length
    training |= {"num_steps": len(curve.losses), "num_tokens": num_tokens, "wall_seconds": curve.wall_seconds}
    after = _held_out_loss(paths, checkpoint, model, tokenizer, settings, precision)
    training |= {"num_processes": num_processes, "loss_before": before, "loss_after": after}
    training["curve"] = curve_rows(curve.losses, settings)
    _finish(paths, key, model, tokenizer, training)
    state.unlink(missing_ok=True)


def _held_out_loss(paths, checkpoint, model, tokenizer, settings: Phase, precision: str) -> float:
    store, vocabulary = tokens.load_token_store(paths.store(held_out_of(checkpoint))), mlm.Vocabulary.of(tokenizer)
    return mlm.held_out_loss(model, store, vocabulary, settings, precision=precision, seed=settings.seed)[0]


def _finish(paths, key, model, tokenizer, training: dict) -> None:
    with tokens.saving_folder(scratch(paths, key) / "encoder") as part:
        encoders.save_encoder(model, tokenizer, part)
    files.write_json(scratch(paths, key) / TRAINING_FILE, training)


def curve_rows(losses: np.ndarray, settings: Phase) -> list[dict]:
    """Thin a loss curve out to about a hundred points, each the mean of the steps since the last.

    Args:
        losses: (num_steps,) nats a masked token.
    """
    from dontstop.training.optimizers import learning_rate

    rows, num_steps = [], len(losses)
    for part in np.array_split(np.arange(num_steps), min(CURVE_POINTS, num_steps)):
        step = int(part[-1])
        rate = learning_rate(step, num_steps, settings.learning_rate, settings.warmup_fraction)
        row = {"step": step + 1, "num_tokens": (step + 1) * settings.batch_size * settings.sequence_length}
        rows.append(row | {"learning_rate": rate, "masked_lm_loss": float(losses[part].mean())})
    return rows


@functools.lru_cache(maxsize=32)
def _examples(paths: Paths, task: str, labels: tuple[str, ...], split: str, max_length: int) -> finetune.Examples:
    store = tokens.load_token_store(paths.tokens(f"tasks/{task}", split))
    ids = {label: index for index, label in enumerate(labels)}
    rows = files.read_jsonl(paths.split(task, split))
    if len(rows) != len(store):
        raise StudyError(
            f"{len(rows)} texts and {len(store)} tokenised ones in {task}'s {split} split",
            "files made by one run of prepare",
            f"delete {paths.data} and give the same command again",
        )
    return finetune.Examples(tokens.cut(store, max_length), np.array([ids[row["label"]] for row in rows]))


def _finetune(profile, paths, cell, key, encoder, labels, precision) -> None:
    begin = time.perf_counter()
    settings, task = profile.finetune_for(cell.task.name), cell.task
    splits = [_examples(paths, task.name, tuple(labels), split, settings.max_length) for split in SPLITS]
    seed = seed_of("head", cell.seed, task.name)
    folder = scratch(paths, encoder) / "encoder"
    classifier = finetune.load_classifier(folder, len(labels), settings, seed=seed)
    classifier.to(encoders.resolve_device(profile.device))
    outcome = finetune.finetune(
        classifier,
        *splits,
        len(labels),
        settings,
        metric=task.metric,
        pad_id=classifier.body.config.pad_token_id,
        seed=cell.seed,
        stream=task.name,
        precision=precision,
    )
    record = {"task": task.name, "arm": cell.arm, "seed": cell.seed, "domain": task.domain, "metric": task.metric}
    record |= {"test_score": outcome.test_scores[task.metric], "dev_score": max(outcome.dev_scores)}
    record |= {f"test_{metric}": value for metric, value in outcome.test_scores.items()}
    record |= {"num_epochs": len(outcome.dev_scores), "best_epoch": outcome.best_epoch, "num_steps": outcome.num_steps}
    record |= {f"num_{name}": len(split) for name, split in zip(SPLITS, splits, strict=True)}
    record |= {"dev_scores": outcome.dev_scores, "degenerate": outcome.degenerate, "labels": list(labels)}
    record |= {"test_predictions": encode_predictions(outcome.predictions), "checkpoint": cell.checkpoint.name}
    record |= {"fingerprint": key, "wall_seconds": time.perf_counter() - begin}
    files.write_json(result_path(paths, key), record)


def _measure(profile, paths, name, store_name, key, encoder, precision) -> None:
    model = encoders.load_encoder(scratch(paths, encoder) / "encoder").to(encoders.resolve_device(profile.device))
    vocabulary = mlm.Vocabulary.of(tokens.load_tokenizer(paths.tokenizer()))
    store = tokens.load_token_store(paths.store(store_name))
    loss, num_masked = mlm.held_out_loss(
        model, store, vocabulary, loss_settings(profile), precision=precision, seed=profile.dapt.seed
    )
    held_out = store_name.split("/")[1]  # the domain, or the task
    row = {"encoder": name, "held_out": held_out, "masked_lm_loss": loss, "num_masked": num_masked}
    files.write_json(result_path(paths, key), {**row, "fingerprint": key})
