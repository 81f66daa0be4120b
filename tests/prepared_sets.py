"""Tiny data sets as TensorFlow Datasets prepares them."""

import json
import pathlib
from collections.abc import Mapping, Sequence


def prepare(
    root: pathlib.Path,
    name: str,
    version: str,
    image_shape: tuple[int, int, int],
    splits: Mapping[str, Sequence[Mapping[str, bytes | int]]],
    file_format: str = "array_record",
) -> pathlib.Path:
    """Writes the examples of each split. Returns the directory that --config.data.dir names."""
    folder = root / "tfds" / name / version
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
    return root / "tfds"


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
