"""Figures show what they are given, leave nothing behind in pyplot, and come out byte for byte the same."""

import sys
from unittest import mock

import matplotlib.pyplot
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from dontstop import paper
from dontstop.design.arms import BASE, DAPT, NOT_DAPT, knn_tapt, rand_tapt
from dontstop.errors import StudyError
from dontstop.report import (
    claim_plots,
    claims,
    course_plots,
    display,
    gap_plots,
    gap_tables,
    gap_titles,
    guess_plots,
    plots,
    readings,
    schematic,
    selection_plots,
    selection_titles,
    theme,
    titles,
)
from dontstop.text.tasks import Task
from dontstop.verdicts.effects import over

DOMAINS = ["symbolic_math", "numerical"]


def tasks_of(domains):
    return [Task(f"{domain}_{kind}", domain, "macro_f1", kind, "") for domain in domains for kind in ("topic", "area")]


TASKS = tasks_of(DOMAINS)
NAMES = [task.name for task in TASKS]
ARMS = ("base", "dapt", "not_dapt")


def square(names):
    return pd.DataFrame(np.arange(len(names) ** 2).reshape(len(names), -1) + 10.0, index=names, columns=names)


def measured():
    table = pd.DataFrame(
        {"vocabulary_overlap": np.linspace(44, 50, len(DOMAINS)), "jensen_shannon": 0.5}, index=DOMAINS
    )
    overlap = table["vocabulary_overlap"]
    return table.assign(
        vocabulary_overlap_low=overlap - 1, vocabulary_overlap_high=overlap + 1, proxy_a_distance=np.nan
    )


def points():
    gains = pd.DataFrame({"task": NAMES, "effect": np.resize([1.0, 2.0, -1.0, 0.5], len(NAMES))})
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
    names = [(name, replicate) for name in ("dapt_numerical", "base") for replicate in (0, 1)]
    rows = [(n, r, num, loss + r) for n, r in names for num, loss in ((1e6, 6.0), (2e6, 5.0), (3e6, 4.5))]
    return pd.DataFrame(rows, columns=["checkpoint", "replicate", "num_tokens", "masked_lm_loss"])


def held_out():
    rows = [
        (name, r, num, loss)
        for name in ("dapt_numerical", "other")
        for r in (0, 1)
        for num, loss in ((0, 6.5), (3e6, 4.6))
    ]
    return pd.DataFrame(rows, columns=["checkpoint", "replicate", "num_tokens", "masked_lm_loss"])


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
NEAR |= {"own_gain": 5.0, "other_gain": 1.5, "other_correlation": 0.1, "num_others": 6}


def forgetting():
    losses = square(["general", *DOMAINS]).set_axis(["base", *(f"dapt_{d}" for d in DOMAINS)])
    return gap_plots.losses(losses, paper.table12())


def costs():
    arms = ["tapt", "dapt", "knn_tapt_5", "rand_tapt_5", "knn_tapt_5_bm25", "naive_bayes"]
    table = pd.DataFrame({"arm": arms, "seconds": [4, 90, 5, 4.1, 5.1, 0], "gain": [0.9, 1.8, 1.1, 0.7, 1.0, 1.5]})
    return table.assign(
        low=table["gain"] - 1, high=table["gain"] + 1, pareto_optimal=[True, True, True, False, False, False]
    )


def by_k(**bounds):
    rows = [
        ("neighbours", 1, 1.0),
        ("neighbours", 2, 3.0),
        ("random", 1, 0.5),
        ("random", 2, 0.0),
        ("base", None, -2.0),
    ]
    rows = [(*row[:2], task, row[2]) for task in ("mean", *NAMES) for row in rows]
    table = pd.DataFrame(rows, columns=["text", "num_neighbours", "task", "effect"]).astype({"num_neighbours": "Int64"})
    return table.assign(**{"low": table["effect"] - 1, "high": table["effect"] + 1, "other": "TAPT"} | bounds)


def course():
    rows = [
        (arm, domain, r, text, loss + change + 0.1 * r, change)
        for arm, own, general in (("base", 0.0, 0.0), ("dapt", -0.5, 0.3), ("average_dapt", -0.2, 0.0))
        for text, loss, change in (("own", 5.0, own), ("general", 4.0, general))
        for domain in DOMAINS
        for r in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["arm", "domain", "replicate", "text", "masked_lm_loss", "change"])


def on_the_way():
    rows = [
        (f"{phase}_{domain}", phase, domain, text, step, start + change * step / 800, change * step / 800)
        for phase, steps in (("dapt", (0, 100, 200, 800)), ("tapt", (0, 50, 100)))
        for domain in DOMAINS
        for text, start, change in (("own", 5.0, -1.0), ("general", 4.0, 0.4))
        for step in steps
    ]
    columns = ["checkpoint", "phase", "domain", "text", "step", "masked_lm_loss", "change"]
    return pd.DataFrame(rows, columns=columns)


