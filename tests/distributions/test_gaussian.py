"""Gaussians against reference values, naive loops and closed forms."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from absl.testing import parameterized

from ivg.distributions import Gaussian, gaussian

RANDOM = np.random.default_rng(0).normal(size=(4, 5, 3))


# --- reference values -----------------------------------------------------------------------------


def kl_gaussians(a):
    q, p = Gaussian(a["mu1"], a["logvar1"]), Gaussian(a["mu2"], a["logvar2"])
    per_sample = gaussian.kl(q, p)
    elements = jax.tree.map(lambda x: x[..., None], (q, p))  # events of one coordinate
    return {
        "expected_per_element": gaussian.kl(*elements),
        "expected_per_sample": per_sample,
        "sum_dims_mean_batch": jnp.mean(per_sample),
        "sum_all": jnp.sum(per_sample),
    }


def kl_standard_normal(a):
    q = Gaussian(a["mu"], a["logvar"])
    gradient = jax.grad(lambda q: jnp.mean(gaussian.kl_standard(q)))(q)
    per_sample = gaussian.kl_standard(q)
    return {
        "expected_per_sample": per_sample,
        "expected_grad_mu_of_mean": gradient.mean,
        "expected_grad_logvar_of_mean": gradient.log_var,
        "sum_dims_mean_batch": jnp.mean(per_sample),
        "sum_all": jnp.sum(per_sample),
    }


def kl_standard_normal_zero(a):
    q = Gaussian(a["mu"], a["logvar"])
    return {"sum_dims_mean_batch": jnp.mean(gaussian.kl_standard(q))}


def gaussian_log_likelihood(a):
    per_sample = gaussian.log_prob(a["x"], Gaussian(a["mu"], a["logvar"]))
    return {"expected_per_sample": per_sample, "sum_dims_mean_batch": jnp.mean(per_sample)}


CASES = {
    function.__name__: function
    for function in (
        kl_gaussians,
        kl_standard_normal,
        kl_standard_normal_zero,
        gaussian_log_likelihood,
    )
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


def naive_log_prob(x, mean, log_var):
    result = np.zeros(len(x))
    for b, i in np.ndindex(x.shape):
        variance = math.exp(log_var[b, i])
        density = math.exp(-((x[b, i] - mean[b, i]) ** 2) / (2 * variance))
        result[b] += math.log(density / math.sqrt(2 * math.pi * variance))
    return result


def naive_kl(q_mean, q_log_var, p_mean, p_log_var):
    result = np.zeros(len(q_mean))
    for b, i in np.ndindex(q_mean.shape):
        q_var, p_var = math.exp(q_log_var[b, i]), math.exp(p_log_var[b, i])
        distance = (q_mean[b, i] - p_mean[b, i]) ** 2
        result[b] += 0.5 * (math.log(p_var / q_var) + (q_var + distance) / p_var - 1)
    return result


def naive_softplus_std(x, mean, raw):
    return naive_log_prob(x, mean, 2 * np.log(np.log1p(np.exp(raw))))


def log_prob(x, mean, log_var):
    return gaussian.log_prob(x, Gaussian(mean, log_var))


def kl(q_mean, q_log_var, p_mean, p_log_var):
    return gaussian.kl(Gaussian(q_mean, q_log_var), Gaussian(p_mean, p_log_var))


def kl_standard(mean, log_var):
    return gaussian.kl_standard(Gaussian(mean, log_var))


def softplus_std(x, mean, raw):
    return gaussian.log_prob(x, gaussian.from_softplus(mean, raw))


NAIVE = {
    "log_prob": (log_prob, naive_log_prob, RANDOM[:3]),
    "standard_log_prob": (
        gaussian.standard_log_prob,
        lambda x: naive_log_prob(x, np.zeros_like(x), np.zeros_like(x)),
        RANDOM[:1],
    ),
    "kl": (kl, naive_kl, RANDOM),
    "kl_standard": (
        kl_standard,
        lambda mean, log_var: naive_kl(mean, log_var, np.zeros_like(mean), np.zeros_like(mean)),
        RANDOM[:2],
    ),
    "from_softplus": (softplus_std, naive_softplus_std, RANDOM[:3]),
}


class NaiveLoopsTest(chex.TestCase):
    @chex.all_variants
    @parameterized.parameters(*NAIVE)
    def test_value_and_gradients(self, name):
        oracles.check_naive(self.variant, *NAIVE[name])


# --- properties -----------------------------------------------------------------------------------


@pytest.mark.parametrize("std", [1e-8, 1.0, 30.0])
def test_kl_to_itself_is_zero(std):
    q = Gaussian(jnp.ones((2, 3)), jnp.full((2, 3), 2 * math.log(std)))
    np.testing.assert_array_equal(gaussian.kl(q, q), np.zeros(2))


def test_kl_of_close_gaussians_keeps_its_digits():
    delta = 1e-3  # KL = delta^2 / 4 + O(delta^3), below the rounding of exp(delta) - 1 - delta
    actual = kl_standard(jnp.zeros((1, 1)), jnp.full((1, 1), delta))
    np.testing.assert_allclose(actual, 0.5 * (math.expm1(delta) - delta), rtol=1e-3)


@pytest.mark.parametrize("raw", [-1e4, -100.0, -36.0, -20.0, 0.0, 20.0, 1e4])
def test_softplus_keeps_its_exact_logarithm(raw):
    def log_var(raw):
        return gaussian.from_softplus(jnp.zeros_like(raw), raw).log_var

    value, (gradient,) = oracles.value_and_gradients(log_var)(jnp.full((1, 1), raw))
    softplus = math.log1p(math.exp(raw)) if -700 < raw < 100 else max(raw, math.exp(-700))
    expected = 2 * raw if raw < -100 else 2 * math.log(softplus)
    np.testing.assert_allclose(value, [[expected]], rtol=1e-6)
    # d/draw 2 log softplus = 2 sigmoid / softplus: 2 on the left, 2 / raw on the right.
    slope = 2.0 if raw <= -36 else 2 / (1 + math.exp(-min(raw, 100))) / softplus
    np.testing.assert_allclose(gradient, [[slope]], rtol=1e-5)


@pytest.mark.parametrize("log_var", [-2e4, -100.0, -40.0])
def test_collapsed_gaussians_stay_finite(log_var):
    ones, small = np.ones((2, 3)), np.full((2, 3), log_var)
    oracles.check_finite(log_prob, 100 * ones, -ones, small)
    oracles.check_finite(kl, ones, small, -ones, 0 * ones)
    oracles.check_finite(kl, ones, 0 * ones, -ones, small)
    oracles.check_finite(kl_standard, ones, small)


@pytest.mark.parametrize("raw", [-1e4, 1e4])
def test_extreme_raw_outputs_stay_finite(raw):
    def objective(mean, raw):
        q = gaussian.from_softplus(mean, raw)
        x = gaussian.sample(jax.random.key(0), q)
        return gaussian.kl_standard(q) + gaussian.log_prob(x, q)

    oracles.check_finite(objective, np.ones((2, 3)), np.full((2, 3), raw))


def test_collapsed_posterior_is_widened_again():
    gradient = jax.grad(lambda log_var: kl_standard(0 * log_var, log_var).sum())(
        jnp.full((1, 2), -2e4)
    )
    np.testing.assert_array_equal(gradient, np.full((1, 2), -0.5))


class SampleTest(chex.TestCase):
    @chex.all_variants
    def test_moments(self):
        q = Gaussian(jnp.full((20000, 2), 3.0), jnp.full((20000, 2), math.log(0.25)))
        x = self.variant(gaussian.sample)(jax.random.key(1), q)
        np.testing.assert_allclose(np.mean(x, axis=0), [3.0, 3.0], atol=0.02)
        np.testing.assert_allclose(np.std(x, axis=0), [0.5, 0.5], atol=0.02)


def test_samples_carry_the_gradient_of_the_reparameterisation():
    q = Gaussian(jnp.asarray([[1.0, -2.0]]), jnp.asarray([[0.5, -1.0]]))
    key = jax.random.key(2)
    noise = (gaussian.sample(key, q) - q.mean) / jnp.exp(0.5 * q.log_var)
    gradient = jax.grad(lambda q: gaussian.sample(key, q).sum())(q)
    np.testing.assert_array_equal(gradient.mean, np.ones((1, 2)))
    np.testing.assert_allclose(gradient.log_var, 0.5 * jnp.exp(0.5 * q.log_var) * noise, rtol=1e-5)


def test_shapes_that_would_broadcast_are_refused():
    q = Gaussian(jnp.zeros((4, 2)), jnp.zeros((4, 2)))
    with pytest.raises(AssertionError):
        gaussian.log_prob(jnp.zeros((1, 2)), q)
