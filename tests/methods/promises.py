"""What every method promises, as checks that the tests of each method call on tiny images.

Compiling is nearly all that they cost. So one compiled step serves all checks of a method, and
data are NumPy's: whatever `jax.numpy` does outside of `jit` is compiled too.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import numpy as np

from ivg import checkpoint, devices
from ivg.dispatch import make_dispatch, reader
from ivg.players import Labelled, Method, Player

SHAPE, BATCH = (8, 8, 1), 8


class Played(NamedTuple):
    """A method, a compiled step of it, its start and what the first step made of it."""

    method: Method
    step: Callable
    start: Any
    after: Any
    metrics: Mapping[str, jax.Array]


@functools.cache
def quick(f: Callable) -> Callable:
    """Jitted once, and compiled fast: these networks are tiny, compilation is all that costs."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def images(count: int = 1, seed: int = 0, shape: Sequence[int] = SHAPE) -> np.ndarray:
    """`count` minibatches of noise in [-1, 1], [count, BATCH, *shape]."""
    x = np.random.default_rng(seed).uniform(-1, 1, (count, BATCH, *shape))
    return x.astype(np.float32)


def play(method: Method, xs: Any, key: jax.Array, *, phase: int = 0, start: Any = None) -> Played:
    """The first step of a phase, from a fresh state or from `start`."""
    start = quick(method.init)(jax.random.key(0)) if start is None else start
    step = quick(method.phases[phase].step)
    return Played(method, step, start, *step(start, xs, key))


def repeated(played: Played, xs: Any, key: jax.Array, count: int) -> tuple[Any, Mapping[str, Any]]:
    """State and metrics after `count` steps on the same minibatches, with the same latents."""
    state = played.start
    for _ in range(count):
        state, metrics = played.step(state, xs, key)
    metrics = jax.device_get(metrics)
    assert all(np.isfinite(v) for v in metrics.values()), metrics
    assert int(state.t) == int(played.start.t) + count
    return state, metrics


def params(state: Any) -> dict[str, Any]:
    """The parameters of each player."""
    players = state._asdict().items()
    return {name: player.params for name, player in players if isinstance(player, Player)}


def moves(before: Any, after: Any, players: Sequence[str]) -> None:
    """Every array of each of these players is another one."""
    for player in players:
        states = (jax.device_get(params(s)[player]) for s in (before, after))
        leaves = zip(*map(jax.tree.leaves, states), strict=True)
        assert all(np.any(a != b) for a, b in leaves), player


def under(state: Any, tx: Mapping[str, Any]) -> Any:
    """The state where these optimisers begin; its networks need no other start."""
    players = {name: getattr(state, name) for name in tx}
    begun = {n: p._replace(opt_state=tx[n].init(p.params)) for n, p in players.items()}
    return state._replace(**begun)


def gradient(player: Player, *, b1: float) -> Any:
    """The gradient of a player's first step with Adam, whose average took a share of 1 - b1."""
    return jax.tree.map(lambda m: np.asarray(m) / (1 - b1), player.opt_state[0].mu)


def descended(player: Player, slope: Any) -> Any:
    """Parameters after a step of plain descent at the rate 1."""
    return jax.tree.map(lambda p, g: np.asarray(p) - np.asarray(g), player.params, slope)


def steps_agree(
    played: Played,
    *,
    phase: int = 0,
    shape: Sequence[int] = SHAPE,
    attributes: int = 0,
    rtol: float = 1e-4,
    atol: float = 2e-5,
) -> None:
    """Three steps in one dispatch on four devices are three steps alone on one.

    Two promises in one compilation: that k steps in a dispatch equal k dispatches, and that one
    device equals four; in the whole state, to the tolerances given, and in all metrics.
    """
    rng, phase = np.random.default_rng(1), played.method.phases[phase]
    data = rng.integers(0, 256, (20, *shape), np.uint8)
    index = rng.integers(0, 20, (3, phase.num_batches, BATCH))
    y = rng.integers(0, 2, (*index.shape, attributes)).astype(bool)
    key, mesh = jax.random.key(3), devices.make_mesh(4)
    batches = Labelled(index, y) if attributes else index
    dispatch = make_dispatch(phase.step, reader(data))
    with jax.set_mesh(mesh):
        whole = devices.place_state((jax.device_get(played.start), data, np.int32(0), key), mesh)
        state, stored, first, root = whole
        split = jax.tree.map(lambda leaf: devices.place_batches(leaf, mesh), batches)
        together = dispatch(state, stored, split, first, root)
    assert all(len(leaf.sharding.device_set) == 4 for leaf in jax.tree.leaves(together))
    together, metrics = jax.device_get(together)
    alone = played.start
    for i in range(3):
        xs = data[index[i]].astype(np.float32) / 127.5 - 1
        xs = Labelled(xs, y[i].astype(np.float32)) if attributes else xs
        alone, row = played.step(alone, xs, jax.random.fold_in(key, i))
        for term, value in row.items():
            np.testing.assert_allclose(metrics[term][i], value, 1e-3, 1e-4, err_msg=term)
    chex.assert_trees_all_close(together, jax.device_get(alone), rtol=rtol, atol=atol)


def restored_goes_on(played: Played, xs: Any, folder: pathlib.Path) -> None:
    """A state that was saved and restored is the same, and so is its next step, bit for bit."""
    checkpoint.save(folder, 1, played.after, keep=1)
    abstract = jax.eval_shape(played.method.init, jax.random.key(0))
    abstract = jax.tree.map(
        lambda a, like: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=like.sharding),
        abstract,
        played.start,
    )
    step, restored = checkpoint.restore(folder, abstract)
    assert step == 1
    chex.assert_trees_all_equal(restored, played.after)
    # From the host, as what is tied to a device would be compiled for again.
    states = (played.after, jax.device_get(restored))
    went_on = [played.step(s, xs, jax.random.key(2))[0] for s in states]
    chex.assert_trees_all_equal(*went_on)


def codes_fit(method: Method, state: Any, count: int = 5) -> tuple[dict, jax.Array, dict | None]:
    """Codes from the prior give images, and those give codes, all as `method.codes` says.

    Returns the codes, their images and the images' codes, None where the method infers nothing.
    """
    shapes = {name: (count, code.size) for name, code in method.codes.items()}

    @jax.jit
    def look(state, key):
        codes = method.prior(state, key, count)
        x_g = method.generate(state, codes)
        found = None if method.encode is None else method.encode(state, x_g)
        return codes, x_g, found

    codes, x_g, found = jax.device_get(look(state, jax.random.key(0)))
    for some in (codes, found) if found is not None else (codes,):
        assert {name: code.shape for name, code in some.items()} == shapes
    assert np.all(np.isfinite(x_g)) and np.abs(x_g).max() <= 1
    return codes, x_g, found
