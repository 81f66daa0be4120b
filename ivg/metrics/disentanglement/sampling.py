"""Examples at random, and groups of examples that share one factor.

From a `Representation` factors are drawn independently and uniformly, and in the order in which
disentanglement_lib draws them (Locatello et al., 2019): where the codes depend on the factors
alone, a seed gives the examples, votes and points that it gives there, and so the same score.
`Rows` are drawn with replacement, a group among the rows that share the wanted value; the fewer
they are, the less their spread is that of all such examples, and entangled codes score lower.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import usable_seed
from ivg.metrics.disentanglement.sources import (
    ROWS_AT_ONCE,
    Representation,
    Rows,
    Source,
    encoded,
    factor_names,
)

# A factor's value that fewer rows share is never held fixed: their spread would be mostly chance.
ROWS_PER_VALUE = 8


class Stream(NamedTuple):
    """Random numbers for factors, and others for what an image has besides them.

    Apart from each other, so that an encoder's appetite does not change which factors are drawn.
    """

    factors: np.random.RandomState
    images: np.random.RandomState


def stream(seed: int) -> Stream:
    """The random numbers of a seed.

    Raises:
        UserError: The seed is not from 0 to 2^32 - 1.
    """
    seed = usable_seed(seed)
    return Stream(np.random.RandomState(seed), np.random.RandomState([seed, 1]))


def examples(
    source: Source, count: int, numbers: Stream, *, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes `[N, D]` of random examples and all their factors, int64 `[N, F]`.

    Args:
        source: A representation gives `count` examples; of fixed rows all are taken.
        count: Number of examples.
        numbers: Where they come from.
        batch_size: Examples whose factors are drawn together, which settles their order only.
    """
    if isinstance(source, Rows):
        return source.codes, source.factors
    starts = range(0, count, batch_size)
    factors = np.concatenate(
        [_factors(source, min(batch_size, count - i), numbers.factors) for i in starts]
    )
    starts = range(0, count, ROWS_AT_ONCE)
    parts = [encoded(source, factors[i : i + ROWS_AT_ONCE], numbers.images) for i in starts]
    return np.concatenate(parts), factors


def shared_by_all(
    source: Source,
    which: Iterable[int],
    size: int,
    numbers: Stream,
    measure: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Measures groups whose examples all have one factor's value in common.

    Args:
        source: Where the codes come from.
        which: The factor shared in each group; drawn one at a time, before the group.
        size: Examples per group.
        numbers: Random numbers.
        measure: Codes of some groups `[g, size, D]` -> one row for each of them, `[g, ...]`.

    Returns:
        The factors `[G]` and the measures `[G, ...]`.

    Raises:
        UserError: A factor to be shared has no value that enough rows share.
    """
    rng = numbers.factors
    if isinstance(source, Rows):
        pools = _pools(source)

        def group(factor: int) -> np.ndarray:
            pool = pools(factor)
            first = rng.randint(len(pool.rows))
            return pool.rows[pool.start[first] + rng.randint(pool.count[first], size=size)]
    else:

        def group(factor: int) -> np.ndarray:
            factors = _factors(source, size, rng)
            factors[:, factor] = factors[0, factor]
            return factors

    return _measured(source, which, size, group, numbers, measure)


def shared_by_pairs(
    source: Source,
    which: Iterable[int],
    size: int,
    numbers: Stream,
    measure: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Measures groups of pairs; a pair has one factor's value in common, in each pair another.

    Args:
        source: Where the codes come from.
        which: The factor shared in each group; drawn one at a time, before the group.
        size: Pairs per group.
        numbers: Random numbers.
        measure: Codes of some groups `[g, 2 * size, D]`, all first partners before all second ones,
            -> one row for each of them, `[g, ...]`.

    Returns:
        The factors `[G]` and the measures `[G, ...]`.

    Raises:
        UserError: A factor to be shared has no value that enough rows share.
    """
    rng = numbers.factors
    if isinstance(source, Rows):
        pools = _pools(source)

        def group(factor: int) -> np.ndarray:
            pool = pools(factor)
            first = rng.randint(len(pool.rows), size=size)
            places = (rng.random_sample(size) * pool.count[first]).astype(np.int64)
            return pool.rows[np.concatenate([first, pool.start[first] + places])]
    else:

        def group(factor: int) -> np.ndarray:
            first, second = _factors(source, size, rng), _factors(source, size, rng)
            second[:, factor] = first[:, factor]
            return np.concatenate([first, second])

    return _measured(source, which, 2 * size, group, numbers, measure)


def in_words(source: Source) -> str:
    """How groups of this source are drawn."""
    if isinstance(source, Rows):
        return (
            f"{len(source.codes)} fixed rows, drawn with replacement among those of the factor's "
            f"value ({ROWS_PER_VALUE} at least)"
        )
    return "factors drawn independently and uniformly"


def _measured(
    source: Source,
    which: Iterable[int],
    rows: int,
    group: Callable[[int], np.ndarray],
    numbers: Stream,
    measure: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Draws every group (factors or row numbers, `[rows, ...]`), encodes and measures in chunks."""
    drawn, waiting, measures = [], [], []

    def flush() -> None:
        items = np.concatenate(waiting)
        if isinstance(source, Rows):
            codes = source.codes[items]
        else:
            codes = encoded(source, items, numbers.images)
        measures.append(measure(codes.reshape(len(waiting), rows, -1)))
        waiting.clear()

    for factor in which:
        drawn.append(factor)
        waiting.append(group(factor))
        if (len(waiting) + 1) * rows > ROWS_AT_ONCE:
            flush()
    if waiting:
        flush()
    return np.array(drawn), np.concatenate(measures)


def _factors(source: Representation, count: int, rng: np.random.RandomState) -> np.ndarray:
    factors = np.empty((count, len(source.sizes)), np.int64)
    for i, size in enumerate(source.sizes):
        factors[:, i] = rng.randint(size, size=count)
    return factors


class _Pool(NamedTuple):
    """Rows sorted by a factor, those of rare values left out.

    A group takes the value of a row drawn from `rows`, so values are as frequent as they are there;
    `start` and `count` tell, for every place in `rows`, where the rows of its value lie.
    """

    rows: np.ndarray
    start: np.ndarray
    count: np.ndarray


def _pools(source: Rows) -> Callable[[int], _Pool]:
    made: dict[int, _Pool] = {}

    def pool(factor: int) -> _Pool:
        if factor not in made:
            made[factor] = _pool(source, factor)
        return made[factor]

    return pool


def _pool(source: Rows, factor: int) -> _Pool:
    order = np.argsort(source.factors[:, factor], kind="stable")
    _, counts = np.unique(source.factors[:, factor], return_counts=True)
    usable = counts >= ROWS_PER_VALUE
    if not usable.any():
        raise UserError(
            f"no value of {factor_names(source, [factor])[0]} is shared by {ROWS_PER_VALUE} rows "
            "or more, too few to hold it fixed: give more rows or leave this factor out"
        )
    order, counts = order[np.repeat(usable, counts)], counts[usable]
    starts = np.cumsum(counts) - counts
    return _Pool(order, np.repeat(starts, counts), np.repeat(counts, counts))
