"""Bits that flip, files that are cut, swapped or zeroed: noticed before they are read, and never with a traceback."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

import kills
import reliability
import tiny
from dontstop import tokens
from dontstop.errors import StudyError
from dontstop.machine import digests, files, states
from dontstop.machine.randomness import generator
from dontstop.profiles import Paths
from dontstop.runs import adoption, identity, preparation, records, scratch
from dontstop.runs.scratch import Reads
from dontstop.text import corpora
from dontstop.upkeep import doctor

ENCODER, RUN = "ab01.x86", "cd02.x86"
ROWS = [{"arm": "bäse", "seed": seed, "test_score": seed / 7, "labels": ["a", "b"]} for seed in range(4)]


def write_encoder(folder: Path, seed: int) -> None:
    weights = {"weight": generator("damage", seed).normal(size=(16, 8)).astype(np.float32)}
    files.write_bytes(folder / "model.safetensors", save(weights))
    files.write_json(folder / "config.json", {"hidden_size": 8})


def write_text(folder: Path) -> None:
    files.write_array(folder / "ids.npy", np.arange(40, dtype=np.uint16))
    files.write_array(folder / "offsets.npy", np.array([0, 15, 40]))


@pytest.fixture
def house(tmp_path) -> Paths:
    """Write a file of every kind that is read back, few and small: none of them is of a real training."""
    paths = Paths("tiny", tmp_path / "house")
    trained = scratch.folder(paths, ENCODER)
    write_encoder(trained / "encoder", 0)
    files.write_json(trained / "training.json", {"capability": "x86"})
    files.write_json(scratch.result_path(paths, RUN), ROWS[1])
    write_encoder(paths.checkpoints / "base", 1)
    write_text(paths.tokens("corpora", "cs"))
    write_text(paths.selected / "replicate_0" / "sciie" / "knn_tapt_5")
    files.write_json(paths.tokenizer() / "tokenizer.json", {"vocab": {"a": 0, "b": 1}})
    files.write_jsonl(paths.corpus("cs"), [{"id": "1", "text": "a b a b"}, {"id": "2", "text": "b a"}])
    files.write_json(paths.data / "manifest.json", {"tasks": {}, "domains": {"cs": {"num_documents": 2}}})
    for last in (trained / "training.json", scratch.result_path(paths, RUN)):
        scratch.keep_digests(paths, last)
    for folder in (paths.data, paths.selected / "replicate_0", paths.checkpoints / "base"):
        digests.write_folder_digests(folder)
    records.write_records(paths.results / "records" / "02_dapt", "dapt", ROWS)
    return paths


def noticed(paths: Paths) -> list[str]:
    """Look at everything as a study does before it reads it, and return what is found damaged."""
    folders = (paths.data, paths.selected / "replicate_0", paths.checkpoints / "base")
    found = [digests.folder_damage(folder) for folder in folders]
    found.append(records.read_rows(paths.results / "records" / "02_dapt" / "dapt.jsonl")[1])
    lasts = {ENCODER: scratch.folder(paths, ENCODER) / "training.json", RUN: scratch.result_path(paths, RUN)}
    found += [key for key, last in lasts.items() if not scratch.is_whole(paths, key, last)]
    return [wrong for wrong in found if wrong]


def spoil(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """Flip a bit, cut the end off, swap two stretches, zero one, or take another file's content."""
    begin, end = sorted(rng.choices(range(len(content) + 1), k=2))
    flipped = bytearray(content)
    if begin < len(content):
        flipped[begin] ^= 1 << rng.randrange(8)
    size = min(rng.randrange(1, 65), (end - begin) // 2)
    head, tail = content[begin : begin + size], content[end - size : end]
    kinds = [
        bytes(flipped),
        content[:begin],
        content[:begin] + tail + content[begin + size : end - size] + head + content[end:],
        content[:begin] + bytes(end - begin) + content[end:],
        other,
    ]
    return rng.choice(kinds)


def spoilt_file(folder: Path, contents: dict[Path, bytes], rng: random.Random) -> tuple[Path, bytes]:
    """Choose one of a folder's files, and damage for it that changes it."""
    while True:
        chosen, other = rng.choices([*contents], k=2)
        content, spoilt = contents[chosen], spoil(contents[chosen], contents[other], rng)
        is_same = spoilt == content or (
            chosen.suffix == ".jsonl" and spoilt == content[:-1]
        )  # the last line's end alone
        if not is_same:
            return folder / chosen, spoilt


def test_no_damage_stays_unnoticed_and_none_ends_in_a_traceback(house, capsys):
    every = [path for path in files.files_under(house.root) if path.suffix != ".lock"]
    contents = {path.relative_to(house.root): path.read_bytes() for path in every}
    assert noticed(house) == []
    kinds = "flips, cuts, swaps, zeroes and other files' content, in every kind of file that is read back"
    for rng in (series := reliability.Series(kinds, "test_damage", 200, 10_000, "files")).tries():
        path, spoilt = spoilt_file(house.root, contents, rng)
        path.write_bytes(spoilt)
        assert noticed(house), (path, spoilt)
        shutil.rmtree(house.work / "damaged", ignore_errors=True)
        for name, content in contents.items():  # what was found damaged is moved away
            if house.root / name == path or not (house.root / name).is_file():
                (house.root / name).parent.mkdir(parents=True, exist_ok=True)
                (house.root / name).write_bytes(content)
        assert series.counts["files"] % 100 or noticed(house) == []
    assert noticed(house) == [] and "Traceback" not in "".join(capsys.readouterr())


@pytest.mark.slow
def test_a_damaged_study_is_mended_by_the_same_command_or_says_which_one(tmp_path):
    kills.warm()
    study, command = (
        tiny.make(tmp_path / "study", seeds=[0], speed={"num_workers": 1}),
        ("run", "domain_gap", "-p", "tiny"),
    )
    kills.finish(study, *command)
    whole = tiny.outcomes(study)
    folders = [study / name for name in ("data", "checkpoints", "results", "work")]
    every = [
        path for folder in folders for path in files.files_under(folder) if path.suffix not in (".lock", ".process")
    ]
    contents = {path.relative_to(study): path.read_bytes() for path in every}
    series = reliability.Series("damage in a finished study, then the same command", "test_damage", 2, 100, "files")
    for rng in series.tries():
        hurt = shutil.copytree(study, tmp_path / "hurt")
        for _ in range(rng.choice([1, 1, 3])):
            path, spoilt = spoilt_file(hurt, contents, rng)
            path.unlink() if rng.random() < 0.2 else path.write_bytes(spoilt)
        code, said = kills.told(hurt, *command)
        assert code == 0 and "Traceback" not in said, (path, code, said)
        assert tiny.outcomes(hurt) == whole, (path, said)
        series.counts["mended"] += 1
        shutil.rmtree(hurt)


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        (f"work/ab/{ENCODER}/encoder/model.safetensors", Reads(frozenset({ENCODER}))),
        (f"work/ab/{ENCODER}/encoder/config.json", Reads(frozenset({ENCODER}))),
        ("data/tiny/tokens/corpora/cs/offsets.npy", Reads(stores=("corpora/cs",))),
        ("data/tiny/tokenizer/tokenizer.json", Reads(texts=("tokenizer/",))),
        (
            "selected/tiny/replicate_0/sciie/knn_tapt_5/ids.npy",
            Reads(stores=("selected/replicate_0/sciie/knn_tapt_5",)),
        ),
    ],
)
def test_a_job_reads_nothing_that_is_damaged(house, name, reads):
    path, last = house.root / name, house.work / "results" / "ef03.x86.json"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    scratch.once(house, "before", last.with_name("before"), last.with_name("before").touch, reads=reads)
    path.write_bytes(content)
    with pytest.raises(StudyError, match=rf"{path.name} is not as it was written"):
        scratch.once(house, "ef03.x86", last, last.touch, reads=reads)
    assert not last.exists()


