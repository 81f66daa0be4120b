"""Data sets as uint8 images with labels or attributes: `load` one, then read it by `batches`."""

import os
import pathlib
from collections.abc import Callable, Sequence

from ivg.data import celeba, celeba_glasses, chairs, digits, faces, folder, sprites, tfds
from ivg.data.decode import LazyImages
from ivg.data.records import Dataset, Factor, GroundTruth, Options, Rendered, Split, nearest, shown
from ivg.errors import UserError

__all__ = [
    "LOADERS",
    "Dataset",
    "Factor",
    "GroundTruth",
    "LazyImages",
    "Rendered",
    "Split",
    "load",
]

LOADERS: dict[str, Callable[[Options], Dataset]] = {
    "digits": digits.load,
    "mnist": tfds.load_mnist,
    "fashion_mnist": tfds.load_fashion_mnist,
    "celeb_a": celeba.load,
    "celeba_glasses": celeba_glasses.load,
    "sprites": sprites.load,
    "color_sprites": sprites.load_color,
    "dsprites": tfds.load_dsprites,
    "chairs": chairs.load,
    "faces": faces.load,
    "images": folder.load,
}


def load(
    name: str,
    *,
    data_dir: str | pathlib.Path | None = None,
    image_size: int | None = None,
    crop: int | str | None = None,
    channels: int | None = None,
    labels_file: str | pathlib.Path | None = None,
    attributes: Sequence[str] = (),
    bad_images: str = "error",
    test_fraction: float = 0.1,
    seed: int = 0,
    in_memory: bool | str = "auto",
    memory_limit_gb: float = 4.0,
    coloring: str = "ibgan",
    num_images: int = 40_000,
    priors: str = "",
    correlations: str = "",
) -> Dataset:
    """Loads a data set; the same arguments and files always give the same.

    Args:
        name: digits (in scikit-learn, no download), sprites, color_sprites, faces (drawn on demand,
            no download), mnist, fashion_mnist, celeb_a, dsprites (prepared by TensorFlow Datasets
            as array_record), celeba_glasses (the images of CelebA with the first of `attributes`,
            by default Eyeglasses, and twice as many without it), chairs (the extracted archive of
            3D Chairs), or images (your own, in a folder or a zip). celeb_a and celeba_glasses also
            take CelebA's own files in a folder or a zip.
        data_dir: path of the data, `~` included.
        attributes: a list of names.
        bad_images: "error" or "skip".
        in_memory: True, False or "auto", also as words.
        others: as the fields of `records.Options`, which says what each option means.

    Raises:
        UserError: an option or a file is wrong; says which and what to do.

    Examples:
        >>> from ivg import data
        >>> digits = data.load("digits")
        >>> digits.train.images.shape, digits.train.images.dtype, digits.test.labels.shape
        ((1437, 8, 8, 1), dtype('uint8'), (360,))
    """
    _check(name, image_size, channels, bad_images, test_fraction, coloring)
    if isinstance(attributes, str):
        raise UserError(f"attributes is {attributes!r}; it must be a list of names.")
    _check_faces(name, num_images, priors, correlations)
    options = Options(
        data_dir=None if data_dir is None else _parse_dir(data_dir),
        image_size=image_size,
        crop=crop,
        channels=channels,
        labels_file=None if labels_file is None else str(labels_file),
        attributes=tuple(attributes),
        skip_bad_images=bad_images == "skip",
        test_fraction=test_fraction,
        seed=seed,
        in_memory=_parse_in_memory(in_memory),
        memory_limit_gb=memory_limit_gb,
        coloring=coloring,
        num_images=num_images,
        priors=priors,
        correlations=correlations,
    )
    return LOADERS[name](options)


def _parse_dir(value: str | pathlib.Path) -> pathlib.Path:
    """The path; whether something is there is for the loaders, but it must be possible to look."""
    try:
        path = pathlib.Path(value).expanduser()
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass
    except (OSError, RuntimeError) as error:  # no permission, too long a name; no such user
        why = getattr(error, "strerror", None) or error
        raise UserError(f"--config.data.dir={shown(str(value))} cannot be read: {why}.") from None
    return path


def _parse_in_memory(value: bool | str) -> bool | None:
    """True, False, or None for "auto"; from the command line they come as words."""
    known = {"true": True, "false": False, "auto": None}
    if str(value).lower() not in known:
        raise UserError(f"in_memory is {value!r}; it must be True, False or 'auto'.")
    return known[str(value).lower()]


def _check(
    name: str,
    image_size: object,
    channels: object,
    bad_images: str,
    test_fraction: float,
    coloring: str,
) -> None:
    if name not in LOADERS:
        raise UserError(
            f"unknown data set {name!r}{nearest(name, LOADERS)}; known are {', '.join(LOADERS)}."
        )
    if image_size is not None and (not isinstance(image_size, int) or image_size < 1):
        raise UserError(f"image_size is {image_size!r}; it must be a positive number of pixels.")
    if channels not in (None, 1, 3):
        raise UserError(f"channels is {channels!r}; it must be 1 (grey) or 3 (colour).")
    if bad_images not in ("error", "skip"):
        raise UserError(f"bad_images is {bad_images!r}; it must be 'error' or 'skip'.")
    if not 0 < test_fraction < 1:
        raise UserError(f"test_fraction is {test_fraction!r}; it must lie between 0 and 1.")
    if coloring not in sprites.COLORINGS:
        raise UserError(f"coloring is {coloring!r}; it must be 'ibgan' or 'dlib'.")


def _check_faces(name: str, num_images: object, priors: object, correlations: object) -> None:
    if not isinstance(num_images, int) or isinstance(num_images, bool) or num_images < 1:
        raise UserError(f"num_images is {num_images!r}; it must be a whole number of at least 1.")
    for option, value in {"priors": priors, "correlations": correlations}.items():
        if not isinstance(value, str):
            raise UserError(f"{option} is {value!r}; it must be a text, as ivg/data/faces.py says.")
        if value and name != "faces":
            raise UserError(f"{option} is for the rendered faces only; {name} has no such option.")
