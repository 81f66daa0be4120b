"""Fast forms of strided convolutions equal the plain ones, with their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ivg.networks import strided

PLAIN = {
    strided.down: lambda x, kernel: lax.conv_general_dilated(
        x, kernel, (2, 2), "SAME", dimension_numbers=strided.DIMENSIONS
    ),
    strided.up: lambda x, kernel: lax.conv_transpose(
        x, kernel, (2, 2), "SAME", dimension_numbers=strided.DIMENSIONS
    ),
}


def derivatives(f, x, kernel):
    """Value, both gradients, and a gradient of a gradient as in WGAN-GP's penalty."""

    def total(x, kernel):
        return jnp.sum(jnp.sin(f(x, kernel)))

    def penalty(kernel):
        return jnp.sum(jax.grad(total)(x, kernel) ** 2)

    return f(x, kernel), *jax.grad(total, (0, 1))(x, kernel), jax.grad(penalty)(kernel)


def arrays(side, n, m, dtype=jnp.float32):
    """Images [2, 6, 8, n] and a kernel [side, side, n, m]."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 6, 8, n)), dtype)
    return x, jnp.asarray(rng.normal(size=(side, side, n, m)), dtype)


# Few and many channels have forms of their own, on either side.
@pytest.mark.parametrize("fast", [strided.down, strided.up])
@pytest.mark.parametrize(("side", "n", "m"), [(4, 1, 5), (3, 6, 5), (4, 6, 1), (3, 3, 4)])
def test_values_and_derivatives(fast, side, n, m):
    x, kernel = arrays(side, n, m)
    got = jax.jit(derivatives, static_argnums=0)(fast, x, kernel)
    wanted = jax.jit(derivatives, static_argnums=0)(PLAIN[fast], x, kernel)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * np.abs(b).max())


@pytest.mark.parametrize("fast", [strided.down, strided.up])
@pytest.mark.parametrize(("n", "m"), [(1, 6), (6, 1)])
def test_half_precision_comes_back_in_kind(fast, n, m):
    x, kernel = arrays(4, n, m, jnp.bfloat16)

    def gradients(x, kernel):
        y, pull = jax.vjp(fast, x, kernel)
        return y, *pull(y)

    got = jax.jit(gradients)(x, kernel)
    # The exact values for these very numbers; a bfloat16 has eight bits.
    exact = jax.jit(gradients)(x.astype(jnp.float32), kernel.astype(jnp.float32))
    for a, b in zip(got, exact, strict=True):
        assert a.dtype == jnp.bfloat16
        error = np.abs(np.asarray(a, np.float32) - b)
        assert error.mean() < 0.01 * np.abs(b).mean() and error.max() < 0.02 * np.abs(b).max()


def test_no_dilated_convolution_is_left_on_a_cpu():
    x, kernel = jnp.zeros((2, 8, 8, 8)), jnp.zeros((4, 4, 8, 8))
    for f in (strided.down, strided.up):
        loss = jax.grad(lambda x, k, f=f: jnp.sum(f(x, k) ** 2), (0, 1))
        jaxpr = str(jax.make_jaxpr(loss)(x, kernel))
        assert "lhs_dilation=(1, 1)" in jaxpr and "lhs_dilation=(2, 2)" not in jaxpr


def test_images_of_few_channels_take_no_convolution_on_a_cpu():
    for f, shape in ((strided.down, (4, 4, 1, 8)), (strided.up, (4, 4, 8, 3))):
        x = jnp.zeros((2, 8, 8, shape[2]))
        loss = jax.grad(lambda x, k, f=f: jnp.sum(f(x, k) ** 2), (0, 1))
        assert "conv_general_dilated" not in str(jax.make_jaxpr(loss)(x, jnp.zeros(shape)))
