"""Disentanglement scores against naive code, by hand, and where they are hard to define."""

import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from ivg.errors import UserError
from ivg.metrics import disentanglement
from ivg.metrics.disentanglement.information import equal_width_bins, mutual_information

SIZES = (3, 4, 5)


def data(rows=400, seed=0, dims=4, noise=0.5):
    """Factors, and codes that mix them."""
    rng = np.random.RandomState(seed)
    factors = np.stack([rng.randint(n, size=rows) for n in SIZES], axis=1)
    mixed = factors @ rng.normal(size=(3, dims)) + noise * rng.normal(size=(rows, dims))
    return mixed.astype(np.float32), factors


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_bins_are_those_of_numpy_also_where_values_lie_on_edges(dtype):
    rng = np.random.RandomState(0)
    ladder = rng.randint(21, size=300)  # 21 values, 20 bins: every edge is a value
    columns = [ladder, ladder * 0.1 - 1, rng.normal(size=300), np.full(300, 3.3)]
    values = np.stack(columns, axis=1).astype(dtype)
    bins = equal_width_bins(values, 20)
    for column in range(3 if dtype != np.int32 else 2):
        counts, edges = np.histogram(values[:, column], 20)
        np.testing.assert_array_equal(np.bincount(bins[:, column], minlength=20), counts)
        expected = np.digitize(values[:, column], edges[:-1]) - 1
        np.testing.assert_array_equal(bins[:, column], expected)
    assert len(np.unique(bins[:, 3])) == 1


def test_mutual_information_equals_scikit_learn():
    rng = np.random.RandomState(1)
    a, b = rng.randint(-3, 5, size=(200, 3)), rng.randint(4, size=(200, 2)) * 1000
    b[:, 0] = a[:, 0]
    a[:, 2] = 6
    expected = [[sklearn.metrics.mutual_info_score(x, y) for y in b.T] for x in a.T]
    actual = mutual_information(a, b)
    np.testing.assert_allclose(actual, expected, atol=1e-12)
    assert (actual[2] == 0).all()


def test_mig_and_modularity_by_hand():
    # Two fair bits; code 0 is the first, code 1 both at once, code 2 is dead.
    factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 4)
    codes = np.stack([factors[:, 0], 2 * factors[:, 0] + factors[:, 1], 0 * factors[:, 0]], axis=1)
    mig = disentanglement.mig(codes, factors)
    np.testing.assert_allclose(mig.details["per_factor"], [0, 1], atol=1e-12)
    assert mig.value == pytest.approx(0.5)
    modularity = disentanglement.modularity(codes, factors)
    np.testing.assert_allclose(modularity.details["per_code"], [1, 0, 0], atol=1e-12)
    assert modularity.value == pytest.approx(1 / 3)


def test_sap_continuous_is_the_gap_of_squared_correlations():
    codes, factors = data()
    matrix = np.corrcoef(codes.astype(np.float64), factors, rowvar=False)[:4, 4:] ** 2
    ranked = np.sort(matrix, axis=0)
    score = disentanglement.sap_continuous(codes, factors)
    np.testing.assert_allclose(score.details["matrix"], matrix, atol=1e-10)
    assert score.value == pytest.approx(np.mean(ranked[-1] - ranked[-2]))


def test_irs_equals_a_naive_loop():
    codes, factors = data()
    codes = codes.astype(np.float64)
    largest = np.abs(codes - codes.mean(axis=0)).max(axis=0)
    matrix = np.zeros((4, 3))
    for i in range(4):
        for j, size in enumerate(SIZES):
            rows = [codes[factors[:, j] == v, i] for v in range(size)]
            deviations = [np.percentile(abs(r - r.mean()), 90) for r in rows]
            matrix[i, j] = 1 - np.mean(deviations) / largest[i]
    score = disentanglement.irs(codes, factors, quantile=0.9)
    np.testing.assert_allclose(score.details["matrix"], matrix, atol=1e-12)
    assert score.value == pytest.approx(np.sum(matrix.max(axis=1) * largest) / largest.sum())


def test_explicitness_areas_equal_those_of_scikit_learn():
    codes, factors = data(noise=2)
    train, test = slice(0, 250), slice(250, 400)
    score = disentanglement.explicitness(codes[train], factors[train], codes[test], factors[test])
    x = codes.astype(np.float64)
    x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    for j in range(3):
        model = sklearn.linear_model.LogisticRegression().fit(x[train], factors[train, j])
        probabilities = model.predict_proba(x[test])
        expected = sklearn.metrics.roc_auc_score(factors[test, j], probabilities, multi_class="ovr")
        assert score.details["per_factor"][j] == pytest.approx(expected, abs=1e-9)
    assert score.value == pytest.approx(score.details["per_factor"].mean())


SINGLE = {
    "mig": disentanglement.mig,
    "modularity": disentanglement.modularity,
    "sap_continuous": disentanglement.sap_continuous,
    "irs": disentanglement.irs,
}
SPLIT = {
    "sap_discrete": disentanglement.sap_discrete,
    "explicitness": disentanglement.explicitness,
    "dci": disentanglement.dci,
}


