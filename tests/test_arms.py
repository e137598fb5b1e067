"""The plan: what each arm trains on, each checkpoint once, parents first."""

import pytest

from dontstop.design import arms
from dontstop.design.arms import ARMS, Arm, Checkpoint, Phase, Run, phase_settings
from dontstop.design.plan import plan_runs
from dontstop.errors import StudyError
from dontstop.profiles import Profile
from dontstop.studies import read_study

TASKS = [
    read_study("paper").task("citation_intent"),
    read_study("paper").task("hyperpartisan_news"),
    read_study("paper").task("imdb"),
]


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
    plan = plan_runs([arms.DAPT, arms.NOT_DAPT], TASKS, [0, 1])
    assert {checkpoint.replicate for checkpoint in plan.checkpoints} == {0}
    names = [checkpoint.name for checkpoint in plan.checkpoints]
    assert names == ["base", "dapt_cs", "dapt_news", "dapt_reviews", "dapt_biomed"]
    assert len(set(plan.runs)) == len(plan.runs) == 2 * 3 * 2


def test_an_unfinished_study_has_whole_comparisons():
    runs = plan_runs([arms.BASE, arms.DAPT], TASKS, [5, 6]).runs
    assert runs[:4] == tuple(Run(task, arm, 5) for task in TASKS[:2] for arm in (arms.BASE, arms.DAPT))
    assert [run.seed for run in runs] == [5] * 6 + [6] * 6


def test_an_unknown_arm_is_told():
    with pytest.raises(
        StudyError,
        match="one of base, dapt, not_dapt, not_dapt_2, not_dapt_3, replay_dapt, average_dapt, tapt",
    ):
        arms.get_arm("datp")


def test_checkpoints_of_tapts_arms():
    task = TASKS[0]
    assert ARMS["tapt"].checkpoint(task).name == "tapt_citation_intent"
    assert ARMS["transfer_tapt"].checkpoint(task).name == "tapt_sciie"
    both = ARMS["dapt_tapt"].checkpoint(task)
    assert both.name == "dapt_cs_then_tapt_citation_intent"
    assert both.parent == ARMS["dapt"].checkpoint(task)
    short = arms.short_tapt(5).checkpoint(task)
    assert short.name == "tapt_5_epochs_citation_intent"
    assert [c.last.is_tapt for c in (both, short, both.parent)] == [True, True, False]


def test_transfer_trains_nothing_that_tapt_has_not():
    both = [read_study("paper").task("citation_intent"), read_study("paper").task("sciie")]
    of_tapt, of_transfer = (plan_runs([arm], both, [0]) for arm in (arms.TAPT, arms.TRANSFER_TAPT))
    assert set(of_transfer.checkpoints) == set(of_tapt.checkpoints)
    pairs = [{(run.task, run.checkpoint) for run in plan.runs} for plan in (of_tapt, of_transfer)]
    assert not pairs[0] & pairs[1]
    together = of_tapt + of_transfer
    assert len(together.checkpoints) == 3 and len(together.runs) == 4


def test_transfer_without_the_domains_other_task_is_told():
    with pytest.raises(StudyError, match="no task sciie, on whose text transfer_tapt of citation_intent is trained"):
        plan_runs([arms.TRANSFER_TAPT], TASKS, [0])


def test_names_of_phases_and_arms():
    assert [arm.name for arm in (arms.short_tapt(10), arms.knn_tapt(5), arms.knn_tapt(5, "tfidf"))] == [
        "tapt_10_epochs",
        "knn_tapt_5",
        "knn_tapt_5_tfidf",
    ]
    for name, arm in ARMS.items():
        assert arm.name == name == str(arm)
    drawn = arms.rand_tapt(15, "bm25").checkpoint(TASKS[0], replicate=2)
    assert (drawn.name, drawn.last.name) == ("rand_tapt_15_bm25_citation_intent", "rand_tapt_15_bm25")
    both = arms.DAPT_CURATED_TAPT.checkpoint(TASKS[0])
    assert [c.name for c in both.lineage] == ["base", "dapt_cs", "dapt_cs_then_curated_tapt_citation_intent"]
    assert both.last.is_augmented and arms.DAPT_CURATED_TAPT.is_augmented


def test_what_an_arm_is_stands_in_it_and_not_in_its_name():
    knn, odd = arms.knn_tapt(15, "bm25"), Arm("odd", (Phase("knn_tapt", "task", k=3),))
    assert (knn.k, knn.selector, knn.part, knn.is_augmented, knn.is_short) == (15, "bm25", "all", True, False)
    assert odd.k == 3 and odd.is_augmented and arms.rand_tapt(5).is_augmented and arms.short_tapt(5).is_short
    assert [arms.LORA_DAPT.part, arms.EMBEDDING_TAPT.part, arms.BASE.part] == ["lora", "embeddings", "all"]


