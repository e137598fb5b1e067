"""Figures show what they are given, leave nothing behind in pyplot, and come out byte for byte the same."""

import matplotlib.pyplot
import numpy as np
import pandas as pd
import pytest

from dontstop import paper
from dontstop.errors import StudyError
from dontstop.report import (
    claim_plots,
    claims,
    display,
    gap_plots,
    gap_tables,
    guess_plots,
    plots,
    selection_plots,
    theme,
)
from dontstop.runs.arms import BASE, DAPT, NOT_DAPT, knn_tapt, rand_tapt
from dontstop.text.tasks import Task
from dontstop.verdicts.effects import over

DOMAINS = ["symbolic_math", "numerical"]
TASKS = [Task(f"{domain}_{kind}", domain, "macro_f1", kind, "") for domain in DOMAINS for kind in ("topic", "area")]
NAMES = [task.name for task in TASKS]
ARMS = ("base", "dapt", "not_dapt")


def square(names):
    return pd.DataFrame(np.arange(len(names) ** 2).reshape(len(names), -1) + 10.0, index=names, columns=names)


def measured():
    table = pd.DataFrame({"vocabulary_overlap": [44.0, 50.0], "jensen_shannon": [0.5, 0.4]}, index=DOMAINS)
    return table.assign(
        vocabulary_overlap_low=[43.0, 49.0], vocabulary_overlap_high=[45.0, 51.0], proxy_a_distance=np.nan
    )


def points():
    gains = pd.DataFrame({"task": NAMES, "effect": [1.0, 2.0, -1.0, 0.5]})
    gains = gains.assign(low=gains["effect"] - 1, high=gains["effect"] + 1)
    return gap_tables.gain_against_distance(gains, measured(), TASKS)


def runs(arms=ARMS):
    rows = [(t, a, r, 0) for t in NAMES for a in arms for r in (0, 1)]
    table = pd.DataFrame(rows, columns=["task", "arm", "replicate", "seed"])
    return table.assign(test_score=np.linspace(0.5, 0.7, len(rows)), degenerate=False)


def effects(*contrasts):
    rows = [{"contrast": c.name, "task": task} for c in contrasts for task in (*NAMES, "mean")]
    return pd.DataFrame(rows).assign(effect=1.0, low=0.0, high=2.0, p_value=0.01, p_holm=0.02)


DAPT_EFFECTS = effects(over(DAPT, BASE), over(DAPT, NOT_DAPT))


def best():
    return pd.DataFrame(0.25, index=[*NAMES, "mean"], columns=["base", "dapt", "tapt", "dapt_tapt"])


def tapt_curve():
    rows = pd.DataFrame({"epochs": ["0", "5", "kept"], "mean": [50.0, 52, 51], "task": NAMES[0]})
    return pd.concat([rows.assign(split="dev", std=1.0), rows.assign(split="test", std=np.nan)])


def cross_task():
    losses = pd.DataFrame(4.0, index=["base", *(f"tapt_{name}" for name in NAMES)], columns=NAMES)
    losses.loc[f"tapt_{NAMES[0]}"] = 3.5
    return gap_plots.losses(losses, tasks=TASKS)


def curves():
    curve = pd.DataFrame({"num_tokens": [1e6, 2e6, 3e6], "masked_lm_loss": [6.0, 5.0, 4.5]})
    names = [(name, replicate) for name in ("dapt_numerical", "base") for replicate in (0, 1)]
    return pd.concat([curve.assign(checkpoint=name, replicate=replicate) for name, replicate in names])


def checks():
    rows = [(task, r, 20.0 * k, 4 - 0.1 * k, k == 2) for task in NAMES for r in (0, 1) for k in range(3)]
    return pd.DataFrame(rows, columns=["task", "replicate", "step", "masked_lm_loss", "kept"])


def label_gains():
    rows = [(arm, num, 40.0, 1.0, 0.5, 1.5, 2) for arm in ("base", "dapt", "naive_bayes") for num in (50, 500)]
    return pd.DataFrame(rows, columns=["arm", "num_train", "score", "gain", "low", "high", "num_replicates"])


