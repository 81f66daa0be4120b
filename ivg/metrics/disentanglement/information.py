"""Scores from the mutual information between every code and every factor.

Each code is cut into equal-width bins over its range, as in the study of Locatello et al. (2019,
"Challenging Common Assumptions in the Unsupervised Learning of Disentangled Representations"), and
the plug-in estimate is taken in nats. It is computed here rather than by a library, so that no
update can move a score; bin edges keep the dtype of the codes as NumPy's own histogram does.

MIG: Chen et al. (2018), "Isolating Sources of Disentanglement in VAEs". Modularity: Ridgeway &
Mozer (2018), "Learning Deep Disentangled Embeddings with the F-Statistic Loss".

Traits of the reference that are kept, because scores are compared with it: with 20 bins a perfect
code of a factor of 40 values has a MIG of about 0.8, not 1; modularity takes the finite-sample bias
of a noise dimension for information, and a dead dimension counts as 0 and drags the mean down.
Where the reference fails: constant factors (0/0) are left out, and the second best of a single code
is 0.
"""

import numpy as np

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import (
    Score,
    constant,
    finite,
    paired,
    positive,
    real_codes,
    varying,
    whole_factors,
)


def equal_width_bins(values: np.ndarray, num_bins: int) -> np.ndarray:
    """Number of the bin, 0..num_bins-1, of every value among equal bins between its extremes.

    Bins contain their lower edge, the last one both; a constant column falls into one bin.

    Args:
        values: `[N, K]`; every column has its own range.
        num_bins: Number of bins.

    Returns:
        int64 `[N, K]`.

    Raises:
        UserError: The values are not finite numbers `[N, K]`, or there are none.

    Examples:
        >>> from ivg.metrics.disentanglement.information import equal_width_bins
        >>> equal_width_bins(np.array([[0.0], [0.4], [0.5], [1.0]]), 2).ravel().tolist()
        [0, 0, 1, 1]
    """
    values = real_codes(values)
    positive(num_bins=num_bins, rows=len(values))
    bins = np.empty(values.shape, np.int64)
    steps = np.arange(num_bins + 1, dtype=values.dtype)
    for column in range(values.shape[1]):
        low, high = values[:, column].min(), values[:, column].max()
        edges = steps * ((high - low) / values.dtype.type(num_bins)) + low
        bins[:, column] = np.searchsorted(edges[1:-1], values[:, column], side="right")
    return bins


