"""Fine-tune and evaluate a classifier on an encoder, for one task and seed."""

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import nn

from dontstop.errors import StudyError
from dontstop.machine.randomness import generator, seed_of
from dontstop.profiles import Finetune
from dontstop.tokens.stores import TokenStore
from dontstop.training import encoders
from dontstop.training.optimizers import FlatParameters, ScheduledAdamW

EVALUATION_BATCH = 32  # texts, few enough for a batch to stay in the processor's cache; speed only
SORTED_BATCHES = 8  # batches' worth of texts sorted by length together, so that a batch holds little padding


@dataclass(frozen=True)
class Examples:
    """One split of a task, tokenised.

    Attributes:
        store: The texts' tokens, a document a text.
        labels: (num_examples,) int64 label ids.
    """

    store: TokenStore
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: np.ndarray, pad_id: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return input ids and mask, both (num, longest), and labels (num,) of the chosen examples."""
        documents = [self.store.document(i) for i in indices]
        longest = max(map(len, documents))
        ids = np.full((len(documents), longest), pad_id, dtype=np.int64)
        mask = np.zeros((len(documents), longest), dtype=bool)
        for row, document in enumerate(documents):
            ids[row, : len(document)], mask[row, : len(document)] = document, True
        return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(self.labels[indices])

    def subset(self, indices: np.ndarray) -> "Examples":
        """Return some of the examples, in the order given."""
        return Examples(self.store.subset(indices), self.labels[indices])

    def lengths(self) -> np.ndarray:
        """Return (num_examples,) token counts."""
        return np.diff(self.store.offsets)


@dataclass(frozen=True)
class TaskData:
    """What a classifier is fine-tuned and scored on.

    Attributes:
        name: The task's; it names the random streams, which the task's arms share, so that they pair by seed.
        metric: `macro_f1` or `micro_f1`, which chooses the epoch.
    """

    name: str
    train: Examples
    dev: Examples
    test: Examples
    num_labels: int
    metric: str


class Classifier(nn.Module):
    """An encoder's body with the paper's classification head: dropout, one tanh layer, dropout, one linear layer.

    Source: Table 14 (feedforward layers 1, tanh, dropout 0.1, classification layers 1).
    Departure: `pooling` may be the mean over tokens instead of the first one, since an encoder pretrained on packed
    text for minutes has had no reason to gather a text's meaning in its first token.
    """

    def __init__(self, body: nn.Module, num_labels: int, settings: Finetune):
        super().__init__()
        size = body.config.hidden_size
        self.body, self.pooling, self.pad_id = body, settings.pooling, body.config.pad_token_id
        self.dropout = nn.Dropout(settings.dropout)
        self.dense, self.out = nn.Linear(size, size), nn.Linear(size, num_labels)

    def forward(self, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, num_labels), of token ids and mask, both (batch, length)."""
        states = encoders.final_states(self.body, input_ids, mask)
        if self.pooling == "mean":
            weights = mask[..., None].to(states.dtype)
            pooled = (states * weights).sum(1) / weights.sum(1)
        else:
            pooled = states[:, 0]
        return self.out(self.dropout(torch.tanh(self.dense(self.dropout(pooled)))))


@dataclass(frozen=True)
class Outcome:
    """What one fine-tuning run found.

    Attributes:
        dev_scores: The metric on dev after every epoch; with all epochs trained, after the last alone.
        best_epoch: From 1; its weights made the predictions.
        predictions: (num_test,) label ids.
        test_scores: `macro_f1` and `micro_f1`, 0 to 1.
        log_probability: Mean log-probability of the test texts' labels, nats: a continuous score beside F1.
    """

    dev_scores: list[float]
    best_epoch: int
    predictions: np.ndarray
    test_scores: dict[str, float]
    log_probability: float
    num_steps: int

    @property
    def degenerate(self) -> bool:
        """Whether the classifier gives every test text one and the same label."""
        return len(np.unique(self.predictions)) == 1


def score(labels: np.ndarray, predictions: np.ndarray, metric: str, num_labels: int) -> float:
    """Return `macro_f1` (mean over all the task's labels) or `micro_f1` (accuracy, for one label a text), 0 to 1."""
    average = metric.removesuffix("_f1")
    return float(f1_score(labels, predictions, labels=range(num_labels), average=average, zero_division=0.0))


