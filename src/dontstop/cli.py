"""The command line: each command is a function here."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from dontstop.errors import StudyError, chosen
from dontstop.fetch import commands
from dontstop.inputs import checked_name
from dontstop.machine import progress
from dontstop.profiles import MOST_MINUTES, MOST_REPLICATES, find_root

app = typer.Typer(
    help="Don't Stop Pretraining, as a study that anyone can run, trust and extend.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
ProfileName = Annotated[str | None, typer.Option("--profile", "-p", help="A file of configs/; default: params.yaml's.")]
Experiment = Annotated[str, typer.Argument(help="base, domain_gap, dapt, tapt, dapt_tapt, transfer_tapt or knn_tapt")]


def _sets(variable: str) -> Callable[[Any], None]:
    """Return an option's callback that puts its value into the environment, where worker processes read it too."""

    def put(value: Path | bool | int | None) -> None:
        if value:
            os.environ[variable] = str(value.absolute()) if isinstance(value, Path) else str(int(value))

    return put


MIRROR_HELP = "The folder with the text of a profile of files; default: DONTSTOP_MIRROR, or the profile's text.folder."
OTHERS_HELP = "Read results of machines whose arithmetic differs from this one's; also DONTSTOP_ACCEPT_OTHER_MACHINES."
Mirror = Annotated[Path | None, typer.Option(callback=_sets("DONTSTOP_MIRROR"), help=MIRROR_HELP)]
Others = Annotated[
    bool,
    typer.Option("--accept-other-machines", callback=_sets("DONTSTOP_ACCEPT_OTHER_MACHINES"), help=OTHERS_HELP),
]
REPLICATES_HELP = "Default: the profile's, and those done."
Replicates = Annotated[
    int | None,
    typer.Option(min=1, max=MOST_REPLICATES, callback=_sets("DONTSTOP_REPLICATES"), help=REPLICATES_HELP),
]


def _study(profile: str | None, notebook: str = "base") -> Any:
    from dontstop.study import Study  # which takes seconds to import, as do all modules that commands import themselves

    return Study(profile, notebook)


@contextlib.contextmanager
def _timed_study(stage: str, profile: str | None, notebook: str = "base") -> Iterator[Any]:
    """Give a study, and write down how long the stage took that it is for."""
    from dontstop.runs import ledger

    study = _study(profile, notebook)
    with ledger.timed(study.paths, stage):
        yield study


for _command in commands.ALL:
    app.command()(_command)


@app.command()
def prepare(profile: ProfileName = None, mirror: Mirror = None) -> None:
    """Read, clean, de-duplicate, split and tokenise the profile's text."""
    with _timed_study("prepare", profile) as study:
        study.prepare()


@app.command()
def select(
    profile: ProfileName = None, mirror: Mirror = None, others: Others = False, replicates: Replicates = None
) -> None:
    """Select the text of the domains that tasks are augmented by: neighbours, random and curated text."""
    with _timed_study("select", profile, "06_knn_tapt") as study:
        study.select()


@app.command()
def run(
    experiment: Experiment,
    profile: ProfileName = None,
    mirror: Mirror = None,
    others: Others = False,
    replicates: Replicates = None,
) -> None:
    """Train and measure what an experiment still lacks, and the first replicate's encoders, which notebooks open."""
    from dontstop.design.plan import get_experiment

    with _timed_study(experiment, profile, get_experiment(experiment).notebook) as study:
        study.run(experiment, with_encoders=True)


@app.command()
def pretrain(
    checkpoint: Annotated[str, typer.Argument(help="base, dapt_<domain>, tapt_<task>, dapt_<domain>_then_tapt_<task>")],
    profile: ProfileName = None,
    mirror: Mirror = None,
    replicate: Annotated[int, typer.Option(min=0, help="Whose seeds it is trained with.")] = 0,
) -> None:
    """Train one checkpoint; under torchrun, with all of its processes (`torchrun ... -m dontstop pretrain ...`)."""
    _study(profile).pretrain(checkpoint, replicate)


