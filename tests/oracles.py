"""What the tests of pure functions share: reference values, and naive gradients.

`load` reads the optional folder beside the checkout (the fixture `shared`); the rest needs nothing.
"""

import functools
import json
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Case(NamedTuple):
    """One case of an oracle: its arrays and its JSON entry."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        return {k: v for k, v in self.arrays.items() if not k.startswith("expected_")}

    @property
    def expected(self) -> dict[str, Any]:
        arrays = {k: v for k, v in self.arrays.items() if k.startswith("expected_")}
        return arrays | self.facts["expected"]


@functools.cache
def load(shared: pathlib.Path, name: str) -> dict[str, Case]:
    """The cases of an oracle such as "05_losses"; arrays without a case belong to each of them."""
    entries = json.loads((shared / "oracles" / f"{name}.json").read_text())["cases"]
    cases = {case: Case({}, facts) for case, facts in entries.items()}
    with np.load(shared / "oracles" / f"{name}.npz") as arrays:
        for key in arrays.files:
            owner, _, array = key.rpartition("/")
            for case in [cases[owner]] if owner else cases.values():
                case.arrays[array] = arrays[key]
    return cases


def check(
    case: Case,
    function: Callable[[Mapping[str, np.ndarray]], dict[str, jax.Array]],
    *,
    dtype: str = "float32",
    elsewhere: Collection[str] = (),
) -> None:
    """Every expected value of `case` but those checked `elsewhere` equals what `function` gives."""
    outputs = function({k: jnp.asarray(v) for k, v in case.inputs.items()})
    tolerance = case.facts[f"tolerance_rel_{dtype}"]
    for name in set(case.expected) - set(elsewhere):
        assert np.asarray(outputs[name]).dtype == dtype, name
        assert_close(outputs[name], case.expected[name], tolerance, name)


def check_float64(case: Case, function: Callable, *, elsewhere: Collection[str] = ()) -> None:
    """`check` at double precision, where the formulas themselves show and not the rounding."""
    with jax.enable_x64(True):
        check(case, jax.jit(function), dtype="float64", elsewhere=elsewhere)


def assert_close(actual: Any, expected: Any, tolerance: float, name: str = "") -> None:
    """`tolerance` is relative to the largest entry, absolute where all are 0."""
    scale = np.max(np.abs(expected)) or 1.0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale, err_msg=name)


@functools.cache
def value_and_gradients(function: Callable) -> Callable:
    """From arrays to the value of `function` and the gradients of its sum, one per argument."""

    def both(*args: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        everything = tuple(range(len(args)))
        return function(*args), jax.grad(lambda *a: jnp.sum(function(*a)), everything)(*args)

    return both


def check_naive(variant: Callable, function: Callable, naive: Callable, args: tuple) -> None:
    """`function` in float32 equals `naive` NumPy code in float64, in value and gradient."""
    rounded = [np.asarray(arg, np.float32) for arg in args]
    args = [np.asarray(arg, np.float64) for arg in rounded]
    value, gradients = variant(value_and_gradients(function))(*rounded)
    assert_close(value, naive(*args), 1e-5)
    for actual, expected in zip(gradients, _central_differences(naive, args), strict=True):
        assert_close(actual, expected, 1e-4)


def check_finite(function: Callable, *args: Any) -> None:
    """`function` and all its gradients are finite at `args`."""
    args = [np.asarray(arg, np.float32) for arg in args]
    for leaf in jax.tree.leaves(jax.jit(value_and_gradients(function))(*args)):
        assert np.isfinite(leaf).all()


def _central_differences(function: Callable, args: list, step: float = 1e-6) -> list:
    gradients = [np.zeros_like(arg) for arg in args]
    for arg, gradient in zip(args, gradients, strict=True):
        for index in np.ndindex(arg.shape):
            centre = arg[index]
            arg[index] = centre + step
            above = np.sum(function(*args))
            arg[index] = centre - step
            below = np.sum(function(*args))
            arg[index] = centre
            gradient[index] = (above - below) / (2 * step)
    return gradients
