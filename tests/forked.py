"""Workers of tests are forks of one process that has all imported: 0.1 s of a core to start, in place of 2 to 5.

The package's own way, a fresh interpreter for each, is that of the commands that tests and notebooks give.
"""

import functools
import multiprocessing
import os
import resource
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

from dontstop.machine import processes

PRELOADED = ("pytest", "torch", "sklearn.metrics", "transformers.models.modernbert", "dontstop.runs.jobs")


class Context(ForkServerContext):
    """Starts processes with the environment and the limit of the moment, as a fresh interpreter has them."""

    def Process(self, *arguments, target, **more):
        if multiprocessing.parent_process() is None:
            _serve()
        now = dict(os.environ), resource.getrlimit(resource.RLIMIT_FSIZE)
        return super().Process(*arguments, target=functools.partial(_as_now, *now, target), **more)


def _serve() -> None:
    """Start the process that all are forked from, unless it is there; it must find the modules that it imports."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        os.environ |= {} if before is None else {"PYTHONPATH": before}


def _as_now(environment: dict[str, str], size_limits: tuple[int, int], target, *arguments, **more):
    forkserver._forkserver.ensure_running = lambda: None  # what this one starts is forked from the same process
    os.environ.clear()
    os.environ.update(environment)
    resource.setrlimit(resource.RLIMIT_FSIZE, size_limits)
    return target(*arguments, **more)


processes.CONTEXT = Context()
processes.CONTEXT.set_forkserver_preload([__name__, *PRELOADED])  # this one first: the others take the context
