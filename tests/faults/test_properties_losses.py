"""Laws of the losses, tried on random, extreme, broken and ill-fitting arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest
from hypothesis import strategies as st
from properties import ROWS, SIZE, array, case, close

from ivg.distributions import Gaussian
from ivg.losses import adversarial, independence, information, total_correlation, variational


@pytest.fixture(scope="module")
def attempt(amount):
    return properties.Attempts(amount)


def critic(x):
    return jnp.sum(jnp.sin(x), axis=(1, 2, 3))


def elbo(likelihood, kl_z, kl_c):
    parts = variational.ElboParts(likelihood, kl_z=kl_z, kl_c=kl_c, kl_d=0.0)
    return variational.elbo(parts, weight_z=2.0, weight_c=0.5)


PER_ROW = {
    "adversarial.non_saturating": case(adversarial.non_saturating, "scores"),
    "adversarial.saturating": case(adversarial.saturating, "scores"),
    "adversarial.discriminator_real": case(adversarial.discriminator_real, "scores", "weights"),
    "adversarial.discriminator_fake": case(adversarial.discriminator_fake, "scores"),
    "adversarial.wasserstein_critic": case(adversarial.wasserstein_critic, "scores", "scores"),
    "adversarial.wasserstein_generator": case(adversarial.wasserstein_generator, "scores"),
    "adversarial.interpolate_from_noise": case(
        adversarial.interpolate_from_noise, "weights", "images", "images"
    ),
    "adversarial.gradient_norm": case(lambda x: adversarial.gradient_norm(critic, x), "images"),
    "adversarial.gradient_penalty": case(
        lambda x: adversarial.gradient_penalty(critic, x), "images"
    ),
    "adversarial.gradient_penalty_one_sided": case(
        lambda x: adversarial.gradient_penalty_one_sided(critic, x), "images"
    ),
    "adversarial.gradient_penalty_zero_centred": case(
        lambda x: adversarial.gradient_penalty_zero_centred(critic, x), "images"
    ),
    "information.categorical_lower_bound": case(
        information.categorical_lower_bound, "one_hot", "logits"
    ),
    "information.gaussian_lower_bound": case(
        lambda c, mean, raw: information.gaussian_lower_bound(c, Gaussian(mean, raw), 1.5),
        *("codes", "codes", "log_var"),
    ),
    "information.reconstruction_lower_bound": case(
        information.reconstruction_lower_bound, "codes", "codes"
    ),
    "information.label_negentropy": case(information.label_negentropy, "logits"),
    "information.label_cross_entropy": case(information.label_cross_entropy, "labels", "logits"),
    "total_correlation.density_ratio": case(total_correlation.density_ratio, "pairs"),
    "total_correlation.discriminator_loss": case(
        total_correlation.discriminator_loss, "pairs", "pairs"
    ),
    "variational.gaussian_log_likelihood": case(
        lambda x, mean: variational.gaussian_log_likelihood(x, mean, 0.1), "images", "images"
    ),
    "variational.bernoulli_log_likelihood": case(
        variational.bernoulli_log_likelihood, "pixels", "image_logits"
    ),
    "variational.squared_error": case(variational.squared_error, "images", "images"),
    "variational.elbo": case(elbo, "scores", "scores", "scores"),
}


def parts(z, mean, log_var):
    q = Gaussian(mean, log_var)
    densities = total_correlation.minibatch_weighted(z, q, dataset_size=50)
    return total_correlation.decomposition(densities)


# Of the whole batch: a scalar, or a matrix without the batch axis.
OF_BATCH = {
    "independence.dhsic": case(lambda a, b: independence.dhsic(jnp.stack([a, b])), *2 * ["codes"]),
    "information.agreement": case(
        lambda a, b: information.agreement(a, b, balance=1.5), "logits", "logits"
    ),
    "information.donsker_varadhan": case(information.donsker_varadhan, "scores", "scores"),
    "information.donsker_varadhan_ema": case(
        lambda a, b: information.donsker_varadhan_ema(a, b, 0.5)[0], "scores", "scores"
    ),
    "information.log_mean_exp": case(information.log_mean_exp, "scores"),
    "total_correlation.decomposition": case(parts, "codes", "codes", "log_var"),
    "total_correlation.total_correlation": case(
        lambda z, mean, log_var: total_correlation.total_correlation(z, Gaussian(mean, log_var)),
        *("codes", "codes", "log_var"),
    ),
    "total_correlation.means_covariance": case(
        lambda mean: total_correlation.means_covariance(Gaussian(mean, mean)), "codes"
    ),
    "total_correlation.codes_covariance": case(
        lambda mean, log_var: total_correlation.codes_covariance(Gaussian(mean, log_var)),
        *("codes", "log_var"),
    ),
}
CASES = PER_ROW | OF_BATCH
# Differences of numbers around 1000, whose neighbours are 4 apart in bfloat16.
COARSE = dict.fromkeys(
    ("total_correlation.decomposition", "total_correlation.total_correlation"), 20
)
# Random ones, constants and functions of a matrix, which have tests of their own here.
APART = {
    "adversarial.interpolate",
    "independence.gaussian_kernels",
    "independence.mean_distance",
    "information.categorical_entropy",
    "information.normal_entropy",
    "information.uniform_entropy",
    "total_correlation.covariance_penalty",
    "total_correlation.gaussian_total_correlation",
    "total_correlation.minibatch_weighted",
    "total_correlation.permute_dims",
}


def test_every_loss_is_tried():
    modules = adversarial, independence, information, total_correlation, variational
    assert properties.public_functions(*modules) == set(CASES) | APART


@pytest.mark.parametrize("name", CASES)
def test_laws(attempt, name):
    """Finite in value and gradient, blind to the order of rows, and never silent about NaN."""
    run, per_row = properties.compiled(CASES[name]), name in PER_ROW

    def laws(arguments, argument, row):
        properties.is_finite(run, arguments)
        properties.permutes(run, arguments, per_row)
        properties.keeps_nan(run, arguments, argument, row, per_row)

    rows = st.integers(0, ROWS - 1)
    attempt(8, 150, laws, arguments=CASES[name].arguments(), argument=st.integers(0, 2), row=rows)


@pytest.mark.parametrize("name", CASES)
def test_layouts_and_dtypes(attempt, amount, name):
    this = CASES[name]
    dtypes = amount([(jnp.bfloat16, 0.1)], [(jnp.bfloat16, 0.1), (jnp.float16, 0.02)])

    def laws(arguments):
        properties.takes_any_layout(this, arguments)
        for dtype, tolerance in dtypes:
            properties.keeps_dtype(this, arguments, dtype, COARSE.get(name, tolerance))

    attempt(1, 6, laws, arguments=this.arguments())


@pytest.mark.parametrize("name", CASES)
def test_one_row_and_none(attempt, name):
    """One row of one number is enough; no row gives no result, NaN or a ValueError."""
    this, function = CASES[name], jax.jit(CASES[name].function)

    def one(arguments):
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(function(*arguments)))

    attempt(1, 6, one, arguments=this.arguments(1, 1))

    def none(arguments):
        try:
            found = jax.tree.leaves(function(*arguments))
        except ValueError as error:
            assert "at least" in str(error)
            return
        if name in PER_ROW:
            assert all(len(x) == 0 for x in found)
        else:
            assert all(np.isnan(x).all() for x in found)

    attempt(1, 1, none, arguments=this.arguments(0, 2))


@pytest.mark.parametrize("name", [n for n in CASES if len(CASES[n].kinds) > 1])
def test_rows_that_do_not_fit_are_refused(attempt, name):
    def refuse(arguments):
        if name.startswith("information.donsker_varadhan"):  # the numbers of pairs may differ
            assert np.isfinite(CASES[name].function(arguments[0], arguments[1][:-1]))
        else:
            properties.refuses_rows_that_do_not_fit(CASES[name], arguments)

    attempt(1, 3, refuse, arguments=CASES[name].arguments())


def test_what_would_broadcast_is_refused():
    column = jnp.ones((ROWS, 1))
    with pytest.raises(AssertionError):
        adversarial.discriminator_real(jnp.ones(ROWS), label=column)
    with pytest.raises(AssertionError), jax.numpy_rank_promotion("allow"):
        elbo(jnp.ones(ROWS), column, 0.0)
    with pytest.raises(AssertionError):
        total_correlation.codes_covariance(Gaussian(jnp.ones((ROWS, SIZE)), column))


# --- adversarial losses ---------------------------------------------------------------------------


def test_adversarial_identities(attempt):
    def identities(a, b, label):
        np.testing.assert_array_equal(
            adversarial.non_saturating(a), adversarial.discriminator_fake(-a)
        )
        np.testing.assert_array_equal(adversarial.saturating(a), -adversarial.discriminator_fake(a))
        # log D / (1 - D) is the logit.
        difference = adversarial.discriminator_fake(a) - adversarial.discriminator_real(a)
        close(difference, a)
        real = adversarial.discriminator_real(a, label)
        entropy = -label * np.log(label) - (1 - label) * np.log1p(-label)
        assert (np.asarray(real) >= entropy * (1 - 1e-5)).all()  # Gibbs
        critic_loss = adversarial.wasserstein_critic(a, b)
        close(critic_loss, -np.asarray(adversarial.wasserstein_critic(b, a)))
        generator = adversarial.wasserstein_generator(a) - adversarial.wasserstein_generator(b)
        close(generator, critic_loss, atol=2e-3)

    scores = array([ROWS], -1e3, 1e3)
    label = st.floats(0.01, 0.99)
    attempt(30, 600, identities, a=scores, b=scores, label=label)


def test_penalties_of_a_linear_critic(attempt):
    """(|w| - 1)^2 for any image, from the smallest to the largest slopes."""
    penalties = jax.jit(
        lambda w, x: [
            f(lambda images: jnp.tensordot(images, w, 3), x)
            for f in (
                adversarial.gradient_norm,
                adversarial.gradient_penalty,
                adversarial.gradient_penalty_one_sided,
                adversarial.gradient_penalty_zero_centred,
            )
        ]
    )

    def linear(w, scale, x):
        w = np.float32(w * scale)
        norm = np.linalg.norm(w.astype(np.float64))
        wanted = [norm, (norm - 1) ** 2, max(norm - 1, 0) ** 2, norm**2]
        for found, value in zip(penalties(w, x), wanted, strict=True):
            np.testing.assert_allclose(found, np.full(ROWS, value), rtol=1e-4, atol=1e-6)

    x = array([ROWS, 2, SIZE, 1], -1.0, 1.0)
    scale = st.sampled_from([0.0, 1e-10, 1e-3, 1.0, 1e5])
    attempt(30, 600, linear, w=array([2, SIZE, 1], -1.0, 1.0), scale=scale, x=x)


def test_interpolated_points_lie_between(attempt):
    between = jax.jit(adversarial.interpolate)

    def inside(seed, x, x_g):
        point = np.asarray(between(jax.random.key(seed), x, x_g))
        assert (point >= np.minimum(x, x_g) - 1e-6).all()
        assert (point <= np.maximum(x, x_g) + 1e-6).all()
        np.testing.assert_allclose(between(jax.random.key(seed), x, x), x, atol=1e-6)

    image = array([ROWS, 2, SIZE, 1], -1.0, 1.0)
    attempt(20, 300, inside, seed=st.integers(0, 2**31), x=image, x_g=image)
    assert adversarial.interpolate(jax.random.key(0), np.ones((2, 3)), np.zeros((2, 3))).shape


# --- likelihoods ----------------------------------------------------------------------------------


def test_likelihoods_of_images(attempt):
    def likelihoods(x, x_hat, logits, std):
        squares = 0.5 * ((x - x_hat).astype(np.float64) ** 2).sum(axis=(1, 2, 3))
        close(variational.squared_error(x, x_hat), squares)
        pixels = x[0].size
        constant = pixels * (0.5 * np.log(2 * np.pi) + np.log(std))
        found = variational.gaussian_log_likelihood(x, x_hat, std)
        np.testing.assert_allclose(found, -squares / std**2 - constant, rtol=1e-4, atol=1e-4)
        # Of all decoders the image itself is the best.
        assert (variational.gaussian_log_likelihood(x, x, std) >= found).all()
        ones = np.float32(x > 0)
        p = 1 / (1 + np.exp(-np.clip(logits, -30, 30).astype(np.float64)))
        close(
            np.exp(variational.bernoulli_log_likelihood(ones, np.clip(logits, -30, 30))),
            np.where(ones > 0, p, 1 - p).prod(axis=(1, 2, 3)),
            rtol=1e-4,
        )

    image = array([ROWS, 2, SIZE, 1], -1.0, 1.0)
    logits = array([ROWS, 2, SIZE, 1], -40.0, 40.0)
    std = st.floats(0.01, 10.0)
    attempt(30, 600, likelihoods, x=image, x_hat=image, logits=logits, std=std)


def test_whole_numbers_do_not_wrap_around(attempt):
    def unwrapped(x, y):
        wanted = 0.5 * ((x.astype(float) - y) ** 2).sum(axis=1)
        close(variational.squared_error(x, y), wanted)
        likelihood = variational.gaussian_log_likelihood(x, y)
        close(likelihood, -wanted - x.shape[1] * 0.5 * np.log(2 * np.pi))

    pixels = st.lists(st.integers(0, 255), min_size=6, max_size=6)
    pixels = pixels.map(lambda x: np.array(x, np.uint8).reshape(3, 2))
    attempt(10, 100, unwrapped, x=pixels, y=pixels)


def test_elbo_is_linear_in_its_parts(attempt):
    def linear(a, b, c):
        close(elbo(a, b, c), a - 2 * b.astype(float) - 0.5 * c)

    values = array([ROWS], -1e3, 1e3)
    attempt(10, 200, linear, a=values, b=values, c=values)


def test_examples_tried(attempt, figure):
    assert attempt.tried >= 300
    figure("losses and metrics", "random inputs to losses", attempt.tried)
