"""Every method by its name: twenty steps on images of 8x8 pixels, with the digits' section."""

import jax
import numpy as np
import optax
import pytest

from ivg.configs import digits
from ivg.dispatch import phase_at
from ivg.methods import ATTRIBUTE_METHODS, METHODS
from ivg.players import Labelled, Player

SHAPE, BATCH, STEPS, ATTRIBUTES = (8, 8, 1), 8, 20, 2
# Widths and counts are small; whatever happens in stages happens within the twenty steps, so the
# rest of the fields that end in _steps are 8 at most.
SMALL = {
    "network": dict(name="mlp", width=16),
    "dim_z": 4,
    "num_critic": 1,
    "game_steps": 8,
    "cr_start": 8,
    "generator_steps": 1,
    "discriminator": dict(width=16, depth=2),
    "statistics": dict(width=16, depth=2),
    "num_components": 2,
}


def make(name, rate=lambda player: 1e-3):
    """A small one, each player with an optimiser of its own, at the rate of that player."""
    own = digits.get_config(name).to_dict()[name]
    own |= {field: min(own[field], 8) for field in own if field.endswith("_steps")}
    own |= {field: value for field, value in SMALL.items() if field in own}
    own.pop("epoch_steps", None)
    players = own.pop("optimizer").keys()
    if name in ATTRIBUTE_METHODS:
        own["num_attributes"] = ATTRIBUTES
    tx = {player: optax.sgd(rate(player)) for player in players}  # compiled faster than Adam
    return METHODS[name](image_shape=SHAPE, batch_size=BATCH, tx=tx, **own)


def quick(f):
    """Jitted and compiled fast: these networks are tiny, compilation is all that costs."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def examples(method, count, rng):
    """`count` minibatches of noise, with attributes for those methods that want them."""
    x = rng.uniform(-1, 1, (count, BATCH, *SHAPE)).astype(np.float32)
    if not method.num_attributes:
        return x
    return Labelled(x, rng.integers(0, 2, (count, BATCH, ATTRIBUTES)).astype(np.float32))


def look(method, state, key, x):
    """Codes from the prior, their images, codes of x, their images."""
    codes = method.prior(state, key, BATCH)
    found = None if method.encode is None else method.encode(state, x)
    x_hat = None if found is None else method.generate(state, found)
    return codes, method.generate(state, codes), found, x_hat


def assert_images(x, count):
    assert x.shape == (count, *SHAPE)
    assert np.all(np.isfinite(x)) and np.all(np.abs(x) <= 1.0)


@pytest.mark.parametrize("name", METHODS)
def test_twenty_steps(name):
    method, rng = make(name), np.random.default_rng(0)
    # Op by op: what one method has had compiled for it serves the next.
    start = state = method.init(jax.random.key(0))
    steps = [quick(phase.step) for phase in method.phases]
    for t in range(STEPS):
        i = phase_at(method.phases, t)
        xs = examples(method, method.phases[i].num_batches, rng)
        state, metrics = steps[i](state, xs, jax.random.key(t))
        assert metrics and all(np.isfinite(v) for v in metrics.values()), metrics
    assert i == len(steps) - 1
    start, after = jax.device_get((start, state))
    for player in (n for n, p in start._asdict().items() if isinstance(p, Player)):
        both = (jax.tree.leaves(getattr(s, player).params) for s in (start, after))
        assert any(np.any(a != b) for a, b in zip(*both, strict=True)), player
    x = jax.tree.map(lambda leaf: leaf[0], examples(method, 1, rng))
    codes, x_g, found, x_hat = quick(lambda s, key, x: look(method, s, key, x))(
        state, jax.random.key(1), x
    )
    sizes = {n: code.size for n, code in method.codes.items()}
    assert {n: code.shape[-1] for n, code in codes.items()} == sizes
    assert_images(x_g, BATCH)
    if method.encode is not None:
        assert {n: code.shape for n, code in found.items()} == {
            n: (BATCH, size) for n, size in sizes.items()
        }
        assert_images(x_hat, BATCH)
