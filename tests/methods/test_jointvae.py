"""JointVAE on tiny images: the tests of every method, its equation and its capacities."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import celeba, digits, mnist, sprites
from ivg import checkpoint, devices
from ivg import networks as net
from ivg.dispatch import make_dispatch
from ivg.errors import UserError
from ivg.methods.jointvae import capacity_schedules, jointvae

SHAPE, BATCH, DIM_Z, CLASSES = (8, 8, 1), 8, 3, 4
SIZES = dict(dim_z=DIM_Z, num_classes=CLASSES, gamma=2.0, capacity_z=2.0, capacity_d=1.0)


def make(*, tx=None, **options):
    # A large eps: where a gradient is 0 but for rounding, Adam would make steps of the rounding.
    tx = tx or {player: optax.adam(5e-3, eps=1e-3) for player in "EG"}
    options = dict(network=dict(name="mlp", width=16), capacity_steps=0) | SIZES | options
    return jointvae(image_shape=SHAPE, batch_size=BATCH, tx=tx, **options)


def quick(f):
    """Jitted and compiled fast: these networks are tiny, compilation is all that costs."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def images(seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (1, BATCH, *SHAPE)), jnp.float32)


@pytest.fixture(scope="module")
def played():
    """The method, its step compiled, its start and its state after one step."""
    method = make()
    start = quick(method.init)(jax.random.key(0))
    step = quick(method.step)
    after, metrics = step(start, images(), jax.random.key(1))
    return method, step, start, after, metrics


def objective(metrics):
    """Eq. 7 at the capacities of `SIZES`."""
    distance = abs(metrics["E/kl_z"] - 2.0) + abs(metrics["E/kl_d"] - 1.0)
    return float(2.0 * distance - metrics["G/log_likelihood"])


def test_steps_on_a_fixed_batch_lower_the_objective_and_reach_the_capacities(played):
    _, step, state, _, first = played
    for _ in range(300):
        state, last = step(state, images(), jax.random.key(1))  # the same samples every time
    assert objective(last) < objective(first) - 2.0
    assert abs(last["E/kl_z"] - 2.0) < 0.3 and abs(last["E/kl_d"] - 1.0) < 0.3
    each = [last[f"E/kl_{i:02d}"] for i in (1, 2, 3)]
    np.testing.assert_allclose(sum(each), last["E/kl_z"], rtol=1e-5)
    assert int(state.t) == 300


def test_encoder_and_decoder_move(played):
    _, _, start, after, _ = played
    for player in "EG":
        both = (jax.tree.leaves(getattr(s, player).params) for s in (start, after))
        assert not any(np.array_equal(a, b) for a, b in zip(*both, strict=True)), player


def test_one_device_equals_four(played):
    method, _, start, _, _ = played
    results = []
    for n in (1, 4):
        mesh = devices.make_mesh(n)
        with jax.set_mesh(mesh):
            state = devices.place_state(start, mesh)
            sharding = jax.sharding.NamedSharding(mesh, jax.P(None, devices.AXIS))
            step = quick(method.step)
            for i in range(2):
                x = jax.device_put(images(i), sharding)
                state, metrics = step(state, x, jax.random.key(i))
            results.append(jax.device_get((state.E.params, state.G.params, metrics)))
    chex.assert_trees_all_close(*results, rtol=5e-4, atol=5e-5)


def test_k_steps_in_a_dispatch_equal_k_dispatches(played):
    method, _, start, _, _ = played
    data = jnp.asarray(np.random.default_rng(1).integers(0, 256, (20, *SHAPE)), jnp.uint8)
    index = jnp.asarray(np.random.default_rng(2).integers(0, 20, (3, 1, BATCH)))
    dispatch = make_dispatch(method.step, lambda images, batch, key: (images[batch], key))

    def copy(state):
        return jax.tree.map(jnp.copy, state)

    together, metrics = dispatch(copy(start), data, index, jnp.int32(0), jax.random.key(3))
    alone, rows = copy(start), []
    for i in range(3):
        alone, row = dispatch(alone, data, index[i : i + 1], jnp.int32(i), jax.random.key(3))
        rows.append(row)
    chex.assert_trees_all_close(together, alone, rtol=1e-4, atol=1e-5)
    for term, values in metrics.items():
        np.testing.assert_allclose(values, [row[term][0] for row in rows], rtol=1e-3, atol=1e-4)


def test_a_restored_state_goes_on_bit_for_bit(played, tmp_path):
    method, step, start, after, _ = played
    checkpoint.save(tmp_path, 1, after, keep=1)
    abstract = jax.tree.map(
        lambda a, like: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=like.sharding),
        jax.eval_shape(method.init, jax.random.key(0)),
        start,
    )
    _, restored = checkpoint.restore(tmp_path, abstract)
    chex.assert_trees_all_equal(restored, after)
    on, went_on = (step(s, images(), jax.random.key(2))[0] for s in (after, restored))
    chex.assert_trees_all_equal(on, went_on)


