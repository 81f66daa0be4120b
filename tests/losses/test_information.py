"""Bounds on mutual information against reference values, naive loops and closed forms."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy import stats

from ivg.distributions import Gaussian, gaussian
from ivg.losses import information

RANDOM = np.random.default_rng(0).normal(size=(3, 6, 5))
CODES = np.eye(5)[[0, 1, 1, 2, 3, 4]]


# --- reference values -----------------------------------------------------------------------------


def infogan_categorical(a):
    num_classes = a["logits"].shape[-1]
    d = jax.nn.one_hot(a["code_index"], num_classes)
    bound = information.categorical_lower_bound(d, a["logits"])
    prior_entropy = information.categorical_entropy(num_classes)
    return bounds(bound, jnp.asarray(prior_entropy))


def infogan_categorical_extreme(a):
    return {"lower_bound_nats": infogan_categorical(a)["lower_bound_nats"]}


def infogan_gaussian_uniform_prior(a):
    return infogan_gaussian(a, information.uniform_entropy(-1.0, 1.0, 2))


def infogan_gaussian_normal_prior(a):
    return infogan_gaussian(a, information.normal_entropy(2))


def infogan_gaussian(a, prior_entropy):
    q = Gaussian(a["mu"], a["logvar"])
    bound = information.gaussian_lower_bound(a["code"], q, prior_entropy)
    return bounds(bound, jnp.asarray(prior_entropy))


def bounds(bound, prior_entropy):
    return {
        "expected_per_sample_log_q": bound - prior_entropy,
        "mean_log_q": jnp.mean(bound) - prior_entropy,
        "prior_entropy": prior_entropy,
        "lower_bound_nats": jnp.mean(bound),
        "lower_bound_bits": jnp.mean(bound) / math.log(2),
    }


CASES = {
    "infogan_categorical": infogan_categorical,
    "infogan_categorical_perfect": infogan_categorical_extreme,
    "infogan_categorical_wrong": infogan_categorical_extreme,
    "infogan_gaussian_uniform_prior": infogan_gaussian_uniform_prior,
    "infogan_gaussian_normal_prior": infogan_gaussian_normal_prior,
}


class ReferenceValuesTest(chex.TestCase):
    @pytest.fixture(autouse=True)
    def _load(self, shared):
        self.cases = oracles.load(shared, "05_losses")

    @chex.all_variants
    def test_single_precision(self):
        oracles.check(self.cases, CASES, variant=self.variant)

    def test_double_precision(self):
        with jax.enable_x64(True):
            oracles.check(self.cases, CASES, dtype="float64")


# --- naive loops ----------------------------------------------------------------------------------


def naive_softmax(row):
    return [math.exp(value) / sum(math.exp(v) for v in row) for value in row]


def naive_categorical(d, logits):
    result = np.full(len(d), math.log(logits.shape[1]))
    for b, k in np.ndindex(d.shape):
        result[b] += d[b, k] * math.log(naive_softmax(logits[b])[k])
    return result


def naive_gaussian(c, mean, log_var):
    result = np.full(len(c), c.shape[1] * math.log(2.0))  # the entropy of U(-1, 1)^n
    for b, i in np.ndindex(c.shape):
        variance = math.exp(log_var[b, i])
        density = math.exp(-((c[b, i] - mean[b, i]) ** 2) / (2 * variance))
        result[b] += math.log(density / math.sqrt(2 * math.pi * variance))
    return result


def naive_agreement(logits_a, logits_b):
    batch, size = logits_a.shape
    result, mean = 0.0, np.zeros(size)
    for row_a, row_b in zip(logits_a, logits_b, strict=True):
        a, b = naive_softmax(row_a), naive_softmax(row_b)
        result += math.log(sum(a[k] * b[k] for k in range(size))) / batch
        for k in range(size):
            mean[k] += (a[k] + b[k]) / (2 * batch)
    return result - 2.0 * sum(p * math.log(p) for p in mean)


def gaussian_lower_bound(c, mean, log_var):
    entropy = information.uniform_entropy(-1.0, 1.0, c.shape[-1])
    return information.gaussian_lower_bound(c, Gaussian(mean, log_var), entropy)


NAIVE = {
    "categorical_lower_bound": (
        functools.partial(information.categorical_lower_bound, CODES),
        functools.partial(naive_categorical, CODES),
        RANDOM[:1],
    ),
    "gaussian_lower_bound": (gaussian_lower_bound, naive_gaussian, RANDOM),
    "reconstruction_lower_bound": (
        information.reconstruction_lower_bound,
        lambda z, z_hat: np.sum(stats.norm.logpdf(z, z_hat) - stats.norm.logpdf(z), axis=-1),
        RANDOM[:2],
    ),
    "agreement": (
        functools.partial(information.agreement, balance=2.0),
        naive_agreement,
        3 * RANDOM[:2],
    ),
}


class NaiveLoopsTest(chex.TestCase):
    @chex.all_variants
    def test_values_and_gradients(self):
        oracles.check_naive(self.variant, NAIVE)


# --- properties of the lower bounds ---------------------------------------------------------------


def normal_prior_bound(c, mean, variance):
    """Mean bound under c ~ N(0, 1), of q = N(mean, variance)."""
    q = Gaussian(mean, jnp.full_like(mean, math.log(variance)))
    bound = information.gaussian_lower_bound(c, q, information.normal_entropy(1))
    return jnp.mean(bound)


def test_bound_of_correlated_gaussians():
    # x = rho c + sqrt(1 - rho^2) noise: I(c; x) = -ln(1 - rho^2) / 2, c|x ~ N(rho x, 1 - rho^2).
    rho = 0.8
    c, noise = np.random.default_rng(0).normal(size=(2, 20000, 1)).astype(np.float32)
    x = rho * c + math.sqrt(1 - rho**2) * noise
    exact = normal_prior_bound(c, rho * x, 1 - rho**2)
    np.testing.assert_allclose(exact, -0.5 * math.log(1 - rho**2), atol=0.02)
    ignorant = normal_prior_bound(c, 0 * x, 1.0)
    np.testing.assert_allclose(ignorant, 0.0, atol=0.02)


def test_bound_of_a_guess_is_zero():
    bound = information.categorical_lower_bound(CODES, np.ones((6, 5), np.float32))
    np.testing.assert_allclose(bound, np.zeros(6), atol=1e-6)


def test_entropies():
    assert information.uniform_entropy(-1.0, 1.0, 3) == pytest.approx(3 * math.log(2))
    assert information.uniform_entropy(0.0, 1.0, 7) == 0
    assert information.normal_entropy(2) == pytest.approx(1 + math.log(2 * math.pi))
    assert information.categorical_entropy(10) == pytest.approx(math.log(10))
    for low, high in ((1.0, 1.0), (2.0, 1.0)):
        with pytest.raises(ValueError, match=f"low < high, not {low} and {high}"):
            information.uniform_entropy(low, high, 3)


def test_axes_before_the_last_are_examples():
    c, mean, log_var = np.reshape(RANDOM, (3, 2, 3, -1))
    oracles.check_leading_axes(gaussian_lower_bound, c, mean, log_var)
    oracles.check_leading_axes(information.reconstruction_lower_bound, c, mean)
    d, logits = np.reshape(CODES, (2, 3, -1)), np.reshape(RANDOM[0], (2, 3, -1))
    oracles.check_leading_axes(information.categorical_lower_bound, d, logits)


def test_extreme_predictions_stay_finite():
    def everything(d, logits, c, raw):
        collapsed = Gaussian(0 * c, 2 * raw)
        return (
            information.categorical_lower_bound(d, logits)
            + gaussian_lower_bound(c, *gaussian.from_softplus(0 * c, raw))
            + gaussian_lower_bound(c, *jax.tree.map(lambda x: -jnp.abs(x), collapsed))
        )

    logits = np.array([[1e4, 0, -1e4], [-1e4, 0, 1e4], [-1e4, -1e4, -1e4]])
    oracles.check_finite(everything, np.eye(3), logits, np.ones((3, 3)), logits)


# --- properties of the agreement ------------------------------------------------------------------

ONE_HOT = 2e4 * np.tile(np.eye(5), (3, 1)) - 1e4  # balanced, +-1e4

agreement = functools.partial(information.agreement, balance=3.0)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (ONE_HOT, 3 * math.log(5)),  # agreeing, certain and balanced: the maximum
        (0 * ONE_HOT, 3 * math.log(5) - math.log(5)),
        # Both classes of a contradicting pair are as unlikely: ln(2 exp(-2e4)).
        (ONE_HOT[:, [1, 2, 3, 4, 0]], 3 * math.log(5) + math.log(2) - 2e4),
    ],
)
def test_agreement_of_certain_views_is_exact_and_finite(other, expected):
    np.testing.assert_allclose(agreement(ONE_HOT, other), expected, rtol=1e-6)
    oracles.check_finite(agreement, ONE_HOT, other)


def test_one_class_for_all_agrees_but_earns_nothing():
    collapsed = np.tile(2e4 * np.eye(5)[2] - 1e4, (15, 1))
    np.testing.assert_allclose(agreement(collapsed, collapsed), 0.0, atol=1e-6)
