"""The mixture's networks: shapes, counts worked out by hand, copies, the weighted sum."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg.errors import UserError
from ivg.networks import MIXTURE_FAMILIES, mixture, mixture_family

KEY = jax.random.key(0)
N, BATCH, D = 3, 4, 5
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def inputs(shape):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (BATCH, *shape)).astype(np.float32)
    z = rng.normal(size=(N, BATCH, D)).astype(np.float32)
    return x, z, rng.dirichlet(np.ones(N), BATCH).astype(np.float32)


def count(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("name", "width", "shape"),
    [("mlp", 16, (8, 8, 1)), ("mlp", 16, (28, 28, 3)), ("mixture64", 0.0625, (64, 64, 3))],
)
def test_shapes(name, width, shape):
    family = mixture_family(name, width=width)
    x, z, w = inputs(shape)
    for net, arguments, expected in (
        (family.encoders(N, (D, D, 1)), (x,), tuple((N, BATCH, size) for size in (D, D, 1))),
        (family.decoder(N, shape), (z, w), (BATCH, *shape)),
    ):
        params, stats = jax.eval_shape(net.init, KEY, *arguments)
        outputs, after = jax.eval_shape(net.train, params, stats, *arguments)
        assert jax.tree.map(lambda y: y.shape, outputs) == expected
        inferred = jax.eval_shape(net.infer, params, stats, *arguments)
        assert jax.tree.map(lambda y: y.shape, inferred) == expected
        assert after == stats
        own = params if "parts" not in params else params["parts"]
        assert all(leaf.shape[0] == N for leaf in jax.tree.leaves(own))


def test_parameter_counts_as_released():
    x, z, w = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in inputs((28, 28, 1)))
    family = mixture_family("mlp")
    pixels = 28 * 28
    encoder = pixels * 500 + 500 + 500 * 500 + 500 + 2 * (500 * D + D) + 500 + 1
    assert count(jax.eval_shape(family.encoders(N, (D, D, 1)).init, KEY, x)) == N * encoder
    last = 500 * 500 + 500 + 500 * pixels + pixels
    decoder = jax.eval_shape(family.decoder(N, (28, 28, 1)).init, KEY, z, w)
    assert count(decoder) == N * (D * 500 + 500) + last

    family = mixture_family("mixture64")
    x = jax.ShapeDtypeStruct((BATCH, 64, 64, 3), np.float32)
    params, _ = jax.eval_shape(family.decoder(N, (64, 64, 3)).init, KEY, z, w)
    assert count(params["parts"]) == N * (D * 8 * 8 * 256 + 2 * 256)
    middle = 3 * 3 * 256 * 256 + 2 * 256
    assert count(params["image"]) == (
        4 * middle + (3 * 3 * 256 * 128 + 2 * 128) + (3 * 3 * 128 * 3 + 3)
    )


def test_copies_one_by_one_equal_copies_side_by_side():
    x, z, _ = inputs((8, 8, 1))
    encoder = mixture.network(mixture.DenseEncoder((D, 1), 6))
    features = mixture.network(mixture.Features(1 / 256))  # with batch norm
    for one, axis, y in ((encoder, None, x), (features, 0, z)):
        results = []
        for copies in (mixture.side_by_side, mixture.one_by_one):
            net = copies(one, N, axis)
            params, stats = jit(net.init)(KEY, y)
            outputs, after = jit(net.train)(params, stats, y)
            results.append((params, outputs, after, jit(net.infer)(params, after, y)))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *results)
        kernel = np.asarray(results[0][0]["Dense_0"]["kernel"])
        assert np.abs(kernel[0] - kernel[1]).max() > 0.01  # each starts from weights of its own


def test_a_component_without_weight_says_nothing():
    _, z, _ = inputs((8, 8, 1))
    net = mixture_family("mlp", width=8).decoder(N, (8, 8, 1))
    only = np.tile(np.float32([0, 1, 0]), (BATCH, 1))
    params, stats = jit(net.init)(KEY, z, only)
    infer = jit(net.infer)
    out = infer(params, stats, z, only)
    others = z.copy()
    others[[0, 2]] += 1.0
    np.testing.assert_array_equal(infer(params, stats, others, only), out)
    others[1] += 1.0
    assert np.abs(infer(params, stats, others, only) - out).max() > 1e-3
    # The sum is of features, before the last decoder.
    soft = np.full((BATCH, N), 1 / N, np.float32)
    dense = jax.tree.map(np.asarray, params["parts"]["Dense_0"])
    parts = [np.tanh(z[k] @ dense["kernel"][k] + dense["bias"][k]) for k in range(N)]
    last = mixture.network(mixture.DenseImage((8, 8, 1), 8))
    expected = last.infer(params["image"], {}, jnp.asarray(sum(parts) / N))
    np.testing.assert_allclose(infer(params, stats, z, soft), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mlp", dict(width=2.5), "hidden units"),
        ("mlp", dict(width=0), "positive"),
        ("mixture64", dict(width=-1.0), "positive"),
        ("mixture64", dict(depth=2), 'no option "depth"'),
        ("dlib64", {}, "no network family"),
    ],
)
def test_clear_errors(name, options, words):
    with pytest.raises(UserError, match=words):
        mixture_family(name, **options)


def test_sizes_refused():
    for name, shape in (("mixture64", (32, 32, 3)), ("mlp", (128, 128, 3))):
        with pytest.raises(UserError, match="use --config.data.image_size=64"):
            MIXTURE_FAMILIES[name]().decoder(2, shape)
