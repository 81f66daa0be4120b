"""Encoded images for the fault tests: those that must be read, with their pixels, and bad ones.

The pixels of the good ones come from the numbers that were encoded, not from a decoder. PNGs of the
rarer kinds are written here by hand.
"""

import functools
import io
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

SIDE = 16


class Good(NamedTuple):
    """An encoded image, its usual suffix, its pixels uint8 [H, W, 3], and how exact they are."""

    data: bytes
    suffix: str
    pixels: np.ndarray
    tolerance: float = 0  # of the mean difference: 0 for what is stored without loss


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int, colour: int, raw: bytes, *extra: bytes) -> bytes:
    """A PNG of raw rows (without their filter bytes); `extra` chunks come before the pixels."""
    stride = len(raw) // height
    rows = b"".join(b"\0" + raw[y * stride : (y + 1) * stride] for y in range(height))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    parts = [head, *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def noise(rng, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, (SIDE, SIDE, *shape), np.uint8)


def smooth(rng) -> np.ndarray:
    """uint8 [SIDE, SIDE, 3] that lossy kinds keep well."""
    ramp = np.linspace(0, 1, SIDE)
    weights = rng.uniform(60, 127, (2, 1, 1, 3))
    return (weights[0] * ramp[:, None, None] + weights[1] * ramp[None, :, None]).astype(np.uint8)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, -1)


def over_white(colour: np.ndarray, visible: np.ndarray) -> np.ndarray:
    return np.where(visible[..., None], colour, np.uint8(255))


# ---- kinds that are read ------------------------------------------------------------------------


def _rgb(rng, kind, suffix, **options):
    pixels = noise(rng, 3)
    return Good(saved(Image.fromarray(pixels), kind, **options), suffix, pixels)


def _grey(rng):
    values = noise(rng)
    return Good(saved(Image.fromarray(values), "PNG"), ".png", grey(values))


def _one_bit(rng):
    values = rng.random((SIDE, SIDE)) < 0.5
    return Good(saved(Image.fromarray(values), "PNG"), ".png", grey(values.astype(np.uint8) * 255))


def _few_bits(rng):
    """Two bits of grey, one of the four values transparent."""
    values = rng.integers(0, 4, (SIDE, SIDE)).astype(np.uint8)
    raw = np.packbits(np.unpackbits(values[..., None], axis=-1)[..., 6:].ravel()).tobytes()
    data = png(SIDE, SIDE, 2, 0, raw, chunk(b"tRNS", struct.pack(">H", 1)))
    return Good(data, ".png", over_white(grey(values * 85), values != 1))


def _palette(rng):
    image = Image.fromarray(rng.integers(0, 7, (SIDE, SIDE)).astype(np.uint8)).convert("P")
    table = rng.integers(0, 256, (7, 3), np.uint8)
    image.putpalette(table.tobytes())
    alpha = bytes([255, 0, 255, 0, 255, 255, 255])
    pixels = over_white(table[np.asarray(image)], np.isin(np.asarray(image), [1, 3], invert=True))
    return Good(saved(image, "PNG", transparency=alpha), ".png", pixels)


def _grey_alpha(rng):
    values, visible = noise(rng), rng.random((SIDE, SIDE)) < 0.5
    image = Image.fromarray(np.stack([values, visible * np.uint8(255)], -1), "LA")
    return Good(saved(image, "PNG"), ".png", over_white(grey(values), visible))


def _alpha(rng, kind="PNG", suffix=".png", **options):
    pixels, visible = noise(rng, 3), rng.random((SIDE, SIDE)) < 0.5
    image = Image.fromarray(np.dstack([pixels, visible * np.uint8(255)]))
    return Good(saved(image, kind, **options), suffix, over_white(pixels, visible))


def _grey_16(rng):
    values = rng.integers(0, 65536, (SIDE, SIDE)).astype(">u2")
    one = int(values[3, 4])
    data = png(SIDE, SIDE, 16, 0, values.tobytes(), chunk(b"tRNS", struct.pack(">H", one)))
    pixels = over_white(grey((values >> 8).astype(np.uint8)), values != one)
    return Good(data, ".png", pixels)


def _colour_16(rng):
    values = rng.integers(0, 65536, (SIDE, SIDE, 3)).astype(">u2")
    return Good(png(SIDE, SIDE, 16, 2, values.tobytes()), ".png", (values >> 8).astype(np.uint8))


