"""InfoGAN's MNIST networks as InfoGAN has them: one trunk for D and Q, for 28x28 images.

Chen et al. 2016, appendix C.1, and openai/InfoGAN: two convolutions and FC 1024 are shared, then
D is one linear layer and Q is FC 128 and its linear heads. The generator, the sizes and the
departures are those of `ivg.networks.infogan28`, but the discriminator keeps its batch norm.
InfoGAN has no representation encoder, which is that of `ivg.networks.mlp_codes`, and no classifier
of pairs (InfoGAN-CR's), which is a trunk of its own.
"""

from flax import linen as nn

from ivg.networks import blocks, infogan28, mlp_codes
from ivg.networks.blocks import NORMAL_002, Array, CodeFamily, ImageShape, Network, network, scaled


def _trunk(images: Array, *, width: float, train: bool) -> Array:
    """Two convolutions and FC 1024; batch norm after all but the first."""
    norm = infogan28.batch_norm(train)
    x = infogan28.convolutions(images, width=width, norm=norm, bias=False)
    return infogan28.dense(x, scaled(1024, width), norm=norm, bias=False)


class Discriminator(nn.Module):
    """A logit on the trunk; Q reads what the logit is made of."""

    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> tuple[Array, Array]:
        """Maps images `[B, H, W, C]` to logits `[B]` and features `[B, 1024]`."""
        x = _trunk(images, width=self.width, train=train)
        return blocks.logit(x, init=NORMAL_002), x


class Reconstructor(nn.Module):
    """Q: FC 128 on the trunk's features, then linear heads."""

    sizes: tuple[int, ...]
    width: float

    @nn.compact
    def __call__(self, features: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps features `[B, n]` to heads, `[B, size]` each."""
        norm = infogan28.batch_norm(train)
        x = infogan28.dense(features, scaled(128, self.width), norm=norm, bias=False)
        return blocks.heads(x, self.sizes, init=NORMAL_002)


class PairClassifier(nn.Module):
    """A trunk on pairs of images, then a linear layer."""

    size: int
    width: float

    @nn.compact
    def __call__(self, pairs: Array, *, train: bool) -> Array:
        """Maps two images, stacked along their channels `[B, H, W, 2C]`, to logits `[B, size]`."""
        x = _trunk(pairs, width=self.width, train=train)
        return blocks.readout(x, self.size, init=NORMAL_002)


def infogan28_codes(*, width: float = 1.0) -> CodeFamily:
    """InfoGAN's MNIST networks for the GANs with codes.

    Args:
      width: multiplies the channels and units of every hidden layer but the representation
        encoder's (1 = as published; 0.5 or 0.25 for a CPU).

    Returns:
      The family; `check` and `generator` raise `UserError` unless both sides of the images are
      multiples of 4.

    Raises:
      UserError: the width is not positive.
    """
    blocks.require_width(width)

    def generator(image_shape: ImageShape) -> Network:
        infogan28.check(image_shape)
        return network(infogan28.Generator(tuple(image_shape), width))

    return CodeFamily(
        representation=lambda size: network(mlp_codes.Representation(size)),
        generator=generator,
        discriminator=lambda: network(Discriminator(width)),
        reconstructor=lambda sizes: network(Reconstructor(tuple(sizes), width)),
        pair_classifier=lambda size: network(PairClassifier(size, width)),
        check=infogan28.check,
    )
