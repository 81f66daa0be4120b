"""Each of four devices computes a quarter of every step, stages without real images included.

Counted by the compiler: floating-point operations of the program of one device of four, and of the
whole step before it is divided. A method that draws latents without `devices.constrain`, or that
joins two minibatches, would have every device compute the whole batch and nothing else would show.
"""

import os

import jax
import jax.numpy as jnp
import pytest
import test_every_method as every

from ivg import devices
from ivg.methods import METHODS
from ivg.players import Labelled

BATCH = 64
# Phases that draw latents or join minibatches, each kind once; the others divide what divides the
# real images. IVG_EVERY_METHOD=1 counts all of them, which takes most of a minute to compile.
SOME = {"ali": 0, "gan": 1, "ibgan": 0, "infovaegan": 0, "infovaegan_invariant": 0, "mmvae": 0}
CASES = dict.fromkeys(METHODS) if os.environ.get("IVG_EVERY_METHOD") else SOME
# Updates of parameters and statistics are done by all devices alike, and the compiler counts what
# it rewrites a little differently; a stage that is not split at all has 4.
MOST = 1.35


def abstract(tree, sharding):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def lowered_phases(method, mesh, number=None):
    """The phase's step (every phase's) over the mesh, for batches that are split along it."""
    whole = devices.replicated(mesh)
    split = jax.NamedSharding(mesh, jax.P(None, devices.AXIS))
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(method.init, key)
    for phase in method.phases if number is None else [method.phases[number]]:
        rows = phase.num_batches, BATCH
        xs = jax.ShapeDtypeStruct((*rows, *every.SHAPE), jnp.float32)
        if method.num_attributes:
            xs = Labelled(xs, jax.ShapeDtypeStruct((*rows, every.ATTRIBUTES), jnp.float32))
        step = jax.jit(phase.step, out_shardings=whole)
        yield step.lower(abstract(state, whole), abstract(xs, split), abstract(key, whole))


@pytest.fixture(autouse=True)
def larger_batch(monkeypatch):
    """So that a step's work is that of its batch, not that of its parameters."""
    monkeypatch.setattr(every, "BATCH", BATCH)


def shares(name, number=None):
    """What part of a phase's operations each of four devices does, times four."""
    mesh = devices.make_mesh(4)
    with jax.set_mesh(mesh):
        for lowered in lowered_phases(every.make(name), mesh, number):
            own = lowered.compile().cost_analysis()["flops"]
            yield 4 * own / lowered.cost_analysis()["flops"]


@pytest.mark.parametrize("name", CASES)
def test_a_device_of_four_does_a_quarter(name):
    for share in shares(name, CASES[name]):
        assert 0.5 < share < MOST


def test_what_is_not_split_is_noticed(monkeypatch):
    """The generator's regression in `gan` needs no real images: without its constraint, all of it
    is done four times."""
    monkeypatch.setattr("ivg.methods.gan.constrain", lambda tree: tree)
    assert next(shares("gan", 1)) > 3
