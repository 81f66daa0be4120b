"""The objectives of VAE, FactorVAE, beta-TCVAE and DIP-VAE, and the steps they make.

Expectations are written out from the papers, apart from the networks and `jax.random`.
"""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from promises import BATCH, descended, params, play, quick, repeated
from small_autoencoders import DECODER, DIM, ENCODER, KEY, SGD, D, begin, images, make

from ivg.methods import vae

same = chex.assert_trees_all_equal
close = functools.partial(chex.assert_trees_all_close, rtol=1e-4, atol=2e-5)


class Naive:
    """-log p(x | z) and its kin from parameters, written out; means over the batch."""

    def __init__(self, phi, theta, x, key):
        self.mean, self.log_var = ENCODER.infer(phi, {}, x)
        noise = jax.random.normal(key, self.mean.shape)
        self.z = self.mean + jnp.exp(self.log_var / 2) * noise
        p, grey = jax.nn.sigmoid(DECODER.infer(theta, {}, self.z)), (x + 1) / 2
        log_p = grey * jnp.log(p) + (1 - grey) * jnp.log(1 - p)
        self.error = -jnp.sum(log_p) / BATCH
        self.variance = jnp.exp(self.log_var)
        self.kl = 0.5 * jnp.sum(self.mean**2 + self.variance - 1 - self.log_var) / BATCH

    def log_q(self):
        """Log q(z_id | x_j), [i, j, d], with its constant."""
        off = (self.z[:, None] - self.mean[None]) ** 2 / self.variance[None]
        return -0.5 * (off + self.log_var[None] + math.log(2 * math.pi))

    def total_correlation(self):
        pairs = jnp.exp(self.log_q())
        joint = jnp.log(jnp.sum(jnp.prod(pairs, axis=2), axis=1))
        return jnp.mean(joint - jnp.sum(jnp.log(jnp.sum(pairs, axis=1)), axis=1))


def check_descent(name, loss, *arguments, t=0, **options):
    """A step of plain descent goes down the gradient of `loss(naive, state, *arguments)` alone.

    Returns the states before and after, and the metrics.
    """
    method, s = make(name, rates=SGD, **options), begin(name, SGD)
    s, x, key = s._replace(t=np.int32(t)), images(method), jax.random.key(5)
    after, parts = quick(method.step)(s, x, key)
    grads = slopes(loss)(s.E.params, s.G.params, s, x[0], key, *arguments)
    for player, grad in zip("EG", grads, strict=True):
        close(params(after)[player], descended(getattr(s, player), grad))
    return s, after, parts


@functools.cache
def slopes(loss):
    def value(phi, theta, s, x, key, *arguments):
        key = jax.random.split(key, 3)[0] if hasattr(s, "D") else key
        return loss(Naive(phi, theta, x, key), s, *arguments)

    return quick(jax.grad(value, (0, 1)))


def test_vae_is_its_objective_with_schedules():
    def loss(n, s, beta, capacity):
        return n.error + beta * jnp.abs(n.kl - capacity)

    schedules = dict(beta=4.0, beta_steps=10, capacity=3.0, capacity_steps=10)
    for t, beta, capacity in ((0, 0.0, 0.0), (5, 2.0, 1.5), (20, 4.0, 3.0)):
        check_descent("vae", loss, beta, capacity, t=t, **schedules)


def test_ramp():
    for t, value in ((0, 0.0), (5, 2.0), (10, 4.0), (99, 4.0)):
        assert vae.ramp(4.0, 10)(t) == value
    assert vae.ramp(4.0, 0)(0) == 4.0


def test_divergence_is_held_at_the_capacity():
    method, state = make("vae", beta=30.0, capacity=2.5), begin("vae")
    for i in range(300):
        state, parts = quick(method.step)(state, images(method), jax.random.key(i))
    assert abs(parts["E/kl"] - 2.5) < 0.3
    each = [parts[f"E/kl_{i:02d}"] for i in (1, 2, 3)]
    np.testing.assert_allclose(sum(each), parts["E/kl"], rtol=1e-5)


def factorvae_loss(n, s):
    p = jax.nn.softmax(D.infer(s.D.params, {}, n.z))
    return n.error + n.kl + 7.0 * jnp.mean(jnp.log(p[:, 0] / p[:, 1]))


def cross_entropies(w, z, z_bar):
    real = jax.nn.softmax(D.infer(w, {}, z))[:, 0]
    product = jax.nn.softmax(D.infer(w, {}, z_bar))[:, 1]
    return -0.5 * jnp.mean(jnp.log(real)) - 0.5 * jnp.mean(jnp.log(product))


DISCRIMINATION = jax.value_and_grad(cross_entropies)


