"""The commands that fetch what others have published: tasks, corpora and encoders."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dontstop.errors import StudyError
from dontstop.machine import progress

OfStudy = Annotated[str | None, typer.Option("--profile", "-p", help="Whose study says where; default: the paper's.")]


def _text_of(profile: str | None) -> Any:
    """Return a profile's domains and tasks, or the paper's."""
    from dontstop import profiles, studies

    return studies.read_study("paper") if profile is None else profiles.load_profile(profile).text.study


def fetch_tasks(
    mirror: Annotated[Path, typer.Argument(help="The folder to fill: tasks/<task>/<split>.jsonl.")],
    task: Annotated[list[str] | None, typer.Option(help="Of the study's tasks; all unless given.")] = None,
    source: Annotated[str, typer.Option(help="bucket (the authors') or hub")] = "bucket",
    address: Annotated[str | None, typer.Option(help="Another bucket's address, or a folder of data sets.")] = None,
    profile: OfStudy = None,
) -> None:
    """Fetch the paper's tasks, or another study's, into a mirror, and compare their sizes with Table 2."""
    from dontstop.fetch import task_files

    if source not in ("bucket", "hub"):
        raise StudyError(f"source {source!r}", "bucket or hub", "name one of them")
    task_files.fetch_tasks(mirror, _text_of(profile), task or [], source, address, progress.say)


def fetch_corpus(
    mirror: Annotated[Path, typer.Argument(help="The folder to fill: corpora/<domain>.jsonl.gz.")],
    domain: Annotated[str, typer.Argument(help="One of the study's, such as biomed; or general.")],
    documents: Annotated[int | None, typer.Option(help="How many to take.", min=1)] = None,
    words: Annotated[int | None, typer.Option(help="How many words to take.", min=1)] = None,
    profile: OfStudy = None,
) -> None:
    """Stream a substitute for one of the paper's corpora into a mirror, up to a budget; go on where it was."""
    from dontstop.fetch import corpus_files

    source = _text_of(profile).source(domain)
    path = corpus_files.fetch_corpus(mirror, domain, source, progress.say, num_documents=documents, num_words=words)
    progress.say(f"{path}: {source.licence}; {source.remark}")


def fetch_encoders(
    folder: Annotated[Path, typer.Argument(help="The folder to fill, for the setting `released`.")],
    checkpoint: Annotated[list[str] | None, typer.Option(help="Such as dapt_biomed; all unless given.")] = None,
    address: Annotated[str, typer.Option(help="A folder of encoders in place of the hub.")] = "",
    profile: OfStudy = None,
) -> None:
    """Fetch the encoders that the paper's authors released, and turn their pickled weights into safetensors."""
    from dontstop.fetch import conversion

    conversion.fetch_encoders(folder, _text_of(profile).released(checkpoint), address, progress.say)


def convert_weights(
    source: Annotated[str, typer.Argument(help="A folder, or a name on the hub, with pickled weights.")],
    target: Annotated[Path, typer.Argument(help="The folder to write.")],
) -> None:
    """Turn an encoder's pickled weights into safetensors; the study itself loads nothing else."""
    from dontstop.fetch import conversion

    conversion.convert_weights(source, target, progress.say)


ALL = (fetch_tasks, fetch_corpus, fetch_encoders, convert_weights)
