"""Jobs on encoders: pretrain a checkpoint, take one that others have trained, measure a loss."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dontstop import tokens
from dontstop.design.arms import Checkpoint, phase_settings
from dontstop.design.plan import held_out_of, text_of
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.randomness import seed_of
from dontstop.profiles import Paths, PhaseSettings, Profile
from dontstop.runs import scratch
from dontstop.runs.course import Course
from dontstop.runs.scratch import Target
from dontstop.text.tasks import GENERAL
from dontstop.training import devices, encoders, mlm, optimizers, process_group
from dontstop.training.masking import Batches, Vocabulary

CURVE_POINTS = 50  # at most


def take(profile: Profile, target: Target, checkpoint: Checkpoint, given: str) -> None:
    """Take an encoder that others have trained as a checkpoint, and measure its loss as after any phase.

    Args:
        given: Its folder, or its name on the hub.

    Raises:
        StudyError: If its vocabulary is too small for the tokenizer.
    """
    model, missing = encoders.load_given_encoder(given, seed=seed_of("encoder", "head"))
    tokenizer = tokens.load_tokenizer(target.paths.tokenizer())
    if len(tokenizer) > (known := model.get_input_embeddings().num_embeddings):
        raise StudyError(
            f"{len(tokenizer):,} word pieces in the tokenizer, {known:,} in {given}",
            "an encoder with the tokenizer that it was trained with",
            "set tokens.tokenizer to the encoder's own, or name another encoder",
        )
    model.to(devices.resolve_device(profile.device))
    training = {
        "num_steps": 0,
        "num_tokens": 0,
        "wall_seconds": 0.0,
        "num_processes": 1,
        "loss_before": None,
        "loss_after": _held_out_loss(profile, target, checkpoint, model),
        "curve": [],
        "checks": [],
        "taken_from": f"{Path(given).parent.name}/{checkpoint.name}" if checkpoint.phases else Path(given).name,
        "newly_initialised": missing,
    }
    _finish(target, checkpoint, model, tokenizer, training)


def pretrain(
    profile: Profile,
    target: Target,
    checkpoint: Checkpoint,
    parent: str | None,
    *,
    num_processes: int = 1,
    distributed: str | None = None,
    progress=lambda done, total: None,
) -> None:
    """Pretrain one checkpoint from its parent, and put it into its scratch folder.

    Args:
        parent: The parent's scratch key.
        distributed: The device of this process, where torchrun's processes do it together; the first one writes.
    """
    device = distributed or devices.resolve_device(profile.device)
    num_processes = num_processes if device == "cpu" and not profile.compiled else 1
    load = functools.partial(load_start, profile, target.paths, checkpoint, parent)
    start, batches = load().to(device), batches_of(profile, target.paths, checkpoint)
    before = _held_out_loss(profile, target, checkpoint, start)
    course = Course(profile, target, checkpoint, batches.num_steps)
    course.watch(start, 0)
    stops = phase_settings(profile, checkpoint).num_checks is not None
    model, curve = mlm.train(
        _partly_trained(profile, checkpoint, load),
        batches,
        target.folder / "state.safetensors",
        precision=target.precision,
        device=device,
        compiled=profile.compiled,
        num_processes=num_processes,
        distributed=distributed is not None,
        steps_between_saves=profile.speed.steps_between_saves,
        check=functools.partial(_held_out_loss, profile, target, checkpoint) if stops else None,
        watch=course.watch,
        progress=progress,
    )
    if distributed is None or process_group.is_main_process():
        known = {"num_processes": num_processes, "loss_before": before} | course.known()
        known["curve"] = curve_rows(curve.losses, batches.settings, batches.num_steps)
        _record(profile, target, checkpoint, model, curve, known)


def average(profile: Profile, target: Target, checkpoint: Checkpoint, encoders_averaged: Sequence[str]) -> None:
    """Average the weights of encoders, and put the result into its scratch folder.

    Args:
        encoders_averaged: Their scratch keys.

    Source: Wortsman et al. (2022), who average a model before and after further training against forgetting.
    """
    folders = [scratch.folder(target.paths, key) / "encoder" for key in encoders_averaged]
    model = encoders.average_encoders(folders).to(devices.resolve_device(profile.device))
    training = {"num_steps": 0, "num_tokens": 0, "wall_seconds": 0.0, "num_processes": 1, "loss_before": None}
    training |= {"loss_after": _held_out_loss(profile, target, checkpoint, model), "curve": [], "checks": []}
    _finish(target, checkpoint, model, tokens.load_tokenizer(target.paths.tokenizer()), training)


def _partly_trained(profile: Profile, checkpoint: Checkpoint, load: Callable) -> Callable:
    """Return a loader that leaves only the phase's part of an encoder to be trained."""
    part = checkpoint.last.part
    if part == "all":
        return load
    seed = seed_of("adapter", phase_settings(profile, checkpoint).seed, checkpoint.name)
    return functools.partial(encoders.load_partly_trained, load, part, profile.cheap_adaptation, seed=seed)