def test_a_file_that_a_folder_was_not_written_with_is_damage_where_it_is_read(house):
    files.write_json(house.data / "prepared.json", {})  # which is written once the digests stand
    assert noticed(house) == []
    extra = house.tokenizer() / "special_tokens_map.json"
    files.write_json(extra, {"mask_token": "a"})
    assert noticed(house) == [f"{extra} is none of the files that were written there"]
    Reads(texts=("tokens/corpora/cs/",)).check(house)
    with pytest.raises(StudyError, match="special_tokens_map.json is none of"):
        Reads(stores=("corpora/cs",)).check(house)


def test_what_a_job_does_not_read_may_be_damaged(house):
    (house.data / "corpora" / "cs.jsonl").write_text("spoilt")
    Reads(frozenset({ENCODER}), stores=("corpora/cs",)).check(house)


CURVE = ",".join(records.CURVE) + "\n1,2,0.1,5.5\n2,4,0.1,5.0\n"
CURVES = ["", "\0\0", "step,num_tokens\n1,2\n", CURVE + "1,2,x,y\n", '"a\n1,2,3\n4', CURVE + "1,2,3,4,5,6\n1\n"]
CURVES += [CURVE.replace("\n1", "\n1,1"), CURVE + "3\n", "\xff\xfe", CURVE.replace("5.0", "4.0")]


