"""CelebA as tfds prepared it, or its own files in a folder or zip (the download often fails)."""

import pathlib

from ivg.data import folder, resize, tfds
from ivg.data.records import Dataset, Options

ALIGNED = (178, 218)  # width and height of the aligned images as published


def load(options: Options) -> Dataset:
    """CelebA from wherever `data_dir` points.

    A zip, or a folder with `img_align_celeba` or `list_attr_celeba.*` in it, is read like a user's
    own images, with a seeded test split; anything else is a tfds directory. Images of the published
    size get the crop of the InfoVAEGAN code, others (already cropped ones) the largest square.
    """
    path = options.data_dir
    if path is None or not holds_files(path):
        return tfds.load_celeb_a(options)
    if options.crop is None:
        files = folder.open_files(path)
        first = folder.find_images(files, options)[0]
        with resize.open_image(files.read(first)) as image:
            crop = "infovaegan" if image.size == ALIGNED else "square"
        options = options._replace(crop=crop)
    return folder.load(options)._replace(name="celeb_a")


def holds_files(path: pathlib.Path) -> bool:
    """Whether a path is a file (a zip, it is hoped) or a folder of CelebA's own files."""
    if path.is_dir():
        return (path / "img_align_celeba").is_dir() or any(path.glob("list_attr_celeba.*"))
    return path.is_file()
