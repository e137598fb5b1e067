"""Batches for masked-LM pretraining: which sequences a step reads, and which of their tokens are masked."""

import functools
import math
from dataclasses import dataclass, field

import numpy as np
import torch

from dontstop.errors import StudyError
from dontstop.machine.randomness import generator
from dontstop.profiles import PhaseSettings
from dontstop.tokens.stores import TokenStore

MASKED_AS_MASK, MASKED_AS_RANDOM = 0.8, 0.1  # the rest of the masked positions keep their token (Devlin et al., 2019)


@dataclass(frozen=True)
class Vocabulary:
    """What masking needs to know of a tokenizer."""

    size: int
    mask_id: int
    special_ids: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer) -> "Vocabulary":
        """Read it off a Transformers tokenizer."""
        if tokenizer.mask_token_id is None:
            raise StudyError(
                "a tokenizer without a mask token", "the tokenizer of a masked-LM encoder", "choose another encoder"
            )
        return cls(len(tokenizer), tokenizer.mask_token_id, tuple(sorted(tokenizer.all_special_ids)))

    @functools.cached_property
    def ordinary(self) -> np.ndarray:
        """All ids but the special ones, ascending."""
        return np.setdiff1d(np.arange(self.size), self.special_ids)


@dataclass(frozen=True)
class MaskedBatch:
    """A batch with its masks drawn.

    Attributes:
        input_ids: (batch, length) int64, masked.
        positions: (num_masked,) int64, indices of the masked tokens in flattened order, ascending.
        labels: (num_masked,) int64, what stood there.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> "MaskedBatch":
        """Return the batch on a device."""
        return MaskedBatch(self.input_ids.to(device), self.positions.to(device), self.labels.to(device))

    def split(self, num_sequences: int | None) -> "list[MaskedBatch]":
        """Cut the batch into parts of at most `num_sequences` sequences, in order; None leaves it whole."""
        if num_sequences is None or num_sequences >= len(self.input_ids):
            return [self]
        parts, length = [], self.input_ids.shape[1]
        for ids in self.input_ids.split(num_sequences):
            first = sum(part.input_ids.numel() for part in parts)
            inside = (self.positions >= first) & (self.positions < first + len(ids) * length)
            parts.append(MaskedBatch(ids, self.positions[inside] - first, self.labels[inside]))
        return parts


def mask_batch(ids: np.ndarray, vocabulary: Vocabulary, probability: float, *, rng: np.random.Generator) -> MaskedBatch:
    """Mask tokens dynamically: each with `probability`; of these 80 % become <mask>, 10 % a random token, 10 % stay.

    Args:
        ids: (batch, length) int64 token ids; special tokens are never masked.

    Source: Table 13 (mask probability 0.15), following RoBERTa and BERT.
    """
    chance, fate = rng.random(ids.shape, dtype=np.float32), rng.random(ids.shape, dtype=np.float32)
    masked = (chance < probability) & ~np.isin(ids, vocabulary.special_ids)
    random_ids = vocabulary.ordinary[rng.integers(len(vocabulary.ordinary), size=ids.shape)]
    inputs = np.where(masked & (fate < MASKED_AS_MASK), vocabulary.mask_id, ids)
    as_random = masked & (fate >= MASKED_AS_MASK) & (fate < MASKED_AS_MASK + MASKED_AS_RANDOM)
    inputs = np.where(as_random, random_ids, inputs)
    positions = np.flatnonzero(masked)
    labels = ids.reshape(-1)[positions]
    return MaskedBatch(torch.from_numpy(inputs), torch.from_numpy(positions), torch.from_numpy(labels))


@dataclass
class Batches:
    """The batches of one phase, any of which can be made at any time, in any process.

    Sequences are visited in a fresh random order every epoch, and masked anew at every visit (dynamic masking).

    Attributes:
        stream: Names the phase in the random streams.
        replayed: Other text that every batch holds some of, such as the base encoder's; None for none.
        num_replayed: Sequences of a batch that are of that text, the first ones.
    """

    store: TokenStore
    vocabulary: Vocabulary
    settings: PhaseSettings
    stream: str
    replayed: TokenStore | None = None
    num_replayed: int = 0
    _orders: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        self.num_sequences = self.store.num_sequences(self.settings.sequence_length)
        if self.num_sequences == 0:
            raise StudyError(
                f"{len(self.store.ids)} tokens of text for {self.stream}",
                f"at least one sequence of {self.settings.sequence_length} tokens",
                "give the corpus more text, or lower sequence_length",
            )
        if self.settings.num_shards > self.settings.batch_size:
            raise StudyError(
                f"num_shards = {self.settings.num_shards} for {self.stream}",
                f"at most batch_size = {self.settings.batch_size}: a sequence or more in each part of a batch",
                "lower the phase's num_shards, or raise its batch_size",
            )

    @property
    def num_steps(self) -> int:
        """Steps of the whole phase."""
        if self.settings.num_steps is not None:
            return self.settings.num_steps
        return math.ceil(self.settings.num_epochs * self.num_sequences / self.settings.batch_size)

    def micro_batch(self, step: int, index: int) -> MaskedBatch:
        """Return one of the `num_shards` parts of a step's batch."""
        settings, replayed = self.settings, self.num_replayed
        rng = generator("masks", settings.seed, self.stream, index, step=step)
        part = np.array_split(np.arange(settings.batch_size), settings.num_shards)[index]
        own, other = part[part >= replayed] - replayed, part[part < replayed]
        ids = self._sequences("order", self.store, step * (settings.batch_size - replayed) + own)
        if len(other):
            ids = np.concatenate([self._sequences("replay", self.replayed, step * replayed + other), ids])
        return mask_batch(ids, self.vocabulary, settings.mlm_probability, rng=rng)

    def _sequences(self, purpose: str, store: TokenStore, visits: np.ndarray) -> np.ndarray:
        """Return the sequences of some visits, (num_visits, length): each once an epoch, in the epoch's own order."""
        length = self.settings.sequence_length
        places = [divmod(int(visit), store.num_sequences(length)) for visit in visits]
        chosen = [self._order(purpose, epoch, store.num_sequences(length))[place] for epoch, place in places]
        return store.sequences(np.array(chosen, np.int64), length)

    def _order(self, purpose: str, epoch: int, num_sequences: int) -> np.ndarray:
        if (purpose, epoch) not in self._orders:
            rng = generator(purpose, self.settings.seed, self.stream, step=epoch)
            self._orders.pop((purpose, epoch - 2), None)
            self._orders[purpose, epoch] = rng.permutation(num_sequences)
        return self._orders[purpose, epoch]
