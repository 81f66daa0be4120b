"""The three outlines of dSprites as gauges: a point lies inside if its gauge is at most the scale.

A gauge is the function that is 1 on the outline and grows in proportion to the distance from the
origin. Points (u, v) are in pixels at scale 1, u to the right and v *down*, seen at orientation 0.
The measures were fitted to published frames of dSprites, with which the images agree but for a
pixel or two in some frames.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

SQUARE_HALF = 9.6  # half the side, in pixels
ELLIPSE_AXES = (12.78, 7.22)  # semi-axes along u and v
ELLIPSE_SIDES = 64  # the ellipse is a polygon with a corner on the u axis

# The heart, symmetric about the v axis: radii in pixels every 2.5 degrees, from straight down (its
# tip) to straight up (its notch), straight edges between. The radii at 22.5, 122.5 and 125 degrees
# lie up to 0.11 px off the fit, which makes the numbers of lit pixels exact at every scale.
# fmt: off
HEART_RADII = (
    9.06, 8.60, 8.13, 7.72, 7.33, 7.09, 6.81, 6.70, 6.40, 6.35, 6.34, 6.12, 6.12, 6.03, 5.94, 5.93,
    5.92, 5.94, 5.97, 5.95, 5.94, 6.06, 6.02, 6.08, 6.14, 6.26, 6.39, 6.44, 6.58, 6.73, 6.88, 7.05,
    7.23, 7.43, 7.64, 7.87, 8.19, 8.40, 8.66, 8.90, 9.18, 9.38, 9.73, 9.95, 10.17, 10.31, 10.57,
    10.78, 10.80, 11.15, 11.13, 11.18, 11.24, 11.25, 11.26, 11.24, 11.18, 11.11, 11.00, 10.89,
    10.70, 10.52, 10.27, 10.03, 9.71, 9.31, 8.91, 8.40, 7.90, 7.34, 6.63, 5.92, 5.07,
)
# fmt: on


def gauge(shape: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """The gauge of points against the outline of a shape.

    Args:
        shape: int [], 0 square, 1 ellipse, 2 heart.
        u: float [...], pixels to the right of the shape's centre.
        v: float [...], pixels below it.

    Returns:
        float [...]: at most s where the point lies inside the shape at scale s.
    """
    shapes = [square(u, v), ellipse(u, v), heart(u, v)]
    return jnp.where(shape == 0, shapes[0], jnp.where(shape == 1, shapes[1], shapes[2]))


def square(u: jax.Array, v: jax.Array) -> jax.Array:
    """Gauge of the square, side 19.2 px."""
    return jnp.maximum(jnp.abs(u), jnp.abs(v)) / SQUARE_HALF


def ellipse(u: jax.Array, v: jax.Array) -> jax.Array:
    """Gauge of the polygon inscribed in the ellipse.

    In units of the semi-axes it is a regular polygon; the reflections at both axes and at the
    diagonal fold it into an eighth, whose few edges need no search.
    """
    p, q = jnp.abs(u) / ELLIPSE_AXES[0], jnp.abs(v) / ELLIPSE_AXES[1]
    far, near = jnp.maximum(p, q), jnp.minimum(p, q)
    edges = [far * x + near * y for x, y in _ellipse_normals()]
    return functools.reduce(jnp.maximum, edges)


def heart(u: jax.Array, v: jax.Array) -> jax.Array:
    """Gauge of the heart: the outline is star-shaped, so the angle tells the edge to test.

    An angle that is rounded into the neighbouring sector does no harm: at their common corner the
    two edges give the same gauge.
    """
    normals = _heart_normals()
    u = jnp.abs(u)
    sector = (jnp.arctan2(u, v) * (len(normals) / np.pi)).astype(jnp.int32)
    sector = jnp.minimum(sector, len(normals) - 1)
    x, y = (jnp.asarray(column)[sector] for column in normals.T)
    return x * u + y * v


def _ellipse_normals() -> np.ndarray:
    """Normals (x, y), scaled so that x * far + y * near is 1 on the edge: [8, 2]."""
    middles = (np.arange(ELLIPSE_SIDES // 8) + 0.5) * 2 * np.pi / ELLIPSE_SIDES
    normals = np.stack([np.cos(middles), np.sin(middles)], axis=1)
    return (normals / np.cos(np.pi / ELLIPSE_SIDES)).astype(np.float32)


def _heart_normals() -> np.ndarray:
    """Normals of one half's edges, scaled so that x * u + y * v is 1 on the edge: [72, 2]."""
    angles = np.linspace(0, np.pi, len(HEART_RADII))
    corners = np.array(HEART_RADII)[:, None] * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    along = np.diff(corners, axis=0)
    normals = np.stack([along[:, 1], -along[:, 0]], axis=1)
    distances = np.sum(normals * corners[:-1], axis=1, keepdims=True)
    return (normals / distances).astype(np.float32)
