"""Perceptrons on latents: sizes, first values, and what the outputs depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg.errors import UserError
from ivg.networks.statistics import label_network, statistics_network

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 16)
A = np.random.default_rng(0).normal(size=(64, 20)).astype(np.float32)
B = np.random.default_rng(1).integers(0, 2, size=(64, 2)).astype(np.float32)


def count(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_sizes_of_the_thesis() -> None:
    inputs = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((1, 512), (1, 2))]
    params, stats = jax.eval_shape(statistics_network().init, KEY, *inputs)
    hidden = 514 * 512 + 512 + 6 * (512 * 512 + 512)
    assert count(params) == hidden + 512  # no bias at the output
    assert stats == {}
    params, _ = jax.eval_shape(label_network(3).init, KEY, inputs[0])
    assert count(params) == hidden - 2 * 512 + 3 * 512 + 3


def test_scores_start_small_whatever_the_depth() -> None:
    def size(depth: int) -> float:
        net = statistics_network(width=64, depth=depth)
        scores = jax.vmap(lambda key: net.infer(net.init(key, A, B)[0], {}, A, B))(KEYS)
        assert scores.shape == (16, 64)
        return float(jnp.sqrt(jnp.mean(jnp.square(scores))))

    shallow, deep = size(1), size(7)
    assert 0.02 < shallow < 0.3
    # Layers of variance 1 / fan_in would take away a factor of 2 ** (6 / 2).
    assert shallow / 3 < deep < 3 * shallow


def test_scores_depend_on_both_inputs_and_on_their_own_row_only() -> None:
    net = statistics_network(width=16, depth=2)
    params, _ = net.init(KEY, A, B)
    scores = net.infer(params, {}, A, B)
    for other in ((A + 1, B), (A, 1 - B)):
        assert np.all(net.infer(params, {}, *other) != scores)
    np.testing.assert_allclose(net.infer(params, {}, A[:5], B[:5]), scores[:5], rtol=1e-5)
    np.testing.assert_allclose(net.train(params, {}, A, B)[0], scores, rtol=1e-5)
    np.testing.assert_array_equal(net.infer(params, {}, A, B.astype(bool)), scores)


def test_label_network() -> None:
    net = label_network(3, width=16, depth=2)
    params, stats = net.init(KEY, A)
    logits = net.infer(params, stats, A)
    assert logits.shape == (64, 3)
    assert np.max(np.abs(logits)) < 1
    np.testing.assert_allclose(net.infer(params, stats, A[:5]), logits[:5], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("options", [{"width": 0}, {"depth": 0}, {"width": 0.5}, {"depth": -1}])
def test_refused_sizes(options) -> None:
    name, value = next(iter(options.items()))
    for network in (statistics_network, lambda **options: label_network(1, **options)):
        with pytest.raises(UserError, match=f"the {name} of .* at least 1, not {value}"):
            network(**options)
