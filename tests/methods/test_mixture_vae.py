"""The mixture autoencoder on tiny images: the tests of every method, and its equation."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ivg import checkpoint, devices
from ivg import networks as net
from ivg.dispatch import make_dispatch
from ivg.distributions import dirichlet
from ivg.errors import UserError
from ivg.losses import independence
from ivg.methods import METHODS, mixture_vae

SHAPE, BATCH, N, D = (4, 4, 1), 8, 3, 2
RATE = 0.01
WEIGHTS = dict(kl_weight=0.7, kl_weight_w=0.4, dhsic_weight=2.0, dropout_weight=3.0)
PLAYERS = "EGP"
same = chex.assert_trees_all_equal


def make(**options):
    # The first step of it is the plain gradient's, so that one compiled step serves all tests.
    tx = dict.fromkeys(PLAYERS, optax.sgd(RATE, momentum=0.9))
    sizes = dict(network=dict(name="mlp", width=16), num_components=N, dim_z=D)
    make = METHODS["mixture_vae"]
    return make(image_shape=SHAPE, batch_size=BATCH, tx=tx, **(sizes | options))


def quick(f):
    """Jitted and compiled fast: these networks are tiny, compilation is all that costs."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def images(seed=0):
    x = np.random.default_rng(seed).uniform(-1, 1, (1, BATCH, *SHAPE))
    return jnp.asarray(x, jnp.float32)


@functools.cache
def played():
    """A method, its step compiled, its start, its state after one step and that step's metrics."""
    method = make(**WEIGHTS)
    start = quick(method.init)(jax.random.key(0))
    step = quick(method.step)
    after, metrics = step(start, images(), jax.random.fold_in(jax.random.key(3), 0))
    return method, step, start, after, metrics


def test_steps_on_a_fixed_batch_lower_the_objective():
    _, step, start, state, first = played()
    for _ in range(150):
        state, last = step(state, images(), jax.random.fold_in(jax.random.key(3), 0))
    assert all(np.isfinite(v) for v in last.values())
    assert last["E/loss"] < first["E/loss"] - 2
    assert last["G/log_likelihood"] > first["G/log_likelihood"]
    for player in PLAYERS:
        before, later = getattr(start, player).params, getattr(state, player).params
        leaves = zip(jax.tree.leaves(before), jax.tree.leaves(later), strict=True)
        assert all(np.any(a != b) for a, b in leaves), player
    assert int(state.t) == 151


def test_one_dispatch_on_four_devices_equals_three_on_one():
    method, step, start, _, _ = played()
    data = np.random.default_rng(1).integers(0, 256, (20, *SHAPE)).astype(np.uint8)
    index = np.random.default_rng(2).integers(0, len(data), (3, 1, BATCH))
    dispatch = make_dispatch(method.step, lambda images, batch, key: (images[batch], key))
    root, mesh = jax.random.key(3), devices.make_mesh(4)
    with jax.set_mesh(mesh):
        arguments = devices.place_state((start, data, jnp.int32(0), root), mesh)
        state, images, first, key = arguments
        batches = devices.place_batches(index, mesh)
        together = jax.device_get(dispatch(state, images, batches, first, key))
    alone, rows = start, []
    for i in range(3):
        x = jnp.asarray(data[index[i]], jnp.float32) / 127.5 - 1.0
        alone, row = step(alone, x, jax.random.fold_in(root, i))
        rows.append(row)
    state, metrics = together
    chex.assert_trees_all_close(state, jax.device_get(alone), rtol=5e-4, atol=5e-5)
    for term in rows[0]:
        expected = [row[term] for row in rows]
        np.testing.assert_allclose(metrics[term], expected, rtol=1e-3, atol=1e-4)


def test_a_restored_state_goes_on_bit_for_bit(tmp_path):
    method, step, start, after, _ = played()
    checkpoint.save(tmp_path, 1, after, keep=1)
    abstract = jax.tree.map(
        lambda a, like: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=like.sharding),
        jax.eval_shape(method.init, jax.random.key(0)),
        start,
    )
    _, restored = checkpoint.restore(tmp_path, abstract)
    same(restored, after)
    restored = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), restored)  # spares a compilation
    same(*(step(s, images(), jax.random.key(2))[0] for s in (after, restored)))


def naive_kl_w(a):
    """KL(Dir(a) || Dir(1/n)), [B], from its definition."""
    value = jax.scipy.special.gammaln(a.sum(-1)) - jax.scipy.special.gammaln(a).sum(-1)
    value += N * math.lgamma(1 / N)
    psi = jax.scipy.special.digamma
    return value + ((a - 1 / N) * (psi(a) - psi(a.sum(-1, keepdims=True)))).sum(-1)


