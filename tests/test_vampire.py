"""VAMPIRE finds topics that were planted, embeds by them, and comes out the same again."""

import numpy as np
import pytest
import scipy.sparse
import torch

from dontstop.errors import StudyError
from dontstop.profiles import Vampire as Settings
from dontstop.selection import vampire

NUM_TOPICS, WORDS_EACH = 4, 12
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SETTINGS = Settings(
    num_topics=NUM_TOPICS + 2, num_epochs=25, patience=25, batch_size=64, learning_rate=2e-2, dropout=0.2
)


def word(topic, number):
    return f"{'zxqv'[topic] * 3}{LETTERS[number]}{LETTERS[number]}"


def planted(seed, num=600):
    """Give texts of eight words each, seven of the text's own topic and one of any, and each text's topic."""
    rng = np.random.default_rng(seed)
    topics = rng.integers(NUM_TOPICS, size=num)
    texts = [
        " ".join(word(t if k else rng.integers(NUM_TOPICS), rng.integers(WORDS_EACH)) for k in range(8)) for t in topics
    ]
    return texts, topics


@pytest.fixture(scope="module")
def trained():
    texts, topics = planted(0)
    return vampire.Vampire(SETTINGS, seed=0).fit(texts), texts, topics


def test_planted_topics_are_found(trained):
    model, texts, _ = trained
    found = model.topics(texts)
    # A topic's top words are of one planted topic, nearly all of them; and every planted topic is found.
    purities = {}
    for topic in found:
        first = [text[0] for text in topic.words]
        best = max(set(first), key=first.count)
        purities[best] = max(purities.get(best, 0), first.count(best) / len(first))
    assert set(purities) == set("zxqv") and min(purities.values()) >= 0.9
    assert sum(topic.share for topic in found) == pytest.approx(1, abs=1e-5)
    assert model.coherences[-1] > model.coherences[0]


def test_the_logits_are_those_of_a_linear_decoder_on_background_frequencies_under_batch_norm_with_a_bias():
    torch.manual_seed(0)
    model = vampire.Autoencoder(30, 5, 0.0)
    assert not model.decoder.bias.any()
    theta = torch.softmax(torch.randn(16, 5), dim=1).requires_grad_()
    plain, background, bias = torch.nn.BatchNorm1d(30, affine=False), torch.randn(30), torch.randn(30)
    model.decoder.bias.data.copy_(bias)
    decoded = plain(torch.nn.functional.linear(theta, model.decoder.weight, background))
    expected, found = decoded + model.decoder.bias, model._logits(theta)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    grad_outputs = torch.randn(16, 30)
    inputs = (theta, model.decoder.weight, model.decoder.bias)
    both = (torch.autograd.grad(outputs, inputs, grad_outputs) for outputs in (found, expected))
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("embedding", ["mean", "shipped"])
def test_nearest_texts_are_of_the_same_topic(trained, embedding):
    model, texts, topics = trained
    model.settings = SETTINGS.model_copy(update={"embedding": embedding})
    vectors = model.embed(texts)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -2)
    nearest = np.argsort(-similarity, axis=1)[:, :10]
    assert (topics[nearest] == topics[:, None]).mean() > 0.9  # a quarter by chance


def test_the_same_seed_gives_the_same_vectors_and_another_others(trained):
    model, texts, _ = trained
    model.settings = SETTINGS
    again = vampire.Vampire(SETTINGS, seed=0).fit(texts)
    np.testing.assert_array_equal(model.embed(texts[:50]), again.embed(texts[:50]))
    assert not np.allclose(vampire.Vampire(SETTINGS, seed=1).fit(texts).embed(texts[:50]), model.embed(texts[:50]))


def test_the_shipped_embedding_is_the_formula_of_the_authors_code(trained):
    model, texts, _ = trained
    model.settings = SETTINGS.model_copy(update={"embedding": "shipped"})
    bags = model._bags(texts[:5]).toarray()
    net = model._model
    first = bags @ net.first.weight.detach().numpy() + net.first_bias.detach().numpy()
    second = first @ net.second.weight.detach().numpy().T + net.second.bias.detach().numpy()
    shipped = model.embed(texts[:5])
    model.settings = SETTINGS
    theta = 3 * model.embed(texts[:5]) - np.logaddexp(0, first)
    theta -= np.logaddexp(
        0, np.logaddexp(0, first) @ net.second.weight.detach().numpy().T + net.second.bias.detach().numpy()
    )
    np.testing.assert_allclose(theta.sum(1), 1, atol=1e-4)
    np.testing.assert_allclose(shipped, first - 20 * second + theta, rtol=1e-3, atol=1e-3)


def test_coherence_by_hand():
    # Words 0 and 1 stand in the same two of four texts, words 2 and 3 never together.
    present = scipy.sparse.csc_matrix([[1, 1, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=np.float32)
    assert vampire.coherences(np.array([[0, 1], [2, 3]]), present).tolist() == pytest.approx([1, -1])
    # Words 0 and 2: together in one text, each in two: as chance has it.
    assert vampire.coherences(np.array([[0, 2]]), present)[0] == pytest.approx(0)


def test_the_loss_and_its_gradient_are_those_of_cross_entropy():
    import torch

    bags = scipy.sparse.csr_matrix(np.array([[1, 0, 2.5], [0, 0.5, 0]], np.float32))
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    vampire._BagCrossEntropy.apply(logits, bags).backward()
    grad_outputs, logits.grad = logits.grad, None
    expected = -(torch.log_softmax(logits, 1) * torch.from_numpy(bags.toarray())).sum()
    assert vampire._BagCrossEntropy.apply(logits, bags).item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    torch.testing.assert_close(grad_outputs, logits.grad)


def test_a_script_without_spaces_has_words_of_two_characters():
    bags = vampire.BagsOfWords(["预训练模型", "训练很好", "the abc", "abc 1"] * 3, vampire.Settings(min_documents=2))
    assert sorted(bags.words) == sorted(["预训", "训练", "练模", "模型", "练很", "很好", "abc"])


def test_texts_without_a_shared_word_are_told():
    with pytest.raises(StudyError, match="lower selection.vampire.min_documents"):
        vampire.Vampire(SETTINGS, seed=0).fit(["alpha", "beta", "gamma", "delta", "epsilon", "zeta"])


def test_a_text_of_unknown_words_has_a_finite_vector(trained):
    assert np.isfinite(trained[0].embed(["completely unknown", ""])).all()


def test_the_divergence_is_that_of_a_normal_from_the_standard_one():
    torch.manual_seed(0)
    model = vampire.Autoencoder(6, 3, 0.0)
    bags = scipy.sparse.csr_matrix(np.array([[1, 0, 2, 0, 0, 1], [0, 3, 0, 1, 1, 0]], np.float32))
    hidden = model.layers(bags)[-1]
    posterior = torch.distributions.Normal(model.mean(hidden), torch.exp(0.5 * model.log_variance(hidden)))
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(model(bags, torch.zeros(2, 3))[1], expected)


def test_the_bias_learns_how_frequent_words_are(trained):
    model, texts, _ = trained
    bias = model._model.decoder.bias.detach().numpy()
    frequency = np.asarray(model._bags.bags.sum(0)).ravel()
    assert np.corrcoef(bias, np.log(frequency))[0, 1] > 0.5
