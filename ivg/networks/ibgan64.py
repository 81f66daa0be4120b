"""The networks of the released IB-GAN code (Jeon et al., AAAI 2021; insuj3on/IB-GAN).

Two families that share a generator. On the sprites the discriminator and the reconstructor are
separate networks and the representation encoder is a small perceptron; on CelebA and chairs they
share a trunk of three convolutions, which belongs to the discriminator, and the encoder is larger.
The paper's text describes the shared trunk only.

As released: stride-2 convolutions of kernel 4, batch norm with gain 1 and epsilon 1e-5, leaky ReLU
slope 0.2, ReLU in generator and encoder, biases 0; weights N(0, 0.02) on the sprites, orthogonal
elsewhere.

Departures, and why:
- Images of 16 and 32 pixels are taken too, with one and two stride-2 layers fewer (ours).
- A convolution of kernel 8 over an 8x8 map is written as the dense layer that it is.
- No bias before a batch norm (see `ivg.networks.blocks`).
"""

from functools import partial

from flax import linen as nn

from ivg.errors import UserError
from ivg.networks import blocks
from ivg.networks.blocks import Array, CodeFamily, ImageShape, Initializer, network

SLOPE = 0.2  # of the leaky ReLUs
SIZES = (16, 32, 64)
BASE = 8  # side of the smallest feature maps
INITIALIZERS = {"normal": blocks.NORMAL_002, "orthogonal": nn.initializers.orthogonal()}
# Hidden units of e(r | z), and whether batch norm follows them.
REPRESENTATIONS = {"separate": ((32, 32), False), "shared": ((64, 64, 32), True)}


