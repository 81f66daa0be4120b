"""Laws of the scores of clusters, features, reconstructions, models and leaks."""

import itertools
from types import SimpleNamespace

import damage_arrays
import numpy as np
import properties
import pytest
from damage_arrays import Victim
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from ivg.errors import UserError
from ivg.metrics import clustering, feature_scores, frechet, kid, leakage, selection
from ivg.metrics.precision_recall import precision_recall
from ivg.metrics.reconstruction import mean_squared_error

WHOLE = arrays_of.arrays(np.int64, 12, elements=st.integers(0, 3))
FEATURES = arrays_of.arrays(np.float64, (9, 2), elements=st.integers(-50, 50).map(lambda x: x / 8))
SEEDS = st.integers(0, 2**32 - 1)
TARGETS = [
    SimpleNamespace(name="size", kind="nuisance", values=0, owner=""),
    SimpleNamespace(name="hat", kind="attribute", values=2, owner=""),
    SimpleNamespace(name="brim", kind="sub-attribute", values=0, owner="hat"),
]


@pytest.fixture(scope="module")
def attempt(amount):
    return properties.Attempts(amount)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def leaks(codes_train, codes_test, factors_train, factors_test):
    return leakage.leakage(
        codes_train, codes_test, factors_train, factors_test, targets=TARGETS[:2]
    )


def centrality_of_two(a, b):
    return selection.factor_agreement(a, np.arange(8) % 2, b)


LABELS = np.arange(12) % 3
PLAIN = np.stack([normal(40), np.arange(40) % 2], axis=1)
FEW = {"kid_subsets": 2}
VICTIMS = {
    "one_to_one": Victim(clustering.one_to_one, (LABELS, LABELS)),
    "many_to_one": Victim(
        lambda *a: clustering.many_to_one(*a[:2], train_labels=a[2], train_clusters=a[3]),
        4 * (LABELS,),
    ),
    "nmi": Victim(clustering.nmi, (LABELS, LABELS)),
    "ari": Victim(clustering.ari, (LABELS, LABELS)),
    "scores": Victim(clustering.scores, 4 * (LABELS,)),
    "kmeans": Victim(
        lambda a, b: clustering.kmeans(a, b, num_clusters=2, seed=0),
        (normal(6, 2, 2), normal(5, 2, 2)),
        ((0, "one row less"), (1, "one row less"), (1, "empty")),
    ),
    "frechet": Victim(
        frechet.distance, (normal(9, 2), normal(8, 2)), ((0, "one row less"), (1, "one row less"))
    ),
    "moments": Victim(frechet.moments, (normal(9, 2),), ((0, "one row less"),)),
    "gaussian_distance": Victim(
        frechet.gaussian_distance, (normal(2), np.eye(2), normal(2), np.eye(2))
    ),
    "kernel_distance": Victim(
        kid.kernel_distance, 2 * (normal(9, 2),), ((0, "one row less"), (1, "one row less"))
    ),
    "discrepancy": Victim(
        kid.discrepancy, 2 * (normal(9, 2),), ((0, "one row less"), (1, "one row less"))
    ),
    "precision_recall": Victim(
        precision_recall, 2 * (normal(9, 2),), ((0, "one row less"), (1, "one row less"))
    ),
    "compare": Victim(
        lambda a, b: feature_scores.compare(a, b, **FEW),
        2 * (normal(9, 2),),
        ((0, "one row less"), (1, "one row less")),
    ),
    "mean_squared_error": Victim(mean_squared_error, 2 * (np.tanh(normal(3, 2, 2, 1)),)),
    "udr": Victim(lambda a, b: selection.udr([a, b], None), 2 * (normal(9, 2),)),
    "udr with KLs": Victim(
        lambda a: selection.udr([normal(9, 2)] * 2, [a, None]),
        (np.ones(2),),
        ((0, "inf"), (0, "-inf"), (0, "1e300")),
    ),
    "agreement": Victim(
        selection.agreement, (np.ones((2, 3)),), ((0, "empty"), (0, "one row less"))
    ),
    "factor_agreement": Victim(centrality_of_two, (normal(8, 4, 3), np.ones(3))),
    "model_centrality": Victim(
        # One score for all pairs: nothing is asked of the diagonal.
        lambda score: selection.model_centrality(np.resize(score, (2, 2))),
        (np.ones(1),),
        tuple((0, name) for name in ("empty", "a number", "one row less", "one axis more")),
    ),
    "leakage": Victim(leaks, (normal(40, 2), normal(40, 2), PLAIN, PLAIN)),
}


def test_damaged_arrays_are_answered_in_one_sentence(attempt):
    def refused(wanted, place):
        damage_arrays.refuses(VICTIMS, wanted, place)

    attempt(250, 3000, refused, **damage_arrays.victims(VICTIMS))


