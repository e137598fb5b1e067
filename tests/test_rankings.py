"""Rankings by each retrieval method: a task's own sentences are never found, whatever else is ranked with it."""

import json

import numpy as np
import pytest

from dontstop.profiles import Selection, Vampire
from dontstop.selection import rankings
from test_candidates import write
from test_selectors import base  # noqa: F401 (a fixture)

COLOURS = "red blue green black white grey".split()
TASKS = {
    "cats": ["A red cat was here. The blue cat sat down here today.", "a green cat"],
    "dogs": ["The green cat sat down here today. And a dog.", "a white cat"],
}
SMALL = Vampire(num_topics=4, num_epochs=3, batch_size=8, min_documents=1, vocabulary_size=50, kl_warmup_epochs=10)


SETTINGS = Selection(num_neighbours=[2], num_dimensions=4, vampire=SMALL)


def rank(folder, selector, queries, **how):
    pieces, _ = write(folder, [f"The {w} cat sat down here today." for w in COLOURS], own=TASKS)
    how = {"base": folder, "max_length": 9, "seed": 0} | how
    search = rankings.Search(pieces, queries)
    rankings.rank(selector, SETTINGS, search, folder / "r", **how)
    return {task: rankings.load_ranking(folder / "r", task) for task in queries}


def test_queries_are_training_texts_and_what_is_kept_can_be_read(tmp_path):
    found = rank(tmp_path, "tfidf", {"cats": ["a red cat", "a green cat"]})["cats"]
    assert found.indices.shape == (2, 2) and found.indices[:, 0].tolist() == [0, 2]
    about = json.loads((tmp_path / "r" / rankings.RANKING_FILE).read_text())
    kept = about["tasks"]["cats"]
    assert kept["shown"][0]["neighbour"] == "The red cat sat down here today." and kept["num_candidates"] == 5
    assert about["wall_seconds"] > 0 and not list((tmp_path / "r").glob(".*"))


@pytest.mark.parametrize("selector", ["tfidf", "bm25", "vampire", "encoder", "dsir"])
def test_a_tasks_own_sentence_is_never_its_neighbour_and_may_be_anothers(tmp_path, base, selector):  # noqa: F811
    found = rank(tmp_path, selector, TASKS, base=base)
    own = {"cats": COLOURS.index("blue"), "dogs": COLOURS.index("green")}
    for task, sentence in own.items():
        assert sentence not in found[task].indices and len(np.unique(found[task].indices)) > 1
    assert own["dogs"] in found["cats"].indices


@pytest.mark.parametrize("selector", ["tfidf", "bm25"])
def test_nothing_random_is_in_rankings_that_replicates_share(tmp_path, selector):
    assert selector not in rankings.RANDOM
    first, second = (rank(tmp_path / str(seed), selector, TASKS, seed=seed)["cats"] for seed in (0, 1))
    np.testing.assert_array_equal(first.indices, second.indices)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_replicates_have_a_vampire_each_and_every_task_draws_of_its_own(tmp_path):
    scores = [rank(tmp_path / str(k), "vampire", TASKS, seed=seed)["cats"].scores for k, seed in enumerate((0, 0, 1))]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.allclose(scores[0], scores[2])
    seeds = {rankings.seed_of_replicate(SETTINGS, r, task) for r in (0, 1) for task in ("", "cats", "dogs")}
    assert len(seeds) == 6 and rankings.seed_of_replicate(SETTINGS, 1, "cats") in seeds


def test_the_number_of_threads_changes_nothing(tmp_path, monkeypatch):
    from threadpoolctl import threadpool_info, threadpool_limits

    seen = []
    real = rankings.write_vectors
    monkeypatch.setattr(
        rankings, "write_vectors", lambda *a: seen.extend(lib["num_threads"] for lib in threadpool_info()) or real(*a)
    )
    with threadpool_limits(2):
        rank(tmp_path, "tfidf", TASKS)
    assert set(seen) == {1}


def test_an_embedder_is_fitted_on_as_many_candidates_as_it_may_have(tmp_path):
    pieces, _ = write(tmp_path, [f"The {w} cat sat down." for w in COLOURS])
    assert len(rankings.sample_to_fit(pieces, 6, seed=0)) == 6
    some = rankings.sample_to_fit(pieces, 3, seed=0)
    assert len(some) == 3 and some == rankings.sample_to_fit(pieces, 3, seed=0)
    assert some == [text for text in rankings.sample_to_fit(pieces, 6, seed=0) if text in some]  # in their order
