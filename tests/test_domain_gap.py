"""Distances between samples: answers worked out by hand, identities, intervals, and errors in the domain's words."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from dontstop.errors import StudyError
from dontstop.verdicts import domain_gap, vocabulary

ANIMALS = ["cat dog cat bird", "the dog and the fish"]
PLANTS = ["tree tree rose dog", "of a fish"]


def sentences(words, *, num_documents, seed, length=12):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, length)) for _ in range(num_documents)]


def words(prefix, number):
    return [f"{prefix}{i:03d}" for i in range(number)]


def listed(counted, sample, num):
    return {
        w: share for w, share in zip(counted.words, counted.most_frequent(sample, num).tolist(), strict=True) if share
    }


def test_frequent_words_are_lower_cased_without_stop_words_and_ties_share_the_places_left():
    counted = vocabulary.count_words({"some": ["Cat the dog", "CAT bird of dog zebra"]})
    assert listed(counted, "some", 2) == {"cat": 1, "dog": 1}
    assert listed(counted, "some", 3) == {"cat": 1, "dog": 1, "bird": 0.5, "zebra": 0.5}
    assert listed(counted, "some", 1) == {"cat": 0.5, "dog": 0.5}


def test_a_list_is_as_long_as_the_words_allow():
    counted = vocabulary.count_words({"animals": ANIMALS, "plants": PLANTS})
    assert (
        listed(counted, "animals", 100)
        == listed(counted, "animals", 5)
        == dict.fromkeys(["bird", "cat", "dog", "fish"], 1)
    )


def test_renaming_words_changes_no_overlap():
    """Words of equal count at the cut: the alphabet used to decide which of them were in the list."""
    samples = {"a": ["plum plum apple berry cherry"], "b": ["plum plum berry cherry damson"]}
    renamed = {name: [text.replace("apple", "zucchini") for text in texts] for name, texts in samples.items()}
    found = [vocabulary.overlap_matrix(some, num_words=3).loc["a", "b"] for some in (samples, renamed)]
    assert found == pytest.approx([100 * (1 + 2 / 3 + 2 / 3) / 3] * 2)


def test_overlap_and_jaccard_by_hand():
    ours, theirs = np.array([1, 1, 1, 1, 0, 0]), np.array([0, 0, 1, 1, 1, 1])
    assert vocabulary.vocabulary_overlap(ours, theirs) == 50
    assert vocabulary.jaccard(ours, theirs) == pytest.approx(100 / 3)


def test_supported_number_is_that_of_the_sample_with_fewest_distinct_words():
    assert vocabulary.count_words({"animals": ANIMALS, "one": ["dog dog"]}).num_supported() == 1
    assert vocabulary.count_words({"animals": ANIMALS, "plants": PLANTS}).num_supported(2) == 2


def test_overlap_matrix_by_hand_in_both_readings():
    samples = {"animals": ANIMALS, "plants": PLANTS}  # bird cat dog fish | dog fish rose tree
    overlap = vocabulary.overlap_matrix(samples, num_words=4)
    assert overlap.loc["animals"].tolist() == [100, 50]
    code = vocabulary.overlap_matrix(samples, num_words=4, reading="code")
    assert code.loc["plants", "animals"] == pytest.approx(100 * 2 / 6)
    found = vocabulary.figure2({"animals": ANIMALS, "one": ["dog dog"]}, seed=0)
    assert found.index.tolist() == ["animals", "one"] and set(found["num_words"]) == {1}


def test_too_many_words_asked_for_is_an_error():
    with pytest.raises(StudyError, match="4 distinct words in the sample 'animals'"):
        vocabulary.overlap_matrix({"animals": ANIMALS}, num_words=5)


def test_equal_samples_have_the_smallest_samples_words():
    samples = {"small": ["one two three"], "large": sentences(words("w", 20), num_documents=9, seed=0)}
    equal = vocabulary.equal_samples(samples, seed=3)
    assert {name: vocabulary.num_words_in(texts) for name, texts in equal.items()} == {"small": 3, "large": 3}
    assert equal == vocabulary.equal_samples(samples, seed=3)
    assert equal["large"] != vocabulary.equal_samples(samples, seed=4)["large"]


@pytest.mark.parametrize("texts", [[], [""], ["? !"]])
def test_an_empty_sample_is_named(texts):
    with pytest.raises(StudyError, match="'nothing'"):
        vocabulary.equal_samples({"some": ["dog"], "nothing": texts}, seed=0)


def test_jensen_shannon_by_hand():
    assert domain_gap.jensen_shannon_divergence(np.array([1, 0]), np.array([0, 7])) == pytest.approx(1)
    assert domain_gap.jensen_shannon_divergence(np.array([2, 2]), np.array([3, 3])) == pytest.approx(0)
    # P = (1, 0), Q = (1/2, 1/2): H(3/4, 1/4) - (0 + 1) / 2 bits
    expected = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)) - 0.5
    assert domain_gap.jensen_shannon_divergence(np.array([4, 0]), np.array([1, 1])) == pytest.approx(expected)


def test_proxy_a_distance_is_two_for_strangers_and_near_zero_for_twins():
    ours = sentences(words("a", 30), num_documents=200, seed=0)
    twins = sentences(words("a", 30), num_documents=200, seed=1)
    strangers = sentences(words("b", 30), num_documents=200, seed=2)
    assert domain_gap.proxy_a_distance(ours, strangers, seed=0)[0] == 2
    distance, low, high = domain_gap.proxy_a_distance(ours, twins, num_resamples=200, seed=0)
    assert low <= distance <= high and distance < 0.3


def test_too_few_documents_for_a_classifier():
    with pytest.raises(StudyError, match="4 documents"):
        domain_gap.proxy_a_distance(["dog"] * 4, ["cat"] * 9, seed=0)


@pytest.fixture(scope="module")
def samples():
    shared, own = words("s", 60), words("o", 60)
    return {
        "general": sentences(shared, num_documents=120, seed=0),
        "near": sentences(shared + own[:10], num_documents=120, seed=1),
        "far": sentences(shared[:15] + own, num_documents=120, seed=2),
    }


@pytest.fixture(scope="module")
def distances(samples):
    return domain_gap.distance_table(
        samples, "general", {"near": 4.0, "far": (5.0, 4.9, 5.1)}, most_words=50, num_resamples=120, seed=0
    )


def test_distances_put_the_far_domain_farther(distances):
    assert list(distances.index) == ["near", "far"]
    near, far = distances.loc["near"], distances.loc["far"]
    assert far["vocabulary_overlap"] < near["vocabulary_overlap"]
    assert far["jaccard"] < near["jaccard"]
    assert far["jensen_shannon"] > near["jensen_shannon"]
    assert far["proxy_a_distance"] > near["proxy_a_distance"]
    assert set(distances["num_words"]) == {50} and set(distances["num_documents"]) == {120}


def test_intervals_hold_the_distance_and_say_nothing_that_was_not_measured(distances):
    for name in domain_gap.DISTANCES[:3]:
        assert (distances[f"{name}_low"] <= distances[name]).all()
        assert (distances[name] <= distances[f"{name}_high"]).all()
        assert (distances[f"{name}_low"] < distances[f"{name}_high"]).any()
    assert distances.loc["far", ["masked_lm_loss_low", "masked_lm_loss_high"]].tolist() == [4.9, 5.1]
    assert np.isnan(distances.loc["near", "masked_lm_loss_low"])


def test_table_and_single_functions_agree(samples, distances):
    equal = vocabulary.equal_samples(samples, seed=0)
    overlap = vocabulary.overlap_matrix(equal, num_words=50)
    assert distances.loc["far", "vocabulary_overlap"] == pytest.approx(overlap.loc["far", "general"])
    counted = vocabulary.count_words(equal)
    expected = domain_gap.jensen_shannon_divergence(counted.totals("general"), counted.totals("far"))
    assert distances.loc["far", "jensen_shannon"] == pytest.approx(expected)


def test_lists_of_many_samples_at_once_are_those_of_each():
    totals = np.random.default_rng(0).integers(0, 6, (20, 50))
    together = vocabulary.in_list(totals, 20)
    assert together.sum(axis=1) == pytest.approx(np.full(20, 20.0))
    for row, lists in zip(totals, together, strict=True):
        assert lists.tolist() == vocabulary.in_list(row, 20).tolist()
        assert (np.diff(lists[np.argsort(-row, kind="stable")]) <= 0).all()


def test_resampled_divergence_is_that_of_the_resampled_counts():
    shares = np.array([[0.5, 0.5, 0], [1, 0, 0]], np.float32)
    assert domain_gap._entropy(shares).tolist() == [1, 0]


def test_same_seed_same_table(samples, distances):
    again = domain_gap.distance_table(
        samples, "general", {"near": 4.0, "far": (5.0, 4.9, 5.1)}, most_words=50, num_resamples=120, seed=0
    )
    pd.testing.assert_frame_equal(distances, again)


def test_without_resamples_there_is_no_interval(samples):
    table = domain_gap.distance_table(samples, "general", num_resamples=0, seed=0)
    assert table.filter(regex="_(low|high)$").isna().all(axis=None)
    assert table["vocabulary_overlap"].notna().all()


def test_pairs_find_a_tasks_own_domain(samples):
    tasks = {"task": sentences(words("s", 15) + words("o", 60), num_documents=60, seed=9)}
    pairs = domain_gap.pair_distances(tasks, samples, seed=0).set_index("other")
    assert pairs["vocabulary_overlap"].idxmax() == "far"
    assert pairs["jensen_shannon"].idxmin() == pairs["proxy_a_distance"].idxmin() == "far"


def test_spearman_is_scipys_with_ties():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (2, 20))
    assert domain_gap.spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(domain_gap.spearman(np.ones(3), np.arange(3)))


def test_agreement_turns_overlap_into_a_distance_and_leaves_out_the_unmeasured():
    table = pd.DataFrame(
        {"vocabulary_overlap": [60, 50, 40], "jensen_shannon": [0.1, 0.2, 0.3], "masked_lm_loss": [1.0, np.nan, 2.0]}
    )
    found = domain_gap.agreement(table)
    assert found.to_dict("records") == [
        {"distance": "vocabulary_overlap", "other_distance": "jensen_shannon", "spearman": 1.0, "num_points": 3}
    ]


def test_resampling_some_at_a_time_is_resampling_all_at_once(samples, distances, monkeypatch):
    monkeypatch.setattr(domain_gap, "_COUNTS_AT_ONCE", 7 * 130)
    again = domain_gap.distance_table(
        samples, "general", {"near": 4.0, "far": (5.0, 4.9, 5.1)}, most_words=50, num_resamples=120, seed=0
    )
    pd.testing.assert_frame_equal(distances, again)
