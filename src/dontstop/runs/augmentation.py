"""A task's text enlarged: the jobs that rank candidates, and the token stores of what was selected."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dontstop.machine import files
from dontstop.machine.runner import Job
from dontstop.profiles import Paths, Profile
from dontstop.runs.arms import CURATED
from dontstop.runs.jobs import load_result, result_of_prepare, scratch
from dontstop.selection import candidates, rankings
from dontstop.text.corpora import load_examples, load_unlabelled
from dontstop.text.tasks import Task
from dontstop.tokens import tokens

CANDIDATES_FILE = "counts.json"  # written last, so a folder that holds it is whole
RANKINGS_FILE = "rankings.json"


class Selections:
    """What is selected for a profile's tasks, and what each piece of it is identified by.

    Args:
        tasks: Those whose text is enlarged.
        all_tasks: All of the study's, whose dev and test texts no candidate may hold.
        base: Fingerprint of the base encoder, by whose states the selector `encoder` compares.
    """

    def __init__(self, profile: Profile, paths: Paths, tasks: Sequence[Task], all_tasks: Sequence[Task], base: str):
        self.profile, self.paths, self.tasks, self.all_tasks, self.base = profile, paths, tasks, all_tasks, base
        self.settings = profile.selection
        self._text = result_of_prepare(paths.data / "manifest.json")
        self._tokens = result_of_prepare(paths.data / "tokens" / "manifest.json")

    @property
    def domains(self) -> list[str]:
        """The domains of the tasks, each once."""
        return list(dict.fromkeys(task.domain for task in self.tasks))

    def sisters(self, domain: str) -> list[str]:
        """Name all tasks of a domain."""
        return [task.name for task in self.all_tasks if task.domain == domain]

    def candidates_key(self, domain: str) -> str:
        """Return the fingerprint of a domain's candidates."""
        splits = {name: self._text["tasks"][name]["splits"] for name in self.sisters(domain)}
        evaluated = [[of_task[split]["sha256"] for split in ("dev", "test")] for of_task in splits.values()]
        settings = [self.settings.granularity, self.settings.min_words, self.profile.text.leak_containment]
        corpus = self._text["domains"][domain]["sha256"]
        version = rankings.SELECTION_VERSION
        return files.fingerprint(["candidates", version, settings, corpus, evaluated, self._tokens["tokenizer"]])

    def ranking_key(self, task: Task, selector: str) -> str:
        """Return the fingerprint of a task's ranking of candidates by a selector."""
        of_selector = {
            "vampire": self.settings.vampire.model_dump(),
            "tfidf": self.settings.num_dimensions,
            "encoder": self.base,
            "sentence_transformer": rankings.digest_of(self.settings.sentence_transformer),
        }
        settings = [selector, of_selector.get(selector), max(self.settings.num_neighbours), self.settings.seed]
        train = self._text["tasks"][task.name]["splits"]["train"]["sha256"]
        return files.fingerprint(["ranking", self.candidates_key(task.domain), settings, train])

    def key(self) -> str:
        """Return the fingerprint of everything that is selected."""
        ranked = {t.name: [self.ranking_key(t, s) for s in self.settings.selectors] for t in self.tasks}
        unlabelled = {t.name: self._text["tasks"][t.name].get("unlabelled") for t in self.tasks}
        return files.fingerprint([self.settings.model_dump(), ranked, unlabelled])

    # Jobs -------------------------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """Make the jobs that still lack their results, the longest first."""
        wanted = [self._ranking_job(task, selector) for selector in self.settings.selectors for task in self.tasks]
        wanted.sort(key=lambda job: -job.size)
        wanted = [self._candidates_job(domain) for domain in self.domains] + wanted
        return [job for job in wanted if not (scratch(self.paths, job.key) / _last_file(job)).is_file()]

    def _candidates_job(self, domain: str) -> Job:
        key = self.candidates_key(domain)
        arguments = (self.profile, self.paths, domain, self.sisters(domain), scratch(self.paths, key))
        size = 0.05 * self._size(domain)
        return Job(key, f"candidates of {domain}", "selection", size, _cut, arguments)

    def _ranking_job(self, task: Task, selector: str) -> Job:
        key, source = self.ranking_key(task, selector), self.candidates_key(task.domain)
        arguments = (self.profile, self.paths, task.name, selector, scratch(self.paths, source))
        arguments += (scratch(self.paths, self.base) / "encoder", scratch(self.paths, key))
        needs = {source, self.base} if selector == "encoder" else {source}
        size = self._size(task.domain) * (10.0 if selector == "vampire" else 1.0)
        return Job(key, f"{task.name} by {selector}", "selection", size, _rank, arguments, frozenset(needs))

    def _size(self, domain: str) -> float:
        return float(self._tokens["stores"][f"corpora/{domain}"]["num_tokens"])

    # Writing ----------------------------------------------------------------------------------------------------

    def write(self, tell: Callable[[str], None]) -> None:
        """Write selected/<profile>/ whole: candidates, and by task what each arm's text is, as a token store."""
        tokenizer = tokens.load_tokenizer(self.paths.tokenizer())
        manifest: dict = {"selection": self.key(), "candidates": {}, "stores": {}}
        with tokens.saving_folder(self.paths.selected) as part:
            for domain in self.domains:
                source = scratch(self.paths, self.candidates_key(domain))
                files.link_files(source, part / "candidates" / domain)
                manifest["candidates"][domain] = load_result(source / CANDIDATES_FILE)
            for task in self.tasks:
                tell(f"selection ({self.profile.name}): writing the text of {task.name}")
                manifest["stores"] |= self._write_task(task, part / task.name, tokenizer)
            files.write_json(part / "manifest.json", manifest)

    def _write_task(self, task: Task, folder: Path, tokenizer) -> dict[str, dict]:
        pieces = candidates.load_candidates(scratch(self.paths, self.candidates_key(task.domain)))
        own = [row["text"] for row in load_examples(self.paths, task.name, "train")]
        allowed = candidates.other_than(pieces, own)
        places = {s: scratch(self.paths, self.ranking_key(task, s)) for s in self.settings.selectors}
        ranked = {s: files.read_array(place / "indices.npy") for s, place in places.items()}
        about = {s: load_result(place / rankings.RANKING_FILE) for s, place in places.items()}
        files.write_json(folder / RANKINGS_FILE, about)
        entries = {}
        for kind, chosen in rankings.sets_of(self.settings, ranked, pieces.lengths, allowed).items():
            texts = [row["text"] for row in pieces.rows(chosen)]
            entries[kind] = self._write_set(folder / kind, own, texts, tokenizer)
            with files.writing(folder / kind / "chosen.npy") as place, open(place, "wb") as handle:
                np.save(handle, chosen)
        curated = [row["text"] for row in load_unlabelled(self.paths, task.name)]
        if curated := curated[: self.settings.max_curated_texts]:
            entries[CURATED] = self._write_set(folder / CURATED, own, curated, tokenizer)
        return {f"selected/{task.name}/{kind}": entry for kind, entry in entries.items()}

    def _write_set(self, folder: Path, own: list[str], selected: list[str], tokenizer) -> dict:
        """Write the task's own texts and the selected ones as one store, and return its entry in the manifest."""
        tokens.write_token_store([*own, *selected], tokenizer, folder)
        store = tokens.load_token_store(folder)
        counts = {"num_documents": len(store), "num_tokens": len(store.ids), "num_selected": len(selected)}
        counts["num_bytes"] = sum(len(text.encode()) for text in (*own, *selected))
        counts["num_selected_tokens"] = int(store.offsets[-1] - store.offsets[len(own)])
        return counts | {"sha256": files.digest(folder / "ids.npy")}


