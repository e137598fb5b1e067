"""Pickled weights become safetensors by an explicit command; code in them is refused, not run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

import loopback
import tiny
from dontstop import tokens
from dontstop.errors import StudyError
from dontstop.fetch import conversion
from dontstop.studies import read_study
from dontstop.training import encoders

CONFIG = {
    "vocab_size": 300,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}


class Harmful:
    """What runs a command when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def source(tmp_path):
    """Give a folder with a tokenizer and a config; the weights are the test's."""
    folder = tmp_path / "source"
    tokens.train_tokenizer(tiny.texts("general", "conversion", 50, 40), 300, folder)
    BertConfig(**CONFIG).save_pretrained(folder)
    return folder


def converted(source, tmp_path):
    told = []
    conversion.convert_weights(str(source), tmp_path / "target", told.append)
    return encoders.load_encoder(tmp_path / "target"), told


def test_a_converted_encoder_is_the_same(source, tmp_path):
    model = BertForMaskedLM(BertConfig(**CONFIG)).eval()
    torch.save(model.state_dict(), source / "pytorch_model.bin")
    with pytest.raises(StudyError, match=r"model\.safetensors"):
        encoders.load_encoder(source)
    again, told = converted(source, tmp_path)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, again.eval()(ids).logits)
    assert not list((tmp_path / "target").glob("*.bin")) and len(told) == 1
    assert tokens.load_tokenizer(tmp_path / "target").get_vocab() == tokens.load_tokenizer(source).get_vocab()


def test_an_encoder_without_an_lm_head_gets_one_and_it_is_said(source, tmp_path):
    body = BertModel(BertConfig(**CONFIG), add_pooling_layer=False)
    torch.save({f"bert.{name}": value for name, value in body.state_dict().items()}, source / "pytorch_model.bin")
    again, told = converted(source, tmp_path)
    assert "newly initialised" in told[0] and "cls.predictions" in told[0]
    assert torch.equal(again.bert.embeddings.word_embeddings.weight, body.embeddings.word_embeddings.weight)


def test_code_in_a_pickle_is_refused_and_not_run(source, tmp_path, capsys):
    torch.save({"cls.predictions.bias": Harmful(tmp_path / "harmed")}, source / "pytorch_model.bin")
    assert tiny.command("convert-weights", str(source), str(tmp_path / "target")) == 2
    assert "tensors only" in capsys.readouterr().err
    assert not (tmp_path / "harmed").exists() and not (tmp_path / "target").exists()


def test_a_folder_without_weights_and_a_target_that_is_there(source, tmp_path, capsys):
    assert tiny.command("convert-weights", str(source), str(tmp_path / "target")) == 2
    assert "no encoder to convert" in capsys.readouterr().err
    (tmp_path / "target").mkdir()
    assert tiny.command("convert-weights", str(source), str(tmp_path / "target")) == 2
    assert "exists" in capsys.readouterr().err


def dontstop(hub: str, cache: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Give a command in a process whose hub is at another address."""
    environment = tiny.environment(cache) | {"HF_ENDPOINT": hub, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0"}
    environment |= {"TRANSFORMERS_OFFLINE": "0", "HF_HUB_DOWNLOAD_TIMEOUT": "2"}
    command = [sys.executable, "-m", "dontstop", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_the_authors_encoders_are_fetched_from_a_hub_once(source, tmp_path):
    model = BertForMaskedLM(BertConfig(**CONFIG)).eval()
    torch.save(model.state_dict(), source / "pytorch_model.bin")
    there = tmp_path / "hub" / read_study("paper").encoders["dapt_cs"]
    there.parent.mkdir(parents=True)
    source.rename(there)
    wanted = ("fetch-encoders", str(tmp_path / "encoders"), "--checkpoint", "dapt_cs")
    with loopback.hub(tmp_path / "hub") as address:
        first = dontstop(address, tmp_path / "cache", *wanted)
        lacking = dontstop(address, tmp_path / "cache", *wanted, "--checkpoint", "dapt_news")
    assert first.returncode == 0, first.stderr
    again = encoders.load_encoder(tmp_path / "encoders" / "dapt_cs").eval()
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, again(ids).logits)
    assert lacking.returncode == 2 and "dapt_cs: already there" in lacking.stdout
    assert "no encoder to convert at allenai/news_roberta_base" in lacking.stderr and "Traceback" not in lacking.stderr
    assert [path.name for path in (tmp_path / "encoders").iterdir()] == ["dapt_cs"]


def test_an_encoder_that_was_not_released_is_told(tmp_path, capsys):
    assert tiny.command("fetch-encoders", str(tmp_path / "encoders"), "--checkpoint", "dapt_law") == 2
    assert "released encoder 'dapt_law'" in capsys.readouterr().err
