"""Relaxed Bernoulli variables against naive code, limits and frequencies."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ivg.distributions import bernoulli

NOISE, LOGITS = np.random.default_rng(0).normal(size=(2, 6, 4))
relaxed_sample = jax.jit(bernoulli.relaxed_sample)


def naive_entropy(logits):
    p = 1 / (1 + np.exp(-logits))
    return -p * np.log(p) - (1 - p) * np.log(1 - p)


def naive_relaxed(noise, logits):
    return -np.log(1 + np.exp(-(noise + logits) / 0.5))


NAIVE = {
    "entropy": (bernoulli.entropy, naive_entropy, (LOGITS,)),
    "relaxed_log_sample": (
        lambda noise, logits: bernoulli.relaxed_log_sample_from_noise(noise, logits, 0.5),
        naive_relaxed,
        (NOISE, LOGITS),
    ),
}


class NaiveLoopsTest(chex.TestCase):
    @chex.all_variants
    def test_values_and_gradients(self):
        oracles.check_naive(self.variant, NAIVE)


def test_extreme_logits_stay_finite():
    logits = [-1e4, -50.0, 0.0, 50.0, 1e4]
    oracles.check_finite(bernoulli.entropy, logits)
    key = jax.random.key(0)
    oracles.check_finite(lambda a: bernoulli.relaxed_log_sample(key, a, 0.1), logits)
    entropies = bernoulli.entropy(jnp.asarray(logits))
    np.testing.assert_allclose(entropies, [0, 0, math.log(2), 0, 0], atol=1e-6)


def test_logistic_noise_is_finite_at_the_ends():
    noise = bernoulli.logistic(jnp.asarray([0.0, 0.5, 1.0]))
    expected = [-126 * math.log(2), 0.0, 24 * math.log(2)]
    np.testing.assert_allclose(noise, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_rounded_samples_are_exact(temperature):
    logits = np.tile(np.float32([-2.0, 0.0, 1.0]), (20_000, 1))
    sample = np.asarray(relaxed_sample(jax.random.key(0), logits, temperature))
    assert sample.min() >= 0 and sample.max() <= 1
    np.testing.assert_allclose((sample > 0.5).mean(0), 1 / (1 + np.exp(-logits[0])), atol=0.012)
    between = ((sample > 0.05) & (sample < 0.95)).mean()
    assert between < 0.2 if temperature == 0.1 else between > 0.8


def test_precision_is_that_of_the_arguments():
    def sample(logits):
        return bernoulli.relaxed_sample(jax.random.key(0), logits, 0.5)

    oracles.check_precision(sample, LOGITS)
    oracles.check_precision(bernoulli.entropy, LOGITS)
