"""Zips that are damaged or made to do harm, and what lies in a folder but is no file of its own."""

import contextlib
import io
import os
import pathlib
import socket
import struct
import subprocess
import tempfile
import warnings
import zipfile

import image_kinds as kinds
import numpy as np
import pytest
from test_image_files import beside, is_one_sentence, load

from ivg import data
from ivg.errors import UserError


def images(count: int = 4) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {f"{i}.png": kinds.GOOD["PNG"](rng).data for i in range(count)}


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytearray:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return bytearray(buffer.getvalue())


def patched(content: bytearray, name: str, local: int, central: int, value: bytes) -> bytearray:
    """The two records of a member with other bytes at these places; a place of -1 stays."""
    for signature, place in ((b"PK\3\4", local), (b"PK\1\2", central)):
        length = 30 if signature == b"PK\3\4" else 46
        at = -1
        while (at := content.find(signature, at + 1)) >= 0:
            if content[at + length :].startswith(name.encode()) and place >= 0:
                content[at + place : at + place + len(value)] = value
    return content


def encrypted(content: bytearray) -> bytearray:
    return patched(content, "bad.png", 6, 8, b"\1\0")


def claims(content: bytearray, size: int) -> bytearray:
    return patched(content, "bad.png", 22, 24, struct.pack("<I", size))


