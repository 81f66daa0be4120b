"""Bounds on mutual information against reference values, naive loops and closed forms."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from absl.testing import parameterized

from ivg.distributions import Gaussian, gaussian
from ivg.losses import information

RANDOM = np.random.default_rng(0).normal(size=(3, 6, 4))


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
    @parameterized.parameters(*CASES)
    def test_single_precision(self, name):
        oracles.check(self.cases[name], self.variant(CASES[name]))

    @parameterized.parameters(*CASES)
    def test_double_precision(self, name):
        oracles.check_float64(self.cases[name], CASES[name])


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


def naive_invariant_information(logits_a, logits_b):
    batch, size = logits_a.shape
    joint = np.zeros((size, size))
    for row_a, row_b in zip(logits_a, logits_b, strict=True):
        a, b = naive_softmax(row_a), naive_softmax(row_b)
        for i in range(size):
            for j in range(size):
                joint[i, j] += (a[i] * b[j] + a[j] * b[i]) / (2 * batch)
    rows, columns = joint.sum(1), joint.sum(0)
    cells = [(i, j) for i in range(size) for j in range(size) if joint[i, j] > 0]
    return sum(joint[i, j] * math.log(joint[i, j] / (rows[i] * columns[j])) for i, j in cells)


def gaussian_lower_bound(c, mean, log_var):
    entropy = information.uniform_entropy(-1.0, 1.0, 4)
    return information.gaussian_lower_bound(c, Gaussian(mean, log_var), entropy)


NAIVE = {
    "categorical_lower_bound": (
        functools.partial(
            information.categorical_lower_bound, np.eye(4, dtype=np.float32)[[0, 1, 1, 2, 3, 0]]
        ),
        functools.partial(naive_categorical, np.eye(4)[[0, 1, 1, 2, 3, 0]]),
        RANDOM[:1],
    ),
    "gaussian_lower_bound": (gaussian_lower_bound, naive_gaussian, RANDOM),
    "invariant_information": (
        information.invariant_information,
        naive_invariant_information,
        3 * RANDOM[:2],
    ),
}


class NaiveLoopsTest(chex.TestCase):
    @chex.all_variants
    @parameterized.parameters(*NAIVE)
    def test_value_and_gradients(self, name):
        oracles.check_naive(self.variant, *NAIVE[name])


# --- properties of the lower bounds ---------------------------------------------------------------


def test_bound_is_tight_for_the_true_posterior_of_correlated_gaussians():
    # x = rho c + sqrt(1 - rho^2) noise: I(c; x) = -ln(1 - rho^2) / 2, c|x ~ N(rho x, 1 - rho^2).
    rho = 0.8
    c, noise = jax.random.normal(jax.random.key(0), (2, 20000, 1))
    x = rho * c + math.sqrt(1 - rho**2) * noise
    q = Gaussian(rho * x, jnp.full_like(x, math.log(1 - rho**2)))
    bound = information.gaussian_lower_bound(c, q, information.normal_entropy(1))
    np.testing.assert_allclose(jnp.mean(bound), -0.5 * math.log(1 - rho**2), atol=0.02)


def test_bound_of_a_posterior_that_ignores_the_image_is_zero():
    d = jnp.eye(4)
    bound = information.categorical_lower_bound(d, jnp.ones((4, 4)))
    np.testing.assert_allclose(bound, np.zeros(4), atol=1e-6)
    c = jax.random.normal(jax.random.key(0), (20000, 1))
    q = Gaussian(jnp.zeros_like(c), jnp.zeros_like(c))
    bound = information.gaussian_lower_bound(c, q, information.normal_entropy(1))
    np.testing.assert_allclose(jnp.mean(bound), 0.0, atol=0.02)


def test_entropies():
    assert information.uniform_entropy(-1.0, 1.0, 3) == pytest.approx(3 * math.log(2))
    assert information.uniform_entropy(0.0, 1.0, 7) == 0
    assert information.normal_entropy(2) == pytest.approx(1 + math.log(2 * math.pi))
    assert information.categorical_entropy(10) == pytest.approx(math.log(10))


def test_extreme_predictions_stay_finite():
    logits = np.array([[1e4, 0, -1e4], [-1e4, 0, 1e4], [-1e4, -1e4, -1e4]])
    oracles.check_finite(information.categorical_lower_bound, np.eye(3), logits)
    oracles.check_finite(
        gaussian_lower_bound, np.ones((2, 4)), -np.ones((2, 4)), np.full((2, 4), -2e4)
    )
    q = jax.jit(lambda c, raw: gaussian_lower_bound(c, *gaussian.from_softplus(0 * c, raw)))
    for raw in (-1e4, 1e4):
        oracles.check_finite(q, np.ones((2, 4)), np.full((2, 4), raw))


# --- properties of the invariant information ------------------------------------------------------

ONE_HOT = 2e4 * np.tile(np.eye(5), (3, 1)) - 1e4  # balanced, +-1e4


class InvariantInformationTest(chex.TestCase):
    @chex.all_variants
    def test_agreeing_balanced_certain_views_share_ln_k(self):
        actual = self.variant(information.invariant_information)(ONE_HOT, ONE_HOT)
        np.testing.assert_allclose(actual, math.log(5), rtol=1e-6)


def test_views_that_agree_up_to_swapped_names_share_the_same():
    # Symmetrised, a swap of two names is as certain as the identity.
    swapped = ONE_HOT[:, [1, 0, 2, 3, 4]]
    actual = information.invariant_information(ONE_HOT, swapped)
    np.testing.assert_allclose(actual, math.log(5), rtol=1e-6)


@pytest.mark.parametrize("constant", [np.zeros(5), 1e4 * np.eye(5)[2], -1e4 * np.ones(5)])
def test_views_that_say_nothing_share_nothing(constant):
    nothing = np.tile(constant, (15, 1))
    for other in (nothing, ONE_HOT) if constant[0] == constant[2] else (nothing,):
        actual = information.invariant_information(nothing, other)
        np.testing.assert_allclose(actual, 0.0, atol=1e-6)


def test_independent_certain_views_share_nothing():
    a, b = np.divmod(np.arange(25), 5)  # every pair once
    identity = 2e4 * np.eye(5) - 1e4
    actual = information.invariant_information(identity[a], identity[b])
    np.testing.assert_allclose(actual, 0.0, atol=1e-6)


def test_invariant_information_is_symmetric():
    a, b = jnp.asarray(RANDOM[:2])
    there, back = information.invariant_information(a, b), information.invariant_information(b, a)
    np.testing.assert_allclose(there, back, rtol=1e-6)
    assert there.shape == ()


@pytest.mark.parametrize(
    "views", [(ONE_HOT, ONE_HOT), (ONE_HOT, ONE_HOT[::-1]), (0 * ONE_HOT, ONE_HOT)]
)
def test_invariant_information_has_finite_gradients(views):
    oracles.check_finite(information.invariant_information, *views)
