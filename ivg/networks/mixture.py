"""The networks of the deep mixture autoencoder (Ye & Bors, TNNLS 2021), as released.

n encoders of one architecture, n sub-decoders, and one final decoder on the weighted sum of the
sub-decoders' features (dtuzi123/Mixture-of-VAE-with-dropout):

- "mlp", its MNIST networks. Encoder FC 500 ELU, FC 500 tanh; sub-decoder FC 500 tanh; final
  decoder FC 500 ELU, FC to pixels. He's weights. Pixels are read as [0, 1].
- "mixture64", its CelebA networks at 64x64. Encoder that of `ivg.networks.infovaegan64` with z of
  256; sub-decoder FC 8*8*256, batch norm, ReLU; final decoder the rest of that family's generator.

No last nonlinearity: the likelihood adds it. The parameters of the n copies are stacked, `[n, ...]`
each. Perceptrons run side by side (`vmap`), convolutions one after the other: side by side they
would be grouped convolutions, which a CPU runs many times slower.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ivg.networks import blocks, infovaegan64, mlp
from ivg.networks.blocks import HE, NORMAL_002, Array, ImageShape, Network, network, scaled

SIDE = 64
Copies = Callable[[Network, int, int | None], Network]


class MixtureFamily(NamedTuple):
    """Architectures of a mixture of n autoencoders with one final decoder.

    Attributes:
      encoders: `encoders(n, sizes)`, a network from images `[B, H, W, C]` in [-1, 1] to a tuple of
        linear heads `[n, B, size]`, one per entry of `sizes`.
      decoder: `decoder(n, image_shape)`, a network from codes `[n, B, D]` and weights `[B, n]` to
        `[B, H, W, C]` without a last nonlinearity. Raises `UserError` where `check` does.
      check: `check(image_shape)` raises `UserError` for a size that the family cannot take.
    """

    encoders: Callable[[int, tuple[int, ...]], Network]
    decoder: Callable[[int, ImageShape], Network]
    check: Callable[[ImageShape], None]


class DenseEncoder(nn.Module):
    """Linear heads on two hidden layers."""

    sizes: tuple[int, ...]
    width: int

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> tuple[Array, ...]:
        """Maps images `[B, H, W, C]` to heads, `[B, size]` each."""
        x = nn.elu(blocks.dense(0.5 * (blocks.flatten(images) + 1.0), self.width, init=HE))
        x = jnp.tanh(blocks.dense(x, self.width, init=HE))
        return blocks.heads(x, self.sizes, init=HE)


class DenseFeatures(nn.Module):
    """One hidden layer."""

    width: int

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> Array:
        """Maps codes `[B, D]` to features `[B, width]`."""
        return jnp.tanh(blocks.dense(z, self.width, init=HE))


class DenseImage(nn.Module):
    """One hidden layer, then pixels."""

    image_shape: ImageShape
    width: int

    @nn.compact
    def __call__(self, features: Array, *, train: bool) -> Array:
        """Maps features `[B, n]` to `[B, H, W, C]`."""
        height, width, channels = self.image_shape
        x = nn.elu(blocks.dense(features, self.width, init=HE))
        return blocks.dense(x, height * width * channels, init=HE).reshape(-1, *self.image_shape)


class Features(nn.Module):
    """One dense layer to an 8x8 image; batch norm, ReLU."""

    width: float

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> Array:
        """Maps codes `[B, D]` to features `[B, 8, 8, C]`."""
        channels = scaled(256, self.width)
        x = blocks.dense(z, 8 * 8 * channels, init=NORMAL_002, bias=False)
        return blocks.relu(blocks.batch_norm(x.reshape(-1, 8, 8, channels), train=train))


class Image(nn.Module):
    """Transposed convolutions; batch norm, ReLU."""

    image_shape: ImageShape
    width: float

    @nn.compact
    def __call__(self, features: Array, *, train: bool) -> Array:
        """Maps features `[B, 8, 8, n]` to `[B, 64, 64, C]`."""
        norm = partial(blocks.batch_norm, train=train)
        layer = partial(blocks.deconv, kernel=3, init=NORMAL_002)
        x, base = features, scaled(256, self.width)
        for stride in (2, 1, 2, 1):  # 16x16 twice, 32x32 twice
            x = blocks.relu(norm(layer(x, base, stride=stride, bias=False)))
        x = blocks.relu(norm(layer(x, scaled(128, self.width), stride=2, bias=False)))
        return layer(x, self.image_shape[2], stride=1)


def side_by_side(one: Network, n: int, axis: int | None) -> Network:
    """A number of copies of a network by `vmap`: outputs `[n, ...]`.

    Args:
      one: the network, of one input.
      n: number of copies.
      axis: 0 where each copy has an input of its own, `[n, ...]`; None where they share one.
    """
    return Network(
        init=lambda key, x: jax.vmap(one.init, (0, axis))(jax.random.split(key, n), x),
        train=jax.vmap(one.train, (0, 0, axis)),
        infer=jax.vmap(one.infer, (0, 0, axis)),
    )


def one_by_one(one: Network, n: int, axis: int | None) -> Network:
    """Copies of a network, one after the other; see `side_by_side`, whose results it gives."""

    def each(function: Callable, state: Sequence[Any], x: Array) -> Any:
        inputs = [x] * n if axis is None else list(x)
        states = [jax.tree.map(lambda leaf, k=k: leaf[k], state) for k in range(n)]
        results = [function(*own, y) for own, y in zip(states, inputs, strict=True)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    return Network(
        init=lambda key, x: each(one.init, (jax.random.split(key, n),), x),
        train=lambda params, stats, x: each(one.train, (params, stats), x),
        infer=lambda params, stats, x: each(one.infer, (params, stats), x),
    )


def mixed(parts: Network, image: Network) -> Network:
    """From codes `[n, B, D]` and weights `[B, n]` to images, through the features' weighted sum."""

    def mix(features: Array, w: Array) -> Array:
        return jnp.einsum("kb...,bk->b...", features, w)

    def init(key: Array, z: Array, w: Array) -> tuple[Any, Any]:
        keys = jax.random.split(key)
        params, stats = parts.init(keys[0], z)
        last, last_stats = image.init(keys[1], mix(parts.infer(params, stats, z), w))
        return {"parts": params, "image": last}, {"parts": stats, "image": last_stats}

    def train(params: Any, stats: Any, z: Array, w: Array) -> tuple[Any, Any]:
        features, own = parts.train(params["parts"], stats["parts"], z)
        out, last = image.train(params["image"], stats["image"], mix(features, w))
        return out, {"parts": own, "image": last}

    def infer(params: Any, stats: Any, z: Array, w: Array) -> Any:
        features = parts.infer(params["parts"], stats["parts"], z)
        return image.infer(params["image"], stats["image"], mix(features, w))

    return Network(init=init, train=train, infer=infer)


