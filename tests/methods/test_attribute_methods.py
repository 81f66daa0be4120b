"""r-CVAE, CSVAE and MMVAE on tiny images: the five tests of every method, and their equations."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from promises import (
    BATCH,
    SHAPE,
    images,
    params,
    play,
    quick,
    repeated,
    restored_goes_on,
    steps_agree,
)

from ivg.errors import UserError
from ivg.losses import information
from ivg.methods import ATTRIBUTE_METHODS, METHODS, mmvae, r_cvae
from ivg.players import Labelled

K = 2  # attributes
PLAYERS = ("E", "G", "q_y", "T_cy", "T_zy", "T_zc")
T = ("T_cy", "T_zy", "T_zc")
SMALL = dict(width=16, depth=1)
same = functools.partial(chex.assert_trees_all_close, rtol=0, atol=0)


@functools.cache
def make(name, **options):
    sizes = dict(dim_z=4, num_attributes=K, network=dict(name="mlp", width=16))
    if name != "r_cvae":
        sizes["statistics"] = SMALL
    # A large eps: gradients that are rounding noise do not become steps of full length.
    tx = dict.fromkeys(PLAYERS, optax.adam(1e-3, eps=1e-3))
    return METHODS[name](image_shape=SHAPE, batch_size=BATCH, tx=tx, **(sizes | options))


@functools.cache
def start(name):
    """One start for all methods of a name: no option changes it."""
    return quick(make(name).init)(jax.random.key(0))


def stepper(method):
    return quick(method.step)


def examples(method, seed=0):
    """Minibatches in which each attribute lights up a row of its own."""
    count = method.phases[0].num_batches
    y = np.random.default_rng(seed).integers(0, 2, (count, BATCH, K)).astype(np.float32)
    x = images(count, seed) / 2 - 0.5
    x[..., :K, :, :] += y[..., None, None]
    return Labelled(x, y)


@functools.cache
def played(name):
    method = make(name)
    return play(method, examples(method), jax.random.key(1), start=start(name))


@functools.cache
def _pairs(step):
    game = step.args[0]
    return jax.jit(
        lambda state, xs, key: mmvae.infer_pair(game, state.E.params, state.E.stats, xs, key)
    )


def infer_pair(method, state, xs, key):
    return _pairs(method.step)(state, xs, key)


# ---- the five tests ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTRIBUTE_METHODS)
def test_step_lowers_its_objective_on_a_fixed_batch(name):
    first = played(name).metrics
    _, last = repeated(played(name), examples(make(name)), jax.random.key(1), 60)
    terms = ("G/squared_error", "E/kl_z", "E/kl_c")
    assert sum(last[t] for t in terms) < 0.7 * sum(first[t] for t in terms)
    assert last["G/squared_error"] < first["G/squared_error"]
    if name == "csvae":
        assert last["q_y/cross_entropy"] < first["q_y/cross_entropy"]


@pytest.mark.parametrize("name", ["csvae", "mmvae"])
def test_who_only_measures_moves_alone(name):
    """The first half of a step leaves encoder and decoder bit-identical."""
    method = make(name)
    state, xs = start(name), examples(method)
    game = method.phases[0].step.args[0]
    if name == "csvae":
        from ivg.methods import csvae

        latents, _ = r_cvae.infer(
            game.model, state.E.params, state.E.stats, r_cvae.first(xs), jax.random.key(1)
        )
        after, _ = jax.jit(functools.partial(csvae.predictor_step, game))(state, latents.z, xs.y[0])
    else:
        _, pair, _ = infer_pair(method, state, xs, jax.random.key(1))
        after, _ = jax.jit(functools.partial(mmvae.ascend_information, game))(state, pair)
    same((after.E, after.G), (state.E, state.G))
    for player_name in params(state).keys() - {"E", "G"}:
        before, now = getattr(state, player_name).params, getattr(after, player_name).params
        with pytest.raises(AssertionError):
            same(now, before)


@pytest.mark.parametrize("name", ATTRIBUTE_METHODS)
def test_one_dispatch_on_four_devices_equals_three_steps_on_one(name):
    steps_agree(played(name), attributes=K, rtol=2e-4)


@pytest.mark.parametrize("name", ATTRIBUTE_METHODS)
def test_a_restored_state_goes_on_bit_for_bit(name, tmp_path):
    restored_goes_on(played(name), examples(make(name)), tmp_path)


# ---- equations -----------------------------------------------------------------------------------


def test_prior_of_the_attributes_is_the_thesis():
    p = r_cvae.attribute_prior(jnp.array([[0.0, 1.0]]))
    np.testing.assert_allclose(p.mean, [[0.0, 0.0, 3.0, 3.0]])
    np.testing.assert_allclose(jnp.exp(0.5 * p.log_var), [[0.1, 0.1, 1.0, 1.0]], rtol=1e-6)
    assert np.isfinite(p.log_var).all()


@pytest.mark.parametrize("t, weight_c", [(0, 5.0), (5, 3.0), (10, 1.0), (99, 1.0)])
def test_elbo_is_the_sum_of_its_three_terms_with_the_constant_left_out(t, weight_c):
    method = make("r_cvae", kl_c_start=5.0, kl_c_steps=10)
    state, key = start("r_cvae"), jax.random.key(3)
    batch = r_cvae.first(examples(method))
    model = method.phases[0].step.args[0]
    latents, _ = r_cvae.infer(model, state.E.params, state.E.stats, batch, key)
    theta = state.G.params, state.G.stats
    value, _ = r_cvae.negative_elbo(model, *theta, jnp.int32(t), batch, latents)
    x_hat, _ = model.G.train(*theta, latents.z, latents.c)
    total = 0.0
    for i in range(BATCH):
        total += 0.5 * float(((batch.x[i] - x_hat[i]) ** 2).sum()) / 2.0**2
        for mean, log_var in zip(latents.q_z.mean[i], latents.q_z.log_var[i], strict=True):
            total += 0.5 * float(mean**2 + jnp.exp(log_var) - log_var - 1)
        for j in range(2 * K):
            m, s = (3.0, 1.0) if batch.y[i, j // 2] else (0.0, 0.1)
            q_var = float(jnp.exp(latents.q_c.log_var[i, j]))
            squared = (float(latents.q_c.mean[i, j]) - m) ** 2
            kl = np.log(s) - 0.5 * np.log(q_var) + (q_var + squared) / (2 * s**2) - 0.5
            total += weight_c * kl
    np.testing.assert_allclose(value, total / BATCH, rtol=1e-4)


def test_samples_of_the_product_come_from_the_second_minibatch():
    method = make("mmvae")
    state, xs = start("mmvae"), examples(method)
    mine, pair, _ = infer_pair(method, state, xs, jax.random.key(1))
    joint, product = mmvae.samples(pair)
    same(pair.y, xs.y[0])
    same(pair.y_bar, xs.y[1])
    same((joint["T_zy"], product["T_zy"]), ((mine.z, xs.y[0]), (mine.z, xs.y[1])))
    same((joint["T_zc"], product["T_zc"]), ((mine.z, mine.c), (mine.z, pair.c_bar)))
    same((joint["T_cy"], product["T_cy"]), ((mine.c, xs.y[0]), (mine.c, xs.y[1])))
    assert not np.allclose(pair.c_bar, mine.c)


def test_shuffled_samples_are_those_of_the_one_minibatch():
    method = make("mmvae", product="shuffled")
    assert method.phases[0].num_batches == 1
    state = start("mmvae")
    _, pair, _ = infer_pair(method, state, examples(method), jax.random.key(1))
    both = jnp.concatenate([pair.c, pair.y], axis=-1)
    bar = jnp.concatenate([pair.c_bar, pair.y_bar], axis=-1)
    order = lambda rows: sorted(map(tuple, np.asarray(rows).tolist()))  # noqa: E731
    assert order(both) == order(bar)
    assert not np.allclose(both, bar)


def information_term(game, state, xs, key, name, cut=()):
    """phi -> the bound of one network in the objective; what is in `cut` carries no gradient."""

    def bound(phi):
        _, pair, _ = mmvae.infer_pair(game, phi, state.E.stats, xs, key)
        pair = pair._replace(**{part: jax.lax.stop_gradient(getattr(pair, part)) for part in cut})
        joint, product = mmvae.samples(pair)
        t = mmvae.scores(game, getattr(state, name).params, joint[name], product[name])
        return information.donsker_varadhan(*t)

    return bound


def largest(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    "name, paths", [("T_zc", ("z", "c", "c_bar")), ("T_zy", ("z",)), ("T_cy", ("c",))]
)
def test_information_reaches_the_encoder_through_joint_and_product_samples(name, paths):
    """Against finite differences in float64; and every path carries a part of the gradient."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        method = make("mmvae")
        game, key = method.phases[0].step.args[0], jax.random.key(1)
        to64 = functools.partial(
            jax.tree.map, lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a
        )
        state, xs = to64(start("mmvae")), to64(examples(method))
        T = getattr(state, name)  # away from its start, where it is nearly constant
        state = state._replace(**{name: T._replace(params=jax.tree.map(lambda p: 3 * p, T.params))})

        @jax.jit
        def gradients(phi):
            whole = jax.value_and_grad(information_term(game, state, xs, key, name))(phi)
            return whole, [
                jax.grad(information_term(game, state, xs, key, name, cut=(path,)))(phi)
                for path in paths
            ]

        phi = state.E.params
        (_, whole), parts = gradients(phi)
        direction = jax.tree.map(lambda p: rng.normal(size=p.shape), phi)
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), whole, direction)))
        (ahead, behind) = (
            gradients(jax.tree.map(lambda p, d, h=h: p + h * d, phi, direction))[0][0]
            for h in (1e-6, -1e-6)
        )
        np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, rtol=1e-4)
        for part in parts:
            missing = jax.tree.map(lambda a, b: a - b, whole, part)
            assert largest(missing) > 1e-3 * largest(whole)


