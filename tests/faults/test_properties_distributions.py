"""Laws of the distributions, and of the random changes of images, on random and broken arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest
import scipy.special
import scipy.stats
from hypothesis import strategies as st
from properties import ROWS, SIZE, array, case, close, one_hots

from ivg import transforms
from ivg.distributions import Gaussian, bernoulli, categorical, dirichlet, gaussian

KEY = jax.random.key(0)
STILL = {"rotation": 0.0, "scale": 0.0, "shear": 0.0, "translation": 0.0}


@pytest.fixture(scope="module")
def attempt(amount):
    return properties.Attempts(amount)


def of_gaussian(function):
    """(mean, log_var) -> function of one Gaussian."""
    return lambda mean, log_var: function(Gaussian(mean, log_var))


def kl(mean, log_var, other_mean, other_log_var):
    return gaussian.kl(Gaussian(mean, log_var), Gaussian(other_mean, other_log_var))


def bilinear(x, px, py):
    """At positions between the pixels of 2x2 images: each pixel counts, none is left out."""
    return transforms.bilinear(x, 0.9 * px[:, None], 0.9 * py[:, None], fill=-1.0)


FIXED = {
    "bernoulli.entropy": case(bernoulli.entropy, "logits"),
    "bernoulli.logistic": case(bernoulli.logistic, "uniform"),
    "bernoulli.relaxed_log_sample_from_noise": case(
        lambda noise, logits: bernoulli.relaxed_log_sample_from_noise(noise, logits, 0.5),
        *("noise", "logits"),
    ),
    "categorical.log_prob": case(categorical.log_prob, "one_hot", "logits"),
    "categorical.entropy": case(categorical.entropy, "logits"),
    "categorical.kl_uniform": case(categorical.kl_uniform, "logits"),
    "categorical.gumbel": case(categorical.gumbel, "uniform"),
    "categorical.gumbel_softmax_from_noise": case(
        lambda noise, logits: categorical.gumbel_softmax_from_noise(noise, logits, 0.5),
        *("noise", "logits"),
    ),
    "dirichlet.mean": case(dirichlet.mean, "concentration"),
    "dirichlet.kl": case(dirichlet.kl, "concentration", "concentration"),
    "gaussian.from_softplus": case(gaussian.from_softplus, "codes", "codes"),
    "gaussian.log_prob": case(
        lambda x, mean, log_var: gaussian.log_prob(x, Gaussian(mean, log_var)),
        *("codes", "codes", "log_var"),
    ),
    "gaussian.standard_log_prob": case(gaussian.standard_log_prob, "codes"),
    "gaussian.kl": case(kl, "codes", "log_var", "codes", "log_var"),
    "gaussian.kl_standard": case(of_gaussian(gaussian.kl_standard), "codes", "log_var"),
    "gaussian.kl_standard_per_dimension": case(
        of_gaussian(gaussian.kl_standard_per_dimension), "codes", "log_var"
    ),
    "transforms.bilinear": case(bilinear, "images", "uniform", "uniform"),
}
# Each row draws noise of its own: rows in another order are other draws.
RANDOM = {
    "bernoulli.relaxed_log_sample": case(
        lambda logits: bernoulli.relaxed_log_sample(KEY, logits, 0.5), "logits"
    ),
    "bernoulli.relaxed_sample": case(
        lambda logits: bernoulli.relaxed_sample(KEY, logits, 0.5), "logits"
    ),
    "categorical.gumbel_softmax": case(
        lambda logits: categorical.gumbel_softmax(KEY, logits, 0.5), "logits"
    ),
    "dirichlet.log_sample": case(lambda c: dirichlet.log_sample(KEY, c), "concentration"),
    "dirichlet.sample": case(lambda c: dirichlet.sample(KEY, c), "concentration"),
    "gaussian.sample": case(of_gaussian(lambda q: gaussian.sample(KEY, q)), "codes", "log_var"),
    "transforms.random_affine": case(
        lambda x: transforms.random_affine(
            KEY, x, rotation=10.0, scale=0.1, shear=0.1, translation=0.5
        ),
        "images",
    ),
}
CASES = FIXED | RANDOM
# Gradients without bound: of the logarithm of noise near 0 and 1.
STEEP = ("bernoulli.logistic", "categorical.gumbel")
# Their noise or positions are computed in float32, or drawn anew for each float type.
IN_FLOAT32 = (*RANDOM, "transforms.bilinear")


def test_every_function_is_tried():
    modules = bernoulli, categorical, dirichlet, gaussian, transforms
    apart = {"categorical.sample_one_hot"}
    assert properties.public_functions(*modules) == set(CASES) | apart


@pytest.mark.parametrize("name", CASES)
def test_laws(attempt, name):
    """Finite in value and gradient, blind to the order of rows, and never silent about NaN."""
    run = properties.compiled(CASES[name])

    def laws(arguments, argument, row):
        if name not in STEEP:
            properties.is_finite(run, arguments)
        assert all(np.isfinite(x).all() for x in run(arguments)[0])
        if name in FIXED and name not in STEEP:
            properties.permutes(run, arguments, per_row=True)
        properties.keeps_nan(run, arguments, argument, row, per_row=True)

    rows = st.integers(0, ROWS - 1)
    attempt(8, 200, laws, arguments=CASES[name].arguments(), argument=st.integers(0, 3), row=rows)


@pytest.mark.parametrize("name", CASES)
def test_layouts_and_dtypes(attempt, amount, name):
    this = CASES[name]
    dtypes = amount([(jnp.bfloat16, 0.1)], [(jnp.bfloat16, 0.1), (jnp.float16, 0.02)])

    def laws(arguments):
        properties.takes_any_layout(this, arguments)
        if name not in IN_FLOAT32 and name not in STEEP:
            for dtype, tolerance in dtypes:
                properties.keeps_dtype(this, arguments, dtype, tolerance)

    attempt(1, 8, laws, arguments=this.arguments())


@pytest.mark.parametrize("name", CASES)
def test_one_row_and_none(attempt, name):
    function = jax.jit(CASES[name].function)

    def one(arguments):
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(function(*arguments)))

    def none(arguments):
        assert all(len(x) == 0 for x in jax.tree.leaves(function(*arguments)))

    attempt(1, 8, one, arguments=CASES[name].arguments(1, 1))
    attempt(1, 1, none, arguments=CASES[name].arguments(0, SIZE))


@pytest.mark.parametrize("name", [n for n in CASES if len(CASES[n].kinds) > 1])
def test_rows_that_do_not_fit_are_refused(attempt, name):
    refuse = properties.refuses_rows_that_do_not_fit
    drawn = CASES[name].arguments()
    attempt(1, 4, lambda arguments: refuse(CASES[name], arguments), arguments=drawn)


# --- categorical and Bernoulli --------------------------------------------------------------------


def test_categorical_probabilities(attempt):
    size = SIZE + 1
    every = jnp.asarray(np.eye(size, dtype=np.float32))
    log_probs = jax.jit(jax.vmap(lambda d, x: categorical.log_prob(d[None], x), (0, None)))

    def laws(logits, d, shift):
        log_p = np.stack([np.asarray(log_probs(every, x[None]))[:, 0] for x in logits])
        close(np.exp(log_p).sum(axis=1), np.ones(ROWS))
        close(log_p, scipy.special.log_softmax(logits.astype(float), axis=1))
        found = categorical.log_prob(d, logits)
        close(found, (d * log_p).sum(axis=1))
        close(categorical.log_prob(d, logits + shift), found, atol=2e-3)
        entropy = np.asarray(categorical.entropy(logits))
        close(entropy, scipy.stats.entropy(np.exp(log_p.astype(float)), axis=1), atol=1e-4)
        assert (entropy >= -1e-6).all() and (entropy <= np.log(size) + 1e-6).all()
        away = np.asarray(categorical.kl_uniform(logits))
        assert (away >= -1e-6).all()
        close(away + entropy, np.full(ROWS, np.log(size)))
        assert np.abs(categorical.kl_uniform(0 * logits + shift)).max() < 1e-6

    shape = [ROWS, size]
    drawn = {"logits": array(shape, -50.0, 50.0), "d": one_hots(shape)}
    attempt(20, 500, laws, shift=properties.floats(-1e3, 1e3), **drawn)


def test_relaxed_samples(attempt):
    relaxed = jax.jit(categorical.gumbel_softmax_from_noise)
    between = jax.jit(bernoulli.relaxed_log_sample_from_noise)

    def laws(noise, logits, temperature):
        point = np.asarray(relaxed(noise, logits, temperature))
        close(point.sum(axis=1), np.ones(ROWS))
        assert (point >= 0).all()
        score = (noise + logits).astype(float) / temperature
        close(point, scipy.special.softmax(score, axis=1), rtol=1e-4, atol=1e-4)
        gap = np.abs(score[:, 0] - score[:, 1])
        sharp = gap > 1e-3
        np.testing.assert_array_equal(point.argmax(1)[sharp], score.argmax(1)[sharp])
        ones = np.asarray(between(noise, logits, temperature))
        assert (ones <= 0).all()
        zeros = np.asarray(between(-noise, -logits, temperature))
        close(np.exp(ones) + np.exp(zeros), np.ones((ROWS, SIZE)))
        entropy = np.asarray(bernoulli.entropy(logits))
        assert (entropy >= 0).all() and (entropy <= np.log(2) + 1e-6).all()
        close(entropy, bernoulli.entropy(-logits))
        p = scipy.special.expit(logits.astype(float))
        close(entropy, scipy.stats.entropy([p, 1 - p]), atol=1e-5)

    values = array([ROWS, SIZE], -20.0, 20.0)
    temperature = st.sampled_from([0.01, 0.5, 1.0, 10.0])
    attempt(30, 600, laws, noise=values, logits=values, temperature=temperature)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, jnp.bfloat16])
def test_noise_is_finite_at_the_ends(attempt, dtype):
    def laws(uniform):
        ends = np.concatenate([uniform, [0.0, 1.0]]).astype(dtype)
        for noise, inverse in (
            (categorical.gumbel, lambda x: np.exp(-np.exp(-x))),
            (bernoulli.logistic, scipy.special.expit),
        ):
            found = np.asarray(noise(ends), np.float64)
            assert np.isfinite(found).all()
            np.testing.assert_allclose(inverse(found), ends.astype(np.float64), atol=0.02)
            ordered = found[np.argsort(ends.astype(np.float64), kind="stable")]
            assert (np.diff(ordered) >= -0.02).all()

    attempt(4, 100, laws, uniform=array([4], 0.0, 1.0))


def test_one_hot_codes(attempt):
    def laws(seed, n):
        d = np.asarray(categorical.sample_one_hot(jax.random.key(seed), n, 5))
        assert d.shape == (n, 5) and set(np.unique(d)) <= {0.0, 1.0}
        np.testing.assert_array_equal(d.sum(axis=1), np.ones(n))

    attempt(5, 50, laws, seed=st.integers(0, 2**31), n=st.sampled_from([0, 1, 7]))


# --- Gaussians ------------------------------------------------------------------------------------

MEAN, LOG_VAR = array([ROWS, SIZE], -20.0, 20.0), array([ROWS, SIZE], -8.0, 8.0)


def test_gaussian_densities(attempt):
    grid = np.linspace(-12, 12, 2001, dtype=np.float32)

    def laws(x, mean, log_var):
        std = np.exp(log_var.astype(float) / 2)
        exact = scipy.stats.norm.logpdf(x, mean, std).sum(axis=1)
        close(gaussian.log_prob(x, Gaussian(mean, log_var)), exact, rtol=1e-4, atol=1e-3)
        standard = Gaussian(0 * mean, 0 * mean)
        close(gaussian.standard_log_prob(x), gaussian.log_prob(x, standard))
        one, two = mean[0, 0], np.float32(log_var[0, 0] / 2)  # an interval that holds it all
        points = one + grid[:, None] * np.exp(two / 2)
        p = Gaussian(np.full_like(points, one), np.full_like(points, two))
        density = np.exp(np.asarray(gaussian.log_prob(points, p), np.float64))
        assert np.trapezoid(density, points[:, 0].astype(float)) == pytest.approx(1, abs=1e-2)

    attempt(20, 300, laws, x=MEAN, mean=MEAN, log_var=LOG_VAR)


def test_gaussian_divergences(attempt):
    divergence = jax.jit(kl)

    def laws(mean, log_var, other_mean, other_log_var):
        found = np.asarray(divergence(mean, log_var, other_mean, other_log_var))
        m, v, n, w = (x.astype(float) for x in (mean, log_var, other_mean, other_log_var))
        exact = 0.5 * (np.expm1(v - w) - (v - w) + (m - n) ** 2 / np.exp(w)).sum(axis=1)
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-6)
        different = ((m != n) | (np.abs(v - w) > 1e-2)).any(axis=1)
        assert (found >= 0).all() and (found[different & (exact > 1e-30)] > 0).all()
        np.testing.assert_array_equal(divergence(mean, log_var, mean, log_var), np.zeros(ROWS))
        tiny = log_var - 100  # counts as the smallest variance on either side
        np.testing.assert_array_equal(divergence(mean, tiny, mean, tiny), np.zeros(ROWS))
        q = Gaussian(mean, log_var)
        standard = np.asarray(gaussian.kl_standard(q))
        close(standard, divergence(mean, log_var, 0 * mean, 0 * mean), rtol=1e-4)
        each = np.asarray(gaussian.kl_standard_per_dimension(q))
        assert (each >= 0).all()
        close(each.sum(axis=1), standard)

    other = {"other_mean": MEAN, "other_log_var": LOG_VAR}
    attempt(30, 600, laws, mean=MEAN, log_var=LOG_VAR, **other)


def test_gaussian_samples(attempt):
    sample = jax.jit(lambda key, *q: gaussian.sample(key, Gaussian(*q)))

    def laws(seed, mean, log_var, raw):
        key = jax.random.key(seed)
        noise = np.asarray(sample(key, 0 * mean, 0 * log_var), np.float64)
        std = np.exp(log_var.astype(float) / 2)
        close(sample(key, mean, log_var), mean + std * noise, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(sample(key, mean, log_var * 0 - np.inf), mean)
        q = gaussian.from_softplus(mean, raw)
        close(q.log_var, 2 * np.log(np.logaddexp(0, raw.astype(float))), atol=1e-5)

    raw = array([ROWS, SIZE], -300.0, 300.0)
    attempt(20, 400, laws, seed=st.integers(0, 2**31), mean=MEAN, log_var=LOG_VAR, raw=raw)


# --- Dirichlet ------------------------------------------------------------------------------------


def test_dirichlet(attempt):
    divergence = jax.jit(dirichlet.kl)
    log_sample = jax.jit(dirichlet.log_sample)

    def laws(seed, q, p):
        ln, psi = scipy.special.gammaln, scipy.special.digamma
        a, b = q.astype(float), p.astype(float)
        exact = ln(a.sum(1)) - ln(b.sum(1)) - (ln(a) - ln(b)).sum(1)
        exact += ((a - b) * (psi(a) - psi(a.sum(1))[:, None])).sum(1)
        room = 1e-5 * (np.abs(ln(a)).sum() + np.abs(ln(b)).sum() + np.abs(a - b).sum()) + 1e-4
        room += 1e-5 * np.abs((a - b) * psi(a)).max()
        found = np.asarray(divergence(q, p))
        np.testing.assert_allclose(found, exact, atol=room, rtol=1e-4)
        assert (found >= -room).all()
        np.testing.assert_array_equal(divergence(q, q), np.zeros(ROWS))
        close(divergence(q[:, ::-1], p[:, ::-1]), found, atol=room)
        close(np.asarray(dirichlet.mean(q)).sum(axis=1), np.ones(ROWS))
        logs = np.asarray(log_sample(jax.random.key(seed), q))
        assert (logs <= 0).all()
        close(np.exp(logs).sum(axis=1), np.ones(ROWS))

    positive = array([ROWS, SIZE], 0.01, 100.0)
    attempt(20, 400, laws, seed=st.integers(0, 2**31), q=positive, p=positive)


# --- images ---------------------------------------------------------------------------------------


def test_images_that_move(attempt):
    still = jax.jit(lambda key, x: transforms.random_affine(key, x, **STILL))
    away = jax.jit(
        lambda key, x: transforms.random_affine(
            key, x, rotation=20.0, scale=0.2, shear=0.1, translation=3.0
        )
    )

    def laws(seed, x):
        key = jax.random.key(seed)
        np.testing.assert_allclose(still(key, x), x, atol=1e-5)
        found = np.asarray(away(key, x))
        assert found.shape == x.shape and (found >= -1 - 1e-5).all() and (found <= 1 + 1e-5).all()
        np.testing.assert_array_equal(away(key, 0 * x - 1), np.full_like(x, -1))

    attempt(10, 200, laws, seed=st.integers(0, 2**31), x=array([2, 4, 4, 1], -1.0, 1.0))
    outside = jnp.full((1, 1, 1), 50.0)
    assert transforms.bilinear(np.zeros((1, 2, 2, 1), np.uint8), outside, outside, fill=-1.0) == -1
    with pytest.raises(AssertionError):
        transforms.bilinear(jnp.ones((2, 2, 2, 1)), outside, outside, fill=0.0)


def test_examples_tried(attempt, figure):
    assert attempt.tried >= 300
    figure("losses and metrics", "random inputs to distributions", attempt.tried)
