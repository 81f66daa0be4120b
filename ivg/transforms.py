"""Random changes of images that leave what they show as it is: pure functions of key and images."""

import chex
import jax
import jax.numpy as jnp


def random_affine(
    key: jax.Array,
    x: jax.Array,
    *,
    rotation: float,
    scale: float,
    shear: float,
    translation: float,
    fill: float = -1.0,
) -> jax.Array:
    """A small affine map of each image about its centre, drawn per image, sampled bilinearly.

    Args:
        key: consumed.
        x: images [B, H, W, C].
        rotation: degrees; the angle is uniform in [-rotation, rotation].
        scale: each axis is scaled by a factor log-uniform in [1 / (1 + scale), 1 + scale].
        shear: horizontal shift per pixel of height, uniform in [-shear, shear].
        translation: pixels, uniform in [-translation, translation] along each axis.
        fill: what lies outside the image.

    Returns:
        Images of the same shape.

    Examples:
        >>> from ivg.transforms import random_affine
        >>> x = np.random.default_rng(0).uniform(size=(2, 8, 8, 1)).astype(np.float32)
        >>> none = dict(rotation=0.0, scale=0.0, shear=0.0, translation=0.0)
        >>> moved = jax.jit(lambda key, x: random_affine(key, x, **none))(jax.random.key(0), x)
        >>> bool(np.allclose(moved, x, atol=1e-5))
        True
    """
    batch, height, width, channels = x.shape
    draw = jax.random.uniform(key, (6, batch), minval=-1.0)
    angle = draw[0] * rotation * (jnp.pi / 180)
    horizontal, vertical = jnp.exp(draw[1:3] * jnp.log1p(scale))
    slant = draw[3] * shear
    shift_x, shift_y = draw[4:6] * translation
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    # Where each output pixel comes from: rotation . shear . scaling, about the centre.
    matrix = jnp.array(
        [
            [cos * horizontal, (cos * slant - sin) * vertical],
            [sin * horizontal, (sin * slant + cos) * vertical],
        ]
    )
    grid_x = jnp.arange(width) - (width - 1) / 2
    grid_y = jnp.arange(height) - (height - 1) / 2
    px, py = (
        row[0][:, None, None] * grid_x[None, None, :]
        + row[1][:, None, None] * grid_y[None, :, None]
        + shift[:, None, None]
        + (size - 1) / 2
        for row, shift, size in ((matrix[0], shift_x, width), (matrix[1], shift_y, height))
    )
    return bilinear(x, px, py, fill=fill)


def bilinear(x: jax.Array, px: jax.Array, py: jax.Array, *, fill: float) -> jax.Array:
    """Samples images [B, H, W, C] at columns px and rows py, both [B, H', W'], in pixels.

    One gather of whole pixels from a border-padded copy: pixel centres are at integers, and a point
    more than one pixel outside is `fill`.

    Examples:
        >>> from ivg.transforms import bilinear
        >>> x = jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1)
        >>> px, py = jnp.array([[[0.0, 0.25, 1.0, 9.0]]]), jnp.zeros((1, 1, 4))
        >>> print(bilinear(x, px, py, fill=-1.0).ravel())
        [ 0.  1.  4. -1.]
    """
    batch, height, width, channels = x.shape
    chex.assert_equal_shape([px, py])
    chex.assert_shape(px, (batch, None, None))
    x = jnp.asarray(x, jnp.result_type(x, float))  # whole numbers have no -1 to fill with
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=fill)
    flat = padded.reshape(batch, (height + 2) * (width + 2), channels)
    px = jnp.clip(px + 1, 0, width + 1)
    py = jnp.clip(py + 1, 0, height + 1)
    left = jnp.minimum(jnp.floor(px), width).astype(jnp.int32)
    top = jnp.minimum(jnp.floor(py), height).astype(jnp.int32)
    right_part, lower_part = (px - left)[..., None], (py - top)[..., None]
    index = (top * (width + 2) + left).reshape(batch, px.shape[1] * px.shape[2])

    def at(offset: int) -> jax.Array:
        pixels = jnp.take_along_axis(flat, index[..., None] + offset, axis=1)
        return pixels.reshape(*px.shape, channels)

    upper = (1 - right_part) * at(0) + right_part * at(1)
    lower = (1 - right_part) * at(width + 2) + right_part * at(width + 3)
    return (1 - lower_part) * upper + lower_part * lower
