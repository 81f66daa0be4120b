"""Convolutions of stride 2 and their transposes, in forms that a CPU runs fast.

XLA's CPU backend runs input-dilated convolutions, which transposed convolutions and the input
gradients of strided ones are, several times slower than plain ones, and their weight gradients up
to twenty times. Here that direction is a 2x2 convolution whose channels are then dealt out to the
four pixels of a block (sub-pixel form, Shi et al., CVPR 2016): the same sums, to rounding. The two
functions are each other's gradient, so derivatives of any order stay in these forms. On other
backends the ordinary operations are used.

Arrays are NHWC, kernels `[k, k, in, out]` with k 3 or 4, padding SAME, sides even: the conventions
and results of `flax.linen.Conv` and `ConvTranspose`.
"""

import jax
import jax.numpy as jnp
from jax import lax

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
FEW_CHANNELS = 4  # up to here a forward pass is faster with 2x2 blocks as channels


def down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of stride 2, `[B, 2h, 2w, n]` to `[B, h, w, m]`, kernel `[k, k, n, m]`."""
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=DIMENSIONS)
    # SAME pads a kernel of 3 at the end only, one of 4 at both ends.
    return _down(x, _padded(kernel, before=1))


def up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution, `[B, h, w, n]` to `[B, 2h, 2w, m]`, kernel `[k, k, n, m]`."""
    if jax.default_backend() != "cpu":
        return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=DIMENSIONS)
    return _up(x, _padded(kernel, before=0))


def _padded(kernel: jax.Array, *, before: int) -> jax.Array:
    """A kernel of side 3 as one of side 4 whose first or last taps are 0."""
    missing = 4 - len(kernel)
    ends = (missing * before, missing * (1 - before))
    return jnp.pad(kernel, (ends, ends, (0, 0), (0, 0)))


@jax.custom_vjp
def _down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    if x.shape[-1] > FEW_CHANNELS:
        return _strided(x, kernel)
    batch, height, width, n = x.shape
    blocks = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    blocks = blocks.reshape(batch, height // 2 + 1, 2, width // 2 + 1, 2, n)
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // 2 + 1, width // 2 + 1, -1)
    taps = kernel.reshape(2, 2, 2, 2, n, -1).transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * n, -1)
    return lax.conv_general_dilated(blocks, taps, (1, 1), "VALID", dimension_numbers=DIMENSIONS)


@jax.custom_vjp
def _up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    batch, height, width, n = x.shape
    m = kernel.shape[-1]
    # kernel[2 t + a] is tap t of the pixels of phase a: [t, a, s, b, n, m] -> [t, s, n, (a, b, m)]
    taps = kernel.reshape(2, 2, 2, 2, n, m).transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, n, 4 * m)
    padding = [(1, 1), (1, 1)]
    y = lax.conv_general_dilated(x, taps, (1, 1), padding, dimension_numbers=DIMENSIONS)
    y = y.reshape(batch, height + 1, width + 1, 2, 2, m)
    rows = [
        jnp.stack([y[:, a : a + height, b : b + width, a, b] for b in (0, 1)], axis=3)
        for a in (0, 1)
    ]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, m)


def _strided(x: jax.Array, kernel: jax.Array) -> jax.Array:
    padding = [(1, 1), (1, 1)]
    return lax.conv_general_dilated(x, kernel, (2, 2), padding, dimension_numbers=DIMENSIONS)


def _mirrored(kernel: jax.Array) -> jax.Array:
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _kernel_gradient(x: jax.Array, g: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.vjp(lambda k: _strided(x, k), kernel)[1](g)[0]


def _down_forward(x, kernel):
    return _down(x, kernel), (x, kernel)


def _down_backward(saved, g):
    x, kernel = saved
    return _up(g, _mirrored(kernel)), _kernel_gradient(x, g, kernel)


def _up_forward(x, kernel):
    return _up(x, kernel), (x, kernel)


def _up_backward(saved, g):
    x, kernel = saved
    mirrored = _mirrored(kernel)
    return _down(g, mirrored), _mirrored(_kernel_gradient(g, x, mirrored))


_down.defvjp(_down_forward, _down_backward)
_up.defvjp(_up_forward, _up_backward)
