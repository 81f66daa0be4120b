"""CelebA's own files in a folder or zip stand in for the prepared set."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from ivg import data
from ivg.errors import UserError


def jpeg(size, seed):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue(), image


def make_zip(path, size, n=4):
    rows = [f"{n}", "Male Smiling"]
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(n):
            archive.writestr(f"img_align_celeba/{i:06d}.jpg", jpeg(size, i)[0])
            rows.append(f"{i:06d}.jpg {1 if i % 2 else -1} -1")
        archive.writestr("list_attr_celeba.txt", "\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize(
    ("size", "box"),
    [((178, 218), (25, 45, 153, 173)), ((64, 64), (0, 0, 64, 64))],
    ids=["published size", "already cropped"],
)
@pytest.mark.parametrize("unpacked", [False, True])
def test_own_files(tmp_path, size, box, unpacked):
    path = make_zip(tmp_path / "celeba.zip", size)
    if unpacked:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "folder")
        path = tmp_path / "folder"
    dataset = data.load("celeb_a", data_dir=path, image_size=32, attributes=("Male",))
    assert (dataset.name, dataset.image_shape) == ("celeb_a", (32, 32, 3))
    assert dataset.attribute_names == ("Male",)
    assert len(dataset.train.images) + len(dataset.test.images) == 4
    for split in (dataset.train, dataset.test):
        for image, name, (male,) in zip(split.images, split.names, split.attributes, strict=True):
            number = int(name[-10:-4])
            assert male == bool(number % 2)
            original = Image.open(io.BytesIO(jpeg(size, number)[0])).convert("RGB")
            truth = original.crop(box).resize((32, 32), Image.Resampling.BILINEAR)
            assert np.abs(image.astype(int) - np.asarray(truth, int)).max() <= 1


def test_a_folder_of_something_else_is_a_tfds_directory(tmp_path):
    with pytest.raises(UserError, match="download_and_prepare"):
        data.load("celeb_a", data_dir=tmp_path)


def test_not_a_zip(tmp_path):
    (tmp_path / "celeba.zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match="neither a folder nor a readable zip"):
        data.load("celeb_a", data_dir=tmp_path / "celeba.zip")
