"""Where a study stands: its root, and a profile's files below it."""

import os
import tomllib
from pathlib import Path


def find_root() -> Path:
    """Return the root of the study that one works in.

    DONTSTOP_ROOT if set; else the nearest checkout of this project around the working directory (a git worktree, a
    copy that DVC has made); else the checkout that this package stands in.
    """
    if named := os.environ.get("DONTSTOP_ROOT"):
        return Path(named).resolve()
    around = (folder for folder in (Path.cwd(), *Path.cwd().parents) if _is_root(folder))
    return next(around, Path(__file__).resolve().parents[3]).resolve()


def _is_root(folder: Path) -> bool:
    if not (folder / "pyproject.toml").is_file() or not (folder / "configs").is_dir():
        return False
    try:
        about = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False
    return about.get("project", {}).get("name") == "dontstop"


class Paths:
    """Where a profile's files stand, all below the root."""

    def __init__(self, profile: str, root: Path | None = None):
        self.root = root or find_root()
        kept = ("data", "checkpoints", "selected", "results")
        self.data, self.checkpoints, self.selected, self.results = (self.root / name / profile for name in kept)
        self.part = ""  # of results, where a plan of some of the arms has its own; see `runs.published`
        self.work = self.root / "work"
        self.lock = self.work / f"{profile}.lock"

    def corpus(self, domain: str) -> Path:
        """Pretraining text of a domain, or of `general`."""
        return self.data / "corpora" / f"{domain}.jsonl"

    def held_out(self, domain: str) -> Path:
        """Text of a domain on which masked-LM loss and distances are measured, in no pretraining corpus."""
        return self.data / "held_out" / f"{domain}.jsonl"

    def split(self, task: str, split: str) -> Path:
        """Labelled examples of a task's train, dev or test split."""
        return self.data / "tasks" / task / f"{split}.jsonl"

    def unlabelled(self, task: str) -> Path:
        """Unlabelled text of a task's own source, for curated TAPT; there may be none."""
        return self.data / "tasks" / task / "unlabelled.jsonl"

    def tokenizer(self) -> Path:
        """The tokenizer's folder."""
        return self.data / "tokenizer"

    def tokens(self, kind: str, name: str) -> Path:
        """Folder of a token store: kind is `corpora`, `held_out` or `tasks/<task>`."""
        return self.data / "tokens" / kind / name

    def store(self, name: str) -> Path:
        """Folder of a token store by its whole name: `corpora/general`, `selected/replicate_0/imdb/knn_tapt_50`."""
        folder, place = self.place_of_store(name)
        return folder / place

    def place_of_store(self, name: str) -> tuple[Path, str]:
        """The folder whose digests hold a token store, data/ or a replicate's selected text, and its place in there."""
        kind, _, rest = name.partition("/")
        if kind != "selected":
            return self.data, f"tokens/{name}"
        replicate, _, place = rest.partition("/")
        return self.selected / replicate, place
