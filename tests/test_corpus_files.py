"""Corpora streamed to a budget: what is kept, in which order, what is told, what goes on."""

import gzip
import itertools
import json
from dataclasses import replace

import pytest

import tiny
from dontstop.errors import StudyError
from dontstop.fetch import corpus_files
from dontstop.machine import files, locks
from dontstop.studies import Source, read_study
from dontstop.text.documents import read_documents


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def document(k):
    return f"document number {k} " + " ".join(f"word{k * n % 97}" for n in range(10))


GIVEN = ["too short" if k % 6 == 1 else document(0).upper() if k % 10 == 9 else document(k) for k in range(60)]


@pytest.fixture
def source(tmp_path):
    """Give a source of two files: of its 60 documents, every sixth is short, every tenth a repetition."""
    for number, some in enumerate((GIVEN[:25], GIVEN[25:])):
        path = tmp_path / "given" / f"part-{number}.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(lines({"body": row} for row in some)))
    files_of = str(tmp_path / "given" / "part-*.jsonl.gz")
    return Source("json", "CC0", "https://example.org", "made up", data_files=files_of, column="body")


def fetched(mirror, source, told=None, **budget):
    say = (told if told is not None else []).append
    path = corpus_files.fetch_corpus(mirror, "cs", source, say, **budget)
    return [row["text"] for row in read_documents(path)]


def kept():
    """Return what is kept of the source, a document of each file in turns."""
    turns = [row for pair in itertools.zip_longest(GIVEN[:25], GIVEN[25:]) for row in pair if row]
    found = {}
    for text in turns:
        if text != "too short":
            found.setdefault(text.lower(), text)
    return list(found.values())


def test_a_corpus_is_cleaned_and_says_where_it_comes_from(source, tmp_path):
    assert fetched(tmp_path, source, num_documents=1000) == kept()
    about = files.read_json(tmp_path / "corpora/cs.source.json")
    assert about["licence"] == "CC0" and about["homepage"] == "https://example.org" and about["num_documents"] == 1000
    counts = about["counts"]
    assert counts["num_read"] == 60 and counts["num_documents"] == len(kept())
    assert counts["num_short"] == 10 and counts["num_repeated"] == 60 - 10 - len(kept())
    assert fetched(tmp_path, source, num_documents=1000) == kept()  # a source that ends before the budget is no other
    there = {path.name for path in (tmp_path / "corpora").iterdir()}
    assert there == {"cs.jsonl.gz", "cs.source.json", ".cs.lock", ".cs.process"}


def test_budgets_of_documents_and_of_words(source, tmp_path):
    assert fetched(tmp_path / "a", source, num_documents=7) == kept()[:7]
    words = len(kept()[0].split())
    assert fetched(tmp_path / "b", source, num_words=3 * words + 1) == kept()[:4]
    assert fetched(tmp_path / "c", source, num_documents=2, num_words=100 * words) == kept()[:2]


def test_words_tell_a_field_from_others(source, tmp_path):
    chosen = replace(source, any_of=("word21", "word42", "word63"), num_words_of=3)
    found = fetched(tmp_path, chosen, num_documents=1000)
    wanted = [text for text in kept() if {"word21", "word42", "word63"} <= set(text.lower().split())]
    assert found == wanted and 0 < len(found) < len(kept())


def test_a_killed_fetch_goes_on_where_it_was(source, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_files, "SHARD_CHARACTERS", 400)
    rows_read, take = [], corpus_files.CorpusStream.take

    def killed(stream, row):
        rows_read.append(row)
        if len(rows_read) == 33:
            raise KeyboardInterrupt
        take(stream, row)

    monkeypatch.setattr(corpus_files.CorpusStream, "take", killed)
    with pytest.raises(KeyboardInterrupt):
        fetched(tmp_path, source, num_documents=1000)
    assert not (tmp_path / "corpora/cs.jsonl.gz").exists()
    assert fetched(tmp_path, source, num_documents=1000) == kept()
    assert len(rows_read) < 60 + 33, "what had been read was read again"
    assert files.read_json(tmp_path / "corpora/cs.source.json")["counts"]["num_read"] == 60


SPOILT = {
    "a letter of a shard": ("00001.jsonl", lambda content: content.replace(b"word", b"wOrd", 1)),
    "a shard cut at a line's end": ("00001.jsonl", lambda content: content[: content.index(b"\n") + 1]),
    "a shard gone": ("00000.jsonl", None),
    "a count": ("progress.json", lambda content: content.replace(b'"num_read": ', b'"num_read": 1', 1)),
    "progress cut": ("progress.json", lambda content: content[:20]),
    "a list": ("progress.json", lambda content: b"[]"),
    "without digests, as of before": ("progress.json", lambda _: b'{"state": null, "num_shards": 0, "counts": {}}'),
    "half a character": ("progress.json", lambda _: b'{"sha256": "", "state": "\\ud800"}'),
}


@pytest.mark.parametrize(("name", "spoil"), SPOILT.values(), ids=SPOILT)
def test_a_damaged_fetch_is_told_and_begins_again(source, tmp_path, monkeypatch, name, spoil):
    monkeypatch.setattr(corpus_files, "SHARD_CHARACTERS", 400)

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(corpus_files.gzip, "GzipFile", stop)
        fetched(tmp_path, source, num_documents=20)
    [path] = (tmp_path / "corpora").glob(f".cs.*/{name}")
    path.unlink() if spoil is None else path.write_bytes(spoil(path.read_bytes()))
    told = []
    assert fetched(tmp_path, source, told, num_documents=1000) == kept()
    assert told[0] == f"cs: {path.parent} is damaged: fetched from the beginning"


