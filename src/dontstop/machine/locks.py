"""Locks between processes: one command at a time fills a folder, and whoever finds it held waits or leaves it alone."""

import contextlib
import errno
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from dontstop.errors import StudyError
from dontstop.machine.progress import say

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP}  # of disks that are mounted without
_held: set[Path] = set()  # the locks of studies that this process holds


@contextlib.contextmanager
def locked(lock: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock, and give whether it is held; a dead holder's is free.

    Args:
        wait: Until another holder lets it go; else what it guards is left alone where it is held by another.

    Raises:
        StudyError: If the disk gives no locks. Where it does not know of them at all, the file's being there is the
            lock, and filelock warns of it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = FileLock(lock, timeout=-1 if wait else 0)
    try:
        handle.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        remedy = "put the study on a local disk, or have the shared one mounted with locks (flock)"
        raise StudyError(f"no lock to be had on {lock}: {error.strerror}", "a disk with locks", remedy) from error
    try:
        yield True
    finally:
        handle.release()


def lock_holder(lock: Path) -> int | None:
    """Return the process of this machine that holds a lock, where the system tells: Linux does."""
    try:
        own, held = lock.stat().st_ino, Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    rows = [line.split() for line in held]  # 1: FLOCK ADVISORY WRITE <process> <device>:<device>:<inode> 0 EOF
    return next((int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].endswith(f":{own}")), None)


@contextlib.contextmanager
def only_run(lock: Path, what: str = "this study") -> Iterator[None]:
    """Hold a study's lock, so that one command at a time fills its folders; wait where another holds it, and say so.

    Args:
        what: What the lock is of, if not of a study.

    Raises:
        StudyError: If this very process holds it, and would wait for itself.
    """
    holder, own = lock.with_suffix(".process"), f"{os.getpid()} on {platform.node()}"
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(locked(lock, wait=False)):
            # Not told by the holder's name: machines that share a disk may have one name, and processes one number.
            if lock in _held:
                found = f"another run of {what} under way in this process ({own})"
                raise StudyError(found, "one run at a time in a process", "let it end first")
            process = holder.read_text().strip() if holder.is_file() else "unknown"
            name = lock.stem.removeprefix(".")
            say(f"{name}: process {process} works on {what}; this command waits for it, then goes on")
            stack.enter_context(locked(lock))
        stack.callback(_held.discard, lock)
        _held.add(lock)
        holder.write_text(own)
        yield
