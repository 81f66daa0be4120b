"""InfoGAN-CR on tiny images: the tests of every method, and what its pairs share."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ivg import checkpoint, devices
from ivg import networks as net
from ivg.dispatch import make_dispatch, phase_at
from ivg.errors import UserError
from ivg.methods import infogan_cr as module
from ivg.methods.infogan_cr import infogan_cr

SHAPE, BATCH, CODES, NOISE = (8, 8, 1), 8, 3, 2
WEIGHTS = dict(info_weight=0.7, cr_weight=0.6)


def make(*, tx=None, **options):
    # A large eps: where a gradient is 0 but for rounding, Adam would make steps of the rounding.
    tx = tx or {player: optax.adam(5e-3, b1=0.5, eps=1e-3) for player in "GQDH"}
    options = dict(network=dict(name="mlp", width=8), cr_start=2) | WEIGHTS | options
    options = dict(dim_c=CODES, dim_z=NOISE, generator_steps=1) | options
    return infogan_cr(image_shape=SHAPE, batch_size=BATCH, tx=tx, **options)


def quick(f):
    """Jitted and compiled fast: these networks are tiny, compilation is all that costs."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def images(seed=0):
    x = np.random.default_rng(seed).uniform(-1, 1, (1, BATCH, *SHAPE))
    return jnp.asarray(x, jnp.float32)


def same(a, b):
    chex.assert_trees_all_equal(a, b)


def moved(a, b):
    leaves = zip(*map(jax.tree.leaves, (a.params, b.params)), strict=True)
    return all(np.any(x != y) for x, y in leaves)


@pytest.fixture(scope="module")
def played():
    """A method, its two compiled steps, its start, and what the first contrastive step gives."""
    method = make()
    start = quick(method.init)(jax.random.key(0))
    plain, contrastive = (quick(phase.step) for phase in method.phases)
    return method, plain, contrastive, start, *contrastive(start, images(), jax.random.key(1))


def test_steps_on_a_fixed_batch_go_where_they_should(played):
    _, _, step, state, _, first = played
    for _ in range(60):
        state, last = step(state, images(), jax.random.key(1))  # the same latents every time
    assert all(np.isfinite(v) for v in last.values())
    assert last["H/cross_entropy"] < first["H/cross_entropy"] - 0.1
    assert last["H/accuracy"] > first["H/accuracy"]
    assert last["Q/info_c"] > first["Q/info_c"] + 0.05
    assert int(state.t) == 60


def test_h_does_not_move_before_its_start_and_then_does(played):
    method, plain, _, start, after, _ = played
    before, metrics = plain(start, images(), jax.random.key(1))
    same(before.H, start.H)
    assert not any(name.startswith("H/") for name in metrics)
    for player in ("G", "Q", "D"):
        assert moved(getattr(start, player), getattr(before, player)), player
    assert moved(start.H, after.H)


def test_one_device_equals_four(played):
    _, _, step, start, _, _ = played

    def play(state, place):
        for i in range(2):
            state, metrics = step(state, place(images(i)), jax.random.key(i))
        return jax.device_get((state.G.params, state.D.params, state.H.params, metrics))

    alone = play(start, lambda x: x)
    mesh = devices.make_mesh(4)
    with jax.set_mesh(mesh):
        sharding = jax.sharding.NamedSharding(mesh, jax.P(None, devices.AXIS))
        four = play(devices.place_state(start, mesh), lambda x: jax.device_put(x, sharding))
    chex.assert_trees_all_close(alone, four, rtol=5e-4, atol=5e-5)


