"""InfoGAN's MNIST networks (Chen et al. 2016, appendix C.1, and openai/InfoGAN), for 28x28 images.

As released: kernels 4x4 with stride 2, batch norm gain N(1, 0.02), leaky ReLU slope 0.01,
convolutions truncated normal and all other weights normal with std 0.02, biases 0.

Departures, and why:
- tanh instead of a sigmoid at the generator's end: images are in [-1, 1] throughout `ivg`.
- The critic has layer norm where InfoGAN's discriminator has batch norm, which the gradient penalty
  excludes (Gulrajani et al. 2017, section 4).
- Encoder, critic and joint discriminator are separate networks; InfoGAN shares one trunk.
- The joint discriminator is not InfoGAN's: the code enters after the convolutions, as in the
  released InfoVAEGAN code.
- No bias before a batch norm (see `ivg.networks.blocks`).
- Any sides that are multiples of 4, not only 28.
"""

from functools import partial

import jax.numpy as jnp
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

SLOPE = 0.01  # of the leaky ReLUs
SMALLEST = 8


def _gain_init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
    return 1 + NORMAL_002(key, shape, dtype)


def batch_norm(train: bool) -> Norm:
    """Batch norm whose gain starts at N(1, 0.02)."""
    return partial(blocks.batch_norm, train=train, scale_init=_gain_init)


def convolutions(images: Array, *, width: float, norm: Norm, bias: bool) -> Array:
    """Images to features `[B, H/4 * W/4 * 128]`; `bias` in the layers that the norm follows."""
    layer = partial(blocks.conv, kernel=4, stride=2, init=TRUNCATED_002)
    x = blocks.leaky_relu(layer(images, scaled(64, width)), SLOPE)
    x = norm(layer(x, scaled(128, width), bias=bias))
    return blocks.flatten(blocks.leaky_relu(x, SLOPE))


def dense(x: Array, features: int, *, norm: Norm, bias: bool) -> Array:
    """A hidden layer, `[B, n]` to `[B, features]`; `bias` is that of the layer before the norm."""
    return blocks.leaky_relu(norm(blocks.dense(x, features, init=NORMAL_002, bias=bias)), SLOPE)


class Generator(nn.Module):
    """Two dense layers, two transposed convolutions; batch norm, ReLU, tanh."""

    image_shape: ImageShape
    width: float

    @nn.compact
    def __call__(self, latents: Array, *, train: bool) -> Array:
        """Maps latents `[B, n]` to images `[B, H, W, C]` in [-1, 1]."""
        norm = batch_norm(train)
        height, width, channels = self.image_shape
        base = (height // 4, width // 4, scaled(128, self.width))
        x = latents
        for features in (scaled(1024, self.width), base[0] * base[1] * base[2]):
            x = blocks.relu(norm(blocks.dense(x, features, init=NORMAL_002, bias=False)))
        x = x.reshape(-1, *base)
        layer = partial(blocks.deconv, kernel=4, stride=2, init=NORMAL_002)
        x = blocks.relu(norm(layer(x, scaled(64, self.width), bias=False)))
        return blocks.tanh(layer(x, channels))


class Encoder(nn.Module):
    """Linear heads on InfoGAN's trunk: two convolutions, FC 1024, FC 128."""

    sizes: tuple[int, ...]
    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps images `[B, H, W, C]` to heads, `[B, size]` each."""
        norm = batch_norm(train)
        x = convolutions(images, width=self.width, norm=norm, bias=False)
        for features in (1024, 128):
            x = dense(x, scaled(features, self.width), norm=norm, bias=False)
        return blocks.heads(x, self.sizes, init=NORMAL_002)


class Critic(nn.Module):
    """Two convolutions, FC 1024; layer norm after all but the first convolution."""

    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        """Maps images `[B, H, W, C]` to scores `[B]`."""
        norm = blocks.layer_norm
        x = convolutions(images, width=self.width, norm=norm, bias=True)
        x = dense(x, scaled(1024, self.width), norm=norm, bias=True)
        return blocks.score(x, init=NORMAL_002)


class JointDiscriminator(nn.Module):
    """Two convolutions, then the codes join; FC 1024."""

    width: float

    @nn.compact
    def __call__(self, images: Array, codes: Array, *, train: bool) -> Array:
        """Maps images `[B, H, W, C]` and codes `[B, m]` to logits `[B]`."""
        norm = batch_norm(train)
        x = blocks.join(convolutions(images, width=self.width, norm=norm, bias=False), codes)
        x = dense(x, scaled(1024, self.width), norm=norm, bias=False)
        return blocks.logit(x, init=NORMAL_002)


def check(image_shape: ImageShape) -> None:
    """Raises `UserError` unless both sides are multiples of 4 and at least 8 pixels."""
    sides = image_shape[:2]
    # Halfway between two multiples the smaller one: cheaper, and 28 for 30.
    nearest = 4 * ((max(sides) + 1) // 4)
    blocks.require_size(
        "infogan28",
        image_shape,
        fits=all(side % 4 == 0 and side >= SMALLEST for side in sides),
        takes=f"images whose sides are multiples of 4, from {SMALLEST}x{SMALLEST} on",
        use=max(SMALLEST, nearest),
    )


def infogan28(*, width: float = 1.0) -> Family:
    """InfoGAN's MNIST networks.

    Args:
      width: multiplies the channels and units of every hidden layer (1 = as published; 0.5 or 0.25
        for a CPU).

    Returns:
      The family.

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
