"""Images as the page shows and saves them, and uploads as the model takes them. No Gradio here."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ivg.data import resize
from ivg.errors import UserError

SIDE = 512  # pixels of the large image, at least where the image is enlarged by a whole factor
TILE = 96  # of an image of a strip
MOVING = 192  # of an animation
GAP = 4  # between the images of a strip
FRAME = 90  # milliseconds of a frame of an animation
FRAMES = 19  # of an animation one way
EVERY = 2  # so many frames for one image of the strip
MOST_PIXELS = 50_000_000  # of an upload; a camera's image has 12 to 50 million
MOST_BYTES = 20_000_000  # of an upload


def enlarge(images: np.ndarray, side: int) -> np.ndarray:
    """uint8 [..., H, W, C] with every pixel repeated by the whole factor that comes near `side`."""
    times = max(1, round(side / images.shape[-3]))
    return images.repeat(times, axis=-3).repeat(times, axis=-2)


def png(image: np.ndarray) -> bytes:
    """A uint8 image [H, W, 1 or 3] as PNG."""
    return _encoded(_image(image), "PNG", compress_level=2)


def gif(images: np.ndarray, side: int = MOVING) -> bytes:
    """Frames uint8 [n, H, W, 1 or 3] as an animation there and back, without end, enlarged."""
    there_and_back = np.concatenate([images, images[-2:0:-1]]) if len(images) > 2 else images
    # Colours are reduced, to 256 of its own for each frame, before a pixel becomes many.
    frames = [_image(image).convert("RGB").quantize(256) for image in there_and_back]
    times = max(1, round(side / images.shape[1]))
    size = (images.shape[2] * times, images.shape[1] * times)
    frames = [frame.resize(size, Image.Resampling.NEAREST) for frame in frames]
    more = {"save_all": True, "append_images": frames[1:], "duration": FRAME, "loop": 0}
    return _encoded(frames[0], "GIF", **more)


def strip(images: np.ndarray, tile: int = TILE) -> np.ndarray:
    """Images uint8 [n, H, W, C] side by side, enlarged, white between them: [h, w, C]."""
    large = enlarge(images, tile)
    n, height, width, channels = large.shape
    paper = np.full((height, n * (width + GAP) - GAP, channels), 255, np.uint8)
    for i, image in enumerate(large):
        paper[:, i * (width + GAP) : i * (width + GAP) + width] = image
    return paper


def _image(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# ---- uploads ------------------------------------------------------------------------------------


def read_upload(data: bytes, shape: Sequence[int], crop: int | str = "square") -> np.ndarray:
    """An encoded image of any size and mode as the model takes it: uint8 [H, W, C].

    It is turned upright, cropped, laid over white where it is transparent and resized, as the
    images of a folder are.

    Args:
        data: the file.
        shape: (H, W, C) of the model's images.
        crop: as `ivg.data.resize.parse_crop` returns it.

    Raises:
        UserError: too large, damaged or no image.
    """
    if len(data) > MOST_BYTES:
        raise UserError(
            f"The file has {len(data) / 1e6:.0f} MB; images of up to {MOST_BYTES / 1e6:.0f} MB are "
            "read."
        )
    kinds = ", ".join(suffix[1:] for suffix in resize.SUFFIXES)
    try:
        with resize.open_image(data, max_pixels=MOST_PIXELS) as image:
            return np.array(resize.to_array(image, size=shape[0], crop=crop, channels=shape[2]))
    except UserError:
        raise
    except Exception as error:  # Pillow raises nearly anything on damaged bytes
        raise UserError(
            f"The file is damaged or no image of a kind that is read ({kinds})."
        ) from error


# ---- HTML ---------------------------------------------------------------------------------------


def uri(data: bytes) -> str:
    """PNG or GIF as an address that needs no server."""
    kind = "gif" if data[:3] == b"GIF" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def large(image: np.ndarray, name: str, words: str) -> str:
    """The large image with a link that saves it.

    Args:
        image: uint8 [H, W, C].
        name: of the saved file, without its suffix.
        words: for those who do not see it.
    """
    address = uri(png(enlarge(image, SIDE)))
    return (
        f'<figure class="ivg-large"><img src="{address}" alt="{html.escape(words)}">'
        f"<figcaption>{link(address, name + '.png', 'Save PNG')}</figcaption></figure>"
    )


def small(image: np.ndarray, words: str) -> str:
    """An image with words below it."""
    address = uri(png(enlarge(image, TILE)))
    words = html.escape(words)
    return (
        f'<figure class="ivg-small"><img src="{address}" alt="{words}">'
        f"<figcaption>{words}</figcaption></figure>"
    )


def row(frames: np.ndarray, name: str, words: str, every: int = EVERY) -> str:
    """A strip of some frames, the animation of all of them, and links that save both.

    Args:
        frames: uint8 [n, H, W, C].
        name: of the saved files, without their suffix.
        words: for those who do not see them.
        every: so many frames for one image of the strip.
    """
    images = frames[::every]
    whole, moving = uri(png(strip(images))), uri(gif(frames))
    still, words = uri(png(enlarge(images[0], MOVING))), html.escape(words)
    tiles = "".join(
        f'<img src="{uri(png(image))}" alt="{words}, {i + 1} of {len(images)}">'
        for i, image in enumerate(images)
    )
    # Who asked the system for less motion gets the animation only as a file.
    return (
        '<div class="ivg-row"><picture><source media="(prefers-reduced-motion: reduce)" '
        f'srcset="{still}"><img class="ivg-moving" src="{moving}" alt="{words}, moving"></picture>'
        f'<div class="ivg-strip">{tiles}</div>'
        f"<p>{link(whole, name + '.png', 'Save PNG')}{link(moving, name + '.gif', 'Save GIF')}</p>"
        "</div>"
    )


def choices(images: np.ndarray, words: str) -> str:
    """Images as buttons, numbered from 0 in data-number, below some words."""
    buttons = "".join(
        f'<button type="button" data-number="{i}" aria-pressed="false">'
        f'<img src="{uri(png(image))}" alt="test image {i + 1}"></button>'
        for i, image in enumerate(images)
    )
    return f'<p>{html.escape(words)}</p><div role="group">{buttons}</div>'


def link(address: str, name: str, words: str) -> str:
    """A link that saves what it leads to."""
    return f'<a class="ivg-save" download="{html.escape(name)}" href="{address}">{words}</a>'
