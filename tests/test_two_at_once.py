"""Commands of one checkout at once: profiles that share results, replicates, and the same command twice."""

import ctypes
import os
import shutil
import time

import pytest

import kills
import reliability
import tiny

COMMANDS = [
    ("run", "domain_gap", "-p", "tiny"),
    ("run", "domain_gap", "-p", "other"),  # has the same base encoder
    ("run", "domain_gap", "-p", "tiny", "--replicates", "2"),
    ("run", "tapt", "-p", "tiny"),
]

CLONE_NEWPID = 0x20000000  # of Linux's sched.h


def be_another_machine():
    """Go on as process 1, as in a container: two on one disk, of one host's name, are told apart by nothing."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWPID):
        raise OSError(ctypes.get_errno(), "unshare")
    if process := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def can_be_another_machine(log):
    return kills.end(kills.fork(log, be_another_machine)) == 0


def two_profiles(root):
    """Write a tiny study with a second profile, which differs in its seeds alone."""
    tiny.make(root, seeds=[0])
    (root / "configs" / "other.yaml").write_text((root / "configs" / "tiny.yaml").read_text() + "\n")
    return root


def test_commands_at_once_give_what_they_give_one_after_another(tmp_path):
    some = COMMANDS if reliability.SHARE else COMMANDS[:2]
    kills.warm()
    after = two_profiles(tmp_path / "after")
    for command in some:
        kills.finish(after, *command)
    more = ", two commands of one, replicates" if len(some) > 2 else ""
    about = f"{len(some)} commands at once: two profiles that share a base encoder{more}"
    for rng in reliability.Series(about, "test_two_at_once", 1, 100, "times").tries():
        root, processes = two_profiles(tmp_path / "at_once"), []
        for command in rng.sample(some, len(some)):
            processes.append(kills.start(root, *command))
            time.sleep(rng.choice([0, 0, 0.1, 0.5]))
        codes, said = [kills.end(process) for process in processes], (root / "log").read_text()
        assert codes == [0] * len(some) and "Traceback" not in said, said[-3000:]
        assert tiny.outcomes(root) == tiny.outcomes(after) and kills.left_over(root) == []
        # One training of each checkpoint, whichever command did it.
        assert len(kills.finished(root)) == len(kills.finished(after))
        assert len(some) == 2 or "works on this study; this command waits for it" in said
        shutil.rmtree(root)


def test_machines_that_share_a_disk_wait_for_one_another(tmp_path):
    """Machines of one name, whose processes have one number: the lock tells them apart, not the holder's name."""
    if not can_be_another_machine(tmp_path / "log"):
        pytest.skip("this system lets no test pretend to be two machines")
    kills.warm()
    command, alone = ("run", "tapt", "-p", "tiny"), two_profiles(tmp_path / "alone")
    for _ in range(2):
        kills.finish(alone, *command)
    for _ in reliability.Series("two containers on one disk, at once", "test_two_at_once", 1, 20, "times").tries():
        root = two_profiles(tmp_path / "shared")
        processes = [kills.start(root, *command, begin=be_another_machine) for _ in range(2)]
        codes, said = [kills.end(process) for process in processes], (root / "log").read_text()
        assert codes == [0, 0] and "Traceback" not in said, said[-3000:]
        assert "tiny: process 1 on" in said and "this command waits for it" in said
        assert tiny.outcomes(root) == tiny.outcomes(alone) and kills.left_over(root) == []
        assert len(kills.finished(root)) == len(kills.finished(alone))
        shutil.rmtree(root)
