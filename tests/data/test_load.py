"""The options of `load`, checked before any file is read."""

import subprocess
import sys

import numpy as np
import pytest

from ivg import data
from ivg.data.decode import LazyImages, collect
from ivg.errors import UserError


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "minst"}, "unknown data set 'minst'.*did you mean 'mnist'.*celeb_a"),
        ({"name": "digits", "image_size": 0}, "image_size is 0"),
        ({"name": "digits", "image_size": -8}, "image_size is -8"),
        ({"name": "digits", "image_size": 6.5}, "image_size is 6.5"),
        ({"name": "digits", "channels": 2}, "channels is 2"),
        ({"name": "images", "bad_images": "ignore"}, "bad_images is 'ignore'"),
        ({"name": "images", "test_fraction": 1.0}, "test_fraction is 1.0"),
        ({"name": "images", "test_fraction": 0}, "test_fraction is 0"),
        ({"name": "digits", "in_memory": "maybe"}, "in_memory is 'maybe'"),
        ({"name": "digits", "crop": "centre"}, "crop 'centre' is not understood"),
        ({"name": "digits", "crop": 0}, "crop 0 is not understood"),
        ({"name": "digits", "crop": 20}, "8 x 8 pixels, too small for a crop of 20"),
        ({"name": "digits", "attributes": ("Male",)}, "digits has no attributes"),
        ({"name": "images"}, "needs --config.data.dir"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UserError, match=message):
        data.load(**options)


@pytest.mark.parametrize("value, lazy", [("auto", False), ("False", True), ("true", False)])
def test_in_memory_as_a_word(value, lazy):
    images = data.load("digits", in_memory=value).train.images
    assert isinstance(images, np.ndarray) != lazy


def test_auto_goes_by_size():
    size = 1797 * 8 * 8 / 2**30
    assert isinstance(data.load("digits", memory_limit_gb=size).train.images, np.ndarray)
    assert isinstance(data.load("digits", memory_limit_gb=size * 0.99).train.images, LazyImages)


def test_lazy_images_behave_like_a_sequence():
    lazy = LazyImages(lambda i: np.full((1, 1, 1), i, np.uint8), 3, (1, 1, 1))
    assert len(lazy) == 3 and lazy.shape == (3, 1, 1, 1) and lazy.dtype == np.uint8
    assert [int(image[0, 0, 0]) for image in lazy] == [0, 1, 2]
    assert lazy[-1] == 2 and lazy[np.int32(1)] == 1
    with pytest.raises(IndexError):
        lazy[3]


def test_collect_raises_the_first_error():
    def decode(i):
        if i in (700, 150):
            raise UserError(f"image {i}")
        return np.zeros((1, 1, 1), np.uint8)

    with pytest.raises(UserError, match="image 150"):
        collect(decode, 1000, (1, 1, 1), in_memory=True, title="test")


def test_importing_and_loading_needs_no_tensorflow():
    code = (
        "import sys; from ivg import data; data.load('digits'); import tensorflow_datasets;"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
