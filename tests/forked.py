"""Workers of tests begin as forks of one process that has everything imported: 0.1 s of a core each, in place of 4.

The package's own way, a fresh interpreter for each, is gone by the commands that tests and notebooks give to processes.
"""

import functools
import os
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

from dontstop.machine import processes

PRELOADED = ("pytest", "torch", "sklearn.metrics", "transformers.models.modernbert", "dontstop.runs.jobs")


class Context(ForkServerContext):
    """Starts processes with the environment of the moment, as a fresh interpreter has it."""

    def Process(self, *arguments, target, **more):
        _serve()
        return super().Process(*arguments, target=functools.partial(_in_environment, dict(os.environ), target), **more)


def _serve() -> None:
    """Start the process that all are forked from, unless it is there; it must find the modules that it imports."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        os.environ |= {} if before is None else {"PYTHONPATH": before}


def _in_environment(environment: dict[str, str], target, *arguments, **more):
    os.environ.clear()
    os.environ.update(environment)
    return target(*arguments, **more)


processes.CONTEXT = Context()
processes.CONTEXT.set_forkserver_preload([__name__, *PRELOADED])  # this one first: the others take the context
