"""Sprites (re-rendered dSprites): measured counts, an even-odd oracle, colours, ground truth."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ivg import data
from ivg.data import batches, sprites
from ivg.data.sprite_outlines import HEART_RADII
from ivg.errors import UserError

COLOURED = [("ibgan", sprites.draw_ibgan), ("dlib", sprites.draw_dlib)]


def lit(factors):
    """bool [N, 64, 64]"""
    images = np.asarray(sprites.render(np.array(factors)))
    assert images.dtype == np.uint8 and set(np.unique(images)) == {0, 255}
    return images[..., 0] == 255


def orientations(shape):
    return lit([[shape, 5, o, 0, 0] for o in range(40)])


def corners(shape):
    """The outline's corners at scale 1, v down: [K, 2]."""
    if shape == 0:
        return 9.6 * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    if shape == 1:
        t = np.arange(64) * 2 * np.pi / 64
        return np.stack([12.78 * np.cos(t), 7.22 * np.sin(t)], axis=1)
    t = np.radians(np.arange(0, 360, 2.5))
    r = np.array([*HEART_RADII, *HEART_RADII[-2:0:-1]])
    return np.stack([r * np.sin(t), r * np.cos(t)], axis=1)


def even_odd(factors):
    """A second road to the image: corners carried to the screen, crossings counted, float64."""
    shape, scale, orientation, x, y = factors
    angle = np.linspace(0, 2 * np.pi, 40)[orientation]
    u, v = (0.5 + 0.1 * scale) * corners(shape).T
    xs = 16 + 32 * x / 31 + u * np.cos(angle) + v * np.sin(angle)
    ys = 16 + 32 * y / 31 - u * np.sin(angle) + v * np.cos(angle)
    column, row = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
    inside = np.zeros((64, 64), bool)
    for x0, y0, x1, y1 in zip(xs, ys, np.roll(xs, 1), np.roll(ys, 1), strict=True):
        if y0 != y1:
            crosses = (y0 > row) != (y1 > row)
            inside ^= crosses & (column < x0 + (row - y0) * (x1 - x0) / (y1 - y0))
    return inside


@pytest.mark.parametrize(
    "shape, counts",
    [
        (0, [100, 144, 196, 256, 324, 400]),
        (1, [76, 104, 144, 184, 228, 288]),
        (2, [58, 84, 108, 140, 182, 222]),
    ],
)
def test_counts_at_every_scale(shape, counts):
    images = lit([[shape, scale, 0, 0, 0] for scale in range(6)])
    assert images.sum((1, 2)).tolist() == counts


@pytest.mark.parametrize(
    "shape, scale, columns, rows",
    [
        (0, 5, (6, 25), (6, 25)),
        (1, 5, (3, 28), (9, 22)),
        (2, 5, (6, 25), (7, 23)),
        (0, 0, (11, 20), (11, 20)),
        (1, 0, (10, 21), (12, 19)),
        (2, 0, (11, 20), (11, 19)),
    ],
)
def test_extents(shape, scale, columns, rows):
    (image,) = lit([[shape, scale, 0, 0, 0]])
    for axis, extent in ((0, columns), (1, rows)):
        (where,) = np.nonzero(image.any(axis))
        assert (where[0], where[-1]) == extent


def test_rows_of_the_heart():
    (image,) = lit([[2, 5, 0, 0, 0]])
    runs = []
    for row in image[7:24]:
        edges = np.flatnonzero(np.diff(np.pad(row.astype(int), 1)))
        runs.append((edges[1::2] - edges[::2]).tolist())
    widths = [[18], [20], [20], [18], [18], [16], [16], [14], [12], [10], [8], [6], [4], [2]]
    assert runs == [[5, 5], [7, 7], [8, 8], *widths]


def test_counts_at_every_orientation():
    square, ellipse, heart = (orientations(shape).sum((1, 2)) for shape in range(3))
    assert square[[0, 39]].tolist() == [400, 400]
    assert set(square[1:39].tolist()) == {364, 368, 372}
    assert np.bincount(square[1:39]).argmax() == 368
    assert (ellipse.min(), ellipse.max()) == (286, 294)
    border = [(i, j) for i, j in itertools.product(range(32), repeat=2) if {i, j} & {0, 31}]
    moved = lit([[2, 5, 0, x, y] for x, y in border]).sum((1, 2))
    assert (min(heart.min(), moved.min()), max(heart.max(), moved.max())) == (219, 232)


