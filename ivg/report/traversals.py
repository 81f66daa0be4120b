"""What the page's sliders and buttons show: starting points, the ways from them, their images.

From a start one code at a time moves, all else as it is: those images can be made beforehand.
Everything is generated in chunks of one size, so that it is compiled once.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ivg import attribute_pictures, data, pictures, plots, scoring
from ivg.data.batches import take
from ivg.examples import chosen, encode, generate, inputs, prior
from ivg.players import Codes, Labelled, Method
from ivg.report import sheets

MOST_CLASSES = 24  # buttons of one code
DRAWS = 4  # of c from p(c | y), for either value of an attribute
PLANE = 7  # steps of an attribute's plane along each axis
FEWEST = 4  # starts that are worth fewer steps


class Plan(NamedTuple):
    """How much is rendered, at most.

    starts: starting points.
    steps: of a slider.
    rows: sliders.
    """

    starts: int = 20
    steps: int = 11
    rows: int = 16


FULL, QUICK = Plan(), Plan(starts=6, steps=7, rows=8)


class Start(NamedTuple):
    """A point from which codes move.

    kind: "image" (its codes were inferred), "middle" (of the prior) or "drawn" (from the prior).
    name, label: in full, and in a word.
    codes: of this point, [1, size] each.
    image: the real one, uint8 [H, W, C], if any.
    y: its attributes, float [1, k], if any.
    """

    kind: str
    name: str
    label: str
    codes: Codes
    image: np.ndarray | None = None
    y: np.ndarray | None = None


class Slider(NamedTuple):
    """A dimension of a continuous code: [steps] values, and its KL in nats where that is known."""

    code: str
    axis: int
    values: np.ndarray
    kl: float | None


class Choice(NamedTuple):
    """Buttons: one for each value of a categorical code, or for draws of an attribute's code.

    first: number of the first button's tile on a start's sheet.
    """

    title: str
    labels: list[str]
    first: int


class Plane(NamedTuple):
    """Both dimensions of an attribute's code: PLANE values each, and its name."""

    attribute: str
    code: str
    axis: int
    values: np.ndarray


class Explored(NamedTuple):
    """Everything that the page shows of traversals.

    sheets: of each start: a row for each slider, then `extra` tiles (the start itself first).
    planes: of each start, a sheet for each of `areas`.
    thumbs: the starts themselves, the real image where there is one.
    left_out: what had to go to keep the page small, in words.
    """

    starts: list[Start]
    sliders: list[Slider]
    choices: list[Choice]
    areas: list[Plane]
    sheets: list[sheets.Sheet]
    planes: list[list[sheets.Sheet]]
    thumbs: sheets.Sheet
    steps: int
    shape: tuple[int, int, int]
    left_out: str


# ---- starting points ----------------------------------------------------------------------------


def starts(method: Method, state, dataset: data.Dataset, key, count: int) -> list[Start]:
    """At most `count` starting points, the ones to keep first."""
    middles = _middles(method, state, key)
    others = _drawn(method, state, key) if method.encode is None else _real(method, state, dataset)
    pairs = itertools.zip_longest(others, middles)
    return [one for pair in pairs for one in pair if one is not None][:count]


def _middles(method: Method, state, key) -> list[Start]:
    """The prior's middle, once for each class where there are classes."""
    base = jax.device_get(pictures.middle(method, state, key, 1))
    if "d" not in method.codes:
        return [Start("middle", "the middle of the prior", "middle", base)]
    classes = np.eye(method.codes["d"].size, dtype=np.float32)[:MOST_CLASSES]
    return [
        Start("middle", f"class {i}, all else at 0", f"d = {i}", base | {"d": one[None]})
        for i, one in enumerate(classes)
    ]


def _drawn(method: Method, state, key, count: int = 10) -> list[Start]:
    codes = prior(method, state, key, count)
    return [
        Start("drawn", f"sample {i + 1} from the prior", f"{i + 1}", _row(codes, i))
        for i in range(count)
    ]


def _real(method: Method, state, dataset: data.Dataset) -> list[Start]:
    numbers = example_numbers(dataset, bool(method.num_attributes))
    x = inputs(method, dataset.test, numbers)
    codes = encode(method, state, x)
    images = take(dataset.test.images, numbers)
    return [
        Start("image", *_called(dataset, number), _row(codes, i), images[i], _attributes(x, i))
        for i, number in enumerate(numbers)
    ]


