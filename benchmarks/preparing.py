"""Preparing a mirror of generated shards: the time and memory of every step, all processes together."""

import csv
import functools
import gzip
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow
import pyarrow.parquet
import yaml

from benchmarks import measuring
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.processes import num_cores, text_workers
from dontstop.machine.randomness import generator
from dontstop.machine.runner import say

CORPORA = ("biomed", "cs", "news", "reviews", "general")
TASKS = {"chemprot": "biomed", "citation_intent": "cs", "ag": "news", "imdb": "reviews"}
SPLITS = {"train": 500, "dev": 500, "test": 2000}
ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".csv")  # the shards of a corpus take turns
SHARD_BYTES, FEWEST_SHARDS = 125_000_000, 5
NUM_WORDS, EXPONENT = 300_000, 1.05  # that differ; of Zipf's law
MEDIAN_LENGTH, LENGTH_SPREAD, SHORTEST = 150, 0.7, 20  # words of a document, log-normal
BYTES_PER_DOCUMENT = 945  # on average, of text
BLOCK = 1_000  # documents that are generated at a time; so many of them are planted:
PLANTED = {"repeated": 10, "short": 5, "leaking": 3, "quoting": 20}
QUOTED_SHARE = 0.3  # of a test text, in a document that may stay
SECONDS_BETWEEN_LOOKS = 0.5
STEPS = {"read, cleaned, written": "manifest.json", "tokenizer trained": "tokenizer", "tokenised": "prepared.json"}


@dataclass(frozen=True)
class Shard:
    """A file of generated text."""

    corpus: str
    number: int
    num_blocks: int
    mirror: Path

    def path(self) -> Path:
        """Return where it stands."""
        return self.mirror / "corpora" / self.corpus / f"part-{self.number:04d}{ENDINGS[self.number % len(ENDINGS)]}"


def benchmark(scratch: Path, results: Path | None, *, gigabytes: float) -> None:
    """Generate a mirror, prepare it as users do, hold the result to what was planted, and write the table."""
    say(f"preparing: generating {gigabytes:g} GB of text")
    shards = plan(scratch / "mirror", gigabytes)
    num_bytes = write_mirror(scratch / "mirror", shards)
    write_profile(scratch / "root")
    say(f"preparing: {num_bytes / 1e9:.2f} GB of text in {len(shards)} shards")
    begin = time.perf_counter()
    with measuring.CoreShare() as share:
        steps = prepare(scratch / "root", scratch / "mirror")
    seconds = time.perf_counter() - begin
    manifest = check(scratch / "root" / "data" / "generated", shards)
    rows = [{"contender": name, "repeat": 0, **step} for name, step in steps.items()]
    num_documents = manifest["cleaning"]["documents_read"]
    notes = [
        f"{num_bytes / 1e9:.2f} GB of generated text, {num_documents:,} documents in {len(shards)} shards of "
        f"{len(CORPORA)} corpora ({', '.join(ENDINGS)}), repetitions and leaks among them, which were all found.",
        f"`dontstop prepare` with {num_cores()} processes: {seconds / 60:.1f} minutes, "
        f"{num_bytes / 1e6 / seconds:.1f} MB of text a second; other processes took {100 * share.of_others:.0f} % of "
        "the machine's core-seconds meanwhile.",
        "Memory at its most, in a step, looked at every half second: sum_rss and sum_pss of all processes together (a "
        "page that processes share counts in rss for each of them, in pss once), command_rss of the command's own "
        "process, which has all of the study's libraries, worker_rss of its largest worker.",
    ]
    summary = measuring.summarise(rows, {name: {} for name in steps})
    measuring.write_tables(results, "preparing", "Preparing a mirror larger than memory", summary, rows, notes)


def plan(mirror: Path, gigabytes: float) -> list[Shard]:
    """Divide so much text among corpora and shards."""
    of_corpus = gigabytes * 1e9 / len(CORPORA)
    number = max(FEWEST_SHARDS, math.ceil(of_corpus / SHARD_BYTES))
    num_blocks = max(1, round(of_corpus / number / BYTES_PER_DOCUMENT / BLOCK))
    return [Shard(corpus, k, num_blocks, mirror) for corpus in CORPORA for k in range(number)]


# -------------------------------------------------------------------------------------------------------- generating


