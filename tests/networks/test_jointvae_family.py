"""JointVAE's networks against numbers worked out by hand from their layers."""

from functools import partial

import jax
import numpy as np
import pytest

from ivg.errors import UserError
from ivg.networks import AUTOENCODER_FAMILIES, Network

KEY = jax.random.key(0, impl="rbg")  # XLA's own generator compiles sooner
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
jointvae = AUTOENCODER_FAMILIES["jointvae"]


def count(net: Network, *shape: int) -> int:
    params, stats = jax.eval_shape(net.init, KEY, jax.ShapeDtypeStruct(shape, np.float32))
    assert stats == {}
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def conv(inputs: int, outputs: int) -> int:
    return 4 * 4 * inputs * outputs + outputs


def dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


@pytest.mark.parametrize("side, channels", [(32, 1), (64, 1), (64, 3)])
def test_parameter_counts(side: int, channels: int) -> None:
    family, shape = jointvae(), (side, side, channels)
    encoder = conv(32, 64) + conv(64, 64) + dense(4 * 4 * 64, 256) + dense(256, 30)
    encoder += conv(channels, 32) + (conv(32, 32) if side == 64 else 0)
    assert count(family.encoder((10, 10, 10)), 2, *shape) == encoder
    decoder = dense(20, 256) + dense(256, 1024) + conv(64, 32) + conv(32, 32) + conv(32, channels)
    decoder += conv(64, 64) if side == 64 else 0
    assert count(family.decoder(shape), 2, 20) == decoder


@pytest.mark.parametrize("side", [32, 64])
def test_shapes_and_width(side: int) -> None:
    family, shape = jointvae(width=0.125), (side, side, 3)
    encoder, decoder = family.encoder((4, 4, 3)), family.decoder(shape)
    x, z = (jax.ShapeDtypeStruct((5, *s), np.float32) for s in (shape, (7,)))
    params, stats = jax.eval_shape(encoder.init, KEY, x)
    assert params["Strided_0"]["kernel"].shape == (4, 4, 3, 4)
    heads, _ = jax.eval_shape(encoder.train, params, stats, x)
    assert [head.shape for head in heads] == [(5, 4), (5, 4), (5, 3)]
    out = jax.eval_shape(decoder.infer, *jax.eval_shape(decoder.init, KEY, z), z)
    assert out.shape == (5, *shape)


def test_start_as_pytorch_s_and_pixels_from_0_to_1() -> None:
    family = jointvae()
    encoder, decoder = family.encoder((10, 10)), family.decoder((32, 32, 1))
    black = np.full((2, 32, 32, 1), -1, np.float32)
    params, _ = jit(encoder.init)(KEY, black)
    theta, _ = jit(decoder.init)(KEY, np.zeros((2, 20), np.float32))
    bounds = [
        (params["Strided_1"]["kernel"], 4 * 4 * 32),
        (params["Dense_0"]["kernel"], 4 * 4 * 64),
        (theta["Dense_0"]["kernel"], 20),
        # A transposed convolution counts its outputs: 64 to 32 channels.
        (theta["Strided_0"]["kernel"], 4 * 4 * 32),
    ]
    for kernel, fan in bounds:
        assert 0.99 < np.abs(kernel).max() * np.sqrt(fan) <= 1 + 1e-6
    # Black is 0, and without biases at the start nothing comes of 0.
    for head in jit(encoder.infer)(params, {}, black):
        np.testing.assert_array_equal(head, 0)


def test_the_decoder_ends_linear() -> None:
    decoder = jointvae(width=0.125).decoder((32, 32, 1))
    z = np.ones((2, 5), np.float32)
    params, _ = jit(decoder.init)(KEY, z)
    last = params["Strided_2"] | {"bias": np.full(1, 7.0, np.float32)}
    out = jit(decoder.infer)(params | {"Strided_2": last}, {}, z)
    assert 6.5 < np.min(out) and np.max(out) < 7.5


@pytest.mark.parametrize(
    ("shape", "use"),
    [((28, 28, 1), 32), ((8, 8, 1), 32), ((64, 48, 3), 64), ((128, 128, 3), 64)],
)
def test_sizes_refused(shape: tuple[int, int, int], use: int) -> None:
    words = f"32x32 or 64x64 pixels, not {shape[0]}x{shape[1]}: use --config.data.image_size={use}"
    for refuse in (jointvae().check, jointvae().decoder):
        with pytest.raises(UserError, match=words):
            refuse(shape)
    with pytest.raises(UserError, match="width must be positive, not 0"):
        jointvae(width=0)