def test_objective_is_the_weighted_sum():
    weights = dict(weight_cy=0.5, weight_zy=2.0, weight_zc=3.0)
    method = make("mmvae", **weights)
    game, state = method.phases[0].step.args[0], start("mmvae")
    xs, key = examples(method), jax.random.key(1)

    @quick
    def look(state):
        phi, theta = state.E.params, state.G.params
        latents, pair, _ = mmvae.infer_pair(game, phi, state.E.stats, xs, key)
        value, (_, parts) = mmvae.objective(game, theta, latents, pair, state, xs)
        return value, parts, {n: information_term(game, state, xs, key, n)(phi) for n in T}

    value, parts, bounds = look(state)
    expected = sum(parts.values())
    expected += -0.5 * bounds["T_cy"] + 2.0 * bounds["T_zy"] + 3.0 * bounds["T_zc"]
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_csvae_predictor_and_encoder_want_the_opposite():
    """Only the encoder sees the entropy term, and with weight 0 the encoder is r-CVAE's."""
    method, plain = make("csvae", weight_entropy=0.0), make("r_cvae")
    state, xs, key = start("csvae"), examples(method), jax.random.key(1)
    beside = start("r_cvae")._replace(E=state.E, G=state.G)
    after, _ = stepper(method)(state, xs, key)
    alone, _ = stepper(plain)(beside, xs, key)
    chex.assert_trees_all_close((after.E.params, after.G.params), (alone.E.params, alone.G.params),
                                rtol=1e-5, atol=1e-6)  # fmt: skip
    moved, _ = stepper(make("csvae", weight_entropy=5.0))(state, xs, key)
    same(moved.q_y, after.q_y)
    with pytest.raises(AssertionError):
        same(moved.E.params, after.E.params)


