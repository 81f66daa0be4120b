"""Data sets prepared by TensorFlow Datasets: tiny ones written here, and the real ones."""

import io

import numpy as np
import pytest
from PIL import Image

from ivg import data
from ivg.data import batches
from ivg.data.decode import LazyImages
from ivg.errors import UserError

NAMES = ("Young", "Male", "Bald")  # not sorted, as in a record


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _digits(count, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 28, 28), np.uint8)
    return pixels, [{"image": _png(image), "label": i % 10} for i, image in enumerate(pixels)]


def _faces(count, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 218, 178, 3), np.uint8)
    return pixels, [
        {"image": _png(image)}
        | {f"attributes/{name}": (i >> bit) & 1 for bit, name in enumerate(NAMES)}
        for i, image in enumerate(pixels)
    ]


@pytest.fixture
def mnist(prepare_tfds):
    train, records = _digits(12, 0)
    test, test_records = _digits(5, 1)
    root = prepare_tfds("mnist", "3.0.1", (28, 28, 1), {"train": records, "test": test_records})
    return root, train, test


@pytest.fixture
def celeb_a(prepare_tfds):
    train, records = _faces(5, 0)
    test, test_records = _faces(2, 1)
    splits = {"train": records, "validation": test_records, "test": test_records}
    return prepare_tfds("celeb_a", "2.1.0", (218, 178, 3), splits), train, test


def test_mnist(mnist):
    root, train, test = mnist
    loaded = data.load("mnist", data_dir=str(root))
    assert loaded.image_shape == (28, 28, 1) and loaded.class_names == tuple("0123456789")
    np.testing.assert_array_equal(loaded.train.images[..., 0], train)
    np.testing.assert_array_equal(loaded.test.images[..., 0], test)
    assert loaded.train.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert loaded.train.labels.dtype == np.int32 and loaded.train.attributes is None


def test_lazy_equals_in_memory(mnist):
    whole = data.load("mnist", data_dir=mnist[0], image_size=20, channels=3)
    lazy = data.load("mnist", data_dir=mnist[0], image_size=20, channels=3, memory_limit_gb=1e-6)
    assert isinstance(lazy.train.images, LazyImages)
    assert lazy.image_shape == whole.image_shape == (20, 20, 3)
    everything = batches.take(lazy.train.images, range(12))
    np.testing.assert_array_equal(everything, whole.train.images)
    np.testing.assert_array_equal(lazy.train.labels, whole.train.labels)


def test_fashion_mnist(prepare_tfds):
    _, records = _digits(3, 0)
    root = prepare_tfds("fashion_mnist", "3.0.1", (28, 28, 1), {"train": records, "test": records})
    loaded = data.load("fashion_mnist", data_dir=root)
    assert loaded.class_names[0] == "T-shirt/top" and len(loaded.class_names) == 10


