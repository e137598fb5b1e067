"""Naive Bayes on words: what every encoder is held against."""

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import f1_score
from sklearn.naive_bayes import MultinomialNB

from dontstop.runs.records import decode_predictions
from dontstop.text.documents import find_documents, read_documents
from dontstop.text.tasks import SPLITS
from dontstop.verdicts import baselines
from fabricated import make_record, make_records


def accuracy(labels):
    return lambda predicted: float((predicted == np.asarray(labels)).mean())


def test_pairs_of_words_are_counted_too():
    texts = ["not good", "good", "not bad", "bad"] * 5
    labels = [0, 1, 1, 0] * 5
    found = baselines.naive_bayes(texts, labels, texts, ["not good at all", "not bad at all"], accuracy(labels))
    assert found.tolist() == [0, 1]


def test_texts_without_a_word_get_the_commonest_label():
    found = baselines.naive_bayes(["!!", "?", "…"], [0, 1, 1], ["!"], ["?", "a"], accuracy([0]))
    assert found.tolist() == [1, 1]


def test_a_text_of_unknown_words_gets_the_most_frequent_label():
    found = baselines.naive_bayes(["a b", "a c", "d e"], [0, 0, 1], ["a"], ["x y z"], accuracy([0]))
    assert found.tolist() == [0]


@pytest.mark.parametrize("best", [0, 4])
def test_the_smoothing_with_the_highest_dev_score_is_taken(best):
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{k}" for k in rng.zipf(1.5, 6) % 50) for _ in range(300)]
    labels = rng.integers(0, 3, 300)
    scores = iter([float(k == best) for k in range(len(baselines.SMOOTHINGS))])
    found = baselines.naive_bayes(texts[:100], labels[:100], texts[:9], texts[100:], lambda predicted: next(scores))
    counter = CountVectorizer(ngram_range=(1, 2)).fit(texts[:100])
    model = MultinomialNB(alpha=baselines.SMOOTHINGS[best]).fit(counter.transform(texts[:100]), labels[:100])
    assert found.tolist() == model.predict(counter.transform(texts[100:])).tolist()
    other = MultinomialNB(alpha=baselines.SMOOTHINGS[4 - best]).fit(counter.transform(texts[:100]), labels[:100])
    assert found.tolist() != other.predict(counter.transform(texts[100:])).tolist()


def test_published_tasks_are_learnt_by_counting(mirror):
    rows = {
        split: list(read_documents(find_documents(mirror / "tasks" / "citation_intent", split), ("text", "label")))
        for split in SPLITS
    }
    names = sorted({row["label"] for row in rows["train"]})
    labels = {split: np.array([names.index(row["label"]) for row in found]) for split, found in rows.items()}
    texts = {split: [row["text"] for row in found] for split, found in rows.items()}
    found = baselines.naive_bayes(texts["train"], labels["train"], texts["dev"], texts["test"], accuracy(labels["dev"]))
    assert accuracy(labels["test"])(found) == pytest.approx(0.7, abs=0.05)  # 0.683 in the mirror's description


def test_a_table_of_naive_bayes_scores_every_task_with_and_without_texts_seen_before():
    train = [{"text": word, "label": label} for word, label in (("dog", "animal"), ("rose", "plant"))] * 5
    test = [{"text": text, "label": label} for text, label in (("dog", "animal"), ("rose", "plant"), ("dog", "plant"))]
    found = baselines.naive_bayes_scores(
        {"task": {"train": train, "dev": train, "test": test}},
        {"task": ["animal", "plant"]},
        {"task": "micro_f1"},
        {"task": np.array([False, False, True])},
        {"task": [np.arange(10)]},
    )
    row = found.loc["task"].to_dict()
    assert row == pytest.approx({"score": 200 / 3, "score_without": 100.0, "num_test": 3, "num_affected": 1})


def test_naive_bayes_learns_from_each_replicates_own_labelled_texts():
    """Which two words are labelled decides which test texts are known: the rest get the most frequent label."""
    train = [{"text": t, "label": name} for t, name in zip("abcd", ("x", "y", "z", "z"), strict=True)]
    test = [{"text": text, "label": label} for text, label in zip("abcc", ("x", "y", "z", "z"), strict=True)]
    subsets = {(0, 2): [0, 1], (1, 2): [2, 0], (0, 4): [0, 1, 2, 3], (1, 4): [0, 1, 2, 3]}
    examples = {"task": {"train": train, "dev": test, "test": test}}
    how = examples, {"task": ["x", "y", "z"]}, {"task": "micro_f1"}
    found = baselines.naive_bayes_curve(*how, lambda task, r, num: np.array(subsets[r, num]), [0, 1], [2, 4])
    scores = found.set_index(["replicate", "num_train"])["test_score"]
    assert scores[0, 2] == 0.5 and scores[1, 2] == 0.75 and scores[0, 4] == scores[1, 4] == 1.0
    assert set(found["arm"]) == {"naive_bayes"} and set(found["task"]) == {"task"} and set(found["seed"]) == {0}
    both = [np.array(subsets[r, 2]) for r in (0, 1)]
    table = baselines.naive_bayes_scores(*how, {"task": np.zeros(4, bool)}, {"task": both})
    assert table.loc["task", "score"] == pytest.approx(100 * (0.5 + 0.75) / 2)


def test_scores_without_the_texts_that_stand_in_train_too():
    """Texts that every arm has memorised: without them every score is lower, and by how much is countable."""
    truth = np.random.default_rng(5).integers(0, 3, 1000)
    marks = {"x": np.arange(1000) < 200, "y": np.zeros(1000, bool)}
    runs = pd.concat([make_records({"base": 0.6, "tapt": 0.66}, truth, seed=k, task=t) for k, t in enumerate(marks)])
    known = [np.where(marks[row.task], truth, decode_predictions(row.test_predictions)) for row in runs.itertuples()]
    runs = pd.DataFrame(
        [make_record(r.task, r.arm, r.seed, truth, p) for r, p in zip(runs.itertuples(), known, strict=True)]
    )
    counted = pd.DataFrame(
        {"score": 60.0, "score_without": 55.0, "num_test": 1000, "num_affected": [200, 0]}, ["x", "y"]
    )
    table = baselines.train_test_overlap(runs, dict.fromkeys(marks, truth), counted, marks)
    assert table["arm"].tolist() == ["naive_bayes", "base", "tapt"] and set(table["task"]) == {"x"}
    assert table[["num_test", "num_affected"]].drop_duplicates().to_numpy().tolist() == [[1000, 200]]
    base, rows = table.set_index("arm").loc["base"], runs[(runs["task"] == "x") & (runs["arm"] == "base")]
    assert base["score"] == pytest.approx(100 * rows["test_score"].mean())
    expected = [f1_score(truth[200:], decode_predictions(t)[200:], average="macro") for t in rows["test_predictions"]]
    assert base["score_without"] == pytest.approx(100 * np.mean(expected), abs=1e-4)
    assert (table["change"] < 0).all() and base["change"] == pytest.approx(base["score_without"] - base["score"])
    none = baselines.train_test_overlap(runs, dict.fromkeys(marks, truth), counted, dict.fromkeys(marks, marks["y"]))
    assert none.empty and list(none) == list(table)