def test_ema_changes_the_networks_gradient_and_keeps_its_average():
    plain, ema = make("mmvae"), make("mmvae", gradient="ema")
    state, xs, key = start("mmvae"), examples(plain), jax.random.key(1)
    one, parts = stepper(plain)(state, xs, key)
    two, other = stepper(ema)(state, xs, key)
    same(one.log_averages, state.log_averages)
    np.testing.assert_allclose(parts["T_zc/info"], other["T_zc/info"], rtol=1e-5)
    assert float(two.log_averages["T_zc"]) != 0.0


# ---- what a user gets ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTRIBUTE_METHODS)
def test_codes_in_and_out(name):
    method = make(name)
    state, xs = start(name), examples(method)
    batch = r_cvae.first(xs)
    codes = method.prior(state, jax.random.key(0), 6)
    assert {n: v.shape for n, v in codes.items()} == {"c": (6, 2 * K), "z": (6, 4)}
    assert {n: c.size for n, c in method.codes.items()} == {"c": 2 * K, "z": 4}
    assert method.generate(state, codes).shape == (6, *SHAPE)
    means, drawn = method.encode(state, batch), method.posterior(state, batch, jax.random.key(1))
    assert {n: v.shape for n, v in means.items()} == {n: v.shape for n, v in drawn.items()}
    assert not np.allclose(means["z"], drawn["z"])
    other = method.encode(state, batch._replace(y=1 - batch.y))
    same(other["z"], means["z"])  # q(z | x) does not see y
    assert not np.allclose(other["c"], means["c"])
    bound = method.log_likelihood(state, batch, jax.random.key(2))
    np.testing.assert_allclose(
        bound["bound"], bound["log_likelihood"] - bound["kl_z"] - bound["kl_c"], rtol=1e-5
    )
    c = method.attribute_prior(jax.random.key(0), jnp.ones((1000, K)))
    np.testing.assert_allclose([c.mean(), c.std()], [3.0, 1.0], atol=0.1)


def test_an_option_that_is_none():
    with pytest.raises(UserError, match='product="third" is not a choice of mmvae'):
        make("mmvae", product="third")
    with pytest.raises(UserError, match='gradient="exact"'):
        make("mmvae", gradient="exact")