def judged(**changes):
    row = {"study": "ours", "task": "mean", "effect": 1.0, "low": 0.5, "high": 1.5, "verdict": "holds"}
    rows = [row | {"claim": f"C{k}", "study": study} for k in range(1, 14) for study in ("ours", "paper")]
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


def counts():
    table = pd.DataFrame({"task": NAMES, "arm": "dapt", "other": "base", "num_test": 100})
    by_task = {
        name: np.resize(values, len(NAMES))
        for name, values in {"mended": [9.0, 8, 7, 6], "broken": [1.0, 2, 3, 4]}.items()
    }
    return table.assign(**by_task)


def found_texts():
    shared = {"task": NAMES[0], "similarity": 1.0}
    rows = [("vampire", 1, "a matrix"), ("vampire", 2, "none"), ("random", 1, "other")]
    table = pd.DataFrame([shared | {"selector": s, "rank": k, "neighbour": text} for s, k, text in rows])
    other = table[:1].assign(text="another query", neighbour="another rank")
    return pd.concat([table.assign(text=["the rank of a $matrix$", "", ""]), other])


def of_paper():
    tasks = {"ours": "citation_intent", "paper": "ACL-ARC"}
    rows = [
        {"claim": claim, "statement": f"{claim} holds", "study": study, "task": task, "effect": effect}
        for claim in ("C2", "C5")
        for (study, task), effect in zip(tasks.items(), (1.0, 12.4), strict=True)
    ]
    return pd.DataFrame(rows).assign(low=0.5, high=13.0)


STATIONS = dict.fromkeys("domains documents words tasks labels num_test encoder vocabulary general_words".split(), 1234)
STATIONS |= dict.fromkeys("arms dapt tapt replicates seeds runs claims".split(), 1234)
DRAWN = {
    "figure2": lambda: gap_plots.figure2(square(["general", *DOMAINS]), paper.figure2(), 500),
    "task_domain_overlap": lambda: gap_plots.task_domain_overlap(
        pd.DataFrame(30.0, index=NAMES, columns=["general", *DOMAINS]), TASKS
    ),
    "distances": lambda: gap_plots.distances(gap_tables.long_distances(measured())),
    "curves": lambda: plots.curves(curves(), held_out()),
    "scores": lambda: plots.scores(runs(), DAPT_EFFECTS, "What does it bring?"),
    "forest": lambda: plots.forest(DAPT_EFFECTS),
    "probability_best": lambda: plots.probability_best(best()),
    "changed": lambda: plots.changed(counts()),
    "tapt_curve": lambda: plots.tapt_curve(tapt_curve()),
    "cross_task": cross_task,
    "power_curve": lambda: plots.power_curve(
        pd.DataFrame({"truth": "all hold", "points": [0.0, 1, 2], "claim": "C2", "percent": [5, 30, 80]})
    ),
    "checks": lambda: plots.checks(checks()),
    "label_curve": lambda: plots.label_curve(label_gains()),
    "gain_matrix": lambda: gap_plots.gain_matrix(matrix()),
    "gain_by_distance": lambda: gap_plots.gain_by_distance(matrix(), NEAR),
    "gain_against_distance": lambda: gap_plots.gain_against_distance(points(), theirs=paper.dapt_gains()),
    "forgetting": forgetting,
    "knn_gains": lambda: selection_plots.knn_gains(by_k()),
    "score_against_k": lambda: selection_plots.score_against_k(by_k()),
    "score_against_cost": lambda: selection_plots.score_against_cost(costs()),
    "course": lambda: course_plots.course(course()),
    "on_the_way": lambda: course_plots.on_the_way(on_the_way()),
    "claims": lambda: claim_plots.claims_forest({"tiny": judged()}),
    "against_paper": lambda: claim_plots.against_paper(of_paper()),
    "guesses": lambda: guess_plots.guesses(guesses()),
    "gallery": lambda: guess_plots.gallery(guesses()),
    "neighbours": lambda: selection_plots.neighbours(found_texts()),
    "selector_agreement": lambda: selection_plots.selector_agreement(square(["vampire", "bm25", "random"])),
    "pipeline": lambda: schematic.pipeline(STATIONS),
}


