"""Hostile input is refused by name or shown as text: nothing is run, nothing written outside the root, nobody asked."""

import html
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dontstop import tokens
from dontstop.design.plan import get_experiment
from dontstop.errors import StudyError, visible
from dontstop.fetch import conversion, task_files
from dontstop.inputs import MAX_BYTES
from dontstop.machine import pretrained, progress
from dontstop.profiles import load_profile, with_replicates
from dontstop.report import display
from dontstop.report.claims import write_forest
from dontstop.runs.pipeline import Pipeline
from dontstop.studies import PROJECT, STUDIES, read_study
from dontstop.study import Study, default_profile
from dontstop.text import documents
from dontstop.tokens import tokenizer
from dontstop.training import encoders

ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def outcome(do: Callable[[Path], object], folder: Path) -> str:
    """Return what came of it: an error's text, or what was returned."""
    try:
        return str(do(folder))
    except StudyError as error:
        return f"refused: {error}"


# Names that are paths ----------------------------------------------------------------------------------------------


def elsewhere(folder: Path) -> Path:
    shutil.copy(PROJECT / STUDIES / "paper.yaml", folder / "mine.yaml")
    return folder / "mine"


def profile(name: str) -> Callable[[Path], object]:
    def load(folder: Path):
        (folder / "outside.yaml").write_text("seeds: [1]\n")  # where ../outside would lead
        (folder / "configs").mkdir()
        return load_profile(name, folder)

    return load


PROFILES = ["../outside", "../../outside", "..", "a/b", "a\\b", "/etc/passwd", "", "a\0b", "-p", ".hidden", "a..b"]
PROFILES += ["a" * 101, "\N{FULLWIDTH LATIN SMALL LETTER A}", "a\n", f"a{ESCAPE}"]
NAMES = {f"profile {name[:14]!r}": (profile(name), "refused: found: profile ") for name in PROFILES}
NAMES |= {
    "checkpoint up": (lambda _: Pipeline.pretrain(None, "../../x"), "refused: found: checkpoint '../../x'"),
    "checkpoint root": (lambda _: Pipeline.pretrain(None, "/x"), "refused: found: checkpoint '/x'"),
    "notebook": (lambda _: Study("smoke", "../../x"), "refused: found: notebook '../../x'"),
    "table": (lambda _: Study("smoke").show(pd.DataFrame(), "../x"), "refused: found: table or figure '../x'"),
    "experiment": (lambda _: get_experiment("../x"), "refused: found: experiment '../x'"),
    "task": (lambda _: read_study("paper").task("../../x"), "refused: found: task '../../x'"),
    "domain": (lambda _: read_study("paper").domain("../x"), "refused: found: domain '../x'"),
    "corpus to fetch": (lambda _: read_study("paper").source("../x"), "refused: found: "),
    "study": (lambda at: read_study("../studies/paper"), "refused: found: study '../studies/paper'"),
    "study elsewhere": (lambda at: read_study(str(elsewhere(at))), "refused: found: study '/"),
    "study of NUL": (lambda at: read_study("a\0b"), "refused: found: study "),
    "forest": (lambda at: write_forest(at / "results", ["../../x"]), "refused: found: profile '../../x'"),
    "task to fetch": (
        lambda at: task_files.fetch_tasks(at, read_study("paper"), ["../../x"], "hub", "", print),
        "refused: found: ",
    ),
    "encoder to fetch": (lambda _: read_study("paper").released(["../x"]), "refused: found: "),
}

# Profiles that would fill memory, run code or mean two things ------------------------------------------------------