@pytest.mark.parametrize("content", CURVES, ids=range(len(CURVES)))
def test_a_damaged_curve_is_told_with_digests_and_without(tmp_path, content):
    digests.write_within(tmp_path, {"base.csv": CURVE, "dapt.csv": CURVE})
    path = tmp_path / "base.csv"
    path.write_bytes(content.encode("latin-1"))
    digests.write_within(tmp_path, {"dapt.csv": CURVE.replace("5.0", "3.0")})  # by which nothing else becomes whole
    assert records.read_curve(tmp_path / "dapt.csv")["masked_lm_loss"].tolist() == [5.5, 3.0]
    with pytest.raises(StudyError, match=r"base.csv is not as it was written[\s\S]*make study"):
        records.read_curve(path)
    (tmp_path / digests.DIGESTS).unlink()  # as of before they were kept
    if content != CURVES[-1]:
        with pytest.raises(StudyError, match="base.csv is damaged"):
            records.read_curve(path)
    digests.write_within(tmp_path, {"base.csv": CURVE})
    assert records.read_curve(path).to_csv(index=False) == CURVE and digests.folder_damage(tmp_path) is None


def test_another_encoder_in_its_place_is_moved_aside_and_made_again(house, capsys):
    last = scratch.folder(house, ENCODER) / "training.json"
    shutil.copy(house.checkpoints / "base" / "model.safetensors", last.parent / "encoder")
    assert not scratch.is_whole(house, ENCODER, last) and not last.parent.exists()
    assert (house.work / "damaged" / "ab" / ENCODER / "encoder" / "model.safetensors").is_file()
    assert "model.safetensors is not as it was written" in capsys.readouterr().out

    def make():
        write_encoder(last.parent / "encoder", 0)
        files.write_json(last, {"capability": "x86"})

    scratch.once(house, ENCODER, last, make)
    assert scratch.is_whole(house, ENCODER, last)


NO_OBJECTS = ['{"arm": ', "[]", "5", '"text"', "null", '{"files": {"a": "\\ud800"}}', "[" * 100_000]


def test_results_without_digests_are_taken_once_and_held_to_them_from_then_on(house):
    last = scratch.result_path(house, "ef03.x86")
    files.write_json(last, ROWS[0])
    assert scratch.is_whole(house, "ef03.x86", last)
    files.write_json(last, ROWS[1])
    assert not scratch.is_whole(house, "ef03.x86", last)
    for content in NO_OBJECTS:
        last.write_text(content)
        assert not scratch.is_whole(house, "ef03.x86", last) and not last.exists()


@pytest.mark.parametrize("content", NO_OBJECTS)
def test_what_tells_of_an_encoder_is_an_object_or_the_encoder_is_not_read(house, content, capsys):
    place = house.checkpoints / "base"
    (place / "digests.json").unlink()  # as of before they were kept
    (place / "training.json").write_text(content)
    adoption.adopt_checkpoint(house, "ef03", place)
    assert "the encoder there is not read" in capsys.readouterr().out and not doctor._is_read(place / "training.json")


@pytest.mark.parametrize("content", [*NO_OBJECTS, "{}", '{"files": [1], "sha256": "x"}', '{"files": {}, "sha256": []}'])
def test_damaged_digests_and_notes_of_versions_are_told(tmp_path, content):
    for name in (digests.DIGESTS, identity.LIBRARIES_FILE):
        (tmp_path / name).write_text(content)
    assert digests.folder_damage(tmp_path) == f"{tmp_path / digests.DIGESTS} is damaged"
    assert identity.versions_damage(tmp_path) is not None or content == "[]"
    assert identity.known_versions(tmp_path) == []


def test_text_that_is_damaged_is_not_read(house):
    assert corpora.load_manifest(house)["domains"] == {"cs": {"num_documents": 2}}
    (house.data / "corpora" / "cs.jsonl").unlink()
    with pytest.raises(StudyError, match=r"cs.jsonl is missing\n.*\n.*dontstop prepare"):
        corpora.load_manifest(house)