def test_a_step_is_the_objective_at_the_old_parameters():
    _, _, s, after, parts = played()
    x, key = images()[0], jax.random.fold_in(jax.random.key(3), 0)
    z_key, w_key, drop_key = jax.random.split(key, 3)
    family = net.mixture_family("mlp", width=16)
    E, G = family.encoders(N, (D, D, 1)), family.decoder(N, SHAPE)
    noise = jax.random.normal(z_key, (N, BATCH, D))
    u = jax.random.uniform(drop_key, (BATCH, N))

    def objective(phi, theta, level):
        mean, raw, score = E.infer(phi, {}, x)
        std, a = jnp.log(1 + jnp.exp(raw)), jnp.log(1 + jnp.exp(score[..., 0].T)) + 1e-3
        z = mean + std * noise
        kept = jax.nn.sigmoid((jnp.log(u / (1 - u)) - level) / 0.1)
        w = dirichlet.sample(w_key, a) * kept
        p = jax.nn.sigmoid(G.infer(theta, s.G.stats, z, w / w.sum(-1, keepdims=True)))
        y = (x + 1) / 2
        log_p = jnp.sum(y * jnp.log(p) + (1 - y) * jnp.log(1 - p), (1, 2, 3))
        kl = 0.5 * jnp.sum(mean**2 + std**2 - 1 - 2 * jnp.log(std), -1)  # [N, B]
        loss = jnp.mean(-log_p + 0.7 * kl.mean(0) + 0.4 / N * naive_kl_w(a))
        p = 1 / (1 + jnp.exp(-level))
        penalty = p * jnp.log(p) + (1 - p) * jnp.log(1 - p)
        return loss + 2 * independence.dhsic(z) + 3 * penalty

    level = s.P.params["dropped_logit"]
    value, grads = quick(jax.value_and_grad(objective, (0, 1, 2)))(s.E.params, s.G.params, level)
    np.testing.assert_allclose(parts["E/loss"], value, rtol=1e-4)
    g_phi, g_theta, g_level = grads
    gradients = (g_phi, g_theta, {"dropped_logit": g_level})
    for player, gradient in zip(PLAYERS, gradients, strict=True):
        before, later = getattr(s, player).params, getattr(after, player).params
        moved = jax.tree.map(lambda p, q: (p - q) / RATE, before, later)
        chex.assert_trees_all_close(moved, gradient, rtol=2e-3, atol=2e-3)


def test_scores_learn_through_the_samples():
    """Without any weight on the divergence of w, the gradient still reaches the scores."""
    _, _, start, _, _ = played()
    concentration = jnp.asarray([[1.0, 0.5, 2.0]])

    def reconstruction(a):
        return dirichlet.sample(jax.random.key(0), a)[0, 0]

    assert np.all(np.abs(quick(jax.grad(reconstruction))(concentration)) > 1e-3)
    assert start.E.params["Dense_4"]["kernel"].shape == (N, 16, 1)  # the scores' head


def test_codes_in_and_out():
    method, _, _, state, _ = played()
    codes = quick(lambda s, k: method.prior(s, k, 6))(state, jax.random.key(0))
    sizes = {name: (6, code.size) for name, code in method.codes.items()}
    assert {n: c.shape for n, c in codes.items()} == sizes == {"d": (6, N), "z": (6, N * D)}
    np.testing.assert_allclose(codes["d"].sum(-1), np.ones(6), rtol=1e-5)
    generate = quick(method.generate)
    x_g = generate(state, codes)
    chex.assert_shape(x_g, (6, *SHAPE))
    assert np.abs(x_g).max() <= 1
    found, rates = quick(lambda s, x: (method.encode(s, x), method.rates(s, x)))(state, x_g)
    assert {n: c.shape for n, c in found.items()} == sizes
    np.testing.assert_allclose(found["d"].sum(-1), np.ones(6), rtol=1e-5)
    chex.assert_shape(rates, (6, N * D))
    # With one component, only its own dimensions say anything: they stand side by side.
    one = codes | {"d": jnp.tile(jnp.asarray([[0.0, 1.0, 0.0]]), (6, 1))}
    other = one | {"z": one["z"].at[:, :D].add(1.0).at[:, 2 * D :].add(1.0)}
    np.testing.assert_array_equal(generate(state, one), generate(state, other))
    own = one | {"z": one["z"].at[:, D].add(1.0)}
    assert np.abs(generate(state, one) - generate(state, own)).max() > 1e-4


def test_the_bound_is_the_sum_of_its_parts():
    method, _, _, state, _ = played()
    x = images()[0]
    parts, rates, info = quick(
        lambda s, x: (
            method.log_likelihood(s, x, jax.random.key(0)),
            method.rates(s, x),
            method.bounds(s, jax.random.key(1), 5)["info_lower"],
        )
    )(state, x)
    assert all(v.shape == (BATCH,) for v in parts.values()) and info.shape == (5,)
    divergence = parts["kl_z"] + parts["kl_w"]
    np.testing.assert_allclose(parts["bound"], parts["log_likelihood"] - divergence, rtol=1e-5)
    np.testing.assert_allclose(parts["kl_z"], rates.sum(-1), rtol=1e-4)
    assert np.min(parts["kl_w"]) >= 0
    # E is in the same state, so w's divergence is the closed form of its own scores.
    q = mixture_vae.posterior(method.encode.args[0], state, x).w
    np.testing.assert_allclose(parts["kl_w"], naive_kl_w(q), rtol=1e-3, atol=1e-4)


def test_dropouts():
    log_w = jnp.log(jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(N), 4_000), jnp.float32))
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
    after, parts = jax.eval_shape(method.step, state, images(), jax.random.key(0))
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
