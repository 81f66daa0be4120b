"""Adversarial losses against reference values, naive loops and closed forms."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ivg.losses import adversarial

RANDOM = np.random.default_rng(0).normal(size=(3, 6))
IMAGES = np.random.default_rng(1).normal(size=(3, 2, 2, 3, 1))  # three batches of two 2x3 images


# --- reference values -----------------------------------------------------------------------------


def gan(real, fake):
    """Losses per example, and their gradients, of logits `[B]`."""

    def d_loss(real, fake):
        real, fake = adversarial.discriminator_real(real), adversarial.discriminator_fake(fake)
        return jnp.sum(real + fake), real + fake

    def g_loss(fake):
        loss = adversarial.non_saturating(fake)
        return jnp.sum(loss), loss

    (grad_real, grad_fake), d_losses = jax.grad(d_loss, (0, 1), has_aux=True)(real, fake)
    grad_g_fake, g_losses = jax.grad(g_loss, has_aux=True)(fake)
    return {
        "d_loss": d_losses,
        "g_loss_non_saturating": g_losses,
        "g_loss_saturating": adversarial.saturating(fake),
        "wgan_d": adversarial.wasserstein_critic(real, fake),
        "wgan_g": adversarial.wasserstein_generator(fake),
        "expected_grad_d_real": grad_real,
        "expected_grad_d_fake": grad_fake,
        "expected_grad_g_fake": grad_g_fake,
    }


GAN_CASES = ("moderate", "confident_right", "confident_wrong", "mixed_extreme", "zero")
OTHER_LOSSES = ("hinge_d", "hinge_g", "lsgan_d", "lsgan_g")  # which ivg does not have


def check_gan(cases, variant, dtype):
    """All cases as one batch, since examples do not meet."""
    cases = [cases[f"gan_{name}"] for name in GAN_CASES]
    batch = [np.concatenate([c.inputs[f"logits_{k}"] for c in cases]) for k in ("real", "fake")]
    outputs = variant(gan)(*map(jnp.asarray, batch))
    starts = np.cumsum([len(case.inputs["logits_real"]) for case in cases])[:-1]
    outputs = {name: np.split(np.asarray(value), starts) for name, value in outputs.items()}
    for i, case in enumerate(cases):
        means = {
            name: parts[i] / len(parts[i]) if "grad" in name else np.mean(parts[i])
            for name, parts in outputs.items()
        }
        name = f"gan_{GAN_CASES[i]}"
        oracles.check_outputs(case, means, name=name, dtype=dtype, elsewhere=OTHER_LOSSES)


def linear(p, x):
    return x @ p["w"] + p.get("b", 0.0)


def quadratic(p, x):
    return 0.5 * jnp.einsum("bi,ij,bj->b", x, p["A"], x) + x @ p["b"]


def dense(x, kernel, bias):
    return x @ kernel + bias[None]


def mlp(activation, p, x):
    x = activation(dense(x, p["W1"], p["b1"]))
    x = activation(dense(x, p["W2"], p["b2"]))
    return dense(x, p["W3"], p["b3"])[:, 0]


def leaky_relu(x):
    return jnp.where(x > 0, x, 0.2 * x)


def convolutional(p, x):
    """Channels first, flattened as C, H, W."""
    x = jax.lax.conv_general_dilated(x, p["K"], (2, 2), ((1, 1), (1, 1)))
    x = jnp.tanh(x + p["bk"][None, :, None, None])
    return dense(jnp.reshape(x, (len(x), -1)), p["V"], p["bv"])[:, 0]


def penalties(critic):
    """From the arrays of a case to what it expects of `critic(params, x)`."""

    def expected(a):
        params = {k.removeprefix("param_"): v for k, v in a.items() if k.startswith("param_")}
        x = adversarial.interpolate_from_noise(a["eps"], a["real"], a["fake"])

        def penalty(params):
            return jnp.mean(adversarial.gradient_penalty(functools.partial(critic, params), x))

        def wasserstein(params):
            scores = critic(params, a["real"]), critic(params, a["fake"])
            return jnp.mean(adversarial.wasserstein_critic(*scores))

        D = functools.partial(critic, params)
        value, gradients = jax.value_and_grad(penalty)(params)
        loss, loss_gradients = jax.value_and_grad(wasserstein)(params)
        outputs = {
            "expected_interpolates": x,
            "expected_grad_norm": adversarial.gradient_norm(D, x),
            "penalty": value,
            "penalty_times_10": 10 * value,
            "penalty_one_sided": jnp.mean(adversarial.gradient_penalty_one_sided(D, x)),
            "zero_centred": jnp.mean(adversarial.gradient_penalty_zero_centred(D, x)),
            "critic_loss_with_10_penalty": loss + 10 * value,
            "gradient_with_torch_norm": gradients.get("w"),
        }
        for name, gradient in gradients.items():
            outputs[f"expected_grad_penalty_{name}"] = gradient
            outputs[f"expected_grad_critic_loss_{name}"] = loss_gradients[name] + 10 * gradient
        return outputs

    return expected


CASES = {
    "gp_linear": penalties(linear),
    "gp_linear_unit": penalties(linear),
    "gp_dead_critic": penalties(linear),
    "gp_quadratic": penalties(quadratic),
    "gp_mlp_tanh": penalties(functools.partial(mlp, jnp.tanh)),
    "gp_mlp_leaky_relu": penalties(functools.partial(mlp, leaky_relu)),
    "gp_conv_tanh": penalties(convolutional),
}
UNCHECKED = (
    *("finite_difference_check_abs", "closed_form_penalty", "expected_grad_x"),  # the oracle's own
    "gradient_with_sqrt_of_sum",  # NaN: what not to do
)


class ReferenceValuesTest(chex.TestCase):
    @pytest.fixture(autouse=True)
    def _load(self, shared):
        self.cases = oracles.load(shared, "05_losses")

    @chex.all_variants
    def test_logits(self):
        check_gan(self.cases, self.variant, "float32")

    def test_logits_in_double_precision(self):
        with jax.enable_x64(True):
            check_gan(self.cases, jax.jit, "float64")

    @chex.all_variants
    def test_penalties(self):
        oracles.check(self.cases, CASES, variant=self.variant, elsewhere=UNCHECKED)

    def test_penalties_in_double_precision(self):
        with jax.enable_x64(True):
            oracles.check(self.cases, CASES, dtype="float64", elsewhere=UNCHECKED)


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
    def test_values_and_gradients(self):
        oracles.check_naive(self.variant, NAIVE)


# --- properties -----------------------------------------------------------------------------------


def of_linear_critic(penalty):
    """`penalty`, per example, of the critic w.x as a function of w and x."""
    return lambda w, x: penalty(lambda x: x @ w, x)


linear_penalty = jax.jit(
    oracles.value_and_gradients(of_linear_critic(adversarial.gradient_penalty))
)


@pytest.mark.parametrize("norm", [0.25, 1.0, 4.0])
def test_penalty_of_a_linear_critic_in_closed_form(norm):
    w, x = norm * np.float32([0.6, 0.0, -0.8]), np.ones((2, 3), np.float32)
    value, (w_gradient, x_gradient) = linear_penalty(w, x)
    np.testing.assert_allclose(value, np.full(2, (norm - 1) ** 2), atol=1e-6)
    np.testing.assert_allclose(w_gradient, 2 * 2 * (norm - 1) * w / norm, atol=1e-6)  # two examples
    np.testing.assert_array_equal(x_gradient, np.zeros((2, 3)))


def test_a_dead_critic_has_penalty_one_and_gradient_zero():
    value, (w_gradient, _) = linear_penalty(np.zeros(3, np.float32), np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(value, np.ones(2))
    np.testing.assert_array_equal(w_gradient, np.zeros(3))


def test_one_sided_penalty_ignores_gentle_slopes():
    penalty = of_linear_critic(adversarial.gradient_penalty_one_sided)
    gentle, x = np.full(3, 0.5, np.float32), np.ones((2, 3), np.float32)
    value, (w_gradient, _) = jax.jit(oracles.value_and_gradients(penalty))(gentle, x)
    np.testing.assert_array_equal(value, np.zeros(2))
    np.testing.assert_array_equal(w_gradient, np.zeros(3))


def test_dead_and_dying_critics_stay_finite():
    def everything(w, x):
        penalties = (
            adversarial.gradient_penalty,
            adversarial.gradient_penalty_one_sided,
            adversarial.gradient_penalty_zero_centred,
        )
        return sum(of_linear_critic(penalty)(w, x) for penalty in penalties)

    for size in (0.0, 1e-30, 1e-18, 1e-10):
        oracles.check_finite(everything, np.full(3, size), np.ones((2, 3)))


def test_one_dead_example_leaves_the_others_their_gradient():
    def penalty(w):
        x = jnp.asarray([[0.0, 0.0], [3.0, 4.0]])  # the gradient of w * x^2 / 2 is 0 at 0
        return adversarial.gradient_penalty(lambda x: 0.5 * w * jnp.sum(x**2, axis=1), x)

    value, (gradient,) = jax.jit(oracles.value_and_gradients(penalty))(2.0)
    np.testing.assert_allclose(value, [1.0, 81.0])
    np.testing.assert_allclose(gradient, 2 * 9 * 5)


def test_extreme_logits_stay_finite():
    def everything(real, fake, label):
        return (
            adversarial.non_saturating(fake)
            + adversarial.saturating(fake)
            + adversarial.discriminator_real(real)
            + adversarial.discriminator_real(real, label)
            + adversarial.discriminator_fake(fake)
            + adversarial.wasserstein_critic(real, fake)
            + adversarial.wasserstein_generator(fake)
        )

    real, fake = np.array([1e4, -1e4, 0, 1e4]), np.array([1e4, 0, -1e4, -1e4])
    oracles.check_finite(everything, real, fake, np.array([1.2, 0.7, 1.0, 0.0]))


def test_interpolation_runs_from_generated_to_real():
    x, x_g = IMAGES[:2].astype(np.float32)
    ends = adversarial.interpolate_from_noise(np.float32([1.0, 0.0]), x, x_g)
    np.testing.assert_array_equal(ends, [x[0], x_g[1]])


def test_interpolation_draws_one_position_per_example():
    x, x_g = np.ones((500, 2, 3, 1), np.float32), np.zeros((500, 2, 3, 1), np.float32)
    between = np.reshape(jax.jit(adversarial.interpolate)(jax.random.key(0), x, x_g), (500, 6))
    np.testing.assert_array_equal(between, np.tile(between[:, :1], (1, 6)))
    assert len(np.unique(between)) > 490
    np.testing.assert_allclose(np.mean(between), 0.5, atol=0.05)


def test_a_critic_that_forgets_to_drop_its_last_axis_is_refused():
    with pytest.raises(AssertionError):
        adversarial.gradient_penalty(lambda x: x, jnp.ones((2, 1)))


def test_precision_is_that_of_the_images():
    interpolate = functools.partial(adversarial.interpolate, jax.random.key(0))
    oracles.check_precision(interpolate, *IMAGES[:2])
