"""Folders and zips made at random, of sound and bad files: each is read, or named in a sentence."""

import os
import re
import zipfile
from collections import Counter

import image_kinds as kinds
import numpy as np
import pytest

from ivg import data
from ivg.data import batches
from ivg.errors import UserError

IGNORED = ("notes.txt", ".hidden.png", ".git/x.png", "Thumbs.db", "__MACOSX/._a.png", "old.csv")
WORDS = ("a", "b", "Ä", "写真", "a b", "x" * 200, "a'\"<b>&", "é", "e\u0301", "A", "😀", "%s{0}")


def load(root, **options):
    """All images by their names, and the names in the order of the splits."""
    loaded = data.load("images", data_dir=root, image_size=kinds.SIDE, **options)
    images = {}
    for split in (loaded.train, loaded.test):
        assert list(split.names) == sorted(split.names)
        found = batches.take(split.images, range(len(split.names)))
        images |= dict(zip(split.names, found, strict=True))
    return images, loaded.train.names + loaded.test.names


def a_name(rng, suffix: str, taken) -> str:
    while True:
        parts = [WORDS[i] for i in rng.integers(len(WORDS), size=rng.integers(1, 4))]
        name = f"{'/'.join(parts)}{rng.integers(99)}{suffix}"
        if name not in taken and not any(other.startswith(name + "/") for other in taken):
            return name


