"""Encoders and settings that do not fit: told before any text is read, in one error, and never by a traceback."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

import tiny
from dontstop import tokens
from dontstop.design.arms import Checkpoint
from dontstop.errors import StudyError
from dontstop.fetch import conversion
from dontstop.profiles import Paths, load_profile
from dontstop.runs import pretraining
from dontstop.tokens import token_counts
from dontstop.training import compatibility
from test_encoders import BERT_SIZES

VOCABULARY, POSITIONS = 300, 24
MODEL = "model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Make a study without prepared text, and a BERT, `good`, a copy of which every case spoils."""
    root = tmp_path_factory.mktemp("compatibility")
    tokens.train_tokenizer(tiny.texts("general", "corpus", 60, 40), VOCABULARY, root / "good")
    torch.manual_seed(0)
    bert().save_pretrained(root / "good")
    tiny.make(root)
    return root


def bert(**changes) -> BertForMaskedLM:
    sizes = {"vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "pad_token_id": 0, **BERT_SIZES}
    return BertForMaskedLM(BertConfig(**sizes | changes))


def saved(model, name: str = "") -> Callable[[Path], None]:
    """Save another model's config and weights in the folder, or beside it."""
    return lambda folder: model().save_pretrained(folder / name)


def changed(name: str, **values) -> Callable[[Path], None]:
    """Change entries of a JSON file; None removes one."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | values
        (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return change


def renamed(name: Callable[[str], str | None]) -> Callable[[Path], None]:
    """Save the weights under other names; None leaves one out."""

    def rename(folder: Path) -> None:
        tensors = {name(key): value.clone() for key, value in load_file(folder / MODEL).items()}
        save_file({key: value for key, value in tensors.items() if key}, folder / MODEL, {"format": "pt"})

    return rename


def written(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str, num_bytes: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:num_bytes])


def without(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def all_of(*several: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: [one(folder) for one in several] and None


def sharded(folder: Path) -> None:
    """Leave one of two shards that the index names."""
    whole = load_file(folder / MODEL)
    index = {key: f"model-0000{1 + k % 2}-of-00002.safetensors" for k, key in enumerate(whole)}
    first = "model-00001-of-00002.safetensors"
    save_file({key: whole[key] for key in whole if index[key] == first}, folder / first, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / MODEL).unlink()


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / MODEL), folder / "pytorch_model.bin")
    (folder / MODEL).unlink()


def quantised(folder: Path) -> None:
    save_file({key: value.to(torch.int8) for key, value in load_file(folder / MODEL).items()}, folder / MODEL)


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "notes.json")


def without_tokens(name: str) -> Callable[[Path], None]:
    """Take a special token from a tokenizer's settings."""
    return changed("tokenizer_config.json", **{f"{name}_token": None})


def roberta() -> RobertaForMaskedLM:
    sizes = {"vocab_size": VOCABULARY, "max_position_embeddings": 26, "pad_token_id": 0, **BERT_SIZES}
    return RobertaForMaskedLM(RobertaConfig(**sizes))


def of_a_newer_library(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["type"] = "BPE2"
    (folder / "tokenizer.json").write_text(json.dumps(content))


def with_vocabulary(kind: str) -> Callable[[Path], None]:
    """Leave a list of word pieces alone, to be read as a kind of tokenizer."""

    def leave(folder: Path) -> None:
        special = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "<cls>", "<pad>", "<eos>", "<unk>", "<mask>"]
        pieces = special + [f"w{k}" for k in range(VOCABULARY - len(special))]
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.txt").write_text("\n".join(pieces))
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))

    return leave


def spoilt_numbers(folder: Path) -> None:
    tensors = load_file(folder / MODEL)
    tensors["bert.encoder.layer.0.output.dense.weight"][0, 0] = float("nan")
    save_file(tensors, folder / MODEL, {"format": "pt"})


def zeros(folder: Path) -> None:
    tensors = {name: torch.zeros_like(values) for name, values in load_file(folder / MODEL).items()}
    save_file(tensors, folder / MODEL, {"format": "pt"})


