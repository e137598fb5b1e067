"""A task's augmented text: the jobs that rank candidates, and the token stores of what was selected."""

from collections.abc import Callable, Sequence
from pathlib import Path

from dontstop import tokens
from dontstop.machine import files
from dontstop.machine.progress import Job
from dontstop.profiles import Paths, Profile
from dontstop.runs import scratch
from dontstop.runs.arms import CURATED_TAPT, Checkpoint
from dontstop.runs.identity import code_digest
from dontstop.runs.jobs import Jobs
from dontstop.runs.records import RANKINGS_FILE
from dontstop.runs.scratch import key_of, load_result, result_of_prepare
from dontstop.selection import candidates, rankings
from dontstop.text.corpora import load_examples, load_unlabelled
from dontstop.text.tasks import Task

CANDIDATES_FILE = "counts.json"  # written last, so a folder that holds it is whole


class Selections:
    """What is selected for a profile's tasks, and what each piece of it is identified by.

    Args:
        some: Makes the base encoder's job, by whose states the selector `encoder` compares.
        tasks: Those whose text is augmented.
        all_tasks: All of the study's, whose dev and test texts no candidate may hold.
    """

    def __init__(self, some: Jobs, tasks: Sequence[Task], all_tasks: Sequence[Task]):
        self.profile, self.paths, self.found = some.profile, some.paths, some.scratch
        self.tasks, self.all_tasks = tasks, all_tasks
        self.settings, self.capability = some.profile.selection, some.identity.capability
        self.base, self.base_key = some.identity.checkpoint(Checkpoint()), some.place(Checkpoint())[0]
        self._text = result_of_prepare(self.paths.data / "manifest.json")
        self._tokens = result_of_prepare(self.paths.data / "tokens" / "manifest.json")

    @property
    def domains(self) -> list[str]:
        """The domains of the tasks, each once."""
        return list(dict.fromkeys(task.domain for task in self.tasks))

    def tasks_of(self, domain: str) -> list[str]:
        """Name all tasks of a domain."""
        return [task.name for task in self.all_tasks if task.domain == domain]

    def candidates_key(self, domain: str) -> str:
        """Return the key of a domain's candidates, which come out alike on all machines."""
        splits = {name: self._text["tasks"][name]["splits"] for name in self.tasks_of(domain)}
        evaluated = [[of_task[split]["sha256"] for split in ("dev", "test")] for of_task in splits.values()]
        settings = [self.settings.granularity, self.settings.min_words, self.profile.text.leak_containment]
        corpus, code = self._text["domains"][domain]["sha256"], code_digest("runs/augmentation.py")
        return files.fingerprint(["candidates", code, settings, corpus, evaluated, self._tokens["tokenizer"]])

    def ranking_fingerprint(self, task: Task, selector: str) -> str:
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

    def ranking_key(self, task: Task, selector: str) -> str:
        """Return the key that a ranking stands under, or will."""
        fingerprint = self.ranking_fingerprint(task, selector)
        return self.found.ranked(fingerprint, rankings.RANKING_FILE) or key_of(fingerprint, self.capability)

    def fingerprint(self) -> str:
        """Return the fingerprint of everything that is selected."""
        ranked = {t.name: [self.ranking_fingerprint(t, s) for s in self.settings.selectors] for t in self.tasks}
        unlabelled = {t.name: self._text["tasks"][t.name].get("unlabelled") for t in self.tasks}
        return files.fingerprint([self.settings.model_dump(), ranked, unlabelled])

    def is_written(self) -> bool:
        """Whether selected/<profile>/ holds what is to be selected, by this machine or one that is accepted."""
        path = self.paths.selected / "manifest.json"
        manifest = load_result(path) if path.is_file() else {}
        made_here = manifest.get("capability") == self.capability
        return manifest.get("selection") == self.fingerprint() and (made_here or self.found.accept_others)

    # Jobs -------------------------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """Make the jobs that still lack their results, the longest first."""
        wanted = [self._ranking_job(task, selector) for selector in self.settings.selectors for task in self.tasks]
        wanted.sort(key=lambda job: -job.size)
        wanted = [self._candidates_job(domain) for domain in self.domains] + wanted
        return [job for job in wanted if not job.arguments[2].is_file()]

    def _candidates_job(self, domain: str) -> Job:
        key = self.candidates_key(domain)
        folder = scratch.folder(self.paths, key)
        arguments = (self.paths, key, folder / CANDIDATES_FILE, _cut)
        arguments += (self.profile, self.paths, domain, self.tasks_of(domain), folder)
        size = 0.05 * self._size(domain)
        return Job(key, f"candidates of {domain}", "selection", size, scratch.once, arguments)

    def _ranking_job(self, task: Task, selector: str) -> Job:
        key, source = self.ranking_key(task, selector), self.candidates_key(task.domain)
        folder = scratch.folder(self.paths, key)
        arguments = (self.paths, key, folder / rankings.RANKING_FILE, _rank)
        arguments += (self.profile, self.paths, task.name, selector, scratch.folder(self.paths, source))
        arguments += (scratch.folder(self.paths, self.base_key) / "encoder", folder)
        needs = {source, self.base_key} if selector == "encoder" else {source}
        size = self._size(task.domain) * (10.0 if selector == "vampire" else 1.0)
        name = f"{task.name} by {selector}"
        return Job(key, name, "selection", size, scratch.once, arguments, frozenset(needs))

    def _size(self, domain: str) -> float:
        return float(self._tokens["stores"][f"corpora/{domain}"]["num_tokens"])

    # Writing ----------------------------------------------------------------------------------------------------

    def write(self, tell: Callable[[str], None]) -> None:
        """Write selected/<profile>/ whole: candidates, and by task what each arm's text is, as a token store."""
        tokenizer = tokens.load_tokenizer(self.paths.tokenizer())
        manifest: dict = {"selection": self.fingerprint(), "capability": self.capability}
        manifest |= {"candidates": {}, "stores": {}}
        with files.saving_folder(self.paths.selected) as part:
            for domain in self.domains:
                source = scratch.folder(self.paths, self.candidates_key(domain))
                files.link_files(source, part / "candidates" / domain)
                manifest["candidates"][domain] = load_result(source / CANDIDATES_FILE)
            for task in self.tasks:
                tell(f"selection ({self.profile.name}): writing the text of {task.name}")
                manifest["stores"] |= self._write_task(task, part / task.name, tokenizer)
            files.write_json(part / "manifest.json", manifest)

    def _write_task(self, task: Task, folder: Path, tokenizer) -> dict[str, dict]:
        pieces = candidates.load_candidates(scratch.folder(self.paths, self.candidates_key(task.domain)))
        own = [row["text"] for row in load_examples(self.paths, task.name, "train")]
        allowed = candidates.other_than(pieces, own)
        places = {s: scratch.folder(self.paths, self.ranking_key(task, s)) for s in self.settings.selectors}
        ranked = {s: files.read_array(place / "indices.npy") for s, place in places.items()}
        about = {s: load_result(place / rankings.RANKING_FILE) for s, place in places.items()}
        files.write_json(folder / RANKINGS_FILE, about)
        entries = {}
        for name, chosen in rankings.sets_of(self.settings, ranked, pieces.lengths, allowed).items():
            texts = [row["text"] for row in pieces.rows(chosen)]
            entries[name] = self._write_set(folder / name, own, texts, tokenizer)
            files.write_array(folder / name / "chosen.npy", chosen)
        curated = [row["text"] for row in load_unlabelled(self.paths, task.name)]
        if curated := curated[: self.settings.max_curated_texts]:
            entries[CURATED_TAPT.name] = self._write_set(folder / CURATED_TAPT.name, own, curated, tokenizer)
        return {f"selected/{task.name}/{name}": entry for name, entry in entries.items()}

    def _write_set(self, folder: Path, own: list[str], selected: list[str], tokenizer) -> dict:
        """Write the task's own texts and the selected ones as one store, and return its entry in the manifest."""
        tokens.write_token_store([*own, *selected], tokenizer, folder)
        store = tokens.load_token_store(folder)
        counts = {"num_documents": len(store), "num_tokens": len(store.ids), "num_selected": len(selected)}
        counts["num_bytes"] = sum(len(text.encode()) for text in (*own, *selected))
        counts["num_selected_tokens"] = int(store.offsets[-1] - store.offsets[len(own)])
        return counts | {"sha256": files.digest(folder / "ids.npy")}


def _cut(profile: Profile, paths: Paths, domain: str, tasks: Sequence[str], folder: Path) -> None:
    evaluated = [
        row["text"] for name in tasks for split in ("dev", "test") for row in load_examples(paths, name, split)
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
