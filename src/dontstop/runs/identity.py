"""What a result is identified by: a fingerprint of what it comes from, and the kind of machine that made it."""

import ast
import functools
import importlib.metadata
import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from dontstop.design.arms import Checkpoint, Run, phase_settings
from dontstop.design.plan import EXPERIMENTS, held_out_of, text_of
from dontstop.errors import StudyError
from dontstop.machine import digests, files
from dontstop.profiles import Paths, Profile
from dontstop.runs import records, scratch
from dontstop.text.tasks import GENERAL, SPLITS
from dontstop.training import devices, encoders

PACKAGE = Path(__file__).parents[1]
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")
LIBRARIES_FILE = "libraries.json"  # in results: the sets of versions that they were made with
RESTORE_VERSIONS = "restore it (`git checkout`): till then, no result by other versions of the libraries is found"
# Where the code stands that decides what training and selection produce; text counts by its digests.
DECIDING = ("machine/randomness.py", "tokens/", "training/", "selection/")
# By the digest of code: the digest of older code whose results it gives to the bit, and by what that was shown.
EQUAL_CODE = "runs/equal_code.json"
LOSS_SETTINGS = {"sequence_length", "mlm_probability", "seed"}  # what a phase's held-out loss depends on
READ_BY_TRANSFORMERS = (".safetensors", ".json", ".txt", ".model")  # weights, settings, tokenizer files