def yaml_of(text: str | bytes) -> Callable[[Path], object]:
    def load(folder: Path):
        (folder / "configs").mkdir()
        (folder / "configs" / "mine.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_profile("mine", folder)

    return load


def doubled(times: int, form: str) -> str:
    lines = [f"a{k}: &a{k} " + form.format(f"*a{k - 1}") for k in range(1, times)]
    return "\n".join(["a0: &a0 {x: 1}", *lines])


YAML = {
    "a key twice": ("seeds: [1]\ndevice: cpu\nseeds: [2]\n", "seeds in lines 1 and 3 of"),
    "a key twice, inside": ("base:\n  num_steps: 1\n  num_steps: 2\n", "num_steps in lines 2 and 3 of"),
    "nested": ("seeds: " + "[" * 50 + "]" * 50, "too much in"),
    "nested without end": ("[" * 50_000, "too much in"),
    "aliases of aliases": (doubled(30, "[{0}, {0}]"), "too much in"),
    "merges of merges": (doubled(30, "{{<<: [{0}, {0}]}}"), "too much in"),
    "an alias of itself": ("seeds: &a [*a]\n", "too much in"),
    "megabytes": ("#" * (MAX_BYTES + 1), f"{MAX_BYTES + 1:,} bytes in"),
    "an object": ("seeds: !!python/object/apply:os.system ['touch owned']\n", "is not readable YAML"),
    "a long integer": ("seeds: [" + "9" * 5000 + "]\n", "is not readable YAML"),
    "month 13": ("seeds: 2024-13-45\n", "is not readable YAML"),
    "no integer": ("seeds: [!!int '']\n", "is not readable YAML"),
    "no sign's integer": ("seeds: [!!int '-']\n", "is not readable YAML"),
    "no float": ("seeds: [!!float '_']\n", "is not readable YAML"),
    "no truth value": ("compiled: !!bool x\n", "is not readable YAML"),
    "no date": ("seeds: !!timestamp x\n", "is not readable YAML"),
    "NUL": ("seeds: [\0]\n", "is not readable YAML"),
    "no UTF-8": (b"seeds: [\xff]\n", "is not readable YAML"),
    "two documents": ("seeds: [1]\n---\nseeds: [2]\n", "is not readable YAML"),
    "a list": ("- seeds\n", "holds a list"),
    "infinity": ("finetune: {learning_rate: .inf}\n", "finetune.learning_rate = inf"),
    "no number": ("finetune: {learning_rate: .nan}\n", "finetune.learning_rate = nan"),
    "an escape": ('"\\e[2J": 1\n', r"unknown setting \x1b[2J"),
    "a name of another": ("name: ../outside\n", "name = '../outside'"),
}

# Encoders, tokenizers and mirrors ----------------------------------------------------------------------------------


def encoder(read: Callable[[Path], object], **files: object) -> Callable[[Path], object]:
    def load(folder: Path):
        for name, content in files.items():
            path = folder / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read(folder)

    return load


BERT = {"model_type": "bert", "vocab_size": 8, "hidden_size": 4, "num_attention_heads": 1, "num_hidden_layers": 1}
AUTO = {"auto_map": {"AutoConfig": "code.Config", "AutoModelForMaskedLM": "code.Model", "AutoTokenizer": "code.Tok"}}
CODE = "open('owned', 'w')"
any_folder = pretrained.refusing_code
ENCODERS = {
    "auto_map": (encoder(encoders.load_encoder, config_dot_json=BERT | AUTO), "found: auto_map in"),
    "auto_map of a new kind": (encoder(any_folder, config_dot_json={"model_type": "new"} | AUTO), "found: auto_map in"),
    "auto_map of a tokenizer": (encoder(tokens.load_tokenizer, tokenizer_config_dot_json=AUTO), "found: auto_map in"),
    "auto_map of a given one": (encoder(tokenizer.load_given, tokenizer_config_dot_json=AUTO), "found: auto_map in"),
    "auto_map in a part": (encoder(any_folder, part__config_dot_json=AUTO), "found: auto_map in"),
    "a pipeline": (encoder(any_folder, config_dot_json={"custom_pipelines": {"x": 1}}), "found: custom_pipelines in"),
    "code": (encoder(any_folder, modeling_dot_py=CODE), "modeling.py, which is code"),
    "compiled code": (encoder(any_folder, part__x_dot_so=""), "x.so, which is code"),
    "an adapter": (encoder(any_folder, adapter_config_dot_json={}), "adapter_config.json, which has another model"),
    "a module": (encoder(any_folder, modules_dot_json=[{"type": "os.path"}]), "found: os.path in"),
    "to convert": (encoder(lambda at: conversion.convert_weights(str(at), at / "x", print), a_dot_py=CODE), "is code"),
    "pickled weights": (encoder(encoders.load_encoder, config_dot_json=BERT, pytorch_model_dot_bin="x"), "safetensors"),
}


def mirror(make: Callable[[Path, Path], object], *, follow: bool = False) -> Callable[[Path], object]:
    def check(folder: Path):
        inside, outside = folder / "mirror", folder / "outside"
        for place in (inside / "corpora", inside / "tasks", outside):
            place.mkdir(parents=True)
        (outside / "x.jsonl").write_text("{}")
        (inside / "tasks" / "x.jsonl").write_text("{}")
        make(inside, outside)
        return documents.check_mirror(folder / "link" if (folder / "link").exists() else inside, follow_links=follow)

    return check


def link(name: str, target: str) -> Callable[[Path, Path], object]:
    return lambda inside, outside: (inside / name).symlink_to(inside / target)


FILE, FOLDER = link("corpora/x.jsonl", "../outside/x.jsonl"), link("corpora/x", "../outside")
MIRRORS = {
    "a link out": (mirror(FILE), "x.jsonl, which a link leads to"),
    "a folder's link out": (mirror(FOLDER), "x.jsonl, which a link leads to"),
    "a link to the system": (mirror(link("corpora/x.jsonl", "/etc/hosts")), "leads to /etc/hosts"),
    "a device": (mirror(link("corpora/x.jsonl", "/dev/zero")), "which is no file"),
    "a pipe": (mirror(lambda inside, _: os.mkfifo(inside / "tasks" / "pipe")), "which is no file"),
    "links followed": (mirror(FILE, follow=True), "None"),
    "a link inside": (mirror(link("corpora/x.jsonl", "tasks/x.jsonl")), "None"),
    "a mirror that is a link": (mirror(lambda inside, _: (inside.parent / "link").symlink_to(inside)), "None"),
}

CASES = NAMES | {name: (yaml_of(text), expected) for name, (text, expected) in YAML.items()} | ENCODERS | MIRRORS


@pytest.mark.parametrize(("do", "expected"), CASES.values(), ids=[ascii(name) for name in CASES])
def test_what_is_hostile_is_refused_by_name(do, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    found = outcome(do, tmp_path)
    assert expected in found and "\x1b" not in found and "convert-weights" not in found
    assert expected == "None" or found.startswith("refused: ")
    assert not (tmp_path / "owned").exists()


def test_an_honest_folder_is_loaded_by_transformers_alone(tmp_path):
    class Kind:
        @staticmethod
        def from_pretrained(source, **how):
            return source, how

    (tmp_path / "config.json").write_text(json.dumps(BERT))
    assert pretrained.load(Kind, tmp_path, x=1) == (tmp_path, {"trust_remote_code": False, "x": 1})
    assert pretrained.load(Kind, "a/name")[0] == "a/name"


def test_a_variable_that_is_too_long_a_number_is_told(root, monkeypatch):
    monkeypatch.setenv("DONTSTOP_REPLICATES", "9" * 5000)
    assert outcome(lambda _: with_replicates(load_profile("smoke", root)), root).startswith("refused: ")


def test_a_pipeline_without_a_profile_is_told(root):
    (root / "params.yaml").write_text("profil: smoke\n")
    assert outcome(lambda _: load_profile(default_profile(), root), root).startswith("refused: found: profile None")


# Texts and labels --------------------------------------------------------------------------------------------------

SHOWN = {
    "script": ("<script>alert(1)</script>", "<script"),
    "image": ("<img src=x onerror=alert(1)>", "<img"),
    "link": ("[x](javascript:alert(1))", "]("),
    "picture": ("![x](https://example.org/seen)", "]("),
    "formula": (r"$\href{javascript:alert(1)}{x}$", "$"),
    "escaped formula": (r"\$\href{javascript:alert(1)}{x}\$", "$"),
    "brackets": (r"\(\href{javascript:alert(1)}{x}\)", "\\("),
    "bold": ("**x** __y__ _z_", "**"),
    "code": ("`x` ~~y~~", "`"),
    "cells": ("a | b", " | b"),
    "escape": (f"a{ESCAPE}", "\x1b"),
    "direction": ("a\u202egnp.exe", "\u202e"),
    "entity": ("&lt;b&gt;", "&lt;b"),
}


@pytest.mark.parametrize(("text", "live"), SHOWN.values(), ids=SHOWN)
def test_a_label_is_text_in_markdown_and_html(text, live):
    frame = pd.DataFrame({"label": [text], text: [1.0]})
    header, _, row = display.to_markdown(frame).splitlines()
    for line in (header, row):
        cell = re.sub(r"(?<!\\)\|", "\n", line)
        assert live not in cell.replace("\\|", "")
    shown = html.unescape(re.sub("</?span>", "", row)).replace("\\|", "|")
    assert visible(text) in shown  # nothing is lost
    page = display.styled(frame).to_html()
    body = page[page.index("<table") :]
    assert not re.search(r"<(script|img)|[$\\]|\x1b|\u202e", body)
    assert visible(text) in html.unescape(re.sub("</?span>", "", body))


CELLS = {"=cmd|' /C calc'!A0": True, "+1+cmd": True, "-2+3": True, "@SUM(A1)": True, "\t=1+1": True, "\uff1d1+1": True}
CELLS |= {"-1.5": False, "+3e-4": False, "-": False, "a=b": False, "- ": True, "-inf": False}


@pytest.mark.parametrize(("text", "is_formula"), CELLS.items(), ids=map(ascii, CELLS))
def test_a_formula_is_text_in_csv_and_a_number_a_number(text, is_formula):
    frame = pd.DataFrame({"label": [text], "score": [-0.5]})
    header, row = display.to_csv(frame).splitlines()
    assert header == "label,score" and row.removeprefix('"') == f"{chr(39) if is_formula else ''}{text},-0.5"
    assert display.to_csv(pd.DataFrame({text: [1]})).startswith("'") == is_formula


def test_what_is_printed_shows_escapes_as_text(capsys):
    progress.say(f"a{ESCAPE}\nb\tc\u202ed\x9be")
    progress.ReplacedLine().say(f"x{ESCAPE}")
    spelt = r"\x1b]0;owned\x07\x1b[2J"
    assert capsys.readouterr().out == f"a{spelt}\nb\tc\\u202ed\\x9be\nx{spelt}\n"
    error = StudyError(f"label {ESCAPE}", "one", "mend it")
    assert "\x1b" not in str(error) + error.found and spelt in error.found
