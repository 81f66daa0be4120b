"""InfoVAEGAN with classes from real images: its first phase, its frozen classifier, its heads."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ivg import devices
from ivg import networks as net
from ivg.losses import information
from ivg.methods import infovaegan_invariant as module

SHAPE = (8, 8, 1)
BATCH = 8
PLAYERS = ("G", "D", "q_d", "q_u", "q_z", "elbo")


def make(**options):
    tx = {player: optax.adam(1e-3, b1=0.5, b2=0.9) for player in PLAYERS}
    sizes = dict(dim_z=4, dim_c=2, num_classes=3, num_critic=1, num_heads=2)
    settings = dict(network=dict(name="mlp", width=16), agreement_batches=2, agreement_steps=5)
    return module.infovaegan_invariant(
        image_shape=SHAPE, batch_size=BATCH, tx=tx, **(sizes | settings | options)
    )


def images(n, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (n, BATCH, *SHAPE)), jnp.float32)


def exactly(a, b):
    chex.assert_trees_all_close(a, b, rtol=0, atol=0)


@pytest.fixture(scope="module")
def played():
    """(method, states) at the start, after the first phase and after a step of the second."""
    method = make()
    first, second = (jax.jit(p.step) for p in method.phases)
    start = jax.jit(method.init)(jax.random.key(0))
    state, rows = start, []
    for _ in range(40):
        state, parts = first(state, images(2), jax.random.key(1))
        rows.append(parts["q_d/agreement"])
    after, parts = second(state, images(1), jax.random.key(9))
    return method, (start, state, after), rows, parts


def test_phases(played):
    method, _, _, _ = played
    first, second = method.phases
    assert (first.num_batches, first.end, second.num_batches, second.end) == (2, 5, 1, None)
    staged = make(schedule="staged", generation_steps=3)
    assert [p.end for p in staged.phases] == [5, 8, None]


def test_first_phase_moves_only_the_classifier(played):
    _, (start, state, _), rows, _ = played
    exactly(state._replace(q_d=start.q_d, agreement=start.agreement), start)
    assert rows[-1] > rows[0] + 0.1
    assert np.all(np.asarray(state.agreement) != 0)


def test_second_phase_leaves_the_classifier_bit_identical(played):
    _, (_, state, after), _, parts = played
    exactly((after.q_d, after.agreement), (state.q_d, state.agreement))
    for name in ("G", "D", "q_u", "q_z"):
        with pytest.raises(AssertionError):
            exactly(getattr(after, name).params, getattr(state, name).params)
    assert int(after.t) == 1 and all(np.isfinite(v) for v in parts.values())


def test_agreement_step_is_the_mean_over_heads():
    q_d = net.family("mlp", width=16).encoder((6,))
    method = make()
    s = jax.jit(method.init)(jax.random.key(0))
    xs = images(2)
    none = dict(rotation=0.0, scale=0.0, shear=0.0, translation=0.0)
    tx = optax.sgd(1.0)
    s = s._replace(q_d=s.q_d._replace(opt_state=tx.init(s.q_d.params)))
    step = jax.jit(
        lambda s: module.agreement_step(
            s, xs, jax.random.key(1), q_d=q_d, tx=tx, balance=2.0, jitter=none
        )
    )
    after, _ = step(s)
    x = xs.reshape(-1, *SHAPE)

    def objective(params):
        (logits,) = q_d.infer(params, {}, x)
        heads = [logits[:, :3], logits[:, 3:]]
        return sum(information.agreement(h, h, balance=2.0) for h in heads) / 2

    grads = jax.jit(jax.grad(objective))(s.q_d.params)
    truth = jax.tree.map(lambda w, g: w + g, s.q_d.params, grads)
    chex.assert_trees_all_close(after.q_d.params, truth, rtol=1e-4, atol=1e-5)


def test_the_best_head_gives_the_classes(played):
    method, (_, state, _), _, _ = played
    q_d = net.family("mlp", width=16).encoder((6,))
    x = images(1)[0]
    (logits,) = q_d.infer(state.q_d.params, state.q_d.stats, x)
    for head in (0, 1):
        chosen = state._replace(agreement=jnp.eye(2)[head])
        d = method.encode(chosen, x)["d"]
        truth = np.argmax(logits[:, 3 * head : 3 * head + 3], axis=-1)
        np.testing.assert_array_equal(np.argmax(d, axis=-1), truth)


def test_bound_and_samples(played):
    method, (_, _, after), _, _ = played
    x = images(1)[0]
    codes = method.prior(after, jax.random.key(0), BATCH)
    chex.assert_shape(method.generate(after, codes), (BATCH, *SHAPE))
    parts = method.log_likelihood(after, x, jax.random.key(1))
    total = parts["log_likelihood"] - parts["kl_z"] - parts["kl_c"] - parts["kl_d"]
    chex.assert_trees_all_close(parts["bound"], total, rtol=1e-5)
    assert np.all(parts["kl_d"] >= -1e-6) and np.all(parts["kl_d"] <= np.log(3) + 1e-6)


def test_one_device_equals_four():
    method, results = make(), []
    for n in (1, 4):
        mesh = devices.make_mesh(n)
        with jax.set_mesh(mesh):
            state = devices.place_state(jax.jit(method.init)(jax.random.key(0)), mesh)
            sharding = jax.sharding.NamedSharding(mesh, jax.P(None, devices.AXIS))
            for phase in method.phases:
                xs = jax.device_put(images(phase.num_batches), sharding)
                state, _ = jax.jit(phase.step)(state, xs, jax.random.key(3))
            results.append(jax.device_get((state.q_d.params, state.G.params, state.agreement)))
    chex.assert_trees_all_close(*results, rtol=2e-4, atol=2e-5)
