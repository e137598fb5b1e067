"""Text read, divided and written: the user's files, the docstring study at smoke scale, and a study from files."""

import bz2
import collections
import gzip
import json
import lzma
from pathlib import Path

import pandas
import pyarrow
import pytest

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Paths, Profile, Text, load_profile
from dontstop.text import corpora, documents, leakage, splits
from dontstop.text.docstrings import Document
from dontstop.text.passages import Passage
from dontstop.text.tasks import GENERAL, SPLITS

ROWS = [{"text": "One text, with a comma.", "label": "a"}, {"text": 'Zwei "Wörter"\nin two lines.', "label": "b"}]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = 'text,label\n"One text, with a comma.",a\n"Zwei ""Wörter""\nin two lines.",b\n'


def read(path, fields=("text", "label")):
    return list(documents.read_documents(path, fields))


def zstd(content):
    return pyarrow.compress(content, "zstd", asbytes=True)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize(
    ("ending", "pack"),
    [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)],
)
def test_text_formats_and_compressions(tmp_path, form, ending, pack):
    path = tmp_path / f"my.texts.{form}{ending}"
    path.write_bytes(pack((JSONL if form == "jsonl" else CSV).encode()))
    assert read(path) == ROWS
    assert read(path, ("text",)) == [{"text": row["text"]} for row in ROWS]


def test_parquet(tmp_path):
    pandas.DataFrame(ROWS).to_parquet(tmp_path / "texts.parquet")
    assert read(tmp_path / "texts.parquet") == ROWS


