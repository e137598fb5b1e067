"""Tasks from a bucket and a hub's folder, corpora streamed to a budget: what is kept, what is told, what goes on."""

import gzip
import json
from dataclasses import replace

import pandas as pd
import pytest

import loopback
import tiny
from dontstop.errors import StudyError
from dontstop.fetch import downloads, mirrors
from dontstop.fetch.sources import CORPORA, HUB_TASKS, CorpusSource, corpus_source
from dontstop.machine import files
from dontstop.text.documents import read_documents

ROWS = {
    "train": [{"text": f"train text {k}", "label": "ab"[k % 2], "metadata": {"k": k}} for k in range(8)],
    "dev": [{"text": f"dev text {k}", "label": "ab"[k % 2]} for k in range(4)],
    "test": [{"text": f"test text {k}", "label": "ab"[k % 2]} for k in range(6)],
}


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
    mirrors.fetch_tasks(tmp_path, ["sciie", "imdb"], "bucket", f"{bucket.address}/data/", told.append)
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
    arguments = (tmp_path, ["sciie"], "bucket", f"{bucket.address}/data", lambda line: None)
    with pytest.raises(StudyError, match="answered with 403"):
        mirrors.fetch_tasks(*arguments)
    mirrors.fetch_tasks(*arguments)
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
    assert tiny.command("fetch-corpus", mirror, "biomeds", "--documents", "3") == 2
    assert "did you mean 'biomed'" in capsys.readouterr().err
    assert tiny.command("fetch-corpus", mirror, "biomed") == 2
    assert "no budget" in capsys.readouterr().err


def hub_folder(root, task, names=("train", "dev", "test")):
    folder = root / HUB_TASKS[task]
    folder.mkdir(parents=True)
    for name, rows in zip(names, ROWS.values(), strict=True):
        numbered = [{"text": row["text"], "label": "ab".index(row["label"])} for row in rows]
        pd.DataFrame(numbered).to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.mark.parametrize("names", [("train", "dev", "test"), ("train", "validation", "test")])
def test_tasks_of_a_hub_read_the_same(tmp_path, names):
    hub_folder(tmp_path / "hub", "citation_intent", names)
    mirrors.fetch_tasks(tmp_path / "mirror", ["citation_intent"], "hub", str(tmp_path / "hub"), lambda line: None)
    for split, rows in ROWS.items():
        found = read_documents(tmp_path / "mirror/tasks/citation_intent" / f"{split}.jsonl", ("text", "label"))
        assert list(found) == [{"text": row["text"], "label": str("ab".index(row["label"]))} for row in rows]


def test_a_hub_that_lacks_the_task_or_a_split_is_told(tmp_path):
    arguments = (tmp_path / "mirror", ["citation_intent"], "hub", str(tmp_path / "hub"), lambda line: None)
    with pytest.raises(StudyError, match="citation_intent-tlm not had"):
        mirrors.fetch_tasks(*arguments)
    folder = hub_folder(tmp_path / "hub", "citation_intent")
    (folder / "dev.csv").unlink()
    with pytest.raises(StudyError, match="no split dev or validation"):
        mirrors.fetch_tasks(*arguments)
    there = {path.name for path in (tmp_path / "mirror/tasks/citation_intent").iterdir()}
    assert there == {"train.jsonl", "source.json"}


def test_a_task_comes_from_one_place_and_stays_as_it_came(bucket, tmp_path):
    bucket.faults = {"/data/sciie/dev.jsonl": [403]}
    arguments = (["sciie"], "bucket", f"{bucket.address}/data", lambda line: None)
    with pytest.raises(StudyError, match="take the hub"):
        mirrors.fetch_tasks(tmp_path / "mirror", *arguments)
    hub_folder(tmp_path / "hub", "sciie")
    with pytest.raises(StudyError, match=r"train.jsonl, fetched from [\s\S]*\(bucket\)[\s\S]*or delete .*tasks/sciie"):
        mirrors.fetch_tasks(tmp_path / "mirror", ["sciie"], "hub", str(tmp_path / "hub"), lambda line: None)
    mirrors.fetch_tasks(tmp_path / "mirror", *arguments)
    (tmp_path / "mirror/tasks/sciie/test.jsonl").write_bytes(lines(ROWS["dev"]))
    with pytest.raises(StudyError, match=r"test.jsonl changed since it was fetched"):
        mirrors.fetch_tasks(tmp_path / "mirror", *arguments)


