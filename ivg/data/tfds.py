"""Data sets as prepared by TensorFlow Datasets (tfds), read without TensorFlow.

tfds finds the array_record files and reads their records. The records (tf.Example messages) are
taken apart here: tfds's own decoding parses every feature of a record, which takes 0.4 ms a CelebA
image for the attributes alone, and gives other pixels with OpenCV installed than without.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from ivg.data import batches, resize, sprites
from ivg.data.decode import SILENT_SECONDS, LazyImages, collect
from ivg.data.files import read_file, require_regular
from ivg.data.records import (
    Dataset,
    GroundTruth,
    Options,
    Pool,
    Split,
    fits_in_memory,
    select_attributes,
    shown,
)
from ivg.errors import UserError

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_VERSIONS = {"mnist": "3.0.1", "fashion_mnist": "3.0.1", "celeb_a": "2.1.0", "dsprites": "2.0.0"}
_SPLITS = ("train", "test")
_ATTRIBUTE = "attributes/"  # prefix of CelebA's attributes among the features of a record
# Of a dSprites record, in the order of `sprites.NAMES`.
_FACTORS = (
    "label_shape",
    "label_scale",
    "label_orientation",
    "label_x_position",
    "label_y_position",
)
_READ_AT_ONCE = 1000
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")
_OWN_CLASSES = "tensorflow_datasets.core.features."


class _Records(NamedTuple):
    """The undecoded records of one split: `source[i]` is bytes, `parse` makes a tf.Example."""

    name: str
    folder: pathlib.Path
    source: Sequence[bytes]
    parse: Callable[[bytes], Any]


class _Reading(NamedTuple):
    """How images become arrays; `crop` in pixels or a word of `resize`, `prepare` comes first."""

    size: int
    channels: int
    crop: int | str
    prepare: Callable[[Image.Image], Image.Image] = lambda image: image


def load_mnist(options: Options) -> Dataset:
    """MNIST: 60,000 + 10,000 grey images, 28 x 28, ten digits."""
    return _load_classes("mnist", tuple("0123456789"), options)


def load_fashion_mnist(options: Options) -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 grey images, 28 x 28, ten kinds of clothing."""
    return _load_classes("fashion_mnist", FASHION_CLASSES, options)


def load_celeb_a(options: Options) -> Dataset:
    """CelebA: aligned faces, 178 x 218, cropped, 40 attributes; its validation split is unused."""
    records = _open("celeb_a", options.data_dir)
    names = _attribute_names(records["train"], options.attributes)
    images, shape = _images(records, options, size=64, channels=3, crop="infovaegan")
    train, test = (
        Split(images[split], None, _attributes(records[split], names)) for split in _SPLITS
    )
    return Dataset("celeb_a", train, test, shape, attribute_names=names)


def open_celeb_a(options: Options, *, crop: str) -> Pool:
    """All of CelebA, its three splits one after the other, named `train/0` and so on.

    Args:
        options: as for `load_celeb_a`.
        crop: what `options.crop` None means.

    Raises:
        UserError: CelebA is not prepared, or lacks an attribute.
    """
    records = _open("celeb_a", options.data_dir, ("train", "validation", "test"))
    names = _attribute_names(records["train"], options.attributes)
    reading = _reading(options, size=64, channels=3, crop=crop)
    places = [(split, i) for split in records.values() for i in range(len(split.source))]

    def check(number: int) -> None:
        split, i = places[number]
        with _encoded(split, i) as image:
            resize.check_crop(image.size, reading.crop)

    return Pool(
        names=tuple(f"{key}/{i}" for key in records for i in range(len(records[key].source))),
        attributes=np.concatenate([_attributes(split, names) for split in records.values()]),
        attribute_names=names,
        image_shape=(reading.size, reading.size, reading.channels),
        decode=lambda number: _decode(*places[number], reading),
        check=check,
    )


def _attribute_names(records: _Records, wanted: Sequence[str]) -> tuple[str, ...]:
    first = next(_features(records, range(1)))
    # CelebA's own order of the attributes is the alphabetical one.
    known = sorted(key.removeprefix(_ATTRIBUTE) for key in first if key.startswith(_ATTRIBUTE))
    return select_attributes(None, known, wanted, "celeb_a")[1]


def _attributes(records: _Records, names: Sequence[str]) -> np.ndarray:
    """Bool [N, A], read record by record."""
    return _numbers(records, [_ATTRIBUTE + name for name in names], [2] * len(names)) == 1


def load_dsprites(options: Options) -> Dataset:
    """The original dSprites: 737,280 images, 64 x 64, 0 or 255; it has no split, both are all."""
    select_attributes(None, (), options.attributes, "dsprites")
    records = _open("dsprites", options.data_dir, ("train",))
    factors = _numbers(records["train"], _FACTORS, sprites.SIZES)
    images, shape = _images(
        records, options, size=64, channels=1, crop="none", prepare=_black_and_white
    )
    split = Split(images["train"], None, None)
    find = _find_by_factors(images["train"], factors)
    truth = GroundTruth(sprites.NAMES, sprites.SIZES, find)
    return Dataset("dsprites", split, split, shape, ground_truth=truth)


