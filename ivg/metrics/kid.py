"""Kernel distance between two sets of features: the KID of Binkowski et al., ICLR 2018.

The squared maximum mean discrepancy with the kernel k(x, y) = (x . y / D + 1)^3, by its unbiased
estimator, which leaves out the pairs of a row with itself: unlike the Frechet distance it does not
shrink with the number of images, and around 0 it takes both signs.
"""

from typing import NamedTuple

import numpy as np

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import at_least
from ivg.metrics.frechet import together

DEGREE = 3
SUBSETS, SUBSET_SIZE = 100, 1000  # of the authors' code


class KernelDistance(NamedTuple):
    """Mean and standard deviation over subsets, and how many of what size there were."""

    mean: float
    std: float
    subsets: int
    subset_size: int


def discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared discrepancy of two sets of rows [n, D] and [m, D], n and m at least 2.

    Raises:
        UserError: rows are not finite, differ in length, or there are too few.
    """
    x, y = together(x, y)
    if min(len(x), len(y)) < 2:
        raise UserError(f"the discrepancy needs 2 rows of each set, not {len(x)} and {len(y)}")
    return _discrepancy(x, y)


def _discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    x, y = (np.asarray(rows, np.float64) for rows in (x, y))
    return _within(x) + _within(y) - 2.0 * float(_kernel(x, y).mean())


def kernel_distance(
    features_1: np.ndarray,
    features_2: np.ndarray,
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
) -> KernelDistance:
    """Mean over pairs of subsets, drawn without replacement within each.

    Args:
        features_1, features_2: `[N, D]` and `[M, D]`, at least two rows each.
        subsets: how many pairs.
        subset_size: rows of each; all of the smaller set where it has fewer.
        seed: of the draws.

    Returns:
        The mean, the standard deviation over subsets (not that of the mean), and the sizes.

    Raises:
        UserError: features are not finite, differ in length, or there are too few.

    Examples:
        >>> from ivg.metrics.kid import kernel_distance
        >>> rng = np.random.default_rng(0)
        >>> real, same, other = (rng.normal(mean, 1.0, (300, 4)) for mean in (0.0, 0.0, 1.0))
        >>> few = dict(subsets=5, subset_size=100)
        >>> near, far = (kernel_distance(real, fake, **few) for fake in (same, other))
        >>> bool(abs(near.mean) < 0.1), bool(far.mean > 1.0)
        (True, True)
    """
    x, y = together(features_1, features_2)
    at_least(0, subsets=subsets, subset_size=subset_size, seed=seed)
    size = min(subset_size, len(x), len(y))
    if size < 2 or subsets < 1:
        raise UserError(
            f"the kernel distance needs a subset of at least 2 images of each set, not {subsets} "
            f"of {size}"
        )
    rng = np.random.default_rng(seed)
    draw = (tuple(rng.choice(len(s), size, replace=False) for s in (x, y)) for _ in range(subsets))
    values = [_discrepancy(x[i], y[j]) for i, j in draw]
    return KernelDistance(float(np.mean(values)), float(np.std(values)), subsets, size)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    k = x @ y.T
    k /= x.shape[1]
    k += 1.0
    return k * k * k  # a power with a float exponent is twenty times slower


def _within(x: np.ndarray) -> float:
    """Mean of the kernel over pairs of different rows."""
    k = _kernel(x, x)
    return float((k.sum() - np.trace(k)) / (len(x) * (len(x) - 1)))
