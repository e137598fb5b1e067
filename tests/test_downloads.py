"""Files from a server that redirects, cuts, refuses, fails for a while, changes, or sends other bytes."""

import hashlib

import pytest

import loopback
from dontstop.errors import StudyError
from dontstop.fetch import downloads

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def server():
    with loopback.serving() as found:
        found.files["/file"] = CONTENT
        yield found


def fetch(server, folder, path="/file", **settings):
    downloads.download(f"{server.address}{path}", folder / "file", pause=0.0, **settings)
    assert (folder / "file").read_bytes() == server.files["/file"]
    assert [path.name for path in folder.iterdir()] == ["file"], "a rest beside the file"


def test_a_file_comes_whole_and_once(server, tmp_path):
    fetch(server, tmp_path, sha256=hashlib.sha256(CONTENT).hexdigest())
    fetch(server, tmp_path)
    assert server.asked == [("/file", None)]


def test_a_redirect_is_followed(server, tmp_path):
    server.faults["/old"] = ["/file"]
    fetch(server, tmp_path, "/old")
    assert [path for path, _ in server.asked] == ["/old", "/file"]


def test_a_cut_connection_goes_on_where_it_was(server, tmp_path):
    server.faults["/file"] = ["cut", "cut"]
    fetch(server, tmp_path)
    places = [int(asked.split("=")[1][:-1]) for _, asked in server.asked[1:]]
    assert places == [len(CONTENT) // 2, len(CONTENT) * 3 // 4]


def test_a_later_command_goes_on_where_an_earlier_gave_up(server, tmp_path):
    server.faults["/file"] = ["cut", *[503] * (downloads.NUM_TRIES - 1)]
    with pytest.raises(
        StudyError, match=r"not downloaded in 5 tries, the last time: the server answered 503[\s\S]*is kept"
    ):
        fetch(server, tmp_path)
    assert not (tmp_path / "file").exists()
    fetch(server, tmp_path)
    assert server.asked[-1][1] == f"bytes={len(CONTENT) // 2}-"


@pytest.mark.parametrize("content", [b"another" * 300_000, b"short"])
def test_a_file_that_changed_meanwhile_is_had_anew(server, tmp_path, content):
    server.faults["/file"] = ["cut", *[503] * (downloads.NUM_TRIES - 1)]
    with pytest.raises(StudyError):
        fetch(server, tmp_path)
    server.files["/file"] = content
    fetch(server, tmp_path)


def test_tries_are_told(server, tmp_path):
    server.faults["/file"] = [503, "cut"]
    told = []
    fetch(server, tmp_path, tell=told.append)
    assert len(told) == 2 and "503" in told[0] and all("trying again" in line for line in told)


def test_other_bytes_than_the_checksums_are_refused(server, tmp_path):
    with pytest.raises(StudyError, match="SHA-256"):
        fetch(server, tmp_path, sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("status", "advice"), [(403, "--source hub"), (404, "address is right")])
def test_a_refusal_is_told_at_once(server, tmp_path, status, advice):
    server.faults["/file"] = [status] * 9
    with pytest.raises(StudyError, match=f"answered with {status}[\\s\\S]*{advice}"):
        fetch(server, tmp_path)
    assert len(server.asked) == 1 and list(tmp_path.iterdir()) == []


def test_nobody_at_the_address(tmp_path):
    with loopback.serving() as server:
        address = server.address
    with pytest.raises(StudyError, match="not downloaded in 5 tries"):
        downloads.download(f"{address}/file", tmp_path / "file", pause=0.0)
    with pytest.raises(StudyError, match="not downloaded|address"):
        downloads.download("nowhere", tmp_path / "file", pause=0.0)
