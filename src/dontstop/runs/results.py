"""What a study found, as pandas frames: runs, losses, pretraining, curves; its text and settings."""

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product

import pandas as pd
import torch

import dontstop
from dontstop.design import arms
from dontstop.design.arms import Arm, Checkpoint, Phase
from dontstop.design.needs import Design
from dontstop.design.plan import EXPERIMENTS, LABEL_CURVE, LABEL_CURVE_ARMS, NOTEBOOKS, folder_of, records_of
from dontstop.machine import files
from dontstop.profiles import Profile
from dontstop.runs import identity, records
from dontstop.runs.texts import Texts
from dontstop.text.tasks import Task
from dontstop.training import devices

RUN_COLUMNS = [
    *("task", "domain", "arm", "replicate", "seed", "metric", "test_score", "test_micro_f1", "test_macro_f1"),
    *("test_log_probability", "dev_score"),
    *("dev_scores", "best_epoch", "num_epochs", "num_steps", "num_train", "num_dev", "num_test", "degenerate"),
    *("labels", "test_predictions", "checkpoint", "wall_seconds", "fingerprint", "capability"),
]
LOSS_COLUMNS = ["encoder", "replicate", "held_out", "masked_lm_loss", "num_masked", "measured_on", "notebook"]
PRETRAINING_COLUMNS = [
    *("checkpoint", "replicate", "phases", "num_steps", "num_tokens", "wall_seconds", "tokens_per_second"),
    *("num_processes", "checks", "kept_step", "loss_before", "loss_after", "precision", "fingerprint", "capability"),
]
POINT = ["step", "held_out", "masked_lm_loss"]  # of a course
CURVE_COLUMNS = ["checkpoint", "replicate", *records.CURVE]
# Fields of records that have been renamed since some of those that are kept were written.
RENAMED = {"num_trained": "trainable_parameters", "begun_at_random": "newly_initialised"}


