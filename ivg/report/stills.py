"""The pictures of the page that do not move: samples, reconstructions, interpolations."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from ivg import data
from ivg.data.batches import take
from ivg.examples import chosen, encode, inputs, prior
from ivg.players import Method
from ivg.report import sheets, traversals

SAMPLES, PAIRS, WAYS, STEPS = 60, 24, 6, 8
DRAWN = 100  # codes, as for the sample grids: a drawing of one size is compiled once


class Still(NamedTuple):
    """Images side by side.

    title, words: above them.
    sheet: the tiles; `count` of them are images.
    group: so many tiles belong together: 1, 2 (a test image above its reconstruction), or a row.
    alt: the whole for those who do not see it.
    """

    title: str
    words: str
    sheet: sheets.Sheet
    count: int
    group: int
    alt: str


def stills(
    method: Method, state, dataset: data.Dataset, key: jax.Array, *, quick: bool, budget: int
) -> list[Still]:
    """All of them, each within a third of `budget` characters; `quick` leaves out interpolations.

    A picture that is too large has fewer images; one that still is has none.
    """
    ways: list[Callable[[int], Still]] = [
        lambda n: samples(method, state, key, n * SAMPLES // 24),
    ]
    if method.encode is not None:
        ways.append(lambda n: reconstructions(method, state, dataset, n * PAIRS // 24))
        if not quick:
            ways.append(lambda n: interpolations(method, state, dataset, n * WAYS // 24))
    found = []
    for way in ways:
        made = (way(n) for n in (24, 12, 4))
        fitting = (still for still in made if len(still.sheet.uri) <= budget // 3)
        found += [still] if (still := next(fitting, None)) else []
    return found


def samples(method: Method, state, key: jax.Array, count: int) -> Still:
    """Images of codes from the prior."""
    codes = {name: code[:count] for name, code in prior(method, state, key, DRAWN).items()}
    images = traversals.drawn(method, state, codes)
    words = f"{count} images of codes drawn from the prior, not selected."
    return Still("Samples", words, sheets.sheet(images, 10), count, 1, f"{count} generated images")


def reconstructions(method: Method, state, dataset: data.Dataset, count: int) -> Still:
    """Test images, each above what is generated from its codes."""
    numbers = chosen(dataset, count)
    codes = encode(method, state, inputs(method, dataset.test, numbers))
    made = traversals.drawn(method, state, codes)
    images = np.stack([take(dataset.test.images, numbers), made], axis=1)
    return Still(
        "Reconstructions",
        "Above, test images; below, what is generated from the codes that are inferred of them.",
        sheets.sheet(images.reshape(-1, *made.shape[1:]), 12),
        2 * len(numbers),
        2,
        f"{len(numbers)} test images with their reconstructions",
    )


def interpolations(method: Method, state, dataset: data.Dataset, count: int) -> Still:
    """Rows from one test image to another: both ends real, the way between their codes."""
    numbers = chosen(dataset, 2 * max(count, 1))
    numbers = numbers[: len(numbers) // 2 * 2]
    codes = encode(method, state, inputs(method, dataset.test, numbers))
    weights = np.tile(np.linspace(0, 1, STEPS, dtype=np.float32), len(numbers) // 2)[:, None]
    mixed = {
        name: (1 - weights) * np.repeat(value[0::2], STEPS, axis=0)
        + weights * np.repeat(value[1::2], STEPS, axis=0)
        for name, value in codes.items()
    }
    made = traversals.drawn(method, state, mixed)
    between = made.reshape(-1, STEPS, *made.shape[1:])
    real = take(dataset.test.images, numbers)
    rows = np.concatenate([real[0::2, None], between, real[1::2, None]], axis=1)
    return Still(
        "Interpolations",
        "The ends are test images; between them the codes go from one to the other in a line.",
        sheets.sheet(rows.reshape(-1, *made.shape[1:]), STEPS + 2),
        rows.shape[0] * rows.shape[1],
        STEPS + 2,
        f"{len(rows)} interpolations between two test images",
    )
