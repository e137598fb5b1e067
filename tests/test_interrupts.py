"""Signals: the first ends a command in one line, a second one ends it at once."""

import os
import signal
import subprocess
import sys

import pytest

from dontstop import __main__, cli
from dontstop.machine import interrupts


@pytest.fixture
def all_heard():
    """Ignore no signal, as whoever runs the tests with nohup would have it."""
    before = [signal.signal(some, signal.SIG_DFL) for some in interrupts.SIGNALS]
    yield
    for some, handler in zip(interrupts.SIGNALS, before, strict=True):
        signal.signal(some, handler)


@pytest.mark.parametrize("number", interrupts.SIGNALS)
@pytest.mark.usefixtures("all_heard")
def test_the_first_signal_is_raised_and_a_second_one_would_end_the_process(number):
    before = [signal.getsignal(some) for some in interrupts.SIGNALS]
    with pytest.raises(interrupts.Interrupted) as raised, interrupts.heeded():
        try:
            os.kill(os.getpid(), number)
        finally:
            assert {signal.getsignal(some) for some in interrupts.SIGNALS} == {signal.SIG_DFL}
    assert raised.value.exit_code == 128 + number
    assert [signal.getsignal(some) for some in interrupts.SIGNALS] == before


def test_a_signal_that_is_to_be_ignored_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts.heeded():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_one_line_says_what_is_kept_and_which_command_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", lambda: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(cli.sys, "argv", ["dontstop", "run", "dapt", "-p", "my profile"])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 143
    said = capsys.readouterr().err
    assert said == "stopped: what is finished is kept, and `dontstop run dapt -p 'my profile'` goes on from there\n"


INTERRUPTED = """
import signal, sys
from dontstop.__main__ import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # as a terminal has it, and a background job does not

class Finder:
    def find_spec(name, *_):
        signal.raise_signal(signal.SIGINT) if name == "typer" else None

sys.meta_path.insert(0, Finder)
sys.argv = ["dontstop", "costs"]
main()
"""


def test_a_signal_while_modules_are_imported_is_one_line_too():
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    said = "stopped: what is finished is kept, and `dontstop costs` goes on from there\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", said)
