"""Arrays that no metric should take for numbers of the right kind, and what it must answer."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from ivg.errors import UserError


def with_value(value: float) -> Callable[[np.ndarray, int], np.ndarray]:
    def damaged(x: np.ndarray, place: int) -> np.ndarray:
        x = x.astype(np.float64)
        x.flat[place % x.size] = value
        return x

    return damaged


DAMAGES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "NaN": with_value(np.nan),
    "inf": with_value(np.inf),
    "-inf": with_value(-np.inf),
    "1e300": with_value(1e300),
    "empty": lambda x, place: x[:0],
    "a number": lambda x, place: x.flat[place % x.size],
    "text": lambda x, place: np.full(x.shape, "a"),
    "complex": lambda x, place: x + 1j,
    "objects": lambda x, place: x.astype(object),
    "one axis more": lambda x, place: x[..., np.newaxis],
    "one row less": lambda x, place: x[:-1],
}


class Victim(NamedTuple):
    """A metric, arguments that it takes, and the damages (argument, name) that are allowed."""

    function: Callable
    arguments: tuple[np.ndarray, ...]
    harmless: Sequence[tuple[int, str]] = ()


def victims(table: dict[str, Victim]) -> dict[str, st.SearchStrategy]:
    """What `refuses` draws: a metric, one of its arguments, a damage and its place."""
    wanted = [
        (name, argument, damage)
        for name, victim in table.items()
        for argument in range(len(victim.arguments))
        for damage in DAMAGES
        if (argument, damage) not in victim.harmless
    ]
    return {"wanted": st.sampled_from(wanted), "place": st.integers(0, 1000)}


def refuses(table: dict[str, Victim], wanted: tuple[str, int, str], place: int) -> None:
    """The metric answers a damaged argument with one sentence, not with a number."""
    name, argument, damage = wanted
    arguments = list(table[name].arguments)
    arguments[argument] = DAMAGES[damage](arguments[argument], place)
    try:
        found = table[name].function(*arguments)
    except UserError as error:
        assert "\n" not in str(error) and 10 < len(str(error)) < 300
    else:
        raise AssertionError(f"{name} took {damage} in argument {argument} for {found}")
