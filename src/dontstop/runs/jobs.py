"""The study's jobs: what each does, needs and is kept under."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from dontstop.design.arms import Checkpoint, Run, phase_settings
from dontstop.design.plan import held_out_of, held_out_store, text_of
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.processes import num_cores
from dontstop.machine.progress import Job
from dontstop.profiles import Paths, Profile
from dontstop.runs import course, finetuning, pretraining, scratch
from dontstop.runs.identity import Identity, released_folder
from dontstop.runs.scratch import Reads, Scratch, Target, key_of
from dontstop.text.tasks import GENERAL
from dontstop.training import compatibility, devices

PROCESSES_ON_A_GPU = 4  # runs that keep one busy; of RoBERTa-base at length 512 they need some 30 GB together


def num_processes(profile: Profile) -> int | None:
    """Return how many jobs may run at once, or None: one a core."""
    on_gpu = devices.resolve_device(profile.device) != "cpu"
    return profile.speed.num_workers or (min(PROCESSES_ON_A_GPU, num_cores()) if on_gpu else None)


def _of_replicate(name: str, replicate: int) -> str:
    return f"{name} ({replicate})" if replicate else name


def _read_with(*stores: str) -> tuple[str, ...]:
    """Name what is read with token stores: the tokenizer, and the stores where they stand."""
    return ("tokenizer/", *(f"{name}/" if name.startswith("selected/") else f"tokens/{name}/" for name in stores))


def _read_by(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Name what a checkpoint's training reads of the text."""
    replayed = [f"corpora/{GENERAL}"] if checkpoint.last.kind == "replay_dapt" else []
    watched = map(held_out_store, course.watched_texts(checkpoint))
    return _read_with(text_of(checkpoint), held_out_of(checkpoint), *replayed, *watched)


