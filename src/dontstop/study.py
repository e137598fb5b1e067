"""What a notebook imports: a study of one profile, its runs, its tables and its figures."""

import ast
import contextlib
import difflib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from IPython import get_ipython
from IPython.display import Image, Markdown

import dontstop
from dontstop.errors import StudyError
from dontstop.machine import clusters, files, processes, runner
from dontstop.profiles import Paths, Profile, find_root, load_profile
from dontstop.report import checks, figures, findings, measures, presentation, reports
from dontstop.runs import arms, augmentation, jobs, records
from dontstop.runs.arms import Checkpoint
from dontstop.runs.experiments import CURVE, EXPERIMENTS, NOTEBOOKS, Experiment, notebook_of, notebook_of_arm, owner_of
from dontstop.text import corpora, docstrings, tasks
from dontstop.tokens import tokens
from dontstop.training import crews, encoders, mlm
from dontstop.verdicts import claims

# Decimals that a table is shown with, where one is not enough.
DECIMALS = {"table12_cross_domain_loss": 2, "forgetting": 2, "distances": 2, "agreement": 2, "pretraining": 2}
DECIMALS |= {"tapt_losses": 2, "cross_task_loss": 2, "best_arms": 2, "aggregates": 2, "verdicts": 2}
DECIMALS |= {"verdicts_by_task": 2, "tests": 2, "cheap_costs": 2}
DECIMALS |= {"neighbours": 2, "topics": 2, "selector_agreement": 2}
DECIMALS |= {"table1_corpora": 2, "gain_correlations": 2, "leak_audit": 2, "gain_against_distance": 2}


def default_profile() -> str:
    """Return the profile to use where none is named: DONTSTOP_PROFILE if set, else the one of params.yaml."""
    return os.environ.get("DONTSTOP_PROFILE") or yaml.safe_load((find_root() / "params.yaml").read_text())["profile"]


def open_study(notebook: str, **parameters) -> "Study":
    """Turn a notebook's parameters into a validated study.

    Args:
        notebook: The notebook's own name, such as `02_dapt`.
        parameters: Those of its parameters cell, by name.

    Raises:
        StudyError: If the profile is none; or if papermill was given a parameter that the notebook does not have,
            which it would otherwise run without.
    """
    for name in _injected_names():
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, n=1)
            remedy = f"write {close[0]!r} instead" if close else "leave it out"
            raise StudyError(f"parameter {name!r}", f"one of {', '.join(parameters)}, as {notebook} has them", remedy)
    return Study(parameters["profile"], notebook)


def _injected_names() -> list[str]:
    """Return the names that papermill's injected cell assigns: the first one that begins with its comment."""
    shell = get_ipython()
    sources = shell.user_ns.get("In", []) if shell is not None else []
    injected = next((source for source in sources if source.startswith("# Parameters")), "")
    return [
        target.id
        for statement in ast.parse(injected).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    ]


