"""Do what a profile asks for: select, train what is missing, and publish it where DVC and readers look for it."""

import contextlib
import functools
import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Self

import pandas as pd

from dontstop.design.arms import OPENED, Checkpoint
from dontstop.design.plan import LABEL_CURVE, Plan, get_experiment, owner_of, records_of, stage_of
from dontstop.errors import StudyError, chosen
from dontstop.inputs import checked_name
from dontstop.machine import clusters, digests, files, progress, runner
from dontstop.profiles import with_replicates
from dontstop.runs import augmentation, jobs, preparation, published, records, scratch
from dontstop.runs.identity import Identity, installed_versions, known_versions, note_versions
from dontstop.runs.jobs import Jobs
from dontstop.runs.results import Results
from dontstop.runs.scratch import READ_ONLY, TRAINING_FILE, Reads, Scratch, is_set
from dontstop.training import devices, process_group

NUM_NAMED = 3  # missing results that an error names


class Pipeline(Results):
    """Prepares, selects, trains and publishes for one profile, runs and losses under the name of the asking notebook.

    Its arguments are those of `Results`.

    Attributes:
        reads_on: Whether replicates beyond the profile's are read too, as far as they stand whole in its results.
    """

    reads_on = False

    def prepare(self) -> None:
        """Make corpora, splits, tokenizer and token stores, unless they stand there made with these settings."""
        preparation.prepare(self.profile, self.paths, self.tasks, read_only=is_set(READ_ONLY))

    @runner.warm_workers()
    def run(self, experiment: str, with_encoders: bool = False) -> Self:
        """Train and measure whatever the experiment still lacks; what is finished is found, not done again.

        Args:
            with_encoders: Whether the encoders of `arms.OPENED` are trained in the first replicate though their records
                are there, where they are not themselves: notebooks open them.

        Raises:
            StudyError: If the experiment is unknown, its text or settings are wrong, or something is missing and
                nothing may be trained.
        """
        losses = get_experiment(experiment).losses
        self.read_on(experiment)
        if experiment == "knn_tapt":
            self.select()
        if left_out := self.design.left_out(experiment):
            progress.say(f"{experiment} ({self.profile.name}): {left_out}")
        plan = self.design.plan(experiment)
        with runner.only_run(self.paths.lock):
            some = self._jobs()
            published.adopt(some, plan)
            todo = self._missing(some, plan, self._opened() if with_encoders else ())
            if todo and is_set(READ_ONLY):
                raise self._not_made(some, todo)
            some.check_encoder(todo)
            self._carry_out(f"{experiment} ({self.profile.name})", todo)
            self._choose_place(some)
            results = self._publish(some, plan, losses)
            if experiment == "knn_tapt":
                self._publish_selections(some)
        self._say_given(some, plan, results)
        return self

    def ahead(self, experiment: str) -> list[progress.Job]:
        """Return the jobs that an experiment still lacks, of prepared text."""
        return self._missing(self._jobs(), self.design.plan(experiment))

    def read_on(self, *experiments: str) -> None:
        """Prepare; if it `reads_on`, count in the replicates beyond the profile's that experiments have on record."""
        self.prepare()
        if self.reads_on and (num := self._num_on_record(*experiments)) > self.profile.replicates:
            progress.say(f"{num} replicates stand in {self.paths.results}: all are read (fewer by REPLICATES)")
            self.profile = with_replicates(self.profile, num)

    def _num_on_record(self, *experiments: str) -> int:
        some = self._jobs()
        told_of = functools.cache(lambda replicate: published.tells_of(self._selections(some, replicate)))
        return published.num_on_record(some, self.design, experiments, told_of)

    def _selections(self, some: Jobs, replicate: int) -> augmentation.Selections:
        return augmentation.Selections(some, self.design.augmented_tasks(), self.tasks, replicate)

    def select(self) -> None:
        """Select the text that tasks are augmented by, unless it stands there selected with these settings.

        In the first replicate, whose texts notebooks show, and where results are missing: those on record are found
        again by the digests of their text.
        """
        self.read_on("knn_tapt")
        num = self._num_on_record("knn_tapt")
        for replicate in (0, *range(max(1, num), self.profile.replicates)):
            self._select(replicate)

    def _select(self, replicate: int) -> None:
        some, base = self._jobs(), Checkpoint((), replicate)
        wanted = self._selections(some, replicate)
        if wanted.is_written():
            if not is_set(READ_ONLY):
                self._keep_digests(wanted)
            return
        if is_set(READ_ONLY):
            remedy = f"run `dontstop select --profile {self.profile.name}` first"
            raise StudyError("no selected text with these settings", "text that has been selected", remedy)
        with runner.only_run(self.paths.lock):
            if wanted.is_written():  # by another command, which this one has waited for
                return
            scratch.remove_parts(self.paths.selected.rglob(".*.part"))
            published.adopt(some, Plan((base,)))
            todo = self._selecting(wanted)
            scratch.sweep(self.paths, [job.key for job in todo])
            needs_base = "encoder" in self.profile.selection.selectors
            if needs_base and some.scratch.trained(some.identity.checkpoint(base)) is None:
                todo.insert(0, some.checkpoint(base))
            some.check_encoder(todo)
            self._carry_out(f"selection ({self.profile.name})", todo)
            wanted.write(progress.say)
            self._keep_digests(wanted)

    def _selecting(self, wanted: augmentation.Selections) -> list[progress.Job]:
        """Make the jobs of a selection, which hold what they read to its digests."""
        for key in map(wanted.candidates_key, wanted.domains):
            scratch.is_whole(self.paths, key, scratch.folder(self.paths, key) / augmentation.CANDIDATES_FILE)
        return [
            replace(job, function=functools.partial(scratch.once, reads=Reads(job.needs, ("corpora/", "tasks/"))))
            for job in wanted.jobs()
        ]

    def _keep_digests(self, wanted: augmentation.Selections) -> None:
        for folder in (wanted.folder, *(self.paths.selected / "candidates" / domain for domain in wanted.domains)):
            digests.keep_folder_digests(folder)

    def _drop_damaged_selections(self) -> None:
        """Remove selected text that is not as it was written: what it is made of stands in scratch, mostly."""
        found = [path for pattern in ("replicate_*", "candidates/*") for path in self.paths.selected.glob(pattern)]
        for folder in sorted(found):
            if (wrong := digests.folder_damage(folder)) is not None:
                if is_set(READ_ONLY):
                    digests.hold(wrong, f"run `dontstop select --profile {self.profile.name}` first")
                progress.say(f"{wrong}: {folder} is removed, and `dontstop select` makes it again")
                scratch.remove_parts([folder])

    def pretrain(self, name: str, replicate: int = 0) -> None:
        """Train one checkpoint from its parent, unless it stands there trained: alone, or with torchrun's processes.

        Later runs find it, as they find everything that is finished.

        Args:
            name: Of a checkpoint without selected text: `base`, `dapt_biomed`, `dapt_cs_then_tapt_sciie`.
            replicate: Whose seeds it is trained with.

        Raises:
            StudyError: If there is no such checkpoint, or what it starts from is not there.
        """
        checked_name("checkpoint", name)
        if not process_group.is_under_torchrun():
            self.prepare()
        known = {c.name: replace(c, replicate=replicate) for c in self.checkpoints() if not c.last.is_augmented}
        checkpoint = chosen("checkpoint", name, known)
        with process_group.initialized(devices.resolve_device(self.profile.device)) as here:
            main = process_group.is_main_process()
            with runner.only_run(self.paths.lock) if main else contextlib.nullcontext():
                self._pretrain(checkpoint, here)

    def _pretrain(self, checkpoint: Checkpoint, here: str | None) -> None:
        some, parent = self._jobs(), checkpoint.parent
        if process_group.is_main_process():
            published.adopt(some, Plan(checkpoint.lineage))
        process_group.barrier()
        trained = {c: some.scratch.trained(some.identity.checkpoint(c)) for c in (parent, checkpoint) if c is not None}
        if trained[checkpoint] is not None:
            return
        if parent is not None and trained[parent] is None:
            raise StudyError(
                f"no encoder {parent.name}, which {checkpoint.name} starts from",
                "that one trained before",
                f"give `dontstop pretrain {parent.name}` first",
            )
        job, title = some.checkpoint(checkpoint), f"pretrain ({self.profile.name})"
        some.check_encoder([job], int(os.environ["WORLD_SIZE"]) if here is not None else 1)
        if here is not None and job.divisible:
            runner.work_together(title, job, self.profile.speed.progress_seconds, distributed=here)
        elif process_group.is_main_process():
            self._carry_out(title, [job])

    # Doing --------------------------------------------------------------------------------------------------------

    def _jobs(self) -> Jobs:
        self._drop_damaged_selections()
        identity = Identity(self.profile, self.paths)
        place = Scratch(self.paths, identity.capability, is_set(scratch.ACCEPT_OTHERS), identity.alike)
        return Jobs(self.profile, self.paths, identity, place)

    def _missing(self, some: Jobs, plan: Plan, opened: Collection[Checkpoint] = ()) -> list[progress.Job]:
        """Return the jobs that lack their results; an encoder is needed by them, if nothing tells of it, or opened."""
        found, identity = some.scratch, some.identity
        runs = [run for run in plan.runs if found.measured(identity.run(run)) is None]
        losses = [loss for loss in plan.losses if found.measured(identity.loss(*loss)) is None]
        starts = [run.checkpoint for run in runs] + [encoder for encoder, _ in losses]
        starts += [c for c in plan.checkpoints if c in opened or not self._is_told_of(some, c)]
        needed = dict.fromkeys(parent for start in starts for parent in start.lineage)
        todo = [some.checkpoint(c) for c in needed if found.trained(identity.checkpoint(c)) is None]
        todo += [some.run(run) for run in runs] + [some.loss(*loss) for loss in losses]
        return list({job.key: job for job in todo}.values())

    def _opened(self) -> set[Checkpoint]:
        return {arm.checkpoint(task) for arm, tasks in self.arms().items() if arm in OPENED for task in tasks}

    def _is_told_of(self, some: Jobs, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint is there, or its record, which is enough unless its encoder stands there damaged."""
        fingerprint = some.identity.checkpoint(checkpoint)
        if some.scratch.trained(fingerprint) is not None:
            return True
        is_damaged = digests.folder_damage(self.checkpoint_folder(checkpoint)) is not None
        return some.scratch.measured(fingerprint) is not None and (is_set(READ_ONLY) or not is_damaged)

    def _not_made(self, some: Jobs, todo: list[progress.Job]) -> StudyError:
        others = {key.partition(".")[2] for job in todo for key in some.scratch.others(job.key.partition(".")[0])}
        named = ", ".join(job.name for job in todo[:NUM_NAMED]) + (", ..." if len(todo) > NUM_NAMED else "")
        accept = "give --accept-other-machines, to read theirs" if others else ""
        beside = f"; other machines' stand there ({', '.join(sorted(others))})" if others else ""
        return StudyError(
            f"{len(todo)} results missing of this machine ({some.identity.capability}): {named}{beside}",
            "all results there, since nothing is to be trained now",
            accept or f"run `make study PROFILE={self.profile.name}`, or fetch what another has trained (`dvc pull`)",
        )

    def _carry_out(self, title: str, todo: list[progress.Job]) -> None:
        """Do jobs on this machine's processes, or on the cluster that the profile names."""
        cluster, every = self.profile.speed.cluster, {"progress_seconds": self.profile.speed.progress_seconds}
        if cluster is None:
            runner.carry_out(title, todo, num_workers=jobs.num_processes(self.profile), **every)
        else:
            clusters.carry_out(title, todo, cluster, self.paths.work / "cluster" / self.profile.name, **every)

    def _say_given(self, some: Jobs, plan: Plan, results: list[dict]) -> None:
        """Say which checkpoints others have trained, and what they lacked; and which results are other machines'."""
        trainings = [self._training(some, checkpoint) for checkpoint in plan.checkpoints]
        for training in (training for training in trainings if "taken_from" in training):
            missing = ", ".join(training["newly_initialised"])
            more = f"; it lacked {missing}, newly initialised" if missing else ""
            progress.say(f"{training['checkpoint']}: taken from {training['taken_from']}, not trained here{more}")
        made_by = {row["capability"] for row in (*trainings, *results)}
        if others := made_by - {some.identity.capability}:
            progress.say(f"results of other machines are among these, as accepted: {', '.join(sorted(others))}")

    # Publishing ---------------------------------------------------------------------------------------------------

    def _publish(self, some: Jobs, plan: Plan, losses: str) -> list[dict]:
        """Put finished checkpoints, records and curves where DVC and the reader look for them.

        Records and curves of another notebook's checkpoints are that notebook's to write.

        Returns:
            The records of runs and losses.
        """
        for checkpoint in plan.checkpoints:
            (self.paths.checkpoints / stage_of(checkpoint)).mkdir(parents=True, exist_ok=True)
            published.publish_checkpoint(some, checkpoint)
        for owner in {"base", self.notebook}:
            self._publish_trainings(some, owner, [c for c in plan.checkpoints if owner_of(c) == owner])
        rows: dict[str, list[dict]] = defaultdict(list)
        for run in plan.runs:
            is_primary = run.num_labels == self.profile.labels.primary
            name = records_of(run.arm)[1] if is_primary else LABEL_CURVE
            rows[name].append(self._result(some, some.identity.run(run)) | {"arm": run.arm.name})
        for of_runs in rows.values():
            of_runs.sort(key=lambda row: (row["replicate"], row["task"], row["num_train"], row["seed"]))
        for loss in plan.losses:
            row = self._result(some, some.identity.loss(*loss))  # of an encoder that others trained: in all replicates
            rows[losses].append(row | {"replicate": loss[0].replicate})
        for name, some_rows in rows.items():
            self._write(self.notebook, name, some_rows)
        results = [row for some_rows in rows.values() for row in some_rows]
        self._note_versions(some, plan, results)
        return results

    def _choose_place(self, some: Jobs) -> None:
        """Publish beside the results of machines of another kind, or other libraries, and not over them."""
        if (place := published.place(self.paths, some.identity.capability)) != self.paths.results:
            found = f"{self.paths.results} is of other machines, or other versions of libraries"
            progress.say(f"{found}: this one's results stand in {place}")
            self.paths.results = place

    def _write(self, owner: str, name: str, rows: list[dict], replicates: Sequence[int] | None = None) -> None:
        """Write records of some replicates, or of all that are asked for; those of others stay as they are.

        So do those that differ from what stands there by their seconds alone.
        """
        folder = self.paths.results / "records" / owner
        path = folder / f"{name}.jsonl"
        recorded = records.read_rows(path)[0] if path.is_file() else []
        own = range(self.profile.replicates) if replicates is None else replicates
        others = [row for row in recorded if row.get("replicate", 0) not in own]
        known = {records.untimed(row): row for row in recorded}
        both = [known.get(records.untimed(row), row) for row in rows] + others
        records.write_records(folder, name, sorted(both, key=lambda row: row.get("replicate", 0)))

    def _publish_selections(self, some: Jobs) -> None:
        """Write what tells of the selected text that stands here; what tells of other replicates' stays."""
        here = [k for k in range(self.profile.replicates) if self._selections(some, k).is_written()]
        for name, of in ((records.RANKINGS, records.of_rankings), (records.SELECTED, records.of_selected)):
            self._write(self.notebook, name, [row for k in here for row in of(self._selected(k), k)], here)

    def _note_versions(self, some: Jobs, plan: Plan, results: list[dict]) -> None:
        """Note the versions of the libraries that are installed, if any of the results was made with them."""
        known, own = known_versions(self.paths.results), installed_versions()
        by_own = {*map(some.identity.run, plan.runs), *(some.identity.loss(*loss) for loss in plan.losses)}
        if own not in known and any(row["fingerprint"] in by_own for row in results):
            note_versions(self.paths.results, [*known, own])

    def _result(self, some: Jobs, fingerprint: str) -> dict:
        return files.read_json(scratch.result_path(self.paths, some.scratch.measured(fingerprint)))

    def _training(self, some: Jobs, checkpoint: Checkpoint) -> dict:
        """Return what is told of a checkpoint's training: beside the encoder, or by a record where that is all."""
        fingerprint = some.identity.checkpoint(checkpoint)
        if (key := some.scratch.trained(fingerprint)) is None:
            return self._result(some, fingerprint) | {"curve": [], "replicate": checkpoint.replicate}
        training = files.read_json(scratch.folder(self.paths, key) / TRAINING_FILE)
        seconds = training["wall_seconds"]
        speed = training["num_tokens"] / seconds if seconds else None
        return training | {"tokens_per_second": speed, "replicate": checkpoint.replicate}

    def _publish_trainings(self, some: Jobs, owner: str, checkpoints: list[Checkpoint]) -> None:
        trainings = [self._training(some, checkpoint) for checkpoint in checkpoints]
        for training in trainings:
            if curve := training.pop("curve"):
                place = self.paths.results / "curves" / owner / f"replicate_{training['replicate']}"
                path = place / f"{training['checkpoint']}.csv"
                files.write_text(path, pd.DataFrame(curve).to_csv(index=False))
        if trainings:
            self._write(owner, "pretraining", trainings)
