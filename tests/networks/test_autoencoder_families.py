"""What the networks of the variational autoencoders promise, and disentanglement_lib's sizes."""

import jax
import numpy as np
import pytest

from ivg import networks
from ivg.errors import UserError
from ivg.networks import AUTOENCODER_FAMILIES, AutoencoderFamily, code_discriminator, dlib64

KEY = jax.random.key(0)
# name, options, image sizes
CASES = {
    "dlib64": ("dlib64", {"width": 0.125}, [(64, 64, 1), (64, 64, 3)]),
    "mlp": ("mlp", {"width": 16}, [(8, 8, 1), (28, 28, 1), (20, 12, 3)]),
}
every_case = pytest.mark.parametrize("case", CASES)


def shaped(shape):
    return jax.ShapeDtypeStruct(shape, np.float32)


def count(net, shape):
    params, stats = jax.eval_shape(net.init, KEY, shaped(shape))
    assert stats == {}
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def weights(path, leaf):
    """Random kernels, biases 0: quicker than compiling `init`."""
    if path[-1].key == "bias":
        return np.zeros(leaf.shape, leaf.dtype)
    scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
    return np.random.default_rng(0).normal(0, scale, leaf.shape).astype(leaf.dtype)


def build(net, inputs):
    params, _ = jax.eval_shape(net.init, KEY, inputs)
    return jax.tree_util.tree_map_with_path(weights, params)


# ---- both families -------------------------------------------------------------------------------


@every_case
def test_shapes_of_every_size(case):
    name, options, shapes = CASES[case]
    family = AUTOENCODER_FAMILIES[name](**options)
    for shape in shapes:
        family.check(shape)
        encoder, decoder = family.encoder((3, 3, 2)), family.decoder(shape)
        for net, inputs, expected in (
            (encoder, (5, *shape), ((5, 3), (5, 3), (5, 2))),
            (decoder, (5, 4), (5, *shape)),
        ):
            variables = jax.eval_shape(net.init, KEY, shaped(inputs))
            outputs, stats = jax.eval_shape(net.train, *variables, shaped(inputs))
            assert jax.tree.map(lambda y: y.shape, outputs) == expected
            assert jax.eval_shape(net.infer, *variables, shaped(inputs)) == outputs
            assert stats == variables[1] == {}
            assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {np.dtype("float32")}


@every_case
def test_every_example_alone_and_the_decoder_unbounded(case):
    name, options, shapes = CASES[case]
    family, rng = AUTOENCODER_FAMILIES[name](**options), np.random.default_rng(1)
    images = rng.uniform(-1, 1, (4, *shapes[0])).astype(np.float32)
    latents = rng.normal(size=(4, 4)).astype(np.float32)
    for net, x in ((family.encoder((3,)), images), (family.decoder(shapes[0]), latents)):
        params, infer = build(net, x), jax.jit(net.infer)
        whole, other = (
            np.asarray(jax.tree.leaves(infer(params, {}, inputs))[0])
            for inputs in (x, np.concatenate([x[:2], -x[2:]]))
        )
        np.testing.assert_array_equal(whole[:2], other[:2])
        assert np.abs(whole[2:] - other[2:]).max() > 0
    loud = infer(params, {}, 100 * latents)
    assert np.abs(loud).max() > 1.5  # logits: no tanh, no sigmoid


@every_case
def test_widths_are_checked(case):
    name, _, _ = CASES[case]
    with pytest.raises(UserError, match="width must be positive, not 0"):
        AUTOENCODER_FAMILIES[name](width=0)
    with pytest.raises(TypeError):
        AUTOENCODER_FAMILIES[name](64)


@pytest.mark.parametrize(
    ("name", "shape", "use"),
    [("dlib64", (32, 32, 1), 64), ("dlib64", (64, 32, 1), 64), ("mlp", (128, 96, 3), 64)],
)
def test_sizes_refused(name, shape, use):
    family = AUTOENCODER_FAMILIES[name]()
    for refuse in (family.check, family.decoder):
        with pytest.raises(UserError, match=f"not {shape[0]}x{shape[1]}.*image_size={use}"):
            refuse(shape)


def test_width_of_the_perceptrons_is_a_number_of_units():
    with pytest.raises(UserError, match="number of hidden units, not 0.5"):
        AUTOENCODER_FAMILIES["mlp"](width=0.5)


