"""Ctrl-C, SIGTERM and SIGHUP: the first ends a command in order, a second one at once."""

import contextlib
import shlex
import signal
import sys
import threading
from collections.abc import Iterator

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(BaseException):  # noqa: N818 (no error; and no KeyboardInterrupt, which typer would take for its own)
    """A signal asked the command to end.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int):
        self.number = number
        super().__init__(number)

    @property
    def exit_code(self) -> int:
        """What a shell knows a command by that a signal ended."""
        return 128 + self.number


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Heed signals in a block, the command; one that ends it is a line on stderr, and the exit code of shells."""
    try:
        with heeded():
            yield
    except Interrupted as stopped:
        again = shlex.join(["dontstop", *sys.argv[1:]])
        print(f"stopped: what is finished is kept, and `{again}` goes on from there", file=sys.stderr)
        sys.exit(stopped.exit_code)


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Raise `Interrupted` in a block when a signal asks to end; a second signal ends the process where it stands."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]  # which nohup sets for SIGHUP

    def stop(number, _frame) -> None:
        for some in heard:
            signal.signal(some, signal.SIG_DFL)
        raise Interrupted(number)

    try:
        for number in heard:
            signal.signal(number, stop)
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