def write_mirror(mirror: Path, shards: list[Shard]) -> int:
    """Write shards and tasks; return the bytes of the shards' text."""
    for task in TASKS:
        for split in SPLITS:
            rows = [{"text": text, "label": "ab"[k % 2]} for k, text in enumerate(task_texts(task, split))]
            files.write_jsonl(mirror / "tasks" / task / f"{split}.jsonl", rows)
    with text_workers(num_cores()) as submit:
        written = [submit(str(shard.path()), write_shard, shard) for shard in shards]
        return sum(result.get() for result in written)


@functools.lru_cache
def task_texts(task: str, split: str) -> list[str]:
    """Generate the texts of a task's split."""
    return _draw(SPLITS[split], 80, rng=generator("generated task", task, split))


@functools.lru_cache(maxsize=1)
def originals(corpus: str) -> list[str]:
    """Generate a corpus' first block, whose documents the others repeat."""
    return _draw(BLOCK, MEDIAN_LENGTH, rng=generator("generated corpus", corpus))


def block_of(shard: Shard, number: int) -> list[str]:
    """Generate a block of documents, the first ones planted (see PLANTED)."""
    step = shard.number * shard.num_blocks + number
    if not step:
        return originals(shard.corpus)
    rng = generator("generated corpus", shard.corpus, step=step)
    texts, first = _draw(BLOCK, MEDIAN_LENGTH, rng=rng), originals(shard.corpus)
    evaluated = task_texts(str(rng.choice(list(TASKS))), "test")
    repeated, short, leaking, quoting = np.split(np.arange(sum(PLANTED.values())), np.cumsum([*PLANTED.values()])[:-1])
    for k in repeated:
        texts[k] = first[rng.integers(BLOCK)].upper()
    for k in short:
        texts[k] = "too short to stay"
    for k in leaking:
        texts[k] = f"{texts[k]} {evaluated[rng.integers(len(evaluated))]}"
    for k in quoting:
        words = evaluated[rng.integers(len(evaluated))].split()
        texts[k] = f"{texts[k]} {' '.join(words[: int(QUOTED_SHARE * len(words))])}"
    return texts


def _draw(number: int, median_length: int, *, rng: np.random.Generator) -> list[str]:
    """Draw texts of made-up words by Zipf's law, frequent ones short, cut into sentences."""
    words, cumulative = _words()
    lengths = np.exp(rng.normal(np.log(median_length), LENGTH_SPREAD, number)).astype(int).clip(SHORTEST)
    drawn = np.searchsorted(cumulative, rng.random(lengths.sum()) * cumulative[-1])
    drawn += NUM_WORDS * (rng.random(len(drawn)) < 1 / 15)  # the same words, at a sentence's end
    found = words[drawn].tolist()
    ends = np.cumsum(lengths)
    return [" ".join(found[start:end]) for start, end in zip(ends - lengths, ends, strict=True)]


@functools.lru_cache
def _words() -> tuple[np.ndarray, np.ndarray]:
    syllables = [f"{a}{b}" for a in "bdfghklmnprstvwz" for b in "aeiou"]
    words = []
    for rank in range(NUM_WORDS):
        word, rest = syllables[rank % 80], rank // 80
        while rest:
            word, rest = word + syllables[(rest - 1) % 80], (rest - 1) // 80
        words.append(word)
    weights = 1.0 / (np.arange(NUM_WORDS) + 2.7) ** EXPONENT
    return np.array(words + [f"{word}." for word in words], object), np.cumsum(weights)


def write_shard(shard: Shard) -> int:
    """Write a shard in the format that its ending names; return the bytes of its text."""
    path, num_bytes = shard.path(), 0
    path.parent.mkdir(parents=True, exist_ok=True)

    def texts() -> Iterator[str]:
        nonlocal num_bytes
        for number in range(shard.num_blocks):
            for text in block_of(shard, number):
                num_bytes += len(text)
                yield text

    _writer_of(path)(path, texts())
    return num_bytes


def _writer_of(path: Path) -> Callable[[Path, Iterator[str]], None]:
    return {".parquet": _write_parquet, ".csv": _write_csv}.get(path.suffix, _write_lines)


