"""Do what a profile asks for: select, train what is missing, and publish it where DVC and readers look for it."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from dontstop.design.arms import OPENED, Checkpoint
from dontstop.design.plan import Plan, get_experiment, text_of
from dontstop.errors import StudyError, chosen
from dontstop.inputs import checked_name
from dontstop.machine import locks, progress, runner
from dontstop.machine.progress import Job
from dontstop.profiles import with_replicates
from dontstop.runs import adoption, preparation, published, selections
from dontstop.runs.augmentation import Selections
from dontstop.runs.jobs import Jobs
from dontstop.runs.published import Publisher
from dontstop.runs.results import Results
from dontstop.runs.scratch import READ_ONLY, is_set
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
        """Make corpora, splits, tokenizer and token stores, unless they stand there made with these settings.

        Selected text that is damaged is removed, so that whatever comes next finds it whole or not at all.
        """
        preparation.prepare(self.profile, self.paths, self.tasks, read_only=is_set(READ_ONLY))
        selections.drop_damaged(self.profile, self.paths)

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
            self.read_on(experiment)
        if left_out := self.design.left_out(experiment):
            progress.say(f"{experiment} ({self.profile.name}): {left_out}")
        plan, read_only = self.design.plan(experiment), is_set(READ_ONLY)
        with locks.only_run(self.paths.lock):
            some = self._jobs()
            adoption.adopt(some, plan)
            todo = some.missing(plan, self._opened() if with_encoders and not read_only else ())
        for replicate in () if read_only else self._lacking_text(some, plan, todo):
            self.select_text(replicate)
        with locks.only_run(self.paths.lock):
            todo = [job for job in todo if not job.arguments[2].is_file()]
            if todo and read_only:
                raise _not_made(some, todo)
            some.check_encoder(todo)
            some.carry_out(experiment, todo)
            publisher = Publisher(some, self.notebook)
            publisher.choose_place()
            results = publisher.publish(plan, get_experiment(experiment).losses)
            if experiment == "knn_tapt":
                here = (k for k in range(self.profile.replicates) if self._selections(some, k).is_written())
                publisher.publish_selections({k: self._selected(k) for k in here})
        _say_origins(some, plan, results)
        return self

    def ahead(self, experiment: str) -> list[Job]:
        """Return the jobs that an experiment still lacks, of prepared text."""
        return self._jobs().missing(self.design.plan(experiment))

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
        some = self._jobs()
        return published.on_record(
            some, self.design, experiments, lambda replicate: selections.is_known(self._selections(some, replicate))
        )

    def _jobs(self) -> Jobs:
        return Jobs.of(self.profile, self.paths)

    def _opened(self) -> set[Checkpoint]:
        return {arm.checkpoint(task) for arm, tasks in self.arms().items() if arm in OPENED for task in tasks}

    # Selected text ------------------------------------------------------------------------------------------------

    def select(self) -> None:
        """Select the text that tasks are augmented by, unless it stands there selected with these settings.

        In the first replicate, whose texts notebooks show, and where results are missing: those on record are found
        again by the digests of their text.
        """
        self.prepare()
        found = self._on_record("knn_tapt")
        if self.reads_on:
            self._count_in(found)
        for replicate in (0, *range(max(1, found.whole), self.profile.replicates)):
            self.select_text(replicate)

    def select_text(self, replicate: int) -> None:
        """Select one replicate's text, unless it stands there selected with these settings."""
        some = self._jobs()
        selections.select(some, self._selections(some, replicate))

    def _selections(self, some: Jobs, replicate: int) -> Selections:
        return Selections(some, self.design.augmented_tasks(), self.tasks, replicate)

    def _lacking_text(self, some: Jobs, plan: Plan, todo: Sequence[Job]) -> list[int]:
        """Return the replicates whose selected text is to be read, and does not stand here: results told of it."""
        keys = {job.key for job in todo}
        needed = [c for c in plan.checkpoints if some.place(c)[0] in keys]  # whose other text has been prepared
        return sorted({c.replicate for c in needed if not self.paths.store(text_of(c)).is_dir()})

    # One checkpoint -----------------------------------------------------------------------------------------------

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
            with locks.only_run(self.paths.lock) if main else contextlib.nullcontext():
                self._pretrain(checkpoint, here)

    def _pretrain(self, checkpoint: Checkpoint, here: str | None) -> None:
        some, parent = self._jobs(), checkpoint.parent
        if process_group.is_main_process():
            adoption.adopt(some, Plan(checkpoint.lineage))
        process_group.barrier()
        if some.trained(checkpoint) is not None:
            return
        if parent is not None and some.trained(parent) is None:
            raise StudyError(
                f"no encoder {parent.name}, which {checkpoint.name} starts from",
                "that one trained before",
                f"give `dontstop pretrain {parent.name}` first",
            )
        job = some.checkpoint(checkpoint)
        some.check_encoder([job], int(os.environ["WORLD_SIZE"]) if here is not None else 1)
        if here is not None and job.divisible:
            title = f"pretrain ({self.profile.name})"
            runner.work_together(title, job, self.profile.speed.progress_seconds, distributed=here)
        elif process_group.is_main_process():
            some.carry_out("pretrain", [job])


def _not_made(some: Jobs, todo: Sequence[Job]) -> StudyError:
    others = {key.partition(".")[2] for job in todo for key in some.scratch.others(job.key.partition(".")[0])}
    named = ", ".join(job.name for job in todo[:NUM_NAMED]) + (", ..." if len(todo) > NUM_NAMED else "")
    accept = "give --accept-other-machines, to read theirs" if others else ""
    beside = f"; other machines' stand there ({', '.join(sorted(others))})" if others else ""
    return StudyError(
        f"{len(todo)} results missing of this machine ({some.identity.capability}): {named}{beside}",
        "all results there, since nothing is to be trained now",
        accept or f"run `make study PROFILE={some.profile.name}`, or fetch what another has trained (`dvc pull`)",
    )


def _say_origins(some: Jobs, plan: Plan, results: list[dict]) -> None:
    """Say which checkpoints others have trained, and what they lacked; and which results are other machines'."""
    trainings = [some.training(checkpoint) for checkpoint in plan.checkpoints]
    for training in (training for training in trainings if "taken_from" in training):
        missing = ", ".join(training["newly_initialised"])
        more = f"; it lacked {missing}, newly initialised" if missing else ""
        progress.say(f"{training['checkpoint']}: taken from {training['taken_from']}, not trained here{more}")
    made_by = {row["capability"] for row in (*trainings, *results)}
    if others := made_by - {some.identity.capability}:
        progress.say(f"results of other machines are among these, as accepted: {', '.join(sorted(others))}")
