"""The geometry of the rendered faces: from factors to pixels, one layer above the other.

On the screen x goes to the right and y down from the top left corner, in pixels, the centre of
pixel (row i, column j) being (j + 0.5, i + 0.5). The head has axes of its own, in units of 1.15
pixels: u to its left ear (the picture's right), v down to the chin, the origin between the eyes and
the nose; shift and roll move them. The body follows the shift alone. What comes in pairs is drawn
once, at |u|.

Every shape is a signed distance (negative inside), of which a ramp one pixel wide makes the part of
a pixel that it covers: edges are smooth, and a small move changes the picture by little. A layer is
blended over those behind it. The light comes last, on the whole person and not on the background.

No transcendental function is evaluated per pixel and nothing branches: the values of a categorical
factor (the style of the hair, the shape of the frames) are rows of a table of measures.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SIZE = 64  # pixels
_ZOOM = 1.15  # pixels per unit of the person


class Face(NamedTuple):
    """The factors of one face, each a scalar: [0, 1], or the number of a choice; see `faces`."""

    glasses: jax.Array
    beard: jax.Array
    frame_thickness: jax.Array
    lens_darkness: jax.Array
    frame_shape: jax.Array
    beard_length: jax.Array
    beard_darkness: jax.Array
    skin: jax.Array
    hair_colour: jax.Array
    hair_style: jax.Array
    face_shape: jax.Array
    eye_size: jax.Array
    gaze: jax.Array
    mouth_curve: jax.Array
    shift_x: jax.Array
    shift_y: jax.Array
    roll: jax.Array
    background_colour: jax.Array
    background_gradient: jax.Array
    light: jax.Array


class Frame(NamedTuple):
    """Where each pixel lies from the head's origin, [64, 64] each: on its axes and unrolled."""

    u: jax.Array
    v: jax.Array
    dx: jax.Array
    dy: jax.Array


FRAME_SHAPES = ("round", "square", "cat-eye")
# Half the width and height of a lens, radius of its upper outer corner and of the other corners,
# slope at which it rises outwards.
_LENSES = np.array(
    [[4.9, 4.9, 4.9, 4.9, 0.0], [5.4, 4.2, 1.2, 1.2, 0.0], [5.5, 3.8, 0.6, 3.6, 0.16]], np.float32
)
HAIR_STYLES = ("bald on top", "short", "long", "curly")
# How far it goes beyond the skull sideways and above; where it begins and ends along v; the
# hairline h0 + h1 t + h4 t^4 at t = |u| / half the head's width; radius of the curls (negative:
# none).
_HAIR = np.array(
    [
        [2.2, -3.5, -9.5, 3.5, -34.0, 0.0, 37.0, -50.0],
        [1.7, 2.6, -99.0, 0.0, -10.5, -1.5, 10.0, -50.0],
        [3.6, 2.8, -99.0, 19.0, -15.0, 7.0, 22.0, -50.0],
        [1.5, 1.5, -99.0, 3.0, -9.5, -2.0, 11.0, 4.6],
    ],
    np.float32,
)
_CURLS = np.radians([0, 33, 64, 94, 120])  # on the skull, from its top

# Paths of colours (red, green, blue in [0, 1]); a factor moves along one at a constant pace.
_SKINS = np.array([[0.98, 0.84, 0.74], [0.82, 0.59, 0.43], [0.43, 0.28, 0.20]], np.float32)
_HAIRS = np.array(
    [[0.93, 0.80, 0.47], [0.76, 0.38, 0.15], [0.42, 0.25, 0.14], [0.08, 0.07, 0.08]], np.float32
)
_BEARDS = np.array([[0.68, 0.66, 0.64], [0.06, 0.05, 0.05]], np.float32)
# Red to violet by way of green, three quarters of the circle of hues, so that the ends differ.
_BACKGROUNDS = np.array(
    [[0.80, 0.49, 0.47], [0.79, 0.77, 0.46], [0.47, 0.76, 0.50], [0.44, 0.72, 0.80],
     [0.61, 0.51, 0.80]], np.float32
)  # fmt: skip

