"""What a caller hands to a `Model`, checked and in the form that methods take: NumPy only.

A mistake is a `UserError` that says what was given and what is wanted.
"""

import difflib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from ivg.errors import UserError
from ivg.players import Code

SOFT = 1e-2  # how far soft class memberships may add up to something else than 1


def images(given: object, shape: tuple[int, int, int]):
    """Images as [N, H, W, C], an array or a source of `ivg.data`, which stays one.

    Args:
        given: uint8 [N, H, W, C], or [N, H, W] of grey images; anything that NumPy makes such an
            array of.
        shape: (H, W, C) of the model's images.

    Raises:
        UserError: another dtype or shape.

    Example:
        >>> images(np.zeros((3, 8, 8), np.uint8), (8, 8, 1)).shape
        (3, 8, 8, 1)
    """
    if not (hasattr(given, "shape") and hasattr(given, "dtype")):
        given = _array(given, "images")
    if given.dtype != np.uint8:
        hint = " (those in [0, 1]: (255 * images).round().astype(np.uint8))"
        raise UserError(
            f"images are {given.dtype}; they must be uint8, 0 to 255, as the data are"
            f"{hint if np.issubdtype(given.dtype, np.floating) else ''}."
        )
    if tuple(given.shape[1:]) == shape and len(given.shape) == 4:
        return given
    if shape[2] == 1 and tuple(given.shape[1:]) == shape[:2]:
        return np.asarray(given)[..., None]
    wanted = f"[N, {', '.join(map(str, shape))}]"
    if tuple(given.shape) == shape or shape[2] == 1 and tuple(given.shape) == shape[:2]:
        raise UserError(f"images are {wanted}; one image alone is images[None].")
    if len(given.shape) == 4 and tuple(given.shape[1:3]) == shape[:2]:
        what = {1: "1 channel (grey)", 3: "3 channels (colour)"}
        has = what.get(given.shape[3], f"{given.shape[3]} channels")
        raise UserError(f"images have {has}; this model's have {what[shape[2]]}: {wanted}.")
    raise UserError(f"images are {_shape(given)}; this model's are {wanted}.")


def attributes(given: object, names: Sequence[str], n: int, *, what: str) -> np.ndarray:
    """Attributes of n images as float32 [n, k].

    Args:
        given: 0 or 1 (or bool), [n, k]; [k] for all images alike; [n] or a number where k is 1.
        names: of the k attributes.
        n: images.
        what: name of the argument, for messages.

    Raises:
        UserError: another shape, or other values.

    Example:
        >>> attributes([1, 0], ("glasses",), 2, what="attributes")
        array([[1.],
               [0.]], dtype=float32)
    """
    k = len(names)
    y = _array(given, what)
    if not (np.issubdtype(y.dtype, np.number) or y.dtype == bool) or not np.isin(y, (0, 1)).all():
        raise UserError(f"{what} must be 0 or 1 for each of {', '.join(names)}.")
    if k == 1 and y.ndim < 2:
        y = y.reshape(-1, 1)
    if y.ndim == 1 and len(y) == k or y.ndim == 2 and y.shape == (1, k):
        y = np.broadcast_to(y, (n, k))
    if y.shape != (n, k):
        raise UserError(
            f"{what} is {_shape(y)}; for {n} images it is [{n}, {k}], a column for each of "
            f"{', '.join(names)}."
        )
    return y.astype(np.float32)


def code(name: str, given: object, spec: Code) -> np.ndarray:
    """One code as float32 rows [m, size]; m is 1 where it was given for one image.

    Args:
        name: of the code, for messages.
        given: of a categorical code a class number, class numbers int [m], or one-hot or soft
            rows [m, K] (one alone: float [K]); of others [size] or [m, size], and where the size
            is 1 a number or [m].
        spec: what the code is.

    Raises:
        UserError: anything else, a class that is not there, NaN.

    Example:
        >>> code("d", 2, Code("categorical", 4))
        array([[0., 0., 1., 0.]], dtype=float32)
        >>> code("c", [0.5, -1], Code("continuous", 2))
        array([[ 0.5, -1. ]], dtype=float32)
    """
    values = _array(given, name)
    if values.dtype == bool or not np.issubdtype(values.dtype, np.number):
        raise UserError(f"the code {name} must be of numbers, not {values.dtype}.")
    if np.iscomplexobj(values) or not np.isfinite(values).all():
        raise UserError(f"the code {name} holds values that are not finite numbers.")
    if spec.kind == "categorical":
        return _categorical(name, values, spec.size)
    if spec.size == 1 and values.ndim < 2:
        values = values.reshape(-1, 1)
    if values.ndim == 0:
        raise UserError(
            f"the code {name} has {spec.size} dimensions; give [{spec.size}] or [n, {spec.size}], "
            "not one number."
        )
    if values.ndim > 2 or values.shape[-1] != spec.size:
        raise UserError(
            f"the code {name} is {_shape(values)}; it must be [{spec.size}] or [n, {spec.size}]."
        )
    return np.atleast_2d(values).astype(np.float32)


