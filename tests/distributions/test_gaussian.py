"""Gaussians against reference values, naive loops and closed forms."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ivg.distributions import Gaussian, gaussian

RANDOM = np.random.default_rng(0).normal(size=(4, 6, 4))


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
    def test_single_precision(self):
        oracles.check(self.cases, CASES, variant=self.variant)

    def test_double_precision(self):
        with jax.enable_x64(True):
            oracles.check(self.cases, CASES, dtype="float64")


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
    def test_values_and_gradients(self):
        oracles.check_naive(self.variant, NAIVE)


# --- properties -----------------------------------------------------------------------------------


def test_kl_to_itself_is_zero():
    mean, log_var = np.ones((3, 2), np.float32), np.float32([[-2e4] * 2, [0.0] * 2, [7.0] * 2])
    np.testing.assert_array_equal(jax.jit(kl)(mean, log_var, mean, log_var), np.zeros(3))


def test_kl_of_close_gaussians_keeps_its_digits():
    # About delta^2 / 4, a few units of the rounding of exp(delta) - 1 - delta.
    delta = np.float32(1e-3)
    mean, log_var = np.zeros((1, 1), np.float32), np.full((1, 1), delta)
    expected = 0.5 * (math.expm1(delta) - float(delta))
    np.testing.assert_allclose(jax.jit(kl_standard)(mean, log_var), [expected], rtol=1e-3)
    np.testing.assert_allclose(jax.jit(kl)(mean, log_var, mean, mean), [expected], rtol=1e-3)


def test_softplus_keeps_its_exact_logarithm():
    def log_var(raw):
        return gaussian.from_softplus(jnp.zeros_like(raw), raw).log_var

    left, middle, right = np.array([-1e4, -100.0, -36.0]), np.array([-20.0, 0.0, 20.0]), [1e4]
    raw = np.concatenate([left, middle, right]).astype(np.float32)
    value, (slope,) = jax.jit(oracles.value_and_gradients(log_var))(raw)
    softplus = np.log1p(np.exp(middle))
    expected = [*(2 * left), *(2 * np.log(softplus)), 2 * np.log(1e4)]
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    expected = [2, 2, 2, *(2 / (1 + np.exp(-middle)) / softplus), 2 / 1e4]
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


def test_collapsed_gaussians_stay_finite():
    ones = np.ones((3, 2))
    small = np.array([[-2e4], [-100.0], [-40.0]]) * np.ones(2)
    oracles.check_finite(log_prob, 100 * ones, -ones, small)
    for q_log_var, p_log_var in ((small, 0 * ones), (0 * ones, small), (small, small[::-1])):
        oracles.check_finite(kl, ones, q_log_var, -ones, p_log_var)
    oracles.check_finite(kl_standard, ones, small)


def test_extreme_raw_outputs_stay_finite():
    def objective(mean, raw):
        q = gaussian.from_softplus(mean, raw)
        x = gaussian.sample(jax.random.key(0), q)
        return gaussian.kl_standard(q) + gaussian.log_prob(x, q)

    oracles.check_finite(objective, np.ones((2, 2)), np.array([[-1e4, 1e4], [0.0, -1e4]]))


def test_collapsed_posterior_is_widened_again():
    collapsed = np.full((1, 2), -2e4, np.float32)
    _, (_, gradient) = jax.jit(oracles.value_and_gradients(kl_standard))(0 * collapsed, collapsed)
    np.testing.assert_array_equal(gradient, np.full((1, 2), -0.5))


def test_samples_have_the_right_moments():
    mean, log_var = np.float32([[3.0, -1.0]]), 2 * np.log(np.float32([[0.5, 2.0]]))
    q = Gaussian(np.repeat(mean, 20000, 0), np.repeat(log_var, 20000, 0))
    x = jax.jit(gaussian.sample)(jax.random.key(1), q)
    np.testing.assert_allclose(np.mean(x, axis=0), [3.0, -1.0], atol=0.05)
    np.testing.assert_allclose(np.std(x, axis=0), [0.5, 2.0], rtol=0.03)


def test_samples_carry_the_gradient_of_the_reparameterisation():
    def sample(mean, log_var):
        return gaussian.sample(jax.random.key(2), Gaussian(mean, log_var))

    mean, log_var = np.float32([[1.0, -2.0]]), np.float32([[0.5, -1.0]])
    x, (mean_slope, log_var_slope) = jax.jit(oracles.value_and_gradients(sample))(mean, log_var)
    np.testing.assert_array_equal(mean_slope, np.ones((1, 2)))
    np.testing.assert_allclose(log_var_slope, 0.5 * (x - mean), rtol=1e-5)  # std * noise / 2


def test_shapes_that_would_broadcast_are_refused():
    q = Gaussian(jnp.zeros((4, 2)), jnp.zeros((4, 2)))
    with pytest.raises(AssertionError):
        gaussian.log_prob(jnp.zeros((1, 2)), q)


def test_axes_before_the_last_are_examples():
    q_mean, q_log_var, p_mean, p_log_var = np.reshape(RANDOM, (4, 2, 3, 4))
    oracles.check_leading_axes(log_prob, q_mean, p_mean, p_log_var)
    oracles.check_leading_axes(gaussian.standard_log_prob, q_mean)
    oracles.check_leading_axes(kl, q_mean, q_log_var, p_mean, p_log_var)
    oracles.check_leading_axes(kl_standard, q_mean, q_log_var)


def test_precision_is_that_of_the_arguments():
    def sample(mean, log_var):
        return gaussian.sample(jax.random.key(0), Gaussian(mean, log_var))

    oracles.check_precision(sample, *RANDOM[:2])
    oracles.check_precision(log_prob, *RANDOM[:3])
    oracles.check_precision(kl, *RANDOM)
    oracles.check_precision(kl_standard, *RANDOM[:2])
    oracles.check_precision(gaussian.from_softplus, *RANDOM[:2])