def example_numbers(dataset: data.Dataset, by_attribute: bool, most: int = 12) -> np.ndarray:
    """Test images to start from: one of each class, without and with each attribute, or any."""
    test = dataset.test
    if by_attribute:
        each = max(2, min(8, most // len(dataset.attribute_names)))
        sets = [attribute_pictures.examples(dataset, a, each)
                for a in range(len(dataset.attribute_names))]  # fmt: skip
        return np.array(list(dict.fromkeys(np.concatenate(sets).tolist())))[:most]
    if test.labels is not None:
        return np.unique(test.labels, return_index=True)[1][:most]
    return chosen(dataset, 8)


def _called(dataset: data.Dataset, number: int) -> tuple[str, str]:
    """A test image in full and in a word."""
    test, words = dataset.test, []
    if dataset.attribute_names and test.attributes is not None:
        has = test.attributes[number]
        names = [n for n, x in zip(dataset.attribute_names, has, strict=True) if x]
        bare = dataset.attribute_names[0] if len(has) == 1 else "attributes"
        label = ", ".join(names) if names else f"no {bare}"
        words = [f"with {label}" if names else f"without {bare}"]
    elif test.labels is not None:
        value = int(test.labels[number])
        label = dataset.class_names[value] if dataset.class_names else str(value)
        words = [f"of class {label}"]
    else:
        label = str(number)
    return " ".join([f"test image {number}", *words]), label


def _row(codes: Mapping, i: int) -> Codes:
    return {name: np.asarray(value[i : i + 1]) for name, value in codes.items()}


def _attributes(x: np.ndarray | Labelled, i: int) -> np.ndarray | None:
    return np.asarray(x.y[i : i + 1]) if isinstance(x, Labelled) else None


# ---- the ways from a start ----------------------------------------------------------------------


def sliders(
    method: Method, plan: Plan, kl: Sequence[float] | None, apart: Sequence[Plane]
) -> list[Slider]:
    """The dimensions of all continuous codes, largest KL first; those of `apart` have a plane."""
    taken = {(plane.code, plane.axis + i) for plane in apart for i in (0, 1)}
    flat = [(n, a) for n in scoring.continuous(method) for a in range(method.codes[n].size)]
    known = kl is not None and len(kl) == len(flat)
    order = np.argsort(-np.asarray(kl), kind="stable") if known else range(len(flat))
    found = []
    for i in order:
        name, axis = flat[i]
        code = method.codes[name]
        values = np.linspace(code.low, code.high, plan.steps, dtype=np.float32)
        if (name, axis) not in taken:
            found.append(Slider(name, axis, values, float(kl[i]) if known else None))
    return found[: plan.rows]


def planes(method: Method, names: Sequence[str]) -> list[Plane]:
    """The plane of each attribute whose code has two dimensions."""
    if not method.num_attributes or method.attribute_prior is None:
        return []
    code, found = method.codes["c"], []
    values = np.linspace(code.low, code.high, PLANE, dtype=np.float32)
    for i, name in enumerate(names):
        own = attribute_pictures.own_dimensions(method, i)
        if own.stop - own.start == 2:
            found.append(Plane(name, "c", own.start, values))
    return found


def choices(method: Method, names: Sequence[str], first: int) -> list[Choice]:
    """The buttons: of every categorical code, and of every attribute."""
    found = []
    for name, code in method.codes.items():
        if code.kind == "categorical":
            labels = [str(i) for i in range(min(code.size, MOST_CLASSES))]
            found.append(Choice(f"class {name}", labels, first))
            first += len(labels)
    for name in names if method.attribute_prior is not None else ():
        labels = [f"{word} {name}" for word in ("without", "with") for _ in range(DRAWS)]
        found.append(Choice(name, labels, first))
        first += len(labels)
    return found


def _moved(start: Start, code: str, axis: int, values: np.ndarray) -> Codes:
    """The start's codes [n, size], one dimension of one of them at each of n values."""
    rows = {name: np.repeat(value, len(values), axis=0) for name, value in start.codes.items()}
    rows[code][:, axis] = values
    return rows


def _tiles(method: Method, start: Start, rows: Sequence[Slider], key) -> Codes:
    """Codes of all tiles of a start's sheet: sliders, the start, classes, draws of attributes."""
    parts = [_moved(start, s.code, s.axis, s.values) for s in rows] + [start.codes]
    for name, code in method.codes.items():
        if code.kind == "categorical":
            classes = np.eye(code.size, dtype=np.float32)[:MOST_CLASSES]
            parts += [start.codes | {name: one[None]} for one in classes]
    if method.attribute_prior is not None:
        parts += _attribute_draws(method, start, key)
    return {name: np.concatenate([p[name] for p in parts]) for name in start.codes}


def _attribute_draws(method: Method, start: Start, key) -> list[Codes]:
    """Draws of c from p(c | y) for either value of each attribute, the other attributes' kept."""
    k = method.num_attributes
    y = np.zeros((1, k), np.float32) if start.y is None else start.y
    rows = {name: jnp.repeat(code, DRAWS, axis=0) for name, code in start.codes.items()}
    y = jnp.repeat(jnp.asarray(y), DRAWS, axis=0)
    found = []
    for attribute in range(k):
        for value in (0.0, 1.0):
            seed = jax.random.fold_in(key, 2 * attribute + int(value))
            turned = attribute_pictures.with_attribute(method, rows, y, attribute, value, seed)
            found.append({name: np.asarray(code) for name, code in turned.items()})
    return found


def _plane_codes(start: Start, plane: Plane) -> Codes:
    """Codes over the plane [PLANE * PLANE, ...]: down the first dimension, across the second."""
    first, second = np.meshgrid(plane.values, plane.values, indexing="ij")
    rows = _moved(start, plane.code, plane.axis, first.ravel())
    rows[plane.code][:, plane.axis + 1] = second.ravel()
    return rows


# ---- images -------------------------------------------------------------------------------------


def drawn(method: Method, state, codes: Codes) -> np.ndarray:
    """Images uint8 [n, H, W, C] of codes [n, ...]."""
    return plots.to_uint8(generate(method, state, codes))


def explore(
    method: Method,
    state,
    dataset: data.Dataset,
    key: jax.Array,
    *,
    plan: Plan = FULL,
    kl: Sequence[float] | None = None,
    budget: int,
) -> Explored | None:
    """Starts, sliders and buttons with their images, within `budget` characters of data URIs.

    Args:
        method, state, dataset: the method at its step, and its data.
        key: of what is drawn.
        plan: the most that is rendered; fewer starts, then steps, then codes where it is too much.
        kl: per dimension of the continuous codes, where it is known already; else it is computed.
        budget: characters.

    Returns:
        None where not even one start fits.
    """
    points = starts(method, state, dataset, key, plan.starts)
    kl = pictures.kl_per_code(method, state, dataset, key) if kl is None else kl
    areas = planes(method, dataset.attribute_names)
    looks = _thumbs(method, state, points)
    room = budget - len(sheets.sheet(looks, len(looks)).uri)
    for smaller in _smaller(plan):
        rows = sliders(method, smaller, kl, areas)
        parts = _rendered(method, state, points, rows, areas, smaller.steps, key)
        made = list(_within(parts, room))
        if len(made) >= min(FEWEST, len(points)):
            break
    if not made:
        return None
    kept = sorted(range(len(made)), key=lambda i: points[i].kind == "middle")
    count = sum(method.codes[n].size for n in scoring.continuous(method)) - 2 * len(areas)
    return Explored(
        starts=[points[i] for i in kept],
        sliders=rows,
        choices=choices(method, dataset.attribute_names, len(rows) * smaller.steps + 1),
        areas=areas,
        sheets=[made[i][0] for i in kept],
        planes=[made[i][1] for i in kept],
        thumbs=sheets.sheet(looks[kept], math.ceil(math.sqrt(len(kept)))),
        steps=smaller.steps,
        shape=dataset.image_shape,
        left_out=f"{len(rows)} of {count} dimensions" if len(rows) < count else "",
    )


def _smaller(plan: Plan) -> Iterator[Plan]:
    """The plan, then those to fall back to."""
    yield plan
    yield plan._replace(steps=min(plan.steps, 7))
    yield Plan(plan.starts, min(plan.steps, 7), min(plan.rows, 8))
    yield Plan(plan.starts, min(plan.steps, 5), min(plan.rows, 4))


def _rendered(method: Method, state, points, rows, areas, steps: int, key) -> Iterator[tuple]:
    """(sheet, sheets of the planes) of one start after the other."""
    for i, start in enumerate(points):
        codes = _tiles(method, start, rows, jax.random.fold_in(key, i))
        own = sheets.sheet(drawn(method, state, codes), steps)
        fields = [drawn(method, state, _plane_codes(start, plane)) for plane in areas]
        yield own, [sheets.sheet(images, PLANE) for images in fields]


def _within(parts: Iterator[tuple], room: int) -> Iterator[tuple]:
    """The first parts whose data URIs fit into `room` characters together."""
    for own, fields in parts:
        room -= len(own.uri) + sum(len(field.uri) for field in fields)
        if room < 0:
            return
        yield own, fields


def _thumbs(method: Method, state, points: Sequence[Start]) -> np.ndarray:
    """What stands on the buttons of the starts: uint8 [n, H, W, C]."""
    codes = {n: np.concatenate([p.codes[n] for p in points]) for n in points[0].codes}
    made = drawn(method, state, codes)
    return np.stack(
        [own if p.image is None else p.image for p, own in zip(points, made, strict=True)]
    )
