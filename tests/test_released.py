"""A study of encoders that others have pretrained: from a folder without an LM head, and with released checkpoints."""

import shutil
from operator import attrgetter

import numpy as np
import pytest
import torch
import yaml
from transformers import RobertaConfig, RobertaForMaskedLM, RobertaModel

import tiny
from dontstop import tokens
from dontstop.design.needs import Design
from dontstop.machine import files, runner
from dontstop.runs import scratch
from dontstop.studies import read_study
from dontstop.study import Study
from dontstop.training import encoders
from test_encoders import BERT_SIZES

TAKEN = ("dapt_cs", "dapt_news", "tapt_citation_intent")


def roberta(tokenizer, *, seed: int, head: bool = True):
    torch.manual_seed(seed)
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": 1, "eos_token_id": 2}
    config = RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=40, **ids, **BERT_SIZES)
    return RobertaForMaskedLM(config) if head else RobertaModel(config, add_pooling_layer=False)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A finished study: a base encoder without LM head, three checkpoints from a hub of pickles, the rest trained."""
    root = tmp_path_factory.mktemp("released")
    tokens.train_tokenizer(tiny.texts("general", "corpus", 60, 40), 300, root / "roberta")
    tokenizer = tokens.load_tokenizer(root / "roberta")
    roberta(tokenizer, seed=0, head=False).save_pretrained(root / "roberta")
    for number, name in enumerate(TAKEN, 1):
        folder = root / "hub" / read_study("paper").encoders[name]
        tokenizer.save_pretrained(folder)
        model = roberta(tokenizer, seed=number)
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    given = {"encoder": None, "tokens": {"vocabulary_size": 300, "tokenizer": str(root / "roberta")}, "base": None}
    tiny.make(root, **given | {"encoder": {"name": str(root / "roberta")}, "released": "released"})
    named = [word for name in TAKEN for word in ("--checkpoint", name)]
    assert tiny.command("fetch-encoders", str(root / "released"), "--address", str(root / "hub"), *named) == 0
    for experiment in ("domain_gap", "dapt", "tapt", "dapt_tapt"):
        tiny.run(root, experiment)
    return root


def trainings(root) -> dict[str, dict]:
    rows = [files.read_json(path) for path in (root / "checkpoints").rglob("training.json")]
    return {row["checkpoint"]: row for row in rows}


def test_a_missing_lm_head_is_made_and_said(released, tmp_path, capsys):
    base = trainings(released)["base"]
    assert base["taken_from"] == "roberta" and base["num_steps"] == 0
    assert {name.split(".")[0] for name in base["newly_initialised"]} == {"lm_head"}
    tiny.run(released, "dapt")
    assert "base: taken from roberta, not trained here; it lacked lm_head" in capsys.readouterr().out
    heads = [
        encoders.load_given_encoder(str(released / "roberta"), seed=seed)[0].lm_head.dense.weight for seed in (1, 1, 2)
    ]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_replicates_of_a_given_encoder_share_it_and_each_is_recorded(released, tmp_path, monkeypatch):
    root = tiny.copy(released, tmp_path / "root")
    with tiny.at(root):
        monkeypatch.setattr(runner, "_drive", None)  # nothing is left to be done
        study = Study("tiny", "01_domain_gap", replicates=2).run("domain_gap")
    measured = study.losses().query("notebook == '01_domain_gap'")
    losses = measured.pivot(index="held_out", columns="replicate", values="masked_lm_loss")
    assert len(losses) == 3 and losses[0].tolist() == losses[1].tolist()
    assert study.pretraining()[["checkpoint", "replicate"]].to_numpy().tolist() == [["base", 0], ["base", 1]]


def test_released_checkpoints_are_taken_and_the_others_trained_from_them(released):
    found = trainings(released)
    assert {name for name, row in found.items() if "taken_from" in row} == {"base", *TAKEN}
    assert found["tapt_hyperpartisan_news"]["num_steps"] > 0
    for name in TAKEN:
        ours = encoders.load_encoder(checkpoint(released, found[name]))
        theirs = encoders.load_encoder(released / "released" / name)
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    start, before = encoders.load_encoder(released / "released" / "dapt_cs"), found["dapt_cs_then_tapt_citation_intent"]
    after = encoders.load_encoder(checkpoint(released, before))
    moved = [(a - b).abs().max().item() for a, b in zip(start.parameters(), after.parameters(), strict=True)]
    assert 0 < np.max(moved) < 0.1  # a few steps away from it, where another seed's weights would be far


def checkpoint(root, training: dict):
    key = scratch.key_of(training["fingerprint"], training["capability"])
    return root / "work" / key[:2] / key / "encoder"


@pytest.mark.slow
def test_every_table_figure_and_finding_is_made(released, project, capsys):
    shutil.copytree(project / "notebooks", released / "notebooks", dirs_exist_ok=True)
    with tiny.at(released), pytest.MonkeyPatch.context() as patch:
        patch.setenv("DONTSTOP_READ_ONLY", "")  # the command sets it: here for its own time only
        assert tiny.command("redraw", "-p", "tiny") == 0
        assert Study("tiny", "01_domain_gap").masked_example("general", num_tokens=8)["input"].size == 8
    said = capsys.readouterr().out
    assert said.count("tables and figures are in") == 4 and said.count("no records of profile tiny yet") == 2
    executed = files.read_json(released / "results" / "tiny" / "notebooks" / "01_domain_gap.ipynb")
    assert "papermill" not in executed["metadata"] and not list((released / "work" / "notebooks").rglob("*.ipynb"))


def test_a_second_run_finds_everything_and_other_weights_are_taken_anew(released, tmp_path, capsys):
    before = trainings(released)
    tiny.run(released, "dapt")
    assert trainings(released) == before
    root = tiny.copy(released, tmp_path / "root")
    model = roberta(tokens.load_tokenizer(root / "roberta"), seed=9)
    model.save_pretrained(root / "released" / "dapt_cs")
    capsys.readouterr()
    tiny.run(root, "dapt")
    assert trainings(root)["dapt_cs"]["fingerprint"] != before["dapt_cs"]["fingerprint"]


def test_a_tokenizer_that_is_not_the_encoders_is_told(released, tmp_path, capsys):
    root = tmp_path / "root"
    tokens.train_tokenizer(tiny.texts("general", "corpus", 60, 40), 320, tmp_path / "other")
    changes = {"encoder": {"name": str(released / "roberta")}, "base": None}
    tiny.make(root, **changes, tokens={"vocabulary_size": 300, "tokenizer": str(tmp_path / "other")})
    with tiny.at(root):
        assert tiny.command("run", "base", "-p", "tiny") == 2
    assert "an encoder with the tokenizer that it was trained with" in capsys.readouterr().err


def test_the_papers_profile_names_every_released_encoder_as_a_checkpoint_of_its_plan(project, tmp_path):
    """On a mirror with all tasks: the released ones are what 02 to 04 need, not-DAPT's being among DAPT's."""
    settings = yaml.safe_load((project / "configs" / "paper.yaml").read_text())
    for task in map(attrgetter("name"), read_study("paper").tasks):
        (tmp_path / "mirror" / "tasks" / task).mkdir(parents=True)
        (tmp_path / "mirror" / "tasks" / task / "train.jsonl").touch()
    (tmp_path / "configs").mkdir()
    settings["text"]["folder"] = "mirror"
    (tmp_path / "configs" / "paper.yaml").write_text(yaml.safe_dump(settings | {"cheap_adaptation": {"arms": []}}))
    with tiny.at(tmp_path):
        study = Study("paper")
        design = Design(study.profile, study.tasks)
        wanted = {c.name for kind in ("dapt", "tapt") for c in design.checkpoints(kind)}
        plans = [design.plan("dapt_tapt")]
    wanted |= {c.name for plan in plans for c in plan.checkpoints if c.phases}
    assert wanted == {name for name in read_study("paper").encoders if "curated" not in name}
