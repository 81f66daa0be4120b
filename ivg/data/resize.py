"""One image: from encoded bytes to uint8 pixels of the wanted size."""

import numpy as np
from PIL import Image

from ivg.data import encoded
from ivg.data.encoded import SUFFIXES, open_image
from ivg.errors import UserError

__all__ = [
    "NAMED_CROPS",
    "SUFFIXES",
    "check_crop",
    "open_image",
    "parse_crop",
    "resize",
    "to_array",
]

# What turns an image upright, by EXIF's number.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Centre crops of the aligned 178 x 218 CelebA images, in pixels, by the method that uses them.
# InfoVAEGAN: rows 45 to 172, columns 25 to 152.
NAMED_CROPS = {"infovaegan": 128, "mmvae": 138}


def parse_crop(crop: int | str | None, default: int | str) -> int | str:
    """Resolves the option `crop` to pixels, "square" or "none".

    Args:
        crop: pixels (also as a string), a name of `NAMED_CROPS`, "square" (the largest centre
            square), "none" (the whole image, its aspect ratio not kept), or None for `default`.
        default: the data set's own crop, written the same way.

    Raises:
        UserError: anything else.

    Examples:
        >>> from ivg.data.resize import parse_crop
        >>> parse_crop("mmvae", "none"), parse_crop("64", "none"), parse_crop(None, "square")
        (138, 64, 'square')
    """
    value = default if crop is None else crop
    if isinstance(value, str):
        value = value.lower()
        value = int(value) if value.isdecimal() else NAMED_CROPS.get(value, value)
    if value in ("square", "none") or (isinstance(value, int) and value > 0):
        return value
    raise UserError(
        f"crop {crop!r} is not understood: give a number of pixels, 'square' (largest centre "
        f"square), 'none' (whole image), or one of {', '.join(map(repr, NAMED_CROPS))}."
    )


def to_array(
    image: Image.Image, *, size: int, crop: int | str = "none", channels: int = 3
) -> np.ndarray:
    """Turns upright, crops, flattens and resizes an image: uint8 [size, size, channels].

    Args:
        image: as opened, of any mode: palettes, CMYK, grey and 1-bit become `channels`; transparent
            parts white; 16 bits a channel keep the upper 8. A camera's orientation mark (EXIF) is
            applied, a colour profile (ICC) is not.
        size: side of the result, in pixels.
        crop: as `parse_crop` returns it.
        channels: 1 (grey) or 3 (red, green, blue).

    Raises:
        UserError: the image is smaller than a crop that is given in pixels.
    """
    image.load()  # some write the mark after the pixels
    turn = _TURNS.get(encoded.orientation(image))
    image = _centre_crop(image if turn is None else image.transpose(turn), crop)
    image = resize(_flatten(image, "L" if channels == 1 else "RGB"), size)
    pixels = np.asarray(image)
    return pixels[..., None] if channels == 1 else pixels


def resize(image: Image.Image, size: int) -> Image.Image:
    """Bilinear resize to size x size; Pillow widens the filter when shrinking (no aliasing)."""
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BILINEAR)


def check_crop(image_size: tuple[int, int], crop: int | str) -> None:
    """Raises a UserError if an image of (width, height) is too small for `crop`."""
    if isinstance(crop, int) and crop > min(image_size):
        width, height = image_size
        raise UserError(
            f"the image is {width} x {height} pixels, too small for a crop of {crop} x {crop}"
        )


def _centre_crop(image: Image.Image, crop: int | str) -> Image.Image:
    if crop == "none":
        return image
    check_crop(image.size, crop)
    width, height = image.size
    side = min(width, height) if crop == "square" else int(crop)
    if width == height == side:  # no copy, which a large image has better use for
        return image
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    """Converts to 8-bit `mode` ("L" or "RGB"), laid over white where it is transparent."""
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it at 255
        wide, transparent = np.asarray(image), image.info.get("transparency")
        narrow = (np.clip(wide, 0, 65535) >> 8).astype(np.uint8)
        if isinstance(transparent, int):  # one of the 65,536 values stands for it
            narrow[wide == transparent] = 255
        image = Image.fromarray(narrow)
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == mode else image.convert(mode)