@pytest.mark.parametrize("content", ["", "[1]", '"text"', "{", "[" * 100_000, "\x00", "[[1, 2]]"])
def test_a_damaged_mark_of_prepared_text_is_as_good_as_none(tmp_path, content):
    (tmp_path / "prepared.json").write_text(content)
    assert "settings" not in preparation._read_mark(tmp_path / "prepared.json")


def test_records_are_told_from_damaged_ones_and_the_others_are_kept(tmp_path):
    path = tmp_path / "dapt.jsonl"
    records.write_records(tmp_path, "dapt", ROWS)
    lines = path.read_text().splitlines(keepends=True)
    for spoilt in (lines[1].replace("0.14", "0.15"), lines[1].replace("sha256", "sha257"), "\n", "[]\n", ""):
        path.write_text("".join([lines[0], spoilt, *lines[2:]]))
        rows, wrong = records.read_rows(path)
        assert rows == [ROWS[0], *ROWS[2:]] and "lacks 1 records" in wrong
        with pytest.raises(StudyError, match="make study"):
            records.read_records(tmp_path, "dapt")
    records.write_records(tmp_path, "dapt", rows)
    assert records.read_rows(path) == (rows, None)


def test_a_line_that_is_repeated_counts_once_and_different_records_of_one_result_not_at_all(tmp_path):
    path, rows = tmp_path / "dapt.jsonl", [row | {"fingerprint": f"ab{row['seed']}"} for row in ROWS]
    records.write_records(tmp_path, "dapt", [row | {"test_score": 1.0} for row in rows])
    others = path.read_bytes().splitlines(keepends=True)
    records.write_records(tmp_path, "dapt", [*rows, rows[0]])
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == len(rows)
    for some, read, told in [
        ([*lines, *lines], rows, None),
        ([lines[0], *lines[:3]], rows[:3], "lacks 1 records"),
        ([*lines[:3], others[0]], rows[1:3], "has 2 different records where each result has one"),
        ([*lines, others[3]], rows[:3], "has 2 different records where each result has one"),
    ]:
        path.write_bytes(b"".join(some))
        found, wrong = records.read_rows(path)
        assert found == read and (wrong is None if told is None else told in wrong)
    records.write_records(tmp_path, "dapt", rows[:2])
    path.write_bytes(path.read_bytes() + b"".join(lines[2:]))  # of an earlier time, merged with this one's
    assert "has 4 records, and 2 were written" in records.read_rows(path)[1]


def test_records_of_before_digests_were_kept_are_read_as_they_are(tmp_path):
    rows = [row | {"fingerprint": "ab01"} for row in ROWS]
    files.write_jsonl(tmp_path / "dapt.jsonl", rows)
    assert records.read_records(tmp_path, "dapt").to_dict("records") == rows


def test_a_file_is_digested_once_a_process_and_again_when_it_has_changed(tmp_path, monkeypatch):
    path, counted, digest = tmp_path / "file", [], files.digest
    monkeypatch.setattr(files, "digest", lambda path: counted.append(path) or digest(path))
    path.write_text("a")
    os.utime(path, (1, 1))
    assert digests.digest_once(path) == digests.digest_once(path) and len(counted) == 1
    path.write_text("b")
    os.utime(path, (2, 2))
    assert digests.digest_once(path) == digest(path) and len(counted) == 2


def test_a_store_whose_offsets_are_damaged_is_no_index_error(house):
    folder = house.tokens("corpora", "cs")
    files.write_array(folder / "offsets.npy", np.array([0, 15, 41]))
    with pytest.raises(StudyError, match="files of one and the same store"):
        tokens.load_token_store(folder)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_damaged_state_costs_the_steps_since_the_one_before(tmp_path, share):
    path = tmp_path / "state.safetensors"
    for content in (b"one", b"two", b"three"):
        states.save_state(path, content)
    assert states.load_state(path) == b"three"
    saved = path.read_bytes()
    spoilt = bytearray(saved)
    spoilt[-1] ^= 1
    path.write_bytes(saved[: int(share * len(saved))] if share < 1 else spoilt)
    assert states.load_state(path) == b"two"
    path.unlink()  # killed between the two renames
    assert states.load_state(path) == b"two"
    states.older(path).write_bytes(b"")
    assert states.load_state(path) is None
    assert states.load_state(tmp_path / "another") is None
