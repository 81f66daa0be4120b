"""Dirichlet distributions against naive sums, scipy and numerical integrals."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
from scipy import special, stats

from ivg.distributions import dirichlet

rng = np.random.default_rng(0)
Q, P = rng.gamma(2.0, 1.0, (2, 6, 4)) + 0.1
log_sample = jax.jit(dirichlet.log_sample)


def naive_kl(q, p):
    result = np.zeros(len(q))
    for b in range(len(q)):
        result[b] = special.loggamma(q[b].sum()) - special.loggamma(p[b].sum())
        for k in range(q.shape[1]):
            result[b] += special.loggamma(p[b, k]) - special.loggamma(q[b, k])
            mean_log = special.psi(q[b, k]) - special.psi(q[b].sum())
            result[b] += (q[b, k] - p[b, k]) * mean_log
    return result


class NaiveLoopsTest(chex.TestCase):
    @chex.all_variants
    def test_values_and_gradients(self):
        oracles.check_naive(self.variant, {"kl": (dirichlet.kl, naive_kl, (Q, P))})


def test_divergence_is_the_mean_log_ratio():
    q, p = [2.0, 0.7, 1.3], [0.5, 0.5, 2.0]
    w = stats.dirichlet(q).rvs(100_000, random_state=0).T
    ratio = stats.dirichlet(q).logpdf(w) - stats.dirichlet(p).logpdf(w)
    actual = dirichlet.kl(jnp.asarray([q]), jnp.asarray([p]))
    np.testing.assert_allclose(actual, [ratio.mean()], rtol=0.02)
    np.testing.assert_allclose(dirichlet.kl(jnp.asarray(Q), jnp.asarray(Q)), np.zeros(6), atol=1e-6)


def test_samples_have_the_moments():
    q = np.float32([0.2, 1.0, 3.0])
    w = np.exp(log_sample(jax.random.key(0), np.tile(q, (20_000, 1))))
    np.testing.assert_allclose(w.sum(-1), np.ones(len(w)), rtol=1e-5)
    exact = stats.dirichlet(q)
    np.testing.assert_allclose(w.mean(0), exact.mean(), atol=0.005)
    np.testing.assert_allclose(w.var(0), exact.var(), atol=0.003)
    np.testing.assert_allclose(dirichlet.mean(q[None])[0], exact.mean(), rtol=1e-6)


def test_gradient_through_samples_is_that_of_the_moment():
    """d E[w_0^2] / d q, estimated through samples: the weights learn (not the divergence alone)."""

    def second_moment(q):
        w = dirichlet.sample(jax.random.key(1), jnp.broadcast_to(q, (20_000, 3)))
        return jnp.mean(w[:, 0] ** 2)

    q = jnp.asarray([0.6, 1.0, 2.0])
    actual = jax.jit(jax.grad(second_moment))(q)
    exact = jax.grad(lambda q: q[0] * (q[0] + 1) / (q.sum() * (q.sum() + 1)))(q)
    np.testing.assert_allclose(actual, exact, atol=0.004)
    assert np.abs(exact).min() > 0.02


def test_tiny_concentrations_stay_finite():
    def everything(q):
        log_w = dirichlet.log_sample(jax.random.key(2), q)
        return jnp.sum(jnp.exp(log_w) ** 2, -1) + dirichlet.kl(q, jnp.full_like(q, 0.1))

    oracles.check_finite(everything, [[1e-3, 1e-3, 1e-3], [1e-3, 50.0, 1.0], [1e3, 1e3, 0.1]])


def test_axes_before_the_last_are_examples():
    q, p = np.reshape(Q, (2, 3, 4)), np.reshape(P, (2, 3, 4))
    oracles.check_leading_axes(dirichlet.kl, q, p)
    oracles.check_leading_axes(dirichlet.mean, q)


def test_means_of_every_example():
    expected = [stats.dirichlet(row).mean() for row in Q]
    np.testing.assert_allclose(dirichlet.mean(jnp.float32(Q)), expected, rtol=1e-5)
