"""Models to export whose networks hold random numbers: nothing is trained, little is compiled."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from ivg import build, rundir
from ivg.configs import digits
from ivg.methods import ATTRIBUTE_METHODS
from ivg.model import Model, make_model

STEP = 7
SMALL = {
    "network": dict(name="mlp", width=8),
    "dim_z": 3,
    "statistics": dict(width=8, depth=1),
    "discriminator": dict(width=8, depth=1),
    "num_components": 2,
    "game_steps": 20,
}


def numbers(state):
    """Random numbers in place of a state's: nothing is trained, nothing compiled."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.full(leaf.shape, STEP, leaf.dtype)
        values = rng.normal(0, 0.3, leaf.shape)
        return jnp.asarray(1 + abs(values) if "var" in str(path[-1]) else values, leaf.dtype)

    return jax.tree.map_with_path(fill, state)


def make_config(name: str, network=None) -> dict:
    config = json.loads(json.dumps(digits.get_config(name).to_dict()))
    own = config[name]
    own |= {field: value for field, value in SMALL.items() if field in own}
    own["network"] = network or own["network"]
    config["data"]["dir"] = "/home/somebody/photos"
    return config


def facts(name: str, shape) -> rundir.Facts:
    names = ("Hat", "Smile|`<b>") if name in ATTRIBUTE_METHODS else ()
    return rundir.Facts(shape, names, ("zero", "one"), 100)


@functools.cache
def tiny(name: str, shape=(8, 8, 1), network: tuple = (), folder: str = "", step=STEP) -> Model:
    """A model of random numbers; `network` as the items of its section."""
    config = make_config(name, dict(network))
    known = facts(name, shape)
    method = build.stored_method(config, known)
    state = numbers(jax.eval_shape(method.init, jax.random.key(0)))
    return make_model(pathlib.Path(folder), config, known, method.at(step), state, step)
