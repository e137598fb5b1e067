"""The study's jobs: what each does, needs and is kept under; which of them lack their results, and what those tell."""

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from dontstop.design.arms import Checkpoint, Run, phase_settings
from dontstop.design.plan import Plan, folder_of, held_out_of, held_out_store, text_of
from dontstop.errors import StudyError
from dontstop.machine import clusters, digests, files, runner
from dontstop.machine.processes import num_cores
from dontstop.machine.progress import Job
from dontstop.profiles import Paths, Profile
from dontstop.runs import course, finetuning, pretraining, scratch
from dontstop.runs.identity import Identity, released_folder
from dontstop.runs.scratch import ACCEPT_OTHERS, READ_ONLY, TRAINING_FILE, Reads, Scratch, Target, is_set, key_of
from dontstop.text.tasks import GENERAL
from dontstop.training import compatibility, devices

PROCESSES_ON_A_GPU = 4  # runs that keep one busy; of RoBERTa-base at length 512 they need some 30 GB together


def num_processes(profile: Profile) -> int:
    """Return how many jobs may run at once: one a core, fewer on a GPU."""
    on_gpu = devices.resolve_device(profile.device) != "cpu"
    return profile.speed.num_workers or (min(PROCESSES_ON_A_GPU, num_cores()) if on_gpu else num_cores())


def _of_replicate(name: str, replicate: int) -> str:
    return f"{name} ({replicate})" if replicate else name


