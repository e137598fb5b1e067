"""What needs no encoder: naive Bayes on the words of the labelled texts."""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

NAIVE_BAYES = "naive_bayes"
SMOOTHINGS = (1.0, 0.3, 0.1, 0.03, 0.01)  # added to every count


def naive_bayes(
    train: Sequence[str],
    labels: Sequence[int],
    dev: Sequence[str],
    tested: Sequence[str],
    dev_score: Callable[[np.ndarray], float],
) -> np.ndarray:
    """Return the labels that naive Bayes gives to the tested texts, (num_tested,).

    Multinomial, on counts of words and pairs of words. Its smoothing is chosen on dev, as an encoder's epoch is. An
    encoder that scores below it has learnt less from the labels than counting does.

    Args:
        train: Texts, of which `labels` has the label ids.
        dev_score: Of the labels given to the dev texts; the higher the better.
    """
    counter = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")
    counts = counter.fit_transform(train)
    models = [MultinomialNB(alpha=smoothing).fit(counts, np.asarray(labels)) for smoothing in SMOOTHINGS]
    of_dev, of_tested = counter.transform(dev), counter.transform(tested)
    best = max(models, key=lambda model: dev_score(model.predict(of_dev)))  # of equals, the most smoothed
    return np.asarray(best.predict(of_tested))
