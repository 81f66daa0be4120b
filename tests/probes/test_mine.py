"""MINE against known information, and how it holds out rows, stops and refuses."""

import functools
import json
import math

import jax
import numpy as np
import oracles
import pytest

from ivg.errors import UserError
from ivg.networks.statistics import statistics_network
from ivg.probes import mine
from ivg.probes.mine import Recipe, estimate

SMALL = Recipe(width=32, depth=2, learning_rate=2e-3, batch_size=256, steps=400)


def gaussians(rng, rows, d, rho):
    x, noise = rng.normal(size=(2, rows, d))
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def mixture(rng, rows, facts):
    """Codes whose law depends on a label: c `[N, n]`, y `[N, 1]`."""
    y = (rng.random(rows) < facts["prior"][1]).astype(int)
    mean, sd = np.array(facts["means_per_coordinate"])[y], np.array(facts["sds"])[y]
    c = sd[:, None] * rng.normal(size=(rows, facts["dim"])) + mean[:, None]
    return c, y[:, None]


def both(draw, train_rows, test_rows, *law):
    rng = np.random.default_rng(0)
    return draw(rng, train_rows, *law), draw(rng, test_rows, *law)


# --- known information ----------------------------------------------------------------------------

GAUSSIANS = {
    (1, 0.99): SMALL._replace(steps=1000),
    (2, 0.9): Recipe(width=128, depth=1, learning_rate=1e-2, steps=800, check_every=200),
    # Twenty products of two numbers each: wider, longer, with more data against overfitting.
    (20, 0.3): Recipe(
        width=512, depth=1, learning_rate=3e-3, steps=1400, check_every=350, averaging=0.998
    ),
}


@pytest.mark.parametrize(("d", "rho"), GAUSSIANS)
def test_correlated_gaussians(d, rho):
    nats = -0.5 * d * math.log(1 - rho**2)
    assert 0.9 < nats < 2
    rows = {1: (20_000, 20_000), 2: (50_000, 50_000), 20: (200_000, 50_000)}[d]
    result = estimate(*both(gaussians, *rows, d, rho), recipe=GAUSSIANS[d, rho], seed=0)
    assert abs(result.nats - nats) < 0.05


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("mixture_1d_p0.2_N(0,sd0.5)_N(1,sd2)", 400),
        ("mixture_2d_mean_in_both_p0.5_N(0,sd0.1)_N(3,sd1)", 400),  # the prior of c in MMVAE
        ("mixture_2d_mean_in_both_same_law", 200),
    ],
)
def test_label_mixtures(shared, name, steps):
    facts = oracles.load(shared, "04_mutual_information")[name].facts
    rows = both(mixture, 20_000, 20_000, facts)
    result = estimate(*rows, recipe=SMALL._replace(steps=steps), seed=0)
    assert abs(result.nats - facts["nats"]) < 0.02


@pytest.mark.parametrize("change", [{"ema_rate": 1.0}, {"product": "shuffled"}])
def test_plain_gradient_and_shuffled_products(change):
    rows = both(gaussians, 20_000, 20_000, 1, 0.7)
    result = estimate(*rows, recipe=SMALL._replace(**change), seed=0)
    assert abs(result.nats + 0.5 * math.log(1 - 0.7**2)) < 0.03


# --- what makes an estimate -----------------------------------------------------------------------


def labelled(rng, rows):
    y = rng.integers(0, 2, size=(rows, 2)).astype(bool)
    return y + 0.3 * rng.normal(size=(rows, 2)), y


@functools.cache
def few_rows(seed=0, scale=1.0):
    (z, y), (z_test, y_test) = both(labelled, 300, 200)
    return estimate((scale * z + scale, y), (scale * z_test + scale, y_test), recipe=SMALL,
                    seed=seed)  # fmt: skip


def test_few_rows_and_labels():
    result = few_rows()
    assert 0.8 < result.nats < 2 * math.log(2) + 0.05  # all but 1.10 are hidden by the noise


def test_the_seed_decides():
    rows = both(labelled, 300, 200)
    again = estimate(*rows, recipe=SMALL, seed=0)
    for mine_, his in zip(again, few_rows(), strict=True):
        np.testing.assert_array_equal(mine_, his)
    assert few_rows(1).nats != few_rows().nats


def test_units_do_not_matter():
    np.testing.assert_allclose(few_rows(0, 1024.0).nats, few_rows().nats, atol=0.02)