@pytest.mark.parametrize("permuted", ["same", "second"])
def test_factorvae_is_algorithm_2_at_the_old_parameters(permuted):
    """E and G feel D, D feels their codes, and neither moves along the other's gradient."""
    s, after, parts = check_descent("factorvae", factorvae_loss, gamma=7.0, permuted=permuted)
    x = images(make("factorvae", rates=SGD, gamma=7.0, permuted=permuted))
    assert len(x) == (1 if permuted == "same" else 2)
    z, other, z_bar = draw(permuted, s.E.params, x, jax.random.key(5))
    assert not np.allclose(z_bar, other)
    np.testing.assert_array_equal(np.sort(z_bar, axis=0), np.sort(other, axis=0))
    value, g_w = quick(DISCRIMINATION)(s.D.params, z, z_bar)
    close(after.D.params, descended(s.D, g_w))
    np.testing.assert_allclose(parts["D/loss"], value, rtol=1e-5)


def draw(permuted, *arguments):
    """Codes of the first minibatch, those to be permuted, and their permutation."""
    return jax.device_get(quick(functools.partial(_draw, permuted))(*arguments))


def _draw(permuted, phi, x, key):
    def sample(x, key):
        mean, log_var = ENCODER.infer(phi, {}, x)
        return mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape)

    keys = jax.random.split(key, 3)
    z = sample(x[0], keys[0])
    other = z if permuted == "same" else sample(x[1], keys[1])
    return z, other, jax.random.permutation(keys[2], other, independent=True)


def test_factorvaes_discriminator_learns_from_a_frozen_autoencoder():
    method, start = (
        make("factorvae", rates=(0.0, 0.0, 0.3), permuted="same"),
        begin("factorvae", SGD),
    )
    game = play(method, images(method), KEY, start=start)
    state, parts = repeated(game, images(method), KEY, 100)
    same((state.E.params, state.G.params), (start.E.params, start.G.params))
    before = game.metrics
    assert parts["D/loss"] < min(before["D/loss"], math.log(2)) - 0.05
    assert parts["D/accuracy"] > max(before["D/accuracy"], 0.6)
    assert parts["E/total_correlation"] > before["E/total_correlation"]


def sum_of_three(n, s):
    """The paper's, with a data set's size."""
    log_n = math.log(BATCH * 737_280)
    own, pairs = jnp.einsum("iid->i", n.log_q()), jnp.exp(n.log_q())
    joint = jnp.log(jnp.sum(jnp.prod(pairs, axis=2), axis=1)) - log_n
    product = jnp.sum(jnp.log(jnp.sum(pairs, axis=1)) - log_n, axis=1)
    prior = -0.5 * jnp.sum(n.z**2 + math.log(2 * math.pi), axis=1)
    information, marginals = jnp.mean(own - joint), jnp.mean(product - prior)
    return n.error + information + 3.0 * jnp.mean(joint - product) + marginals


def test_beta_tcvae_is_the_papers_sum_of_three_for_any_size_of_the_data():
    check_descent("beta_tcvae", sum_of_three, beta=3.0, estimator="minibatch_weighted")


def only_the_total_correlation(n, s):
    return n.error + n.kl + 2.0 * n.total_correlation()


def test_beta_tcvae_of_disentanglement_lib_estimates_the_total_correlation_only():
    options = dict(beta=3.0, estimator="disentanglement_lib")
    s, _, parts = check_descent("beta_tcvae", only_the_total_correlation, **options)
    x = images(make("vae"))[0]
    value = quick(lambda: Naive(s.E.params, s.G.params, x, jax.random.key(5)).total_correlation())
    of_the_mixture = value() + (DIM - 1) * math.log(BATCH)
    np.testing.assert_allclose(parts["E/total_correlation"], of_the_mixture, rtol=1e-3, atol=1e-4)
    assert parts["E/mutual_information"] <= math.log(BATCH)


@pytest.mark.parametrize("variant", ["i", "ii"])
def test_dip_vae_penalises_the_covariance(variant):
    def loss(n, s):
        c = jnp.cov(n.mean, rowvar=False, bias=True)
        if variant == "ii":
            c += jnp.diag(jnp.mean(n.variance, axis=0))
        pairs = [(i, j) for i in range(DIM) for j in range(DIM) if i != j]
        off = sum(c[i, j] ** 2 for i, j in pairs)
        return n.error + n.kl + 3.0 * off + 0.5 * sum((c[i, i] - 1) ** 2 for i in range(DIM))

    options = dict(variant=variant, weight_off_diagonal=3.0, weight_diagonal=0.5)
    check_descent("dip_vae", loss, **options)