@dataclass(frozen=True)
class Jobs:
    """Makes jobs, each under a key of its fingerprint and of the machines that make it and what it starts from."""

    profile: Profile
    paths: Paths
    identity: Identity
    scratch: Scratch

    def checkpoint(self, checkpoint: Checkpoint) -> Job:
        """Make the job that pretrains one checkpoint from its parent, or takes it where others have trained it."""
        target = self._target(self.identity.checkpoint(checkpoint), self.place(checkpoint)[1])
        label = _of_replicate(checkpoint.name, checkpoint.replicate)
        settings, given = phase_settings(self.profile, checkpoint), released_folder(self.profile, checkpoint)
        if given is None and checkpoint.last.kind == "average":
            needs = [self.place(some)[0] for some in (checkpoint.parent, Checkpoint((), checkpoint.replicate))]
            how = {"texts": _read_with(held_out_of(checkpoint)), "needs": needs}
            return self._job(target, label, "checkpoint", 1.0, pretraining.average, checkpoint, needs, **how)
        if given is not None or settings is None:
            arguments = (pretraining.take, checkpoint, str(given or self.profile.encoder.name))
            return self._job(target, label, "checkpoint", 1.0, *arguments, texts=_read_with(held_out_of(checkpoint)))
        per_epoch = self._num_tokens(text_of(checkpoint), settings.sequence_length)
        held_out = self._num_tokens(held_out_of(checkpoint), settings.sequence_length)
        per_step = settings.batch_size * settings.sequence_length
        size = settings.num_steps * per_step if settings.num_steps else float(settings.num_epochs * per_epoch)
        size += (held_out * (2 + (settings.num_checks or 0)) + course.num_tokens(checkpoint)) / 3.0
        parent = None if checkpoint.parent is None else self.place(checkpoint.parent)[0]
        arguments = (pretraining.pretrain, checkpoint, parent)
        how = {"needs": [parent] if parent else [], "alone": self._fills_the_gpu()}
        how |= {"divisible": settings.num_checks is None, "texts": _read_by(checkpoint)}
        return self._job(target, label, "checkpoint", size, *arguments, **how)

    def _fills_the_gpu(self) -> bool:
        """Whether one pretraining keeps a GPU busy: the paper's encoder does; a small one's user gives num_workers."""
        return self.identity.device != "cpu" and self.profile.speed.num_workers is None

    def run(self, run: Run) -> Job:
        """Make the job of one fine-tuning run."""
        encoder, made_by = self.place(run.checkpoint)
        task, target = run.task.name, self._target(self.identity.run(run), self._made_by(made_by))
        epochs = self.profile.finetune_for(task).num_epochs
        texts = self.identity.store(f"tasks/{task}/train")
        share = 1.0 if run.num_labels is None else min(1.0, run.num_labels / texts["num_documents"])
        scored = sum(self.identity.store(f"tasks/{task}/{split}")["num_tokens"] for split in ("dev", "test"))
        size = share * epochs * texts["num_tokens"] + scored / 3.0
        arguments = (finetuning.fine_tune, run, encoder, self.identity.labels(task))
        label = _of_replicate(f"{task} {run.arm} seed {run.seed}", run.replicate)
        texts = (f"tokens/tasks/{task}/", f"tasks/{task}/", "manifest.json")
        return self._job(target, label, "run", size, *arguments, texts=texts, needs={encoder})

    def loss(self, checkpoint: Checkpoint, store: str) -> Job:
        """Make the job that measures one encoder's masked-LM loss on one token store, of text it was not trained on."""
        size = self._num_tokens(store, self.profile.dapt.sequence_length) / 3.0
        encoder, made_by = self.place(checkpoint)
        target = self._target(self.identity.loss(checkpoint, store), self._made_by(made_by))
        arguments = (pretraining.measure, checkpoint, encoder, store)
        label = _of_replicate(f"{checkpoint.name} on {store}", checkpoint.replicate)
        return self._job(target, label, "loss", size, *arguments, texts=_read_with(store), needs={encoder})

    def check_encoder(self, todo: Sequence[Job], num_processes: int = 1) -> None:
        """Hold the encoder that the profile names to its settings, as it stands by now, before hours go into jobs."""
        if todo:
            base = self.profile.encoder.name and self.scratch.trained(self.identity.checkpoint(Checkpoint()))
            given = str(scratch.folder(self.paths, base) / "encoder") if base else None
            compatibility.check(self.profile, given, num_processes=num_processes)

    def place(self, checkpoint: Checkpoint) -> tuple[str, str]:
        """Return the key that a checkpoint stands under, or will, and the capability of the machines that make it."""
        fingerprint = self.identity.checkpoint(checkpoint)
        if (key := self.scratch.trained(fingerprint)) is not None:
            training = files.read_json(scratch.folder(self.paths, key) / scratch.TRAINING_FILE)
            return key, training["capability"]
        taken = released_folder(self.profile, checkpoint) is not None or checkpoint.parent is None
        made_by = self._made_by(None if taken else self.place(checkpoint.parent)[1])
        return key_of(fingerprint, made_by), made_by

    def _made_by(self, start: str | None) -> str:
        """Name who makes a result: this machine; and the one before it, where it starts from another's checkpoint."""
        own = self.identity.capability
        if start in (None, own) or start.split(" after ")[0] == own:
            return start or own
        return f"{own} after {start}"

    def _target(self, fingerprint: str, made_by: str) -> Target:
        return Target(self.paths, fingerprint, made_by, self.identity.precision)

    def _job(
        self, target: Target, name: str, kind: str, size: float, function, *arguments, texts=(), needs=(), **how
    ) -> Job:
        last = target.folder / scratch.TRAINING_FILE if kind == "checkpoint" else target.result
        whole = (self.paths, target.key, last, function, self.profile, target, *arguments)
        once = functools.partial(scratch.once, reads=Reads(frozenset(needs), texts))
        return Job(target.key, name, kind, size, once, whole, needs=frozenset(needs), **how)

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
