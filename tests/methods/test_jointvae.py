"""JointVAE on tiny images: the tests of every method, its equation and its capacities."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from promises import (
    BATCH,
    SHAPE,
    codes_fit,
    descended,
    images,
    moves,
    play,
    quick,
    repeated,
    restored_goes_on,
    steps_agree,
    under,
)

from ivg import networks as net
from ivg.configs import celeba, digits, mnist, sprites
from ivg.errors import UserError
from ivg.methods.jointvae import capacity_schedules, jointvae

DIM_Z, CLASSES, KEY = 3, 4, jax.random.key(1)
SIZES = dict(dim_z=DIM_Z, num_classes=CLASSES, gamma=2.0, capacity_z=2.0, capacity_d=1.0)


def make(*, tx=None, **options):
    # A large eps: where a gradient is 0 but for rounding, Adam would make steps of the rounding.
    tx = tx or {player: optax.adam(5e-3, eps=1e-3) for player in "EG"}
    options = dict(network=dict(name="mlp", width=16), capacity_steps=0) | SIZES | options
    return jointvae(image_shape=SHAPE, batch_size=BATCH, tx=tx, **options)


@pytest.fixture(scope="module")
def played():
    return play(make(), images(), KEY)


def objective(metrics):
    """Eq. 7 at the capacities of `SIZES`."""
    distance = abs(metrics["E/kl_z"] - 2.0) + abs(metrics["E/kl_d"] - 1.0)
    return float(2.0 * distance - metrics["G/log_likelihood"])


def test_steps_on_a_fixed_batch_lower_the_objective_and_reach_the_capacities(played):
    _, last = repeated(played, images(), KEY, 300)
    assert objective(last) < objective(played.metrics) - 2.0
    assert abs(last["E/kl_z"] - 2.0) < 0.3 and abs(last["E/kl_d"] - 1.0) < 0.3
    each = [last[f"E/kl_{i:02d}"] for i in (1, 2, 3)]
    np.testing.assert_allclose(sum(each), last["E/kl_z"], rtol=1e-5)


def test_encoder_and_decoder_move(played):
    moves(played.start, played.after, "EG")


def test_one_dispatch_on_four_devices_equals_three_steps_on_one(played):
    steps_agree(played)


def test_a_restored_state_goes_on_bit_for_bit(played, tmp_path):
    restored_goes_on(played, images(), tmp_path)


def test_an_update_is_equation_7(played):
    """With C_d below and at ln K; d is relaxed at the temperature."""
    gamma, temperature = 3.0, 0.67
    options = dict(gamma=gamma, capacity_z=2.0, capacity_d=4.0, capacity_steps=10)
    plain = {player: optax.sgd(1.0) for player in "EG"}
    method = make(tx=plain, temperature=temperature, **options)
    x, key = images()[0], jax.random.key(5)
    family = net.autoencoder_family("mlp", width=16)
    E, G = family.encoder((DIM_Z, DIM_Z, CLASSES)), family.decoder(SHAPE)

    def loss(phi, theta, c_z, c_d):
        z_key, d_key = jax.random.split(key)
        noise = jax.random.normal(z_key, (BATCH, DIM_Z))
        uniform = jax.random.uniform(d_key, (BATCH, CLASSES), minval=jnp.finfo(jnp.float32).tiny)
        mean, log_var, logits = E.train(phi, {}, x)[0]
        z = mean + jnp.exp(log_var / 2) * noise
        d = jax.nn.softmax((logits - jnp.log(-jnp.log(uniform))) / temperature)
        p = jax.nn.sigmoid(G.train(theta, {}, jnp.concatenate([z, d], axis=1))[0])
        pixels = (x + 1) / 2
        log_p = jnp.sum(pixels * jnp.log(p) + (1 - pixels) * jnp.log(1 - p), axis=(1, 2, 3))
        kl_z = 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - 1 - log_var, axis=1)
        q_d = jax.nn.softmax(logits)
        kl_d = jnp.sum(q_d * jnp.log(q_d * CLASSES), axis=1)
        distance = jnp.abs(jnp.mean(kl_z) - c_z) + jnp.abs(jnp.mean(kl_d) - c_d)
        return -jnp.mean(log_p) + gamma * distance

    s = under(played.start, plain)
    step, slope = quick(method.step), quick(jax.grad(loss, (0, 1)))
    most = math.log(CLASSES)
    for t, c_z, c_d in ((0, 0.0, 0.0), (2, 0.4, 0.8), (5, 1.0, most), (20, 2.0, most)):
        after, _ = step(s._replace(t=np.int32(t)), x[None], key)
        gradients = slope(s.E.params, s.G.params, c_z, c_d)
        for player, gradient in zip("EG", gradients, strict=True):
            moved = descended(getattr(s, player), gradient)
            chex.assert_trees_all_close(getattr(after, player).params, moved, rtol=1e-4, atol=1e-4)


def test_capacities_rise_side_by_side_and_that_of_d_stops_at_ln_k():
    """MNIST's: C_d meets ln 10 at step 11,513 of 25,000, not at the last."""
    c_z, c_d = capacity_schedules(5.0, 5.0, 25_000, 10)
    steps = (0, 5_000, 11_000, 12_500, 25_000, 90_000)
    np.testing.assert_allclose([c_z(t) for t in steps], [0, 1, 2.2, 2.5, 5, 5], rtol=1e-5)
    top = math.log(10)
    np.testing.assert_allclose([c_d(t) for t in steps], [0, 1, 2.2, top, top, top], rtol=1e-5)


