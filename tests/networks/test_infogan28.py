"""InfoGAN's MNIST networks against numbers worked out by hand from the published layers."""

from functools import partial

import jax
import numpy as np
import pytest

from ivg.errors import UserError
from ivg.networks import Network
from ivg.networks.infogan28 import infogan28

KEY = jax.random.key(0, impl="rbg")  # XLA's own generator compiles sooner
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def count(net: Network, *shapes: tuple[int, ...]) -> int:
    inputs = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
    params, _ = jax.eval_shape(net.init, KEY, *inputs)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_parameter_counts_as_published_at_28() -> None:
    family, images, flat = infogan28(), (2, 28, 28, 1), 7 * 7 * 128
    # Weights and gain + offset of each batch norm; a bias only where no batch norm follows.
    assert count(family.generator((28, 28, 1)), (2, 74)) == (
        (74 * 1024 + 2 * 1024)
        + (1024 * flat + 2 * flat)
        + (4 * 4 * 128 * 64 + 2 * 64)
        + (4 * 4 * 64 * 1 + 1)
    )
    first, second, full = 4 * 4 * 1 * 64 + 64, 4 * 4 * 64 * 128 + 2 * 128, flat * 1024 + 2 * 1024
    assert count(family.encoder((10, 2, 2)), images) == (
        first + second + full + (1024 * 128 + 2 * 128) + (128 * 14 + 14)
    )
    # The critic's layer norms stand beside the biases; its output has none.
    assert count(family.critic(), images) == first + (second + 128) + (full + 1024) + 1024
    assert count(family.joint_discriminator(), images, (2, 12)) == (
        first + second + (full + 12 * 1024) + 1024 + 1
    )


def test_initial_scales_as_released() -> None:
    family, image_shape = infogan28(width=0.25), (28, 28, 1)
    g = jit(family.generator(image_shape).init)(KEY, np.zeros((1, 74), np.float32))
    g = jax.tree.map(np.asarray, g[0])
    for name in ("Dense_0", "Dense_1", "Strided_0"):
        assert abs(np.std(g[name]["kernel"]) / 0.02 - 1) < 0.05
    gains = np.concatenate([g[f"BatchNorm_{i}"]["scale"] for i in range(3)])
    assert abs(gains.mean() - 1) < 0.003 and abs(gains.std() / 0.02 - 1) < 0.1
    d = jit(family.critic().init)(KEY, np.zeros((1, *image_shape), np.float32))
    d = jax.tree.map(np.asarray, d[0])
    # Truncated at two standard deviations.
    assert np.abs(d["Strided_1"]["kernel"]).max() <= 0.04
    assert abs(np.std(d["Strided_1"]["kernel"]) / (0.02 * 0.8796) - 1) < 0.05
    assert abs(np.std(d["Dense_0"]["kernel"]) / 0.02 - 1) < 0.05


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (32, 28, 1)])
def test_sizes_taken(shape: tuple[int, int, int]) -> None:
    infogan28().check(shape)


@pytest.mark.parametrize(
    ("shape", "use"),
    [((30, 30, 1), 28), ((31, 31, 1), 32), ((33, 33, 3), 32), ((32, 31, 3), 32), ((4, 4, 1), 8)],
)
def test_sizes_refused(shape: tuple[int, int, int], use: int) -> None:
    with pytest.raises(UserError) as error:
        infogan28().check(shape)
    assert str(error.value) == (
        "the infogan28 networks take images whose sides are multiples of 4, from 8x8 on, not "
        f"{shape[0]}x{shape[1]}: use --config.data.image_size={use}"
    )