def batches_of(profile: Profile, paths: Paths, checkpoint: Checkpoint) -> Batches:
    """Return the batches that a checkpoint's last phase is trained on."""
    store = tokens.load_token_store(paths.store(text_of(checkpoint)))
    vocabulary = Vocabulary.of(tokens.load_tokenizer(paths.tokenizer()))
    settings = phase_settings(profile, checkpoint) or profile.dapt  # of a base encoder that others pretrained: DAPT's
    replay = (None, 0)
    if checkpoint.last.kind == "replay_dapt":
        num_replayed = round(settings.batch_size * profile.forgetting.replayed_share)
        if num_replayed == 0:
            raise StudyError(
                f"replayed_share = {profile.forgetting.replayed_share} of batch_size = {settings.batch_size}",
                "a sequence or more of general text in every batch",
                "raise forgetting.replayed_share, or dapt.batch_size",
            )
        replay = (tokens.load_token_store(paths.store(f"corpora/{GENERAL}")), num_replayed)
    return Batches(store, vocabulary, settings, checkpoint.name, *replay)


def _record(profile: Profile, target: Target, checkpoint: Checkpoint, model, curve, known: dict) -> None:
    """Measure a trained encoder, and write it with what is known of its training."""
    settings, trainable = phase_settings(profile, checkpoint), {}
    if checkpoint.last.part != "all":
        trainable = {"trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}
        model = encoders.merge_adapter(model)
    training = {
        **trainable,
        "num_steps": len(curve.losses),
        "num_tokens": len(curve.losses) * settings.batch_size * settings.sequence_length,
        "wall_seconds": curve.wall_seconds,
        **known,
        "loss_after": _held_out_loss(profile, target, checkpoint, model),
        "checks": curve.checks.tolist(),
        "kept_step": curve.kept_step,
    }
    _finish(target, checkpoint, model, tokens.load_tokenizer(target.paths.tokenizer()), training)
    (target.folder / "state.safetensors").unlink(missing_ok=True)


def load_start(profile: Profile, paths: Paths, checkpoint: Checkpoint, parent: str | None):
    """Load the encoder that a phase starts from: its parent's, the one that the profile names, or a new one."""
    if parent is not None:
        return encoders.load_encoder(scratch.folder(paths, parent) / "encoder")
    if profile.encoder.name is not None:
        return encoders.load_given_encoder(profile.encoder.name, seed=seed_of("encoder", "head"))[0]
    tokenizer = tokens.load_tokenizer(paths.tokenizer())
    longest = max(profile.finetune.max_length, profile.dapt.sequence_length, profile.base.sequence_length)
    seed = seed_of("encoder", phase_settings(profile, checkpoint).seed)
    return encoders.build_encoder(profile.encoder, tokenizer, max_length=longest, seed=seed)


def measure(profile: Profile, target: Target, checkpoint: Checkpoint, encoder: str, store: str) -> None:
    """Measure a checkpoint's masked-LM loss on a token store, with DAPT's length and mask probability.

    Args:
        encoder: The checkpoint's scratch key.
        store: Of text that it was not trained on: `held_out/general`.
    """
    model = encoders.load_encoder(scratch.folder(target.paths, encoder) / "encoder")
    model.to(devices.resolve_device(profile.device))
    loss, num_masked = _loss(target, model, store, profile.dapt)
    held_out = store.split("/")[1]  # the domain, or the task
    record = {"encoder": checkpoint.name, "replicate": checkpoint.replicate, "held_out": held_out}
    files.write_json(target.result, record | {"masked_lm_loss": loss, "num_masked": num_masked} | target.identity)


def _held_out_loss(profile: Profile, target: Target, checkpoint: Checkpoint, model) -> float:
    settings = phase_settings(profile, checkpoint) or profile.dapt
    return _loss(target, model, held_out_of(checkpoint), settings)[0]


def _loss(target: Target, model, store: str, settings: PhaseSettings) -> tuple[float, int]:
    return mlm.held_out_loss(
        model,
        tokens.load_token_store(target.paths.store(store)),
        Vocabulary.of(tokens.load_tokenizer(target.paths.tokenizer())),
        settings,
        precision=target.precision,
        seed=settings.seed,
    )


def curve_rows(losses: np.ndarray, settings: PhaseSettings, num_planned: int) -> list[dict]:
    """Thin a loss curve out to `CURVE_POINTS` points, each the mean of the steps since the last.

    Args:
        losses: (num_steps,) nats per masked token.
        num_planned: Steps that the schedule is made for, which may end earlier.
    """
    rows, num_steps = [], len(losses)
    for part in np.array_split(np.arange(num_steps), min(CURVE_POINTS, num_steps)):
        step = int(part[-1])
        rate = optimizers.learning_rate(step, num_planned, settings.learning_rate, settings.warmup_fraction)
        row = {"step": step + 1, "num_tokens": (step + 1) * settings.batch_size * settings.sequence_length}
        rows.append(row | {"learning_rate": rate, "masked_lm_loss": float(losses[part].mean())})
    return rows


def _finish(target: Target, checkpoint: Checkpoint, model, tokenizer, training: dict) -> None:
    """Write an encoder, and last how it was trained."""
    with files.saving_folder(target.folder / "encoder") as part:
        encoders.save_encoder(model, tokenizer, part)
    phases = [(phase.name, phase.text) for phase in checkpoint.phases]
    about = {"checkpoint": checkpoint.name, "replicate": checkpoint.replicate, "phases": phases}
    about |= {**target.identity, "precision": target.precision}
    files.write_json(target.folder / scratch.TRAINING_FILE, about | training)