@pytest.mark.parametrize("positives", [0, 1, 2])
def test_constant_and_rare_labels_tell_nothing(positives):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(600, 3)), np.zeros((600, 1), bool)
    z[:, 0] = 0.1  # constant as well
    y[:positives] = True
    recipe = SMALL._replace(steps=60)  # fewer than to a check
    result = estimate((z[:400], y[:400]), (z[400:], y[400:]), recipe=recipe, seed=0)
    assert abs(result.nats) < 0.03
    assert result.steps.tolist() == [0, 60]
    assert np.isfinite(result.train).all()


def test_best_weights_are_kept_and_patience_ends_training():
    # Nothing to be learnt but 100 rows by heart, quickly.
    rng = np.random.default_rng(0)
    train, test = (tuple(rng.normal(size=(2, rows, 5))) for rows in (100, 1000))
    hasty = SMALL._replace(learning_rate=1e-2, check_every=20, averaging=0.0)
    result = estimate(train, test, recipe=hasty._replace(patience=4), seed=0)
    best = int(np.argmax(result.validation))
    assert len(result.steps) == best + 5
    np.testing.assert_array_equal(result.steps, 20 * np.arange(best + 5))
    assert result.train[-1] > 0.3 and result.validation[-1] < -0.3
    assert abs(result.nats) < 0.1
    short = estimate(train, test, recipe=hasty._replace(steps=30), seed=0)
    assert short.steps.tolist() == [0, 20]


def test_bound_pairs_every_row_with_every_other():
    rng = np.random.default_rng(0)
    pairs = mine.Pairs(*rng.normal(size=(2, 30, 2)).astype(np.float32))
    net = statistics_network(width=8, depth=1)
    params, _ = net.init(jax.random.key(3), *pairs)
    params = jax.tree.map(lambda x: 4 * x, params)
    rotations = mine._rotations(30, 10_000, rng)
    a, b = (np.repeat(pairs.a, 30, axis=0), np.tile(pairs.b, (30, 1)))
    scores = np.asarray(net.infer(params, {}, a, b)).reshape(30, 30).astype(np.float64)
    product = np.mean(np.exp(scores[~np.eye(30, dtype=bool)]))
    expected = np.mean(np.diag(scores)) - math.log(product)
    assert abs(expected) > 0.01
    np.testing.assert_allclose(
        mine._bound((8, 1), params, pairs, rotations), expected, rtol=1e-4, atol=1e-6
    )
    some = mine._rotations(30, 61, rng)
    assert len(set(some.tolist())) == 3 and 0 < min(some) and max(some) < 30


def test_summary_is_in_bits():
    results = [mine.Estimate(nats * math.log(2), *np.zeros((3, 1))) for nats in (0.5, 1.0)]
    summary = json.loads(json.dumps(mine.summary(results)))
    assert summary["mean"] == pytest.approx(0.75)
    assert summary["std"] == pytest.approx(math.sqrt(0.125))
    assert summary["values"] == pytest.approx([0.5, 1.0])
    assert mine.summary(results[:1])["std"] is None


# --- mistakes -------------------------------------------------------------------------------------

X, Y = np.ones((50, 2)), np.ones((50, 1))


@pytest.mark.parametrize(
    ("train", "test", "change", "message"),
    [
        ((X[:19], Y[:19]), (X, Y), {}, "19 train rows are too few .* at least 20"),
        ((X, Y), (X[:1], Y[:1]), {}, "1 test rows are too few"),
        ((X, Y[:49]), (X, Y), {}, r"same rows for train, .* \(50, 2\) and \(49, 1\)"),
        ((X, Y[:, 0]), (X, Y), {}, r"not arrays of shapes \(50, 2\) and \(50,\)"),
        ((X, Y), (X, X), {}, "1 columns but test rows 2"),
        ((X, Y), (X * np.nan, Y), {}, "test rows hold values that are not finite"),
        ((X, Y), (X, Y), {"product": "third"}, 'no product samples "third": use second, shuffled'),
        ((X, Y), (X, Y), {"ema_rate": 0.0}, "ema_rate"),
        ((X, Y), (X, Y), {"steps": 0}, "steps of a MINE recipe must be at least 1"),
        ((X, Y), (X, Y), {"averaging": 1.0}, "averaging"),
        ((X, Y), (X, Y), {"width": 0}, "the width of"),
    ],
)
def test_mistakes(train, test, change, message):
    with pytest.raises(UserError, match=message):
        estimate(train, test, recipe=SMALL._replace(**change), seed=0)