def _black_and_white(image: Image.Image) -> Image.Image:
    """The records hold 0 and 1."""
    return image.point([0] + [255] * 255)


def _find_by_factors(
    images: np.ndarray | LazyImages, factors: np.ndarray
) -> Callable[[np.ndarray, int], np.ndarray]:
    """The function of a `GroundTruth` for images in any order, with factors int32 [N, F]."""
    rows = np.full(sprites.COUNT, -1, np.int32)
    rows[np.ravel_multi_index(tuple(factors.T), sprites.SIZES)] = np.arange(len(factors))

    def find(wanted: np.ndarray, seed: int) -> np.ndarray:
        del seed  # nothing is left to chance
        found = rows[np.ravel_multi_index(tuple(np.asarray(wanted).T), sprites.SIZES)]
        if np.any(found < 0):
            lacking = np.asarray(wanted)[found < 0][0].tolist()
            raise UserError(
                f"the prepared dsprites has no image with the factors {lacking}: it is incomplete, "
                "prepare it again."
            )
        return batches.take(images, found)

    return find


def _load_classes(name: str, class_names: tuple[str, ...], options: Options) -> Dataset:
    select_attributes(None, (), options.attributes, name)
    records = _open(name, options.data_dir)

    def labels(split: str) -> np.ndarray:
        return _numbers(records[split], ["label"], [len(class_names)])[:, 0]

    images, shape = _images(records, options, size=28, channels=1, crop="none")
    train, test = (Split(images[split], labels(split), None) for split in _SPLITS)
    return Dataset(name, train, test, shape, class_names=class_names)


def _images(
    records: Mapping[str, _Records],
    options: Options,
    *,
    size: int,
    channels: int,
    crop: str,
    prepare: Callable[[Image.Image], Image.Image] = lambda image: image,
) -> tuple[dict[str, np.ndarray | LazyImages], tuple[int, int, int]]:
    """Images of every split and their shape.

    `size`, `channels`, `crop` are the set's defaults; `prepare` comes first.
    """
    reading = _reading(options, size=size, channels=channels, crop=crop)._replace(prepare=prepare)
    shape = (reading.size, reading.size, reading.channels)
    in_memory = fits_in_memory(options, sum(len(r.source) for r in records.values()), shape)

    def collect_split(split: _Records, title: str) -> np.ndarray | LazyImages:
        return collect(
            lambda index: _decode(split, index, reading),
            len(split.source),
            shape,
            in_memory=in_memory,
            title=title,
        )

    return {
        key: collect_split(split, f"{split.name} {key}") for key, split in records.items()
    }, shape


def _reading(options: Options, *, size: int, channels: int, crop: str) -> _Reading:
    """What `options` ask for, else the defaults given here."""
    return _Reading(
        size=options.image_size or size,
        channels=options.channels or channels,
        crop=resize.parse_crop(options.crop, crop),
    )


def _decode(split: _Records, index: int, reading: _Reading) -> np.ndarray:
    """One image of a split: uint8 [size, size, channels]."""
    with _encoded(split, index) as image:
        return resize.to_array(
            reading.prepare(image), size=reading.size, crop=reading.crop, channels=reading.channels
        )


@contextlib.contextmanager
def _encoded(split: _Records, index: int) -> Iterator[Image.Image]:
    """The image of a record, opened but not decoded; what goes wrong with it is named."""
    with _damage_named(split):
        features = split.parse(split.source[index]).features.feature
        with resize.open_image(features["image"].bytes_list.value[0]) as image:
            yield image


def _numbers(records: _Records, keys: Sequence[str], sizes: Sequence[int]) -> np.ndarray:
    """What each record says under `keys`, numbers from 0 to below `sizes`: int32 [N, F]."""
    with _damage_named(records):
        rows = [[row[key].int64_list.value[0] for key in keys] for row in _features(records)]
        found = np.array(rows, np.int64).reshape(len(rows), len(keys))
        wrong = np.flatnonzero(((found < 0) | (found >= np.array(sizes))).any(0))
        if len(wrong):
            raise ValueError(f"{keys[wrong[0]]} is out of range")
    return found.astype(np.int32)


def _features(records: _Records, indices: range | None = None) -> Iterator[Mapping[str, Any]]:
    """The features of each record (name -> tf.Example's Feature), images still encoded."""
    indices = range(len(records.source)) if indices is None else indices
    title = f"{records.name} labels"
    with tqdm(
        total=len(indices), desc=title, unit=" records", delay=SILENT_SECONDS, mininterval=1
    ) as progress:
        for start in range(0, len(indices), _READ_AT_ONCE):
            with _damage_named(records):
                chunk = records.source.__getitems__(indices[start : start + _READ_AT_ONCE])
                parsed = [records.parse(record).features.feature for record in chunk]
            yield from parsed
            progress.update(len(parsed))


