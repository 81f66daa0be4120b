"""The runs that are trained as one: what each has of its own, and what they share."""

import contextlib
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from ivg import build, cost, devices, guard, rollbacks, together
from ivg.calls import Calls, make_calls
from ivg.log import Log
from ivg.stopping import apart


class Member(NamedTuple):
    """A run that is trained, alone or together with others."""

    run: build.Run
    config: Mapping
    workdir: pathlib.Path
    log: Log


def mesh_of(members: Sequence[Member]) -> jax.sharding.Mesh:
    """The devices that train these runs: all of them one or all runs, or each its own."""
    if len(members) > 1 and build.spreads_runs(members[0].config):
        return devices.runs_mesh(len(members))
    return members[0].run.mesh


def each(members: Sequence[Member], state, mesh: jax.sharding.Mesh) -> Iterator[tuple[Member, Any]]:
    """Every run with its own state."""
    states = together.each(state, len(members), mesh, members[0].run.mesh)
    return zip(members, states, strict=True)


def calls_of(members: Sequence[Member]) -> Calls:
    """The device calls of these runs, with the keys that their rollbacks left them."""
    return make_calls(
        [member.run for member in members],
        [member.config for member in members],
        [rollbacks.read(member.workdir) for member in members],
        mesh_of(members),
    )


def meter_of(members: Sequence[Member], stop) -> cost.Meter:
    """A meter, which compiles in a thread of its own for the sake of signals."""
    mesh = mesh_of(members)
    copies = mesh.size if devices.is_of_runs(mesh) else 1
    return cost.Meter(copies=copies, call=functools.partial(apart, stop))


def kept(saved: int | None) -> str:
    """A clause that says where the last good checkpoint is."""
    return f"the last good checkpoint is that of step {saved}" if saved else "no checkpoint yet"


@contextlib.contextmanager
def named(members: Sequence[Member], number: int) -> Iterator[None]:
    """Has what is not finite within it said of that run, where there are several."""
    try:
        yield
    except guard.NotFinite as error:
        who = f"seed {members[number].config['seed']}, " if members[1:] else ""
        raise guard.NotFinite(error.failure._replace(who=who, run=number)) from None