def _doublings(side: int) -> int:
    """Stride-2 layers between an 8x8 map and an image: 3 at 64x64."""
    return (side // BASE).bit_length() - 1


class Representation(nn.Module):
    """e(r | z): a perceptron with two linear heads."""

    size: int
    hidden: tuple[int, ...]
    norm: bool
    init_weights: Initializer

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> tuple[Array, Array]:
        """Maps z `[B, n]` to the mean and the log-variance of r, `[B, size]` each."""
        x = z
        for units in self.hidden:
            x = blocks.dense(x, units, init=self.init_weights, bias=not self.norm)
            x = blocks.relu(blocks.batch_norm(x, train=train) if self.norm else x)
        mean, log_var = blocks.heads(x, (self.size, self.size), init=self.init_weights)
        return mean, log_var


class Generator(nn.Module):
    """Two dense layers, two convolutions at 8x8, then doublings; batch norm, ReLU, tanh."""

    image_shape: ImageShape
    ngf: int
    init_weights: Initializer

    @nn.compact
    def __call__(self, latents: Array, *, train: bool) -> Array:
        """Maps latents `[B, n]` to images `[B, H, W, C]` in [-1, 1]."""
        norm = partial(blocks.batch_norm, train=train)
        doublings = _doublings(self.image_shape[0])
        base = self.ngf * 2 ** (doublings - 1)
        x = blocks.dense(latents, 16 * self.ngf, init=self.init_weights, bias=False)
        x = blocks.relu(norm(x))
        x = blocks.dense(x, BASE * BASE * base, init=self.init_weights, bias=False)
        x = blocks.relu(norm(x)).reshape(-1, BASE, BASE, base)
        layer = partial(blocks.deconv, init=self.init_weights)
        for _ in range(2):
            x = blocks.relu(norm(layer(x, base, kernel=3, stride=1, bias=False)))
        for i in range(1, doublings):
            x = blocks.relu(norm(layer(x, base // 2**i, kernel=4, stride=2, bias=False)))
        return blocks.tanh(layer(x, self.image_shape[2], kernel=4, stride=2))


def _trunk(images: Array, *, ndf: int, init: Initializer, train: bool) -> Array:
    """Images to features `[B, 8, 8, channels]`; the first convolution has no norm."""
    x = images
    for i in range(_doublings(images.shape[1])):
        x = blocks.conv(x, ndf * 2**i, kernel=4, stride=2, init=init, bias=i == 0)
        x = blocks.batch_norm(x, train=train) if i else x
        x = blocks.leaky_relu(x, SLOPE)
    return x


def _head(
    x: Array, channels: tuple[int, ...], *, ndf: int, init: Initializer, train: bool
) -> Array:
    """Features `[B, 8, 8, n]` through 3x3 convolutions to a vector `[B, 16 ndf]`."""
    for count in channels:
        x = blocks.conv(x, count, kernel=3, stride=1, init=init, bias=False)
        x = blocks.leaky_relu(blocks.batch_norm(x, train=train), SLOPE)
    x = blocks.dense(blocks.flatten(x), 16 * ndf, init=init, bias=False)
    return blocks.leaky_relu(blocks.batch_norm(x, train=train), SLOPE)


class Discriminator(nn.Module):
    """A logit, and what the reconstructor reads: the trunk's features, or the image itself."""

    ndf: int
    shared: bool
    init_weights: Initializer

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> tuple[Array, Array]:
        """Maps images `[B, H, W, C]` to logits `[B]` and the reconstructor's input."""
        trunk = _trunk(images, ndf=self.ndf, init=self.init_weights, train=train)
        channels = (4 * self.ndf,) * 2 if self.shared else (8 * self.ndf,)
        x = _head(trunk, channels, ndf=self.ndf, init=self.init_weights, train=train)
        return blocks.logit(x, init=self.init_weights), trunk if self.shared else images


class Reconstructor(nn.Module):
    """q(z | x): a network of its own on images, or a head on the discriminator's trunk."""

    sizes: tuple[int, ...]
    ndf: int
    shared: bool
    init_weights: Initializer

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps the discriminator's second output to heads, `[B, size]` each."""
        options = dict(ndf=self.ndf, init=self.init_weights, train=train)
        if self.shared:
            x = _head(x, (4 * self.ndf,) * 2, **options)
        else:
            x = _head(_trunk(x, **options), (8 * self.ndf,), **options)
            x = blocks.dense(x, 16 * self.ndf, init=self.init_weights, bias=False)
            x = blocks.leaky_relu(blocks.batch_norm(x, train=train), SLOPE)
        return blocks.heads(x, self.sizes, init=self.init_weights)


class PairClassifier(nn.Module):
    """A discriminator of pairs of images, for InfoGAN-CR; not in the released code."""

    size: int
    ndf: int
    init_weights: Initializer

    @nn.compact
    def __call__(self, pairs: Array, *, train: bool) -> Array:
        """Maps two images, stacked along their channels `[B, H, W, 2C]`, to logits `[B, size]`."""
        options = dict(ndf=self.ndf, init=self.init_weights, train=train)
        x = _head(_trunk(pairs, **options), (8 * self.ndf,), **options)
        return blocks.readout(x, self.size, init=self.init_weights)


def check(image_shape: ImageShape) -> None:
    """Raises `UserError` unless images are square of 16, 32 or 64 pixels."""
    height, width, _ = image_shape
    blocks.require_size(
        "ibgan64",
        image_shape,
        fits=height == width and height in SIZES,
        takes="images of 16x16, 32x32 or 64x64 pixels",
        use=min(SIZES, key=lambda size: abs(size - max(height, width))),
    )


def ibgan64(
    *, ngf: int = 16, ndf: int = 16, trunk: str = "separate", init: str = "normal"
) -> CodeFamily:
    """The released IB-GAN code's networks.

    Args:
      ngf: channels of the generator's last hidden layer (16 on sprites, 64 CelebA, 32 chairs).
      ndf: channels of the discriminator's first layer (16 on sprites and chairs, 64 on CelebA).
      trunk: "separate" (sprites: D and q share nothing) or "shared" (CelebA, chairs: q is a head on
        D's trunk, which only D's optimiser moves; e is larger and has batch norm).
      init: "normal" (0, 0.02; sprites) or "orthogonal" (CelebA, chairs).

    Returns:
      The family; `check` and `generator` raise `UserError` unless images are 16, 32 or 64 pixels.

    Raises:
      UserError: a width is not positive, or a name is not a choice.
    """
    blocks.require_width(ngf)
    blocks.require_width(ndf)
    for option, value, choices in (("trunk", trunk, REPRESENTATIONS), ("init", init, INITIALIZERS)):
        if value not in choices:
            names = " or ".join(f'"{name}"' for name in choices)
            raise UserError(f'the ibgan64 networks have no {option} "{value}": use {names}')
    weights, shared = INITIALIZERS[init], trunk == "shared"
    hidden, norm = REPRESENTATIONS[trunk]

    def generator(image_shape: ImageShape) -> blocks.Network:
        check(image_shape)
        return network(Generator(image_shape=tuple(image_shape), ngf=ngf, init_weights=weights))

    return CodeFamily(
        representation=lambda size: network(Representation(size, hidden, norm, weights)),
        generator=generator,
        discriminator=lambda: network(Discriminator(ndf, shared, weights)),
        reconstructor=lambda sizes: network(Reconstructor(tuple(sizes), ndf, shared, weights)),
        pair_classifier=lambda size: network(PairClassifier(size, ndf, weights)),
        check=check,
    )