_CLOTHES, _BROW, _WHITE = (0.24, 0.27, 0.34), (0.20, 0.14, 0.11), (0.97, 0.97, 0.95)
_IRIS, _PUPIL, _LIPS = (0.30, 0.20, 0.12), (0.03, 0.03, 0.04), (0.70, 0.25, 0.26)
_RIM, _LENS, _SHINE = (0.05, 0.05, 0.07), (0.05, 0.06, 0.09), (0.93, 0.96, 1.0)

_EYE_U, _EYE_V, _MOUTH_V = 6.6, -2.0, 10.6
_FACE_V = 1.0  # centre of the head's outline


def draw(face: Face) -> jax.Array:
    """One face: float [3, 64, 64] in [0, 1], pure JAX."""
    at = _axes(face)
    half_width = 13.0 + 3.5 * face.face_shape
    half_height = 19.5 - 2.5 * face.face_shape
    skin = _along(_SKINS, face.skin)

    image, person = _background(face, at), jnp.zeros((SIZE, SIZE))
    hair_behind, hair_before = _hair(face, at, half_width, half_height)
    strands = 1.0 + 0.13 * _wave(0.36 * at.u + 0.06 * at.v)
    hair_colour = _textured(_along(_HAIRS, face.hair_colour), strands)
    head = _head(at, half_width, half_height)
    beard = face.beard * _beard(face, at, half_width, half_height)

    layers = [
        (_ellipse(at.dx, at.dy - 40.0, 23.0, 15.5), _CLOTHES),
        (hair_behind, hair_colour * 0.8),
        (jnp.maximum(jnp.abs(at.dx) - 7.0, jnp.abs(at.dy - 15.0) - 12.0), skin * 0.80),
        (_ellipse(jnp.abs(at.u) - half_width, at.v - 0.5, 2.4, 3.6), skin * 0.90),
        (head, skin),
    ]
    for distance, colour in layers:
        image = _over(image, _cover(distance), colour)
        person = jnp.maximum(person, _cover(distance))
    rough = 1.0 + 0.16 * _wave(0.40 * at.u) + 0.08 * _wave(0.22 * at.v + 0.1 * at.u)
    image = _over(image, beard, _textured(_along(_BEARDS, face.beard_darkness), rough))
    image = _mouth_and_nose(image, face, at, skin)
    image = _eyes(image, face, at)
    image = _over(image, _cover(hair_before), hair_colour)
    image = _glasses(image, face, at, half_width)
    person = jnp.maximum(jnp.maximum(person, beard), _cover(hair_before))
    return image * (1.0 + person * (_shade(face, at) - 1.0))[None]


# ---- shapes -------------------------------------------------------------------------------------


def _cover(distance: jax.Array) -> jax.Array:
    """How much of a pixel lies inside, from the signed distance of its centre."""
    return jnp.clip(0.5 - _ZOOM * distance, 0.0, 1.0)


def _over(image: jax.Array, alpha: jax.Array, colour: jax.Array | tuple) -> jax.Array:
    """Blends a colour [3] or [3, 64, 64] over the image, by alpha [64, 64]."""
    colour = jnp.asarray(colour)
    colour = colour if colour.ndim == 3 else colour[:, None, None]
    return image + alpha[None] * (colour - image)


def _textured(colour: jax.Array, brightness: jax.Array) -> jax.Array:
    """A colour [3] times a brightness [64, 64]: [3, 64, 64]."""
    return colour[:, None, None] * brightness[None]


def _ellipse(u: jax.Array, v: jax.Array, a: jax.Array | float, b: jax.Array | float) -> jax.Array:
    """Signed distance from an ellipse at the origin, to first order: exact at the edge."""
    p, q = u / a, v / b
    return 0.5 * (p * p + q * q - 1.0) * jax.lax.rsqrt((p / a) ** 2 + (q / b) ** 2 + 1e-9)


def _wave(phase: jax.Array) -> jax.Array:
    """A triangle wave in [-1, 1] of period 1."""
    return 4.0 * jnp.abs(phase - jnp.floor(phase) - 0.5) - 1.0


