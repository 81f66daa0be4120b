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


@pytest.mark.parametrize("fast", [strided.down, strided.up])
@pytest.mark.parametrize(("side", "channels"), [(4, 2), (3, 6)])
def test_values_and_derivatives(fast, side, channels):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 6, 8, channels)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(side, side, channels, 5)), jnp.float32)
    got = jax.jit(derivatives, static_argnums=0)(fast, x, kernel)
    wanted = jax.jit(derivatives, static_argnums=0)(PLAIN[fast], x, kernel)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * np.abs(b).max())


def test_no_dilated_convolution_is_left_on_a_cpu():
    x, kernel = jnp.zeros((2, 8, 8, 8)), jnp.zeros((4, 4, 8, 8))
    for f in (strided.down, strided.up):
        loss = jax.grad(lambda x, k, f=f: jnp.sum(f(x, k) ** 2), (0, 1))
        jaxpr = str(jax.make_jaxpr(loss)(x, kernel))
        assert "lhs_dilation=(1, 1)" in jaxpr and "lhs_dilation=(2, 2)" not in jaxpr
