"""Advice on one's own text: the verdict and what would decide it, the budget, and the page of a tiny study."""

import numpy as np
import pandas as pd
import pytest

import tiny
from dontstop.profiles import Labels
from dontstop.report import advice as page
from dontstop.report import claims, measures, own_text
from dontstop.runs import budget, identity, preparation, published, records
from dontstop.runs.results import RUN_COLUMNS
from dontstop.study import Study
from dontstop.verdicts import advice
from dontstop.verdicts.baselines import linear_probe_score
from dontstop.verdicts.judgements import judge
from fabricated import make_records

TRUTH = np.arange(600) % 3


def runs(accuracies, replicates=5, spread=0.01):
    how = {"seed": 0, "seeds": range(1), "replicates": range(replicates), "spread": spread, "domain": "d"}
    return make_records(accuracies, TRUTH, **how).assign(wall_seconds=1.0, checkpoint="c")


def test_the_arm_of_the_largest_gain_that_is_shown_is_advised():
    found = advice.advise(runs({"base": 0.6, "tapt": 0.75, "dapt": 0.61}))
    assert (found.word, found.arm) == (advice.ADAPT, "tapt")
    assert found.gains.set_index("arm")["verdict"]["tapt"] == "holds"


def test_arms_that_are_all_worse_are_advised_against():
    assert advice.advise(runs({"base": 0.8, "tapt": 0.6, "dapt": 0.65})).word == advice.LEAVE


def test_what_is_not_shown_is_inconclusive_and_told_with_the_replicates_it_takes():
    found = advice.advise(runs({"base": 0.6, "dapt": 0.61}, replicates=3, spread=0.03))
    assert found.word == advice.INCONCLUSIVE and found.gains["replicates_needed"].iloc[0] > 3
    others = pd.DataFrame({"naive_bayes": [90.0], "linear_probe": [50.0]})
    told = page.answer(found, others, runs({"base": 0.6, "dapt": 0.61}), {"task": TRUTH})
    assert told[0].startswith("**Inconclusive.** DAPT scores") and "On other test texts of the kind" in told[1]
    assert "replicates would show it" in told[2] and "(`--replicates " in told[2]
    assert "Naive Bayes, on words alone, scores more than every arm: no arm" in told[-1]


def test_a_gain_on_a_dozen_test_texts_is_not_relied_on_for_others():
    for num, relied in ((12, False), (600, True)):
        how = {"seed": 0, "seeds": range(1), "replicates": range(5), "spread": 0.0, "domain": "d"}
        some = make_records({"base": 0.58, "dapt": 0.75}, TRUTH[:num], **how).assign(wall_seconds=1.0, checkpoint="c")
        row = advice.gains_over_base(some).iloc[0]
        low, high = advice.on_other_texts(some, "dapt", {"task": TRUTH[:num]})
        assert low < row["low"] < row["effect"] < row["high"] < high and (low > 0) == relied
    found = advice.Advice(advice.ADAPT, "dapt", advice.gains_over_base(some))
    others = pd.DataFrame({"naive_bayes": [9.0], "linear_probe": [5.0]})
    assert not any("label more" in line for line in page.answer(found, others, some, {"task": TRUTH}))


def test_a_single_test_text_gives_no_interval_on_others_and_no_warning():
    how = {"seed": 0, "seeds": range(1), "replicates": range(3), "domain": "d"}
    some = make_records({"base": 0.0, "dapt": 1.0}, TRUTH[:1], **how).assign(wall_seconds=1.0, checkpoint="c")
    others = pd.DataFrame({"naive_bayes": [9.0], "linear_probe": [5.0]})
    assert np.isnan(advice.on_other_texts(some, "dapt", {"task": TRUTH[:1]})).all()
    told = page.answer(advice.advise(some), others, some, {"task": TRUTH[:1]})
    assert told[1] == "Of a single test text there is no interval on others: label more before you rely on it."


def test_two_replicates_are_told_to_be_too_few():
    found = advice.advise(runs({"base": 0.6, "dapt": 0.61}, replicates=2, spread=0.3))
    others = pd.DataFrame({"naive_bayes": [9.0], "linear_probe": [5.0]})
    told = page.answer(found, others, runs({"base": 0.6, "dapt": 0.61}, replicates=2))
    assert "would have shown no gain that a score can have" in told[0] and "three or more" in told[1]


def test_one_replicate_or_one_arm_gives_no_verdict():
    single = advice.advise(runs({"base": 0.6, "dapt": 0.9}, replicates=1))
    assert single.word == advice.INCONCLUSIVE and "needs two replicates" in page.answer(single, None, None)[0]
    alone = advice.advise(runs({"base": 0.6}))
    assert alone.word == advice.NOT_COMPARED and page.answer(alone, None, None)[0].startswith("**Not compared.**")


