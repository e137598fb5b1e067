"""What a profile asks for: its arms with their tasks, the plan of every experiment, and what is left out."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dontstop.design import arms
from dontstop.design.arms import Arm, Checkpoint, Phase
from dontstop.design.plan import EXPERIMENTS, LABEL_CURVE_ARMS, Plan, dev_store, held_out_store, plan_runs
from dontstop.profiles import Paths, Profile
from dontstop.text import corpora
from dontstop.text.tasks import GENERAL, Task, domains_of


@dataclass(frozen=True)
class Design:
    """What a profile asks for: arms with their tasks, and the plan of every experiment.

    Attributes:
        tasks: All of the study's.
        unlabelled: Names of the tasks that have unlabelled text of their own source.
    """

    profile: Profile
    tasks: tuple[Task, ...]
    unlabelled: frozenset[str] = frozenset()

    @classmethod
    def of(cls, profile: Profile, paths: Paths, tasks: Sequence[Task]) -> "Design":
        """Return what a profile asks for, given its prepared text."""
        entries = corpora.load_manifest(paths)["tasks"].items()
        return cls(profile, tuple(tasks), frozenset(name for name, entry in entries if "unlabelled" in entry))

    def arms(self) -> dict[Arm, list[Task]]:
        """Return all arms that the profile asks for, each with the tasks that it is run for, by notebook."""
        found: dict[Arm, list[Task]] = {}
        for some_arms, some_tasks in (group for name in EXPERIMENTS for group in self.groups(name) if group[1]):
            for arm in some_arms:
                found.setdefault(arm, []).extend(some_tasks)
        return found

    def replicates_of(self, arm: Arm) -> list[int]:
        """Return the replicates that run an arm."""
        return [replicate for replicate in range(self.profile.replicates) if self._has(arm, replicate)]

    def _has(self, arm: Arm, replicate: int) -> bool:
        return arm.is_claimed or self.profile.is_full(replicate)

    def groups(self, experiment: str) -> list[tuple[list[Arm], list[Task]]]:
        """Return the arms that an experiment fine-tunes, with their tasks, in groups that are planned together."""
        settings, fixed = self.profile, list(EXPERIMENTS[experiment].arms)
        if experiment == "knn_tapt":
            return [(self._augmented_arms(task), [task]) for task in self.augmented_tasks()]
        if experiment == "dapt":
            fixed += [arm for name, arm in arms.ARMS.items() if name in settings.forgetting.arms]
        groups = self._possible(fixed, self.tasks)
        if experiment == "tapt":
            short = [arms.short_tapt(epochs) for epochs in sorted(settings.tapt_curve.num_epochs)]
            groups += self._possible(short, self._among(settings.tapt_curve.tasks))
        if experiment == "dapt_tapt":
            cheap = [arm for name, arm in arms.ARMS.items() if name in settings.cheap_adaptation.arms]
            groups += self._possible(cheap, self._among(settings.cheap_adaptation.tasks))
        return groups

    def _possible(self, some: Sequence[Arm], tasks: Sequence[Task]) -> list[tuple[list[Arm], list[Task]]]:
        """Group tasks by those of the arms that they can be run for and the profile asks for."""
        asked = self.profile.arms
        groups: dict[tuple[Arm, ...], list[Task]] = {}
        for task in tasks:
            there = (arm for arm in some if not self._lacking(arm, task) and (asked is None or arm.name in asked))
            groups.setdefault(tuple(there), []).append(task)
        return [(list(found), of) for found, of in groups.items() if found]

    def _lacking(self, arm: Arm, task: Task) -> str:
        """Say which text of a task's the study does not have that an arm reads; nothing if it has all."""
        known = {domain.name for domain in domains_of(self.tasks, self.profile)} | {task.name for task in self.tasks}
        texts = arms.texts_of(task)
        roles = (phase.text for phase in arm.phases)
        return next((role.replace("_", " ") for role in roles if texts.get(role) not in known), "")

    def left_out(self, *experiments: str) -> str:
        """Say in one sentence which arms of experiments (or of all) are left out, and what they lack; or nothing."""
        found: dict[tuple[str, str], list[str]] = {}
        for name in experiments or EXPERIMENTS:
            of_paper = [arm for arm in EXPERIMENTS[name].arms if arm not in arms.NOT_DAPTS[1:]]
            for arm, task in itertools.product(of_paper, self.tasks):
                if lacking := self._lacking(arm, task):
                    found.setdefault((arm.name, lacking), []).append(task.name)
        parts = (f"{arm} of {', '.join(of)} (no {lacking})" for (arm, lacking), of in found.items())
        return f"left out for want of text: {'; '.join(parts)}" if found else ""

    def plan(self, experiment: str, replicates: Iterable[int] | None = None) -> Plan:
        """Plan an experiment's checkpoints, the base encoder's always among them, its runs, and the losses measured."""
        wanted = range(self.profile.replicates) if replicates is None else replicates
        return sum((self._plan_replicate(experiment, replicate) for replicate in wanted), Plan())

    def _plan_replicate(self, experiment: str, replicate: int) -> Plan:
        seeds, labels, losses = self.profile.seeds, self.profile.labels, self.measured(experiment, replicate)
        groups = [([arm for arm in some if self._has(arm, replicate)], of) for some, of in self.groups(experiment)]
        runs = [plan_runs(*group, seeds, replicate, [labels.primary]) for group in groups if group[0]]
        if experiment == "dapt_tapt" and labels.curve and self.profile.is_full(replicate):
            groups = self._possible(LABEL_CURVE_ARMS, self.tasks)
            runs += [plan_runs(*group, seeds[:1], replicate, labels.curve) for group in groups]  # no claim rests on it
        measured = Plan(tuple(encoder for encoder, _ in losses), losses=tuple(losses))
        return sum(runs, Plan((Checkpoint((), replicate),))) + measured

    def measured(self, experiment: str, replicate: int = 0) -> list[tuple[Checkpoint, str]]:
        """Return the pairs of an encoder and a token store whose masked-LM loss an experiment measures."""
        wanted, domains = EXPERIMENTS[experiment], domains_of(self.tasks, self.profile)
        stores = [held_out_store(text) for text in (GENERAL, *(domain.name for domain in domains))]
        if wanted.on == "task":
            stores = [dev_store(task.name) for task in self.tasks]
        kinds = [*wanted.measured, *(self.profile.forgetting.arms if "dapt" in wanted.measured else [])]
        kinds = [kind for kind in kinds if self.profile.arms is None or kind in (*self.profile.arms, "base")]
        kinds = [kind for kind in kinds if self._has(arms.ARMS[kind], replicate)]
        if experiment == "dapt_tapt":
            return self._measured_after_both(kinds, replicate)
        encoders = [encoder for kind in kinds for encoder in self.checkpoints(kind, replicate)]
        return [(encoder, store) for encoder in encoders for store in stores]

    def _measured_after_both(self, kinds: Sequence[str], replicate: int) -> list[tuple[Checkpoint, str]]:
        """Return what shows the course of forgetting to its end, in replicates that run more than claims rest on."""
        tasks = [task for some, of in self.groups("dapt_tapt") if arms.DAPT_TAPT in some for task in of]
        if not (kinds and self.profile.is_full(replicate)):
            return []
        texts = [(task, text) for task in tasks for text in (GENERAL, task.domain)]
        return [(arms.DAPT_TAPT.checkpoint(task, replicate), held_out_store(text)) for task, text in texts]

    def checkpoints(self, kind: str, replicate: int = 0) -> list[Checkpoint]:
        """Return a replicate's encoders of a kind: `base` (one), `tapt` (one a task) or an arm (one a domain)."""
        if kind == "base":
            return [Checkpoint((), replicate)]
        if kind == "tapt":
            return [Checkpoint((Phase(kind, task.name),), replicate) for task in self.tasks]
        domains, phases = domains_of(self.tasks, self.profile), arms.ARMS[kind].phases
        return [Checkpoint(tuple(replace(p, text=domain.name) for p in phases), replicate) for domain in domains]

    def transfer_tasks(self) -> list[Task]:
        """Return the tasks whose domain's other task the study has too; a mirror may lack one of the two."""
        names = {task.name for task in self.tasks}
        return [task for task in self.tasks if task.other_task in names]

    def augmented_tasks(self) -> list[Task]:
        """Return the tasks whose text is augmented."""
        return self._among(self.profile.selection.tasks)

    def curated_tasks(self) -> list[Task]:
        """Return those of them that have unlabelled text of their own source."""
        return [task for task in self.augmented_tasks() if task.name in self.unlabelled]

    def _augmented_arms(self, task: Task) -> list[Arm]:
        settings = self.profile.selection
        numbers, middle = sorted(settings.num_neighbours), settings.compared_neighbours
        found = [] if self.profile.augmented_tapt is None else [arms.knn_tapt(0)]
        found += [arms.knn_tapt(k) for k in numbers] + [arms.rand_tapt(k) for k in numbers]
        found += [arm(middle, name) for name in settings.compared for arm in (arms.knn_tapt, arms.rand_tapt)]
        return found + ([arms.CURATED_TAPT, arms.DAPT_CURATED_TAPT] if task.name in self.unlabelled else [])

    def _among(self, names: Sequence[str] | None) -> list[Task]:
        return [task for task in self.tasks if names is None or task.name in names]