def test_family_by_name():
    assert isinstance(networks.autoencoder_family("mlp", width=8), AutoencoderFamily)
    with pytest.raises(UserError, match='no network family "vgg".*: use mlp, dlib64'):
        networks.autoencoder_family("vgg")
    with pytest.raises(UserError, match='the dlib64 networks have no option "depth": use width'):
        networks.autoencoder_family("dlib64", depth=3)


# ---- published sizes -----------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_parameters_of_disentanglement_lib(channels):
    """Locatello et al. 2019, Table 1, layer by layer: weights and biases."""
    family, shape = AUTOENCODER_FAMILIES["dlib64"](), (64, 64, channels)
    encoder = 16 * channels * 32 + 32, 16 * 32 * 32 + 32, 4 * 32 * 64 + 64, 4 * 64 * 64 + 64
    encoder += 4 * 4 * 64 * 256 + 256, 2 * (256 * 10 + 10)
    decoder = 10 * 256 + 256, 256 * 1024 + 1024
    decoder += 16 * 64 * 64 + 64, 16 * 64 * 32 + 32, 16 * 32 * 32 + 32, 16 * 32 * channels
    assert count(family.encoder((10, 10)), (2, *shape)) == sum(encoder)
    assert count(family.decoder(shape), (2, 10)) == sum(decoder) + channels


def test_parameters_of_the_perceptrons():
    family = AUTOENCODER_FAMILIES["mlp"](width=256)
    hidden = 256 * 256 + 256
    encoder, decoder = family.encoder((10, 10)), family.decoder((8, 8, 1))
    assert count(encoder, (2, 8, 8, 1)) == 64 * 256 + 256 + hidden + 2 * (256 * 10 + 10)
    assert count(decoder, (2, 10)) == 10 * 256 + 256 + hidden + 256 * 64 + 64


def test_dense_on_blocks_is_a_convolution_of_kernel_2_and_stride_2():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 4, 3)).astype(np.float32)
    kernel = rng.normal(size=(2, 2, 3, 5)).astype(np.float32)
    dense = np.asarray(dlib64.two_by_two(x)) @ kernel.reshape(12, 5)
    conv = jax.lax.conv_general_dilated(
        x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert dense.shape == conv.shape == (2, 3, 2, 5)
    np.testing.assert_allclose(dense, conv, rtol=1e-4, atol=1e-5)


def test_first_weights_are_glorots_by_the_taps_of_the_convolution():
    family = AUTOENCODER_FAMILIES["dlib64"]()
    params, _ = jax.jit(family.encoder((10,)).init)(KEY, np.zeros((1, 64, 64, 1), np.float32))
    for name, fans in {  # fan-in and fan-out count the taps, 4 x 4 and 2 x 2
        "Strided_1": 16 * (32 + 32),
        "Dense_0": 4 * (32 + 64),
        "Dense_1": 4 * (64 + 64),
        "Dense_2": 1024 + 256,
    }.items():
        kernel, limit = np.asarray(params[name]["kernel"]), np.sqrt(6 / fans)
        assert 0.97 * limit < np.abs(kernel).max() <= limit, name
        np.testing.assert_allclose(np.std(kernel), limit / np.sqrt(3), rtol=0.03, err_msg=name)
        np.testing.assert_array_equal(params[name]["bias"], 0)


# ---- FactorVAE's discriminator -------------------------------------------------------------------


def test_discriminator_of_codes_has_the_papers_size():
    hidden = 10 * 1000 + 1000 + 5 * (1000 * 1000 + 1000)
    assert count(code_discriminator(), (2, 10)) == hidden + 1000 * 2 + 2
    assert count(code_discriminator(width=8, depth=1), (2, 3)) == 3 * 8 + 8 + 8 * 2 + 2


def test_discriminator_of_codes_is_leaky_by_a_fifth():
    net, z = code_discriminator(width=4, depth=2), np.float32([[1.0, -2.0], [3.0, 0.5]])
    params = build(net, z)
    hidden = z
    for name in ("Dense_0", "Dense_1"):
        hidden = hidden @ params[name]["kernel"]
        hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    logits = net.infer(params, {}, z)
    np.testing.assert_allclose(logits, hidden @ params["Dense_2"]["kernel"], rtol=1e-4, atol=1e-6)
    assert np.any(hidden < 0)


@pytest.mark.parametrize("options", [{"width": 0}, {"depth": 0}, {"width": 0.5}])
def test_discriminator_of_codes_refuses_sizes(options):
    with pytest.raises(UserError, match="must be a whole number of at least 1"):
        code_discriminator(**options)
