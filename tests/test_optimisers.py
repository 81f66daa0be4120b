"""Adam and RMSProp as PyTorch has them, which the papers used: epsilon outside the root."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest

from ivg.build import optimizer

GRADIENTS = np.random.default_rng(0).normal(size=(10, 3)) * np.array([1e-9, 1.0, 1e4])


def adam(lr, betas, eps):
    return optimizer("adam", lr, b1=betas[0], b2=betas[1], eps=eps)


def rmsprop(lr, alpha, eps, momentum, centered=False):
    return optimizer("rmsprop", lr, decay=alpha, eps=eps, momentum=momentum, centered=centered)


FACTORIES = {"Adam": adam, "RMSprop": rmsprop}
CASES = (
    "rmsprop_momentum0.9",
    "rmsprop_plain",
    "rmsprop_momentum0.9_eps1e-3",
    "rmsprop_centered_momentum0.9",
    "adam_default",
    "adam_gan",
    "adam_wgan_gp",
    "adam_eps1e-3",
)


def trajectory(optimiser, params, gradients):
    """Parameters after each of the given gradients, `[T, n]`."""

    def step(carry, gradient):
        params, state = carry
        updates, state = optimiser.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.lax.scan(step, (params, optimiser.init(params)), gradients)[1]


def run(case):
    optimiser = FACTORIES[case.facts["optimizer"]](**case.facts["hyper"])
    params, gradients = jnp.asarray(case.arrays["params0"]), jnp.asarray(case.arrays["grads"])
    return jax.jit(trajectory, static_argnums=0)(optimiser, params, gradients)


def test_no_reference_case_is_forgotten(shared):
    assert set(oracles.load(shared, "06_optimisers")) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_reference_values(shared, name):
    case = oracles.load(shared, "06_optimisers")[name]
    actual = run(case)
    atol = case.facts["tolerance_abs_float32"]
    np.testing.assert_allclose(actual, case.arrays["params_after"], rtol=0, atol=atol)
    # The gradients tell the two places of epsilon apart.
    assert np.max(np.abs(actual - case.arrays["params_after_if_eps_inside_sqrt"])) > 10 * atol


@pytest.mark.parametrize("name", CASES)
def test_reference_values_in_float64(shared, name):
    case = oracles.load(shared, "06_optimisers")[name]
    with jax.enable_x64(True):
        actual = run(case)
    assert actual.dtype == np.float64
    rtol = case.facts["tolerance_rel_float64"]
    np.testing.assert_allclose(actual, case.arrays["params_after"], rtol=rtol)
    for step in (1, 2, 10):
        np.testing.assert_allclose(actual[step - 1], case.facts[f"params_after_{step}"], rtol=rtol)


def naive_adam(gradients, lr, betas, eps):
    p = m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        p -= lr * m_hat / (math.sqrt(v_hat) + eps)
        yield p


def naive_rmsprop(gradients, lr, alpha, eps, momentum, centered=False):
    p = v = mean = buffer = 0.0
    for g in gradients:
        v = alpha * v + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        root = math.sqrt(v - mean**2 if centered else v)
        buffer = momentum * buffer + g / (root + eps)
        p -= lr * buffer
        yield p


NAIVE = {
    "adam": (adam, naive_adam, {"lr": 1e-3, "betas": (0.5, 0.9), "eps": 1e-8}),
    "rmsprop": (
        rmsprop,
        naive_rmsprop,
        {"lr": 1e-3, "alpha": 0.99, "eps": 1e-8, "momentum": 0.9},
    ),
    "rmsprop, centred": (
        rmsprop,
        naive_rmsprop,
        {"lr": 1e-3, "alpha": 0.9, "eps": 1e-8, "momentum": 0.9, "centered": True},
    ),
}


@pytest.mark.parametrize("name", NAIVE)
def test_naive_loop(name):
    factory, naive, hyper = NAIVE[name]
    with jax.enable_x64(True):
        optimiser, start = factory(**hyper), jnp.zeros(GRADIENTS.shape[1])
        actual = jax.jit(trajectory, static_argnums=0)(optimiser, start, GRADIENTS)
    expected = np.transpose([list(naive(column, **hyper)) for column in GRADIENTS.T])
    np.testing.assert_allclose(actual, expected, rtol=1e-9)