def matrix():
    rows = [(e, task.domain, task.name, 2.0 if e == task.domain else -1.0) for e in DOMAINS for task in TASKS]
    table = pd.DataFrame(rows, columns=["encoder", "domain", "task", "gain"])
    far = np.where(table["encoder"] == table["domain"], 0.0, 0.5)
    return table.assign(low=table["gain"] - 1, high=table["gain"] + 1, distance=far)


NEAR = {"slope": -6.0, "correlation": -1.0, "p_value": 0.5, "num_points": 8, "num_permutations": 2}


def forgetting():
    losses = square(["general", *DOMAINS]).set_axis(["base", *(f"dapt_{d}" for d in DOMAINS)])
    return gap_plots.losses(losses, paper.table12())


def costs():
    arms = ["base", "tapt", "dapt", "knn_tapt_5", "rand_tapt_5", "knn_tapt_5_bm25"]
    rows = {
        "study": "ours",
        "arm": arms,
        "tflops": [0, 4, 9, 1, 1.01, 1.02],
        "score": [48, 48.9, 49.8, 49.1, 48.7, 49.0],
    }
    return pd.DataFrame(rows).assign(pareto_optimal=[True, False, True, True, False, False])


def by_k():
    rows = {
        "text": ["neighbours"] * 2 + ["random"] * 2 + ["base", "tapt", "dapt"],
        "num_neighbours": [1, 2, 1, 2] + [None] * 3,
    }
    return pd.DataFrame(rows).astype({"num_neighbours": "Int64"}).assign(mean=50.0, low=49.0, high=51.0)


def course():
    rows = [
        (arm, domain, r, text, loss + change + 0.1 * r, change)
        for arm, own, general in (("base", 0.0, 0.0), ("dapt", -0.5, 0.3), ("average_dapt", -0.2, 0.0))
        for text, loss, change in (("own", 5.0, own), ("general", 4.0, general))
        for domain in DOMAINS
        for r in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["arm", "domain", "replicate", "text", "masked_lm_loss", "change"])


def judged(**changes):
    row = {"study": "ours", "task": "mean", "effect": 1.0, "low": 0.5, "high": 1.5, "verdict": "holds"}
    rows = [row | {"claim": f"C{k}", "study": study} for k in range(1, 13) for study in ("ours", "paper")]
    table = pd.DataFrame(rows, columns=[*rows[0], *(name for name in changes if name not in rows[0])])
    return table.assign(**{name: table[name].where(table["study"] == "paper", new) for name, new in changes.items()})


def guesses():
    """Return guesses for two words of two sentences; of `alpha`, DAPT's are one nat better and the first is right."""
    rows = [
        (sentence, position, word, encoder, rank, word if right and rank == 1 else f"no{rank}", 0.3 / rank, nats)
        for sentence in ("the alpha of this omega", "that alpha is an omega")
        for encoder, gain in (("base", 0.0), ("dapt_numerical", 1.0))
        for word, right, nats in (("alpha", gain > 0, gain - 2), ("omega", False, -gain - 2))
        for position in [sentence.index(word)]
        for rank in range(1, 6)
    ]
    columns = ["sentence", "position", "word", "encoder", "rank", "guess", "probability", "log_probability"]
    return pd.DataFrame(rows, columns=columns)


