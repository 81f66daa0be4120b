"""Pictures: exact pixels where they belong, labels beside them, curves that survive any values."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ivg import plots

WHITE = 255


def images(n: int, height: int, width: int, channels: int = 1) -> np.ndarray:
    """Random images without white, so that paper is told from image."""
    shape = (n, height, width, channels)
    return np.random.default_rng(0).integers(0, 250, shape, np.uint8)


def find(picture: np.ndarray, image: np.ndarray, scale: int) -> tuple[int, int]:
    """Where an enlarged image stands in a picture: (y, x); it must be there exactly once."""
    tile = np.kron(np.broadcast_to(image, (*image.shape[:2], 3)), np.ones((scale, scale, 1), int))
    height, width, _ = tile.shape
    candidates = np.argwhere((picture == tile[0, 0]).all(-1))
    places = [
        (int(y), int(x))
        for y, x in candidates
        if np.array_equal(picture[y : y + height, x : x + width], tile)
    ]
    assert len(places) == 1
    return places[0]


def ink(picture: np.ndarray) -> bool:
    return bool((picture < WHITE).any())


def test_to_uint8_is_the_inverse_of_scaling():
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(plots.to_uint8(values / 127.5 - 1), values)
    np.testing.assert_array_equal(plots.to_uint8(values.astype(np.float32) / 127.5 - 1), values)
    special = np.array([-3, 7, np.nan, np.inf, -np.inf], np.float32)
    np.testing.assert_array_equal(plots.to_uint8(special), [0, 255, 0, 255, 0])


@pytest.mark.parametrize(
    ("height", "width", "channels", "scale"),
    [
        (16, 16, 1, 3),
        (28, 28, 1, 2),
        (32, 32, 3, 2),
        (64, 64, 3, 1),
        (64, 48, 3, 1),
        (10, 20, 1, 3),
    ],
)
def test_grid_holds_exact_enlarged_pixels(height, width, channels, scale):
    batch = images(5, height, width, channels)
    picture = plots.grid(batch, 3)
    assert picture.dtype == np.uint8 and picture.shape[-1] == 3
    places = [find(picture, image, scale) for image in batch]
    gap = plots._GAP
    for i, (y, x) in enumerate(places):
        assert y == places[0][0] + (i // 3) * (height * scale + gap)
        assert x == places[0][1] + (i % 3) * (width * scale + gap)
    # No tile where there is no image.
    y, x = places[4][0], places[2][1]
    assert not ink(picture[y : y + height * scale, x:])


def test_floats_and_bytes_give_the_same_picture():
    batch = images(4, 16, 16)
    picture = plots.grid(batch / np.float32(127.5) - 1, 2)
    np.testing.assert_array_equal(picture, plots.grid(batch, 2))


def test_labels_stand_beside_the_images():
    batch = images(6, 16, 16)
    bare = plots.grid(batch, 3)
    names = {"row_labels": ["a", "bcd"], "column_labels": ["x", "y", "z"], "title": "Title"}
    picture = plots.grid(batch, 3, **names)
    y, x = find(picture, batch[0], 3)
    assert ink(picture[y : y + 48, : x - 2]) and ink(picture[y + 50 : y + 98, : x - 2])
    assert ink(picture[y - 22 : y - 2, x : x + 48]) and ink(picture[: y - 24, :])
    block = (slice(y, y + 98), slice(x, x + 148))
    by, bx = find(bare, batch[0], 3)
    np.testing.assert_array_equal(picture[block], bare[by : by + 98, bx : bx + 148])
    for rest in (names | {"row_labels": ["a"]}, names | {"column_labels": ["x"] * 4}):
        with pytest.raises(ValueError, match="labels or none"):
            plots.grid(batch, 3, **rest)


def test_long_labels_and_titles_find_room():
    batch = images(2, 16, 16)
    labels = ["Wearing_Lipstick_And_Necklace", "No"]
    picture = plots.grid(batch, 2, column_labels=labels, title="word " * 30)
    (y, x), (_, x2) = find(picture, batch[0], 3), find(picture, batch[1], 3)
    assert x2 - x == 50 and y > 300  # many lines of title and an upright label
    edges = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
    assert not any(ink(edge) for edge in edges)
    wide = plots.grid(batch, 2, title="Incomprehensibilities-" * 4)
    assert not ink(wide[:, -1]) and wide.shape[1] > 400


def test_reconstructions_pair_real_above_reconstructed():
    batch = images(10, 16, 16)
    real, other = batch[:5], batch[5:]
    picture = plots.reconstructions(real, other, columns=3, title="Pairs")
    above, below = [[find(picture, i, 3) for i in side] for side in (real, other)]
    for (y, x), (y_hat, x_hat) in zip(above, below, strict=True):
        assert x == x_hat and y_hat - y == 48 + plots._GAP
    assert above[3][0] - below[0][0] == 48 + plots._WIDE_GAP
    with pytest.raises(ValueError, match="as many"):
        plots.reconstructions(real, other[:4])


def test_traversal():
    batch = images(6, 16, 16, 3).reshape(2, 3, 16, 16, 3)
    picture = plots.traversal(batch, row_labels=["0", "1"], column_labels=["-1", "0", "1"])
    places = np.array([[find(picture, image, 3) for image in row] for row in batch])
    assert (places[0, :, 0] == places[0, 0, 0]).all() and (np.diff(places[:, 0, 0]) == 50).all()
    assert (places[:, 1, 1] == places[0, 1, 1]).all() and (np.diff(places[0, :, 1]) == 50).all()


def test_interpolation_has_the_real_images_at_the_sides():
    batch = images(10, 16, 16)
    middle, first, last = batch[:6].reshape(2, 3, 16, 16, 1), batch[6:8], batch[8:]
    picture = plots.interpolation(middle, first, last, title="Between")
    for row in range(2):
        left, right = find(picture, first[row], 3), find(picture, last[row], 3)
        steps = [find(picture, image, 3) for image in middle[row]]
        assert {y for y, _ in [left, right, *steps]} == {left[0]}
        assert np.diff([x for _, x in [left, *steps, right]]).tolist() == [60, 50, 50, 60]


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 8, 8, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\[N, H, W, 1 or 3\]"):
        plots.grid(np.zeros(shape), 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_save(tmp_path, channels):
    picture = images(1, 20, 30, channels)[0]
    path = plots.save(tmp_path / "figures" / "a.png", picture)
    with Image.open(path) as found:
        np.testing.assert_array_equal(np.asarray(found), np.broadcast_to(picture, (20, 30, 3)))
    assert os.listdir(tmp_path / "figures") == ["a.png"]


def test_curves(tmp_path):
    steps = np.arange(0, 5000, 10)
    noise = np.random.default_rng(0).normal(size=len(steps))
    spiky = noise.copy()
    spiky[[3, 50]] = 1e9, np.nan
    series = {
        "D/loss": (steps, spiky),
        "D/penalty": (steps, np.zeros(len(steps))),
        "G/loss": ([0, 10, 20], [1.0, np.inf, 2.0]),
        "G/one": ([5], [1.0]),
        "G/none": ([5], [np.nan]),
        "plain": (steps, noise),
    }
    path = plots.curves(tmp_path / "curves.png", series, title="Losses")
    with Image.open(path) as found:
        assert found.size == (2 * 465, 3 * 315 + 60)
        assert ink(np.asarray(found))
    assert plots.curves(tmp_path / "empty.png", {}).exists()


def test_numbered_series_share_a_panel_under_their_own_numbers():
    points = (np.arange(2), np.ones(2))
    names = ("E/kl", "E/kl_01", "E/kl_03", "E/info_upper")
    panels = plots._panels({name: points for name in names})
    assert {name: list(curves) for name, curves in panels.items()} == {
        "E/kl": [""],
        "E/kl_i": ["1", "3"],
        "E/info_upper": [""],
    }


def test_panels_are_grouped_by_player_where_that_fits():
    names = ["D/a", "G/a", "D/b", "G/b", "E/a", "E/b", "E/c"]
    assert plots._panel_rows(names) == [["D/a", "D/b"], ["G/a", "G/b"], ["E/a", "E/b", "E/c"]]
    assert plots._panel_rows(["A/x", "B/x", "C/x"]) == [["A/x", "B/x", "C/x"]]
    assert plots._panel_rows([f"D/{i}" for i in range(6)]) == [
        ["D/0", "D/1", "D/2", "D/3"],
        ["D/4", "D/5"],
    ]
    assert plots._panel_rows([]) == []


def test_running_mean_against_a_loop():
    values = np.random.default_rng(0).normal(size=23)
    for window in (3, 4, 7, 50):
        half = window // 2
        naive = [values[max(i - half, 0) : i + half + 1].mean() for i in range(len(values))]
        np.testing.assert_allclose(plots._running_mean(values, window), naive, atol=1e-12)


def test_matplotlib_is_imported_only_for_curves():
    code = "import ivg.plots, sys; print('matplotlib' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=pathlib.Path(__file__).resolve().parent.parent,
    )
    assert (found.stdout, found.stderr) == ("False\n", "")


def test_tiny_images_are_enlarged_smoothly():
    batch = np.zeros((1, 8, 8, 1), np.uint8)
    batch[0, 4, 4] = 255
    picture = plots.grid(batch, 1)
    tile = picture[plots._MARGIN :, plots._MARGIN :][:48, :48, 0]
    assert tile.max() > 200 and len(np.unique(tile)) > 10  # a soft dot, not a square
    row, column = np.unravel_index(tile.argmax(), tile.shape)
    assert (row // 6, column // 6) == (4, 4)
