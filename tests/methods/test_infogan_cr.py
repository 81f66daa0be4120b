"""InfoGAN-CR on tiny images: the tests of every method, and what its pairs share."""

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
from ivg.dispatch import phase_at
from ivg.errors import UserError
from ivg.methods import infogan_cr as module
from ivg.methods.infogan_cr import infogan_cr

CODES, NOISE, KEY = 3, 2, jax.random.key(1)
WEIGHTS = dict(info_weight=0.7, cr_weight=0.6)
same = chex.assert_trees_all_equal


def make(*, tx=None, **options):
    # A large eps: where a gradient is 0 but for rounding, Adam would make steps of the rounding.
    tx = tx or {player: optax.adam(5e-3, b1=0.5, eps=1e-3) for player in "GQDH"}
    options = dict(network=dict(name="mlp", width=8), cr_start=2) | WEIGHTS | options
    options = dict(dim_c=CODES, dim_z=NOISE, generator_steps=1) | options
    return infogan_cr(image_shape=SHAPE, batch_size=BATCH, tx=tx, **options)


@pytest.fixture(scope="module")
def played():
    """The method's last phase, that of the contrastive steps."""
    return play(make(), images(), KEY, phase=-1)


def test_steps_on_a_fixed_batch_go_where_they_should(played):
    first = played.metrics
    _, last = repeated(played, images(), KEY, 60)
    assert last["H/cross_entropy"] < first["H/cross_entropy"] - 0.1
    assert last["H/accuracy"] > first["H/accuracy"]
    assert last["Q/info_c"] > first["Q/info_c"] + 0.05


def test_h_does_not_move_before_its_start_and_then_does(played):
    before = play(played.method, images(), KEY, start=played.start)
    same(before.after.H, played.start.H)
    assert not any(name.startswith("H/") for name in before.metrics)
    moves(played.start, before.after, "GQD")
    moves(played.start, played.after, "H")


def test_one_dispatch_on_four_devices_equals_three_steps_on_one(played):
    steps_agree(played, phase=-1)


def test_a_restored_state_goes_on_bit_for_bit(played, tmp_path):
    restored_goes_on(played, images(), tmp_path)


def test_codes_in_and_out(played):
    method, state = played.method, played.after
    assert {name: code.size for name, code in method.codes.items()} == {"c": CODES, "z": NOISE}
    codes, _, found = codes_fit(method, state)
    assert max(np.abs(c).max() for c in codes.values()) <= 1
    assert np.abs(found["c"]).max() > 0 and not np.any(found["z"])
    bound = quick(lambda s, key: method.bounds(s, key, 6))(state, KEY)["info_lower"]
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


def test_a_step_is_the_losses_written_naively(played):
    gap, updates, plain = 0.5, 2, {p: optax.sgd(1.0) for p in "GQDH"}
    method = make(tx=plain, cr_start=0, gap=gap, gap_steps=9, generator_steps=updates)
    s, x = under(played.start, plain), images()[0]
    after, parts = quick(method.step)(s, x[None], KEY)
    game = method.step.args[0]

    @quick
    def latents(key):
        codes_key, pair_key = jax.random.split(key)
        codes = module.prior(game, codes_key, BATCH)
        return codes, module.draw_pairs(game, gap, pair_key, BATCH)

    codes, (shared, a, b) = latents(KEY)
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

    @quick
    def others(w, phi, h, x_g, x_a, x_b):
        slopes = jax.grad(discriminator, (0, 1))(w, phi, x_g)
        return *slopes, *jax.value_and_grad(cross_entropy)(h, x_a, x_b)

    slope_of = quick(jax.grad(generator, has_aux=True))
    theta, stats, drawn = s.G, s.G.stats, []
    for _ in range(updates):
        slope, (stats, *pictures) = slope_of(theta.params, stats)
        theta, drawn = theta._replace(params=descended(theta, slope)), [*drawn, pictures]
    g_w, g_phi, value, g_h = others(s.D.params, s.Q.params, s.H.params, *drawn[0])
    expected = dict(G=theta.params, D=descended(s.D, g_w), Q=descended(s.Q, g_phi))
    expected["H"] = descended(s.H, g_h)
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
