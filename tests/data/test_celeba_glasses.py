"""The subset of CelebA around one attribute: which images, which split, which pixels."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from ivg import data
from ivg.data import batches, celeba_glasses, folder
from ivg.data.decode import LazyImages
from ivg.data.records import Options
from ivg.errors import UserError

NAMES = ("Eyeglasses", "Male", "Hat")


def _present(i):
    """Of every image: glasses on every fifth, men on every second, a hat on none."""
    return i % 5 == 0, i % 2 == 0, False


def _image(i, size=(64, 64), file_format="PNG"):
    """A picture that differs from place to place and from number to number."""
    pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, file_format)
    return file.getvalue(), image


def _files(n, size=(64, 64), absent="-1"):
    rows = [str(n), " ".join(NAMES)]
    files = {}
    for i in range(n):
        files[f"img_align_celeba/{i:06d}.png"] = _image(i, size)[0]
        rows.append(" ".join([f"{i:06d}.png", *("1" if p else absent for p in _present(i))]))
    return files | {"list_attr_celeba.txt": "\n".join(rows).encode()}


def _number(name):
    return int(name[-10:-4])


def _numbers(dataset):
    return [_number(name) for split in (dataset.train, dataset.test) for name in split.names]


@pytest.mark.parametrize("where", ["celeba.zip", "celeba"])
def test_all_positives_and_twice_as_many_others(make_images, where, capsys):
    root = make_images(where, _files(60))
    dataset = data.load("celeba_glasses", data_dir=root, attributes=NAMES[:2], image_size=16)
    numbers = _numbers(dataset)
    assert len(set(numbers)) == len(numbers) == 36
    assert {i for i in range(60) if i % 5 == 0} <= set(numbers)
    assert len(dataset.train.names) == round(36 * 30_000 / 39_579) == 27
    assert dataset.name == "celeba_glasses" and dataset.attribute_names == NAMES[:2]
    for split in (dataset.train, dataset.test):
        assert list(split.names) == sorted(split.names) and split.labels is None
        expected = [_present(_number(name))[:2] for name in split.names]
        np.testing.assert_array_equal(split.attributes, expected)
        for image, name in zip(split.images, split.names, strict=True):
            whole = _image(_number(name))[1].resize((16, 16), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(image, whole)
    printed = capsys.readouterr().err
    assert "note: Eyeglasses: 12 of 36 images, H(y) = 0.918 bits.\n" in printed
    assert "note: Male: " in printed


def test_glasses_are_the_default_and_zeros_are_understood(make_images):
    root = make_images("celeba", _files(20, absent="0"))
    dataset = data.load("celeba_glasses", data_dir=root)
    assert dataset.attribute_names == ("Eyeglasses",)
    assert dataset.image_shape == (64, 64, 3) and len(_numbers(dataset)) == 12


def test_the_draw_and_the_split_belong_to_the_seed(make_images):
    root = make_images("celeba", _files(60))
    one, again, other = (
        _numbers(data.load("celeba_glasses", data_dir=root, seed=seed, test_fraction=fraction))
        for seed, fraction in ((0, 0.1), (0, 0.5), (1, 0.1))
    )
    assert one == again and set(one) != set(other)


def test_the_draw_is_fair_and_the_split_does_not_depend_on_it():
    """Every other image is drawn equally often and, once drawn, held out equally often."""
    present = np.arange(40) % 4 == 0
    drawn, held_out = np.zeros(40), np.zeros(40)
    seeds = 400
    for seed in range(seeds):
        chosen = celeba_glasses.choose(present, "a", seed)
        drawn[chosen] += 1
        held_out[celeba_glasses._split(chosen, seed)[1]] += 1
    assert (drawn[present] == seeds).all()
    # Binomials: 20 of 30 others are drawn, 7 of 30 chosen ones are held out; five deviations.
    assert abs(drawn[~present] / seeds - 2 / 3).max() < 5 * np.sqrt(2 / 9 / seeds)
    assert abs(held_out / drawn - 7 / 30).max() < 5 * np.sqrt(0.18 / drawn.min())


def test_too_few_others(make_images, capsys):
    root = make_images("celeba", _files(20))
    dataset = data.load("celeba_glasses", data_dir=root, attributes=("Male",), image_size=8)
    assert sorted(_numbers(dataset)) == list(range(20))
    assert "only 10 images are without 'Male', not 20" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (("Hat",), "none of the 20 images have 'Hat'"),
        (("Eyeglases",), "no attribute 'Eyeglases' .did you mean 'Eyeglasses'"),
        (("Male", "Male"), "'Male' is asked for twice"),
        ("Male", "attributes is 'Male'; it must be a list"),
    ],
)
def test_attributes_that_cannot_be(make_images, attributes, message):
    root = make_images("celeba", _files(20))
    with pytest.raises(UserError, match=message):
        data.load("celeba_glasses", data_dir=root, attributes=attributes)


def test_without_an_attribute_file(make_images):
    files = {name: content for name, content in _files(4).items() if name.endswith("png")}
    root = make_images("celeba", files)
    with pytest.raises(UserError, match="no label file found: labels.csv.*'Eyeglasses'"):
        data.load("celeba_glasses", data_dir=root)
    (root / "labels.csv").write_text("file,label\n" + "".join(f"{i:06d}.png,a\n" for i in range(4)))
    with pytest.raises(UserError, match="has no attributes, so 'Eyeglasses' cannot"):
        data.load("celeba_glasses", data_dir=root)
    with pytest.raises(UserError, match="has no attributes, which"):
        folder.open_pool(Options(data_dir=root))


def test_the_published_size_gets_the_crop_of_the_thesis(make_images):
    root = make_images("celeba", _files(6, (178, 218)))
    dataset = data.load("celeba_glasses", data_dir=root)
    for image, name in zip(dataset.train.images, dataset.train.names, strict=True):
        box = _image(_number(name), (178, 218))[1].crop((20, 40, 158, 178))
        np.testing.assert_array_equal(image, box.resize((64, 64), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("name", ["celeb_a", "celeba_glasses"])
def test_a_named_crop_leaves_smaller_images_whole(make_images, name, capsys):
    root = make_images("celeba", _files(6))
    cropped = data.load(name, data_dir=root, crop="mmvae")
    assert "64 x 64 pixels, not 178 x 218 as published" in capsys.readouterr().err
    whole = data.load(name, data_dir=root)
    np.testing.assert_array_equal(cropped.train.images, whole.train.images)
    with pytest.raises(UserError, match="too small for a crop of 100"):
        data.load(name, data_dir=root, crop=100)


def test_only_the_subset_is_decoded(make_images, capsys):
    """Damage outside the subset does not matter; inside it stops, or is left out on request."""
    files = _files(60)
    chosen = {_number(name) for name in _loaded_names(make_images("whole", files))}
    outside = next(i for i in range(1, 60) if i not in chosen)
    files[f"img_align_celeba/{outside:06d}.png"] = b"damaged"
    files["img_align_celeba/000000.png"] = b"damaged"  # glasses, and the first of all
    root = make_images("damaged", files)
    for in_memory in (True, False):
        with pytest.raises(UserError, match="img_align_celeba/000000.png cannot be used"):
            data.load("celeba_glasses", data_dir=root, in_memory=in_memory)
    names = _loaded_names(root, bad_images="skip")
    assert {_number(name) for name in names} == chosen - {0}
    assert "skipped 1 bad images (first: img_align_celeba/000000.png)" in capsys.readouterr().err


def _loaded_names(root, **options):
    dataset = data.load("celeba_glasses", data_dir=root, image_size=8, **options)
    return dataset.train.names + dataset.test.names


def test_lazy_images_equal_the_array(make_images):
    root = make_images("celeba.zip", _files(20))
    array, lazy = (
        data.load("celeba_glasses", data_dir=root, in_memory=in_memory, image_size=16)
        for in_memory in (True, False)
    )
    for one, other in ((array.train, lazy.train), (array.test, lazy.test)):
        assert isinstance(one.images, np.ndarray) and isinstance(other.images, LazyImages)
        np.testing.assert_array_equal(one.images, batches.take(other.images, range(len(one.names))))
        np.testing.assert_array_equal(one.attributes, other.attributes)
        assert one.names == other.names


@pytest.mark.parametrize("in_memory", [True, False])
def test_as_prepared_by_tfds(prepare_tfds, in_memory):
    """All three splits make the pool; a name says which record an image is."""

    def records(numbers):
        return [
            {"image": _image(i, (178, 218))[0]}
            | {f"attributes/{n}": int(p) for n, p in zip(NAMES, _present(i), strict=True)}
            for i in numbers
        ]

    first = {"train": 0, "validation": 8, "test": 12}
    splits = {"train": range(8), "validation": range(8, 12), "test": range(12, 16)}
    root = prepare_tfds(
        "celeb_a", "2.1.0", (218, 178, 3), {key: records(part) for key, part in splits.items()}
    )
    dataset = data.load("celeba_glasses", data_dir=root, in_memory=in_memory)
    numbers = []
    for split in (dataset.train, dataset.test):
        images = batches.take(split.images, range(len(split.names)))
        for image, name, present in zip(images, split.names, split.attributes, strict=True):
            key, record = name.split("/")
            numbers.append(first[key] + int(record))
            box = _image(numbers[-1], (178, 218))[1].crop((20, 40, 158, 178))
            np.testing.assert_array_equal(image, box.resize((64, 64), Image.Resampling.BILINEAR))
            assert present == [_present(numbers[-1])[0]]
    assert {0, 5, 10, 15} <= set(numbers) and len(set(numbers)) == len(numbers) == 12
    if not in_memory:  # a crop that cannot be is known before the training
        with pytest.raises(UserError, match="178 x 218 pixels, too small for a crop of 200"):
            data.load("celeba_glasses", data_dir=root, in_memory=False, crop=200)


def test_the_stored_subset(make_images, tmp_path):
    root = make_images("celeba", _files(20))
    dataset = data.load("celeba_glasses", data_dir=root, attributes=NAMES[:2], image_size=8)
    celeba_glasses.write_subset(tmp_path / "subset.json", dataset)
    stored = json.loads((tmp_path / "subset.json").read_text())
    assert stored["attributes"] == ["Eyeglasses", "Male"] and stored["seed"] == 0
    for key, split in (("train", dataset.train), ("test", dataset.test)):
        part = stored[key]
        assert part["names"] == list(split.names) and part["images"] == len(split.names)
        for a, name in enumerate(NAMES[:2]):
            assert part["present"][name] == sum(_present(_number(n))[a] for n in split.names)


def test_real_faces(shared):
    """674 of 10,000 real faces wear glasses; a few of the images are decoded."""
    path = shared / "data/faces/celeba64_10k.zip"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    with zipfile.ZipFile(path) as archive:
        lines = archive.read("list_attr_celeba.txt").decode().splitlines()
    column = lines[1].split().index("Eyeglasses") + 1
    present = {row.split()[0]: row.split()[column] == "1" for row in lines[2:]}
    dataset = data.load("celeba_glasses", data_dir=path, in_memory=False)
    names = dataset.train.names + dataset.test.names
    attributes = np.concatenate([dataset.train.attributes, dataset.test.attributes])[:, 0]
    assert (len(dataset.train.names), len(dataset.test.names)) == (1533, 489)
    assert attributes.sum() == sum(present.values()) == 674 and len(set(names)) == 2022
    assert all(present[n.split("/")[-1]] == a for n, a in zip(names, attributes, strict=True))
    with zipfile.ZipFile(path) as archive:
        for i in (0, 700, 1532):
            truth = Image.open(io.BytesIO(archive.read(dataset.train.names[i]))).convert("RGB")
            np.testing.assert_array_equal(dataset.train.images[i], truth)