def every_cost():
    """Return costs of as many arms as a study with all retrieval methods has, most of them of like seconds."""
    arms = [
        "tapt",
        "dapt",
        "dapt_tapt",
        "curated_tapt",
        "dapt_curated_tapt",
        *(f"{kind}_tapt_{k}" for kind in ("knn", "rand") for k in (5, 15, 50)),
    ]
    arms += [f"knn_tapt_15_{name}" for name in SELECTORS]
    table = pd.DataFrame(
        {"arm": arms, "seconds": np.linspace(20, 25, len(arms)), "gain": np.linspace(1, 1.2, len(arms))}
    )
    table = table.assign(low=0.0, high=2.0, pareto_optimal=True)
    return pd.concat([table, costs().query("arm == 'naive_bayes'")], ignore_index=True)


def of_selectors():
    pairs = [over(knn_tapt(15), rand_tapt(15)), *(over(knn_tapt(15, name), rand_tapt(15, name)) for name in SELECTORS)]
    return effects(*pairs)


SELECTORS = ["tfidf", "encoder", "bm25", "dsir"]
FULL = [*DOMAINS, "deep_learning", "data_analysis"]
CROWDED = {  # those whose names or numbers are many in a study of four domains, eight tasks and all retrieval methods
    "figure2": DRAWN["figure2"],
    "scores": lambda: plots.scores(runs(), effects(over(DAPT, BASE), over(DAPT, NOT_DAPT))),
    "selectors": lambda: plots.forest(of_selectors()),
    "cross_task": DRAWN["cross_task"],
    "gain_matrix": DRAWN["gain_matrix"],
    "gain_by_distance": DRAWN["gain_by_distance"],
    "gain_against_distance": DRAWN["gain_against_distance"],
    "checks": DRAWN["checks"],
    "changed": DRAWN["changed"],
    "knn_gains": DRAWN["knn_gains"],
    "score_against_cost": lambda: selection_plots.score_against_cost(every_cost()),
    "selector_agreement": lambda: selection_plots.selector_agreement(square(["vampire", *SELECTORS, "random"])),
    "one_replicate": lambda: plots.scores(runs(), effects(over(DAPT, BASE)).assign(low=np.nan, high=np.nan)),
}
NOTHING = {
    "scores": lambda: plots.scores(runs(), DAPT_EFFECTS[:0]),
    "forest": lambda: plots.forest(DAPT_EFFECTS[:0]),
    "curves": lambda: plots.curves(curves()[:0]),
    "checks": lambda: plots.checks(checks()[:0]),
    "tapt_curve": lambda: plots.tapt_curve(tapt_curve()[:0]),
    "label_curve": lambda: plots.label_curve(label_gains()[:0]),
    "changed": lambda: plots.changed(counts()[:0]),
    "guesses": lambda: guess_plots.guesses(guesses()[:0]),
    "gallery": lambda: guess_plots.gallery(guesses()[:0]),
    "knn_gains": lambda: selection_plots.knn_gains(by_k()[:0]),
    "neighbours": lambda: selection_plots.neighbours(found_texts()[:0]),
    "selector_agreement": lambda: selection_plots.selector_agreement(square(["random"])),
    "against_paper": lambda: claim_plots.against_paper(of_paper().query("study == 'ours'")),
}


@pytest.fixture(scope="module")
def drawn():
    """Give each figure, drawn once."""
    figures = {}

    def get(name):
        if name not in figures:
            figures[name] = DRAWN[name]()
            figures[name].draw_without_rendering()
        return figures[name]

    return get


def texts(figure):
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def misplaced(figure):
    """Return the texts that lie outside a figure, and the pairs of texts that lie over one another."""
    drawn, draw = {}, Text.draw  # names of ticks outside of the axes are not drawn

    def noted(text, *args, **how):
        if text.get_visible() and text.get_text():
            drawn[id(text)] = text
        return draw(text, *args, **how)

    with mock.patch.object(Text, "draw", noted):
        figure.draw_without_rendering()
    # Without the arrow that an annotation may have, and two pixels less on each side, where letters leave room.
    boxes = [(text.get_text(), Text.get_window_extent(text).padded(-2)) for text in drawn.values()]
    outside = [told for told, box in boxes if not all(figure.bbox.contains(*corner) for corner in box.corners())]
    return outside + [(a, b) for k, (a, box) in enumerate(boxes) for b, other in boxes[:k] if box.overlaps(other)]


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_states_a_finding_is_as_wide_as_a_column_and_leaves_pyplot_alone(name, drawn):
    before = dict(matplotlib.rcParams)
    figure = drawn(name)
    title = figure.get_suptitle()
    assert title and "?" not in title and "nan" not in title.lower()
    assert repr(figure) == f"Figure: {figure.title}" == f"Figure: {title}".replace("\n", " ")
    more = figure.alternative.removeprefix(figure.title)
    assert more.startswith(". ") and more.endswith(".") and len(more) > 40 and "\n" not in more and ".." not in more
    assert figure.get_size_inches()[0] * figure.dpi == 1700
    assert matplotlib.pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", DRAWN)
