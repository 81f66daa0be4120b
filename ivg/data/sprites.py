"""Sprites (re-rendered dSprites): 737,280 images that are drawn where they are needed.

dSprites (Matthey et al. 2017) shows a square, an ellipse or a heart at 6 scales, 40 orientations
and 32 x 32 positions, white on black, without anti-aliasing. Here `render` computes an image from
its five factors, so the set takes no memory and a training step draws its own batch. The geometry
was measured from published frames of dSprites, so pixels at an edge may differ from its archive.

Coordinates: x to the right, y down, from the top left corner; the centre of pixel (row i, column j)
is (j + 0.5, i + 0.5). A pixel is white if its centre lies inside the outline.

Colours, one per image on a black background, are redrawn at every access:
  ibgan: IB-GAN's Color-dSprites, every channel one of 8 levels 0, 1/7, ..., 1. All three may be 0:
    such an image (1 in 512) is empty. The 512 colours count as one factor, the sixth.
  dlib: disentanglement_lib's, every channel uniform on [0.5, 1], not a factor.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ivg.data import sprite_outlines
from ivg.data.records import (
    Dataset,
    GroundTruth,
    Options,
    Rendered,
    Split,
    in_chunks,
    select_attributes,
)
from ivg.errors import UserError

SIZE = 64  # pixels
NAMES = ("shape", "scale", "orientation", "x", "y")
SIZES = (3, 6, 40, 32, 32)  # the last varies fastest along the index
COUNT = 737_280
NUM_COLOURS = 512
COLORINGS = ("ibgan", "dlib")

_PLACES = (245_760, 40_960, 1024, 32, 1)
_SCALES = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0], np.float32)
# 40 angles from 0 to one full turn, both included: the last is the first, to the bit.
_ANGLES = np.arange(40) % 39 * (2 * np.pi / 39)
_COS, _SIN = np.cos(_ANGLES).astype(np.float32), np.sin(_ANGLES).astype(np.float32)
_LEVELS = np.round(np.arange(8) * (255 / 7)).astype(np.uint8)
# No sprite reaches further than 13.6 px from its centre: only a window around it is computed.
_WINDOW = 30


def factors_of(index: jax.Array | np.ndarray) -> jax.Array:
    """The factors of the images with these numbers: int [...] in 0..737279 -> int32 [..., 5].

    Examples:
        >>> from ivg.data import sprites
        >>> print(sprites.factors_of(jnp.array([0, 737_279])))  # shape, scale, rotation, x, y
        [[ 0  0  0  0  0]
         [ 2  5 39 31 31]]
    """
    index = jnp.asarray(index, jnp.int32)
    return jnp.stack(
        [index // place % size for place, size in zip(_PLACES, SIZES, strict=True)], axis=-1
    )


def index_of(factors: jax.Array | np.ndarray) -> jax.Array:
    """The numbers of the images with these factors: int [..., 5] -> int32 [...]."""
    return jnp.asarray(factors, jnp.int32) @ jnp.array(_PLACES, jnp.int32)


def render(factors: jax.Array | np.ndarray) -> jax.Array:
    """Draws sprites; jitted, and made to be called inside a jitted step.

    Args:
        factors: int [..., 5], in the order and range of `NAMES` and `SIZES`. Orientation turns
            counter-clockwise as seen; x = 0 is left, y = 0 is the top.

    Returns:
        uint8 [..., 64, 64, 1], 0 or 255.
    """
    factors = jnp.asarray(factors, jnp.int32)
    images = _render(factors.reshape(-1, len(SIZES)))
    return images.reshape(*factors.shape[:-1], SIZE, SIZE, 1)


@jax.jit
@jax.vmap
def _render(factors: jax.Array) -> jax.Array:
    shape, scale, orientation, x, y = factors
    (column, dx), (row, dy) = _window(x), _window(y)
    dx, dy = dx[None, :], dy[:, None]
    cos, sin = jnp.asarray(_COS)[orientation], jnp.asarray(_SIN)[orientation]
    # Turned back, from the screen to the shape; scaled up still.
    gauge = sprite_outlines.gauge(shape, dx * cos - dy * sin, dx * sin + dy * cos)
    lit = jnp.where(gauge <= jnp.asarray(_SCALES)[scale], jnp.uint8(255), jnp.uint8(0))
    image = jax.lax.dynamic_update_slice(jnp.zeros((SIZE, SIZE), jnp.uint8), lit, (row, column))
    return image[..., None]


def _window(position: jax.Array) -> tuple[jax.Array, jax.Array]:
    """First pixel of the window and its pixels' distances from the sprite's centre, along one axis.

    The centre is 16 + 32 * position / 31. Distances are whole 62nds of a pixel, so the one division
    is all that is rounded, and equally on every machine.
    """
    first = 2 + 32 * position // 31
    sixty_seconds = 62 * (first + jnp.arange(_WINDOW)) + 31 - (62 * 16 + 64 * position)
    return first, sixty_seconds.astype(jnp.float32) / 62


def colour_levels(colour: jax.Array | np.ndarray) -> jax.Array:
    """IB-GAN's colours: int [...] in 0..511, red varying slowest -> uint8 [..., 3]."""
    colour = jnp.asarray(colour, jnp.int32)
    digits = jnp.stack([colour // 64, colour // 8 % 8, colour % 8], axis=-1)
    return jnp.asarray(_LEVELS)[digits]


def paint(images: jax.Array, colours: jax.Array) -> jax.Array:
    """Colours sprites: uint8 [..., H, W, 1] and uint8 [..., 3] -> uint8 [..., H, W, 3]."""
    return jnp.where(images > 0, colours[..., None, None, :], jnp.uint8(0))


def draw(index: jax.Array, key: jax.Array) -> jax.Array:
    """White sprites by number; `key` is not used: int [B] -> uint8 [B, 64, 64, 1]."""
    del key
    return render(factors_of(index))


def draw_ibgan(index: jax.Array, key: jax.Array) -> jax.Array:
    """Sprites in IB-GAN's colours, which depend on `key` alone: int [B] -> uint8 [B, 64, 64, 3]."""
    colour = jax.random.randint(key, index.shape, 0, NUM_COLOURS)
    return paint(render(factors_of(index)), colour_levels(colour))


def draw_dlib(index: jax.Array, key: jax.Array) -> jax.Array:
    """Sprites in disentanglement_lib's colours: int [B] -> uint8 [B, 64, 64, 3]."""
    colours = jax.random.uniform(key, (*index.shape, 3), minval=0.5, maxval=1.0)
    return paint(render(factors_of(index)), jnp.round(255 * colours).astype(jnp.uint8))


def load(options: Options) -> Dataset:
    """The white sprites, 64 x 64 x 1, all 737,280 in both splits, since dSprites has none."""
    return _dataset("sprites", options, draw, GroundTruth(NAMES, SIZES, _images_white))


def load_color(options: Options) -> Dataset:
    """The coloured sprites, 64 x 64 x 3, all 737,280 in both splits; a new colour every time.

    Raises:
        UserError: an option is wrong.
    """
    if options.coloring == "dlib":
        truth = GroundTruth(NAMES, SIZES, _images_dlib, determined=False)
        return _dataset("color_sprites", options, draw_dlib, truth)
    names, sizes = (*NAMES, "colour"), (*SIZES, NUM_COLOURS)
    truth = GroundTruth(names, sizes, _images_ibgan, nuisance=("colour",))
    return _dataset("color_sprites", options, draw_ibgan, truth)


def _dataset(
    name: str,
    options: Options,
    draw: Callable[[jax.Array, jax.Array], jax.Array],
    ground_truth: GroundTruth,
) -> Dataset:
    select_attributes(None, (), options.attributes, name)
    channels = 1 if name == "sprites" else 3
    if options.image_size not in (None, SIZE):
        raise UserError(f"image_size is {options.image_size}; {name} are drawn {SIZE} x {SIZE}.")
    if options.channels not in (None, channels):
        other = "color_sprites (coloured)" if channels == 1 else "sprites (white on black)"
        raise UserError(
            f"channels is {options.channels}; {name} have {channels}: leave it out, or use {other}."
        )
    if options.crop not in (None, "none"):
        raise UserError(f"crop is {options.crop!r}; {name} are drawn whole: leave it out.")
    shape = (SIZE, SIZE, channels)
    split = Split(Rendered(COUNT, shape, draw), None, None)
    return Dataset(name, split, split, shape, ground_truth=ground_truth)


def _images_white(factors: np.ndarray, seed: int) -> np.ndarray:
    del seed  # nothing is left to chance
    return in_chunks(render, _checked(factors, SIZES))


def _images_ibgan(factors: np.ndarray, seed: int) -> np.ndarray:
    del seed
    factors = _checked(factors, (*SIZES, NUM_COLOURS))
    return in_chunks(_render_ibgan, factors)


def _images_dlib(factors: np.ndarray, seed: int) -> np.ndarray:
    factors = _checked(factors, SIZES)
    colours = np.random.default_rng(seed).uniform(0.5, 1, (len(factors), 3))
    return in_chunks(_render_colours, factors, np.round(255 * colours).astype(np.uint8))


@jax.jit
def _render_ibgan(factors: jax.Array) -> jax.Array:
    return paint(render(factors[:, :-1]), colour_levels(factors[:, -1]))


@jax.jit
def _render_colours(factors: jax.Array, colours: jax.Array) -> jax.Array:
    return paint(render(factors), colours)


def _checked(factors: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    factors = np.asarray(factors, np.int32)
    if factors.ndim != 2 or factors.shape[1] != len(sizes):
        raise ValueError(f"factors have shape {factors.shape}, not (N, {len(sizes)})")
    if np.any(factors < 0) or np.any(factors >= np.array(sizes)):
        raise ValueError(f"factors lie outside 0..size-1, sizes {sizes}")
    return factors
