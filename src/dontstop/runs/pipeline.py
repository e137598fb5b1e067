"""Do what a profile asks for: select, train what is missing, and publish it where DVC and readers look for it."""

import contextlib
import functools
import os
from collections.abc import Collection
from dataclasses import replace
from typing import Self

from dontstop.design.arms import OPENED, Checkpoint
from dontstop.design.plan import Plan, get_experiment, text_of
from dontstop.errors import StudyError, chosen
from dontstop.inputs import checked_name
from dontstop.machine import clusters, digests, progress, runner
from dontstop.profiles import with_replicates
from dontstop.runs import adoption, augmentation, jobs, preparation, published, scratch
from dontstop.runs.identity import Identity
from dontstop.runs.jobs import Jobs
from dontstop.runs.published import Publisher
from dontstop.runs.results import Results
from dontstop.runs.scratch import READ_ONLY, Reads, Scratch, is_set
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
        if experiment == "knn_tapt":
            self.select()  # which prepares and counts too
        else:
            self.prepare()
            self._drop_damaged_selections()
            self.read_on(experiment)
        if left_out := self.design.left_out(experiment):
            progress.say(f"{experiment} ({self.profile.name}): {left_out}")
        plan = self.design.plan(experiment)
        with runner.only_run(self.paths.lock):
            some = self._jobs()
            adoption.adopt(some, plan)
            todo = self._missing(some, plan, self._opened() if with_encoders and not is_set(READ_ONLY) else ())
        for replicate in () if is_set(READ_ONLY) else self._lacking_text(some, plan, todo):
            self.select_text(replicate)
        with runner.only_run(self.paths.lock):
            todo = [job for job in todo if not job.arguments[2].is_file()]
            if todo and is_set(READ_ONLY):
                raise self._not_made(some, todo)
            some.check_encoder(todo)
            self._carry_out(f"{experiment} ({self.profile.name})", todo)
            publisher = Publisher(some, self.notebook)
            publisher.choose_place()
            results = publisher.publish(plan, get_experiment(experiment).losses)
            if experiment == "knn_tapt":
                here = (k for k in range(self.profile.replicates) if self._selections(some, k).is_written())
                publisher.publish_selections({k: self._selected(k) for k in here})
        self._say_given(publisher, plan, results)
        return self

    def ahead(self, experiment: str) -> list[progress.Job]:
        """Return the jobs that an experiment still lacks, of prepared text."""
        return self._missing(self._jobs(), self.design.plan(experiment))

    def read_on(self, *experiments: str) -> Self:
        """If it `reads_on`, count in the replicates beyond the profile's that experiments have on record; say so."""
        if self.reads_on:
            self._count_in(self._on_record(*experiments))
        return self

    def _count_in(self, found: published.OnRecord) -> None:
        place = self.paths.results.relative_to(self.paths.root)
        if found.whole > self.profile.replicates:
            progress.say(f"{found.whole} replicates stand in {place}: all are read (fewer by REPLICATES)")
            self.profile = with_replicates(self.profile, found.whole)
        if found.begun > self.profile.replicates:
            told = f"{found.begun} replicates are begun in {place}, and {self.profile.replicates} are read"
            progress.say(f"{told}: the next one's {found.unlike} is not whole, or is of other settings or versions")

    def _on_record(self, *experiments: str) -> published.OnRecord:
        some = self._identified()
        told_of = functools.cache(lambda replicate: published.tells_of(self._selections(some, replicate)))
        return published.on_record(some, self.design, experiments, told_of)

    def _selections(self, some: Jobs, replicate: int) -> augmentation.Selections:
        return augmentation.Selections(some, self.design.augmented_tasks(), self.tasks, replicate)

    def select(self) -> None:
        """Select the text that tasks are augmented by, unless it stands there selected with these settings.

        In the first replicate, whose texts notebooks show, and where results are missing: those on record are found
        again by the digests of their text.
        """
        self.prepare()
        self._drop_damaged_selections()
        found = self._on_record("knn_tapt")
        if self.reads_on:
            self._count_in(found)
        for replicate in (0, *range(max(1, found.whole), self.profile.replicates)):
            self.select_text(replicate)

    def _lacking_text(self, some: Jobs, plan: Plan, todo: list[progress.Job]) -> list[int]:
        """Return the replicates whose selected text is to be read, and does not stand here: results told of it."""
        keys = {job.key for job in todo}
        needed = [c for c in plan.checkpoints if some.place(c)[0] in keys and text_of(c).startswith("selected/")]
        return sorted({c.replicate for c in needed if not self.paths.store(text_of(c)).is_dir()})

    def select_text(self, replicate: int) -> None:
        """Select one replicate's text, unless it stands there selected with these settings."""
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
            adoption.adopt(some, Plan((base,)))
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
            adoption.adopt(some, Plan(checkpoint.lineage))
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
        return self._identified()

    def _identified(self) -> Jobs:
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

    def _say_given(self, publisher: Publisher, plan: Plan, results: list[dict]) -> None:
        """Say which checkpoints others have trained, and what they lacked; and which results are other machines'."""
        trainings = [publisher.training(checkpoint) for checkpoint in plan.checkpoints]
        for training in (training for training in trainings if "taken_from" in training):
            missing = ", ".join(training["newly_initialised"])
            more = f"; it lacked {missing}, newly initialised" if missing else ""
            progress.say(f"{training['checkpoint']}: taken from {training['taken_from']}, not trained here{more}")
        made_by = {row["capability"] for row in (*trainings, *results)}
        if others := made_by - {publisher.identity.capability}:
            progress.say(f"results of other machines are among these, as accepted: {', '.join(sorted(others))}")
