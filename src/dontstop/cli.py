"""The command line: fetch text, convert weights, prepare, select, run, claims, report, costs, departures, calibrate."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dontstop.errors import StudyError

app = typer.Typer(
    help="Don't Stop Pretraining, as a study that anyone can run, trust and extend.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
ProfileName = Annotated[str | None, typer.Option("--profile", "-p", help="A file of configs/; default: params.yaml's.")]
Experiment = Annotated[str, typer.Argument(help="base, domain_gap, dapt, tapt, dapt_tapt, transfer_tapt or knn_tapt")]


def _take_mirror(folder: Path | None) -> None:
    if folder is not None:
        os.environ["DONTSTOP_MIRROR"] = str(folder.absolute())  # worker processes read it too


Mirror = Annotated[
    Path | None,
    typer.Option(
        callback=_take_mirror,
        help="The folder with the text of a profile of files; default: DONTSTOP_MIRROR, or the profile's text.folder.",
    ),
]


@app.command()
def fetch_tasks(
    mirror: Annotated[Path, typer.Argument(help="The folder to fill: tasks/<task>/<split>.jsonl.")],
    task: Annotated[list[str] | None, typer.Option(help="Of the paper's tasks; all eight unless given.")] = None,
    source: Annotated[str, typer.Option(help="bucket (the authors') or hub")] = "bucket",
    address: Annotated[str | None, typer.Option(help="Another bucket's address, or a folder of data sets.")] = None,
) -> None:
    """Fetch the paper's tasks into a mirror, and compare their sizes with Table 2."""
    from dontstop.fetch import sources, task_files
    from dontstop.machine import runner

    if source not in ("bucket", "hub"):
        raise StudyError(f"source {source!r}", "bucket or hub", "name one of them")
    place = address if address is not None else sources.BUCKET if source == "bucket" else ""
    task_files.fetch_tasks(mirror, task or list(sources.HUB_TASKS), source, place, runner.say)


@app.command()
def fetch_corpus(
    mirror: Annotated[Path, typer.Argument(help="The folder to fill: corpora/<domain>.jsonl.gz.")],
    domain: Annotated[str, typer.Argument(help="biomed, cs, news, reviews or general")],
    documents: Annotated[int | None, typer.Option(help="How many to take.", min=1)] = None,
    words: Annotated[int | None, typer.Option(help="How many words to take.", min=1)] = None,
) -> None:
    """Stream a substitute for one of the paper's corpora into a mirror, up to a budget; go on where it was."""
    from dontstop.fetch import corpus_files, sources
    from dontstop.machine import runner

    source = sources.corpus_source(domain)
    path = corpus_files.fetch_corpus(mirror, domain, source, runner.say, num_documents=documents, num_words=words)
    runner.say(f"{path}: {source.licence}; {source.remark}")


@app.command()
def fetch_encoders(
    folder: Annotated[Path, typer.Argument(help="The folder to fill, for the setting `released`.")],
    checkpoint: Annotated[list[str] | None, typer.Option(help="Such as dapt_biomed; all unless given.")] = None,
    address: Annotated[str, typer.Option(help="A folder of encoders in place of the hub.")] = "",
) -> None:
    """Fetch the encoders that the paper's authors released, and turn their pickled weights into safetensors."""
    from dontstop.fetch import conversion, sources
    from dontstop.machine import runner

    conversion.fetch_encoders(folder, checkpoint or list(sources.RELEASED), address, runner.say)


@app.command()
def convert_weights(
    source: Annotated[str, typer.Argument(help="A folder, or a name on the hub, with pickled weights.")],
    target: Annotated[Path, typer.Argument(help="The folder to write.")],
) -> None:
    """Turn an encoder's pickled weights into safetensors; the study itself loads nothing else."""
    from dontstop.fetch import conversion
    from dontstop.machine import runner

    conversion.convert_weights(source, target, runner.say)


@app.command()
def prepare(profile: ProfileName = None, mirror: Mirror = None) -> None:
    """Read, clean, de-duplicate, split and tokenise the profile's text."""
    from dontstop.runs import ledger
    from dontstop.study import Study

    study = Study(profile)
    with ledger.timed(study.paths, "prepare"):
        study.prepare()


@app.command()
def select(profile: ProfileName = None, mirror: Mirror = None) -> None:
    """Select the text of the domains that tasks are enlarged by: neighbours, random and curated text."""
    from dontstop.runs import ledger
    from dontstop.study import Study

    study = Study(profile, "06_knn_tapt")
    with ledger.timed(study.paths, "select"):
        study.select()


@app.command()
def run(experiment: Experiment, profile: ProfileName = None, mirror: Mirror = None) -> None:
    """Train and measure what an experiment still lacks."""
    from dontstop.runs import ledger
    from dontstop.runs.experiments import notebook_of
    from dontstop.study import Study

    study = Study(profile, notebook_of(experiment))
    with ledger.timed(study.paths, experiment):
        study.run(experiment)


@app.command()
def pretrain(
    checkpoint: Annotated[str, typer.Argument(help="base, dapt_<domain>, tapt_<task>, dapt_<domain>_then_tapt_<task>")],
    profile: ProfileName = None,
    mirror: Mirror = None,
) -> None:
    """Train one checkpoint; under torchrun, with all of its processes (`torchrun ... -m dontstop pretrain ...`)."""
    from dontstop.study import Study

    Study(profile).pretrain(checkpoint)


@app.command()
def claims(profile: ProfileName = None) -> None:
    """Judge the paper's claims by the records, and write claims.csv and claims.md."""
    from dontstop.runs import ledger
    from dontstop.study import Study

    study = Study(profile)
    with ledger.timed(study.paths, "claims"):
        typer.echo(study.judge())


@app.command()
def costs(profile: ProfileName = None) -> None:
    """Print what each stage of the pipeline cost, in minutes."""
    from dontstop.runs import ledger
    from dontstop.study import Study

    typer.echo(
        ledger.stage_costs(Study(profile).paths).to_string(index=False, float_format="{:.1f}".format, na_rep="-")
    )


@app.command()
def report(profile: ProfileName = None) -> None:
    """Make all tables and figures again from the records, without training."""
    from dontstop.runs.experiments import NOTEBOOKS
    from dontstop.study import Study

    for notebook in NOTEBOOKS:
        typer.echo(Study(profile, notebook).report())


@app.command()
def calibrate(
    num_studies: Annotated[int, typer.Option(help="Simulated studies without any true difference.")] = 10_000,
) -> None:
    """Simulate studies to measure the error rates of this study's own tests (the page docs/calibration.md)."""
    from dontstop.profiles import find_root
    from dontstop.verdicts import calibration

    calibration.main(find_root() / "docs", num_studies)


@app.command()
def departures() -> None:
    """Print what this study does otherwise than the paper (the page docs/departures.md)."""
    from dontstop.departures import to_markdown

    print(to_markdown(), end="")


def main() -> None:
    """Run the command line; a problem of the user's is three lines on stderr and exit code 2, never a traceback."""
    try:
        app()
    except StudyError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        expected, remedy = "files that can be read and written, on a disk with room", "mend that and try again"
        print(StudyError(str(error), expected, remedy), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
