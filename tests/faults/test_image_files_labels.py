"""Attribute files that are wrong in every way, and prepared sets that are damaged."""

import io

import image_kinds as kinds
import numpy as np
import prepared_sets
import pytest
from test_image_files import is_one_sentence

from ivg import data
from ivg.data import labels, resize
from ivg.errors import UserError

COUNT = 6
NAMES = [f"{i:06d}.png" for i in range(COUNT)]
VALUES = np.arange(2 * COUNT).reshape(COUNT, 2) % 3 == 0


@pytest.fixture
def faces(tmp_path):
    """The layout of CelebA, without its list."""
    root = tmp_path / "faces"
    (root / "img_align_celeba").mkdir(parents=True)
    for i, name in enumerate(NAMES):
        pixels = np.full((4, 4, 3), 40 * i, np.uint8)
        data_ = kinds.saved(kinds.Image.fromarray(pixels), "PNG")
        (root / "img_align_celeba" / name).write_bytes(data_)
    return root


def a_list(count: object = COUNT, head: str = "Hat Beard", end: str = "\n") -> str:
    rows = [
        f"{name} {'1' if a else '-1'}  {'1' if b else '-1'}"
        for name, (a, b) in zip(NAMES, VALUES, strict=True)
    ]
    return end.join([*([] if count is None else [str(count)]), head, *rows, ""])


def a_table(head: str = "file,Hat,Beard", end: str = "\n", comma: str = ",") -> str:
    rows = [f"{name},{a:d},{b:d}" for name, (a, b) in zip(NAMES, VALUES, strict=True)]
    return end.join([head, *rows, ""]).replace(",", comma)


def loaded(root) -> dict[str, list[bool]]:
    found = data.load("images", data_dir=root, image_size=4)
    rows = {}
    for split in (found.train, found.test):
        for name, image, row in zip(split.names, split.images, split.attributes, strict=True):
            rows[name.rsplit("/")[-1]] = row.tolist()
            assert int(image[0, 0, 0]) == 40 * int(name[-10:-4])
    return rows


READ = {
    "as CelebA has it": a_list(),
    "without the count": a_list(None),
    "line ends of Windows": a_list(end="\r\n"),
    "line ends of old Macs": a_list(end="\r"),
    "a mark at the beginning": "\ufeff" + a_list(),
    "empty lines": a_list(end="\n\n"),
    "a table": a_table(),
    "a table of Windows": a_table(end="\r\n"),
    "a table of old Macs": a_table(end="\r"),
    "a table with a mark": "\ufeff" + a_table(),
    "semicolons": a_table(comma=";"),
    "quoted": a_table().replace("000001.png,0", '"000001.png" , "0"'.replace(" ", "")),
    "minus ones": a_table().replace(",0", ",-1"),
    "files that are not there": a_table() + "other.png,1,1\n",
    "the folder before the name": a_table().replace("0000", "img_align_celeba/0000"),
}


@pytest.mark.parametrize("kind", READ)
def test_what_is_read(faces, kind):
    name = "labels.csv" if "file" in READ[kind] else "list_attr_celeba.txt"
    (faces / name).write_bytes(READ[kind].encode())
    expected = dict(zip(NAMES, VALUES.tolist(), strict=True))
    assert loaded(faces) == expected


