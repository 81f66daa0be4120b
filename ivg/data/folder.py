"""The user's own images: a folder (with subfolders) or a zip of images of any size.

`files` says what of a folder or zip is looked at, `encoded` which images are decoded, `resize` what
they become. What is bad stops with a sentence that names it, or, on request, is left out, counted
and said. configs/README.md tells users the whole of it.
"""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from ivg.data import batches, encoded, labels, resize
from ivg.data.decode import Room, collect, for_each
from ivg.data.files import MAX_BYTES, Files, checked_size, read_file, reason
from ivg.data.files import open_files as open_path
from ivg.data.records import (
    Dataset,
    Options,
    Pool,
    Split,
    fits_in_memory,
    note,
    select_attributes,
    shown,
)
from ivg.errors import UserError

_IGNORED_SUFFIXES = (".txt", ".csv")
_NO_LABELS = (
    f" (no label file found: {', '.join(labels.KNOWN_FILES)}, or the one that --config.data.labels "
    "names)"
)
_SKIP = "--config.data.bad_images=skip"


class _Annotations(NamedTuple):
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    attributes: np.ndarray | None
    attribute_names: tuple[str, ...]


def load(options: Options) -> Dataset:
    """Loads a folder or a zip of images; `ivg.data.load` describes the options.

    Raises:
        UserError: one sentence for each thing that can be wrong with the files.
    """
    files = open_files(options.data_dir)
    images = find_images(files, options)
    decode, check, shape = _readers(files, options)
    in_memory = fits_in_memory(options, len(images), shape)
    if options.skip_bad_images:
        usable = without_bad(range(len(images)), lambda i: decode(images[i]), images)
        images = [images[i] for i in usable]
    elif not in_memory:  # what can be known without decoding should not wait for the training
        for_each(lambda i: check(images[i]), len(images), title="checking images")
    if len(images) < 2:
        raise UserError(f"{files.root} holds {len(images)} usable image; two are the least.")
    annotations = _annotate(files, images, options)

    def split(numbers: np.ndarray, title: str) -> Split:
        paths = [images[i] for i in numbers]
        return Split(
            images=collect(
                lambda i: decode(paths[i]), len(paths), shape, in_memory=in_memory, title=title
            ),
            labels=None if annotations.labels is None else annotations.labels[numbers],
            attributes=None if annotations.attributes is None else annotations.attributes[numbers],
            names=tuple(paths),
        )

    train, test = _split_numbers(len(images), options.test_fraction, options.seed)
    return Dataset(
        name="images",
        train=split(train, "training images"),
        test=split(test, "test images"),
        image_shape=shape,
        class_names=annotations.class_names,
        attribute_names=annotations.attribute_names,
    )


def open_pool(options: Options) -> Pool:
    """The images of a folder or a zip as a pool, with the attributes of the label file.

    Raises:
        UserError: as `load`, or the attributes are lacking.
    """
    files = open_files(options.data_dir)
    images = find_images(files, options)
    decode, check, shape = _readers(files, options)
    annotations = _annotate(files, images, options)
    if annotations.attributes is None:
        raise UserError(f"{files.root} has no attributes, which this data set is made by.")
    return Pool(
        names=tuple(images),
        attributes=annotations.attributes,
        attribute_names=annotations.attribute_names,
        image_shape=shape,
        decode=lambda i: decode(images[i]),
        check=lambda i: check(images[i]),
    )


def _readers(
    files: Files, options: Options
) -> tuple[Callable[[str], np.ndarray], Callable[[str], None], tuple[int, int, int]]:
    """How to decode the image of a path, how to check it by its header, and the decoded shape."""
    size, channels = options.image_size or 64, options.channels or 3
    crop = resize.parse_crop(options.crop, "square")
    advice = f"mend or remove it, or leave such files out with {_SKIP}"
    decode, check = readers(files, size=size, channels=channels, crop=crop, advice=advice)
    return decode, check, (size, size, channels)


def readers(
    files: Files, *, size: int, channels: int, crop: int | str, advice: str
) -> tuple[Callable[[str], np.ndarray], Callable[[str], None]]:
    """How to decode the image of a path, and how to check it without decoding its pixels.

    Both may be called from several threads, which together hold no more than the largest file and
    the largest image that are read. `crop` is what `resize.parse_crop` returns, `advice` what to do
    about an image that cannot be used.
    """
    packed, unpacked = Room(MAX_BYTES), Room(encoded.MAX_PIXELS)

    @contextlib.contextmanager
    def opened(path: str) -> Iterator[Image.Image]:
        with (
            _named(files, path, advice),
            packed.of(files.size(path)),
            resize.open_image(files.read(path)) as image,
        ):
            yield image

    def decode(path: str) -> np.ndarray:
        with (
            opened(path) as image,
            unpacked.of(image.width * image.height),
            contextlib.closing(image),  # its pixels go before others may come
        ):
            return resize.to_array(image, size=size, crop=crop, channels=channels)

    def check(path: str) -> None:
        with opened(path) as image:
            resize.check_crop(image.size, crop)

    return decode, check


