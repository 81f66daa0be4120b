"""The networks of the released InfoGAN-CR code for dSprites (Lin et al., ICML 2020).

Four stride-2 layers of kernel 4 between an image of 64 pixels and a 4x4 map, and one dense layer of
128 units. The generator has batch norm after its nonlinearities; the discriminator and its head Q
have spectral normalisation in every layer, the pair classifier H in all but its last. Leaky ReLU
slope 0.2, biases 0, convolutions truncated normal, other weights normal with std 0.02.

`infogancr64` is the set for the GANs with codes; `infogancr64_family` makes the other methods cheap
on the same images. Its encoder is the regressor with which the code measures sample quality: the
same trunk with batch norm after each nonlinearity.

Departures, and why:
- The generator ends in tanh, not in a sigmoid: images are in [-1, 1] here.
- Images of 16 and 32 pixels are taken too, with two stride-2 layers and one fewer (ours).
- The critic and the joint discriminator are ours, the trunk without norm: the gradient penalty
  excludes batch norm, and before a linear output it would give real and generated batches the same
  mean logit. They start with He's weights: without a norm, a std of 0.02 would start them as nearly
  constants.
- e(r | z) for IB-GAN is that of its own networks for the sprites.
"""

from functools import partial

from flax import linen as nn

from ivg.networks import blocks, spectral
from ivg.networks.blocks import (
    HE,
    LECUN,
    NORMAL_002,
    TRUNCATED_002,
    Array,
    CodeFamily,
    Family,
    ImageShape,
    Network,
    network,
    scaled,
)
from ivg.networks.ibgan64 import REPRESENTATIONS, Representation

SLOPE = 0.2  # of the leaky ReLUs
SIZES = (16, 32, 64)
BASE = 4  # side of the smallest feature maps
UNITS = 128  # of the dense layers