def check(image_shape: ImageShape) -> None:
    """Raises `UserError` unless images are 64x64."""
    blocks.require_size(
        "mixture64",
        image_shape,
        fits=tuple(image_shape[:2]) == (SIDE, SIDE),
        takes="images of 64x64 pixels",
        use=SIDE,
    )


def mixture_mlp(*, width: int = 500) -> MixtureFamily:
    """The released MNIST networks, for small images of any size.

    Args:
      width: units of every hidden layer, a whole number (500 = as released).

    Returns:
      The family.

    Raises:
      UserError: the width is not a positive whole number.
    """
    width = blocks.require_units(width)
    return _family(
        encoder=lambda sizes: DenseEncoder(sizes, width),
        features=DenseFeatures(width),
        image=lambda shape: DenseImage(shape, width),
        check=mlp.check,
        copies=side_by_side,
    )


def mixture64(*, width: float = 1.0) -> MixtureFamily:
    """The released CelebA networks.

    Args:
      width: multiplies the channels and units of every hidden layer (1 = as released).

    Returns:
      The family. `check` and `decoder` raise `UserError` unless images are 64x64.

    Raises:
      UserError: the width is not positive.
    """
    blocks.require_width(width)
    return _family(
        encoder=lambda sizes: infovaegan64.Encoder(sizes, width),
        features=Features(width),
        image=lambda shape: Image(shape, width),
        check=check,
        copies=one_by_one,
    )


def _family(
    *,
    encoder: Callable[[tuple[int, ...]], nn.Module],
    features: nn.Module,
    image: Callable[[ImageShape], nn.Module],
    check: Callable[[ImageShape], None],
    copies: Copies,
) -> MixtureFamily:
    def decoder(n: int, image_shape: ImageShape) -> Network:
        check(image_shape)
        return mixed(copies(network(features), n, 0), network(image(tuple(image_shape))))

    return MixtureFamily(
        encoders=lambda n, sizes: copies(network(encoder(tuple(sizes))), n, None),
        decoder=decoder,
        check=check,
    )
