"""Files of strangers at the doors for arrays, prepared data and figures; nothing in them runs."""

import io
import json
import lzma
import pathlib
import pickle
import struct
import sys
import zipfile

import hostile
import numpy as np
import pytest
from PIL import Image

from ivg.data import tfds
from ivg.errors import UserError
from ivg.metrics import feature_scores
from ivg.metrics.disentanglement import __main__ as disentanglement
from ivg.networks import inception_weights
from ivg.report import compare
from ivg.report import page as report_page

WEIGHT = next(iter(inception_weights.expected()))


def weights(path: pathlib.Path) -> int:
    try:
        inception_weights.read(path)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


# Everything that reads arrays, with the name of one that it looks for.
DOORS = {
    "python -m ivg.metrics.disentanglement": (
        "codes", lambda path: disentanglement.main([str(path)])),
    "python -m ivg.metrics.feature_scores": (
        "features", lambda path: feature_scores.main([str(path), str(path)])),
    "--config.frechet.weights": (WEIGHT, weights),
}  # fmt: skip


def npy(header: str, body: bytes = b"", version: bytes = b"\x01\x00", size: int = -1) -> bytes:
    text = header.encode("latin-1")
    length = len(text) if size < 0 else size
    packed = struct.pack("<H", length) if version == b"\x01\x00" else struct.pack("<I", length)
    return b"\x93NUMPY" + version + packed + text + body


