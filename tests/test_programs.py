"""Programs of every method: symbolic batch, all platforms, their own weights and nothing more."""

import os

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from exported import tiny

from ivg import plots, programs
from ivg.methods import METHODS

pytest.importorskip("flatbuffers", reason="needs the extra `export`")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_exports(name):
    model = tiny(name, step=10**6)
    made = programs.programs(model)
    assert set(made.code) == {"generate", "generate_float"} | (
        {"encode"} if model.can_encode else set()
    )
    assert all(w.dtype == np.float32 for w in made.weights.values())
    state = programs.names(model.state)
    assert all(np.array_equal(w, state[n]) for n, w in made.weights.items())
    for code in made.code.values():
        exported = jax.export.deserialize(bytearray(code))
        assert exported.platforms == programs.PLATFORMS
        assert {a.dtype for a in exported.in_avals[: len(made.weights)]} == {np.dtype("float32")}
        assert {str(a.shape[0]) for a in exported.out_avals} == {"n"}
        assert b".py" not in code  # no source locations
    if os.environ.get("IVG_EVERY_METHOD"):
        words = programs.compare(made, programs.example_of(model))
        assert float(words.split()[-1]) < 1e-4 if model.can_encode else "0 grey" in words


def test_only_what_is_read_is_exported():
    model = tiny("infovaegan")
    names = set(programs.programs(model).weights)
    assert {n.split("/")[0] for n in names} == {"G", "q_u", "q_z"}
    assert "G/Dense_0/kernel" in names and "q_z/Dense_0/bias" in names


def test_a_layer_whose_output_nobody_takes_is_not_read():
    def apply(state, x):
        features = x @ state["trunk"]
        verdict = jnp.tanh(features) @ state["head"]
        return {"code": features, "one": jnp.ones_like(verdict)}

    state = {"head": jnp.ones((3, 1)), "trunk": jnp.ones((2, 3))}
    f = programs.Function(apply, ("x",), (jax.ShapeDtypeStruct((4, 2), jnp.float32),), "")
    assert programs.read_by(f, state) == {"trunk"}


def test_batch_statistics_are_weights_and_bytes_are_the_same_again():
    model = tiny("mmvae")
    made, again = (programs.programs(model) for _ in range(2))
    assert made.weights["E/BatchNorm_0/mean"].shape == made.weights["E/BatchNorm_0/scale"].shape
    assert made.code == again.code


def test_rounding_is_that_of_pictures():
    x = np.linspace(-1.1, 1.1, 4001, dtype=np.float32)
    halves = (np.arange(255, dtype=np.float32) + 0.5) / 127.5 - 1
    x = np.concatenate([x, halves, [np.nan, np.inf, -np.inf, -0.0]]).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(programs.grey_levels)(x), plots.to_uint8(x), strict=True)
