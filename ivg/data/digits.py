"""Scikit-learn's 1,797 real handwritten digits, 8 x 8 grey: needs no download."""

import numpy as np
from PIL import Image

from ivg.data import resize
from ivg.data.decode import collect
from ivg.data.records import Dataset, Options, Split, fits_in_memory, select_attributes

_NUM_TEST = 360


def load(options: Options) -> Dataset:
    """Loads the digits: 1,437 to train, 360 to test, by a fixed permutation."""
    select_attributes(None, (), options.attributes, "digits")
    from sklearn.datasets import load_digits  # slow to import, and no other data set needs it

    bunch = load_digits()
    # The source counts the dark pixels of 4 x 4 blocks: 0 to 16.
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    size, channels = options.image_size or 8, options.channels or 1
    crop = resize.parse_crop(options.crop, "none")
    shape = (size, size, channels)
    in_memory = fits_in_memory(options, len(pixels), shape)

    def split(indices: np.ndarray) -> Split:
        def decode(i: int) -> np.ndarray:
            image = Image.fromarray(pixels[indices[i]])
            return resize.to_array(image, size=size, crop=crop, channels=channels)

        images = collect(decode, len(indices), shape, in_memory=in_memory, title="digits")
        return Split(images, bunch.target[indices].astype(np.int32), None)

    order = np.random.default_rng(0).permutation(len(pixels))
    train, test = split(order[:-_NUM_TEST]), split(order[-_NUM_TEST:])
    return Dataset("digits", train, test, shape, class_names=tuple("0123456789"))
