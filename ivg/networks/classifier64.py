"""The classifier that judges swapped attributes; independent of the networks that it judges.

The MMVAE thesis (Kim, 2019) says only that it is a convolutional network. Ours has the layers of
the thesis' encoder, four convolutions of kernel 4 and stride 2 with batch norm and leaky ReLU
(slope 0.2), and one linear layer. He's initialisation before the norms, variance 1 / fan_in at the
output, no bias before a batch norm (see `ivg.networks.blocks`).
"""

from flax import linen as nn

from ivg.networks import blocks
from ivg.networks.blocks import Array, ImageShape, Network, network, scaled

SLOPE = 0.2  # of the leaky ReLUs
SMALLEST = 16
FILTERS = (32, 64, 128, 256)


class Classifier(nn.Module):
    """Four convolutions and a linear layer with one logit per attribute."""

    num_attributes: int
    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        """Maps images `[B, H, W, C]` to logits `[B, k]`."""
        x = _trunk(images, self.width, train=train)
        return blocks.dense(blocks.flatten(x), self.num_attributes, init=blocks.LECUN)


class Features(nn.Module):
    """The same without its last layer, averaged over the image; takes a `Classifier`'s weights."""

    width: float

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        """Maps images `[B, H, W, C]` to features `[B, n]`."""
        return _trunk(images, self.width, train=train).mean(axis=(1, 2))


def _trunk(x: Array, width: float, *, train: bool) -> Array:
    for channels in FILTERS:
        channels = scaled(channels, width)
        x = blocks.conv(x, channels, kernel=4, stride=2, init=blocks.HE, bias=False)
        x = blocks.leaky_relu(blocks.batch_norm(x, train=train), SLOPE)
    return x


def check_classifier(image_shape: ImageShape) -> None:
    """Raises `UserError` for images with an odd side or one below 16 pixels."""
    sides = image_shape[:2]
    smallest = max(min(sides), SMALLEST)
    blocks.require_size(
        "classifier",
        image_shape,
        fits=all(side % 2 == 0 and side >= SMALLEST for side in sides),
        takes=f"images with even sides of at least {SMALLEST} pixels",
        use=smallest + smallest % 2,
    )


def attribute_classifier(num_attributes: int, *, width: float = 1.0) -> Network:
    """A network from images `[B, H, W, C]` to logits `[B, k]` of k binary attributes.

    Args:
      num_attributes: k.
      width: multiplies the number of filters.

    Returns:
      The network, for the sizes that `check_classifier` lets pass.

    Raises:
      UserError: the width is not positive.
    """
    blocks.require_width(width)
    return network(Classifier(num_attributes, width))


def classifier_features(*, width: float = 1.0) -> Network:
    """What an `attribute_classifier` of this width sees, `[B, H, W, C]` to `[B, 256 width]`.

    Its parameters are the classifier's own; those of the last layer are not looked at.
    """
    return network(Features(width))
