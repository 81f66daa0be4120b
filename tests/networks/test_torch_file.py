"""PyTorch's files read without PyTorch, and nothing run that is in them."""

import base64
import io
import json
import os
import pathlib
import pickle
import zipfile
import zlib

import numpy as np
import pytest

from ivg.errors import UserError
from ivg.networks import torch_file

FILES = pathlib.Path(__file__).with_name("torch_files.json")  # made by torch.save, zlib, base64
KINDS = ("zip", "older")
BASE = (np.arange(12, dtype=np.float32) / 8).reshape(3, 4)
EXPECTED = {
    "weight": np.ones(3, np.float32),
    "bias": np.zeros(3, np.float32),
    "running_mean": np.zeros(3, np.float32),
    "running_var": np.ones(3, np.float32),
    "num_batches_tracked": np.int64(0),
    "conv.weight": BASE,
    "view": BASE.T[1:],
    "half": np.array([1.5, -2], np.float16),
    "parameter": np.array([0.25], np.float32),
}


def content(kind):
    return zlib.decompress(base64.b64decode(json.loads(FILES.read_text())[kind]))


def changed(kind, *edits):
    """The file with bytes replaced, in the pickle of the zip form."""
    data = content(kind)
    if kind == "older":
        for old, new in edits:
            assert old in data
            data = data.replace(old, new)
        return data
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            part = source.read(name)
            if name.endswith("data.pkl"):
                for old, new in edits:
                    assert old in part
                    part = part.replace(old, new)
            target.writestr(name, part)
    return out.getvalue()


def in_zip(data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    return out.getvalue()


def refuse(tmp_path, data, message):
    path = tmp_path / "file.pth"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        torch_file.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_torch_saved(tmp_path, kind):
    path = tmp_path / "file.pth"
    path.write_bytes(content(kind))
    found = torch_file.read(path)
    assert list(found) == list(EXPECTED)
    for name, array in EXPECTED.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and found[name].shape == array.shape


class Evil:
    """Unpickled, it would make a directory."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("form", [in_zip, bytes])
def test_nothing_in_the_file_is_run(tmp_path, protocol, form):
    target = tmp_path / "made"
    data = form(pickle.dumps({"weight": Evil(target)}, protocol))
    refuse(tmp_path, data, r"names \w+.mkdir, and only tensors are read")
    assert not target.exists()
    pickle.loads(pickle.dumps(Evil(target), protocol))  # the bait is live
    assert target.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", "names builtins.eval"),
        (b"\x80\x02ctorch\nload\n.", "names torch.load"),
        (b"\x80\x02(X\x01\x00\x00\x00aios\nsystem\n.", "the instruction INST"),
        (b"\x80\x02}ccollections\nOrderedDict\n}b.", "sets the state of something"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "the instruction NEWOBJ"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls something that makes no tensor"),
        (b"\x80\x02}X\x01\x00\x00\x00a)R.", "calls something that makes no tensor"),
        (b"\x80\x02K\x01.", "does not hold a dictionary"),
        (b"\x80\x02}.", "holds no tensors by name"),
        (b"\x80\x02.", "damaged"),
        (b"\x80\x02}", "damaged"),
        (b"\x80\x02h\x07.", "damaged"),
        (b"\xff\xff", "damaged"),
        # A dictionary that holds itself.
        (b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.", "damaged"),
    ],
)
def test_pickles_of_other_things(tmp_path, data, message):
    refuse(tmp_path, in_zip(data), message)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"_rebuild_tensor_v2", b"_rebuild_qtensor", "names torch._utils._rebuild_qtensor"),
        (b"FloatStorage", b"ComplexFloatStorage", "names torch.ComplexFloatStorage"),
        (b"K\x03K\x04\x86", b"K\x03K\x40\x86", "damaged"),  # shape (3, 64): more than there is
        (b"K\x01K\x03K\x03\x86", b"K\x09K\x03K\x03\x86", "damaged"),  # offset 9 of 12
    ],
)
def test_tensors_that_cannot_be(tmp_path, kind, old, new, message):
    refuse(tmp_path, changed(kind, (old, new)), message)


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_cut_off(tmp_path, kind):
    data = content(kind)
    for end in (0, 1, 10, len(data) // 3, len(data) // 2, len(data) - 9):
        refuse(tmp_path, data[:end], "damaged|refused")
    refuse(tmp_path, b"hello", "damaged")


def test_other_zips(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "hello")
    refuse(tmp_path, out.getvalue(), "without one data.pkl")
    refuse(tmp_path, content("zip").replace(b"little", b"bigger"), "damaged|big-endian")
    with pytest.raises(UserError, match="there is no file"):
        torch_file.read(tmp_path / "none.pth")
    with pytest.raises(UserError, match="cannot read"):
        torch_file.read(tmp_path)
