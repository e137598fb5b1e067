"""Figures show what they are given, leave nothing behind in pyplot, and come out byte for byte the same."""

import matplotlib.pyplot
import numpy as np
import pandas as pd
import pytest

from dontstop import paper
from dontstop.report import figures, tables

DOMAINS = ["symbolic_math", "numerical"]
TASKS = {f"{domain}_{kind}": domain for domain in DOMAINS for kind in ("topic", "role")}


def square(names):
    return pd.DataFrame(np.arange(len(names) ** 2).reshape(len(names), -1) + 10.0, index=names, columns=names)


def measured():
    table = pd.DataFrame({"vocabulary_overlap": [44.0, 50.0], "jensen_shannon": [0.5, 0.4]}, index=DOMAINS)
    return table.assign(
        vocabulary_overlap_low=[43.0, 49.0], vocabulary_overlap_high=[45.0, 51.0], proxy_a_distance=np.nan
    )


def points():
    gains = pd.DataFrame({"difference": [1.0, 2.0, -1.0, 0.5]}, index=list(TASKS))
    gains = gains.assign(difference_low=gains["difference"] - 1, difference_high=gains["difference"] + 1)
    return tables.gain_against_distance(gains, measured(), TASKS)


ARMS = ("base", "dapt", "not_dapt")
PAIRS = {"dapt_gain": ("dapt", "base"), "dapt_over_not_dapt": ("dapt", "not_dapt")}


def records():
    rows = [(t, a, s) for t in TASKS for a in ("base", "dapt", "not_dapt") for s in (0, 1)]
    table = pd.DataFrame(rows, columns=["task", "arm", "seed"])
    return table.assign(test_score=np.linspace(0.5, 0.7, len(rows)), degenerate=False)


def table3():
    gains = pd.DataFrame({"difference": 1.0, "difference_low": 0.0, "difference_high": 2.0}, index=[*TASKS, "mean"])
    gains = gains.assign(p_value=0.01, p_holm=0.02)
    both = dict.fromkeys(PAIRS, gains)
    return tables.score_table(records(), ARMS, list(TASKS), [0, 1], both, paper.table3(), PAIRS)


def best():
    return pd.DataFrame(0.25, index=[*TASKS, "mean"], columns=["base", "dapt", "tapt", "dapt_tapt"])


def tapt_curve():
    rows = {"num_epochs": [0, 5, 10], "dev_mean": [50.0, 52, 51], "test_mean": [49.0, 51, 51]}
    return pd.DataFrame(rows).assign(task=next(iter(TASKS)), dev_std=1.0, test_std=np.nan)


def cross_task():
    losses = pd.DataFrame(4.0, index=["base", *(f"tapt_{task}" for task in TASKS)], columns=list(TASKS))
    return figures.cross_task_loss(losses, losses - 4.1, TASKS)


def curve():
    return pd.DataFrame({"num_tokens": [1e6, 2e6, 3e6], "masked_lm_loss": [6.0, 5.0, 4.5]})


def forgetting():
    losses = square(["general", *DOMAINS]).set_axis(["base", *(f"dapt_{d}" for d in DOMAINS)])
    return figures.forgetting(
        losses, tables.loss_changes(losses), paper.table12(), tables.loss_changes(paper.table12())
    )


DRAWN = {
    "figure2_overlap": lambda: figures.figure2_overlap(square(["general", *DOMAINS]), paper.figure2(), 500),
    "task_domain_overlap": lambda: figures.task_domain_overlap(
        pd.DataFrame(30.0, index=list(TASKS), columns=["general", *DOMAINS]), TASKS
    ),
    "distances": lambda: figures.distances(measured()),
    "loss_curves": lambda: figures.loss_curves({"base": curve(), "dapt_numerical": curve()}),
    "arm_scores": lambda: figures.arm_scores(records(), table3(), ARMS, PAIRS, "What does it bring?"),
    "probability_best": lambda: figures.probability_best(best()),
    "tapt_curve": lambda: figures.tapt_curve(tapt_curve()),
    "cross_task_loss": cross_task,
    "power_curve": lambda: figures.power_curve(
        pd.DataFrame({"points": [0.0, 1, 2], "task": [5, 30, 80], "task_holm": [0, 10, 60], "mean": [5, 90, 100]})
    ),
    "gain_against_distance": lambda: figures.gain_against_distance(points()),
    "forgetting": forgetting,
}


def texts(figure):
    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_asks_a_question_and_leaves_pyplot_alone(name):
    before = dict(matplotlib.rcParams)
    figure = DRAWN[name]()
    assert any("?" in text for text in texts(figure))
    assert matplotlib.pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", ["figure2_overlap", "gain_against_distance"])
def test_same_data_same_bytes(name, tmp_path):
    for folder in ("one", "two"):
        figures.write_figure(DRAWN[name](), tmp_path / folder / f"{name}.v1")
    for kind in ("svg", "png"):
        one, two = ((tmp_path / folder / f"{name}.v1.{kind}").read_bytes() for folder in ("one", "two"))
        assert one == two
    assert b"<dc:date>" not in (tmp_path / "one" / f"{name}.v1.svg").read_bytes()
    assert len(list((tmp_path / "one").iterdir())) == 2


def test_notebooks_show_a_figure_without_pyplot():
    assert DRAWN["distances"]()._repr_png_().startswith(b"\x89PNG")


def test_overlap_shows_every_pair_and_hides_the_diagonal():
    shown = texts(DRAWN["figure2_overlap"]())
    assert "54.1" in shown and "11.0" in shown and "100.0" not in shown
    assert "ours (the 500 most frequent)" in shown


def test_distances_leave_out_what_was_not_measured_and_put_farther_to_the_right():
    left, right = DRAWN["distances"]().axes
    assert left.xaxis_inverted() and not right.xaxis_inverted()
    assert right.get_xlabel().startswith("Jensen-Shannon")


def test_gains_stand_at_the_tasks_height():
    left, right = DRAWN["arm_scores"]().axes
    assert [label.get_text() for label in left.get_yticklabels()][-1] == "mean"
    assert len(left.get_yticks()) == 5 and right.get_xlabel().startswith("difference")


def test_correlations_are_shown_as_given():
    given = pd.DataFrame(
        {"spearman": [0.25, np.nan], "low": [-0.5, np.nan], "high": [0.75, np.nan]},
        index=["vocabulary_overlap", "jensen_shannon"],
    )
    titles = [axes.get_title(loc="left") for axes in figures.gain_against_distance(points(), given).axes]
    assert titles == ["rank correlation ρ = 0.25 [−0.50, 0.75]", "the order of the tasks is not defined"]


def test_labels_of_points_do_not_touch_each_other():
    figure = DRAWN["gain_against_distance"]()
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) == len(TASKS)
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_points_without_intervals_are_drawn_without_bars():
    bare = points().assign(gain_low=np.nan, gain_high=np.nan)
    assert figures.gain_against_distance(bare).axes[0].get_ylabel() == "gain of DAPT, points"


def test_every_arm_has_a_colour_of_its_own():
    arms = [*figures.ARM_COLOURS, *(f"{kind}_tapt_{k}" for kind in ("knn", "rand") for k in (5, 15, 50))]
    arms += [f"knn_tapt_15_{selector}" for selector in ("tfidf", "encoder", "bm25", "dsir")]
    colours = figures.colours_of(arms)
    assert list(colours) and len({colour.lower() for colour in colours.values()}) == len(arms)
