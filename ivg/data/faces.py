"""Rendered faces, 64 x 64 in colour, of which every factor is known: no download.

Two attributes are labels: glasses and beard. Each owns sub-attributes, which show only where it is
present. Everything else is nuisance. What a method calls "the attribute's representation" should
hold the former two kinds, and nothing of the third; here that can be checked against the truth.

Factors are independent unless `correlations` says otherwise: attributes present in one half of the
faces, continuous factors uniform on [0, 1], categorical ones uniform over their values.

  priors        "glasses:0.333" the attribute is present with this probability;
                "gaze:0.4:0.6" the continuous factor is uniform on this range (equal ends fix it);
                "hair_style:2" the categorical factor always has this value.
  correlations  "glasses:hair_colour:0.8" correlation of two attributes or continuous factors:
                of the normal variables of a Gaussian copula, so that each factor alone stays as
                distributed as before. An attribute is the more likely the higher its variable.

Several are separated by commas.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ivg.data import face_drawing
from ivg.data.batches import take
from ivg.data.records import (
    Dataset,
    Factor,
    Options,
    Rendered,
    Split,
    nearest,
    select_attributes,
)
from ivg.errors import UserError

SIZE = face_drawing.SIZE  # pixels
_ATTRIBUTES = ("glasses", "beard")
_VALUES = {
    "frame_shape": len(face_drawing.FRAME_SHAPES),
    "hair_style": len(face_drawing.HAIR_STYLES),
}
_OWNERS = {
    "frame_thickness": "glasses",
    "lens_darkness": "glasses",
    "frame_shape": "glasses",
    "beard_length": "beard",
    "beard_darkness": "beard",
}


def _factor(name: str) -> Factor:
    if name in _ATTRIBUTES:
        return Factor(name, "attribute", 2)
    kind = "sub-attribute" if name in _OWNERS else "nuisance"
    return Factor(name, kind, _VALUES.get(name, 0), _OWNERS.get(name, ""))


FACTORS: tuple[Factor, ...] = tuple(map(_factor, face_drawing.Face._fields))
_NAMES = tuple(factor.name for factor in FACTORS)
# A uniform number this close to 0 or 1 becomes it: the normal quantile stays finite, and the
# largest value of a discrete factor is not rounded up beyond the last.
_MARGIN = 2.0**-20


class Law(NamedTuple):
    """The distribution of the factors, hashable; made by `parse`.

    Factor i is low[i] + (high[i] - low[i]) * u[i], u uniform on [0, 1), without its fraction if it
    is discrete: an attribute of probability p has the ends p and p + 1.

    Attributes:
        low: F numbers.
        high: F numbers.
        tied: the columns that are correlated.
        mixing: the symmetric root of their matrix of correlations, its rows.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    tied: tuple[int, ...] = ()
    mixing: tuple[tuple[float, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class Draw:
    """`Rendered.draw` of one split: the factors of a face depend on its number and nothing else.

    Two with equal fields are equal, so that what was compiled for one serves the other.
    """

    law: Law
    split: int  # 0 training, 1 test

    def __call__(self, numbers: jax.Array, key: jax.Array) -> jax.Array:
        """Faces by number; `key` is not used: int [B] -> uint8 [B, 64, 64, 3]."""
        del key
        return render(self.factors(numbers))

    def factors(self, numbers: jax.Array | np.ndarray) -> jax.Array:
        """The factors of the faces with these numbers: int [B] -> float32 [B, F]."""
        root = jax.random.fold_in(jax.random.key(0), self.split)
        return _sample(root, jnp.asarray(numbers, jnp.uint32), self.law)


def render(factors: jax.Array | np.ndarray) -> jax.Array:
    """Draws faces; jitted, and made to be called inside a jitted step.

    Args:
        factors: float [..., F], columns as in `FACTORS`: in [0, 1], or a value's number.

    Returns:
        uint8 [..., 64, 64, 3].
    """
    factors = jnp.asarray(factors, jnp.float32)
    images = _render(factors.reshape(-1, len(FACTORS)))
    return images.reshape(*factors.shape[:-1], SIZE, SIZE, 3)


@jax.jit
@jax.vmap
def _render(factors: jax.Array) -> jax.Array:
    image = face_drawing.draw(face_drawing.Face(*factors))
    levels = jnp.floor(255.0 * jnp.clip(image, 0.0, 1.0) + 0.5).astype(jnp.uint8)
    return jnp.transpose(levels, (1, 2, 0))


def sample(key: jax.Array, n: int, *, priors: str = "", correlations: str = "") -> jax.Array:
    """Factors of n faces, float32 [n, F]; those of face i are the same for every n above i.

    Args:
        key: PRNG key.
        n: how many.
        priors: see the module's docstring.
        correlations: see the module's docstring.

    Raises:
        UserError: priors or correlations cannot be understood or cannot hold.
    """
    return _sample(key, jnp.arange(n, dtype=jnp.uint32), parse(priors, correlations))


@functools.partial(jax.jit, static_argnames="law")
def _sample(key: jax.Array, numbers: jax.Array, law: Law) -> jax.Array:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
    u = jax.vmap(lambda one: jax.random.uniform(one, (len(FACTORS),)))(keys)
    u = jnp.clip(u, _MARGIN, 1.0 - _MARGIN)
    if law.tied:
        columns = jnp.array(law.tied)
        normal = jax.scipy.special.ndtri(u[:, columns])
        # Sums by hand: a matrix product may be rounded to fewer bits on an accelerator.
        mixed = jnp.sum(normal[:, None, :] * jnp.array(law.mixing)[None], axis=-1)
        mixed = jnp.clip(jax.scipy.special.ndtr(mixed), _MARGIN, 1.0 - _MARGIN)
        u = u.at[:, columns].set(mixed)
    low, high = jnp.array(law.low)[None], jnp.array(law.high)[None]
    discrete = jnp.array([factor.values > 0 for factor in FACTORS])[None]
    values = low + (high - low) * u
    return jnp.where(discrete, jnp.floor(values), values)


def load(options: Options) -> Dataset:
    """`options.num_images` training faces and a quarter as many test faces.

    A face has the same factors wherever it is asked for, whatever the seed and the number of
    images. `in_memory` True renders all of them now; otherwise a step draws its own batch.

    Raises:
        UserError: an option is wrong.
    """
    if options.image_size not in (None, SIZE):
        raise UserError(f"image_size is {options.image_size}; faces are drawn {SIZE} x {SIZE}.")
    if options.channels not in (None, 3):
        raise UserError(f"channels is {options.channels}; faces have 3: leave it out.")
    if options.crop not in (None, "none"):
        raise UserError(f"crop is {options.crop!r}; faces are drawn whole: leave it out.")
    law = parse(options.priors, options.correlations)
    _, names = select_attributes(None, _ATTRIBUTES, options.attributes, "faces")
    counts = (options.num_images, max(options.num_images // 4, 1))
    train, test = (
        _split(Draw(law, i), n, names, options.in_memory is True) for i, n in enumerate(counts)
    )
    shape = (SIZE, SIZE, 3)
    return Dataset("faces", train, test, shape, attribute_names=names, factors=FACTORS)


def _split(draw: Draw, count: int, attributes: tuple[str, ...], in_memory: bool) -> Split:
    factors = np.asarray(draw.factors(np.arange(count)))
    images = Rendered(count, (SIZE, SIZE, 3), draw)
    labels = factors[:, [_NAMES.index(name) for name in attributes]] > 0.5
    stored = take(images, np.arange(count)) if in_memory else images
    return Split(stored, None, labels, factors=factors)


# ---- what the user writes -----------------------------------------------------------------------


def parse(priors: str, correlations: str) -> Law:
    """The law that these two texts describe; see the module's docstring.

    Raises:
        UserError: a factor is unknown or named twice, a number is missing, too many or out of
            range, or no factors can be so correlated.
    """
    low, high = [0.0] * len(FACTORS), [float(factor.values or 1) for factor in FACTORS]
    for i, factor in enumerate(FACTORS):
        if factor.kind == "attribute":
            low[i], high[i] = 0.5, 1.5
    seen: set[str] = set()
    for item in _items(priors):
        name, *words = item.split(":")
        factor = FACTORS[_column(name, "priors", item)]
        if name in seen:
            raise UserError(f"priors names {name!r} twice: name it once.")
        seen.add(name)
        low[_NAMES.index(name)], high[_NAMES.index(name)] = _ends(factor, words, item)
    return Law(tuple(low), tuple(high), *_mixing(_items(correlations)))


def _ends(factor: Factor, words: list[str], item: str) -> tuple[float, float]:
    """The ends of `Law` for one factor."""
    numbers = [_number(word, "priors", item) for word in words]
    if factor.kind == "attribute":
        if len(numbers) != 1 or not 0 <= numbers[0] <= 1:
            raise UserError(
                f"priors has {item!r}; an attribute needs a probability between 0 and 1, as in "
                f"{factor.name}:0.333."
            )
        return numbers[0], numbers[0] + 1.0
    if factor.values:
        if len(numbers) != 1 or numbers[0] not in range(factor.values):
            raise UserError(
                f"priors has {item!r}; {factor.name} needs one of its values, 0 to "
                f"{factor.values - 1}, as in {factor.name}:0."
            )
        return numbers[0], numbers[0] + 1.0
    if len(numbers) != 2 or not 0 <= numbers[0] <= numbers[1] <= 1:
        raise UserError(
            f"priors has {item!r}; {factor.name} needs a range within 0 and 1, lower end first, as "
            f"in {factor.name}:0.4:0.6."
        )
    return numbers[0], numbers[1]


def _mixing(items: list[str]) -> tuple[tuple[int, ...], tuple[tuple[float, ...], ...]]:
    """Correlated columns and the symmetric root of their correlations."""
    pairs: dict[tuple[int, int], float] = {}
    for item in items:
        words = item.split(":")
        if len(words) != 3:
            raise UserError(
                f"correlations has {item!r}; it needs two factors and a number, as in "
                f"glasses:hair_colour:0.8."
            )
        first, second = (_column(word, "correlations", item) for word in words[:2])
        value = _number(words[2], "correlations", item)
        if not -1 <= value <= 1:
            raise UserError(f"correlations has {item!r}; a correlation lies between -1 and 1.")
        if first == second:
            raise UserError(f"correlations has {item!r}; a factor cannot be tied to itself.")
        pair = (min(first, second), max(first, second))
        if pair in pairs:
            raise UserError(
                f"correlations names {words[0]} and {words[1]} twice: name the two once."
            )
        pairs[pair] = value
    for i in sorted({i for pair in pairs for i in pair}):
        if FACTORS[i].values and FACTORS[i].kind != "attribute":
            raise UserError(
                f"correlations names {_NAMES[i]!r}, whose values have no order; it must name "
                "attributes or continuous factors."
            )
    return _root(pairs)


def _root(
    pairs: dict[tuple[int, int], float],
) -> tuple[tuple[int, ...], tuple[tuple[float, ...], ...]]:
    tied = sorted({i for pair in pairs for i in pair})
    matrix = np.eye(len(tied))
    for (i, j), value in pairs.items():
        a, b = tied.index(i), tied.index(j)
        matrix[a, b] = matrix[b, a] = value
    values, vectors = np.linalg.eigh(matrix)
    if len(tied) and values[0] < -1e-6:
        raise UserError(
            f"the correlations of {', '.join(_NAMES[i] for i in tied)} cannot all hold at once "
            "(their matrix has a negative eigenvalue): make them smaller."
        )
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return tuple(tied), tuple(tuple(row) for row in root.tolist())


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _column(name: str, option: str, item: str) -> int:
    if name not in _NAMES:
        raise UserError(
            f"{option} has {item!r}; faces have no factor {name!r}{nearest(name, _NAMES)}; "
            f"they have: {', '.join(_NAMES)}."
        )
    return _NAMES.index(name)


def _number(word: str, option: str, item: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise UserError(f"{option} has {item!r}; {word!r} is not a number.") from None
