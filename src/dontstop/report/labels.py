"""What names, columns and numbers are called and how they are written: the one place for all tables and figures."""

import csv
import functools
import textwrap
from collections.abc import Iterable, Sequence, Sized
from importlib import resources
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd

from dontstop import paper
from dontstop.design import arms
from dontstop.design.arms import Arm
from dontstop.errors import counted
from dontstop.profiles import Selector
from dontstop.verdicts import losses
from dontstop.verdicts.claims import BYTES, FLOPS
from dontstop.verdicts.scores import MEAN

RATIOS = (FLOPS, BYTES)  # what the claim on costs compares: factors, not differences
P_DECIMALS = 3
_MINUS = "_minus_"  # between the two arms of a contrast, as `effects.over` names it
_MOST_EPOCHS, _MOST_NEIGHBOURS = 300, 1000
_MEASURED = {
    FLOPS: "compute (FLOPs)",
    BYTES: "storage (bytes of text)",
    losses.IN_DOMAIN: "loss on the own domain (nats)",
    losses.GENERAL: "loss on the general text (nats)",
}
_WORDS = {"dapt": "DAPT", "tapt": "TAPT", "lora": "LoRA"}


class Column(NamedTuple):
    """How a column is shown: its heading with the unit, its decimals, and whether its numbers bear a sign."""

    label: str
    decimals: int = 1
    signed: bool = False


def _rows(file: str) -> list[dict[str, str]]:
    return list(csv.DictReader(resources.files("dontstop.report").joinpath(file).read_text("utf-8").splitlines()))


def names(kind: str, column: str = "label") -> dict[str, str]:
    """Read what arms or selectors are called, or their colours: by name, of those that have one."""
    return {row["name"]: row[column] for row in _rows("names.csv") if row["kind"] == kind and row[column]}


COLUMNS = {r["name"]: Column(r["label"], int(r["decimals"]), r["signed"] == "yes") for r in _rows("columns.csv")}
SELECTORS, _NAMES = names("selector"), names("arm")


@functools.cache
def _known_arms() -> dict[str, Arm]:
    """Return every arm that a profile may ask for, by name."""
    numbers, selectors = range(_MOST_NEIGHBOURS + 1), (None, *get_args(Selector))
    made = [arms.short_tapt(epochs) for epochs in range(1, _MOST_EPOCHS + 1)]
    made += [arm(k, selector) for arm in (arms.knn_tapt, arms.rand_tapt) for k in numbers for selector in selectors]
    return {arm.name: arm for arm in made} | arms.ARMS


def known_arm(arm: str | Arm) -> Arm:
    """Return an arm by its name; a name that is none (naive Bayes, say) is taken for an arm without phases."""
    return arm if isinstance(arm, Arm) else _known_arms().get(arm, Arm(arm, ()))


def arm(arm: str | Arm) -> str:
    """Name an arm for a reader: 50NN-TAPT, as the paper does."""
    known = known_arm(arm)
    if known.name in _NAMES or not known.phases:
        return _NAMES.get(known.name) or spelt(known.name)
    last = known.phases[-1]
    if last.kind == "knn_tapt":
        return f"{last.k}NN-TAPT" + (f" ({SELECTORS[last.selector]})" if last.selector else "")
    if last.kind == "rand_tapt":
        return f"RAND-TAPT ({last.k}{f', {SELECTORS[last.selector]}' if last.selector else ''})"
    return f"TAPT ({counted(last.epochs, 'epoch')})" if last.epochs else spelt(last.name)


def with_arms(effects: pd.DataFrame) -> pd.DataFrame:
    """Add to effects of contrasts of two arms the columns arm and other: the arms' names."""
    sides = effects["contrast"].astype(object).str.partition(_MINUS)
    return effects.assign(arm=sides.get(0), other=sides.get(2))


def over_tasks(effects: pd.DataFrame) -> pd.DataFrame:
    """Return the effects in the mean over tasks, with their arms."""
    return with_arms(effects[effects["task"] == MEAN])


