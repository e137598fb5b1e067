"""Choose the examples of the docstring tasks: splits by document, by seed and content, never by file order."""

import collections
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dontstop.errors import StudyError
from dontstop.profiles import Text
from dontstop.studies import Domain
from dontstop.text import leakage
from dontstop.text.classes import class_of
from dontstop.text.docstrings import Document
from dontstop.text.tasks import SPLITS
from dontstop.text.words import normalise

_LETTERS = re.compile(r"[^\W_]+")
_SMALLEST_CLASS = 0.02  # of the examples wanted; a class with fewer candidates is left out
_LONGEST_DOCUMENTS = (400, 250, 150, 100)  # words; longer documents stay in the pretraining corpus
_LARGEST_SHARE = 0.3  # of a domain's words that dev and test documents may take from its pretraining corpus
_PIECES_PER_DOCUMENT = {"topic": 1, "area": 4}  # that may become examples, by kind of task
_FEWEST_TEST = 0.5  # of num_test; a domain with fewer test examples is too small


@dataclass(frozen=True)
class Candidate:
    """A text that may become an example, and the index of the document it was taken from."""

    document: int
    text: str
    label: str
    key: str


Chosen = dict[str, dict[str, list[Candidate]]]  # by task and split


def content_key(text: str, purpose: str, *, seed: int) -> str:
    """Return a hexadecimal key that depends on the text's letters, the purpose and the seed alone."""
    return key_of_letters(letters_of(text), purpose, seed=seed)


def key_of_letters(letters: str, purpose: str, *, seed: int) -> str:
    """Return the key of a text whose `letters_of` are known, which take most of the time."""
    return hashlib.sha256(f"{seed}\n{purpose}\n{letters}".encode()).hexdigest()


def letters_of(text: str) -> str:
    """Return the text as its keys see it: equal under changes of case, space and punctuation.

    Width and normal form count, other than in `words.normalise`: so prepared text keeps the place that it ever had.
    """
    if text.isascii():
        return normalise(text)
    return " ".join(_LETTERS.findall(text.lower())) or text.strip().lower()


def in_fraction(text: str, purpose: str, fraction: float, *, seed: int) -> bool:
    """Tell whether a text is in the given fraction of all texts."""
    return is_within(content_key(text, purpose, seed=seed), fraction)


def is_within(key: str, fraction: float) -> bool:
    """Tell whether a key is in the given fraction of all keys."""
    return int(key[:13], 16) < fraction * 16**13


def candidates(domain: Domain, kind: str, documents: Sequence[Document], settings: Text) -> list[Candidate]:
    """Return what may become examples of a domain's task.

    Args:
        kind: `topic`, whose texts are first pieces of docstrings, and whose labels are subpackages; or `area`, of some
            pieces and the domain's fields. See `pieces`.
    """
    found = []
    for k, document in enumerate(documents):
        if label := class_of(domain, kind, document.module):
            found += [_candidate(k, text, label, settings) for text in _first_pieces(document, kind, settings)]
    return found


def _first_pieces(document: Document, kind: str, settings: Text) -> list[str]:
    return pieces(document, settings.min_example_words)[: _PIECES_PER_DOCUMENT[kind]]


def pieces(document: Document, min_words: int) -> list[str]:
    """Cut a docstring into texts of `min_words` and more: passages in their order, joined until they are as long.

    A rest that is shorter is left out; so are comments and READMEs, of which no task is made.
    """
    found, piece = [], ""
    for passage in document.passages if document.is_docstring else ():
        piece = f"{piece} {passage.text}".lstrip()
        if len(piece.split()) >= min_words:
            found.append(piece)
            piece = ""
    return found