def test_the_replicates_needed_see_the_effect_four_times_in_five():
    num = int(advice.replicates_needed(1.0, 1.0))
    draws = np.random.default_rng(0).normal(1.0, 1.0, (20_000, num))
    t = draws.mean(1) / (draws.std(1, ddof=1) / np.sqrt(num))
    seen = np.mean(np.abs(t) > 2.262)  # the critical value of nine degrees of freedom
    assert num == 10 and seen == pytest.approx(0.80, abs=0.02)
    assert advice.replicates_needed(0.0, 1.0) == np.inf and np.isnan(advice.replicates_needed(1.0, np.nan))


def test_a_linear_probe_finds_what_states_tell_and_nothing_in_noise():
    rng, truth = np.random.default_rng(0), {s: np.arange(90) % 3 for s in ("train", "dev", "test")}
    noise = {split: rng.standard_normal((90, 5)) for split in truth}
    told = {split: np.eye(5)[truth[split]] + 0.01 * noise[split] for split in truth}
    scores = [linear_probe_score(states, truth, "macro_f1", np.arange(60)) for states in (told, noise)]
    assert scores[0] == 100 and scores[1] < 60


@pytest.fixture(scope="module")
def advised(tmp_path_factory):
    """Ask for advice on the tiny user's text, with a budget for all arms; return the root and the study."""
    root = tiny.make_own(tmp_path_factory.mktemp("own"))
    with tiny.at(root):
        study = Study("own", "07_own_data", minutes=1000)
        study.advise()
    return root, study


def test_a_page_answers_first_and_tells_data_gap_costs_and_scores(advised):
    root, _ = advised
    text = (root / "results" / "own" / "advice.md").read_text()
    for heading in ("The text", "The gap to general text", "What it would cost", "What was found"):
        assert f"\n## {heading}" in text
    assert text.split("\n")[2].startswith("- **") and "not_dapt of tickets (no irrelevant domain)" in text
    assert "test of tickets has 16 texts: one text is 6.2 points." in text
    assert page.in_short(text) and "**" not in page.in_short(text)


def test_scores_of_other_methods_that_are_known_are_not_made_again(advised, monkeypatch):
    root, study = advised
    with tiny.at(root):
        ahead = page.costs(study, 30)
        text = page.page(study, ahead, 30)
        others = page.own_text.other_methods(study)
        monkeypatch.setattr(page.own_text, "other_methods", None)
        assert page.page(study, ahead, 30, others) == text


def test_all_arms_were_run_and_what_is_there_costs_nothing(advised):
    root, study = advised
    with tiny.at(root):
        assert {arm.name for arm in study.available_arms()} == {arm.name for arm in budget.ORDER}
        found = budget.costs_ahead(study, budget.Speed(1.0, 1.0, None), 0.001)
    assert (found["wall_seconds"] == 0).all() and found["affordable"].all()


def test_the_budget_is_spent_in_order_and_nothing_without_the_base_encoder(advised, tmp_path):
    root, _ = advised
    tiny.make_own(tmp_path)
    with tiny.at(tmp_path):
        study = Study("own", "07_own_data")
        study.prepare()
        speed = budget.Speed(pretraining=1e-3, fine_tuning=1e-3, config=None)
        whole = budget.costs_ahead(study, speed, 1e6).set_index("arm")
        some = whole.loc[["base", "tapt"], "wall_seconds"].sum() / 60 + 1e-6
        part = budget.costs_ahead(study, speed, some).set_index("arm")["affordable"]
        none = budget.costs_ahead(study, speed, 1e-6)
        text = page.page(study, none.assign(tflops=1.0), 1e-6)
    assert whole.index.tolist() == ["base", "tapt", "dapt", "dapt_tapt"] and whole["affordable"].all()
    # Of each of two replicates: the base encoder, DAPT on the domain, TAPT on the task; runs are the classifiers.
    assert whole["num_checkpoints"].tolist() == [2] * 4 and whole["num_runs"].tolist() == [2] * 4
    assert part.tolist() == [True, True, False, False] and not none["affordable"].any()
    assert "TAPT takes some" in text and "give `--minutes " in text
    assert "**Not compared.**" in text and "Beyond the budget, and not run: base (" in text


@pytest.mark.parametrize(("asked", "run"), [(["dapt"], ["base", "dapt"]), (["tapt", "base"], ["base", "tapt"])])
def test_arms_are_run_beside_the_base_encoder_whether_or_not_it_is_named(tmp_path, asked, run):
    with tiny.at(tiny.make_own(tmp_path, arms=asked)):
        study = Study("own", "07_own_data")
        study.prepare()
        ahead = budget.costs_ahead(study, budget.Speed(1e-3, 1e-3, None), 1e6)
    assert ahead["arm"].tolist() == run and ahead["affordable"].all() and (ahead["num_runs"] == 2).all()


