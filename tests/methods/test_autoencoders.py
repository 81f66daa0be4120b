"""VAE, FactorVAE, beta-TCVAE and DIP-VAE on tiny images: the tests of every method, the bounds."""

import functools
import math

import chex
import jax
import numpy as np
import pytest
from small_autoencoders import (
    BATCH,
    DIM,
    KEY,
    SHAPE,
    begin,
    build,
    decoded,
    encoded,
    images,
    make,
    params,
    quick,
)

from ivg import checkpoint, devices
from ivg.dispatch import make_dispatch, reader
from ivg.errors import UserError
from ivg.methods import vae

NAMES = ("vae", "factorvae", "beta_tcvae", "dip_vae")
every_method = pytest.mark.parametrize("name", NAMES)
same = chex.assert_trees_all_equal
close = functools.partial(chex.assert_trees_all_close, rtol=1e-4, atol=2e-5)


@functools.cache
def played(name):
    """A method, its first step compiled, its start and its state after one step."""
    method, state = make(name), begin(name)
    return method, quick(method.step), state, *quick(method.step)(state, images(method), KEY)


# ---- the five tests ------------------------------------------------------------------------------


def objective(metrics):
    kept = ("E/kl", "E/covariance_penalty")
    return sum(metrics[k] for k in kept if k in metrics) - metrics["G/log_likelihood"]


@every_method
def test_steps_on_a_fixed_batch_lower_the_objective(name):
    method, step, state, _, first = played(name)
    for _ in range(80):
        state, last = step(state, images(method), KEY)  # the same noise every time
    assert all(np.isfinite(v) for v in last.values())
    assert objective(last) < objective(first) - 1.0, (first, last)
    assert last["G/log_likelihood"] > first["G/log_likelihood"] + 1.0
    assert int(state.t) == 80


@every_method
def test_a_step_moves_all_players(name):
    _, _, start, after, _ = played(name)
    for player, before in params(start).items():
        leaves = zip(jax.tree.leaves(before), jax.tree.leaves(params(after)[player]), strict=True)
        assert all(np.any(a != b) for a, b in leaves), player


@every_method
def test_one_device_equals_four(name):
    method, step, start, _, _ = played(name)
    mesh = devices.make_mesh(4)
    with jax.set_mesh(mesh):
        state = devices.place_state(jax.device_get(start), mesh)
        sharding = jax.sharding.NamedSharding(mesh, jax.P(None, devices.AXIS))
        split = jax.jit(method.step)
        for i in range(2):
            x = jax.device_put(images(method, i), sharding)
            state, metrics = split(state, x, jax.random.key(i))
    alone = start
    for i in range(2):
        alone, expected = step(alone, images(method, i), jax.random.key(i))
    results = [jax.device_get((params(s), m)) for s, m in ((state, metrics), (alone, expected))]
    chex.assert_trees_all_close(*results, rtol=5e-4, atol=5e-5)


@every_method
def test_k_steps_in_a_dispatch_equal_k_dispatches(name):
    method, step, start, _, _ = played(name)
    data = np.random.default_rng(1).integers(0, 256, (20, *SHAPE)).astype(np.uint8)
    n = method.phases[0].num_batches
    index = np.random.default_rng(2).integers(0, 20, (3, n, BATCH))
    dispatch = make_dispatch(method.step, reader(data))
    key = jax.random.key(3)
    together, metrics = dispatch(jax.device_get(start), data, index, 0, key)
    alone = start
    for i in range(3):
        x = data[index[i]].astype(np.float32) / 127.5 - 1
        alone, row = step(alone, x, jax.random.fold_in(key, i))
        for term, value in row.items():
            np.testing.assert_allclose(metrics[term][i], value, rtol=1e-3, atol=1e-4)
    close(together, alone)


@every_method
def test_a_restored_state_goes_on_bit_for_bit(name, tmp_path):
    method, step, start, after, _ = played(name)
    checkpoint.save(tmp_path, 1, after, keep=1)
    abstract = jax.eval_shape(method.init, jax.random.key(0))
    abstract = jax.tree.map(
        lambda a, like: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=like.sharding),
        abstract,
        start,
    )
    _, restored = checkpoint.restore(tmp_path, abstract)
    same(restored, after)
    on, went_on = (step(s, images(method), jax.random.key(2))[0] for s in (after, restored))
    same(on, went_on)


# ---- codes, bounds -------------------------------------------------------------------------------


@functools.cache
def trained():
    """The state of a VAE whose posteriors are no longer its prior."""
    method, step, state, _, _ = played("vae")
    for _ in range(20):
        state, _ = step(state, images(method), KEY)
    return state