DRAWN = {
    "figure2": lambda: gap_plots.figure2(square(["general", *DOMAINS]), paper.figure2(), 500),
    "task_domain_overlap": lambda: gap_plots.task_domain_overlap(
        pd.DataFrame(30.0, index=NAMES, columns=["general", *DOMAINS]), TASKS
    ),
    "distances": lambda: gap_plots.distances(gap_tables.long_distances(measured())),
    "curves": lambda: plots.curves(curves()),
    "scores": lambda: plots.scores(runs(), DAPT_EFFECTS, "What does it bring?"),
    "forest": lambda: plots.forest(DAPT_EFFECTS),
    "nothing": lambda: plots.scores(runs(), DAPT_EFFECTS[:0], "What does it bring?"),
    "probability_best": lambda: plots.probability_best(best()),
    "tapt_curve": lambda: plots.tapt_curve(tapt_curve()),
    "cross_task": cross_task,
    "power_curve": lambda: plots.power_curve(
        pd.DataFrame({"truth": "all hold", "points": [0.0, 1, 2], "claim": "C2", "percent": [5, 30, 80]})
    ),
    "checks": lambda: plots.checks(checks()),
    "label_curve": lambda: plots.label_curve(label_gains()),
    "gain_matrix": lambda: gap_plots.gain_matrix(matrix()),
    "gain_by_distance": lambda: gap_plots.gain_by_distance(matrix(), NEAR),
    "gain_against_distance": lambda: gap_plots.gain_against_distance(points()),
    "forgetting": forgetting,
    "score_against_k": lambda: selection_plots.score_against_k(by_k()),
    "score_against_compute": lambda: selection_plots.score_against_compute(costs()),
    "course": lambda: gap_plots.course(course()),
    "claims": lambda: claim_plots.claims_forest({"tiny": judged()}),
    "guesses": lambda: guess_plots.guesses(guesses()),
    "gallery": lambda: guess_plots.gallery(guesses()),
    "selector_agreement": lambda: selection_plots.selector_agreement(square(["vampire", "bm25", "random"])),
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


@pytest.mark.parametrize("name", ["figure2", "gain_against_distance", "scores"])
def test_same_data_same_bytes(name, tmp_path):
    for folder in ("one", "two"):
        display.write_figure(DRAWN[name](), tmp_path / folder / f"{name}.v1")
    for kind in ("svg", "png"):
        one, two = ((tmp_path / folder / f"{name}.v1.{kind}").read_bytes() for folder in ("one", "two"))
        assert one == two
    assert b"<dc:date>" not in (tmp_path / "one" / f"{name}.v1.svg").read_bytes()
    assert len(list((tmp_path / "one").iterdir())) == 2


@pytest.mark.parametrize("name", DRAWN)
def test_titles_end_within_the_figure(name):
    figure = DRAWN[name]()
    figure.draw_without_rendering()
    titles = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text() == figure.get_suptitle()]
    assert titles and all(title.get_window_extent().x1 <= figure.bbox.x1 for title in titles)


def test_notebooks_show_a_figure_without_pyplot(tmp_path):
    shown = display.show(DRAWN["distances"](), tmp_path / "distances")
    assert shown._repr_png_() == (tmp_path / "distances.png").read_bytes()


def test_overlap_shows_every_pair_and_hides_the_diagonal():
    shown = texts(DRAWN["figure2"]())
    assert "54.1" in shown and "11.0" in shown and "100.0" not in shown
    assert "ours (the 500 most frequent words)" in shown


def test_distances_leave_out_what_was_not_measured_and_put_farther_to_the_right():
    left, right = DRAWN["distances"]().axes
    assert left.xaxis_inverted() and not right.xaxis_inverted()
    assert right.get_xlabel().startswith("Jensen-Shannon")


def test_scores_and_effects_stand_at_the_tasks_height():
    left, right = DRAWN["scores"]().axes
    assert [label.get_text() for label in left.get_yticklabels()][-1] == "mean"
    assert len(left.get_yticks()) == 5 and right.get_xlabel().startswith("difference")
    dots = np.concatenate([offset for dots in left.collections if len(offset := dots.get_offsets()) == 2])
    rows = [[100 * score for score in runs()[lambda r, t=t: r["task"] == t]["test_score"]] for t in NAMES]
    for number, scores in enumerate(rows):
        at_row = dots[np.abs(dots[:, 1] - number) < 0.5]
        assert sorted(at_row[:, 0]) == pytest.approx(sorted(scores))


def test_many_arms_with_one_reference_name_it_once():
    arms = [knn_tapt(5, selector) for selector in (None, "tfidf", "bm25", "dsir")]
    control = rand_tapt(5)
    some = runs([control.name, *(arm.name for arm in arms)])
    _, right = plots.scores(some, effects(*(over(arm, control) for arm in arms)), "Which?").axes
    assert right.get_xlabel().startswith("difference to RAND-TAPT (5)")
    assert [text.get_text() for text in right.get_legend().get_texts()][2] == "5NN-TAPT (BM25)"