def _animated(rng, kind, suffix, **options):
    frames = [Image.fromarray(noise(rng, 3)) for _ in range(3)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    return Good(data, suffix, np.asarray(frames[0]))


def _gif(rng):
    values = rng.integers(0, 9, (SIDE, SIDE)).astype(np.uint8) * 28
    frames = [Image.fromarray(v) for v in (values, 255 - values)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    return Good(data, ".gif", grey(values))


def _jpeg(rng, **options):
    pixels = smooth(rng)
    data = saved(Image.fromarray(pixels), "JPEG", quality=95, subsampling=0, **options)
    return Good(data, ".jpg", pixels, 4)


def _jpeg_grey(rng):
    values = smooth(rng)[..., 0]
    return Good(saved(Image.fromarray(values), "JPEG", quality=95), ".jpeg", grey(values), 4)


def _cmyk(rng):
    """Pillow writes it as Adobe does, inverted."""
    pixels = smooth(rng)
    inks = np.dstack([255 - pixels, np.zeros((SIDE, SIDE), np.uint8)])
    return Good(saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=95), ".jpg", pixels, 4)


def _turned(rng, number, back):
    exif = Image.Exif()
    exif[0x0112] = number
    found = _jpeg(rng, exif=exif)
    return found._replace(pixels=back(found.pixels))


def _profile(rng):
    """A colour profile, which is not applied, and one that is damaged."""
    pixels = noise(rng, 3)
    data = saved(Image.fromarray(pixels), "PNG", icc_profile=rng.bytes(300))
    return Good(data, ".png", pixels)


def _bad_exif(rng):
    """EXIF whose entries point nowhere: the image is whole."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05" + rng.bytes(40)
    return _jpeg(rng, exif=exif)


def _followed(rng):
    """A JPEG with another picture, and much else, behind it, as telephones write them."""
    found = _jpeg(rng)
    return found._replace(data=found.data + found.data + b"\xff\xda" * 500 + rng.bytes(2000))


def _flat(rng):
    """One colour: an image of any size and shape has it after the resizing, too."""
    width, height = (
        (1, 1),
        (1, 3000),
        (4000, 2),
        (int(rng.integers(1, 90)), int(rng.integers(1, 90))),
    )[rng.integers(4)]
    colour = rng.integers(0, 256, 3, np.uint8)
    image = Image.new("RGB", (width, height), tuple(colour.tolist()))
    return Good(saved(image, "PNG"), ".png", np.broadcast_to(colour, (SIDE, SIDE, 3)))


def _misnamed(rng):
    return _rgb(rng, "PNG", (".jpg", ".JPG", ".Gif", ".webp", ".bmp")[rng.integers(5)])


GOOD: dict[str, Callable[[np.random.Generator], Good]] = {
    "PNG": lambda rng: _rgb(rng, "PNG", ".PNG"),
    "grey": _grey,
    "1 bit": _one_bit,
    "2 bits, a transparent value": _few_bits,
    "palette, transparent": _palette,
    "grey and alpha": _grey_alpha,
    "alpha": _alpha,
    "16 bits grey, a transparent value": _grey_16,
    "16 bits colour": _colour_16,
    "animated PNG": lambda rng: _animated(rng, "PNG", ".png"),
    "animated GIF": _gif,
    "animated WebP": lambda rng: _animated(rng, "WEBP", ".webp", lossless=True),
    "WebP": lambda rng: _rgb(rng, "WEBP", ".webp", lossless=True),
    "WebP, alpha": lambda rng: _alpha(rng, "WEBP", ".webp", lossless=True, exact=True),
    "BMP": lambda rng: _rgb(rng, "BMP", ".bmp"),
    "JPEG": _jpeg,
    "progressive JPEG": lambda rng: _jpeg(rng, progressive=True),
    "grey JPEG": _jpeg_grey,
    "CMYK JPEG": _cmyk,
    "turned by 6": lambda rng: _turned(rng, 6, lambda x: np.rot90(x, -1)),
    "turned by 3": lambda rng: _turned(rng, 3, lambda x: x[::-1, ::-1]),
    "colour profile": _profile,
    "damaged EXIF": _bad_exif,
    "pictures behind it": _followed,
    "any size": _flat,
    "wrong suffix": _misnamed,
}


# ---- kinds that are refused ---------------------------------------------------------------------


def _truncated(rng, kind, suffix):
    data = saved(Image.fromarray(noise(rng, 3)), kind)
    return data[: int(rng.integers(1, len(data) * 9 // 10))], suffix


def _flipped_png(rng):
    """In the pixels or the header: their checksums tell."""
    data = bytearray(saved(Image.fromarray(smooth(rng)), "PNG"))
    data[int(rng.integers(8, len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(data), ".png"


def _claims(rng):
    """A header that claims more pixels than are read; there are none behind it."""
    side = int(rng.integers(8200, 60000))
    return (
        (png(side, side, 8, 2, bytes(side)), ".png"),
        (b"GIF89a" + struct.pack("<HH", side, 65535) + b"\0\0\0;", ".gif"),
        (
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 0, 0, 54, 40, side, -side, 1, 24, *[0] * 6),
            ".bmp",
        ),
        (_webp_of_size(16383, 16383), ".webp"),
        (_jpeg_of_size(65500, side), ".jpg"),
    )[rng.integers(5)]


def _webp_of_size(width: int, height: int) -> bytes:
    """A lossless WebP's header: one byte, then 14 bits each of width and height less one."""
    body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(40)
    packed = b"WEBPVP8L" + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return b"RIFF" + struct.pack("<I", len(packed)) + packed


def _jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(saved(Image.new("RGB", (16, 16)), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@functools.cache
def bomb(side: int = 30000) -> bytes:
    """A whole PNG of few bytes whose pixels fill memory: 1 bit each, all alike."""
    packer, stride = zlib.compressobj(9), 1 + (side + 7) // 8
    rows = b"".join(packer.compress(bytes(stride)) for _ in range(side)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@functools.cache
def text_bomb() -> bytes:
    """A small image with 100 MB of compressed text."""
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000)))
    return png(2, 2, 8, 0, bytes(4), text)


@functools.cache
def scan_bomb(side: int = 3000, scans: int = 3000) -> bytes:
    """A progressive JPEG whose last pass comes thousands of times: minutes, if it were followed."""
    data = saved(Image.new("L", (side, side)), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + data[-2:]


def animation_bomb(rng) -> bytes:
    """A PNG that promises no frame, or 4 billion; it is what Pillow would warn of."""
    head = chunk(b"acTL", struct.pack(">II", (0, 2**32 - 1)[rng.integers(2)], 0))
    return png(2, 2, 8, 0, bytes(4), head)


BAD: dict[str, Callable[[np.random.Generator], tuple[bytes, str]]] = {
    "empty": lambda rng: (b"", ".png"),
    "text": lambda rng: (b"I am no image.\n" * 9, (".png", ".jpg", ".gif")[rng.integers(3)]),
    "random bytes": lambda rng: (rng.bytes(500), ".webp"),
    "only the beginning": lambda rng: (b"\x89PNG\r\n\x1a\n", ".png"),
    "no suffix": lambda rng: (GOOD["PNG"](rng).data, ""),
    "another suffix": lambda rng: (
        GOOD["PNG"](rng).data,
        (".pdf", ".tiff", ".npy")[rng.integers(3)],
    ),
    "truncated PNG": lambda rng: _truncated(rng, "PNG", ".png"),
    "truncated JPEG": lambda rng: _truncated(rng, "JPEG", ".jpg"),
    "truncated BMP": lambda rng: _truncated(rng, "BMP", ".bmp"),
    "truncated WebP": lambda rng: _truncated(rng, "WEBP", ".webp"),
    "flipped bit in a PNG": _flipped_png,
    "claims many pixels": _claims,
    "has many pixels": lambda rng: (bomb(), ".png"),
    "much text": lambda rng: (text_bomb(), ".png"),
    "many passes": lambda rng: (scan_bomb(), ".jpg"),
    "animation of no frames": lambda rng: (animation_bomb(rng), ".png"),
    "nested zip": lambda rng: (b"PK\3\4" + rng.bytes(200), ".zip"),
}


def flipped(rng) -> tuple[bytes, str]:
    """Of kinds without a checksum: an image of other pixels, or none."""
    kind, suffix = (("JPEG", ".jpg"), ("WEBP", ".webp"), ("BMP", ".bmp"), ("GIF", ".gif"))[
        rng.integers(4)
    ]
    data = bytearray(saved(Image.fromarray(smooth(rng)), kind))
    for _ in range(int(rng.integers(1, 4))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(data), suffix