def _stores_of(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Name the token stores that a checkpoint's training reads."""
    replayed = [f"corpora/{GENERAL}"] if checkpoint.last.kind == "replay_dapt" else []
    watched = map(held_out_store, course.watched_texts(checkpoint))
    return text_of(checkpoint), held_out_of(checkpoint), *replayed, *watched


@dataclass(frozen=True)
class Jobs:
    """Makes jobs, each under a key of its fingerprint and of the machines that make it and what it starts from."""

    profile: Profile
    paths: Paths
    identity: Identity
    scratch: Scratch

    @classmethod
    def of(cls, profile: Profile, paths: Paths, accept_others: bool | None = None) -> Self:
        """Return a profile's, given its text as it stands by now.

        Args:
            accept_others: Whether results of other machines are found too; None: as the environment says.
        """
        identity = Identity(profile, paths)
        others = is_set(ACCEPT_OTHERS) if accept_others is None else accept_others
        return cls(profile, paths, identity, Scratch(paths, identity.capability, others, identity.alike))

    # Making -------------------------------------------------------------------------------------------------------

    def checkpoint(self, checkpoint: Checkpoint) -> Job:
        """Make the job that pretrains one checkpoint from its parent, or takes it where others have trained it."""
        settings, given = phase_settings(self.profile, checkpoint), released_folder(self.profile, checkpoint)
        job = functools.partial(
            self._job,
            self._target(self.identity.checkpoint(checkpoint), self.place(checkpoint)[1]),
            _of_replicate(checkpoint.name, checkpoint.replicate),
            "checkpoint",
        )
        if given is None and checkpoint.last.kind == "average":
            needs = [self.place(some)[0] for some in (checkpoint.parent, Checkpoint((), checkpoint.replicate))]
            reads = Reads(frozenset(needs), stores=(held_out_of(checkpoint),))
            return job(1.0, reads, pretraining.average, checkpoint, needs)
        if given is not None or settings is None:
            reads = Reads(stores=(held_out_of(checkpoint),))
            return job(1.0, reads, pretraining.take, checkpoint, str(given or self.profile.encoder.name))
        per_epoch = self._num_tokens(text_of(checkpoint), settings.sequence_length)
        held_out = self._num_tokens(held_out_of(checkpoint), settings.sequence_length)
        per_step = settings.batch_size * settings.sequence_length
        size = settings.num_steps * per_step if settings.num_steps else float(settings.num_epochs * per_epoch)
        size += (held_out * (2 + (settings.num_checks or 0)) + course.num_tokens(checkpoint)) / 3.0
        parent = None if checkpoint.parent is None else self.place(checkpoint.parent)[0]
        reads = Reads(frozenset([parent] if parent else []), stores=_stores_of(checkpoint))
        how = {"alone": self._fills_the_gpu(), "divisible": settings.num_checks is None}
        return job(size, reads, pretraining.pretrain, checkpoint, parent, **how)

    def _fills_the_gpu(self) -> bool:
        """Whether one pretraining keeps a GPU busy: the paper's encoder does; a small one's user gives num_workers."""
        return self.identity.device != "cpu" and self.profile.speed.num_workers is None

    def run(self, run: Run) -> Job:
        """Make the job of one fine-tuning run."""
        encoder, made_by = self.place(run.checkpoint)
        task, target = run.task.name, self._target(self.identity.run(run), self._made_by(made_by))
        epochs = self.profile.finetune_for(task).num_epochs
        train = self.identity.store(f"tasks/{task}/train")
        share = 1.0 if run.num_labels is None else min(1.0, run.num_labels / train["num_documents"])
        scored = sum(self.identity.store(f"tasks/{task}/{split}")["num_tokens"] for split in ("dev", "test"))
        size = share * epochs * train["num_tokens"] + scored / 3.0
        reads = Reads(frozenset({encoder}), (f"tokens/tasks/{task}/", f"tasks/{task}/", "manifest.json"))
        label = _of_replicate(f"{task} {run.arm} seed {run.seed}", run.replicate)
        arguments = (finetuning.fine_tune, run, encoder, self.identity.labels(task))
        return self._job(target, label, "run", size, reads, *arguments)

    def loss(self, checkpoint: Checkpoint, store: str) -> Job:
        """Make the job that measures one encoder's masked-LM loss on one token store, of text it was not trained on."""
        size = self._num_tokens(store, self.profile.dapt.sequence_length) / 3.0
        encoder, made_by = self.place(checkpoint)
        target = self._target(self.identity.loss(checkpoint, store), self._made_by(made_by))
        reads = Reads(frozenset({encoder}), stores=(store,))
        label = _of_replicate(f"{checkpoint.name} on {store}", checkpoint.replicate)
        return self._job(target, label, "loss", size, reads, pretraining.measure, checkpoint, encoder, store)

    def place(self, checkpoint: Checkpoint) -> tuple[str, str]:
        """Return the key that a checkpoint stands under, or will, and the capability of the machines that make it."""
        if (key := self.trained(checkpoint)) is not None:
            return key, self._training_under(key)["capability"]
        taken = released_folder(self.profile, checkpoint) is not None or checkpoint.parent is None
        made_by = self._made_by(None if taken else self.place(checkpoint.parent)[1])
        return key_of(self.identity.checkpoint(checkpoint), made_by), made_by

    def _made_by(self, start: str | None) -> str:
        """Name who makes a result: this machine; and the one before it, where it starts from another's checkpoint."""
        own = self.identity.capability
        if start in (None, own) or start.split(" after ")[0] == own:
            return start or own
        return f"{own} after {start}"

    def _target(self, fingerprint: str, made_by: str) -> Target:
        return Target(self.paths, fingerprint, made_by, self.identity.precision)

    def _job(self, target: Target, name: str, kind: str, size: float, reads: Reads, function, *arguments, **how) -> Job:
        last = target.folder / TRAINING_FILE if kind == "checkpoint" else target.result
        whole = (self.paths, target.key, last, function, self.profile, target, *arguments)
        once = functools.partial(scratch.once, reads=reads)
        return Job(target.key, name, kind, size, once, whole, needs=reads.keys, **how)

    def _num_tokens(self, name: str, length: int) -> int:
        """Count the tokens of a store, which must be enough for a sequence."""
        num_tokens = self.identity.store(name)["num_tokens"]
        if num_tokens < length:
            raise StudyError(
                f"{num_tokens} tokens of text in {name}",
                f"at least one sequence of {length} tokens",
                "give it more text, or lower sequence_length",
            )
        return num_tokens

    # Doing --------------------------------------------------------------------------------------------------------

    def missing(self, plan: Plan, opened: Collection[Checkpoint] = ()) -> list[Job]:
        """Return the jobs that lack their results; an encoder is needed by them, if nothing tells of it, or opened."""
        found, identity = self.scratch, self.identity
        runs = [run for run in plan.runs if found.measured(identity.run(run)) is None]
        losses = [loss for loss in plan.losses if found.measured(identity.loss(*loss)) is None]
        starts = [run.checkpoint for run in runs] + [encoder for encoder, _ in losses]
        starts += [c for c in plan.checkpoints if c in opened or not self._is_told_of(c)]
        needed = dict.fromkeys(parent for start in starts for parent in start.lineage)
        todo = [self.checkpoint(c) for c in needed if self.trained(c) is None]
        todo += [self.run(run) for run in runs] + [self.loss(*loss) for loss in losses]
        return list({job.key: job for job in todo}.values())

    def _is_told_of(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint is there, or its record, which is enough unless its encoder stands there damaged."""
        if self.trained(checkpoint) is not None:
            return True
        is_damaged = digests.folder_damage(self.paths.checkpoints / folder_of(checkpoint)) is not None
        is_recorded = self.scratch.measured(self.identity.checkpoint(checkpoint)) is not None
        return is_recorded and (is_set(READ_ONLY) or not is_damaged)

    def check_encoder(self, todo: Sequence[Job], num_processes: int = 1) -> None:
        """Hold the encoder that the profile names to its settings, as it stands by now, before hours go into jobs."""
        if todo:
            base = self.profile.encoder.name and self.trained(Checkpoint())
            given = str(scratch.folder(self.paths, base) / "encoder") if base else None
            compatibility.check(self.profile, given, num_processes=num_processes)

    def carry_out(self, what: str, todo: Sequence[Job]) -> None:
        """Do jobs on this machine's processes, or on the cluster that the profile names."""
        title, speed = f"{what} ({self.profile.name})", self.profile.speed
        if speed.cluster is None:
            how = {"num_workers": num_processes(self.profile), "progress_seconds": speed.progress_seconds}
            runner.carry_out(title, todo, **how)
        else:
            folder = self.paths.work / "cluster" / self.profile.name
            clusters.carry_out(title, todo, speed.cluster, folder, progress_seconds=speed.progress_seconds)

    # Done ---------------------------------------------------------------------------------------------------------

    def trained(self, checkpoint: Checkpoint) -> str | None:
        """Return the key that a finished checkpoint stands under, or None."""
        return self.scratch.trained(self.identity.checkpoint(checkpoint))

    def result(self, fingerprint: str) -> dict:
        """Return the record of a finished run or loss."""
        return files.read_json(scratch.result_path(self.paths, self.scratch.measured(fingerprint)))

    def training(self, checkpoint: Checkpoint) -> dict:
        """Return what is told of a checkpoint's training: beside the encoder, or by a record where that is all."""
        if (key := self.trained(checkpoint)) is None:
            return self.result(self.identity.checkpoint(checkpoint)) | {"curve": [], "replicate": checkpoint.replicate}
        training = self._training_under(key)
        seconds = training["wall_seconds"]
        speed = training["num_tokens"] / seconds if seconds else None
        return training | {"tokens_per_second": speed, "replicate": checkpoint.replicate}

    def _training_under(self, key: str) -> dict:
        return files.read_json(scratch.folder(self.paths, key) / TRAINING_FILE)
