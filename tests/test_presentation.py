"""What is shown is rounded and merged, and nothing is lost from it; what is written can be read again exactly."""

import numpy as np
import pandas as pd

from dontstop.report import presentation


def test_display_rounds_and_merges_and_leaves_the_table_alone():
    table = pd.DataFrame(
        {"task": ["x"], "n": [12_345], "base_mean": [61.26], "base_std": [1.44], "gain": [-0.04], "gain_low": [-1.26],
         "gain_high": [np.nan], "loss": [4.0], "done": [True]}
    )  # fmt: skip
    shown = presentation.for_display(table)
    assert shown.iloc[0].to_dict() == {
        "task": "x", "n": "12,345", "base": "61.3 (1.4)", "gain": "0.0", "loss": "4.0", "done": "yes",
    }  # fmt: skip
    assert table["base_mean"].item() == 61.26
    both = pd.DataFrame({"gain": [-0.44], "gain_low": [-1.0], "gain_high": [0.25]})
    assert presentation.for_display(both, 2)["gain"].item() == "−0.44 [−1.00, 0.25]"


def test_markdown_by_hand():
    table = pd.DataFrame({"name": ["a|b", "c"], "score": [1.25, None]})
    assert presentation.to_markdown(table, 2).splitlines() == [
        "| name | score |",
        "|------|------:|",
        r"| a\|b |  1.25 |",
        "| c    |     – |",
    ]


def test_p_values_keep_three_decimals():
    shown = presentation.for_display(pd.DataFrame({"p_value": [0.0412], "gain_p": [0.5], "gain": [1.26]}))
    assert shown.iloc[0].tolist() == ["0.041", "0.500", "1.3"]


def test_notebooks_show_every_row_whole_and_nothing_as_markup():
    table = pd.DataFrame({"name": ["<b>", "a.b"], "score": [-1.0, 2.0]})
    shown = presentation.for_display(table)._repr_html_()
    assert "&lt;b&gt;" in shown and "a.<wbr>b" in shown and shown.count("<tr>") == 3
    assert shown.count("text-align: right") == 3  # the column of numbers, and its head
