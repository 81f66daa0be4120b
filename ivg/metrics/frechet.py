"""Frechet distance between two sets of features, each summed up as a Gaussian.

d^2 = |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)) (Dowson & Landau, 1982; of Inception's
features it is the FID of Heusel et al., NeurIPS 2017). The trace of the root is computed as the
nuclear norm of F_1^T F_2 for any factors S_i = F_i F_i^T: no root of a matrix that is not
symmetric, and exact where covariances are singular, as they are whenever there are fewer images
than features.

Features may arrive in chunks of any size, from float32 networks: each chunk is centred and
summed in float64 and merged with what came before (Chan, Golub & LeVeque, 1979), so that a mean
far from 0 costs no digits. Covariances have N - 1 in the denominator.

  python -m ivg.metrics.frechet real.npz fake.npz    (arrays `features` [N, D]; KID and more)
"""

import sys
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import scipy.linalg

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import LARGEST, real_table

CHUNK = 4096  # rows that are converted to float64 at once
# Of a covariance, relative to its largest entry or eigenvalue: what rounding in float32 may leave.
ASYMMETRY, NEGATIVE = 1e-5, 1e-4


class Moments(NamedTuple):
    """Sums over N rows of features, from which mean and covariance follow.

    count: N.
    mean: float64 [D].
    scatter: float64 [D, D], the sum of (x - mean)(x - mean)^T.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance [D, D].

        Raises:
            UserError: there are fewer than two rows.
        """
        if self.count < 2:
            raise UserError(
                f"a covariance needs the features of 2 images or more, not {self.count}"
            )
        return self.scatter / (self.count - 1)


def checked(features: np.ndarray) -> np.ndarray:
    """The features as they are, if they are real and finite numbers [N, D].

    Raises:
        UserError: they are something else, or too large for sums of their squares.
    """
    features = np.asarray(features)
    if features.ndim != 2 or features.dtype.kind not in "fiu" or 0 in features.shape:
        raise UserError(
            "features must be real numbers, a row for each image [N, D], not "
            f"{features.dtype} of shape {list(features.shape)}"
        )
    # Extremes are NaN if any value is; no mask of all values is made.
    extremes = float(features.min()), float(features.max())
    if not np.isfinite(extremes).all():
        raise UserError(
            "features are NaN or infinite: look for the step at which training broke down, or for "
            "damaged weights"
        )
    if max(np.abs(extremes)) > LARGEST:
        raise UserError(f"features reach beyond {LARGEST:g}: they are no features of images")
    return features


