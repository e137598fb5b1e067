"""The doctor says how it stands, what to do, and by its exit code how bad it is; it mends nothing."""

import json
import os
import sys

import pytest

import tiny
from dontstop.machine import digests, environment, files, locks
from dontstop.profiles import Encoder, Paths
from dontstop.runs import preparation, records
from dontstop.runs.identity import LIBRARIES_FILE, RESTORE_VERSIONS, note_versions
from dontstop.upkeep import doctor


@pytest.fixture
def study(tmp_path) -> Paths:
    """Give the paths of a tiny study whose text is not prepared."""
    return Paths("tiny", tiny.make(tmp_path / "study"))


def line(findings, what: str):
    """Return the first line of a check."""
    return findings[findings["what"] == what].iloc[0]


def test_a_fresh_study_wants_its_text_and_nothing_is_written(study):
    before = sorted(study.root.rglob("*"))
    findings = doctor.examine("tiny", study.root)
    assert line(findings, "text")[["level", "state"]].tolist() == ["warning", "not prepared yet"]
    assert "dontstop prepare --profile tiny" in line(findings, "text")["remedy"]
    levels = findings.set_index("what")["level"]
    assert (levels.drop("text") == "well").all() and doctor.exit_code(findings) == 1
    assert sorted(study.root.rglob("*")) == before


def test_damage_leftovers_holders_and_other_machines_are_named(study):
    row = {"replicate": 0, "capability": "an abacus", "fingerprint": "f" * 64}
    rows = [row, row | {"task": "sciie"}, row | {"replicate": 1}]
    records.write_records(study.results / "records" / "02_dapt", "dapt", rows)
    (study.results / "records" / "02_dapt" / "base.jsonl").write_text('{"replicate": 0')
    damaged, missing, offsets = study.corpus("cs"), study.held_out("cs"), study.tokens("corpora", "cs") / "offsets.npy"
    for path in (damaged, missing, offsets):
        files.write_json(path, {})
    digests.write_folder_digests(study.data)
    files.write_json(damaged, [])
    missing.unlink()
    offsets.write_bytes(b"{}\0")
    selected = study.selected / "replicate_0" / "sciie" / "knn_tapt_1" / "ids.npy"
    files.write_json(selected, {})
    digests.write_folder_digests(study.selected / "replicate_0")
    files.write_json(selected, [])
    curves = [study.results / "curves" / name / "replicate_0" / "base.csv" for name in ("02_dapt", "base")]
    digests.write_within(curves[0].parent, {"base.csv": "step\n1\n"})
    for path in curves:
        files.write_text(path, "")
    (study.results / ".x.12345678.part").touch()
    findings = doctor.examine("tiny", study.root)
    assert line(findings, "leftovers")["level"] == "warning"
    wrong = findings[findings["level"] == "broken"]["state"].tolist()
    written = study.results / "records" / "02_dapt" / "base.jsonl"
    changed = [f"{path} is not as it was written" for path in (damaged, offsets, selected)]
    changed.append(f"{curves[0]} is not as it was written")
    damaged = [f"{path} is damaged" for path in (curves[1], written)]
    assert wrong == [changed[0], f"{missing} is missing", *changed[1:], *damaged]
    remedies = findings[findings["level"] == "broken"]["remedy"].tolist()
    assert "dontstop prepare" in remedies[0] and "dontstop select" in remedies[3] and "make study" in remedies[4]
    assert doctor.exit_code(findings) == 2
    machines = findings[findings["what"] == "records"]["state"].tolist()
    assert machines == ["replicate 0: 2 records by an abacus", "replicate 1: 1 record by an abacus"]
    with locks.only_run(study.lock):
        findings = doctor.examine("tiny", study.root)
    assert "a run of profile tiny under way" in line(findings, "locks")["state"]
    assert line(findings, "leftovers")["state"] == "1 half-written, as a run is under way"
    with locks.locked(study.work / "locks" / "one.lock"):
        held = line(doctor.examine("tiny", study.root), "locks")["state"]
    writer = os.getpid() if sys.platform == "linux" else "unknown"
    assert held == f"1 result being written, by process {writer}"
    note_versions(study.results, [{"numpy": "0.1"}])
    (study.results / LIBRARIES_FILE).write_text("[{}]")
    noted = doctor.examine("tiny", study.root).set_index("state").loc[f"{study.results / LIBRARIES_FILE} is damaged"]
    assert noted["level"] == "warning" and noted["remedy"] == RESTORE_VERSIONS