def a_folder_in_its_place(folder: Path) -> None:
    (folder / MODEL).unlink()
    (folder / MODEL).mkdir()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 133\n"
LONG = {"finetune": {"max_length": 25}}
GPT2 = {"model_type": "gpt2", "vocab_size": VOCABULARY, "n_embd": 4, "n_layer": 1, "n_head": 1}
# What is done to the folder; other settings; what is found; what is expected; what to do.
CASES = {
    "no mask token": (without_tokens("mask"), {}, "no mask token", "masked-LM encoder", "name another encoder"),
    "no pad token": (without_tokens("pad"), {}, "no pad token", "masked-LM encoder", "set pad_token in"),
    "pad id of another": (changed("config.json", pad_token_id=7), {}, "pad_token_id = 7", "one and the same", "to the"),
    "no pad id": (saved(lambda: bert(pad_token_id=None)), {}, "pad_token_id = None", "one and the same", "set pad_tok"),
    "max_length": (lambda _: None, LONG, "finetune.max_length = 25", "at most 24 tokens", "lower it to 24"),
    "sequence_length": (
        saved(lambda: bert(max_position_embeddings=12)),
        {"finetune": {"max_length": 12}},
        "base.sequence_length = 16, dapt.sequence_length = 16, tapt.sequence_length = 16",
        "at most 12 tokens",
        "lower them to 12",
    ),
    "positions after RoBERTa's offset": (saved(roberta), {"finetune": {"max_length": 26}}, "26", "at most 25", "to 25"),
    "embeddings not resized": (
        saved(lambda: bert(vocab_size=290)),
        {},
        "300 word pieces in",
        "with the tok",
        "resize_",
    ),
    "tokenizer of a smaller one": (
        saved(lambda: bert(vocab_size=900)),
        {},
        "900 in",
        "with the tokenizer",
        "set tokens.",
    ),
    "more shards than sequences": (
        lambda _: None,
        {"dapt": {"batch_size": 1, "num_shards": 2}},
        "dapt.num_shards = 2 with dapt.batch_size = 1",
        "a sequence or more",
        "set dapt.num_shards to 1",
    ),
    "weights of a wrapper": (
        renamed(lambda key: f"module.{key}"),
        {},
        "parameters of the body missing",
        "would begin at random",
        "under `module.`",
    ),
    "a layer missing": (
        renamed(lambda key: key if "layer.1" not in key else None),
        {},
        "(bert.encoder.layer.1.",
        "every parameter of the body",
        "fetch the whole encoder",
    ),
    "fewer layers than weights": (
        changed("config.json", num_hidden_layers=1),
        {},
        "16 weights at",
        "a body with all of its layers",
        "set num_hidden_layers",
    ),
    "fewer layers, without a prefix": (
        all_of(
            renamed(lambda key: key.removeprefix("bert.") if key.startswith("bert.") else None),
            changed("config.json", num_hidden_layers=1),
        ),
        {},
        "that its config.json does not have (encoder.layer.1.",
        "a body with all of its layers",
        "set num_hidden_layers",
    ),
    "a decoder": (
        changed("config.json", is_decoder=True),
        {},
        "as is_decoder in config.json says",
        "reads a text both ways",
        "set is_decoder to false",
    ),
    "weights that are zeros": (zeros, {}, "its weights tell nothing", "reads a text both ways", "fetch it again"),
    "weights of other sizes": (
        changed("config.json", intermediate_size=20),
        {},
        "other shapes than its config.json",
        "config.json and model.safetensors",
        "name another",
    ),
    "a shard missing": (sharded, {}, "1 of 2 shards", "all shards", "fetch the missing"),
    "an adapter": (written("adapter_config.json", b"{}"), {}, "adapter_config.json", "safetensors alone", "merge_and_"),
    "pickled weights": (pickled, {}, "(pytorch_model.bin)", "pickled weights may run code", "name another encoder"),
    "no weights": (without(MODEL), {}, "no weights in", "model.safetensors", "name another encoder"),
    "code": (written("modeling.py", b""), {}, "modeling.py, which is code", "runs no code", "name another encoder"),
    "code by its settings": (
        changed("config.json", auto_map={"AutoConfig": "code.Config"}),
        {},
        "auto_map in",
        "runs no code",
        "name another encoder",
    ),
    "a pointer": (written(MODEL, POINTER), {}, "a pointer of large-file storage", "that it stands for", "git lfs pull"),
    "a tokenizer's pointer": (written("tokenizer.json", POINTER), {}, "tokenizer.json, a pointer", "stands", "git lfs"),
    "cut weights": (cut(MODEL, 20_000), {}, "which is cut: 20,000 bytes", "by its header", "fetch it again"),
    "a damaged header": (written(MODEL, b"\xff" * 64), {}, "whose header is damaged", "safetensors", "fetch it again"),
    "an empty file": (written(MODEL, b""), {}, "whose header is damaged", "safetensors", "fetch it again"),
    "a cut config.json": (cut("config.json", 40), {}, "config.json, which is not JSON", "a whole file", "fetch it"),
    "a cut tokenizer": (
        cut("tokenizer.json", 900),
        {},
        "tokenizer.json, which is not JSON",
        "a whole file",
        "fetch it",
    ),
    "a newer tokenizer": (of_a_newer_library, {}, "which tokenizers", "that this version reads", "an older version"),
    "SentencePiece alone": (
        all_of(without("tokenizer.json", "tokenizer_config.json"), written("spiece.model", b"\n\x0f")),
        {},
        "a SentencePiece model without tokenizer.json",
        "tokenizer.json",
        "where the package sentencepiece is",
    ),
    "a slow tokenizer": (with_vocabulary("EsmTokenizer"), {}, "EsmTokenizer of", "with tokenizer.json", "has one"),
    "a newer family": (changed("config.json", model_type="newbert"), {}, "no encoder that can be read", "", "another"),
    "no masked LM": (written("config.json", json.dumps(GPT2).encode()), {}, "has no masked LM", "", "name another"),
    "a file that is no folder": (shutil.rmtree, {}, "no encoder that can be read", "reached", "name another"),
    "weights that are no numbers": (spoilt_numbers, {}, "not finite", "finite numbers", "fetch it again"),
    "weights longer than told": (
        lambda folder: written(MODEL, (folder / MODEL).read_bytes() + b"more")(folder) and None,
        {},
        "longer than its header says",
        "by its header",
        "fetch it again",
    ),
    "a folder for weights": (a_folder_in_its_place, {}, "no weights in", "model.safetensors", "name another encoder"),
    "weights of another program": (
        all_of(without(MODEL), written("model.gguf", b"GGUF")),
        {},
        "no weights in",
        "model.safetensors",
        "name another encoder",
    ),
    "no config.json": (without("config.json"), {}, "no encoder that can be read", "config.json", "name another"),
    "a list for a config.json": (
        written("config.json", b"[]"),
        {},
        "no encoder that can be read",
        "config.json",
        "name",
    ),
    "a family that has no masked LM": (
        changed("config.json", model_type="vit"),
        {},
        "no masked LM",
        "",
        "name another",
    ),
    "heads that do not divide": (changed("config.json", num_attention_heads=5), {}, "multiple of", "", "name another"),
    "a damaged index of shards": (
        all_of(sharded, written("model.safetensors.index.json", b'{"weight_map"')),
        {},
        "which is not JSON",
        "a whole file",
        "fetch it again",
    ),
    "an index of shards that names none": (
        all_of(sharded, written("model.safetensors.index.json", b"[]")),
        {},
        "which does not say which shard holds which weights",
        "a `weight_map`",
        "fetch it again",
    ),
    "quantised weights": (quantised, {}, "with weights of type I8", "floating-point", "that was quantised"),
    "a pipe": (a_pipe, {}, "which is no file", "nothing that waits", "remove it"),
    "code of a tokenizer": (
        changed("tokenizer_config.json", auto_map={"AutoTokenizer": ["code.T", None]}),
        {},
        "auto_map in",
        "runs no code",
        "name another encoder",
    ),
    "no tokenizer": (
        without("tokenizer.json", "tokenizer_config.json"),
        {},
        "no tokenizer that can be read",
        "tokenizer.json",
        "name another tokenizer",
    ),
    "an empty tokenizer": (written("tokenizer.json", b"{}"), {}, "lack 'added_tokens'", "", "name another tokenizer"),
    "a mask token that pads too": (
        changed("tokenizer_config.json", mask_token="<pad>"),
        {},
        "a mask token '<pad>' that is the pad token too",
        "of its own",
        "trained with",
    ),
    "a mask token that was added": (
        changed("tokenizer_config.json", mask_token="[NEW]"),
        {},
        "301 word pieces in the tokenizer, 300 in",
        "with the tokenizer",
        "resize_",
    ),
    "left truncation, two lengths": (
        changed("tokenizer_config.json", truncation_side="left"),
        {"task_finetune": {"citation_intent": {"max_length": 20}}},
        "truncation_side = left",
        "cut at their end",
        "set truncation_side to right",
    ),
}