@functools.cache
def _of_paper() -> dict[str, str]:
    """Return how the paper spells its tasks and domains, by id."""
    return paper.task_names().to_dict() | {domain.lower(): domain for domain in paper.figure2()}


def spelt(name: Any) -> str:
    """Spell the id of a domain, task, encoder or measure, the paper's as it does: `tapt_ag` as `TAPT AGNews`."""
    if name in _MEASURED:
        return _MEASURED[name]
    words = str(name).split("_")
    for first in range(len(words)):
        if (known := _of_paper().get("_".join(words[first:]))) is not None:
            return " ".join([*filter(None, [first and spelt("_".join(words[:first]))]), known])
    return " ".join(_WORDS.get(word, word) for word in words)


def on_lines(name: str, width: int = 9) -> str:
    """Spell an id on lines of few letters, for a narrow column."""
    return textwrap.fill(spelt(name), width, break_long_words=False, break_on_hyphens=False)


def sentence(*parts: str) -> str:
    """Join parts of a sentence, the first letter large."""
    told = "".join(parts)
    return told[:1].upper() + told[1:]


def listing(parts: Sequence[object]) -> str:
    """Write a list in a sentence: `a, b and c`."""
    *most, last = map(str, parts or [""])
    return f"{', '.join(most)} and {last}" if most else last


def span(values: Iterable[float], decimals: int = 0) -> str:
    """Write from where to where numbers reach: `40 to 200`, or `200` where they are one."""
    least, most = (f"{value:,.{decimals}f}" for value in (min(values), max(values)))
    return least if least == most else f"{least} to {most}"


def extent(domains: Sized, tasks: Sized) -> str:
    """Say how large a study is: `4 domains, 8 tasks`."""
    return f"{counted(len(domains), 'domain')}, {counted(len(tasks), 'task')}"


def column(name: str) -> str:
    """Name a column for a reader: with its unit; an arm's or a contrast's by the names of the arms."""
    if name in COLUMNS:
        return COLUMNS[name].label
    if name in SELECTORS:
        return SELECTORS[name]
    a, minus, b = str(name).partition(_MINUS)
    if minus:
        return f"{arm(a)} − {arm(b)}"
    return arm(name) if name in _known_arms() or name in _NAMES else spelt(name)


def is_number(text: str) -> bool:
    """Whether a text is a number, as a file may spell it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def number(value: float, decimals: int = 1, *, signed: bool = False) -> str:
    """Write a number: a typographic minus, no minus before zero, no decimals from 1,000 on."""
    if pd.isna(value):
        return "–"
    rounded = round(float(value), decimals if abs(value) < 1000 else 0) + 0.0  # adding zero turns -0.0 into 0.0
    return f"{rounded:{'+' if signed and rounded else ''},.{decimals if abs(value) < 1000 else 0}f}".replace("-", "−")


def signed(value: float, decimals: int = 1) -> str:
    """Write a difference with its sign, for a sentence."""
    return number(value, decimals, signed=True)


def interval(low: float, high: float) -> str:
    """Write the bounds of a difference, for a sentence: `[+0.3, +1.8]`."""
    return f"[{signed(low)}, {signed(high)}]"


def percent(share: float) -> str:
    """Write a share of something, 0 to 1, for a sentence: `4.4 %`, or `under 0.1 %`."""
    return f"{number(100 * share)} %" if share >= 0.001 else "under 0.1 %"


def p_value(value: float) -> str:
    """Write a p-value for a sentence: `p = 0.042`, or `p < 0.001`."""
    sign, least = ("<", 10.0**-P_DECIMALS) if value < 10.0**-P_DECIMALS else ("=", value)
    return f"p\u00a0{sign}\u00a0{least:.{P_DECIMALS}f}"


def text(value: Any, decimals: int = 1, *, signed: bool = False) -> str:
    """Write a cell of a table: a number as `number` does, counts in full, nothing as a dash."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if value is None or value is pd.NA or isinstance(value, float | np.floating):
        return number(value, decimals, signed=signed)
    return str(value)