class Study:
    """One profile's study: runs what is missing, and reads what is there.

    Args:
        profile: A profile's name; None takes `default_profile()`.
        notebook: The notebook that asks, such as `02_dapt`; its results stand under this name.
    """

    def __init__(self, profile: str | None = None, notebook: str = "base"):
        self.profile = load_profile(default_profile() if profile is None else profile)
        self.notebook = notebook
        self.paths = Paths(self.profile.name)
        self.tasks = tasks.tasks_for(self.profile, self.paths)
        self.domains = tasks.domains_of(self.tasks, self.profile)
        self._check_names()

    def __repr__(self) -> str:
        return f"Study({self.profile.name!r}: {len(self.domains)} domains, {len(self.tasks)} tasks)"

    @property
    def texts(self) -> list[str]:
        """Names of all corpora: `general` and the domains."""
        return [tasks.GENERAL, *(domain.name for domain in self.domains)]

    def lacking_tasks(self) -> list[str]:
        """Name the tasks that the profile asks for and its text lacks, which `text.may_lack` allows."""
        names = {task.name for task in self.tasks}
        return [task.name for task in tasks.wanted_tasks(self.profile) if task.name not in names]

    def _check_names(self) -> None:
        known = [task.name for task in tasks.wanted_tasks(self.profile)]  # those that the text lacks included
        for setting, named in (
            ("task_finetune", self.profile.task_finetune),
            ("task_tapt", self.profile.task_tapt),
            ("tapt_curve.tasks", self.profile.tapt_curve.tasks),
            ("selection.tasks", self.profile.selection.tasks or []),
            ("cheap_adaptation.tasks", self.profile.cheap_adaptation.tasks or []),
        ):
            if unknown := set(named) - set(known):
                found = f"{setting} for {', '.join(sorted(unknown))}"
                raise StudyError(found, f"tasks of {', '.join(known)}", "mend the name")
        if self.profile.encoder.name and not self.profile.tokens.tokenizer:
            raise StudyError(
                f"encoder.name = {self.profile.encoder.name!r} without tokens.tokenizer",
                "an encoder with the tokenizer that it was trained with",
                "set tokens.tokenizer to the same name",
            )

    # Doing ------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make corpora, splits, tokenizer and token stores, unless they stand there made with these settings."""
        names = [task.name for task in self.tasks]
        settings = {"text": self.profile.text.model_dump(exclude={"folder"}), "version": 3}
        settings |= {"tokens": self.profile.tokens.model_dump(), "tasks": names}
        settings |= {"longest": tokens.longest_example(self.profile, names)}
        mark = {"settings": files.fingerprint(settings)}
        path = self.paths.data / "prepared.json"
        if self._may_read_again():
            mark["given"] = files.fingerprint(self._given_text())
        if path.is_file() and mark.items() <= jobs.load_result(path).items():
            return
        if not self._may_read_again():
            raise StudyError(
                f"no mirror named, and text prepared with other settings than profile {self.profile.name!r} has",
                "the mirror that the text came from, to prepare it again",
                f"name it: make study PROFILE={self.profile.name} MIRROR=<folder>",
            )
        tokens.check_given(self.profile)
        with self._only_run():
            path.unlink(missing_ok=True)
            _remove_parts(self.paths.data, *self.paths.data.parent.glob(f".{self.profile.name}.*.part"))
            seconds = self.profile.speed.progress_seconds
            if self.profile.text.source == "docstrings":
                for difference in docstrings.differing_versions(self.paths.root / "constraints.txt"):
                    runner.say(f"prepare: {difference}; so the text is not that of the committed results")
            else:
                from dontstop.fetch import task_files

                for difference in task_files.differences_from_table_2(
                    self.paths.root / self.profile.text.folder, names
                ):
                    runner.say(f"prepare: {difference}")
            if lacking := self.lacking_tasks():
                runner.say(f"prepare: {', '.join(lacking)} not in the mirror; the study goes on without, as allowed")
            with runner.telling(f"prepare ({self.profile.name}): reading, cleaning, splitting", seconds):
                corpora.prepare(self.profile, self.paths)
            with runner.telling(f"prepare ({self.profile.name}): tokenising", seconds):
                tokens.prepare_tokens(self.profile, self.paths, self.texts, names)
            files.write_json(path, mark)

    def _may_read_again(self) -> bool:
        """Whether it is known where the text comes from; a mirror is named when text is prepared, and may be gone."""
        return self.profile.text.source == "docstrings" or self.profile.text.folder is not None

    def _given_text(self) -> dict:
        """Return what the text is made of, so that text changed under its old name is read again.

        The versions of the installed packages, which are said where they are not the pinned ones; or the digests of
        the user's own files.
        """
        if self.profile.text.source == "docstrings":
            constraints = self.paths.root / "constraints.txt"
            return {"packages": docstrings.installed_versions(docstrings.pinned_names(constraints))}
        folder = self.paths.root / self.profile.text.folder
        given = sorted(
            path
            for kind in ("corpora", "tasks")
            for path in (folder / kind).rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
        return {"files": {str(path.relative_to(folder)): files.digest(path) for path in given}}

    def run(self, experiment: str) -> "Study":
        """Train and measure whatever the experiment still lacks; what is finished is found, not done again.

        Raises:
            StudyError: If the experiment is unknown, its text or settings are wrong, or another run is under way.
        """
        if experiment not in EXPERIMENTS:
            raise StudyError(f"experiment {experiment!r}", f"one of {', '.join(EXPERIMENTS)}", "name one of them")
        self.prepare()
        wanted = EXPERIMENTS[experiment]
        if wanted.augmented:
            self.select()
        identity = jobs.Identity(self.profile, self.paths)
        for arm in wanted.arms:
            if not self.tasks_of(arm):
                raise StudyError(
                    f"no task of {', '.join(task.name for task in self.tasks)} has its sister task beside it",
                    f"both tasks of a domain, for {arm}",
                    "add a missing task, or leave that notebook out",
                )
        plan, measured = self._plan(wanted), self._measured(wanted)
        checkpoints = tuple(dict.fromkeys([Checkpoint(), *plan.checkpoints, *(c for c, _ in measured)]))
        with self._only_run():
            folders = [jobs.scratch(self.paths, identity.checkpoint(checkpoint)) for checkpoint in checkpoints]
            keys = {identity.cell(c) for c in plan.cells} | {identity.loss(c, store) for c, store in measured}
            _remove_parts(self.paths.checkpoints, self.paths.results, *folders, *self._parts_of(keys))
            self._adopt(identity, checkpoints)
            todo = self._missing(identity, checkpoints, plan.cells, measured)
            self._carry_out(f"{experiment} ({self.profile.name})", todo)
            self._publish(identity, checkpoints, plan.cells, measured, wanted.losses)
        self._tell_of_given(identity, checkpoints)
        return self

    def _plan(self, wanted: Experiment) -> arms.Plan:
        plan = arms.Plan((), ())
        for some in dict.fromkeys(tuple(self.tasks_of(arm)) for arm in wanted.arms):
            together = [arm for arm in wanted.arms if tuple(self.tasks_of(arm)) == some]
            plan += arms.plan(together, some, self.profile.seeds)
        if wanted.curve:
            plan += arms.plan(self.curve_arms(), self.curve_tasks(), self.profile.seeds)
        if wanted.cheap:
            plan += arms.plan(self.cheap_arms(), self.cheap_tasks(), self.profile.seeds)
        if wanted.augmented:
            plan += self.augmented_plan()
        return plan

    def _only_run(self):
        return runner.only_run(self.paths.work / f"{self.profile.name}.lock")

    def _only_run_of_all(self):
        return self._only_run() if crews.leads() else contextlib.nullcontext()

    def _tell_of_given(self, identity, checkpoints) -> None:
        """Say which checkpoints others have trained, and what they lacked."""
        for checkpoint in checkpoints:
            training = self._training(identity, checkpoint)
            if "taken_from" in training:
                lacking = ", ".join(training["begun_at_random"])
                more = f"; it lacked {lacking}, which began at random" if lacking else ""
                runner.say(f"{checkpoint.name}: taken from {training['taken_from']}, not trained here{more}")

    def pretrain(self, name: str) -> None:
        """Train one checkpoint from its parent, unless it stands there trained: alone, or with torchrun's processes.

        Later runs find it, as they find everything that is finished.

        Args:
            name: Of a checkpoint without selected text: `base`, `dapt_biomed`, `dapt_cs_then_tapt_sciie`.

        Raises:
            StudyError: If there is no such checkpoint, or what it starts from is not there.
        """
        plans = [self._plan(wanted) for wanted in EXPERIMENTS.values() if not wanted.augmented]
        known = {"base": Checkpoint()} | {c.name: c for plan in plans for c in plan.checkpoints}
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else "name one of them"
            raise StudyError(f"checkpoint {name!r}", f"one of {', '.join(known)}", remedy)
        if not crews.is_under_torchrun():
            self.prepare()
        with crews.together(encoders.resolve_device(self.profile.device)) as here, self._only_run_of_all():
            self._pretrain(known[name], here)

    def _pretrain(self, checkpoint: Checkpoint, here: str | None) -> None:
        identity = jobs.Identity(self.profile, self.paths)
        if crews.leads():
            self._adopt(identity, [c for c in (checkpoint.parent, checkpoint) if c is not None])
        crews.wait()
        if self._trained(identity, checkpoint):
            return
        if checkpoint.parent is not None and not self._trained(identity, checkpoint.parent):
            raise StudyError(
                f"no encoder {checkpoint.parent.name}, which {checkpoint.name} starts from",
                "that one trained before",
                f"give `dontstop pretrain {checkpoint.parent.name}` first",
            )
        job = jobs.checkpoint_job(self.profile, self.paths, identity, checkpoint)
        title = f"pretrain ({self.profile.name})"
        if here is not None and job.function is jobs.pretrain:
            runner.work_together(title, job, self.profile.speed.progress_seconds, distributed=here)
        elif crews.leads():
            self._carry_out(title, [job])

    def select(self) -> None:
        """Select the text that tasks are enlarged by, unless it stands there selected with these settings."""
        self.prepare()
        identity = jobs.Identity(self.profile, self.paths)
        base = Checkpoint()
        wanted = augmentation.Selections(
            self.profile, self.paths, self.augmented_tasks(), self.tasks, identity.checkpoint(base)
        )
        if augmentation.is_written(self.paths, wanted.key()):
            return
        with self._only_run():
            todo = wanted.jobs()
            _remove_parts(*self.paths.selected.parent.glob(f".{self.profile.name}.*.part"))
            _remove_parts(*(jobs.scratch(self.paths, job.key) for job in todo))
            self._adopt(identity, [base])
            if "encoder" in self.profile.selection.selectors and not self._trained(identity, base):
                todo.insert(0, jobs.checkpoint_job(self.profile, self.paths, identity, base))
            self._carry_out(f"selection ({self.profile.name})", todo)
            wanted.write(runner.say)

    def _carry_out(self, title: str, todo: list[runner.Job]) -> None:
        """Do jobs on this machine's processes, or on the cluster that the profile names."""
        speed = self.profile.speed
        every = {"progress_seconds": speed.progress_seconds}
        if speed.cluster is None:
            runner.carry_out(title, todo, num_workers=jobs.num_processes(self.profile), **every)
        else:
            clusters.carry_out(title, todo, speed.cluster, self.paths.work / "cluster" / self.profile.name, **every)

    def checkpoints(self, kind: str) -> list[Checkpoint]:
        """List the encoders of a kind: `base` (one), `dapt` (one a domain) or `tapt` (one a task)."""
        if kind == "base":
            return [Checkpoint()]
        return [Checkpoint(((kind, text.name),)) for text in (self.domains if kind == "dapt" else self.tasks)]

    def curve_arms(self) -> list[str]:
        """List the arms of TAPT cut short, fewest epochs first."""
        return [arms.short_tapt(epochs) for epochs in sorted(self.profile.tapt_curve.num_epochs)]

    def curve_tasks(self) -> list[tasks.Task]:
        """List the tasks for which TAPT is also cut short."""
        return [task for task in self.tasks if task.name in self.profile.tapt_curve.tasks]

    def cheap_arms(self) -> list[str]:
        """List the arms that train few of an encoder's numbers, in their usual order."""
        return [arm for arm in arms.CHEAP_ARMS if arm in self.profile.cheap_adaptation.arms]

    def cheap_tasks(self) -> list[tasks.Task]:
        """List the tasks that those arms are run for."""
        named = self.profile.cheap_adaptation.tasks
        return [task for task in self.tasks if named is None or task.name in named]

    def augmented_tasks(self) -> list[tasks.Task]:
        """List the tasks whose text is enlarged."""
        named = self.profile.selection.tasks
        return [task for task in self.tasks if named is None or task.name in named]

    def curated_tasks(self) -> list[tasks.Task]:
        """List those of them that have unlabelled text of their own source."""
        return [task for task in self.augmented_tasks() if "unlabelled" in self.manifest()["tasks"][task.name]]

    def augmented_arms(self) -> dict[str, list[tasks.Task]]:
        """List the arms of TAPT on enlarged text, each with the tasks that it is run for."""
        settings = self.profile.selection
        numbers = sorted(settings.num_neighbours)
        names = [arms.knn_tapt(k) for k in numbers] + [arms.rand_tapt(k) for k in numbers]
        names += [arms.knn_tapt(settings.compared_neighbours, selector) for selector in settings.compared]
        found = {name: self.augmented_tasks() for name in names}
        curated = self.curated_tasks()
        return found | ({"curated_tapt": curated, "dapt_curated_tapt": curated} if curated else {})

    def tasks_of(self, arm: str) -> list[tasks.Task]:
        """List the tasks that an arm is run for."""
        if arms.is_enlarged(arm):
            return self.augmented_arms()[arm]
        if arm in arms.CHEAP_ARMS:
            return self.cheap_tasks()
        return self.transfer_tasks() if arm == "transfer_tapt" else list(self.tasks)

    def transfer_tasks(self) -> list[tasks.Task]:
        """List the tasks whose sister task the study has too; a mirror may lack one of a domain's two."""
        names = {task.name for task in self.tasks}
        return [task for task in self.tasks if task.other_task in names]

    def augmented_plan(self) -> arms.Plan:
        """Plan the arms of TAPT on enlarged text."""
        by_task: dict[str, list[str]] = {}
        for arm, some in self.augmented_arms().items():
            for task in some:
                by_task.setdefault(task.name, []).append(arm)
        plan = arms.Plan((), ())
        for task in self.augmented_tasks():
            draws = self.profile.selection.num_draws
            plan += arms.plan(by_task[task.name], [task], self.profile.seeds, draws)
        return plan

    def _measured(self, experiment: Experiment) -> list[tuple[Checkpoint, str]]:
        """List the pairs of an encoder and a token store whose masked-LM loss the experiment measures."""
        stores = [jobs.held_out_store(text) for text in self.texts]
        if experiment.on == "task":
            stores = [jobs.dev_store(task.name) for task in self.tasks]
        return [(c, store) for kind in experiment.measured for c in self.checkpoints(kind) for store in stores]

    def _missing(self, identity, checkpoints, cells, measured) -> list[runner.Job]:
        arguments = (self.profile, self.paths, identity)
        work = [jobs.checkpoint_job(*arguments, c) for c in checkpoints if not self._trained(identity, c)]
        work += [jobs.cell_job(*arguments, c) for c in cells]
        work += [jobs.loss_job(*arguments, c, store) for c, store in measured]
        unique = {job.key: job for job in work}.values()
        return [job for job in unique if job.kind == "checkpoint" or not self._result(job.key).is_file()]

    def _result(self, key: str) -> Path:
        return jobs.result_path(self.paths, key)

    def _parts_of(self, keys: set[str]) -> list[Path]:
        """List what a killed run left of these results; another profile's, which may be under way, lie beside them."""
        return [part for part in (self.paths.work / "results").glob(".*.part") if part.name.split(".")[1] in keys]

    def _trained(self, identity, checkpoint) -> bool:
        return (jobs.scratch(self.paths, identity.checkpoint(checkpoint)) / jobs.TRAINING_FILE).is_file()

    def _adopt(self, identity, checkpoints) -> None:
        """Take finished checkpoints that stand under checkpoints/ (pulled by DVC, say) into the scratch folder."""
        for checkpoint in checkpoints:
            source = self.checkpoint_folder(checkpoint)
            trained = source / jobs.TRAINING_FILE
            key = identity.checkpoint(checkpoint)
            if self._trained(identity, checkpoint) or not trained.is_file():
                continue
            if jobs.load_result(trained)["fingerprint"] == key:
                files.link_files(source, jobs.scratch(self.paths, key) / "encoder", leave_out=jobs.TRAINING_FILE)
                files.write_json(jobs.scratch(self.paths, key) / jobs.TRAINING_FILE, files.read_json(trained))

    def checkpoint_folder(self, checkpoint: Checkpoint) -> Path:
        """Return where a finished checkpoint stands: an ordinary Transformers folder."""
        if not checkpoint.phases:
            return self.paths.checkpoints / "base"
        text = checkpoint.phases[-1][1]
        if arms.is_augmented(checkpoint.phases[-1][0]):
            return self.paths.checkpoints / "augmented_tapt" / f"{text}_{checkpoint.kinds}"
        if checkpoint.kinds in arms.CHEAP_ARMS:
            return self.paths.checkpoints / "dapt_tapt" / f"{text}_{checkpoint.kinds}"
        if checkpoint.phases[-1][0] in self.curve_arms():
            return self.paths.checkpoints / "tapt" / f"{text}_{checkpoint.kinds.removeprefix('tapt_')}"
        return self.paths.checkpoints / checkpoint.kinds / text

    def _publish(self, identity, checkpoints, cells, measured, losses) -> None:
        """Put finished checkpoints, records and curves where DVC and the reader look for them.

        Records and curves of another notebook's checkpoints are that notebook's to write.
        """
        for checkpoint in checkpoints:
            self._publish_checkpoint(identity, checkpoint)
        for owner in {"base", self.notebook}:
            self._publish_trainings(identity, owner, [c for c in checkpoints if owner_of(c) == owner])
        short = set(self.curve_arms())
        of_name = {}
        for cell in cells:
            of_name.setdefault(CURVE if cell.arm in short else cell.arm, []).append(cell)
        for name, chosen in of_name.items():
            rows = [jobs.load_result(self._result(identity.cell(c))) | {"arm": c.arm} for c in chosen]
            self._write(name, sorted(rows, key=lambda row: (row["task"], row["seed"])))
        if measured:
            self._write(losses, [jobs.load_result(self._result(identity.loss(c, store))) for c, store in measured])

    def _publish_checkpoint(self, identity, checkpoint: Checkpoint) -> None:
        fingerprint, target = identity.checkpoint(checkpoint), self.checkpoint_folder(checkpoint)
        published = target / jobs.TRAINING_FILE
        if published.is_file() and jobs.load_result(published)["fingerprint"] == fingerprint:
            return
        published.unlink(missing_ok=True)  # before other weights stand beside it
        scratch = jobs.scratch(self.paths, fingerprint)
        files.link_files(scratch / "encoder", target)
        files.write_json(published, files.read_json(scratch / jobs.TRAINING_FILE))

    def _publish_trainings(self, identity, owner: str, checkpoints) -> None:
        if not checkpoints:
            return
        trainings = [self._training(identity, checkpoint) for checkpoint in checkpoints]
        for checkpoint, training in zip(checkpoints, trainings, strict=True):
            if curve := training.pop("curve"):
                path = self.paths.results / "curves" / owner / f"{checkpoint.name}.csv"
                files.write_text(path, pd.DataFrame(curve).to_csv(index=False))
        records.write_records(self.paths.results / "records" / owner, "pretraining", trainings)

    def _training(self, identity, checkpoint) -> dict:
        training = jobs.load_result(jobs.scratch(self.paths, identity.checkpoint(checkpoint)) / jobs.TRAINING_FILE)
        seconds = training["wall_seconds"]
        return training | {"tokens_per_second": training["num_tokens"] / seconds if seconds else None}

    def _write(self, name: str, rows: list[dict]) -> None:
        records.write_records(self.paths.results / "records" / self.notebook, name, rows)

    # Reading ----------------------------------------------------------------------------------------------------

    def records(self, *names: str, notebook: str | None = None) -> pd.DataFrame:
        """Read records by name (arms, `pretraining`, `cross_domain_loss`) of this or another notebook."""
        return records.read_records(self.paths.results / "records" / (notebook or self.notebook), *names)

    def available_arms(self) -> list[str]:
        """List the arms whose records are complete: every task that they are run for, and every seed."""
        plain = [arm for arm in arms.ARMS if not arms.is_enlarged(arm)]
        of_arms = {arm: self.tasks_of(arm) for arm in [*plain, *self.cheap_arms()]}
        of_arms = {arm: some for arm, some in of_arms.items() if some} | self.augmented_arms()
        return [
            arm
            for arm, some in of_arms.items()
            if self._recorded(arm) == {(task.name, seed) for task in some for seed in self.profile.seeds}
        ]

    def _recorded(self, arm: str) -> set[tuple[str, int]]:
        if not (self.paths.results / "records" / notebook_of_arm(arm) / f"{arm}.jsonl").is_file():
            return set()
        return set(self.arm_records(arm)[["task", "seed"]].itertuples(index=False, name=None))

    def arm_records(self, *names: str) -> pd.DataFrame:
        """Read the records of arms, each from the notebook that runs it."""
        return pd.concat([self.records(arm, notebook=notebook_of_arm(arm)) for arm in names], ignore_index=True)

    def trainings(self) -> pd.DataFrame:
        """Read the records of pretraining: of the base, the notebooks before this one, and this."""
        earlier = [name for name in NOTEBOOKS if self.notebook == "base" or name <= self.notebook]
        folders = [self.paths.results / "records" / name for name in ("base", *earlier)]
        found = [records.read_records(f, "pretraining") for f in folders if (f / "pretraining.jsonl").is_file()]
        return pd.concat(found, ignore_index=True)

    def rankings(self, task: str) -> dict:
        """Return, by selector, what is kept of a task's ranking: seconds, neighbours to be read, VAMPIRE's topics."""
        return files.read_json(self.paths.selected / task / augmentation.RANKINGS_FILE)

    def chosen(self, task: str, kind: str) -> np.ndarray:
        """Return the candidates that a task's text was enlarged by, (num_selected,) ascending; `rand_tapt_5_draw_0`."""
        return np.load(self.paths.selected / task / kind / "chosen.npy", allow_pickle=False)

    def selection_counts(self) -> dict:
        """Return what the selection wrote of itself: candidates by domain, and every store's counts."""
        return files.read_json(self.paths.selected / "manifest.json")

    def manifest(self) -> dict:
        """Return what `prepare` wrote about the text: counts, digests, versions."""
        return corpora.load_manifest(self.paths)

    def token_counts(self) -> dict:
        """Return documents, tokens and digest of every token store, by name (`corpora/general`, ...)."""
        return files.read_json(self.paths.data / "tokens" / "manifest.json")["stores"]

    def true_labels(self, task: str) -> np.ndarray:
        """Return the (num_test,) label ids of a task's test split."""
        ids = {label: index for index, label in enumerate(self.manifest()["tasks"][task]["labels"])}
        return np.array([ids[row["label"]] for row in corpora.load_examples(self.paths, task, "test")])

    def excerpts(self, text: str, num: int = 3, num_characters: int = 300) -> pd.DataFrame:
        """Return the beginnings of a few documents of a corpus, evenly spread over it."""
        rows = corpora.load_documents(self.paths.corpus(text))
        chosen = [rows[len(rows) * k // num] for k in range(num)]
        shown = [row["text"][:num_characters] + ("…" if len(row["text"]) > num_characters else "") for row in chosen]
        return presentation.ShownTable({"id": [row["id"] for row in chosen], "text": shown})

    def masked_example(self, text: str, num_tokens: int = 40) -> pd.DataFrame:
        """Return the first tokens of a training sequence as the encoder meets them: given, and to be found.

        Args:
            text: A domain, `general`, or a task.
        """
        tokenizer = tokens.load_tokenizer(self.paths.tokenizer())
        kind = "dapt" if text in self.texts else "tapt"
        checkpoint = Checkpoint() if text == tasks.GENERAL else Checkpoint(((kind, text),))
        store = tokens.load_token_store(self.paths.data / "tokens" / jobs.text_of(checkpoint))
        settings = self.profile.phase("base" if text == tasks.GENERAL else kind, text)
        settings = settings or jobs.loss_settings(self.profile)  # of a base encoder that others pretrained
        batch = mlm.Batches(store, mlm.Vocabulary.of(tokenizer), settings, checkpoint.name).shard(0, 0)
        wanted = dict(zip(batch.rows.tolist(), batch.labels.tolist(), strict=True))
        rows = [
            {"given": tokenizer.decode([token]), "to be found": tokenizer.decode([wanted[k]]) if k in wanted else ""}
            for k, token in enumerate(batch.input_ids[0, :num_tokens].tolist())
        ]
        return presentation.ShownTable(rows)

    def settings(self) -> pd.DataFrame:
        """Return the settings that differ from the paper's, with the paper's beside them."""
        ours, theirs = self.profile.model_dump(), Profile(name=self.profile.name).model_dump()
        groups = ["base", "dapt", "tapt", "finetune", "domain_gap"]
        if self.notebook == notebook_of("knn_tapt"):
            groups += ["augmented_tapt", "selection", "vampire"]
            ours |= {"vampire": ours["selection"].pop("vampire")}
            theirs |= {"vampire": theirs["selection"].pop("vampire")}
        rows = [
            {"setting": f"{group}.{name}", "here": ours[group][name], "paper": theirs[group][name]}
            for group in groups
            for name in theirs[group]
            if ours[group] is not None and ours[group][name] != theirs[group][name]
        ]
        return presentation.ShownTable(pd.DataFrame(rows).astype(str))

    def provenance(self) -> str:
        """Return one line: profile, commit, digest of the text, versions, device and precision."""
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=self.paths.root, capture_output=True, text=True, check=False
        ).stdout.strip()
        data = files.digest(self.paths.data / "manifest.json")[:12]
        return (
            f"profile {self.profile.name}; commit {commit or 'unknown'}; text {data}; "
            f"dontstop {dontstop.__version__}, torch {torch.__version__}; {processes.num_cores()} CPU cores, "
            f"{self._where()}"
        )

    def _where(self) -> str:
        device = encoders.resolve_device(self.profile.device)
        name = f"{torch.cuda.get_device_name()}, " if device == "cuda" else ""
        return name + encoders.resolve_precision(self.profile.precision, device)

    # Showing ----------------------------------------------------------------------------------------------------

    def table(self, name: str) -> pd.DataFrame:
        """Make one of the notebook's tables, write it to results/ as CSV and Markdown, return it rounded to be read."""
        table = reports.find(reports.TABLES, self.notebook, name)(self)
        decimals = DECIMALS.get(name, 1)
        presentation.write_table(table, self.paths.results / "tables" / self.notebook / name, decimals)
        shown = table.reset_index() if table.index.name else table
        return presentation.for_display(shown, decimals)

    def figure(self, name: str):
        """Draw one of the notebook's figures, write it to results/ as SVG and PNG, return it."""
        figure = reports.find(reports.FIGURES, self.notebook, name)(self)
        figures.write_figure(figure, self.paths.results / "figures" / self.notebook / name)
        return Image((self.paths.results / "figures" / self.notebook / f"{name}.png").read_bytes())

    def findings(self) -> Markdown:
        """Say what the notebook found, its numbers taken from the records."""
        return Markdown(findings.FINDINGS[self.notebook](self))

    def check(self) -> Markdown:
        """Hold the notebook's identities (counts, digests, fingerprints), and list them; scores are never checked."""
        return Markdown(checks.check(self))

    def judge(self) -> str:
        """Judge all claims by the records that are there, write claims.csv and claims.md, and say the verdicts."""
        judged = measures.judged(self)
        claims.save_claims(judged, self.paths.results, f"The paper's claims, profile `{self.profile.name}`")
        overview = claims.overview(judged)
        return "\n".join(f"{row.claim}: {row.ours} ({row.statement})" for row in overview.itertuples())

    def report(self) -> str:
        """Make all tables and figures of the notebook again from its records, and say where they are."""
        if not (self.paths.results / "records" / self.notebook).is_dir():
            return f"{self.notebook}: no records of profile {self.profile.name} yet; `make study` makes them"
        for name in reports.TABLES.get(self.notebook, {}):
            self.table(name)
        for name in reports.FIGURES.get(self.notebook, {}):
            self.figure(name)
        return f"{self.notebook}: tables and figures are in {self.paths.results}"


def _remove_parts(*folders: Path) -> None:
    """Remove what a killed run left half-written in its own folders, for which the lock is held."""
    for folder in folders:
        parts = [folder] if folder.suffix == ".part" else [*folder.rglob(".*.part")]
        for part in parts:
            shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
