"""The networks of the MMVAE thesis (Kim, 2019), which r-CVAE, CSVAE and MMVAE share there.

As in the text: convolutions and transposed convolutions of kernel 4, stride 2, padding 1, each with
batch norm, leaky ReLU in the encoder and ReLU in the decoder; 32 to 512 filters; flattened features
of 2x2x512 for z, of which the encoder q(z|x) sees no label; a branch of two convolutions for c,
q(c|x,y), which gets the one-hot labels of all k attributes as 2k constant maps; a decoder of a
dense layer of 2048 units and four transposed convolutions of 256 to 32 filters, which gets c as 2k
constant maps at every stage.

Where the text is silent:
- Leaky ReLU slope 0.2, as is usual with batch norm.
- The drawing leaves open where the branch of c leaves the trunk: here after the 128 filters (8x8),
  with two convolutions of 256, so that both branches have the trunk's depth. The labels join the
  input of both convolutions and the flattened features.
- Initialisers: He et al. (2015) before batch norm. The norm undoes the scale of its input, so all
  that an initialiser decides there is how far Adam's first steps turn the weights; with the std
  0.02 of the GANs the first layers (0.2 here) would turn ten times faster than the last ones.
- The heads of log-variances, and both of c, start near 0: z's standard deviation near 1 (the
  prior's) and c near p(c|y), of which these heads say the deviation (`ivg.methods.r_cvae`).

Departures, and why:
- Linear heads of mean and log-variance. Read literally they carry batch norm and a leaky ReLU, but
  a rectified mean cannot follow N(0, I), and a log-variance needs no positive unit.
- A last transposed convolution to the image's channels with tanh: the text stops at 32x32 pixels.
- Images of 16 and 32 pixels are taken too (ours): the encoder leaves out its first convolutions,
  the decoder its last hidden ones.
- No bias before a batch norm (see `ivg.networks.blocks`).
"""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn

from ivg.networks import blocks
from ivg.networks.blocks import Array, AttributeFamily, ImageShape, Network, network, scaled

SLOPE = 0.2  # of the leaky ReLUs
SIZES = (16, 32, 64)
BASE = 2  # side of the smallest feature maps
TRUNK = (32, 64, 128)
BRANCH_Z, BRANCH_C = (256, 512), (256, 256)
UNITS = 2048  # of the decoder's dense layer: 2x2x512
STAGES = (256, 128, 64, 32)

# Heads that start near their bias: an output of std 0.1 for features of mean square 1.
NEAR_BIAS = nn.initializers.variance_scaling(0.01, "fan_in", "normal")


def one_hot(y: Array) -> Array:
    """One-hot labels of k binary attributes, `[B, k]` to `[B, 2k]`: absent first, then present."""
    y = jnp.asarray(y, blocks.dtype_of(y))
    return jnp.concatenate([1 - y, y], axis=-1)


def heads_z(x: Array, dim_z: int) -> tuple[Array, Array]:
    """Mean and log-variance of z, `[B, dim_z]` each, of features `[B, n]`."""
    return (
        blocks.readout(x, dim_z, init=blocks.LECUN),
        blocks.readout(x, dim_z, init=NEAR_BIAS),
    )


def heads_c(x: Array, dim_c: int) -> tuple[Array, Array]:
    """Mean and log-variance of c, `[B, dim_c]` each, of features `[B, n]`."""
    return blocks.readout(x, dim_c, init=NEAR_BIAS), blocks.readout(x, dim_c, init=NEAR_BIAS)


def _with_maps(x: Array, codes: Array) -> Array:
    """Features `[B, h, w, n]` with codes `[B, m]` as m more maps, each constant over the image."""
    maps = jnp.broadcast_to(codes[:, None, None, :], (*x.shape[:3], codes.shape[-1]))
    return jnp.concatenate([x, maps], axis=-1)


def _down(x: Array, channels: int, *, train: bool) -> Array:
    x = blocks.conv(x, channels, kernel=4, stride=2, init=blocks.HE, bias=False)
    return blocks.leaky_relu(blocks.batch_norm(x, train=train), SLOPE)


def _up(x: Array, channels: int, *, train: bool) -> Array:
    x = blocks.deconv(x, channels, kernel=4, stride=2, init=blocks.HE, bias=False)
    return blocks.relu(blocks.batch_norm(x, train=train))


def _hidden_stages(side: int) -> int:
    """Stages of the decoder before the last: 4 at 64x64."""
    return (side // BASE).bit_length() - 2


class Encoder(nn.Module):
    """q(z|x) and q(c|x,y): three shared convolutions, then two for each."""

    dim_z: int
    num_attributes: int
    width: float

    @nn.compact
    def __call__(self, images: Array, y: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps images `[B, H, W, C]` and labels `[B, k]` to the means and log-variances.

        Returns:
          z_mean, z_log_var `[B, dim_z]`, which do not depend on the labels; c_mean, c_log_var
          `[B, 2k]`.
        """
        down = partial(_down, train=train)
        x = images
        for channels in TRUNK[-(_hidden_stages(images.shape[1]) - 1) :]:
            x = down(x, scaled(channels, self.width))
        z = c = x
        for channels in BRANCH_Z:
            z = down(z, scaled(channels, self.width))
        labels = one_hot(y)
        for channels in BRANCH_C:
            c = down(_with_maps(c, labels), scaled(channels, self.width))
        c = blocks.join(blocks.flatten(c), labels)
        return (*heads_z(blocks.flatten(z), self.dim_z), *heads_c(c, 2 * self.num_attributes))


class Decoder(nn.Module):
    """p(x|z,c): a dense layer, then transposed convolutions, with c at the input of each."""

    image_shape: ImageShape
    width: float

    @nn.compact
    def __call__(self, z: Array, c: Array, *, train: bool) -> Array:
        """Maps z `[B, n]` and c `[B, 2k]` to images `[B, H, W, C]` in [-1, 1]."""
        # Whole maps whatever the width, so count filters: 512 of them at the thesis' width.
        filters = scaled(UNITS // BASE**2, self.width)
        x = blocks.dense(blocks.join(z, c), BASE**2 * filters, init=blocks.HE, bias=False)
        x = blocks.relu(blocks.batch_norm(x, train=train)).reshape(-1, BASE, BASE, filters)
        height, _, channels = self.image_shape
        for stage in STAGES[: _hidden_stages(height)]:
            x = _up(_with_maps(x, c), scaled(stage, self.width), train=train)
        x = _with_maps(x, c)
        return blocks.tanh(blocks.deconv(x, channels, kernel=4, stride=2, init=blocks.LECUN))


def check(image_shape: ImageShape) -> None:
    """Raises `UserError` unless images are 16x16, 32x32 or 64x64."""
    height, width, _ = image_shape
    blocks.require_size(
        "mmvae64",
        image_shape,
        fits=height == width and height in SIZES,
        takes="images of 16x16, 32x32 or 64x64 pixels",
        use=min(SIZES, key=lambda size: abs(size - max(height, width))),
    )


def mmvae64(*, width: float = 1.0) -> AttributeFamily:
    """The MMVAE thesis' networks.

    Args:
      width: multiplies the number of filters and of hidden units; 1 is as in the thesis.

    Returns:
      The family.

    Raises:
      UserError: the width is not positive.
    """
    blocks.require_width(width)

    def decoder(image_shape: ImageShape) -> Network:
        check(image_shape)
        return network(Decoder(tuple(image_shape), width))

    return AttributeFamily(
        encoder=lambda dim_z, num_attributes: network(Encoder(dim_z, num_attributes, width)),
        decoder=decoder,
        check=check,
    )