def test_no_text_is_cut_or_lies_over_another(name, drawn):
    assert misplaced(drawn(name)) == []


@pytest.mark.parametrize("name", CROWDED)
def test_no_text_is_cut_or_lies_over_another_where_there_are_many(name):
    tasks = tasks_of(FULL)
    many = {"DOMAINS": FULL, "TASKS": tasks, "NAMES": [task.name for task in tasks]}
    with mock.patch.multiple(sys.modules[__name__], **many):
        assert misplaced(CROWDED[name]()) == []


def test_texts_outside_of_a_figure_or_over_one_another_are_found():
    figure = theme.StudyFigure(2.0, "a title")
    for x, told in ((0.3, "under"), (0.31, "over"), (0.98, "outside of it")):
        figure.text(x, 0.5, told)
    assert misplaced(figure) == ["outside of it", ("over", "under")]


@pytest.mark.parametrize("name", DRAWN)
def test_text_is_large_enough_to_be_read_at_600_pixels(name, drawn):
    sizes = {text.get_fontsize() for text in drawn(name).findobj(matplotlib.text.Text) if text.get_text()}
    assert min(sizes) >= (7.5 if name in ("forgetting", "cross_task") else 9)  # there, the loss below its change


@pytest.mark.parametrize("name", NOTHING)
def test_what_has_nothing_to_draw_is_not_drawn(name):
    assert NOTHING[name]() is None


def test_nothing_is_shown_of_nothing_and_no_earlier_figure_stays(tmp_path):
    for kind in ("svg", "png"):
        (tmp_path / f"figure.{kind}").write_text("an earlier one")
    assert display.show(None, tmp_path / "figure") is None and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["scores"])
def test_same_data_same_bytes(name, tmp_path):
    for folder in ("one", "two"):
        display.write_figure(DRAWN[name](), tmp_path / folder / f"{name}.v1")
    for kind in ("svg", "png"):
        one, two = ((tmp_path / folder / f"{name}.v1.{kind}").read_bytes() for folder in ("one", "two"))
        assert one == two
    written = (tmp_path / "one" / f"{name}.v1.svg").read_text(encoding="utf-8")
    assert "<dc:date>" not in written and "<dc:title>" in written and "<dc:description>" in written
    assert len(list((tmp_path / "one").iterdir())) == 2


def test_notebooks_show_a_figure_at_half_its_pixels_and_say_in_words_what_it_shows(tmp_path):
    shown = display.show(DRAWN["distances"](), tmp_path / "distances")
    png, about = shown._repr_png_()
    assert png == (tmp_path / "distances.png").read_bytes() and int.from_bytes(png[16:20], "big") == 1700
    assert about == {"width": 850, "alt": shown.alternative}
    told = [shown.title, "Axes: vocabulary overlap (%); ", "Farther is to the right. Bars: 95 % interval, bootstrap"]
    assert [part for part in told if part not in about["alt"]] == []
    shown.axes[0].set_xlabel("changed since it was written")
    assert shown._repr_png_()[0] != png == (tmp_path / "distances.png").read_bytes()


def test_overlap_shows_every_pair_once_in_the_papers_order(drawn):
    here, papers = drawn("figure2").axes
    assert [text.get_text() for text in papers.texts] == ["54", "34", "40", "27", "25", "18", "19", "17", "13", "21"]
    assert [text.get_text() for text in here.get_yticklabels()] == ["numerical", "symbolic\nmath"]  # the nearest first
    assert [text.get_text() for text in here.texts] == ["16", "13", "15"]
    ours = square(["general", "cs", "news"])
    labels_of = [text.get_text() for text in gap_plots.figure2(ours, paper.figure2()).axes[0].get_yticklabels()]
    assert labels_of == ["News", "CS"]  # as the paper has them, though CS lies nearer here


def test_distances_leave_out_what_was_not_measured_and_put_farther_to_the_right():
    left, right = DRAWN["distances"]().axes
    assert left.xaxis_inverted() and not right.xaxis_inverted()
    assert right.get_xlabel().startswith("Jensen-Shannon")


def test_means_stand_first_and_tasks_below(drawn):
    means, tasks = drawn("scores").axes
    assert [text.get_text() for text in means.texts] == ["+1.0 [0.0, +2.0]"] * 2
    assert [text.get_text() for text in means.get_yticklabels()] == ["DAPT\n− base", "DAPT\n− not-DAPT"]
    assert [text.get_text() for text in tasks.texts] == ["+1.0"] * 8
    dots = next(line for line in means.lines if line.get_alpha() == 0.35)
    by_arm = runs().groupby(["replicate", "arm"])["test_score"].mean().unstack()
    assert sorted(dots.get_xdata()) == pytest.approx(sorted(100 * (by_arm["dapt"] - by_arm["base"])))
    assert any("base" in text and "95 % interval" in text for text in texts(drawn("scores")))


