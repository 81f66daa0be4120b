"""Tiny data sets on disk: prepared as TensorFlow Datasets does it, and folders of images."""

import json
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence

import pytest


@pytest.fixture
def make_images(tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """make_images(name, {path: bytes}) writes a folder, or a zip if the name ends so."""

    def make(name: str, files: Mapping[str, bytes]) -> pathlib.Path:
        root = tmp_path / name
        if root.suffix == ".zip":
            with zipfile.ZipFile(root, "w") as archive:
                for path, data in files.items():
                    archive.writestr(path, data)
            return root
        for path, data in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        return root

    return make


@pytest.fixture
def prepare_tfds(tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """prepare_tfds(name, version, image_shape, {split: examples}) as tfds's builders write it."""

    def prepare(
        name: str,
        version: str,
        image_shape: tuple[int, int, int],
        splits: Mapping[str, Sequence[Mapping[str, bytes | int]]],
        file_format: str = "array_record",
    ) -> pathlib.Path:
        folder = tmp_path / "tfds" / name / version
        folder.mkdir(parents=True)
        for split, examples in splits.items():
            _write_records(folder / f"{name}-{split}.array_record-00000-of-00001", examples)
        info = {
            "name": name,
            "version": version,
            "fileFormat": file_format,
            "splits": [
                {
                    "name": split,
                    "shardLengths": [str(len(examples))],
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                }
                for split, examples in splits.items()
            ],
        }
        (folder / "dataset_info.json").write_text(json.dumps(info))
        image = {
            "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
            "image": {
                "shape": {"dimensions": [str(size) for size in image_shape]},
                "dtype": "uint8",
                "encodingFormat": "png",
            },
        }
        features = {
            "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
            "featuresDict": {"features": {"image": image}},
        }
        (folder / "features.json").write_text(json.dumps(features))
        return tmp_path / "tfds"

    return prepare


def _write_records(path: pathlib.Path, examples: Sequence[Mapping[str, bytes | int]]) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto.tf_example_generated_pb2 import Example

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for features in examples:
        example = Example()
        for key, value in features.items():
            feature = example.features.feature[key]
            if isinstance(value, bytes):
                feature.bytes_list.value.append(value)
            else:
                feature.int64_list.value.append(value)
        writer.write(example.SerializeToString())
    writer.close()
