"""Workers and kernels of tests are forks of one process that has all imported: 0.1 s of a core to start, not 2 to 6.

The package's own way, a fresh interpreter for each, is that of the commands that tests give, and of the first kernel
that nbval starts.
"""

import atexit
import functools
import multiprocessing
import os
import resource
import signal
import sys
import time
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

from jupyter_client.provisioning import local_provisioner

from dontstop.machine import processes

PRELOADED = ("pytest", "torch", "sklearn.metrics", "transformers.models.modernbert", "dontstop.runs.jobs")
PRELOADED += ("dontstop.study", "ipykernel.kernelapp")  # and not Matplotlib, which asks a kernel where to draw


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


class Kernel:
    """A forked kernel, which Jupyter takes for a process of its own: it ends with this process."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], environment: dict[str, str], folder: str | None):
        self._process = processes.CONTEXT.Process(target=_be_kernel, args=(arguments, environment, folder))
        self._process.start()
        self.pid = self._process.pid
        while self.poll() is None and os.getpgid(self.pid) != self.pid:  # who signals its group must not find ours
            time.sleep(0.01)
        atexit.register(self.kill)

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self.poll()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _be_kernel(arguments: list[str], environment: dict[str, str], folder: str | None) -> None:
    os.setsid()
    os.chdir(folder or ".")
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    processes.end_with_parent()
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()


def launch_kernel(launched, command: list[str], *, env=None, cwd=None, **more):
    """Fork a Python kernel, in place of Jupyter's `launch_kernel`; nbval's first is launched by that."""
    is_python = command[1:3] == ["-m", "ipykernel_launcher"]
    if not is_python or not launch_kernel.is_warm:
        launch_kernel.is_warm = launch_kernel.is_warm or is_python
        return launched(command, env=env, cwd=cwd, **more)
    return Kernel(command[2:], dict(os.environ if env is None else env), cwd)


launch_kernel.is_warm = "nbval" not in sys.modules  # where notebooks are tried as users run them
if multiprocessing.parent_process() is None:  # and not in the process that all are forked from
    local_provisioner.launch_kernel = functools.partial(launch_kernel, local_provisioner.launch_kernel)
processes.CONTEXT = Context()
processes.CONTEXT.set_forkserver_preload([__name__, *PRELOADED])  # this one first: the others take the context