def open_files(path: pathlib.Path | None) -> Files:
    """Opens a folder or a zip; hidden files and folders are left out.

    Raises:
        UserError: no path, or what `ivg.data.files.open_files` says.
    """
    if path is None:
        raise UserError(
            "the data set 'images' needs --config.data.dir: a folder, or a zip, of your images."
        )
    return open_path(path)


def find_images(files: Files, options: Options) -> list[str]:
    """The images by their suffix; other files, but for texts, are bad images."""
    images, strays = [], [*files.refused]
    if strays and not options.skip_bad_images:
        path, why = next(iter(files.refused.items()))
        raise UserError(
            f"{files.root}: {shown(path)} cannot be used ({why}), or leave such files out with "
            f"{_SKIP}."
        )
    for path in files.paths:
        suffix = pathlib.PurePosixPath(path).suffix.lower()
        if suffix in resize.SUFFIXES:
            images.append(path)
        elif suffix not in _IGNORED_SUFFIXES and path != options.labels_file:
            strays.append(path)
    kinds = ", ".join(suffix[1:] for suffix in resize.SUFFIXES)
    if strays and not options.skip_bad_images:
        raise UserError(
            f"{files.root}: {shown(strays[0])} is not an image of a kind that is read ({kinds}); "
            f"remove it, or leave such files out with {_SKIP}."
        )
    if strays:
        note(f"skipped {len(strays)} files that are no images (first: {shown(strays[0])}).")
    if not images:
        raise UserError(f"{files.root} holds no images ({kinds}).")
    return images


def without_bad(
    numbers: Sequence[int], decode: Callable[[int], np.ndarray], names: Sequence[str]
) -> list[int]:
    """Those of `numbers` whose images can be decoded, in their order; each is decoded once."""
    bad: set[int] = set()

    def attempt(place: int) -> None:
        try:
            decode(numbers[place])
        except UserError:
            bad.add(place)

    for_each(attempt, len(numbers), title="checking images")
    if bad:
        note(f"skipped {len(bad)} bad images (first: {shown(names[numbers[min(bad)]])}).")
    return [number for place, number in enumerate(numbers) if place not in bad]


@contextlib.contextmanager
def _named(files: Files, path: str, advice: str) -> Iterator[None]:
    """Turns whatever is raised on a bad image into one sentence that names the file."""
    try:
        yield
    except Exception as error:  # Pillow and zipfile raise nearly anything on damaged bytes
        raise UserError(
            f"{files.root}: {shown(path)} cannot be used ({reason(error)}); {advice}."
        ) from error


def _annotate(files: Files, images: Sequence[str], options: Options) -> _Annotations:
    """Labels and attributes from the label file, else labels from one subfolder per class."""
    found = _find_label_file(files, options.labels_file)
    if found is None:
        select_attributes(None, (), options.attributes, f"{files.root}{_NO_LABELS}")
        classes = labels.classes_from_folders(images)
        if classes is None:
            return _Annotations(None, (), None, ())
        encoded, class_names = labels.encode_classes(classes)
        first = ", ".join(map(shown, class_names[:10]))
        note(f"{len(class_names)} classes from the subfolders: {first}.")
        return _Annotations(encoded, class_names, None, ())
    data, source, folder = found
    table = labels.parse(data, source, options.attributes)
    rows = labels.rows_of(table, images, folder)
    encoded, class_names = None, ()
    if table.classes is not None:
        encoded, class_names = labels.encode_classes([table.classes[row] for row in rows])
    attributes = None if table.attributes is None else table.attributes[rows]
    return _Annotations(encoded, class_names, attributes, table.attribute_names)


def _find_label_file(files: Files, wanted: str | None) -> tuple[bytes, str, str] | None:
    """Content, name for messages, and folder (from the root) of the label file, if there is one."""
    if wanted is not None and wanted not in files.paths:
        path = pathlib.Path(wanted).expanduser()
        if not os.path.isfile(path):
            raise UserError(
                f"the label file {wanted} does not exist, nor does {files.root} contain it."
            )
        with _read_labels(wanted):
            return read_file(path, labels.MAX_BYTES), wanted, ""

    def rank(path: str) -> tuple[int, int, str]:
        return path.count("/"), labels.KNOWN_FILES.index(os.path.basename(path)), path

    known = [path for path in files.paths if os.path.basename(path) in labels.KNOWN_FILES]
    if wanted is None and not known:
        return None
    path = wanted or min(known, key=rank)
    source = f"{files.root}/{shown(path)}"
    if wanted is None:
        note(f"labels and attributes from {source}.")
    with _read_labels(source):
        checked_size(files.size(path), labels.MAX_BYTES)
        return files.read(path), source, os.path.dirname(path)


@contextlib.contextmanager
def _read_labels(source: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # as of an image
        raise UserError(f"the label file {source} cannot be read ({reason(error)}).") from error


def _split_numbers(n: int, test_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the training and of the test images, each sorted; at least one of each."""
    shuffled = batches.order(n, seed=seed, start=0, count=n)
    num_test = min(max(round(n * test_fraction), 1), n - 1)
    return np.sort(shuffled[num_test:]), np.sort(shuffled[:num_test])