@pytest.mark.parametrize("value", [0, -1, 1.5, np.nan, np.inf, "a", None, True])
def test_counts_that_are_none(value):
    x = normal(9, 2)
    for call in (
        lambda: clustering.kmeans(x, x, num_clusters=value, seed=0),
        lambda: kid.kernel_distance(x, x, subsets=value),
        lambda: precision_recall(x, x, neighbours=value),
        lambda: precision_recall(x, x, chunk=value),
        lambda: feature_scores.compare(x, x, manifold_images=value, **FEW),
        lambda: leakage.leakage(x, x, x, x, targets=TARGETS[:2], seed=value or -1),
        lambda: clustering.kmeans(x, x, num_clusters=2, seed=value or -1),
    ):
        with pytest.raises(UserError):
            found = call()
            if value is True:  # a whole number, where that is what a seed is
                raise UserError(str(found))


# --- clusters -------------------------------------------------------------------------------------


def test_scores_of_clusters(attempt):
    def laws(labels, clusters, names, order, dtype):
        one, mapping = clustering.one_to_one(labels, clusters)
        many, _ = clustering.many_to_one(labels, clusters)
        nmi, ari = clustering.nmi(labels, clusters), clustering.ari(labels, clusters)
        assert 1 / 12 <= one <= many <= 1 and -1e-12 <= nmi <= 1 + 1e-12 and -0.5 <= ari <= 1
        best = max(
            np.mean(np.array(p)[clusters] == labels) for p in itertools.permutations(range(4))
        )
        assert one == pytest.approx(best)
        assert one == pytest.approx(
            np.mean(
                [
                    mapping.get(c, -1) == y
                    for c, y in zip(clusters.tolist(), labels.tolist(), strict=True)
                ]
            )
        )
        # Names and the order of examples tell nothing, and labels may be shown as clusters.
        renamed = np.array(names)[clusters[order]], (labels + 5)[order].astype(dtype)
        for score, wanted in (
            (lambda *a: clustering.one_to_one(*a)[0], one),
            (lambda *a: clustering.many_to_one(*a)[0], many),
            (clustering.nmi, nmi),
            (clustering.ari, ari),
        ):
            assert score(renamed[1], renamed[0]) == pytest.approx(wanted, abs=1e-12)
            assert score(labels, np.array(names)[labels]) == pytest.approx(1.0)
        assert clustering.nmi(clusters, labels) == pytest.approx(nmi, abs=1e-12)
        assert clustering.ari(clusters, labels) == pytest.approx(ari, abs=1e-12)
        if len(set(labels)) > 1:
            assert clustering.nmi(labels, 0 * clusters) == pytest.approx(0, abs=1e-12)
            assert clustering.ari(labels, 0 * clusters) == pytest.approx(0, abs=1e-12)

    names = st.lists(st.integers(-100, 100), min_size=4, max_size=4, unique=True)
    order = st.permutations(range(12)).map(np.array)
    dtype = st.sampled_from([np.int8, np.uint8, np.int32, np.uint64])
    drawn = {"labels": WHOLE, "clusters": WHOLE, "names": names, "order": order, "dtype": dtype}
    attempt(40, 1000, laws, **drawn)


