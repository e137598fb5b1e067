"""Fixtures that more than one test file needs."""

import os
import shutil
from pathlib import Path

import pytest

import forked  # noqa: F401  (before all that starts processes)
from dontstop.machine import processes, runner

PROJECT = Path(__file__).resolve().parents[1]
# Begun first, the longest before the rest, so that no process is left alone with a long file at the end.
LONGEST = """
    kill study verification one_answer two_at_once replicates calibration benchmarks claims released clusters
    process_group conversion adaptation mlm pipeline runner notebooks jobs shards effects
""".split()


def pytest_collection_modifyitems(items):
    """Put the files that take longest first; within a file the order stays."""
    items.sort(key=lambda item: [*LONGEST, item.path.stem[5:]].index(item.path.stem[5:]))


@pytest.fixture(autouse=True)
def environment_is_put_back():
    """Leave the environment as it was: options of the command line, such as --mirror, set variables for workers."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Do arithmetic on one thread, as workers do: two threads collapse where tests run side by side."""
    with processes.one_thread():
        yield


@pytest.fixture(autouse=True, scope="session")
def warm_workers():
    """Keep worker processes from one study to the next, as one run keeps them from plan to plan."""
    with runner.warm_workers():
        yield


MIRROR = os.environ.get("DONTSTOP_MIRROR")


@pytest.fixture(autouse=True, scope="session")
def no_mirror():
    """Forget the user's mirror and number of replicates: tests bring their own, but for the fixture `mirror`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DONTSTOP_MIRROR", raising=False)
        patch.delenv("DONTSTOP_REPLICATES", raising=False)
        yield


@pytest.fixture
def mirror() -> Path:
    """Give the mirror of the paper's data that DONTSTOP_MIRROR names; without one, skip."""
    if MIRROR is None:
        pytest.skip("DONTSTOP_MIRROR names no mirror of the paper's data")
    return Path(MIRROR)


@pytest.fixture
def project() -> Path:
    """Give the checkout's own root, to be read and never written."""
    return PROJECT


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Give an empty study root of the test's own: the checkout's configs/, and nothing else."""
    folder = tmp_path / "study"
    shutil.copytree(PROJECT / "configs", folder / "configs")
    monkeypatch.setenv("DONTSTOP_ROOT", str(folder))
    return folder
