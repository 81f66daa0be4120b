"""dSprites as TensorFlow Datasets prepares it: a tiny set written here, and the real one."""

import io
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from ivg import data
from ivg.data import batches, sprites
from ivg.data.decode import LazyImages
from ivg.errors import UserError

LABELS = ("label_shape", "label_scale", "label_orientation", "label_x_position")
LABELS += ("label_y_position",)


def _record(factors, image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    labels = dict(zip(LABELS, factors.tolist(), strict=True))
    return {"image": buffer.getvalue()} | labels


@pytest.fixture
def tiny(prepare_tfds):
    """30 images in no order, as tfds shuffles them, with 0 and 1 as in the archive."""
    index = np.random.default_rng(0).choice(sprites.COUNT, 30, replace=False)
    factors = np.asarray(sprites.factors_of(index))
    images = np.asarray(sprites.render(factors))
    records = [
        _record(row, (image[..., 0] > 0).astype(np.uint8))
        for row, image in zip(factors, images, strict=True)
    ]
    root = prepare_tfds("dsprites", "2.0.0", (64, 64, 1), {"train": records})
    return root, factors, images


def test_a_tiny_set(tiny):
    root, factors, images = tiny
    loaded = data.load("dsprites", data_dir=root)
    assert loaded.image_shape == (64, 64, 1) and loaded.train is loaded.test
    assert loaded.train.labels is None
    np.testing.assert_array_equal(loaded.train.images, images)


@pytest.mark.parametrize("in_memory", [True, False])
def test_images_by_their_factors(tiny, in_memory):
    root, factors, images = tiny
    loaded = data.load("dsprites", data_dir=root, in_memory=in_memory)
    assert isinstance(loaded.train.images, LazyImages) != in_memory
    truth = loaded.ground_truth
    assert truth.names == sprites.NAMES and truth.sizes == sprites.SIZES
    rows = [7, 0, 29, 7]
    np.testing.assert_array_equal(truth.images(factors[rows], 0), images[rows])
    absent = (factors[:1] + 1) % np.array(sprites.SIZES)
    with pytest.raises(UserError, match="no image with the factors.*incomplete"):
        truth.images(absent, 0)


def test_other_size_and_channels(tiny):
    root, _, images = tiny
    loaded = data.load("dsprites", data_dir=root, image_size=32, channels=3)
    assert loaded.train.images.shape == (30, 32, 32, 3)
    # Bilinear halving keeps the amount of white.
    assert loaded.train.images.mean() == pytest.approx(images.mean(), rel=0.01)


def test_not_prepared(tmp_path):
    with pytest.raises(UserError, match="dsprites is not prepared.*h5py.*name=sprites"):
        data.load("dsprites", data_dir=tmp_path)


def test_re_rendered_equal_the_real_ones(record_property):
    root = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    if not list(root.glob("dsprites/*/*.array_record-*")):
        pytest.skip(f"needs the original dSprites, prepared by tfds as array_record in {root}")
    original = data.load("dsprites", in_memory=False).ground_truth
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(0, size, 5000) for size in sprites.SIZES], axis=1)
    drawn = data.load("sprites").train.images
    equal = batches.take(drawn, sprites.index_of(factors)) == original.images(factors, 0)
    record_property("equal_pixels", equal.mean())
    record_property("equal_images", equal.all((1, 2, 3)).mean())
    print(f"equal pixels {equal.mean():.6f}, equal images {equal.all((1, 2, 3)).mean():.4f}")
    # In the frames that the geometry was fitted to, 3 edge pixels of 10,000 differ, that is one
    # pixel of 100,000; the margin is for positions that those frames do not show.
    assert equal.mean() > 0.9995
