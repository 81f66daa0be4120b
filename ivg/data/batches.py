"""The order in which examples are seen, and batches of a set that does not fit into memory.

Epoch e of a run visits the n examples in a permutation that depends on (seed, e) alone. The
permutations, one after the other, form an endless stream of examples; batch b takes the elements
b * batch_size to (b + 1) * batch_size - 1. So every example comes once an epoch, a batch may
straddle two epochs, and a run resumes from the number of its next batch: there is no state.
"""

import contextlib
import functools
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from ivg.data.decode import LazyImages, default_threads
from ivg.data.records import Rendered
from ivg.errors import UserError


def order(n: int, *, seed: int, start: int, count: int) -> np.ndarray:
    """Elements `start` to `start + count - 1` of the endless stream of example numbers.

    Args:
        n: number of examples.
        seed: any integer; its lower 64 bits count.
        start: first element, 0 at the beginning of the run.
        count: how many.

    Returns:
        int32 [count], values in 0..n-1.

    Raises:
        UserError: there is no example.

    Examples:
        >>> from ivg.data.batches import order
        >>> first = order(5, seed=0, start=0, count=10)  # two epochs
        >>> sorted(first[:5].tolist()), sorted(first[5:].tolist())
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
        >>> bool((order(5, seed=0, start=3, count=4) == first[3:7]).all())  # goes on anywhere
        True
    """
    _check(n)
    epochs = range(start // n, -(-(start + count) // n))
    parts = [_permutation(n, seed, epoch) for epoch in epochs] or [np.empty(0, np.int32)]
    first = start - start // n * n
    return np.concatenate(parts)[first : first + count]


def indices(
    n: int, *, seed: int, batch_size: int, first_batch: int, num_batches: int
) -> np.ndarray:
    """Example numbers of batches `first_batch`, ...: int32 [num_batches, batch_size]."""
    count = num_batches * batch_size
    elements = order(n, seed=seed, start=first_batch * batch_size, count=count)
    return elements.reshape(num_batches, batch_size)


def stream(
    source: np.ndarray | LazyImages | Rendered,
    *,
    seed: int,
    batch_size: int,
    first_batch: int,
    num_batches_per_item: int,
    process_slice: slice = slice(None),
    num_threads: int | None = None,
    prefetch: int = 8,
) -> Iterator[np.ndarray]:
    """Endless batches, read and decoded by threads ahead of time, in the order of `indices`.

    Args:
        source: `Split.images`.
        seed: as for `order`.
        batch_size: B, the global batch size.
        first_batch: where to begin; a resumed run passes the number of its next batch.
        num_batches_per_item: batches in one item (the steps of one dispatch).
        process_slice: this process's part of every global batch.
        num_threads: threads that decode; 0 decodes in the caller's thread; None chooses.
        prefetch: batches held ready.

    Yields:
        uint8 [num_batches_per_item, B_local, H, W, C]. Closing the iterator ends the threads.

    Raises:
        UserError: the source is empty; while iterating, an image cannot be decoded.
    """
    _check(len(source))
    # Imported here: it takes seconds, and only sets that do not fit into memory need it.
    import grain

    n, places = len(source), range(batch_size)[process_slice]

    def read(element: int) -> np.ndarray:
        batch, i = divmod(element, len(places))
        position = batch * batch_size + places[i]
        return source[int(_permutation(n, seed, position // n)[position % n])]

    start = first_batch * len(places)
    threads = default_threads() if num_threads is None else num_threads
    batches = (
        grain.MapDataset.range(start, sys.maxsize // 2)
        .map(read)
        .batch(len(places))
        .to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch))
        .batch(num_batches_per_item)
    )
    return _until_closed(iter(batches))


def take(
    source: np.ndarray | LazyImages | Rendered, numbers: Sequence[int] | np.ndarray
) -> np.ndarray:
    """The images with these numbers, whatever the source: uint8 [len(numbers), H, W, C]."""
    return source[np.asarray(numbers, np.int64)]


def _until_closed(iterator: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    with contextlib.closing(iterator):
        yield from iterator


# A memo of a pure function, for neighbouring batches of one or two data sets.
@functools.lru_cache(maxsize=8)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """Permutation of 0..n-1 for one epoch: int32 [n], read-only.

    Sorted random words, not `Generator.permutation`: NumPy promises the words of a bit generator
    to stay the same from release to release, which a run that resumes needs.
    """
    key = np.array([seed % 2**64, epoch], np.uint64)
    words = np.random.Philox(key=key).random_raw(n)
    permutation = np.argsort(words, kind="stable").astype(np.int32)
    permutation.setflags(write=False)
    return permutation


def _check(n: int) -> None:
    if n < 1:
        raise UserError("the data set holds no image to make batches of.")
