"""Take what is published, or was pulled by DVC, into scratch, where it is whole and asked for."""

from pathlib import Path

from dontstop.design.plan import Plan, folder_of
from dontstop.machine import digests, files, progress
from dontstop.profiles import Paths
from dontstop.runs import records, scratch
from dontstop.runs.identity import RESTORE_VERSIONS, versions_damage
from dontstop.runs.jobs import Jobs
from dontstop.runs.scratch import TRAINING_FILE


def fingerprints_of(some: Jobs, plan: Plan) -> set[str]:
    """Return the fingerprints of all that a plan asks for."""
    identity = some.identity
    wanted = {identity.run(run) for run in plan.runs} | {identity.loss(*loss) for loss in plan.losses}
    return wanted | {identity.checkpoint(checkpoint) for checkpoint in plan.checkpoints}


def adopt(some: Jobs, plan: Plan) -> None:
    """Take what is published (pulled by DVC, say) into scratch, and remove what killed runs left half-written."""
    paths, identity = some.paths, some.identity
    wanted = fingerprints_of(some, plan)
    wanted |= {other for fingerprint in wanted for other in identity.alike(fingerprint)}
    for folder in (paths.checkpoints, paths.results):
        scratch.remove_parts([*folder.rglob(".*.part")])
    scratch.sweep(paths, [scratch.key_of(fingerprint, identity.capability) for fingerprint in wanted])
    for checkpoint in plan.checkpoints:
        adopt_checkpoint(paths, identity.checkpoint(checkpoint), paths.checkpoints / folder_of(checkpoint))
    if (wrong := versions_damage(paths.results)) is not None:
        progress.say(f"{wrong}: {RESTORE_VERSIONS}")
    for path in sorted(paths.results.glob("records/*/*.jsonl")):
        _adopt_records(paths, path, wanted)


def _adopt_records(paths: Paths, path: Path, wanted: set[str]) -> None:
    rows, wrong = records.read_rows(path)
    if wrong is not None:
        progress.say(f"{wrong}: made again where they are asked for, unless they stand in {paths.work}")
    for row in rows:
        if row.get("fingerprint") in wanted and "capability" in row:
            key = scratch.key_of(row["fingerprint"], row["capability"])
            if not scratch.is_whole(paths, key, scratch.result_path(paths, key)):
                scratch.write_result(paths, key, row)


def adopt_checkpoint(paths: Paths, fingerprint: str, source: Path) -> None:
    """Take a published checkpoint into scratch, if it is whole and the one asked for."""
    if not (source / TRAINING_FILE).is_file():
        return
    if (wrong := digests.folder_damage(source) or scratch.no_object(source / TRAINING_FILE)) is not None:
        progress.say(f"{wrong}: the encoder there is not read, and is published again")
        return
    training = files.read_json(source / TRAINING_FILE)
    key = scratch.key_of(fingerprint, training.get("capability", records.NOT_RECORDED))
    last = scratch.folder(paths, key) / TRAINING_FILE
    if training.get("fingerprint") == fingerprint and not scratch.is_whole(paths, key, last):
        scratch.once(paths, key, last, _take_over, source, last.parent, training)


def _take_over(source: Path, target: Path, training: dict) -> None:
    files.link_files(source, target / "encoder", leave_out=(TRAINING_FILE, digests.DIGESTS))
    files.write_json(target / TRAINING_FILE, training)
