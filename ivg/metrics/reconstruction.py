"""How far reconstructions are from their images, in the unit of `results.json`."""

import numpy as np

from ivg.errors import UserError


def mean_squared_error(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Mean squared error per pixel and channel of images in [-1, 1]: "reconstruction_mse".

    Of uint8 reconstructions it is larger than that of the floats that they were rounded from by
    about (2 / 255)^2 / 12 = 5e-6.

    Args:
        images: `[N, H, W, C]`, uint8, or floats in [-1, 1].
        reconstructions: of the same shape, uint8 or floats likewise.

    Raises:
        UserError: the shapes differ, or there is no image.

    Example:
        >>> mean_squared_error(np.full((2, 8, 8, 1), 255, np.uint8), np.zeros((2, 8, 8, 1)))
        1.0
    """
    x, x_hat = _unit(images), _unit(reconstructions)
    if x.shape != x_hat.shape or not x.size:
        raise UserError(
            f"the squared error needs as many reconstructions as images, at least one, not "
            f"{x_hat.shape} and {x.shape}"
        )
    return float(np.mean((x - x_hat) ** 2))


def _unit(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images / 127.5 - 1.0
    return images.astype(np.float64)
