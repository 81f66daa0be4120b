"""Drawn faces: every factor moves what its name says and no more; edges are smooth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg.data import faces
from ivg.data.face_drawing import HAIR_STYLES, Face

NAMES = Face._fields
CONTINUOUS = [factor.name for factor in faces.FACTORS if factor.values == 0]
COLUMN = np.mgrid[:64, :64][1]
EYES = (slice(18, 38), slice(8, 57))  # of a face that is neither shifted nor rolled


def vectors(**changes):
    """float32 [N, F]: a plain face, upright in the middle, with some factors changed (N values)."""
    n = max([len(np.atleast_1d(v)) for v in changes.values()], default=1)
    face = dict.fromkeys(NAMES, 0.5) | {"glasses": 0, "beard": 0, "frame_shape": 0, "hair_style": 1}
    face |= {"skin": 0.2, "lens_darkness": 0.2}
    rows = [np.broadcast_to(np.atleast_1d(value), n) for value in (face | changes).values()]
    return np.stack(rows, axis=1).astype(np.float32)


def random_faces(n, **changes):
    """Factors of n faces of the default law, some of them set."""
    factors = np.array(faces.sample(jax.random.key(5), 64)[:n])
    for name, value in changes.items():
        factors[:, NAMES.index(name)] = value
    return factors


def rendered(factors):
    """int [N, 64, 64, 3], sixteen at a time: compiled once."""
    factors = np.asarray(factors)
    padded = np.pad(factors, [(0, -len(factors) % 16), (0, 0)])
    images = [faces.render(padded[i : i + 16]) for i in range(0, len(padded), 16)]
    return np.concatenate(images)[: len(factors)].astype(int)


def changed(**changes):
    """bool [64, 64]: the pixels that differ between the given values of factors."""
    images = rendered(vectors(**changes))
    return (images != images[:1]).any((0, 3))


def outside(mask, *regions):
    inside = np.zeros((64, 64), bool)
    for region in regions:
        inside[region] = True
    return mask & ~inside


def test_shapes_types_and_determinism():
    factors = random_faces(16).reshape(2, 8, -1)
    images = faces.render(factors)
    assert images.shape == (2, 8, 64, 64, 3) and images.dtype == jnp.uint8
    np.testing.assert_array_equal(images, faces.render(factors))
    flat = np.asarray(images).reshape(16, 64, 64, 3)
    assert len(np.unique(flat.reshape(16, -1), axis=0)) == 16 and flat.std((1, 2, 3)).min() > 20


@pytest.mark.parametrize("name", NAMES)
def test_every_factor_shows(name):
    factor = faces.FACTORS[NAMES.index(name)]
    ends = [0, factor.values - 1] if factor.values else [0, 1]
    present = {factor.owner: 1} if factor.owner else {}
    assert changed(**{name: ends}, **present).sum() >= 20


@pytest.mark.parametrize("owner", ["glasses", "beard"])
def test_sub_attributes_do_not_show_without_their_owner(owner):
    owned = [f.name for f in faces.FACTORS if f.owner == owner]
    first = random_faces(16, **{owner: 0})
    other = first.copy()
    for name in owned:
        top = faces.FACTORS[NAMES.index(name)].values - 1 or 1
        other[:, NAMES.index(name)] = np.abs(top - other[:, NAMES.index(name)])
    assert (first != other).any()
    np.testing.assert_array_equal(rendered(first), rendered(other))


def test_glasses_change_a_band_around_the_eyes():
    masks = [
        changed(glasses=[0, 1, 1, 1], frame_shape=[0, 0, 1, 2], frame_thickness=1),
        changed(glasses=1, frame_shape=[0, 1, 2]),
        changed(glasses=1, frame_thickness=[0, 0.3, 1]),
        changed(glasses=1, lens_darkness=[0, 0.5, 1]),
    ]
    for mask in masks:
        assert mask.any() and not outside(mask, EYES).any()
    assert masks[3].sum() < masks[0].sum()  # the lenses lie within the frames


def test_glasses_are_clear_to_see_at_any_rate():
    factors = random_faces(64, frame_thickness=0, lens_darkness=0)
    factors[:, 0] = 0
    without = rendered(factors)
    factors[:, 0] = 1
    differences = np.abs(rendered(factors) - without).max(-1)
    assert ((differences > 40).sum((1, 2)) > 35).all()


def test_eyes_show_through_the_glasses():
    strong = np.abs(np.subtract(*rendered(vectors(glasses=1, lens_darkness=0.2, gaze=[0, 1]))))
    weak = np.abs(np.subtract(*rendered(vectors(glasses=1, lens_darkness=1, gaze=[0, 1]))))
    assert strong.max() > 80 and 10 < weak.max() < strong.max()


def test_beard_changes_the_lower_face():
    lower = (slice(28, 64), slice(8, 57))
    longer = changed(beard=1, beard_length=[0, 0.5, 1])
    assert not outside(changed(beard=[0, 1], beard_length=1), lower).any()
    assert not outside(longer, lower).any() and not longer[:48, 24:40].any()
    assert not outside(changed(beard=1, beard_darkness=[0, 1]), lower).any()
    # It grows downwards: longer beards cover more, and what the shorter covers already.
    lengths = vectors(beard=[0, 1, 1, 1], beard_length=[0, 0, 0.5, 1], beard_darkness=1)
    bare, *beards = rendered(lengths)
    covered = [(np.abs(image - bare).max(-1) > 60) for image in beards]
    assert covered[0].sum() < covered[1].sum() < covered[2].sum()
    assert not (covered[0] & ~covered[2]).any()


def grown(mask):
    """The mask and its pixels' eight neighbours."""
    for axis in (0, 1):
        mask = mask | np.roll(mask, 1, axis) | np.roll(mask, -1, axis)
    return mask


