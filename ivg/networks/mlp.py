"""Multi-layer perceptrons for small images (8x8 to 28x28): quick on a CPU.

Own design, no publication: two hidden layers of one width everywhere. Following WGAN-GP's authors
(Gulrajani et al. 2017 and their released code), the critic has no norm and He's initialisation;
linear outputs have variance 1 / fan_in.
"""

from collections.abc import Callable, Mapping

from flax import linen as nn

from ivg.errors import UserError
from ivg.networks import blocks
from ivg.networks.blocks import Array, Family, ImageShape, Network, network

SLOPE = 0.2  # of the leaky ReLUs
SMALLEST, LARGEST = 4, 64  # sides of images; a dense layer per pixel makes no sense above

NORMS: Mapping[str, Callable[..., Array]] = {
    "none": lambda x, *, train: x,
    "batch": blocks.batch_norm,
    "layer": lambda x, *, train: blocks.layer_norm(x),
}


def _hidden(
    x: Array, *, width: int, norm: str, activation: Callable[[Array], Array], train: bool
) -> Array:
    for _ in range(2):
        x = blocks.dense(x, width, init=blocks.HE, bias=norm != "batch")
        x = activation(NORMS[norm](x, train=train))
    return x


def _leaky_relu(x: Array) -> Array:
    return blocks.leaky_relu(x, SLOPE)


class Generator(nn.Module):
    """Two hidden layers, ReLU, tanh."""

    image_shape: ImageShape
    width: int
    norm: str

    @nn.compact
    def __call__(self, latents: Array, *, train: bool) -> Array:
        """Maps latents `[B, n]` to images `[B, H, W, C]` in [-1, 1]."""
        x = _hidden(latents, width=self.width, norm=self.norm, activation=blocks.relu, train=train)
        height, width, channels = self.image_shape
        x = blocks.dense(x, height * width * channels, init=blocks.LECUN)
        return blocks.tanh(x).reshape(-1, *self.image_shape)


class Encoder(nn.Module):
    """Linear heads on two shared hidden layers, leaky ReLU."""

    sizes: tuple[int, ...]
    width: int
    norm: str

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps images `[B, H, W, C]` to heads, `[B, size]` each."""
        x = blocks.flatten(images)
        x = _hidden(x, width=self.width, norm=self.norm, activation=_leaky_relu, train=train)
        return blocks.heads(x, self.sizes, init=blocks.LECUN)


class Critic(nn.Module):
    """Two hidden layers, leaky ReLU, no norm."""

    width: int

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        """Maps images `[B, H, W, C]` to scores `[B]`."""
        x = blocks.flatten(images)
        x = _hidden(x, width=self.width, norm="none", activation=_leaky_relu, train=train)
        return blocks.score(x, init=blocks.LECUN)


class JointDiscriminator(nn.Module):
    """Two hidden layers, leaky ReLU, no norm; pixels and codes are joined at the input."""

    width: int

    @nn.compact
    def __call__(self, images: Array, codes: Array, *, train: bool) -> Array:
        """Maps images `[B, H, W, C]` and codes `[B, m]` to logits `[B]`."""
        x = blocks.join(blocks.flatten(images), codes)
        x = _hidden(x, width=self.width, norm="none", activation=_leaky_relu, train=train)
        return blocks.logit(x, init=blocks.LECUN)


def check(image_shape: ImageShape) -> None:
    """Raises `UserError` for images with a side below 4 or above 64 pixels."""
    largest = max(image_shape[:2])
    blocks.require_size(
        "mlp",
        image_shape,
        fits=SMALLEST <= min(image_shape[:2]) and largest <= LARGEST,
        takes=f"images of {SMALLEST}x{SMALLEST} to {LARGEST}x{LARGEST} pixels",
        use=min(max(largest, SMALLEST), LARGEST),
    )


def mlp(*, width: int = 256, generator_norm: str = "none", encoder_norm: str = "none") -> Family:
    """The perceptrons.

    Args:
      width: units of every hidden layer, a whole number.
      generator_norm: "none" (as WGAN-GP's generator), "batch" or "layer", in both hidden layers.
      encoder_norm: likewise for the encoder. The critic and the joint discriminator have no norm.

    Returns:
      The family.

    Raises:
      UserError: the width is not a positive whole number or a norm is unknown.
    """
    width = blocks.require_units(width)
    for norm in (generator_norm, encoder_norm):
        if norm not in NORMS:
            raise UserError(f"unknown norm {norm!r} for the mlp networks: use {', '.join(NORMS)}")

    def generator(image_shape: ImageShape) -> Network:
        check(image_shape)
        return network(Generator(image_shape=tuple(image_shape), width=width, norm=generator_norm))

    return Family(
        generator=generator,
        encoder=lambda sizes: network(Encoder(sizes=tuple(sizes), width=width, norm=encoder_norm)),
        critic=lambda: network(Critic(width=width)),
        joint_discriminator=lambda: network(JointDiscriminator(width=width)),
        check=check,
    )
