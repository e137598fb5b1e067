"""What a notebook imports: a study of one profile, which trains what is missing, and gives its results as frames."""

import ast
import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field, ValidationError
from transformers.utils import logging

from dontstop import tokens
from dontstop.design import arms
from dontstop.design.arms import BASE, DAPT, DAPT_TAPT, TAPT, Arm, Phase
from dontstop.design.needs import Design
from dontstop.design.plan import EXPERIMENTS, NOTEBOOKS, records_of
from dontstop.errors import StudyError, counted, tell_plainly
from dontstop.inputs import checked_name, read_settings
from dontstop.machine import progress
from dontstop.profiles import (
    MOST_MINUTES,
    MOST_REPLICATES,
    Advice,
    Count,
    Paths,
    Profile,
    Settings,
    find_root,
    load_profile,
    with_replicates,
)
from dontstop.runs import budget, published, records, trials
from dontstop.runs.pipeline import Pipeline
from dontstop.text import corpora, tasks
from dontstop.verdicts import guesses

OWN_NOTEBOOK = "07_own_data"  # which begins with an example of one's own text, not with the study's
# The arms of earlier notebooks that a notebook compares its own with.
COMPARED_WITH = {
    "03_tapt": (BASE, DAPT),
    "04_dapt_tapt": (BASE, DAPT, TAPT),
    "05_transfer_tapt": (BASE, DAPT, TAPT),
    "06_knn_tapt": (BASE, DAPT, TAPT, DAPT_TAPT),
}


class Parameters(Settings):
    """What a notebook's parameters cell sets: all that papermill may change."""

    profile: str | None = None
    replicates: Annotated[Count, Field(le=MOST_REPLICATES)] | None = None
    minutes: Annotated[float, Field(gt=0, le=MOST_MINUTES)] | None = None  # of notebook 07 alone


def open_study(notebook: str, **parameters) -> "Study":
    """Turn a notebook's parameters into a validated study.

    Args:
        notebook: The notebook's own name, such as `02_dapt`.
        parameters: Those of its parameters cell, by name.

    Raises:
        StudyError: If the profile is none; or if papermill was given a parameter that the notebook does not have,
            which it would otherwise run without.
    """
    from IPython import get_ipython  # which the command line does without

    shell = get_ipython()
    if shell is not None:
        tell_plainly(shell)
    injected = {} if shell is None else _injected(shell)
    for name in (name for name in injected if name not in parameters):
        close = difflib.get_close_matches(name, parameters, n=1)
        remedy = f"write {close[0]!r} instead" if close else "leave it out"
        raise StudyError(f"parameter {name!r}", f"one of {', '.join(parameters)}, as {notebook} has them", remedy)
    try:
        chosen = Parameters.model_validate(injected | parameters)
    except ValidationError as error:
        first = error.errors()[0]
        found = f"parameter {first['loc'][0]!r} = {first['input']!r}"
        raise StudyError(found, first["msg"], "change the value") from error
    study = Study(chosen.profile, notebook, chosen.replicates, chosen.minutes)
    _check_earlier(study)
    logging.disable_progress_bar()  # of loading weights: a bar for each of dozens of encoders
    return study


def _check_earlier(study: "Study") -> None:
    """Check that the notebooks whose results this one compares its own with have run: before it trains anything."""
    asked = study.profile.arms
    compared = [a for a in COMPARED_WITH.get(study.notebook, ()) if asked is None or a.name in asked]
    needed = dict.fromkeys(map(records_of, compared))
    if study.notebook == "02_dapt":
        needed = {("01_domain_gap", EXPERIMENTS["domain_gap"].losses): None}
    for notebook, name in needed:
        path, wanted = study.paths.results / "records" / notebook / f"{name}.jsonl", study.profile.replicates
        rows = records.read_rows(path)[0] if path.is_file() else []
        if (found := len({row.get("replicate", 0) for row in rows})) < wanted:
            raise StudyError(
                f"{found} of {wanted} replicates of notebook {notebook} ({name}) at profile {study.profile.name!r}",
                f"all of them before {study.notebook}, which compares with them",
                f"run notebooks/{notebook}.ipynb with profile = {study.profile.name!r} and as many replicates first",
            )


