"""The thesis' networks against numbers worked out by hand, and what both families promise."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from ivg import networks
from ivg.errors import UserError
from ivg.networks import ATTRIBUTE_FAMILIES, AttributeFamily, Network

KEY = jax.random.key(0, impl="rbg")  # XLA's own generator compiles sooner
BATCH, DIM_Z, K = 8, 5, 2
SIDE = 16
CASES = {"mlp": {"width": 16}, "mmvae64": {"width": 0.0625}}
every_case = pytest.mark.parametrize("case", CASES)
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Built(NamedTuple):
    net: Network
    params: Any
    stats: Any
    inputs: tuple[np.ndarray, ...]


def family(case: str) -> AttributeFamily:
    return networks.attribute_family(case, **CASES[case])


@cache
def built(case: str, part: str) -> Built:
    rng = np.random.default_rng(1)
    if part == "encoder":
        net = family(case).encoder(DIM_Z, K)
        images = rng.uniform(-1, 1, (BATCH, SIDE, SIDE, 3)).astype(np.float32)
        inputs = (images, rng.integers(0, 2, (BATCH, K)).astype(np.float32))
    else:
        net = family(case).decoder((SIDE, SIDE, 3))
        inputs = tuple(rng.normal(size=(BATCH, n)).astype(np.float32) for n in (DIM_Z, 2 * K))
    return Built(net, *jit(net.init)(KEY, *inputs), inputs)


@cache
def compiled(function: Callable) -> Callable:
    return jit(function)


def run(net: Built, mode: str, *inputs: np.ndarray) -> list[np.ndarray]:
    outputs = compiled(getattr(net.net, mode))(net.params, net.stats, *inputs)
    outputs = outputs[0] if mode == "train" else outputs
    return [np.asarray(leaf) for leaf in jax.tree.leaves(outputs)]


def count(net: Network, *shapes: tuple[int, ...]) -> int:
    inputs = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(net.init, KEY, *inputs)[0]))


def convolution(n: int, m: int) -> int:
    return 4 * 4 * n * m + 2 * m  # no bias, but gain and offset of the batch norm


def test_parameter_counts_of_the_thesis() -> None:
    for k in (1, 2):
        labels = 2 * k
        trunk = convolution(3, 32) + convolution(32, 64) + convolution(64, 128)
        branch_z = convolution(128, 256) + convolution(256, 512) + 2 * (2 * 2 * 512 + 1) * 512
        branch_c = convolution(128 + labels, 256) + convolution(256 + labels, 256)
        branch_c += 2 * (2 * 2 * 256 + labels + 1) * 2 * k
        encoder = networks.attribute_family("mmvae64").encoder(512, k)
        assert count(encoder, (2, 64, 64, 3), (2, k)) == trunk + branch_z + branch_c
        full = (512 + 2 * k) * 2048 + 2 * 2048
        stages = sum(
            convolution(n + 2 * k, m) for n, m in ((512, 256), (256, 128), (128, 64), (64, 32))
        )
        last = 4 * 4 * (32 + 2 * k) * 3 + 3
        decoder = networks.attribute_family("mmvae64").decoder((64, 64, 3))
        assert count(decoder, (2, 512), (2, 2 * k)) == full + stages + last


def test_smaller_images_leave_out_layers() -> None:
    family = networks.attribute_family("mmvae64")
    whole = count(family.encoder(8, 1), (2, 64, 64, 1), (2, 1))
    half = count(family.encoder(8, 1), (2, 32, 32, 1), (2, 1))
    # The first convolution goes, the second reads the image instead of 32 filters.
    assert whole - half == convolution(1, 32) + convolution(32, 64) - convolution(1, 64)
    whole = count(family.decoder((64, 64, 1)), (2, 8), (2, 2))
    half = count(family.decoder((32, 32, 1)), (2, 8), (2, 2))
    # The stage to 32 filters goes, the last transposed convolution reads 64 instead of 32.
    assert whole - half == convolution(64 + 2, 32) - 4 * 4 * 32


@every_case
@pytest.mark.parametrize("shape", [(16, 16, 1), (32, 32, 3), (64, 64, 3)])
@pytest.mark.parametrize("k", [1, 3])
def test_shapes(case: str, shape: tuple[int, int, int], k: int) -> None:
    encoder, decoder = family(case).encoder(DIM_Z, k), family(case).decoder(shape)
    images = jax.ShapeDtypeStruct((BATCH, *shape), np.float32)
    labels = jax.ShapeDtypeStruct((BATCH, k), np.float32)
    params, stats = jax.eval_shape(encoder.init, KEY, images, labels)
    heads, new_stats = jax.eval_shape(encoder.train, params, stats, images, labels)
    expected = [(BATCH, DIM_Z)] * 2 + [(BATCH, 2 * k)] * 2
    assert [head.shape for head in heads] == expected
    assert stats and new_stats == stats
    params, stats = jax.eval_shape(decoder.init, KEY, heads[0], heads[2])
    x_hat = jax.eval_shape(decoder.infer, params, stats, heads[0], heads[2])
    assert x_hat.shape == (BATCH, *shape) and x_hat.dtype == np.float32


@every_case
@pytest.mark.parametrize("mode", ["train", "infer"])
def test_z_does_not_depend_on_the_labels_but_c_does(case: str, mode: str) -> None:
    net = built(case, "encoder")
    images, y = net.inputs
    before, after = run(net, mode, images, y), run(net, mode, images, 1 - y)
    for i in (0, 1):
        np.testing.assert_array_equal(before[i], after[i])
    assert all(np.abs(before[i] - after[i]).min() > 0 for i in (2, 3))


@every_case
def test_encoder_treats_every_example_alone(case: str) -> None:
    net = built(case, "encoder")
    images, y = net.inputs
    other = np.concatenate([images[:2], -images[2:]])
    before, after = run(net, "infer", images, y), run(net, "infer", other, y)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a[:2], b[:2])
        assert np.abs(a[2:] - b[2:]).max() > 0


@every_case
def test_posteriors_start_near_their_priors(case: str) -> None:
    z_mean, z_log_var, c_mean, c_log_var = run(
        built(case, "encoder"), "train", *built(case, "encoder").inputs
    )
    assert 0.2 < z_mean.std() < 2
    assert np.abs(z_log_var).max() < 0.5
    assert np.abs(c_mean).max() < 0.5
    assert np.abs(c_log_var).max() < 0.5


@every_case
def test_decoder_starts_alive_and_sees_both_codes(case: str) -> None:
    net = built(case, "decoder")
    z, c = net.inputs
    (images,) = run(net, "train", z, c)
    assert np.abs(images).max() <= 1 and 0.02 < images.std() < 0.9
    (other_z,), (other_c,) = run(net, "train", -z, c), run(net, "train", z, -c)
    assert np.abs(images - other_z).max() > 0.01 and np.abs(images - other_c).max() > 0.01


def test_c_enters_every_stage_of_the_decoder() -> None:
    params = built("mmvae64", "decoder").params
    codes = 2 * K
    # Silence c at the dense layer and at the stages one by one: the last one left still moves x.
    kernels = [name for name in params if "kernel" in params[name]]
    assert len(kernels) == 1 + 3  # dense, 4x4, 8x8, 16x16
    z, c = built("mmvae64", "decoder").inputs
    infer = compiled(built("mmvae64", "decoder").net.infer)
    for kept in [*kernels, None]:
        changed = jax.tree.map(np.array, params)
        for name in kernels:
            if name != kept:
                changed[name]["kernel"][..., -codes:, :] = 0
        images = [
            np.asarray(infer(changed, built("mmvae64", "decoder").stats, z, u)) for u in (c, -c)
        ]
        assert (np.abs(images[0] - images[1]).max() > 0) == (kept is not None)


@every_case
def test_labels_may_be_booleans(case: str) -> None:
    net = built(case, "encoder")
    images, y = net.inputs
    for a, b in zip(run(net, "infer", images, y), run(net, "infer", images, y > 0), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("shape", "use"), [((28, 28, 1), 32), ((64, 48, 3), 64), ((8, 8, 1), 16)])
def test_sizes_refused(shape: tuple[int, int, int], use: int) -> None:
    family = networks.attribute_family("mmvae64")
    for refuses in (family.check, family.decoder):
        with pytest.raises(UserError) as error:
            refuses(shape)
        assert str(error.value) == (
            "the mmvae64 networks take images of 16x16, 32x32 or 64x64 pixels, not "
            f"{shape[0]}x{shape[1]}: use --config.data.image_size={use}"
        )


@pytest.mark.parametrize("name", ATTRIBUTE_FAMILIES)
def test_options_are_checked(name: str) -> None:
    with pytest.raises(UserError, match="width must be positive, not 0"):
        networks.attribute_family(name, width=0)
    with pytest.raises(UserError, match='have no option "depth": use width'):
        networks.attribute_family(name, depth=3)


def test_families_by_name() -> None:
    assert isinstance(networks.attribute_family("mlp", width=8), AttributeFamily)
    with pytest.raises(UserError, match='no network family "gan" for this method: use mlp, mmvae'):
        networks.attribute_family("gan")
    with pytest.raises(UserError, match="number of hidden units, not 0.5"):
        networks.attribute_family("mlp", width=0.5)


def test_classifier_counts_and_sizes() -> None:
    net = networks.attribute_classifier(2)
    trunk = convolution(3, 32) + convolution(32, 64) + convolution(64, 128) + convolution(128, 256)
    assert count(net, (2, 64, 64, 3)) == trunk + 2 * (4 * 4 * 256 + 1)
    for side, last in ((16, 1), (28, 2), (50, 4)):
        assert count(net, (2, side, side, 3)) == trunk + 2 * (last * last * 256 + 1)
    networks.check_classifier((16, 50, 1))
    for shape, use in (((27, 27, 1), 28), ((8, 8, 1), 16)):
        with pytest.raises(UserError, match=f"even sides of .* 16 pixels, .*image_size={use}"):
            networks.check_classifier(shape)
