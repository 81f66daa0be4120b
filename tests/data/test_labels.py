"""Label files: what is understood, and one sentence for what is not."""

import numpy as np
import pytest

from ivg.data import labels
from ivg.errors import UserError

CELEBA = b"2\nMale  Smiling\na.jpg -1  1\nb.jpg  1 -1\n"


def test_celeba_format():
    table = labels.parse(CELEBA, "list_attr_celeba.txt")
    assert table.attribute_names == ("Male", "Smiling") and table.classes is None
    assert list(table.files) == ["a.jpg", "b.jpg"]
    np.testing.assert_array_equal(table.attributes, [[False, True], [True, False]])


def test_celeba_format_without_the_count_line_and_with_windows_line_ends():
    table = labels.parse(CELEBA.split(b"\n", 1)[1].replace(b"\n", b"\r\n"), "attributes.txt")
    np.testing.assert_array_equal(table.attributes, [[False, True], [True, False]])


def test_csv_with_classes_and_attributes():
    text = b'\xef\xbb\xbffile,label,round,red\n"a, b.png",apple,1,1\nc.png,"pear",-1,0\n\n'
    table = labels.parse(text, "labels.csv")
    assert list(table.files) == ["a, b.png", "c.png"] and list(table.classes) == ["apple", "pear"]
    assert table.attribute_names == ("round", "red")
    np.testing.assert_array_equal(table.attributes, [[True, True], [False, False]])


def test_csv_with_classes_only_and_semicolons():
    table = labels.parse(b"filename;label\na.png;cat\n", "labels.csv")
    assert table.attributes is None and list(table.classes) == ["cat"]


@pytest.mark.parametrize(
    "source, text, message",
    [
        ("a.txt", b"", "not in CelebA's format"),
        ("a.txt", b"2\nMale Smiling\n", "not in CelebA's format"),
        ("a.txt", b"1\nMale Smiling\na.jpg 1\n", "line 3: 2 fields where .* 2 attributes"),
        ("a.txt", b"1\nMale\na.jpg yes\n", "line 3: the attribute 'Male' is 'yes'"),
        ("a.txt", b"2\nMale\na.jpg 1\na.jpg 1\n", "lists 1 files more than once .first: a.jpg"),
        ("a.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("a.csv", b"", "must have a header row"),
        ("a.csv", b"filename,label\n", "must have a header row"),
        ("a.csv", b"filename\na.png\n", "must have a header row"),
        ("a.csv", b"filename,label,label\na,b,c\n", "different, non-empty names"),
        ("a.csv", b"filename,label\na.png,x,y\n", "line 2: 3 fields where the header has 2"),
        ("a.csv", b"filename,label\na.png,x\nb.png,\n", "line 3: the column 'label' is empty"),
        ("a.csv", b"filename,colour\na.png,red\n", "'colour' is 'red'.*column called 'label'"),
    ],
)
def test_what_is_wrong_with_a_file(source, text, message):
    with pytest.raises(UserError, match=message):
        labels.parse(text, source)


def _table(*files):
    return labels.LabelTable("labels.csv", files, ["x"] * len(files), None, ())


def test_rows_by_path_by_near_path_and_by_name():
    images = ["in/a/1.png", "in/a/2.png", "in/3.png"]
    table = _table("3.png", "./a/2.png", "in/a/1.png")
    assert labels.rows_of(table, images, "in").tolist() == [2, 1, 0]
    assert labels.rows_of(_table("2.png", "3.png", "1.png"), images, "").tolist() == [2, 0, 1]


def test_images_without_a_row():
    with pytest.raises(UserError, match="misses 2 of the 3 images .first: b.png"):
        labels.rows_of(_table("a.png"), ["a.png", "b.png", "c.png"], "")


def test_one_row_for_two_images():
    with pytest.raises(UserError, match="1.png could be a/1.png or b/1.png"):
        labels.rows_of(_table("1.png"), ["a/1.png", "b/1.png"], "")


def test_rows_without_an_image_are_noted(capsys):
    labels.rows_of(_table("a.png", "b.png", "c.png"), ["b.png"], "")
    assert "also lists 2 files" in capsys.readouterr().err


@pytest.mark.parametrize(
    "images, classes",
    [
        (["cat/1.png", "dog/1.png", "dog/x/2.png"], ["cat", "dog", "dog"]),
        (["pets/cat/1.png", "pets/dog/1.png"], ["cat", "dog"]),
        (["all/1.png", "all/2.png"], None),
        (["1.png", "dog/2.png"], None),
        (["1.png"], None),
    ],
)
def test_classes_from_folders(images, classes):
    assert labels.classes_from_folders(images) == classes


def test_encode_classes():
    encoded, names = labels.encode_classes(["pear", "apple", "pear"])
    assert encoded.tolist() == [1, 0, 1] and encoded.dtype == np.int32
    assert names == ("apple", "pear")
    assert labels.encode_classes(["10", "2", "2"])[1] == ("2", "10")
