"""From a function that decodes one image to an array of all of them, or to a lazy source."""

import contextlib
import operator
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

Decode = Callable[[int], np.ndarray]

_CHUNK = 128  # images per task: a task an image would cost more than a small image's decoding
SILENT_SECONDS = 2.0  # a shorter wait shows no progress line


class Room:
    """Bounds what threads hold at a time: who finds too little left waits until others are done."""

    def __init__(self, size: int):
        self._size = self._left = size
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def of(self, amount: int) -> Iterator[None]:
        """Holds `amount`, or all of the room where that is less."""
        amount = min(amount, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._changed:
                self._left += amount
                self._changed.notify_all()


class LazyImages:
    """Random-access uint8 images [N, H, W, C] that are decoded whenever they are asked for.

    `source[i]` is one of them; `source[:10]` and `source[[3, 5]]` are arrays, as of an array of the
    images. Safe to read from several threads as long as `decode` is.
    """

    def __init__(self, decode: Decode, num_images: int, image_shape: tuple[int, int, int]):
        self._decode = decode
        self.shape = (num_images, *image_shape)
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        if (numbers := several(index, len(self))) is None:
            return self._decode(number(index, len(self)))
        images = np.empty((len(numbers), *self.shape[1:]), np.uint8)
        with ThreadPoolExecutor(default_threads()) as pool:
            for place, image in enumerate(pool.map(self.__getitem__, numbers.tolist())):
                images[place] = image
        return images


def several(index: object, count: int) -> np.ndarray | None:
    """The numbers int64 [n] of a slice, a list, an array or a mask; None where it is one number."""
    if isinstance(index, slice):
        return np.arange(*index.indices(count))
    if np.ndim(index) == 0:
        return None
    if np.ndim(index) != 1 or np.asarray(index).dtype == bool and len(index) != count:
        raise IndexError(f"an index of shape {np.shape(index)} for {count} images")
    index = np.asarray(index)
    return np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)


def number(index: int, count: int) -> int:
    """The number of one image, from 0 on."""
    if not -count <= operator.index(index) < count:
        raise IndexError(f"image {index} of {count}")
    return operator.index(index) % count


def collect(
    decode: Decode,
    num_images: int,
    image_shape: tuple[int, int, int],
    *,
    in_memory: bool,
    title: str,
) -> np.ndarray | LazyImages:
    """All images: an array decoded now if `in_memory`, else a lazy source."""
    if not in_memory:
        return LazyImages(decode, num_images, image_shape)
    images = np.empty((num_images, *image_shape), np.uint8)

    def write(index: int) -> None:
        images[index] = decode(index)

    for_each(write, num_images, title=title)
    return images


def for_each(work: Callable[[int], None], count: int, *, title: str) -> None:
    """Calls `work(0)` ... `work(count - 1)` from threads, with a progress line if that takes long.

    Pillow decodes outside Python's global lock, so threads use all cores. The error of the lowest
    index that failed is raised; what comes after it is not worth doing.
    """
    failed = count  # the lowest index that has

    def run(start: int) -> int:
        nonlocal failed
        stop = min(start + _CHUNK, count)
        for index in range(start, stop):
            if index > failed:
                break
            try:
                work(index)
            except BaseException:
                failed = min(failed, index)
                raise
        return stop - start

    pool = ThreadPoolExecutor(default_threads())
    try:
        with tqdm(
            total=count, desc=title, unit=" images", delay=SILENT_SECONDS, mininterval=1
        ) as progress:
            for done in pool.map(run, range(0, count, _CHUNK)):
                progress.update(done)
    finally:  # after an error, or Ctrl-C, what has not begun is not worth waiting for
        pool.shutdown(cancel_futures=True)


def default_threads() -> int:
    """How many threads decode images: one a core, 16 at most."""
    return min(16, os.cpu_count() or 1)
