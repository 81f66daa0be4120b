"""Categoricals and the Gumbel-softmax against reference values, naive loops and closed forms."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ivg.distributions import categorical

RANDOM = np.random.default_rng(0).normal(size=(2, 6, 5))
ONE_HOT = np.eye(5)[[0, 1, 2, 3, 4, 0]]
SIMPLEX = np.exp(RANDOM[0]) / np.exp(RANDOM[0]).sum(-1, keepdims=True)


# --- reference values -----------------------------------------------------------------------------


def kl_uniform(a):
    per_sample = categorical.kl_uniform(a["logits"])
    return {"expected_per_sample": per_sample, "mean": jnp.mean(per_sample)}


def gumbel_softmax(temperature):
    def outputs(a):
        noise = categorical.gumbel(a["uniform"])
        sample = categorical.gumbel_softmax_from_noise(noise, a["logits"], temperature)
        return {
            "expected_gumbel": noise,
            "expected_sample": sample,
            "expected_hard": jax.nn.one_hot(jnp.argmax(sample, -1), sample.shape[-1]),
            "first_row": sample[0],
        }

    return outputs


CASES = {
    "kl_categorical_uniform": kl_uniform,
    "kl_categorical_uniform_extreme": kl_uniform,
    "gumbel_softmax_t1": gumbel_softmax(1.0),
    "gumbel_softmax_warm": gumbel_softmax(0.5),
    "gumbel_softmax_cold": gumbel_softmax(0.05),
    "gumbel_softmax_hot": gumbel_softmax(20.0),
    "gumbel_softmax_edge_u": gumbel_softmax(0.5),
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


def naive_probs(logits):
    return [math.exp(value) / sum(math.exp(v) for v in logits) for value in logits]


def naive_log_prob(d, logits):
    result = np.zeros(len(d))
    for b, k in np.ndindex(d.shape):
        result[b] += d[b, k] * math.log(naive_probs(logits[b])[k])
    return result


def naive_entropy(logits):
    return np.array([-sum(p * math.log(p) for p in naive_probs(row)) for row in logits])


def naive_gumbel_softmax(noise, logits):
    rows = [naive_probs((g + row) / 0.5) for g, row in zip(noise, logits, strict=True)]
    return np.array([sum(p**2 for p in row) for row in rows])


def squared_gumbel_softmax(noise, logits):
    """Squared, since the plain sum of a softmax has no gradient."""
    sample = categorical.gumbel_softmax_from_noise(noise, logits, 0.5)
    return jnp.sum(jnp.square(sample), axis=-1)


NAIVE = {
    "log_prob of one-hot": (
        functools.partial(categorical.log_prob, ONE_HOT),
        functools.partial(naive_log_prob, ONE_HOT),
        RANDOM[:1],
    ),
    "log_prob of soft": (categorical.log_prob, naive_log_prob, (SIMPLEX, RANDOM[1])),
    "entropy": (categorical.entropy, naive_entropy, RANDOM[:1]),
    "kl_uniform": (
        categorical.kl_uniform,
        lambda logits: math.log(5) - naive_entropy(logits),
        RANDOM[:1],
    ),
    "gumbel_softmax": (squared_gumbel_softmax, naive_gumbel_softmax, RANDOM),
}


class NaiveLoopsTest(chex.TestCase):
    @chex.all_variants
    def test_values_and_gradients(self):
        oracles.check_naive(self.variant, NAIVE)


# --- properties -----------------------------------------------------------------------------------


def test_entropy_of_certain_and_of_uniform():
    logits = np.float32([[1e4, 0.0, 0.0, -1e4], [7.0, 7.0, 7.0, 7.0]])
    np.testing.assert_allclose(categorical.entropy(logits), [0.0, math.log(4)], atol=1e-6)
    np.testing.assert_allclose(categorical.kl_uniform(logits), [math.log(4), 0.0], atol=1e-6)


def test_extreme_logits_stay_finite():
    def everything(d, logits):
        entropies = categorical.entropy(logits) + categorical.kl_uniform(logits)
        return categorical.log_prob(d, logits) + entropies + squared_gumbel_softmax(0 * d, logits)

    logits = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4]])
    oracles.check_finite(everything, np.eye(3), logits)


def test_wrong_class_costs_its_logit():
    actual = categorical.log_prob(np.float32([[0.0, 1.0]]), np.float32([[1e4, -1e4]]))
    np.testing.assert_array_equal(actual, [-2e4])


def test_gumbel_noise_is_finite_at_the_ends():
    noise = categorical.gumbel(jnp.asarray([0.0, 0.5, 1.0]))
    # The smallest normal float32 is 2^-126, the largest below 1 is 1 - 2^-24.
    expected = [-math.log(126 * math.log(2)), -math.log(math.log(2)), 24 * math.log(2)]
    np.testing.assert_allclose(noise, expected, rtol=1e-5)


def test_argmax_of_relaxed_samples_is_an_exact_sample():
    logits = np.tile(np.float32([0.0, 1.0, 2.0]), (20000, 1))
    sample = jax.jit(categorical.gumbel_softmax)(jax.random.key(0), logits, 0.1)
    np.testing.assert_allclose(np.sum(sample, -1), np.ones(20000), rtol=1e-5)
    frequencies = np.bincount(np.argmax(sample, -1)) / 20000
    np.testing.assert_allclose(frequencies, naive_probs([0.0, 1.0, 2.0]), atol=0.015)


def test_codes_of_the_prior_are_one_hot_and_uniform():
    sample = jax.jit(categorical.sample_one_hot, static_argnums=(1, 2))
    d = sample(jax.random.key(0), 20000, 10)
    assert d.shape == (20000, 10)
    np.testing.assert_array_equal(np.sort(d, axis=-1)[:, -2:], np.tile([0.0, 1.0], (20000, 1)))
    np.testing.assert_allclose(np.mean(d, axis=0), np.full(10, 0.1), atol=0.01)


def test_axes_before_the_last_are_examples():
    d, logits = np.reshape(SIMPLEX, (2, 3, 5)), np.reshape(RANDOM[1], (2, 3, 5))
    oracles.check_leading_axes(categorical.log_prob, d, logits)
    oracles.check_leading_axes(categorical.entropy, logits)
    oracles.check_leading_axes(categorical.kl_uniform, logits)


def test_precision_is_that_of_the_arguments():
    def sample(logits):
        return categorical.gumbel_softmax(jax.random.key(0), logits, 0.5)

    oracles.check_precision(sample, RANDOM[1])
    oracles.check_precision(categorical.log_prob, SIMPLEX, RANDOM[1])
    oracles.check_precision(categorical.entropy, RANDOM[1])