def linked() -> bytearray:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in images().items():
            archive.writestr(name, content)
        info = zipfile.ZipInfo("bad.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "../../../etc/passwd")
    return bytearray(buffer.getvalue())


PNG = kinds.GOOD["PNG"](np.random.default_rng(9)).data
BAD = images() | {"bad.png": PNG}
LARGE = images() | {"bad.png": PNG + bytes(300_000_000)}

# What is wrong with the member bad.png -> (the zip, the reason in the sentence)
MEMBERS = {
    "a wrong checksum": lambda: (
        patched(packed(BAD), "bad.png", 14, 16, b"\1\2\3\4"),
        "the zip is damaged there",
    ),
    "another name inside": lambda: (
        patched(packed(BAD), "bad.png", 30, -1, b"mad"),
        "the zip is damaged there",
    ),
    "encrypted": lambda: (encrypted(packed(BAD)), "encrypted: make the zip without a password"),
    "lzma": lambda: (packed_one(zipfile.ZIP_LZMA), "unusual way: make the zip with deflate"),
    "bzip2": lambda: (packed_one(zipfile.ZIP_BZIP2), "unusual way: make the zip with deflate"),
    "an unknown method": lambda: (
        patched(packed(BAD), "bad.png", 8, 10, b"\x63\0"),
        "unusual way: make the zip with deflate",
    ),
    "a thousand times its size": lambda: (
        packed(LARGE, zipfile.ZIP_DEFLATED),
        "286 MiB; up to 256 are read",
    ),
    "less than it claims": lambda: (
        claims(packed(BAD, zipfile.ZIP_DEFLATED), 10_000_000),
        "the zip is damaged there",
    ),
    "more than it claims": lambda: (
        claims(packed(LARGE, zipfile.ZIP_DEFLATED), 500),
        "the zip is damaged there",
    ),
    "gigabytes, it claims": lambda: (claims(packed(BAD), 2**32 - 2), "4,096 MiB; up to 256"),
    "a link": lambda: (linked(), "a link, which is not followed in a zip"),
    "a path above": lambda: (packed(images() | {"../bad.png": PNG}), "path leads out of the zip"),
    "an absolute path": lambda: (packed(images() | {"/tmp/bad.png": PNG}), "path leads out"),
    "a drive": lambda: (packed(images() | {"C:/bad.png": PNG}), "path leads out of the zip"),
    "a path above, of Windows": lambda: (
        packed(images() | {"a\\..\\..\\bad.png": PNG}),
        "path leads out of the zip",
    ),
    "a name of two lines": lambda: (packed(images() | {"a\nbad.png": PNG}), "control characters"),
    "a name that colours": lambda: (
        packed(images() | {"\x1b[31mbad.png": PNG}),
        "control characters",
    ),
    "a zip": lambda: (packed(images() | {"bad.zip": bytes(packed(BAD))}), "not an image of a kind"),
}


def packed_one(method: int) -> bytearray:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in images().items():
            archive.writestr(name, content)
        archive.writestr("bad.png", bytes(10_000_000), method)
    return bytearray(buffer.getvalue())


@pytest.mark.parametrize("kind", MEMBERS)
def test_a_bad_member(tmp_path, capsys, kind):
    content, reason = MEMBERS[kind]()
    root = tmp_path / "in" / "photos.zip"
    root.parent.mkdir()
    root.write_bytes(content)
    before = beside(tmp_path)
    for in_memory in (True, False):
        with pytest.raises(UserError) as error:
            load(root, in_memory=in_memory)
        text = str(error.value)
        assert is_one_sentence(text) and reason in text and "bad" in text, text
    assert sorted(load(root, bad_images="skip")[1]) == sorted(images())
    assert "skipped 1 " in capsys.readouterr().err
    assert beside(tmp_path) == before


@contextlib.contextmanager
def silent():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, of two members of one name
        yield


@pytest.mark.parametrize(
    "names", [("a.png", "a.png"), ("b/a.png", "b\\a.png"), ("a.png", "./a.png")]
)
def test_two_members_of_one_name(tmp_path, names):
    root = tmp_path / "photos.zip"
    with silent(), zipfile.ZipFile(root, "w") as archive:
        for name in (*images(), *names):
            archive.writestr(name, PNG)
    for how in ("error", "skip"):
        with pytest.raises(UserError, match="holds two files called .*a.png: make the zip again"):
            load(root, bad_images=how)


def test_zips_that_are_read(tmp_path):
    """Backslashes of Windows, a comment, something before the zip, zip64, folders, both methods."""
    content = packed({f"sub\\{name}": found for name, found in images().items()})
    with zipfile.ZipFile(buffer := io.BytesIO(b"#!/bin/sh\n" * 50), "a") as archive:
        archive.comment = b"a comment " * 100
        archive.mkdir("sub")
        for i, (name, found) in enumerate(images().items()):
            with archive.open(f"sub/{name}", "w", force_zip64=bool(i % 2)) as file:
                file.write(found)
    for made in (bytes(content), buffer.getvalue()):
        (tmp_path / "photos.zip").write_bytes(made)
        found, _ = load(tmp_path / "photos.zip")
        assert sorted(found) == [f"sub/{name}" for name in images()]


def test_damaged_zips(tmp_path, amount, figure):
    """Bytes changed or cut off anywhere: the same images, or a sentence; never others."""
    rng, root = np.random.default_rng(0), tmp_path / "photos.zip"
    whole = {"a/" + name: content for name, content in images(6).items()}
    sources = [packed(whole, method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    root.write_bytes(sources[0])
    good, _ = load(root)
    refused, tries = 0, amount(150, 3000)
    for _ in range(tries):
        content = bytearray(sources[rng.integers(2)])
        start = content.index(b"PK\1\2") if rng.random() < 0.7 else 0
        match rng.integers(3):
            case 0:
                content[int(rng.integers(start, len(content)))] ^= 1 << int(rng.integers(8))
            case 1:
                content = content[: int(rng.integers(start, len(content)))]
            case _:
                at = int(rng.integers(start, len(content)))
                content[at : at + 8] = rng.bytes(8)
        root.write_bytes(content)
        try:
            found, _ = load(root)
        except UserError as error:
            refused += 1
            assert is_one_sentence(str(error)), str(error)
            continue
        pixels = sorted(image.tobytes() for image in found.values())
        assert set(pixels) <= {image.tobytes() for image in good.values()}
    assert refused > tries // 2
    figure("image files", "damaged zips tried", tries)
    figure("image files", "damaged zips refused in one sentence", refused)


def make_odd(folder: pathlib.Path, kind: str) -> None:
    """Something called bad.png that is no file of its own."""
    path = folder / "bad.png"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                os.chdir(folder)  # the path of a socket is short
                made.bind("bad.png")
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "link to nothing":
            path.symlink_to(folder / "nothing.png")
        case "link to itself":
            path.symlink_to(path)
        case "link to a pipe":
            os.mkfifo(folder.parent / "pipe")
            path.symlink_to(folder.parent / "pipe")
        case "not readable":
            path.write_bytes(PNG)
            path.chmod(0)
        case "huge":
            with open(path, "wb") as file:
                file.truncate(2**36)  # a hole: no disk is used
        case "no UTF-8":
            with open(os.fsencode(folder) + b"/bad\xff.png", "wb") as file:
                file.write(PNG)
        case "two lines":
            (folder / "a\nbad.png").write_bytes(PNG)


ODD = {
    "pipe": "no regular file",
    "socket": "no regular file",
    "link to a device": "no regular file",
    "link to nothing": "no such file or directory",
    "link to itself": "too many levels of symbolic links",
    "link to a pipe": "no regular file",
    "not readable": "permission denied",
    "huge": "65,536 MiB; up to 256 are read",
    "no UTF-8": "no UTF-8: rename it",
    "two lines": "control characters",
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file(tmp_path, kind, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, content in images().items():
        (folder / name).write_bytes(content)
    make_odd(folder, kind)
    if kind == "not readable" and os.access(folder / "bad.png", os.R_OK):
        denied = PermissionError(13, "Permission denied")
        real = open

        def refuse(path, *arguments, **options):
            if str(path).endswith("bad.png"):
                raise denied
            return real(path, *arguments, **options)

        monkeypatch.setattr("builtins.open", refuse)  # root reads everything
    before = beside(tmp_path)
    for in_memory in (True, False):
        with pytest.raises(UserError) as error:
            load(folder, in_memory=in_memory)
        text = str(error.value)
        assert is_one_sentence(text) and ODD[kind] in text and "bad" in text, text
    assert len(load(folder, bad_images="skip")[1]) == len(images())
    assert "skipped 1 " in capsys.readouterr().err
    assert beside(tmp_path) == before


def test_links_and_folders(tmp_path):
    """Links to files and folders are followed, wherever they lead, and no folder comes twice."""
    outside = tmp_path / "outside"
    (outside / "deep.png").mkdir(parents=True)
    (outside / "deep.png" / "x.png").write_bytes(PNG)
    root = tmp_path / "photos"
    (root / "folder.png").mkdir(parents=True)
    (root / "empty.png").mkdir()
    for name, content in images(2).items():
        (root / "folder.png" / name).write_bytes(content)
    (root / "loop").symlink_to(root)
    (root / "twice").symlink_to(root / "folder.png")
    (root / "linked").symlink_to(outside)
    (root / "one.png").symlink_to(outside / "deep.png" / "x.png")
    (root / "A.png").write_bytes(PNG)
    (root / "a.png").write_bytes(PNG)
    found, _ = load(root)
    names = ["A.png", "a.png", "folder.png/0.png", "folder.png/1.png", "linked/deep.png/x.png"]
    assert sorted(found) == [*names, "one.png"]


def test_deep_folders():
    """More levels than a path can have, or than Python descends, which pytest could not remove."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="ivg_deep_"))
    here = os.getcwd()
    try:
        os.chdir(root)
        for _ in range(2100):
            os.mkdir("d")
            os.chdir("d")
        pathlib.Path("x.png").write_bytes(PNG)
    finally:
        os.chdir(here)
    try:
        with pytest.raises(UserError) as error:
            load(root)
        assert is_one_sentence(str(error.value))
        assert "nested too deeply" in str(error.value) or "too long" in str(error.value)
    finally:
        subprocess.run(["rm", "-rf", root], check=True)  # rmtree does not descend so far either


@pytest.mark.parametrize("name", ["celeb_a", "celeba_glasses", "chairs", "images"])
@pytest.mark.parametrize("kind", ["pipe", "a name too long", "a name with a zero", "device"])
def test_a_place_that_is_none(tmp_path, name, kind):
    os.mkfifo(tmp_path / "pipe")
    where = {"pipe": tmp_path / "pipe", "device": "/dev/zero"}
    where |= {"a name too long": "x" * 5000, "a name with a zero": "a\0b"}
    with pytest.raises(UserError) as error:
        data.load(name, data_dir=where[kind])
    assert "\n" not in str(error.value)
