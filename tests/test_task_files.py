"""Tasks from a bucket and a hub's folder: what is kept, what is told, what goes on."""

import gzip
import json

import pandas as pd
import pytest

import loopback
import tiny
from dontstop.errors import StudyError
from dontstop.fetch import downloads, task_files
from dontstop.machine import files, locks
from dontstop.studies import parse_study, read_study
from dontstop.text.documents import read_documents

ROWS = {
    "train": [{"text": f"train text {k}", "label": "ab"[k % 2], "metadata": {"k": k}} for k in range(8)],
    "dev": [{"text": f"dev text {k}", "label": "ab"[k % 2]} for k in range(4)],
    "test": [{"text": f"test text {k}", "label": "ab"[k % 2]} for k in range(6)],
}


PAPER = read_study("paper")


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def bucket(monkeypatch):
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
    with loopback.serving() as server:
        for task in ("sciie", "imdb"):
            server.files |= {f"/data/{task}/{split}.jsonl": lines(rows) for split, rows in ROWS.items()}
        yield server


def test_tasks_of_a_bucket_and_their_differences_from_table_2(bucket, tmp_path):
    bucket.faults = {"/data/sciie/train.jsonl": ["cut"], "/data/imdb/dev.jsonl": ["/data/sciie/dev.jsonl"]}
    told = []
    task_files.fetch_tasks(tmp_path, PAPER, ["sciie", "imdb"], "bucket", f"{bucket.address}/data/", told.append)
    for task in ("sciie", "imdb"):
        for split, rows in ROWS.items():
            found = list(read_documents(tmp_path / "tasks" / task / f"{split}.jsonl", ("text", "label")))
            assert found == [{"text": row["text"], "label": row["label"]} for row in rows]
    assert "sciie, train: 8 examples, Table 2 has 3,219" in told
    about = files.read_json(tmp_path / "tasks/sciie/source.json")
    assert about["splits"]["test"]["num_examples"] == 6 and about["splits"]["test"]["num_in_table_2"] == 974
    assert about["splits"]["train"]["sha256"] == files.digest(tmp_path / "tasks/sciie/train.jsonl")
    assert about["splits"]["train"]["from"] == f"{bucket.address}/data/sciie/train.jsonl"


def test_the_same_command_goes_on_behind_what_has_come(bucket, tmp_path):
    bucket.faults = {"/data/sciie/test.jsonl": [403]}
    arguments = (tmp_path, PAPER, ["sciie"], "bucket", f"{bucket.address}/data", lambda line: None)
    with pytest.raises(StudyError, match="answered with 403"):
        task_files.fetch_tasks(*arguments)
    task_files.fetch_tasks(*arguments)
    paths = [path for path, _ in bucket.asked]
    assert paths.count("/data/sciie/train.jsonl") == 1 and paths.count("/data/sciie/test.jsonl") == 2


def test_the_command_line_fetches_and_refuses(bucket, tmp_path, capsys):
    mirror, address = str(tmp_path / "mirror"), f"{bucket.address}/data"
    assert tiny.command("fetch-tasks", mirror, "--task", "sciie", "--address", address) == 0
    assert (tmp_path / "mirror/tasks/sciie/source.json").is_file()
    assert tiny.command("fetch-tasks", mirror, "--task", "scierc", "--address", address) == 2
    assert "did you mean 'sciie'" in capsys.readouterr().err
    assert tiny.command("fetch-tasks", mirror, "--task", "ag", "--address", address) == 2
    assert "answered with 404" in capsys.readouterr().err
    assert tiny.command("fetch-tasks", mirror, "--source", "hbu") == 2


def hub_folder(root, task, names=("train", "dev", "test")):
    folder = root / PAPER.task(task).hub
    folder.mkdir(parents=True)
    for name, rows in zip(names, ROWS.values(), strict=True):
        numbered = [{"text": row["text"], "label": "ab".index(row["label"])} for row in rows]
        pd.DataFrame(numbered).to_csv(folder / f"{name}.csv", index=False)
    return folder


def fetch(root, study, task):
    task_files.fetch_tasks(root / "mirror", study, [task], "hub", str(root / "hub"), lambda line: None)


@pytest.mark.parametrize("names", [("train", "dev", "test"), ("train", "validation", "test")])
def test_tasks_of_a_hub_read_the_same(tmp_path, names):
    hub_folder(tmp_path / "hub", "citation_intent", names)
    fetch(tmp_path, PAPER, "citation_intent")
    for split, rows in ROWS.items():
        found = read_documents(tmp_path / "mirror/tasks/citation_intent" / f"{split}.jsonl", ("text", "label"))
        assert list(found) == [{"text": row["text"], "label": str("ab".index(row["label"]))} for row in rows]


def test_a_hub_that_lacks_the_task_or_a_split_is_told(tmp_path):
    arguments = (tmp_path, PAPER, "citation_intent")
    with pytest.raises(StudyError, match="citation_intent-tlm cannot be read"):
        fetch(*arguments)
    folder = hub_folder(tmp_path / "hub", "citation_intent")
    (folder / "dev.csv").unlink()
    with pytest.raises(StudyError, match="no split dev or validation"):
        fetch(*arguments)
    there = {path.name for path in (tmp_path / "mirror/tasks/citation_intent").iterdir()}
    assert there == {"train.jsonl", "source.json"}


