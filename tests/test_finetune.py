"""Fine-tuning: it learns what can be learnt and nothing else, the same under the same seed, stopping as it should."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from transformers import get_constant_schedule_with_warmup, get_linear_schedule_with_warmup

from dontstop.errors import StudyError
from dontstop.machine.randomness import generator
from dontstop.profiles import Finetune
from dontstop.tokens import TokenStore
from dontstop.training import finetune, modernbert
from dontstop.training.finetune import Classifier, Examples, TaskData
from test_encoders import MODELS

SETTINGS = Finetune(num_epochs=4, learning_rate=1e-2, pooling="mean", max_length=20)
NUM_LABELS = 3


def examples(name: str, num: int) -> Examples:
    """Make texts of random tokens whose label is the token that stands in them thrice."""
    rng = generator("finetune", name)
    labels = rng.integers(NUM_LABELS, size=num)
    documents = []
    for label in labels:
        body = np.concatenate([rng.integers(10, 97, rng.integers(2, 8)), np.repeat(5 + label, 3)])
        documents.append(np.concatenate([[1], rng.permutation(body), [2]]).astype(np.uint16))
    offsets = np.concatenate([[0], np.cumsum([len(d) for d in documents])])
    return Examples(TokenStore(np.concatenate(documents), offsets), labels)


TRAIN, DEV, TEST = examples("train", 96), examples("dev", 48), examples("test", 150)
DATA = TaskData("task", TRAIN, DEV, TEST, NUM_LABELS, "macro_f1")


def classifier(settings=SETTINGS, *, name="modernbert", seed=0) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(MODELS[name]().base_model, NUM_LABELS, settings)


def outcome(data=DATA, *, settings=SETTINGS, seed=0):
    return finetune.finetune(classifier(settings), data, settings, seed=seed, precision="fp32")


def test_learns_a_task_that_can_be_learnt():
    found = outcome()
    assert found.test_scores["macro_f1"] > 0.9 and not found.degenerate
    assert found.test_scores["micro_f1"] == pytest.approx(np.mean(found.predictions == TEST.labels))


def test_shuffled_labels_give_chance():
    """If this scores, something other than the texts tells the labels."""
    shuffled = dataclasses.replace(TRAIN, labels=generator("shuffle").permutation(TRAIN.labels))
    found = outcome(dataclasses.replace(DATA, train=shuffled))
    assert found.test_scores["micro_f1"] == pytest.approx(1 / 3, abs=0.15)  # sd of chance: 0.04


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before():
    first = outcome(seed=3)
    torch.rand(17), np.random.default_rng().random(3)
    again, other = outcome(seed=3), outcome(seed=4)
    assert first.dev_scores == again.dev_scores and np.array_equal(first.predictions, again.predictions)
    assert first.dev_scores != other.dev_scores


def test_torchs_own_random_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    made = classifier()
    torch.manual_seed(5)
    finetune.finetune(made, DATA, SETTINGS.model_copy(update={"num_epochs": 1}), seed=0, precision="fp32")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("dev_scores", "num_epochs", "best_epoch"),
    [
        ([0.5, 0.4, 0.3, 0.2, 0.9], 4, 1),  # three epochs without a better one
        ([0.5, 0.4, 0.4, 0.6, 0.1, 0.1, 0.7, 0.1], 8, 7),
        ([0.5, 0.5, 0.5, 0.5, 0.9], 4, 1),  # as good is not better
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], 8, 8),
        ([0.0, 0.0, 0.0, 0.0], 4, 1),
    ],
)
def test_stops_after_three_epochs_without_a_better_one(monkeypatch, dev_scores, num_epochs, best_epoch):
    given, weights = iter([*dev_scores[:num_epochs], 0.0, 0.0]), []
    monkeypatch.setattr(finetune, "score", lambda *_: next(given))

    def predict(model, some, *_):
        weights.append(model.out.weight.detach().clone())
        return np.zeros(len(some), dtype=np.int64), -1.0

    monkeypatch.setattr(finetune, "predict", predict)
    found = outcome(settings=SETTINGS.model_copy(update={"num_epochs": 8, "patience": 3}))
    assert len(found.dev_scores) == num_epochs and found.best_epoch == best_epoch
    assert found.num_steps == num_epochs * 96 / 16
    # The test texts are predicted once, with the best epoch's weights.
    assert len(weights) == num_epochs + 1 and torch.equal(weights[-1], weights[best_epoch - 1])
    assert found.degenerate


def test_without_patience_all_epochs_are_trained_and_dev_is_read_once(monkeypatch):
    read, predict = [], finetune.predict

    def counted(model, some, precision):
        read.append((some, model.out.weight.detach().clone()))
        return predict(model, some, precision)

    monkeypatch.setattr(finetune, "predict", counted)
    found = outcome(settings=SETTINGS.model_copy(update={"num_epochs": 3, "patience": None}))
    assert [some for some, _ in read] == [DEV, TEST] and torch.equal(read[0][1], read[1][1])  # the last epoch's weights
    assert len(found.dev_scores) == 1 and found.best_epoch == 3 and found.num_steps == 3 * 96 / 16


def test_log_probability_is_that_of_the_true_labels():
    model = classifier().eval()
    predictions, log_probability = finetune.predict(model, TEST, "fp32")
    with torch.no_grad():
        ids, mask, _ = TEST.batch(np.arange(len(TEST)), 0)
        probabilities = model(ids, mask).softmax(1).double()
    expected = -log_loss(TEST.labels, probabilities / probabilities.sum(1, keepdim=True), labels=range(NUM_LABELS))
    assert log_probability == pytest.approx(expected, rel=1e-5) and expected < -0.5
    assert predictions.tolist() == probabilities.argmax(1).tolist()
    found = outcome(settings=SETTINGS.model_copy(update={"num_epochs": 1}))
    assert found.log_probability == pytest.approx(finetune.predict(trained_alone(), TEST, "fp32")[1])


def trained_alone() -> Classifier:
    settings = SETTINGS.model_copy(update={"num_epochs": 1})
    model = classifier(settings)
    finetune.finetune(model, DATA, settings, seed=0, precision="fp32")
    return model


def test_some_of_the_examples_are_taken_in_the_order_given():
    some = TRAIN.subset(np.array([5, 0, 7]))
    assert len(some) == 3 and some.labels.tolist() == TRAIN.labels[[5, 0, 7]].tolist()
    for place, index in enumerate((5, 0, 7)):
        assert some.store.document(place).tolist() == TRAIN.store.document(index).tolist()
    assert some.store.ids.dtype == TRAIN.store.ids.dtype


def test_scores_by_hand():
    labels, predictions = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 0])
    # Class 0: precision 2/4, recall 2/3; class 1: 1/2, 1/2; class 2 never predicted.
    assert finetune.score(labels, predictions, "macro_f1", 3) == pytest.approx((4 / 7 + 1 / 2 + 0) / 3)
    assert finetune.score(labels, predictions, "micro_f1", 3) == pytest.approx(3 / 6)
    # A class that is in neither counts as nothing found.
    assert finetune.score(labels, predictions, "macro_f1", 4) == pytest.approx((4 / 7 + 1 / 2) / 4)


def test_an_epoch_visits_every_example_once_in_an_order_of_its_own():
    lengths = generator("lengths").integers(3, 60, size=101)
    epochs = [finetune.epoch_batches(lengths, 8, seed=0, stream="task", epoch=epoch) for epoch in (0, 0, 1)]
    for batches in epochs:
        assert sorted(np.concatenate(batches).tolist()) == list(range(101))
        assert [len(batch) for batch in batches].count(8) == 12
    visits = [np.concatenate(batches).tolist() for batches in epochs]
    assert visits[0] == visits[1] != visits[2]


def test_batches_hold_texts_of_like_lengths():
    lengths = generator("lengths").integers(3, 100, size=512)
    batches = finetune.epoch_batches(lengths, 16, seed=0, stream="task", epoch=0)
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.15 * lengths.sum()  # in random batches: about 1.8


def test_a_batch_is_padded_to_its_longest_text():
    some = Examples(TokenStore(np.arange(1, 8), np.array([0, 3, 5, 7])), np.array([7, 8, 9]))
    ids, mask, labels = some.batch(np.array([2, 0]), pad_id=0)
    assert ids.tolist() == [[6, 7, 0], [1, 2, 3]] and mask.tolist() == [[True, True, False], [True] * 3]
    assert labels.tolist() == [9, 7] and some.lengths().tolist() == [3, 2, 2]


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_the_unpadded_forward_pass_gives_the_same_logits(pooling, monkeypatch):
    ids, mask, _ = DEV.batch(np.arange(12), pad_id=0)
    model = classifier(SETTINGS.model_copy(update={"pooling": pooling})).eval()
    with torch.no_grad():
        unpadded = model(ids, mask)
        monkeypatch.setattr(modernbert, "supports", lambda config: False)
        torch.testing.assert_close(unpadded, model(ids, mask), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["roberta", "bert", "distilbert"])
def test_predictions_do_not_depend_on_padding(name):
    model = classifier(name=name).eval()
    logits = []
    with torch.no_grad():
        for indices in (np.array([0]), np.arange(8)):
            ids, mask, _ = DEV.batch(indices, 0)
            logits.append(model(ids, mask)[0])
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)


def test_predictions_come_in_the_examples_order():
    model = classifier()
    whole, _ = finetune.predict(model, TEST, "fp32")
    singly = []
    with torch.no_grad():
        for index in range(len(TEST)):
            ids, mask, _ = TEST.batch(np.array([index]), 0)
            singly.append(model.eval()(ids, mask).argmax().item())
    assert whole.tolist() == singly


def test_a_loss_that_is_no_number_is_told():
    model = classifier()
    model.out.bias.data[:] = float("nan")
    with pytest.raises(StudyError, match="learning_rate"):
        finetune.finetune(model, DATA, SETTINGS, seed=0, precision="fp32")


@pytest.mark.parametrize(("schedule", "head_rate_factor"), [("linear", 1.0), ("constant", 1.0), ("linear", 3.0)])
def test_equals_a_plain_loop_with_the_models_own_forward_pass(schedule, head_rate_factor):
    """The independent way: the body as it is, PyTorch's AdamW parameter by parameter, a step a batch."""
    changes = {"num_epochs": 2, "dropout": 0.0, "schedule": schedule, "patience": 2}
    settings = SETTINGS.model_copy(update=changes | {"head_rate_factor": head_rate_factor})
    ours = classifier(settings)
    found = finetune.finetune(ours, DATA, settings, seed=0, precision="fp32")

    plain = classifier(settings).train()
    parameters = list(plain.parameters())
    groups = [
        {"params": list(part.parameters()), "lr": settings.learning_rate * factor}
        for part, factor in ((plain.body, 1.0), (plain.dense, head_rate_factor), (plain.out, head_rate_factor))
    ]
    groups = [
        {"params": [p], "lr": group["lr"], "weight_decay": settings.weight_decay if p.ndim > 1 else 0.0}
        for group in groups
        for p in group["params"]
    ]
    optimizer = torch.optim.AdamW(groups, betas=(settings.adam_beta1, settings.adam_beta2), eps=settings.adam_epsilon)
    make = {"linear": get_linear_schedule_with_warmup, "constant": get_constant_schedule_with_warmup}[schedule]
    num_steps = 2 * 6  # 96 examples in batches of 16
    warmup = math.ceil(num_steps * settings.warmup_fraction)
    rates = make(optimizer, warmup, *([num_steps] if schedule == "linear" else []))
    scores, states = [], []
    for epoch in range(2):
        for indices in finetune.epoch_batches(TRAIN.lengths(), 16, seed=0, stream="task", epoch=epoch):
            documents = [torch.from_numpy(TRAIN.store.document(i).astype(np.int64)) for i in indices]
            bodies = [plain.body(input_ids=d[None]).last_hidden_state.mean(1)[0] for d in documents]  # no padding
            logits = plain.out(torch.tanh(plain.dense(torch.stack(bodies))))
            torch.nn.functional.cross_entropy(logits, torch.from_numpy(TRAIN.labels[indices])).backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
            optimizer.step(), rates.step(), optimizer.zero_grad()
        scores.append(finetune.score(DEV.labels, finetune.predict(plain, DEV, "fp32")[0], "macro_f1", NUM_LABELS))
        states.append(torch.cat([p.detach().flatten().clone() for p in parameters]))
    assert found.dev_scores == pytest.approx(scores) and found.num_steps == num_steps
    best = states[int(np.argmax(scores))]
    torch.testing.assert_close(torch.cat([p.detach().flatten() for p in ours.parameters()]), best, rtol=1e-3, atol=1e-4)
