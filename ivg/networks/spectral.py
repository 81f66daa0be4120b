"""Layers whose weights are divided by their largest singular value.

Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for Generative Adversarial Networks", ICLR
2018: the kernel, as a matrix `[everything else, outputs]`, is divided by an estimate of its
spectral norm, which makes a dense layer 1-Lipschitz. The estimate is v^T W u after one step of
power iteration (their algorithm 1) from a vector u that is kept from one training pass to the next.

u lives in the network's `stats`. A training pass moves it, so a network that is called twice in one
step moves it twice; inference takes the same step from it and forgets the result. The gradient
takes u and v as constants, as the paper's eq. 10 does: at the singular vectors this is exact. All
of this is float32; only then is a kernel rounded to what its layer computes in.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from ivg.networks import blocks, strided
from ivg.networks.blocks import Array, Initializer


def normalised(kernel: Array, u: Array) -> tuple[Array, Array]:
    """A kernel `[..., outputs]` over its estimated spectral norm, and the next u.

    Args:
      kernel: read as a matrix of `outputs` columns; carries gradient.
      u: unit vector `[outputs]`, an estimate of the right singular vector of the largest singular
        value; carries no gradient.

    Returns:
      The kernel by its norm, in its own shape, and the vector after one step of power iteration.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    fixed = jax.lax.stop_gradient(matrix)
    v = _unit(fixed @ jax.lax.stop_gradient(u))
    u = _unit(v @ fixed)
    return kernel / (v @ matrix @ u), u


def _unit(x: Array) -> Array:
    return x / (jnp.linalg.norm(x) + 1e-12)


def _kept(module: nn.Module, kernel: Array, *, train: bool) -> Array:
    """The kernel normalised with the module's own u, which a training pass moves."""

    def start() -> Array:
        return _unit(jax.random.normal(module.make_rng("params"), kernel.shape[-1:]))

    u = module.variable("batch_stats", "u", start)
    kernel, moved = normalised(kernel, u.value)
    if train:
        u.value = moved
    return kernel


class Dense(nn.Module):
    """A fully connected layer with a normalised kernel and a bias."""

    features: int
    init_weights: Initializer

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[B, n]` to `[B, features]`."""
        kernel = self.param("kernel", self.init_weights, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel = jnp.asarray(_kept(self, kernel, train=train), blocks.dtype_of(x))
        return x @ kernel + jnp.asarray(bias, kernel.dtype).reshape(1, -1)


class Down(nn.Module):
    """A convolution of stride 2, kernel 4, padding SAME, with a normalised kernel and a bias."""

    channels: int
    init_weights: Initializer

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[B, H, W, n]`, sides even, to `[B, H/2, W/2, channels]`."""
        kernel = self.param("kernel", self.init_weights, (4, 4, x.shape[-1], self.channels))
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        kernel = jnp.asarray(_kept(self, kernel, train=train), blocks.dtype_of(x))
        return strided.down(x, kernel) + jnp.asarray(bias, kernel.dtype).reshape(1, 1, 1, -1)


def dense(x: Array, features: int, *, init: Initializer, train: bool) -> Array:
    """Fully connected layer with a normalised kernel, `[B, n]` to `[B, features]`."""
    return Dense(features, init)(x, train=train)


def down(x: Array, channels: int, *, init: Initializer, train: bool) -> Array:
    """Convolution of stride 2 and kernel 4 with a normalised kernel; halves the sides."""
    return Down(channels, init)(x, train=train)
