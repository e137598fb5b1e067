"""Files from the web: whole or not at all, resumed where the connection was cut, held to their checksum."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from dontstop.errors import StudyError
from dontstop.machine import files

NUM_TRIES = 5
_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # answers after which a later try may succeed


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    pause: float = 1.0,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Download a file, unless it is there.

    What has come stays beside the target under a name of its own, so that a later try, or a later command, asks for
    the rest only; if the file behind the address has changed meanwhile, it is downloaded from the start.

    Args:
        sha256: That the file must have, in hexadecimal.
        pause: Seconds before the second try; doubled before each further one.

    Raises:
        StudyError: If the server refuses or lacks the file, keeps failing, or sends other bytes than the checksum's.
    """
    if target.is_file():
        return
    part = target.with_name(f".{target.name}.download")
    failures: list[str] = []
    while (failure := _append(url, part)) is not None:
        failures.append(failure)
        if len(failures) == NUM_TRIES:
            raise StudyError(
                f"{url} not downloaded in {NUM_TRIES} tries, the last time: {failure}",
                "the whole file",
                "give the same command again later: what has come is kept",
            )
        tell(f"{url}: {failure}; trying again")
        time.sleep(pause * 2 ** (len(failures) - 1))
    _finish(url, part, target, sha256)


def _finish(url: str, part: Path, target: Path, sha256: str | None) -> None:
    """Give a whole file its name, if it has the checksum."""
    if sha256 is not None and (found := files.digest(part)) != sha256:
        _forget(part)
        raise StudyError(f"{url} with SHA-256 {found}", sha256, "see whether the publisher has changed the file")
    with open(part, "rb") as handle:
        os.fsync(handle.fileno())
    os.replace(part, target)
    _forget(part)
    files.sync_folder(target.parent)


def _append(url: str, part: Path) -> str | None:
    """Ask for what `part` still lacks and add it; return what went wrong, if a later try may succeed."""
    tag = _tag_file(part)
    begun = part.stat().st_size if part.is_file() and tag.is_file() else 0
    headers = {"Accept-Encoding": "identity"}  # the file's own bytes, so that they can be counted
    if begun:
        headers |= {"Range": f"bytes={begun}-", "If-Range": tag.read_text()}
    try:
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=30.0) as answer:
            if answer.status_code in _AGAIN:
                return f"the server answered {answer.status_code}"
            if answer.status_code == 416:  # nothing lies behind what has come: the file is another by now
                _forget(part)
                return "the server has a shorter file than before"
            if answer.status_code not in (200, 206):
                found = f"{url} answered with {answer.status_code} {answer.reason_phrase}"
                raise StudyError(found, "a file that anyone may read", _remedy(answer.status_code))
            part.parent.mkdir(parents=True, exist_ok=True)  # only now: an empty folder would look like a task
            if answer.status_code == 200:
                _forget(part)
                if name := _tag(answer):
                    files.write_text(tag, name)
            with open(part, "ab") as handle:
                for block in answer.iter_bytes():
                    handle.write(block)
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
    except httpx.InvalidURL as error:
        raise StudyError(f"address {url!r}: {error}", "an address such as https://host/folder", "mend it") from error
    return None


def _tag(answer: httpx.Response) -> str | None:
    """Return a name of this state of the file, by which a server can tell whether it has changed; weak ones do not."""
    name = answer.headers.get("ETag", "")
    return name if name and not name.startswith("W/") else answer.headers.get("Last-Modified")


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "the server refuses it: take the hub (--source hub), or put the files into the mirror by hand"
    return "look whether the address is right, or take the hub (--source hub)"
