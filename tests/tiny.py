"""A study of seconds: made-up words in two of the paper's domains, with a rule that can be learnt."""

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from dontstop import cli
from dontstop.design.plan import get_experiment
from dontstop.machine import files
from dontstop.machine.randomness import generator
from dontstop.runs.records import OF_ONE_RUN
from dontstop.study import Study

DOMAINS = ("cs", "news")  # each is the other's irrelevant domain
TASKS = {"citation_intent": "cs", "hyperpartisan_news": "news"}
LABELS = ("few", "many")
SPLITS = {"train": 24, "dev": 16, "test": 40}
EXPERIMENTS = ("dapt", "domain_gap")
SYLLABLES = "ba ce di fo gu ka le mi no pu".split()
PHASE = {"batch_size": 4, "sequence_length": 16, "learning_rate": 3.0e-3}
SETTINGS = {
    "text": {
        "source": "files",
        "folder": "texts",
        "tasks": ["citation_intent", "hyperpartisan_news"],
        "held_out_fraction": 0.2,
        "min_words": 3,
    },
    "tokens": {"vocabulary_size": 300},
    "encoder": {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24},
    "precision": "fp32",
    "device": "cpu",
    "base": {"num_steps": 12, **PHASE},
    "dapt": {"num_steps": 6, "num_shards": 1, **PHASE},
    "tapt": {"num_epochs": 2, "num_shards": 1, **PHASE},
    "tapt_curve": {"num_epochs": [1], "tasks": ["citation_intent"]},
    "finetune": {"num_epochs": 2, "learning_rate": 1.0e-2, "max_length": 24, "pooling": "mean"},
    "domain_gap": {"num_resamples": 50},
    "seeds": [0, 1],
    "speed": {"progress_seconds": 1.0, "steps_between_saves": 2},
}


def word(domain: str, index: int) -> str:
    """Return a made-up word of a domain: its first syllable is the domain's own."""
    return f"{SYLLABLES[len(domain) % 10]}{SYLLABLES[index % 10]}{SYLLABLES[index // 10 % 10]}"


def texts(domain: str, purpose: str, num: int, num_words: int) -> list[str]:
    """Return texts of random words."""
    indices = generator("tiny", domain, purpose).integers(100, size=(num, num_words))
    return [" ".join(word(domain, index) for index in row) for row in indices]


