"""GAN, InfoGAN, IB-GAN and WGAN-GP on tiny images: the tests of every method."""

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
    codes_fit,
    descended,
    moves,
    params,
    play,
    quick,
    repeated,
    restored_goes_on,
    steps_agree,
    under,
)
from promises import images as noise_images

from ivg import networks as net
from ivg.errors import UserError
from ivg.methods import METHODS, noise

KEY = jax.random.key(1)
NAMES = ("gan", "infogan", "ibgan", "wgan_gp")
SIZES = {
    "gan": dict(dim_z=4, game_steps=3),
    "infogan": dict(dim_z=2, dim_c=2, num_classes=3),
    "ibgan": dict(dim_z=4, dim_r=3),
    "wgan_gp": dict(dim_z=4, num_critic=2),
}
# What a step of the game must lower (-) or raise (+) on fixed images and latents.
OBJECTIVES = {
    "gan": {"D/loss": -1},
    "infogan": {"Q/info_d": 1, "Q/info_c": 1},
    "ibgan": {"Q/info_lower": 1},
    "wgan_gp": {"G/adversarial": -1},
}
PLAYERS = {"gan": "GDQ", "infogan": "GDQ", "ibgan": "EGDQ", "wgan_gp": "GD"}


def make(name, *, shape=SHAPE, tx=None, **options):
    # A large eps: where a gradient is 0 but for rounding, Adam would make steps of the rounding.
    tx = tx or {player: optax.adam(5e-3, b1=0.5, eps=1e-3) for player in "EGDQ"}
    options = dict(network=dict(name="mlp", width=16)) | SIZES[name] | options
    return METHODS[name](image_shape=shape, batch_size=BATCH, tx=tx, **options)


def images(method, shape=SHAPE):
    return noise_images(method.phases[0].num_batches, shape=shape)


def same(a, b):
    chex.assert_trees_all_equal(a, b)


@pytest.fixture(scope="module", params=NAMES)
def named(request):
    """A method's name, and the method with its first step."""
    return request.param, played(request.param)


@functools.cache
def played(name):
    method = make(name)
    return play(method, images(method), KEY)


def test_steps_on_a_fixed_batch_go_where_they_should(named):
    name, game = named
    first = game.metrics
    _, last = repeated(game, images(game.method), KEY, 80)
    for term, sign in OBJECTIVES[name].items():
        assert sign * (last[term] - first[term]) > 0.05, (term, first[term], last[term])


def test_the_game_moves_its_players_and_nobody_else(named):
    name, game = named
    assert params(game.start).keys() == set(PLAYERS[name])
    still = "Q" if name == "gan" else ""
    moves(game.start, game.after, set(PLAYERS[name]) - set(still))
    for player in still:
        same(getattr(game.start, player).params, getattr(game.after, player).params)


def test_one_dispatch_on_four_devices_equals_three_steps_on_one(named):
    steps_agree(named[1])


def test_a_restored_state_goes_on_bit_for_bit(named, tmp_path):
    _, game = named
    restored_goes_on(game, images(game.method), tmp_path)


def test_codes_in_and_out(named):
    method, state = named[1].method, named[1].after
    _, _, found = codes_fit(method, state)
    if found is not None:
        chex.assert_shape(quick(method.generate)(state, found), (5, *SHAPE))
    if method.bounds is not None:
        parts = quick(lambda s, key: method.bounds(s, key, 6))(state, KEY)
        chex.assert_shape(parts["info_lower"], (6,))
        if "kl" in parts:
            chex.assert_shape(parts["kl"], (6, 3))


def test_gan_regresses_z_from_a_frozen_generator():
    method = make("gan")
    game, fit = method.phases
    assert (game.end, game.num_batches, fit.end, fit.num_batches) == (3, 1, None, 0)
    none = np.zeros((0, BATCH, *SHAPE), np.float32)
    start = state = played("gan").start
    step, errors = quick(fit.step), []
    for i in range(201):
        state, metrics = step(state, none, jax.random.key(i))
        errors.append(float(metrics["Q/squared_error"]))
    same((state.G, state.D), (start.G, start.D))
    assert errors[-1] < 0.5 * errors[0]
    assert method.at(3).encode is None and method.at(3).bounds is None  # Q has not begun to learn
    assert method.at(4).encode is not None
    endless = make("gan", game_steps=0)
    assert endless.encode is None and len(endless.phases) == 1 and endless.at(0) == endless


