"""Perceptrons for the GANs with codes (IB-GAN, InfoGAN, GAN) on small images: quick on a CPU.

Own design, no publication: two hidden layers of one width in every network but the representation
encoder, which is the released IB-GAN code's for the sprites. Batch norm in generator and
reconstructor, none in the discriminator and the pair classifier. Nothing is shared: the
reconstructor reads the image.
"""

import jax.numpy as jnp
from flax import linen as nn

from ivg.networks import blocks, mlp
from ivg.networks.blocks import Array, CodeFamily, ImageShape, Network, network


class Representation(nn.Module):
    """e(r | z): two hidden layers of 32 units, ReLU, two linear heads."""

    size: int

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps z `[B, n]` to the mean and the log-variance of r, `[B, size]` each."""
        x = z
        for _ in range(2):
            x = blocks.relu(blocks.dense(x, 32, init=blocks.HE))
        return blocks.heads(x, (self.size, self.size), init=blocks.NORMAL_002)


class Discriminator(nn.Module):
    """Two hidden layers, leaky ReLU, no norm."""

    width: int

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> tuple[Array, Array]:
        """Maps images `[B, H, W, C]` to logits `[B]` and to themselves."""
        x = _hidden(images, self.width)
        return blocks.logit(x, init=blocks.LECUN), jnp.asarray(images)


class PairClassifier(nn.Module):
    """Two hidden layers, leaky ReLU, no norm."""

    size: int
    width: int

    @nn.compact
    def __call__(self, pairs: Array, *, train: bool) -> Array:
        """Maps two images, stacked along their channels `[B, H, W, 2C]`, to logits `[B, size]`."""
        return blocks.readout(_hidden(pairs, self.width), self.size, init=blocks.LECUN)


def _hidden(images: Array, width: int) -> Array:
    x = blocks.flatten(images)
    for _ in range(2):
        x = blocks.leaky_relu(blocks.dense(x, width, init=blocks.HE), mlp.SLOPE)
    return x


def mlp_codes(*, width: int = 256) -> CodeFamily:
    """The perceptrons.

    Args:
      width: units of every hidden layer, a whole number.

    Returns:
      The family.

    Raises:
      UserError: the width is not a positive whole number.
    """
    width = blocks.require_units(width)

    def generator(image_shape: ImageShape) -> Network:
        mlp.check(image_shape)
        return network(mlp.Generator(tuple(image_shape), width, norm="batch"))

    return CodeFamily(
        representation=lambda size: network(Representation(size)),
        generator=generator,
        discriminator=lambda: network(Discriminator(width)),
        reconstructor=lambda sizes: network(mlp.Encoder(tuple(sizes), width, norm="batch")),
        pair_classifier=lambda size: network(PairClassifier(size, width)),
        check=mlp.check,
    )