def test_what_is_no_split_does_not_stay(bucket, tmp_path):
    good = bucket.files["/data/sciie/train.jsonl"]
    bucket.files["/data/sciie/train.jsonl"] = b"<html>Please log in</html>"
    arguments = (tmp_path, ["sciie"], "bucket", f"{bucket.address}/data", lambda line: None)
    with pytest.raises(StudyError, match=r"no split in what came from .*malformed"):
        mirrors.fetch_tasks(*arguments)
    bucket.files["/data/sciie/train.jsonl"] = good
    mirrors.fetch_tasks(*arguments)
    assert (tmp_path / "tasks/sciie/train.jsonl").read_bytes() == good


def test_a_split_that_the_user_put_there_is_left_and_a_refused_task_leaves_no_folder(bucket, tmp_path):
    own = tmp_path / "tasks/sciie/train.jsonl.gz"
    own.parent.mkdir(parents=True)
    own.write_bytes(gzip.compress(lines(ROWS["dev"])))
    told, bucket.faults = [], {"/data/imdb/train.jsonl": [403]}
    with pytest.raises(StudyError, match="403"):
        mirrors.fetch_tasks(tmp_path, ["sciie", "imdb"], "bucket", f"{bucket.address}/data", told.append)
    assert "sciie, train: 4 examples (train.jsonl.gz, there), Table 2 has 3,219" in told
    assert {path.name for path in own.parent.iterdir()} == {own.name, "dev.jsonl", "test.jsonl", "source.json"}
    assert not (tmp_path / "tasks/imdb").exists()
    with pytest.raises(StudyError, match="whose text is made here"):
        mirrors.fetch_tasks(tmp_path, ["numerical_topic"], "hub", "", told.append)


# Corpora


def document(k):
    return f"document number {k} " + " ".join(f"word{k * n % 97}" for n in range(10))


@pytest.fixture
def source(tmp_path):
    """Give a source of two files: of its 60 documents, every sixth is short, every tenth a repetition."""
    rows = [document(k) for k in range(60)]
    rows = ["too short" if k % 6 == 1 else rows[0].upper() if k % 10 == 9 else row for k, row in enumerate(rows)]
    for number, some in enumerate((rows[:25], rows[25:])):
        path = tmp_path / "given" / f"part-{number}.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(lines({"body": row} for row in some)))
    files_of = str(tmp_path / "given" / "part-*.jsonl.gz")
    return CorpusSource("json", "CC0", "https://example.org", "made up", data_files=files_of, column="body")


def fetched(mirror, source, told=None, **budget):
    say = (told if told is not None else []).append
    path = mirrors.fetch_corpus(mirror, "cs", source, say, **budget)
    return [row["text"] for row in read_documents(path)]


def kept(number=60):
    rows = [(k, document(k)) for k in range(number)]
    return [text for k, text in rows if k % 6 != 1 and k % 10 != 9]


def test_a_corpus_is_cleaned_and_says_where_it_comes_from(source, tmp_path):
    assert fetched(tmp_path, source, num_documents=1000) == kept()
    about = files.read_json(tmp_path / "corpora/cs.source.json")
    assert about["licence"] == "CC0" and about["homepage"] == "https://example.org" and about["num_documents"] == 1000
    counts = about["counts"]
    assert counts["num_read"] == 60 and counts["num_documents"] == len(kept())
    assert counts["num_short"] == 10 and counts["num_repeated"] == 60 - 10 - len(kept())
    assert fetched(tmp_path, source, num_documents=1000) == kept()  # a source that ends before the budget is no other
    assert {path.name for path in (tmp_path / "corpora").iterdir()} == {"cs.jsonl.gz", "cs.source.json"}


