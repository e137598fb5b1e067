"""Domains and tasks from YAML: linked, checked, and told where an entry is wrong."""

import pytest
import yaml

from dontstop.design import arms
from dontstop.design.needs import Design
from dontstop.errors import StudyError
from dontstop.profiles import load_profile
from dontstop.studies import parse_study, read_study

ONE = {"domains": {"support": None}, "tasks": {"queue": {"domain": "support", "metric": "macro_f1"}}}


def study(**changes):
    return parse_study(ONE | changes, "own.yaml")


def test_one_domain_and_one_task_are_a_study():
    found = study()
    (domain,), (task,) = found.domains, found.tasks
    assert (domain.display_name, domain.irrelevant_domain, task.other_task) == ("Support", None, None)
    assert task.other_domains == () and not found.is_own
    with pytest.raises(StudyError, match="no irrelevant domain of queue"):
        arms.NOT_DAPT.checkpoint(task)


def test_other_domains_come_with_the_irrelevant_one_first():
    domains = {"a": {"irrelevant_domain": "c"}, "b": {}, "c": {}}
    tasks = {name: {"domain": name, "metric": "micro_f1"} for name in "abc"}
    found = study(domains=domains, tasks=tasks)
    assert [task.other_domains for task in found.tasks] == [("c", "b"), (), ()]
    assert [task.other_domains for task in read_study("paper").tasks[:2]] == [("reviews", "cs", "news")] * 2


WRONG = {
    "no task": ({"tasks": {}}, "tasks = "),
    "unknown key": ({"domains": {"support": {"file": "x"}}}, "unknown key domains.support.file in own.yaml"),
    "metric": ({"tasks": {"queue": {"domain": "support", "metric": "f1"}}}, "tasks.queue.metric = 'f1'"),
    "domain": ({"tasks": {"queue": {"domain": "suport", "metric": "macro_f1"}}}, "did you mean 'support'"),
    "path": ({"domains": {"../support": None}}, "domain '../support'"),
    "other task": (
        {
            "domains": {"a": None, "b": None},
            "tasks": {
                "one": {"domain": "a", "metric": "macro_f1", "other_task": "two"},
                "two": {"domain": "b", "metric": "macro_f1"},
            },
        },
        "other_task 'two' of one, a task of another domain",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_entry_is_told(name):
    changes, told = WRONG[name]
    with pytest.raises(StudyError) as error:
        study(**changes)
    assert told in str(error.value)


def test_a_study_that_is_not_there_is_told():
    with pytest.raises(StudyError, match="study 'papr'\nexpected: one of docstrings, paper"):
        read_study("papr")


def write(folder, name, **content):
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))


def test_a_profile_like_another_takes_what_it_does_not_give_itself(tmp_path):
    (tmp_path / "configs").mkdir()
    write(tmp_path / "configs", "own.example", text={"min_words": 5, "study": ONE}, dapt={"num_steps": 3}, seeds=[1])
    two = ONE | {"domains": {"support": None, "news": None}}
    write(tmp_path, "mine", like="own.example", text={"study": two}, dapt={"num_epochs": 2})
    found = load_profile(str(tmp_path / "mine.yaml"), tmp_path)
    assert (found.name, found.seeds, found.text.min_words, found.dapt.num_steps) == ("mine", [1], 5, None)
    assert [domain.name for domain in found.text.study.domains] == ["news", "support"]
    write(tmp_path / "configs", "round", like="round")
    with pytest.raises(StudyError, match="comes back to it"):
        load_profile("round", tmp_path)


def test_the_examples_are_whole(monkeypatch):
    for name in ("own.example", "own.encoder"):
        found = load_profile(name)
        assert found.text.study.is_own and found.text.source == "files" and found.replicates == 3
    assert found.base is None and found.encoder.name == found.tokens.tokenizer


def test_arms_that_lack_text_are_left_out_and_named():
    profile = load_profile("own.example")
    design = Design(profile, profile.text.study.tasks)
    assert {arm.name for arm in design.arms()} == {"base", "dapt", "tapt", "dapt_tapt"}
    told = "left out for want of text: not_dapt of topic (no irrelevant domain); transfer_tapt of topic (no other task)"
    assert design.left_out() == told and design.left_out("tapt") == ""


def test_a_profile_may_name_the_arms_that_are_run():
    profile = load_profile("own.example").model_copy(update={"arms": ["base", "dapt_tapt"]})
    design = Design(profile, profile.text.study.tasks)
    assert {arm.name for arm in design.arms()} == {"base", "dapt_tapt"}
    assert {checkpoint.name for checkpoint, _ in design.measured("dapt")} == {"base"}
    assert {store for _, store in design.measured("dapt_tapt")} == {"held_out/general", "held_out/mathematics"}
    without = profile.model_copy(update={"arms": ["base", "tapt"]})
    assert Design(without, without.text.study.tasks).measured("dapt_tapt") == []
