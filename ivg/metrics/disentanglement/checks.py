"""The record that every metric returns, and what it asks of its arrays.

Codes are `[N, D]` real numbers, factors `[N, F]` whole numbers; a vector stands for one column.
A factor that takes a single value in the data says nothing about a representation: the metrics
leave it out and name it in `details["constant_factors"]`.
"""

import math
import numbers
from typing import Any, NamedTuple

import numpy as np

from ivg.errors import UserError

# Beyond this, squares and sums of float32 codes overflow.
LARGEST = 1e30


class Score(NamedTuple):
    """What a metric found, and how.

    Attributes:
        value: The score; higher is better, at most 1 unless the metric says otherwise.
        details: What stands behind the value: tables, active dimensions, other scores.
        recipe: Every number that the protocol was run with.
    """

    value: float
    details: dict[str, Any]
    recipe: dict[str, Any]


def finite(value: float, metric: str) -> float:
    """The value as a Python float.

    Raises:
        UserError: It is NaN or infinite, which no caller should meet unnoticed.
    """
    if not math.isfinite(value):
        raise UserError(
            f"{metric} has no finite value on these codes: look for dimensions of extreme scale"
        )
    return float(value)


def real_codes(codes: np.ndarray) -> np.ndarray:
    """Codes as float32 or float64 `[N, D]`; a vector becomes one column.

    Raises:
        UserError: They are not numbers in such a table, or NaN, infinite or too large to square.
    """
    codes = np.asarray(codes)
    if codes.ndim == 1:
        codes = codes[:, np.newaxis]
    if codes.ndim != 2 or codes.shape[1] == 0 or codes.dtype.kind not in "fiub":
        raise UserError(
            f"codes must be real numbers of shape [examples, dimensions], not {codes.dtype} of "
            f"shape {codes.shape}"
        )
    if codes.dtype not in (np.float32, np.float64):
        codes = codes.astype(np.float32 if codes.dtype == np.float16 else np.float64)
    bad = ~np.isfinite(codes)
    if bad.any():
        raise UserError(
            f"{int(bad.any(axis=1).sum())} of {len(codes)} codes are NaN or infinite (first in "
            f"dimension {int(bad.any(axis=0).argmax())}): leave them out or mend the encoder"
        )
    if codes.size and max(-float(codes.min()), float(codes.max())) > LARGEST:
        raise UserError(f"codes reach beyond {LARGEST:g}: rescale them before scoring")
    return codes


def real_table(name: str, values: Any, most: float = LARGEST) -> np.ndarray:
    """Numbers of any shape as float64.

    Raises:
        UserError: They are no real numbers, or NaN, infinite or too large.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        raise UserError(f"{name} must be real numbers, not {values.dtype}")
    values = values.astype(np.float64)
    if values.size and not np.abs(values).max() <= most:
        raise UserError(f"{name} must be finite numbers, none beyond {most:g}")
    return values


def whole_factors(factors: np.ndarray) -> np.ndarray:
    """Factors as int64 `[N, F]`; a vector becomes one column, whole floats become integers.

    Raises:
        UserError: They are not whole numbers in such a table.
    """
    factors = np.asarray(factors)
    if factors.ndim == 1:
        factors = factors[:, np.newaxis]
    if factors.ndim != 2 or factors.shape[1] == 0 or factors.dtype.kind not in "fiub":
        raise UserError(
            f"factors must be whole numbers of shape [examples, factors], not {factors.dtype} of "
            f"shape {factors.shape}"
        )
    if factors.dtype.kind == "f":
        factors = factors.astype(np.float64)  # float16 has no 2^53
        # Also false for NaN; beyond 2^53 a float no longer tells neighbours apart.
        if not ((np.abs(factors) < 2**53) & (factors == np.floor(factors))).all():
            raise UserError(
                "factors must be whole numbers: give the index of each factor's value, not the "
                "value itself"
            )
    if factors.dtype == np.uint64 and factors.size and factors.max() > np.iinfo(np.int64).max:
        raise UserError("factors reach beyond 2^63: give the index of each factor's value")
    return factors.astype(np.int64)


def paired(codes: np.ndarray, factors: np.ndarray, part: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Codes and factors of the same, at least two, examples.

    Args:
        codes: Real numbers, `[N, D]`.
        factors: Whole numbers, `[N, F]`.
        part: Which part of the data this is, such as "test", for the messages.

    Returns:
        The codes as floats and the factors as int64.

    Raises:
        UserError: An array is not of that kind, or they differ in length, or are too short.
    """
    codes, factors = real_codes(codes), whole_factors(factors)
    part = f"{part} " if part else ""
    if len(codes) != len(factors):
        raise UserError(
            f"{len(codes)} {part}codes and {len(factors)} {part}factors cannot be compared: give "
            "one row of each per example"
        )
    if len(codes) < 2:
        raise UserError(f"{len(codes)} {part}examples are too few to score: give at least two")
    return codes, factors


def split_pair(
    codes_train: np.ndarray,
    factors_train: np.ndarray,
    codes_test: np.ndarray,
    factors_test: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training and test arrays, each part checked by `paired`, with as many columns each.

    Raises:
        UserError: As `paired`, or the two parts do not have the same columns.
    """
    train = paired(codes_train, factors_train, "training")
    test = paired(codes_test, factors_test, "test")
    for name, a, b in zip(("code", "factor"), train, test, strict=True):
        if a.shape[1] != b.shape[1]:
            raise UserError(
                f"training and test {name}s must have the same columns, not {a.shape[1]} and "
                f"{b.shape[1]}"
            )
    return *train, *test


def varying(factors: np.ndarray, metric: str, at_least: int = 1) -> np.ndarray:
    """Numbers of the factors that take more than one value.

    Args:
        factors: int `[N, F]`.
        metric: Name for the message.
        at_least: How many such factors the metric needs.

    Raises:
        UserError: There are fewer.
    """
    found = np.flatnonzero((factors != factors[:1]).any(axis=0))
    if len(found) < at_least:
        needs = "a factor that varies" if at_least == 1 else f"{at_least} factors that vary"
        raise UserError(f"{metric} needs {needs}; these data have {len(found)}")
    return found


def constant(factors: np.ndarray, found: np.ndarray) -> list[int]:
    """Numbers of the factors that are not among those found to vary."""
    return sorted(set(range(factors.shape[1])) - set(found.tolist()))


def positive(**counts: int) -> None:
    """Counts of a recipe are whole and at least one.

    Raises:
        UserError: One is not.
    """
    at_least(1, **counts)


def at_least(least: int, **counts: int) -> None:
    """Counts of a recipe are whole and not below `least`.

    Raises:
        UserError: One is not.
    """
    for name, count in counts.items():
        whole = isinstance(count, numbers.Integral) and not isinstance(count, bool)
        if not whole or count < least:
            raise UserError(f"{name} must be a whole number of at least {least}, not {count}")


def bounds(**values: float) -> None:
    """Thresholds of a recipe are numbers: nothing is above or below NaN.

    Raises:
        UserError: One is not.
    """
    for name, value in values.items():
        if not isinstance(value, numbers.Real) or math.isnan(value):
            raise UserError(f"{name} must be a number, not {value}")


def usable_seed(seed: int) -> int:
    """The seed, if it is one.

    Raises:
        UserError: It is no whole number from 0 to 2^32 - 1.
    """
    if not isinstance(seed, numbers.Integral) or not 0 <= seed < 2**32:
        raise UserError(f"a seed must be a whole number from 0 to 2^32 - 1, not {seed}")
    return int(seed)