def test_text_in_another_script_and_cut_texts_are_remarked(advised, monkeypatch):
    root, study = advised
    with tiny.at(root):
        corpora, splits = own_text.corpora(study), own_text.splits(study)
        of_tokens = ["script", "tokens_per_word", "percent_unknown"]
        corpora.loc[corpora["text"] == "support", of_tokens] = ["greek", 30.0, 2.0]
        splits.loc[splits["split"] == "train", ["percent_cut", "num_repeated", "num_classes"]] = [50.0, 3, 14]
        few = study.profile.model_copy(update={"labels": Labels(primary=20, curve=[12])})
        monkeypatch.setattr(study, "profile", few)
        monkeypatch.setattr(own_text, "doubts", lambda some: [f"{len(some['test'])} texts, a doubt"])
        told = " ".join(own_text.remarks(study, corpora, splits))
    assert "tickets: 16 texts, a doubt." in told
    assert "tickets has 14 classes, and `labels` asks for 12 labelled texts: a class without one" in told
    assert "support is written in greek, the general text in latin" in told and "tokens.trained_on: all" in told
    assert "2.0 % of the tokens of support are unknown" in told and "Repeated: 3 train texts of tickets." in told
    assert "50 % of the texts of tickets fill 24 tokens" in told


def test_prepared_text_outlives_the_folder_that_ones_own_files_were_gathered_in(advised, monkeypatch):
    root, study = advised
    gathered = root / "work" / "own" / "own"
    gathered.rename(root / "moved")
    with tiny.at(root):
        assert preparation.is_prepared(study.profile, study.paths, study.tasks)
        monkeypatch.setenv("DONTSTOP_READ_ONLY", "1")
        study.prepare()
    (root / "moved").rename(gathered)


def test_claims_say_which_arms_are_left_out(advised, monkeypatch):
    root, study = advised
    monkeypatch.setattr(claims, "write_figure", lambda *_: None)
    monkeypatch.setattr(measures, "judged", lambda _: judge(pd.DataFrame(columns=RUN_COLUMNS)))
    with tiny.at(root):
        told = study.judge().splitlines()
    assert told[-1].startswith("left out for want of text: not_dapt of tickets (no irrelevant domain)")
    assert told[-1] in (root / "results" / "own" / "claims.md").read_text()


def test_the_command_takes_a_path_and_prints_the_answer(advised, capsys, monkeypatch):
    root, _ = advised
    text = (root / "results" / "own" / "advice.md").read_text()
    monkeypatch.setattr(Study, "advise", lambda study: text if study.profile.advice.minutes == 7 else "")
    with tiny.at(root):
        assert tiny.command("advise", str(root / "configs" / "own.yaml"), "--minutes", "7") == 0
        assert tiny.command("advise", str(root / "configs" / "other.yaml")) == 2
    said = capsys.readouterr()
    assert page.in_short(text) in said.out and "advice.md" in said.out and "no file" in said.err


def test_a_plan_that_leaves_out_arms_publishes_beside_the_whole_one_and_not_over_it(tmp_path):
    root = tiny.make(tmp_path)
    with tiny.at(root):
        advice, dapt = (Study("tiny", notebook).paths for notebook in ("07_own_data", "02_dapt"))
    assert advice.results == root / "results" / "tiny" / "advice" and dapt.results == root / "results" / "tiny"
    assert [published.place(paths, "any") for paths in (advice, dapt)] == [advice.results, dapt.results]
    other = {"fingerprint": "f", "capability": "another"}
    records.write_records(dapt.results / "records" / "base", "pretraining", [other])
    assert published.place(advice, "any") == root / "results" / "tiny.any" / "advice"
    assert published.place(dapt, "any") == root / "results" / "tiny.any"


def test_other_versions_of_the_libraries_publish_beside_and_not_over(tmp_path, monkeypatch):
    root = tiny.make(tmp_path)
    with tiny.at(root):
        paths = Study("tiny", "02_dapt").paths
    records.write_records(
        paths.results / "records" / "base", "pretraining", [{"fingerprint": "f", "capability": "any"}]
    )
    others = identity.installed_versions() | {"numpy": "0.1"}
    assert published.place(paths, "any") == paths.results  # nobody has noted versions there
    for known, beside in (([others], True), ([others, identity.installed_versions()], False)):
        identity.note_versions(paths.results, known)
        name = f"tiny.any-numpy-{identity.installed_versions()['numpy'].replace('.', '-')}" if beside else "tiny"
        assert published.place(paths, "any") == root / "results" / name
    identity.note_versions(paths.results, [others])
    monkeypatch.setenv("DONTSTOP_ACCEPT_OTHER_MACHINES", "1")
    assert published.place(paths, "any") == paths.results


def test_a_plan_that_leaves_out_nothing_is_the_whole_one(tmp_path):
    root = tiny.make(tmp_path, arms=[arm.name for arm in budget.ORDER], tapt_curve={}, selection={"tasks": []})
    with tiny.at(root):
        assert Study("tiny", "07_own_data").paths.results == root / "results" / "tiny"