REFUSED = {
    "a wrong count": (a_list(COUNT + 1), "it says 7 images, and 6 follow"),
    "too small a count": (a_list(3), "it says 3 images, and 6 follow"),
    "cut off": (a_list()[:-5], "line 8: 2 fields where a file name and 2 attributes"),
    "cut off between rows": (a_list().rsplit("\n", 3)[0], "it says 6 images, and 4 follow"),
    "an attribute less": (a_list(head="Hat"), "line 3: 3 fields where a file name and 1 attr"),
    "one attribute, no count": ("Hat\n000000.png 1\n000001.png 1\n", "misses 4 of the 6 images"),
    "an attribute twice": (a_list(head="Hat Hat"), "has the attribute 'Hat' twice"),
    "a file twice": (a_list(COUNT + 1) + "000001.png 1 1\n", "lists 1 files more than once"),
    "a file twice, otherwise written": (
        a_list(COUNT + 1) + "./000001.png 1 1\n",
        "lists 1 files more than once (first: 000001.png)",
    ),
    "a value of 2": (a_list().replace("-1\n", "2\n"), "the attribute 'Beard' is '2'"),
    "a word": (a_table().replace(",1", ",yes"), "the attribute 'Hat' is 'yes'; it must be 1, 0"),
    "no value": (a_table().replace(",1\n", ",\n"), "the attribute 'Beard' is missing"),
    "a cell less": (a_table().replace(",1\n", "\n"), "2 fields where the header has 3"),
    "a column less": (a_table("file,Hat"), "3 fields where the header has 2"),
    "a column twice": (a_table("file,Hat,Hat"), "different, non-empty names"),
    "an image less": (a_table().rsplit("\n", 2)[0], "misses 1 of the 6 images"),
    "nothing": ("", "must have a header row"),
    "only a mark": ("\ufeff", "must have a header row"),
    "an open quote": (a_table().replace("000002", '"000002'), "fields where the header has 3"),
    "a huge cell": (a_table().replace(",1", "," + "1" * 200_000), "it is no CSV (field larger"),
    "a long value": (a_table().replace(",1", "," + "y" * 90_000), "yyyy...yyyy"),
    "a value of two lines": (a_table().replace(",1", ',"1\n\x1b[31m"'), r"is '1\n\x1b[31m'"),
    "binary": ("\0\1\2" * 50 + "\n" + "\0", "must have a header row"),
    "only numbers": ("6\n", "not in CelebA's format"),
    "a long number": ("9" * 5000 + "\n" + a_list(None), "it says 999"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(faces, kind):
    text, reason = REFUSED[kind]
    is_list = text[:1].isdecimal() or text.startswith("Hat")
    (faces / ("list_attr_celeba.txt" if is_list else "labels.csv")).write_bytes(text.encode())
    with pytest.raises(UserError) as error:
        loaded(faces)
    assert is_one_sentence(str(error.value)) and reason in str(error.value), str(error.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings(faces, encoding):
    (faces / "labels.csv").write_bytes(a_table("file,Mütze,Bart").encode(encoding))
    with pytest.raises(UserError, match="labels.csv is not UTF-8 text .*: save it as UTF-8"):
        loaded(faces)


def test_a_huge_table_is_not_read(faces):
    with open(faces / "labels.csv", "wb") as file:
        file.truncate(labels.MAX_BYTES + 1)
    with pytest.raises(UserError, match="labels.csv cannot be read .it has 64 MiB; up to 64"):
        loaded(faces)


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_a_table_that_cannot_be_read(faces, tmp_path, where):
    place = (faces if where == "inside" else tmp_path) / "mine.csv"
    place.symlink_to("/dev/zero")
    with pytest.raises(UserError, match="mine.csv (cannot be read .no regular file|does not ex)"):
        data.load("images", data_dir=faces, labels_file="mine.csv" if where == "inside" else place)


def test_damaged_tables(amount, figure):
    """Characters changed anywhere: a table of the same files with 0s and 1s, or a sentence."""
    rng, tried, refused = np.random.default_rng(0), amount(400, 8000), 0
    alphabet = list("01-,; \n\r\t\"'\\.axé\0\u2028") + ["\ufeff", "1,1", "\r\n"]
    for _ in range(tried):
        name, text = (("list.txt", a_list()), ("a.csv", a_table()))[rng.integers(2)]
        for _ in range(rng.integers(1, 4)):
            at, length = rng.integers(len(text)), rng.integers(3)
            text = text[:at] + str(rng.choice(alphabet)) * rng.integers(2) + text[at + length :]
        try:
            table = labels.parse(text.encode(), name)
        except UserError as error:
            refused += 1
            assert is_one_sentence(str(error)), str(error)
            continue
        assert table.attributes is None or table.attributes.shape == (
            len(table.files),
            len(table.attribute_names),
        )
        assert table.attributes is None or table.attributes.dtype == bool
    assert refused > tried // 4
    figure("image files", "damaged attribute files tried", tried)
    figure("image files", "damaged attribute files refused in one sentence", refused)


def test_class_names_of_many_digits():
    names = ["9" * 5000, "1", "2"]
    assert labels.encode_classes(names)[1] == ("1", "2", "9" * 5000)


# ---- prepared sets ------------------------------------------------------------------------------


def record(pixels: np.ndarray, **others: int) -> dict:
    buffer = io.BytesIO()
    kinds.Image.fromarray(pixels).save(buffer, "PNG")
    return {"image": buffer.getvalue()} | others


@pytest.fixture
def digits(tmp_path):
    """MNIST as tfds prepares it: a function from its records to the folder of its files."""

    def make(records):
        splits = {"train": records, "test": records}
        root = prepared_sets.prepare(tmp_path, "mnist", "3.0.1", (28, 28, 1), splits)
        return root / "mnist" / "3.0.1"

    return make


def numbers(count: int = 5) -> list[dict]:
    rng = np.random.default_rng(0)
    return [record(rng.integers(0, 256, (28, 28), np.uint8), label=i % 10) for i in range(count)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r.pop("label"), "is damaged or incomplete"),
        (lambda r: r.update(label=10), "label is out of range"),
        (lambda r: r.update(label=-1), "label is out of range"),
        (lambda r: r.update(label=2**40), "label is out of range"),
        (lambda r: r.pop("image"), "is damaged or incomplete"),
        (lambda r: r.update(image=b"GIF89a"), "is damaged or incomplete"),
        (lambda r: r.update(image=kinds.bomb()), "30000 x 30000 pixels; up to 67 million"),
    ],
)
def test_a_bad_record(digits, change, reason):
    records = numbers()
    change(records[3])
    folder = digits(records)
    with pytest.raises(UserError) as error:
        data.load("mnist", data_dir=folder.parent.parent)
    text = str(error.value)
    assert reason in text and str(folder) in text and "\n" not in text


@pytest.mark.parametrize("content", [b"[]", b"{", b"[" * 5000, b'"array_record"', b"\xff", b"0"])
@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_bad_facts(digits, name, content):
    folder = digits(numbers())
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        data.load("mnist", data_dir=folder.parent.parent)


@pytest.mark.parametrize("name", ["features.json", "mnist-test.array_record-00000-of-00001"])
def test_a_link_to_nothing(digits, name):
    folder = digits(numbers())
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match=f"{name} is no regular file"):
        data.load("mnist", data_dir=folder.parent.parent)


def test_damaged_records(digits, amount, figure):
    """Bytes changed or cut off anywhere: the same images and labels, or a sentence."""
    folder, rng, refused = digits(numbers()), np.random.default_rng(0), 0
    good = data.load("mnist", data_dir=folder.parent.parent)
    whole = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    tried = amount(60, 600)
    for i in range(tried):
        path = list(whole)[i % len(whole)]
        content = bytearray(whole[path])
        if rng.random() < 0.4:
            content = content[: int(rng.integers(len(content)))]
        else:
            at = int(rng.integers(len(content)))
            content[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            found = data.load("mnist", data_dir=folder.parent.parent)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            for ours, theirs in ((found.train, good.train), (found.test, good.test)):
                np.testing.assert_array_equal(ours.images, theirs.images)
                np.testing.assert_array_equal(ours.labels, theirs.labels)
        path.write_bytes(whole[path])
    assert refused > tried // 4
    figure("image files", "damaged prepared sets tried", tried)
    figure("image files", "damaged prepared sets refused in one sentence", refused)


def test_the_limits_are_those_of_the_words():
    """What the documents and the messages say."""
    assert resize.open_image.__kwdefaults__ == {"max_pixels": 2**26}
