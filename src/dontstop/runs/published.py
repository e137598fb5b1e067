"""What is published: taken over into scratch where it is whole and asked for, and put where DVC and readers look."""

import itertools
from collections.abc import Callable
from pathlib import Path

from dontstop.design.arms import Checkpoint
from dontstop.design.needs import Design
from dontstop.design.plan import Plan, folder_of, get_experiment
from dontstop.machine import digests, files, progress
from dontstop.profiles import Paths
from dontstop.runs import records, scratch
from dontstop.runs.augmentation import Selections
from dontstop.runs.identity import (
    RESTORE_VERSIONS,
    installed_versions,
    known_versions,
    selected_records,
    versions_damage,
)
from dontstop.runs.jobs import Jobs
from dontstop.runs.scratch import TRAINING_FILE

PART = "advice"  # of results/<profile>


def set_apart(paths: Paths, asked: Design, whole: Design) -> None:
    """Let a plan that leaves out some of a study's arms publish beside the whole one, not over it.

    Records are written whole, so that a part of the arms would remove what the others were trained from.
    """
    if asked.arms() != whole.arms():
        paths.part = PART
        paths.results = paths.results / PART


def place(paths: Paths, capability: str) -> Path:
    """Return where a kind of machine publishes a profile's results: in its own place, or beside another kind's.

    So a machine whose arithmetic differs writes over none that were committed, unless the user accepts to mix them; nor
    do other versions of the libraries, which the place is then named after.
    """
    own = paths.root / "results" / paths.data.name
    found = (path for folder in {own, own / paths.part} for path in folder.glob("records/*/*.jsonl"))
    made_by = {row["capability"].split(" after ")[0] for row in records.rows_of(found) if "capability" in row}
    known, versions = known_versions(own), installed_versions()
    is_known = not known or versions in known
    if made_by and not (capability in made_by and is_known) and not scratch.is_set(scratch.ACCEPT_OTHERS):
        others = [] if is_known else [f"{name} {v}" for name, v in versions.items() if v != known[0].get(name)]
        own = own.with_name(scratch.key_of(own.name, " ".join([capability, *others])))
    return own / paths.part


def num_on_record(some: Jobs, design: Design, experiments: tuple[str, ...], is_selected: Callable[[int], bool]) -> int:
    """Return how many replicates, from the first on, stand whole in the published results, as they would be made now.

    A study grows notebook by notebook: an experiment that has nothing of a replicate does not end the count, where
    another has all of it. What other settings have left does.

    Args:
        is_selected: Whether a replicate's selected text, or its digests, are known as they would be selected now.
    """
    rows = {path: records.read_rows(path)[0] for path in some.paths.results.glob("records/*/*.jsonl")}
    begun = {(path.parent.name, row.get("replicate", 0)) for path, found in rows.items() for row in found}
    by_any, own = some.scratch.accept_others, some.identity.capability
    every = (row for found in rows.values() for row in found if by_any or row.get("capability") == own)
    known = {row.get("fingerprint") for row in every}

    def is_whole(experiment: str, replicate: int) -> bool:
        if experiment == "knn_tapt" and not is_selected(replicate):
            return False
        wanted = _wanted(some, design.plan(experiment, [replicate]))
        return all(known & {fingerprint, *some.identity.alike(fingerprint)} for fingerprint in wanted)

    def is_there(replicate: int) -> bool:
        there = [name for name in experiments if (get_experiment(name).notebook, replicate) in begun]
        return bool(there) and all(is_whole(name, replicate) for name in there)

    return next(replicate for replicate in itertools.count() if not is_there(replicate))


def tells_of(wanted: Selections) -> bool:
    """Whether a replicate's text stands here as it is to be selected, or nothing does and results tell of its digests.

    This machine's, or those of another kind where they are accepted.
    """
    if (wanted.folder / "manifest.json").is_file():
        return wanted.is_written()
    path, fingerprint = selected_records(wanted.paths), wanted.fingerprint()
    rows = [row for row in records.read_rows(path)[0] if row["fingerprint"] == fingerprint] if path.is_file() else []
    return any(wanted.found.accept_others or row["capability"] == wanted.capability for row in rows)


def _wanted(some: Jobs, plan: Plan) -> set[str]:
    """Return the fingerprints of all that a plan asks for."""
    identity = some.identity
    wanted = {identity.run(run) for run in plan.runs} | {identity.loss(*loss) for loss in plan.losses}
    return wanted | {identity.checkpoint(checkpoint) for checkpoint in plan.checkpoints}


def adopt(some: Jobs, plan: Plan) -> None:
    """Take what is published (pulled by DVC, say) into scratch, and remove what killed runs left half-written."""
    paths, identity = some.paths, some.identity
    wanted = _wanted(some, plan)
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
    if (wrong := digests.folder_damage(source)) is not None:
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


def publish_checkpoint(some: Jobs, checkpoint: Checkpoint) -> None:
    """Put a finished checkpoint where DVC and the reader look for it, unless it stands there as it should."""
    key = some.scratch.trained(some.identity.checkpoint(checkpoint))
    if key is None:
        return
    source, target = scratch.folder(some.paths, key), some.paths.checkpoints / folder_of(checkpoint)
    training, place = files.read_json(source / TRAINING_FILE), target / TRAINING_FILE
    is_whole = (target / digests.DIGESTS).is_file() and digests.folder_damage(target) is None
    if is_whole and place.is_file() and files.read_json(place) == training:
        return
    place.unlink(missing_ok=True)  # before other weights stand beside it
    files.link_files(source / "encoder", target)
    files.write_json(place, training)
    digests.write_folder_digests(target)