@pytest.mark.parametrize(("spoil", "settings", "found", "expected", "remedy"), CASES.values(), ids=CASES)
def test_what_does_not_fit_is_told_before_text_is_read(
    made, tmp_path, capsys, monkeypatch, spoil, settings, found, expected, remedy
):
    shutil.copytree(made / "good", tmp_path / "encoder")
    spoil(tmp_path / "encoder")
    profile(made, tmp_path / "encoder", **settings)
    monkeypatch.setattr("dontstop.text.corpora.prepare", lambda *_: pytest.fail("text was read"))
    capsys.readouterr()
    with tiny.at(made):
        assert tiny.command("prepare", "-p", "tiny") == 2
    said = capsys.readouterr().err
    lines = said.strip().splitlines()
    assert [line.split(":")[0] for line in lines] == ["found", "expected", "do this"], said
    for part, line in zip((found, expected, remedy), lines, strict=True):
        assert part in line, said
    assert "Traceback" not in said and "weights_only" not in said and "convert-weights" not in said


def test_the_page_names_every_case(project):
    page = (project / "docs" / "encoders.md").read_text()
    listed = page.split("inputs are tried through the command line")[1].split("\n\n")[1]
    assert sorted(" ".join(listed.split()).rstrip(".").split("; ")) == sorted(CASES) and len(CASES) > 40
    assert f"These {len(CASES)} inputs" in page