def test_titles_say_what_is_shown_what_is_not_and_that_there_is_one_replicate():
    sure = DAPT_EFFECTS.assign(low=0.5)
    assert titles.differences(sure) == "DAPT 1.0 points above base and 1.0 points above not-DAPT"
    assert (
        titles.differences(DAPT_EFFECTS)
        == "DAPT not distinguished from base (+1.0) and not distinguished from not-DAPT (+1.0)"
    )
    alone = DAPT_EFFECTS.assign(low=np.nan, high=np.nan)
    assert titles.differences(alone).startswith("In one replicate, DAPT 1.0 points above base")
    assert "no interval" in titles.intervals(alone) and "95 %" in titles.intervals(sure)
    unequal = pd.concat([sure.assign(num_replicates=4), sure.assign(num_replicates=6), alone.assign(num_replicates=1)])
    assert titles.intervals(unequal) == "bars: 95 % interval, Student's t over 4 to 6 replicates."
    k = by_k().query("task == 'mean'")
    told = selection_titles.score_against_k(k[k["text"] != "base"])
    assert told.startswith(
        "Points over TAPT, 1 of 3 clear of zero (1 neighbour +1.0, 2 neighbours +3.0, as much random text as of 2"
    )
    one = selection_titles.score_against_k(k[k["text"] != "base"].assign(low=np.nan, high=np.nan))
    assert one.startswith("In one replicate, points over TAPT (1 neighbour +1.0,") and "clear of zero" not in one
    costs = pd.DataFrame(
        [("dapt", 0.5, 9.0, -1.0), ("tapt", -1.0, 3.0, -3.0)], columns=["arm", "gain", "seconds", "low"]
    )
    assert selection_titles.cost(costs) == "DAPT gains most, +0.5 points over base for 9.0 CPU-seconds of pretraining"
    lost = selection_titles.cost(costs.assign(gain=costs["gain"] - 1))
    assert lost == "No arm gains: DAPT comes nearest, −0.5 points over base for 9.0 CPU-seconds of pretraining"
    rise = pd.Series({"effect": 2.0, "low": -0.5, "high": 4.5})
    assert "is not shown to rise" in gap_titles.gain_against_distance(points(), rise)
    assert "rises with" in gap_titles.gain_against_distance(points(), rise.replace(-0.5, 0.5))
    assert gap_titles.gain_by_distance(NEAR).startswith("The nearness of DAPT's text is not shown to predict its gain")
    assert gap_titles.gain_by_distance(NEAR | {"p_value": 0.01}).startswith("Text of the task's own domain gains +5.0")


def test_the_papers_points_stand_apart_and_other_distances_rises_are_told():
    given = pd.DataFrame({"effect": [0.25, -1.0], "low": [-0.5, np.nan], "high": [1.0, np.nan]})
    given.index = ["vocabulary_overlap", "jensen_shannon"]
    figure = gap_plots.gain_against_distance(points(), given, paper.dapt_gains())
    assert "+0.2 points from the nearest domain to the farthest [−0.5, +1.0]" in figure.get_suptitle().replace(
        "\n", " "
    )
    assert any("Jensen-Shannon divergence −1.0" in text for text in texts(figure))
    here, theirs = figure.axes
    assert sum(len(bars.lines[0].get_xdata()) for bars in here.containers) == len(TASKS)
    heights = np.concatenate([bars.lines[0].get_ydata() for bars in theirs.containers])
    assert sorted(heights) == sorted(paper.dapt_gains()["gain"]) and "■ CS" in theirs.get_title(loc="left")


def test_checks_have_a_line_a_training_their_mean_and_a_mark_at_the_step_kept(drawn):
    [axes] = drawn("checks").axes
    *single, mean, kept = axes.lines
    assert [line.get_xdata().tolist() for line in single] == [[0, 20, 40]] * 2 * len(NAMES)
    assert mean.get_ydata().tolist() == pytest.approx([4.0, 3.9, 3.8]) and mean.get_linewidth() > 2
    assert kept.get_xdata().tolist() == [40] * 8 and "8 of 8" in drawn("checks").alternative
    early = checks().assign(kept=lambda table: table["step"] == 20)
    assert titles.checks(early) == "TAPT is long enough: on unseen texts the last check is best in 0 of 8 trainings"


