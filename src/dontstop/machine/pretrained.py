"""Encoders and tokenizers that others may have made: loaded by Transformers' own classes, and never by their code."""

import contextlib
import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dontstop.errors import StudyError
from dontstop.machine import weights
from dontstop.machine.files import files_under

_CODE = (".py", ".pyc", ".so")
_OF_LAYER = re.compile(r"\.\d+\..*(weight|bias)$")  # of the body's; constants, such as `inv_freq`, are no weights
_OWN_MODULES = "sentence_transformers."  # of a sentence transformer's modules.json


def load(kind: Any, source: str | Path, **how: Any) -> Any:
    """Return kind.from_pretrained(source, **how); no code of the source's is run, and nobody is asked whether to.

    The one place where what libraries raise is caught: Transformers, safetensors, tokenizers and PyTorch each have
    errors of their own, plain exceptions among them.

    Args:
        kind: A class of Transformers, such as `AutoTokenizer`.
        source: A folder, or a name on the hub.

    Raises:
        StudyError: If the folder brings code of its own, or it cannot be read; or the weights lack a part of the body
            or hold layers that it does not have, where they are asked for that (`output_loading_info`).
    """
    refusing_code(source)
    try:
        with _quiet():
            loaded = kind.from_pretrained(source, trust_remote_code=False, **how)
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(kind.__name__, source, error, pickled=how.get("use_safetensors") is False) from error
    if how.get("output_loading_info"):
        _hold_body(source, *loaded)
    if isinstance(getattr(loaded, "all_special_ids", None), list) and len(loaded) <= len(loaded.all_special_ids):
        raise _unreadable(kind.__name__, source, ValueError("no vocabulary beside it"), pickled=False)
    if "Tokenizer" in kind.__name__:
        loaded.split_special_tokens = True  # what a text spells, such as `<mask>`, is text and not the token
    return loaded


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let Transformers print neither bars nor tables: what it would tell of is told in this study's words."""
    from transformers.utils import logging

    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


def missing_of_body(model: Any, missing: set[str]) -> list[str]:
    """Return the parameters of an encoder's body among those that its weights lack; a pooler decides nothing here."""
    prefix = f"{model.base_model_prefix}."
    return sorted(name for name in missing if name.startswith(prefix) and "pooler" not in name)


def _of_layers(model: Any, unexpected: set[str]) -> list[str]:
    """Return the weights of layers of the body, saved with its prefix or without, among names that have no place."""
    parts = {name for name, _ in model.base_model.named_children()}
    bare = {name: name.removeprefix(f"{model.base_model_prefix}.") for name in unexpected}
    return sorted(name for name, own in bare.items() if own.partition(".")[0] in parts and _OF_LAYER.search(own))


def _hold_body(source: str | Path, model: Any, about: dict) -> None:
    unknown = sorted(about["unexpected_keys"])
    if missing := missing_of_body(model, about["missing_keys"]):
        more = f", and {len(unknown)} names that it has no place for ({unknown[0]}, ...)" if unknown else ""
        first = {name.split(".")[0] for name in unknown}
        wrapped = f"under `{first.pop()}.`" if len(first) == 1 else "under other names"
        saved = f"save it again by `save_pretrained` of the model itself: its weights stand {wrapped}"
        raise StudyError(
            f"{len(missing)} parameters of the body missing from the weights at {source} ({missing[0]}, ...){more}",
            "every parameter of the body: what is missing would begin at random",
            saved if unknown else "fetch the whole encoder, or name another",
        )
    if layers := _of_layers(model, about["unexpected_keys"]):
        raise StudyError(
            f"{len(layers)} weights at {source} of layers that its config.json does not have ({layers[0]}, ...)",
            "a body with all of its layers: what has no place would be left out",
            "set num_hidden_layers in config.json to as many as there are, or fetch the whole encoder again",
        )