def test_background_factors_change_the_background_alone():
    background = changed(background_colour=[0, 0.5, 1])
    assert 0.5 < background.mean() < 0.7 and not background[10:60, 25:39].any()
    gradient = changed(background_gradient=[0, 1])
    assert gradient.any() and not (gradient & ~grown(background)).any()
    # Top rows darken, bottom rows brighten, as much on both sides.
    first, last = rendered(vectors(background_gradient=[0, 1]))
    assert (last[0] < first[0]).all() and (last[45, :3] > first[45, :3]).all()
    # The light falls on the person and not behind it.
    light = changed(light=[0, 1])
    assert light.any() and not (light & ~grown(grown(~background))).any()


def test_light_brightens_the_side_it_comes_from():
    left, right = rendered(vectors(light=[0, 1]))[:, 38:42, 18:46].mean((1, 3))
    assert left[0] > right[0] + 15 and right[-1] > left[-1] + 15
    assert left[13:15].mean() == pytest.approx(right[13:15].mean(), abs=3)


def test_eyes_move_alone():
    eyes = [(slice(20, 36), slice(17, 31)), (slice(20, 36), slice(34, 48))]
    for mask in (changed(gaze=[0, 0.3, 1]), changed(eye_size=[0, 1])):
        assert mask[eyes[0]].any() and mask[eyes[1]].any() and not outside(mask, *eyes).any()
    # Both irises move the same way: their dark pixels' mean column grows with the gaze.
    for eye in eyes:
        dark = 255 - rendered(vectors(gaze=[0, 0.5, 1]))[(slice(None), slice(25, 31), eye[1])]
        dark = np.maximum(dark.mean(-1) - 130, 0).sum(1)
        centres = (dark * np.arange(14)).sum(1) / dark.sum(1)
        assert (np.diff(centres) > 0.5).all()