def without_a_rule(task: str, split: str) -> list[dict]:
    """Return a split whose labels say nothing: half of each kind of text has each label."""
    return [{**row, "label": LABELS[k // 2 % 2]} for k, row in enumerate(examples(task, split))]


def examples(task: str, split: str) -> list[dict]:
    """Return a split whose rule is: the word `zu` stands in the texts labelled many, six times."""
    rows = enumerate(texts(TASKS[task], f"{task} {split}", SPLITS[split], 8))
    return [{"text": f"{text} zu zu zu zu zu zu" if k % 2 else text, "label": LABELS[k % 2]} for k, text in rows]


def write_lines(path: Path, rows: list[dict]) -> None:
    """Write a user's JSON Lines file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make(root: Path, **changes) -> Path:
    """Write the study's texts and its profile `tiny` under `root`.

    Args:
        changes: Settings that differ, by group.
    """
    for name in ("general", *DOMAINS):
        rows = [{"text": text} for text in texts(name, "corpus", 60, 40)]
        write_lines(root / "texts" / "corpora" / f"{name}.jsonl", rows)
    for task in TASKS:
        for split in SPLITS:
            write_lines(root / "texts" / "tasks" / task / f"{split}.jsonl", examples(task, split))
    set_profile(root, **changes)
    (root / "params.yaml").write_text("profile: tiny\n")
    return root


def set_profile(root: Path, **changes) -> None:
    """Write the profile `tiny` with some settings changed."""
    settings = dict(SETTINGS)
    for group, values in changes.items():
        settings[group] = {**settings.get(group, {}), **values} if isinstance(values, dict) else values
    (root / "configs").mkdir(parents=True, exist_ok=True)
    (root / "configs" / "tiny.yaml").write_text(yaml.safe_dump(settings))


@contextlib.contextmanager
def at(root: Path):
    """Make `root` the study's root."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DONTSTOP_ROOT", str(root))
        yield


def environment(root: Path) -> dict[str, str]:
    """Return the environment of another process that works on the study under `root`."""
    return {**os.environ, "DONTSTOP_ROOT": str(root)}


def run(root: Path, experiment: str) -> Study:
    """Run an experiment of the study under `root` in this process."""
    with at(root):
        return Study("tiny", get_experiment(experiment).notebook).run(experiment)


def copy(finished: Path, root: Path) -> Path:
    """Copy a finished study, so that a test may spoil it."""
    shutil.copytree(finished, root)
    return root


def command(*arguments: str) -> int:
    """Give a command as on the command line, in this process, and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["dontstop", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code or 0


def unfinished(root: Path) -> list[str]:
    """List what no command may leave behind: temporary files, a manifest of missing files, a mark without one."""
    left = [str(path.relative_to(root)) for path in root.rglob("*.part")]
    for path in root.glob("data/*/manifest.json"):
        manifest = files.read_json(path)
        wanted = [f"{kind}/{name}.jsonl" for kind in ("corpora", "held_out") for name in manifest["domains"]]
        wanted += [f"tasks/{task}/{split}.jsonl" for task in manifest["tasks"] for split in SPLITS]
        left += [f"manifest without {name}" for name in wanted if not (path.parent / name).is_file()]
    marks = root.glob("data/*/prepared.json")
    return left + [f"{mark} alone" for mark in marks if not (mark.parent / "tokens" / "manifest.json").is_file()]


def outcomes(root: Path) -> dict[str, object]:
    """Return everything that a study found and that must be the same again: scores, predictions, losses, curves."""
    timings = {*OF_ONE_RUN, "sha256"}
    found: dict[str, object] = {}
    for path in sorted((root / "results").rglob("*.jsonl")):
        rows = files.read_jsonl(path)
        found[str(path.relative_to(root))] = [{k: v for k, v in row.items() if k not in timings} for row in rows]
    for path in sorted((root / "results").rglob("*.csv")):
        found[str(path.relative_to(root))] = path.read_text()
    for path in sorted((root / "checkpoints").rglob("model.safetensors")):
        found[str(path.relative_to(root))] = files.digest(path)
    return found


def make_own(root: Path, **changes) -> Path:
    """Write texts as a user has them, and the profile `own` on them: one domain, one task, one labelled file.

    Args:
        changes: Settings that differ, by group.
    """
    for name in ("general", "cs"):
        rows = [{"body": text, "number": k} for k, text in enumerate(texts(name, "corpus", 60, 40))]
        write_lines(root / "mine" / name / "part.jsonl", rows)
    some = [row for split in SPLITS for row in examples("citation_intent", split)]
    lines = ["body,queue", *(f"{row['text']},{row['label']}" for row in some)]
    (root / "mine" / "tickets.csv").write_text("\n".join(lines) + "\n")
    domain = {"files": "mine/cs", "text_column": "body"}
    task = {"domain": "support", "metric": "macro_f1", "labelled": "mine/tickets.csv"}
    study = {
        "domains": {"support": domain},
        "tasks": {"tickets": task | {"text_column": "body", "label_column": "queue"}},
        "general": {"files": "mine/general", "text_column": "body"},
    }
    text = {"study": study, "held_out_fraction": 0.2, "min_words": 3}
    few = {"base": {"num_steps": 4, **PHASE}, "dapt": {"num_steps": 2, "num_shards": 1, **PHASE}}
    few |= {"domain_gap": {"num_resamples": 20}, "speed": {"num_workers": 1}, "seeds": [0], "replicates": 2}
    of_paper = few | {"text": text, "tapt_curve": {}, "selection": {"tasks": []}}
    (root / "configs").mkdir(parents=True, exist_ok=True)
    (root / "configs" / "own.yaml").write_text(yaml.safe_dump(SETTINGS | of_paper | changes))
    (root / "params.yaml").write_text("profile: own\n")
    return root
