"""The plan: what each arm trains on, each checkpoint once, parents first."""

import pytest

from dontstop.errors import StudyError
from dontstop.profiles import Profile
from dontstop.runs import arms
from dontstop.runs.arms import ARMS, Arm, Checkpoint, Phase, Run, phase_settings
from dontstop.text.tasks import get_task

TASKS = [get_task("citation_intent"), get_task("hyperpartisan_news"), get_task("imdb")]


def test_checkpoints_of_the_arms():
    assert ARMS["base"].checkpoint(TASKS[0]) == Checkpoint()
    assert ARMS["dapt"].checkpoint(TASKS[0]).name == "dapt_cs"
    assert ARMS["not_dapt"].checkpoint(TASKS[0]).name == "dapt_news"
    assert ARMS["not_dapt"].checkpoint(TASKS[2]).name == "dapt_biomed"


def test_names_and_parents():
    both = Checkpoint((Phase("dapt", "cs"), Phase("tapt", "sciie")))
    assert both.name == "dapt_cs_then_tapt_sciie"
    assert both.parent.name == "dapt_cs" and both.parent.parent == Checkpoint() and Checkpoint().parent is None
    assert Checkpoint().name == "base"


def test_a_plan_trains_each_checkpoint_once_and_parents_first():
    plan = arms.plan([arms.DAPT, arms.NOT_DAPT], TASKS, [0, 1])
    names = [checkpoint.name for checkpoint in plan.checkpoints]
    assert names == ["base", "dapt_cs", "dapt_news", "dapt_reviews", "dapt_biomed"]
    assert len(set(plan.runs)) == len(plan.runs) == 2 * 3 * 2


def test_an_unfinished_study_has_whole_comparisons():
    runs = arms.plan([arms.BASE, arms.DAPT], TASKS, [5, 6]).runs
    assert runs[:4] == tuple(Run(task, arm, 5) for task in TASKS[:2] for arm in (arms.BASE, arms.DAPT))
    assert [run.seed for run in runs] == [5] * 6 + [6] * 6


def test_an_unknown_arm_is_told():
    with pytest.raises(StudyError, match="one of base, dapt, not_dapt, tapt, dapt_tapt, transfer_tapt"):
        arms.get_arm("datp")


def test_checkpoints_of_tapts_arms():
    task = TASKS[0]
    assert ARMS["tapt"].checkpoint(task).name == "tapt_citation_intent"
    assert ARMS["transfer_tapt"].checkpoint(task).name == "tapt_sciie"
    both = ARMS["dapt_tapt"].checkpoint(task)
    assert (both.name, both.kinds) == ("dapt_cs_then_tapt_citation_intent", "dapt_tapt")
    assert both.parent == ARMS["dapt"].checkpoint(task)
    short = arms.short_tapt(5).checkpoint(task)
    assert (short.name, short.kinds) == ("tapt_5_epochs_citation_intent", "tapt_5_epochs")
    assert [c.last.is_tapt for c in (both, short, both.parent)] == [True, True, False]


def test_transfer_trains_nothing_that_tapt_has_not():
    both = [get_task("citation_intent"), get_task("sciie")]
    of_tapt, of_transfer = (arms.plan([arm], both, [0]) for arm in (arms.TAPT, arms.TRANSFER_TAPT))
    assert set(of_transfer.checkpoints) == set(of_tapt.checkpoints)
    pairs = [{(run.task, run.checkpoint) for run in plan.runs} for plan in (of_tapt, of_transfer)]
    assert not pairs[0] & pairs[1]
    together = of_tapt + of_transfer
    assert len(together.checkpoints) == 3 and len(together.runs) == 4


def test_transfer_without_the_domains_other_task_is_told():
    with pytest.raises(StudyError, match="no task sciie, on whose text transfer_tapt of citation_intent is trained"):
        arms.plan([arms.TRANSFER_TAPT], TASKS, [0])


def test_names_of_phases_and_arms():
    assert [arm.name for arm in (arms.short_tapt(10), arms.knn_tapt(5), arms.knn_tapt(5, "tfidf"))] == [
        "tapt_10_epochs",
        "knn_tapt_5",
        "knn_tapt_5_tfidf",
    ]
    for name, arm in ARMS.items():
        assert arm.name == name == str(arm)
    drawn = arms.rand_tapt(15).checkpoint(TASKS[0], draw=2)
    assert (drawn.name, drawn.last.name) == ("rand_tapt_15_draw_2_citation_intent", "rand_tapt_15_draw_2")
    both = arms.DAPT_CURATED_TAPT.checkpoint(TASKS[0])
    assert [c.name for c in both.lineage] == ["base", "dapt_cs", "dapt_cs_then_curated_tapt_citation_intent"]
    assert both.kinds == "dapt_curated_tapt" and both.last.is_augmented and arms.DAPT_CURATED_TAPT.is_augmented


def test_what_an_arm_is_stands_in_it_and_not_in_its_name():
    knn, odd = arms.knn_tapt(15, "bm25"), Arm("odd", (Phase("knn_tapt", "task", k=3),))
    assert (knn.k, knn.selector, knn.part, knn.is_random, knn.is_short) == (15, "bm25", "all", False, False)
    assert odd.k == 3 and odd.is_augmented and arms.rand_tapt(5).is_random and arms.short_tapt(5).is_short
    assert [arms.LORA_DAPT.part, arms.EMBEDDING_TAPT.part, arms.BASE.part] == ["lora", "embeddings", "all"]


def test_random_text_is_drawn_in_turns():
    runs = arms.plan([arms.rand_tapt(5), arms.TAPT], TASKS[:1], [7, 8, 9], num_draws=2).runs
    assert [run.draw for run in runs] == [0, 0, 1, 0, 0, 0]
    assert len({run.checkpoint for run in runs}) == 3


def test_settings_of_phases():
    profile = Profile(name="mine", task_tapt={"imdb": {"num_epochs": 7}}, tapt_curve={"num_epochs": [5], "tasks": []})
    settings = {name: phase_settings(profile, arm.checkpoint(TASKS[2]).last) for name, arm in ARMS.items()}
    assert settings["base"] == profile.base and settings["dapt"] == profile.dapt == settings["not_dapt"]
    assert settings["tapt"].num_epochs == 7 == settings["embedding_tapt"].num_epochs
    assert settings["lora_dapt"].learning_rate == 10 * profile.dapt.learning_rate
    assert settings["curated_tapt"] == profile.augmented_tapt
    assert phase_settings(profile, arms.short_tapt(5).checkpoint(TASKS[0]).last).num_epochs == 5
