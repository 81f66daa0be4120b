"""What the methods for attributes ask of a data set, and the files that say what is present."""

import io

import numpy as np
import pytest
from PIL import Image

from ivg import data
from ivg.data import attributes, labels
from ivg.data.records import Dataset, Split
from ivg.errors import UserError


def _dataset(train, test, names=("a", "b")):
    def split(values):
        return Split(np.zeros((len(values), 2, 2, 1), np.uint8), None, np.array(values, bool))

    return Dataset("mine", split(train), split(test), (2, 2, 1), attribute_names=names)


@pytest.mark.parametrize(
    ("present", "total", "bits"),
    [(1, 2, 1.0), (1, 3, 0.9182958340544896), (3, 4, 0.8112781244591328), (0, 5, 0.0), (5, 5, 0.0)],
)
def test_entropy(present, total, bits):
    values = np.arange(total) < present
    assert attributes.entropy_bits(values) == pytest.approx(bits, abs=1e-12)
    assert str(attributes.entropy_bits(values))[0] != "-"


def test_description_counts_both_splits():
    dataset = _dataset([[1, 0], [0, 0]] * 600, [[0, 1], [0, 0]])
    assert attributes.describe(dataset) == [
        f"a: 600 of 1,202 images, H(y) = {1.0:.3f} bits",
        "b: 1 of 1,202 images, H(y) = 0.010 bits",
    ]
    assert attributes.describe(data.load("digits")) == []


def test_attributes_that_vary_are_accepted():
    dataset = _dataset([[1, 0], [0, 1]], [[0, 1], [1, 0]])
    assert attributes.require_attributes(dataset, "mmvae") == ("a", "b")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([[1, 1], [0, 1]], [[0, 1], [1, 0]], "without 'b', but all of the 2 training images"),
        ([[0, 1], [0, 0]], [[0, 1], [1, 0]], "without 'a', but none of the 2 training images"),
        ([[1, 1], [0, 0]], [[0, 0], [1, 0]], "without 'b', but none of the 2 test images of mine"),
    ],
)
def test_a_constant_attribute(train, test, message):
    with pytest.raises(UserError, match=f"csvae needs images with and {message}"):
        attributes.require_attributes(_dataset(train, test), "csvae")


def test_no_attributes():
    with pytest.raises(UserError, match="mmvae needs .* digits has none.*--config.attributes="):
        attributes.require_attributes(data.load("digits"), "mmvae")


def _png(i):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("wanted", [("Eyeglasses",), ("Male", "Eyeglasses")])
def test_own_images_with_a_table(make_images, wanted, in_memory):
    """The wanted columns, in their order; what the other columns hold does not matter."""
    rows = ["file;Eyeglasses;age;Male"]
    rows += [f"{i}.png;{i % 2};{20 + i};{1 if i % 3 else -1}" for i in range(10)]
    files = {f"{i}.png": _png(i) for i in range(10)}
    root = make_images("photos", files | {"labels.csv": "\n".join(rows).encode()})
    dataset = data.load(
        "images", data_dir=root, attributes=wanted, image_size=4, in_memory=in_memory
    )
    assert dataset.attribute_names == wanted
    for split in (dataset.train, dataset.test):
        for image, present in zip(split.images, split.attributes, strict=True):
            i = int(image[0, 0, 0])
            truth = {"Eyeglasses": i % 2 == 1, "Male": i % 3 != 0}
            assert list(present) == [truth[name] for name in wanted]
    with pytest.raises(UserError, match="line 2: the attribute 'age' is '20'; it must be 1, 0 or"):
        data.load("images", data_dir=root, image_size=4)


def test_images_that_the_table_leaves_out(make_images):
    files = {f"{i}.png": _png(i) for i in range(3)}
    root = make_images("photos", files | {"labels.csv": b"file,Hat\n0.png,1\n2.png,0\n"})
    with pytest.raises(UserError, match="misses 1 of the 3 images .first: 1.png"):
        data.load("images", data_dir=root, attributes=("Hat",))


@pytest.mark.parametrize(
    ("source", "text", "wanted", "message"),
    [
        ("a.csv", b"f,Hat\na,1\nb,\n", (), "line 3: the attribute 'Hat' is missing"),
        ("a.csv", b"f,Hat\na,1\n", ("hat",), "no attribute 'hat' .did you mean 'Hat'"),
        ("a.csv", b"f,label\na,1\n", ("Hat",), "has no attributes, so 'Hat' cannot be selected"),
        ("a.csv", b"f,Hat\na,1\n", ("Hat", "Hat"), "'Hat' is asked for twice"),
        ("a.txt", b"Hat Hat\na 1 1\n", (), "has the attribute 'Hat' twice"),
        ("a.txt", b"1\nHat Cap\na 1 x\n", ("Bag",), "it has: Hat, Cap"),
    ],
)
def test_what_is_wrong_with_a_table(source, text, wanted, message):
    with pytest.raises(UserError, match=message):
        labels.parse(text, source, wanted)


@pytest.mark.parametrize("absent", [b"0", b"-1"])
def test_only_the_wanted_columns_of_a_list(absent):
    text = b"2\nHat Age Cap\na 1 34 " + absent + b"\nb " + absent + b" 35 1\n"
    table = labels.parse(text, "list.txt", ("Cap", "Hat"))
    assert table.attribute_names == ("Cap", "Hat")
    np.testing.assert_array_equal(table.attributes, [[False, True], [True, False]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_images": 0}, "num_images is 0; it must be a whole number of at least 1"),
        ({"num_images": 10.0}, "num_images is 10.0"),
        ({"num_images": True}, "num_images is True"),
        ({"priors": 3}, "priors is 3; it must be a text"),
        ({"correlations": "glasses:beard=0.5"}, "for the rendered faces only; digits has no such"),
    ],
)
def test_options_of_rendered_faces(options, message):
    with pytest.raises(UserError, match=message):
        data.load("digits", **options)


def test_rendered_faces_have_what_the_methods_ask_for():
    """The options reach the loader: 1,000 images, glasses on one in ten."""
    faces = data.load("faces", num_images=1000, priors="glasses:0.1", attributes=("glasses",))
    assert attributes.require_attributes(faces, "mmvae") == ("glasses",)
    assert len(faces.train.images) == len(faces.train.attributes) == 1000
    # Five standard deviations of the share of 1,000.
    assert abs(faces.train.attributes.mean() - 0.1) < 5 * np.sqrt(0.09 / 1000)
    names = [factor.name for factor in faces.factors]
    for split in (faces.train, faces.test):
        assert split.factors.shape == (len(split.attributes), len(names))
        column = split.factors[:, names.index("glasses")]
        np.testing.assert_array_equal(column == 1, split.attributes[:, 0])
