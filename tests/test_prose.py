"""Prose of the notebooks: what stands there holds for every profile; what a profile decides is filled in."""

import json
import re
from itertools import chain

import numpy as np
import pandas as pd
import pytest

from conftest import PROJECT
from dontstop.design.needs import Design
from dontstop.design.plan import NOTEBOOKS
from dontstop.profiles import Paths, load_profile, profile_names
from dontstop.report import descriptions, labels, readings
from dontstop.runs.results import Results
from dontstop.studies import read_study
from dontstop.text import tasks
from dontstop.verdicts.losses import GENERAL, IN_DOMAIN

NAMES = sorted(path.stem for path in (PROJECT / "notebooks").glob("*.ipynb"))
COUNTED = "domains?|tasks?|texts?|epochs?|neighbours?|replicates?|steps?|labels?|encoders?|documents?|classes|arms?"
NUMBERS = r"\d[\d,.]*|two|three|four|five|six|seven|eight|nine|ten|twelve|thirteen|hundred"
# A count of what a profile decides: "eight tasks", "100 labelled texts", "four of the domains".
COUNT = re.compile(rf"\b(?:{NUMBERS})\s+(?:of\s+)?(?:the\s+)?(?:[a-z-]+\s+)?(?:{COUNTED})\b", re.IGNORECASE)
# Sentences on the paper, on what a cell by hand does, on exercises and on the rule may count: no profile decides that.
FIXED = re.compile(
    r"paper|RoBERTa|authors|HyperPartisan|by hand|by its domain's other|Table \d|differences", re.IGNORECASE
)
BY_HAND = ("ten documents", "ten steps", "twenty steps", "two texts", "two encoders", "two tasks", "both tasks")
BY_HAND += ("two halves", "three sentences", "eight tasks tried", "thirteen claims")


