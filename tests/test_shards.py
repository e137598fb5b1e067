"""Corpora read shard by shard come out as if they were read in memory, whatever shards, processes and pieces."""

import gzip
import json
import lzma

import numpy as np
import pandas
import pyarrow
import pytest

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Paths, Profile, Speed, Text
from dontstop.text import corpora, leakage, shards, splits
from dontstop.text.documents import find_shards
from dontstop.text.tasks import SPLITS

NAMES = ("cs", "news", "general")  # the task's domain, its not-DAPT's, and the general text
SETTINGS = {"source": "files", "folder": "texts", "tasks": ["sciie"], "held_out_fraction": 0.2, "min_words": 4}


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def examples(split):
    texts = [" ".join(f"{split}{k}word{n}" for n in range(9)) for k in range(6)]
    return [{"text": text, "label": "ab"[k % 2]} for k, text in enumerate(texts)]


def documents_of(name):
    """Make documents of words in Zürich's script too, some repeated, short, quoting or leaking test texts."""
    rng = np.random.default_rng(len(name))
    texts = [" ".join(f"Zü{name}{w}" for w in rng.integers(40, size=rng.integers(5, 60))) for _ in range(90)]
    texts += [texts[3].upper(), f"{texts[5]}!", "so-few-words here", "so few words here", "So few, words here?"]
    quoted = examples("test")[1]["text"].split()
    texts += [f"{texts[7]} {' '.join(quoted)}", f"{texts[8]} {' '.join(quoted[:6])}", examples("dev")[0]["text"]]
    return [texts[k] for k in rng.permutation(len(texts))]


def write_shard(path, texts):
    """Write texts as the endings of the path say."""
    if path.suffix == ".parquet":
        pandas.DataFrame({"text": texts}).to_parquet(path, row_group_size=7)
        return
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    pack = {".gz": gzip.compress, ".xz": lzma.compress, ".zst": lambda c: pyarrow.compress(c, "zstd", asbytes=True)}
    path.write_bytes(pack.get(path.suffix, bytes)(content))


def write_study(root, endings):
    """Write a mirror whose corpora are one file each (an ending) or shards (several)."""
    for split in SPLITS:
        write_lines(root / "texts" / "tasks" / "sciie" / f"{split}.jsonl", examples(split))
    for name in NAMES:
        folder = root / "texts" / "corpora"
        if isinstance(endings, str):
            folder.mkdir(parents=True, exist_ok=True)
            write_shard(folder / f"{name}{endings}", documents_of(name))
            continue
        (folder / name).mkdir(parents=True)
        pieces = np.array_split(np.array(documents_of(name), object), len(endings))
        for k, (ending, piece) in enumerate(zip(endings, pieces, strict=True)):
            write_shard(folder / name / f"{k:02d}{ending}", piece.tolist())


def expected_rows(name, max_documents=None):
    """Return what stays of a corpus, and what of its held-out sample, by a plain reading in memory."""
    by_key = {}
    for k, text in enumerate(documents_of(name)):
        key = splits.content_key(text, "sample", seed=0)
        if key not in by_key and len(text.split()) >= SETTINGS["min_words"]:
            by_key[key] = (f"{name}:{k:07d}", text)
    known = leakage.word_grams([row["text"] for split in ("dev", "test") for row in examples(split)])
    found = sorted(by_key[key] for key in sorted(by_key)[:max_documents])
    found = [(k, text) for k, text in found if leakage.max_containment(known, leakage.word_grams([text])).max() < 0.5]
    fraction = SETTINGS["held_out_fraction"]
    held_out = [splits.in_fraction(text, "held_out", fraction, seed=0) for _, text in found]
    return [[row for row, out in zip(found, held_out, strict=True) if out == wanted] for wanted in (False, True)]


def prepared(root, monkeypatch, *, num_workers=1, piece=10**6, **text):
    """Prepare the study, and return the ids and texts of every corpus and held-out sample."""
    monkeypatch.setattr(shards, "_CHARACTERS", piece)
    monkeypatch.setattr(shards, "_BYTES_PER_WORKER", 1)
    profile = Profile(name="mini", text=Text(**SETTINGS, **text), speed=Speed(num_workers=num_workers))
    paths = Paths("mini", root)
    corpora.prepare(profile, paths)
    return {
        name: [[(row["id"], row["text"]) for row in files.read_jsonl(place(name))] for place in
               (paths.corpus, paths.held_out)]
        for name in NAMES
    }  # fmt: skip


@pytest.mark.parametrize(
    ("endings", "num_workers", "piece"),
    [
        (".jsonl", 1, 10**6),
        (".parquet", 1, 1),
        ((".jsonl",), 1, 500),
        ((".jsonl.zst", ".parquet", ".jsonl"), 2, 1),
        ((".jsonl.gz", ".jsonl", ".jsonl.xz", ".parquet", ".jsonl", ".jsonl", ".jsonl"), 3, 700),
    ],
)
def test_shards_come_out_as_a_plain_reading_in_memory(tmp_path, monkeypatch, endings, num_workers, piece):
    write_study(tmp_path, endings)
    found = prepared(tmp_path, monkeypatch, num_workers=num_workers, piece=piece)
    assert found == {name: expected_rows(name) for name in NAMES}
    cleaning = files.read_json(tmp_path / "data" / "mini" / "manifest.json")["cleaning"]
    assert cleaning["documents_read"] == 98 * len(NAMES) and cleaning["documents_leaking"] == 2 * len(NAMES)
    kept = sum(len(rows) for name in NAMES for rows in found[name])
    assert kept == 2 * cleaning["documents_read"] - sum(cleaning.values())
    assert not list((tmp_path / "data").glob(".*")) and not (tmp_path / "data" / "mini" / "shards").exists()


