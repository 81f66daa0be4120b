"""Inception-v3 as the Frechet Inception Distance knows it (Heusel et al., NeurIPS 2017).

The network is the one of 5 December 2015 that TensorFlow distributed (Szegedy et al., CVPR 2016),
with what it has of its own: average pools do not count their padding, the last block's pool is a
maximum, 1008 outputs, batch norm with epsilon 1e-3, images of 299 x 299 as (x - 128) / 128. Names
of blocks and weights are those of its PyTorch copies, so that their files can be read
(`ivg.networks.inception_weights`); only inference is of use here.

Images of other sizes are resized as TensorFlow 1 does: bilinear, pixel i of the result at i * in /
out of the source, no centres and no smoothing. Shrinking by much leaves gaps, enlarging repeats the
last row; the published numbers are made of such images.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from ivg.errors import UserError
from ivg.networks.blocks import Array

SIZE = 299
RESIZE = "bilinear as in TensorFlow 1 (no half-pixel centres, no antialiasing), to 299 x 299"
CLASSES = 1008
PRECISION = "highest"  # float32 whatever the training's precision: scores must compare
# Features: averages over the image after a stage, the trunk's end, the classes without bias.
LAYERS = {"64": 64, "192": 192, "768": 768, "2048": 2048, "logits_unbiased": CLASSES}


class Unit(NamedTuple):
    """Convolution, batch norm, ReLU; padded so that the size stays, except by a stride of 2."""

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"


MEAN, MAX, SHRINK = "mean", "max", "shrink"  # 3 x 3 pools; SHRINK is a maximum of stride 2
Branch = tuple  # of units and pools in a row; a tuple among them is a fork, whose ends are joined
ROW, COLUMN = (1, 7), (7, 1)


def _block_a(pooled: int) -> tuple[Branch, ...]:
    return (
        (Unit("branch1x1", 64),),
        (Unit("branch5x5_1", 48), Unit("branch5x5_2", 64, (5, 5))),
        (
            Unit("branch3x3dbl_1", 64),
            Unit("branch3x3dbl_2", 96, (3, 3)),
            Unit("branch3x3dbl_3", 96, (3, 3)),
        ),
        (MEAN, Unit("branch_pool", pooled)),
    )


def _block_b() -> tuple[Branch, ...]:
    return (
        (Unit("branch3x3", 384, (3, 3), 2, "VALID"),),
        (
            Unit("branch3x3dbl_1", 64),
            Unit("branch3x3dbl_2", 96, (3, 3)),
            Unit("branch3x3dbl_3", 96, (3, 3), 2, "VALID"),
        ),
        (SHRINK,),
    )


def _block_c(inner: int) -> tuple[Branch, ...]:
    return (
        (Unit("branch1x1", 192),),
        (
            Unit("branch7x7_1", inner),
            Unit("branch7x7_2", inner, ROW),
            Unit("branch7x7_3", 192, COLUMN),
        ),
        (
            Unit("branch7x7dbl_1", inner),
            Unit("branch7x7dbl_2", inner, COLUMN),
            Unit("branch7x7dbl_3", inner, ROW),
            Unit("branch7x7dbl_4", inner, COLUMN),
            Unit("branch7x7dbl_5", 192, ROW),
        ),
        (MEAN, Unit("branch_pool", 192)),
    )


def _block_d() -> tuple[Branch, ...]:
    return (
        (Unit("branch3x3_1", 192), Unit("branch3x3_2", 320, (3, 3), 2, "VALID")),
        (
            Unit("branch7x7x3_1", 192),
            Unit("branch7x7x3_2", 192, ROW),
            Unit("branch7x7x3_3", 192, COLUMN),
            Unit("branch7x7x3_4", 192, (3, 3), 2, "VALID"),
        ),
        (SHRINK,),
    )


def _block_e(pool: str) -> tuple[Branch, ...]:
    def fork(name: str) -> tuple[Unit, Unit]:
        return Unit(f"{name}a", 384, (1, 3)), Unit(f"{name}b", 384, (3, 1))

    return (
        (Unit("branch1x1", 320),),
        (Unit("branch3x3_1", 384), fork("branch3x3_2")),
        (Unit("branch3x3dbl_1", 448), Unit("branch3x3dbl_2", 384, (3, 3)), fork("branch3x3dbl_3")),
        (pool, Unit("branch_pool", 192)),
    )


STEM = (
    Unit("Conv2d_1a_3x3", 32, (3, 3), 2, "VALID"),
    Unit("Conv2d_2a_3x3", 32, (3, 3), 1, "VALID"),
    Unit("Conv2d_2b_3x3", 64, (3, 3)),
    SHRINK,
    "64",
    Unit("Conv2d_3b_1x1", 80),
    Unit("Conv2d_4a_3x3", 192, (3, 3), 1, "VALID"),
    SHRINK,
    "192",
)
BLOCKS = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": _block_b(),
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": _block_d(),
    "Mixed_7b": _block_e(MEAN),
    "Mixed_7c": _block_e(MAX),  # an average in later versions; the published weights want this one
}
AFTER = {"Mixed_6e": "768", "Mixed_7c": "2048"}  # features that a block's output gives


class ConvUnit(nn.Module):
    """A `Unit`, batch norm by its running averages."""

    unit: Unit

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[B, H, W, n]` to `[B, h, w, channels]`."""
        stride = (self.unit.stride, self.unit.stride)
        x = nn.Conv(
            self.unit.channels,
            self.unit.kernel,
            strides=stride,
            padding=self.unit.padding,
            use_bias=False,
            precision=PRECISION,
            name="conv",
        )(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


class Block(nn.Module):
    """Branches side by side, their channels joined."""

    branches: tuple[Branch, ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[B, H, W, n]` to `[B, h, w, m]`."""
        return jnp.concatenate([_along(branch, x) for branch in self.branches], axis=-1)


class Inception(nn.Module):
    """The whole network, from scaled images to all features."""

    @nn.compact
    def __call__(self, x: Array) -> dict[str, Array]:
        """Maps images `[B, 299, 299, 3]` in [-1, 1] to `LAYERS`, each `[B, n]`."""
        found = {}
        for layer in STEM:
            if layer in LAYERS:
                found[layer] = _mean(x)
            else:
                x = _applied(layer, x)
        for name, branches in BLOCKS.items():
            x = Block(branches, name=name)(x)
            if name in AFTER:
                found[AFTER[name]] = _mean(x)
        logits = nn.Dense(CLASSES, use_bias=False, precision=PRECISION, name="fc")(found["2048"])
        return found | {"logits_unbiased": logits}


def _along(branch: Branch, x: Array) -> Array:
    for layer in branch:
        if isinstance(layer, tuple) and not isinstance(layer, Unit):
            x = jnp.concatenate([_applied(end, x) for end in layer], axis=-1)
        else:
            x = _applied(layer, x)
    return x


def _applied(layer: Unit | str, x: Array) -> Array:
    if isinstance(layer, Unit):
        return ConvUnit(layer, name=layer.name)(x)
    if layer == MEAN:
        return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)
    if layer == MAX:
        return nn.max_pool(x, (3, 3), padding="SAME")
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding="VALID")


def _mean(x: Array) -> Array:
    return x.mean(axis=(1, 2))


# --- images ---------------------------------------------------------------------------------------


def features(variables: Any, images: Array, layers: Sequence[str] = ("2048",)) -> dict[str, Array]:
    """Features of bytes, float32; pure, to be jitted by the caller.

    Args:
        variables: as `inception_weights.read` gives them.
        images: uint8 `[B, H, W, C]` of any size, C 1 (repeated) or 3.
        layers: some of `LAYERS`.

    Raises:
        UserError: images are of another kind, or there is no such layer.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != np.uint8:
        raise UserError(
            "Inception takes bytes, uint8 [B, H, W, 1 or 3], not "
            f"{images.dtype} of shape {list(images.shape)}"
        )
    for name in layers:
        if name not in LAYERS:
            raise UserError(f'Inception has no features "{name}"; use {", ".join(LAYERS)}')
    found = Inception().apply(variables, prepared(images))
    return {name: found[name] for name in layers}


def prepared(images: Array) -> Array:
    """Bytes `[B, H, W, 1 or 3]` as the network takes them, `[B, 299, 299, 3]`."""
    x = resized(images.astype(jnp.float32), SIZE)
    x = jnp.broadcast_to(x, (*x.shape[:3], 3))
    return (x - 128.0) / 128.0


def resized(x: Array, size: int) -> Array:
    """Bilinear as TensorFlow 1 with align_corners=False, `[B, H, W, C]` to `[B, size, size, C]`."""
    low, high, share = _sources(x.shape[2], size)
    x = x[:, :, low] + (x[:, :, high] - x[:, :, low]) * share[None, None, :, None]
    low, high, share = _sources(x.shape[1], size)
    return x[:, low] + (x[:, high] - x[:, low]) * share[None, :, None, None]


def _sources(side: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every pixel of the result: its two sources and the share of the second."""
    # In float32, as the reference: a product that is rounded up to a whole number changes pixels.
    place = np.arange(size, dtype=np.float32) * np.float32(side / size)
    low = np.floor(place).astype(np.int32)
    return low, np.minimum(low + 1, side - 1), place - low.astype(np.float32)
