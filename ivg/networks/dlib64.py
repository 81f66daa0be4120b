"""The convolutional encoder and decoder of disentanglement_lib, for 64x64 images.

Locatello et al., "Challenging Common Assumptions in the Unsupervised Learning of Disentangled
Representations", ICML 2019, Table 1, as google-research/disentanglement_lib has them: two
convolutions of kernel 4 and 32 channels, two of kernel 2 and 64 channels, all of stride 2, and a
dense layer of 256; the decoder mirrors it with kernels of 4 throughout. ReLU, no norm, Glorot's
uniform weights. Pixels are read as [0, 1].
"""

import jax
from flax import linen as nn

from ivg.networks import blocks
from ivg.networks.blocks import (
    GLOROT,
    Array,
    AutoencoderFamily,
    ImageShape,
    Network,
    network,
    scaled,
)

SIDE = 64


class Encoder(nn.Module):
    """Linear heads on four convolutions and one dense layer."""

    sizes: tuple[int, ...]
    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps images `[B, 64, 64, C]` to heads, `[B, size]` each."""
        x = 0.5 * (images + 1.0)
        for _ in range(2):
            channels = scaled(32, self.width)
            x = blocks.relu(blocks.conv(x, channels, kernel=4, stride=2, init=GLOROT))
        for _ in range(2):
            x = blocks.relu(blocks.dense(two_by_two(x), scaled(64, self.width), init=_block_init))
        x = blocks.relu(blocks.dense(blocks.flatten(x), scaled(256, self.width), init=GLOROT))
        return blocks.heads(x, self.sizes, init=GLOROT)


class Decoder(nn.Module):
    """Two dense layers and four transposed convolutions; no last nonlinearity."""

    image_shape: ImageShape
    width: float

    @nn.compact
    def __call__(self, latents: Array, *, train: bool) -> Array:
        """Maps latents `[B, n]` to `[B, 64, 64, C]`."""
        wide, narrow = scaled(64, self.width), scaled(32, self.width)
        x = blocks.relu(blocks.dense(latents, scaled(256, self.width), init=GLOROT))
        x = blocks.relu(blocks.dense(x, 4 * 4 * wide, init=GLOROT)).reshape(-1, 4, 4, wide)
        for channels in (wide, narrow, narrow):  # 8x8, 16x16, 32x32
            x = blocks.relu(blocks.deconv(x, channels, kernel=4, stride=2, init=GLOROT))
        return blocks.deconv(x, self.image_shape[2], kernel=4, stride=2, init=GLOROT)


def two_by_two(x: Array) -> Array:
    """2x2 pixels as channels, `[B, 2h, 2w, n]` to `[B, h, w, 4n]`.

    A dense layer on it is a convolution of kernel 2 and stride 2, and fast on every backend.
    """
    batch, height, width, n = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, n)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // 2, width // 2, 4 * n)


def _block_init(key: Array, shape: tuple[int, int], dtype: jax.typing.DTypeLike) -> Array:
    """Glorot's weights of a convolution of kernel 2, whose fan-out counts all four taps."""
    taps, channels = shape
    return GLOROT(key, (2, 2, taps // 4, channels), dtype).reshape(shape)


def check(image_shape: ImageShape) -> None:
    """Raises `UserError` unless images are 64x64."""
    blocks.require_size(
        "dlib64",
        image_shape,
        fits=tuple(image_shape[:2]) == (SIDE, SIDE),
        takes="images of 64x64 pixels",
        use=SIDE,
    )


def dlib64(*, width: float = 1.0) -> AutoencoderFamily:
    """disentanglement_lib's networks.

    Args:
      width: multiplies the channels and units of every hidden layer (1 = as released).

    Returns:
      The family. `check` and `decoder` raise `UserError` unless images are 64x64.

    Raises:
      UserError: the width is not positive.
    """
    blocks.require_width(width)

    def decoder(image_shape: ImageShape) -> Network:
        check(image_shape)
        return network(Decoder(tuple(image_shape), width))

    return AutoencoderFamily(
        encoder=lambda sizes: network(Encoder(tuple(sizes), width)), decoder=decoder, check=check
    )