def test_an_update_is_equation_7():
    """With C_d below and at ln K; d is relaxed at the temperature."""
    gamma, temperature = 3.0, 0.67
    options = dict(gamma=gamma, capacity_z=2.0, capacity_d=4.0, capacity_steps=10)
    method = make(tx={p: optax.sgd(1.0) for p in "EG"}, temperature=temperature, **options)
    x, key = images()[0], jax.random.key(5)
    family = net.autoencoder_family("mlp", width=16)
    E, G = family.encoder((DIM_Z, DIM_Z, CLASSES)), family.decoder(SHAPE)
    z_key, d_key = jax.random.split(key)
    noise = jax.random.normal(z_key, (BATCH, DIM_Z))
    uniform = jax.random.uniform(d_key, (BATCH, CLASSES), minval=jnp.finfo(jnp.float32).tiny)

    def loss(phi, theta, c_z, c_d):
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

    s = quick(method.init)(jax.random.key(0))
    step, slope = quick(method.step), quick(jax.grad(loss, (0, 1)))
    most = math.log(CLASSES)
    for t, c_z, c_d in ((0, 0.0, 0.0), (2, 0.4, 0.8), (5, 1.0, most), (20, 2.0, most)):
        after, _ = step(s._replace(t=jnp.int32(t)), x[None], key)
        gradients = slope(s.E.params, s.G.params, c_z, c_d)
        for player, gradient in zip("EG", gradients, strict=True):
            moved = jax.tree.map(np.subtract, getattr(s, player).params, gradient)
            chex.assert_trees_all_close(getattr(after, player).params, moved, rtol=1e-4, atol=1e-4)


def test_capacities_rise_side_by_side_and_that_of_d_stops_at_ln_k():
    """MNIST's: C_d meets ln 10 at step 11,513 of 25,000, not at the last."""
    c_z, c_d = capacity_schedules(5.0, 5.0, 25_000, 10)
    steps = (0, 5_000, 11_000, 12_500, 25_000, 90_000)
    np.testing.assert_allclose([c_z(t) for t in steps], [0, 1, 2.2, 2.5, 5, 5], rtol=1e-5)
    top = math.log(10)
    np.testing.assert_allclose([c_d(t) for t in steps], [0, 1, 2.2, top, top, top], rtol=1e-5)


def test_codes_in_and_out(played):
    method, _, _, state, _ = played
    codes = method.prior(state, jax.random.key(0), 5)
    assert {n: c.shape for n, c in codes.items()} == {"d": (5, CLASSES), "z": (5, DIM_Z)}
    assert {n: (c.kind, c.size) for n, c in method.codes.items()} == {
        "d": ("categorical", CLASSES),
        "z": ("continuous", DIM_Z),
    }
    generate = quick(method.generate)
    x_g = generate(state, codes)
    chex.assert_shape(x_g, (5, *SHAPE))
    assert np.abs(x_g).max() <= 1
    found = quick(method.encode)(state, x_g)
    assert {n: c.shape for n, c in found.items()} == {n: c.shape for n, c in codes.items()}
    for d in (codes["d"], found["d"]):  # one-hot, not probabilities
        np.testing.assert_array_equal(np.sort(d, axis=1), np.tile([0, 0, 0, 1], (5, 1)))
    other = {"d": jnp.roll(codes["d"], 1, axis=1), "z": codes["z"]}
    assert np.abs(generate(state, other) - x_g).max() > 1e-3


def test_rates_and_bounds_are_those_of_the_posterior(played):
    method, _, _, state, _ = played
    E = net.autoencoder_family("mlp", width=16).encoder((DIM_Z, DIM_Z, CLASSES))
    infer = quick(E.infer)

    def q(x):
        mean, log_var, logits = (np.asarray(h, np.float64) for h in infer(state.E.params, {}, x))
        return mean, np.exp(log_var), np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    x = images()[0]
    mean, var, p = q(x)
    kl = 0.5 * (mean**2 + var - 1 - np.log(var))
    np.testing.assert_allclose(quick(method.rates)(state, x), kl, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(quick(method.encode)(state, x)["z"], mean, rtol=1e-4, atol=1e-5)
    parts = quick(method.log_likelihood)(state, x, jax.random.key(1))
    assert parts.keys() == {"log_likelihood", "kl_z", "kl_d", "bound"}
    np.testing.assert_allclose(parts["kl_z"], kl.sum(axis=1), rtol=1e-3)
    kl_d = np.sum(p * np.log(p * CLASSES), axis=1)
    np.testing.assert_allclose(parts["kl_d"], kl_d, rtol=1e-3, atol=1e-5)
    total = parts["log_likelihood"] - parts["kl_z"] - parts["kl_d"]
    np.testing.assert_allclose(parts["bound"], total, rtol=1e-5)
    key = jax.random.key(2)
    codes = jax.device_get(method.prior(state, key, 6))
    mean, var, p = q(quick(method.generate)(state, codes))
    log_q = -0.5 * np.sum(np.log(2 * np.pi * var) + (codes["z"] - mean) ** 2 / var, axis=1)
    info = log_q + 0.5 * DIM_Z * np.log(2 * np.pi * np.e)
    info += np.log(np.sum(p * codes["d"], axis=1)) + np.log(CLASSES)
    found = jax.jit(method.bounds, static_argnums=2)(state, key, 6)["info_lower"]
    np.testing.assert_allclose(found, info, rtol=1e-3, atol=1e-3)


def test_a_larger_eps_is_the_released_code_s_division_by_the_pixels():
    gradient, pixels = jnp.array([1e-6, -1e-3, 2.0]), 1024
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
