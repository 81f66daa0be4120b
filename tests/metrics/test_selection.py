"""UDR and ModelCentrality: closed cases, naive loops, and a family whose best members are known."""

import itertools

import numpy as np
import pytest
import scipy.stats
import sklearn.linear_model

from ivg.errors import UserError
from ivg.metrics import selection

# Full factorial designs: their columns are uncorrelated exactly, in values and in ranks.
GRID = np.array(list(itertools.product(np.linspace(-1.7, 1.7, 6), repeat=3)))


def rotation(seed: int, dims: int = 3) -> np.ndarray:
    return scipy.stats.special_ortho_group(dims, seed=seed).rvs()


def signed_permutation(seed: int, dims: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.eye(dims)[rng.permutation(dims)] * rng.choice([-1, 1], dims)


# ---- UDR ----------------------------------------------------------------------------------------


def test_permuted_flipped_and_bent_copies_agree_perfectly():
    copies = [GRID, GRID[:, [2, 0, 1]] * [1, -1, 1], np.exp(GRID[:, ::-1]) * [3, -1, 9]]
    found = selection.udr(copies, None)
    np.testing.assert_allclose(found.scores, 1.0, rtol=1e-12)
    assert np.isnan(np.diag(found.pairs)).all()
    assert [list(dims) for dims in found.informative] == [[0, 1, 2]] * 3


def test_rotated_models_agree_less_and_noise_not_at_all():
    rng = np.random.default_rng(0)
    codes = [GRID, GRID[:, ::-1], -GRID, GRID @ rotation(0), rng.normal(size=GRID.shape)]
    scores = selection.udr(codes, None).scores
    assert (scores[:3] > 0.5).all() and scores[3] < scores[:3].min() and scores[4] < 0.1


def test_half_a_relation_by_hand():
    """R = [[1, .5], [0, .5]]: columns 1/1 and .25/1, rows 1/1.5 and .25/.5."""
    relation = np.array([[1.0, 0.5], [0.0, 0.5]])
    assert selection.agreement(relation) == pytest.approx((1 + 0.25 + 1 / 1.5 + 0.5) / 4)
    wide = np.array([[1.0, 0.0, 0.0]])
    assert selection.agreement(wide) == pytest.approx((1 + 0 + 0 + 1) / 4)


@pytest.mark.parametrize("method", selection.MEASURES)
def test_udr_is_the_equation_in_loops(method):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 4))
    codes = [(x @ rng.normal(size=(4, d)) + 0.3 * rng.normal(size=(300, d))) for d in (3, 5, 4)]
    kls = [rng.uniform(0.02, 3, c.shape[1]) for c in codes]
    kls[1][[0, 3]] = 0.01, 0.002  # at the threshold is not above it
    found = selection.udr(codes, kls, method=method)
    kept = [c[:, kl > 0.01] for c, kl in zip(codes, kls, strict=True)]
    for i, j in itertools.permutations(range(3), 2):
        expected = naive_pair(kept[i], kept[j], method)
        assert found.pairs[i, j] == pytest.approx(expected, rel=1e-6)
    medians = [np.median(np.delete(found.pairs[i], i)) for i in range(3)]
    np.testing.assert_allclose(found.scores, medians)
    assert list(found.informative[1]) == [1, 2, 4]


def naive_pair(ours: np.ndarray, theirs: np.ndarray, method: str) -> float:
    """Lasso predicts each of our codes from all of theirs."""
    relation = np.zeros((ours.shape[1], theirs.shape[1]))
    for a in range(ours.shape[1]):
        if method == "lasso":
            model = sklearn.linear_model.Lasso(alpha=0.1)
            relation[a] = np.abs(model.fit(scipy.stats.zscore(theirs),
                                           scipy.stats.zscore(ours[:, a])).coef_)  # fmt: skip
            continue
        for b in range(theirs.shape[1]):
            relation[a, b] = abs(scipy.stats.spearmanr(ours[:, a], theirs[:, b]).statistic)
    total = 0.0
    for b in range(relation.shape[1]):
        if relation[:, b].sum() > 0:
            total += relation[:, b].max() ** 2 / relation[:, b].sum()
    for a in range(relation.shape[0]):
        if relation[a].sum() > 0:
            total += relation[a].max() ** 2 / relation[a].sum()
    return total / sum(relation.shape)


def test_lasso_shrinks_a_perfect_relation_by_its_weight():
    scores = selection.udr([GRID, GRID[:, ::-1], -GRID], None, method="lasso").scores
    np.testing.assert_allclose(scores, 1 - selection.LASSO_ALPHA, rtol=1e-3)


def test_a_collapsed_model_scores_0_and_does_not_disturb():
    dead = np.array([0.001, 0.0, 0.01])
    alive = np.ones(3)
    found = selection.udr([GRID, -GRID, GRID, 2 * GRID], [alive, alive, alive, dead])
    np.testing.assert_allclose(found.scores, [1, 1, 1, 0])
    assert (found.pairs[3, :3] == 0).all() and (found.pairs[:3, 3] == 0).all()
    both = selection.udr([GRID, GRID], [dead, dead])
    assert (both.scores == 0).all()


def test_without_kl_the_spread_decides_and_constant_codes_never_count():
    narrow = GRID * [1, 0.02, 1]
    constant = np.where([True, True, False], GRID, 0.1)
    found = selection.udr([narrow, constant, GRID], [None, np.ones(3), None])
    assert [list(dims) for dims in found.informative] == [[0, 2], [0, 1], [0, 1, 2]]
    assert np.isfinite(found.scores).all()