def mutual_information(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Plug-in mutual information in nats of every column of a with every column of b.

    Args:
        a: Whole numbers, `[N, A]`.
        b: Whole numbers, `[N, B]`.

    Returns:
        `[A, B]`, never negative and exactly 0 where a column is constant.

    Raises:
        UserError: The arrays are not of that kind, or differ in length.

    Examples:
        >>> from ivg.metrics.disentanglement.information import mutual_information
        >>> a = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> mutual_information(a, a).round(3).tolist()
        [[0.693, 0.0], [0.0, 0.693]]
    """
    a, b = whole_factors(a), whole_factors(b)
    if len(a) != len(b):
        raise UserError(f"{len(a)} and {len(b)} rows cannot be compared: give one of each")
    a, b = _compact(a), _compact(b)
    return np.array([[_information(x, y) for y in b] for x in a])


def entropy(a: np.ndarray) -> np.ndarray:
    """Plug-in entropy in nats of every column of whole numbers `[N, A]`: `[A]`.

    Raises:
        UserError: The array is not of that kind.

    Examples:
        >>> from ivg.metrics.disentanglement.information import entropy
        >>> entropy(np.array([[0, 0], [1, 0], [2, 1], [3, 1]])).round(3).tolist()  # ln 4, ln 2
        [1.386, 0.693]
    """
    return np.array([_entropy(np.bincount(x)) for x in _compact(whole_factors(a))])


def mig(codes: np.ndarray, factors: np.ndarray, *, num_bins: int = 20) -> Score:
    """Mutual information gap (Chen et al., 2018, eq. 6).

    Mean over factors of (most informative code - second most) / entropy of the factor.

    Args:
        codes: `[N, D]`.
        factors: Whole numbers, `[N, F]`.
        num_bins: Bins per code.

    Returns:
        The gap in [0, 1], details "per_factor" (of the factors that vary) and
        "mutual_information" in nats `[D, F]`.

    Raises:
        UserError: The arrays are not of that kind, or no factor varies.

    Examples:
        >>> from ivg.metrics import disentanglement
        >>> factors = np.indices((8, 8)).reshape(2, -1).T  # two factors of 8 values
        >>> round(disentanglement.mig(factors * [1.0, -0.5], factors).value, 3)  # a code for each
        1.0
        >>> mixed = np.stack([factors.sum(axis=1), factors[:, 0] - factors[:, 1]], axis=1) * 1.0
        >>> disentanglement.mig(mixed, factors).value < 0.1
        True
    """
    codes, factors, found = _inputs(codes, factors, num_bins, "MIG", 1)
    matrix = mutual_information(equal_width_bins(codes, num_bins), factors)
    ranked = np.sort(np.vstack([np.zeros(factors.shape[1]), matrix]), axis=0)
    gaps = (ranked[-1] - ranked[-2])[found] / entropy(factors[:, found])
    details = {
        "per_factor": gaps,
        "mutual_information": matrix,
        "constant_factors": constant(factors, found),
    }
    return Score(finite(gaps.mean(), "MIG"), details, {"rows": len(codes), "bins": num_bins})


def modularity(codes: np.ndarray, factors: np.ndarray, *, num_bins: int = 20) -> Score:
    """Modularity (Ridgeway & Mozer, 2018, eq. 2): is each code informative about one factor only?

    Mean over codes of 1 - (sum of squared informations about the other factors) / (F - 1) / (that
    about the best one); 0 for a code without information.

    Args:
        codes: `[N, D]`.
        factors: Whole numbers, `[N, F]`.
        num_bins: Bins per code.

    Returns:
        The score in [0, 1], details "per_code" and "mutual_information" in nats `[D, F]`.

    Raises:
        UserError: The arrays are not of that kind, or fewer than two factors vary.

    Examples:
        >>> from ivg.metrics import disentanglement
        >>> factors = np.indices((8, 8)).reshape(2, -1).T  # two factors of 8 values
        >>> codes = factors[:, [1, 0, 0]] * 1.0  # two codes of one factor lower MIG, not this
        >>> disentanglement.modularity(codes, factors).value
        1.0
    """
    codes, factors, found = _inputs(codes, factors, num_bins, "modularity", 2)
    matrix = mutual_information(equal_width_bins(codes, num_bins), factors)
    squared = matrix[:, found] ** 2
    best = squared.max(axis=1)
    others = (squared.sum(axis=1) - best) / (len(found) - 1)
    per_code = np.where(best > 0, 1 - others / np.where(best > 0, best, 1), 0.0)
    details = {
        "per_code": per_code,
        "mutual_information": matrix,
        "constant_factors": constant(factors, found),
    }
    value = finite(per_code.mean(), "modularity")
    return Score(value, details, {"rows": len(codes), "bins": num_bins})


def _inputs(
    codes: np.ndarray, factors: np.ndarray, num_bins: int, metric: str, at_least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    positive(num_bins=num_bins)
    codes, factors = paired(codes, factors)
    return codes, factors, varying(factors, metric, at_least)


def _compact(a: np.ndarray) -> list[np.ndarray]:
    """Columns with their values replaced by 0..K-1."""
    positive(rows=len(a))
    return [np.unique(column, return_inverse=True)[1] for column in a.T]


def _information(x: np.ndarray, y: np.ndarray) -> float:
    num_x, num_y = x.max() + 1, y.max() + 1
    if num_x == 1 or num_y == 1:
        return 0.0
    table = np.bincount(x * num_y + y, minlength=num_x * num_y).reshape(num_x, num_y)
    joint = _entropy(table.ravel())
    return max(_entropy(table.sum(axis=1)) + _entropy(table.sum(axis=0)) - joint, 0.0)


def _entropy(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-np.sum(p * np.log(p)))