def test_kmeans(attempt):
    def laws(images, number, seed):
        found = clustering.kmeans(images, images, num_clusters=number, seed=seed)
        assert found.shape == (9,) and found.min() >= 0 and found.max() < number
        np.testing.assert_array_equal(
            found, clustering.kmeans(images, images, num_clusters=number, seed=seed)
        )
        two = np.concatenate([images, images + 1000])
        parted = clustering.kmeans(two, two, num_clusters=2, seed=seed)
        assert clustering.one_to_one(np.arange(18) // 9, parted)[0] == 1

    attempt(3, 60, laws, images=FEATURES, number=st.integers(1, 9), seed=SEEDS)


# --- features -------------------------------------------------------------------------------------


def test_frechet_distance(attempt):
    def laws(a, b, c, shift, scale, cut):
        d = frechet.distance(a, b)
        room = 1e-9 * (1 + np.abs(a).max() + np.abs(b).max()) ** 2
        assert d >= 0 and frechet.distance(a, a) <= room
        assert abs(frechet.distance(b, a) - d) <= room
        assert abs(frechet.distance(a[::-1], b) - d) <= room
        assert abs(frechet.distance(a + shift, a) - 2 * shift**2) <= room + 1e-9 * shift**2
        assert abs(frechet.distance(scale * a, scale * b) - scale**2 * d) <= scale**2 * room
        roots = [np.sqrt(frechet.distance(*pair)) for pair in ((a, c), (a, b), (b, c))]
        assert roots[0] <= roots[1] + roots[2] + 1e-3  # the triangle's
        parts = frechet.stream(part for part in (a[:cut], a[cut:]) if len(part))
        np.testing.assert_allclose(parts.covariance, np.cov(a.T), atol=room)
        np.testing.assert_allclose(parts.mean, a.mean(axis=0), atol=room)
        whole = frechet.moments_distance(parts, frechet.moments(b))
        assert abs(whole - d) <= room + 1e-7
        for dtype in (np.float16, np.float32, np.longdouble):  # eighths are exact in all of them
            assert abs(frechet.distance(a.astype(dtype), b) - d) <= room

    drawn = {"a": FEATURES, "b": FEATURES, "c": FEATURES, "cut": st.integers(0, 8)}
    scale = st.sampled_from([1e-8, 0.5, 3.0, 1e8])
    attempt(30, 600, laws, shift=st.floats(-1e3, 1e3), scale=scale, **drawn)


def test_gaussian_distance(attempt):
    def laws(means, deviations):
        one, two = means[:3], means[3:]
        s, t = deviations[:3], deviations[3:]
        wanted = ((one - two) ** 2).sum() + ((s - t) ** 2).sum()
        found = frechet.gaussian_distance(one, np.diag(s**2), two, np.diag(t**2))
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-6)
        tilted = np.diag(s**2)
        tilted[0, 1] += 1 + 3 * s.max() ** 2
        for bad in (tilted, -np.diag(s**2 + 1), tilted + tilted.T):
            with pytest.raises(UserError, match="covariance"):
                frechet.gaussian_distance(one, bad, two, np.eye(3))

    means = arrays_of.arrays(np.float64, 6, elements=st.floats(-100, 100))
    deviations = arrays_of.arrays(np.float64, 6, elements=st.floats(0, 100))
    attempt(30, 400, laws, means=means, deviations=deviations)


def test_kernel_distance(attempt):
    def laws(a, b, seed):
        found = kid.discrepancy(a, b)
        room = 1e-9 * (1 + np.abs(a).max() * np.abs(b).max()) ** 3 + 1e-9 * 2000**3
        assert abs(found - kid.discrepancy(b, a)) <= room
        assert abs(found - kid.discrepancy(a[::-1], b)) <= room
        every = kid.kernel_distance(a, b, subsets=2, subset_size=50, seed=seed)
        assert abs(every.mean - found) <= room and every.subset_size == 9
        assert kid.discrepancy(a, a) <= room  # the unbiased estimate of 0 from equal rows

    attempt(20, 400, laws, a=FEATURES, b=FEATURES, seed=st.integers(0, 2**40))


def test_precision_and_recall(attempt):
    def brute(a, b, k):
        def inside(rows, centres):
            apart = ((centres[:, None] - centres[None]) ** 2).sum(axis=2)
            radii = np.sort(apart, axis=1)[:, k]
            return (((rows[:, None] - centres[None]) ** 2).sum(axis=2) <= radii).any(axis=1).mean()

        return inside(b, a), inside(a, b)

    def laws(a, b, k, chunk, outlier):
        a[0] += outlier
        found = precision_recall(a, b, neighbours=k, chunk=chunk)
        assert (found.precision, found.recall) == brute(a, b, k)
        other = precision_recall(b, a, neighbours=k)
        assert (other.precision, other.recall) == (found.recall, found.precision)
        assert precision_recall(a, a[::-1], neighbours=k)[:2] == (1, 1)
        assert precision_recall(a + 1024, b + 1024, neighbours=k)[:2] == found[:2]
        far = b + 2.0**40
        assert precision_recall(b, far, neighbours=k)[:2] == (0, 0)

    # Eighths, and outliers whose squared distances float64 still tells apart.
    outlier = st.sampled_from([0.0, 2.0**10, -(2.0**14)])
    drawn = {"a": FEATURES, "b": FEATURES, "outlier": outlier}
    attempt(30, 600, laws, k=st.integers(1, 8), chunk=st.integers(1, 20), **drawn)


def test_one_extreme_row_does_not_hide_the_others():
    """Around their mean all rows but that one would lose their distances."""
    rows = normal(50, 3)
    rows[0] = 1e9
    assert precision_recall(rows, normal(50, 3, seed=1) - 30)[0] == 0


def test_mean_squared_error(attempt):
    def laws(x, y):
        found = mean_squared_error(x, y)
        floats = x / 127.5 - 1, y / 127.5 - 1
        assert found == pytest.approx(np.mean((floats[0] - floats[1]) ** 2), abs=1e-12)
        assert 0 <= found <= 4 and (found == 0) == (x == y).all()
        assert mean_squared_error(*floats) == pytest.approx(found, abs=1e-12)
        assert mean_squared_error(y, x) == pytest.approx(found, abs=1e-12)
        with pytest.raises(UserError, match="uint8 or floats"):
            mean_squared_error(x.astype(np.int64), y)
        with pytest.raises(UserError, match="reconstructions"):
            mean_squared_error(x, y.astype(np.int32))
        with pytest.raises(UserError, match=r"\[-1, 1\]"):
            mean_squared_error(x + 2.0, y)

    images = arrays_of.arrays(np.uint8, (2, 2, 2, 1))
    attempt(30, 400, laws, x=images, y=images)


