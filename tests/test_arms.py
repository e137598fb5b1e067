"""The plan: what each arm trains on, each checkpoint once, parents first."""

import pytest

from dontstop.errors import StudyError
from dontstop.runs import arms
from dontstop.runs.arms import Cell, Checkpoint
from dontstop.text.tasks import get_task

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
    with pytest.raises(StudyError, match="one of base, dapt, not_dapt, tapt, dapt_tapt, transfer_tapt"):
        arms.plan(["datp"], TASKS, [0])


def test_checkpoints_of_tapts_arms():
    task = TASKS[0]
    assert arms.checkpoint_of("tapt", task).name == "tapt_citation_intent"
    assert arms.checkpoint_of("transfer_tapt", task).name == "tapt_sciie"
    both = arms.checkpoint_of("dapt_tapt", task)
    assert (both.name, both.kinds) == ("dapt_cs_then_tapt_citation_intent", "dapt_tapt")
    assert both.parent == arms.checkpoint_of("dapt", task)
    short = arms.checkpoint_of(arms.short_tapt(5), task)
    assert (short.name, short.kinds) == ("tapt_5_epochs_citation_intent", "tapt_5_epochs")
    assert [arms.is_tapt(kind) for kind in ("tapt", short.kinds, "dapt", "dapt_tapt")] == [True, True, False, False]


def test_transfer_trains_nothing_that_tapt_has_not():
    sisters = [get_task("citation_intent"), get_task("sciie")]
    of_tapt, of_transfer = (arms.plan([arm], sisters, [0]) for arm in ("tapt", "transfer_tapt"))
    assert set(of_transfer.checkpoints) == set(of_tapt.checkpoints)
    assert not {(c.task, c.checkpoint) for c in of_transfer.cells} & {(c.task, c.checkpoint) for c in of_tapt.cells}
    together = of_tapt + of_transfer
    assert len(together.checkpoints) == 3 and len(together.cells) == 4


def test_transfer_without_the_sister_task_is_told():
    with pytest.raises(StudyError, match="no task sciie, on whose text transfer_tapt of citation_intent is trained"):
        arms.plan(["transfer_tapt"], TASKS, [0])