@pytest.mark.parametrize("shape", range(3))
def test_a_full_turn_is_no_turn(shape):
    first, last = lit([[shape, 3, 0, 7, 20], [shape, 3, 39, 7, 20]])
    np.testing.assert_array_equal(first, last)


def test_nothing_leaves_the_frame():
    ends = itertools.product(range(3), [5], range(40), [0, 31], [0, 31])
    images = lit(list(ends))
    touched = images.any(0)
    assert touched[[3, 60]].any(1).all() and touched[:, [3, 60]].any(0).all()
    assert not touched[:2].any() and not touched[62:].any()
    assert not touched[:, :2].any() and not touched[:, 62:].any()


def test_equals_the_even_odd_rule():
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(0, size, 256) for size in sprites.SIZES], axis=1)
    expected = np.stack([even_odd(row) for row in factors])
    np.testing.assert_array_equal(lit(factors), expected)


def test_turns_counter_clockwise_and_moves_right_and_down():
    heart, ellipse, moved = lit([[2, 5, 10, 16, 16], [1, 5, 5, 16, 16], [0, 5, 0, 31, 0]])
    # A quarter turn takes the heart's tip from below to the right: its last column is its thinnest.
    (columns,) = np.nonzero(heart.any(0))
    assert heart[:, columns[-1]].sum() < 4 < heart[:, columns[0]].sum()
    quadrants = ellipse[17:32, 33:48].sum(), ellipse[17:32, 17:32].sum()  # above: right, left
    assert quadrants[0] > 2 * quadrants[1]
    rows, columns = np.nonzero(moved)
    assert columns.mean() + 0.5 == pytest.approx(48) and rows.mean() + 0.5 == pytest.approx(16)


def test_index_and_factors():
    index = np.arange(sprites.COUNT)
    factors = np.asarray(sprites.factors_of(index))
    expected = np.stack(np.unravel_index(index, sprites.SIZES), axis=1)
    np.testing.assert_array_equal(factors, expected)
    np.testing.assert_array_equal(sprites.index_of(factors), index)


def test_same_pixels_on_four_devices():
    index = np.random.default_rng(1).integers(0, sprites.COUNT, 16).astype(np.int32)
    key = jax.random.key(3)
    expected = np.asarray(jax.jit(sprites.draw_ibgan)(index, key))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    draw = jax.jit(sprites.draw_ibgan, out_shardings=sharding)
    compiled = draw.lower(jax.device_put(index, sharding), key).compile()
    assert "all-gather" not in compiled.as_text() and "all-reduce" not in compiled.as_text()
    np.testing.assert_array_equal(compiled(jax.device_put(index, sharding), key), expected)


