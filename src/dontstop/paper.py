"""The paper's published numbers, as data: what every table and figure shows beside ours."""

import functools
import json
from importlib import resources
from typing import Any, Literal

import pandas as pd


@functools.cache
def _numbers() -> dict[str, Any]:
    return json.loads(resources.files("dontstop").joinpath("paper.json").read_text(encoding="utf-8"))


def _plain_table(name: str) -> pd.DataFrame:
    return pd.DataFrame(_numbers()[name]["rows"], columns=_numbers()[name]["columns"])


def _score_table(name: str) -> pd.DataFrame:
    content = _numbers()[name]
    columns = [f"{arm}_{part}" for arm in content["arms"] for part in ("mean", "std")]
    rows = {task: [number for cell in cells for number in cell] for task, cells in content["rows"].items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("task")


def table1() -> pd.DataFrame:
    """Return the paper's corpora and their masked-LM loss before and after DAPT; `PT` is RoBERTa's own text.

    Returns:
        Columns domain, num_documents, num_tokens, gigabytes, loss_before, loss_after.

    Source: Table 1.
    """
    return _plain_table("table1").astype({"num_documents": "Int64", "num_tokens": "Int64"})


def figure2() -> pd.DataFrame:
    """Return the paper's overlap of frequent words between domains, percent, a square table. Source: Figure 2."""
    content = _numbers()["figure2"]
    return pd.DataFrame(content["rows"], index=content["domains"], columns=content["domains"]).rename_axis("domain")


def table2() -> pd.DataFrame:
    """Return the paper's tasks: domain, sizes of the splits, classes, metric, resource level.

    Source: Table 2, and the captions of Tables 3, 7 and 8 for the metric.
    """
    sizes = {column: "Int64" for column in ("num_train", "num_unlabelled", "num_dev", "num_test", "num_classes")}
    return _plain_table("table2").astype(sizes)


def table3() -> pd.DataFrame:
    """Return the paper's test F1 x 100 of base, DAPT and not-DAPT: mean and std, one row a task. Source: Table 3."""
    return _score_table("table3")


def table5() -> pd.DataFrame:
    """Return the paper's test F1 x 100 of base, DAPT, TAPT and both: mean and std, one row a task. Source: Table 5."""
    return _score_table("table5")


def table6() -> pd.DataFrame:
    """Return the paper's test F1 x 100 of TAPT and transfer-TAPT; `verified` is False where we could not check.

    Source: Table 6.
    """
    return _score_table("table6").assign(verified=pd.Series(_numbers()["table6"]["verified"]))


def table7() -> pd.DataFrame:
    """Return the paper's F1 x 100 of TAPT and curated TAPT, from the base encoder and after DAPT. Source: Table 7."""
    return _score_table("table7")


def table8() -> pd.DataFrame:
    """Return the paper's test F1 x 100 of TAPT with 50, 150 and 500 neighbours, beside base, TAPT, random text, DAPT.

    Source: Table 8; RCT-500's curated TAPT, from Table 7.
    """
    return _score_table("table8")


def table9() -> pd.DataFrame:
    """Return the paper's costs on RCT-500: columns arm, num_steps, num_documents, num_bytes, score (F1 x 100).

    Source: Table 9.
    """
    return _plain_table("table9")


def task_names() -> pd.Series:
    """Return how the paper spells its tasks, by id; RCT-500 is RCT with 500 training texts (section 5)."""
    return pd.concat([table2().set_index("task")["name"], pd.Series({"rct-500": "RCT-500"})])


def table12() -> pd.DataFrame:
    """Return the paper's masked-LM loss of every encoder (row) on every held-out sample (column). Source: Table 12."""
    content = _numbers()["table12"]
    table = pd.DataFrame.from_dict(content["rows"], orient="index", columns=content["held_out"])
    return table.rename_axis("encoder")


def table13() -> pd.DataFrame:
    """Return the paper's pretraining settings, of DAPT and of TAPT for tasks below 5,000 examples. Source: Table 13."""
    return _plain_table("table13").set_index("setting")


def table14() -> pd.DataFrame:
    """Return the paper's fine-tuning settings, for low- and high-resource tasks. Source: Table 14."""
    return _plain_table("table14").set_index("setting")


def not_dapt(reading: Literal["paper", "code"] = "paper") -> pd.Series:
    """Return the irrelevant domain whose encoder stands in for each domain's, as the paper or its code has it.

    Source: section 3.3, and the authors' scripts/deploy.sh.
    """
    return pd.Series(_numbers()["not_dapt"][reading], name="not_dapt").rename_axis("domain")


def errata() -> pd.DataFrame:
    """Return what the published numbers leave open, print wrongly or contradict: columns where, what."""
    return pd.DataFrame(_numbers()["errata"], columns=["where", "what"])


def dapt_gains() -> pd.DataFrame:
    """Return the paper's gain of DAPT per task beside its domain's distances from RoBERTa's text.

    Returns:
        Index task; columns domain, name, gain (F1 x 100), vocabulary_overlap (percent), masked_lm_loss.

    Source: computed from Table 3, Figure 2 and Table 1.
    """
    table = table2().set_index("task")[["domain", "name"]]
    scores = table3()
    return table.assign(
        gain=scores["dapt_mean"] - scores["base_mean"],
        vocabulary_overlap=table["domain"].map(figure2()["PT"]),
        masked_lm_loss=table["domain"].map(table1().set_index("domain")["loss_before"]),
    )
