"""Spectral normalisation against NumPy's singular values."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ivg.networks import blocks, spectral

jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KERNELS = {"dense": (24, 16), "down": (4, 4, 6, 8)}


def kernel_of(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def largest(kernel):
    return np.linalg.svd(np.asarray(kernel).reshape(-1, kernel.shape[-1]), compute_uv=False)[0]


def iterated(kernel, steps):
    """The normalised kernel and u after so many training passes from a fixed vector."""
    u = jnp.ones(kernel.shape[-1]) / np.sqrt(kernel.shape[-1])
    step = jit(spectral.normalised)
    for _ in range(steps):
        normal, u = step(kernel, u)
    return normal, u


@pytest.mark.parametrize("layer", KERNELS)
def test_many_steps_find_the_spectral_norm(layer):
    kernel = kernel_of(KERNELS[layer])
    normal, u = iterated(kernel, 300)
    np.testing.assert_allclose(normal, kernel / largest(kernel), rtol=1e-4, atol=1e-6)
    assert abs(largest(normal) - 1) < 1e-4
    right = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]))[2][0]
    assert abs(abs(np.dot(right, u)) - 1) < 1e-3


def test_one_step_estimates_from_below():
    """A unit v and a unit u give v^T W u <= the norm: the kernel comes out too large, if at all."""
    kernel = kernel_of((24, 16))
    first, more = (largest(iterated(kernel, steps)[0]) for steps in (1, 20))
    assert first > 1.02 and 1 <= more + 1e-5 < first


def test_gradient_is_that_of_the_exact_norm_at_the_singular_vectors():
    kernel, weights = kernel_of((6, 4)), kernel_of((6, 4), seed=1)
    _, u = iterated(kernel, 400)

    def exact(matrix):
        return np.sum(weights * matrix / np.linalg.svd(matrix, compute_uv=False)[0])

    expected, wide = np.zeros_like(kernel, np.float64), kernel.astype(np.float64)
    for index in np.ndindex(kernel.shape):
        step = np.zeros_like(wide)
        step[index] = 1e-6
        expected[index] = (exact(wide + step) - exact(wide - step)) / 2e-6
    found = jit(jax.grad(lambda k: jnp.sum(weights * spectral.normalised(k, u)[0])))(kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


class Layer(nn.Module):
    """One layer as a network."""

    function: str

    @nn.compact
    def __call__(self, x, *, train):
        return getattr(spectral, self.function)(x, 8, init=blocks.NORMAL_002, train=train)


@pytest.mark.parametrize(("layer", "shape"), [("dense", (3, 6)), ("down", (3, 8, 8, 6))])
def test_a_training_pass_moves_u_and_inference_does_not(layer, shape):
    net = blocks.network(Layer(layer))
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    params, stats = jit(net.init)(jax.random.key(0), x)
    (start,) = jax.tree.leaves(stats)
    assert start.shape == (8,) and abs(np.linalg.norm(start) - 1) < 1e-5
    train, infer = jit(net.train), jit(net.infer)
    outputs, moved = train(params, stats, x)
    assert np.abs(jax.tree.leaves(moved)[0] - start).max() > 1e-3
    # Both take one step from the same u.
    np.testing.assert_allclose(infer(params, stats, x), outputs, rtol=1e-5, atol=1e-6)
    for _ in range(200):
        _, moved = train(params, moved, x)
    name = next(iter(params))
    exact = {"kernel": params[name]["kernel"] / largest(params[name]["kernel"])}
    plain = {"dense": nn.Dense(8, use_bias=False)}.get(
        layer, nn.Conv(8, (4, 4), strides=2, use_bias=False)
    )
    expected = plain.apply({"params": exact}, x)
    np.testing.assert_allclose(infer(params, moved, x), expected, rtol=1e-3, atol=1e-4)