@every_method
def test_codes_are_those_of_the_vae(name):
    method = make(name)
    assert {n: (c.kind, c.size) for n, c in method.codes.items()} == {"z": ("continuous", DIM)}
    for part in ("encode", "generate", "prior", "log_likelihood", "bounds", "rates"):
        assert getattr(method, part).func is getattr(vae, part)


def test_codes_in_and_out():
    method, s = make("vae"), trained()
    codes = method.prior(s, jax.random.key(0), 5)
    assert {n: c.shape for n, c in codes.items()} == {"z": (5, DIM)}
    x = quick(method.generate)(s, {"z": 100 * codes["z"]})
    chex.assert_shape(x, (5, *SHAPE))
    assert 0.9 < np.abs(x).max() <= 1
    found = quick(method.encode)(s, x)
    assert {n: c.shape for n, c in found.items()} == {"z": (5, DIM)}
    np.testing.assert_allclose(found["z"], encoded(s.E.params, x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_log_likelihood_is_the_naive_one(likelihood):
    method, s = make("vae", likelihood=likelihood), trained()
    x, key = images(method)[0], jax.random.key(4)
    found = quick(method.log_likelihood)(s, x, key)
    mean, log_var = (np.float64(a) for a in encoded(s.E.params, x))
    noise = np.asarray(jax.random.normal(key, mean.shape))
    z = np.float32(mean + np.exp(log_var / 2) * noise)
    out = np.float64(decoded(s.G.params, z))
    for b in range(BATCH):
        log_p = kl = 0.0
        for pixel, value in zip(np.float64(x[b]).ravel(), out[b].ravel(), strict=True):
            if likelihood == "bernoulli":
                p, grey = 1 / (1 + math.exp(-value)), (pixel + 1) / 2
                log_p += grey * math.log(p) + (1 - grey) * math.log(1 - p)
            else:
                log_p += -0.5 * (pixel - math.tanh(value)) ** 2 - 0.5 * math.log(2 * math.pi)
        for m, v in zip(mean[b], np.exp(log_var[b]), strict=True):
            kl += 0.5 * (m**2 + v - 1 - math.log(v))
        expected = {"log_likelihood": log_p, "kl_z": kl, "bound": log_p - kl}
        for term, value in expected.items():
            np.testing.assert_allclose(found[term][b], value, rtol=1e-4, err_msg=term)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_generated_images_are_the_likelihoods_means(likelihood):
    method, s = make("vae", likelihood=likelihood), trained()
    z = np.random.default_rng(0).normal(size=(BATCH, DIM)).astype(np.float32)
    out = decoded(s.G.params, z)
    expected = 2 / (1 + np.exp(-out)) - 1 if likelihood == "bernoulli" else np.tanh(out)
    np.testing.assert_allclose(quick(method.generate)(s, {"z": z}), expected, rtol=1e-4, atol=1e-6)


def test_rates_and_bounds():
    method, s = make("vae"), trained()
    x = images(method)[0]
    mean, log_var = encoded(s.E.params, x)
    rates = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var)
    np.testing.assert_allclose(quick(method.rates)(s, x), rates, rtol=1e-4, atol=1e-6)
    assert rates.max() > 0.05
    key = jax.random.key(5)
    codes = method.prior(s, key, BATCH)
    mean, log_var = encoded(s.E.params, np.tanh(decoded(s.G.params, codes["z"]) / 2))
    squared = (codes["z"] - mean) ** 2 / np.exp(log_var)
    log_q = -0.5 * np.sum(squared + log_var + math.log(2 * math.pi), axis=1)
    entropy = 0.5 * DIM * math.log(2 * math.pi * math.e)
    found = quick(functools.partial(method.bounds, n=BATCH))(s, key)["info_lower"]
    np.testing.assert_allclose(found, log_q + entropy, rtol=1e-4, atol=1e-5)


# ---- what a user gets wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("vae", dict(likelihood="poisson"), 'no likelihood "poisson"; use bernoulli or gaussian'),
        ("vae", dict(network=dict(name="infogan28")), "no network family"),
        ("vae", dict(network=dict(name="dlib64")), "image_size=64"),
        ("factorvae", dict(permuted="third"), 'permuted="third" is not a choice of factorvae'),
        ("beta_tcvae", dict(estimator="exact"), 'estimator="exact" is not a choice of beta_tcvae'),
        ("dip_vae", dict(variant="iii"), 'variant="iii" is not a choice of dip_vae'),
    ],
)
def test_clear_errors(name, options, words):
    with pytest.raises(UserError, match=words):
        build(name, **options)
