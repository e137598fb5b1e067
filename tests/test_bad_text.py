"""Rows as real corpora have them, and files as nobody should: read, or refused with their place; never lost unsaid.

`make test-long` tries 10,000 damaged files, and lines and bombs of full size.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import struct
import subprocess
import sys

import pandas
import pyarrow
import pytest

import reliability
import tiny
from conftest import PROJECT
from dontstop.errors import StudyError
from dontstop.fetch import task_files
from dontstop.machine import files
from dontstop.profiles import Text
from dontstop.studies import read_study
from dontstop.text import documents

MEGABYTES = 300 if reliability.SHARE else 30
FILES_A_BATCH = 150  # that Hypothesis makes
MOST_MEMORY = 600  # MB, of a whole process that reads
SKIP = Text(bad_rows="skip")
TASK = read_study("paper").task("ag")
GOOD = '{"text": "a b", "label": "x"}\n'


def reading(path, settings=SKIP, fields=("text", "label")):
    """Return the rows that are read, and what was refused; a fault of the whole file comes as an error."""
    refused = documents.Refused(settings)
    return list(documents.read_documents(path, fields, refused=refused)), refused


def long_window(content: bytes) -> bytes:
    """Make a zstd frame whose window is 256 MB, as `zstd --long=28` does."""
    block = struct.pack("<I", len(content) << 3 | 1)[:3]
    return bytes.fromhex("28b52ffd") + bytes([0, 18 << 3]) + block + content


# Name, content, and either what is read of the text column or what is said.
ROWS = {
    "a long integer beside": ("a.jsonl", '{"text": "a", "label": "x", "n": ' + "9" * 5000 + "}", ["a"]),
    "a long integer for a text": ("a.jsonl", '{"text": ' + "9" * 5000 + ', "label": "x"}', "text of type float in"),
    "NaN beside": ("a.jsonl", '{"text": "a", "label": "x", "n": NaN, "m": -Infinity}', ["a"]),
    "NaN for a text": ("a.jsonl", '{"text": NaN, "label": "x"}', "text of type float in"),
    "a key twice": ("a.jsonl", '{"text": "a", "text": "b", "label": "x"}', "the key 'text' twice"),
    "another key twice": ("a.jsonl", '{"text": "a", "n": 1, "n": 2, "label": "x"}', ["a"]),
    "an empty text": ("a.jsonl", GOOD + '{"text": "", "label": "x"}\n' + GOOD, ["a b", "a b"]),
    "no text": ("a.jsonl", GOOD + '{"text": null, "label": "x"}\n', ["a b"]),
    "a text that shows nothing": ("a.jsonl", GOOD + '{"text": "\\u200b \\ufeff\\u0007", "label": "x"}\n', ["a b"]),
    "an empty label": ("a.jsonl", GOOD + '{"text": "a", "label": ""}\n', "empty label in .*line 2"),
    "a label that is true": ("a.jsonl", '{"text": "a", "label": true}', ["a"]),
    "a column in another case": ("a.csv", "Text,label\na,x\n", "no field 'text' .*\n.*\ndo this: did you mean 'Text'"),
    "a column with a space": ("a.csv", "text,label \na,x\n", "no field 'label' .*\n.*\ndo this: did you mean 'label '"),
    "deep nesting": ("a.jsonl", '{"text": ' + "[" * 100_000, "malformed JSON in .*line 1"),
    "a NUL byte": ("a.jsonl", GOOD + '{"text": "a\0"}\n', "a NUL byte .*line 2"),
    "a NUL that is spelt": ("a.jsonl", '{"text": "a\\u0000b", "label": "x"}', ["a\0b"]),
    "UTF-16": ("a.jsonl", GOOD.encode("utf-16"), "mark of UTF-16 in .*\n.*\n.*iconv -f utf-16"),
    "UTF-16 without a mark": ("a.csv", "text,label\na,x\n".encode("utf-16-le"), "a NUL byte"),
    "a mark and Windows lines": ("a.jsonl", b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode(), ["a b"]),
    "a cut line": ("a.jsonl", GOOD + '{"text": "a', "malformed JSON in .*line 2"),
    "half a character": ("a.jsonl", GOOD + '{"text": "\\ud83d", "label": "x"}', "half a character, .*line 2"),
    "half a byte sequence": ("a.jsonl", GOOD.encode() + b'{"text": "\xe4\xbd", "label": "x"}', "byte 0xe4 .*line 2"),
    "a long line": ("a.jsonl", '{"text": "' + "a" * 1_000_001 + '"}', "more than 1 MB in .*line 1\n.*max_line_meg"),
    "a JSON array": ("a.json", '\n [{"text": "a", "label": 1},\n {"text": "b", "label": "y"}]', ["a", "b"]),
    "lines that are called JSON": ("a.json", GOOD, ["a b"]),
    "an array of texts": ("a.json", '["a", "b"]', "str in .*item 1"),
    "a long JSON array": ("a.json", "[" + " " * 1_000_001 + "]", "JSON array of more than 1,000,000 .*\n.*\n.*jq -c"),
    "a cut JSON array": ("a.json", '[{"text": "a", "label": 1},', "malformed JSON in"),
    "an array among lines": ("a.jsonl", '["a"]\n', "list in .*line 1\n.*\n.*array"),
    "a text file": ("a.txt", "one\r\n\n two\nthree", ["one", " two", "three"]),
    "a word processor's": ("a.docx", "x", "no known format\n.*.txt.*\ndo this: write it as JSON Lines"),
    "zstd with a long window": ("a.jsonl.zst", long_window(GOOD.encode()), "zstd with a long window\n.*\n.*--long=31"),
    "backslashes in CSV": ("a.csv", 'text,label\n"he said \\"hi\\" twice",x\n', "a backslash before them\n.*\n.*twice"),
    "backslashes that are text": ("a.csv", 'text,label\n"C:\\dir\\",x\n"a \\alpha",y\n', ["C:\\dir\\", "a \\alpha"]),
    "an open quote": ("a.csv", 'text,label\n"never closed,x\n' + "a,b\n" * 50, "malformed CSV in"),
    "a column twice": ("a.csv", "text,text,label\na,b,x\n", "the column 'text' twice"),
    "a long field": ("a.csv", 'text,label\n"' + ("a" * 1000 + "\n") * 1001 + '",x\n', "malformed CSV .*limit"),
    "semicolons": ("a.csv", "text;label\na;x\n", "semicolons between the columns of .*\n.*commas.*\n.*sep=';'"),
    "quoted semicolons": ("a.csv", '"text";"label"\n"a";"x"\n', "semicolons between the columns of"),
    "tabs that are called commas": ("a.csv", "text\tlabel\na\tx\n", "tabs between .*\n.*\n.*end its name in .tsv"),
    "commas that are called tabs": ("a.tsv", "text,label\na,x\n", "commas between .*\n.*\n.*end its name in .csv"),
    "tabs": ("a.tsv", 'text\tlabel\na, "b"\tx\n"c\td"\ty\n', ['a, "b"', "c\td"]),
    "capitals": ("A.CSV", "text,label\na,x\n", ["a"]),
    "packed, in capitals": ("A.JSONL.GZ", gzip.compress(GOOD.encode()), ["a b"]),
    "packed, and named as if not": ("a.csv", gzip.compress(GOOD.encode()), "packed by gzip\n.*\n.*name it a.csv.gz"),
    "packed by zstd, and named as if not": ("a.jsonl", long_window(b"a"), "packed by zstd\n.*\n.*name it a.jsonl.zst"),
    "a workbook that is called CSV": ("a.csv", b"PK\x03\x04\x14\0", "a zip archive, as .xlsx is\n.*\n.*save its sheet"),
    "a table that is called JSON": ("a.json", b"PAR1\x15\x04", "a Parquet table\n.*\n.*end its name in .parquet"),
    "Latin-1": ("a.csv", b"text,label\ncaf\xe9,x\n", "0xe9 .*\n.*\n.*iconv -f latin1 -t utf-8 a.csv > another.csv"),
    "a label that is no whole number": ("a.jsonl", '{"text": "a", "label": 1.5}', "label of type float in"),
    "a label that is NaN": ("a.jsonl", '{"text": "a", "label": NaN}', "empty label in"),
}  # fmt: skip


def form(name, content):
    return content.encode() if isinstance(content, str) else content


@pytest.mark.parametrize(("name", "content", "expected"), ROWS.values(), ids=ROWS)
def test_rows_of_real_corpora_are_read_or_told(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(form(name, content))
    fields = ("text",) if name.endswith(".txt") else ("text", "label")
    settings = Text(max_line_megabytes=1)
    if isinstance(expected, list):
        assert [row["text"] for row in reading(tmp_path / name, settings, fields)[0]] == expected
    else:
        with pytest.raises(StudyError, match=expected) as told:
            reading(tmp_path / name, settings, fields)
        assert name in told.value.found


def test_whole_numbers_are_one_class_however_they_are_written(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"text": "a", "label": {label}}}\n' for label in ("1", "1.0", '"1"', "1e0")))
    assert [row["label"] for row in reading(path)[0]] == ["1"] * 4
    pandas.DataFrame({"text": ["a", "b"], "label": [2.0, None]}).to_parquet(tmp_path / "a.parquet")
    rows, refused = reading(tmp_path / "a.parquet")
    assert [row["label"] for row in rows] == ["2"] and "empty label in" in refused.first


def test_an_empty_row_is_counted_and_left_out_unless_told_otherwise(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD + '{"text": " ", "label": "x"}\n{"text": null, "label": "x"}\n' + "{\n" + GOOD)
    rows, refused = reading(path)
    assert (len(rows), refused.num_empty, refused.num_bad) == (2, 2, 1)
    assert str(refused) == f"3 rows left out, the first: empty text in {path}, line 2"
    with pytest.raises(StudyError, match="malformed JSON in .*line 4"):
        reading(path, Text())
    with pytest.raises(StudyError, match="empty text in .*line 2"):
        reading(path, Text(empty_rows="stop"))
    with pytest.raises(StudyError, match="empty text in .*line 2"):  # the study's own files hold none
        list(documents.read_documents(path))


def test_a_study_counts_what_it_leaves_out_of_corpora_and_tasks(root, capsys):
    tiny.make(root, speed={"num_workers": 1})
    for path in ("corpora/cs.jsonl", "tasks/citation_intent/dev.jsonl"):
        with open(root / "texts" / path, "a") as handle:
            handle.write('{"text": "", "label": "few"}\n' * 2)
    assert tiny.command("prepare", "-p", "tiny") == 0
    manifest = files.read_json(root / "data" / "tiny" / "manifest.json")
    assert manifest["cleaning"]["documents_empty"] == manifest["cleaning"]["examples_empty"] == 2
    assert manifest["cleaning"]["documents_read"] == 3 * 60 + 2
    assert manifest["tasks"]["citation_intent"]["splits"]["dev"]["num_examples"] == tiny.SPLITS["dev"]
    said = capsys.readouterr().out
    assert "2 rows left out, the first: empty text in" in said and "cs.jsonl, line 61" in said


def test_a_table_s_long_integers_and_bytes_that_are_no_text_are_told(tmp_path):
    path = tmp_path / "a.parquet"
    broken = pyarrow.array([b"a", b"\xff\xfe", b"c"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": broken, "label": [1, 2, 3]}), path)
    rows, refused = reading(path)
    assert [row["text"] for row in rows] == ["a", "c"] and "unreadable value in" in refused.first
    assert "row 2" in refused.first
    names = ["text", "text", "label"]
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 3, names=names), path)
    with pytest.raises(StudyError, match="the column 'text' twice"):
        reading(path)


def test_text_of_an_unknown_ending_is_named_and_not_called_missing(tmp_path):
    (tmp_path / "cs.docx").touch()
    with pytest.raises(StudyError, match=r"cs.docx, of no known format\n.*\.txt"):
        documents.find_documents(tmp_path, "cs")


def test_an_ending_is_known_in_any_case(tmp_path):
    for name in ("cs.JSONL.Gz", "general/a.CSV", "general/b.tsv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert documents.find_shards(tmp_path, "cs") == [tmp_path / "cs.JSONL.Gz"]
    assert [path.name for path in documents.find_shards(tmp_path, "general")] == ["a.CSV", "b.tsv"]
    (tmp_path / "general" / "a.csv").touch()
    with pytest.raises(StudyError, match="a.CSV and .*a.csv"):
        documents.find_shards(tmp_path, "general")


def test_labels_of_a_hub_keep_their_names_and_what_has_none_is_left_out(tmp_path):
    import datasets

    kind = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])})
    rows = {"text": ["a", "b", "c"], "label": [1, -1, 0]}
    source = tmp_path / "hub"
    for split in ("train", "test"):
        some = rows if split == "train" else rows | {"label": [-1, -1, -1]}
        path = source / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(some, kind).to_parquet(path)
    task_files._fetch_from_hub(str(source), "train", tmp_path / "train.jsonl", TASK)
    assert files.read_jsonl(tmp_path / "train.jsonl") == [{"text": "a", "label": "good"}, {"text": "c", "label": "bad"}]
    with pytest.raises(StudyError, match="no labels in .*test"):
        task_files._fetch_from_hub(str(source), "test", tmp_path / "test.jsonl", TASK)
    assert not (tmp_path / "test.jsonl").exists()


# Memory ----------------------------------------------------------------------------------------------------------

CHILD = """
import re, sys
from pathlib import Path
from dontstop.errors import StudyError
from dontstop.profiles import Text
from dontstop.studies import read_study
from dontstop.text import documents
settings = Text(bad_rows="skip")
for path in sys.argv[1:]:
    refused, accepted = documents.Refused(settings), 0
    try:
        for row in documents.read_documents(path, ("text",), refused=refused):
            accepted += 1
        print(accepted, refused.num_empty, refused.num_bad, refused.first)
    except StudyError as error:
        print("refused:", error.found)
