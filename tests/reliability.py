"""The long tests' series of tries, and the page docs/reliability.md that tells of them and of the faults found."""

import collections
import datetime
import json
import math
import os
import platform
import random
import time
from collections.abc import Iterator
from pathlib import Path

from dontstop.machine import files
from dontstop.training import devices

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"
# Set by `make test-long`: the share of the long numbers that is tried, 1 for all; and the minutes after which a series
# of tries stops, to go on when the command is given again. Other runs try a few, and write nothing.
SHARE = float(os.environ.get("DONTSTOP_RELIABILITY", "0"))
MINUTES = float(os.environ.get("DONTSTOP_RELIABILITY_MINUTES", "inf"))
SECONDS_BETWEEN_SAVES = 1.0

HEAD = """# Reliability

What the long tests (`make test-long`) have tried, on which days and machine, and how loaded it was. They write this
page as each try ends; nobody edits it. Only tries without a fault are counted: every record, weight and table equal to
the bit to those of a run that nothing disturbed, nothing trained twice, nothing left over, no process that lives on; no
damage unnoticed, no traceback. Where another program stands beside it, its row reports what it did. `make test` tries a
few of each.

| tried | how often | by | on | machine | load |
|---|---|---|---|---|---|
"""
# Faults that were found, what was mended, and the test that holds it.
FAULTS = [
    ("state file left after a killed training was resumed", "runs/scratch.py removes it with the result", "test_kill"),
    ("same profile twice at once: parts deleted", "a second command waits and says for whom", "test_two_at_once"),
    ("two containers of one name on one disk: the second is refused", "the lock tells, no name", "test_two_at_once"),
    ("a disk without locks: traceback", "told by name", "test_runner"),
    ("two profiles sharing a base: encoder removed while read", "each result has its own lock", "test_two_at_once"),
    ("damaged weights, stores, records: silent wrong results", "digests, compared before use", "test_damage"),
    ("damaged files: tracebacks", "moved to work/damaged and made again", "test_damage"),
    ("long integers, invalid UTF-8 in Parquet: tracebacks", "refused with file, line, reason", "test_bad_text"),
    ("1 MB of gz takes 2.4 GB", "lines and archives are bounded, by settings", "test_bad_text"),
    ("custom code of an encoder can run; names escape the root", "machine/pretrained.py, inputs.py", "test_hostile"),
    ("one worker killed: the whole run stops", "its job is done again, others go on", "test_runner, test_processes"),
    ("a killed worker took its idle neighbours along", "a pool ends its own processes alone", "test_runner"),
    ("parts of a selection left by a kill", "swept where they stand", "test_kill"),
    ("a training state left by a kill between its end and its removal", "removed with the result", "test_kill"),
    ("a damaged note of libraries' versions stopped the study", "told, and not read", "test_jobs, test_doctor"),
    ("labels and texts reach .md, .csv and HTML raw", "escaped where they are written", "test_display, test_hostile"),
    (
        "links out of a mirror, or of one's own folder, are followed",
        "only if asked for",
        "test_hostile, test_own_files",
    ),
    ("YAML without bounds; a key twice", "size, depth, repetitions; refused", "test_hostile, test_profiles"),
    ("terminal escapes of texts reach the terminal", "shown as text", "test_hostile"),
    ("a line of 300 MB takes 2.2 GB", "bounded, by a setting", "test_bad_text"),
    ("advice to read pickles", "weights are safetensors alone", "test_compatibility"),
    ("verdicts of two kinds of processors in one table", "each kind has its place", "test_one_answer, test_advice"),
    ("the doctor blind to offsets, selections, read-only folders", "it reads every digest", "test_doctor"),
    ("Ctrl-C: 39 lines of traceback", "one line; a second one ends at once", "test_interrupts"),
    ("a killed notebook calls its cells completed", "copies are whole or absent", "test_executed, test_ledger"),
    ("kernel killed, disk full, under a notebook: traceback", "three lines say so", "test_executed, test_kill_outside"),
    ("TMPDIR full reads as 'copy it anew'", "told as a full disk, by name", "test_folders"),
    ("an array cut short by a full disk: only 'requested and written'", "told as a full disk, by name", "test_kill"),
    ("/dev/shm full: traceback", "told as no room for shared memory", "test_runner, test_kill"),
    ("seconds and dates in committed results", "kept apart, or as first recorded", "test_executed, test_one_answer"),
    ("no way to check the committed study", "`make verify`", "test_verification"),
]


