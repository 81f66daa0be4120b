"""Rendered faces: their factors follow the law that was asked for, and `load` draws by number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg import data
from ivg.data import batches, faces
from ivg.data.face_drawing import FRAME_SHAPES, HAIR_STYLES, Face
from ivg.errors import UserError

NAMES = Face._fields
CONTINUOUS = [i for i, factor in enumerate(faces.FACTORS) if factor.values == 0]


def column(factors, name):
    return np.asarray(factors)[:, NAMES.index(name)]


def rendered(factors):
    """int [N, 64, 64, 3], N up to 16: compiled once."""
    padded = np.pad(factors, [(0, 16 - len(factors)), (0, 0)])
    return np.asarray(faces.render(padded))[: len(factors)].astype(int)


def test_factors_are_described():
    assert tuple(factor.name for factor in faces.FACTORS) == NAMES
    attributes = [factor for factor in faces.FACTORS if factor.kind == "attribute"]
    assert [factor.name for factor in attributes] == ["glasses", "beard"]
    owned = {f.name: f.owner for f in faces.FACTORS if f.kind == "sub-attribute"}
    assert owned["frame_thickness"] == "glasses" and owned["beard_length"] == "beard"
    assert all((f.owner != "") == (f.kind == "sub-attribute") for f in faces.FACTORS)
    values = {f.name: f.values for f in faces.FACTORS if f.values}
    categorical = {"frame_shape": len(FRAME_SHAPES), "hair_style": len(HAIR_STYLES)}
    assert values == {"glasses": 2, "beard": 2} | categorical


def test_independent_by_default():
    factors = np.asarray(faces.sample(jax.random.key(0), 5000))
    assert factors.shape == (5000, len(NAMES)) and factors.dtype == np.float32
    correlations = np.corrcoef(factors.T) - np.eye(len(NAMES))
    assert np.abs(correlations).max() < 0.06
    for name, values in zip(NAMES, factors.T, strict=True):
        number = faces.FACTORS[NAMES.index(name)].values
        if number:
            counts = np.bincount(values.astype(int), minlength=number)
            assert len(counts) == number and np.abs(counts / 5000 - 1 / number).max() < 0.03
            assert (values == values.astype(int)).all()
        else:
            quantiles = np.quantile(values, [0.1, 0.5, 0.9])
            np.testing.assert_allclose(quantiles, [0.1, 0.5, 0.9], atol=0.03)
            assert 0 <= values.min() and values.max() <= 1


def test_sampling_by_key_and_number():
    key, other = jax.random.split(jax.random.key(1))
    few, many = (np.asarray(faces.sample(key, n)) for n in (5, 64))
    np.testing.assert_array_equal(few, many[:5])
    same = np.asarray(faces.sample(other, 5)) == few
    assert not same[:, CONTINUOUS].any()


def test_priors():
    priors = "glasses:0.25, beard:1,gaze:0.4:0.6,skin:0.3:0.3,hair_style:2,frame_shape:0"
    factors = faces.sample(jax.random.key(0), 5000, priors=priors)
    assert column(factors, "glasses").mean() == pytest.approx(0.25, abs=0.03)
    assert (column(factors, "beard") == 1).all() and (column(factors, "hair_style") == 2).all()
    gaze = column(factors, "gaze")
    assert 0.4 <= gaze.min() < 0.41 and 0.59 < gaze.max() <= 0.6
    np.testing.assert_allclose(column(factors, "skin"), 0.3, rtol=1e-6)
    assert (column(factors, "frame_shape") == 0).all()
    never = faces.sample(jax.random.key(0), 500, priors="glasses:0")
    assert (column(never, "glasses") == 0).all()
    # Nothing else has changed.
    plain = faces.sample(jax.random.key(0), 5000)
    np.testing.assert_array_equal(column(factors, "light"), column(plain, "light"))


def test_correlations_keep_the_marginals():
    text = "glasses:hair_colour:0.8,skin:light:-0.6"
    factors = faces.sample(jax.random.key(2), 5000, priors="glasses:0.3", correlations=text)
    glasses, hair = column(factors, "glasses"), column(factors, "hair_colour")
    skin, light = column(factors, "skin"), column(factors, "light")
    # Spearman's correlation of a Gaussian copula is 6/pi asin(rho / 2).
    expected = 6 / np.pi * np.arcsin(-0.3)
    assert np.corrcoef(skin, light)[0, 1] == pytest.approx(expected, abs=0.035)
    # The mean normal variable given the attribute: rho * density at the threshold / probability.
    density = np.exp(-0.5 * 0.5244**2) / np.sqrt(2 * np.pi)
    normal = np.asarray(jax.scipy.special.ndtri(jnp.asarray(hair)))
    assert normal[glasses == 1].mean() == pytest.approx(0.8 * density / 0.3, abs=0.05)
    assert glasses.mean() == pytest.approx(0.3, abs=0.02)
    for values in (hair, skin, light):
        quantiles = np.quantile(values, [0.1, 0.5, 0.9])
        np.testing.assert_allclose(quantiles, [0.1, 0.5, 0.9], atol=0.02)
    others = [
        i for i, n in enumerate(NAMES) if n not in ("glasses", "hair_colour", "skin", "light")
    ]
    plain = np.asarray(faces.sample(jax.random.key(2), 5000))
    np.testing.assert_array_equal(np.asarray(factors)[:, others], plain[:, others])


def test_full_correlation():
    factors = faces.sample(jax.random.key(0), 300, correlations="skin:light:1,glasses:beard:-1")
    np.testing.assert_allclose(column(factors, "skin"), column(factors, "light"), atol=1e-4)
    assert (column(factors, "glasses") != column(factors, "beard")).all()


@pytest.mark.parametrize(
    "priors, message",
    [
        ("glases:0.5", "no factor 'glases' .did you mean 'glasses'"),
        ("glasses:1.5", "'glasses:1.5'; an attribute needs a probability between 0 and 1"),
        ("glasses:0.2:0.5", "an attribute needs a probability"),
        ("glasses:nan", "an attribute needs a probability"),
        ("glasses", "an attribute needs a probability"),
        ("glasses:often", "'often' is not a number"),
        ("gaze:0.5", "gaze needs a range within 0 and 1, lower end first, as in gaze:0.4:0.6"),
        ("gaze:0.6:0.4", "lower end first"),
        ("gaze:0.5:1.2", "a range within 0 and 1"),
        ("hair_style:4", "hair_style needs one of its values, 0 to 3, as in hair_style:0"),
        ("hair_style:0.5", "one of its values"),
        ("gaze:0:1,beard:0.5,gaze:0:1", "priors names 'gaze' twice"),
    ],
)
def test_wrong_priors(priors, message):
    with pytest.raises(UserError, match=message):
        faces.sample(jax.random.key(0), 2, priors=priors)


@pytest.mark.parametrize(
    "correlations, message",
    [
        ("glasses:hair_color:0.8", "no factor 'hair_color' .did you mean 'hair_colour'"),
        ("glasses:0.8", "it needs two factors and a number, as in glasses:hair_colour:0.8"),
        ("glasses:light:1.1", "a correlation lies between -1 and 1"),
        ("glasses:light:strong", "'strong' is not a number"),
        ("glasses:glasses:0.5", "a factor cannot be tied to itself"),
        ("glasses:light:0.5,light:glasses:0.5", "names light and glasses twice"),
        ("glasses:hair_style:0.5", "names 'hair_style', whose values have no order"),
        ("skin:gaze:0.9,gaze:light:0.9,skin:light:-0.9", "skin, gaze, light cannot all hold"),
    ],
)
def test_wrong_correlations(correlations, message):
    with pytest.raises(UserError, match=message):
        faces.parse("", correlations)


# ---- the data set -------------------------------------------------------------------------------


def test_loaded():
    loaded = data.load("faces", num_images=40)
    assert loaded.name == "faces" and loaded.image_shape == (64, 64, 3)
    assert loaded.attribute_names == ("glasses", "beard") and loaded.factors == faces.FACTORS
    assert loaded.ground_truth is None
    for split, n in ((loaded.train, 40), (loaded.test, 10)):
        assert split.images.shape == (n, 64, 64, 3) and split.labels is None
        assert split.factors.shape == (n, len(NAMES)) and split.factors.dtype == np.float32
        assert split.attributes.shape == (n, 2) and split.attributes.dtype == bool
        np.testing.assert_array_equal(split.attributes, split.factors[:, :2] == 1)
    assert not (loaded.train.factors[:10] == loaded.test.factors)[:, CONTINUOUS].any()


def test_stored_and_drawn_are_the_same():
    options = {"num_images": 16, "priors": "glasses:0.9", "correlations": "skin:light:0.5"}
    drawn = data.load("faces", in_memory=False, **options)
    stored = data.load("faces", in_memory=True, attributes=("beard",), seed=3, **options)
    assert isinstance(stored.train.images, np.ndarray) and stored.train.images.dtype == np.uint8
    assert stored.attribute_names == ("beard",) and stored.train.attributes.shape == (16, 1)
    for one, other in ((drawn.train, stored.train), (drawn.test, stored.test)):
        taken = batches.take(one.images, np.arange(len(other.images)))
        np.testing.assert_array_equal(taken, other.images)
        np.testing.assert_array_equal(one.factors, other.factors)
        np.testing.assert_array_equal(one.attributes[:, 1], other.attributes[:, 0])
        # What is drawn by number has the factors that the split says.
        np.testing.assert_allclose(taken.astype(int), rendered(one.factors), atol=1)


def test_a_face_keeps_its_number():
    few, many = data.load("faces", num_images=8), data.load("faces", num_images=40, seed=9)
    np.testing.assert_array_equal(few.train.factors, many.train.factors[:8])
    np.testing.assert_array_equal(few.test.factors, many.test.factors[:2])
    numbers, keys = np.array([7, 0] * 8, np.int32), jax.random.split(jax.random.key(3))
    first, other = (np.asarray(many.train.images.draw(numbers, key)) for key in keys)
    np.testing.assert_array_equal(first, other)
    np.testing.assert_array_equal(first[:2], first[2:4])
    np.testing.assert_allclose(first.astype(int), rendered(few.train.factors[numbers]), atol=1)
    # Equal sources share what was compiled for one of them.
    again = data.load("faces", num_images=8).train.images
    assert again == few.train.images and hash(again) == hash(few.train.images)
    assert few.train.images.draw != data.load("faces", priors="beard:0.1").train.images.draw


@pytest.mark.parametrize(
    "options, message",
    [
        ({"image_size": 32}, "image_size is 32; faces are drawn 64 x 64"),
        ({"channels": 1}, "channels is 1; faces have 3"),
        ({"crop": "square"}, "crop is 'square'; faces are drawn whole"),
        ({"attributes": ("Glasses",)}, "faces has no attribute 'Glasses'.*'glasses'"),
        ({"priors": "smile:1"}, "no factor 'smile'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UserError, match=message):
        data.load("faces", **options)
