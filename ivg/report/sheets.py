"""Images as they stand inside of a page: many on one sheet, the sheet a data URI."""

import base64
import io
from typing import NamedTuple

import numpy as np
from PIL import Image, features

EXACT_BELOW = 32  # pixels: smaller images are enlarged so much that every pixel counts
QUALITY = 90  # of lossy WebP; at 64 pixels, shown at four times the size, nothing is to be seen


class Sheet(NamedTuple):
    """Tiles of one size, row by row.

    uri: of the picture, "data:image/...".
    columns, rows: tiles.
    """

    uri: str
    columns: int
    rows: int


def sheet(images: np.ndarray, columns: int) -> Sheet:
    """Images uint8 [N, H, W, 1 or 3] row by row on one sheet; places left over stay black."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    empty = np.zeros((rows * columns - len(images), *images.shape[1:]), np.uint8)
    tiles = np.concatenate([images, empty]).reshape(rows, columns, *images.shape[1:])
    height, width, channels = images.shape[1:]
    picture = tiles.swapaxes(1, 2).reshape(rows * height, columns * width, channels)
    return Sheet(data_uri(picture, lossless=max(height, width) < EXACT_BELOW), columns, rows)


def data_uri(picture: np.ndarray, *, lossless: bool) -> str:
    """The smallest of PNG and WebP, which is lossy only where it may be: uint8 [H, W, 1 or 3]."""
    grey = picture.shape[-1] == 1
    image = Image.fromarray(picture[..., 0] if grey else picture)
    ways = [("png", {"optimize": True})]
    if features.check("webp") and max(picture.shape[:2]) < 16_000:  # its format's own limit
        ways.append(("webp", {"lossless": True, "quality": 60, "method": 3}))
        if not lossless:
            ways = [ways[0], ("webp", {"quality": QUALITY, "method": 4, "use_sharp_yuv": True})]
    kind, data = min(
        ((kind, _bytes(image, kind, options)) for kind, options in ways), key=lambda w: len(w[1])
    )
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _bytes(image: Image.Image, kind: str, options: dict) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def thumb(shape: tuple[int, ...]) -> int:
    """How wide to show one of many images."""
    return side(shape, 64 if max(shape[:2]) >= EXACT_BELOW else 56)


def side(shape: tuple[int, ...], wanted: int) -> int:
    """How wide to show an image of `shape` (H, W, ...): a whole multiple of its width, if small."""
    width = max(shape[:2])
    return width * max(1, round(wanted / width)) if width <= wanted else wanted
