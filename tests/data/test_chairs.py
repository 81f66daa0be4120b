"""3D Chairs from an extracted folder: a synthetic one, and one made of "rendered chairs (ours)"."""

import io

import numpy as np
import pytest
from PIL import Image

from ivg import data
from ivg.data import batches
from ivg.data.decode import LazyImages
from ivg.errors import UserError


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _path(chair, view, elevation=20, azimuth=11):
    name = f"image_{view:03d}_p{elevation:03d}_t{azimuth:03d}_r096.png"
    return f"rendered_chairs/{chair}/renders/{name}"


def _chair(number):
    """600 x 600 on white: a red frame outside the centre 400, a grey block of its own inside."""
    pixels = np.full((600, 600, 3), 255, np.uint8)
    pixels[95:100] = pixels[500:505] = [255, 0, 0]
    pixels[:, 95:100] = pixels[:, 500:505] = [255, 0, 0]
    pixels[150:350, 250:450] = 10 * number
    return pixels


@pytest.fixture
def twelve():
    """Twelve views, two of each of six chairs, and what else lies in the archive's folder."""
    views = {_path(f"c{i // 2}", i % 2): _png(_chair(i)) for i in range(12)}
    return views | {
        "rendered_chairs/all_chair_names.mat": b"MATLAB",
        "rendered_chairs/c0/renders/contact_sheet.png": b"no render",
        "rendered_chairs/c0/skp.txt": b"text",
    }


def _all(loaded):
    splits = (loaded.train, loaded.test)
    images = np.concatenate([batches.take(s.images, range(len(s.images))) for s in splits])
    names = [name for split in splits for name in split.names]
    order = np.argsort(names)
    return [names[i] for i in order], images[order]


@pytest.mark.parametrize("where, subfolder", [("files", ""), ("files", "rendered_chairs"),
                                              ("files.zip", "")])  # fmt: skip
@pytest.mark.parametrize("in_memory", [True, False])
def test_cropped_first_then_resized(make_images, twelve, where, subfolder, in_memory):
    root = make_images(where, twelve) / subfolder
    loaded = data.load("chairs", data_dir=root, in_memory=in_memory)
    assert loaded.image_shape == (64, 64, 1) and loaded.train.labels is None
    assert isinstance(loaded.train.images, LazyImages) != in_memory
    assert len(loaded.train.images) == 10 and len(loaded.test.images) == 2
    names, images = _all(loaded)
    prefix = "" if subfolder else "rendered_chairs/"
    assert names[:2] == [f"{prefix}c0/renders/image_00{v}_p020_t011_r096.png" for v in range(2)]
    assert (images[:, 0] == 255).all() and (images[:, :, -1] == 255).all()  # white, no red frame
    for number, image in enumerate(images):
        middle = _chair(number)[100:500, 100:500, 0]
        expected = Image.fromarray(middle).resize((64, 64), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image[..., 0], np.asarray(expected))
        # Columns 250-449 and rows 150-349 of 600, after the crop: 24-55 and 8-39 of 64.
        assert (image[9:39, 25:55] == 10 * number).all()


def test_chairs_stay_whole_in_the_split(make_images, twelve):
    root = make_images("files", twelve)
    splits = {}
    for seed in range(4):
        loaded = data.load("chairs", data_dir=root, image_size=8, test_fraction=0.4, seed=seed)
        train, test = ({name.split("/")[1] for name in split.names}
                       for split in (loaded.train, loaded.test))  # fmt: skip
        assert len(test) == 2 and train | test == {f"c{i}" for i in range(6)}
        assert not train & test and loaded.train.names == tuple(sorted(loaded.train.names))
        splits[seed] = frozenset(test)
    assert len(set(splits.values())) > 1


def test_other_crops_sizes_and_channels(make_images, twelve):
    root = make_images("files", twelve)
    whole = data.load("chairs", data_dir=root, crop="none", channels=3, image_size=120)
    assert whole.image_shape == (120, 120, 3)
    red, green, blue = whole.train.images[0][19, 50]  # of the frame, 95-99 of 600
    assert red == 255 and green == blue < 100
    named = data.load("chairs", data_dir=root, crop="infovaegan").train.images
    np.testing.assert_array_equal(named, data.load("chairs", data_dir=root, crop=300).train.images)
    with pytest.raises(UserError, match="'mmvae' is one of CelebA"):
        data.load("chairs", data_dir=root, crop="mmvae")
    with pytest.raises(UserError, match="chairs has no attributes"):
        data.load("chairs", data_dir=root, attributes=("Male",))


def test_transparent_is_white(make_images):
    pixels = np.zeros((600, 600, 4), np.uint8)
    pixels[200:400, 200:400] = [0, 0, 0, 255]
    root = make_images("files", {_path(f"c{i}", 0): _png(pixels) for i in range(2)})
    image = data.load("chairs", data_dir=root).train.images[0]
    assert image[0, 0] == 255 and image[32, 32] == 0


@pytest.mark.parametrize(
    "files, message",
    [
        ({"a/b.png": b"", "all_chair_names.mat": b""}, "no renders of 3D Chairs.*extract"),
        ({_path("c0", 0): b"", _path("c0", 1): b""}, "one chair only"),
        ({_path("c0", 0): b"", _path("c1", 1): b"no png"}, r"c[01]/renders/.* cannot be used"),
        ({_path(f"c{i}", 0): _png(np.zeros((64, 64), np.uint8)) for i in range(2)},
         "64 x 64 pixels, too small for a crop of 400"),
    ],
)  # fmt: skip
def test_wrong_files(make_images, files, message):
    with pytest.raises(UserError, match=message):
        data.load("chairs", data_dir=make_images("files", files))


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="'chairs' needs --config.data.dir: the folder rendered_c"):
        data.load("chairs")
    with pytest.raises(UserError, match="nowhere does not exist"):
        data.load("chairs", data_dir=tmp_path / "nowhere")


def test_stand_in_of_rendered_chairs(shared, make_images):
    """ "Rendered chairs (ours)" in the archive's layout come back as they were."""
    source = shared / "data/chairs/modelnet10_chairs_62views_64.npz"
    if not source.is_file():
        pytest.skip(f"needs {source}")
    with np.load(source) as arrays:
        images, chair = arrays["images"][: 62 * 4], arrays["chair"]
        elevation, azimuth = arrays["elevation"], arrays["azimuth_index"]
    files, views = {}, {}
    for i in range(0, len(images), 8):
        canvas = Image.new("L", (600, 600), 255)
        canvas.paste(Image.fromarray(images[i]).resize((400, 400)), (100, 100))
        path = _path(f"ours{chair[i]}", i % 62, elevation[i], azimuth[i] * 360 // 31)
        files[path], views[path] = _png(np.asarray(canvas)), images[i]
    loaded = data.load("chairs", data_dir=make_images("rendered chairs (ours)", files))
    names, found = _all(loaded)
    assert names == sorted(files) and found.shape == (31, 64, 64, 1)
    expected = np.stack([views[name] for name in names]).astype(float)
    difference = abs(found[..., 0] - expected).mean((1, 2))
    # Enlarging and shrinking again blurs; another view, or another crop, is farther away.
    assert difference.max() < 5
    others = abs(found[..., 0] - np.roll(expected, 1, axis=0)).mean((1, 2))
    assert (others > difference).all() and expected[:, 0, 0].min() == 255
