"""The page docs/reliability.md, which the long tests write: what was tried, and where each fault was mended."""

import datetime
import json
import os
import platform
from pathlib import Path

from dontstop.machine import files
from dontstop.training import devices

DOCS = Path(__file__).resolve().parents[1] / "docs"
WRITES = "DONTSTOP_RELIABILITY"  # in the environment: set by `make test-long`, so that other runs write nothing

HEAD = """# Reliability

What the long tests (`make test-long`) have tried, on which day and machine. They write this page; nobody edits it. A
row stands here only if its test passed: every record, weight and table equal to the bit to those of a run that nothing
disturbed, nothing trained twice, nothing left over, no process that lives on; no damage unnoticed, no traceback. Where
another program stands beside it, its row reports what it did. `make test` tries a few of each.

| tried | how often | by | on | machine |
|---|---|---|---|---|
"""
# Faults found on 2026-11-25, what was mended, and the test that holds it.
FAULTS = [
    ("state file left after a killed training was resumed", "runs/scratch.py removes it with the result", "test_kill"),
    ("same profile twice at once: parts deleted", "a second command waits and says for whom", "test_two_at_once"),
    ("two profiles sharing a base: encoder removed while read", "each result has its own lock", "test_two_at_once"),
    ("damaged weights, stores, records: silent wrong results", "digests, compared before use", "test_damage"),
    ("damaged files: tracebacks", "moved to work/damaged and made again", "test_damage"),
    ("long integers, invalid UTF-8 in Parquet: tracebacks", "refused with file, line, reason", "test_bad_text"),
    ("1 MB of gz takes 2.4 GB", "lines and archives are bounded, by settings", "test_bad_text"),
    ("custom code of an encoder can run; names escape the root", "machine/pretrained.py, inputs.py", "test_hostile"),
    ("one worker killed: the whole run stops", "its job is done again, others go on", "test_runner, test_processes"),
    ("Ctrl-C: 39 lines of traceback", "one line; a second one ends at once", "test_interrupts"),
    ("a killed notebook calls its cells completed", "copies are whole or absent", "test_executed, test_ledger"),
    ("TMPDIR full reads as 'copy it anew'", "told as a full disk, by name", "test_folders"),
    ("seconds and dates in committed results", "kept apart, or as first recorded", "test_executed, test_one_answer"),
    ("no way to check the committed study", "`make verify`", "test_verification"),
]


def tell(what: str, tried: str, test: str) -> None:
    """Write down what a long test has tried without a fault, and make the page anew; in a short run, do nothing."""
    if not os.environ.get(WRITES):
        return
    place = DOCS / "reliability.json"
    rows = files.read_json(place) if place.is_file() else {}
    now = datetime.datetime.now(datetime.UTC).date().isoformat()
    rows[what] = {"tried": tried, "test": test, "date": now, "machine": machine()}
    files.write_json(place, rows)
    files.write_text(DOCS / "reliability.md", page(rows))


def times(number: int) -> str:
    """Write a number of repetitions as people do."""
    return "once" if number == 1 else f"{number:,} times"


def machine() -> str:
    """Name this machine: cores, maker and instructions of its processor, system, Python."""
    about = devices.processor_capabilities().get("cpu_name", platform.processor()) or platform.machine()
    return f"{os.cpu_count()} cores, {about}, {platform.system()}, Python {platform.python_version()}"


def page(rows: dict[str, dict]) -> str:
    """Return the page."""
    told = ("tried", "test", "date", "machine")
    lines = [f"| {' | '.join([what, *(row[name] for name in told)])} |" for what, row in sorted(rows.items())]
    faults = [f"| {fault} | {mended} | {test} |" for fault, mended, test in FAULTS]
    head = "\n## Faults that were found, and what holds them off\n\n| fault | mended by | tested by |\n|---|---|---|\n"
    return HEAD + "\n".join(lines) + "\n" + head + "\n".join(faults) + "\n"


def written() -> tuple[str, str]:
    """Return the page as it stands, and as it should."""
    rows = json.loads((DOCS / "reliability.json").read_text(encoding="utf-8"))
    return (DOCS / "reliability.md").read_text(encoding="utf-8"), page(rows)
