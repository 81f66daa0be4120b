"""InfoGAN's own networks, D and Q on one trunk, against numbers worked out by hand."""

from functools import partial

import jax
import numpy as np
import optax
import pytest

from ivg.errors import UserError
from ivg.methods.infogan import infogan
from ivg.networks import Network, code_family

jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def count(net: Network, *shapes: tuple[int, ...]) -> int:
    inputs = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
    params, _ = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_parameter_counts_as_published_at_28() -> None:
    family, flat = code_family("infogan28"), 7 * 7 * 128
    # Weights and gain + offset of each batch norm; a bias only where no batch norm follows.
    trunk = (4 * 4 * 64 + 64) + (4 * 4 * 64 * 128 + 2 * 128) + (flat * 1024 + 2 * 1024)
    assert count(family.discriminator(), (2, 28, 28, 1)) == trunk + (1024 + 1)
    assert count(family.reconstructor((10, 2)), (2, 1024)) == (
        (1024 * 128 + 2 * 128) + (128 * 12 + 12)
    )
    assert count(family.generator((28, 28, 1)), (2, 74)) == (
        (74 * 1024 + 2 * 1024)
        + (1024 * flat + 2 * flat)
        + (4 * 4 * 128 * 64 + 2 * 64)
        + (4 * 4 * 64 * 1 + 1)
    )
    second_channel = 4 * 4 * 64
    assert count(family.pair_classifier(5), (2, 28, 28, 2)) == (
        trunk + second_channel + (1024 * 5 + 5)
    )


def test_q_reads_what_the_logit_is_made_of() -> None:
    net = code_family("infogan28", width=0.125).discriminator()
    x = np.random.default_rng(0).uniform(-1, 1, (6, 8, 8, 1)).astype(np.float32)

    @jit
    def run(x: np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array]:
        params, stats = net.init(jax.random.key(1, impl="rbg"), x)
        logits, features = net.infer(params, stats, x)
        layer = params["Dense_1"]
        return logits, features, (features @ layer["kernel"])[:, 0] + layer["bias"]

    logits, features, from_features = map(np.asarray, run(x))
    assert features.shape == (6, 128) and features.std(axis=0).max() > 0
    np.testing.assert_allclose(logits, from_features, rtol=1e-5, atol=1e-6)


def test_reading_the_codes_moves_the_shared_trunk() -> None:
    """InfoGAN's D and Q descend together: with the game's loss weighted away, D still learns."""

    x = np.random.default_rng(2).uniform(-1, 1, (1, 8, 8, 8, 1)).astype(np.float32)

    @jit
    def moves(info_weight: jax.Array) -> dict:
        method = infogan(
            image_shape=(8, 8, 1),
            batch_size=8,
            tx={name: optax.sgd(1.0) for name in "GQD"},
            network={"name": "infogan28", "width": 0.125},
            dim_z=3,
            info_weight=info_weight,
        )
        state = method.init(jax.random.key(0, impl="rbg"))
        after, _ = method.phases[0].step(state, x, jax.random.key(3, impl="rbg"))
        return jax.tree.map(lambda a, b: a - b, after.D.params, state.D.params)

    plain, informed = jax.device_get((moves(0.0), moves(5.0)))
    for name in ("Strided_0", "Strided_1", "Dense_0"):
        assert np.abs(informed[name]["kernel"] - plain[name]["kernel"]).max() > 1e-4
    head = (moved["Dense_1"]["kernel"] for moved in (plain, informed))
    np.testing.assert_allclose(*head, rtol=1e-5, atol=1e-7)  # D's own: Q does not read the logit


def test_sizes_and_widths_refused() -> None:
    family = code_family("infogan28", width=0.125)
    for refuse in (family.check, family.generator):
        with pytest.raises(UserError, match="multiples of 4, from 8x8 on, not 30x30"):
            refuse((30, 30, 1))
    with pytest.raises(UserError, match="width must be positive"):
        code_family("infogan28", width=0)