class Trial:
    """Files of a folder or zip, and what must become of each."""

    def __init__(self, seed: int):
        self.rng = rng = np.random.default_rng(seed)
        self.files: dict[str, bytes] = {}
        self.good: dict[str, kinds.Good] = {}
        self.bad: dict[str, str] = {}
        self.unclear: set[str] = set()
        names = list(kinds.GOOD)
        for kind in rng.choice(names, rng.integers(2, 9)):
            found = kinds.GOOD[kind](rng)
            self.good[self.add(found.suffix, found.data)] = found
        number = rng.integers(4) if rng.random() < 0.8 else 0
        for kind in rng.choice(list(kinds.BAD), number):
            content, suffix = kinds.BAD[kind](rng)
            self.bad[self.add(suffix, content)] = kind
        for _ in range(rng.integers(2)):
            content, suffix = kinds.flipped(rng)
            self.unclear.add(self.add(suffix, content))
        self.ignored = {name: b"no image" for name in rng.choice(IGNORED, 2, replace=False)}
        self.zip = bool(rng.random() < 0.5)

    def add(self, suffix: str, content: bytes) -> str:
        name = a_name(self.rng, suffix, self.files)
        self.files[name] = content
        return name

    def write(self, folder):
        """Writes them in any order."""
        both = list((self.files | self.ignored).items())
        order = self.rng.permutation(len(both))
        root = folder / ("photos.zip" if self.zip else "photos")
        if self.zip:
            packing = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[self.rng.integers(2)]
            with zipfile.ZipFile(root, "w", packing) as archive:
                archive.comment = self.rng.bytes(20) * int(self.rng.integers(2))
                for i in order:
                    archive.writestr(*both[i])
            return root
        for i in order:
            path = root / both[i][0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(both[i][1])
        return root


def is_one_sentence(text: str) -> bool:
    return len(text) < 900 and "\n" not in text and text.endswith(".") and text.isprintable()


def beside(folder) -> dict:
    """Every path in it, with what would change if it were written."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        found[path] = (status.st_size, status.st_mtime_ns, status.st_mode)
    return found


def attempt(trial: Trial, root, skip: bool, in_memory: bool, capsys) -> str:
    """Loads and checks it. Returns what became of it."""
    capsys.readouterr()
    options = {"bad_images": "skip" if skip else "error", "in_memory": in_memory}
    try:
        images, names = load(root, crop="square", **options)
    except UserError as error:
        text = str(error)
        assert is_one_sentence(text), text
        named = [name for name in trial.bad | dict.fromkeys(trial.unclear) if quoted(name) in text]
        few = skip and len(trial.good) < 2
        assert (named and not skip) or (few and "two are the least" in text), (text, trial.bad)
        return "refused"
    assert skip or not trial.bad, trial.bad
    assert set(names) <= trial.good.keys() | trial.unclear
    for name, expected in trial.good.items():
        difference = np.abs(images[name].astype(int) - expected.pixels).mean()
        assert difference <= expected.tolerance, (name, difference)
    said = [int(number) for number in re.findall(r"skipped (\d+)", capsys.readouterr().err)]
    assert sum(said) == len(trial.files) - len(names)  # no file is left out in silence
    return "read"


def quoted(name: str) -> str:
    return name if len(name) <= 160 else name[-80:]


def test_random_folders_and_zips(tmp_path, amount, figure, capsys):
    fates, bad, kinds_seen = Counter(), 0, set()
    trials = amount(60, 700)
    for seed in range(trials):
        trial = Trial(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        root, before = trial.write(folder), None
        before = beside(folder)
        for skip in (False, True):
            fates[attempt(trial, root, skip, bool(trial.rng.integers(2)), capsys)] += 1
        assert beside(folder) == before
        bad += len(trial.bad) + len(trial.unclear)
        kinds_seen |= set(trial.bad.values())
    assert fates["read"] > trials // 2 and fates["refused"] > trials // 4
    assert kinds_seen == set(kinds.BAD) or trials < 100
    figure("image files", "folders and zips tried", trials)
    figure("image files", "bad files in them", bad)
    figure("image files", "read as documented", fates["read"])
    figure("image files", "refused in one sentence that names the file", fates["refused"])


def test_every_kind_of_sound_image(tmp_path, amount):
    """As a folder with all of them, in colour and in grey."""
    for seed in range(amount(2, 20)):
        rng = np.random.default_rng(seed)
        root = tmp_path / str(seed)
        root.mkdir()
        made = {}
        for i, kind in enumerate(kinds.GOOD):
            made[f"{i:02d}"] = kinds.GOOD[kind](rng)
            (root / f"{i:02d}{made[f'{i:02d}'].suffix}").write_bytes(made[f"{i:02d}"].data)
        for channels in (1, 3):
            images, names = load(root, channels=channels)
            assert len(names) == len(kinds.GOOD)
            for name, image in images.items():
                good = made[name[:2]]
                weights = np.array([0.299, 0.587, 0.114])
                wanted = good.pixels @ weights if channels == 1 else good.pixels
                difference = np.abs(image.squeeze().astype(int) - wanted).mean()
                assert difference <= good.tolerance + (channels == 1), name


def test_truncated_anywhere(tmp_path, amount):
    """At every length a PNG is refused; the others too, or they give an image of the right shape.

    What a JPEG lacks at its very end may be nothing that is seen.
    """
    rng, refused = np.random.default_rng(0), 0
    sources = {kind: kinds.GOOD[kind](rng) for kind in ("PNG", "JPEG", "progressive JPEG")}
    sources |= {kind: kinds.GOOD[kind](rng) for kind in ("BMP", "animated WebP", "animated GIF")}
    root = tmp_path / "photos"
    root.mkdir()
    for name in ("a", "b"):
        (root / f"{name}.png").write_bytes(sources["PNG"].data)
    for kind, good in sources.items():
        path = root / f"c{good.suffix}"
        for length in np.linspace(0, len(good.data) - 1, amount(12, 120)).astype(int):
            path.write_bytes(good.data[:length])
            try:
                images, _ = load(root, crop="none")
            except UserError as error:
                assert f"{path.name} cannot be used (" in str(error)
                refused += 1
                continue
            assert kind != "PNG"
            assert images[path.name].shape == (kinds.SIDE, kinds.SIDE, 3)
            if kind == "JPEG":
                assert length > len(good.data) * 0.9
        path.unlink()
    assert refused > amount(40, 400)


def test_the_order_is_that_of_the_names(tmp_path, monkeypatch):
    """Whatever order the file system, or the zip's directory, lists them in."""
    trial = next(t for t in map(Trial, range(99)) if not (t.bad or t.unclear or t.zip))
    root = trial.write(tmp_path)
    _, names = load(root)
    scandir = os.scandir

    class Backwards:
        def __init__(self, path):
            with scandir(path) as found:
                self.entries = iter(sorted(found, key=lambda entry: entry.name, reverse=True))

        def __enter__(self):
            return self.entries

        def __exit__(self, *_):
            pass

        def __iter__(self):
            return self.entries

        def __next__(self):
            return next(self.entries)

        def close(self):
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    assert load(root)[1] == names
    for order in (sorted, lambda x: sorted(x, reverse=True)):
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            for name in order(trial.files):
                archive.writestr(name, trial.files[name])
        assert load(tmp_path / "photos.zip")[1] == names


@pytest.mark.parametrize("kind", kinds.BAD)
def test_every_kind_of_bad_file(tmp_path, kind):
    """Also where images are decoded as they are needed: the header or the first reading tells."""
    rng = np.random.default_rng(1)
    (tmp_path / "photos").mkdir()
    for i in range(3):
        (tmp_path / "photos" / f"{i}.png").write_bytes(kinds.GOOD["PNG"](rng).data)
    content, suffix = kinds.BAD[kind](rng)
    (tmp_path / "photos" / f"mine{suffix}").write_bytes(content)
    for in_memory in (True, False):
        with pytest.raises(UserError, match="mine") as error:
            load(tmp_path / "photos", in_memory=in_memory)
        assert is_one_sentence(str(error.value))
        names = load(tmp_path / "photos", in_memory=in_memory, bad_images="skip")[1]
        assert sorted(names) == [f"{i}.png" for i in range(3)]
