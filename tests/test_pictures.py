"""Pictures of a trained state, on a method whose images show its codes pixel by pixel."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg import data, examples, pictures, plots
from ivg.players import Code, Method

DIMS, CLASSES, NOISE = 3, 2, 1
WIDTH = DIMS + CLASSES + NOISE
LOW, HIGH = -2.0, 4.0
KL = (0.25, 3.0, 1.125)
STATE = jnp.float32(1.0)
KEY = jax.random.key(0)


@functools.cache
def toy(*, codes="dcz", encode=True, kl=KL) -> Method:
    """An image [2, width, 1] holds all codes over 4 in its first row, a quarter in its second."""
    known = {
        "d": Code("categorical", CLASSES),
        "c": Code("continuous", DIMS, LOW, HIGH),
        "z": Code("noise", NOISE),
    }
    known = {name: known[name] for name in codes}
    ends = np.cumsum([code.size for code in known.values()])[:-1]

    def generate(s, codes):
        row = s * jnp.concatenate([codes[name] for name in known], axis=-1) / 4
        return jnp.stack([row, row / 4], axis=1)[..., None]

    def decode(s, x):
        parts = jnp.split(4 / s * x[:, 0, :, 0], ends, axis=-1)
        return dict(zip(known, parts, strict=True))

    def prior(s, key, n):
        drawn = {name: s + jnp.ones((n, code.size)) for name, code in known.items()}
        if "d" in known:
            drawn["d"] = jnp.tile(jnp.eye(CLASSES)[-1:], (n, 1))
        return drawn

    def bounds(s, key, n):
        return {"info_lower": jnp.zeros(n), "kl": jnp.tile(jnp.array(kl), (n, 1))}

    return Method(
        init=lambda key: STATE,
        phases=(),
        encode=jax.jit(decode) if encode else None,
        generate=jax.jit(generate),
        prior=jax.jit(prior, static_argnums=2),
        codes=known,
        bounds=bounds if kl else None,
    )


def dataset(n: int = 8, *, grid: bool = True, width: int = WIDTH) -> data.Dataset:
    pixels = np.random.default_rng(1).integers(0, 256, (n, 2, width, 1), np.uint8)
    truth = data.GroundTruth(("row",), (n,), lambda factors, seed: pixels[factors[:, 0]])
    split = data.Split(pixels, None, None)
    return data.Dataset("toy", split, split, (2, width, 1), ground_truth=truth if grid else None)


def shown(codes: np.ndarray) -> np.ndarray:
    """What the toy generates from codes [..., width], side by side: images [..., 2, width, 1]."""
    row = np.asarray(codes, np.float32) / 4
    return np.stack([row, row / 4], axis=-2)[..., None]


def moved(base: np.ndarray, axes: list[int], columns: int, first: int = 0) -> np.ndarray:
    """Codes [axes, columns, width]: one axis of the continuous code goes from low to high."""
    codes = np.tile(base, (len(axes), columns, 1)).astype(np.float64)
    for row, axis in enumerate(axes):
        codes[row, :, first + axis] = np.linspace(LOW, HIGH, columns)
    return codes


def test_numbers_of_an_ordered_set_are_the_first_ones():
    assert examples.chosen(dataset(8, grid=False), 3).tolist() == [0, 1, 2]
    assert examples.chosen(dataset(8, grid=False), 20).tolist() == list(range(8))


def test_numbers_of_a_grid_are_spread_and_always_the_same():
    found = examples.chosen(dataset(1000), 50)
    assert len(set(found.tolist())) == 50
    assert found.min() < 100 and found.max() >= 900
    np.testing.assert_array_equal(found, examples.chosen(dataset(1000), 50))
    assert sorted(examples.chosen(dataset(8), 20).tolist()) == list(range(8))


def test_unit_is_the_scale_of_the_training():
    found = examples.unit(np.array([0, 51, 255], np.uint8))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [-1.0, -0.6, 1.0], atol=1e-6)


def test_middle_keeps_the_class_and_nothing_else():
    codes = pictures.middle(toy(), STATE, KEY, 4)
    assert {name: code.shape for name, code in codes.items()} == {
        "d": (4, CLASSES),
        "c": (4, DIMS),
        "z": (4, NOISE),
    }
    assert (codes["d"] == jnp.array([[0.0, 1.0]])).all()
    assert not codes["c"].any() and not codes["z"].any()


@pytest.mark.parametrize("order", [None, KL])
def test_code_traversal_goes_from_low_to_high_in_the_order_of_the_kl(order):
    base = np.array([0.0, 1.0, 0.5, -0.5, 1.5, 0.75])
    codes = {"d": base[None, :2], "c": base[None, 2:5], "z": base[None, 5:]}
    codes = {name: jnp.asarray(code, jnp.float32) for name, code in codes.items()}
    rows, labels = pictures.code_traversal(toy(), STATE, codes, 7, order)
    axes = [0, 1, 2] if order is None else [1, 2, 0]
    np.testing.assert_allclose(rows, shown(moved(base, axes, 7, first=CLASSES)), atol=1e-6)
    assert labels == (["c1", "c2", "c3"] if order is None else ["c2 3.00", "c3 1.12", "c1 0.25"])


def test_code_traversal_of_two_continuous_codes_has_the_range_of_each():
    codes = {"a": Code("continuous", 1, -1.0, 1.0), "b": Code("continuous", 1, 0.0, 3.0)}
    method = toy()._replace(
        codes=codes,
        generate=lambda s, c: jnp.concatenate([c["a"], c["b"]], axis=1)[:, None, :, None],
    )
    base = {"a": jnp.full((1, 1), 9.0), "b": jnp.full((1, 1), 7.0)}
    rows, labels = pictures.code_traversal(method, STATE, base, 3)
    assert labels == ["a1", "b1"]
    expected = [[[-1, 7], [0, 7], [1, 7]], [[9, 0], [9, 1.5], [9, 3]]]
    np.testing.assert_allclose(rows[:, :, 0, :, 0], expected)


@pytest.mark.parametrize("kl", [None, KL])
def test_traversal_picture_carries_the_kl(kl):
    found = pictures.traversal_picture(toy(codes="c", kl=kl), STATE, dataset(), KEY, 4)
    axes = [1, 2, 0] if kl else [0, 1, 2]
    title = "each row moves one code, all else at 0" + (", by KL in nats" if kl else "")
    expected = plots.traversal(
        shown(moved(np.zeros(DIMS), axes, 4)),
        row_labels=["c2 3.00", "c3 1.12", "c1 0.25"] if kl else ["c1", "c2", "c3"],
        column_labels=["-2.0", "+0.0", "+2.0", "+4.0"],
        title=title,
    )
    np.testing.assert_array_equal(found, expected)


def test_rates_of_images_order_the_rows_where_a_method_has_them():
    """The mean over the test images: their first pixels are 4 times the codes."""
    method = toy(codes="c", kl=None)._replace(rates=lambda s, x: s + jnp.abs(x[:, 0, :, 0]))
    known = dataset(width=DIMS)
    expected = 1 + np.abs(examples.unit(known.test.images[:, 0, :, 0])).mean(axis=0)
    found = pictures.kl_per_code(method, STATE, known, KEY)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_long_code_shows_its_largest_dimensions():
    size = pictures.MAX_ROWS + 6
    method = toy(codes="c")._replace(
        codes={"c": Code("continuous", size)},
        generate=lambda s, codes: codes["c"][:, None, :, None],
    )
    rows, labels = pictures.code_traversal(
        method, STATE, {"c": jnp.zeros((1, size))}, 2, order=np.arange(size)
    )
    assert len(rows) == len(labels) == pictures.MAX_ROWS
    assert (labels[0], labels[-1]) == (f"c{size} {size - 1:.2f}", "c7 6.00")


@pytest.mark.parametrize("count", [3, 2])
def test_traversal_of_images_moves_one_of_their_codes(count):
    """Also of a set with fewer images than are asked for."""
    method, known = toy(codes="c"), dataset(count, width=DIMS)
    chosen = known.test.images[examples.chosen(known, 3)]
    blocks = [shown(moved(4 * examples.unit(x)[0, :, 0], [1, 2, 0], 10)) for x in chosen]
    expected = plots.traversal(
        np.concatenate(blocks, axis=1),
        row_labels=["c2 3.00", "c3 1.12", "c1 0.25"],
        title=f"the codes of {count} test images, one moving alone from low to high",
    )
    found = pictures.traversal_of_images(method, STATE, known, KEY)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1  # the rounding of a shade


def test_class_traversal_has_a_row_per_class():
    values = np.linspace(LOW, HIGH, 5)
    found = pictures.class_traversal(toy(), STATE, KEY, "c", 1, values)
    codes = np.zeros((CLASSES, 5, WIDTH))
    codes[0, :, 0] = codes[1, :, 1] = 1.0
    codes[:, :, CLASSES + 1] = values
    np.testing.assert_allclose(found, shown(codes), atol=1e-6)


def test_reconstruct_and_interpolate():
    x = examples.unit(dataset(4).test.images)
    x[:, 1] = x[:, 0] / 4  # images that the toy can generate
    np.testing.assert_allclose(pictures.reconstruct(toy(), STATE, jnp.asarray(x)), x, atol=1e-6)
    found = pictures.interpolate(toy(), STATE, x, 3)
    expected = [[x[i], (x[i] + x[i + 1]) / 2, x[i + 1]] for i in (0, 2)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_samples_are_drawn_from_the_prior_of_the_state():
    found = pictures.sample_picture(toy(codes="c"), STATE * 0.5, KEY, n=6, columns=3)
    expected = plots.grid(0.5 * shown(np.full((6, DIMS), 1.5)), 3)
    np.testing.assert_array_equal(found, expected)


ENCODED = {"reconstructions", "interpolations"}
CLASSED = {"traversal_d_c1", "traversal_d_c2", "traversal_d_c3"}


@pytest.mark.parametrize(
    "options, grid, names",
    [
        ({"codes": "z", "encode": False, "kl": None}, False, set()),
        ({"codes": "z", "encode": True, "kl": None}, True, ENCODED),
        ({"codes": "c", "encode": False, "kl": None}, True, {"traversal_codes"}),
        ({"codes": "c", "encode": False}, True, {"traversal_codes"}),
        ({"codes": "c"}, False, {"traversal_codes"} | ENCODED),
        ({"codes": "c"}, True, {"traversal_codes", "traversal_images"} | ENCODED),
        ({"codes": "dcz", "kl": None}, False, {"traversal_codes"} | CLASSED | ENCODED),
        ({"codes": "dz", "kl": None}, False, ENCODED),
    ],
)
def test_all_pictures_of_a_method(options, grid, names):
    method = toy(**options)
    width = sum(code.size for code in method.codes.values())
    found = pictures.pictures(method, STATE, dataset(7, grid=grid, width=width), KEY)
    assert found.keys() == {"samples"} | names
    for picture in found.values():
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] == 3
        assert (picture < 255).any()


def test_real_images_stand_beside_what_is_made_of_them():
    """An even number of the test images; of an ordered set the first ones."""
    method, known = toy(codes="c"), dataset(7, grid=False, width=DIMS)
    x = examples.unit(known.test.images[:6])
    found = pictures.pictures(method, STATE, known, KEY)
    x_hat = np.stack([x[:, 0], x[:, 0] / 4], axis=1)
    np.testing.assert_array_equal(found["reconstructions"], plots.reconstructions(x, x_hat))
    between = pictures.interpolate(method, STATE, x, 10)
    expected = plots.interpolation(between, x[0::2], x[1::2])
    np.testing.assert_array_equal(found["interpolations"], expected)