def described(descr: str = "'<f4'", shape: str = "(2,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


def archive(name: str, content: bytes, kind: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as file:
        file.writestr(f"{name}.npy", content)
    return out.getvalue()


def objects(mark: pathlib.Path) -> bytes:
    """An array of objects, as numpy.save writes it."""
    out = io.BytesIO()
    np.save(out, np.array([hostile.Mark(mark)], object), allow_pickle=True)
    return out.getvalue()


def arrays(name: str, mark: pathlib.Path) -> dict[str, bytes]:
    """Files that claim to hold an array of this name."""
    call = f"__import__('os').mkdir({str(mark)!r})"
    evil, bait = pickle.dumps(hostile.Mark(mark)), objects(mark)
    plain = archive(name, npy(described(), bytes(8)))
    encrypted = bytearray(plain)
    encrypted[6] |= 1
    encrypted[plain.index(b"PK\x01\x02") + 8] |= 1
    unknown = bytearray(plain)
    unknown[8] = unknown[plain.index(b"PK\x01\x02") + 10] = 99
    packed = bytearray(archive(name, npy(described(), bytes(8)), zipfile.ZIP_LZMA))
    start = packed.index(b"NUMPY") if b"NUMPY" in packed else 60
    packed[start : start + 20] = bytes(20)
    lines = io.BytesIO()
    np.savez(lines, **{name: np.array([hostile.Mark(mark)], object)})
    return {
        "objects": lines.getvalue(),
        "objects in a field": archive(name, npy(described("[('a', '|O')]"), evil)),
        "a pickle as an array": archive(name, evil),
        "a bare pickle": evil,
        "a bare array of objects": bait,
        "a type that is a call": archive(name, npy(described(call), bytes(8))),
        "a shape that is a call": archive(name, npy(described(shape=call), bytes(8))),
        "a header that is a call": archive(name, npy(call + "\n", bytes(8))),
        "a type of another module": archive(name, npy(described("'evil.Handler'"), bytes(8))),
        "a huge shape": archive(name, npy(described(shape=f"({2**60},)"), bytes(8))),
        "a shape beyond any number": archive(name, npy(described(shape=f"({10**30},)"))),
        "a negative shape": archive(name, npy(described(shape="(-2, -4)"), bytes(32))),
        "a deep header": archive(name, npy("(" * 9000 + ")" * 9000)),
        "a long header": archive(name, npy(described() + " " * 40_000, version=b"\x02\x00")),
        "a header that is not there": archive(name, npy("", version=b"\x03\x00", size=2**32 - 1)),
        "no such version": archive(name, npy(described(), version=b"\x09\x00")),
        "a name that leads out": archive(f"../../{name}", bait),
        "a name from the root": archive(str(mark), bait),
        "a password": bytes(encrypted),
        "an unknown compression": bytes(unknown),
        "a damaged compression": bytes(packed),
        "nothing": b"",
        "half": plain[: len(plain) // 2],
    }


@pytest.mark.parametrize("door", DOORS)
def test_arrays_of_strangers(door, tmp_path, capsys, figure):
    name, read = DOORS[door]
    mark, tried = tmp_path / "mark", 0
    assert hostile.is_live(mark)
    with pytest.raises(AttributeError):  # the control: numpy itself loads it where it is let
        np.load(io.BytesIO(objects(mark)), allow_pickle=True)[0].anything  # noqa: B018
    mark.rmdir()
    for what, content in arrays(name, mark).items():
        path = tmp_path / "file.npz"
        path.write_bytes(content)
        assert read(path) == 2, what
        said = capsys.readouterr()
        assert said.err.startswith("error: ") and said.err.count("\n") == 1, (what, said.err)
        assert not mark.exists() and sorted(p.name for p in tmp_path.iterdir()) == ["file.npz"]
        tried += 1
    figure("security", f"hostile files offered, arrays to {door}", tried)


def test_damaged_compression_is_what_it_says(tmp_path):
    """The control of "a damaged compression": it is LZMA's own error that must be caught."""
    with zipfile.ZipFile(io.BytesIO(arrays("x", tmp_path)["a damaged compression"])) as file:
        with pytest.raises(lzma.LZMAError):
            file.read("x.npy")


# ---- prepared data sets -------------------------------------------------------------------------


def prepared(folder: pathlib.Path, features: object) -> pathlib.Path:
    """A folder as tfds prepares it, without records."""
    version = folder / "mnist" / "3.0.1"
    version.mkdir(parents=True)
    info = {"name": "mnist", "version": "3.0.1", "fileFormat": "array_record"}
    info["splits"] = [
        {"name": n, "shardLengths": ["1"], "filepathTemplate": "../../{DATASET}-{SPLIT}"}
        for n in ("train", "test")
    ]
    info["moduleName"] = "evil_features"
    (version / "dataset_info.json").write_text(json.dumps(info))
    text = features if isinstance(features, str) else json.dumps(features)
    (version / "features.json").write_text(text)
    return folder


def test_prepared_data_import_nothing_that_they_name(tmp_path, monkeypatch, figure):
    mark, tried = tmp_path / "mark", 0
    hostile.module(tmp_path, "evil_features", mark)
    monkeypatch.syspath_prepend(tmp_path)
    own = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    evil = {"pythonClassName": "evil_features.Handler"}
    inner = {"pythonClassName": own, "featuresDict": {"features": {"image": evil}}}
    for features in (
        evil,
        inner,
        {"python_class_name": "evil_features.Handler"},
        {"type": "evil_features.Handler", "content": "{}"},
        {"type": own, "content": {"x": {"type": "evil_features.Handler", "content": ""}}},
        {"type": own, "content": [[{"type": "evil_features.Handler"}]]},
        {"pythonClassName": own + "\n", "featuresDict": {"features": {"type": evil}}},
        json.dumps(evil).replace("Class", "\\u0043lass"),
        "[" * 100_000,
        "{",
    ):
        folder = prepared(tmp_path / str(tried), features)
        with pytest.raises(UserError, match="evil_features|features.json|damaged") as error:
            tfds._open("mnist", folder)
        assert "\n" not in str(error.value) and not mark.exists()
        assert "evil_features" not in sys.modules
        tried += 1
    # The control: without the check tfds imports the module.
    monkeypatch.setattr(tfds, "_require_own_classes", lambda folder: None)
    with pytest.raises(UserError):
        tfds._open("mnist", tmp_path / "1")
    assert mark.exists()
    sys.modules.pop("evil_features", None)
    figure("security", "hostile files offered, prepared data sets", tried)


# ---- figures ------------------------------------------------------------------------------------


def picture(kind: str, size: tuple[int, int] = (8, 8)) -> bytes:
    out = io.BytesIO()
    Image.new("1", size).convert("L" if kind == "PNG" else "RGB").save(out, kind)
    return out.getvalue()


def test_figures_of_strangers_are_png_or_missing(tmp_path, monkeypatch, figure):
    """Of other kinds Pillow would hand some, such as PostScript, to other programs."""
    from PIL import EpsImagePlugin

    called = []

    def ghost(*arguments, **_):
        called.append(arguments)
        return Image.new("RGB", (8, 8)).im

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ghost)
    big = io.BytesIO()
    Image.new("1", (9000, 9000)).save(big, "PNG")
    huge = bytearray(picture("PNG"))
    huge[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    folder, tried = tmp_path / "run", 0
    (folder / "figures").mkdir(parents=True)
    for content in (
        *(picture(kind) for kind in ("EPS", "TIFF", "GIF", "BMP", "PDF", "PPM")),
        big.getvalue(),
        bytes(huge),
        picture("PNG")[:40],
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        pickle.dumps(hostile.Mark(tmp_path / "mark")),
        b"",
    ):
        (folder / "figures" / "samples.png").write_bytes(content)
        (folder / "config.json").write_text(json.dumps({"method": "gan", "num_steps": 1}))
        text = compare.page([compare.read(folder)])
        assert "<img" not in text and compare.MISSING in text and not called
        tried += 1
    (folder / "figures" / "samples.png").write_bytes(picture("PNG"))
    assert "<img" in compare.page([compare.read(folder)])
    # The control: Pillow itself opens the first of them, and asks Ghostscript.
    with Image.open(io.BytesIO(picture("EPS"))) as image:
        image.convert("RGB")
    assert called and report_page.NAME not in {path.name for path in folder.iterdir()}
    figure("security", "hostile files offered, figures to a comparison", tried)