class Results(Texts):
    """What stands in a profile's results, read only; its arguments are those of `Texts`."""

    @property
    def design(self) -> Design:
        """Arms, tasks and plans that the profile asks for, given the prepared text."""
        return Design.of(self.profile, self.paths, self.tasks)

    # Arms and checkpoints -------------------------------------------------------------------------------------------

    def arms(self) -> dict[Arm, list[Task]]:
        """Return all arms that the profile asks for, each with the tasks that it is run for, by notebook."""
        return self.design.arms()

    def available_arms(self, replicates: Iterable[int] | None = None) -> list[Arm]:
        """Return the arms whose records are complete in some replicates, or in all; not TAPT with fewer epochs.

        Of an arm on which no claim rests, a profile may ask for fewer replicates.
        """
        asked = None if replicates is None else set(replicates)
        keys, there = ["task", "replicate", "seed"], []
        found = {arm: set(rows[keys].itertuples(index=False, name=None)) for arm, rows in self.runs().groupby("arm")}
        for arm, tasks in self.arms().items():
            own = [r for r in self.design.replicates_of(arm) if asked is None or r in asked]
            wanted = set(product((task.name for task in tasks), own, self.profile.seeds))
            if wanted and not arm.is_short and found.get(arm.name, set()) >= wanted:
                there.append(arm)
        return there

    def arm(self, name: str | Arm) -> Arm:
        """Return one of the study's arms by its name; an arm as it is.

        Raises:
            StudyError: If there is no such arm.
        """
        return name if isinstance(name, Arm) else arms.get_arm(name, self.arms())

    def checkpoints(self) -> list[Checkpoint]:
        """Return all checkpoints that the profile's experiments rest on, of the first replicate."""
        plans = (self.design.plan(name, [0]) for name in EXPERIMENTS)
        return list(dict.fromkeys(checkpoint for plan in plans for checkpoint in plan.checkpoints))

    def checkpoint_folder(self, checkpoint: Checkpoint):
        """Return where a finished checkpoint stands: an ordinary Transformers folder."""
        return self.paths.checkpoints / folder_of(checkpoint)

    # Frames ---------------------------------------------------------------------------------------------------------

    def runs(self, *wanted: Arm | str) -> pd.DataFrame:
        """Return the fine-tuning runs of some arms, or of all on record, at the primary number of labels, a row a run.

        Returns:
            Columns
            task, domain, arm: what was run; names
            replicate, seed: of the whole study; of the classifier's head and batches in it
            metric: the task's own, `micro_f1` or `macro_f1`
            test_score: by that metric, 0 to 1
            test_micro_f1, test_macro_f1: by either metric, 0 to 1
            test_log_probability: mean log-probability of the test texts' labels, nats
            dev_score, dev_scores: the best epoch's by the task's metric; a list of every epoch's
            best_epoch, num_epochs, num_steps: the epoch kept (from 1), epochs trained, optimizer steps
            num_train, num_dev, num_test: examples
            degenerate: whether all test predictions are one label
            labels, test_predictions: names in the order of ids; packed ids (see `records.decode_predictions`)
            checkpoint: name of the encoder that was fine-tuned
            wall_seconds: of the run, on one process
            fingerprint, capability: what the result is identified by, and the kind of machine that made it

        Raises:
            StudyError: If an arm is unknown, or has no records though the study has text for it.
        """
        there = self.arms()
        found = [
            self._by_task(rows[rows["arm"] == arm.name])
            for arm in [self.arm(arm) for arm in wanted] or there
            for rows in self._records(*records_of(arm), required=bool(wanted) and arm in there)
        ]
        return _joined(found, RUN_COLUMNS)

    def label_curve(self) -> pd.DataFrame:
        """Return the runs of base, DAPT, TAPT and both with every number of labels, the primary one included.

        They are of the first seed, and of the replicates that have all numbers.
        """
        others = self._records(EXPERIMENTS["dapt_tapt"].notebook, LABEL_CURVE)
        found = [rows[rows["arm"] == arm.name] for arm in LABEL_CURVE_ARMS for rows in others]
        primary = [self.runs(arm) for arm in LABEL_CURVE_ARMS] if others else []
        frame = _joined([self._by_task(rows) for rows in (*primary, *found)], RUN_COLUMNS)
        frame = frame[frame["replicate"].map(self.profile.is_full).astype(bool)]
        return frame[frame["seed"] == self.profile.seeds[0]].reset_index(drop=True)

    def _by_task(self, rows: pd.DataFrame) -> pd.DataFrame:
        places = {task.name: place for place, task in enumerate(self.tasks)}
        return rows.sort_values("task", key=lambda names: names.map(places), kind="stable")

    def _records(self, notebook: str, name: str, required: bool = False) -> list[pd.DataFrame]:
        """Read records into a list of one frame; of none where there are none, unless they are required."""
        folder = self.paths.results / "records" / notebook
        if not required and not (folder / f"{name}.jsonl").is_file():
            return []
        rows = records.read_records(folder, name)
        return [rows[rows["replicate"] < self.profile.replicates] if "replicate" in rows else rows.assign(replicate=0)]

    def losses(self) -> pd.DataFrame:
        """Return the masked-LM losses of encoders on held-out text, a row a measurement.

        Returns:
            Columns
            encoder, replicate: name of the checkpoint, and which replicate's
            held_out: the domain (or `general`), or the task, on whose text it was measured
            masked_lm_loss: mean cross-entropy in nats per masked token
            num_masked: masked tokens
            measured_on: `domain` (held-out samples) or `task` (dev texts)
            notebook: that measured it; notebook 02 measures what 01 does, and more
        """
        found = [
            rows.assign(measured_on=experiment.on, notebook=experiment.notebook)
            for experiment in EXPERIMENTS.values()
            for rows in self._records(experiment.notebook, experiment.losses)
        ]
        return _joined(found, LOSS_COLUMNS)

    def pretraining(self) -> pd.DataFrame:
        """Return how checkpoints were pretrained: the base, those of the notebooks before this one, and of this.

        Returns:
            Columns
            checkpoint, replicate: its name, and which replicate's
            phases: pairs of a phase's name and its text
            num_steps, num_tokens: optimizer steps; tokens that passed through the encoder, repeats counted
            wall_seconds, tokens_per_second, num_processes: over all tries; processes that shared the last phase
            checks, kept_step: losses on held-out text on the way, nats; after which step the encoder was kept
            loss_before, loss_after: of the last phase, on its held-out text, nats per masked token
            precision: `fp32` or `bf16`
            fingerprint, capability: what the result is identified by, and the kind of machine that made it
            trainable_parameters: where not all were trained (if any checkpoint is such)
            taken_from, newly_initialised: where others trained it (if any checkpoint is such)
        """
        return _joined(self._trainings(), PRETRAINING_COLUMNS).drop(columns="course", errors="ignore")

    def course(self) -> pd.DataFrame:
        """Return the losses of encoders while they were trained, of the checkpoints that `pretraining` tells of.

        Returns:
            Columns
            checkpoint: its name
            replicate: the first, in which this is measured, of DAPT and of TAPT after it
            phase, domain: the kind of the last phase, and the domain that was adapted to
            step: of the phase; 0 before it
            held_out: the domain, or `general`, on some of whose held-out text the loss was measured
            masked_lm_loss: nats per masked token
        """
        found = []
        for frame in self._trainings():
            for row in frame.itertuples() if "course" in frame else ():
                checkpoint = Checkpoint(tuple(Phase(*phase) for phase in row.phases), row.replicate)
                about = (checkpoint.name, row.replicate, checkpoint.last.kind)
                points = row.course if isinstance(row.course, list) else []
                found += [(*about, checkpoint.phases[0].text, *(point[c] for c in POINT)) for point in points]
        return pd.DataFrame(found, columns=["checkpoint", "replicate", "phase", "domain", *POINT])

    def _trainings(self) -> list[pd.DataFrame]:
        return [rows for notebook in self._notebooks() for rows in self._records(notebook, "pretraining")]

    def curves(self) -> pd.DataFrame:
        """Return the loss curves of pretraining, of the checkpoints that `pretraining` tells of.

        Columns checkpoint; replicate; step (from 1); num_tokens so far; learning_rate; masked_lm_loss, the mean in nats
        per masked token over the steps since the last point.

        Raises:
            StudyError: If one of them is damaged.
        """
        folders = [self.paths.results / "curves" / name for name in self._notebooks()]
        found = [
            records.read_curve(path).assign(checkpoint=path.stem, replicate=replicate)
            for folder, replicate in product(folders, range(self.profile.replicates))
            for path in sorted((folder / f"replicate_{replicate}").glob("*.csv"))
        ]
        return _joined(found, CURVE_COLUMNS)

    def _notebooks(self) -> list[str]:
        return ["base", *(name for name in NOTEBOOKS if self.notebook == "base" or name <= self.notebook)]

    def rankings(self, task: str, replicate: int = 0) -> dict:
        """Return, by selector, what is kept of a task's ranking: seconds, neighbours to be read, VAMPIRE's topics."""
        found = files.read_json(self._selected(replicate) / task / records.RANKINGS_FILE)
        of = self.selection_counts(replicate)["selection"]
        for frame in self._records(EXPERIMENTS["knn_tapt"].notebook, records.RANKINGS):
            is_its = (frame["task"] == task) & (frame["replicate"] == replicate) & (frame["fingerprint"] == of)
            for row in frame[is_its].itertuples():
                found[row.selector]["wall_seconds"] = row.ranking_seconds  # when it was first made
        return found

    # Settings and provenance ----------------------------------------------------------------------------------------

    def settings(self) -> pd.DataFrame:
        """Return the settings that differ from the paper's: columns setting, here, paper."""
        groups = ["base", "dapt", "tapt", "labels", "finetune", "domain_gap"]
        if self.notebook == EXPERIMENTS["knn_tapt"].notebook:
            groups += ["augmented_tapt", "selection"]
        ours, theirs = (
            {name: value for group in groups for name, value in _flattened(group, profile.model_dump()[group])}
            for profile in (self.profile, Profile(name=self.profile.name))
        )
        differing = [name for name in theirs if name in ours and ours[name] != theirs[name]]
        rows = [(name, str(ours[name]), str(theirs[name])) for name in differing]
        return pd.DataFrame(rows, columns=["setting", "here", "paper"])

    def provenance(self) -> str:
        """Return one line: profile, commit, digest of the text, versions, kinds of machine, arms left out.

        The commit is the last that changed code, settings or notebooks, so that committing results changes nothing.
        """
        git = ["git", "-C", str(self.paths.root), "log", "-1", "--format=%h", "--", "src", "configs", "notebooks"]
        commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
        data = files.digest(self.paths.data / "manifest.json")[:12]
        device, own = devices.resolve_device(self.profile.device), self.capability()
        own = f"{torch.cuda.get_device_name()}, {own}" if device == "cuda" else own
        others = self.capabilities() - {own}
        lacking = f"; {self.design.left_out()}" if self.design.left_out() else ""
        elsewhere = f"; results of other machines: {', '.join(sorted(others))}" if others else ""
        return (
            f"profile {self.profile.name}; commit {commit or 'unknown'}; text {data}; dontstop {dontstop.__version__}, "
            f"torch {torch.__version__}; {own}{elsewhere}{lacking}"
        )

    def capability(self) -> str:
        """Return the kind of this machine, as records name it."""
        return identity.capability_of(self.profile)

    def capabilities(self) -> set[str]:
        """Return the kinds of machines that made the records of the notebooks before this one, and of this."""
        folders = (self.paths.results / "records" / name for name in self._notebooks())
        rows = records.rows_of(path for folder in folders for path in folder.glob("*.jsonl"))
        return {row.get("capability", records.NOT_RECORDED) for row in rows}


