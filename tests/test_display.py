"""What is shown is rounded and merged, and nothing is lost from it; what is written can be read again exactly."""

import numpy as np
import pandas as pd
import pytest

from dontstop.design.arms import ARMS, knn_tapt, rand_tapt, short_tapt
from dontstop.errors import counted
from dontstop.report import display, labels


def test_values_are_rounded_and_merged_with_std_and_interval_and_the_table_left_alone():
    table = pd.DataFrame({"task": ["x"], "score": [61.26], "score_low": [60.0], "score_high": [62.04], "n": [12_345]})
    table = table.assign(effect=-0.44, low=-1.0, high=0.25, loss=4.0, done=True)
    shown = display.readable(table)
    assert shown.iloc[0].tolist() == ["x", "61.3 [60.0, 62.0]", "12,345", "−0.44 [−1.00, +0.25]", "4.0", "yes"]
    assert table["score"].item() == 61.26
    unknown = display.readable(table.assign(high=np.nan))
    assert unknown["difference"].item() == "−0.44"


def test_columns_of_two_levels_are_an_arms_mean_and_std_and_a_contrasts_effect_interval_and_p():
    columns = [("task", ""), ("dapt", "mean"), ("dapt", "std"), ("base", "mean"), ("base", "std")]
    columns += [("dapt_minus_base", part) for part in ("effect", "low", "high", "p")]
    row = ["x", 61.26, 1.44, 60.0, np.nan, 1.26, 0.2, 2.3, 0.0412]
    table = pd.DataFrame([row], columns=pd.MultiIndex.from_tuples(columns))
    shown = display.readable(table)
    assert shown.columns.tolist() == ["task", "DAPT", "base", "DAPT − base", "DAPT − base: p"]
    assert shown.iloc[0].tolist() == ["x", "61.3 (1.4)", "60.0", "+1.3 [+0.2, +2.3]", "0.041"]
    flat = ["task", "dapt_mean", "dapt_std", "base_mean", "base_std", "dapt_minus_base"]
    assert display.flat(table).columns.tolist()[:6] == flat and "dapt_minus_base_p" in display.flat(table)


def test_a_notebook_shows_scores_no_wider_than_a_page_and_files_have_every_column():
    arms, parts = ["dapt", "base", "tapt", "dapt_tapt"], ("effect", "low", "high", "p")
    contrasts = ["dapt_minus_base", "tapt_minus_base", "dapt_tapt_minus_base", "dapt_tapt_minus_dapt"]
    columns = [("task", ""), *((arm, part) for arm in arms for part in ("mean", "std"))]
    columns += [(contrast, part) for contrast in contrasts for part in parts]
    columns += [("num_replicates", ""), ("num_seeds", ""), ("num_degenerate", "")]
    table = pd.DataFrame([["x", *[1.0] * (len(columns) - 1)]], columns=pd.MultiIndex.from_tuples(columns))
    shown = display.styled(table).data.columns.tolist()
    assert shown == ["task", "DAPT", "base", "TAPT", "DAPT+TAPT"]
    few = table.drop(columns=contrasts[:1], level=0)
    assert display.styled(few).data.columns.tolist()[5:] == [labels.column(name) for name in contrasts[1:]]
    assert display.to_csv(table).splitlines()[0].count(",") == len(columns) - 1
    many = [("task", ""), *((f"knn_tapt_{k}", part) for k in range(8) for part in ("mean", "std"))]
    wide = pd.DataFrame([["x", *[1.0] * 16]], columns=pd.MultiIndex.from_tuples(many))
    assert display.styled(wide).data.iloc[0].tolist() == ["x", *["1.0"] * 8]
    assert "1.0 (1.0)" in display.styled(wide.iloc[:, :-2]).data.iloc[0].tolist()
    claims = pd.DataFrame({"claim": ["C1"], "place": ["Table 3"], "margin": [1.0], "effect": [2.0]})
    assert display.styled(claims).data.columns.tolist() == ["claim", "difference"]
    assert "Table 3" in display.to_markdown(claims)


def test_ratios_are_factors_and_p_values_keep_three_decimals():
    table = pd.DataFrame({"task": ["tflops", "x"], "effect": [0.41, 2.0], "low": [0.3, -1], "high": [0.5, 5]})
    shown = display.readable(table.assign(p_holm=[np.nan, 0.5]), decimals=1)
    assert shown["difference"].tolist() == ["×0.4 [×0.3, ×0.5]", "+2.0 [−1.0, +5.0]"]
    assert shown["p (Holm)"].tolist() == ["–", "0.500"]