@pytest.mark.parametrize("coloring, draw", COLOURED)
def test_colours_come_from_the_key(coloring, draw):
    index, keys = jnp.arange(0, sprites.COUNT, 1440), jax.random.split(jax.random.key(0))
    draw = jax.jit(draw)
    first, again, other = (np.asarray(draw(index, keys[i])) for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    white = np.asarray(sprites.draw(index, keys[0]))
    colours = first.max((1, 2))  # [512, 3]
    np.testing.assert_array_equal(first, np.where(white > 0, colours[:, None, None], 0))
    assert (other.max((1, 2)) == colours).all(1).mean() < 0.02
    if coloring == "ibgan":
        levels = [0, 36, 73, 109, 146, 182, 219, 255]
        counts = np.array([(colours == level).sum(0) for level in levels])
        assert counts.sum() == colours.size and abs(counts / len(colours) - 1 / 8).max() < 0.05
    else:
        assert colours.min() in (127, 128, 129, 130) and colours.max() in (253, 254, 255)
        assert colours.mean() / 255 == pytest.approx(0.75, abs=0.02)
    assert abs(np.corrcoef(colours.T) - np.eye(3)).max() < 0.15  # channels are independent


@pytest.mark.parametrize("name, coloring, draw", [("sprites", "ibgan", sprites.draw)]
                         + [("color_sprites", *row) for row in COLOURED])  # fmt: skip
def test_loaded(name, coloring, draw):
    loaded = data.load(name, coloring=coloring)
    images, channels = loaded.train.images, 1 if name == "sprites" else 3
    assert loaded.image_shape == (64, 64, channels) and loaded.name == name
    assert images.shape == (737_280, 64, 64, channels) and len(images) == 737_280
    assert images.draw is draw and images.dtype == np.uint8 and loaded.train.labels is None
    taken = batches.take(loaded.test.images, [300_000])
    assert taken.shape == (1, 64, 64, channels) and taken.dtype == np.uint8
    np.testing.assert_array_equal(taken[0], images[300_000])
    np.testing.assert_array_equal(images[-1], images[737_279])
    white = np.asarray(sprites.draw(np.array([300_000]), jax.random.key(0)))
    assert taken.any() and not taken[np.broadcast_to(white == 0, taken.shape)].any()


def test_take_many_none_and_beyond():
    images = data.load("color_sprites").train.images
    numbers = np.arange(1030) * 700
    taken = batches.take(images, numbers)
    assert taken.shape == (1030, 64, 64, 3)
    np.testing.assert_array_equal(taken[1028], images[1028 * 700])
    np.testing.assert_array_equal(taken[3], images[3 * 700])
    assert batches.take(images, []).shape == (0, 64, 64, 3)
    for wrong in (737_280, -737_281):
        with pytest.raises(IndexError, match="of 737280"):
            batches.take(images, [0, wrong])
        with pytest.raises(IndexError, match="of 737280"):
            images[wrong]


def test_the_stream_reads_them_too():
    images = data.load("sprites").train.images
    item = next(batches.stream(images, seed=0, batch_size=2, first_batch=0,
                               num_batches_per_item=1, num_threads=0))  # fmt: skip
    order = batches.order(len(images), seed=0, start=0, count=2)
    np.testing.assert_array_equal(item[0], batches.take(images, order))


def test_ground_truth_of_white_sprites():
    truth = data.load("sprites").ground_truth
    assert truth.names == ("shape", "scale", "orientation", "x", "y") and truth.nuisance == ()
    assert truth.sizes == (3, 6, 40, 32, 32)
    factors = np.array([[2, 5, 39, 31, 31], [0, 0, 0, 0, 0], [1, 2, 3, 4, 5]])
    images = truth.images(factors, 0)
    assert images.shape == (3, 64, 64, 1) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, truth.images(factors, 7))
    np.testing.assert_array_equal(images, sprites.draw(sprites.index_of(factors), None))


def test_ground_truth_with_colour_as_a_factor():
    truth = data.load("color_sprites").ground_truth
    assert truth.names[5] == "colour" and truth.sizes[5] == 512 and truth.nuisance == ("colour",)
    factors = np.array([[2, 5, 0, 3, 4, colour] for colour in (0, 7, 8, 64, 511, 2 * 64 + 5)])
    images = truth.images(factors, 0)
    np.testing.assert_array_equal(images, truth.images(factors, 1))
    expected = [[0, 0, 0], [0, 0, 255], [0, 36, 0], [36, 0, 0], [255, 255, 255], [73, 0, 182]]
    np.testing.assert_array_equal(images.max((1, 2)), expected)
    assert images[4].sum() == 3 * 255 * lit([[2, 5, 0, 3, 4]]).sum()


def test_ground_truth_with_colour_left_to_chance():
    truth = data.load("color_sprites", coloring="dlib").ground_truth
    assert not truth.determined
    assert truth.names == sprites.NAMES and truth.nuisance == ()
    factors = np.tile([1, 5, 0, 3, 4], (200, 1))
    first, again, other = (truth.images(factors, seed).max((1, 2)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert first.min() >= 127 and (first == other).all(1).mean() < 0.02
    assert len(np.unique(first, axis=0)) > 190


@pytest.mark.parametrize("factors, message", [([[0, 0, 40, 0, 0]], "outside"),
                                              ([[-1, 0, 0, 0, 0]], "outside"),
                                              ([[0, 0, 0, 0]], r"not \(N, 5\)")])  # fmt: skip
def test_factors_that_are_none(factors, message):
    with pytest.raises(ValueError, match=message):
        data.load("sprites").ground_truth.images(np.array(factors), 0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"image_size": 32}, "image_size is 32; sprites are drawn 64 x 64"),
        ({"channels": 3}, "channels is 3; sprites have 1.*color_sprites"),
        ({"name": "color_sprites", "channels": 1}, "channels is 1; color_sprites have 3"),
        ({"crop": 32}, "crop is 32; sprites are drawn whole"),
        ({"attributes": ("x",)}, "sprites has no attributes"),
        ({"coloring": "rainbow"}, "coloring is 'rainbow'; it must be 'ibgan' or 'dlib'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UserError, match=message):
        data.load(**{"name": "sprites"} | options)
