"""From encoded bytes to pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from ivg.data import resize
from ivg.errors import UserError


def _saved(image, file_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _array(data, **options):
    with resize.open_image(data) as image:
        return resize.to_array(image, **options)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (21, 30, 3), np.uint8)


def test_nothing_to_do(pixels):
    square = pixels[:21, :21]
    np.testing.assert_array_equal(_array(_saved(Image.fromarray(square)), size=21), square)


@pytest.mark.parametrize(
    "crop, box",
    [
        ("none", (0, 0, 30, 21)),
        ("square", (4, 0, 25, 21)),
        (16, (7, 2, 23, 18)),
    ],
)
def test_crop_then_bilinear(pixels, crop, box):
    expected = Image.fromarray(pixels).crop(box).resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(
        _array(_saved(Image.fromarray(pixels)), size=8, crop=crop), np.asarray(expected)
    )


def test_shrinking_averages_instead_of_picking_pixels():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    small = _array(_saved(Image.fromarray(stripes)), size=8, channels=1)
    assert small.shape == (8, 8, 1)
    assert np.abs(small.astype(int) - 127).max() < 12


def test_grey_and_colour(pixels):
    grey = _array(_saved(Image.fromarray(pixels)), size=8, channels=1)
    assert grey.shape == (8, 8, 1) and grey.dtype == np.uint8
    colour = _array(_saved(Image.fromarray(pixels[..., 0])), size=8, channels=3)
    assert colour.shape == (8, 8, 3)
    np.testing.assert_array_equal(colour[..., 0], colour[..., 1])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_becomes_white(mode):
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 2, 4))
    data = _saved(image.convert(mode)) if mode != "P" else _saved(image.quantize(4))
    out = _array(data, size=4)
    assert (out[:, :2] == 255).all()
    assert (out[:, 2:, 1] < 100).all()


def test_16_bit_grey_is_scaled_not_clipped():
    wide = (np.arange(16, dtype=np.uint16).reshape(4, 4) * 4096).astype(np.uint16)
    out = _array(_saved(Image.fromarray(wide)), size=4, channels=1)
    np.testing.assert_array_equal(out[..., 0], wide >> 8)


def test_camera_orientation(pixels):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    data = _saved(Image.fromarray(pixels), "PNG", exif=exif)
    out = _array(data, size=21, crop=21)
    turned = np.rot90(pixels, -1)
    np.testing.assert_array_equal(out, turned[4:25])


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "BMP", "GIF"])
def test_other_formats(file_format):
    image = Image.new("RGB", (9, 9), (200, 100, 50))
    out = _array(_saved(image, file_format), size=9)
    assert np.abs(out.astype(int) - [200, 100, 50]).max() < 8


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = _saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(_array(data, size=4)[0, 0], [255, 0, 0])


@pytest.mark.parametrize(
    "crop, parsed",
    [(None, 128), ("mmvae", 138), ("infovaegan", 128), ("none", "none"), ("Square", "square")]
    + [(20, 20), ("20", 20)],
)
def test_parse_crop(crop, parsed):
    assert resize.parse_crop(crop, "infovaegan") == parsed


@pytest.mark.parametrize("crop", ["round", -3, 0, 2.5, "-1"])
def test_parse_crop_rejects(crop):
    with pytest.raises(UserError, match="not understood"):
        resize.parse_crop(crop, "none")


def test_crop_larger_than_the_image(pixels):
    with pytest.raises(UserError, match="30 x 21 pixels, too small for a crop of 22 x 22"):
        _array(_saved(Image.fromarray(pixels)), size=8, crop=22)