@pytest.mark.parametrize("name", ["ibgan", "infogan"])
def test_a_shared_trunk_moves_as_its_paper_says(name):
    """IB-GAN's trunk is D's alone; InfoGAN's is moved by the information too."""
    network = dict(name="ibgan64", ngf=1, ndf=1, trunk="shared", init="normal")
    shape = (16, 16, 1)
    method = make(name, shape=shape, network=network, tx={p: optax.sgd(1.0) for p in "EGDQ"})
    state, step = quick(method.init)(jax.random.key(0)), quick(method.step)
    # No gradient comes through a Q of zeros.
    silent = jax.tree.map(lambda p: np.zeros(p.shape, p.dtype), state.Q.params)
    trunks = []
    for s in (state, state._replace(Q=state.Q._replace(params=silent))):
        after, _ = step(s, images(method, shape), KEY)
        trunks.append(after.D.params["Strided_0"]["kernel"])
    assert np.allclose(*trunks, atol=1e-6) == (name == "ibgan")


def test_ibgan_is_equation_11_at_the_old_parameters():
    plain = {p: optax.sgd(1.0) for p in "EGDQ"}
    options = dict(beta=0.3, noise_start=0.4, noise_end=0.4, noise_steps=0)
    options |= dict(real_label_low=0.7, real_label_high=0.7)
    method = make("ibgan", tx=plain, **options)
    s, x = under(played("ibgan").start, plain), images(method)[0]
    after, parts = quick(method.step)(s, x[None], KEY)
    family = net.code_family("mlp", width=16)
    nets = dict(
        e=family.representation(3),
        G=family.generator(SHAPE),
        q=family.reconstructor((4,)),
        D=family.discriminator(),
    )

    def noisy(key, image):
        return jnp.clip(image + 0.4 * jax.random.normal(key, image.shape), -1, 1)

    def fake(psi, theta, z, noise_r, fake_key):
        mean, log_var = nets["e"].train(psi, {}, z)[0]
        x_g = nets["G"].train(theta, s.G.stats, mean + jnp.exp(log_var / 2) * noise_r)[0]
        return noisy(fake_key, x_g), mean, jnp.exp(log_var)

    def generator(psi, theta, phi, z, *rest):
        x_g, mean, var = fake(psi, theta, z, *rest)
        logits = nets["D"].train(s.D.params, {}, x_g)[0][0]
        z_hat = nets["q"].train(phi, s.Q.stats, x_g)[0][0]
        adversarial = -jnp.log(jax.nn.sigmoid(logits))
        rate = 0.5 * jnp.sum(mean**2 + var - 1 - jnp.log(var), -1)
        error = 0.5 * jnp.sum((z - z_hat) ** 2, -1)
        return jnp.mean(adversarial + error + 0.3 * rate)

    def discriminator(w, real_key, *latents):
        def D(image):
            return jax.nn.sigmoid(nets["D"].train(w, {}, image)[0][0])

        x_g, p = fake(s.E.params, s.G.params, *latents)[0], D(noisy(real_key, x))
        return jnp.mean(-jnp.log(1 - D(x_g)) - 0.7 * jnp.log(p) - 0.3 * jnp.log(1 - p))

    @quick
    def slopes(psi, theta, phi, w, key):
        z_key, r_key, fake_key, real_key, _ = jax.random.split(key, 5)
        z, noise_r = jax.random.normal(z_key, (BATCH, 4)), jax.random.normal(r_key, (BATCH, 3))
        up = jax.grad(generator, (0, 1, 2))(psi, theta, phi, z, noise_r, fake_key)
        return *up, jax.grad(discriminator)(w, real_key, z, noise_r, fake_key)

    found = slopes(s.E.params, s.G.params, s.Q.params, s.D.params, KEY)
    for player, slope in zip("EGQD", found, strict=True):
        moved = descended(getattr(s, player), slope)
        chex.assert_trees_all_close(getattr(after, player).params, moved, rtol=1e-4, atol=1e-5)
    kl = [parts[f"E/kl_{i:02d}"] for i in (1, 2, 3)]
    np.testing.assert_allclose(sum(kl), parts["E/info_upper"], rtol=1e-5)