def _along(path: np.ndarray, t: jax.Array) -> jax.Array:
    """The colour at t in [0, 1] of a path of colours [K, 3]: [3]."""
    knots = jnp.arange(len(path))
    weights = jnp.clip(1.0 - jnp.abs(t * (len(path) - 1) - knots), 0.0, 1.0)
    return jnp.sum(weights[:, None] * path, axis=0)


# ---- parts --------------------------------------------------------------------------------------


def _axes(face: Face) -> Frame:
    """Shifts of up to 4 and 3 pixels; a roll of up to 0.2 rad, clockwise as seen from 0.5 on."""
    pixels = jnp.arange(SIZE) + 0.5
    dx = (pixels - (32.0 + 8.0 * (face.shift_x - 0.5))) / _ZOOM
    dy = (pixels - (30.0 + 6.0 * (face.shift_y - 0.5))) / _ZOOM
    dx = jnp.broadcast_to(dx, (SIZE, SIZE))
    dy = jnp.broadcast_to(dy[:, None], (SIZE, SIZE))
    cos, sin = jnp.cos(0.4 * (face.roll - 0.5)), jnp.sin(0.4 * (face.roll - 0.5))
    return Frame(cos * dx + sin * dy, cos * dy - sin * dx, dx, dy)


def _background(face: Face, at: Frame) -> jax.Array:
    """A hue, brighter above (0) or below (1) by up to a quarter."""
    rows = (jnp.arange(SIZE) + 0.5) / 32.0 - 1.0
    slope = 1.0 + 0.5 * (face.background_gradient - 0.5) * rows
    colour = _along(_BACKGROUNDS, face.background_colour)
    return jnp.broadcast_to((colour[:, None] * slope[None])[:, :, None], (3, SIZE, SIZE))


def _shade(face: Face, at: Frame) -> jax.Array:
    """Light from the left (0) or from the right (1), and less of it where the head curves away."""
    side = jnp.clip(at.dx / 20.0, -1.0, 1.0)
    edge = jnp.minimum((at.u * at.u + at.v * at.v) / 500.0, 1.0)
    return 1.0 + 0.7 * (face.light - 0.5) * side - 0.14 * edge


def _head(at: Frame, half_width: jax.Array, half_height: jax.Array) -> jax.Array:
    """An ellipse that narrows towards the chin."""
    v = at.v - _FACE_V
    return _ellipse(at.u / (1.0 - 0.11 * v / half_height), v, half_width, half_height)


