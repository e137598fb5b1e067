"""VAMPIRE: a bag-of-words variational autoencoder, trained on a domain's and a task's text, that embeds texts.

Source: Gururangan et al. (2019), *Variational Pretraining for Semi-supervised Text Classification*; section 5.2 of the
paper uses it to find each task text's neighbours.
"""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from torch import nn
from torch.nn import functional

from dontstop.errors import StudyError
from dontstop.machine.randomness import generator, seed_of
from dontstop.profiles import Vampire as Settings
from dontstop.text.words import bag_words

NUM_TOP_WORDS = 10  # of a topic, for its coherence and for readers
EMBEDDING_BATCH = 4096  # texts
BATCH_NORM_EPSILON = 1e-5
_WORD = re.compile(r"\b[^\W\d_]{3,30}\b")  # three to thirty letters, as in the authors' preprocessing


class BagsOfWords:
    """The vocabulary: the most frequent words but stop words; texts as counts of them, or as tf-idf."""

    def __init__(self, texts: Sequence[str], settings: Settings):
        self._counter = CountVectorizer(
            tokenizer=functools.partial(bag_words, spaced=_WORD),
            token_pattern=None,
            stop_words="english",
            max_features=settings.vocabulary_size,
            min_df=min(settings.min_documents, max(1, len(texts) // 2)),
            dtype=np.float32,
        )
        try:
            self.counts = self._counter.fit_transform(texts)
        except ValueError as error:
            raise StudyError(
                f"no word in {len(texts):,} texts that {settings.min_documents} of them share",
                "a vocabulary of words other than stop words",
                "lower selection.vampire.min_documents, or give more text",
            ) from error
        self.words = self._counter.get_feature_names_out()
        self._weigher = TfidfTransformer().fit(self.counts) if settings.weighting == "tfidf" else None
        self.bags = self._weighted(self.counts)

    def __call__(self, texts: Sequence[str]) -> scipy.sparse.csr_matrix:
        """Return (num_texts, num_words) weights."""
        return self._weighted(self._counter.transform(texts))

    def _weighted(self, counts: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
        return counts if self._weigher is None else self._weigher.transform(counts).astype(np.float32)


class Autoencoder(nn.Module):
    """Bags of words to topics and back.

    Two softplus layers encode; a normal latent vector, its softmax theta (a logistic normal over topics), a linear
    decoder without bias on top of the words' background log-frequencies, and batch norm on the logits, whose scale is
    fixed and whose bias is trained, from zero.

    Departure: a word's background is the same number in every text of a batch, so batch norm takes it away again, in
    the authors' code too: it is left out here, and the norm is worked out from theta and the decoder without a pass
    over the logits (equal but for rounding, and a third of a step's time). The bias begins at zero, as theirs does:
    without it held-out words cost 0.7 to 1.1 nats a text more, and begun at the words' log-frequencies no topics have
    formed when patience ends (mean NPMI -0.95 in place of -0.15). Their bound on the divergence, 1000 nats a text, is
    left out: none has come to a tenth of it.
    """

    def __init__(self, num_words: int, num_topics: int, dropout: float):
        super().__init__()
        # A layer on sparse bags: the weighted sum of its words' rows.
        self.first = nn.EmbeddingBag(num_words, num_topics, mode="sum")
        self.first_bias = nn.Parameter(torch.zeros(num_topics))
        self.second = nn.Linear(num_topics, num_topics)
        self.mean, self.log_variance = nn.Linear(num_topics, num_topics), nn.Linear(num_topics, num_topics)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(num_topics, num_words)  # its bias is the norm's, and comes after it
        nn.init.xavier_uniform_(self.first.weight)
        nn.init.xavier_uniform_(self.decoder.weight)
        nn.init.zeros_(self.decoder.bias)

    def layers(self, bags: scipy.sparse.csr_matrix, activation=functional.softplus) -> list[torch.Tensor]:
        """Return the hidden layers, two of (num_texts, num_topics)."""
        words, starts, weights = (torch.from_numpy(part) for part in (bags.indices, bags.indptr[:-1], bags.data))
        first = activation(self.first(words, starts, per_sample_weights=weights) + self.first_bias)
        return [first, activation(self.second(first))]

    def forward(self, bags: scipy.sparse.csr_matrix, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two means over texts, in nats: the words' cross-entropy, and the divergence from the prior.

        Args:
            bags: (num_texts, num_words).
            noise: (num_texts, num_topics), standard normal.
        """
        hidden = self.layers(bags)[-1]
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        latent = self.dropout(mean + noise * torch.exp(0.5 * log_variance))
        logits = self._logits(torch.softmax(latent, dim=1))
        cross_entropy = _BagCrossEntropy.apply(logits, bags) / max(bags.shape[0], 1)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1)
        return cross_entropy, divergence.mean()

    def _logits(self, theta: torch.Tensor) -> torch.Tensor:
        """Decode and normalise over the batch, (num_texts, num_words): each word's variance is 1, its mean the bias."""
        centred, weight = theta - theta.mean(0), self.decoder.weight
        variance = (weight @ (centred.T @ centred / len(theta)) * weight).sum(1)
        normalised = weight * torch.rsqrt(variance + BATCH_NORM_EPSILON).unsqueeze(1)
        return functional.linear(centred, normalised, self.decoder.bias)


class _BagCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of bags of words, whose gradient reuses the probabilities' memory."""

    @staticmethod
    def forward(ctx, logits: torch.Tensor, bags: scipy.sparse.csr_matrix) -> torch.Tensor:
        """Return the sum over words of weight times -log softmax(logits); both (num_texts, num_words)."""
        rows = np.repeat(np.arange(bags.shape[0]), np.diff(bags.indptr))
        indices = torch.from_numpy(rows * bags.shape[1] + bags.indices)
        weights, totals = torch.from_numpy(bags.data), torch.from_numpy(np.asarray(bags.sum(1), np.float32))
        probabilities = torch.softmax(logits, dim=1)
        picked = probabilities.view(-1).index_select(0, indices).clamp_min(torch.finfo(torch.float32).tiny)
        ctx.save_for_backward(probabilities, totals, indices, weights)
        return -(picked.log() * weights).sum()

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        """Return (total weight * softmax - bag) times the incoming scalar."""
        grad_logits, totals, indices, weights = ctx.saved_tensors
        grad_logits.mul_(totals * gradient).view(-1).index_add_(0, indices, -weights * gradient)
        return grad_logits, None


@dataclass(frozen=True)
class Topic:
    """A topic as readers see it: its top words, their coherence, and the share of the texts' weight that it has."""

    words: tuple[str, ...]
    npmi: float
    share: float


class Vampire:
    """Embeds texts; `fit` trains it, `embed` gives vectors, `topics` shows what it found.

    Departure: the authors trained on one million sentences of a domain without a held-out part, and their code
    measured a topic's coherence on a reference corpus given from outside; here it is measured on the texts trained on.
    """

    def __init__(self, settings: Settings, *, seed: int):
        self.settings, self.seed = settings, seed
        self.coherences: list[float] = []  # mean NPMI of the topics after every epoch

    def fit(self, texts: Sequence[str], progress: Callable[[int, int], None] = lambda done, total: None) -> "Vampire":
        """Train on texts, until the topics' coherence has not grown for `patience` epochs; keep the best epoch."""
        self._bags = BagsOfWords(texts, self.settings)
        bags = self._bags.bags
        present = (self._bags.counts > 0).astype(np.float32).tocsc()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of("vampire", self.seed))
            self._model = Autoencoder(bags.shape[1], self.settings.num_topics, self.settings.dropout)
            optimizer = torch.optim.Adam(self._model.parameters(), lr=self.settings.learning_rate, fused=True)
            best: dict[str, torch.Tensor] = {}
            for epoch in range(self.settings.num_epochs):
                self._train_epoch(bags, optimizer, epoch)
                self.coherences.append(float(coherences(self._top_words(), present).mean()))
                progress(epoch + 1, self.settings.num_epochs)
                if self.coherences[-1] >= max(self.coherences):
                    best = {name: values.clone() for name, values in self._model.state_dict().items()}
                elif epoch - int(np.argmax(self.coherences)) >= self.settings.patience:
                    break
        self._model.load_state_dict(best)
        self._model.eval()
        self._coherence = coherences(self._top_words(), present)
        return self

    def _train_epoch(self, bags: scipy.sparse.csr_matrix, optimizer, epoch: int) -> None:
        rng = generator("vampire order", self.seed, step=epoch)
        order = rng.permutation(bags.shape[0])
        weight = min(1.0, epoch / self.settings.kl_warmup_epochs)
        self._model.train()
        for start in range(0, len(order), self.settings.batch_size):
            chosen = order[start : start + self.settings.batch_size]
            if start and len(chosen) < 2:  # batch norm needs two
                continue
            noise = torch.from_numpy(rng.standard_normal((len(chosen), self.settings.num_topics), dtype=np.float32))
            cross_entropy, divergence = self._model(bags[chosen], noise)
            loss = cross_entropy + weight * divergence
            if not torch.isfinite(loss):
                raise StudyError(
                    f"VAMPIRE's loss {loss.item()} in epoch {epoch + 1}",
                    "a finite loss",
                    "lower selection.vampire.learning_rate, or set weighting to tfidf",
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def _top_words(self) -> np.ndarray:
        """Return (num_topics, NUM_TOP_WORDS) word ids, the likeliest first."""
        weights = self._model.decoder.weight.detach().T.numpy()
        return np.argsort(-weights, axis=1, kind="stable")[:, : min(NUM_TOP_WORDS, weights.shape[1])]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return (num_texts, num_topics) float32."""
        starts = range(0, max(len(texts), 1), EMBEDDING_BATCH)
        return np.concatenate([self._embed_some(texts[start : start + EMBEDDING_BATCH]) for start in starts])

    @torch.no_grad()
    def _embed_some(self, texts: Sequence[str]) -> np.ndarray:
        """Embed by the mean of theta and the hidden layers, or as the authors' code did.

        Departure: the paper says only that VAMPIRE embeds; the mean is what its untrained mix of the three parts
        gives. The authors' code took the mix's logits (1, -20, 1) for its weights, so that the second layer rules; it
        also left the layers' activation out there. `selection.vampire.embedding: shipped` computes that.
        """
        bags = self._bags(texts)
        first, second = self._model.layers(bags)
        theta = torch.softmax(self._model.mean(second), dim=1)
        if self.settings.embedding == "shipped":
            first, second = self._model.layers(bags, nn.Identity())
            return (first - 20 * second + theta).numpy()
        return ((first + second + theta) / 3).numpy()

    @torch.no_grad()
    def topics(self, texts: Sequence[str]) -> list[Topic]:
        """Return all topics, those first that have most of these texts' weight."""
        theta = torch.softmax(self._model.mean(self._model.layers(self._bags(texts))[-1]), dim=1).mean(0).numpy()
        words, top = self._bags.words, self._top_words()
        order = np.argsort(-theta, kind="stable")
        return [Topic(tuple(words[top[k]]), float(self._coherence[k]), float(theta[k])) for k in order]


def coherences(top_words: np.ndarray, present: scipy.sparse.csc_matrix) -> np.ndarray:
    """Return each topic's coherence, (num_topics,): the mean NPMI of its pairs of top words, -1 to 1.

    Args:
        top_words: (num_topics, num_top_words) word ids.
        present: (num_texts, num_words), 1 where a text has the word.

    Source: normalised pointwise mutual information, as Lau et al. (2014) use it for topics.
    """
    words, inverse = np.unique(top_words, return_inverse=True)
    columns = inverse.reshape(top_words.shape)
    chosen = present[:, words]
    together = (chosen.T @ chosen).toarray() / present.shape[0]  # shares of texts
    alone = together.diagonal()
    with np.errstate(divide="ignore", invalid="ignore"):
        npmi = np.log(together / alone[:, None] / alone[None, :]) / -np.log(together)
    npmi = np.where(together > 0, np.where(together < 1, npmi, 1.0), -1.0)  # never together: -1
    first, second = np.triu_indices(top_words.shape[1], 1)
    return npmi[columns[:, first], columns[:, second]].mean(1)
