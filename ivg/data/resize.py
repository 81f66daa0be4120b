"""One image: from encoded bytes to uint8 pixels of the wanted size."""

import io

import numpy as np
from PIL import Image, ImageOps

from ivg.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
# Only these decoders are tried: a file's content decides, not its name.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")

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


def open_image(data: bytes) -> Image.Image:
    """Opens an encoded image without decoding its pixels; the first frame of an animation."""
    return Image.open(io.BytesIO(data), formats=_FORMATS)


def to_array(
    image: Image.Image, *, size: int, crop: int | str = "none", channels: int = 3
) -> np.ndarray:
    """Turns upright, crops, flattens and resizes an image: uint8 [size, size, channels].

    Args:
        image: any mode; transparent parts become white, 16-bit grey keeps its upper 8 bits, and
            a camera's orientation mark (EXIF) is applied.
        size: side of the result, in pixels.
        crop: as `parse_crop` returns it.
        channels: 1 (grey) or 3 (red, green, blue).

    Raises:
        UserError: the image is smaller than a crop that is given in pixels.
    """
    image = _centre_crop(ImageOps.exif_transpose(image), crop)
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
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    """Converts to 8-bit `mode` ("L" or "RGB"), laid over white where it is transparent."""
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it at 255
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == mode else image.convert(mode)
