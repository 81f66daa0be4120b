"""How dependent codes are among themselves: two descriptions that need no factors.

They are not disentanglement scores (noise is independent too) and lower means less dependent. The
study of Locatello et al. (2019) reports both. Constant dimensions carry no dependence and are left
out, where the reference gives NaN.
"""

import numpy as np

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import Score, finite, positive, real_codes
from ivg.metrics.disentanglement.information import equal_width_bins, mutual_information


def gaussian_total_correlation(codes: np.ndarray) -> Score:
    """Total correlation, in nats, of the Gaussian with the covariance of the codes.

    Args:
        codes: `[N, D]`.

    Returns:
        -log det(correlation matrix) / 2, at least 0.

    Raises:
        UserError: The codes are no such array, or one is a linear function of others (it would be
            infinite), as it always is with as few rows as dimensions.

    Examples:
        >>> from ivg.metrics import disentanglement
        >>> a, b = np.indices((10, 10)).reshape(2, -1)
        >>> codes = np.stack([a, 0.75 * a + b], axis=1)  # correlated by 0.6
        >>> round(disentanglement.gaussian_total_correlation(codes).value, 3)
        0.223
    """
    codes, active = _active(codes)
    if len(active) < 2:
        return Score(0.0, {"active_dims": active}, {"rows": len(codes)})
    values = codes[:, active].astype(np.float64)
    values -= values.mean(axis=0)
    # Squares of the smallest scales would underflow.
    correlation = np.corrcoef(values / np.abs(values).max(axis=0), rowvar=False)
    smallest = np.linalg.eigvalsh(correlation)[0]
    # Rounding leaves about 1e-16 per dimension of an eigenvalue that is 0.
    if smallest < 1e-14 * len(active):
        raise UserError(
            "the total correlation is infinite: a code is a linear function of others; drop it"
        )
    value = max(0.0, -0.5 * np.linalg.slogdet(correlation)[1])  # below 0 by rounding only
    return Score(finite(value, "total correlation"), {"active_dims": active}, {"rows": len(codes)})


def mutual_info_score(codes: np.ndarray, *, num_bins: int = 20) -> Score:
    """Mean mutual information, in nats, between two different codes.

    Args:
        codes: `[N, D]`.
        num_bins: Equal-width bins per code.

    Returns:
        The mean over pairs of all dimensions, constant ones included (they share nothing); 0 for a
        single code. Details: "mutual_information" `[D, D]`.

    Raises:
        UserError: The codes are no such array.

    Examples:
        >>> from ivg.metrics import disentanglement
        >>> factors = np.indices((8, 8)).reshape(2, -1).T  # two factors of 8 values
        >>> round(disentanglement.mutual_info_score(factors * 1.0).value, 3)
        0.0
        >>> round(disentanglement.mutual_info_score(factors[:, [0, 0]] * 1.0).value, 3)  # ln 8
        2.079
    """
    positive(num_bins=num_bins)
    codes, active = _active(codes)
    bins = equal_width_bins(codes, num_bins)
    matrix = mutual_information(bins, bins)
    dims = codes.shape[1]
    value = (matrix.sum() - np.trace(matrix)) / max(dims * (dims - 1), 1)
    details = {"mutual_information": matrix, "active_dims": active}
    recipe = {"rows": len(codes), "bins": num_bins}
    return Score(finite(value, "mutual information"), details, recipe)


def _active(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes = real_codes(codes)
    if len(codes) < 2:
        raise UserError(f"{len(codes)} codes are too few to score: give at least two")
    return codes, np.flatnonzero((codes != codes[:1]).any(axis=0))
