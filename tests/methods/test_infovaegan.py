"""InfoVAEGAN on tiny images: the five tests of every method, its equations, its schedules."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ivg import devices
from ivg import networks as net
from ivg.errors import UserError
from ivg.methods import METHODS
from ivg.methods import infovaegan as module

SHAPE = (8, 8, 1)
BATCH = 8
PLAYERS = ("G", "D", "q_u", "q_z", "elbo")
NAMES = ("infovaegan", "infovaegan_joint")


def make(name="infovaegan", rate=1e-3, **options):
    tx = {player: optax.adam(rate, b1=0.5, b2=0.9) for player in PLAYERS}
    sizes = dict(dim_z=4, dim_c=2, num_classes=3, network=dict(name="mlp", width=16))
    if name != "infovaegan_joint":
        sizes["num_critic"] = 2
    return METHODS[name](image_shape=SHAPE, batch_size=BATCH, tx=tx, **(sizes | options))


def images(method, seed=0):
    n = method.phases[0].num_batches
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (n, BATCH, *SHAPE)), jnp.float32)


def close(a, b, **tolerance):
    chex.assert_trees_all_close(a, b, **tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_step_lowers_its_objectives_on_a_fixed_batch(name):
    method = make(name)
    state = method.init(jax.random.key(0))
    step = jax.jit(method.step)
    xs, key = images(method), jax.random.key(1)
    first = last = None
    for _ in range(60):
        state, last = step(state, xs, key)  # the same latents every time
        first = last if first is None else first
    assert all(jnp.isfinite(v) for v in last.values())
    assert last["q_u/info_d"] > first["q_u/info_d"] + 0.1
    assert last["q_z/squared_error"] < first["q_z/squared_error"]
    assert int(state.t) == 60


@pytest.mark.parametrize("name", NAMES)
def test_one_device_equals_four(name):
    method = make(name)
    results = []
    for n in (1, 4):
        mesh = devices.make_mesh(n)
        with jax.set_mesh(mesh):
            state = devices.place_state(method.init(jax.random.key(0)), mesh)
            xs = images(method)
            sharding = jax.sharding.NamedSharding(mesh, jax.P(None, devices.AXIS))
            step = jax.jit(method.step)
            for i in range(2):
                state, metrics = step(state, jax.device_put(xs, sharding), jax.random.key(i))
            results.append(jax.device_get((state.G.params, state.q_u.params, metrics)))
    close(*results, rtol=2e-4, atol=2e-5)


def test_data_free_step_is_split_over_devices():
    method = make(schedule="staged", generation_steps=1)
    flops = []
    for n in (1, 4):
        with jax.set_mesh(devices.make_mesh(n)):
            infer = jax.jit(method.phases[1].step)
            args = (
                method.init(jax.random.key(0)),
                jnp.zeros((0, BATCH, *SHAPE)),
                jax.random.key(0),
            )
            state = devices.place_state(args[0], devices.make_mesh(n))
            cost = infer.lower(state, *args[1:]).compile().cost_analysis()
            flops.append(cost["flops"])
    assert flops[1] < 0.5 * flops[0]


def test_phases_freeze_whom_they_should():
    method = make(schedule="staged", generation_steps=5)
    generate, infer = method.phases
    assert (generate.end, generate.num_batches, infer.end, infer.num_batches) == (5, 2, None, 0)
    start = method.init(jax.random.key(0))
    after, _ = jax.jit(generate.step)(start, images(method), jax.random.key(1))
    close(after.q_z, start.q_z, rtol=0, atol=0)
    close(after.elbo, start.elbo, rtol=0, atol=0)
    with pytest.raises(AssertionError):
        close(after.q_u.params, start.q_u.params, rtol=0, atol=0)
    later, _ = jax.jit(infer.step)(after, jnp.zeros((0, BATCH, *SHAPE)), jax.random.key(2))
    close((later.G, later.D), (after.G, after.D), rtol=0, atol=0)
    close(later.q_u.opt_state, after.q_u.opt_state, rtol=0, atol=0)
    with pytest.raises(AssertionError):
        close(later.q_z.params, after.q_z.params, rtol=0, atol=0)


def make_game(**options):
    family = net.family("mlp", width=16)
    values = dict(
        G=family.generator(SHAPE),
        D=family.critic(),
        q_u=family.encoder((3, 2, 2)),
        q_z=family.encoder((4, 4)),
        tx={player: optax.sgd(1.0) for player in PLAYERS},
        image_shape=SHAPE,
        dim_z=4,
        dim_c=2,
        num_classes=3,
        info_weight=1.0,
        temperature=0.1,
        kl_weights=(1.0, 1.0, 0.001),
        gp_weight=10.0,
    )
    return module.Game(**(values | options))


def start(game, t=0):
    return module.init(game, jax.random.key(0))._replace(t=jnp.int32(t))


def test_critic_step_is_equation_4_and_moves_only_the_critic():
    game, key = make_game(), jax.random.key(1)
    s, x = start(game), images(make())[0]
    after, parts = module.critic_step(game, s, x, key)
    close(after._replace(D=s.D), s, rtol=0, atol=0)

    prior_key, mix_key = jax.random.split(key)
    x_g, _ = game.G.train(
        s.G.params, s.G.stats, module.latents(game, module.prior(game, prior_key, BATCH), 0)
    )
    mix = jax.random.uniform(mix_key, (BATCH, 1, 1, 1))

    def D(w, image):
        return game.D.infer(w, {}, image[None])[0]

    def objective(w):  # what the critic maximises
        total = 0.0
        for i in range(BATCH):
            gradient = jax.grad(D, 1)(w, mix[i] * x[i] + (1 - mix[i]) * x_g[i])
            penalty = (jnp.sqrt(jnp.sum(gradient**2)) - 1) ** 2
            total += D(w, x[i]) - D(w, x_g[i]) - 10 * penalty
        return total / BATCH

    ascended = jax.tree.map(lambda w, g: w + g, s.D.params, jax.grad(objective)(s.D.params))
    mixed_the_other_way = 1e-2  # interpolate may weigh x or x_g by the uniform draw
    close(after.D.params, ascended, atol=mixed_the_other_way)
    np.testing.assert_allclose(
        parts["D/wasserstein"],
        np.mean([D(s.D.params, a) - D(s.D.params, b) for a, b in zip(x, x_g, strict=True)]),
        rtol=1e-4,
    )


def test_generator_step_is_equation_11():
    game, key = make_game(info_weight=0.7), jax.random.key(2)
    s = start(game)
    after, _ = module.generator_step(game, s, BATCH, key)
    codes = module.prior(game, key, BATCH)

    def objective(psi, omega):
        x_g, _ = game.G.train(psi, {}, module.latents(game, codes, 0))
        logits, c_mean, _ = game.q_u.infer(omega, {}, x_g)
        log_w = jnp.sum(codes["d"] * jax.nn.log_softmax(logits), -1) - 0.5 * jnp.sum(
            (codes["c"] - c_mean) ** 2, -1
        )
        return jnp.mean(-game.D.infer(s.D.params, {}, x_g) - 0.7 * log_w)

    g_psi, g_omega = jax.grad(objective, (0, 1))(s.G.params, s.q_u.params)
    down = functools.partial(jax.tree.map, lambda w, g: w - g)
    close(after.G.params, down(s.G.params, g_psi), rtol=1e-4, atol=1e-6)
    close(after.q_u.params, down(s.q_u.params, g_omega), rtol=1e-4, atol=1e-6)
    close((after.D, after.q_z, after.elbo), (s.D, s.q_z, s.elbo), rtol=0, atol=0)


def test_without_information_the_encoder_stays():
    game = make_game(info_weight=0.0)
    s = start(game)
    after, _ = module.generator_step(game, s, BATCH, jax.random.key(2))
    close(after.q_u.params, s.q_u.params, rtol=0, atol=0)


def test_inference_is_equation_6():
    game, key = make_game(), jax.random.key(3)
    s = start(game)
    after, parts = module.inference(game, s, BATCH, key)
    prior_key, d_key, c_key, z_key = jax.random.split(key, 4)
    gumbel = jax.random.gumbel(d_key, (BATCH, 3))
    c_noise, z_noise = jax.random.normal(c_key, (BATCH, 2)), jax.random.normal(z_key, (BATCH, 4))

    def G(codes):
        return game.G.infer(s.G.params, {}, module.latents(game, codes, 0))

    x_g = G(module.prior(game, prior_key, BATCH))

    def kl(mean, std):
        return jnp.sum(0.5 * (mean**2 + std**2 - 1) - jnp.log(std), -1)

    def objective(omega, xi):
        logits, c_mean, c_raw = game.q_u.infer(omega, {}, x_g)
        z_mean, z_raw = game.q_z.infer(xi, {}, x_g)
        c_std, z_std = jax.nn.softplus(c_raw), jax.nn.softplus(z_raw)
        p = jax.nn.softmax(logits)
        d = jax.nn.softmax((jnp.log(p) + gumbel) / 0.1)
        x_hat = G({"d": d, "c": c_mean + c_std * c_noise, "z": z_mean + z_std * z_noise})
        error = 0.5 * jnp.sum((x_g - x_hat) ** 2, (1, 2, 3))
        kl_d = jnp.log(3.0) + jnp.sum(p * jnp.log(p), -1)
        return jnp.mean(error + kl(z_mean, z_std) + kl(c_mean, c_std) + 0.001 * kl_d)

    g_omega, g_xi = jax.grad(objective, (0, 1))(s.q_u.params, s.q_z.params)
    down = functools.partial(jax.tree.map, lambda w, g: w - g)
    close(after.q_u.params, down(s.q_u.params, g_omega), rtol=1e-3, atol=1e-5)
    close(after.q_z.params, down(s.q_z.params, g_xi), rtol=1e-3, atol=1e-5)
    close((after.G, after.D), (s.G, s.D), rtol=0, atol=0)
    assert parts["q_u/kl_d"] <= np.log(3.0) + 1e-6


def test_style_warmup_hides_everything_but_the_class():
    game = make_game(style_schedule=module.warmup(10))
    s = start(game)
    codes = module.prior(game, jax.random.key(0), 4) | {"d": jnp.repeat(jnp.eye(3)[:1], 4, axis=0)}
    young = module.generate(game, s, codes)
    close(young, jnp.repeat(young[:1], 4, axis=0), atol=1e-6)
    old = module.generate(game, s._replace(t=jnp.int32(10)), codes)
    assert np.std(old, axis=0).max() > 1e-3
    close(old, module.generate(make_game(), s, codes), atol=1e-6)


def test_bound_of_proposition_1_is_a_bound():
    """With q_z = p(z), q_c = p(c), q(d) uniform and a constant G the bound is log N(x; G, 1)."""
    game = make_game()
    s = start(game)
    zero = jax.tree.map(jnp.zeros_like, (s.G.params, s.q_u.params, s.q_z.params))
    # std = softplus(raw) = 1 at raw = log(e - 1)
    raw = jnp.log(jnp.e - 1)
    q_u = zero[1] | {"Dense_4": zero[1]["Dense_4"] | {"bias": jnp.full(2, raw)}}
    q_z = zero[2] | {"Dense_3": zero[2]["Dense_3"] | {"bias": jnp.full(4, raw)}}
    s = s._replace(
        G=s.G._replace(params=zero[0]),
        q_u=s.q_u._replace(params=q_u),
        q_z=s.q_z._replace(params=q_z),
    )
    x = images(make())[0]
    parts = module.log_likelihood(game, s, x, jax.random.key(0))
    truth = -0.5 * jnp.sum(x**2, (1, 2, 3)) - 32 * jnp.log(2 * jnp.pi)
    close(parts["bound"], truth, rtol=1e-5)
    close(parts["kl_z"] + parts["kl_c"] + parts["kl_d"], jnp.zeros(BATCH), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_codes_in_and_out(name):
    method = make(name)
    s = method.init(jax.random.key(0))
    codes = method.prior(s, jax.random.key(1), 5)
    chex.assert_shape((codes["d"], codes["c"], codes["z"]), [(5, 3), (5, 2), (5, 4)])
    assert set(np.unique(codes["d"])) == {0.0, 1.0} and np.abs(codes["c"]).max() <= 1
    x_g = method.generate(s, codes)
    chex.assert_shape(x_g, (5, *SHAPE))
    inferred = method.encode(s, x_g)
    assert {k: v.shape for k, v in inferred.items()} == {k: v.shape for k, v in codes.items()}
    assert np.all(np.sum(inferred["d"], -1) == 1)
    chex.assert_shape(method.generate(s, inferred), (5, *SHAPE))


def test_clear_errors():
    with pytest.raises(UserError, match="staged"):
        make(schedule="staged")
    with pytest.raises(UserError, match="schedule"):
        make(schedule="alternating")
    with pytest.raises(UserError, match="image_size"):
        make(network=dict(name="infovaegan64"))