def together(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features, if both are `checked` and of one length.

    Raises:
        UserError: they are not.
    """
    a, b = checked(a), checked(b)
    if a.shape[1] != b.shape[1]:
        raise UserError(
            f"features of {a.shape[1]} and of {b.shape[1]} numbers cannot be compared: take both "
            "from one network"
        )
    return a, b


# --- sums -----------------------------------------------------------------------------------------


def moments(features: np.ndarray) -> Moments:
    """Moments of rows [N, D] that are all there.

    Raises:
        UserError: they are not finite real numbers [N, D].

    Examples:
        >>> from ivg.metrics import frechet
        >>> total = frechet.moments(np.array([[0.0, 1.0], [2.0, 1.0]]))
        >>> total.count, total.mean.tolist(), total.covariance.tolist()
        (2, [1.0, 1.0], [[2.0, 0.0], [0.0, 0.0]])
    """
    features = checked(features)
    return stream(features[i : i + CHUNK] for i in range(0, len(features), CHUNK))


def stream(chunks: Iterable[np.ndarray]) -> Moments:
    """Moments of rows that arrive in chunks [n, D] of any lengths.

    Raises:
        UserError: there is no chunk, or one is not finite real numbers [n, D].

    Examples:
        >>> from ivg.metrics import frechet
        >>> rows = np.random.default_rng(0).normal(size=(10, 3))
        >>> streamed = frechet.stream(rows[i : i + 4] for i in range(0, 10, 4))
        >>> bool(np.allclose(streamed.covariance, np.cov(rows.T)))
        True
    """
    total = None
    for chunk in chunks:
        own = _of_chunk(checked(chunk))
        total = own if total is None else merge(total, own)
    if total is None:
        raise UserError("there are no features to take a mean of")
    return total


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of the rows of both: exact, and the same whichever is first."""
    if a.mean.shape != b.mean.shape:
        raise UserError(
            f"features of {len(a.mean)} and of {len(b.mean)} numbers cannot be joined: take both "
            "from one network"
        )
    count = a.count + b.count
    apart = b.mean - a.mean
    scatter = a.scatter + b.scatter
    scatter += np.outer(apart, apart * (a.count * b.count / count))
    return Moments(count, (a.count * a.mean + b.count * b.mean) / count, scatter)


def _of_chunk(rows: np.ndarray) -> Moments:
    # Centred by a first row before by the mean: the mean of equal rows is then that row exactly,
    # and their scatter 0.
    first = rows[0].astype(np.float64)
    shifted = rows - first
    mean = shifted.mean(axis=0)
    shifted -= mean
    return Moments(len(rows), first + mean, shifted.T @ shifted)


# --- the distance ---------------------------------------------------------------------------------


def gaussian_distance(
    mean_1: np.ndarray, covariance_1: np.ndarray, mean_2: np.ndarray, covariance_2: np.ndarray
) -> float:
    """Squared Frechet distance of two Gaussians, as the FID is reported.

    Args:
        mean_1, mean_2: `[D]`.
        covariance_1, covariance_2: `[D, D]`, symmetric, of any rank, 0 included.

    Returns:
        The distance, at least 0.

    Raises:
        UserError: shapes do not fit together, a number is not finite or beyond 1e30 (1e60 in a
            covariance), or a covariance is none: not symmetric, or of negative variance somewhere.

    Examples:
        Of N(0, 1) and N(3, 4): 3^2 + (2 - 1)^2, and independent dimensions add up.

        >>> from ivg.metrics import frechet
        >>> round(frechet.gaussian_distance([0.0, 0.0], np.eye(2), [3.0, 0.0], 4 * np.eye(2)), 6)
        11.0
    """
    means = [real_table("means", mean) for mean in (mean_1, mean_2)]
    covariances = [real_table("covariances", c, LARGEST**2) for c in (covariance_1, covariance_2)]
    dim = means[0].size
    shapes = [x.shape for x in (*means, *covariances)]
    if not dim or shapes != 2 * [(dim,)] + 2 * [(dim, dim)]:
        shapes = ", ".join(str(list(shape)) for shape in shapes)
        raise UserError(f"means [D] and covariances [D, D] of one D are needed, not {shapes}")
    for number, covariance in enumerate(covariances, start=1):
        if np.abs(covariance - covariance.T).max() > ASYMMETRY * np.abs(covariance).max():
            raise UserError(f"covariance_{number} is not symmetric: it is no covariance")
    traces = [float(np.trace(c)) for c in covariances]
    return _combined(means, traces, [_factor(c) for c in covariances])


def moments_distance(a: Moments, b: Moments) -> float:
    """Squared Frechet distance of two streams of features.

    Raises:
        UserError: features differ in length, or one stream has fewer than two rows.
    """
    return gaussian_distance(a.mean, a.covariance, b.mean, b.covariance)


def distance(features_1: np.ndarray, features_2: np.ndarray) -> float:
    """Squared Frechet distance of two sets of features that are all there, [N, D] and [M, D].

    A set of fewer rows than features is its own factor: nothing is lost to a singular covariance.

    Raises:
        UserError: features are not finite, differ in length, or there are fewer than two rows.

    Examples:
        >>> from ivg.metrics import frechet
        >>> features = np.random.default_rng(0).normal(size=(500, 4))
        >>> shifted = features + np.array([2.0, 0.0, 0.0, 0.0])
        >>> [round(frechet.distance(features, other), 6) for other in (features, shifted)]
        [0.0, 4.0]
    """
    means, traces, factors = [], [], []
    for features in together(features_1, features_2):
        count, dim = features.shape
        if count < 2:
            raise UserError(f"a covariance needs the features of 2 images or more, not {count}")
        if count > dim:
            total = moments(features)
            means.append(total.mean)
            traces.append(float(np.trace(total.covariance)))
            factors.append(_factor(total.covariance))
        else:
            rows = features.astype(np.float64)
            means.append(rows[0] + (rows - rows[0]).mean(axis=0))
            factors.append((rows - means[-1]).T / np.sqrt(count - 1))
            traces.append(float(np.sum(factors[-1] ** 2)))
    return _combined(means, traces, factors)


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F [D, rank] with F F^T the covariance; directions without variance are left out."""
    covariance = np.asarray(covariance, np.float64)  # LAPACK has no longer ones
    values, vectors = scipy.linalg.eigh(covariance, check_finite=False, driver="evd")
    if values[0] < -NEGATIVE * np.abs(values).max():
        raise UserError(f"a covariance has the negative eigenvalue {values[0]:g}: it is none")
    # Eigenvalues below this are rounding; the root would turn 1e-15 of noise into 3e-8.
    noise = len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    kept = values > noise
    return vectors[:, kept] * np.sqrt(values[kept])


def _combined(means: list[np.ndarray], traces: list[float], factors: list[np.ndarray]) -> float:
    product = factors[0].T @ factors[1]
    # tr (S_1 S_2)^(1/2) is the sum of the singular values; none where a set has no variance.
    overlap = scipy.linalg.svdvals(product).sum() if product.size else 0.0
    apart = means[0] - means[1]
    # Equal sets leave a rounding error of either sign.
    return max(float(apart @ apart + sum(traces) - 2.0 * overlap), 0.0)


if __name__ == "__main__":
    from ivg.metrics import feature_scores

    sys.exit(feature_scores.main())
