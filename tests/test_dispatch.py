"""How the images of each kind of source reach a step; the loop's own tests are in test_train.py."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg import data, devices, dispatch
from ivg.data import batches
from ivg.players import Labelled, Player

COUNT, SHAPE, BATCH, SEED = 30, (2, 3, 1), 8, 5
KEY = jax.random.key(0)


def draw(numbers, key):
    """Image i has the number i in its first row and what the key gives in its second."""
    top = jnp.broadcast_to(numbers[:, None, None], (len(numbers), 1, 3)).astype(jnp.uint8)
    rest = jax.random.bits(key, (len(numbers), 1, 3), jnp.uint8)
    return jnp.concatenate([top, rest], axis=1)[..., None]


RENDERED = data.Rendered(COUNT, SHAPE, draw)
PIXELS = np.asarray(draw(jnp.arange(COUNT), KEY))
STREAMED = data.LazyImages(lambda i: PIXELS[i], COUNT, SHAPE)
SOURCES = {"held": PIXELS, "drawn": RENDERED, "streamed": STREAMED}
# The attributes of an image are its number in binary.
ATTRIBUTES = (np.arange(COUNT)[:, None] >> np.arange(5)[None]) % 2 == 1


class Nobody(NamedTuple):
    """A state without players."""

    t: jax.Array


def step(state, xs, key):
    """Shows its images, their attributes if it gets them, and its key."""
    shown = {"x": xs.x, "y": xs.y} if isinstance(xs, Labelled) else {"x": xs}
    return Nobody(state.t + 1), shown | {"key": jax.random.key_data(key)}


@functools.cache
def call(kind):
    return dispatch.make_dispatch(step, dispatch.reader(SOURCES[kind]))


def go(kind, *, first, steps, per_step, num_devices=None, first_step=0, attributes=None):
    """Metrics of `steps` steps from minibatch `first` on."""
    mesh = devices.make_mesh(num_devices)
    images, feed = dispatch.make_feed(
        SOURCES[kind], seed=SEED, batch_size=BATCH, mesh=mesh, attributes=attributes
    )
    index = feed(first, steps, per_step)
    start = (Nobody(np.int32(0)), np.int32(first_step), KEY)
    state, number, key = devices.place_state(start, mesh)
    with jax.set_mesh(mesh), jax.transfer_guard("disallow"):
        state, metrics = call(kind)(state, images, index, number, key)
    assert int(state.t) == steps
    return metrics


def numbers_of(metrics) -> np.ndarray:
    """Which images a step saw: int [k, n, B]."""
    x = np.asarray(metrics["x"])[..., 0, :, 0]
    assert (x == x[..., :1]).all()
    return np.round((x[..., 0] + 1) * 127.5).astype(int)


def expected_numbers(first, steps, per_step):
    found = batches.indices(
        COUNT, seed=SEED, batch_size=BATCH, first_batch=first, num_batches=steps * per_step
    )
    return found.reshape(steps, per_step, BATCH)


def test_reader_of_an_array_and_of_a_stream():
    index = jnp.array([[3, 0], [7, 7]])
    x, key = dispatch.reader(PIXELS)(jnp.asarray(PIXELS), index, KEY)
    np.testing.assert_array_equal(x, PIXELS[np.asarray(index)])
    assert key is KEY
    batch = jnp.asarray(PIXELS[:4].reshape(2, 2, *SHAPE))
    x, key = dispatch.reader(STREAMED)(jnp.zeros(0, jnp.uint8), batch, KEY)
    assert x is batch and key is KEY


def test_reader_of_drawn_images_has_a_key_for_each_batch_and_one_for_the_step():
    index = jnp.array([[3, 0], [3, 0], [9, 9]])
    read = jax.jit(dispatch.reader(RENDERED))
    x, key = read(jnp.zeros(0, jnp.uint8), index, KEY)
    assert x.shape == (3, 2, *SHAPE) and x.dtype == jnp.uint8
    np.testing.assert_array_equal(x[..., 0, 0, 0], index)
    rest = np.asarray(x[..., 1, :, 0])
    assert (rest[0] != rest[1]).any() and (rest[2, 0] != rest[2, 1]).any()
    assert jax.random.key_data(key).tolist() != jax.random.key_data(KEY).tolist()
    again, _ = read(jnp.zeros(0, jnp.uint8), index, KEY)
    other, _ = read(jnp.zeros(0, jnp.uint8), index, jax.random.key(1))
    np.testing.assert_array_equal(again, x)
    assert (np.asarray(other)[..., 1, :, :] != np.asarray(x)[..., 1, :, :]).any()


@pytest.mark.parametrize("kind", SOURCES)
def test_images_of_each_batch_are_those_of_the_order(kind):
    """At any number of steps in a call, of batches in a step, and across the end of an epoch."""
    for first, steps, per_step in ((0, 1, 2), (3, 3, 2)):
        metrics = go(kind, first=first, steps=steps, per_step=per_step)
        np.testing.assert_array_equal(numbers_of(metrics), expected_numbers(first, steps, per_step))


def test_held_and_streamed_images_are_the_same_to_the_bit():
    held, streamed = (go(kind, first=3, steps=3, per_step=2)["x"] for kind in ("held", "streamed"))
    np.testing.assert_array_equal(held, streamed)


@pytest.mark.parametrize("kind", ["held", "drawn"])
def test_keys_belong_to_the_step_number(kind):
    """A call of three steps draws what three calls of one draw; no two steps draw the same."""
    together = go(kind, first=4, steps=3, per_step=2, first_step=2)
    for i in range(3):
        alone = go(kind, first=4 + 2 * i, steps=1, per_step=2, first_step=2 + i)
        for name in together:
            np.testing.assert_array_equal(alone[name][0], together[name][i])
    assert len({tuple(key) for key in together["key"].tolist()}) == 3
    if kind == "drawn":
        rest = np.asarray(together["x"])[..., 1, :, 0].reshape(6, -1)
        assert len({row.tobytes() for row in rest}) == 6


@pytest.mark.parametrize("kind", SOURCES)
def test_what_stays_on_the_device(kind):
    mesh = devices.make_mesh()
    images, feed = dispatch.make_feed(SOURCES[kind], seed=SEED, batch_size=BATCH, mesh=mesh)
    assert images.shape == (PIXELS.shape if kind == "held" else (0,))
    assert images.sharding.is_fully_replicated and len(images.addressable_shards) == 4
    tail = SHAPE if kind == "streamed" else ()
    found = feed(2, 3, 2)
    assert found.shape == (3, 2, BATCH, *tail)
    assert {s.data.shape for s in found.addressable_shards} == {(3, 2, BATCH // 4, *tail)}
    assert found.dtype == (jnp.uint8 if kind == "streamed" else jnp.int32)
    assert feed(0, 2, 0).shape == (2, 0, BATCH, *tail)  # a phase that needs no images


def test_a_streamed_feed_goes_on_and_starts_again_where_it_is_asked():
    _, feed = dispatch.make_feed(STREAMED, seed=SEED, batch_size=BATCH, mesh=devices.make_mesh(1))
    for first, steps in ((0, 2), (2, 1), (1, 2), (7, 1)):
        found = np.asarray(feed(first, steps, 1))[..., 0, 0, 0]
        np.testing.assert_array_equal(found, expected_numbers(first, steps, 1))


def test_a_drawn_batch_is_split_over_the_devices_and_equals_that_of_one():
    four = go("drawn", first=0, steps=1, per_step=2)
    one = go("drawn", first=0, steps=1, per_step=2, num_devices=1)
    shapes = {shard.data.shape for shard in four["x"].addressable_shards}
    assert shapes == {(1, 2, BATCH // 4, *SHAPE)}
    for name in four:
        np.testing.assert_array_equal(four[name], one[name])


@pytest.mark.parametrize("kind", SOURCES)
def test_labels_are_those_of_the_images_they_come_with(kind):
    """At any number of steps in a call, of batches in a step, and across the end of an epoch."""
    for first, steps, per_step in ((0, 1, 2), (3, 3, 2)):
        how = {"first": first, "steps": steps, "per_step": per_step, "first_step": 4}
        metrics = go(kind, **how, attributes=ATTRIBUTES)
        y = np.asarray(metrics["y"])
        assert y.dtype == np.float32 and y.shape == (steps, per_step, BATCH, 5)
        numbers = expected_numbers(first, steps, per_step)
        np.testing.assert_array_equal(y @ 2.0 ** np.arange(5), numbers)
        alone = go(kind, **how)
        assert alone.keys() == {"x", "key"}
        for name in alone:  # images and keys are those of a method without attributes
            np.testing.assert_array_equal(metrics[name], alone[name])


@pytest.mark.parametrize("kind", SOURCES)
def test_labels_are_split_over_the_devices_as_their_images(kind):
    mesh = devices.make_mesh()
    plain, labelled = (
        dispatch.make_feed(
            SOURCES[kind], seed=SEED, batch_size=BATCH, mesh=mesh, attributes=attributes
        )[1]
        for attributes in (None, ATTRIBUTES[:, :2])
    )
    found = labelled(2, 3, 2)
    assert isinstance(found, Labelled) and found.y.dtype == bool
    np.testing.assert_array_equal(found.x, plain(2, 3, 2))
    assert {shard.data.shape for shard in found.y.addressable_shards} == {(3, 2, BATCH // 4, 2)}
    for x, y in zip(found.x.addressable_shards, found.y.addressable_shards, strict=True):
        assert x.device == y.device and x.index[:3] == y.index[:3]
    assert labelled(0, 2, 0).y.shape == (2, 0, BATCH, 2)  # a phase that needs no images


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_parameter_that_is_not_finite_is_noticed(bad):
    class Two(NamedTuple):
        G: Player
        D: Player
        t: int

    good = {"kernel": jnp.full((3, 2), 3e38), "bias": jnp.zeros(2)}  # large, but finite
    broken = good | {"kernel": good["kernel"].at[2, 0].set(bad)}
    state = Two(G=Player(good, {}, ()), D=Player(broken, {}, ()), t=0)
    found = jax.jit(dispatch.finite)(state)
    assert {name: bool(value) for name, value in found.items()} == {
        "finite/G": True,
        "finite/D": False,
    }
