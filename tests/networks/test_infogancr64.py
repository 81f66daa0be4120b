"""InfoGAN-CR's networks: sizes as published, normalisation where it belongs."""

from functools import partial

import jax
import numpy as np
import pytest

from ivg import networks
from ivg.errors import UserError
from ivg.networks.infogancr64 import infogancr64, infogancr64_family

jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(0, impl="rbg")  # XLA's own generator compiles sooner
TRUNK = (16 * 32 + 32) + (16 * 32 * 32 + 32) + (16 * 32 * 64 + 64) + (16 * 64 * 64 + 64)
FULL = 4 * 4 * 64 * 128 + 128


def shapes(net, *inputs):
    arrays = [jax.ShapeDtypeStruct(shape, np.float32) for shape in inputs]
    params, stats = jax.eval_shape(net.init, KEY, *arrays)
    outputs, _ = jax.eval_shape(net.train, params, stats, *arrays)
    return params, stats, jax.tree.map(lambda y: y.shape, outputs)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parameter_counts_as_published_at_64():
    family, images = infogancr64(), (2, 64, 64, 1)
    params, stats, output = shapes(family.generator((64, 64, 1)), (2, 10))
    assert output == images
    assert count(params) == (
        (10 * 128 + 128 + 2 * 128)
        + (128 * 1024 + 1024 + 2 * 1024)
        + (16 * 64 * 64 + 64 + 2 * 64)
        + (16 * 64 * 32 + 32 + 2 * 32)
        + (16 * 32 * 32 + 32 + 2 * 32)
        + (16 * 32 * 1 + 1)
    )
    assert len(stats) == 5
    params, stats, output = shapes(family.discriminator(), images)
    assert count(params) == TRUNK + FULL + (128 + 1)
    assert output == ((2,), (2, 128))
    assert count(stats) == 32 + 32 + 64 + 64 + 128 + 1  # u of every layer
    params, stats, output = shapes(family.reconstructor((5,)), (2, 128))
    assert count(params) == (128 * 128 + 128) + (128 * 5 + 5)
    assert output == ((2, 5),) and count(stats) == 128 + 5
    params, stats, output = shapes(family.pair_classifier(5), (2, 64, 64, 2))
    assert count(params) == TRUNK + 16 * 32 + FULL + (128 * 5 + 5)
    assert output == (2, 5) and count(stats) == 32 + 32 + 64 + 64 + 128  # not of the last
    _, _, output = shapes(family.representation(4), (2, 6))
    assert output == ((2, 4), (2, 4))


@pytest.mark.parametrize("name", ["mlp", "ibgan64", "infogancr64", "infogan28"])
def test_every_code_family_classifies_pairs(name):
    family = networks.code_family(name)
    params, _, output = shapes(family.pair_classifier(3), (4, 16, 16, 6))
    assert output == (4, 3) and count(params) > 0


def test_the_family_for_the_other_methods_has_the_same_sizes():
    family, images = infogancr64_family(), (2, 64, 64, 1)
    params, stats, output = shapes(family.encoder((10, 2)), images)
    units = 32 + 32 + 64 + 64 + 128
    assert count(params) == TRUNK + FULL + 2 * units + (128 * 12 + 12)
    assert output == ((2, 10), (2, 2)) and count(stats) == 2 * units
    params, stats, output = shapes(family.critic(), images)
    assert count(params) == TRUNK + FULL + 128 and stats == {} and output == (2,)
    params, stats, output = shapes(family.joint_discriminator(), images, (2, 7))
    assert count(params) == TRUNK + FULL + 7 * 128 + (128 + 1) and stats == {} and output == (2,)
    assert shapes(family.generator((64, 64, 3)), (2, 10))[2] == (2, 64, 64, 3)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_sizes_taken(side):
    family = infogancr64(width=0.25)
    assert shapes(family.generator((side, side, 3)), (2, 10))[2] == (2, side, side, 3)
    params, _, output = shapes(family.discriminator(), (2, side, side, 3))
    assert output == ((2,), (2, 32))
    assert params["Dense_0"]["kernel"].shape == (4 * 4 * 16, 32)


def test_the_scale_of_the_discriminators_weights_does_not_matter():
    net = infogancr64(width=0.125).discriminator()
    x = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 1)).astype(np.float32)
    params, stats = jit(net.init)(KEY, x)
    train = jit(net.train)
    large = jax.tree.map(lambda p: 7 * p, params)  # biases are 0
    for tree in (params, large):
        (logits, features), _ = train(tree, stats, x)
        if tree is params:
            expected = logits, features
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), (logits, features), expected
    )
    # The last kernel is a vector, whose spectral norm is its length.
    kernel = np.asarray(params["Dense_1"]["kernel"])
    unit = kernel[:, 0] / np.linalg.norm(kernel)
    np.testing.assert_allclose(logits, features @ unit, rtol=1e-4, atol=1e-6)


def test_critic_starts_alive_and_scores_each_image_alone():
    net = infogancr64_family(width=0.25).critic()
    x = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 1)).astype(np.float32)

    def first_score(images):
        params, stats = net.init(KEY, images)
        return net.train(params, stats, images)[0][0]

    gradient = np.asarray(jit(jax.grad(first_score))(x))
    assert 0.05 < np.linalg.norm(gradient[0]) < 5  # the penalty pulls it towards 1
    np.testing.assert_array_equal(gradient[1:], 0)


def test_generator_starts_alive_and_inside_the_range():
    net = infogancr64(width=0.25).generator((16, 16, 1))
    latents = np.random.default_rng(2).uniform(-1, 1, (64, 10)).astype(np.float32)
    made = jit(lambda: net.train(*net.init(KEY, latents), latents)[0])()
    assert np.abs(made).max() <= 1 and np.std(made, axis=0).min() > 0.005


def test_options_and_sizes_are_checked():
    for factory in (infogancr64, infogancr64_family):
        with pytest.raises(UserError, match="width must be positive, not 0"):
            factory(width=0)
        with pytest.raises(UserError, match="--config.data.image_size=32"):
            factory().generator((28, 28, 1))
        with pytest.raises(UserError, match="infogancr64 networks take"):
            factory().check((64, 32, 1))