def test_infogan_is_equation_6_at_the_old_parameters():
    options, plain = dict(info_weight=0.7, info_c_weight=0.5, noise_end=0.4), optax.sgd(1.0)
    method = make("infogan", tx=dict.fromkeys("GDQ", plain), **options)
    s, x = under(played("infogan").start, dict.fromkeys("GDQ", plain)), images(method)[0]
    after, _ = quick(method.step)(s, x[None], KEY)
    family = net.code_family("mlp", width=16)
    G, q, D = family.generator(SHAPE), family.reconstructor((3, 2)), family.discriminator()

    def noisy(key, image):
        return jnp.clip(image + 0.4 * jax.random.normal(key, image.shape), -1, 1)

    def values(theta, w, phi, key):
        prior_key, fake_key, real_key = jax.random.split(key, 3)
        codes = method.prior(s, prior_key, BATCH)
        latents = jnp.concatenate([codes["d"], codes["c"], codes["z"]], axis=1)
        x_g = noisy(fake_key, G.train(theta, s.G.stats, latents)[0])
        (d_hat, c_hat), _ = q.train(phi, s.Q.stats, x_g)
        log_q = jnp.sum(codes["d"] * jax.nn.log_softmax(d_hat), -1)
        log_q -= 0.5 * 0.5 * jnp.sum((codes["c"] - c_hat) ** 2, -1)
        fake = jax.nn.sigmoid(D.train(w, {}, x_g)[0][0])
        real = jax.nn.sigmoid(D.train(w, {}, noisy(real_key, x))[0][0])
        return fake, real, jnp.mean(log_q)

    def generator(theta, key):
        fake, _, info = values(theta, s.D.params, s.Q.params, key)
        return jnp.mean(-jnp.log(fake)) - 0.7 * info

    def discriminator(w, phi, key):
        fake, real, info = values(s.G.params, w, phi, key)
        return -jnp.mean(jnp.log(real) + jnp.log(1 - fake)) - 0.7 * info

    @quick
    def slopes(theta, w, phi, key):
        return jax.grad(generator)(theta, key), *jax.grad(discriminator, (0, 1))(w, phi, key)

    found = slopes(s.G.params, s.D.params, s.Q.params, KEY)
    for player, slope in zip("GDQ", found, strict=True):
        moved = descended(getattr(s, player), slope)
        chex.assert_trees_all_close(getattr(after, player).params, moved, rtol=1e-4, atol=1e-5)


def test_ibgan_says_when_the_representation_runs_away():
    method = make("ibgan")
    assert method.alarm({"E/info_upper": 5.0}) is None
    assert "ibgan.beta" in method.alarm({"E/info_upper": 150.0})


def test_instance_noise_fades_and_is_clipped():
    schedule = noise.noise_schedule(1.0, 0.0, 100_000)
    np.testing.assert_allclose([schedule(t) for t in (0, 50_000, 200_000)], [1, 0.5, 0], atol=1e-6)
    x = jnp.zeros((2, 4, 4, 1))
    loud = noise.instance_noise(jax.random.key(0), x, 10.0)
    assert np.abs(loud).max() == 1
    same(noise.instance_noise(jax.random.key(0), x, 0.0), x)


def test_infogan_of_ib_gan_has_normal_codes_alone():
    method = make("infogan", dim_z=0, num_classes=0, dim_c=5, code_prior="normal")
    assert list(method.codes) == ["c"]
    c = method.prior(None, jax.random.key(0), 4_000)["c"]
    assert abs(np.std(c) - 1) < 0.05 and np.abs(c).max() > 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(dim_c=0, num_classes=0), "needs a code"),
        (dict(code_prior="cauchy"), "code_prior"),
        (dict(network=dict(name="small28")), "no network family"),
        (dict(network=dict(name="ibgan64")), "image_size"),
        (dict(network=dict(name="ibgan64", trunk="forked")), 'no trunk "forked"'),
    ],
)
def test_clear_errors(options, words):
    with pytest.raises(UserError, match=words):
        make("infogan", **options)