def _hair(
    face: Face, at: Frame, half_width: jax.Array, half_height: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The hair behind the head and the hair before it."""
    wide, high, begin, end, h0, h1, h4, curl = jnp.asarray(_HAIR)[face.hair_style.astype(jnp.int32)]
    side = jnp.abs(at.u)
    # Half an ellipse on top of the skull, then straight down.
    centre, top = -3.0, half_height - 4.0
    outline = _ellipse(at.u, jnp.minimum(at.v - centre, 0.0), half_width + wide, top + high)
    squares = [
        (side - half_width * np.sin(t)) ** 2 + (at.v - centre + top * np.cos(t)) ** 2
        for t in _CURLS.tolist()
    ]
    squares = jnp.stack(squares).min(0)
    begin = begin + 1.2 * (side - half_width)  # later further out, which rounds the tufts
    outline = jnp.maximum(outline, jnp.maximum(begin - at.v, at.v - end))
    outline = jnp.minimum(outline, jnp.sqrt(squares) - curl)
    t = side / half_width
    t3 = t * t * t
    slope = (h1 + 4.0 * h4 * t3) / half_width
    line = (at.v - h0 - h1 * t - h4 * t3 * t) * jax.lax.rsqrt(1.0 + slope * slope)
    return outline, jnp.maximum(outline, line)


def _beard(face: Face, at: Frame, half_width: jax.Array, half_height: jax.Array) -> jax.Array:
    """Coverage: the lower face down to 1 to 9 pixels below the chin, less the mouth."""
    v = at.v - _FACE_V
    reach = half_height + 1.0 + 6.5 * face.beard_length
    outline = _ellipse(at.u / (1.0 - 0.11 * v / half_height), v, half_width + 0.3, reach)
    t2 = (at.u / half_width) ** 2
    cheek = 7.2 - 8.5 * t2 * t2 - at.v
    mouth = _cover(_ellipse(at.u, at.v - _MOUTH_V, 5.4, 2.3))
    return _cover(jnp.maximum(outline, cheek)) * (1.0 - mouth)


def _mouth_and_nose(image: jax.Array, face: Face, at: Frame, skin: jax.Array) -> jax.Array:
    """Lips bent by up to 3 pixels, corners up at 1; a nose in two tones of the skin."""
    side = jnp.abs(at.u)
    p = at.u / 5.6
    bend = 5.8 * (face.mouth_curve - 0.5)
    slope = 2.0 * bend * p / 5.6
    middle = (at.v - _MOUTH_V + bend * (p * p - 0.35)) * jax.lax.rsqrt(1.0 + slope * slope)
    lips = jnp.maximum(jnp.abs(middle) - 1.25 + 0.6 * p * p, side - 5.6)
    image = _over(image, _cover(lips), _LIPS)
    image = _over(image, _cover(_ellipse(at.u, at.v - 4.7, 2.8, 1.7)), skin * 0.80)
    image = _over(image, _cover(_ellipse(at.u, at.v - 1.6, 1.3, 4.4)), jnp.minimum(skin * 1.06, 1))
    return image


def _eyes(image: jax.Array, face: Face, at: Frame) -> jax.Array:
    """White, iris and pupil, the upper lid, and a brow of a colour of its own."""
    side, v = jnp.abs(at.u) - _EYE_U, at.v - _EYE_V
    eye = _ellipse(side, v, 2.4 + 1.6 * face.eye_size, 1.25 + 1.3 * face.eye_size)
    look = jnp.where(at.u > 0.0, 2.8, -2.8) * (face.gaze - 0.5)
    radius = 1.2 + 0.6 * face.eye_size
    centre = jnp.sqrt((side - look) ** 2 + v * v)
    white = _cover(eye)
    image = _over(image, white, _WHITE)
    image = _over(image, jnp.minimum(white, _cover(centre - radius)), _IRIS)
    image = _over(image, jnp.minimum(white, _cover(centre - 0.6 * radius)), _PUPIL)
    image = _over(image, _cover(jnp.maximum(jnp.abs(eye) - 0.4, v + 0.3)), _BROW)
    arch = jnp.abs(v + 6.6 - 0.06 * side * side)
    brow = jnp.maximum(arch - 0.8, jnp.abs(side) - 4.0)
    return _over(image, _cover(brow), _BROW)


def _glasses(image: jax.Array, face: Face, at: Frame, half_width: jax.Array) -> jax.Array:
    """Lenses with a shine, rims that thicken outwards, a bridge and arms to the ears."""
    a, b, upper, other, rise = jnp.asarray(_LENSES)[face.frame_shape.astype(jnp.int32)]
    side, v = jnp.abs(at.u) - _EYE_U, at.v - _EYE_V - 0.4
    raised = v + rise * side
    corner = jnp.where((side > 0.0) & (raised < 0.0), upper, other)
    p, q = jnp.abs(side) - a + corner, jnp.abs(raised) - b + corner
    outer = jnp.maximum(p, 0.0) ** 2 + jnp.maximum(q, 0.0) ** 2
    lens = jnp.sqrt(outer) + jnp.minimum(jnp.maximum(p, q), 0.0) - corner
    thick = 1.2 + 1.9 * face.frame_thickness
    rim = jnp.maximum(-0.6 - lens, lens + 0.6 - thick)
    bar = jnp.abs(v + 1.6) - 0.5 * thick
    bridge = jnp.maximum(bar, jnp.abs(at.u) + a - _EYE_U)
    arms = jnp.maximum(bar, jnp.maximum(a - side, side + _EYE_U - half_width - 0.5))
    rim = jnp.minimum(rim, jnp.minimum(bridge, arms))
    inside = face.glasses * _cover(lens)
    image = _over(image, inside * (0.10 + 0.75 * face.lens_darkness), _LENS)
    streak = _cover(jnp.abs(jnp.where(at.u > 0.0, side, -side) + v + 4.0) * 0.7 - 0.6)
    image = _over(image, inside * 0.45 * streak, _SHINE)
    return _over(image, face.glasses * _cover(rim), _RIM)
