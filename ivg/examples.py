"""Examples of a data set as a method takes them: scaled images, and their attributes with them."""

from collections.abc import Callable

import jax
import numpy as np

from ivg import data
from ivg.data.batches import take
from ivg.players import Codes, Labelled, Method

CHUNK = 500  # images per device call
DRAWN, READ = 64, 16  # generated and encoded at once for pictures, whatever they show


def unit(images: np.ndarray) -> np.ndarray:
    """uint8 images as float32 in [-1, 1]."""
    return images.astype(np.float32) / 127.5 - 1.0


def labels(split: data.Split, numbers: np.ndarray) -> np.ndarray:
    """Attributes of the images with these numbers: float32 [n, A], 0 or 1."""
    return split.attributes[numbers].astype(np.float32)


def inputs(method: Method, split: data.Split, numbers: np.ndarray) -> np.ndarray | Labelled:
    """The examples with these numbers as `method.encode` takes them."""
    x = unit(take(split.images, numbers))
    return Labelled(x, labels(split, numbers)) if method.num_attributes else x


def images_of(x: np.ndarray | Labelled) -> np.ndarray:
    """The images of what `inputs` gave."""
    return x.x if isinstance(x, Labelled) else x


def chosen(dataset: data.Dataset, n: int) -> np.ndarray:
    """Which n test images are shown and scored (all, where there are fewer): int [n].

    The first ones, except of a set that is a grid of factors, whose first images are nearly one:
    there n drawn at random, the same at every call.
    """
    count = len(dataset.test.images)
    n = min(n, count)
    if dataset.ground_truth is None:
        return np.arange(n)
    return np.random.default_rng(0).choice(count, n, replace=False)


def in_chunks(f: Callable, n: int, *arrays: Callable[[np.ndarray], object]) -> dict:
    """Applies f to chunks of one fixed size (compiled once) and joins its dict of [B, ...] arrays.

    Each of `arrays` maps an index array to its rows; the last chunk is padded with row 0.
    """
    size, parts = min(CHUNK, n), []
    for start in range(0, n, size):
        index = np.arange(start, start + size)
        rows = index < n
        out = jax.device_get(f(*(a(np.where(rows, index, 0)) for a in arrays)))
        parts.append({name: values[rows] for name, values in out.items()})
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def generate(method: Method, state, codes: Codes) -> np.ndarray:
    """Images float [n, H, W, C] of codes [n, size], for pictures: compiled once for any n."""
    draw = jax.jit(method.generate)
    return _padded(lambda rows: draw(state, rows), codes, DRAWN)


def encode(method: Method, state, x: np.ndarray | Labelled) -> Codes:
    """Codes of images, NumPy [n, size], for pictures: compiled once for any n."""
    read = jax.jit(method.encode)
    return _padded(lambda rows: read(state, rows), x, READ)


def prior(method: Method, state, key: jax.Array, n: int) -> Codes:
    """Codes as drawn in training, NumPy [n, size]."""
    return jax.device_get(jax.jit(method.prior, static_argnums=2)(state, key, n))


def _padded(f: Callable, arrays, size: int):
    """What f gives for rows [n, ...], in batches of one size; the last is filled up with a row."""
    arrays = jax.tree.map(np.asarray, arrays)
    n = len(jax.tree.leaves(arrays)[0])

    def rows(first: int):
        index = np.minimum(np.arange(first, first + size), n - 1)
        return jax.tree.map(lambda array: array[index], arrays)

    parts = [jax.device_get(f(rows(first))) for first in range(0, n, size)]
    return jax.tree.map(lambda *found: np.concatenate(found)[:n], *parts)
