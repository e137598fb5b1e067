"""A task's augmented text: the jobs that rank candidates, and the token stores of what was selected."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dontstop import tokens
from dontstop.design.arms import CURATED_TAPT, Checkpoint
from dontstop.machine import files
from dontstop.machine.progress import Job
from dontstop.profiles import Paths, Profile
from dontstop.runs import scratch
from dontstop.runs.identity import LIBRARIES, code_digest, installed_versions
from dontstop.runs.jobs import Jobs
from dontstop.runs.records import RANKINGS_FILE
from dontstop.runs.scratch import key_of, result_of_prepare
from dontstop.selection import candidates, rankings, sets
from dontstop.text.corpora import load_examples, load_unlabelled
from dontstop.text.tasks import Task

CANDIDATES_FILE = "counts.json"  # written last, so a folder that holds it is whole
# What decides what is selected: the code that this module runs through and that compares texts, and the libraries.
DECIDED_BY = ("runs/augmentation.py", "text/grams.py", "text/leakage.py", "text/words.py")
SELECTING = (*LIBRARIES, "scikit-learn", "faiss-cpu")


class Selections:
    """What is selected for a profile's tasks in one replicate, and what each piece of it is identified by.

    Candidates are the same in all replicates, and so is a ranking that has nothing random.

    Args:
        some: Makes the base encoder's job, by whose states the selector `encoder` compares.
        tasks: Those whose text is augmented.
        all_tasks: All of the study's, whose dev and test texts no candidate may hold.
        replicate: Which, from 0: its base encoder, and its seeds of VAMPIRE, of resampling and of random controls.
    """

    def __init__(self, some: Jobs, tasks: Sequence[Task], all_tasks: Sequence[Task], replicate: int):
        self.profile, self.paths, self.found = some.profile, some.paths, some.scratch
        self.tasks, self.all_tasks, self.replicate = tasks, all_tasks, replicate
        self.settings, self.capability = some.profile.selection, some.identity.capability
        base = Checkpoint(replicate=replicate)
        self.base, self.base_key = some.identity.checkpoint(base), some.place(base)[0]
        self._text = result_of_prepare(self.paths.data / "manifest.json")
        self._tokens = result_of_prepare(self.paths.data / "tokens" / "manifest.json")

    @property
    def folder(self) -> Path:
        """Where the replicate's selected text stands."""
        return self.paths.selected / f"replicate_{self.replicate}"

    @property
    def domains(self) -> list[str]:
        """The domains of the tasks, each once."""
        return list(dict.fromkeys(task.domain for task in self.tasks))

    def tasks_of(self, domain: str) -> list[str]:
        """Name the tasks of a domain whose text is augmented."""
        return [task.name for task in self.tasks if task.domain == domain]

    def all_tasks_of(self, domain: str) -> list[str]:
        """Name all tasks of a domain."""
        return [task.name for task in self.all_tasks if task.domain == domain]

    def candidates_key(self, domain: str) -> str:
        """Return the key of a domain's candidates, which come out alike on all machines."""
        splits = {name: self._text["tasks"][name]["splits"] for name in self.all_tasks_of(domain)}
        evaluated = [[of_task[split]["sha256"] for split in ("dev", "test")] for of_task in splits.values()]
        own = {name: splits[name]["train"]["sha256"] for name in self.tasks_of(domain)}
        settings = [self.settings.granularity, self.settings.min_words, self.profile.text.leak_containment]
        made_by = [code_digest(*DECIDED_BY), installed_versions(SELECTING)]
        read = [self._text["domains"][domain]["sha256"], evaluated, own, self._tokens["tokenizer"]]
        return files.fingerprint(["candidates", *made_by, settings, *read])

    def ranking_fingerprint(self, domain: str, selector: str) -> str:
        """Return the fingerprint of the ranking of a domain's candidates by a selector, for all tasks of the domain."""
        settings = self.settings
        of_selector = {
            "vampire": lambda: [settings.vampire.model_dump(), settings.seed, self.replicate],
            "tfidf": lambda: [settings.num_dimensions, settings.seed],
            "encoder": lambda: [self.base, self._max_length(domain)],
            "sentence_transformer": lambda: rankings.digest_of(settings.sentence_transformer),
        }
        asked = [selector, of_selector.get(selector, lambda: None)(), max(settings.num_neighbours)]
        return files.fingerprint(["ranking", self.candidates_key(domain), asked])

    def ranking_key(self, domain: str, selector: str) -> str:
        """Return the key that a ranking stands under, or will."""
        fingerprint = self.ranking_fingerprint(domain, selector)
        return self.found.ranked(fingerprint, rankings.RANKING_FILE) or key_of(fingerprint, self.capability)

    def fingerprint(self) -> str:
        """Return the fingerprint of everything that is selected in the replicate."""
        ranked = {d: [self.ranking_fingerprint(d, s) for s in self.settings.selectors] for d in self.domains}
        unlabelled = {t.name: self._text["tasks"][t.name].get("unlabelled") for t in self.tasks}
        return files.fingerprint([self.settings.model_dump(), self.replicate, ranked, unlabelled])

    def is_written(self) -> bool:
        """Whether the replicate's text is there as it is to be selected, by this machine or one that is accepted."""
        path = self.folder / "manifest.json"
        manifest = files.read_json(path) if path.is_file() else {}
        made_here = manifest.get("capability") == self.capability
        is_this = manifest.get("selection") == self.fingerprint() and (made_here or self.found.accept_others)
        return is_this and all(self._has_candidates(domain) for domain in self.domains)

    def _has_candidates(self, domain: str) -> bool:
        path = self._candidates_folder(domain) / CANDIDATES_FILE
        return path.is_file() and files.read_json(path)["key"] == self.candidates_key(domain)

    def _candidates_folder(self, domain: str) -> Path:
        return self.paths.selected / "candidates" / domain

    def _max_length(self, domain: str) -> int:
        return max(self.profile.finetune_for(task).max_length for task in self.tasks_of(domain))

    # Jobs -------------------------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """Make the jobs that still lack their results, the longest first."""
        wanted = [
            self._ranking_job(domain, selector) for selector in self.settings.selectors for domain in self.domains
        ]
        wanted.sort(key=lambda job: -job.size)
        wanted = [self._candidates_job(domain) for domain in self.domains] + wanted
        return [job for job in wanted if not job.arguments[2].is_file()]

    def _candidates_job(self, domain: str) -> Job:
        key = self.candidates_key(domain)
        folder = scratch.folder(self.paths, key)
        arguments = (self.paths, key, folder / CANDIDATES_FILE, _cut)
        arguments += (self.profile, self.paths, domain, self.all_tasks_of(domain), self.tasks_of(domain), folder, key)
        size = 0.05 * self._size(domain)
        return Job(key, f"candidates of {domain}", "selection", size, scratch.once, arguments)

    def _ranking_job(self, domain: str, selector: str) -> Job:
        key, source = self.ranking_key(domain, selector), self.candidates_key(domain)
        folder, base = scratch.folder(self.paths, key), scratch.folder(self.paths, self.base_key) / "encoder"
        how = {"base": base, "max_length": self._max_length(domain)}
        how["seed"] = rankings.seed_of_replicate(self.settings, self.replicate)
        arguments = (self.paths, key, folder / rankings.RANKING_FILE, _rank)
        arguments += (self.profile, self.paths, self.tasks_of(domain), selector)
        arguments += (scratch.folder(self.paths, source), folder, how)
        needs = {source, self.base_key} if selector == "encoder" else {source}
        size = self._size(domain) * {"vampire": 10.0, "encoder": 1.5}.get(selector, 0.2)
        name = f"{domain} by {selector}" + (f", replicate {self.replicate}" if selector in rankings.RANDOM else "")
        return Job(key, name, "selection", size, scratch.once, arguments, frozenset(needs))

    def _size(self, domain: str) -> float:
        return float(self._tokens["stores"][f"corpora/{domain}"]["num_tokens"])

    # Writing ----------------------------------------------------------------------------------------------------

    def write(self, tell: Callable[[str], None]) -> None:
        """Write the candidates, and the replicate's folder whole: by task what each arm's text is, as a token store."""
        tokenizer = tokens.load_tokenizer(self.paths.tokenizer())
        manifest: dict = {"selection": self.fingerprint(), "capability": self.capability}
        manifest |= {"candidates": {}, "stores": {}}
        for domain in self.domains:
            source = scratch.folder(self.paths, self.candidates_key(domain))
            manifest["candidates"][domain] = files.read_json(source / CANDIDATES_FILE)
            if not self._has_candidates(domain):
                with files.saving_folder(self._candidates_folder(domain)) as part:
                    files.link_files(source, part)
        with files.saving_folder(self.folder) as part:
            for task in self.tasks:
                tell(f"selection ({self.profile.name}, replicate {self.replicate}): writing the text of {task.name}")
                manifest["stores"] |= self._write_task(task, part / task.name, tokenizer)
            files.write_json(part / "manifest.json", manifest)

    def _write_task(self, task: Task, folder: Path, tokenizer) -> dict[str, dict]:
        pieces = candidates.load_candidates(scratch.folder(self.paths, self.candidates_key(task.domain)))
        own, entries = _texts(self.paths, task.name, "train"), {}
        for name, chosen in self._sets_of(task, pieces, folder).items():
            texts = [row["text"] for row in pieces.rows(chosen)]
            entries[name] = self._write_set(folder / name, own, texts, tokenizer)
            files.write_array(folder / name / "chosen.npy", chosen)
        curated = [row["text"] for row in load_unlabelled(self.paths, task.name)]
        if curated := curated[: self.settings.max_curated_texts]:
            entries[CURATED_TAPT.name] = self._write_set(folder / CURATED_TAPT.name, own, curated, tokenizer)
        return {f"selected/{self.folder.name}/{task.name}/{name}": entry for name, entry in entries.items()}

    def _sets_of(self, task: Task, pieces: candidates.Candidates, folder: Path) -> dict[str, np.ndarray]:
        """Return the sets of a task, by name, and keep what its rankings say of themselves under `folder`."""
        places = {s: scratch.folder(self.paths, self.ranking_key(task.domain, s)) for s in self.settings.selectors}
        about = {s: files.read_json(place / rankings.RANKING_FILE) for s, place in places.items()}
        # The tasks that share a ranking share its seconds.
        shown = {
            s: a["tasks"][task.name] | {"wall_seconds": a["wall_seconds"] / len(a["tasks"])} for s, a in about.items()
        }
        files.write_json(folder / RANKINGS_FILE, shown)
        ranked = {s: rankings.load_ranking(place, task.name) for s, place in places.items()}
        seed = rankings.seed_of_replicate(self.settings, self.replicate, task.name)
        return sets.sets_of(self.settings, ranked, pieces.lengths, pieces.allowed(task.name), seed=seed)

    def _write_set(self, folder: Path, own: list[str], selected: list[str], tokenizer) -> dict:
        """Write the task's own texts and the selected ones as one store, and return its entry in the manifest."""
        tokens.write_token_store([*own, *selected], tokenizer, folder)
        store = tokens.load_token_store(folder)
        counts = {"num_documents": len(store), "num_tokens": len(store.ids), "num_selected": len(selected)}
        counts["num_bytes"] = sum(len(text.encode()) for text in (*own, *selected))
        counts["num_selected_tokens"] = int(store.offsets[-1] - store.offsets[len(own)])
        return counts | {"sha256": files.digest(folder / "ids.npy")}


