"""Several runs as one: what one run does on a device, `vmap`ped over a leading run axis.

Each run keeps what it has alone: its parameters, its keys, its order of the data. It equals the run
alone up to the rounding of float arithmetic (a batched product may add up in another order), as one
device equals four. Shared are the images on the device and the compiled program. Whether that is
faster depends on networks and device: experiments/bench_runs.py measures it.

On a mesh of runs (`--config.parallel=runs`) every device has runs of its own. One run a device has
no run axis there: it is the program of the run alone, and the devices never wait for each other.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ivg import devices
from ivg.players import Metrics, State


def stack(trees: Sequence[Any]) -> Any:
    """R trees of one structure as one tree of arrays with a leading run axis [R, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def pick(tree: Any, number: int | jax.Array) -> Any:
    """The tree of run `number` from a stacked one."""
    return jax.tree.map(lambda leaf: leaf[number], tree)


def join(states: Sequence[State], mesh: jax.sharding.Mesh) -> State:
    """The states of several runs stacked [R, ...]; a single one stays as it is."""
    if devices.is_of_runs(mesh):
        return devices.place_runs(states, mesh)
    if len(states) == 1:
        return states[0]
    return jax.jit(stack, out_shardings=devices.replicated(mesh))(list(states))


def each(
    state: State, count: int, mesh: jax.sharding.Mesh, own: jax.sharding.Mesh
) -> Iterator[State]:
    """The inverse of `join`: the state of each of `count` runs, one after the other, on `own`."""
    if devices.is_of_runs(mesh):
        yield from (devices.run_of(state, number, own) for number in range(count))
        return
    if count == 1:
        yield state
        return
    copy = jax.jit(pick, out_shardings=devices.replicated(mesh))
    for number in range(count):
        yield copy(state, number)


def arrange(batches: Sequence[Any], mesh: jax.sharding.Mesh) -> Any:
    """What the feeds of the runs gave, as their call wants it: one, a list, or [R, ...] spread."""
    if devices.is_of_runs(mesh):
        return devices.place_runs(batches, mesh)
    return list(batches) if len(batches) > 1 else batches[0]


def over_devices(dispatch: Callable, count: int, mesh: jax.sharding.Mesh) -> Callable:
    """`over_runs` for a mesh of runs; `batches` is one tree of arrays [R, ...]."""
    several = jax.vmap(dispatch, in_axes=(0, None, 0, None, 0))

    def own(states, images, batches, first_step, keys):
        if count > mesh.size:
            return several(states, images, batches, first_step, keys)
        state, batch, key = pick((states, batches, keys), 0)
        return jax.tree.map(
            lambda leaf: leaf[None], dispatch(state, images, batch, first_step, key)
        )

    runs, whole = jax.P(devices.RUNS), jax.P()
    spread = jax.shard_map(
        own, mesh=mesh, in_specs=(runs, whole, runs, whole, runs), out_specs=runs, check_vma=False
    )
    return jax.jit(spread, donate_argnums=0)


def as_one(dispatch: Callable, count: int, mesh: jax.sharding.Mesh) -> Callable:
    """The call for `count` runs on these devices; takes their batches as `arrange` makes them."""
    if devices.is_of_runs(mesh):
        return over_devices(dispatch, count, mesh)
    return over_runs(dispatch, count)


def place_keys(keys: Sequence[jax.Array], mesh: jax.sharding.Mesh) -> jax.Array:
    """The keys of the runs where their steps are: [R], or that of a single run."""
    if devices.is_of_runs(mesh):
        return devices.place_runs(keys, mesh)
    return devices.place_state(join(keys, mesh), mesh)


def over_runs(dispatch: Callable, count: int) -> Callable:
    """A device call for `count` runs (R) from that for one, as `dispatch.make_dispatch` makes it.

    Returns a function (states [R, ...], images, batches, first_step, keys [R]) -> (states, metrics
    [R, k]). Images and step number are shared; `batches` lists what each run gets. The states are
    donated. For a single run it is the given call: without a run axis, and nothing is listed.
    """
    if count == 1:
        return dispatch
    several = jax.vmap(dispatch, in_axes=(0, None, 0, None, 0))

    @functools.partial(jax.jit, donate_argnums=0)
    def call(states, images, batches, first_step, keys):
        return several(states, images, stack(batches), first_step, keys)

    return call


def sweep(make_step: Callable[..., Callable], **hyper: jax.Array) -> Callable:
    """One step for runs that differ in hyper-parameters, such as beta, besides their seeds.

    Args:
        make_step: hyper-parameters as keyword arguments -> step, for example
            `lambda beta: ibgan(beta=beta, ...).step`. It may only calculate with them: they are
            traced, so that `if beta > 0` raises JAX's TracerBoolConversionError.
        **hyper: a value for every run, [R] each.

    Returns:
        (states [R, ...], xs [R, num_batches, B, H, W, C], keys [R]) -> (states, metrics [R]).
    """

    def one(values: Mapping[str, jax.Array], state: State, xs: jax.Array, key: jax.Array):
        return make_step(**values)(state, xs, key)

    def step(states: State, xs: jax.Array, keys: jax.Array) -> tuple[State, Metrics]:
        return jax.vmap(one)(hyper, states, xs, keys)

    return step