def wanted(few: int, many: int) -> int:
    """Return how many tries are wanted: a few in `make test`, the many, or a share of them, in `make test-long`."""
    return max(1, math.ceil(SHARE * many)) if SHARE else few


class Series:
    """Tries of one kind, written down as they end, so that one that is stopped goes on where it was.

    A series that was ended begins anew.

    Args:
        what: Is tried.
        test: Tries it, a file of tests/.
        few, many: Units wanted in a short and in a long run.
        unit: What is counted to that number.
        of: What one pass of the loop is; the same, unless given.
    """

    def __init__(self, what: str, test: str, few: int, many: int, unit: str = "tries", of: str | None = None):
        self.what, self.unit = what, unit
        self._test, self._of, self._wanted = test, of or unit, wanted(few, many)
        self._place = PROJECT / "work" / "reliability" / f"{files.fingerprint(what)[:16]}.json"
        begun = files.read_json(self._place) if SHARE and self._place.is_file() else {"counts": {}}
        if begun["counts"].get(unit, 0) >= self._wanted:
            begun = {"counts": {}}
        self.counts = collections.Counter({self._of: 0, unit: 0} | begun["counts"])
        self._about = begun.get("about")

    def left(self) -> int:
        """Return how many are wanted still."""
        return max(0, self._wanted - self.counts[self.unit])

    def tries(self) -> Iterator[random.Random]:
        """Give what decides by chance in each try; one that fails is the first again when the series goes on."""
        begin = saved = time.monotonic()
        while self.left() and time.monotonic() - begin < 60 * MINUTES:
            before = self.counts.copy()
            try:
                yield random.Random(f"{self.what} {self.counts[self._of]}")
            except GeneratorExit:  # the try has failed
                self.counts = before
                self._save()
                raise
            self.counts[self._of] += 1
            if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                saved = time.monotonic()
                self._save()
        self._save()

    def _save(self) -> None:
        if SHARE and self.counts[self.unit]:
            about = tell(self.what, self._test, self.counts, self._about)
            files.write_json(self._place, {"counts": self.counts, "about": about})


def tell(what: str, test: str, counts: dict[str, int], about: dict | None = None) -> dict:
    """Write down what a long test has tried, and make the page anew; in a short run, do nothing.

    Args:
        about: Dates and loads of earlier tries, to which today's are added.

    Returns:
        These.
    """
    about = about or {"dates": [], "loads": []}
    if not SHARE:
        return about
    dates = [*about["dates"], datetime.datetime.now(datetime.UTC).date().isoformat()]
    loads = [*about["loads"], round(os.getloadavg()[0])]
    about |= {"dates": sorted({min(dates), max(dates)}), "loads": sorted({min(loads), max(loads)})}
    shown = {"dates": " to ".join(about["dates"]), "machine": machine(), "load": " to ".join(map(str, about["loads"]))}
    tried = ", ".join(f"{number:,} {name}" for name, number in counts.items())
    place = DOCS / "reliability.json"
    rows = files.read_json(place) if place.is_file() else {}
    rows[what] = {"tried": tried, "test": f"tests/{test}.py", **shown}
    files.write_json(place, rows)
    files.write_text(DOCS / "reliability.md", page(rows))
    return about


def machine() -> str:
    """Name this machine: cores, maker and instructions of its processor, system, Python."""
    about = devices.processor_capabilities().get("cpu_name", platform.processor()) or platform.machine()
    return f"{os.cpu_count()} cores, {about}, {platform.system()}, Python {platform.python_version()}"


def page(rows: dict[str, dict]) -> str:
    """Return the page."""
    told = ("tried", "test", "dates", "machine", "load")
    lines = [f"| {' | '.join([what, *(row[name] for name in told)])} |" for what, row in sorted(rows.items())]
    faults = [f"| {fault} | {mended} | {test} |" for fault, mended, test in FAULTS]
    head = "\n## Faults that were found, and what holds them off\n\n| fault | mended by | tested by |\n|---|---|---|\n"
    return HEAD + "\n".join(lines) + "\n" + head + "\n".join(faults) + "\n"


def written() -> tuple[str, str]:
    """Return the page as it stands, and as it should."""
    rows = json.loads((DOCS / "reliability.json").read_text(encoding="utf-8"))
    return (DOCS / "reliability.md").read_text(encoding="utf-8"), page(rows)
