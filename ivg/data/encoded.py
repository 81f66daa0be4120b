"""Encoded images: what can be known of one before its pixels are made.

The plugins of Pillow are called by their classes, because `Image.open` warns of large images where
a refusal is wanted, and reads EXIF with warnings of its own: filters of warnings are global, which
decoding threads cannot use.
"""

import io
import re
import struct
import zlib

from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin
from PIL import WebPImagePlugin as WebP

from ivg.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
MAX_PIXELS = 2**26  # 8192 x 8192, below what Pillow warns of; decoded 256 MiB, and as much for work
# A progressive JPEG of few bytes can ask for any number of passes over all pixels; usual are 10.
MAX_SCANS = 100

_PNG = b"\x89PNG\r\n\x1a\n"
# Beginning -> class; a WebP's is that of a RIFF file.
_KINDS = {
    _PNG: PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"RIFF": WebP.WebPImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"GIF87a": GifImagePlugin.GifImageFile,
    b"GIF89a": GifImagePlugin.GifImageFile,
}
_ORIENTATION, _SHORT = 0x0112, 3
# In the coded pixels of a JPEG 0xff is followed by 0, or by the number of a restart.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def open_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Opens an encoded image without decoding its pixels; the first frame of an animation.

    The content decides about the kind, not a name. Of a PNG all checksums are compared.

    Raises:
        UserError: it would have more than `max_pixels`, or is a JPEG of more than `MAX_SCANS`
            passes.
        Exception: whatever Pillow and the checks raise on what is damaged or no image.
    """
    kinds = [kind for start, kind in _KINDS.items() if data.startswith(start)]
    if not kinds:
        raise ValueError("none of the known kinds")
    exif = b""
    if data.startswith(_PNG):
        _check_png(data)
    elif data.startswith(b"\xff\xd8"):
        data, exif = _check_jpeg(data)
    image = kinds[0](io.BytesIO(data))
    if image.width * image.height > max_pixels:
        image.close()
        raise UserError(
            f"the image has {image.width} x {image.height} pixels; up to {max_pixels // 10**6} "
            "million are read: make it smaller"
        )
    if exif:
        image.info["exif"] = exif
    if image.format == "PNG":
        _fit_transparency(image, bits=data[len(_PNG) + 16])
    return image


def orientation(image: Image.Image) -> int:
    """The camera's mark, 1 to 8: EXIF's tag in the first directory; 1 where none can be read."""
    exif, profile = image.info.get("exif", b""), image.info.get("Raw profile type exif")
    try:
        if not exif and profile:  # as old programs wrote it into PNGs: three lines, then digits
            exif = bytes.fromhex("".join(profile.split("\n")[3:]))
        exif = exif.removeprefix(b"Exif\0\0")
        order = ">" if exif[:2] == b"MM" else "<"
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for place in range(count):
            entry = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * place)
            if entry[:2] == (_ORIENTATION, _SHORT):
                return entry[3]
    except (struct.error, ValueError):  # damaged, or none
        pass
    return 1


def _check_png(data: bytes) -> None:
    """Raises unless every chunk is there and has its checksum, which Pillow reads of some only."""
    view, at, animations = memoryview(data), len(_PNG), 0
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(view[at + 4 : at + 8 + length]) != checksum:
            raise ValueError("a checksum is wrong")
        if kind == b"acTL":  # how many frames; Pillow warns of what it cannot use
            animations += 1
            if animations > 1 or not 0 < struct.unpack_from(">I", data, at + 8)[0] <= 2**31:
                raise ValueError("the animation is damaged")
        if kind == b"IEND":
            return
        at += 12 + length


def _fit_transparency(image: Image.Image, *, bits: int) -> None:
    """Pillow widens or narrows pixels to 8 bits, but not the one value that is transparent."""
    value = image.info.get("transparency")
    if image.mode == "L" and bits < 8 and isinstance(value, int):
        image.info["transparency"] = value * 255 // (2**bits - 1)
    if image.mode == "RGB" and bits == 16 and isinstance(value, tuple):
        image.info["transparency"] = tuple(channel >> 8 for channel in value)


def _check_jpeg(data: bytes) -> tuple[bytes, bytes]:
    """The same without EXIF, which Pillow would read and perhaps warn of, and the EXIF.

    Raises:
        UserError: the first image has too many scans.
    """
    at, scans, found = 2, 0, []
    while match := _MARKER.search(data, at):
        marker, at = data[match.end() - 1], match.end()
        if marker == 0xD9:  # its end; cameras append more pictures, or films
            break
        if marker in (0x01, 0xD8):  # no length follows
            continue
        end = at + int.from_bytes(data[at : at + 2], "big")
        if marker == 0xE1 and data.startswith(b"Exif\0\0", at + 2):
            found.append(slice(at + 2, end))
        scans += marker == 0xDA
        if scans > MAX_SCANS:
            raise UserError(f"a JPEG of more than {MAX_SCANS} scans: save it again")
        at = end
    if not found:
        return data, b""
    blank = bytearray(data)
    for part in found:
        blank[part.start] = 0
    return bytes(blank), data[found[0]]
