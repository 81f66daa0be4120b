"""From a function that decodes one image to an array of all of them, or to a lazy source."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

Decode = Callable[[int], np.ndarray]

_CHUNK = 128  # images per task: a task an image would cost more than a small image's decoding
SILENT_SECONDS = 2.0  # a shorter wait shows no progress line


class LazyImages:
    """Random-access uint8 images [N, H, W, C] that are decoded whenever they are asked for.

    Safe to read from several threads as long as `decode` is.
    """

    def __init__(self, decode: Decode, num_images: int, image_shape: tuple[int, int, int]):
        self._decode = decode
        self.shape = (num_images, *image_shape)
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return self._decode(int(index) % len(self))


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
    index that failed is raised.
    """

    def run(start: int) -> int:
        stop = min(start + _CHUNK, count)
        for index in range(start, stop):
            work(index)
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
