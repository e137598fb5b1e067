"""Jobs on encoders: pretrain a checkpoint, take one that others have trained, measure a loss."""

import functools
from pathlib import Path

import numpy as np

from dontstop import tokens
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.randomness import seed_of
from dontstop.profiles import Paths, PhaseSettings, Profile
from dontstop.runs import scratch
from dontstop.runs.arms import Checkpoint, phase_settings
from dontstop.runs.plan import held_out_of, text_of
from dontstop.training import devices, encoders, mlm, optimizers, process_group

CURVE_POINTS = 100


def take(profile: Profile, paths: Paths, checkpoint: Checkpoint, given: str, key: str, about: dict) -> None:
    """Take an encoder that others have trained as a checkpoint, and measure its loss as after any phase.

    Args:
        given: Its folder, or its name on the hub.
        key: The scratch key.
        about: What the record says of its identity: fingerprint, capability, precision.

    Raises:
        StudyError: If its vocabulary is too small for the tokenizer.
    """
    model, missing = encoders.load_given_encoder(given, seed=seed_of("encoder", "head"))
    tokenizer = tokens.load_tokenizer(paths.tokenizer())
    if len(tokenizer) > (known := model.get_input_embeddings().num_embeddings):
        raise StudyError(
            f"{len(tokenizer):,} word pieces in the tokenizer, {known:,} in {given}",
            "an encoder with the tokenizer that it was trained with",
            "set tokens.tokenizer to the encoder's own, or name another encoder",
        )
    settings = phase_settings(profile, checkpoint.last) or profile.dapt
    model.to(devices.resolve_device(profile.device))
    training = {
        "checkpoint": checkpoint.name,
        "phases": _phases(checkpoint),
        **about,
        "num_steps": 0,
        "num_tokens": 0,
        "wall_seconds": 0.0,
        "num_processes": 1,
        "loss_before": None,
        "loss_after": _held_out_loss(paths, checkpoint, model, tokenizer, settings, about["precision"]),
        "curve": [],
        "taken_from": f"{Path(given).parent.name}/{checkpoint.name}" if checkpoint.phases else Path(given).name,
        "newly_initialised": missing,
    }
    _finish(paths, key, model, tokenizer, training)