# --- models and leaks -----------------------------------------------------------------------------


def test_choice_of_models(attempt):
    def laws(seed, order, signs, scale, method):
        codes = [normal(60, 3, seed=seed), normal(60, 3, seed=seed + 1)]
        found = selection.udr(codes, None, method=method)
        assert np.isnan(np.diag(found.pairs)).all() and (found.scores >= 0).all()
        assert (found.scores <= 1 + 1e-9).all()
        turned = [codes[0][:, order] * np.array(signs) * scale, codes[1]]
        again = selection.udr(turned, [np.ones(3), np.ones(3)], method=method)
        np.testing.assert_allclose(again.pairs, found.pairs, atol=2e-3)
        copies = selection.udr([codes[0], turned[0]], [np.ones(3)] * 2, method=method)
        assert copies.scores.min() > 0.5
        dead = selection.udr([codes[0] * 0, codes[1]], None, method=method)
        np.testing.assert_array_equal(dead.scores, [0, 0])
        relation = np.abs(normal(3, 4, seed=seed)) % 1
        value = selection.agreement(relation)
        assert 0 <= value <= 1
        assert selection.agreement(relation[order].T) == pytest.approx(value)

    signs = st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=3)
    scale = st.sampled_from([1e-20, 1e-3, 1.0, 1e20])
    method = st.sampled_from(selection.MEASURES)
    order = st.permutations(range(3))
    drawn = {"order": order, "signs": signs, "scale": scale, "method": method}
    attempt(8, 150, laws, seed=st.integers(0, 1000), **drawn)


def test_votes_between_models(attempt):
    def laws(seed, scale, order):
        codes, fixed = normal(24, 4, 3, seed=seed), np.arange(24) % 3
        found = selection.factor_agreement(codes, fixed, np.ones(3))
        assert 0 <= found <= 1
        scaled = selection.factor_agreement(codes * scale, fixed, np.full(3, scale**2), threshold=0)
        assert scaled == pytest.approx(found)
        codes[np.arange(24), :, fixed] = 1.0  # each factor stays in a dimension of its own
        turned = codes[:, :, order]
        assert selection.factor_agreement(turned, fixed, np.ones(3)) == 1
        table = np.abs(normal(3, 3, seed=seed))
        central = selection.model_centrality(table)
        moved = selection.model_centrality(table[np.ix_(order, order)])
        np.testing.assert_allclose(moved.scores, central.scores[list(order)])
        assert sorted(central.order.tolist()) == [0, 1, 2]

    scale = st.sampled_from([2.0**-20, 0.5, 8.0, 2.0**20])
    attempt(10, 300, laws, seed=st.integers(0, 1000), scale=scale, order=st.permutations(range(3)))


def test_leaks(attempt):
    def laws(seed, scale, shift):
        codes = normal(300, 2, seed=seed)
        hat = (codes[:, 1] > 0).astype(float)
        factors = np.stack([codes[:, 0], hat, np.full(300, 3.0)], axis=1)
        parts = [codes[:200] * scale + shift, codes[200:] * scale + shift]
        found = leakage.leakage(*parts, factors[:200], factors[200:], targets=TARGETS, seed=seed)
        size, seen, constant = found.rows
        assert 0.9 < size["linear"] <= 1 and 0.5 < size["boosted"] <= 1
        assert 0.8 < seen["linear"] <= 1 and 0.8 < seen["boosted"] <= 1
        assert constant["linear"] is constant["boosted"] is None
        assert constant["train"] < size["train"] == 200
        table = leakage.leak_table({"c": found, "z": found})
        assert [row["c"] == row["z"] for row in table] == 3 * [True]
        with pytest.raises(UserError, match="same factors"):
            leakage.leak_table({"c": found, "z": found._replace(rows=found.rows[:2])})
        empty = leakage.leakage(
            parts[0][:0], parts[1][:0], factors[:0], factors[:0], targets=TARGETS
        )
        assert all(row["linear"] is None and row["chance"] is None for row in empty.rows)

    scale = st.sampled_from([1e-6, 1.0, 1e6])
    attempt(2, 20, laws, seed=st.integers(0, 1000), scale=scale, shift=st.sampled_from([0.0, 10.0]))


def test_examples_tried(attempt, figure):
    assert attempt.tried >= 200
    figure("losses and metrics", "random inputs to metrics", attempt.tried)
