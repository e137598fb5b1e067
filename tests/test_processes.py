"""A worker does its arithmetic on one thread and ends when its parent does."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from dontstop.errors import StudyError
from dontstop.machine import processes

PARENT = """
import time
from dontstop.machine.processes import CONTEXT, be_worker

def work():
    be_worker()
    print(__import__("os").getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    CONTEXT.Process(target=work).start()
"""


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        with open(f"/proc/{process}/stat") as handle:
            return handle.read().rpartition(")")[2].split()[0] != "Z"  # nobody may be there to bury it
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_worker_ends_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    with subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        assert is_alive(worker)
        os.kill(parent.pid, signal.SIGKILL)
    until = time.monotonic() + 5
    while is_alive(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_alive(worker)


def test_a_worker_does_not_hear_ctrl_c_while_it_imports(tmp_path):
    (tmp_path / "parent.py").write_text("""
import os, signal, sys
from dontstop.machine.processes import CONTEXT

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as a terminal has it, and a background job does not
    worker = CONTEXT.Process(target=print, args=("done",))
    worker.start()
    os.kill(worker.pid, signal.SIGINT)
    worker.join()
    print(worker.exitcode)
    os.kill(os.getpid(), signal.SIGINT)  # which the parent hears as before
""")
    ended = subprocess.run([sys.executable, "parent.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["done", "0"]
    assert ended.returncode == -signal.SIGINT and ended.stderr.count("KeyboardInterrupt") == 1


def test_one_thread_for_a_block():
    before = torch.get_num_threads()
    with processes.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_cores_are_those_this_process_may_use():
    assert processes.num_cores() == len(os.sched_getaffinity(0))


def answer(number):
    if number < 0:
        os._exit(1)
    return number, os.getpid()


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_workers_on_text_give_results_in_any_order_asked_for(num_workers):
    with processes.text_workers(num_workers) as submit:
        results = [submit("a number", answer, k) for k in range(5)]
        found = [result.get() for result in reversed(results)]
    assert [number for number, _ in found] == [4, 3, 2, 1, 0]
    assert (os.getpid() in {process for _, process in found}) == (num_workers < 2)


def answer_the_second_time(marker):
    if not marker.exists():
        marker.touch()
        os._exit(1)
    return answer(0)


def test_a_worker_on_text_that_is_killed_has_its_work_done_again_and_killed_twice_is_an_error(tmp_path, capsys):
    before = set(processes.multiprocessing.active_children())
    with pytest.raises(StudyError, match="did a number, for the second time"), processes.text_workers(2) as submit:
        some = [submit("a text", answer_the_second_time, tmp_path / "marker"), submit("a number", answer, 1)]
        assert [result.get()[0] for result in some] == [0, 1]
        submit("a number", answer, -1).get()
    assert set(processes.multiprocessing.active_children()) == before
    assert capsys.readouterr().out.count("once more by one") == 1
