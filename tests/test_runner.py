"""The runner: order, progress, errors, killed workers, one run at a time."""

import contextlib
import errno
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from dontstop.errors import StudyError
from dontstop.machine import locks, progress, runner
from dontstop.machine.locks import only_run
from dontstop.machine.progress import Job
from dontstop.machine.runner import carry_out
from test_processes import is_alive

HOLDER = """
import sys, time
from pathlib import Path
from dontstop.machine.locks import only_run

with only_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def note(folder, name):
    with open(folder / "log", "a") as handle:
        handle.write(f"{name}\n")


def note_slowly(folder, name, *, num_processes, progress):
    for done in range(1, 9):
        time.sleep(0.3)
        progress(done, 8)
    note(folder, f"{name} {num_processes}")


def fail(kind):
    raise {
        "study": StudyError("a crab", "a fish", "throw it back"),
        "disk": OSError(errno.ENOSPC, "No space"),
        "memory": RuntimeError("unable to allocate shared memory(shm) for file </torch_7_0>: No space left (28)"),
        "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    }[kind]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(folder):
    note(folder, "begun")
    if (folder / "log").read_text().count("begun") == 1:
        die()


def lose_a_process(folder, *, num_processes, progress):
    note(folder, f"{num_processes} processes")
    if num_processes > 1:
        raise StudyError("a process lost", "all", "again") from threading.BrokenBarrierError()


def note_twice(folder, name):
    note(folder, f"{name} {os.getpid()}")
    time.sleep(1.0)
    note(folder, f"{name} {os.getpid()}")


def job(key, function=note, arguments=(), *, needs=(), kind="run", size=1.0, divisible=False):
    return Job(key, key, kind, size, function, arguments, frozenset(needs), divisible)


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory):
    """Carry out a few jobs once; give the folder, where each has noted itself, and the lines said."""
    folder, lines = tmp_path_factory.mktemp("runner"), []
    carry_out("nothing", [job("nothing", os.getpid)])  # so that what all workers are forked from is there
    some = [
        job("third", arguments=(folder, "third"), needs={"second"}),
        job("second", arguments=(folder, "second"), needs={"first", "of another run"}, kind="loss"),
        job("first", note_slowly, (folder, "first"), kind="checkpoint", divisible=True),
    ]
    with pytest.MonkeyPatch.context() as patch:
        for module in (runner, progress):
            patch.setattr(module, "say", lambda line: lines.append((time.monotonic(), line)))
        carry_out("study", some, num_workers=2, progress_seconds=0.5)
    return folder, lines


def test_jobs_come_after_what_they_need(carried_out):
    noted = (carried_out[0] / "log").read_text().splitlines()
    assert [line.split()[0] for line in noted] == ["first", "second", "third"]


def test_idle_processes_share_a_divisible_job(carried_out):
    assert "first 2\n" in (carried_out[0] / "log").read_text()


def test_a_line_comes_every_progress_seconds(carried_out):
    times = [when for when, _ in carried_out[1][:-1]]  # the last one comes when the workers have gone
    assert len(times) > 4 and max(b - a for a, b in zip(times, times[1:], strict=False)) < 1.0  # 0.5 on a quiet machine


def test_lines_say_done_left_and_estimate(carried_out):
    lines = [line for _, line in carried_out[1]]
    assert lines[0] == "study: 3 jobs on 2 single-threaded processes"
    assert any(re.search(r"3 left, \d+ s so far, about .* to go \(now: first \d+ %\)", line) for line in lines)
    assert "1/1 runs, 1/1 losses, 1/1 checkpoints done, 0 left" in lines[-1] and "to go" not in lines[-1]


def workers_of(folder, *functions):
    """Carry out a plan for each function, and return the processes that were at work in each."""
    found = []
    for number, function in enumerate(functions):
        log = folder / str(number)
        log.mkdir()
        some = [job(name, function, (log, name)) for name in "ab"]
        with contextlib.suppress(StudyError):
            carry_out("study", some, num_workers=1)
        found.append({int(line) for line in (log / "log").read_text().split()})
    return found


def note_process(folder, _name):
    note(folder, str(os.getpid()))


def note_and_fail(folder, name):
    note_process(folder, name)
    raise StudyError("a crab", "a fish", "throw it back")


def test_in_a_block_workers_go_on_from_plan_to_plan_until_one_fails_or_they_are_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_warm", None)  # the session's own block
    with runner.warm_workers():
        first, again, failing, after = workers_of(tmp_path, note_process, note_process, note_and_fail, note_process)
        assert first == again == failing and len(first) == 1 and not first & after
        os.kill(after.copy().pop(), signal.SIGKILL)
        (tmp_path / "more").mkdir()
        more, still = workers_of(tmp_path / "more", note_process, note_process)
        assert more == still != after
    (tmp_path / "outside").mkdir()
    one, other = workers_of(tmp_path / "outside", note_process, note_process)
    assert len({*more, *one, *other}) == 3
    assert not [process for process in [*first, *after, *more, *one, *other] if is_alive(process)]


def test_nothing_to_do_starts_no_process(monkeypatch):
    monkeypatch.setattr(runner, "pool", None)
    carry_out("study", [])


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (fail, ("study",), "found: a crab"),
        (fail, ("disk",), r"No space while doing bad\nexpected: room on the disk"),
        (fail, ("memory",), r"no room for shared memory while doing bad(.|\n)*--shm-size(.|\n)*num_workers: 1"),
        (fail, ("gpu",), r"GPU's memory full while doing bad\n(.|\n)*speed.num_workers(.|\n)*sequences_at_once"),
        (die, (), r"killed while it did bad, for the second time\n.*memory(.|\n)*finished runs are kept"),
    ],
)
def test_the_first_error_stops_the_run(tmp_path, function, arguments, message):
    some = [job("bad", function, arguments), job("never", arguments=(tmp_path, "never"), needs={"bad"})]
    with pytest.raises(StudyError, match=message):
        carry_out("study", some, num_workers=1)
    assert list(tmp_path.iterdir()) == []


def holder(lock):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_killed_worker_s_job_is_done_again_and_its_neighbour_goes_on(tmp_path, capsys):
    (tmp_path / "killed").mkdir()
    some = [job("killed", die_once, (tmp_path / "killed",)), job("other", note_twice, (tmp_path, "other"))]
    with runner.warm_workers():
        carry_out("study", some, num_workers=2)
        gc.collect()  # what is left of the killed one
        time.sleep(0.5)
        carry_out("study", [job("next", note_twice, (tmp_path, "other"))], num_workers=1)
    assert (tmp_path / "killed" / "log").read_text() == "begun\n" * 2
    first, second, third, _ = (tmp_path / "log").read_text().splitlines()
    assert first == second == third  # the neighbour lives on
    said = [line for line in capsys.readouterr().out.splitlines() if "killed (" in line]
    assert said == [
        "the process that did killed was killed (memory is the usual reason): it is done again, "
        "with 1 worker in place of 2"
    ]


def test_a_job_that_loses_a_process_which_shares_it_is_done_again_on_one(tmp_path):
    carry_out("study", [job("shared", lose_a_process, (tmp_path,), divisible=True)], num_workers=2)
    assert (tmp_path / "log").read_text() == "2 processes\n1 processes\n"


def test_one_run_at_a_time_the_next_waits_and_a_killed_one_lets_go(tmp_path, capsys):
    lock, began = tmp_path / "work" / "study.lock", time.monotonic()
    with holder(lock) as process:
        threading.Timer(0.5, process.kill).start()
        with only_run(lock):
            assert time.monotonic() - began > 0.5
            assert lock.with_suffix(".process").read_text().split()[0] == str(os.getpid())
            with pytest.raises(StudyError, match=rf"in this process \({os.getpid()} on "), only_run(lock):
                pass
    assert f"study: process {process.pid} on " in capsys.readouterr().out
    with only_run(lock):
        pass
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_that_gives_no_locks_is_told_by_name(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    told = rf"no lock to be had on .*some\.lock: {os.strerror(code)}\n.*\n.*\(flock\)"
    with pytest.raises(StudyError, match=told), locks.locked(tmp_path / "some.lock"):
        pass


def test_where_a_disk_knows_of_no_locks_the_file_is_the_lock(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.warns(UserWarning, match="flock"), locks.locked(tmp_path / "some.lock") as is_held:
        assert is_held
        with locks.locked(tmp_path / "some.lock", wait=False) as is_held_too:
            assert not is_held_too
