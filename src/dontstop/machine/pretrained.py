"""Encoders and tokenizers that others may have made: loaded by Transformers' own classes, and never by their code."""

import json
from pathlib import Path
from typing import Any

from dontstop.errors import StudyError
from dontstop.machine.files import files_under

_CODE = (".py", ".pyc", ".so")
_OWN_MODULES = "sentence_transformers."  # of a sentence transformer's modules.json


def load(kind: Any, source: str | Path, **how: Any) -> Any:
    """Return kind.from_pretrained(source, **how); no code of the source's is run, and nobody is asked whether to.

    Args:
        kind: A class of Transformers, such as `AutoTokenizer`.
        source: A folder, or a name on the hub.

    Raises:
        StudyError: If the folder brings code of its own; and whatever Transformers raises.
    """
    return kind.from_pretrained(refusing_code(source), trust_remote_code=False, **how)


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
            raise _refused(f"{path}, which has another model loaded in this one's place")
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


def _refused(found: str) -> StudyError:
    expected = "settings, tokenizer files and safetensors alone: the study runs no code that comes with an encoder"
    return StudyError(found, expected, "name another encoder; or, having read them, move such files and entries away")
