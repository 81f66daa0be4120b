"""A game that now and then draws a loss that is not finite; other keys, other luck.

As a program it is a process that a test may kill: `python tests/unlucky.py WORKDIR NUM_STEPS`.
"""

import functools
import pathlib
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ivg import build, data, devices, train
from ivg.players import Code, Method, Phase, Player, descend, player

SHAPE, BATCH = (4, 4, 1), 8
IMAGES = np.random.default_rng(0).integers(0, 256, (30, *SHAPE), np.uint8)
CONFIG = {
    "method": "unlucky",
    "seed": 0,
    "num_steps": 40,
    "batch_size": BATCH,
    "log_every": 1,
    "eval_every": 0,
    "checkpoint_every": 5,
    "keep_checkpoints": 10,
    "steps_per_dispatch": 1,
    "profile_steps": 0,
    "eval_images": 10,
    "disentanglement": {"quick_votes": 0},
    "on_nan": "rollback",
    "max_rollbacks": 20,
}


class State(NamedTuple):
    """One player, and the step number."""

    G: Player
    t: jax.Array


@functools.cache
def unlucky(odds: float = 0.06, from_step: int = 0) -> Method:
    """Follows the mean image; from a step on its loss is infinite with these odds, as a key says.

    Adam, so that an undone step would show in later ones.
    """
    tx = optax.adam(1e-2)

    def step(s, xs, key):
        luck = jax.random.uniform(key)

        def loss(w):
            bad = (luck < odds) & (s.t >= from_step)
            near = jnp.mean((w + luck - jnp.mean(xs, axis=(0, 1))) ** 2)
            return jnp.where(bad, jnp.inf, 1.0) * near

        value, grads = jax.value_and_grad(loss)(s.G.params)
        return State(descend(s.G, grads, tx), s.t + 1), {"G/loss": value, "G/luck": luck}

    return Method(
        init=lambda key: State(player(jax.random.normal(key, SHAPE), {}, tx), jnp.int32(0)),
        phases=(Phase(step, 1),),
        encode=None,
        generate=lambda s, codes: jnp.tanh(s.G.params)[None] + codes["z"][:, :1, None, None],
        prior=lambda state, key, n: {"z": jax.random.normal(key, (n, 2))},
        codes={"z": Code("noise", 2)},
    )


def make_run(method: Method | None = None, seed: int = 0) -> build.Run:
    """The run of a seed on one device."""
    split = data.Split(IMAGES, None, None)
    dataset = data.Dataset("toy", split, split, SHAPE)
    return build.Run(method or unlucky(), dataset, devices.make_mesh(1), *build.root_keys(seed))


def go(workdir: pathlib.Path, method: Method | None = None, **changes):
    """Trains as `train.train` does, without scores. Returns (state, step)."""
    run, config = make_run(method, changes.get("seed", 0)), CONFIG | changes
    (found,) = train.train_groups([run], [config], [workdir], [None])
    return found


if __name__ == "__main__":
    go(pathlib.Path(sys.argv[1]), num_steps=int(sys.argv[2]))