def _write_lines(path: Path, texts: Iterator[str]) -> None:
    with open(path, "wb") as plain:
        if path.suffix == ".gz":
            handle = gzip.GzipFile(fileobj=plain, mode="wb", compresslevel=1)
        else:
            handle = pyarrow.CompressedOutputStream(plain, "zstd") if path.suffix == ".zst" else plain
        for text in texts:
            handle.write(json.dumps({"text": text}).encode() + b"\n")
        if handle is not plain:
            handle.close()


def _write_csv(path: Path, texts: Iterator[str]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text"])
        writer.writerows([text] for text in texts)


def _write_parquet(path: Path, texts: Iterator[str]) -> None:
    schema = pyarrow.schema([("text", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while some := [text for _, text in zip(range(20 * BLOCK), texts, strict=False)]:
            writer.write_table(pyarrow.table({"text": some}, schema))


def write_profile(root: Path) -> None:
    """Write the profile that prepares the mirror: what is not set here is as in the paper."""
    settings = {"text": {"source": "files", "tasks": list(TASKS)}, "tokens": {"vocabulary_size": 8192}}
    files.write_text(root / "configs" / "generated.yaml", yaml.safe_dump(settings))


# --------------------------------------------------------------------------------------------------------- measuring


def prepare(root: Path, mirror: Path) -> dict[str, dict[str, float]]:
    """Prepare the mirror by the command that users give; return the time and memory of its steps."""
    environment = os.environ | {"DONTSTOP_ROOT": str(root), "DONTSTOP_MIRROR": str(mirror)}
    command = [sys.executable, "-m", "dontstop", "prepare", "-p", "generated"]
    data, steps = root / "data" / "generated", {name: dict[str, float]() for name in STEPS}
    with (
        open(root / "log", "w", encoding="utf-8") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        for name, mark in STEPS.items():
            begin = time.perf_counter()
            while process.poll() is None and not (data / mark).exists():
                for measure, value in memory_of(process.pid).items():
                    steps[name][measure] = max(value, steps[name].get(measure, 0.0))
                time.sleep(SECONDS_BETWEEN_LOOKS)
            steps[name] = {"seconds": time.perf_counter() - begin, **steps[name]}
            say(f"  {name}: " + ", ".join(f"{measure} {value:.2f}" for measure, value in steps[name].items()))
    if process.returncode:
        said = (root / "log").read_text(encoding="utf-8")[-2000:]
        raise StudyError(f"`dontstop prepare` ended with {process.returncode}: {said}", "0", "mend what it says")
    return steps


def memory_of(pid: int) -> dict[str, float]:
    """Return the gigabytes that a process and all below it hold now."""
    rss, pss = [], []
    try:
        command = psutil.Process(pid)
        for process in (command, *command.children(recursive=True)):
            found = process.memory_full_info()
            rss.append(found.rss / 1e9)
            pss.append(getattr(found, "pss", math.nan) / 1e9)
    except psutil.Error:  # one has just ended: the next look will tell
        return {}
    return {
        "sum_rss_gigabytes": sum(rss),
        "sum_pss_gigabytes": sum(pss),
        "command_rss_gigabytes": rss[0],
        "worker_rss_gigabytes": max(rss[1:], default=0.0),
        "num_processes": float(len(rss)),
    }


def check(data: Path, shards: list[Shard]) -> dict:
    """Hold what was prepared to what was planted, and return its manifest."""
    manifest, stores = files.read_json(data / "manifest.json"), files.read_json(data / "tokens" / "manifest.json")
    num_blocks = sum(shard.num_blocks for shard in shards)
    planted = {name: number * (num_blocks - len(CORPORA)) for name, number in PLANTED.items() if name != "quoting"}
    expected = {"documents_read": BLOCK * num_blocks} | {f"documents_{name}": n for name, n in planted.items()}
    if manifest["cleaning"] != expected:
        raise StudyError(f"{manifest['cleaning']}", f"{expected}, as planted", "mend the preparation of text")
    for kind, title in (("corpora", "domains"), ("held_out", "held_out")):
        for name, size in manifest[title].items():
            if (found := stores["stores"][f"{kind}/{name}"]["num_documents"]) != size["num_documents"]:
                raise StudyError(f"{found} documents in {kind}/{name}", f"{size['num_documents']}", "mend the tokens")
    return manifest