@pytest.mark.parametrize(
    "codes, kls, options, words",
    [
        ([GRID], None, {}, "1 models cannot be compared"),
        ([GRID, GRID[:9]], None, {}, r"same images, at least two, not of \[9, 216\]"),
        ([GRID[:1], GRID[:1]], None, {}, "at least two"),
        ([GRID, GRID * np.nan], None, {}, "NaN or infinite"),
        ([GRID, GRID], [None], {}, "1 KLs and 2 models"),
        ([GRID, GRID], [None, np.ones(2)], {}, "for 3 dimensions"),
        ([GRID, GRID], None, {"method": "pearson"}, "use spearman or lasso"),
    ],
)
def test_udr_refuses(codes, kls, options, words):
    with pytest.raises(UserError, match=words):
        selection.udr(codes, kls, **options)


# ---- votes --------------------------------------------------------------------------------------


def groups(factors: int, votes: int, size: int = 64, seed: int = 0):
    """Codes c `[V, L, F]` that share one factor in each group, and which."""
    rng = np.random.default_rng(seed)
    fixed = np.arange(votes) % factors
    codes = rng.normal(size=(votes, size, factors))
    for vote, factor in enumerate(fixed):
        codes[vote, :, factor] = codes[vote, 0, factor]
    return codes, fixed


def test_an_aligned_encoder_gets_every_vote():
    codes, fixed = groups(4, 24)
    turned = codes[..., [3, 1, 0, 2]] * [2, -1, 5, 0.5]
    variances = np.array([4.0, 1, 25, 0.25])
    assert selection.factor_agreement(turned, fixed, variances) == 1.0


def test_dimensions_take_part_by_their_spread():
    codes, fixed = groups(4, 40)
    codes[..., 1] *= 0.01  # a quarter of the votes has nowhere right to go
    score = selection.factor_agreement(codes, fixed, np.array([1, 1e-4, 1, 1]))
    assert 0.6 < score < 0.9
    assert selection.factor_agreement(codes, fixed, np.full(4, 1e-4)) == 0.0
    assert selection.factor_agreement(codes, fixed, np.zeros(4), threshold=0.0) == 0.0


def test_votes_in_loops():
    codes, fixed = groups(3, 21, size=8)
    codes = codes @ rotation(5)
    variances = codes.reshape(-1, 3).var(axis=0)
    half = [(vote // 3) % 2 for vote in range(21)]
    winners = [
        min(range(3), key=lambda d: np.var(codes[vote, :, d], ddof=1) / variances[d])
        for vote in range(21)
    ]
    right = 0
    for vote in range(21):
        others = [v for v in range(21) if half[v] != half[vote] and winners[v] == winners[vote]]
        count = [sum(fixed[v] == f for v in others) for f in range(3)]
        right += int(np.argmax(count)) == fixed[vote]
    assert 0 < right < 21
    assert selection.factor_agreement(codes, fixed, variances) == pytest.approx(right / 21)


def test_an_encoder_that_sees_nothing_scores_at_chance():
    """Held-out votes: the map that fits chance best is no better than chance."""
    _, fixed = groups(5, 1000)
    noise = np.random.default_rng(3).normal(size=(1000, 16, 5))
    assert selection.factor_agreement(noise, fixed, np.ones(5)) == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize(
    "shape, fixed, words",
    [((4, 8), [0, 1, 0, 1], "groups"), ((4, 1, 2), [0, 1, 0, 1], "at least two images")]
    + [((4, 8, 2), [0, 1], "groups"), ((4, 8, 2), [0, 1, 2, 0], "4 votes are too few for 3")],
)
def test_votes_refuse(shape, fixed, words):
    with pytest.raises(UserError, match=words):
        selection.factor_agreement(np.zeros(shape), np.array(fixed), np.ones(2))


# ---- ModelCentrality ----------------------------------------------------------------------------


def test_centrality_of_a_made_table():
    table = np.array([[np.nan, 0.8, 0.2], [0.6, np.nan, 0.5], [0.4, 0.1, np.nan]])
    found = selection.model_centrality(table)
    np.testing.assert_allclose(found.scores, [(0.7 + 0.3) / 2, (0.7 + 0.3) / 2, (0.3 + 0.3) / 2])
    assert list(found.order) == [0, 1, 2]
    table[1, 2] = 0.9
    assert list(selection.model_centrality(table).order) == [1, 0, 2]


@pytest.mark.parametrize("table", [np.ones((1, 1)), np.ones((2, 3)), np.full((2, 2), np.nan)])
def test_centrality_refuses(table):
    with pytest.raises(UserError, match="at least two models|finite"):
        selection.model_centrality(table)


def test_both_rank_aligned_models_over_rotated_ones():
    """Models whose codes are the true coordinates, in some order and sign, and rotations of them.

    Model i generates x = c M_i and infers c = x M_i^T. The aligned ones are most of the models:
    the median of UDR follows the majority.
    """
    aligned = [signed_permutation(seed, 8) for seed in range(4)]
    models = [rotation(0, 8), *aligned[:2], rotation(1, 8), *aligned[2:]]
    table = np.zeros((6, 6))
    for (i, a), (j, b) in itertools.product(enumerate(models), repeat=2):
        codes, fixed = groups(8, 64, seed=i)
        table[i, j] = selection.factor_agreement(codes @ a @ b.T, fixed, np.ones(8))
    np.testing.assert_array_equal(np.diag(table), 1.0)
    assert set(selection.model_centrality(table).order[:4]) == {1, 2, 4, 5}
    images = np.random.default_rng(0).normal(size=(500, 8))
    scores = selection.udr([images @ m.T for m in models], None).scores
    assert set(np.argsort(-scores)[:4]) == {1, 2, 4, 5}
