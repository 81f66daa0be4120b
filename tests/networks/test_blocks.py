"""Layers against reference values from PyTorch, and the contract of `Network`."""

import json
import pathlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ivg.errors import UserError
from ivg.networks import blocks, network

TOLERANCE = 2e-5  # `tolerance_abs_float32` of every case used here
PLAIN = nn.initializers.normal(1.0)


class Layer(nn.Module):
    """One layer of `blocks` as a module."""

    layer: Callable[..., jax.Array]
    has_mode: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.layer(x, train=train) if self.has_mode else self.layer(x)


@pytest.fixture(scope="module")
def oracle(shared: pathlib.Path) -> Callable[[str], tuple[dict[str, np.ndarray], dict[str, Any]]]:
    arrays = np.load(shared / "oracles" / "07_layers.npz")
    cases = json.loads((shared / "oracles" / "07_layers.json").read_text())["cases"]

    def case(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        prefix = f"{name}/"
        found = {k.removeprefix(prefix): arrays[k] for k in arrays.files if k.startswith(prefix)}
        assert cases[name]["tolerance_abs_float32"] == TOLERANCE
        return {k: np.asarray(v, np.float32) for k, v in found.items()}, cases[name]

    return case


def nhwc(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)


def close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "kernel", "stride"), [("conv_k4s2p1", 4, 2), ("conv_k3s1p1", 3, 1)]
)
def test_conv_equals_torch(oracle: Any, name: str, kernel: int, stride: int) -> None:
    a, _ = oracle(name)
    layer = partial(blocks.conv, channels=len(a["bias"]), kernel=kernel, stride=stride, init=PLAIN)
    params = {
        ("Strided_0" if stride == 2 else "Conv_0"): {
            "kernel": a["weight"].transpose(2, 3, 1, 0),
            "bias": a["bias"],
        }
    }
    close(network(Layer(layer)).infer(params, {}, nhwc(a["x"])), nhwc(a["expected_y"]))


def test_deconv_equals_torch_with_a_flipped_kernel(oracle: Any) -> None:
    a, _ = oracle("conv_transpose_k4s2p1")
    layer = partial(blocks.deconv, channels=len(a["bias"]), kernel=4, stride=2, init=PLAIN)
    kernel = a["weight"][:, :, ::-1, ::-1].transpose(2, 3, 0, 1)
    params = {"Strided_0": {"kernel": kernel, "bias": a["bias"]}}
    close(network(Layer(layer)).infer(params, {}, nhwc(a["x"])), nhwc(a["expected_y"]))


@pytest.mark.parametrize("name", ["batchnorm1d", "batchnorm2d"])
def test_batch_norm_equals_torch(oracle: Any, name: str) -> None:
    a, about = oracle(name)
    assert about["momentum_flax"] == 0.9
    norm = network(Layer(blocks.batch_norm, has_mode=True))
    params = {"BatchNorm_0": {"scale": a["gamma"], "bias": a["beta"]}}
    stats = {"BatchNorm_0": {"mean": a["running_mean0"], "var": a["running_var0"]}}
    for i in (1, 2, 3):
        y, stats = norm.train(params, stats, nhwc(a[f"x{i}"]))
        close(y, nhwc(a[f"expected_y_train_{i}"]))
        close(stats["BatchNorm_0"]["mean"], a[f"expected_running_mean_{i}"])
        # Flax keeps the biased variance, torch the unbiased one.
        close(stats["BatchNorm_0"]["var"], a[f"expected_running_var_if_biased_{i}"])
    torch_stats = {"mean": a["expected_running_mean_3"], "var": a["expected_running_var_3"]}
    y = norm.infer(params, {"BatchNorm_0": torch_stats}, nhwc(a["x1"]))
    close(y, nhwc(a["expected_y_eval_of_x1"]))