def profile(root: Path, encoder: Path, **settings):
    named = {"encoder": {"name": str(encoder)}, "tokens": {"tokenizer": str(encoder)}}
    tiny.set_profile(root, **{"finetune": {"max_length": 24}, **named, **settings})
    return load_profile("tiny", root)


def test_one_error_tells_all_that_does_not_fit_and_the_doctor_too(made, tmp_path, capsys):
    shutil.copytree(made / "good", tmp_path / "encoder")
    without_tokens("mask")(tmp_path / "encoder")
    saved(lambda: bert(vocab_size=290, max_position_embeddings=20))(tmp_path / "encoder")
    settings = profile(made, tmp_path / "encoder", tapt={"num_shards": 9})
    with pytest.raises(StudyError) as raised:
        compatibility.check(settings)
    for number, part in enumerate(("tapt.num_shards = 9", "no mask token", "finetune.max_length = 24", "300 word"), 1):
        assert f"({number}) {part}" in raised.value.found
    assert raised.value.remedy.count("(") >= 4 and set(compatibility.findings(settings)["level"]) == {"broken"}
    with tiny.at(made):
        assert tiny.command("doctor", "-p", "tiny") == 2
    assert capsys.readouterr().out.count("broken   encoder: ") == 4


def test_what_fits_is_let_through_and_what_is_odd_is_a_warning_that_is_said_once(made, tmp_path, capsys):
    shutil.copytree(made / "good", tmp_path / "encoder")
    assert compatibility.findings(profile(made, tmp_path / "encoder")).empty
    changed("tokenizer_config.json", truncation_side="left")(tmp_path / "encoder")
    renamed(lambda key: None if key.startswith("cls") else key)(tmp_path / "encoder")
    weights = load_file(tmp_path / "encoder" / MODEL) | {"bert.pooler.dense.bias": torch.zeros(16)}
    save_file(weights, tmp_path / "encoder" / MODEL, {"format": "pt"})
    settings = profile(made, tmp_path / "encoder", base=None)
    found = compatibility.findings(settings)
    assert set(found["level"]) == {"warning"}
    for part in ("truncation_side = left", "missing from the weights", "bert.pooler.dense.bias"):
        assert found["found"].str.contains(part).sum() == 1, part
    shutil.copytree(tmp_path / "encoder", tmp_path / "taken")
    for given in (None, None, str(tmp_path / "taken")):
        compatibility.check(settings, given)
    said = capsys.readouterr().out
    assert said.count("\nencoder: ") + 1 == said.count("do this: ") == said.count("\n") == 3 and "/taken" not in said