status = Path("/proc/self/status")  # what resource tells counts the process before it, too
print(int(re.search("VmHWM:[^0-9]*([0-9]+)", status.read_text())[1]) // 1024 if status.is_file() else 0)
"""


def write_bomb(path, megabytes):
    with gzip.open(path, "wb", 6) as handle:
        handle.write(b'{"text": "')
        for _ in range(megabytes):
            handle.write(b"a" * 1_000_000)
        handle.write(b'"}\n')


def test_long_lines_bombs_and_a_million_empty_rows_take_bounded_memory(tmp_path):
    names = ("a.jsonl", "b.jsonl.gz", "c.jsonl", "d.parquet", "e.parquet")
    long, bomb, empty, table, packed = (tmp_path / name for name in names)
    long.write_bytes(GOOD.encode() + b'{"text": "' + b"a" * (MEGABYTES * 1_000_000) + b'"}\n' + GOOD.encode())
    write_bomb(bomb, 2400 if MEGABYTES == 300 else 70)
    empty.write_text('{"text": ""}\n' * (1_000_000 if MEGABYTES == 300 else 50_000) + GOOD)
    repeated = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 300, pyarrow.int32()), ["b" * 5_000_000])
    pyarrow.parquet.write_table(pyarrow.table({"text": repeated}), table, dictionary_pagesize_limit=10**7)
    how = {"use_dictionary": False, "compression": "zstd"}
    pyarrow.parquet.write_table(pyarrow.table({"text": repeated[:20].cast(pyarrow.string())}), packed, **how)
    given = [sys.executable, "-c", CHILD, *map(str, (long, bomb, empty, table, packed))]
    done = subprocess.run(given, capture_output=True, text=True, timeout=600, check=True)
    of_long, of_bomb, of_empty, of_table, of_packed, memory = done.stdout.splitlines()
    assert of_long.startswith("2 0 1 more than 10 MB in") and of_long.endswith("line 2")
    assert of_bomb == f"refused: {bomb} unpacks to more than 200 times its size"
    assert (
        of_empty.startswith(f"1 {1_000_000 if MEGABYTES == 300 else 50_000} 0 empty text in") and "line 1" in of_empty
    )
    assert of_table.startswith("300 0 0") and of_packed == f"refused: {packed} unpacks to more than 200 times its size"
    assert int(memory) < MOST_MEMORY


# Damage ----------------------------------------------------------------------------------------------------------

PIECES = ["a", "漢", "é", "\u200b", "\ud83d", "\0", '"', '\\"', "\\", ",", "\n", "\r\n", "", " ", "x" * 300]
KEYS, VALUES = ("text", "label", "n"), (None, True, 1.5, float("nan"), 10**30, [], {"text": "a"}, "", "a")
PACKS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
PACKS[".zst"] = lambda content: pyarrow.compress(content, "zstd", asbytes=True)


def written(rows, ending):
    """Write rows in a format, as far as it can hold them."""
    if ending == ".json":
        return json.dumps(rows).encode()
    if ending == ".jsonl":
        return "\n".join(map(json.dumps, rows)).encode()
    texts = [str(row.get("text", "")).encode(errors="replace").decode() for row in rows]
    labels = [str(row.get("label")).encode(errors="replace").decode() for row in rows]
    if ending == ".parquet":
        table = io.BytesIO()
        pandas.DataFrame({"text": texts, "label": labels}).to_parquet(table)
        return table.getvalue()
    if ending == ".txt":
        return "\n".join(texts).encode()
    lines = io.StringIO()
    csv.writer(lines).writerows([("text", "label"), *((text, "x") for text in texts)])
    return lines.getvalue().encode()


def there(path, content):
    """Count the rows of a file, by other means; None where it is none to be counted."""
    if path.suffix in (".jsonl", ".txt"):
        lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        return sum(bool(line.decode(errors="replace").strip()) for line in lines)
    return None


def check_damaged(folder, rows, ending, packing, damage):
    """Read a damaged file: nothing but a StudyError may come, and no row be lost unsaid."""
    content = written(rows, ending)
    for kind, share, piece in damage if not packing else ():
        content = damaged(content, kind, share, piece)
    packed = PACKS[packing](content)
    for kind, share, piece in damage if packing else ():
        packed = damaged(packed, kind, share, piece)
    path = folder / f"a{ending}{packing}"
    path.write_bytes(packed)
    fields = ("text",) if ending == ".txt" else ("text", "label")
    refused, accepted = documents.Refused(SKIP), []
    try:
        accepted += documents.read_documents(path, fields, refused=refused)
    except StudyError as error:
        assert path.name in error.found and error.expected and error.remedy
        if not error.found.startswith("no documents"):
            return
    num_refused = refused.num_empty + refused.num_bad
    assert not num_refused or re.search(r"(line|row|item) \d+|in its array", refused.first), refused.first
    assert all(isinstance(row[field], str) and row[field].strip() for row in accepted for field in fields)
    if not packing and (expected := there(path, content)) is not None:
        assert len(accepted) + num_refused == expected


def damaged(content, kind, share, piece):
    at = int(share * len(content))
    if kind == "cut":
        return content[:at]
    if kind == "insert":
        return content[:at] + piece + content[at:]
    return content[:at] + piece + content[at + len(piece) :]


def test_no_damage_ends_in_a_traceback_or_loses_a_row(tmp_path):
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies
    texts = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
    rows = st.dictionaries(st.sampled_from(KEYS), texts | st.sampled_from(VALUES), max_size=3)
    good = st.fixed_dictionaries({"text": texts, "label": st.sampled_from("xy")})
    pieces = st.binary(min_size=1, max_size=4) | st.sampled_from(
        [b"\0", b"\n", b'"', b"\xff\xfe", b"\xef\xbb\xbf", b"[" * 50]
    )
    damage = st.lists(st.tuples(st.sampled_from(["cut", "insert", "over"]), st.floats(0, 1), pieces), max_size=3)
    endings = st.sampled_from([".jsonl", ".json", ".csv", ".parquet", ".txt"])

    health = [hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow]
    quiet = {"deadline": None, "database": None, "suppress_health_check": health}

    @hypothesis.settings(max_examples=FILES_A_BATCH, **quiet)
    @hypothesis.given(st.lists(good | rows, min_size=1, max_size=6), endings, st.sampled_from(list(PACKS)), damage)
    def tried(some, ending, packing, harm):
        check_damaged(tmp_path, some, ending, packing, harm)

    what = "damaged files of text through the reader, of five formats and four compressions"
    series = reliability.Series(what, "test_bad_text", FILES_A_BATCH, 10_000, "files", "batches")
    for rng in series.tries():
        hypothesis.seed(rng.getrandbits(32))(tried)()
        series.counts["files"] += FILES_A_BATCH


def test_bytes_that_reach_new_code_of_the_readers_are_told_or_read():
    """Guided by coverage, where atheris is installed (`pip install -c constraints.txt -e '.[fuzz]'`)."""
    pytest.importorskip("atheris")
    what = "bytes that coverage guides to new code of the readers (atheris)"
    series = reliability.Series(what, "test_bad_text", 3000, 300_000, "files")
    for rng in series.tries():
        number = min(series.left(), 30_000)
        options = [f"-runs={number}", f"-seed={rng.randrange(1, 2**31)}"]
        command = [sys.executable, PROJECT / "tests" / "fuzz_readers.py", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        series.counts["files"] += number - 1  # the series counts one