def _cut(
    profile: Profile, paths: Paths, domain: str, tasks: Sequence[str], augmented: Sequence[str], folder: Path, key: str
) -> None:
    how = {"granularity": profile.selection.granularity, "limit": profile.text.leak_containment}
    evaluated = [text for task in tasks for split in ("dev", "test") for text in _texts(paths, task, split)]
    counts = candidates.write_candidates(
        paths.corpus(domain),
        folder,
        candidates.Repeated(evaluated, **how),
        {task: candidates.Repeated(_texts(paths, task, "train"), **how) for task in augmented},
        tokens.load_tokenizer(paths.tokenizer()),
        granularity=profile.selection.granularity,
        min_words=profile.selection.min_words,
    )
    counts |= {"candidates": len(candidates.load_candidates(folder)), "key": key}
    files.write_json(folder / CANDIDATES_FILE, counts)


def _rank(
    profile: Profile, paths: Paths, tasks: Sequence[str], selector: str, source: Path, folder: Path, how: dict
) -> None:
    queries = {task: _texts(paths, task, "train") for task in tasks}
    search = rankings.Search(candidates.load_candidates(source), queries)
    rankings.rank(selector, profile.selection, search, folder, **how)


def _texts(paths: Paths, task: str, split: str) -> list[str]:
    return [row["text"] for row in load_examples(paths, task, split)]