def test_k_steps_in_a_dispatch_equal_k_dispatches(played):
    method, _, one, start, _, _ = played
    data = jnp.asarray(np.random.default_rng(1).integers(0, 256, (20, *SHAPE)), jnp.uint8)
    index = jnp.asarray(np.random.default_rng(2).integers(0, 20, (3, 1, BATCH)))
    step, key = method.phases[-1].step, jax.random.key(3)
    dispatch = make_dispatch(step, lambda images, batch, key: (images[batch], key))
    own = jax.tree.map(jnp.copy, start)  # the dispatch takes it
    together, metrics = dispatch(own, data, index, jnp.int32(0), key)
    alone, rows = start, []
    for i in range(3):
        x = data[index[i]].astype(jnp.float32) / 127.5 - 1.0
        alone, row = one(alone, x, jax.random.fold_in(key, i))
        rows.append(row)
    chex.assert_trees_all_close(together, alone, rtol=1e-4, atol=1e-5)
    for term in rows[0]:
        np.testing.assert_allclose(metrics[term], [row[term] for row in rows], rtol=1e-3, atol=1e-4)


def test_a_restored_state_goes_on_bit_for_bit(played, tmp_path):
    method, _, step, start, after, _ = played
    checkpoint.save(tmp_path, 1, after, keep=1)
    abstract = jax.tree.map(
        lambda a, like: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=like.sharding),
        jax.eval_shape(method.init, jax.random.key(0)),
        start,
    )
    _, restored = checkpoint.restore(tmp_path, abstract)
    same(restored, after)
    on, went_on = (step(s, images(), jax.random.key(2))[0] for s in (after, restored))
    same(on, went_on)


def test_codes_in_and_out(played):
    method, _, _, _, state, _ = played
    codes = quick(lambda key: method.prior(state, key, 5))(jax.random.key(0))
    assert {name: c.shape for name, c in codes.items()} == {"c": (5, CODES), "z": (5, NOISE)}
    assert max(np.abs(c).max() for c in codes.values()) <= 1
    x_g = quick(method.generate)(state, codes)
    chex.assert_shape(x_g, (5, *SHAPE))
    assert np.abs(x_g).max() <= 1
    found = quick(method.encode)(state, x_g)
    assert {name: c.shape for name, c in found.items()} == {"c": (5, CODES), "z": (5, NOISE)}
    assert np.abs(found["c"]).max() > 0 and not np.any(found["z"])
    bound = quick(lambda key: method.bounds(state, key, 6))(jax.random.key(1))["info_lower"]
    chex.assert_shape(bound, (6,))
    # q has unit variance: H(c) less the entropy of such a Gaussian at its mean.
    assert np.all(bound <= CODES * (np.log(2) - 0.5 * np.log(2 * np.pi)) + 1e-6)


@pytest.mark.parametrize("gap", [0.0, 1.9])
def test_a_pair_shares_its_noise_and_exactly_one_code(gap):
    method, n = make(), 2_000
    game = method.phases[0].step.args[0]
    draw = quick(lambda key: module.draw_pairs(game, gap, key, n))
    shared, a, b = jax.device_get(draw(jax.random.key(0)))
    same(a["z"], b["z"])
    equal = a["c"] == b["c"]
    np.testing.assert_array_equal(equal, shared == 1)
    np.testing.assert_allclose(shared.mean(0), 1 / CODES, atol=0.05)
    apart = np.abs(a["c"] - b["c"])[~equal]
    assert apart.min() >= gap - 1e-6 and apart.max() <= 2
    for c in (a["c"], b["c"]):
        assert np.abs(c).max() <= 1
        assert np.abs(np.mean(c, 0)).max() < 0.06  # neither is always the larger
        # The shared ones are uniform, and the others are where there is no gap.
        kept = c if gap == 0 else c[equal]
        np.testing.assert_allclose(kept.std(), 1 / np.sqrt(3), atol=0.03)


def test_the_weight_follows_its_schedule():
    stretches = make(cr_start=5, gap=1.5, gap_steps=3).phases
    assert [phase.end for phase in stretches] == [5, 8, None]
    steps = [(phase.step.func, *phase.step.args[1:]) for phase in stretches]
    assert steps == [
        (module.plain_step,),
        (module.contrastive_step, 1.5),
        (module.contrastive_step, 0.0),
    ]
    assert [phase_at(stretches, t) for t in (0, 4, 5, 7, 8, 100)] == [0, 0, 1, 1, 2, 2]
    assert [phase.end for phase in make(cr_start=0).phases] == [None]
    assert [phase.end for phase in make(cr_start=4).phases] == [4, None]