def _open(
    name: str, data_dir: pathlib.Path | None, splits: Sequence[str] = _SPLITS
) -> dict[str, _Records]:
    """Opens the prepared array_record files of `name`, split by split.

    Raises:
        UserError: not prepared, prepared in another format, or damaged; says what to do.
    """
    # Imported here: it takes a second, which the other data sets need not wait for.
    import tensorflow_datasets as tfds
    from tensorflow_datasets.proto.tf_example_generated_pb2 import Example

    data_dir = data_dir or pathlib.Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))
    data_dir = data_dir.expanduser()
    folder = _find_version(name, data_dir)
    require_regular(folder.iterdir())
    _require_own_classes(folder)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    records = {}
    for split in splits:
        with _damage_named(_Records(name, folder, (), Example.FromString)):
            builder = tfds.builder_from_directory(folder)
            source = builder.as_data_source(split, deserialize_method=raw)
            source[0]  # the files themselves are opened only now
        records[split] = _Records(name, folder, source, Example.FromString)
    return records


def _require_own_classes(folder: pathlib.Path) -> None:
    """Raises UserError where the files name a class that is not of tfds: it would be imported.

    A module that is imported runs, and Python looks for it in the working directory too.
    """
    path = folder / "features.json"
    try:
        found = json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError, RecursionError):
        raise UserError(f"{path} is damaged: prepare the data set again.") from None
    for name in _class_names(found):
        if not name.startswith(_OWN_CLASSES):
            raise UserError(
                f"{path} names {name}, which is no class of tfds: prepare the data set again."
            )


def _class_names(tree: Any) -> Iterator[str]:
    """Every name of a class in a features.json, of its old form too."""
    if isinstance(tree, Mapping):
        # A feature itself may be called "type".
        yield from (tree[key] for key in _CLASS_KEYS if isinstance(tree.get(key), str))
    inside = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list) else ()
    for value in inside:
        yield from _class_names(value)


def _find_version(name: str, data_dir: pathlib.Path) -> pathlib.Path:
    """The folder of the newest version of `name` that is prepared as array_record."""
    formats = {
        info.parent: _file_format(info) for info in data_dir.glob(f"{name}/*/dataset_info.json")
    }
    readable = [folder for folder, file_format in formats.items() if file_format == "array_record"]
    if readable:
        return max(readable, key=_version)
    expected = data_dir / name / _VERSIONS[name]
    if formats:
        folder, file_format = max(formats.items(), key=lambda item: _version(item[0]))
        raise UserError(
            f"{folder} holds {name} as {file_format}, which cannot be read without TensorFlow: "
            f"remove that folder (or choose another --config.data.dir) and prepare the data set "
            f"again, as array_record: {_prepare(name, data_dir)}"
        )
    raise UserError(
        f"{name} is not prepared in {data_dir} (no {expected / 'dataset_info.json'}). Prepare it "
        f"once, with a network: {_prepare(name, data_dir)} -- or copy a prepared set by hand to "
        f"{expected} (dataset_info.json, features.json, *.array_record-*), or name the directory "
        f"that has it by --config.data.dir.{_FALLBACK.get(name, '')}"
    )


_FALLBACK = {
    "celeb_a": " Where its download fails (quota), let --config.data.dir name a zip or a folder of "
    "CelebA's own files: the folder img_align_celeba, and list_attr_celeba.txt beside it.",
    "dsprites": " --config.data.name=sprites draws the same images and needs no files.",
}


def _prepare(name: str, data_dir: pathlib.Path) -> str:
    # Without file_format tfds writes tfrecord, which only TensorFlow can read.
    python = (
        f"import tensorflow_datasets as tfds; tfds.builder('{name}', data_dir='{data_dir}', "
        "file_format='array_record').download_and_prepare()"
    )
    needs = " h5py" if name == "dsprites" else ""
    return f"pip install 'ivg[tfds]'{needs} && python -c \"{python}\""


def _file_format(info: pathlib.Path) -> str:
    try:
        return json.loads(read_file(info)).get("fileFormat") or "tfrecord"
    except (OSError, ValueError, AttributeError, RecursionError, UserError):
        return "a damaged dataset_info.json"


def _version(folder: pathlib.Path) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else -1 for part in folder.name.split("."))


@contextlib.contextmanager
def _damage_named(records: _Records) -> Iterator[None]:
    """Turns whatever tfds, array_record, protobuf or Pillow raise on damage into one sentence."""
    try:
        yield
    except UserError as error:
        if str(records.folder) in str(error):
            raise
        raise UserError(f"{records.folder}: {error}.") from error
    except Exception as error:
        raise UserError(
            f"{records.folder} is damaged or incomplete ({type(error).__name__}: "
            f"{shown(str(error))}): remove it and prepare it again: "
            f"{_prepare(records.name, records.folder.parent.parent)}"
        ) from error