def test_a_corpus_is_the_same_text_in_one_file_or_many(tmp_path, monkeypatch):
    """All bytes are equal: of a corpus but for the name of each document's file, of audit and manifest too."""

    def everything(root):
        folder = root / "data" / "mini"
        contents = {path.name + path.parent.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for name in NAMES:
            for kind in ("corpora", "held_out"):
                rows = files.read_jsonl(folder / kind / f"{name}.jsonl")
                contents[f"{name}.jsonl{kind}"] = [row | {"source": ""} for row in rows]
        manifest = json.loads(contents.pop("manifest.jsonmini"))
        for entry in (*manifest["domains"].values(), *manifest["held_out"].values()):
            del entry["sha256"]
        return contents, manifest

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    write_study(whole, ".jsonl")
    write_study(cut, (".jsonl",) * 4)
    prepared(whole, monkeypatch, max_documents=40)
    assert prepared(cut, monkeypatch, num_workers=2, piece=300, max_documents=40) == {
        name: expected_rows(name, 40) for name in NAMES
    }
    assert everything(whole) == everything(cut)
    sources = {row["source"] for row in files.read_jsonl(cut / "data" / "mini" / "corpora" / "cs.jsonl")}
    assert sources == {f"cs/{k:02d}.jsonl" for k in range(4)}


@pytest.mark.parametrize("max_documents", [None, 1, 40])
def test_documents_are_settled_as_by_a_dictionary(max_documents):
    rng = np.random.default_rng(0)
    keys = rng.integers(2**64, size=(60, 2), dtype=np.uint64)[rng.integers(60, size=200)]
    is_long = rng.random(200) < 0.7
    first, counts = {}, {"documents_read": 0}
    for k, key in enumerate(map(tuple, keys.tolist())):
        counts["documents_read"] += 1
        if key in first:
            counts["documents_repeated"] = counts.get("documents_repeated", 0) + 1
        elif not is_long[k]:
            counts["documents_short"] = counts.get("documents_short", 0) + 1
        else:
            first[key] = k
    expected = sorted(first[key] for key in sorted(first)[:max_documents])
    cuts = [0, 13, 14, 150, 200]
    outlines = [
        shards.Outline(keys[a:b], is_long[a:b], np.zeros(b - a, bool)) for a, b in zip(cuts, cuts[1:], strict=False)
    ]
    kept, found = shards.settle(outlines, max_documents)
    assert [len(some) for some in kept] == [13, 1, 136, 50]
    assert np.flatnonzero(np.concatenate(kept)).tolist() == expected
    assert list(found.items()) == list(counts.items())  # in this order, which the manifest keeps


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_in_a_shard_is_told_as_in_a_file_and_nothing_stays(tmp_path, monkeypatch, num_workers):
    write_study(tmp_path, (".jsonl",) * 3)
    (tmp_path / "texts" / "corpora" / "news" / "01.jsonl").write_text('{"text": "a"}\n{"tex')
    with pytest.raises(StudyError, match=r"malformed JSON in .*news/01\.jsonl, line 2"):
        prepared(tmp_path, monkeypatch, num_workers=num_workers)
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def test_a_shard_that_changes_meanwhile_is_told(tmp_path, monkeypatch):
    write_study(tmp_path, (".jsonl",) * 2)
    path = tmp_path / "texts" / "corpora" / "cs" / "01.jsonl"
    settle = shards.settle

    def settle_and_write(*arguments):
        path.write_text(path.read_text() + '{"text": "one more"}\n')
        return settle(*arguments)

    monkeypatch.setattr(shards, "settle", settle_and_write)
    with pytest.raises(StudyError, match=r"documents in .*01\.jsonl, where a moment before there were"):
        prepared(tmp_path, monkeypatch)


def test_shards_are_read_by_name_and_hidden_files_are_passed_over(tmp_path):
    folder = tmp_path / "general"
    folder.mkdir()
    for name in ("b.jsonl", "a.csv.gz", "_SUCCESS", ".c.jsonl", "a.10.jsonl"):
        (folder / name).touch()
    assert [path.name for path in find_shards(tmp_path, "general")] == ["a.10.jsonl", "a.csv.gz", "b.jsonl"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no file general"),
        (["general/"], "no file in general"),
        (["general/_SUCCESS"], "no file in general"),
        (["general/a.jsonl", "general.csv"], "general.csv and the folder general"),
        (["general/a.jsonl", "general/README"], "general/README among the shards of general"),
        (["general/a.jsonl", "general/more.jsonl/"], "general/more.jsonl among the shards"),
        (["general/a.jsonl", "general/a.jsonl.gz"], "general/a.jsonl and general/a.jsonl.gz"),
    ],
)
def test_what_is_no_corpus_is_told(tmp_path, monkeypatch, names, message):
    monkeypatch.chdir(tmp_path)
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    with pytest.raises(StudyError, match=message):
        find_shards(tmp_path.relative_to(tmp_path), "general")