def test_budgets_of_documents_and_of_words(source, tmp_path):
    assert fetched(tmp_path / "a", source, num_documents=7) == kept()[:7]
    words = len(kept()[0].split())
    assert fetched(tmp_path / "b", source, num_words=3 * words + 1) == kept()[:4]
    assert fetched(tmp_path / "c", source, num_documents=2, num_words=100 * words) == kept()[:2]


def test_words_tell_a_field_from_others(source, tmp_path):
    chosen = replace(source, any_of=("word21", "word42", "word63"), num_words_of=3)
    found = fetched(tmp_path, chosen, num_documents=1000)
    wanted = [text for text in kept() if {"word21", "word42", "word63"} <= set(text.split())]
    assert found == wanted and 0 < len(found) < len(kept())


def test_a_killed_fetch_goes_on_where_it_was(source, tmp_path, monkeypatch):
    monkeypatch.setattr(mirrors, "SHARD_CHARACTERS", 400)
    rows_read, kept_before = [], mirrors._kept

    def killed(text, *arguments):
        rows_read.append(text)
        if len(rows_read) == 33:
            raise KeyboardInterrupt
        return kept_before(text, *arguments)

    monkeypatch.setattr(mirrors, "_kept", killed)
    with pytest.raises(KeyboardInterrupt):
        fetched(tmp_path, source, num_documents=1000)
    assert not (tmp_path / "corpora/cs.jsonl.gz").exists()
    assert fetched(tmp_path, source, num_documents=1000) == kept()
    assert len(rows_read) < 60 + 33, "what had been read was read again"
    assert files.read_json(tmp_path / "corpora/cs.source.json")["counts"]["num_read"] == 60


def test_a_source_that_breaks_off_is_gone_on_with(source, tmp_path):
    second = tmp_path / "given" / "part-1.jsonl.gz"
    whole = second.read_bytes()
    second.write_bytes(whole[:40] + bytes(byte ^ 255 for byte in whole[40:]))
    with pytest.raises(StudyError, match="not had"):
        fetched(tmp_path, source, num_documents=1000)
    [progress] = (tmp_path / "corpora").glob(".cs.*/progress.json")
    assert files.read_json(progress)["counts"]["num_read"] == 25  # all of the first file
    second.write_bytes(whole)
    assert fetched(tmp_path, source, num_documents=1000) == kept()


def test_a_smaller_budget_than_what_has_come_is_told(source, tmp_path, monkeypatch):
    def killed(*arguments, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(mirrors.gzip, "GzipFile", killed)
        fetched(tmp_path, source, num_documents=7)
    with pytest.raises(StudyError, match=r"7 for num_documents come already[\s\S]*num_documents = 5 or fewer"):
        fetched(tmp_path, source, num_documents=5)
    assert fetched(tmp_path, source, num_documents=7) == kept()[:7]


def test_another_text_of_the_domain_is_told_before_anything_is_fetched(source, tmp_path):
    (tmp_path / "corpora/cs").mkdir(parents=True)
    with pytest.raises(StudyError, match=r"corpora/cs in the mirror[\s\S]*no other text of cs"):
        fetched(tmp_path, source, num_documents=7)


def test_another_budget_than_that_of_the_file_is_told(source, tmp_path):
    fetched(tmp_path, source, num_documents=7)
    assert len(fetched(tmp_path, source, num_documents=7)) == 7
    with pytest.raises(StudyError, match="move the file away"):
        fetched(tmp_path, source, num_documents=8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"column": "text"}, "no text in column 'text'[\\s\\S]*body"),
        ({"data_files": "nowhere/*.jsonl"}, "not had"),
        ({"any_of": ("zebra",), "num_words_of": 1}, "none of 60 documents"),
    ],
)
def test_sources_that_hold_nothing_of_the_kind(source, tmp_path, change, message):
    with pytest.raises(StudyError, match=message):
        fetched(tmp_path, replace(source, **change), num_documents=5)
    assert not (tmp_path / "corpora/cs.jsonl.gz").exists()


def test_every_domain_of_the_paper_has_a_source_with_a_licence():
    assert set(CORPORA) == {"biomed", "cs", "news", "reviews", "general"}
    assert all(source.licence and source.homepage and source.remark for source in CORPORA.values())
    assert corpus_source("news").name == "realnewslike"