def test_a_compressed_table_and_one_of_several_row_groups(tmp_path):
    many = [{"text": f"text {k}", "label": str(k), "other": k} for k in range(1200)]
    pandas.DataFrame(many).to_parquet(tmp_path / "texts.parquet", row_group_size=700)
    (tmp_path / "texts.parquet.gz").write_bytes(gzip.compress((tmp_path / "texts.parquet").read_bytes()))
    expected = [{"text": row["text"], "label": row["label"]} for row in many]
    assert read(tmp_path / "texts.parquet") == read(tmp_path / "texts.parquet.gz") == expected
    with pytest.raises(StudyError, match="no field 'id' in .*row 1\n.*among text, label, other"):
        read(tmp_path / "texts.parquet", ("id",))


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zstd)])
def test_a_compressed_file_is_read_as_it_is_unpacked(tmp_path, ending, pack):
    lines = [json.dumps({"text": f"text {k} {k * k}"}) + "\n" for k in range(100_000)]
    content = pack("".join(lines[:50_000]).encode()) + pack("".join(lines[50_000:]).encode())
    path = tmp_path / f"texts.jsonl{ending}"
    path.write_bytes(content)
    assert sum(1 for _ in documents.read_documents(path)) == 100_000  # both of two streams, one after another
    path.write_bytes(content[: len(content) * 3 // 4])
    rows = documents.read_documents(path)
    assert next(rows) == {"text": "text 0 0"}  # though the end is missing
    with pytest.raises(StudyError, match=r"unreadable after row [5-9]\d{4}"):
        collections.deque(rows, maxlen=0)


def test_byte_order_marks_and_blank_lines_are_passed_over_and_numbers_are_labels(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"text": "a", "label": 3}\n\n{"text": "b", "label": "4"}\n')
    assert read(path) == [{"text": "a", "label": "3"}, {"text": "b", "label": "4"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x", "label": "y"}\n{"text": \n', r"malformed JSON in .*a\.jsonl, line 2"),
        ("a.jsonl", b"[1, 2]\n", "list in .*, line 1"),
        ("a.jsonl", b'{"text": "x"}\n', "no field 'label' in .*, line 1"),
        ("a.jsonl", b'{"text": "x", "label": "y"}\n{"text": " ", "label": "y"}\n', "empty text in .*, line 2"),
        ("a.jsonl", b'{"text": 3, "label": "y"}\n', "text of type int in .*, line 1"),
        ("a.jsonl", b'{"text": "x", "label": null}\n', "empty label in .*, line 1"),
        ("a.jsonl", b'{"text": "x", "label": [1]}\n', "label of type list in .*, line 1"),
        ("a.jsonl", b'{"text": "x", "label": "y"}\n{"text": "\xff"}\n', "byte 0xff .*, line 2"),
        ("a.jsonl", b'{"text": "x \\ud83d y", "label": "y"}\n', r"half a character, '\\ud83d', in text in .*, line 1"),
        ("a.jsonl", b"", "no documents in"),
        ("a.jsonl", b"\n \n", "no documents in"),
        ("a.csv", b"text,label\nx,y\nx,y,z\n", "1 columns too many in .*, line 3"),
        ("a.csv", b'text,label\nx,"y\n', "malformed CSV in"),
        ("a.csv", b"text,label\nx\n", "1 of 2 columns in .*, line 2"),
        ("a.csv", b"text,label\n", "no documents in"),
        ("a.parquet", b"not parquet at all", "unreadable after row 0"),
        ("a.jsonl.gz", b"not compressed at all", "unreadable after row 0"),
        ("a.jsonl.gz", gzip.compress(JSONL.encode(), mtime=0)[:-9], "unreadable after row"),
        ("a.jsonl.gz", gzip.compress(JSONL.encode(), mtime=0)[:12] + b"\xff" * 40, "unreadable after row"),
        ("a.jsonl.xz", b"not compressed at all", "unreadable after row 0"),
        ("a.jsonl.zst", b"not compressed at all", "unreadable after row 0"),
        ("a.txt", b"x", "no field 'label' in .*, line 1"),
        ("a.doc", b"x", "no known format"),
        ("a", b"x", "no known format"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StudyError, match=message):
        read(tmp_path / name)


def test_missing_and_doubled_files(tmp_path):
    with pytest.raises(StudyError, match="no file"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(StudyError, match="no file"):
        documents.find_documents(tmp_path, "general")
    for ending in ("jsonl", "csv.gz"):
        (tmp_path / f"general.{ending}").touch()
    with pytest.raises(StudyError, match="expected: one file"):
        documents.find_documents(tmp_path, "general")


def test_a_passage_is_kept_in_the_first_document_that_has_it():
    def document(name, *texts):
        return Document(name, "m", "p", tuple(Passage(text, "other") for text in texts))

    first, second = document("a", "one two three", "four five six"), document("b", "One, two, three!", "seven eight")
    third = document("c", "four five six")
    kept = corpora.drop_repeated_passages([first, second, third], set(), 2)
    assert [(d.id, d.text) for d in kept] == [("a", first.text), ("b", "seven eight")]


@pytest.mark.parametrize(
    ("available", "total", "expected"),
    [
        ({"a": 100, "b": 100}, 10, {"a": 5, "b": 5}),
        ({"a": 400, "b": 100}, 30, {"a": 20, "b": 10}),
        ({"a": 100, "b": 2}, 50, {"a": 48, "b": 2}),
        ({"a": 3, "b": 2}, 50, {"a": 3, "b": 2}),
        ({}, 5, {}),
    ],
)
def test_quotas_follow_square_roots_and_never_exceed_what_there_is(available, total, expected):
    assert splits.quotas(available, total) == expected


def test_fractions_depend_on_content_purpose_and_seed_alone():
    texts = [f"document number {k}" for k in range(4000)]
    inside = [splits.in_fraction(text, "held_out", 0.05, seed=0) for text in texts]
    assert sum(inside) == pytest.approx(200, abs=42)  # three standard deviations
    assert inside == [splits.in_fraction(text.upper() + "!", "held_out", 0.05, seed=0) for text in texts]
    assert inside != [splits.in_fraction(text, "held_out", 0.05, seed=1) for text in texts]
    assert inside != [splits.in_fraction(text, "pool", 0.05, seed=0) for text in texts]


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Prepare the docstring study at smoke scale, once."""
    project = Path(__file__).resolve().parents[1]
    profile, root = load_profile("smoke", project), tmp_path_factory.mktemp("smoke")
    manifest = corpora.prepare(profile, Paths("smoke", root), project / "constraints.txt")
    return profile, Paths("smoke", root), manifest


def test_smoke_sizes_are_as_asked_for(smoke):
    profile, paths, manifest = smoke
    assert len(manifest["tasks"]) == 8
    for name, task in manifest["tasks"].items():
        sizes = [task["splits"][split]["num_examples"] for split in SPLITS]
        assert sizes[:2] == [profile.text.num_train, profile.text.num_dev]
        assert profile.text.num_test / 2 <= sizes[2] <= profile.text.num_test
        for split in SPLITS:
            found = corpora.load_examples(paths, name, split)
            counts = collections.Counter(row["label"] for row in found)
            assert {k: v for k, v in task["splits"][split]["label_counts"].items() if v} == counts
            assert files.digest(paths.split(name, split)) == task["splits"][split]["sha256"]
    for name, entry in manifest["domains"].items():
        documents = corpora.load_documents(paths.corpus(name))
        assert len(documents) == entry["num_documents"] <= profile.text.max_documents
        assert [row["id"] for row in documents] == sorted(row["id"] for row in documents)
    assert corpora.load_manifest(paths) == manifest


def test_smoke_examples_take_reading_and_no_text_serves_both_tasks_of_a_domain(smoke):
    profile, paths, manifest = smoke
    texts = {
        name: [row["text"] for split in SPLITS for row in corpora.load_examples(paths, name, split)]
        for name in manifest["tasks"]
    }
    assert all(len(text.split()) >= profile.text.min_example_words for some in texts.values() for text in some)
    for domain in set(manifest["domains"]) - {GENERAL}:
        assert not set(texts[f"{domain}_topic"]) & set(texts[f"{domain}_area"])


def test_a_sample_of_a_corpus_is_some_of_its_documents_or_all(smoke):
    _, paths, manifest = smoke
    whole = [row["text"] for row in corpora.load_documents(paths.corpus("numerical"))]
    assert corpora.load_sample(paths, "numerical", 10**6, seed=0) == whole
    some = corpora.load_sample(paths, "numerical", 20, seed=0)
    assert len(some) == 20 and some == [text for text in whole if text in some]
    assert corpora.load_sample(paths, "numerical", 20, seed=1) != some


def test_a_docstring_is_cut_into_pieces_that_take_reading():
    def document(section, *texts):
        return Document("d", "m", "p", tuple(Passage(text, section) for text in texts))

    assert splits.pieces(document("other", "a b", "c", "d e f", "g h"), 3) == ["a b c", "d e f"]
    assert splits.pieces(document("comment", "a b c d"), 3) == []


def test_smoke_documents_never_cross_splits_nor_reach_a_corpus(smoke):
    _, paths, manifest = smoke
    corpus_ids = {
        name: {row["id"] for kind in (paths.corpus, paths.held_out) for row in corpora.load_documents(kind(name))}
        for name in manifest["domains"]
    }
    for domain in set(manifest["domains"]) - {GENERAL}:
        ids, texts = {}, {}
        for split in SPLITS:
            found = [
                row for kind in ("topic", "area") for row in corpora.load_examples(paths, f"{domain}_{kind}", split)
            ]
            ids[split], texts[split] = {r["id"] for r in found}, {leakage.normalise(r["text"]) for r in found}
        for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
            assert not ids[one] & ids[other] and not texts[one] & texts[other]
        assert not (ids["dev"] | ids["test"]) & corpus_ids[domain]
        assert ids["train"] <= corpus_ids[domain]


def test_smoke_leaves_no_leak(smoke):
    _, paths, manifest = smoke
    audit = files.read_json(paths.data / "leakage.json")
    assert {row["corpus"] for row in audit["corpora"]} >= {GENERAL, f"held_out/{GENERAL}", "numerical"}
    for row in audit["corpora"] + audit["splits"]:
        assert row["num_exact"] == row["num_contained"] == row["num_near_duplicate"] == 0, row
    assert manifest["leakage"]["corpora"]["max_containment"] < 0.5


GIVEN = {"source": "files", "folder": "texts", "tasks": ["sciie"], "held_out_fraction": 0.2, "min_words": 3}
FILES = Profile(name="mini", text=Text(**GIVEN))


def write_lines(path, texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in texts))


@pytest.fixture
def study(tmp_path):
    """Write a study of one task of the paper's, with documents whose words are their number, and planted leaks."""
    folder = tmp_path / "texts"
    for split in SPLITS:
        texts = [
            {"text": f"{split} " + " ".join(f"{split}{i}word{n}" for n in range(8)), "label": "ab"[i % 2]}
            for i in range(6)
        ]
        if split == "test":
            texts[0] = {"text": "train " + " ".join(f"train0word{n}" for n in range(8)), "label": "a"}
        write_lines(folder / "tasks" / "sciie" / f"{split}.jsonl", texts)
    for name in ("cs", "news", GENERAL):  # news: not-DAPT's domain for a task of cs
        documents = [{"text": " ".join(f"{name}{i}word{n}" for n in range(30))} for i in range(60)]
        leaked = " ".join(f"test3word{n}" for n in range(8))
        documents += [documents[0], {"text": f"before it {leaked} after it"}, {"text": "too short"}]
        write_lines(folder / "corpora" / f"{name}.jsonl", documents)
    return folder


def test_a_study_from_files_keeps_its_splits_and_loses_leaks(study, tmp_path):
    manifest = corpora.prepare(FILES, Paths("mini", tmp_path))
    assert [task["splits"][s]["num_examples"] for task in manifest["tasks"].values() for s in SPLITS] == [6, 6, 6]
    assert manifest["cleaning"] == {
        "documents_read": 189,
        "documents_repeated": 3,
        "documents_short": 3,
        "documents_leaking": 3,
    }
    assert manifest["leakage"]["splits"]["num_exact"] == 1  # as published: told, and left as it is
    paths = Paths("mini", tmp_path)
    for name in ("cs", GENERAL):
        corpus, held_out = (corpora.load_documents(path) for path in (paths.corpus(name), paths.held_out(name)))
        assert len(corpus) + len(held_out) == 60 and len(held_out) == pytest.approx(12, abs=9)


def test_order_of_rows_changes_no_division(study, tmp_path):
    def held_out():
        corpora.prepare(FILES, Paths("mini", tmp_path))
        return {row["text"] for row in corpora.load_documents(Paths("mini", tmp_path).held_out("cs"))}

    first = held_out()
    path = study / "corpora" / "cs.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert held_out() == first


def test_preparing_twice_gives_the_same_bytes_and_leaves_no_rest(study, tmp_path):
    corpora.prepare(FILES, Paths("mini", tmp_path))
    first = everything(tmp_path / "data")
    stale = tmp_path / "data" / "mini" / "tasks" / "old" / "train.jsonl"
    write_lines(stale, [])
    corpora.prepare(FILES, Paths("mini", tmp_path))
    assert everything(tmp_path / "data") == first


def test_an_error_leaves_what_stood_there(study, tmp_path):
    corpora.prepare(FILES, Paths("mini", tmp_path))
    first = everything(tmp_path / "data")
    (study / "corpora" / "cs.jsonl").write_text("{")
    with pytest.raises(StudyError, match="malformed JSON"):
        corpora.prepare(FILES, Paths("mini", tmp_path))
    assert everything(tmp_path / "data") == first


def test_an_empty_corpus_is_an_error(study, tmp_path):
    write_lines(study / "corpora" / "cs.jsonl", [{"text": "too short"}])
    with pytest.raises(StudyError, match="no document left in the corpus of cs"):
        corpora.prepare(FILES, Paths("mini", tmp_path))


def test_text_not_prepared_is_an_error(tmp_path):
    with pytest.raises(StudyError, match="dontstop prepare"):
        corpora.load_manifest(Paths("mini", tmp_path))


def test_more_examples_than_there_are_is_an_error(smoke):
    documents = [Document(f"d{k}", "scipy.stats", "scipy", (Passage(f"text {k}", "summary"),)) for k in range(9)]
    topic = [splits.Candidate(k, f"text {k}", "ab"[k % 2], str(k)) for k in range(9)]
    with pytest.raises(StudyError, match="examples for .* of numerical_topic"):
        splits.choose("numerical", topic, [], documents, Text(num_train=8, num_dev=8, num_test=8))


def test_fewer_examples_are_taken_by_content_and_every_label_stays(study, tmp_path):
    def taken(**settings):
        corpora.prepare(Profile(name="mini", text=Text(**GIVEN, **settings)), Paths("mini", tmp_path))
        rows = {split: corpora.load_examples(Paths("mini", tmp_path), "sciie", split) for split in SPLITS}
        return {split: [row["text"] for row in found] for split, found in rows.items()}

    whole = taken()
    some = taken(max_examples={"train": 4, "dev": 2})
    assert [len(some[split]) for split in SPLITS] == [4, 2, 6]
    assert set(some["train"]) < set(whole["train"])
    fewer = taken(max_examples={"train": 4}, low_resource={"sciie": 2})
    assert len(fewer["train"]) == 2 and set(fewer["train"]) < set(some["train"])
    assert {row["label"] for row in corpora.load_examples(Paths("mini", tmp_path), "sciie", "train")} == {"a", "b"}
    rest = {row["text"] for row in corpora.load_unlabelled(Paths("mini", tmp_path), "sciie")}
    assert rest and rest <= set(whole["train"]) - set(fewer["train"])
    with pytest.raises(StudyError, match=r"examples in train of sciie[\s\S]*lower that number"):
        taken(low_resource={"sciie": 1000})
    path = study / "tasks" / "sciie" / "train.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert set(taken(max_examples={"train": 4})["train"]) == set(some["train"])


@pytest.mark.slow
def test_a_mirror_of_the_papers_data(mirror, tmp_path):
    text = Text(source="files", folder=str(mirror), tasks=["citation_intent"], max_documents=300)
    manifest = corpora.prepare(Profile(name="mini", text=text), Paths("mini", tmp_path))
    assert manifest["tasks"]["citation_intent"]["splits"]["test"]["num_examples"] == 139
    assert manifest["leakage"]["corpora"]["num_exact"] == 0