def pretrain(
    profile: Profile,
    paths: Paths,
    checkpoint: Checkpoint,
    parent: str | None,
    key: str,
    about: dict,
    *,
    num_processes: int = 1,
    distributed: str | None = None,
    progress=lambda done, total: None,
) -> None:
    """Pretrain one checkpoint from its parent, and put it into its scratch folder.

    Args:
        parent: The parent's scratch key.
        key: The checkpoint's own.
        about: What the record says of its identity: fingerprint, capability, precision.
        distributed: The device of this process, where torchrun's processes do it together; the first one writes.
    """
    settings, part = phase_settings(profile, checkpoint.last), checkpoint.last.part
    tokenizer = tokens.load_tokenizer(paths.tokenizer())
    device = distributed or devices.resolve_device(profile.device)
    num_processes = num_processes if device == "cpu" and not profile.compiled else 1
    load = functools.partial(load_start, profile, paths, parent)
    measure = functools.partial(
        _held_out_loss, paths, checkpoint, tokenizer=tokenizer, settings=settings, precision=about["precision"]
    )
    before = measure(load().to(device))
    if part != "all":
        seed = seed_of("adapter", settings.seed, checkpoint.name)
        load = functools.partial(encoders.load_partly_trained, load, part, profile.cheap_adaptation, seed=seed)
    state = scratch.folder(paths, key) / "state.safetensors"
    model, curve = mlm.train(
        load,
        mlm.Batches(
            tokens.load_token_store(paths.store(text_of(checkpoint))),
            mlm.Vocabulary.of(tokenizer),
            settings,
            checkpoint.name,
        ),
        state,
        precision=about["precision"],
        device=device,
        compiled=profile.compiled,
        num_processes=num_processes,
        distributed=distributed is not None,
        steps_between_saves=profile.speed.steps_between_saves,
        progress=progress,
    )
    if distributed is not None and not process_group.is_main_process():
        return
    trainable = {}
    if part != "all":
        trainable = {"trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}
        model = encoders.merge_adapter(model)
    training = {
        "checkpoint": checkpoint.name,
        "phases": _phases(checkpoint),
        **about,
        **trainable,
        "num_steps": len(curve.losses),
        "num_tokens": len(curve.losses) * settings.batch_size * settings.sequence_length,
        "wall_seconds": curve.wall_seconds,
        "num_processes": num_processes,
        "loss_before": before,
        "loss_after": measure(model),
        "curve": curve_rows(curve.losses, settings),
    }
    _finish(paths, key, model, tokenizer, training)
    state.unlink(missing_ok=True)


def load_start(profile: Profile, paths: Paths, parent: str | None):
    """Load the encoder that a phase starts from: its parent's, the one that the profile names, or a new one."""
    if parent is not None:
        return encoders.load_encoder(scratch.folder(paths, parent) / "encoder")
    if profile.encoder.name is not None:
        return encoders.load_given_encoder(profile.encoder.name, seed=seed_of("encoder", "head"))[0]
    tokenizer = tokens.load_tokenizer(paths.tokenizer())
    longest = max(profile.finetune.max_length, profile.dapt.sequence_length, profile.base.sequence_length)
    seed = seed_of("encoder", profile.base.seed)
    return encoders.build_encoder(profile.encoder, tokenizer, max_length=longest, seed=seed)


def measure(profile: Profile, paths: Paths, encoder: tuple[str, str], store: str, key: str, about: dict) -> None:
    """Measure an encoder's masked-LM loss on a token store, with DAPT's length and mask probability.

    Args:
        encoder: A checkpoint's name, and its scratch key.
        store: Of text that it was not trained on: `held_out/general`.
        key: The loss's scratch key.
        about: What the record says of its identity: fingerprint, capability, precision.
    """
    name, folder = encoder[0], scratch.folder(paths, encoder[1]) / "encoder"
    loss, num_masked = mlm.held_out_loss(
        encoders.load_encoder(folder).to(devices.resolve_device(profile.device)),
        tokens.load_token_store(paths.store(store)),
        mlm.Vocabulary.of(tokens.load_tokenizer(paths.tokenizer())),
        profile.dapt,
        precision=about["precision"],
        seed=profile.dapt.seed,
    )
    record = {
        "encoder": name,
        "held_out": store.split("/")[1],  # the domain, or the task
        "masked_lm_loss": loss,
        "num_masked": num_masked,
        "fingerprint": about["fingerprint"],
        "capability": about["capability"],
    }
    files.write_json(scratch.result_path(paths, key), record)


def curve_rows(losses: np.ndarray, settings: PhaseSettings) -> list[dict]:
    """Thin a loss curve out to about a hundred points, each the mean of the steps since the last.

    Args:
        losses: (num_steps,) nats per masked token.
    """
    rows, num_steps = [], len(losses)
    for part in np.array_split(np.arange(num_steps), min(CURVE_POINTS, num_steps)):
        step = int(part[-1])
        rate = optimizers.learning_rate(step, num_steps, settings.learning_rate, settings.warmup_fraction)
        row = {"step": step + 1, "num_tokens": (step + 1) * settings.batch_size * settings.sequence_length}
        rows.append(row | {"learning_rate": rate, "masked_lm_loss": float(losses[part].mean())})
    return rows


def _phases(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    return [(phase.name, phase.text) for phase in checkpoint.phases]


def _held_out_loss(paths, checkpoint, model, tokenizer, settings: PhaseSettings, precision: str) -> float:
    store, vocabulary = tokens.load_token_store(paths.store(held_out_of(checkpoint))), mlm.Vocabulary.of(tokenizer)
    return mlm.held_out_loss(model, store, vocabulary, settings, precision=precision, seed=settings.seed)[0]


def _finish(paths: Paths, key: str, model, tokenizer, training: dict) -> None:
    folder = scratch.folder(paths, key)
    with files.saving_folder(folder / "encoder") as part:
        encoders.save_encoder(model, tokenizer, part)
    files.write_json(folder / scratch.TRAINING_FILE, training)