def halves(function):
    """The metric with a test part, as one of a single pair of arrays."""
    return lambda codes, factors: function(codes[::2], factors[::2], codes[1::2], factors[1::2])


ARRAYS = SINGLE | {name: halves(function) for name, function in SPLIT.items()}


@pytest.mark.parametrize("name", ARRAYS)
def test_constant_factors_and_scales_do_not_matter_and_dead_codes_are_defined(name):
    codes, factors = data(120)
    score = ARRAYS[name](codes, factors)
    with_constant = np.insert(factors, 1, 9, axis=1)
    again = ARRAYS[name](codes, with_constant)
    assert again.value == pytest.approx(score.value, abs=1e-12)
    assert again.details["constant_factors"] == [1]
    dead = np.hstack([codes, np.full((120, 1), 0.1, np.float32)])
    assert np.isfinite(ARRAYS[name](dead, factors).value)
    all_dead = ARRAYS[name](np.full((120, 2), 0.1, np.float32), factors).value
    # No information: 0, or chance for an area under the curve.
    assert all_dead == pytest.approx(0.5 if name == "explicitness" else 0, abs=1e-9)


@pytest.mark.parametrize("name", ARRAYS)
def test_one_code_and_integers_are_defined(name):
    _, factors = data(120)
    score = ARRAYS[name](factors[:, 2], factors)  # a vector of whole numbers, three factors
    assert 0 <= score.value <= 1
    matrix = {"mig": "mutual_information", "modularity": "mutual_information", "dci": "importance"}
    if name != "explicitness":
        assert np.shape(score.details[matrix.get(name, "matrix")]) == (1, 3)
    if name == "dci":
        assert score.details["completeness"] == 1


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, f: (np.where(c > 1, np.nan, c), f), "are NaN or infinite"),
        (lambda c, f: (np.where(c > 1, -np.inf, c), f), "are NaN or infinite"),
        (lambda c, f: (c * 1e35, f), "rescale"),
        (lambda c, f: (c[:30], f), "cannot be compared"),
        (lambda c, f: (c[:0], f[:0]), "too few"),
        (lambda c, f: (c[:1], f[:1]), "too few"),
        (lambda c, f: (c, f * 0), "that var"),
        (lambda c, f: (c, f + 0.5), "factors must be whole numbers"),
        (lambda c, f: (c, f * np.nan), "factors must be whole numbers"),
        (lambda c, f: (c[:, :0], f), "codes must be real numbers"),
        (lambda c, f: (c[:, None], f), "codes must be real numbers"),
        (lambda c, f: (c.astype(str), f), "codes must be real numbers"),
        (lambda c, f: (c, f[..., None]), "factors must be whole numbers"),
    ],
)
def test_mistakes_are_named(name, change, message):
    with pytest.raises(UserError, match=message):
        ARRAYS[name](*change(*(a[:60].astype(np.float64) for a in data())))


def test_the_two_parts_must_fit_each_other():
    codes, factors = data(60)
    for function in SPLIT.values():
        with pytest.raises(UserError, match="test codes must have the same columns"):
            function(codes, factors, codes[:, :2], factors)
        with pytest.raises(UserError, match="60 test codes and 5 test factors"):
            function(codes, factors, codes, factors[:5])


def test_unknown_classes_in_the_test_part():
    codes, factors = data(60)
    unseen = factors + 10
    assert disentanglement.sap_discrete(codes, factors, codes, unseen).value == 0
    assert disentanglement.dci(codes, factors, codes, unseen).details["informativeness_test"] == 0
    with pytest.raises(UserError, match="too few for explicitness"):
        disentanglement.explicitness(codes, factors, codes, unseen)


def test_unconverged_solvers_do_not_warn():
    codes, factors = data(200, noise=0)
    codes *= np.float32([1e-3, 1, 1e3, 1e5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in (SPLIT["sap_discrete"], SPLIT["explicitness"]):
            halves(function)(codes, factors)
        source = disentanglement.from_arrays(codes, factors)
        disentanglement.beta_vae(source, num_train=200, num_eval=50)


def test_dependence_among_codes():
    rng = np.random.RandomState(0)
    x = rng.normal(size=(500, 2))
    codes = np.hstack([x[:, :1], 0.6 * x[:, :1] + 0.8 * x[:, 1:], np.ones((500, 1))])
    rho = scipy.stats.pearsonr(codes[:, 0], codes[:, 1])[0]
    score = disentanglement.gaussian_total_correlation(codes)
    assert score.value == pytest.approx(-0.5 * np.log(1 - rho**2))
    assert disentanglement.gaussian_total_correlation(codes[:, :1]).value == 0
    assert disentanglement.mutual_info_score(codes[:, 0]).value == 0
    assert disentanglement.mutual_info_score(codes).value > 0
    with pytest.raises(UserError, match="infinite"):
        disentanglement.gaussian_total_correlation(codes[:2])
    with pytest.raises(UserError, match="too few"):
        disentanglement.mutual_info_score(codes[:1])
