"""Bad files where they hurt: memory and time, the command line, and in the middle of a training."""

import io
import json
import os
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib

import command
import image_kinds as kinds
import numpy as np
import pytest
from test_image_files_zips import patched

from ivg import data
from ivg.data import batches, encoded, files
from ivg.errors import UserError

# What a child process holds at most, over what it held before: files and pixels that are read.
LIMIT_MIB = 1600
PATIENCE = 300  # seconds for what takes a few
CHILD = """
import json, pathlib, sys
from ivg import data, memory
from ivg.data import batches, decode
from ivg.errors import UserError
memory.keep_memory()  # as the command does: what one thread has freed, another takes
decode.default_threads = lambda: 8
# Not getrusage, which begins with the peak of the process that started this one.
status = lambda: pathlib.Path("/proc/self/status").read_text()
peak = lambda: int(status().split("VmHWM:")[1].split()[0]) / 1024
before, told = peak(), []
for root in sys.argv[1:]:
    few = root.endswith("large")
    for how in ({},) if few else ({"bad_images": "skip"}, {}):
        for in_memory in (False,) if few else (True, False):
            try:
                found = data.load("images", data_dir=root, in_memory=in_memory, **how)
                for split in (found.train, found.test):
                    batches.take(split.images, range(len(split.images)))
                told.append(len(found.train.names) + len(found.test.names))
            except UserError as error:
                told.append(str(error))
print(json.dumps([peak() - before, told]))
"""