@pytest.mark.parametrize(
    "crop, rows, columns", [(None, (45, 173), (25, 153)), ("mmvae", (40, 178), (20, 158))]
)
def test_celeb_a_crop(celeb_a, crop, rows, columns):
    root, train, _ = celeb_a
    loaded = data.load("celeb_a", data_dir=root, crop=crop)
    assert loaded.image_shape == (64, 64, 3) and len(loaded.test.images) == 2
    cut = Image.fromarray(train[3][slice(*rows), slice(*columns)])
    expected = np.asarray(cut.resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(loaded.train.images[3], expected)


def test_celeb_a_attributes(celeb_a):
    loaded = data.load("celeb_a", data_dir=celeb_a[0], image_size=8)
    assert loaded.attribute_names == ("Bald", "Male", "Young") and loaded.train.labels is None
    assert loaded.train.attributes.dtype == bool
    expected = [[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(5)]
    np.testing.assert_array_equal(loaded.train.attributes, np.array(expected, bool))
    two = data.load("celeb_a", data_dir=celeb_a[0], image_size=8, attributes=["Young", "Bald"])
    assert two.attribute_names == ("Young", "Bald")
    np.testing.assert_array_equal(two.test.attributes, loaded.test.attributes[:, [2, 0]])
    with pytest.raises(UserError, match="no attribute 'male'.*did you mean 'Male'"):
        data.load("celeb_a", data_dir=celeb_a[0], attributes=["male"])


def test_mnist_has_no_attributes(mnist):
    with pytest.raises(UserError, match="mnist has no attributes"):
        data.load("mnist", data_dir=mnist[0], attributes=["Male"])


def test_not_prepared(tmp_path):
    with pytest.raises(UserError) as error:
        data.load("celeb_a", data_dir=tmp_path / "nowhere")
    text = str(error.value)
    assert f"celeb_a is not prepared in {tmp_path}/nowhere" in text
    assert "pip install 'ivg[tfds]'" in text
    assert (
        f"tfds.builder('celeb_a', data_dir='{tmp_path}/nowhere', file_format='array_record')"
        in text
    )
    assert f"{tmp_path}/nowhere/celeb_a/2.1.0" in text and "by hand" in text
    assert "img_align_celeba" in text


def test_default_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match="elsewhere/mnist/3.0.1"):
        data.load("mnist")


def test_prepared_as_tfrecord(prepare_tfds):
    _, records = _digits(2, 0)
    splits = {"train": records, "test": records}
    root = prepare_tfds("mnist", "3.0.1", (28, 28, 1), splits, file_format="tfrecord")
    with pytest.raises(UserError, match="mnist as tfrecord, which cannot be read without.*remove"):
        data.load("mnist", data_dir=root)


def test_another_version_is_read(mnist):
    root = mnist[0]
    (root / "mnist/3.0.1").rename(root / "mnist/3.0.0")
    assert len(data.load("mnist", data_dir=root).train.images) == 12


@pytest.mark.parametrize("name", ["mnist-train.array_record-00000-of-00001", "features.json"])
def test_missing_file(mnist, name):
    (mnist[0] / "mnist/3.0.1" / name).unlink()
    with pytest.raises(UserError, match="damaged or incomplete.*remove it and prepare it again"):
        data.load("mnist", data_dir=mnist[0])


def test_truncated_records(mnist):
    path = mnist[0] / "mnist/3.0.1/mnist-train.array_record-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match="damaged or incomplete"):
        data.load("mnist", data_dir=mnist[0])


def test_damaged_info(mnist):
    (mnist[0] / "mnist/3.0.1/dataset_info.json").write_text("{")
    with pytest.raises(UserError, match="damaged dataset_info.json"):
        data.load("mnist", data_dir=mnist[0])


def test_read_only_directory(mnist):
    root = mnist[0]
    before = sorted(root.rglob("*"))
    for path in [root, *before]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        data.load("mnist", data_dir=root)
        assert sorted(root.rglob("*")) == before
    finally:
        for path in [root, *before]:
            path.chmod(0o755)


def test_real_mnist(shared):
    mnist = data.load("mnist", data_dir=shared / "data/tfds", in_memory=False)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(mnist.train.labels).tolist() == counts
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(mnist.test.labels).tolist() == counts
    images = batches.take(mnist.test.images, range(10000))
    assert images.shape == (10000, 28, 28, 1)
    assert images.mean() / 255 == pytest.approx(0.1325, abs=1e-4)


def test_real_celeb_a(shared):
    root = shared / "data/tfds"
    faces = data.load("celeb_a", data_dir=root, in_memory=False, attributes=("Male", "Smiling"))
    assert (len(faces.train.images), len(faces.test.images)) == (2400, 300)
    import tensorflow_datasets as tfds

    raw = tfds.decode.SkipDecoding()
    source = tfds.data_source(
        "celeb_a", split="train", data_dir=root, download=False, decoders={"image": raw}
    )
    for i in (0, 1234):
        with Image.open(io.BytesIO(source[i]["image"])) as image:
            cut = image.crop((25, 45, 153, 173)).resize((64, 64), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(faces.train.images[i], np.asarray(cut))
        assert source[i]["attributes"]["Male"] == faces.train.attributes[i, 0]


def test_real_celeb_a_through_the_stream(shared):
    faces = data.load("celeb_a", data_dir=shared / "data/tfds", in_memory=False)
    iterator = batches.stream(
        faces.test.images, seed=0, batch_size=8, first_batch=3, num_batches_per_item=2
    )
    item = next(iterator)
    iterator.close()
    expected = batches.indices(300, seed=0, batch_size=8, first_batch=3, num_batches=2)
    np.testing.assert_array_equal(
        item.reshape(16, 64, 64, 3), batches.take(faces.test.images, expected.ravel())
    )
