"""ALI on tiny images: the tests of every method, and its game."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import celeba, sprites
from ivg import checkpoint, devices
from ivg import networks as net
from ivg.dispatch import make_dispatch
from ivg.errors import UserError
from ivg.methods.ali import ali

SHAPE, BATCH, DIM_Z = (8, 8, 1), 8, 3
NETWORK = dict(name="mlp", width=16)


def make(*, frozen="", tx=None, network=NETWORK):
    # A large eps: where a gradient is 0 but for rounding, Adam would make steps of the rounding.
    tx = tx or {player: optax.adam(5e-3, b1=0.5, eps=1e-3) for player in "EGD"}
    tx = tx | {player: optax.set_to_zero() for player in frozen}
    return ali(image_shape=SHAPE, batch_size=BATCH, tx=tx, network=network, dim_z=DIM_Z)


def quick(f):
    """Jitted and compiled fast: these networks are tiny, compilation is all that costs."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def images(seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (1, BATCH, *SHAPE)), jnp.float32)


def params(state, players):
    return [getattr(state, player).params for player in players]


@pytest.fixture(scope="module")
def played():
    """The method, its step compiled, its start and its state after one step."""
    method = make()
    start = quick(method.init)(jax.random.key(0))
    step = quick(method.step)
    after, metrics = step(start, images(), jax.random.key(1))
    return method, step, start, after, metrics


@pytest.mark.parametrize(
    ("frozen", "terms"), [("EG", ["D/loss"]), ("D", ["E/adversarial", "G/adversarial"])]
)
def test_each_side_lowers_its_loss_against_the_other_frozen(frozen, terms):
    """On a fixed batch; the frozen side stays bit for bit."""
    method = make(frozen=frozen)
    start = state = quick(method.init)(jax.random.key(0))
    step, losses = quick(method.step), []
    for _ in range(60):
        state, metrics = step(state, images(), jax.random.key(1))
        losses.append([float(metrics[term]) for term in terms])
    for first, last in zip(losses[0], losses[-1], strict=True):
        assert last < first - 0.1
    chex.assert_trees_all_equal(params(state, frozen), params(start, frozen))
    assert int(state.t) == 60


def test_all_players_move(played):
    _, _, start, after, _ = played
    pairs = zip(*(jax.tree.leaves(params(s, "EGD")) for s in (start, after)), strict=True)
    assert not any(np.array_equal(a, b) for a, b in pairs)


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
            results.append(jax.device_get((params(state, "EGD"), metrics)))
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


def test_an_update_is_the_paper_s_at_the_old_parameters():
    network = dict(name="mlp", width=16, generator_norm="batch", encoder_norm="batch")
    method = make(tx={p: optax.sgd(1.0) for p in "EGD"}, network=network)
    s, x, key = quick(method.init)(jax.random.key(0)), images()[0], jax.random.key(5)
    after, metrics = quick(method.step)(s, x[None], key)
    z_key, sample_key = jax.random.split(key)
    z = jax.random.normal(z_key, (BATCH, DIM_Z))
    noise = jax.random.normal(sample_key, (BATCH, DIM_Z))
    family = net.family(**network)
    E, G, D = family.encoder((DIM_Z, DIM_Z)), family.generator(SHAPE), family.joint_discriminator()

    def probabilities(phi, theta, w):
        """Of being a real image with its inferred code, for both kinds of pairs."""
        mean, log_var = E.train(phi, s.E.stats, x)[0]
        z_hat = mean + jnp.exp(log_var / 2) * noise
        x_g = G.train(theta, s.G.stats, z)[0]
        pairs = ((x, z_hat), (x_g, z))
        return [jax.nn.sigmoid(D.train(w, {}, image, code)[0]) for image, code in pairs]

    def encoder_and_generator(phi, theta):
        real, fake = probabilities(phi, theta, s.D.params)
        return -jnp.mean(jnp.log(1 - real)) - jnp.mean(jnp.log(fake))

    def discriminator(w):
        real, fake = probabilities(s.E.params, s.G.params, w)
        return -jnp.mean(jnp.log(real)) - jnp.mean(jnp.log(1 - fake))

    slopes = quick(jax.grad(encoder_and_generator, (0, 1)))(s.E.params, s.G.params)
    loss, g_w = quick(jax.value_and_grad(discriminator))(s.D.params)
    for player, gradient in zip("EGD", (*slopes, g_w), strict=True):
        moved = jax.tree.map(np.subtract, getattr(s, player).params, gradient)
        chex.assert_trees_all_close(getattr(after, player).params, moved, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics["D/loss"], loss, rtol=1e-5)
    # Running averages follow this batch.
    for player, train, seen in (("E", E.train, x), ("G", G.train, z)):
        now, then = getattr(s, player), getattr(after, player)
        chex.assert_trees_all_close(
            then.stats, quick(train)(now.params, now.stats, seen)[1], rtol=1e-5
        )


def test_codes_in_and_out(played):
    method, _, _, state, _ = played
    codes = method.prior(state, jax.random.key(0), 5)
    assert {n: c.shape for n, c in codes.items()} == {"z": (5, DIM_Z)}
    assert (method.codes["z"].kind, method.codes["z"].size) == ("continuous", DIM_Z)
    generate = quick(method.generate)
    x_g = generate(state, codes)
    chex.assert_shape(x_g, (5, *SHAPE))
    assert np.abs(x_g).max() <= 1
    found = quick(method.encode)(state, x_g)
    chex.assert_shape(found["z"], (5, DIM_Z))
    assert method.log_likelihood is None


def test_rates_and_bounds_are_those_of_the_posterior(played):
    method, _, _, state, _ = played
    E = net.family(**NETWORK).encoder((DIM_Z, DIM_Z))
    infer = quick(E.infer)

    def q(x):
        mean, log_var = (np.asarray(h, np.float64) for h in infer(state.E.params, {}, x))
        return mean, np.exp(log_var)

    x, key = images()[0], jax.random.key(2)
    mean, var = q(x)
    kl = 0.5 * (mean**2 + var - 1 - np.log(var))
    np.testing.assert_allclose(quick(method.rates)(state, x), kl, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(quick(method.encode)(state, x)["z"], mean, rtol=1e-4, atol=1e-5)
    codes = jax.device_get(method.prior(state, key, 6))
    mean, var = q(quick(method.generate)(state, codes))
    log_q = -0.5 * np.sum(np.log(2 * np.pi * var) + (codes["z"] - mean) ** 2 / var, axis=1)
    info = log_q + 0.5 * DIM_Z * np.log(2 * np.pi * np.e)
    found = jax.jit(method.bounds, static_argnums=2)(state, key, 6)["info_lower"]
    np.testing.assert_allclose(found, info, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("config, dim_z", [(sprites, 10), (celeba, 256)])
def test_configs_have_the_released_code_s_optimiser(config, dim_z):
    own = config.get_config("ali").ali
    assert (own.network.name, own.dim_z) == ("infovaegan64", dim_z)
    for player in "EGD":
        adam = own.optimizer[player].to_dict()
        assert adam == dict(name="adam", learning_rate=1e-4, b1=0.5, b2=0.999)


def test_clear_errors():
    with pytest.raises(UserError, match="image_size"):
        make(network=dict(name="infovaegan64"))
    with pytest.raises(UserError, match='no network family "dlib64" for this method'):
        make(network=dict(name="dlib64"))