def test_labels_show_naive_bayes_among_scores_and_gains(drawn):
    left, right = drawn("label_curve").axes
    assert [line.get_label() for line in left.lines] == ["base", "DAPT", "naive Bayes"]
    assert [line.get_label() for line in right.lines[:2]] == ["DAPT", "naive Bayes"] and len(right.collections) == 1
    assert right.lines[0].get_ydata().tolist() == [1.0, 1.0]
    single = label_gains().assign(low=np.nan, high=np.nan)
    assert any("one replicate" in text.lower() for text in texts(plots.label_curve(single)))


def test_every_encoder_and_task_is_a_point_apart_where_the_domain_is_its_own(drawn):
    own, other = (
        [gain for bars in axes.containers for gain in bars.lines[0].get_ydata()]
        for axes in drawn("gain_by_distance").axes
    )
    assert own == [2.0] * 4 and other == [-1.0] * 4
    assert "p\u00a0=\u00a00.500" in drawn("gain_by_distance").get_suptitle()


def test_the_matrix_of_gains_frames_each_tasks_own_domain():
    [axes] = DRAWN["gain_matrix"]().axes
    corners = sorted((round(patch.get_x()), round(patch.get_y())) for patch in axes.patches)
    assert corners == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert [text.get_text() for text in axes.texts][:4] == ["+2.0", "+2.0", "−1.0", "−1.0"]


def test_names_hide_no_point_and_stand_within_the_axes(drawn):
    for axes in drawn("gain_against_distance").axes:
        boxes = [Text.get_window_extent(text) for text in axes.texts]
        points = [bars.lines[0].get_xydata() for bars in axes.containers]
        places = axes.transData.transform(np.concatenate(points))
        assert len(boxes) == len(places) >= 4
        assert not any(box.contains(*place) for box in boxes for place in places)
        assert all(axes.bbox.contains(*corner) for box in boxes for corner in box.corners())


def test_curves_have_held_out_marks_and_the_base_encoder_only_where_it_is_alone(drawn):
    [axes] = drawn("curves").axes
    assert [text.get_text() for text in axes.texts] == ["DAPT numerical"]
    training, held = (line.get_ydata().tolist() for line in axes.lines if line.get_linewidth() > 2)  # means
    assert training == [6.5, 5.5, 5.0] and held == [6.5, 4.6] and len(axes.lines) == 2 * (2 + 1)
    assert "from 6.50 to 4.60" in drawn("curves").get_suptitle()
    worse = held_out().assign(masked_lm_loss=lambda table: 3.3 + table["num_tokens"] / 1e7)
    assert "Held-out loss rises from 3.30 to 3.60" in titles.curves(
        curves(), worse, "held-out"
    )  # the kept one comes after step 0
    alone = plots.curves(curves().query("checkpoint == 'base'"))
    assert [text.get_text() for text in alone.axes[0].texts] == ["base"]


def test_every_arm_has_a_colour_of_its_own():
    arms = [*theme.ARM_COLOURS, *(kind(k).name for kind in (knn_tapt, rand_tapt) for k in (5, 15, 50))]
    arms += [knn_tapt(15, selector).name for selector in ("tfidf", "encoder", "bm25", "dsir")]
    colours = theme.colours(arms)
    assert list(colours) and len({colour.lower() for colour in colours.values()}) == len(arms)
    assert theme.colours(["knn_tapt_50", "knn_tapt_5"])["knn_tapt_50"] == colours["knn_tapt_50"]  # the more the darker


def test_the_course_of_training_says_when_general_text_is_forgotten(drawn):
    dapt, tapt = drawn("on_the_way").axes
    assert [text.get_text() for text in dapt.texts] == ["−1.00", "+0.40"]
    assert "+0.05 of +0.40 nats come in the first 100 of 800 steps" in drawn("on_the_way").get_suptitle().replace(
        "\n", " "
    )
    assert tapt.get_xlabel() == "steps of TAPT after DAPT"
    courses = on_the_way()
    longer = courses["checkpoint"] == courses["checkpoint"].iloc[0]
    unequal = courses.assign(step=courses["step"].where(~longer, courses["step"] * 3))
    assert "steps" in course_plots.on_the_way(unequal).get_suptitle()
    assert course_plots.on_the_way(on_the_way()[:0]) is None
    assert course_plots.on_the_way(on_the_way().query("phase == 'tapt'")) is None
    kept = on_the_way().assign(change=-0.1)
    assert "its loss changes by −0.10 nats" in titles.on_the_way(kept)


