"""Finding leaks in generated text on all cores: our index of hashed 5-grams beside a Python dictionary of them."""

import collections
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks import measuring, preparing
from dontstop.errors import StudyError
from dontstop.machine.processes import text_workers
from dontstop.machine.runner import say
from dontstop.profiles import Text
from dontstop.text import audit
from dontstop.text.words import words_of

OURS, PEER = "hashed 5-grams, vectorised", "a dictionary of 5-grams"
ACCENTS = str.maketrans("aeiou", "àéîöü")  # of every fifth document, since other characters take longer to fold


def benchmark(results: Path | None, *, num_repeats: int, megabytes: float) -> None:
    """Look for the dev and test texts of four tasks, and tell megabytes of corpus a second; both find the same."""
    num_blocks = max(2, round(megabytes * 1e6 / (preparing.BLOCK * preparing.BYTES_PER_DOCUMENT)))
    say(f"leaks: {num_blocks * preparing.BLOCK:,} documents")
    blocks, runs, leaking = [_block(k) for k in range(num_blocks)], [], {}
    with text_workers(measuring.NUM_CORES) as submit:  # which keep their indices from repeat to repeat
        for repeat, name in measuring.alternating((OURS, PEER), num_repeats):
            found = [part.get() for part in [submit("a block", _found, name, block) for block in blocks]]
            leaking[name] = [part[0] for part in found]
            looked, passed, busy = (sum(part[k] for part in found) for k in (1, 2, 3))
            speed = {"megabytes_per_second": measuring.NUM_CORES * looked / 1e6 / passed}
            speed["megabytes_per_core_second"] = looked / 1e6 / busy
            runs.append({"contender": name, "repeat": repeat, **speed, "others_share": 1 - busy / passed})
            say(f"  {name}: {speed['megabytes_per_core_second']:.1f} MB a core-second")
    if leaking[OURS] != leaking[PEER]:
        raise StudyError("leaks that one side finds alone", "the same leaks on both sides", "mend text/leakage.py")
    summary = measuring.summarise(runs, {OURS: {}, PEER: {}})
    times = measuring.ratio(summary, "megabytes_per_core_second", OURS, PEER, less_is_better=False)
    notes = [
        f"{num_blocks * preparing.BLOCK:,} documents, a fifth with accents, against {len(_texts()):,} dev and test "
        f"texts; {sum(map(len, leaking[OURS]))} leaks, which both found.",
        f"Ours is {times:.1f} times as fast. Neither generating the text nor building the index is counted: "
        f"megabytes_per_second are those of all {measuring.NUM_CORES} processes at once, megabytes_per_core_second of "
        "the time that they had a core.",
    ]
    measuring.write_tables(results, "leaks", "Leaks looked for in a corpus", summary, runs, notes)


@functools.cache
def _texts() -> list[str]:
    return [text for task in preparing.TASKS for split in ("dev", "test") for text in preparing.task_texts(task, split)]


def _block(number: int) -> list[str]:
    texts = preparing.block_of(preparing.Shard("cs", 0, 10**6, Path()), number)
    return [text.translate(ACCENTS) if k % 5 == 4 else text for k, text in enumerate(texts)]


def _found(name: str, texts: list[str]) -> tuple[list[int], int, float, float]:
    """Return which documents of a block leak, the bytes looked through, its seconds and CPU-seconds."""
    look = _finder(name)
    begin = time.perf_counter(), time.process_time()
    leaking = look(texts)
    passed, busy = time.perf_counter() - begin[0], time.process_time() - begin[1]
    return leaking, sum(len(text.encode()) for text in texts), passed, busy


@functools.cache
def _finder(name: str) -> Callable[[Sequence[str]], list[int]]:
    settings = Text()
    if name == OURS:
        index = audit.build_index(_texts())
        return lambda texts: np.flatnonzero(audit.find_leaks(index, texts, settings)[0]).tolist()
    holders, grams = collections.defaultdict(list), [_grams(text) for text in dict.fromkeys(_texts())]
    for k, own in enumerate(grams):
        for gram in own:
            holders[gram].append(k)

    def is_leak(text: str) -> bool:
        shared = collections.Counter(k for gram in _grams(text) for k in holders.get(gram, ()))
        return any(number >= settings.leak_containment * len(grams[k]) for k, number in shared.items())

    return lambda texts: [k for k, text in enumerate(texts) if is_leak(text)]


def _grams(text: str) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[k : k + 5]) for k in range(max(1, len(words) - 4))}
