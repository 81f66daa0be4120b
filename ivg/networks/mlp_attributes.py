"""Perceptrons for MMVAE, CSVAE and r-CVAE on small images: quick on a CPU.

Own design, no publication: two hidden layers of one width with batch norm for each of z, c and the
image, joined as in the thesis' networks (`ivg.networks.mmvae64`): z and c share the first layer,
the labels join every input of the branch of c after it, and c joins every input of the decoder.
"""

from flax import linen as nn

from ivg.networks import blocks, mlp, mmvae64
from ivg.networks.blocks import Array, AttributeFamily, ImageShape, Network, network


def _hidden(x: Array, width: int, *, train: bool) -> Array:
    x = blocks.dense(x, width, init=blocks.HE, bias=False)
    return blocks.leaky_relu(blocks.batch_norm(x, train=train), mlp.SLOPE)


class Encoder(nn.Module):
    """q(z|x) and q(c|x,y): one shared hidden layer, then one for each."""

    dim_z: int
    num_attributes: int
    width: int

    @nn.compact
    def __call__(self, images: Array, y: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps images `[B, H, W, C]` and labels `[B, k]` to the means and log-variances.

        Returns:
          z_mean, z_log_var `[B, dim_z]`, which do not depend on the labels; c_mean, c_log_var
          `[B, 2k]`.
        """
        x = _hidden(blocks.flatten(images), self.width, train=train)
        labels = mmvae64.one_hot(y)
        z = _hidden(x, self.width, train=train)
        c = _hidden(blocks.join(x, labels), self.width, train=train)
        c = blocks.join(c, labels)
        return (
            *mmvae64.heads_z(z, self.dim_z),
            *mmvae64.heads_c(c, 2 * self.num_attributes),
        )


class Decoder(nn.Module):
    """p(x|z,c): two hidden layers, tanh."""

    image_shape: ImageShape
    width: int

    @nn.compact
    def __call__(self, z: Array, c: Array, *, train: bool) -> Array:
        """Maps z `[B, n]` and c `[B, 2k]` to images `[B, H, W, C]` in [-1, 1]."""
        x = z
        for _ in range(2):
            x = _hidden(blocks.join(x, c), self.width, train=train)
        height, width, channels = self.image_shape
        x = blocks.dense(blocks.join(x, c), height * width * channels, init=blocks.LECUN)
        return blocks.tanh(x).reshape(-1, *self.image_shape)


def mlp_attributes(*, width: int = 256) -> AttributeFamily:
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

    return AttributeFamily(
        encoder=lambda dim_z, num_attributes: network(Encoder(dim_z, num_attributes, width)),
        decoder=decoder,
        check=mlp.check,
    )