def installed_versions(libraries: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Return the versions of the libraries that decide results; builds for other devices count as one version."""
    return {name: importlib.metadata.version(name).split("+")[0] for name in libraries}


def known_versions(results: Path) -> list[dict[str, str]]:
    """Return the sets of versions that some published results were made with, as far as they tell; damaged ones not."""
    return _noted_versions(results)[0]


def versions_damage(results: Path) -> str | None:
    """Say that the note of those versions is not as it was written; None where it is, or where there is none."""
    return f"{results / LIBRARIES_FILE} is damaged" if _noted_versions(results)[1] else None


def _noted_versions(results: Path) -> tuple[list[dict[str, str]], bool]:
    """Return the sets of versions that are as they were written, and whether anything else stands there."""
    try:
        rows = files.read_json(results / LIBRARIES_FILE)
    except FileNotFoundError:
        return [], False
    except StudyError:
        return [], True
    entries = rows if isinstance(rows, list) else [rows]
    whole = [{name: row.get(name) for name in LIBRARIES} for row in entries if isinstance(row, dict)]
    whole = [some for some in whole if _with_digest(some) in entries]
    return whole, len(whole) < len(entries)


def note_versions(results: Path, known: Sequence[dict[str, str]]) -> None:
    """Write down the sets of versions that published results were made with."""
    files.write_json(results / LIBRARIES_FILE, [_with_digest(some) for some in known])


def _with_digest(versions: dict[str, str]) -> dict[str, str]:
    return versions | {"sha256": files.fingerprint(versions)}


def _with_others(method: Callable[..., str]) -> Callable[..., str]:
    """Let a fingerprint be noted beside those of the same thing by other versions of the libraries."""

    @functools.wraps(method)
    def noting(self: "Identity", *of) -> str:
        fingerprint = method(self, *of)
        self._alike[fingerprint] = [getattr(other, method.__name__)(*of) for other in self._others]
        return fingerprint

    return noting


class Identity:
    """Fingerprints of a profile's checkpoints, runs and losses: settings, digests of inputs, parents, code, libraries.

    What only changes speed is no part of them, nor is the machine, whose `capability` stands beside them. Both equal
    mean equal results, so finished work is found again whichever command asks for it, and a changed setting never
    meets work done under the old one.

    Args:
        versions: Of the libraries; unless given, those installed, and `alike` tells of the sets that results tell of.
    """

    def __init__(self, profile: Profile, paths: Paths, versions: Mapping[str, str] | None = None):
        self.profile, self.paths = profile, paths
        again = f"run `dontstop prepare --profile {profile.name}`, which makes it again"
        digests.hold(digests.folder_damage(paths.data, ("manifest.json", "tokens/manifest.json")), again)
        manifest = scratch.result_of_prepare(paths.data / "tokens" / "manifest.json")
        self._stores = dict(manifest["stores"])
        for row in records.selected_rows(selected_records(paths)):
            self._stores |= row["stores"]  # of text that may not stand here
        for selected in sorted(paths.selected.glob("replicate_*/manifest.json")):
            if digests.folder_damage(selected.parent, (selected.name,)) is None:  # else it is selected again
                self._stores |= files.read_json(selected)["stores"]
        self._splits = scratch.result_of_prepare(paths.data / "manifest.json")["tasks"]
        self.device = devices.resolve_device(profile.device)
        self.precision = devices.resolve_precision(profile.precision, self.device)
        self.capability = capability(self.device, self.precision)
        asked = {"precision": profile.precision, "compiled": profile.compiled, "tokenizer": manifest["tokenizer"]}
        if profile.tokens.tokenizer is not None:
            asked["special_tokens"] = _special_tokens(paths.tokenizer() / "tokenizer_config.json")
        own = versions or installed_versions()
        self._common = asked | dict(own)
        self._encoder = profile.encoder.model_dump() | given_encoder(profile.encoder.name)
        known = [] if versions else known_versions(paths.results)
        self._others = [Identity(profile, paths, some) for some in known if some != own]
        self._alike: dict[str, list[str]] = defaultdict(list)

    def alike(self, fingerprint: str) -> list[str]:
        """Return the fingerprints of the same checkpoint, run or loss by other versions of the libraries."""
        return self._alike[fingerprint]

    def store(self, name: str) -> dict:
        """Return a token store's entry in the manifests of prepared and selected text: digest and counts.

        Raises:
            StudyError: If nothing tells of it.
        """
        if name not in self._stores:
            remedy = f"run `dontstop select -p {self.profile.name}`, with as many replicates"
            raise StudyError(f"no text {name}", "text that has been prepared, or selected", remedy)
        return self._stores[name]

    def labels(self, task: str) -> list[str]:
        """Return a task's labels, in the order of their ids."""
        return self._splits[task]["labels"]

    @functools.cache  # noqa: B019 (an Identity lives as long as its study)
    @_with_others
    def checkpoint(self, checkpoint: Checkpoint) -> str:
        """Return a checkpoint's fingerprint."""
        common = {**self._common, "code": code_digest("runs/pretraining.py")}
        held_out = self.store(held_out_of(checkpoint))["sha256"]
        if (folder := released_folder(self.profile, checkpoint)) is not None:
            given = {"released": checkpoint.name, "files": folder_digests(folder), "held_out": held_out}
            return files.fingerprint(common | given)
        settings, parent = phase_settings(self.profile, checkpoint), checkpoint.parent
        return files.fingerprint(
            {
                **common,
                **encoders.adaptation_settings(checkpoint.last.part, self.profile.cheap_adaptation),
                **self._beside(checkpoint),
                "encoder": self._encoder,
                "phase": None if settings is None else settings.model_dump(),
                "stream": checkpoint.name,
                "text": self.store(text_of(checkpoint))["sha256"],
                "held_out": held_out,
                "parent": None if parent is None else self.checkpoint(parent),
            }
        )

    def _beside(self, checkpoint: Checkpoint) -> dict:
        """Return what a phase reads beside its text and its parent."""
        if checkpoint.last.kind == "average":
            return {"averaged": self.checkpoint(Checkpoint((), checkpoint.replicate))}
        if checkpoint.last.kind == "replay_dapt":
            share, text = self.profile.forgetting.replayed_share, self.store(f"corpora/{GENERAL}")["sha256"]
            return {"replayed": text, "replayed_share": share}
        return {}

    @_with_others
    def run(self, run: Run) -> str:
        """Return a run's fingerprint; arms that share a checkpoint share the run."""
        task = run.task.name
        return files.fingerprint(
            {
                **self._common,
                "code": code_digest("runs/finetuning.py"),
                "task": task,
                "metric": run.task.metric,
                "splits": {split: self._splits[task]["splits"][split]["sha256"] for split in SPLITS},
                "finetune": self.profile.finetune_for(task).model_dump(),
                "seed": run.random_seed,
                "labelled": None if run.num_labels is None else [run.num_labels, run.replicate],
                "checkpoint": self.checkpoint(run.checkpoint),
            }
        )

    @_with_others
    def loss(self, checkpoint: Checkpoint, store: str) -> str:
        """Return the fingerprint of an encoder's masked-LM loss on a token store (`held_out/general`)."""
        return files.fingerprint(
            {
                **self._common,
                "code": code_digest("runs/pretraining.py"),
                "checkpoint": self.checkpoint(checkpoint),
                "text": self.store(store)["sha256"],
                "settings": self.profile.dapt.model_dump(include=LOSS_SETTINGS),
            }
        )


def selected_records(paths: Paths) -> Path:
    """Return the file with the records of selected text."""
    return paths.results / "records" / EXPERIMENTS["knn_tapt"].notebook / f"{records.SELECTED}.jsonl"


def _special_tokens(path: Path) -> dict[str, object]:
    """Return what a given tokenizer's settings name as mask, pad and the like, which its `tokenizer.json` does not."""
    about = files.read_json(path) if path.is_file() else {}
    return {name: value for name, value in about.items() if name.endswith("_token")}


def capability(device: str, precision: str) -> str:
    """Name the kind of machine, as far as its arithmetic differs: `x86_64 Intel AVX512 AMX bfloat16`.

    Instruction sets order sums differently, and so do libraries for the processors of one maker or another; a GPU is
    named by its generation.
    """
    if device.startswith("cuda"):
        parts = ["cuda", ".".join(map(str, torch.cuda.get_device_capability()))]
    else:
        found = devices.processor_capabilities()
        parts = [platform.machine(), *found.get("cpu_name", "").split()[:1]]
        parts.append(torch.backends.cpu.get_cpu_capability().replace("DEFAULT", "no vectors"))
        parts += ["AMX"] if found.get("amx_bf16") and precision == "bf16" else []
    return " ".join([*parts, {"fp32": "float32", "bf16": "bfloat16"}[precision]])


def capability_of(profile: Profile) -> str:
    """Return this machine's capability with a profile's device and precision."""
    device = devices.resolve_device(profile.device)
    return capability(device, devices.resolve_precision(profile.precision, device))


# Code ------------------------------------------------------------------------------------------------------------


@functools.cache
def code_digest(*entries: str, package: Path = PACKAGE) -> str:
    """Return a digest of the code that a job runs through: its modules, and those that decide and that they import.

    Comments, docstrings and layout do not count; nor does an edit after which results were shown to be equal to the
    bit, which `EQUAL_CODE` tells of, so that a study of many replicates outlives it.

    Args:
        entries: Modules where the job begins, such as `runs/finetuning.py`.
    """
    found: dict[str, str] = {}
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        if name not in found:
            tree = ast.parse((package / name).read_text(encoding="utf-8"))
            found[name] = files.fingerprint(_plain(tree))
            waiting += [module for module in _imports(tree, package) if module.startswith(DECIDING)]
    digest, equal = files.fingerprint(found), files.read_json(package / EQUAL_CODE)
    return equal.get(digest, {"equals": digest})["equals"]


def _imports(tree: ast.AST, package: Path) -> Iterable[str]:
    """Yield the modules of the package that a module imports, anywhere in it, as paths."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package.name:
            place = "/".join(node.module.split(".")[1:])
            for path in (place, *(f"{place}/{alias.name}".lstrip("/") for alias in node.names)):
                yield from (file for file in (f"{path}.py", f"{path}/__init__.py") if (package / file).is_file())


def _plain(node) -> object:
    """Return a syntax tree as plain values, alike in all versions of Python: no docstrings, nothing that is empty."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
        fields["body"] = node.body[1:]
    kept = {name: _plain(value) for name, value in fields.items() if value not in (None, []) or name == "value"}
    return [type(node).__name__, kept]


# Encoders that others have trained -------------------------------------------------------------------------------


def given_encoder(name: str | None) -> dict:
    """Return what identifies the encoder that a profile names: all files of its folder, or its name on the hub."""
    return {} if name is None or not Path(name).is_dir() else {"name": None, "files": folder_digests(Path(name))}


def folder_digests(folder: Path, endings: tuple[str, ...] = READ_BY_TRANSFORMERS) -> dict[str, str]:
    """Return the digests of an encoder's or tokenizer's files, by name: every shard, its settings, its tokenizer."""
    found = (path for path in files.files_under(folder) if path.name.endswith(endings))
    return {str(path.relative_to(folder)): files.digest(path) for path in found}


def released_folder(profile: Profile, checkpoint: Checkpoint) -> Path | None:
    """Return the folder of a checkpoint that others have trained, where the profile names such and it is among them.

    Not for TAPT on a task that the profile takes a few examples of: the others' has read all of its texts.
    """
    has_few = any(phase.is_tapt and phase.text in profile.text.low_resource for phase in checkpoint.phases)
    if profile.released is None or not checkpoint.phases or has_few:
        return None
    folder = Path(profile.released) / checkpoint.name
    return folder if folder.is_dir() else None
