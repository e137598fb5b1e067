"""What is published: where it stands, how much of it, and putting it where DVC and readers look."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dontstop.design.arms import Checkpoint
from dontstop.design.needs import Design
from dontstop.design.plan import LABEL_CURVE, Plan, folder_of, get_experiment, owner_of, records_of, stage_of
from dontstop.machine import digests, files, progress
from dontstop.profiles import Paths
from dontstop.runs import records, scratch
from dontstop.runs.adoption import fingerprints_of
from dontstop.runs.identity import installed_versions, known_versions, note_versions
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


@dataclass(frozen=True)
class OnRecord:
    """How many replicates stand whole in the published results, from the first on, and what ends the count.

    Attributes:
        whole: As they would be made now.
        begun: Replicates of which anything stands there.
        unlike: The first experiment that is not whole after those that are, in a replicate that is begun; or None.
    """

    whole: int
    begun: int
    unlike: str | None


def on_record(some: Jobs, design: Design, experiments: Sequence[str], is_selected: Callable[[int], bool]) -> OnRecord:
    """Count the replicates of experiments that stand whole in the published results.

    A study grows notebook by notebook: an experiment that has nothing of a replicate does not end the count, where
    another has all of it. What other settings have left does.

    Args:
        is_selected: Whether a replicate's selected text, or its digests, are known as they would be selected now.
    """
    rows = {path: records.read_rows(path)[0] for path in some.paths.results.glob("records/*/*.jsonl")}
    begun = {(path.parent.name, row.get("replicate", 0)) for path, found in rows.items() for row in found}
    found, identity, by_any = some.scratch, some.identity, some.scratch.accept_others
    every = (row for of in rows.values() for row in of if by_any or row.get("capability") == identity.capability)
    known = {row.get("fingerprint") for row in every}

    def is_there(fingerprint: str) -> bool:
        alike = identity.alike(fingerprint) if by_any else []
        is_published = known & {fingerprint, *alike}
        return bool(is_published or found.measured(fingerprint) or found.trained(fingerprint))

    def is_whole(name: str, replicate: int) -> bool:
        if name == "knn_tapt" and not is_selected(replicate):
            return False
        return all(map(is_there, fingerprints_of(some, design.plan(name, [replicate]))))

    notebooks = {name: get_experiment(name).notebook for name in experiments}
    num_begun = 1 + max((replicate for notebook, replicate in begun if notebook in notebooks.values()), default=-1)
    for replicate in range(num_begun):
        asked = [name for name, notebook in notebooks.items() if (notebook, replicate) in begun]
        unlike = next((name for name in asked if not is_whole(name, replicate)), None)
        if unlike is not None or not asked:
            return OnRecord(replicate, num_begun, unlike or experiments[0])
    return OnRecord(num_begun, num_begun, None)


class Publisher:
    """Puts finished checkpoints, records and curves where DVC and the reader look for them.

    Args:
        some: Whose results they are.
        notebook: The asking one, under whose name runs and losses stand.
    """

    def __init__(self, some: Jobs, notebook: str):
        self.some, self.paths, self.notebook = some, some.paths, notebook
        self.identity = some.identity

    def publish(self, plan: Plan, losses: str) -> list[dict]:
        """Publish what a plan asked for, its losses under a name of their own.

        Records and curves of another notebook's checkpoints are that notebook's to write.

        Returns:
            The records of runs and losses.
        """
        for checkpoint in plan.checkpoints:
            (self.paths.checkpoints / stage_of(checkpoint)).mkdir(parents=True, exist_ok=True)
            publish_checkpoint(self.some, checkpoint)
        rows: dict[str, list[dict]] = defaultdict(list)
        for run in plan.runs:
            is_primary = run.num_labels == self.some.profile.labels.primary
            name = records_of(run.arm)[1] if is_primary else LABEL_CURVE
            rows[name].append(self.some.result(self.identity.run(run)) | {"arm": run.arm.name})
        for of_runs in rows.values():
            of_runs.sort(key=lambda row: (row["replicate"], row["task"], row["num_train"], row["seed"]))
        for loss in plan.losses:
            row = self.some.result(self.identity.loss(*loss))  # of an encoder that others trained: in all replicates
            rows[losses].append(row | {"replicate": loss[0].replicate})
        for name, some_rows in rows.items():
            self._write(self.notebook, name, some_rows)
        results = [row for some_rows in rows.values() for row in some_rows]
        made_by = {(row["replicate"], row["capability"]) for row in results}
        for owner in {"base", self.notebook}:
            self._publish_trainings(owner, [c for c in plan.checkpoints if owner_of(c) == owner], made_by)
        self._note_versions(plan, results)
        return results

    def publish_selections(self, written: Mapping[int, Path]) -> None:
        """Write what tells of the selected text that stands here, a folder a replicate; what tells of others stays."""
        for name, of in ((records.RANKINGS, records.of_rankings), (records.SELECTED, records.of_selected)):
            self._write(self.notebook, name, [row for k, folder in written.items() for row in of(folder, k)], written)

    def choose_place(self) -> None:
        """Publish beside the results of machines of another kind, or other libraries, and not over them."""
        if (own := place(self.paths, self.identity.capability)) != self.paths.results:
            found = f"{self.paths.results} is of other machines, or other versions of libraries"
            progress.say(f"{found}: this one's results stand in {own}")
            self.paths.results = own

    def _publish_trainings(self, owner: str, checkpoints: list[Checkpoint], made_by: set[tuple[int, str]]) -> None:
        """Write how checkpoints were trained; with others' results accepted, by the machine that those rest on.

        Args:
            made_by: Replicates and the kinds of machines that made results of them.
        """
        path, stands = self.paths.results / "records" / owner / "pretraining.jsonl", {}
        if self.some.scratch.accept_others and path.is_file():
            found = records.read_rows(path)[0]
            stands = {row["fingerprint"]: row for row in found if (row["replicate"], row["capability"]) in made_by}
        trainings = []
        for checkpoint in checkpoints:
            fingerprint = self.identity.checkpoint(checkpoint)
            own = self.some.training(checkpoint)
            known = next((stands[f] for f in (fingerprint, *self.identity.alike(fingerprint)) if f in stands), own)
            trainings.append(own if known["capability"] == own["capability"] else known | {"curve": []})
        curves: dict[str, dict[str, str]] = defaultdict(dict)
        for training in trainings:
            if curve := training.pop("curve"):
                text = pd.DataFrame(curve).to_csv(index=False)
                curves[f"replicate_{training['replicate']}"][f"{training['checkpoint']}.csv"] = text
        for replicate, texts in curves.items():
            digests.write_within(self.paths.results / "curves" / owner / replicate, texts)
        if trainings:
            self._write(owner, "pretraining", trainings)

    def _write(self, owner: str, name: str, rows: list[dict], replicates: Collection[int] | None = None) -> None:
        """Write records of some replicates, or of all that are asked for; those of others stay as they are.

        So do those that differ from what stands there by their seconds alone.
        """
        folder = self.paths.results / "records" / owner
        path = folder / f"{name}.jsonl"
        recorded = records.read_rows(path)[0] if path.is_file() else []
        own = range(self.some.profile.replicates) if replicates is None else replicates
        others = [row for row in recorded if row.get("replicate", 0) not in own]
        known = {records.untimed(row): row for row in recorded}
        both = [known.get(records.untimed(row), row) for row in rows] + others
        records.write_records(folder, name, sorted(both, key=lambda row: row.get("replicate", 0)))

    def _note_versions(self, plan: Plan, results: list[dict]) -> None:
        """Note the versions of the libraries that are installed, if any of the results was made with them."""
        known, own, by_own = known_versions(self.paths.results), installed_versions(), fingerprints_of(self.some, plan)
        if own not in known and any(row["fingerprint"] in by_own for row in results):
            note_versions(self.paths.results, [*known, own])


def publish_checkpoint(some: Jobs, checkpoint: Checkpoint) -> None:
    """Put a finished checkpoint where DVC and the reader look for it, unless it stands there as it should."""
    key = some.trained(checkpoint)
    if key is None:
        return
    source, target = scratch.folder(some.paths, key), some.paths.checkpoints / folder_of(checkpoint)
    training, place = files.read_json(source / TRAINING_FILE), target / TRAINING_FILE
    is_whole = (target / digests.DIGESTS).is_file() and digests.folder_damage(target) is None
    if is_whole and place.is_file() and files.read_json(place) == training:
        return
    scratch.remove_parts([place, target])  # first the file that says that the folder is whole
    files.link_files(source / "encoder", target)
    files.write_json(place, training)
    digests.write_folder_digests(target)