def large_png(side: int) -> bytes:
    """As many pixels as are read, of red, green, blue and alpha, in a file of few bytes."""
    packer, stride = zlib.compressobj(1), 1 + 4 * side
    rows = b"".join(packer.compress(bytes(stride)) for _ in range(side)) + packer.flush()
    head = kinds.chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0))
    parts = [head, kinds.chunk(b"IDAT", rows), kinds.chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def child(*roots) -> tuple[float, list]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, roots)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "error"},
        cwd=command.REPOSITORY,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Warning" not in done.stderr
    return tuple(json.loads(done.stdout))


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    """A zip of bombs of every kind, and two images that are none."""
    root = tmp_path_factory.mktemp("bombs") / "photos.zip"
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(root, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(2):
            archive.writestr(f"{i}.png", kinds.GOOD["PNG"](rng).data)
        archive.writestr("nested.zip", bytes(9))
        with archive.open("inflates.png", "w") as file:  # a thousand times its size
            file.write(kinds.GOOD["PNG"](rng).data)
            for _ in range(270):
                file.write(bytes(2**20))
        for i in range(8):
            archive.writestr(f"pixels{i}.png", kinds.bomb(), zipfile.ZIP_STORED)
            archive.writestr(f"text{i}.png", kinds.text_bomb(), zipfile.ZIP_STORED)
            archive.writestr(f"passes{i}.jpg", kinds.scan_bomb(), zipfile.ZIP_STORED)
        archive.writestr("lies.png", endless(), zipfile.ZIP_STORED)
    # It is what two gigabytes become by deflate, and claims to be 500 bytes.
    content = patched(bytearray(root.read_bytes()), "lies.png", 8, 10, b"\x08\0")
    root.write_bytes(patched(content, "lies.png", 22, 24, struct.pack("<I", 500)))
    return root


def endless(mebibytes: int = 2048) -> bytes:
    """So much of nothing, deflated: blocks that know nothing of each other may be repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (mebibytes // 16) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, for the peak of memory")
def test_memory(tmp_path, bombs, amount, figure):
    """Eight threads with the largest images that are read, and bombs: memory stays bounded."""
    count = amount(3, 8)
    large = tmp_path / "large"
    large.mkdir()
    content = large_png(int(encoded.MAX_PIXELS**0.5))
    for i in range(count):
        (large / f"{i}.png").write_bytes(content)
    peak, told = child(bombs, large)
    assert told[:2] == [2, 2]
    assert all("cannot be used" in text or "is not an image" in text for text in told[2:4])
    assert told[4:] == [count]
    assert 400 < peak < LIMIT_MIB  # that much was really held
    figure("image files", "peak memory MiB", round(peak))


def test_threads_share_the_memory(tmp_path, monkeypatch):
    """Images that are large together are decoded one after the other."""
    monkeypatch.setattr(encoded, "MAX_PIXELS", 1000)
    monkeypatch.setattr(data.folder, "MAX_BYTES", 10_000)
    rng, held, most = np.random.default_rng(0), 0, 0
    for i in range(40):
        pixels = rng.integers(0, 256, (22 + i % 3, 22, 3), np.uint8)
        (tmp_path / f"{i}.png").write_bytes(kinds.saved(kinds.Image.fromarray(pixels), "PNG"))
    real, lock = data.folder.resize.to_array, threading.Lock()

    def watched(image, **options):
        nonlocal held, most
        with lock:
            held += image.width * image.height
            most = max(most, held)
        time.sleep(0.002)
        try:
            return real(image, **options)
        finally:
            with lock:
                held -= image.width * image.height

    monkeypatch.setattr(data.folder.resize, "to_array", watched)
    monkeypatch.setattr(data.decode, "default_threads", lambda: 16)
    found = data.load("images", data_dir=tmp_path, in_memory=False, image_size=8)
    batches.take(found.train.images, range(36))
    assert 484 < most <= 1000


def test_the_first_error_ends_the_reading(tmp_path):
    """Of many bad images not all are tried; the sentence names the first one all the same."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for i in range(2000):
            bad = i in (300, 301, 1999) or i > 1500
            archive.writestr(f"{i:04d}.png", b"" if bad else kinds.GOOD["PNG"](rng).data)
    with pytest.raises(UserError, match="0300.png cannot be used"):
        data.load("images", data_dir=tmp_path / "photos.zip", image_size=8)
    tried = []

    def fail_at_first(i):
        tried.append(i)
        time.sleep(0.001)
        if i == 0:
            raise UserError("the first")

    with pytest.raises(UserError, match="the first"):
        data.decode.for_each(fail_at_first, 2000, title="")
    assert len(tried) < 100


@pytest.mark.parametrize("method", ["stored", "deflated"])
def test_many_members(tmp_path, method, amount):
    """More members than a zip of the old kind can have."""
    count = amount(3_000, 70_000)
    buffer, image = io.BytesIO(), kinds.png(1, 1, 8, 0, b"\7")
    kind = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}[method]
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for i in range(count):
            archive.writestr(zipfile.ZipInfo(f"{i:06d}.png"), image, kind)
    (tmp_path / "photos.zip").write_bytes(buffer.getvalue())
    found = data.load("images", data_dir=tmp_path / "photos.zip", image_size=2, channels=1)
    assert len(found.train.images) + len(found.test.images) == count
    assert (found.train.images == 7).all()


# ---- in the middle of a training ----------------------------------------------------------------


def photos(folder, count: int = 24, side: int = 8):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(count):
        pixels = rng.integers(0, 256, (side, side), np.uint8)
        (folder / f"{i:02d}.png").write_bytes(kinds.saved(kinds.Image.fromarray(pixels), "PNG"))
    return folder


def vanish(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:40])


def change(path):
    content = bytearray(path.read_bytes())
    content[45] ^= 1
    path.write_bytes(content)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def grow(path):
    os.truncate(path, files.MAX_BYTES + 1)


def become_huge(path):
    path.write_bytes(kinds.bomb())


HAPPENS = [vanish, cut, change, pipe, grow, become_huge]


