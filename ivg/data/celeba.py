"""CelebA as tfds prepared it, or its own files in a folder or zip (the download often fails)."""

import os
import pathlib

from ivg.data import folder, resize, tfds
from ivg.data.records import Dataset, Options, Pool, note

ALIGNED = (178, 218)  # width and height of the aligned images as published


def load(options: Options) -> Dataset:
    """CelebA from wherever `data_dir` points.

    A zip, or a folder with `img_align_celeba` or `list_attr_celeba.*` in it, is read like a user's
    own images, with a seeded test split; anything else is a tfds directory. Images of the published
    size get the crop of the InfoVAEGAN code, others (already cropped ones) the largest square, as
    they also do if a named crop is asked for that is larger than they are.
    """
    if not holds_files(options.data_dir):
        return tfds.load_celeb_a(options)
    return folder.load(_fit_crop(options, "infovaegan"))._replace(name="celeb_a")


def open_pool(options: Options, *, crop: str) -> Pool:
    """All images of CelebA with their attributes, undecoded, from wherever `data_dir` points.

    Args:
        options: as for `load`.
        crop: a name of `resize.NAMED_CROPS`, what `options.crop` None means for images of the
            published size.

    Raises:
        UserError: CelebA is not there, or not whole.
    """
    if not holds_files(options.data_dir):
        return tfds.open_celeb_a(options, crop=crop)
    return folder.open_pool(_fit_crop(options, crop))


def _fit_crop(options: Options, default: str) -> Options:
    """The crop that suits the images' size: already cropped images are taken whole."""
    if options.crop is not None and str(options.crop).lower() not in resize.NAMED_CROPS:
        return options
    size = _image_size(options)
    if size == ALIGNED:
        return options._replace(crop=options.crop or default)
    if options.crop is None:
        return options._replace(crop="square")
    if min(size) < resize.parse_crop(options.crop, default):
        note(
            f"the images are {size[0]} x {size[1]} pixels, not {ALIGNED[0]} x {ALIGNED[1]} as "
            f"published: they are taken whole instead of cropped as {options.crop!r}."
        )
        return options._replace(crop="square")
    return options


def _image_size(options: Options) -> tuple[int, int]:
    """Width and height of the first image that can be opened."""
    files = folder.open_files(options.data_dir)
    for path in folder.find_images(files, options):
        try:
            with resize.open_image(files.read(path)) as image:
                return image.size
        except Exception:  # whoever reads all images names the damaged ones, or leaves them out
            continue
    return ALIGNED


def holds_files(path: pathlib.Path | None) -> bool:
    """Whether a path is a file (a zip, it is hoped) or a folder of CelebA's own files."""
    if path is None:
        return False
    if os.path.isdir(path):
        return (path / "img_align_celeba").is_dir() or any(path.glob("list_attr_celeba.*"))
    return os.path.isfile(path)
