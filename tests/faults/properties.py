"""What the property tests of losses share: random arguments, and laws that many functions obey.

A `Case` is a function of arrays whose first axis is the batch. `KINDS` says what an argument of a
name may hold; the laws (`permutes`, `keeps_nan_to_its_row`, ...) are of functions, not of formulas.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

ROWS, SIZE = 3, 2  # of the one shape that most functions are compiled for
MISFITS = (AssertionError, TypeError, ValueError)  # of shapes, while JAX traces


class Attempts:
    """Runs bodies on random draws, as many as the form asks for, and counts them."""

    def __init__(self, amount: Callable[[int, int], int]) -> None:
        self.amount, self.tried = amount, 0

    def __call__(self, short: int, long: int, body: Callable, **drawn: st.SearchStrategy) -> None:
        def once(**values: Any) -> None:
            self.tried += 1
            body(**values)

        settings = hypothesis.settings(
            max_examples=self.amount(short, long),
            deadline=None,
            derandomize=True,
            database=None,
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        settings(hypothesis.given(**drawn)(once))()


# --- arguments ------------------------------------------------------------------------------------


def floats(low: float, high: float) -> st.SearchStrategy:
    """float32 numbers; those too small for a normal number count as 0."""
    low, high = (float(np.float32(x)) for x in (low, high))
    return st.floats(low, high, width=32, allow_subnormal=False)


def array(shape: Sequence[int], low: float, high: float) -> st.SearchStrategy:
    return arrays_of.arrays(np.float32, tuple(shape), elements=floats(low, high))


def one_hots(shape: Sequence[int]) -> st.SearchStrategy:
    rows, size = shape
    classes = st.lists(st.integers(0, max(size - 1, 0)), min_size=rows, max_size=rows)
    return classes.map(lambda c: np.eye(size, dtype=np.float32)[np.array(c, int)])


def bits(shape: Sequence[int]) -> st.SearchStrategy:
    return arrays_of.arrays(np.float32, tuple(shape), elements=st.sampled_from([0.0, 1.0]))


# Name of the kind -> (rows, size) -> arrays. The ranges are those that the docstrings promise
# finite values and gradients for.
KINDS: dict[str, Callable[[int, int], st.SearchStrategy]] = {
    "scores": lambda rows, size: array([rows], -1e4, 1e4),
    "weights": lambda rows, size: array([rows], 0.0, 1.0),
    "logits": lambda rows, size: array([rows, size], -1e4, 1e4),
    "pairs": lambda rows, size: array([rows, 2], -1e4, 1e4),
    "codes": lambda rows, size: array([rows, size], -100.0, 100.0),
    "log_var": lambda rows, size: array([rows, size], -60.0, 20.0),
    "one_hot": lambda rows, size: one_hots([rows, size]),
    "labels": lambda rows, size: bits([rows, size]),
    "uniform": lambda rows, size: array([rows, size], 0.0, 1.0),
    "noise": lambda rows, size: array([rows, size], -20.0, 20.0),
    "concentration": lambda rows, size: array([rows, size], 0.01, 100.0),
    "images": lambda rows, size: array([rows, 2, size, 1], -1.0, 1.0),
    "pixels": lambda rows, size: array([rows, 2, size, 1], 0.0, 1.0),
    "image_logits": lambda rows, size: array([rows, 2, size, 1], -1e4, 1e4),
}


class Case(NamedTuple):
    """A function and the kinds of its arguments, all of one batch."""

    function: Callable
    kinds: tuple[str, ...]

    def arguments(self, rows: int = ROWS, size: int = SIZE) -> st.SearchStrategy:
        return st.tuples(*(KINDS[kind](rows, size) for kind in self.kinds))


def case(function: Callable, *kinds: str) -> Case:
    return Case(function, kinds)


def public_functions(*modules: Any) -> set[str]:
    """Names `module.function` of what the modules define and do not hide."""
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in modules
        for name, value in vars(module).items()
        if callable(value)
        and not isinstance(value, type)
        and not name.startswith("_")
        and getattr(value, "__module__", "") == module.__name__
    }


def small(arguments: Sequence[np.ndarray], bound: float = 3.0) -> tuple[np.ndarray, ...]:
    """The same with magnitudes that a coarse float type resolves."""
    return tuple(np.clip(x, -bound, bound) for x in arguments)


# --- laws -----------------------------------------------------------------------------------------


@functools.cache
def compiled(case: Case) -> Callable:
    """arguments -> value, and the gradients of the sum of all its numbers."""

    def summed(*arguments: jax.Array) -> tuple[jax.Array, Any]:
        value = case.function(*arguments)
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(value)), value

    wanted = tuple(range(len(case.kinds)))
    both = jax.jit(jax.value_and_grad(summed, wanted, has_aux=True))

    def run(arguments: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        (_, value), gradients = both(*arguments)
        return [np.asarray(x) for x in jax.tree.leaves(value)], [np.asarray(x) for x in gradients]

    return run


def is_finite(run: Callable, arguments: Sequence[np.ndarray]) -> None:
    values, gradients = run(arguments)
    assert all(np.isfinite(x).all() for x in values), (values, arguments)
    assert all(np.isfinite(x).all() for x in gradients), (gradients, arguments)


def permutes(run: Callable, arguments: Sequence[np.ndarray], per_row: bool) -> None:
    """Rows in another order: the results likewise, or of a batch quantity the same."""
    order = np.roll(np.arange(ROWS), 1)
    values, gradients = run(arguments)
    moved_values, moved_gradients = run([x[order] for x in arguments])
    for value, moved in zip(values, moved_values, strict=True):
        close(moved, value[order] if per_row else value)
    for gradient, moved in zip(gradients, moved_gradients, strict=True):
        close(moved, gradient[order], rtol=1e-3 if not per_row else 1e-5)


def keeps_nan(
    run: Callable, arguments: Sequence[np.ndarray], argument: int, row: int, per_row: bool
) -> None:
    """NaN in one number of a row makes the row's result NaN, and no other row's."""
    before, _ = run(arguments)
    broken = [x.copy() for x in arguments]
    broken[argument % len(broken)][row : row + 1].flat[0] = np.nan
    after, _ = run(broken)
    if not per_row:
        assert any(np.isnan(x).any() for x in after), (after, broken)
        return
    assert any(np.isnan(x[row]).any() for x in after), (after, broken)
    others = np.arange(ROWS) != row
    for value, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(value[others], other[others])


def layouts(x: np.ndarray) -> list[np.ndarray]:
    """The same numbers as other arrays: strided, reversed, read-only, of Fortran order."""
    wide = np.repeat(x, 2, axis=0)[::2]
    backwards = x[::-1].copy()[::-1]
    frozen = x.copy()
    frozen.flags.writeable = False
    return [wide, backwards, frozen, np.asfortranarray(x)]


def takes_any_layout(case: Case, arguments: Sequence[np.ndarray]) -> None:
    run = compiled(case)
    arguments = small(arguments)
    wanted, _ = run(arguments)
    for made in zip(*(layouts(x) for x in arguments), strict=True):
        for a, b in zip(run(made)[0], wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    # Not compiled: NumPy's float64 then passes every line.
    found = jax.tree.leaves(case.function(*(x.astype(np.float64) for x in arguments)))
    for a, b in zip(found, wanted, strict=True):
        # Sums of NumPy's arrays are NumPy's; whatever JAX computes is float32.
        assert not isinstance(a, jax.Array) or a.dtype == jnp.float32
        close(a, b, rtol=1e-4, atol=1e-4)


def keeps_dtype(case: Case, arguments: Sequence[np.ndarray], dtype: Any, tolerance: float) -> None:
    """In a coarse float type: the same type comes out, near what float32 gives."""
    coarse = [jnp.asarray(x, dtype) for x in small(arguments)]
    wanted, _ = compiled(case)([np.asarray(x, np.float32) for x in coarse])
    found = jax.jit(case.function)(*coarse)
    for a, b in zip(jax.tree.leaves(found), wanted, strict=True):
        assert a.dtype == dtype
        room = tolerance * (1.0 + np.abs(b).max(initial=0.0))
        np.testing.assert_allclose(np.asarray(a, np.float32), b, atol=room, rtol=0)


def refuses_rows_that_do_not_fit(case: Case, arguments: Sequence[np.ndarray]) -> None:
    for short in range(len(arguments)):
        with pytest.raises(MISFITS):
            case.function(*(x[: len(x) - (i == short)] for i, x in enumerate(arguments)))


def close(found: Any, wanted: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Equal up to rounding, which is relative to the largest number of the array."""
    wanted = np.asarray(wanted)
    finite = np.abs(wanted[np.isfinite(wanted)])
    atol = max(atol, rtol * float(finite.max(initial=0.0)))
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=rtol, atol=atol)