def test_columns_without_an_entry_are_not_shown_in_notebooks_and_an_empty_table_says_so():
    frame = pd.DataFrame({"task": ["t", "u"], "reason": ["", ""], "p_value": [0.0004, np.nan], "score": [np.nan] * 2})
    shown = display.styled(frame).to_html()
    assert "reason" not in shown and "score" not in shown and "&lt;0.001" in shown and "max-height" not in shown
    assert "reason" in display.to_markdown(frame) and "<caption>" not in shown
    assert ">none</caption>" in display.styled(frame[:0]).to_html() and "reason" in display.styled(frame[:0]).to_html()
    assert "max-height" in display.styled(pd.DataFrame({"task": [str(k) for k in range(41)]})).to_html()


def test_equal_headings_are_told_apart_for_the_styler():
    assert len(set(display.readable(pd.DataFrame({"p_holm": [0.1], "p": [0.2]})).columns)) == 2


def test_markdown_escapes_what_would_end_a_cell():
    table = pd.DataFrame({"name": ["a|b", "c\n d"], "score": [1.25, None]})
    assert display.to_markdown(table, 2).splitlines() == [
        "| name   |   F1 × 100 |",
        "|:-------|-----------:|",
        r"| a\|b   |       1.25 |",
        "| c d    |          – |",
    ]
    assert display.to_markdown(pd.DataFrame({"task": []})).startswith("| task")


def test_notebooks_show_every_row_whole_and_nothing_as_markup():
    table = pd.DataFrame({"name": ["<b>bold</b>", "a" * 300], "score": [-1.0, 2.0]})
    shown = display.styled(table)
    html = shown.to_html()
    assert "&lt;b&gt;bold" in html and "<b>" not in html and "a" * 300 in html and html.count("<tr>") == 3
    assert html.count("text-align: right") == 1  # the column of numbers
    assert display.styled(table).to_html() == html and repr(shown).startswith("| name")
    other = display.styled(table.assign(score=3.0)).to_html()
    assert html.split('table id="')[1][:14] != other.split('table id="')[1][:14]  # two on one page do not meet


def test_written_files_keep_full_precision_in_csv(tmp_path):
    table = pd.DataFrame({"encoder": ["base", "dapt_x"], "x": [1 / 3, 2 / 3]}).set_index("encoder")
    shown = display.show(table, tmp_path / "tables" / "losses.v1", decimals=2)
    assert isinstance(shown, display.Table)
    assert sorted(p.name for p in (tmp_path / "tables").iterdir()) == ["losses.v1.csv", "losses.v1.md"]
    again = pd.read_csv(tmp_path / "tables" / "losses.v1.csv", index_col="encoder")
    pd.testing.assert_frame_equal(again, table, check_exact=True)
    assert "0.33" in (tmp_path / "tables" / "losses.v1.md").read_text()


@pytest.mark.parametrize(
    ("arm", "name"),
    [
        ("dapt_tapt", "DAPT+TAPT"),
        (knn_tapt(50), "50NN-TAPT"),
        ("knn_tapt_15_bm25", "15NN-TAPT (BM25)"),
        (rand_tapt(5).name, "RAND-TAPT (5)"),
        ("rand_tapt_15_bm25", "RAND-TAPT (15, BM25)"),
        ("knn_tapt_0", "0NN-TAPT"),
        ("not_dapt_2", "not-DAPT (2)"),
        (short_tapt(10), "TAPT (10 epochs)"),
        (short_tapt(1), "TAPT (1 epoch)"),
        ("naive_bayes", "naive Bayes"),
    ],
)
def test_arms_are_named_as_in_the_paper(arm, name):
    assert labels.arm(arm) == name


def test_retrieval_methods_are_named_alike_in_rows_and_columns():
    frame = pd.DataFrame({"selector": ["tfidf"], "tfidf": [100.0], "vampire": [3.0]})
    assert display.readable(frame).to_dict("records") == [
        {"retrieval method": "tf-idf", "tf-idf": "100.0", "VAMPIRE": "3.0"}
    ]


def test_every_known_arm_has_a_name_of_its_own():
    assert len({labels.arm(arm) for arm in ARMS}) == len(ARMS)


def test_signs_are_typographic_and_zero_has_no_minus():
    assert [labels.signed(value) for value in (1.25, -1.25, -0.04, 0)] == ["+1.2", "−1.2", "0.0", "0.0"]
    assert [labels.number(value, 2) for value in (-0.001, 1234.5, np.nan)] == ["0.00", "1,234", "–"]


def test_things_are_counted_in_the_number_that_they_have():
    found = [counted(number, "text") for number in (0, 1, 1200, "1", "2 to 5", "1.0")]
    assert found == ["0 texts", "1 text", "1,200 texts", "1 text", "2 to 5 texts", "1.0 texts"]
