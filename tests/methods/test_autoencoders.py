"""VAE, FactorVAE, beta-TCVAE and DIP-VAE on tiny images: the tests of every method, the bounds."""

import functools
import math

import jax
import numpy as np
import pytest
from promises import (
    BATCH,
    codes_fit,
    moves,
    params,
    play,
    quick,
    repeated,
    restored_goes_on,
    steps_agree,
)
from small_autoencoders import DIM, KEY, begin, build, decoded, encoded, images, make

from ivg.errors import UserError
from ivg.methods import vae

NAMES = ("vae", "factorvae", "beta_tcvae", "dip_vae")
every_method = pytest.mark.parametrize("name", NAMES)


@functools.cache
def played(name):
    return play(make(name), images(make(name)), KEY, start=begin(name))


# ---- the five tests ------------------------------------------------------------------------------


def objective(metrics):
    kept = ("E/kl", "E/covariance_penalty")
    return sum(metrics[k] for k in kept if k in metrics) - metrics["G/log_likelihood"]


@every_method
def test_steps_on_a_fixed_batch_lower_the_objective(name):
    first = played(name).metrics
    _, last = repeated(played(name), images(make(name)), KEY, 80)
    assert objective(last) < objective(first) - 1.0, (first, last)
    assert last["G/log_likelihood"] > first["G/log_likelihood"] + 1.0


@every_method
def test_a_step_moves_all_players(name):
    _, _, start, after, _ = played(name)
    moves(start, after, params(start))


@every_method
def test_one_dispatch_on_four_devices_equals_three_steps_on_one(name):
    steps_agree(played(name))


@every_method
def test_a_restored_state_goes_on_bit_for_bit(name, tmp_path):
    restored_goes_on(played(name), images(make(name)), tmp_path)


# ---- codes, bounds -------------------------------------------------------------------------------


@functools.cache
def trained():
    """The state of a VAE whose posteriors are no longer its prior."""
    return repeated(played("vae"), images(make("vae")), KEY, 20)[0]


@every_method
def test_codes_are_those_of_the_vae(name):
    method = make(name)
    assert {n: (c.kind, c.size) for n, c in method.codes.items()} == {"z": ("continuous", DIM)}
    for part in ("encode", "generate", "prior", "log_likelihood", "bounds", "rates"):
        assert getattr(method, part).func is getattr(vae, part)


def test_codes_in_and_out():
    method, s = make("vae"), trained()
    codes, x, found = codes_fit(method, s)
    np.testing.assert_allclose(found["z"], encoded(s.E.params, x)[0], rtol=1e-5, atol=1e-6)
    far = quick(method.generate)(s, {"z": 100 * codes["z"]})
    assert 0.9 < np.abs(far).max() <= 1


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
    codes = jax.device_get(method.prior(s, key, BATCH))
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