def test_the_course_of_forgetting_prints_the_changes_and_has_bands_over_replicates(drawn):
    [axes] = drawn("course").axes
    assert [text.get_text() for text in axes.texts] == ["−0.50", "−0.20", "+0.30", "0.00"]
    assert "DAPT +0.30, base and DAPT averaged 0.00" in drawn("course").get_suptitle().replace("\n", " ")
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert marks == pytest.approx([5.05, 4.55, 4.85])
    assert {round(patch.get_width(), 2) for bars in axes.containers for patch in bars} == {0.1}


def test_cells_of_losses_have_the_change_large_and_the_loss_small(drawn):
    [axes] = drawn("cross_task").axes
    sizes = {text.get_text(): text.get_fontsize() for text in axes.texts}
    assert sizes["−0.50"] > sizes["3.50"] and "0.00" in sizes
    assert "−0.12 on the encoder's own text" in drawn("cross_task").get_suptitle()


def test_titles_of_losses_tell_what_the_encoder_read_from_its_domains_and_other_text():
    changes = pd.DataFrame(
        {"general": [0, 0.4], "a_topic": [0, -1.0], "a_area": [0, -0.5], "b_topic": [0, 0.1]},
        index=["base", "tapt_a_topic"],
    )
    domains = {"a_topic": "a", "a_area": "a", "b_topic": "b"}
    assert titles.losses(changes, {"tapt_a_topic": "a_topic"}, domains) == (
        "Adapting changes the loss, in nats: −1.00 on the encoder's own text, −0.50 on its domain's other task, "
        "+0.40 on general text, +0.10 on other domains' text, in the mean"
    )


def test_titles_of_many_differences_tell_those_that_are_shown():
    many = of_selectors()
    assert titles.differences(many) == "None of 5 differences is distinguished from zero"
    three = many[many["contrast"].isin(many["contrast"].unique()[:3])]
    assert titles.differences(three) == "None of 3 differences is distinguished from zero"
    one = many.assign(low=np.where(many["contrast"] == many["contrast"].iloc[0], 0.5, -1.0))
    told = "15NN-TAPT 1.0 points above RAND-TAPT (15); the other 4 not distinguished from zero"
    assert titles.differences(one) == told
    assert titles.differences(many.assign(low=0.5)).endswith("; 1 more differs from zero")
    assert "from zero" not in titles.differences(many.assign(low=np.nan, high=np.nan))


def test_titles_of_overlap_compare_with_no_other_domain_and_no_other_number_where_there_is_none():
    alone = pd.DataFrame({"a": [40.0, 60.0]}, index=["a_topic", "a_area"])
    own = {"a_topic": "a", "a_area": "a"}
    assert gap_titles.task_domain_overlap(alone, own) == "Tasks share 50 % of their words with their domain in the mean"
    told = gap_titles.figure2(np.array([[np.nan, 30.2], [30.4, np.nan]]), np.array([20.0, 60.0]))
    assert told == "Two texts share 30 % of their frequent words here, 20 to 60 % in the paper"


def test_neighbours_and_random_text_are_two_lines_a_task(drawn):
    panels = drawn("knn_gains").axes
    assert [axes.get_title(loc="left") for axes in panels[:2]] == ["mean over the tasks", "symbolic math topic"]
    assert len(panels) == 1 + len(NAMES)
    near, random = (panels[1].lines[k].get_ydata().tolist() for k in (1, 2))
    assert (near, random) == ([1.0, 3.0], [0.5, 0.0])
    assert "gains +3.0 points in the mean" in drawn("knn_gains").get_suptitle()
    bare = selection_plots.score_against_k(by_k(low=np.nan, high=np.nan))
    assert not bare.axes[0].collections and bare.get_suptitle().startswith("In one replicate")
    assert any("base −2.0" in text for text in texts(bare))


def test_the_front_goes_by_steps_and_naive_bayes_is_a_line(drawn):
    left, right = drawn("score_against_cost").axes
    names = {name.get_text(): name.get_fontweight() for name in left.get_yticklabels()}
    assert list(names) == ["TAPT", "RAND-TAPT (5)", "5NN-TAPT", "5NN-TAPT (BM25)", "DAPT"]  # the cheapest first
    assert [name for name, weight in names.items() if weight == "bold"] == ["TAPT", "5NN-TAPT", "DAPT"]
    assert [text.get_text() for text in left.texts] == ["4.0", "4.1", "5.0", "5.1", "90"]
    front = next(line for line in right.lines if line.get_label() == "most so far")
    assert front.get_xdata().tolist()[::2] == [0.9, 0.9, 1.1, 1.1, 1.8]
    counted = next(line for line in right.lines if line.get_linestyle() == ":")
    assert set(counted.get_xdata()) == {1.5} and "naive Bayes +1.5" in drawn("score_against_cost").get_suptitle()


