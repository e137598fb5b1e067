"""A plan on a cluster: the same results as on this machine, needs first, errors whole, interrupted jobs gone on."""

import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

import cluster_jobs
import tiny
from conftest import PROJECT
from dontstop.errors import StudyError
from dontstop.machine import clusters, files
from dontstop.machine.progress import Job
from dontstop.profiles import Cluster

LOCAL = Cluster(kind="local", cpus=1, parallel=2, minutes=60)


def has_slurm():
    if shutil.which("sinfo") is None:
        return False
    found = subprocess.run(["sinfo", "-h", "-o", "%a"], capture_output=True, text=True, check=False)
    return found.returncode == 0 and "up" in found.stdout


NO_SLURM = pytest.mark.skipif(not has_slurm(), reason="no Slurm that takes jobs: make slurm sets one up")
KINDS = ["local", pytest.param("slurm", marks=[pytest.mark.slurm, NO_SLURM])]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PROJECT / "tests"), prepend=os.pathsep)
    monkeypatch.setattr(clusters, "POLL_SECONDS", 0.05)


def job(name, function, *arguments, needs=(), divisible=False):
    return Job(name, name, "run", 1.0, function, arguments, frozenset(needs), divisible)


def settings(kind, **changes):
    return Cluster(**{"kind": kind, "cpus": 1, "parallel": 2, "minutes": 60, "memory_gb": 1, **changes})


@pytest.mark.parametrize("kind", KINDS)
def test_jobs_are_done_needs_first(kind, tmp_path, capsys):
    paths = {name: tmp_path / name for name in "abc"}
    some = [
        job("c", shutil.copy, paths["a"], paths["c"], needs="a"),
        job("a", cluster_jobs.write, paths["a"], "first"),
        job("b", cluster_jobs.write, paths["b"], "shared by", divisible=True),
    ]
    clusters.carry_out("a plan", some, settings(kind), tmp_path / "logs")
    assert [paths[name].read_text() for name in "abc"] == ["first 1", "shared by 1", "first 1"]
    said = capsys.readouterr().out
    assert f"3 jobs for {kind}" in said and "3/3 runs done, 0 left" in said


@pytest.mark.slurm
@NO_SLURM
def test_a_users_error_comes_back_whole_from_slurm(tmp_path):
    with pytest.raises(StudyError) as told:
        clusters.carry_out("a plan", [job("a", cluster_jobs.fail, "worse")], settings("slurm"), tmp_path / "logs")
    assert (told.value.found, told.value.expected, told.value.remedy) == ("worse", "better", "mend it")


def test_a_job_that_dies_is_told_with_its_log(tmp_path):
    with pytest.raises(StudyError, match=r"a ended without its result[\s\S]*read .*\.err"):
        clusters.carry_out("a plan", [job("a", cluster_jobs.die)], LOCAL, tmp_path / "logs")


def test_an_interrupted_job_is_queued_again_and_goes_on(tmp_path, monkeypatch):
    def interrupt():
        while not (tmp_path / "tries").exists():
            time.sleep(0.05)
        time.sleep(0.5)
        subprocess.run(
            ["pkill", "-USR2", "-P", str(taken[0]._process.pid)], check=True
        )  # as Slurm does when it preempts

    taken, submitted = [], clusters._submitted
    monkeypatch.setattr(
        clusters, "_submitted", lambda *arguments: (found := submitted(*arguments)) and taken.extend(found) or found
    )
    threading.Thread(target=interrupt, daemon=True).start()
    clusters.carry_out("a plan", [job("a", cluster_jobs.begin_then_wait, tmp_path)], LOCAL, tmp_path / "logs")
    assert (tmp_path / "result").read_text() == "done" and (tmp_path / "tries").read_text() == "xx"


def test_what_is_under_way_is_cancelled_when_one_fails_and_the_users_error_comes_back_whole(tmp_path, monkeypatch):
    taken, submitted = [], clusters._submitted
    monkeypatch.setattr(
        clusters, "_submitted", lambda *arguments: (found := submitted(*arguments)) and taken.extend(found) or found
    )
    some = [job("a", cluster_jobs.begin_then_wait, tmp_path), job("b", cluster_jobs.fail, "worse")]
    with pytest.raises(StudyError) as told:
        clusters.carry_out("a plan", some, LOCAL, tmp_path / "logs")
    assert (told.value.found, told.value.expected, told.value.remedy) == ("worse", "better", "mend it")
    assert all(future._process.poll() is not None for future in taken)


