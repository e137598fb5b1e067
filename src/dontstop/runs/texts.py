"""A study's prepared and selected text, and what is read of it: counts, labels, excerpts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dontstop import tokens
from dontstop.design.arms import Checkpoint, Phase
from dontstop.errors import StudyError
from dontstop.machine import digests, files
from dontstop.profiles import Paths, Profile
from dontstop.runs import finetuning, pretraining
from dontstop.runs.preparation import missing_tasks
from dontstop.text import corpora, tasks
from dontstop.text.tasks import Domain, Task


class Texts:
    """What stands in a profile's data/ and selected/, read only.

    Args:
        tasks: The study's.
        notebook: The notebook that asks; of pretraining it sees what the notebooks before it and it have trained.
    """

    def __init__(self, profile: Profile, paths: Paths, tasks: Sequence[Task], notebook: str = "base"):
        self.profile, self.paths, self.tasks, self.notebook = profile, paths, tuple(tasks), notebook

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains that the tasks need."""
        return tasks.domains_of(self.tasks, self.profile)

    @property
    def texts(self) -> list[str]:
        """Names of all corpora: `general` and the domains."""
        return [tasks.GENERAL, *(domain.name for domain in self.domains)]

    def missing_tasks(self) -> list[str]:
        """Name the tasks that the profile asks for and its text lacks, which `text.may_lack` allows."""
        return missing_tasks(self.profile, self.tasks)

    def truth(self) -> dict[str, np.ndarray]:
        """Return the (num_test,) label ids of every task's test split, by task."""
        return {task.name: self.label_ids(task.name, "test") for task in self.tasks}

    def label_ids(self, task: str, split: str) -> np.ndarray:
        """Return the (num_examples,) label ids of a task's split."""
        names = self.manifest()["tasks"][task]["labels"]
        return np.array([names.index(row["label"]) for row in corpora.load_examples(self.paths, task, split)])

    def manifest(self) -> dict:
        """Return what `prepare` wrote about the text: counts, digests, versions."""
        return corpora.load_manifest(self.paths)

    def token_counts(self) -> dict:
        """Return documents, tokens and digest of every token store, by name (`corpora/general`, ...)."""
        self.manifest()  # which holds all of the text to its digests
        return files.read_json(self.paths.data / "tokens" / "manifest.json")["stores"]

    def labelled(self, task: str, replicate: int, num: int | None = None) -> np.ndarray:
        """Return the indices of training texts that carry labels in a replicate: the primary number unless given."""
        labels, num = self.label_ids(task, "train"), self.profile.labels.primary if num is None else num
        return finetuning.labelled(labels, len(labels) if num is None else num, task, replicate)

    def excerpts(self, text: str, num: int = 3, num_characters: int = 300) -> pd.DataFrame:
        """Return the beginnings of a few texts, evenly spread: of a corpus (id, text), or of a task (label, text)."""
        of_task = text in {task.name for task in self.tasks}
        folder = self.paths.corpus(text)
        rows = corpora.load_examples(self.paths, text, "train") if of_task else corpora.load_documents(folder)
        chosen, first = [rows[len(rows) * k // num] for k in range(num)], "label" if of_task else "id"
        shown = [row["text"][:num_characters] + ("…" if len(row["text"]) > num_characters else "") for row in chosen]
        return pd.DataFrame({first: [row[first] for row in chosen], "text": shown})

    def masked_example(self, text: str, num_tokens: int = 40) -> pd.DataFrame:
        """Return the first tokens of a text's training sequence as the encoder meets them: columns input, target."""
        tokenizer = tokens.load_tokenizer(self.paths.tokenizer())
        kind = "dapt" if text in self.texts else "tapt"
        checkpoint = Checkpoint() if text == tasks.GENERAL else Checkpoint((Phase(kind, text),))
        batch = pretraining.batches_of(self.profile, self.paths, checkpoint).micro_batch(0, 0)
        wanted = dict(zip(batch.positions.tolist(), batch.labels.tolist(), strict=True))
        ids = batch.input_ids[0, :num_tokens].tolist()
        targets = [tokenizer.decode([wanted[k]]) if k in wanted else "" for k in range(len(ids))]
        return pd.DataFrame({"input": [tokenizer.decode([token]) for token in ids], "target": targets})

    def _selected(self, replicate: int) -> Path:
        folder = self.paths.selected / f"replicate_{replicate}"
        if not (folder / "manifest.json").is_file():
            remedy = f"run `dontstop select -p {self.profile.name}`, which selects the first; others where results lack"
            raise StudyError(f"no selected text of replicate {replicate}", f"it in {folder}", remedy)
        digests.hold(digests.folder_damage(folder), f"run `dontstop select -p {self.profile.name}`: it is made again")
        return folder

    def chosen(self, task: str, phase: str | Phase, replicate: int = 0) -> np.ndarray:
        """Return the candidates that augmented a task's text in a phase (`rand_tapt_5`): (num_selected,) ascending."""
        name = phase.name if isinstance(phase, Phase) else phase
        return np.load(self._selected(replicate) / task / name / "chosen.npy", allow_pickle=False)

    def selection_counts(self, replicate: int = 0) -> dict:
        """Return what the selection wrote of itself: candidates by domain, and every store's counts."""
        return files.read_json(self._selected(replicate) / "manifest.json")