def test_mouth_moves_alone():
    assert not outside(changed(mouth_curve=[0, 1]), (slice(37, 49), slice(24, 41))).any()
    frown, smile = rendered(vectors(mouth_curve=[0, 1]))
    red = [np.where(image[..., 0] > image[..., 1] + 80) for image in (frown, smile)]
    corners = [rows[(columns < 28) | (columns > 35)].mean() for rows, columns in red]
    assert corners[1] < corners[0] - 1.2  # a smile has its corners up


def test_hair_colour_leaves_face_and_beard_alone():
    for style in range(len(HAIR_STYLES)):
        mask = changed(hair_colour=[0, 0.5, 1], hair_style=style, beard=1)
        assert mask.sum() > 40
        assert not mask[22:60, 23:41].any() and not mask[55:].any()  # brows, face, beard; clothes
    beard = rendered(vectors(beard=1, hair_colour=[0, 1], beard_darkness=1, hair_style=1))
    assert (beard[:, 45:52, 28:36] == beard[:1, 45:52, 28:36]).all()


def test_hair_style_leaves_the_middle_of_the_face_alone():
    mask = changed(hair_style=range(4))
    assert mask.any() and not mask[20:48, 24:40].any()


def test_skin_leaves_clothes_background_and_features_alone():
    background = changed(background_colour=[0, 1])
    mask = changed(skin=[0, 0.5, 1])
    edge = changed(face_shape=[0.5, 0.501, 0.499])
    assert mask.sum() > 600 and not (mask & background & ~edge)[:45].all()
    images = rendered(vectors(skin=[0, 1], hair_style=2))
    np.testing.assert_array_equal(images[0, 10], images[1, 10])  # the crown of the head: hair
    assert (images[0, 35:40, 24:40].mean() - images[1, 35:40, 24:40].mean()) > 60


def test_shift_moves_the_whole_person():
    quarter = 0.125  # of the shift's 8 pixels: one pixel
    images = rendered(vectors(shift_x=[0.5, 0.5 + quarter], background_gradient=0.5))
    np.testing.assert_allclose(images[1][:, 1:], images[0][:, :-1], atol=1)
    images = rendered(vectors(shift_y=[0.5, 0.5 + 1 / 6], background_gradient=0.5))
    np.testing.assert_allclose(images[1][1:], images[0][:-1], atol=1)


def test_upright_face_is_its_own_mirror_image():
    image = rendered(vectors(glasses=0))[0]
    assert np.abs(image - image[:, ::-1])[22:46, 22:42].max() <= 1  # but for the strands of hair


def test_roll_is_clockwise_as_seen():
    persons = [~changed(roll=roll, background_colour=[0, 1]) for roll in (0, 1)]
    crowns = [COLUMN[:16][person[:16]].mean() for person in persons]
    assert crowns[0] < 31 and crowns[1] > 32
    np.testing.assert_array_equal(*(person[62:] for person in persons))  # the body stays


def test_edges_are_smooth():
    """Along the rows over the crown of a bald head, background turns to skin by way of a mix."""
    tops = np.linspace(0.5, 0.5 + 1 / 6, 11)  # one pixel, in tenths
    column = rendered(vectors(shift_y=tops, hair_style=0, light=0.5))[:, :20, 31, 0]
    between = (column > column[:, :1] + 10) & (column < column[:, -1:] - 10)
    assert (between.sum(1) <= 2).all() and between.any(1).mean() > 0.7
    steps = np.abs(np.diff(column, axis=0))
    assert steps.max() < 0.2 * np.ptp(column)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_no_jumps(name):
    """A hundredth of a factor's range moves no pixel by much; edges cross a tenth of one."""
    first = random_faces(8, glasses=1, beard=1)
    first[:, NAMES.index(name)] = np.linspace(0.03, 0.95, 8)
    second = first.copy()
    second[:, NAMES.index(name)] += 0.01
    difference = np.abs(rendered(second) - rendered(first))
    assert 0 < difference.max() <= 40 and difference.mean() < 2.5