def _doublings(side: int) -> int:
    """Stride-2 layers between a 4x4 map and an image: 4 at 64x64."""
    return (side // BASE).bit_length() - 1


def _channels(side: int, width: float) -> list[int]:
    """Of the trunk's convolutions; smaller images skip the first ones."""
    return [scaled(count, width) for count in (32, 32, 64, 64)[-_doublings(side) :]]


class Generator(nn.Module):
    """Two dense layers, then doublings; batch norm after each nonlinearity, tanh at the end."""

    image_shape: ImageShape
    width: float

    @nn.compact
    def __call__(self, latents: Array, *, train: bool) -> Array:
        """Maps latents `[B, n]` to images `[B, H, W, C]` in [-1, 1]."""
        norm = partial(blocks.batch_norm, train=train)
        base = scaled(64, self.width)
        x = norm(blocks.relu(blocks.dense(latents, scaled(UNITS, self.width), init=NORMAL_002)))
        x = norm(blocks.relu(blocks.dense(x, BASE * BASE * base, init=NORMAL_002)))
        x = x.reshape(-1, BASE, BASE, base)
        layer = partial(blocks.deconv, kernel=4, stride=2, init=NORMAL_002)
        for count in (64, 32, 32)[: _doublings(self.image_shape[0]) - 1]:
            x = norm(blocks.leaky_relu(layer(x, scaled(count, self.width)), SLOPE))
        return blocks.tanh(layer(x, self.image_shape[2]))


def _spectral_trunk(images: Array, *, width: float, train: bool) -> Array:
    """Images `[B, H, W, C]` to features `[B, 128]`, every layer normalised."""
    x = images
    for count in _channels(images.shape[1], width):
        x = spectral.down(x, count, init=TRUNCATED_002, train=train)
        x = blocks.leaky_relu(x, SLOPE)
    return _spectral_dense(blocks.flatten(x), width=width, train=train)


def _spectral_dense(x: Array, *, width: float, train: bool) -> Array:
    x = spectral.dense(x, scaled(UNITS, width), init=NORMAL_002, train=train)
    return blocks.leaky_relu(x, SLOPE)


class Discriminator(nn.Module):
    """A logit on the trunk's features."""

    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> tuple[Array, Array]:
        """Maps images `[B, H, W, C]` to logits `[B]` and the features that Q reads, `[B, 128]`."""
        x = _spectral_trunk(images, width=self.width, train=train)
        return spectral.dense(x, 1, init=NORMAL_002, train=train)[:, 0], x


class Reconstructor(nn.Module):
    """Q: one more dense layer on the discriminator's features, and normalised heads."""

    sizes: tuple[int, ...]
    width: float

    @nn.compact
    def __call__(self, features: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps the discriminator's features to heads, `[B, size]` each."""
        x = _spectral_dense(features, width=self.width, train=train)
        return tuple(spectral.dense(x, size, init=NORMAL_002, train=train) for size in self.sizes)


class PairClassifier(nn.Module):
    """H: a trunk of its own, and a last layer without normalisation."""

    size: int
    width: float

    @nn.compact
    def __call__(self, pairs: Array, *, train: bool) -> Array:
        """Maps two images, stacked along their channels `[B, H, W, 2C]`, to logits `[B, size]`."""
        x = _spectral_trunk(pairs, width=self.width, train=train)
        return blocks.readout(x, self.size, init=NORMAL_002)


def _normed_trunk(images: Array, *, width: float, train: bool) -> Array:
    """Images to flat features, batch norm after each leaky ReLU."""
    x = images
    for count in _channels(images.shape[1], width):
        x = blocks.conv(x, count, kernel=4, stride=2, init=TRUNCATED_002)
        x = blocks.batch_norm(blocks.leaky_relu(x, SLOPE), train=train)
    return blocks.flatten(x)


def _normed_dense(x: Array, *, width: float, train: bool) -> Array:
    x = blocks.dense(x, scaled(UNITS, width), init=NORMAL_002)
    return blocks.batch_norm(blocks.leaky_relu(x, SLOPE), train=train)


class Encoder(nn.Module):
    """Linear heads on the trunk with batch norm."""

    sizes: tuple[int, ...]
    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps images `[B, H, W, C]` to heads, `[B, size]` each."""
        x = _normed_trunk(images, width=self.width, train=train)
        x = _normed_dense(x, width=self.width, train=train)
        return blocks.heads(x, self.sizes, init=NORMAL_002)


def _plain_features(images: Array, codes: Array | None, *, width: float) -> Array:
    """The trunk without any norm; codes join before its dense layer."""
    x = images
    for count in _channels(images.shape[1], width):
        x = blocks.leaky_relu(blocks.conv(x, count, kernel=4, stride=2, init=HE), SLOPE)
    x = blocks.flatten(x) if codes is None else blocks.join(blocks.flatten(x), codes)
    return blocks.leaky_relu(blocks.dense(x, scaled(UNITS, width), init=HE), SLOPE)


class Critic(nn.Module):
    """The trunk without any norm."""

    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        """Maps images `[B, H, W, C]` to scores `[B]`."""
        return blocks.score(_plain_features(images, None, width=self.width), init=LECUN)


class JointDiscriminator(nn.Module):
    """The same with codes."""

    width: float

    @nn.compact
    def __call__(self, images: Array, codes: Array, *, train: bool) -> Array:
        """Maps images `[B, H, W, C]` and codes `[B, m]` to logits `[B]`."""
        return blocks.logit(_plain_features(images, codes, width=self.width), init=LECUN)


def check(image_shape: ImageShape) -> None:
    """Raises `UserError` unless images are square of 16, 32 or 64 pixels."""
    height, width, _ = image_shape
    blocks.require_size(
        "infogancr64",
        image_shape,
        fits=height == width and height in SIZES,
        takes="images of 16x16, 32x32 or 64x64 pixels",
        use=min(SIZES, key=lambda size: abs(size - max(height, width))),
    )


def infogancr64(*, width: float = 1.0) -> CodeFamily:
    """The released InfoGAN-CR code's networks for dSprites.

    Args:
      width: multiplies the channels and units of every hidden layer (1 = as released).

    Returns:
      The family; `check` and `generator` raise `UserError` unless images are 16, 32 or 64 pixels.

    Raises:
      UserError: the width is not positive.
    """
    blocks.require_width(width)
    hidden, norm = REPRESENTATIONS["separate"]

    def generator(image_shape: ImageShape) -> Network:
        check(image_shape)
        return network(Generator(image_shape=tuple(image_shape), width=width))

    return CodeFamily(
        representation=lambda size: network(Representation(size, hidden, norm, NORMAL_002)),
        generator=generator,
        discriminator=lambda: network(Discriminator(width)),
        reconstructor=lambda sizes: network(Reconstructor(tuple(sizes), width)),
        pair_classifier=lambda size: network(PairClassifier(size, width)),
        check=check,
    )


def infogancr64_family(*, width: float = 1.0) -> Family:
    """Networks of the same sizes for InfoVAEGAN, WGAN-GP and ALI: cheap on 64x64 images.

    Args:
      width: multiplies the channels and units of every hidden layer.

    Returns:
      The family. `check` and `generator` raise `UserError` unless images are 16, 32 or 64 pixels.

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
