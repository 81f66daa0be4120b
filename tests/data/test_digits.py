"""The embedded digits."""

import numpy as np
from sklearn.datasets import load_digits

from ivg import data
from ivg.data import batches


def test_digits_are_all_there_and_split_as_documented():
    digits = data.load("digits")
    assert digits.image_shape == (8, 8, 1)
    assert digits.class_names == tuple("0123456789")
    assert digits.train.images.shape == (1437, 8, 8, 1) and digits.test.images.shape[0] == 360
    assert digits.train.images.dtype == np.uint8 and digits.train.labels.dtype == np.int32
    source = load_digits()
    order = np.random.default_rng(0).permutation(1797)
    images = np.concatenate([digits.train.images, digits.test.images])[..., 0]
    labels = np.concatenate([digits.train.labels, digits.test.labels])
    np.testing.assert_array_equal(labels, source.target[order])
    np.testing.assert_allclose(images, source.images[order] * 255 / 16, atol=0.5)
    assert images.min() == 0 and images.max() == 255


def test_digits_resized_coloured_and_lazy():
    digits = data.load("digits", image_size=16, channels=3, in_memory=False)
    assert digits.image_shape == (16, 16, 3)
    assert not isinstance(digits.train.images, np.ndarray)
    whole = data.load("digits", image_size=16, channels=3, in_memory=True)
    np.testing.assert_array_equal(
        batches.take(digits.test.images, [0, 359]), whole.test.images[[0, 359]]
    )
    np.testing.assert_array_equal(whole.test.images[..., 0], whole.test.images[..., 2])