def has_weights(study: Results, checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint's weights are here: those of some replicates may be gone, or not pulled."""
    return (study.checkpoint_folder(checkpoint) / "model.safetensors").is_file()


def most_weights_first(study: Results, checkpoints: Sequence[Checkpoint]) -> list[int]:
    """Return the replicates, those first that have the weights of most of some checkpoints here."""

    def number(replicate: int) -> int:
        return sum(has_weights(study, replace(checkpoint, replicate=replicate)) for checkpoint in checkpoints)

    return sorted(range(study.profile.replicates), key=number, reverse=True)


def _joined(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Join frames, and put their columns into order, those that the records lack included; others follow."""
    frame = pd.concat(frames, ignore_index=True).rename(columns=RENAMED) if frames else pd.DataFrame()
    if "capability" in columns:
        recorded = frame["capability"] if "capability" in frame else pd.Series(None, frame.index, object)
        frame = frame.assign(capability=recorded.fillna(records.NOT_RECORDED))
    return frame.reindex(columns=[*columns, *(column for column in frame.columns if column not in columns)])


def _flattened(name: str, value) -> Iterator[tuple[str, object]]:
    """Yield settings by their whole name: `selection.vampire.num_topics`."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flattened(f"{name}.{key}", inner)
    elif value is not None or "." in name:
        yield name, value
