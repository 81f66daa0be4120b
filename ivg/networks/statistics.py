"""Perceptrons on latents: statistics networks T of information bounds, and those that classify.

The MMVAE thesis gives T seven hidden layers of 512 units on the concatenated pair, a linear output
and no norm; the activation and the initial weights are not given. Here: ReLU, and He's
initialisation, which keeps the scale of activations and gradients through seven ReLU layers (with
1 / fan_in the seventh would be 11 times smaller, and at learning rates of 1e-4 or 1e-5 nothing
would move for long). The last layer starts at a tenth of 1 / sqrt(fan_in), so that T starts near 0:
the bound then starts near 0, and so does the logarithm of its denominator, where the moving average
of `losses.information.donsker_varadhan_ema` starts. Label predictors differ in their output only.

FactorVAE's discriminator (Kim & Mnih 2018, appendix A) has six hidden layers of 1000 units, leaky
ReLU of slope 0.2, two logits and no norm; Glorot's uniform weights are disentanglement_lib's.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from ivg.errors import UserError
from ivg.networks import blocks
from ivg.networks.blocks import Array, Network, network
from ivg.networks.precision import computing_in

# Variance 0.01 / fan_in.
SMALL = nn.initializers.variance_scaling(0.01, "fan_in", "normal")


def _hidden(x: Array, *, width: int, depth: int) -> Array:
    for _ in range(depth):
        x = blocks.relu(blocks.dense(x, width, init=blocks.HE))
    return x


class Statistics(nn.Module):
    """T(a, b): `depth` hidden layers, ReLU, no norm."""

    width: int
    depth: int

    @nn.compact
    def __call__(self, a: Array, b: Array, *, train: bool) -> Array:
        """Maps pairs `[B, n]`, `[B, m]` to scores `[B]`."""
        x = blocks.join(a, b)
        x = x.astype(jnp.result_type(x, jnp.float32))  # labels may be bool
        x = _hidden(x, width=self.width, depth=self.depth)
        # No bias: the bound does not see a constant added to all scores.
        return blocks.score(x, init=SMALL)


class Labels(nn.Module):
    """q(y|z): `depth` hidden layers, ReLU, no norm."""

    num_attributes: int
    width: int
    depth: int

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> Array:
        """Maps latents `[B, n]` to logits `[B, k]`."""
        x = _hidden(z, width=self.width, depth=self.depth)
        return blocks.dense(x, self.num_attributes, init=SMALL)


class CodeDiscriminator(nn.Module):
    """Two classes of codes: `depth` hidden layers, leaky ReLU, no norm."""

    width: int
    depth: int

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> Array:
        """Maps latents `[B, n]` to logits `[B, 2]`."""
        x = z
        for _ in range(self.depth):
            x = blocks.leaky_relu(blocks.dense(x, self.width, init=blocks.GLOROT), 0.2)
        return blocks.readout(x, 2, init=blocks.GLOROT)


def statistics_network(*, width: int = 512, depth: int = 7) -> Network:
    """T of a Donsker-Varadhan bound, from pairs (a `[B, n]`, b `[B, m]`) to scores `[B]`.

    Args:
      width: units of every hidden layer.
      depth: number of hidden layers.

    Raises:
      UserError: width or depth is not a positive whole number.
    """
    return network(Statistics(width=_whole("width", width), depth=_whole("depth", depth)))


def label_network(num_attributes: int, *, width: int = 512, depth: int = 7) -> Network:
    """The predictor q(y|z) of CSVAE, from latents (z `[B, n]`,) to logits `[B, k]`.

    Args:
      num_attributes: k, the number of binary attributes.
      width: units of every hidden layer.
      depth: number of hidden layers.

    Raises:
      UserError: width or depth is not a positive whole number.
    """
    width, depth = _whole("width", width), _whole("depth", depth)
    return network(Labels(num_attributes=num_attributes, width=width, depth=depth))


def code_discriminator(
    *, width: int = 1000, depth: int = 6, dtype: DTypeLike | None = None
) -> Network:
    """FactorVAE's discriminator, from codes (z `[B, n]`,) to two logits `[B, 2]`.

    Args:
      width: units of every hidden layer.
      depth: number of hidden layers.
      dtype: what it computes in, None for float32; see `ivg.networks.precision`.

    Raises:
      UserError: width or depth is not a positive whole number.
    """
    one = CodeDiscriminator(width=_whole("width", width), depth=_whole("depth", depth))
    return computing_in(dtype, network(one))


def _whole(name: str, value: Any) -> int:
    if value != int(value) or value < 1:
        raise UserError(
            f"the {name} of a network on latents must be a whole number of at least 1, not {value}"
        )
    return int(value)