def is_written(paths: Paths, key: str) -> bool:
    """Whether selected/<profile>/ holds what this fingerprint of `Selections` says."""
    path = paths.selected / "manifest.json"
    return path.is_file() and load_result(path)["selection"] == key


def _last_file(job: Job) -> str:
    return CANDIDATES_FILE if job.function is _cut else rankings.RANKING_FILE


def _cut(profile: Profile, paths: Paths, domain: str, sisters: Sequence[str], folder: Path) -> None:
    evaluated = [
        row["text"] for name in sisters for split in ("dev", "test") for row in load_examples(paths, name, split)
    ]
    counts = candidates.write_candidates(
        paths.corpus(domain),
        folder,
        evaluated,
        tokens.load_tokenizer(paths.tokenizer()),
        granularity=profile.selection.granularity,
        min_words=profile.selection.min_words,
        limit=profile.text.leak_containment,
    )
    files.write_json(folder / CANDIDATES_FILE, counts | {"candidates": len(candidates.load_candidates(folder))})


def _rank(profile: Profile, paths: Paths, task: str, selector: str, source: Path, base: Path, folder: Path) -> None:
    rankings.rank(
        selector,
        profile.selection,
        candidates.load_candidates(source),
        [row["text"] for row in load_examples(paths, task, "train")],
        folder,
        base=base,
        max_length=profile.finetune_for(task).max_length,
    )
