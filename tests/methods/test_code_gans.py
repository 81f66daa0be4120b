"""GAN, InfoGAN, IB-GAN and WGAN-GP on tiny images: the tests of every method."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ivg import checkpoint, devices
from ivg import networks as net
from ivg.dispatch import make_dispatch
from ivg.errors import UserError
from ivg.methods import METHODS, noise

SHAPE, BATCH = (8, 8, 1), 8
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


def quick(f):
    """Jitted and compiled fast: these networks are tiny, compilation is all that costs."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def images(method, seed=0, shape=SHAPE):
    n = method.phases[0].num_batches
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (n, BATCH, *shape)), jnp.float32)


def same(a, b):
    chex.assert_trees_all_equal(a, b)


@pytest.fixture(scope="module", params=NAMES)
def played(request):
    """A method, its first step compiled, its start and its state after one step."""
    method = make(request.param)
    start = quick(method.init)(jax.random.key(0))
    step = quick(method.step)
    after, metrics = step(start, images(method), jax.random.key(1))
    return request.param, method, step, start, after, metrics


def test_steps_on_a_fixed_batch_go_where_they_should(played):
    name, method, step, state, _, first = played
    for _ in range(80):
        state, last = step(state, images(method), jax.random.key(1))  # the same latents every time
    assert all(np.isfinite(v) for v in last.values())
    for term, sign in OBJECTIVES[name].items():
        assert sign * (last[term] - first[term]) > 0.05, (term, first[term], last[term])
    assert int(state.t) == 80


def test_the_game_moves_its_players_and_nobody_else(played):
    name, _, _, start, after, _ = played
    for player in PLAYERS[name]:
        before, later = getattr(start, player).params, getattr(after, player).params
        if name == "gan" and player == "Q":
            same(before, later)
            continue
        leaves = zip(jax.tree.leaves(before), jax.tree.leaves(later), strict=True)
        assert all(np.any(a != b) for a, b in leaves), player


def test_one_device_equals_four(played):
    _, method, _, start, _, _ = played
    results = []
    for n in (1, 4):
        mesh = devices.make_mesh(n)
        with jax.set_mesh(mesh):
            state = devices.place_state(start, mesh)
            sharding = jax.sharding.NamedSharding(mesh, jax.P(None, devices.AXIS))
            step = quick(method.step)
            for i in range(2):
                x = jax.device_put(images(method, i), sharding)
                state, metrics = step(state, x, jax.random.key(i))
            results.append(jax.device_get((state.G.params, state.D.params, metrics)))
    chex.assert_trees_all_close(*results, rtol=5e-4, atol=5e-5)


def test_k_steps_in_a_dispatch_equal_k_dispatches(played):
    _, method, _, start, _, _ = played
    data = jnp.asarray(np.random.default_rng(1).integers(0, 256, (20, *SHAPE)), jnp.uint8)
    n = method.phases[0].num_batches
    index = jnp.asarray(np.random.default_rng(2).integers(0, 20, (3, n, BATCH)))
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
    _, method, step, start, after, _ = played
    checkpoint.save(tmp_path, 1, after, keep=1)
    abstract = jax.eval_shape(method.init, jax.random.key(0))
    abstract = jax.tree.map(
        lambda a, like: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=like.sharding),
        abstract,
        start,
    )
    _, restored = checkpoint.restore(tmp_path, abstract)
    same(restored, after)
    on, went_on = (step(s, images(method), jax.random.key(2))[0] for s in (after, restored))
    same(on, went_on)


def test_codes_in_and_out(played):
    _, method, _, _, state, _ = played
    codes = method.prior(state, jax.random.key(0), 5)
    assert {n: c.shape for n, c in codes.items()} == {
        n: (5, c.size) for n, c in method.codes.items()
    }
    x_g = method.generate(state, codes)
    chex.assert_shape(x_g, (5, *SHAPE))
    assert np.abs(x_g).max() <= 1
    if method.encode is not None:
        found = method.encode(state, x_g)
        assert {n: c.shape for n, c in found.items()} == {n: c.shape for n, c in codes.items()}
        chex.assert_shape(method.generate(state, found), (5, *SHAPE))
    if method.bounds is not None:
        parts = method.bounds(state, jax.random.key(1), 6)
        chex.assert_shape(parts["info_lower"], (6,))
        if "kl" in parts:
            chex.assert_shape(parts["kl"], (6, 3))


def test_gan_regresses_z_from_a_frozen_generator():
    method = make("gan")
    game, fit = method.phases
    assert (game.end, game.num_batches, fit.end, fit.num_batches) == (3, 1, None, 0)
    start = quick(method.init)(jax.random.key(0))
    step = quick(fit.step)
    state, first = step(start, jnp.zeros((0, BATCH, *SHAPE)), jax.random.key(1))
    for i in range(200):
        state, last = step(state, jnp.zeros((0, BATCH, *SHAPE)), jax.random.key(i))
    same((state.G, state.D), (start.G, start.D))
    assert last["Q/squared_error"] < 0.5 * first["Q/squared_error"]
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
    silent = jax.tree.map(jnp.zeros_like, state.Q.params)
    trunks = []
    for s in (state, state._replace(Q=state.Q._replace(params=silent))):
        after, _ = step(s, images(method, shape=shape), jax.random.key(1))
        trunks.append(after.D.params["Strided_0"]["kernel"])
    assert np.allclose(*trunks, atol=1e-6) == (name == "ibgan")