def _unreadable(kind: str, source: str | Path, error: Exception, *, pickled: bool) -> StudyError:
    """Return the error of a source that a library cannot read; where a file is at fault, that is the error."""
    folder, is_tokenizer = Path(source), "Tokenizer" in kind
    what = "tokenizer" if is_tokenizer else "encoder"
    if folder.is_dir():
        faults = [*weights.file_faults(folder), *([] if is_tokenizer or pickled else weights.weight_faults(folder))]
        if faults:
            return faults[0]
    reason = _reason(error)
    if is_tokenizer and _is_sentencepiece(folder):
        found = f"a SentencePiece model without tokenizer.json in {source}"
        remedy = "write it where the package sentencepiece is installed, by AutoTokenizer's `save_pretrained`"
        return StudyError(found, "tokenizer.json, which the study reads", remedy)
    if is_tokenizer and type(error) is Exception:  # as tokenizers raises
        version = importlib.metadata.version("tokenizers")
        found = f"tokenizer.json in {source}, which tokenizers {version} cannot read: {reason}"
        return StudyError(found, "one that this version reads", "take one that was saved by an older version")
    expected = "a folder with " + ("tokenizer.json" if is_tokenizer else "config.json and model.safetensors")
    remedy = f"name another {what}, or fetch this one where there is a network and name its folder"
    found = f"no {what} that can be read at {source}: {reason}"
    return StudyError(found, f"{expected}, or a name on a hub that can be reached", remedy)


def _reason(error: Exception) -> str:
    """Return an error's first line, in place of what PyTorch and Transformers say on their own arguments."""
    text = str(error).strip()
    if "weights_only" in text or "Weights only" in text:
        return "its weights hold anything but tensors, or are damaged"
    if "ignore_mismatched_sizes" in text:
        return "its weights have other shapes than its config.json"
    if "Unrecognized configuration class" in text:
        return "its kind of model, by config.json, has no masked LM"
    if "Repo id must" in text or "HFValidationError" in type(error).__name__:
        return "there is no such folder, and it is no name on a hub"
    if "Validation error for field" in text:
        return " ".join(text.split())[:300]
    if isinstance(error, KeyError):
        return f"its files lack {text}"
    return text.splitlines()[0][:300] if text else type(error).__name__


def _is_sentencepiece(folder: Path) -> bool:
    """Whether a folder has a SentencePiece model, and no tokenizer that was made from it."""
    has_model = any(folder.glob("*.model")) if folder.is_dir() else False
    return has_model and not (folder / "tokenizer.json").is_file()


def refusing_code(source: str | Path) -> str | Path:
    """Return a folder, or a name on the hub, as it is.

    Raises:
        StudyError: If the folder holds code, or settings that name code or another model to be loaded in its place.
    """
    folder = Path(source)
    for path in files_under(folder) if folder.is_dir() else []:
        if path.name.endswith(_CODE):
            raise _refused(f"{path}, which is code")
        if path.name == "adapter_config.json":
            found = f"{path}, which has another model loaded in this one's place"
            remedy = (
                "merge it into its encoder (peft's `merge_and_unload`, then `save_pretrained`), and name that folder"
            )
            raise _refused(found, remedy)
        if path.suffix == ".json" and (named := _named_code(path)):
            raise _refused(f"{named} in {path}, which has code loaded")
    return source


def _named_code(path: Path) -> str | None:
    """Return what in a file of settings names code; what is damaged is Transformers' to tell."""
    if not path.name.endswith("config.json") and path.name != "modules.json":
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError):
        return None
    parts = settings if isinstance(settings, list) else [settings]
    parts = [part for part in parts if isinstance(part, dict)]
    if path.name == "modules.json":
        types = (str(part.get("type", _OWN_MODULES)) for part in parts)
        return next((name for name in types if not name.startswith(_OWN_MODULES)), None)
    return next((name for part in parts for name in ("auto_map", "custom_pipelines") if part.get(name)), None)


def _refused(
    found: str, remedy: str = "name another encoder; or, having read them, move such files and entries away"
) -> StudyError:
    expected = "settings, tokenizer files and safetensors alone: the study runs no code that comes with an encoder"
    return StudyError(found, expected, remedy)
