"""ALI on tiny images: the tests of every method, and its game."""

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
    gradient,
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
from ivg.configs import celeba, sprites
from ivg.errors import UserError
from ivg.methods.ali import ali

DIM_Z, KEY = 3, jax.random.key(1)
NETWORK = dict(name="mlp", width=16, generator_norm="batch", encoder_norm="batch")


# A large eps: where a gradient is 0 but for rounding, Adam would make steps of the rounding.
ADAM = {player: optax.adam(5e-3, b1=0.5, eps=1e-3) for player in "EGD"}


def make(*, tx=ADAM, network=NETWORK):
    return ali(image_shape=SHAPE, batch_size=BATCH, tx=tx, network=network, dim_z=DIM_Z)


@pytest.fixture(scope="module")
def played():
    return play(make(), images(), KEY)


@pytest.mark.parametrize(
    ("frozen", "terms"), [("EG", ["D/loss"]), ("D", ["E/adversarial", "G/adversarial"])]
)
def test_each_side_lowers_its_loss_against_the_other_frozen(played, frozen, terms):
    """On a fixed batch; the frozen side stays bit for bit."""
    still = dict.fromkeys(frozen, optax.set_to_zero())
    game = play(make(tx=ADAM | still), images(), KEY, start=under(played.start, still))
    state, last = repeated(game, images(), KEY, 60)
    for term in terms:
        assert last[term] < game.metrics[term] - 0.1
    for player in frozen:
        before, after = (getattr(s, player).params for s in (game.start, state))
        chex.assert_trees_all_equal(before, after)


def test_all_players_move(played):
    moves(played.start, played.after, "EGD")


def test_one_dispatch_on_four_devices_equals_three_steps_on_one(played):
    steps_agree(played)


def test_a_restored_state_goes_on_bit_for_bit(played, tmp_path):
    restored_goes_on(played, images(), tmp_path)


def test_an_update_is_the_paper_s_at_the_old_parameters(played):
    s, after, x = played.start, played.after, images()[0]
    family = net.family(**NETWORK)
    E, G, D = family.encoder((DIM_Z, DIM_Z)), family.generator(SHAPE), family.joint_discriminator()

    def draw(key):
        return [jax.random.normal(k, (BATCH, DIM_Z)) for k in jax.random.split(key)]

    def probabilities(phi, theta, w, z, noise):
        """Of being a real image with its inferred code, for both kinds of pairs."""
        (mean, log_var), e_stats = E.train(phi, s.E.stats, x)
        z_hat = mean + jnp.exp(log_var / 2) * noise
        x_g, g_stats = G.train(theta, s.G.stats, z)
        pairs = ((x, z_hat), (x_g, z))
        p = [jax.nn.sigmoid(D.train(w, {}, image, code)[0]) for image, code in pairs]
        return p, (e_stats, g_stats)

    def encoder_and_generator(phi, theta, *latents):
        (real, fake), stats = probabilities(phi, theta, s.D.params, *latents)
        return -jnp.mean(jnp.log(1 - real)) - jnp.mean(jnp.log(fake)), stats

    def discriminator(w, *latents):
        real, fake = probabilities(s.E.params, s.G.params, w, *latents)[0]
        return -jnp.mean(jnp.log(real)) - jnp.mean(jnp.log(1 - fake))

    @quick
    def expected(key, phi, theta, w):
        z, noise = draw(key)
        slopes, stats = jax.grad(encoder_and_generator, (0, 1), has_aux=True)(phi, theta, z, noise)
        return slopes, stats, *jax.value_and_grad(discriminator)(w, z, noise)

    slopes, stats, loss, g_w = expected(KEY, s.E.params, s.G.params, s.D.params)
    for player, slope in zip("EGD", (*slopes, g_w), strict=True):
        found = gradient(getattr(after, player), b1=0.5)
        chex.assert_trees_all_close(found, slope, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(played.metrics["D/loss"], loss, rtol=1e-5)
    # Running averages follow this batch.
    chex.assert_trees_all_close((after.E.stats, after.G.stats), stats, rtol=1e-5, atol=1e-7)


def test_codes_in_and_out(played):
    method = played.method
    assert {n: (c.kind, c.size) for n, c in method.codes.items()} == {"z": ("continuous", DIM_Z)}
    codes_fit(method, played.after)
    assert method.log_likelihood is None


def test_rates_and_bounds_are_those_of_the_posterior(played):
    method, state = played.method, played.after
    E = net.family(**NETWORK).encoder((DIM_Z, DIM_Z))

    @quick
    def look(state, x, key):
        """What the method says, and the networks' outputs behind it."""
        codes = method.prior(state, key, BATCH)
        bounds = method.bounds(state, key, BATCH)
        said = method.rates(state, x), method.encode(state, x)["z"], bounds["info_lower"]
        seen = (x, method.generate(state, codes))
        return codes["z"], said, [E.infer(state.E.params, state.E.stats, image) for image in seen]

    found = jax.device_get(look(state, images()[0], jax.random.key(2)))
    z, (rates, encoded, info_lower), (real, fake) = jax.tree.map(np.float64, found)
    mean, log_var = real
    kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var)
    np.testing.assert_allclose(rates, kl, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(encoded, mean, rtol=1e-4, atol=1e-5)
    mean, log_var = fake
    squared = (z - mean) ** 2 / np.exp(log_var)
    log_q = -0.5 * np.sum(np.log(2 * np.pi) + log_var + squared, axis=1)
    info = log_q + 0.5 * DIM_Z * np.log(2 * np.pi * np.e)
    np.testing.assert_allclose(info_lower, info, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "config, network, dim_z", [(sprites, "infogancr64", 10), (celeba, "infovaegan64", 256)]
)
def test_configs_have_the_released_code_s_optimiser(config, network, dim_z):
    own = config.get_config("ali").ali
    assert (own.network.name, own.dim_z) == (network, dim_z)
    for player in "EGD":
        adam = own.optimizer[player].to_dict()
        assert adam == dict(name="adam", learning_rate=1e-4, b1=0.5, b2=0.999)


def test_clear_errors():
    with pytest.raises(UserError, match="image_size"):
        make(network=dict(name="infovaegan64"))
    with pytest.raises(UserError, match='no network family "dlib64" for this method'):
        make(network=dict(name="dlib64"))