def test_rises_are_shown_as_given_without_an_interval_where_there_is_none():
    given = pd.DataFrame({"effect": [0.25, -1.0], "low": [-0.5, np.nan], "high": [1.0, np.nan]})
    given.index = ["vocabulary_overlap", "jensen_shannon"]
    titles = [axes.get_title(loc="left") for axes in gap_plots.gain_against_distance(points(), given).axes]
    told = "from the nearest domain to the farthest"
    assert titles == [f"{told} +0.2 points [−0.5, +1.0]", f"{told} −1.0 points"]


def test_checks_have_a_line_a_replicate_and_a_dot_at_the_step_kept():
    axes = DRAWN["checks"]().axes
    assert len(axes) == len(NAMES)
    lines = [line.get_xdata().tolist() for line in axes[0].lines]
    assert lines == [[0, 20, 40], [40], [0, 20, 40], [40]]
    assert "without checks" in texts(plots.checks(checks()[:0]))[0]


def test_labels_show_naive_bayes_among_scores_and_only_arms_that_adapt_among_gains():
    left, right = DRAWN["label_curve"]().axes
    assert [line.get_label() for line in left.lines] == ["base", "DAPT", "naive Bayes"]
    assert [line.get_label() for line in right.lines[:1]] == ["DAPT"] and len(right.lines) == 2  # and the line at zero
    assert right.lines[0].get_ydata().tolist() == [1.0, 1.0] and "95 % interval" in right.get_ylabel()
    single = label_gains().assign(low=np.nan, high=np.nan)
    assert "interval" not in plots.label_curve(single).axes[1].get_ylabel()


def test_every_encoder_and_task_is_a_point_with_the_p_value_above():
    [axes] = DRAWN["gain_by_distance"]().axes
    by_label = {bars.get_label(): bars.lines[0].get_xydata() for bars in axes.containers}
    assert sorted(by_label["the task's own domain's text"][:, 1]) == [2.0] * 4
    assert sorted(by_label["another domain's text"][:, 1]) == [-1.0] * 4
    assert np.allclose(by_label["another domain's text"][:, 0].mean(), 0.5)
    assert "8 points" in axes.get_title(loc="left") and "p = 0.500" in axes.get_title(loc="left")


def test_the_matrix_of_gains_frames_each_tasks_own_domain():
    [axes] = DRAWN["gain_matrix"]().axes
    corners = sorted((round(patch.get_x()), round(patch.get_y())) for patch in axes.patches)
    assert corners == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert [text.get_text() for text in axes.texts][:4] == ["+2.0", "+2.0", "−1.0", "−1.0"]


@pytest.mark.parametrize(("name", "number"), [("gain_against_distance", len(TASKS)), ("score_against_compute", 6)])
def test_labels_of_points_do_not_touch_each_other(name, number):
    figure = DRAWN[name]()
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
        assert len(boxes) == number
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert all(figure.bbox.contains(x, y) for box in boxes for x, y in box.corners())


def test_points_without_intervals_are_drawn_without_bars():
    bare = points().assign(low=np.nan, high=np.nan)
    assert gap_plots.gain_against_distance(bare).axes[0].get_ylabel() == "gain of DAPT, points"


def test_the_base_encoders_curve_comes_first_and_keeps_its_own_axis():
    base, dapt = plots.curves(curves()).axes
    assert (base.get_title(loc="left"), dapt.get_title(loc="left")) == ("base", "DAPT numerical")
    assert len(base.lines) == len(dapt.lines) == 2  # replicates
    assert "None of these encoders was trained here." in texts(plots.curves(curves()[:0]))[0]


def test_every_arm_has_a_colour_of_its_own():
    arms = [*theme.ARM_COLOURS, *(kind(k).name for kind in (knn_tapt, rand_tapt) for k in (5, 15, 50))]
    arms += [knn_tapt(15, selector).name for selector in ("tfidf", "encoder", "bm25", "dsir")]
    colours = theme.colours(arms)
    assert list(colours) and len({colour.lower() for colour in colours.values()}) == len(arms)
    assert theme.colours(["knn_tapt_50", "knn_tapt_5"])["knn_tapt_50"] == colours["knn_tapt_50"]  # the more the darker


