"""Small networks for 28x28 images that train on a CPU in minutes.

Own design, no publication. The encoder is convolutional, because clustering real images needs it;
generator, critic and joint discriminator are perceptrons, which a CPU runs several times faster
than convolutions of like quality. He's initialisation; batch norm in encoder and generator, none in
the critic (as WGAN-GP's authors advise for the gradient penalty).
"""

from functools import partial

from flax import linen as nn

from ivg.networks import blocks
from ivg.networks.blocks import Array, Family, ImageShape, scaled

SLOPE = 0.2  # of the leaky ReLUs
SMALLEST = 8


class Generator(nn.Module):
    """FC 256, FC 512; batch norm, ReLU, tanh."""

    image_shape: ImageShape
    width: float

    @nn.compact
    def __call__(self, latents: Array, *, train: bool) -> Array:
        """Maps latents `[B, n]` to images `[B, H, W, C]` in [-1, 1]."""
        x = latents
        for features in (256, 512):
            x = blocks.dense(x, scaled(features, self.width), init=blocks.HE, bias=False)
            x = blocks.relu(blocks.batch_norm(x, train=train))
        height, width, channels = self.image_shape
        x = blocks.dense(x, height * width * channels, init=blocks.LECUN)
        return blocks.tanh(x).reshape(-1, *self.image_shape)


class Encoder(nn.Module):
    """Linear heads on two convolutions and FC 128; batch norm, ReLU."""

    sizes: tuple[int, ...]
    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps images `[B, H, W, C]` to heads, `[B, size]` each."""
        layer = partial(blocks.conv, kernel=4, stride=2, init=blocks.HE, bias=False)
        x = images
        for channels in (16, 32):
            x = blocks.relu(blocks.batch_norm(layer(x, scaled(channels, self.width)), train=train))
        x = blocks.flatten(x)
        x = blocks.dense(x, scaled(128, self.width), init=blocks.HE, bias=False)
        x = blocks.relu(blocks.batch_norm(x, train=train))
        return blocks.heads(x, self.sizes, init=blocks.LECUN)


def _hidden(x: Array, width: float) -> Array:
    for features in (512, 256):
        x = blocks.leaky_relu(blocks.dense(x, scaled(features, width), init=blocks.HE), SLOPE)
    return x


class Critic(nn.Module):
    """FC 512, FC 256; leaky ReLU, no norm."""

    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        """Maps images `[B, H, W, C]` to scores `[B]`."""
        return blocks.score(_hidden(blocks.flatten(images), self.width), init=blocks.LECUN)


class JointDiscriminator(nn.Module):
    """FC 512, FC 256; leaky ReLU, no norm; pixels and codes are joined at the input."""

    width: float

    @nn.compact
    def __call__(self, images: Array, codes: Array, *, train: bool) -> Array:
        """Maps images `[B, H, W, C]` and codes `[B, m]` to logits `[B]`."""
        x = blocks.join(blocks.flatten(images), codes)
        return blocks.logit(_hidden(x, self.width), init=blocks.LECUN)


def check(image_shape: ImageShape) -> None:
    """Raises `UserError` unless both sides are multiples of 4, from 8 to 64 pixels."""
    sides = image_shape[:2]
    blocks.require_size(
        "small28",
        image_shape,
        fits=all(side % 4 == 0 and SMALLEST <= side <= 64 for side in sides),
        takes="images whose sides are multiples of 4, from 8x8 to 64x64",
        use=min(64, max(SMALLEST, 4 * ((max(sides) + 1) // 4))),
    )


def small28(*, width: float = 1.0) -> Family:
    """The small networks.

    Args:
      width: multiplies the channels and units of every hidden layer.

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