def test_a_step_is_the_losses_written_naively():
    gap, updates = 0.5, 2
    method = make(
        tx={p: optax.sgd(1.0) for p in "GQDH"}, cr_start=0, gap=gap, gap_steps=9,
        generator_steps=updates,
    )  # fmt: skip
    s, x, key = quick(method.init)(jax.random.key(0)), images()[0], jax.random.key(5)
    after, parts = quick(method.step)(s, x[None], key)
    codes_key, pair_key = jax.random.split(key)
    game = method.step.args[0]
    codes = quick(lambda key: module.prior(game, key, BATCH))(codes_key)
    shared, a, b = quick(lambda key: module.draw_pairs(game, gap, key, BATCH))(pair_key)
    family = net.code_family("mlp", width=8)
    G, q, D = family.generator(SHAPE), family.reconstructor((CODES,)), family.discriminator()
    H = family.pair_classifier(CODES)

    def draw(theta, stats, latents):
        return G.train(theta, stats, jnp.concatenate([latents["c"], latents["z"]], axis=1))

    def information(phi, x_g):
        (c_hat,), _ = q.train(phi, s.Q.stats, x_g)
        return -0.5 * jnp.mean(jnp.sum((codes["c"] - c_hat) ** 2, -1))

    def cross_entropy(h, x_a, x_b):
        logits, _ = H.train(h, {}, jnp.concatenate([x_a, x_b], axis=-1))
        return -jnp.mean(jnp.log(jnp.sum(jax.nn.softmax(logits) * shared, -1)))

    def generator(theta, stats):
        x_g, stats = draw(theta, stats, codes)
        x_a, stats = draw(theta, stats, a)
        x_b, stats = draw(theta, stats, b)
        fake = jax.nn.sigmoid(D.train(s.D.params, {}, x_g)[0][0])
        loss = jnp.mean(-jnp.log(fake)) - 0.7 * information(s.Q.params, x_g)
        return loss + 0.6 * cross_entropy(s.H.params, x_a, x_b), (stats, x_g, x_a, x_b)

    def discriminator(w, phi, x_g):
        fake = jax.nn.sigmoid(D.train(w, {}, x_g)[0][0])
        real = jax.nn.sigmoid(D.train(w, {}, x)[0][0])
        return -jnp.mean(jnp.log(real) + jnp.log(1 - fake)) - 0.7 * information(phi, x_g)

    def stepped(params, slope):
        return jax.tree.map(lambda p, g: p - g, params, slope)

    slope_of = quick(jax.grad(generator, has_aux=True))
    theta, stats, drawn = s.G.params, s.G.stats, []
    for _ in range(updates):
        slope, (stats, *pictures) = slope_of(theta, stats)
        theta, drawn = stepped(theta, slope), [*drawn, pictures]
    x_g, x_a, x_b = drawn[0]
    g_w, g_phi = quick(jax.grad(discriminator, (0, 1)))(s.D.params, s.Q.params, x_g)
    value, g_h = quick(jax.value_and_grad(cross_entropy))(s.H.params, x_a, x_b)
    expected = dict(G=theta, D=stepped(s.D.params, g_w), Q=stepped(s.Q.params, g_phi))
    expected["H"] = stepped(s.H.params, g_h)
    for player, params in expected.items():
        chex.assert_trees_all_close(getattr(after, player).params, params, rtol=1e-3, atol=2e-5)
    chex.assert_trees_all_close(after.G.stats, stats, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts["H/cross_entropy"], value, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(dim_c=1), "two codes"),
        (dict(gap=2.0), "gap=2.0 must be"),
        (dict(gap=-0.1), "gap=-0.1 must be"),
        (dict(cr_start=-1), "cr_start"),
        (dict(generator_steps=0), "generator_steps"),
        (dict(network=dict(name="small28")), "no network family"),
        (dict(network=dict(name="infogancr64")), "image_size"),
    ],
)
def test_clear_errors(options, words):
    with pytest.raises(UserError, match=words):
        make(**options)
