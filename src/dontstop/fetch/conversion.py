"""Pickled weights turned into safetensors, the only kind that the study loads; by an explicit command alone."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from dontstop.errors import StudyError
from dontstop.machine import files, pretrained


def fetch_encoders(folder: Path, wanted: Mapping[str, str], address: str, tell: Callable[[str], None]) -> None:
    """Fetch released encoders into `folder`, each under its checkpoint's name, as safetensors; skip those there.

    Args:
        wanted: A hub's encoders, by checkpoint, as `StudyText.encoders` has them.
        address: A folder that holds them by their names on the hub; nothing for the hub itself.

    Raises:
        StudyError: If one cannot be read.
    """
    for name, encoder in wanted.items():
        if (folder / name).is_dir():
            tell(f"{folder / name}: already there")
        else:
            convert_weights(f"{address.rstrip('/')}/{encoder}" if address else encoder, folder / name, tell)


def convert_weights(source: str, target: Path, tell: Callable[[str], None]) -> None:
    """Read an encoder with pickled weights, and write it as a Transformers folder with safetensors.

    The pickle is read as tensors only (`weights_only`), so that code in it is refused, not run.

    Args:
        source: A folder, or a name on the hub.
        target: The folder to write, with config, weights and tokenizer; it must not be there.

    Raises:
        StudyError: If the source cannot be read or its weights hold anything but tensors, or the target is there.
    """
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    if target.exists():
        raise StudyError(f"{target} exists", "a new folder", "name another, or move that one away")
    local = {"local_files_only": Path(source).is_dir()}
    reading = {"dtype": torch.float32, "use_safetensors": False, "weights_only": True, "output_loading_info": True}
    try:
        model, about = pretrained.load(AutoModelForMaskedLM, source, **reading, **local)
        tokenizer = pretrained.load(AutoTokenizer, source, **local)
    except StudyError as error:
        expected = "a folder or name with config.json, a tokenizer and pytorch_model.bin that holds tensors only"
        raise StudyError(f"no encoder to convert at {source}: {error.found}", expected, error.remedy) from error
    if missing := sorted(about["missing_keys"]):
        tell(f"{source} lacks {', '.join(missing)}: newly initialised, as an encoder without an LM head must be")
    if unknown := sorted(about["unexpected_keys"]):
        tell(f"{source} has {', '.join(unknown)}, for which a masked LM has no place: left out")
    with files.saving_folder(target) as part:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
    tell(f"{target}: {sum(p.numel() for p in model.parameters()):,} parameters as safetensors")
