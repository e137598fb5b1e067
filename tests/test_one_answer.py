"""One answer: the same bits whatever the number of workers, the order of runs and the way in; and the same files."""

import json
import shutil
import socket
import subprocess
import sys
import time

import nbformat
import pytest

import kills
import reliability
import tiny
from dontstop.runs import records
from dontstop.study import Study

ORDER = [("run", "domain_gap", "-p", "tiny"), ("run", "tapt", "-p", "tiny")]
ASK = "from dontstop.study import Study\nstudy = Study(profile, '{}')\nstudy.run('{}')"


def study(root, num_workers: int):
    return tiny.make(root, seeds=[0], speed={"num_workers": num_workers, "steps_between_saves": 2})


def contents(root) -> dict[str, bytes]:
    """Return the bytes of all files of results/."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("results/**/*") if path.is_file()}


def test_any_number_of_workers_and_any_order_give_the_same_bits_and_git_sees_no_change(tmp_path):
    kills.warm()
    numbers = (1, 4, 2) if reliability.SHARE else (1, 4)
    roots = [study(tmp_path / str(number), number) for number in numbers]
    workers = "1, 2 and 4 workers" if len(roots) == 3 else "1 and 4 workers"
    about = f"{workers}, runs in two orders, made again over what stood there, and beside another processor's"
    for _ in reliability.Series(about, "test_one_answer", 1, 10, "times").tries():
        for path in [root / name for root in roots for name in ("work", "checkpoints", "results")]:
            shutil.rmtree(path, ignore_errors=True)
        for root, order in zip(roots, (ORDER, ORDER[::-1], ORDER), strict=False):
            for command in order:
                kills.finish(root, *command)
        first, *others = map(tiny.outcomes, roots)
        assert len(first) > 5 and all(other == first for other in others)
    # Made by one process, published over what four have made: as committed results are by a study that is run anew.
    before = contents(roots[1])
    shutil.rmtree(roots[0] / "results")
    shutil.copytree(roots[1] / "results", roots[0] / "results")
    for command in ORDER:
        kills.finish(roots[0], *command)
    assert contents(roots[0]) == before
    _of_another_machine(roots[1])
    theirs = contents(roots[1])
    for command in ORDER:
        kills.finish(roots[1], *command)
    ours = {name: content for name, content in contents(roots[1]).items() if name not in theirs}
    assert {name: content for name, content in contents(roots[1]).items() if name in theirs} == theirs
    assert len(ours) == len(theirs) and all(name.startswith("results/tiny.") for name in ours)
    with tiny.at(roots[1]):
        reader = Study("tiny", "03_tapt")
        assert reader.capabilities() == {reader.capability()}


def _of_another_machine(root) -> None:
    """Make the records of a study those of another kind of machine."""
    for path in root.glob("results/tiny/records/*/*.jsonl"):
        rows = [row | {"capability": "an abacus"} for row in records.read_rows(path)[0]]
        records.write_records(path.parent, path.stem, rows)


@pytest.mark.skipif(not reliability.SHARE, reason="a long test: make test-long")
def test_every_way_in_gives_the_same_bits(tmp_path):
    root = study(tmp_path / "command", 2)
    for command in ORDER:
        kills.finish(root, *command)
    found = tiny.outcomes(root)
    about = "one way in or another: command, script, papermill, dontstop notebook, dvc repro, JupyterLab's server"
    for _ in reliability.Series(about, "test_one_answer", 0, 10, "times").tries():
        for way in ("script", "papermill", "notebook", "dvc", "lab"):
            root = study(tmp_path / way, 2)
            for name in ("domain_gap", "tapt"):
                _ask(root, way, name)
            assert {name: rows for name, rows in tiny.outcomes(root).items() if "notebooks" not in name} == found, way
            shutil.rmtree(root)


def write_stage(root, way: str, name: str):
    """Write what asks for an experiment: a notebook, and for `dvc` a pipeline of one stage; return the root."""
    cells = [nbformat.v4.new_code_cell("profile = 'tiny'", metadata={"tags": ["parameters"]}, id="parameters")]
    notebook = root / "notebooks" / f"{name}.ipynb"
    notebook.parent.mkdir(exist_ok=True)
    cells.append(nbformat.v4.new_code_cell(_source(name), id="ask"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), notebook)
    if way == "dvc":  # without Git
        stage = f"stages:\n  ask:\n    cmd: {sys.executable} -m dontstop run {name} -p tiny\n"
        (root / "dvc.yaml").write_text(stage + "    always_changed: true\n")
        subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q", "-f"], cwd=root, check=True)
    return root


def _source(name: str) -> str:
    return ASK.format({"domain_gap": "01_domain_gap", "tapt": "03_tapt"}[name], name)


def _ask(root, way: str, name: str) -> None:
    """Ask for an experiment in one of the ways."""
    if way == "lab":
        return _ask_lab(root, f"profile = 'tiny'\n{_source(name)}")
    write_stage(root, way, name)
    python = [sys.executable, "-m"]
    command = {
        "script": [sys.executable, "-c", f"profile = 'tiny'\n{_source(name)}"],
        "papermill": [*python, "papermill", "-k", "python3", f"notebooks/{name}.ipynb", "executed.ipynb"],
        "notebook": [*python, "dontstop", "notebook", name, "-p", "tiny"],
        "dvc": [*python, "dvc", "repro", "-q"],
    }[way]
    done = subprocess.run(command, cwd=root, env=tiny.environment(root), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def _ask_lab(root, source: str) -> None:
    """Run a cell as JupyterLab does: by its server, over a socket to a kernel that the server starts."""
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        port = some.getsockname()[1]
    settings = {"ip": "127.0.0.1", "port": port, "root_dir": root, "open_browser": False, "allow_root": True}
    options = [*(f"--ServerApp.{name}={value}" for name, value in settings.items()), "--IdentityProvider.token=one"]
    environment = tiny.environment(root) | {"JUPYTER_CONFIG_DIR": str(root / "config")}
    with open(root / "server.log", "wb") as log:
        command = [sys.executable, "-m", "jupyter_server", *options]
        server = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
    try:
        reply = _execute(f"127.0.0.1:{port}", source, time.monotonic() + 300)
        assert reply["content"]["status"] == "ok", reply
    finally:
        server.terminate()
        server.wait()
    (root / "server.log").unlink()


def _execute(address: str, source: str, until: float) -> dict:
    requests, websocket = pytest.importorskip("requests"), pytest.importorskip("websocket")
    known = {"Authorization": "token one"}
    while True:
        try:
            kernel = requests.post(f"http://{address}/api/kernels", json={"name": "python3"}, headers=known, timeout=60)
            break
        except requests.ConnectionError:
            assert time.monotonic() < until, "no server"
            time.sleep(0.2)
    place = f"ws://{address}/api/kernels/{kernel.json()['id']}/channels"
    channel = websocket.create_connection(place, timeout=300, header=known)
    header = {"msg_id": "ask", "msg_type": "execute_request", "username": "", "session": "one", "version": "5.3"}
    content = {"code": source, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    asked = {"header": header, "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": []}
    channel.send(json.dumps(asked | {"content": content}))
    while True:
        reply = json.loads(channel.recv())
        if reply["msg_type"] == "execute_reply" and reply["parent_header"].get("msg_id") == "ask":
            channel.close()
            return reply