def keep_unique(
    candidates: list[Candidate], own: Sequence[int], everything: leakage.Grams, limit: float
) -> list[Candidate]:
    """Return the candidates of which no document but their own holds `limit` of the 5-grams, each text once.

    Args:
        candidates: Of one domain.
        own: For each document of the domain, its index among all documents.
        everything: The 5-grams of all documents of all corpora.
        limit: Share of a text's 5-grams.

    So that keeping test texts out of pretraining costs a corpus no more than the documents they were taken from.
    """
    grams = leakage.word_grams([candidate.text for candidate in candidates])
    homes = np.array([own[candidate.document] for candidate in candidates], np.int64)
    shares = leakage.max_containment(grams, everything, homes)
    normal = [normalise(candidate.text) for candidate in candidates]
    counts = collections.Counter(normal)
    found = zip(candidates, shares, normal, strict=True)
    return [candidate for candidate, share, text in found if share < limit and counts[text] == 1]


def choose(
    domain: str, topic: list[Candidate], area: list[Candidate], documents: Sequence[Document], settings: Text
) -> Chosen:
    """Choose the examples of a domain's two tasks, whose documents are shared out among the splits once.

    From documents as long as the pretraining corpus can spare: the longest ones are left to it until dev and test take
    no more than their share of the words, or until shorter documents would be too few.

    Raises:
        StudyError: If there are too few candidates for the sizes asked for.
    """
    lengths = [len(document.text.split()) for document in documents]
    chosen: Chosen = {}
    for longest in _LONGEST_DOCUMENTS:
        try:
            by_topic = split_topic([c for c in topic if lengths[c.document] <= longest], settings, f"{domain}_topic")
            taken = {(c.document, c.text) for found in by_topic.values() for c in found}
            short = [c for c in area if lengths[c.document] <= longest and (c.document, c.text) not in taken]
            by_area = split_area(short, by_topic, documents, settings, f"{domain}_area")
        except StudyError:
            if not chosen:
                raise
            break
        chosen = {f"{domain}_topic": by_topic, f"{domain}_area": by_area}
        if sum(lengths[k] for k in evaluated_documents(chosen)) <= _LARGEST_SHARE * sum(lengths):
            break
    return chosen


def evaluated_documents(chosen: Chosen) -> set[int]:
    """Return the documents that dev or test examples were taken from."""
    return {c.document for by_split in chosen.values() for split in ("dev", "test") for c in by_split[split]}


def split_topic(candidates: list[Candidate], settings: Text, task: str) -> dict[str, list[Candidate]]:
    """Divide topic candidates, one a document, into train, dev and test; class sizes tempered (see `quotas`)."""
    ordered = sorted(_large_classes(candidates, settings), key=lambda candidate: (candidate.label, candidate.key))
    left, chosen = _by_label(ordered), {}
    for split in SPLITS:
        wanted = quotas({label: len(found) for label, found in left.items()}, _size(settings, split))
        chosen[split] = [c for label, found in left.items() for c in found[: wanted[label]]]
        left = {label: found[wanted[label] :] for label, found in left.items()}
    return _checked(chosen, settings, task)


def split_area(
    candidates: list[Candidate],
    topic: dict[str, list[Candidate]],
    documents: Sequence[Document],
    settings: Text,
    task: str,
) -> dict[str, list[Candidate]]:
    """Divide area candidates, first from the documents that the topic task already uses, keeping their splits."""
    split_of = {candidate.document: split for split, found in topic.items() for candidate in found}
    pools = {split: [] for split in SPLITS}
    for candidate in _large_classes(candidates, settings):
        split = split_of.get(candidate.document) or _pool(documents[candidate.document], settings)
        pools[split].append(candidate)
    everywhere = set.intersection(*({candidate.label for candidate in pool} for pool in pools.values()))
    pools = {split: [c for c in pool if c.label in everywhere] for split, pool in pools.items()}
    chosen = {}
    for split, pool in pools.items():
        pool.sort(key=lambda candidate: (candidate.document not in split_of, candidate.key))
        chosen[split] = _take(pool, _size(settings, split))
    return _checked(chosen, settings, task)