def test_a_tokenizer_of_which_transformers_makes_a_fast_one_fits(made, tmp_path):
    shutil.copytree(made / "good", tmp_path / "encoder")
    with_vocabulary("BertTokenizer")(tmp_path / "encoder")
    assert compatibility.findings(profile(made, tmp_path / "encoder")).empty


def test_a_base_phase_begins_at_the_named_encoder_and_trains_the_head_that_it_lacks(made, tmp_path):
    shutil.copytree(made / "good", tmp_path / "encoder")
    body = load_file(tmp_path / "encoder" / MODEL)
    renamed(lambda key: None if key.startswith("cls") else key)(tmp_path / "encoder")
    settings = profile(made, tmp_path / "encoder")
    found = compatibility.findings(settings)
    assert found["level"].tolist() == ["well"] and "cls.predictions" in found["found"][0]
    start = pretraining.load_start(settings, Paths("tiny", made), Checkpoint(), None)
    for name, values in start.named_parameters():
        is_new = name.startswith("cls.predictions.transform.dense.weight")
        assert name not in body or torch.equal(values, body[name]) != is_new, name


def test_a_tokenizer_of_another_encoder_with_as_many_pieces_is_told(made, tmp_path):
    tokens.train_tokenizer(tiny.texts("cs", "corpus", 60, 40), VOCABULARY, tmp_path / "other")
    settings = profile(made, made / "good")
    other = settings.tokens.model_copy(update={"tokenizer": str(tmp_path / "other")})
    with pytest.raises(StudyError, match="word pieces with other ids in"):
        compatibility.check(settings.model_copy(update={"tokens": other}))


def test_parameters_that_torchrun_would_wait_for_are_told(made, tmp_path):
    from transformers import FNetConfig, FNetForMaskedLM

    sizes = {name: value for name, value in BERT_SIZES.items() if name != "num_attention_heads"}
    model = FNetForMaskedLM(FNetConfig(vocab_size=VOCABULARY, pad_token_id=0, max_position_embeddings=24, **sizes))
    shutil.copytree(made / "good", tmp_path / "encoder")
    model.save_pretrained(tmp_path / "encoder")
    settings = profile(made, tmp_path / "encoder")
    compatibility.check(settings)
    assert compatibility.findings(settings)["found"].str.contains("depend on the padding").any()
    with pytest.raises(StudyError, match=r"2 parameters of .* unused \(fnet.pooler.dense.weight"):
        compatibility.check(settings, num_processes=2)


# Weights to convert ------------------------------------------------------------------------------------------------


