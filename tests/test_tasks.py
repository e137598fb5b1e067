"""Domains and tasks as data."""

import pytest

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Paths, Profile, Text
from dontstop.studies import read_study
from dontstop.text import classes, tasks

DOCSTRINGS = Profile(name="laptop")
STUDIES = [read_study(name) for name in ("docstrings", "paper")]
NUMERICAL = STUDIES[0].domain("numerical")


def test_the_docstring_study_has_two_tasks_in_each_of_four_domains(tmp_path):
    domains, found = DOCSTRINGS.text.study.domains, tasks.tasks_for(DOCSTRINGS, Paths("laptop", tmp_path))
    assert [task.name for task in found] == [f"{d.name}_{kind}" for d in domains for kind in ("topic", "area")]
    assert {task.metric for task in found} == {"macro_f1"}


@pytest.mark.parametrize("source", ["docstrings", "files"])
def test_irrelevant_domains_pair_off(source):
    domains = {domain.name: domain for domain in Text(source=source).study.domains}
    for domain in domains.values():
        other = domains[domain.irrelevant_domain]
        assert other is not domain
    if source == "docstrings":
        assert all(domains[d.irrelevant_domain].irrelevant_domain == d.name for d in domains.values())


@pytest.mark.parametrize("name", ["numerical_area", "chemprot", "ag", "amazon"])
def test_a_domains_two_tasks_share_it_and_point_at_each_other(name):
    study = next(study for study in STUDIES if name in [task.name for task in study.tasks])
    task = study.task(name)
    other = study.task(task.other_task)
    assert (other.other_task, other.domain) == (task.name, task.domain)
    assert study.domain(task.domain).name == task.domain


def test_biomedical_tasks_are_scored_with_micro_f1():
    names = ["chemprot", "rct-20k", "citation_intent", "imdb"]
    assert [STUDIES[1].task(name).metric for name in names] == ["micro_f1", "micro_f1", "macro_f1", "macro_f1"]


def of_files(**settings):
    return Profile(name="mini", text=Text(source="files", **settings))


def test_a_profile_of_files_goes_without_the_tasks_that_it_may_lack(tmp_path):
    for task in ("sciie", "imdb"):  # a folder without a split is no task
        (tmp_path / "texts" / "tasks" / task).mkdir(parents=True)
    (tmp_path / "texts" / "tasks" / "sciie" / "train.jsonl.gz").touch()
    paths, named = Paths("mini", tmp_path), ["sciie", "imdb"]
    found = tasks.tasks_for(of_files(folder="texts", tasks=named, may_lack=["imdb"]), paths)
    assert [task.name for task in found] == ["sciie"]
    with pytest.raises(StudyError, match=r"no imdb in .*\n.*sciie, imdb\n.*text.may_lack: \[imdb\]"):
        tasks.tasks_for(of_files(folder="texts", tasks=named), paths)
    with pytest.raises(StudyError, match="no chemprot, rct-20k, citation_intent"):
        tasks.tasks_for(of_files(folder="texts"), paths)


def test_a_profile_of_files_without_tasks_is_an_error(tmp_path):
    profile = of_files(folder="texts", tasks=["imdb"], may_lack=["imdb"])
    with pytest.raises(StudyError, match="no folder .*texts\n.*\n.*DONTSTOP_MIRROR"):
        tasks.tasks_for(profile, Paths("mini", tmp_path))
    (tmp_path / "texts").mkdir()
    with pytest.raises(StudyError, match="no task folder"):
        tasks.tasks_for(profile, Paths("mini", tmp_path))


def test_a_mirror_need_not_be_named_again_once_its_text_is_prepared(tmp_path):
    paths = Paths("mini", tmp_path)
    with pytest.raises(StudyError, match=r"MIRROR=<folder>, or under text\.folder"):
        tasks.tasks_for(of_files(), paths)
    files.write_json(paths.data / "manifest.json", {"tasks": {"imdb": {}, "ag": {}}})
    assert [task.name for task in tasks.tasks_for(of_files(), paths)] == ["ag", "imdb"]


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(StudyError, match="did you mean 'chemprot'"):
        STUDIES[1].task("chemprott")
    with pytest.raises(StudyError, match="did you mean 'biomed'"):
        STUDIES[1].domain("biomeds")


@pytest.mark.parametrize(
    ("module", "topic"),
    [
        ("scipy.stats._distn", "scipy.stats"),
        ("scipy.stats", "scipy.stats"),
        ("scipy.statsmodels", None),
        ("numpy.random", None),
    ],
)
def test_a_topic_is_a_subpackage_and_all_below_it(module, topic):
    assert classes.class_of(NUMERICAL, "topic", module) == topic


@pytest.mark.parametrize(
    ("module", "area"),
    [
        ("scipy.stats._continuous_distns", "distributions"),
        ("scipy.stats._stats_py", "statistical tests"),
        ("numpy.lib._npyio_impl", "files"),
        ("numpy.lib._twodim_base_impl", "arrays"),
        ("numpy.random", None),
    ],
)
def test_an_area_is_the_first_that_names_a_part_of_the_module(module, area):
    assert classes.class_of(NUMERICAL, "area", module) == area


@pytest.mark.parametrize("domain", STUDIES[0].domains, ids=lambda domain: domain.name)
def test_no_area_is_hidden_behind_an_earlier_one(domain):
    for area, names in domain.areas.items():
        assert {classes.class_of(domain, "area", name) for name in names} == {area}
