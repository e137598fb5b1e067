"""The plan: what each arm trains on, each checkpoint once, parents first."""

import pytest

from dontstop import arms
from dontstop.arms import Cell, Checkpoint
from dontstop.errors import StudyError
from dontstop.tasks import get_task

TASKS = [get_task("citation_intent"), get_task("hyperpartisan_news"), get_task("imdb")]


def test_checkpoints_of_the_arms():
    assert arms.checkpoint_of("base", TASKS[0]) == Checkpoint()
    assert arms.checkpoint_of("dapt", TASKS[0]).name == "dapt_cs"
    assert arms.checkpoint_of("not_dapt", TASKS[0]).name == "dapt_news"
    assert arms.checkpoint_of("not_dapt", TASKS[2]).name == "dapt_biomed"


def test_names_and_parents():
    both = Checkpoint((("dapt", "cs"), ("tapt", "sciie")))
    assert both.name == "dapt_cs_then_tapt_sciie"
    assert both.parent.name == "dapt_cs" and both.parent.parent == Checkpoint() and Checkpoint().parent is None
    assert Checkpoint().name == "base"


def test_a_plan_trains_each_checkpoint_once_and_parents_first():
    plan = arms.plan(["dapt", "not_dapt"], TASKS, [0, 1])
    names = [checkpoint.name for checkpoint in plan.checkpoints]
    assert names == ["base", "dapt_cs", "dapt_news", "dapt_reviews", "dapt_biomed"]
    assert len(set(plan.cells)) == len(plan.cells) == 2 * 3 * 2


def test_an_unfinished_study_has_whole_comparisons():
    cells = arms.plan(["base", "dapt"], TASKS, [5, 6]).cells
    assert cells[:4] == tuple(Cell(task, arm, 5) for task in TASKS[:2] for arm in ("base", "dapt"))
    assert [cell.seed for cell in cells] == [5] * 6 + [6] * 6


def test_an_unknown_arm_is_told():
    with pytest.raises(StudyError, match="one of base, dapt, not_dapt"):
        arms.plan(["datp"], TASKS, [0])
