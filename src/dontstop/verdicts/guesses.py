"""What encoders guess for words that are masked in sentences which none of them has read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from dontstop import tokens
from dontstop.design.arms import Checkpoint, Phase
from dontstop.machine import files, progress
from dontstop.machine.processes import one_thread
from dontstop.runs.results import Results, has_weights, most_weights_first
from dontstop.selection.candidates import split_text
from dontstop.text import corpora
from dontstop.training import encoders

COLUMNS = ["sentence", "position", "word", "encoder", "rank", "guess", "probability", "log_probability"]
NUM_GUESSES, NUM_MASKED = 5, 3
NUM_WORDS = range(8, 25)  # of a sentence
MIN_LETTERS, MOST_PIECES = 4, 3  # of a word


class Masked(NamedTuple):
    """A word to be guessed: its text, where it begins in the sentence, and the places of its word pieces."""

    text: str
    position: int
    places: range


def guesses(study: Results, text: str, num: int) -> pd.DataFrame:
    """Return what the encoders of a domain or a task guess in its held-out or dev texts; see `Study.guesses`."""
    if text in {task.name for task in study.tasks}:
        phases, rows = [Phase("tapt", text)], corpora.load_examples(study.paths, text, "dev")
    else:
        other = study.profile.text.study.domain(text).irrelevant_domain
        phases = [Phase("dapt", name) for name in (text, other) if name is not None]
        rows = corpora.load_documents(study.paths.held_out(text))
    wanted = [Checkpoint(some) for some in ((), *((phase,) for phase in phases))]
    with_base = [r for r in most_weights_first(study, wanted) if has_weights(study, Checkpoint((), r))]
    if not with_base:
        command = f"`dontstop run {phases[0].kind} -p {study.profile.name}`"
        progress.say(f"no weights of {wanted[-1].name} and its base here, so nothing is guessed: {command} trains them")
        return pd.DataFrame(columns=COLUMNS)
    of_one = [replace(checkpoint, replicate=with_base[0]) for checkpoint in wanted]
    found = {c.name: study.checkpoint_folder(c) for c in of_one if has_weights(study, c)}
    tokenizer = tokens.load_tokenizer(study.paths.tokenizer())
    return guess(found, tokenizer, chosen((row["text"] for row in rows), tokenizer, num))


def chosen(documents: Iterable[str], tokenizer, num: int) -> dict[str, list[Masked]]:
    """Choose sentences and their words to be masked, by rules, so that no looks decide.

    Taken are the first `num` sentences, in the order of digests of their text, of 8 to 24 words and with three or more
    different words of four letters or more and of three word pieces at most. Of these words it is the three of fewest
    pieces, so that a guess is a word as a rule, and the longest among those, which are seldom mere particles.

    Returns:
        By sentence, the words in their order.
    """
    sentences = {" ".join(s.split()) for document in documents for s in split_text(document, "sentence")}
    ordered = sorted((s for s in sentences if len(s.split()) in NUM_WORDS), key=files.fingerprint)
    with_words = ((sentence, _fittest(sentence, tokenizer)) for sentence in ordered)
    return dict(islice((pair for pair in with_words if len(pair[1]) == NUM_MASKED), num))


def _fittest(sentence: str, tokenizer) -> list[Masked]:
    words = {word.text: word for word in _words(sentence, tokenizer)}.values()
    fittest = sorted(words, key=lambda word: (len(word.places), -len(word.text), word.position))[:NUM_MASKED]
    return sorted(fittest, key=lambda word: word.position)


def _words(sentence: str, tokenizer) -> Iterator[Masked]:
    """Yield the words of a sentence that may be masked."""
    encoding = tokenizer(sentence)
    for number in sorted(set(encoding.word_ids()) - {None}):
        start, end = encoding.word_to_chars(number)
        word, pieces = sentence[start:end].strip(), encoding.word_to_tokens(number)
        places = range(pieces.start, pieces.end)
        if word.isalpha() and len(word) >= MIN_LETTERS and len(places) <= MOST_PIECES:
            yield Masked(word, end - len(word), places)


def guess(folders: Mapping[str, Path], tokenizer, masked: Mapping[str, Sequence[Masked]]) -> pd.DataFrame:
    """Let encoders, by name their folders, guess the masked words of sentences: all of a sentence's at once.

    A word of several pieces has as many masks, which gives its length away; its probability is the product of its
    pieces', each guessed without knowledge of the others.

    Returns:
        Columns sentence, position (where the word begins in it), word, encoder, rank (from 1), guess, probability (of
        the guess), log_probability (of the true word, nats).
    """
    if not masked:
        return pd.DataFrame(columns=COLUMNS)
    batch = tokenizer(list(masked), padding=True, return_tensors="pt")
    truth, ids = batch["input_ids"], batch["input_ids"].clone()
    for row, words in enumerate(masked.values()):
        ids[row, [place for word in words for place in word.places]] = tokenizer.mask_token_id
    rows = []
    for encoder, folder in folders.items():
        with one_thread(), torch.inference_mode():
            logits = encoders.load_encoder(folder)(input_ids=ids, attention_mask=batch["attention_mask"]).logits
        for row, (sentence, words) in enumerate(masked.items()):
            for word in words:
                of_word = torch.log_softmax(logits[row, list(word.places)], dim=1)  # (num_pieces, vocabulary)
                true = of_word.gather(1, truth[row, list(word.places), None]).sum().item()
                for rank, (total, pieces) in enumerate(_best(of_word), start=1):
                    told = tokenizer.decode(pieces).strip() or "␣", float(torch.tensor(total).exp()), true
                    rows.append((sentence, word.position, word.text, encoder, rank, *told))
    return pd.DataFrame(rows, columns=COLUMNS)


def _best(log_probabilities: torch.Tensor) -> list[tuple[float, list[int]]]:
    """Return the most probable words of some pieces, (num_pieces, vocabulary), with their log-probabilities."""
    found: list[tuple[float, list[int]]] = [(0.0, [])]
    for values, ids in zip(*(part.tolist() for part in log_probabilities.topk(NUM_GUESSES)), strict=True):
        longer = [(total + v, [*pieces, i]) for total, pieces in found for v, i in zip(values, ids, strict=True)]
        found = sorted(longer, reverse=True)[:NUM_GUESSES]
    return found
