"""How far reconstructions are from their images, in the unit of `results.json`."""

import numpy as np

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import LARGEST

ROUNDING = 1e-3  # by which images in a coarse float type may leave [-1, 1]


def mean_squared_error(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Mean squared error per pixel and channel of images in [-1, 1]: "reconstruction_mse".

    Of uint8 reconstructions it is larger than that of the floats that they were rounded from by
    about (2 / 255)^2 / 12 = 5e-6.

    Args:
        images: `[N, H, W, C]`, uint8, or floats in [-1, 1].
        reconstructions: of the same shape, uint8 or floats likewise.

    Raises:
        UserError: the shapes differ, there is no image, an array is of another kind or not finite,
            or images are not in [-1, 1].

    Example:
        >>> mean_squared_error(np.full((2, 8, 8, 1), 255, np.uint8), np.zeros((2, 8, 8, 1)))
        1.0
    """
    x, x_hat = _unit("images", images), _unit("reconstructions", reconstructions)
    if x.shape != x_hat.shape or not x.size:
        raise UserError(
            f"the squared error needs as many reconstructions as images, at least one, not "
            f"{x_hat.shape} and {x.shape}"
        )
    if np.abs(x).max() > 1.0 + ROUNDING:
        raise UserError(
            f"images as floats must be in [-1, 1], not from {x.min():g} to {x.max():g}: give uint8 "
            "or rescale both arrays"
        )
    return float(np.mean((x - x_hat) ** 2))


def _unit(name: str, images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images / 127.5 - 1.0
    if images.dtype.kind != "f":  # whole numbers of another kind: of which scale?
        raise UserError(f"{name} must be uint8 or floats in [-1, 1], not {images.dtype}")
    images = images.astype(np.float64)
    if images.size and not np.abs(images).max() <= LARGEST:
        raise UserError(f"{name} are NaN, infinite or beyond {LARGEST:g}: look at what made them")
    return images