@app.command()
def advise(
    own: Annotated[str, typer.Argument(help="A YAML such as configs/own.example.yaml, or a profile's name.")],
    minutes: Annotated[
        float | None, typer.Option(min=0.01, max=MOST_MINUTES, help="The budget; default: the file's.")
    ] = None,
    replicates: Replicates = None,
) -> None:
    """Answer whether to adapt an encoder to one's own text: check it, say the costs, run what a budget affords."""
    from dontstop.report.advice import in_short
    from dontstop.study import OWN_NOTEBOOK, Study

    study = Study(own, OWN_NOTEBOOK, minutes=minutes)
    page = study.advise()
    progress.say(in_short(page))
    progress.say(f"the whole page: {study.paths.results / 'advice.md'}")


@app.command()
def claims(profile: ProfileName = None, replicates: Replicates = None) -> None:
    """Judge the paper's claims by the records, and write claims.csv, claims.md and their picture."""
    with _timed_study("claims", profile) as study:
        progress.say(study.judge())


@app.command()
def forest(
    profiles: Annotated[list[str], typer.Argument(help="Whose claims.csv are there; drawn in this order.")],
) -> None:
    """Draw the paper's claims by its own numbers and by profiles, side by side: results/claims.svg and claims.png."""
    from dontstop.report.claims import write_forest

    write_forest(find_root() / "results", profiles)


@app.command()
def costs(profile: ProfileName = None) -> None:
    """Print what each stage of the pipeline cost, in minutes."""
    from dontstop.runs import ledger

    table = ledger.stage_costs(_study(profile).paths)
    progress.say(table.to_string(index=False, float_format="{:.1f}".format, na_rep="-"))


@app.command()
def place(profile: ProfileName = None) -> None:
    """Print where this machine's results stand: in results/<profile>, or beside it, if those are of another kind."""
    from dontstop.runs import published

    study = _study(profile)
    progress.say(str(published.place(study.paths, study.capability()).relative_to(study.paths.root)))


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Checkpoints; the TAPT of least time unless given.")] = None,
    profile: ProfileName = None,
    mirror: Mirror = None,
    replicate: Annotated[int, typer.Option(min=0, help="Whose seeds they were trained with.")] = 0,
) -> None:
    """Train and fine-tune a part of the study again, and compare with its records; exit code 1 where they differ."""
    from dontstop.upkeep import verification

    table = verification.verify(_study(profile), names or [], replicate)
    for row in table.itertuples():
        progress.say(f"{'agrees ' if row.agrees else 'DIFFERS'}  {row.result}: {row.how}")
    progress.say(f"verify: {table['agrees'].sum()} of {len(table)} results agree with the records")
    raise typer.Exit(0 if table["agrees"].all() else 1)


@app.command()
def doctor(profile: ProfileName = None, mirror: Mirror = None, replicates: Replicates = None) -> None:
    """Say what stands in a study's way and what to do about it; exit code 0: well, 1: warnings, 2: a run would fail."""
    from dontstop.study import default_profile
    from dontstop.upkeep import doctor as examination

    findings = examination.examine(default_profile() if profile is None else profile)
    for finding in findings.itertuples():
        progress.say(f"{finding.level:8} {finding.what}: {finding.state}")
        if finding.remedy:
            progress.say(f"{'':8} do this: {finding.remedy}")
    raise typer.Exit(examination.exit_code(findings))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> None:
    """Open the notebooks in JupyterLab, with its own options if any are given; saving leaves out what running adds."""
    from dontstop import lab as jupyter

    options = [*jupyter.arguments(find_root()), *context.args]
    os.execve(sys.executable, [sys.executable, "-m", "jupyterlab", *options], jupyter.environment())


