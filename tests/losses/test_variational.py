"""Likelihoods and the evidence lower bound against reference values, naive loops, closed forms."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ivg.losses import variational

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 2, 2, 1))  # two batches of three 2x2 images
GREY = np.random.default_rng(1).uniform(0.1, 0.9, size=(3, 2, 2, 1))


# --- reference values -----------------------------------------------------------------------------


def gaussian_fixed_sd(a):
    per_sample = variational.gaussian_log_likelihood(a["x"], a["mu"], a["sd"])
    return {"expected_per_sample": per_sample, "sum_dims_mean_batch": jnp.mean(per_sample)}


def bernoulli(a):
    per_sample = variational.bernoulli_log_likelihood(a["targets"], a["logits"])
    return {"expected_per_sample": per_sample, "sum_dims_mean_batch": jnp.mean(per_sample)}


def bernoulli_extreme(a):
    """A list of pixels: a batch of images of none but the batch axis."""
    loss = functools.partial(variational.bernoulli_log_likelihood, a["targets"])
    return {
        "expected_per_element": loss(a["logits"]),
        "expected_grad_logits_of_sum": jax.grad(lambda x: jnp.sum(loss(x)))(a["logits"]),
        "sum": jnp.sum(loss(a["logits"])),
    }


CASES = {
    "gaussian_log_likelihood_fixed_sd": gaussian_fixed_sd,
    "bernoulli_log_likelihood": bernoulli,
    "bernoulli_log_likelihood_grey": bernoulli,
    "bernoulli_log_likelihood_extreme": bernoulli_extreme,
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


def summed(pixel):
    """Sum of `pixel(x, y)` over the pixels of each image, in a loop."""

    def function(x, y):
        result = np.zeros(len(x))
        for index in np.ndindex(x.shape):
            result[index[0]] += pixel(x[index], y[index])
        return result

    return function


def normal_log_density(std, x, mean):
    density = math.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))
    return math.log(density)


def bernoulli_log_density(x, logit):
    p = 1 / (1 + math.exp(-logit))
    return x * math.log(p) + (1 - x) * math.log(1 - p)


def elbo(log_likelihood, kl_z, kl_c, kl_d):
    parts = variational.ElboParts(log_likelihood, kl_z, kl_c, kl_d)
    return variational.elbo(parts, weight_z=2.0, weight_c=0.5, weight_d=0.001)


NAIVE = {
    "gaussian_log_likelihood": (
        variational.gaussian_log_likelihood,
        summed(functools.partial(normal_log_density, 1.0)),
        IMAGES,
    ),
    "gaussian_log_likelihood, std 0.5": (
        functools.partial(variational.gaussian_log_likelihood, std=0.5),
        summed(functools.partial(normal_log_density, 0.5)),
        IMAGES,
    ),
    "gaussian_log_likelihood, learnt std": (
        variational.gaussian_log_likelihood,
        lambda x, mean, std: summed(functools.partial(normal_log_density, float(std)))(x, mean),
        (*IMAGES, 0.7),
    ),
    "bernoulli_log_likelihood": (
        variational.bernoulli_log_likelihood,
        summed(bernoulli_log_density),
        (GREY, IMAGES[0]),
    ),
    "squared_error": (
        variational.squared_error,
        summed(lambda x, x_hat: 0.5 * (x - x_hat) ** 2),
        IMAGES,
    ),
    "elbo": (
        elbo,
        lambda x, z, c, d: np.array([x[b] - 2 * z[b] - c[b] / 2 - d[b] / 1000 for b in range(6)]),
        np.random.default_rng(2).normal(size=(4, 6)),
    ),
}


class NaiveLoopsTest(chex.TestCase):
    @chex.all_variants
    def test_values_and_gradients(self):
        oracles.check_naive(self.variant, NAIVE)


# --- properties -----------------------------------------------------------------------------------


def test_squared_error_is_a_unit_gaussian_without_its_constant():
    x, x_hat = IMAGES.astype(np.float32)
    constant = 4 / 2 * math.log(2 * math.pi)  # four pixels
    expected = -variational.gaussian_log_likelihood(x, x_hat) - constant
    np.testing.assert_allclose(variational.squared_error(x, x_hat), expected, rtol=1e-4)


def test_perfect_and_hopeless_logits():
    x, logits = np.float32([[1.0, 0.0], [0.0, 1.0]]), np.float32([[1e4, -1e4], [1e4, -1e4]])
    actual = variational.bernoulli_log_likelihood(x, logits)
    np.testing.assert_array_equal(actual, [0.0, -2e4])


def test_confident_pixels_keep_their_digits():
    # log sigmoid(15) = -3.06e-7, which x * logit - softplus(logit) would round to 0 or 9.5e-7.
    x, logits = np.float32([[1.0, 1.0], [0.0, 0.0]]), np.float32([[15.0, 15.0], [-15.0, -15.0]])
    actual = variational.bernoulli_log_likelihood(x, logits)
    np.testing.assert_allclose(actual, np.full(2, -2 * math.log1p(math.exp(-15))), rtol=1e-5)


def test_extreme_inputs_stay_finite():
    x = np.array([[0.0], [0.5], [1.0]]) * np.ones(3)
    logits = np.tile([1e4, -1e4, 0.0], (3, 1))
    oracles.check_finite(variational.bernoulli_log_likelihood, x, logits)
    oracles.check_finite(variational.gaussian_log_likelihood, x, logits, 1e-6)
    oracles.check_finite(variational.squared_error, x, logits)


def test_terms_that_a_method_lacks_are_zero():
    ones = np.ones(6, np.float32)
    parts = variational.ElboParts(log_likelihood=ones, kl_z=ones, kl_c=0.0, kl_d=0.0)
    np.testing.assert_array_equal(variational.elbo(parts, weight_z=3.0), np.full(6, -2.0))


def test_every_divergence_counts_once_unless_weighted():
    parts = variational.ElboParts(*np.float32([[-1.0], [10.0], [200.0], [3000.0]]))
    np.testing.assert_array_equal(variational.elbo(parts), [-3211.0])


def test_images_of_bytes_do_not_wrap():
    x, x_hat = np.uint8([[0, 3], [255, 1]]), np.uint8([[1, 0], [0, 1]])
    np.testing.assert_array_equal(variational.squared_error(x, x_hat), [5.0, 255**2 / 2])
    found = variational.gaussian_log_likelihood(x, x_hat)
    expected = [2 * normal_log_density(1.0, 0.0, 0.0) - n for n in (5.0, 255**2 / 2)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_precision_is_that_of_the_images():
    oracles.check_precision(variational.squared_error, *IMAGES)
    oracles.check_precision(variational.gaussian_log_likelihood, *IMAGES)
    oracles.check_precision(variational.bernoulli_log_likelihood, GREY, IMAGES[0])