def test_codes_in_and_out(played):
    method, state = played.method, played.after
    assert {n: (c.kind, c.size) for n, c in method.codes.items()} == {
        "d": ("categorical", CLASSES),
        "z": ("continuous", DIM_Z),
    }
    codes, x_g, found = codes_fit(method, state)
    for d in (codes["d"], found["d"]):  # one-hot, not probabilities
        np.testing.assert_array_equal(np.sort(d, axis=1), np.tile([0, 0, 0, 1], (5, 1)))
    other = {"d": np.roll(codes["d"], 1, axis=1), "z": codes["z"]}
    assert np.abs(quick(method.generate)(state, other) - x_g).max() > 1e-3


def test_rates_and_bounds_are_those_of_the_posterior(played):
    method, state = played.method, played.after
    E = net.autoencoder_family("mlp", width=16).encoder((DIM_Z, DIM_Z, CLASSES))

    @quick
    def look(state, x, key):
        """What the method says, and the networks' outputs behind it."""
        codes = method.prior(state, key, BATCH)
        said = dict(
            rates=method.rates(state, x),
            z=method.encode(state, x)["z"],
            parts=method.log_likelihood(state, x, key),
            bounds=method.bounds(state, key, BATCH),
        )
        seen = (x, method.generate(state, codes))
        return codes, said, [E.infer(state.E.params, {}, image) for image in seen]

    found = jax.device_get(look(state, images()[0], jax.random.key(2)))
    codes, said, (real, fake) = jax.tree.map(np.float64, found)
    mean, log_var, p = real[0], real[1], softmax(real[2])
    kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var)
    np.testing.assert_allclose(said["rates"], kl, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(said["z"], mean, rtol=1e-4, atol=1e-5)
    parts = said["parts"]
    assert parts.keys() == {"log_likelihood", "kl_z", "kl_d", "bound"}
    np.testing.assert_allclose(parts["kl_z"], kl.sum(axis=1), rtol=1e-3)
    kl_d = np.sum(p * np.log(p * CLASSES), axis=1)
    np.testing.assert_allclose(parts["kl_d"], kl_d, rtol=1e-3, atol=1e-5)
    total = parts["log_likelihood"] - parts["kl_z"] - parts["kl_d"]
    np.testing.assert_allclose(parts["bound"], total, rtol=1e-5)
    mean, log_var, p = fake[0], fake[1], softmax(fake[2])
    squared = (codes["z"] - mean) ** 2 / np.exp(log_var)
    log_q = -0.5 * np.sum(np.log(2 * np.pi) + log_var + squared, axis=1)
    info = log_q + 0.5 * DIM_Z * np.log(2 * np.pi * np.e)
    info += np.log(np.sum(p * codes["d"], axis=1)) + np.log(CLASSES)
    np.testing.assert_allclose(said["bounds"]["info_lower"], info, rtol=1e-3, atol=1e-3)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_a_larger_eps_is_the_released_code_s_division_by_the_pixels():
    gradient, pixels = np.float32([1e-6, -1e-3, 2.0]), 1024
    moves = []
    for scale, eps in ((1 / pixels, 1e-8), (1.0, 1e-8 * pixels)):
        tx = optax.adam(5e-4, eps=eps)
        moves.append(tx.update(scale * gradient, tx.init(gradient))[0])
    np.testing.assert_allclose(*moves, rtol=1e-5)
    assert abs(moves[0][0]) < 0.2 * abs(moves[0][2])  # eps is felt: a plain Adam would not do


@pytest.mark.parametrize("config, side", [(mnist, 32), (sprites, 64), (celeba, 64)])
def test_configs_have_the_paper_s_networks_and_table(config, side):
    made = config.get_config("jointvae")
    own = made.jointvae
    assert made.data.image_size == side
    assert own.network.to_dict() == {"name": "jointvae", "width": 1.0}
    for player in "EG":
        adam = own.optimizer[player]
        assert adam.eps == pytest.approx(1e-8 * side**2) and adam.learning_rate == 5e-4
    table = {
        mnist: (10, 10, 5.0, 5.0, 25_000, 30.0),
        sprites: (6, 3, 40.0, 1.1, 300_000, 150.0),
        celeba: (32, 10, 50.0, 10.0, 100_000, 3 * 100.0),  # colour: a third of the sum
    }
    found = (own.dim_z, own.num_classes, own.capacity_z, own.capacity_d, own.capacity_steps)
    assert (*found, own.gamma) == table[config]
    assert own.temperature == 0.67
    assert made.num_steps >= own.capacity_steps


def test_digits_reach_their_capacities():
    made = digits.get_config("jointvae")
    assert made.jointvae.network.name == "mlp"
    assert 0 < made.jointvae.capacity_steps < made.num_steps


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(temperature=0.0), "temperature=0.0 must be positive"),
        (dict(likelihood="poisson"), 'no likelihood "poisson"'),
        (dict(network=dict(name="jointvae")), "not 8x8: use --config.data.image_size=32"),
        (dict(network=dict(name="small28")), "no network family"),
    ],
)
def test_clear_errors(options, words):
    with pytest.raises(UserError, match=words):
        make(**options)
