"""Clustering scores against reference values, brute force and hand-made partitions."""

import itertools

import numpy as np
import oracles
import pytest

from ivg.errors import UserError
from ivg.metrics import clustering

CASES = (
    "perfect_permuted",
    "noisy",
    "random",
    "all_one_cluster",
    "more_clusters_than_classes",
    "fewer_clusters_than_classes",
    "one_cluster_per_sample",
    "one_class",
    "one_class_one_cluster",
    "single_sample",
    "non_contiguous_ids",
    "negative_cluster_id",
    "long_tailed",
    "greedy_is_not_optimal",
)


@pytest.mark.parametrize("name", CASES)
def test_reference_values(shared, name):
    arrays, facts = oracles.load(shared, "03_clustering")[name]
    labels, clusters = arrays["labels"], arrays["clusters"]
    one, mapping = clustering.one_to_one(labels, clusters)
    many, majority = clustering.many_to_one(labels, clusters)
    expected = {
        "accuracy_one_to_one": one,
        "correct_one_to_one": sum(
            mapping.get(k) == y for k, y in zip(clusters, labels, strict=True)
        ),
        "accuracy_many_to_one": many,
        "correct_many_to_one": sum(majority[k] == y for k, y in zip(clusters, labels, strict=True)),
        "nmi_arithmetic": clustering.nmi(labels, clusters),
        "ari": clustering.ari(labels, clusters),
    }
    for key, actual in expected.items():
        assert actual == pytest.approx(facts[key], abs=facts["tolerance_abs"]), key
    assert len(mapping) == len(facts["one_valid_cluster_to_class_map"])
    assert len(set(mapping.values())) == len(mapping)


def test_no_reference_case_is_forgotten(shared):
    assert set(oracles.load(shared, "03_clustering")) == set(CASES)


@pytest.mark.parametrize(("num_classes", "num_clusters"), [(3, 3), (2, 4), (4, 2), (4, 4)])
def test_one_to_one_equals_brute_force(num_classes, num_clusters):
    rng = np.random.default_rng(num_classes * num_clusters)
    labels, clusters = rng.integers(num_classes, size=40), rng.integers(num_clusters, size=40)
    # Names beyond the classes stand for "no class": they let a cluster go without a partner.
    names = range(max(num_classes, num_clusters))
    best = max(
        np.mean([assignment[k] == y for k, y in zip(clusters, labels, strict=True)])
        for assignment in itertools.permutations(names, num_clusters)
    )
    assert clustering.one_to_one(labels, clusters)[0] == pytest.approx(best)


LABELS = np.array([0, 0, 0, 1, 1, 1])
CLUSTERS = np.array([7, 7, 5, 5, 5, 5])


def test_scores_of_a_partition_by_hand():
    assert clustering.one_to_one(LABELS, CLUSTERS) == (5 / 6, {5: 1, 7: 0})
    assert clustering.many_to_one(LABELS, CLUSTERS) == (5 / 6, {5: 1, 7: 0})
    # Of the 15 pairs 3 + 3 are together by label, 1 + 6 by cluster, 1 + 3 by both.
    expected = 6 * 7 / 15
    assert clustering.ari(LABELS, CLUSTERS) == pytest.approx((4 - expected) / (6.5 - expected))
    # Bits: H(labels) = 1, H(clusters) = H(1/3), H(clusters|labels) = H(1/3) / 2.
    entropy = -(np.log2(1 / 3) / 3 + np.log2(2 / 3) * 2 / 3)
    assert clustering.nmi(LABELS, CLUSTERS) == pytest.approx(entropy / (1 + entropy))


def test_many_to_one_fitted_on_the_training_split():
    accuracy, mapping = clustering.many_to_one(
        np.array([0, 1, 1, 2]),
        np.array([0, 0, 1, 9]),  # 9 never occurs in training: wrong
        train_labels=np.array([1, 1, 0, 0, 1]),
        train_clusters=np.array([0, 0, 0, 1, 1]),  # cluster 1 is a tie: the smaller class
    )
    assert (accuracy, mapping) == (0.25, {0: 1, 1: 0})


def test_scores_are_those_of_the_single_functions():
    train = np.array([1, 1, 0, 0]), np.array([7, 7, 5, 5])  # the other way round
    actual = clustering.scores(LABELS, CLUSTERS, *train)
    assert actual == {
        "accuracy_one_to_one": 5 / 6,
        "accuracy_many_to_one": pytest.approx(1 / 6),
        "nmi": clustering.nmi(LABELS, CLUSTERS),
        "ari": clustering.ari(LABELS, CLUSTERS),
    }


@pytest.mark.parametrize(
    "score", [clustering.one_to_one, clustering.many_to_one, clustering.nmi, clustering.ari]
)
@pytest.mark.parametrize(
    ("labels", "clusters", "message"),
    [
        ([0, 1, 1], [0, 1], "3 labels and 2 clusters"),
        ([], [], "no examples to score"),
        ([0, -1], [0, 1], "label -1 is negative"),
        ([0.5, 1.0], [0, 1], "labels must be whole numbers"),
        ([0, 1], [[0, 1], [1, 0]], "clusters must be whole numbers, one per example"),
    ],
)
def test_mistakes_are_named(score, labels, clusters, message):
    with pytest.raises(UserError, match=message):
        score(np.array(labels), np.array(clusters))


def test_half_a_training_split_is_refused():
    with pytest.raises(UserError, match="training labels and clusters both"):
        clustering.many_to_one(LABELS, CLUSTERS, train_labels=LABELS)


def blobs(seed, count):
    """Grey 4x4 images of three brightnesses, as uint8."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=count)
    images = 100 * labels[:, None, None, None] + rng.integers(20, size=(count, 4, 4, 1))
    return images.astype(np.uint8), labels


def test_kmeans_finds_blobs_and_repeats_itself():
    (train, _), (test, labels) = blobs(0, 60), blobs(1, 30)
    clusters = clustering.kmeans(train, test, num_clusters=3, seed=0)
    assert clusters.shape == (30,)
    assert clustering.one_to_one(labels, clusters)[0] == 1
    again = clustering.kmeans(train, test, num_clusters=3, seed=0)
    np.testing.assert_array_equal(clusters, again)


def test_kmeans_mistakes_are_named():
    images = np.zeros((2, 4, 4, 1), np.uint8)
    with pytest.raises(UserError, match="3 clusters of 2 images"):
        clustering.kmeans(images, images, num_clusters=3, seed=0)
    with pytest.raises(UserError, match="of one shape"):
        clustering.kmeans(images, images[:, :2], num_clusters=2, seed=0)
