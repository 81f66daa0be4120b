"""Tiny data sets on disk: prepared as TensorFlow Datasets does it, and folders of images."""

import functools
import pathlib
import zipfile
from collections.abc import Callable, Mapping

import prepared_sets
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
    return functools.partial(prepared_sets.prepare, tmp_path)
