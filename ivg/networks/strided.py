"""Convolutions of stride 2 and their transposes, in forms that a CPU runs fast.

XLA's CPU backend runs input-dilated convolutions, which transposed convolutions and the input
gradients of strided ones are, slower than plain ones, and any convolution from or to few channels
at a tenth of its usual speed. Here

- a transposed convolution is four plain 2x2 convolutions, one for the pixels of each phase (Shi et
  al., CVPR 2016), dealt out to the blocks of the image: 0.9 to 1.5 times as fast as the input-
  dilated one of 64 and more channels, 1.9 to 3.8 times for 32;
- one to few channels is one matrix product and sums of shifted results: 1.1 times as fast for three
  channels, 2.8 times for one;
- a convolution of few channels is a matrix product with 4x4 patches, and so is its kernel gradient,
  which shares the patches: 1.6 to 3.5 times as fast from one channel, the gradient 2.8 times; with
  three channels 0.7 to 2.5 and 1.1 to 1.5 times (one thread, batch 64, sides of 32 to 64).

These are the same sums, to rounding. The two functions are each other's gradient, so derivatives
of any order stay in these forms. On other backends the ordinary operations are used.

Arrays are NHWC, kernels `[k, k, in, out]` with k 3 or 4, padding SAME, sides even: the conventions
and results of `flax.linen.Conv` and `ConvTranspose`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
FEW_CHANNELS = 4  # up to here matrix products are faster than convolutions
PHASES = (0, 1)  # of a pixel in its 2x2 block, and of a tap in its half of the kernel


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
    batch, height, width, _ = x.shape
    y = _patches(x) @ _by_halves(kernel).reshape(-1, kernel.shape[-1])
    return y.reshape(batch, height // 2, width // 2, -1)


@jax.custom_vjp
def _up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    batch, height, width, n = x.shape
    m = kernel.shape[-1]
    halves = kernel.reshape(2, 2, 2, 2, n, m)  # kernel[2 t + a, 2 s + b] is [t, a, s, b]
    phase = (_few_phase if m <= FEW_CHANNELS else _many_phase)(x, halves)
    rows = [jnp.stack([phase(a, b) for b in PHASES], axis=3) for a in PHASES]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, m)


def _many_phase(x: jax.Array, halves: jax.Array) -> Callable[[int, int], jax.Array]:
    """The pixels `[B, h, w, m]` of phase (a, b) of a transposed convolution."""

    def phase(a: int, b: int) -> jax.Array:
        padding = [(1 - a, a), (1 - b, b)]
        taps = halves[:, a, :, b]
        return lax.conv_general_dilated(x, taps, (1, 1), padding, dimension_numbers=DIMENSIONS)

    return phase


def _few_phase(x: jax.Array, halves: jax.Array) -> Callable[[int, int], jax.Array]:
    """The same for few channels: all products with all taps at once, then sums of shifts."""
    batch, height, width, n = x.shape
    taps = halves.transpose(4, 0, 2, 1, 3, 5)  # [n, t, s, a, b, m]
    y = (x @ taps.reshape(n, -1)).reshape(batch, height, width, *taps.shape[1:])
    y = jnp.pad(y, ((0, 0), (1, 1), (1, 1)) + ((0, 0),) * 5)

    def phase(a: int, b: int) -> jax.Array:
        each = [
            y[:, a + t : a + t + height, b + s : b + s + width, t, s, a, b]
            for t in PHASES
            for s in PHASES
        ]
        return sum(each[1:], each[0])

    return phase


def _patches(x: jax.Array) -> jax.Array:
    """The 4x4 pixels that each output sees, `[B, 2h, 2w, n]` to `[B h w, 16 n]`.

    In the order [t, s, a, b, n] for row 2 t + a and column 2 s + b: 2x2 blocks are copied whole.
    """
    batch, height, width, n = (x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3])
    blocks = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    blocks = blocks.reshape(batch, height + 1, 2, width + 1, 2, n).transpose(0, 1, 3, 2, 4, 5)
    blocks = blocks.reshape(batch, height + 1, width + 1, 4 * n)
    shifted = [blocks[:, t : t + height, s : s + width] for t in PHASES for s in PHASES]
    return jnp.concatenate(shifted, axis=-1).reshape(-1, 16 * n)


def _by_halves(kernel: jax.Array) -> jax.Array:
    """A kernel in the order of `_patches`, `[4, 4, n, m]` to `[2, 2, 2, 2, n, m]`."""
    n, m = kernel.shape[2:]
    return kernel.reshape(2, 2, 2, 2, n, m).transpose(0, 2, 1, 3, 4, 5)


def _strided(x: jax.Array, kernel: jax.Array) -> jax.Array:
    padding = [(1, 1), (1, 1)]
    return lax.conv_general_dilated(x, kernel, (2, 2), padding, dimension_numbers=DIMENSIONS)


def _mirrored(kernel: jax.Array) -> jax.Array:
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _kernel_gradient(x: jax.Array, g: jax.Array, kernel: jax.Array) -> jax.Array:
    if x.shape[-1] > FEW_CHANNELS:
        return jax.vjp(lambda k: _strided(x, k), kernel)[1](g)[0]
    n, m = kernel.shape[2:]
    taps = _patches(x).T @ g.reshape(-1, m)
    return taps.reshape(2, 2, 2, 2, n, m).transpose(0, 2, 1, 3, 4, 5).reshape(kernel.shape)


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
