"""The user's own images: folders and zips, well-formed and not."""

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from ivg import data
from ivg.data import batches
from ivg.errors import UserError


def _encoded(width=12, height=10, seed=0, file_format="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format)
    return buffer.getvalue()


def _expected(encoded, size):
    """A second road to the pixels: centre square, then Pillow's antialiased reduction."""
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))


@pytest.fixture
def ten():
    kinds = [("png", "PNG"), ("jpg", "JPEG"), ("JPEG", "JPEG"), ("webp", "WEBP"), ("bmp", "BMP")]
    return {
        f"sub{i % 2}/{i:02d}.{kinds[i % 5][0]}": _encoded(10 + 3 * i, 12 + i, i, kinds[i % 5][1])
        for i in range(10)
    }


def _all(loaded):
    """name -> image of both splits."""
    return {
        name: image
        for split in (loaded.train, loaded.test)
        for name, image in zip(
            split.names, batches.take(split.images, range(len(split.images))), strict=True
        )
    }


@pytest.mark.parametrize("where", ["photos", "photos.zip"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_images_of_any_size(make_images, ten, where, in_memory):
    root = make_images(where, ten)
    loaded = data.load("images", data_dir=str(root), image_size=8, in_memory=in_memory)
    assert loaded.image_shape == (8, 8, 3)
    assert len(loaded.train.images) == 9 and len(loaded.test.images) == 1
    assert list(loaded.train.names) == sorted(loaded.train.names)
    images = _all(loaded)
    assert images.keys() == ten.keys()
    for name, image in images.items():
        np.testing.assert_array_equal(image, _expected(ten[name], 8))


def test_the_default_size_and_grey(make_images, ten):
    root = make_images("photos", ten)
    assert data.load("images", data_dir=root).image_shape == (64, 64, 3)
    assert data.load("images", data_dir=root, channels=1).train.images.shape == (9, 64, 64, 1)


def test_the_split_is_stable(make_images, ten):
    folder, archive = make_images("photos", ten), make_images("photos.zip", ten)
    one, other = (
        data.load("images", data_dir=root, test_fraction=0.3) for root in (folder, archive)
    )
    assert one.test.names == other.test.names and len(one.test.names) == 3
    np.testing.assert_array_equal(one.test.images, other.test.images)
    splits = {
        data.load("images", data_dir=folder, test_fraction=0.3, seed=s).test.names for s in range(5)
    }
    assert len(splits) > 1


def test_a_tiny_set_has_one_test_image(make_images):
    root = make_images("two", {"a.png": _encoded(), "b.png": _encoded(seed=1)})
    loaded = data.load("images", data_dir=root, test_fraction=0.9)
    assert len(loaded.train.names) == len(loaded.test.names) == 1


def test_crops(make_images):
    root = make_images("two", {"a.png": _encoded(20, 10), "b.png": _encoded(20, 10)})
    image = Image.open(io.BytesIO(_encoded(20, 10)))
    squashed = data.load("images", data_dir=root, image_size=4, crop="none").test.images[0]
    np.testing.assert_array_equal(squashed, image.resize((4, 4), Image.Resampling.BILINEAR))
    centre = data.load("images", data_dir=root, image_size=6, crop=6).test.images[0]
    np.testing.assert_array_equal(centre, image.crop((7, 2, 13, 8)))


@pytest.mark.parametrize("in_memory", [True, False])
def test_crop_larger_than_an_image(make_images, in_memory):
    root = make_images("two", {"a.png": _encoded(20, 20), "b.png": _encoded(9, 20)})
    with pytest.raises(
        UserError, match="b.png cannot be used .*9 x 20 pixels, too small.* 10 x 10"
    ):
        data.load("images", data_dir=root, crop=10, in_memory=in_memory)


def test_ignored_files(make_images, ten, capsys):
    clutter = {
        "notes.txt": b"x",
        "table.csv": b"x",
        ".DS_Store": b"x",
        "Thumbs.db": b"x",
        "desktop.ini": b"x",
        ".hidden/a.png": b"x",
        "__MACOSX/sub0/._00.png": b"x",
    }
    for where in ("photos", "photos.zip"):
        root = make_images(where, ten | clutter)
        assert _all(data.load("images", data_dir=root, image_size=8)).keys() == ten.keys()
    assert "skipped" not in capsys.readouterr().err


@pytest.mark.parametrize("where", ["photos", "photos.zip"])
@pytest.mark.parametrize(
    "name, content",
    [("sub0/bad.png", b"not an image"), ("sub0/empty.jpg", b""), ("report.pdf", b"%PDF")],
)
@pytest.mark.parametrize("in_memory", [True, False])
def test_bad_image_is_named_or_skipped(make_images, ten, where, name, content, in_memory, capsys):
    root = make_images(where, ten | {name: content})
    with pytest.raises(UserError, match=f"{name}.*--config.data.bad_images=skip"):
        data.load("images", data_dir=root, image_size=8, in_memory=in_memory)
    loaded = data.load(
        "images", data_dir=root, image_size=8, bad_images="skip", in_memory=in_memory
    )
    assert _all(loaded).keys() == ten.keys()
    printed = capsys.readouterr().err
    assert "note: skipped 1" in printed and name in printed


def test_truncated_image(make_images, ten):
    half = _encoded(64, 64, file_format="JPEG")
    root = make_images("photos", ten | {"half.jpg": half[: len(half) // 2]})
    with pytest.raises(UserError, match="half.jpg cannot be used"):
        data.load("images", data_dir=root, image_size=8)
    # Its header is sound, so a lazy source finds out only when it decodes it.
    loaded = data.load("images", data_dir=root, image_size=8, in_memory=False)
    with pytest.raises(UserError, match="half.jpg cannot be used"):
        _all(loaded)
    skipped = data.load("images", data_dir=root, image_size=8, in_memory=False, bad_images="skip")
    assert "half.jpg" not in _all(skipped)


def test_damaged_zip_member(make_images, ten):
    root = make_images("photos.zip", ten)
    content = bytearray(root.read_bytes())
    at = content.find(ten["sub0/00.png"]) + 100
    content[at] ^= 0xFF
    root.write_bytes(content)
    with pytest.raises(UserError, match="sub0/00.png cannot be used"):
        data.load("images", data_dir=root, image_size=8)


@pytest.mark.parametrize(
    "where, files, message",
    [
        ("empty", {"readme.txt": b"x"}, "holds no images .png, jpg"),
        ("empty.zip", {}, "holds no images"),
        ("one", {"a.png": _encoded()}, "holds 1 usable image; two are the least"),
    ],
)
def test_too_few_images(make_images, where, files, message):
    with pytest.raises(UserError, match=message):
        data.load("images", data_dir=make_images(where, files))


def test_neither_folder_nor_zip(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        data.load("images", data_dir=tmp_path / "nothing")
    (tmp_path / "images.zip").write_bytes(b"PK but no zip")
    with pytest.raises(UserError, match="neither a folder nor a readable zip"):
        data.load("images", data_dir=tmp_path / "images.zip")


def test_linked_folders_are_followed_once(make_images, ten, tmp_path):
    root = make_images("photos", ten)
    outside = make_images("outside", {"x.png": _encoded()})
    os.symlink(outside, root / "link")
    os.symlink(root, root / "sub0" / "loop")
    assert _all(data.load("images", data_dir=root, image_size=8)).keys() == {*ten, "link/x.png"}


CELEBA_NAMES = [f"{i:06d}.jpg" for i in range(1, 7)]


def _celeba(rows):
    lines = [
        f"{name} {'1' if i % 2 else '-1'}  {'1' if i < 2 else '-1'}" for i, name in enumerate(rows)
    ]
    return "\n".join([str(len(rows)), "Male Eyeglasses", *lines, ""]).encode()


@pytest.fixture
def faces():
    images = {
        f"img_align_celeba/{name}": _encoded(seed=i, file_format="JPEG")
        for i, name in enumerate(CELEBA_NAMES)
    }
    return images | {"list_attr_celeba.txt": _celeba(CELEBA_NAMES)}


def _attributes(loaded):
    """name -> attributes of both splits."""
    return {
        os.path.basename(name): row.tolist()
        for split in (loaded.train, loaded.test)
        for name, row in zip(split.names, split.attributes, strict=True)
    }


@pytest.mark.parametrize("where", ["faces", "faces.zip"])
def test_celeba_layout(make_images, faces, where):
    loaded = data.load("images", data_dir=make_images(where, faces), image_size=8)
    assert loaded.attribute_names == ("Male", "Eyeglasses") and loaded.train.labels is None
    expected = {name: [i % 2 == 1, i < 2] for i, name in enumerate(CELEBA_NAMES)}
    assert _attributes(loaded) == expected


def test_selected_attributes(make_images, faces):
    root = make_images("faces", faces)
    loaded = data.load("images", data_dir=root, image_size=8, attributes=("Eyeglasses",))
    assert loaded.attribute_names == ("Eyeglasses",)
    assert _attributes(loaded)["000002.jpg"] == [True]
    with pytest.raises(UserError, match="no attribute 'Eyeglases'.*did you mean 'Eyeglasses'"):
        data.load("images", data_dir=root, attributes=("Eyeglases",))


def test_attribute_file_that_misses_images(make_images, faces):
    faces["list_attr_celeba.txt"] = _celeba(CELEBA_NAMES[:4])
    with pytest.raises(UserError, match="misses 2 of the 6 images .first: img_.*000005.jpg"):
        data.load("images", data_dir=make_images("faces", faces))


def test_attribute_file_about_more_images(make_images, faces, capsys):
    del faces["img_align_celeba/000003.jpg"]
    loaded = data.load("images", data_dir=make_images("faces", faces), image_size=8)
    assert len(_attributes(loaded)) == 5
    assert "also lists 1 files" in capsys.readouterr().err


def test_attributes_without_a_label_file(make_images, ten):
    with pytest.raises(UserError, match="no label file found.* has no attributes, so 'Male'"):
        data.load("images", data_dir=make_images("photos", ten), attributes=("Male",))


def _labels(loaded):
    return {
        name: loaded.class_names[label]
        for split in (loaded.train, loaded.test)
        for name, label in zip(split.names, split.labels, strict=True)
    }


def test_labels_csv_in_the_folder(make_images, ten):
    expected = {name: "odd" if i % 2 else "even" for i, name in enumerate(ten)}
    rows = [f"{name},{label},{i % 3 == 0:d}" for i, (name, label) in enumerate(expected.items())]
    text = "\n".join(["filename,label,third", *rows]).encode()
    loaded = data.load(
        "images", data_dir=make_images("p.zip", ten | {"labels.csv": text}), image_size=8
    )
    assert loaded.class_names == ("even", "odd") and loaded.train.labels.dtype == np.int32
    assert _labels(loaded) == expected
    assert loaded.attribute_names == ("third",)


def test_labels_file_elsewhere_or_named_inside(make_images, ten, tmp_path):
    text = "\n".join(["f,label", *(f"{name},{name[:4]}" for name in ten)]).encode()
    (tmp_path / "mine.csv").write_bytes(text)
    outside = data.load(
        "images",
        data_dir=make_images("photos", ten),
        image_size=8,
        labels_file=tmp_path / "mine.csv",
    )
    inside = data.load(
        "images",
        data_dir=make_images("p.zip", ten | {"meta/mine.csv": text}),
        image_size=8,
        labels_file="meta/mine.csv",
    )
    assert _labels(outside) == _labels(inside) == {name: name[:4] for name in ten}
    with pytest.raises(UserError, match="label file no.csv does not exist"):
        data.load("images", data_dir=tmp_path / "photos", labels_file="no.csv")


def test_one_subfolder_per_class(make_images, ten, capsys):
    root = make_images("photos.zip", {f"all/{name}": content for name, content in ten.items()})
    loaded = data.load("images", data_dir=root, image_size=8)
    assert loaded.class_names == ("sub0", "sub1")
    assert _labels(loaded) == {f"all/{name}": name[:4] for name in ten}
    assert "2 classes from the subfolders: sub0, sub1" in capsys.readouterr().err


def test_real_faces(shared, tmp_path):
    source = shared / "data/faces/celeba64_10k.zip"
    if not source.is_file():
        pytest.skip(f"needs {source}")
    loaded = data.load(
        "images",
        data_dir=source,
        in_memory=False,
        attributes=("Eyeglasses", "Male", "Smiling"),
    )
    assert (len(loaded.train.images), len(loaded.test.images)) == (9000, 1000)
    attributes = np.concatenate([loaded.train.attributes, loaded.test.attributes])
    assert attributes.sum(axis=0).tolist() == [674, 4217, 4822]
    with zipfile.ZipFile(source) as archive:
        for i in (0, 8999):
            with Image.open(archive.open(loaded.train.names[i])) as image:
                np.testing.assert_array_equal(loaded.train.images[i], np.asarray(image))


def test_nothing_is_written_beside_the_images(make_images, ten):
    root = make_images("photos", ten)
    before = sorted(root.rglob("*"))
    data.load("images", data_dir=root, image_size=8)
    assert sorted(root.rglob("*")) == before
