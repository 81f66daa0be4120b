"""The mixture autoencoder on tiny images: the tests of every method, and its equation."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from promises import (
    BATCH,
    codes_fit,
    images,
    moves,
    play,
    quick,
    repeated,
    restored_goes_on,
    steps_agree,
)

from ivg import networks as net
from ivg.distributions import dirichlet
from ivg.errors import UserError
from ivg.losses import independence
from ivg.methods import METHODS, mixture_vae

SHAPE, N, D = (4, 4, 1), 3, 2
RATE, KEY = 0.01, jax.random.key(3)
X = images(shape=SHAPE)
WEIGHTS = dict(kl_weight=0.7, kl_weight_w=0.4, dhsic_weight=2.0, dropout_weight=3.0)
PLAYERS = "EGP"


def make(**options):
    # The first step of it is the plain gradient's, so that one compiled step serves all tests.
    tx = dict.fromkeys(PLAYERS, optax.sgd(RATE, momentum=0.9))
    sizes = dict(network=dict(name="mlp", width=16), num_components=N, dim_z=D)
    make = METHODS["mixture_vae"]
    return make(image_shape=SHAPE, batch_size=BATCH, tx=tx, **(sizes | options))


@functools.cache
def played():
    return play(make(**WEIGHTS), X, KEY)


def test_steps_on_a_fixed_batch_lower_the_objective():
    state, last = repeated(played(), X, KEY, 150)
    first = played().metrics
    assert last["E/loss"] < first["E/loss"] - 2
    assert last["G/log_likelihood"] > first["G/log_likelihood"]
    moves(played().start, state, PLAYERS)


def test_one_dispatch_on_four_devices_equals_three_steps_on_one():
    steps_agree(played(), shape=SHAPE, rtol=5e-4, atol=5e-5)


def test_a_restored_state_goes_on_bit_for_bit(tmp_path):
    restored_goes_on(played(), X, tmp_path)


def naive_kl_w(a):
    """KL(Dir(a) || Dir(1/n)), [B], from its definition."""
    value = jax.scipy.special.gammaln(a.sum(-1)) - jax.scipy.special.gammaln(a).sum(-1)
    value += N * math.lgamma(1 / N)
    psi = jax.scipy.special.digamma
    return value + ((a - 1 / N) * (psi(a) - psi(a.sum(-1, keepdims=True)))).sum(-1)


def test_a_step_is_the_objective_at_the_old_parameters():
    _, _, s, after, parts = played()
    x = X[0]
    family = net.mixture_family("mlp", width=16)
    E, G = family.encoders(N, (D, D, 1)), family.decoder(N, SHAPE)

    def objective(phi, theta, level, shift):
        z_key, w_key, drop_key = jax.random.split(KEY, 3)
        noise = jax.random.normal(z_key, (N, BATCH, D))
        u = jax.random.uniform(drop_key, (BATCH, N))
        mean, raw, score = E.infer(phi, {}, x)
        std, a = jnp.log(1 + jnp.exp(raw)), jnp.log(1 + jnp.exp(score[..., 0].T)) + 1e-3
        z = mean + std * noise
        kept = jax.nn.sigmoid((jnp.log(u / (1 - u)) - level) / 0.1)
        w = dirichlet.sample(w_key, a + shift) * kept
        p = jax.nn.sigmoid(G.infer(theta, s.G.stats, z, w / w.sum(-1, keepdims=True)))
        y = (x + 1) / 2
        log_p = jnp.sum(y * jnp.log(p) + (1 - y) * jnp.log(1 - p), (1, 2, 3))
        kl = 0.5 * jnp.sum(mean**2 + std**2 - 1 - 2 * jnp.log(std), -1)  # [N, B]
        loss = jnp.mean(-log_p + 0.7 * kl.mean(0) + 0.4 / N * naive_kl_w(a))
        p = 1 / (1 + jnp.exp(-level))
        penalty = p * jnp.log(p) + (1 - p) * jnp.log(1 - p)
        return loss + 2 * independence.dhsic(z) + 3 * penalty

    level, none = s.P.params["dropped_logit"], np.zeros((BATCH, N), np.float32)
    slopes = quick(jax.value_and_grad(objective, (0, 1, 2, 3)))
    value, grads = slopes(s.E.params, s.G.params, level, none)
    np.testing.assert_allclose(parts["E/loss"], value, rtol=1e-4)
    g_phi, g_theta, g_level, g_samples = grads
    gradients = (g_phi, g_theta, {"dropped_logit": g_level})
    for player, gradient in zip(PLAYERS, gradients, strict=True):
        before, later = getattr(s, player).params, getattr(after, player).params
        moved = jax.tree.map(lambda p, q: (np.asarray(p) - np.asarray(q)) / RATE, before, later)
        chex.assert_trees_all_close(moved, gradient, rtol=2e-3, atol=2e-3)
    # The scores learn through the samples too, not through the divergence of w alone.
    assert np.all(np.abs(g_samples).max(axis=0) > 1e-2)
    assert s.E.params["Dense_4"]["kernel"].shape == (N, 16, 1)  # the scores' head


def test_codes_in_and_out():
    method, _, _, state, _ = played()
    assert {n: code.size for n, code in method.codes.items()} == {"d": N, "z": N * D}
    codes, x_g, found = codes_fit(method, state)
    for some in (codes, found):
        np.testing.assert_allclose(some["d"].sum(-1), np.ones(5), rtol=1e-5)
    generate = quick(method.generate)
    # With one component, only its own dimensions say anything: they stand side by side.
    one = codes | {"d": np.tile(np.float32([0, 1, 0]), (5, 1))}
    own, others = np.float32([[0, 0, 1, 0, 0, 0]]), np.float32([[1, 1, 0, 0, 1, 1]])
    image = generate(state, one)
    np.testing.assert_array_equal(image, generate(state, one | {"z": one["z"] + others}))
    assert np.abs(image - generate(state, one | {"z": one["z"] + own})).max() > 1e-4


def test_the_bound_is_the_sum_of_its_parts():
    method, _, _, state, _ = played()
    parts, rates, info, kl_w = quick(
        lambda s, x: (
            method.log_likelihood(s, x, jax.random.key(0)),
            method.rates(s, x),
            method.bounds(s, jax.random.key(1), 5)["info_lower"],
            naive_kl_w(mixture_vae.posterior(method.encode.args[0], s, x).w),
        )
    )(state, X[0])
    assert all(v.shape == (BATCH,) for v in parts.values()) and info.shape == (5,)
    assert rates.shape == (BATCH, N * D)
    divergence = parts["kl_z"] + parts["kl_w"]
    np.testing.assert_allclose(parts["bound"], parts["log_likelihood"] - divergence, rtol=1e-5)
    np.testing.assert_allclose(parts["kl_z"], np.asarray(rates).sum(-1), rtol=1e-4)
    assert np.min(parts["kl_w"]) >= 0
    # E is in the same state, so w's divergence is the closed form of its own scores.
    np.testing.assert_allclose(parts["kl_w"], kl_w, rtol=1e-3, atol=1e-4)


def test_dropouts():
    log_w = np.float32(np.log(np.random.default_rng(0).dirichlet(np.ones(N), 4_000)))
    key = jax.random.key(0)
    dropped = mixture_vae.bernoulli_dropout(0.1)
    w = np.asarray(quick(dropped.apply)(dropped.init(), key, log_w))
    np.testing.assert_allclose(w.sum(-1), np.ones(len(w)), rtol=1e-5)
    assert abs(np.mean(w < 0.01 * np.exp(log_w)) - 0.1) < 0.05  # one in ten is as good as gone
    noisy = mixture_vae.gaussian_dropout()
    ratio = np.asarray(quick(noisy.apply)(noisy.init(), key, log_w) / np.exp(log_w))
    np.testing.assert_allclose([ratio.mean(), ratio.var()], [1, 0.1 / 0.9], atol=0.02)
    none = mixture_vae.no_dropout()
    np.testing.assert_allclose(none.apply(none.init(), key, log_w), np.exp(log_w), rtol=1e-6)
    # -KL by eq. 14 there; and the formula's error is small where the divergence can be integrated.
    minus = 0.63576 / (1 + math.exp(-1.8732 - 1.48695 * 0.3)) - 0.5 * math.log(1 + math.exp(-0.3))
    actual = mixture_vae.log_uniform_kl(jnp.float32(0.3))
    np.testing.assert_allclose(actual, 0.63576 - minus, rtol=1e-5)
    values = [float(mixture_vae.log_uniform_kl(jnp.float32(a))) for a in (-4.0, -2.0, 0.0, 2.0)]
    exact = [_log_uniform_kl(math.exp(a)) for a in (-4.0, -2.0, 0.0, 2.0)]
    np.testing.assert_allclose(np.diff(values), np.diff(exact), atol=0.02)


def _log_uniform_kl(alpha):
    """-H(N(1, alpha)) + E ln|1 + sqrt(alpha) e|, nats, but for a constant."""
    grid = (np.arange(-8_000, 8_000) + 0.5) / 1_000
    density = np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi) / 1_000
    logs = np.log(np.abs(1 + math.sqrt(alpha) * grid))
    return float(np.sum(density * logs)) - 0.5 * math.log(alpha)


def test_without_dropout_its_player_is_empty():
    method = make(dropout="none")
    state = jax.eval_shape(method.init, jax.random.key(0))
    assert state.P.params == {}
    after, parts = jax.eval_shape(method.step, state, X, KEY)
    assert after == state and parts["P/penalty"].shape == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(num_components=1), "no mixture; use at least 2"),
        (dict(temperature=0.0), "temperature=0.0 must be positive"),
        (dict(dropout="alpha"), 'no dropout "alpha"; use bernoulli, gaussian, none'),
        (dict(likelihood="poisson"), 'no likelihood "poisson"'),
        (dict(network=dict(name="dlib64")), "no network family"),
        (dict(network=dict(name="mixture64")), "image_size=64"),
    ],
)
def test_clear_errors(options, words):
    with pytest.raises(UserError, match=words):
        make(**options)