def unlabelled(
    task: str, documents: Sequence[Document], settings: Text, indices: Sequence[int], train: Sequence[Candidate]
) -> list[Candidate]:
    """Return texts as the task has them, from the documents at `indices`, whatever their label and also without one.

    As many pieces of each as `candidates` takes: what curated TAPT reads. Each once, in an order by
    content, none of `train`'s.

    Source: section 5.1 (text from the source that the task's own was taken from).
    """
    seen, kind = {normalise(candidate.text) for candidate in train}, task.rpartition("_")[2]
    found = []
    for k in indices:
        for text in _first_pieces(documents[k], kind, settings):
            if (normal := normalise(text)) not in seen:
                seen.add(normal)
                found.append(_candidate(k, text, "", settings))
    return sorted(found, key=lambda candidate: candidate.key)


def quotas(available: dict[str, int], total: int) -> dict[str, int]:
    """Divide `total` examples among classes, in proportion to the square root of what each has, never more than it has.

    Departure: the paper's tasks keep their natural class sizes; docstrings are so uneven that some would vanish.
    """
    given = dict.fromkeys(available, 0)
    left = min(total, sum(available.values()))
    while left:
        room = {label: math.sqrt(n) for label, n in available.items() if given[label] < n}
        share = left / sum(room.values())
        for label, weight in sorted(room.items(), key=lambda item: (-item[1], item[0])):
            more = min(left, available[label] - given[label], max(1, int(share * weight)))
            given[label] += more
            left -= more
    return given


def _candidate(document: int, text: str, label: str, settings: Text) -> Candidate:
    return Candidate(document, text, label, content_key(text, "example", seed=settings.split_seed))


def _size(settings: Text, split: str) -> int:
    return getattr(settings, f"num_{split}")


def _by_label(candidates: Iterable[Candidate]) -> dict[str, list[Candidate]]:
    found = collections.defaultdict(list)
    for candidate in candidates:
        found[candidate.label].append(candidate)
    return dict(found)


def _large_classes(candidates: list[Candidate], settings: Text) -> list[Candidate]:
    counts = collections.Counter(candidate.label for candidate in candidates)
    total = min(len(candidates), sum(_size(settings, split) for split in SPLITS))
    return [c for c in candidates if counts[c.label] >= max(3, _SMALLEST_CLASS * total)]


def _pool(document: Document, settings: Text) -> str:
    """Return the split of a document that the topic task leaves alone, by its number of examples wanted."""
    sizes = [_size(settings, split) for split in SPLITS]
    position = int(content_key(document.text, "pool", seed=settings.split_seed)[:13], 16) / 16**13 * sum(sizes)
    return SPLITS[int(np.searchsorted(np.cumsum(sizes), position, "right"))]


def _take(pool: list[Candidate], total: int) -> list[Candidate]:
    """Take `total` passages, rare classes first, at most a few from one document."""
    by_label = _by_label(pool)
    wanted = quotas({label: len(found) for label, found in sorted(by_label.items())}, total)
    taken: dict[Candidate, None] = {}  # in the order taken
    used = collections.Counter()
    for fill in (False, True):
        for label in sorted(by_label, key=lambda label: (len(by_label[label]), label)):
            for candidate in by_label[label]:
                if len(taken) >= total if fill else wanted[label] <= 0:
                    break
                if used[candidate.document] < _PIECES_PER_DOCUMENT["area"] and candidate not in taken:
                    taken[candidate] = None
                    used[candidate.document] += 1
                    wanted[label] -= 1
    return list(taken)


def _checked(chosen: dict[str, list[Candidate]], settings: Text, task: str) -> dict[str, list[Candidate]]:
    for split, found in chosen.items():
        wanted = _size(settings, split)
        fewest = math.ceil(_FEWEST_TEST * wanted) if split == "test" else wanted
        if len(found) < fewest:
            raise StudyError(
                f"{len(found)} examples for {split} of {task}",
                f"{fewest} or more, text.num_{split} being {wanted}",
                f"lower text.num_{split}, or raise text.max_documents",
            )
    return chosen
