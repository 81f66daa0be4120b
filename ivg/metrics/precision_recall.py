"""Improved precision and recall (Kynkaanniemi et al., NeurIPS 2019) of two sets of features.

A set's manifold is the union of balls, one around each of its rows, that reach to the row's k-th
nearest neighbour in the set. Precision: the share of generated rows in the real manifold, how many
look real. Recall: the share of real rows in the generated manifold, how much of the data there is.
Both depend on the number of rows and are to be compared at equal numbers only.
"""

from typing import NamedTuple

import numpy as np

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import at_least
from ivg.metrics.frechet import together

NEIGHBOURS = 3
ROUNDING = 1e-12  # of a squared distance, relative to the rows' squared norms
CHUNK = 1000  # rows whose distances to all others are held at once


class PrecisionRecall(NamedTuple):
    """Two shares in [0, 1], and k."""

    precision: float
    recall: float
    neighbours: int


def precision_recall(
    real: np.ndarray, generated: np.ndarray, *, neighbours: int = NEIGHBOURS, chunk: int = CHUNK
) -> PrecisionRecall:
    """Precision and recall, in float64, by all distances in chunks.

    Args:
        real, generated: features `[N, D]` and `[M, D]`.
        neighbours: k; the paper's 3.
        chunk: rows per chunk: of memory, not of the result.

    Raises:
        UserError: features are not finite, differ in length, or a set has no more than k rows.

    Examples:
        Generated images that are all right but of one kind only:

        >>> from ivg.metrics.precision_recall import precision_recall
        >>> kinds = np.repeat([[0.0], [50.0]], 20, axis=0)
        >>> real = kinds + np.random.default_rng(0).normal(size=(40, 1))
        >>> precision_recall(real, real[:20])
        PrecisionRecall(precision=1.0, recall=0.5, neighbours=3)
    """
    real, generated = together(real, generated)
    at_least(0, neighbours=neighbours)
    at_least(1, chunk=chunk)
    smaller = min(len(real), len(generated))
    if not 1 <= neighbours < smaller:
        raise UserError(
            f"{neighbours} nearest neighbours cannot be found among {smaller} images: give more "
            "images of each set"
        )
    # Distances are those of shifted rows too, and lose fewer digits around 0. A mean would follow
    # a single row of extreme features away from all others.
    real, generated = real.astype(np.float64), generated.astype(np.float64)
    centre = np.median(real, axis=0)
    real, generated = real - centre, generated - centre
    return PrecisionRecall(
        _share_inside(generated, real, _radii(real, neighbours, chunk), chunk),
        _share_inside(real, generated, _radii(generated, neighbours, chunk), chunk),
        neighbours,
    )


def _squared(a: np.ndarray, b: np.ndarray, rounding: float) -> np.ndarray:
    """Squared distances [n, m] of rows [n, D] and [m, D], plus `rounding` times their norms."""
    d = a @ b.T
    d *= -2.0
    d += np.einsum("nd,nd->n", a, a)[:, None] * (1.0 + rounding)
    d += np.einsum("md,md->m", b, b)[None] * (1.0 + rounding)
    return np.maximum(d, 0.0, out=d)


def _radii(rows: np.ndarray, neighbours: int, chunk: int) -> np.ndarray:
    """Squared distance of each row to its k-th nearest other row, [N]."""
    radii = np.empty(len(rows))
    for start in range(0, len(rows), chunk):
        d = _squared(rows[start : start + chunk], rows, ROUNDING)
        own = np.arange(len(d))
        d[own, start + own] = np.inf  # a row is not its own neighbour
        radii[start : start + chunk] = np.partition(d, neighbours - 1, axis=1)[:, neighbours - 1]
    return radii


def _share_inside(rows: np.ndarray, centres: np.ndarray, radii: np.ndarray, chunk: int) -> float:
    """Share of rows that lie in the ball of at least one centre."""
    inside = 0
    for start in range(0, len(rows), chunk):
        # Radii a little too large, distances a little too small: rows at a ball's very edge are
        # inside, such as copies, even where the ball has no size.
        within = _squared(rows[start : start + chunk], centres, -ROUNDING) <= radii[None]
        inside += int(within.any(axis=1).sum())
    return inside / len(rows)
