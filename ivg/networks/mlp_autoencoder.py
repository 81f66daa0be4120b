"""Perceptrons for variational autoencoders of small images: quick on a CPU.

Own design, no publication: two hidden layers of one width in encoder and decoder, ReLU, no norm.
"""

from flax import linen as nn

from ivg.networks import blocks, mlp
from ivg.networks.blocks import Array, AutoencoderFamily, ImageShape, Network, network


def _hidden(x: Array, width: int) -> Array:
    for _ in range(2):
        x = blocks.relu(blocks.dense(x, width, init=blocks.HE))
    return x


class Encoder(nn.Module):
    """Linear heads on two hidden layers."""

    sizes: tuple[int, ...]
    width: int

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps images `[B, H, W, C]` to heads, `[B, size]` each."""
        x = _hidden(blocks.flatten(images), self.width)
        return blocks.heads(x, self.sizes, init=blocks.LECUN)


class Decoder(nn.Module):
    """Two hidden layers; no last nonlinearity."""

    image_shape: ImageShape
    width: int

    @nn.compact
    def __call__(self, latents: Array, *, train: bool) -> Array:
        """Maps latents `[B, n]` to `[B, H, W, C]`."""
        height, width, channels = self.image_shape
        x = _hidden(latents, self.width)
        x = blocks.dense(x, height * width * channels, init=blocks.LECUN)
        return x.reshape(-1, *self.image_shape)


def mlp_autoencoder(*, width: int = 256) -> AutoencoderFamily:
    """The perceptrons.

    Args:
      width: units of every hidden layer, a whole number.

    Returns:
      The family.

    Raises:
      UserError: the width is not a positive whole number.
    """
    width = blocks.require_units(width)

    def decoder(image_shape: ImageShape) -> Network:
        mlp.check(image_shape)
        return network(Decoder(tuple(image_shape), width))

    return AutoencoderFamily(
        encoder=lambda sizes: network(Encoder(tuple(sizes), width)),
        decoder=decoder,
        check=mlp.check,
    )
