"""The released InfoVAEGAN networks against numbers worked out by hand from their layers."""

from functools import partial

import jax
import numpy as np
import pytest

from ivg.errors import UserError
from ivg.networks import Network
from ivg.networks.infovaegan64 import infovaegan64

KEY = jax.random.key(0, impl="rbg")  # XLA's own generator compiles sooner
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def shapes_of(net: Network, *shapes: tuple[int, ...]) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    inputs = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
    return jax.eval_shape(net.init, KEY, *inputs)[0]


def count(net: Network, *shapes: tuple[int, ...]) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(shapes_of(net, *shapes)))


def test_parameter_counts_at_64() -> None:
    family, images, flat = infovaegan64(), (2, 64, 64, 3), 4 * 4 * 512
    # Weights and gain + offset of each batch norm; a bias only where no batch norm follows.
    middle = 3 * 3 * 256 * 256 + 2 * 256
    assert count(family.generator((64, 64, 3)), (2, 120)) == (
        (120 * 8 * 8 * 256 + 2 * 256)
        + 4 * middle
        + (3 * 3 * 256 * 128 + 2 * 128)
        + (3 * 3 * 128 * 3 + 3)
    )
    first = 3 * 3 * 3 * 64 + 64
    norms = 2 * (128 + 256 + 512)
    others = 3 * 3 * (64 * 128 + 128 * 256 + 256 * 512) + norms
    full = flat * 1024 + 1024
    assert count(family.encoder((10, 10, 10)), images) == first + others + full + 1024 * 30 + 30
    # The critic's layer norms stand beside the biases; its output has none.
    assert count(family.critic(), images) == first + others + norms // 2 + full + 1024
    assert count(family.joint_discriminator(), images, (2, 20)) == (
        first + others + full + 20 * 1024 + 1024 + 1
    )


def test_32x32_stops_earlier_and_normalises_the_first_convolution() -> None:
    family, images, flat = infovaegan64(), (2, 32, 32, 3), 2 * 2 * 512
    middle = 3 * 3 * 256 * 256 + 2 * 256
    assert count(family.generator((32, 32, 3)), (2, 120)) == (
        (120 * 8 * 8 * 256 + 2 * 256) + 4 * middle + (3 * 3 * 256 * 3 + 3)
    )
    first = 3 * 3 * 3 * 64 + 2 * 64
    others = 3 * 3 * (64 * 128 + 128 * 256 + 256 * 512) + 2 * (128 + 256 + 512)
    full = flat * 1024 + 1024
    assert count(family.encoder((10,)), images) == first + others + full + 1024 * 10 + 10
    assert count(family.joint_discriminator(), images, (2, 20)) == (
        first + others + full + 20 * 1024 + 1024 + 1
    )
    norms = [name for name in shapes_of(family.critic(), images) if "Norm" in name]
    assert norms == ["LayerNorm_0", "LayerNorm_1", "LayerNorm_2"]


def test_initial_scales_as_released() -> None:
    family = infovaegan64(width=0.125)
    g = jit(family.generator((64, 64, 3)).init)(KEY, np.zeros((1, 40), np.float32))
    g = jax.tree.map(np.asarray, g[0])
    for name in ("Dense_0", "ConvTranspose_0", "Strided_2"):
        assert abs(np.std(g[name]["kernel"]) / 0.02 - 1) < 0.05
    np.testing.assert_array_equal(g["BatchNorm_0"]["scale"], 1)
    d = jit(family.critic().init)(KEY, np.zeros((1, 64, 64, 3), np.float32))
    d = jax.tree.map(np.asarray, d[0])
    for name in ("Strided_2", "Strided_3"):  # truncated at two standard deviations
        assert np.abs(d[name]["kernel"]).max() <= 0.04
        assert abs(np.std(d[name]["kernel"]) / (0.02 * 0.8796) - 1) < 0.05
        np.testing.assert_array_equal(d[name]["bias"], 0)
    assert abs(np.std(d["Dense_0"]["kernel"]) / 0.02 - 1) < 0.05


@pytest.mark.parametrize("shape", [(32, 32, 1), (32, 32, 3), (64, 64, 1), (64, 64, 3)])
def test_sizes_taken(shape: tuple[int, int, int]) -> None:
    infovaegan64().check(shape)


@pytest.mark.parametrize(
    ("shape", "use"),
    [((30, 30, 1), 32), ((28, 28, 1), 32), ((64, 48, 3), 64), ((128, 128, 3), 64)],
)
def test_sizes_refused(shape: tuple[int, int, int], use: int) -> None:
    with pytest.raises(UserError) as error:
        infovaegan64().check(shape)
    assert str(error.value) == (
        "the infovaegan64 networks take images of 32x32 or 64x64 pixels, not "
        f"{shape[0]}x{shape[1]}: use --config.data.image_size={use}"
    )