def test_one_command_at_a_time_fetches_a_corpus(source, tmp_path):
    with locks.only_run(tmp_path / "corpora" / ".cs.lock"), pytest.raises(StudyError, match="another run"):
        fetched(tmp_path, source, num_documents=7)


@pytest.mark.parametrize("name", ["cs.jsonl.gz", "cs.source.json"])
@pytest.mark.parametrize("content", ["[]", "{}", '{"sha256": "\\ud800"}'])
def test_a_damaged_corpus_or_note_of_it_is_told(source, tmp_path, name, content):
    fetched(tmp_path, source, num_documents=7)
    (tmp_path / "corpora" / name).write_text(content)
    with pytest.raises(StudyError, match="do this: delete"):
        fetched(tmp_path, source, num_documents=7)


@pytest.fixture
def many(tmp_path):
    """Give a source of twelve files of five documents, more files than are read in turns at a time."""
    for number in range(12):
        path = tmp_path / "many" / f"{number:02d}.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(lines({"text": document(10 * number + k)} for k in range(5))))
    return Source("json", "CC0", "https://example.org", "made up", data_files=str(tmp_path / "many" / "*.gz"))


def file_of(text):
    return int(text.split()[2]) // 10


def test_a_budget_takes_its_part_from_many_files(many, tmp_path):
    found = [file_of(text) for text in fetched(tmp_path / "a", many, num_documents=10)]
    assert len(set(found)) == 10 and found != sorted(found)
    everything = fetched(tmp_path / "b", many, num_documents=1000)
    assert sorted(everything) == sorted(document(10 * n + k) for n in range(12) for k in range(5))
    within = {number: [text for text in everything if file_of(text) == number] for number in range(12)}
    assert all(within[number] == [document(10 * number + k) for k in range(5)] for number in within)
    assert "shuffled with seed 0" in files.read_json(tmp_path / "a" / "corpora/cs.source.json")["order"]


def test_equal_fetches_are_equal_to_the_byte_wherever_they_were_interrupted(many, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_files, "SHARD_CHARACTERS", 1)  # a shard a document
    fetched(tmp_path / "whole", many, num_documents=1000)
    whole = (tmp_path / "whole/corpora/cs.jsonl.gz").read_bytes()
    take = corpus_files.CorpusStream.take
    for cut in (1, 17, 41, 59):
        rows_read = []

        def killed(stream, row, rows_read=rows_read, cut=cut):
            rows_read.append(row)
            if len(rows_read) == cut + 1:
                raise KeyboardInterrupt
            take(stream, row)

        monkeypatch.setattr(corpus_files.CorpusStream, "take", killed)
        with pytest.raises(KeyboardInterrupt):
            fetched(tmp_path / f"cut {cut}", many, num_documents=1000)
        fetched(tmp_path / f"cut {cut}", many, num_documents=1000)
        assert len(rows_read) == 61, "a row was read again, or passed over"
        assert (tmp_path / f"cut {cut}" / "corpora/cs.jsonl.gz").read_bytes() == whole


def test_a_source_that_breaks_off_is_gone_on_with(many, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_files, "SHARD_CHARACTERS", 1)
    everything = fetched(tmp_path / "whole", many, num_documents=1000)
    order = list(dict.fromkeys(map(file_of, everything)))
    last = tmp_path / "many" / f"{order[-1]:02d}.jsonl.gz"
    content = last.read_bytes()
    last.write_bytes(content[:40] + bytes(byte ^ 255 for byte in content[40:]))
    with pytest.raises(StudyError, match="cannot be read"):
        fetched(tmp_path, many, num_documents=1000)
    [progress] = (tmp_path / "corpora").glob(".cs.*/progress.json")
    saved = [row["text"] for path in sorted(progress.parent.glob("*.jsonl")) for row in files.read_jsonl(path)]
    assert files.read_json(progress)["counts"]["num_read"] == len(saved) >= 40  # all but the last turn before it
    assert saved == everything[: len(saved)]
    last.write_bytes(content)
    assert fetched(tmp_path, many, num_documents=1000) == everything


def test_a_smaller_budget_than_what_has_come_is_told(source, tmp_path, monkeypatch):
    def killed(*arguments, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(corpus_files.gzip, "GzipFile", killed)
        fetched(tmp_path, source, num_documents=7)
    with pytest.raises(StudyError, match=r"7 for num_documents fetched already[\s\S]*num_documents = 5 or fewer"):
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
        ({"data_files": "nowhere/*.jsonl"}, "cannot be read"),
        ({"any_of": ("zebra",), "num_words_of": 1}, "none of 60 documents"),
    ],
)
def test_sources_that_hold_nothing_of_the_kind(source, tmp_path, change, message):
    with pytest.raises(StudyError, match=message):
        fetched(tmp_path, replace(source, **change), num_documents=5)
    assert not (tmp_path / "corpora/cs.jsonl.gz").exists()


def test_every_domain_of_the_paper_has_a_source_with_a_licence():
    some = {name: read_study("paper").source(name) for name in ("biomed", "cs", "news", "reviews", "general")}
    assert all(source.licence and source.homepage and source.remark for source in some.values())
    assert some["news"].name == "realnewslike" and some["general"].name == "20231101.en"
    with pytest.raises(StudyError, match="those that there are: none"):
        read_study("docstrings").source("general")


def test_the_command_line_refuses_what_is_no_corpus(tmp_path, capsys):
    mirror = str(tmp_path / "mirror")
    assert tiny.command("fetch-corpus", mirror, "biomeds", "--documents", "3") == 2
    assert "did you mean 'biomed'" in capsys.readouterr().err
    assert tiny.command("fetch-corpus", mirror, "biomed") == 2
    assert "no budget" in capsys.readouterr().err