KILLED = """
import sys
import cluster_jobs
from dontstop.machine import clusters
from dontstop.machine.progress import Job
from dontstop.profiles import Cluster
from pathlib import Path
folder = Path(sys.argv[1])
job = Job("a", "a", "run", 1.0, cluster_jobs.begin_then_wait, (folder,))
clusters.carry_out("a plan", [job], Cluster(cpus=1, memory_gb=1, minutes=60), folder / "logs")
"""


@pytest.mark.slurm
@NO_SLURM
def test_jobs_that_a_killed_run_left_are_cancelled_by_the_next(tmp_path, capsys):
    run = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    while not (tmp_path / "tries").exists():
        time.sleep(0.1)
    run.kill()
    run.wait()
    left = files.read_json(tmp_path / "logs" / clusters.QUEUED)
    some = [job("b", cluster_jobs.write, tmp_path / "b", "done")]
    clusters.carry_out("a plan", some, settings("slurm"), tmp_path / "logs")
    assert "cancelling 1 jobs" in capsys.readouterr().out and (tmp_path / "b").read_text() == "done 1"
    found = subprocess.run(["squeue", "-h", "-j", ",".join(left)], capture_output=True, text=True, check=False)
    assert not found.stdout.strip() and not (tmp_path / "logs" / clusters.QUEUED).exists()


def fake(folder, name, *answers):
    """Put a command on the path that gives one answer a call, the last one for ever: (exit status, stdout, stderr)."""
    lines = ["#!/bin/sh", f'echo "$@" >>{folder}/{name}.calls', f"case $(wc -l <{folder}/{name}.calls) in"]
    for number, (status, out, err) in enumerate(answers, 1):
        pattern = number if number < len(answers) else "*"
        lines.append(f"{pattern}) printf '%s' '{out}'; printf '%s' '{err}' >&2; exit {status};;")
    (folder / name).write_text("\n".join([*lines, "esac", ""]))
    (folder / name).chmod(0o755)


GONE = (1, "", "slurm_load_jobs error: Invalid job id specified")
SILENT = (1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")


@pytest.fixture
def left(tmp_path, monkeypatch):
    """Give the note of two jobs that an earlier run left, where the path has but the test's own commands."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fake(tmp_path, "scancel", (0, "", ""))
    files.write_json(tmp_path / "queued.json", ["7_0", "7_1"])
    return tmp_path / "queued.json"


@pytest.mark.parametrize("end", [(0, "", ""), GONE])
def test_a_squeue_without_an_answer_is_asked_again_until_the_jobs_have_ended(left, end):
    fake(left.parent, "squeue", SILENT, (0, "7_1 R", ""), SILENT, end)
    clusters._cancel_left(left)
    assert len((left.parent / "squeue.calls").read_text().splitlines()) == 4 and not left.exists()
    assert (left.parent / "scancel.calls").read_text() == "7_0 7_1\n"


def test_a_squeue_that_never_answers_stops_the_run_and_the_note_stays(left, monkeypatch):
    monkeypatch.setattr(clusters, "CANCEL_SECONDS", 0.2)
    fake(left.parent, "squeue", SILENT)
    with pytest.raises(StudyError, match=r"squeue without an answer .*Unable to contact slurm controller"):
        clusters._cancel_left(left)
    assert files.read_json(left) == ["7_0", "7_1"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_on_a_cluster_has_the_same_records_to_the_bit(kind, tmp_path):
    found = {}
    for name, cluster in (("here", None), ("there", settings(kind, cpus=2).model_dump())):
        root = tiny.make(tmp_path / name, speed={"cluster": cluster} if cluster else {})
        tiny.run(root, "domain_gap")
        rows = files.read_jsonl(root / "results/tiny/records/01_domain_gap/cross_domain_loss.jsonl")
        found[name] = [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]
        found[name] += [path.read_text() for path in sorted((root / "results/tiny/curves").rglob("*.csv"))]
    assert found["here"] == found["there"] and len(found["here"]) == 4


def test_without_submitit_or_slurm_the_remedy_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(StudyError, match="extra `slurm`"):
        clusters.carry_out("a plan", [job("a", cluster_jobs.die)], LOCAL, tmp_path / "logs")
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StudyError, match="no Slurm here"):
        clusters.carry_out("a plan", [job("a", cluster_jobs.die)], settings("slurm"), tmp_path / "logs")