@app.command()
def report(
    profiles: Annotated[list[str] | None, typer.Argument(help="That must be in it; smoke only so.")] = None,
) -> None:
    """Render all profiles' results, notebooks and docs as a static site under build/site, which needs no network."""
    from dontstop.site.rendering import write_site

    page, warnings = write_site(find_root(), profiles or [])
    for warning in warnings:
        progress.say(warning)
    progress.say(f"{page}: open it in a browser; the folder can be copied anywhere")


@app.command()
def redraw(profile: ProfileName = None, others: Others = False, replicates: Replicates = None) -> None:
    """Execute the notebooks again, and so make all tables and figures, without training: all results must be there."""
    from dontstop.design.plan import NOTEBOOKS
    from dontstop.report import executed
    from dontstop.runs.scratch import READ_ONLY

    os.environ[READ_ONLY] = "1"  # the notebooks' kernels read it
    study = _study(profile)
    for notebook in NOTEBOOKS:
        there = (study.paths.results / "records" / notebook).is_dir()
        if there:
            executed.execute(study.paths, notebook, _given(study, profile))
        told = f"no records of profile {study.profile.name} yet; `make study` makes them"
        progress.say(f"{notebook}: {f'tables and figures are in {study.paths.results}' if there else told}")


@app.command()
def notebook(
    name: Annotated[str, typer.Argument(help="Such as 02_dapt.")],
    profile: ProfileName = None,
    mirror: Mirror = None,
    others: Others = False,
    replicates: Replicates = None,
) -> None:
    """Execute a notebook, which trains what is missing, and keep the executed copy in results/, without dates."""
    from dontstop.report import executed

    names = sorted(path.stem for path in (find_root() / "notebooks").glob("*.ipynb"))
    chosen("notebook", checked_name("notebook", name), dict.fromkeys(names))
    study = _study(profile, name)
    executed.execute(study.paths, name, _given(study, profile), log_output=True)


def _given(study, profile: str | None) -> str:
    """Return what names a study's profile in a notebook's kernel: its name, or the path that the user has given."""
    return profile if profile is not None and profile.endswith((".yaml", ".yml")) else study.profile.name


@app.command()
def calibrate(
    num_studies: Annotated[int, typer.Option(help="Simulated studies of each kind.")] = 10_000,
    replicates: Annotated[int, typer.Option(help="Replicates of a simulated study.", min=2)] = 10,
    seeds: Annotated[int, typer.Option(help="Fine-tuning seeds in each of them.", min=1)] = 3,
    profile: Annotated[
        str | None, typer.Option(help="Whose records say how scores vary; else pilots' numbers.")
    ] = None,
) -> None:
    """Simulate studies to count the errors of this study's own verdicts, and their power (docs/calibration.md)."""
    from dontstop.design.plan import NOTEBOOKS
    from dontstop.report import claims
    from dontstop.verdicts.calibration import World

    world, source = World(replicates, seeds), "pilots with 100 labels"
    if profile is not None:
        study = _study(profile)
        study.read_on(*NOTEBOOKS.values())
        runs = study.runs(*study.available_arms())
        world, source = World.of_records(runs, replicates, seeds), f"the records of profile `{profile}`"
    claims.write_calibration(world, source, num_studies, find_root() / "docs")


@app.command()
def departures() -> None:
    """Print what this study does otherwise than the paper (the page docs/departures.md)."""
    from dontstop.departures import to_markdown

    print(to_markdown(), end="")


def main() -> None:
    """Run the command line; a problem of the user's is three lines on stderr and exit code 2, never a traceback.

    Signals are heeded in `__main__`, which imports this module.
    """
    try:
        app()
    except (StudyError, OSError) as error:
        expected, remedy = "files that can be read and written, on a disk with room", "mend that and try again"
        print(error if isinstance(error, StudyError) else StudyError(str(error), expected, remedy), file=sys.stderr)
        sys.exit(2)
