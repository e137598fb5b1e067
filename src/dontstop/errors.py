"""The one error that users see: what was found, what was expected, what to do; without a traceback in notebooks too."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

# What moves a terminal's cursor, paints it, or turns the direction of text: all control characters but line ends and
# tabs, half characters, and the marks of direction.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def visible(text: str) -> str:
    """Return a text as terminals and logs may have it: escape sequences and the like spelt out, such as `\\x1b[2J`."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def counted(number: int | str, what: str) -> str:
    """Write a number of things, as a number or as it is written: `1 replicate`, `1,200 texts`, `2 to 5 texts`."""
    told = number if isinstance(number, str) else f"{number:,}"
    return f"{told} {what}" if told == "1" else f"{told} {what}s"


class StudyError(Exception):
    """A problem of the user's, told in the domain's words.

    Args:
        found: What stands there, with its place (file, line, setting).
        expected: What the study needs instead.
        remedy: What the user does next, as an imperative.
    """

    def __init__(self, found: str, expected: str, remedy: str):
        self.found, self.expected, self.remedy = (visible(str(part)) for part in (found, expected, remedy))
        super().__init__(f"found: {self.found}\nexpected: {self.expected}\ndo this: {self.remedy}")

    def __reduce__(self):
        # Exceptions cross process boundaries by their arguments, and ours are three.
        return type(self), (self.found, self.expected, self.remedy)


def chosen(kind: str, name: str, known: Mapping[str, Any], remedy: str = "name one of them") -> Any:
    """Return what stands under a name.

    Raises:
        StudyError: If nothing does; with the nearest of the names that are known, if one is near.
    """
    if name in known:
        return known[name]
    expected = f"one of {', '.join(known) or 'those that there are: none'}"
    raise StudyError(f"{kind} {name!r}", expected, meant(name, known, remedy))


def meant(name: str, known: Iterable[str], otherwise: str) -> str:
    """Ask whether the nearest of the names that are known was meant, if one is near; else say something else."""
    known = list(known)
    folded = [each for each in known if each.strip().lower() == str(name).strip().lower()]
    close = folded or difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {close[0]!r}?" if close else otherwise


def tell_plainly(shell: Any) -> None:
    """Let an IPython shell tell of a problem of the user's, or of an interrupt, without frames of code.

    The cell ends with the error all the same, for papermill and nbval to see.
    """

    def tell(shell, kind, error, trace, tb_offset=None) -> list[str]:
        stopped = "stopped: what is finished is kept, and running the cell again goes on from there"
        told = [stopped if isinstance(error, KeyboardInterrupt) else str(error)]
        shell._showtraceback(kind, error, told)
        return told

    shell.set_custom_exc((StudyError, KeyboardInterrupt), tell)