def markdown(name: str) -> list[str]:
    cells = json.loads((PROJECT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


def sentences(name: str) -> list[str]:
    """Cut a notebook's prose into sentences, each exercise and line of a list by itself."""
    lines = chain.from_iterable(cell.splitlines() for cell in markdown(name))
    return [sentence for line in lines for sentence in re.split(r"(?<=[.?!:;])\s+", line)]


@pytest.mark.parametrize("name", NAMES)
def test_prose_that_stands_still_names_nothing_that_a_profile_decides(name):
    text = "\n".join(markdown(name))
    docstrings, papers = read_study("docstrings"), read_study("paper")
    own = {task.name for task in (*docstrings.tasks, *papers.tasks)}
    own |= {one.display_name for one in (*docstrings.tasks, *docstrings.domains)}
    own |= {f"`{profile}`" for profile in profile_names(PROJECT)} | {"docstring"}
    assert not [word for word in own if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text, re.IGNORECASE)]


@pytest.mark.parametrize("name", NAMES)
def test_prose_that_stands_still_counts_nothing_that_a_profile_decides(name):
    found = [(m[0], s) for s in sentences(name) if not FIXED.search(s) for m in COUNT.finditer(s)]
    assert not [(count, s) for count, s in found if not count.lower().startswith(BY_HAND)]


def test_a_count_of_the_profiles_is_found():
    for sentence in (
        "Each of the four domains has text.",
        "It reads 500 training texts.",
        "A hundred epochs mask all.",
    ):
        assert COUNT.search(sentence)


# What is filled in -----------------------------------------------------------------------------------------------


class Fabricated(Results):
    """A profile with text that is counted and not there."""

    def manifest(self):
        splits = {"train": 60, "dev": 40, "test": 80}
        entry = {"labels": ["a", "b", "c"], "splits": {name: {"num_examples": num} for name, num in splits.items()}}
        sizes = {name: {"num_bytes": 2_500_000} for name in self.texts}
        return {"domains": sizes, "tasks": {task.name: entry for task in self.tasks}}

    @property
    def design(self):
        return Design(self.profile, self.tasks, frozenset())


def fabricated(name: str, notebook: str = "02_dapt") -> Fabricated:
    profile = load_profile(name, PROJECT)
    lacking = profile.text.may_lack
    some = [task for task in tasks.wanted_tasks(profile) if task.name not in lacking]
    return Fabricated(profile, Paths(name, PROJECT), some, notebook)


def numbers_in(text: str) -> set[float]:
    return {float(number.replace(",", "")) for number in re.findall(r"(?<![\w.-])\d[\d,]*(?:\.\d+)?", text)}


def settings_of(value) -> set[float]:
    """Collect every number of a profile's settings."""
    if isinstance(value, dict | list | tuple):
        return set().union(*map(settings_of, value.values() if isinstance(value, dict) else value), set())
    return {float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else set()


every_profile = pytest.mark.parametrize("profile", ["smoke", "laptop", "mini"])


@every_profile
def test_what_is_filled_in_has_the_profiles_numbers_and_names(profile):
    study = fabricated(profile)
    told = [of(study).data for of in (descriptions.text, descriptions.tasks, descriptions.schedule)]
    told += [descriptions.selection(study).data, descriptions.differences(study, "**More.**").data]
    known = settings_of(study.profile.model_dump()) | {len(study.tasks), len(study.domains), 3, 60, 80, 2.5, 1}
    assert numbers_in(" ".join(told)) <= known
    assert f"It has {len(study.domains)} domains: " in told[0] and f"{len(study.tasks)} tasks (" in told[1]
    assert f"draws {study.profile.labels.primary:,} to carry labels" in told[1] and "60 training texts" in told[1]
    assert f"{study.profile.tapt.num_steps:,} steps at most" in told[2]
    assert all(task.display_name in told[1] for task in study.tasks)
    assert ("docstring" in " ".join(told)) == (study.profile.text.source == "docstrings")
    assert "nan" not in " ".join(told) and "None" not in " ".join(told)


@every_profile
@pytest.mark.parametrize("notebook", list(NOTEBOOKS)[1:])
def test_the_table_of_arms_has_those_that_the_notebook_runs(profile, notebook):
    study = fabricated(profile, notebook)
    table = descriptions.arms(study).set_index("arm")
    wanted = {arm.name for some, of in study.design.groups(NOTEBOOKS[notebook]) if of for arm in some}
    assert set(table.index) == wanted
    replicates = {arm.name: len(study.design.replicates_of(arm)) for arm in study.arms()}
    told = table["num_tasks"] * table.index.map(replicates) * len(study.profile.seeds)
    assert table["num_runs"].tolist() == told.tolist()
    assert not table["reads"].str.contains("None").any()


def test_arms_say_what_they_read():
    reads = descriptions.arms(fabricated("laptop", "06_knn_tapt")).set_index("arm")["reads"]
    assert reads["knn_tapt_5_bm25"] == "its training texts, without labels, and their neighbours (k = 5, by BM25)"
    assert descriptions.arms(fabricated("laptop", "04_dapt_tapt"))["reads"].tolist()[0] == (
        "text of its domain; then its training texts, without labels"
    )


def test_profiles_are_told_by_the_first_lines_of_their_files():
    table = descriptions.profiles().set_index("profile")["about"]
    assert set(table.index) == set(profile_names()) and table["smoke"].startswith("Seconds of everything")


# What a figure shows ----------------------------------------------------------------------------------------------


def effects(*values: float, low: float = np.nan) -> pd.DataFrame:
    rows = [(f"task_{k}", value, low, low + 9) for k, value in enumerate(values)] + [
        ("mean", np.mean(values), low, low + 9)
    ]
    return pd.DataFrame(rows, columns=["task", "effect", "low", "high"]).assign(contrast="dapt_minus_base")


def test_gains_are_read_off_with_their_ends():
    told = readings.gains(effects(2.0, -1.0, 0.5)).data
    assert told == (
        "- **DAPT − base**: +0.5 points (one replicate: no interval) over all tasks, above zero on 2 of 3 "
        "tasks; highest on task 0 (+2.0), lowest on task 1 (−1.0)."
    )
    assert "[+1.0, +10.0] over all tasks, above zero on 2 of 2" in readings.gains(effects(2.0, 3.0, low=1.0)).data
    many = [effects(2.0, low=-1.0 if k else 1.0).assign(contrast=f"dapt_minus_arm_{k}") for k in range(5)]
    told = readings.gains(pd.concat(many)).data
    assert told.count("**DAPT − ") == 1 and told.endswith("Of the other 4 differences none is clear of zero.")
    assert readings.gains(pd.concat(many[1:])).data.count("\n") == 3  # four contrasts are told one by one
    assert readings.gains(effects(1.0)[:0]).data == readings.NOT_RUN


def test_one_verdict_on_forgetting_is_told():
    def told(general: float) -> str:
        row = {"study": ["ours", "paper"], IN_DOMAIN: [-1.0, 9.0], GENERAL: [general, 9.0]}
        return readings.forgetting(pd.DataFrame(row)).data

    assert "for 1 of 1 DAPT encoder, by 1.00 nats" in told(0.4) and "the price of DAPT" in told(0.4)
    assert "had not finished" in told(-0.4) and "price" not in told(-0.4) and "next to nothing" in told(0.001)


def test_one_number_is_no_span():
    assert (labels.span([200, 200]), labels.span([40.0, 1200.0])) == ("200", "40 to 1,200")


def test_labels_replace_pretraining_or_do_not():
    def told(few: float, many: float, half: float) -> str:
        rows = [("base", 50, 0.0, 0.0), ("base", 500, 0.0, 0.0), ("dapt", 50, few, half), ("dapt", 500, many, half)]
        table = pd.DataFrame(rows, columns=["arm", "num_train", "gain", "half"])
        table = table.assign(low=table["gain"] - table["half"], high=table["gain"] + table["half"])
        return readings.labels_needed(table).data

    assert "with 50 labels and with 500, in points: DAPT +3.0 and +1.0; of 1 that gain" in told(3, 1, 0.5)
    assert "1 gain less with the most: **labels replace pretraining**" in told(3, 1, 0.5)
    assert "0 gain less with the most: **labels are not shown to replace pretraining**" in told(3, 1, 1.5)
    assert "nothing for labels to replace" in told(3, 1, 3.5) and "nothing for labels to replace" in told(-3, 1, 0.5)
    # Of one replicate, which has no interval, the gains themselves are told.
    assert "**labels replace pretraining**" in told(3, 1, np.nan) and "are not shown to replace" in told(3, 5, np.nan)


def test_words_and_texts_are_read_off():
    names = ["general", "near", "far"]
    matrix = pd.DataFrame([[100, 40, 20], [40, 100, 30], [20, 30, 100.0]], names, names)
    assert readings.overlap(matrix, "general").data.startswith(
        "**Near** shares most frequent words with the general text (40.0 %), **far** fewest (20.0 %)."
    )
    alone = readings.overlap(matrix.iloc[:2, :2], "general").data
    assert alone == "**Near** shares 40.0 % of its frequent words with the general text."
    some = read_study("docstrings").tasks[:2]
    own, other = (task.name for task in some)
    losses = pd.DataFrame([[3.0, 3.0], [2.0, 2.8], [2.8, 2.0]], ["base", f"tapt_{own}", f"tapt_{other}"], [own, other])
    assert "which is 20 %: **most of what TAPT learns is the task's own**" in readings.own_texts(losses, some).data


def test_a_trial_is_told_with_what_the_records_have():
    scores = pd.DataFrame({"arm": ["base", "dapt"], "num_steps": [9, 250], "score": [20.0, 22.5]})
    task = read_study("docstrings").tasks[0]
    told = readings.tried(scores, task, {task.name: 4.7, "mean": 6.4}).data
    assert (
        "250 steps of DAPT move F1 from 20.0 to 22.5: **+2.5 points**" in told and "have +4.7 there, and +6.4" in told
    )
    assert "records" not in readings.tried(scores, task, {}).data
