"""The perceptrons' own numbers."""

import jax
import numpy as np
import pytest

from ivg.errors import UserError
from ivg.networks import Network
from ivg.networks.mlp import mlp

KEY = jax.random.key(0)


def count(net: Network, *shapes: tuple[int, ...]) -> int:
    inputs = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
    params, _ = jax.eval_shape(net.init, KEY, *inputs)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_parameter_counts() -> None:
    # 20 -> 128 -> 128 -> 64
    hidden = 128 * 128 + 128
    generator = mlp(width=128).generator((8, 8, 1))
    assert count(generator, (2, 20)) == 20 * 128 + 128 + hidden + 128 * 64 + 64
    # With batch norm two biases of 128 become two gains and two offsets of 128.
    generator = mlp(width=128, generator_norm="batch").generator((8, 8, 1))
    assert count(generator, (2, 20)) == 20 * 128 + 128 + hidden + 128 * 64 + 64 + 2 * 128
    encoder = mlp(width=128).encoder((10, 2, 2))
    assert count(encoder, (2, 8, 8, 1)) == 64 * 128 + 128 + hidden + 128 * 14 + 14
    critic = mlp(width=128).critic()
    assert count(critic, (2, 8, 8, 1)) == 64 * 128 + 128 + hidden + 128
    joint = mlp(width=128).joint_discriminator()
    assert count(joint, (2, 8, 8, 1), (2, 12)) == 76 * 128 + 128 + hidden + 128 + 1


def test_initial_scales() -> None:
    critic = mlp(width=256).critic()
    params = critic.init(KEY, np.zeros((1, 16, 16, 1), np.float32))
    params = jax.tree.map(np.asarray, params[0])
    for name, std in (("Dense_0", np.sqrt(2 / 256)), ("Dense_1", np.sqrt(2 / 256))):
        assert abs(np.std(params[name]["kernel"]) / std - 1) < 0.02
        np.testing.assert_array_equal(params[name]["bias"], 0)
    assert abs(np.std(params["Dense_2"]["kernel"]) / np.sqrt(1 / 256) - 1) < 0.15


@pytest.mark.parametrize("shape", [(4, 4, 1), (8, 8, 1), (28, 28, 1), (20, 12, 3), (64, 64, 3)])
def test_sizes_taken(shape: tuple[int, int, int]) -> None:
    mlp().check(shape)


@pytest.mark.parametrize(("shape", "use"), [((128, 96, 3), 64), ((65, 65, 1), 64), ((2, 2, 1), 4)])
def test_sizes_refused(shape: tuple[int, int, int], use: int) -> None:
    with pytest.raises(UserError) as error:
        mlp().check(shape)
    assert str(error.value) == (
        "the mlp networks take images of 4x4 to 64x64 pixels, not "
        f"{shape[0]}x{shape[1]}: use --config.data.image_size={use}"
    )


def test_options() -> None:
    with pytest.raises(UserError, match="unknown norm 'bach' .* use none, batch, layer"):
        mlp(generator_norm="bach")
    with pytest.raises(UserError, match="unknown norm 'bach'"):
        mlp(encoder_norm="bach")
    with pytest.raises(UserError, match="number of hidden units, not 0.5"):
        mlp(width=0.5)
