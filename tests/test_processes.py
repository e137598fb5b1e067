"""A worker does its arithmetic on one thread and ends when its parent does."""

import os
import signal
import subprocess
import sys
import time

import torch

from dontstop import processes

PARENT = """
import time
from dontstop.processes import CONTEXT, be_worker

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


def test_one_thread_for_a_block():
    before = torch.get_num_threads()
    with processes.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_cores_are_those_this_process_may_use():
    assert processes.num_cores() == len(os.sched_getaffinity(0))