def test_a_task_comes_from_one_place_and_stays_as_it_came(bucket, tmp_path):
    bucket.faults = {"/data/sciie/dev.jsonl": [403]}
    arguments = (PAPER, ["sciie"], "bucket", f"{bucket.address}/data", lambda line: None)
    with pytest.raises(StudyError, match="take the hub"):
        task_files.fetch_tasks(tmp_path / "mirror", *arguments)
    hub_folder(tmp_path / "hub", "sciie")
    with pytest.raises(StudyError, match=r"train.jsonl, fetched from [\s\S]*\(bucket\)[\s\S]*or delete .*tasks/sciie"):
        fetch(tmp_path, PAPER, "sciie")
    task_files.fetch_tasks(tmp_path / "mirror", *arguments)
    (tmp_path / "mirror/tasks/sciie/test.jsonl").write_bytes(lines(ROWS["dev"]))
    with pytest.raises(StudyError, match=r"test.jsonl changed since it was fetched"):
        task_files.fetch_tasks(tmp_path / "mirror", *arguments)


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"splits": []}', '{"splits": {"train": {}}}', '{"splits": 5}'])
def test_a_damaged_note_of_where_splits_came_from_is_told(tmp_path, content):
    hub_folder(tmp_path / "hub", "citation_intent")
    fetch(tmp_path, PAPER, "citation_intent")
    (tmp_path / "mirror/tasks/citation_intent/source.json").write_text(content)
    with pytest.raises(StudyError, match=r"source.json is damaged[\s\S]*do this: delete"):
        fetch(tmp_path, PAPER, "citation_intent")


def test_one_command_at_a_time_fetches_tasks(tmp_path):
    with locks.only_run(tmp_path / "mirror/tasks/.fetch.lock"), pytest.raises(StudyError, match="another run"):
        fetch(tmp_path, PAPER, "citation_intent")


def test_what_is_no_split_does_not_stay(bucket, tmp_path):
    good = bucket.files["/data/sciie/train.jsonl"]
    bucket.files["/data/sciie/train.jsonl"] = b"<html>Please log in</html>"
    arguments = (tmp_path, PAPER, ["sciie"], "bucket", f"{bucket.address}/data", lambda line: None)
    with pytest.raises(StudyError, match=r"sciie/train.jsonl is no split of sciie: .*malformed"):
        task_files.fetch_tasks(*arguments)
    bucket.files["/data/sciie/train.jsonl"] = good
    task_files.fetch_tasks(*arguments)
    assert (tmp_path / "tasks/sciie/train.jsonl").read_bytes() == good


def test_a_split_that_the_user_put_there_is_left_and_a_refused_task_leaves_no_folder(bucket, tmp_path):
    own = tmp_path / "tasks/sciie/train.jsonl.gz"
    own.parent.mkdir(parents=True)
    own.write_bytes(gzip.compress(lines(ROWS["dev"])))
    told, bucket.faults = [], {"/data/imdb/train.jsonl": [403]}
    with pytest.raises(StudyError, match="403"):
        task_files.fetch_tasks(tmp_path, PAPER, ["sciie", "imdb"], "bucket", f"{bucket.address}/data", told.append)
    assert "sciie, train: 4 examples (train.jsonl.gz, already there), Table 2 has 3,219" in told
    assert {path.name for path in own.parent.iterdir()} == {own.name, "dev.jsonl", "test.jsonl", "source.json"}
    assert not (tmp_path / "tasks/imdb").exists()
    with pytest.raises(StudyError, match="one of chemprot"):
        task_files.fetch_tasks(tmp_path, PAPER, ["numerical_topic"], "hub", None, told.append)


def test_a_task_that_the_paper_does_not_have_is_not_compared_with_it(tmp_path):
    assert task_files.differences_from_table_2(tmp_path, ["one_of_mine"]) == []


def test_a_study_of_ones_own_names_its_addresses_and_columns(bucket, tmp_path, capsys):
    own = {"domain": "d", "metric": "macro_f1", "hub": "me/queues", "text_column": "body", "label_column": "queue"}
    study = parse_study({"domains": {"d": None}, "tasks": {"queues": own}}, "own.yaml")
    (tmp_path / "hub/me/queues").mkdir(parents=True)
    for name, rows in ROWS.items():
        table = pd.DataFrame([{"body": row["text"], "queue": row["label"]} for row in rows])
        table.to_csv(tmp_path / "hub/me/queues" / f"{name}.csv", index=False)
    told = []
    task_files.fetch_tasks(tmp_path / "mirror", study, [], "hub", str(tmp_path / "hub"), told.append)
    assert told[0] == "queues, train: 8 examples"
    found = list(read_documents(tmp_path / "mirror/tasks/queues/train.jsonl", ("text", "label")))
    assert found == [{"text": row["text"], "label": row["label"]} for row in ROWS["train"]]
    with pytest.raises(StudyError, match="no bucket named for queues"):
        task_files.fetch_tasks(tmp_path / "mirror", study, [], "bucket", None, told.append)
    bucket.files |= {f"/own/sciie/{split}.jsonl": lines(rows) for split, rows in ROWS.items()}
    content = {"bucket": f"{bucket.address}/own", "domains": {"d": None}}
    content |= {"tasks": {"sciie": {"domain": "d", "metric": "macro_f1"}}}
    (tmp_path / "own.yaml").write_text(json.dumps({"text": {"source": "files", "study": content}}))
    arguments = ("fetch-tasks", str(tmp_path / "other"), "-p", str(tmp_path / "own.yaml"))
    assert tiny.command(*arguments) == 0
    assert "sciie, test: 6 examples, Table 2 has 974" in capsys.readouterr().out