def test_ibgan_is_equation_11_at_the_old_parameters():
    tx = {p: optax.sgd(1.0) for p in "EGDQ"}
    options = dict(beta=0.3, noise_start=0.4, noise_end=0.4, noise_steps=0)
    options |= dict(real_label_low=0.7, real_label_high=0.7)
    method = make("ibgan", tx=tx, **options)
    s, x, key = quick(method.init)(jax.random.key(0)), images(method)[0], jax.random.key(5)
    after, parts = quick(method.step)(s, x[None], key)
    z_key, r_key, fake_key, real_key, _ = jax.random.split(key, 5)
    z = jax.random.normal(z_key, (BATCH, 4))
    noise_r = jax.random.normal(r_key, (BATCH, 3))
    family = net.code_family("mlp", width=16)
    nets = dict(
        e=family.representation(3),
        G=family.generator(SHAPE),
        q=family.reconstructor((4,)),
        D=family.discriminator(),
    )

    def noisy(key, image):
        return jnp.clip(image + 0.4 * jax.random.normal(key, image.shape), -1, 1)

    def fake(psi, theta):
        mean, log_var = nets["e"].train(psi, {}, z)[0]
        x_g = nets["G"].train(theta, s.G.stats, mean + jnp.exp(log_var / 2) * noise_r)[0]
        return noisy(fake_key, x_g), mean, jnp.exp(log_var)

    def generator(psi, theta, phi):
        x_g, mean, var = fake(psi, theta)
        logits = nets["D"].train(s.D.params, {}, x_g)[0][0]
        z_hat = nets["q"].train(phi, s.Q.stats, x_g)[0][0]
        adversarial = -jnp.log(jax.nn.sigmoid(logits))
        rate = 0.5 * jnp.sum(mean**2 + var - 1 - jnp.log(var), -1)
        error = 0.5 * jnp.sum((z - z_hat) ** 2, -1)
        return jnp.mean(adversarial + error + 0.3 * rate)

    def discriminator(w):
        def D(image):
            return jax.nn.sigmoid(nets["D"].train(w, {}, image)[0][0])

        x_g, p = fake(s.E.params, s.G.params)[0], D(noisy(real_key, x))
        return jnp.mean(-jnp.log(1 - D(x_g)) - 0.7 * jnp.log(p) - 0.3 * jnp.log(1 - p))

    slopes = quick(jax.grad(generator, (0, 1, 2)))
    g_psi, g_theta, g_phi = slopes(s.E.params, s.G.params, s.Q.params)
    g_w = quick(jax.grad(discriminator))(s.D.params)
    for player, gradient in zip("EGQD", (g_psi, g_theta, g_phi, g_w), strict=True):
        moved = jax.tree.map(lambda p, g: p - g, getattr(s, player).params, gradient)
        chex.assert_trees_all_close(getattr(after, player).params, moved, rtol=1e-4, atol=1e-5)
    kl = [parts[f"E/kl_{i:02d}"] for i in (1, 2, 3)]
    np.testing.assert_allclose(sum(kl), parts["E/info_upper"], rtol=1e-5)


def test_infogan_is_equation_6_at_the_old_parameters():
    options = dict(info_weight=0.7, info_c_weight=0.5, noise_end=0.4)
    method = make("infogan", tx={p: optax.sgd(1.0) for p in "GDQ"}, **options)
    s, x, key = quick(method.init)(jax.random.key(0)), images(method)[0], jax.random.key(5)
    after, _ = quick(method.step)(s, x[None], key)
    prior_key, fake_key, real_key = jax.random.split(key, 3)
    codes = method.prior(s, prior_key, BATCH)
    latents = jnp.concatenate([codes["d"], codes["c"], codes["z"]], axis=1)
    family = net.code_family("mlp", width=16)
    G, q, D = family.generator(SHAPE), family.reconstructor((3, 2)), family.discriminator()

    def noisy(key, image):
        return jnp.clip(image + 0.4 * jax.random.normal(key, image.shape), -1, 1)

    def values(theta, w, phi):
        x_g = noisy(fake_key, G.train(theta, s.G.stats, latents)[0])
        (d_hat, c_hat), _ = q.train(phi, s.Q.stats, x_g)
        log_q = jnp.sum(codes["d"] * jax.nn.log_softmax(d_hat), -1)
        log_q -= 0.5 * 0.5 * jnp.sum((codes["c"] - c_hat) ** 2, -1)
        fake = jax.nn.sigmoid(D.train(w, {}, x_g)[0][0])
        real = jax.nn.sigmoid(D.train(w, {}, noisy(real_key, x))[0][0])
        return fake, real, jnp.mean(log_q)

    def generator(theta):
        fake, _, info = values(theta, s.D.params, s.Q.params)
        return jnp.mean(-jnp.log(fake)) - 0.7 * info

    def discriminator(w, phi):
        fake, real, info = values(s.G.params, w, phi)
        return -jnp.mean(jnp.log(real) + jnp.log(1 - fake)) - 0.7 * info

    g_theta = quick(jax.grad(generator))(s.G.params)
    g_w, g_phi = quick(jax.grad(discriminator, (0, 1)))(s.D.params, s.Q.params)
    for player, gradient in zip("GDQ", (g_theta, g_w, g_phi), strict=True):
        moved = jax.tree.map(lambda p, g: p - g, getattr(s, player).params, gradient)
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