def codes(given: Mapping[str, object], specs: Mapping[str, Code]) -> dict[str, np.ndarray]:
    """Codes by name as float32 rows [m, size].

    Raises:
        UserError: there is no code of such a name, or one of them is wrong.
    """
    for name in given:
        if name not in specs:
            near = difflib.get_close_matches(name, specs, n=1, cutoff=0.1)
            hint = f'; did you mean "{near[0]}"?' if near else "."
            raise UserError(
                f'this model has no code "{name}"{hint} Its codes are {described(specs)}.'
            )
    return {name: code(name, value, specs[name]) for name, value in given.items()}


def length(rows: Mapping[str, np.ndarray], n: int | None) -> int:
    """How many images these codes make: a code with one row serves all of them.

    Args:
        rows: [m, size] each.
        n: as asked for, None where the codes are to say it.

    Raises:
        UserError: they disagree with each other or with n.

    Example:
        >>> length({"d": np.zeros((1, 10)), "c": np.zeros((4, 2))}, None)
        4
    """
    if n is not None:
        n = count(n)
    found = {name: len(value) for name, value in rows.items() if len(value) != 1}
    lengths = set(found.values()) | (set() if n is None else {n})
    if len(lengths) > 1:
        said = [f"{name} is for {m}" for name, m in found.items()]
        said += [] if n is None else [f"n={n}"]
        raise UserError(f"codes for different numbers of images: {', '.join(said)}.")
    return lengths.pop() if lengths else 1


def count(n: object, *, what: str = "n", least: int = 0) -> int:
    """A whole number of at least `least`.

    Raises:
        UserError: it is not one.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < least:
        raise UserError(f"{what} is {n!r}; it must be a whole number of at least {least}.")
    return int(n)


def dimension(name: object, specs: Mapping[str, Code]) -> tuple[str, int | None]:
    """Code and dimension that a name such as "c1" (the first one of c) or "d" means.

    Returns:
        Name of the code, and the number of the dimension from 0; None for a categorical code.

    Raises:
        UserError: it means none.

    Example:
        >>> dimension("c2", {"c": Code("continuous", 2)})
        ('c', 1)
    """
    found = re.fullmatch(r"(.*?)(\d*)", str(name))
    base, number = (str(name), "") if str(name) in specs else found.groups() if found else ("", "")
    spec = specs.get(base)
    if spec is not None and spec.kind == "categorical" and not number:
        return base, None
    if spec is not None and spec.kind != "categorical":
        axis = int(number) - 1 if number else 0 if spec.size == 1 else -1
        if 0 <= axis < spec.size:
            return base, axis
    known = [
        n if s.kind == "categorical" else f"{n}1" + (f" to {n}{s.size}" if s.size > 1 else "")
        for n, s in specs.items()
    ]
    raise UserError(f'there is no "{name}" to traverse; there are {", ".join(known)}.')


def described(specs: Mapping[str, Code]) -> str:
    """The codes in words, such as "d (10 classes), c (2, continuous), z (8, noise)"."""
    words = (
        f"{name} ({spec.size} classes)"
        if spec.kind == "categorical"
        else f"{name} ({spec.size}, {spec.kind})"
        for name, spec in specs.items()
    )
    return ", ".join(words)


def _categorical(name: str, values: np.ndarray, size: int) -> np.ndarray:
    """Class numbers or soft rows as rows [m, K]."""
    if values.ndim < 2 and (np.issubdtype(values.dtype, np.integer) or not values.size):
        wrong = values[(values < 0) | (values >= size)]
        if wrong.size:
            raise UserError(
                f"the code {name} has the classes 0 to {size - 1}; {wrong.flat[0]} is none."
            )
        return np.eye(size, dtype=np.float32)[values.reshape(-1).astype(int)]
    if values.ndim not in (1, 2) or values.shape[-1] != size:
        raise UserError(
            f"the code {name} is {values.dtype} {_shape(values)}; it must be a class 0 to "
            f"{size - 1}, whole numbers [n], or one-hot or soft rows [n, {size}]."
        )
    values = np.atleast_2d(values).astype(np.float32)
    if (values < 0).any() or (np.abs(values.sum(-1) - 1) > SOFT).any():
        raise UserError(
            f"rows of the code {name} must not be negative and must add up to 1: a class 0 to "
            f"{size - 1}, one-hot, or soft."
        )
    return values


def _array(given: object, what: str) -> np.ndarray:
    try:
        return np.asarray(given)
    except ValueError as error:
        raise UserError(f"{what} cannot be made into one array ({error}).") from None


def _shape(values) -> str:
    return "one number" if not values.shape else f"[{', '.join(map(str, values.shape))}]"