def load_classifier(folder: Path, num_labels: int, settings: Finetune, *, seed: int) -> Classifier:
    """Put a fresh head, initialised by `seed`, on a copy of a saved encoder's body."""
    model = _encoder(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(copy.deepcopy(model.base_model), num_labels, settings)


@functools.lru_cache(maxsize=2)
def _encoder(folder: Path):
    return encoders.load_encoder(folder)  # a worker's runs often share it


def finetune(classifier: Classifier, data: TaskData, settings: Finetune, *, seed: int, precision: str) -> Outcome:
    """Fine-tune, keep the epoch that is best on dev, and predict the test texts once with it.

    Without patience all epochs are trained and the last is kept; dev is read once.

    Source: Table 14 (epochs 3 or 10, patience 3, batch 16, learning rate 2e-5) and Appendix B.
    Departure: patience under a rate that decays over all epochs gives arms different amounts of decay, those that
    learn fast the least; where the rate decays, all epochs are trained.

    Args:
        seed: The run's seed; order, dropout and head are drawn from it, each from a stream of its own.
    """
    flat = FlatParameters(classifier, [*classifier.dense.parameters(), *classifier.out.parameters()])
    num_steps = settings.num_epochs * -(-len(data.train) // settings.batch_size)
    how = {"decay": settings.schedule == "linear", "head_factor": settings.head_rate_factor}
    optimizer, patience = ScheduledAdamW(flat, settings, num_steps, **how), settings.patience
    dev_scores, best = [], flat.values.clone()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("dropout", seed, data.name))
        for epoch in range(settings.num_epochs):
            order = {"seed": seed, "stream": data.name, "epoch": epoch}
            batches = epoch_batches(data.train.lengths(), settings.batch_size, **order)
            train_epoch(classifier, data, batches, flat, optimizer, precision)
            if patience is None and epoch + 1 < settings.num_epochs:
                continue
            dev_scores.append(evaluate(classifier, data, precision))
            if dev_scores[-1] > max(dev_scores[:-1], default=-1.0):
                best.copy_(flat.values)
            elif epoch - int(np.argmax(dev_scores)) >= patience:
                break
    flat.values.copy_(best)
    best_epoch = settings.num_epochs if patience is None else int(np.argmax(dev_scores)) + 1
    predictions, log_probability = predict(classifier, data.test, precision)
    test_scores = {m: score(data.test.labels, predictions, m, data.num_labels) for m in ("macro_f1", "micro_f1")}
    return Outcome(dev_scores, best_epoch, predictions, test_scores, log_probability, optimizer.num_done)


def train_epoch(
    classifier: Classifier,
    data: TaskData,
    batches: Sequence[np.ndarray],
    flat: FlatParameters,
    optimizer: ScheduledAdamW,
    precision: str,
) -> None:
    """Take a step on each batch of a task's training examples, given by their indices.

    Raises:
        StudyError: If the loss is no longer a number.
    """
    classifier.train()
    device = flat.values.device
    for indices in batches:
        ids, mask, labels = (part.to(device) for part in data.train.batch(indices, classifier.pad_id))
        flat.gradients_into(optimizer.gradient)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = nn.functional.cross_entropy(classifier(ids, mask).float(), labels)
        if not torch.isfinite(loss):
            raise StudyError(
                f"classification loss {loss.item()} for {data.name}", "a finite loss", "lower finetune.learning_rate"
            )
        loss.backward()
        optimizer.step()


def epoch_batches(lengths: np.ndarray, batch_size: int, *, seed: int, stream: str, epoch: int) -> Sequence[np.ndarray]:
    """Return an epoch's batches of example indices: random members, sorted by length within a window of batches.

    Args:
        lengths: (num_examples,) token counts.
    """
    rng = generator("finetune_order", seed, stream, step=epoch)
    order = rng.permutation(len(lengths))
    window = batch_size * SORTED_BATCHES
    batches = []
    for start in range(0, len(order), window):
        near = order[start : start + window]
        near = near[np.argsort(lengths[near], kind="stable")]
        batches += [near[i : i + batch_size] for i in range(0, len(near), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def evaluate(classifier: Classifier, data: TaskData, precision: str) -> float:
    """Return the task's metric on its dev examples, 0 to 1."""
    return score(data.dev.labels, predict(classifier, data.dev, precision)[0], data.metric, data.num_labels)


def predict(classifier: Classifier, examples: Examples, precision: str) -> tuple[np.ndarray, float]:
    """Return the predicted label ids, (num_examples,), in the examples' order, and the labels' mean log-probability."""
    classifier.eval()
    device = classifier.out.weight.device
    predictions, log_probability = np.empty(len(examples), dtype=np.int64), 0.0
    order = np.argsort(examples.lengths(), kind="stable")
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for start in range(0, len(order), EVALUATION_BATCH):
            indices = order[start : start + EVALUATION_BATCH]
            ids, mask, labels = (part.to(device) for part in examples.batch(indices, classifier.pad_id))
            logits = classifier(ids, mask).float()
            predictions[indices] = logits.argmax(1).cpu().numpy()
            log_probability -= nn.functional.cross_entropy(logits, labels, reduction="sum").item()
    return predictions, log_probability / len(examples)
