"""Laws of losses of a whole batch: bounds on information, total correlation, kernels."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest
import scipy.special
import scipy.stats
from hypothesis import strategies as st
from properties import ROWS, SIZE, array, bits, close, one_hots

from ivg.distributions import Gaussian
from ivg.losses import independence, information, total_correlation

SCORES = array([ROWS], -100.0, 100.0)
CODES = array([ROWS, SIZE], -5.0, 5.0)
LOG_VAR = array([ROWS, SIZE], -8.0, 4.0)
SCALES = st.lists(st.sampled_from([1e-3, 1.0, 1e3]), min_size=3, max_size=3).map(np.array)


@pytest.fixture(scope="module")
def attempt(amount):
    return properties.Attempts(amount)


# --- information ----------------------------------------------------------------------------------


def test_donsker_varadhan_on_scores(attempt):
    def laws(joint, product, shift):
        bound = information.donsker_varadhan(joint, product)
        exact = joint.astype(float).mean() - (
            scipy.special.logsumexp(product.astype(float)) - math.log(ROWS)
        )
        close(bound, exact, atol=1e-4)
        close(information.donsker_varadhan(joint + shift, product + shift), bound, atol=1e-3)
        close(information.donsker_varadhan(joint * 0 + shift, product * 0 + shift), 0.0, atol=1e-3)
        mean_exp = information.log_mean_exp(product)
        assert product.mean() - 1e-4 <= mean_exp <= product.max() + 1e-4  # Jensen

    shift = properties.floats(-1000.0, 1000.0)
    attempt(30, 500, laws, joint=SCORES, product=SCORES, shift=shift)


def test_donsker_varadhan_stays_below_the_information_of_gaussians(attempt):
    """Of the best T it is the information, of T a times as large it is less."""
    bound = jax.jit(information.donsker_varadhan)

    def below(rho, factor, seed):
        a, b, c = np.random.default_rng(seed).normal(size=(3, 20_000))
        true = -0.5 * math.log(1 - rho**2)

        def best(x, y):
            return true - (rho**2 * (x**2 + y**2) - 2 * rho * x * y) / (2 * (1 - rho**2))

        joint, product = best(a, rho * a + math.sqrt(1 - rho**2) * b), best(a, c)
        found = float(bound(np.float32(factor * joint), np.float32(factor * product)))
        assert found <= true + 0.05
        if factor == 1.0:
            assert found == pytest.approx(true, abs=0.05)

    factor = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])
    attempt(15, 200, below, rho=st.floats(-0.6, 0.6), factor=factor, seed=st.integers(0, 1000))


def test_moving_average_changes_the_gradient_only(attempt):
    plain = jax.jit(jax.value_and_grad(information.donsker_varadhan, (0, 1)))
    moving = jax.jit(
        jax.value_and_grad(
            lambda j, p, a, rate: information.donsker_varadhan_ema(j, p, a, rate=rate),
            (0, 1),
            has_aux=True,
        )
    )

    def laws(joint, product, before, rate):
        value, gradient = plain(joint, product)
        (other, average), moved = moving(joint, product, before, rate)
        close(other, value, atol=1e-4)
        exact = scipy.special.logsumexp(product.astype(float)) - math.log(ROWS)
        with np.errstate(divide="ignore"):
            past = np.log1p(-np.float64(np.float32(rate))) + before
        close(average, np.logaddexp(past, math.log(rate) + exact), atol=1e-4)
        close(moved[0], gradient[0])
        # The same direction, shrunk or stretched by the ratio of the denominators.
        ratio = np.exp(exact - float(average))
        assert ratio <= 1 / rate * 1.001
        close(moved[1], ratio * gradient[1], rtol=1e-3)

    rate = st.sampled_from([0.01, 0.5, 1.0])
    before = properties.floats(-50.0, 50.0)
    attempt(30, 500, laws, joint=SCORES, product=SCORES, before=before, rate=rate)


def test_bounds_of_readers(attempt):
    def laws(d, logits, y, z, z_hat):
        size = d.shape[1]
        bound = np.asarray(information.categorical_lower_bound(d, logits))
        assert (bound <= math.log(size) + 1e-6).all()
        best = information.categorical_lower_bound(d, 1e4 * d)
        np.testing.assert_allclose(best, np.full(ROWS, math.log(size)), rtol=1e-6)
        found = information.reconstruction_lower_bound(z, z_hat)
        norm = scipy.stats.norm.logpdf
        close(found, (norm(z, z_hat) - norm(z.astype(float))).sum(axis=1), atol=1e-4)
        certainty = np.asarray(information.label_negentropy(logits))
        assert (certainty <= 0).all() and (certainty >= -size * math.log(2) - 1e-5).all()
        surprise = np.asarray(information.label_cross_entropy(y, logits))
        assert (surprise >= 0).all()
        p = scipy.special.expit(logits.astype(float))
        close(information.label_cross_entropy(p.astype(np.float32), logits), -certainty, atol=1e-3)
        np.testing.assert_array_equal(
            surprise, information.label_cross_entropy(y.astype(np.int8), logits)
        )

    shape = [ROWS, SIZE + 1]
    drawn = {"logits": array(shape, -1e3, 1e3), "z": CODES, "z_hat": CODES}
    attempt(30, 400, laws, d=one_hots(shape), y=bits(shape), **drawn)


def test_agreement_of_views(attempt):
    def laws(a, b, balance):
        found = float(information.agreement(a, b, balance=balance))
        assert found == pytest.approx(
            float(information.agreement(b, a, balance=balance)), abs=1e-5, rel=1e-5
        )
        assert found <= balance * math.log(a.shape[1]) + 1e-4
        p, q = (scipy.special.softmax(x.astype(float), axis=1) for x in (a, b))
        mean = (p.mean(axis=0) + q.mean(axis=0)) / 2
        exact = np.log((p * q).sum(axis=1)).mean() + balance * scipy.stats.entropy(mean)
        assert found == pytest.approx(exact, abs=1e-3)

    views = array([ROWS, SIZE], -30.0, 30.0)
    attempt(20, 300, laws, a=views, b=views, balance=st.floats(0.0, 10.0))


def test_entropies_of_priors(attempt):
    def laws(low, width, size):
        found = information.uniform_entropy(low, low + width, size)
        assert found == pytest.approx(size * float(scipy.stats.uniform(low, width).entropy()))
        assert information.normal_entropy(size) == pytest.approx(
            size * float(scipy.stats.norm.entropy())
        )
        assert information.categorical_entropy(size) == pytest.approx(
            scipy.stats.entropy(np.ones(size))
        )
        with pytest.raises(ValueError, match="low < high"):
            information.uniform_entropy(low + width, low, size)

    width = st.floats(0.01, 1e3)
    attempt(30, 300, laws, low=st.floats(-1e3, 1e3), width=width, size=st.integers(1, 50))


# --- total correlation ----------------------------------------------------------------------------


def test_decomposition_adds_up(attempt):
    made = jax.jit(
        lambda z, mean, log_var: total_correlation.minibatch_weighted(
            z, Gaussian(mean, log_var), dataset_size=50
        )
    )
    short = jax.jit(lambda z, m, v: total_correlation.total_correlation(z, Gaussian(m, v)))

    def laws(z, mean, log_var):
        densities = made(z, mean, log_var)
        parts = total_correlation.decomposition(densities)
        std = np.exp(log_var.astype(float) / 2)
        pairs = scipy.stats.norm.logpdf(z[:, None], mean[None], std[None])
        constant = math.log(ROWS * 50)
        joint = scipy.special.logsumexp(pairs.sum(axis=2), axis=1) - constant
        product = (scipy.special.logsumexp(pairs, axis=1) - constant).sum(axis=1)
        conditional = scipy.stats.norm.logpdf(z, mean, std).sum(axis=1)
        prior = scipy.stats.norm.logpdf(z).sum(axis=1)
        for found, exact in zip(densities, (conditional, joint, product, prior), strict=True):
            close(found, exact, rtol=1e-4, atol=1e-3)
        room = 1e-3 + 1e-5 * max(np.abs(x).max() for x in (conditional, joint, product))
        assert abs(float(sum(parts)) - (conditional - prior).mean()) <= room
        shifted = float(parts.total_correlation) - (SIZE - 1) * constant
        assert abs(float(short(z, mean, log_var)) - shifted) <= room

    attempt(30, 400, laws, z=CODES, mean=CODES, log_var=LOG_VAR)


def test_permuted_codes_keep_their_columns(attempt):
    permuted = jax.jit(total_correlation.permute_dims)

    def laws(seed, z):
        found = np.asarray(permuted(jax.random.key(seed), z))
        np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(z, axis=0))

    attempt(20, 300, laws, seed=st.integers(0, 2**31), z=CODES)
    assert total_correlation.permute_dims(jax.random.key(0), jnp.ones((0, 2))).shape == (0, 2)


def test_total_correlation_of_covariances(attempt):
    exact = jax.jit(total_correlation.gaussian_total_correlation)

    def laws(root, scales):
        covariance = root.astype(float) @ root.T + 0.1 * np.eye(3)
        covariance *= np.outer(scales, scales)
        deviation = np.sqrt(np.diag(covariance))
        wanted = -0.5 * np.linalg.slogdet(covariance / np.outer(deviation, deviation))[1]
        found = float(exact(np.float32(covariance)))
        assert found == pytest.approx(wanted, abs=2e-3, rel=1e-3) and found >= -1e-5
        assert abs(float(exact(np.float32(np.diag(np.diag(covariance)))))) < 1e-5
        # Beyond a correlation of 1 there is no Gaussian.
        bad = np.float32([[1.0, 1.5, 0.0], [1.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
        assert np.isnan(exact(bad * np.float32(np.outer(scales, scales))))
        assert np.isnan(exact(-np.float32(covariance)))

    root = array([3, 3], -1.0, 1.0)
    attempt(20, 300, laws, root=root, scales=SCALES)


def test_covariance_penalty(attempt):
    weights = {"weight_off_diagonal": 3.0, "weight_diagonal": 2.0}

    def laws(mean, log_var):
        q = Gaussian(mean, log_var)
        means = total_correlation.means_covariance(q)
        close(means, np.cov(mean.astype(float).T, ddof=0), atol=1e-4)
        codes = total_correlation.codes_covariance(q)
        close(codes - means, np.diag(np.exp(log_var.astype(float)).mean(axis=0)), atol=1e-3)
        penalty = float(total_correlation.covariance_penalty(codes, **weights))
        away = np.asarray(codes, float) - np.eye(SIZE)
        off = away - np.diag(np.diag(away))
        wanted = 3 * (off**2).sum() + 2 * (np.diag(away) ** 2).sum()
        assert penalty == pytest.approx(wanted, rel=1e-3, abs=1e-4)
        assert total_correlation.covariance_penalty(jnp.eye(SIZE), **weights) == 0

    attempt(20, 300, laws, mean=CODES, log_var=LOG_VAR)


def test_sampling_needs_a_sample_and_an_image():
    q = Gaussian(jnp.ones((2, 2)), jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="at least"):
        total_correlation.minibatch_weighted(q.mean, q, dataset_size=0)


# --- kernels --------------------------------------------------------------------------------------


def test_independence_of_codes(attempt):
    score = jax.jit(lambda a, b: independence.dhsic(jnp.stack([a, b])))
    kernels = jax.jit(lambda a: independence.gaussian_kernels(a[None])[0])
    spread = scipy.stats.chi(SIZE).mean() * math.sqrt(2)
    assert independence.mean_distance(SIZE) == pytest.approx(spread)

    def naive(*codes):
        k = [np.exp(-((x[:, None] - x[None]) ** 2).sum(2) / (2 * spread**2)) for x in codes]
        cross = np.mean(np.prod([x.mean(axis=1) for x in k], axis=0))
        value = np.mean(k[0] * k[1]) + k[0].mean() * k[1].mean() - 2 * cross
        return math.sqrt(max(value, 0.0) + independence.EPSILON)

    def laws(a, b, shift):
        found = float(score(a, b))
        assert found == pytest.approx(naive(a.astype(float), b.astype(float)), abs=2e-3)
        assert found == pytest.approx(float(score(b, a)), abs=2e-3)
        assert found >= 0.99e-4
        # Wherever the codes lie, only their distances count.
        assert float(score(a + shift, b - shift)) == pytest.approx(found, abs=5e-2)
        assert float(score(a, b * 0)) == pytest.approx(1e-4, abs=2e-3)
        k = np.asarray(kernels(a))
        close(k, k.T)
        assert (k >= 0).all() and (k <= 1).all() and (np.diag(k) > 0.99).all()

    shift = st.sampled_from([0.0, 100.0, 1e4])
    attempt(30, 400, laws, a=CODES, b=CODES, shift=shift.map(np.float32))


def test_examples_tried(attempt, figure):
    assert attempt.tried >= 200
    figure("losses and metrics", "random inputs to losses of a batch", attempt.tried)
