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
    cases: Mapping[str, Case],
    functions: Mapping[str, Callable[[dict], dict]],
    *,
    variant: Callable = jax.jit,
    dtype: str = "float32",
    elsewhere: Collection[str] = (),
) -> None:
    """Each function, from a case's inputs to outputs by name, gives what its case expects.

    One call of `variant` computes all of them, since most of a test's time is compilation. Names
    `elsewhere` are expected values that are not checked.
    """
    inputs = {name: jax.tree.map(jnp.asarray, cases[name].inputs) for name in functions}
    together = variant(lambda inputs: {name: f(inputs[name]) for name, f in functions.items()})
    for name, outputs in together(inputs).items():
        check_outputs(cases[name], outputs, name=name, dtype=dtype, elsewhere=elsewhere)


def check_outputs(
    case: Case,
    outputs: Mapping[str, Any],
    *,
    name: str,
    dtype: str = "float32",
    elsewhere: Collection[str] = (),
) -> None:
    """`outputs` hold every expected value of the case but those `elsewhere`."""
    tolerance = case.facts[f"tolerance_rel_{dtype}"]
    for key in set(case.expected) - set(elsewhere):
        assert np.asarray(outputs[key]).dtype == dtype, (name, key)
        assert_close(outputs[key], case.expected[key], tolerance, f"{name}: {key}")


def assert_close(actual: Any, expected: Any, tolerance: float, name: str = "") -> None:
    """`tolerance` is relative to the largest entry, absolute where all are 0."""
    scale = np.max(np.abs(expected)) or 1.0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale, err_msg=name)


@functools.cache
def value_and_gradients(function: Callable) -> Callable:
    """From arrays to the value of `function` and the gradients of its sum, one per argument."""

    def both(*args: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        def summed(*args: jax.Array) -> tuple[jax.Array, jax.Array]:
            value = function(*args)
            return jnp.sum(value), value

        gradients, value = jax.grad(summed, tuple(range(len(args))), has_aux=True)(*args)
        return value, gradients

    return both


def check_naive(variant: Callable, table: Mapping[str, tuple[Callable, Callable, Any]]) -> None:
    """Functions in float32 equal naive NumPy code in float64, in value and gradient.

    Rows of the table are a name and (function, naive function, arguments). One call of `variant`
    computes all of them.
    """
    args = {k: [np.asarray(arg, np.float32) for arg in row[2]] for k, row in table.items()}
    functions = {name: value_and_gradients(row[0]) for name, row in table.items()}
    together = variant(lambda args: {name: f(*args[name]) for name, f in functions.items()})
    for name, (value, gradients) in together(args).items():
        naive, exact = table[name][1], [arg.astype(np.float64) for arg in args[name]]
        assert_close(value, naive(*exact), 1e-5, name)
        for actual, expected in zip(gradients, _central_differences(naive, exact), strict=True):
            assert_close(actual, expected, 1e-4, f"gradient of {name}")


def check_leading_axes(function: Callable, *args: Any) -> None:
    """`function` treats every axis but the last as examples: [2, 3, n] is like [6, n]."""
    args = [np.asarray(arg, np.float32) for arg in args]
    flat = function(*(np.reshape(arg, (-1, arg.shape[-1])) for arg in args))
    found = function(*args)
    assert found.shape[: args[0].ndim - 1] == args[0].shape[:-1]
    np.testing.assert_allclose(found, np.reshape(flat, found.shape), rtol=1e-6)


def check_precision(function: Callable, *args: Any) -> None:
    """What `function` returns is of its arguments' type, also where 64 bits would be allowed."""
    with jax.enable_x64(True):
        for dtype in ("float32", "float64"):
            for leaf in jax.tree.leaves(function(*(jnp.asarray(arg, dtype) for arg in args))):
                assert leaf.dtype == dtype


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
