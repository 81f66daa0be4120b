"""Adversarial losses against reference values, naive loops and closed forms."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from absl.testing import parameterized

from ivg.losses import adversarial

RANDOM = np.random.default_rng(0).normal(size=(3, 6))
IMAGES = np.random.default_rng(1).normal(size=(3, 2, 2, 3, 1))  # three batches of two 2x3 images


# --- reference values: logits ---------------------------------------------------------------------


def gan(a):
    real, fake = a["logits_real"], a["logits_fake"]

    def d_loss(real, fake):
        real, fake = adversarial.discriminator_real(real), adversarial.discriminator_fake(fake)
        return jnp.mean(real + fake)

    def g_loss(fake):
        return jnp.mean(adversarial.non_saturating(fake))

    grad_d_real, grad_d_fake = jax.grad(d_loss, (0, 1))(real, fake)
    return {
        "d_loss": d_loss(real, fake),
        "g_loss_non_saturating": g_loss(fake),
        "g_loss_saturating": jnp.mean(adversarial.saturating(fake)),
        "wgan_d": jnp.mean(adversarial.wasserstein_critic(real, fake)),
        "wgan_g": jnp.mean(adversarial.wasserstein_generator(fake)),
        "expected_grad_d_real": grad_d_real,
        "expected_grad_d_fake": grad_d_fake,
        "expected_grad_g_fake": jax.grad(g_loss)(fake),
    }


# --- reference values: gradient penalties ---------------------------------------------------------


def linear(p, x):
    return x @ p["w"] + p["b"]


def quadratic(p, x):
    return 0.5 * jnp.einsum("bi,ij,bj->b", x, p["A"], x) + x @ p["b"]


def dense(x, kernel, bias):
    return x @ kernel + bias[None]


def mlp(activation, p, x):
    x = activation(dense(x, p["W1"], p["b1"]))
    x = activation(dense(x, p["W2"], p["b2"]))
    return dense(x, p["W3"], p["b3"])[:, 0]


def convolutional(p, x):
    """Channels first, flattened as C, H, W."""
    x = jax.lax.conv_general_dilated(x, p["K"], (2, 2), ((1, 1), (1, 1)))
    x = jnp.tanh(x + p["bk"][None, :, None, None])
    return dense(jnp.reshape(x, (len(x), -1)), p["V"], p["bv"])[:, 0]


leaky_relu = functools.partial(jax.nn.leaky_relu, negative_slope=0.2)
CRITICS = {
    "gp_linear": linear,
    "gp_linear_unit": linear,
    "gp_quadratic": quadratic,
    "gp_mlp_tanh": functools.partial(mlp, jnp.tanh),
    "gp_mlp_leaky_relu": functools.partial(mlp, leaky_relu),
    "gp_conv_tanh": convolutional,
}


def penalties(critic):
    def outputs(a):
        params = {k.removeprefix("param_"): v for k, v in a.items() if k.startswith("param_")}
        real, fake = a["real"], a["fake"]
        x = adversarial.interpolate_from_noise(a["eps"], real, fake)

        def penalty(params):
            return jnp.mean(adversarial.gradient_penalty(functools.partial(critic, params), x))

        def critic_loss(params):
            scores = critic(params, real), critic(params, fake)
            return jnp.mean(adversarial.wasserstein_critic(*scores)) + 10 * penalty(params)

        D = functools.partial(critic, params)
        value, grad_penalty = jax.value_and_grad(penalty)(params)
        loss, grad_loss = jax.value_and_grad(critic_loss)(params)
        return {
            "expected_interpolates": x,
            "expected_grad_x": jax.grad(lambda x: jnp.sum(D(x)))(x),
            "expected_grad_norm": adversarial.gradient_norm(D, x),
            "penalty": value,
            "penalty_times_10": 10 * value,
            "penalty_one_sided": jnp.mean(adversarial.gradient_penalty_one_sided(D, x)),
            "zero_centred": jnp.mean(adversarial.gradient_penalty_zero_centred(D, x)),
            "critic_loss_with_10_penalty": loss,
            **{f"expected_grad_penalty_{k}": v for k, v in grad_penalty.items()},
            **{f"expected_grad_critic_loss_{k}": v for k, v in grad_loss.items()},
        }

    return outputs


def dead_critic(a):
    x = adversarial.interpolate_from_noise(a["eps"], a["real"], a["fake"])

    def penalty(w):
        return jnp.mean(adversarial.gradient_penalty(lambda x: x @ w, x))

    value, gradient = jax.value_and_grad(penalty)(a["param_w"])
    return {"penalty": value, "gradient_with_torch_norm": gradient}


CASES = {
    "gan_moderate": gan,
    "gan_confident_right": gan,
    "gan_confident_wrong": gan,
    "gan_mixed_extreme": gan,
    "gan_zero": gan,
    **{name: penalties(critic) for name, critic in CRITICS.items()},
    "gp_dead_critic": dead_critic,
}
ELSEWHERE = (
    *("hinge_d", "hinge_g", "lsgan_d", "lsgan_g"),  # losses that ivg does not have
    *("finite_difference_check_abs", "closed_form_penalty"),  # the oracle's checks of itself
    "gradient_with_sqrt_of_sum",  # NaN: what not to do
)


class ReferenceValuesTest(chex.TestCase):
    @pytest.fixture(autouse=True)
    def _load(self, shared):
        self.cases = oracles.load(shared, "05_losses")

    @chex.all_variants
    @parameterized.parameters(*CASES)
    def test_single_precision(self, name):
        oracles.check(self.cases[name], self.variant(CASES[name]), elsewhere=ELSEWHERE)

    @parameterized.parameters(*CASES)
    def test_double_precision(self, name):
        oracles.check_float64(self.cases[name], CASES[name], elsewhere=ELSEWHERE)


# --- naive loops ----------------------------------------------------------------------------------


def sigmoid(logit):
    return 1 / (1 + math.exp(-logit))


def each(loss):
    """`loss` of floats, one example after the other."""
    return lambda *args: np.array([loss(*map(float, row)) for row in zip(*args, strict=True)])


def slopes(weight, x):
    """Norms of the gradient weight * x of the critic below."""
    return np.array([math.sqrt(sum(v**2 for v in row.ravel())) for row in weight[None] * x])


def penalised(penalty):
    """`penalty` of the critic sum(weight * x^2) / 2 as a function of its weight and its input."""

    def function(weight, x):
        return penalty(lambda x: 0.5 * jnp.sum(weight[None] * jnp.square(x), axis=(1, 2, 3)), x)

    return function


WEIGHT_AND_IMAGES = (1 + 0.1 * IMAGES[0, 0], IMAGES[1] + 0.5)

NAIVE = {
    "non_saturating": (
        adversarial.non_saturating,
        each(lambda fake: -math.log(sigmoid(fake))),
        RANDOM[:1],
    ),
    "saturating": (
        adversarial.saturating,
        each(lambda fake: math.log(1 - sigmoid(fake))),
        RANDOM[:1],
    ),
    "discriminator_real": (
        adversarial.discriminator_real,
        each(lambda real: -math.log(sigmoid(real))),
        RANDOM[:1],
    ),
    "discriminator_real, labels per example": (
        adversarial.discriminator_real,
        each(lambda real, t: -t * math.log(sigmoid(real)) - (1 - t) * math.log(1 - sigmoid(real))),
        (RANDOM[0], np.array([0.0, 0.5, 0.7, 0.9, 1.0, 1.2])),
    ),
    "discriminator_fake": (
        adversarial.discriminator_fake,
        each(lambda fake: -math.log(1 - sigmoid(fake))),
        RANDOM[:1],
    ),
    "wasserstein_critic": (
        adversarial.wasserstein_critic,
        each(lambda real, fake: fake - real),
        RANDOM[:2],
    ),
    "wasserstein_generator": (
        adversarial.wasserstein_generator,
        each(lambda fake: -fake),
        RANDOM[:1],
    ),
    "interpolate": (
        lambda u, x, x_g: adversarial.interpolate_from_noise(u, x, x_g) ** 2,
        lambda u, x, x_g: np.array(
            [(u[b] * x[b] + (1 - u[b]) * x_g[b]) ** 2 for b in range(len(u))]
        ),
        (np.array([0.25, 0.75]), IMAGES[0], IMAGES[1]),
    ),
    "gradient_norm": (penalised(adversarial.gradient_norm), slopes, WEIGHT_AND_IMAGES),
    "gradient_penalty": (
        penalised(adversarial.gradient_penalty),
        lambda weight, x: (slopes(weight, x) - 1) ** 2,
        WEIGHT_AND_IMAGES,
    ),
    "gradient_penalty_one_sided": (
        penalised(adversarial.gradient_penalty_one_sided),
        lambda weight, x: np.maximum(slopes(weight, x) - 1, 0) ** 2,
        WEIGHT_AND_IMAGES,
    ),
    "gradient_penalty_zero_centred": (
        penalised(adversarial.gradient_penalty_zero_centred),
        lambda weight, x: slopes(weight, x) ** 2,
        WEIGHT_AND_IMAGES,
    ),
}


class NaiveLoopsTest(chex.TestCase):
    @chex.all_variants
    @parameterized.parameters(*NAIVE)
    def test_value_and_gradients(self, name):
        oracles.check_naive(self.variant, *NAIVE[name])


# --- properties -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_penalty_of_a_linear_critic_in_closed_form(scale):
    w = scale * jnp.asarray([0.6, 0.0, -0.8])  # of norm `scale`

    def penalty(w):
        return jnp.mean(adversarial.gradient_penalty(lambda x: x @ w, jnp.ones((2, 3))))

    value, gradient = jax.value_and_grad(penalty)(w)
    np.testing.assert_allclose(value, (scale - 1) ** 2, atol=1e-6)
    np.testing.assert_allclose(gradient, 2 * (scale - 1) * w / scale, atol=1e-6)


def test_one_sided_penalty_ignores_gentle_slopes():
    def penalty(w):
        x = jnp.ones((2, 2))
        return jnp.mean(adversarial.gradient_penalty_one_sided(lambda x: x @ w, x))

    value, gradient = jax.value_and_grad(penalty)(jnp.asarray([0.5, 0.5]))
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(2))


PENALTIES = (
    adversarial.gradient_penalty,
    adversarial.gradient_penalty_one_sided,
    adversarial.gradient_penalty_zero_centred,
)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-18, 1e-10])
@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda penalty: penalty.__name__)
def test_dead_and_dying_critics_stay_finite(penalty, size):
    def of_weights(w, x):
        return penalty(lambda x: x @ w, x)

    oracles.check_finite(of_weights, np.full(3, size), np.ones((2, 3)))


def test_a_dead_critic_has_penalty_one_and_gradient_zero():
    def penalty(w):
        return jnp.mean(adversarial.gradient_penalty(lambda x: x @ w, jnp.ones((2, 3))))

    value, gradient = jax.value_and_grad(penalty)(jnp.zeros(3))
    assert value == 1
    np.testing.assert_array_equal(gradient, np.zeros(3))


def test_one_dead_example_leaves_the_others_their_gradient():
    def penalty(w):
        x = jnp.asarray([[0.0, 0.0], [3.0, 4.0]])  # the gradient of w * x^2 / 2 is 0 at 0
        return jnp.sum(adversarial.gradient_penalty(lambda x: 0.5 * w * jnp.sum(x**2, axis=1), x))

    value, gradient = jax.value_and_grad(penalty)(2.0)
    np.testing.assert_allclose(value, 1 + 81)
    np.testing.assert_allclose(gradient, 2 * 9 * 5)


def test_extreme_logits_stay_finite():
    logits = np.array([1e4, -1e4, 0.0])
    for loss in (
        adversarial.non_saturating,
        adversarial.saturating,
        adversarial.discriminator_real,
        adversarial.discriminator_fake,
        adversarial.wasserstein_generator,
    ):
        oracles.check_finite(loss, logits)
    oracles.check_finite(adversarial.discriminator_real, logits, np.array([1.2, 0.7, 1.0]))
    oracles.check_finite(adversarial.wasserstein_critic, logits, -logits)


def test_interpolation_runs_from_generated_to_real():
    ends = adversarial.interpolate_from_noise(jnp.asarray([1.0, 0.0]), IMAGES[0], IMAGES[1])
    np.testing.assert_allclose(ends, [IMAGES[0, 0], IMAGES[1, 1]], rtol=1e-6)


class InterpolateTest(chex.TestCase):
    @chex.all_variants
    def test_one_position_is_drawn_per_example(self):
        x, x_g = jnp.ones((500, 2, 3, 1)), jnp.zeros((500, 2, 3, 1))
        between = self.variant(adversarial.interpolate)(jax.random.key(0), x, x_g)
        between = np.reshape(between, (500, 6))
        np.testing.assert_array_equal(between, np.tile(between[:, :1], (1, 6)))
        assert len(np.unique(between)) > 490
        np.testing.assert_allclose(np.mean(between), 0.5, atol=0.05)


def test_a_critic_that_forgets_to_drop_its_last_axis_is_refused():
    with pytest.raises(AssertionError):
        adversarial.gradient_penalty(lambda x: x, jnp.ones((2, 1)))