@pytest.mark.parametrize("happens", HAPPENS)
@pytest.mark.parametrize("threads", [0, 2])
def test_an_image_that_goes_bad(tmp_path, happens, threads):
    """Whoever waits for the batch gets the sentence, within an epoch; the threads end."""
    root, running = photos(tmp_path / "photos"), threading.active_count()
    found = data.load("images", data_dir=root, image_size=8, channels=1, in_memory=False)
    stream = batches.stream(
        found.train.images,
        seed=0,
        batch_size=4,
        first_batch=0,
        num_batches_per_item=1,
        num_threads=threads,
    )
    next(stream)
    happens(root / found.train.names[7])
    with pytest.raises(UserError) as error:
        for _ in range(40):
            next(stream)
    assert f"{found.train.names[7]} cannot be used (" in str(error.value)
    stream.close()
    patience = time.monotonic() + 60
    while threading.active_count() > running and time.monotonic() < patience:
        time.sleep(0.01)
    assert threading.active_count() <= running


IMAGES = (
    *command.TINY,
    "--config.data.name=images",
    "--config.data.image_size=8",
    "--config.data.channels=1",
    "--config.data.in_memory=no",
    "--config.num_steps=4000",
)


def test_a_training_whose_image_vanishes(tmp_path, amount):
    """One sentence, exit code 2, the state saved; the same command goes on with the image back."""
    root, workdir = photos(tmp_path / "photos"), tmp_path / "run"
    arguments = (*IMAGES, f"--config.data.dir={root}", f"--workdir={workdir}")
    process = command.start(*arguments)
    patience = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < patience and not reached(workdir, 7):
        time.sleep(0.01)
    whole = (root / "05.png").read_bytes(), (root / "06.png").read_bytes()
    for name in ("05.png", "06.png"):  # one of them at least is of the training images
        (root / name).unlink()
    text = command.sentence(command.finish(process))
    assert "05.png cannot be used (no such file" in text or "06.png cannot be used (no" in text
    saved = command.steps_saved(workdir)
    # All steps until then, whatever checkpoint_every says.
    assert saved and saved[-1] == command.logged(workdir)[-1] >= 7
    for name, content in zip(("05.png", "06.png"), whole, strict=True):
        (root / name).write_bytes(content)
    if amount(False, True):
        more = command.ok(*arguments, f"--config.num_steps={saved[-1] + 5}")
        assert f"going on from step {saved[-1]} of {saved[-1] + 5}" in more


def reached(workdir, step: int) -> bool:
    return (command.logged(workdir) or [0])[-1] >= step


# ---- through the command line -------------------------------------------------------------------


def wrong_count(root):
    rows = "\n".join(f"{i:02d}.png 1" for i in range(24))
    (root / "list_attr_celeba.txt").write_text(f"25\nHat\n{rows}\n")
    return root, "line 1: it says 25 images, and 24 follow"


def bomb_inside(root):
    (root / "mine.png").write_bytes(kinds.bomb())
    return root, "mine.png cannot be used (the image has 30000 x 30000 pixels; up to 67 million"


def pipe_inside(root):
    os.mkfifo(root / "mine.png")
    return root, "mine.png cannot be used (no regular file)"


def escaping_zip(root):
    target = root.parent / "photos.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(root.iterdir()):
            archive.write(path, path.name)
        archive.writestr("../../mine.png", b"x")
    return target, "../../mine.png cannot be used (its path leads out of the zip)"


def text_inside(root):
    (root / "mine\u202ejpg.png").write_text("text")
    return root, r"mine\u202ejpg.png cannot be used (corrupt, or not an image)"


COMMANDS = [bomb_inside, wrong_count, pipe_inside, escaping_zip, text_inside]


def test_the_command_line(tmp_path, amount, figure):
    """Exit code 2, one sentence, nothing beside it; no run directory is begun."""
    refused = 0
    for number, make in enumerate(COMMANDS[: amount(1, len(COMMANDS))]):
        (tmp_path / str(number)).mkdir()
        where, reason = make(photos(tmp_path / str(number) / "photos"))
        workdir = tmp_path / str(number) / "run"
        text = command.refused(*IMAGES, f"--config.data.dir={where}", f"--workdir={workdir}")
        assert reason in text, text
        assert not (workdir / "config.json").exists()
        refused += 1
    figure("image files", "commands that ended with exit code 2 and one sentence", refused)