def test_a_conversion_writes_no_random_encoder(made, tmp_path, capsys):
    shutil.copytree(made / "good", tmp_path / "source")
    renamed(lambda key: f"module.{key}")(tmp_path / "source")
    pickled(tmp_path / "source")
    assert tiny.command("convert-weights", str(tmp_path / "source"), str(tmp_path / "target")) == 2
    said = capsys.readouterr().err
    assert "parameters of the body missing" in said and "under `module.`" in said
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("content", [POINTER, b"PK\x03\x04cut", b"\x80\x02cut", b""], ids=ascii)
def test_pickles_that_cannot_be_read_are_told_without_dangerous_advice(made, tmp_path, content):
    shutil.copytree(made / "good", tmp_path / "source")
    without(MODEL)(tmp_path / "source")
    written("pytorch_model.bin", content)(tmp_path / "source")
    with pytest.raises(StudyError, match="no encoder to convert") as raised:
        conversion.convert_weights(str(tmp_path / "source"), tmp_path / "target", print)
    assert "weights_only" not in str(raised.value)
    assert content != POINTER or "a pointer of large-file storage" in raised.value.found


# Text --------------------------------------------------------------------------------------------------------------


def prepared(root: Path, text: str, name: str = "corpora/cs") -> int:
    """Prepare the study with another text in one file, and return the command's exit code."""
    path = root / "texts" / f"{name}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    tiny.write_lines(path, [{**row, "text": text.format(k, row["text"])} for k, row in enumerate(rows)])
    with tiny.at(root):
        return tiny.command("prepare", "-p", "tiny")


@pytest.fixture
def words(tmp_path) -> Path:
    """Give a study whose tokenizer knows whole words of one language alone."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = sorted(
        {word for name in ("general", *tiny.DOMAINS) for word in " ".join(tiny.texts(name, "x", 99, 40)).split()}
    )
    vocabulary = {token: k for k, token in enumerate(["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "zu", *known])}
    own = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    own.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 1), ("[SEP]", 2)])
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "cls", "sep", "mask", "unk")}
    PreTrainedTokenizerFast(tokenizer_object=own, **names).save_pretrained(tmp_path / "words")
    return tiny.make(tmp_path / "study", tokens={"tokenizer": str(tmp_path / "words")})


def test_a_script_that_the_tokenizer_does_not_know_is_refused(words, capsys):
    assert prepared(words, "слово{} и ещё восемь других слов этого языка здесь {}"[:-2]) == 2
    said = capsys.readouterr().err
    assert "mostly unknown tokens, which are never masked: 100% in" in said and "corpora/cs" in said
    assert "name an encoder whose tokenizer knows this text's script" in said
    with tiny.at(words):
        assert tiny.command("run", "base", "-p", "tiny") == 2  # nor the second time


def test_unknown_tokens_in_the_text_are_counted_and_a_spelt_mask_is_none(words, capsys):
    assert prepared(words, "[MASK] {0} {1} other{0} words{0}") == 0
    said = capsys.readouterr().out
    assert "special tokens" not in said
    assert "prepare: unknown tokens in the text: 288 in corpora/cs, 72 in held_out/cs\n" in said
    table = token_counts.counts(Paths("tiny", words)).loc["corpora/cs"]
    # The number, two words, and [ MASK ] in three pieces.
    assert table["special"] == 0 and table["unknown"] == 6 * table["documents"]


def test_counts_by_hand(words):
    assert prepared(words, "{1}") == 0
    table = token_counts.counts(Paths("tiny", words))
    assert (table.loc["tasks/citation_intent/train"][["documents", "tokens"]] == [24, 24 * 8 + 12 * 6]).all()
    assert (table[["unknown", "special", "without", "empty"]] == 0).all(axis=None)
    table.loc["tasks/citation_intent/dev", ["empty", "without"]] = 2, 3
    found = {line[0]: line[1] for line in token_counts.lines(table)}
    assert found == {
        "broken": "texts without a token: 2 in tasks/citation_intent/dev",
        "warning": "documents without a token that could be masked: 3 in tasks/citation_intent/dev",
    }