def test_layer_norm_equals_torch(oracle: Any) -> None:
    a, _ = oracle("layer_norm")
    params = {"LayerNorm_0": {"scale": a["weight"], "bias": a["bias"]}}
    close(network(Layer(blocks.layer_norm)).infer(params, {}, a["x"]), a["expected_y"])


def test_leaky_relu_equals_torch(oracle: Any) -> None:
    a, _ = oracle("activations")
    close(blocks.leaky_relu(a["x"], 0.2), a["expected_leaky_relu_0p2"])
    close(blocks.leaky_relu(a["x"], 0.01), a["expected_leaky_relu_0p01"])


def test_layer_norm_of_images_is_over_height_width_and_channels() -> None:
    x = np.random.default_rng(0).normal(3.0, 2.0, (2, 4, 5, 3)).astype(np.float32)
    gain, offset = np.array([1.0, 2.0, 3.0], np.float32), np.array([0.5, 0.0, -1.0], np.float32)
    params = {"LayerNorm_0": {"scale": gain, "bias": offset}}
    expected = np.stack([(i - i.mean()) / np.sqrt(i.var() + 1e-5) * gain + offset for i in x])
    close(network(Layer(blocks.layer_norm)).infer(params, {}, x), expected)


def test_network_without_batch_norm_has_empty_stats_under_jit_and_eval_shape() -> None:
    net = network(Layer(partial(blocks.dense, features=2, init=PLAIN)))
    x = jnp.ones((3, 4))
    params, stats = jax.jit(net.init)(jax.random.key(0), x)
    assert stats == {}
    y, stats = jax.jit(net.train)(params, stats, x)
    assert stats == {} and y.shape == (3, 2)
    np.testing.assert_array_equal(jax.jit(net.infer)(params, stats, x), y)
    assert jax.eval_shape(net.init, jax.random.key(0), x)[1] == {}


def test_init_starts_running_averages_at_zero_and_one() -> None:
    net = network(Layer(blocks.batch_norm, has_mode=True))
    _, stats = net.init(jax.random.key(0), 5 + jnp.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(stats["BatchNorm_0"]["mean"], [0.0, 0.0])
    np.testing.assert_array_equal(stats["BatchNorm_0"]["var"], [1.0, 1.0])


@pytest.mark.parametrize(
    ("init", "std", "bound"),
    [
        (blocks.NORMAL_002, 0.02, 0.2),
        # A normal cut at two of its standard deviations keeps 0.8796 of them.
        (blocks.TRUNCATED_002, 0.02 * 0.8796, 0.04),
        (blocks.HE, np.sqrt(2 / 200), 1.0),
        (blocks.LECUN, np.sqrt(1 / 200), 1.0),
    ],
)
def test_initialisers(init: blocks.Initializer, std: float, bound: float) -> None:
    w = np.asarray(init(jax.random.key(0), (200, 500), jnp.float32))
    assert abs(w.std() / std - 1) < 0.01 and abs(w.mean()) < 0.01 * std
    assert np.abs(w).max() <= bound * 1.0001


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_relu_is_that_of_jax_with_its_gradient_and_keeps_nan(dtype: jnp.dtype) -> None:
    x = jnp.asarray([-2.0, -0.0, 0.0, 1.5, np.nan, np.inf, -np.inf], dtype)
    numbers = ~jnp.isnan(x)
    for change in (jax.vmap, lambda f: jax.vmap(jax.grad(f))):
        mine, theirs = change(blocks.relu)(x), change(jax.nn.relu)(x)
        assert mine.dtype == dtype
        np.testing.assert_array_equal(mine[numbers], theirs[numbers])
    assert np.isnan(blocks.relu(x)[4])


def test_widths() -> None:
    assert [blocks.scaled(64, w) for w in (1.0, 0.5, 0.125, 0.001)] == [64, 32, 8, 1]
    for width in (0, -1.0, float("nan")):
        with pytest.raises(UserError, match="must be positive"):
            blocks.require_width(width)