def _injected(shell: Any) -> dict[str, Any]:
    """Return what papermill has set in a kernel's shell, by name; nothing where it has injected no cell.

    Its cell begins with a comment and assigns literals. The names cannot be distinguished from others that the kernel
    holds by now, so they are read from the cell, whose code is not run again.
    """
    cells = shell.user_ns.get("In", [])
    source = next((source for source in cells if source.startswith("# Parameters\n")), "")
    names = [ast.unparse(node.targets[0]) for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return {name: shell.user_ns.get(name) for name in names}


def default_profile(notebook: str = "") -> str:
    """Return the profile to use where none is named: DONTSTOP_PROFILE if set, else params.yaml's; or notebook 07's."""
    if named := os.environ.get("DONTSTOP_PROFILE"):
        return named
    return "own.example" if notebook == OWN_NOTEBOOK else read_settings(find_root() / "params.yaml").get("profile")


class Study(Pipeline):
    """One profile's study: runs what is missing (see `Pipeline`), and reads what is there (see `Results`).

    Args:
        profile: A profile's name; None takes `default_profile()`.
        notebook: The notebook that asks, such as `02_dapt`; its results stand under this name.
        replicates: How many; None takes DONTSTOP_REPLICATES if set, else the profile's, and those that stand beyond.
        minutes: The budget of `advise`; None takes the profile's.
    """

    def __init__(
        self,
        profile: str | None = None,
        notebook: str = "base",
        replicates: int | None = None,
        minutes: float | None = None,
    ):
        settings = with_replicates(load_profile(default_profile(notebook) if profile is None else profile), replicates)
        if minutes is not None:
            settings = settings.model_copy(update={"advice": Advice(minutes=minutes)})
        paths = Paths(settings.name)
        some = tasks.tasks_for(settings, paths)
        _check_names(settings)
        if notebook == OWN_NOTEBOOK:
            whole, settings = settings, budget.affordable_part(settings)
            published.set_apart(paths, Design(settings, some), Design(whole, some))
        super().__init__(settings, paths, some, checked_name("notebook", notebook))
        self.reads_on = replicates is None and not os.environ.get("DONTSTOP_REPLICATES")
        if any((paths.root / "results").glob(f"{settings.name}.*")):  # of another kind of machine
            own = published.place(paths, self.capability())
            paths.results = own if own.is_dir() else paths.results

    def __repr__(self) -> str:
        domains, tasks = counted(len(self.domains), "domain"), counted(len(self.tasks), "task")
        return f"Study({self.profile.name!r}: {domains}, {tasks})"

    def show(self, thing, name: str, **how):
        """Write a frame (CSV, Markdown) or a figure (SVG, PNG) under results/, and return what a notebook displays.

        Its files are tables/<notebook>/<name> or figures/<notebook>/<name>; `how` is that of `report.display.show`.
        """
        from dontstop.report import display

        kind = "tables" if isinstance(thing, pd.DataFrame) else "figures"
        folder = self.paths.results / kind / self.notebook
        return display.show(thing, folder / checked_name("table or figure", name), **how)

    def guesses(self, text: str, num: int = 10) -> pd.DataFrame:
        """Return what encoders guess for masked words in sentences that a digest chooses; of one replicate.

        The text is a domain, of whose held-out text the base encoder, DAPT on it and DAPT on the paper's kind of
        irrelevant domain guess words; or a task, of whose dev texts the base encoder and TAPT do. Columns as
        `guesses.guess` has them; of encoders whose weights are not here, nothing.
        """
        return guesses.guesses(self, text, num)

    def encoder(self, *phases: Phase):
        """Load an encoder to try things on: the base, or what some phases make of it; see `trials.load_encoder`."""
        return trials.load_encoder(self, *phases)

    def tokenizer(self):
        """Load the tokenizer of all of the study's encoders."""
        return tokens.load_tokenizer(self.paths.tokenizer())

    def try_out(self, task: tasks.Task) -> trials.Tried:
        """Try DAPT on one task within minutes, and publish nothing; see `trials.try_out`."""
        return trials.try_out(self, task)

    def guesses_of(self, folders: Mapping[str, Path], text: str, num: int = 10) -> pd.DataFrame:
        """Return what some encoders guess for masked words in a domain's held-out text; see `guesses.guess`."""
        rows = corpora.load_documents(self.paths.held_out(text))
        tokenizer = self.tokenizer()
        return guesses.guess(folders, tokenizer, guesses.chosen((row["text"] for row in rows), tokenizer, num))

    def costs(self, *wanted: Arm | str) -> pd.DataFrame:
        """Return what some arms cost, or all that have run, a row an arm and task; columns: see `measures.costs`."""
        from dontstop.report import measures

        known = self.arms()
        return measures.costs(self, {arm: known[arm] for arm in map(self.arm, wanted or self.available_arms())})

    def judge(self) -> str:
        """Judge all claims by the records that are there, write text, picture and metrics, and say the verdicts."""
        from dontstop.report import claims, measures
        from dontstop.verdicts.judgements import overview

        self.read_on(*NOTEBOOKS.values())
        judged, left_out = measures.judged(self), self.design.left_out()
        notes = [f"Arms {left_out}." if left_out else "", claims.machines(self.runs())]
        claims.save_claims(judged, self.paths.results, self.profile.name, [note for note in notes if note])
        claims.save_metrics(judged, measures.mean_f1(self), self.paths.results)
        told = [f"{row.claim}: {row.ours} ({row.statement})" for row in overview(judged).itertuples()]
        return "\n".join([*told, left_out] if left_out else told)

    def advise(self) -> str:
        """Spend `advice.minutes` on the arms that it affords; return the page on whether to adapt, and write it."""
        from dontstop.report import advice

        self.prepare()
        minutes = self.profile.advice.minutes
        ahead = advice.costs(self, minutes)
        progress.say(advice.said_ahead(ahead, minutes))
        budget.run_affordable(self, ahead)
        page = advice.page(self, ahead, minutes)
        advice.write_page(self, page)
        return page


def _check_names(profile: Profile) -> None:
    """Check that settings for single tasks name tasks, and that a named encoder has its tokenizer."""
    known = [task.name for task in tasks.wanted_tasks(profile)]  # those that the text lacks included
    for setting, named in (
        ("task_finetune", profile.task_finetune),
        ("task_tapt", profile.task_tapt),
        ("tapt_curve.tasks", profile.tapt_curve.tasks),
        ("selection.tasks", profile.selection.tasks or []),
        ("cheap_adaptation.tasks", profile.cheap_adaptation.tasks or []),
    ):
        if unknown := set(named) - set(known):
            found = f"{setting} for {', '.join(sorted(unknown))}"
            raise StudyError(found, f"tasks of {', '.join(known)}", "mend the name")
    for name in profile.arms or []:
        arms.get_arm(name)
    if profile.encoder.name and not profile.tokens.tokenizer:
        raise StudyError(
            f"encoder.name = {profile.encoder.name!r} without tokens.tokenizer",
            "an encoder with the tokenizer that it was trained with",
            "set tokens.tokenizer to the same name",
        )
