"""Lines of progress: the estimate, and one line in a notebook where elsewhere are many."""

import os
import sys
import types

import IPython.display
import pytest

from dontstop.machine import progress
from dontstop.machine.progress import Job, Progress, ReplacedLine


def job(key, *, kind="run", size=1.0, needs=()):
    return Job(key, key, kind, size, print, (), frozenset(needs))


def test_jobs_are_counted_by_kind_and_checkpoints_at_work_are_named():
    some = [job("a", kind="checkpoint"), job("b", kind="checkpoint"), *(job(str(k)) for k in range(40))]
    told = Progress("dapt", some, done={"a", *map(str, range(12))}, parts={"a": 1.0, "b": 0.25, "13": 0.5})
    line = told.line()
    assert line.startswith("dapt: 1/2 checkpoints, 12/40 runs done, 29 left, 0 s so far")
    assert line.endswith("(now: b 25 %)")


def test_a_job_is_ready_when_all_it_needs_of_this_plan_is_done():
    some = [job("a"), job("b", needs={"a", "of another plan"}), job("c", needs={"a", "b"})]
    told = Progress("plan", some)
    assert [ready.key for ready in told.ready(some)] == ["a"]
    told.done.add("a")
    assert [ready.key for ready in told.ready(some[1:])] == ["b"]


def test_a_line_is_told_once_it_is_due(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    told = Progress("plan", [job("a")], seconds=5.0, begin=100.0)
    for now[0] in (101.0, 104.9, 105.0, 106.0, 110.1):
        told.tell()
    assert capsys.readouterr().out.splitlines() == [f"plan: 0/1 runs done, 1 left, {s} s so far" for s in (5, 10)]


def test_the_estimate_leaves_out_what_a_resumed_job_found_done(monkeypatch):
    some = [job("a", size=100.0), job("b", size=100.0)]
    told = Progress("study", some, parts={"a": 0.9}, found={"a": 0.8}, begin=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: 10.0)
    assert told.remaining_seconds() == pytest.approx(10 / 10 * 110)  # 10 of 120 in 10 s
    told.done.add("a")
    assert told.remaining_seconds() == pytest.approx(10 / 20 * 100)
    assert Progress("study", some, begin=0.0).remaining_seconds() is None


def test_durations_are_written_as_people_do():
    said = [progress.duration(seconds) for seconds in (0.4, 59.4, 60, 200.2)]
    assert said == ["0 s", "59 s", "1 min 00 s", "3 min 20 s"]


def test_a_block_tells_when_it_begins_and_ends(capsys):
    with progress.telling("reading", 60.0):
        assert capsys.readouterr().out == "reading\n"
    assert capsys.readouterr().out == "reading: done in 0 s\n"


@pytest.fixture
def shown(monkeypatch):
    """Stand in for a notebook's output: the lists of what each of its places shows, one after the other."""
    places = []

    def display(data, *, raw, display_id):
        places.append([data["text/plain"]])
        return types.SimpleNamespace(update=lambda data, raw: places[-1].append(data["text/plain"]))

    monkeypatch.setattr(IPython.display, "display", display)
    return places


@pytest.mark.parametrize("open_", [True, False])
def test_in_a_kernel_a_line_takes_the_last_ones_place_and_the_terminal_sees_all_but_the_first(
    shown, monkeypatch, open_
):
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(_original_stdstream_copy=writing))
    if not open_:
        os.close(writing)  # a terminal that is gone costs no run
    line = ReplacedLine()
    for text in ("one", "two", "three"):
        line.say(text)
    assert shown == [["one", "two", "three"]]
    if open_:
        os.close(writing)
    assert os.read(reading, 99) == (b"two\nthree\n" if open_ else b"")
    os.close(reading)


def test_a_notebook_has_a_bar_beside_the_line_and_names_are_text_there(monkeypatch):
    said = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **_: said.append(data["text/html"]))
    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(_original_stdstream_copy=1))
    some = [job("a<b", kind="checkpoint"), job("c")]
    told = Progress("plan", some, done={"c"}, parts={"a<b": 0.5})
    assert told.share() == pytest.approx(0.75) and Progress("nothing", []).share() == 0.0
    told.show()
    assert said[0].startswith('<progress value="0.750"></progress> plan: ') and "(now: a&lt;b 50 %)" in said[0]


@pytest.mark.parametrize("copy", [{}, {"_original_stdstream_copy": None}, {"_original_stdstream_copy": "elsewhere"}])
def test_where_ipykernel_has_no_such_private_name_every_line_is_printed(shown, monkeypatch, capsys, copy):
    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(**copy))
    line = ReplacedLine()
    line.say("one")
    line.say("two")
    assert capsys.readouterr().out == "one\ntwo\n" and shown == []