def test_folders_that_cannot_be_written_are_told(study, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda place, how: place != study.root)
    assert f"{study.root} cannot be written to" in doctor.examine("tiny", study.root)["state"].tolist()
    monkeypatch.undo()
    study.results.parent.mkdir(parents=True)
    study.results.write_text("")
    found = line(doctor.examine("tiny", study.root), "folders")
    assert (found["level"], found["state"]) == ("broken", f"{study.results} is no folder")


def test_locks_of_a_checkout_that_can_only_be_read_are_looked_up(study, monkeypatch):
    def refuse(lock, *, wait):
        raise PermissionError(f"{lock} is not writable")

    files.write_text(study.work / "one.lock", "")
    monkeypatch.setattr(locks, "locked", refuse)
    assert line(doctor.examine("tiny", study.root), "locks")["level"] == "well"
    monkeypatch.setattr(locks, "lock_holder", lambda lock: 7)
    assert "a run of profile one under way" in line(doctor.examine("tiny", study.root), "locks")["state"]


def test_prepared_text_is_known_by_its_settings(study, monkeypatch):
    monkeypatch.setattr(preparation, "_mark", lambda *_: {"settings": "a"})
    monkeypatch.setattr(doctor.token_counts, "counts", lambda _: None)
    monkeypatch.setattr(doctor.token_counts, "lines", lambda _: [])
    files.write_json(study.data / "prepared.json", {"settings": "a"})
    assert line(doctor.examine("tiny", study.root), "text")["state"] == "prepared with these settings"
    files.write_json(study.data / "prepared.json", {"settings": "b"})
    assert line(doctor.examine("tiny", study.root), "text")["state"] == "prepared with others"


def test_an_unreadable_profile_and_a_mirror_that_is_gone_are_lines_too(study, monkeypatch):
    tiny.set_profile(study.root, text={"folder": "gone"})
    findings = doctor.examine("tiny", study.root)
    assert line(findings, "text")["level"] == "broken" and "gone" in line(findings, "text")["state"]
    (study.root / "configs" / "tiny.yaml").write_text("sedes: [1]\n")
    findings = doctor.examine("tiny", study.root)
    assert findings["what"].tolist() == ["Python", "packages", "profile"] and "seeds" in findings.iloc[-1]["remedy"]


def test_too_little_memory_or_disk_is_told(study, monkeypatch):
    monkeypatch.setattr(environment, "free_memory", lambda: 1_000_000)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("", (), {"free": 1000}))
    findings = doctor.examine("tiny", study.root)
    assert (line(findings, "memory")["level"], line(findings, "disk")["level"]) == ("warning", "broken")


def test_an_encoders_bytes_are_those_of_its_weights(tmp_path):
    from types import SimpleNamespace

    from dontstop.training import encoders

    settings = Encoder(hidden_size=16, num_layers=2, num_heads=2, intermediate_size=24)
    ids = dict.fromkeys(encoders.SPECIAL_IDS, 0)

    class Tokenizer(SimpleNamespace):
        def __len__(self):
            return 300

    model = encoders.build_encoder(settings, Tokenizer(**ids), max_length=16, seed=0)
    weights = 4 * sum(values.numel() for values in model.parameters())
    assert doctor.encoder_bytes(settings, 300) == pytest.approx(weights, rel=0.01)
    (tmp_path / "model.safetensors").write_bytes(bytes(100))
    assert doctor.encoder_bytes(Encoder(name=str(tmp_path)), 300) == 100


def test_pins_that_differ_and_packages_that_are_missing_are_named(tmp_path):
    (tmp_path / "constraints.txt").write_text("numpy==0.1\nno-such-package==1\npandas==0.2 ; python_version < '3'\n")
    level, state, _ = next(environment.package_states(tmp_path))
    assert level == "warning" and state.startswith("1 other than pinned: numpy ")
    about = '[project]\nrequires-python = ">=4"\ndependencies = ["no-such-package>=1", "numpy>=1"]\n'
    (tmp_path / "pyproject.toml").write_text(about)
    level, state, remedy = next(environment.package_states(tmp_path))
    assert (level, remedy) == ("broken", "run `make set-up`") and state.endswith("no-such-package>=1")
    assert next(environment.python_state(tmp_path))[0] == "broken"


def test_the_command_prints_lines_and_ends_with_their_level(study, capsys):
    with tiny.at(study.root):
        assert tiny.command("doctor", "-p", "tiny") == 1
    out = capsys.readouterr().out
    assert "warning  text: not prepared yet\n         do this: `dontstop prepare --profile tiny`" in out
    assert json.dumps(out).count("do this") == 2  # the text, and the records that there are none of
