"""Random affine changes against scipy's resampling, the identity, and bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ivg import transforms

NOTHING = dict(rotation=0.0, scale=0.0, shear=0.0, translation=0.0)


def images(n=3, height=7, width=9, channels=2):
    return np.random.default_rng(0).uniform(-1, 1, (n, height, width, channels)).astype(np.float32)


def test_no_change_is_the_identity():
    x = images()
    y = jax.jit(lambda k, x: transforms.random_affine(k, x, **NOTHING))(jax.random.key(0), x)
    np.testing.assert_allclose(y, x, atol=1e-5)


def test_bilinear_equals_scipy():
    x = images()
    rng = np.random.default_rng(1)
    px, py = rng.uniform(-3, 11, (2, 3, 5, 6)).astype(np.float32)
    y = jax.jit(lambda *a: transforms.bilinear(*a, fill=-1.0))(x, px, py)
    for i in range(3):
        for c in range(2):
            padded = np.pad(x[i, ..., c], 1, constant_values=-1.0)
            at = np.clip([py[i] + 1, px[i] + 1], 0, [[[8]], [[10]]])
            truth = ndimage.map_coordinates(padded, at, order=1)
            np.testing.assert_allclose(y[i, ..., c], truth, atol=1e-5)


@pytest.mark.parametrize(
    ("what", "size", "moved"),
    [
        ("rotation", 90.0, True),
        ("translation", 2.0, True),
        ("shear", 0.5, True),
        ("scale", 0.5, True),
    ],
)
def test_each_change_moves_a_dot_within_its_bounds(what, size, moved):
    x = -np.ones((64, 21, 21, 1), np.float32)
    x[:, 10, 16] = 1.0  # six pixels right of the centre
    x[:, 4, 10] = 1.0  # six above it
    y = jax.jit(lambda k: transforms.random_affine(k, jnp.asarray(x), **(NOTHING | {what: size})))(
        jax.random.key(3)
    )
    weight = np.asarray(y)[..., 0] + 1
    rows, columns = np.mgrid[:21, :21] - 10
    distance = np.hypot(rows, columns)
    reach = {"rotation": 6, "translation": 6 + 2 * 2**0.5, "shear": 6 * 1.5, "scale": 6 * 1.5}[what]
    assert weight[:, distance > reach + 1.5].max() < 1e-3
    assert (np.abs(np.asarray(y) - x).max(axis=(1, 2, 3)) > 0.1).mean() > 0.8
    # a different draw for every image
    assert len({tuple(np.round(image.ravel(), 3)) for image in np.asarray(y)}) == 64


def test_a_quarter_turn_is_exact_in_the_mean():
    """Rotation keeps distances from the centre: the mean of turned images is radially symmetric."""
    x = -np.ones((400, 15, 15, 1), np.float32)
    x[:, 7, 11] = 1.0
    y = jax.jit(
        lambda k: transforms.random_affine(k, jnp.asarray(x), **(NOTHING | {"rotation": 180.0}))
    )(jax.random.key(0))
    mean = np.asarray(y).mean(axis=0)[..., 0] + 1
    quarters = [np.rot90(mean, i) for i in range(4)]
    ring = [q[2:5, 6:9].sum() for q in quarters]
    assert max(ring) < 1.4 * min(ring)
