"""Interventional robustness score: do codes move when their factor stays and the others change?

Suter et al. (2019), "Robustly Disentangled Causal Mechanisms", in the form of the study of
Locatello et al. (2019): factors are cut into 20 bins like codes elsewhere, and codes are weighted
by their largest deviation. Both are kept, with what follows: a perfect code of 40 values scores
0.985, and noise dimensions pull the mean down. Constant dimensions are left out (as there); the
reference's "active dimensions", a sum of the codes, are here the dimensions that vary.
"""

import numpy as np

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import Score, constant, finite, paired, positive, varying
from ivg.metrics.disentanglement.information import equal_width_bins


def irs(
    codes: np.ndarray, factors: np.ndarray, *, quantile: float = 0.99, num_bins: int = 20
) -> Score:
    """Interventional robustness score (Suter et al., 2019, eq. 7 and 8).

    For a factor held at a value, a code's deviation is the quantile of its distance from its mean
    there. The score of a code is the largest over factors of 1 - (mean deviation over the factor's
    values) / (largest deviation from the overall mean); the result is their mean, weighted by the
    latter.

    Args:
        codes: `[N, D]`.
        factors: Whole numbers, `[N, F]`.
        quantile: Which deviation stands for the largest, in [0, 1].
        num_bins: Bins per factor.

    Returns:
        The score, at most 1; 0 if every code is constant. Details: "matrix" `[D, F]` (rows of
        constant codes and columns of constant factors 0), "parents" (the best factor per active
        code), "max_deviations" `[D]` and "active_dims".

    Raises:
        UserError: The arrays are not of that kind, no factor varies, or the quantile is none.

    Examples:
        >>> from ivg.metrics import disentanglement
        >>> factors = np.indices((8, 8)).reshape(2, -1).T  # two factors of 8 values
        >>> disentanglement.irs(factors * 1.0, factors).value
        1.0
        >>> disentanglement.irs(factors.sum(axis=1, keepdims=True) * 1.0, factors).value < 0.6
        True
    """
    if not 0 <= quantile <= 1:
        raise UserError(f"the quantile must lie between 0 and 1, not {quantile}")
    positive(num_bins=num_bins)
    codes, factors = paired(codes, factors)
    found = varying(factors, "IRS")
    active = np.flatnonzero((codes != codes[:1]).any(axis=0))
    # Sums of many float32 codes would cost the fifth digit.
    values = codes[:, active].astype(np.float64)
    largest = np.abs(values - values.mean(axis=0)).max(axis=0) if len(active) else np.zeros(0)
    matrix = np.zeros((codes.shape[1], factors.shape[1]))
    bins = equal_width_bins(factors, num_bins)
    for factor in found:
        deviations = _mean_deviation(values, bins[:, factor], quantile)
        matrix[active, factor] = 1 - deviations / largest
    scores = matrix[np.ix_(active, found)]
    value = np.average(scores.max(axis=1), weights=largest) if len(active) else 0.0
    max_deviations = np.zeros(codes.shape[1])
    max_deviations[active] = largest
    details = {
        "matrix": matrix,
        "parents": found[scores.argmax(axis=1)] if len(active) else found[:0],
        "max_deviations": max_deviations,
        "active_dims": active,
        "constant_factors": constant(factors, found),
    }
    recipe = {"rows": len(codes), "bins_per_factor": num_bins, "quantile": quantile}
    return Score(finite(value, "IRS"), details, recipe)


def _mean_deviation(values: np.ndarray, bins: np.ndarray, quantile: float) -> np.ndarray:
    """Mean over bins of the quantile of |value - mean of its bin|, per column."""
    total, names = np.zeros(values.shape[1]), np.unique(bins)
    if not values.shape[1]:
        return total
    for name in names:
        rows = values[bins == name]
        total += np.quantile(np.abs(rows - rows.mean(axis=0)), quantile, axis=0)
    return total / len(names)
