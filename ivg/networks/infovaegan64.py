"""The networks of the released InfoVAEGAN code (Ye and Bors, ICIP 2021; dtuzi123/InfoVAEGAN).

For 64x64 images (its CelebA, chairs and dSprites scripts), with its 32x32 variant (CIFAR10, SVHN).
The paper gives no layer sizes. As released: kernels 3x3, convolutions truncated normal, transposed
convolutions and dense layers normal with std 0.02, biases 0, batch norm with gain 1 and epsilon
1e-5, leaky ReLU slope 0.2. The 32x32 variant also normalises the encoder's first convolution.

Departures, and why:
- The critic, which the released code lacks, is its discriminator without the code input and with
  layer norm where that has batch norm: the gradient penalty excludes batch norm (Gulrajani et al.
  2017, section 4). Its first convolution has no norm at either size.
- Batch norm uses running averages outside training (the released code never does), and no network
  knows the batch size (there it is fixed to 64).
- No bias before a batch norm (see `ivg.networks.blocks`).
"""

from functools import partial

from flax import linen as nn

from ivg.networks import blocks
from ivg.networks.blocks import (
    NORMAL_002,
    TRUNCATED_002,
    Array,
    Family,
    ImageShape,
    Norm,
    scaled,
)

SLOPE = 0.2  # of the leaky ReLUs
SIZES = (32, 64)


def _batch_norms(train: bool, images: Array) -> tuple[Norm | None, ...]:
    """Norms of the four convolutions; the first has one at 32x32 only."""
    norm = partial(blocks.batch_norm, train=train)
    first = norm if images.shape[1] == 32 else None
    return first, norm, norm, norm


def _convolutions(
    images: Array, *, width: float, norms: tuple[Norm | None, ...], bias: bool
) -> Array:
    """Images to features `[B, H/16 * W/16 * 512]`; `bias` in the layers that a norm follows."""
    x = images
    for channels, norm in zip((64, 128, 256, 512), norms, strict=True):
        layer = partial(blocks.conv, kernel=3, stride=2, init=TRUNCATED_002)
        if norm is None:
            x = layer(x, scaled(channels, width))
        else:
            x = norm(layer(x, scaled(channels, width), bias=bias))
        x = blocks.leaky_relu(x, SLOPE)
    return blocks.flatten(x)


def _dense(x: Array, width: float) -> Array:
    return blocks.leaky_relu(blocks.dense(x, scaled(1024, width), init=NORMAL_002), SLOPE)


class Generator(nn.Module):
    """One dense layer, then transposed convolutions; batch norm, ReLU, tanh."""

    image_shape: ImageShape
    width: float

    @nn.compact
    def __call__(self, latents: Array, *, train: bool) -> Array:
        """Maps latents `[B, n]` to images `[B, H, W, C]` in [-1, 1]."""
        norm = partial(blocks.batch_norm, train=train)
        layer = partial(blocks.deconv, kernel=3, init=NORMAL_002)
        base = scaled(256, self.width)
        x = blocks.dense(latents, 8 * 8 * base, init=NORMAL_002, bias=False)
        x = blocks.relu(norm(x.reshape(-1, 8, 8, base)))  # per channel, as released
        for stride in (2, 1, 2, 1):  # 16x16 twice, 32x32 twice
            x = blocks.relu(norm(layer(x, base, stride=stride, bias=False)))
        height, _, channels = self.image_shape
        if height == 64:
            x = blocks.relu(norm(layer(x, scaled(128, self.width), stride=2, bias=False)))
        return blocks.tanh(layer(x, channels, stride=1))


class Encoder(nn.Module):
    """Linear heads on a shared trunk of four convolutions and FC 1024."""

    sizes: tuple[int, ...]
    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps images `[B, H, W, C]` to heads, `[B, size]` each."""
        norms = _batch_norms(train, images)
        x = _convolutions(images, width=self.width, norms=norms, bias=False)
        return blocks.heads(_dense(x, self.width), self.sizes, init=NORMAL_002)


class Critic(nn.Module):
    """Four convolutions, FC 1024; layer norm after the last three convolutions."""

    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        """Maps images `[B, H, W, C]` to scores `[B]`."""
        norms = (None, blocks.layer_norm, blocks.layer_norm, blocks.layer_norm)
        x = _convolutions(images, width=self.width, norms=norms, bias=True)
        return blocks.score(_dense(x, self.width), init=NORMAL_002)


class JointDiscriminator(nn.Module):
    """Four convolutions, then the codes join; FC 1024."""

    width: float

    @nn.compact
    def __call__(self, images: Array, codes: Array, *, train: bool) -> Array:
        """Maps images `[B, H, W, C]` and codes `[B, m]` to logits `[B]`."""
        norms = _batch_norms(train, images)
        x = _convolutions(images, width=self.width, norms=norms, bias=False)
        return blocks.logit(_dense(blocks.join(x, codes), self.width), init=NORMAL_002)


def check(image_shape: ImageShape) -> None:
    """Raises `UserError` unless images are 32x32 or 64x64."""
    height, width, _ = image_shape
    blocks.require_size(
        "infovaegan64",
        image_shape,
        fits=height == width and height in SIZES,
        takes="images of 32x32 or 64x64 pixels",
        use=min(SIZES, key=lambda size: abs(size - max(height, width))),
    )


def infovaegan64(*, width: float = 1.0) -> Family:
    """The released InfoVAEGAN code's networks.

    Args:
      width: multiplies the channels and units of every hidden layer (1 = as released; 0.25 for a
        CPU).

    Returns:
      The family. `check` and `generator` raise `UserError` unless images are 32x32 or 64x64.

    Raises:
      UserError: the width is not positive.
    """
    return blocks.make_family(
        generator=Generator,
        encoder=Encoder,
        critic=Critic,
        joint_discriminator=JointDiscriminator,
        check=check,
        width=width,
    )