def test_the_three_other_domains_give_three_arms():
    named = [[arm.checkpoint(task).name for arm in arms.NOT_DAPTS] for task in TASKS]
    assert named[0] == ["dapt_news", "dapt_biomed", "dapt_reviews"]
    assert named[1] == ["dapt_cs", "dapt_biomed", "dapt_reviews"]
    assert named[2] == ["dapt_biomed", "dapt_cs", "dapt_news"]
    topic = read_study("docstrings").task("symbolic_math_topic")
    assert [arm.checkpoint(topic).name for arm in arms.NOT_DAPTS] == [
        *("dapt_data_analysis", "dapt_deep_learning", "dapt_numerical")
    ]


def test_arms_against_forgetting():
    replay, average = (ARMS[name].checkpoint(TASKS[0], 1) for name in ("replay_dapt", "average_dapt"))
    assert (replay.name, replay.parent) == ("replay_dapt_cs", Checkpoint((), 1))
    assert (average.name, average.parent) == ("dapt_cs_then_average_cs", arms.DAPT.checkpoint(TASKS[0], 1))


def test_all_arms_of_a_replicate_rest_on_its_own_base():
    plans = [plan_runs([arms.DAPT, arms.TAPT, arms.DAPT_TAPT], TASKS[:1], [0], replicate) for replicate in (0, 1)]
    for replicate, plan in enumerate(plans):
        assert {c.replicate for c in plan.checkpoints} == {replicate} == {run.replicate for run in plan.runs}
        assert {run.checkpoint.lineage[0] for run in plan.runs} == {Checkpoint((), replicate)}
    assert not set(plans[0].checkpoints) & set(plans[1].checkpoints)
    assert [c.name for c in plans[0].checkpoints] == [c.name for c in plans[1].checkpoints]
    assert (plans[0] + plans[1]).checkpoints == plans[0].checkpoints + plans[1].checkpoints


def test_a_head_and_its_batches_are_a_replicates_own_and_all_arms_share_them():
    seeds = {(r, s): Run(TASKS[0], arms.BASE, s, r).random_seed for r in range(4) for s in range(4)}
    assert len(set(seeds.values())) == 16
    assert {Run(TASKS[0], arm, 1, 2, num).random_seed for arm in ARMS.values() for num in (None, 9)} == {seeds[2, 1]}


def test_labels_are_an_axis_of_the_plan():
    runs = plan_runs([arms.BASE, arms.TAPT], TASKS[:1], [7, 8], 0, [5, None]).runs
    assert [(run.arm.name, run.seed, run.num_labels) for run in runs] == [
        *(("base", 7, 5), ("base", 7, None), ("tapt", 7, 5), ("tapt", 7, None)),
        *(("base", 8, 5), ("base", 8, None), ("tapt", 8, 5), ("tapt", 8, None)),
    ]


def test_settings_of_phases():
    curve = {"num_epochs": [5], "tasks": []}
    profile = Profile(name="mine", task_tapt={"imdb": {"num_epochs": 7, "num_checks": 2}}, tapt_curve=curve)
    settings = {name: phase_settings(profile, arm.checkpoint(TASKS[2])) for name, arm in ARMS.items()}
    assert settings["base"] == profile.base and settings["dapt"] == profile.dapt == settings["not_dapt_3"]
    assert settings["replay_dapt"] == profile.dapt and settings["average_dapt"] is None
    assert settings["tapt"].num_epochs == 7 == settings["embedding_tapt"].num_epochs
    assert settings["lora_dapt"].learning_rate == 10 * profile.dapt.learning_rate
    assert settings["curated_tapt"] == profile.augmented_tapt
    short = phase_settings(profile, arms.short_tapt(5).checkpoint(TASKS[2]))
    assert (short.num_epochs, short.num_checks, short.patience) == (5, None, None)


def test_all_text_at_tapts_place_has_one_schedule_unless_a_profile_sets_another():
    profile = Profile(name="mine", augmented_tapt=None, task_tapt={"imdb": {"num_epochs": 7}})
    for arm in (arms.CURATED_TAPT, arms.knn_tapt(5), arms.rand_tapt(5, "bm25")):
        assert phase_settings(profile, arm.checkpoint(TASKS[2])) == profile.tapt_for("imdb")
        assert phase_settings(Profile(name="other"), arm.checkpoint(TASKS[2])) == Profile(name="other").augmented_tapt


def test_each_replicate_trains_with_a_seed_of_its_own():
    profile = Profile(name="mine", base={"num_steps": 3, "seed": 4}, tapt={"num_epochs": 3})
    assert [phase_settings(profile, Checkpoint((), r)).seed for r in range(3)] == [4, 5, 6]
    settings = [phase_settings(profile, arms.TAPT.checkpoint(TASKS[0], r)) for r in range(3)]
    assert [some.seed for some in settings] == [0, 1, 2] and settings[2] == profile.tapt.model_copy(update={"seed": 2})
    assert phase_settings(profile.model_copy(update={"base": None}), Checkpoint((), 1)) is None