def test_the_course_of_forgetting_prints_the_changes_and_has_bands_over_replicates():
    figure = DRAWN["course"]()
    [axes] = figure.axes
    assert [text.get_text() for text in axes.texts] == ["−0.50", "−0.20", "+0.30", "+0.00"]
    assert "DAPT +0.30, base and DAPT averaged +0.00" in figure.get_suptitle().replace("\n", " ")
    own = next(line for line in axes.lines if line.get_label() == "own domain")
    assert own.get_ydata() == pytest.approx([5.05, 4.55, 4.85])
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert {round(height, 2) for height in heights} == {5.0, 5.1, 4.5, 4.6, 4.8, 4.9}


def test_claims_have_verdicts_as_text_and_a_hollow_mark_where_there_is_one_replicate():
    single = judged(low=np.nan, high=np.nan, verdict="inconclusive")
    both = {"old": judged(), "new": judged(detectable=0.7, verdict="equivalent"), "one": single}
    axes, words = claim_plots.claims_forest(both).axes
    assert [text.get_text() for text in words.texts[:4]] == ["+1.0  holds"] * 4  # the paper's
    told = [text.get_text() for text in words.texts[10::10]]
    assert told == ["+1.0  holds", "+1.0  equivalent", "+1.0  one replicate"]
    assert len(axes.get_yticks()) == 10 and axes.get_yticklabels()[0].get_text().startswith("C2: DAPT scores")
    assert [patch.get_width() for patch in axes.containers[0]] == [1.4] and len(axes.containers) == 10
    marks = [line for line in axes.lines if line.get_marker() == theme.MARKERS[3] and len(line.get_xdata()) == 1]
    assert {line.get_markerfacecolor() for line in marks} == {"white"}
    intervals = [line for line in axes.lines if list(line.get_xdata()) == [0.5, 1.5]]
    assert len(intervals) == 30  # of the paper and the two profiles with replicates


def test_claims_that_have_not_run_are_said_to_have_not():
    missing = judged(effect=np.nan, verdict="not run")
    _, words = claim_plots.claims_forest({"tiny": missing}).axes
    assert {text.get_text() for text in words.texts[10:]} == {"not run"}


def test_guesses_mark_the_true_word_and_tell_its_probability():
    figure = DRAWN["guesses"]()
    base, dapt = figure.axes[:2]
    assert [label.get_text() for label in dapt.get_yticklabels()][:2] == ["✓ alpha", "no2"]
    assert [label.get_text() for label in base.get_yticklabels()][0] == "no1"
    assert dapt.get_title(loc="left") == "DAPT numerical\n“alpha” itself: 37 %"
    assert any("base 0, DAPT numerical 1" in text for text in texts(figure))
    assert {"alpha +1.0", "omega −1.0"} <= set(texts(figure))


def test_a_gallery_colours_what_rose_blue_and_what_fell_orange():
    figure = DRAWN["gallery"]()
    assert "2 of 4" in figure.get_suptitle()
    boxes = {text.get_text(): text.get_bbox_patch() for text in figure.texts if text.get_bbox_patch()}
    rose, fell = (boxes[text].get_facecolor() for text in ("alpha +1.0", "omega −1.0"))
    assert rose[2] > rose[0] and fell[0] > fell[2]
    assert [text.get_text() for text in figure.texts][:3] == ["that", "alpha +1.0", "is"] or "the" in texts(figure)


@pytest.mark.parametrize("draw", [guess_plots.guesses, guess_plots.gallery])
def test_where_weights_are_missing_the_picture_says_so(draw):
    assert "weights are not here" in texts(draw(guesses()[:0]))[0]


def test_a_wide_figure_is_shown_at_half_its_pixels():
    png, about = DRAWN["claims"]()._repr_png_()
    assert about == {"width": 850} and int.from_bytes(png[16:20], "big") == 1700


def test_profiles_claims_are_drawn_side_by_side_from_their_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        judged().to_csv(tmp_path / name / "claims.csv", index=False)
    claims.write_forest(tmp_path, ["one", "two"])
    assert (tmp_path / "claims.png").is_file() and b"two" in (tmp_path / "claims.svg").read_bytes()
    with pytest.raises(StudyError, match="dontstop claims --profile three"):
        claims.write_forest(tmp_path, ["one", "three"])
