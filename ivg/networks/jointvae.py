"""JointVAE's encoder and decoder, for images of 32x32 and 64x64 pixels.

Dupont, "Learning Disentangled Joint Continuous and Discrete Representations", NeurIPS 2018,
appendix A, and Schlumberger/joint-vae: convolutions of kernel 4 and stride 2 with 32, 64, 64
channels (at 64x64 with 32, 32, 64, 64), a dense layer of 256; the decoder has dense layers of 256
and 1024, then transposed convolutions back to the image. ReLU, no norm. Weights are PyTorch's
default, U(-a, a) with a^2 = 1 / fan_in, whose fan-in of a transposed convolution is what others
call the fan-out. Pixels are read as [0, 1].

Departures, and why:
- Biases start at 0, as everywhere in `ivg`, not at PyTorch's U(-a, a).
- No sigmoid at the decoder's end: the likelihood takes logits.
"""

from flax import linen as nn

from ivg.networks import blocks
from ivg.networks.blocks import Array, AutoencoderFamily, ImageShape, Network, network, scaled

SIZES = (32, 64)
PYTORCH = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
PYTORCH_TRANSPOSED = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")


def _conv(x: Array, channels: int) -> Array:
    return blocks.relu(blocks.conv(x, channels, kernel=4, stride=2, init=PYTORCH))


def _deconv(x: Array, channels: int) -> Array:
    return blocks.deconv(x, channels, kernel=4, stride=2, init=PYTORCH_TRANSPOSED)


def _dense(x: Array, features: int) -> Array:
    return blocks.relu(blocks.dense(x, features, init=PYTORCH))


class Encoder(nn.Module):
    """Linear heads on three or four convolutions and one dense layer."""

    sizes: tuple[int, ...]
    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps images `[B, H, W, C]` to heads, `[B, size]` each."""
        x = 0.5 * (images + 1.0)
        for channels in (32, 64, 64) if images.shape[1] == 32 else (32, 32, 64, 64):
            x = _conv(x, scaled(channels, self.width))
        x = _dense(blocks.flatten(x), scaled(256, self.width))
        return blocks.heads(x, self.sizes, init=PYTORCH)


class Decoder(nn.Module):
    """Two dense layers and three or four transposed convolutions; no last nonlinearity."""

    image_shape: ImageShape
    width: float

    @nn.compact
    def __call__(self, latents: Array, *, train: bool) -> Array:
        """Maps latents `[B, n]` to `[B, H, W, C]`."""
        wide, narrow = scaled(64, self.width), scaled(32, self.width)
        x = _dense(latents, scaled(256, self.width))
        x = _dense(x, 4 * 4 * wide).reshape(-1, 4, 4, wide)
        height, _, channels = self.image_shape
        for hidden in (narrow, narrow) if height == 32 else (wide, narrow, narrow):
            x = blocks.relu(_deconv(x, hidden))
        return _deconv(x, channels)


def check(image_shape: ImageShape) -> None:
    """Raises `UserError` unless images are 32x32 or 64x64."""
    height, width, _ = image_shape
    blocks.require_size(
        "jointvae",
        image_shape,
        fits=height == width and height in SIZES,
        takes="images of 32x32 or 64x64 pixels",
        use=min(SIZES, key=lambda size: abs(size - max(height, width))),
    )


def jointvae(*, width: float = 1.0) -> AutoencoderFamily:
    """JointVAE's networks.

    Args:
      width: multiplies the channels and units of every hidden layer (1 = as published).

    Returns:
      The family. `check` and `decoder` raise `UserError` unless images are 32x32 or 64x64.

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