def test_agreement_is_painted_on_the_whole_scale_each_pair_once(drawn):
    [axes] = drawn("selector_agreement").axes
    assert [text.get_text() for text in axes.texts] == ["13", "16", "17"]
    assert axes.collections[0].get_clim() == (0, 100)


def test_neighbours_have_the_words_that_they_share_marked_and_saturation_is_explained(drawn):
    figure = drawn("neighbours")
    marked = [t.get_text() for t in figure.texts if t.get_bbox_patch() and t.get_text() not in ("VAMPIRE", "random")]
    assert marked == ["matrix"] and "nearly alike" in figure.get_suptitle()
    assert any("mixtures of a few topics" in text.replace("\n", " ") for text in texts(figure))
    assert "$matrix$" in texts(figure)  # no formula is set


def test_mended_and_broken_texts_are_counted_on_two_sides(drawn):
    broken, mended = drawn("changed").axes[0].containers
    assert [patch.get_width() for patch in mended] == [9, 8, 7, 6] and [patch.get_width() for patch in broken] == [
        -1,
        -2,
        -3,
        -4,
    ]
    assert drawn("changed").get_suptitle().replace("\n", " ") == (
        "DAPT mends the labels of 30 of 400 test texts and breaks 10 that base has right"
    )


def test_the_papers_tasks_are_drawn_side_by_side_and_others_are_said_in_words(drawn):
    panels = drawn("against_paper").axes
    assert len(panels) == 2 and panels[0].get_yticklabels()[0].get_text() == "ACL-ARC"
    theirs, ours = (bars.lines[0].get_xdata().tolist() for bars in panels[0].containers)
    assert (theirs, ours) == ([12.4], [1.0]) and "ACL-ARC" in readings.on_paper_tasks(of_paper()).data
    assert "None of these tasks" in readings.on_paper_tasks(of_paper().query("study == 'ours'")).data


def test_the_pipeline_has_a_profiles_numbers(drawn):
    assert sum("1,234" in text for text in texts(drawn("pipeline"))) >= 5


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
    figure = claim_plots.claims_forest({"tiny": missing})
    assert figure.title.endswith("; tiny: none decided")
    _, words = figure.axes
    assert {text.get_text() for text in words.texts[10:]} == {"not run"}


def test_guesses_mark_the_true_word_and_tell_its_probability():
    figure = DRAWN["guesses"]()
    base, dapt = figure.axes[:2]
    assert [label.get_text() for label in dapt.get_yticklabels()][:2] == ["✓ alpha", "no2"]
    assert [label.get_text() for label in base.get_yticklabels()][0] == "no1"
    assert dapt.get_title(loc="left") == "DAPT numerical\n“alpha” itself: 37 %"
    assert figure.get_suptitle() == "Of 2 masked words, the first guess is right: base 0 and DAPT numerical 1"
    assert {"alpha +1.0", "omega −1.0"} <= set(texts(figure))


def test_a_gallery_colours_what_rose_blue_and_what_fell_orange():
    figure = DRAWN["gallery"]()
    assert figure.get_suptitle().replace("\n", " ") == (
        "DAPT numerical makes 2 of 4 masked words more probable; in the mean their log-probability changes by 0.00 nats"
    )
    boxes = {text.get_text(): text.get_bbox_patch() for text in figure.texts if text.get_bbox_patch()}
    rose, fell = (boxes[text].get_facecolor() for text in ("alpha +1.0", "omega −1.0"))
    assert rose[2] > rose[0] and fell[0] > fell[2]
    assert "the" in texts(figure)


def test_profiles_claims_are_drawn_side_by_side_from_their_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        judged().to_csv(tmp_path / name / "claims.csv", index=False)
    claims.write_forest(tmp_path, ["one", "two"])
    assert (tmp_path / "claims.png").is_file() and b"two" in (tmp_path / "claims.svg").read_bytes()
    with pytest.raises(StudyError, match="dontstop claims --profile three"):
        claims.write_forest(tmp_path, ["one", "three"])
    path = tmp_path / "two" / "claims.csv"
    whole = path.read_bytes()
    frame, wrong = judged(), [("effect", "x"), ("low", "x"), ("num_replicates", "x"), ("verdict", "zzz")]
    cells = [frame.astype(object).assign(**{name: value}).to_csv(index=False).encode() for name, value in wrong]
    lacking = frame.drop(columns="effect").to_csv(index=False).encode()
    for damage in (b"\0\0\xff\xfe", whole[:300], whole.replace(b"claim", b"clam"), b"", lacking, *cells):
        path.write_bytes(damage)
        with pytest.raises(StudyError, match=r"two/claims.csv(.|\n)*dontstop claims --profile two"):
            claims.write_forest(tmp_path, ["one", "two"])
